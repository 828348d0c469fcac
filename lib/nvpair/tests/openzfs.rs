// SPDX-License-Identifier: CDDL-1.0
//! Our C functions and those of OpenZFS' libnvpair, called in the same way: what they answer must
//! be the same, and each must read what the other has packed.
//!
//! Debian has it as libnvpair3linux (contrib). Without it these tests are skipped.
mod common;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use nvpair::cabi::nvpair_t;
use nvpair::{Encoding, Error, Kind, List, NV_UNIQUE_NAME, Value};
use overlay_abi::provider::nvlist_t;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::fmt::Write;
use std::ptr::null_mut;

type Name = *const c_char;
type Nvl = *mut nvlist_t;
type Pair = *mut nvpair_t;

macro_rules! api {
    ($(fn $name:ident($($arg:ty),*) -> $result:ty;)*) => {
        /// One of the two libraries.
        #[derive(Clone, Copy)]
        struct Api {
            ours: bool,
            $($name: unsafe extern "C" fn($($arg),*) -> $result,)*
        }

        fn ours() -> Api {
            Api { ours: true, $($name: nvpair::cabi::$name,)* }
        }

        fn openzfs() -> Option<Api> {
            let names = ["libnvpair.so.3", "libnvpair.so.1", "libnvpair.so"];
            let library = names.iter().find_map(|name| {
                // SAFETY: a library of the system, without init functions of its own.
                unsafe { Library::open(Some(name), RTLD_LOCAL | RTLD_NOW) }.ok()
            });
            let Some(library) = library else {
                test_skip::skip("no libnvpair of OpenZFS (Debian: libnvpair3linux in contrib)");
                return None;
            };
            let api = Api { ours: false, $(
                // SAFETY: its signature, as in libnvpair.h.
                $name: *unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) }.unwrap(),
            )* };
            std::mem::forget(library);
            Some(api)
        }
    };
}

