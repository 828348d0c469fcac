// SPDX-License-Identifier: CDDL-1.0
//! Ethernet, VLAN, IPv4 and IPv6 headers, read from bytes. Everything here is total: garbage gives `None`.

use illumos_sys_hdrs as sys;

/// Bytes of an Ethernet header without tag.
pub const ETHER_HDR: usize = 14;
/// Bytes an 802.1Q tag adds.
pub const VLAN_TAG: usize = 4;
/// EtherType of IPv4 and IPv6.
pub const ETHERTYPE_IP: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = sys::ETHERTYPE_VLAN as u16;
/// IP protocol numbers.
pub const IPPROTO_TCP: u8 = 6;
/// UDP.
pub const IPPROTO_UDP: u8 = 17;

/// A six byte MAC address.
pub type Mac = [u8; 6];
/// To everybody.
pub const BROADCAST: Mac = [0xff; 6];

/// Whether the group bit is set.
pub fn is_group(a: &Mac) -> bool {
    a[0] & 1 != 0
}

/// Whether the address can be a station's: not a group and not zero.
pub fn is_station(a: &Mac) -> bool {
    !is_group(a) && *a != [0; 6]
}

/// A big-endian 16-bit word.
pub fn be16(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

/// What the link layer says about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Destination.
    pub dst: Mac,
    /// Source.
    pub src: Mac,
    /// Tag control information of the outermost 802.1Q tag.
    pub tci: Option<u16>,
    /// EtherType behind the tag.
    pub ethertype: u16,
    /// Offset of the network header: 14 or 18.
    pub len: usize,
}

impl Link {
    /// Reads the header; `None` when there are fewer than 14 bytes, or 18 with a tag.
    pub fn parse(b: &[u8]) -> Option<Link> {
        let h: &[u8; ETHER_HDR] = b.first_chunk()?;
        let dst = [h[0], h[1], h[2], h[3], h[4], h[5]];
        let src = [h[6], h[7], h[8], h[9], h[10], h[11]];
        let ty = u16::from_be_bytes([h[12], h[13]]);
        if ty != ETHERTYPE_VLAN {
            return Some(Link { dst, src, tci: None, ethertype: ty, len: ETHER_HDR });
        }
        let tci = be16(b, 14)?;
        let ethertype = be16(b, 16)?;
        Some(Link { dst, src, tci: Some(tci), ethertype, len: ETHER_HDR + VLAN_TAG })
    }

    /// VLAN id of the tag; 0 for an untagged or priority-tagged frame.
    pub fn vid(&self) -> u16 {
        self.tci.unwrap_or(0) & 0x0fff
    }
}

/// Where the parts of an IP packet lie, as offsets from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Start of the network header.
    pub l3: usize,
    /// Start of the transport header.
    pub l4: usize,
    /// Protocol number of the transport.
    pub proto: u8,
    /// True for IPv6.
    pub v6: bool,
    /// Fragment: the transport header may be elsewhere.
    pub fragment: bool,
    /// End of the packet by its own length field, never beyond the bytes given.
    pub end: usize,
}

impl Ip {
    /// Follows the network header of a frame, and the extension headers of IPv6, to the transport header.
    pub fn parse(frame: &[u8], link: &Link) -> Option<Ip> {
        match link.ethertype {
            ETHERTYPE_IP => Ip::parse_v4(frame, link.len),
            ETHERTYPE_IPV6 => Ip::parse_v6(frame, link.len),
            _ => None,
        }
    }

    fn parse_v4(frame: &[u8], l3: usize) -> Option<Ip> {
        let h: &[u8; 20] = frame.get(l3..)?.first_chunk()?;
        let ihl = usize::from(h[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([h[2], h[3]]));
        if h[0] >> 4 != 4 || ihl < 20 || total < ihl {
            return None;
        }
        let fragment = u16::from_be_bytes([h[6], h[7]]) & 0x3fff != 0;
        let end = frame.len().min(l3 + total);
        Some(Ip { l3, l4: l3 + ihl, proto: h[9], v6: false, fragment, end })
    }

    fn parse_v6(frame: &[u8], l3: usize) -> Option<Ip> {
        let h: &[u8; 40] = frame.get(l3..)?.first_chunk()?;
        if h[0] >> 4 != 6 {
            return None;
        }
        let payload = usize::from(u16::from_be_bytes([h[4], h[5]]));
        let end = frame.len().min(l3 + 40 + payload);
        let (mut proto, mut l4, mut fragment) = (h[6], l3 + 40, false);
        // Extension headers are 8 bytes at least, so that the walk ends.
        loop {
            let size = match proto {
                0 | 43 | 60 => (usize::from(*frame.get(l4 + 1)?) + 1) * 8,
                44 => {
                    fragment = true;
                    8
                }
                51 => (usize::from(*frame.get(l4 + 1)?) + 2) * 4,
                _ => break,
            };
            proto = *frame.get(l4)?;
            l4 += size;
        }
        Some(Ip { l3, l4, proto, v6: true, fragment, end })
    }

    /// Source and destination address, 4 or 16 bytes each, in one slice.
    pub fn addresses<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let (at, len) = if self.v6 { (self.l3 + 8, 32) } else { (self.l3 + 12, 8) };
        frame.get(at..at + len).unwrap_or(&[])
    }
}

