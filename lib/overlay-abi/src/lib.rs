// SPDX-License-Identifier: CDDL-1.0
//! Ioctl numbers, structure layouts and door messages of illumos overlay networks.
//!
//! ```text
//!   dladm --door--> varpd --C ABI--> plugin.so          door      provider   props
//!     |               |                                   |          |         |
//!     | /dev/dld      | /dev/overlay                     dld,vnic  target    errno, ids
//!     v               v
//!   overlay driver ---C ABI---> encapsulation plugin    encap     vxlan
//! ```
//!
//! One module per boundary. Structures keep their C names and field names, so that a reader can go
//! from here to `sys/overlay_target.h` and back; `tests/abi.rs` compares every size, alignment,
//! offset and number with what a C compiler said about the headers (`../shared/abi/abi.json`).
//!
//! # Vocabulary
//!
//! * *LP64* and *ILP32*: the 64- and the 32-bit data model of the program that made a structure.
//!   The structures here are the LP64 forms. Where the ILP32 form differs in more than alignment it
//!   lies in a sub-module `ilp32` under the same name.
//! * *Padding* of C is spelled out as fields whose name contains `pad`; they are zero when written
//!   and not looked at when read. With them every structure is plain bytes (`zerocopy`), and making
//!   one from `new_zeroed()` cannot leak old memory to the other side.
//! * *v1* is the ABI of illumos-gate and SmartOS. *v2* is the routed form, in modules `v2`: the same
//!   ioctl numbers with other layouts, spoken only after [`target::OVERLAY_TARG_ABI`] was answered
//!   with 2; plugins that registered with version 2; door commands with numbers of their own.
//!
//! # Invariants
//!
//! * Integers are in host byte order, ports too; addresses are in network order. Only [`vxlan`] is
//!   wire format.
//! * Nothing here allocates, and no function can panic: kernel modules are built from it.
#![no_std]
#![allow(non_camel_case_types)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

pub mod dld;
pub mod door;
pub mod encap;
pub mod errno;
pub mod ids;
pub mod props;
pub mod provider;
pub mod target;
pub mod vnic;
pub mod vxlan;

/// The bytes of a fixed C character array up to its NUL, as text.
///
/// `None` if there is no NUL (the name "must be terminated" of many ioctls) or it is not UTF-8.
pub fn c_name(array: &[u8]) -> Option<&str> {
    let len = array.iter().position(|b| *b == 0)?;
    core::str::from_utf8(array.get(..len)?).ok()
}

/// Copies as much of `from` as `to` has room for. Unlike copy_from_slice this has no way to panic.
#[inline]
pub fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// `text` as a NUL-terminated C character array of `N` bytes, or `None` if it does not fit
/// or has a NUL inside.
pub fn to_c_name<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut array = [0; N];
    let (last, room) = array.split_last_mut()?;
    *last = 0;
    if text.bytes().any(|b| b == 0) {
        return None;
    }
    copy(room.get_mut(..text.len())?, text.as_bytes());
    Some(array)
}
