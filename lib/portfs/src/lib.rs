// SPDX-License-Identifier: CDDL-1.0
//! Event ports: one place to wait for descriptors, timers and messages, for any number of threads (port_create(3C)).
//!
//! ```text
//!   associate(fd, IN, user) --+                        +--> get() in thread 1
//!   Timer::set(first, every) -+--> [ events, a queue ] +--> get() in thread 2
//!   send(events, user) -------+                        +--> ...
//! ```
//!
//! # Rules, the same on every system
//!
//! * An association of a descriptor is good for **one** event. Whoever got that has the descriptor for
//!   itself, and associates it again when it is done; until then no thread hears of it. So a
//!   connection needs no lock of its own.
//! * What holds already when a descriptor is associated is an event at once.
//! * A descriptor has one association with a port. A new one takes the place of the old and of its event, if
//!   nobody has got that yet.
//! * `ERR` and `HUP` come without being asked for.
//! * A descriptor that is closed takes its association along, and so does [`Port::dissociate`], with an event that
//!   nobody has got yet.
//! * An event goes to one thread. Messages come in the order they were sent.
//! * A timer stays until it is dropped. Its expirations are one event until somebody gets that; it tells how many
//!   there were. One that was set anew or stopped may still tell of an expiration before.
//!
//! `user` is a number of the caller's. It means nothing here, and a port keeps no pointer of anybody: nothing has to
//! outlive an association.
//!
//! # How
//!
//! On illumos a port is a port, by the functions of the libc crate; rustix has them too, but does not tell of which
//! source an event is. Elsewhere it is an epoll descriptor: `EPOLLONESHOT` for descriptors, a timerfd for each timer, an
//! eventfd that counts messages. Each association has a number of its own there, so that an event of one that is over
//! is recognized. epoll does not see a descriptor closed while another one of the same file is open; so the file is
//! compared when the event comes. A descriptor of a regular file is refused (EPERM) by epoll and always ready on illumos.
//!
//! # Locks
//!
//! Off illumos, the table of associations, a leaf.

#[cfg(not(target_os = "illumos"))]
mod epoll;
#[cfg(target_os = "illumos")]
mod native;

#[cfg(not(target_os = "illumos"))]
pub use epoll::{Port, Timer};
#[cfg(target_os = "illumos")]
pub use native::{Port, Timer};

use std::fmt;
use std::ops::BitOr;
use std::os::fd::RawFd;

/// What a descriptor is ready for: a set of the bits of poll(2), which are the same everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ready(u32);

impl Ready {
    /// Can be read, or a connection accepted.
    pub const IN: Ready = Ready(0x01);
    /// Has urgent data.
    pub const PRI: Ready = Ready(0x02);
    /// Can be written, or is connected.
    pub const OUT: Ready = Ready(0x04);
    /// An error waits. Only in events.
    pub const ERR: Ready = Ready(0x08);
    /// The other side has hung up. Only in events.
    pub const HUP: Ready = Ready(0x10);

    /// Whether all of `other` are in it.
    pub fn contains(self, other: Ready) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in it.
    pub fn intersects(self, other: Ready) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Ready {
    type Output = Ready;

    fn bitor(self, other: Ready) -> Ready {
        Ready(self.0 | other.0)
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(1, "IN"), (2, "PRI"), (4, "OUT"), (8, "ERR"), (16, "HUP")];
        let set: Vec<_> = names.iter().filter(|(bit, _)| self.0 & bit != 0).map(|n| n.1).collect();
        f.write_str(if set.is_empty() { "none" } else { "" })?;
        f.write_str(&set.join("|"))
    }
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// To what.
    pub source: Source,
    /// The number that was given with it.
    pub user: usize,
}

/// Of what an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A descriptor, which has no association any more.
    Fd(RawFd, Ready),
    /// A timer, which has expired so often since it last told.
    Timer(u64),
    /// A message.
    User(i32),
}
