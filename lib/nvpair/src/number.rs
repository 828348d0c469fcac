// SPDX-License-Identifier: CDDL-1.0
//! Numbers: as they lie in memory, and as XDR (RFC 4506) has them, in words of four bytes.
use crate::Error;

/// The bytes that are still to be read.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Error::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Error::Short)?;
        self.0 = rest;
        Ok(*taken)
    }
}

/// Anything of which there are arrays, strings and lists excepted.
pub(crate) trait Number: Copy {
    /// Bytes it takes in memory.
    const SIZE: usize;
    fn put_native(self, out: &mut Vec<u8>);
    fn put_xdr(self, out: &mut Vec<u8>);
    fn native(from: &mut Bytes<'_>) -> Result<Self, Error>;
    /// Bits of a word that the type does not have are not looked at, as in libnvpair.
    fn xdr(from: &mut Bytes<'_>) -> Result<Self, Error>;
}

macro_rules! numbers {
    // A type, the one whose sign counts, and the one XDR has it in.
    ($($t:ty: $sign:ty, $wire:ty;)*) => {$(
        impl Number for $t {
            const SIZE: usize = size_of::<$t>();
            fn put_native(self, out: &mut Vec<u8>) {
                out.extend(self.to_ne_bytes());
            }
            fn put_xdr(self, out: &mut Vec<u8>) {
                out.extend(<$wire>::from(self as $sign).to_be_bytes());
            }
            fn native(from: &mut Bytes<'_>) -> Result<Self, Error> {
                from.array().map(<$t>::from_ne_bytes)
            }
            fn xdr(from: &mut Bytes<'_>) -> Result<Self, Error> {
                Ok(<$wire>::from_be_bytes(from.array()?) as $t)
            }
        }
    )*};
}

// All bytes go through xdr_char(3NSL), and a char has a sign there.
numbers! {
    u8: i8, i32;
    i8: i8, i32;
    i16: i16, i32;
    u16: u16, u32;
    i32: i32, i32;
    u32: u32, u32;
    i64: i64, i64;
    u64: u64, u64;
    f64: f64, f64;
}

/// `boolean_t`, an int.
impl Number for bool {
    const SIZE: usize = size_of::<i32>();
    fn put_native(self, out: &mut Vec<u8>) {
        i32::from(self).put_native(out);
    }
    fn put_xdr(self, out: &mut Vec<u8>) {
        i32::from(self).put_xdr(out);
    }
    fn native(from: &mut Bytes<'_>) -> Result<Self, Error> {
        boolean(i32::native(from)?)
    }
    fn xdr(from: &mut Bytes<'_>) -> Result<Self, Error> {
        boolean(i32::xdr(from)?)
    }
}

/// A `boolean_t` has two values.
pub(crate) fn boolean(n: i32) -> Result<bool, Error> {
    match n {
        0 => Ok(false),
        1 => Ok(true),
        n => Err(Error::Boolean(n)),
    }
}
