// SPDX-License-Identifier: CDDL-1.0
//! Locks, condition variables, and the read-mostly cell of the packet path.
use crate::mem::KBox;
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use illumos_sys_hdrs as sys;

/// A kernel lock in memory of its own, because its address is its identity and Rust values move. A
/// whole cache line, so that neighbouring locks (the shards of a table) do not slow each other
/// down.
#[repr(C)]
struct Word<L> {
    lock: UnsafeCell<L>,
    _line: [u64; 7],
}

/// A value that one thread at a time may touch; mutex(9F).
pub struct KMutex<T> {
    word: KBox<Word<sys::kmutex_t>>,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives one thread at a time the value.
unsafe impl<T: Send> Send for KMutex<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for KMutex<T> {}

impl<T> KMutex<T> {
    /// An unheld lock around `value`; waits for memory.
    pub fn new(value: T) -> Self {
        let lock = UnsafeCell::new(sys::kmutex_t { _opaque: [0] });
        let word = KBox::new(Word { lock, _line: [0; 7] });
        // SAFETY: the word stays where it is until drop.
        unsafe {
            sys::mutex_init(word.lock.get(), ptr::null(), sys::MUTEX_DRIVER, ptr::null_mut())
        };
        KMutex { word, value: UnsafeCell::new(value) }
    }

    /// Waits for the lock. A thread that holds it already panics the machine.
    #[inline]
    pub fn lock(&self) -> KMutexGuard<'_, T> {
        // SAFETY: initialised in `new`.
        unsafe { sys::mutex_enter(self.word.lock.get()) };
        KMutexGuard { mutex: self, _here: core::marker::PhantomData }
    }
}

impl<T> Drop for KMutex<T> {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`; a guard would borrow self.
        unsafe { sys::mutex_destroy(self.word.lock.get()) };
    }
}

/// Holds a [`KMutex`]. Stays on its thread: an adaptive mutex is released by its owner only.
pub struct KMutexGuard<'a, T> {
    mutex: &'a KMutex<T>,
    _here: core::marker::PhantomData<*mut ()>,
}

impl<T> Deref for KMutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for KMutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, and self is borrowed uniquely.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for KMutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: held by this thread since `lock`.
        unsafe { sys::mutex_exit(self.mutex.word.lock.get()) };
    }
}

/// A value that many threads may read or one may write; rwlock(9F). Readers must not nest.
pub struct KRwLock<T> {
    word: KBox<Word<sys::krwlock_t>>,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives many threads shared or one unique access.
unsafe impl<T: Send> Send for KRwLock<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for KRwLock<T> {}

impl<T> KRwLock<T> {
    /// An unheld lock around `value`; waits for memory.
    pub fn new(value: T) -> Self {
        let lock = UnsafeCell::new(sys::krwlock_t { _opaque: [0] });
        let word = KBox::new(Word { lock, _line: [0; 7] });
        // SAFETY: the word stays where it is until drop.
        unsafe { sys::rw_init(word.lock.get(), ptr::null(), sys::RW_DRIVER, ptr::null_mut()) };
        KRwLock { word, value: UnsafeCell::new(value) }
    }

    /// Waits for shared access and calls `f` with it.
    pub fn read<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        // SAFETY: initialised in `new`.
        unsafe { sys::rw_enter(self.word.lock.get(), sys::RW_READER) };
        // SAFETY: held as reader.
        let result = f(unsafe { &*self.value.get() });
        // SAFETY: held since above.
        unsafe { sys::rw_exit(self.word.lock.get()) };
        result
    }

    /// Waits for unique access and calls `f` with it.
    pub fn write<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: initialised in `new`.
        unsafe { sys::rw_enter(self.word.lock.get(), sys::RW_WRITER) };
        // SAFETY: held as writer.
        let result = f(unsafe { &mut *self.value.get() });
        // SAFETY: held since above.
        unsafe { sys::rw_exit(self.word.lock.get()) };
        result
    }
}

impl<T> Drop for KRwLock<T> {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`; nobody can hold it.
        unsafe { sys::rw_destroy(self.word.lock.get()) };
    }
}

/// Where threads wait for a change of what a mutex guards; condvar(9F).
pub struct KCondvar(KBox<UnsafeCell<sys::kcondvar_t>>);

// SAFETY: a condition variable is made for use by many threads.
unsafe impl Send for KCondvar {}
// SAFETY: as above.
unsafe impl Sync for KCondvar {}

impl Default for KCondvar {
    fn default() -> Self {
        Self::new()
    }
}

impl KCondvar {
    /// Without waiters; waits for memory.
    pub fn new() -> Self {
        let cv = KBox::new(UnsafeCell::new(sys::kcondvar_t { _opaque: 0 }));
        // SAFETY: stays where it is until drop.
        unsafe { sys::cv_init(cv.get(), ptr::null(), sys::CV_DRIVER, ptr::null_mut()) };
        KCondvar(cv)
    }

