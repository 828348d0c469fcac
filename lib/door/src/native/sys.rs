// SPDX-License-Identifier: CDDL-1.0
//! The functions of libc that make a door: door_create(3C), fattach(3C) and those around them.
//!
//! The libc crate has these for Solaris only. The doors crate has most of them, but neither door_ucred,
//! by which a caller is known and answered in its own data model, nor door_setparam, and its server procedures are plain
//! functions, without a handler to call. A descriptor in a message (`door_desc_t`) is never
//! sent or taken here, so its pointer stays untyped.

use std::ffi::{c_char, c_int, c_uint, c_void};

/// Descriptors in a request are refused.
pub const DOOR_REFUSE_DESC: c_uint = 0x40;
/// A caller that gives up does not cancel the thread that serves it.
pub const DOOR_NO_CANCEL: c_uint = 0x80;
/// Parameter: longest request in bytes.
pub const DOOR_PARAM_DATA_MAX: c_int = 2;

/// What a door calls: cookie, request, its length, descriptors, their number.
pub type Procedure = unsafe extern "C" fn(*mut c_void, *mut c_char, usize, *mut c_void, c_uint);

/// `door_arg_t`: the request going in, the reply coming out.
#[repr(C)]
#[derive(Debug)]
pub struct Arg {
    pub data: *mut c_char,
    pub data_size: usize,
    pub desc: *mut c_void,
    pub desc_num: c_uint,
    pub rbuf: *mut c_char,
    pub rsize: usize,
}

/// `door_info_t`, of which the first member is known: the server's process, -1 if it is gone.
#[repr(C, align(8))]
#[derive(Debug)]
pub struct Info {
    pub target: libc::pid_t,
    /// More than the rest takes, which is 48 bytes in all or 56, as members are packed or not.
    pub rest: [u8; 60],
}

unsafe extern "C" {
    pub fn door_create(procedure: Procedure, cookie: *mut c_void, attributes: c_uint) -> c_int;
    pub fn door_setparam(door: c_int, parameter: c_int, value: usize) -> c_int;
    pub fn door_revoke(door: c_int) -> c_int;
    pub fn door_info(door: c_int, info: *mut Info) -> c_int;
    pub fn door_ucred(cred: *mut *mut libc::ucred_t) -> c_int;
    pub fn door_call(door: c_int, arg: *mut Arg) -> c_int;
    /// Returns only if it fails.
    pub fn door_return(data: *const c_char, size: usize, desc: *mut c_void, num: c_uint) -> c_int;
    /// A set that belongs to the credential.
    pub fn ucred_getprivset(cred: *const libc::ucred_t, which: *const c_char) -> *const c_void;
    pub fn priv_ismember(set: *const c_void, privilege: *const c_char) -> c_int;
    pub fn fattach(fd: c_int, path: *const c_char) -> c_int;
    pub fn fdetach(path: *const c_char) -> c_int;
}
