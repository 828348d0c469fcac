// SPDX-License-Identifier: CDDL-1.0
//! What is wrong with a file: each problem with line, column and key.
//!
//! All are collected, not only the first, up to [`Report::LIMIT`].
use crate::json::{Kind, Node, Syntax};
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Such as `2:8:20:aa:0:1/port`; empty for the file as a whole.
    pub key: String,
    /// In words.
    pub what: String,
}

/// `3:17: 2:8:20:aa:0:1/port: 70000 is not a whole number from 1 to 65535`
impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// Keys on the way from the file's top to a value.
#[derive(Clone, Copy, Debug)]
pub enum Path<'a> {
    /// The file.
    Top,
    /// A member of what the first is.
    Of(&'a Path<'a>, &'a str),
}

impl<'a> Path<'a> {
    /// A member's path.
    pub fn member(&'a self, key: &'a str) -> Path<'a> {
        Path::Of(self, key)
    }
}

impl Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Top => Ok(()),
            Path::Of(Path::Top, key) => f.write_str(&short(key)),
            Path::Of(up, key) => write!(f, "{up}/{}", short(key)),
        }
    }
}

/// A text as it may be shown: not long, and without control characters.
pub fn short(text: &str) -> String {
    const LONG: usize = 60;
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut short: String = text.chars().take(LONG).map(shown).collect();
    if text.chars().nth(LONG).is_some() {
        short.push_str("...");
    }
    short
}

/// Collects problems, and reads values so that what is wrong with one becomes a problem.
#[derive(Debug)]
pub struct Report<'a> {
    text: &'a str,
    /// What keeps the file from being used.
    pub errors: Vec<Problem>,
    /// What does not.
    pub warnings: Vec<Problem>,
    /// How many errors there are, also those beyond the limit.
    pub total: usize,
}

impl<'a> Report<'a> {
    /// Most errors, and most warnings, that are kept.
    pub const LIMIT: usize = 50;

    /// Nothing wrong so far.
    pub fn new(text: &'a str) -> Report<'a> {
        Report { text, errors: Vec::new(), warnings: Vec::new(), total: 0 }
    }

    /// Line and column of a byte.
    pub fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        (line, column)
    }

    fn problem(&self, at: usize, path: &Path<'_>, what: impl Display) -> Problem {
        let (line, column) = self.place(at);
        Problem { line, column, key: path.to_string(), what: what.to_string() }
    }

    /// Something that keeps the file from being used.
    pub fn error(&mut self, at: usize, path: &Path<'_>, what: impl Display) {
        self.total += 1;
        if self.errors.len() < Self::LIMIT {
            self.errors.push(self.problem(at, path, what));
        }
    }

    /// Something that somebody should know.
    pub fn warn(&mut self, at: usize, path: &Path<'_>, what: impl Display) {
        if self.warnings.len() < Self::LIMIT {
            self.warnings.push(self.problem(at, path, what));
        }
    }

    /// What could be read; otherwise why not is noted.
    pub fn read<T>(&mut self, result: Result<T, Syntax>, path: &Path<'_>) -> Option<T> {
        result.map_err(|e| self.error(e.at, path, short(&e.what))).ok()
    }

    fn expect(&mut self, node: &Node<'_>, kind: Kind, path: &Path<'_>) -> Option<()> {
        if node.kind() == kind {
            return Some(());
        }
        self.error(node.at, path, format_args!("this is {}; it must be {kind}", node.kind()));
        None
    }

    /// Members of an object, keys as text.
    pub fn members(
        &mut self,
        node: &Node<'a>,
        path: &Path<'_>,
    ) -> Option<Vec<(String, Node<'a>, Node<'a>)>> {
        self.expect(node, Kind::Object, path)?;
        let members = self.read(node.members(), path)?;
        let mut all = Vec::with_capacity(members.len());
        for (key, value) in members {
            all.push((self.read(key.string(), path)?, key, value));
        }
        Some(all)
    }

    /// Those members of an object that have these keys; `null` counts as not there, and other keys are
    /// reserved.
    pub fn fields<const N: usize>(
        &mut self,
        node: &Node<'a>,
        path: &Path<'_>,
        keys: [&str; N],
    ) -> Option<[Option<Node<'a>>; N]> {
        let mut fields = [None; N];
        let mut seen = [None; N];
        for (key, at, value) in self.members(node, path)? {
            let slot = keys.iter().position(|k| **k == *key);
            let Some((i, slot)) = slot.and_then(|i| Some((i, seen.get_mut(i)?))) else { continue };
            if let Some(first) = slot.replace(at.at) {
                let (line, _) = self.place(first);
                let what = format_args!("this key is there twice, first on line {line}");
                self.error(at.at, &path.member(&key), what);
            }
            if value.kind() != Kind::Null
                && let Some(field) = fields.get_mut(i)
            {
                *field = Some(value);
            }
        }
        Some(fields)
    }

    /// Values of an array.
    pub fn items(&mut self, node: &Node<'a>, path: &Path<'_>) -> Option<Vec<Node<'a>>> {
        self.expect(node, Kind::Array, path)?;
        self.read(node.items(), path)
    }

    /// The text of a string.
    pub fn string(&mut self, node: &Node<'_>, path: &Path<'_>) -> Option<String> {
        self.expect(node, Kind::String, path)?;
        self.read(node.string(), path)
    }

    /// A string in a form of its own, which `form` says in words.
    pub fn parsed<T: FromStr>(
        &mut self,
        node: &Node<'_>,
        path: &Path<'_>,
        form: &str,
    ) -> Option<T> {
        let text = self.string(node, path)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.error(node.at, path, format_args!("\"{}\" is not {form}", short(&text)));
        }
        parsed
    }

    /// A whole number in a range.
    pub fn number(
        &mut self,
        node: &Node<'_>,
        path: &Path<'_>,
        range: RangeInclusive<i64>,
    ) -> Option<i64> {
        self.expect(node, Kind::Number, path)?;
        let number = node.integer().ok().filter(|n| range.contains(n));
        if number.is_none() {
            let (raw, low, high) = (short(node.raw), range.start(), range.end());
            let what = format_args!("{raw} is not a whole number from {low} to {high}");
            self.error(node.at, path, what);
        }
        number
    }
}
