// SPDX-License-Identifier: CDDL-1.0
//! Version 1: what has other layouts in version 2. It knows nothing of data centers and routers:
//! what it says is of the link's own, and questions about routes are not put to it.
use super::Handler;
use super::ops::{self, Answer, Info, hold, with_target};
use crate::overlay;
use crate::request::About;
use crate::target::Mode;
use crate::target::cache::Dest;
use ddi::Errno;
use ddi::dev::UserArg;
use ddi::mem::{KVec, KmFlag};
use overlay_abi::ids::UnderlayAddr;
use overlay_abi::target::*;
use zerocopy::{FromZeros, IntoBytes};

/// As [`super::command`]. LOOKUP needs an open for writing, other than in C: it takes a request away
/// from whoever else would answer it.
pub(super) fn command(cmd: u32) -> Option<(bool, Handler)> {
    Some(match cmd {
        OVERLAY_TARG_INFO => (true, info),
        OVERLAY_TARG_ASSOCIATE => (true, associate),
        OVERLAY_TARG_LOOKUP => (true, lookup),
        OVERLAY_TARG_RESPOND => (true, respond),
        OVERLAY_TARG_DROP => (true, refuse),
        OVERLAY_TARG_CACHE_GET => (false, cache_get),
        OVERLAY_TARG_CACHE_SET => (true, cache_set),
        OVERLAY_TARG_CACHE_REMOVE => (true, cache_remove),
        OVERLAY_TARG_CACHE_FLUSH => (true, cache_flush),
        OVERLAY_TARG_CACHE_ITER => (false, cache_iter),
        _ => return None,
    })
}

fn info(_: u32, arg: UserArg) -> Result<(), Errno> {
    let mut a: overlay_targ_info_t = arg.copyin()?;
    let info = ops::info(a.oti_linkid)?;
    a.oti_needs = info.needs;
    a.oti_vnetid = info.vnetid;
    a.oti_flags = flags(&info);
    arg.copyout(&a)
}

/// `OVERLAY_TARG_INFO_F_*`
pub(super) fn flags(info: &Info) -> u64 {
    (if info.active { OVERLAY_TARG_INFO_F_ACTIVE } else { 0 })
        | if info.degraded { OVERLAY_TARG_INFO_F_DEGRADED } else { 0 }
}

fn associate(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_associate_t = arg.copyin()?;
    let point = a.ota_point.underlay();
    ops::associate(a.ota_linkid, (a.ota_id, a.ota_mode), a.ota_provides, point)
}

fn lookup(minor: u32, arg: UserArg) -> Result<(), Errno> {
    let q = ops::next_question(minor, |about| matches!(about, About::Mac(_)))?;
    let mut a = overlay_targ_lookup_t::new_zeroed();
    a.otl_dlid = u64::from(q.request.linkid);
    a.otl_reqid = q.request.id;
    a.otl_varpdid = q.varpd;
    a.otl_vnetid = q.vnetid;
    a.otl_hdrsize = q.header.size as u64;
    a.otl_pktsize = q.payload();
    a.otl_srcaddr = q.header.src.0;
    a.otl_dstaddr = q.header.dst.0;
    a.otl_dsttype = q.dsttype();
    a.otl_sap = u32::from(q.header.sap);
    a.otl_vlan = i32::from(q.header.vlan);
    // The caller did not get it: somebody else shall.
    let requests = &overlay()?.requests;
    arg.copyout(&a).inspect_err(|_| requests.give_back(minor, q.request.id))
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
    ops::finish(minor, id, Answer::Place(Dest::To(addr)))
}

fn refuse(minor: u32, arg: UserArg) -> Result<(), Errno> {
    ops::finish(minor, copyin_answer(arg)?.0, Answer::Drop)
}

/// What is known of an address; a router is not shown, for there is no word for it.
fn entry(mac: [u8; 6], dest: Dest) -> Option<overlay_targ_cache_entry_t> {
    let (otce_flags, otce_dest) = match dest {
        Dest::To(addr) => (0, overlay_target_point_t::from(addr)),
        Dest::Drop => (OVERLAY_TARGET_CACHE_DROP, overlay_target_point_t::new_zeroed()),
        Dest::Router => return None,
    };
    Some(overlay_targ_cache_entry_t { otce_mac: mac, otce_flags, otce_dest })
}

fn cache_get(_: u32, arg: UserArg) -> Result<(), Errno> {
    let mut a: overlay_targ_cache_t = arg.copyin()?;
    let dev = hold(a.otc_linkid)?;
    let mac = a.otc_entry.otce_mac;
    let dest = with_target(&dev, |target, _| match &target.mode {
        Mode::Point(addr) | Mode::Unsendable(addr) => Ok(Dest::To(*addr)),
        Mode::Dynamic(cache) => cache.get(0, mac).ok_or(Errno::ENOENT),
    })?;
    drop(dev);
    a.otc_entry = entry(mac, dest).ok_or(Errno::ENOENT)?;
    arg.copyout(&a)
}

fn cache_set(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_cache_t = arg.copyin()?;
    let entry = a.otc_entry;
    let dest = match entry.otce_flags {
        0 => Dest::To(entry.otce_dest.underlay()),
        OVERLAY_TARGET_CACHE_DROP => Dest::Drop,
        _ => return Err(Errno::EINVAL),
    };
    ops::cache_set(a.otc_linkid, (0, entry.otce_mac), dest)
}

fn cache_remove(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_cache_t = arg.copyin()?;
    ops::cache_remove(a.otc_linkid, 0, a.otc_entry.otce_mac)
}

fn cache_flush(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_cache_t = arg.copyin()?;
    ops::cache_flush(a.otc_linkid)
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
            if let Some(entry) = entry([0; 6], Dest::To(*addr)) {
                entries.push(entry, KmFlag::Sleep)?;
            }
            Ok(Marker::Done)
        }
        (Mode::Dynamic(cache), Marker::From(from)) => {
            let max = usize::from(a.otci_count);
            let show = |key, dest: &Dest| entry(ops::mac(key), *dest);
            let next = cache.walk_own(from, max, show, &mut entries)?;
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
