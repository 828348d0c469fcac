// SPDX-License-Identifier: CDDL-1.0
//! What a module must be for krtld to load it rightly and for the kernel to survive it.
//!
//! krtld checks little: it computes a relocation of an unknown type wrongly or waits for ever, adds
//! to whatever is at the place, runs no constructors, and knows no thread-local storage. In kernel
//! mode the vector registers belong to whoever was interrupted, `%gs` is the kernel's own, and a
//! stack has five pages. What is asked here is said in the documentation of [`Rule`].

use super::lists::{Forgiven, KernelSymbols, is_dependency};
use super::view::{Place, View};
use super::{code, panics};
use anyhow::Result;
use object::elf;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What can be wrong with a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Relocatable, for amd64, with one symbol table.
    File,
    /// Sections at address 0, no constructors, no unwind tables, no groups, no relocations without
    /// addend.
    Section,
    /// No thread-local storage.
    Tls,
    /// Relocation types that krtld computes.
    Relocation,
    /// Places to relocate hold zero, for krtld adds to them.
    Place,
    /// Imports are in `kernel/ksyms.list`.
    Import,
    /// Global are the entry points and what the module is for, no more and no less.
    Export,
    /// The modules that provide the imports are named.
    Dependency,
    /// Instructions exist.
    Instruction,
    /// No vector, MMX or floating point register.
    Vector,
    /// No `%fs`, no `%gs`.
    Segment,
    /// A probe is a call: what it is overwritten with must come back to something.
    Probe,
    /// No frame over [`code::FRAME_MAX`] bytes, none of a size that cannot be known.
    Frame,
    /// Nothing that can panic.
    Panic,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = format!("{self:?}").to_lowercase();
        f.pad(&name)
    }
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Against what.
    pub rule: Rule,
    /// Where, for people.
    pub place: String,
    /// What.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}: {}", self.rule, self.place, self.what)
    }
}

/// What a module shall be.
#[derive(Debug)]
pub struct Expected<'a> {
    /// Global symbols.
    pub exports: &'a [&'a str],
    /// What it may import.
    pub kernel: &'a KernelSymbols,
    /// Functions whose panics are forgiven.
    pub forgiven: &'a Forgiven,
    /// Functions on whose paths no panic is.
    pub hot: &'a [&'a str],
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// All that is wrong.
    pub findings: Vec<Finding>,
    /// Imports by the module that provides them; probes are not among them.
    pub imports: BTreeMap<String, BTreeSet<String>>,
    /// How many different probes there are.
    pub probes: usize,
    /// Modules it names as dependencies.
    pub needs: Vec<String>,
    /// Bytes in memory by section.
    pub sizes: Vec<(String, u64)>,
    /// Stack of each function in bytes with its return address, largest first.
    pub frames: Vec<(u64, String)>,
    /// Instructions in all.
    pub instructions: usize,
    /// Functions whose panics were forgiven.
    pub forgiven: BTreeSet<String>,
}

impl Report {
    pub(super) fn wrong(&mut self, rule: Rule, place: impl fmt::Display, what: impl fmt::Display) {
        let (place, what) = (place.to_string(), what.to_string());
        self.findings.push(Finding { rule, place, what });
    }
}

/// Name of an SDT probe's function.
pub const PROBE: &str = "__dtrace_probe_";

/// Checks a finished module.
///
/// # Errors
/// It is not an ELF file at all.
pub fn check(bytes: &[u8], expected: &Expected) -> Result<Report> {
    let view = View::parse(bytes)?;
    let mut report = Report::default();
    sections(&view, &mut report);
    relocations(&view, &mut report);
    symbols(&view, expected, &mut report);
    dependencies(&view, &mut report);
    code::check(&view, &mut report);
    panics::check(&view, expected, &mut report);
    Ok(report)
}

fn sections(view: &View, report: &mut Report) {
    if view.kind != (elf::ET_REL, elf::EM_X86_64) {
        report.wrong(Rule::File, "header", "not a relocatable file for amd64");
    }
    let tables = view.sections.iter().filter(|s| s.kind == elf::SHT_SYMTAB).count();
    if tables != 1 {
        report.wrong(Rule::File, "sections", format!("{tables} symbol tables"));
    }
    for s in &view.sections {
        let link = view.sections.get(s.link).map(|s| s.kind);
        match s.kind {
            elf::SHT_REL => report.wrong(Rule::Section, &s.name, "relocations without addends"),
            elf::SHT_GROUP => report.wrong(Rule::Section, &s.name, "a section group"),
            elf::SHT_RELA if link != Some(elf::SHT_SYMTAB) => {
                report.wrong(Rule::Section, &s.name, "relocations without symbol table");
            }
            elf::SHT_SYMTAB_SHNDX => report.wrong(Rule::Section, &s.name, "too many sections"),
            _ => {}
        }
        if !s.is_loaded() {
            continue;
        }
        report.sizes.push((s.name.clone(), s.size));
        if s.addr != 0 {
            report.wrong(Rule::Section, &s.name, format!("has the address {:#x}", s.addr));
        }
        if s.flags.contains(elf::SHF_TLS) {
            report.wrong(Rule::Tls, &s.name, "thread-local storage");
        }
        let arrays = [elf::SHT_INIT_ARRAY, elf::SHT_FINI_ARRAY, elf::SHT_PREINIT_ARRAY];
        let never =
            [".init_array", ".fini_array", ".preinit_array", ".ctors", ".dtors", ".init", ".fini"];
        if arrays.contains(&s.kind) || never.iter().any(|n| is_named(&s.name, n)) {
            report.wrong(Rule::Section, &s.name, "constructors, which krtld does not run");
        }
        if [".eh_frame", ".gcc_except_table"].iter().any(|n| is_named(&s.name, n)) {
            report.wrong(Rule::Section, &s.name, "unwind tables, which nothing reads");
        }
    }
}

