// SPDX-License-Identifier: CDDL-1.0
//! Frames for a router, as bytes: read, checked, and their headers written anew.
//!
//! ```text
//!   | dst | src | tag? | type | version .. TTL, checksum or hop limit | rest: never changed
//!   └───────── L2: 14 or 18 ──┴──────────────── 12 ─────────────────┘
//!                           the head
//! ```
//!
//! Everything here is untrusted. What is not a complete header of an IP packet between two hosts is
//! not routed. Of what is behind that header only one byte is looked at, whether it is a neighbour
//! solicitation: that is for the router itself, like ARP.
//!
//! Each packet of a known route goes through [`packet`] and [`Packet::overwrite`] only: what is asked
//! there is what can differ between packets of one route.
use crate::frame::{ETHER_HDR, VLAN_HDR};
use crate::stats::DropReason;
use crate::target::cache::{RouteKey, Way};
use crate::target::prefix::Ip;
use ddi::mem::copy;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
const VLAN: u16 = 0x8100;
const V4_MIN: usize = 20;
const V6_LEN: usize = 40;
/// Bytes of an IP header that are part of the head.
const IP_HEAD: usize = 12;
const ICMPV6: u8 = 58;
/// Type of an ICMPv6 message (RFC 4861 4.3).
const SOLICITATION: u8 = 135;
/// Hop limit of what has come through no router.
const UNROUTED: u8 = 255;
/// Upper half of an IPv4 address as one of IPv6, shifted to the lower end of 64 bits.
const MAPPED: u64 = 0xffff;

/// Most bytes that [`parse`] looks at.
pub(crate) const PARSE_MAX: usize = VLAN_HDR + V6_LEN + 1;
/// Bytes of the shortest packet with its header.
const SHORTEST: usize = ETHER_HDR + V4_MIN;
/// Longest head. No packet is shorter.
pub(crate) const HEAD_MAX: usize = VLAN_HDR + IP_HEAD;

/// What a frame for a router is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A question to the router itself, whose address this is.
    Question([u8; 6]),
    /// For somebody behind it.
    Packet(Packet),
}

/// A packet to be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// By what its route is found.
    pub key: RouteKey,
    /// Bytes of its Ethernet header.
    l2: usize,
    v4: bool,
}

#[inline]
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Reads a frame of `size` bytes from the first [`PARSE_MAX`] of them.
///
/// # Errors
/// Why it must be dropped: it is no question to a router and not an IP packet between two hosts, or
/// it may go no further.
pub(crate) fn parse(front: &[u8], size: usize) -> Result<Parsed, DropReason> {
    let (_, kind, l2) = ether(front).ok_or(DropReason::TxNotRoutable)?;
    let ip = front.get(l2..).unwrap_or_default();
    if kind == ARP || kind == IPV6 && solicits(ip) {
        return Ok(Parsed::Question(array(front, 0).unwrap_or_default()));
    }
    match read(front, size) {
        Some((packet, _)) if !packet.is_routable() => Err(DropReason::TxNotRoutable),
        Some((_, 0 | 1)) => Err(DropReason::TxTtl),
        Some((packet, _)) => Ok(Parsed::Packet(packet)),
        None => Err(DropReason::TxNotRoutable),
    }
}

/// Reads a packet that may have a route, from as many bytes of its frame as are at hand. For all
/// else there is [`parse`].
#[inline(always)]
pub(crate) fn packet(front: &[u8], size: usize) -> Option<Packet> {
    let (packet, ttl) = read(front, size)?;
    // The last is of neighbour discovery.
    let goes_on = ttl > 1 && (packet.v4 || ttl != UNROUTED || !is_icmpv6(front, packet.l2));
    goes_on.then_some(packet)
}

/// VLAN id, type, and bytes of an Ethernet header.
#[inline(always)]
fn ether(front: &[u8]) -> Option<(u16, u16, usize)> {
    let head: &[u8; SHORTEST] = front.first_chunk()?;
    let [_, _, _, _, _, _, _, _, _, _, _, _, t0, t1, c0, c1, k0, k1, ..] = *head;
    Some(match u16::from_be_bytes([t0, t1]) {
        VLAN => (u16::from_be_bytes([c0, c1]) & 0x0fff, u16::from_be_bytes([k0, k1]), VLAN_HDR),
        kind => (0, kind, ETHER_HDR),
    })
}

/// A packet and its TTL.
#[inline(always)]
fn read(front: &[u8], size: usize) -> Option<(Packet, u8)> {
    let (vlan, kind, l2) = ether(front)?;
    let room = size.wrapping_sub(l2);
    let ip = front.get(l2..)?;
    let v4 = kind == IPV4;
    let (src, dst, ttl) = match kind {
        IPV4 => self::v4(ip, room)?,
        IPV6 => self::v6(ip, room)?,
        _ => return None,
    };
    Some((Packet { key: RouteKey { vlan, src, dst }, l2, v4 }, ttl))
}

/// Source, destination and TTL.
type Read = (Ip, Ip, u8);

