// SPDX-License-Identifier: CDDL-1.0
//! The kernel's half of the dialogue: device nodes as sockets, each connection a thread.
//!
//! What an open is and what an ioctl does is for a [`Kernel`] to say; here are connections, their
//! rights and their end.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::{Duration, Instant};

use door::sock::{self, Listener, Threads};
use overlay_abi::errno::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SocketType;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::proto::{Header, Op, Part, Token, broken};
use crate::{FLUSH_READ, Got, I_FLUSH, MAX_COPY, Message, Model, OpenFlags, PeerCred, Root};

pub use crate::mem::Fault;

/// Connections at a time to one node; beyond them an open gets EAGAIN.
const MAX_CONNECTIONS: usize = 1024;
/// How long a fresh connection may keep silent.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether the reader of a silent stream is still there.
const CLOSED_YET: Duration = Duration::from_millis(100);
/// How long a node that is removed waits for its streams to be hung up.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Bytes of messages that are kept for a program when the node of its stream is removed.
const LEFT: usize = 1 << 20;

/// What stands behind the nodes.
pub trait Kernel: Send + Sync + 'static {
    /// open(2) of `node` (as given to [`Server::start`]) by `cred`. The open is closed by dropping
    /// the handle.
    fn open(&self, node: &str, flags: OpenFlags, cred: &PeerCred)
    -> Result<Box<dyn Handle>, Errno>;
}

/// One open.
pub trait Handle: Send + Sync {
    /// ioctl(2); many run at once. `mem` is the caller's memory, and is gone when this returns.
    fn ioctl(&self, cmd: u32, arg: u64, model: Model, mem: &dyn UserMem) -> Result<i32, Errno>;

    /// Its messages, if it is a stream.
    fn messages(&self) -> Option<&dyn Messages> {
        None
    }
}

/// The messages of a stream.
pub trait Messages: Send + Sync {
    /// putmsg(2).
    fn put(&self, m: &Message) -> Result<(), Errno>;
    /// getmsg(2) without waiting.
    fn get(&self) -> Result<Got, Errno>;
    /// Waits until [`Messages::get`] has something to say, at most so long.
    fn wait(&self, patience: Duration);
    /// Ends such waits.
    fn wake(&self);
}

/// Memory of the process that called. At most [`MAX_COPY`] bytes at once; more is a fault.
pub trait UserMem: Sync {
    /// Fills `buf` from the caller's `addr`.
    fn copyin(&self, addr: u64, buf: &mut [u8]) -> Result<(), Fault>;
    /// Stores `bytes` at the caller's `addr`.
    fn copyout(&self, addr: u64, bytes: &[u8]) -> Result<(), Fault>;
}

/// Serves nodes until dropped. Dropping removes them, ends all connections (programs get EIO),
/// waits for the ioctls that run and closes every open.
pub struct Server {
    root: Root,
    shared: Arc<Shared>,
    nodes: Mutex<HashMap<String, Threads>>,
    /// Of nodes that were removed, while programs have them open.
    hidden: Mutex<Vec<Threads>>,
}

struct Shared {
    kernel: Arc<dyn Kernel>,
    opens: Mutex<HashMap<Token, Weak<Open>>>,
}

struct Open {
    behind: RwLock<Behind>,
    node: String,
    token: Token,
    /// Flushes of the read side. Held over each, and over taking a message; `behind` comes first.
    flushes: Mutex<u64>,
    pumps: Arc<Pumps>,
}

/// What is behind an open.
enum Behind {
    Kernel(Box<dyn Handle>),
    /// The node was removed: nothing but these, for a reader, and the hang-up.
    Gone(Mutex<VecDeque<Message>>),
}

/// The connections of an open that carry messages.
#[derive(Default)]
struct Pumps {
    running: Mutex<usize>,
    ended: Condvar,
    /// The program has closed: they are to end.
    ending: AtomicBool,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Creates the `nodes` (path on the simulated host, permission bits) under `root`, whose
    /// directories must exist, and serves them. An error names the node: AddrInUse if another
    /// server has it.
    pub fn start(
        root: &Root,
        nodes: &[(&str, u32)],
        kernel: Arc<dyn Kernel>,
    ) -> io::Result<Server> {
        let shared = Arc::new(Shared { kernel, opens: Mutex::default() });
        let (root, served, hidden) = (root.clone(), Mutex::default(), Mutex::default());
        let server = Server { root, shared, nodes: served, hidden };
        nodes.iter().try_for_each(|(node, mode)| server.add(node, *mode))?;
        Ok(server)
    }

