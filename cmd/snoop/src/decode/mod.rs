// SPDX-License-Identifier: CDDL-1.0
//! From the bytes of a packet to its layers. Total: any bytes give layers, and none panic.
//!
//! ```text
//!   ether -> vlan* -> arp                     a packet's layers are flat, outermost first; those
//!     |                                       behind a VXLAN layer are of the frame in it
//!   ipnet -> ip4 | ip6 -> extension* -> icmp
//!                                    -> tcp -> svp*
//!                                    -> udp -> dhcp
//!                                           -> vxlan -> ether ...
//! ```
//!
//! Each protocol has a type that decodes itself from a `cursor::Cursor`; [`Decoder`] knows which
//! follows which. What is cut off or cannot be ends in [`Layer::Bad`], bytes of no known protocol in
//! [`Layer::Data`].
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod cursor;
pub mod dhcp;
pub mod icmp;
pub mod ip;
pub mod link;
pub mod svp;
pub mod transport;

use crate::field::Fields;
use crate::packet::{LinkType, Packet};
use cursor::Cursor;
use dhcp::Dhcp;
use icmp::Icmp;
use ip::{Extension, Ipv4, Ipv6, protocol};
use link::{Arp, Ether, Ipnet, Vlan, ethertype};
use std::net::IpAddr;
use svp::{Key, Streams, Svp};
use transport::{Tcp, Udp, Vxlan, port};

/// Most layers of one packet; tags and headers in headers could go on for 64 KiB.
const MOST: usize = 64;

/// A part of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is a type that has its own")]
pub enum Layer<'a> {
    Ipnet(Ipnet),
    Ether(Ether),
    Vlan(Vlan),
    Arp(Arp),
    Ipv4(Ipv4<'a>),
    Ipv6(Ipv6),
    Extension(Extension),
    Icmp(Icmp),
    Tcp(Tcp<'a>),
    Udp(Udp),
    Dhcp(Dhcp<'a>),
    Vxlan(Vxlan),
    Svp(Svp),
    /// Bytes of no known protocol.
    Data(&'a [u8]),
    /// Where decoding ends early.
    Bad {
        /// What the bytes should be.
        protocol: &'static str,
        /// Why they are not.
        why: String,
    },
}

impl Layer<'_> {
    /// The protocol, as it begins a line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Layer::Ipnet(_) => "IPNET",
            Layer::Ether(_) => "ETHER",
            Layer::Vlan(_) => "VLAN",
            Layer::Arp(_) => "ARP",
            Layer::Ipv4(_) => "IP",
            Layer::Ipv6(_) => "IPv6",
            Layer::Extension(_) => "IPv6EXT",
            Layer::Icmp(Icmp { version: icmp::Version::V4, .. }) => "ICMP",
            Layer::Icmp(_) => "ICMPv6",
            Layer::Tcp(_) => "TCP",
            Layer::Udp(_) => "UDP",
            Layer::Dhcp(_) => "DHCP",
            Layer::Vxlan(_) => "VXLAN",
            Layer::Svp(_) => "SVP",
            Layer::Data(_) => "DATA",
            Layer::Bad { protocol, .. } => protocol,
        }
    }

    /// What it says, in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Layer::Ipnet(l) => l.summary(),
            Layer::Ether(l) => l.summary(),
            Layer::Vlan(l) => l.summary(),
            Layer::Arp(l) => l.summary(),
            Layer::Ipv4(l) => l.summary(),
            Layer::Ipv6(l) => l.summary(),
            Layer::Extension(l) => l.summary(),
            Layer::Icmp(l) => l.summary(),
            Layer::Tcp(l) => l.summary(),
            Layer::Udp(l) => l.summary(),
            Layer::Dhcp(l) => l.summary(),
            Layer::Vxlan(l) => l.summary(),
            Layer::Svp(l) => l.summary(),
            Layer::Data(bytes) => format!("{} bytes", bytes.len()),
            Layer::Bad { why, .. } => format!("({why})"),
        }
    }

    /// What it says, in full.
    #[must_use]
    pub fn fields(&self) -> Fields {
        match self {
            Layer::Ipnet(l) => l.fields(),
            Layer::Ether(l) => l.fields(),
            Layer::Vlan(l) => l.fields(),
            Layer::Arp(l) => l.fields(),
            Layer::Ipv4(l) => l.fields(),
            Layer::Ipv6(l) => l.fields(),
            Layer::Extension(l) => l.fields(),
            Layer::Icmp(l) => l.fields(),
            Layer::Tcp(l) => l.fields(),
            Layer::Udp(l) => l.fields(),
            Layer::Dhcp(l) => l.fields(),
            Layer::Vxlan(l) => l.fields(),
            Layer::Svp(l) => l.fields(),
            Layer::Data(bytes) => Fields::default().with("length", bytes.len()),
            Layer::Bad { why, .. } => Fields::default().with("error", why.as_str()),
        }
    }
}

