// SPDX-License-Identifier: CDDL-1.0
//! The overlay GLDv3 driver: Ethernet links whose frames travel in datagrams.
//!
//! ```text
//!   dladm ── dld ioctls ──► ioctl_dld, prop ──► dev ◄── MAC: start, stop, set_mtu
//!                                               │ Io {socket, target, network}
//!   guest ── mc_tx ──► tx ── target ──► plugin.encap ──► mux ── ksocket ──► underlay
//!                            │ ├ point: one address          ▲
//!                            │ └ dynamic: target::cache ── miss ──► request ──► LOOKUP
//!                            │              └ a router: forward, l3
//!   varpd ── /dev/overlay ───┴─ ioctl_target: RESPOND, DROP, CACHE_*; what waited is sent
//!   guest ◄── mac_rx ◄── mux ◄── plugin.decap ◄── ksocket
//! ```
//!
//! # Vocabulary
//!
//! * *link*: an overlay datalink, a `Dev`. *vnet id*: the virtual network whose frames it
//!   carries.
//! * *target*: what a varpd instance is to a link, one address or a cache of addresses.
//!   *Associated*: has one.
//! * *request*: a question for varpd about one address or route, with packets that wait for the
//!   answer. *Router*: an address of no guest; frames for it go where their IP addresses say.
//! * *mux*: a UDP socket and the links on it. *Started*: on a mux, because somebody uses the link.
//!
//! # The packet path
//!
//! Takes no lock but one shard of the target cache (and for a new request that of the requests,
//! inside), allocates nothing that waits, and calls plugins, sockets and MAC with nothing held.
//! What it uses of a link or of a socket it gets from an [`ddi::sync::Rcu`]: whoever takes a part
//! away waits for packets under way, then owns it.
//!
//! # Lock order
//!
//! ```text
//!   MAC perimeter of a link ─► mux session ─► list of muxes
//!            │                     └────────► members of a mux (Rcu)
//!            ├─► control of a link ─► io (Rcu)
//!            └─► devices ─► state of a link ─► health
//!   plugins                                                  (alone)
//!   shard of a table ─► requests, realms                     (never two shards)
//! ```
//!
//! Readers of an Rcu may take anything below `devices` but never wait for one of its writers: no
//! ioctl changes a link's io while it reads it.
//!
//! # Life
//!
//! Ioctls find a link by its id and hold it; a deletion first hides it, then waits for holds.
//! Requests name their link and target by number and hold nothing, so varpd can die at any time:
//! its open is closed and its requests go back to the queue; a link can be deleted at any time: its
//! requests are gone.
#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod dev;
mod fm;
mod forward;
mod frame;
mod ioctl_dld;
mod ioctl_target;
mod l3;
mod module;
mod mux;
mod plugin;
mod prop;
mod request;
mod stats;
mod target;
mod tx;

pub use module::module;
pub use stats::DropReason;
pub use target::limit::{overlay_route_max, overlay_target_max};

use ddi::Errno;
use ddi::kstat::Kstat;
use ddi::mac::DevInfo;
use ddi::mem::{Global, KArc};
use ddi::sync::KMutex;

/// All the driver keeps.
struct Overlay {
    plugins: plugin::Registry,
    devs: dev::Devices,
    requests: request::Requests,
    health: fm::Health,
    // Before the muxes, whose counters it shows.
    _kstat: Option<Kstat<stats::MuxStats>>,
    muxes: mux::Muxes,
    dip: KMutex<Option<DevInfo>>,
}

static STATE: Global<Overlay> = Global::new();

/// The driver's state.
///
/// # Errors
/// `ENXIO`: it is not loaded.
fn overlay() -> Result<&'static Overlay, Errno> {
    STATE.get().ok_or(Errno::ENXIO)
}

impl Overlay {
    fn new() -> Self {
        let stats = KArc::new(stats::MuxStats::default());
        Overlay {
            plugins: plugin::Registry::new(),
            devs: dev::Devices::new(),
            requests: request::Requests::new(),
            health: fm::Health::new(),
            _kstat: Kstat::new(c"overlay", 0, c"mux", c"net", stats.clone()),
            muxes: mux::Muxes::new(stats),
            dip: KMutex::new(None),
        }
    }

    fn dip(&self) -> Option<DevInfo> {
        *self.dip.lock()
    }

    fn set_dip(&self, dip: Option<DevInfo>) {
        *self.dip.lock() = dip;
    }
}
