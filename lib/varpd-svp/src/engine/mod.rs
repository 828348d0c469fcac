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
mod event;
mod limits;
mod status;

pub use api::*;
pub use event::{Event, Level, What, Why};
pub use limits::Limits;
pub use status::{PeerCounters, PeerStatus, RemoteCounters, RemoteStatus};

use std::collections::VecDeque;

/// All remotes of a process.
#[derive(Debug)]
pub struct Engine {
    outputs: VecDeque<Output>,
    limits: Limits,
    random: fastrand::Rng,
}

impl Engine {
    /// An engine without instances. `seed` settles all that is random in it.
    pub fn new(limits: Limits, seed: u64) -> Engine {
        Engine { outputs: VecDeque::new(), limits, random: fastrand::Rng::with_seed(seed) }
    }

    /// Takes what happened at `now`, which is never before an earlier `now`.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        let _ = (now, &self.limits, &mut self.random);
        if let Input::Lookup { token, .. } = input {
            let answer = Answer::Drop(Drop::Detached);
            self.outputs.push_back(Output::Answer { token, answer });
        }
    }

    /// What is to be done next.
    pub fn output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due; `None`: never. May be in the past.
    pub fn deadline(&self) -> Option<Time> {
        None
    }

    /// Bytes to be written to a connection; none if it is not open.
    pub fn pending(&self, conn: ConnId) -> &[u8] {
        let _ = conn;
        &[]
    }

    /// The first `n` bytes of [`Engine::pending`] were written.
    pub fn sent(&mut self, conn: ConnId, n: usize) {
        let _ = (conn, n);
    }

    /// What a remote is; `None` once no instance uses it.
    pub fn remote(&self, remote: RemoteId) -> Option<&RemoteKey> {
        let _ = remote;
        None
    }

    /// What all remotes are doing, by number.
    pub fn status(&self) -> Vec<RemoteStatus> {
        Vec::new()
    }
}
