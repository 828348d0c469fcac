// SPDX-License-Identifier: CDDL-1.0
//! `nvlist_lookup_T` and `nvpair_value_T` for each type T.
use super::{c_str, give, host, list, nvpair_t, pair};
use crate::list::{Pair, View};
use crate::{Kind, List, NV_UNIQUE_NAME, NV_UNIQUE_NAME_TYPE, Value};
use overlay_abi::errno::Errno;
use overlay_abi::provider::nvlist_t;
use std::ffi::{c_char, c_int, c_uint};
use std::ptr::null_mut;

/// The first pair of a name and type.
///
/// # Safety
/// As the functions below: the list and the name are NULL or valid.
unsafe fn find<'a>(
    nvl: *mut nvlist_t,
    name: *const c_char,
    kind: Kind,
) -> Result<&'a mut Pair, Errno> {
    // SAFETY: forwarded from the caller.
    let (list, name) = unsafe { (list(nvl)?, c_str(name)?) };
    if list.flags() & (NV_UNIQUE_NAME | NV_UNIQUE_NAME_TYPE) == 0 {
        return Err(Errno::ENOTSUP);
    }
    let is = |p: &Pair| p.name.as_c_str() == name && p.value.kind() == kind;
    list.pairs_mut().find(|p| is(p)).ok_or(Errno::ENOENT)
}

/// # Safety
/// `nvp` is NULL or a pair.
unsafe fn of_kind<'a>(nvp: *mut nvpair_t, kind: Kind) -> Result<&'a mut Pair, Errno> {
    // SAFETY: forwarded from the caller.
    let pair = unsafe { pair(nvp) }?;
    if pair.value.kind() == kind { Ok(pair) } else { Err(Errno::EINVAL) }
}

/// Whether there is such a pair without value.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_lookup_boolean(nvl: *mut nvlist_t, name: *const c_char) -> c_int {
    // SAFETY: forwarded from the caller.
    host(unsafe { find(nvl, name, Kind::Boolean) }.map(drop))
}

macro_rules! scalars {
    ($($lookup:ident $value:ident $kind:ident($v:ident) => $to:expr, $t:ty;)*) => {$(
        /// Looks up a value; a string or list stays the list's.
        ///
        /// # Safety
        /// See the module.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $lookup(
            nvl: *mut nvlist_t,
            name: *const c_char,
            out: *mut $t,
        ) -> c_int {
            // SAFETY: forwarded from the caller.
            host(unsafe { find(nvl, name, Kind::$kind).and_then(|pair| match &mut pair.value {
                Value::$kind($v) => give(out, $to),
                _ => Err(Errno::ENOENT),
            }) })
        }

        /// The value of a pair; a string or list stays the pair's. `EINVAL`: of another type.
        ///
        /// # Safety
        /// See the module.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $value(nvp: *mut nvpair_t, out: *mut $t) -> c_int {
            // SAFETY: forwarded from the caller.
            host(unsafe { of_kind(nvp, Kind::$kind).and_then(|pair| match &mut pair.value {
                Value::$kind($v) => give(out, $to),
                _ => Err(Errno::EINVAL),
            }) })
        }
    )*};
}

scalars! {
    nvlist_lookup_boolean_value nvpair_value_boolean_value BooleanValue(v)
        => c_int::from(*v), c_int;
    nvlist_lookup_byte nvpair_value_byte Byte(v) => *v, u8;
    nvlist_lookup_int8 nvpair_value_int8 Int8(v) => *v, i8;
    nvlist_lookup_uint8 nvpair_value_uint8 Uint8(v) => *v, u8;
    nvlist_lookup_int16 nvpair_value_int16 Int16(v) => *v, i16;
    nvlist_lookup_uint16 nvpair_value_uint16 Uint16(v) => *v, u16;
    nvlist_lookup_int32 nvpair_value_int32 Int32(v) => *v, i32;
    nvlist_lookup_uint32 nvpair_value_uint32 Uint32(v) => *v, u32;
    nvlist_lookup_int64 nvpair_value_int64 Int64(v) => *v, i64;
    nvlist_lookup_uint64 nvpair_value_uint64 Uint64(v) => *v, u64;
    nvlist_lookup_hrtime nvpair_value_hrtime Hrtime(v) => *v, i64;
    nvlist_lookup_double nvpair_value_double Double(v) => *v, f64;
    nvlist_lookup_string nvpair_value_string String(v) => v.as_ptr().cast_mut(), *mut c_char;
    nvlist_lookup_nvlist nvpair_value_nvlist List(v)
        => std::ptr::from_mut::<List>(v).cast(), *mut nvlist_t;
}

