// SPDX-License-Identifier: CDDL-1.0
//! Sessions recorded with the original servers, replayed against ours.
//!
//! Each step sends what was sent then. The answer must be the recorded one, unless [`better`] names the
//! rule of svp.md section 10 or the defect by which it is another one, and which.

use crate::common::{Faulty, Running, closes_after, exchange, reset, restore, run, unhex, vectors};
use portolan::serve::Limits;
use serde_json::{Value, json};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use svp::server::Token;
use svp::{Id, Status, Version};

/// What is to come of a step.
#[derive(Debug)]
enum Want {
    /// These bytes.
    Answer(Vec<u8>),
    /// Nothing, and the end of this connection. Others go on.
    Close,
}

/// Databases that the recording describes in words.
fn database(all: &Value, name: &str) -> Value {
    let host = "b4e5ff64-7b40-11e4-a6fa-d34c824a42c1";
    let event = |n: u32| {
        (
            format!("11111111-2222-4333-8444-{:012x}", 0x100 + n),
            json!({"cn_uuid": host, "vnet_id": 12340, "version": 1, "record":
                {"type": "SVP_LOG_VL2", "mac": 0x90b8_d000_0200u64 + u64::from(n), "vnet_id": 12340}}),
        )
    };
    match name {
        "db-full.json" => {
            let mut db = all["db.json"].clone();
            let events = db["portolan_cn_net_events"].as_object_mut().unwrap();
            events.extend((0..40).map(event));
            db
        }
        "db-dup.json" => {
            let mut db = all["db.json"].clone();
            let id = "b4e5ff64-7b40-11e4-a6fa-d34c824a42c9";
            let dup = json!({"cn_uuid": id, "ip": "::ffff:c0a8:101", "port": 4789});
            db["portolan_underlay_mappings"][id] = dup;
            db
        }
        name => all[name].clone(),
    }
}

fn reply(send: &[u8], f: impl FnOnce(Token, &mut Vec<u8>)) -> Want {
    let version = Version::negotiate(u16::from_be_bytes([send[0], send[1]])).unwrap();
    let token = Token { version, id: Id(send[8..12].try_into().unwrap()) };
    let mut out = Vec::new();
    f(token, &mut out);
    Want::Answer(out)
}

