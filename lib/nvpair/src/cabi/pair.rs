// SPDX-License-Identifier: CDDL-1.0
//! Walking over the pairs of a list, and what a pair is.
use super::add::add;
use super::{c_str, give, host, list, nvpair_t, pair};
use crate::NV_UNIQUE_NAME;
use crate::list::Pair;
use overlay_abi::errno::Errno;
use overlay_abi::provider::nvlist_t;
use std::ffi::{c_char, c_int};
use std::ptr::{from_ref, null_mut};

fn to_c(pair: Option<&Pair>) -> *mut nvpair_t {
    pair.map_or(null_mut(), |p| from_ref(p).cast_mut().cast())
}

/// The pair that comes after another one, or the first one after NULL. NULL: there is none, or the
/// pair is not in the list.
fn after<'a>(mut pairs: impl Iterator<Item = &'a Pair>, nvp: *mut nvpair_t) -> *mut nvpair_t {
    if !nvp.is_null() {
        pairs.find(|p| std::ptr::eq(*p, nvp.cast()));
    }
    to_c(pairs.next())
}

/// The next pair; see [`nvlist_prev_nvpair`] for the other direction.
///
/// # Safety
/// See the module; `nvp` may be a pair that is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_next_nvpair(
    nvl: *mut nvlist_t,
    nvp: *mut nvpair_t,
) -> *mut nvpair_t {
    // SAFETY: forwarded from the caller.
    unsafe { list(nvl) }.map_or(null_mut(), |l| after(l.pairs(), nvp))
}

/// The pair before, or the last one before NULL.
///
/// # Safety
/// See the module; `nvp` may be a pair that is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_prev_nvpair(
    nvl: *mut nvlist_t,
    nvp: *mut nvpair_t,
) -> *mut nvpair_t {
    // SAFETY: forwarded from the caller.
    unsafe { list(nvl) }.map_or(null_mut(), |l| after(l.pairs().rev(), nvp))
}

/// The pair of a name, which is not taken apart as a path. `EINVAL` without one, as in libnvpair.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_lookup_nvpair(
    nvl: *mut nvlist_t,
    name: *const c_char,
    out: *mut *mut nvpair_t,
) -> c_int {
    // SAFETY: forwarded from the caller.
    let parts = unsafe { list(nvl).and_then(|l| Ok((l, c_str(name)?))) };
    host(parts.and_then(|(list, name)| {
        if list.flags() & NV_UNIQUE_NAME == 0 {
            return Err(Errno::ENOTSUP);
        }
        let found = list.pairs().find(|p| p.name.as_c_str() == name).ok_or(Errno::EINVAL)?;
        // SAFETY: NULL or writable by contract; without it only the existence was asked for.
        if out.is_null() { Ok(()) } else { unsafe { give(out, to_c(Some(found))) } }
    }))
}

/// Adds a copy of a pair.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_add_nvpair(nvl: *mut nvlist_t, nvp: *mut nvpair_t) -> c_int {
    // SAFETY: forwarded from the caller.
    match unsafe { pair(nvp) }.map(|p| (p.name.clone(), p.value.clone())) {
        // SAFETY: as above. The copy is whole before the list is changed, in which the pair may be.
        Ok((name, value)) => unsafe { add(nvl, name.as_ptr(), Ok(value)) },
        Err(e) => e.to_host(),
    }
}

/// Removes a pair. `EINVAL` if it is not in the list.
///
/// # Safety
/// See the module; `nvp` may be a pair that is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_remove_nvpair(nvl: *mut nvlist_t, nvp: *mut nvpair_t) -> c_int {
    // SAFETY: forwarded from the caller.
    host(unsafe { list(nvl) }.and_then(|list| {
        let before = list.len();
        list.retain(|p| !std::ptr::eq(p, nvp.cast()));
        if list.len() < before { Ok(()) } else { Err(Errno::EINVAL) }
    }))
}

/// Name of a pair, which stays the pair's. NULL for NULL.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvpair_name(nvp: *mut nvpair_t) -> *mut c_char {
    // SAFETY: forwarded from the caller.
    unsafe { pair(nvp) }.map_or(null_mut(), |p| p.name.as_ptr().cast_mut())
}

/// Type of a pair, `DATA_TYPE_*`; 0 (unknown) for NULL.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvpair_type(nvp: *mut nvpair_t) -> c_int {
    // SAFETY: forwarded from the caller.
    unsafe { pair(nvp) }.map_or(0, |p| p.value.kind().code())
}

/// Whether a pair has an array.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvpair_type_is_array(nvp: *mut nvpair_t) -> c_int {
    // SAFETY: forwarded from the caller.
    unsafe { pair(nvp) }.map_or(0, |p| c_int::from(p.value.kind().is_array()))
}
