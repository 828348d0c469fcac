// SPDX-License-Identifier: CDDL-1.0
//! Frames for a router: forwarded by their IP addresses, without a router in the path.
use crate::dev::{Dev, Io};
use crate::frame::Header;
use crate::l3::{self, HEAD_MAX, PARSE_MAX, Packet, Parsed};
use crate::mux::Mux;
use crate::overlay;
use crate::stats::DropReason;
use crate::target::cache::{Cache, Hop};
use crate::target::realm::{PROBES, VL2};
use crate::target::table::Found;
use crate::tx::{self, Blocked};
use ddi::Errno;
use ddi::mblk::{Mblk, MblkChain};
use overlay_abi::ids::UnderlayAddr;

/// Sends a frame that is for a router; as [`tx::one`]. A blocked one is as it came.
pub(crate) fn one(
    dev: &Dev,
    (mux, cache): (&Mux, &Cache),
    mp: Mblk,
    size: usize,
) -> Result<bool, Blocked> {
    let drop = |reason, mp| {
        dev.drops.drop(reason, dev.linkid, mp, 0);
        Ok(false)
    };
    let Ok(overlay) = overlay() else { return drop(DropReason::TxNoTarget, mp) };
    let Some(header) = Header::parse(&mp) else { return drop(DropReason::TxRunt, mp) };
    let packet = match read(&header, &mp, size) {
        Ok(Parsed::Packet(packet)) => packet,
        Ok(Parsed::Question) => return ask(dev, cache, &header, mp, size),
        Err(reason) => return drop(reason, mp),
    };
    match cache.route(&overlay.requests, packet.key, mp, size) {
        Found::Known((hop, addr), mp) => send(dev, mux, mp, &packet, (hop, addr), size),
        Found::Queued => Ok(false),
        Found::Drop(reason, mp) => drop(reason, mp),
    }
}

/// Puts a question to a router to varpd, each time, for nobody answers it here.
#[cold]
fn ask(dev: &Dev, cache: &Cache, header: &Header, mp: Mblk, size: usize) -> Result<bool, Blocked> {
    let drop = |reason, mp| {
        dev.drops.drop(reason, dev.linkid, mp, 0);
        Ok(false)
    };
    let Ok(overlay) = overlay() else { return drop(DropReason::TxNoTarget, mp) };
    let key = VL2 { realm: PROBES, mac: header.dst.0 }.key();
    match cache.macs.look_up(&overlay.requests, key, mp, size) {
        Found::Queued => Ok(false),
        Found::Known(_, mp) => drop(DropReason::TxNotRoutable, mp),
        Found::Drop(reason, mp) => drop(reason, mp),
    }
}

fn read(header: &Header, mp: &Mblk, size: usize) -> Result<Parsed, DropReason> {
    let mut bytes = [0; PARSE_MAX];
    let front = bytes.get_mut(..size.min(PARSE_MAX)).unwrap_or_default();
    if !mp.copy_bytes(0, front) {
        return Err(DropReason::TxRunt);
    }
    l3::parse(header, front, size)
}

fn send(
    dev: &Dev,
    mux: &Mux,
    mp: Mblk,
    packet: &Packet,
    (hop, addr): (Hop, UnderlayAddr),
    size: usize,
) -> Result<bool, Blocked> {
    let (old, new) = (packet.head, packet.rewritten(&hop, VL2::of(hop.to).mac));
    let (old, new) = (old.bytes(), new.bytes());
    let Some(mp) = mp.replace_front(old.len(), new) else { return Ok(lost(dev, size)) };
    let new_size = size.saturating_sub(old.len()).saturating_add(new.len());
    match tx::send(dev, mux, mp, (hop.vnet, &addr), new_size) {
        Ok(sent) => {
            dev.routed.add(u64::from(sent));
            Ok(sent)
        }
        // MAC gets back what it gave: the way may be another by then.
        Err(Blocked(mp)) => match mp.replace_front(new.len(), old) {
            Some(mp) => Err(Blocked(mp)),
            None => Ok(lost(dev, size)),
        },
    }
}

/// Counts a frame that is gone for want of memory; it was not sent.
#[cold]
fn lost(dev: &Dev, size: usize) -> bool {
    let gone = core::ptr::null_mut();
    dev.drops.count(DropReason::TxNoMemory, dev.linkid, size, gone, Errno::ENOMEM.0);
    false
}

/// Sends packets that waited for a route. A full socket drops them: nobody could take them back.
pub(crate) fn answered(
    dev: &Dev,
    io: &Io,
    mut packets: MblkChain,
    (hop, addr): (Hop, UnderlayAddr),
) {
    while let Some(mp) = packets.pop() {
        let Some(mux) = &io.mux else {
            dev.drops.drop(DropReason::TxNotStarted, dev.linkid, mp, 0);
            continue;
        };
        let size = mp.size();
        let header = Header::parse(&mp).ok_or(DropReason::TxRunt);
        let packet = match header.and_then(|header| read(&header, &mp, size)) {
            Ok(Parsed::Packet(packet)) => packet,
            // Not what began to wait.
            other => {
                let reason = other.err().unwrap_or(DropReason::TxNotRoutable);
                dev.drops.drop(reason, dev.linkid, mp, 0);
                continue;
            }
        };
        tx::settled(dev, send(dev, mux, mp, &packet, (hop, addr), size), size);
    }
}

/// Forwards packets that waited for an address that turned out to be a router's.
pub(crate) fn found_router(dev: &Dev, io: &Io, cache: &Cache, mut packets: MblkChain) {
    while let Some(mp) = packets.pop() {
        let Some(mux) = &io.mux else {
            dev.drops.drop(DropReason::TxNotStarted, dev.linkid, mp, 0);
            continue;
        };
        let size = mp.size();
        let result = one(dev, (mux, cache), mp, size);
        tx::settled(dev, result, size);
    }
}

const _: () = assert!(HEAD_MAX <= PARSE_MAX);
