// SPDX-License-Identifier: CDDL-1.0
//! A relocatable object as the checks look at it: regions of sections, and what refers to what.
//!
//! ```text
//!    .text   ┌ _init ─┬ overlay::tx::chain ───┬ ..      a region: from one symbol to the next
//!            └────────┴───────│───────────────┴
//!                             └─ relocation ──► another region, or an import
//! ```

use anyhow::{Context, Result};
use object::elf;
use object::read::elf::{ElfFile64, FileHeader, Rela, SectionHeader, Sym};
use object::{Endianness, SymbolIndex};
use std::fmt;

/// Number of a region, by section and address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub usize);

/// Where something is: in a section, so many bytes from its begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index of the section.
    pub section: usize,
    /// Bytes.
    pub offset: u64,
}

/// A section.
#[derive(Debug)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// `SHT_*`.
    pub kind: elf::SectionType,
    /// `SHF_*`.
    pub flags: elf::SectionFlags,
    /// `sh_addr`.
    pub addr: u64,
    /// `sh_link`.
    pub link: usize,
    /// Bytes in memory.
    pub size: u64,
    /// Contents, none if it has only a size.
    pub data: Vec<u8>,
}

impl Section {
    /// Whether it is part of the module in memory.
    pub fn is_loaded(&self) -> bool {
        self.flags.contains(elf::SHF_ALLOC)
    }

    /// Whether it is code.
    pub fn is_code(&self) -> bool {
        self.is_loaded() && self.flags.contains(elf::SHF_EXECINSTR)
    }
}

/// A symbol with a name.
#[derive(Debug)]
pub struct Symbol {
    /// As in the file.
    pub name: String,
    /// `STT_*`.
    pub kind: elf::SymbolType,
    /// `STB_*`.
    pub bind: elf::SymbolBind,
    /// Where, `None` if another module has to provide it.
    pub place: Option<Place>,
}

/// What a relocation refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Something in the object.
    Here(Place),
    /// A symbol of another module.
    Import(String),
    /// A number.
    Absolute,
}

/// A relocation of something that is loaded.
#[derive(Debug)]
pub struct Reloc {
    /// The bytes to change.
    pub place: Place,
    /// `R_X86_64_*`.
    pub kind: elf::RelocationType,
    /// Name of the symbol, or of the section that it stands for.
    pub symbol: String,
    /// What it refers to.
    pub target: Target,
}

/// Part of a section that belongs to one symbol.
#[derive(Debug)]
pub struct Region {
    /// The symbol's name, without mangling.
    pub name: String,
    /// Its first byte.
    pub start: Place,
    /// Behind its last byte.
    pub end: u64,
}

/// An object.
pub struct View {
    /// `e_type` and `e_machine`.
    pub kind: (elf::FileType, elf::Machine),
    /// All, by index.
    pub sections: Vec<Section>,
    /// Those with a name.
    pub symbols: Vec<Symbol>,
    /// Those of loaded sections, by place.
    pub relocs: Vec<Reloc>,
    /// All, by place.
    pub regions: Vec<Region>,
}

