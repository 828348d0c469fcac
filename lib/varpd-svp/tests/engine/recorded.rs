// SPDX-License-Identifier: CDDL-1.0
//! What was recorded of the original client (`../shared/vectors/svp_sessions.json`): against the original
//! servers, and against faulty peers.

use crate::rig::*;
use crate::{health, log, lookups, pool, streams};
use overlay_abi::ids::UnderlayAddr;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use svp::message::{Underlay, Vl2Ack};
use svp::{Body, Framer, Id, Message, Op, Status};
use varpd_svp::engine::*;

fn file() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/svp_sessions.json");
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap()
}

/// A message without its id.
#[derive(Clone, Debug)]
struct Said {
    version: u16,
    op: Op,
    payload: Vec<u8>,
}

/// What a peer wrote, with the ids.
fn said(session: &Value, from: &str) -> Vec<(Id, Said)> {
    let mut framer = Framer::default();
    for event in session["events"].as_array().unwrap() {
        if event["dir"] == from {
            let hex = event["hex"].as_str().unwrap().as_bytes();
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
            framer.buffer().extend(hex.chunks(2).map(|pair| byte(pair).unwrap()));
        }
    }
    let mut all = Vec::new();
    while let Some(frame) = framer.next().unwrap() {
        let payload = frame.payload.to_vec();
        let (version, op) = (frame.header.version, frame.header.op);
        all.push((frame.header.id, Said { version, op, payload }));
    }
    all
}

/// An original server, which answers what it was asked when it was recorded.
struct Original {
    /// By operation and payload; what the log gave and removed in the order in which it did.
    replies: BTreeMap<(u16, Vec<u8>), VecDeque<Said>>,
}

/// The payload without what does not matter: the pad bytes of VL2_REQ, which the original client leaves
/// unset, and the type of VL3_REQ, which the servers do not look at.
fn key(op: Op, payload: &[u8]) -> (u16, Vec<u8>) {
    let mut payload = payload.to_vec();
    match op {
        Op::Vl2Req => payload[6..8].fill(0),
        Op::Vl3Req => payload[16..20].fill(0),
        // Its ids come in the order in which they were acted on.
        Op::LogRm => payload.clear(),
        _ => {}
    }
    (op as u16, payload)
}

impl Original {
    fn new(session: &Value) -> Original {
        let mut replies: BTreeMap<_, VecDeque<Said>> = BTreeMap::new();
        let answers: BTreeMap<Id, Said> = said(session, "s2c").into_iter().collect();
        for (id, asked) in said(session, "c2s") {
            replies
                .entry(key(asked.op, &asked.payload))
                .or_default()
                .push_back(answers[&id].clone());
        }
        Original { replies }
    }

    /// Answers what is pending.
    fn serve(&mut self, rig: &mut Rig, conn: ConnId) {
        let bytes = rig.write(conn, usize::MAX);
        let mut framer = Framer::default();
        framer.buffer().extend(bytes);
        while let Some(frame) = framer.next().unwrap() {
            let (id, op) = (frame.header.id, frame.header.op);
            // The original ij client asks for no version. Whoever it spoke to answers in 1.
            let Some(replies) = self.replies.get_mut(&key(op, frame.payload)) else {
                assert_eq!(op, Op::Ping, "never asked for: {:?}", Message::decode(&frame));
                rig.reply(conn, |out| Message { version: 1, id, body: Body::Pong }.encode(out));
                continue;
            };
            let reply = match replies.len() {
                1 => replies[0].clone(),
                _ => replies.pop_front().unwrap(),
            };
            let mut out = Vec::new();
            svp::frame::append(&mut out, reply.version, reply.op, id, |out| {
                out.extend(&reply.payload)
            });
            rig.send(conn, &out);
        }
    }
}

/// `key=value` in a line.
fn field<'a>(line: &'a str, key: &str) -> &'a str {
    let from = line.find(&format!(" {key}=")).unwrap_or_else(|| panic!("{key} in {line}"));
    line[from + key.len() + 2..].split_whitespace().next().unwrap()
}

fn place(line: &str) -> UnderlayAddr {
    let ip: Ipv6Addr = field(line, "ip").parse().unwrap();
    UnderlayAddr { ip: ip.octets(), port: field(line, "port").parse().unwrap() }
}

/// What the original client told its plugin about the log, as we tell ours.
fn told(lines: &[&str]) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    for line in lines {
        if let Some((_, rest)) = line.split_once("CB vl2-invalidate vnet=12340 ") {
            let mac: overlay_abi::ids::MacAddr = rest.parse().unwrap();
            told.insert(format!("invalidate {mac}"));
        } else if line.contains("CB vl3-inject") {
            let mac: overlay_abi::ids::MacAddr = field(line, "mac").parse().unwrap();
            let ip: Ipv6Addr = field(line, "ip").parse().unwrap();
            told.insert(format!("announce {} {} {mac}", ip.to_canonical(), field(line, "vlan")));
        } else if line.contains("CB route-shootdown") {
            told.insert("routes".into());
        }
    }
    told
}

