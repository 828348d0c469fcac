// SPDX-License-Identifier: CDDL-1.0
//! The log cycle of a remote: ask what has changed, act on it, have it removed.
//!
//! ```text
//!             due             entries            all followed         due            OK
//!   WAITING ------> POLLING -----------> ACTING -------------> ACTED -----> REMOVING ---> WAITING
//!      ^               | none, bad, lost    | nothing to remove                | not OK, lost
//!      +---------------+--------------------+----------------------------------+
//! ```
//!
//! There is one batch at a time, and one request. LOG_RM goes out in a later call than the one in which the
//! last entry was acted on: by then the edge has done all outputs, so the kernel has forgotten what the
//! directory is told to forget.
//!
//! # How long it waits
//!
//! Changes come in bunches: after a batch the next poll is at once, except that polls keep [`PACE`]. After an
//! empty one it waits [`SHARE`] times as long as the directory took to say so, so that its hosts together do
//! not keep it busy: 1 s at least, and at most [`IDLE`], which is what the original waits. After whatever went
//! wrong it waits that. So it does, too, if the directory gives entries again whose removal it has
//! confirmed: it is not asked faster than it forgets. A wait is up to as much again, at random.

use super::api::{Output, Time};
use super::context::Context;
use super::event::What;
use super::query::{Purpose, Query};
use super::remote::Remote;
use overlay_abi::ids::unmapped;
use std::net::Ipv6Addr;
use svp::client::Question;
use svp::log::{Entry, Named, Route};
use svp::message::Vl3Ack;
use svp::{Status, Uuid};

/// Payload of a LOG_ACK that is asked for, bytes: 31 VL2 entries, 32 of the original server. What the
/// original asks for.
const COUNT: u32 = 1024;
/// Least time between two polls.
const PACE: Time = Time::from_millis(50);
/// Waits when nothing happens are between these, and up to as much again.
const BRIEF: Time = Time::from_secs(1);
const IDLE: Time = Time::from_secs(5);
/// A wait is this many times as long as the reply took.
const SHARE: u32 = 500;
/// The first poll over the only active connection comes within this.
const HURRY: Time = Time::from_secs(1);

#[derive(Debug)]
pub(super) struct LogCycle {
    state: State,
    /// When it asked last.
    polled: Time,
    /// Entries of the last batch whose removal was confirmed.
    removed: Vec<Uuid>,
    /// What is wrong with the log, said once.
    complaint: Option<What>,
}

#[derive(Debug)]
enum State {
    Waiting { until: Time },
    Polling,
    Acting(Batch),
    Acted { due: Time, batch: Batch },
    Removing { again: bool },
}

/// Entries that are acted on.
#[derive(Debug, Default)]
struct Batch {
    /// Followed by VL3 lookups.
    follow: Vec<Follow>,
    /// Lookups without a reply.
    open: usize,
    /// Acted on.
    done: Vec<Uuid>,
    /// It has entries that were to be gone.
    again: bool,
}

#[derive(Clone, Copy, Debug)]
struct Follow {
    id: Uuid,
    ip: Ipv6Addr,
    vlan: u16,
    vnet: u32,
}

impl LogCycle {
    pub fn new(cx: &mut Context) -> LogCycle {
        LogCycle {
            state: State::Waiting { until: around(cx, IDLE) },
            polled: Time::ZERO,
            removed: Vec::new(),
            complaint: None,
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Waiting { until: due } | State::Acted { due, .. } => Some(due),
            State::Polling | State::Acting(_) | State::Removing { .. } => None,
        }
    }

    /// A connection is active where none was: what was missed is asked for soon.
    pub fn hurry(&mut self, cx: &mut Context) {
        let soon = cx.between(Time::ZERO, HURRY);
        if let State::Waiting { until } = &mut self.state {
            *until = soon.min(*until);
        }
    }

    fn wait_idle(&mut self, cx: &mut Context) {
        self.state = State::Waiting { until: around(cx, IDLE) };
    }

    fn wait_pace(&mut self, cx: &Context) {
        let until = self.polled.saturating_add(PACE).max(cx.now);
        self.state = State::Waiting { until };
    }

    /// Nothing has changed.
    fn empty(&mut self, cx: &mut Context) {
        let took = cx.now.saturating_sub(self.polled);
        let wait = took.saturating_mul(SHARE).clamp(BRIEF, IDLE);
        self.state = State::Waiting { until: around(cx, wait) };
    }

    /// The batch being acted on, if it is.
    fn batch(&mut self) -> Option<&mut Batch> {
        match &mut self.state {
            State::Acting(batch) => Some(batch),
            _ => None,
        }
    }

    /// Ends a batch of which nothing is open.
    fn acted(&mut self, cx: &mut Context) {
        let State::Acting(batch) = &mut self.state else { return };
        if batch.open > 0 {
            return;
        }
        let batch = std::mem::take(batch);
        if batch.done.is_empty() {
            self.wait_idle(cx);
        } else {
            self.state = State::Acted { due: cx.now, batch };
        }
    }
}

/// A moment after a wait, and up to as much again.
fn around(cx: &mut Context, wait: Time) -> Time {
    cx.between(wait, wait.saturating_mul(2))
}

