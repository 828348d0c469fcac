// SPDX-License-Identifier: CDDL-1.0
//! Sending datagrams through Linux sockets, many at a time.
//!
//! ```text
//!   ksocket_sendmblk ─► Sender ─ queue (bounded) ─► sendmmsg; runs of equal size and
//!                                  ▲                destination as one UDP_SEGMENT
//!                                  └ flushed when the thread's Batch ends, or when it is full
//! ```
//!
//! A thread with a [`Batch`] open collects; any other sends at once. What the socket has no room
//! for stays in the queue, in order, and is sent by whoever comes next or by the writer thread;
//! while the queue is full a sender is told EWOULDBLOCK and keeps its message.

use super::errno;
use super::msg::Msg;
use super::offload::HEADROOM;
use super::underlay;
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::c_int;
use std::mem::{size_of, zeroed};
use std::net::SocketAddrV6;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

/// Datagrams a queue holds at most.
const QUEUE: usize = 128;
/// Limits of one UDP_SEGMENT send: segments (64 in kernels before 6.9) and bytes.
const SEGMENTS: usize = 64;
const SEGMENT_BYTES: usize = 65000;
/// Largest UDP payload over IPv4.
pub const MAX_PAYLOAD: usize = 65507;
/// Blocks of one message that are gathered; more are copied together first.
const BLOCKS: usize = 8;
/// Socket buffers asked for, in bytes.
const BUFFERS: c_int = 8 << 20;

/// One datagram on its way.
struct Datagram {
    msg: Msg,
    len: usize,
    to: libc::sockaddr_in6,
}

/// A UDP socket to send from.
pub struct Sender {
    queue: Mutex<Queue>,
    /// Cleared when the host turns out not to do UDP_SEGMENT.
    segments: AtomicBool,
}

struct Queue {
    /// `None` once closed.
    fd: Option<OwnedFd>,
    waiting: VecDeque<Datagram>,
}

/// What became of a message.
pub enum Outcome {
    /// Sent, or accepted to be.
    Sent,
    /// No room: the caller keeps it.
    Again(Msg),
    /// Refused with an illumos error number, and freed.
    Failed(c_int),
}

/// A new dual-stack UDP socket with large buffers. Errors are illumos numbers.
pub fn socket() -> Result<OwnedFd, c_int> {
    // SAFETY: socket has no preconditions; a descriptor that it returns is ours.
    let fd = unsafe {
        let fd = libc::socket(
            libc::AF_INET6,
            libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            0,
        );
        if fd < 0 {
            return Err(errno::last());
        }
        OwnedFd::from_raw_fd(fd)
    };
    set(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
    for (force, plain) in
        [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
    {
        if set(&fd, libc::SOL_SOCKET, force, BUFFERS).is_err() {
            set(&fd, libc::SOL_SOCKET, plain, BUFFERS)?;
        }
    }
    Ok(fd)
}

/// setsockopt with an int. Errors are illumos numbers.
pub fn set(fd: &impl AsRawFd, level: c_int, option: c_int, value: c_int) -> Result<(), c_int> {
    // SAFETY: the value is an int of this frame.
    let r = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    if r == 0 { Ok(()) } else { Err(errno::last()) }
}

/// Binds. Errors are illumos numbers.
pub fn bind(fd: &impl AsRawFd, to: &libc::sockaddr_in6) -> Result<(), c_int> {
    // SAFETY: the address outlives the call and is as long as said.
    let r = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            std::ptr::from_ref(to).cast(),
            size_of::<libc::sockaddr_in6>() as libc::socklen_t,
        )
    };
    if r == 0 { Ok(()) } else { Err(errno::last()) }
}

/// The address a socket is bound to.
pub fn local(fd: &impl AsRawFd) -> Result<SocketAddrV6, c_int> {
    // SAFETY: zeroes are a valid sockaddr_in6, the places are of this frame.
    unsafe {
        let mut sa: libc::sockaddr_in6 = zeroed();
        let mut len = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        if libc::getsockname(fd.as_raw_fd(), (&raw mut sa).cast(), &mut len) != 0 {
            return Err(errno::last());
        }
        Ok(from_linux(&sa))
    }
}

