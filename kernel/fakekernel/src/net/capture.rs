// SPDX-License-Identifier: CDDL-1.0
//! Captures: a copy of what passes a link or the UDP underlay, handed to a sink.
//!
//! Costs one load a batch while nobody captures.

use super::msg::{Chain, Msg};
use parking_lot::RwLock;
use std::net::SocketAddrV6;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

/// Which way a packet goes, as its link or host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// What to capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Frames of a link by datalink id: a VNIC, or a provider such as an overlay.
    Link(u32),
    /// UDP datagrams of the kernel sockets.
    Underlay,
}

impl From<u32> for Point {
    fn from(linkid: u32) -> Point {
        Point::Link(linkid)
    }
}

/// A packet seen.
#[derive(Debug)]
pub struct Packet<'a> {
    /// When.
    pub time: SystemTime,
    /// Which way.
    pub direction: Direction,
    /// The whole frame, or the payload of the datagram. A frame that is still to be segmented is up
    /// to 64 KiB long and its checksum may be unfinished.
    pub bytes: &'a [u8],
    /// Source and destination of a datagram, IPv4 as v4-mapped; `None` for a frame.
    pub datagram: Option<(SocketAddrV6, SocketAddrV6)>,
}

/// Called for every packet on the thread that carries it: it must be quick and must not send.
pub type Sink = Arc<dyn Fn(&Packet<'_>) + Send + Sync>;

struct Tap {
    id: usize,
    point: Point,
    sink: Sink,
}

static COUNT: AtomicUsize = AtomicUsize::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(0);
static TAPS: RwLock<Vec<Tap>> = RwLock::new(Vec::new());

/// A running capture; dropping it stops it. The sink may be called for a packet in flight a moment
/// longer.
pub struct Capture(usize);

/// Starts to hand what passes `point` to `sink`.
pub fn capture(point: impl Into<Point>, sink: Sink) -> Capture {
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    TAPS.write().push(Tap { id, point: point.into(), sink });
    COUNT.fetch_add(1, Ordering::SeqCst);
    Capture(id)
}

impl Drop for Capture {
    fn drop(&mut self) {
        TAPS.write().retain(|t| t.id != self.0);
        COUNT.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether anybody captures anything.
#[inline]
pub(crate) fn any() -> bool {
    COUNT.load(Ordering::Relaxed) != 0
}

fn sinks(point: Point) -> Vec<Sink> {
    TAPS.read().iter().filter(|t| t.point == point).map(|t| t.sink.clone()).collect()
}

/// Shows the frames of a chain.
pub(crate) fn chain(linkid: u32, direction: Direction, chain: &Chain) {
    let sinks = sinks(Point::Link(linkid));
    if !sinks.is_empty() {
        chain.messages().for_each(|m| show(&sinks, direction, &whole(&m), None));
    }
}

fn whole(m: &Msg) -> Vec<u8> {
    m.slices().collect::<Vec<_>>().concat()
}

/// Shows one frame.
pub(crate) fn frame(linkid: u32, direction: Direction, msg: &Msg) {
    let sinks = sinks(Point::Link(linkid));
    if !sinks.is_empty() {
        show(&sinks, direction, &whole(msg), None);
    }
}

/// Shows one datagram; `parts` are only put together when someone looks.
pub(crate) fn datagram<'a>(
    direction: Direction,
    ends: (SocketAddrV6, SocketAddrV6),
    parts: impl Iterator<Item = &'a [u8]>,
) {
    let sinks = sinks(Point::Underlay);
    if !sinks.is_empty() {
        show(&sinks, direction, &parts.collect::<Vec<_>>().concat(), Some(ends));
    }
}

fn show(
    sinks: &[Sink],
    direction: Direction,
    bytes: &[u8],
    datagram: Option<(SocketAddrV6, SocketAddrV6)>,
) {
    let packet = Packet { time: SystemTime::now(), direction, bytes, datagram };
    sinks.iter().for_each(|s| s(&packet));
}
