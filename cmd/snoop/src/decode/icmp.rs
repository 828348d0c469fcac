// SPDX-License-Identifier: CDDL-1.0
//! ICMP (RFC 792) and ICMPv6 (RFC 4443) with neighbour discovery (RFC 4861).

use super::checksum::Sum;
use super::cursor::Cursor;
use super::ip::{Ipv4, Ipv6, protocol};
use crate::field::Fields;
use overlay_abi::ids::MacAddr;
use std::net::{IpAddr, Ipv6Addr};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// ICMP.
    V4,
    /// ICMPv6.
    V6,
}

/// A message, at least 8 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Decides what kind and code mean.
    pub version: Version,
    /// What it is.
    pub kind: u8,
    /// Which of these.
    pub code: u8,
    /// As received.
    pub checksum: u16,
    /// What it says.
    pub sum: Sum,
    /// What follows.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Echo request or reply.
    Echo {
        /// Whose.
        id: u16,
        /// Which.
        seq: u16,
    },
    /// An error: what is wrong with a packet of the receiver's.
    About {
        /// Source, destination and protocol of that packet, if they are there.
        packet: Option<(IpAddr, IpAddr, u8)>,
        /// Bytes that fit, where the packet was too big; the gateway of a redirect.
        word: u32,
    },
    /// Router advertisement.
    Router {
        /// For packets without another.
        hop_limit: u8,
        /// Managed, other, and so on.
        flags: u8,
        /// Seconds.
        lifetime: u16,
        /// What follows.
        options: Vec<NdOption>,
    },
    /// Router solicitation, neighbour solicitation or advertisement, redirect.
    Neighbour {
        /// Whom it is about.
        target: Option<Ipv6Addr>,
        /// Router, solicited, override: the highest three bits.
        flags: u8,
        /// What follows.
        options: Vec<NdOption>,
    },
    /// Of a kind that is not decoded.
    Other,
}

/// An option of neighbour discovery (RFC 4861; RFC 4191 for routes, RFC 8106 for name servers).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NdOption {
    /// Of the sender.
    SourceMac(MacAddr),
    /// Of the target.
    TargetMac(MacAddr),
    /// Of the link.
    Prefix {
        /// With `bits`.
        address: Ipv6Addr,
        /// 0 to 128.
        bits: u8,
        /// On the link, for addresses: the highest two bits.
        flags: u8,
        /// Seconds.
        valid: u32,
        /// Seconds for which addresses of it are taken for new connections.
        preferred: u32,
    },
    /// Source, destination and protocol of the packet that is redirected, if they are there.
    Redirected(Option<(IpAddr, IpAddr, u8)>),
    /// Bytes.
    Mtu(u32),
    /// A network that the router leads to.
    Route {
        /// With `bits`.
        address: Ipv6Addr,
        /// 0 to 128.
        bits: u8,
        /// Seconds.
        lifetime: u32,
    },
    /// Whom to ask for names.
    NameServers {
        /// Seconds.
        lifetime: u32,
        /// At least one.
        servers: Vec<Ipv6Addr>,
    },
    /// Any other kind.
    Other(u8),
}

impl NdOption {
    /// Options up to the end, or to the first that is cut off.
    fn all(mut c: Cursor<'_>) -> Vec<NdOption> {
        std::iter::from_fn(|| NdOption::next(&mut c)).collect()
    }

    fn next(c: &mut Cursor<'_>) -> Option<NdOption> {
        let mut head = *c;
        let (kind, units) = (head.u8()?, usize::from(head.u8()?));
        // Length 0 would never end.
        let bytes = c.take(units.checked_mul(8).filter(|n| *n > 0)?)?;
        let mut o = Cursor(bytes.get(2..)?);
        let known = match (kind, units) {
            (1, 1) => NdOption::SourceMac(o.mac()?),
            (2, 1) => NdOption::TargetMac(o.mac()?),
            (3, 4) => {
                let (bits, flags, valid, preferred) = (o.u8()?, o.u8()?, o.u32()?, o.u32()?);
                o.take(4)?;
                NdOption::Prefix { address: o.v6()?, bits, flags, valid, preferred }
            }
            (4, _) => {
                o.take(6)?;
                NdOption::Redirected(about(o.0))
            }
            (5, 1) => {
                o.take(2)?;
                NdOption::Mtu(o.u32()?)
            }
            (24, 1..=3) => {
                let (bits, _preference, lifetime) = (o.u8()?, o.u8()?, o.u32()?);
                let mut address = [0; 16];
                address.get_mut(..o.0.len())?.copy_from_slice(o.0);
                NdOption::Route { address: address.into(), bits, lifetime }
            }
            (25, 3..) => {
                o.take(2)?;
                let lifetime = o.u32()?;
                let servers = std::iter::from_fn(|| o.v6()).collect();
                NdOption::NameServers { lifetime, servers }
            }
            _ => NdOption::Other(kind),
        };
        Some(known)
    }

