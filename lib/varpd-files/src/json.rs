// SPDX-License-Identifier: CDDL-1.0
//! JSON whose values know where in the text they are.
//!
//! serde_json checks the grammar, once over the whole text, and cuts it into raw values, which are
//! slices of it; so the place of a value is the distance of its slice from the text's beginning.
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// A text that is one JSON value, or why it is none.
pub fn parse(text: &str) -> Result<Node<'_>, Syntax> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => Ok(Node::within(text, raw)),
        Err(e) => Err(Syntax::new(text, &e)),
    }
}

/// What is wrong with a text.
#[derive(Debug)]
pub struct Syntax {
    /// Byte at which it is.
    pub at: usize,
    /// In words.
    pub what: String,
}

impl Syntax {
    fn new(text: &str, e: &serde_json::Error) -> Syntax {
        // Column 0 is the end of the line before.
        let line = text.split_inclusive('\n').take(e.line().saturating_sub(1));
        let at = line.map(str::len).sum::<usize>() + e.column().saturating_sub(1);
        let what = e.to_string();
        // The place is told by us, for the whole text.
        let what = what.split(" at line ").next().unwrap_or_default().to_owned();
        Syntax { at: at.min(text.len()), what }
    }
}

/// One value in a text.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// Its text.
    pub raw: &'a str,
    /// Where that begins, in bytes.
    pub at: usize,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// Whole or not.
    Number,
    /// Text.
    String,
    /// `[]`
    Array,
    /// `{}`
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Null => "null",
            Kind::Bool => "true or false",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        })
    }
}

impl<'a> Node<'a> {
    /// The node of a raw value that was cut out of `text`.
    fn within(text: &'a str, raw: &'a RawValue) -> Node<'a> {
        let raw = raw.get();
        Node { raw, at: raw.as_ptr().addr().saturating_sub(text.as_ptr().addr()) }
    }

    fn part(&self, raw: &'a RawValue) -> Node<'a> {
        let part = Node::within(self.raw, raw);
        Node { at: self.at.saturating_add(part.at), ..part }
    }

    /// What it is; its first byte tells.
    pub fn kind(&self) -> Kind {
        match self.raw.as_bytes().first() {
            Some(b'n') => Kind::Null,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'"') => Kind::String,
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            _ => Kind::Number,
        }
    }

    /// As another type; what is wrong if it does not fit is told with its place.
    fn decode<T: Deserialize<'a>>(&self) -> Result<T, Syntax> {
        serde_json::from_str(self.raw).map_err(|e| {
            let e = Syntax::new(self.raw, &e);
            Syntax { at: self.at.saturating_add(e.at), ..e }
        })
    }

    /// The text of a string. Halves of a surrogate pair are errors.
    pub fn string(&self) -> Result<String, Syntax> {
        self.decode()
    }

    /// A whole number.
    pub fn integer(&self) -> Result<i64, Syntax> {
        self.decode()
    }

    /// Keys and values of an object in their order, the same key perhaps twice.
    pub fn members(&self) -> Result<Vec<(Node<'a>, Node<'a>)>, Syntax> {
        let Members(all) = self.decode()?;
        Ok(all.into_iter().map(|(k, v)| (self.part(k), self.part(v))).collect())
    }

    /// Values of an array.
    pub fn items(&self) -> Result<Vec<Node<'a>>, Syntax> {
        let all: Vec<&RawValue> = self.decode()?;
        Ok(all.into_iter().map(|v| self.part(v)).collect())
    }
}

struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = map.next_entry()? {
                    all.push(member);
                }
                Ok(Members(all))
            }
        }
        d.deserialize_map(V)
    }
}
