// SPDX-License-Identifier: CDDL-1.0
//! Routes and attachments: what is answered, what is refused, and who is told.

use crate::common::{Faulty, Running, exchange, restore, run, until, vectors};
use portolan::change::{Change, ChangeError, Changes, Side};
use portolan::net::{Mac, Subnet};
use portolan::record::{Event, Host, LogRecord, Port, Route};
use portolan::serve::Limits;
use std::collections::HashSet;
use std::net::IpAddr;
use svp::client::{Client, Event as Reply, Question};
use svp::message::{RouteAck, RouteReq, Underlay};
use svp::{Body, MacAddr, Status, Uuid, Version};

fn id(n: u8) -> Uuid {
    Uuid::from_bytes([n; 16])
}

fn mac(vnet: u8, n: u8) -> Mac {
    Mac(MacAddr([2, 8, 0x20, 0, vnet, n]))
}

/// Guest or router `n` of a network, in either family.
fn ip(vnet: u8, n: u8, v6: bool) -> IpAddr {
    match v6 {
        true => format!("fd00:{vnet}::{n}").parse().unwrap(),
        false => [10, vnet, 0, n].into(),
    }
}

fn subnet(vnet: u8, v6: bool) -> Subnet {
    let text = if v6 { format!("fd00:{vnet}::/64") } else { format!("10.{vnet}.0.0/24") };
    text.parse().unwrap()
}

fn guest(vnet: u8, n: u8, v6: bool) -> Port {
    Port {
        vnet: vnet.into(),
        ip: ip(vnet, n, v6),
        mac: mac(vnet, n),
        host: id(n),
        vlan: vnet.into(),
        router: false,
        deleted: false,
        modified: 0,
    }
}

fn router(vnet: u8, v6: bool) -> Change {
    let (host, mac) = (Uuid::nil(), mac(vnet, 254));
    Change::Port(Port { host, mac, router: true, ..guest(vnet, 254, v6) })
}

fn host(n: u8) -> Change {
    Change::Host(Host { id: id(n), ip: [192, 0, 2, n].into(), port: 4789 })
}

fn side(vnet: u8, v6: bool) -> Side {
    Side { vnet: vnet.into(), subnet: subnet(vnet, v6), dcid: vnet.into() }
}

fn attach(a: u8, b: u8, v6: bool) -> Change {
    Change::Attach { a: side(a, v6), b: side(b, v6) }
}

fn detach(a: u8, b: u8, v6: bool) -> Change {
    Change::Detach { a: side(a, v6).key(), b: side(b, v6).key() }
}

/// Networks 7, 8 and 9, the tag of each its number, with guests 1, 2 and 3 on hosts 1, 2 and 3: guest 1 has an
/// address in network 7 only, 2 in 8, 3 in 9. Host 4 has none. Logs are empty.
fn three() -> Running {
    let running = run(Box::new(Faulty::default()), Limits::default());
    let mut all: Vec<_> = (1..=4).map(host).collect();
    for v6 in [false, true] {
        all.extend((7..=9).map(|vnet| router(vnet, v6)));
        all.extend((7..=9).map(|vnet| Change::Port(guest(vnet, vnet - 6, v6))));
    }
    running.change(true, all);
    running
}

fn refused(running: &Running, changes: Vec<Change>) -> ChangeError {
    let changes = Changes { restore: false, changes };
    running.runtime.block_on(running.server.directory.change(changes)).unwrap_err()
}

/// What guest `from` of network `a` is told of the way to guest `to` of `b`.
fn ask(
    running: &Running,
    (a, from): (u8, u8),
    (b, to): (u8, u8),
    v6: bool,
) -> Result<RouteAck, Status> {
    let wire = |ip| portolan::net::octets(ip).into();
    let (src, dst) = (wire(ip(a, from, v6)), wire(ip(b, to, v6)));
    let req = RouteReq { vnet: a.into(), vlan: a.into(), src, dst };
    running.server.directory.read().route(&req)
}

