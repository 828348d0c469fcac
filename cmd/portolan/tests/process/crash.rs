// SPDX-License-Identifier: CDDL-1.0
//! kill -9 in the middle of many changes.

use crate::common::Portolan;
use portolan::change::{Change, Changes};
use portolan::net::{Mac, octets};
use portolan::record::{Host, LogRecord, Port};
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use svp::log::Entry;
use svp::{MacAddr, Uuid};

const HOSTS: u8 = 4;
/// Changes that are under way at once, each on a connection of its own.
const CHANGES: u32 = 1000;
const VNET: u32 = 9;

fn host(n: u8) -> Uuid {
    Uuid::from_bytes([n; 16])
}

fn ip(n: u32, kind: u8) -> IpAddr {
    let [_, _, a, b] = n.to_be_bytes();
    [10, kind, a, b].into()
}

fn port(n: u32, kind: u8) -> Port {
    let [_, _, a, b] = n.to_be_bytes();
    Port {
        vnet: VNET,
        ip: ip(n, kind),
        mac: Mac(MacAddr([2, 8, 0x20, kind, a, b])),
        host: host(1),
        vlan: 0,
        router: false,
        deleted: false,
        modified: 0,
    }
}

/// A guest of kind 0 for each change, and one on every host, so that each change is told to all of them. Of
/// these nobody is told.
fn before() -> Changes {
    let hosts = (1..=HOSTS).map(|n| Host { id: host(n), ip: [10, 9, 0, n].into(), port: 4789 });
    let members = (1..=HOSTS).map(|n| Port { host: host(n), ..port(u32::from(n), 9) });
    let guests = (0..CHANGES).map(|n| port(n, 0));
    let changes = hosts.map(Change::Host).chain(members.chain(guests).map(Change::Port)).collect();
    Changes { restore: true, changes }
}

/// What is changed: two things each, so that there are halves to be found.
fn changes(n: u32) -> Changes {
    let changes = match n % 3 {
        0 => vec![Change::Port(port(n, 1)), Change::Port(port(n, 2))],
        1 => {
            let moved = Change::Move { vnet: VNET, ip: Some(ip(n, 0)), mac: None, host: host(2) };
            vec![moved, Change::Port(port(n, 1))]
        }
        _ => {
            vec![Change::DeletePort { vnet: VNET, ip: ip(n, 0) }, Change::Port(port(n, 1))]
        }
    };
    Changes { restore: false, changes }
}

/// Whether each half of a change is there, and the entry that every host's log has if so.
fn halves(n: u32, ports: &HashMap<IpAddr, Uuid>) -> [(bool, Entry); 2] {
    let came = |kind| {
        let at = octets(ip(n, kind)).into();
        (ports.contains_key(&ip(n, kind)), Entry::Vl3 { ip: at, vlan: 0, vnet: VNET })
    };
    let gone = Entry::Vl2 { mac: port(n, 0).mac.0, vnet: VNET };
    let first = match n % 3 {
        0 => came(2),
        1 => (ports.get(&ip(n, 0)) == Some(&host(2)), gone),
        _ => (!ports.contains_key(&ip(n, 0)), gone),
    };
    [first, came(1)]
}

/// Asks for changes without waiting for the answer.
fn ask(api: SocketAddr, changes: &Changes) -> TcpStream {
    let body = serde_json::to_string(changes).unwrap();
    let mut stream = TcpStream::connect(api).unwrap();
    write!(
        stream,
        "POST /api/v1/changes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

/// Whether the change was acknowledged. What is cut off is not.
fn acked(mut stream: TcpStream) -> bool {
    let mut answer = String::new();
    // An error: the server is gone.
    let _ = stream.read_to_string(&mut answer);
    let whole = answer.ends_with('}');
    assert!(!whole || answer.starts_with("HTTP/1.1 200 "), "{answer}");
    whole
}

/// After a restart: all of what was acknowledged, nothing by halves, and with each change its log entries.
fn check(store: &std::path::Path, acked: &HashSet<u32>) -> usize {
    let portolan = Portolan::start(store, &[]);
    let mut ports = HashMap::new();
    let mut logs: HashMap<Entry, HashSet<Uuid>> = HashMap::new();
    for line in portolan.ok(&["export"]).lines() {
        match serde_json::from_str(line).unwrap() {
            Change::Port(p) => assert_eq!(ports.insert(p.ip, p.host), None),
            Change::Log(LogRecord { host, event, .. }) => {
                assert!(logs.entry(Entry::from(&event)).or_default().insert(host), "told twice");
            }
            _ => {}
        }
    }
    let mut whole = 0;
    for n in 0..CHANGES {
        let halves = halves(n, &ports);
        assert_eq!(halves[0].0, halves[1].0, "change {n} is there by halves");
        assert!(halves[0].0 || !acked.contains(&n), "change {n} was acknowledged and is not there");
        whole += usize::from(halves[0].0);
        for (there, event) in halves {
            let told = logs.get(&event).map_or(0, HashSet::len);
            let want = if there { usize::from(HOSTS) } else { 0 };
            assert_eq!(told, want, "change {n}: hosts that are told {event:?}");
        }
    }
    assert_eq!(portolan.stop().code(), Some(0));
    whole
}

/// `PORTOLAN_KILL9_ROUNDS` rounds of a thousand changes at once, each killed after another number of
/// acknowledgements: before the first, in between, with the last.
#[test]
fn what_was_acknowledged_before_kill_9_is_there_with_its_log_entries() {
    let rounds = std::env::var("PORTOLAN_KILL9_ROUNDS").map_or(5, |n| n.parse().unwrap());
    let mut cut = 0;
    for round in 0..rounds {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("portolan.redb");
        let mut portolan = Portolan::start(&store, &[]);
        assert!(acked(ask(portolan.api, &before())));
        let kill_after = (round * 617) % (CHANGES as usize + 1);
        let mut asked: Vec<_> = (0..CHANGES).map(|n| (n, ask(portolan.api, &changes(n)))).collect();
        // Commits are of many at a time: whoever is waited for, others are answered too.
        let later = asked.split_off(kill_after);
        let mut done: HashSet<u32> =
            asked.into_iter().filter_map(|(n, stream)| acked(stream).then_some(n)).collect();
        assert_eq!(done.len(), kill_after);
        portolan.child.kill().unwrap();
        portolan.child.wait().unwrap();
        done.extend(later.into_iter().filter_map(|(n, stream)| acked(stream).then_some(n)));
        let whole = check(&store, &done);
        assert!(whole >= done.len());
        eprintln!("round {round}: {} acknowledged, {whole} there", done.len());
        cut += usize::from(whole < CHANGES as usize);
    }
    assert!(cut > 0, "no round was killed in the middle");
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
    let status = portolan.status();
    assert_eq!((&status["ports"], &status["requests"]), (&1.into(), &1.into()));
}
