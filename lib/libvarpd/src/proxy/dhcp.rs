// SPDX-License-Identifier: CDDL-1.0
//! Broadcasts of DHCP clients (RFC 2131; spec/varpd.md 6.3).
//!
//! Not a relay: the frame goes on as it is, but to the Ethernet address of one server.
use super::wire::*;
use super::{Layout, Question, Refusal, check_answer, put};
use overlay_abi::ids::MacAddr;
use overlay_abi::target::overlay_targ_lookup_t;
use zerocopy::FromBytes;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// Least size of a BOOTP message (RFC 951 3).
const MESSAGE_MIN: usize = 300;
/// Don't Fragment, which a client may set; all other bits of the field are 0 in a whole datagram.
const DONT_FRAGMENT: u16 = 0x4000;

/// A DHCP client's broadcast.
#[derive(Debug)]
pub struct Dhcp {
    frame: Vec<u8>,
    asker: MacAddr,
}

impl Question for Dhcp {
    fn admit(lookup: &overlay_targ_lookup_t) -> Result<Layout, Refusal> {
        if lookup.otl_dstaddr != MacAddr::BROADCAST.0 {
            return Err(Refusal::Destination);
        }
        let least = size_of::<Ipv4>() + size_of::<Udp>() + MESSAGE_MIN;
        Layout::new(lookup, ETHERTYPE_IPV4, least as u64)
    }

    fn parse(layout: Layout, frame: Vec<u8>) -> Result<Dhcp, Refusal> {
        let (asker, packet) = layout.open(&frame)?;
        if frame.len() != layout.size {
            return Err(Refusal::Other);
        }
        let (ip, _) = Ipv4::read_from_prefix(packet).map_err(|_| Refusal::Short)?;
        if ip.version_size >> 4 != 4 {
            return Err(Refusal::IpVersion);
        }
        let header = usize::from(ip.version_size & 0x0f) * 4;
        let whole = packet.split_at_checked(header).filter(|_| header >= size_of::<Ipv4>());
        let (header, behind) = whole.ok_or(Refusal::IpHeader)?;
        if checksum(&[header]) != 0 {
            return Err(Refusal::IpChecksum);
        }
        let size = usize::from(ip.length.get()).checked_sub(header.len());
        let datagram = size.and_then(|size| behind.get(..size)).ok_or(Refusal::IpLength)?;
        if ip.fragment & !DONT_FRAGMENT != 0 {
            return Err(Refusal::Fragment);
        }
        if ip.protocol != IPPROTO_UDP {
            return Err(Refusal::Protocol);
        }
        let (udp, _) = Udp::read_from_prefix(datagram).map_err(|_| Refusal::IpLength)?;
        if (udp.source.get(), udp.destination.get()) != (CLIENT_PORT, SERVER_PORT) {
            return Err(Refusal::Ports);
        }
        let size = usize::from(udp.length.get());
        if size < size_of::<Udp>() + MESSAGE_MIN || size > datagram.len() {
            return Err(Refusal::UdpLength);
        }
        Ok(Dhcp { frame, asker })
    }

    /// The frame with the server as its destination.
    fn answer(mut self, server: MacAddr) -> Result<Vec<u8>, Refusal> {
        check_answer(server, self.asker)?;
        put(&mut self.frame, 0, &server.0);
        Ok(self.frame)
    }
}
