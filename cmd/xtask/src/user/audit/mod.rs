// SPDX-License-Identifier: CDDL-1.0
//! What exec(2), ld.so.1 and libc of illumos need of a file, rule by rule.
//!
//! | rule | why |
//! |---|---|
//! | `type` | a program is an executable, the rest are shared objects; OSABI is System V |
//! | `interpreter` | a program names ld.so.1; PT_PHDR without an interpreter is killed at exec |
//! | `hash` | ld.so.1 knows DT_HASH only; who has DT_GNU_HASH alone has no symbols |
//! | `versions` | a file with DT_VERSYM is bound by GNU rules, and the stubs have no versions |
//! | `name` | a library's DT_SONAME is the name it is installed under |
//! | `needed` | libraries of the list only, and each whose symbols are imported |
//! | `import` | symbols of the list only; a plugin's `libvarpd_*` are varpd's |
//! | `export` | a plugin takes nothing of varpd's names; varpd has what plugins bind to |
//! | `tls` | thread-locals are pthread keys: a PT_TLS may be laid out otherwise than compiled |
//! | `init` | a plugin registers itself in DT_INIT_ARRAY, whose entries are functions |
//! | `binding` | everything is bound at start, so that what is missing shows then |
//! | `relocation` | the four kinds that need no more than a symbol; COPY would take sizes from the stubs |
//! | `place` | ld.so.1 adds to what lies at a place, so it must be zero |
//! | `segment` | nothing is writable and executable, no relocation is in code |
//! | `probe` | the records of the probes that the manifest names, where the program finds and marks them: in data |
//!
//! Each has a test with a file in which just that is wrong.

mod image;
#[cfg(test)]
mod tests;

use super::ld::{CRT_OBJECTS, INTERPRETER};
use super::packages::{Artifact, Kind};
use super::symbols::{List, PROCESS};
use anyhow::{Context, Result};
use image::Image;
use object::LittleEndian as Le;
use object::elf::*;
use object::read::elf::{FileHeader, ProgramHeader};
use std::collections::BTreeSet;
use std::path::Path;

/// Something wrong: the rule, where in the file, and what is there.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: &'static str,
    pub place: String,
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.rule, self.place, self.what)
    }
}

#[derive(Debug)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// One line: size, libraries, number of imports.
    pub summary: String,
}

/// Audits one file. The error is that it cannot be read at all.
pub fn audit(path: &Path, artifact: &Artifact, list: &List) -> Result<Report> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let image = Image::parse(&bytes).with_context(|| path.display().to_string())?;
    let mut audit = Audit { image: &image, artifact, list, findings: Vec::new() };
    audit.kind();
    audit.segments();
    audit.probes();
    audit.dynamic()?;
    // Without its length the symbol table cannot be read, and the rule `hash` has said so.
    let summary = match image.tag(DT_HASH) {
        Some(_) => {
            audit.exports()?;
            audit.relocations()?;
            audit.imports()?
        }
        None => String::new(),
    };
    let loaded: u64 = image.segments_of(PT_LOAD).map(|s| s.p_filesz(LE)).sum();
    let summary = format!("{:5} KiB loaded, {summary}", loaded.div_ceil(1024));
    Ok(Report { findings: audit.findings, summary })
}

const LE: Le = Le;

struct Audit<'a> {
    image: &'a Image<'a>,
    artifact: &'a Artifact,
    list: &'a List,
    findings: Vec<Finding>,
}

