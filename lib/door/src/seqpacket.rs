// SPDX-License-Identifier: CDDL-1.0
//! Doors over SOCK_SEQPACKET; the protocol is in the crate's essay.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, SocketType, recv, send, sockopt};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::sock::{self, Listener};
use crate::{MAX_REQUEST, Model, PeerCred};

const MAGIC: [u8; 4] = *b"DOOR";
const VERSION: u8 = 1;
const HELLO: usize = 8;
const WELCOME: usize = 16;
const REQUEST_HEADER: usize = 4;
const REPLY_HEADER: usize = 8;
/// Payload of one reply packet; well below the default send buffer of a socket, which bounds a
/// packet.
const CHUNK: usize = 64 * 1024;

/// Calls that run at the same time; further ones wait for a worker.
const WORKERS: usize = 16;
/// Connections held open; for a further one a silent one goes, or it is closed at once.
const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take to read its reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

const TOKEN_LISTENER: u64 = 0;
const TOKEN_STOP: u64 = 1;
const TOKEN_FIRST_CONNECTION: u64 = 2;

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a door calls: request bytes and caller to reply bytes.
pub type Handler = dyn Fn(&[u8], &PeerCred) -> Vec<u8> + Send + Sync;

/// The server of a door. Dropping it revokes the door: calls in progress end normally, the file
/// goes.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    epoll: OwnedFd,
    listener: Listener,
    stop: AtomicBool,
    stop_event: OwnedFd,
    instance: u64,
    handler: Arc<Handler>,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    connections: HashMap<u64, Connection>,
    /// Connections in all: the idle ones and those a worker owns.
    count: usize,
    last_token: u64,
}

impl Idle {
    /// Closes the connection that has not said a word for the longest time, if there is one: those
    /// who do cannot be kept out by those who do not.
    fn forget_silent(&mut self) {
        let silent = self.connections.iter().filter(|(_, c)| c.cred.is_none());
        if let Some(token) = silent.map(|(token, _)| *token).min() {
            self.connections.remove(&token);
            self.count -= 1;
        }
    }
}

struct Connection {
    fd: OwnedFd,
    /// None until the hello has come.
    cred: Option<PeerCred>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Server {
    /// Creates the door at `path` with the permission bits `mode`; a caller needs write permission
    /// on it.
    ///
    /// The handler runs on up to 16 threads at once. The file of a server that was killed is taken
    /// over. Errors name the path: AddrInUse if a server answers there, AlreadyExists if something
    /// else lies there.
    pub fn create(path: impl AsRef<Path>, mode: u32, handler: Arc<Handler>) -> io::Result<Server> {
        let listener = Listener::bind(path.as_ref(), SocketType::SEQPACKET, mode)?;
        rustix::io::ioctl_fionbio(&listener, true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let stop_event = eventfd(0, EventfdFlags::CLOEXEC)?;
        let mut instance = [0; 8];
        getrandom(&mut instance, GetRandomFlags::empty())?;
        let token = |t| epoll::EventData::new_u64(t);
        epoll::add(&epoll, &listener, token(TOKEN_LISTENER), ONE_SHOT)?;
        // Level-triggered and never read: it wakes every worker.
        epoll::add(&epoll, &stop_event, token(TOKEN_STOP), epoll::EventFlags::IN)?;
        let shared = Arc::new(Shared {
            epoll,
            listener,
            stop: AtomicBool::new(false),
            stop_event,
            instance: u64::from_le_bytes(instance),
            handler,
            idle: Mutex::new(Idle { last_token: TOKEN_FIRST_CONNECTION, ..Idle::default() }),
        });
        let mut server = Server { shared, workers: Vec::new() };
        for n in 0..WORKERS {
            let shared = Arc::clone(&server.shared);
            let worker = std::thread::Builder::new()
                .name(format!("door-{n}"))
                .spawn(move || shared.work())?;
            server.workers.push(worker);
        }
        Ok(server)
    }

    /// Where the door is.
    pub fn path(&self) -> &Path {
        self.shared.listener.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let _ = rustix::io::write(&self.shared.stop_event, &1u64.to_ne_bytes());
        let me = std::thread::current().id();
        for w in self.workers.drain(..) {
            // A handler may hold the last reference to its own server.
            if w.thread().id() != me {
                let _ = w.join();
            }
        }
    }
}

const ONE_SHOT: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::ONESHOT);

impl Shared {
    fn work(&self) {
        let mut request = vec![0; REQUEST_HEADER + MAX_REQUEST + 1];
        let mut events = Vec::with_capacity(1);
        while !self.stop.load(Ordering::Acquire) {
            events.clear();
            let wait = || epoll::wait(&self.epoll, spare_capacity(&mut events), None);
            if retry_on_intr(wait).is_err() {
                return;
            }
            for event in &events {
                match event.data.u64() {
                    TOKEN_STOP => {}
                    TOKEN_LISTENER => self.accept(),
                    token => self.serve(token, &mut request),
                }
            }
        }
    }

