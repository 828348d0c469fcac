// SPDX-License-Identifier: CDDL-1.0
//! A packet as it was captured.

use crate::decode::link::Ipnet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a packet begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header.
    Ethernet,
    /// The header of ipnet, then IP.
    Ipnet,
    /// An IPv4 or IPv6 header.
    Raw,
}

impl LinkType {
    /// LINKTYPE_ETHERNET, LINKTYPE_RAW and LINKTYPE_IPNET of pcap files.
    const PCAP: [(LinkType, u16); 3] =
        [(LinkType::Ethernet, 1), (LinkType::Raw, 101), (LinkType::Ipnet, 226)];
    /// DL_ETHER and DL_IPNET of `<sys/dlpi.h>`, for snoop files.
    const DLPI: [(LinkType, u32); 2] = [(LinkType::Ethernet, 4), (LinkType::Ipnet, 0x8000_0005)];

    /// The number in pcap and pcapng files.
    #[must_use]
    pub fn to_pcap(self) -> u16 {
        Self::PCAP.iter().find(|(l, _)| *l == self).map_or(0, |(_, n)| *n)
    }

    /// The type with this number in pcap and pcapng files.
    #[must_use]
    pub fn from_pcap(n: u32) -> Option<LinkType> {
        Self::PCAP.iter().find(|(_, m)| u32::from(*m) == n).map(|(l, _)| *l)
    }

    /// The number in snoop files and of DLPI; there is none for IP packets without a header.
    #[must_use]
    pub fn to_dlpi(self) -> Option<u32> {
        Self::DLPI.iter().find(|(l, _)| *l == self).map(|(_, n)| *n)
    }

    /// The type with this number in snoop files and of DLPI.
    #[must_use]
    pub fn from_dlpi(n: u32) -> Option<LinkType> {
        Self::DLPI.iter().find(|(_, m)| *m == n).map(|(l, _)| *l)
    }
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When, since 1970.
    pub time: Duration,
    /// What the bytes begin with.
    pub link: LinkType,
    /// The packet, or its beginning.
    pub bytes: Vec<u8>,
    /// Bytes of the whole packet.
    pub length: usize,
}

impl Packet {
    /// A whole packet that was seen now.
    #[must_use]
    pub fn now(link: LinkType, bytes: Vec<u8>) -> Packet {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = bytes.len();
        Packet { time, link, bytes, length }
    }

    /// Keeps no more than the first `most` bytes. Readers that find IP from the end of an ipnet
    /// packet, by the length in its header, find it there too: the length becomes that of what is
    /// kept.
    pub fn truncate(&mut self, most: usize) {
        if self.bytes.len() <= most {
            return;
        }
        self.bytes.truncate(most);
        let kept = most.saturating_sub(Ipnet::LEN) as u32;
        if self.link == LinkType::Ipnet
            && let Some(length) = self.bytes.get_mut(Ipnet::PKTLEN)
        {
            length.copy_from_slice(&kept.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_an_ipnet_packet_says_how_long_it_is() {
        let header = Ipnet {
            version: 1,
            family: Ipnet::INET,
            htype: 0,
            pktlen: 100,
            ifindex: 3,
            grifindex: 0,
            zsrc: Ipnet::NO_ZONE,
            zdst: 0,
        };
        let bytes = [&header.encode()[..], &[7; 100]].concat();
        let mut packet = Packet::now(LinkType::Ipnet, bytes);
        packet.truncate(200);
        assert_eq!((packet.bytes.len(), &packet.bytes[4..8]), (124, &[0, 0, 0, 100][..]));
        packet.truncate(64);
        assert_eq!((packet.bytes.len(), packet.length), (64, 124));
        assert_eq!(packet.bytes[4..8], [0, 0, 0, 40]);
        packet.truncate(5);
        assert_eq!(packet.bytes.len(), 5);
    }

    #[test]
    fn link_types_have_their_numbers() {
        for link in [LinkType::Ethernet, LinkType::Ipnet, LinkType::Raw] {
            assert_eq!(LinkType::from_pcap(link.to_pcap().into()), Some(link));
            assert_eq!(link.to_dlpi().map(LinkType::from_dlpi), link.to_dlpi().map(|_| Some(link)));
        }
    }
}
