// SPDX-License-Identifier: CDDL-1.0
//! An engine with a clock, and the other end of its connections in the hands of a test.
//!
//! What holds for every engine is checked at each step: a lookup is answered once, a connection is closed
//! once, nothing is said of one that is closed, Send is said when there is something to send and only then, a
//! name is not resolved twice at a time.

use overlay_abi::ids::{MacAddr, UnderlayAddr};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use svp::log::Named;
use svp::message::{RouteAck, RouteReq, Underlay};
use svp::server::{Request, Server, Token as Reply};
use svp::{L3Type, Status, Uuid};
use varpd_svp::engine::*;

pub const HOST: &str = "portolan.test";
pub const PORT: u16 = 1296;
pub const VNET: u32 = 0x12_3456;
/// What the directory calls the data centre of this host.
pub const DCID: u32 = 4;
pub const ONE: InstanceId = InstanceId(1);
pub const TWO: InstanceId = InstanceId(2);
pub const MAC: MacAddr = MacAddr([2, 8, 0x20, 0, 0, 1]);
pub const AT: Underlay =
    Underlay { ip: Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0xc0a8, 0x0101), port: 4789 };

/// To another network, in another data centre.
pub const ROUTE: RouteAck = RouteAck {
    status: Status::OK,
    dcid: 9,
    vnet: 7,
    vlan: 5,
    ul3: AT,
    src_mac: MacAddr([2, 8, 0x20, 0, 0, 9]),
    dst_mac: MacAddr([2; 6]),
    src_prefix: 24,
    dst_prefix: 24,
};

/// How [`ROUTE`] is answered.
pub fn routed() -> Answer {
    let RouteAck { dcid, vnet, vlan, src_mac, dst_mac, .. } = ROUTE;
    Answer::Route(RouteAnswer { dcid, vnet, vlan, at: at(), src_mac, dst_mac })
}

pub fn at() -> UnderlayAddr {
    UnderlayAddr { ip: AT.ip.octets(), port: AT.port }
}

pub fn secs(n: u64) -> Time {
    Duration::from_secs(n)
}

pub fn ip(n: u8) -> IpAddr {
    [192, 0, 2, n].into()
}

/// What a request asks, on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Ping,
    Vl2(MacAddr, u32),
    Vl3(Ipv6Addr, L3Type, u32),
    Log(u32, Ipv6Addr),
    LogRm(Vec<Uuid>),
    Route(RouteReq),
}

/// The far end of a connection.
#[derive(Debug)]
pub struct Far {
    pub addr: SocketAddr,
    pub connected: bool,
    pub server: Server,
}

pub struct Rig {
    pub engine: Engine,
    pub now: Time,
    /// Outputs that no test has looked at yet.
    pub out: Vec<Output>,
    /// Connections between Connect and Close.
    pub far: BTreeMap<ConnId, Far>,
    /// When connections were tried.
    pub tried: Vec<(Time, SocketAddr)>,
    waiting: BTreeSet<Token>,
    last_token: u64,
    closed: BTreeSet<ConnId>,
    /// Connections with bytes that are said to have some.
    sendable: BTreeSet<ConnId>,
    resolving: BTreeSet<RemoteId>,
}

impl Rig {
    pub fn new() -> Rig {
        Rig::with(Limits::default(), 1)
    }

    pub fn with(limits: Limits, seed: u64) -> Rig {
        Rig {
            engine: Engine::new(limits, seed),
            now: secs(100),
            out: Vec::new(),
            far: BTreeMap::new(),
            tried: Vec::new(),
            waiting: BTreeSet::new(),
            last_token: 0,
            closed: BTreeSet::new(),
            sendable: BTreeSet::new(),
            resolving: BTreeSet::new(),
        }
    }

    pub fn input(&mut self, input: Input<'_>) {
        self.engine.handle(self.now, input);
        while let Some(output) = self.engine.output() {
            self.check(&output);
            self.out.push(output);
        }
        for conn in self.far.keys() {
            let pending = !self.engine.pending(*conn).is_empty();
            assert_eq!(pending, self.sendable.contains(conn), "{conn:?}");
        }
    }

