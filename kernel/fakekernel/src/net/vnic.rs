// SPDX-License-Identifier: CDDL-1.0
//! drv/vnic: creating, deleting and describing VNICs through the dld control device.

use super::dls::{self, Datalink};
use super::errno::*;
use super::ether;
use super::mac::Mac;
use super::port::Port;
use illumos_sys_hdrs::{DLDCOPYIN, DLDCOPYINOUT, cred_t, dld_ioc_info_t, secpolicy_dl_config};
use overlay_abi::dld::MAXMACADDRLEN;
use overlay_abi::vnic::*;
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The ioctls, in the form that drivers register.
pub static IOCTLS: [dld_ioc_info_t; 3] = [
    dld_ioc_info_t {
        di_cmd: VNIC_IOC_CREATE,
        di_flags: DLDCOPYINOUT,
        di_argsize: size_of::<vnic_ioc_create_t>(),
        di_func: Some(ioc_create),
        di_priv_func: Some(secpolicy_dl_config),
    },
    dld_ioc_info_t {
        di_cmd: VNIC_IOC_DELETE,
        di_flags: DLDCOPYIN,
        di_argsize: size_of::<vnic_ioc_delete_t>(),
        di_func: Some(ioc_delete),
        di_priv_func: Some(secpolicy_dl_config),
    },
    dld_ioc_info_t {
        di_cmd: VNIC_IOC_INFO,
        di_flags: DLDCOPYINOUT,
        di_argsize: size_of::<vnic_info_t>(),
        di_func: Some(ioc_info),
        di_priv_func: None,
    },
];

/// `vc_mac_addr_type` of VRRP, which is not here.
const VNIC_MAC_ADDR_TYPE_VRID: c_int = 5;

/// `vc_diag`: why an address was refused.
mod diag {
    /// Nothing to say.
    pub const NONE: u32 = 0;
    /// The address is the link's own.
    pub const MACADDR_NIC: u32 = 1;
    /// Another VNIC has it.
    pub const MACADDR_INUSE: u32 = 2;
    /// Zero, or a group's.
    pub const MACADDR_INVALID: u32 = 3;
    /// Not six bytes.
    pub const MACADDRLEN_INVALID: u32 = 4;
    /// The link has no factory addresses to give.
    pub const MACFACTORYNOTSUP: u32 = 8;
    /// A group's prefix.
    pub const MACPREFIX_INVALID: u32 = 9;
    /// Longer than an address.
    pub const MACPREFIXLEN_INVALID: u32 = 10;
    /// The link has no room for a tag.
    pub const MACMARGIN_INVALID: u32 = 11;
}

/// The prefix of random addresses when none is given: locally administered, as VNICs have it.
const PREFIX: [u8; 3] = [0x02, 0x08, 0x20];
/// Tries for a random address that is free.
const TRIES: usize = 16;

unsafe extern "C" fn ioc_create(
    karg: *mut c_void,
    _arg: isize,
    _mode: c_int,
    _cr: *mut cred_t,
    _rv: *mut c_int,
) -> c_int {
    // SAFETY: dld hands a buffer of di_argsize bytes; any bytes are a valid vnic_ioc_create_t.
    create(unsafe { &mut *karg.cast() }).err().unwrap_or(0)
}

unsafe extern "C" fn ioc_delete(
    karg: *mut c_void,
    _arg: isize,
    _mode: c_int,
    _cr: *mut cred_t,
    _rv: *mut c_int,
) -> c_int {
    // SAFETY: as above.
    let id = unsafe { (*karg.cast::<vnic_ioc_delete_t>()).vd_vnic_id };
    match dls::remove_vnic(id) {
        Ok(port) => {
            port.mac.detach(&port);
            0
        }
        Err(e) => e,
    }
}

unsafe extern "C" fn ioc_info(
    karg: *mut c_void,
    _arg: isize,
    _mode: c_int,
    _cr: *mut cred_t,
    _rv: *mut c_int,
) -> c_int {
    // SAFETY: as above.
    let info = unsafe { &mut *karg.cast::<vnic_info_t>() };
    let Some(Datalink::Vnic(port)) = dls::find(info.vn_vnic_id) else { return ENOENT };
    info.vn_link_id = port.mac.linkid.load(Ordering::SeqCst);
    info.vn_mac_addr_type = port.addr_type;
    info.vn_mac_len = 6;
    info.vn_mac_addr = [0; MAXMACADDRLEN];
    info.vn_mac_addr[..6].copy_from_slice(&port.addr.unwrap_or_default());
    info.vn_mac_slot = -1;
    info.vn_mac_prefix_len = 0;
    info.vn_vid = port.vid;
    info.vn_pad = 0;
    info.vn_vrid = 0;
    info.vn_af = 0;
    info.vn_force = 0;
    info.vn_resource_props = [0; MAC_RESOURCE_PROPS_SIZE];
    0
}

