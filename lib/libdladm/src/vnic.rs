// SPDX-License-Identifier: CDDL-1.0
//! VNICs: virtual cards on top of another link.

use crate::dlmgmt::{Class, Flags};
use crate::{Failure, Handle, Status};
use overlay_abi::dld::MAXMACADDRLEN;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, MacAddr};
use overlay_abi::vnic::*;
use zerocopy::FromZeros;

/// First three bytes of an address that the system makes up.
pub const DEFAULT_PREFIX: [u8; 3] = [0x02, 0x08, 0x20];

/// Where a VNIC's address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mac {
    /// The link's choice, which is random unless it has addresses of its own to give.
    Auto,
    /// Random behind these three bytes.
    Random([u8; 3]),
    /// This one.
    Fixed(MacAddr),
}

/// What [`create`] is to make.
#[derive(Clone, Copy, Debug)]
pub struct Create<'a> {
    /// Name of the VNIC.
    pub name: &'a str,
    /// The link below.
    pub over: LinkId,
    /// Its address.
    pub mac: Mac,
    /// VLAN id 1 to 4094, 0 for untagged.
    pub vid: u16,
    /// Create it although the link below cannot do the VLAN tag at full MTU.
    pub force: bool,
    /// Not to be remembered over a reboot.
    pub temporary: bool,
}

/// A VNIC as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// The link below.
    pub over: LinkId,
    /// Its address.
    pub mac: MacAddr,
    /// `VNIC_MAC_ADDR_TYPE_*`.
    pub mac_type: i32,
    /// VLAN id, 0 for untagged.
    pub vid: u16,
}

impl Info {
    /// Where the address came from, as `show-vnic` prints it.
    pub fn mac_type_text(&self) -> &'static str {
        match self.mac_type {
            VNIC_MAC_ADDR_TYPE_FIXED => "fixed",
            VNIC_MAC_ADDR_TYPE_RANDOM => "random",
            VNIC_MAC_ADDR_TYPE_FACTORY => "factory",
            VNIC_MAC_ADDR_TYPE_AUTO => "auto",
            VNIC_MAC_ADDR_TYPE_PRIMARY => "primary",
            _ => "unknown",
        }
    }
}

/// Makes a VNIC; returns its id and the address it got.
///
/// [`Status::InvalidMacAddr`] for a multicast or all-zero address, [`Status::MacAddrInUse`] for one
/// that is taken, [`Status::VidInval`] for a VLAN id that is none.
pub fn create(h: &Handle, spec: &Create) -> Result<(LinkId, MacAddr), Failure> {
    let (kind, bytes, len, prefix) = match spec.mac {
        Mac::Auto => (VNIC_MAC_ADDR_TYPE_AUTO, &DEFAULT_PREFIX[..], 0, DEFAULT_PREFIX.len()),
        Mac::Random(ref prefix) => (VNIC_MAC_ADDR_TYPE_RANDOM, &prefix[..], 0, prefix.len()),
        Mac::Fixed(MacAddr(ref mac)) => (VNIC_MAC_ADDR_TYPE_FIXED, &mac[..], mac.len(), 0),
    };
    if bytes[0] & 1 != 0 || (len != 0 && bytes.iter().all(|b| *b == 0)) {
        return Err(Status::InvalidMacAddr.into());
    }
    if spec.vid > 4094 {
        return Err(Status::VidInval.into());
    }
    let mut mac_addr = [0; MAXMACADDRLEN];
    mac_addr[..bytes.len()].copy_from_slice(bytes);

    let flags = Flags::new_link(spec.temporary);
    let linkid = h.dlmgmt.create(spec.name, Class::VNIC, flags)?;
    let mut arg = vnic_ioc_create_t::new_zeroed();
    arg.vc_vnic_id = linkid.0;
    arg.vc_link_id = spec.over.0;
    arg.vc_mac_addr_type = kind;
    arg.vc_mac_len = len as u32;
    arg.vc_mac_addr = mac_addr;
    arg.vc_mac_prefix_len = prefix as u32;
    arg.vc_mac_slot = -1;
    arg.vc_vid = spec.vid;
    arg.vc_flags = if spec.force { VNIC_IOC_CREATE_FORCE } else { 0 };
    match h.dld.ioctl_with(VNIC_IOC_CREATE, &mut arg) {
        Ok(_) => Ok((linkid, mac(&arg.vc_mac_addr))),
        Err(e) => {
            // The reason counts; without a device the name can only be stale, which delete-vnic
            // mends.
            let _ = h.dlmgmt.destroy(linkid, flags);
            Err(match (e, Status::from(e)) {
                // The id is fresh, so what exists can only be the address.
                (Errno::EEXIST, _) => Status::MacAddrInUse.into(),
                // A link that does not start has reasons of its own, such as an address that is not
                // there.
                (e, Status::Failed) => {
                    Failure::new(e, vec![format!("failed to create vnic device: {e}")])
                }
                (e, _) => e.into(),
            })
        }
    }
}

fn mac(bytes: &[u8; MAXMACADDRLEN]) -> MacAddr {
    let [a, b, c, d, e, f, ..] = *bytes;
    MacAddr([a, b, c, d, e, f])
}

/// Removes a VNIC. [`Status::BadArg`] for a link of another class, [`Status::LinkBusy`] while
/// something uses it.
pub fn delete(h: &Handle, linkid: LinkId) -> Result<(), Status> {
    let link = h.by_id(linkid)?;
    if link.class != Class::VNIC {
        return Err(Status::BadArg);
    }
    let mut arg = vnic_ioc_delete_t { vd_vnic_id: linkid.0 };
    match h.dld.ioctl_with(VNIC_IOC_DELETE, &mut arg) {
        // A name whose device went with an earlier kernel.
        Ok(_) | Err(Errno::ENOENT) => Ok(h.dlmgmt.destroy(linkid, link.flags)?),
        Err(e) => Err(e.into()),
    }
}

/// Describes a VNIC.
pub fn info(h: &Handle, linkid: LinkId) -> Result<Info, Status> {
    let mut arg = vnic_info_t::new_zeroed();
    arg.vn_vnic_id = linkid.0;
    h.dld.ioctl_with(VNIC_IOC_INFO, &mut arg)?;
    Ok(Info {
        over: LinkId(arg.vn_link_id),
        mac: mac(&arg.vn_mac_addr),
        mac_type: arg.vn_mac_addr_type,
        vid: arg.vn_vid,
    })
}
