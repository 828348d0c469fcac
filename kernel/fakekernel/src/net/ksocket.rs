// SPDX-License-Identifier: CDDL-1.0
//! misc/ksocket: UDP sockets over IPv6, for IPv4 with mapped addresses.
//!
//! Receiving: one thread a socket, from `ksocket_krecv_set` to `ksocket_close`. It hands the driver chains of messages,
//! each a T_UNITDATA_IND with the source in front of the data, and marks itself as a receive context meanwhile.
//!
//! Source ports: with UDP_SRCPORT_HASH illumos picks the port 49152 + hash mod 16384 for every datagram. A Linux socket
//! has one port, so there is a pool of `Config::txpool` sockets. The range is cut into so many parts; socket `i` is
//! bound, when first needed, to the lowest free port of part `i`, and a datagram leaves from the part its port lies
//! in. So one flow keeps one port, flows spread as evenly as their hashes, and with 16384 sockets the port is exact.
//! The hash is our own (illumos' is private): over link addresses, VLAN, IP addresses, protocol and ports.

use super::capture::{self, Direction};
use super::errno::{self, *};
use super::ether;
use super::msg::{Chain, Msg, Slices};
use super::port::RxScope;
use super::udp::{self, Batch, Outcome, Sender};
use super::underlay;
use crate::check::{Kind, violation};
use crate::ctx;
use illumos_sys_hdrs as sys;
use parking_lot::{Condvar, Mutex};
use std::ffi::{c_int, c_void};
use std::mem::{size_of, zeroed};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, ThreadId};
use sys::*;

/// First port and number of ports of the hashed range.
const PORT_BASE: u16 = 49152;
const PORT_COUNT: usize = 16384;
/// Bytes of VXLAN header in front of the inner frame.
const VXLAN_HDR: usize = 8;
/// Inner bytes that the hash may look at: link header, tag, IPv6 with some extension headers, ports.
const HASHED: usize = 128;

/// Buffers of a receive call, and bytes of each: what UDP_GRO joins is at most 64 KiB.
const RX_BUFFERS: usize = 8;
const RX_BYTES: usize = 65536;

static POOL: AtomicUsize = AtomicUsize::new(0);
static SOCKETS: Mutex<Vec<Arc<Ksock>>> = Mutex::new(Vec::new());

/// A kernel socket. It stays in memory until shutdown, so that use after close is ENOTSOCK and not a crash.
struct Ksock {
    main: Arc<Sender>,
    /// Where the socket is bound.
    local: OnceLock<SocketAddrV6>,
    /// UDP_SRCPORT_HASH is on.
    hash: AtomicBool,
    pool: Vec<OnceLock<Option<Arc<Sender>>>>,
    closing: AtomicBool,
    receiver: Mutex<Option<Receiver>>,
    flow: Mutex<Flow>,
    unblocked: Condvar,
}

struct Receiver {
    wake: Arc<OwnedFd>,
    thread: JoinHandle<()>,
    id: ThreadId,
}

/// Whether the driver takes data.
#[derive(Default)]
struct Flow {
    blocked: bool,
    /// Counts ksocket_krecv_unblock, so that one during the callback is not lost.
    unblocks: u64,
    /// The receive thread is to end.
    stop: bool,
}

/// Sets the number of sending sockets of a hashed socket.
pub fn start(txpool: usize) {
    POOL.store(txpool.min(PORT_COUNT), Ordering::SeqCst);
}

/// Closes what is left, at shutdown.
pub fn reset() {
    for ks in std::mem::take(&mut *SOCKETS.lock()) {
        if !ks.closing.load(Ordering::SeqCst) {
            violation(Kind::Leak, "a ksocket is still open at shutdown");
            ks.close();
        }
    }
}

