// SPDX-License-Identifier: CDDL-1.0
//! Who varpd is on illumos: root becomes netadm, with no more privileges than it needs
//! (spec/varpd.md 1.5).
//!
//! The functions are declared here: of what illumos-priv has, three calls are needed, with a string that says
//! everything.

use crate::process::check;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

/// User and group `netadm`, which every system has under these ids.
const NETADM_UID: libc::uid_t = 16;
const NETADM_GID: libc::gid_t = 65;

/// What varpd may do: speak TCP and UDP, use /dev/overlay, whose every ioctl checks for
/// `sys_dl_config`, and have a low port.
///
/// `proc_info` stays in: the data model of a door's caller is in its /proc/PID/psinfo.
const PRIVILEGES: &CStr =
    c"basic,!proc_exec,!proc_fork,!proc_session,!file_link_any,sys_dl_config,net_privaddr";

/// `PRIV_SET` and `PRIV_AWARE` of setppriv(2) and setpflags(2).
const PRIV_SET: c_int = 2;
const PRIV_AWARE: c_uint = 2;

/// The flag of setpflags(2) that a process has which had more privileges once: it leaves no core file, and nobody but
/// root can look into it. <sys/priv.h> calls it `__PROC_PROTECT`.
const PROTECT: c_uint = 8;

unsafe extern "C" {
    fn priv_str_to_set(
        names: *const c_char,
        separators: *const c_char,
        rest: *mut *const c_char,
    ) -> *mut c_void;
    fn priv_freeset(set: *mut c_void);
    fn setppriv(op: c_int, which: *const c_char, set: *const c_void) -> c_int;
    fn setpflags(flag: c_uint, value: c_uint) -> c_int;
    fn setreuid(real: libc::uid_t, effective: libc::uid_t) -> c_int;
}

/// The user varpd is going to be.
#[derive(Debug)]
pub struct Identity {
    /// Whether that is netadm, which takes root.
    root: bool,
}

impl Identity {
    /// netadm, if varpd runs as root.
    pub fn choose(_name: Option<&str>, _foreground: bool) -> io::Result<Identity> {
        // SAFETY: a plain system call.
        Ok(Identity { root: unsafe { libc::geteuid() } == 0 })
    }

    /// The user's name, if it is not the one that varpd was started as.
    pub fn name(&self) -> Option<&str> {
        self.root.then_some("netadm")
    }

    /// Gives the user the run directory.
    pub fn own(&self, run_dir: &Path, _device: &Path) -> io::Result<()> {
        if self.root {
            std::os::unix::fs::chown(run_dir, Some(NETADM_UID), Some(NETADM_GID))?;
            std::fs::set_permissions(run_dir, Permissions::from_mode(0o700))?;
        }
        Ok(())
    }

    /// Becomes the user: real, effective and saved, where the original left root behind as the
    /// real and the saved one (spec/varpd.md 9.10). There must be one thread.
    ///
    /// A process that knows about privileges keeps them when it changes its user. Otherwise root's
    /// would go with the last root.
    pub fn assume(&self) -> io::Result<()> {
        if !self.root {
            return Ok(());
        }
        // SAFETY: plain system calls; no group has no list.
        unsafe {
            check(setpflags(PRIV_AWARE, 1))?;
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setgid(NETADM_GID))?;
            check(setreuid(NETADM_UID, NETADM_UID))?;
        }
        // SAFETY: C strings, and nobody wants to know where a mistake is in them.
        let set = unsafe { priv_str_to_set(PRIVILEGES.as_ptr(), c",".as_ptr(), null_mut()) };
        if set.is_null() {
            return Err(io::Error::last_os_error());
        }
        let mut result = Ok(0);
        for which in [c"Permitted", c"Effective"] {
            // SAFETY: a name of a set, and a set.
            result = result.and_then(|_| check(unsafe { setppriv(PRIV_SET, which.as_ptr(), set) }));
        }
        // SAFETY: from priv_str_to_set, and used no more.
        unsafe { priv_freeset(set) };
        result?;
        // Who crashes leaves a core file; there are no secrets of root's in it, and only netadm may read it.
        // SAFETY: a plain system call.
        check(unsafe { setpflags(PROTECT, 0) })?;
        Ok(())
    }

    /// The run directory as it is named from then on: netadm can reach it.
    pub fn run_dir(&self, run_dir: &Path) -> PathBuf {
        run_dir.to_owned()
    }
}
