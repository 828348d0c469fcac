// SPDX-License-Identifier: CDDL-1.0
//! The record in front of the header of a packet that says when it was seen, `struct sb_hdr`
//! (sys/bufmod.h).
//!
//! ```text
//!   0 origlen  4 msglen  8 totlen  12 drops  16 seconds  20 microseconds      header, packet
//! ```
//!
//! In the machine's byte order. Programs know it from bufmod(4M), which puts it there when it gets
//! the packet. This one is put there when IP shows it, and its drops are those of the driver.

/// Bytes of the record.
pub const STAMP_LEN: usize = 24;

/// Its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes behind the record: of the header and the packet, which is whole.
    pub len: u32,
    /// Packets that the stream lost so far, modulo 2^32.
    pub drops: u32,
    /// When, seconds since 1970, modulo 2^32.
    pub seconds: u32,
    /// And microseconds.
    pub micros: u32,
}

impl Stamp {
    /// The bytes.
    #[inline]
    pub fn to_bytes(&self) -> [u8; STAMP_LEN] {
        let total = self.len.saturating_add(STAMP_LEN as u32);
        zerocopy::transmute!([self.len, self.len, total, self.drops, self.seconds, self.micros])
    }
}