/// Where ours differs, and why.
fn better(session: &str, what: &str, send: &[u8], recorded: &[u8]) -> Option<Want> {
    let vl2 = |out: &[u8]| Want::Answer(out.to_vec());
    match (session, what) {
        // Half a message: nothing was answered then, nothing is now; the follow-up belongs to it.
        (_, "ping v0: answered as v2") => Some(Want::Close),
        // Section 10: the defined answer; which address it is makes no difference.
        (_, "vl3 with sl3r_type 3 (invalid type): type is not looked at") => {
            Some(reply(send, |t, out| t.vl3(out, Err(Status::BADL3TYPE))))
        }
        // The original of version 1 knows no routers. The rule of the vpc server is used for both.
        ("master_v1_basic", "vl3 for a record flagged router") => {
            let mac = svp::MacAddr([0x90, 0xb8, 0xd0, 0, 1, 0xfe]);
            let none = svp::message::Underlay::NONE;
            Some(reply(send, |t, out| t.vl3(out, Ok((mac, none)))))
        }
        // Section 10: the status word is counted, so what filled the room exactly does not fit.
        (_, "log_req count 32 (exactly one VL2; status word not counted)") => {
            Some(reply(send, |t, out| t.log(out, Status::OK, [])))
        }
        (_, "log_req count 76 (VL2+VL3)") => {
            // Only the VL2 entry: what was recorded for 75.
            let entry = recorded[20..52].to_vec();
            let entries = svp::log::Entries::check(&entry, Version::V1).unwrap();
            Some(reply(send, |t, out| t.log(out, Status::OK, entries.iter())))
        }
        // B28: the entry of another host stays.
        (_, "log_req of that other CN: its record is gone") => {
            let named = svp::log::Named {
                id: "11111111-2222-4333-8444-000000000004".parse().unwrap(),
                entry: svp::log::Entry::Vl2 {
                    mac: svp::MacAddr([0x90, 0xb8, 0xd0, 0, 1, 1]),
                    vnet: 7,
                },
            };
            Some(reply(send, |t, out| t.log(out, Status::OK, [named])))
        }
        // Routes are of version 2.
        (_, "route request in a v1 message: still answered, as v1") => Some(Want::Close),
        ("vpc_bad_route_req_on_v1", _) => Some(Want::Close),
        // Lookups come from memory: the store need not be asked, so its failure changes nothing.
        ("master_backend_failure_underlay", what) => match what {
            "vl2: mapping found, underlay lookup fails: NOTFOUND, not FATAL" => {
                let ul3 = svp::message::Underlay {
                    ip: "::ffff:192.168.1.1".parse().unwrap(),
                    port: 4789,
                };
                Some(reply(send, |t, out| t.vl2(out, Ok(ul3))))
            }
            "vl3: likewise" => {
                let mac = svp::MacAddr([0, 0x0a, 0x95, 0x9d, 0x68, 0x16]);
                let ul3 = svp::message::Underlay {
                    ip: "::ffff:192.168.1.1".parse().unwrap(),
                    port: 4789,
                };
                Some(reply(send, |t, out| t.vl3(out, Ok((mac, ul3)))))
            }
            "log_req: FATAL" => Some(vl2(&log_of_first(send))),
            _ => None,
        },
        ("master_backend_failure_events", "log_req") => Some(vl2(&log_of_first(send))),
        ("vpc_backend_failure_vl2", _) => {
            let ul3 =
                svp::message::Underlay { ip: "::ffff:192.168.1.1".parse().unwrap(), port: 4789 };
            Some(reply(send, |t, out| t.vl2(out, Ok(ul3))))
        }
        ("vpc_route_when_route_table_fails", _) => Some(reply(send, |t, out| {
            let mac = |n: [u8; 6]| svp::MacAddr(n);
            let ack = svp::message::RouteAck {
                status: Status::OK,
                dcid: 9,
                vnet: 7,
                vlan: 5,
                ul3: svp::message::Underlay {
                    ip: "::ffff:192.168.1.2".parse().unwrap(),
                    port: 4789,
                },
                src_mac: mac([0x90, 0xb8, 0xd0, 0xaa, 0xbb, 0xcc]),
                dst_mac: mac([0x90, 0xb8, 0xd0, 0, 1, 1]),
                src_prefix: 24,
                dst_prefix: 24,
            };
            t.route(out, Ok(ack));
        })),
        // Half close: the answer is not lost.
        ("master_half_close", _) => {
            let ul3 =
                svp::message::Underlay { ip: "::ffff:192.168.1.1".parse().unwrap(), port: 4789 };
            Some(reply(send, |t, out| t.vl2(out, Ok(ul3))))
        }
        // Routes at a server of version 1: ours speaks both. The database has none.
        ("master_bad_route_req_v4" | "master_bad_route_req_v6", _) => {
            Some(reply(send, |t, out| t.route(out, Err(Status::NOTFOUND))))
        }
        // Bad input of every kind ends its connection: B19-B22, B28.
        (session, _) if session.contains("_bad_") => Some(Want::Close),
        _ => None,
    }
}

/// The log of the first host in db.json, for the id of this request.
fn log_of_first(send: &[u8]) -> Vec<u8> {
    let all = vectors("svp_vectors.json");
    let kinds = all["kinds"]["LOG_ACK"].as_array().unwrap();
    let mixed = kinds.iter().find(|v| v["name"] == "log_ack_mixed_v1").unwrap();
    let bytes = unhex(mixed["hex"].as_str().unwrap());
    let entries = svp::log::Entries::check(&bytes[20..], Version::V1).unwrap();
    match reply(send, |t, out| t.log(out, Status::OK, entries.iter())) {
        Want::Answer(bytes) => bytes,
        Want::Close => unreachable!("a reply"),
    }
}

struct Replay {
    running: Running,
    name: String,
    stream: Option<TcpStream>,
}

