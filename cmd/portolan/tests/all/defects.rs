// SPDX-License-Identifier: CDDL-1.0
//! What kills the original servers (svp.md 9), and not this one. B24 and B25 are in `routes`, more of B28 is in `told`.

use crate::common::{
    Faulty, Running, closes_after, exchange, ping, pong, reset, restore, run, unhex, until, vectors,
};
use portolan::serve::Limits;
use portolan::store::Engine;
use portolan::store::file::File;
use portolan::store::memory::Memory;
use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use svp::{Id, Op, frame};

fn running() -> Running {
    run(Box::new(Faulty::default()), Limits::default())
}

/// Sends a good request, a bad one, and a good one: the first is answered, then the connection ends; another
/// connection goes on.
fn ends_its_own_connection(running: &Running, bad: &[u8]) {
    let mut other = running.connect();
    assert_eq!(exchange(&mut other, &ping(1), 16), pong(1));
    let mut stream = running.connect();
    stream.write_all(&[&ping(2), bad, &ping(3)].concat()).unwrap();
    assert_eq!(closes_after(&mut stream), pong(2), "{bad:02x?}");
    assert_eq!(exchange(&mut other, &ping(4), 16), pong(4), "{bad:02x?}");
}

/// A message of an operation with a checksum that is right.
fn message(op: Op, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::append(&mut out, 2, op, Id::from(7), |out| out.extend_from_slice(payload));
    out
}

fn vector(kind: &str, name: &str) -> Vec<u8> {
    let all = vectors("svp_vectors.json");
    let list = all["kinds"][kind].as_array().unwrap();
    let found = list.iter().find(|v| v["name"] == name).unwrap();
    unhex(found["hex"].as_str().unwrap())
}

#[test]
fn defect_b18_a_failing_store_kills_nobody() {
    let engine = Faulty::default();
    let running = run(Box::new(engine.clone()), Limits::default());
    running.change(true, restore(&vectors("svp_sessions.json")["dbs"]["db.json"]));
    engine.broken.store(true, Ordering::SeqCst);
    let mut stream = running.connect();
    let answer = vector("VL2_ACK", "vl2_ack_ok_v4_v1");
    assert_eq!(exchange(&mut stream, &vector("VL2_REQ", "vl2_req_v1"), answer.len()), answer);
    let answer = vector("LOG_RM_ACK", "log_rm_ack_fatal_v1");
    assert_eq!(exchange(&mut stream, &vector("LOG_RM", "log_rm_1_v1"), answer.len()), answer);
    engine.broken.store(false, Ordering::SeqCst);
    let answer = vector("LOG_RM_ACK", "log_rm_ack_ok_v1");
    assert_eq!(exchange(&mut stream, &vector("LOG_RM", "log_rm_1_v1"), answer.len()), answer);
}

#[test]
fn defect_b19_a_bad_checksum_ends_its_connection_and_no_other() {
    let running = running();
    for bit in [96, 100, 127] {
        let mut bad = ping(7);
        bad[bit / 8] ^= 1 << (bit % 8);
        ends_its_own_connection(&running, &bad);
    }
}

#[test]
fn defect_b20_unknown_operations_kill_nobody() {
    let running = running();
    for op in [0u16, 16, 99, 0xffff] {
        let mut bad = ping(7);
        bad[2..4].copy_from_slice(&op.to_be_bytes());
        ends_its_own_connection(&running, &bad);
    }
    ends_its_own_connection(&running, &message(Op::Shootdown, &[0; 12]));
    // BULK has an answer that says no.
    let mut stream = running.connect();
    let answer = exchange(&mut stream, &vector("BULK_REQ", "bulk_req_badtype_v1"), 24);
    assert_eq!(answer, vector("BULK_ACK", "bulk_ack_badbulk_v1"));
}

#[test]
fn defect_b21_replies_sent_to_the_server_kill_nobody() {
    let running = running();
    for kind in ["PONG", "VL2_ACK", "VL3_ACK", "BULK_ACK", "LOG_ACK", "LOG_RM_ACK", "ROUTE_ACK"] {
        let all = vectors("svp_vectors.json");
        for v in all["kinds"][kind].as_array().unwrap() {
            ends_its_own_connection(&running, &unhex(v["hex"].as_str().unwrap()));
        }
    }
}

