// SPDX-License-Identifier: CDDL-1.0
//! Packets that are cut, changed or random: they are shown, whatever they are.

use crate::{frames, packet, svp};
use proptest::prelude::*;
use snoop::decode::Decoder;
use snoop::filter::{Filter, Names};
use snoop::flows::Flows;
use snoop::names::Hosts;
use snoop::packet::{LinkType, Packet};
use snoop::show::{Detail, Seen, Show, TimeStyle};
use std::net::IpAddr;

struct None;

impl Names for None {
    fn host(&self, _: &str) -> Vec<IpAddr> {
        Vec::new()
    }

    fn service(&self, _: &str) -> Option<u16> {
        Option::None
    }
}

/// Does all that is done with packets.
fn show(packets: &[Packet]) -> String {
    let every = "not (arp or rarp) or host ::1, from net 10.0.0.0/8 ether 1:2:3:4:5:6 to port 7 zone 1 \
        ethertype 5 vlan vlan-id 3 vnet 3 broadcast multicast nofrag greater 5 less 5 length - 5 != ip[ip[0] & 0xf * 4 : 4] / udp[length] tcp udp icmp icmp6";
    let filter = Filter::parse(every, &None).unwrap();
    let mut decoder = Decoder::default();
    let mut flows = Flows::default();
    let details = [Detail::Line, Detail::Layers, Detail::Fields, Detail::Json];
    let mut shows =
        details.map(|d| Show::new(d, "2,9".parse().ok(), TimeStyle::Delta, Hosts::default()));
    let mut text = String::new();
    for (n, p) in packets.iter().enumerate() {
        let layers = decoder.decode(p);
        assert!(layers.len() <= 66, "{}", layers.len());
        let _ = filter.is_true(p, &layers);
        flows.add(&layers, p.length);
        let seen = Seen { number: n as u64, source: Some("x"), packet: p, layers: &layers };
        text.extend(shows.iter_mut().map(|s| s.packet(&seen)));
    }
    text + &flows.table(&Hosts::default()) + &flows.json(&Hosts::default())
}

fn all() -> Vec<Packet> {
    let ethernet = frames::all().into_iter().flat_map(|(_, packets)| packets);
    let ethernet = ethernet.chain(svp::conversation()).map(|b| (LinkType::Ethernet, b));
    let ipnet = frames::of_ipnet().into_iter().map(|b| (LinkType::Ipnet, b));
    ethernet.chain(ipnet).map(|(link, bytes)| packet(link, 0, bytes)).collect()
}

#[test]
fn every_packet_cut_at_every_place_is_shown() {
    for p in all() {
        for end in 0..p.bytes.len() {
            let captured = Packet { bytes: p.bytes[..end].to_vec(), ..p.clone() };
            let short = Packet { length: end, ..captured.clone() };
            show(&[captured, short]);
        }
    }
}

#[test]
fn control_characters_of_a_packet_do_not_reach_the_terminal() {
    let name = b"\x1b[31mred\n\x07";
    let option = [&[53, 1, 3, 12, name.len() as u8][..], name].concat();
    let bytes = frames::broadcast(
        0x800,
        &frames::udp("0.0.0.0", "255.255.255.255", [68, 67], &frames::dhcp(1, &option)),
    );
    let shown = show(&[packet(LinkType::Ethernet, 0, bytes)]);
    assert!(shown.contains("\\x1b[31mred\\x0a\\x07"), "{shown}");
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn changed_packets_are_shown(changes in proptest::collection::vec((any::<usize>(), any::<usize>(), any::<u8>()), 1..60)) {
        let mut packets = all();
        for (which, place, value) in changes {
            let n = which % packets.len();
            let len = packets[n].bytes.len();
            packets[n].bytes[place % len] = value;
        }
        show(&packets);
    }

    #[test]
    fn random_packets_are_shown(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let links = [LinkType::Ethernet, LinkType::Ipnet, LinkType::Raw];
        show(&links.map(|link| packet(link, 0, bytes.clone())));
    }
}
