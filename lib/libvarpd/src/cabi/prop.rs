// SPDX-License-Identifier: CDDL-1.0
//! What a plugin says of the property that `vpo_propinfo` asks for.
use super::{c_str, complain};
use crate::prop;
use overlay_abi::door::LIBVARPD_PROP_SIZEMAX;
use overlay_abi::errno::Errno;
use overlay_abi::provider::varpd_prop_handle_t;
use std::ffi::{c_char, c_int, c_uint, c_void};

fn with_draft<T>(
    function: &str,
    handle: *mut varpd_prop_handle_t,
    set: impl FnOnce(&mut prop::PropInfo) -> T,
) -> Option<T> {
    let result = prop::with_draft(handle, set);
    if result.is_none() {
        complain(function, "the handle of no property");
    }
    result
}

/// Name of the property that is being described, cut after 63 bytes.
///
/// # Safety
/// `name` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_prop_set_name(
    handle: *mut varpd_prop_handle_t,
    name: *const c_char,
) {
    const NAME: &str = "libvarpd_prop_set_name";
    // SAFETY: by contract.
    let Some(name) = (unsafe { c_str(NAME, name) }) else { return };
    with_draft(NAME, handle, |info| info.set_name(name));
}

/// Its permissions, `OVERLAY_PROP_PERM_*`.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_prop_set_prot(handle: *mut varpd_prop_handle_t, prot: c_uint) {
    with_draft("libvarpd_prop_set_prot", handle, |info| info.prot = prot);
}

/// Its type, `OVERLAY_PROP_T_*`.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_prop_set_type(handle: *mut varpd_prop_handle_t, kind: c_uint) {
    with_draft("libvarpd_prop_set_type", handle, |info| info.kind = kind);
}

/// Its default. `E2BIG` above 256 bytes, `EOVERFLOW` for a negative length, `EINVAL` for NULL.
///
/// # Safety
/// `value` is NULL or points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_prop_set_default(
    handle: *mut varpd_prop_handle_t,
    value: *mut c_void,
    len: isize,
) -> c_int {
    let result = match usize::try_from(len) {
        Err(_) => Err(Errno::EOVERFLOW),
        Ok(len) if len > LIBVARPD_PROP_SIZEMAX => Err(Errno::E2BIG),
        Ok(len) if value.is_null() && len > 0 => Err(Errno::EINVAL),
        Ok(0) => Ok(&[][..]),
        // SAFETY: not NULL, thus `len` bytes by contract.
        Ok(len) => Ok(unsafe { std::slice::from_raw_parts(value.cast::<u8>().cast_const(), len) }),
    };
    let result = result.and_then(|value| {
        with_draft("libvarpd_prop_set_default", handle, |info| info.default = value.to_vec())
            .ok_or(Errno::EINVAL)
    });
    result.err().map_or(0, Errno::to_host)
}

/// It has no default.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_prop_set_nodefault(handle: *mut varpd_prop_handle_t) {
    with_draft("libvarpd_prop_set_nodefault", handle, |info| info.default.clear());
}

/// It may be a number from `min` to `max`. Left out if 256 bytes of possible values are full.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_prop_set_range_uint32(
    handle: *mut varpd_prop_handle_t,
    min: u32,
    max: u32,
) {
    with_draft("libvarpd_prop_set_range_uint32", handle, |info| info.possible.add_range(min, max));
}

/// It may be this text. Left out if 256 bytes of possible values are full.
///
/// # Safety
/// `text` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_prop_set_range_str(
    handle: *mut varpd_prop_handle_t,
    text: *const c_char,
) {
    const NAME: &str = "libvarpd_prop_set_range_str";
    // SAFETY: by contract.
    let Some(text) = (unsafe { c_str(NAME, text) }) else { return };
    with_draft(NAME, handle, |info| info.possible.add_str(text.to_bytes()));
}

/// The name that [`libvarpd_prop_set_range_str`] has in the plugin mapfile.
///
/// # Safety
/// `text` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_prop_set_rangestr(
    handle: *mut varpd_prop_handle_t,
    text: *const c_char,
) {
    // SAFETY: forwarded from the caller.
    unsafe { libvarpd_prop_set_range_str(handle, text) };
}
