// SPDX-License-Identifier: CDDL-1.0
//! The two ioctls (spec/ipnet.md 2.5).
//!
//! ```text
//!   M_IOCTL DLIOCRAW        ─► yes: packets are raw always
//!   M_IOCTL DLIOCIPNETINFO  ─► M_COPYIN of 4 bytes ─► M_IOCDATA ─► 0, 1, 2, or no
//! ```
//!
//! 2 is not of the original, which says `EINVAL` to it. It is for when and how many: a header has no
//! room for that, and its version must stay 1 for the sake of who filters by it.
use crate::dlpi::Front;

/// `DLIOCRAW`.
pub const DLIOCRAW: i32 = 0x4401;
/// `DLIOCIPNETINFO`.
pub const DLIOCIPNETINFO: i32 = 0x4404;
/// `ioc_count` of an ioctl(2) that is not an `I_STR`.
pub const TRANSPARENT: usize = u32::MAX as usize;

/// What to do with an `M_IOCTL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Acknowledge it with 0.
    Ack,
    /// Ask for the argument, an `int`.
    CopyIn,
    /// Refuse it with `EINVAL`.
    Nak,
}

/// Decides on an `M_IOCTL` by its command and count.
pub fn request(cmd: i32, count: usize) -> Request {
    match cmd {
        DLIOCRAW => Request::Ack,
        DLIOCIPNETINFO if count == TRANSPARENT => Request::CopyIn,
        _ => Request::Nak,
    }
}

/// Decides on the argument that came for a [`Request::CopyIn`]: what packets have in front, and what
/// ioctl(2) returns; `None` for `EINVAL`.
pub fn argument(cmd: i32, data: &[u8]) -> Option<(Front, i32)> {
    let value = data.first_chunk().map(|b| i32::from_ne_bytes(*b));
    match (cmd, value) {
        // The version of the header, DL_IPNETINFO_VERSION.
        (DLIOCIPNETINFO, Some(0)) => Some((Front::Nothing, 1)),
        (DLIOCIPNETINFO, Some(1)) => Some((Front::Header, 1)),
        (DLIOCIPNETINFO, Some(2)) => Some((Front::Stamp, 2)),
        _ => None,
    }
}
