// SPDX-License-Identifier: CDDL-1.0
//! What all links have: MTU, state, speed.

use crate::{Handle, Status};
use overlay_abi::dld::*;
use overlay_abi::errno::Errno;
use overlay_abi::ids::LinkId;
use overlay_abi::to_c_name;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `pr_num` of the speed in bits a second, a `u64`.
const MAC_PROP_SPEED: i32 = 2;
/// `pr_num` of the link state, a `u32`.
const MAC_PROP_STATUS: i32 = 3;

/// A [`dld_ioc_macprop_t`] with room for any value that we ask for.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct MacProp {
    flags: u32,
    linkid: u32,
    num: i32,
    perm: u32,
    name: [u8; MAXLINKPROPNAME],
    valsize: u32,
    value: [u8; 256],
}

const _: () = assert!(std::mem::offset_of!(MacProp, value) == DLD_MACPROP_VAL);

impl MacProp {
    fn new(linkid: LinkId, num: i32, name: &str, flags: u32, valsize: usize) -> MacProp {
        let mut arg = MacProp::new_zeroed();
        arg.flags = flags;
        arg.linkid = linkid.0;
        arg.num = num;
        arg.name = to_c_name(name).unwrap_or(arg.name);
        arg.valsize = valsize as u32;
        arg
    }

    /// Asks for a value of `N` bytes; returns it with its permissions.
    fn get<const N: usize>(
        h: &Handle,
        linkid: LinkId,
        num: i32,
        name: &str,
        flags: u32,
    ) -> Result<([u8; N], u32), Errno> {
        let mut arg = MacProp::new(linkid, num, name, flags, N);
        h.dld.ioctl_with(DLDIOC_GETMACPROP, &mut arg)?;
        let mut value = [0; N];
        value.copy_from_slice(&arg.value[..N]);
        Ok((value, arg.perm))
    }
}

/// The property `mtu` of a link, all in bytes of payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mtu {
    /// Its value.
    pub value: u32,
    /// What it was at first, if the driver tells.
    pub default: Option<u32>,
    /// What it may be, as a blob for [`crate::overlay::format_possible`]; empty if the driver does
    /// not tell.
    pub possible: Vec<u8>,
    /// Whether it can be set.
    pub writable: bool,
}

/// Reads the property `mtu`.
pub fn mtu(h: &Handle, linkid: LinkId) -> Result<Mtu, Status> {
    let get = |flags| MacProp::get::<4>(h, linkid, MAC_PROP_MTU, "mtu", flags);
    let (value, perm) = get(0)?;
    let default = get(DLD_PROP_DEFAULT).ok().map(|(v, _)| u32::from_ne_bytes(v));
    let possible = MacProp::get::<256>(h, linkid, MAC_PROP_MTU, "mtu", DLD_PROP_POSSIBLE)
        .map_or(Vec::new(), |(blob, _)| blob.to_vec());
    Ok(Mtu {
        value: u32::from_ne_bytes(value),
        default,
        possible,
        writable: perm & MAC_PROP_PERM_WRITE != 0,
    })
}

/// Sets the property `mtu`. [`Status::BadArg`] out of range, [`Status::LinkBusy`] if the link above
/// or below forbids it.
pub fn set_mtu(h: &Handle, linkid: LinkId, mtu: u32) -> Result<(), Status> {
    let mut arg = MacProp::new(linkid, MAC_PROP_MTU, "mtu", 0, 4);
    arg.value[..4].copy_from_slice(&mtu.to_ne_bytes());
    h.dld.ioctl_with(DLDIOC_SETMACPROP, &mut arg)?;
    Ok(())
}

/// Largest payload of a frame, in bytes, as `show-link` prints it.
pub fn max_sdu(h: &Handle, linkid: LinkId) -> Result<u32, Status> {
    let mut arg = dld_ioc_attr_t { dia_linkid: linkid.0, dia_max_sdu: 0 };
    h.dld.ioctl_with(DLDIOC_ATTR, &mut arg)?;
    Ok(arg.dia_max_sdu)
}

/// `up`, `down`, or `unknown` if the driver does not tell.
pub fn state(h: &Handle, linkid: LinkId) -> &'static str {
    match MacProp::get::<4>(h, linkid, MAC_PROP_STATUS, "state", 0) {
        Ok((v, _)) if u32::from_ne_bytes(v) == 1 => "up",
        Ok((v, _)) if u32::from_ne_bytes(v) == 0 => "down",
        _ => "unknown",
    }
}

/// Speed in Mb/s, 0 if the driver does not tell.
pub fn speed(h: &Handle, linkid: LinkId) -> u64 {
    MacProp::get::<8>(h, linkid, MAC_PROP_SPEED, "speed", 0)
        .map_or(0, |(v, _)| u64::from_ne_bytes(v) / 1_000_000)
}
