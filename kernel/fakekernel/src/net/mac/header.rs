// SPDX-License-Identifier: CDDL-1.0
//! What a driver asks about the link header of a message.

use crate::net::errno::EINVAL;
use crate::net::ether::{self, ETHER_HDR, VLAN_TAG};
use crate::net::msg::{Slices, block};
use illumos_sys_hdrs::*;
use std::ffi::c_int;

/// Fills `info` from the first block. Sap numbers up to 1500 are lengths of 802.3 frames and bind
/// as 0.
///
/// # Safety
/// `mp` is a message, `info` a place for the result.
unsafe fn header_info(mp: *mut mblk_t, info: *mut mac_header_info_t) -> c_int {
    // SAFETY: the caller's message.
    let b = unsafe { block(mp) };
    if b.len() < ETHER_HDR {
        return EINVAL;
    }
    let ty = u32::from(u16::from_be_bytes([b[12], b[13]]));
    let (bindsap, pktsize) = if ty <= 1500 { (0, ETHER_HDR + ty as usize) } else { (ty, 0) };
    let dsttype = if b[..6] == ether::BROADCAST {
        MAC_ADDRTYPE_BROADCAST
    } else if b[0] & 1 != 0 {
        MAC_ADDRTYPE_MULTICAST
    } else {
        MAC_ADDRTYPE_UNICAST
    };
    // SAFETY: the caller's place, which need not be initialised.
    unsafe {
        info.write(mac_header_info_t {
            mhi_hdrsize: ETHER_HDR,
            mhi_pktsize: pktsize,
            mhi_daddr: b.as_ptr(),
            mhi_saddr: b.as_ptr().add(6),
            mhi_origsap: ty,
            mhi_bindsap: bindsap,
            mhi_dsttype: dsttype,
            mhi_tci: 0,
            mhi_istagged: 0,
            mhi_ispvid: 0,
        });
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_header_info(
    _mh: mac_handle_t,
    mp: *mut mblk_t,
    info: *mut mac_header_info_t,
) -> c_int {
    // SAFETY: the driver's message and place.
    unsafe { header_info(mp, info) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_vlan_header_info(
    _mh: mac_handle_t,
    mp: *mut mblk_t,
    info: *mut mac_header_info_t,
) -> c_int {
    // SAFETY: as above; on success `info` is filled and its addresses point into the first block.
    unsafe {
        let e = header_info(mp, info);
        if e != 0 || (*info).mhi_bindsap != ETHERTYPE_VLAN {
            return e;
        }
        // The tag may lie in the next block: read it over the boundary, the message stays as it is.
        let mut h = [0; ETHER_HDR + VLAN_TAG];
        let mut n = 0;
        for s in Slices::of(mp) {
            let k = s.len().min(h.len() - n);
            h[n..n + k].copy_from_slice(&s[..k]);
            n += k;
        }
        if n < h.len() {
            return EINVAL;
        }
        let sap = u32::from(u16::from_be_bytes([h[16], h[17]]));
        (*info).mhi_hdrsize = h.len();
        (*info).mhi_tci = u16::from_be_bytes([h[14], h[15]]);
        (*info).mhi_istagged = 1;
        (*info).mhi_bindsap = if sap <= 1500 { 0 } else { sap };
        // The canonical format indicator means addresses in another bit order: not Ethernet.
        if (*info).mhi_tci & 0x1000 != 0 { EINVAL } else { 0 }
    }
}

crate::symbols! { SYMBOLS "misc/mac": mac_header_info, mac_vlan_header_info, }