    /// Writes the first n bytes of what is pending, and returns them.
    pub fn write(&mut self, conn: ConnId, n: usize) -> Vec<u8> {
        let pending = self.engine.pending(conn);
        let bytes = pending[..n.min(pending.len())].to_vec();
        self.engine.sent(conn, n);
        if self.engine.pending(conn).is_empty() {
            self.sendable.remove(&conn);
        }
        bytes
    }

    fn check(&mut self, output: &Output) {
        match output {
            Output::Connect { conn, remote, addr } => {
                let far = Far { addr: *addr, connected: false, server: Server::default() };
                assert!(self.far.insert(*conn, far).is_none(), "{conn:?} twice");
                assert!(!self.closed.contains(conn), "{conn:?} again");
                assert_eq!(self.engine.remote(*remote).map(|key| key.port), Some(PORT));
                self.tried.push((self.now, *addr));
                let addrs: BTreeSet<_> = self.far.values().map(|far| far.addr).collect();
                assert_eq!(addrs.len(), self.far.len(), "two connections to an address");
            }
            Output::Close { conn } => {
                assert!(self.far.remove(conn).is_some(), "{conn:?} closed twice");
                assert!(self.closed.insert(*conn));
                self.sendable.remove(conn);
                assert!(self.engine.pending(*conn).is_empty());
            }
            Output::Send { conn } => {
                assert!(self.far[conn].connected);
                assert!(self.sendable.insert(*conn), "{conn:?} is known to have bytes");
            }
            Output::Answer { token, .. } => {
                assert!(self.waiting.remove(token), "{token:?} answered twice");
            }
            Output::Resolve { remote, .. } => {
                assert!(self.resolving.insert(*remote), "{remote:?} resolved twice at a time");
            }
            _ => {}
        }
    }

    /// Lets time pass, with a tick at each deadline.
    pub fn until(&mut self, then: Time) {
        for _ in 0..100_000 {
            match self.engine.deadline().filter(|at| *at <= then) {
                Some(at) => self.now = self.now.max(at),
                None => {
                    self.now = self.now.max(then);
                    return;
                }
            }
            self.input(Input::Tick);
        }
        panic!("the engine does not come to rest before {then:?}");
    }

    pub fn pass(&mut self, time: Time) {
        self.until(self.now + time);
    }

    /// Lets time pass while all connections are served.
    pub fn live(&mut self, time: Time) {
        let then = self.now + time;
        while self.now < then {
            self.serve_all();
            let next = self.engine.deadline().map_or(then, |at| at.clamp(self.now, then));
            self.until(next);
        }
        self.serve_all();
    }

    /// Takes the outputs that `pick` wants out of those not looked at.
    pub fn take<T>(&mut self, mut pick: impl FnMut(&Output) -> Option<T>) -> Vec<T> {
        let mut taken = Vec::new();
        self.out.retain(|output| match pick(output) {
            Some(value) => {
                taken.push(value);
                false
            }
            None => true,
        });
        taken
    }

    pub fn attach_as(&mut self, instance: InstanceId, vnet: u32, router_oui: Option<[u8; 3]>) {
        let remote = RemoteKey { host: HOST.into(), port: PORT, underlay_ip: ip(200), tls: None };
        let with = Attachment { remote, vnet, dcid: DCID, router_oui };
        self.input(Input::Attach { instance, with });
    }

    pub fn resolves(&mut self) -> Vec<RemoteId> {
        self.take(|output| match output {
            Output::Resolve { remote, host } => {
                assert_eq!(host, HOST);
                Some(*remote)
            }
            _ => None,
        })
    }

    /// Answers the one resolution that was asked for.
    pub fn resolved(&mut self, result: Result<Vec<IpAddr>, DnsError>) {
        let [remote] = self.resolves()[..] else { panic!("not one resolution") };
        self.answer_dns(remote, result);
    }

