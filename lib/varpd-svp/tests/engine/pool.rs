// SPDX-License-Identifier: CDDL-1.0
//! Connections: by DNS, through their states, and lost in each of them.

use crate::rig::*;
use std::net::IpAddr;
use std::time::Duration;
use svp::Version;
use varpd_svp::engine::*;

fn state(rig: &Rig, n: u8) -> &'static str {
    rig.peer(n).state
}

#[test]
fn each_address_gets_one_connection_whatever_its_spelling() {
    let mut rig = Rig::new();
    rig.attach_as(ONE, VNET, None);
    let twice: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
    let six: IpAddr = "2001:db8::1".parse().unwrap();
    rig.resolved(Ok(vec![ip(1), twice, six, ip(1), six]));
    let mut addrs: Vec<_> = rig.far.values().map(|far| far.addr.ip()).collect();
    addrs.sort();
    assert_eq!(addrs, [ip(1), six]);
    // The same answer again changes nothing, in another order neither.
    rig.refresh(Ok(vec![six, ip(1)]));
    assert_eq!(
        rig.tried.len(),
        rig.far.len()
            + rig.engine.status()[0].peers.iter().map(|p| p.failures as usize).sum::<usize>()
    );
}

#[test]
fn a_connection_goes_through_its_states() {
    let mut rig = Rig::new();
    rig.attach_as(ONE, VNET, None);
    rig.resolved(Ok(vec![ip(1)]));
    let conn = rig.conn_to(1).unwrap();
    assert_eq!(state(&rig, 1), "CONNECTING");
    rig.connected(conn);
    assert_eq!(state(&rig, 1), "VERSIONING");
    let (token, _) = rig.asked_one(conn);
    rig.reply(conn, |out| token.pong(out));
    assert_eq!((state(&rig, 1), rig.peer(1).version), ("ACTIVE", Some(2)));
    rig.ended(conn, None);
    assert_eq!(state(&rig, 1), "BACKOFF");
    assert_eq!(rig.peer(1).last_error.as_deref(), Some("closed by the peer"));
    rig.pass(Duration::from_millis(1250));
    assert_eq!(state(&rig, 1), "CONNECTING");
    assert_ne!(rig.conn_to(1), Some(conn));
}

#[test]
fn the_version_of_the_pong_is_the_connections() {
    for version in [Version::V1, Version::V2] {
        let mut rig = Rig::new();
        rig.attach_as(ONE, VNET, None);
        rig.resolved(Ok(vec![ip(1)]));
        let conn = rig.conn_to(1).unwrap();
        rig.activate_as(conn, version);
        assert_eq!(rig.peer(1).version, Some(version.wire()));
        rig.vl2();
        let (token, ask) = rig.asked_one(conn);
        assert_eq!((token.version, ask), (version, Ask::Vl2(MAC, VNET)));
    }
}

#[test]
fn waits_double_up_to_32_seconds_with_a_quarter_of_jitter() {
    let mut rig = Rig::new();
    rig.attach_as(ONE, VNET, None);
    rig.resolved(Ok(vec![ip(1)]));
    let mut waits = Vec::new();
    for wait in [1, 2, 4, 8, 16, 32, 32, 32] {
        let conn = rig.conn_to(1).unwrap();
        rig.ended(conn, Some("refused"));
        let lost = rig.now;
        rig.reconnect(1);
        let waited = rig.now - lost;
        assert!(waited >= secs(wait) && waited <= secs(wait) * 5 / 4, "{waited:?}");
        waits.push(waited.as_secs_f64() / secs(wait).as_secs_f64());
    }
    waits.sort_by(f64::total_cmp);
    assert!(waits[7] - waits[0] > 0.01, "no jitter: {waits:?}");
}

