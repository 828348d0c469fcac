// SPDX-License-Identifier: CDDL-1.0
//! Properties of a provider: values, defaults, ranges and permissions.

use super::{Mac, errno, ok};
use crate::check::{Kind, violation};
use crate::net::errno::*;
use illumos_sys_hdrs::*;
use std::ffi::{CStr, c_char, c_int, c_void};

impl Mac {
    /// Sets the MTU through the provider, as mac_set_prop does.
    pub fn set_mtu(&self, mtu: u32) -> Result<(), c_int> {
        let (true, Some(set)) = (self.has(MC_SETPROP), self.cb().mc_setprop) else {
            return Err(ENOTSUP);
        };
        if mtu == self.max_sdu() {
            return Ok(());
        }
        // A VNIC that was given an MTU of its own keeps it: the link may not fall below.
        if self.table().all.iter().any(|p| p.own_mtu().is_some_and(|own| mtu < own)) {
            return Err(EBUSY);
        }
        // SAFETY: the name and value outlive the call.
        ok(unsafe {
            set(self.driver_arg, c"mtu".as_ptr(), MAC_PROP_MTU, 4, (&raw const mtu).cast())
        })?;
        self.update_max_sdu(mtu)
    }

    /// Reads a property of the provider into `value`.
    pub fn get_prop(&self, id: c_int, name: &CStr, value: &mut [u8]) -> Result<(), c_int> {
        match id {
            MAC_PROP_MTU => put(value, &self.max_sdu().to_ne_bytes()),
            MAC_PROP_STATUS => put(value, &self.link_state().to_ne_bytes()),
            _ => match self.cb().mc_getprop {
                // SAFETY: the buffer is as long as said.
                Some(get) if self.has(MC_GETPROP) => ok(unsafe {
                    get(
                        self.driver_arg,
                        name.as_ptr(),
                        id,
                        u32::try_from(value.len()).map_err(|_| EINVAL)?,
                        value.as_mut_ptr().cast(),
                    )
                }),
                _ => Err(ENOTSUP),
            },
        }
    }

    /// Sets a property. The caller is in the perimeter.
    pub fn set_prop(&self, id: c_int, name: &CStr, value: &[u8]) -> Result<(), c_int> {
        match id {
            MAC_PROP_MTU => match value.first_chunk() {
                Some(v) => self.set_mtu(u32::from_ne_bytes(*v)),
                None => Err(EINVAL),
            },
            MAC_PROP_STATUS => Err(ENOTSUP),
            _ => match self.cb().mc_setprop {
                // SAFETY: as in get_prop.
                Some(set) if self.has(MC_SETPROP) => ok(unsafe {
                    set(
                        self.driver_arg,
                        name.as_ptr(),
                        id,
                        u32::try_from(value.len()).map_err(|_| EINVAL)?,
                        value.as_ptr().cast(),
                    )
                }),
                _ => Err(ENOTSUP),
            },
        }
    }

    /// Default, range and permission of a property, from the provider's mc_propinfo.
    pub fn prop_info(&self, id: c_int, name: &CStr, info: &mut PropInfo<'_>) -> Result<(), c_int> {
        info.perm = if id == MAC_PROP_STATUS { MAC_PROP_PERM_READ } else { MAC_PROP_PERM_RW };
        if id == MAC_PROP_STATUS {
            return Ok(());
        }
        if let (true, Some(ask)) = (self.has(MC_PROPINFO), self.cb().mc_propinfo) {
            // SAFETY: the handle is `info`, which the set functions take back within this call.
            unsafe { ask(self.driver_arg, name.as_ptr(), id, std::ptr::from_mut(info).cast()) }
        }
        if info.errno == 0 { Ok(()) } else { Err(info.errno) }
    }
}

fn put(to: &mut [u8], from: &[u8]) -> Result<(), c_int> {
    to.get_mut(..from.len()).ok_or(EINVAL)?.copy_from_slice(from);
    Ok(())
}

