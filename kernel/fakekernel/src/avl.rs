// SPDX-License-Identifier: CDDL-1.0
//! avl_tree_t: a balanced tree with the interface of the kernel's AVL trees.
//!
//! Inside it is a treap: a search tree by key and a heap by a number scrambled from the node's
//! address, so that its expected height is logarithmic without any balance kept in the node.
//! Callers cannot tell.
use crate::check::{Kind, violation};
use illumos_sys_hdrs::{avl_compar_f, avl_index_t, avl_node_t, avl_tree_t};
use std::cmp::Ordering;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

const LEFT: usize = 0;
const RIGHT: usize = 1;

type Node = *mut avl_node_t;

fn priority(n: Node) -> usize {
    let z = (n as usize >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

unsafe fn parent(n: Node) -> Node {
    // SAFETY: nodes of a tree are valid; avl_pcb holds the parent's address.
    unsafe { (*n).avl_pcb as Node }
}

unsafe fn child(n: Node, side: usize) -> Node {
    // SAFETY: as above.
    unsafe { (*n).avl_child[side & 1] }
}

unsafe fn set_child(n: Node, side: usize, c: Node) {
    // SAFETY: as above.
    unsafe {
        (*n).avl_child[side & 1] = c;
        if !c.is_null() {
            (*c).avl_pcb = n as usize;
        }
    }
}

/// Which child of its parent a node is.
unsafe fn side_of(n: Node) -> usize {
    // SAFETY: as above; the caller's node has a parent.
    unsafe { usize::from(child(parent(n), LEFT) != n) }
}

unsafe fn node(t: *const avl_tree_t, obj: *const c_void) -> Node {
    // SAFETY: objects of a tree have their node at its offset.
    unsafe { obj.cast_mut().byte_add((*t).avl_offset).cast() }
}

unsafe fn object(t: *const avl_tree_t, n: Node) -> *mut c_void {
    // SAFETY: as above.
    unsafe { if n.is_null() { null_mut() } else { n.byte_sub((*t).avl_offset).cast() } }
}

/// Puts `c` where `n` is.
unsafe fn replace(t: *mut avl_tree_t, n: Node, c: Node) {
    // SAFETY: as above.
    unsafe {
        let p = parent(n);
        if !p.is_null() {
            set_child(p, side_of(n), c);
            return;
        }
        (*t).avl_root = c;
        if !c.is_null() {
            (*c).avl_pcb = 0;
        }
    }
}

/// Moves a node's `side` child above it.
unsafe fn lift(t: *mut avl_tree_t, n: Node, side: usize) {
    // SAFETY: as above; the caller's node has that child.
    unsafe {
        let c = child(n, side);
        replace(t, n, c);
        set_child(n, side, child(c, side ^ 1));
        set_child(c, side ^ 1, n);
    }
}

unsafe fn compare(t: *const avl_tree_t, key: *const c_void, n: Node) -> Ordering {
    // SAFETY: the tree's comparator takes a key and an object.
    unsafe {
        let Some(f) = (*t).avl_compar else { return Ordering::Equal };
        let r = f(key, object(t, n));
        if !(-1..=1).contains(&r) {
            violation(Kind::Container, format!("comparator of avl tree {t:p} returned {r}"));
        }
        r.cmp(&0)
    }
}

/// The outermost node on one side below `n`.
unsafe fn outermost(mut n: Node, side: usize) -> Node {
    // SAFETY: as above.
    unsafe {
        while !n.is_null() && !child(n, side).is_null() {
            n = child(n, side);
        }
    }
    n
}

#[unsafe(no_mangle)]
unsafe extern "C" fn avl_create(t: *mut avl_tree_t, cmp: avl_compar_f, size: usize, offset: usize) {
    // SAFETY: avl_create: memory for a tree.
    unsafe {
        t.write(avl_tree_t {
            avl_root: null_mut(),
            avl_compar: Some(cmp),
            avl_offset: offset,
            avl_numnodes: 0,
            avl_size: size,
        });
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn avl_destroy(t: *mut avl_tree_t) {
    // SAFETY: avl_destroy: a tree.
    if unsafe { (*t).avl_numnodes } != 0 {
        violation(Kind::DestroyBusy, format!("avl_destroy of {t:p}, not empty"));
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn avl_find(
    t: *mut avl_tree_t,
    key: *const c_void,
    at: *mut avl_index_t,
) -> *mut c_void {
    // SAFETY: avl_find: a tree, a key its comparator takes, a place for the index or NULL.
    unsafe {
        let mut n = (*t).avl_root;
        let mut index = 0;
        while !n.is_null() {
            let side = match compare(t, key, n) {
                Ordering::Equal => return object(t, n),
                Ordering::Less => LEFT,
                Ordering::Greater => RIGHT,
            };
            // Nodes are aligned, so the side fits into the lowest bit.
            index = n as usize | side;
            n = child(n, side);
        }
        if !at.is_null() {
            *at = index;
        }
        null_mut()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn avl_insert(t: *mut avl_tree_t, obj: *mut c_void, at: avl_index_t) {
    // SAFETY: avl_insert: `at` is of avl_find on this unchanged tree.
    unsafe {
        let n = node(t, obj);
        n.write(avl_node_t { avl_child: [null_mut(); 2], avl_pcb: 0 });
        let p = (at & !1) as Node;
        if p.is_null() {
            (*t).avl_root = n;
        } else {
            set_child(p, at & 1, n);
        }
        (*t).avl_numnodes += 1;
        while !parent(n).is_null() && priority(n) > priority(parent(n)) {
            lift(t, parent(n), side_of(n));
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn avl_add(t: *mut avl_tree_t, obj: *mut c_void) {
    let mut at = 0;
    // SAFETY: avl_add: a tree and an object its comparator takes.
    unsafe {
        if !avl_find(t, obj, &mut at).is_null() {
            violation(Kind::Container, format!("avl_add of {obj:p}: the tree has an equal object"));
            return;
        }
        avl_insert(t, obj, at);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn avl_remove(t: *mut avl_tree_t, obj: *mut c_void) {
    // SAFETY: avl_remove: an object of the tree.
    unsafe {
        let n = node(t, obj);
        if parent(n).is_null() && (*t).avl_root != n {
            violation(Kind::Container, format!("avl_remove of {obj:p}, which is not in the tree"));
            return;
        }
        loop {
            let (l, r) = (child(n, LEFT), child(n, RIGHT));
            if l.is_null() || r.is_null() {
                replace(t, n, if l.is_null() { r } else { l });
                break;
            }
            lift(t, n, usize::from(priority(r) > priority(l)));
        }
        n.write(avl_node_t { avl_child: [null_mut(); 2], avl_pcb: 0 });
        (*t).avl_numnodes -= 1;
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn avl_first(t: *mut avl_tree_t) -> *mut c_void {
    // SAFETY: avl_first: a tree.
    unsafe { object(t, outermost((*t).avl_root, LEFT)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn avl_last(t: *mut avl_tree_t) -> *mut c_void {
    // SAFETY: avl_last: a tree.
    unsafe { object(t, outermost((*t).avl_root, RIGHT)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn avl_nearest(
    t: *mut avl_tree_t,
    at: avl_index_t,
    direction: c_int,
) -> *mut c_void {
    // SAFETY: avl_nearest: `at` is of avl_find on this unchanged tree.
    unsafe {
        let n = (at & !1) as Node;
        if n.is_null() {
            return null_mut();
        }
        // The place is left (right) of n: n itself is the next above (below) it.
        if (at & 1 == LEFT) == (direction == 1) {
            return object(t, n);
        }
        avl_walk(t, object(t, n), direction)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn avl_walk(
    t: *mut avl_tree_t,
    obj: *mut c_void,
    direction: c_int,
) -> *mut c_void {
    if obj.is_null() {
        return null_mut();
    }
    // SAFETY: avl_walk: an object of the tree.
    unsafe {
        let side = usize::from(direction == 1);
        let mut n = node(t, obj);
        if !child(n, side).is_null() {
            return object(t, outermost(child(n, side), side ^ 1));
        }
        while !parent(n).is_null() {
            let was = side_of(n);
            n = parent(n);
            if was != side {
                return object(t, n);
            }
        }
        null_mut()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn avl_numnodes(t: *mut avl_tree_t) -> u64 {
    // SAFETY: avl_numnodes: a tree.
    unsafe { (*t).avl_numnodes }
}

/// Takes one object after the other out of the tree, in no useful order, so that the caller may
/// free each.
#[unsafe(no_mangle)]
unsafe extern "C" fn avl_destroy_nodes(
    t: *mut avl_tree_t,
    _cookie: *mut *mut c_void,
) -> *mut c_void {
    // SAFETY: avl_destroy_nodes: a tree. A leaf can be cut off without touching any other object
    // but its parent.
    unsafe {
        let mut n = (*t).avl_root;
        if n.is_null() {
            return null_mut();
        }
        loop {
            let below = if child(n, LEFT).is_null() { child(n, RIGHT) } else { child(n, LEFT) };
            if below.is_null() {
                break;
            }
            n = below;
        }
        replace(t, n, null_mut());
        (*t).avl_numnodes -= 1;
        object(t, n)
    }
}

crate::symbols! { SYMBOLS "genunix":
    avl_create, avl_destroy, avl_find, avl_insert, avl_add, avl_remove, avl_first, avl_last,
    avl_nearest, avl_walk, avl_numnodes, avl_destroy_nodes,
}