/// As the host wants it.
pub fn linux_addr(a: SocketAddrV6) -> libc::sockaddr_in6 {
    // SAFETY: zeroes are a valid sockaddr_in6.
    let mut sa: libc::sockaddr_in6 = unsafe { zeroed() };
    sa.sin6_family = libc::AF_INET6 as libc::sa_family_t;
    sa.sin6_port = a.port().to_be();
    sa.sin6_addr.s6_addr = a.ip().octets();
    sa.sin6_scope_id = a.scope_id();
    sa
}

/// From what the host gives.
pub fn from_linux(sa: &libc::sockaddr_in6) -> SocketAddrV6 {
    SocketAddrV6::new(sa.sin6_addr.s6_addr.into(), u16::from_be(sa.sin6_port), 0, sa.sin6_scope_id)
}

fn same(a: &libc::sockaddr_in6, b: &libc::sockaddr_in6) -> bool {
    a.sin6_addr.s6_addr == b.sin6_addr.s6_addr
        && a.sin6_port == b.sin6_port
        && a.sin6_scope_id == b.sin6_scope_id
}

impl Sender {
    /// Takes a socket over.
    pub fn new(fd: OwnedFd) -> Arc<Sender> {
        Arc::new(Sender {
            queue: Mutex::new(Queue { fd: Some(fd), waiting: VecDeque::with_capacity(QUEUE) }),
            segments: AtomicBool::new(true),
        })
    }

    /// Runs `f` on the descriptor; EBADF's illumos cousin ENOTSOCK once closed.
    pub fn with_fd<T>(&self, f: impl FnOnce(&OwnedFd) -> Result<T, c_int>) -> Result<T, c_int> {
        f(self.queue.lock().fd.as_ref().ok_or(errno::ENOTSOCK)?)
    }

