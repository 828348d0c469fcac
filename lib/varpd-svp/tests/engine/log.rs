// SPDX-License-Identifier: CDDL-1.0
//! The log: acted on, then removed; soon, without hammering.

use crate::rig::*;
use overlay_abi::ids::MacAddr;
use std::net::Ipv6Addr;
use std::time::Duration;
use svp::log::{Entry, Named, Route};
use svp::message::Underlay;
use svp::server::Token as Reply;
use svp::{L3Type, Status, Uuid};
use varpd_svp::engine::*;

fn named(n: u128, entry: Entry) -> Named {
    Named { id: Uuid::from_u128(n), entry }
}

fn vl2(n: u128, vnet: u32) -> Named {
    named(n, Entry::Vl2 { mac: MAC, vnet })
}

fn vl3(n: u128, ip: &str) -> Named {
    named(n, Entry::Vl3 { ip: ip.parse().unwrap(), vlan: 3, vnet: VNET })
}

fn route(n: u128) -> Route {
    Route {
        src_vnet: VNET,
        dst_vnet: 7,
        dcid: n as u32,
        src: Ipv6Addr::LOCALHOST,
        dst: Ipv6Addr::LOCALHOST,
        src_vlan: 3,
        dst_vlan: 5,
        src_prefix: 120,
        dst_prefix: 120,
    }
}

fn ids(numbers: &[u128]) -> Vec<Uuid> {
    numbers.iter().map(|n| Uuid::from_u128(*n)).collect()
}

/// What was told to the kernel and the guests.
fn acted(rig: &mut Rig) -> Vec<Output> {
    rig.take(|output| match output {
        Output::Invalidate { .. } | Output::Announce { .. } | Output::FlushRoutes { .. } => {
            Some(output.clone())
        }
        _ => None,
    })
}

/// The LOG_RM that comes next, on any connection.
fn removal(rig: &mut Rig, conns: &[ConnId]) -> (ConnId, Reply, Vec<Uuid>) {
    let due = rig.engine.deadline().unwrap();
    assert!(due <= rig.now, "LOG_RM is due at once");
    rig.until(due);
    for conn in conns {
        if let Some((token, Ask::LogRm(ids))) = rig.asked(*conn).pop() {
            return (*conn, token, ids);
        }
    }
    panic!("no LOG_RM");
}

#[test]
fn entries_are_acted_on_and_then_removed() {
    let (mut rig, conns) = Rig::up(1);
    rig.attach_as(TWO, VNET, None);
    let (conn, token) = rig.next_poll(secs(1));
    let flows = route(4);
    rig.give_log(
        conn,
        token,
        &[
            vl2(1, VNET),
            vl3(2, "::ffff:10.0.0.1"),
            vl3(3, "fd00::1"),
            named(4, Entry::Route(flows)),
            vl2(5, 99),
        ],
    );
    let all = |make: fn(InstanceId) -> Output| [make(ONE), make(TWO)];
    let told = acted(&mut rig);
    assert_eq!(told[..2], all(|instance| Output::Invalidate { instance, mac: MAC }));
    assert_eq!(told[2..], all(|instance| Output::FlushRoutes { instance, flows: route(4) }));
    let follow = rig.asked(conn);
    assert_eq!(
        follow.iter().map(|(_, ask)| ask.clone()).collect::<Vec<_>>(),
        [
            Ask::Vl3("::ffff:10.0.0.1".parse().unwrap(), L3Type::IPV4, VNET),
            Ask::Vl3("fd00::1".parse().unwrap(), L3Type::IPV6, VNET),
        ]
    );
    let other = MacAddr([2; 6]);
    rig.reply(conn, |out| follow[1].0.vl3(out, Ok((other, AT))));
    let announce = |instance, ip: &str| Output::Announce {
        instance,
        vlan: 3,
        mac: other,
        ip: ip.parse().unwrap(),
    };
    assert_eq!(acted(&mut rig), [announce(ONE, "fd00::1"), announce(TWO, "fd00::1")]);
    // Nothing is removed before the last one was acted on.
    rig.pass(Duration::from_millis(500));
    assert!(rig.asked(conn).is_empty());
    rig.reply(conn, |out| follow[0].0.vl3(out, Ok((other, AT))));
    assert_eq!(acted(&mut rig), [announce(ONE, "10.0.0.1"), announce(TWO, "10.0.0.1")]);
    let (conn, token, mut gone) = removal(&mut rig, &conns);
    gone.sort();
    assert_eq!(gone, ids(&[1, 2, 3, 4, 5]));
    rig.reply(conn, |out| token.log_rm(out, Status::OK));
    assert_eq!((rig.counters().log_entries, rig.counters().log_removed), (5, 5));
}