/// Decodes the packets of a capture. Remembers the TCP streams that carry SVP, nothing else.
#[derive(Debug, Default)]
pub struct Decoder {
    streams: Streams,
}

impl Decoder {
    /// The layers of the next packet.
    pub fn decode<'a>(&mut self, packet: &'a Packet) -> Vec<Layer<'a>> {
        let first = match packet.link {
            LinkType::Ethernet => Next::Frame,
            LinkType::Ipnet => Next::Ipnet,
            LinkType::Raw => Next::Ip,
        };
        let mut walk = Walk {
            streams: &mut self.streams,
            layers: Vec::with_capacity(6),
            vnet: None,
            ends: None,
            cut: packet.bytes.len() < packet.length,
        };
        let (mut next, mut bytes) = (first, packet.bytes.as_slice());
        while let Some((then, rest)) = walk.step(next, bytes) {
            (next, bytes) = (then, rest);
            if walk.layers.len() >= MOST {
                walk.bad("DATA", format!("more than {MOST} headers"));
                break;
            }
        }
        walk.layers
    }
}

/// What bytes are to be read as.
#[derive(Clone, Copy, Debug)]
enum Next {
    Frame,
    Ipnet,
    /// By the version in the packet.
    Ip,
    Ethertype(u16),
    Protocol(u8),
    Dhcp,
    Vxlan,
    Data,
}

struct Walk<'a, 's> {
    streams: &'s mut Streams,
    layers: Vec<Layer<'a>>,
    /// Of the network that the layers now belong to.
    vnet: Option<u32>,
    /// Of the last IP header.
    ends: Option<(IpAddr, IpAddr)>,
    /// Whether the capture holds the beginning of the packet only.
    cut: bool,
}

