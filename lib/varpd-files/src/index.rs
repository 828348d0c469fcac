// SPDX-License-Identifier: CDDL-1.0
//! What a file says, in the form in which it is asked for; never changed once made.
use crate::routes::Routes;
use overlay_abi::ids::{MacAddr, UnderlayAddr};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

/// Hosts by Ethernet address, and those addresses by IP address.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Index {
    pub(crate) hosts: HashMap<MacAddr, Host>,
    pub(crate) owners: HashMap<IpAddr, Owner>,
    /// Those of hosts and routers that say their VLAN, by that as well.
    pub(crate) in_vlan: HashMap<(IpAddr, u16), MacAddr>,
    /// What becomes of packets for routers.
    pub routes: Routes,
}

/// What is known of an Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Where frames for it go; `None` drops them.
    pub point: Option<UnderlayAddr>,
    /// Who gets its DHCP broadcasts; `None` drops them.
    pub dhcp_proxy: Option<MacAddr>,
    /// It is no host but a router.
    pub router: bool,
}

/// Who has an IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// The VLAN in which it has it; 0 is untagged.
    pub vlan: u16,
    /// It did not say its VLAN, and is asked for in any.
    pub anywhere: bool,
}

impl Index {
    /// Where frames for an address go.
    pub fn point(&self, mac: MacAddr) -> Option<UnderlayAddr> {
        self.hosts.get(&mac)?.point
    }

    /// Who has an IP address.
    pub fn owner(&self, ip: IpAddr) -> Option<MacAddr> {
        Some(self.owners.get(&ip)?.mac)
    }

    /// Who has an IP address in a VLAN, 0 for untagged.
    pub fn owner_in(&self, ip: IpAddr, vlan: u16) -> Option<MacAddr> {
        let anywhere = || self.owners.get(&ip).filter(|o| o.anywhere).map(|o| o.mac);
        self.in_vlan.get(&(ip, vlan)).copied().or_else(anywhere)
    }

    /// Whether an address is a router's.
    pub fn is_router(&self, mac: MacAddr) -> bool {
        self.hosts.get(&mac).is_some_and(|host| host.router)
    }

    /// Who gets the DHCP broadcasts of an address.
    pub fn dhcp_proxy(&self, mac: MacAddr) -> Option<MacAddr> {
        self.hosts.get(&mac)?.dhcp_proxy
    }

    /// How many Ethernet addresses are known.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// What somebody who went by this index does not know when `new` takes its place.
    pub fn changes(&self, new: &Index) -> Changes {
        let gone = |(mac, host): (&MacAddr, &Host)| {
            // What could not be reached was not remembered.
            let known = host.point.is_some() || host.router;
            let same = new.point(*mac) == host.point && new.is_router(*mac) == host.router;
            (known && !same).then_some(*mac)
        };
        let mut moved_hosts: Vec<_> = self.hosts.iter().filter_map(gone).collect();
        moved_hosts.sort_unstable();
        let moved = |(ip, old): (&IpAddr, &Owner)| match (ip, new.owners.get(ip)) {
            (IpAddr::V4(ip), Some(owner)) if owner.mac != old.mac => Some((*ip, *owner)),
            _ => None,
        };
        let mut addresses: Vec<_> = self.owners.iter().filter_map(moved).collect();
        let moved_in = |((ip, vlan), old): (&(IpAddr, u16), &MacAddr)| match ip {
            // Addresses that only one has are among the owners.
            IpAddr::V4(v4) if !self.owners.contains_key(ip) => {
                let mac = new.in_vlan.get(&(*ip, *vlan)).filter(|mac| *mac != old)?;
                Some((*v4, Owner { mac: *mac, vlan: *vlan, anywhere: false }))
            }
            _ => None,
        };
        addresses.extend(self.in_vlan.iter().filter_map(moved_in));
        addresses.sort_unstable_by_key(|(ip, owner)| (*ip, owner.vlan));
        Changes { moved: moved_hosts, addresses, routes: self.routes.differ(&new.routes) }
    }
}

/// What changed from one index to the next.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Hosts that are gone or somewhere else, in order.
    pub moved: Vec<MacAddr>,
    /// IPv4 addresses that another host has now, in order.
    pub addresses: Vec<(Ipv4Addr, Owner)>,
    /// Whether packets for routers may go elsewhere.
    pub routes: bool,
}
