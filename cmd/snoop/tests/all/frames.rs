// SPDX-License-Identifier: CDDL-1.0
//! Packets of every protocol that is decoded.

use snoop::decode::link::Ipnet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const MAC1: [u8; 6] = [2, 8, 0x20, 0, 0, 1];
pub const MAC2: [u8; 6] = [2, 8, 0x20, 0, 0, 2];
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const PSH_ACK: u8 = 0x18;

pub fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn sum(bytes: &[u8]) -> u16 {
    let word = |c: &[u8]| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

pub fn ether(kind: u16, payload: &[u8]) -> Vec<u8> {
    cat(&[&MAC2, &MAC1, &kind.to_be_bytes(), payload])
}

pub fn broadcast(kind: u16, payload: &[u8]) -> Vec<u8> {
    cat(&[&[0xff; 6], &MAC1, &kind.to_be_bytes(), payload])
}

/// What follows an ethertype of 802.1Q.
pub fn tag(priority: u16, id: u16, kind: u16, payload: &[u8]) -> Vec<u8> {
    cat(&[&(priority << 13 | id).to_be_bytes(), &kind.to_be_bytes(), payload])
}

pub fn arp(op: u16, sender: Ipv4Addr, target_mac: [u8; 6], target: Ipv4Addr) -> Vec<u8> {
    let (op, sender, target) = (op.to_be_bytes(), sender.octets(), target.octets());
    cat(&[&[0, 1, 8, 0, 6, 4], &op, &MAC1, &sender, &target_mac, &target])
}

/// An IPv4 packet with flags and fragment offset as in the header.
pub fn ip4_part(place: u16, src: &str, dst: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [src, dst] = [src, dst].map(|a| a.parse::<Ipv4Addr>().unwrap().octets());
    let length = (20 + payload.len()) as u16;
    let mut head = cat(&[&[0x45, 0], &length.to_be_bytes(), &[0x12, 0x34], &place.to_be_bytes()]);
    head.extend(cat(&[&[64, protocol, 0, 0], &src, &dst]));
    let checksum = sum(&head);
    head[10..12].copy_from_slice(&checksum.to_be_bytes());
    cat(&[&head, payload])
}

pub fn ip4(src: &str, dst: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip4_part(0x4000, src, dst, protocol, payload)
}

pub fn ip6(src: &str, dst: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    let [src, dst] = [src, dst].map(|a| a.parse::<Ipv6Addr>().unwrap().octets());
    let length = (payload.len() as u16).to_be_bytes();
    cat(&[&[0x60, 0, 0, 0], &length, &[next, 64], &src, &dst, payload])
}

/// Puts the checksum of a message between two addresses in its place.
fn with_sum(src: &str, dst: &str, protocol: u8, mut message: Vec<u8>, at: usize) -> Vec<u8> {
    let [src, dst] = [src, dst].map(|a| octets(a.parse().unwrap()));
    let length = (message.len() as u32).to_be_bytes();
    let checksum = sum(&cat(&[&src, &dst, &length, &[0, 0, 0, protocol], &message]));
    message[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// An IP packet of either family.
pub fn ip(src: &str, dst: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    if src.contains(':') {
        ip6(src, dst, protocol, payload)
    } else {
        ip4(src, dst, protocol, payload)
    }
}

pub fn udp(src: &str, dst: &str, ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let [s, d] = ports.map(u16::to_be_bytes);
    let length = ((8 + payload.len()) as u16).to_be_bytes();
    let message = cat(&[&s, &d, &length, &[0, 0], payload]);
    ip(src, dst, 17, &with_sum(src, dst, 17, message, 6))
}

pub fn tcp(src: &str, dst: &str, ports: [u16; 2], seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let [s, d] = ports.map(u16::to_be_bytes);
    let seq = seq.to_be_bytes();
    let head = cat(&[&s, &d, &seq, &[0, 0, 0, 9, 0x50, flags, 0x20, 0, 0, 0, 0, 0], payload]);
    ip(src, dst, 6, &with_sum(src, dst, 6, head, 16))
}

pub fn icmp(kind: u8, code: u8, body: &[u8]) -> Vec<u8> {
    let mut message = cat(&[&[kind, code, 0, 0], body]);
    let checksum = sum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

pub fn icmp6(src: &str, dst: &str, kind: u8, body: &[u8]) -> Vec<u8> {
    let message = cat(&[&[kind, 0, 0, 0], body]);
    ip6(src, dst, 58, &with_sum(src, dst, 58, message, 2))
}

pub fn vxlan(vnet: u32, frame: &[u8]) -> Vec<u8> {
    cat(&[&[8, 0, 0, 0], &(vnet << 8).to_be_bytes(), frame])
}

pub fn ipnet(family: u8, htype: u16, zones: [u32; 2], packet: &[u8]) -> Vec<u8> {
    let [zsrc, zdst] = zones;
    let pktlen = packet.len() as u32;
    let head = Ipnet { version: 1, family, htype, pktlen, ifindex: 3, grifindex: 0, zsrc, zdst };
    cat(&[&head.encode(), packet])
}

/// A client's message with these options.
pub fn dhcp(op: u8, options: &[u8]) -> Vec<u8> {
    let mut message = cat(&[&[op, 1, 6, 0, 0x12, 0x34, 0x56, 0x78, 0, 3, 0x80, 0]]);
    let yours = if op == 2 { [10, 77, 0, 5] } else { [0; 4] };
    message.extend(cat(&[&[0; 4], &yours, &[0; 8], &MAC1, &[0; 202]]));
    message.extend(cat(&[&[0x63, 0x82, 0x53, 0x63], options, &[255]]));
    message
}

/// A ping of red1, in the network 4242, as the underlay carries it.
pub fn wrapped_ping() -> Vec<u8> {
    let ping = icmp(8, 0, &[0, 66, 0, 1, b'h', b'i']);
    let frame = ether(0x800, &ip4("10.77.0.10", "10.77.0.11", 1, &ping));
    udp("192.0.2.10", "192.0.2.20", [51000, 4789], &vxlan(4242, &frame))
}

/// Of every protocol below an Ethernet header, except SVP.
pub fn all() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let (a4, b4) = ("10.77.0.10", "10.77.0.11");
    let (a6, b6) = ("fd00:77::10", "fd00:77::11");
    let [a, b] = [a4, b4].map(|a| a.parse::<Ipv4Addr>().unwrap());
    let v6 = |a: &str| a.parse::<Ipv6Addr>().unwrap().octets();
    let ping = || icmp(8, 0, &[0, 66, 0, 1, b'h', b'i']);
    let unknown = tcp(a4, b4, [1024, 7], 5, SYN, b"");
    let target = cat(&[&[0; 4], &v6(b6)]);
    let prefix = cat(&[&[3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 7, 8, 0, 0, 0, 0], &v6("fd00:77::")]);
    let router = cat(&[
        &[64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1],
        &MAC1,
        &prefix,
        &[5, 1, 0, 0, 0, 0, 5, 120, 24, 2, 48, 0, 0, 0, 7, 8, 0xfd, 0, 0, 0x78, 0, 0, 0, 0],
        &[25, 3, 0, 0, 0, 0, 2, 88],
        &v6("fd00:77::53"),
        &[14, 1, 1, 2, 3, 4, 5, 6],
    ]);
    let request = dhcp(
        1,
        &[53, 1, 3, 50, 4, 10, 77, 0, 5, 12, 3, b'r', b'e', b'd', 55, 2, 1, 3, 61, 2, 0, 9],
    );
    let answer = dhcp(
        2,
        &cat(&[
            &[
                53, 1, 5, 1, 4, 255, 255, 255, 0, 3, 4, 10, 77, 0, 1, 51, 4, 0, 0, 14, 16, 26, 2,
                5, 120,
            ],
            &[58, 4, 0, 0, 7, 8, 42, 4, 10, 77, 0, 2, 60, 3, b'l', b'a', b'b', 43, 1, 7],
            // One route by another router, and the rest by this one.
            &[121, 13, 24, 10, 78, 0, 10, 77, 0, 2, 0, 10, 77, 0, 1],
            &[119, 14, 3, b'l', b'a', b'b', 2, b'a', b'a', 0, 3, b'w', b'w', b'w', 0xc0, 4],
        ]),
    );
    vec![
        (
            "arp",
            vec![
                broadcast(0x806, &arp(1, a, [0; 6], b)),
                ether(0x806, &arp(2, a, MAC2, b)),
                broadcast(0x806, &arp(1, a, [0; 6], a)),
                broadcast(0x8035, &arp(3, a, MAC2, b)),
            ],
        ),
        (
            "vlan",
            vec![
                ether(0x8100, &tag(3, 42, 0x806, &arp(1, a, [0; 6], b))),
                ether(0x88a8, &tag(0, 100, 0x8100, &tag(0, 7, 0x88b5, b"unknown"))),
            ],
        ),
        (
            "ipv4",
            vec![
                ether(0x800, &ip4(a4, b4, 253, b"unknown")),
                ether(0x800, &ip4_part(0x2000, a4, b4, 1, &cat(&[&ping(), &[7; 6]]))),
                ether(0x800, &ip4_part(0x2002, a4, b4, 1, &[7; 16])),
                ether(0x800, &ip4_part(0x0004, a4, b4, 17, b"last")),
                ether(0x800, &ip4(a4, b4, 4, &ip4("192.0.2.1", "192.0.2.2", 1, &ping()))),
            ],
        ),
        (
            "ipv6",
            vec![
                ether(0x86dd, &ip6(a6, b6, 59, b"")),
                ether(
                    0x86dd,
                    &ip6(a6, b6, 0, &cat(&[&[60, 0, 5, 2, 0, 0, 1, 0, 59, 0, 1, 4, 0, 0, 0, 0]])),
                ),
                ether(
                    0x86dd,
                    &ip6(
                        a6,
                        b6,
                        44,
                        &cat(&[&[17, 0, 0, 1, 0, 0, 0, 9], &[1, 2, 3, 4, 0, 24, 0, 0], &[7; 8]]),
                    ),
                ),
                ether(0x86dd, &ip6(a6, b6, 44, &cat(&[&[17, 0, 0, 16, 0, 0, 0, 9], &[7; 8]]))),
            ],
        ),
        (
            "icmp",
            vec![
                ether(0x800, &ip4(a4, b4, 1, &ping())),
                ether(0x800, &ip4(b4, a4, 1, &icmp(0, 0, &[0, 66, 0, 1, b'h', b'i']))),
                ether(0x800, &ip4(b4, a4, 1, &icmp(3, 3, &cat(&[&[0; 4], &unknown])))),
                ether(0x800, &ip4(b4, a4, 1, &icmp(3, 4, &cat(&[&[0, 0, 5, 120], &unknown])))),
                ether(0x800, &ip4(b4, a4, 1, &icmp(5, 1, &cat(&[&[10, 77, 0, 1], &unknown])))),
                ether(0x800, &ip4(b4, a4, 1, &icmp(11, 0, &cat(&[&[0; 4], &unknown])))),
                ether(0x800, &ip4(b4, a4, 1, &icmp(13, 0, &[0; 16]))),
                ether(0x86dd, &icmp6(a6, b6, 128, &[0, 9, 0, 2])),
                ether(0x86dd, &icmp6(b6, a6, 2, &cat(&[&[0, 0, 5, 0], &ip6(a6, b6, 17, &[0; 8])]))),
            ],
        ),
        (
            "ndp",
            vec![
                ether(0x86dd, &icmp6(a6, "ff02::2", 133, &cat(&[&[0; 4], &[1, 1], &MAC1]))),
                ether(0x86dd, &icmp6("fe80::1", "ff02::1", 134, &router)),
                ether(0x86dd, &icmp6(a6, "ff02::1:ff00:11", 135, &cat(&[&target, &[1, 1], &MAC1]))),
                ether(
                    0x86dd,
                    &icmp6(b6, a6, 136, &cat(&[&[0x60, 0, 0, 0], &v6(b6), &[2, 1], &MAC2])),
                ),
            ],
        ),
        (
            "tcp",
            vec![
                ether(0x800, &unknown),
                ether(0x86dd, &tcp(a6, b6, [1024, 80], 6, PSH_ACK, b"GET /\r\n")),
                ether(0x800, &tcp(a4, b4, [1024, 80], 99, FIN, b"")),
            ],
        ),
        (
            "udp",
            vec![
                ether(0x800, &udp(a4, b4, [4000, 1024], b"answer")),
                ether(0x86dd, &udp(a6, b6, [1024, 4000], b"question")),
            ],
        ),
        (
            "dhcp",
            vec![
                broadcast(0x800, &udp("0.0.0.0", "255.255.255.255", [68, 67], &request)),
                ether(0x800, &udp("10.77.0.1", "10.77.0.5", [67, 68], &answer)),
            ],
        ),
        (
            "vxlan",
            vec![
                ether(0x800, &wrapped_ping()),
                ether(
                    0x86dd,
                    &udp(
                        "fd00::1",
                        "fd00::2",
                        [51000, 4789],
                        &vxlan(0xff_ffff, &broadcast(0x806, &arp(1, a, [0; 6], b))),
                    ),
                ),
            ],
        ),
    ]
}

/// As ipnet shows them: in, out, looped back.
pub fn of_ipnet() -> Vec<Vec<u8>> {
    let ping = icmp(8, 0, &[0, 66, 0, 1, b'h', b'i']);
    let v4 = ip4("192.0.2.1", "192.0.2.10", 1, &ping);
    let local = udp("2001:db8::10", "2001:db8::10", [4242, 4243], b"local");
    vec![
        ipnet(Ipnet::INET, 0, [Ipnet::NO_ZONE, 0], &v4),
        ipnet(Ipnet::INET, 1, [0, Ipnet::NO_ZONE], &wrapped_ping()),
        ipnet(Ipnet::INET6, 2, [5, 5], &local),
    ]
}
