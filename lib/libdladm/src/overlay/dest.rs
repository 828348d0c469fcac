// SPDX-License-Identifier: CDDL-1.0
//! Destinations as text: `[mac,][ip][:port]`, as far as the encapsulation asks for each part.
//!
//! ```text
//!   bits            example
//!   IP|PORT         192.0.2.11:4789   [2001:db8::9]:4789        vxlan
//!   IP              192.0.2.11        2001:db8::9
//!   MAC|IP|PORT     2:8:20:0:0:1,[2001:db8::9]:4789
//!   MAC|PORT        2:8:20:0:0:1,4789
//! ```
//!
//! The port stands behind the *last* colon. An IPv6 address in front of a port is printed in
//! brackets; without them it is still understood, since nothing but the last group can be the port.

use overlay_abi::ids::{MacAddr, UnderlayAddr};
use std::net::{IpAddr, Ipv6Addr};

pub use overlay_abi::target::{
    OVERLAY_PLUGIN_D_ETHERNET as D_ETHERNET, OVERLAY_PLUGIN_D_IP as D_IP,
    OVERLAY_PLUGIN_D_PORT as D_PORT,
};

/// Where a frame goes. Parts that the encapsulation does not ask for are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dest {
    /// Next hop, if the encapsulation is link-local.
    pub mac: MacAddr,
    /// Address and port in host byte order, IPv4 as v4-mapped.
    pub addr: UnderlayAddr,
}

impl Dest {
    /// Reads exactly the parts that `bits` ask for. `None` for anything else, an IPv6 zone, or port
    /// 0.
    pub fn parse(bits: u32, text: &str) -> Option<Dest> {
        let mut dest = Dest { mac: MacAddr([0; 6]), addr: UnderlayAddr { ip: [0; 16], port: 0 } };
        let mut rest = text;
        if bits & D_ETHERNET != 0 {
            let mac;
            (mac, rest) = match bits & (D_IP | D_PORT) {
                0 => (rest, ""),
                _ => rest.split_once(',')?,
            };
            dest.mac = mac.parse().ok()?;
        }
        let (ip, port) = match (bits & D_IP != 0, bits & D_PORT != 0) {
            (true, true) => {
                let (ip, port) = rest.rsplit_once(':')?;
                (Some(ip), Some(port))
            }
            (true, false) => (Some(rest), None),
            (false, true) => (None, Some(rest)),
            (false, false) => (None, None),
        };
        if let Some(ip) = ip {
            dest.addr.ip = parse_ip(ip)?.octets();
        }
        if let Some(port) = port {
            let digits = port.bytes().all(|b| b.is_ascii_digit());
            dest.addr.port = port.parse().ok().filter(|p| digits && *p != 0)?;
        }
        let needs_nothing = bits & (D_ETHERNET | D_IP | D_PORT) == 0;
        (!needs_nothing).then_some(dest)
    }

    /// The text of the parts named by `bits`, such that [`Dest::parse`] reads it back.
    pub fn format(&self, bits: u32) -> String {
        let mut text = String::new();
        let has = |bit| bits & bit != 0;
        if has(D_ETHERNET) {
            text += &self.mac.to_string();
        }
        if has(D_IP) {
            if has(D_ETHERNET) {
                text.push(',');
            }
            match Ipv6Addr::from(self.addr.ip).to_canonical() {
                IpAddr::V6(ip) if has(D_PORT) => text += &format!("[{ip}]"),
                ip => text += &ip.to_string(),
            }
        }
        if has(D_PORT) {
            if has(D_IP) {
                text.push(':');
            } else if has(D_ETHERNET) {
                text.push(',');
            }
            text += &self.addr.port.to_string();
        }
        text
    }
}

/// An address, IPv6 tried first, brackets allowed around it; IPv4 comes back v4-mapped.
pub(crate) fn parse_ip(text: &str) -> Option<Ipv6Addr> {
    if let Some(inner) = text.strip_prefix('[') {
        return inner.strip_suffix(']')?.parse().ok();
    }
    match text.parse().ok()? {
        IpAddr::V6(ip) => Some(ip),
        IpAddr::V4(ip) => Some(ip.to_ipv6_mapped()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VXLAN: u32 = D_IP | D_PORT;

    #[test]
    fn defect_45_last_colon_and_brackets() {
        let both = |t| {
            let d = Dest::parse(VXLAN, t)?;
            Some((Ipv6Addr::from(d.addr.ip).to_canonical().to_string(), d.addr.port))
        };
        let is = |ip: &str, port| Some((ip.to_owned(), port));
        assert_eq!(both("192.0.2.11:4789"), is("192.0.2.11", 4789));
        assert_eq!(both("[2001:db8::9]:4789"), is("2001:db8::9", 4789));
        assert_eq!(both("2001:db8::9:4789"), is("2001:db8::9", 4789));
        assert_eq!(both("::1:65535"), is("::1", 65535));
        for bad in [
            "",
            ":",
            "192.0.2.11",
            "192.0.2.11:",
            "192.0.2.11:0",
            "192.0.2.11:65536",
            "192.0.2.11:+80",
            "192.0.2.11:80 ",
            "192.0.2.11,80",
            "[192.0.2.11]:80",
            "[2001:db8::9:80",
            "2001:db8::9]:80",
            "fe80::1%net0:80",
            "host:80",
            "2:8:20:0:0:1,192.0.2.1:80",
        ] {
            assert_eq!(both(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_set_of_bits_round_trips() {
        let mac: MacAddr = "2:8:20:aa:0:1".parse().unwrap();
        for ip in ["192.0.2.11", "2001:db8::9", "::1"] {
            let ip = parse_ip(ip).unwrap().octets();
            for bits in 1..=7 {
                let dest = Dest {
                    mac: if bits & D_ETHERNET != 0 { mac } else { MacAddr([0; 6]) },
                    addr: UnderlayAddr {
                        ip: if bits & D_IP != 0 { ip } else { [0; 16] },
                        port: if bits & D_PORT != 0 { 4789 } else { 0 },
                    },
                };
                let text = dest.format(bits);
                assert_eq!(Dest::parse(bits, &text), Some(dest), "{text}");
            }
        }
        assert_eq!(Dest::parse(0, ""), None);
        assert_eq!(
            Dest::parse(7, "2:8:20:aa:0:1,::1:80").unwrap().format(7),
            "2:8:20:aa:0:1,[::1]:80"
        );
    }
}
