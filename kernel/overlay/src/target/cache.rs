// SPDX-License-Identifier: CDDL-1.0
//! The target cache of a dynamic link: where MAC addresses live, and what becomes of routed packets.
//!
//! ```text
//!   frame ─► macs[own realm, MAC] ─┬─ a place, or drop
//!                                  └─ router ─► routes[VLAN, source, destination]
//!                                                  └─► macs[realm, MAC] ─► a place
//! ```
//!
//! A route remembers the place that it led to last, and how often places had changed by then
//! ([`Table::changes`]): as long as that is the same number nobody has to look there again.
//!
//! A *realm* is a data center and a virtual network: within one a MAC address means one guest. A
//! route says the MAC address and realm of its destination and not where that is, so that a guest
//! that moves is known once. When its entry in `macs` is gone the route is asked for anew, for
//! nobody asks for an address of another realm by itself.
use super::limit::Limit;
use super::prefix::{Ip, Net};
use super::realm::{OWN, Realms, VL2};
use super::sockaddr;
use super::table::{Found, Name, Table, TableStats, Waiting};
use crate::request::{About, Requests};
use crate::stats::DropReason;
use core::sync::atomic::Ordering;
use ddi::Errno;
use ddi::map::Key;
use ddi::mblk::{Mblk, MblkChain};
use ddi::mem::{KArc, KVec};
use ddi::sys::sockaddr_in6;
use overlay_abi::ids::UnderlayAddr;

/// Where frames for a MAC address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dest {
    /// There.
    To(UnderlayAddr),
    /// Nowhere.
    Drop,
    /// Where their IP addresses say.
    Router,
}

/// By what routes are found: VLAN id, source and destination as numbers, so that numbers are in the
/// order of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RouteKey {
    pub vlan: u16,
    pub src: Ip,
    pub dst: Ip,
}

/// What becomes of a routed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    /// The network it goes to.
    pub vnet: u64,
    /// Whom it is for, a key of `macs`.
    pub to: u64,
    /// Its new source address.
    pub srcmac: [u8; 6],
    /// Its new VLAN id, 0 for untagged.
    pub vlan: u16,
}

/// An answer for a route: what becomes of the packet, and what was known of where that is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub hop: Hop,
    pub way: Way,
    /// [`Table::changes`] of `macs` when that was so.
    since: u64,
}

/// What a packet's head and its datagram need of a route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// New destination and source address.
    pub macs: [u8; 12],
    /// New VLAN id, 0 for untagged.
    pub vlan: u16,
    /// The network it goes to.
    pub vnet: u64,
    /// Where that is.
    pub to: sockaddr_in6,
}

impl Hop {
    /// The way over it when the destination lives there.
    pub fn way(&self, addr: UnderlayAddr) -> Way {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (VL2::of(self.to).mac, self.srcmac);
        let macs = [a, b, c, d, e, f, g, h, i, j, k, l];
        Way { macs, vlan: self.vlan, vnet: self.vnet, to: sockaddr(&addr) }
    }
}

