// SPDX-License-Identifier: CDDL-1.0
//! The clock map against a BTreeMap.
use ddi::map::{ClockMap, Hasher};
use fakekernel::host;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Op {
    Insert(u64),
    Remove(u64),
    Get(u64),
    From(u64),
    PopOldest,
    RetainEven,
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0u64..200;
    prop_oneof![
        6 => key.clone().prop_map(Op::Insert),
        2 => key.clone().prop_map(Op::Remove),
        2 => key.clone().prop_map(Op::Get),
        2 => key.prop_map(Op::From),
        1 => Just(Op::PopOldest),
        1 => Just(Op::RetainEven),
    ]
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..Default::default() }
}

proptest! {
    #![proptest_config(cases(100))]
    #[test]
    fn as_a_btree_map(ops in proptest::collection::vec(op(), 0..400)) {
        let kernel = host::boot(host::Config::default());
        let hasher = Hasher::new(7);
        let mut map = ClockMap::new(1, hasher);
        let mut model = BTreeMap::new();
        for (i, op) in ops.into_iter().enumerate() {
            match op {
                Op::Insert(k) => {
                    if model.insert(k, i).is_some() {
                        map.remove(hasher.hash(k));
                    }
                    map.insert(hasher.hash(k), i).unwrap();
                }
                Op::Remove(k) => prop_assert_eq!(map.remove(hasher.hash(k)), model.remove(&k)),
                Op::Get(k) => {
                    prop_assert_eq!(map.get(hasher.hash(k)).copied(), model.get(&k).copied());
                }
                Op::From(k) => {
                    let next = model.range(k..).next().map(|(k, v)| (*k, *v));
                    prop_assert_eq!(map.first_from(k).map(|(k, v)| (k, *v)), next);
                }
                Op::PopOldest => {
                    // The oldest is the one inserted first.
                    let oldest = model.iter().min_by_key(|(_, v)| **v).map(|(k, v)| (*k, *v));
                    prop_assert_eq!(map.pop_oldest(), oldest);
                    if let Some((k, _)) = oldest {
                        model.remove(&k);
                    }
                }
                Op::RetainEven => {
                    map.retain(|k, _| k % 2 == 0);
                    model.retain(|k, _| k % 2 == 0);
                }
            }
            prop_assert_eq!(map.len(), model.len());
        }
        drop(map);
        kernel.shutdown().unwrap();
    }
}

#[test]
fn eviction_spares_what_is_used_and_what_cannot_go() {
    let kernel = host::boot(host::Config::default());
    let hasher = Hasher::new(1);
    let mut map = ClockMap::new(16, hasher);
    for k in 0..100u64 {
        map.insert(hasher.hash(k), k).unwrap();
    }
    for k in 0..50 {
        assert!(map.get(hasher.hash(k)).is_some());
    }
    let mut gone = Vec::new();
    while let Some((k, _)) = map.evict(true, 75, |v| v % 2 == 0) {
        gone.push(k);
    }
    let idle_first: Vec<_> = (50..100).step_by(2).chain((0..50).step_by(2)).collect();
    assert_eq!(gone, idle_first, "those free to go, the idle ones first");
    for k in (1..100).step_by(2) {
        assert!(map.get(hasher.hash(k)).is_some());
    }
    assert!(map.insert(hasher.hash(2), 2).is_ok());
    assert!(map.evict(false, 75, |v| *v == 2).is_some(), "no other choice");
    assert!(map.evict(false, 75, |_| false).is_none());
    drop(map);
    kernel.shutdown().unwrap();
}

/// 65 536 entries that are used once each go through a map of 1000 of which 100 are in use.
#[test]
fn a_scan_pushes_out_itself() {
    let kernel = host::boot(host::Config::default());
    let hasher = Hasher::new(5);
    let mut map = ClockMap::new(16, hasher);
    let hot = || (0..100u64).map(|k| k << 32);
    for k in hot() {
        map.insert(hasher.hash(k), 0).unwrap();
    }
    for k in 1..=65_536u64 {
        if map.len() == 1000 {
            assert!(map.evict(true, 75, |_| true).is_some(), "room for {k}");
        }
        map.insert(hasher.hash(k), 0).unwrap();
        // Every hot one is used once in 500 steps.
        let used = (k % 500) << 32;
        if k % 500 < 100 {
            assert!(map.get(hasher.hash(used)).is_some(), "{} is in use and gone", k % 500);
        }
    }
    for k in hot() {
        assert!(map.peek(hasher.hash(k)).is_some());
    }
    // All used, in vain: what is hot may be no more than its share.
    for k in 65_000..=65_536u64 {
        map.get(hasher.hash(k));
    }
    let mut left = map.len();
    while map.evict(true, 10, |_| true).is_some() {
        left -= 1;
    }
    assert_eq!(left, map.len());
    drop(map);
    kernel.shutdown().unwrap();
}

#[test]
fn keys_of_several_words_are_in_order() {
    let kernel = host::boot(host::Config::default());
    let hasher = Hasher::new(9);
    let mut map = ClockMap::new(4, hasher);
    let keys = [[0, 0, 0, 1, 0], [0, 0, 0, 0, 2], [0, 0, 0, 0, 1], [2, 0, 0, 0, u64::MAX]];
    for k in keys {
        map.insert(hasher.hash(k), k).unwrap();
    }
    let mut sorted = keys;
    sorted.sort_unstable();
    let (mut from, mut found) = ([0; 5], Vec::new());
    while let Some((k, _)) = map.first_from(from) {
        found.push(k);
        from[..4].copy_from_slice(&k[..4]);
        from[4] = k[4].wrapping_add(1);
        if k[4] == u64::MAX {
            break;
        }
    }
    assert_eq!(found, sorted);
    for k in keys {
        assert_eq!(map.get(hasher.hash(k)).copied(), Some(k));
    }
    // No word can be left out, nor stand for another.
    let mut hashes: Vec<_> = (0..5)
        .map(|at| std::array::from_fn(|i| u64::from(i == at)))
        .map(|k| hasher.hash(k).hash)
        .collect();
    hashes.push(hasher.hash([0; 5]).hash);
    hashes.sort_unstable();
    assert!(hashes.is_sorted_by(|a, b| a < b), "{hashes:x?}");
    drop(map);
    kernel.shutdown().unwrap();
}

#[test]
fn growing_without_memory_still_works() {
    let kernel = host::boot(host::Config::default());
    let hasher = Hasher::new(3);
    let mut map = ClockMap::new(1, hasher);
    for k in 0..1000u64 {
        // Only every second insertion gets memory, for the node; the larger tables get none.
        host::fail_nth_nosleep(if k % 64 == 0 { 1 } else { 0 });
        let _ = map.insert(hasher.hash(k), k);
    }
    for k in 0..1000u64 {
        assert_eq!(
            map.get(hasher.hash(k)).is_some(),
            map.first_from(k).is_some_and(|(f, _)| f == k)
        );
    }
    drop(map);
    kernel.shutdown().unwrap();
}
