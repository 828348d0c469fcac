// SPDX-License-Identifier: CDDL-1.0
//! Networks: subnets with routers, and what they are to guests.

use super::{Guest, Topology, check_name, parse_prefix};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A subnet of each version of IP, with a router that is nowhere but in the overlay.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Names the network in the lab.
    pub name: String,
    /// Virtual network id.
    pub vnet: u64,
    /// VLAN of its frames, 0 for none.
    #[serde(default)]
    pub vlan: u16,
    /// Addresses of its router with the length of the subnet's prefix, one of each version of IP at most.
    pub router: Vec<String>,
}

/// The addresses of one version of IP of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    /// The router's.
    pub router: IpAddr,
    /// Length of the prefix.
    pub len: u8,
}

impl Network {
    /// Its subnets.
    ///
    /// # Errors
    /// A router's address has no prefix length.
    pub fn subnets(&self) -> Result<Vec<Subnet>> {
        self.router
            .iter()
            .map(|r| parse_prefix(r).map(|(router, len)| Subnet { router, len }))
            .collect()
    }

    /// Whether an address is in one of its subnets.
    #[must_use]
    pub fn holds(&self, ip: IpAddr) -> bool {
        self.subnets().unwrap_or_default().iter().any(|s| s.holds(ip))
    }
}

impl Subnet {
    /// Whether an address is in it.
    #[must_use]
    pub fn holds(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.router.is_ipv4()
            && masked(ip, self.len) == masked(self.router, self.len)
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", masked(self.router, self.len), self.len)
    }
}

/// An address with the bits behind the prefix cleared.
fn masked(ip: IpAddr, len: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(len.min(32))).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

impl Topology {
    pub(super) fn check_networks(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for n in &self.networks {
            let at = || format!("network {}", n.name);
            check_name("network", &n.name)?;
            ensure!(names.insert(&n.name), "two networks are named {}", n.name);
            ensure!(n.vlan <= 4094, "{}: vlan {} exceeds 4094", at(), n.vlan);
            let mut overlays = self.overlays_of(n.vnet);
            let first = overlays
                .next()
                .with_context(|| format!("{}: no overlay of vnet {}", at(), n.vnet))?;
            ensure!(
                overlays.all(|o| o.dcid == first.dcid),
                "{}: overlays of vnet {} have different data centres",
                at(),
                n.vnet
            );
            let v4 = n.subnets().with_context(at)?.iter().filter(|s| s.router.is_ipv4()).count();
            ensure!(
                v4 <= 1 && n.router.len() - v4 <= 1,
                "{}: two routers of one version of IP",
                at()
            );
        }
        for name in self.attached.iter().flatten() {
            ensure!(names.contains(name), "attached: there is no network {name:?}");
        }
        Ok(())
    }

    /// The network of a guest, if it is in one: the one with its VLAN and a subnet with an address of its.
    #[must_use]
    pub fn network_of(&self, guest: &Guest) -> Option<&Network> {
        let (host, _) = self.guest(&guest.vnic)?;
        let overlay = host.overlays.iter().find(|o| o.name == guest.over)?;
        let is_its = |n: &&Network| {
            let subnets = n.subnets().unwrap_or_default();
            let holds = |ip| subnets.iter().any(|s| s.holds(ip));
            (n.vnet, n.vlan) == (overlay.vnet, guest.vlan) && guest.ips().any(holds)
        };
        self.networks.iter().find(is_its)
    }

    /// Whether the networks of two guests are attached, or one and the same; or there are none.
    #[must_use]
    pub fn reaches(&self, a: &Guest, b: &Guest) -> bool {
        match (self.network_of(a), self.network_of(b)) {
            (Some(a), Some(b)) => {
                let has_both = |g: &Vec<String>| g.contains(&a.name) && g.contains(&b.name);
                a.name == b.name || self.attached.iter().any(has_both)
            }
            (None, None) => true,
            _ => false,
        }
    }

    /// The routers of a guest.
    #[must_use]
    pub fn routers_of(&self, guest: &Guest) -> Vec<IpAddr> {
        let subnets = self.network_of(guest).and_then(|n| n.subnets().ok()).unwrap_or_default();
        let for_it = |s: &Subnet| guest.ips().any(|ip| s.holds(ip)).then_some(s.router);
        subnets.iter().filter_map(for_it).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_networks_are_refused_by_name() {
        let base = include_str!("../../topologies/three-vnets.toml");
        for (from, to, expect) in [
            ("\"red10\", \"blue\"", "\"pink\", \"blue\"", "no network \"pink\""),
            ("name = \"red10\"", "name = \"red\"", "two networks are named red"),
            ("vnet = 101\nrouter", "vnet = 99\nrouter", "no overlay of vnet 99"),
            ("vlan = 10\nrouter", "vlan = 4095\nrouter", "network red10: vlan 4095"),
            ("vlan = 10\naddress", "vlan = 4095\naddress", "guest green1: vlan 4095"),
            ("dcid = 2", "dcid = 3", "different data centres"),
            ("\"10.1.0.1/24\", \"fd01::1/64\"", "\"10.1.0.1\"", "lacks a prefix length"),
            ("\"10.1.0.1/24\", \"fd01::1/64\"", "\"10.1.0.1/24\", \"10.9.0.1/24\"", "two routers"),
        ] {
            assert!(base.contains(from), "{from}");
            let e = Topology::parse(&base.replacen(from, to, 1)).expect_err(to);
            assert!(format!("{e:#}").contains(expect), "{to}: {e:#}");
        }
    }

    #[test]
    fn guests_are_in_networks_and_reach_what_is_attached() {
        let t = Topology::parse(include_str!("../../topologies/three-vnets.toml")).unwrap();
        let guest = |name| t.guest(name).unwrap().1;
        let network = |name| t.network_of(guest(name)).unwrap().name.as_str();
        assert_eq!(
            [network("red1"), network("red3"), network("green1")],
            ["red", "red10", "green10"]
        );
        let routers = t.routers_of(guest("red3"));
        assert_eq!(
            routers,
            ["10.1.10.1".parse::<IpAddr>().unwrap(), "fd01:10::1".parse().unwrap()]
        );
        assert!(
            t.reaches(guest("red1"), guest("blue2")) && t.reaches(guest("green2"), guest("green3"))
        );
        assert!(
            !t.reaches(guest("red1"), guest("green2"))
                && !t.reaches(guest("green1"), guest("green2"))
        );
        let subnets = t.networks[1].subnets().unwrap();
        assert_eq!(subnets[1].to_string(), "fd01:10::/64");
        assert!(subnets[0].holds("10.1.10.255".parse().unwrap()));
        assert!(
            !subnets[0].holds("10.1.11.0".parse().unwrap())
                && !subnets[0].holds("fd01:10::1".parse().unwrap())
        );
        let all = Subnet { router: "10.0.0.1".parse().unwrap(), len: 0 };
        assert!(all.holds("203.0.113.1".parse().unwrap()) && all.to_string() == "0.0.0.0/0");
    }
}
