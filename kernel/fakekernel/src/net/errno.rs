// SPDX-License-Identifier: CDDL-1.0
//! illumos error numbers as C functions return them, and those of the host's system calls.

use overlay_abi::errno::Errno;
use std::ffi::c_int;

macro_rules! numbers {
    ($($name:ident)*) => { $(pub(super) const $name: c_int = Errno::$name.0;)* };
}
numbers! {
    ENOENT EIO EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST EINVAL ENOSPC ENOTSUP ENOTSOCK EDESTADDRREQ
    EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT EOPNOTSUPP EAFNOSUPPORT EADDRINUSE ENOBUFS
}

/// The illumos number of the calling thread's last system call.
pub fn last() -> c_int {
    from_host(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// The illumos number for one of the host.
pub fn from_host(e: c_int) -> c_int {
    Errno::from_host(e).0
}