#[test]
fn defect_b22_payloads_that_are_too_short_kill_nobody() {
    let running = running();
    for op in [Op::Vl2Req, Op::Vl3Req, Op::BulkReq, Op::LogReq, Op::LogRm, Op::RouteReq] {
        for short in [0, *op.sizes().start() as usize - 1] {
            ends_its_own_connection(&running, &message(op, &vec![0; short]));
        }
    }
    // Two ids are counted, one is there.
    let ids = [&2u32.to_be_bytes()[..], &[0; 16]].concat();
    ends_its_own_connection(&running, &message(Op::LogRm, &ids));
}

#[test]
fn defect_b23_a_reset_kills_nobody() {
    let running = running();
    for sent in [0, 5, 16] {
        let mut stream = running.connect();
        stream.write_all(&ping(1)[..sent]).unwrap();
        let open = || running.server.metrics.connections.get();
        until("it is accepted", || open() == 1);
        reset(stream);
        until("it is gone", || open() == 0);
    }
    let mut stream = running.connect();
    assert_eq!(exchange(&mut stream, &ping(1), 16), pong(1));
}

/// B28: what was asked before the client closed its half is answered, in any number and order.
#[test]
fn defect_b28_a_half_close_loses_no_reply() {
    let engine = Faulty::default();
    let running = run(Box::new(engine), Limits::default());
    running.change(true, restore(&vectors("svp_sessions.json")["dbs"]["db.json"]));
    let pairs = [
        ("VL2_REQ", "vl2_req_v1", "VL2_ACK", "vl2_ack_ok_v4_v1"),
        ("LOG_RM", "log_rm_1_v1", "LOG_RM_ACK", "log_rm_ack_ok_v1"),
    ];
    let mut stream = running.connect();
    let mut want = Vec::new();
    for (ask, asked, ack, acked) in pairs.iter().cycle().take(200) {
        stream.write_all(&vector(ask, asked)).unwrap();
        want.extend(vector(ack, acked));
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(closes_after(&mut stream), want);
}

/// B28: a giant size is refused with its header; nobody waits for what it announces, or keeps it.
#[test]
fn defect_b28_sizes_have_a_cap() {
    let running = running();
    for size in [svp::MAX_PAYLOAD + 1, 1 << 24, u32::MAX] {
        for op in [Op::Ping, Op::Vl2Req, Op::LogRm] {
            let mut bad = message(op, &[]);
            bad[4..8].copy_from_slice(&size.to_be_bytes());
            ends_its_own_connection(&running, &bad);
        }
    }
}

/// B29: no answer waits for an acknowledgement of the one before.
#[test]
fn defect_b29_answers_are_sent_without_delay() {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let running = running();
    let mut stream = running.connect();
    assert_eq!(exchange(&mut stream, &ping(1), 16), pong(1));
    let us = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let numbers = descriptors.filter_map(|d| d.file_name().to_str()?.parse().ok());
    // The server's end is the one whose peer is ours.
    let theirs = numbers
        .filter_map(|fd| pidfd_getfd(&us, fd, PidfdGetfdFlags::empty()).ok())
        .map(socket2::Socket::from)
        .find(|s| {
            let peer = s.peer_addr().ok().and_then(|a| a.as_socket());
            peer == stream.local_addr().ok()
        });
    assert!(theirs.expect("the server's end").tcp_nodelay().unwrap());
}

/// The JSON backend of the original answers nothing but PING. Ours answer the same, whichever it is.
#[test]
fn defect_b26_every_store_answers_alike() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = vectors("svp_sessions.json");
    let file = File::open(&dir.path().join("portolan.redb")).unwrap();
    let stores: [Box<dyn Engine>; 2] = [Box::new(file), Box::new(Memory::default())];
    let [a, b] = stores.map(|store| {
        let running = run(store, Limits::default());
        running.change(true, restore(&sessions["dbs"]["db-v2.json"]));
        let mut stream = running.connect();
        let mut answers = Vec::new();
        let session =
            sessions["sessions"].as_array().unwrap().iter().find(|s| s["name"] == "vpc_v2_basic");
        for step in session.unwrap()["steps"].as_array().unwrap() {
            let mut answer = exchange(&mut stream, &unhex(step["send_hex"].as_str().unwrap()), 16);
            let size = u32::from_be_bytes(answer[4..8].try_into().unwrap());
            answer.extend(exchange(&mut stream, &[], size as usize));
            answers.push(answer);
        }
        answers
    });
    assert!(a.len() > 30, "{} answers", a.len());
    assert_eq!(a, b);
}
