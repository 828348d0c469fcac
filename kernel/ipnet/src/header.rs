// SPDX-License-Identifier: CDDL-1.0
//! The 24 bytes in front of a packet, `dl_ipnetinfo_t` (sys/dlpi.h, spec/ipnet.md 3).
//!
//! ```text
//!   0 version  1 family  2 direction  4 bytes of the packet  8 ifindex  12 group  16 zsrc  20 zdst
//! ```
//!
//! Network byte order. IP's own record of an observed packet begins with the same bytes.
use zerocopy::big_endian::{I32, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, Unaligned};

/// Bytes of the header.
pub const HEADER_LEN: usize = 24;
/// The only version there is; snoop's filters in the kernel count on it.
pub const VERSION: u8 = 1;
/// `AF_INET`.
pub const AF_INET: u8 = 2;
/// `AF_INET6`, illumos' number, which is in captures on every system.
pub const AF_INET6: u8 = 26;
/// `ALL_ZONES`: the zone is not known.
pub const ALL_ZONES: i32 = -1;

/// What became of a packet, `ipobs_hook_type_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received from a link.
    In,
    /// Handed to a link.
    Out,
    /// Stayed in the host.
    Local,
}

/// The header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Family, [`AF_INET`] or [`AF_INET6`]; any other from bytes that are not IP's.
    pub family: u8,
    /// Direction; `None` for a number that has no meaning.
    pub direction: Option<Direction>,
    /// Bytes of the packet, those of this header not counted.
    pub len: u32,
    /// Index of the interface that the packet used.
    pub ifindex: u32,
    /// Index of its IPMP group, 0 without one.
    pub group: u32,
    /// Zone that sent it, or [`ALL_ZONES`].
    pub zsrc: i32,
    /// Zone that gets it, or [`ALL_ZONES`].
    pub zdst: i32,
}

/// The bytes by field.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Wire {
    version: u8,
    family: u8,
    direction: U16,
    len: U32,
    ifindex: U32,
    group: U32,
    zsrc: I32,
    zdst: I32,
}

impl Header {
    /// Reads the fields. The version is not looked at.
    #[inline]
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Header {
        let wire: Wire = zerocopy::transmute!(*bytes);
        let direction = match wire.direction.get() {
            0 => Some(Direction::In),
            1 => Some(Direction::Out),
            2 => Some(Direction::Local),
            _ => None,
        };
        Header {
            family: wire.family,
            direction,
            len: wire.len.get(),
            ifindex: wire.ifindex.get(),
            group: wire.group.get(),
            zsrc: wire.zsrc.get(),
            zdst: wire.zdst.get(),
        }
    }

    /// The bytes. A direction without meaning becomes 0xffff.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let direction = match self.direction {
            Some(Direction::In) => 0,
            Some(Direction::Out) => 1,
            Some(Direction::Local) => 2,
            None => u16::MAX,
        };
        zerocopy::transmute!(Wire {
            version: VERSION,
            family: self.family,
            direction: direction.into(),
            len: self.len.into(),
            ifindex: self.ifindex.into(),
            group: self.group.into(),
            zsrc: self.zsrc.into(),
            zdst: self.zdst.into(),
        })
    }
}
