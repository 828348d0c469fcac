// SPDX-License-Identifier: CDDL-1.0
//! Fragments put together, and checksums.

use crate::{capture, frames, lines};
use snoop::packet::LinkType;

const A: &str = "10.77.0.10";
const B: &str = "10.77.0.11";

/// A packet of 10.77.0.10 in fragments of this many bytes.
pub fn cut(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (protocol, payload) = (packet[9], &packet[20..]);
    let count = payload.len().div_ceil(size);
    let part = |(n, part): (usize, &[u8])| {
        let more = if n + 1 < count { 0x2000 } else { 0 };
        let [src, dst] = [12, 16].map(|at| {
            let ip: [u8; 4] = packet[at..at + 4].try_into().unwrap();
            std::net::Ipv4Addr::from(ip).to_string()
        });
        frames::ip4_part(more | (n * size / 8) as u16, &src, &dst, protocol, part)
    };
    payload.chunks(size).enumerate().map(part).collect()
}

/// The lines of the packet that comes last.
fn last(link: LinkType, packets: Vec<Vec<u8>>) -> Vec<String> {
    lines(&capture(link, packets)).pop().unwrap()
}

#[test]
fn the_last_fragment_to_come_shows_what_all_carry() {
    let frame = frames::ether(0x800, &frames::udp(A, B, [9, 10], &[7; 200]));
    let datagram =
        frames::udp("192.0.2.10", "192.0.2.20", [51000, 4789], &frames::vxlan(4242, &frame));
    let parts = cut(&datagram, 80);
    assert_eq!(parts.len(), 4);
    let first = lines(&capture(LinkType::Raw, parts.clone()))[0].clone();
    assert_eq!(first[1..], ["UDP D=4789 S=51000 LEN=258", "DATA 72 bytes"]);
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
        let shown = last(LinkType::Raw, order.map(|n| parts[n].clone()).to_vec());
        assert_eq!(shown[1], "WHOLE 258 bytes of 4 fragments");
        assert_eq!(shown[2], "UDP D=4789 S=51000 LEN=258");
        assert_eq!(shown[3], "VXLAN vnet 4242");
        assert!(shown[5].starts_with("IP D=10.77.0.11 S=10.77.0.10 LEN=228"), "{shown:?}");
        assert_eq!(shown[7], "DATA 200 bytes");
    }
}

#[test]
fn fragments_in_fragments_are_put_together() {
    // The guest's packet is cut, and so is what carries its second half.
    let inner = cut(&frames::udp(A, B, [9, 10], &[7; 200]), 104);
    let wrap = |part: &[u8]| {
        let frame = frames::vxlan(4242, &frames::ether(0x800, part));
        frames::udp("192.0.2.10", "192.0.2.20", [51000, 4789], &frame)
    };
    let packets = [vec![wrap(&inner[0])], cut(&wrap(&inner[1]), 88)].concat();
    let shown = last(LinkType::Raw, packets);
    assert_eq!(shown.iter().filter(|l| l.starts_with("WHOLE")).count(), 2, "{shown:?}");
    assert_eq!(shown[shown.len() - 2..], ["UDP D=10 S=9 LEN=208", "DATA 200 bytes"]);
}

#[test]
fn guests_of_two_networks_do_not_share_fragments() {
    let parts = cut(&frames::udp(A, B, [9, 10], &[7; 200]), 104);
    let wrap = |vnet: u32, part: &[u8]| {
        let frame = frames::vxlan(vnet, &frames::ether(0x800, part));
        frames::udp("192.0.2.10", "192.0.2.20", [51000, 4789], &frame)
    };
    let shown = last(LinkType::Raw, vec![wrap(1, &parts[0]), wrap(2, &parts[1])]);
    assert!(!shown.iter().any(|l| l.starts_with("WHOLE")), "{shown:?}");
}