    /// Lets go of the lock, waits for a wake-up, takes the lock again. May wake without cause.
    pub fn wait<T>(&self, held: &mut KMutexGuard<'_, T>) {
        // SAFETY: both are initialised, and the guard says that this thread holds the mutex.
        unsafe { sys::cv_wait(self.0.get(), held.mutex.word.lock.get()) };
    }

    /// As [`KCondvar::wait`] until `deadline` (see [`crate::time::Deadline`]); `false` when it has
    /// passed.
    pub fn wait_until<T>(
        &self,
        held: &mut KMutexGuard<'_, T>,
        deadline: crate::time::Deadline,
    ) -> bool {
        let lock = held.mutex.word.lock.get();
        // SAFETY: as in `wait`.
        unsafe { sys::cv_timedwait(self.0.get(), lock, deadline.ticks()) != -1 }
    }

    /// Wakes one waiter.
    pub fn signal(&self) {
        // SAFETY: initialised in `new`.
        unsafe { sys::cv_signal(self.0.get()) };
    }

    /// Wakes all waiters.
    pub fn broadcast(&self) {
        // SAFETY: initialised in `new`.
        unsafe { sys::cv_broadcast(self.0.get()) };
    }
}

impl Drop for KCondvar {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`; a waiter would borrow self.
        unsafe { sys::cv_destroy(self.0.get()) };
    }
}

/// A value that the packet path reads all the time and the control path replaces now and then.
///
/// ```text
///    readers:  count[phase] += 1 ─► load pointer ─► use ─► count -= 1      no lock, two atomics
///    writer:   swap pointer ─► next phase ─► wait for count[old] == 0 ─► old value is the writer's
/// ```
///
/// A reader may sleep, call out, and nest other cells; a writer then waits that long. What a reader
/// must not do is wait for a writer of the same cell.
#[repr(C)]
pub struct Rcu<T> {
    phase: AtomicUsize,
    value: AtomicPtr<T>,
    writer: KMutex<()>,
    wake: KCondvar,
    readers: [Readers; 2],
}

/// Readers of one phase. The counts change all the time, so they keep a cache line's distance from
/// what is only read, and from each other.
#[repr(C)]
#[derive(Default)]
struct Readers {
    _line: [u64; 7],
    count: AtomicUsize,
}

// SAFETY: values are shared between readers and handed from writer to writer.
unsafe impl<T: Send + Sync> Send for Rcu<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Rcu<T> {}

impl<T> Rcu<T> {
    /// A cell with this value; waits for memory.
    pub fn new(value: T) -> Self {
        Rcu {
            phase: AtomicUsize::new(0),
            value: AtomicPtr::new(KBox::new(value).into_raw().as_ptr()),
            writer: KMutex::new(()),
            wake: KCondvar::new(),
            readers: <[Readers; 2]>::default(),
        }
    }

    /// The value as of now; it stays alive as long as the guard.
    #[inline]
    pub fn read(&self) -> RcuGuard<'_, T> {
        let [even, odd] = &self.readers;
        loop {
            let phase = self.phase.load(Ordering::SeqCst);
            let count = if phase & 1 == 0 { &even.count } else { &odd.count };
            count.fetch_add(1, Ordering::SeqCst);
            // A writer that flipped in between may not have seen us: only the phase that still
            // holds counts.
            if self.phase.load(Ordering::SeqCst) == phase {
                // SAFETY: came from a KBox; a writer frees what it took out only after the count it
                // waits for, or a later one, has gone through zero with us in it.
                let value = unsafe { &*self.value.load(Ordering::SeqCst) };
                return RcuGuard { count, value };
            }
            count.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Puts `value` in place, waits until nobody reads the old one, and returns that.
    ///
    /// The wait polls: readers then leave without a look at whether somebody waits, and it is over
    /// at once nearly always.
    pub fn replace(&self, value: T) -> T {
        let mut held = self.writer.lock();
        let new = KBox::new(value).into_raw().as_ptr();
        let old = self.value.swap(new, Ordering::SeqCst);
        let phase = self.phase.fetch_add(1, Ordering::SeqCst);
        let [even, odd] = &self.readers;
        let count = if phase & 1 == 0 { &even.count } else { &odd.count };
        while count.load(Ordering::SeqCst) != 0 {
            self.wake.wait_until(&mut held, crate::time::Deadline::after_ms(1));
        }
        // SAFETY: came from a KBox, swapped out once, and its readers have left.
        unsafe { KBox::from_raw(NonNull::new_unchecked(old)) }.into_inner()
    }
}

impl<T> Drop for Rcu<T> {
    fn drop(&mut self) {
        // SAFETY: came from a KBox; a reader would borrow self.
        drop(unsafe { KBox::from_raw(NonNull::new_unchecked(*self.value.get_mut())) });
    }
}

/// Keeps the value of an [`Rcu`] alive.
pub struct RcuGuard<'a, T> {
    count: &'a AtomicUsize,
    value: &'a T,
}

impl<T> Deref for RcuGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> Drop for RcuGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}
