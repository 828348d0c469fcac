// SPDX-License-Identifier: CDDL-1.0
//! What is shown of each protocol, compared with the texts in tests/shown. With SNOOP_SHOWN=write
//! they are written anew, to be read before they are committed.

use crate::{capture, frames, printed, write};
use snoop::packet::{LinkType, Packet};
use std::path::Path;

/// The packets in lines, layers, fields and JSON.
fn all(packets: &[Packet]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("packets.pcapng");
    write(&file, packets);
    let shown = |option: &str| {
        let args = [option, "-r", "-tr", "-i"].map(str::to_owned);
        let args = args.into_iter().filter(|a| !a.is_empty());
        printed(args.chain([file.to_str().unwrap().to_owned()]))
    };
    ["", "-V", "-v", "-j"].map(shown).join("\n")
}

fn compare(name: &str, link: LinkType, packets: Vec<Vec<u8>>) {
    let got = all(&capture(link, packets));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shown").join(name);
    if std::env::var_os("SNOOP_SHOWN").is_some_and(|v| v == "write") {
        std::fs::write(&path, &got).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (n, (got, expected)) in got.lines().zip(expected.lines()).enumerate() {
        assert_eq!(got, expected, "{name}, line {}", n + 1);
    }
    assert_eq!(got.lines().count(), expected.lines().count(), "{name}: lines");
}

fn compare_frames(name: &str) {
    let (_, packets) = frames::all().into_iter().find(|(n, _)| *n == name).unwrap();
    compare(name, LinkType::Ethernet, packets);
}

macro_rules! shown {
    ($($test:ident $name:literal)*) => {$(
        #[test]
        fn $test() {
            compare_frames($name);
        }
    )*};
}
shown! {
    arp_is_shown "arp"
    tags_are_shown "vlan"
    ipv4_and_its_fragments_are_shown "ipv4"
    ipv6_and_its_headers_are_shown "ipv6"
    icmp_is_shown "icmp"
    neighbour_discovery_is_shown "ndp"
    tcp_is_shown "tcp"
    udp_is_shown "udp"
    dhcp_is_shown "dhcp"
    vxlan_is_shown_with_the_frame_in_it "vxlan"
}

#[test]
fn the_header_of_ipnet_is_shown() {
    compare("ipnet", LinkType::Ipnet, frames::of_ipnet());
}

#[test]
fn svp_is_shown() {
    compare("svp", LinkType::Ethernet, crate::svp::conversation());
}

#[test]
fn what_is_malformed_is_shown_as_that() {
    let mut bad = vec![vec![1, 2, 3], frames::ether(0x800, &[0x46, 0, 0, 1])];
    bad.push(frames::ether(0x800, &[&[0x44][..], &[0; 40]].concat()));
    bad.push(frames::ether(0x86dd, &[0x50; 40]));
    bad.push(frames::ether(0x806, &[0, 6, 8, 0, 6, 4]));
    bad.push(frames::ether(0x800, &frames::ip4("10.0.0.1", "10.0.0.2", 6, &[0; 20])));
    bad.push(frames::ether(0x800, &frames::udp("10.0.0.1", "10.0.0.2", [9, 4789], &[0; 8])));
    // Tags in tags in tags.
    bad.push(frames::ether(0x8100, &[0x81, 0].repeat(200)));
    compare("malformed", LinkType::Ethernet, bad);
}
