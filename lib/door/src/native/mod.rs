// SPDX-License-Identifier: CDDL-1.0
//! Doors of illumos.
//!
//! libc makes a thread for each call that comes while the others are busy, and keeps it. A call
//! returns by door_return(3C), which does not come back: what is to be sent outlives the call in a
//! thread-local buffer, and everything else has gone before. The handler is found by a number and
//! not by an address, so that a call that was on its way when the server was dropped finds none.

mod sys;

use crate::{MAX_REQUEST, Model, PeerCred};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_uint, c_void};
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a door calls: request bytes and caller to reply bytes.
pub type Handler = dyn Fn(&[u8], &PeerCred) -> Vec<u8> + Send + Sync;

/// The server of a door. Dropping it revokes the door: the file goes, calls in progress end
/// normally, on threads that stay.
#[derive(Debug)]
pub struct Server {
    door: OwnedFd,
    path: PathBuf,
    cookie: usize,
}

struct Handlers {
    by_cookie: BTreeMap<usize, Arc<Handler>>,
    last: usize,
}

static HANDLERS: Mutex<Handlers> = Mutex::new(Handlers { by_cookie: BTreeMap::new(), last: 0 });

fn handlers() -> MutexGuard<'static, Handlers> {
    HANDLERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Creates the door at `path` with the permission bits `mode`; a caller needs read permission
    /// on it.
    ///
    /// The handler runs on as many threads as there are calls. The file of a server that was killed
    /// is taken over. Errors name the path: AddrInUse if a server answers there, AlreadyExists if
    /// something else lies there.
    pub fn create(path: impl AsRef<Path>, mode: u32, handler: Arc<Handler>) -> io::Result<Server> {
        let path = path.as_ref();
        Self::create_at(path, mode, handler)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
    }

    fn create_at(path: &Path, mode: u32, handler: Arc<Handler>) -> io::Result<Server> {
        let name = c_path(path)?;
        clear(path, &name)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        // Without what the umask took.
        file.set_permissions(Permissions::from_mode(mode))?;

        let cookie = {
            let mut handlers = handlers();
            handlers.last += 1;
            let cookie = handlers.last;
            handlers.by_cookie.insert(cookie, handler);
            cookie
        };
        let attributes = sys::DOOR_REFUSE_DESC | sys::DOOR_NO_CANCEL;
        let cookie_pointer = std::ptr::without_provenance_mut(cookie);
        // SAFETY: a function of that type; the cookie is only a number to it.
        let door = match check(unsafe { sys::door_create(procedure, cookie_pointer, attributes) }) {
            // SAFETY: a new descriptor that nobody else has.
            Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd) },
            Err(e) => {
                handlers().by_cookie.remove(&cookie);
                let _ = std::fs::remove_file(path);
                return Err(e);
            }
        };
        // From here on the drop takes everything back.
        let server = Server { door, path: path.to_owned(), cookie };
        let fd = server.door.as_raw_fd();
        // SAFETY: a door of ours.
        check(unsafe { sys::door_setparam(fd, sys::DOOR_PARAM_DATA_MAX, MAX_REQUEST) })?;
        // SAFETY: a door of ours and a C string.
        check(unsafe { sys::fattach(fd, name.as_ptr()) })?;
        Ok(server)
    }

    /// Where the door is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: a door of ours. What can fail here is that it is gone already.
        unsafe { sys::door_revoke(self.door.as_raw_fd()) };
        if let Ok(name) = c_path(&self.path) {
            // SAFETY: a C string.
            unsafe { sys::fdetach(name.as_ptr()) };
        }
        let _ = std::fs::remove_file(&self.path);
        handlers().by_cookie.remove(&self.cookie);
    }
}

/// Removes what a killed server left: its door, still attached, or the file below it.
fn clear(path: &Path, name: &CString) -> io::Result<()> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    match target(&file) {
        Some(-1) => {
            // SAFETY: a C string.
            check(unsafe { sys::fdetach(name.as_ptr()) })?;
        }
        Some(_) => return Err(io::ErrorKind::AddrInUse.into()),
        None => {
            let metadata = file.metadata()?;
            if !metadata.is_file() || metadata.len() != 0 {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
        }
    }
    std::fs::remove_file(path)
}

/// The process that serves a door, -1 if it is gone; `None` if the file is no door.
fn target(file: &File) -> Option<libc::pid_t> {
    let mut info = sys::Info { target: 0, rest: [0; 60] };
    // SAFETY: as many bytes as door_info_t has, and more.
    check(unsafe { sys::door_info(file.as_raw_fd(), &mut info) }).ok().map(|_| info.target)
}

/// The process that serves the door at `path`, whether it answers or not; none if there is no server.
pub fn server(path: impl AsRef<Path>) -> Option<i32> {
    target(&File::open(path).ok()?).filter(|pid| *pid != -1)
}