    /// Creates a node more. Nothing if there is one that is ours.
    pub fn add(&self, node: &str, mode: u32) -> io::Result<()> {
        let mut nodes = lock(&self.nodes);
        if nodes.contains_key(node) {
            return Ok(());
        }
        let listener = Listener::bind(&self.root.path(node), SocketType::STREAM, mode)?;
        let (shared, name) = (Arc::clone(&self.shared), node.to_owned());
        // However a connection ends, that concerns nobody else.
        let serve = move |mut s: UnixStream| drop(shared.serve(&name, &mut s));
        let refuse = |mut s: UnixStream| {
            drop(Header { value: Errno::EAGAIN.0, ..Header::new(Op::Opened) }.send_bare(&mut s));
        };
        let threads = Threads::start(listener, MAX_CONNECTIONS, Arc::new(serve), Arc::new(refuse))?;
        nodes.insert(node.to_owned(), threads);
        Ok(())
    }

    /// Removes a node. Its opens are closed, after the ioctls that run; what programs have of them
    /// says ENXIO from then on, and who reads a stream gets what was left, then the hang-up. Streams
    /// that the driver has not hung up have a moment for that first.
    pub fn remove(&self, node: &str) {
        let Some(threads) = lock(&self.nodes).remove(node) else { return };
        threads.hide();
        let theirs = |open: &Arc<Open>| open.node == node;
        let opens: Vec<_> = lock(&self.shared.opens).values().filter_map(Weak::upgrade).collect();
        let until = Instant::now() + LAST_WORDS;
        opens.into_iter().filter(theirs).for_each(|open| open.revoke(until));
        let mut hidden = lock(&self.hidden);
        hidden.push(threads);
        hidden.retain(|threads| !threads.stop_if_idle());
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(lock(&self.nodes).keys()).finish()
    }
}

