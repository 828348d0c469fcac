// SPDX-License-Identifier: CDDL-1.0
//! Lookups: spread, answered, lost, dropped, and each exactly once.

use crate::rig::*;
use overlay_abi::ids::MacAddr;
use std::time::Duration;
use svp::message::Underlay;
use svp::{L3Type, Status};
use varpd_svp::engine::*;

const PACKET: Question = Question::Route { vlan: 3, src: AT.ip, dst: AT.ip };

fn drop(why: Drop) -> Answer {
    Answer::Drop(why)
}

#[test]
fn answers_are_those_of_the_directory() {
    let vl2 = Question::Vl2(MAC);
    let four = Question::Vl3([10, 0, 0, 1].into());
    let six = Question::Vl3("fd00::1".parse().unwrap());
    let (mut rig, conns) = Rig::up(1);
    for question in [vl2, four, six] {
        rig.lookup(question);
    }
    let asks = rig.asked(conns[0]);
    let only: Vec<_> = asks.iter().map(|(_, ask)| ask.clone()).collect();
    assert_eq!(
        only,
        [
            Ask::Vl2(MAC, VNET),
            Ask::Vl3("::ffff:10.0.0.1".parse().unwrap(), L3Type::IPV4, VNET),
            Ask::Vl3("fd00::1".parse().unwrap(), L3Type::IPV6, VNET),
        ]
    );
    rig.reply(conns[0], |out| asks.iter().rev().for_each(|(token, ask)| good(*token, ask, out)));
    let found = Answer::Vl3 { mac: MAC, at: Some(at()) };
    // In the order of the replies, which was the reverse.
    let want = [(Token(3), found), (Token(2), found), (Token(1), Answer::Vl2(at()))];
    assert_eq!(rig.answers(), want);
    assert_eq!((rig.counters().lookups, rig.counters().found), (3, 3));
}

/// B15: a status is "no" whatever its number; FATAL drops the packet and leaves the connection.
#[test]
fn b15_whatever_is_not_ok_drops_the_packet() {
    for (status, why) in [
        (Status::NOTFOUND, Drop::NotFound),
        (Status::FATAL, Drop::Failed),
        (Status::BADL3TYPE, Drop::Failed),
        (Status(0x8000), Drop::Failed),
    ] {
        let (mut rig, conns) = Rig::up(1);
        for question in [Question::Vl2(MAC), Question::Vl3(ip(1)), PACKET] {
            let token = rig.lookup(question);
            let (reply, ask) = rig.asked_one(conns[0]);
            rig.reply(conns[0], |out| match ask {
                Ask::Vl2(..) => reply.vl2(out, Err(status)),
                Ask::Vl3(..) => reply.vl3(out, Err(status)),
                _ => reply.route(out, Err(status)),
            });
            assert_eq!(rig.answers(), [(token, drop(why))]);
        }
        assert!(rig.far.contains_key(&conns[0]));
    }
}

#[test]
fn questions_go_round_all_active_connections() {
    let (mut rig, conns) = Rig::up(3);
    rig.ended(conns[1], None);
    for _ in 0..10 {
        rig.vl2();
    }
    assert_eq!((rig.asked(conns[0]).len(), rig.asked(conns[2]).len()), (5, 5));
}

#[test]
fn without_an_active_connection_lookups_are_dropped_at_once() {
    let mut rig = Rig::new();
    let token = rig.vl2();
    assert_eq!(rig.answers(), [(token, drop(Drop::Detached))]);
    rig.attach_as(ONE, VNET, None);
    let token = rig.vl2();
    assert_eq!(rig.answers(), [(token, drop(Drop::Unreachable))]);
    rig.resolved(Ok(vec![ip(1)]));
    let conn = rig.conn_to(1).unwrap();
    rig.connected(conn);
    let token = rig.vl2();
    assert_eq!(rig.answers(), [(token, drop(Drop::Unreachable))]);
    assert_eq!(rig.counters().unreachable, 2);
}

/// B5: what a connection takes along is asked again on another, in order, once.
#[test]
fn b05_lost_connection_asks_another() {
    let (mut rig, conns) = Rig::up(2);
    let tokens: Vec<_> = (0..10u8).map(|n| rig.lookup(Question::Vl3(ip(n)))).collect();
    rig.asked(conns[0]);
    let first = rig.asked(conns[1]);
    rig.ended(conns[0], Some("Connection reset by peer"));
    assert_eq!(rig.answers(), []);
    let again = rig.asked(conns[1]);
    assert_eq!((first.len(), again.len()), (5, 5));
    rig.reply(conns[1], |out| {
        first.iter().chain(&again).for_each(|(token, ask)| good(*token, ask, out));
    });
    let found = Answer::Vl3 { mac: MAC, at: Some(at()) };
    let mut answers = rig.answers();
    answers.sort_by_key(|(token, _)| *token);
    assert_eq!(answers, tokens.iter().map(|token| (*token, found)).collect::<Vec<_>>());
    assert_eq!(rig.counters().retried, 5);
}