/// LOG_RM is not among the bytes to be written before the edge has done all that the batch says.
#[test]
fn nothing_is_removed_in_the_call_that_acts() {
    let (mut rig, _) = Rig::up(1);
    let (conn, token) = rig.next_poll(secs(1));
    // Bytes are waiting already: no further Send will come.
    rig.vl2();
    let before = rig.engine.pending(conn).len();
    rig.give_log(conn, token, &[vl2(1, VNET)]);
    assert_eq!(rig.engine.pending(conn).len(), before);
    rig.input(Input::Tick);
    assert_eq!(rig.engine.pending(conn).len(), before + 16 + 4 + 16);
}

#[test]
pub fn follow_ups_that_fail_leave_their_entries_in_the_log() {
    let fatal = |rig: &mut Rig, conn, token: Reply| {
        rig.reply(conn, |out| token.vl3(out, Err(Status::FATAL)))
    };
    let (mut rig, conns) = Rig::up(1);
    let (conn, token) = rig.next_poll(secs(1));
    rig.give_log(conn, token, &[vl3(1, "fd00::1"), vl3(2, "fd00::2"), vl3(3, "fd00::3")]);
    let follow = rig.asked(conn);
    fatal(&mut rig, conn, follow[0].0);
    rig.reply(conn, |out| {
        follow[1].0.vl3(out, Err(Status::NOTFOUND));
        good(follow[2].0, &follow[2].1, out);
    });
    // Nobody is announced for NOTFOUND, and there is nothing more to do about it.
    assert_eq!(acted(&mut rig).len(), 1);
    let (conn, token, gone) = removal(&mut rig, &conns);
    assert_eq!(gone, ids(&[2, 3]));
    rig.reply(conn, |out| token.log_rm(out, Status::OK));

    // None of a batch: nothing is removed, and it waits.
    let (conn, token) = rig.next_poll(Duration::from_millis(50));
    rig.give_log(conn, token, &[vl3(1, "fd00::1")]);
    let (token, _) = rig.asked_one(conn);
    fatal(&mut rig, conn, token);
    let lost = rig.now;
    rig.next_poll(secs(10));
    assert!(rig.now - lost >= secs(5));
}

#[test]
fn routers_are_announced_by_the_address_we_give_them() {
    let (mut rig, _) = Rig::up(1);
    rig.attach_as(TWO, VNET, Some([0x90, 0xb8, 0xd0]));
    let (conn, token) = rig.next_poll(secs(1));
    rig.give_log(conn, token, &[vl3(1, "::ffff:10.0.0.1")]);
    let (token, _) = rig.asked_one(conn);
    rig.reply(conn, |out| token.vl3(out, Ok((MAC, Underlay::NONE))));
    let mac = MacAddr([0x90, 0xb8, 0xd0, 0x12, 0x34, 0x56]);
    let ip = [10, 0, 0, 1].into();
    assert_eq!(acted(&mut rig), [Output::Announce { instance: TWO, vlan: 3, mac, ip }]);
}

