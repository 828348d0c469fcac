// SPDX-License-Identifier: CDDL-1.0
//! refhash_t: a chained hash whose objects are counted. One that is removed while held is *dead*:
//! lookup and next pass over it, first does not, and the last release ends it.
use crate::check::{Kind, violation};
use crate::kmem::{kmem_free, kmem_zalloc};
use crate::list::*;
use illumos_sys_hdrs::{
    list_t, refhash_cmp_f, refhash_dtor_f, refhash_hash_f, refhash_link_t, refhash_t,
};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

const DEAD: u32 = 1;

unsafe fn link<'a>(h: *const refhash_t, obj: *const c_void) -> &'a mut refhash_link_t {
    // SAFETY: objects have their link at the table's offset; the caller serialises the table.
    unsafe { &mut *obj.cast_mut().byte_add((*h).rh_link_off).cast() }
}

unsafe fn bucket(h: *const refhash_t, tag: *const c_void) -> *mut list_t {
    // SAFETY: the table has rh_bucket_count buckets, at least one.
    unsafe {
        let hash = (*h).rh_hash.map_or(0, |f| f(tag));
        (*h).rh_buckets.add((hash % u64::from((*h).rh_bucket_count)) as usize)
    }
}

unsafe fn tag(h: *const refhash_t, obj: *const c_void) -> *const c_void {
    // SAFETY: objects have their tag at the table's offset.
    unsafe { obj.byte_add((*h).rh_tag_off) }
}

unsafe fn unlink(h: *mut refhash_t, obj: *mut c_void) {
    // SAFETY: an object of the table.
    unsafe {
        list_remove(bucket(h, tag(h, obj)), obj);
        list_remove(&raw mut (*h).rh_objs, obj);
        if let Some(dtor) = (*h).rh_dtor {
            dtor(obj);
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn refhash_create(
    buckets: u32,
    hash: refhash_hash_f,
    cmp: refhash_cmp_f,
    dtor: Option<refhash_dtor_f>,
    size: usize,
    link_off: usize,
    tag_off: usize,
    km: c_int,
) -> *mut refhash_t {
    let buckets = buckets.max(1);
    let h = kmem_zalloc(size_of::<refhash_t>(), km).cast::<refhash_t>();
    if h.is_null() {
        return null_mut();
    }
    let lists = kmem_zalloc(buckets as usize * size_of::<list_t>(), km).cast::<list_t>();
    // SAFETY: both are new and of their size.
    unsafe {
        if lists.is_null() {
            kmem_free(h.cast(), size_of::<refhash_t>());
            return null_mut();
        }
        (*h).rh_buckets = lists;
        (*h).rh_bucket_count = buckets;
        (*h).rh_obj_size = size;
        (*h).rh_link_off = link_off;
        (*h).rh_tag_off = tag_off;
        (*h).rh_hash = Some(hash);
        (*h).rh_cmp = Some(cmp);
        (*h).rh_dtor = dtor;
        let chain = link_off + std::mem::offset_of!(refhash_link_t, rhl_chain_link);
        let global = link_off + std::mem::offset_of!(refhash_link_t, rhl_global_link);
        for i in 0..buckets as usize {
            list_create(lists.add(i), size, chain);
        }
        list_create(&raw mut (*h).rh_objs, size, global);
    }
    h
}

#[unsafe(no_mangle)]
unsafe extern "C" fn refhash_destroy(h: *mut refhash_t) {
    // SAFETY: refhash_destroy: a table.
    unsafe {
        if list_is_empty(&raw mut (*h).rh_objs) == 0 {
            violation(Kind::DestroyBusy, format!("refhash_destroy of {h:p}, not empty"));
        }
        kmem_free((*h).rh_buckets.cast(), (*h).rh_bucket_count as usize * size_of::<list_t>());
        kmem_free(h.cast(), size_of::<refhash_t>());
    }
}

/// The object starts without holds. Equal objects are not looked for.
#[unsafe(no_mangle)]
unsafe extern "C" fn refhash_insert(h: *mut refhash_t, obj: *mut c_void) {
    // SAFETY: refhash_insert: a table and an object that is in none.
    unsafe {
        let l = link(h, obj);
        l.rhl_flags = 0;
        l.rhl_refcnt = 0;
        list_link_init(&raw mut l.rhl_chain_link);
        list_link_init(&raw mut l.rhl_global_link);
        list_insert_tail(bucket(h, tag(h, obj)), obj);
        list_insert_tail(&raw mut (*h).rh_objs, obj);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn refhash_remove(h: *mut refhash_t, obj: *mut c_void) {
    // SAFETY: refhash_remove: an object of the table.
    unsafe {
        let l = link(h, obj);
        if l.rhl_refcnt > 0 {
            l.rhl_flags |= DEAD;
        } else {
            unlink(h, obj);
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn refhash_lookup(h: *mut refhash_t, key: *const c_void) -> *mut c_void {
    // SAFETY: refhash_lookup: a table and a tag.
    unsafe {
        let b = bucket(h, key);
        let mut obj = list_head(b);
        while !obj.is_null() {
            let equal = (*h).rh_cmp.is_some_and(|f| f(key, tag(h, obj)) == 0);
            if equal && link(h, obj).rhl_flags & DEAD == 0 {
                return obj;
            }
            obj = list_next(b, obj);
        }
        null_mut()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn refhash_hold(h: *mut refhash_t, obj: *mut c_void) {
    // SAFETY: refhash_hold: an object of the table.
    unsafe { link(h, obj).rhl_refcnt += 1 }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn refhash_rele(h: *mut refhash_t, obj: *mut c_void) {
    // SAFETY: refhash_rele: a held object of the table.
    unsafe {
        let l = link(h, obj);
        if l.rhl_refcnt == 0 {
            violation(Kind::Container, format!("refhash_rele of {obj:p}, which is not held"));
            return;
        }
        l.rhl_refcnt -= 1;
        if l.rhl_refcnt == 0 && l.rhl_flags & DEAD != 0 {
            unlink(h, obj);
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn refhash_first(h: *mut refhash_t) -> *mut c_void {
    // SAFETY: refhash_first: a table.
    unsafe {
        let obj = list_head(&raw mut (*h).rh_objs);
        if !obj.is_null() {
            refhash_hold(h, obj);
        }
        obj
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn refhash_next(h: *mut refhash_t, obj: *mut c_void) -> *mut c_void {
    // SAFETY: refhash_next: a held object of the table, which may end here.
    unsafe {
        let all = &raw mut (*h).rh_objs;
        let mut next = list_next(all, obj);
        while !next.is_null() && link(h, next).rhl_flags & DEAD != 0 {
            next = list_next(all, next);
        }
        if !next.is_null() {
            refhash_hold(h, next);
        }
        refhash_rele(h, obj);
        next
    }
}

crate::symbols! { SYMBOLS "genunix":
    refhash_create, refhash_destroy, refhash_insert, refhash_remove, refhash_lookup, refhash_hold,
    refhash_rele, refhash_first, refhash_next,
}
