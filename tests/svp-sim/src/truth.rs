// SPDX-License-Identifier: CDDL-1.0
//! What a directory said at any time.

use portolan::index::Index;
use portolan::net::octets;
use std::collections::BTreeMap;
use std::net::IpAddr;
use svp::MacAddr;
use svp::message::{RouteAck, RouteReq, Underlay};
use varpd_svp::engine::Time;

/// What can be asked in a run.
#[derive(Clone, Debug, Default)]
pub struct Universe {
    pub vnets: Vec<u32>,
    pub macs: Vec<MacAddr>,
    pub ips: Vec<IpAddr>,
    pub routes: Vec<RouteReq>,
}

/// A question, apart from who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Vl2(u32, MacAddr),
    Vl3(u32, IpAddr),
    /// From a network, by its place in the universe.
    Route(u32, usize),
}

impl Key {
    /// Whether it can be asked in a network.
    pub fn is_of(self, vnet: u32) -> bool {
        match self {
            Key::Vl2(of, _) | Key::Vl3(of, _) | Key::Route(of, _) => of == vnet,
        }
    }
}

/// The answer at some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Said {
    Nothing,
    Vl2(Underlay),
    Vl3(MacAddr, Underlay),
    Route(RouteAck),
}

/// Every answer with the time from which it was given.
#[derive(Default)]
pub struct Truth(BTreeMap<Key, Vec<(Time, Said)>>);

pub fn say(index: &Index, universe: &Universe, key: Key) -> Said {
    match key {
        Key::Vl2(vnet, mac) => index.vl2(vnet, mac).map_or(Said::Nothing, Said::Vl2),
        Key::Vl3(vnet, ip) => {
            let found = index.vl3(vnet, octets(ip).into());
            found.map_or(Said::Nothing, |(mac, at)| Said::Vl3(mac, at))
        }
        Key::Route(_, n) => index.route(&universe.routes[n]).map_or(Said::Nothing, Said::Route),
    }
}

impl Universe {
    pub fn keys(&self) -> Vec<Key> {
        let vl2 = self.vnets.iter().flat_map(|v| self.macs.iter().map(|m| Key::Vl2(*v, *m)));
        let vl3 = self.vnets.iter().flat_map(|v| self.ips.iter().map(|i| Key::Vl3(*v, *i)));
        let routes = self.routes.iter().enumerate().map(|(n, r)| Key::Route(r.vnet, n));
        vl2.chain(vl3).chain(routes).collect()
    }
}

impl Truth {
    /// Takes down what is said from now on.
    pub fn note(&mut self, now: Time, index: &Index, universe: &Universe) {
        for key in universe.keys() {
            let said = say(index, universe, key);
            let all = self.0.entry(key).or_default();
            if all.last().is_none_or(|(_, last)| *last != said) {
                all.push((now, said));
            }
        }
    }

    /// Whether something was so at any time from `since` on.
    pub fn ever(&self, key: Key, since: Time, so: impl Fn(&Said) -> bool) -> bool {
        let all = self.0.get(&key).map_or(&[][..], Vec::as_slice);
        let first = all.partition_point(|(from, _)| *from <= since).saturating_sub(1);
        all[first..].iter().any(|(_, said)| so(said))
    }
}
