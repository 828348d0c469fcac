// SPDX-License-Identifier: CDDL-1.0
//! krwlock_t: readers, a writer and those who wait in the low half of its word, the writer's number
//! in the high half.
//!
//! A waiting writer keeps new readers out, so a thread that takes the read side twice can deadlock:
//! with checks on that is a violation even when it goes well.
use crate::check::{Kind, debug, violation};
use crate::ctx;
use crate::locks::{self, Enter, Mode};
use crate::{futex, log};
use illumos_sys_hdrs::{RW_READER, RW_WRITER, krwlock_t};
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering::*};

/// A writer has the lock.
const WRITER: u32 = 1 << 31;
/// A writer waits: no new readers.
const WANTED: u32 = 1 << 30;
/// Somebody sleeps on the word.
const SLEEPERS: u32 = 1 << 29;
const READERS: u32 = SLEEPERS - 1;
const SPINS: u32 = 40;

#[inline(always)]
unsafe fn word<'a>(l: *const krwlock_t) -> &'a AtomicU32 {
    // SAFETY: the caller's lock is valid, and 8 bytes large.
    unsafe { AtomicU32::from_ptr(l.cast_mut().cast()) }
}

#[inline(always)]
unsafe fn owner<'a>(l: *const krwlock_t) -> &'a AtomicU32 {
    // SAFETY: as above; this is the second half.
    unsafe { AtomicU32::from_ptr(l.cast_mut().cast::<u32>().add(1)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rw_init(l: *mut krwlock_t, name: *const c_char, _kind: c_int, _: *mut c_void) {
    // SAFETY: rw_init(9F): memory for a lock, a name or NULL.
    unsafe {
        (*l)._opaque = [0];
        if debug() {
            locks::init(l as usize, name);
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rw_destroy(l: *mut krwlock_t) {
    // SAFETY: rw_destroy(9F).
    let was = unsafe { word(l) }.swap(0, Relaxed);
    if debug() {
        locks::destroy(l as usize, was != 0);
    } else if was != 0 {
        violation(Kind::DestroyBusy, format!("rw_destroy of {l:p} while held"));
    }
}

/// One attempt that `how` says; `wait` marks the word so that the release wakes us, and sleeps.
#[inline(always)]
fn attempt(w: &AtomicU32, how: c_int, wait: bool) -> bool {
    let now = w.load(Relaxed);
    let (free, next, mark) = if how == RW_WRITER {
        (now & (WRITER | READERS) == 0, now | WRITER, WANTED | SLEEPERS)
    } else {
        (now & (WRITER | WANTED) == 0, now + 1, SLEEPERS)
    };
    if free {
        return w.compare_exchange_weak(now, next, Acquire, Relaxed).is_ok();
    }
    if wait
        && (now & mark == mark
            || w.compare_exchange_weak(now, now | mark, Relaxed, Relaxed).is_ok())
    {
        futex::wait(w, now | mark);
    }
    false
}

fn acquire(w: &AtomicU32, how: c_int) {
    let mut spins = 0;
    while !attempt(w, how, spins >= SPINS) {
        spins += 1;
        std::hint::spin_loop();
    }
}

fn mode(how: c_int) -> Mode {
    if how == RW_WRITER { Mode::Writer } else { Mode::Reader }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rw_enter(l: *mut krwlock_t, how: c_int) {
    // SAFETY: rw_enter(9F).
    let (w, owner) = unsafe { (word(l), owner(l)) };
    let me = ctx::tid_or_zero();
    if !debug() && me != 0 && attempt(w, how, false) {
        if how == RW_WRITER {
            owner.store(me, Relaxed);
        }
        return;
    }
    enter(l as usize, w, owner, how);
}

#[cold]
fn enter(addr: usize, w: &AtomicU32, owner: &AtomicU32, how: c_int) {
    let me = ctx::tid();
    if debug() {
        let Enter::Acquire(class) = locks::before(addr, mode(how), false) else { return };
        acquire(w, how);
        locks::acquired(addr, class, mode(how));
    } else {
        if w.load(Relaxed) & WRITER != 0 && owner.load(Relaxed) == me {
            log::die(&format!("recursive rw_enter of {addr:#x}"));
        }
        acquire(w, how);
    }
    if how == RW_WRITER {
        owner.store(me, Relaxed);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rw_tryenter(l: *mut krwlock_t, how: c_int) -> c_int {
    // SAFETY: rw_tryenter(9F).
    let (w, owner) = unsafe { (word(l), owner(l)) };
    // A failed compare-exchange against another reader is no reason to give up.
    let got = || (0..8).any(|_| attempt(w, how, false));
    if debug() {
        let Enter::Acquire(class) = locks::before(l as usize, mode(how), true) else { return 0 };
        if !got() {
            return 0;
        }
        locks::acquired(l as usize, class, mode(how));
    } else if !got() {
        return 0;
    }
    if how == RW_WRITER {
        owner.store(ctx::tid(), Relaxed);
    }
    1
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rw_exit(l: *mut krwlock_t) {
    // SAFETY: rw_exit(9F).
    let (w, owner) = unsafe { (word(l), owner(l)) };
    let now = w.load(Relaxed);
    if !debug() {
        if now == WRITER && owner.load(Relaxed) == ctx::tid_or_zero() {
            owner.store(0, Relaxed);
            if w.compare_exchange(WRITER, 0, Release, Relaxed).is_ok() {
                return;
            }
            // Somebody has come to sleep.
            owner.store(ctx::tid_or_zero(), Relaxed);
        } else if now.wrapping_sub(1) < READERS
            && w.compare_exchange(now, now - 1, Release, Relaxed).is_ok()
        {
            return;
        }
    }
    exit(l as usize, w, owner);
}

#[cold]
fn exit(addr: usize, w: &AtomicU32, owner: &AtomicU32) {
    if debug() && !matches!(locks::release(addr), Some(Some(_))) {
        return;
    }
    let mut now = w.load(Relaxed);
    if now & WRITER != 0 {
        if owner.swap(0, Relaxed) != ctx::tid() {
            let text = format!("rw_exit of {addr:#x} by a thread that is not its writer");
            violation(Kind::NotOwner, text);
        }
        if w.swap(0, Release) & SLEEPERS != 0 {
            futex::wake(w.as_ptr(), i32::MAX);
        }
        return;
    }
    if now & READERS == 0 {
        violation(Kind::NotOwner, format!("rw_exit of {addr:#x}, which nobody holds"));
        return;
    }
    // The last reader clears the marks and wakes all: who loses the race marks the word again.
    loop {
        let next = if now & READERS == 1 { 0 } else { now - 1 };
        match w.compare_exchange_weak(now, next, Release, Relaxed) {
            Ok(_) => break,
            Err(n) => now = n,
        }
    }
    if now & READERS == 1 && now & SLEEPERS != 0 {
        futex::wake(w.as_ptr(), i32::MAX);
    }
}

const _: () = assert!(RW_READER == 1 && RW_WRITER == 0);

crate::symbols! { SYMBOLS "unix": rw_init, rw_destroy, rw_enter, rw_tryenter, rw_exit, }
