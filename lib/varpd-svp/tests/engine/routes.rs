// SPDX-License-Identifier: CDDL-1.0
//! Routes: asked where they are known, checked, asked again when they may be stale, and forgotten when the log says so.

use crate::rig::*;
use overlay_abi::ids::MacAddr;
use std::net::Ipv6Addr;
use svp::log::{Entry, Named, Route};
use svp::message::{RouteAck, RouteReq, Underlay};
use svp::{Status, Uuid, Version};
use varpd_svp::engine::*;

const SRC: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x0a00, 0x0001);
const DST: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x0a01, 0x0002);
const PACKET: Question = Question::Route { vlan: 3, src: SRC, dst: DST };
const OUI: [u8; 3] = [0x90, 0xb8, 0xd0];
/// That OUI, and the number of [`VNET`].
const ROUTER: MacAddr = MacAddr([0x90, 0xb8, 0xd0, 0x12, 0x34, 0x56]);

fn drop(why: Drop) -> Answer {
    Answer::Drop(why)
}

/// All flows of a network with tag 3, from 10.0.0.0/24 to 10.1.0.0/24.
fn flows() -> Route {
    Route {
        src_vnet: VNET,
        dst_vnet: 7,
        dcid: 9,
        src: "::ffff:10.0.0.0".parse().unwrap(),
        dst: "::ffff:10.1.0.0".parse().unwrap(),
        src_vlan: 3,
        dst_vlan: 5,
        src_prefix: 120,
        dst_prefix: 120,
    }
}

fn give(rig: &mut Rig, entry: Entry) {
    let (conn, token) = rig.next_poll(secs(1));
    rig.give_log(conn, token, &[Named { id: Uuid::from_u128(1), entry }]);
}

/// What the kernel was told to forget of routes.
fn flushed(rig: &mut Rig) -> Vec<(InstanceId, Route)> {
    rig.take(|output| match output {
        Output::FlushRoutes { instance, flows } => Some((*instance, *flows)),
        _ => None,
    })
}

fn said_no_routes(rig: &mut Rig) -> usize {
    let said = rig.take(|output| match output {
        Output::Event(Event { what: What::NoRoutes, .. }) => Some(()),
        _ => None,
    });
    said.len()
}

#[test]
fn routes_need_version_2() {
    let mut rig = Rig::new();
    rig.attach_as(ONE, VNET, None);
    let token = rig.lookup(PACKET);
    assert_eq!(rig.answers(), [(token, drop(Drop::Unreachable))], "nobody is connected yet");
    rig.resolved(Ok(vec![ip(1), ip(2)]));
    let (old, new) = (rig.conn_to(1).unwrap(), rig.conn_to(2).unwrap());
    rig.activate_as(old, Version::V1);
    // Said once, however many are dropped.
    for n in [1, 0, 0] {
        let token = rig.lookup(PACKET);
        assert_eq!(rig.answers(), [(token, drop(Drop::NoRoutes))]);
        assert_eq!(said_no_routes(&mut rig), n);
    }
    assert_eq!((rig.counters().no_routes, rig.counters().unreachable), (3, 1));
    // Other questions are asked as ever.
    let token = rig.vl2();
    rig.serve_all();
    assert_eq!(rig.answers(), [(token, Answer::Vl2(at()))]);
    rig.activate_as(new, Version::V2);
    for _ in 0..4 {
        let token = rig.lookup(PACKET);
        let (reply, ask) = rig.asked_one(new);
        let asked = RouteReq { vnet: VNET, vlan: 3, src: SRC, dst: DST };
        assert_eq!(ask, Ask::Route(asked));
        rig.reply(new, |out| reply.route(out, Ok(ROUTE)));
        assert_eq!(rig.answers(), [(token, routed())]);
    }
    // The one that speaks 2 is lost: no other can be asked, and that is worth a word again.
    let token = rig.lookup(PACKET);
    rig.ended(new, None);
    assert_eq!(rig.answers(), [(token, drop(Drop::Lost))]);
    rig.lookup(PACKET);
    assert_eq!(said_no_routes(&mut rig), 1);
    assert!(rig.asked(old).iter().all(|(_, ask)| !matches!(ask, Ask::Route(_))));
}