#[test]
pub fn a_backlog_is_read_at_once_and_the_server_is_not_hammered() {
    let (mut rig, conns) = Rig::up(1);
    let mut polls = Vec::new();
    for batch in 0..20u128 {
        let (conn, token) =
            rig.next_poll(if batch == 0 { secs(1) } else { Duration::from_millis(50) });
        polls.push(rig.now);
        rig.give_log(conn, token, &[vl2(batch, VNET)]);
        let (conn, token, _) = removal(&mut rig, &conns);
        rig.reply(conn, |out| token.log_rm(out, Status::OK));
    }
    assert!(polls.windows(2).all(|pair| pair[1] - pair[0] == Duration::from_millis(50)));
}

/// The sooner a directory says that there is nothing, the sooner it is asked again.
#[test]
fn an_empty_log_is_asked_for_as_often_as_the_server_bears() {
    for (took, least) in
        [(0, 1000), (1, 1000), (2, 1000), (4, 2000), (8, 4000), (10, 5000), (900, 5000)]
    {
        let (mut rig, _) = Rig::up(1);
        let mut waits = Vec::new();
        for _ in 0..20 {
            let (conn, token) = rig.next_poll(secs(10));
            rig.pass(Duration::from_millis(took));
            rig.give_log(conn, token, &[]);
            let given = rig.now;
            let resolves = rig.resolves();
            if let [remote] = resolves[..] {
                rig.answer_dns(remote, Ok(vec![ip(1)]));
            }
            while rig.engine.pending(conn).is_empty() {
                rig.until(rig.engine.deadline().unwrap());
            }
            waits.push(rig.now - given);
        }
        let (min, max) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
        let least = Duration::from_millis(least);
        assert!(min >= least && max <= least * 2, "{took} ms: {min:?} to {max:?}");
        assert!(max - min > least / 4, "no jitter: {waits:?}");
    }
}

/// A directory that confirms a removal and gives the entries again is asked as seldom as one without any.
#[test]
fn a_log_that_does_not_shrink_is_asked_for_slowly() {
    let (mut rig, conns) = Rig::up(1);
    let start = rig.now;
    let mut polls = 0;
    while rig.now < start + secs(100) {
        let (conn, token) = rig.next_poll(secs(10));
        polls += 1;
        rig.give_log(conn, token, &[vl2(1, VNET)]);
        assert_eq!(acted(&mut rig).len(), 1, "acted on each time");
        let (conn, token, _) = removal(&mut rig, &conns);
        rig.reply(conn, |out| token.log_rm(out, Status::OK));
    }
    assert!(polls <= 40, "{polls} polls in 100 s");
}

#[test]
pub fn refusals_wait_and_are_complained_of_once() {
    let complaints = |rig: &mut Rig| {
        rig.take(|output| match output {
            Output::Event(Event {
                what: what @ (What::LogStatus(_) | What::LogRefused(_)),
                ..
            }) => Some(what.clone()),
            _ => None,
        })
    };
    let (mut rig, conns) = Rig::up(1);
    let mut told = Vec::new();
    for _ in 0..5 {
        let (conn, token) = rig.next_poll(secs(10));
        rig.reply(conn, |out| token.log(out, Status::FATAL, [vl2(1, VNET)]));
        told.extend(complaints(&mut rig));
    }
    assert_eq!(told, [What::LogStatus(Status::FATAL)]);
    assert_eq!(acted(&mut rig), []);
    // A batch with one bad entry: nothing of it is acted on, and the connection stays.
    let (conn, token) = rig.next_poll(secs(10));
    let mut bytes = Vec::new();
    token.log(&mut bytes, Status::OK, [vl2(1, VNET), vl2(2, VNET)]);
    let bytes = tampered(bytes, 16 + 4 + 32 + 3, 9);
    rig.send(conn, &bytes);
    assert_eq!(acted(&mut rig), []);
    assert!(matches!(
        complaints(&mut rig)[..],
        [What::LogRefused(svp::Refusal::LogEntryType { at: 32, kind: 9 })]
    ));
    assert!(rig.far.contains_key(&conn));
    // A good answer, and the next refusal is worth a word again.
    let (conn, token) = rig.next_poll(secs(10));
    rig.give_log(conn, token, &[vl2(1, VNET)]);
    let (conn, token, _) = removal(&mut rig, &conns);
    rig.reply(conn, |out| token.log_rm(out, Status::FATAL));
    assert_eq!(complaints(&mut rig), [What::LogStatus(Status::FATAL)]);
    let refused = rig.now;
    rig.next_poll(secs(10));
    assert!(rig.now - refused >= secs(5));
    assert_eq!(rig.counters().log_errors, 7);
}