    /// The descriptor number, for a thread that ends before [`Sender::close`].
    pub fn raw_fd(&self) -> Option<RawFd> {
        self.queue.lock().fd.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Sends what can be sent at once, then closes.
    pub fn close(&self) {
        let mut q = self.queue.lock();
        let _ = self.flush(&mut q);
        underlay::add(&underlay::OUT_ERRORS, q.waiting.len());
        q.fd = None;
        q.waiting.clear();
    }

    /// Sends a message of `len` bytes, or queues it for the end of the thread's batch. `wait`: for
    /// room, instead of [`Outcome::Again`].
    #[inline(always)]
    pub fn send(
        self: &Arc<Self>,
        mut msg: Msg,
        len: usize,
        to: &libc::sockaddr_in6,
        wait: bool,
    ) -> Outcome {
        if !msg.is_contiguous() && msg.slices().count() > BLOCKS {
            match msg.flatten(HEADROOM) {
                Some(m) => msg = m,
                None => return Outcome::Failed(errno::ENOMEM),
            }
        }
        let mut q = self.queue.lock();
        if DEPTH.get() == 0 || q.waiting.len() >= QUEUE || q.fd.is_none() {
            return self.send_now(&mut q, Datagram { msg, len, to: *to }, wait);
        }
        q.waiting.push_back(Datagram { msg, len, to: *to });
        drop(q);
        if LAST.get() != Arc::as_ptr(self) {
            self.mark();
        }
        Outcome::Sent
    }

    /// Has the thread's batch flush this sender.
    #[cold]
    fn mark(self: &Arc<Self>) {
        LAST.set(Arc::as_ptr(self));
        DIRTY.with_borrow_mut(|d| {
            if !d.iter().any(|s| Arc::ptr_eq(s, self)) {
                d.push(self.clone());
            }
        });
    }

    /// Sends without queueing; in a batch, makes room in the queue first.
    #[cold]
    fn send_now(self: &Arc<Self>, q: &mut Queue, d: Datagram, wait: bool) -> Outcome {
        let batched = DEPTH.get() > 0;
        let limit = if batched { QUEUE } else { 1 };
        while q.waiting.len() >= limit {
            let _ = self.flush(q);
            if q.waiting.len() < limit {
                break;
            }
            if !wait {
                return Outcome::Again(d.msg);
            }
            let Some(fd) = q.fd.as_ref().map(AsRawFd::as_raw_fd) else { break };
            writable(fd, 100);
        }
        if q.fd.is_none() {
            return Outcome::Failed(errno::ENOTSOCK);
        }
        q.waiting.push_back(d);
        if batched {
            self.mark();
            return Outcome::Sent;
        }
        loop {
            if let Err(e) = self.flush(q) {
                return Outcome::Failed(e);
            }
            match q.waiting.pop_back() {
                None => return Outcome::Sent,
                Some(d) if wait => {
                    q.waiting.push_back(d);
                    match q.fd.as_ref().map(AsRawFd::as_raw_fd) {
                        Some(fd) => writable(fd, 100),
                        None => return Outcome::Failed(errno::ENOTSOCK),
                    };
                }
                Some(d) => return Outcome::Again(d.msg),
            }
        }
    }

    /// Sends from the front of the queue until it is empty or the socket has no room. Datagrams
    /// that the host refuses are dropped; the last such error is the result.
    fn flush(&self, q: &mut Queue) -> Result<(), c_int> {
        let mut result = Ok(());
        // Whether runs may be sent as one, which a path with a small MTU refuses.
        let mut join = self.segments.load(Ordering::Relaxed);
        while let (Some(fd), false) = (q.fd.as_ref().map(AsRawFd::as_raw_fd), q.waiting.is_empty())
        {
            let mut out = Gather::new(&q.waiting, join);
            match out.send(fd) {
                Ok(done) => {
                    underlay::add(&underlay::OUT_DATAGRAMS, done);
                    underlay::add(&underlay::OUT_CALLS, 1);
                    q.waiting.drain(..done);
                }
                Err(libc::EINTR) => {}
                Err(libc::EAGAIN) => break,
                Err(e) => {
                    let first = out.first_run();
                    if first > 1 {
                        join = false;
                        if matches!(e, libc::EIO | libc::EOPNOTSUPP) {
                            self.segments.store(false, Ordering::Relaxed);
                        }
                    } else {
                        q.waiting.pop_front();
                        underlay::add(&underlay::OUT_ERRORS, 1);
                        result = Err(errno::from_host(e));
                    }
                }
            }
        }
        result
    }
}

/// Waits up to `ms` milliseconds until a socket has room.
fn writable(fd: RawFd, ms: c_int) {
    let mut p = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one pollfd of this frame.
    unsafe { libc::poll(&mut p, 1, ms) };
}

/// The arguments of one sendmmsg.
struct Gather {
    iovs: Vec<libc::iovec>,
    /// For each message: datagrams in it, iovecs in it, destination, segment size if there are
    /// several.
    runs: Vec<(usize, usize, libc::sockaddr_in6, Option<u16>)>,
}

/// Space for one UDP_SEGMENT control message, aligned.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 24]);

impl Gather {
    fn new(waiting: &VecDeque<Datagram>, join: bool) -> Gather {
        let mut g =
            Gather { iovs: Vec::with_capacity(waiting.len() * 2), runs: Vec::with_capacity(8) };
        let mut it = waiting.iter().peekable();
        while let Some(first) = it.next() {
            let before = g.iovs.len();
            g.add(first);
            let (mut count, mut bytes, mut last) = (1, first.len, first.len);
            while let Some(next) = it.peek()
                && join
                && last == first.len
                && first.len > 0
                && next.len <= first.len
                && next.len > 0
                && count < SEGMENTS
                && bytes + next.len <= SEGMENT_BYTES
                && same(&next.to, &first.to)
            {
                g.add(next);
                (count, bytes, last) = (count + 1, bytes + next.len, next.len);
                it.next();
            }
            let size = (count > 1).then_some(first.len as u16);
            g.runs.push((count, g.iovs.len() - before, first.to, size));
        }
        g
    }

    fn add(&mut self, d: &Datagram) {
        for s in d.msg.slices() {
            self.iovs
                .push(libc::iovec { iov_base: s.as_ptr().cast_mut().cast(), iov_len: s.len() });
        }
    }

    /// Datagrams in the first message.
    fn first_run(&self) -> usize {
        self.runs.first().map_or(0, |r| r.0)
    }

