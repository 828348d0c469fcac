// SPDX-License-Identifier: CDDL-1.0
//! The client's side against correct, hostile and confused peers.

use crate::common::{file, invalid, unhex, valid};
use overlay_abi::ids::MacAddr;
use serde_json::Value;
use std::net::Ipv6Addr;
use svp::client::{Client, Event, NotTaken, Question};
use svp::log::Named;
use svp::message::{RouteReq, Underlay, Vl2Ack, encode_log_ack};
use svp::{Body, Id, Message, Op, Refusal, Status, Uuid, Version};

const MAC: MacAddr = MacAddr([2, 8, 0x20, 0, 0, 1]);

fn vl2() -> Question {
    Question::Vl2 { mac: MAC, vnet: 7 }
}

fn written(client: &mut Client) -> Vec<u8> {
    let bytes = client.output().to_vec();
    client.wrote(bytes.len());
    bytes
}

fn encoded(version: u16, id: Id, body: Body<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Message { version, id, body }.encode(&mut out);
    out
}

fn ok() -> Body<'static> {
    let ul3 = Underlay { ip: Ipv6Addr::LOCALHOST, port: 4789 };
    Body::Vl2Ack(Vl2Ack { status: Status::OK, ul3 })
}

/// One reply of each operation, well formed.
fn replies() -> Vec<(Op, Body<'static>)> {
    let leaked: Vec<&'static [u8]> = valid().into_iter().map(|v| &*Vec::leak(v.bytes)).collect();
    let mut all: Vec<(Op, Body<'static>)> = leaked
        .iter()
        .map(|bytes| {
            let (frame, _) = svp::frame::first(bytes).unwrap().unwrap();
            (frame.header.op, Message::decode(&frame).unwrap().body)
        })
        .filter(|(op, _)| Op::ALL.iter().any(|request| request.reply() == Some(*op)))
        .collect();
    all.dedup_by_key(|(op, _)| *op);
    all
}

#[test]
fn negotiation_settles_on_the_version_of_the_pong() {
    for (wire, version) in [(1, Version::V1), (2, Version::V2)] {
        let mut client = Client::negotiate();
        assert_eq!(client.ask(&vl2()), Err(NotTaken::Versioning));
        let ping = written(&mut client);
        assert_eq!(ping, encoded(2, Id::from(1), Body::Ping));
        client.buffer().extend(encoded(wire, Id::from(1), Body::Pong));
        assert_eq!(client.poll(), Ok(Some(Event::Active(version))));
        assert_eq!(client.version(), Some(version));
        assert_eq!(client.poll(), Ok(None));
        let id = client.ask(&vl2()).unwrap();
        assert_eq!(written(&mut client), encoded(wire, id, Body::Vl2Req { mac: MAC, vnet: 7 }));
        client.buffer().extend(encoded(wire, id, ok()));
        assert_eq!(client.poll(), Ok(Some(Event::Reply { id, body: Ok(ok()) })));
        let route =
            RouteReq { vnet: 1, vlan: 0, src: Ipv6Addr::LOCALHOST, dst: Ipv6Addr::LOCALHOST };
        let route = client.ask(&Question::Route(route));
        match version {
            Version::V1 => assert_eq!(route, Err(NotTaken::NeedsV2(Op::RouteReq))),
            Version::V2 => assert!(route.is_ok()),
        }
    }
}

#[test]
fn bad_versions_end_the_negotiation() {
    for name in ["pong_v0", "pong_v3", "pong_with_payload"] {
        let mut client = Client::negotiate();
        written(&mut client);
        let bytes = invalid().into_iter().find(|v| v.name == name).unwrap().bytes;
        client.buffer().extend(bytes);
        let why = client.poll().unwrap_err();
        assert_eq!(client.ask(&vl2()), Err(NotTaken::Dead(why)), "{name}");
        assert_eq!(client.poll(), Err(why), "{name}: still dead");
    }
}

#[test]
fn replies_are_taken_in_any_order() {
    let mut client = Client::fixed(Version::V1);
    let ids: Vec<Id> = (0..10).map(|_| client.ask(&vl2()).unwrap()).collect();
    written(&mut client);
    for id in ids.iter().rev() {
        client.buffer().extend(encoded(1, *id, ok()));
    }
    for id in ids.iter().rev() {
        assert_eq!(client.poll(), Ok(Some(Event::Reply { id: *id, body: Ok(ok()) })));
    }
    assert_eq!(client.outstanding().count(), 0);
}

#[test]
fn defect_b01_a_log_reply_larger_than_asked_for_is_refused() {
    let ask = Question::Log { count: 1024, ip: [192, 168, 1, 1].into() };
    let entry = |n: u32| Named {
        id: Uuid::from_u128(u128::from(n)),
        entry: svp::log::Entry::Vl2 { mac: MAC, vnet: n },
    };
    // 32 entries of 32 bytes and the status word: what portolan sends for 1024.
    for (entries, taken) in [(31, true), (32, true), (33, false)] {
        let mut client = Client::fixed(Version::V1);
        let id = client.ask(&ask).unwrap();
        written(&mut client);
        let all = (0..entries).map(entry);
        encode_log_ack(client.buffer(), Version::V1, id, Status::OK, all);
        match client.poll() {
            Ok(Some(Event::Reply { body: Ok(Body::LogAck { entries: got, .. }), .. })) => {
                assert!(taken);
                assert_eq!(got.iter().count(), entries as usize);
            }
            other => {
                assert!(!taken);
                assert_eq!(other, Err(Refusal::LogAckSize { size: 1060, count: 1024 }));
            }
        }
    }
}

/// A connection lost in the middle of a message leaves nothing behind: its successor is a new
/// value.
#[test]
fn defect_b02_half_a_message_does_not_outlive_its_connection() {
    let mut client = Client::fixed(Version::V1);
    let id = client.ask(&vl2()).unwrap();
    written(&mut client);
    let reply = encoded(1, id, ok());
    for cut in 1..reply.len() {
        let mut first = Client::fixed(Version::V1);
        let id = first.ask(&vl2()).unwrap();
        written(&mut first);
        first.buffer().extend(&reply[..cut]);
        assert_eq!(first.poll(), Ok(None));
        assert_eq!(first.end(), Err(Refusal::Truncated { have: cut }));
        let mut second = Client::fixed(Version::V1);
        assert_eq!(second.ask(&vl2()), Ok(id));
        written(&mut second);
        second.buffer().extend(encoded(1, id, ok()));
        assert_eq!(second.poll(), Ok(Some(Event::Reply { id, body: Ok(ok()) })));
    }
}

#[test]
fn defect_b04_only_the_operation_that_was_asked_for_answers() {
    let questions = [
        Question::Ping,
        vl2(),
        Question::Vl3 { ip: [10, 0, 0, 1].into(), vnet: 7 },
        Question::Log { count: 1024, ip: [10, 0, 0, 1].into() },
        Question::LogRm(vec![Uuid::nil()]),
        Question::Route(RouteReq { vnet: 1, vlan: 0, src: [0; 16].into(), dst: [0; 16].into() }),
    ];
    let wants = [Op::Pong, Op::Vl2Ack, Op::Vl3Ack, Op::LogAck, Op::LogRmAck, Op::RouteAck];
    assert_eq!(replies().len(), 7);
    for (question, want) in questions.iter().zip(wants) {
        for (op, body) in replies() {
            let mut client = Client::fixed(Version::V2);
            let id = client.ask(question).unwrap();
            written(&mut client);
            client.buffer().extend(encoded(2, id, body));
            match client.poll() {
                Ok(Some(Event::Reply { .. })) => assert_eq!(op, want),
                other => assert_eq!(other, Err(Refusal::OtherOp { got: op, want })),
            }
        }
    }
}

#[test]
fn confused_peers_are_told_from_correct_ones() {
    let asked = || {
        let mut client = Client::fixed(Version::V1);
        let id = client.ask(&vl2()).unwrap();
        (client, id)
    };
    let (mut client, id) = asked();
    client.buffer().extend(encoded(1, id, ok()));
    assert_eq!(client.poll(), Err(Refusal::TooEarly { op: Op::Vl2Ack, id }));

    let (mut client, id) = asked();
    written(&mut client);
    client.buffer().extend(encoded(1, Id::from(99), ok()));
    let (op, other) = (Op::Vl2Ack, Id::from(99));
    assert_eq!(client.poll(), Err(Refusal::UnknownId { op, id: other }));

    let twice = [encoded(1, id, ok()), encoded(1, id, ok())].concat();
    let (mut client, _) = asked();
    written(&mut client);
    client.buffer().extend(twice);
    assert!(matches!(client.poll(), Ok(Some(Event::Reply { .. }))));
    assert_eq!(client.poll(), Err(Refusal::UnknownId { op, id }));

    let (mut client, id) = asked();
    written(&mut client);
    client.buffer().extend(encoded(2, id, ok()));
    assert_eq!(client.poll(), Err(Refusal::OtherVersion { op, got: 2, want: 1 }));

    let (mut client, id) = asked();
    written(&mut client);
    client.buffer().extend(encoded(1, id, Body::Ping));
    assert_eq!(client.poll(), Err(Refusal::NotAReply(Op::Ping)));
}

#[test]
fn recorded_bad_replies_are_survived() {
    for v in invalid() {
        let log = v.name.starts_with("log_ack");
        if !log && !v.name.starts_with("vl2_ack") {
            continue;
        }
        let mut client = Client::fixed(Version::V1);
        // The recorded ids are 2 for VL2 and 9 for the log.
        let ask = match log {
            true => Question::Log { count: 1024, ip: [192, 168, 1, 1].into() },
            false => vl2(),
        };
        let want = Id::from(if log { 9 } else { 2 });
        while client.ask(&ask).unwrap() != want {}
        written(&mut client);
        client.buffer().extend(&v.bytes);
        match client.poll() {
            // The batch is ignored, the connection stays.
            Ok(Some(Event::Reply { id, body: Err(why) })) => {
                assert!(log && !why.ends_connection(), "{}", v.name);
                assert_eq!(id, want);
                assert_eq!(client.poll(), Ok(None));
            }
            Err(why) => assert!(why.ends_connection(), "{}: {why}", v.name),
            other => panic!("{}: {other:?}", v.name),
        }
    }
}

#[test]
fn defect_b11_ids_wrap_around_and_skip_what_is_outstanding() {
    let mut client = Client::fixed(Version::V1);
    let stays = client.ask(&vl2()).unwrap();
    for _ in 0..1000 {
        let id = client.ask(&vl2()).unwrap();
        assert_ne!(id, stays);
        written(&mut client);
        client.buffer().extend(encoded(1, id, ok()));
        assert!(matches!(client.poll(), Ok(Some(Event::Reply { .. }))));
    }
    assert_eq!(client.outstanding().collect::<Vec<_>>(), [stays]);
}

#[test]
fn defect_b15_not_found_is_seen_as_not_found() {
    let v = valid().into_iter().find(|v| v.name == "vl2_ack_notfound_v1").unwrap();
    let mut client = Client::fixed(Version::V1);
    while client.ask(&vl2()).unwrap() != Id::from(2) {}
    written(&mut client);
    client.buffer().extend(&v.bytes);
    match client.poll() {
        Ok(Some(Event::Reply { body: Ok(Body::Vl2Ack(ack)), .. })) => {
            assert_eq!(ack, Vl2Ack { status: Status::NOTFOUND, ul3: Underlay::NONE });
        }
        other => panic!("{other:?}"),
    }
}

/// All that original servers sent to original clients is understood, split anywhere.
#[test]
fn recorded_replies_of_the_original_servers_are_read() {
    let mut read = 0;
    for session in file("svp_sessions.json")["sessions"].as_array().unwrap() {
        for step in session["steps"].as_array().unwrap() {
            let bytes = unhex(step["recv_hex"].as_str().unwrap());
            let n = |reply: &Value, key: &str| reply[key].as_u64().unwrap();
            let want: Vec<_> = step["recv"].as_array().unwrap().iter().collect();
            let want: Vec<_> = want.iter().map(|r| (n(r, "ver"), n(r, "op"))).collect();
            // The original answers routes in version 1 too, where they do not exist.
            if want.contains(&(1, Op::RouteAck as u64)) {
                continue;
            }
            for size in [1, 7, bytes.len().max(1)] {
                let mut framer = svp::Framer::default();
                let mut got = Vec::new();
                for chunk in bytes.chunks(size) {
                    framer.buffer().extend_from_slice(chunk);
                    while let Some(frame) = framer.next().unwrap() {
                        let message = Message::decode(&frame).unwrap();
                        got.push((u64::from(message.version), message.body.op() as u64));
                    }
                }
                assert_eq!(framer.end(), Ok(()));
                assert_eq!(got, want, "{}", session["name"]);
                read += got.len();
            }
        }
    }
    assert!(read > 300, "only {read} replies");
}
