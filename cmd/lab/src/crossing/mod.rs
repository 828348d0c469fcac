// SPDX-License-Identifier: CDDL-1.0
//! Who reaches whom, and whether anything crosses between networks that are not attached: judged on every packet.
//!
//! ```text
//!   flows ──pings, all to all──►  guests ──► hosts ──► UDP ──► hosts ──► guests
//!                                    │         (captures)         │         │
//!                                    └──────────────► watch ◄─────┴─────────┘
//!                                                       ▲
//!   who attaches and detaches ──────► ledger ───────────┘
//! ```
//!
//! A packet says whose it is (its source address is of one guest of one network) and when it was sent (the first
//! eight bytes of an echo request, see `fkadm::proto::Ping`). The [`ledger`] says when which networks were attached. A
//! *crossing* is a packet between guests of two networks.
//!
//! * At a VNIC a crossing is right if the networks were attached at some moment between its sending and its arrival. An
//!   answer has the time of its request.
//! * On the underlay a datagram is right if its virtual network is that of the guest it is for, and that guest's network
//!   was attached to the sender's when the datagram left.
//!
//! A span of the ledger begins before the first word about it is said, and ends when its end has become known to all
//! hosts that could go by it; who writes the ledger knows how long that may take.
//!
//! The pings, the captures and the ledger have one clock, that of this machine.

pub mod census;
pub mod flows;
pub mod ledger;
pub mod matrix;
mod sight;
pub mod watch;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time, as captures have it.
#[must_use]
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
