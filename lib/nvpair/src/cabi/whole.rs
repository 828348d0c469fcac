// SPDX-License-Identifier: CDDL-1.0
//! Lists as a whole: made, copied, packed, freed.
use super::{c_str, give, host, list};
use crate::{Encoding, Error, Kind, List, NV_UNIQUE_NAME, NV_UNIQUE_NAME_TYPE};
use overlay_abi::errno::Errno;
use overlay_abi::provider::nvlist_t;
use std::ffi::{c_char, c_int, c_uint};

/// # Safety
/// `out` is NULL or writable.
unsafe fn give_list(out: *mut *mut nvlist_t, list: List) -> Result<(), Errno> {
    if out.is_null() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: forwarded from the caller.
    unsafe { give(out, Box::into_raw(Box::new(list)).cast()) }
}

/// Makes an empty list with flags `NV_UNIQUE_NAME`, `NV_UNIQUE_NAME_TYPE` or none.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_alloc(out: *mut *mut nvlist_t, flags: c_uint, _: c_int) -> c_int {
    let list = List::with_flags(flags & (NV_UNIQUE_NAME | NV_UNIQUE_NAME_TYPE));
    // SAFETY: forwarded from the caller.
    host(unsafe { give_list(out, list) })
}

/// Frees a list that a function here made, and all in it; NULL is fine.
///
/// # Safety
/// `nvl` is NULL or such a list, not one found inside of another, and not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_free(nvl: *mut nvlist_t) {
    if !nvl.is_null() {
        // SAFETY: made by Box::into_raw in give_list, and given back once, by contract.
        drop(unsafe { Box::from_raw(nvl.cast::<List>()) });
    }
}

/// Makes a copy.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_dup(
    nvl: *mut nvlist_t,
    out: *mut *mut nvlist_t,
    _: c_int,
) -> c_int {
    // SAFETY: forwarded from the caller.
    host(unsafe { list(nvl).and_then(|l| give_list(out, l.clone())) })
}

/// Adds all pairs of `from` to `to`.
///
/// # Safety
/// See the module, for both lists.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_merge(to: *mut nvlist_t, from: *mut nvlist_t, _: c_int) -> c_int {
    // SAFETY: forwarded from the caller; the copy is whole before `to` is borrowed, which may be
    // the same list.
    let copy = unsafe { list(from) }.map(|l| l.clone());
    let merge = |copy: List| {
        // SAFETY: as above.
        let to_list = unsafe { list(to) }?;
        if to != from {
            copy.iter().for_each(|(name, value)| to_list.add(name.clone(), value.clone()));
        }
        Ok(())
    };
    host(copy.and_then(merge))
}

/// Flags of a list; 0 for NULL.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_nvflag(nvl: *mut nvlist_t) -> c_uint {
    // SAFETY: forwarded from the caller.
    unsafe { list(nvl) }.map_or(0, |l| l.flags())
}

/// Whether a list has no pairs; NULL has none.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_empty(nvl: *mut nvlist_t) -> c_int {
    // SAFETY: forwarded from the caller.
    c_int::from(unsafe { list(nvl) }.map_or(true, |l| l.is_empty()))
}

/// Whether a list has a pair of this name.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_exists(nvl: *mut nvlist_t, name: *const c_char) -> c_int {
    // SAFETY: forwarded from the caller.
    let (Ok(list), Ok(name)) = (unsafe { (list(nvl), c_str(name)) }) else { return 0 };
    c_int::from(list.iter().any(|(n, _)| n.as_c_str() == name))
}

/// Removes the first pair of a name and type; -1 (`DATA_TYPE_DONTCARE`) is any type.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_remove(
    nvl: *mut nvlist_t,
    name: *const c_char,
    kind: c_int,
) -> c_int {
    // SAFETY: forwarded from the caller.
    let parts = unsafe { list(nvl).and_then(|l| Ok((l, c_str(name)?))) };
    host(parts.and_then(|(list, name)| {
        let any = || list.iter().find(|(n, _)| n.as_c_str() == name).map(|(_, v)| v.kind());
        let kind = if kind == -1 { any() } else { Kind::from_code(kind) };
        let removed = kind.is_some_and(|kind| list.remove(name, kind));
        if removed { Ok(()) } else { Err(Errno::ENOENT) }
    }))
}

/// Removes every pair of a name.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_remove_all(nvl: *mut nvlist_t, name: *const c_char) -> c_int {
    // SAFETY: forwarded from the caller.
    let parts = unsafe { list(nvl).and_then(|l| Ok((l, c_str(name)?))) };
    host(parts.and_then(
        |(list, name)| {
            if list.remove_all(name) { Ok(()) } else { Err(Errno::ENOENT) }
        },
    ))
}

/// # Safety
/// `nvl` is NULL or a list.
unsafe fn packed(nvl: *mut nvlist_t, encoding: c_int) -> Result<Vec<u8>, Errno> {
    let encoding = match encoding {
        0 => Encoding::Native,
        1 => Encoding::Xdr,
        _ => return Err(Errno::ENOTSUP),
    };
    // SAFETY: forwarded from the caller.
    unsafe { list(nvl) }?.pack(encoding).map_err(Error::errno)
}

/// Size of the packed form in bytes.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_size(
    nvl: *mut nvlist_t,
    size: *mut usize,
    encoding: c_int,
) -> c_int {
    // SAFETY: forwarded from the caller.
    host(unsafe { packed(nvl, encoding).and_then(|bytes| give(size, bytes.len())) })
}

/// Packs a list into `*buf`, which has `*size` bytes, or, if that is NULL, into memory of malloc(3C),
/// whose size in bytes it tells. `EFAULT`: the buffer is too small.
///
/// # Safety
/// See the module; `*buf` is NULL or has `*size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_pack(
    nvl: *mut nvlist_t,
    buf: *mut *mut c_char,
    size: *mut usize,
    encoding: c_int,
    _: c_int,
) -> c_int {
    // SAFETY: forwarded from the caller.
    let (buf, size) = unsafe { (buf.as_mut(), size.as_mut()) };
    let (Some(buf), Some(size)) = (buf, size) else { return Errno::EINVAL.to_host() };
    // SAFETY: as above.
    let bytes = match unsafe { packed(nvl, encoding) } {
        Ok(bytes) => bytes,
        Err(e) => return e.to_host(),
    };
    if buf.is_null() {
        // SAFETY: plain allocation of at least the header's four bytes.
        let new = unsafe { libc::malloc(bytes.len()) };
        if new.is_null() {
            return Errno::ENOMEM.to_host();
        }
        (*buf, *size) = (new.cast(), bytes.len());
    } else if bytes.len() > *size {
        return Errno::EFAULT.to_host();
    }
    // SAFETY: the buffer has that many bytes, as was just seen to, and is not ours.
    unsafe { buf.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    0
}

/// Makes a list of a packed form of `size` bytes.
///
/// # Safety
/// See the module; `buf` is NULL or has that many bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_unpack(
    buf: *mut c_char,
    size: usize,
    out: *mut *mut nvlist_t,
    _: c_int,
) -> c_int {
    if buf.is_null() || size < 4 {
        return Errno::EINVAL.to_host();
    }
    // SAFETY: not NULL, thus that many bytes by contract.
    let bytes = unsafe { std::slice::from_raw_parts(buf.cast::<u8>(), size) };
    // SAFETY: forwarded from the caller.
    host(List::unpack(bytes).map_err(Error::errno).and_then(|list| unsafe { give_list(out, list) }))
}
