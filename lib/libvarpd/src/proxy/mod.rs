// SPDX-License-Identifier: CDDL-1.0
//! Answering ARP, neighbour discovery and DHCP in place of whoever is asked (spec/varpd.md 6).
//!
//! ```text
//!    guest's frame --LOOKUP--> plugin --proxy_arp(query)--> ask --PKT--> bytes
//!                                                                          |  admit, parse
//!    guest <--INJECT-- answer(mac) <--arp_reply(mac)-- plugin <--vpo_arp-- Arp | Ndp | Dhcp
//!    overlay <-RESEND--'                                                       (checked)
//! ```
//!
//! | module | question | answer |
//! |---|---|---|
//! | [`arp`] | ARP request | ARP reply, to the guest |
//! | [`ndp`] | neighbour solicitation | neighbour advertisement, to the guest |
//! | [`dhcp`] | broadcast of a DHCP client | the same frame, sent to one DHCP server |
//! | `ask` | the edge: ioctls, calls of plugins, tokens | |
//! | `wire` | layouts of headers, the Internet checksum | |
//!
//! # Vocabulary
//!
//! * *frame*: what a guest has sent, Ethernet header included; every bit of it may be hostile.
//! * *layout*: what LOOKUP said about the frame, checked.
//! * *refusal*: why a frame is not answered. It is dropped, which is all that a guest sees.
//!
//! # Invariants
//!
//! * A question is checked once, in [`Question::parse`]; what that returns is answered without any
//!   further check of the frame. Both are pure functions.
//! * One buffer per query: the answer is made in the one that the frame was read into.
//! * The query of a frame is answered by a drop, after the frame's own answer was injected or sent:
//!   injecting is not a reply, and the kernel would go on waiting.
//! * Each query ends in one [`Outcome`].
//! * An answer never has a group address or the asker's own for the one asked for. With a group
//!   address a resent DHCP frame would come back as a lookup, and for ever so.
//!
//! # Other than the original
//!
//! Defect 40: lengths are compared without underflow, an option must fit in what is left, hop limit
//! and checksum of a solicitation are verified (RFC 4861 7.1.1), as are checksum, lengths and
//! fragment fields of an IPv4 header and the length of UDP. A frame whose Ethernet type is not the
//! one that LOOKUP told is not the one that it told of.

pub mod arp;
mod ask;
pub mod dhcp;
pub mod ndp;
pub(crate) mod wire;

pub(crate) use ask::{Kind, abandon, arp_reply, dhcp_reply, run};

use overlay_abi::errno::Errno;
use overlay_abi::ids::MacAddr;
use overlay_abi::target::{OVERLAY_TARG_PKT_MAX, overlay_targ_lookup_t, v2};
use wire::{ETHER_SIZE, VLAN_SIZE};

/// Longest frame: 1514 bytes and a VLAN tag.
pub const FRAME_MAX: usize = OVERLAY_TARG_PKT_MAX as usize;

/// A checked question.
pub trait Question: Sized {
    /// Checks what LOOKUP said, before the frame is fetched.
    fn admit(lookup: &overlay_targ_lookup_t) -> Result<Layout, Refusal>;

    /// Checks the frame.
    fn parse(layout: Layout, frame: Vec<u8>) -> Result<Self, Refusal>;

    /// The frame that answers, if the answer is an address that can be one.
    fn answer(self, mac: MacAddr) -> Result<Vec<u8>, Refusal>;
}

/// Where things are in a frame, as LOOKUP told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// 14 or 18.
    header: usize,
    /// Whole frame, at most [`FRAME_MAX`].
    size: usize,
    sap: u16,
}

/// What became of a query that a proxy took over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel took the answer.
    Answered,
    /// The plugin knows no answer.
    NoAnswer,
    /// The frame, or the plugin's answer, is not what it should be.
    Refused(Refusal),
}

