// SPDX-License-Identifier: CDDL-1.0
//! IPv4 (RFC 791), IPv6 and its extension headers (RFC 8200).

use super::checksum::{self, Sum};
use super::cursor::Cursor;
use super::fragment::Fragment;
use crate::field::Fields;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Numbers of protocols and of IPv6 headers that are decoded further.
pub mod protocol {
    #![allow(missing_docs)]
    pub const HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ESP: u8 = 50;
    pub const AH: u8 = 51;
    pub const ICMP6: u8 = 58;
    pub const NONE: u8 = 59;
    pub const OPTIONS: u8 = 60;

    /// What people call it.
    #[must_use]
    pub fn name(n: u8) -> String {
        let known = match n {
            HOP => "hop-by-hop options",
            ICMP => "ICMP",
            2 => "IGMP",
            IPIP => "IP in IP",
            TCP => "TCP",
            UDP => "UDP",
            IPV6 => "IPv6",
            ROUTING => "routing",
            FRAGMENT => "fragment",
            47 => "GRE",
            ESP => "ESP",
            AH => "AH",
            ICMP6 => "ICMPv6",
            NONE => "nothing",
            OPTIONS => "destination options",
            89 => "OSPF",
            132 => "SCTP",
            n => return format!("protocol {n}"),
        };
        known.to_owned()
    }
}

/// An IPv4 header, 20 to 60 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4<'a> {
    /// From whom.
    pub src: Ipv4Addr,
    /// To whom.
    pub dst: Ipv4Addr,
    /// What follows.
    pub protocol: u8,
    /// Hops left.
    pub ttl: u8,
    /// Traffic class.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// Must not be fragmented.
    pub dont_fragment: bool,
    /// If it is one.
    pub fragment: Option<Fragment>,
    /// Of header and payload; 0 of a packet that is still to be segmented.
    pub length: u16,
    /// As received.
    pub checksum: u16,
    /// What the checksum says of the header. A network card that is to make it finds 0 there.
    pub sum: Sum,
    /// 0 to 40 bytes.
    pub options: &'a [u8],
}

impl<'a> Ipv4<'a> {
    /// The header, and its payload as far as it is there; what pads a frame is left out.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Result<(Ipv4<'a>, &'a [u8]), String>> {
        let mut c = Cursor(bytes);
        let first = c.u8()?;
        let header = usize::from(first & 0xf).saturating_mul(4);
        if first >> 4 != 4 {
            return Some(Err(format!("version {} instead of 4", first >> 4)));
        }
        if header < 20 {
            return Some(Err(format!("a header of {header} bytes")));
        }
        let (tos, length, id, flags) = (c.u8()?, c.u16()?, c.u16()?, c.u16()?);
        let whole = usize::from(length);
        if length != 0 && whole < header {
            return Some(Err(format!("{length} bytes with a header of {header}")));
        }
        let (ttl, protocol, sum, src, dst) = (c.u8()?, c.u8()?, c.u16()?, c.v4()?, c.v4()?);
        let options = c.take(header.saturating_sub(20))?;
        let fragment = Fragment {
            id: id.into(),
            offset: (flags & 0x1fff).saturating_mul(8),
            more: flags & 0x2000 != 0,
        };
        let payload = match length {
            0 => c.0,
            _ => c.0.get(..whole.saturating_sub(header)).unwrap_or(c.0),
        };
        let ip = Ipv4 {
            src,
            dst,
            protocol,
            ttl,
            tos,
            id,
            dont_fragment: flags & 0x4000 != 0,
            fragment: fragment.real(),
            length,
            checksum: sum,
            sum: match (checksum::header(bytes.get(..header)?), sum) {
                (Sum::Wrong, 0) => Sum::Unfinished,
                (told, _) => told,
            },
            options,
        };
        Some(Ok((ip, payload)))
    }

    /// Whether `payload`, which came with the header, is all of it.
    pub(super) fn holds(&self, payload: &[u8]) -> bool {
        let header = self.options.len().saturating_add(20);
        payload.len().saturating_add(header) == usize::from(self.length)
    }

    pub(super) fn summary(&self) -> String {
        let of = self.fragment.map_or(String::new(), |f| format!(", {}", f.text()));
        let protocol = protocol::name(self.protocol);
        format!(
            "D={} S={} LEN={} ID={} TTL={} {protocol}{of}",
            self.dst, self.src, self.length, self.id, self.ttl
        )
    }

    pub(super) fn fields(&self) -> Fields {
        Fields::default()
            .with("source", self.src)
            .with("destination", self.dst)
            .with("length", self.length)
            .hex("tos", self.tos, 2)
            .with("id", self.id)
            .with("dont_fragment", self.dont_fragment)
            .maybe("fragment_offset", self.fragment.map(|f| f.offset))
            .maybe("more_fragments", self.fragment.map(|f| f.more))
            .with("ttl", self.ttl)
            .with("protocol", self.protocol)
            .hex("checksum", self.checksum, 4)
            .with("checksum_state", self.sum.to_string())
            .with("options_length", self.options.len())
    }
}

