// SPDX-License-Identifier: CDDL-1.0
//! From the bytes of a packet to its layers. Total: any bytes give layers, and none panic.
//!
//! ```text
//!   ether -> vlan* -> arp                     a packet's layers are flat, outermost first; those
//!     |                                       behind a VXLAN layer are of the frame in it
//!   ipnet -> ip4 | ip6 -> extension* -> icmp
//!                 |                  -> tcp -> svp*
//!                 |                  -> udp -> dhcp
//!            whole packet                   -> vxlan -> ether ...
//!            of fragments -> as above
//! ```
//!
//! Each protocol has a type that decodes itself from a `cursor::Cursor`; `walk` knows which
//! follows which. What is cut off or cannot be ends in [`Layer::Bad`], bytes of no known protocol in
//! [`Layer::Data`].
//!
//! Of a packet in fragments, the first shows the header of what it carries, and what that carries
//! is shown with the fragment that completes it, behind a [`Layer::Whole`].
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

pub mod checksum;
mod cursor;
pub mod dhcp;
pub mod fragment;
pub mod icmp;
pub mod ip;
mod layer;
pub mod link;
pub mod svp;
pub mod transport;
mod walk;

pub use layer::{Layer, Layers, frames};

use crate::packet::Packet;
use fragment::Fragments;
use svp::Streams;
use walk::Walk;

/// How often a packet may be one of fragments in one of fragments.
const NESTED: usize = 2;

/// Decodes the packets of a capture. Remembers the TCP streams that carry SVP and the fragments of
/// packets that are not complete, nothing else.
#[derive(Debug, Default)]
pub struct Decoder {
    streams: Streams,
    fragments: Fragments,
    /// What the packet decoded last was a fragment of.
    wholes: [Vec<u8>; NESTED],
}

impl Decoder {
    /// The layers of the next packet.
    pub fn decode<'a>(&'a mut self, packet: &'a Packet) -> Layers<'a> {
        Walk::new(&mut self.streams, &mut self.fragments, &mut self.wholes, packet).layers()
    }
}
