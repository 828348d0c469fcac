// SPDX-License-Identifier: CDDL-1.0
//! Which hosts are told of which change; what lookups say before and after.

use crate::common::{Faulty, Running, exchange, run};
use portolan::change::{Change, ChangeError, Changes};
use portolan::directory::Directory;
use portolan::net::{Mac, octets};
use portolan::record::{Event, Host, Port};
use portolan::serve::Limits;
use portolan::store::memory::Memory;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use svp::client::{Client, Event as Reply, Question};
use svp::message::Underlay;
use svp::{Body, MacAddr, Status, Uuid, Version};

const VNET: u32 = 7;

fn id(n: u8) -> Uuid {
    Uuid::from_bytes([n; 16])
}

fn host(n: u8) -> Change {
    Change::Host(Host { id: id(n), ip: [10, 9, 0, n].into(), port: 4789 })
}

fn mac(n: u8) -> Mac {
    Mac(MacAddr([2, 8, 0x20, 0, 0, n]))
}

fn ip(n: u8) -> IpAddr {
    [10, 0, 0, n].into()
}

fn port(n: u8, on: u8) -> Port {
    let (ip, mac, host) = (ip(n), mac(n), id(on));
    Port { vnet: VNET, ip, mac, host, vlan: 3, router: false, deleted: false, modified: 0 }
}

fn vl2(n: u8) -> Event {
    Event::Vl2 { mac: mac(n), vnet: VNET }
}

fn vl3(n: u8) -> Event {
    Event::Vl3 { ip: ip(n), vlan: 3, vnet: VNET }
}

/// Three hosts; guests 1, 2, 3 on hosts 1, 2, 3; logs empty.
fn three() -> Running {
    let running = run(Box::new(Faulty::default()), Limits::default());
    running.change(true, (1..=3).map(host).collect());
    running.change(true, (1..=3).map(|n| Change::Port(port(n, n))).collect());
    running
}

/// What a host is to be told, but that guests have come to it: see `routes`.
fn log(running: &Running, n: u8) -> Vec<Event> {
    let index = running.server.directory.read();
    let all = index.host_log(id(n)).map(|(_, named)| Event::from(&named.entry));
    all.filter(|event| !matches!(event, Event::Route { dst_vnet: 0, .. })).collect()
}

fn where_is(running: &Running, n: u8) -> Result<Underlay, Status> {
    running.server.directory.read().vl2(VNET, mac(n).0)
}

fn at(n: u8) -> Underlay {
    Underlay { ip: std::net::Ipv4Addr::new(10, 9, 0, n).to_ipv6_mapped(), port: 4789 }
}

fn refused(running: &Running, changes: Vec<Change>) -> ChangeError {
    let changes = Changes { restore: false, changes };
    running.runtime.block_on(running.server.directory.change(changes)).unwrap_err()
}

/// All hosts' logs are these; they are emptied.
fn told(running: &Running, want: &[Event]) {
    for n in 1..=3 {
        assert_eq!(log(running, n), want, "host {n}");
        let ids: Vec<_> = {
            let index = running.server.directory.read();
            index.host_log(id(n)).map(|(_, named)| named.id).collect()
        };
        let removed = running.server.directory.remove_log(ids, vec![id(n)]);
        running.runtime.block_on(removed).unwrap();
        assert_eq!(log(running, n), []);
    }
}