api! {
    fn nvlist_alloc(*mut Nvl, c_uint, c_int) -> c_int;
    fn nvlist_free(Nvl) -> ();
    fn nvlist_dup(Nvl, *mut Nvl, c_int) -> c_int;
    fn nvlist_merge(Nvl, Nvl, c_int) -> c_int;
    fn nvlist_size(Nvl, *mut usize, c_int) -> c_int;
    fn nvlist_pack(Nvl, *mut *mut c_char, *mut usize, c_int, c_int) -> c_int;
    fn nvlist_unpack(*mut c_char, usize, *mut Nvl, c_int) -> c_int;
    fn nvlist_nvflag(Nvl) -> c_uint;
    fn nvlist_empty(Nvl) -> c_int;
    fn nvlist_exists(Nvl, Name) -> c_int;
    fn nvlist_remove(Nvl, Name, c_int) -> c_int;
    fn nvlist_remove_all(Nvl, Name) -> c_int;
    fn nvlist_remove_nvpair(Nvl, Pair) -> c_int;
    fn nvlist_next_nvpair(Nvl, Pair) -> Pair;
    fn nvlist_prev_nvpair(Nvl, Pair) -> Pair;
    fn nvlist_lookup_nvpair(Nvl, Name, *mut Pair) -> c_int;
    fn nvlist_add_nvpair(Nvl, Pair) -> c_int;
    fn nvpair_name(Pair) -> *mut c_char;
    fn nvpair_type(Pair) -> c_int;
    fn nvpair_type_is_array(Pair) -> c_int;
    fn nvlist_add_boolean(Nvl, Name) -> c_int;
    fn nvlist_lookup_boolean(Nvl, Name) -> c_int;
    fn nvlist_add_boolean_value(Nvl, Name, c_int) -> c_int;
    fn nvlist_add_byte(Nvl, Name, u8) -> c_int;
    fn nvlist_add_int8(Nvl, Name, i8) -> c_int;
    fn nvlist_add_uint8(Nvl, Name, u8) -> c_int;
    fn nvlist_add_int16(Nvl, Name, i16) -> c_int;
    fn nvlist_add_uint16(Nvl, Name, u16) -> c_int;
    fn nvlist_add_int32(Nvl, Name, i32) -> c_int;
    fn nvlist_add_uint32(Nvl, Name, u32) -> c_int;
    fn nvlist_add_int64(Nvl, Name, i64) -> c_int;
    fn nvlist_add_uint64(Nvl, Name, u64) -> c_int;
    fn nvlist_add_hrtime(Nvl, Name, i64) -> c_int;
    fn nvlist_add_double(Nvl, Name, f64) -> c_int;
    fn nvlist_add_string(Nvl, Name, Name) -> c_int;
    fn nvlist_add_nvlist(Nvl, Name, Nvl) -> c_int;
    fn nvlist_add_boolean_array(Nvl, Name, *const c_int, c_uint) -> c_int;
    fn nvlist_add_byte_array(Nvl, Name, *const u8, c_uint) -> c_int;
    fn nvlist_add_int8_array(Nvl, Name, *const i8, c_uint) -> c_int;
    fn nvlist_add_uint8_array(Nvl, Name, *const u8, c_uint) -> c_int;
    fn nvlist_add_int16_array(Nvl, Name, *const i16, c_uint) -> c_int;
    fn nvlist_add_uint16_array(Nvl, Name, *const u16, c_uint) -> c_int;
    fn nvlist_add_int32_array(Nvl, Name, *const i32, c_uint) -> c_int;
    fn nvlist_add_uint32_array(Nvl, Name, *const u32, c_uint) -> c_int;
    fn nvlist_add_int64_array(Nvl, Name, *const i64, c_uint) -> c_int;
    fn nvlist_add_uint64_array(Nvl, Name, *const u64, c_uint) -> c_int;
    fn nvlist_add_string_array(Nvl, Name, *const *mut c_char, c_uint) -> c_int;
    fn nvlist_add_nvlist_array(Nvl, Name, *const Nvl, c_uint) -> c_int;
    fn nvlist_lookup_boolean_value(Nvl, Name, *mut c_int) -> c_int;
    fn nvlist_lookup_byte(Nvl, Name, *mut u8) -> c_int;
    fn nvlist_lookup_int8(Nvl, Name, *mut i8) -> c_int;
    fn nvlist_lookup_uint8(Nvl, Name, *mut u8) -> c_int;
    fn nvlist_lookup_int16(Nvl, Name, *mut i16) -> c_int;
    fn nvlist_lookup_uint16(Nvl, Name, *mut u16) -> c_int;
    fn nvlist_lookup_int32(Nvl, Name, *mut i32) -> c_int;
    fn nvlist_lookup_uint32(Nvl, Name, *mut u32) -> c_int;
    fn nvlist_lookup_int64(Nvl, Name, *mut i64) -> c_int;
    fn nvlist_lookup_uint64(Nvl, Name, *mut u64) -> c_int;
    fn nvlist_lookup_hrtime(Nvl, Name, *mut i64) -> c_int;
    fn nvlist_lookup_double(Nvl, Name, *mut f64) -> c_int;
    fn nvlist_lookup_string(Nvl, Name, *mut *mut c_char) -> c_int;
    fn nvlist_lookup_nvlist(Nvl, Name, *mut Nvl) -> c_int;
    fn nvlist_lookup_boolean_array(Nvl, Name, *mut *mut c_int, *mut c_uint) -> c_int;
    fn nvlist_lookup_byte_array(Nvl, Name, *mut *mut u8, *mut c_uint) -> c_int;
    fn nvlist_lookup_int8_array(Nvl, Name, *mut *mut i8, *mut c_uint) -> c_int;
    fn nvlist_lookup_uint8_array(Nvl, Name, *mut *mut u8, *mut c_uint) -> c_int;
    fn nvlist_lookup_int16_array(Nvl, Name, *mut *mut i16, *mut c_uint) -> c_int;
    fn nvlist_lookup_uint16_array(Nvl, Name, *mut *mut u16, *mut c_uint) -> c_int;
    fn nvlist_lookup_int32_array(Nvl, Name, *mut *mut i32, *mut c_uint) -> c_int;
    fn nvlist_lookup_uint32_array(Nvl, Name, *mut *mut u32, *mut c_uint) -> c_int;
    fn nvlist_lookup_int64_array(Nvl, Name, *mut *mut i64, *mut c_uint) -> c_int;
    fn nvlist_lookup_uint64_array(Nvl, Name, *mut *mut u64, *mut c_uint) -> c_int;
    fn nvlist_lookup_string_array(Nvl, Name, *mut *mut *mut c_char, *mut c_uint) -> c_int;
    fn nvlist_lookup_nvlist_array(Nvl, Name, *mut *mut Nvl, *mut c_uint) -> c_int;
    fn nvpair_value_boolean_value(Pair, *mut c_int) -> c_int;
    fn nvpair_value_byte(Pair, *mut u8) -> c_int;
    fn nvpair_value_int8(Pair, *mut i8) -> c_int;
    fn nvpair_value_uint8(Pair, *mut u8) -> c_int;
    fn nvpair_value_int16(Pair, *mut i16) -> c_int;
    fn nvpair_value_uint16(Pair, *mut u16) -> c_int;
    fn nvpair_value_int32(Pair, *mut i32) -> c_int;
    fn nvpair_value_uint32(Pair, *mut u32) -> c_int;
    fn nvpair_value_int64(Pair, *mut i64) -> c_int;
    fn nvpair_value_uint64(Pair, *mut u64) -> c_int;
    fn nvpair_value_hrtime(Pair, *mut i64) -> c_int;
    fn nvpair_value_double(Pair, *mut f64) -> c_int;
    fn nvpair_value_string(Pair, *mut *mut c_char) -> c_int;
    fn nvpair_value_nvlist(Pair, *mut Nvl) -> c_int;
    fn nvpair_value_boolean_array(Pair, *mut *mut c_int, *mut c_uint) -> c_int;
    fn nvpair_value_byte_array(Pair, *mut *mut u8, *mut c_uint) -> c_int;
    fn nvpair_value_int8_array(Pair, *mut *mut i8, *mut c_uint) -> c_int;
    fn nvpair_value_uint8_array(Pair, *mut *mut u8, *mut c_uint) -> c_int;
    fn nvpair_value_int16_array(Pair, *mut *mut i16, *mut c_uint) -> c_int;
    fn nvpair_value_uint16_array(Pair, *mut *mut u16, *mut c_uint) -> c_int;
    fn nvpair_value_int32_array(Pair, *mut *mut i32, *mut c_uint) -> c_int;
    fn nvpair_value_uint32_array(Pair, *mut *mut u32, *mut c_uint) -> c_int;
    fn nvpair_value_int64_array(Pair, *mut *mut i64, *mut c_uint) -> c_int;
    fn nvpair_value_uint64_array(Pair, *mut *mut u64, *mut c_uint) -> c_int;
    fn nvpair_value_string_array(Pair, *mut *mut *mut c_char, *mut c_uint) -> c_int;
    fn nvpair_value_nvlist_array(Pair, *mut *mut Nvl, *mut c_uint) -> c_int;
}

