// SPDX-License-Identifier: CDDL-1.0
//! misc/ksocket: UDP sockets over IPv6, for IPv4 with mapped addresses.
//!
//! Receiving: one thread a socket, from `ksocket_krecv_set` to `ksocket_close`. It hands the driver
//! chains of messages, each a T_UNITDATA_IND with the source in front of the data, and marks itself
//! as a receive context meanwhile.

mod receive;
mod srcport;

use crate::check::{Kind, violation};
use crate::ctx;
use crate::net::capture::{self, Direction};
use crate::net::errno::{self, *};
use crate::net::msg::{Msg, Slices};
use crate::net::udp::{self, Outcome, Sender};
use crate::net::underlay;
use illumos_sys_hdrs as sys;
use parking_lot::{Condvar, Mutex};
use std::ffi::{c_int, c_void};
use std::mem::size_of;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, ThreadId};
use sys::*;

static POOL: AtomicUsize = AtomicUsize::new(0);
static SOCKETS: Mutex<Vec<Arc<Ksock>>> = Mutex::new(Vec::new());

/// A kernel socket. It stays in memory until shutdown, so that use after close is ENOTSOCK and not
/// a crash.
struct Ksock {
    main: Arc<Sender>,
    /// Where the socket is bound.
    local: OnceLock<SocketAddrV6>,
    /// UDP_SRCPORT_HASH is on.
    hash: AtomicBool,
    /// Sockets to send from, one of each part of the hashed range; see `srcport`.
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
    POOL.store(txpool.min(srcport::PORT_COUNT), Ordering::SeqCst);
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
        receive::wake(&r.wake);
        if std::thread::current().id() == r.id {
            violation(Kind::Misuse, "ksocket_close or ksocket_krecv_set from the receive callback");
        } else {
            let _ = r.thread.join();
        }
    }
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
    receive::flush_received(fd);
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
    let driver = receive::Driver { cb, ks, arg };
    let wake = event.clone();
    let spawned = std::thread::Builder::new()
        .name("ksocket_rx".into())
        .spawn(move || receive::receive(&owner, fd, &wake, driver));
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

crate::symbols! { SYMBOLS "misc/ksocket":
    ksocket_socket, ksocket_bind, ksocket_setsockopt, ksocket_sendmblk, ksocket_krecv_set,
    ksocket_krecv_unblock, ksocket_close,
}
