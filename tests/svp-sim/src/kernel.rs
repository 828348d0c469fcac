// SPDX-License-Identifier: CDDL-1.0
//! What the kernel keeps of a link: destinations by realm and Ethernet address, and routes of packets, which
//! name a destination and not where that is (kernel/overlay's target cache).

use crate::truth::Universe;
use overlay_abi::ids::{MacAddr, UnderlayAddr};
use portolan::net::Subnet;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use svp::log::Route;
use svp::message::RouteReq;
use varpd_svp::engine::RouteAnswer;

/// A data centre, 0 for the link's own, and a network.
type Realm = (u32, u32);

pub struct Kernel {
    vnet: u32,
    places: BTreeMap<(Realm, MacAddr), UnderlayAddr>,
    /// By place of the packet in the universe. Where it goes to is in `places`.
    routes: BTreeMap<usize, RouteAnswer>,
}

/// Whether a packet is of these flows, as the kernel and the directory see it: the engine has a view of its own.
pub fn is_of(packet: &RouteReq, flows: &Route) -> bool {
    let within = |ip: Ipv6Addr, net: Ipv6Addr, len| Subnet::from_v6(net, len).contains(ip);
    (packet.vnet, packet.vlan) == (flows.src_vnet, flows.src_vlan)
        && within(packet.src, flows.src, flows.src_prefix)
        && within(packet.dst, flows.dst, flows.dst_prefix)
}

impl Kernel {
    pub fn new(vnet: u32) -> Kernel {
        Kernel { vnet, places: BTreeMap::new(), routes: BTreeMap::new() }
    }

    fn own(&self, mac: MacAddr) -> (Realm, MacAddr) {
        ((0, self.vnet), mac)
    }

    /// Where frames for a guest of the link's network go.
    pub fn place(&self, mac: MacAddr) -> Option<UnderlayAddr> {
        self.places.get(&self.own(mac)).copied()
    }

    pub fn guests(&self) -> Vec<MacAddr> {
        let own = self.places.keys().filter(|(realm, _)| *realm == (0, self.vnet));
        own.map(|(_, mac)| *mac).collect()
    }

    /// RESPOND to a question about a guest.
    pub fn set_place(&mut self, mac: MacAddr, at: UnderlayAddr) {
        self.places.insert(self.own(mac), at);
    }

    /// CACHE_SET: what is known of the address in other networks is asked for anew.
    pub fn set(&mut self, mac: MacAddr, at: UnderlayAddr) {
        self.remove(mac);
        self.set_place(mac, at);
    }

    /// CACHE_REMOVE: in all networks of the link's data centre.
    pub fn remove(&mut self, mac: MacAddr) {
        self.places.retain(|((dcid, _), of), _| *dcid != 0 || *of != mac);
    }

    /// RESPOND to a question about a route.
    pub fn set_route(&mut self, packet: usize, route: RouteAnswer) {
        self.places.insert(((route.dcid, route.vnet), route.dst_mac), route.at);
        self.routes.insert(packet, route);
    }

    /// REMOVE_NET.
    pub fn flush(&mut self, flows: &Route, universe: &Universe) {
        self.routes.retain(|packet, _| !is_of(&universe.routes[*packet], flows));
    }

    /// Packets with a route.
    pub fn routed(&self) -> Vec<usize> {
        self.routes.keys().copied().collect()
    }

    /// How a packet is sent on; `None`: that is asked for.
    pub fn sends(&self, packet: usize) -> Option<RouteAnswer> {
        let route = self.routes.get(&packet)?;
        let at = *self.places.get(&((route.dcid, route.vnet), route.dst_mac))?;
        Some(RouteAnswer { at, ..*route })
    }
}
