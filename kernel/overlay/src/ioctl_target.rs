// SPDX-License-Identifier: CDDL-1.0
//! The ioctls of `/dev/overlay` (spec/varpd.md 9.3): what varpd uses.
//!
//! Every handler copies its argument in, works, and copies out. Nothing is locked while memory of
//! the caller is touched: its pages may have to come from disk.
use crate::dev::{Dev, Hold};
use crate::frame::{ETHER_HDR, VLAN_HDR};
use crate::request::Request;
use crate::stats::DropReason;
use crate::target::cache::Cache;
use crate::target::{Mode, Target, check_addr};
use crate::{overlay, tx};
use ddi::Errno;
use ddi::dev::UserArg;
use ddi::mblk::{Mblk, MblkChain};
use ddi::mem::{KVec, KmFlag};
use ddi::sys;
use overlay_abi::ids::{MacAddr, UnderlayAddr};
use overlay_abi::target::*;
use zerocopy::{FromZeros, IntoBytes};

type Handler = fn(minor: u32, arg: UserArg) -> Result<(), Errno>;

/// The handler of a command, and whether it needs an open for writing. LOOKUP does, other than in
/// C: it takes a request away from whoever else would answer it.
fn command(cmd: u32) -> Option<(bool, Handler)> {
    Some(match cmd {
        OVERLAY_TARG_INFO => (true, info),
        OVERLAY_TARG_ASSOCIATE => (true, associate),
        OVERLAY_TARG_DISASSOCIATE => (true, disassociate),
        OVERLAY_TARG_DEGRADE => (true, degrade),
        OVERLAY_TARG_RESTORE => (true, restore),
        OVERLAY_TARG_LOOKUP => (true, lookup),
        OVERLAY_TARG_RESPOND => (true, respond),
        OVERLAY_TARG_DROP => (true, refuse),
        OVERLAY_TARG_INJECT => (true, inject),
        OVERLAY_TARG_PKT => (true, packet),
        OVERLAY_TARG_RESEND => (true, resend),
        OVERLAY_TARG_LIST => (false, list),
        OVERLAY_TARG_CACHE_GET => (false, cache_get),
        OVERLAY_TARG_CACHE_SET => (true, cache_set),
        OVERLAY_TARG_CACHE_REMOVE => (true, cache_remove),
        OVERLAY_TARG_CACHE_FLUSH => (true, cache_flush),
        OVERLAY_TARG_CACHE_ITER => (false, cache_iter),
        _ => return None,
    })
}

/// Runs a command.
///
/// # Errors
/// `ENOTTY`: unknown. `EBADF`: it needs an open for writing. Others as the command has them.
pub(crate) fn run(minor: u32, cmd: u32, arg: UserArg) -> Result<(), Errno> {
    let flags = overlay()?.requests.flags(minor)?;
    let (write, handler) = command(cmd).ok_or(Errno::ENOTTY)?;
    if write && !flags.has(sys::FWRITE) {
        return Err(Errno::EBADF);
    }
    handler(minor, arg)
}

fn hold(linkid: u32) -> Result<Hold, Errno> {
    overlay()?.devs.hold(linkid)
}

fn info(_: u32, arg: UserArg) -> Result<(), Errno> {
    let mut a: overlay_targ_info_t = arg.copyin()?;
    {
        let dev = hold(a.oti_linkid)?;
        let state = dev.state.lock();
        a.oti_needs = dev.encap.plugin().dest();
        a.oti_vnetid = state.vnetid;
        a.oti_flags = if state.active { OVERLAY_TARG_INFO_F_ACTIVE } else { 0 }
            | if state.degraded { OVERLAY_TARG_INFO_F_DEGRADED } else { 0 };
    }
    arg.copyout(&a)
}

fn associate(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_associate_t = arg.copyin()?;
    let dev = hold(a.ota_linkid)?;
    let dest = dev.encap.plugin().dest();
    if a.ota_id == 0 || a.ota_provides != dest {
        return Err(Errno::EINVAL);
    }
    let target = match a.ota_mode {
        OVERLAY_TARGET_POINT => {
            let addr = a.ota_point.underlay();
            check_addr(addr)?;
            Target::point(a.ota_id, dest, addr)
        }
        OVERLAY_TARGET_DYNAMIC => Target::dynamic(a.ota_id, dest, dev.linkid),
        _ => return Err(Errno::EINVAL),
    };
    dev.associate(target)
}

fn disassociate(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_id_t = arg.copyin()?;
    hold(a.otid_linkid)?.disassociate();
    Ok(())
}

