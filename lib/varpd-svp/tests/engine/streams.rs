// SPDX-License-Identifier: CDDL-1.0
//! Bytes: split, cut, changed, and written bit by bit.

use crate::rig::*;
use std::time::Duration;
use svp::Uuid;
use svp::log::{Entry, Named};
use varpd_svp::engine::*;

/// All that a directory says on a connection that asks for a version, two lookups and the log.
struct Talk {
    rig: Rig,
    conn: ConnId,
    /// PONG, or the replies.
    bytes: Vec<u8>,
}

impl Talk {
    fn pong() -> Talk {
        let mut rig = Rig::new();
        rig.attach_as(ONE, VNET, None);
        rig.resolved(Ok(vec![ip(1)]));
        let conn = rig.conn_to(1).unwrap();
        rig.connected(conn);
        let mut bytes = Vec::new();
        let (token, ask) = rig.asked_one(conn);
        good(token, &ask, &mut bytes);
        Talk { rig, conn, bytes }
    }

    fn replies() -> Talk {
        let (mut rig, _) = Rig::up(1);
        let (conn, log) = rig.next_poll(secs(1));
        rig.vl2();
        rig.lookup(Question::Vl3(ip(9)));
        let mut bytes = Vec::new();
        for (token, ask) in rig.asked(conn) {
            good(token, &ask, &mut bytes);
        }
        let entry = Entry::Vl2 { mac: MAC, vnet: VNET + 1 };
        log.log(&mut bytes, svp::Status::OK, [Named { id: Uuid::nil(), entry }]);
        Talk { rig, conn, bytes }
    }

    /// Whether all was understood.
    fn is_done(&mut self) -> bool {
        let peer = self.rig.peer(1);
        peer.state == "ACTIVE" && peer.outstanding == 0 && self.rig.unanswered() == 0
    }
}

const TALKS: [fn() -> Talk; 2] = [Talk::pong, Talk::replies];

/// B3: wherever TCP splits a stream, it says the same.
#[test]
pub fn b03_streams_split_at_every_offset_are_understood() {
    for talk in TALKS {
        let len = talk().bytes.len();
        for at in 1..len {
            let mut talk = talk();
            let (head, rest) = talk.bytes.split_at(at);
            talk.rig.send(talk.conn, head);
            talk.rig.send(talk.conn, rest);
            assert!(talk.is_done(), "split at {at} of {len}");
        }
        let mut talk = talk();
        for byte in talk.bytes.clone() {
            talk.rig.send(talk.conn, &[byte]);
        }
        assert!(talk.is_done());
    }
}

/// B2: a connection lost in the middle of a message does not poison the next.
#[test]
pub fn b02_streams_cut_at_every_offset_leave_nothing_behind() {
    for talk in TALKS {
        let len = talk().bytes.len();
        for at in 0..len {
            let mut talk = talk();
            let head = talk.bytes[..at].to_vec();
            talk.rig.send(talk.conn, &head);
            talk.rig.ended(talk.conn, None);
            assert_eq!(talk.rig.unanswered(), 0);
            let error = talk.rig.peer(1).last_error.unwrap();
            assert!(error == "closed by the peer" || error.starts_with("stream ends after"));
            let conn = talk.rig.reconnect(1);
            talk.rig.activate(conn);
            talk.rig.vl2();
            talk.rig.serve_all();
            assert!(talk.is_done(), "cut at {at} of {len}");
        }
        assert_eq!(talk().rig.tried.len(), 1);
    }
}

/// No bit of a reply can be another without the connection being lost, or waiting for bytes that do not come.
#[test]
fn flipped_bits_are_never_an_answer() {
    for talk in TALKS {
        let len = talk().bytes.len();
        for bit in 0..len * 8 {
            let mut talk = talk();
            talk.bytes[bit / 8] ^= 1 << (bit % 8);
            talk.rig.send(talk.conn, &talk.bytes.clone());
            let lost = !talk.rig.far.contains_key(&talk.conn);
            assert!(lost || !talk.is_done(), "bit {bit}");
            talk.rig.pass(secs(31));
            assert!(!talk.rig.far.contains_key(&talk.conn), "bit {bit}");
            assert_eq!(talk.rig.unanswered(), 0, "bit {bit}");
            let right = [
                Answer::Vl2(at()),
                Answer::Vl3 { mac: MAC, at: Some(at()) },
                Answer::Drop(Drop::Lost),
            ];
            assert!(talk.rig.answers().iter().all(|(_, answer)| right.contains(answer)));
        }
    }
}

/// B14: writes may be as short as they like, and fail with whatever they like.
#[test]
fn b14_short_writes_and_any_error_are_survived() {
    let (mut rig, conns) = Rig::up(1);
    rig.vl2();
    rig.lookup(Question::Vl3(ip(9)));
    let all = rig.engine.pending(conns[0]).to_vec();
    assert_eq!(all.len(), 16 + 12 + 16 + 24);
    let mut written = Vec::new();
    while !rig.engine.pending(conns[0]).is_empty() {
        written.extend(rig.write(conns[0], 1));
    }
    assert_eq!(written, all);
    // More than there is, and to a connection that is not there.
    rig.write(conns[0], 1000);
    rig.write(ConnId(999), 1);

    for error in ["Broken pipe", "Connection timed out", "No route to host", ""] {
        for stage in 0..3 {
            let conn = rig.reconnect(1);
            if stage > 0 && !rig.far[&conn].connected {
                rig.connected(conn);
            }
            if stage > 1 {
                rig.serve_all();
                rig.vl2();
            }
            rig.ended(conn, Some(error));
            assert_eq!(rig.unanswered(), 0);
            assert_eq!(rig.peer(1).last_error.as_deref(), Some(error));
        }
    }
}

/// What a peer may send without being asked is bounded, and what is kept of it.
#[test]
fn a_flood_ends_at_its_first_message() {
    let (mut rig, conns) = Rig::up(1);
    // A header that announces the largest payload there may be of a LOG_ACK nobody asked for.
    let mut flood = Vec::new();
    svp::frame::append(&mut flood, 2, svp::Op::LogAck, svp::Id::from(77), |out| {
        out.resize(out.len() + svp::MAX_PAYLOAD as usize, 0);
    });
    let mut given = 0;
    while rig.far.contains_key(&conns[0]) {
        for chunk in flood.chunks(1000) {
            rig.send(conns[0], chunk);
            given += chunk.len();
        }
    }
    assert_eq!(given, flood.len());
    assert_eq!(rig.peer(1).counters.bytes_in as usize - 16, flood.len());
    rig.pass(Duration::from_millis(1));
}
