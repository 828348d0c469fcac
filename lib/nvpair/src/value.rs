// SPDX-License-Identifier: CDDL-1.0
//! Values, their types, and the one place where each type is told from the others.
use crate::number::Number;
use crate::{Error, List};
use std::ffi::CString;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $code:literal,)*) => {
        /// Type of a value: `data_type_t` of `<sys/nvpair.h>`, with its codes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum Kind {
            $($(#[$doc])* $kind = $code,)*
        }

        impl Kind {
            /// All of them, in order of their codes.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),*];
        }
    };
}

kinds! {
    /// There or not, without a value.
    Boolean = 1,
    /// `uchar_t`
    Byte = 2,
    /// `int16_t`
    Int16 = 3,
    /// `uint16_t`
    Uint16 = 4,
    /// `int32_t`
    Int32 = 5,
    /// `uint32_t`
    Uint32 = 6,
    /// `int64_t`
    Int64 = 7,
    /// `uint64_t`
    Uint64 = 8,
    /// A C string.
    String = 9,
    /// `uchar_t []`
    ByteArray = 10,
    /// `int16_t []`
    Int16Array = 11,
    /// `uint16_t []`
    Uint16Array = 12,
    /// `int32_t []`
    Int32Array = 13,
    /// `uint32_t []`
    Uint32Array = 14,
    /// `int64_t []`
    Int64Array = 15,
    /// `uint64_t []`
    Uint64Array = 16,
    /// C strings.
    StringArray = 17,
    /// `hrtime_t`, nanoseconds.
    Hrtime = 18,
    /// A list.
    List = 19,
    /// Lists.
    ListArray = 20,
    /// `boolean_t`
    BooleanValue = 21,
    /// `int8_t`
    Int8 = 22,
    /// `uint8_t`
    Uint8 = 23,
    /// `boolean_t []`
    BooleanArray = 24,
    /// `int8_t []`
    Int8Array = 25,
    /// `uint8_t []`
    Uint8Array = 26,
    /// `double`
    Double = 27,
}

impl Kind {
    /// The type with this code.
    pub fn from_code(code: i32) -> Option<Kind> {
        let index = usize::try_from(code).ok()?.checked_sub(1)?;
        Kind::ALL.get(index).copied()
    }

    /// Its code.
    pub fn code(self) -> i32 {
        self as i32
    }

    /// Whether values have any number of elements.
    pub fn is_array(self) -> bool {
        use Kind::*;
        matches!(
            self,
            ByteArray
                | Int16Array
                | Uint16Array
                | Int32Array
                | Uint32Array
                | Int64Array
                | Uint64Array
                | StringArray
                | ListArray
                | BooleanArray
                | Int8Array
                | Uint8Array
        )
    }
}

/// A value, of the [`Kind`] of the same name.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `DATA_TYPE_BOOLEAN`: there or not, without a value.
    Boolean,
    /// `DATA_TYPE_BOOLEAN_VALUE`
    BooleanValue(bool),
    /// `DATA_TYPE_BYTE`
    Byte(u8),
    /// `DATA_TYPE_INT8`
    Int8(i8),
    /// `DATA_TYPE_UINT8`
    Uint8(u8),
    /// `DATA_TYPE_INT16`
    Int16(i16),
    /// `DATA_TYPE_UINT16`
    Uint16(u16),
    /// `DATA_TYPE_INT32`
    Int32(i32),
    /// `DATA_TYPE_UINT32`
    Uint32(u32),
    /// `DATA_TYPE_INT64`
    Int64(i64),
    /// `DATA_TYPE_UINT64`
    Uint64(u64),
    /// `DATA_TYPE_HRTIME`, nanoseconds.
    Hrtime(i64),
    /// `DATA_TYPE_DOUBLE`
    Double(f64),
    /// `DATA_TYPE_STRING`
    String(CString),
    /// `DATA_TYPE_NVLIST`; boxed so that a pointer to it lives as long as the pair.
    List(Box<List>),
    /// `DATA_TYPE_BOOLEAN_ARRAY`
    BooleanArray(Vec<bool>),
    /// `DATA_TYPE_BYTE_ARRAY`
    ByteArray(Vec<u8>),
    /// `DATA_TYPE_INT8_ARRAY`
    Int8Array(Vec<i8>),
    /// `DATA_TYPE_UINT8_ARRAY`
    Uint8Array(Vec<u8>),
    /// `DATA_TYPE_INT16_ARRAY`
    Int16Array(Vec<i16>),
    /// `DATA_TYPE_UINT16_ARRAY`
    Uint16Array(Vec<u16>),
    /// `DATA_TYPE_INT32_ARRAY`
    Int32Array(Vec<i32>),
    /// `DATA_TYPE_UINT32_ARRAY`
    Uint32Array(Vec<u32>),
    /// `DATA_TYPE_INT64_ARRAY`
    Int64Array(Vec<i64>),
    /// `DATA_TYPE_UINT64_ARRAY`
    Uint64Array(Vec<u64>),
    /// `DATA_TYPE_STRING_ARRAY`
    StringArray(Vec<CString>),
    /// `DATA_TYPE_NVLIST_ARRAY`
    ListArray(Vec<List>),
}

/// Something that is done with a value, by what it is made of.
pub(crate) trait Write {
    fn number<N: Number>(&mut self, n: N);
    fn numbers<N: Number>(&mut self, all: &[N]);
    /// An array of bytes, which XDR does not widen to words.
    fn bytes(&mut self, bytes: &[u8]);
    fn string(&mut self, s: &CString);
    fn strings(&mut self, all: &[CString]);
    fn list(&mut self, list: &List);
    fn lists(&mut self, all: &[List]);
}

