// SPDX-License-Identifier: CDDL-1.0
//! The C functions, with the names and signatures of libnvpair.
//!
//! Every function that takes a list wants NULL or a pointer from [`nvlist_alloc`], another function
//! that makes a list, a lookup or a [`Handle`](crate::Handle), that nobody else uses meanwhile; a
//! pair is NULL or from a list that still has it; names and strings are C strings or NULL; arrays
//! have as many elements as the caller says; out pointers are NULL or writable. Results: 0, or
//! `EINVAL` for a NULL where there must not be one and for values that no list has, `ENOENT` if
//! there is no pair of that name and type, `ENOTSUP` for a lookup by name in a list without unique
//! names, and the numbers of [`Error::errno`](crate::Error::errno).
//!
//! Missing are those that cannot be had in Rust (`nvlist_lookup_pairs`, of any number of arguments)
//! and those that plugins have no use for: allocators of the caller's own (`nv_alloc_*`,
//! `nvlist_x*`), printing, and `fnvlist_*`.

mod add;
mod find;
mod pair;
mod whole;

pub use add::*;
pub use find::*;
pub use pair::*;
pub use whole::*;

use crate::{List, list::Pair};
use overlay_abi::errno::Errno;
use overlay_abi::provider::nvlist_t;
use std::ffi::{CStr, c_char, c_int};

/// A pair of a list, seen from C.
#[repr(C)]
pub struct nvpair_t {
    opaque: [u8; 0],
}

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
/// `nvp` is NULL or a pair as the module says.
unsafe fn pair<'a>(nvp: *mut nvpair_t) -> Result<&'a mut Pair, Errno> {
    // SAFETY: by contract a pair that nobody else uses during the call.
    unsafe { nvp.cast::<Pair>().as_mut() }.ok_or(Errno::EINVAL)
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
/// `out` is NULL or writable.
unsafe fn give<T>(out: *mut T, value: T) -> Result<(), Errno> {
    if out.is_null() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: not NULL, thus writable by contract.
    unsafe { out.write(value) };
    Ok(())
}

macro_rules! symbols {
    ($($name:ident)*) => {
        /// Addresses of all functions here, for a program that exports them to plugins it loads.
        #[used]
        pub static SYMBOLS: Symbols = Symbols(&[$(Address($name as *const ())),*]);

        /// Their names.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

/// Keeps functions in an executable which only plugins call.
#[derive(Debug)]
pub struct Symbols(pub &'static [Address]);

/// Of a function.
#[derive(Debug)]
pub struct Address(pub *const ());

// SAFETY: an address of a function, never read through.
unsafe impl Sync for Address {}

symbols! {
    nvlist_alloc nvlist_free nvlist_dup nvlist_merge nvlist_nvflag nvlist_empty nvlist_exists
    nvlist_remove nvlist_remove_all nvlist_size nvlist_pack nvlist_unpack nvlist_next_nvpair
    nvlist_prev_nvpair nvlist_lookup_nvpair nvlist_add_nvpair nvlist_remove_nvpair nvpair_name
    nvpair_type nvpair_type_is_array nvlist_add_boolean nvlist_lookup_boolean
    nvlist_add_boolean_value nvlist_lookup_boolean_value
    nvpair_value_boolean_value nvlist_add_byte nvlist_lookup_byte nvpair_value_byte nvlist_add_int8
    nvlist_lookup_int8 nvpair_value_int8 nvlist_add_uint8 nvlist_lookup_uint8 nvpair_value_uint8
    nvlist_add_int16 nvlist_lookup_int16 nvpair_value_int16 nvlist_add_uint16 nvlist_lookup_uint16
    nvpair_value_uint16 nvlist_add_int32 nvlist_lookup_int32 nvpair_value_int32 nvlist_add_uint32
    nvlist_lookup_uint32 nvpair_value_uint32 nvlist_add_int64 nvlist_lookup_int64 nvpair_value_int64
    nvlist_add_uint64 nvlist_lookup_uint64 nvpair_value_uint64 nvlist_add_hrtime
    nvlist_lookup_hrtime nvpair_value_hrtime nvlist_add_double nvlist_lookup_double
    nvpair_value_double nvlist_add_string nvlist_lookup_string nvpair_value_string nvlist_add_nvlist
    nvlist_lookup_nvlist nvpair_value_nvlist nvlist_add_byte_array nvlist_lookup_byte_array
    nvpair_value_byte_array nvlist_add_int8_array nvlist_lookup_int8_array nvpair_value_int8_array
    nvlist_add_uint8_array nvlist_lookup_uint8_array nvpair_value_uint8_array nvlist_add_int16_array
    nvlist_lookup_int16_array nvpair_value_int16_array nvlist_add_uint16_array
    nvlist_lookup_uint16_array nvpair_value_uint16_array nvlist_add_int32_array
    nvlist_lookup_int32_array nvpair_value_int32_array nvlist_add_uint32_array
    nvlist_lookup_uint32_array nvpair_value_uint32_array nvlist_add_int64_array
    nvlist_lookup_int64_array nvpair_value_int64_array nvlist_add_uint64_array
    nvlist_lookup_uint64_array nvpair_value_uint64_array nvlist_add_boolean_array
    nvlist_lookup_boolean_array nvpair_value_boolean_array nvlist_add_string_array
    nvlist_lookup_string_array nvpair_value_string_array nvlist_add_nvlist_array
    nvlist_lookup_nvlist_array nvpair_value_nvlist_array
}
