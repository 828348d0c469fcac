// SPDX-License-Identifier: CDDL-1.0
//! A userland implementation of the illumos kernel interfaces the drivers import.
//!
//! ```text
//!  fakekerneld, tests, benches ──► host: boot, modload, dev::open + ioctl, kstat::read, net::...
//!                                    │
//!    overlay, ipnet (rlibs, or       │      every C symbol of illumos-sys-hdrs and of
//!    loaded files) ──────────────────┴────► abi/kernel_imports.json, #[no_mangle], defined here:
//!                                             unix, genunix: this directory
//!                                             mac, dls, dld, ksocket: net/
//!                                             queues and stream heads: streams/
//!                                             netstack, neti, hook, ip: inet/
//! ```
//!
//! A driver cannot tell that it is not in the kernel, except that this kernel looks closer: with
//! [`host::Checks::Debug`] it records each broken rule as a [`check::Violation`] and goes on as
//! harmlessly as it can. With `Checks::Off` it is as fast as it can be.
//!
//! Vocabulary. A *module* is what modload loads: init, fini, info. A *driver* is what a module
//! installs for a device; there is instance 0 only. A *receive context* is a thread that delivers
//! packets and must not sleep. *Attribution* says whose module's code made an allocation: the
//! innermost stack frame in a crate under kernel/ that is a module, or in text that a loader
//! registered.
//!
//! # Locks
//! The C functions' own tables use parking_lot mutexes that are leaves: no module code runs under
//! them and none is held over another, save `dev` opening → device state, and lock order → symbol
//! names. `cv_wait` parks in parking_lot_core, in whose callbacks no parking_lot lock may be taken:
//! mutex_exit is written so.
//!
//! # For src/net
//! ```text
//! check::violation(kind, text)          record a violation
//! ctx::enter_receive() -> ReceiveGuard  until the guard drops the thread must not sleep
//! ctx::upcall(what)                     a call that must be made without locks: records those held
//! ctx::may_sleep(what)                  a call that may sleep: records it in a receive context
//! mblk::alloc, esballoc, from_slice, to_vec, blocks       messages, never made to fail on purpose
//! dev::register(path, Arc<dyn Dev>)     a device the kernel itself serves (/dev/dld)
//! symbols! { SYMBOLS "misc/mac": f, g, }                  the file's part of the table
//! ```
mod avl;
mod callout;
pub mod check;
pub mod cred;
pub mod ctx;
mod cv;
pub mod dev;
pub(crate) mod devinfo;
pub mod fault;
pub mod fm;
mod futex;
mod guard;
pub mod host;
mod id_space;
pub mod inet;
pub mod kmem;
pub mod kstat;
mod list;
mod locks;
pub mod log;
pub mod mblk;
mod module;
mod mutex;
pub mod net;
mod offload;
pub mod probes;
mod refhash;
mod rwlock;
mod sdev;
mod soft_state;
mod stack;
pub mod streams;
pub mod symbols;
mod taskq;
mod text;
mod time;
pub mod user;

pub use stack::{register_text, unregister_text};
pub use symbols::symbols;
