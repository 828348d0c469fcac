// SPDX-License-Identifier: CDDL-1.0
//! One address of a remote, and the connection to it.

use super::api::{ConnId, Output, RemoteId, Time};
use super::context::Context;
use super::event::Why;
use super::limits::Limits;
use super::query::{Query, Reply};
use super::status::{PeerCounters, PeerStatus};
use std::collections::VecDeque;
use std::net::SocketAddr;
use svp::client::{Client, Event};
use svp::{Id, Op, Refusal, Version};

/// From this many failures in a row on, a peer counts as unreachable: a little over a minute after the
/// first.
const FAILING: u32 = 7;

#[derive(Debug)]
pub(super) struct Peer {
    remote: RemoteId,
    addr: SocketAddr,
    /// The name has the address.
    pub member: bool,
    state: State,
    /// In a row; a good reply ends it.
    failures: u32,
    failing: bool,
    last_error: Option<Why>,
    counters: PeerCounters,
}

#[derive(Debug)]
enum State {
    Backoff { until: Time },
    Connecting { conn: ConnId, since: Time },
    Open(Link),
}

/// An open connection: VERSIONING as long as the client's version is not known, then ACTIVE, or WINDDOWN if
/// the peer is no member.
#[derive(Debug)]
struct Link {
    conn: ConnId,
    since: Time,
    /// When bytes came last.
    heard: Time,
    client: Client,
    /// Oldest first.
    asked: VecDeque<Asked>,
}

#[derive(Debug)]
struct Asked {
    id: Id,
    at: Time,
    query: Query,
}

/// What received bytes mean.
#[derive(Debug)]
pub(super) enum Heard {
    Active(Version),
    Reply(Query, Reply),
}

/// Whether a peer can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fitness {
    /// Not a member, or not active.
    Unfit,
    /// Of a version that does not know the question.
    TooOld,
    /// As many questions are outstanding as may be.
    Full,
    Fit,
}

impl Peer {
    /// A new member, which is connected to at once.
    pub fn new(cx: &mut Context, remote: RemoteId, addr: SocketAddr, failing: bool) -> Peer {
        let mut peer = Peer {
            remote,
            addr,
            member: true,
            state: State::Backoff { until: cx.now },
            failures: 0,
            failing,
            last_error: None,
            counters: PeerCounters::default(),
        };
        peer.connect(cx);
        peer
    }

    fn connect(&mut self, cx: &mut Context) {
        let conn = cx.connect(self.remote, self.addr);
        self.state = State::Connecting { conn, since: cx.now };
        self.counters.connects = self.counters.connects.saturating_add(1);
    }

    /// The connection is there: ask for the version.
    pub fn connected(&mut self, cx: &mut Context) {
        let State::Connecting { conn, .. } = self.state else { return };
        let client = Client::negotiate();
        cx.push(Output::Send { conn });
        self.state = State::Open(Link {
            conn,
            since: cx.now,
            heard: cx.now,
            client,
            asked: VecDeque::new(),
        });
    }

    fn conn(&self) -> Option<ConnId> {
        match &self.state {
            State::Backoff { .. } => None,
            State::Connecting { conn, .. } => Some(*conn),
            State::Open(link) => Some(link.conn),
        }
    }

    fn link(&self) -> Option<&Link> {
        match &self.state {
            State::Open(link) => Some(link),
            _ => None,
        }
    }

    fn link_mut(&mut self) -> Option<&mut Link> {
        match &mut self.state {
            State::Open(link) => Some(link),
            _ => None,
        }
    }

    pub fn is_active(&self) -> bool {
        self.member && self.link().is_some_and(|link| link.client.version().is_some())
    }

    pub fn is_failing(&self) -> bool {
        self.failing
    }

    /// Whether a question of this operation can be asked.
    pub fn fitness(&self, limits: &Limits, op: Op) -> Fitness {
        let Some(link) = self.link().filter(|_| self.member) else { return Fitness::Unfit };
        match link.client.version() {
            None => Fitness::Unfit,
            Some(version) if op.needs_v2() && version < Version::V2 => Fitness::TooOld,
            Some(_) if link.asked.len() >= limits.questions => Fitness::Full,
            Some(_) => Fitness::Fit,
        }
    }

    /// Asks, or gives the query back.
    pub fn ask(&mut self, cx: &mut Context, query: Query) -> Result<(), Query> {
        let State::Open(link) = &mut self.state else { return Err(query) };
        let idle = link.client.output().is_empty();
        let Ok(id) = link.client.ask(&query.question) else { return Err(query) };
        link.asked.push_back(Asked { id, at: cx.now, query });
        if idle {
            cx.push(Output::Send { conn: link.conn });
        }
        self.counters.questions = self.counters.questions.saturating_add(1);
        Ok(())
    }

    /// Questions that are outstanding, oldest first.
    pub fn outstanding(&mut self) -> impl Iterator<Item = &mut Query> {
        self.link_mut().into_iter().flat_map(|link| &mut link.asked).map(|asked| &mut asked.query)
    }

    pub fn pending(&self) -> &[u8] {
        self.link().map_or(&[], |link| link.client.output())
    }