/// What mac_prop_info collects from a provider.
#[derive(Default)]
pub struct PropInfo<'a> {
    /// Where the default goes; `None` when nobody asked.
    pub default: Option<&'a mut [u8]>,
    /// Ranges so far, and how many there may be; `None` when nobody asked.
    pub ranges: Option<(&'a mut Vec<mac_propval_uint32_range_t>, usize)>,
    /// `MAC_PROP_PERM_*`.
    pub perm: u32,
    /// 0, or why the caller's buffers did not do: ENOBUFS, ENOSPC.
    pub errno: c_int,
}

/// # Safety
/// `name` is null or a C string that outlives `'a`.
unsafe fn prop_name<'a>(name: *const c_char) -> &'a CStr {
    // SAFETY: as the caller says.
    if name.is_null() { c"" } else { unsafe { CStr::from_ptr(name) } }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_set_prop(
    mh: mac_handle_t,
    id: mac_prop_id_t,
    name: *mut c_char,
    value: *mut c_void,
    size: u32,
) -> c_int {
    // SAFETY: the value has `size` bytes, or is null.
    unsafe {
        let Some(mac) = Mac::of(mh, "mac_set_prop") else { return EINVAL };
        if !mac.perim.held() {
            violation(Kind::NotOwner, "mac_set_prop outside the perimeter");
        }
        let value = match size {
            0 => &[],
            _ if value.is_null() => return EINVAL,
            n => std::slice::from_raw_parts(value.cast::<u8>(), n as usize),
        };
        errno(mac.set_prop(id, prop_name(name), value))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_prop_info(
    mh: mac_handle_t,
    id: mac_prop_id_t,
    name: *mut c_char,
    default: *mut c_void,
    default_size: u32,
    range: *mut mac_propval_range_t,
    perm: *mut u32,
) -> c_int {
    // SAFETY: each place is null or the caller's, with the sizes it gives.
    unsafe {
        let Some(mac) = Mac::of(mh, "mac_prop_info") else { return EINVAL };
        let mut ranges = Vec::new();
        let mut info = PropInfo::default();
        if !default.is_null() {
            let d = std::slice::from_raw_parts_mut(default.cast::<u8>(), default_size as usize);
            d.fill(0);
            info.default = Some(d);
        }
        if !range.is_null() {
            let room = (*range).mpr_count as usize;
            (*range).mpr_count = 0;
            info.ranges = Some((&mut ranges, room));
        }
        let r = mac.prop_info(id, prop_name(name), &mut info);
        if !perm.is_null() {
            *perm = info.perm;
        }
        if !range.is_null() && !ranges.is_empty() {
            (*range).mpr_type = MAC_PROPVAL_UINT32;
            (*range).mpr_count = ranges.len() as u32;
            let at = (&raw mut (*range).mpr_uint32).cast::<mac_propval_uint32_range_t>();
            std::ptr::copy_nonoverlapping(ranges.as_ptr(), at, ranges.len());
        }
        errno(r)
    }
}

/// # Safety
/// `ph` is the handle that mc_propinfo was called with, and that call has not returned.
unsafe fn prop_state<'a>(ph: mac_prop_info_handle_t) -> &'a mut PropInfo<'a> {
    // SAFETY: as the caller says.
    unsafe { &mut *ph.cast::<PropInfo<'a>>() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_prop_info_set_default_uint32(ph: mac_prop_info_handle_t, value: u32) {
    // SAFETY: called from mc_propinfo.
    let info = unsafe { prop_state(ph) };
    if let Some(d) = &mut info.default
        && put(d, &value.to_ne_bytes()).is_err()
    {
        info.errno = ENOBUFS;
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_prop_info_set_range_uint32(
    ph: mac_prop_info_handle_t,
    min: u32,
    max: u32,
) {
    // SAFETY: as above.
    let info = unsafe { prop_state(ph) };
    if let Some((ranges, room)) = &mut info.ranges {
        if ranges.len() < *room {
            ranges.push(mac_propval_uint32_range_t { mpur_min: min, mpur_max: max });
        } else {
            info.errno = ENOSPC;
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_prop_info_set_perm(ph: mac_prop_info_handle_t, perm: u8) {
    // SAFETY: as above.
    unsafe { prop_state(ph) }.perm = perm.into();
}

crate::symbols! { SYMBOLS "misc/mac":
    mac_set_prop, mac_prop_info, mac_prop_info_set_default_uint32, mac_prop_info_set_range_uint32,
    mac_prop_info_set_perm,
}
