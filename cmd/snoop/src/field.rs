// SPDX-License-Identifier: CDDL-1.0
//! What a header holds, as names and values: one form for `-v` and for `--json`.

use overlay_abi::ids::MacAddr;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Num(u64),
    /// A number that people read in hexadecimal, with at least so many digits.
    Hex(u64, usize),
    /// Yes or no.
    Bool(bool),
    /// A word, or several.
    Text(String),
    /// An Ethernet address.
    Mac(MacAddr),
    /// An IP address.
    Ip(IpAddr),
    /// Fields of a part that occurs more than once.
    List(Vec<Fields>),
}

macro_rules! value {
    ($($t:ty => |$v:ident| $e:expr;)*) => {$(
        impl From<$t> for Value {
            fn from($v: $t) -> Value {
                $e
            }
        }
    )*};
}
value! {
    u8 => |n| Value::Num(n.into());
    u16 => |n| Value::Num(n.into());
    u32 => |n| Value::Num(n.into());
    u64 => |n| Value::Num(n);
    usize => |n| Value::Num(n as u64);
    bool => |b| Value::Bool(b);
    &str => |s| Value::Text(s.to_owned());
    String => |s| Value::Text(s);
    MacAddr => |a| Value::Mac(a);
    Ipv4Addr => |a| Value::Ip(a.into());
    Ipv6Addr => |a| Value::Ip(a.into());
    IpAddr => |a| Value::Ip(a);
    Vec<Fields> => |l| Value::List(l);
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Num(n) => write!(f, "{n}"),
            Value::Hex(n, digits) => write!(f, "0x{n:0digits$x}"),
            Value::Bool(b) => f.write_str(if *b { "yes" } else { "no" }),
            // What a packet says may have anything in it; a line is a line.
            Value::Text(s) => s.chars().try_for_each(|c| match c.is_control() {
                true => write!(f, "\\x{:02x}", u32::from(c)),
                false => write!(f, "{c}"),
            }),
            Value::Mac(a) => write!(f, "{a}"),
            Value::Ip(a) => write!(f, "{a}"),
            Value::List(l) => write!(f, "{} of them", l.len()),
        }
    }
}

impl serde::Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Num(n) | Value::Hex(n, _) => s.serialize_u64(*n),
            Value::Bool(b) => s.serialize_bool(*b),
            Value::Text(t) => s.serialize_str(t),
            Value::Mac(a) => s.collect_str(a),
            Value::Ip(a) => s.collect_str(a),
            Value::List(l) => {
                let mut seq = s.serialize_seq(Some(l.len()))?;
                l.iter().try_for_each(|fields| seq.serialize_element(fields))?;
                seq.end()
            }
        }
    }
}

/// Fields in the order of a header. Names are words joined by `_`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(&'static str, Value)>);

impl Fields {
    /// Appends one.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Fields {
        self.0.push((name, value.into()));
        self
    }

    /// Appends one if there is a value.
    #[must_use]
    pub fn maybe(self, name: &'static str, value: Option<impl Into<Value>>) -> Fields {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Appends one that is read in hexadecimal.
    #[must_use]
    pub fn hex(self, name: &'static str, n: impl Into<u64>, digits: usize) -> Fields {
        self.with(name, Value::Hex(n.into(), digits))
    }

    /// Appends a list, unless it is empty.
    #[must_use]
    pub fn list(self, name: &'static str, parts: impl IntoIterator<Item = Fields>) -> Fields {
        let parts: Vec<Fields> = parts.into_iter().collect();
        if parts.is_empty() { self } else { self.with(name, parts) }
    }
}

impl serde::Serialize for Fields {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}
