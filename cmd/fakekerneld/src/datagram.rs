// SPDX-License-Identifier: CDDL-1.0
//! The headers of a datagram of the kernel's sockets, which this machine's kernel makes and we do not
//! see. Without I/O.

use std::net::{IpAddr, SocketAddr};

const UDP: u8 = 17;

/// IP and UDP headers for a datagram from `from` to `to`, IPv4 where both are. Lengths that do not
/// fit are 0, as in a capture of an offloaded packet.
pub fn headers(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let udp_len = 8 + payload.len();
    let short = |n: usize| u16::try_from(n).unwrap_or(0).to_be_bytes();
    let mut udp = Vec::with_capacity(48);
    udp.extend_from_slice(&from.port().to_be_bytes());
    udp.extend_from_slice(&to.port().to_be_bytes());
    udp.extend_from_slice(&short(udp_len));
    udp.extend_from_slice(&[0, 0]);
    let mut ip = Vec::with_capacity(48);
    match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            ip.extend_from_slice(&[0x45, 0]);
            ip.extend_from_slice(&short(20 + udp_len));
            // No identification, do not fragment, time to live 64, checksum still to come.
            ip.extend_from_slice(&[0, 0, 0x40, 0, 64, UDP, 0, 0]);
            ip.extend_from_slice(&from.octets());
            ip.extend_from_slice(&to.octets());
            let sum = !fold(sum(0, &ip));
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            // A UDP checksum of 0 is "none" over IPv4.
        }
        (from, to) => {
            let six = |a| match a {
                IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
                IpAddr::V6(a) => a.octets(),
            };
            ip.extend_from_slice(&[0x60, 0, 0, 0]);
            ip.extend_from_slice(&short(udp_len));
            ip.extend_from_slice(&[UDP, 64]);
            ip.extend_from_slice(&six(from));
            ip.extend_from_slice(&six(to));
            // Over IPv6 there must be one: of the addresses, the length, the protocol, header and
            // data.
            let pseudo = sum(u64::from(UDP) + udp_len as u64, &ip[8..]);
            let checksum = match !fold(sum(sum(pseudo, &udp), payload)) {
                0 => 0xffff,
                c => c,
            };
            udp[6..8].copy_from_slice(&checksum.to_be_bytes());
        }
    }
    ip.extend_from_slice(&udp);
    ip
}

/// Sum of big-endian 16-bit words (RFC 1071), an odd last byte padded.
fn sum(start: u64, bytes: &[u8]) -> u64 {
    bytes.chunks(2).fold(start, |n, c| {
        let [high, low] = [c[0], c.get(1).copied().unwrap_or(0)];
        n + u64::from(u16::from_be_bytes([high, low]))
    })
}

fn fold(mut n: u64) -> u16 {
    while n > 0xffff {
        n = (n & 0xffff) + (n >> 16);
    }
    n as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{Ipv4Packet, Ipv6Packet, UdpPacket, UdpRepr};

    #[test]
    fn headers_are_what_another_reader_takes() {
        let checks = ChecksumCapabilities::default();
        for payload in [&b""[..], b"x", b"odd length", &[0xff; 1400]] {
            let (from, to) =
                ("10.0.0.1:1234".parse().unwrap(), "[::ffff:10.0.0.2]:4789".parse().unwrap());
            let mut packet = headers(from, to, payload);
            packet.extend_from_slice(payload);
            let ip = Ipv4Packet::new_checked(&packet[..]).unwrap();
            assert!(ip.verify_checksum());
            let udp = UdpPacket::new_checked(ip.payload()).unwrap();
            let (src, dst) = (ip.src_addr().into(), ip.dst_addr().into());
            let repr = UdpRepr::parse(&udp, &src, &dst, &checks).unwrap();
            assert_eq!((repr.src_port, repr.dst_port, udp.payload()), (1234, 4789, payload));

            let (from, to) = ("[fd00::1]:1234".parse().unwrap(), "[fd00::2]:4789".parse().unwrap());
            let mut packet = headers(from, to, payload);
            packet.extend_from_slice(payload);
            let ip = Ipv6Packet::new_checked(&packet[..]).unwrap();
            let udp = UdpPacket::new_checked(ip.payload()).unwrap();
            let (src, dst) = (ip.src_addr().into(), ip.dst_addr().into());
            assert!(udp.checksum() != 0 && udp.verify_checksum(&src, &dst));
            assert_eq!(udp.payload(), payload);
        }
    }

    #[test]
    fn what_does_not_fit_has_no_length() {
        let v4: SocketAddr = "10.0.0.1:1".parse().unwrap();
        assert_eq!(headers(v4, v4, &[0; 70_000])[2..4], [0, 0]);
    }
}
