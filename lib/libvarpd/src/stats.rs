// SPDX-License-Identifier: CDDL-1.0
//! What varpd counts, for itself and for each instance.
//!
//! ```text
//!   query ---- asked, found, dropped, ... + latency --+
//!   proxy ---- answered, no answer, refused ----------+--> OfInstance --+
//!   persist -- written, failed -----------------------+                 +--> Report --> varpdadm (door)
//!   server --- calls and errors by door command ---------> OfVarpd -----+          `--> prometheus::text
//! ```
//!
//! Counting is an atomic addition: a lookup takes no lock for it. Only an error, of which the text of the last is
//! kept, takes one, a leaf. Counters start at 0 with their instance and never go back.
//!
//! A *lookup* is counted when the kernel has asked (`asked`), and once more by its outcome when there is an answer,
//! just before the kernel gets it. What was asked and has no outcome is outstanding. Its latency is the time
//! between the two, thus the plugin's and ours, without the kernel's.

pub(crate) mod counter;
pub mod latency;
pub mod prometheus;

use crate::proxy::{self, Outcome};
use crate::{lock, persist, probes};
use counter::{Counter, counters};
use latency::{Figures, Histogram, Latencies};
use overlay_abi::door::*;
use overlay_abi::errno::Errno;
use overlay_abi::ids::VarpdId;
use overlay_abi::target::overlay_targ_lookup_t;
use serde::{Deserialize, Serialize};
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

counters! {
    /// Lookups of an instance.
    Lookups => LookupCounts {
        /// Lookups that the plugin answered with a destination.
        found,
        /// Lookups that the plugin answered with a drop.
        dropped,
        /// Lookups that a proxy took over, for ARP, NDP or DHCP.
        proxied,
        /// Lookups that the plugin never answered, dropped when their instance was destroyed.
        forgotten,
        /// Lookups that the kernel asked and the plugin was called for.
        // Read last, so that no outcome is seen of one that is not.
        asked,
        /// Destinations that the kernel did not take: the frame is gone, or the destination is not one.
        not_taken,
    }
}

counters! {
    /// Lookups of routes, which are among the lookups of their instance.
    Routes => RouteCounts {
        /// Routes that the plugin knew.
        found,
        /// Routes that the plugin did not know, or never answered.
        not_found,
        /// Routes that the kernel asked for.
        asked,
    }
}

counters! {
    /// Queries of one protocol that its proxy took over.
    Proxied => ProxyCounts {
        /// Queries that the proxy answered in place of whom they asked.
        answered,
        /// Queries that the plugin knew no answer to.
        no_answer,
        /// Queries that were no proper question, or whose answer was none.
        refused,
    }
}

counters! {
    /// Writes of an instance's persistent form.
    Persisted => PersistCounts {
        /// Times that the instance was written to disk.
        writes,
        /// Times that writing the instance to disk failed.
        failures,
    }
}

counters! {
    /// Door calls of one command.
    Calls => CallCounts {
        /// Calls of the door.
        calls,
        /// Calls of the door that were answered with an error.
        errors,
    }
}

/// How a lookup ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    Found,
    Dropped,
    Proxied,
    Forgotten,
}

impl Lookup {
    fn word(self) -> &'static str {
        match self {
            Lookup::Found => "found",
            Lookup::Dropped => "dropped",
            Lookup::Proxied => "proxied",
            Lookup::Forgotten => "forgotten",
        }
    }
}

/// A lookup that was asked: when, of which instance, by which request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    at: Instant,
    instance: u64,
    request: u64,
    /// It is about a route.
    route: bool,
}

/// Seconds since 1970, UTC.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// What went wrong last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastError {
    /// Seconds since 1970, UTC.
    pub time: f64,
    /// What.
    pub text: String,
}

/// Counters of an instance.
#[derive(Debug, Default)]
pub struct OfInstance {
    lookups: Lookups,
    routes: Routes,
    latency: Histogram,
    arp: Proxied,
    ndp: Proxied,
    dhcp: Proxied,
    persist: Persisted,
    last_error: Mutex<Option<LastError>>,
}

