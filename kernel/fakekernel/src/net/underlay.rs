// SPDX-License-Identifier: CDDL-1.0
//! Counters of all kernel sockets together, seen as the kstat `udp:0:underlay`.

use super::stat::Stat;
use parking_lot::Mutex;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        $($(#[$doc])* pub static $name: AtomicU64 = AtomicU64::new(0);)*
        const NAMES: &[&CStr] = &[$($label),*];
        const ALL: &[&AtomicU64] = &[$(&$name),*];
    };
}
counters! {
    /// Datagrams that the host took.
    OUT_DATAGRAMS = c"out_datagrams",
    /// System calls that sent them.
    OUT_CALLS = c"out_calls",
    /// Datagrams dropped after the driver was told that they are sent: the host refused them, or
    /// they were still queued when the socket was closed.
    OUT_ERRORS = c"out_errors",
    /// Times that a driver was told EAGAIN: the socket and the queue before it were full.
    OUT_BLOCKED = c"out_blocked",
    /// Datagrams given to drivers.
    IN_DATAGRAMS = c"in_datagrams",
    /// System calls that received them.
    IN_CALLS = c"in_calls",
    /// Datagrams dropped by the host because a socket's buffer was full.
    IN_OVERFLOWS = c"in_overflows",
    /// Datagrams dropped because there was no memory for a message.
    IN_NO_MEMORY = c"in_no_memory",
}

/// Adds to a counter.
pub fn add(c: &AtomicU64, n: usize) {
    c.fetch_add(n as u64, Ordering::Relaxed);
}

static STAT: Mutex<Option<Stat>> = Mutex::new(None);

/// Zeroes the counters and makes the kstat.
pub fn start() {
    ALL.iter().for_each(|c| c.store(0, Ordering::Relaxed));
    let read = || ALL.iter().map(|c| c.load(Ordering::Relaxed)).collect();
    *STAT.lock() = Stat::new(c"udp", 0, c"underlay", NAMES, read);
}

/// Removes the kstat.
pub fn stop() {
    *STAT.lock() = None;
}
