// SPDX-License-Identifier: CDDL-1.0
//! Captures, from the kernel's threads to a control connection.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use fakekernel::net::capture::{Packet, Point};
use fakekernel::net::{Capture, capture};

use crate::pcap::{self, LinkType};

/// Packets on their way to a reader; more are lost, rather than that the network waits.
const QUEUE: usize = 8192;
/// How soon it is noticed that the reader went away while nothing passes.
const LOOK: Duration = Duration::from_millis(100);

/// Writes what passes `point` as a pcap file, until `count` packets are written or the reader goes
/// away.
pub fn write(point: Point, count: Option<u64>, to: &mut UnixStream) -> io::Result<()> {
    let (queue, packets) = sync_channel(QUEUE);
    let sink = move |p: &Packet<'_>| {
        let head = p
            .datagram
            .map(|(from, to)| pcap::udp_headers(SocketAddr::V6(from), SocketAddr::V6(to), p.bytes));
        let _ = queue.try_send(pcap::record(p.time, &head.unwrap_or_default(), p.bytes));
    };
    let link = if point == Point::Underlay { LinkType::Raw } else { LinkType::Ethernet };
    let _running: Capture = capture(point, Arc::new(sink));
    to.write_all(&pcap::header(link))?;
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        match packets.recv_timeout(LOOK) {
            Ok(packet) => {
                to.write_all(&packet)?;
                left -= 1;
            }
            Err(RecvTimeoutError::Timeout) if gone(to)? => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
    Ok(())
}

/// Whether the reader has closed. It has nothing to say to a capture, so what it says is thrown
/// away.
fn gone(reader: &mut UnixStream) -> io::Result<bool> {
    reader.set_nonblocking(true)?;
    let read = reader.read(&mut [0; 512]);
    reader.set_nonblocking(false)?;
    match read {
        Ok(n) => Ok(n == 0),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(e) => Err(e),
    }
}