    /// The number of datagrams sent, or the host's error.
    fn send(&mut self, fd: RawFd) -> Result<usize, c_int> {
        let mut controls = vec![Control([0; 24]); self.runs.len()];
        let mut headers = Vec::with_capacity(self.runs.len());
        let mut at = self.iovs.as_mut_ptr();
        for ((_, iovs, to, size), control) in self.runs.iter_mut().zip(&mut controls) {
            // SAFETY: zeroes are a valid mmsghdr; all that it points to lives until the call below
            // returns.
            unsafe {
                let mut h: libc::mmsghdr = zeroed();
                h.msg_hdr.msg_name = std::ptr::from_mut(to).cast();
                h.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
                h.msg_hdr.msg_iov = at;
                h.msg_hdr.msg_iovlen = *iovs as _;
                at = at.add(*iovs);
                if let Some(size) = *size {
                    h.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
                    h.msg_hdr.msg_controllen = libc::CMSG_SPACE(2) as _;
                    let c = libc::CMSG_FIRSTHDR(&h.msg_hdr);
                    (*c).cmsg_level = libc::SOL_UDP;
                    (*c).cmsg_type = libc::UDP_SEGMENT;
                    (*c).cmsg_len = libc::CMSG_LEN(2) as _;
                    libc::CMSG_DATA(c).cast::<u16>().write_unaligned(size);
                }
                headers.push(h);
            }
        }
        // SAFETY: as many headers as said, all of them valid.
        let n = unsafe {
            libc::sendmmsg(
                fd,
                headers.as_mut_ptr(),
                headers.len() as _,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        match usize::try_from(n) {
            Ok(n) => Ok(self.runs[..n].iter().map(|r| r.0).sum()),
            Err(_) => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)),
        }
    }
}

thread_local! {
    /// Batches open on the thread.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// The sender that was used last: it is in `DIRTY`.
    static LAST: Cell<*const Sender> = const { Cell::new(std::ptr::null()) };
    /// Senders to flush at the end of the batch.
    static DIRTY: RefCell<Vec<Arc<Sender>>> = const { RefCell::new(Vec::new()) };
}

/// While the outermost of a thread lives its datagrams are collected; at its end they are sent.
#[must_use]
pub struct Batch(std::marker::PhantomData<*const ()>);

impl Batch {
    /// Opens a batch.
    pub fn open() -> Batch {
        DEPTH.set(DEPTH.get() + 1);
        Batch(std::marker::PhantomData)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() > 0 || LAST.get().is_null() {
            return;
        }
        LAST.set(std::ptr::null());
        let mut dirty = DIRTY.take();
        for s in dirty.drain(..) {
            let mut q = s.queue.lock();
            let _ = s.flush(&mut q);
            if !q.waiting.is_empty() {
                drop(q);
                writer(s);
            }
        }
        // Keeps the allocation.
        DIRTY.set(dirty);
    }
}

/// Who still has something queued.
type Stuck = mpsc::Sender<Arc<Sender>>;

static WRITER: Mutex<Option<(Stuck, JoinHandle<()>)>> = Mutex::new(None);

/// Has the writer thread send what is left in a queue as the socket gets room.
fn writer(s: Arc<Sender>) {
    let mut w = WRITER.lock();
    if w.is_none() {
        let (tx, rx) = mpsc::channel::<Arc<Sender>>();
        let run = move || {
            for s in rx {
                loop {
                    let fd = {
                        let mut q = s.queue.lock();
                        let _ = s.flush(&mut q);
                        match q.fd.as_ref() {
                            Some(fd) if !q.waiting.is_empty() => fd.as_raw_fd(),
                            _ => break,
                        }
                    };
                    // A descriptor that is closed meanwhile costs a wait, no more.
                    writable(fd, 10);
                }
            }
        };
        *w = std::thread::Builder::new().name("udp_writer".into()).spawn(run).ok().map(|t| (tx, t));
    }
    if let Some((tx, _)) = &*w {
        let _ = tx.send(s);
    }
}

/// Ends the writer thread, at shutdown when all sockets are closed.
pub fn stop() {
    let w = WRITER.lock().take();
    if let Some((tx, thread)) = w {
        drop(tx);
        let _ = thread.join();
    }
}