    pub fn answer_dns(&mut self, remote: RemoteId, result: Result<Vec<IpAddr>, DnsError>) {
        self.resolving.remove(&remote);
        self.input(Input::Resolved { remote, result });
    }

    /// The name is asked for again after a while, and these are its addresses.
    pub fn refresh(&mut self, result: Result<Vec<IpAddr>, DnsError>) {
        let start = self.now;
        while !self.out.iter().any(|output| matches!(output, Output::Resolve { .. })) {
            assert!(self.now < start + secs(31), "not asked for again");
            self.live(Duration::from_millis(100));
        }
        self.resolved(result);
    }

    pub fn conn_to(&self, n: u8) -> Option<ConnId> {
        let addr = SocketAddr::new(ip(n), PORT);
        self.far.iter().find(|(_, far)| far.addr == addr).map(|(conn, _)| *conn)
    }

    /// Waits until a connection is tried.
    pub fn reconnect(&mut self, n: u8) -> ConnId {
        loop {
            if let Some(conn) = self.conn_to(n) {
                return conn;
            }
            let next = self.engine.deadline().expect("it is tried again");
            self.until(next);
        }
    }

    pub fn connected(&mut self, conn: ConnId) {
        self.far.get_mut(&conn).unwrap().connected = true;
        self.input(Input::Connected { conn });
    }