/// The log of each host, which is then empty.
fn told(running: &Running) -> [Vec<Event>; 4] {
    [1, 2, 3, 4].map(|n| {
        let log: Vec<_> = {
            let index = running.server.directory.read();
            index.host_log(id(n)).map(|(_, named)| named).collect()
        };
        let ids = log.iter().map(|named| named.id).collect();
        let removed = running.server.directory.remove_log(ids, vec![id(n)]);
        running.runtime.block_on(removed).unwrap();
        log.iter().map(|named| Event::from(&named.entry)).collect()
    })
}

/// Flows of network `a` to `b` are stale, to all addresses or to one.
fn stale(a: u8, b: u8, dst: Subnet) -> Event {
    Event::Route {
        src_vnet: a.into(),
        dst_vnet: b.into(),
        dcid: b.into(),
        src: subnet(a, !dst.is_v4()),
        dst,
        src_vlan: a.into(),
        dst_vlan: b.into(),
    }
}

fn one(ip: IpAddr) -> Subnet {
    Subnet::of_one(portolan::net::octets(ip).into())
}

fn arrival(vnet: u8, n: u8, v6: bool) -> Event {
    Event::Route {
        src_vnet: vnet.into(),
        dst_vnet: 0,
        dcid: 0,
        src: one(ip(vnet, n, v6)),
        dst: if v6 { "::/0" } else { "0.0.0.0/0" }.parse().unwrap(),
        src_vlan: vnet.into(),
        dst_vlan: 0,
    }
}

#[test]
fn attaching_routes_both_ways_at_once_and_detaching_neither() {
    let running = three();
    for v6 in [false, true] {
        let ways = [((7, 1), (8, 2)), ((8, 2), (7, 1))];
        for (from, to) in ways {
            assert_eq!(ask(&running, from, to, v6), Err(Status::NOTFOUND));
        }
        let made = running.change(false, vec![attach(7, 8, v6)]);
        assert_eq!((made.written, made.logged), (4, 2));
        for (from, to) in ways {
            let want = RouteAck {
                status: Status::OK,
                dcid: to.0.into(),
                vnet: to.0.into(),
                vlan: to.0.into(),
                ul3: Underlay {
                    ip: std::net::Ipv4Addr::new(192, 0, 2, to.1).to_ipv6_mapped(),
                    port: 4789,
                },
                src_mac: mac(to.0, 254).0,
                dst_mac: mac(to.0, to.1).0,
                src_prefix: if v6 { 64 } else { 24 },
                dst_prefix: if v6 { 64 } else { 24 },
            };
            assert_eq!(ask(&running, from, to, v6), Ok(want));
        }
        assert_eq!(ask(&running, (9, 3), (8, 2), v6), Err(Status::NOTFOUND));
        let (there, back) = (stale(7, 8, subnet(8, v6)), stale(8, 7, subnet(7, v6)));
        let both = [vec![there], vec![back], vec![], vec![]];
        assert_eq!(told(&running), both);
        // The same once more, from the other side, changes nothing.
        assert_eq!(running.change(false, vec![attach(8, 7, v6)]).written, 0);
        running.change(false, vec![detach(8, 7, v6)]);
        assert_eq!(told(&running), both);
        for (from, to) in ways {
            assert_eq!(ask(&running, from, to, v6), Err(Status::NOTFOUND));
        }
        let why = refused(&running, vec![detach(7, 8, v6)]).to_string();
        assert!(why.starts_with("there is no attachment of"), "{why}");
    }
}