/// An IPv6 header, 40 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// From whom.
    pub src: Ipv6Addr,
    /// To whom.
    pub dst: Ipv6Addr,
    /// What follows.
    pub next: u8,
    /// Hops left.
    pub hops: u8,
    /// Traffic class.
    pub class: u8,
    /// Flow label, 20 bits.
    pub flow: u32,
    /// Of what follows, bytes; 0 of a packet that is still to be segmented.
    pub length: u16,
}

impl Ipv6 {
    /// The header, and its payload as far as it is there.
    pub(super) fn decode(bytes: &[u8]) -> Option<Result<(Ipv6, &[u8]), String>> {
        let mut c = Cursor(bytes);
        let first = c.u32()?;
        if first >> 28 != 6 {
            return Some(Err(format!("version {} instead of 6", first >> 28)));
        }
        let (length, next, hops, src, dst) = (c.u16()?, c.u8()?, c.u8()?, c.v6()?, c.v6()?);
        let payload = match length {
            0 => c.0,
            _ => c.0.get(..usize::from(length)).unwrap_or(c.0),
        };
        let class = (first >> 20) as u8;
        Some(Ok((Ipv6 { src, dst, next, hops, class, flow: first & 0xf_ffff, length }, payload)))
    }

    pub(super) fn summary(&self) -> String {
        let next = protocol::name(self.next);
        format!("D={} S={} LEN={} HOPS={} {next}", self.dst, self.src, self.length, self.hops)
    }

    pub(super) fn fields(&self) -> Fields {
        Fields::default()
            .with("source", self.src)
            .with("destination", self.dst)
            .with("length", self.length)
            .hex("class", self.class, 2)
            .hex("flow_label", self.flow, 5)
            .with("hop_limit", self.hops)
            .with("next_header", self.next)
    }
}

/// An IPv6 extension header, at least 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Which.
    pub kind: u8,
    /// What follows.
    pub next: u8,
    /// Bytes.
    pub length: usize,
    /// Of a fragment header.
    pub fragment: Option<Fragment>,
}

impl Extension {
    /// Whether a header of this number is one. ESP is not: what follows it cannot be read.
    pub(super) fn is(kind: u8) -> bool {
        use protocol::*;
        matches!(kind, HOP | ROUTING | FRAGMENT | AH | OPTIONS)
    }

    /// Reads one of a kind that [`Extension::is`].
    pub(super) fn decode(kind: u8, c: &mut Cursor<'_>) -> Option<Extension> {
        let mut head = *c;
        let (next, units) = (head.u8()?, usize::from(head.u8()?));
        let length = match kind {
            protocol::FRAGMENT => 8,
            // Counted in fours, two of them left out.
            protocol::AH => units.saturating_add(2).saturating_mul(4),
            _ => units.saturating_add(1).saturating_mul(8),
        };
        let fragment = match kind {
            protocol::FRAGMENT => {
                let place = head.u16()?;
                let id = head.u32()?;
                Fragment { id, offset: place & 0xfff8, more: place & 1 != 0 }.real()
            }
            _ => None,
        };
        c.take(length)?;
        Some(Extension { kind, next, length, fragment })
    }

    pub(super) fn summary(&self) -> String {
        let (name, next) = (protocol::name(self.kind), protocol::name(self.next));
        match &self.fragment {
            Some(f) => format!("{}, {next}", f.text()),
            None => format!("{name}, then {next}"),
        }
    }

    pub(super) fn fields(&self) -> Fields {
        Fields::default()
            .with("kind", self.kind)
            .with("length", self.length)
            .maybe("fragment_id", self.fragment.map(|f| f.id))
            .maybe("fragment_offset", self.fragment.map(|f| f.offset))
            .maybe("more_fragments", self.fragment.map(|f| f.more))
            .with("next_header", self.next)
    }
}
