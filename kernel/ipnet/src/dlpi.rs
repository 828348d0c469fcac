// SPDX-License-Identifier: CDDL-1.0
//! DLPI: what a request does to a stream, and the answer (spec/ipnet.md 2.4).
//!
//! ```text
//!            BIND          BIND: another SAP
//!   unbound ──────► bound ─────┐
//!      ▲             │  ▲──────┘         PROMISCON, PROMISCOFF, INFO: in both
//!      └── UNBIND ───┘
//! ```
//!
//! An unbound stream sees nothing, unless the tunable [`crate::ipnet_unbound`] says otherwise. SAP 0
//! is every family, 4 is IPv4 and 6 is IPv6.
//!
//! Numbers are those of sys/dlpi.h, in the machine's byte order.
use crate::header::{AF_INET, AF_INET6};

/// Most bytes of a request that matter: a `dl_bind_req_t`.
pub const REQUEST_MAX: usize = 20;
/// Bytes of the longest reply.
pub const REPLY_MAX: usize = INFO_ACK_LEN;
/// A `dl_info_ack_t` and room for an address of two bytes, which is how long it ever was.
const INFO_ACK_LEN: usize = 78;

const DL_INFO_REQ: u32 = 0x00;
const DL_BIND_REQ: u32 = 0x01;
const DL_UNBIND_REQ: u32 = 0x02;
const DL_INFO_ACK: u32 = 0x03;
const DL_BIND_ACK: u32 = 0x04;
const DL_ERROR_ACK: u32 = 0x05;
const DL_OK_ACK: u32 = 0x06;
const DL_UNITDATA_REQ: u32 = 0x07;
const DL_ATTACH_REQ: u32 = 0x0b;
const DL_DETACH_REQ: u32 = 0x0c;
const DL_ENABMULTI_REQ: u32 = 0x1d;
const DL_DISABMULTI_REQ: u32 = 0x1e;
const DL_PROMISCON_REQ: u32 = 0x1f;
const DL_PROMISCOFF_REQ: u32 = 0x20;
const DL_PHYS_ADDR_REQ: u32 = 0x31;
const DL_SET_PHYS_ADDR_REQ: u32 = 0x33;

const DL_BADSAP: u32 = 0x00;
const DL_OUTSTATE: u32 = 0x03;
const DL_SYSERR: u32 = 0x04;
const DL_UNSUPPORTED: u32 = 0x07;
const DL_BADPRIM: u32 = 0x09;
const DL_NOTENAB: u32 = 0x14;

const DL_UNBOUND: u32 = 0;
const DL_IDLE: u32 = 3;

const DL_PROMISC_PHYS: u32 = 1;
const DL_PROMISC_SAP: u32 = 2;
const DL_PROMISC_MULTI: u32 = 3;

/// The mac type of ipnet.
pub const DL_IPNET: u32 = 0x8000_0005;
const DL_CLDLS: u32 = 2;
const DL_STYLE1: u32 = 0x500;
const DL_VERSION_2: u32 = 2;

/// What a stream is bound to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    /// Nothing.
    #[default]
    No,
    /// SAP 0, every family.
    Any,
    /// SAP 4.
    V4,
    /// SAP 6.
    V6,
}

/// State of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Its SAP.
    pub bound: Bound,
    /// Promiscuous level PHYS is on: packets for others.
    pub phys: bool,
    /// Level MULTI is on: multicasts that the host did not join, if ipnet may join for it.
    pub multi: bool,
    /// Level SAP is on: every family.
    pub sap: bool,
    /// What packets have in front (`DLIOCIPNETINFO`).
    pub front: Front,
}

/// What is put in front of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Front {
    /// Nothing.
    #[default]
    Nothing,
    /// The header ([`crate::header`]).
    Header,
    /// The record of when it was seen ([`crate::stamp`]), and the header.
    Stamp,
}

const PHYS: u32 = 4;
const MULTI: u32 = 8;
const SAP: u32 = 16;
const HEADER: u32 = 32;
const STAMP: u32 = 64;

impl Mode {
    /// As one word, which the packet path reads at once.
    pub fn to_bits(self) -> u32 {
        let bound = match self.bound {
            Bound::No => 0,
            Bound::Any => 1,
            Bound::V4 => 2,
            Bound::V6 => 3,
        };
        let flag = |on: bool, bit: u32| if on { bit } else { 0 };
        bound
            | flag(self.phys, PHYS)
            | flag(self.multi, MULTI)
            | flag(self.sap, SAP)
            | flag(self.front == Front::Header, HEADER)
            | flag(self.front == Front::Stamp, STAMP)
    }

    /// From that word.
    #[inline]
    pub fn from_bits(bits: u32) -> Mode {
        let bound = match bits & 3 {
            0 => Bound::No,
            1 => Bound::Any,
            2 => Bound::V4,
            _ => Bound::V6,
        };
        let front = match bits & (HEADER | STAMP) {
            HEADER => Front::Header,
            STAMP => Front::Stamp,
            _ => Front::Nothing,
        };
        Mode {
            bound,
            phys: bits & PHYS != 0,
            multi: bits & MULTI != 0,
            sap: bits & SAP != 0,
            front,
        }
    }

    /// Whether it wants all multicasts of its interface.
    pub fn wants_multicasts(self) -> bool {
        self.phys || self.multi
    }

