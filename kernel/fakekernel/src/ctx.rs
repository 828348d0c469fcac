// SPDX-License-Identifier: CDDL-1.0
//! What the kernel knows of the calling thread: its number, whether it may sleep, whose ioctl it
//! serves.
use crate::check::{self, Kind, debug, violation};
use parking_lot_core::{FilterOp, ParkToken, UnparkToken};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

static NEXT_TID: AtomicU32 = AtomicU32::new(1);

thread_local! {
    static TID: Cell<u32> = const { Cell::new(0) };
    static RECEIVE: Cell<u32> = const { Cell::new(0) };
    static INTERRUPT: RefCell<Option<Arc<Interrupt>>> = const { RefCell::new(None) };
}

/// The thread's number if it has one already, else 0.
#[inline(always)]
pub(crate) fn tid_or_zero() -> u32 {
    TID.get()
}

/// The thread's number, 1 or more, below 2^30.
#[inline]
pub(crate) fn tid() -> u32 {
    match TID.get() {
        0 => {
            let t = NEXT_TID.fetch_add(1, Ordering::Relaxed) & 0x3fff_ffff;
            TID.set(t.max(1));
            t.max(1)
        }
        t => t,
    }
}

/// While it lives, the thread delivers packets: sleeping is a violation.
#[must_use]
pub struct ReceiveGuard(std::marker::PhantomData<*const ()>);

/// Marks the thread as delivering packets, as an interrupt or a squeue worker would.
#[inline]
pub fn enter_receive() -> ReceiveGuard {
    RECEIVE.set(RECEIVE.get() + 1);
    ReceiveGuard(std::marker::PhantomData)
}

impl Drop for ReceiveGuard {
    fn drop(&mut self) {
        RECEIVE.set(RECEIVE.get() - 1);
    }
}

/// Whether the thread delivers packets.
pub fn in_receive() -> bool {
    RECEIVE.get() > 0
}

/// To be called by whatever may sleep; `what` names it in the violation.
#[inline]
pub fn may_sleep(what: &str) {
    if debug() && in_receive() {
        let at = crate::stack::Stack::here();
        violation(Kind::Sleep, format!("{what} in a receive context, at {at}"));
    }
}

/// To be called where a driver must hold no lock, such as mac_rx and ksocket_sendmblk; `what` names
/// the call.
#[inline]
pub fn upcall(what: &str) {
    if check::debug() {
        crate::locks::none_held(what);
    }
}

/// A way to interrupt a thread in cv_wait_sig or cv_timedwait_sig, as a signal to it would.
///
/// Whoever serves a client that may die makes one per request, enters its
/// [`scope`](Interrupt::scope) on the thread that runs the ioctl, and calls
/// [`fire`](Interrupt::fire) from another.
#[derive(Default)]
pub struct Interrupt {
    fired: AtomicBool,
    /// Address of the condition variable the thread sleeps on, 0 if none.
    sleeping: AtomicUsize,
    tid: AtomicU32,
}

/// While it lives, the thread can be interrupted.
#[must_use]
pub struct InterruptScope(Option<Arc<Interrupt>>);

pub(crate) const UNPARK_SIGNAL: UnparkToken = UnparkToken(1);
pub(crate) const UNPARK_INTERRUPT: UnparkToken = UnparkToken(2);

impl Interrupt {
    /// Makes `self` the pending signal of the calling thread until the scope ends.
    pub fn scope(self: &Arc<Self>) -> InterruptScope {
        self.tid.store(tid(), Ordering::SeqCst);
        InterruptScope(INTERRUPT.replace(Some(self.clone())))
    }

    /// Interrupts: the thread's interruptible sleep, present or next, ends at once.
    pub fn fire(&self) {
        self.fired.store(true, Ordering::SeqCst);
        let cv = self.sleeping.load(Ordering::SeqCst);
        if cv == 0 {
            return;
        }
        let me = ParkToken(self.tid.load(Ordering::SeqCst) as usize);
        crate::cv::wake_where(cv, UNPARK_INTERRUPT, |t| {
            if t == me { FilterOp::Unpark } else { FilterOp::Skip }
        });
    }

    /// Whether [`fire`](Interrupt::fire) was called.
    pub fn fired(&self) -> bool {
        self.fired.load(Ordering::SeqCst)
    }

    /// Around a sleep on the condition variable at `cv`; 0 at its end.
    pub(crate) fn sleeps_on(&self, cv: usize) {
        self.sleeping.store(cv, Ordering::SeqCst);
    }
}

impl Drop for InterruptScope {
    fn drop(&mut self) {
        INTERRUPT.replace(self.0.take());
    }
}

pub(crate) fn interrupt() -> Option<Arc<Interrupt>> {
    INTERRUPT.with_borrow(Clone::clone)
}
