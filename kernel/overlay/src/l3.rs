// SPDX-License-Identifier: CDDL-1.0
//! Frames for a router, as bytes: read, checked, and their headers written anew.
//!
//! ```text
//!   | dst | src | tag? | type | version .. TTL, protocol, checksum | rest: not looked at
//!   └───────── L2: 14 or 18 ──┴─────── IPv4: 12, IPv6: 8 ───────────┘
//!                           the head: replaced as a whole
//! ```
//!
//! Everything here is untrusted. What is not a complete header of an IP packet between two hosts is
//! not routed. Of what is behind that header only one byte is looked at, whether it is a neighbour
//! solicitation: that is for the router itself, like ARP.
use crate::frame::{ETHER_HDR, Header, VLAN_HDR};
use crate::stats::DropReason;
use crate::target::cache::{Hop, RouteKey};
use crate::target::prefix::Ip;
use ddi::mem::copy;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
const VLAN: u16 = 0x8100;
/// Bytes of an IPv4 header up to and with its checksum.
const V4_HEAD: usize = 12;
/// Bytes of an IPv6 header up to and with its hop limit.
const V6_HEAD: usize = 8;
const V4_MIN: usize = 20;
const V6_LEN: usize = 40;
const ICMPV6: u8 = 58;
/// Type of an ICMPv6 message (RFC 4861 4.3).
const SOLICITATION: u8 = 135;
/// Hop limit of what has come through no router.
const UNROUTED: u8 = 255;

/// Most bytes that [`parse`] looks at.
pub(crate) const PARSE_MAX: usize = VLAN_HDR + V6_LEN + 1;
/// Longest head.
pub(crate) const HEAD_MAX: usize = VLAN_HDR + V4_HEAD;

/// The bytes in front of a frame that change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    bytes: [u8; HEAD_MAX],
    len: usize,
}

impl Head {
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// What a frame for a router is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A question to the router itself.
    Question,
    /// For somebody behind it.
    Packet(Packet),
}

/// A frame that can be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// By what its route is found.
    pub key: RouteKey,
    /// Its head as it came.
    pub head: Head,
    /// Bytes of its Ethernet header.
    l2: usize,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Whether packets of this network-order address may be routed: it is one host's, anywhere.
fn routable(ip: u128) -> bool {
    let v6 = core::net::Ipv6Addr::from_bits(ip);
    match v6.to_ipv4_mapped() {
        Some(v4) => {
            let [first, ..] = v4.octets();
            // 0/8 is this network, 224/4 multicast, 240/4 reserved with broadcast at its end.
            first != 0 && first < 224 && !v4.is_loopback() && !v4.is_link_local()
        }
        None => {
            !v6.is_unspecified()
                && !v6.is_loopback()
                && !v6.is_multicast()
                && !v6.is_unicast_link_local()
        }
    }
}

/// Reads a frame of `size` bytes from its first [`PARSE_MAX`], or all if it is shorter.
///
/// # Errors
/// Why it must be dropped: it is no question to a router and not an IP packet between two hosts, or
/// it may go no further.
pub(crate) fn parse(header: &Header, front: &[u8], size: usize) -> Result<Parsed, DropReason> {
    let l2 = header.size;
    let room = size.saturating_sub(l2);
    let ip = front.get(l2..).unwrap_or_default();
    let (src, dst, ttl, head) = match header.sap {
        ARP => return Ok(Parsed::Question),
        IPV4 => v4(ip, room).ok_or(DropReason::TxNotRoutable)?,
        IPV6 if solicits(ip) => return Ok(Parsed::Question),
        IPV6 => v6(ip, room).ok_or(DropReason::TxNotRoutable)?,
        _ => return Err(DropReason::TxNotRoutable),
    };
    if !routable(src) || !routable(dst) {
        return Err(DropReason::TxNotRoutable);
    }
    if ttl <= 1 {
        return Err(DropReason::TxTtl);
    }
    let len = l2.saturating_add(head);
    let mut bytes = [0; HEAD_MAX];
    copy(&mut bytes, front.get(..len).unwrap_or_default());
    Ok(Parsed::Packet(Packet {
        key: RouteKey { vlan: header.vlan, src: Ip::new(src), dst: Ip::new(dst) },
        head: Head { bytes, len },
        l2,
    }))
}

