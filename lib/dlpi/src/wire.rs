// SPDX-License-Identifier: CDDL-1.0
//! Primitives of DLPI as bytes, in the byte order of the machine; numbers of `<sys/dlpi.h>`. And the
//! record in front of packets, `struct sb_hdr` of `<sys/bufmod.h>`.

use overlay_abi::errno::Errno;
use std::fmt;
use std::time::Duration;

const DL_INFO_REQ: u32 = 0x00;
const DL_BIND_REQ: u32 = 0x01;
const DL_PROMISCON_REQ: u32 = 0x1f;
const DL_INFO_ACK: u32 = 0x03;
const DL_BIND_ACK: u32 = 0x04;
const DL_ERROR_ACK: u32 = 0x05;
const DL_OK_ACK: u32 = 0x06;
/// Connectionless.
const DL_CLDLS: u16 = 0x02;

/// What a link is to be promiscuous for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Whomever packets are for.
    Phys = 1,
    /// Whatever their SAP is.
    Sap = 2,
    /// Whichever group they are for.
    Multi = 3,
}

/// Why a driver refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `DL_BADPRIM` and so on.
    pub dlpi: u32,
    /// illumos' errno, if `dlpi` is `DL_SYSERR`.
    pub errno: u32,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = match self.dlpi {
            0x00 => "bad SAP",
            0x03 => "not in this state",
            0x04 => return Errno(self.errno.cast_signed()).fmt(f),
            0x07 => "not supported",
            0x09 => "unknown primitive",
            0x14 => "not enabled",
            n => return write!(f, "error 0x{n:x} of DLPI"),
        };
        f.write_str(known)
    }
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// `DL_INFO_ACK`.
    Info {
        /// `dl_mac_type`.
        mac_type: u32,
    },
    /// `DL_BIND_ACK`.
    Bind,
    /// `DL_OK_ACK`.
    Ok,
    /// `DL_ERROR_ACK`.
    Refused(Refusal),
}

fn words<const N: usize>(words: [u32; N]) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// `DL_INFO_REQ`, 4 bytes.
#[must_use]
pub fn info() -> Vec<u8> {
    words([DL_INFO_REQ])
}

/// `DL_BIND_REQ`, 20 bytes.
#[must_use]
pub fn bind(sap: u32) -> Vec<u8> {
    let mut request = words([DL_BIND_REQ, sap, 0]);
    request.extend(DL_CLDLS.to_ne_bytes());
    request.extend([0; 6]);
    request
}

/// `DL_PROMISCON_REQ`, 8 bytes.
#[must_use]
pub fn promiscuous(level: Level) -> Vec<u8> {
    words([DL_PROMISCON_REQ, level as u32])
}

/// The answer in a control part; `None` if it is none, or too short for what it says it is.
#[must_use]
pub fn ack(control: &[u8]) -> Option<Ack> {
    let (words, _) = control.as_chunks::<4>();
    let word = |n: usize| words.get(n).map(|w| u32::from_ne_bytes(*w));
    match word(0)? {
        DL_INFO_ACK => Some(Ack::Info { mac_type: word(4)? }),
        DL_BIND_ACK => word(5).map(|_| Ack::Bind),
        DL_OK_ACK => word(1).map(|_| Ack::Ok),
        DL_ERROR_ACK => Some(Ack::Refused(Refusal { dlpi: word(2)?, errno: word(3)? })),
        _ => None,
    }
}

/// What a driver says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When it was seen, since 1970, to the microsecond.
    pub time: Duration,
    /// Packets that were lost before it, modulo 2^32.
    pub dropped: u32,
}

/// The record in front of a packet, and the packet; `None` if there is no such record, or what follows
/// is not as long as it says.
#[must_use]
pub fn stamp(message: &[u8]) -> Option<(Stamp, &[u8])> {
    let (words, packet) = message.split_first_chunk::<24>()?;
    let (words, _) = words.as_chunks::<4>();
    let word = |n: usize| words.get(n).map(|w| u32::from_ne_bytes(*w));
    let (length, dropped, seconds, micros) = (word(1)?, word(3)?, word(4)?, word(5)?);
    let time = Duration::from_secs(seconds.into()) + Duration::from_micros(micros.into());
    (length as usize == packet.len()).then_some((Stamp { time, dropped }, packet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_dlpi() {
        assert_eq!((info().len(), bind(0).len(), promiscuous(Level::Sap).len()), (4, 20, 8));
        assert_eq!(bind(6)[..8], words([1, 6]));
        assert_eq!(bind(6)[12..14], 2u16.to_ne_bytes());
    }

    #[test]
    fn a_stamp_is_read_and_a_short_message_has_none() {
        let mut message = words([5, 5, 29, 7, 1_700_000_000, 999_999]);
        message.extend(b"bytes");
        let time = Duration::new(1_700_000_000, 999_999_000);
        assert_eq!(stamp(&message), Some((Stamp { time, dropped: 7 }, &b"bytes"[..])));
        (0..message.len()).for_each(|n| assert_eq!(stamp(&message[..n]), None, "{n}"));
        message.push(0);
        assert_eq!(stamp(&message), None, "more than it says");
    }

    #[test]
    fn acks_are_read_and_short_ones_are_none() {
        // The mac type follows primitive, longest, shortest and address length.
        let mut info = words([3, 0x7fff_ffff, 0, 2, 0x8000_0005]);
        info.resize(78, 0xee);
        let refused = Ack::Refused(Refusal { dlpi: 9, errno: 0 });
        for (bytes, ack_of, least) in [
            (info, Ack::Info { mac_type: 0x8000_0005 }, 20),
            (words([4, 0, 0, 24, 0, 0]), Ack::Bind, 24),
            (words([6, 0x1f]), Ack::Ok, 8),
            (words([5, 0x1f, 9, 0]), refused, 16),
        ] {
            assert_eq!(ack(&bytes), Some(ack_of));
            (0..least).for_each(|n| assert_eq!(ack(&bytes[..n]), None, "{ack_of:?} {n}"));
        }
        assert_eq!(ack(&words([7, 0, 0, 0, 0, 0])), None);
    }
}
