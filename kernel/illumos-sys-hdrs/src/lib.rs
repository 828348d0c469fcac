// SPDX-License-Identifier: CDDL-1.0
//! The illumos kernel boundary: C types and symbols, no logic.
//!
//! ```text
//!     overlay, vxlan ──► ddi ──► illumos-sys-hdrs  ◄── fakekernel (off illumos)
//!        drivers        safe        declares            defines
//! ```
//!
//! Everything a kernel module of this project may call is declared here under its C name, once. On
//! illumos krtld binds the symbols to genunix, unix, misc/mac and their like; off illumos
//! `fakekernel` defines every one of them. Nothing else in the project knows which of the two it
//! runs on.
//!
//! * Layouts, numbers and types of arguments are those of illumos on amd64 (`_KERNEL`, LP64). They
//!   are compared with `shared/abi/kernel_abi.json` and `kernel_imports.json` by this crate's tests,
//!   because fakekernel shares these definitions and would agree with any mistake made here; what it
//!   defines is compared with them too.
//! * Types whose inside is the kernel's own business (`cred_t`, `dev_info_t`, ...) are opaque: only
//!   pointers to them pass. A `dblk_t` shows the fields that datab(9S) documents and not the rest,
//!   which moves between releases: checksum and LSO state go through `mac_hcksum_get` and friends.
//! * Locks are opaque words of the real sizes. Their address is their identity: they must not move
//!   once initialised.
//! * Ownership notes of each function are in section 9F of the manual and in
//!   `shared/abi/kernel_imports.json`.
#![no_std]
#![allow(non_camel_case_types)]

pub mod constants;
mod functions;
pub mod probes;
mod types;

pub use constants::*;
pub use functions::*;
pub use types::*;
