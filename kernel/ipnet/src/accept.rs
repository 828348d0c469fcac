// SPDX-License-Identifier: CDDL-1.0
//! Which packets a tap sees (spec/ipnet.md 4.7 to 4.9).
//!
//! Pure: the packet's header and addresses, the tap's filter and where it sits go in, yes or no
//! comes out.
use crate::header::{AF_INET, AF_INET6, ALL_ZONES, Direction, Header};
use ddi::mem::KVec;

/// The zone that sees all of its stack.
pub const GLOBAL_ZONE: i32 = 0;

/// An IPv4 address of an interface that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V4 {
    /// The address, 0.0.0.0 for none.
    pub addr: [u8; 4],
    /// Broadcast address of its subnet, 0.0.0.0 for none.
    pub broadcast: [u8; 4],
    /// Zone it belongs to; [`ALL_ZONES`] for each.
    pub zone: i32,
}

/// An IPv6 address of an interface that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6 {
    /// The address.
    pub addr: [u8; 16],
    /// Zone it belongs to; [`ALL_ZONES`] for each.
    pub zone: i32,
}

/// Addresses of an interface.
#[derive(Default)]
pub struct Addresses {
    /// Those of IPv4.
    pub v4: KVec<V4>,
    /// Those of IPv6.
    pub v6: KVec<V6>,
}

impl PartialEq for Addresses {
    fn eq(&self, other: &Addresses) -> bool {
        self.v4[..] == other.v4[..] && self.v6[..] == other.v6[..]
    }
}

impl Addresses {
    /// Whether one of them belongs to the zone.
    pub fn in_zone(&self, zone: i32) -> bool {
        let of = |z: i32| z == zone || z == ALL_ZONES;
        self.v4.iter().any(|a| of(a.zone)) || self.v6.iter().any(|a| of(a.zone))
    }
}

/// Source and destination of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Of IPv4.
    V4 {
        /// Source.
        src: [u8; 4],
        /// Destination.
        dst: [u8; 4],
    },
    /// Of IPv6.
    V6 {
        /// Source.
        src: [u8; 16],
        /// Destination.
        dst: [u8; 16],
    },
}

impl Ends {
    /// Those of the packet of this family whose bytes `read(offset, buffer)` fetches; `None` if it
    /// says that the packet ends before, or the family is neither.
    #[inline]
    pub fn read(family: u8, read: impl Fn(usize, &mut [u8]) -> bool) -> Option<Ends> {
        match family {
            AF_INET => {
                let mut header = [0; 20];
                read(0, &mut header).then_some(())?;
                let [.., s0, s1, s2, s3, d0, d1, d2, d3] = header;
                Some(Ends::V4 { src: [s0, s1, s2, s3], dst: [d0, d1, d2, d3] })
            }
            AF_INET6 => {
                let (mut src, mut dst) = ([0; 16], [0; 16]);
                (read(8, &mut src) && read(24, &mut dst)).then_some(())?;
                Some(Ends::V6 { src, dst })
            }
            _ => None,
        }
    }
}

/// What a tap asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The tap's zone.
    pub zone: i32,
    /// Family it is bound to, 0 for none in particular.
    pub family: u8,
    /// `DL_PROMISC_PHYS`: packets for others too.
    pub phys: bool,
    /// `DL_PROMISC_SAP`: every family, whatever it is bound to.
    pub sap: bool,
}

/// Where a tap sits.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// On an interface.
    On {
        /// Its index.
        index: u32,
        /// Its addresses.
        addresses: &'a Addresses,
    },
    /// `/dev/lo0`: what stays in the host.
    Lo0,
    /// A BPF client on a loopback interface.
    Loopback,
}

/// What an address is to a tap.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Mine,
    Many,
    Other,
}

#[inline]
fn class_v4(zone: i32, addresses: &Addresses, addr: [u8; 4]) -> Class {
    let [first, ..] = addr;
    if first & 0xf0 == 0xe0 || addr == [255; 4] {
        return Class::Many;
    }
    for a in addresses.v4.iter().filter(|a| concerns(zone, a.zone)) {
        if a.addr != [0; 4] && a.addr == addr {
            return Class::Mine;
        }
        if a.broadcast != [0; 4] && a.broadcast == addr {
            return Class::Many;
        }
    }
    Class::Other
}

#[inline]
fn class_v6(zone: i32, addresses: &Addresses, addr: [u8; 16]) -> Class {
    let [first, ..] = addr;
    if first == 0xff {
        return Class::Many;
    }
    let mut mine = addresses.v6.iter().filter(|a| concerns(zone, a.zone));
    if addr != [0; 16] && mine.any(|a| a.addr == addr) { Class::Mine } else { Class::Other }
}

/// Whether an address of zone `owner` counts for a tap of `zone`.
#[inline]
fn concerns(zone: i32, owner: i32) -> bool {
    zone == GLOBAL_ZONE || owner == zone || owner == ALL_ZONES
}

/// Whether the tap sees the packet.
#[inline]
pub fn accept(filter: &Filter, place: Place<'_>, header: &Header, ends: &Ends) -> bool {
    let ours =
        filter.zone == GLOBAL_ZONE || filter.zone == header.zsrc || filter.zone == header.zdst;
    let (index, addresses) = match place {
        Place::On { index, addresses } => (index, addresses),
        Place::Lo0 | Place::Loopback => {
            let here =
                matches!(place, Place::Loopback) || header.direction == Some(Direction::Local);
            return here && ours && (filter.family == 0 || filter.family == header.family);
        }
    };
    if !filter.sap && filter.family != header.family {
        return false;
    }
    let to = match ends {
        Ends::V4 { dst, .. } => class_v4(filter.zone, addresses, *dst),
        Ends::V6 { dst, .. } => class_v6(filter.zone, addresses, *dst),
    };
    if to != Class::Many && !ours {
        return false;
    }
    let here = header.ifindex == index || header.group == index;
    let from_me = || match ends {
        Ends::V4 { src, .. } => class_v4(filter.zone, addresses, *src) == Class::Mine,
        Ends::V6 { src, .. } => class_v6(filter.zone, addresses, *src) == Class::Mine,
    };
    to == Class::Mine || here && (filter.phys || to == Class::Many) || filter.phys && from_me()
}
