// SPDX-License-Identifier: CDDL-1.0
//! The operator's side of fakekerneld.
//!
//! ```text
//!   fkadm, lab                     <root>/var/run/fakekerneld.sock              fakekerneld
//!   client::Client  ---- {"do":"guest-ping","link":"vnic0",...}\n ------>  control connection
//!                   <--- {"ok":{"sent":3,"received":3,...}}\n -----------
//!                   <--- {"error":"no link is named vnic7"}\n -----------
//! ```
//!
//! [`proto`] is what is said: one JSON object a line each way, any number of requests on a
//! connection, one at a time. Only `capture` ends that: after its `ok` the server sends a pcapng file
//! until either side closes. [`client`] says it, [`main`] is the program around it.
//!
//! # Vocabulary
//!
//! * **link**: a data link of the simulated host, given by its name or by its link id in decimal.
//! * **guest**: what uses a VNIC as its network card: a TAP device of this machine, or a small IP
//!   host in fakekerneld's own process, which can ping and move TCP data.

pub mod client;
mod command;
pub mod proto;

pub use command::main;