#[test]
fn every_change_that_matters_is_told_to_all_hosts_of_the_network() {
    let running = three();
    assert_eq!(where_is(&running, 2), Ok(at(2)));

    let moved = Change::Move { vnet: VNET, ip: None, mac: Some(mac(2)), host: id(3) };
    running.change(false, vec![moved.clone()]);
    assert_eq!(where_is(&running, 2), Ok(at(3)));
    // Host 2 has no guest left, and is told nevertheless: it had one before.
    told(&running, &[vl2(2)]);
    assert_eq!(running.change(false, vec![moved]).written, 0, "it is there already");
    running.change(false, vec![Change::Port(port(2, 2))]);
    told(&running, &[vl2(2)]);

    running.change(false, vec![Change::DeletePort { vnet: VNET, ip: ip(1) }]);
    assert_eq!(where_is(&running, 1), Err(Status::NOTFOUND));
    told(&running, &[vl2(1)]);

    running.change(false, vec![Change::Port(port(1, 1))]);
    told(&running, &[vl3(1)]);

    let other = Port { mac: mac(9), ..port(1, 1) };
    running.change(false, vec![Change::Port(other)]);
    told(&running, &[vl2(1), vl3(1)]);
    running.change(false, vec![Change::Port(port(1, 1))]);
    told(&running, &[vl2(9), vl3(1)]);

    let elsewhere = Host { id: id(1), ip: [10, 9, 0, 99].into(), port: 4789 };
    running.change(false, vec![Change::Host(elsewhere)]);
    told(&running, &[vl2(1)]);
}

#[test]
fn a_second_port_with_the_same_ethernet_address_moves_it() {
    let running = three();
    let v6 = Port { ip: "fd00::2".parse().unwrap(), host: id(1), ..port(2, 2) };
    running.change(false, vec![Change::Port(v6.clone())]);
    assert_eq!(where_is(&running, 2), Ok(at(1)), "the last changed says where");
    // By whichever address it is asked for: hosts keep the answers by Ethernet address.
    let by_ip = running.server.directory.read().vl3(VNET, octets(ip(2)).into());
    assert_eq!(by_ip, Ok((mac(2).0, at(1))));
    let told_v6 = Event::Vl3 { ip: v6.ip, vlan: 3, vnet: VNET };
    told(&running, &[vl2(2), told_v6]);
    running.change(false, vec![Change::DeletePort { vnet: VNET, ip: v6.ip }]);
    assert_eq!(where_is(&running, 2), Ok(at(2)));
    told(&running, &[vl2(2)]);
}

#[test]
fn a_log_does_not_say_twice_what_was_not_heard_once() {
    let running = three();
    let to = |n| Change::Move { vnet: VNET, ip: Some(ip(2)), mac: None, host: id(n) };
    running.change(false, vec![to(3)]);
    let name = || {
        let index = running.server.directory.read();
        let mut moved = index.host_log(id(1)).filter(|(_, e)| Event::from(&e.entry) == vl2(2));
        moved.next().expect("told").1.id
    };
    let first = name();
    for _ in 0..50 {
        running.change(false, vec![to(1)]);
        running.change(false, vec![to(3)]);
    }
    assert_eq!(log(&running, 1), [vl2(2)]);
    assert_ne!(first, name(), "who acts on the first entry acts on the last too");
    // Removing the old one, as a host does that just acted on it, does not remove the new one.
    let removed = running.server.directory.remove_log(vec![first], vec![]);
    running.runtime.block_on(removed).unwrap();
    assert_eq!(log(&running, 1), [vl2(2)]);
}

#[test]
fn changes_are_made_together_or_not_at_all() {
    let running = three();
    let before = running.server.directory.read().counts();
    let bad = Port { host: id(99), ..port(5, 1) };
    let all = vec![Change::Port(port(4, 1)), host(4), Change::Port(bad)];
    assert_eq!(refused(&running, all), ChangeError::Missing(format!("host {}", id(99))));
    assert_eq!(running.server.directory.read().counts(), before);
    // Within one request each change sees those before it.
    let all = vec![host(4), Change::Port(port(4, 4)), Change::DeletePort { vnet: VNET, ip: ip(4) }];
    running.change(false, all);
    assert_eq!(where_is(&running, 4), Err(Status::NOTFOUND));
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let running = three();
    let conflict = |changes| match refused(&running, changes) {
        ChangeError::Conflict(why) => why,
        other => panic!("{other:?}"),
    };
    let same = Change::Host(Host { id: id(8), ip: [10, 9, 0, 1].into(), port: 1 });
    assert!(conflict(vec![same]).contains("belongs to host"));
    assert!(conflict(vec![Change::DeleteHost { id: id(1) }]).contains("has 1 ports"));
    let mut group = port(1, 1);
    group.mac = Mac(MacAddr([1, 0, 0x5e, 0, 0, 1]));
    for bad in [
        Change::Port(group),
        Change::Port(Port { vlan: 4095, ..port(1, 1) }),
        Change::Port(Port { ip: [224, 0, 0, 1].into(), ..port(1, 1) }),
        Change::Host(Host { id: id(1), ip: [0, 0, 0, 0].into(), port: 1 }),
        Change::Host(Host { id: id(1), ip: [10, 0, 0, 1].into(), port: 0 }),
        Change::Move { vnet: VNET, ip: None, mac: None, host: id(1) },
    ] {
        assert!(matches!(refused(&running, vec![bad.clone()]), ChangeError::Invalid(_)), "{bad:?}");
    }
}

