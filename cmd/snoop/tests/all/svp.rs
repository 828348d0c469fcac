// SPDX-License-Identifier: CDDL-1.0
//! SVP messages however TCP cuts them up.

use crate::frames::{FIN, PSH_ACK, SYN, ether, tcp};
use crate::{capture, lines};
use snoop::packet::LinkType;
use std::net::Ipv6Addr;
use svp::log::{Entry, Named};
use svp::message::{
    Body, RouteAck, RouteReq, Underlay, Vl2Ack, Vl3Ack, encode_log_ack, encode_log_rm,
};
use svp::{Id, L3Type, MacAddr, Message, Status, Uuid, Version};

const HOST: &str = "192.0.2.10";
const SERVER: &str = "192.0.2.1";
const PORTS: [u16; 2] = [50000, 1296];

fn mapped(last: u8) -> Ipv6Addr {
    Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x0a4d, last.into())
}

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 8, 0x20, 0, 0, last])
}

fn message(version: u16, id: u32, body: Body<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Message { version, id: Id::from(id), body }.encode(&mut bytes);
    bytes
}

/// One of each kind that a host sends.
fn requests() -> Vec<Vec<u8>> {
    let route = RouteReq { vnet: 7, vlan: 3, src: mapped(1), dst: mapped(2) };
    let mut all = requests_of(Version::V2);
    all.insert(6, message(2, 6, Body::RouteReq(route)));
    all
}

/// Those that a version has; routes are of version 2 only.
fn requests_of(version: Version) -> Vec<Vec<u8>> {
    let ids = [Uuid::from_u128(1), Uuid::from_u128(2)];
    let mut remove = Vec::new();
    encode_log_rm(&mut remove, version, Id::from(5), &ids);
    let message = |_, id, body: Body<'_>| message(version.wire(), id, body);
    vec![
        message(2, 0, Body::Ping),
        message(2, 1, Body::Vl2Req { mac: mac(1), vnet: 7 }),
        message(2, 2, Body::Vl3Req { ip: mapped(2), l3: L3Type::IPV4, vnet: 7 }),
        message(2, 3, Body::BulkReq { kind: 1 }),
        message(2, 4, Body::LogReq { count: 1024, ip: mapped(9) }),
        remove,
        message(2, 7, Body::Shootdown { mac: mac(3), vnet: 7 }),
    ]
}

/// One of each kind that a directory sends.
fn answers() -> Vec<Vec<u8>> {
    let ul3 = Underlay { ip: mapped(20), port: 4789 };
    let route = RouteAck { vnet: 8, ul3, ..RouteAck::failed(Status::OK) };
    let mut all = answers_of(Version::V2);
    all.push(message(2, 6, Body::RouteAck(route)));
    all
}

fn answers_of(version: Version) -> Vec<Vec<u8>> {
    let ul3 = Underlay { ip: mapped(20), port: 4789 };
    let entries = [
        Named { id: Uuid::from_u128(1), entry: Entry::Vl2 { mac: mac(1), vnet: 7 } },
        Named { id: Uuid::from_u128(2), entry: Entry::Vl3 { ip: mapped(2), vlan: 0, vnet: 7 } },
    ];
    let mut log = Vec::new();
    encode_log_ack(&mut log, version, Id::from(4), Status::OK, entries);
    let vl3 = Vl3Ack { status: Status::OK, mac: mac(2), ul3 };
    let message = |_, id, body: Body<'_>| message(version.wire(), id, body);
    vec![
        message(2, 0, Body::Pong),
        message(2, 1, Body::Vl2Ack(Vl2Ack { status: Status::NOTFOUND, ul3: Underlay::NONE })),
        message(2, 2, Body::Vl3Ack(vl3)),
        message(2, 3, Body::BulkAck { status: Status::BADBULK, kind: 1, data: &[] }),
        log,
        message(2, 5, Body::LogRmAck(Status::OK)),
    ]
}

/// Segments of a stream from sequence number 1001, in pieces of at most `size` bytes.
fn segments(bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
    let syn = tcp(HOST, SERVER, PORTS, 1000, SYN, b"");
    let part = |(n, part): (usize, &[u8])| {
        tcp(HOST, SERVER, PORTS, 1001 + (n * size) as u32, PSH_ACK, part)
    };
    std::iter::once(syn).chain(bytes.chunks(size).enumerate().map(part)).collect()
}

/// A connection: two messages in a segment, one in two, then one each; and the end.
pub fn conversation() -> Vec<Vec<u8>> {
    connection(&requests(), &answers())
}

/// The same in version 1.
pub fn conversation_of_version_1() -> Vec<Vec<u8>> {
    connection(&requests_of(Version::V1), &answers_of(Version::V1))
}