    fn accept(&self) {
        match self.listener.accept() {
            Ok(fd) => {
                let mut idle = lock(&self.idle);
                if idle.count >= MAX_CONNECTIONS {
                    idle.forget_silent();
                }
                if idle.count < MAX_CONNECTIONS
                    && sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(REPLY_TIMEOUT))
                        .is_ok()
                {
                    idle.last_token += 1;
                    let token = idle.last_token;
                    let data = epoll::EventData::new_u64(token);
                    // The lock is held until the connection is in the table, where its first event
                    // looks for it.
                    if epoll::add(&self.epoll, &fd, data, ONE_SHOT).is_ok() {
                        idle.count += 1;
                        idle.connections.insert(token, Connection { fd, cred: None });
                    }
                }
            }
            Err(e) if e.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => {}
            // Out of descriptors: the connection stays in the backlog, and asking at once again
            // would spin.
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
        let data = epoll::EventData::new_u64(TOKEN_LISTENER);
        let _ = epoll::modify(&self.epoll, &self.listener, data, ONE_SHOT);
    }

    fn serve(&self, token: u64, request: &mut [u8]) {
        let Some(mut connection) = lock(&self.idle).connections.remove(&token) else { return };
        let keep = connection.packet(self, request).is_ok();
        let mut idle = lock(&self.idle);
        if keep {
            let data = epoll::EventData::new_u64(token);
            if epoll::modify(&self.epoll, &connection.fd, data, ONE_SHOT).is_ok() {
                idle.connections.insert(token, connection);
                return;
            }
        }
        idle.count -= 1;
    }
}

impl Connection {
    /// Answers one packet; an error ends the connection.
    fn packet(&mut self, door: &Shared, buf: &mut [u8]) -> rustix::io::Result<()> {
        let n = match retry_on_intr(|| recv(&self.fd, &mut *buf, RecvFlags::DONTWAIT)) {
            Err(Errno::AGAIN) => return Ok(()),
            r => r?.0,
        };
        let packet = buf.get(..n).unwrap_or_default();
        let Some(cred) = &self.cred else {
            let model = parse_hello(packet).ok_or(Errno::PROTO)?;
            self.cred = Some(sock::peer(&self.fd, model).map_err(|_| Errno::PROTO)?);
            return send_packet(&self.fd, &welcome(door.instance));
        };
        let request = parse_request(packet).ok_or(Errno::PROTO)?;
        let reply = (door.handler)(request, cred);
        let (first, rest) = reply.split_at(reply.len().min(CHUNK));
        let mut packet = Vec::with_capacity(REPLY_HEADER + first.len());
        packet.extend_from_slice(&(reply.len() as u64).to_le_bytes());
        packet.extend_from_slice(first);
        send_packet(&self.fd, &packet)?;
        rest.chunks(CHUNK).try_for_each(|chunk| send_packet(&self.fd, chunk))
    }
}

fn send_packet(fd: impl AsFd, bytes: &[u8]) -> rustix::io::Result<()> {
    retry_on_intr(|| send(&fd, bytes, SendFlags::NOSIGNAL)).map(|_| ())
}

fn hello(model: Model) -> [u8; HELLO] {
    let mut p = [0; HELLO];
    p[..4].copy_from_slice(&MAGIC);
    p[4] = VERSION;
    p[5] = model as u8;
    p
}

fn parse_hello(p: &[u8]) -> Option<Model> {
    let p: &[u8; HELLO] = p.try_into().ok()?;
    (p[..4] == MAGIC && p[4] == VERSION).then(|| Model::from_byte(p[5])).flatten()
}

fn welcome(instance: u64) -> [u8; WELCOME] {
    let mut p = [0; WELCOME];
    p[..4].copy_from_slice(&MAGIC);
    p[4] = VERSION;
    p[8..].copy_from_slice(&instance.to_le_bytes());
    p
}

fn parse_welcome(p: &[u8]) -> Option<u64> {
    let (head, instance) = p.split_first_chunk::<8>()?;
    (head[..4] == MAGIC && head[4] == VERSION).then_some(())?;
    Some(u64::from_le_bytes(instance.try_into().ok()?))
}

fn parse_request(p: &[u8]) -> Option<&[u8]> {
    let (len, bytes) = p.split_first_chunk::<REQUEST_HEADER>()?;
    (bytes.len() <= MAX_REQUEST && bytes.len() == u32::from_le_bytes(*len) as usize)
        .then_some(bytes)
}

/// A door as its callers hold it. Calls from many threads run in parallel.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    model: Model,
    instance: u64,
    idle: Mutex<Vec<OwnedFd>>,
}

