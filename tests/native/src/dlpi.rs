// SPDX-License-Identifier: CDDL-1.0
//! A frame by DLPI, with libdlpi(3LIB).

use crate::Frame;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;

/// What the functions return when they work, `DLPI_SUCCESS`; below it are errors.
const SUCCESS: c_int = 10000;

#[link(name = "dlpi")]
unsafe extern "C" {
    fn dlpi_open(name: *const c_char, handle: *mut *mut c_void, flags: c_uint) -> c_int;
    fn dlpi_bind(handle: *mut c_void, sap: c_uint, bound: *mut c_uint) -> c_int;
    fn dlpi_send(
        handle: *mut c_void,
        address: *const c_void,
        address_len: usize,
        message: *const c_void,
        len: usize,
        info: *const c_void,
    ) -> c_int;
    fn dlpi_close(handle: *mut c_void);
}

/// Sends a frame out of this link.
pub fn send(link: &str, frame: &Frame) -> Result<(), String> {
    let check = |what: &str, code: c_int| match code {
        SUCCESS => Ok(()),
        code => Err(format!("{what}: {code}")),
    };
    let link = CString::new(link).map_err(|e| e.to_string())?;
    let mut handle = null_mut();
    // SAFETY: a C string, and room for a handle.
    check("dlpi_open", unsafe { dlpi_open(link.as_ptr(), &mut handle, 0) })?;
    // SAFETY: the handle just opened, and a number; nobody wants to know the SAP it got.
    let bound = check("dlpi_bind", unsafe { dlpi_bind(handle, frame.kind.into(), null_mut()) });
    let sent = bound.and_then(|()| {
        // SAFETY: the handle, and two arrays with their lengths.
        check("dlpi_send", unsafe {
            dlpi_send(
                handle,
                frame.to.as_ptr().cast(),
                frame.to.len(),
                frame.payload.as_ptr().cast(),
                frame.payload.len(),
                null_mut(),
            )
        })
    });
    // SAFETY: the handle, used no more.
    unsafe { dlpi_close(handle) };
    sent
}
