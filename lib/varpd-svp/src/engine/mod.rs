// SPDX-License-Identifier: CDDL-1.0
//! The engine of the plugin: which directory is asked over which connection, and what its answers mean.
//! It does no I/O, has no threads, and reads no clock.
//!
//! An owner calls [`Engine::handle`], takes [`Engine::output`] until there is none and does each before it
//! takes the next, and calls again with [`Input::Tick`] at [`Engine::deadline`].
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