/// B5, of routes: asked again on another connection of version 2, once.
#[test]
fn b05_a_route_is_asked_again_when_its_connection_is_lost() {
    let (mut rig, conns) = Rig::up(3);
    let token = rig.lookup(PACKET);
    let on = |rig: &mut Rig| {
        let asked = conns.iter().find(|conn| !rig.asked(**conn).is_empty());
        *asked.expect("it is asked")
    };
    let first = on(&mut rig);
    rig.ended(first, None);
    let second = on(&mut rig);
    assert_ne!(first, second);
    rig.ended(second, None);
    assert_eq!(rig.answers(), [(token, drop(Drop::Lost))]);
}

#[test]
fn packets_of_two_families_have_no_route() {
    let (mut rig, conns) = Rig::up(1);
    let six: Ipv6Addr = "fd00::1".parse().unwrap();
    for (src, dst) in [(SRC, six), (six, DST)] {
        let token = rig.lookup(Question::Route { vlan: 3, src, dst });
        assert_eq!(rig.answers(), [(token, drop(Drop::Mixed))]);
    }
    assert!(rig.asked(conns[0]).is_empty(), "nobody is asked");
    assert_eq!(rig.counters().mixed, 2);
    let token = rig.lookup(Question::Route { vlan: 3, src: six, dst: six });
    rig.serve_all();
    assert_eq!(rig.answers(), [(token, routed())]);
}

/// What a directory says of a route goes into guests' frames.
#[test]
fn routes_that_cannot_be_are_dropped_and_counted() {
    let group = MacAddr([3, 0, 0, 0, 0, 1]);
    let nowhere = |port, ip| RouteAck { ul3: Underlay { port, ip }, ..ROUTE };
    for (ack, why) in [
        (nowhere(0, AT.ip), Drop::NoUnderlay),
        (nowhere(AT.port, Ipv6Addr::UNSPECIFIED), Drop::NoUnderlay),
        (RouteAck { src_mac: group, ..ROUTE }, Drop::Nonsense),
        (RouteAck { dst_mac: group, ..ROUTE }, Drop::Nonsense),
        (RouteAck { src_mac: MacAddr::ZERO, ..ROUTE }, Drop::Nonsense),
        (RouteAck { dst_mac: MacAddr::ZERO, ..ROUTE }, Drop::Nonsense),
        (RouteAck { vlan: 4095, ..ROUTE }, Drop::Nonsense),
        (RouteAck { vnet: 1 << 24, ..ROUTE }, Drop::Nonsense),
    ] {
        let (mut rig, conns) = Rig::up(1);
        let token = rig.lookup(PACKET);
        let (reply, _) = rig.asked_one(conns[0]);
        rig.reply(conns[0], |out| reply.route(out, Ok(ack)));
        assert_eq!(rig.answers(), [(token, drop(why))], "{ack:?}");
        let counters = rig.counters();
        assert_eq!(counters.nonsense + counters.no_underlay, 1);
        assert!(rig.far.contains_key(&conns[0]), "the connection is kept");
    }
}

/// The kernel calls its own data centre 0, whatever the directory calls it.
#[test]
fn the_data_centre_of_the_host_is_its_own() {
    for (dcid, want) in [(DCID, 0), (0, 0), (DCID + 1, DCID + 1)] {
        let (mut rig, conns) = Rig::up(1);
        rig.lookup(PACKET);
        let (reply, _) = rig.asked_one(conns[0]);
        rig.reply(conns[0], |out| reply.route(out, Ok(RouteAck { dcid, ..ROUTE })));
        let [(_, Answer::Route(route))] = rig.answers()[..] else { panic!("no route") };
        assert_eq!(route.dcid, want);
    }
}

/// The router of a network is known here alone, so that it is one even while nobody answers.
#[test]
fn the_routers_address_is_the_routers() {
    let mut rig = Rig::new();
    rig.attach_as(ONE, VNET, Some(OUI));
    rig.attach_as(TWO, VNET, None);
    let token = rig.lookup(Question::Vl2(ROUTER));
    assert_eq!(rig.answers(), [(token, Answer::Router)]);
    // Of another network, or without an OUI, it is an address like others.
    let other = MacAddr([0x90, 0xb8, 0xd0, 0x12, 0x34, 0x57]);
    for (instance, mac) in [(ONE, other), (TWO, ROUTER)] {
        let token = rig.lookup_as(instance, Question::Vl2(mac));
        assert_eq!(rig.answers(), [(token, drop(Drop::Unreachable))]);
    }
}