impl Name for u64 {
    fn about(self) -> About {
        About::Mac(self)
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Key for RouteKey {
    #[inline]
    fn hash(self, seed: u64) -> u64 {
        let RouteKey { vlan, src, dst } = self;
        [u64::from(vlan), src.0, src.1, dst.0, dst.1].hash(seed)
    }
}

impl Name for RouteKey {
    fn about(self) -> About {
        About::Route(self)
    }

    fn next(self) -> Option<Self> {
        let RouteKey { vlan, src, dst } = self;
        match (dst.next(), src.next(), vlan.checked_add(1)) {
            (Some(dst), ..) => Some(RouteKey { dst, ..self }),
            (None, Some(src), _) => Some(RouteKey { vlan, src, dst: Ip::FIRST }),
            (None, None, Some(vlan)) => Some(RouteKey { vlan, src: Ip::FIRST, dst: Ip::FIRST }),
            (None, None, None) => None,
        }
    }
}

/// What is counted about a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheStats {
    pub macs: TableStats,
    pub routes: TableStats,
    pub queued_packets: u64,
    pub queued_bytes: u64,
}

/// See the module.
pub(crate) struct Cache {
    pub macs: Table<u64, Dest>,
    pub routes: Table<RouteKey, Route>,
    realms: Realms,
    waiting: KArc<Waiting>,
}

/// What a link allows its cache.
#[derive(Clone)]
pub(crate) struct Limits {
    pub macs: KArc<Limit>,
    pub routes: KArc<Limit>,
}

impl Cache {
    pub fn new(linkid: u32, target: u64, dcid: u32, limits: &Limits) -> Self {
        let waiting = KArc::new(Waiting::default());
        let Limits { macs, routes } = limits;
        Cache {
            macs: Table::new(linkid, target, macs.clone(), waiting.clone()),
            routes: Table::new(linkid, target, routes.clone(), waiting.clone()),
            realms: Realms::new(dcid),
            waiting,
        }
    }

    /// What `take` makes of the way of a packet for a router, if it is known. The table is locked
    /// meanwhile.
    #[inline(always)]
    pub fn routed<R>(&self, key: RouteKey, take: impl FnOnce(&Way) -> Option<R>) -> Option<R> {
        let now = self.macs.changes();
        self.routes.hit(key, |route| if route.since == now { take(&route.way) } else { None })
    }

    /// What becomes of a packet for a router that is not [`Cache::routed`].
    pub fn route(&self, requests: &Requests, key: RouteKey, mp: Mblk, size: usize) -> Found<Way> {
        let (mut mp, mut stale) = (mp, None);
        for _ in 0..2 {
            if let Some(stale) = stale {
                // Whoever made it anew meanwhile was faster: then this finds another, or none.
                let _ = self.routes.remove(key, |route| route.hop == stale);
            }
            // Before the place: a change between the two must show.
            let since = self.macs.changes();
            let (hop, same) = match self.routes.look_up(requests, key, mp, size) {
                Found::Known(Route { hop, .. }, mp) => (hop, mp),
                Found::Queued => return Found::Queued,
                Found::Drop(reason, mp) => return Found::Drop(reason, mp),
            };
            match self.macs.known(hop.to) {
                Some(Dest::To(addr)) => {
                    let way = hop.way(addr);
                    let new = Route { hop, way, since };
                    self.routes.amend(key, |route| {
                        if route.hop == hop {
                            *route = new;
                        }
                    });
                    return Found::Known(way, same);
                }
                Some(Dest::Drop) => return Found::Drop(DropReason::TxTargetDrop, same),
                // A packet goes through one router only.
                Some(Dest::Router) => return Found::Drop(DropReason::TxNotRoutable, same),
                None => (mp, stale) = (same, Some(hop)),
            }
        }
        Found::Drop(DropReason::TxNoRoute, mp)
    }

    /// The key of a guest in `macs`. `own`: the link's network.
    ///
    /// # Errors
    /// `ENOSPC`: too many realms. `ENOMEM`.
    pub fn place(&self, own: u64, vnet: u64, dcid: u32, mac: [u8; 6]) -> Result<u64, Errno> {
        Ok(VL2 { realm: self.realms.number(own, vnet, dcid)?, mac }.key())
    }

    /// Data center of an entry of `macs`; `None` for what is no guest's place.
    pub fn dcid(&self, key: u64) -> Option<u32> {
        self.realms.dcid(VL2::of(key).realm)
    }

