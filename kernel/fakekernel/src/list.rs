// SPDX-License-Identifier: CDDL-1.0
//! list_t: a circle of links through a head; an unlinked node is zero.
use crate::check::{Kind, debug, violation};
use illumos_sys_hdrs::{list_node_t, list_t};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

unsafe fn node(l: *const list_t, obj: *mut c_void) -> *mut list_node_t {
    // SAFETY: objects of a list have their node at its offset.
    unsafe { obj.byte_add((*l).list_offset).cast() }
}

unsafe fn object(l: *mut list_t, n: *mut list_node_t) -> *mut c_void {
    // SAFETY: as above.
    unsafe {
        if n == &raw mut (*l).list_head { null_mut() } else { n.byte_sub((*l).list_offset).cast() }
    }
}

/// What kmem_alloc with checks leaves in a node that its owner does not initialise: C need not.
const UNINITIALISED: u64 = 0xbadd_cafe_badd_cafe;

unsafe fn insert_between(prev: *mut list_node_t, n: *mut list_node_t) {
    // SAFETY: `prev` is linked and `n` is to be; all nodes are valid.
    unsafe {
        let next = (*n).list_next;
        if debug() && !next.is_null() && next as u64 != UNINITIALISED {
            violation(Kind::Container, format!("list_insert of node {n:p}, which is on a list"));
            return;
        }
        let next = (*prev).list_next;
        (*n).list_prev = prev;
        (*n).list_next = next;
        (*prev).list_next = n;
        (*next).list_prev = n;
    }
}

unsafe fn unlink(n: *mut list_node_t) {
    // SAFETY: a valid node; zero when on no list.
    unsafe {
        let (prev, next) = ((*n).list_prev, (*n).list_next);
        if prev.is_null() || next.is_null() {
            violation(Kind::Container, format!("list_remove of node {n:p}, which is on no list"));
            return;
        }
        (*prev).list_next = next;
        (*next).list_prev = prev;
        list_link_init(n);
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn list_create(l: *mut list_t, size: usize, offset: usize) {
    // SAFETY: list_create: memory for a list.
    unsafe {
        let head = &raw mut (*l).list_head;
        l.write(list_t {
            list_size: size,
            list_offset: offset,
            list_head: list_node_t { list_next: head, list_prev: head },
        });
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn list_destroy(l: *mut list_t) {
    // SAFETY: list_destroy: a list.
    unsafe {
        if list_is_empty(l) == 0 {
            violation(Kind::DestroyBusy, format!("list_destroy of {l:p}, not empty"));
        }
        list_link_init(&raw mut (*l).list_head);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn list_insert_head(l: *mut list_t, obj: *mut c_void) {
    // SAFETY: list_insert_head: a list and an object.
    unsafe { insert_between(&raw mut (*l).list_head, node(l, obj)) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn list_insert_tail(l: *mut list_t, obj: *mut c_void) {
    // SAFETY: list_insert_tail: a list and an object.
    unsafe { insert_between((*l).list_head.list_prev, node(l, obj)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn list_insert_after(l: *mut list_t, at: *mut c_void, obj: *mut c_void) {
    // SAFETY: list_insert_after: `at` is on the list or NULL for the head.
    unsafe {
        let prev = if at.is_null() { &raw mut (*l).list_head } else { node(l, at) };
        insert_between(prev, node(l, obj));
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn list_insert_before(l: *mut list_t, at: *mut c_void, obj: *mut c_void) {
    // SAFETY: list_insert_before: `at` is on the list or NULL for the tail.
    unsafe {
        let next = if at.is_null() { &raw mut (*l).list_head } else { node(l, at) };
        insert_between((*next).list_prev, node(l, obj));
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn list_remove(l: *mut list_t, obj: *mut c_void) {
    // SAFETY: list_remove: an object of the list.
    unsafe { unlink(node(l, obj)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn list_remove_head(l: *mut list_t) -> *mut c_void {
    // SAFETY: list_remove_head: a list.
    unsafe {
        let obj = list_head(l);
        if !obj.is_null() {
            list_remove(l, obj);
        }
        obj
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn list_remove_tail(l: *mut list_t) -> *mut c_void {
    // SAFETY: list_remove_tail: a list.
    unsafe {
        let obj = list_tail(l);
        if !obj.is_null() {
            list_remove(l, obj);
        }
        obj
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn list_head(l: *mut list_t) -> *mut c_void {
    // SAFETY: list_head: a list.
    unsafe { object(l, (*l).list_head.list_next) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn list_tail(l: *mut list_t) -> *mut c_void {
    // SAFETY: list_tail: a list.
    unsafe { object(l, (*l).list_head.list_prev) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn list_next(l: *mut list_t, obj: *mut c_void) -> *mut c_void {
    // SAFETY: list_next: an object of the list.
    unsafe { object(l, (*node(l, obj)).list_next) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn list_prev(l: *mut list_t, obj: *mut c_void) -> *mut c_void {
    // SAFETY: list_prev: an object of the list.
    unsafe { object(l, (*node(l, obj)).list_prev) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn list_is_empty(l: *mut list_t) -> c_int {
    // SAFETY: list_is_empty: a list.
    unsafe { ((*l).list_head.list_next == &raw mut (*l).list_head).into() }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn list_link_init(n: *mut list_node_t) {
    // SAFETY: list_link_init: memory for a node.
    unsafe { n.write(list_node_t { list_next: null_mut(), list_prev: null_mut() }) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn list_link_active(n: *mut list_node_t) -> c_int {
    // SAFETY: list_link_active: a node.
    unsafe { (!(*n).list_next.is_null()).into() }
}

/// Appends all of `src` to `dst`.
#[unsafe(no_mangle)]
unsafe extern "C" fn list_move_tail(dst: *mut list_t, src: *mut list_t) {
    // SAFETY: list_move_tail: two lists of one kind.
    unsafe {
        loop {
            let obj = list_remove_head(src);
            if obj.is_null() {
                return;
            }
            list_insert_tail(dst, obj);
        }
    }
}

crate::symbols! { SYMBOLS "genunix":
    list_create, list_destroy, list_insert_head, list_insert_tail, list_insert_after,
    list_insert_before, list_remove, list_remove_head, list_remove_tail, list_head, list_tail,
    list_next, list_prev, list_is_empty, list_link_init, list_link_active, list_move_tail,
}