fn connection(requests: &[Vec<u8>], answers: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut packets = segments(&requests[..2].concat(), 1000);
    let mut seq = 1001 + requests[..2].concat().len() as u32;
    let mut push = |packets: &mut Vec<Vec<u8>>, bytes: &[u8]| {
        packets.push(tcp(HOST, SERVER, PORTS, seq, PSH_ACK, bytes));
        seq += bytes.len() as u32;
    };
    push(&mut packets, &requests[2][..20]);
    push(&mut packets, &requests[2][20..]);
    requests[3..].iter().for_each(|r| push(&mut packets, r));
    let mut back = 77;
    for answer in answers {
        packets.push(tcp(SERVER, HOST, [1296, 50000], back, PSH_ACK, answer));
        back += answer.len() as u32;
    }
    packets.push(tcp(HOST, SERVER, PORTS, seq, FIN, b""));
    packets.into_iter().map(|p| ether(0x800, &p)).collect()
}

/// All messages that are shown of packets, `..` for the beginning of one.
fn messages(packets: Vec<Vec<u8>>) -> Vec<String> {
    let shown = lines(&capture(LinkType::Raw, packets)).concat();
    let messages = shown.iter().filter_map(|l| l.strip_prefix("SVP "));
    messages.filter(|m| !m.contains(" bytes of ")).map(str::to_owned).collect()
}

/// What is shown of them if each is a segment.
fn expected(all: &[Vec<u8>]) -> Vec<String> {
    let one = |m: &Vec<u8>| messages(segments(m, m.len())).concat();
    all.iter().map(one).collect()
}

#[test]
fn messages_are_found_whatever_the_sizes_of_segments() {
    let all: Vec<Vec<u8>> = [requests(), answers()].concat();
    let expected = expected(&all);
    assert_eq!(expected.len(), 15);
    assert_eq!(expected[1], "VL2_REQ 2:8:20:0:0:1 vnet 7");
    assert_eq!(expected[10], "VL3_ACK OK 2:8:20:0:0:2 at 10.77.0.20:4789");
    assert_eq!(expected[12], "LOG_ACK OK 2 entries");
    let bytes = all.concat();
    for size in (1..80).chain([300, bytes.len()]) {
        assert_eq!(messages(segments(&bytes, size)), expected, "segments of {size}");
    }
}

#[test]
fn segments_may_come_late_and_twice() {
    let all = requests();
    let expected = expected(&all);
    for size in [7, 16, 40] {
        let mut packets = segments(&all.concat(), size);
        for n in (1..packets.len() - 1).step_by(3) {
            packets.swap(n, n + 1);
        }
        let twice: Vec<_> = packets.into_iter().flat_map(|p| [p.clone(), p]).collect();
        assert_eq!(messages(twice), expected, "segments of {size}");
    }
}

#[test]
fn a_capture_may_begin_within_a_message() {
    let all = requests();
    let expected = expected(&all);
    // No SYN, and the first segment is the rest of something.
    let mut packets = vec![tcp(HOST, SERVER, PORTS, 900, PSH_ACK, &[7; 30])];
    packets.extend(segments(&all.concat(), 1000).into_iter().skip(1));
    assert_eq!(messages(packets), expected);
}

#[test]
fn a_wrong_checksum_state_said_and_the_next_message_shown() {
    let mut all = requests();
    all[1][20] ^= 1;
    let shown = messages(segments(&all.concat(), 1000));
    assert_eq!(shown.len(), all.len());
    assert!(shown[1].starts_with("not understood: crc32 of VL2_REQ is "), "{}", shown[1]);
    assert_eq!(shown[2], "VL3_REQ 10.77.0.2 vnet 7");
}

#[test]
fn lost_segments_are_given_up_in_the_end() {
    let all = requests();
    let mut packets = segments(&all[0], 1000);
    // 500 bytes are missing, and never come.
    let mut seq = 1001 + all[0].len() as u32 + 500;
    for _ in 0..300 {
        packets.push(tcp(HOST, SERVER, PORTS, seq, PSH_ACK, &all[1]));
        seq += all[1].len() as u32;
    }
    let shown = messages(packets);
    assert_eq!(shown[..2], ["PING", "bytes before these are not in the capture"]);
    // Those that waited are gone with the gap.
    assert_eq!(shown.len(), 2 + 300 - 256);
    assert!(shown[2..].iter().all(|m| m.starts_with("VL2_REQ")));
}

#[test]
fn what_is_remembered_is_bounded() {
    let request = &requests()[1];
    let packets =
        (0..20_000u16).map(|n| tcp(HOST, SERVER, [n + 1024, 1296], 5, PSH_ACK, &request[..20]));
    let shown = lines(&capture(LinkType::Raw, packets));
    assert!(shown.iter().all(|l| l.last().unwrap() == "SVP 20 of 28 bytes of VL2_REQ"));
    // The oldest connection was forgotten, the newest was not.
    let end = |port: u16| tcp(HOST, SERVER, [port, 1296], 25, PSH_ACK, &request[20..]);
    let begin = |port: u16| tcp(HOST, SERVER, [port, 1296], 5, PSH_ACK, &request[..20]);
    let mut packets: Vec<_> = (0..600).map(|n| begin(2000 + n)).collect();
    packets.extend([end(2000), end(2599)]);
    assert_eq!(messages(packets), ["VL2_REQ 2:8:20:0:0:1 vnet 7"]);
}
