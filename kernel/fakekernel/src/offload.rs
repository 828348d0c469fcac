// SPDX-License-Identifier: CDDL-1.0
//! Checksum and segmentation requests that travel with a message.
use crate::mblk::offload;
use illumos_sys_hdrs::{HCK_FLAGS, HCK_FULLCKSUM, HCK_PARTIALCKSUM, HW_LSO, mblk_t};

unsafe fn put(to: *mut u32, value: u32) {
    if !to.is_null() {
        // SAFETY: the caller passes NULL or a place for it.
        unsafe { *to = value };
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_hcksum_get(
    mp: *const mblk_t,
    start: *mut u32,
    stuff: *mut u32,
    end: *mut u32,
    value: *mut u32,
    flags: *mut u32,
) {
    // SAFETY: a live message; each place is NULL or valid.
    unsafe {
        let o = offload(mp);
        let f = u32::from(o.offload_flags) & HCK_FLAGS;
        put(flags, f);
        let asked = f & (HCK_PARTIALCKSUM | HCK_FULLCKSUM) != 0;
        put(value, if asked { o.cksum_value & 0xffff } else { 0 });
        let partial = f & HCK_PARTIALCKSUM != 0;
        let at = |n: isize| if partial { u32::try_from(n).unwrap_or(0) } else { 0 };
        put(start, at(o.cksum_start));
        put(stuff, at(o.cksum_stuff));
        put(end, at(o.cksum_end));
    }
}

/// Replaces the checksum request. The LSO flag lies in the same word and goes too: lso_info_set
/// comes after.
#[unsafe(no_mangle)]
unsafe extern "C" fn mac_hcksum_set(
    mp: *mut mblk_t,
    start: u32,
    stuff: u32,
    end: u32,
    value: u32,
    flags: u32,
) {
    // SAFETY: a live message.
    let o = unsafe { offload(mp) };
    o.cksum_start = start as isize;
    o.cksum_stuff = stuff as isize;
    o.cksum_end = end as isize;
    o.cksum_value = value & 0xffff;
    o.offload_flags = flags as u16;
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_lso_get(mp: *mut mblk_t, mss: *mut u32, flags: *mut u32) {
    // SAFETY: a live message; each place is NULL or valid.
    unsafe {
        let o = offload(mp);
        let f = u32::from(o.offload_flags) & HW_LSO;
        put(flags, f);
        put(mss, if f != 0 { o.lso_mss.into() } else { 0 });
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lso_info_set(mp: *mut mblk_t, mss: u32, flags: u32) {
    // SAFETY: a live message.
    let o = unsafe { offload(mp) };
    if flags & HW_LSO != 0 {
        o.offload_flags |= HW_LSO as u16;
        o.lso_mss = u16::try_from(mss).unwrap_or(u16::MAX);
    } else {
        o.offload_flags &= !(HW_LSO as u16);
        o.lso_mss = 0;
    }
}

crate::symbols! { SYMBOLS "misc/mac": mac_hcksum_get, mac_hcksum_set, mac_lso_get, lso_info_set, }