    /// The family it is bound to, 0 for any; `None` if it is not bound.
    #[inline]
    pub fn family(self) -> Option<u8> {
        match self.bound {
            Bound::No => None,
            Bound::Any => Some(0),
            Bound::V4 => Some(AF_INET),
            Bound::V6 => Some(AF_INET6),
        }
    }
}

/// The answer to a request, sent upstream as `M_PCPROTO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `DL_INFO_ACK` of a stream in this state.
    Info(Mode),
    /// `DL_BIND_ACK` with this SAP.
    Bind(u32),
    /// `DL_OK_ACK` to this primitive.
    Ok(u32),
    /// `DL_ERROR_ACK`: primitive, `dl_errno`, errno.
    Error(u32, u32, u32),
}

/// A reply's bytes.
pub struct Bytes {
    buf: [u8; REPLY_MAX],
    len: usize,
}

impl Bytes {
    fn new(words: &[u32], len: usize) -> Bytes {
        let mut buf = [0; REPLY_MAX];
        for (place, word) in buf.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        Bytes { buf, len }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }
}

impl Reply {
    /// Its bytes; those that no field covers are 0.
    pub fn encode(self) -> Bytes {
        match self {
            Reply::Info(mode) => {
                let state = if mode.bound == Bound::No { DL_UNBOUND } else { DL_IDLE };
                let mut words = [0; 19];
                let [kind, max_sdu, _, addr_len, mac_type, _, current, sap_len, mode, ..] =
                    &mut words;
                (*kind, *max_sdu, *addr_len) = (DL_INFO_ACK, i32::MAX as u32, 2);
                (*mac_type, *current, *sap_len, *mode) = (DL_IPNET, state, 2, DL_CLDLS);
                let [.., style, _, version, _, _, _] = &mut words;
                (*style, *version) = (DL_STYLE1, DL_VERSION_2);
                Bytes::new(&words, INFO_ACK_LEN)
            }
            // No address follows: its offset is the end.
            Reply::Bind(sap) => Bytes::new(&[DL_BIND_ACK, sap, 0, 24, 0, 0], 24),
            Reply::Ok(primitive) => Bytes::new(&[DL_OK_ACK, primitive], 8),
            Reply::Error(primitive, error, errno) => {
                Bytes::new(&[DL_ERROR_ACK, primitive, error, errno], 16)
            }
        }
    }
}

/// What a request comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The stream's state afterwards.
    pub mode: Mode,
    /// The answer.
    pub reply: Reply,
}

impl Step {
    /// What a request to turn a level on comes to when joining failed with `errno`.
    pub fn not_joined(was: Mode, errno: u32) -> Step {
        Step { mode: was, reply: Reply::Error(DL_PROMISCON_REQ, DL_SYSERR, errno) }
    }
}

/// Runs a request on a stream; `lo` for one of `/dev/lo0`, which has no levels to turn on or off
/// and says yes. `None` for a message that is too short to have a primitive.
pub fn step(mode: Mode, lo: bool, request: &[u8]) -> Option<Step> {
    let word = |at: usize| {
        let bytes = request.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let primitive = word(0)?;
    let (mode, reply) = match primitive {
        DL_INFO_REQ => (mode, Ok(Reply::Info(mode))),
        DL_BIND_REQ if request.len() < REQUEST_MAX => (mode, Err(DL_BADPRIM)),
        DL_BIND_REQ => {
            let bound = match word(4) {
                Some(0) => Some(Bound::Any),
                Some(4) => Some(Bound::V4),
                Some(6) => Some(Bound::V6),
                _ => None,
            };
            match (bound, word(4)) {
                (Some(bound), Some(sap)) => (Mode { bound, ..mode }, Ok(Reply::Bind(sap))),
                _ => (mode, Err(DL_BADSAP)),
            }
        }
        DL_UNBIND_REQ if mode.bound == Bound::No => (mode, Err(DL_OUTSTATE)),
        DL_UNBIND_REQ => (Mode { bound: Bound::No, ..mode }, Ok(Reply::Ok(primitive))),
        DL_PROMISCON_REQ | DL_PROMISCOFF_REQ => match word(4) {
            None => (mode, Err(DL_BADPRIM)),
            Some(_) if lo => (mode, Ok(Reply::Ok(primitive))),
            Some(level) => match switch(mode, level, primitive == DL_PROMISCON_REQ) {
                Ok(mode) => (mode, Ok(Reply::Ok(primitive))),
                Err(error) => (mode, Err(error)),
            },
        },
        DL_UNITDATA_REQ | DL_ATTACH_REQ | DL_DETACH_REQ | DL_ENABMULTI_REQ | DL_DISABMULTI_REQ
        | DL_PHYS_ADDR_REQ | DL_SET_PHYS_ADDR_REQ => (mode, Err(DL_UNSUPPORTED)),
        _ => (mode, Err(DL_BADPRIM)),
    };
    let reply = reply.unwrap_or_else(|error| Reply::Error(primitive, error, 0));
    Some(Step { mode, reply })
}

/// Turns a level on (again) or off.
fn switch(mode: Mode, level: u32, on: bool) -> Result<Mode, u32> {
    let (was, next) = match level {
        DL_PROMISC_PHYS => (mode.phys, Mode { phys: on, ..mode }),
        DL_PROMISC_SAP => (mode.sap, Mode { sap: on, ..mode }),
        DL_PROMISC_MULTI => (mode.multi, Mode { multi: on, ..mode }),
        _ => return Err(DL_UNSUPPORTED),
    };
    if was || on { Ok(next) } else { Err(DL_NOTENAB) }
}
