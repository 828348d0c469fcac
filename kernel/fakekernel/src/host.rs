// SPDX-License-Identifier: CDDL-1.0
//! Booting the kernel and taking it down: what a program that hosts it calls.
use crate::{
    callout, check, cred, dev, fault, fm, guard, inet, kmem, kstat, locks, mblk, module, net,
    probes, streams, taskq,
};
use overlay_abi::errno::Errno;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

pub use crate::check::{Kind, Violation, take_violations, violations};
pub use crate::cred::Cred;
pub use crate::ctx::Interrupt;
pub use crate::dev::{Model, OpenDev};
pub use crate::fault::{FaultPlan, fail_nth_allocb, fail_nth_nosleep, fail_random};
pub use crate::module::{Entries, ModInfo, ModuleFile, Refused, StaticModule};
pub use crate::user::{Fault, SelfMem, UserMem};

/// How much the kernel looks at what modules do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checks {
    /// Everything it can see is recorded as a [`Violation`]. Many times slower.
    #[default]
    Debug,
    /// Only what costs nothing.
    Off,
}

/// What to boot.
#[derive(Clone, Debug)]
pub struct Config {
    /// Checks.
    pub checks: Checks,
    /// Allocations that are to fail.
    pub fail: FaultPlan,
    /// With [`Checks::Debug`]: each kmem buffer ends at a page nobody may touch and vanishes when
    /// freed. Two mappings a buffer, so no more than some 30 000 of them.
    pub guard: bool,
    /// Linux sockets a kernel socket with UDP_SRCPORT_HASH spreads its flows over.
    pub txpool: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config { checks: Checks::default(), fail: FaultPlan::default(), guard: false, txpool: 8 }
    }
}

static BOOTED: Mutex<bool> = Mutex::new(false);
static DOWN: Condvar = Condvar::new();

/// The running kernel. There is one in a process at a time.
///
/// Dropping it shuts it down, and panics if there were violations: a test that forgets to look
/// fails all the same.
#[must_use]
pub struct Kernel {
    running: bool,
}

/// Boots; waits until another kernel in the process is down.
pub fn boot(config: Config) -> Kernel {
    let mut booted = BOOTED.lock();
    while *booted {
        DOWN.wait(&mut booted);
    }
    *booted = true;
    drop(booted);
    check::set_debug(config.checks == Checks::Debug);
    check::take_violations();
    guard::set(config.guard);
    locks::reset();
    fm::reset();
    probes::boot();
    fault::set(&config.fail);
    net::boot(config.txpool);
    inet::boot();
    Kernel { running: true }
}

impl Kernel {
    /// Makes a module known to [`Kernel::modload`] and to modload() of the kernel.
    pub fn register_module(&self, m: StaticModule) {
        module::register(m, &[]);
    }

    /// The same for one that needs others, which are loaded first and stay while it is loaded.
    pub fn register_module_needing(&self, m: StaticModule, needs: &[&str]) {
        module::register(m, needs);
    }

    /// Tells where functions are that the kernel calls in a linked module, as it would find them in
    /// a file: `ipnet_walk_if` and `ipnet_if_getdev` of `drv/ipnet`, behind /dev/ipnet.
    pub fn register_exports(&self, module: &str, exports: &[(&'static str, usize)]) {
        module::register_exports(module, exports);
    }

    /// Makes a file known to them, in place of the module that had its name.
    ///
    /// # Errors
    /// EBUSY: that one is loaded.
    pub fn register_module_file(&self, file: Arc<dyn ModuleFile>) -> Result<(), Errno> {
        module::register_file(file)
    }

    /// Loads a file; its number. Once loaded it is the module of its name from then on. If it is
    /// refused, the module that had its name still has it.
    ///
    /// # Errors
    /// EBUSY: that one is loaded. Else as [`Kernel::modload`].
    pub fn modload_file(&self, file: Arc<dyn ModuleFile>) -> Result<i32, Errno> {
        module::load_new_file(file)
    }

    /// Loads a module; its number.
    ///
    /// # Errors
    /// ENOENT: not registered. ENXIO: its driver does not attach. Else what its file is refused
    /// with (the log says why), or what its init says.
    pub fn modload(&self, name: &str) -> Result<i32, Errno> {
        module::load(name)
    }

    /// Unloads a module.
    ///
    /// # Errors
    /// ENOENT: not registered. EBUSY: in use. Else what its fini says.
    pub fn modunload(&self, name: &str) -> Result<(), Errno> {
        module::unload(name)
    }

    /// Loaded modules.
    pub fn modinfo(&self) -> Vec<ModInfo> {
        module::info()
    }

    /// Opens a device; see [`dev::open`].
    ///
    /// # Errors
    /// As [`dev::open`].
    pub fn open(&self, path: &str, flags: i32, cred: &cred::Cred) -> Result<OpenDev, Errno> {
        dev::open(path, flags, cred)
    }

    /// Unloads all modules, stops the kernel's threads and looks for what is left.
    ///
    /// # Errors
    /// Every violation since boot. A module that refuses to go is one.
    pub fn shutdown(mut self) -> Result<(), Vec<Violation>> {
        let found = self.down();
        if found.is_empty() { Ok(()) } else { Err(found) }
    }

    fn down(&mut self) -> Vec<Violation> {
        if !std::mem::replace(&mut self.running, false) {
            return Vec::new();
        }
        fault::set(&FaultPlan::default());
        for name in module::loaded() {
            if let Err(e) = module::unload(&name) {
                let text = format!("{name} does not unload at shutdown: {e}");
                check::violation(Kind::Leak, text);
            }
        }
        callout::leaks(None);
        inet::shutdown();
        streams::leaks();
        taskq::leaks(None);
        net::shutdown();
        module::forget();
        if check::debug() {
            kmem::leaks(None);
            mblk::leaks(None);
            kmem::drain();
        }
        kstat::leaks();
        let found = check::take_violations();
        *BOOTED.lock() = false;
        DOWN.notify_one();
        found
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let found = self.down();
        if found.is_empty() {
            return;
        }
        for v in &found {
            eprintln!("{v}");
        }
        if !std::thread::panicking() {
            std::panic!("{} violations of the kernel's rules", found.len());
        }
    }
}
