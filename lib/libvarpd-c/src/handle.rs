// SPDX-License-Identifier: CDDL-1.0
//! A varpd of a program in C: made, given plugins, run, destroyed (spec/varpd.md 2.1, 2.4, 2.6).
use crate::{code, errno, out, path};
use devctl::Root;
use libvarpd::token::{Token, Tokens};
use libvarpd::{Error, Varpd};
use overlay_abi::errno::Errno;
use slog::{Drain, Level, Logger, o};
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// A varpd, opaque.
#[repr(C)]
pub struct varpd_handle_t {
    opaque: [u8; 0],
}

/// Called with the name of a plugin; not 0 ends the walk.
pub type libvarpd_plugin_walk_f =
    unsafe extern "C" fn(*mut varpd_handle_t, *const c_char, *mut c_void) -> c_int;

/// What a handle stands for.
pub(crate) struct Handle {
    pub(crate) varpd: Arc<Varpd>,
    door: Mutex<Option<door::Server>>,
}

static HANDLES: Tokens<Arc<Handle>> = Tokens::new();

pub(crate) fn find(handle: *mut varpd_handle_t) -> Result<Arc<Handle>, Errno> {
    HANDLES.get(Token::from_ptr(handle)).ok_or(Errno::EINVAL)
}

/// What a program sees of an error of libvarpd.
fn number(e: &Error) -> Errno {
    match e {
        Error::Device(e) => e.errno,
        Error::PluginDir { source, .. } | Error::Door { source, .. } => errno(source),
    }
}

/// What goes wrong, in bunyan records on standard error. The original's logger has no stream; a
/// plugin that is refused without a word helps nobody. A record is one write: plugins write theirs
/// to the same place.
fn logger() -> Logger {
    let lines = std::io::LineWriter::with_capacity(1 << 16, std::io::stderr());
    let json = slog_bunyan::with_name("varpd", lines).build();
    Logger::root(Mutex::new(json).filter_level(Level::Warning).fuse(), o!())
}

/// Makes a varpd and opens /dev/overlay, exclusively. Off illumos that is the one under
/// `$OVERLAY_ROOT`.
///
/// `EINVAL`: NULL; else why it cannot be opened: `EEXIST`, `EPERM`, `ENOENT`.
///
/// # Safety
/// `handle` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_create(handle: *mut *mut varpd_handle_t) -> c_int {
    let create = || {
        // SAFETY: by contract.
        let handle = unsafe { out(handle) }?;
        let varpd = Varpd::new(&Root::from_env_or(None), logger()).map_err(|e| number(&e))?;
        *handle = HANDLES.insert(Arc::new(Handle { varpd, door: Mutex::default() })).as_ptr();
        Ok(())
    };
    code(create())
}

/// Ends lookups, closes door and device. Instances are not destroyed: their links work on until the
/// next varpd takes them. Does nothing for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_destroy(handle: *mut varpd_handle_t) {
    if let Some(handle) = HANDLES.remove(Token::from_ptr(handle)) {
        handle.close_door();
        handle.varpd.quiesce();
    }
}

/// Loads the plugins of a directory. What is wrong with a single one is logged.
///
/// `EINVAL`: NULL; else why the directory cannot be read.
///
/// # Safety
/// `dir` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_plugin_load(
    handle: *mut varpd_handle_t,
    dir: *const c_char,
) -> c_int {
    code(find(handle).and_then(|handle| {
        // SAFETY: by contract.
        let dir = unsafe { path(dir) }?;
        handle.varpd.load_plugins(dir).map_err(|e| number(&e))
    }))
}

/// Calls a function with the name of each plugin, in order, until it returns something else than 0.
/// Then 1, else 0. The function may call back.
///
/// # Safety
/// `callback` is NULL or a function of that type that takes `arg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_plugin_walk(
    handle: *mut varpd_handle_t,
    callback: Option<libvarpd_plugin_walk_f>,
    arg: *mut c_void,
) -> c_int {
    let (Ok(varpd), Some(callback)) = (find(handle), callback) else {
        return Errno::EINVAL.to_host();
    };
    let stopped = varpd.varpd.plugins().into_iter().any(|name| {
        // It came as a C string.
        let name = CString::new(name).unwrap_or_default();
        // SAFETY: by contract.
        unsafe { callback(handle, name.as_ptr(), arg) != 0 }
    });
    stopped.into()
}

/// Keeps active instances in files of a directory, from now on. `EINVAL`: NULL, or no directory;
/// `EEXIST`: enabled already; else why it cannot be opened.
///
/// # Safety
/// `dir` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_persist_enable(
    handle: *mut varpd_handle_t,
    dir: *const c_char,
) -> c_int {
    code(find(handle).and_then(|handle| {
        // SAFETY: by contract.
        let dir = unsafe { path(dir) }?;
        handle.varpd.persist_enable(dir).map_err(|e| e.errno())
    }))
}

/// Makes the instances that the files are of, and associates their links again. What is wrong with a
/// single one is logged, and its file is kept. `ENOENT`: not enabled.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_persist_restore(handle: *mut varpd_handle_t) -> c_int {
    code(find(handle).and_then(|h| h.varpd.persist_restore().map_err(|e| e.errno())))
}

/// Keeps no instance any more; the files stay. `ENOENT`: not enabled.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_persist_disable(handle: *mut varpd_handle_t) -> c_int {
    code(find(handle).and_then(|h| h.varpd.persist_disable().map_err(|e| e.errno())))
}

/// Creates the door at a path. `EINVAL`: NULL; `EEXIST`: it has one; else why not.
///
/// # Safety
/// `door` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_door_server_create(
    handle: *mut varpd_handle_t,
    door: *const c_char,
) -> c_int {
    code(find(handle).and_then(|handle| {
        // SAFETY: by contract.
        handle.open_door(unsafe { path(door) }?)
    }))
}

/// Removes the door, if there is one.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_door_server_destroy(handle: *mut varpd_handle_t) {
    if let Ok(handle) = find(handle) {
        handle.close_door();
    }
}

impl Handle {
    fn open_door(&self, path: &Path) -> Result<(), Errno> {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        if door.is_some() {
            return Err(Errno::EEXIST);
        }
        *door = Some(self.varpd.serve(path).map_err(|e| number(&e))?);
        Ok(())
    }

    fn close_door(&self) {
        // Its end waits for calls that are being answered, and is not waited for with the lock.
        let door = self.door.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(door);
    }
}

/// Answers lookups with the calling thread until [`libvarpd_overlay_lookup_quiesce`] or until
/// /dev/overlay does not work any more, which is logged.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_overlay_lookup_run(handle: *mut varpd_handle_t) {
    if let Ok(handle) = find(handle) {
        let varpd = Arc::clone(&handle.varpd);
        // What goes wrong was logged, and the device stays closed to others with the last handle.
        drop(handle);
        let _ = varpd.run_lookups();
    }
}

/// Ends all [`libvarpd_overlay_lookup_run`], and waits for that: a second at most, and for what
/// plugins do. Then they may be called again.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_overlay_lookup_quiesce(handle: *mut varpd_handle_t) {
    if let Ok(handle) = find(handle) {
        handle.varpd.quiesce();
        handle.varpd.resume();
    }
}
