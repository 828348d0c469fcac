// SPDX-License-Identifier: CDDL-1.0
//! Which packets are shown: a subset of snoop's filter language, and `vnet`.
//!
//! ```text
//!   or      = and ("or" and)*
//!   and     = not (["and"] not)*                     words behind each other are an "and"
//!   not     = ("not" | "!") not | compare
//!   compare = sum [("=" | "!=" | "<" | "<=" | ">" | ">=") sum]
//!   sum     = product (("+" | "-" | "|" | "^") product)*
//!   product = item (("*" | "/" | "%" | "&") item)*
//!   item    = "(" or ")" | test | N | "-" item | "length" | base "[" sum [":" (1 | 2 | 4)] "]"
//!   test    = [side] (["host"] HOST | "net" NET | "port" PORT | "ether" MAC | "zone" ZONE)
//!           | ("tcp" | "udp") [[side] "port" PORT]
//!           | protocol | "vnet" [ID] | "vlan" | "vlan-id" ID | "ethertype" N
//!           | "broadcast" | "multicast" | "nofrag" | "greater" N | "less" N
//!   side    = "from" | "src" | "to" | "dst"
//! ```
//!
//! A test is true of a packet if it is true of one of its layers, those of a frame in VXLAN too; a
//! comparison, if it is true of one of its frames ([`number`]).

mod eval;
pub mod number;
mod parse;
mod words;

use crate::decode::Layers;
use crate::packet::Packet;
use number::{Number, Relation};
use overlay_abi::ids::MacAddr;
use std::net::IpAddr;

/// Which end of a packet is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where it is from.
    Src,
    /// Where it goes.
    Dst,
    /// Either.
    Any,
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    /// One of them.
    pub address: IpAddr,
    /// How many bits are alike.
    pub bits: u8,
}

impl Net {
    /// Whether the address is one of them.
    #[must_use]
    pub fn holds(&self, a: IpAddr) -> bool {
        let high =
            |n: u128, of: u8| n.checked_shr(u32::from(of.saturating_sub(self.bits))).unwrap_or(0);
        match (self.address, a) {
            (IpAddr::V4(n), IpAddr::V4(a)) => {
                high(u32::from(n).into(), 32) == high(u32::from(a).into(), 32)
            }
            (IpAddr::V6(n), IpAddr::V6(a)) => high(n.into(), 128) == high(a.into(), 128),
            _ => false,
        }
    }
}

/// A protocol by its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the word")]
pub enum Protocol {
    Ip,
    Ip6,
    Arp,
    Rarp,
    Icmp,
    Icmp6,
    Tcp,
    Udp,
    Dhcp,
    Vxlan,
    Svp,
}

/// Something that is true of a packet or not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the language's own words")]
pub enum Test {
    Protocol(Protocol),
    Host(Side, Vec<IpAddr>),
    Net(Side, Net),
    Ether(Side, MacAddr),
    Port(Option<Protocol>, Side, u16),
    Zone(Side, u32),
    Ethertype(u16),
    Vlan(Option<u16>),
    Vnet(Option<u32>),
    Broadcast,
    Multicast,
    NoFragment,
    Compare(Relation, Number, Number),
}

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the language's own words")]
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Test(Test),
}

/// Why an expression is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter: {why}{}", place(.at))]
pub struct Error {
    /// What is expected.
    pub why: String,
    /// The word it is about; the end without one.
    pub at: Option<String>,
}

fn place(at: &Option<String>) -> String {
    at.as_ref().map_or(" at the end".to_owned(), |word| format!(" at \"{word}\""))
}

/// What names stand for.
pub trait Names {
    /// Addresses of a host; none if it is unknown.
    fn host(&self, name: &str) -> Vec<IpAddr>;
    /// Port of a service.
    fn service(&self, name: &str) -> Option<u16>;
}

impl Filter {
    /// Reads an expression; the empty one is true of every packet.
    ///
    /// # Errors
    /// It is none, or a name is not known.
    pub fn parse(text: &str, names: &dyn Names) -> Result<Filter, Error> {
        parse::filter(text, names)
    }

    /// Whether it is true of a packet, which has these layers.
    #[must_use]
    pub fn is_true(&self, packet: &Packet, layers: &Layers<'_>) -> bool {
        match self {
            Filter::And(all) => all.iter().all(|f| f.is_true(packet, layers)),
            Filter::Or(any) => any.iter().any(|f| f.is_true(packet, layers)),
            Filter::Not(f) => !f.is_true(packet, layers),
            Filter::Test(t) => t.is_true(packet, layers),
        }
    }
}