impl<'a> Walk<'a, '_> {
    fn bad(&mut self, protocol: &'static str, what: String) {
        self.layers.push(Layer::Bad { protocol, why: format!("malformed: {what}") });
    }

    /// There are too few bytes for a header.
    fn short(&mut self, protocol: &'static str) -> Option<(Next, &'a [u8])> {
        match self.cut {
            true => self.layers.push(Layer::Bad { protocol, why: "not captured".into() }),
            false => self.bad(protocol, "the packet is too short".into()),
        }
        None
    }

    /// Adds the layer at the front of `bytes`. Answers what follows it.
    fn step(&mut self, next: Next, bytes: &'a [u8]) -> Option<(Next, &'a [u8])> {
        let mut c = Cursor(bytes);
        match next {
            Next::Frame => {
                let Some(ether) = Ether::decode(&mut c) else { return self.short("ETHER") };
                self.layers.push(Layer::Ether(ether));
                Some((Next::Ethertype(ether.ethertype), c.0))
            }
            Next::Ipnet => {
                let Some(ipnet) = Ipnet::decode(&mut c) else { return self.short("IPNET") };
                self.layers.push(Layer::Ipnet(ipnet));
                let next = match ipnet.family {
                    Ipnet::INET => Next::Ethertype(ethertype::IPV4),
                    Ipnet::INET6 => Next::Ethertype(ethertype::IPV6),
                    _ => Next::Data,
                };
                Some((next, c.0))
            }
            Next::Ip => match bytes.first() {
                Some(first) if first >> 4 == 6 => Some((Next::Ethertype(ethertype::IPV6), bytes)),
                _ => Some((Next::Ethertype(ethertype::IPV4), bytes)),
            },
            Next::Ethertype(kind) => self.ethertype(kind, bytes),
            Next::Protocol(kind) => self.protocol(kind, bytes),
            Next::Dhcp => {
                let Some(dhcp) = Dhcp::decode(&mut c) else { return self.short("DHCP") };
                self.layers.push(Layer::Dhcp(dhcp));
                None
            }
            Next::Vxlan => match Vxlan::decode(&mut c) {
                None => self.short("VXLAN"),
                Some(Err(why)) => {
                    self.bad("VXLAN", why);
                    None
                }
                Some(Ok(vxlan)) => {
                    self.vnet = Some(vxlan.vnet);
                    self.layers.push(Layer::Vxlan(vxlan));
                    Some((Next::Frame, c.0))
                }
            },
            Next::Data => {
                if !bytes.is_empty() {
                    self.layers.push(Layer::Data(bytes));
                }
                None
            }
        }
    }

    fn ethertype(&mut self, kind: u16, bytes: &'a [u8]) -> Option<(Next, &'a [u8])> {
        let mut c = Cursor(bytes);
        match kind {
            ethertype::VLAN | ethertype::QINQ => {
                let Some(vlan) = Vlan::decode(&mut c) else { return self.short("VLAN") };
                self.layers.push(Layer::Vlan(vlan));
                Some((Next::Ethertype(vlan.ethertype), c.0))
            }
            ethertype::ARP | ethertype::RARP => {
                match Arp::decode(&mut c) {
                    None => return self.short("ARP"),
                    Some(Err(why)) => self.bad("ARP", why),
                    Some(Ok(arp)) => self.layers.push(Layer::Arp(arp)),
                }
                None
            }
            ethertype::IPV4 => match Ipv4::decode(bytes) {
                None => self.short("IP"),
                Some(Err(why)) => {
                    self.bad("IP", why);
                    None
                }
                Some(Ok((ip, payload))) => {
                    self.ends = Some((ip.src.into(), ip.dst.into()));
                    self.layers.push(Layer::Ipv4(ip));
                    Some(match ip.fragment {
                        Some(f) if f.offset != 0 => (Next::Data, payload),
                        _ => (Next::Protocol(ip.protocol), payload),
                    })
                }
            },
            ethertype::IPV6 => match Ipv6::decode(bytes) {
                None => self.short("IPv6"),
                Some(Err(why)) => {
                    self.bad("IPv6", why);
                    None
                }
                Some(Ok((ip, payload))) => {
                    self.ends = Some((ip.src.into(), ip.dst.into()));
                    self.layers.push(Layer::Ipv6(ip));
                    Some((Next::Protocol(ip.next), payload))
                }
            },
            _ => Some((Next::Data, bytes)),
        }
    }

    fn protocol(&mut self, kind: u8, bytes: &'a [u8]) -> Option<(Next, &'a [u8])> {
        let mut c = Cursor(bytes);
        match kind {
            protocol::ICMP => self.icmp(icmp::Version::V4, bytes),
            protocol::ICMP6 => self.icmp(icmp::Version::V6, bytes),
            protocol::IPIP => Some((Next::Ethertype(ethertype::IPV4), bytes)),
            protocol::IPV6 => Some((Next::Ethertype(ethertype::IPV6), bytes)),
            protocol::TCP => match Tcp::decode(&mut c) {
                None => self.short("TCP"),
                Some(Err(why)) => {
                    self.bad("TCP", why);
                    None
                }
                Some(Ok(tcp)) => {
                    self.layers.push(Layer::Tcp(tcp));
                    if tcp.src != port::SVP && tcp.dst != port::SVP {
                        return Some((Next::Data, c.0));
                    }
                    self.svp(&tcp, c.0);
                    None
                }
            },
            protocol::UDP => match Udp::decode(&mut c) {
                None => self.short("UDP"),
                Some(Err(why)) => {
                    self.bad("UDP", why);
                    None
                }
                Some(Ok(udp)) => {
                    self.layers.push(Layer::Udp(udp));
                    let next = match (udp.src, udp.dst) {
                        (_, port::VXLAN) => Next::Vxlan,
                        (port::DHCP_CLIENT | port::DHCP_SERVER, port::DHCP_SERVER)
                        | (port::DHCP_SERVER, port::DHCP_CLIENT) => Next::Dhcp,
                        _ => Next::Data,
                    };
                    Some((next, c.0))
                }
            },
            _ if Extension::is(kind) => {
                let Some(e) = Extension::decode(kind, &mut c) else { return self.short("IPv6EXT") };
                self.layers.push(Layer::Extension(e));
                Some(match e.fragment {
                    Some(f) if f.offset != 0 => (Next::Data, c.0),
                    _ => (Next::Protocol(e.next), c.0),
                })
            }
            _ => Some((Next::Data, bytes)),
        }
    }

    fn icmp(&mut self, version: icmp::Version, bytes: &[u8]) -> Option<(Next, &'a [u8])> {
        match Icmp::decode(version, &mut Cursor(bytes)) {
            Some(icmp) => self.layers.push(Layer::Icmp(icmp)),
            None => {
                return self.short(if version == icmp::Version::V4 { "ICMP" } else { "ICMPv6" });
            }
        }
        None
    }

    fn svp(&mut self, tcp: &Tcp<'_>, payload: &[u8]) {
        let Some((src, dst)) = self.ends else { return };
        let key = Key { vnet: self.vnet, src: (src, tcp.src), dst: (dst, tcp.dst) };
        let said = self.streams.segment(key, tcp, payload);
        self.layers.extend(said.into_iter().map(Layer::Svp));
    }
}
