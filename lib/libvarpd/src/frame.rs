// SPDX-License-Identifier: CDDL-1.0
//! Ethernet frames that varpd makes itself. Pure functions over bytes.
use crate::proxy::wire::{ARP_IPV4_ON_ETHERNET, ArpPacket, ETHERTYPE_ARP, VLAN_SIZE};
use overlay_abi::ids::MacAddr;
use zerocopy::IntoBytes;

const ETHERTYPE_VLAN: u16 = 0x8100;

/// A gratuitous ARP request (RFC 826, RFC 5227 section 3): `mac` has `ip`, told to `to`.
///
/// 42 bytes, or 46 with a VLAN tag (`vlan` not 0, priority 0); not padded. Spec/varpd.md 6.4.
pub fn gratuitous_arp(vlan: u16, mac: MacAddr, ip: [u8; 4], to: MacAddr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(VLAN_SIZE + size_of::<ArpPacket>());
    frame.extend_from_slice(&to.0);
    frame.extend_from_slice(&mac.0);
    if vlan != 0 {
        frame.extend_from_slice(&ETHERTYPE_VLAN.to_be_bytes());
        frame.extend_from_slice(&(vlan & 0x0fff).to_be_bytes());
    }
    frame.extend_from_slice(&ETHERTYPE_ARP.to_be_bytes());
    let packet = ArpPacket {
        kind: ARP_IPV4_ON_ETHERNET,
        operation: ArpPacket::REQUEST.into(),
        sender_mac: mac.0,
        sender_ip: ip,
        target_mac: MacAddr::BROADCAST.0,
        target_ip: ip,
    };
    frame.extend_from_slice(packet.as_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gratuitous_arp_is_laid_out_as_in_rfc_826() {
        let (mac, ip) = (MacAddr([2, 8, 0x20, 1, 2, 3]), [10, 1, 0, 9]);
        let plain = gratuitous_arp(0, mac, ip, MacAddr::BROADCAST);
        assert_eq!(plain.len(), 42);
        assert_eq!(plain[..6], [0xff; 6]);
        assert_eq!(plain[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!((&plain[22..28], &plain[28..32]), (&mac.0[..], &ip[..]));
        assert_eq!((&plain[32..38], &plain[38..]), (&[0xff; 6][..], &ip[..]));
        let tagged = gratuitous_arp(0xf123, mac, ip, MacAddr::BROADCAST);
        assert_eq!(tagged[12..18], [0x81, 0, 0x01, 0x23, 8, 6]);
        assert_eq!(tagged[18..], plain[14..]);
    }
}
