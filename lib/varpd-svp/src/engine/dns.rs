// SPDX-License-Identifier: CDDL-1.0
//! When a remote's name is resolved, and whether that works.

use super::api::{DnsError, Output, RemoteId, Time};
use super::context::Context;

/// So many temporary failures in a row count as a failure: a quarter of a minute after the first.
const PATIENCE: u32 = 5;

#[derive(Debug)]
pub(super) struct Dns {
    state: State,
    /// The name does not resolve: not at all, not for a while, or nobody answers.
    failed: bool,
    /// Temporary failures in a row.
    tries: u32,
}

#[derive(Debug)]
enum State {
    Waiting { until: Time },
    Asking { since: Time },
}

impl Dns {
    /// Due at once.
    pub fn new(now: Time) -> Dns {
        Dns { state: State::Waiting { until: now }, failed: false, tries: 0 }
    }

    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether an answer is awaited.
    pub fn is_asking(&self) -> bool {
        matches!(self.state, State::Asking { .. })
    }

    /// The name has addresses.
    pub fn succeeded(&mut self, cx: &Context) {
        (self.failed, self.tries) = (false, 0);
        self.state = State::Waiting { until: cx.after(cx.limits.refresh) };
    }

    /// It has none. What it had is kept.
    pub fn failed(&mut self, cx: &mut Context, why: DnsError) {
        let refresh = cx.after(cx.limits.refresh);
        let until = match why {
            DnsError::NoAddress => {
                (self.failed, self.tries) = (true, 0);
                refresh
            }
            DnsError::Temporary => {
                self.tries = self.tries.saturating_add(1);
                self.failed |= self.tries >= PATIENCE;
                cx.backoff(self.tries).min(refresh)
            }
        };
        self.state = State::Waiting { until };
    }

    /// An answer that does not come for a whole period counts as a failure, until it comes.
    pub fn deadline(&self, refresh: Time) -> Option<Time> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Asking { .. } if self.failed => None,
            State::Asking { since } => Some(since.saturating_add(refresh)),
        }
    }

    /// The deadline is reached.
    pub fn due(&mut self, cx: &mut Context, remote: RemoteId, host: &str) {
        match self.state {
            State::Waiting { .. } => {
                self.state = State::Asking { since: cx.now };
                cx.push(Output::Resolve { remote, host: host.to_owned() });
            }
            State::Asking { .. } => self.failed = true,
        }
    }
}