    pub fn sent(&mut self, n: usize) {
        let Some(link) = self.link_mut() else { return };
        let n = n.min(link.client.output().len());
        link.client.wrote(n);
        self.counters.bytes_out = self.counters.bytes_out.saturating_add(n as u64);
    }

    /// Takes bytes, to be read with [`Peer::next`].
    pub fn received(&mut self, now: Time, bytes: &[u8]) {
        let Some(link) = self.link_mut() else { return };
        link.heard = now;
        link.client.buffer().extend_from_slice(bytes);
        self.counters.bytes_in = self.counters.bytes_in.saturating_add(bytes.len() as u64);
    }

    /// The next thing that the received bytes mean.
    pub fn next(&mut self) -> Result<Option<Heard>, Refusal> {
        loop {
            let Some(link) = self.link_mut() else { return Ok(None) };
            let (id, reply) = match link.client.poll()? {
                None => return Ok(None),
                Some(Event::Active(version)) => {
                    self.counters.actives = self.counters.actives.saturating_add(1);
                    return Ok(Some(Heard::Active(version)));
                }
                Some(Event::Reply { id, body }) => (id, Reply::new(body)),
            };
            // Directories answer in order, so it is the first one as a rule.
            let place = link.asked.iter().position(|asked| asked.id == id);
            let asked = place.and_then(|place| link.asked.remove(place));
            self.failures = 0;
            self.failing = false;
            self.counters.replies = self.counters.replies.saturating_add(1);
            if let (Some(asked), Some(reply)) = (asked, reply) {
                return Ok(Some(Heard::Reply(asked.query, reply)));
            }
        }
    }

    /// Why the connection has ended, the edge having said so.
    pub fn ended(&self, why: Option<String>) -> Why {
        match (why, self.link().map(|link| link.client.end())) {
            (Some(text), _) => Why::Error(text),
            (None, Some(Err(cut))) => Why::Refused(cut),
            (None, _) => Why::Closed,
        }
    }

    /// Closes the connection and waits before the next. What was outstanding is the caller's.
    pub fn lose(&mut self, cx: &mut Context, why: Why) -> Vec<Query> {
        self.failures = self.failures.saturating_add(1);
        self.failing |= self.failures >= FAILING;
        self.counters.losses = self.counters.losses.saturating_add(1);
        self.last_error = Some(why);
        let until = cx.backoff(self.failures);
        self.close(cx, until)
    }

    fn close(&mut self, cx: &mut Context, until: Time) -> Vec<Query> {
        if let Some(conn) = self.conn() {
            cx.close(conn);
        }
        match std::mem::replace(&mut self.state, State::Backoff { until }) {
            State::Open(link) => link.asked.into_iter().map(|asked| asked.query).collect(),
            State::Backoff { .. } | State::Connecting { .. } => Vec::new(),
        }
    }

    /// Lets go of a peer that is no member, unless it owes replies. Whether it went.
    pub fn reap(&mut self, cx: &mut Context) -> bool {
        let owes = self.link().is_some_and(|link| !link.asked.is_empty());
        if self.member || owes {
            return false;
        }
        self.close(cx, Time::MAX);
        true
    }

    /// Closes the connection for good.
    pub fn shut(&mut self, cx: &mut Context) {
        self.close(cx, Time::MAX);
    }

    pub fn deadline(&self, limits: &Limits) -> Option<Time> {
        match &self.state {
            State::Backoff { until } => Some(*until),
            State::Connecting { since, .. } => Some(since.saturating_add(limits.connecting)),
            State::Open(link) if link.client.version().is_none() => {
                Some(link.since.saturating_add(limits.versioning))
            }
            State::Open(link) => link.asked.front().map(|oldest| {
                let silent = oldest.at.max(link.heard).saturating_add(limits.silence);
                silent.min(oldest.at.saturating_add(limits.reply))
            }),
        }
    }

    /// The deadline is reached: connects, or says why the connection is to be lost.
    pub fn due(&mut self, cx: &mut Context) -> Option<Why> {
        match &self.state {
            State::Backoff { .. } => {
                self.connect(cx);
                None
            }
            State::Connecting { .. } => Some(Why::Connecting),
            State::Open(link) if link.client.version().is_none() => Some(Why::Versioning),
            State::Open(_) => Some(Why::Silent),
        }
    }

    pub fn status(&self) -> PeerStatus {
        let link = self.link();
        let version = link.and_then(|link| link.client.version());
        let state = match (&self.state, version) {
            (State::Backoff { .. }, _) => "BACKOFF",
            (State::Connecting { .. }, _) => "CONNECTING",
            (State::Open(_), None) => "VERSIONING",
            (State::Open(_), Some(_)) if self.member => "ACTIVE",
            (State::Open(_), Some(_)) => "WINDDOWN",
        };
        PeerStatus {
            addr: self.addr,
            state,
            version: version.map(Version::wire),
            failures: self.failures,
            failing: self.failing,
            outstanding: link.map_or(0, |link| link.asked.len()),
            waiting: self.pending().len(),
            last_error: self.last_error.as_ref().map(Why::to_string),
            counters: self.counters,
        }
    }
}
