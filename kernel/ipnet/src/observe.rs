// SPDX-License-Identifier: CDDL-1.0
//! The packet path. See the crate.
use crate::accept::Ends;
use crate::bpf;
use crate::dlpi::Front;
use crate::header::{HEADER_LEN, Header};
use crate::stack::Stack;
use crate::stamp::{STAMP_LEN, Stamp};
use crate::stats::StreamStats;
use crate::tap::Sink;
use ddi::mblk::Mblk;
use ddi::neti::{Observed, Observer};
use ddi::stream::ReadQueue;
use ddi::time::Realtime;

/// Most bytes in front of a packet.
const FRONT_MAX: usize = STAMP_LEN + HEADER_LEN;

/// A stream that wants the packet, and has room.
#[derive(Clone, Copy)]
struct Taker<'a> {
    queue: ReadQueue,
    stats: &'a StreamStats,
    front: Front,
}

impl Observer for Stack {
    #[inline]
    fn observe(&self, packet: &Observed<'_>) {
        let header = Header::parse(packet.header());
        let read = |at, buf: &mut [u8]| packet.packet().copy_bytes(at, buf);
        let ends = Ends::read(header.family, read);
        let (mut ok, mut fail, mut wanted, mut delivered) = (0_u64, 0_u64, false, false);
        // The copy, and the first stream that wanted it: it gets it in the end.
        let mut copy: Option<(Mblk, Taker<'_>)> = None;
        // When, if anybody wants to know.
        let mut seen = None;
        let seats = self.seats();
        for seat in seats.iter() {
            let mode = seat.tap.mode();
            if !ends.is_some_and(|ends| seat.wants(mode, &header, &ends)) {
                fail = fail.wrapping_add(1);
                continue;
            }
            ok = ok.wrapping_add(1);
            let (queue, stats) = match &seat.tap.sink {
                Sink::Queue(queue, stats) => (*queue, &**stats),
                Sink::Bpf(client) => {
                    bpf::show(client, seat, &header, packet);
                    continue;
                }
            };
            wanted = true;
            stats.accepted.add(1);
            if !queue.has_room() {
                self.stats.put_drop.add(1);
                stats.dropped.add(1);
                continue;
            }
            let taker = Taker { queue, stats, front: mode.front };
            match &copy {
                None => match packet.packet().copy(FRONT_MAX) {
                    Some(made) => copy = Some((made, taker)),
                    None => {
                        self.stats.dup_drop.add(1);
                        stats.dropped.add(1);
                    }
                },
                Some((made, _)) => match made.dup().or_else(|| made.copy(FRONT_MAX)) {
                    Some(shared) => {
                        delivered |= self.give(taker, packet.header(), shared, &mut seen)
                    }
                    None => {
                        self.stats.duplication_fail.add(1);
                        stats.dropped.add(1);
                    }
                },
            }
        }
        if let Some((made, taker)) = copy {
            delivered |= self.give(taker, packet.header(), made, &mut seen);
        }
        self.stats.accept_ok.add(ok);
        self.stats.accept_fail.add(fail);
        if delivered {
            self.stats.dispatch_ok.add(1);
        } else if wanted {
            self.stats.dispatch_fail.add(1);
        }
    }
}

/// The packet behind `front`: in the same block, or, if others have that too, in one of its own.
#[inline]
fn preceded(mut packet: Mblk, front: &[u8]) -> Option<Mblk> {
    if packet.try_prepend(front) {
        return Some(packet);
    }
    Mblk::copy_from(front, 0).map(|front| front.link(packet))
}

/// The record and the header of a packet.
fn stamped(
    taker: Taker<'_>,
    header: &[u8; HEADER_LEN],
    packet: &Mblk,
    seen: Realtime,
) -> [u8; FRONT_MAX] {
    let stamp = Stamp {
        len: packet.size().saturating_add(HEADER_LEN) as u32,
        drops: taker.stats.dropped.get() as u32,
        seconds: seen.seconds as u32,
        micros: seen.nanos / 1000,
    };
    zerocopy::transmute!([stamp.to_bytes(), *header])
}

impl Stack {
    /// Queues a packet; whether that worked.
    #[inline]
    fn give(
        &self,
        taker: Taker<'_>,
        header: &[u8; HEADER_LEN],
        packet: Mblk,
        seen: &mut Option<Realtime>,
    ) -> bool {
        let message = match taker.front {
            Front::Nothing => Some(packet),
            Front::Header => preceded(packet, header),
            Front::Stamp => {
                let seen = *seen.get_or_insert_with(Realtime::now);
                let front = stamped(taker, header, &packet, seen);
                preceded(packet, &front)
            }
        };
        let (delivered, lost) = match message {
            Some(message) => (taker.queue.put(message), &self.stats.put_drop),
            None => (false, &self.stats.header_drop),
        };
        if delivered {
            self.stats.deliver.add(1);
            taker.stats.delivered.add(1);
        } else {
            lost.add(1);
            taker.stats.dropped.add(1);
        }
        delivered
    }
}
