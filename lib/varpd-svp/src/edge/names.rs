// SPDX-License-Identifier: CDDL-1.0
//! Addresses of names: as the system knows them, in a thread of its own for each question.
//!
//! Off illumos, hosts are directories ([`devctl::Root`]). One that has an `/etc/hosts` knows the names in that, and no
//! others: a laboratory names its directories there, takes an address away, and asks no name server of this machine's.
use crate::engine::DnsError;
use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use std::net::IpAddr;

/// The addresses of a name, or the address it is. Takes as long as the resolver takes.
pub fn resolve(host: &str) -> Result<Vec<IpAddr>, DnsError> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![ip]);
    }
    #[cfg(not(target_os = "illumos"))]
    if let Some(found) = of_this_root(host) {
        return if found.is_empty() { Err(DnsError::NoAddress) } else { Ok(found) };
    }
    // Without a type each address would come once for each that there is.
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let all = getaddrinfo(Some(host), None, Some(hints)).map_err(|e| match e.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData | LookupErrorKind::Fail => {
            DnsError::NoAddress
        }
        _ => DnsError::Temporary,
    })?;
    Ok(all.flatten().map(|info| info.sockaddr.ip()).collect())
}

/// What the simulated host knows, if it has the file.
#[cfg(not(target_os = "illumos"))]
fn of_this_root(host: &str) -> Option<Vec<IpAddr>> {
    let file = devctl::Root::from_env_or(None).path("/etc/hosts");
    Some(in_hosts(&std::fs::read_to_string(file).ok()?, host))
}

/// The addresses of a name in the text of a file as hosts(5) describes it.
#[cfg(not(target_os = "illumos"))]
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let line = line.split('#').next()?;
        let mut words = line.split_whitespace();
        let ip = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(ip)
    };
    text.lines().filter_map(address).collect()
}
