// SPDX-License-Identifier: CDDL-1.0
//! What each command shows. These structures are the JSON that it prints: members may be added, none
//! is renamed or taken away.
use libvarpd::stats::latency::Figures;
use libvarpd::stats::{
    CallCounts, LastError, LookupCounts, PersistCounts, ProxyCounts, RouteCounts,
};
use libvarpd::status::{InstanceStatus, Mode, PluginStatus, State, Status};
use serde::Serialize;

/// A link with an instance.
#[derive(Clone, Debug)]
pub struct Link {
    pub id: u32,
    /// `None` if dlmgmtd has none, or is not there.
    pub name: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum View {
    Status(Box<Daemon>),
    Instances(Vec<Instance>),
    Lookups(Vec<Lookups>),
    Counters(Vec<Counters>),
    Plugins(Vec<PluginStatus>),
}

/// The daemon.
#[derive(Debug, Serialize)]
pub struct Daemon {
    pub version: String,
    pub pid: u32,
    /// Seconds since 1970, UTC.
    pub started: f64,
    pub uptime_seconds: f64,
    pub lookup_threads: usize,
    /// Version of /dev/overlay that the kernel speaks.
    pub kernel: u32,
    /// Names.
    pub plugins: Vec<String>,
    /// How many, by state.
    pub instances: Vec<(State, usize)>,
    /// Sums over the instances there are.
    pub lookups: LookupCounts,
    pub outstanding: u64,
    /// Lookups that were for no instance.
    pub unplaced: u64,
    /// Door calls by command.
    pub door: Vec<(String, CallCounts)>,
}

/// An instance.
#[derive(Debug, Serialize)]
pub struct Instance {
    pub id: u64,
    pub link: u32,
    pub name: Option<String>,
    pub vnetid: u64,
    /// 0 for none.
    pub dcid: u32,
    pub plugin: String,
    pub mode: Mode,
    pub state: State,
    /// Parts of its destinations: `ether`, `ip`, `port`.
    pub dest: Vec<&'static str>,
    /// Lookups that have no answer yet.
    pub outstanding: u64,
    pub persist: PersistCounts,
    pub last_error: Option<LastError>,
    /// How many seconds ago that was.
    pub last_error_age: Option<f64>,
}

/// What became of the lookups of an instance.
#[derive(Debug, Serialize)]
pub struct Lookups {
    pub id: u64,
    pub link: u32,
    pub name: Option<String>,
    pub lookups: LookupCounts,
    pub outstanding: u64,
    /// Those of them that were about routes.
    pub routes: RouteCounts,
    pub latency: Figures,
    pub arp: ProxyCounts,
    pub ndp: ProxyCounts,
    pub dhcp: ProxyCounts,
}

/// What a plugin tells of an instance.
#[derive(Debug, Serialize)]
pub struct Counters {
    pub id: u64,
    pub link: u32,
    pub name: Option<String>,
    pub plugin: String,
    /// An object of the plugin's own making.
    pub told: serde_json::Map<String, serde_json::Value>,
}

impl View {
    pub fn status(status: &Status) -> View {
        let states =
            [State::Created, State::Active, State::Degraded, State::Orphaned, State::Closing];
        let count = |state| status.instances.iter().filter(|i| i.state == state).count();
        let mut lookups = LookupCounts::default();
        let mut outstanding = 0;
        for instance in &status.instances {
            let counts = &instance.report.counts;
            lookups = lookups.plus(&counts.lookups);
            outstanding += counts.outstanding;
        }
        View::Status(Box::new(Daemon {
            version: status.version.clone(),
            pid: status.pid,
            started: status.started,
            uptime_seconds: status.now - status.started,
            lookup_threads: status.lookup_threads,
            kernel: status.kernel,
            plugins: status.plugins.iter().map(|p| p.name.clone()).collect(),
            instances: states.map(|s| (s, count(s))).into_iter().filter(|(_, n)| *n > 0).collect(),
            lookups,
            outstanding,
            unplaced: status.counts.unplaced,
            door: status.counts.door.clone(),
        }))
    }
}

/// The instances of these links.
fn of<'a>(
    status: &'a Status,
    links: &'a [Link],
) -> impl Iterator<Item = (&'a InstanceStatus, &'a Link)> {
    links.iter().filter_map(|link| {
        let instance = status.instances.iter().find(|i| i.report.link == link.id)?;
        Some((instance, link))
    })
}

pub fn instances(status: &Status, links: &[Link]) -> Vec<Instance> {
    let view = |(i, link): (&InstanceStatus, &Link)| {
        let counts = &i.report.counts;
        let bits = [(1, "ether"), (2, "ip"), (4, "port")];
        Instance {
            id: i.report.id,
            link: link.id,
            name: link.name.clone(),
            vnetid: i.report.vnetid,
            dcid: i.report.dcid,
            plugin: i.report.plugin.clone(),
            mode: i.mode,
            state: i.state,
            dest: bits.iter().filter(|(bit, _)| i.dest & bit != 0).map(|(_, name)| *name).collect(),
            outstanding: counts.outstanding,
            persist: counts.persist,
            last_error: counts.last_error.clone(),
            last_error_age: counts.last_error.as_ref().map(|e| status.now - e.time),
        }
    };
    of(status, links).map(view).collect()
}

pub fn lookups(status: &Status, links: &[Link]) -> Vec<Lookups> {
    let view = |(i, link): (&InstanceStatus, &Link)| {
        let counts = &i.report.counts;
        Lookups {
            id: i.report.id,
            link: link.id,
            name: link.name.clone(),
            lookups: counts.lookups,
            outstanding: counts.outstanding,
            routes: counts.routes,
            latency: counts.latency,
            arp: counts.arp,
            ndp: counts.ndp,
            dhcp: counts.dhcp,
        }
    };
    of(status, links).map(view).collect()
}

/// Those whose plugins tell something.
pub fn counters(status: &Status, links: &[Link]) -> Vec<Counters> {
    let view = |(i, link): (&InstanceStatus, &Link)| {
        Some(Counters {
            id: i.report.id,
            link: link.id,
            name: link.name.clone(),
            plugin: i.report.plugin.clone(),
            told: i.told.as_ref()?.as_object()?.clone(),
        })
    };
    of(status, links).filter_map(view).collect()
}
