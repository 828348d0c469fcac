// SPDX-License-Identifier: CDDL-1.0
//! Frames for a router: forwarded by their IP addresses, without a router in the path.
use crate::dev::{Dev, Io};
use crate::l3::{self, HEAD_MAX, PARSE_MAX, Packet, Parsed};
use crate::mux::Mux;
use crate::overlay;
use crate::stats::DropReason;
use crate::target::cache::{Cache, Way};
use crate::target::realm::{PROBES, VL2};
use crate::target::table::Found;
use crate::tx::{self, Blocked};
use ddi::Errno;
use ddi::mblk::{Mblk, MblkChain};

/// Sends a frame that is for a router; as [`tx::one`]. A blocked one is as it came.
///
/// Here is the short way: a packet of a known route, whose header lies in one block that nobody
/// shares and stays as long. [`any`] is the long one.
#[inline(always)]
pub(crate) fn one(
    dev: &Dev,
    (mux, cache): (&Mux, &Cache),
    mut mp: Mblk,
    size: usize,
) -> Result<bool, Blocked> {
    let Some(front) = mp.front_mut() else { return any(dev, (mux, cache), mp, size) };
    let packet = l3::packet(front, size);
    let (Some(packet), Some(head)) = (packet, front.first_chunk_mut::<HEAD_MAX>()) else {
        return any(dev, (mux, cache), mp, size);
    };
    let old = *head;
    let way =
        cache.routed(packet.key, |way| packet.overwrite(head, way).then_some((way.vnet, way.to)));
    let Some((vnet, to)) = way else { return any(dev, (mux, cache), mp, size) };
    match tx::send(dev, mux, mp, (vnet, &to), size) {
        Ok(sent) => {
            dev.routed.add(u64::from(sent));
            Ok(sent)
        }
        Err(Blocked(mp)) => restore(dev, mp, packet.head_len(), (&packet, &old), size),
    }
}

/// As [`one`], for whatever it is.
#[cold]
#[inline(never)]
fn any(dev: &Dev, (mux, cache): (&Mux, &Cache), mp: Mblk, size: usize) -> Result<bool, Blocked> {
    let drop = |reason, mp| {
        dev.drops.drop(reason, dev.linkid, mp, 0);
        Ok(false)
    };
    let Ok(overlay) = overlay() else { return drop(DropReason::TxNoTarget, mp) };
    let Some(mp) = mp.pull_up(PARSE_MAX, size) else { return Ok(lost(dev, size)) };
    let packet = match l3::parse(mp.front(), size) {
        Ok(Parsed::Packet(packet)) => packet,
        Ok(Parsed::Question(mac)) => {
            // varpd is asked each time, for nobody answers it here.
            let key = VL2 { realm: PROBES, mac }.key();
            return match cache.macs.look_up(&overlay.requests, key, mp, size) {
                Found::Queued => Ok(false),
                Found::Known(_, mp) => drop(DropReason::TxNotRoutable, mp),
                Found::Drop(reason, mp) => drop(reason, mp),
            };
        }
        Err(reason) => return drop(reason, mp),
    };
    match cache.route(&overlay.requests, packet.key, mp, size) {
        Found::Known(way, mp) => send(dev, mux, mp, &packet, &way, size),
        Found::Queued => Ok(false),
        Found::Drop(reason, mp) => drop(reason, mp),
    }
}

/// Sends a packet with a new head.
fn send(
    dev: &Dev,
    mux: &Mux,
    mp: Mblk,
    packet: &Packet,
    way: &Way,
    size: usize,
) -> Result<bool, Blocked> {
    let Some(old) = mp.read::<HEAD_MAX>() else { return Ok(lost(dev, size)) };
    let (new, mut head) = packet.retagged(&old, way.vlan);
    let (before, after) = (packet.head_len(), new.head_len());
    let bytes = if new.overwrite(&mut head, way) { head.get(..after) } else { None };
    let Some(mp) = bytes.and_then(|bytes| mp.replace_front(before, bytes)) else {
        return Ok(lost(dev, size));
    };
    let new_size = size.saturating_sub(before).saturating_add(after);
    match tx::send(dev, mux, mp, (way.vnet, &way.to), new_size) {
        Ok(sent) => {
            dev.routed.add(u64::from(sent));
            Ok(sent)
        }
        Err(Blocked(mp)) => restore(dev, mp, after, (packet, &old), size),
    }
}

/// Gives MAC back what it gave: the way may be another by then.
#[cold]
fn restore(
    dev: &Dev,
    mp: Mblk,
    now: usize,
    (packet, old): (&Packet, &[u8; HEAD_MAX]),
    size: usize,
) -> Result<bool, Blocked> {
    let old = old.get(..packet.head_len());
    match old.and_then(|old| mp.replace_front(now, old)) {
        Some(mp) => Err(Blocked(mp)),
        None => Ok(lost(dev, size)),
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
pub(crate) fn answered(dev: &Dev, io: &Io, mut packets: MblkChain, way: &Way) {
    while let Some(mp) = packets.pop() {
        let Some(mux) = &io.mux else {
            dev.drops.drop(DropReason::TxNotStarted, dev.linkid, mp, 0);
            continue;
        };
        let size = mp.size();
        let Some(mp) = mp.pull_up(PARSE_MAX, size) else {
            lost(dev, size);
            continue;
        };
        let packet = match l3::parse(mp.front(), size) {
            Ok(Parsed::Packet(packet)) => packet,
            // Not what began to wait.
            other => {
                let reason = other.err().unwrap_or(DropReason::TxNotRoutable);
                dev.drops.drop(reason, dev.linkid, mp, 0);
                continue;
            }
        };
        tx::settled(dev, send(dev, mux, mp, &packet, way, size), size);
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
        let result = any(dev, (mux, cache), mp, size);
        tx::settled(dev, result, size);
    }
}
