// SPDX-License-Identifier: CDDL-1.0
//! What a mapping costs in memory, by an allocator that counts.

use portolan::index::Index;
use portolan::net::Mac;
use portolan::record::{Host, Port, Write};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use svp::{MacAddr, Uuid};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all work is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        NOW.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The aim is 200 bytes. Vectors and tables double, so that the worst is just after that: measured all the way.
#[test]
fn a_mapping_costs_less_than_200_bytes_at_every_size() {
    let mut index = Index::default();
    let host = |n: u8| Uuid::from_bytes([n; 16]);
    for n in 1..=100 {
        let id = host(n);
        let record = Host { id, ip: [10, 9, 0, n].into(), port: 4789 };
        index.apply(&Write::Host(id, Some(record)));
    }
    let before = NOW.load(Ordering::Relaxed);
    let (mut most, mut last) = (0, 0);
    for n in 1..=200_000u32 {
        let [_, a, b, c] = n.to_be_bytes();
        let (vnet, ip) = (7, [10, a, b, c].into());
        let port = Port {
            vnet,
            ip,
            mac: Mac(MacAddr([2, 8, 0x20, a, b, c])),
            host: host(1 + (n % 100) as u8),
            vlan: 0,
            router: false,
            deleted: false,
            modified: u64::from(n),
        };
        index.apply(&Write::Port(vnet, ip, Some(port)));
        if n >= 10_000 {
            last = (NOW.load(Ordering::Relaxed) - before) / n as usize;
            most = most.max(last);
        }
    }
    assert_eq!(index.counts().ports, 200_000);
    eprintln!("{most} bytes a mapping at most, {last} at the end");
    assert!(most <= 200, "{most} bytes a mapping at the worst size");
}
