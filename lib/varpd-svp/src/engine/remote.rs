// SPDX-License-Identifier: CDDL-1.0
//! A directory: a name, the peers behind it, and the instances that ask them.

use super::api::{Attachment, DnsError, InstanceId, Output, RemoteId, RemoteKey, Time};
use super::context::Context;
use super::dns::Dns;
use super::event::{Event, What, Why};
use super::health::Cause;
use super::log::LogCycle;
use super::peer::{Heard, Peer};
use super::status::{RemoteCounters, RemoteStatus};
use overlay_abi::ids::MacAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use svp::{Refusal, Version};

#[derive(Debug)]
pub(super) struct Remote {
    id: RemoteId,
    pub key: RemoteKey,
    pub instances: BTreeMap<InstanceId, Instance>,
    pub peers: BTreeMap<SocketAddr, Peer>,
    /// The peer that was asked last.
    pub asked: Option<SocketAddr>,
    pub dns: Dns,
    pub log: LogCycle,
    /// What the instances were told.
    pub degraded: Option<Cause>,
    /// That it has no routes was said.
    pub told_no_routes: bool,
    pub counters: RemoteCounters,
}

/// What a remote knows of an instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instance {
    pub vnet: u32,
    /// See [`Attachment`].
    pub dcid: u32,
    pub router: Option<MacAddr>,
}

impl Remote {
    pub fn new(cx: &mut Context, id: RemoteId, key: RemoteKey) -> Remote {
        let mut dns = Dns::new(cx.now);
        dns.due(cx, id, &key.host);
        Remote {
            id,
            instances: BTreeMap::new(),
            peers: BTreeMap::new(),
            asked: None,
            dns,
            log: LogCycle::new(cx),
            degraded: None,
            told_no_routes: false,
            counters: RemoteCounters::default(),
            key,
        }
    }

    pub fn event(&self, cx: &mut Context, what: What) {
        cx.push(Output::Event(Event { remote: self.id, what }));
    }

    pub fn attach(&mut self, cx: &mut Context, instance: InstanceId, with: &Attachment) {
        let Attachment { vnet, dcid, .. } = *with;
        self.instances.insert(instance, Instance { vnet, dcid, router: with.router() });
        self.tell(cx, instance);
    }

    /// Whether it was the last one.
    pub fn detach(&mut self, cx: &mut Context, instance: InstanceId) -> bool {
        self.abandon(cx, instance);
        self.instances.remove(&instance);
        self.instances.is_empty()
    }

    /// Closes all connections.
    pub fn shut(&mut self, cx: &mut Context) {
        self.peers.values_mut().for_each(|peer| peer.shut(cx));
    }

    /// The instances on a virtual network.
    pub fn on(&self, vnet: u32) -> impl Iterator<Item = (InstanceId, &Instance)> {
        let all = self.instances.iter().map(|(instance, with)| (*instance, with));
        all.filter(move |(_, with)| with.vnet == vnet)
    }

    pub fn resolved(&mut self, cx: &mut Context, result: Result<Vec<IpAddr>, DnsError>) {
        if !self.dns.is_asking() {
            return;
        }
        let result = result.and_then(|found| match found.is_empty() {
            true => Err(DnsError::NoAddress),
            false => Ok(found),
        });
        match result {
            Ok(found) => {
                self.counters.dns_ok = self.counters.dns_ok.saturating_add(1);
                self.dns.succeeded(cx);
                self.change_members(cx, &found);
            }
            Err(why) => {
                self.counters.dns_errors = self.counters.dns_errors.saturating_add(1);
                self.dns.failed(cx, why);
                self.event(cx, What::Dns(why));
            }
        }
    }

