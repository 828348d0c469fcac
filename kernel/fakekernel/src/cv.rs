// SPDX-License-Identifier: CDDL-1.0
//! kcondvar_t: two bytes that say whether anybody waits; the waiters themselves are parked by its
//! address.
use crate::check::{Kind, debug, violation};
use crate::ctx::{self, UNPARK_INTERRUPT, UNPARK_SIGNAL};
use crate::mutex::{mutex_enter, mutex_exit, mutex_owned};
use crate::time;
use illumos_sys_hdrs::{clock_t, kcondvar_t, kmutex_t};
use parking_lot_core::{FilterOp, ParkResult, ParkToken, UnparkToken};
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

#[inline(always)]
unsafe fn word<'a>(cv: *mut kcondvar_t) -> &'a AtomicU16 {
    // SAFETY: the caller's condition variable is valid.
    unsafe { AtomicU16::from_ptr(cv.cast()) }
}

/// Why a wait ended.
#[derive(PartialEq, Eq)]
enum Woken {
    Signalled,
    TimedOut,
    Interrupted,
}

/// Wakes those waiters of `cv` that `which` chooses.
pub(crate) fn wake_where(
    cv: usize,
    why: UnparkToken,
    mut which: impl FnMut(ParkToken) -> FilterOp,
) {
    // SAFETY: the key is the address of a condition variable, which only this module parks on; the
    // closures touch nothing that parks.
    unsafe {
        parking_lot_core::unpark_filter(cv, &mut which, |r| {
            // The flag is written under the lock of the parking queue only, so it cannot miss a
            // waiter. Whoever wakes somebody still has the variable: a waiter that was there keeps
            // it alive.
            if r.unparked_threads > 0 && !r.have_more_threads {
                word(cv as *mut kcondvar_t).store(0, Ordering::Relaxed);
            }
            why
        });
    }
}

unsafe fn wait(cv: *mut kcondvar_t, m: *mut kmutex_t, until: Option<Instant>, sig: bool) -> Woken {
    ctx::may_sleep("cv_wait");
    // SAFETY: condvar(9F): both are valid, m is held.
    unsafe {
        if mutex_owned(m) == 0 {
            violation(
                Kind::NotOwner,
                format!("cv_wait with mutex {m:p}, which the thread does not hold"),
            );
            return Woken::Signalled;
        }
        if debug() {
            crate::locks::flatten(m as usize);
        }
        let interrupt = if sig { ctx::interrupt() } else { None };
        if let Some(i) = &interrupt {
            i.sleeps_on(cv as usize);
        }
        let mut left = false;
        let result = parking_lot_core::park(
            cv as usize,
            || {
                if interrupt.as_ref().is_some_and(|i| i.fired()) {
                    return false;
                }
                word(cv).store(1, Ordering::Relaxed);
                true
            },
            || {
                mutex_exit(m);
                left = true;
            },
            |_, last| {
                if last {
                    word(cv).store(0, Ordering::Relaxed);
                }
            },
            ParkToken(ctx::tid() as usize),
            until,
        );
        if let Some(i) = &interrupt {
            i.sleeps_on(0);
        }
        if left {
            mutex_enter(m);
        }
        match result {
            ParkResult::Unparked(UNPARK_INTERRUPT) | ParkResult::Invalid => Woken::Interrupted,
            ParkResult::Unparked(_) => Woken::Signalled,
            ParkResult::TimedOut => Woken::TimedOut,
        }
    }
}

/// A wait until a tick: -1 late, 0 interrupted, else the ticks left, at least 1.
unsafe fn timedwait(
    cv: *mut kcondvar_t,
    m: *mut kmutex_t,
    deadline: clock_t,
    sig: bool,
) -> clock_t {
    // SAFETY: as wait.
    match unsafe { wait(cv, m, Some(time::instant(deadline)), sig) } {
        Woken::TimedOut => -1,
        Woken::Interrupted => 0,
        Woken::Signalled => deadline.saturating_sub(time::lbolt()).max(1),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cv_init(cv: *mut kcondvar_t, _: *const c_char, _kind: c_int, _: *mut c_void) {
    // SAFETY: cv_init(9F): memory for a condition variable.
    unsafe { (*cv)._opaque = 0 }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cv_destroy(cv: *mut kcondvar_t) {
    // SAFETY: cv_destroy(9F).
    if unsafe { word(cv) }.load(Ordering::Relaxed) != 0 {
        let at = if debug() { crate::stack::Stack::here().to_string() } else { String::new() };
        violation(Kind::DestroyBusy, format!("cv_destroy of {cv:p} with waiters {at}"));
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cv_wait(cv: *mut kcondvar_t, m: *mut kmutex_t) {
    // SAFETY: cv_wait(9F).
    unsafe { wait(cv, m, None, false) };
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cv_wait_sig(cv: *mut kcondvar_t, m: *mut kmutex_t) -> c_int {
    // SAFETY: cv_wait_sig(9F).
    (unsafe { wait(cv, m, None, true) } != Woken::Interrupted).into()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cv_timedwait(
    cv: *mut kcondvar_t,
    m: *mut kmutex_t,
    deadline: clock_t,
) -> clock_t {
    // SAFETY: cv_timedwait(9F).
    unsafe { timedwait(cv, m, deadline, false) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cv_timedwait_sig(
    cv: *mut kcondvar_t,
    m: *mut kmutex_t,
    deadline: clock_t,
) -> clock_t {
    // SAFETY: cv_timedwait_sig(9F).
    unsafe { timedwait(cv, m, deadline, true) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cv_signal(cv: *mut kcondvar_t) {
    // SAFETY: cv_signal(9F). A waiter sets the flag before it drops the mutex, so whoever changed
    // what it waits for under that mutex sees it.
    if unsafe { word(cv) }.load(Ordering::Relaxed) != 0 {
        wake_one(cv as usize);
    }
}

#[cold]
fn wake_one(cv: usize) {
    let mut woken = false;
    wake_where(cv, UNPARK_SIGNAL, |_| {
        if std::mem::replace(&mut woken, true) { FilterOp::Stop } else { FilterOp::Unpark }
    });
}

#[cold]
fn wake_all(cv: usize) {
    wake_where(cv, UNPARK_SIGNAL, |_| FilterOp::Unpark);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cv_broadcast(cv: *mut kcondvar_t) {
    // SAFETY: cv_broadcast(9F); the flag as in cv_signal.
    if unsafe { word(cv) }.load(Ordering::Relaxed) != 0 {
        wake_all(cv as usize);
    }
}

crate::symbols! { SYMBOLS "genunix":
    cv_init, cv_destroy, cv_wait, cv_wait_sig, cv_timedwait, cv_timedwait_sig, cv_signal,
    cv_broadcast,
}
