// SPDX-License-Identifier: CDDL-1.0
//! Many hosts at once, and hosts that do not read; what they cost, and who notices.

use crate::common::{LONG, Portolan};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use svp::{Body, Id, Message};

const MIB: u64 = 1 << 20;
const ID: &str = "11111111-1111-4111-8111-111111111111";

fn message(id: u32, body: Body<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Message { version: 1, id: Id::from(id), body }.encode(&mut out);
    out
}

fn answer(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut got = vec![0; len];
    stream.read_exact(&mut got).unwrap();
    got
}

fn open(portolan: &Portolan) -> i64 {
    portolan.status()["connections"].as_i64().unwrap()
}

fn until(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether this process may have so many connections.
fn descriptors(wanted: u64) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|most| most < wanted + 100) {
        test_skip::skip(format!("{:?} descriptors at most", limit.maximum));
        return false;
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted + 100), ..limit }).unwrap();
    true
}

#[test]
fn ten_thousand_hosts_are_connected_and_answered() {
    const HOSTS: u32 = 10_000;
    if !descriptors(u64::from(HOSTS)) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let args = ["--message-time", "120"];
    let portolan = Portolan::start(&dir.path().join("portolan.redb"), &args);
    let empty = portolan.resident();
    let mut all: Vec<_> = (0..HOSTS).map(|_| portolan.connect()).collect();
    // All have begun a message before any finishes one.
    for (n, stream) in all.iter_mut().enumerate() {
        stream.write_all(&message(n as u32, Body::Ping)[..7]).unwrap();
    }
    until("all are accepted", || open(&portolan) == i64::from(HOSTS));
    for (n, stream) in all.iter_mut().enumerate() {
        stream.write_all(&message(n as u32, Body::Ping)[7..]).unwrap();
    }
    for (n, stream) in all.iter_mut().enumerate() {
        assert_eq!(answer(stream, 16), message(n as u32, Body::Pong), "host {n}");
    }
    let each = (portolan.resident() - empty) / u64::from(HOSTS);
    eprintln!("{each} bytes resident for a connection");
    assert!(each < 16 * 1024, "{each} bytes for a connection");
    // Half of them go in good order, half do not.
    for stream in all.drain(..all.len() / 2) {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    drop(all);
    until("all are gone", || open(&portolan) == 0);
    assert_eq!(portolan.stop().code(), Some(0));
}

/// Requests of 36 bytes whose answers are of 64 KiB, from hosts that read none of them.
#[test]
fn slow_readers_cost_no_more_than_their_limit_and_nobody_waits_for_them() {
    const SLOW: u64 = 100;
    const LIMIT: u64 = 256 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let outstanding = LIMIT.to_string();
    let args = ["--max-outstanding", &outstanding, "--stall", "3", "--drain", "60"];
    let portolan = Portolan::start(&dir.path().join("portolan.redb"), &args);
    portolan.ok(&["host", "set", ID, "192.0.2.1"]);
    let mut lines = String::new();
    for n in 0..3000 {
        let (a, b) = (n >> 8, n & 255);
        let port = format!(
            r#"{{"vnet":7,"ip":"10.0.{a}.{b}","mac":"2:8:20:0:{a:x}:{b:x}","host":"{ID}"}}"#
        );
        writeln!(lines, "{{\"port\":{port}}}").unwrap();
    }
    // Not as a restoration: the host is told of each, and that what it may know of its routes is stale.
    let changes = lines.lines().collect::<Vec<_>>().join(",");
    let body = format!("{{\"changes\":[{changes}]}}");
    let done = portolan.http("POST", "/api/v1/changes", "", &body);
    assert!(done.0 == 200 && done.1.contains("\"logged\":6000"), "{}", done.1);

    let empty = portolan.resident();
    let ip = std::net::Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
    let log: Vec<u8> =
        (0..1000).flat_map(|id| message(id, Body::LogReq { count: 65536, ip })).collect();
    let slow: Vec<_> = (0..SLOW)
        .map(|_| {
            let mut stream = portolan.connect();
            stream.write_all(&log).unwrap();
            stream
        })
        .collect();
    // While they stall, others are answered.
    let began = Instant::now();
    let (mut most, mut worst) = (0, Duration::ZERO);
    let mut other = portolan.connect();
    while open(&portolan) > 1 {
        let asked = Instant::now();
        other.write_all(&message(7, Body::Ping)).unwrap();
        assert_eq!(answer(&mut other, 16), message(7, Body::Pong));
        worst = worst.max(asked.elapsed());
        most = most.max(portolan.resident());
    }
    let each = most.saturating_sub(empty) / SLOW;
    eprintln!("{each} bytes resident for a slow reader; a PING meanwhile took {worst:?} at most");
    // Not until all of them stall: a peer that has much to be answered takes turns.
    assert!(worst < began.elapsed() / 3, "{worst:?} for a PING");
    // The limit, the answer that went over it, as much received, and what allocators round up.
    assert!(each < 2 * (LIMIT + 64 * 1024), "{each} bytes for a slow reader");
    assert!(most - empty < 80 * MIB);
    assert!(portolan.http("GET", "/metrics", "", "").1.contains("reason=\"stall\"} 100\n"));
    drop(slow);
    assert_eq!(portolan.stop().code(), Some(0));
}

/// The end does not wait for those who keep silent in the middle of a message, or do not read.
#[test]
fn a_drain_ends_in_time_whoever_hangs_on() {
    let dir = tempfile::tempdir().unwrap();
    let portolan = Portolan::start(&dir.path().join("portolan.redb"), &["--drain", "2"]);
    let mut half = portolan.connect();
    half.write_all(&message(1, Body::Ping)[..9]).unwrap();
    let mut deaf = portolan.connect();
    deaf.set_nonblocking(true).unwrap();
    let many: Vec<u8> = (0..4096).flat_map(|id| message(id, Body::Ping)).collect();
    // Until the server takes no more.
    let began = Instant::now();
    let mut stuck = Instant::now();
    while stuck.elapsed() < Duration::from_secs(1) {
        match deaf.write(&many) {
            Ok(_) => stuck = Instant::now(),
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock),
        }
        assert!(began.elapsed() < LONG, "the server buffers without end");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut asked = portolan.connect();
    asked.write_all(&message(3, Body::Ping)).unwrap();
    until("all are accepted", || open(&portolan) == 3);
    let began = Instant::now();
    assert_eq!(portolan.stop().code(), Some(0));
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(30), "{took:?}");
    assert_eq!(answer(&mut asked, 16), message(3, Body::Pong));
}
