// SPDX-License-Identifier: CDDL-1.0
//! Ports, found by IP address and by Ethernet address.

use super::HostNo;
use crate::net::{Mac, octets};
use crate::record::Port;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use svp::MacAddr;
use uuid::Uuid;

/// `vlan_flags`: the 802.1Q tag.
const VLAN: u16 = 0x0fff;
const ROUTER: u16 = 0x4000;
const DELETED: u16 = 0x8000;

/// A port in 40 bytes.
pub struct Slot {
    ip: [u8; 16],
    modified: u64,
    vnet: u32,
    pub host: HostNo,
    mac: [u8; 6],
    vlan_flags: u16,
}

const _: () = assert!(size_of::<Slot>() == 40);

impl Slot {
    pub fn is_deleted(&self) -> bool {
        self.vlan_flags & DELETED != 0
    }

    pub fn is_router(&self) -> bool {
        self.vlan_flags & ROUTER != 0
    }

    /// Whether its host carries it: neither gone nor a router.
    pub fn is_guest(&self) -> bool {
        self.vlan_flags & (DELETED | ROUTER) == 0
    }

    pub fn mac(&self) -> MacAddr {
        MacAddr(self.mac)
    }

    pub fn ip(&self) -> IpAddr {
        IpAddr::V6(self.ip.into()).to_canonical()
    }

    pub fn record(&self, host: Uuid) -> Port {
        Port {
            vnet: self.vnet,
            ip: self.ip(),
            mac: Mac(self.mac()),
            host,
            vlan: self.vlan_flags & VLAN,
            router: self.is_router(),
            deleted: self.is_deleted(),
            modified: self.modified,
        }
    }
}

#[derive(Default)]
pub struct Ports {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// One slot a key.
    by_ip: HashTable<u32>,
    /// Any number of slots a key.
    by_mac: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

fn slot(slots: &[Option<Slot>], no: u32) -> Option<&Slot> {
    slots.get(no as usize)?.as_ref()
}

/// What a slot that is not there hashes to; no table holds its number.
fn hash_slot(slots: &[Option<Slot>], no: u32, hash: impl Fn(&Slot) -> u64) -> u64 {
    slot(slots, no).map_or(0, hash)
}

impl Ports {
    pub fn len(&self) -> usize {
        self.by_ip.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().flatten()
    }

    pub fn get(&self, vnet: u32, ip: Ipv6Addr) -> Option<&Slot> {
        let ip = ip.octets();
        let is = |no: &u32| slot(&self.slots, *no).is_some_and(|s| s.vnet == vnet && s.ip == ip);
        let no = self.by_ip.find(self.hasher.hash_one((vnet, ip)), is)?;
        slot(&self.slots, *no)
    }

    /// Ports with this Ethernet address, in no order.
    pub fn of_mac(&self, vnet: u32, mac: MacAddr) -> impl Iterator<Item = &Slot> {
        let found = self.by_mac.iter_hash(self.hasher.hash_one((vnet, mac.0)));
        let slots = found.filter_map(|no| slot(&self.slots, *no));
        slots.filter(move |s| s.vnet == vnet && s.mac == mac.0)
    }

    /// The host of the port that was last changed among the live ones with this Ethernet address.
    pub fn newest(&self, vnet: u32, mac: MacAddr) -> Option<HostNo> {
        let live = self.of_mac(vnet, mac).filter(|s| !s.is_deleted());
        live.max_by_key(|s| (s.modified, s.ip)).map(|s| s.host)
    }

    /// Puts a port whose key is not there.
    pub fn insert(&mut self, port: &Port, host: HostNo) {
        let flag = |set, bit| if set { bit } else { 0 };
        let new = Slot {
            ip: octets(port.ip),
            modified: port.modified,
            vnet: port.vnet,
            host,
            mac: port.mac.0.0,
            vlan_flags: port.vlan & VLAN | flag(port.router, ROUTER) | flag(port.deleted, DELETED),
        };
        let no = self.free.pop().unwrap_or(self.slots.len() as u32);
        if no as usize == self.slots.len() {
            self.slots.push(None);
        }
        let Ports { slots, by_ip, by_mac, hasher, .. } = self;
        slots[no as usize] = Some(new);
        let ip_hash = |no: &u32| hash_slot(slots, *no, |s| hasher.hash_one((s.vnet, s.ip)));
        let mac_hash = |no: &u32| hash_slot(slots, *no, |s| hasher.hash_one((s.vnet, s.mac)));
        by_ip.insert_unique(ip_hash(&no), no, ip_hash);
        by_mac.insert_unique(mac_hash(&no), no, mac_hash);
    }

    pub fn remove(&mut self, vnet: u32, ip: Ipv6Addr) -> Option<Slot> {
        let ip = ip.octets();
        let Ports { slots, free, by_ip, by_mac, hasher } = self;
        let is = |no: &u32| slot(slots, *no).is_some_and(|s| s.vnet == vnet && s.ip == ip);
        let found = by_ip.find_entry(hasher.hash_one((vnet, ip)), is).ok()?;
        let (no, _) = found.remove();
        let old = slots.get_mut(no as usize)?.take()?;
        if let Ok(found) = by_mac.find_entry(hasher.hash_one((vnet, old.mac)), |n| *n == no) {
            found.remove();
        }
        free.push(no);
        Some(old)
    }
}