/// Over the replies of the original servers our engine comes to the same results as the original client.
#[test]
fn sessions_of_the_original_client_end_alike() {
    let file = file();
    let sessions = file["client_sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 4);
    for session in sessions {
        let name = session["name"].as_str().unwrap();
        let mut server = Original::new(session);
        let mut rig = Rig::new();
        let remote = RemoteKey {
            host: HOST.into(),
            port: PORT,
            underlay_ip: [192, 168, 1, 1].into(),
            tls: None,
        };
        let with = Attachment { remote, vnet: 12340, dcid: 0, router_oui: None };
        rig.input(Input::Attach { instance: ONE, with });
        rig.resolved(Ok(vec![ip(1)]));
        let conn = rig.conn_to(1).unwrap();
        rig.connected(conn);
        let start = rig.now;
        while rig.now < start + secs(8) {
            while !rig.engine.pending(conn).is_empty() {
                server.serve(&mut rig, conn);
            }
            let next = rig.engine.deadline().unwrap();
            rig.until(next);
        }
        let lines: Vec<_> =
            session["client_log"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
        let acted: BTreeSet<String> = rig
            .take(|output| match output {
                Output::Invalidate { mac, .. } => Some(format!("invalidate {mac}")),
                Output::Announce { vlan, mac, ip, .. } => {
                    Some(format!("announce {ip} {vlan} {mac}"))
                }
                Output::FlushRoutes { .. } => Some("routes".into()),
                _ => None,
            })
            .into_iter()
            .collect();
        assert_eq!(acted, told(&lines), "{name}");

        let mut compared = 0;
        for (question, line) in lookups(session, &lines) {
            rig.lookup(question);
            server.serve(&mut rig, conn);
            let answers = rig.answers();
            let [(_, answer)] = answers[..] else { panic!("{name}: {line}: {answers:?}") };
            compare(answer, line);
            compared += 1;
        }
        assert!(compared >= 6, "{name}: {compared}");
        assert!(rig.far.contains_key(&conn), "{name}");
    }
}

/// The lookups that were recorded, each with the line that says what was found. Routes were not asked for where
/// the server spoke version 1.
fn lookups<'a>(session: &Value, lines: &[&'a str]) -> Vec<(Question, &'a str)> {
    let asked: Vec<_> = said(session, "c2s").into_iter().map(|(_, said)| said).collect();
    let kinds = [(Op::Vl2Req, "vl2"), (Op::Vl3Req, "vl3"), (Op::RouteReq, "route")];
    let mut all = Vec::new();
    for (op, kind) in kinds {
        let start = format!("CB {kind} #");
        let number = |line: &str| -> Option<u32> {
            line.split_once(&start)?.1.split(' ').next()?.parse().ok()
        };
        let mut found: Vec<_> =
            lines.iter().filter_map(|line| Some((number(line)?, *line))).collect();
        found.sort();
        let asked: Vec<_> =
            asked.iter().filter(|said| said.op == op).filter_map(question).collect();
        // Those of the log cycle came first.
        all.extend(asked.into_iter().rev().zip(found.into_iter().rev().map(|(_, line)| line)));
    }
    all
}

/// An answer, and what the original client was answered.
fn compare(answer: Answer, line: &str) {
    let ok = field(line, "status") == "0";
    match answer {
        Answer::Vl2(at) | Answer::Vl3 { at: Some(at), .. } => {
            assert!(ok, "{line}");
            assert_eq!(at, place(line), "{line}");
        }
        Answer::Route(RouteAnswer { at, dcid, vnet, vlan, .. }) => {
            assert_eq!(at, place(line), "{line}");
            let number = |key| field(line, key).parse::<u32>().unwrap();
            let want = (number("dc"), number("vnet"), number("vlan"));
            assert_eq!((dcid, vnet, u32::from(vlan)), want);
        }
        Answer::Drop(Drop::NotFound) => assert!(!ok, "{line}"),
        other => panic!("{line}: {other:?}"),
    }
}

/// The lookup that a recorded request was.
fn question(said: &Said) -> Option<Question> {
    let mut bytes = Vec::new();
    svp::frame::append(&mut bytes, 2, said.op, Id::from(1), |out| out.extend(&said.payload));
    let (frame, _) = svp::frame::first(&bytes).unwrap().unwrap();
    match Message::decode(&frame).unwrap().body {
        Body::Vl2Req { mac, .. } => Some(Question::Vl2(mac)),
        Body::Vl3Req { ip, .. } => Some(Question::Vl3(IpAddr::V6(ip))),
        Body::RouteReq(r) => Some(Question::Route { vlan: r.vlan, src: r.src, dst: r.dst }),
        _ => None,
    }
}