#[test]
fn a_lookup_is_asked_again_only_once() {
    let (mut rig, conns) = Rig::up(3);
    let token = rig.vl2();
    let on = |rig: &mut Rig| *conns.iter().find(|conn| !rig.asked(**conn).is_empty()).unwrap();
    let first = on(&mut rig);
    rig.ended(first, None);
    assert_eq!(rig.answers(), []);
    let second = on(&mut rig);
    rig.ended(second, None);
    assert_eq!(rig.answers(), [(token, drop(Drop::Lost))]);
    // The last connection in its turn has nobody to take over.
    let token = rig.vl2();
    let third = on(&mut rig);
    rig.ended(third, None);
    assert_eq!(rig.answers(), [(token, drop(Drop::Lost))]);
    assert_eq!(rig.counters().lost, 2);
}

/// B11, B13: numbers of lost questions are not lost; the next connection begins anew.
#[test]
fn b11_a_lost_connection_leaves_nothing_behind() {
    let (mut rig, conns) = Rig::up(1);
    let mut conn = conns[0];
    for _ in 0..50 {
        for _ in 0..20 {
            rig.vl2();
        }
        rig.asked(conn);
        rig.ended(conn, None);
        assert_eq!((rig.unanswered(), rig.peer(1).outstanding, rig.peer(1).waiting), (0, 0, 0));
        conn = rig.reconnect(1);
        rig.activate(conn);
        rig.vl2();
        rig.serve_all();
    }
    assert_eq!(rig.unanswered(), 0);
}

#[test]
fn next_hops_without_underlay_are_routers() {
    let oui = Some([0x90, 0xb8, 0xd0]);
    for (oui, want) in [
        (None, drop(Drop::NoUnderlay)),
        (oui, Answer::Vl3 { mac: MacAddr([0x90, 0xb8, 0xd0, 0x12, 0x34, 0x56]), at: None }),
    ] {
        for ul3 in [
            Underlay::NONE,
            Underlay { port: 0, ..AT },
            Underlay { ip: Underlay::NONE.ip, port: AT.port },
        ] {
            let (mut rig, conns) = Rig::up(1);
            let conn = conns[0];
            rig.attach_as(TWO, VNET, oui);
            let token = rig.lookup_as(TWO, Question::Vl3(ip(9)));
            let reply = rig.asked_one(conn).0;
            rig.reply(conn, |out| reply.vl3(out, Ok((MAC, ul3))));
            assert_eq!(rig.answers(), [(token, want)]);
            // Frames cannot be sent to an address that is none.
            let token = rig.lookup_as(TWO, Question::Vl2(MAC));
            let reply = rig.asked_one(conn).0;
            rig.reply(conn, |out| reply.vl2(out, Ok(ul3)));
            assert_eq!(rig.answers(), [(token, drop(Drop::NoUnderlay))]);
        }
    }
}

#[test]
pub fn an_instance_that_goes_is_answered_and_the_other_goes_on() {
    let (mut rig, conns) = Rig::up(1);
    rig.attach_as(TWO, 8, None);
    let gone = rig.lookup_as(ONE, Question::Vl2(MAC));
    let stays = rig.lookup_as(TWO, Question::Vl2(MAC));
    rig.input(Input::Detach { instance: ONE });
    assert_eq!(rig.answers(), [(gone, drop(Drop::Detached))]);
    rig.serve_all();
    assert_eq!(rig.answers(), [(stays, Answer::Vl2(at()))]);
    // Its reply, too, was good.
    assert_eq!(rig.peer(1).counters.replies, 2);
    // What is lost later is nobody's loss.
    rig.attach_as(ONE, VNET, None);
    rig.vl2();
    rig.input(Input::Detach { instance: ONE });
    rig.answers();
    rig.ended(conns[0], None);
    assert_eq!((rig.answers(), rig.counters().retried), (vec![], 0));
}

/// However much is asked, what one connection holds is bounded.
#[test]
fn outstanding_questions_and_waiting_bytes_are_bounded() {
    let limits = Limits::default();
    let most = limits.questions;
    let (mut rig, conns) = Rig::up(2);
    for _ in 0..3 * most {
        rig.lookup(PACKET);
    }
    let answers = rig.answers();
    assert_eq!(answers.len(), most);
    assert!(answers.iter().all(|(_, answer)| *answer == drop(Drop::Busy)));
    for n in [1, 2] {
        assert_eq!(rig.peer(n).outstanding, most);
        assert_eq!(rig.peer(n).waiting, most * (16 + 40));
    }
    // Both are lost one after the other: nothing fits anywhere, and all is answered.
    rig.ended(conns[0], None);
    assert_eq!(rig.unanswered(), most);
    rig.ended(conns[1], None);
    assert_eq!(rig.unanswered(), 0);
}

/// A peer that does not read: bytes wait, until its silence ends it.
#[test]
fn a_peer_that_does_not_read_is_lost() {
    let (mut rig, conns) = Rig::up(1);
    rig.vl2();
    assert_eq!(rig.engine.pending(conns[0]).len(), 28);
    rig.write(conns[0], 5);
    rig.pass(Duration::from_millis(9_999));
    // The rest, and a LOG_REQ.
    assert_eq!(rig.engine.pending(conns[0]).len(), 23 + 36);
    rig.pass(Duration::from_millis(1));
    assert!(rig.engine.pending(conns[0]).is_empty());
    assert!(!rig.far.contains_key(&conns[0]));
}
