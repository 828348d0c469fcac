// SPDX-License-Identifier: CDDL-1.0
//! The thread that runs service procedures.
use super::queue::{Pair, serve};
use illumos_sys_hdrs::queue_t;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Once;

struct State {
    /// Addresses of enabled queues.
    enabled: VecDeque<usize>,
    /// The pair whose queue is being served.
    serving: usize,
}

static STATE: Mutex<State> = Mutex::new(State { enabled: VecDeque::new(), serving: 0 });
static CHANGED: Condvar = Condvar::new();

fn run() {
    let mut s = STATE.lock();
    loop {
        let Some(q) = s.enabled.pop_front() else {
            CHANGED.wait(&mut s);
            continue;
        };
        let q = q as *mut queue_t;
        s.serving = Pair::of(q) as usize;
        drop(s);
        serve(q);
        s = STATE.lock();
        s.serving = 0;
        CHANGED.notify_all();
    }
}

/// Has the service procedure of a queue run soon. The caller has set QENAB.
pub(super) fn schedule(q: *mut queue_t) {
    static START: Once = Once::new();
    START.call_once(|| {
        let thread = std::thread::Builder::new().name("streams".into()).spawn(run);
        thread.expect("a thread for service procedures");
    });
    STATE.lock().enabled.push_back(q as usize);
    CHANGED.notify_all();
}

/// Takes the queues of a pair off the list, and waits for what is being served.
pub(super) fn forget(pair: *const Pair) {
    let mut s = STATE.lock();
    s.enabled.retain(|q| Pair::of(*q as *mut queue_t) != pair);
    while s.serving == pair as usize {
        CHANGED.wait(&mut s);
    }
}
