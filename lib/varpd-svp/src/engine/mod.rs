// SPDX-License-Identifier: CDDL-1.0
//! The engine of the plugin: which directory is asked over which connection, and what its answers mean.
//! It does no I/O, has no threads, and reads no clock (spec/svp.md 3 to 5, with the rules of 10).
//!
//! ```text
//!               Input                                                        Output
//!   Attach, Detach --> Engine --> Remote: a directory's name, port,      --> Resolve
//!   Resolved           mod         |      and our underlay address       --> Degrade, Restore
//!                                  |-- dns      when the name is asked for
//!                                  |-- health   what instances are told
//!   Lookup ----------------------->|-- ask      which peer; lost, late, stale --> Answer
//!                                  |-- log      the log cycle            --> Invalidate, Announce, FlushRoutes
//!   Connected, Ended, Received --->|-- Peer: an address of the name      --> Connect, Close, Send
//!   Tick                                 svp::client::Client: one connection
//! ```
//!
//! # How it is used
//!
//! Call [`Engine::handle`] with what has happened, take [`Engine::output`] until there is none and do each
//! before taking the next, and call again. [`Input::Tick`] is due at [`Engine::deadline`]. Bytes for a
//! connection lie in [`Engine::pending`] until [`Engine::sent`] says that they were written.
//!
//! Only a tick makes anything time out. An edge that was held up gives what has arrived first and the tick
//! then, and nothing is lost that is only late for itself.
//!
//! # Vocabulary
//!
//! * *remote*: a directory, shared by all instances that name it alike. *peer*: one address of its name;
//!   it has one connection at most. *member*: a peer that is in the last DNS answer with addresses.
//! * *lookup*: a question of an instance. *query*: anything that is asked of a peer.
//! * *good reply*: one that fits its question, whatever its status. The answer to PING is none: a peer
//!   may say its version and nothing else that makes sense.
//! * *failing*: see [`PeerStatus::failing`]. *lost*: said of a connection that was open or to be.
//! * *crossed*: see below.
//!
//! # A peer
//!
//! ```text
//!   joins --> CONNECTING --> VERSIONING --> ACTIVE <--> WINDDOWN --> gone
//!                 ^   |          |            |     leaves DNS,   nothing outstanding
//!           1..40 s   v          v            v     comes back
//!                    BACKOFF <---+------------+     any other state: gone when it leaves DNS
//! ```
//!
//! Each loss, in whatever state, doubles the wait; only a good reply starts it anew. So nobody is
//! connected to more than once a second, whatever it does after the TCP handshake.
//!
//! # A lookup
//!
//! It goes to the next active peer in turn that speaks the version it needs and has room. If that is
//! lost, it is asked again on another, once. There is no queue: what cannot be asked now is dropped now, and
//! the guest will ask again.
//!
//! An answer may have been made before a guest moved and arrive after the log, over another connection, has
//! said so. The kernel would remember it for ever. So a log entry marks the lookups that are outstanding and
//! that it concerns as *crossed*: their answers are not used, they are asked again. A route is concerned by
//! what the log says of its flow, and by any guest that has moved: which one it leads to is not known before.
//!
//! # Invariants
//!
//! * Each lookup is answered exactly once: in the call that asks, in a later one, or in that which detaches
//!   its instance.
//! * Each [`Output::Connect`] is followed by exactly one [`Output::Close`]; after that nothing said of the
//!   connection has an effect. Two connections to one address of a remote are never there together.
//! * What instances were told last is what the peers and the name say now, after every call.
//! * A log entry's id is among the bytes to be written only in a later call than the one that acted on it.
//! * Bounded: peers by [`Limits::addresses`] and those that wind down, questions of a connection by
//!   [`Limits::questions`], each of 56 bytes at most but one LOG_RM; received bytes by one message.
//! * The same inputs with the same seed give the same outputs.
#![deny(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod api;
mod ask;
mod context;
mod dns;
mod event;
mod health;
mod limits;
mod log;
mod peer;
mod query;
mod remote;
mod status;

pub use api::*;
pub use event::{Event, Level, What, Why};
pub use limits::Limits;
pub use status::{PeerCounters, PeerStatus, RemoteCounters, RemoteStatus};

use context::Context;
use remote::Remote;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// All remotes of a process.
#[derive(Debug)]
pub struct Engine {
    cx: Context,
    remotes: BTreeMap<RemoteId, Remote>,
    /// The remote of each instance.
    instances: BTreeMap<InstanceId, RemoteId>,
    last_remote: u64,
}

