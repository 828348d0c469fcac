// SPDX-License-Identifier: CDDL-1.0
//! Names of addresses, from the machine's hosts file: a capture never asks a name server, whose
//! answers would be captured too. Names in a filter are looked up once, as any program does it.

use crate::filter;
use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

/// Names of addresses.
#[derive(Debug, Default)]
pub struct Hosts(HashMap<IpAddr, String>);

impl Hosts {
    /// Those of a file in the form of hosts(5). Without the file there are none.
    #[must_use]
    pub fn read(file: &Path) -> Hosts {
        Hosts::parse(&std::fs::read_to_string(file).unwrap_or_default())
    }

    fn parse(text: &str) -> Hosts {
        let mut hosts = HashMap::new();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            if let (Some(Ok(ip)), Some(name)) = (words.next().map(str::parse), words.next()) {
                hosts.entry(ip).or_insert_with(|| name.to_owned());
            }
        }
        Hosts(hosts)
    }

    /// The first name of an address.
    #[must_use]
    pub fn name(&self, ip: IpAddr) -> Option<&str> {
        self.0.get(&ip).map(String::as_str)
    }

    /// The name, or the address.
    #[must_use]
    pub fn show(&self, ip: IpAddr) -> String {
        self.name(ip).map_or_else(|| ip.to_string(), str::to_owned)
    }
}

/// The machine's resolver and its list of services.
#[derive(Debug)]
pub struct Machine;

impl filter::Names for Machine {
    fn host(&self, name: &str) -> Vec<IpAddr> {
        let found = (name, 0).to_socket_addrs().into_iter().flatten();
        let mut ips: Vec<IpAddr> = found.map(|a| a.ip()).collect();
        ips.dedup();
        ips
    }

    fn service(&self, name: &str) -> Option<u16> {
        service(&std::fs::read_to_string("/etc/services").unwrap_or_default(), name)
    }
}

/// The port of a service by its name or an alias, in the form of services(5).
fn service(text: &str, name: &str) -> Option<u16> {
    text.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let (first, port) = (words.next()?, words.next()?.split('/').next()?);
        (first == name || words.any(|alias| alias == name)).then(|| port.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_first_of_their_address() {
        let hosts =
            Hosts::parse("10.0.0.1 red1 red # first\n# no\n10.0.0.1 other\nfd00::1\tred6\n");
        assert_eq!(hosts.name("10.0.0.1".parse().unwrap()), Some("red1"));
        assert_eq!(hosts.show("fd00::1".parse().unwrap()), "red6");
        assert_eq!(hosts.show("10.0.0.2".parse().unwrap()), "10.0.0.2");
    }

    #[test]
    fn services_have_aliases() {
        let text = "ssh 22/tcp\nhttp\t80/tcp www # web\n";
        assert_eq!(service(text, "www"), Some(80));
        assert_eq!(service(text, "ssh"), Some(22));
        assert_eq!(service(text, "web"), None);
    }
}
