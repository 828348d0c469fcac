// SPDX-License-Identifier: CDDL-1.0
//! `nvlist_add_T` for each type T.
use super::{c_str, host, list};
use crate::number::boolean;
use crate::{List, Value};
use overlay_abi::errno::Errno;
use overlay_abi::provider::nvlist_t;
use std::ffi::{CString, c_char, c_int, c_uint};

/// # Safety
/// The list and the name are NULL or valid.
pub(super) unsafe fn add(
    nvl: *mut nvlist_t,
    name: *const c_char,
    value: Result<Value, Errno>,
) -> c_int {
    // SAFETY: forwarded from the caller.
    let parts = unsafe { list(nvl).and_then(|l| Ok((l, c_str(name)?))) };
    host(parts.and_then(|(list, name)| {
        list.add(name.to_owned(), value?);
        Ok(())
    }))
}

/// The elements at `all`, each converted.
///
/// # Safety
/// `all` is NULL or has `n` elements.
unsafe fn elements<T: Copy, U>(
    all: *const T,
    n: c_uint,
    convert: impl Fn(T) -> Result<U, Errno>,
) -> Result<Vec<U>, Errno> {
    match n {
        0 => Ok(Vec::new()),
        _ if all.is_null() => Err(Errno::EINVAL),
        n => {
            // SAFETY: not NULL, thus `n` elements by contract.
            let all = unsafe { std::slice::from_raw_parts(all, n as usize) };
            all.iter().map(|v| convert(*v)).collect()
        }
    }
}

/// # Safety
/// `s` is NULL or a C string.
unsafe fn string(s: *const c_char) -> Result<CString, Errno> {
    // SAFETY: forwarded from the caller.
    unsafe { c_str(s) }.map(ToOwned::to_owned)
}

fn flag(n: c_int) -> Result<bool, Errno> {
    boolean(n).map_err(|_| Errno::EINVAL)
}

/// A copy of a list that is to go into `nvl`, which cannot be itself.
///
/// # Safety
/// Both are NULL or lists.
unsafe fn copy(nvl: *mut nvlist_t, inner: *mut nvlist_t) -> Result<List, Errno> {
    if inner == nvl {
        return Err(Errno::EINVAL);
    }
    // SAFETY: forwarded from the caller.
    unsafe { list(inner) }.map(|l| l.clone())
}

macro_rules! adds {
    ($($name:ident $kind:ident($nvl:ident $(, $arg:ident: $t:ty)*) => $value:expr;)*) => {$(
        /// Adds a pair with a copy of the value.
        ///
        /// # Safety
        /// See the module.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            $nvl: *mut nvlist_t,
            name: *const c_char,
            $($arg: $t),*
        ) -> c_int {
            // SAFETY: forwarded from the caller.
            unsafe { add($nvl, name, $value.map(Value::$kind)) }
        }
    )*};
}

adds! {
    nvlist_add_boolean_value BooleanValue(nvl, v: c_int) => flag(v);
    nvlist_add_byte Byte(nvl, v: u8) => Ok(v);
    nvlist_add_int8 Int8(nvl, v: i8) => Ok(v);
    nvlist_add_uint8 Uint8(nvl, v: u8) => Ok(v);
    nvlist_add_int16 Int16(nvl, v: i16) => Ok(v);
    nvlist_add_uint16 Uint16(nvl, v: u16) => Ok(v);
    nvlist_add_int32 Int32(nvl, v: i32) => Ok(v);
    nvlist_add_uint32 Uint32(nvl, v: u32) => Ok(v);
    nvlist_add_int64 Int64(nvl, v: i64) => Ok(v);
    nvlist_add_uint64 Uint64(nvl, v: u64) => Ok(v);
    nvlist_add_hrtime Hrtime(nvl, v: i64) => Ok(v);
    nvlist_add_double Double(nvl, v: f64) => Ok(v);
    nvlist_add_string String(nvl, v: *const c_char) => string(v);
    nvlist_add_nvlist List(nvl, v: *mut nvlist_t) => copy(nvl, v).map(Box::new);
    nvlist_add_byte_array ByteArray(nvl, v: *const u8, n: c_uint) => elements(v, n, Ok);
    nvlist_add_int8_array Int8Array(nvl, v: *const i8, n: c_uint) => elements(v, n, Ok);
    nvlist_add_uint8_array Uint8Array(nvl, v: *const u8, n: c_uint) => elements(v, n, Ok);
    nvlist_add_int16_array Int16Array(nvl, v: *const i16, n: c_uint) => elements(v, n, Ok);
    nvlist_add_uint16_array Uint16Array(nvl, v: *const u16, n: c_uint) => elements(v, n, Ok);
    nvlist_add_int32_array Int32Array(nvl, v: *const i32, n: c_uint) => elements(v, n, Ok);
    nvlist_add_uint32_array Uint32Array(nvl, v: *const u32, n: c_uint) => elements(v, n, Ok);
    nvlist_add_int64_array Int64Array(nvl, v: *const i64, n: c_uint) => elements(v, n, Ok);
    nvlist_add_uint64_array Uint64Array(nvl, v: *const u64, n: c_uint) => elements(v, n, Ok);
    nvlist_add_boolean_array BooleanArray(nvl, v: *const c_int, n: c_uint) => elements(v, n, flag);
    nvlist_add_string_array StringArray(nvl, v: *const *mut c_char, n: c_uint)
        => elements(v, n, |s| string(s));
    nvlist_add_nvlist_array ListArray(nvl, v: *const *mut nvlist_t, n: c_uint)
        => elements(v, n, |l| copy(nvl, l));
}

/// Adds a pair without value.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_add_boolean(nvl: *mut nvlist_t, name: *const c_char) -> c_int {
    // SAFETY: forwarded from the caller.
    unsafe { add(nvl, name, Ok(Value::Boolean)) }
}
