// SPDX-License-Identifier: CDDL-1.0
//! The program: its options, what it says when something is wrong, who reads it.

use crate::{capture, frames, printed, snoop, write};
use snoop::packet::LinkType;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};

fn pings(dir: &tempfile::TempDir, count: usize) -> PathBuf {
    let path = dir.path().join("pings.snoop");
    let ping = frames::ether(0x800, &frames::wrapped_ping());
    write(&path, &capture(LinkType::Ethernet, vec![ping; count]));
    path
}

fn complaint(args: &[&str]) -> String {
    let out = snoop(args);
    assert!(!out.status.success() && out.stdout.is_empty(), "{args:?}");
    String::from_utf8(out.stderr).unwrap()
}

#[test]
fn mistakes_are_told() {
    assert!(complaint(&[]).contains("name a link (-d), an IP interface (-I) or a file (-i)"));
    let e = complaint(&["-i", "/no/such/file"]);
    assert!(e.starts_with("snoop: /no/such/file: No such file"), "{e}");
    let e = complaint(&["-i", "-", "port", "70000"]);
    assert_eq!(e, "snoop: filter: a port or the name of a service expected at \"70000\"\n");
    let e = complaint(&["-x", "a", "-i", "-"]);
    assert!(e.contains("an offset, or offset,length"), "{e}");
    assert!(complaint(&["-v", "-V", "-i", "-"]).contains("cannot be used with"));
    let e = complaint(&["-i", "Cargo.toml"]);
    assert_eq!(e, "snoop: Cargo.toml: this is no snoop, pcap or pcapng file\n");
}

#[test]
fn a_root_without_a_kernel_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let e = complaint(&["-R", dir.path().to_str().unwrap(), "-d", "vnic0"]);
    assert!(e.starts_with("snoop: vnic0: no fakekerneld is running under"), "{e}");
}

#[test]
fn lines_have_number_time_ends_and_what_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = pings(&dir, 2);
    let line = |args: &[&str]| {
        let args = args.iter().map(|a| a.as_ref()).chain(["-i".as_ref(), file.as_os_str()]);
        printed(args).lines().last().unwrap().to_owned()
    };
    let said = "192.0.2.10 -> 192.0.2.20 VXLAN vnet 4242 | 10.77.0.10 -> 10.77.0.11 ICMP Echo request \
        (ID: 66 Sequence number: 1)";
    assert_eq!(line(&["-r"]), format!("  2   0.001000 {said}"));
    assert_eq!(line(&["-r", "-ta"]), format!("  2 22:13:20.001000 {said}"));
    assert_eq!(line(&["-rc1"]), format!("  1   0.000000 {said}"));
}

#[test]
fn names_are_those_of_the_hosts_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.snoop");
    let ping = frames::udp("127.0.0.1", "192.0.2.20", [9, 9], b"");
    write(&path, &capture(LinkType::Ethernet, [frames::ether(0x800, &ping)]));
    let line = |option: &str| printed([option.as_ref(), "-i".as_ref(), path.as_os_str()]);
    assert!(line("-r").contains(" 127.0.0.1 -> "));
    let names = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    if names.lines().any(|l| l.split_whitespace().take(2).eq(["127.0.0.1", "localhost"])) {
        assert!(line("-V").contains(" localhost -> "));
    } else {
        test_skip::skip("the hosts file has no localhost");
    }
}