    pub fn ended(&mut self, conn: ConnId, why: Option<&str>) {
        self.input(Input::Ended { conn, why: why.map(str::to_owned) });
    }

    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        self.input(Input::Received { conn, bytes });
    }

    /// Writes what is pending, and returns what it asks.
    pub fn asked(&mut self, conn: ConnId) -> Vec<(Reply, Ask)> {
        let bytes = self.write(conn, usize::MAX);
        let Some(far) = self.far.get_mut(&conn) else { return Vec::new() };
        far.server.buffer().extend_from_slice(&bytes);
        let mut asks = Vec::new();
        while let Some(asked) = far.server.next().expect("requests are well formed") {
            let ask = match asked.request {
                Request::Ping => Ask::Ping,
                Request::Vl2 { mac, vnet } => Ask::Vl2(mac, vnet),
                Request::Vl3 { ip, l3, vnet } => Ask::Vl3(ip, l3, vnet),
                Request::Log { count, ip } => Ask::Log(count, ip),
                Request::LogRm(ids) => Ask::LogRm(ids.iter().collect()),
                Request::Route(route) => Ask::Route(route),
                Request::Bulk { .. } => panic!("BULK_REQ is never asked"),
            };
            asks.push((asked.token, ask));
        }
        asks
    }

    /// The one question that is pending.
    pub fn asked_one(&mut self, conn: ConnId) -> (Reply, Ask) {
        let mut asks = self.asked(conn);
        assert_eq!(asks.len(), 1, "{asks:?}");
        asks.pop().unwrap()
    }

    pub fn reply(&mut self, conn: ConnId, make: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        make(&mut bytes);
        self.send(conn, &bytes);
    }

    /// Connects, and answers the PING in this version.
    pub fn activate_as(&mut self, conn: ConnId, version: svp::Version) {
        self.connected(conn);
        let (mut token, ask) = self.asked_one(conn);
        assert_eq!(ask, Ask::Ping);
        token.version = version;
        self.reply(conn, |out| token.pong(out));
    }

    pub fn activate(&mut self, conn: ConnId) {
        self.activate_as(conn, svp::Version::V2);
    }

    /// An instance, and active connections to 192.0.2.1 up to n.
    pub fn up(n: u8) -> (Rig, Vec<ConnId>) {
        Rig::up_with(Limits::default(), n)
    }

    pub fn up_with(limits: Limits, n: u8) -> (Rig, Vec<ConnId>) {
        let mut rig = Rig::with(limits, 1);
        rig.attach_as(ONE, VNET, None);
        rig.resolved(Ok((1..=n).map(ip).collect()));
        let conns: Vec<_> = (1..=n).map(|n| rig.conn_to(n).unwrap()).collect();
        for conn in &conns {
            rig.activate(*conn);
        }
        rig.out.clear();
        (rig, conns)
    }

    pub fn lookup_as(&mut self, instance: InstanceId, question: Question) -> Token {
        self.last_token += 1;
        let token = Token(self.last_token);
        self.waiting.insert(token);
        self.input(Input::Lookup { token, instance, question });
        token
    }

    pub fn lookup(&mut self, question: Question) -> Token {
        self.lookup_as(ONE, question)
    }

    pub fn vl2(&mut self) -> Token {
        self.lookup(Question::Vl2(MAC))
    }

    /// Answers so far, that no test has looked at.
    pub fn answers(&mut self) -> Vec<(Token, Answer)> {
        self.take(|output| match output {
            Output::Answer { token, answer } => Some((*token, *answer)),
            _ => None,
        })
    }

    pub fn unanswered(&self) -> usize {
        self.waiting.len()
    }

    /// Degraded and restored, in order.
    pub fn told(&mut self) -> Vec<(InstanceId, Option<String>)> {
        self.take(|output| match output {
            Output::Degrade { instance, message } => Some((*instance, Some(message.clone()))),
            Output::Restore { instance } => Some((*instance, None)),
            _ => None,
        })
    }

    pub fn peer(&self, n: u8) -> PeerStatus {
        let status = self.engine.status();
        let addr = SocketAddr::new(ip(n), PORT);
        let peer = status.iter().flat_map(|remote| &remote.peers).find(|peer| peer.addr == addr);
        peer.cloned().unwrap_or_else(|| panic!("no peer {addr}"))
    }

    pub fn counters(&self) -> RemoteCounters {
        self.engine.status()[0].counters
    }

    /// A directory that knows everybody and has an empty log answers all that is asked on every open
    /// connection.
    pub fn serve_all(&mut self) {
        let conns: Vec<_> =
            self.far.iter().filter(|(_, far)| far.connected).map(|(c, _)| *c).collect();
        for conn in conns {
            for (token, ask) in self.asked(conn) {
                self.reply(conn, |out| good(token, &ask, out));
            }
        }
    }

    /// Waits for the next LOG_REQ on any connection, answering everything else. At most `most` passes.
    pub fn next_poll(&mut self, most: Time) -> (ConnId, Reply) {
        let start = self.now;
        loop {
            let conns: Vec<_> = self.far.keys().copied().collect();
            for conn in conns {
                for (token, ask) in self.asked(conn) {
                    match ask {
                        Ask::Log(count, of) => {
                            assert_eq!((count, of), (1024, "::ffff:192.0.2.200".parse().unwrap()));
                            return (conn, token);
                        }
                        ask => self.reply(conn, |out| good(token, &ask, out)),
                    }
                }
            }
            let next = self.engine.deadline().expect("something is due");
            assert!(next <= start + most, "no LOG_REQ within {most:?}");
            self.until(next);
        }
    }

    pub fn give_log(&mut self, conn: ConnId, token: Reply, entries: &[Named]) {
        self.reply(conn, |out| token.log(out, Status::OK, entries.iter().copied()));
    }
}

/// The reply of a directory that knows everybody and has nothing to tell.
pub fn good(token: Reply, ask: &Ask, out: &mut Vec<u8>) {
    match ask {
        Ask::Ping => token.pong(out),
        Ask::Vl2(..) => token.vl2(out, Ok(AT)),
        Ask::Vl3(..) => token.vl3(out, Ok((MAC, AT))),
        Ask::Log(..) => token.log(out, Status::OK, []),
        Ask::LogRm(_) => token.log_rm(out, Status::OK),
        Ask::Route(_) => token.route(out, Ok(ROUTE)),
    }
}
