// SPDX-License-Identifier: CDDL-1.0
//! Properties of the service, as SMF has them (spec/varpd.md 1.2).
//!
//! By libscf's own functions: the smf crate runs svcprop(1) and reads what that prints, and varpd is not to run
//! programs.

use crate::options::Options;
use crate::{Fatal, Properties, cannot};
use devctl::Root;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr::null_mut;

#[link(name = "scf")]
unsafe extern "C" {
    fn scf_simple_prop_get(
        handle: *mut c_void,
        instance: *const c_char,
        group: *const c_char,
        name: *const c_char,
    ) -> *mut c_void;
    fn scf_simple_prop_next_astring(property: *mut c_void) -> *const c_char;
    fn scf_simple_prop_free(property: *mut c_void);
    fn scf_error() -> c_int;
    fn scf_strerror(error: c_int) -> *const c_char;
}

/// The instance has no such property.
const SCF_ERROR_NOT_FOUND: c_int = 1003;

/// The properties, none if varpd was not started by SMF.
pub fn properties(_root: &Root, _options: &Options) -> Result<Properties, Fatal> {
    let include_path = include_path().map_err(cannot("read a property of the service"))?;
    Ok(Properties { include_path, ..Properties::default() })
}

/// Asks SMF for `varpd/include_path`, which need not be there.
fn include_path() -> io::Result<Vec<PathBuf>> {
    let Some(instance) = std::env::var_os("SMF_FMRI") else { return Ok(vec![]) };
    let instance = CString::new(instance.as_bytes())?;
    // SAFETY: C strings; a NULL handle lets libscf make one for the call.
    let property = unsafe {
        scf_simple_prop_get(
            null_mut(),
            instance.as_ptr(),
            c"varpd".as_ptr(),
            c"include_path".as_ptr(),
        )
    };
    if property.is_null() {
        // SAFETY: the error of this thread's last call.
        let error = unsafe { scf_error() };
        if error == SCF_ERROR_NOT_FOUND {
            return Ok(vec![]);
        }
        // SAFETY: libscf's text for its own number, which stays.
        let why = unsafe { CStr::from_ptr(scf_strerror(error)) };
        return Err(io::Error::other(format!("varpd/include_path: {}", why.to_string_lossy())));
    }
    let mut paths = Vec::new();
    loop {
        // SAFETY: the property, not freed so far.
        let value = unsafe { scf_simple_prop_next_astring(property) };
        if value.is_null() {
            break;
        }
        // SAFETY: a C string that belongs to the property.
        let value = unsafe { CStr::from_ptr(value) };
        paths.push(OsStr::from_bytes(value.to_bytes()).into());
    }
    // SAFETY: the property, and nothing of it is used from here on.
    unsafe { scf_simple_prop_free(property) };
    Ok(paths)
}