#[inline(always)]
fn v4(ip: &[u8], room: usize) -> Option<Read> {
    let header: &[u8; V4_MIN] = ip.first_chunk()?;
    let [first, _, l0, l1, _, _, _, _, ttl, _, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    let total = usize::from(u16::from_be_bytes([l0, l1]));
    let len = usize::from(first & 15).wrapping_mul(4);
    if !(0x45..=0x4f).contains(&first) || total < len || total > room {
        return None;
    }
    let mapped = |ip| Ip(0, MAPPED << 32 | u64::from(u32::from_be_bytes(ip)));
    Some((mapped([s0, s1, s2, s3]), mapped([d0, d1, d2, d3]), ttl))
}

#[inline(always)]
fn v6(ip: &[u8], room: usize) -> Option<Read> {
    let [first, _, _, _, l0, l1, _, hops] = array(ip, 0)?;
    let total = usize::from(u16::from_be_bytes([l0, l1])).saturating_add(V6_LEN);
    let word = |at| array(ip, at).map(u64::from_be_bytes);
    let (src, dst) = (Ip(word(8)?, word(16)?), Ip(word(24)?, word(32)?));
    // A v4-mapped address has no place in a packet (RFC 4291 2.5.5.2), and here it would be taken
    // for the IPv4 one.
    let mapped = |ip: Ip| ip.0 == 0 && ip.1 >> 32 == MAPPED;
    if first >> 4 != 6 || total > room || mapped(src) || mapped(dst) {
        return None;
    }
    Some((src, dst, hops))
}

/// Whether it is a neighbour solicitation that came through no router. Whoever answers checks the
/// rest of it.
fn solicits(ip: &[u8]) -> bool {
    array(ip, 6) == Some([ICMPV6, UNROUTED]) && array(ip, V6_LEN) == Some([SOLICITATION])
}

#[inline]
fn is_icmpv6(front: &[u8], l2: usize) -> bool {
    front.get(l2.wrapping_add(6)) == Some(&ICMPV6)
}

/// Whether packets of this address may be routed: it is one host's, anywhere.
fn is_host(ip: Ip) -> bool {
    let v6 = core::net::Ipv6Addr::from_bits(ip.bits());
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

impl Packet {
    /// Whether it goes from one host to another. There are no routes of others.
    fn is_routable(&self) -> bool {
        is_host(self.key.src) && is_host(self.key.dst)
    }

    /// Bytes of its head.
    #[inline]
    pub fn head_len(&self) -> usize {
        self.l2.saturating_add(IP_HEAD)
    }

    #[inline]
    fn is_tagged(&self) -> bool {
        self.l2 == VLAN_HDR
    }

    /// This packet with a head of the length that it has with this VLAN id: the old head, with a tag
    /// more or less.
    pub fn retagged(&self, old: &[u8; HEAD_MAX], vlan: u16) -> (Packet, [u8; HEAD_MAX]) {
        let l2 = if vlan != 0 { VLAN_HDR } else { ETHER_HDR };
        let mut new = *old;
        if !self.is_tagged() {
            // A tag of priority 0, whose id comes with `overwrite`.
            let tag = new.get_mut(ETHER_HDR.saturating_sub(2)..).unwrap_or_default();
            copy(tag, &(u32::from(VLAN) << 16).to_be_bytes());
        }
        // The type and the beginning of the IP header.
        let rest = old.get(self.l2.saturating_sub(2)..self.head_len()).unwrap_or_default();
        copy(new.get_mut(l2.saturating_sub(2)..).unwrap_or_default(), rest);
        (Packet { l2, ..*self }, new)
    }

    /// Writes over its head what it is on its way: addresses and VLAN id changed, priority kept, TTL
    /// one less, checksum mended. `false`, and nothing done, if the head is of another length then.
    #[inline(always)]
    pub fn overwrite(&self, head: &mut [u8; HEAD_MAX], way: &Way) -> bool {
        if self.is_tagged() != (way.vlan != 0) {
            return false;
        }
        let Some((macs, rest)) = head.split_first_chunk_mut() else { return false };
        *macs = way.macs;
        let ip = if self.is_tagged() {
            let Some(([_, _, tci @ .., _, _], ip)) = rest.split_first_chunk_mut::<6>() else {
                return false;
            };
            *tci = (u16::from_be_bytes(*tci) & 0xf000 | way.vlan & 0x0fff).to_be_bytes();
            ip.first_chunk_mut::<IP_HEAD>()
        } else {
            rest.get_mut(2..).and_then(|ip| ip.first_chunk_mut())
        };
        let Some([_, _, _, _, _, _, _, hops, ttl, _, c0, c1]) = ip else { return false };
        if self.v4 {
            *ttl = ttl.wrapping_sub(1);
            [*c0, *c1] = ttl_less(u16::from_be_bytes([*c0, *c1])).to_be_bytes();
        } else {
            *hops = hops.wrapping_sub(1);
        }
        true
    }
}

/// The checksum of an IPv4 header whose TTL is one less, which is 0x100 less in a word of the sum
/// (RFC 1624): a wrong one stays wrong, for whom it is for to notice.
#[inline]
fn ttl_less(checksum: u16) -> u16 {
    let sum = u32::from(checksum).wrapping_add(0x100);
    // The carry comes round, also where the sum is the other zero.
    sum.wrapping_add(u32::from(sum >= 0xffff)) as u16
}
