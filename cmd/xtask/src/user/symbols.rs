// SPDX-License-Identifier: CDDL-1.0
//! The list of libraries and symbols that programs may use on illumos:
//! `cmd/xtask/illumos/symbols.list`.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;

/// The entry of the list that is no library but a program: varpd, in whose process plugins are.
pub const PROCESS: &str = "varpd";

/// A library of illumos, or what we know of it.
#[derive(Debug, Hash)]
pub struct Library {
    /// The name it is found by at run time, `libc.so.1`.
    pub soname: String,
    /// More names for `-l` than the one in `soname`.
    pub aliases: Vec<String>,
    pub symbols: BTreeMap<String, Symbol>,
}

#[derive(Debug, Hash)]
pub struct Symbol {
    /// Interface version in which the library first had it; `None` if it keeps no history.
    pub version: Option<String>,
    /// Bytes, of an object; `None` for a function.
    pub size: Option<u32>,
}

impl Library {
    /// What stands for it at link time, `libc.so`.
    pub fn link_name(&self) -> &str {
        self.soname.find(".so").map_or(&self.soname, |at| &self.soname[..at + ".so".len()])
    }
}

#[derive(Debug, Hash)]
pub struct List(pub Vec<Library>);

impl List {
    pub fn read(path: &Path) -> Result<List> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<List> {
        let mut libraries: Vec<Library> = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<_> = line.split_whitespace().collect();
            match (words.as_slice(), libraries.last_mut()) {
                ([], _) => {}
                (["library", soname, aliases @ ..], _) => {
                    if libraries.iter().any(|l| l.soname == *soname) {
                        bail!("line {}: {soname} is listed twice", n + 1);
                    }
                    libraries.push(Library {
                        soname: (*soname).to_owned(),
                        aliases: aliases.iter().map(|a| (*a).to_owned()).collect(),
                        symbols: BTreeMap::new(),
                    });
                }
                ([name, version, size @ ..], Some(library)) if size.len() < 2 => {
                    let size = size.first().map(|s| s.parse()).transpose();
                    let size = size.with_context(|| format!("line {}: no size", n + 1))?;
                    let version = (*version != "-").then(|| (*version).to_owned());
                    library.symbols.insert((*name).to_owned(), Symbol { version, size });
                }
                _ => bail!("line {}: neither a library nor a symbol of one", n + 1),
            }
        }
        Ok(List(libraries))
    }

    /// The libraries that have a symbol: one, as a rule.
    pub fn providers<'a>(
        &'a self,
        symbol: &'a str,
    ) -> impl Iterator<Item = (&'a Library, &'a Symbol)> {
        self.0.iter().filter_map(move |l| l.symbols.get(symbol).map(|s| (l, s)))
    }

    pub fn library(&self, soname: &str) -> Option<&Library> {
        self.0.iter().find(|l| l.soname == soname)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read() {
        let list = List::parse("# c\nlibrary libc.so.1 c99\nread V_1 # x\n\nerrno - 4\n").unwrap();
        let [libc] = list.0.as_slice() else { panic!("{list:?}") };
        assert_eq!((libc.soname.as_str(), libc.link_name()), ("libc.so.1", "libc.so"));
        assert_eq!(libc.aliases, ["c99"]);
        assert_eq!(libc.symbols["read"].version.as_deref(), Some("V_1"));
        assert_eq!(libc.symbols["errno"].size, Some(4));
        assert_eq!(list.providers("read").count(), 1);
    }

    /// What plugins may import of varpd is what varpd exports, but for what debuggers look for.
    #[test]
    fn plugins_find_in_varpd_what_the_list_promises() {
        let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
        let list = List::read(&xtask.join("illumos/symbols.list")).unwrap();
        let promised: Vec<_> = list.library(PROCESS).unwrap().symbols.keys().cloned().collect();
        let map = std::fs::read_to_string(xtask.join("../varpd/exports.map")).unwrap();
        let mut exported = crate::user::ld::map_globals(&map);
        exported.retain(|name| !name.starts_with("varpd_panic_"));
        exported.sort();
        assert_eq!(promised, exported);
    }

    #[test]
    fn mistakes_are_named_by_line() {
        for (text, line) in [
            ("read V_1", "line 1"),
            ("library a.so.1\n\nread", "line 3"),
            ("library a.so.1\nx V_1 big", "line 2"),
            ("library a.so.1\nx V_1 4 5", "line 2"),
            ("library a.so.1\nlibrary a.so.1", "line 2"),
        ] {
            let error = List::parse(text).unwrap_err().to_string();
            assert!(error.contains(line), "{text:?}: {error}");
        }
    }
}