/// Creates a VNIC and starts the link when it is the first; fills in the address that it got.
///
/// EINVAL: id 0, VLAN id above 4094, bad address or prefix, link is a VNIC. ENOENT: no such link.
/// EEXIST: the id is taken, or the address on that VLAN. ENOTSUP: kinds of address and of link
/// there are none of here, or no room for a tag. Else what the provider's start gives. `vc_diag`
/// tells address errors apart.
fn create(c: &mut vnic_ioc_create_t) -> Result<(), c_int> {
    c.vc_diag = diag::NONE;
    if c.vc_vnic_id == 0 || c.vc_vid > 4094 {
        return Err(EINVAL);
    }
    if c.vc_flags & VNIC_IOC_CREATE_ANCHOR != 0 {
        return Err(ENOTSUP);
    }
    if dls::find(c.vc_vnic_id).is_some() {
        return Err(EEXIST);
    }
    let mac = match dls::find(c.vc_link_id).ok_or(ENOENT)? {
        Datalink::Net(m) => m,
        Datalink::Vnic(_) => return Err(EINVAL),
    };
    if c.vc_vid != 0 && mac.margin < 4 && c.vc_flags & VNIC_IOC_CREATE_FORCE == 0 {
        c.vc_diag = diag::MACMARGIN_INVALID;
        return Err(ENOTSUP);
    }
    let id = c.vc_vnic_id;
    let vid = c.vc_vid;
    let mut port = None;
    for _ in 0..TRIES {
        let (addr, kind) = choose(c, &mac)?;
        let p = Port::new(mac.clone(), id, Some(addr), vid, kind);
        match mac.attach(&p) {
            Ok(()) => {
                port = Some(p);
                break;
            }
            Err(EEXIST) if kind == VNIC_MAC_ADDR_TYPE_RANDOM && c.vc_mac_len == 0 => {}
            Err(e) => {
                if e == EEXIST {
                    c.vc_diag = diag::MACADDR_INUSE;
                }
                return Err(e);
            }
        }
    }
    let port: Arc<Port> = port.ok_or(ENOSPC)?;
    if let Err(e) = dls::insert_vnic(&port) {
        mac.detach(&port);
        return Err(e);
    }
    c.vc_mac_addr = [0; MAXMACADDRLEN];
    c.vc_mac_addr[..6].copy_from_slice(&port.addr.unwrap_or_default());
    c.vc_mac_addr_type = port.addr_type;
    c.vc_mac_len = 6;
    c.vc_mac_slot = -1;
    c.vc_status = 0;
    Ok(())
}

/// The address for a new VNIC and the kind that it is.
fn choose(c: &mut vnic_ioc_create_t, mac: &Mac) -> Result<(ether::Mac, c_int), c_int> {
    let given = c.vc_mac_addr;
    let refuse = |c: &mut vnic_ioc_create_t, diag| {
        c.vc_diag = diag;
        Err(EINVAL)
    };
    let fixed = |c: &mut vnic_ioc_create_t, kind| {
        if c.vc_mac_len != 6 {
            return refuse(c, diag::MACADDRLEN_INVALID);
        }
        let [a0, a1, a2, a3, a4, a5, ..] = given;
        let addr = [a0, a1, a2, a3, a4, a5];
        if !ether::is_station(&addr) {
            return refuse(c, diag::MACADDR_INVALID);
        }
        if addr == mac.src_addr {
            return refuse(c, diag::MACADDR_NIC);
        }
        Ok((addr, kind))
    };
    match c.vc_mac_addr_type {
        VNIC_MAC_ADDR_TYPE_FIXED => fixed(c, VNIC_MAC_ADDR_TYPE_FIXED),
        // One that was drawn before comes back with its length.
        VNIC_MAC_ADDR_TYPE_RANDOM if c.vc_mac_len != 0 => fixed(c, VNIC_MAC_ADDR_TYPE_RANDOM),
        VNIC_MAC_ADDR_TYPE_RANDOM | VNIC_MAC_ADDR_TYPE_AUTO => {
            let n = c.vc_mac_prefix_len as usize;
            if n > 6 {
                return refuse(c, diag::MACPREFIXLEN_INVALID);
            }
            let prefix = if n == 0 || given[..n].iter().all(|b| *b == 0) {
                &PREFIX[..]
            } else {
                &given[..n]
            };
            if prefix[0] & 1 != 0 {
                return refuse(c, diag::MACPREFIX_INVALID);
            }
            let mut addr = random()?;
            addr[..prefix.len()].copy_from_slice(prefix);
            Ok((addr, VNIC_MAC_ADDR_TYPE_RANDOM))
        }
        VNIC_MAC_ADDR_TYPE_PRIMARY if ether::is_station(&mac.src_addr) => {
            Ok((mac.src_addr, VNIC_MAC_ADDR_TYPE_PRIMARY))
        }
        VNIC_MAC_ADDR_TYPE_FACTORY => {
            c.vc_diag = diag::MACFACTORYNOTSUP;
            Err(ENOTSUP)
        }
        VNIC_MAC_ADDR_TYPE_PRIMARY | VNIC_MAC_ADDR_TYPE_VRID => Err(ENOTSUP),
        _ => Err(EINVAL),
    }
}

fn random() -> Result<[u8; 6], c_int> {
    let mut b = [0; 6];
    // SAFETY: six bytes to fill.
    let n = unsafe { libc::getrandom(b.as_mut_ptr().cast(), b.len(), 0) };
    if n == 6 { Ok(b) } else { Err(EIO) }
}