/// B8: no state waits for ever.
#[test]
pub fn b08_every_state_times_out() {
    let lost = |rig: &mut Rig, within: u64| {
        let conn = rig.conn_to(1).unwrap();
        rig.pass(secs(within) - Duration::from_millis(1));
        assert_eq!(rig.conn_to(1), Some(conn), "too early");
        rig.pass(Duration::from_millis(1));
        assert!(!rig.far.contains_key(&conn));
        rig.peer(1).last_error.unwrap()
    };
    let mut rig = Rig::new();
    rig.attach_as(ONE, VNET, None);
    rig.resolved(Ok(vec![ip(1)]));
    assert_eq!(lost(&mut rig, 10), "not connected in time");

    let conn = rig.reconnect(1);
    rig.connected(conn);
    assert_eq!(lost(&mut rig, 10), "no answer to the first message");

    // A question that was never written.
    let (mut rig, _) = Rig::up(1);
    let token = rig.vl2();
    assert_eq!(lost(&mut rig, 10), "questions are not answered in time");
    assert_eq!(rig.answers(), [(token, Answer::Drop(Drop::Lost))]);

    // One that was written, of a member that leaves.
    let (mut rig, conns) = Rig::up(1);
    rig.live(secs(29));
    rig.vl2();
    rig.asked(conns[0]);
    rig.refresh(Ok(vec![ip(2)]));
    assert_eq!(state(&rig, 1), "WINDDOWN");
    rig.pass(secs(10));
    assert!(!rig.far.contains_key(&conns[0]));
}

/// A peer that keeps talking and never answers one question.
#[test]
fn b08_a_question_times_out_though_others_are_answered() {
    let (mut rig, conns) = Rig::up(1);
    let token = rig.vl2();
    rig.asked(conns[0]);
    for second in 0..30 {
        assert!(rig.far.contains_key(&conns[0]), "lost after {second} s");
        rig.vl2();
        rig.serve_all();
        rig.pass(secs(1));
    }
    assert!(!rig.far.contains_key(&conns[0]));
    assert!(rig.answers().contains(&(token, Answer::Drop(Drop::Lost))));
}

/// B6, B7: an address that leaves DNS in any state takes its connection along, and nothing else.
#[test]
pub fn b06_b07_an_address_leaves_in_every_state() {
    for stage in ["CONNECTING", "VERSIONING", "ACTIVE", "BACKOFF"] {
        let mut rig = Rig::new();
        rig.attach_as(ONE, VNET, None);
        rig.resolved(Ok(vec![ip(1), ip(2)]));
        let stays = rig.conn_to(2).unwrap();
        rig.activate(stays);
        // Until just before the next answer.
        rig.live(secs(30));
        let conn = rig.conn_to(1).unwrap();
        match stage {
            "CONNECTING" => {}
            "VERSIONING" => rig.connected(conn),
            "ACTIVE" => rig.activate(conn),
            _ => rig.ended(conn, Some("reset")),
        }
        assert_eq!(state(&rig, 1), stage);
        rig.refresh(Ok(vec![ip(2)]));
        let peers: Vec<_> = rig.engine.status()[0].peers.iter().map(|p| p.addr.ip()).collect();
        assert_eq!(peers, [ip(2)], "{stage}");
        assert_eq!(rig.far.keys().copied().collect::<Vec<_>>(), [stays], "{stage}");
        rig.vl2();
        rig.serve_all();
        assert!(matches!(rig.answers()[..], [(_, Answer::Vl2(_))]));
    }
}

#[test]
fn a_leaving_connection_ends_after_its_last_reply_and_takes_no_questions() {
    let (mut rig, conns) = Rig::up(2);
    rig.live(secs(29));
    let tokens = [rig.vl2(), rig.vl2()];
    let old = rig.asked_one(conns[0]).0;
    rig.asked(conns[1]);
    rig.refresh(Ok(vec![ip(2)]));
    assert_eq!(state(&rig, 1), "WINDDOWN");
    for _ in 0..4 {
        rig.vl2();
    }
    assert!(rig.asked(conns[0]).is_empty());
    rig.reply(conns[0], |out| old.vl2(out, Ok(AT)));
    assert!(rig.answers().contains(&(tokens[0], Answer::Vl2(at()))));
    assert_eq!(rig.conn_to(1), None);
    assert_eq!(rig.engine.status()[0].peers.len(), 1);
}