impl Audit<'_> {
    fn find(&mut self, rule: &'static str, place: impl Into<String>, what: impl Into<String>) {
        self.findings.push(Finding { rule, place: place.into(), what: what.into() });
    }

    fn kind(&mut self) {
        let header = self.image.header;
        let wanted = match self.artifact.kind {
            Kind::Program => ET_EXEC,
            Kind::Library => ET_DYN,
        };
        if header.e_type(LE) != wanted {
            self.find("type", "e_type", format!("{}, not {wanted}", header.e_type(LE)));
        }
        if header.e_machine(LE) != EM_X86_64 {
            self.find("type", "e_machine", format!("{}, not amd64", header.e_machine(LE)));
        }
        let osabi = header.e_ident().os_abi;
        if ![ELFOSABI_NONE, ELFOSABI_SOLARIS].contains(&osabi) {
            self.find("type", "EI_OSABI", format!("{osabi} is another system's"));
        }
        let wanted = (self.artifact.kind == Kind::Program).then_some(INTERPRETER);
        let found = self.image.interpreter();
        if found.as_ref().ok() != Some(&wanted) {
            let what = format!("{:?}, not {wanted:?}", found.unwrap_or(None));
            self.find("interpreter", "PT_INTERP", what);
        }
    }

    fn segments(&mut self) {
        let has = |kind| self.image.segments_of(kind).next().is_some();
        let (phdr, interp) = (has(PT_PHDR), has(PT_INTERP));
        if self.artifact.kind == Kind::Program && phdr && !interp {
            self.find("interpreter", "PT_PHDR", "is there, and PT_INTERP is not");
        }
        for segment in self.image.segments {
            let at = format!("segment at {:#x}", segment.p_vaddr(LE));
            if segment.p_type(LE) == PT_TLS {
                self.find("tls", at, "PT_TLS");
            } else if segment.p_type(LE) == PT_LOAD && segment.p_flags(LE).contains(PF_W | PF_X) {
                self.find("segment", at, "writable and executable");
            }
        }
    }

    /// Of each probe there is a record, of the form that the usdt crate reads: `..., provider, 0, probe, 0, ...`.
    fn probes(&mut self) {
        for probe in &self.artifact.probes {
            let mut record = probe.replacen(':', "\0", 1).into_bytes();
            record.push(0);
            if !self.image.has_in_data(&record) {
                self.find("probe", probe, "has no record in data");
            }
        }
    }

    fn dynamic(&mut self) -> Result<()> {
        let image = self.image;
        if image.tag(DT_HASH).is_none() {
            self.find("hash", "DT_HASH", "is not there");
        }
        if image.tag(DT_GNU_HASH).is_some() {
            self.find("hash", "DT_GNU_HASH", "is nothing ld.so.1 knows");
        }
        for (tag, name) in
            [(DT_VERSYM, "DT_VERSYM"), (DT_VERNEED, "DT_VERNEED"), (DT_VERDEF, "DT_VERDEF")]
        {
            if image.tag(tag).is_some() {
                self.find("versions", name, "is there");
            }
        }
        let flags = image.tag(DT_FLAGS).unwrap_or(0);
        if image.tag(DT_TEXTREL).is_some() || flags & DF_TEXTREL.0 != 0 {
            self.find("segment", "DT_TEXTREL", "relocations in code");
        }
        if flags & DF_BIND_NOW.0 == 0 {
            self.find("binding", "DT_FLAGS", "has no BIND_NOW");
        }
        let soname = image.strings(DT_SONAME)?;
        let wanted = match self.artifact.kind {
            Kind::Program => vec![],
            Kind::Library => vec![self.artifact.soname()],
        };
        if soname != wanted {
            self.find("name", "DT_SONAME", format!("{soname:?}, not {wanted:?}"));
        }
        self.init()
    }

    /// Entries of DT_INIT_ARRAY are addresses of functions: by relocation in a library, as they are
    /// in a program.
    fn init(&mut self) -> Result<()> {
        let image = self.image;
        let start = image.tag(DT_INIT_ARRAY).unwrap_or(0);
        let size = image.tag(DT_INIT_ARRAYSZ).unwrap_or(0);
        if self.artifact.is_plugin() && size == 0 {
            self.find("init", "DT_INIT_ARRAY", "is not there, so the plugin would not register");
        }
        let relocations = image.relocations()?;
        for at in (start..start + size).step_by(8) {
            let function = match relocations.iter().find(|r| r.place == at) {
                Some(r) => r.symbol.map_or(0, |s| s.value).wrapping_add_signed(r.addend),
                None => image.word(at).unwrap_or(0),
            };
            if !image.allows(function, PF_X) {
                let what = format!("{function:#x} is not in code");
                self.find("init", format!("entry of DT_INIT_ARRAY at {at:#x}"), what);
            }
        }
        Ok(())
    }

    fn exports(&mut self) -> Result<()> {
        let symbols = self.image.symbols()?;
        let found: BTreeSet<_> =
            symbols.iter().filter(|s| s.defined && !s.local).map(|s| s.name).collect();
        let mut wanted: BTreeSet<_> = self.artifact.exports.iter().map(String::as_str).collect();
        if self.artifact.kind == Kind::Program {
            wanted.extend(CRT_OBJECTS);
        }
        for name in wanted.difference(&found) {
            self.find("export", *name, "is not exported");
        }
        for name in found.difference(&wanted) {
            self.find("export", *name, "is exported, and in no map");
        }
        Ok(())
    }

    /// Returns what to say of them.
    fn imports(&mut self) -> Result<String> {
        let list = self.list;
        let needed = self.image.strings(DT_NEEDED)?;
        for name in &needed {
            if *name == PROCESS || list.library(name).is_none() {
                self.find("needed", *name, "is no library of the list");
            }
        }
        let symbols = self.image.symbols()?;
        let mut count = 0;
        let mut youngest = None;
        for symbol in symbols.iter().filter(|s| !s.defined) {
            count += 1;
            if symbol.tls {
                self.find("tls", symbol.name, "a thread-local of another object");
            }
            let providers: Vec<_> = list.providers(symbol.name).collect();
            let reachable = providers.iter().find(|(library, _)| {
                needed.contains(&library.soname.as_str())
                    || (library.soname == PROCESS && self.artifact.is_plugin())
            });
            match reachable {
                // Absent is an answer to a weak reference.
                None if symbol.weak && providers.is_empty() => {}
                None if providers.is_empty() => {
                    self.find("import", symbol.name, "is not in the list");
                }
                None => {
                    let library = &providers[0].0.soname;
                    self.find("needed", library, format!("is not, and has {}", symbol.name));
                }
                Some((_, known)) => {
                    let age = known.version.as_deref().map(|v| (age(v), v, symbol.name));
                    youngest = youngest.max(age);
                }
            }
        }
        let youngest = youngest
            .map_or(String::new(), |(_, version, name)| format!(", youngest {name} ({version})"));
        Ok(format!("{count} imports of {}{youngest}", needed.join(" ")))
    }

    fn relocations(&mut self) -> Result<()> {
        for reloc in self.image.relocations()? {
            let at = match reloc.symbol {
                Some(s) => format!("{:#x} ({})", reloc.place, s.name),
                None => format!("{:#x}", reloc.place),
            };
            let known = [R_X86_64_64, R_X86_64_RELATIVE, R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT];
            if !known.contains(&reloc.kind) {
                self.find("relocation", at, format!("is of type {}", reloc.kind));
            } else if !self.image.allows(reloc.place, PF_W) {
                self.find("segment", at, "relocated, and not writable");
            // A jump slot is set, not added to.
            } else if reloc.kind != R_X86_64_JUMP_SLOT && self.image.word(reloc.place) != Some(0) {
                self.find("place", at, "is not zero");
            }
        }
        Ok(())
    }
}

/// Orders interface versions: those of System V first, then Solaris', then illumos', by number.
fn age(version: &str) -> (u8, Vec<u32>) {
    let (history, number) = version.rsplit_once('_').unwrap_or(("", version));
    let number = number.split('.').filter_map(|n| n.parse().ok()).collect();
    let rank = match history {
        "ILLUMOS" => 2,
        "SUNW" => 1,
        _ => 0,
    };
    (rank, number)
}