#[test]
fn fragments_of_ipv6_are_put_together() {
    let whole = frames::udp("fd00::1", "fd00::2", [9, 10], &[7; 200]);
    let part = |n: u16, more: u16, bytes: &[u8]| {
        let place = (n | more).to_be_bytes();
        let header = [&[17, 0][..], &place, &[0, 0, 0, 9], bytes].concat();
        frames::ip6("fd00::1", "fd00::2", 44, &header)
    };
    let payload = &whole[40..];
    let packets = vec![part(104, 0, &payload[104..]), part(0, 1, &payload[..104])];
    let shown = last(LinkType::Raw, packets);
    let ends = ["WHOLE 208 bytes of 2 fragments", "UDP D=10 S=9 LEN=208", "DATA 200 bytes"];
    assert_eq!(shown[2..], ends);
}

/// What the fields say of each checksum of a packet of IP.
fn sums(packet: Vec<u8>) -> Vec<String> {
    let packet = crate::packet(LinkType::Raw, 0, packet);
    let mut decoder = snoop::decode::Decoder::default();
    let layers = decoder.decode(&packet);
    let fields = layers.iter().flat_map(|l| l.fields().0);
    fields
        .filter(|(name, _)| *name == "checksum_state")
        .map(|(_, value)| value.to_string())
        .collect()
}

#[test]
fn checksums_are_right_wrong_or_left_to_the_card() {
    let tcp = frames::tcp(A, B, [1024, 80], 6, frames::PSH_ACK, b"odd");
    let udp = frames::udp("fd00::1", "fd00::2", [9, 10], b"odd");
    let ping = frames::ip4(A, B, 1, &frames::icmp(8, 0, &[0, 66, 0, 1]));
    let ping6 = frames::icmp6("fd00::1", "fd00::2", 128, &[0, 9, 0, 2]);
    assert_eq!(sums(tcp.clone()), ["right", "right"]);
    assert_eq!(sums(udp.clone()), ["right"]);
    assert_eq!(sums(ping.clone()), ["right", "right"]);
    assert_eq!(sums(ping6.clone()), ["right"]);
    for (good, wrong) in [(&tcp, &["right", "wrong"][..]), (&udp, &["wrong"]), (&ping6, &["wrong"])]
    {
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        assert_eq!(sums(bad), wrong);
    }
    let mut header = ping;
    header[8] -= 1;
    assert_eq!(sums(header.clone()), ["wrong", "right"]);
    header[10..12].fill(0);
    assert_eq!(sums(header), ["left to the network card", "right"]);
    // The addresses, the protocol and 23 bytes.
    let partial = 0x0a4d * 2 + 10 + 11 + 6 + 23_u16;
    for sum in [partial, partial - 23] {
        let mut card = tcp.clone();
        card[36..38].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(sums(card), ["right", "left to the network card"]);
    }
    let mut none = frames::udp(A, B, [9, 10], b"odd");
    none[26..28].fill(0);
    assert_eq!(sums(none), ["right", "not checked"]);
}

#[test]
fn what_is_not_all_there_is_not_called_wrong() {
    let tcp = frames::tcp(A, B, [1024, 80], 6, frames::PSH_ACK, &[7; 100]);
    let mut cut_off = crate::packet(LinkType::Raw, 0, tcp.clone());
    cut_off.bytes.truncate(60);
    let shown = lines(&[cut_off]);
    assert!(shown[0][1].starts_with("TCP D=80"), "{shown:?}");
    for part in cut(&tcp, 48) {
        assert!(!sums(part).contains(&"wrong".to_owned()));
    }
    // Put together it is checked.
    let mut bad = tcp;
    *bad.last_mut().unwrap() ^= 1;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.pcapng");
    crate::write(&file, &capture(LinkType::Raw, cut(&bad, 48)));
    let shown = crate::printed(["-r".as_ref(), "-i".as_ref(), file.as_os_str()]);
    let last = shown.lines().last().unwrap();
    assert!(last.ends_with("Len=100 Win=8192 (wrong checksum: TCP)"), "{shown}");
    assert_eq!(shown.matches("wrong checksum").count(), 1, "{shown}");
    let layers = crate::printed(["-Vr".as_ref(), "-i".as_ref(), file.as_os_str()]);
    assert_eq!(layers.matches("(wrong checksum)").count(), 1, "{layers}");
}
