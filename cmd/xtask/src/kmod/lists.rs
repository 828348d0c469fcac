// SPDX-License-Identifier: CDDL-1.0
//! The committed lists: what a module may import, and which panics are forgiven.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

/// Modules that are part of every kernel: krtld looks there without being told.
const PRIMARY: [&str; 2] = ["unix", "genunix"];

/// Kernel symbols by the module that provides them.
#[derive(Debug, Default)]
pub struct KernelSymbols(BTreeMap<String, String>);

impl KernelSymbols {
    /// Reads the list: `module:` begins a group of symbols, one a line; `#` begins a comment.
    ///
    /// # Errors
    /// A symbol before the first group, or one twice.
    pub fn parse(text: &str) -> Result<Self> {
        let mut symbols = BTreeMap::new();
        let mut module = None;
        for line in lines(text) {
            if let Some(name) = line.strip_suffix(':') {
                module = Some(name);
                continue;
            }
            let module = module.with_context(|| format!("{line}: in no group"))?;
            if symbols.insert(line.to_string(), module.to_string()).is_some() {
                bail!("{line}: twice in the list");
            }
        }
        Ok(KernelSymbols(symbols))
    }

    /// The module that provides a symbol.
    pub fn provider(&self, symbol: &str) -> Option<&str> {
        self.0.get(symbol).map(String::as_str)
    }
}

/// Whether krtld must be told to look into a module.
pub fn is_dependency(module: &str) -> bool {
    !PRIMARY.contains(&module)
}

/// Functions whose panics are forgiven, with the reason.
#[derive(Debug, Default)]
pub struct Forgiven(BTreeMap<String, String>);

impl Forgiven {
    /// Reads the list: a function as the check names it, a blank, the reason.
    ///
    /// # Errors
    /// No reason.
    pub fn parse(text: &str) -> Result<Self> {
        let pair = |line: &str| -> Result<(String, String)> {
            let (name, why) =
                line.split_once("  ").with_context(|| format!("{line}: no reason"))?;
            Ok((name.to_string(), why.trim().to_string()))
        };
        lines(text).map(pair).collect::<Result<_>>().map(Forgiven)
    }

    /// Whether a function's panics are.
    pub fn has(&self, function: &str) -> bool {
        self.0.contains_key(function)
    }

    /// All, with reasons.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, why)| (name.as_str(), why.as_str()))
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|l| l.split('#').next().unwrap_or_default().trim()).filter(|l| !l.is_empty())
}