/// A list of one of the libraries, freed in the end.
struct Made(Api, Nvl);

impl Drop for Made {
    fn drop(&mut self) {
        // SAFETY: made by the same library.
        unsafe { (self.0.nvlist_free)(self.1) }
    }
}

const FORMS: [Encoding; 2] = [Encoding::Native, Encoding::Xdr];

impl Api {
    /// A list by this library's functions, and what they answered.
    fn make(self, list: &List, log: &mut String) -> Made {
        let mut nvl = null_mut();
        // SAFETY: out pointers are of live variables, names are C strings, arrays are as long as
        // they are said to be; also below.
        unsafe {
            assert_eq!((self.nvlist_alloc)(&mut nvl, list.flags(), 0), 0);
            let made = Made(self, nvl);
            for (name, value) in list.iter() {
                let done = self.add(nvl, name, value, log);
                writeln!(log, "add {name:?} {:?}: {done}", value.kind()).unwrap();
            }
            made
        }
    }

    /// # Safety
    /// `nvl` is a list of this library.
    unsafe fn add(self, nvl: Nvl, name: &CStr, value: &Value, log: &mut String) -> c_int {
        let n = name.as_ptr();
        let lists = |all: &[List], log: &mut String| -> Vec<Made> {
            all.iter().map(|l| self.make(l, log)).collect()
        };
        let count = value.count() as c_uint;
        // SAFETY: as `make`.
        unsafe {
            match value {
                Value::Boolean => (self.nvlist_add_boolean)(nvl, n),
                Value::BooleanValue(v) => (self.nvlist_add_boolean_value)(nvl, n, i32::from(*v)),
                Value::Byte(v) => (self.nvlist_add_byte)(nvl, n, *v),
                Value::Int8(v) => (self.nvlist_add_int8)(nvl, n, *v),
                Value::Uint8(v) => (self.nvlist_add_uint8)(nvl, n, *v),
                Value::Int16(v) => (self.nvlist_add_int16)(nvl, n, *v),
                Value::Uint16(v) => (self.nvlist_add_uint16)(nvl, n, *v),
                Value::Int32(v) => (self.nvlist_add_int32)(nvl, n, *v),
                Value::Uint32(v) => (self.nvlist_add_uint32)(nvl, n, *v),
                Value::Int64(v) => (self.nvlist_add_int64)(nvl, n, *v),
                Value::Uint64(v) => (self.nvlist_add_uint64)(nvl, n, *v),
                Value::Hrtime(v) => (self.nvlist_add_hrtime)(nvl, n, *v),
                Value::Double(v) => (self.nvlist_add_double)(nvl, n, *v),
                Value::String(v) => (self.nvlist_add_string)(nvl, n, v.as_ptr()),
                Value::List(v) => {
                    let inner = self.make(v, log);
                    (self.nvlist_add_nvlist)(nvl, n, inner.1)
                }
                Value::BooleanArray(v) => {
                    let v: Vec<c_int> = v.iter().map(|b| i32::from(*b)).collect();
                    (self.nvlist_add_boolean_array)(nvl, n, v.as_ptr(), count)
                }
                Value::ByteArray(v) => (self.nvlist_add_byte_array)(nvl, n, v.as_ptr(), count),
                Value::Int8Array(v) => (self.nvlist_add_int8_array)(nvl, n, v.as_ptr(), count),
                Value::Uint8Array(v) => (self.nvlist_add_uint8_array)(nvl, n, v.as_ptr(), count),
                Value::Int16Array(v) => (self.nvlist_add_int16_array)(nvl, n, v.as_ptr(), count),
                Value::Uint16Array(v) => (self.nvlist_add_uint16_array)(nvl, n, v.as_ptr(), count),
                Value::Int32Array(v) => (self.nvlist_add_int32_array)(nvl, n, v.as_ptr(), count),
                Value::Uint32Array(v) => (self.nvlist_add_uint32_array)(nvl, n, v.as_ptr(), count),
                Value::Int64Array(v) => (self.nvlist_add_int64_array)(nvl, n, v.as_ptr(), count),
                Value::Uint64Array(v) => (self.nvlist_add_uint64_array)(nvl, n, v.as_ptr(), count),
                Value::StringArray(v) => {
                    let v: Vec<_> = v.iter().map(|s| s.as_ptr().cast_mut()).collect();
                    (self.nvlist_add_string_array)(nvl, n, v.as_ptr(), count)
                }
                Value::ListArray(v) => {
                    let made = lists(v, log);
                    let v: Vec<Nvl> = made.iter().map(|m| m.1).collect();
                    (self.nvlist_add_nvlist_array)(nvl, n, v.as_ptr(), count)
                }
            }
        }
    }

