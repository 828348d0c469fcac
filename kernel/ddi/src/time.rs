// SPDX-License-Identifier: CDDL-1.0
//! Points in time and calls at one.
use crate::mem::KArc;
use crate::sync::{KCondvar, KMutex};
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use illumos_sys_hdrs as sys;

/// An absolute point in time, in ticks since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(sys::clock_t);

impl Deadline {
    /// So many milliseconds from now, rounded up to a tick.
    pub fn after_ms(ms: u32) -> Self {
        // SAFETY: neither call has conditions.
        unsafe { Deadline(sys::ddi_get_lbolt().wrapping_add(ticks(ms))) }
    }

    pub(crate) fn ticks(self) -> sys::clock_t {
        self.0
    }
}

fn ticks(ms: u32) -> sys::clock_t {
    // SAFETY: no conditions.
    unsafe { sys::drv_usectohz(sys::clock_t::from(ms).wrapping_mul(1000)) }
}

/// Nanoseconds of a clock that only goes forward.
pub fn hrtime() -> i64 {
    // SAFETY: no conditions.
    unsafe { sys::gethrtime() }
}

/// A time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Realtime {
    /// Seconds since 1970.
    pub seconds: i64,
    /// And nanoseconds, less than a second of them.
    pub nanos: u32,
}

impl Realtime {
    /// As of now.
    pub fn now() -> Realtime {
        let mut now = sys::timespec_t { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the place is ours.
        unsafe { sys::gethrestime(&raw mut now) };
        Realtime { seconds: now.tv_sec, nanos: now.tv_nsec as u32 }
    }
}

/// An object with one [`Callout`].
pub trait Expire: Send + Sync {
    /// Where its pending call is kept.
    fn callout(&self) -> &Callout;
    /// Runs once, in a context that must not sleep for long.
    fn expire(&self);
}

/// One pending call at a time of an object's [`Expire::expire`]; timeout(9F).
///
/// `armed` says that a call is to come; it falls before the call begins, so that what happens
/// during the call can ask for the next. `calls` counts those not yet over.
#[derive(Default)]
pub struct Callout {
    armed: AtomicBool,
    calls: AtomicUsize,
}

impl Callout {
    /// Has `owner` called in `ms` milliseconds, unless a call is pending. The call holds the owner.
    pub fn arm<T: Expire>(owner: &KArc<T>, ms: u32) {
        let this = owner.callout();
        if this.armed.swap(true, Ordering::AcqRel) {
            return;
        }
        this.calls.fetch_add(1, Ordering::AcqRel);
        let arg = KArc::into_raw(owner.clone());
        // SAFETY: `fire` takes the hold in `arg`, once.
        unsafe { sys::timeout(fire::<T>, arg.cast_mut().cast(), ticks(ms)) };
    }

    /// Waits until no call is pending or running. Nobody may arm meanwhile.
    pub fn drain(&self) {
        while self.calls.load(Ordering::Acquire) != 0 {
            sleep_ms(1);
        }
    }
}

unsafe extern "C" fn fire<T: Expire>(arg: *mut c_void) {
    // SAFETY: `arm` left a hold for us.
    let owner = unsafe { KArc::<T>::from_raw(arg.cast_const().cast()) };
    owner.callout().armed.store(false, Ordering::Release);
    owner.expire();
    owner.callout().calls.fetch_sub(1, Ordering::AcqRel);
}

/// Lets at least so much time pass. For the rare wait that nobody can signal the end of.
pub fn sleep_ms(ms: u32) {
    let deadline = Deadline::after_ms(ms);
    let lock = KMutex::new(());
    let wake = KCondvar::new();
    let mut held = lock.lock();
    while wake.wait_until(&mut held, deadline) {}
}
