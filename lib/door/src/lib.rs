// SPDX-License-Identifier: CDDL-1.0
//! Doors: a call from one process into a function of another, named by a file.
//!
//! ```text
//!   client                                       server
//!   Client::call(bytes) ---- request packet ----> worker: handler(bytes, cred)
//!           ^                                        |
//!           +------- reply, in packets of 64 KiB ----+
//! ```
//!
//! On illumos a door is a kernel object that `fattach(3C)` hangs on a file. Elsewhere the file is a
//! unix socket of type SOCK_SEQPACKET, which keeps message boundaries as a door does, and the bytes
//! inside are the same. Only this crate knows which of the two is in use: the stand-in is the
//! private module `seqpacket`, and `native` is its sibling with the same two types. The threads of
//! a native server are libc's, and the limits below are the kernel's there.
//!
//! # Vocabulary
//!
//! * **door**: the file, and the server behind it.
//! * **model**: the data model of the caller, [`Model::Lp64`] or [`Model::Ilp32`]. Messages hold C
//!   structures, so one door serves two layouts and the server answers in the caller's own.
//! * **instance**: one life of a server. A [`Client`] belongs to the instance it was opened on, as
//!   a door descriptor does: when that is gone each call fails with EBADF, also if another server
//!   took over the file.
//!
//! # Protocol of the stand-in
//!
//! All integers little-endian. The client's first packet is a hello, `"DOOR" version(u8)=1
//! model(u8) 0 0`; the server answers `"DOOR" version(u8)=1 0 0 0 instance(u64)`. Then any number
//! of calls, one at a time on a connection:
//!
//! ```text
//!   request:  len(u32) bytes[len]              one packet, len <= 65536
//!   reply:    total(u64) bytes[..]             first packet
//!             bytes[..] ...             further packets until `total` bytes have come
//! ```
//!
//! A client holds as many connections as it has calls in flight. The server closes a connection
//! that breaks these rules; nothing that a peer sends does more than that.
//!
//! # Invariants
//!
//! * A connection is either idle (in the server's table and armed in its epoll set, one shot) or
//!   owned by one worker.
//! * Threads are bounded (16 workers), connections too (1024; those that never said hello make room
//!   for others). A client that does not read its reply loses its connection after five seconds, so
//!   that it cannot keep a worker.
//! * Locks are leaves: the server's table of idle connections, a client's list of them, the list of
//!   threads of [`sock::Threads`]. None is held over the handler or a system call that may block.

#[cfg(target_os = "illumos")]
mod native;
#[cfg(not(target_os = "illumos"))]
mod seqpacket;
#[cfg(not(target_os = "illumos"))]
pub mod sock;

#[cfg(target_os = "illumos")]
pub use native::{Client, Handler, Server, server};
#[cfg(not(target_os = "illumos"))]
pub use seqpacket::{Client, Handler, Server, server};

/// Longest request, in bytes. A reply may have any length.
pub const MAX_REQUEST: usize = 64 * 1024;

/// Data model of a user process: the sizes of C's `long` and of pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Model {
    /// 32-bit int, long and pointer; 64-bit integers aligned to 4 bytes (i386).
    Ilp32 = 32,
    /// 64-bit long and pointer.
    Lp64 = 64,
}

impl Model {
    /// The model this program was compiled for.
    pub const NATIVE: Model = if size_of::<usize>() == 4 { Model::Ilp32 } else { Model::Lp64 };

    /// The model a protocol byte stands for (32 or 64), if it stands for one.
    pub fn from_byte(b: u8) -> Option<Model> {
        match b {
            32 => Some(Model::Ilp32),
            64 => Some(Model::Lp64),
            _ => None,
        }
    }
}

/// Who is calling. User and group are the effective ids at the time the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCred {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Process id; another process may own it by the time it is looked at.
    pub pid: i32,
    /// Data model in which the caller lays out its structures.
    pub model: Model,
    /// Whether it may configure the network: its effective privileges hold `PRIV_SYS_NET_CONFIG`; elsewhere it is root.
    pub net_config: bool,
}