/// The message with one byte changed and its checksum made to fit.
fn tampered(bytes: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    let (frame, _) = svp::frame::first(&bytes).unwrap().unwrap();
    let header = frame.header;
    let mut payload = frame.payload.to_vec();
    payload[at - svp::HEADER] = value;
    let mut out = Vec::new();
    svp::frame::append(&mut out, header.version, header.op, header.id, |out| out.extend(payload));
    out
}

/// B13: the connection is lost with a request of the cycle outstanding, at each step of it.
#[test]
fn b13_the_cycle_survives_losses_at_each_step() {
    for step in ["LOG_REQ", "VL3_REQ", "LOG_RM"] {
        for others in [0, 1] {
            let (mut rig, mut conns) = Rig::up(1 + others);
            let (mut conn, mut token) = rig.next_poll(secs(1));
            if step != "LOG_REQ" {
                rig.give_log(conn, token, &[vl2(1, VNET), vl3(2, "fd00::1")]);
                (conn, token) = conns
                    .iter()
                    .find_map(|conn| Some((*conn, rig.asked(*conn).pop()?.0)))
                    .expect("a follow-up lookup");
            }
            if step == "LOG_RM" {
                rig.reply(conn, |out| token.vl3(out, Ok((MAC, AT))));
                (conn, _, _) = removal(&mut rig, &conns);
            }
            rig.ended(conn, None);
            conns.retain(|other| *other != conn);
            if others == 1 {
                // Asked again over the other one, and the cycle goes on.
                let (_, ask) = rig.asked_one(conns[0]);
                match step {
                    "LOG_REQ" => assert!(matches!(ask, Ask::Log(..))),
                    "VL3_REQ" => assert!(matches!(ask, Ask::Vl3(..))),
                    _ => assert_eq!(ask, Ask::LogRm(ids(&[1, 2]))),
                }
                continue;
            }
            // VL2 was acted on, so it goes when there is somebody to tell.
            let lost = rig.now;
            let conn = rig.reconnect(1);
            rig.activate(conn);
            let (conn, token) = rig.next_poll(secs(11));
            assert!(rig.now - lost <= secs(11), "{step}: waits too long");
            rig.give_log(conn, token, &[]);
        }
    }
}

#[test]
fn no_request_of_the_log_is_outstanding_twice() {
    let (mut rig, conns) = Rig::up(2);
    let (conn, token) = rig.next_poll(secs(1));
    // The answer takes its time; other things go on.
    for _ in 0..5 {
        rig.pass(secs(1));
        for conn in &conns {
            assert!(rig.asked(*conn).iter().all(|(_, ask)| !matches!(ask, Ask::Log(..))));
        }
    }
    rig.give_log(conn, token, &[]);
}