/// Whatever is looked at meanwhile, both ways are there or none.
#[test]
fn nobody_sees_half_an_attachment() {
    let running = three();
    let directory = running.server.directory.clone();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let looker = std::thread::spawn(move || {
        let req = |a: u8, b: u8| RouteReq {
            vnet: a.into(),
            vlan: a.into(),
            src: portolan::net::octets(ip(a, a - 6, false)).into(),
            dst: portolan::net::octets(ip(b, b - 6, false)).into(),
        };
        let mut seen = HashSet::new();
        while stopped.try_recv().is_err() {
            let index = directory.read();
            let both = [(7, 8), (8, 7)].map(|(a, b)| index.route(&req(a, b)).is_ok());
            assert_eq!(both[0], both[1]);
            seen.insert(both[0]);
        }
        seen.len()
    });
    for _ in 0..100 {
        running.change(false, vec![attach(7, 8, false)]);
        running.change(false, vec![detach(7, 8, false)]);
    }
    stop.send(()).unwrap();
    assert_eq!(looker.join().unwrap(), 2, "it saw them attached and detached");
}

#[test]
fn what_cannot_be_attached_is_refused_in_words_that_help() {
    let running = three();
    running.change(false, vec![attach(7, 8, false)]);
    let unknown = Side { vnet: 77, ..side(9, false) };
    let no_router = Side { subnet: "10.99.0.0/24".parse().unwrap(), ..side(9, false) };
    let wide = Side { subnet: "10.8.0.0/16".parse().unwrap(), ..side(8, false) };
    let near = Side { subnet: "10.0.0.0/8".parse().unwrap(), ..side(9, false) };
    let a = side(7, false);
    for (change, words) in [
        (Change::Attach { a, b: unknown }, "there is no network 77"),
        (
            Change::Attach { a, b: no_router },
            "no router address in 10.99.0.0/24, only 10.9.0.254, fd00:9::254: set one first",
        ),
        (Change::Attach { a, b: side(9, true) }, "IPv4 to IPv4"),
        (Change::Attach { a, b: near }, "10.7.0.0/24 and 10.0.0.0/8 overlap"),
        (
            Change::Attach { a, b: wide },
            "overlaps 10.8.0.0/24 of network 8, to which 10.7.0.0/24 of network 7 is routed already",
        ),
    ] {
        let before = running.server.directory.read().counts();
        let why = refused(&running, vec![host(5), change.clone()]).to_string();
        assert!(why.contains(words), "{change:?}: {why}");
        assert_eq!(running.server.directory.read().counts(), before);
    }
    // In one request each change sees those before it.
    running.change(false, vec![detach(7, 8, false), Change::Attach { a, b: wide }]);
    // A second router in the subnet: which of both would it be?
    let second = Port { ip: [10, 9, 0, 253].into(), ..guest(9, 254, false) };
    let second = Change::Port(Port { router: true, host: Uuid::nil(), ..second });
    let why = refused(&running, vec![second, attach(7, 9, false)]).to_string();
    assert!(why.contains("several router addresses in 10.9.0.0/24"), "{why}");
    let nobody = Change::Port(Port { host: Uuid::nil(), ..guest(9, 9, false) });
    let why = ChangeError::Invalid("a guest has a host: name it".into());
    assert_eq!(refused(&running, vec![nobody]), why);
}

#[test]
fn routers_are_no_guests_of_any_host() {
    let running = three();
    {
        let index = running.server.directory.read();
        assert_eq!(index.members(7).collect::<Vec<_>>(), [(id(1), 2)]);
        let routers: Vec<_> = index.routers_of(7).map(|p| (p.ip, p.vlan)).collect();
        assert_eq!(routers, [(ip(7, 254, false), 7), (ip(7, 254, true), 7)]);
        let found = index.vl3(7, portolan::net::octets(ip(7, 254, false)).into());
        assert_eq!(found, Ok((mac(7, 254).0, Underlay::NONE)));
    }
    // Nobody is told as the host of a router, and a router that the original put on a host is not told of.
    let elsewhere = Port { host: id(4), router: true, ..guest(7, 250, false) };
    running.change(false, vec![Change::Port(elsewhere)]);
    let new = Event::Vl3 { ip: ip(7, 250, false), vlan: 7, vnet: 7 };
    assert_eq!(told(&running), [vec![new], vec![], vec![], vec![]]);
    assert_eq!(running.server.directory.read().counts().log, 0, "of no host either");
}

