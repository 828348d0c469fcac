// SPDX-License-Identifier: CDDL-1.0
//! Peers that are silent, slow, hostile, or gone; and the end of the server.

use crate::common::{Faulty, LONG, Running, closes_after, exchange, ping, pong, run, until};
use portolan::serve::Limits;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(300);

fn limited(limits: Limits) -> Running {
    run(Box::new(Faulty::default()), limits)
}

/// The value of a counter.
fn counted(running: &Running, line: &str) -> String {
    let counts = running.server.directory.read().counts();
    let text = running.server.metrics.text(&counts);
    let found = text.lines().find_map(|l| l.strip_prefix(line));
    found.unwrap_or_default().trim().to_owned()
}

#[test]
fn silent_peers_are_let_go() {
    let running = limited(Limits { idle: SHORT, ..Limits::default() });
    let mut stream = running.connect();
    assert_eq!(exchange(&mut stream, &ping(1), 16), pong(1));
    let began = Instant::now();
    assert_eq!(closes_after(&mut stream), b"");
    assert!(began.elapsed() >= SHORT / 2, "not before it was idle for as long");
    until("counted", || counted(&running, "portolan_closes_total{reason=\"idle\"}") == "1");
}

#[test]
fn a_message_begun_is_to_be_finished() {
    let running = limited(Limits { message: SHORT, ..Limits::default() });
    let mut stream = running.connect();
    // A byte now and then keeps nobody waiting for ever.
    stream.write_all(&ping(1)[..5]).unwrap();
    let mut rest = [0; 16];
    let began = Instant::now();
    let mut byte = 5;
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    loop {
        match stream.read(&mut rest) {
            Ok(n) => break assert_eq!(n, 0),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(_) => assert!(began.elapsed() < LONG, "it was let go on"),
        }
        // The message itself is never finished.
        if byte < 15 && stream.write_all(&ping(1)[byte..=byte]).is_ok() {
            byte += 1;
        }
    }
    until("counted", || counted(&running, "portolan_closes_total{reason=\"message\"}") == "1");
}

#[test]
fn peers_that_do_not_read_are_not_read_from_and_then_let_go() {
    let limits = Limits { stall: SHORT, outstanding: 4096, ..Limits::default() };
    let running = limited(limits);
    let mut stream = running.connect();
    stream.set_write_timeout(Some(LONG)).unwrap();
    let many: Vec<u8> = (0..4096).flat_map(ping).collect();
    let mut sent = 0usize;
    // Sooner or later the server takes no more, and closes.
    while stream.write_all(&many).is_ok() {
        sent += many.len();
        assert!(sent < 1 << 30, "the server buffers without end");
    }
    until("counted", || counted(&running, "portolan_closes_total{reason=\"stall\"}") == "1");
    let mut other = running.connect();
    assert_eq!(exchange(&mut other, &ping(9), 16), pong(9));
}

#[test]
fn too_many_connections_are_refused_and_counted() {
    let running = limited(Limits { connections: 2, ..Limits::default() });
    let mut a = running.connect();
    let mut b = running.connect();
    assert_eq!(exchange(&mut a, &ping(1), 16), pong(1));
    assert_eq!(exchange(&mut b, &ping(1), 16), pong(1));
    let mut c = running.connect();
    assert_eq!(closes_after(&mut c), b"");
    drop(a);
    until("a place is free", || {
        let mut d = running.connect();
        d.write_all(&ping(3)).unwrap();
        let mut got = [0; 16];
        d.read_exact(&mut got).is_ok()
    });
}

#[test]
fn a_thousand_connections_at_once() {
    let running = limited(Limits::default());
    let mut all: Vec<_> = (0..1000).map(|_| running.connect()).collect();
    for (n, stream) in all.iter_mut().enumerate() {
        stream.write_all(&ping(n as u32)).unwrap();
    }
    for (n, stream) in all.iter_mut().enumerate() {
        assert_eq!(exchange(stream, &[], 16), pong(n as u32));
    }
    drop(all);
    until("all are closed", || running.server.metrics.connections.get() == 0);
}

#[test]
fn a_drain_answers_what_was_asked_and_closes() {
    let running = limited(Limits { drain: LONG, ..Limits::default() });
    let mut idle = running.connect();
    let mut half = running.connect();
    half.write_all(&ping(2)[..9]).unwrap();
    let mut busy = running.connect();
    assert_eq!(exchange(&mut busy, &ping(1), 16), pong(1));
    assert_eq!(exchange(&mut idle, &ping(1), 16), pong(1));
    until("all are accepted", || running.server.metrics.connections.get() == 3);
    busy.write_all(&ping(2)).unwrap();
    running.stop.send_replace(true);
    assert_eq!(closes_after(&mut busy), pong(2));
    assert_eq!(closes_after(&mut idle), b"");
    assert_eq!(closes_after(&mut half), b"");
    let server = Arc::clone(&running.server);
    running.runtime.block_on(server.drained());
    until("nobody listens", || std::net::TcpStream::connect(running.addr).is_err());
}
