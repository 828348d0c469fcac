// SPDX-License-Identifier: CDDL-1.0
//! Neighbour solicitations of IPv6 (RFC 4861; spec/varpd.md 6.2).
//!
//! Those that detect duplicates come from no address and are refused, so that no guest is told that
//! its own address is taken. A router, whose frames go to nobody, is also asked by itself whether it is
//! still there (RFC 4861 7.3.3), and the kernel says that it is a router.
use super::wire::*;
use super::{Layout, Question, Refusal, check_answer, put};
use overlay_abi::ids::MacAddr;
use overlay_abi::target::overlay_targ_lookup_t;
use overlay_abi::target::v2::OVERLAY_TARG_DSTTYPE_ROUTER;
use std::net::Ipv6Addr;
use zerocopy::{FromBytes, IntoBytes};

const SOLICITATION: u8 = 135;
/// Solicited, Override, and not Router.
const FLAGS: u32 = 0x6000_0000;
const SOURCE_ADDRESS: u8 = 1;

/// A neighbour solicitation that wants an answer.
#[derive(Debug)]
pub struct Ndp {
    frame: Vec<u8>,
    header: usize,
    asker: MacAddr,
    ip: Ipv6,
    target: [u8; 16],
}

impl Ndp {
    /// The address whose owner is asked for.
    pub fn target(&self) -> Ipv6Addr {
        self.target.into()
    }
}

impl Question for Ndp {
    fn admit(lookup: &overlay_targ_lookup_t) -> Result<Layout, Refusal> {
        if !is_group(lookup.otl_dstaddr) && lookup.otl_dsttype != OVERLAY_TARG_DSTTYPE_ROUTER {
            return Err(Refusal::Destination);
        }
        let least = size_of::<Ipv6>() + size_of::<Neighbour>();
        Layout::new(lookup, ETHERTYPE_IPV6, least as u64)
    }

    fn parse(layout: Layout, frame: Vec<u8>) -> Result<Ndp, Refusal> {
        let (asker, payload) = layout.open(&frame)?;
        let (ip, payload) = Ipv6::read_from_prefix(payload).map_err(|_| Refusal::Short)?;
        if ip.version_class_flow.get() >> 28 != 6 {
            return Err(Refusal::IpVersion);
        }
        // An extension header in front is possible, but no host puts one there.
        if ip.next_header != IPPROTO_ICMPV6 {
            return Err(Refusal::Protocol);
        }
        let message = payload.get(..ip.length.get().into()).ok_or(Refusal::IpLength)?;
        let (solicitation, options) =
            Neighbour::read_from_prefix(message).map_err(|_| Refusal::IpLength)?;
        if (solicitation.kind, solicitation.code) != (SOLICITATION, 0) {
            return Err(Refusal::NotSolicitation);
        }
        let to_group = frame.first_chunk().is_some_and(|dst| is_group(*dst));
        if !(to_group && asks_neighbours(ip.destination) || ip.destination == solicitation.target) {
            return Err(Refusal::IpDestination);
        }
        if ip.hop_limit != UNROUTED {
            return Err(Refusal::HopLimit);
        }
        if icmpv6_checksum(&ip.source, &ip.destination, message) != 0 {
            return Err(Refusal::Checksum);
        }
        let target = Ipv6Addr::from(solicitation.target);
        if target.is_multicast() || target.to_ipv4_mapped().is_some() || target.is_loopback() {
            return Err(Refusal::Target);
        }
        // Who asks a router by itself need not say where it is.
        if !source_address_follows(options)? && to_group {
            return Err(Refusal::NoSourceOption);
        }
        let source = Ipv6Addr::from(ip.source);
        if source.is_unspecified() || source.is_multicast() {
            return Err(Refusal::IpSource);
        }
        Ok(Ndp { frame, header: layout.header, asker, ip, target: solicitation.target })
    }

    /// The Ethernet and IP headers of the request, edited, and an advertisement.
    fn answer(mut self, mac: MacAddr) -> Result<Vec<u8>, Refusal> {
        check_answer(mac, self.asker)?;
        let mut reply = Advertisement {
            neighbour: Neighbour {
                kind: ADVERTISEMENT,
                code: 0,
                checksum: 0.into(),
                flags: FLAGS.into(),
                target: self.target,
            },
            option: LinkLayerAddress { kind: TARGET_ADDRESS, size: 1, mac: mac.0 },
        };
        let ip = Ipv6 {
            length: (size_of::<Advertisement>() as u16).into(),
            source: self.target,
            destination: self.ip.source,
            ..self.ip
        };
        let sum = icmpv6_checksum(&ip.source, &ip.destination, reply.as_bytes());
        reply.neighbour.checksum = sum.into();
        put(&mut self.frame, 0, &self.asker.0);
        put(&mut self.frame, 6, &mac.0);
        self.frame.truncate(self.header);
        self.frame.extend_from_slice(ip.as_bytes());
        self.frame.extend_from_slice(reply.as_bytes());
        Ok(self.frame)
    }
}

/// Whether it is the Ethernet address of a group of IPv6.
fn is_group(mac: [u8; 6]) -> bool {
    matches!(mac, [0x33, 0x33, ..])
}

/// Whether solicitations are sent there: a solicited-node group (ff02::1:ff00:0/104) or another of
/// the link.
fn asks_neighbours(destination: [u8; 16]) -> bool {
    matches!(destination, [0xff, 0x02, ..])
}

/// Whether one of the options is a source link-layer address. All of them are walked.
fn source_address_follows(mut options: &[u8]) -> Result<bool, Refusal> {
    let mut found = false;
    while !options.is_empty() {
        let [kind, units, ..] = *options else { return Err(Refusal::OptionLength) };
        let size = usize::from(units) * 8;
        let option = options.split_at_checked(size).filter(|_| size > 0);
        let (_, rest) = option.ok_or(Refusal::OptionLength)?;
        if kind == SOURCE_ADDRESS {
            // That of Ethernet is 6 bytes long.
            if size != size_of::<LinkLayerAddress>() {
                return Err(Refusal::OptionLength);
            }
            found = true;
        }
        options = rest;
    }
    Ok(found)
}