/// The socket behind a handle; `None` when it is closed or closing.
///
/// # Safety
/// `ks` is null or was returned by ksocket_socket since boot.
unsafe fn get<'a>(ks: ksocket_t) -> Option<&'a Ksock> {
    // SAFETY: handles point to a Ksock that lives until shutdown.
    unsafe { (ks as *const Ksock).as_ref() }.filter(|k| !k.closing.load(Ordering::Acquire))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ksocket_socket(
    ks: *mut ksocket_t,
    domain: c_int,
    kind: c_int,
    protocol: c_int,
    flags: c_int,
    cr: *mut cred_t,
) -> c_int {
    if flags == KSOCKET_SLEEP {
        ctx::may_sleep("ksocket_socket");
    }
    if cr.is_null() {
        violation(Kind::Misuse, "ksocket_socket without a credential");
    }
    // SAFETY: the caller's place.
    unsafe { *ks = std::ptr::null_mut() };
    if domain != AF_INET6 {
        return EAFNOSUPPORT;
    }
    if kind != SOCK_DGRAM {
        return EPROTOTYPE;
    }
    if protocol != 0 && protocol != IPPROTO_UDP {
        return EPROTONOSUPPORT;
    }
    match udp::socket() {
        Ok(fd) => {
            let k = Arc::new(Ksock {
                main: Sender::new(fd),
                local: OnceLock::new(),
                hash: AtomicBool::new(false),
                pool: (0..POOL.load(Ordering::SeqCst)).map(|_| OnceLock::new()).collect(),
                closing: AtomicBool::new(false),
                receiver: Mutex::new(None),
                flow: Mutex::default(),
                unblocked: Condvar::new(),
            });
            // SAFETY: as above.
            unsafe { *ks = Arc::as_ptr(&k).cast_mut().cast() };
            SOCKETS.lock().push(k);
            0
        }
        Err(e) => e,
    }
}

/// An illumos sockaddr_in6, as the host has it.
///
/// # Safety
/// `addr` is null or points to `len` bytes.
#[inline(always)]
unsafe fn address(addr: *const c_void, len: u32) -> Result<libc::sockaddr_in6, c_int> {
    if addr.is_null() || (len as usize) < size_of::<sockaddr_in6>() {
        return Err(EINVAL);
    }
    // SAFETY: long enough, as just checked; alignment is not assumed.
    let sin6 = unsafe { addr.cast::<sockaddr_in6>().read_unaligned() };
    if c_int::from(sin6.sin6_family) != AF_INET6 {
        return Err(EAFNOSUPPORT);
    }
    Ok(libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: sin6.sin6_port,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: sin6.sin6_addr.s6_addr },
        sin6_scope_id: sin6.sin6_scope_id,
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ksocket_bind(
    ks: ksocket_t,
    addr: *mut sockaddr,
    len: socklen_t,
    _cr: *mut cred_t,
) -> c_int {
    ctx::may_sleep("ksocket_bind");
    // SAFETY: a handle of ksocket_socket, and the caller's address.
    let (k, to) = unsafe {
        let Some(k) = get(ks) else { return ENOTSOCK };
        match address(addr.cast(), len) {
            Ok(to) => (k, to),
            Err(e) => return e,
        }
    };
    let bound = k.main.with_fd(|fd| {
        udp::bind(fd, &to)?;
        udp::local(fd)
    });
    match bound {
        Ok(local) => {
            let _ = k.local.set(local);
            0
        }
        Err(e) => e,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ksocket_setsockopt(
    ks: ksocket_t,
    level: c_int,
    option: c_int,
    value: *const c_void,
    len: c_int,
    _cr: *mut cred_t,
) -> c_int {
    // SAFETY: a handle of ksocket_socket.
    let Some(k) = (unsafe { get(ks) }) else { return ENOTSOCK };
    if value.is_null() || len != size_of::<c_int>() as c_int {
        return EINVAL;
    }
    // SAFETY: the value is an int.
    let value = unsafe { value.cast::<c_int>().read_unaligned() };
    let buffer = |opt| k.main.with_fd(|fd| udp::set(fd, libc::SOL_SOCKET, opt, value));
    let r = match (level, option) {
        (IPPROTO_UDP, UDP_SRCPORT_HASH) => match value {
            UDP_HASH_DISABLE | UDP_HASH_VXLAN => {
                k.hash.store(value == UDP_HASH_VXLAN, Ordering::SeqCst);
                Ok(())
            }
            _ => Err(EINVAL),
        },
        (SOL_SOCKET, SO_SNDBUF) => buffer(libc::SO_SNDBUF),
        (SOL_SOCKET, SO_RCVBUF) => buffer(libc::SO_RCVBUF),
        _ => Err(ENOPROTOOPT),
    };
    r.err().unwrap_or(0)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ksocket_sendmblk(
    ks: ksocket_t,
    msg: *mut nmsghdr,
    flags: c_int,
    mpp: *mut *mut mblk_t,
    _cr: *mut cred_t,
) -> c_int {
    ctx::upcall("ksocket_sendmblk");
    // SAFETY: a handle of ksocket_socket; the header, the place and the message are the caller's.
    unsafe {
        let Some(k) = get(ks) else { return ENOTSOCK };
        let h = &*msg;
        // FNONBLOCK and MSG_DONTWAIT are the same bit.
        let wait = h.msg_flags & MSG_DONTWAIT == 0 && flags & (FNONBLOCK | FNDELAY) == 0;
        if wait {
            ctx::may_sleep("ksocket_sendmblk");
        }
        if h.msg_flags & MSG_OOB != 0 {
            return EOPNOTSUPP;
        }
        if h.msg_name.is_null() {
            return EDESTADDRREQ;
        }
        let to = match address(h.msg_name, h.msg_namelen) {
            Ok(to) => to,
            Err(e) => return e,
        };
        if (*mpp).is_null() {
            return EINVAL;
        }
        let len: usize = Slices::of(*mpp).map(<[u8]>::len).sum();
        if len > udp::MAX_PAYLOAD {
            return EMSGSIZE;
        }
        let sender = k.sender(*mpp);
        if capture::any() {
            let from = sender.with_fd(udp::local).unwrap_or(UNSPECIFIED);
            let ends = (from, udp::from_linux(&to));
            capture::datagram(Direction::Out, ends, Slices::of(*mpp));
        }
        let Some(m) = Msg::from_raw(std::mem::replace(&mut *mpp, std::ptr::null_mut())) else {
            return EINVAL;
        };
        match sender.send(m, len, &to, wait) {
            Outcome::Sent => 0,
            Outcome::Again(m) => {
                underlay::add(&underlay::OUT_BLOCKED, 1);
                *mpp = m.into_raw();
                EAGAIN
            }
            Outcome::Failed(e) => e,
        }
    }
}

const UNSPECIFIED: SocketAddrV6 = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0);

impl Ksock {
    /// The socket that a datagram leaves from.
    ///
    /// # Safety
    /// `mp` is a message that nobody writes meanwhile.
    #[inline(always)]
    unsafe fn sender(&self, mp: *mut mblk_t) -> &Arc<Sender> {
        if self.pool.is_empty() || !self.hash.load(Ordering::Relaxed) {
            return &self.main;
        }
        // SAFETY: as the caller says.
        let Some(port) = (unsafe { hashed_port(mp) }) else { return &self.main };
        let offset = usize::from(port - PORT_BASE);
        let part = offset * self.pool.len() / PORT_COUNT;
        let slot = self.pool[part].get_or_init(|| self.bind_pool(part));
        slot.as_ref().unwrap_or(&self.main)
    }

    /// A socket on a free port of a part of the range; `None` when there is none, and the bound port must do.
    fn bind_pool(&self, part: usize) -> Option<Arc<Sender>> {
        let local = *self.local.get()?;
        let start = |i: usize| (i * PORT_COUNT).div_ceil(self.pool.len());
        for offset in start(part)..start(part + 1) {
            let port = PORT_BASE + offset as u16;
            let fd = udp::socket().ok()?;
            let at = SocketAddrV6::new(*local.ip(), port, 0, local.scope_id());
            match udp::bind(&fd, &udp::linux_addr(at)) {
                Ok(()) => {
                    // Nothing is ever read from it.
                    let _ = udp::set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, 0);
                    return Some(Sender::new(fd));
                }
                Err(EADDRINUSE | EACCES) => {}
                Err(_) => return None,
            }
        }
        None
    }

    fn close(&self) {
        self.stop_receiver();
        self.main.close();
        for s in self.pool.iter().filter_map(|s| s.get()).flatten() {
            s.close();
        }
    }

    /// Ends the receive thread and waits for its callback, unless called from it.
    fn stop_receiver(&self) {
        let Some(r) = self.receiver.lock().take() else { return };
        self.flow.lock().stop = true;
        self.unblocked.notify_all();
        wake(&r.wake);
        if std::thread::current().id() == r.id {
            violation(Kind::Misuse, "ksocket_close or ksocket_krecv_set from the receive callback");
        } else {
            let _ = r.thread.join();
        }
    }
}

/// The port that illumos' rules give a VXLAN datagram: `None` for the bound one, when the header is not aligned to
/// two bytes, shorter than eight, there is no inner Ethernet header, or the hash is 0.
///
/// # Safety
/// `mp` is a message that nobody writes meanwhile.
#[inline(always)]
unsafe fn hashed_port(mp: *mut mblk_t) -> Option<u16> {
    // SAFETY: as the caller says.
    let mut slices = unsafe { Slices::of(mp) };
    let head = slices.next()?;
    if head.as_ptr().addr() % 2 != 0 || head.len() < VXLAN_HDR {
        return None;
    }
    let inner = &head[VXLAN_HDR..];
    // SAFETY: a live message.
    let hash = if inner.len() >= HASHED || unsafe { (*mp).b_cont.is_null() } {
        ether::flow_hash(inner)
    } else {
        gathered_hash(inner, slices)
    };
    (hash != 0).then(|| PORT_BASE + (hash as usize % PORT_COUNT) as u16)
}

/// The hash of an inner frame that goes on in other blocks.
#[cold]
fn gathered_hash(first: &[u8], rest: Slices<'_>) -> u32 {
    let mut b = [0; HASHED];
    let mut n = 0;
    for s in std::iter::once(first).chain(rest) {
        let k = s.len().min(b.len() - n);
        b[n..n + k].copy_from_slice(&s[..k]);
        n += k;
    }
    ether::flow_hash(&b[..n])
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ksocket_krecv_set(
    ks: ksocket_t,
    cb: Option<ksocket_krecv_f>,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: a handle of ksocket_socket.
    let Some(k) = (unsafe { get(ks) }) else { return ENOTSOCK };
    if cb.is_none() && !arg.is_null() {
        return EINVAL;
    }
    k.stop_receiver();
    let Some(cb) = cb else { return 0 };
    let Some(fd) = k.main.raw_fd() else { return ENOTSOCK };
    flush_received(fd);
    // Several datagrams of one sender in one buffer; not there before Linux 5.0, and not needed.
    let _ = udp::set(&fd, libc::SOL_UDP, libc::UDP_GRO, 1);
    // Each datagram then says how many were lost before it.
    let _ = udp::set(&fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
    // SAFETY: eventfd has no preconditions; the descriptor is ours.
    let event = unsafe {
        let e = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
        if e < 0 {
            return errno::last();
        }
        Arc::new(OwnedFd::from_raw_fd(e))
    };
    *k.flow.lock() = Flow::default();
    let Some(owner) = SOCKETS.lock().iter().find(|s| std::ptr::eq(Arc::as_ptr(s), k)).cloned()
    else {
        return ENOTSOCK;
    };
    let driver = Driver { cb, ks, arg };
    let wake = event.clone();
    let spawned = std::thread::Builder::new()
        .name("ksocket_rx".into())
        .spawn(move || receive(&owner, fd, &wake, driver));
    match spawned {
        Ok(thread) => {
            let id = thread.thread().id();
            *k.receiver.lock() = Some(Receiver { wake: event, thread, id });
            0
        }
        Err(_) => ENOMEM,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ksocket_krecv_unblock(ks: ksocket_t) {
    // SAFETY: a handle of ksocket_socket.
    if let Some(k) = unsafe { get(ks) } {
        let mut f = k.flow.lock();
        f.blocked = false;
        f.unblocks += 1;
        k.unblocked.notify_all();
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ksocket_close(ks: ksocket_t, _cr: *mut cred_t) -> c_int {
    ctx::may_sleep("ksocket_close");
    // SAFETY: a handle of ksocket_socket.
    let Some(k) = (unsafe { get(ks) }) else { return ENOTSOCK };
    if k.closing.swap(true, Ordering::AcqRel) {
        return ENOTSOCK;
    }
    k.close();
    0
}

/// What to call with data.
struct Driver {
    cb: ksocket_krecv_f,
    ks: ksocket_t,
    arg: *mut c_void,
}

// SAFETY: the argument is the driver's, which expects its callback on threads of the kernel's choosing.
unsafe impl Send for Driver {}

fn wake(event: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: eight bytes to an eventfd.
    unsafe { libc::write(event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// Throws away what has arrived before anybody wanted it.
fn flush_received(fd: RawFd) {
    let mut b = [0u8; 1];
    // SAFETY: a buffer of this frame; the rest of a datagram is cut off.
    while unsafe { libc::recv(fd, b.as_mut_ptr().cast(), 1, libc::MSG_DONTWAIT) } >= 0 {}
}

/// The receive thread.
fn receive(k: &Ksock, fd: RawFd, event: &OwnedFd, driver: Driver) {
    let local = k.local.get().copied().unwrap_or(UNSPECIFIED);
    let mut rx = Buffers::new();
    loop {
        let unblocks = {
            let mut f = k.flow.lock();
            k.unblocked.wait_while(&mut f, |f| f.blocked && !f.stop);
            if f.stop {
                return;
            }
            f.unblocks
        };
        let n = rx.receive(fd);
        if n == 0 {
            let mut p = [
                libc::pollfd { fd, events: libc::POLLIN, revents: 0 },
                libc::pollfd { fd: event.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            ];
            // SAFETY: two pollfds of this frame.
            unsafe { libc::poll(p.as_mut_ptr(), 2, -1) };
            continue;
        }
        let (chain, bytes) = rx.messages(n, local);
        underlay::add(&underlay::IN_CALLS, 1);
        underlay::add(&underlay::IN_DATAGRAMS, chain.count());
        if chain.is_empty() {
            continue;
        }
        let more = {
            let _context = ctx::enter_receive();
            // What clients answer, when the scope ends, still joins the batch.
            let _batch = Batch::open();
            let _scope = RxScope::enter();
            // SAFETY: the chain passes to the driver, as its callback's type says.
            unsafe { (driver.cb)(driver.ks, chain.into_raw(), bytes, 0, driver.arg) }
        };
        if more == 0 {
            let mut f = k.flow.lock();
            f.blocked = f.unblocks == unblocks;
        }
    }
}

/// What recvmmsg fills.
struct Buffers {
    data: Vec<u8>,
    names: Vec<libc::sockaddr_in6>,
    controls: Vec<Control>,
    iovs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// Datagrams that the host has lost, by its own count.
    lost: u32,
}

/// Space for one UDP_GRO control message, aligned.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 64]);

impl Buffers {
    fn new() -> Buffers {
        // SAFETY: zeroes are valid for these C structures.
        unsafe {
            Buffers {
                data: vec![0; RX_BUFFERS * RX_BYTES],
                names: vec![zeroed(); RX_BUFFERS],
                controls: vec![Control([0; 64]); RX_BUFFERS],
                iovs: vec![zeroed(); RX_BUFFERS],
                headers: vec![zeroed(); RX_BUFFERS],
                lost: 0,
            }
        }
    }

    /// Reads what there is; the number of buffers filled, 0 for none now.
    fn receive(&mut self, fd: RawFd) -> usize {
        for i in 0..RX_BUFFERS {
            self.iovs[i] = libc::iovec {
                iov_base: self.data[i * RX_BYTES..].as_mut_ptr().cast(),
                iov_len: RX_BYTES,
            };
            let h = &mut self.headers[i].msg_hdr;
            h.msg_name = (&raw mut self.names[i]).cast();
            h.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            h.msg_iov = &raw mut self.iovs[i];
            h.msg_iovlen = 1;
            h.msg_control = self.controls[i].0.as_mut_ptr().cast();
            h.msg_controllen = size_of::<Control>() as _;
            h.msg_flags = 0;
        }
        // SAFETY: the headers point to buffers of self, as long as they say.
        let n = unsafe {
            libc::recvmmsg(
                fd,
                self.headers.as_mut_ptr(),
                RX_BUFFERS as _,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(n).unwrap_or(0)
    }

    /// Bytes of one datagram in buffer `i`: all of it, unless several were joined. Notes what the host lost.
    fn segment(&mut self, i: usize) -> usize {
        let h = &self.headers[i].msg_hdr;
        let mut segment = RX_BYTES;
        // SAFETY: the control buffer was filled by the host.
        unsafe {
            let mut c = libc::CMSG_FIRSTHDR(h);
            while !c.is_null() {
                let value = libc::CMSG_DATA(c).cast::<u32>().read_unaligned();
                match ((*c).cmsg_level, (*c).cmsg_type) {
                    (libc::SOL_UDP, libc::UDP_GRO) => segment = (value as usize).max(1),
                    (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                        let new = value.wrapping_sub(self.lost) as usize;
                        underlay::add(&underlay::IN_OVERFLOWS, new);
                        self.lost = value;
                    }
                    _ => {}
                }
                c = libc::CMSG_NXTHDR(h, c);
            }
        }
        segment
    }

    /// The first `n` buffers as messages, and the bytes of data in them.
    fn messages(&mut self, n: usize, local: SocketAddrV6) -> (Chain, usize) {
        let (mut chain, mut bytes) = (Chain::default(), 0);
        for i in 0..n {
            let size = self.segment(i);
            let all = &self.data[i * RX_BYTES..][..self.headers[i].msg_len as usize];
            let from = udp::from_linux(&self.names[i]);
            let mut put = |data: &[u8]| {
                if capture::any() {
                    capture::datagram(Direction::In, (from, local), std::iter::once(data));
                }
                match indication(from, data) {
                    Some(m) => {
                        bytes += data.len();
                        chain.push(m);
                    }
                    None => underlay::add(&underlay::IN_NO_MEMORY, 1),
                }
            };
            if all.is_empty() {
                put(all);
            }
            all.chunks(size).for_each(&mut put);
        }
        (chain, bytes)
    }
}

/// A T_UNITDATA_IND from a source, in front of a copy of the data. `None` when there is no memory: then the datagram is
/// lost, as in any full buffer.
fn indication(from: SocketAddrV6, data: &[u8]) -> Option<Msg> {
    const HEAD: usize = size_of::<T_unitdata_ind>();
    const ADDR: usize = size_of::<sockaddr_in6>();
    let mut m = Msg::alloc(0, HEAD + ADDR)?;
    let ind = T_unitdata_ind {
        PRIM_type: T_UNITDATA_IND,
        SRC_length: ADDR as i32,
        SRC_offset: HEAD as i32,
        OPT_length: 0,
        OPT_offset: 0,
    };
    let sin6 = sockaddr_in6 {
        sin6_family: AF_INET6 as u16,
        sin6_port: from.port().to_be(),
        sin6_flowinfo: 0,
        sin6_addr: in6_addr { s6_addr: from.ip().octets() },
        sin6_scope_id: from.scope_id(),
        __sin6_src_id: 0,
    };
    // SAFETY: the new block has room for both; neither has padding. The type is set before anyone sees the block.
    unsafe {
        let at = (*m.as_ptr()).b_wptr;
        at.cast::<T_unitdata_ind>().write_unaligned(ind);
        at.add(HEAD).cast::<sockaddr_in6>().write_unaligned(sin6);
        m.set_len(HEAD + ADDR);
        (*(*m.as_ptr()).b_datap).db_type = M_PROTO;
    }
    m.link(Msg::from_slice(data, 0)?);
    Some(m)
}

crate::symbols! { SYMBOLS "misc/ksocket":
    ksocket_socket, ksocket_bind, ksocket_setsockopt, ksocket_sendmblk, ksocket_krecv_set, ksocket_krecv_unblock,
    ksocket_close,
}
