// SPDX-License-Identifier: CDDL-1.0
//! Which packets filters let through.

use crate::{frames, packet};
use snoop::decode::Decoder;
use snoop::filter::{Filter, Names};
use snoop::packet::LinkType;
use std::net::IpAddr;

struct Nobody;

impl Names for Nobody {
    fn host(&self, _: &str) -> Vec<IpAddr> {
        Vec::new()
    }

    fn service(&self, _: &str) -> Option<u16> {
        None
    }
}

/// Whether a filter lets a packet through.
fn takes(filter: &str, link: LinkType, bytes: &[u8]) -> bool {
    let packet = packet(link, 0, bytes.to_vec());
    let filter = Filter::parse(filter, &Nobody).unwrap();
    filter.is_true(&packet, &Decoder::default().decode(&packet))
}

/// Filters that let a packet through, and ones that do not.
fn check(link: LinkType, bytes: &[u8], yes: &[&str], no: &[&str]) {
    yes.iter().for_each(|f| assert!(takes(f, link, bytes), "{f}"));
    no.iter().for_each(|f| assert!(!takes(f, link, bytes), "not {f}"));
}

#[test]
fn fields_are_those_of_the_headers() {
    let frame = frames::ether(0x800, &frames::udp("10.0.0.1", "10.0.0.2", [53, 2049], b"1234"));
    check(
        LinkType::Ethernet,
        &frame,
        &[
            "ether[0] & 1 = 0",
            "ether[6:4] = 0x02082000",
            "ether[12:2] = 0x800",
            "ip[2:2] = 32",
            "ip[12:4] = 0x0a000001 and ip[16:4] != ip[12:4]",
            // The destination port, in two ways.
            "ip[ip[0] & 0xf * 4 + 2:2] = 2049",
            "udp[2:2] = 2049",
            "udp[4:2] - 8 = 4",
            "ether[length-1] = 0x34",
            "length = 46 and greater 45 and less 47",
            "length - 47 = -1",
        ],
        &[
            "ip[2:2] > 32",
            "ip6[0] >= 0",
            "tcp[0:2] = 53",
            "icmp[0] != 8",
            // Behind the end.
            "udp[12] >= 0",
            "udp[9:4] >= 0",
            "udp[-1] >= 0",
            "1 / udp[8] - 1 / (udp[8] - 0x31) >= 0",
        ],
    );
}

#[test]
fn a_comparison_is_about_one_frame() {
    let packet = frames::wrapped_ping();
    check(
        LinkType::Raw,
        &packet,
        &[
            "vnet 4242",
            "vxlan[4:4] = 4242 * 256",
            // The frame outside, and the one inside.
            "ip[9] = 17",
            "ip[9] = 1",
            "ip[9] = 17 and ip[9] = 1",
            "icmp[0] = 8 and ip[16:4] = 0x0a4d000b",
            "ether[12:2] = 0x800",
        ],
        &[
            "vnet 4243",
            // No frame has both.
            "udp[2:2] - 4789 = icmp[0] - 8",
            "ip[9] + ip[9] = 18",
        ],
    );
}

#[test]
fn tagged_frames_and_those_of_ipnet_have_their_fields_too() {
    let ping = frames::icmp(8, 0, &[0, 66, 0, 1]);
    let ip = frames::ip4("10.0.0.1", "10.0.0.2", 1, &ping);
    let tagged = frames::ether(0x8100, &frames::tag(0, 7, 0x800, &ip));
    check(LinkType::Ethernet, &tagged, &["ip[0] = 0x45", "icmp[0] = 8", "ether[14:2] = 7"], &[]);
    let observed = frames::ipnet(2, 0, [u32::MAX, 3], &ip);
    let yes = ["ip[0] = 0x45", "to zone 3", "zone 3", "length = 24 + 20 + 8"];
    check(LinkType::Ipnet, &observed, &yes, &["ether[0] >= 0", "from zone 3"]);
}
