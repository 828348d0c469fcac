// SPDX-License-Identifier: CDDL-1.0
//! `libvarpd.so.1`: the virtual ARP daemon and its client, for programs in C.
//!
//! ```text
//!   libdladm, tools in C --libvarpd_c_*--> client --> libvarpd-client ==door==> varpd
//!
//!   a varpd in C --libvarpd_create, ..--> handle, instance, prop --+--> libvarpd --> /dev/overlay
//!   plugin.so ---libvarpd_plugin_*, ..--> libvarpd::cabi ----------+
//! ```
//!
//! | module | functions | header |
//! |---|---|---|
//! | `handle` | `libvarpd_create`, plugins, door, lookups, persistence | libvarpd.h |
//! | `instance` | `libvarpd_instance_*` | libvarpd.h |
//! | `prop` | `libvarpd_prop_*` of who has an instance | libvarpd.h |
//! | `client` | `libvarpd_c_*` | libvarpd_client.h |
//! | `libvarpd::cabi` | what plugins call | libvarpd_provider.h |
//!
//! # How our own varpd relates to it
//!
//! It does not use it. cmd/varpd and cmd/dladm hold the crates libvarpd and libvarpd-client
//! themselves, with types instead of handles; this library gives the same crates to C, under the
//! names and with the layouts of the original, so that a program linked with that one runs with this
//! one. A process has one of them: plugins bind to the functions of the process that loads them,
//! varpd's own or this library's. The list of what is exported is `exports.map`. Off illumos the
//! functions of libnvpair that libvarpd stands in for are there as well.
//!
//! The file has no version definitions, where the original has `SUNWprivate`: ld.so.1 takes a
//! library without any for whatever version is asked of it.
//!
//! # Vocabulary
//!
//! * *handle*: what a program holds. All handles are [tokens](libvarpd::token) in the guise of
//!   pointers: one that was freed, or is of another kind, is known to be none, and the call fails
//!   with `EINVAL` or does nothing. An instance's handle is the one its plugin has.
//! * *filled*: a property handle says which property it stands for after a fill.
//!
//! # Errors
//!
//! Functions return 0 or an error number of the host. Where the original ends the process, this
//! returns: `EEXIST` from `libvarpd_instance_create` for a link that has an instance, and whatever
//! the door answers from `libvarpd_c_*`.
//!
//! # Locks
//!
//! Those of libvarpd. A property handle has one of its own, which is held over the call of the
//! plugin or of the door; one handle is for one thread, as in the original. No lock is held over a
//! callback of the program.

// The names are those of the headers.
#![allow(non_camel_case_types)]

pub mod client;
pub mod handle;
pub mod instance;
pub mod prop;

use overlay_abi::errno::Errno;
use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// 0 or the host's number of an error. -1, which plugins use for "failed", stays what it is.
fn code(result: Result<(), Errno>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(Errno(-1)) => -1,
        Err(e) => e.to_host(),
    }
}

/// # Safety
/// `text` is NULL or a C string, which lives as long as the result.
unsafe fn c_str<'a>(text: *const c_char) -> Result<&'a CStr, Errno> {
    if text.is_null() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: not NULL, thus a C string by contract.
    Ok(unsafe { CStr::from_ptr(text) })
}

/// # Safety
/// As [`c_str`].
unsafe fn path<'a>(text: *const c_char) -> Result<&'a Path, Errno> {
    // SAFETY: forwarded from the caller.
    Ok(Path::new(OsStr::from_bytes(unsafe { c_str(text) }?.to_bytes())))
}

/// Where a result goes.
///
/// # Safety
/// `out` is NULL or writable, and nobody else's meanwhile.
unsafe fn out<'a, T>(out: *mut T) -> Result<&'a mut T, Errno> {
    // SAFETY: by contract.
    unsafe { out.as_mut() }.ok_or(Errno::EINVAL)
}

/// The error number of an I/O error, which may have words instead of a number.
fn errno(e: &std::io::Error) -> Errno {
    use std::io::ErrorKind;
    match (e.raw_os_error(), e.kind()) {
        (Some(code), _) => Errno::from_host(code),
        (None, ErrorKind::NotFound) => Errno::ENOENT,
        (None, ErrorKind::PermissionDenied) => Errno::EACCES,
        (None, ErrorKind::AlreadyExists) => Errno::EEXIST,
        (None, ErrorKind::AddrInUse) => Errno::EADDRINUSE,
        (None, _) => Errno::EIO,
    }
}
