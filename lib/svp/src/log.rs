// SPDX-License-Identifier: CDDL-1.0
//! Log entries (section 2.4).

use crate::bytes::{Reader, put};
use crate::message::RouteReq;
use crate::types::{Refusal, Version};
use overlay_abi::ids::MacAddr;
use std::net::Ipv6Addr;
use uuid::Uuid;

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// Whatever is known of this Ethernet address is stale.
    Vl2 {
        /// Of the guest.
        mac: MacAddr,
        /// Its network.
        vnet: u32,
    },
    /// This IP address has a new Ethernet address; ask which, and tell the guests.
    Vl3 {
        /// Of the guest.
        ip: Ipv6Addr,
        /// 802.1Q tag of its frames, 0 for none.
        vlan: u16,
        /// Its network.
        vnet: u32,
    },
    /// Routed flows between these subnets are stale.
    Route(Route),
}

/// Subnets whose routed flows are stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Network that packets come from.
    pub src_vnet: u32,
    /// Network that they go to.
    pub dst_vnet: u32,
    /// Data centre that they go to.
    pub dcid: u32,
    /// Source subnet.
    pub src: Ipv6Addr,
    /// Destination subnet.
    pub dst: Ipv6Addr,
    /// 802.1Q tag at the source.
    pub src_vlan: u16,
    /// 802.1Q tag at the destination.
    pub dst_vlan: u16,
    /// Bits of `src`, counted in the v6 form (an IPv4 /24 is 120).
    pub src_prefix: u8,
    /// Bits of `dst`, likewise.
    pub dst_prefix: u8,
}

/// An entry with the name it is removed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Named {
    /// For LOG_RM.
    pub id: Uuid,
    /// What has changed.
    pub entry: Entry,
}

impl Route {
    /// Whether packets of which this was asked are among the flows. A length above 128 is none, and as
    /// 0: rather too much is stale than too little.
    pub fn covers(&self, req: &RouteReq) -> bool {
        (self.src_vnet, self.src_vlan) == (req.vnet, req.vlan)
            && holds(self.src, self.src_prefix, req.src)
            && holds(self.dst, self.dst_prefix, req.dst)
    }
}

/// Whether an address begins with the first `len` bits of another.
fn holds(net: Ipv6Addr, len: u8, ip: Ipv6Addr) -> bool {
    let rest = 128_u32.checked_sub(len.into()).unwrap_or(128);
    (net.to_bits() ^ ip.to_bits()).checked_shr(rest).unwrap_or(0) == 0
}

impl Entry {
    /// Bytes on the wire, type and id included.
    pub fn size(&self) -> usize {
        match self {
            Entry::Vl2 { .. } => 32,
            Entry::Vl3 { .. } => 44,
            Entry::Route(_) => 72,
        }
    }

    /// The lowest version that knows such an entry.
    pub fn version(&self) -> Version {
        match self {
            Entry::Vl2 { .. } | Entry::Vl3 { .. } => Version::V1,
            Entry::Route(_) => Version::V2,
        }
    }
}

