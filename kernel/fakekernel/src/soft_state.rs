// SPDX-License-Identifier: CDDL-1.0
//! Soft state: a growing array of zeroed items by number.
use crate::check::{Kind, violation};
use crate::kmem::{kmem_free, kmem_zalloc};
use illumos_sys_hdrs::{DDI_FAILURE, DDI_SUCCESS, KM_SLEEP};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

struct SoftState {
    size: usize,
    items: Mutex<BTreeMap<c_int, usize>>,
}

const EINVAL: c_int = 22;

#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_soft_state_init(state: *mut *mut c_void, size: usize, _n: usize) -> c_int {
    if state.is_null() || size == 0 {
        return EINVAL;
    }
    // SAFETY: ddi_soft_state_init(9F): a place that holds NULL.
    unsafe {
        if !(*state).is_null() {
            violation(Kind::Misuse, "ddi_soft_state_init of a state that is not NULL");
            return EINVAL;
        }
        *state = Box::into_raw(Box::new(SoftState { size, items: Mutex::default() })).cast();
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_soft_state_fini(state: *mut *mut c_void) {
    // SAFETY: ddi_soft_state_fini(9F): a state of ours.
    unsafe {
        if state.is_null() || (*state).is_null() {
            return;
        }
        let s = Box::from_raw(std::mem::replace(&mut *state, null_mut()).cast::<SoftState>());
        for p in s.items.lock().values() {
            kmem_free(*p as *mut c_void, s.size);
        }
    }
}

unsafe fn of<'a>(state: *mut c_void) -> Option<&'a SoftState> {
    // SAFETY: NULL or a state of ours.
    unsafe { state.cast::<SoftState>().as_ref() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_soft_state_zalloc(state: *mut c_void, item: c_int) -> c_int {
    // SAFETY: ddi_soft_state_zalloc(9F).
    let Some(s) = (unsafe { of(state) }) else { return DDI_FAILURE };
    if item < 0 {
        return DDI_FAILURE;
    }
    let p = kmem_zalloc(s.size, KM_SLEEP);
    let mut items = s.items.lock();
    if let std::collections::btree_map::Entry::Vacant(v) = items.entry(item) {
        v.insert(p as usize);
        return DDI_SUCCESS;
    }
    drop(items);
    // SAFETY: the item just allocated is not needed.
    unsafe { kmem_free(p, s.size) };
    DDI_FAILURE
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_get_soft_state(state: *mut c_void, item: c_int) -> *mut c_void {
    // SAFETY: ddi_get_soft_state(9F).
    let s = unsafe { of(state) };
    s.and_then(|s| s.items.lock().get(&item).copied()).map_or(null_mut(), |p| p as *mut c_void)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_soft_state_free(state: *mut c_void, item: c_int) {
    // SAFETY: ddi_soft_state_free(9F).
    let Some(s) = (unsafe { of(state) }) else { return };
    let p = s.items.lock().remove(&item);
    if let Some(p) = p {
        // SAFETY: an item of ours, out of the table now.
        unsafe { kmem_free(p as *mut c_void, s.size) };
    }
}

crate::symbols! { SYMBOLS "genunix":
    ddi_soft_state_init, ddi_soft_state_fini, ddi_soft_state_zalloc, ddi_get_soft_state,
    ddi_soft_state_free,
}
