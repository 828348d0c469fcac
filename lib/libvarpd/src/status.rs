// SPDX-License-Identifier: CDDL-1.0
//! What varpd says of itself to varpdadm, through the door: one value, taken at one time, in JSON.
//!
//! Members may be added. None is renamed or taken away, and a reader leaves out what it does not
//! know.
use crate::gate::Phase;
use crate::plugin::Plugin;
use crate::stats::{InstanceReport, VarpdCounts};
use crate::{Instance, Varpd, lock};
use overlay_abi::errno::Errno;
use overlay_abi::target::{OVERLAY_TARG_INFO_F_DEGRADED, OVERLAY_TARGET_POINT};
use serde::{Deserialize, Serialize};

/// A varpd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it opened /dev/overlay, in seconds since 1970, UTC.
    pub started: f64,
    /// When this was taken, likewise.
    pub now: f64,
    /// Threads that ask the kernel for lookups.
    pub lookup_threads: usize,
    /// Version of /dev/overlay that the kernel speaks.
    #[serde(default = "one")]
    pub kernel: u32,
    /// Plugins, by name.
    pub plugins: Vec<PluginStatus>,
    /// Instances, by number.
    pub instances: Vec<InstanceStatus>,
    /// What belongs to no instance.
    pub counts: VarpdCounts,
}

/// What a varpd that did not say so spoke with its kernel.
fn one() -> u32 {
    1
}

/// A loaded plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// How it finds destinations.
    pub mode: Mode,
    /// Where it was loaded from.
    pub file: String,
    /// Whether it answers ARP requests and neighbour solicitations.
    pub arp: bool,
    /// Whether it knows DHCP servers.
    pub dhcp: bool,
    /// Whether it knows routes, thus is of version 2.
    #[serde(default)]
    pub routes: bool,
    /// How many instances it has.
    pub instances: usize,
}

/// How a plugin finds destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It has one.
    Point,
    /// It is asked for each address.
    Dynamic,
}

/// How far an instance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It may be given properties.
    Created,
    /// It takes lookups.
    Active,
    /// It takes lookups, and its plugin says that its link cannot do its work.
    Degraded,
    /// It takes lookups, and there is no such link any more.
    Orphaned,
    /// It is being destroyed.
    Closing,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// How far it has come.
    pub state: State,
    /// How its plugin finds destinations.
    pub mode: Mode,
    /// Parts of a destination, `OVERLAY_PLUGIN_D_*`.
    pub dest: u32,
    /// Which it is, and what it has counted.
    #[serde(flatten)]
    pub report: InstanceReport,
    /// What its plugin tells of it, an object of the plugin's own making.
    #[serde(default)]
    pub told: Option<serde_json::Value>,
}

impl From<&Plugin> for Mode {
    fn from(plugin: &Plugin) -> Mode {
        match plugin.mode() {
            OVERLAY_TARGET_POINT => Mode::Point,
            _ => Mode::Dynamic,
        }
    }
}

impl Instance {
    /// How far it has come. Waits for nobody, whatever is being done to the instance.
    fn state(&self, varpd: &Varpd) -> State {
        match self.phase() {
            Phase::Closed => State::Closing,
            Phase::Created => State::Created,
            Phase::Started => match varpd.device.info(self.link()) {
                Ok(info) if info.oti_flags & OVERLAY_TARG_INFO_F_DEGRADED != 0 => State::Degraded,
                Err(Errno::ENOENT) => State::Orphaned,
                _ => State::Active,
            },
        }
    }
}

impl Varpd {
    /// What there is to say of this varpd now.
    pub fn status(&self) -> Status {
        let instances: Vec<_> = lock(&self.instances).live.values().cloned().collect();
        let plugins: Vec<_> = lock(&self.plugins).values().cloned().collect();
        let lookup_threads = lock(&self.lookups).running;
        let plugin = |p: &Plugin| PluginStatus {
            name: p.name().to_owned(),
            mode: p.into(),
            file: p.file().display().to_string(),
            arp: p.ops.arp.is_some(),
            dhcp: p.ops.dhcp.is_some(),
            routes: p.is_routed(),
            instances: instances.iter().filter(|i| std::ptr::eq(i.plugin(), p)).count(),
        };
        let instance = |i: &Instance| InstanceStatus {
            state: i.state(self),
            mode: i.plugin().into(),
            dest: i.dest(),
            report: i.report(),
            told: i.told(),
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started,
            now: crate::stats::now(),
            lookup_threads,
            kernel: if self.device.routed() { 2 } else { 1 },
            plugins: plugins.iter().map(|p| plugin(p)).collect(),
            instances: instances.iter().map(|i| instance(i)).collect(),
            counts: self.stats.read(),
        }
    }
}
