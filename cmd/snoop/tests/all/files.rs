// SPDX-License-Identifier: CDDL-1.0
//! Capture files, read and written.

use crate::{capture, frames, lines, packet, printed, snoop, write};
use snoop::file::{Error, Interface, Reader, Writer};
use snoop::packet::{LinkType, Packet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Captures made for this project, not by it.
pub fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/ipnet")
}

/// Gives one byte at a time, as a slow connection does.
struct Slow<R>(R);

impl<R: Read> Read for Slow<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = to.len().min(1);
        self.0.read(&mut to[..most])
    }
}

fn read(from: impl Read) -> Result<Vec<Packet>, Error> {
    let mut reader = Reader::new(from);
    std::iter::from_fn(|| reader.packet().transpose()).collect()
}

fn written(name: &str, packets: &[Packet]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    write(&path, packets);
    std::fs::read(path).unwrap()
}

#[test]
fn what_is_written_is_read_again() {
    let ethernet = frames::all().into_iter().flat_map(|(_, packets)| packets);
    let mut cut = packet(LinkType::Ipnet, 7, frames::of_ipnet().remove(1));
    cut.truncate(61);
    for packets in [
        capture(LinkType::Ethernet, ethernet),
        capture(LinkType::Ipnet, frames::of_ipnet()),
        vec![cut],
        capture(LinkType::Ethernet, [vec![], vec![1], vec![1, 2], vec![1, 2, 3]]),
    ] {
        for name in ["x.snoop", "x.pcapng"] {
            let bytes = written(name, &packets);
            assert_eq!(read(&bytes[..]).unwrap(), packets, "{name}");
            assert_eq!(read(Slow(&bytes[..])).unwrap(), packets, "{name}");
        }
    }
}

#[test]
fn a_file_cut_anywhere_gives_the_packets_before() {
    let packets = capture(LinkType::Ipnet, frames::of_ipnet());
    for name in ["x.snoop", "x.pcapng"] {
        let bytes = written(name, &packets);
        let mut whole = 0;
        for end in 4..bytes.len() {
            let mut reader = Reader::new(&bytes[..end]);
            let read: Vec<Packet> = std::iter::from_fn(|| reader.packet().ok().flatten()).collect();
            assert_eq!(packets[..read.len()], read, "{name} {end}");
            whole = whole.max(read.len());
            let last = reader.packet();
            assert!(matches!(last, Ok(None) | Err(Error::Cut | Error::Unknown)), "{last:?}");
        }
        assert_eq!(whole, packets.len() - 1);
    }
}

#[test]
fn files_of_several_link_types_are_pcapng() {
    let mut packets = capture(LinkType::Ipnet, frames::of_ipnet());
    packets.push(packet(LinkType::Raw, 9, frames::wrapped_ping()));
    assert_eq!(read(&written("x.pcapng", &packets)[..]).unwrap(), packets);
    let to = |p: &Packet| Interface { name: "x".into(), link: p.link };
    let mut writer = Writer::new(Vec::new(), Path::new("x.snoop"), 0);
    writer.packet(&to(&packets[0]), &packets[0], 0).unwrap();
    let e = writer.packet(&to(&packets[3]), &packets[3], 0).unwrap_err().to_string();
    assert!(e.contains("several link types") && e.contains(".pcapng"), "{e}");
    let mut writer = Writer::new(Vec::new(), Path::new("x.snoop"), 0);
    assert!(writer.packet(&to(&packets[3]), &packets[3], 0).is_err());
}

