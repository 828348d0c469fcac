// SPDX-License-Identifier: CDDL-1.0
//! Random peers, resolvers and instances, each run out of one seed. Then everything is well again, and the engine
//! must be, too. `ENGINE_SEEDS=10000` runs more of them.

use crate::rig::*;
use overlay_abi::ids::MacAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;
use svp::log::{Entry, Named, Route};
use svp::message::RouteAck;
use svp::server::Token as Reply;
use svp::{Id, Op, Status, Uuid, Version};
use varpd_svp::engine::*;

const SEEDS: u64 = 200;
const STEPS: usize = 400;
/// Few, so that the bound is met.
const QUESTIONS: usize = 8;
/// The largest request but one, ROUTE_REQ, and the largest LOG_RM: of a LOG_ACK full of VL2 entries.
const WAITING: usize = QUESTIONS * 56 + 16 + 4 + 32 * 16;

struct Chaos {
    rig: Rig,
    random: fastrand::Rng,
    /// Questions that a peer has not answered.
    owed: BTreeMap<ConnId, Vec<(Reply, Ask)>>,
    /// Bytes that a peer has not sent.
    unsent: BTreeMap<ConnId, Vec<u8>>,
    /// Entries that were in a log.
    given: BTreeSet<Uuid>,
    /// When members may have changed.
    changed: Vec<Time>,
    resolving: Vec<RemoteId>,
}

