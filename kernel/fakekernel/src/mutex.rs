// SPDX-License-Identifier: CDDL-1.0
//! kmutex_t: an adaptive mutex in the low half of its word, the number of the owner and a bit for
//! waiters.
use crate::check::{Kind, debug, violation};
use crate::ctx;
use crate::locks::{self, Enter, Mode};
use crate::{futex, log};
use illumos_sys_hdrs::kmutex_t;
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering::*};

const WAITERS: u32 = 1 << 31;
/// Rounds of spinning before sleeping: about the length of a short critical section.
const SPINS: u32 = 60;

#[inline(always)]
unsafe fn word<'a>(m: *const kmutex_t) -> &'a AtomicU32 {
    // SAFETY: the caller's mutex is valid, and 8 bytes large.
    unsafe { AtomicU32::from_ptr(m.cast_mut().cast()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mutex_init(
    m: *mut kmutex_t,
    name: *const c_char,
    _kind: c_int,
    _: *mut c_void,
) {
    // SAFETY: mutex_init(9F): memory for a mutex, a name or NULL.
    unsafe {
        (*m)._opaque = [0];
        if debug() {
            locks::init(m as usize, name);
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mutex_destroy(m: *mut kmutex_t) {
    // SAFETY: mutex_destroy(9F).
    let owner = unsafe { word(m) }.swap(0, Relaxed);
    if debug() {
        locks::destroy(m as usize, owner != 0);
    } else if owner != 0 {
        violation(Kind::DestroyBusy, format!("mutex_destroy of {m:p} while held"));
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mutex_enter(m: *mut kmutex_t) {
    // SAFETY: mutex_enter(9F).
    let w = unsafe { word(m) };
    let me = ctx::tid_or_zero();
    if !debug() && me != 0 && w.compare_exchange(0, me, Acquire, Relaxed).is_ok() {
        return;
    }
    enter(m as usize, w);
}

#[cold]
fn enter(addr: usize, w: &AtomicU32) {
    let me = ctx::tid();
    if debug() {
        if let Enter::Acquire(class) = locks::before(addr, Mode::Mutex, false) {
            acquire(w, me);
            locks::acquired(addr, class, Mode::Mutex);
        }
    } else if w.load(Relaxed) & !WAITERS == me {
        log::die(&format!("recursive mutex_enter of {addr:#x}"));
    } else {
        acquire(w, me);
    }
}

fn acquire(w: &AtomicU32, me: u32) {
    let mut spins = 0;
    // Once it has slept, a thread must assume that others still sleep.
    let mut mine = me;
    loop {
        let now = w.load(Relaxed);
        if now == 0 {
            if w.compare_exchange_weak(0, mine, Acquire, Relaxed).is_ok() {
                return;
            }
        } else if now & WAITERS == 0 && spins < SPINS {
            spins += 1;
            std::hint::spin_loop();
        } else if now & WAITERS != 0
            || w.compare_exchange_weak(now, now | WAITERS, Relaxed, Relaxed).is_ok()
        {
            futex::wait(w, now | WAITERS);
            mine = me | WAITERS;
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mutex_tryenter(m: *mut kmutex_t) -> c_int {
    // SAFETY: mutex_tryenter(9F).
    let w = unsafe { word(m) };
    let me = ctx::tid();
    if !debug() {
        return w.compare_exchange(0, me, Acquire, Relaxed).is_ok().into();
    }
    let Enter::Acquire(class) = locks::before(m as usize, Mode::Mutex, true) else { return 0 };
    if w.compare_exchange(0, me, Acquire, Relaxed).is_err() {
        return 0;
    }
    locks::acquired(m as usize, class, Mode::Mutex);
    1
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mutex_exit(m: *mut kmutex_t) {
    // SAFETY: mutex_exit(9F).
    let w = unsafe { word(m) };
    let me = ctx::tid_or_zero();
    if !debug() && w.compare_exchange(me, 0, Release, Relaxed).is_ok() {
        return;
    }
    exit(m as usize, w, me);
}

#[cold]
fn exit(addr: usize, w: &AtomicU32, me: u32) {
    if debug() {
        match locks::release(addr) {
            Some(Some(_)) => {}
            Some(None) | None => return,
        }
    } else if w.load(Relaxed) & !WAITERS != me {
        violation(
            Kind::NotOwner,
            format!("mutex_exit of {addr:#x} by a thread that is not its owner"),
        );
        return;
    }
    if w.swap(0, Release) & WAITERS != 0 {
        futex::wake(w.as_ptr(), 1);
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mutex_owned(m: *const kmutex_t) -> c_int {
    // SAFETY: mutex_owned(9F).
    (unsafe { word(m) }.load(Relaxed) & !WAITERS == ctx::tid()).into()
}

crate::symbols! { SYMBOLS "unix":
    mutex_init, mutex_destroy, mutex_enter, mutex_tryenter, mutex_exit, mutex_owned,
}