#[test]
fn a_full_disk_refuses_changes_and_serves_lookups() {
    let engine = Faulty::default();
    let running = run(Box::new(engine.clone()), Limits::default());
    running.change(true, vec![host(1), Change::Port(port(1, 1))]);
    engine.broken.store(true, Ordering::SeqCst);
    let why = refused(&running, vec![host(2)]);
    assert_eq!(why.to_string(), "not changed: cannot write the store: No space left on device");
    assert_eq!(where_is(&running, 1), Ok(at(1)));
    engine.broken.store(false, Ordering::SeqCst);
    running.change(false, vec![host(2)]);
}

/// What etcd will be: two servers over one store. The second plans from what it knows, is told that it knows
/// too little, reads again, and changes what is there.
#[test]
fn a_store_that_somebody_else_changed_is_read_again() {
    let store = Memory::default();
    let one = run(Box::new(store.clone()), Limits::default());
    let two = run(Box::new(store.clone()), Limits::default());
    one.change(false, vec![host(1), Change::Port(port(1, 1))]);
    two.change(false, vec![host(2), Change::Port(port(2, 2))]);
    assert_eq!(where_is(&two, 1), Ok(at(1)), "read with the change");
    // The host that only the first server knew was told by the second.
    assert_eq!(log(&two, 1), [vl3(1), vl3(2)]);
    one.change(false, vec![Change::DeletePort { vnet: VNET, ip: ip(2) }]);
    assert_eq!(where_is(&one, 2), Err(Status::NOTFOUND));
    let fresh = Directory::open(Box::new(store), Arc::default()).unwrap();
    assert_eq!(fresh.read().vl2(VNET, mac(1).0), Ok(at(1)));
}

/// B28: a host removes its own entries only.
#[test]
fn defect_b28_a_host_removes_only_its_own_entries() {
    let running = three();
    let moved = Change::Move { vnet: VNET, ip: None, mac: Some(mac(2)), host: id(3) };
    running.change(false, vec![moved]);
    let ids: Vec<_> = {
        let index = running.server.directory.read();
        (1..=3).flat_map(|n| index.host_log(id(n)).map(|(_, e)| e.id).collect::<Vec<_>>()).collect()
    };
    let mut stream = running.connect();
    let mut client = Client::fixed(Version::V1);
    for (question, size) in [
        (Question::Log { count: 1024, ip: [10, 9, 0, 1].into() }, 16 + 4 + 32),
        (Question::LogRm(ids), 16 + 4),
    ] {
        client.ask(&question).unwrap();
        let send = client.output().to_vec();
        client.wrote(send.len());
        client.buffer().extend(exchange(&mut stream, &send, size));
        assert!(matches!(client.poll(), Ok(Some(Reply::Reply { body: Ok(_), .. }))));
    }
    assert_eq!(log(&running, 1), []);
    assert_eq!(log(&running, 2), [vl2(2)]);
    assert_eq!(log(&running, 3), [vl2(2)]);
}

/// Caches of the original outlive the log entry that says they are stale (B28). There are none here.
#[test]
fn defect_b28_an_answer_after_its_log_entry_is_new() {
    let running = three();
    for n in 0..100u8 {
        let to = 1 + n % 3;
        let moved = Change::Move { vnet: VNET, ip: None, mac: Some(mac(2)), host: id(to) };
        running.change(false, vec![moved]);
        assert_eq!(where_is(&running, 2), Ok(at(to)));
    }
}

