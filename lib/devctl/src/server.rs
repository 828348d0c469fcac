// SPDX-License-Identifier: CDDL-1.0
//! The kernel's half of the dialogue: device nodes as sockets, each connection a thread.
//!
//! What an open is and what an ioctl does is for a [`Kernel`] to say; here are connections, their
//! rights and their end.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use door::sock::{self, Listener, Threads};
use overlay_abi::errno::Errno;
use rustix::net::SocketType;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::proto::{Header, Op, Token, broken};
use crate::{MAX_COPY, Model, OpenFlags, PeerCred, Root};

pub use crate::mem::Fault;

/// Connections at a time to one node; beyond them an open gets EAGAIN.
const MAX_CONNECTIONS: usize = 1024;
/// How long a fresh connection may keep silent.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

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
#[derive(Debug)]
pub struct Server {
    _nodes: Vec<Threads>,
}

struct Shared {
    kernel: Arc<dyn Kernel>,
    opens: Mutex<HashMap<Token, Weak<Open>>>,
}

struct Open {
    handle: Box<dyn Handle>,
    token: Token,
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
        let start = |&(node, mode): &(&str, u32)| {
            let listener = Listener::bind(&root.path(node), SocketType::STREAM, mode)?;
            let (shared, node) = (Arc::clone(&shared), node.to_owned());
            // However a connection ends, that concerns nobody else.
            let serve = move |mut s: UnixStream| drop(shared.serve(&node, &mut s));
            let refuse = |mut s: UnixStream| {
                drop(
                    Header { value: Errno::EAGAIN.0, ..Header::new(Op::Opened) }.send_bare(&mut s),
                );
            };
            Threads::start(listener, MAX_CONNECTIONS, Arc::new(serve), Arc::new(refuse))
        };
        Ok(Server { _nodes: nodes.iter().map(start).collect::<io::Result<_>>()? })
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
                    let result = open.handle.ioctl(h.value as u32, h.addr, model, &memory);
                    let (errno, value) = result.map_or_else(|e| (e.0, 0), |v| (0, v));
                    Header { value: errno, addr: value as u32 as u64, ..Header::new(Op::Return) }
                        .send_bare(stream)?;
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
        let open = Arc::new(Open { handle, token });
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
        if let Some(last) = Arc::into_inner(open) {
            lock(&self.opens).remove(&last.token);
        }
    }
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
