// SPDX-License-Identifier: CDDL-1.0
//! Ethernet frames that varpd makes itself. Pure functions over bytes.
use crate::proxy::wire::*;
use overlay_abi::ids::MacAddr;
use zerocopy::IntoBytes;

const ETHERTYPE_VLAN: u16 = 0x8100;
/// All nodes of a link (RFC 4291 2.7.1), and their Ethernet address (RFC 2464 7).
const ALL_NODES: [u8; 16] = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ALL_NODES_MAC: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
/// Override, neither Solicited nor Router.
const OVERRIDE: u32 = 0x2000_0000;

/// A gratuitous ARP request (RFC 826, RFC 5227 section 3): `mac` has `ip`, told to `to`.
///
/// 42 bytes, or 46 with a VLAN tag (`vlan` not 0, priority 0); not padded. Spec/varpd.md 6.4.
pub fn gratuitous_arp(vlan: u16, mac: MacAddr, ip: [u8; 4], to: MacAddr) -> Vec<u8> {
    let mut frame = ethernet(to, mac, vlan, ETHERTYPE_ARP);
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

/// An unsolicited neighbour advertisement (RFC 4861 7.2.6): `mac` has `ip`, told to all nodes of the link.
///
/// 86 bytes, or 90 with a VLAN tag (`vlan` not 0, priority 0).
pub fn unsolicited_advertisement(vlan: u16, mac: MacAddr, ip: [u8; 16]) -> Vec<u8> {
    let mut frame = ethernet(ALL_NODES_MAC, mac, vlan, ETHERTYPE_IPV6);
    let mut message = Advertisement {
        neighbour: Neighbour {
            kind: ADVERTISEMENT,
            code: 0,
            checksum: 0.into(),
            flags: OVERRIDE.into(),
            target: ip,
        },
        option: LinkLayerAddress { kind: TARGET_ADDRESS, size: 1, mac: mac.0 },
    };
    message.neighbour.checksum = icmpv6_checksum(&ip, &ALL_NODES, message.as_bytes()).into();
    let header = Ipv6 {
        version_class_flow: (6 << 28).into(),
        length: (size_of::<Advertisement>() as u16).into(),
        next_header: IPPROTO_ICMPV6,
        hop_limit: UNROUTED,
        source: ip,
        destination: ALL_NODES,
    };
    frame.extend_from_slice(header.as_bytes());
    frame.extend_from_slice(message.as_bytes());
    frame
}

/// An Ethernet header, with room behind it.
fn ethernet(to: MacAddr, from: MacAddr, vlan: u16, ethertype: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(VLAN_SIZE + size_of::<Ipv6>() + size_of::<Advertisement>());
    frame.extend_from_slice(&to.0);
    frame.extend_from_slice(&from.0);
    if vlan != 0 {
        frame.extend_from_slice(&ETHERTYPE_VLAN.to_be_bytes());
        frame.extend_from_slice(&(vlan & 0x0fff).to_be_bytes());
    }
    frame.extend_from_slice(&ethertype.to_be_bytes());
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

    #[test]
    fn an_advertisement_is_laid_out_as_in_rfc_4861() {
        let (mac, ip) =
            (MacAddr([2, 8, 0x20, 1, 2, 3]), [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        let plain = unsolicited_advertisement(0, mac, ip);
        assert_eq!(plain.len(), 86);
        assert_eq!(plain[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 8, 0x20, 1, 2, 3, 0x86, 0xdd]);
        let (header, message) = plain[14..].split_at(40);
        assert_eq!(header[..8], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!((&header[8..24], &header[24..]), (&ip[..], &ALL_NODES[..]));
        assert_eq!((message[0], message[1], message[4]), (136, 0, 0x20));
        assert_eq!(
            (&message[8..24], &message[24..26], &message[26..]),
            (&ip[..], &[2, 1][..], &mac.0[..])
        );
        // Over something that holds its own right checksum it is 0.
        assert_eq!(icmpv6_checksum(&ip, &ALL_NODES, message), 0);
        let tagged = unsolicited_advertisement(5, mac, ip);
        assert_eq!(tagged[12..18], [0x81, 0, 0, 5, 0x86, 0xdd]);
        assert_eq!(tagged[18..], plain[14..]);
    }
}
