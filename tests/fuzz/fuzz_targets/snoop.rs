// SPDX-License-Identifier: CDDL-1.0
//! A capture file as snoop reads it, of any of its formats, and whatever packets it holds: `[file]`.
//!
//! The file gives packets up to an error; each is decoded, filtered, and shown in every way. What is written of it in snoop's
//! format or as pcapng is read again as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snoop::decode::Decoder;
use snoop::file::{Interface, Reader, Writer};
use snoop::filter::{Filter, Names};
use snoop::flows::Flows;
use snoop::names::Hosts;
use snoop::packet::{LinkType, Packet};
use snoop::show::{Detail, Seen, Show, TimeStyle};
use std::net::IpAddr;
use std::path::Path;
use std::sync::LazyLock;

/// Every kind of test.
static FILTER: LazyLock<Filter> = LazyLock::new(|| {
    let text = "not (arp or rarp) or host ::1, from net 10.0.0.0/8 ether 1:2:3:4:5:6 to port 7 zone 1 \
        ethertype 5 vlan-id 3 vnet 3 broadcast multicast nofrag greater 5 icmp6, \
        ip[ip[0] & 0xf * 4 : 2] / (length - 60) != ether[udp[4:2]], vxlan[icmp[0]] % tcp[12] > -1";
    Filter::parse(text, &Nobody).unwrap()
});

struct Nobody;

impl Names for Nobody {
    fn host(&self, _: &str) -> Vec<IpAddr> {
        Vec::new()
    }

    fn service(&self, _: &str) -> Option<u16> {
        None
    }
}

fuzz_target!(|file: &[u8]| {
    let packets = read(file);
    let mut decoder = Decoder::default();
    let mut flows = Flows::default();
    let details = [Detail::Line, Detail::Layers, Detail::Fields, Detail::Json];
    let mut shows = details.map(|d| Show::new(d, None, TimeStyle::Relative, Hosts::default()));
    for (n, packet) in packets.iter().enumerate() {
        let layers = decoder.decode(packet);
        let _ = FILTER.is_true(packet, &layers);
        flows.add(&layers, packet.length);
        let seen = Seen { number: n as u64, source: None, packet, layers: &layers };
        for show in &mut shows {
            let text = show.packet(&seen);
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        }
    }
    let _ = flows.table(&Hosts::default());
    for name in ["x.pcapng", "x.snoop"] {
        again(name, &packets);
    }
});

fn read(file: &[u8]) -> Vec<Packet> {
    let mut reader = Reader::new(file);
    std::iter::from_fn(|| reader.packet().ok().flatten()).collect()
}

fn again(name: &str, packets: &[Packet]) {
    let snoop = name.ends_with("snoop");
    let link = packets.first().map(|p| p.link);
    if snoop && (link == Some(LinkType::Raw) || packets.iter().any(|p| Some(p.link) != link)) {
        return;
    }
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, Path::new(name), 0);
    for p in packets {
        writer.packet(&Interface { name: "x".into(), link: p.link }, p, 0).unwrap();
    }
    writer.end(&[]).unwrap();
    let read = read(&file);
    assert_eq!(read.len(), packets.len());
    for (a, b) in read.iter().zip(packets) {
        assert_eq!((a.link, &a.bytes, a.length), (b.link, &b.bytes, b.length));
    }
}