    /// The packed form, or the error. The size told beforehand must be that of the form.
    fn pack(self, nvl: Nvl, form: Encoding) -> Result<Vec<u8>, c_int> {
        let (mut size, mut told, mut buf) = (0, 0, null_mut());
        // SAFETY: as `make`; the buffer is of that size and was made by malloc.
        unsafe {
            let measured = (self.nvlist_size)(nvl, &mut told, form as c_int);
            let code = (self.nvlist_pack)(nvl, &mut buf, &mut size, form as c_int, 0);
            if code != 0 {
                return Err(code);
            }
            assert_eq!((measured, told), (0, size));
            let bytes = std::slice::from_raw_parts(buf.cast::<u8>(), size).to_vec();
            libc::free(buf.cast());
            Ok(bytes)
        }
    }

    fn unpack(self, bytes: &[u8]) -> Result<Made, c_int> {
        let mut nvl = null_mut();
        // Libnvpair wants its own at a multiple of four.
        let mut words = vec![0u32; bytes.len().div_ceil(4) + 1];
        let buf = words.as_mut_ptr().cast::<u8>();
        // SAFETY: the words have room for the bytes; as `make`.
        let code = unsafe {
            buf.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            (self.nvlist_unpack)(buf.cast(), bytes.len(), &mut nvl, 0)
        };
        if code == 0 { Ok(Made(self, nvl)) } else { Err(code) }
    }

