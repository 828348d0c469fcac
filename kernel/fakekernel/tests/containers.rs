// SPDX-License-Identifier: CDDL-1.0
//! Lists, trees, hashes and ids against those of std.
use fakekernel::host::*;
use illumos_sys_hdrs::*;
use proptest::prelude::*;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::c_void;
use std::mem::offset_of;
use std::ptr::null_mut;

#[repr(C)]
struct Item {
    junk: u32,
    key: i64,
    list: list_node_t,
    avl: avl_node_t,
    hash: refhash_link_t,
}

fn item(key: i64) -> Box<Item> {
    let n = || list_node_t { list_next: null_mut(), list_prev: null_mut() };
    Box::new(Item {
        junk: 0,
        key,
        list: n(),
        avl: avl_node_t { avl_child: [null_mut(); 2], avl_pcb: 0 },
        hash: refhash_link_t {
            rhl_chain_link: n(),
            rhl_global_link: n(),
            rhl_flags: 0,
            rhl_refcnt: 0,
        },
    })
}

unsafe fn key(obj: *const c_void) -> i64 {
    // SAFETY: an Item.
    unsafe { (*obj.cast::<Item>()).key }
}

unsafe fn free(obj: *mut c_void) -> i64 {
    // SAFETY: an Item nobody refers to any more.
    unsafe { Box::from_raw(obj.cast::<Item>()) }.key
}

#[derive(Debug, Clone)]
enum ListOp {
    Head(i64),
    Tail(i64),
    Before(usize, i64),
    After(usize, i64),
    Remove(usize),
    PopHead,
    PopTail,
}

fn list_op() -> impl Strategy<Value = ListOp> {
    use ListOp::*;
    prop_oneof![
        any::<i64>().prop_map(Head),
        any::<i64>().prop_map(Tail),
        (any::<usize>(), any::<i64>()).prop_map(|(i, k)| Before(i, k)),
        (any::<usize>(), any::<i64>()).prop_map(|(i, k)| After(i, k)),
        any::<usize>().prop_map(Remove),
        Just(PopHead),
        Just(PopTail),
    ]
}

unsafe extern "C" fn compare(a: *const c_void, b: *const c_void) -> i32 {
    // SAFETY: Items.
    unsafe { key(a).cmp(&key(b)) as i32 }
}

#[derive(Debug, Clone)]
enum TreeOp {
    Add(i64),
    Remove(i64),
    Near(i64),
}

