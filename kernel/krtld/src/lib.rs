// SPDX-License-Identifier: CDDL-1.0
//! krtld for a process: loads illumos kernel modules, the very files that are installed, into a
//! program that runs fakekernel.
//!
//! ```text
//!   drv/overlay (ET_REL) ──► file: parse, refuse ──► link: place, bind, relocate ──► map
//!                                                      │    ▲                         │
//!         fakekernel::symbols() by module ─────────────┘    │ exports                 ▼
//!         modules loaded before ────────────────────────────┘           text R+X | data R+W
//!                                                                         │ probe sites: sdt
//!   fakekernel: modload ──► ModuleFile::read, map ──► _init, attach       │ call frames: unwind
//!               modunload ─► detach, _fini ──► ModuleFile::unmap ◄────────┘
//! ```
//!
//! # What is refused
//!
//! What krtld refuses, and also what krtld takes and then gets wrong: a relocation that wants a
//! global offset table, a value that does not fit, a place that does not hold zero, constructors
//! that are never run, a probe as a tail call. Each refusal names the rule and the place
//! ([`Refusal`]).
//!
//! # Where a module lies
//!
//! Kernel code is compiled for the top two GiB of the address space: addresses have 32 bits, sign
//! extended. Here modules lie in the *lowest* two GiB, where the same instructions work. What they
//! import must be there too:
//!
//! * functions of libc (memcpy and a few more) are not; calls go through a jump beside the module's
//!   text;
//! * data cannot be reached that way, and a copy would be another object: `kcred` changes, and
//!   `mod_driverops` is known by its address. So a program that loads modules is linked at a fixed
//!   low address (`-no-pie`, in its build script), and there is nothing to copy. In any other
//!   program a module whose code refers to data of the kernel is refused; 64-bit references (the
//!   initialisers of ops tables) work everywhere.
//!
//! # Vocabulary
//!
//! * **place**: what a relocation changes, named as section and offset.
//! * **primary modules**: unix and genunix, which everybody may import from. From all others only
//!   who names them as a dependency.
//! * **site**: the five bytes of a call to `__dtrace_probe_NAME`, made no-ops. Arming puts a `lock`
//!   prefix on the first, which traps.
//!
//! # Locks
//!
//! [`Module`]'s state, the table of exports and the table of sites are leaves. None is held while
//! module code runs.

mod file;
mod link;
mod map;
mod module;
mod refusal;
mod sdt;
mod unwind;

pub use module::Module;
pub use refusal::{Refusal, Rule};
