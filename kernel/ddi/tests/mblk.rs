// SPDX-License-Identifier: CDDL-1.0
//! Messages against plain byte vectors, split into blocks anywhere.
use ddi::mblk::{Mblk, MblkChain, MblkQueue};
use fakekernel::host;
use proptest::prelude::*;

/// A message of these blocks; empty ones too.
fn message(blocks: &[Vec<u8>]) -> Mblk {
    let mut all = blocks.iter().map(|b| Mblk::copy_from(b, 0).unwrap());
    let first = all.next().unwrap_or_else(|| Mblk::alloc(0).unwrap());
    all.fold(first, Mblk::link)
}

fn bytes(mp: &Mblk) -> Vec<u8> {
    let mut out = vec![0; mp.size()];
    assert!(mp.copy_bytes(0, &mut out));
    out
}

fn blocks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..6)
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..Default::default() }
}

proptest! {
    #![proptest_config(cases(300))]
    #[test]
    fn a_front_is_replaced_in_any_blocks(
        blocks in blocks(), old in 0usize..60, new in proptest::collection::vec(any::<u8>(), 0..40),
        shared in any::<bool>(),
    ) {
        let kernel = host::boot(host::Config::default());
        let whole: Vec<u8> = blocks.concat();
        let mp = message(&blocks);
        let other = shared.then(|| mp.dup().unwrap());
        match mp.replace_front(old, &new) {
            Some(mp) => prop_assert_eq!(bytes(&mp), [&new[..], &whole[old..]].concat()),
            None => prop_assert!(old >= whole.len()),
        }
        // Whoever shares the bytes sees them as they were.
        if let Some(other) = other {
            prop_assert_eq!(bytes(&other), whole);
        }
        kernel.shutdown().unwrap();
    }

    #[test]
    fn blocks_do_not_show(blocks in blocks(), at in 0usize..120, n in 0usize..60) {
        let kernel = host::boot(host::Config::default());
        let whole: Vec<u8> = blocks.concat();
        let mp = message(&blocks);
        prop_assert_eq!(mp.size(), whole.len());
        prop_assert_eq!(bytes(&mp), whole.clone());

        let mut part = vec![0; n];
        let there = mp.copy_bytes(at, &mut part);
        prop_assert_eq!(there, n == 0 || at + n <= whole.len());
        if there && n != 0 {
            prop_assert_eq!(&part[..], &whole[at..at + n]);
        }
        prop_assert_eq!(mp.read::<8>().map(|b| b.to_vec()), whole.get(..8).map(<[u8]>::to_vec));

        let pulled = message(&blocks).pull_up(n, whole.len()).unwrap();
        prop_assert!(pulled.front().len() >= n.min(whole.len()));
        prop_assert_eq!(bytes(&pulled), whole.clone());

        let stripped = mp.strip_front(n);
        let want = (n < whole.len()).then(|| whole[n..].to_vec());
        prop_assert_eq!(stripped.as_ref().map(bytes), want);
        prop_assert!(stripped.as_ref().is_none_or(|mp| !mp.front().is_empty()));
        drop((stripped, pulled));
        kernel.shutdown().unwrap();
    }
}

#[test]
fn prepending_needs_room_of_ones_own() {
    let kernel = host::boot(host::Config::default());
    let mut mp = Mblk::copy_from(b"data", 8).unwrap();
    assert_eq!(mp.headroom(), 8);
    assert!(!mp.try_prepend(&[0; 9]));
    let other = mp.dup().unwrap();
    assert_eq!(mp.headroom(), 0, "somebody else reads the same block");
    assert!(!mp.try_prepend(b"head"));
    drop(other);
    assert!(mp.try_prepend(b"head"));
    assert_eq!(bytes(&mp), b"headdata");
    drop(mp);
    kernel.shutdown().unwrap();
}

#[test]
fn queues_count_their_bytes() {
    let kernel = host::boot(host::Config::default());
    let mut queue = MblkQueue::default();
    for n in 1..=4usize {
        queue.push(Mblk::copy_from(&vec![n as u8; n], 0).unwrap(), n);
    }
    assert_eq!((queue.len(), queue.bytes()), (4, 10));
    assert_eq!(queue.peek(|mp| mp.size()), Some(1));
    assert_eq!(queue.pop().map(|mp| mp.size()), Some(1));
    assert_eq!((queue.len(), queue.bytes()), (3, 9));
    let mut chain = queue.into_chain();
    let mut more = MblkChain::default();
    more.push_front(Mblk::copy_from(b"last!", 0).unwrap());
    chain.append(more);
    let sizes: Vec<usize> = std::iter::from_fn(|| chain.pop()).map(|mp| mp.size()).collect();
    assert_eq!(sizes, [2, 3, 4, 5]);
    let mut emptied = MblkQueue::default();
    emptied.push(Mblk::copy_from(b"x", 0).unwrap(), 1);
    assert!(emptied.pop().is_some() && emptied.pop().is_none());
    emptied.push(Mblk::copy_from(b"y", 0).unwrap(), 1);
    assert_eq!(emptied.len(), 1, "a queue is good for use after it was emptied");
    drop(emptied);
    kernel.shutdown().unwrap();
}

#[test]
fn a_copy_is_as_long_as_its_bytes() {
    let kernel = host::boot(host::Config::default());
    // Few bytes in large blocks, as a driver receives them.
    let blocks = [&b"one"[..], b"", b"two"].map(|b| Mblk::alloc_at_end(2048, b).unwrap());
    let [a, b, c] = blocks;
    let whole = a.link(b).link(c);
    let mut copy = whole.copy(16).unwrap();
    assert_eq!((copy.front(), copy.size(), copy.headroom()), (&b"onetwo"[..], 6, 16));
    // SAFETY: a live message.
    let (end, start) = unsafe { ((*(*copy.as_ptr()).b_datap).db_lim, (*copy.as_ptr()).b_rptr) };
    let room = end as usize - start as usize;
    assert!(room < 256, "{room} bytes for 6");
    assert!(copy.try_prepend(b"sixteen bytes of") && !copy.try_prepend(b"x"));
    assert_eq!(copy.size(), 22);
    let shared = whole.dup().unwrap();
    assert_eq!(shared.copy(0).unwrap().front(), b"onetwo");
    drop((whole, shared, copy));
    kernel.shutdown().unwrap();
}
