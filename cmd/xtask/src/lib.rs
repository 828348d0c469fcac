// SPDX-License-Identifier: CDDL-1.0
//! What `cargo xtask` does that is more than a few commands.
//!
//! ```text
//!    kernel/kmod/* ── cargo -Zbuild-std ──► .a ── ld -r ──► .o ── finish ──► overlay, overlay.dbg
//!                                                                  ▲            │
//!                                             kernel/ksyms.list ───┴──► check ◄─┘
//!
//!    cmd/*, lib/* ─── cargo -Zbuild-std, illumos-ld ──► varpd, dladm, libvarpd_direct.so ──► audit
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used))]

pub mod fuzz;
pub mod kmod;
pub mod proto;
pub mod toolchain;
pub mod user;
