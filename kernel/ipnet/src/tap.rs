// SPDX-License-Identifier: CDDL-1.0
//! Who looks, and from where.
use crate::accept::{Addresses, Ends, Filter, Place, accept};
use crate::bpf;
use crate::dlpi::Mode;
use crate::header::Header;
use crate::stack::Stack;
use crate::stats::StreamStats;
use crate::table::{Node, Table};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use ddi::Errno;
use ddi::mem::KArc;
use ddi::stream::ReadQueue;

/// Tunable: whether a stream that is not bound is shown what one of SAP 0 is (not 0), or nothing (0).
/// Programs that count on `/dev/lo0` without a bind want it.
// SAFETY: nothing else has the name; /etc/system finds it by that.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static ipnet_unbound: AtomicU32 = AtomicU32::new(0);

/// Where packets go.
pub(crate) enum Sink {
    /// To a stream.
    Queue(ReadQueue, KArc<StreamStats>),
    /// To a client of BPF.
    Bpf(bpf::Client),
}

/// Somebody who looks.
pub(crate) struct Tap {
    /// The interface; `None` on `/dev/lo0`.
    pub node: Option<KArc<Node>>,
    pub zone: i32,
    pub sink: Sink,
    /// Bits of a [`Mode`].
    mode: AtomicU32,
    /// The interface is there no more, or not for this zone. Stays so.
    pub lost: AtomicBool,
    /// The stream was told.
    pub told: AtomicBool,
}

impl Tap {
    pub fn new(node: Option<KArc<Node>>, zone: i32, sink: Sink, mode: Mode) -> Tap {
        Tap {
            node,
            zone,
            sink,
            mode: AtomicU32::new(mode.to_bits()),
            lost: AtomicBool::new(false),
            told: AtomicBool::new(false),
        }
    }

    #[inline]
    pub fn mode(&self) -> Mode {
        Mode::from_bits(self.mode.load(Ordering::Relaxed))
    }

    /// One at a time: by the requests of its stream.
    pub fn set_mode(&self, mode: Mode) {
        self.mode.store(mode.to_bits(), Ordering::Relaxed);
    }
}

/// How many of a zone may look at a time. What waits for readers that never read is bounded for a
/// stream by [`crate::ROOM`], and so by this for all that a zone can open.
pub const TICKETS: usize = 128;

/// One that lets look.
pub(crate) struct Ticket {
    stack: KArc<Stack>,
    zone: i32,
}

impl Ticket {
    /// Takes one.
    ///
    /// # Errors
    /// `ENOSR`: there is none left.
    pub fn take(stack: &KArc<Stack>, zone: i32) -> Result<Ticket, Errno> {
        let stack = stack.clone();
        if stack.admit(zone) { Ok(Ticket { stack, zone }) } else { Err(Errno::ENOSR) }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.stack.dismiss(self.zone);
    }
}

/// A tap's interface, as of when the seat was made.
enum Spot {
    On { index: u32, addresses: KArc<Addresses> },
    Lo0,
    Loopback,
}

/// A tap for the packet path.
pub(crate) struct Seat {
    pub tap: KArc<Tap>,
    spot: Option<Spot>,
}

impl Seat {
    pub fn new(tap: &KArc<Tap>, table: &Table) -> Seat {
        let spot = match &tap.node {
            _ if tap.lost.load(Ordering::Relaxed) => None,
            None => Some(Spot::Lo0),
            Some(node) if node.loopback && matches!(tap.sink, Sink::Bpf(_)) => Some(Spot::Loopback),
            Some(node) => table
                .entry(node)
                .map(|e| Spot::On { index: e.index, addresses: e.addresses.clone() }),
        };
        Seat { tap: tap.clone(), spot }
    }

    /// Whether the tap wants the packet.
    #[inline]
    pub fn wants(&self, mode: Mode, header: &Header, ends: &Ends) -> bool {
        let unbound = || (ipnet_unbound.load(Ordering::Relaxed) != 0).then_some(0);
        let (Some(spot), Some(family)) = (&self.spot, mode.family().or_else(unbound)) else {
            return false;
        };
        let (place, any) = match spot {
            Spot::On { index, addresses } => {
                // Bound to no family in particular is as good as SAP.
                (Place::On { index: *index, addresses }, family == 0)
            }
            Spot::Lo0 => (Place::Lo0, false),
            Spot::Loopback => (Place::Loopback, false),
        };
        let filter = Filter { zone: self.tap.zone, family, phys: mode.phys, sap: mode.sap || any };
        accept(&filter, place, header, ends)
    }

    /// Whether the tap is on the group of the packet's interface and not on that itself.
    pub fn by_group(&self, header: &Header) -> Option<u32> {
        match self.spot {
            Some(Spot::On { index, .. }) if header.ifindex != index && header.group == index => {
                Some(index)
            }
            _ => None,
        }
    }
}
