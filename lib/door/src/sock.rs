// SPDX-License-Identifier: CDDL-1.0
//! Unix sockets with a name in the file system, as every stand-in of ours uses them.
//!
//! Four things the plain calls do not give: names longer than the 107 bytes of `sun_path` (roots of
//! tests lie deep), take-over of the file a killed server left behind without a race between two
//! that try, appearance of the file only when connections are already accepted, and an end of a
//! server in which no thread is left behind.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::{Model, PeerCred};

/// A listening socket and its file. Dropping it removes the file, unless another server has it by
/// then.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    path: PathBuf,
    inode: (u64, u64),
}

/// A directory held open and the name of a socket in it.
struct Place {
    dir: OwnedFd,
    name: OsString,
}

impl Place {
    fn of(path: &Path) -> io::Result<Place> {
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"))?;
        let dir = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        let dir =
            fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Place { dir, name: name.to_owned() })
    }

    /// Through /proc/self/fd the length of the directory's own name does not count.
    fn addr(&self, name: &OsStr) -> io::Result<SocketAddrUnix> {
        let short = Path::new("/proc/self/fd").join(self.dir.as_raw_fd().to_string()).join(name);
        Ok(SocketAddrUnix::new(&short)?)
    }

    fn connect(&self, kind: SocketType) -> io::Result<OwnedFd> {
        let fd = net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        rustix::io::retry_on_intr(|| net::connect(&fd, &self.addr(&self.name).map_err(raw)?))?;
        Ok(fd)
    }
}

fn raw(e: io::Error) -> Errno {
    e.raw_os_error().map_or(Errno::INVAL, Errno::from_raw_os_error)
}

