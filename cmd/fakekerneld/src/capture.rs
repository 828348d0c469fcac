// SPDX-License-Identifier: CDDL-1.0
//! Captures, from the kernel's threads to a control connection.
//!
//! ```text
//!   kernel's threads --sink--> queue --Writer--> pcapng file in a socket --> reader
//!                        |
//!                        +-- full: lost, and counted
//! ```
//!
//! A reader is told of every packet that passes while it captures, or that it was lost: each packet
//! in the file says how many were lost before it, and statistics follow when those were the last.
//! Invariant: what is written and what is told to be lost make up what passed.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fakekernel::net::capture::{Packet, Point, Sink};
use fakekernel::net::{Capture, capture};
use snoop::file::{Counts, Interface, pcap};
use snoop::packet::{LinkType, Packet as Kept};

use crate::datagram;

/// Packets on their way to a reader; more are lost, rather than that the network waits.
const QUEUE: usize = 8192;
/// How soon it is noticed that the reader has enough.
const LOOK: Duration = Duration::from_millis(100);

/// Writes what passes `point`, which people call `name`, as a pcapng file, until `count` packets are
/// written or the reader has enough.
pub fn write(
    point: Point,
    name: String,
    count: Option<u64>,
    to: &mut UnixStream,
) -> io::Result<()> {
    let link = if point == Point::Underlay { LinkType::Raw } else { LinkType::Ethernet };
    // A reader may take its time.
    to.set_write_timeout(None)?;
    to.write_all(&pcap::section())?;
    to.write_all(&pcap::interface(&Interface { name, link }, 0))?;
    let (sink, queue) = Queue::new(link);
    let running = capture(point, sink);
    queue.serve(running, count.unwrap_or(u64::MAX), to)
}

/// What is on its way, each packet with the number lost until then.
struct Queue {
    packets: Receiver<(u64, Kept)>,
    lost: Arc<AtomicU64>,
}

impl Queue {
    fn new(link: LinkType) -> (Sink, Queue) {
        let (queue, packets) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&lost);
        let sink = move |p: &Packet<'_>| {
            let packet = (count.load(Ordering::Relaxed), kept(link, p));
            if queue.try_send(packet).is_err() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        (Arc::new(sink), Queue { packets, lost })
    }

    /// Writes what the running capture brings; when the reader has enough, what it brought.
    fn serve(&self, running: Capture, most: u64, to: &mut UnixStream) -> io::Result<()> {
        let mut running = Some(running);
        let mut writer = Writer { to, packets: 0, told: 0 };
        let mut looked = Instant::now();
        while writer.packets < most {
            if running.is_some() && looked.elapsed() >= LOOK {
                looked = Instant::now();
                if has_enough(writer.to)? {
                    running = None;
                }
            }
            match self.packets.recv_timeout(LOOK) {
                Ok((lost, packet)) => writer.packet(&packet, lost)?,
                Err(RecvTimeoutError::Timeout) => writer.lost(self.lost.load(Ordering::Relaxed))?,
                // The sink is gone, and with it the last packet.
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        drop(running);
        writer.statistics(self.lost.load(Ordering::Relaxed))
    }
}

struct Writer<'a> {
    to: &'a mut UnixStream,
    packets: u64,
    /// How many the reader knows to be lost.
    told: u64,
}

impl Writer<'_> {
    fn packet(&mut self, packet: &Kept, lost: u64) -> io::Result<()> {
        // Several threads count; one may have seen less than another that was faster.
        let since = lost.saturating_sub(self.told);
        self.told += since;
        self.packets += 1;
        self.to.write_all(&pcap::packet(0, packet, since))
    }

    /// Tells of those that no packet came after.
    fn lost(&mut self, lost: u64) -> io::Result<()> {
        if lost > self.told { self.statistics(lost) } else { Ok(()) }
    }

    fn statistics(&mut self, lost: u64) -> io::Result<()> {
        self.told = lost;
        let counts = Counts { packets: self.packets, dropped: Some(lost) };
        self.to.write_all(&pcap::statistics(0, &counts))
    }
}

/// A packet as it is kept.
fn kept(link: LinkType, p: &Packet<'_>) -> Kept {
    let head = p
        .datagram
        .map(|(from, to)| datagram::headers(SocketAddr::V6(from), SocketAddr::V6(to), p.bytes));
    let bytes = [&head.unwrap_or_default(), p.bytes].concat();
    let time = p.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Kept { time, link, length: bytes.len(), bytes }
}

/// Whether the reader has closed, or its half. It has nothing to say to a capture, so what it says
/// is thrown away.
fn has_enough(reader: &mut UnixStream) -> io::Result<bool> {
    reader.set_nonblocking(true)?;
    let read = reader.read(&mut [0; 512]);
    reader.set_nonblocking(false)?;
    match read {
        Ok(n) => Ok(n == 0),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakekernel::net::capture::Direction;
    use snoop::file::Reader;
    use std::net::Shutdown;
    use std::time::SystemTime;

    #[test]
    fn a_million_packets_past_a_slow_reader_are_captured_or_counted_as_lost() {
        const PASSED: u64 = 1_000_000;
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (sink, queue) = Queue::new(LinkType::Ethernet);
        ours.write_all(&pcap::section()).unwrap();
        let interface = Interface { name: "x".into(), link: LinkType::Ethernet };
        ours.write_all(&pcap::interface(&interface, 0)).unwrap();
        // Stands for the kernel: the real one brings nothing here.
        let running = capture(Point::Link(u32::MAX), Arc::new(|_| {}));
        let writer = std::thread::spawn(move || queue.serve(running, u64::MAX, &mut ours));
        let reader = std::thread::spawn(move || {
            let mut reader = Reader::new(theirs.try_clone().unwrap());
            let mut got = 0;
            while reader.packet().unwrap().is_some() {
                got += 1;
                if got == 1000 {
                    // It does not look for a while, and then only now and then.
                    std::thread::sleep(Duration::from_secs(1));
                }
                if got % 1000 == 0 {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            (got, reader.dropped().unwrap())
        });
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let sink = Arc::clone(&sink);
                std::thread::spawn(move || {
                    let (time, direction) = (SystemTime::now(), Direction::In);
                    let packet = Packet { time, direction, bytes: &[7; 100], datagram: None };
                    (0..PASSED / 4).for_each(|_| sink(&packet));
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        drop(sink);
        writer.join().unwrap().unwrap();
        let (got, dropped) = reader.join().unwrap();
        assert!(dropped > 0 && got >= QUEUE as u64, "{got} {dropped}");
        assert_eq!(got + dropped, PASSED);
    }

    #[test]
    fn a_reader_that_has_enough_gets_what_was_captured_and_the_counts() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let writer =
            std::thread::spawn(move || write(Point::Link(u32::MAX), "x".into(), None, &mut ours));
        theirs.shutdown(Shutdown::Write).unwrap();
        let mut reader = Reader::new(theirs);
        assert_eq!(reader.packet().unwrap(), None);
        assert_eq!(reader.dropped(), Some(0));
        writer.join().unwrap().unwrap();
    }
}