fn degrade(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_degrade_t = arg.copyin()?;
    hold(a.otd_linkid)?.degrade(&a.otd_buf);
    Ok(())
}

fn restore(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_id_t = arg.copyin()?;
    hold(a.otid_linkid)?.restore(|_| true);
    Ok(())
}

/// Calls `f` with a link's target and what its packets use.
fn with_target<R>(
    dev: &Dev,
    f: impl FnOnce(&Target, &crate::dev::Io) -> Result<R, Errno>,
) -> Result<R, Errno> {
    let io = dev.io.read();
    f(io.target.as_ref().ok_or(Errno::ENXIO)?, &io)
}

/// Calls `f` with the link and the cache that a request is about.
///
/// # Errors
/// `EINVAL`: they are not there any more.
fn with_request<R>(
    request: Request,
    f: impl FnOnce(&Hold, &Cache, &crate::dev::Io) -> Result<R, Errno>,
) -> Result<R, Errno> {
    let dev = hold(request.linkid).map_err(|_| Errno::EINVAL)?;
    let io = dev.io.read();
    let target = io.target.as_ref().filter(|t| t.number == request.target);
    let cache = target.and_then(|t| t.cache()).ok_or(Errno::EINVAL)?;
    f(&dev, cache, &io)
}

fn lookup(minor: u32, arg: UserArg) -> Result<(), Errno> {
    let requests = &overlay()?.requests;
    let (request, a) = loop {
        let request = requests.next(minor)?;
        match describe(request) {
            Ok(a) => break (request, a),
            // Stale, or about nothing that can be read: nobody needs an answer.
            Err(_) => requests.cancel(request.id),
        }
    };
    ddi::fire!(__dtrace_probe_overlay__lookup__start, request.linkid, request.id, a.otl_varpdid, 0);
    // The caller did not get it: somebody else shall.
    arg.copyout(&a).inspect_err(|_| requests.give_back(minor, request.id))
}

/// What LOOKUP tells about a request.
fn describe(request: Request) -> Result<overlay_targ_lookup_t, Errno> {
    with_request(request, |dev, cache, io| {
        let bad = |mp| dev.drops.drop(DropReason::LookupUndecodable, dev.linkid, mp, 0);
        let (header, size) = cache.inspect(request.mac, request.id, bad).ok_or(Errno::EINVAL)?;
        let mut a = overlay_targ_lookup_t::new_zeroed();
        a.otl_dlid = u64::from(dev.linkid);
        a.otl_reqid = request.id;
        a.otl_varpdid = io.target.as_ref().map_or(0, |t| t.varpd);
        a.otl_vnetid = io.vnetid;
        a.otl_hdrsize = header.size as u64;
        a.otl_pktsize = size.saturating_sub(header.size) as u64;
        a.otl_srcaddr = header.src.0;
        a.otl_dstaddr = header.dst.0;
        a.otl_dsttype = match header.dst {
            MacAddr::BROADCAST => sys::MAC_ADDRTYPE_BROADCAST,
            mac if mac.is_multicast() => sys::MAC_ADDRTYPE_MULTICAST,
            _ => sys::MAC_ADDRTYPE_UNICAST,
        };
        a.otl_sap = u32::from(header.sap);
        a.otl_vlan = i32::from(header.vlan);
        Ok(a)
    })
}

/// The argument of RESPOND and DROP: 4 bytes shorter from a 32-bit program, behind which may be
/// nothing.
fn copyin_answer(arg: UserArg) -> Result<(u64, UnderlayAddr), Errno> {
    if arg.is_ilp32() {
        let a: ilp32::overlay_targ_resp_t = arg.copyin()?;
        return Ok((a.otr_reqid.get(), a.otr_answer.underlay()));
    }
    let a: overlay_targ_resp_t = arg.copyin()?;
    Ok((a.otr_reqid, a.otr_answer.underlay()))
}

fn respond(minor: u32, arg: UserArg) -> Result<(), Errno> {
    let (id, addr) = copyin_answer(arg)?;
    if let Err(e) = check_addr(addr) {
        // No answer at all would leave the address unanswered for ever: the lookup is over either
        // way.
        finish(minor, id, None)?;
        return Err(e);
    }
    finish(minor, id, Some(addr))
}

fn refuse(minor: u32, arg: UserArg) -> Result<(), Errno> {
    finish(minor, copyin_answer(arg)?.0, None)
}