fn naming(path: &Path, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

/// A socket's file, held: it can be connected to as long as this lives, also by a process that may
/// not enter the directories above any more. Write permission on the socket itself counts.
#[derive(Debug)]
pub struct Found(OwnedFd);

impl Found {
    /// The socket at `path`. The error keeps its raw errno: ENOENT when there is no such file.
    pub fn at(path: &Path) -> io::Result<Found> {
        Ok(Found(fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Whether it is what `path` names now.
    pub fn is_at(&self, path: &Path) -> bool {
        let now = fs::stat(path);
        let ours = fs::fstat(&self.0);
        matches!((now, ours), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
    }

    /// Connects to it; errors as [`connect`].
    pub fn connect(&self, kind: SocketType) -> io::Result<OwnedFd> {
        let addr = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        let addr = SocketAddrUnix::new(addr)?;
        let fd = net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        rustix::io::retry_on_intr(|| net::connect(&fd, &addr))?;
        Ok(fd)
    }
}

/// Connects to the socket at `path`; the descriptor is blocking and close-on-exec.
///
/// The error keeps its raw errno: ENOENT when there is no such file, ECONNREFUSED when its server
/// is gone.
pub fn connect(path: &Path, kind: SocketType) -> io::Result<OwnedFd> {
    Place::of(path)?.connect(kind)
}

/// Credentials of the peer. For a client that is who called listen(2). `model` is what the peer
/// says it is.
pub fn peer(fd: impl AsFd, model: Model) -> io::Result<PeerCred> {
    let c = sockopt::socket_peercred(fd)?;
    Ok(PeerCred {
        uid: c.uid.as_raw(),
        gid: c.gid.as_raw(),
        pid: c.pid.as_raw_nonzero().get(),
        model,
        net_config: c.uid.is_root(),
    })
}

impl Listener {
    /// Creates the socket file with the permission bits `mode` (connecting takes write permission)
    /// and listens.
    ///
    /// A file whose server has died is replaced. Errors name the path: AddrInUse if a server
    /// answers there, AlreadyExists if the file is not a socket, else what the system said.
    pub fn bind(path: &Path, kind: SocketType, mode: u32) -> io::Result<Listener> {
        Self::bind_at(path, kind, mode).map_err(|e| naming(path, e))
    }

    fn bind_at(path: &Path, kind: SocketType, mode: u32) -> io::Result<Listener> {
        let place = Place::of(path)?;
        // Two servers that find the same stale file must not both replace it.
        rustix::io::retry_on_intr(|| fs::flock(&place.dir, FlockOperation::LockExclusive))?;
        match fs::statat(&place.dir, &place.name, fs::AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
            Ok(st) if fs::FileType::from_raw_mode(st.st_mode) != fs::FileType::Socket => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "exists and is not a socket",
                ));
            }
            Ok(_) => match place.connect(kind).map_err(raw) {
                Err(Errno::CONNREFUSED) => {}
                Ok(_) | Err(Errno::PROTOTYPE | Errno::AGAIN) => {
                    return Err(io::Error::new(
                        io::ErrorKind::AddrInUse,
                        "in use by another server",
                    ));
                }
                Err(e) => return Err(e.into()),
            },
        }
        // Under a temporary name first: nobody can find a socket that does not listen yet.
        let mut tmp = OsString::from(".");
        tmp.push(&place.name);
        tmp.push(".new");
        let _ = fs::unlinkat(&place.dir, &tmp, fs::AtFlags::empty());
        let fd = net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        net::bind(&fd, &place.addr(&tmp)?)?;
        let ready = || -> rustix::io::Result<fs::Stat> {
            fs::chmodat(&place.dir, &tmp, Mode::from_raw_mode(mode), fs::AtFlags::empty())?;
            net::listen(&fd, 128)?;
            fs::renameat(&place.dir, &tmp, &place.dir, &place.name)?;
            fs::statat(&place.dir, &place.name, fs::AtFlags::SYMLINK_NOFOLLOW)
        };
        match ready() {
            Ok(st) => Ok(Listener { fd, path: path.to_owned(), inode: (st.st_dev, st.st_ino) }),
            Err(e) => {
                let _ = fs::unlinkat(&place.dir, &tmp, fs::AtFlags::empty());
                Err(e.into())
            }
        }
    }

    /// Takes a connection; blocking and close-on-exec, whatever the listener is.
    pub fn accept(&self) -> io::Result<OwnedFd> {
        Ok(rustix::io::retry_on_intr(|| net::accept_with(&self.fd, SocketFlags::CLOEXEC))?)
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file, unless another server has it by now. Who has [`Found`] it goes on
    /// connecting.
    fn unlink(&self) {
        let Ok(place) = Place::of(&self.path) else { return };
        let _ = rustix::io::retry_on_intr(|| fs::flock(&place.dir, FlockOperation::LockExclusive));
        if let Ok(st) = fs::statat(&place.dir, &place.name, fs::AtFlags::SYMLINK_NOFOLLOW)
            && (st.st_dev, st.st_ino) == self.inode
        {
            let _ = fs::unlinkat(&place.dir, &place.name, fs::AtFlags::empty());
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.unlink();
    }
}

/// What a [`Threads`] does with a connection; it ends with the return.
pub type Serve = dyn Fn(UnixStream) + Send + Sync;

/// A thread for each connection to a stream listener, up to a limit.
///
/// Dropping it removes the socket, shuts all connections down and waits for their threads.
#[derive(Debug)]
pub struct Threads {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    listener: Listener,
    limit: usize,
    serve: Arc<Serve>,
    refuse: Arc<Serve>,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    stopping: bool,
    last: u64,
    connections: HashMap<u64, (UnixStream, JoinHandle<()>)>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Threads {
    /// Serves connections of a listener of type STREAM. `refuse` gets those over the limit, on the
    /// accepting thread: it must not block.
    pub fn start(
        listener: Listener,
        limit: usize,
        serve: Arc<Serve>,
        refuse: Arc<Serve>,
    ) -> io::Result<Threads> {
        let shared = Arc::new(Shared { listener, limit, serve, refuse, live: Mutex::default() });
        let accepting = Arc::clone(&shared);
        let acceptor =
            std::thread::Builder::new().name("accept".into()).spawn(move || accepting.accept())?;
        Ok(Threads { shared, acceptor: Some(acceptor) })
    }

    /// Removes the socket's file: it is found no more. Who has found it is served as before.
    pub fn hide(&self) {
        self.shared.listener.unlink();
    }

    /// Whether nobody is served; then nobody will be.
    pub fn stop_if_idle(&self) -> bool {
        let mut live = self.shared.live();
        live.stopping = live.connections.is_empty();
        live.stopping
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Makes accept(2) fail at once.
        let _ = net::shutdown(&self.shared.listener, net::Shutdown::Both);
        if let Some(t) = self.acceptor.take() {
            let _ = t.join();
        }
        let live = {
            let mut live = self.shared.live();
            live.stopping = true;
            std::mem::take(&mut live.connections)
        };
        for (stream, _) in live.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        for (_, thread) in live.into_values() {
            let _ = thread.join();
        }
    }
}

/// Takes a connection out of the table, also when serving it panics: the peer reads an end then,
/// instead of nothing for ever.
struct Leave<'a>(&'a Shared, u64);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.live().connections.remove(&self.1);
    }
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: Arc<Shared>) {
        loop {
            match self.listener.accept() {
                // Without a thread the connection closes.
                Ok(fd) => drop(self.connection(UnixStream::from(fd))),
                Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => return,
                // Out of descriptors, mostly; asking at once again would spin.
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn connection(self: &Arc<Shared>, stream: UnixStream) -> io::Result<()> {
        let mut live = self.live();
        if live.stopping {
            return Ok(());
        }
        if live.connections.len() >= self.limit {
            drop(live);
            (self.refuse)(stream);
            return Ok(());
        }
        live.last += 1;
        let id = live.last;
        let ours = stream.try_clone()?;
        let shared = Arc::clone(self);
        // The lock keeps the thread from taking its entry out before it is in.
        let thread = std::thread::Builder::new().name("connection".into()).spawn(move || {
            let _leave = Leave(&shared, id);
            (shared.serve)(stream);
        })?;
        live.connections.insert(id, (ours, thread));
        Ok(())
    }
}