/// A route of which the log speaks is forgotten on the links of the network that it leaves, and no others.
#[test]
fn flows_are_forgotten_where_they_come_from() {
    let (mut rig, _) = Rig::up(1);
    rig.attach_as(TWO, 7, None);
    give(&mut rig, Entry::Route(flows()));
    assert_eq!(flushed(&mut rig), [(ONE, flows())], "not where they go to");
    assert_eq!(rig.counters().log_entries, 1);
}

/// A prefix of more bits than an address has is none: all is forgotten rather than nothing.
#[test]
fn prefixes_that_cannot_be_are_of_no_length() {
    let (mut rig, _) = Rig::up(1);
    give(&mut rig, Entry::Route(Route { src_prefix: 129, dst_prefix: 255, ..flows() }));
    let all = Route { src_prefix: 0, dst_prefix: 0, ..flows() };
    assert_eq!(flushed(&mut rig), [(ONE, all)]);
}

/// An answer that was made before a change and arrives after the log has said so would be stale for ever.
#[test]
fn routes_that_cross_a_log_entry_are_asked_for_again() {
    let foreign = |ip| Entry::Vl3 { ip, vlan: 5, vnet: 7 };
    let outside: Ipv6Addr = "::ffff:10.2.0.0".parse().unwrap();
    for (entry, crossed) in [
        (Entry::Route(flows()), true),
        // From everywhere to everywhere, in one way or another.
        (Entry::Route(Route { src_prefix: 0, dst_prefix: 0, ..flows() }), true),
        (Entry::Route(Route { src_prefix: 200, dst_prefix: 200, ..flows() }), true),
        (Entry::Route(Route { dst: DST, dst_prefix: 128, ..flows() }), true),
        (Entry::Route(Route { src_vnet: VNET + 1, ..flows() }), false),
        (Entry::Route(Route { src_vlan: 0, ..flows() }), false),
        (Entry::Route(Route { src: outside, ..flows() }), false),
        (Entry::Route(Route { dst: outside, ..flows() }), false),
        (Entry::Route(Route { dst: SRC, dst_prefix: 128, ..flows() }), false),
        // The guest that it goes to, in whatever network that is.
        (foreign(DST), true),
        (foreign(SRC), false),
        (Entry::Vl2 { mac: MAC, vnet: 7 }, true),
    ] {
        let (mut rig, conns) = Rig::up(2);
        let (log, log_token) = rig.next_poll(secs(1));
        let token = rig.lookup(PACKET);
        let slow = *conns.iter().find(|conn| **conn != log).unwrap();
        let (reply, _) = rig.asked_one(slow);
        rig.give_log(log, log_token, &[Named { id: Uuid::from_u128(1), entry }]);
        rig.reply(slow, |out| reply.route(out, Ok(RouteAck { vnet: 8, ..ROUTE })));
        if !crossed {
            assert!(matches!(rig.answers()[..], [(of, Answer::Route(_))] if of == token));
            continue;
        }
        assert_eq!(rig.answers(), [], "{entry:?}");
        rig.serve_all();
        assert_eq!(rig.answers(), [(token, routed())], "{entry:?}");
        assert_eq!(rig.counters().crossed, 1);
    }
}

/// A directory that knows no route, or fails: the packet is dropped.
#[test]
fn b25_a_route_that_the_directory_cannot_find_is_dropped() {
    for (status, why) in [(Status::NOTFOUND, Drop::NotFound), (Status::FATAL, Drop::Failed)] {
        let (mut rig, conns) = Rig::up(1);
        let token = rig.lookup(PACKET);
        let (reply, _) = rig.asked_one(conns[0]);
        rig.reply(conns[0], |out| reply.route(out, Err(status)));
        assert_eq!(rig.answers(), [(token, drop(why))]);
    }
    // As the original said it: OK, and nothing else.
    let (mut rig, conns) = Rig::up(1);
    let token = rig.lookup(PACKET);
    let (reply, _) = rig.asked_one(conns[0]);
    rig.reply(conns[0], |out| reply.route(out, Ok(RouteAck::failed(Status::OK))));
    assert_eq!(rig.answers(), [(token, drop(Drop::NoUnderlay))]);
}
