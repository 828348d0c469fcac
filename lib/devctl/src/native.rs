// SPDX-License-Identifier: CDDL-1.0
//! Device nodes by system calls.

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use overlay_abi::errno::Errno;
use zerocopy::{FromBytes, IntoBytes};

use crate::{Error, OpenFlags, Root};

/// An open device node. Many threads may use it at once; dropping it closes it.
#[derive(Debug)]
pub struct Device {
    file: File,
}

impl Device {
    /// Opens `node` (such as `/dev/overlay`) of the host at `root`. A signal that interrupts the
    /// open is ignored.
    pub fn open(root: &Root, node: impl AsRef<Path>, flags: OpenFlags) -> Result<Device, Error> {
        let node = root.path(node);
        let has = |flag: OpenFlags| flags.0 & flag.0 != 0;
        let mut extra = 0;
        for (flag, bits) in
            [(OpenFlags::EXCL, libc::O_EXCL), (OpenFlags::NONBLOCK, libc::O_NONBLOCK)]
        {
            if has(flag) {
                extra |= bits;
            }
        }
        OpenOptions::new()
            .read(has(OpenFlags::READ))
            .write(has(OpenFlags::WRITE))
            .custom_flags(extra)
            .open(&node)
            .map(|file| Device { file })
            .map_err(|e| Error { errno: errno(&e), what: node.display().to_string() })
    }

    /// ioctl(2): the value the driver returns, or its errno.
    ///
    /// # Safety
    ///
    /// `arg`, and the pointers that `cmd` takes out of what lies there, must be addresses the
    /// driver may write to as `cmd` is defined. Addresses that are not mapped are allowed: EFAULT.
    pub unsafe fn ioctl(&self, cmd: u32, arg: *mut c_void) -> Result<i32, Errno> {
        // SAFETY: forwarded from the caller.
        match unsafe { libc::ioctl(self.file.as_raw_fd(), cmd as libc::c_int, arg) } {
            -1 => Err(errno(&io::Error::last_os_error())),
            value => Ok(value),
        }
    }

    /// ioctl(2) on one structure without pointers, which is that of `cmd`.
    ///
    /// Unlike the stand-in a kernel does not see where `data` ends: a command of a longer structure
    /// would write past it, so callers pass the type their ABI crate gives the command.
    pub fn ioctl_with<T: IntoBytes + FromBytes>(
        &self,
        cmd: u32,
        data: &mut T,
    ) -> Result<i32, Errno> {
        // SAFETY: the structure of the command, held exclusively; any bytes are a value of it.
        unsafe { self.ioctl(cmd, std::ptr::from_mut(data).cast()) }
    }
}

fn errno(e: &io::Error) -> Errno {
    Errno(e.raw_os_error().unwrap_or(libc::EIO))
}