/// The name as in the source, without the hash.
pub fn demangle(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

impl View {
    /// Reads a 64-bit ELF file.
    ///
    /// # Errors
    /// It is none, or its tables point to nowhere.
    pub fn parse(bytes: &[u8]) -> Result<View> {
        let file = ElfFile64::<Endianness>::parse(bytes).context("not a 64-bit ELF file")?;
        let (e, header, table) = (file.endian(), file.elf_header(), file.elf_section_table());
        let mut sections = Vec::new();
        for s in table.iter() {
            sections.push(Section {
                name: String::from_utf8_lossy(table.section_name(e, s)?).into_owned(),
                kind: s.sh_type(e),
                flags: s.sh_flags(e),
                addr: s.sh_addr(e),
                link: s.sh_link(e) as usize,
                size: s.sh_size(e),
                data: s.data(e, bytes)?.to_vec(),
            });
        }
        let symtab = file.elf_symbol_table();
        let named = |index: SymbolIndex| -> Result<Symbol> {
            let s = symtab.symbol(index)?;
            let section = symtab.symbol_section(e, s, index)?;
            let place = section.map(|i| Place { section: i.0, offset: s.st_value(e) });
            let mut name = String::from_utf8_lossy(symtab.symbol_name(e, s)?).into_owned();
            if s.st_type() == elf::STT_SECTION
                && let Some(of) = place.and_then(|p| sections.get(p.section))
            {
                name.clone_from(&of.name);
            }
            Ok(Symbol { name, kind: s.st_type(), bind: s.st_bind(), place })
        };
        let mut relocs = Vec::new();
        for s in table.iter().filter(|s| s.sh_type(e) == elf::SHT_RELA) {
            let section = s.info_link(e).0;
            if !sections.get(section).is_some_and(Section::is_loaded) {
                continue;
            }
            let (relas, _) = s.rela(e, bytes)?.context("relocations without entries")?;
            for rela in relas {
                let kind = rela.r_type(e, false);
                let symbol = named(rela.symbol(e, false).unwrap_or(SymbolIndex(0)))?;
                let place = Place { section, offset: rela.r_offset(e) };
                let target = match symbol.place {
                    Some(p) => Target::Here(Place {
                        offset: p.offset.wrapping_add_signed(rela.r_addend(e) + distance(kind)),
                        ..p
                    }),
                    None if symbol.name.is_empty() => Target::Absolute,
                    None => Target::Import(symbol.name.clone()),
                };
                relocs.push(Reloc { place, kind, symbol: symbol.name, target });
            }
        }
        relocs.sort_by_key(|r| r.place);
        let mut symbols = Vec::new();
        for (index, s) in symtab.enumerate().skip(1) {
            let symbol = named(index)?;
            let is_number = symbol.place.is_none() && !s.is_undefined(e);
            if symbol.kind != elf::STT_SECTION && symbol.kind != elf::STT_FILE && !is_number {
                symbols.push(symbol);
            }
        }
        let regions = regions(&sections, &symbols);
        let kind = (header.e_type(e), header.e_machine(e));
        Ok(View { kind, sections, symbols, relocs, regions })
    }

    /// The region of a place.
    pub fn region(&self, place: Place) -> Option<RegionId> {
        let next = self.regions.partition_point(|r| r.start <= place);
        let at = next.checked_sub(1)?;
        self.regions.get(at).filter(|r| r.start.section == place.section).map(|_| RegionId(at))
    }

    /// A region.
    pub fn get(&self, id: RegionId) -> &Region {
        &self.regions[id.0]
    }

    /// The relocations of a region.
    pub fn relocs_of(&self, region: &Region) -> &[Reloc] {
        let end = Place { offset: region.end, ..region.start };
        let from = self.relocs.partition_point(|r| r.place < region.start);
        let to = self.relocs.partition_point(|r| r.place < end);
        &self.relocs[from..to.max(from)]
    }

    /// The bytes of a region.
    pub fn bytes_of(&self, region: &Region) -> &[u8] {
        let data = &self.sections[region.start.section].data;
        data.get(region.start.offset as usize..region.end as usize).unwrap_or_default()
    }

    /// A place for people.
    pub fn show(&self, place: Place) -> impl fmt::Display {
        let section = self.sections.get(place.section).map_or("?", |s| s.name.as_str());
        match self.region(place).map(|r| self.get(r)) {
            Some(r) if r.name != section => {
                format!(
                    "{section}+{:#x} ({}+{:#x})",
                    place.offset,
                    r.name,
                    place.offset - r.start.offset
                )
            }
            _ => format!("{section}+{:#x}", place.offset),
        }
    }
}

/// From what a PC-relative relocation is about to what the instruction refers to, which counts from
/// its end.
fn distance(kind: elf::RelocationType) -> i64 {
    match kind {
        elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 => 4,
        _ => 0,
    }
}

fn regions(sections: &[Section], symbols: &[Symbol]) -> Vec<Region> {
    let mut starts: Vec<(Place, String)> = symbols
        .iter()
        .filter_map(|s| Some((s.place?, demangle(&s.name))))
        .filter(|(p, _)| {
            sections.get(p.section).is_some_and(|s| s.is_loaded() && p.offset < s.size)
        })
        .collect();
    starts.sort();
    starts.dedup_by_key(|(place, _)| *place);
    // What lies before the first symbol of a section is the section's.
    for (section, s) in sections.iter().enumerate().filter(|(_, s)| s.is_loaded() && s.size != 0) {
        let begin = Place { section, offset: 0 };
        if starts.binary_search_by_key(&begin, |(p, _)| *p).is_err() {
            starts.push((begin, s.name.clone()));
        }
    }
    starts.sort();
    let ends: Vec<u64> = (1..=starts.len())
        .map(|i| match starts.get(i) {
            Some((next, _)) if next.section == starts[i - 1].0.section => next.offset,
            _ => sections[starts[i - 1].0.section].size,
        })
        .collect();
    starts.into_iter().zip(ends).map(|((start, name), end)| Region { name, start, end }).collect()
}