/// An answer that was made before the move and arrives after the log said so would be stale for ever.
#[test]
fn answers_that_cross_a_log_entry_are_asked_for_again() {
    let elsewhere = Underlay { port: 1, ..AT };
    let moved = MacAddr([2, 2, 2, 2, 2, 2]);
    for (question, entry, crossed) in [
        (Question::Vl2(MAC), vl2(1, VNET), true),
        (Question::Vl2(moved), vl2(1, VNET), false),
        (Question::Vl2(MAC), vl2(1, VNET + 1), false),
        (Question::Vl3(ip(1)), vl2(1, VNET), true),
        (Question::Vl3(ip(1)), vl3(1, "::ffff:192.0.2.1"), true),
        (Question::Vl3(ip(1)), vl3(1, "::ffff:192.0.2.2"), false),
        (Question::Vl2(MAC), vl3(1, "::ffff:192.0.2.2"), false),
    ] {
        let (mut rig, conns) = Rig::up(2);
        let (log, log_token) = rig.next_poll(secs(1));
        // Asked on the other connection, answered late.
        let token = rig.lookup(question);
        let slow = *conns.iter().find(|conn| **conn != log).unwrap();
        let (reply, ask) = rig.asked_one(slow);
        rig.give_log(log, log_token, &[entry]);
        let say = |rig: &mut Rig, conn, reply: Reply, ask: &Ask, at| {
            rig.reply(conn, |out| match ask {
                Ask::Vl2(..) => reply.vl2(out, Ok(at)),
                _ => reply.vl3(out, Ok((MAC, at))),
            });
        };
        say(&mut rig, slow, reply, &ask, AT);
        if !crossed {
            assert!(matches!(rig.answers()[..], [(_, Answer::Vl2(_) | Answer::Vl3 { .. })]));
            continue;
        }
        assert_eq!(rig.answers(), [], "{question:?} {entry:?}");
        let again = conns.iter().flat_map(|conn| {
            rig.asked(*conn).into_iter().map(|(token, ask)| (*conn, token, ask)).collect::<Vec<_>>()
        });
        let (conn, reply, ask) = again.last().expect("asked again");
        say(&mut rig, conn, reply, &ask, elsewhere);
        let at = Some(elsewhere)
            .map(|ul3| overlay_abi::ids::UnderlayAddr { ip: ul3.ip.octets(), port: ul3.port });
        let want = match question {
            Question::Vl2(_) => Answer::Vl2(at.unwrap()),
            _ => Answer::Vl3 { mac: MAC, at },
        };
        assert_eq!(rig.answers(), [(token, want)]);
        assert_eq!(rig.counters().crossed, 1);
    }
}

#[test]
fn entries_of_networks_that_nobody_has_here_are_removed() {
    let (mut rig, conns) = Rig::up(1);
    let (conn, token) = rig.next_poll(secs(1));
    rig.give_log(
        conn,
        token,
        &[vl2(1, 99), named(2, Entry::Vl3 { ip: Ipv6Addr::LOCALHOST, vlan: 0, vnet: 99 })],
    );
    let (token, ask) = rig.asked_one(conn);
    assert_eq!(ask, Ask::Vl3(Ipv6Addr::LOCALHOST, L3Type::IPV6, 99));
    rig.reply(conn, |out| token.vl3(out, Ok((MAC, AT))));
    assert_eq!(acted(&mut rig), []);
    assert_eq!(removal(&mut rig, &conns).2, ids(&[1, 2]));
}

/// B1: 32 entries, 1028 bytes for a request of 1024, are taken; more end the connection.
#[test]
pub fn b01_more_log_than_asked_for_ends_the_connection() {
    for (entries, taken) in [(32u128, true), (33, false), (2000, false)] {
        let (mut rig, conns) = Rig::up(1);
        let (conn, token) = rig.next_poll(secs(1));
        let all: Vec<_> = (0..entries).map(|n| vl2(n, VNET)).collect();
        rig.give_log(conn, token, &all);
        assert_eq!(rig.far.contains_key(&conn), taken);
        assert_eq!(acted(&mut rig).len(), if taken { 32 } else { 0 });
        if taken {
            assert_eq!(removal(&mut rig, &conns).2.len(), 32);
        }
    }
}
