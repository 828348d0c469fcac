// SPDX-License-Identifier: CDDL-1.0
//! Packets of this machine's interfaces (Linux).
//!
//! ```text
//!   AF_PACKET ──► Socket::next   one packet, with when, which way, of which interface
//!   rtnetlink ──► Table          interfaces and addresses, as they are now
//!   setns     ──► inside         the same of another network namespace
//! ```
//!
//! To watch needs CAP_NET_RAW, to enter a namespace CAP_SYS_ADMIN; to ask for interfaces needs nothing.
//!
//! Invariants: a socket hears of no interface but its own, from its first packet on; a packet of the
//! loopback interface is seen once; nothing is sent, and without `promiscuous` the interface stays as
//! it is.

#![cfg(target_os = "linux")]

mod namespace;
mod socket;
mod table;

pub use namespace::inside;
pub use socket::{Mode, Seen, Socket, Way};
pub use table::{Interface, Table};