impl Named {
    /// Appends the entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self.entry {
            Entry::Vl2 { mac, vnet } => put!(out, 1u32, self.id, mac, 0u16, vnet),
            Entry::Vl3 { ip, vlan, vnet } => put!(out, 2u32, self.id, ip, 0u16, vlan, vnet),
            Entry::Route(r) => put!(
                out,
                3u32,
                self.id,
                r.src_vnet,
                r.dst_vnet,
                r.dcid,
                r.src,
                r.dst,
                r.src_vlan,
                r.dst_vlan,
                r.src_prefix,
                r.dst_prefix,
                0u16
            ),
        }
    }

    /// The entry at the front of `r`, which lies `at` bytes into the entries.
    fn decode(r: &mut Reader<'_>, at: usize, version: Version) -> Result<Named, Refusal> {
        let cut = Refusal::LogEntryCut { at };
        let kind = r.u32().ok_or(cut)?;
        match (kind, version) {
            (1 | 2, _) | (3, Version::V2) => Named::fields(kind, r).ok_or(cut),
            (3, Version::V1) => Err(Refusal::LogEntryRoute { at }),
            _ => Err(Refusal::LogEntryType { at, kind }),
        }
    }

    /// What follows the type `kind`; `None` if it is cut off.
    fn fields(kind: u32, r: &mut Reader<'_>) -> Option<Named> {
        let id = r.uuid()?;
        let entry = match kind {
            1 => {
                let mac = r.mac()?;
                r.pad::<2>()?;
                Entry::Vl2 { mac, vnet: r.u32()? }
            }
            2 => {
                let ip = r.ip()?;
                r.pad::<2>()?;
                Entry::Vl3 { ip, vlan: r.u16()?, vnet: r.u32()? }
            }
            _ => {
                let route = Route {
                    src_vnet: r.u32()?,
                    dst_vnet: r.u32()?,
                    dcid: r.u32()?,
                    src: r.ip()?,
                    dst: r.ip()?,
                    src_vlan: r.u16()?,
                    dst_vlan: r.u16()?,
                    src_prefix: r.u8()?,
                    dst_prefix: r.u8()?,
                };
                r.pad::<2>()?;
                Entry::Route(route)
            }
        };
        Some(Named { id, entry })
    }
}

/// The entries of a LOG_ACK, all of them checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    version: Version,
}

impl<'a> Entries<'a> {
    /// Checks entries back to back. One bad entry refuses all of them (section 5.4).
    pub fn check(bytes: &'a [u8], version: Version) -> Result<Entries<'a>, Refusal> {
        let mut r = Reader(bytes);
        while !r.0.is_empty() {
            let at = bytes.len().saturating_sub(r.0.len());
            Named::decode(&mut r, at, version)?;
        }
        Ok(Entries { bytes, version })
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = Named> + 'a {
        let (mut r, version) = (Reader(self.bytes), self.version);
        std::iter::from_fn(move || Named::decode(&mut r, 0, version).ok())
    }

    /// As on the wire.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// The ids of a LOG_RM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids<'a>(&'a [[u8; 16]]);

impl<'a> Ids<'a> {
    /// Checks count and ids. The payload must hold exactly as many as are counted.
    pub fn check(payload: &'a [u8]) -> Result<Ids<'a>, Refusal> {
        let mut r = Reader(payload);
        let count = r.u32().ok_or(Refusal::LogRmCount { count: 0, room: 0 })?;
        let (ids, rest) = r.0.as_chunks::<16>();
        if !rest.is_empty() || ids.len() != count as usize {
            return Err(Refusal::LogRmCount { count, room: r.0.len() });
        }
        Ok(Ids(ids))
    }

    /// The ids in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Uuid> + 'a {
        self.0.iter().map(|id| Uuid::from_bytes(*id))
    }
}

/// How entries are fitted into a LOG_ACK for a request that takes `count` bytes (section 2.4):
/// status word and entries together, so that a client with a buffer of `count` can hold it.
#[derive(Debug)]
pub struct Room {
    left: usize,
    version: Version,
}

impl Room {
    /// Room for a reply in `version`. A count beyond what a message can carry is cut down to that.
    pub fn new(count: u32, version: Version) -> Room {
        let count = count.min(crate::frame::MAX_PAYLOAD);
        Room { left: (count as usize).saturating_sub(4), version }
    }

    /// What to do with the next entry of the log.
    pub fn take(&mut self, entry: &Entry) -> Fit {
        if entry.version() > self.version {
            return Fit::Skip;
        }
        match self.left.checked_sub(entry.size()) {
            Some(left) => {
                self.left = left;
                Fit::Put
            }
            None => Fit::Full,
        }
    }
}

/// Answer of [`Room::take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The entry goes into the reply.
    Put,
    /// The client does not know such entries; the next one may be for it (B24).
    Skip,
    /// The reply ends before this entry: order is kept, there is no look-ahead for a smaller one.
    Full,
}
