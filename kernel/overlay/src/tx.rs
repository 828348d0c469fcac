// SPDX-License-Identifier: CDDL-1.0
//! From a guest's frame to a datagram. No lock is held while a plugin or a socket is called.
use crate::dev::{Dev, Io};
use crate::frame::{ETHER_HDR, mac_key};
use crate::mux::Mux;
use crate::stats::DropReason;
use crate::target::cache::Dest;
use crate::target::table::Found;
use crate::target::{Mode, sockaddr};
use crate::{forward, overlay};
use core::sync::atomic::Ordering;
use ddi::Errno;
use ddi::mblk::{Mblk, MblkChain};
use ddi::mem::KArc;
use ddi::sys::sockaddr_in6;
use ddi::time::Callout;
use overlay_abi::ids::UnderlayAddr;

/// How long a full socket is left alone before MAC tries again, milliseconds. Sockets do not tell
/// when they have room.
const RETRY_MS: u32 = 1;

/// A frame that was not sent but may be later.
pub(crate) struct Blocked(pub Mblk);

/// Sends frames of guests; what is returned MAC keeps and sends again.
pub(crate) fn chain(dev: &KArc<Dev>, mut chain: MblkChain) -> MblkChain {
    let io = dev.io.read();
    let (mut packets, mut bytes): (u64, u64) = (0, 0);
    let mut full = false;
    while let Some(mp) = chain.pop() {
        let size = mp.size();
        match one(dev, &io, mp, size) {
            Ok(true) => {
                packets = packets.wrapping_add(1);
                bytes = bytes.wrapping_add(size as u64);
            }
            Ok(false) => {}
            Err(Blocked(mp)) => {
                chain.push_front(mp);
                full = true;
                break;
            }
        }
    }
    if packets != 0 {
        dev.tx.add(packets, bytes);
    }
    if full {
        dev.blocked.add(1);
        Callout::arm(dev, RETRY_MS);
    }
    chain
}

/// Sends one frame as if a guest had; for RESEND.
///
/// # Errors
/// `EBUSY`: the link is not started. `EAGAIN`: the socket is full.
pub(crate) fn resend(dev: &KArc<Dev>, mp: Mblk) -> Result<(), Errno> {
    let io = dev.io.read();
    if io.mux.is_none() {
        return Err(Errno::EBUSY);
    }
    let size = mp.size();
    match one(dev, &io, mp, size) {
        Ok(true) => dev.tx.add(1, size as u64),
        Ok(false) => {}
        Err(Blocked(_)) => return Err(Errno::EAGAIN),
    }
    Ok(())
}

/// Sends packets that waited for this answer. A full socket drops them: nobody could take them
/// back.
pub(crate) fn answered(dev: &Dev, io: &Io, mut packets: MblkChain, addr: UnderlayAddr) {
    while let Some(mp) = packets.pop() {
        let Some(mux) = &io.mux else {
            dev.drops.drop(DropReason::TxNotStarted, dev.linkid, mp, 0);
            continue;
        };
        let size = mp.size();
        settled(dev, send(dev, mux, mp, (io.vnetid, &sockaddr(&addr)), size), size);
    }
}

/// Counts a frame of `size` bytes that nobody can take back.
pub(crate) fn settled(dev: &Dev, result: Result<bool, Blocked>, size: usize) {
    match result {
        Ok(true) => dev.tx.add(1, size as u64),
        Ok(false) => {}
        Err(Blocked(mp)) => {
            dev.drops.drop(DropReason::TxSend, dev.linkid, mp, Errno::EAGAIN.0);
        }
    }
}

/// Whether the frame was sent; if not it is queued or dropped, unless it is blocked.
#[inline]
fn one(dev: &Dev, io: &Io, mp: Mblk, size: usize) -> Result<bool, Blocked> {
    let drop = |reason, mp| {
        dev.drops.drop(reason, dev.linkid, mp, 0);
        Ok(false)
    };
    let Some(mux) = &io.mux else { return drop(DropReason::TxNotStarted, mp) };
    if size < ETHER_HDR {
        return drop(DropReason::TxRunt, mp);
    }
    if size > dev.max_frame.load(Ordering::Relaxed) {
        return drop(DropReason::TxOversize, mp);
    }
    let Some(target) = &io.target else { return drop(DropReason::TxNoTarget, mp) };
    let (addr, mp) = match &target.mode {
        Mode::Point(addr) => (*addr, mp),
        Mode::Dynamic(cache) => {
            let (Some(mac), Ok(overlay)) = (mp.read::<6>(), overlay()) else {
                return drop(DropReason::TxRunt, mp);
            };
            match cache.macs.look_up(&overlay.requests, mac_key(mac), mp, size) {
                Found::Known(Dest::To(addr), mp) => (addr, mp),
                Found::Known(Dest::Router, mp) => {
                    return forward::one(dev, (mux, cache), mp, size);
                }
                Found::Known(Dest::Drop, mp) => return drop(DropReason::TxTargetDrop, mp),
                Found::Queued => return Ok(false),
                Found::Drop(reason, mp) => return drop(reason, mp),
            }
        }
        Mode::Unsendable(_) => return drop(DropReason::TxDestKind, mp),
    };
    send(dev, mux, mp, (io.vnetid, &sockaddr(&addr)), size)
}

/// Sends a frame of a network to a host.
#[inline(always)]
pub(crate) fn send(
    dev: &Dev,
    mux: &Mux,
    mp: Mblk,
    (vnetid, to): (u64, &sockaddr_in6),
    size: usize,
) -> Result<bool, Blocked> {
    let mp = match dev.encap.encap(mp, vnetid) {
        Ok(mp) => mp,
        Err((e, mp)) => {
            dev.drops.drop(DropReason::TxEncap, dev.linkid, mp, e.0);
            return Ok(false);
        }
    };
    ddi::fire!(__dtrace_probe_overlay__tx, dev.linkid, size, mp.as_ptr(), vnetid);
    match mux.send(to, mp) {
        Ok(()) => Ok(true),
        Err((e, left)) => not_sent(dev, e, left, size),
    }
}

#[cold]
fn not_sent(dev: &Dev, e: Errno, left: Option<Mblk>, size: usize) -> Result<bool, Blocked> {
    // The frame again, without the header: it will be looked up and encapsulated once more.
    let frame = left.and_then(|mp| {
        let header = mp.size().checked_sub(size)?;
        mp.strip(header)
    });
    match frame {
        Some(frame) if e == Errno::EAGAIN => Err(Blocked(frame)),
        Some(frame) => {
            dev.drops.drop(DropReason::TxSend, dev.linkid, frame, e.0);
            Ok(false)
        }
        None => {
            let gone = core::ptr::null_mut();
            dev.drops.count(DropReason::TxSend, dev.linkid, size, gone, e.0);
            Ok(false)
        }
    }
}
