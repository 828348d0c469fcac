// SPDX-License-Identifier: CDDL-1.0
//! The two ioctls (spec/ipnet.md 2.5).
//!
//! ```text
//!   M_IOCTL DLIOCRAW        ─► yes: packets are raw always
//!   M_IOCTL DLIOCIPNETINFO  ─► M_COPYIN of 4 bytes ─► M_IOCDATA ─► on, off, or no
//! ```

/// `DLIOCRAW`.
pub const DLIOCRAW: i32 = 0x4401;
/// `DLIOCIPNETINFO`.
pub const DLIOCIPNETINFO: i32 = 0x4404;
/// What a successful `DLIOCIPNETINFO` returns, `DL_IPNETINFO_VERSION`.
pub const INFO_VERSION: i32 = 1;
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

/// Decides on the argument that came for a [`Request::CopyIn`]: headers on, off, or `None` for
/// `EINVAL`.
pub fn argument(cmd: i32, data: &[u8]) -> Option<bool> {
    let value = data.first_chunk().map(|b| i32::from_ne_bytes(*b));
    match (cmd, value) {
        (DLIOCIPNETINFO, Some(1)) => Some(true),
        (DLIOCIPNETINFO, Some(0)) => Some(false),
        _ => None,
    }
}