    fn fields(&self) -> Fields {
        let f = Fields::default();
        match self {
            NdOption::SourceMac(mac) => f.with("source_mac", *mac),
            NdOption::TargetMac(mac) => f.with("target_mac", *mac),
            NdOption::Prefix { address, bits, flags, valid, preferred } => f
                .with("prefix", format!("{address}/{bits}"))
                .with("on_link", flags & 0x80 != 0)
                .with("autonomous", flags & 0x40 != 0)
                .with("valid_seconds", *valid)
                .with("preferred_seconds", *preferred),
            NdOption::Redirected(packet) => f
                .maybe("about_source", packet.map(|p| p.0))
                .maybe("about_destination", packet.map(|p| p.1))
                .maybe("about_protocol", packet.map(|p| p.2)),
            NdOption::Mtu(n) => f.with("mtu", *n),
            NdOption::Route { address, bits, lifetime } => {
                f.with("route", format!("{address}/{bits}")).with("lifetime", *lifetime)
            }
            NdOption::NameServers { lifetime, servers } => {
                let servers: Vec<_> = servers.iter().map(Ipv6Addr::to_string).collect();
                f.with("name_servers", servers.join(" ")).with("lifetime", *lifetime)
            }
            NdOption::Other(kind) => f.with("kind", *kind),
        }
    }
}

impl Icmp {
    pub(super) fn decode(version: Version, c: &mut Cursor<'_>) -> Option<Icmp> {
        let (kind, code, checksum) = (c.u8()?, c.u8()?, c.u16()?);
        let body = match (version, kind) {
            (Version::V4, 0 | 8) | (Version::V6, 128 | 129) => {
                Body::Echo { id: c.u16()?, seq: c.u16()? }
            }
            (Version::V4, 3 | 4 | 5 | 11 | 12) | (Version::V6, 1..=4) => {
                let word = c.u32()?;
                Body::About { packet: about(c.0), word }
            }
            (Version::V6, 133) => {
                c.take(4)?;
                Body::Neighbour { target: None, flags: 0, options: NdOption::all(*c) }
            }
            (Version::V6, 134) => {
                let (hop_limit, flags, lifetime) = (c.u8()?, c.u8()?, c.u16()?);
                c.take(8)?;
                Body::Router { hop_limit, flags, lifetime, options: NdOption::all(*c) }
            }
            (Version::V6, 135..=137) => {
                let flags = c.u8()?;
                c.take(3)?;
                let target = Some(c.v6()?);
                if kind == 137 {
                    c.take(16)?;
                }
                Body::Neighbour { target, flags: flags & 0xe0, options: NdOption::all(*c) }
            }
            _ => Body::Other,
        };
        Some(Icmp { version, kind, code, checksum, sum: Sum::Unchecked, body })
    }

