// SPDX-License-Identifier: CDDL-1.0
//! The network half of the fake kernel: mac, dls, dld, VNICs and kernel sockets.
//!
//! ```text
//!   guests, tests        dladm                        capture taps
//!     client               │ /dev/dld                   (any link, underlay)
//!       │                 dld ──────► vnic, dls
//!     port ─ port ...      │            │ link ids
//!       └──┬──┘  siblings  │            ▼
//!         mac ◄────────────┴──── dls_devnet_create
//!          │ mc_tx      ▲ mac_rx
//!          ▼            │
//!        the provider: overlay (through its C callbacks)
//!          │ ksocket_sendmblk   ▲ krecv callback, T_UNITDATA_IND
//!          ▼                    │ receive thread
//!        ksocket ── udp ── Linux sockets (one bound, a pool to send from)
//! ```
//!
//! Vocabulary: a *MAC* is what a provider registered; a *port* is a station on it (a VNIC, or a raw
//! opening of the link); a *client* is who has a port open. *Marks* are what is left to do to a
//! frame: a checksum, segmentation.
//!
//! Lock order: perimeter of a MAC, then the link registry, then everything else, of which no two
//! are held at a time. No lock of ours is held over a driver's callback except the perimeter (as on
//! illumos) and the dld module table.
//!
//! Frames move without locks held: the ports of a MAC are a table that is replaced whole, and
//! clients are called by thread-local scopes when everything is let go. Delivery and sending are
//! batched by these scopes (`port::RxScope`, `udp::Batch`) that whoever starts a burst opens: the
//! receive thread around the driver's callback, and a client's `tx`.

pub mod capture;
pub mod client;
pub(crate) mod dld;
pub(crate) mod dls;
mod errno;
pub mod ether;
mod gro;
pub(crate) mod ksocket;
pub(crate) mod mac;
pub mod msg;
mod notify;
pub mod offload;
mod perim;
mod port;
mod stat;
mod udp;
mod underlay;
mod vnic;

pub use capture::{Capture, capture};
pub use dls::{LinkInfo, Traffic, links};
pub use notify::Note;

/// Called by boot, before any module loads. `txpool`: sockets to send from with UDP_SRCPORT_HASH.
pub fn boot(txpool: usize) {
    underlay::start();
    ksocket::start(txpool);
    dld::start();
    notify::start();
}

/// Called by shutdown after the last module is gone: stops the receive threads and frees what they
/// hold.
pub fn shutdown() {
    ksocket::reset();
    udp::stop();
    underlay::stop();
    dls::reset();
    notify::stop();
    dld::reset();
    mac::reset();
}
