// SPDX-License-Identifier: CDDL-1.0
//! ARP requests (RFC 826; spec/varpd.md 6.1).
use super::wire::{ARP_IPV4_ON_ETHERNET, ArpPacket, ETHERTYPE_ARP};
use super::{Layout, Question, Refusal, check_answer, put};
use overlay_abi::ids::MacAddr;
use overlay_abi::target::overlay_targ_lookup_t;
use std::net::Ipv4Addr;
use zerocopy::{FromBytes, IntoBytes};

/// An ARP request for somebody else's address.
#[derive(Debug)]
pub struct Arp {
    frame: Vec<u8>,
    header: usize,
    asker: MacAddr,
    packet: ArpPacket,
}

impl Arp {
    /// The address whose owner is asked for.
    pub fn target(&self) -> Ipv4Addr {
        self.packet.target_ip.into()
    }
}

impl Question for Arp {
    fn admit(lookup: &overlay_targ_lookup_t) -> Result<Layout, Refusal> {
        Layout::new(lookup, ETHERTYPE_ARP, size_of::<ArpPacket>() as u64)
    }

    fn parse(layout: Layout, frame: Vec<u8>) -> Result<Arp, Refusal> {
        let (asker, payload) = layout.open(&frame)?;
        let (packet, _) = ArpPacket::read_from_prefix(payload).map_err(|_| Refusal::Short)?;
        if packet.kind != ARP_IPV4_ON_ETHERNET {
            return Err(Refusal::ArpKind);
        }
        if packet.operation != ArpPacket::REQUEST {
            return Err(Refusal::NotRequest);
        }
        // An answer would be a conflict to the guest that announces its address.
        if packet.sender_ip == packet.target_ip {
            return Err(Refusal::Announcement);
        }
        Ok(Arp { frame, header: layout.header, asker, packet })
    }

    /// The request edited: padding, tag and length stay.
    fn answer(mut self, mac: MacAddr) -> Result<Vec<u8>, Refusal> {
        check_answer(mac, self.asker)?;
        let ArpPacket { sender_mac, sender_ip, target_ip, .. } = self.packet;
        let reply = ArpPacket {
            operation: ArpPacket::REPLY.into(),
            sender_mac: mac.0,
            sender_ip: target_ip,
            target_mac: sender_mac,
            target_ip: sender_ip,
            ..self.packet
        };
        put(&mut self.frame, 0, &self.asker.0);
        put(&mut self.frame, 6, &mac.0);
        put(&mut self.frame, self.header, reply.as_bytes());
        Ok(self.frame)
    }
}