impl Shared {
    fn serve(&self, node: &str, stream: &mut UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(HELLO_TIMEOUT))?;
        let hello = Header::receive(stream)?;
        let model = hello.model().ok_or_else(broken)?;
        let cred = sock::peer(&*stream, model)?;
        let open = match (hello.op, hello.len) {
            (Op::Open, 0) => self.open(node, OpenFlags(hello.value as u32), &cred),
            (Op::Join, 16) => {
                let mut token = Token::default();
                stream.read_exact(&mut token)?;
                self.join(&token)
            }
            _ => return Err(broken()),
        };
        let open = match open {
            Ok(open) => open,
            Err(e) => return Header { value: e.0, ..Header::new(Op::Opened) }.send_bare(stream),
        };
        Header::new(Op::Opened).send(stream, &open.token)?;
        stream.set_read_timeout(None)?;
        loop {
            let h = Header::receive(stream)?;
            match (h.op, h.len) {
                (Op::Ioctl, 0) => {
                    let memory = Remote(Mutex::new(Some(stream.try_clone()?)));
                    let result = open.ioctl(h.value as u32, h.addr, model, &memory);
                    let (errno, value) = result.map_or_else(|e| (e.0, 0), |v| (0, v));
                    Header { value: errno, addr: value as u32 as u64, ..Header::new(Op::Return) }
                        .send_bare(stream)?;
                }
                (Op::Putmsg, _) => {
                    let mut bytes = vec![0; h.len as usize];
                    stream.read_exact(&mut bytes)?;
                    let m = Part::decode(&h, bytes).ok_or_else(broken)?;
                    let done = open.with_messages(|s| s.put(&m));
                    returned(done).send_bare(stream)?;
                }
                (Op::Read, 0) => {
                    if open.with_messages(|_| Ok(())) == Err(Errno::ENOSTR) {
                        returned(Err(Errno::ENOSTR)).send_bare(stream)?;
                        continue;
                    }
                    let pumps = Arc::clone(&open.pumps);
                    // Before the program can close.
                    *lock(&pumps.running) += 1;
                    let pumped =
                        returned(Ok(())).send_bare(stream).and_then(|()| open.pump(stream));
                    // Who waits for us wants to be the last that has it.
                    drop(open);
                    *lock(&pumps.running) -= 1;
                    pumps.ended.notify_all();
                    return pumped;
                }
                (Op::Close, 0) => {
                    self.close(open);
                    return Header::new(Op::Closed).send_bare(stream);
                }
                _ => return Err(broken()),
            }
        }
    }

    fn open(&self, node: &str, flags: OpenFlags, cred: &PeerCred) -> Result<Arc<Open>, Errno> {
        let mut token = Token::default();
        getrandom(&mut token, GetRandomFlags::empty()).map_err(|_| Errno::EAGAIN)?;
        let handle = self.kernel.open(node, flags, cred)?;
        let (flushes, pumps) = Default::default();
        let behind = RwLock::new(Behind::Kernel(handle));
        let open = Arc::new(Open { behind, node: node.to_owned(), token, flushes, pumps });
        let mut opens = lock(&self.opens);
        opens.retain(|_, open| open.strong_count() > 0);
        opens.insert(token, Arc::downgrade(&open));
        Ok(open)
    }

    /// Whoever knows the token has the open, as whoever has a descriptor: also a process that is
    /// another user by now.
    fn join(&self, token: &Token) -> Result<Arc<Open>, Errno> {
        lock(&self.opens).get(token).and_then(Weak::upgrade).ok_or(Errno::EBADF)
    }

    fn close(&self, open: Arc<Open>) {
        open.end_pumps();
        if let Some(last) = Arc::into_inner(open) {
            lock(&self.opens).remove(&last.token);
        }
    }
}

fn returned(r: Result<(), Errno>) -> Header {
    Header { value: r.err().map_or(0, |e| e.0), ..Header::new(Op::Return) }
}

