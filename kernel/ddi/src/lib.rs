// SPDX-License-Identifier: CDDL-1.0
//! Safe owners over the illumos kernel interfaces.
//!
//! ```text
//!    overlay   vxlan   ipnet      no unsafe but thin C entry points
//!      │         │       │
//!      ▼         ▼       ▼
//!    ddi  ── mem    KBox KArc KVec Global     kmem_alloc, KM_SLEEP or not said at each place
//!         ── sync   KMutex KRwLock KCondvar Rcu
//!         ── mblk   Mblk MblkChain MblkQueue  freemsg on drop
//!         ── map    ClockMap                  by hash, in order, by age
//!         ── mac ksocket                  links and sockets
//!         ── stream netstack neti         STREAMS drivers, and what IP tells them
//!         ── dev kstat ids time task module probe
//!      │
//!      ▼
//!    illumos-sys-hdrs                         the C names
//! ```
//!
//! # Rules
//!
//! * No `alloc`, no panic, no formatting: memory comes from kmem with its flag, what can fail
//!   returns an [`Errno`].
//! * What must not move (locks, tree heads, callback arguments) lies in memory of its own.
//! * An owner's drop undoes what its constructor did, and waits where the kernel function does
//!   (`KSocket`, `Kstat`, `Callout::drain`). So order of teardown is order of drops.
//! * Callbacks are traits ([`mac::MacDriver`], [`ksocket::Receiver`], [`dev::CharDriver`],
//!   [`stream::StreamDriver`], [`neti::Observer`], [`kstat::Source`], [`time::Expire`],
//!   [`task::Task`]). The kernel holds a [`mem::KArc`] of their object for as
//!   long as it may call.
//!
//! # Lock order
//!
//! This crate takes no lock of its own but the writer's of an [`sync::Rcu`], which nests inside of
//! anything that readers of that cell do not take.
#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

pub mod dev;
pub mod ids;
pub mod ksocket;
pub mod kstat;
pub mod mac;
pub mod map;
pub mod mblk;
pub mod mem;
pub mod module;
pub mod neti;
pub mod netstack;
pub mod probe;
pub mod stream;
pub mod sync;
pub mod task;
pub mod time;

pub use illumos_sys_hdrs as sys;
pub use overlay_abi::errno::Errno;