impl Chaos {
    fn new(seed: u64) -> Chaos {
        let limits = Limits { questions: QUESTIONS, addresses: 3, ..Limits::default() };
        Chaos {
            rig: Rig::with(limits, seed),
            random: fastrand::Rng::with_seed(seed),
            owed: BTreeMap::new(),
            unsent: BTreeMap::new(),
            given: BTreeSet::new(),
            changed: Vec::new(),
            resolving: Vec::new(),
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.u32(0..100) < percent
    }

    fn step(&mut self) {
        match self.random.u32(0..100) {
            0..30 => self.time(),
            30..50 => self.lookup(),
            50..54 => self.attach(),
            54..56 => {
                let instance = InstanceId(self.random.u64(0..3));
                self.rig.input(Input::Detach { instance });
            }
            56..62 => self.resolve(),
            _ => self.peer(),
        }
        self.resolving.extend(self.rig.resolves());
        self.rig.out.clear();
        self.check();
    }

    fn time(&mut self) {
        let most = if self.chance(10) { 40_000 } else { 800 };
        let time = Duration::from_millis(self.random.u64(0..most));
        self.rig.pass(time);
    }

    fn lookup(&mut self) {
        let instance = InstanceId(self.random.u64(0..3));
        let question = match self.random.u32(0..3) {
            0 => Question::Vl2(MacAddr([self.random.u8(0..3); 6])),
            1 => Question::Vl3(ip(self.random.u8(0..3))),
            _ if self.chance(10) => {
                Question::Route { vlan: 3, src: AT.ip, dst: Ipv6Addr::LOCALHOST }
            }
            _ => Question::Route { vlan: 3, src: AT.ip, dst: AT.ip },
        };
        for _ in 0..self.random.u32(0..8) {
            self.rig.lookup_as(instance, question);
        }
    }

    fn attach(&mut self) {
        let oui = self.random.bool().then_some([2, 8, 0x20]);
        let instance = InstanceId(self.random.u64(0..3));
        self.rig.attach_as(instance, self.random.u32(0..3), oui);
    }

    fn resolve(&mut self) {
        if self.resolving.is_empty() {
            return;
        }
        let remote = self.resolving.remove(0);
        let result = match self.random.u32(0..10) {
            0 => Err(DnsError::NoAddress),
            1 => Err(DnsError::Temporary),
            2 => Ok(vec![]),
            _ => Ok((1..=5).filter(|_| self.random.bool()).map(ip).collect()),
        };
        self.changed.push(self.rig.now);
        self.rig.answer_dns(remote, result);
    }

    /// A peer does something.
    fn peer(&mut self) {
        let conns: Vec<_> = self.rig.far.keys().copied().collect();
        if conns.is_empty() {
            return;
        }
        let conn = conns[self.random.usize(0..conns.len())];
        if !self.rig.far[&conn].connected {
            match self.random.u32(0..3) {
                0 => self.rig.ended(conn, Some("Connection refused")),
                _ => self.rig.connected(conn),
            }
            return;
        }
        let asked = self.rig.asked(conn);
        for (_, ask) in &asked {
            if let Ask::LogRm(ids) = ask {
                assert!(ids.iter().all(|id| self.given.contains(id)), "never given: {ids:?}");
            }
        }
        self.owed.entry(conn).or_default().extend(asked);
        match self.random.u32(0..100) {
            0..3 => self.rig.ended(conn, None),
            3..6 => self.rig.ended(conn, Some("Connection reset by peer")),
            6..12 => self.nonsense(conn),
            _ => self.answers(conn),
        }
        self.send(conn);
    }

    /// Some of what is owed, in any order.
    fn answers(&mut self, conn: ConnId) {
        let mut owed = self.owed.remove(&conn).unwrap_or_default();
        self.random.shuffle(&mut owed);
        let keep = self.random.usize(0..=owed.len() / 2);
        for (token, ask) in owed.split_off(keep) {
            let mut out = self.unsent.remove(&conn).unwrap_or_default();
            self.answer(token, &ask, &mut out);
            self.unsent.insert(conn, out);
        }
        self.owed.insert(conn, owed);
    }

    fn answer(&mut self, mut token: Reply, ask: &Ask, out: &mut Vec<u8>) {
        let status = Status(self.random.u32(0..6));
        let bad = self.chance(20);
        match ask {
            Ask::Ping => {
                token.version = if self.random.bool() { Version::V1 } else { Version::V2 };
                token.pong(out);
            }
            Ask::Vl2(..) if bad => token.vl2(out, Err(status)),
            Ask::Vl3(..) if bad => token.vl3(out, Err(status)),
            Ask::Route(_) if self.chance(30) => {
                token.route(out, Ok(RouteAck { dst_mac: MacAddr::ZERO, ..ROUTE }));
            }
            Ask::Route(_) if bad => token.route(out, Err(status)),
            Ask::LogRm(_) if bad => token.log_rm(out, status),
            Ask::Log(..) => {
                let mut entries = Vec::new();
                for _ in 0..self.random.u32(0..12) {
                    let entry = self.entry();
                    if entry.entry.version() <= token.version {
                        self.given.insert(entry.id);
                        entries.push(entry);
                    }
                }
                token.log(out, if bad { status } else { Status::OK }, entries);
            }
            ask => good(token, ask, out),
        }
    }

    fn entry(&mut self) -> Named {
        let vnet = self.random.u32(0..3);
        let entry = match self.random.u32(0..3) {
            0 => Entry::Vl2 { mac: MacAddr([self.random.u8(0..3); 6]), vnet },
            1 => Entry::Vl3 { ip: AT.ip, vlan: 3, vnet },
            _ => Entry::Route(Route {
                src_vnet: vnet,
                dst_vnet: vnet,
                dcid: 1,
                src: AT.ip,
                dst: AT.ip,
                src_vlan: 0,
                dst_vlan: 0,
                // More than there are, now and then.
                src_prefix: self.random.u8(60..160),
                dst_prefix: 120,
            }),
        };
        // Few, so that they come again.
        Named { id: Uuid::from_u128(self.random.u128(0..40)), entry }
    }

    /// What no directory says.
    fn nonsense(&mut self, conn: ConnId) {
        let id = match self.owed.get(&conn).and_then(|owed| owed.first()) {
            Some((token, _)) if self.random.bool() => token.id,
            _ => Id::from(self.random.u32(..)),
        };
        let op = Op::ALL[self.random.usize(0..Op::ALL.len())];
        let version = self.random.u16(0..4);
        let size = match self.random.bool() {
            true => *op.sizes().start() as usize,
            false => self.random.usize(0..100),
        };
        let mut out = self.unsent.remove(&conn).unwrap_or_default();
        if self.chance(20) {
            out.extend((0..size).map(|_| self.random.u8(..)));
        } else {
            let payload: Vec<_> = (0..size).map(|_| self.random.u8(0..4)).collect();
            svp::frame::append(&mut out, version, op, id, |out| out.extend(payload));
        }
        self.unsent.insert(conn, out);
    }

    /// Some of what is to be sent, in pieces.
    fn send(&mut self, conn: ConnId) {
        let mut bytes = self.unsent.remove(&conn).unwrap_or_default();
        while !bytes.is_empty() && self.rig.far.contains_key(&conn) && self.random.u32(0..4) > 0 {
            let n = self.random.usize(1..=bytes.len());
            let rest = bytes.split_off(n);
            self.rig.send(conn, &bytes);
            bytes = rest;
        }
        self.unsent.insert(conn, bytes);
    }

    /// What holds at any moment.
    fn check(&self) {
        for remote in self.rig.engine.status() {
            let members: Vec<_> = remote.peers.iter().filter(|p| p.state != "WINDDOWN").collect();
            assert!(members.len() <= 3);
            let failing = !members.is_empty() && members.iter().all(|peer| peer.failing);
            match remote.degraded.as_deref() {
                None => assert!(!failing, "{remote:?}"),
                Some("cannot reach any remote peers") => assert!(failing, "{remote:?}"),
                Some(dns) => assert!(dns.starts_with("failed to resolve")),
            }
            for peer in &remote.peers {
                assert!(peer.outstanding <= QUESTIONS && peer.waiting <= WAITING, "{peer:?}");
            }
            let c = remote.counters;
            let dropped = c.not_found + c.failed + c.no_underlay + c.nonsense + c.mixed;
            let dropped = dropped + c.unreachable + c.no_routes + c.busy + c.lost;
            let open: usize = remote.peers.iter().map(|peer| peer.outstanding).sum();
            let answered = c.found + dropped + c.detached;
            assert!(c.lookups >= answered && c.lookups - answered <= open as u64, "{remote:?}");
        }
    }

    /// No address is tried again within a second, but when the name has lost and found it.
    fn check_pace(&self) {
        let mut last: BTreeMap<_, Time> = BTreeMap::new();
        for (at, addr) in &self.rig.tried {
            let before = last.insert(addr, *at);
            let Some(before) = before.filter(|before| *at - *before < secs(1)) else { continue };
            let changed = self.changed.iter().any(|change| (before..=*at).contains(change));
            assert!(changed, "{addr} tried at {before:?} and {at:?}");
        }
    }

    /// Adds what happened.
    fn count(&self, total: &mut BTreeMap<String, u64>) {
        for remote in self.rig.engine.status() {
            let counters = serde_json::to_value(remote.counters).unwrap();
            for (name, n) in counters.as_object().unwrap() {
                *total.entry(name.clone()).or_default() += n.as_u64().unwrap();
            }
        }
    }

    /// Directory and resolver are well from now on.
    fn heal(&mut self) {
        self.rig.attach_as(ONE, VNET, None);
        let members: Vec<IpAddr> = vec![ip(1), ip(2)];
        for conn in self.rig.far.keys().copied().collect::<Vec<_>>() {
            self.rig.ended(conn, Some("restarted"));
        }
        let end = self.rig.now + secs(150);
        while self.rig.now < end {
            self.resolving.extend(self.rig.resolves());
            for remote in std::mem::take(&mut self.resolving) {
                self.changed.push(self.rig.now);
                self.rig.answer_dns(remote, Ok(members.clone()));
            }
            let opening: Vec<_> =
                self.rig.far.iter().filter(|(_, far)| !far.connected).map(|(c, _)| *c).collect();
            for conn in opening {
                self.rig.connected(conn);
            }
            self.rig.serve_all();
            self.rig.out.clear();
            let next = self.rig.engine.deadline().map_or(end, |at| at.clamp(self.rig.now, end));
            self.rig.until(next);
        }
        self.rig.serve_all();
        let status = &self.rig.engine.status()[0];
        assert_eq!(status.degraded, None);
        let states: Vec<_> = status.peers.iter().map(|p| (p.addr.ip(), p.state)).collect();
        assert_eq!(states, [(ip(1), "ACTIVE"), (ip(2), "ACTIVE")]);
        assert_eq!(self.rig.unanswered(), 0);
        self.rig.out.clear();
        let tokens = [self.rig.vl2(), self.rig.vl2()];
        self.rig.serve_all();
        let mut answers = self.rig.answers();
        answers.sort_by_key(|(token, _)| *token);
        assert_eq!(answers, tokens.map(|token| (token, Answer::Vl2(at()))));
    }

    /// Nothing is left when everybody has gone.
    fn end(&mut self) {
        self.lookup();
        for instance in 0..3 {
            self.rig.input(Input::Detach { instance: InstanceId(instance) });
        }
        assert_eq!((self.rig.unanswered(), self.rig.far.len()), (0, 0));
        assert_eq!((self.rig.engine.deadline(), self.rig.engine.status().len()), (None, 0));
    }
}

#[test]
fn random_peers_break_nothing_and_all_is_well_when_they_are() {
    let mut total = BTreeMap::new();
    let seeds = std::env::var("ENGINE_SEEDS").map_or(SEEDS, |n| n.parse().expect("a number"));
    for seed in 0..seeds {
        // The last line of a test that fails.
        println!("seed {seed}");
        let mut chaos = Chaos::new(seed);
        chaos.attach();
        for _ in 0..STEPS {
            chaos.step();
        }
        chaos.count(&mut total);
        chaos.heal();
        chaos.check_pace();
        chaos.end();
    }
    // Everything that can happen did.
    println!("{total:?}");
    assert!(total.len() > 10 && total.values().all(|n| *n > seeds / 5), "{total:?}");
}

/// The same seed and the same inputs: the same outputs.
#[test]
fn a_run_can_be_repeated() {
    let run = |seed| {
        let mut chaos = Chaos::new(seed);
        chaos.attach();
        (0..STEPS).for_each(|_| chaos.step());
        (chaos.rig.tried, chaos.rig.now, format!("{:?}", chaos.rig.engine.status()))
    };
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed));
    }
    assert_ne!(run(1), run(2));
}
