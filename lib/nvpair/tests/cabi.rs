// SPDX-License-Identifier: CDDL-1.0
//! The C functions as a plugin calls them.
use nvpair::cabi::*;
use nvpair::{List, Value};
use overlay_abi::errno::Errno;
use std::ffi::CStr;
use std::ptr::null_mut;

#[test]
fn pairs_are_found_by_name_and_type() {
    let mut nvl = null_mut();
    // SAFETY: pointers to live variables, and a list that only this thread uses.
    unsafe {
        assert_eq!(nvlist_alloc(&mut nvl, 1, 0), 0);
        assert_eq!(nvlist_add_uint16(nvl, c"port".as_ptr(), 4789), 0);
        assert_eq!(nvlist_add_string(nvl, c"ip".as_ptr(), c"::1".as_ptr()), 0);
        let mut port = 0;
        assert_eq!(nvlist_lookup_uint16(nvl, c"port".as_ptr(), &mut port), 0);
        assert_eq!(port, 4789);
        let mut wide = 0;
        let none = Errno::ENOENT.to_host();
        assert_eq!(nvlist_lookup_uint64(nvl, c"port".as_ptr(), &mut wide), none);
        assert_eq!(nvlist_lookup_uint16(nvl, c"por".as_ptr(), &mut port), none);
        let mut text = null_mut();
        assert_eq!(nvlist_lookup_string(nvl, c"ip".as_ptr(), &mut text), 0);
        assert_eq!(CStr::from_ptr(text), c"::1");

        // A name is there once, whatever its type was.
        assert_eq!(nvlist_add_uint64(nvl, c"port".as_ptr(), 1 << 40), 0);
        assert_eq!(nvlist_lookup_uint16(nvl, c"port".as_ptr(), &mut port), none);
        assert_eq!(nvlist_lookup_uint64(nvl, c"port".as_ptr(), &mut wide), 0);
        assert_eq!(wide, 1 << 40);

        let mut outer = List::new();
        let outer_ptr = (&raw mut outer).cast();
        assert_eq!(nvlist_add_nvlist(outer_ptr, c"inner".as_ptr(), nvl), 0);
        nvlist_free(nvl);
        let mut inner = null_mut();
        assert_eq!(nvlist_lookup_nvlist(outer_ptr, c"inner".as_ptr(), &mut inner), 0);
        assert_eq!(nvlist_lookup_uint64(inner, c"port".as_ptr(), &mut wide), 0);
        let Some(Value::List(list)) = outer.get("inner") else { panic!("no list") };
        assert_eq!(list.get("port"), Some(&Value::Uint64(1 << 40)));
        assert_eq!(list.iter().count(), 2);
    }
}

#[test]
fn null_is_refused() {
    let bad = Errno::EINVAL.to_host();
    let mut list = List::new();
    let nvl = (&raw mut list).cast();
    // SAFETY: NULL or pointers to live variables.
    unsafe {
        assert_eq!(nvlist_alloc(null_mut(), 0, 0), bad);
        assert_eq!(nvlist_add_int32(null_mut(), c"x".as_ptr(), 1), bad);
        assert_eq!(nvlist_add_uint32(nvl, null_mut(), 1), bad);
        assert_eq!(nvlist_add_string(nvl, c"x".as_ptr(), null_mut()), bad);
        assert_eq!(nvlist_add_int32(nvl, c"x".as_ptr(), -1), 0);
        assert_eq!(nvlist_lookup_int32(nvl, c"x".as_ptr(), null_mut()), bad);
        nvlist_free(null_mut());
    }
    assert_eq!(list.get("x"), Some(&Value::Int32(-1)));
}

/// As varpd hands a list to vpo_save and vpo_restore.
#[test]
fn a_handle_carries_lists_to_plugins_and_back() {
    let mut handle = nvpair::Handle::from_list(&List::new()).unwrap();
    // SAFETY: a list that only this thread uses.
    let added = unsafe { nvlist_add_uint16(handle.as_ptr(), c"port".as_ptr(), 4789) };
    assert_eq!(added, 0);
    let list = handle.to_list().unwrap();
    assert_eq!(list.get("port"), Some(&Value::Uint16(4789)));
    let mut again = nvpair::Handle::from_list(&list).unwrap();
    let mut port = 0;
    // SAFETY: as above, and a live variable.
    unsafe { nvlist_lookup_uint16(again.as_ptr(), c"port".as_ptr(), &mut port) };
    assert_eq!((port, again.to_list().unwrap()), (4789, list));
}
