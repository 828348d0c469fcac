// SPDX-License-Identifier: CDDL-1.0
//! Over which connection a question goes, and what its reply is to whom.

use super::api::{Answer, Drop, InstanceId, Question, RouteAnswer, Token};
use super::context::Context;
use super::event::{What, Why};
use super::peer::Fitness;
use super::query::{Purpose, Query, Reply};
use super::remote::{Instance, Remote};
use overlay_abi::ids::{MacAddr, UnderlayAddr};
use std::cmp::Reverse;
use std::net::{Ipv6Addr, SocketAddr};
use svp::Status;
use svp::client::Question as Wire;
use svp::log::Entry;
use svp::message::{RouteAck, RouteReq, Underlay, Vl2Ack, Vl3Ack};

/// Most bits of a network's number in VXLAN.
const VNET_BITS: u32 = 24;
/// Largest VLAN id.
const VLAN_MAX: u16 = 4094;

impl Instance {
    /// Who answers for an address: the guest and its host, or us as the router (section 4).
    pub fn owner(&self, ack: &Vl3Ack) -> Option<(MacAddr, Option<UnderlayAddr>)> {
        match place(ack.ul3) {
            Some(at) => Some((ack.mac, Some(at))),
            None => Some((self.router?, None)),
        }
    }

    /// How a packet leaves the network. What the directory calls our data centre is ours.
    fn route(&self, ack: &RouteAck) -> Answer {
        let Some(at) = place(ack.ul3) else { return Answer::Drop(Drop::NoUnderlay) };
        let RouteAck { dcid, vnet, vlan, src_mac, dst_mac, .. } = *ack;
        let macs =
            [src_mac, dst_mac].iter().all(|mac| !mac.is_multicast() && *mac != MacAddr::ZERO);
        if !macs || vlan > VLAN_MAX || vnet.checked_shr(VNET_BITS) != Some(0) {
            return Answer::Drop(Drop::Nonsense);
        }
        let dcid = if dcid == self.dcid { 0 } else { dcid };
        Answer::Route(RouteAnswer { dcid, vnet, vlan, at, src_mac, dst_mac })
    }
}

/// Where packets can be sent to.
fn place(ul3: Underlay) -> Option<UnderlayAddr> {
    let none = ul3.port == 0 || ul3.ip.is_unspecified();
    (!none).then(|| UnderlayAddr { ip: ul3.ip.octets(), port: ul3.port })
}

/// What a status other than OK is to a lookup.
fn refused(status: Status) -> Answer {
    Answer::Drop(if status == Status::NOTFOUND { Drop::NotFound } else { Drop::Failed })
}

impl Remote {
    /// A lookup of one of the instances.
    pub fn lookup(
        &mut self,
        cx: &mut Context,
        token: Token,
        instance: InstanceId,
        question: Question,
    ) {
        let Some(&Instance { vnet, router, .. }) = self.instances.get(&instance) else { return };
        self.counters.lookups = self.counters.lookups.saturating_add(1);
        let is_v4 = |ip: Ipv6Addr| ip.to_ipv4_mapped().is_some();
        let question = match question {
            // Nobody but us knows it.
            Question::Vl2(mac) if router == Some(mac) => {
                return self.answer(cx, token, Answer::Router);
            }
            Question::Vl2(mac) => Wire::Vl2 { mac, vnet },
            Question::Vl3(ip) => Wire::Vl3 { ip, vnet },
            Question::Route { src, dst, .. } if is_v4(src) != is_v4(dst) => {
                return self.answer(cx, token, Answer::Drop(Drop::Mixed));
            }
            Question::Route { vlan, src, dst } => Wire::Route(RouteReq { vnet, vlan, src, dst }),
        };
        if let Err((query, why)) =
            self.ask(cx, Query::new(question, Purpose::Lookup { token, instance }))
        {
            if why == Drop::NoRoutes && !std::mem::replace(&mut self.told_no_routes, true) {
                self.event(cx, What::NoRoutes);
            }
            self.fail(cx, &query, why);
        }
    }

    /// Asks the next peer, of those that can be asked, after the one that was asked last. Gives the query back
    /// if there is none.
    pub(super) fn ask(&mut self, cx: &mut Context, query: Query) -> Result<(), (Query, Drop)> {
        let (op, last) = (query.question.op(), self.asked);
        let peers =
            self.peers.iter_mut().map(|(addr, peer)| (peer.fitness(&cx.limits, op), addr, peer));
        let best =
            peers.max_by_key(|(fitness, addr, _)| (*fitness, Some(**addr) > last, Reverse(**addr)));
        match best {
            Some((Fitness::Fit, addr, peer)) => {
                self.asked = Some(*addr);
                peer.ask(cx, query).map_err(|query| (query, Drop::Unreachable))
            }
            Some((Fitness::Full, ..)) => Err((query, Drop::Busy)),
            Some((Fitness::TooOld, ..)) => Err((query, Drop::NoRoutes)),
            Some((Fitness::Unfit, ..)) | None => Err((query, Drop::Unreachable)),
        }
    }

