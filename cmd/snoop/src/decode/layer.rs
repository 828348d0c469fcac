// SPDX-License-Identifier: CDDL-1.0
//! A part of a packet, whatever its protocol, and all parts of one.

use super::checksum::Sum;
use super::dhcp::Dhcp;
use super::fragment::Whole;
use super::icmp::{self, Icmp};
use super::ip::{Extension, Ipv4, Ipv6};
use super::link::{Arp, Ether, Ipnet, Vlan};
use super::svp::Svp;
use super::transport::{Tcp, Udp, Vxlan};
use crate::field::Fields;
use std::ops::Deref;

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
    /// A packet put together of fragments, of which this one was the last to come.
    Whole(Whole),
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
            Layer::Whole(_) => "WHOLE",
            Layer::Data(_) => "DATA",
            Layer::Bad { protocol, .. } => protocol,
        }
    }

    /// Whether its checksum is wrong.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        let sum = match self {
            Layer::Ipv4(l) => l.sum,
            Layer::Icmp(l) => l.sum,
            Layer::Tcp(l) => l.sum,
            Layer::Udp(l) => l.sum,
            _ => return false,
        };
        sum == Sum::Wrong
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
            Layer::Whole(l) => l.summary(),
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
            Layer::Whole(l) => l.fields(),
            Layer::Data(bytes) => Fields::default().with("length", bytes.len()),
            Layer::Bad { why, .. } => Fields::default().with("error", why.as_str()),
        }
    }
}

/// All layers of a packet, outermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers<'a> {
    pub(super) layers: Vec<Layer<'a>>,
    /// For each of them the bytes that it begins.
    pub(super) bytes: Vec<&'a [u8]>,
}

impl<'a> Deref for Layers<'a> {
    type Target = [Layer<'a>];

    fn deref(&self) -> &[Layer<'a>] {
        &self.layers
    }
}

impl<'a> Layers<'a> {
    /// The layers, each with the bytes of the packet from its header on, of the frame outside and
    /// of those in VXLAN.
    pub fn frames(&self) -> impl Iterator<Item = impl Iterator<Item = (&Layer<'a>, &'a [u8])>> {
        let mut rest = self.bytes.as_slice();
        frames(&self.layers).map(move |frame| {
            let (of, behind) = rest.split_at_checked(frame.len()).unwrap_or((rest, &[]));
            rest = behind;
            frame.iter().zip(of.iter().copied())
        })
    }
}

/// Layers of the packet, then those of the frame in it, and so on.
pub fn frames<'b, 'a>(layers: &'b [Layer<'a>]) -> impl Iterator<Item = &'b [Layer<'a>]> {
    layers.split_inclusive(|l| matches!(l, Layer::Vxlan(_)))
}