/// Answers a request.
fn finish(minor: u32, id: u64, addr: Option<UnderlayAddr>) -> Result<(), Errno> {
    let requests = &overlay()?.requests;
    let request = requests.finish(minor, id)?;
    ddi::fire!(__dtrace_probe_overlay__lookup__done, request.linkid, id, addr.is_some(), 0);
    with_request(request, |dev, cache, io| {
        match addr {
            Some(addr) => {
                let send = |packets| tx::answered(dev, io, packets, addr);
                cache.respond(request.mac, id, addr, send)?;
            }
            None => drop_all(dev, DropReason::LookupDrop, cache.refuse(requests, request.mac, id)?),
        }
        Ok(())
    })
}

fn drop_all(dev: &Dev, reason: DropReason, mut packets: MblkChain) {
    while let Some(mp) = packets.pop() {
        dev.drops.drop(reason, dev.linkid, mp, 0);
    }
}

/// The argument of PKT, INJECT and RESEND.
struct PktArg {
    linkid: u64,
    reqid: u64,
    size: u64,
    buf: UserArg,
}

fn copyin_pkt(arg: UserArg) -> Result<PktArg, Errno> {
    Ok(if arg.is_ilp32() {
        let a: overlay_targ_pkt32_t = arg.copyin()?;
        let buf = arg.at(u64::from(a.otp_buf));
        PktArg { linkid: a.otp_linkid.get(), reqid: a.otp_reqid.get(), size: a.otp_size.get(), buf }
    } else {
        let a: overlay_targ_pkt_t = arg.copyin()?;
        let buf = arg.at(a.otp_buf);
        PktArg { linkid: a.otp_linkid, reqid: a.otp_reqid, size: a.otp_size, buf }
    })
}

fn packet(minor: u32, arg: UserArg) -> Result<(), Errno> {
    let a = copyin_pkt(arg)?;
    let request = overlay()?.requests.held(minor, a.reqid)?;
    let mp = with_request(request, |_, cache, _| cache.packet(request.mac, request.id))?;
    let size = usize::try_from(a.size).unwrap_or(usize::MAX).min(mp.size());
    let mut bytes = KVec::zeroed(size, KmFlag::Sleep)?;
    if !mp.copy_bytes(0, &mut bytes) {
        return Err(Errno::EINVAL);
    }
    drop(mp);
    a.buf.copyout::<[u8]>(&bytes)?;
    // The size lies at the same place in both forms.
    arg.offset(core::mem::offset_of!(overlay_targ_pkt_t, otp_size)).copyout(&(size as u64))
}

/// The link and the frame of INJECT and RESEND. `room`: bytes free in front of the frame.
fn copyin_frame(minor: u32, arg: UserArg, room: usize) -> Result<(Hold, Mblk), Errno> {
    let a = copyin_pkt(arg)?;
    if a.size > OVERLAY_TARG_PKT_MAX || a.size < ETHER_HDR as u64 {
        return Err(Errno::EINVAL);
    }
    let linkid = match a.linkid {
        OVERLAY_TARG_PKT_BY_REQUEST => {
            overlay()?.requests.held(minor, a.reqid).map_err(|_| Errno::ENOENT)?.linkid
        }
        id => u32::try_from(id).map_err(|_| Errno::ENOENT)?,
    };
    let dev = hold(linkid)?;
    let mut bytes = [0; OVERLAY_TARG_PKT_MAX as usize];
    let frame = bytes.get_mut(..a.size as usize).ok_or(Errno::EINVAL)?;
    a.buf.copyin_bytes(frame)?;
    let mp = Mblk::copy_from(frame, room).ok_or(Errno::ENOMEM)?;
    Ok((dev, mp))
}

fn inject(minor: u32, arg: UserArg) -> Result<(), Errno> {
    let (dev, mp) = copyin_frame(minor, arg, 0)?;
    let io = dev.io.read();
    if io.mux.is_none() {
        return Err(Errno::EBUSY);
    }
    dev.rx.add(1, mp.size() as u64);
    let mut chain = MblkChain::default();
    chain.push_front(mp);
    dev.mac.rx(chain);
    Ok(())
}

/// Bytes kept free for the outer headers of a frame that is sent.
const OUTER_HEADERS: usize = 128;

fn resend(minor: u32, arg: UserArg) -> Result<(), Errno> {
    let (dev, mp) = copyin_frame(minor, arg, OUTER_HEADERS)?;
    tx::resend(&dev, mp)
}

fn list(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_list_t = arg.copyin()?;
    if a.otl_nents >= i32::MAX as u32 / 4 {
        return Err(Errno::EINVAL);
    }
    let ids = overlay()?.devs.ids()?;
    let given = ids.get(..(a.otl_nents as usize).min(ids.len())).unwrap_or_default();
    if !given.is_empty() {
        arg.offset(size_of::<overlay_targ_list_t>()).copyout(given)?;
    }
    arg.copyout(&overlay_targ_list_t { otl_nents: ids.len() as u32 })
}