    /// What people call it.
    fn name(&self) -> String {
        let known = match (self.version, self.kind, self.code) {
            (Version::V4, 0, _) | (Version::V6, 129, _) => "Echo reply",
            (Version::V4, 8, _) | (Version::V6, 128, _) => "Echo request",
            (Version::V4, 3, 0) => "Destination unreachable (network)",
            (Version::V4, 3, 1) => "Destination unreachable (host)",
            (Version::V4, 3, 2) => "Destination unreachable (protocol)",
            (Version::V4, 3, 3) | (Version::V6, 1, 4) => "Destination unreachable (port)",
            (Version::V4, 3, 4) | (Version::V6, 2, _) => "Packet too big",
            (Version::V4, 3, _) | (Version::V6, 1, _) => "Destination unreachable",
            (Version::V4, 4, _) => "Source quench",
            (Version::V4, 5, _) | (Version::V6, 137, _) => "Redirect",
            (Version::V4, 9, _) | (Version::V6, 134, _) => "Router advertisement",
            (Version::V4, 10, _) | (Version::V6, 133, _) => "Router solicitation",
            (Version::V4, 11, _) | (Version::V6, 3, _) => "Time exceeded",
            (Version::V4, 12, _) | (Version::V6, 4, _) => "Parameter problem",
            (Version::V6, 130, _) => "Multicast listener query",
            (Version::V6, 131 | 143, _) => "Multicast listener report",
            (Version::V6, 132, _) => "Multicast listener done",
            (Version::V6, 135, _) => "Neighbor solicitation",
            (Version::V6, 136, _) => "Neighbor advertisement",
            (_, kind, code) => return format!("type {kind} code {code}"),
        };
        known.to_owned()
    }

    /// What `word` is, if it is something.
    fn word(&self, word: u32) -> Option<(&'static str, String)> {
        match (self.version, self.kind, self.code) {
            (Version::V4, 3, 4) => Some(("mtu", (word & 0xffff).to_string())),
            (Version::V6, 2, _) => Some(("mtu", word.to_string())),
            (Version::V4, 5, _) => Some(("gateway", std::net::Ipv4Addr::from(word).to_string())),
            _ => None,
        }
    }

    pub(super) fn summary(&self) -> String {
        let name = self.name();
        match &self.body {
            Body::Echo { id, seq } => format!("{name} (ID: {id} Sequence number: {seq})"),
            Body::About { packet, word } => {
                let word = self.word(*word).map_or(String::new(), |(n, w)| format!(", {n} {w}"));
                let about = packet.map_or(String::new(), |(src, dst, p)| {
                    format!(", of {src} -> {dst} {}", protocol::name(p))
                });
                format!("{name}{word}{about}")
            }
            Body::Neighbour { target: Some(target), options, .. } => {
                let mac = options.iter().find_map(|o| match o {
                    NdOption::TargetMac(mac) if self.kind == 136 => Some(format!(" is {mac}")),
                    _ => None,
                });
                format!("{name} {target}{}", mac.unwrap_or_default())
            }
            _ => name,
        }
    }

    pub(super) fn fields(&self) -> Fields {
        let f = Fields::default()
            .with("type", self.kind)
            .with("code", self.code)
            .with("meaning", self.name())
            .hex("checksum", self.checksum, 4)
            .with("checksum_state", self.sum.to_string());
        match &self.body {
            Body::Echo { id, seq } => f.with("id", *id).with("sequence", *seq),
            Body::About { packet, word } => {
                let f = match self.word(*word) {
                    Some((name, text)) => f.with(name, text),
                    None => f,
                };
                f.maybe("about_source", packet.map(|p| p.0))
                    .maybe("about_destination", packet.map(|p| p.1))
                    .maybe("about_protocol", packet.map(|p| p.2))
            }
            Body::Router { hop_limit, flags, lifetime, options } => f
                .with("hop_limit", *hop_limit)
                .hex("flags", *flags, 2)
                .with("lifetime", *lifetime)
                .list("options", options.iter().map(NdOption::fields)),
            Body::Neighbour { target, flags, options } => f
                .maybe("target", *target)
                .hex("flags", *flags, 2)
                .list("options", options.iter().map(NdOption::fields)),
            Body::Other => f,
        }
    }
}

/// Of the packet that an error is about, of which only the beginning is there.
fn about(bytes: &[u8]) -> Option<(IpAddr, IpAddr, u8)> {
    match bytes.first()? >> 4 {
        4 => Ipv4::decode(bytes)?.ok().map(|(ip, _)| (ip.src.into(), ip.dst.into(), ip.protocol)),
        6 => Ipv6::decode(bytes)?.ok().map(|(ip, _)| (ip.src.into(), ip.dst.into(), ip.next)),
        _ => None,
    }
}
