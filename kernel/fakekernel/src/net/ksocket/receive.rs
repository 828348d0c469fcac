// SPDX-License-Identifier: CDDL-1.0
//! The receive thread of a kernel socket.

use super::{Ksock, UNSPECIFIED};
use crate::ctx;
use crate::net::capture::{self, Direction};
use crate::net::msg::{Chain, Msg};
use crate::net::port::RxScope;
use crate::net::udp::{self, Batch};
use crate::net::underlay;
use illumos_sys_hdrs::*;
use std::ffi::c_void;
use std::mem::{size_of, zeroed};
use std::net::SocketAddrV6;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Buffers of a receive call, and bytes of each: what UDP_GRO joins is at most 64 KiB.
const RX_BUFFERS: usize = 8;
const RX_BYTES: usize = 65536;

/// What to call with data.
pub struct Driver {
    /// Its callback.
    pub cb: ksocket_krecv_f,
    /// The handle it has of the socket.
    pub ks: ksocket_t,
    /// Its argument.
    pub arg: *mut c_void,
}

// SAFETY: the argument is the driver's, which expects its callback on threads of the kernel's
// choosing.
unsafe impl Send for Driver {}

/// Calls the driver: a function of its own so that a profiler knows where that begins, also one
/// whose functions have no names.
///
/// # Safety
/// The chain passes to the driver.
#[inline(never)]
unsafe fn to_driver(driver: &Driver, chain: *mut mblk_t, bytes: usize) -> boolean_t {
    // SAFETY: as its callback's type says.
    let more = unsafe { (driver.cb)(driver.ks, chain, bytes, 0, driver.arg) };
    // It must come back here.
    std::hint::black_box(more)
}

/// Wakes the receive thread.
pub fn wake(event: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: eight bytes to an eventfd.
    unsafe { libc::write(event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// Throws away what has arrived before anybody wanted it.
pub fn flush_received(fd: RawFd) {
    let mut b = [0u8; 1];
    // SAFETY: a buffer of this frame; the rest of a datagram is cut off.
    while unsafe { libc::recv(fd, b.as_mut_ptr().cast(), 1, libc::MSG_DONTWAIT) } >= 0 {}
}

/// The receive thread.
pub fn receive(k: &Ksock, fd: RawFd, event: &OwnedFd, driver: Driver) {
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
            unsafe { to_driver(&driver, chain.into_raw(), bytes) }
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

    /// Bytes of one datagram in buffer `i`: all of it, unless several were joined. Notes what the
    /// host lost.
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

/// A T_UNITDATA_IND from a source, in front of a copy of the data. `None` when there is no memory:
/// then the datagram is lost, as in any full buffer.
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
    // SAFETY: the new block has room for both; neither has padding. The type is set before anyone
    // sees the block.
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
