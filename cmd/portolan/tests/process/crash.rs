// SPDX-License-Identifier: CDDL-1.0
//! kill -9 in the middle of many changes.

use crate::common::Portolan;
use portolan::change::{Change, Changes};
use portolan::net::Mac;
use portolan::record::{Event, Host, LogRecord, Port};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use svp::{MacAddr, Uuid};

const HOSTS: u8 = 4;
const WRITERS: u32 = 20;
const EACH: u32 = 50;
const VNET: u32 = 9;

fn host(n: u8) -> Uuid {
    Uuid::from_bytes([n; 16])
}

/// The two ports that one change puts together.
fn ports(n: u32) -> [Port; 2] {
    let [_, _, a, b] = n.to_be_bytes();
    let port = |kind: u8| Port {
        vnet: VNET,
        ip: [10, kind, a, b].into(),
        mac: Mac(MacAddr([2, 8, 0x20, kind, a, b])),
        host: host(1 + (n % u32::from(HOSTS)) as u8),
        vlan: 0,
        router: false,
        deleted: false,
        modified: 0,
    };
    [port(1), port(2)]
}

/// Puts pairs of ports one after the other on one connection; which were acknowledged.
fn put(api: std::net::SocketAddr, from: u32, acked: &Mutex<HashSet<u32>>, count: &AtomicUsize) {
    let mut stream = TcpStream::connect(api).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    for n in from..from + EACH {
        let changes = ports(n).map(Change::Port).to_vec();
        let body = serde_json::to_string(&Changes { restore: false, changes }).unwrap();
        let request = format!(
            "POST /api/v1/changes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(request.as_bytes()).is_err() {
            return;
        }
        let mut length = 0;
        let mut status = String::new();
        loop {
            let mut line = String::new();
            if answers.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if status.is_empty() {
                status = line.clone();
            }
            if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
                length = n.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if answers.read_exact(&mut body).is_err() {
            return;
        }
        assert!(status.contains("200"), "{status}{}", String::from_utf8_lossy(&body));
        acked.lock().unwrap().insert(n);
        count.fetch_add(1, Ordering::SeqCst);
    }
}

/// After a restart: all of what was acknowledged, nothing by halves, and for each port its log entries.
fn check(store: &std::path::Path, acked: &HashSet<u32>) -> usize {
    let portolan = Portolan::start(store, &[]);
    let (mut there, mut logs): (HashSet<_>, HashMap<Uuid, HashSet<_>>) = Default::default();
    let mut members = HashSet::new();
    for line in portolan.ok(&["export"]).lines() {
        match serde_json::from_str(line).unwrap() {
            Change::Port(p) => {
                members.insert(p.host);
                there.insert(p.ip);
            }
            Change::Log(LogRecord { host, event: Event::Vl3 { ip, .. }, .. }) => {
                assert!(logs.entry(host).or_default().insert(ip), "told twice");
            }
            _ => {}
        }
    }
    let mut whole = 0;
    for n in 0..WRITERS * EACH {
        let [a, b] = ports(n).map(|p| there.contains(&p.ip));
        assert_eq!(a, b, "change {n} is there by halves");
        assert!(a || !acked.contains(&n), "change {n} was acknowledged and is not there");
        whole += usize::from(a);
        // The host that carries it was a member with this change at the latest.
        for port in ports(n) {
            let told = logs.get(&port.host).is_some_and(|log| log.contains(&port.ip));
            assert_eq!(told, a, "change {n}: port and log entry go together");
        }
    }
    let log = logs.values().map(HashSet::len).sum::<usize>();
    assert!(log >= there.len(), "{log} entries for {} ports", there.len());
    assert_eq!(portolan.stop().code(), Some(0));
    whole
}

#[test]
fn what_was_acknowledged_before_kill_9_is_there_with_its_log_entries() {
    for kill_after in [1usize, 150, 600] {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("portolan.redb");
        let mut portolan = Portolan::start(&store, &[]);
        for n in 1..=HOSTS {
            let (id, ip) = (host(n), [10, 9, 0, n].into());
            let body = Changes {
                restore: false,
                changes: vec![Change::Host(Host { id, ip, port: 4789 })],
            };
            let body = serde_json::to_string(&body).unwrap();
            assert_eq!(portolan.http("POST", "/api/v1/changes", "", &body).0, 200);
        }
        let acked = Arc::new(Mutex::new(HashSet::new()));
        let count = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..WRITERS)
            .map(|w| {
                let (api, acked, count) = (portolan.api, Arc::clone(&acked), Arc::clone(&count));
                std::thread::spawn(move || put(api, w * EACH, &acked, &count))
            })
            .collect();
        while count.load(Ordering::SeqCst) < kill_after {
            std::thread::yield_now();
        }
        portolan.child.kill().unwrap();
        portolan.child.wait().unwrap();
        for writer in writers {
            writer.join().unwrap();
        }
        let acked = acked.lock().unwrap();
        assert!(acked.len() >= kill_after && acked.len() < (WRITERS * EACH) as usize);
        let whole = check(&store, &acked);
        assert!(whole >= acked.len());
    }
}

#[test]
fn a_restart_serves_the_same_lookups() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("deep/er/portolan.redb");
    let id = host(1).to_string();
    let export = {
        let portolan = Portolan::start(&store, &[]);
        portolan.ok(&["host", "set", &id, "192.0.2.1"]);
        portolan.ok(&["port", "set", "7", "10.0.0.1", "2:8:20:0:0:1", &id, "--vlan", "9"]);
        portolan.ok(&["network", "set", "7", "blue"]);
        let export = portolan.ok(&["export"]);
        assert_eq!(portolan.stop().code(), Some(0));
        export
    };
    let portolan = Portolan::start(&store, &[]);
    assert_eq!(portolan.ok(&["export"]), export);
    let mut ask = Vec::new();
    let body = svp::Body::Vl2Req { mac: MacAddr([2, 8, 0x20, 0, 0, 1]), vnet: 7 };
    svp::Message { version: 1, id: svp::Id::from(1), body }.encode(&mut ask);
    let mut stream = portolan.connect();
    stream.write_all(&ask).unwrap();
    let mut answer = [0; 36];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[16..20], [0, 0, 0x12, 0xb5]);
    assert_eq!(answer[32..], [192, 0, 2, 1]);
    let status: Value = serde_json::from_str(&portolan.ok(&["--json", "status"])).unwrap();
    assert_eq!((&status["ports"], &status["requests"]), (&1.into(), &1.into()));
}
