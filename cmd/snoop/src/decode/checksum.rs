// SPDX-License-Identifier: CDDL-1.0
//! Checksums of IP and of what it carries (RFC 1071), as they are on their way.
//!
//! A packet that a host hands to its network card may have a checksum that the card is to finish: in
//! its place is the sum of the pseudo header, with the length of the message, or without where the
//! card is to cut it into segments too. Such a packet is not damaged.

use std::fmt;
use std::net::IpAddr;

/// What a checksum says of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// It is as it was sent.
    Right,
    /// It is not.
    Wrong,
    /// Nothing yet: a network card is to finish it.
    Unfinished,
    /// Nothing: there is none, or not all of the message is here.
    Unchecked,
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sum::Right => "right",
            Sum::Wrong => "wrong",
            Sum::Unfinished => "left to the network card",
            Sum::Unchecked => "not checked",
        })
    }
}

/// Sum of big-endian 16-bit words, an odd last byte padded.
fn words(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let odd = rest.first().map_or(0, |b| u64::from(*b) << 8);
    pairs.iter().map(|p| u64::from(u16::from_be_bytes(*p))).fold(odd, u64::wrapping_add)
}

/// The same as one word, carries added.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
    }
    sum as u16
}

/// Of a header that has its checksum in it.
pub(super) fn header(bytes: &[u8]) -> Sum {
    if fold(words(bytes)) == 0xffff { Sum::Right } else { Sum::Wrong }
}

/// Sum of the addresses, the protocol and the length of a message; big ones of IPv6 the same.
fn pseudo((src, dst): (IpAddr, IpAddr), protocol: u8, length: usize) -> u64 {
    let address = |a: IpAddr| match a {
        IpAddr::V4(a) => words(&a.octets()),
        IpAddr::V6(a) => words(&a.octets()),
    };
    let rest = u64::from(protocol).wrapping_add(length as u64);
    address(src).wrapping_add(address(dst)).wrapping_add(rest)
}

/// Of a whole message of TCP, UDP or ICMPv6 that has this checksum in it.
pub(super) fn message(ends: (IpAddr, IpAddr), protocol: u8, bytes: &[u8], checksum: u16) -> Sum {
    let head = pseudo(ends, protocol, bytes.len());
    let of_segments = pseudo(ends, protocol, 0);
    if fold(head.wrapping_add(words(bytes))) == 0xffff {
        Sum::Right
    } else if [fold(head), fold(of_segments)].contains(&checksum) {
        Sum::Unfinished
    } else {
        Sum::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram of "odd" between two ports, with this checksum.
    fn datagram(checksum: u16) -> Vec<u8> {
        let [a, b] = checksum.to_be_bytes();
        [&[0, 9, 0, 10, 0, 11, a, b][..], b"odd"].concat()
    }

    #[test]
    fn a_sum_is_right_wrong_or_unfinished() {
        let ends = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let sum = |checksum| message(ends, 17, &datagram(checksum), checksum);
        // 0x0a00 + 1 + 0x0a00 + 2 + 17 + 11, and the datagram's 9 + 10 + 11 + "od" + "d\0".
        assert_eq!(sum(!(0x141f + 0x1e + 0x6f64 + 0x6400)), Sum::Right);
        assert_eq!(sum(0x141f), Sum::Unfinished);
        assert_eq!(sum(0x141f - 11), Sum::Unfinished);
        assert_eq!(sum(0x1420), Sum::Wrong);
        assert_eq!(sum(0), Sum::Wrong);
    }

    #[test]
    fn a_header_has_its_own() {
        assert_eq!(header(&[0x45, 0, 0xba, 0xff]), Sum::Right);
        assert_eq!(header(&[0x45, 0, 0xba, 0xfe]), Sum::Wrong);
        assert_eq!(header(&[0xff; 0xffff]), Sum::Wrong);
    }
}
