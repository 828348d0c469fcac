// SPDX-License-Identifier: CDDL-1.0
//! Numbers that filters compute from a packet: `ip[2:2]`, `ether[0] & 1`, `length - 14`.
//!
//! They have 32 bits without a sign, and what does not fit wraps, so `ether[0:4] = -1` is what it
//! looks like. In a comparison all fields are of one frame, the one outside or one in VXLAN; there a
//! field is of the first header of its protocol. A packet without that header, or too short for the
//! field, makes every comparison false.

use crate::decode::icmp::Version;
use crate::decode::{Layer, Layers};
use crate::packet::Packet;

/// A header that fields are counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the word")]
pub enum Base {
    Ether,
    Ip,
    Ip6,
    Udp,
    Tcp,
    Icmp,
    Icmp6,
    Vxlan,
}

impl Base {
    pub(super) fn named(word: &str) -> Option<Base> {
        Some(match word {
            "ether" => Base::Ether,
            "ip" => Base::Ip,
            "ip6" => Base::Ip6,
            "udp" => Base::Udp,
            "tcp" => Base::Tcp,
            "icmp" => Base::Icmp,
            "icmp6" => Base::Icmp6,
            "vxlan" => Base::Vxlan,
            _ => return None,
        })
    }

    fn is(self, layer: &Layer<'_>) -> bool {
        match (self, layer) {
            (Base::Ether, Layer::Ether(_))
            | (Base::Ip, Layer::Ipv4(_))
            | (Base::Ip6, Layer::Ipv6(_))
            | (Base::Udp, Layer::Udp(_))
            | (Base::Tcp, Layer::Tcp(_))
            | (Base::Vxlan, Layer::Vxlan(_)) => true,
            (Base::Icmp, Layer::Icmp(icmp)) => icmp.version == Version::V4,
            (Base::Icmp6, Layer::Icmp(icmp)) => icmp.version == Version::V6,
            _ => false,
        }
    }
}

/// What two numbers give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the sign")]
pub enum Operation {
    Add,
    Subtract,
    Or,
    Xor,
    Multiply,
    Divide,
    Remainder,
    And,
}

impl Operation {
    /// Those that bind less tight.
    pub(super) fn sum(sign: &str) -> Option<Operation> {
        Some(match sign {
            "+" => Operation::Add,
            "-" => Operation::Subtract,
            "|" => Operation::Or,
            "^" => Operation::Xor,
            _ => return None,
        })
    }

    /// Those that bind tighter; `&` is one of them in snoop.
    pub(super) fn product(sign: &str) -> Option<Operation> {
        Some(match sign {
            "*" => Operation::Multiply,
            "/" => Operation::Divide,
            "%" => Operation::Remainder,
            "&" => Operation::And,
            _ => return None,
        })
    }

    /// `None`: a division by zero.
    fn of(self, a: u32, b: u32) -> Option<u32> {
        Some(match self {
            Operation::Add => a.wrapping_add(b),
            Operation::Subtract => a.wrapping_sub(b),
            Operation::Or => a | b,
            Operation::Xor => a ^ b,
            Operation::Multiply => a.wrapping_mul(b),
            Operation::Divide => a.checked_div(b)?,
            Operation::Remainder => a.checked_rem(b)?,
            Operation::And => a & b,
        })
    }
}

/// An expression that gives a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Number {
    /// Always the same.
    Constant(u32),
    /// Bytes of the whole packet.
    Length,
    /// A field of a header.
    Field {
        /// Where it is counted from.
        base: Base,
        /// Bytes before it.
        offset: Box<Number>,
        /// 1, 2 or 4 bytes, big-endian.
        size: usize,
    },
    /// What two give.
    Of(Operation, Box<(Number, Number)>),
}

/// A header with the bytes from it on.
type Part<'b, 'a> = (&'b Layer<'a>, &'a [u8]);

impl Number {
    fn value(&self, packet: &Packet, frame: &[Part<'_, '_>]) -> Option<u32> {
        match self {
            Number::Constant(n) => Some(*n),
            Number::Length => u32::try_from(packet.length).ok(),
            Number::Field { base, offset, size } => {
                let (_, bytes) = frame.iter().find(|(layer, _)| base.is(layer))?;
                let offset = offset.value(packet, frame)? as usize;
                let field = bytes.get(offset..offset.checked_add(*size)?)?;
                Some(field.iter().fold(0, |n, b| n << 8 | u32::from(*b)))
            }
            Number::Of(operation, pair) => {
                operation.of(pair.0.value(packet, frame)?, pair.1.value(packet, frame)?)
            }
        }
    }
}

/// How two numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the sign")]
pub enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Relation {
    pub(super) fn named(sign: &str) -> Option<Relation> {
        Some(match sign {
            "=" | "==" => Relation::Equal,
            "!=" => Relation::NotEqual,
            "<" => Relation::Less,
            "<=" => Relation::LessOrEqual,
            ">" => Relation::Greater,
            ">=" => Relation::GreaterOrEqual,
            _ => return None,
        })
    }

    fn of(self, a: u32, b: u32) -> bool {
        match self {
            Relation::Equal => a == b,
            Relation::NotEqual => a != b,
            Relation::Less => a < b,
            Relation::LessOrEqual => a <= b,
            Relation::Greater => a > b,
            Relation::GreaterOrEqual => a >= b,
        }
    }

    /// Whether it is so in one of the packet's frames.
    pub(super) fn holds(
        self,
        left: &Number,
        right: &Number,
        packet: &Packet,
        layers: &Layers<'_>,
    ) -> bool {
        layers.frames().any(|frame| {
            let frame: Vec<_> = frame.collect();
            let values = left.value(packet, &frame).zip(right.value(packet, &frame));
            values.is_some_and(|(a, b)| self.of(a, b))
        })
    }
}
