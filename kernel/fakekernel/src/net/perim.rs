// SPDX-License-Identifier: CDDL-1.0
//! The perimeter: a lock over a whole call sequence that its owner may enter again.

use crate::ctx;
use parking_lot::{Condvar, Mutex};

/// Serialises configuration of one MAC. Not for the packet path.
#[derive(Default)]
pub struct Perimeter {
    state: Mutex<State>,
    free: Condvar,
}

#[derive(Default)]
struct State {
    /// Kernel thread number of the owner, 0 when free.
    owner: u32,
    depth: u32,
}

impl Perimeter {
    /// Waits for other threads to leave, then enters; again for the owner.
    pub fn enter(&self) {
        ctx::may_sleep("mac_perim_enter");
        let me = ctx::tid();
        let mut s = self.state.lock();
        if s.owner != me {
            self.free.wait_while(&mut s, |s| s.owner != 0);
            s.owner = me;
        }
        s.depth += 1;
    }

    /// Leaves once; false when the calling thread was not inside.
    pub fn exit(&self) -> bool {
        let mut s = self.state.lock();
        if s.owner != ctx::tid() {
            return false;
        }
        s.depth -= 1;
        if s.depth == 0 {
            s.owner = 0;
            self.free.notify_one();
        }
        true
    }

    /// Whether the calling thread is inside.
    pub fn held(&self) -> bool {
        self.state.lock().owner == ctx::tid()
    }

    /// Enters until the guard drops.
    pub fn guard(&self) -> Inside<'_> {
        self.enter();
        Inside(self)
    }
}

/// The calling thread is inside until this drops.
pub struct Inside<'a>(&'a Perimeter);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.exit();
    }
}