thread_local! {
    /// What this thread returned last.
    static REPLY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C" fn procedure(
    cookie: *mut c_void,
    request: *mut c_char,
    size: usize,
    _: *mut c_void,
    _: c_uint,
) {
    // SAFETY: the kernel's request, which lies there until door_return.
    let (data, size) = unsafe { answer(cookie.addr(), request, size) };
    // SAFETY: the bytes belong to this thread until its next call.
    unsafe { sys::door_return(data, size, null_mut(), 0) };
    // What the caller does not take, such as a reply it has no memory for, becomes an empty one.
    // SAFETY: no bytes at all.
    unsafe { sys::door_return(null_mut(), 0, null_mut(), 0) };
}

/// Runs the handler; where its reply lies.
///
/// # Safety
/// `request` is NULL or `size` bytes.
unsafe fn answer(cookie: usize, request: *const c_char, size: usize) -> (*const c_char, usize) {
    let request = match request.is_null() {
        true => &[],
        // SAFETY: not NULL, thus that many bytes by contract.
        false => unsafe { std::slice::from_raw_parts(request.cast::<u8>(), size) },
    };
    let handler = handlers().by_cookie.get(&cookie).cloned();
    // A caller that cannot be examined is not served: its messages could not be read.
    let reply = match (handler, caller()) {
        (Some(handler), Some(cred)) => handler(request, &cred),
        _ => Vec::new(),
    };
    REPLY.with_borrow_mut(|kept| {
        *kept = reply;
        (kept.as_ptr().cast(), kept.len())
    })
}

/// Who made the call that this thread serves.
fn caller() -> Option<PeerCred> {
    let mut cred = null_mut();
    // SAFETY: allocates one, which is freed below.
    check(unsafe { sys::door_ucred(&mut cred) }).ok()?;
    // SAFETY: a credential that nobody else has.
    let (uid, gid, pid, net_config) = unsafe {
        let ids = (libc::ucred_geteuid(cred), libc::ucred_getegid(cred), libc::ucred_getpid(cred));
        let effective = sys::ucred_getprivset(cred, c"Effective".as_ptr());
        let net_config =
            !effective.is_null() && sys::priv_ismember(effective, c"sys_net_config".as_ptr()) != 0;
        libc::ucred_free(cred);
        (ids.0, ids.1, ids.2, net_config)
    };
    Some(PeerCred { uid, gid, pid, model: model(pid)?, net_config })
}

/// Where `psinfo_t` of proc(5) has `pr_dmodel` for a 64-bit reader, and its values.
const PR_DMODEL: u64 = 256;
const PR_MODEL_ILP32: u8 = 1;
const PR_MODEL_LP64: u8 = 2;

/// The data model of a process. Needs the privilege `proc_info` if it is another user's.
fn model(pid: libc::pid_t) -> Option<Model> {
    let mut model = [0];
    let info = File::open(format!("/proc/{pid}/psinfo")).ok()?;
    info.read_exact_at(&mut model, PR_DMODEL).ok()?;
    match model[0] {
        PR_MODEL_ILP32 => Some(Model::Ilp32),
        PR_MODEL_LP64 => Some(Model::Lp64),
        _ => None,
    }
}

/// A door as its callers hold it. Calls from many threads run in parallel.
#[derive(Debug)]
pub struct Client {
    door: File,
}

/// First guess at the size of a reply, in bytes; for a longer one the kernel maps memory.
const REPLY_SIZE: usize = 4096;

impl Client {
    /// Opens the door at `path`.
    ///
    /// Errors keep the raw errno of the system: ENOENT without a door there, ECONNREFUSED when its
    /// server is gone, EACCES without read permission.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Client> {
        let door = File::open(path)?;
        match target(&door) {
            // A file below a door that is gone is no door.
            None | Some(-1) => Err(io::Error::from_raw_os_error(libc::ECONNREFUSED)),
            Some(_) => Ok(Client { door }),
        }
    }

    /// Calls the door and waits for its answer.
    ///
    /// Errors keep the raw errno of door_call(3C): EBADF once the server is gone (open the door
    /// anew), E2BIG or ENOBUFS for a longer request than it takes, EAGAIN when it has no threads.
    pub fn call(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let mut buf = vec![0u8; REPLY_SIZE];
        let own: *mut c_char = buf.as_mut_ptr().cast();
        let mut arg = sys::Arg {
            data: request.as_ptr().cast_mut().cast(),
            data_size: request.len(),
            desc: null_mut(),
            desc_num: 0,
            rbuf: own,
            rsize: buf.len(),
        };
        // SAFETY: the request is read only; the buffer is as long as said.
        check(unsafe { sys::door_call(self.door.as_raw_fd(), &mut arg) })?;
        let reply = match arg.data.is_null() {
            true => &[],
            // SAFETY: that many bytes, in our buffer or in the kernel's.
            false => unsafe { std::slice::from_raw_parts(arg.data.cast::<u8>(), arg.data_size) },
        }
        .to_vec();
        if arg.rbuf != own {
            // SAFETY: memory that door_call mapped for this reply, which was copied.
            unsafe { libc::munmap(arg.rbuf.cast(), arg.rsize) };
        }
        Ok(reply)
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// -1 means that errno says why.
fn check(result: i32) -> io::Result<i32> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
