// SPDX-License-Identifier: CDDL-1.0
//! What a debug kernel would panic about: the list of violations, and the switch that pays for
//! finding them.
//!
//! Nothing here unwinds or aborts, because the offender is usually several C frames up: a violation
//! is recorded, the caller goes on in the least harmful way, and whoever booted the kernel reads
//! the list.
use parking_lot::Mutex;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// What rule was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// kmem_free or kmem_cache_free of something that was not allocated so: wrong size, pointer or
    /// cache, or twice.
    BadFree,
    /// Bytes before use, behind the end or after the free were written.
    Corruption,
    /// Memory, messages, kstats, minor nodes or ids outlive their owner.
    Leak,
    /// mutex_exit, rw_exit or cv_wait by a thread that does not hold the lock.
    NotOwner,
    /// A thread enters a lock it holds.
    Recursion,
    /// A lock, condition variable or container was destroyed while in use.
    DestroyBusy,
    /// Two lock classes were taken in both orders.
    LockOrder,
    /// A lock or object was used without having been initialised, or after its end.
    Uninitialised,
    /// Sleeping where one must not.
    Sleep,
    /// A lock is held over a call that must be made without.
    LockHeld,
    /// A message was used after it was freed, or freed twice.
    UseAfterFree,
    /// A list, tree or hash was misused.
    Container,
    /// An interface was called outside its rules.
    Misuse,
    /// An ASSERT or VERIFY of a module failed.
    Assertion,
}

/// One rule broken once.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The rule.
    pub kind: Kind,
    /// What happened, to whom and where.
    pub text: String,
    /// Name of the thread.
    pub thread: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} [{}]: {}", self.kind, self.thread, self.text)
    }
}

static DEBUG: AtomicBool = AtomicBool::new(false);
static LIST: Mutex<Vec<Violation>> = Mutex::new(Vec::new());

/// Violations kept; a storm of them says no more than its beginning and must not eat the memory.
const KEPT: usize = 1000;

/// Whether the kernel was booted with [`Checks::Debug`](crate::host::Checks::Debug).
#[inline(always)]
pub fn debug() -> bool {
    DEBUG.load(Ordering::Relaxed)
}

pub(crate) fn set_debug(on: bool) {
    DEBUG.store(on, Ordering::SeqCst);
}

/// Records a violation by the calling thread.
#[cold]
pub fn violation(kind: Kind, text: impl Into<String>) {
    let thread = std::thread::current().name().unwrap_or("?").to_string();
    let mut list = LIST.lock();
    if list.len() < KEPT {
        list.push(Violation { kind, text: text.into(), thread });
    }
}

/// All violations since boot, or since the last [`take_violations`].
pub fn violations() -> Vec<Violation> {
    LIST.lock().clone()
}

/// Removes the violations and returns them: for tests that provoke them.
pub fn take_violations() -> Vec<Violation> {
    std::mem::take(&mut *LIST.lock())
}
