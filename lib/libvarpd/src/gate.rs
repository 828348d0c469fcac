// SPDX-License-Identifier: CDDL-1.0
//! Who may call into an instance's plugin when.
//!
//! ```text
//!   Created --open--> Started --drain--> Created      activation failed after start
//!      |                 |
//!      +-----close-------+----> Closed                destroyed
//! ```
//!
//! A reader-writer lock would not do: a plugin called through the gate may cause another call
//! through it on the same thread, which must not wait for a writer that waits for the first call.
use crate::lock;
use std::sync::{Condvar, Mutex, PoisonError};

/// How far an instance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing may be called any more.
    Closed,
    /// Properties may be asked for and set.
    Created,
    /// Lookups too.
    Started,
}

/// The gate of one instance; made in phase `Created`.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
    idle: Condvar,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    inside: usize,
}

/// Leave to call the plugin, until dropped.
#[derive(Debug)]
pub struct Pass<'a>(&'a Gate);

impl Gate {
    /// A gate in phase [`Phase::Created`].
    pub fn new() -> Gate {
        Gate { state: Mutex::new(State { phase: Phase::Created, inside: 0 }), idle: Condvar::new() }
    }

    /// A pass if the instance has come at least as far as `least`, which is not `Closed`.
    pub fn enter(&self, least: Phase) -> Option<Pass<'_>> {
        let mut state = lock(&self.state);
        if state.phase < least {
            return None;
        }
        state.inside += 1;
        Some(Pass(self))
    }

    /// How far the instance has come.
    pub fn phase(&self) -> Phase {
        lock(&self.state).phase
    }

    /// Lets lookups in.
    pub fn open(&self) {
        lock(&self.state).phase = Phase::Started;
    }

    /// Lets no lookup in any more and waits until everybody inside has left.
    pub fn drain(&self) {
        self.set_and_wait(Phase::Created);
    }

    /// Lets nobody in any more and waits until everybody inside has left.
    pub fn close(&self) {
        self.set_and_wait(Phase::Closed);
    }

    fn set_and_wait(&self, phase: Phase) {
        let mut state = lock(&self.state);
        state.phase = phase;
        while state.inside > 0 {
            state = self.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Default for Gate {
    fn default() -> Gate {
        Gate::new()
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.inside -= 1;
        if state.inside == 0 {
            self.0.idle.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    #[test]
    fn closing_waits_for_those_inside_and_lets_them_nest() {
        let gate = Gate::new();
        assert!(gate.enter(Phase::Started).is_none());
        gate.open();
        let outer = gate.enter(Phase::Started).unwrap();
        let closed = AtomicBool::new(false);
        std::thread::scope(|s| {
            s.spawn(|| {
                gate.close();
                closed.store(true, Ordering::SeqCst);
            });
            while gate.enter(Phase::Created).is_some() {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(20));
            assert!(!closed.load(Ordering::SeqCst));
            drop(outer);
        });
        assert!(closed.load(Ordering::SeqCst));
    }
}
