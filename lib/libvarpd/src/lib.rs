// SPDX-License-Identifier: CDDL-1.0
//! The virtual ARP daemon as a library: instances, plugins, lookups, door server.
//!
//! ```text
//!   dladm ==door==> door ---> Varpd ----------------+--> instance --> plugin.so  (C ABI, spec 5)
//!                   message    | plugins, instances |       ^            |
//!                              |                    |       |            | libvarpd_* (cabi)
//!                              v                    |     lookup threads v
//!                           device ==ioctl==> /dev/overlay ==LOOKUP==> query ==RESPOND, DROP==>
//! ```
//!
//! | module | job |
//! |---|---|
//! | `device` | typed ioctls on /dev/overlay |
//! | `plugin` | loading shared objects, checking what they register |
//! | `calls` | calls into a plugin |
//! | `crash` | says in which plugin a process died |
//! | `instance` | life of an instance |
//! | `instances` | which there are, and which numbers and links are taken |
//! | `persist` | instances that outlive varpd |
//! | `prop` | its properties |
//! | `reread` | asking plugins to read their files again |
//! | `gate` | who may call into an instance when |
//! | `query` | one lookup from the kernel's question to its answer |
//! | `recheck` | asking plugins about what the kernel knew before varpd started |
//! | `message` | door messages: bytes in, request out, and back; no I/O |
//! | `probes` | what DTrace and its like can see |
//! | `server` | what each door command does, and who may |
//! | `told` | properties as clients of the door are told them |
//! | `proxy` | answering ARP, neighbour discovery and DHCP |
//! | `frame` | Ethernet frames that varpd makes itself |
//! | `cabi` | the C functions plugins call |
//! | `status` | what it says of itself to varpdadm |
//! | `stats` | what is counted, by instance; Prometheus' text of it |
//! | `token` | handles given to plugins, which are numbers and never pointers |
//!
//! # Vocabulary
//!
//! * *instance*: one object of a plugin, bound to one overlay link. *created*, then *started*, then
//!   *associated* with its link in the kernel, which together are *active*.
//! * *query*: a frame in the kernel that waits for a destination. It belongs to the open of
//!   /dev/overlay: when varpd dies, or stops, the kernel takes the queries back and asks the next
//!   varpd that opens it.
//! * *token*: what a plugin holds instead of a pointer. One that is used too late or twice is
//!   recognized.
//! * *model*: the data model of a door's client, LP64 or ILP32. The door tells it with the caller's
//!   credentials: on Linux the stand-in's hello carries it, on illumos it will be that of the
//!   calling process (`/proc/<pid>/psinfo`, `pr_dmodel`). A client is always answered in its own.
//!
//! # Locks, outer first
//!
//! 1. `Instance::admin`: activation and destruction of one instance, one at a time.
//! 2. `Varpd::instances`, `Varpd::plugins`, `Varpd::persist`, `Gate`, token tables, the count of
//!    lookup threads, that of open checks: leaves.
//!
//! No leaf is held over an ioctl, a file or a call into a plugin. Loading plugins has one lock of its own
//! for the whole process, outside of all others.
//!
//! # Invariants
//!
//! * A plugin is called only through a [pass](gate::Pass) of its instance's gate. `vpo_lookup` and
//!   `vpo_default` run between the end of `vpo_start` and the beginning of `vpo_stop`;
//!   `vpo_destroy` runs when no other call does, once. Plugins may call back from anywhere: nothing
//!   they can reach waits for a gate.
//! * Each query is answered once: by the plugin, or by a drop. Those that the plugin forgets are
//!   dropped when its instance is destroyed.
//! * An instance's id and link stay taken until it is gone from the kernel and its plugin.
//! * Whatever a client, a plugin or the kernel says, varpd does not panic. It gives up only if
//!   /dev/overlay stops working, and then says so.
//! * An active instance has a file, from before the kernel knows of it until before the kernel is
//!   told of its end.

// First, as its macros are used by the others.
pub mod probes;