impl Replay {
    fn step(&mut self, step: &Value) {
        let what = step["what"].as_str().unwrap();
        let send = unhex(step["send_hex"].as_str().unwrap());
        let recorded = unhex(step["recv_hex"].as_str().unwrap());
        let name = format!("{}, {what}", self.name);
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            // The connection ended with the step before, as it should.
            None => self.running.connect(),
        };
        if what.contains("RST") {
            use std::io::Write;
            stream.write_all(&send).unwrap();
            reset(stream);
            return;
        }
        // A follow-up tells whether a connection was left open; the step before says whether it is.
        if what == "follow-up ping on the same connection" {
            let pong = exchange(&mut stream, &unhex("000100010000000000000001b5b66088"), 16);
            assert_eq!(pong, unhex("000100020000000000000001087c0c46"), "{name}");
            return;
        }
        let want = better(&self.name, what, &send, &recorded);
        match want.unwrap_or_else(|| Want::Answer(recorded.clone())) {
            Want::Answer(bytes) => {
                assert!(!bytes.is_empty(), "{name}: nothing to wait for");
                let got = match step["sent_in_chunks"].as_array() {
                    Some(sizes) => {
                        let mut rest = &send[..];
                        for size in sizes {
                            let (now, later) = rest.split_at(size.as_u64().unwrap() as usize);
                            exchange(&mut stream, now, 0);
                            rest = later;
                        }
                        exchange(&mut stream, &[], bytes.len())
                    }
                    None => exchange(&mut stream, &send, bytes.len()),
                };
                assert_eq!(got, bytes, "{name}");
                self.stream = Some(stream);
            }
            Want::Close => {
                exchange(&mut stream, &send, 0);
                assert_eq!(closes_after(&mut stream), b"", "{name}");
            }
        }
    }
}

#[test]
fn all_recorded_sessions_are_answered_the_same_or_better() {
    let all = vectors("svp_sessions.json");
    let sessions = all["sessions"].as_array().unwrap();
    let mut steps = 0;
    for session in sessions {
        let engine = Faulty::default();
        let running = run(Box::new(engine.clone()), Limits::default());
        let db = database(&all["dbs"], session["db"].as_str().unwrap());
        running.change(true, restore(&db));
        let broken = session["env"]["MOCK_FAIL"].is_string();
        engine.broken.store(broken, Ordering::SeqCst);
        let name = session["name"].as_str().unwrap().to_owned();
        let mut replay = Replay { running, name, stream: None };
        for step in session["steps"].as_array().unwrap() {
            replay.step(step);
            steps += 1;
        }
        // Whatever was sent, the server goes on.
        let mut other = replay.running.connect();
        let ping = unhex("000100010000000000000001b5b66088");
        assert_eq!(exchange(&mut other, &ping, 16), unhex("000100020000000000000001087c0c46"));
        other.shutdown(Shutdown::Write).unwrap();
        assert_eq!(closes_after(&mut other), b"");
    }
    assert!(sessions.len() >= 50 && steps >= 181, "{} sessions, {steps} steps", sessions.len());
}

/// What the original clients sent, and what they were answered, in the recorded order.
#[test]
fn recorded_original_clients_are_served() {
    let all = vectors("svp_sessions.json");
    let mut answers = 0;
    for session in all["client_sessions"].as_array().unwrap() {
        let v2 = session["name"].as_str().unwrap().contains("portolan vpc");
        let db = database(&all["dbs"], if v2 { "db-v2.json" } else { "db.json" });
        let running = run(Box::new(Faulty::default()), Limits::default());
        running.change(true, restore(&db));
        let mut stream = running.connect();
        let mut pending = Vec::new();
        for event in session["events"].as_array().unwrap() {
            let bytes = unhex(event["hex"].as_str().unwrap_or(""));
            if event["dir"] == "c2s" {
                pending.extend(bytes);
            } else if !bytes.is_empty() {
                let name = &session["name"];
                let got = exchange(&mut stream, &pending, bytes.len());
                // The original of version 1 answers a PING of version 2 in version 1; ours speaks 2, and
                // a client goes on in that. Then versions differ, and nothing else.
                let ours_is_v2 = got[..2] == [0, 2] && bytes[..2] == [0, 1];
                let skip = if ours_is_v2 { 16 } else { 0 };
                assert_eq!(got[skip..], bytes[skip..], "{name}");
                pending.clear();
                answers += 1;
            }
        }
    }
    assert!(answers > 30, "{answers} answers");
}
