// SPDX-License-Identifier: CDDL-1.0
//! Readers of a cell never see what a writer took back.
use ddi::sync::{KMutex, Rcu};
use fakekernel::host;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[test]
fn a_replaced_value_has_no_readers() {
    let kernel = host::boot(host::Config { checks: host::Checks::Off, ..Default::default() });
    // A value says whether it was taken back already.
    let new = || Arc::new(AtomicBool::new(false));
    let cell = Rcu::new(new());
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let outer = cell.read();
                    let inner = cell.read();
                    assert!(!outer.load(Ordering::SeqCst) && !inner.load(Ordering::SeqCst));
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Until readers and writer have met often enough, whenever the threads get to run.
        let mut writes = 0;
        while writes < 200 || reads.load(Ordering::Relaxed) < 10_000 {
            let old = cell.replace(new());
            old.store(true, Ordering::SeqCst);
            writes += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
    drop(cell);
    kernel.shutdown().unwrap();
}

#[test]
fn locks_move_with_their_owners() {
    let kernel = host::boot(host::Config::default());
    let mut all: Vec<KMutex<u32>> = (0..10).map(KMutex::new).collect();
    all.reverse();
    for (i, m) in all.iter().enumerate() {
        assert_eq!(*m.lock(), 9 - i as u32);
    }
    drop(all);
    kernel.shutdown().unwrap();
}