#[test]
fn vectors_of_every_byte_order_and_format_are_read() {
    let packets = |name: &str| {
        let file = std::fs::File::open(vectors().join(name)).expect("the project's vectors");
        read(file).unwrap()
    };
    let snoop = packets("ipnet.snoop");
    assert_eq!(snoop.len(), 3);
    assert_eq!(packets("ipnet_le.pcap"), snoop);
    assert_eq!(packets("ipnet_be.pcap"), snoop);
    let shown = lines(&snoop);
    assert_eq!(shown[0][0], "IPNET in interface 3 zone - to 0");
    assert_eq!(shown[2][0], "IPNET local interface 1 group 7 zone 5 to 5");
    assert_eq!(shown[2][2], "UDP D=4243 S=4242 LEN=13");
    assert_eq!(lines(&packets("ipnet_underlay_vxlan.pcap"))[0].len(), 7);
    // Version 2 is read as version 1; Linux' number of IPv6 is not illumos'.
    let odd = lines(&packets("ipnet_odd.pcap"));
    assert_eq!(odd[0][2], "ICMP Echo request (ID: 66 Sequence number: 1)");
    assert_eq!(odd[1][1], "DATA 36 bytes");
    assert_eq!(odd[3][0], "IPNET (malformed: the packet is too short)");
    let cut = lines(&packets("ipnet_trunc.pcap"));
    assert_eq!(cut[2][2], "ICMP (not captured)");
}

#[test]
fn what_is_no_capture_is_refused_with_the_reason() {
    let told = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert_eq!(told(b""), "this is no snoop, pcap or pcapng file");
    assert_eq!(told(b"hello, this is a text"), "this is no snoop, pcap or pcapng file");
    let snoop = |version: u32, link: u32| {
        [&b"snoop\0\0\0"[..], &version.to_be_bytes(), &link.to_be_bytes()].concat()
    };
    assert_eq!(told(&snoop(3, 4)), "a snoop file of version 3; only version 2 is known");
    let link = "its packets are of link type 8; Ethernet, IP and IPNET are known";
    assert_eq!(told(&snoop(2, 8)), link);
    let record = [60u32, 60, 30, 0, 0, 0].map(u32::to_be_bytes).concat();
    let e = told(&[snoop(2, 4), record].concat());
    assert_eq!(e, "it is damaged: a packet of 60 bytes in a record of 30");
    // A record that takes no bytes would never end.
    let record = [60u32, 0, 0, 0, 0, 0].map(u32::to_be_bytes).concat();
    let e = told(&[snoop(2, 4), record].concat());
    assert_eq!(e, "it is damaged: a packet of 0 bytes in a record of 0");
    let giant = [6u32, 0xffff_fff0, 0].map(u32::to_le_bytes).concat();
    let mut pcapng = written("x.pcapng", &capture(LinkType::Ipnet, frames::of_ipnet()));
    pcapng.extend(giant);
    assert!(told(&pcapng).starts_with("it is damaged: a block of more than"));
}

#[test]
fn a_capture_without_packets_is_a_file_too() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from.pcapng");
    write(&from, &capture(LinkType::Ethernet, [vec![0; 60]]));
    for name in ["to.snoop", "to.pcapng"] {
        let to = dir.path().join(name);
        let args =
            ["-i".as_ref(), from.as_os_str(), "-o".as_ref(), to.as_os_str(), "icmp".as_ref()];
        assert_eq!(printed(args), "");
        assert_eq!(read(std::fs::File::open(&to).unwrap()).unwrap(), [], "{name}");
        assert_eq!(printed(["-i".as_ref(), to.as_os_str()]), "");
    }
}

#[test]
fn packets_go_from_file_to_file_cut_and_filtered() {
    let dir = tempfile::tempdir().unwrap();
    let [from, to] = ["from.snoop", "to.pcapng"].map(|n| dir.path().join(n));
    write(&from, &capture(LinkType::Ipnet, frames::of_ipnet()));
    let run = |args: &[&str]| {
        let files = ["-i".as_ref(), from.as_os_str(), "-o".as_ref(), to.as_os_str()];
        let out = snoop(files.into_iter().chain(args.iter().map(|a| a.as_ref())));
        assert!(out.status.success() && out.stderr.is_empty());
        read(std::fs::File::open(&to).unwrap()).unwrap()
    };
    assert_eq!(run(&[]).len(), 3);
    assert_eq!(run(&["-c", "2"]).len(), 2);
    assert_eq!(run(&["vnet", "4242"]).len(), 1);
    assert_eq!(run(&["zone", "5", "or", "to", "zone", "0"]).len(), 2);
    let cut = run(&["-s", "50"]);
    assert!(cut.iter().all(|p| p.bytes.len() == 50 && p.bytes[7] == 26), "{cut:?}");
    assert_eq!(cut[0].length, 24 + 30);
}
