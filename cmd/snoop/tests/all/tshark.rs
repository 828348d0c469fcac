// SPDX-License-Identifier: CDDL-1.0
//! Another's opinion: tshark reads what we write, we read what it writes.

use crate::{capture, files, fragments, frames, printed, svp, write};
use snoop::packet::{LinkType, Packet};
use std::path::Path;
use std::process::Command;

/// `None` after counting the test as skipped: there is no tshark.
fn tshark(args: &[&str]) -> Option<String> {
    let out = match Command::new("tshark").args(args).output() {
        Ok(out) => out,
        Err(e) => {
            test_skip::skip(format!("tshark does not run: {e}"));
            return None;
        }
    };
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    Some(String::from_utf8(out.stdout).unwrap())
}

/// Malformed mark and protocols of each packet.
pub fn judged(file: &Path) -> Option<Vec<(bool, String)>> {
    let fields = ["-T", "fields", "-e", "_ws.malformed", "-e", "frame.protocols"];
    let text = tshark(&[&["-r", file.to_str().unwrap()], &fields[..]].concat())?;
    let line = |l: &str| {
        let (malformed, protocols) = l.split_once('\t').unwrap();
        (!malformed.is_empty(), protocols.to_owned())
    };
    Some(text.lines().map(line).collect())
}

fn captures() -> Vec<(&'static str, Vec<Packet>)> {
    let ethernet: Vec<_> = frames::all()
        .into_iter()
        .flat_map(|(_, packets)| packets)
        .chain(svp::conversation())
        .collect();
    // Frames of IP without their Ethernet header.
    let of_ip = |frame: &Vec<u8>| [[8, 0], [0x86, 0xdd]].contains(&[frame[12], frame[13]]);
    let raw = ethernet.iter().filter(|f| of_ip(f)).map(|f| f[14..].to_vec());
    let fragments = fragments::cut(&frames::wrapped_ping(), 24);
    vec![
        ("raw", capture(LinkType::Raw, raw)),
        ("fragments", capture(LinkType::Raw, fragments)),
        ("svp1", capture(LinkType::Ethernet, svp::conversation_of_version_1())),
        ("ipnet", capture(LinkType::Ipnet, frames::of_ipnet())),
        ("ethernet", capture(LinkType::Ethernet, ethernet)),
        ("underlay", capture(LinkType::Raw, [frames::wrapped_ping()])),
    ]
}

#[test]
fn tshark_reads_our_files_and_finds_nothing_malformed() {
    let dir = tempfile::tempdir().unwrap();
    for (name, packets) in captures() {
        for ending in ["snoop", "pcapng"] {
            if packets[0].link == LinkType::Raw && ending == "snoop" {
                continue; // The format has no such link type.
            }
            let file = dir.path().join(format!("{name}.{ending}"));
            write(&file, &packets);
            let Some(judged) = judged(&file) else { return };
            assert_eq!(judged.len(), packets.len(), "{file:?}");
            let bad: Vec<_> = judged.iter().enumerate().filter(|(_, (bad, _))| *bad).collect();
            assert!(bad.is_empty(), "{file:?}: {bad:?}");
            let shown = printed(["-i".as_ref(), file.as_os_str()]);
            assert_eq!(shown.lines().count(), judged.len(), "{file:?}");
        }
    }
}

#[test]
fn tshark_sees_the_layers_that_we_see() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.pcapng");
    write(&file, &capture(LinkType::Ipnet, frames::of_ipnet()));
    let Some(judged) = judged(&file) else { return };
    let protocols: Vec<&str> = judged.iter().map(|(_, p)| p.as_str()).collect();
    let wrapped = "ipnet:ip:udp:vxlan:eth:ethertype:ip:icmp:data";
    assert_eq!(protocols, ["ipnet:ip:icmp:data", wrapped, "ipnet:ipv6:udp:data"]);
    let fields = ["ipnet.htype", "ipnet.zsrc", "ipnet.zdst", "vxlan.vni"];
    let fields = fields.iter().flat_map(|f| ["-e", f]);
    let args = ["-r", file.to_str().unwrap(), "-T", "fields"].into_iter().chain(fields);
    let text = tshark(&args.collect::<Vec<_>>()).unwrap();
    assert_eq!(text, "0\t4294967295\t0\t\n1\t0\t4294967295\t4242\n2\t5\t5\t\n");
}

#[test]
fn a_packet_of_ipnet_that_is_cut_is_found_by_tshark() {
    let dir = tempfile::tempdir().unwrap();
    let [whole, cut] = ["whole.snoop", "cut.snoop"].map(|n| dir.path().join(n));
    write(&whole, &capture(LinkType::Ipnet, frames::of_ipnet()));
    let args = [
        "-s".as_ref(),
        "60".as_ref(),
        "-i".as_ref(),
        whole.as_os_str(),
        "-o".as_ref(),
        cut.as_os_str(),
    ];
    printed(args);
    let fields = ["-T", "fields", "-e", "ip.src"];
    let Some(text) = tshark(&[&["-r", cut.to_str().unwrap()], &fields[..]].concat()) else {
        return;
    };
    assert_eq!(text, "192.0.2.1\n192.0.2.10\n\n");
}

#[test]
fn we_read_what_tshark_and_tcpdump_write() {
    let dir = tempfile::tempdir().unwrap();
    let name = |ending: &str| dir.path().join(format!("x.{ending}")).to_str().unwrap().to_owned();
    for (kind, packets) in captures() {
        let ours = name("pcapng");
        write(Path::new(&ours), &packets);
        let expected = printed(["-j", "-i", &ours]);
        for format in ["pcap", "nsecpcap", "pcapng", "snoop"] {
            if format == "snoop" && packets[0].link != LinkType::Ethernet {
                continue; // It writes no other link type in this format.
            }
            let theirs = name(format) + ".theirs";
            let written = tshark(&["-r", &ours, "-w", &theirs, "-F", format]);
            if written.is_none() {
                return;
            }
            assert_eq!(printed(["-j", "-i", &theirs]), expected, "{kind} {format}");
        }
        let theirs = name("tcpdump");
        let written = Command::new("tcpdump").args(["-r", &ours, "-w", &theirs]).output();
        match written {
            Ok(out) if out.status.success() => {
                assert_eq!(printed(["-j", "-i", &theirs]), expected, "{kind}");
            }
            out => {
                test_skip::skip(format!("tcpdump does not copy: {out:?}"));
                return;
            }
        }
    }
}

#[test]
fn the_vectors_have_as_many_packets_for_tshark() {
    for entry in std::fs::read_dir(files::vectors()).expect("the project's vectors") {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "pcap" || e == "snoop") {
            let Some(judged) = judged(&path) else { return };
            let shown = printed(["-i".as_ref(), path.as_os_str()]);
            assert_eq!(shown.lines().count(), judged.len(), "{path:?}");
        }
    }
}
