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
    // The first look uses up the chance that each has from its insertion.
    assert_eq!(map.evict(true, |_| true), None);
    for k in 0..50 {
        assert!(map.get(hasher.hash(k)).is_some());
    }
    let mut gone = Vec::new();
    while let Some((k, _)) = map.evict(true, |v| v % 2 == 0) {
        gone.push(k);
    }
    let idle_first: Vec<_> = (50..100).step_by(2).chain((0..50).step_by(2)).collect();
    assert_eq!(gone, idle_first, "those free to go, the idle ones first");
    for k in (1..100).step_by(2) {
        assert!(map.get(hasher.hash(k)).is_some());
    }
    assert!(map.insert(hasher.hash(2), 2).is_ok());
    assert!(map.evict(false, |v| *v == 2).is_some(), "no other choice");
    assert!(map.evict(false, |_| false).is_none());
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
