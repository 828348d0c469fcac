// SPDX-License-Identifier: CDDL-1.0
//! What an engine does and has done, for people.

use super::api::{Answer, Drop};
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};

/// A remote.
#[derive(Clone, Debug, Serialize)]
pub struct RemoteStatus {
    /// Number of the remote.
    pub id: u64,
    /// `svp/host`
    pub host: String,
    /// `svp/port`
    pub port: u16,
    /// `svp/underlay_ip`
    pub underlay_ip: IpAddr,
    /// Numbers of the instances that use it.
    pub instances: Vec<u64>,
    /// Why it is degraded, if it is.
    pub degraded: Option<String>,
    /// What it has done.
    pub counters: RemoteCounters,
    /// Its connections, by address.
    pub peers: Vec<PeerStatus>,
}

/// One address of a remote.
#[derive(Clone, Debug, Serialize)]
pub struct PeerStatus {
    /// TCP address.
    pub addr: SocketAddr,
    /// CONNECTING, VERSIONING, ACTIVE, WINDDOWN or BACKOFF.
    pub state: &'static str,
    /// Version that is spoken, in ACTIVE and WINDDOWN.
    pub version: Option<u16>,
    /// Failures since the last good reply.
    pub failures: u32,
    /// Counts as unreachable: a good reply will end that.
    pub failing: bool,
    /// Questions without a reply.
    pub outstanding: usize,
    /// Bytes not yet written.
    pub waiting: usize,
    /// Why the last connection was lost.
    pub last_error: Option<String>,
    /// What it has done.
    pub counters: PeerCounters,
}

/// Counts of a remote, from its first instance on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RemoteCounters {
    /// Lookups asked for.
    pub lookups: u64,
    /// Lookups answered with a destination.
    pub found: u64,
    /// Lookups dropped: the directory knows no such guest.
    pub not_found: u64,
    /// Lookups dropped: the directory failed.
    pub failed: u64,
    /// Lookups dropped: no host was named, or a router without `svp/router_oui`.
    pub no_underlay: u64,
    /// Lookups of routes dropped: what the directory says cannot be.
    pub nonsense: u64,
    /// Lookups of routes dropped: addresses of two families.
    pub mixed: u64,
    /// Lookups dropped: no usable connection.
    pub unreachable: u64,
    /// Lookups of routes dropped: all connections speak version 1.
    pub no_routes: u64,
    /// Lookups dropped: too many outstanding.
    pub busy: u64,
    /// Lookups dropped: lost with a connection, and again or with no other left.
    pub lost: u64,
    /// Lookups dropped: their instance was detached.
    pub detached: u64,
    /// Questions asked again on another connection since theirs was lost.
    pub retried: u64,
    /// Lookups asked again since a log entry said that their answer may be stale.
    pub crossed: u64,
    /// LOG_REQ answered, empty ones included.
    pub log_polls: u64,
    /// Log entries that were acted on.
    pub log_entries: u64,
    /// Log entries whose removal the directory confirmed.
    pub log_removed: u64,
    /// LOG_REQ and LOG_RM that failed or were not understood.
    pub log_errors: u64,
    /// Names resolved.
    pub dns_ok: u64,
    /// Names not resolved.
    pub dns_errors: u64,
}

/// Counts of an address, over all its connections, while the name has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PeerCounters {
    /// Connections tried.
    pub connects: u64,
    /// Connections that became active.
    pub actives: u64,
    /// Connections lost or not made.
    pub losses: u64,
    /// Questions asked.
    pub questions: u64,
    /// Good replies.
    pub replies: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
}

impl RemoteCounters {
    /// A lookup was answered.
    pub(super) fn answered(&mut self, answer: &Answer) {
        let count = match answer {
            Answer::Vl2(_) | Answer::Router | Answer::Vl3 { .. } | Answer::Route(_) => {
                &mut self.found
            }
            Answer::Drop(Drop::NotFound) => &mut self.not_found,
            Answer::Drop(Drop::Failed) => &mut self.failed,
            Answer::Drop(Drop::NoUnderlay) => &mut self.no_underlay,
            Answer::Drop(Drop::Nonsense) => &mut self.nonsense,
            Answer::Drop(Drop::Mixed) => &mut self.mixed,
            Answer::Drop(Drop::Unreachable) => &mut self.unreachable,
            Answer::Drop(Drop::NoRoutes) => &mut self.no_routes,
            Answer::Drop(Drop::Busy) => &mut self.busy,
            Answer::Drop(Drop::Lost) => &mut self.lost,
            Answer::Drop(Drop::Detached) => &mut self.detached,
        };
        *count = count.saturating_add(1);
    }
}
