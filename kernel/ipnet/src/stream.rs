// SPDX-License-Identifier: CDDL-1.0
//! An open stream.
use crate::accept::GLOBAL_ZONE;
use crate::dlpi::{self, Mode, Step};
use crate::ioctl::{self, Request};
use crate::stack::Stack;
use crate::stats::StreamStats;
use crate::tap::{Sink, Tap, Ticket};
use crate::{ipnet, table};
use ddi::Errno;
use ddi::dev::{Cred, is_labeled};
use ddi::ids::Id;
use ddi::kstat::Kstat;
use ddi::mem::KArc;
use ddi::neti::NetId;
use ddi::netstack::Hold;
use ddi::stream::{Ioctl, ReadQueue};

/// Minor number of `/dev/lo0`.
pub(crate) const MINOR_LO: u32 = 1;

/// Bytes of packets that may wait in a stream's queue, besides the last message.
pub const ROOM: usize = 256 << 10;

/// An open stream.
pub(crate) struct Stream {
    tap: KArc<Tap>,
    stack: KArc<Stack>,
    _kstat: Option<Kstat<StreamStats>>,
    _minor: Id,
    _ticket: Ticket,
    /// The stack stays as long.
    _hold: Hold,
}

impl Stream {
    /// Opens the node of this minor number for a caller.
    ///
    /// # Errors
    /// `EACCES`: only the global zone may, on a labeled system. `ENODEV`: no such interface that the
    /// caller's zone could see, or its stack is on its way out. `ENOSR`: the zone has as many
    /// streams as it may. `ENOMEM`: all minor numbers are in use.
    pub fn open(queue: ReadQueue, minor: u32, cred: Cred) -> Result<(KArc<Stream>, u32), Errno> {
        let zone = cred.zone();
        if is_labeled() && zone != GLOBAL_ZONE {
            return Err(Errno::EACCES);
        }
        let (hold, stack, node) = find(zone, minor, cred).ok_or(Errno::ENODEV)?;
        let ticket = Ticket::take(&stack, zone)?;
        let minor = Id::new(&ipnet()?.minors).ok_or(Errno::ENOMEM)?;
        let number = minor.get();
        let stats = KArc::new(StreamStats::default());
        let kstat = NetId::of_zone(stack.id).and_then(|net| {
            let source = stats.clone();
            Kstat::of_stack(net, c"ipnet", number as i32, c"stream", c"misc", source)
        });
        let tap = Tap::new(node, zone, Sink::Queue(queue, stats), Mode::default());
        let tap = KArc::new(tap);
        let stream =
            Stream { tap, stack, _kstat: kstat, _minor: minor, _ticket: ticket, _hold: hold };
        Ok((KArc::new(stream), number))
    }

    /// Packets come from here on.
    pub fn start(&self) {
        Stack::add(&self.stack, &self.tap);
    }

    /// None comes any more.
    pub fn stop(&self) {
        self.stack.remove(&self.tap);
    }

    /// The answer to a DLPI request.
    pub fn request(&self, request: &[u8]) -> Option<dlpi::Bytes> {
        let was = self.tap.mode();
        let mut step = dlpi::step(was, self.tap.node.is_none(), request)?;
        if let Err(e) = self.stack.want(&self.tap, step.mode.wants_multicasts()) {
            step = Step::not_joined(was, e.0 as u32);
        }
        self.tap.set_mode(step.mode);
        Some(step.reply.encode())
    }

    /// The answer to an ioctl.
    pub fn ioctl(cmd: i32, count: usize) -> Ioctl {
        match ioctl::request(cmd, count) {
            Request::Ack => Ioctl::Ack(0),
            Request::CopyIn => Ioctl::CopyIn(size_of::<i32>()),
            Request::Nak => Ioctl::Nak(Errno::EINVAL),
        }
    }

    /// The argument of an ioctl: what packets are to have in front.
    ///
    /// # Errors
    /// `EINVAL`: neither.
    pub fn argument(&self, cmd: i32, data: &[u8]) -> Result<i32, Errno> {
        let (front, value) = ioctl::argument(cmd, data).ok_or(Errno::EINVAL)?;
        self.tap.set_mode(Mode { front, ..self.tap.mode() });
        Ok(value)
    }
}

/// What a caller means by a minor number. The global zone may look into every stack: its own first.
fn find(
    zone: i32,
    minor: u32,
    cred: Cred,
) -> Option<(Hold, KArc<Stack>, Option<KArc<table::Node>>)> {
    let hold = Hold::of_caller(cred)?;
    let stack = hold.instance::<Stack>()?;
    if minor == MINOR_LO {
        return Some((hold, stack, None));
    }
    if let Some(node) = stack.by_minor(zone, minor) {
        return Some((hold, stack, Some(node)));
    }
    if zone != GLOBAL_ZONE {
        return None;
    }
    let (stack, node) = stack.elsewhere(minor)?;
    Some((Hold::of_id(stack.id)?, stack, Some(node)))
}
