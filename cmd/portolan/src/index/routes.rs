// SPDX-License-Identifier: CDDL-1.0
//! Routes, found by the packets that take them and by where they lead.
//!
//! Several routes of a network may fit a packet; the one with the longest destination prefix is taken, of
//! those the one with the longest source prefix. There is always one such: two with the same prefix lengths
//! that both fit are the same route.
//!
//! A look-up asks a hash table once for each pair of prefix lengths that occurs, the longest first. So it
//! costs as much with ten routes of a shape as with a million.

use crate::net::Subnet;
use crate::record::{Route, RouteKey};
use hashbrown::HashMap;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use svp::message::RouteReq;

#[derive(Default)]
pub struct Routes {
    /// Tombstones included.
    all: BTreeMap<RouteKey, Arc<Route>>,
    /// Live ones by the network and tag of packets.
    from: HashMap<(u32, u16), Table>,
    /// Live ones by the network that they lead to.
    into: HashMap<u32, BTreeSet<RouteKey>>,
}

/// Routes of one network and tag.
#[derive(Default)]
struct Table {
    /// How many routes there are of each shape, the most specific first.
    shapes: BTreeMap<Reverse<Shape>, usize>,
    by_subnets: HashMap<(Subnet, Subnet), Arc<Route>>,
}

/// Prefix lengths: of the destination, of the source. In the v6 form.
type Shape = (u8, u8);

fn shape(key: &RouteKey) -> Reverse<Shape> {
    Reverse((key.r_subnet.prefix_v6(), key.subnet.prefix_v6()))
}

impl Table {
    fn insert(&mut self, route: Arc<Route>) {
        *self.shapes.entry(shape(&route.key())).or_default() += 1;
        self.by_subnets.insert((route.r_subnet, route.subnet), route);
    }

    fn remove(&mut self, key: &RouteKey) {
        if self.by_subnets.remove(&(key.r_subnet, key.subnet)).is_none() {
            return;
        }
        if let Some(n) = self.shapes.get_mut(&shape(key)) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.shapes.remove(&shape(key));
            }
        }
    }

    fn find(&self, src: Ipv6Addr, dst: Ipv6Addr) -> Option<&Route> {
        let v4 = dst.to_ipv4_mapped().is_some();
        // A prefix of IPv6 that is short enough to hold the v4-mapped addresses is not meant for them.
        let fits = |s: &&Shape| !v4 || (s.0 >= 96 && s.1 >= 96);
        self.shapes.keys().map(|Reverse(shape)| shape).filter(fits).find_map(|(to, from)| {
            let subnets = (Subnet::from_v6(dst, *to), Subnet::from_v6(src, *from));
            self.by_subnets.get(&subnets).map(Arc::as_ref)
        })
    }
}

impl Routes {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn get(&self, key: &RouteKey) -> Option<&Route> {
        self.all.get(key).map(Arc::as_ref)
    }

    /// All, tombstones included, by key.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.all.values().map(Arc::as_ref)
    }

    /// Those of packets with this tag, tombstones included.
    pub fn of(&self, vnet: u32, vlan: u16) -> impl Iterator<Item = &Route> {
        let least = Subnet::from_v6(Ipv6Addr::UNSPECIFIED, 0);
        let from = RouteKey { vnet, vlan, subnet: least, r_subnet: least };
        let is = move |key: &&RouteKey| (key.vnet, key.vlan) == (vnet, vlan);
        self.all.range(from..).take_while(move |(key, _)| is(key)).map(|(_, route)| route.as_ref())
    }

    /// Live ones that lead to a network.
    pub fn leading_to(&self, r_vnet: u32) -> impl Iterator<Item = &Route> {
        self.into.get(&r_vnet).into_iter().flatten().filter_map(|key| self.get(key))
    }

    /// The one that a packet takes.
    pub fn find(&self, req: &RouteReq) -> Option<&Route> {
        self.from.get(&(req.vnet, req.vlan))?.find(req.src, req.dst)
    }

    pub fn put(&mut self, key: RouteKey, record: Option<&Route>) {
        let from = (key.vnet, key.vlan);
        if let Some(old) = self.all.remove(&key) {
            if let Some(table) = self.from.get_mut(&from) {
                table.remove(&key);
                if table.shapes.is_empty() {
                    self.from.remove(&from);
                }
            }
            if let Some(keys) = self.into.get_mut(&old.r_vnet) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.into.remove(&old.r_vnet);
                }
            }
        }
        if let Some(route) = record {
            let route = Arc::new(route.clone());
            if !route.deleted {
                self.from.entry(from).or_default().insert(Arc::clone(&route));
                self.into.entry(route.r_vnet).or_default().insert(key);
            }
            self.all.insert(key, route);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Mac;
    use proptest::prelude::*;
    use svp::MacAddr;

    fn route(subnet: Subnet, r_subnet: Subnet, r_vnet: u32) -> Route {
        Route {
            vnet: 7,
            vlan: 0,
            subnet,
            r_subnet,
            r_dcid: 0,
            r_vnet,
            r_vlan: 0,
            r_send_mac: Mac(MacAddr([2; 6])),
            net_uuid: None,
            r_net_uuid: None,
            deleted: false,
            modified: 0,
        }
    }

    /// Few addresses and lengths, so that prefixes hold each other.
    fn subnet() -> impl Strategy<Value = Subnet> {
        (0..4u32, prop::sample::select(vec![0, 8, 95, 96, 100, 126, 127, 128]), any::<bool>())
            .prop_map(|(n, prefix, v4)| Subnet::from_v6(address(n, v4), prefix))
    }

    fn address(n: u32, v4: bool) -> Ipv6Addr {
        match v4 {
            true => std::net::Ipv4Addr::from(n).to_ipv6_mapped(),
            false => Ipv6Addr::from(u128::from(n)),
        }
    }

    proptest! {
        /// What is found is what looking at all of them one after the other finds.
        #[test]
        fn the_most_specific_route_wins(
            puts in prop::collection::vec((subnet(), subnet(), any::<bool>(), any::<bool>()), 0..40),
            asks in prop::collection::vec((0..4u32, 0..4u32, any::<bool>()), 1..20),
        ) {
            let mut routes = Routes::default();
            for (n, (subnet, r_subnet, there, deleted)) in puts.into_iter().enumerate() {
                let route = Route { deleted, ..route(subnet, r_subnet, n as u32 % 3) };
                routes.put(route.key(), there.then_some(&route));
            }
            for (src, dst, v4) in asks {
                let (src, dst) = (address(src, v4), address(dst, v4));
                let fits = |r: &&Route| {
                    let family = !v4 || (r.subnet.is_v4() && r.r_subnet.is_v4());
                    !r.deleted && family && r.subnet.contains(src) && r.r_subnet.contains(dst)
                };
                let rank = |r: &&Route| (r.r_subnet.prefix_v6(), r.subnet.prefix_v6());
                let want = routes.iter().filter(fits).max_by_key(rank);
                let req = RouteReq { vnet: 7, vlan: 0, src, dst };
                prop_assert_eq!(routes.find(&req), want);
            }
            for r_vnet in 0..3 {
                let want = routes.iter().filter(|r| !r.deleted && r.r_vnet == r_vnet);
                prop_assert!(routes.leading_to(r_vnet).eq(want));
            }
            prop_assert_eq!(routes.of(7, 0).count(), routes.len());
            // Nothing is left of what went.
            let keys: Vec<_> = routes.iter().map(Route::key).collect();
            keys.iter().for_each(|key| routes.put(*key, None));
            prop_assert!(routes.from.is_empty() && routes.into.is_empty() && routes.len() == 0);
        }
    }
}
