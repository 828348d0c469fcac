// SPDX-License-Identifier: CDDL-1.0
//! SDT probes: a call that costs a load and a branch until somebody listens.
//!
//! A probe is named as in D: `overlay-tx` for `__dtrace_probe_overlay__tx`. It counts and reports
//! while it is armed; with checks on all are armed from boot.
//!
//! A linked module calls the probe's function. The calls of a loaded one are no-ops, each a
//! [`Site`] that its loader arms when the probe is armed.
use crate::check::debug;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is called with a probe's five arguments, on the thread that fires it.
pub type Sink = Arc<dyn Fn(&[usize]) + Send + Sync>;

/// A place in a loaded module's text where a probe is.
pub trait Site: Send + Sync {
    /// From now on whoever comes there calls [`fire`], or does not.
    fn arm(&self, on: bool);
}

/// A probe: what its sites have to tell [`fire`].
pub struct Probe {
    symbol: Cow<'static, str>,
    on: AtomicBool,
    count: AtomicU64,
    // Taken before `sites`.
    sinks: Mutex<Vec<Sink>>,
    sites: Mutex<Vec<Arc<dyn Site>>>,
}

impl Probe {
    const fn new(symbol: Cow<'static, str>) -> Probe {
        Probe {
            symbol,
            on: AtomicBool::new(false),
            count: AtomicU64::new(0),
            sinks: Mutex::new(Vec::new()),
            sites: Mutex::new(Vec::new()),
        }
    }

    fn name(&self) -> String {
        d_name(&self.symbol)
    }

    /// Adds a site, armed as the probe is.
    pub fn add(&self, site: Arc<dyn Site>) {
        let sinks = self.sinks.lock();
        self.sites.lock().push(site);
        self.rearm(&sinks);
    }

    /// Forgets a site.
    pub fn remove(&self, site: &Arc<dyn Site>) {
        self.sites.lock().retain(|s| !Arc::ptr_eq(s, site));
    }

    #[cold]
    fn called(&self, args: &[usize]) {
        self.count.fetch_add(1, Ordering::Relaxed);
        // Called without the lock: a sink may arm, disarm or fire.
        let sinks = self.sinks.lock().clone();
        for s in sinks {
            s(args);
        }
    }

    fn rearm(&self, sinks: &[Sink]) {
        let on = debug() || !sinks.is_empty();
        self.on.store(on, Ordering::Relaxed);
        for site in self.sites.lock().iter() {
            site.arm(on);
        }
    }
}

/// What a thread calls that comes to an armed site: the probe's arguments, then the probe.
pub extern "C" fn fire(a: usize, b: usize, c: usize, d: usize, e: usize, probe: &'static Probe) {
    if probe.on.load(Ordering::Relaxed) {
        probe.called(&[a, b, c, d, e]);
    }
}

fn d_name(symbol: &str) -> String {
    symbol.strip_prefix("__dtrace_probe_").unwrap_or(symbol).replace("__", "-")
}

macro_rules! define {
    ($($name:ident,)*) => {
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy)]
        enum Index { $($name,)* }
        static PROBES: [Probe; [$(stringify!($name),)*].len()] =
            [$(Probe::new(Cow::Borrowed(stringify!($name))),)*];
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name(a: usize, b: usize, c: usize, d: usize, e: usize) {
                let probe = &PROBES[Index::$name as usize];
                if probe.on.load(Ordering::Relaxed) {
                    probe.called(&[a, b, c, d, e]);
                }
            }
        )*
    };
}
illumos_sys_hdrs::for_each_probe!(define);

/// Disarms when it drops.
#[must_use]
pub struct Armed(&'static Probe, Sink);

impl Drop for Armed {
    fn drop(&mut self) {
        let mut sinks = self.0.sinks.lock();
        if let Some(at) = sinks.iter().position(|s| Arc::ptr_eq(s, &self.1)) {
            sinks.remove(at);
        }
        self.0.rearm(&sinks);
    }
}

/// Probes that only loaded modules have. They are never many, and live for ever.
static MORE: Mutex<Vec<&'static Probe>> = Mutex::new(Vec::new());

fn find(name: &str) -> Option<&'static Probe> {
    let name = d_name(name);
    let more = MORE.lock();
    PROBES.iter().chain(more.iter().copied()).find(|p| p.name() == name)
}

/// The probe of a symbol, `__dtrace_probe_overlay__tx`; a new one if there is none.
pub fn of_symbol(symbol: &str) -> &'static Probe {
    if let Some(p) = find(symbol) {
        return p;
    }
    let p = Box::leak(Box::new(Probe::new(Cow::Owned(symbol.to_string()))));
    MORE.lock().push(p);
    p
}

/// Calls `sink` whenever the probe fires; None: no such probe.
pub fn arm(name: &str, sink: Sink) -> Option<Armed> {
    let p = find(name)?;
    let mut sinks = p.sinks.lock();
    sinks.push(sink.clone());
    p.rearm(&sinks);
    Some(Armed(p, sink))
}

/// How often the probe has fired while armed since boot; 0 for a name nobody has.
pub fn count(name: &str) -> u64 {
    find(name).map_or(0, |p| p.count.load(Ordering::Relaxed))
}

/// Names of all probes, as in D.
pub fn names() -> Vec<String> {
    let more = MORE.lock();
    PROBES.iter().chain(more.iter().copied()).map(Probe::name).collect()
}

pub(crate) fn boot() {
    let more = MORE.lock().clone();
    for p in PROBES.iter().chain(more) {
        p.count.store(0, Ordering::Relaxed);
        p.rearm(&p.sinks.lock());
    }
}
