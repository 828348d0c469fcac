// SPDX-License-Identifier: CDDL-1.0
//! Routes and attachments: changes of them, and what hosts are told of routed flows.
//!
//! A host has flows by source, destination and tag, each with the answer it got for it: which Ethernet
//! address, where. It forgets those between two subnets when a `ROUTE` entry says so, and asks again.
//! That makes three rules:
//!
//! * A route is put, changed or removed: hosts with guests in the network that packets leave are told of
//!   its subnets, as they were and as they are.
//! * A guest is reached otherwise (it moved or went away, has another Ethernet address, its host has
//!   another underlay address): hosts with guests in *other* networks that routes lead from to this guest
//!   are told of its address alone, once a route. They know nothing of the guest's network, so that the
//!   `VL2` and `VL3` entries of that are of no use to them.
//! * A guest comes to a host: that host is told of all flows from this guest. It may have some of an earlier
//!   stay, and was not told of changes in between if it had no guest in that network.

use super::{Plan, Result, invalid};
use crate::change::{ChangeError, Side, SideKey};
use crate::net::{Subnet, octets};
use crate::record::{Event, Port, Route, RouteKey, Write};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

impl Plan<'_> {
    fn route(&self, key: &RouteKey) -> Option<Route> {
        match self.routes.get(key) {
            Some(route) => route.clone(),
            None => self.index.route_at(key).cloned(),
        }
    }

    /// Live routes: those of the index that are among these, as they are by now, and all of the layer.
    fn routes<'b>(
        &'b self,
        of_index: impl Iterator<Item = &'b Route> + 'b,
    ) -> impl Iterator<Item = &'b Route> + 'b {
        let untouched = of_index.filter(|r| !self.routes.contains_key(&r.key()));
        untouched.chain(self.routes.values().flatten()).filter(|r| !r.deleted)
    }

    pub(super) fn put_route(&mut self, route: &Route) -> Result {
        let key = route.key();
        if key.subnet.is_v4() != key.r_subnet.is_v4() {
            return invalid(format!(
                "{} to {}: both must be of IPv4 or both of IPv6",
                key.subnet, key.r_subnet
            ));
        }
        if route.vlan > 4094 || route.r_vlan > 4094 {
            return invalid("802.1Q tags go from 0 (none) to 4094");
        }
        let mac = route.r_send_mac.0;
        if mac.is_multicast() || (mac == svp::MacAddr::ZERO && !self.restore) {
            return invalid(format!("{mac}: not an Ethernet address that frames can come from"));
        }
        let old = self.route(&key);
        let modified = self.revision;
        let unchanged = |old: &Route| Route { modified: old.modified, ..route.clone() } == *old;
        if !old.as_ref().is_some_and(unchanged) {
            self.set_route(key, old.as_ref(), Some(Route { modified, ..route.clone() }));
        }
        Ok(())
    }

    pub(super) fn delete_route(&mut self, key: &RouteKey) -> Result {
        let old = self.route(key).ok_or_else(|| {
            ChangeError::Missing(format!(
                "route from {} to {} in network {} with tag {}",
                key.subnet, key.r_subnet, key.vnet, key.vlan
            ))
        })?;
        self.set_route(*key, Some(&old), None);
        Ok(())
    }

    fn set_route(&mut self, key: RouteKey, old: Option<&Route>, new: Option<Route>) {
        self.routes.insert(key, new.clone());
        self.writes.push(Write::Route(key, new.clone()));
        if self.restore {
            return;
        }
        let hosts = self.members(key.vnet);
        for route in old.into_iter().chain(&new).filter(|r| !r.deleted) {
            self.tell(&hosts, &stale(route, route.r_subnet));
        }
    }

    pub(super) fn attach(&mut self, a: &Side, b: &Side) -> Result {
        if a.subnet.is_v4() != b.subnet.is_v4() {
            return invalid(format!(
                "{} and {}: attach IPv4 to IPv4 and IPv6 to IPv6",
                a.subnet, b.subnet
            ));
        }
        if a.subnet.overlaps(b.subnet) {
            return invalid(format!(
                "{} and {} overlap: guests ask no router for addresses that look like neighbours",
                a.subnet, b.subnet
            ));
        }
        let (router_a, router_b) = (self.router_in(a)?, self.router_in(b)?);
        for route in [leads(a, &router_a, b, &router_b), leads(b, &router_b, a, &router_a)] {
            let old = self.route(&route.key()).filter(|old| !old.deleted);
            // Names of the cloud's administration, which no attachment gives.
            let route = Route {
                net_uuid: old.as_ref().and_then(|r| r.net_uuid),
                r_net_uuid: old.as_ref().and_then(|r| r.r_net_uuid),
                ..route
            };
            self.no_overlap(&route)?;
            self.put_route(&route)?;
        }
        Ok(())
    }

    pub(super) fn detach(&mut self, a: &SideKey, b: &SideKey) -> Result {
        let both = [(a, b), (b, a)];
        let is = |r: &&Route| {
            let (from, to) = (
                SideKey { vnet: r.vnet, subnet: r.subnet },
                SideKey { vnet: r.r_vnet, subnet: r.r_subnet },
            );
            both.contains(&(&from, &to))
        };
        let into = [a, b].into_iter().flat_map(|side| self.index.routes_into(side.vnet));
        let found: BTreeSet<RouteKey> = self.routes(into).filter(is).map(Route::key).collect();
        if found.is_empty() {
            return Err(ChangeError::Missing(format!("attachment of {a} to {b}")));
        }
        found.iter().try_for_each(|key| self.delete_route(key))
    }

    /// The router address of a side.
    fn router_in(&self, side: &Side) -> Result<Port> {
        let Side { vnet, subnet, .. } = *side;
        let untouched = self.index.routers_of(vnet);
        let untouched = untouched.filter(|p| !self.ports.contains_key(&(vnet, p.ip)));
        let touched = self.ports.values().flatten().filter(|p| p.vnet == vnet && p.is_router());
        let all: Vec<Port> = untouched.chain(touched.cloned()).collect();
        let here = |p: &&Port| subnet.contains(octets(p.ip).into());
        let list = |ports: &mut dyn Iterator<Item = &Port>| {
            ports.map(|p| p.ip.to_string()).collect::<Vec<_>>().join(", ")
        };
        match all.iter().filter(here).collect::<Vec<_>>()[..] {
            [router] => Ok(router.clone()),
            [] if all.is_empty() && !self.is_used(vnet) => Err(ChangeError::Missing(format!(
                "network {vnet}: it has no name, no ports and no router addresses"
            ))),
            [] => {
                let others = match &all[..] {
                    [] => "none at all".to_owned(),
                    all => format!("only {}", list(&mut all.iter())),
                };
                Err(ChangeError::Conflict(format!(
                    "network {vnet} has no router address in {subnet}, {others}: set one first \
                     (portolanadm router set {vnet} IP MAC)"
                )))
            }
            ref several => Err(ChangeError::Conflict(format!(
                "network {vnet} has several router addresses in {subnet}, {}: put the routes one by one \
                 (portolanadm route set)",
                list(&mut several.iter().copied())
            ))),
        }
    }

    /// Whether anybody has heard of a network.
    fn is_used(&self, vnet: u32) -> bool {
        let described = match self.networks.get(&vnet) {
            Some(network) => network.is_some(),
            None => self.index.network(vnet).is_some(),
        };
        described || !self.members(vnet).is_empty()
    }

    /// That no packet could take this route and another one just as well.
    fn no_overlap(&self, new: &Route) -> Result {
        let others = self.routes(self.index.routes_of(new.vnet, new.vlan)).filter(|r| {
            let same = r.key() == new.key() && r.r_vnet == new.r_vnet;
            (r.vnet, r.vlan) == (new.vnet, new.vlan) && !same
        });
        let meets = |r: &&Route| r.subnet.overlaps(new.subnet) && r.r_subnet.overlaps(new.r_subnet);
        match others.filter(meets).min_by_key(|r| r.key()) {
            None => Ok(()),
            Some(r) => Err(ChangeError::Conflict(format!(
                "{} of network {} overlaps {} of network {}, to which {} of network {} is routed already: \
                 detach those first, or put the routes one by one (portolanadm route set; the most \
                 specific one wins)",
                new.r_subnet, new.r_vnet, r.r_subnet, r.r_vnet, r.subnet, r.vnet
            ))),
        }
    }

    /// Tells those who may have flows to these addresses of guests, by whichever routes lead there.
    pub(super) fn tell_routed(&mut self, vnet: u32, ips: &BTreeSet<IpAddr>) {
        if ips.is_empty() {
            return;
        }
        let mut all = Vec::new();
        for route in self.routes(self.index.routes_into(vnet)).filter(|r| r.r_vnet == vnet) {
            let ips = ips.iter().map(|ip| Ipv6Addr::from(octets(*ip)));
            let hit: Vec<_> = ips.filter(|ip| route.r_subnet.contains(*ip)).collect();
            all.push((
                route.vnet,
                hit.iter().map(|ip| stale(route, Subnet::of_one(*ip))).collect(),
            ));
        }
        for (from, events) in all {
            let events: Vec<Event> = events;
            let hosts = if events.is_empty() { continue } else { self.members(from) };
            events.iter().for_each(|event| self.tell(&hosts, event));
        }
    }

    /// Tells a guest's host that flows from the guest are stale.
    pub(super) fn tell_arrival(&mut self, guest: &Port) {
        let ip = Ipv6Addr::from(octets(guest.ip));
        let family = if guest.ip.is_ipv4() { 96 } else { 0 };
        let event = Event::Route {
            src_vnet: guest.vnet,
            dst_vnet: 0,
            dcid: 0,
            src: Subnet::of_one(ip),
            dst: Subnet::from_v6(ip, family),
            src_vlan: guest.vlan,
            dst_vlan: 0,
        };
        self.tell(&BTreeSet::from([guest.host]), &event);
    }
}

/// That flows of a route are stale, to all of its destination or to a part.
fn stale(r: &Route, dst: Subnet) -> Event {
    Event::Route {
        src_vnet: r.vnet,
        dst_vnet: r.r_vnet,
        dcid: r.r_dcid,
        src: r.subnet,
        dst,
        src_vlan: r.vlan,
        dst_vlan: r.r_vlan,
    }
}

/// The route from one side to the other.
fn leads(from: &Side, router: &Port, to: &Side, r_router: &Port) -> Route {
    Route {
        vnet: from.vnet,
        vlan: router.vlan,
        subnet: from.subnet,
        r_subnet: to.subnet,
        r_dcid: to.dcid,
        r_vnet: to.vnet,
        r_vlan: r_router.vlan,
        r_send_mac: r_router.mac,
        net_uuid: None,
        r_net_uuid: None,
        deleted: false,
        modified: 0,
    }
}