    /// Everything that can be read from a list by names and by pairs.
    fn read(self, nvl: Nvl, log: &mut String) {
        // SAFETY: as `make`; a pair is used while its list has it.
        unsafe {
            let (flags, empty) = ((self.nvlist_nvflag)(nvl), (self.nvlist_empty)(nvl));
            writeln!(log, "list {flags} {empty}").unwrap();
            let mut pair = (self.nvlist_next_nvpair)(nvl, null_mut());
            while !pair.is_null() {
                let name = (self.nvpair_name)(pair);
                let kind = (self.nvpair_type)(pair);
                let array = (self.nvpair_type_is_array)(pair);
                // Libnvpair forgets int8 arrays here.
                let array = array != 0 || kind == Kind::Int8Array.code();
                writeln!(log, "{:?} {kind} {array}", CStr::from_ptr(name)).unwrap();
                for kind in Kind::ALL {
                    self.look(nvl, name, pair, *kind, log);
                }
                writeln!(log, "exists {}", (self.nvlist_exists)(nvl, name)).unwrap();
                // Libnvpair takes other names apart, not always with care.
                let plain = CStr::from_ptr(name).to_bytes();
                if !plain.is_empty() && plain.iter().all(u8::is_ascii_alphanumeric) {
                    let mut found = null_mut();
                    let code = (self.nvlist_lookup_nvpair)(nvl, name, &mut found);
                    writeln!(log, "found {code} {}", found.is_null()).unwrap();
                }
                pair = (self.nvlist_next_nvpair)(nvl, pair);
            }
            let (mut back, mut n) = ((self.nvlist_prev_nvpair)(nvl, null_mut()), 0);
            while !back.is_null() {
                write!(log, "{:?} ", CStr::from_ptr((self.nvpair_name)(back))).unwrap();
                back = (self.nvlist_prev_nvpair)(nvl, back);
                n += 1;
            }
            writeln!(log, "backwards: {n}").unwrap();
        }
    }

