// SPDX-License-Identifier: CDDL-1.0
//! Ethernet, VLAN, IPv4 and IPv6 headers, read from bytes. Everything here is total: garbage gives
//! `None`.

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
#[inline]
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
    #[inline]
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
    #[inline]
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
    /// Follows the network header of a frame, and the extension headers of IPv6, to the transport
    /// header.
    #[inline]
    pub fn parse(frame: &[u8], link: &Link) -> Option<Ip> {
        match link.ethertype {
            ETHERTYPE_IP => Ip::parse_v4(frame, link.len),
            ETHERTYPE_IPV6 => Ip::parse_v6(frame, link.len),
            _ => None,
        }
    }

    #[inline]
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

/// A hash of the headers that tell flows apart: link addresses, VLAN, IP addresses, protocol,
/// ports.
///
/// Fragments hash without ports so that all parts of a packet stay together. 0 when there is no
/// Ethernet header.
pub fn flow_hash(frame: &[u8]) -> u32 {
    // Most frames: untagged, IPv4 without options, not a fragment, and a transport with ports.
    if let Some(h) = frame.first_chunk::<38>()
        && (h[12], h[13], h[14]) == (0x08, 0x00, 0x45)
        && (h[20] & 0x3f | h[21]) == 0
        && has_ports(h[23])
    {
        let ports = u32::from_le_bytes([h[34], h[35], h[36], h[37]]);
        return fold(mix_v4(mix_link(le64(h, 0), le64(h, 6), 0), le64(h, 26), ports, h[23]));
    }
    let Some(link) = Link::parse(frame) else { return 0 };
    let word =
        |at: usize| frame.get(at..).and_then(|b| b.first_chunk::<8>()).map_or(0, |w| le64(w, 0));
    let mut h = mix_link(word(0), word(6), link.vid());
    if let Some(ip) = Ip::parse(frame, &link) {
        let ports = match frame.get(ip.l4..).and_then(<[u8]>::first_chunk) {
            Some(p) if has_ports(ip.proto) && !ip.fragment => u32::from_le_bytes(*p),
            _ => 0,
        };
        if ip.v6 {
            let at = ip.l3 + 8;
            h = mix(h ^ word(at), word(at + 8) ^ SEED);
            h = mix(h ^ word(at + 16), word(at + 24) ^ SEED);
            h = mix_v4(h, 0, ports, ip.proto);
        } else {
            h = mix_v4(h, word(ip.l3 + 12), ports, ip.proto);
        }
    }
    fold(h)
}

/// Whether the transport header begins with what tells flows apart: TCP, UDP, SCTP, and ESP with
/// its index.
fn has_ports(proto: u8) -> bool {
    matches!(proto, IPPROTO_TCP | IPPROTO_UDP | 132 | 50)
}

#[inline]
fn le64<const N: usize>(b: &[u8; N], at: usize) -> u64 {
    let b = &b[at..at + 8];
    u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])
}

/// `dst` and `src` begin at bytes 0 and 6 of the header: together bytes 0 to 13, two of them twice.
fn mix_link(dst: u64, src: u64, vid: u16) -> u64 {
    mix(dst ^ SEED, src ^ u64::from(vid))
}

fn mix_v4(h: u64, addresses: u64, ports: u32, proto: u8) -> u64 {
    mix(h ^ addresses, (u64::from(ports) << 8 | u64::from(proto)) ^ SEED)
}

fn fold(h: u64) -> u32 {
    h as u32 ^ (h >> 32) as u32
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Both halves of the product: every bit of either word reaches every bit of the result.
fn mix(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b | 1);
    wide as u64 ^ (wide >> 64) as u64
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
        // Options in the IP header, or data cut off behind the ports, do not change the flow.
        let one = flow_hash(&f);
        assert_eq!(flow_hash(&f[..38]), one);
        f[14] = 0x46;
        f.splice(34..34, [1, 1, 1, 1]);
        assert_eq!(flow_hash(&f), one);
    }
}
