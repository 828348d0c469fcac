// SPDX-License-Identifier: CDDL-1.0
//! Waiting for what others make: /dev/overlay, the directory of the door. It is said once, then
//! rarely, and a signal ends it.

use crate::signals::{REREAD, Signals};
use crate::{End, Fatal};
use slog::Logger;
use std::time::{Duration, Instant};

/// Time between two tries, first and later.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Time between two log lines.
const REMINDER: Duration = Duration::from_secs(60);

/// Outcome of a try.
#[derive(Debug)]
pub enum Try<T> {
    /// It is there.
    Done(T),
    /// It is not, for this reason.
    NotYet(String),
}

/// Somebody who waits.
pub struct Waiter<'a> {
    /// What ends the wait.
    pub signals: &'a Signals,
    /// Where it is said.
    pub log: &'a Logger,
    /// When patience ends.
    pub until: Option<Instant>,
}

impl Waiter<'_> {
    /// Tries until it works.
    pub fn wait<T>(
        &self,
        what: &str,
        mut attempt: impl FnMut() -> Result<Try<T>, Fatal>,
    ) -> Result<T, End> {
        let begin = Instant::now();
        let (mut said, mut pause) = (None::<Instant>, PAUSE.0);
        loop {
            let why = match attempt()? {
                Try::Done(it) => {
                    if said.is_some() {
                        slog::info!(self.log, "no longer waiting for {what}";
                            "waited_ms" => begin.elapsed().as_millis() as u64);
                    }
                    return Ok(it);
                }
                Try::NotYet(why) => why,
            };
            let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(Fatal::Waited { what: what.to_owned(), why }.into());
            }
            if said.is_none_or(|last| last.elapsed() >= REMINDER) {
                slog::warn!(self.log, "waiting for {what}"; "why" => &why,
                    "seconds_left" => left.map(|left| left.as_secs()));
                said = Some(Instant::now());
            }
            if let Some(signal) =
                self.signals.wait(Some(left.map_or(pause, |left| left.min(pause))))
                // Nothing was read that could be read again.
                && signal != REREAD
            {
                return Err(End::Signal(signal));
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}