impl Engine {
    /// An engine without instances. `seed` settles all that is random in it.
    pub fn new(limits: Limits, seed: u64) -> Engine {
        Engine {
            cx: Context::new(limits, seed),
            remotes: BTreeMap::new(),
            instances: BTreeMap::new(),
            last_remote: 0,
        }
    }

    /// Takes what happened at `now`, which is never before an earlier `now`.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        self.cx.now = now;
        match input {
            Input::Attach { instance, with } => self.attach(instance, &with),
            Input::Detach { instance } => self.detach(instance),
            Input::Lookup { token, instance, question } => {
                let remote = self.instances.get(&instance).copied();
                match remote.and_then(|id| self.remotes.get_mut(&id)) {
                    Some(remote) => remote.lookup(&mut self.cx, token, instance, question),
                    None => self.cx.answer(token, Answer::Drop(Drop::Detached)),
                }
            }
            Input::Resolved { remote, result } => {
                self.with(remote, |remote, cx| remote.resolved(cx, result));
            }
            Input::Connected { conn } => self.peer(conn, |remote, cx, addr| {
                if let Some(peer) = remote.peers.get_mut(&addr) {
                    peer.connected(cx);
                }
            }),
            Input::Ended { conn, why } => {
                self.peer(conn, |remote, cx, addr| remote.ended(cx, addr, why));
            }
            Input::Received { conn, bytes } => {
                self.peer(conn, |remote, cx, addr| remote.received(cx, addr, bytes));
            }
            Input::Tick => {
                for remote in self.remotes.values_mut() {
                    remote.tick(&mut self.cx);
                    remote.settle(&mut self.cx);
                }
            }
        }
    }

    fn attach(&mut self, instance: InstanceId, with: &Attachment) {
        self.detach(instance);
        let known = self.remotes.iter().find(|(_, remote)| remote.key == with.remote);
        let id = known.map(|(id, _)| *id).unwrap_or_else(|| {
            self.last_remote = self.last_remote.wrapping_add(1);
            let id = RemoteId(self.last_remote);
            self.remotes.insert(id, Remote::new(&mut self.cx, id, with.remote.clone()));
            id
        });
        self.instances.insert(instance, id);
        self.with(id, |remote, cx| remote.attach(cx, instance, with));
    }

    fn detach(&mut self, instance: InstanceId) {
        let Some(id) = self.instances.remove(&instance) else { return };
        let Some(remote) = self.remotes.get_mut(&id) else { return };
        if remote.detach(&mut self.cx, instance) {
            remote.shut(&mut self.cx);
            self.remotes.remove(&id);
        }
    }

    /// Does something with a remote, if it is still there.
    fn with(&mut self, id: RemoteId, work: impl FnOnce(&mut Remote, &mut Context)) {
        if let Some(remote) = self.remotes.get_mut(&id) {
            work(remote, &mut self.cx);
            remote.settle(&mut self.cx);
        }
    }

    /// Does something with the peer that a connection belongs to, if it is still open.
    fn peer(&mut self, conn: ConnId, work: impl FnOnce(&mut Remote, &mut Context, SocketAddr)) {
        if let Some((id, addr)) = self.cx.owner(conn) {
            self.with(id, |remote, cx| work(remote, cx, addr));
        }
    }

    /// What is to be done next.
    pub fn output(&mut self) -> Option<Output> {
        self.cx.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due; `None`: never. May be in the past.
    pub fn deadline(&self) -> Option<Time> {
        self.remotes.values().filter_map(|remote| remote.deadline(&self.cx)).min()
    }

    /// Bytes to be written to a connection; none if it is not open.
    pub fn pending(&self, conn: ConnId) -> &[u8] {
        let owner = self.cx.owner(conn);
        let peer = owner.and_then(|(id, addr)| self.remotes.get(&id)?.peers.get(&addr));
        peer.map_or(&[], |peer| peer.pending())
    }

    /// The first `n` bytes of [`Engine::pending`] were written.
    pub fn sent(&mut self, conn: ConnId, n: usize) {
        let Some((id, addr)) = self.cx.owner(conn) else { return };
        if let Some(peer) = self.remotes.get_mut(&id).and_then(|r| r.peers.get_mut(&addr)) {
            peer.sent(n);
        }
    }

    /// What a remote is; `None` once no instance uses it.
    pub fn remote(&self, remote: RemoteId) -> Option<&RemoteKey> {
        self.remotes.get(&remote).map(|remote| &remote.key)
    }

    /// What all remotes are doing, by number.
    pub fn status(&self) -> Vec<RemoteStatus> {
        self.remotes.values().map(Remote::status).collect()
    }
}