/// Gives an array, or NULL for one without elements.
///
/// # Safety
/// The out pointers are NULL or writable.
unsafe fn give_array<T>(
    pair: &mut Pair,
    all: impl FnOnce(&mut Pair) -> *mut T,
    out: *mut *mut T,
    count: *mut c_uint,
) -> Result<(), Errno> {
    if out.is_null() || count.is_null() {
        return Err(Errno::EINVAL);
    }
    let n = c_uint::try_from(pair.value.count()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: not NULL, thus writable by contract.
    unsafe {
        out.write(if n == 0 { null_mut() } else { all(pair) });
        count.write(n);
    }
    Ok(())
}

/// The elements of an array as C has them.
fn ints(pair: &mut Pair) -> *mut c_int {
    let Value::BooleanArray(all) = &pair.value else { return null_mut() };
    pair.view.get_or_init(|| View::Ints(all.iter().map(|b| c_int::from(*b)).collect()));
    match pair.view.get_mut() {
        Some(View::Ints(all)) => all.as_mut_ptr(),
        _ => null_mut(),
    }
}

/// The addresses of an array's elements.
fn addresses<T>(pair: &mut Pair) -> *mut *mut T {
    let address = |l: &mut List| std::ptr::from_mut(l).expose_provenance();
    let addresses = match &mut pair.value {
        Value::StringArray(all) => all.iter().map(|s| s.as_ptr().expose_provenance()).collect(),
        Value::ListArray(all) => all.iter_mut().map(address).collect(),
        _ => return null_mut(),
    };
    // Those that were given out before are the same, for nothing has moved.
    pair.view.get_or_init(|| View::Addresses(addresses));
    match pair.view.get_mut() {
        Some(View::Addresses(all)) => all.as_mut_ptr().cast(),
        _ => null_mut(),
    }
}

macro_rules! arrays {
    ($($lookup:ident $value:ident $kind:ident => $all:expr, $t:ty;)*) => {$(
        /// Looks up an array, which stays the list's.
        ///
        /// # Safety
        /// See the module.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $lookup(
            nvl: *mut nvlist_t,
            name: *const c_char,
            out: *mut *mut $t,
            n: *mut c_uint,
        ) -> c_int {
            // SAFETY: forwarded from the caller.
            host(unsafe {
                find(nvl, name, Kind::$kind).and_then(|p| give_array(p, $all, out, n))
            })
        }

        /// The array of a pair, which stays the pair's. `EINVAL`: of another type.
        ///
        /// # Safety
        /// See the module.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $value(
            nvp: *mut nvpair_t,
            out: *mut *mut $t,
            n: *mut c_uint,
        ) -> c_int {
            // SAFETY: forwarded from the caller.
            host(unsafe { of_kind(nvp, Kind::$kind).and_then(|p| give_array(p, $all, out, n)) })
        }
    )*};
    ($($lookup:ident $value:ident $kind:ident, $t:ty;)*) => {
        arrays! {$(
            $lookup $value $kind => |pair: &mut Pair| match &mut pair.value {
                Value::$kind(all) => all.as_mut_ptr(),
                _ => null_mut(),
            }, $t;
        )*}
    };
}

arrays! {
    nvlist_lookup_byte_array nvpair_value_byte_array ByteArray, u8;
    nvlist_lookup_int8_array nvpair_value_int8_array Int8Array, i8;
    nvlist_lookup_uint8_array nvpair_value_uint8_array Uint8Array, u8;
    nvlist_lookup_int16_array nvpair_value_int16_array Int16Array, i16;
    nvlist_lookup_uint16_array nvpair_value_uint16_array Uint16Array, u16;
    nvlist_lookup_int32_array nvpair_value_int32_array Int32Array, i32;
    nvlist_lookup_uint32_array nvpair_value_uint32_array Uint32Array, u32;
    nvlist_lookup_int64_array nvpair_value_int64_array Int64Array, i64;
    nvlist_lookup_uint64_array nvpair_value_uint64_array Uint64Array, u64;
}

arrays! {
    nvlist_lookup_boolean_array nvpair_value_boolean_array BooleanArray => ints, c_int;
    nvlist_lookup_string_array nvpair_value_string_array StringArray => addresses, *mut c_char;
    nvlist_lookup_nvlist_array nvpair_value_nvlist_array ListArray => addresses, *mut nvlist_t;
}