impl Client {
    /// Opens the door at `path` as a process of this program's data model.
    ///
    /// Errors keep the raw errno of the system: ENOENT without a door there, ECONNREFUSED when its
    /// server is gone, EACCES without write permission, EPROTO if what answers is no door, EAGAIN
    /// if it takes no more callers.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Client> {
        Self::open_as(path, Model::NATIVE)
    }

    /// Like [`Client::open`], for messages laid out in another data model.
    pub fn open_as(path: impl AsRef<Path>, model: Model) -> io::Result<Client> {
        let path = path.as_ref().to_owned();
        let (fd, instance) = connect(&path, model)?;
        Ok(Client { path, model, instance, idle: Mutex::new(vec![fd]) })
    }

    /// Calls the door and waits for its answer.
    ///
    /// Errors keep a raw errno as door_call(3C) has it: EBADF once the server is gone (open the
    /// door anew), E2BIG for more than [`MAX_REQUEST`] bytes, EAGAIN when the server takes no more
    /// callers.
    pub fn call(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        if request.len() > MAX_REQUEST {
            return Err(Errno::TOOBIG.into());
        }
        let idle = lock(&self.idle).pop();
        let fd = match idle {
            Some(fd) => fd,
            None => match connect(&self.path, self.model) {
                Ok((fd, instance)) if instance == self.instance => fd,
                Err(e) if e.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => return Err(e),
                // Gone, or another life of the server than the one this door was opened on.
                _ => return Err(Errno::BADF.into()),
            },
        };
        let reply = exchange(&fd, request).map_err(|e| match e {
            Errno::NOMEM => e,
            _ => Errno::BADF,
        })?;
        lock(&self.idle).push(fd);
        Ok(reply)
    }
}

/// The process that serves the door at `path`, whether it answers or not; none if there is no server.
pub fn server(path: impl AsRef<Path>) -> Option<i32> {
    let fd = sock::connect(path.as_ref(), SocketType::SEQPACKET).ok()?;
    sock::peer(&fd, Model::NATIVE).ok().map(|server| server.pid)
}

fn connect(path: &Path, model: Model) -> io::Result<(OwnedFd, u64)> {
    let fd = sock::connect(path, SocketType::SEQPACKET)?;
    let closed = |e| if matches!(e, Errno::PIPE | Errno::CONNRESET) { Errno::AGAIN } else { e };
    send_packet(&fd, &hello(model)).map_err(closed)?;
    let mut buf = [0; WELCOME + 1];
    let n = retry_on_intr(|| recv(&fd, &mut buf[..], RecvFlags::empty())).map_err(closed)?.0;
    if n == 0 {
        return Err(Errno::AGAIN.into());
    }
    let instance = buf.get(..n).and_then(parse_welcome).ok_or(Errno::PROTO)?;
    Ok((fd, instance))
}

fn exchange(fd: &OwnedFd, request: &[u8]) -> rustix::io::Result<Vec<u8>> {
    let mut packet = Vec::with_capacity(REQUEST_HEADER + request.len());
    packet.extend_from_slice(&(request.len() as u32).to_le_bytes());
    packet.extend_from_slice(request);
    send_packet(fd, &packet)?;
    let mut buf = vec![0; REPLY_HEADER + CHUNK];
    let packet = |buf: &mut [u8]| {
        let n = retry_on_intr(|| recv(fd, &mut *buf, RecvFlags::empty()))?.0;
        if n == 0 { Err(Errno::CONNRESET) } else { Ok(n) }
    };
    let n = packet(&mut buf)?;
    let (total, first) =
        buf.get(..n).and_then(|p| p.split_first_chunk::<REPLY_HEADER>()).ok_or(Errno::PROTO)?;
    let total = usize::try_from(u64::from_le_bytes(*total)).map_err(|_| Errno::NOMEM)?;
    let mut reply = first.to_vec();
    while reply.len() < total {
        let n = packet(&mut buf)?;
        reply.extend_from_slice(buf.get(..n).unwrap_or_default());
    }
    if reply.len() == total { Ok(reply) } else { Err(Errno::PROTO) }
}
