// SPDX-License-Identifier: CDDL-1.0
//! The network layer as modules see it: zones and their stacks, protocols, hooks, and an IP that
//! carries nothing itself.
//!
//! ```text
//!   guests, tests ──► ip::Interface: plumbed, addresses, observe(packet)
//!                          │
//!     netstack ── Stack ── IpStack ── NHF_INET,  NHF_INET6        one of each a stack
//!     zones          nu_modules          │ NIC_EVENTS   OBSERVING
//!                                        ▼
//!                             hooks of modules (ipnet), through neti
//! ```
//!
//! The global zone and the shared-IP zones have stack 0; an exclusive-IP zone has the stack of its
//! own number. Guests keep their own IP (smoltcp, or another system behind a TAP): here is what that
//! IP would tell the kernel: interfaces, addresses, and each packet that it takes or sends.
//!
//! NIC events are told by a thread of their own, in order; packets by whoever brings them.
//!
//! A network id is no zone id and no stack id, though all are ints: here they differ on purpose
//! (`neti`).
//!
//! # Locks
//! `CHANGING` (stacks come and go, with their callbacks) → an event's hooks (over calls of them) →
//! the interfaces of a stack → the table of stacks and that of protocols, which are leaves.
mod hook;
pub mod ip;
mod neti;
pub mod netstack;

pub(crate) use hook::SYMBOLS as HOOK_SYMBOLS;
pub(crate) use ip::SYMBOLS as IP_SYMBOLS;
pub(crate) use neti::SYMBOLS as NETI_SYMBOLS;

/// Called by boot: the global zone and its stack.
pub(crate) fn boot() {
    ip::start();
    netstack::boot();
}

/// Called by shutdown after the last module is gone.
pub(crate) fn shutdown() {
    netstack::reset();
    neti::reset();
    hook::leaks();
}