/// A hash of the headers that tell flows apart: link addresses, tag, IP addresses, protocol, ports.
///
/// Fragments hash without ports so that all parts of a packet stay together. 0 when there is no Ethernet header.
pub fn flow_hash(frame: &[u8]) -> u32 {
    let Some(link) = Link::parse(frame) else { return 0 };
    let mut h = Mixer(0x9e37_79b9_7f4a_7c15);
    h.add(u64::from_be_bytes([
        link.dst[0],
        link.dst[1],
        link.dst[2],
        link.dst[3],
        link.dst[4],
        link.dst[5],
        link.src[0],
        link.src[1],
    ]));
    h.add(u64::from(u32::from_be_bytes([link.src[2], link.src[3], link.src[4], link.src[5]])));
    h.add(u64::from(link.vid()));
    if let Some(ip) = Ip::parse(frame, &link) {
        for part in ip.addresses(frame).chunks_exact(8) {
            h.add(u64::from_le_bytes(part.try_into().unwrap_or_default()));
        }
        let ports = match ip.proto {
            IPPROTO_TCP | IPPROTO_UDP | 132 | 50 if !ip.fragment => {
                frame.get(ip.l4..ip.l4 + 4).and_then(|p| p.try_into().ok()).map(u32::from_le_bytes)
            }
            _ => None,
        };
        h.add(u64::from(ports.unwrap_or(0)) << 8 | u64::from(ip.proto));
    }
    h.0 as u32 ^ (h.0 >> 32) as u32
}

/// Multiply and fold, one 64-bit word a step.
struct Mixer(u64);

impl Mixer {
    fn add(&mut self, word: u64) {
        let wide = u128::from(self.0 ^ word) * 0xff51_afd7_ed55_8ccd_u128;
        self.0 = (wide as u64) ^ (wide >> 64) as u64 ^ 0x2545_f491_4f6c_dd1d;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_header() {
        let mut f = vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x08, 0x00, 0x45];
        let l = Link::parse(&f).unwrap();
        assert_eq!((l.len, l.ethertype, l.tci, l.vid()), (14, 0x800, None, 0));
        f[12] = 0x81;
        assert_eq!(Link::parse(&f), None);
        f.extend_from_slice(&[0x05, 0x86, 0xdd]);
        f[14] = 0x20;
        let l = Link::parse(&f).unwrap();
        assert_eq!((l.len, l.ethertype, l.tci, l.vid()), (18, 0x86dd, Some(0x2005), 5));
        assert_eq!(Link::parse(&f[..13]), None);
    }

    #[test]
    fn v6_extension_headers_end() {
        let mut f = vec![0u8; 14];
        f[12..14].copy_from_slice(&[0x86, 0xdd]);
        let mut h = vec![0u8; 40];
        h[0] = 0x60;
        h[5] = 16 + 20;
        h[6] = 0;
        f.extend_from_slice(&h);
        f.extend_from_slice(&[6, 1]);
        f.extend_from_slice(&[0; 14 + 20]);
        let ip = Ip::parse(&f, &Link::parse(&f).unwrap()).unwrap();
        assert_eq!((ip.l4, ip.proto, ip.v6), (14 + 40 + 16, IPPROTO_TCP, true));
        // A chain of hop-by-hop headers that runs off the end.
        f.truncate(60);
        f[54] = 0;
        assert!(Ip::parse(&f, &Link::parse(&f).unwrap()).is_none());
    }

    #[test]
    fn flows_keep_and_spread() {
        let mut f = vec![2, 8, 32, 0, 0, 1, 2, 8, 32, 0, 0, 2, 0x08, 0x00];
        f.extend_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        f.extend_from_slice(&[0; 20]);
        let one = flow_hash(&f);
        f[18] = 77;
        assert_eq!(flow_hash(&f), one, "the IP id is not part of a flow");
        let mut seen = std::collections::HashSet::new();
        for port in 0..1000u16 {
            f[34..36].copy_from_slice(&port.to_be_bytes());
            seen.insert(flow_hash(&f) % 16384);
        }
        assert!(seen.len() > 900, "{}", seen.len());
        assert_eq!(flow_hash(&f[..13]), 0);
    }
}
