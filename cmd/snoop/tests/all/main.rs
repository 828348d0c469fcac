// SPDX-License-Identifier: CDDL-1.0
//! snoop over packets made here, by its library and as a program.

mod cli;
mod files;
mod filters;
mod fragments;
mod frames;
mod hostile;
mod machine;
mod shown;
mod svp;
mod tshark;

use snoop::decode::{Decoder, Layer};
use snoop::file::{Interface, Writer};
use snoop::packet::{LinkType, Packet};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// A packet captured `n` milliseconds after the 14th of November 2023, 22:13:20 UTC.
fn packet(link: LinkType, n: usize, bytes: Vec<u8>) -> Packet {
    let time = Duration::from_millis(1_700_000_000_000 + n as u64);
    let length = bytes.len();
    Packet { time, link, bytes, length }
}

/// Packets of a link.
fn capture(link: LinkType, packets: impl IntoIterator<Item = Vec<u8>>) -> Vec<Packet> {
    packets.into_iter().enumerate().map(|(n, bytes)| packet(link, n, bytes)).collect()
}

/// Writes packets to a file of the format its name calls for.
fn write(path: &Path, packets: &[Packet]) {
    let to = std::fs::File::create(path).unwrap();
    let mut writer = Writer::new(to, path, 0);
    for p in packets {
        writer.packet(&Interface { name: "test0".into(), link: p.link }, p, 0).unwrap();
    }
    writer.end(&[]).unwrap();
}

/// The layers' lines of each packet.
fn lines(packets: &[Packet]) -> Vec<Vec<String>> {
    let mut decoder = Decoder::default();
    let line = |l: &Layer<'_>| format!("{} {}", l.name(), l.summary());
    packets.iter().map(|p| decoder.decode(p).iter().map(line).collect()).collect()
}

/// Waits until something is so.
fn wait(what: &str, is: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the program on this machine's own, in a fixed time zone.
fn snoop<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snoop"));
    command.env("TZ", "UTC").env_remove("OVERLAY_ROOT").args(args).output().expect("snoop runs")
}

/// What it prints, when it has nothing to complain of.
fn printed<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let out = snoop(args);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && stderr.is_empty(), "{stderr}");
    String::from_utf8(out.stdout).unwrap()
}
