// SPDX-License-Identifier: CDDL-1.0
//! SVP, the SDC VXLAN protocol: how a host asks a directory where a guest lives.
//!
//! ```text
//!    host (varpd, plugin svp)                                directory (portolan)
//!
//!    client::Client                   TCP                    server::Server
//!      request(..) ---> [header 16][payload 0..64K] --->       next() -> Asked
//!      receive()   <--- [header 16][payload 0..64K] <---       answer(token, Reply)
//!           \__________________ frame, message, log ______________/
//! ```
//!
//! Nothing here does I/O or reads a clock. Bytes go in at any boundary TCP may choose, events and
//! bytes come out; the owner of the socket moves them. The specification is `spec/svp.md`, whose
//! section numbers are quoted; the golden messages are `vectors/svp_vectors.json`.
//!
//! # Vocabulary
//!
//! * *VL2*, *VL3*: addresses of a guest in its virtual network, Ethernet and IP. *UL3*: the address
//!   and port of the host that carries the guest, where encapsulated packets go.
//! * *vnet*: a virtual network, 32 bits on this wire (24 in VXLAN).
//! * *Version*: 1 or 2, stated in each message. 2 adds routes ([`Op::RouteReq`], [`log::Entry::Route`]).
//! * *Log*: what has changed for one host. Entries stay with the directory until the host removes
//!   them by id, so each is acted on at least once.
//! * *Refusal*: why bytes of a peer are not accepted. Almost all of them end the connection
//!   ([`Refusal::ends_connection`]): after a bad frame nobody knows where the next one begins.
//!
//! # Layout of a message
//!
//! All integers are big-endian; UUIDs are in text order; an IPv4 address is carried v4-mapped.
//!
//! ```text
//!   0      2      4             8             12            16
//!   | ver  | op   | size        | id          | crc32       | payload[size]
//! ```
//!
//! The checksum covers header and payload with its own four bytes taken as zero. The id is opaque
//! and echoed byte for byte (original x86 clients write it little-endian).
//!
//! # Invariants
//!
//! * No function panics on any input, and none allocates more than a message of [`MAX_PAYLOAD`].
//! * What [`Message::decode`] accepts, encoding gives back bit for bit, except for pad bytes, which
//!   are ignored when read and zero when written.
//! * A header is judged as soon as its 16 bytes are there: a giant size is refused, not waited for.
#![deny(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod bytes;
pub mod client;
pub mod frame;
pub mod log;
pub mod message;
pub mod server;
mod types;

pub use frame::{Framer, HEADER, Header, MAX_PAYLOAD};
pub use message::{Body, Message};
pub use overlay_abi::ids::MacAddr;
pub use types::{Id, L3Type, Op, Refusal, Status, Version};
pub use uuid::Uuid;
