// SPDX-License-Identifier: CDDL-1.0
//! varpd as a service of illumos: properties from SMF, a child that outlives the start method, and
//! no more privileges than it needs (spec/varpd.md 1.2 and 1.5).
//!
//! The start method is over when the parent ends. It ends well when the child has said so through a
//! pipe, and with the child's exit status if that ends before.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
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

/// `PRIV_SET` of setppriv(2).
const PRIV_SET: c_int = 2;

unsafe extern "C" {
    fn priv_str_to_set(
        names: *const c_char,
        separators: *const c_char,
        rest: *mut *const c_char,
    ) -> *mut c_void;
    fn priv_freeset(set: *mut c_void);
    fn setppriv(op: c_int, which: *const c_char, set: *const c_void) -> c_int;
}

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

/// Asks SMF for `varpd/include_path`.
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
        // SAFETY: libscf's text for its own number, which stays.
        let why = unsafe { CStr::from_ptr(scf_strerror(scf_error())) };
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
        paths.push(std::ffi::OsStr::from_bytes(value.to_bytes()).into());
    }
    // SAFETY: the property, and nothing of it is used from here on.
    unsafe { scf_simple_prop_free(property) };
    Ok(paths)
}

/// varpd as SMF sees it.
#[derive(Debug)]
pub struct Service {
    /// The values of `varpd/include_path`; none if varpd was not started by SMF.
    pub include_path: Vec<PathBuf>,
    /// The parent that waits, unless varpd stays in the foreground. Without a word it takes the exit
    /// status of this process.
    parent: Option<io::PipeWriter>,
}

impl Service {
    /// Goes on in a child unless in the foreground, and, as root, gives up what is not needed.
    /// `dir` is varpd's own from then on. To be called before there are threads.
    pub fn start(dir: &Path, foreground: bool) -> io::Result<Service> {
        let include_path = include_path()?;
        // SAFETY: a plain system call.
        let root = unsafe { libc::geteuid() } == 0;
        if root {
            own(dir)?;
        }
        let parent = if foreground { None } else { Some(daemonize()?) };
        if root {
            drop_privileges()?;
        }
        Ok(Service { include_path, parent })
    }

    /// Lets the parent end: varpd works.
    pub fn ready(self) -> io::Result<()> {
        self.parent.map_or(Ok(()), |mut parent| parent.write_all(&0i32.to_ne_bytes()))
    }
}

/// Goes on in a child, which has one thread only.
fn daemonize() -> io::Result<io::PipeWriter> {
    let (mut read, write) = io::pipe()?;
    // SAFETY: this process has one thread, by contract, so the child finds nothing locked.
    match check(unsafe { libc::fork() })? {
        0 => {
            drop(read);
            // SAFETY: plain system calls.
            check(unsafe { libc::setsid() })?;
            // SAFETY: as above.
            unsafe { libc::umask(0o022) };
            Ok(write)
        }
        child => {
            drop(write);
            let mut status = [0; 4];
            let code = match read.read_exact(&mut status) {
                Ok(()) => i32::from_ne_bytes(status),
                Err(_) => exit_status(child),
            };
            std::process::exit(code)
        }
    }
}

/// Waits for the child; its exit status, or that of a fatal error.
fn exit_status(child: libc::pid_t) -> i32 {
    let mut status = 0;
    loop {
        // SAFETY: a child of ours, and room for its status.
        match check(unsafe { libc::waitpid(child, &mut status, 0) }) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) if libc::WIFEXITED(status) => return libc::WEXITSTATUS(status),
            _ => return super::FATAL.into(),
        }
    }
}

/// Gives the directory of varpd to the user it is going to be, and goes there.
fn own(dir: &Path) -> io::Result<()> {
    std::os::unix::fs::chown(dir, Some(NETADM_UID), Some(NETADM_GID))?;
    std::fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    std::env::set_current_dir(dir)
}

/// Becomes netadm, with [`PRIVILEGES`]. The real user stays root, as it is with the C varpd.
fn drop_privileges() -> io::Result<()> {
    // SAFETY: plain system calls; no group has no list.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setgid(NETADM_GID))?;
        check(libc::seteuid(NETADM_UID))?;
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
    result.map(drop)
}

fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
