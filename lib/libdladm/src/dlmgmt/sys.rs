// SPDX-License-Identifier: CDDL-1.0
//! The part of `<libdladm.h>` and `<libdllink.h>` that [`super::native`] uses, with C's names.
//!
//! The shapes are bindgen's; `tools/bindings.sh` compares them with the headers on a system that
//! has those. The numbers are in `abi.json` too.
#![allow(non_camel_case_types, reason = "names of C")]

use std::ffi::{c_char, c_int, c_uint, c_void};

/// `struct dladm_handle`, libdladm's own.
#[repr(C)]
pub struct dladm_handle {
    _private: [u8; 0],
}

pub type dladm_status_t = c_uint;
pub const DLADM_STATUS_OK: dladm_status_t = 0;
pub const DLADM_STATUS_BADARG: dladm_status_t = 1;
pub const DLADM_STATUS_TOOSMALL: dladm_status_t = 3;
pub const DLADM_STATUS_NOTSUP: dladm_status_t = 4;
pub const DLADM_STATUS_NOTFOUND: dladm_status_t = 5;
pub const DLADM_STATUS_BADVAL: dladm_status_t = 6;
pub const DLADM_STATUS_NOMEM: dladm_status_t = 7;
pub const DLADM_STATUS_EXIST: dladm_status_t = 8;
pub const DLADM_STATUS_LINKINVAL: dladm_status_t = 9;
pub const DLADM_STATUS_DENIED: dladm_status_t = 13;
pub const DLADM_STATUS_IOERR: dladm_status_t = 14;
pub const DLADM_STATUS_LINKBUSY: dladm_status_t = 24;
pub const DLADM_STATUS_TRYAGAIN: dladm_status_t = 27;

/// What a walk's function returns to get the next link.
pub const DLADM_WALK_CONTINUE: c_int = -1;

pub type walk_f = unsafe extern "C" fn(*mut dladm_handle, u32, *mut c_void) -> c_int;

#[link(name = "dladm")]
unsafe extern "C" {
    pub fn dladm_open(handle: *mut *mut dladm_handle) -> dladm_status_t;
    pub fn dladm_close(handle: *mut dladm_handle);
    pub fn dladm_create_datalink_id(
        handle: *mut dladm_handle,
        name: *const c_char,
        class: c_uint,
        media: c_uint,
        flags: u32,
        id: *mut u32,
    ) -> dladm_status_t;
    pub fn dladm_destroy_datalink_id(
        handle: *mut dladm_handle,
        id: u32,
        flags: u32,
    ) -> dladm_status_t;
    pub fn dladm_datalink_id2info(
        handle: *mut dladm_handle,
        id: u32,
        flags: *mut u32,
        class: *mut c_uint,
        media: *mut u32,
        name: *mut c_char,
        len: usize,
    ) -> dladm_status_t;
    pub fn dladm_name2info(
        handle: *mut dladm_handle,
        name: *const c_char,
        id: *mut u32,
        flags: *mut u32,
        class: *mut c_uint,
        media: *mut u32,
    ) -> dladm_status_t;
    pub fn dladm_walk_datalink_id(
        function: walk_f,
        handle: *mut dladm_handle,
        arg: *mut c_void,
        class: c_uint,
        media: u64,
        flags: u32,
    ) -> dladm_status_t;
}