#[test]
fn a_guest_that_moves_is_followed_by_those_who_route_to_it() {
    let running = three();
    running.change(false, vec![attach(7, 8, false), attach(8, 9, false), attach(7, 8, true)]);
    told(&running);
    let moves = |n: u8, to| Change::Move {
        vnet: n.into(),
        ip: None,
        mac: Some(mac(n, n - 6)),
        host: id(to),
    };
    let (v4, v6) = (ip(8, 2, false), ip(8, 2, true));
    running.change(false, vec![moves(8, 4)]);
    let gone = Event::Vl2 { mac: mac(8, 2), vnet: 8 };
    assert_eq!(
        told(&running),
        [
            // Those of network 7 have routes to it in both families, those of 9 in one.
            vec![stale(7, 8, one(v4)), stale(7, 8, one(v6))],
            vec![gone.clone()],
            vec![stale(9, 8, one(v4))],
            vec![gone.clone(), arrival(8, 2, false), arrival(8, 2, true)],
        ]
    );
    assert_eq!(ask(&running, (7, 1), (8, 2), true).unwrap().ul3.ip.octets()[15], 4);

    // Another Ethernet address, a tombstone, and another underlay address of the host.
    let other = Port { mac: mac(8, 99), host: id(4), ..guest(8, 2, false) };
    running.change(false, vec![Change::Port(other)]);
    let [one_told, _, three_told, four_told] = told(&running);
    assert_eq!(one_told, [stale(7, 8, one(v4))]);
    assert_eq!(three_told, [stale(9, 8, one(v4))]);
    assert_eq!(
        four_told,
        [Event::Vl3 { ip: v4, vlan: 8, vnet: 8 }],
        "its other address is still there"
    );
    running.change(false, vec![Change::DeletePort { vnet: 8, ip: v4 }]);
    let [one_told, _, three_told, _] = told(&running);
    assert_eq!((one_told, three_told), (vec![stale(7, 8, one(v4))], vec![stale(9, 8, one(v4))]));
    let elsewhere = Change::Host(Host { id: id(4), ip: [192, 0, 2, 44].into(), port: 4789 });
    running.change(false, vec![elsewhere]);
    let [one_told, two_told, three_told, four_told] = told(&running);
    assert_eq!((one_told, two_told, three_told), (vec![stale(7, 8, one(v6))], vec![], vec![]));
    assert_eq!(four_told, [gone]);

    // An address that comes: nobody could have asked for it with success. The guest's other one moves with it.
    running.change(false, vec![Change::Port(guest(8, 2, false))]);
    let [one_told, _, three_told, _] = told(&running);
    assert_eq!((one_told, three_told), (vec![stale(7, 8, one(v6))], vec![]));
    // A guest that no route leads to.
    running.change(false, vec![detach(8, 9, false)]);
    told(&running);
    running.change(false, vec![moves(9, 4)]);
    let [one_told, two_told, ..] = told(&running);
    assert!(one_told.is_empty() && two_told.is_empty());
}

/// Where an Ethernet address is, is where its port is that was changed last. A host that gets another underlay address
/// takes along all addresses of its guests, those as well whose ports name another host.
#[test]
fn all_addresses_of_a_guest_are_followed_when_its_host_has_another() {
    let running = three();
    running.change(false, vec![attach(7, 8, false), attach(7, 8, true)]);
    running.change(false, vec![Change::Port(Port { host: id(4), ..guest(8, 2, true) })]);
    told(&running);
    let elsewhere = Change::Host(Host { id: id(4), ip: [192, 0, 2, 44].into(), port: 4789 });
    running.change(false, vec![elsewhere]);
    let [one_told, ..] = told(&running);
    assert_eq!(one_told, [false, true].map(|v6| stale(7, 8, one(ip(8, 2, v6)))));
    assert_eq!(ask(&running, (7, 1), (8, 2), false).unwrap().ul3.ip.octets()[15], 44);
}