fn cache_get(_: u32, arg: UserArg) -> Result<(), Errno> {
    let mut a: overlay_targ_cache_t = arg.copyin()?;
    let dev = hold(a.otc_linkid)?;
    let mac = a.otc_entry.otce_mac;
    a.otc_entry = with_target(&dev, |target, _| match &target.mode {
        Mode::Point(addr) | Mode::Unsendable(addr) => Ok(point_entry(mac, *addr)),
        Mode::Dynamic(cache) => cache.get(mac).ok_or(Errno::ENOENT),
    })?;
    drop(dev);
    arg.copyout(&a)
}

fn point_entry(mac: [u8; 6], addr: UnderlayAddr) -> overlay_targ_cache_entry_t {
    overlay_targ_cache_entry_t { otce_mac: mac, otce_flags: 0, otce_dest: addr.into() }
}

fn cache_set(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_cache_t = arg.copyin()?;
    let entry = a.otc_entry;
    if entry.otce_flags & !OVERLAY_TARGET_CACHE_DROP != 0 {
        return Err(Errno::EINVAL);
    }
    let addr = (entry.otce_flags == 0).then(|| entry.otce_dest.underlay());
    let dev = hold(a.otc_linkid)?;
    with_target(&dev, |target, io| {
        let cache = target.cache().ok_or(Errno::ENOTSUP)?;
        addr.map_or(Ok(()), check_addr)?;
        cache.set(&overlay()?.requests, entry.otce_mac, addr, |packets| match addr {
            Some(addr) => tx::answered(&dev, io, packets, addr),
            None => drop_all(&dev, DropReason::TxTargetDrop, packets),
        })
    })
}

fn cache_remove(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_cache_t = arg.copyin()?;
    let dev = hold(a.otc_linkid)?;
    with_target(&dev, |target, _| {
        target.cache().ok_or(Errno::ENOTSUP)?.remove(a.otc_entry.otce_mac)
    })
}

fn cache_flush(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_cache_t = arg.copyin()?;
    let dev = hold(a.otc_linkid)?;
    with_target(&dev, |target, _| {
        target.cache().ok_or(Errno::ENOTSUP)?.flush();
        Ok(())
    })
}

/// A place in a walk, as it goes out and comes back: the next address, and in the lower 16 bits
/// whether that was all.
#[derive(Clone, Copy)]
enum Marker {
    From(u64),
    Done,
}

impl Marker {
    fn read(marker: u64) -> Marker {
        if marker & 0xffff == 0 { Marker::From(marker >> 16) } else { Marker::Done }
    }

    fn write(self) -> u64 {
        match self {
            Marker::From(key) if key < 1 << 48 => key << 16,
            Marker::From(_) | Marker::Done => 1,
        }
    }
}

fn cache_iter(_: u32, arg: UserArg) -> Result<(), Errno> {
    let mut a: overlay_targ_cache_iter_t = arg.copyin()?;
    if a.otci_count > OVERLAY_TARGET_ITER_MAX {
        return Err(Errno::E2BIG);
    }
    if a.otci_count == 0 {
        return Err(Errno::EINVAL);
    }
    let dev = hold(a.otci_linkid)?;
    let mut entries = KVec::new();
    let next = with_target(&dev, |target, _| match (&target.mode, Marker::read(a.otci_marker)) {
        (_, Marker::Done) => Ok(Marker::Done),
        (Mode::Point(addr) | Mode::Unsendable(addr), Marker::From(_)) => {
            entries.push(point_entry([0; 6], *addr), KmFlag::Sleep)?;
            Ok(Marker::Done)
        }
        (Mode::Dynamic(cache), Marker::From(from)) => {
            let next = cache.walk(from, usize::from(a.otci_count), &mut entries)?;
            Ok(next.map_or(Marker::Done, Marker::From))
        }
    })?;
    drop(dev);
    a.otci_marker = next.write();
    a.otci_count = entries.len() as u16;
    if !entries.is_empty() {
        let entries: &[overlay_targ_cache_entry_t] = &entries;
        arg.offset(size_of::<overlay_targ_cache_iter_t>()).copyout(entries.as_bytes())?;
    }
    arg.copyout(&a)
}

const _: () = assert!(VLAN_HDR as u64 + 1500 == OVERLAY_TARG_PKT_MAX);