#[test]
fn several_files_are_shown_with_their_names_and_joined_into_flows() {
    let dir = tempfile::tempdir().unwrap();
    let outer = pings(&dir, 3);
    let inner = dir.path().join("inner.snoop");
    let ping = frames::icmp(8, 0, &[0, 66, 0, 1, b'h', b'i']);
    let bare = frames::ether(0x800, &frames::ip4("10.77.0.10", "10.77.0.11", 1, &ping));
    let arp = frames::broadcast(
        0x806,
        &frames::arp(1, [10, 77, 0, 1].into(), [0; 6], [10, 77, 0, 2].into()),
    );
    write(&inner, &capture(LinkType::Ethernet, [bare.clone(), bare, arp]));
    let files = ["-i".as_ref(), outer.as_os_str(), "-i".as_ref(), inner.as_os_str(), "-r".as_ref()];
    let shown = printed(files);
    assert_eq!(shown.matches("pings.snoop 192.0.2.10 -> 192.0.2.20 VXLAN").count(), 3, "{shown}");
    assert_eq!(shown.matches("inner.snoop 10.77.0.10 -> 10.77.0.11 ICMP").count(), 2, "{shown}");
    let table = printed(files.into_iter().chain(["-F".as_ref()]));
    let words: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    let row = "4242 ICMP 10.77.0.10 -> 10.77.0.11 192.0.2.10 -> 192.0.2.20 2 3 282";
    assert_eq!(words.join(" "), row);
    assert!(table.ends_with("1 packets of no flow of IP, or of one too many\n"), "{table}");
    let json = printed(files.into_iter().chain(["-Fj".as_ref()]));
    let row: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&row["vnet"], &row["bare_packets"]), (&4242.into(), &2.into()));
}

#[test]
fn who_stops_reading_ends_it_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let file = pings(&dir, 50_000);
    let mut child = Command::new(env!("CARGO_BIN_EXE_snoop"))
        .args(["-V".as_ref(), "-i".as_ref(), file.as_os_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
}

#[test]
fn json_has_every_packet() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.pcapng");
    let packets: Vec<_> = frames::all().into_iter().flat_map(|(_, packets)| packets).collect();
    let count = packets.len();
    write(&path, &capture(LinkType::Ethernet, packets));
    let shown =
        printed(["-j".as_ref(), "-x".as_ref(), "0,2".as_ref(), "-i".as_ref(), path.as_os_str()]);
    let values = shown.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let values: Vec<_> = values.collect();
    assert_eq!(values.len(), count);
    for v in values {
        assert_eq!(v["layers"][0]["protocol"], "ETHER", "{v}");
        assert_eq!(v["bytes"].as_str().unwrap().len(), 4);
    }
}

#[test]
fn as_many_packets_as_were_asked_for_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (pings(&dir, 9), dir.path().join("out.pcapng"));
    let [from, to] = [&from, &to].map(|p| p.to_str().unwrap());
    assert_eq!(printed(["-c", "4", "-i", from, "-o", to, "udp"]), "");
    assert_eq!(printed(["-i", to]).lines().count(), 4);
    assert_eq!(printed(["-c", "0", "-i", from, "-o", to]), "");
    assert_eq!(printed(["-i", to]), "");
}

#[test]
fn a_file_is_not_written_over_itself() {
    let dir = tempfile::tempdir().unwrap();
    let file = pings(&dir, 9);
    let before = std::fs::read(&file).unwrap();
    let path = file.to_str().unwrap();
    let e = complaint(&["-i", path, "-o", &format!("{}/./pings.snoop", dir.path().display())]);
    assert!(e.ends_with("packets are read from this file; name another with -o\n"), "{e}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn a_full_disk_and_a_limit_of_size_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = pings(&dir, 1000);
    let path = file.to_str().unwrap();
    let e = complaint(&["-i", path, "-o", "/dev/full"]);
    assert!(e.starts_with("snoop: /dev/full: No space left on device"), "{e}");
    let out = dir.path().join("small.snoop");
    let out = out.to_str().unwrap();
    let limited = "ulimit -f 32; exec \"$@\"";
    let args = ["-c", limited, "sh", env!("CARGO_BIN_EXE_snoop"), "-i", path, "-o", out];
    let run = Command::new("sh").args(args).output().unwrap();
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    let e = String::from_utf8(run.stderr).unwrap();
    assert!(e.starts_with(&format!("snoop: {out}: File too large")), "{e}");
    assert!(e.ends_with("; the packets before are in it\n"), "{e}");
    let shown = snoop(["-i", out]);
    assert!(shown.stdout.iter().filter(|b| **b == b'\n').count() > 50);
    assert!(shown.stderr.ends_with(b": it ends in the middle of a packet\n"), "{shown:?}");
}
