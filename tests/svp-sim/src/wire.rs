// SPDX-License-Identifier: CDDL-1.0
//! A TCP connection: bytes each way in order, in pieces of any size, each late by some time.

use fastrand::Rng;
use portolan::serve::answer::Answerer;
use std::collections::VecDeque;
use std::time::Duration;
use svp::frame::{append, first};
use svp::{HEADER, Header};
use varpd_svp::engine::{ConnId, Time};

/// Bytes under way in one direction; a sender waits for room.
pub const WINDOW: usize = 4096;

/// Something that arrives.
#[derive(Debug)]
pub enum Piece {
    Bytes(Vec<u8>),
    /// The sender closed its side.
    End,
}

/// One direction.
#[derive(Debug, Default)]
pub struct Pipe {
    pieces: VecDeque<Piece>,
    held: usize,
    /// When the last piece arrives.
    last: Time,
}

impl Pipe {
    pub fn room(&self) -> usize {
        WINDOW.saturating_sub(self.held)
    }

    /// Sends bytes, and says when each piece of them arrives.
    pub fn send(&mut self, rng: &mut Rng, late: Late, now: Time, bytes: &[u8]) -> Vec<Time> {
        let mut times = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            // Split anywhere, most often not at all.
            let n = if rng.u8(..4) == 0 { rng.usize(1..=rest.len()) } else { rest.len() };
            let (piece, more) = rest.split_at(n);
            times.push(self.push(rng, late, now, Piece::Bytes(piece.to_vec())));
            self.held += n;
            rest = more;
        }
        times
    }

    /// Sends the end, and says when it arrives.
    pub fn end(&mut self, rng: &mut Rng, late: Late, now: Time) -> Time {
        self.push(rng, late, now, Piece::End)
    }

    fn push(&mut self, rng: &mut Rng, late: Late, now: Time, piece: Piece) -> Time {
        self.pieces.push_back(piece);
        self.last = self.last.max(now + late.some(rng));
        self.last
    }

    /// What arrives next.
    pub fn arrive(&mut self) -> Option<Piece> {
        let piece = self.pieces.pop_front()?;
        if let Piece::Bytes(bytes) = &piece {
            self.held -= bytes.len();
        }
        Some(piece)
    }

    /// Nobody will see what is under way.
    pub fn cut(&mut self) {
        self.pieces.clear();
        self.held = 0;
    }
}

/// How late packets are.
#[derive(Clone, Copy, Debug)]
pub struct Late {
    /// One of so many is sent again.
    pub again: u8,
}

impl Late {
    /// Below a millisecond, or the time after which TCP sends again.
    pub fn some(self, rng: &mut Rng) -> Duration {
        let most = if rng.u8(..self.again) == 0 { 400_000 } else { 900 };
        Duration::from_micros(rng.u64(50..most))
    }
}

/// One connection, from the moment in which the host opens it.
pub struct Wire {
    pub host: usize,
    /// As the host's engine calls it.
    pub conn: ConnId,
    pub site: usize,
    pub front: usize,
    /// The host did not close it.
    pub host_open: bool,
    /// The site accepted it and did not close it.
    pub site_open: bool,
    /// The host has bytes that did not fit.
    pub wants: bool,
    pub up: Pipe,
    pub down: Pipe,
    pub answerer: Answerer,
    /// Answers that did not fit.
    pub out: Vec<u8>,
    /// A LOG_RM is with the store.
    pub removing: bool,
    /// What the host hears is that version 1 is spoken, as one that knows no other would.
    pub downgrade: bool,
}

impl Wire {
    pub fn new(host: usize, conn: ConnId, site: usize, front: usize, downgrade: bool) -> Wire {
        Wire {
            host,
            conn,
            site,
            front,
            host_open: true,
            site_open: false,
            wants: false,
            up: Pipe::default(),
            down: Pipe::default(),
            answerer: Answerer::default(),
            out: Vec::new(),
            removing: false,
            downgrade,
        }
    }

    /// Makes the first answer, to PING, one of version 1.
    pub fn downgrade(&mut self) {
        if let Ok(Some((frame, _))) = first(&self.out)
            && std::mem::take(&mut self.downgrade)
        {
            let Header { op, id, .. } = frame.header;
            let rest = self.out.split_off(HEADER);
            self.out.clear();
            append(&mut self.out, 1, op, id, |_| {});
            self.out.extend(rest);
        }
    }
}