    /// One name as one type, and the pair as that type.
    ///
    /// # Safety
    /// List and pair are of this library, the name is a C string.
    unsafe fn look(self, nvl: Nvl, name: Name, pair: Pair, kind: Kind, log: &mut String) {
        macro_rules! scalar {
            ($lookup:ident $value:ident) => {{
                let (mut a, mut b) = (Default::default(), Default::default());
                let (a_out, b_out) = (&mut a, &mut b);
                // SAFETY: by contract.
                let (x, y) = unsafe {
                    let x = (self.$lookup)(nvl, name, a_out);
                    (x, (self.$value)(pair, b_out))
                };
                write!(log, "{kind:?} {x} {a:?} {y} {b:?}; ").unwrap();
            }};
        }
        macro_rules! array {
            ($lookup:ident $value:ident $each:expr) => {{
                let (mut a, mut b, mut n, mut m) = (null_mut(), null_mut(), 0, 0);
                // SAFETY: by contract.
                let (x, y) = unsafe {
                    ((self.$lookup)(nvl, name, &mut a, &mut n), (self.$value)(pair, &mut b, &mut m))
                };
                write!(log, "{kind:?} {x} {n} {y} {m}: ").unwrap();
                for (all, n) in [(a, n), (b, m)] {
                    assert_eq!(all.is_null(), n == 0);
                    for i in 0..n as usize {
                        // SAFETY: an element of an array of this length.
                        let element = unsafe { *all.add(i) };
                        ($each)(element, &mut *log);
                    }
                }
            }};
        }
        let say = |log: &mut String, what: &dyn std::fmt::Debug| write!(log, "{what:?} ").unwrap();
        // SAFETY: strings of the list.
        let text = |s: *mut c_char| unsafe { CStr::from_ptr(s) }.to_owned();
        match kind {
            Kind::Boolean => {
                // SAFETY: by contract.
                let there = unsafe { (self.nvlist_lookup_boolean)(nvl, name) };
                write!(log, "boolean {there}; ").unwrap();
            }
            Kind::BooleanValue => scalar!(nvlist_lookup_boolean_value nvpair_value_boolean_value),
            Kind::Byte => scalar!(nvlist_lookup_byte nvpair_value_byte),
            Kind::Int8 => scalar!(nvlist_lookup_int8 nvpair_value_int8),
            Kind::Uint8 => scalar!(nvlist_lookup_uint8 nvpair_value_uint8),
            Kind::Int16 => scalar!(nvlist_lookup_int16 nvpair_value_int16),
            Kind::Uint16 => scalar!(nvlist_lookup_uint16 nvpair_value_uint16),
            Kind::Int32 => scalar!(nvlist_lookup_int32 nvpair_value_int32),
            Kind::Uint32 => scalar!(nvlist_lookup_uint32 nvpair_value_uint32),
            Kind::Int64 => scalar!(nvlist_lookup_int64 nvpair_value_int64),
            Kind::Uint64 => scalar!(nvlist_lookup_uint64 nvpair_value_uint64),
            Kind::Hrtime => scalar!(nvlist_lookup_hrtime nvpair_value_hrtime),
            Kind::Double => scalar!(nvlist_lookup_double nvpair_value_double),
            Kind::String => {
                let (mut a, mut b) = (null_mut(), null_mut());
                // SAFETY: by contract.
                let (x, y) = unsafe {
                    let x = (self.nvlist_lookup_string)(nvl, name, &mut a);
                    (x, (self.nvpair_value_string)(pair, &mut b))
                };
                say(log, &(x, y));
                [a, b].into_iter().filter(|s| !s.is_null()).for_each(|s| say(log, &text(s)));
            }
            Kind::List => {
                let (mut a, mut b) = (null_mut(), null_mut());
                // SAFETY: by contract.
                let (x, y) = unsafe {
                    let x = (self.nvlist_lookup_nvlist)(nvl, name, &mut a);
                    (x, (self.nvpair_value_nvlist)(pair, &mut b))
                };
                say(log, &(x, y));
                [a, b].into_iter().filter(|l| !l.is_null()).for_each(|l| self.read(l, log));
            }
            Kind::BooleanArray => array!(nvlist_lookup_boolean_array nvpair_value_boolean_array
                |v, log| say(log, &v)),
            Kind::ByteArray => {
                array!(nvlist_lookup_byte_array nvpair_value_byte_array |v, log| say(log, &v));
            }
            Kind::Int8Array => {
                array!(nvlist_lookup_int8_array nvpair_value_int8_array |v, log| say(log, &v));
            }
            Kind::Uint8Array => {
                array!(nvlist_lookup_uint8_array nvpair_value_uint8_array |v, log| say(log, &v));
            }
            Kind::Int16Array => {
                array!(nvlist_lookup_int16_array nvpair_value_int16_array |v, log| say(log, &v));
            }
            Kind::Uint16Array => {
                array!(nvlist_lookup_uint16_array nvpair_value_uint16_array |v, log| say(log, &v));
            }
            Kind::Int32Array => {
                array!(nvlist_lookup_int32_array nvpair_value_int32_array |v, log| say(log, &v));
            }
            Kind::Uint32Array => {
                array!(nvlist_lookup_uint32_array nvpair_value_uint32_array |v, log| say(log, &v));
            }
            Kind::Int64Array => {
                array!(nvlist_lookup_int64_array nvpair_value_int64_array |v, log| say(log, &v));
            }
            Kind::Uint64Array => {
                array!(nvlist_lookup_uint64_array nvpair_value_uint64_array |v, log| say(log, &v));
            }
            Kind::StringArray => array!(nvlist_lookup_string_array nvpair_value_string_array
                |v, log| say(log, &text(v))),
            Kind::ListArray => array!(nvlist_lookup_nvlist_array nvpair_value_nvlist_array
                |v, log| self.read(v, log)),
        }
    }

