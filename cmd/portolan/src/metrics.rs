// SPDX-License-Identifier: CDDL-1.0
//! What is counted, and its text form for Prometheus.

use crate::index::Counts;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;
use svp::{Refusal, Status};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    op: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

/// Requests that are answered, in the order of [`Metrics::answered`].
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// PING
    Ping,
    /// VL2_REQ
    Vl2,
    /// VL3_REQ
    Vl3,
    /// BULK_REQ
    Bulk,
    /// LOG_REQ
    Log,
    /// LOG_RM
    LogRm,
    /// ROUTE_REQ
    Route,
}

const OPS: [&str; 7] = ["ping", "vl2", "vl3", "bulk", "log", "log_rm", "route"];
const STATUSES: [&str; 5] = ["ok", "fatal", "notfound", "badl3type", "badbulk"];

/// All counters of the server.
pub struct Metrics {
    registry: Registry,
    /// By operation and status; looked up once, since lookups count by the hundred thousand.
    answers: [[Counter; 5]; 7],
    refusals: Family<Why, Counter>,
    closes: Family<Why, Counter>,
    /// Open connections of hosts.
    pub connections: Gauge,
    /// Connections accepted.
    pub accepted: Counter,
    /// Bytes received from hosts.
    pub received: Counter,
    /// Bytes sent to hosts.
    pub sent: Counter,
    commits: Histogram,
    commit_errors: Counter,
    /// Log entries dropped since their host speaks a version that does not know them.
    pub forgotten: Counter,
    counts: [(&'static str, Gauge); 6],
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix("portolan");
        let answered = Family::<Answer, Counter>::default();
        let answers = OPS.map(|op| {
            STATUSES.map(|status| answered.get_or_create(&Answer { op, status }).clone())
        });
        registry.register("requests", "Requests answered, by operation and status", answered);
        let refusals = Family::<Why, Counter>::default();
        registry.register("refusals", "Connections ended for what a peer sent", refusals.clone());
        let closes = Family::<Why, Counter>::default();
        registry.register("closes", "Connections ended by a limit or an error", closes.clone());
        let connections = Gauge::default();
        registry.register("connections", "Open connections of hosts", connections.clone());
        let accepted = Counter::default();
        registry.register("accepted", "Connections accepted", accepted.clone());
        let received = Counter::default();
        let help = "Bytes received from hosts";
        registry.register_with_unit("received", help, Unit::Bytes, received.clone());
        let sent = Counter::default();
        registry.register_with_unit("sent", "Bytes sent to hosts", Unit::Bytes, sent.clone());
        let commits = Histogram::new(exponential_buckets(0.000_25, 2.0, 14));
        let help = "Time of store commits that worked";
        registry.register_with_unit("commit", help, Unit::Seconds, commits.clone());
        let commit_errors = Counter::default();
        let help = "Store commits that failed; nothing was changed";
        registry.register("commit_errors", help, commit_errors.clone());
        let forgotten = Counter::default();
        let help = "Log entries of routes dropped unheard, since their host speaks version 1";
        registry.register("log_forgotten", help, forgotten.clone());
        let counts = [
            ("networks", "Networks described or used"),
            ("hosts", "Hosts with an underlay address"),
            ("ports", "Ports, tombstones included"),
            ("routers", "Router addresses"),
            ("routes", "Routes, tombstones included"),
            ("log_entries", "Log entries that hosts have not removed"),
        ]
        .map(|(name, help)| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            (name, gauge)
        });
        Metrics {
            registry,
            answers,
            refusals,
            closes,
            connections,
            accepted,
            received,
            sent,
            commits,
            commit_errors,
            forgotten,
            counts,
        }
    }
}

impl Metrics {
    /// A request was answered.
    pub fn answered(&self, asked: Asked, status: Status) {
        let status = (status.0 as usize).min(STATUSES.len() - 1);
        self.answers[asked as usize][status].inc();
    }

    /// Requests answered since the start.
    pub fn requests(&self) -> u64 {
        self.answers.iter().flatten().map(Counter::get).sum()
    }

    /// A connection was ended for what the peer sent.
    pub fn refused(&self, why: &Refusal) {
        let reason = match why {
            Refusal::UnknownOp(_) => "unknown_op",
            Refusal::UnknownVersion { .. } => "version",
            Refusal::NeedsV2(_) => "needs_v2",
            Refusal::Size { .. } => "size",
            Refusal::Crc { .. } => "crc",
            Refusal::Truncated { .. } => "truncated",
            Refusal::LogRmCount { .. } => "log_rm_count",
            Refusal::NotARequest(_) => "not_a_request",
            _ => "other",
        };
        self.refusals.get_or_create(&Why { reason }).inc();
    }

    /// A connection was ended by something else, such as `idle`.
    pub fn closed(&self, reason: &'static str) {
        self.closes.get_or_create(&Why { reason }).inc();
    }

    /// A commit took this long.
    pub fn commit(&self, time: Duration, done: bool) {
        match done {
            true => self.commits.observe(time.as_secs_f64()),
            false => drop(self.commit_errors.inc()),
        }
    }

    /// All of it as text, with how much there is now.
    pub fn text(&self, counts: &Counts) -> String {
        let Counts { networks, hosts, ports, routers, routes, log } = *counts;
        let all = [networks, hosts, ports, routers, routes, log];
        for ((_, gauge), n) in self.counts.iter().zip(all) {
            gauge.set(i64::try_from(n).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