/// B28: the original's helper reads fields one level too high, so that a changed mapping loses the others.
#[test]
fn defect_b28_a_move_changes_nothing_but_the_host() {
    let running = three();
    let before = running.server.directory.read().port(VNET, ip(2)).unwrap();
    let moved = Change::Move { vnet: VNET, ip: Some(ip(2)), mac: None, host: id(3) };
    running.change(false, vec![moved]);
    let after = running.server.directory.read().port(VNET, ip(2)).unwrap();
    assert_eq!(after, Port { host: id(3), modified: after.modified, ..before.clone() });
    assert!(after.modified > before.modified);
}

/// One change, and a thousand hosts that ask for their logs: each is told once, and has removed it with the next
/// request. How long hosts wait between two requests is theirs.
#[test]
fn a_change_reaches_a_thousand_hosts() {
    const HOSTS: u16 = 1000;
    let running = run(Box::new(Faulty::default()), Limits::default());
    let number = |n: u16| -> [u8; 2] { n.to_be_bytes() };
    let named = |n: u16| Uuid::from_u128(1 + u128::from(n));
    let underlay = |n: u16| -> IpAddr { [10, 9, number(n)[0], number(n)[1]].into() };
    let all = (0..HOSTS).flat_map(|n| {
        let [a, b] = number(n);
        let host = Host { id: named(n), ip: underlay(n), port: 4789 };
        let mac = Mac(MacAddr([2, 8, 0x20, 1, a, b]));
        let port = Port { ip: [10, 0, a, b].into(), mac, host: named(n), ..port(0, 0) };
        [Change::Host(host), Change::Port(port)]
    });
    running.change(true, all.collect());
    let mut hosts: Vec<_> =
        (0..HOSTS).map(|n| (n, running.connect(), Client::fixed(Version::V2))).collect();
    // Everybody asks, then everybody reads: as many requests at once as there are hosts.
    let mut ask = |question: &dyn Fn(u16) -> Question| -> Vec<Vec<Uuid>> {
        for (n, stream, client) in &mut hosts {
            client.ask(&question(*n)).unwrap();
            let send = client.output().to_vec();
            client.wrote(send.len());
            exchange(stream, &send, 0);
        }
        let read = hosts.iter_mut().map(|(_, stream, client)| {
            let head = exchange(stream, &[], 16);
            let size = u32::from_be_bytes(head[4..8].try_into().unwrap()) as usize;
            client.buffer().extend(head);
            client.buffer().extend(exchange(stream, &[], size));
            match client.poll() {
                Ok(Some(Reply::Reply { body: Ok(Body::LogAck { entries, .. }), .. })) => {
                    entries.iter().map(|e| e.id).collect()
                }
                Ok(Some(Reply::Reply { body: Ok(Body::LogRmAck(Status::OK)), .. })) => vec![],
                other => panic!("{other:?}"),
            }
        });
        read.collect()
    };
    let log = |n| Question::Log { count: 1024, ip: underlay(n) };
    assert!(ask(&log).iter().all(Vec::is_empty));
    let began = std::time::Instant::now();
    let to = Change::Move { vnet: VNET, ip: Some([10, 0, 0, 0].into()), mac: None, host: named(1) };
    assert_eq!(running.change(false, vec![to]).logged, usize::from(HOSTS) + 1);
    let changed = began.elapsed();
    let told = ask(&log);
    // The host to which the guest came is told that it is to forget what it may know of an earlier stay.
    let want = |n| if n == 1 { 2 } else { 1 };
    assert!(told.iter().enumerate().all(|(n, ids)| ids.len() == want(n)));
    let heard = began.elapsed();
    ask(&|n| Question::LogRm(told[usize::from(n)].clone()));
    eprintln!(
        "changed after {changed:?}, read by all after {heard:?}, removed after {:?}",
        began.elapsed()
    );
    assert!(ask(&log).iter().all(Vec::is_empty));
    assert_eq!(running.server.directory.read().counts().log, 0);
}