    /// Changes a list in each way there is.
    fn change(self, nvl: Nvl, log: &mut String) {
        let mut copy = null_mut();
        // SAFETY: as `make`. A pair that is gone is only compared.
        unsafe {
            assert_eq!((self.nvlist_dup)(nvl, &mut copy, 0), 0);
            let copy = Made(self, copy);
            let first = (self.nvlist_next_nvpair)(nvl, null_mut());
            // With names that come twice, OpenZFS 2.1 follows its hash table to nowhere.
            if !first.is_null() && (self.nvlist_nvflag)(nvl) == NV_UNIQUE_NAME {
                let name = CStr::from_ptr((self.nvpair_name)(first)).to_owned();
                let kind = (self.nvpair_type)(first);
                for wrong in [0, 28, -2, if kind == 6 { 5 } else { 6 }] {
                    let code = (self.nvlist_remove)(nvl, name.as_ptr(), wrong);
                    write!(log, "remove {code}; ").unwrap();
                }
                write!(log, "add again {}; ", (self.nvlist_add_nvpair)(copy.1, first)).unwrap();
                write!(log, "remove {}; ", (self.nvlist_remove)(nvl, name.as_ptr(), kind)).unwrap();
                let any = (self.nvlist_remove)(nvl, name.as_ptr(), -1);
                write!(log, "remove of any type {any}; ").unwrap();
                let all = (self.nvlist_remove_all)(nvl, name.as_ptr());
                write!(log, "remove all {all}; ").unwrap();
            }
            let merged = (self.nvlist_merge)(nvl, copy.1, 0);
            writeln!(log, "merge {merged}, itself {}", (self.nvlist_merge)(nvl, nvl, 0)).unwrap();
        }
    }
}

#[test]
fn both_libraries_answer_the_same_and_pack_the_same() {
    let Some(theirs) = openzfs() else { return };
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let same = |list: List| {
        let logs = [ours(), theirs].map(|api| {
            let mut log = String::new();
            let made = api.make(&list, &mut log);
            for round in 0..2 {
                api.read(made.1, &mut log);
                for form in FORMS {
                    let packed = api.pack(made.1, form);
                    writeln!(log, "{form:?} {packed:x?}").unwrap();
                    if let Ok(bytes) = packed {
                        // Each reads what itself packed, and our library what either did.
                        api.read(api.unpack(&bytes).expect("its own").1, &mut log);
                        let list = List::unpack(&bytes).unwrap();
                        assert_eq!(list.pack(form).unwrap(), bytes, "{}", api.ours);
                    }
                }
                if round == 0 {
                    api.change(made.1, &mut log);
                }
            }
            log
        });
        let [a, b] = logs;
        for (a, b) in a.lines().zip(b.lines()) {
            prop_assert_eq!(a, b);
        }
        prop_assert_eq!(a.lines().count(), b.lines().count());
        Ok(())
    };
    runner.run(&common::lists(), same).unwrap();
}

