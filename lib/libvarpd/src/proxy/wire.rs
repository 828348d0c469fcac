// SPDX-License-Identifier: CDDL-1.0
//! Headers as they are on the wire, and the checksum of RFC 1071.
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of an Ethernet header.
pub(crate) const ETHER_SIZE: usize = 14;
/// Bytes of one with a VLAN tag.
pub(crate) const VLAN_SIZE: usize = 18;

pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;

pub(crate) const IPPROTO_UDP: u8 = 17;
pub(crate) const IPPROTO_ICMPV6: u8 = 58;

/// ARP for IPv4 on Ethernet (RFC 826), 28 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ArpPacket {
    pub kind: ArpKind,
    pub operation: U16,
    pub sender_mac: [u8; 6],
    pub sender_ip: [u8; 4],
    pub target_mac: [u8; 6],
    pub target_ip: [u8; 4],
}

impl ArpPacket {
    pub(crate) const REQUEST: u16 = 1;
    pub(crate) const REPLY: u16 = 2;
}

/// Type of a [`Neighbour`] message that tells an address (RFC 4861 4.4).
pub(crate) const ADVERTISEMENT: u8 = 136;
/// Hop limit of what has not passed a router.
pub(crate) const UNROUTED: u8 = 255;
/// Type of a [`LinkLayerAddress`] of the target (RFC 4861 4.6.1).
pub(crate) const TARGET_ADDRESS: u8 = 2;

/// Neighbour advertisement with the option that a solicitation wants to know, 32 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Advertisement {
    pub neighbour: Neighbour,
    pub option: LinkLayerAddress,
}

/// What an ARP packet is about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(crate) struct ArpKind {
    pub hardware: U16,
    pub protocol: U16,
    pub hardware_size: u8,
    pub protocol_size: u8,
}

/// The only ones there are.
pub(crate) const ARP_IPV4_ON_ETHERNET: ArpKind = ArpKind {
    hardware: U16::new(1),
    protocol: U16::new(ETHERTYPE_IPV4),
    hardware_size: 6,
    protocol_size: 4,
};

/// IPv4 header without options (RFC 791), 20 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Ipv4 {
    pub version_size: u8,
    pub tos: u8,
    /// Header and payload.
    pub length: U16,
    pub id: U16,
    pub fragment: U16,
    pub ttl: u8,
    pub protocol: u8,
    pub checksum: U16,
    pub source: [u8; 4],
    pub destination: [u8; 4],
}

/// UDP header (RFC 768), 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Udp {
    pub source: U16,
    pub destination: U16,
    /// Header and payload.
    pub length: U16,
    pub checksum: U16,
}

/// IPv6 header (RFC 8200), 40 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Ipv6 {
    pub version_class_flow: U32,
    /// Payload alone.
    pub length: U16,
    pub next_header: u8,
    pub hop_limit: u8,
    pub source: [u8; 16],
    pub destination: [u8; 16],
}

/// Neighbour solicitation or advertisement without options (RFC 4861 4.3, 4.4), 24 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Neighbour {
    pub kind: u8,
    pub code: u8,
    pub checksum: U16,
    pub flags: U32,
    pub target: [u8; 16],
}

/// Source or target link-layer address of Ethernet (RFC 4861 4.6.1, RFC 2464 6), 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct LinkLayerAddress {
    pub kind: u8,
    /// In units of 8 bytes, so 1.
    pub size: u8,
    pub mac: [u8; 6],
}

/// The checksum over parts, of which all but the last have an even number of bytes. Over something
/// that contains its own right checksum it is 0.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        let (words, rest) = part.as_chunks::<2>();
        sum += words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>();
        if let [last] = rest {
            sum += u64::from(*last) << 8;
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The checksum of an ICMPv6 message with its pseudo-header (RFC 4443 2.3, RFC 8200 8.1).
pub(crate) fn icmpv6_checksum(source: &[u8; 16], destination: &[u8; 16], message: &[u8]) -> u16 {
    let length = (message.len() as u32).to_be_bytes();
    checksum(&[source, destination, &length, &[0, 0, 0, IPPROTO_ICMPV6], message])
}