/// A host whose last guest of a network went is told nothing of that network. If one comes back, what the host has
/// of its routes may be as old as the time it went.
#[test]
fn a_guest_that_comes_back_has_no_routes_of_its_earlier_stay() {
    let running = three();
    running.change(false, vec![attach(7, 8, false)]);
    let to = |n| Change::Move { vnet: 7, ip: Some(ip(7, 1, false)), mac: None, host: id(n) };
    let away_v6 = Change::DeletePort { vnet: 7, ip: ip(7, 1, true) };
    running.change(false, vec![away_v6, to(4)]);
    told(&running);
    running.change(false, vec![detach(7, 8, false)]);
    let all = told(&running);
    assert_eq!((all[0].len(), all[3].len()), (0, 1), "host 1 is not told: it has no guest there");
    running.change(false, vec![to(1)]);
    assert_eq!(told(&running)[0].last(), Some(&arrival(7, 1, false)));
    // As it goes over the wire: every flow from this address and tag.
    let entry = svp::log::Entry::from(&arrival(7, 1, false));
    let svp::log::Entry::Route(r) = entry else { panic!("a route") };
    assert_eq!((r.src_prefix, r.dst_prefix, r.dst), (128, 96, "::ffff:0.0.0.0".parse().unwrap()));
}

#[test]
fn the_most_specific_of_several_routes_is_taken() {
    let running = three();
    running.change(false, vec![attach(7, 8, false)]);
    let route = |r_subnet: &str, r_vnet: u8| {
        Change::Route(Route {
            vnet: 7,
            vlan: 7,
            subnet: subnet(7, false),
            r_subnet: r_subnet.parse().unwrap(),
            r_dcid: 0,
            r_vnet: r_vnet.into(),
            r_vlan: r_vnet.into(),
            r_send_mac: mac(r_vnet, 254),
            net_uuid: None,
            r_net_uuid: None,
            deleted: false,
            modified: 0,
        })
    };
    // By hand, routes may overlap. The wider one is older, or younger: that makes no difference.
    running.change(false, vec![route("10.0.0.0/8", 9), route("10.8.0.2/32", 9)]);
    assert_eq!(ask(&running, (7, 1), (9, 3), false).map(|r| r.vnet), Ok(9), "by the wide one");
    assert_eq!(
        ask(&running, (7, 1), (8, 2), false),
        Err(Status::NOTFOUND),
        "not there in network 9"
    );
    let narrow = portolan::record::RouteKey {
        vnet: 7,
        vlan: 7,
        subnet: subnet(7, false),
        r_subnet: "10.8.0.2/32".parse().unwrap(),
    };
    running.change(false, vec![Change::DeleteRoute(narrow)]);
    assert_eq!(ask(&running, (7, 1), (8, 2), false).map(|r| r.vnet), Ok(8));
    let two = route("fd00::/16", 9);
    assert!(refused(&running, vec![two]).to_string().contains("both must be of IPv4"));
}