fn is_named(section: &str, name: &str) -> bool {
    section.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn relocations(view: &View, report: &mut Report) {
    for r in &view.relocs {
        let place = view.show(r.place);
        let width = match r.kind {
            elf::R_X86_64_64 | elf::R_X86_64_PC64 => 8,
            elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 | elf::R_X86_64_32 | elf::R_X86_64_32S => 4,
            elf::RelocationType(kind) => {
                let what = format!("type {kind} for {}, which krtld does not compute", r.symbol);
                report.wrong(Rule::Relocation, &place, what);
                continue;
            }
        };
        let (start, data) = (r.place.offset as usize, &view.sections[r.place.section].data);
        match data.get(start..start.saturating_add(width)) {
            Some(bytes) if bytes.iter().all(|b| *b == 0) => {}
            Some(_) => report.wrong(Rule::Place, &place, format!("not zero, for {}", r.symbol)),
            None => report.wrong(Rule::Place, &place, "outside of its section"),
        }
        let is_call = start.checked_sub(1).and_then(|at| data.get(at)) == Some(&0xe8)
            && view.sections[r.place.section].is_code();
        if r.symbol.starts_with(PROBE) && !is_call {
            let what = format!("{} is not called but jumped to or pointed to", r.symbol);
            report.wrong(Rule::Probe, &place, what);
        }
    }
}

fn symbols(view: &View, expected: &Expected, report: &mut Report) {
    let mut probes = BTreeSet::new();
    let mut exports = BTreeSet::new();
    for s in &view.symbols {
        if s.kind == elf::STT_TLS {
            report.wrong(Rule::Tls, &s.name, "a thread-local symbol");
        }
        match s.place {
            None if s.name.starts_with(PROBE) => {
                probes.insert(&s.name);
            }
            None => match expected.kernel.provider(&s.name) {
                Some(module) => {
                    report.imports.entry(module.to_string()).or_default().insert(s.name.clone());
                }
                None => {
                    let user = view.relocs.iter().find(|r| r.symbol == s.name);
                    let place = user.map_or("symbols".into(), |r| view.show(r.place).to_string());
                    report.wrong(Rule::Import, place, format!("{} is not in ksyms.list", s.name));
                }
            },
            Some(_) if s.bind != elf::STB_LOCAL => {
                exports.insert(s.name.as_str());
            }
            Some(_) => {}
        }
    }
    report.probes = probes.len();
    let wanted: BTreeSet<&str> = expected.exports.iter().copied().collect();
    for name in wanted.difference(&exports) {
        report.wrong(Rule::Export, name, "is missing");
    }
    for name in exports.difference(&wanted) {
        report.wrong(Rule::Export, name, "is global and need not be");
    }
}

fn dependencies(view: &View, report: &mut Report) {
    let dynamic: Vec<_> = view.sections.iter().filter(|s| s.kind == elf::SHT_DYNAMIC).collect();
    if let [first, second, ..] = dynamic[..] {
        let what = format!("a second list of dependencies beside {}", first.name);
        report.wrong(Rule::Dependency, &second.name, what);
    }
    for section in dynamic {
        let Some(strings) = view.sections.get(section.link).filter(|s| s.kind == elf::SHT_STRTAB)
        else {
            report.wrong(Rule::Dependency, &section.name, "has no string table");
            continue;
        };
        for entry in section.data.chunks_exact(16) {
            let word = |at: usize| {
                let bytes = entry.get(at..at + 8).and_then(|b| b.try_into().ok());
                bytes.map_or(0, u64::from_le_bytes)
            };
            if word(0) != elf::DT_NEEDED.0 as u64 {
                continue;
            }
            let text = strings.data.get(word(8) as usize..).unwrap_or_default();
            let name = text.split(|b| *b == 0).next().unwrap_or_default();
            report.needs.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    let missing: Vec<_> = report
        .imports
        .iter()
        .filter(|(module, _)| is_dependency(module) && !report.needs.contains(module))
        .map(|(module, names)| (module.clone(), format!("{names:?} come from it")))
        .collect();
    for (module, what) in missing {
        report.wrong(Rule::Dependency, module, what);
    }
}

/// A place in code, for people.
pub(super) fn at(view: &View, section: usize, offset: u64) -> impl fmt::Display {
    view.show(Place { section, offset })
}