/// Where a value comes from. Counts are not to be trusted.
pub(crate) trait Read {
    fn number<N: Number>(&mut self) -> Result<N, Error>;
    fn numbers<N: Number>(&mut self, count: u32) -> Result<Vec<N>, Error>;
    fn bytes(&mut self, count: u32) -> Result<Vec<u8>, Error>;
    fn string(&mut self) -> Result<CString, Error>;
    fn strings(&mut self, count: u32) -> Result<Vec<CString>, Error>;
    fn list(&mut self) -> Result<List, Error>;
    fn lists(&mut self, count: u32) -> Result<Vec<List>, Error>;
}

impl Value {
    /// Its type.
    pub fn kind(&self) -> Kind {
        macro_rules! kind {
            ($($kind:ident)*) => {
                match self {
                    Value::Boolean => Kind::Boolean,
                    $(Value::$kind(_) => Kind::$kind,)*
                }
            };
        }
        kind! {
            BooleanValue Byte Int8 Uint8 Int16 Uint16 Int32 Uint32 Int64 Uint64 Hrtime Double String
            List BooleanArray ByteArray Int8Array Uint8Array Int16Array Uint16Array Int32Array
            Uint32Array Int64Array Uint64Array StringArray ListArray
        }
    }

    /// How many elements it has: those of an array, 0 for `Boolean`, else 1.
    pub fn count(&self) -> usize {
        match self {
            Value::Boolean => 0,
            Value::BooleanArray(a) => a.len(),
            Value::ByteArray(a) | Value::Uint8Array(a) => a.len(),
            Value::Int8Array(a) => a.len(),
            Value::Int16Array(a) => a.len(),
            Value::Uint16Array(a) => a.len(),
            Value::Int32Array(a) => a.len(),
            Value::Uint32Array(a) => a.len(),
            Value::Int64Array(a) => a.len(),
            Value::Uint64Array(a) => a.len(),
            Value::StringArray(a) => a.len(),
            Value::ListArray(a) => a.len(),
            _ => 1,
        }
    }

    pub(crate) fn write(&self, to: &mut impl Write) {
        match self {
            Value::Boolean => {}
            Value::BooleanValue(n) => to.number(*n),
            Value::Byte(n) | Value::Uint8(n) => to.number(*n),
            Value::Int8(n) => to.number(*n),
            Value::Int16(n) => to.number(*n),
            Value::Uint16(n) => to.number(*n),
            Value::Int32(n) => to.number(*n),
            Value::Uint32(n) => to.number(*n),
            Value::Int64(n) | Value::Hrtime(n) => to.number(*n),
            Value::Uint64(n) => to.number(*n),
            Value::Double(n) => to.number(*n),
            Value::String(s) => to.string(s),
            Value::List(list) => to.list(list),
            Value::BooleanArray(a) => to.numbers(a),
            Value::ByteArray(a) => to.bytes(a),
            Value::Int8Array(a) => to.numbers(a),
            Value::Uint8Array(a) => to.numbers(a),
            Value::Int16Array(a) => to.numbers(a),
            Value::Uint16Array(a) => to.numbers(a),
            Value::Int32Array(a) => to.numbers(a),
            Value::Uint32Array(a) => to.numbers(a),
            Value::Int64Array(a) => to.numbers(a),
            Value::Uint64Array(a) => to.numbers(a),
            Value::StringArray(a) => to.strings(a),
            Value::ListArray(a) => to.lists(a),
        }
    }

    /// A value of a type that is said to have `count` elements.
    pub(crate) fn read(kind: Kind, count: u32, from: &mut impl Read) -> Result<Value, Error> {
        let fixed = if kind == Kind::Boolean { 0 } else { 1 };
        if !kind.is_array() && count != fixed {
            return Err(Error::Count(count));
        }
        Ok(match kind {
            Kind::Boolean => Value::Boolean,
            Kind::BooleanValue => Value::BooleanValue(from.number()?),
            Kind::Byte => Value::Byte(from.number()?),
            Kind::Int8 => Value::Int8(from.number()?),
            Kind::Uint8 => Value::Uint8(from.number()?),
            Kind::Int16 => Value::Int16(from.number()?),
            Kind::Uint16 => Value::Uint16(from.number()?),
            Kind::Int32 => Value::Int32(from.number()?),
            Kind::Uint32 => Value::Uint32(from.number()?),
            Kind::Int64 => Value::Int64(from.number()?),
            Kind::Uint64 => Value::Uint64(from.number()?),
            Kind::Hrtime => Value::Hrtime(from.number()?),
            Kind::Double => Value::Double(from.number()?),
            Kind::String => Value::String(from.string()?),
            Kind::List => Value::List(Box::new(from.list()?)),
            Kind::BooleanArray => Value::BooleanArray(from.numbers(count)?),
            Kind::ByteArray => Value::ByteArray(from.bytes(count)?),
            Kind::Int8Array => Value::Int8Array(from.numbers(count)?),
            Kind::Uint8Array => Value::Uint8Array(from.numbers(count)?),
            Kind::Int16Array => Value::Int16Array(from.numbers(count)?),
            Kind::Uint16Array => Value::Uint16Array(from.numbers(count)?),
            Kind::Int32Array => Value::Int32Array(from.numbers(count)?),
            Kind::Uint32Array => Value::Uint32Array(from.numbers(count)?),
            Kind::Int64Array => Value::Int64Array(from.numbers(count)?),
            Kind::Uint64Array => Value::Uint64Array(from.numbers(count)?),
            Kind::StringArray => Value::StringArray(from.strings(count)?),
            Kind::ListArray => Value::ListArray(from.lists(count)?),
        })
    }
}
