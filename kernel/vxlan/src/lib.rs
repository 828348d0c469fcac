// SPDX-License-Identifier: CDDL-1.0
//! The VXLAN encapsulation plugin of the overlay driver, module `overlay/vxlan` (RFC 7348,
//! spec/varpd.md 9.6).
//!
//! ```text
//!   guest's frame          [ Ethernet | ... ]
//!   ovpo_encap     [ VXLAN | Ethernet | ... ]        in place with 54 bytes of headroom (UDP, IP and
//!                                                    Ethernet too), else in a block of its own
//!   ovpo_socket    UDP over IPv6 bound to listen_ip : listen_port, IPv4 as v4-mapped
//!   ovpo_sockopt   source port = hash of the inner headers, so that the network can spread flows
//!   ovpo_decap     flags and id of a datagram, however it is split into blocks
//! ```
//!
//! [`config`] is what an administrator sets and what it means, [`header`] the eight bytes; neither
//! knows C. The entry points below are the C edge and do no more than translate.
//!
//! The module has no state but that of each link; its one lock guards a link's configuration and
//! nests in nothing.
#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

pub mod config;
mod entry;
pub mod header;

pub use entry::{module, vxlan_fanout};