#[test]
fn both_refuse_the_same_arguments() {
    let Some(theirs) = openzfs() else { return };
    let answers = [ours(), theirs].map(|api| {
        let mut codes = Vec::new();
        let x = c"x".as_ptr();
        // SAFETY: NULL, or as `make`.
        unsafe {
            let made = api.make(&List::new(), &mut String::new());
            let any_names = api.make(&List::with_flags(0), &mut String::new());
            let nvl = made.1;
            let bad = [2, 0];
            let (mut n, mut out) = (0, null_mut());
            codes.push((api.nvlist_alloc)(null_mut(), 0, 0));
            codes.push((api.nvlist_add_boolean)(null_mut(), x));
            codes.push((api.nvlist_add_boolean)(nvl, null_mut()));
            codes.push((api.nvlist_add_boolean_value)(nvl, x, 2));
            codes.push((api.nvlist_add_boolean_array)(nvl, x, bad.as_ptr(), 2));
            codes.push((api.nvlist_add_int16_array)(nvl, x, null_mut(), 2));
            codes.push((api.nvlist_add_string_array)(nvl, x, [null_mut()].as_ptr(), 1));
            codes.push((api.nvlist_add_nvlist_array)(nvl, x, [null_mut()].as_ptr(), 1));
            codes.push((api.nvlist_add_nvlist)(nvl, x, null_mut()));
            codes.push((api.nvlist_add_nvlist)(nvl, x, nvl));
            codes.push((api.nvlist_add_nvlist_array)(nvl, x, [nvl].as_ptr(), 1));
            codes.push((api.nvlist_add_uint32)(nvl, x, 7));
            codes.push((api.nvlist_lookup_uint32)(nvl, x, null_mut()));
            codes.push((api.nvlist_lookup_uint32_array)(nvl, x, &mut null_mut(), &mut n));
            codes.push((api.nvlist_lookup_nvpair)(nvl, c"y".as_ptr(), null_mut()));
            codes.push((api.nvlist_lookup_nvpair)(nvl, x, null_mut()));
            codes.push((api.nvlist_lookup_nvpair)(any_names.1, x, null_mut()));
            codes.push((api.nvlist_lookup_boolean)(any_names.1, x));
            codes.push((api.nvlist_dup)(null_mut(), &mut out, 0));
            codes.push((api.nvlist_dup)(nvl, null_mut(), 0));
            codes.push((api.nvlist_merge)(nvl, null_mut(), 0));
            codes.push((api.nvlist_merge)(null_mut(), nvl, 0));
            codes.push((api.nvlist_remove_all)(nvl, c"y".as_ptr()));
            codes.push((api.nvlist_remove_nvpair)(nvl, null_mut()));
            codes.push((api.nvlist_add_boolean)(nvl, c"y".as_ptr()));
            let pair = (api.nvlist_next_nvpair)(nvl, null_mut());
            codes.push((api.nvlist_remove_nvpair)(nvl, pair));
            codes.push((api.nvlist_exists)(nvl, x));
            codes.push((api.nvlist_exists)(nvl, c"y".as_ptr()));
            codes.push(c_int::from((api.nvlist_next_nvpair)(null_mut(), null_mut()).is_null()));
            codes.push((api.nvlist_exists)(nvl, null_mut()));
            codes.push((api.nvlist_empty)(null_mut()));
            // Packing.
            let (mut size, mut buf) = (0, null_mut());
            codes.push((api.nvlist_size)(nvl, &mut size, 2));
            codes.push((api.nvlist_size)(nvl, null_mut(), 0));
            codes.push((api.nvlist_pack)(null_mut(), &mut buf, &mut size, 0, 0));
            codes.push((api.nvlist_pack)(nvl, &mut buf, &mut size, 9, 0));
            let mut room = [0u64; 32];
            buf = room.as_mut_ptr().cast();
            for form in [0, 1] {
                (api.nvlist_size)(nvl, &mut size, form);
                size -= 4;
                codes.push((api.nvlist_pack)(nvl, &mut buf, &mut size, form, 0));
                size += 4;
                codes.push((api.nvlist_pack)(nvl, &mut buf, &mut size, form, 0));
                codes.push(size as c_int);
                codes.push(room[1] as c_int);
            }
            codes.push((api.nvlist_unpack)(null_mut(), 8, &mut out, 0));
            codes.push((api.nvlist_unpack)(buf, 3, &mut out, 0));
            codes.push((api.nvlist_unpack)(buf, size, null_mut(), 0));
        }
        codes
    });
    assert_eq!(answers[0], answers[1]);
}

/// What libnvpair takes and we do not; see [`List::unpack`].
fn stricter(e: Error) -> bool {
    matches!(e, Error::Version(_) | Error::Count(_) | Error::Text)
}

/// Damaged forms: what we accept, libnvpair accepts and understands in the same way; what we refuse,
/// it refuses, but for the few known cases.
#[test]
fn both_refuse_the_same_bytes() {
    let Some(theirs) = openzfs() else { return };
    let (mut accepted, mut refused, mut strict) = (0, 0, 0);
    let mut check = |bytes: &[u8]| {
        match (List::unpack(bytes), theirs.unpack(bytes)) {
            (Ok(list), Ok(made)) => {
                accepted += 1;
                // The native form keeps what lies in gaps; XDR has none.
                let form = Encoding::Xdr;
                assert_eq!(theirs.pack(made.1, form), Ok(list.pack(form).unwrap()), "{bytes:x?}");
            }
            (Err(_), Err(_)) => refused += 1,
            (Ok(list), Err(code)) => panic!("we took {list:?}, they said {code}: {bytes:x?}"),
            (Err(e), Ok(_)) => {
                strict += 1;
                assert!(stricter(e), "{e}: {bytes:x?}");
            }
        }
    };
    let mut runner = TestRunner::deterministic();
    for _ in 0..60 {
        let list = common::lists().new_tree(&mut runner).unwrap().current();
        for form in FORMS {
            let bytes = list.pack(form).unwrap();
            if bytes.len() > 600 {
                continue;
            }
            (0..bytes.len()).for_each(|n| check(&bytes[..n]));
            for bit in 0..bytes.len() * 8 {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                check(&bytes);
            }
        }
    }
    assert!(accepted > 1000 && refused > 1000, "{accepted} {refused} {strict}");
}
