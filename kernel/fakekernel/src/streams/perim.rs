// SPDX-License-Identifier: CDDL-1.0
//! A perimeter: put and service procedures, opens and closes, one at a time.
use super::queue::{Pair, call_put, call_service};
use illumos_sys_hdrs::{mblk_t, queue_t};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;

/// A procedure to run.
pub(crate) enum Work {
    Put(*mut queue_t, *mut mblk_t),
    Service(*mut queue_t),
}

// SAFETY: queues outlive the work for them, which qprocsoff takes back; a message is its own.
unsafe impl Send for Work {}

impl Work {
    fn queue(&self) -> *mut queue_t {
        match *self {
            Work::Put(q, _) | Work::Service(q) => q,
        }
    }

    fn run(self) {
        match self {
            Work::Put(q, mp) => call_put(q, mp),
            Work::Service(q) => call_service(q),
        }
    }
}

#[derive(Default)]
struct State {
    held: bool,
    /// Threads in `enter`: they go before work that waits.
    waiting: usize,
    work: VecDeque<Work>,
}

/// A perimeter.
#[derive(Default)]
pub(crate) struct Perim {
    state: Mutex<State>,
    free: Condvar,
}

impl Perim {
    /// Runs `work` now, or leaves it to the holder. Does not wait.
    pub(crate) fn run(&self, work: Work) {
        let mut s = self.state.lock();
        s.work.push_back(work);
        if s.held || s.waiting > 0 {
            return;
        }
        s.held = true;
        drop(s);
        self.leave();
    }

    /// Waits until it is free, and takes it.
    pub(crate) fn enter(&self) {
        let mut s = self.state.lock();
        s.waiting += 1;
        while s.held {
            self.free.wait(&mut s);
        }
        s.waiting -= 1;
        s.held = true;
    }

    /// Runs what has come meanwhile, and leaves.
    pub(crate) fn leave(&self) {
        loop {
            let mut s = self.state.lock();
            if s.waiting > 0 {
                s.held = false;
                self.free.notify_one();
                return;
            }
            let Some(work) = s.work.pop_front() else {
                s.held = false;
                return;
            };
            drop(s);
            work.run();
        }
    }

    /// Takes back what waits for a pair; its messages, in order.
    pub(crate) fn purge(&self, pair: *const Pair) -> Vec<*mut mblk_t> {
        let mut gone = Vec::new();
        self.state.lock().work.retain(|w| {
            let theirs = Pair::of(w.queue()) == pair;
            if let (true, Work::Put(_, mp)) = (theirs, w) {
                gone.push(*mp);
            }
            !theirs
        });
        gone
    }
}
