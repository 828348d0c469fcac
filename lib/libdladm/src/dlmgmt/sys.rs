// SPDX-License-Identifier: CDDL-1.0
//! What [`super::native`] uses of `<libdladm.h>` and `<libdllink.h>`, as bindgen reads them: made by
//! `tools/bindings.sh`, not by hand.
#![allow(non_camel_case_types, reason = "names of C")]

pub const DLADM_WALK_CONTINUE: i32 = -1;
pub type uint_t = ::core::ffi::c_uint;
pub type datalink_id_t = u32;
pub type datalink_class_t = ::core::ffi::c_uint;
pub type datalink_media_t = u64;
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
pub type dladm_status_t = ::core::ffi::c_uint;
#[repr(C)]
#[derive(Debug)]
pub struct dladm_handle {
    _unused: [u8; 0],
}
pub type dladm_handle_t = *mut dladm_handle;
#[link(name = "dladm")]
unsafe extern "C" {
    pub fn dladm_open(arg1: *mut dladm_handle_t) -> dladm_status_t;
    pub fn dladm_close(arg1: dladm_handle_t);
    pub fn dladm_create_datalink_id(
        arg1: dladm_handle_t,
        arg2: *const ::core::ffi::c_char,
        arg3: datalink_class_t,
        arg4: uint_t,
        arg5: u32,
        arg6: *mut datalink_id_t,
    ) -> dladm_status_t;
    pub fn dladm_destroy_datalink_id(
        arg1: dladm_handle_t,
        arg2: datalink_id_t,
        arg3: u32,
    ) -> dladm_status_t;
    pub fn dladm_name2info(
        arg1: dladm_handle_t,
        arg2: *const ::core::ffi::c_char,
        arg3: *mut datalink_id_t,
        arg4: *mut u32,
        arg5: *mut datalink_class_t,
        arg6: *mut u32,
    ) -> dladm_status_t;
    pub fn dladm_datalink_id2info(
        arg1: dladm_handle_t,
        arg2: datalink_id_t,
        arg3: *mut u32,
        arg4: *mut datalink_class_t,
        arg5: *mut u32,
        arg6: *mut ::core::ffi::c_char,
        arg7: usize,
    ) -> dladm_status_t;
    pub fn dladm_walk_datalink_id(
        arg1: ::core::option::Option<
            unsafe extern "C" fn(
                arg1: dladm_handle_t,
                arg2: datalink_id_t,
                arg3: *mut ::core::ffi::c_void,
            ) -> ::core::ffi::c_int,
        >,
        arg2: dladm_handle_t,
        arg3: *mut ::core::ffi::c_void,
        arg4: datalink_class_t,
        arg5: datalink_media_t,
        arg6: u32,
    ) -> dladm_status_t;
}