    /// A connection is lost: what was outstanding on it is asked again, once.
    pub(super) fn lost(&mut self, cx: &mut Context, addr: SocketAddr, why: Why) {
        let Some(peer) = self.peers.get_mut(&addr) else { return };
        let queries = peer.lose(cx, why.clone());
        self.event(cx, What::Lost(addr, why));
        for mut query in queries {
            if query.purpose == Purpose::Nobody {
                continue;
            }
            if std::mem::replace(&mut query.retried, true) {
                self.fail(cx, &query, Drop::Lost);
            } else if self.ask_again(cx, query) {
                self.counters.retried = self.counters.retried.saturating_add(1);
            }
        }
    }

    /// Asks anew; whether that could be done. Who waits for it is told if not.
    fn ask_again(&mut self, cx: &mut Context, mut query: Query) -> bool {
        query.crossed = false;
        let asked = self.ask(cx, query);
        if let Err((query, _)) = &asked {
            self.fail(cx, query, Drop::Lost);
        }
        asked.is_ok()
    }

    /// Tells who waits for it that there is no reply.
    fn fail(&mut self, cx: &mut Context, query: &Query, why: Drop) {
        match query.purpose {
            Purpose::Lookup { token, .. } => self.answer(cx, token, Answer::Drop(why)),
            Purpose::Log | Purpose::LogRm => self.log_failed(cx, None),
            Purpose::Follow(place) => self.followed(cx, place, None),
            Purpose::Nobody => {}
        }
    }

    /// A good reply.
    pub(super) fn replied(&mut self, cx: &mut Context, query: Query, reply: Reply) {
        match (query.purpose, reply) {
            (Purpose::Lookup { .. }, _) if query.crossed => {
                if self.ask_again(cx, query) {
                    self.counters.crossed = self.counters.crossed.saturating_add(1);
                }
            }
            (Purpose::Lookup { token, instance }, reply) => {
                let answer = self.found(instance, &reply);
                self.answer(cx, token, answer);
            }
            (Purpose::Log, Reply::Log(status, entries)) => self.log_given(cx, status, entries),
            (Purpose::Log, Reply::LogRefused(why)) => {
                self.log_failed(cx, Some(What::LogRefused(why)));
            }
            (Purpose::LogRm, Reply::LogRm(status)) => {
                if let Wire::LogRm(ids) = query.question {
                    self.log_removed(cx, status, ids);
                }
            }
            (Purpose::Follow(place), Reply::Vl3(ack)) => self.followed(cx, place, Some(ack)),
            // The connection sees to it that a reply is of the operation that belongs to its request.
            (Purpose::Nobody | Purpose::Log | Purpose::LogRm | Purpose::Follow(_), _) => {}
        }
    }

    fn found(&self, instance: InstanceId, reply: &Reply) -> Answer {
        match reply {
            Reply::Vl2(Vl2Ack { status: Status::OK, ul3 }) => {
                place(*ul3).map_or(Answer::Drop(Drop::NoUnderlay), Answer::Vl2)
            }
            Reply::Vl3(ack) if ack.status == Status::OK => {
                let owner = self.instances.get(&instance).and_then(|with| with.owner(ack));
                owner.map_or(Answer::Drop(Drop::NoUnderlay), |(mac, at)| Answer::Vl3 { mac, at })
            }
            Reply::Route(ack) if ack.status == Status::OK => {
                let with = self.instances.get(&instance);
                with.map_or(Answer::Drop(Drop::Detached), |with| with.route(ack))
            }
            Reply::Vl2(Vl2Ack { status, .. })
            | Reply::Vl3(Vl3Ack { status, .. })
            | Reply::Route(RouteAck { status, .. }) => refused(*status),
            Reply::Log(..) | Reply::LogRefused(_) | Reply::LogRm(_) => Answer::Drop(Drop::Failed),
        }
    }

    fn answer(&mut self, cx: &mut Context, token: Token, answer: Answer) {
        self.counters.answered(&answer);
        cx.answer(token, answer);
    }

    /// Marks the lookups whose answers this entry may make stale.
    pub(super) fn cross(&mut self, entry: &Entry) {
        for query in self.peers.values_mut().flat_map(|peer| peer.outstanding()) {
            query.crossed |= query.may_miss(entry);
        }
    }

    /// Answers all lookups of an instance that goes.
    pub(super) fn abandon(&mut self, cx: &mut Context, instance: InstanceId) {
        let mut tokens = Vec::new();
        for query in self.peers.values_mut().flat_map(|peer| peer.outstanding()) {
            match query.purpose {
                Purpose::Lookup { token, instance: of } if of == instance => {
                    query.purpose = Purpose::Nobody;
                    tokens.push(token);
                }
                _ => {}
            }
        }
        for token in tokens {
            self.answer(cx, token, Answer::Drop(Drop::Detached));
        }
    }
}
