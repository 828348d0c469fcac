// SPDX-License-Identifier: CDDL-1.0
//! The ioctls of `/dev/overlay` (spec/varpd.md 9.3, 10): what varpd uses.
//!
//! ```text
//!   run ─► command of the open's version ─► copyin ─► work ─► copyout
//!            here: layouts that both have      ops: what does not depend on layouts
//!            v1, v2: the others
//! ```
//!
//! Nothing is locked while memory of the caller is touched: its pages may have to come from disk.
mod ops;
mod v1;
mod v2;

use crate::dev::Hold;
use crate::frame::{ETHER_HDR, VLAN_HDR};
use crate::{overlay, tx};
use ddi::Errno;
use ddi::dev::UserArg;
use ddi::mblk::{Mblk, MblkChain};
use ddi::mem::{KVec, KmFlag};
use ddi::sys;
use ops::{hold, with_request};
use overlay_abi::target::*;

type Handler = fn(minor: u32, arg: UserArg) -> Result<(), Errno>;

/// The handler of a command that is the same in all versions, and whether it needs an open for
/// writing.
fn command(cmd: u32) -> Option<(bool, Handler)> {
    Some(match cmd {
        OVERLAY_TARG_ABI => (false, abi),
        OVERLAY_TARG_DISASSOCIATE => (true, disassociate),
        OVERLAY_TARG_DEGRADE => (true, degrade),
        OVERLAY_TARG_RESTORE => (true, restore),
        OVERLAY_TARG_INJECT => (true, inject),
        OVERLAY_TARG_PKT => (true, packet),
        OVERLAY_TARG_RESEND => (true, resend),
        OVERLAY_TARG_LIST => (false, list),
        _ => return None,
    })
}

/// Runs a command.
///
/// # Errors
/// `ENOTTY`: unknown. `EBADF`: it needs an open for writing. Others as the command has them.
pub(crate) fn run(minor: u32, cmd: u32, arg: UserArg) -> Result<(), Errno> {
    let open = overlay()?.requests.how(minor)?;
    let versioned = if open.abi == 1 { v1::command } else { v2::command };
    let (write, handler) = command(cmd).or_else(|| versioned(cmd)).ok_or(Errno::ENOTTY)?;
    if write && !open.flags.has(sys::FWRITE) {
        return Err(Errno::EBADF);
    }
    handler(minor, arg)
}

fn abi(minor: u32, arg: UserArg) -> Result<(), Errno> {
    let wanted: u32 = arg.copyin()?;
    if wanted == 0 {
        return Err(Errno::EINVAL);
    }
    let version = wanted.min(overlay_abi::target::v2::VERSION);
    arg.copyout(&version)?;
    overlay()?.requests.speak(minor, version)
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
    let mp = with_request(request, |_, cache, _| ops::packet(cache, request))?;
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

const _: () = assert!(VLAN_HDR as u64 + 1500 == OVERLAY_TARG_PKT_MAX);