/// Why a frame is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `vpo_arp` or `vpo_dhcp` is NULL.
    #[error("the plugin has no function for it")]
    NoFunction,
    /// The instance is being stopped.
    #[error("the instance is not started")]
    NotStarted,
    /// PKT failed.
    #[error("the kernel does not give the frame: {}", .0.name())]
    NoFrame(Errno),
    /// INJECT or RESEND failed.
    #[error("the kernel does not take the answer: {}", .0.name())]
    NotTaken(Errno),
    /// The answer is zero or a group address.
    #[error("the plugin's answer is not the address of a host")]
    NotAHost,
    /// The answer is the asker: nobody else has the address.
    #[error("the plugin's answer is the asker")]
    Asker,
    /// The Ethernet type is not that of the protocol.
    #[error("Ethernet type of something else")]
    Type,
    /// Not a broadcast, or for neighbour discovery neither an IPv6 multicast nor to a router.
    #[error("not sent to the group that such frames are sent to")]
    Destination,
    /// Longer than [`FRAME_MAX`].
    #[error("the frame is too long")]
    Long,
    /// A frame that ends before what it must have.
    #[error("the frame is too short")]
    Short,
    /// An Ethernet header of neither 14 nor 18 bytes.
    #[error("an Ethernet header of another size")]
    Header,
    /// The frame is not of the size or type that LOOKUP told.
    #[error("not the frame that was looked up")]
    Other,
    /// Sent by a group address.
    #[error("a group address as source")]
    Source,
    /// ARP, but not for IPv4 on Ethernet.
    #[error("not ARP of IPv4 on Ethernet")]
    ArpKind,
    /// ARP, but not a request.
    #[error("not an ARP request")]
    NotRequest,
    /// A gratuitous ARP.
    #[error("an announcement, not a question")]
    Announcement,
    /// The version of the IP header is another.
    #[error("another version of IP")]
    IpVersion,
    /// The IPv4 header is shorter than 20 bytes or longer than the frame.
    #[error("bad length of the IP header")]
    IpHeader,
    /// The length in the IP header does not fit the frame, or what must be in it.
    #[error("bad length in the IP header")]
    IpLength,
    /// The checksum of the IPv4 header is wrong.
    #[error("bad checksum of the IP header")]
    IpChecksum,
    /// An IPv4 fragment.
    #[error("a fragment")]
    Fragment,
    /// Neither ICMPv6 nor UDP directly behind the IP header.
    #[error("another protocol inside of IP")]
    Protocol,
    /// IPv6 destination that is neither solicited-node nor link-local multicast.
    #[error("an IP destination that solicitations do not have")]
    IpDestination,
    /// IPv6 source that is unspecified, as in detection of duplicates, or multicast.
    #[error("an IP source that cannot be answered")]
    IpSource,
    /// Not a neighbour solicitation.
    #[error("not a neighbour solicitation")]
    NotSolicitation,
    /// It came over a router.
    #[error("hop limit is not 255")]
    HopLimit,
    /// The checksum of the ICMPv6 message is wrong.
    #[error("bad ICMPv6 checksum")]
    Checksum,
    /// An address that no neighbour has.
    #[error("asks for an address that no neighbour has")]
    Target,
    /// An option of length 0, or one that is not all there.
    #[error("bad length of an option")]
    OptionLength,
    /// No source link-layer address, as in detection of duplicates.
    #[error("no source link-layer address")]
    NoSourceOption,
    /// The length in the UDP header does not fit that of IP.
    #[error("bad length in the UDP header")]
    UdpLength,
    /// Not from a DHCP client to a server.
    #[error("ports of something else than a DHCP client")]
    Ports,
}

impl Layout {
    /// A layout with at least `payload` bytes behind the Ethernet header.
    fn new(lookup: &overlay_targ_lookup_t, sap: u16, payload: u64) -> Result<Layout, Refusal> {
        if lookup.otl_sap != u32::from(sap) {
            return Err(Refusal::Type);
        }
        let size = lookup.otl_hdrsize.checked_add(lookup.otl_pktsize).ok_or(Refusal::Long)?;
        let size = usize::try_from(size).map_err(|_| Refusal::Long)?;
        if size > FRAME_MAX {
            return Err(Refusal::Long);
        }
        if lookup.otl_pktsize < payload {
            return Err(Refusal::Short);
        }
        let header = lookup.otl_hdrsize as usize;
        if header != ETHER_SIZE && header != VLAN_SIZE {
            return Err(Refusal::Header);
        }
        Ok(Layout { header, size, sap })
    }

    /// Bytes of the whole frame.
    pub fn size(self) -> usize {
        self.size
    }

    /// The source of a frame, and what is behind its Ethernet header.
    fn open(self, frame: &[u8]) -> Result<(MacAddr, &[u8]), Refusal> {
        if frame.len() > self.size {
            return Err(Refusal::Other);
        }
        let (header, payload) = frame.split_at_checked(self.header).ok_or(Refusal::Short)?;
        let [.., a, b] = header else { return Err(Refusal::Short) };
        let [_, _, _, _, _, _, source @ ..] = header else { return Err(Refusal::Short) };
        if u16::from_be_bytes([*a, *b]) != self.sap {
            return Err(Refusal::Other);
        }
        let source = MacAddr(*source.first_chunk().ok_or(Refusal::Short)?);
        if source.is_multicast() { Err(Refusal::Source) } else { Ok((source, payload)) }
    }
}

/// Whether the kernel asks because of a question of neighbour discovery to a router itself.
pub(crate) fn asks_router(lookup: &overlay_targ_lookup_t) -> bool {
    let router = lookup.otl_dsttype == v2::OVERLAY_TARG_DSTTYPE_ROUTER;
    router && lookup.otl_sap == u32::from(wire::ETHERTYPE_IPV6)
}

/// Whether an address can be the answer for somebody who asks.
fn check_answer(mac: MacAddr, asker: MacAddr) -> Result<(), Refusal> {
    match mac {
        mac if mac == MacAddr::ZERO || mac.is_multicast() => Err(Refusal::NotAHost),
        mac if mac == asker => Err(Refusal::Asker),
        _ => Ok(()),
    }
}

/// Overwrites part of a frame, as far as it is that long.
fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in frame.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}