    /// The members are the peers of these addresses from now on.
    fn change_members(&mut self, cx: &mut Context, found: &[IpAddr]) {
        let port = self.key.port;
        let mut addrs: BTreeSet<SocketAddr> =
            found.iter().map(|ip| SocketAddr::new(ip.to_canonical(), port)).collect();
        let all = addrs.len();
        if let Some(first) = addrs.iter().nth(cx.limits.addresses).copied() {
            addrs.split_off(&first);
        }
        let members = self.peers.iter().filter(|(_, peer)| peer.member);
        let members: BTreeSet<SocketAddr> = members.map(|(addr, _)| *addr).collect();
        if members == addrs {
            return;
        }
        if addrs.len() < all {
            self.event(cx, What::TooMany(all));
        }
        let failing = self.all_failing();
        for addr in members.difference(&addrs) {
            self.event(cx, What::Left(*addr));
            if let Some(peer) = self.peers.get_mut(addr) {
                peer.member = false;
            }
        }
        for addr in addrs.difference(&members) {
            self.event(cx, What::Joined(*addr));
            if let Some(peer) = self.peers.get_mut(addr) {
                // It winds down, and need not any more.
                peer.member = true;
            } else {
                let peer = Peer::new(cx, self.id, *addr, failing);
                self.peers.insert(*addr, peer);
            }
        }
    }

    pub fn received(&mut self, cx: &mut Context, addr: SocketAddr, bytes: &[u8]) {
        if let Some(peer) = self.peers.get_mut(&addr) {
            peer.received(cx.now, bytes);
        }
        loop {
            match self.next(addr) {
                Ok(None) => return,
                Ok(Some(Heard::Active(version))) => {
                    self.event(cx, What::Active(addr, version));
                    self.told_no_routes &= version < Version::V2;
                    if self.peers.values().filter(|peer| peer.is_active()).count() == 1 {
                        self.log.hurry(cx);
                    }
                }
                Ok(Some(Heard::Reply(query, reply))) => self.replied(cx, query, reply),
                Err(why) => return self.lost(cx, addr, Why::Refused(why)),
            }
        }
    }

    fn next(&mut self, addr: SocketAddr) -> Result<Option<Heard>, Refusal> {
        self.peers.get_mut(&addr).map_or(Ok(None), Peer::next)
    }

    /// The connection was not made or has ended.
    pub fn ended(&mut self, cx: &mut Context, addr: SocketAddr, why: Option<String>) {
        let Some(why) = self.peers.get(&addr).map(|peer| peer.ended(why)) else { return };
        self.lost(cx, addr, why);
    }

    pub fn deadline(&self, cx: &Context) -> Option<Time> {
        let peers = self.peers.values().filter_map(|peer| peer.deadline(&cx.limits));
        peers.chain(self.dns.deadline(cx.limits.refresh)).chain(self.log.deadline()).min()
    }

    /// Does what is due.
    pub fn tick(&mut self, cx: &mut Context) {
        let now = cx.now;
        let due = |deadline: Option<Time>| deadline.is_some_and(|at| at <= now);
        if due(self.dns.deadline(cx.limits.refresh)) {
            self.dns.due(cx, self.id, &self.key.host);
        }
        let mut dead = Vec::new();
        for (addr, peer) in &mut self.peers {
            if due(peer.deadline(&cx.limits)) {
                dead.extend(peer.due(cx).map(|why| (*addr, why)));
            }
        }
        for (addr, why) in dead {
            self.lost(cx, addr, why);
        }
        if due(self.log.deadline()) {
            self.log_due(cx);
        }
    }

    /// Ends every input: lets go of peers that are not needed any more, and tells how things are.
    pub fn settle(&mut self, cx: &mut Context) {
        self.peers.retain(|_, peer| !peer.reap(cx));
        self.assess(cx);
    }

    pub fn status(&self) -> RemoteStatus {
        RemoteStatus {
            id: self.id.0,
            host: self.key.host.clone(),
            port: self.key.port,
            underlay_ip: self.key.underlay_ip,
            instances: self.instances.keys().map(|instance| instance.0).collect(),
            degraded: self.message(),
            counters: self.counters,
            peers: self.peers.values().map(Peer::status).collect(),
        }
    }
}