    /// Answers a request for a route, with the place of its destination.
    ///
    /// # Errors
    /// `EINVAL`: nothing waits for it. `ENOMEM`.
    pub fn answer_route(
        &self,
        requests: &Requests,
        key: RouteKey,
        request: u64,
        hop: Hop,
        addr: UnderlayAddr,
        mut sent: impl FnMut(MblkChain, Option<Way>),
    ) -> Result<(), Errno> {
        if !self.routes.waits(key, request) {
            return Err(Errno::EINVAL);
        }
        // Before the place: a change between the two must show.
        let since = self.macs.changes();
        // The place first: nobody shall find a route that leads nowhere.
        self.macs.set(requests, hop.to, Dest::To(addr), true, |packets| sent(packets, None))?;
        let way = hop.way(addr);
        let route = Route { hop, way, since };
        self.routes.respond(key, request, route, |packets| sent(packets, Some(way)))
    }

    /// What is known of a guest in a data center, in the link's own network first.
    pub fn get(&self, dcid: u32, mac: [u8; 6]) -> Option<Dest> {
        self.realms.of_dcid(dcid).find_map(|realm| self.macs.get(VL2 { realm, mac }.key()))
    }

    /// Sets what is known of a guest in a data center, in the link's own network; what routes to
    /// other networks know of that address is asked for anew.
    ///
    /// # Errors
    /// `ENOMEM`, `ENOSPC`.
    pub fn set(
        &self,
        requests: &Requests,
        (own, dcid, mac): (u64, u32, [u8; 6]),
        dest: Dest,
        done: impl FnMut(MblkChain),
    ) -> Result<(), Errno> {
        let key = self.place(own, own, dcid, mac)?;
        for realm in self.realms.of_dcid(dcid) {
            let other = VL2 { realm, mac }.key();
            if other != key {
                let _ = self.macs.remove(other, |_| true);
            }
        }
        self.macs.set(requests, key, dest, dest != Dest::Drop, done)
    }

    /// Forgets a guest in a data center, in all networks. If it is being asked for, it is asked for anew.
    ///
    /// # Errors
    /// `ENOENT`: nothing is known of it.
    pub fn remove(&self, requests: &Requests, dcid: u32, mac: [u8; 6]) -> Result<(), Errno> {
        let mut result = Err(Errno::ENOENT);
        for realm in self.realms.of_dcid(dcid) {
            let key = VL2 { realm, mac }.key();
            result = self.macs.remove(key, |_| true).or(result);
            self.macs.ask_again(requests, key);
        }
        result
    }

    /// Forgets routes; how many it looked at, and how many it forgot.
    pub fn remove_net(&self, requests: &Requests, vlan: u16, src: Net, dst: Net) -> (usize, usize) {
        let from = RouteKey { vlan, src: src.first(), dst: dst.first() };
        let inside = |key: RouteKey| key.vlan == vlan && src.has(key.src);
        self.routes.remove_range(requests, from, inside, |key| dst.has(key.dst))
    }

    /// Forgets all answers, also those under way.
    pub fn flush(&self, requests: &Requests) {
        self.macs.flush(requests);
        self.routes.flush(requests);
    }

    /// Appends what `show` makes of the places of guests, as [`Table::walk`] does.
    pub fn walk_own<T>(
        &self,
        from: u64,
        max: usize,
        show: impl Fn(u64, &Dest) -> Option<T>,
        out: &mut KVec<T>,
    ) -> Result<Option<u64>, Errno> {
        self.macs.walk(from, |key| VL2::of(key).realm == OWN, max, show, out)
    }

    /// Empties the cache, giving all packets that waited to `gone`.
    pub fn drain(&self, mut gone: impl FnMut(Mblk)) {
        self.macs.drain(&mut gone);
        self.routes.drain(gone);
    }

    /// Makes both tables as small as their limits say.
    pub fn trim(&self) {
        self.macs.trim();
        self.routes.trim();
    }

    /// Counts as of now.
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            macs: self.macs.stats(),
            routes: self.routes.stats(),
            queued_packets: self.waiting.packets.load(Ordering::Relaxed) as u64,
            queued_bytes: self.waiting.bytes.load(Ordering::Relaxed) as u64,
        }
    }
}