impl Open {
    fn behind(&self) -> RwLockReadGuard<'_, Behind> {
        self.behind.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f` with the kernel's stream. ENXIO: the node was removed. ENOSTR: it is no stream.
    fn with_messages<R>(
        &self,
        f: impl FnOnce(&dyn Messages) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        match &*self.behind() {
            Behind::Kernel(handle) => f(handle.messages().ok_or(Errno::ENOSTR)?),
            Behind::Gone(_) => Err(Errno::ENXIO),
        }
    }

    fn ioctl(&self, cmd: u32, arg: u64, model: Model, mem: &dyn UserMem) -> Result<i32, Errno> {
        let behind = self.behind();
        let Behind::Kernel(handle) = &*behind else { return Err(Errno::ENXIO) };
        if cmd != I_FLUSH || arg & FLUSH_READ as u64 == 0 || handle.messages().is_none() {
            return handle.ioctl(cmd, arg, model, mem);
        }
        let mut flushes = lock(&self.flushes);
        let done = handle.ioctl(cmd, arg, model, mem);
        *flushes += u64::from(done.is_ok());
        done
    }

    /// Closes the kernel's side, and keeps for the program what it has not read.
    fn revoke(&self, until: Instant) {
        let _ = self.with_messages(|messages| {
            messages.wake();
            Ok(())
        });
        let mut behind = self.behind.write().unwrap_or_else(PoisonError::into_inner);
        let Behind::Kernel(handle) = &*behind else { return };
        let (mut left, mut bytes) = (VecDeque::new(), 0);
        while let Some(messages) = handle.messages()
            && bytes < LEFT
        {
            match messages.get() {
                Ok(Got::Message(m)) => {
                    bytes +=
                        [&m.control, &m.data].into_iter().flatten().map(Vec::len).sum::<usize>();
                    left.push_back(m);
                }
                Ok(Got::Nothing) if Instant::now() < until => {
                    messages.wait(until.saturating_duration_since(Instant::now()));
                }
                Ok(Got::Nothing | Got::Hangup) | Err(_) => break,
            }
        }
        *behind = Behind::Gone(Mutex::new(left));
    }

    /// The program has closed the connections that carry messages: waits until they have ended.
    fn end_pumps(&self) {
        self.pumps.ending.store(true, Ordering::SeqCst);
        let mut running = lock(&self.pumps.running);
        while *running > 0 {
            let _ = self.with_messages(|messages| {
                messages.wake();
                Ok(())
            });
            let woken = self.pumps.ended.wait_timeout(running, CLOSED_YET);
            running = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The next message for the program, and the flush after which it came.
    fn next(&self) -> (u64, Result<Got, Errno>) {
        let behind = self.behind();
        let flushes = lock(&self.flushes);
        let got = match &*behind {
            Behind::Kernel(handle) => handle.messages().map_or(Err(Errno::ENOSTR), |m| m.get()),
            Behind::Gone(left) => Ok(lock(left).pop_front().map_or(Got::Hangup, Got::Message)),
        };
        (*flushes, got)
    }

    /// Sends messages as they come, until the program has closed or the stream has ended. What the
    /// program does not read waits in the socket, and when that is full in the kernel.
    fn pump(&self, to: &mut UnixStream) -> io::Result<()> {
        loop {
            let (flushes, got) = self.next();
            match got {
                Ok(Got::Message(m)) => {
                    let (h, bytes) = Part::encode(Op::Message, &m);
                    Header { addr: flushes, ..h }.send(to, &bytes)?;
                }
                Ok(Got::Nothing) => {
                    if self.pumps.ending.load(Ordering::SeqCst) || closed(to)? {
                        return Ok(());
                    }
                    let _ = self.with_messages(|messages| {
                        messages.wait(CLOSED_YET);
                        Ok(())
                    });
                }
                Ok(Got::Hangup) => return Header::new(Op::Hangup).send_bare(to),
                Err(e) => {
                    return Header { value: e.0, ..Header::new(Op::Hangup) }.send_bare(to);
                }
            }
        }
    }
}

/// Whether the other end is closed. It has nothing to say.
fn closed(socket: &UnixStream) -> io::Result<bool> {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&Timespec::default()))? > 0)
}

/// The memory of the process at the other end; None once it broke the protocol or went away.
struct Remote(Mutex<Option<UnixStream>>);

impl Remote {
    /// `ask` gets the answer or fails the connection for good.
    fn ask(
        &self,
        ask: impl FnOnce(&mut UnixStream) -> io::Result<Result<(), Fault>>,
    ) -> Result<(), Fault> {
        let mut stream = lock(&self.0);
        let answer = stream.as_mut().map(ask);
        match answer {
            Some(Ok(result)) => result,
            Some(Err(_)) => {
                if let Some(s) = stream.take() {
                    // The ioctl runs on to its end, and its connection then is found dead.
                    let _ = s.shutdown(Shutdown::Both);
                }
                Err(Fault)
            }
            None => Err(Fault),
        }
    }
}

impl UserMem for Remote {
    fn copyin(&self, addr: u64, buf: &mut [u8]) -> Result<(), Fault> {
        if buf.len() > MAX_COPY {
            return Err(Fault);
        }
        self.ask(|stream| {
            Header { addr, len: buf.len() as u32, ..Header::new(Op::Copyin) }.send_bare(stream)?;
            let h = Header::receive(stream)?;
            match (h.op, h.value, h.len as usize) {
                (Op::Data, 0, len) if len == buf.len() => stream.read_exact(buf).map(Ok),
                (Op::Data, 1, 0) => Ok(Err(Fault)),
                _ => Err(broken()),
            }
        })
    }

    fn copyout(&self, addr: u64, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.len() > MAX_COPY {
            return Err(Fault);
        }
        self.ask(|stream| {
            Header { addr, ..Header::new(Op::Copyout) }.send(stream, bytes)?;
            let h = Header::receive(stream)?;
            match (h.op, h.value, h.len) {
                (Op::Copied, 0, 0) => Ok(Ok(())),
                (Op::Copied, 1, 0) => Ok(Err(Fault)),
                _ => Err(broken()),
            }
        })
    }
}
