// SPDX-License-Identifier: CDDL-1.0
//! Operations, versions, status codes, and the reasons for refusing bytes.

use std::fmt;
use thiserror::Error;

/// Protocol version of a message (section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Lookups and logs.
    V1 = 1,
    /// Routes as well.
    V2 = 2,
}

impl Version {
    /// The highest version this crate speaks.
    pub const MAX: Version = Version::V2;

    /// As in the header.
    pub fn wire(self) -> u16 {
        self as u16
    }

    /// The version that is spoken with a peer which names `wire`: the lower of both, none for 0.
    pub fn negotiate(wire: u16) -> Option<Version> {
        match wire {
            0 => None,
            1 => Some(Version::V1),
            _ => Some(Version::V2),
        }
    }

    /// Exactly this version, as every message but PING must carry it.
    pub fn exact(wire: u16) -> Option<Version> {
        match wire {
            1 => Some(Version::V1),
            2 => Some(Version::V2),
            _ => None,
        }
    }
}

/// The four bytes by which a reply is matched to its request, opaque to the server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; 4]);

impl From<u32> for Id {
    fn from(n: u32) -> Id {
        Id(n.to_be_bytes())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", u32::from_be_bytes(self.0))
    }
}

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident = $n:literal, $text:literal, $min:literal..=$max:expr;)*) => {
        /// What a message asks or answers (section 2). Op 0 and 16 up do not exist.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Op {
            $($(#[$doc])* $name = $n,)*
        }

        impl Op {
            /// Every operation, in order of its number.
            pub const ALL: &[Op] = &[$(Op::$name),*];

            /// The operation with this number.
            pub fn from_wire(n: u16) -> Option<Op> {
                match n {
                    $($n => Some(Op::$name),)*
                    _ => None,
                }
            }

            /// The name in the specification.
            pub fn name(self) -> &'static str {
                match self {
                    $(Op::$name => $text,)*
                }
            }

            /// The sizes its payload may have, in bytes.
            pub fn sizes(self) -> std::ops::RangeInclusive<u32> {
                match self {
                    $(Op::$name => $min..=$max,)*
                }
            }
        }
    };
}

const CAP: u32 = crate::frame::MAX_PAYLOAD;

ops! {
    /// Is somebody there, and which version is spoken?
    Ping = 1, "PING", 0..=0;
    /// Answer to [`Op::Ping`]; its version is the one spoken from now on.
    Pong = 2, "PONG", 0..=0;
    /// Where is the guest with this Ethernet address?
    Vl2Req = 3, "VL2_REQ", 12..=12;
    /// Answer to [`Op::Vl2Req`].
    Vl2Ack = 4, "VL2_ACK", 20..=20;
    /// Which Ethernet address has this IP address, and where is it?
    Vl3Req = 5, "VL3_REQ", 24..=24;
    /// Answer to [`Op::Vl3Req`].
    Vl3Ack = 6, "VL3_ACK", 28..=28;
    /// All mappings; never implemented anywhere.
    BulkReq = 7, "BULK_REQ", 4..=4;
    /// Answer to [`Op::BulkReq`].
    BulkAck = 8, "BULK_ACK", 8..=CAP;
    /// What has changed for this host?
    LogReq = 9, "LOG_REQ", 20..=20;
    /// Answer to [`Op::LogReq`].
    LogAck = 10, "LOG_ACK", 4..=CAP;
    /// These log entries have been acted on.
    LogRm = 11, "LOG_RM", 4..=CAP;
    /// Answer to [`Op::LogRm`].
    LogRmAck = 12, "LOG_RM_ACK", 4..=4;
    /// From host to host: the mapping that led you here is stale. Never implemented anywhere.
    Shootdown = 13, "SHOOTDOWN", 12..=12;
    /// How does a packet leave this network? Version 2.
    RouteReq = 14, "ROUTE_REQ", 40..=40;
    /// Answer to [`Op::RouteReq`]. Version 2.
    RouteAck = 15, "ROUTE_ACK", 48..=48;
}

impl Op {
    /// Whether the operation exists in version 2 only.
    pub fn needs_v2(self) -> bool {
        matches!(self, Op::RouteReq | Op::RouteAck)
    }

    /// The reply that a client awaits for this request; none for what is not asked of a directory.
    pub fn reply(self) -> Option<Op> {
        match self {
            Op::Ping => Some(Op::Pong),
            Op::Vl2Req => Some(Op::Vl2Ack),
            Op::Vl3Req => Some(Op::Vl3Ack),
            Op::BulkReq => Some(Op::BulkAck),
            Op::LogReq => Some(Op::LogAck),
            Op::LogRm => Some(Op::LogRmAck),
            Op::RouteReq => Some(Op::RouteAck),
            _ => None,
        }
    }
}

/// The result in a reply (section 2). Numbers beyond the known ones are kept: all mean "no".
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status(pub u32);

