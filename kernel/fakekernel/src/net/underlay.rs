// SPDX-License-Identifier: CDDL-1.0
//! Counters of all kernel sockets together, seen as the kstat `udp:0:underlay`.

use illumos_sys_hdrs::*;
use parking_lot::Mutex;
use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        $($(#[$doc])* pub static $name: AtomicU64 = AtomicU64::new(0);)*
        const ALL: &[(&CStr, &AtomicU64)] = &[$(($label, &$name)),*];
    };
}
counters! {
    /// Datagrams that the host took.
    OUT_DATAGRAMS = c"out_datagrams",
    /// System calls that sent them.
    OUT_CALLS = c"out_calls",
    /// Datagrams dropped because the host refused them after the driver was told that they are sent.
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

struct Stat(*mut kstat_t);

// SAFETY: made and deleted under the lock below; readers serialise in the kstat chain.
unsafe impl Send for Stat {}

static STAT: Mutex<Option<Stat>> = Mutex::new(None);

unsafe extern "C" fn update(ks: *mut kstat_t, how: c_int) -> c_int {
    if how != KSTAT_READ {
        return super::errno::EACCES;
    }
    // SAFETY: the data are as many named values as `start` asked for.
    unsafe {
        let at = (*ks).ks_data.cast::<kstat_named_t>();
        for (i, (_, c)) in ALL.iter().enumerate() {
            (*at.add(i)).value.ui64 = c.load(Ordering::Relaxed);
        }
    }
    0
}

/// Zeroes the counters and makes the kstat.
pub fn start() {
    // SAFETY: kstat_create(9F): the names outlive the call, the data is ours to name before the kstat is installed.
    unsafe {
        let ks = kstat_create(
            c"udp".as_ptr(),
            0,
            c"underlay".as_ptr(),
            c"net".as_ptr(),
            KSTAT_TYPE_NAMED,
            ALL.len() as u32,
            0,
        );
        if ks.is_null() {
            return;
        }
        let at = (*ks).ks_data.cast::<kstat_named_t>();
        for (i, (name, c)) in ALL.iter().enumerate() {
            c.store(0, Ordering::Relaxed);
            kstat_named_init(at.add(i), name.as_ptr(), KSTAT_DATA_UINT64);
        }
        (*ks).ks_update = Some(update);
        kstat_install(ks);
        *STAT.lock() = Some(Stat(ks));
    }
}

/// Removes the kstat.
pub fn stop() {
    let stat = STAT.lock().take();
    if let Some(Stat(ks)) = stat {
        // SAFETY: made by start, not deleted yet.
        unsafe { kstat_delete(ks) }
    }
}