#[test]
fn an_address_that_comes_back_keeps_its_connection() {
    let (mut rig, conns) = Rig::up_with(Limits { refresh: secs(2), ..Limits::default() }, 1);
    let members = |rig: &mut Rig, numbers: &[u8]| {
        rig.pass(secs(2));
        rig.resolved(Ok(numbers.iter().map(|n| ip(*n)).collect()));
        rig.take(|output| match output {
            Output::Event(Event { what: What::Joined(addr), .. }) => Some((true, addr.ip())),
            Output::Event(Event { what: What::Left(addr), .. }) => Some((false, addr.ip())),
            _ => None,
        })
    };
    let token = rig.vl2();
    let old = rig.asked_one(conns[0]).0;
    assert_eq!(members(&mut rig, &[2]), [(false, ip(1)), (true, ip(2))]);
    assert_eq!(state(&rig, 1), "WINDDOWN");
    assert_eq!(members(&mut rig, &[2]), [], "said once");
    assert_eq!(members(&mut rig, &[1, 2]), [(true, ip(1))]);
    assert_eq!((state(&rig, 1), rig.conn_to(1)), ("ACTIVE", Some(conns[0])));
    rig.reply(conns[0], |out| old.vl2(out, Ok(AT)));
    assert_eq!(rig.answers(), [(token, Answer::Vl2(at()))]);
    assert_eq!((state(&rig, 1), rig.conn_to(1)), ("ACTIVE", Some(conns[0])));
}

#[test]
fn more_addresses_than_are_used_are_left() {
    let limits = Limits { addresses: 3, ..Limits::default() };
    let mut rig = Rig::with(limits, 1);
    rig.attach_as(ONE, VNET, None);
    rig.resolved(Ok((1..=250).map(ip).collect()));
    assert_eq!(rig.far.len(), 3);
    let said = |rig: &mut Rig| {
        rig.take(|o| matches!(o, Output::Event(e) if e.what == What::TooMany(250)).then_some(()))
    };
    assert_eq!(said(&mut rig).len(), 1);
    rig.refresh(Ok((1..=250).map(ip).collect()));
    assert_eq!((rig.peer(3).addr.ip(), said(&mut rig).len()), (ip(3), 0));
}

