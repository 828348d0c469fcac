// SPDX-License-Identifier: CDDL-1.0
//! The source port of a datagram.
//!
//! With UDP_SRCPORT_HASH illumos picks the port 49152 + hash mod 16384 for every
//! datagram. A Linux socket has one port, so there is a pool of `Config::txpool` sockets. The range
//! is cut into so many parts; socket `i` is bound, when first needed, to the lowest free port of
//! part `i`, and a datagram leaves from the part its port lies in. So one flow keeps one port,
//! flows spread as evenly as their hashes, and with 16384 sockets the port is exact. The hash is
//! our own (illumos' is private): over link addresses, VLAN, IP addresses, protocol and ports.

use super::Ksock;
use crate::net::errno::*;
use crate::net::ether;
use crate::net::msg::Slices;
use crate::net::udp::{self, Sender};
use illumos_sys_hdrs::mblk_t;
use std::net::SocketAddrV6;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// First port of the hashed range.
const PORT_BASE: u16 = 49152;
/// Number of ports of the hashed range.
pub const PORT_COUNT: usize = 16384;
/// Bytes of VXLAN header in front of the inner frame.
const VXLAN_HDR: usize = 8;
/// Inner bytes that the hash may look at: link header, tag, IPv6 with some extension headers,
/// ports.
const HASHED: usize = 128;

impl Ksock {
    /// The socket that a datagram leaves from.
    ///
    /// # Safety
    /// `mp` is a message that nobody writes meanwhile.
    #[inline(always)]
    pub unsafe fn sender(&self, mp: *mut mblk_t) -> &Arc<Sender> {
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

    /// A socket on a free port of a part of the range; `None` when there is none, and the bound
    /// port must do.
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
}

/// The port that illumos' rules give a VXLAN datagram: `None` for the bound one, when the header is
/// not aligned to two bytes, shorter than eight, there is no inner Ethernet header, or the hash is
/// 0.
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
