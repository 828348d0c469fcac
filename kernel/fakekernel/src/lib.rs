// SPDX-License-Identifier: CDDL-1.0
//! A userland implementation of the illumos kernel interfaces the drivers import.
//!
//! What `src/net` uses of the rest of the crate (and the other way round `net::boot`, `net::shutdown`):
//!
//! ```text
//! check::violation(kind, text)          record a violation
//! ctx::enter_receive() -> ReceiveGuard  this thread delivers packets until the guard drops: no sleeping
//! ctx::upcall(what)                     a call into a driver that must be made without locks: records held ones
//! mblk::esballoc(base, len, free: Box<dyn FnOnce() + Send>) -> *mut mblk_t   message over someone's buffer
//! mblk::from_slice(&[u8], headroom) -> *mut mblk_t        mblk::hcksum/lso fields: mac_hcksum_*, lso_info_set are here
//! dev::register(path, Arc<dyn Dev>)     a device the kernel itself serves (/dev/dld): open, close, ioctl
//! kmem and locks                        the C functions themselves, or Rust's own: the net code may use parking_lot
//! ```
pub mod net;
