// SPDX-License-Identifier: CDDL-1.0
//! Calls at a later time, ids, and the reader/writer lock.
use ddi::ids::IdSpace;
use ddi::mem::KArc;
use ddi::sync::KRwLock;
use ddi::time::{Callout, Expire};
use fakekernel::host;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

struct Bell {
    callout: Callout,
    rings: AtomicUsize,
}

impl Expire for Bell {
    fn callout(&self) -> &Callout {
        &self.callout
    }
    fn expire(&self) {
        self.rings.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_callout_rings_once_for_each_time_it_was_armed() {
    let kernel = host::boot(host::Config::default());
    let bell = KArc::new(Bell { callout: Callout::default(), rings: AtomicUsize::new(0) });
    bell.callout.drain();
    for n in 1..4 {
        // Long enough for a loaded machine to come to the second line in time.
        Callout::arm(&bell, 300);
        Callout::arm(&bell, 1);
        bell.callout.drain();
        assert_eq!(bell.rings.load(SeqCst), n, "armed twice is armed");
    }
    // It holds its owner until it has rung: the shutdown would find a leak, or worse.
    Callout::arm(&bell, 1);
    let other = bell.clone();
    drop(bell);
    other.callout.drain();
    drop(other);
    // The last call lets go of its hold a moment after it is counted down.
    std::thread::sleep(std::time::Duration::from_millis(50));
    kernel.shutdown().unwrap();
}

#[test]
fn ids_are_given_out_once() {
    let kernel = host::boot(host::Config::default());
    let ids = IdSpace::new(c"test", 1, 4);
    let mut all: Vec<_> = (0..3).map(|_| ids.alloc().unwrap()).collect();
    assert_eq!(ids.alloc(), None);
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3]);
    ids.free(2);
    assert_eq!(ids.alloc(), Some(2));
    all.into_iter().for_each(|id| ids.free(id));
    drop(ids);
    kernel.shutdown().unwrap();
}

#[test]
fn writers_are_alone() {
    let kernel = host::boot(host::Config::default());
    let lock = KRwLock::new((0u64, 0u64));
    std::thread::scope(|t| {
        for _ in 0..3 {
            t.spawn(|| {
                for _ in 0..500 {
                    lock.write(|v| *v = (v.0 + 1, v.1 + 1));
                    lock.read(|v| assert_eq!(v.0, v.1));
                }
            });
        }
    });
    assert_eq!(lock.read(|v| v.0), 1500);
    drop(lock);
    kernel.shutdown().unwrap();
}