fn tree_op() -> impl Strategy<Value = TreeOp> {
    use TreeOp::*;
    // Few keys, so that they meet.
    let k = -40..40i64;
    prop_oneof![3 => k.clone().prop_map(Add), 2 => k.clone().prop_map(Remove), 1 => k.prop_map(Near)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn list_is_a_deque(ops in prop::collection::vec(list_op(), 0..200)) {
        let k = boot(Config::default());
        let mut model: VecDeque<(i64, *mut c_void)> = VecDeque::new();
        // SAFETY: items of ours, on one list.
        unsafe {
            let mut l = std::mem::zeroed::<list_t>();
            let l = &raw mut l;
            list_create(l, size_of::<Item>(), offset_of!(Item, list));
            for op in ops {
                let new = |k: i64| (k, Box::into_raw(item(k)).cast::<c_void>());
                match op {
                    ListOp::Head(k) => { let n = new(k); list_insert_head(l, n.1); model.push_front(n); }
                    ListOp::Tail(k) => { let n = new(k); list_insert_tail(l, n.1); model.push_back(n); }
                    ListOp::Before(i, k) if !model.is_empty() => {
                        let (i, n) = (i % model.len(), new(k));
                        list_insert_before(l, model[i].1, n.1);
                        model.insert(i, n);
                    }
                    ListOp::After(i, k) if !model.is_empty() => {
                        let (i, n) = (i % model.len(), new(k));
                        list_insert_after(l, model[i].1, n.1);
                        model.insert(i + 1, n);
                    }
                    ListOp::Remove(i) if !model.is_empty() => {
                        let (_, p) = model.remove(i % model.len()).expect("in range");
                        list_remove(l, p);
                        prop_assert_eq!(list_link_active(&raw mut (*p.cast::<Item>()).list), 0);
                        free(p);
                    }
                    ListOp::PopHead => {
                        let p = list_remove_head(l);
                        let want = model.pop_front();
                        prop_assert_eq!(want.map_or(null_mut(), |w| w.1), p);
                        if want.is_some() { free(p); }
                    }
                    ListOp::PopTail => {
                        let p = list_remove_tail(l);
                        let want = model.pop_back();
                        prop_assert_eq!(want.map_or(null_mut(), |w| w.1), p);
                        if want.is_some() { free(p); }
                    }
                    _ => {}
                }
                prop_assert_eq!(list_is_empty(l) != 0, model.is_empty());
                let mut forward = Vec::new();
                let mut p = list_head(l);
                while !p.is_null() { forward.push(p); p = list_next(l, p); }
                let mut back = Vec::new();
                let mut p = list_tail(l);
                while !p.is_null() { back.push(p); p = list_prev(l, p); }
                back.reverse();
                let want: Vec<_> = model.iter().map(|m| m.1).collect();
                prop_assert_eq!(&forward, &want);
                prop_assert_eq!(&back, &want);
            }
            loop {
                let p = list_remove_head(l);
                if p.is_null() { break }
                free(p);
            }
            list_destroy(l);
        }
        k.shutdown().expect("no violations");
    }

    #[test]
    fn avl_is_a_btree(ops in prop::collection::vec(tree_op(), 0..300)) {
        let k = boot(Config::default());
        let mut model: BTreeSet<i64> = BTreeSet::new();
        // SAFETY: items of ours, in one tree.
        unsafe {
            let mut t = std::mem::zeroed::<avl_tree_t>();
            let t = &raw mut t;
            avl_create(t, compare, size_of::<Item>(), offset_of!(Item, avl));
            for op in ops {
                match op {
                    TreeOp::Add(k) => {
                        let probe = item(k);
                        let mut at = 0;
                        let found = avl_find(t, (&raw const *probe).cast(), &mut at);
                        prop_assert_eq!(!found.is_null(), model.contains(&k));
                        if found.is_null() {
                            let p = Box::into_raw(probe).cast();
                            if k % 2 == 0 { avl_insert(t, p, at) } else { avl_add(t, p) }
                            model.insert(k);
                        }
                    }
                    TreeOp::Remove(k) => {
                        let probe = item(k);
                        let found = avl_find(t, (&raw const *probe).cast(), null_mut());
                        prop_assert_eq!(!found.is_null(), model.remove(&k));
                        if !found.is_null() { avl_remove(t, found); free(found); }
                    }
                    TreeOp::Near(k) => {
                        let probe = item(k);
                        let mut at = 0;
                        if avl_find(t, (&raw const *probe).cast(), &mut at).is_null() {
                            let near = |d| { let p = avl_nearest(t, at, d); (!p.is_null()).then(|| key(p)) };
                            prop_assert_eq!(near(0), model.range(..k).next_back().copied());
                            prop_assert_eq!(near(1), model.range(k..).next().copied());
                        }
                    }
                }
                prop_assert_eq!(avl_numnodes(t), model.len() as u64);
            }
            for (start, direction) in [(avl_first(t), 1), (avl_last(t), 0)] {
                let mut seen = Vec::new();
                let mut p = start;
                while !p.is_null() { seen.push(key(p)); p = avl_walk(t, p, direction); }
                if direction == 0 { seen.reverse(); }
                prop_assert_eq!(&seen, &model.iter().copied().collect::<Vec<_>>());
            }
            let mut cookie = null_mut();
            let mut left = BTreeSet::new();
            loop {
                let p = avl_destroy_nodes(t, &mut cookie);
                if p.is_null() { break }
                left.insert(free(p));
            }
            prop_assert_eq!(left, model);
            avl_destroy(t);
        }
        k.shutdown().expect("no violations");
    }
}

#[test]
fn avl_stays_shallow() {
    let _k = boot(Config { checks: Checks::Off, ..Config::default() });
    unsafe fn depth(n: *const avl_node_t) -> usize {
        // SAFETY: nodes of a tree.
        unsafe {
            if n.is_null() {
                0
            } else {
                1 + (*n).avl_child.iter().map(|c| depth(*c)).max().unwrap_or(0)
            }
        }
    }
    // SAFETY: items of ours, in one tree.
    unsafe {
        let mut t = std::mem::zeroed::<avl_tree_t>();
        let t = &raw mut t;
        avl_create(t, compare, size_of::<Item>(), offset_of!(Item, avl));
        // In order, the worst case of a tree without balance.
        for k in 0..100_000 {
            avl_add(t, Box::into_raw(item(k)).cast());
        }
        let d = depth((*t).avl_root);
        assert!(d < 60, "{d}");
        loop {
            let p = avl_destroy_nodes(t, null_mut());
            if p.is_null() {
                break;
            }
            free(p);
        }
    }
}

#[test]
fn containers_notice_misuse() {
    let k = boot(Config::default());
    // SAFETY: items of ours; each misuse is refused.
    unsafe {
        let mut l = std::mem::zeroed::<list_t>();
        let l = &raw mut l;
        list_create(l, size_of::<Item>(), offset_of!(Item, list));
        let p = Box::into_raw(item(1)).cast();
        list_remove(l, p);
        list_insert_tail(l, p);
        list_insert_tail(l, p);
        list_destroy(l);
        let mut t = std::mem::zeroed::<avl_tree_t>();
        let t = &raw mut t;
        avl_create(t, compare, size_of::<Item>(), offset_of!(Item, avl));
        let q = Box::into_raw(item(1)).cast();
        avl_add(t, p);
        avl_add(t, q);
        avl_remove(t, q);
        avl_remove(t, p);
        avl_add(t, q);
        avl_destroy(t);
        free(p);
        free(q);
    }
    let kinds: Vec<_> = take_violations().into_iter().map(|v| v.kind).collect();
    use Kind::*;
    assert_eq!(kinds, [Container, Container, DestroyBusy, Container, Container, DestroyBusy]);
    k.shutdown().expect("nothing else");
}

static ENDED: std::sync::Mutex<Vec<i64>> = std::sync::Mutex::new(Vec::new());

unsafe extern "C" fn hash(tag: *const c_void) -> u64 {
    // SAFETY: the key of an Item.
    unsafe { tag.cast::<i64>().read() as u64 }
}
unsafe extern "C" fn same(a: *const c_void, b: *const c_void) -> i32 {
    // SAFETY: keys of Items.
    unsafe { (*a.cast::<i64>() != *b.cast::<i64>()).into() }
}
unsafe extern "C" fn ended(obj: *mut c_void) {
    // SAFETY: an Item out of the table.
    let k = unsafe { free(obj) };
    ENDED.lock().expect("no panic").push(k);
}

#[test]
fn refhash_keeps_the_dead_until_released() {
    let k = boot(Config::default());
    ENDED.lock().expect("no panic").clear();
    let end = || std::mem::take(&mut *ENDED.lock().expect("no panic"));
    // SAFETY: items of ours, in one table.
    unsafe {
        let h = refhash_create(
            3,
            hash,
            same,
            Some(ended),
            size_of::<Item>(),
            offset_of!(Item, hash),
            offset_of!(Item, key),
            KM_SLEEP,
        );
        let objs: Vec<*mut c_void> = (0..7).map(|k| Box::into_raw(item(k)).cast()).collect();
        objs.iter().for_each(|o| refhash_insert(h, *o));
        let find = |k: i64| refhash_lookup(h, (&raw const k).cast());
        assert!((0..7).all(|k| find(k) == objs[k as usize]));
        assert!(find(9).is_null());

        // Not held: ends at once.
        refhash_remove(h, objs[3]);
        assert_eq!(end(), [3]);
        assert!(find(3).is_null());

        // Held: dead, and passed over by lookup and next but not by first.
        refhash_hold(h, objs[0]);
        refhash_hold(h, objs[4]);
        refhash_remove(h, objs[0]);
        refhash_remove(h, objs[4]);
        assert!(find(0).is_null() && find(4).is_null());
        assert_eq!(end(), []);
        let mut seen = Vec::new();
        let mut p = refhash_first(h);
        while !p.is_null() {
            seen.push(key(p));
            p = refhash_next(h, p);
        }
        assert_eq!(seen, [0, 1, 2, 5, 6]);
        assert_eq!(end(), []);
        refhash_rele(h, objs[4]);
        assert_eq!(end(), [4]);
        // The walker lets the last hold of a dead one go.
        let p = refhash_first(h);
        refhash_rele(h, objs[0]);
        let n = refhash_next(h, p);
        assert_eq!((end(), key(n)), (vec![0], 1));
        refhash_rele(h, n);
        refhash_rele(h, n);
        assert_eq!(take_violations().len(), 1);
        for o in [1, 2, 5, 6] {
            refhash_remove(h, objs[o]);
        }
        assert_eq!(end(), [1, 2, 5, 6]);
        refhash_destroy(h);
    }
    k.shutdown().expect("nothing else");
}

#[derive(Debug, Clone)]
enum HashOp {
    Insert(i64),
    Lookup(i64),
    Remove(usize),
    Hold(usize),
    Rele(usize),
    Walk,
}

fn hash_op() -> impl Strategy<Value = HashOp> {
    use HashOp::*;
    let key = || 0..12i64;
    prop_oneof![
        key().prop_map(Insert),
        key().prop_map(Lookup),
        any::<usize>().prop_map(Remove),
        any::<usize>().prop_map(Hold),
        any::<usize>().prop_map(Rele),
        Just(Walk),
    ]
}

/// What the hash must know of an object.
struct Known {
    obj: *mut c_void,
    key: i64,
    holds: u32,
    dead: bool,
}

/// Ends the objects that nothing keeps; their keys.
fn sweep(model: &mut Vec<Known>) -> Vec<i64> {
    let gone = model.iter().filter(|k| k.dead && k.holds == 0).map(|k| k.key).collect();
    model.retain(|k| !k.dead || k.holds > 0);
    gone
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn refhash_is_a_map_with_counts(
        buckets in 1..5u32,
        ops in prop::collection::vec(hash_op(), 0..200),
    ) {
        let k = boot(Config::default());
        ENDED.lock().expect("no panic").clear();
        let mut model: Vec<Known> = Vec::new();
        // SAFETY: items of ours, in one table.
        unsafe {
            let h = refhash_create(
                buckets,
                hash,
                same,
                Some(ended),
                size_of::<Item>(),
                offset_of!(Item, hash),
                offset_of!(Item, key),
                KM_SLEEP,
            );
            for op in ops {
                let pick = |i: usize, model: &[Known]| (!model.is_empty()).then(|| i % model.len());
                match op {
                    HashOp::Insert(key) => {
                        // A dead one of the same key may still be there; a live one is not doubled.
                        if !model.iter().any(|k| k.key == key && !k.dead) {
                            let obj = Box::into_raw(item(key)).cast();
                            refhash_insert(h, obj);
                            model.push(Known { obj, key, holds: 0, dead: false });
                        }
                    }
                    HashOp::Lookup(key) => {
                        let want = model.iter().find(|k| k.key == key && !k.dead);
                        let got = refhash_lookup(h, (&raw const key).cast());
                        prop_assert_eq!(got, want.map_or(null_mut(), |k| k.obj));
                    }
                    HashOp::Remove(i) => {
                        if let Some(i) = pick(i, &model).filter(|i| !model[*i].dead) {
                            refhash_remove(h, model[i].obj);
                            model[i].dead = true;
                        }
                    }
                    HashOp::Hold(i) => {
                        if let Some(i) = pick(i, &model) {
                            refhash_hold(h, model[i].obj);
                            model[i].holds += 1;
                        }
                    }
                    HashOp::Rele(i) => {
                        if let Some(i) = pick(i, &model).filter(|i| model[*i].holds > 0) {
                            refhash_rele(h, model[i].obj);
                            model[i].holds -= 1;
                        }
                    }
                    HashOp::Walk => {
                        let mut seen = Vec::new();
                        let mut obj = refhash_first(h);
                        while !obj.is_null() {
                            seen.push(obj);
                            obj = refhash_next(h, obj);
                        }
                        let all = model.iter().enumerate();
                        let want = all.filter(|(i, k)| *i == 0 || !k.dead).map(|(_, k)| k.obj);
                        prop_assert_eq!(seen, want.collect::<Vec<_>>());
                    }
                }
                let gone = sweep(&mut model);
                prop_assert_eq!(std::mem::take(&mut *ENDED.lock().expect("no panic")), gone);
            }
            for k in &model {
                if !k.dead {
                    refhash_remove(h, k.obj);
                }
                (0..k.holds).for_each(|_| refhash_rele(h, k.obj));
            }
            prop_assert_eq!(ENDED.lock().expect("no panic").len(), model.len());
            refhash_destroy(h);
        }
        k.shutdown().expect("no violations");
    }
}

#[test]
fn ids_come_in_turn_and_wait() {
    let k = boot(Config::default());
    // SAFETY: one space.
    unsafe {
        let s = id_space_create(c"ids".as_ptr(), 1, 4);
        assert_eq!([id_alloc(s), id_alloc(s)], [1, 2]);
        id_free(s, 1);
        assert_eq!([id_alloc(s), id_alloc(s)], [3, 1]);
        assert_eq!(id_alloc_nosleep(s), -1);
        let p = s as usize;
        std::thread::scope(|t| {
            let w = t.spawn(move || id_alloc(p as *mut id_space_t));
            std::thread::sleep(std::time::Duration::from_millis(30));
            id_free(s, 2);
            assert_eq!(w.join().expect("no panic"), 2);
        });
        id_free(s, 9);
        assert_eq!(take_violations()[0].kind, Kind::Container);
        id_free(s, 1);
        id_free(s, 2);
        id_space_destroy(s);
        assert_eq!(take_violations()[0].kind, Kind::DestroyBusy);
    }
    k.shutdown().expect("nothing else");
}

#[test]
fn soft_state() {
    let k = boot(Config::default());
    // SAFETY: one state.
    unsafe {
        let mut st = null_mut();
        assert_eq!(ddi_soft_state_init(&mut st, 24, 1), 0);
        assert_eq!(ddi_soft_state_zalloc(st, 700), DDI_SUCCESS);
        assert_eq!(ddi_soft_state_zalloc(st, 700), DDI_FAILURE);
        let p = ddi_get_soft_state(st, 700);
        assert_eq!(std::slice::from_raw_parts(p.cast::<u8>(), 24), [0; 24]);
        assert!(ddi_get_soft_state(st, 1).is_null());
        ddi_soft_state_free(st, 700);
        assert!(ddi_get_soft_state(st, 700).is_null());
        assert_eq!(ddi_soft_state_zalloc(st, 0), DDI_SUCCESS);
        ddi_soft_state_fini(&mut st);
        assert!(st.is_null());
    }
    k.shutdown().expect("nothing left");
}

#[test]
fn utf8_and_crc() {
    // SAFETY: strings of ours.
    unsafe {
        let mut e = 0;
        let mut v = |s: &[u8]| {
            let r = u8_validate(
                s.as_ptr().cast_mut().cast(),
                s.len(),
                null_mut(),
                U8_VALIDATE_ENTIRE,
                &mut e,
            );
            (r, if r < 0 { std::mem::take(&mut e) } else { 0 })
        };
        assert_eq!(v("grün".as_bytes()), (4, 0));
        assert_eq!(v(b"ab\0\xff"), (2, 0));
        assert_eq!(v(b"a\xff"), (-1, 88));
        assert_eq!(v(b"a\xc3"), (-1, 22));
        assert_eq!(v(b""), (0, 0));
        let mut first =
            |s: &[u8]| u8_validate(s.as_ptr().cast_mut().cast(), s.len(), null_mut(), 0, &mut e);
        assert_eq!([first(b"ab\xff"), first(b"\xff")], [1, -1]);
        let mut list = [c"/".as_ptr().cast_mut(), null_mut()];
        let mut slash = |s: &[u8], f: i32| {
            u8_validate(s.as_ptr().cast_mut().cast(), s.len(), list.as_mut_ptr(), f, &mut e)
        };
        let check = U8_VALIDATE_ENTIRE | 0x20_0000;
        assert_eq!([slash(b"ab", check), slash(b"a/b", check)], [2, -1]);
        assert_eq!(slash(b"a/b", U8_VALIDATE_ENTIRE), 3);
        let crc =
            b"123456789".iter().fold(!0u32, |c, b| crc32_table[(c as u8 ^ b) as usize] ^ (c >> 8));
        assert_eq!(!crc, 0xcbf4_3926);
    }
}

/// C need not initialise a node that it puts on a list; with checks such memory has a pattern.
#[test]
fn a_list_takes_what_kmem_alloc_gave() {
    let k = boot(Config::default());
    // SAFETY: a list of objects of 32 bytes whose node is at 16.
    unsafe {
        let mut l: list_t = std::mem::zeroed();
        list_create(&mut l, 32, 16);
        let [a, b] = [(); 2].map(|()| kmem_alloc(32, KM_SLEEP));
        list_insert_tail(&mut l, a);
        list_insert_tail(&mut l, b);
        assert_eq!((list_head(&mut l), list_next(&mut l, a)), (a, b));
        list_insert_tail(&mut l, a);
        assert_eq!(take_violations()[0].kind, Kind::Container);
        for obj in [a, b] {
            list_remove(&mut l, obj);
            kmem_free(obj, 32);
        }
        list_destroy(&mut l);
    }
    k.shutdown().expect("nothing else");
}