/// One reply to VL2_REQ that is wrong in one way, and whether it ends the connection.
fn bad_reply(name: &str, id: Id, out: &mut Vec<u8>) -> bool {
    let ack = |status| Body::Vl2Ack(Vl2Ack { status, ul3: Underlay::NONE });
    let body = |op: Op| -> Vec<u8> { vec![0; *op.sizes().start() as usize] };
    let put = |out: &mut Vec<u8>, version, op, id, payload: &[u8]| {
        svp::frame::append(out, version, op, id, |out| out.extend(payload));
    };
    match name {
        "short_19" => put(out, 2, Op::Vl2Ack, id, &[0; 19]),
        "unknown_id" => put(out, 2, Op::Vl2Ack, Id::from(0x7f00_0001), &[0; 20]),
        "other_version" => put(out, 1, Op::Vl2Ack, id, &[0; 20]),
        "op_13_shootdown" => put(out, 2, Op::Shootdown, id, &[0; 12]),
        "vl3_ack_for_vl2_req" => put(out, 2, Op::Vl3Ack, id, &body(Op::Vl3Ack)),
        "log_ack_for_vl2_req" => put(out, 2, Op::LogAck, id, &body(Op::LogAck)),
        "pong_for_vl2_req" => put(out, 2, Op::Pong, id, &[]),
        "lrm_ack_for_vl2_req" => put(out, 2, Op::LogRmAck, id, &body(Op::LogRmAck)),
        "unasked_pong" => put(out, 2, Op::Pong, Id::from(0x7f), &[]),
        "pong_with_payload" => put(out, 2, Op::Pong, id, &[0; 4]),
        "notfound" | "fatal_stays_open" => {
            let status = if name == "notfound" { Status::NOTFOUND } else { Status::FATAL };
            Message { version: 2, id, body: ack(status) }.encode(out);
            return false;
        }
        other => panic!("no such bad reply: {other}"),
    }
    true
}

/// B4 and what else was recorded as `badreply`.
fn bad_replies() {
    let file = file();
    let faults = file["client_faults"].as_object().unwrap();
    let names: Vec<_> = faults.keys().filter_map(|name| name.strip_prefix("badreply ")).collect();
    assert_eq!(names.len(), 12);
    for name in names {
        let (mut rig, conns) = Rig::up(2);
        let token = rig.vl2();
        let conn = *conns.iter().find(|conn| !rig.engine.pending(**conn).is_empty()).unwrap();
        let (reply, _) = rig.asked_one(conn);
        let mut ends = false;
        rig.reply(conn, |out| ends = bad_reply(name, reply.id, out));
        assert_eq!(!rig.far.contains_key(&conn), ends, "{name}");
        let answers = rig.answers();
        if ends {
            // No harm is done: the other connection is asked.
            assert_eq!(answers, [], "{name}");
            rig.serve_all();
            assert_eq!(rig.answers(), [(token, Answer::Vl2(at()))], "{name}");
        } else {
            assert!(
                matches!(answers[..], [(_, Answer::Drop(Drop::NotFound | Drop::Failed))]),
                "{name}"
            );
        }
    }
}

#[test]
fn b04_only_good_replies_are_answers() {
    bad_replies();
}

/// The test that puts our engine before the same fault.
fn ours(fault: &str) -> Option<fn()> {
    let first = fault.split(' ').next()?;
    Some(match first {
        "log_1028" | "log_1028_b" | "log_1028_end_to_end" => {
            log::b01_more_log_than_asked_for_ends_the_connection
        }
        "log_cadence" => log::a_backlog_is_read_at_once_and_the_server_is_not_hammered,
        "split_header" | "split_body" => streams::b03_streams_split_at_every_offset_are_understood,
        "eof_in_header" | "eof_in_body" => {
            streams::b02_streams_cut_at_every_offset_leave_nothing_behind
        }
        "dns_fallout" => pool::b06_b07_an_address_leaves_in_every_state,
        "no_pong" | "timeout" => pool::b08_every_state_times_out,
        "bad_pong" | "accept_close" => pool::b10_backoff_goes_on_after_tcp_connects,
        "badreply" => bad_replies,
        "badlog" => match fault {
            "badlog type_9" | "badlog fatal_with_data" | "badlog lrm_fatal" => {
                log::refusals_wait_and_are_complained_of_once
            }
            "badlog vl3_notfound" | "badlog mixed_fatal" => {
                log::follow_ups_that_fail_leave_their_entries_in_the_log
            }
            _ => return None,
        },
        "detach" | "detach," => match fault {
            "detach with lookups outstanding" => {
                lookups::an_instance_that_goes_is_answered_and_the_other_goes_on
            }
            _ => pool::b12_the_last_instance_takes_everything_along,
        },
        "degrade_stuck" => health::b09_a_new_healthy_host_ends_the_degradation,
        "dnsfail" => health::b09_a_late_attacher_is_told,
        "avlcmp" => pool::b16_remotes_are_told_apart_by_every_part_of_their_key,
        "restore_without_pong" => {
            health::the_seventh_failure_in_a_row_degrades_and_a_good_reply_restores
        }
        _ => return None,
    })
}

/// No fault that was recorded of the original client is without its test here.
#[test]
fn every_recorded_fault_of_the_original_client_has_its_test() {
    let file = file();
    let faults = file["client_faults"].as_object().unwrap();
    assert!(faults.len() >= 40, "only {}", faults.len());
    let missing: Vec<_> = faults.keys().filter(|fault| ours(fault).is_none()).collect();
    assert_eq!(missing, Vec::<&String>::new());
}