pub mod cabi;
mod calls;
pub mod crash;
pub mod device;
pub mod frame;
pub mod gate;
pub mod instance;
mod instances;
pub mod message;
pub mod persist;
pub mod plugin;
pub mod prop;
pub mod proxy;
mod query;
mod recheck;
mod reread;
mod server;
pub mod stats;
pub mod status;
pub mod token;
mod told;

use devctl::Root;
use device::Overlay;
use instance::Instance;
use instances::Instances;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, VarpdId};
use plugin::Plugin;
use slog::Logger;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What keeps varpd from running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// /dev/overlay cannot be opened. `EEXIST`: another varpd has it.
    #[error(transparent)]
    Device(#[from] devctl::Error),
    /// A plugin directory cannot be read.
    #[error("cannot read plugin directory {}: {source}", path.display())]
    PluginDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The door cannot be made.
    #[error("cannot create door {}: {source}", path.display())]
    Door {
        /// The door.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The state of one varpd. Dropped, it waits for nothing and destroys no instance: links keep
/// working and the next varpd takes them over.
#[derive(Debug)]
pub struct Varpd {
    device: Overlay,
    log: Logger,
    /// Who made it.
    owner: u32,
    plugins: Mutex<BTreeMap<String, Arc<Plugin>>>,
    instances: Mutex<Instances>,
    persist: Mutex<Option<Arc<persist::Store>>>,
    lookups: Mutex<Lookups>,
    lookups_done: Condvar,
    started: f64,
    stats: stats::OfVarpd,
}

#[derive(Debug, Default)]
struct Lookups {
    running: usize,
    quiesce: bool,
}

/// A thread that [`Varpd::quiesce`] waits for.
struct Working(Arc<Varpd>);

impl Drop for Working {
    fn drop(&mut self) {
        lock(&self.0.lookups).running -= 1;
        self.0.lookups_done.notify_all();
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Varpd {
    /// Opens /dev/overlay of the host at `root`, exclusively.
    ///
    /// From then on the kernel hands lookups of an earlier varpd that were not answered to this
    /// one.
    pub fn new(root: &Root, log: Logger) -> Result<Arc<Varpd>, Error> {
        cabi::log_to(&log);
        let device = Overlay::open(root)?;
        if !device.routed() {
            slog::info!(log, "the kernel speaks version 1 of /dev/overlay: nothing is routed");
        }
        Ok(Arc::new(Varpd {
            device,
            log,
            owner: rustix::process::geteuid().as_raw(),
            plugins: Mutex::default(),
            instances: Mutex::default(),
            persist: Mutex::default(),
            lookups: Mutex::default(),
            lookups_done: Condvar::new(),
            started: stats::now(),
            stats: stats::OfVarpd::default(),
        }))
    }

    /// Loads every plugin in `dir`, or in `dir/64` if that exists. What is wrong with a single one
    /// is logged.
    pub fn load_plugins(&self, dir: &Path) -> Result<(), Error> {
        plugin::load_dir(self, dir)
    }

    /// Loads one plugin; what is wrong with it is logged.
    pub fn load_plugin(&self, file: &Path) {
        plugin::load(self, file);
    }

    /// Names of the loaded plugins, in order.
    pub fn plugins(&self) -> Vec<String> {
        lock(&self.plugins).keys().cloned().collect()
    }

    fn plugin(&self, name: &str) -> Option<Arc<Plugin>> {
        lock(&self.plugins).get(name).cloned()
    }

    /// `EEXIST` if there is one of that name.
    fn add_plugin(&self, plugin: Plugin) -> Result<(), Errno> {
        let mut plugins = lock(&self.plugins);
        if plugins.contains_key(plugin.name()) {
            return Err(Errno::EEXIST);
        }
        plugins.insert(plugin.name().to_owned(), Arc::new(plugin));
        Ok(())
    }

    /// Makes an instance of a plugin for an overlay link.
    ///
    /// # Errors
    /// `ENOENT`: no such plugin, or the link is no overlay; `EEXIST`: the link has an instance;
    /// `ENOSPC`: no id is free; else the plugin's. An instance that [waits](persist) for the link is
    /// no hindrance.
    pub fn create(self: &Arc<Self>, link: LinkId, plugin: &str) -> Result<VarpdId, Errno> {
        let plugin = self.plugin(plugin).ok_or(Errno::ENOENT)?;
        let info = self.device.info(link)?;
        let id = lock(&self.instances).reserve(link)?;
        match Instance::create(self, id, link, &info, plugin) {
            Ok(instance) => {
                lock(&self.instances).live.insert(id, instance);
                Ok(id)
            }
            Err(e) => {
                lock(&self.instances).links.remove(&link);
                Err(e)
            }
        }
    }

    /// The instance with this id. It stays valid, though perhaps destroyed, as long as it is held.
    pub fn instance(&self, id: VarpdId) -> Option<Arc<Instance>> {
        lock(&self.instances).live.get(&id).cloned()
    }

    /// The id of a link's instance.
    pub fn instance_of(&self, link: LinkId) -> Option<VarpdId> {
        let instances = lock(&self.instances);
        let id = instances.links.get(&link)?;
        instances.live.contains_key(id).then_some(*id)
    }

    /// Destroys an instance: its link is disassociated, its plugin stopped. `ENOENT` without it.
    pub fn destroy(&self, id: VarpdId) -> Result<(), Errno> {
        let instance = lock(&self.instances).live.remove(&id).ok_or(Errno::ENOENT)?;
        instance.destroy();
        query::abandon(&instance);
        lock(&self.instances).links.remove(&instance.link());
        Ok(())
    }

    /// Creates the door at `path`; it answers until the server is dropped.
    pub fn serve(self: &Arc<Self>, path: &Path) -> Result<door::Server, Error> {
        let varpd = Arc::clone(self);
        let handler = move |bytes: &[u8], cred: &door::PeerCred| varpd.answer(bytes, cred);
        door::Server::create(path, 0o644, Arc::new(handler))
            .map_err(|source| Error::Door { path: path.to_owned(), source })
    }

    /// Asks the kernel for lookups and hands them to plugins, until [`Varpd::quiesce`]. Run by
    /// several threads.
    ///
    /// # Errors
    /// What the kernel answered when it does not work any more: `EIO` if it is gone.
    pub fn run_lookups(self: &Arc<Self>) -> Result<(), Errno> {
        let Some(_working) = self.work() else { return Ok(()) };
        self.recheck();
        self.lookup_until_quiesced()
    }

    /// Counts a thread that calls plugins, unless there should be none.
    fn work(self: &Arc<Self>) -> Option<Working> {
        let mut lookups = lock(&self.lookups);
        if lookups.quiesce {
            return None;
        }
        lookups.running += 1;
        Some(Working(Arc::clone(self)))
    }

    fn lookup_until_quiesced(self: &Arc<Self>) -> Result<(), Errno> {
        while !lock(&self.lookups).quiesce {
            match self.device.lookup() {
                Ok(request) => query::handle(self, request),
                Err(Errno::ETIME | Errno::EINTR) => {}
                Err(e @ (Errno::EAGAIN | Errno::ENOMEM)) => {
                    slog::warn!(self.log, "lookup failed for now"; "error" => e.name());
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
                Err(e) => {
                    slog::crit!(self.log, "/dev/overlay does not answer lookups any more";
                        "error" => e.name());
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// Ends all [`Varpd::run_lookups`] and waits for that, about a second since LOOKUP blocks for
    /// one.
    pub fn quiesce(&self) {
        let mut lookups = lock(&self.lookups);
        lookups.quiesce = true;
        while lookups.running > 0 {
            lookups = self.lookups_done.wait(lookups).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many queries nobody answered, so that they were dropped.
    pub fn forgotten(&self) -> u64 {
        self.report().varpd.forgotten
    }

    /// Allows [`Varpd::run_lookups`] again after [`Varpd::quiesce`].
    pub fn resume(&self) {
        lock(&self.lookups).quiesce = false;
    }

    /// Typed ioctls on the device.
    pub fn device(&self) -> &Overlay {
        &self.device
    }

    /// Where this varpd logs.
    pub fn log(&self) -> &Logger {
        &self.log
    }
}
