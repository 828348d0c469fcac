// SPDX-License-Identifier: CDDL-1.0
//! Options as `getopt_long` reads them, with dladm's own diagnostics.
//!
//! Options may be bundled (`-pt`), carry their value attached (`-v23`, `--vnetid=23`) or as the
//! next word, and stand behind operands; `--` ends them. A long option may be shortened as far as
//! it stays unique. A library would do all this, but not say what scripts look for:
//! `unrecognized option '-X'`, `option '-X' requires a value`.

use std::collections::VecDeque;

/// An option: its letter, its long name (empty if it has none) and whether it takes a value.
pub struct Spec {
    pub short: char,
    pub long: &'static str,
    pub value: bool,
}

/// Declares an option without a value.
pub const fn flag(short: char, long: &'static str) -> Spec {
    Spec { short, long, value: false }
}

/// Declares an option with a value.
pub const fn value(short: char, long: &'static str) -> Spec {
    Spec { short, long, value: true }
}

/// What is wrong with an option, as a diagnostic.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("unrecognized option '{0}'")]
    Unrecognized(String),
    #[error("option '{0}' requires a value")]
    MissingValue(String),
}

/// Reads the words of a command line one option at a time.
pub struct Parser {
    specs: &'static [Spec],
    words: VecDeque<String>,
    /// Letters of a bundle not yet looked at.
    bundle: String,
    operands: Vec<String>,
}

impl Parser {
    pub fn new(specs: &'static [Spec], words: Vec<String>) -> Parser {
        Parser { specs, words: words.into(), bundle: String::new(), operands: Vec::new() }
    }

    /// The next option with its value (empty for a flag), `None` behind the last.
    pub fn next(&mut self) -> Result<Option<(char, String)>, Error> {
        loop {
            if let Some(letter) = self.bundle.chars().next() {
                self.bundle.remove(0);
                return self.short(letter).map(Some);
            }
            let Some(word) = self.words.pop_front() else {
                return Ok(None);
            };
            if word == "--" {
                self.operands.extend(self.words.drain(..));
            } else if let Some(long) = word.strip_prefix("--") {
                return self.long(long).map(Some);
            } else if word.len() > 1 && word.starts_with('-') {
                self.bundle = word[1..].to_owned();
            } else {
                self.operands.push(word);
            }
        }
    }

    /// The words that were no options; call it when [`Parser::next`] gave `None`.
    pub fn operands(self) -> Vec<String> {
        self.operands
    }

    fn short(&mut self, letter: char) -> Result<(char, String), Error> {
        let name = format!("-{letter}");
        let spec = self.specs.iter().find(|s| s.short == letter);
        let spec = spec.ok_or_else(|| Error::Unrecognized(name.clone()))?;
        if !spec.value {
            return Ok((letter, String::new()));
        }
        let attached = std::mem::take(&mut self.bundle);
        if !attached.is_empty() {
            return Ok((letter, attached));
        }
        let value = self.words.pop_front().ok_or(Error::MissingValue(name))?;
        Ok((letter, value))
    }

    fn long(&mut self, word: &str) -> Result<(char, String), Error> {
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word, None),
        };
        let shown = format!("--{name}");
        let unknown = || Error::Unrecognized(shown.clone());
        let all = self.specs;
        let exact = all.iter().find(|s| !s.long.is_empty() && s.long == name);
        let spec = match exact {
            Some(spec) => spec,
            None => {
                let mut like = all.iter().filter(|s| !name.is_empty() && s.long.starts_with(name));
                let first = like.next().ok_or_else(unknown)?;
                // --parsable and --parseable are one option under two names.
                if like.any(|s| s.short != first.short) {
                    return Err(unknown());
                }
                first
            }
        };
        match (spec.value, attached) {
            (false, None) => Ok((spec.short, String::new())),
            (false, Some(_)) => Err(unknown()),
            (true, Some(value)) => Ok((spec.short, value)),
            (true, None) => {
                let value = self.words.pop_front().ok_or(Error::MissingValue(shown))?;
                Ok((spec.short, value))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SPECS: [Spec; 5] = [
        value('v', "vnetid"),
        flag('t', "temporary"),
        flag('p', "parsable"),
        flag('p', "parseable"),
        flag('x', ""),
    ];

    fn parse(words: &[&str]) -> Result<(String, Vec<String>), Error> {
        let mut p = Parser::new(&SPECS, words.iter().map(|s| s.to_string()).collect());
        let mut seen = String::new();
        while let Some((c, v)) = p.next()? {
            seen += &format!("{c}={v} ");
        }
        Ok((seen, p.operands()))
    }

    #[test]
    fn forms() {
        for words in [
            &["-v", "23", "-t", "o1"][..],
            &["-v23", "o1", "-t"],
            &["--vnetid=23", "--temporary", "o1"],
            &["--vne", "23", "--t", "--", "o1"],
        ] {
            assert_eq!(parse(words).unwrap(), ("v=23 t= ".into(), vec!["o1".into()]), "{words:?}");
        }
        assert_eq!(parse(&["-tpv-1"]).unwrap().0, "t= p= v=-1 ");
        assert_eq!(parse(&["--par"]).unwrap().0, "p= ", "both mean -p");
        assert_eq!(
            parse(&["-", "--", "-t"]).unwrap(),
            (String::new(), vec!["-".into(), "-t".into()])
        );
    }

    #[test]
    fn diagnostics() {
        let text = |words: &[&str]| parse(words).unwrap_err().to_string();
        assert_eq!(text(&["-Z"]), "unrecognized option '-Z'");
        assert_eq!(text(&["-té"]), "unrecognized option '-é'");
        assert_eq!(text(&["--zzz=1"]), "unrecognized option '--zzz'");
        assert_eq!(text(&["--temporary=1"]), "unrecognized option '--temporary'");
        assert_eq!(text(&["--=1"]), "unrecognized option '--'");
        assert_eq!(text(&["-v"]), "option '-v' requires a value");
        assert_eq!(text(&["o1", "--vnetid"]), "option '--vnetid' requires a value");
    }
}
