// SPDX-License-Identifier: CDDL-1.0
//! Locks and condition variables under many threads, with checks and without.
use fakekernel::host::*;
use illumos_sys_hdrs::*;
use std::cell::UnsafeCell;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Locks, a condition variable and what they guard, at one place for all threads.
struct World {
    m: UnsafeCell<kmutex_t>,
    rw: UnsafeCell<krwlock_t>,
    cv: UnsafeCell<kcondvar_t>,
    a: UnsafeCell<u64>,
    b: UnsafeCell<u64>,
}
// SAFETY: the locks are for that, and guard the numbers.
unsafe impl Sync for World {}

impl World {
    fn new() -> World {
        World {
            m: UnsafeCell::new(kmutex_t { _opaque: [!0] }),
            rw: UnsafeCell::new(krwlock_t { _opaque: [!0] }),
            cv: UnsafeCell::new(kcondvar_t { _opaque: !0 }),
            a: UnsafeCell::new(0),
            b: UnsafeCell::new(0),
        }
    }
    /// Initialises where it lies; the memory need not be zero.
    fn init(&self) {
        // SAFETY: memory for each, which does not move from here on.
        unsafe {
            mutex_init(self.m.get(), null(), MUTEX_DEFAULT, null_mut());
            rw_init(self.rw.get(), null(), RW_DEFAULT, null_mut());
            cv_init(self.cv.get(), null(), CV_DEFAULT, null_mut());
        }
    }
    fn destroy(&self) {
        // SAFETY: initialised, and nobody uses them any more.
        unsafe {
            mutex_destroy(self.m.get());
            rw_destroy(self.rw.get());
            cv_destroy(self.cv.get());
        }
    }
}

fn both(f: impl Fn(&World, u64)) {
    for checks in [Checks::Off, Checks::Debug] {
        let k = boot(Config { checks, ..Config::default() });
        let w = Box::new(World::new());
        w.init();
        f(&w, if checks == Checks::Off { 200_000 } else { 5_000 });
        w.destroy();
        k.shutdown().expect("no violations");
    }
}

#[test]
fn mutex_excludes() {
    both(|w, n| {
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for i in 0..n {
                        // SAFETY: under the mutex.
                        unsafe {
                            if i % 7 == 0 {
                                while mutex_tryenter(w.m.get()) == 0 {
                                    std::thread::yield_now();
                                }
                            } else {
                                mutex_enter(w.m.get());
                            }
                            assert_eq!(mutex_owned(w.m.get()), 1);
                            *w.a.get() += 1;
                            if i % 64 == 0 {
                                std::thread::yield_now();
                            }
                            *w.b.get() += 1;
                            assert_eq!(*w.a.get(), *w.b.get());
                            mutex_exit(w.m.get());
                        }
                    }
                });
            }
        });
        // SAFETY: the threads are gone.
        assert_eq!(unsafe { *w.a.get() }, 4 * n);
    });
}

#[test]
fn rwlock_excludes_writers_and_admits_readers() {
    both(|w, n| {
        let readers_at_once = AtomicUsize::new(0);
        let most = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for t in 0..5 {
                let (now, most) = (&readers_at_once, &most);
                s.spawn(move || {
                    for i in 0..n / 4 {
                        // SAFETY: under the lock.
                        unsafe {
                            if (i + t) % 8 == 0 {
                                if i % 16 == 0 {
                                    rw_enter(w.rw.get(), RW_WRITER);
                                } else {
                                    while rw_tryenter(w.rw.get(), RW_WRITER) == 0 {
                                        std::thread::yield_now();
                                    }
                                }
                                assert_eq!(now.load(Ordering::SeqCst), 0);
                                *w.a.get() += 1;
                                if i % 64 == 0 {
                                    std::thread::yield_now();
                                }
                                *w.b.get() += 1;
                            } else {
                                rw_enter(w.rw.get(), RW_READER);
                                let r = now.fetch_add(1, Ordering::SeqCst) + 1;
                                most.fetch_max(r, Ordering::SeqCst);
                                if i % 64 == 1 {
                                    std::thread::yield_now();
                                }
                                assert_eq!(*w.a.get(), *w.b.get());
                                now.fetch_sub(1, Ordering::SeqCst);
                            }
                            rw_exit(w.rw.get());
                        }
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) > 1, "readers never met");
    });
}

#[test]
fn a_waiting_writer_gets_in_between_readers() {
    both(|w, _| {
        let stop = AtomicU64::new(0);
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    while stop.load(Ordering::Relaxed) == 0 {
                        // SAFETY: reading under the lock.
                        unsafe {
                            rw_enter(w.rw.get(), RW_READER);
                            std::hint::black_box(*w.a.get());
                            rw_exit(w.rw.get());
                        }
                    }
                });
            }
            let began = Instant::now();
            for _ in 0..50 {
                // SAFETY: writing under the lock.
                unsafe {
                    rw_enter(w.rw.get(), RW_WRITER);
                    *w.a.get() += 1;
                    rw_exit(w.rw.get());
                }
            }
            stop.store(1, Ordering::Relaxed);
            assert!(began.elapsed() < Duration::from_secs(4));
        });
    });
}

