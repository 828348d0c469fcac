// SPDX-License-Identifier: CDDL-1.0
//! SDT probes: a call that costs a load and a branch until somebody listens.
//!
//! A probe is named as in D: `overlay-tx` for `__dtrace_probe_overlay__tx`. It counts and reports
//! while it is armed; with checks on all are armed from boot.
use crate::check::debug;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is called with a probe's five arguments, on the thread that fires it.
pub type Sink = Arc<dyn Fn(&[usize]) + Send + Sync>;

struct Probe {
    symbol: &'static str,
    on: AtomicBool,
    count: AtomicU64,
    sinks: Mutex<Vec<Sink>>,
}

impl Probe {
    const fn new(symbol: &'static str) -> Probe {
        let (on, count) = (AtomicBool::new(false), AtomicU64::new(0));
        Probe { symbol, on, count, sinks: Mutex::new(Vec::new()) }
    }

    fn name(&self) -> String {
        d_name(self.symbol)
    }

    #[cold]
    fn fire(&self, args: &[usize]) {
        self.count.fetch_add(1, Ordering::Relaxed);
        // Called without the lock: a sink may arm, disarm or fire.
        let sinks = self.sinks.lock().clone();
        for s in sinks {
            s(args);
        }
    }

    fn rearm(&self, sinks: &[Sink]) {
        self.on.store(debug() || !sinks.is_empty(), Ordering::Relaxed);
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
        static PROBES: [Probe; ADDRESSES.len()] = [$(Probe::new(stringify!($name)),)*];
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name(a: usize, b: usize, c: usize, d: usize, e: usize) {
                let probe = &PROBES[Index::$name as usize];
                if probe.on.load(Ordering::Relaxed) {
                    probe.fire(&[a, b, c, d, e]);
                }
            }
        )*
        const ADDRESSES: &[(&str, extern "C" fn(usize, usize, usize, usize, usize))] =
            &[$((stringify!($name), $name),)*];
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

fn find(name: &str) -> Option<&'static Probe> {
    let name = d_name(name);
    PROBES.iter().find(|p| p.name() == name)
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
    PROBES.iter().map(Probe::name).collect()
}

/// Symbol and function of each probe: what a loader calls where a module's probe is armed.
pub fn functions() -> &'static [(&'static str, extern "C" fn(usize, usize, usize, usize, usize))] {
    ADDRESSES
}

pub(crate) fn boot() {
    for p in &PROBES {
        p.count.store(0, Ordering::Relaxed);
        p.rearm(&p.sinks.lock());
    }
}
