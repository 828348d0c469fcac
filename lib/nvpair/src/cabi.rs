// SPDX-License-Identifier: CDDL-1.0
//! The C functions, with the names and signatures of libnvpair.
//!
//! Every function that takes a list wants NULL or a pointer from [`nvlist_alloc`] or
//! [`nvlist_lookup_nvlist`], or to a [`List`], that nobody else uses meanwhile. Results: 0,
//! `EINVAL` for a NULL argument, `ENOENT` if there is no pair of that name and type.
use crate::{List, Value};
use overlay_abi::errno::Errno;
use overlay_abi::provider::nvlist_t;
use std::ffi::{CStr, c_char, c_int, c_uint};

/// Addresses of all functions here, for a program that exports them to plugins it loads.
#[used]
pub static SYMBOLS: Symbols = Symbols([
    nvlist_alloc as *const (),
    nvlist_free as *const (),
    nvlist_add_uint16 as *const (),
    nvlist_add_int32 as *const (),
    nvlist_add_uint32 as *const (),
    nvlist_add_uint64 as *const (),
    nvlist_add_string as *const (),
    nvlist_add_nvlist as *const (),
    nvlist_lookup_uint16 as *const (),
    nvlist_lookup_int32 as *const (),
    nvlist_lookup_uint32 as *const (),
    nvlist_lookup_uint64 as *const (),
    nvlist_lookup_string as *const (),
    nvlist_lookup_nvlist as *const (),
]);

/// Keeps functions in an executable which only plugins call.
#[derive(Debug)]
pub struct Symbols(pub [*const (); 14]);

// SAFETY: addresses of functions, never read through.
unsafe impl Sync for Symbols {}

fn host(result: Result<(), Errno>) -> c_int {
    result.err().map_or(0, Errno::to_host)
}

/// # Safety
/// `nvl` is NULL or a list as the module says.
unsafe fn list<'a>(nvl: *mut nvlist_t) -> Result<&'a mut List, Errno> {
    // SAFETY: by contract a list that nobody else uses during the call.
    unsafe { nvl.cast::<List>().as_mut() }.ok_or(Errno::EINVAL)
}

/// # Safety
/// `text` is NULL or a C string.
unsafe fn c_str<'a>(text: *const c_char) -> Result<&'a CStr, Errno> {
    if text.is_null() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: not NULL, thus a C string by contract.
    Ok(unsafe { CStr::from_ptr(text) })
}

/// # Safety
/// As the functions below: the list and the name are NULL or valid.
unsafe fn add(nvl: *mut nvlist_t, name: *const c_char, value: Value) -> Result<(), Errno> {
    // SAFETY: forwarded from the caller.
    let (list, name) = unsafe { (list(nvl)?, c_str(name)?) };
    list.add(name.to_owned(), value);
    Ok(())
}

/// # Safety
/// As the functions below: list and name are NULL or valid, `out` is NULL or writable.
unsafe fn lookup<T>(
    nvl: *mut nvlist_t,
    name: *const c_char,
    out: *mut T,
    take: impl Fn(&mut Value) -> Option<T>,
) -> Result<(), Errno> {
    // SAFETY: forwarded from the caller.
    let (list, name) = unsafe { (list(nvl)?, c_str(name)?) };
    let found = list.pairs.iter_mut().find(|(n, _)| n.as_c_str() == name);
    let value = found.and_then(|(_, v)| take(v)).ok_or(Errno::ENOENT)?;
    if out.is_null() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: not NULL, thus writable by contract.
    unsafe { out.write(value) };
    Ok(())
}

/// Makes an empty list; the flags are ignored, names are always unique.
///
/// # Safety
/// `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_alloc(out: *mut *mut nvlist_t, _: c_uint, _: c_int) -> c_int {
    if out.is_null() {
        return Errno::EINVAL.to_host();
    }
    // SAFETY: not NULL, thus writable by contract.
    unsafe { out.write(Box::into_raw(Box::new(List::new())).cast()) };
    0
}

/// Frees a list of [`nvlist_alloc`] and all in it; NULL is fine.
///
/// # Safety
/// `nvl` is NULL or from [`nvlist_alloc`] and not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_free(nvl: *mut nvlist_t) {
    if !nvl.is_null() {
        // SAFETY: made by Box::into_raw in nvlist_alloc, and given back once, by contract.
        drop(unsafe { Box::from_raw(nvl.cast::<List>()) });
    }
}

macro_rules! number {
    ($add:ident $lookup:ident $kind:ident $t:ty) => {
        /// Adds a number.
        ///
        /// # Safety
        /// See the module.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $add(nvl: *mut nvlist_t, name: *const c_char, v: $t) -> c_int {
            // SAFETY: forwarded from the caller.
            host(unsafe { add(nvl, name, Value::$kind(v)) })
        }

        /// Looks up a number.
        ///
        /// # Safety
        /// See the module; `out` is NULL or writable.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $lookup(
            nvl: *mut nvlist_t,
            name: *const c_char,
            out: *mut $t,
        ) -> c_int {
            let take = |v: &mut Value| if let Value::$kind(n) = v { Some(*n) } else { None };
            // SAFETY: forwarded from the caller.
            host(unsafe { lookup(nvl, name, out, take) })
        }
    };
}
number! { nvlist_add_uint16 nvlist_lookup_uint16 Uint16 u16 }
number! { nvlist_add_int32 nvlist_lookup_int32 Int32 i32 }
number! { nvlist_add_uint32 nvlist_lookup_uint32 Uint32 u32 }
number! { nvlist_add_uint64 nvlist_lookup_uint64 Uint64 u64 }

/// Adds a copy of a string.
///
/// # Safety
/// See the module; `text` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_add_string(
    nvl: *mut nvlist_t,
    name: *const c_char,
    text: *const c_char,
) -> c_int {
    // SAFETY: forwarded from the caller.
    host(unsafe { c_str(text).and_then(|text| add(nvl, name, Value::String(text.to_owned()))) })
}

/// Looks up a string. It belongs to the list.
///
/// # Safety
/// See the module; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_lookup_string(
    nvl: *mut nvlist_t,
    name: *const c_char,
    out: *mut *mut c_char,
) -> c_int {
    let take = |v: &mut Value| match v {
        Value::String(s) => Some(s.as_ptr().cast_mut()),
        _ => None,
    };
    // SAFETY: forwarded from the caller.
    host(unsafe { lookup(nvl, name, out, take) })
}

/// Adds a copy of a list.
///
/// # Safety
/// See the module, for both lists.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_add_nvlist(
    nvl: *mut nvlist_t,
    name: *const c_char,
    inner: *mut nvlist_t,
) -> c_int {
    // SAFETY: forwarded from the caller.
    host(unsafe {
        list(inner).map(|l| l.clone()).and_then(|l| add(nvl, name, Value::List(Box::new(l))))
    })
}

/// Looks up a list. It belongs to the outer one.
///
/// # Safety
/// See the module; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvlist_lookup_nvlist(
    nvl: *mut nvlist_t,
    name: *const c_char,
    out: *mut *mut nvlist_t,
) -> c_int {
    let take = |v: &mut Value| match v {
        Value::List(l) => Some(std::ptr::from_mut::<List>(l).cast()),
        _ => None,
    };
    // SAFETY: forwarded from the caller.
    host(unsafe { lookup(nvl, name, out, take) })
}