/// B10: a peer that accepts and closes, or says nonsense, is not hit again and again.
#[test]
pub fn b10_backoff_goes_on_after_tcp_connects() {
    type Evil = fn(&mut Rig, ConnId);
    let evil: [(&str, Evil); 4] = [
        ("closes", |rig, conn| rig.ended(conn, None)),
        ("bad version", |rig, conn| {
            rig.send(conn, &[0, 9, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])
        }),
        ("pong, then closes", |rig, conn| {
            let (token, _) = rig.asked_one(conn);
            rig.reply(conn, |out| token.pong(out));
            rig.ended(conn, None);
        }),
        ("pong, then nonsense", |rig, conn| {
            let (token, _) = rig.asked_one(conn);
            rig.reply(conn, |out| token.pong(out));
            rig.send(conn, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }),
    ];
    for (name, evil) in evil {
        let mut rig = Rig::new();
        rig.attach_as(ONE, VNET, None);
        rig.resolved(Ok(vec![ip(1)]));
        let start = rig.now;
        while rig.now < start + secs(200) {
            if let Some(conn) = rig.conn_to(1).filter(|conn| !rig.far[conn].connected) {
                rig.connected(conn);
                evil(&mut rig, conn);
            }
            if rig.out.iter().any(|output| matches!(output, Output::Resolve { .. })) {
                rig.resolved(Ok(vec![ip(1)]));
            }
            let next = rig.engine.deadline().unwrap();
            rig.until(next);
        }
        // 1 + 2 + 4 + 8 + 16 + 32 + ... and up to a quarter more.
        assert!((8..=12).contains(&rig.tried.len()), "{name}: {} connects", rig.tried.len());
        let message = Some("cannot reach any remote peers".to_owned());
        assert_eq!(rig.told(), [(ONE, message)], "{name}");
    }
}

/// B12: nothing of a remote is left when its last instance goes, whatever is under way.
#[test]
pub fn b12_the_last_instance_takes_everything_along() {
    for stage in 0..5 {
        let mut rig = Rig::new();
        rig.attach_as(ONE, VNET, None);
        rig.attach_as(TWO, VNET + 1, None);
        let conns: Vec<ConnId> = if stage > 0 {
            rig.resolved(Ok(vec![ip(1), ip(2)]));
            rig.far.keys().copied().collect()
        } else {
            Vec::new()
        };
        if stage > 1 {
            rig.connected(conns[0]);
        }
        if stage > 2 {
            rig.asked(conns[0]);
            rig.reply(conns[0], |out| {
                let version = Version::V2;
                svp::server::Token { version, id: svp::Id::from(1) }.pong(out);
            });
        }
        let mut tokens = Vec::new();
        if stage > 3 {
            tokens = vec![
                rig.lookup_as(ONE, Question::Vl2(MAC)),
                rig.lookup_as(TWO, Question::Vl2(MAC)),
            ];
        }
        rig.input(Input::Detach { instance: ONE });
        assert_eq!(rig.far.len(), conns.len(), "the other one needs them");
        rig.input(Input::Detach { instance: TWO });
        assert!(rig.far.is_empty());
        assert_eq!(rig.unanswered(), 0);
        if stage > 3 {
            let dropped = Answer::Drop(Drop::Detached);
            assert_eq!(rig.answers(), tokens.iter().map(|t| (*t, dropped)).collect::<Vec<_>>());
        }
        assert_eq!((rig.engine.deadline(), rig.engine.status().len()), (None, 0));
        // What was under way comes to nothing.
        rig.out.clear();
        rig.input(Input::Resolved { remote: RemoteId(1), result: Ok(vec![ip(1)]) });
        for conn in conns {
            rig.input(Input::Connected { conn });
            rig.send(conn, b"bytes");
            rig.ended(conn, None);
        }
        rig.input(Input::Tick);
        assert_eq!(rig.out, []);
    }
}

#[test]
fn what_is_said_of_a_closed_connection_does_not_touch_its_successor() {
    let (mut rig, conns) = Rig::up(1);
    rig.ended(conns[0], None);
    let next = rig.reconnect(1);
    let say = |rig: &mut Rig, state: &str| {
        rig.input(Input::Connected { conn: conns[0] });
        rig.send(conns[0], b"anything");
        rig.ended(conns[0], Some("late"));
        assert_eq!((rig.peer(1).state, rig.conn_to(1)), (state, Some(next)));
    };
    say(&mut rig, "CONNECTING");
    rig.connected(next);
    say(&mut rig, "VERSIONING");
    rig.serve_all();
    say(&mut rig, "ACTIVE");
}

/// B17: a connection that fails in any way is tried again.
#[test]
fn b17_no_failure_is_final() {
    let (mut rig, conns) = Rig::up(1);
    rig.ended(conns[0], Some("Too many open files"));
    for _ in 0..20 {
        let conn = rig.reconnect(1);
        rig.ended(conn, Some("Too many open files"));
    }
    let conn = rig.reconnect(1);
    rig.activate(conn);
    rig.vl2();
    rig.serve_all();
    assert!(matches!(rig.answers()[..], [(_, Answer::Vl2(_))]));
}

/// B16: addresses that differ in one bit are different remotes.
#[test]
pub fn b16_remotes_are_told_apart_by_every_part_of_their_key() {
    let mut rig = Rig::new();
    let key = RemoteKey { host: HOST.into(), port: PORT, underlay_ip: ip(200), tls: None };
    let keys = [
        key.clone(),
        RemoteKey { underlay_ip: ip(201), ..key.clone() },
        RemoteKey { underlay_ip: "::1".parse().unwrap(), ..key.clone() },
        RemoteKey { port: 1297, ..key.clone() },
        RemoteKey { host: "other.test".into(), ..key.clone() },
    ];
    let both = keys.iter().cloned().chain(keys.iter().cloned());
    for (n, remote) in both.enumerate() {
        let with = Attachment { remote, vnet: n as u32, dcid: 0, router_oui: None };
        rig.input(Input::Attach { instance: InstanceId(n as u64), with });
    }
    let status = rig.engine.status();
    assert_eq!(status.len(), keys.len());
    for (n, remote) in status.iter().enumerate() {
        assert_eq!(remote.instances, [n as u64, (n + keys.len()) as u64]);
    }
}
