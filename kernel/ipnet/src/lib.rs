// SPDX-License-Identifier: CDDL-1.0
//! The ipnet driver: packets as IP sees them, to look at.
//!
//! ```text
//!   snoop ── open, DLPI, ioctls ──► driver ─► stack ◄─ sync ◄─ view ◄── neti: interfaces, addresses
//!     ▲                                        │ ▲                └──── NIC events: time to look
//!     │                                 seats  ▼ │
//!   service ◄─ read queue ◄── copy ◄── accept ◄─ observe ◄── IP: in, out, local
//!                                        └─────► bpf ──► /dev/bpf      no copy
//!   /dev/ipnet ── devfs: names and device numbers
//! ```
//!
//! # Vocabulary
//!
//! * *stack*: an instance of IP, of the zones that share it or of one that has its own.
//! * *tap*: somebody who looks: an open stream or a client of BPF. It is on an interface, or on
//!   `/dev/lo0`, where all is seen that stays in the host.
//! * *seat*: a tap with what the packet path needs to know of its interface. All seats of a stack are
//!   one [`ddi::sync::Rcu`], made anew when a tap or an interface comes, goes or changes.
//! * *node*: an interface, as its minor number.
//!
//! # The packet path
//!
//! Runs where IP does. It takes no lock, asks each seat whether it wants the packet, and copies the
//! packet once if a queue that wants it has room: IP goes on with the original, and further streams
//! share the copy. What a stream can have waiting is [`ROOM`] bytes and a message, and a zone can
//! have [`TICKETS`] streams, so what is kept for readers that never read is bounded. What does not
//! fit is counted, for the stack and for the stream. While nobody looks there is no hook,
//! and IP does not build what nobody would look at.
//!
//! A packet whose IP header is not all there is nobody's.
//!
//! # What observing changes
//!
//! Nothing, unless the tunable [`ipnet_allmulti`] says so. Then the levels PHYS and MULTI have
//! IP join the group of all multicasts on the interface, so that its link passes up more than the
//! host wants. Without it they show what IP gets anyway.
//!
//! # Lock order
//!
//! ```text
//!   stacks ─► control of a stack ─► news
//! ```
//!
//! Whoever holds the control may ask IP and neti, and waits for packets under way, which take no
//! lock. Nobody calls a queue or BPF with a lock held.
//!
//! # Life
//!
//! A stream holds its netstack, so a stack outlives its streams. A BPF client does not: when the
//! stack goes its taps see no more. When an interface goes, or a zone can see it no longer, its
//! streams are hung up.
#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

pub mod accept;
mod bpf;
mod devfs;
pub mod dlpi;
pub mod header;
pub mod ioctl;
mod module;
mod observe;
mod stack;
pub mod stamp;
mod stats;
mod stream;
pub mod table;
mod tap;
mod view;

pub use module::module;
pub use stack::ipnet_allmulti;
pub use stream::ROOM;
pub use tap::{TICKETS, ipnet_unbound};

use ddi::Errno;
use ddi::dev::DevInfo;
use ddi::ids::IdSpace;
use ddi::mem::{Global, KArc, KVec};
use ddi::sync::{KMutex, Rcu};
use ddi::task::TaskQueue;

/// All the driver keeps.
struct Ipnet {
    stacks: KMutex<KVec<KArc<stack::Stack>>>,
    /// Where BPF wants its packets.
    bpf: Rcu<Option<bpf::Receive>>,
    dip: KMutex<Option<DevInfo>>,
    /// Looks at interfaces after NIC events.
    looks: TaskQueue,
    /// Minor numbers of interfaces and of streams.
    minors: KArc<IdSpace>,
    major: u32,
}

static STATE: Global<Ipnet> = Global::new();

/// The driver's state.
///
/// # Errors
/// `ENXIO`: it is not loaded.
fn ipnet() -> Result<&'static Ipnet, Errno> {
    STATE.get().ok_or(Errno::ENXIO)
}
