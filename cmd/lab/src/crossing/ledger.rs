// SPDX-License-Identifier: CDDL-1.0
//! Which networks were attached when.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A time in which two networks were attached. Times are since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    begin: Duration,
    /// `None`: they still are.
    end: Option<Duration>,
}

/// See the top of the file. Networks are numbers; the order of two does not matter.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<HashMap<(usize, usize), Vec<Span>>>);

fn key((a, b): (usize, usize)) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Ledger {
    /// Two networks are attached from `time` on, if they are not.
    pub fn begin(&self, pair: (usize, usize), time: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spans = all.entry(key(pair)).or_default();
        if spans.last().is_none_or(|s| s.end.is_some()) {
            spans.push(Span { begin: time, end: None });
        }
    }

    /// They were until `time`.
    pub fn end(&self, pair: (usize, usize), time: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = all.get_mut(&key(pair)).and_then(|spans| spans.last_mut()) {
            last.end.get_or_insert(time);
        }
    }

    /// Whether they were attached at some moment between two times.
    #[must_use]
    pub fn attached(&self, pair: (usize, usize), from: Duration, to: Duration) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spans = all.get(&key(pair)).map_or(&[][..], Vec::as_slice);
        // Most are asked about now, and spans are in the order of time.
        let recent = spans.iter().rev().take_while(|s| s.end.is_none_or(|end| end >= from));
        recent.into_iter().any(|s| s.begin <= to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_found_from_either_side() {
        let at = Duration::from_secs;
        let ledger = Ledger::default();
        assert!(!ledger.attached((1, 2), at(0), at(100)));
        ledger.begin((1, 2), at(10));
        ledger.begin((2, 1), at(15));
        assert!(ledger.attached((2, 1), at(0), at(10)) && !ledger.attached((1, 2), at(0), at(9)));
        ledger.end((2, 1), at(20));
        ledger.end((2, 1), at(90));
        assert!(
            ledger.attached((1, 2), at(20), at(30)) && !ledger.attached((1, 2), at(21), at(99))
        );
        ledger.begin((1, 2), at(40));
        assert!(
            !ledger.attached((1, 2), at(21), at(39)) && ledger.attached((1, 2), at(50), at(60))
        );
        assert!(ledger.attached((1, 2), at(12), at(13)), "the older span is still known");
        assert!(!ledger.attached((1, 3), at(0), at(99)));
    }
}
