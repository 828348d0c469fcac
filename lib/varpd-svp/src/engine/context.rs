// SPDX-License-Identifier: CDDL-1.0
//! What every part of the engine needs at hand during one call: the time, and where outputs go.

use super::api::{Answer, ConnId, Output, RemoteId, Time, Token};
use super::limits::Limits;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

#[derive(Debug)]
pub(super) struct Context {
    pub now: Time,
    pub limits: Limits,
    pub outputs: VecDeque<Output>,
    random: fastrand::Rng,
    /// Connections between [`Output::Connect`] and [`Output::Close`], and the peer each belongs to.
    conns: BTreeMap<ConnId, (RemoteId, SocketAddr)>,
    last_conn: u64,
}

impl Context {
    pub fn new(limits: Limits, seed: u64) -> Context {
        Context {
            now: Time::ZERO,
            limits,
            outputs: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
            conns: BTreeMap::new(),
            last_conn: 0,
        }
    }

    pub fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub fn answer(&mut self, token: Token, answer: Answer) {
        self.push(Output::Answer { token, answer });
    }

    /// Opens a connection.
    pub fn connect(&mut self, remote: RemoteId, addr: SocketAddr) -> ConnId {
        self.last_conn = self.last_conn.wrapping_add(1);
        let conn = ConnId(self.last_conn);
        self.conns.insert(conn, (remote, addr));
        self.push(Output::Connect { conn, remote, addr });
        conn
    }

    /// Closes one. Whatever is still said of it falls on deaf ears.
    pub fn close(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
        self.push(Output::Close { conn });
    }

    /// The peer that a connection belongs to.
    pub fn owner(&self, conn: ConnId) -> Option<(RemoteId, SocketAddr)> {
        self.conns.get(&conn).copied()
    }

    pub fn after(&self, delay: Time) -> Time {
        self.now.saturating_add(delay)
    }

    /// A moment between `least` and `most` from now.
    pub fn between(&mut self, least: Time, most: Time) -> Time {
        let spread = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
        let jitter = Time::from_micros(self.random.u64(0..=spread));
        self.after(least.saturating_add(jitter))
    }

    /// When to try again after so many failures in a row: in 1, 2, 4, 8, 16, 32, 32, ... seconds and up to a
    /// quarter more, so that hosts which lost a directory together do not come back together.
    pub fn backoff(&mut self, failures: u32) -> Time {
        let doubled = failures.saturating_sub(1).min(5);
        let least = Time::from_secs(1_u64.checked_shl(doubled).unwrap_or(1));
        let spread = least.checked_div(4).unwrap_or_default();
        self.between(least, least.saturating_add(spread))
    }
}