impl OfInstance {
    /// The kernel asks, maybe for a route.
    pub(crate) fn asked(&self, lookup: &overlay_targ_lookup_t, route: bool) -> Asked {
        self.lookups.asked.add();
        if route {
            self.routes.asked.add();
        }
        let (instance, request) = (lookup.otl_varpdid, lookup.otl_reqid);
        probes::lookup__start!(|| (instance, request, lookup.otl_dlid));
        Asked { at: Instant::now(), instance, request, route }
    }

    /// There is an answer.
    pub(crate) fn ended(&self, asked: Asked, how: Lookup) {
        let latency = asked.at.elapsed();
        self.latency.record(latency);
        let Asked { instance, request, route, .. } = asked;
        probes::lookup__done!(|| (instance, request, how.word(), latency.as_nanos() as u64));
        match how {
            Lookup::Found => self.lookups.found.add(),
            Lookup::Dropped => self.lookups.dropped.add(),
            Lookup::Proxied => self.lookups.proxied.add(),
            Lookup::Forgotten => self.lookups.forgotten.add(),
        }
        match how {
            _ if !route => {}
            Lookup::Found => self.routes.found.add(),
            _ => self.routes.not_found.add(),
        }
    }

    /// The kernel did not take a destination.
    pub(crate) fn not_taken(&self, why: Errno) {
        self.lookups.not_taken.add();
        self.error(format!("the kernel did not take a destination: {}", why.name()));
    }

    /// A proxy has done what it could.
    pub(crate) fn proxied(
        &self,
        lookup: &overlay_targ_lookup_t,
        kind: proxy::Kind,
        outcome: Outcome,
    ) {
        let (of, protocol) = match kind {
            proxy::Kind::Arp => (&self.arp, "arp"),
            proxy::Kind::Ndp => (&self.ndp, "ndp"),
            proxy::Kind::Dhcp => (&self.dhcp, "dhcp"),
        };
        let (counter, word) = match outcome {
            Outcome::Answered => (&of.answered, "answered"),
            Outcome::NoAnswer => (&of.no_answer, "no_answer"),
            Outcome::Refused(_) => (&of.refused, "refused"),
        };
        counter.add();
        probes::proxy__done!(|| (lookup.otl_varpdid, lookup.otl_reqid, protocol, word));
    }

    /// The instance was written to disk, or not.
    pub(crate) fn persisted(&self, instance: VarpdId, result: Result<(), &persist::Error>) {
        probes::persist!(|| (instance.0, result.err().map_or(0, |e| e.errno().0)));
        match result {
            Ok(()) => self.persist.writes.add(),
            Err(why) => {
                self.persist.failures.add();
                self.error(format!("cannot be written to disk: {why}"));
            }
        }
    }

    /// Something went wrong that an administrator should know of.
    pub(crate) fn error(&self, text: String) {
        *lock(&self.last_error) = Some(LastError { time: now(), text });
    }

    fn read(&self) -> (InstanceCounts, Latencies) {
        let latencies = self.latency.read();
        let lookups = self.lookups.read();
        let ended = lookups.found + lookups.dropped + lookups.proxied + lookups.forgotten;
        let counts = InstanceCounts {
            lookups,
            outstanding: lookups.asked.saturating_sub(ended),
            routes: self.routes.read(),
            latency: latencies.figures(),
            arp: self.arp.read(),
            ndp: self.ndp.read(),
            dhcp: self.dhcp.read(),
            persist: self.persist.read(),
            last_error: lock(&self.last_error).clone(),
        };
        (counts, latencies)
    }
}

/// What an instance had counted at some time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InstanceCounts {
    /// Lookups.
    pub lookups: LookupCounts,
    /// Lookups that have no answer yet.
    pub outstanding: u64,
    /// Lookups of routes, which are among the lookups.
    #[serde(default)]
    pub routes: RouteCounts,
    /// From the kernel's question to the answer.
    pub latency: Figures,
    /// ARP requests.
    pub arp: ProxyCounts,
    /// Neighbour solicitations.
    pub ndp: ProxyCounts,
    /// DHCP requests.
    pub dhcp: ProxyCounts,
    /// Its file.
    pub persist: PersistCounts,
    /// What went wrong last, if anything did.
    pub last_error: Option<LastError>,
}

