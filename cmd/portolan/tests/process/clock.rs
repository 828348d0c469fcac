// SPDX-License-Identifier: CDDL-1.0
//! A wall clock that jumps, by libfaketime.

use crate::common::Portolan;
use serde_json::Value;
use std::path::Path;

const A: &str = "11111111-1111-4111-8111-111111111111";
const B: &str = "22222222-2222-4222-8222-222222222222";

/// Debian's places of the library.
fn library() -> Option<&'static Path> {
    let there = ["x86_64", "aarch64"].iter().find_map(|cpu| {
        let file = format!("/usr/lib/{cpu}-linux-gnu/faketime/libfaketimeMT.so.1");
        Path::new(&file).exists().then_some(file)
    });
    if there.is_none() {
        test_skip::skip("no libfaketime (Debian: libfaketime)");
    }
    there.map(|file| Path::new(Box::leak(file.into_boxed_str())))
}

/// What is the last and what comes first in a log goes by revisions, limits by a clock that does not jump.
#[test]
fn a_clock_that_jumps_changes_no_answer_and_ends_no_connection() {
    use std::io::{Read, Write};
    let Some(library) = library() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (store, clock) = (dir.path().join("portolan.redb"), dir.path().join("clock"));
    let hour = 3600i64;
    std::fs::write(&clock, "+0\n").unwrap();
    let portolan = Portolan::start_with_clock(&store, library, &clock);
    portolan.ok(&["host", "set", A, "192.0.2.1"]);
    portolan.ok(&["host", "set", B, "192.0.2.2"]);
    portolan.ok(&["port", "set", "7", "10.0.0.200", "2:8:20:0:1:0", A]);
    let mut stream = portolan.connect();
    let mut seen = Vec::new();
    for (n, seconds) in [0, 876_000 * hour, -440_000 * hour, -24 * hour, 1].into_iter().enumerate()
    {
        std::fs::write(&clock, format!("{seconds:+}\n")).unwrap();
        // The same Ethernet address again and again: the last changed says where.
        let (ip, to, last) = match n % 2 {
            0 => (format!("10.0.0.{n}"), A, 1),
            _ => (format!("10.0.0.{n}"), B, 2),
        };
        portolan.ok(&["port", "set", "7", &ip, "2:8:20:0:0:1", to]);
        let mut ask = Vec::new();
        let mac = svp::MacAddr([2, 8, 0x20, 0, 0, 1]);
        svp::Message { version: 1, id: svp::Id::from(1), body: svp::Body::Vl2Req { mac, vnet: 7 } }
            .encode(&mut ask);
        stream.write_all(&ask).unwrap();
        let mut answer = [0; 36];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[32..], [192, 0, 2, last], "after a jump by {seconds} s");
        seen.push(ip);
    }
    // In order of the changes, by whatever clock they were made.
    let log = portolan.ok(&["--json", "host", "log", A]);
    let told = log.lines().filter_map(|line| {
        let record: Value = serde_json::from_str(line).unwrap();
        record["event"]["vl3"]["ip"].as_str().map(str::to_owned)
    });
    let told: Vec<String> = told.filter(|ip| ip != "10.0.0.200").collect();
    assert_eq!(told, seen);
    // The clock really jumped: times of changes go up and down.
    let mut watch = std::net::TcpStream::connect(portolan.api).unwrap();
    watch.set_read_timeout(Some(crate::common::LONG)).unwrap();
    write!(watch, "GET /api/v1/watch HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(watch)).map(Result::unwrap);
    let times = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok()?["at"].as_u64());
    let times: Vec<u64> = times.take(3 + seen.len()).collect();
    let last = &times[3..];
    assert!(last[1] > last[0] + 1000 * hour as u64 && last[2] < last[0] && last[4] > last[3]);
    assert_eq!(portolan.stop().code(), Some(0));
}
