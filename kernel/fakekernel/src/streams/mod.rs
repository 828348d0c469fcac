// SPDX-License-Identifier: CDDL-1.0
//! STREAMS: queues, service procedures, perimeters, and the stream head a program talks to.
//!
//! ```text
//!    program:  putmsg, getmsg, ioctl                      head
//!                 │            ▲                            rd │ wr      head.rs
//!                 ▼ putnext    │ strrput, getq                 │
//!             ┌───────────────────────────┐                 driver
//!             │ perimeter: one at a time  │ perim.rs        rd │ wr      queue.rs
//!             │  put, service, open, close│
//!             └───────────────────────────┘
//!                 ▲ service procedures: one thread, service.rs
//! ```
//!
//! A stream here is a head and a driver; nothing is pushed between them. Each has a *pair* of queues,
//! of the size and with the public members of illumos. What is copied from illumos: a queue is full at
//! `q_hiwat` bytes or messages blocks; who asked in vain (`canput`) is enabled again below `q_lowat`;
//! a put procedure that finds the perimeter taken is run by who holds it, in order; messages of high
//! priority come first and are never held up. Bands are ignored.
//!
//! With checks on, these are violations: a lock held over put, putnext or qreply; sleeping in a put
//! or service procedure; a queue used after its close, or sending before qprocson and after
//! qprocsoff; an open that forgot qprocson, a close that forgot qprocsoff; a message that is put
//! while on a list.
//!
//! # Locks
//! The lock of a head comes before that of a queue, that before the run queue's. A perimeter's lock
//! is a leaf; the perimeter itself is held over driver code, and while it is, its holder waits for
//! nothing but a service procedure of a driver without perimeter.
pub mod head;
mod ioctl;
pub(crate) mod perim;
pub(crate) mod queue;
mod service;

pub use head::{Got, Message, Stream};
pub(crate) use ioctl::SYMBOLS as IOCTL_SYMBOLS;
pub(crate) use queue::{SYMBOLS as QUEUE_SYMBOLS, leaks};