/// The flows with prefixes of lengths that there are, as [`Route::covers`] takes them.
fn within(flows: Route) -> Route {
    let real = |len: u8| if len > 128 { 0 } else { len };
    let (src_prefix, dst_prefix) = (real(flows.src_prefix), real(flows.dst_prefix));
    Route { src_prefix, dst_prefix, ..flows }
}

impl Remote {
    /// The deadline of the cycle is reached.
    pub(super) fn log_due(&mut self, cx: &mut Context) {
        let query = match &mut self.log.state {
            State::Waiting { .. } => {
                self.log.state = State::Polling;
                self.log.polled = cx.now;
                let question = Question::Log { count: COUNT, ip: self.key.underlay_ip };
                Query::new(question, Purpose::Log)
            }
            State::Acted { batch, .. } => {
                let Batch { done, again, .. } = std::mem::take(batch);
                self.log.state = State::Removing { again };
                Query::new(Question::LogRm(done), Purpose::LogRm)
            }
            State::Polling | State::Acting(_) | State::Removing { .. } => return,
        };
        if self.ask(cx, query).is_err() {
            self.log.wait_idle(cx);
        }
    }

    /// LOG_REQ or LOG_RM was lost, or its reply says no.
    pub(super) fn log_failed(&mut self, cx: &mut Context, why: Option<What>) {
        self.counters.log_errors = self.counters.log_errors.saturating_add(1);
        if let Some(what) = why
            && self.log.complaint.as_ref() != Some(&what)
        {
            self.log.complaint = Some(what.clone());
            self.event(cx, what);
        }
        self.log.wait_idle(cx);
    }

    /// The reply to LOG_REQ.
    pub(super) fn log_given(&mut self, cx: &mut Context, status: Status, entries: Vec<Named>) {
        if status != Status::OK {
            return self.log_failed(cx, Some(What::LogStatus(status)));
        }
        self.counters.log_polls = self.counters.log_polls.saturating_add(1);
        self.log.complaint = None;
        if entries.is_empty() {
            self.log.removed.clear();
            return self.log.empty(cx);
        }
        self.log.state = State::Acting(self.act(cx, &entries));
        self.follow_up(cx);
        self.log.acted(cx);
    }

    /// Acts on what can be acted on at once.
    fn act(&mut self, cx: &mut Context, entries: &[Named]) -> Batch {
        let mut batch = Batch {
            again: entries.iter().any(|e| self.log.removed.contains(&e.id)),
            ..Batch::default()
        };
        for &Named { id, entry } in entries {
            self.cross(&entry);
            match entry {
                Entry::Vl2 { mac, vnet } => {
                    for (instance, _) in self.on(vnet) {
                        cx.push(Output::Invalidate { instance, mac });
                    }
                    batch.done.push(id);
                }
                Entry::Route(flows) => {
                    let flows = within(flows);
                    for (instance, _) in self.on(flows.src_vnet) {
                        cx.push(Output::FlushRoutes { instance, flows });
                    }
                    batch.done.push(id);
                }
                Entry::Vl3 { ip, vlan, vnet } => {
                    batch.follow.push(Follow { id, ip, vlan, vnet });
                }
            }
        }
        batch.open = batch.follow.len();
        self.log.removed.clear();
        let acted = batch.done.len() as u64;
        self.counters.log_entries = self.counters.log_entries.saturating_add(acted);
        batch
    }

    /// Asks who has the addresses of the VL3 entries now.
    fn follow_up(&mut self, cx: &mut Context) {
        let follow = self.log.batch().map(|batch| batch.follow.clone()).unwrap_or_default();
        for (place, entry) in follow.into_iter().enumerate() {
            let question = Question::Vl3 { ip: unmapped(entry.ip.octets()), vnet: entry.vnet };
            if self.ask(cx, Query::new(question, Purpose::Follow(place))).is_err() {
                self.followed(cx, place, None);
            }
        }
    }

    /// Who has the address of an entry; `None` if that could not be found out, so that the entry stays in
    /// the log.
    pub(super) fn followed(&mut self, cx: &mut Context, place: usize, ack: Option<Vl3Ack>) {
        let Some(batch) = self.log.batch() else { return };
        let Some(&Follow { id, ip, vlan, vnet }) = batch.follow.get(place) else { return };
        batch.open = batch.open.saturating_sub(1);
        let known = ack.filter(|ack| matches!(ack.status, Status::OK | Status::NOTFOUND));
        if let Some(ack) = known {
            batch.done.push(id);
            self.counters.log_entries = self.counters.log_entries.saturating_add(1);
            if ack.status == Status::OK {
                let ip = unmapped(ip.octets());
                for (instance, with) in self.on(vnet) {
                    if let Some((mac, _)) = with.owner(&ack) {
                        cx.push(Output::Announce { instance, vlan, mac, ip });
                    }
                }
            }
        }
        self.log.acted(cx);
    }

    /// The reply to LOG_RM.
    pub(super) fn log_removed(&mut self, cx: &mut Context, status: Status, ids: Vec<Uuid>) {
        if status != Status::OK {
            return self.log_failed(cx, Some(What::LogStatus(status)));
        }
        let again = matches!(self.log.state, State::Removing { again: true });
        self.counters.log_removed = self.counters.log_removed.saturating_add(ids.len() as u64);
        self.log.removed = ids;
        match again {
            true => self.log.wait_idle(cx),
            false => self.log.wait_pace(cx),
        }
    }
}