impl Status {
    /// Answered.
    pub const OK: Status = Status(0);
    /// The directory could not find out.
    pub const FATAL: Status = Status(1);
    /// There is no such thing.
    pub const NOTFOUND: Status = Status(2);
    /// [`L3Type`] of a VL3_REQ is neither IPv4 nor IPv6.
    pub const BADL3TYPE: Status = Status(3);
    /// BULK_REQ asks for what cannot be had.
    pub const BADBULK: Status = Status(4);
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Status::OK => f.write_str("OK"),
            Status::FATAL => f.write_str("FATAL"),
            Status::NOTFOUND => f.write_str("NOTFOUND"),
            Status::BADL3TYPE => f.write_str("BADL3TYPE"),
            Status::BADBULK => f.write_str("BADBULK"),
            Status(n) => write!(f, "status {n}"),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Family of the address in a VL3_REQ. Original clients write [`L3Type::IPV6`] for v4-mapped
/// addresses too, so a directory decides by the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct L3Type(pub u32);

impl L3Type {
    /// `::ffff:a.b.c.d`
    pub const IPV4: L3Type = L3Type(1);
    /// Any other.
    pub const IPV6: L3Type = L3Type(2);

    /// Whether this is one of the two.
    pub fn is_known(self) -> bool {
        self == L3Type::IPV4 || self == L3Type::IPV6
    }
}

/// Why bytes are not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The operation field names nothing.
    #[error("unknown operation {0}")]
    UnknownOp(u16),
    /// The version field is not one we speak.
    #[error("{op} in version {version}, only 1 and 2 are spoken", op = op.name())]
    UnknownVersion {
        /// Of the message.
        op: Op,
        /// As received.
        version: u16,
    },
    /// An operation of version 2 in a message of version 1.
    #[error("{} needs version 2, the message has version 1", .0.name())]
    NeedsV2(Op),
    /// The size field does not fit the operation.
    #[error("{op} with a payload of {size} bytes", op = op.name())]
    Size {
        /// Of the message.
        op: Op,
        /// As received.
        size: u32,
    },
    /// The checksum is another.
    #[error("crc32 of {op} is {got:08x}, the bytes give {want:08x}", op = op.name())]
    Crc {
        /// Of the message.
        op: Op,
        /// In the header.
        got: u32,
        /// Of the bytes.
        want: u32,
    },
    /// The peer closed in the middle of a message.
    #[error("stream ends after {have} bytes of a message")]
    Truncated {
        /// Bytes of it that came.
        have: usize,
    },
    /// LOG_RM whose count disagrees with its size.
    #[error("LOG_RM counts {count} ids and has {room} bytes for them")]
    LogRmCount {
        /// As received.
        count: u32,
        /// Bytes behind the count.
        room: usize,
    },
    /// A log entry does not end where the payload does.
    #[error("log entry at offset {at} is cut off")]
    LogEntryCut {
        /// In the entries of LOG_ACK, bytes.
        at: usize,
    },
    /// A log entry of no known type.
    #[error("log entry at offset {at} has unknown type {kind}")]
    LogEntryType {
        /// In the entries of LOG_ACK, bytes.
        at: usize,
        /// As received.
        kind: u32,
    },
    /// A route entry in a version 1 reply.
    #[error("log entry at offset {at} is a route, in a message of version 1")]
    LogEntryRoute {
        /// In the entries of LOG_ACK, bytes.
        at: usize,
    },
    /// Only a server may send this.
    #[error("{} is not a request", .0.name())]
    NotARequest(Op),
    /// Only a client may send this.
    #[error("{} is not a reply", .0.name())]
    NotAReply(Op),
    /// A reply in another version than the negotiated one.
    #[error("{op} in version {got} on a version {want} connection", op = op.name())]
    OtherVersion {
        /// Of the message.
        op: Op,
        /// As received.
        got: u16,
        /// Negotiated.
        want: u16,
    },
    /// A reply to nothing.
    #[error("{op} answers id {id:?}, which is not outstanding", op = op.name())]
    UnknownId {
        /// Of the message.
        op: Op,
        /// As received.
        id: Id,
    },
    /// A reply before its request was on the wire.
    #[error("{op} answers id {id:?} before it was asked", op = op.name())]
    TooEarly {
        /// Of the message.
        op: Op,
        /// As received.
        id: Id,
    },
    /// The reply to another kind of request (B4).
    #[error("{got} answers a request that takes {want}", got = got.name(), want = want.name())]
    OtherOp {
        /// As received.
        got: Op,
        /// What the request takes.
        want: Op,
    },
    /// LOG_ACK larger than what was asked for (B1).
    #[error("LOG_ACK of {size} bytes for a request that takes {count}")]
    LogAckSize {
        /// As received.
        size: u32,
        /// In the request.
        count: u32,
    },
}

impl Refusal {
    /// Whether the stream cannot be trusted any more. Only the contents of a well-framed LOG_ACK
    /// can be wrong without that: the batch is not acted on, the connection stays (section 5.4).
    pub fn ends_connection(&self) -> bool {
        !matches!(
            self,
            Refusal::LogEntryCut { .. }
                | Refusal::LogEntryType { .. }
                | Refusal::LogEntryRoute { .. }
        )
    }
}
