// SPDX-License-Identifier: CDDL-1.0
//! Which ports a frame is for.

use crate::net::ether::{self, ETHER_HDR, Link, VLAN_TAG};
use crate::net::msg::{Chain, Msg};
use crate::net::offload::HEADROOM;
use crate::net::port::Port;
use std::sync::Arc;

/// The ports of a MAC.
#[derive(Default)]
pub struct Ports {
    /// VNICs by address and VLAN id, sorted.
    stations: Vec<(u64, Arc<Port>)>,
    /// All of them.
    pub all: Vec<Arc<Port>>,
    /// Raw openings: they see everything.
    raw: Vec<Arc<Port>>,
}

fn key(addr: &ether::Mac, vid: u16) -> u64 {
    let a = addr;
    u64::from_be_bytes([a[0], a[1], a[2], a[3], a[4], a[5], (vid >> 8) as u8, vid as u8])
}

impl Ports {
    /// The station that has an address on a VLAN.
    pub fn station(&self, addr: &ether::Mac, vid: u16) -> Option<&Arc<Port>> {
        let k = key(addr, vid);
        let i = self.stations.binary_search_by_key(&k, |(k, _)| *k).ok()?;
        Some(&self.stations[i].1)
    }

    /// This table and a port that was not in it.
    pub fn with(&self, port: &Arc<Port>) -> Ports {
        let mut t = self.without(port);
        match &port.addr {
            Some(a) => {
                t.stations.push((key(a, port.vid), port.clone()));
                t.stations.sort_by_key(|(k, _)| *k);
            }
            None => t.raw.push(port.clone()),
        }
        t.all.push(port.clone());
        t
    }

    /// This table without a port.
    pub fn without(&self, port: &Arc<Port>) -> Ports {
        let other = |p: &&Arc<Port>| !Arc::ptr_eq(p, port);
        Ports {
            stations: self.stations.iter().filter(|(_, p)| other(&p)).cloned().collect(),
            all: self.all.iter().filter(other).cloned().collect(),
            raw: self.raw.iter().filter(other).cloned().collect(),
        }
    }

    /// The station for a unicast frame: the one on the frame's VLAN, or else one that does its own
    /// VLANs.
    fn unicast(&self, link: &Link) -> Option<&Arc<Port>> {
        let vid = link.vid();
        if vid != 0
            && let Some(p) = self.station(&link.dst, vid)
        {
            return Some(p);
        }
        self.station(&link.dst, 0)
    }

    /// Takes frames of the wire to the ports that are to have them. Runs of frames for one station
    /// stay together.
    pub fn arrive(&self, mut chain: Chain) {
        let mut run: Option<(&Arc<Port>, Chain)> = None;
        while let Some(m) = chain.pop() {
            let Some(link) = Link::parse(m.head()).or_else(|| peek_link(&m)) else { continue };
            let station = match self.unicast(&link) {
                Some(p) if p.vid == 0 && self.raw.is_empty() => p,
                _ => {
                    flush(run.take());
                    self.deliver(m, &link, None);
                    continue;
                }
            };
            if let Some(other) = run.take_if(|(p, _)| !Arc::ptr_eq(p, station)) {
                flush(Some(other));
            }
            run.get_or_insert_with(|| (station, Chain::default())).1.push(m);
        }
        flush(run);
    }

    /// Fans a frame out to the ports that are to have it; `from` is the one that sent it, `None`
    /// for the wire. What the wire should have (too) comes back.
    pub fn deliver(&self, msg: Msg, link: &Link, from: Option<&Arc<Port>>) -> Option<Msg> {
        let other = |p: &Arc<Port>| from.is_none_or(|f| !Arc::ptr_eq(f, p));
        if ether::is_group(&link.dst) {
            for p in self.all.iter().filter(|p| other(p) && p.hears(link)) {
                if let Some(c) = msg.flatten(HEADROOM) {
                    p.receive(c, link);
                }
            }
            return Some(msg);
        }
        for p in self.raw.iter().filter(|p| other(p)) {
            if let Some(c) = msg.flatten(HEADROOM) {
                p.receive(c, link);
            }
        }
        match self.unicast(link) {
            Some(p) => {
                // To itself: nobody else would answer.
                if other(p) {
                    p.receive(msg, link);
                }
                None
            }
            None => Some(msg),
        }
    }
}

/// Gives a run of frames to its station.
fn flush(run: Option<(&Arc<Port>, Chain)>) {
    if let Some((port, frames)) = run {
        port.receive_run(frames, None);
    }
}

/// Reads a link header that may be spread over blocks.
fn peek_link(msg: &Msg) -> Option<Link> {
    let mut b = [0; ETHER_HDR + VLAN_TAG];
    let n = msg.peek(&mut b);
    Link::parse(&b[..n])
}
