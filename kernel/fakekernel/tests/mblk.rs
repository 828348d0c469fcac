// SPDX-License-Identifier: CDDL-1.0
//! Messages against a model: a list of byte strings.
use fakekernel::host::*;
use fakekernel::mblk::{self, to_vec};
use illumos_sys_hdrs::*;
use proptest::prelude::*;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A message with these blocks, each with some room around.
fn build(blocks: &[Vec<u8>], headroom: usize) -> *mut mblk_t {
    let mut head: *mut mblk_t = null_mut();
    for b in blocks.iter().rev() {
        let mp = mblk::from_slice(b, headroom);
        // SAFETY: a new block.
        unsafe { (*mp).b_cont = head };
        head = mp;
    }
    head
}

fn lens(mp: *mut mblk_t) -> Vec<usize> {
    // SAFETY: a message of the test.
    unsafe { mblk::blocks(mp).map(|b| (*b).b_wptr.offset_from((*b).b_rptr) as usize).collect() }
}

fn bytes(mp: *mut mblk_t) -> Vec<u8> {
    // SAFETY: a message of the test.
    unsafe { to_vec(mp) }
}

#[derive(Debug, Clone)]
enum Op {
    Adj(isize),
    PullUp(isize),
    MsgPullUp(isize),
    Copy,
    Dup,
    Link(Vec<u8>),
    /// Frees the oldest of the other references.
    Drop,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (-60..60isize).prop_map(Op::Adj),
        prop_oneof![Just(-1), 0..120isize].prop_map(Op::PullUp),
        prop_oneof![Just(-1), 0..120isize].prop_map(Op::MsgPullUp),
        Just(Op::Copy),
        Just(Op::Dup),
        prop::collection::vec(any::<u8>(), 0..50).prop_map(Op::Link),
        Just(Op::Drop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_are_byte_strings(
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
        ops in prop::collection::vec(op(), 0..30),
        headroom in 0..50usize,
        off in any::<bool>(),
    ) {
        let checks = if off { Checks::Off } else { Checks::Debug };
        let k = boot(Config { checks, ..Config::default() });
        let mut mp = build(&blocks, headroom);
        let mut model = blocks.concat();
        // Other references and what they must still read at their end.
        let mut others: Vec<(*mut mblk_t, Vec<u8>)> = Vec::new();
        // SAFETY: messages of ours.
        unsafe {
            for op in ops {
                match op {
                    Op::Adj(n) => {
                        let fits = n.unsigned_abs() <= model.len();
                        prop_assert_eq!(adjmsg(mp, n), i32::from(fits));
                        if fits && n >= 0 { model.drain(..n as usize); }
                        if fits && n < 0 { model.truncate(model.len() - n.unsigned_abs()); }
                    }
                    Op::PullUp(n) => {
                        let fits = n <= model.len() as isize;
                        prop_assert_eq!(pullupmsg(mp, n), i32::from(fits));
                        let want = if n == -1 { model.len() } else { n as usize };
                        if fits { prop_assert!(lens(mp)[0] >= want); }
                    }
                    Op::MsgPullUp(n) => {
                        let new = msgpullup(mp, n);
                        prop_assert_eq!(new.is_null(), n > model.len() as isize);
                        if !new.is_null() {
                            let want = if n == -1 { model.len() } else { n as usize };
                            prop_assert_eq!(lens(new)[0], want);
                            prop_assert_eq!(bytes(new), &*model);
                            others.push((std::mem::replace(&mut mp, new), model.clone()));
                        }
                    }
                    Op::Copy => {
                        let new = copymsg(mp);
                        prop_assert_eq!(lens(new), lens(mp));
                        // A copy is one: writing to it changes nothing else.
                        for b in mblk::blocks(new) {
                            let n = (*b).b_wptr.offset_from((*b).b_rptr) as usize;
                            (*b).b_rptr.write_bytes(0xee, n);
                        }
                        freemsg(new);
                    }
                    Op::Dup => {
                        let new = dupmsg(mp);
                        if !new.is_null() {
                            prop_assert_eq!((*(*mp).b_datap).db_ref, (*(*new).b_datap).db_ref);
                            others.push((new, model.clone()));
                        }
                    }
                    Op::Link(b) => {
                        linkb(mp, build(std::slice::from_ref(&b), headroom));
                        model.extend(b);
                    }
                    Op::Drop => {
                        if !others.is_empty() {
                            let (o, want) = others.remove(0);
                            prop_assert_eq!(bytes(o), want);
                            freemsg(o);
                        }
                    }
                }
                prop_assert_eq!(bytes(mp), &*model);
                prop_assert_eq!((msgsize(mp), msgdsize(mp)), (model.len(), model.len()));
            }
            // In another order than they were made.
            freemsg(mp);
            while let Some((o, want)) = others.pop() {
                prop_assert_eq!(bytes(o), want);
                freemsg(o);
            }
        }
        if let Err(v) = k.shutdown() {
            prop_assert!(false, "{v:#?}");
        }
    }
}

#[test]
fn types_bound_what_is_pulled_up() {
    let k = boot(Config::default());
    let mp = build(&[vec![1, 2], vec![3], vec![4, 5]], 0);
    // SAFETY: a message of ours.
    unsafe {
        let last = (*(*mp).b_cont).b_cont;
        (*(*last).b_datap).db_type = M_PROTO;
        assert_eq!((msgsize(mp), msgdsize(mp)), (5, 3));
        assert_eq!(pullupmsg(mp, 4), 0);
        assert_eq!(adjmsg(mp, -4), 0);
        assert_eq!(pullupmsg(mp, -1), 1);
        assert_eq!((lens(mp), bytes(mp)), (vec![3, 2], vec![1, 2, 3, 4, 5]));
        assert_eq!(adjmsg(mp, -3), 1);
        assert_eq!(lens(mp), [0, 2]);
        freemsg(mp);
    }
    k.shutdown().expect("no violations");
}

#[test]
fn copies_keep_room_and_type_but_not_offload() {
    let k = boot(Config::default());
    let mp = mblk::from_slice(&[9; 20], 70);
    // SAFETY: messages of ours.
    unsafe {
        (*(*mp).b_datap).db_type = M_PROTO;
        (*mp).b_band = 3;
        mac_hcksum_set(mp, 14, 30, 60, 0xbeef, HCK_PARTIALCKSUM);
        lso_info_set(mp, 1400, HW_LSO);
        let c = copyb(mp);
        assert_eq!((*c).b_rptr.offset_from((*(*c).b_datap).db_base), 70);
        assert_eq!(((*(*c).b_datap).db_type, (*c).b_band), (M_PROTO, 3));
        let get = |mp: *mut mblk_t| {
            let mut v = [99u32; 7];
            let p = v.as_mut_ptr();
            mac_hcksum_get(mp, p, p.add(1), p.add(2), p.add(3), p.add(4));
            mac_lso_get(mp, p.add(5), p.add(6));
            v
        };
        assert_eq!(get(mp), [14, 30, 60, 0xbeef, HCK_PARTIALCKSUM, 1400, HW_LSO]);
        assert_eq!(get(c), [0; 7]);
        // A dup has the same data block, so the same state.
        let d = dupb(mp);
        assert_eq!(get(d), get(mp));
        mac_hcksum_set(mp, 0, 0, 0, 0, HCK_FULLCKSUM);
        assert_eq!(get(mp), [0, 0, 0, 0, HCK_FULLCKSUM, 0, 0]);
        [mp, c, d].into_iter().for_each(|m| freemsg(m));
    }
    k.shutdown().expect("no violations");
}

#[test]
fn the_checksum_fields_lie_where_c_macros_look() {
    let _k = boot(Config::default());
    let mp = mblk::alloc(10);
    // SAFETY: a message of ours; the offsets are those of dblk_t in kernel_abi.json.
    unsafe {
        mac_hcksum_set(mp, 1, 2, 3, 4, HCK_PARTIALCKSUM);
        lso_info_set(mp, 1234, HW_LSO);
        let db = (*mp).b_datap.cast::<u8>();
        assert_eq!([64, 72, 80].map(|o| db.add(o).cast::<i64>().read()), [1, 3, 2]);
        assert_eq!(db.add(88).cast::<u16>().read(), 4);
        assert_eq!(u32::from(db.add(92).cast::<u16>().read()), HCK_PARTIALCKSUM | HW_LSO);
        assert_eq!(db.add(94).cast::<u16>().read(), 1234);
        freemsg(mp);
    }
}

#[test]
fn a_block_has_at_most_255_references() {
    let k = boot(Config::default());
    // SAFETY: messages of ours.
    unsafe {
        let mp = allocb(4, 0);
        let mut dups = Vec::new();
        loop {
            let d = dupb(mp);
            if d.is_null() {
                break;
            }
            dups.push(d);
        }
        assert_eq!(dups.len(), 254);
        freemsg(mp);
        dups.into_iter().for_each(|d| freemsg(d));
    }
    k.shutdown().expect("no violations");
}

#[test]
fn all_or_nothing_without_memory() {
    let k = boot(Config::default());
    let mp = build(&[vec![1; 10], vec![2; 10], vec![3; 10]], 4);
    // SAFETY: a message of ours.
    unsafe {
        for n in 1..=3 {
            fail_nth_allocb(n);
            assert!(copymsg(mp).is_null());
            fail_nth_allocb(n);
            assert!(dupmsg(mp).is_null());
            fail_nth_allocb(n);
            assert!(msgpullup(mp, 5).is_null());
        }
        fail_nth_allocb(1);
        assert_eq!(pullupmsg(mp, 15), 0);
        assert_eq!(lens(mp), [10, 10, 10]);
        freemsg(mp);
    }
    k.shutdown().expect("no leaks");
}

static FREED: AtomicUsize = AtomicUsize::new(0);

unsafe fn freed(arg: usize) {
    FREED.fetch_add(arg, Ordering::SeqCst);
}

#[test]
fn external_buffers_are_given_back_with_the_last_reference() {
    for checks in [Checks::Debug, Checks::Off] {
        let k = boot(Config { checks, ..Config::default() });
        FREED.store(0, Ordering::SeqCst);
        let mut buf = [5u8; 64];
        // SAFETY: the buffer outlives the messages.
        unsafe {
            let mp = mblk::esballoc(buf.as_mut_ptr(), 64, freed, 7);
            (*mp).b_wptr = (*mp).b_rptr.add(64);
            let d = dupb(mp);
            assert_eq!(bytes(d), [5; 64]);
            freemsg(mp);
            assert_eq!(FREED.load(Ordering::SeqCst), 0);
            // Pulling up lets the buffer go, whoever else the block belongs to.
            linkb(d, mblk::from_slice(&[6], 0));
            assert_eq!(pullupmsg(d, -1), 1);
            assert_eq!(FREED.load(Ordering::SeqCst), 7);
            assert_eq!(bytes(d).len(), 65);
            freemsg(d);
            assert_eq!(FREED.load(Ordering::SeqCst), 7);
        }
        k.shutdown().expect("no violations");
    }
}

#[test]
fn freeing_on_another_thread() {
    for checks in [Checks::Debug, Checks::Off] {
        let k = boot(Config { checks, ..Config::default() });
        let (tx, rx) = std::sync::mpsc::sync_channel::<(usize, u8)>(256);
        let per = if checks == Checks::Off { 12_000u32 } else { 700 };
        std::thread::scope(|s| {
            for t in 0..2u8 {
                let tx = tx.clone();
                s.spawn(move || {
                    for i in 0..per {
                        let size = [10, 70, 200, 1500, 3000, 9000, 20_000][i as usize % 7];
                        let mp = mblk::from_slice(&vec![t; size], 32);
                        // SAFETY: a message of ours; the duplicate goes the other way.
                        unsafe {
                            if i % 3 == 0 {
                                let d = dupb(mp);
                                tx.send((d as usize, t)).expect("a receiver");
                                freemsg(mp);
                            } else {
                                tx.send((mp as usize, t)).expect("a receiver");
                            }
                        }
                    }
                });
            }
            drop(tx);
            s.spawn(move || {
                for (mp, t) in rx {
                    let mp = mp as *mut mblk_t;
                    assert!(bytes(mp).iter().all(|b| *b == t));
                    // SAFETY: sent to us.
                    unsafe { freemsg(mp) };
                }
            });
        });
        k.shutdown().expect("no violations");
    }
}