/// Sends a question and takes the answer.
fn exchanged<T>(
    running: &Running,
    version: Version,
    question: &Question,
    answer: impl FnOnce(Body<'_>) -> T,
) -> T {
    let mut stream = running.connect();
    let mut client = Client::fixed(version);
    client.ask(question).unwrap();
    let send = client.output().to_vec();
    client.wrote(send.len());
    let head = exchange(&mut stream, &send, 16);
    let size = u32::from_be_bytes(head[4..8].try_into().unwrap()) as usize;
    client.buffer().extend(head);
    client.buffer().extend(exchange(&mut stream, &[], size));
    match client.poll() {
        Ok(Some(Reply::Reply { body: Ok(body), .. })) => answer(body),
        other => panic!("{other:?}"),
    }
}

fn logged(running: &Running, version: Version) -> Vec<Uuid> {
    let question = Question::Log { count: 1024, ip: [192, 0, 2, 1].into() };
    exchanged(running, version, &question, |body| match body {
        Body::LogAck { entries, .. } => entries.iter().map(|e| e.id).collect(),
        other => panic!("{other:?}"),
    })
}

/// B24: what a client of version 1 cannot read does not keep the rest from it, and does not pile up.
#[test]
fn defect_b24_routes_do_not_hide_what_is_behind_them_from_version_1() {
    let running = three();
    let net = |n: u8| Subnet::from_v6([n; 16].into(), 64);
    let record = |n, event| Change::Log(LogRecord { host: id(1), seq: 0, id: id(n), event });
    let route = |n| {
        let (src, dst) = (net(n), net(n + 1));
        record(
            n,
            Event::Route { src_vnet: 1, dst_vnet: 2, dcid: 0, src, dst, src_vlan: 0, dst_vlan: 0 },
        )
    };
    running.change(true, (100..140).map(route).collect());
    running.change(true, vec![record(200, Event::Vl2 { mac: mac(7, 5), vnet: 7 })]);
    // Version 2 is told of routes, as many as fit.
    assert_eq!(logged(&running, Version::V2), (100..114).map(id).collect::<Vec<_>>());
    assert_eq!(logged(&running, Version::V1), [id(200)]);
    // What version 1 will never remove is gone, the rest is not.
    let left = || running.server.directory.read().host_log(id(1)).count();
    until("routes are dropped from the log", || left() == 1);
    for n in 0..100 {
        let event = if n % 2 == 0 { attach(7, 8, false) } else { detach(7, 8, false) };
        running.change(false, vec![event]);
        assert_eq!(logged(&running, Version::V1), [id(200)]);
        until("and those that come", || left() == 1);
    }
    let metrics = &running.server.metrics;
    until("they are counted", || metrics.forgotten.get() == 140);
}

/// B25: whatever is wrong with the destination is wrong with the route.
#[test]
fn defect_b25_a_route_without_its_destination_is_not_ok() {
    let all = vectors("svp_sessions.json");
    let running = run(Box::new(Faulty::default()), Limits::default());
    running.change(true, restore(&all["dbs"]["db-v2.json"]));
    let ask = |dst: &str| {
        let (src, dst) = ("::ffff:10.0.0.1".parse().unwrap(), dst.parse().unwrap());
        let req = RouteReq { vnet: 12340, vlan: 3, src, dst };
        exchanged(&running, Version::V2, &Question::Route(req), |body| match body {
            Body::RouteAck(ack) => ack,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(ask("::ffff:10.1.0.1").status, Status::OK);
    assert_eq!(ask("::ffff:10.1.0.99"), RouteAck::failed(Status::NOTFOUND), "nobody");
    assert_eq!(ask("fd00::1"), RouteAck::failed(Status::NOTFOUND), "two families");
    // A guest whose host has no underlay address, and one that is gone.
    let port = |host, deleted| Port {
        vnet: 7,
        ip: [10, 1, 0, 77].into(),
        mac: mac(7, 77),
        host,
        vlan: 5,
        router: false,
        deleted,
        modified: 0,
    };
    running.change(true, vec![Change::Port(port(id(77), false))]);
    assert_eq!(ask("::ffff:10.1.0.77"), RouteAck::failed(Status::NOTFOUND));
    running.change(true, vec![host(77), Change::Port(port(id(77), false))]);
    assert_eq!(ask("::ffff:10.1.0.77").status, Status::OK);
    running.change(true, vec![Change::Port(port(id(77), true))]);
    assert_eq!(ask("::ffff:10.1.0.77"), RouteAck::failed(Status::NOTFOUND));
}