/// Names of door commands, by their numbers, then those of version 2; number 0 stands for what is no message, the
/// last for every other command.
const COMMANDS: [&str; VARPD_CLIENT_MAX as usize + V2 + 1] = [
    "malformed",
    "create",
    "activate",
    "destroy",
    "nprops",
    "propinfo",
    "getprop",
    "setprop",
    "lookup",
    "target_mode",
    "cache_flush",
    "cache_delete",
    "cache_get",
    "cache_set",
    "cache_walk",
    "guest_delete",
    "guest_get",
    "guest_set",
    "guest_walk",
    "route_walk",
    "other",
];

/// How many commands of version 2 there are.
const V2: usize = (v2::VARPD_CLIENT_ROUTE_WALK - v2::VARPD_CLIENT_CACHE_DELETE_V2 + 1) as usize;

/// Where a command is among the names.
fn place(command: u32) -> usize {
    let behind = VARPD_CLIENT_MAX as usize;
    match command {
        0..VARPD_CLIENT_MAX => command as usize,
        v2::VARPD_CLIENT_CACHE_DELETE_V2..=v2::VARPD_CLIENT_ROUTE_WALK => {
            behind + (command - v2::VARPD_CLIENT_CACHE_DELETE_V2) as usize
        }
        _ => behind + V2,
    }
}

/// Counters that belong to no instance.
#[derive(Debug, Default)]
pub struct OfVarpd {
    door: [Calls; COMMANDS.len()],
    unplaced: Counter,
    forgotten: Counter,
}

impl OfVarpd {
    /// A door call of a process was answered; `command` is 0 if it was none.
    pub(crate) fn called(&self, command: u32, pid: i32, result: Result<(), Errno>) {
        probes::door__call!(|| (command, pid, result.err().map_or(0, |e| e.0)));
        if let Some(of) = self.door.get(place(command)) {
            of.calls.add();
            if result.is_err() {
                of.errors.add();
            }
        }
    }

    /// A lookup was for no instance that takes lookups.
    pub(crate) fn unplaced(&self) {
        self.unplaced.add();
    }

    /// A query was answered by nobody.
    pub(crate) fn forgotten(&self) {
        self.forgotten.add();
    }

    pub(crate) fn read(&self) -> VarpdCounts {
        let door = COMMANDS.iter().zip(&self.door);
        let door = door.map(|(command, calls)| ((*command).to_owned(), calls.read()));
        VarpdCounts {
            door: door.filter(|(_, c)| c.calls > 0).collect(),
            unplaced: self.unplaced.get(),
            forgotten: self.forgotten.get(),
        }
    }
}

/// What varpd had counted at some time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VarpdCounts {
    /// Door calls by command, of those that were called.
    pub door: Vec<(String, CallCounts)>,
    /// Lookups dropped because their instance is not there, is not started, or its plugin is not dynamic.
    pub unplaced: u64,
    /// Lookups that nobody answered, of instances that are gone as well.
    pub forgotten: u64,
}

/// An instance, and what it had counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// Its number.
    pub id: u64,
    /// Its link.
    pub link: u32,
    /// The virtual network.
    pub vnetid: u64,
    /// The data center, 0 for none.
    #[serde(default)]
    pub dcid: u32,
    /// Its plugin.
    pub plugin: String,
    /// What it has counted.
    pub counts: InstanceCounts,
}

/// Everything that is counted, at some time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Counters that belong to no instance.
    pub varpd: VarpdCounts,
    /// Instances by their numbers.
    pub instances: Vec<InstanceReport>,
}

impl crate::Instance {
    /// What it has counted.
    pub(crate) fn report(&self) -> InstanceReport {
        self.report_all().0
    }

    fn report_all(&self) -> (InstanceReport, Latencies) {
        let (counts, latencies) = self.stats.read();
        let report = InstanceReport {
            id: self.id().0,
            link: self.link().0,
            vnetid: self.vnetid().0,
            dcid: self.dcid(),
            plugin: self.plugin().name().to_owned(),
            counts,
        };
        (report, latencies)
    }
}

impl crate::Varpd {
    /// What was counted until now.
    pub fn report(&self) -> Report {
        let (report, _) = self.report_all();
        report
    }

    fn report_all(&self) -> (Report, Vec<Latencies>) {
        let instances: Vec<_> = lock(&self.instances).live.values().cloned().collect();
        let (instances, latencies) = instances.iter().map(|i| i.report_all()).unzip();
        (Report { varpd: self.stats.read(), instances }, latencies)
    }
}
