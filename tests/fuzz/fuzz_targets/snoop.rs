// SPDX-License-Identifier: CDDL-1.0
//! A capture file as snoop reads it, of any of its formats, and whatever packets it holds: `[file]`.
//!
//! The file gives packets up to an error; each is decoded, and shown in every way. What is written of it in snoop's
//! format or as pcapng is read again as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snoop::decode::Decoder;
use snoop::file::{Interface, Reader, Writer};
use snoop::flows::Flows;
use snoop::names::Hosts;
use snoop::packet::{LinkType, Packet};
use snoop::show::{Detail, Seen, Show, TimeStyle};
use std::path::Path;

fuzz_target!(|file: &[u8]| {
    let packets = read(file);
    let mut decoder = Decoder::default();
    let mut flows = Flows::default();
    let details = [Detail::Line, Detail::Layers, Detail::Fields, Detail::Json];
    let mut shows = details.map(|d| Show::new(d, None, TimeStyle::Relative, Hosts::default()));
    for (n, packet) in packets.iter().enumerate() {
        let layers = decoder.decode(packet);
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