#[test]
fn no_signal_is_lost() {
    // Two sides hand a number to and fro; a lost signal hangs.
    both(|w, n| {
        let n = n / 20;
        std::thread::scope(|s| {
            for side in 0..2 {
                s.spawn(move || {
                    for i in 0..n {
                        // SAFETY: under the mutex.
                        unsafe {
                            mutex_enter(w.m.get());
                            while *w.a.get() % 2 != side {
                                cv_wait(w.cv.get(), w.m.get());
                            }
                            *w.a.get() += 1;
                            if i % 2 == 0 {
                                cv_signal(w.cv.get());
                                mutex_exit(w.m.get());
                            } else {
                                mutex_exit(w.m.get());
                                cv_broadcast(w.cv.get());
                            }
                        }
                    }
                });
            }
        });
    });
}

#[test]
fn a_queue_of_many_waiters_with_timeouts() {
    both(|w, n| {
        let n = n / 50;
        std::thread::scope(|s| {
            for _ in 0..6 {
                s.spawn(move || {
                    let mut got = 0;
                    while got < n / 6 {
                        // SAFETY: under the mutex.
                        unsafe {
                            mutex_enter(w.m.get());
                            while *w.a.get() == 0 {
                                cv_timedwait(w.cv.get(), w.m.get(), ddi_get_lbolt() + 1);
                            }
                            *w.a.get() -= 1;
                            got += 1;
                            mutex_exit(w.m.get());
                        }
                    }
                });
            }
            for _ in 0..n / 6 * 6 {
                // SAFETY: under the mutex.
                unsafe {
                    mutex_enter(w.m.get());
                    *w.a.get() += 1;
                    cv_signal(w.cv.get());
                    mutex_exit(w.m.get());
                }
            }
        });
        // SAFETY: nobody waits any more.
        assert_eq!(unsafe { (*w.cv.get())._opaque }, 0);
    });
}

#[test]
fn timed_waits() {
    both(|w, _| {
        // SAFETY: one thread, under the mutex.
        unsafe {
            mutex_enter(w.m.get());
            let began = Instant::now();
            assert_eq!(
                cv_timedwait(w.cv.get(), w.m.get(), ddi_get_lbolt() + drv_usectohz(50_000)),
                -1
            );
            let took = began.elapsed();
            assert!(took >= Duration::from_millis(35) && took < Duration::from_secs(2), "{took:?}");
            assert_eq!(mutex_owned(w.m.get()), 1);
            // What is past is past.
            assert_eq!(cv_timedwait(w.cv.get(), w.m.get(), 0), -1);
            assert_eq!(cv_timedwait(w.cv.get(), w.m.get(), -5), -1);
            mutex_exit(w.m.get());
        }
    });
}

#[test]
fn an_interrupt_ends_an_interruptible_wait_only() {
    both(|w, _| {
        let i = Arc::new(Interrupt::default());
        std::thread::scope(|s| {
            let waiter = s.spawn(|| {
                let _scope = i.scope();
                // SAFETY: under the mutex.
                unsafe {
                    mutex_enter(w.m.get());
                    *w.b.get() = 1;
                    let r = cv_wait_sig(w.cv.get(), w.m.get());
                    assert_eq!(mutex_owned(w.m.get()), 1);
                    // Pending still: the next interruptible one ends at once, another does not.
                    assert_eq!(cv_wait_sig(w.cv.get(), w.m.get()), 0);
                    let began = Instant::now();
                    assert_eq!(cv_timedwait(w.cv.get(), w.m.get(), ddi_get_lbolt() + 3), -1);
                    assert!(began.elapsed() > Duration::from_millis(15));
                    mutex_exit(w.m.get());
                    r
                }
            });
            loop {
                // SAFETY: under the mutex.
                unsafe {
                    mutex_enter(w.m.get());
                    let there = *w.b.get();
                    mutex_exit(w.m.get());
                    if there == 1 {
                        break;
                    }
                }
            }
            i.fire();
            assert_eq!(waiter.join().expect("no panic"), 0);
        });
        // SAFETY: nobody waits any more.
        assert_eq!(unsafe { (*w.cv.get())._opaque }, 0);
    });
}

#[test]
fn interrupts_race_with_sleeps() {
    // The window between the last look and the sleep: a lost interrupt hangs.
    both(|w, n| {
        for _ in 0..n / 500 {
            let i = Arc::new(Interrupt::default());
            std::thread::scope(|s| {
                s.spawn(|| {
                    let _scope = i.scope();
                    // SAFETY: under the mutex.
                    unsafe {
                        mutex_enter(w.m.get());
                        while cv_wait_sig(w.cv.get(), w.m.get()) != 0 {}
                        mutex_exit(w.m.get());
                    }
                });
                i.fire();
            });
        }
    });
}