impl Packet {
    /// Its head when it goes to `dst` over `hop`: addresses and VLAN id changed, priority kept, TTL
    /// one less, checksum mended.
    pub fn rewritten(&self, hop: &Hop, dst: [u8; 6]) -> Head {
        let mut head = Head { bytes: [0; HEAD_MAX], len: 0 };
        head.push(&dst);
        head.push(&hop.srcmac);
        let old = self.head.bytes();
        // Priority and DEI, from the tag if there is one.
        let tci =
            if self.l2 == VLAN_HDR { array(old, ETHER_HDR).unwrap_or_default() } else { [0; 2] };
        let kind: [u8; 2] = array(old, self.l2.saturating_sub(2)).unwrap_or_default();
        if hop.vlan != 0 {
            head.push(&VLAN.to_be_bytes());
            head.push(&(u16::from_be_bytes(tci) & 0xf000 | hop.vlan & 0x0fff).to_be_bytes());
        }
        head.push(&kind);
        let ip = old.get(self.l2..).unwrap_or_default();
        if u16::from_be_bytes(kind) == IPV4 {
            let ip: [u8; V4_HEAD] = array(ip, 0).unwrap_or_default();
            head.push(&one_hop_less_v4(ip));
        } else {
            let mut ip: [u8; V6_HEAD] = array(ip, 0).unwrap_or_default();
            let [.., hops] = &mut ip;
            *hops = hops.saturating_sub(1);
            head.push(&ip);
        }
        head
    }
}

impl Head {
    fn push(&mut self, bytes: &[u8]) {
        copy(self.bytes.get_mut(self.len..).unwrap_or_default(), bytes);
        self.len = self.len.saturating_add(bytes.len()).min(HEAD_MAX);
    }
}

/// Source, destination (v4-mapped), TTL, and bytes of the head.
type Read = (u128, u128, u8, usize);

fn v4(ip: &[u8], room: usize) -> Option<Read> {
    let header: [u8; V4_MIN] = array(ip, 0)?;
    let [first, _, l0, l1, _, _, _, _, ttl, ..] = header;
    let len = usize::from(first & 15).saturating_mul(4);
    let total = usize::from(u16::from_be_bytes([l0, l1]));
    if first >> 4 != 4 || len < V4_MIN || total < len || total > room {
        return None;
    }
    let mapped = |at| Some(0xffff_u128 << 32 | u128::from(u32::from_be_bytes(array(ip, at)?)));
    Some((mapped(12)?, mapped(16)?, ttl, V4_HEAD))
}

fn v6(ip: &[u8], room: usize) -> Option<Read> {
    let header: [u8; V6_HEAD] = array(ip, 0)?;
    let [first, _, _, _, l0, l1, _, hops] = header;
    let total = usize::from(u16::from_be_bytes([l0, l1])).saturating_add(V6_LEN);
    let addr = |at| Some(u128::from_be_bytes(array(ip, at)?));
    let (src, dst) = (addr(8)?, addr(24)?);
    // A v4-mapped address has no place in a packet (RFC 4291 2.5.5.2), and here it would be taken
    // for the IPv4 one.
    let mapped = |ip: u128| ip >> 32 == 0xffff;
    if first >> 4 != 6 || total > room || mapped(src) || mapped(dst) {
        return None;
    }
    Some((src, dst, hops, V6_HEAD))
}

/// Whether it is a neighbour solicitation that came through no router. Whoever answers checks the
/// rest of it.
fn solicits(ip: &[u8]) -> bool {
    let kind = ip.get(V6_LEN).copied();
    let hops_and_next = ip.get(6..V6_HEAD);
    hops_and_next == Some(&[ICMPV6, UNROUTED]) && kind == Some(SOLICITATION)
}

/// The beginning of an IPv4 header with its TTL one less and its checksum mended (RFC 1624): a wrong
/// one stays wrong, for whom it is for to notice.
fn one_hop_less_v4(mut ip: [u8; V4_HEAD]) -> [u8; V4_HEAD] {
    let [_, _, _, _, _, _, _, _, ttl, proto, c0, c1] = &mut ip;
    let old = u16::from_be_bytes([*ttl, *proto]);
    *ttl = ttl.saturating_sub(1);
    let new = u16::from_be_bytes([*ttl, *proto]);
    // ~(~HC + ~m + m')
    let sum = u32::from(!u16::from_be_bytes([*c0, *c1]))
        .wrapping_add(u32::from(!old))
        .wrapping_add(u32::from(new));
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    [*c0, *c1] = (!(sum as u16)).to_be_bytes();
    ip
}
