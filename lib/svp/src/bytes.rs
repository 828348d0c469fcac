// SPDX-License-Identifier: CDDL-1.0
//! Reading fixed fields from a slice and appending them to a buffer, big-endian.

use overlay_abi::ids::MacAddr;
use std::net::Ipv6Addr;
use uuid::Uuid;

/// Takes fields off the front of a slice. Each answers `None` when there are not enough bytes.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn ip(&mut self) -> Option<Ipv6Addr> {
        self.array::<16>().map(Ipv6Addr::from)
    }

    pub fn mac(&mut self) -> Option<MacAddr> {
        self.array().map(MacAddr)
    }

    pub fn uuid(&mut self) -> Option<Uuid> {
        self.array().map(Uuid::from_bytes)
    }

    /// Bytes whose value does not matter.
    pub fn pad<const N: usize>(&mut self) -> Option<()> {
        self.array::<N>().map(|_| ())
    }
}

/// A field with one representation on the wire.
pub trait Put {
    fn put(&self, out: &mut Vec<u8>);
}

macro_rules! put_int {
    ($($t:ty)*) => {$(
        impl Put for $t {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}
put_int! { u8 u16 u32 }

impl Put for Ipv6Addr {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.octets());
    }
}

impl Put for MacAddr {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

impl Put for Uuid {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

/// Appends fields in order: `put!(out, mac, 0u16, vnet)`.
macro_rules! put {
    ($out:expr, $($field:expr),* $(,)?) => {{
        $($crate::bytes::Put::put(&$field, $out);)*
    }};
}
pub(crate) use put;
