// SPDX-License-Identifier: CDDL-1.0
//! A module file as krtld reads it: header, sections, symbols, dependencies. Nothing is placed yet.
use crate::refusal::{Refusal, Rule};
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn as _, FileHeader as _, Rela as _, SectionHeader as _, Sym as _};
use object::read::elf::{SectionTable, SymbolTable};
use object::{LittleEndian, SectionIndex, SymbolIndex};

const LE: LittleEndian = LittleEndian;
type Header = FileHeader64<LittleEndian>;

/// What every probe's symbol begins with.
pub(crate) const PROBE: &str = "__dtrace_probe_";
const PAGE: u64 = 4096;
/// No section is larger, in bytes: two of them would not find room.
const LARGEST: u64 = 1 << 30;

/// A section that is loaded.
pub(crate) struct Section<'a> {
    pub(crate) writable: bool,
    pub(crate) executable: bool,
    pub(crate) align: usize,
    pub(crate) size: usize,
    /// Empty for SHT_NOBITS.
    pub(crate) bytes: &'a [u8],
}

/// What a symbol is to the linker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Definition {
    /// Index 0.
    Nothing,
    Undefined,
    Absolute(u64),
    /// In a loaded section, by its index in the file.
    In {
        section: usize,
        offset: u64,
    },
    /// Zeros that the loader allocates.
    Common {
        align: usize,
    },
    /// In a section that is not loaded.
    NotLoaded {
        section: usize,
    },
}

pub(crate) struct Symbol<'a> {
    pub(crate) name: &'a str,
    pub(crate) definition: Definition,
    pub(crate) size: usize,
    pub(crate) global: bool,
    pub(crate) weak: bool,
}

pub(crate) struct Relocation {
    pub(crate) kind: elf::RelocationType,
    pub(crate) section: usize,
    pub(crate) offset: u64,
    pub(crate) symbol: usize,
    pub(crate) addend: i64,
}

pub(crate) struct File<'a> {
    /// Of all sections, by index.
    pub(crate) names: Vec<String>,
    /// By index in the file; `None`: not loaded.
    pub(crate) sections: Vec<Option<Section<'a>>>,
    pub(crate) symbols: Vec<Symbol<'a>>,
    pub(crate) relocations: Vec<Relocation>,
    pub(crate) needs: Vec<String>,
    /// DF_1_IGNMULDEF: do not tell which symbols the kernel defines as well.
    pub(crate) ignore_multiply_defined: bool,
}

impl<'a> File<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<File<'a>, Refusal> {
        let broken = |e: object::Error| Rule::NotElf(e.to_string()).at("file");
        let header = header(bytes)?;
        let sections = header.sections(LE, bytes).map_err(broken)?;
        if header.e_shnum(LE) == 0 {
            return Err(Rule::SectionCount(sections.len()).at("header"));
        }
        let (table, symbols) = symbol_table(bytes, &sections)?;
        let mut file = File {
            names: sections.enumerate().map(|(i, _)| section_name(&sections, i.0)).collect(),
            sections: Vec::with_capacity(sections.len()),
            symbols: Vec::with_capacity(symbols.len()),
            relocations: Vec::new(),
            needs: Vec::new(),
            ignore_multiply_defined: false,
        };
        for (i, s) in sections.enumerate() {
            file.sections.push(section(bytes, s, &file.names[i.0])?);
        }
        file.symbols(&symbols)?;
        for (i, s) in sections.enumerate() {
            file.relocations(bytes, i.0, s, table)?;
        }
        file.dependencies(bytes, &sections)?;
        Ok(file)
    }

    fn symbols(&mut self, table: &SymbolTable<'a, Header>) -> Result<(), Refusal> {
        for (i, s) in table.enumerate() {
            let name = table.symbol_name(LE, s).ok().and_then(|n| std::str::from_utf8(n).ok());
            let Some(name) = name else {
                let e = format!("symbol {} has no readable name", i.0);
                return Err(Rule::NotElf(e).at("symbol table"));
            };
            let place = || format!("symbol {name}");
            if s.st_type() == elf::STT_TLS {
                return Err(Rule::Tls.at(place()));
            }
            let (value, size) = (s.st_value(LE), s.st_size(LE) as usize);
            let definition = match s.st_shndx(LE) {
                elf::SHN_UNDEF if i == SymbolIndex(0) => Definition::Nothing,
                elf::SHN_UNDEF => Definition::Undefined,
                elf::SHN_ABS => Definition::Absolute(value),
                elf::SHN_COMMON if size as u64 > LARGEST => {
                    return Err(Rule::Memory(format!("{size} bytes")).at(place()));
                }
                elf::SHN_COMMON => Definition::Common { align: align(value, place)? },
                index => match self.sections.get(usize::from(index.0)) {
                    Some(Some(section)) if value > section.size as u64 => {
                        return Err(Rule::Outside.at(place()));
                    }
                    Some(Some(_)) => {
                        Definition::In { section: usize::from(index.0), offset: value }
                    }
                    Some(None) => Definition::NotLoaded { section: usize::from(index.0) },
                    None => return Err(Rule::SymbolSection(index.0).at(place())),
                },
            };
            let bind = s.st_bind();
            self.symbols.push(Symbol {
                name,
                definition,
                size,
                global: bind != elf::STB_LOCAL,
                weak: bind == elf::STB_WEAK,
            });
        }
        Ok(())
    }

    fn relocations(
        &mut self,
        bytes: &[u8],
        index: usize,
        header: &<Header as object::read::elf::FileHeader>::SectionHeader,
        symbol_table: SectionIndex,
    ) -> Result<(), Refusal> {
        let name = &self.names[index];
        let place = || format!("section {name}");
        match header.sh_type(LE) {
            elf::SHT_REL => return Err(Rule::Rel.at(place())),
            elf::SHT_RELA => {}
            _ => return Ok(()),
        }
        if header.link(LE) != symbol_table {
            return Err(Rule::RelaSymbols(header.sh_link(LE)).at(place()));
        }
        let section = header.sh_info(LE) as usize;
        let Some(target) = self.sections.get(section).filter(|_| section != 0) else {
            return Err(Rule::RelaTarget(header.sh_info(LE)).at(place()));
        };
        let broken = |e: object::Error| Rule::NotElf(e.to_string()).at(place());
        let all = header.rela(LE, bytes).map_err(broken)?.map(|(all, _)| all).unwrap_or_default();
        // krtld has read them all by now, and passes over those of sections that are not loaded.
        if target.is_none() {
            return Ok(());
        }
        for r in all {
            let relocation = Relocation {
                kind: r.r_type(LE, false),
                section,
                offset: r.r_offset(LE),
                symbol: r.r_sym(LE, false) as usize,
                addend: r.r_addend(LE),
            };
            if relocation.symbol >= self.symbols.len() {
                let e = format!("symbol {} of a relocation is none", relocation.symbol);
                return Err(Rule::NotElf(e).at(place()));
            }
            self.relocations.push(relocation);
        }
        Ok(())
    }

    /// DT_NEEDED of the SHT_DYNAMIC section; without one, the text `_depends_on`.
    fn dependencies(
        &mut self,
        bytes: &'a [u8],
        sections: &SectionTable<'a, Header>,
    ) -> Result<(), Refusal> {
        let mut dynamic = sections.enumerate().filter(|(_, s)| s.sh_type(LE) == elf::SHT_DYNAMIC);
        let Some((index, header)) = dynamic.next() else {
            return self.depends_on();
        };
        if dynamic.next().is_some() {
            return Err(Rule::DynamicSections(2 + dynamic.count()).at("file"));
        }
        let name = &self.names[index.0];
        let place = || format!("section {name}");
        let broken = |e: object::Error| Rule::NotElf(e.to_string()).at(place());
        let strings = sections
            .section(header.link(LE))
            .ok()
            .and_then(|s| s.strings(LE, bytes).ok().flatten())
            .ok_or_else(|| Rule::DynamicStrings(header.sh_link(LE)).at(place()))?;
        let entries: &[elf::Dyn64<LittleEndian>] =
            header.data_as_array(LE, bytes).map_err(broken)?;
        for d in entries.iter().take_while(|d| d.tag(LE) != elf::DT_NULL) {
            if d.tag(LE) == elf::DT_NEEDED {
                let name = d.string(LE, strings).ok().and_then(|n| std::str::from_utf8(n).ok());
                let name = name.filter(|n| !n.is_empty());
                let name = name.ok_or_else(|| Rule::Needed(d.val(LE)).at(place()))?;
                self.needs.push(name.to_string());
            } else if d.tag(LE) == elf::DT_FLAGS_1 {
                self.ignore_multiply_defined = d.val(LE) & elf::DF_1_IGNMULDEF.0 != 0;
            }
        }
        Ok(())
    }

    fn depends_on(&mut self) -> Result<(), Refusal> {
        let Some(symbol) = self.symbols.iter().find(|s| s.name == "_depends_on") else {
            return Ok(());
        };
        let text = match symbol.definition {
            Definition::In { section, offset } => self.sections[section]
                .as_ref()
                .and_then(|s| s.bytes.get(offset as usize..)?.get(..symbol.size)),
            _ => None,
        };
        let text = text.and_then(|t| t.strip_suffix(b"\0")).and_then(|t| str::from_utf8(t).ok());
        let text = text.ok_or_else(|| Rule::DependsOn.at("symbol _depends_on"))?;
        self.needs = text.split_ascii_whitespace().map(str::to_string).collect();
        Ok(())
    }
}

/// What a section is called, or its number.
fn section_name(sections: &SectionTable<'_, Header>, index: usize) -> String {
    let name = sections.section(SectionIndex(index)).and_then(|s| sections.section_name(LE, s));
    match name {
        Ok(name) if !name.is_empty() => String::from_utf8_lossy(name).into_owned(),
        _ => format!("#{index}"),
    }
}

fn header(bytes: &[u8]) -> Result<&Header, Refusal> {
    const CLASS: usize = 4;
    let ident = bytes.get(..16).filter(|b| b.starts_with(&elf::ELFMAG));
    let Some(ident) = ident else {
        return Err(Rule::NotElf("no ELF magic".into()).at("header"));
    };
    if ident[CLASS..CLASS + 2] != [elf::ELFCLASS64.0, elf::ELFDATA2LSB.0] {
        return Err(Rule::ClassOrData.at("header"));
    }
    let header = Header::parse(bytes).map_err(|e| Rule::NotElf(e.to_string()).at("header"))?;
    if header.e_machine(LE) != elf::EM_X86_64 {
        return Err(Rule::Machine(header.e_machine(LE).0).at("header"));
    }
    if header.e_type(LE) != elf::ET_REL {
        return Err(Rule::Type(header.e_type(LE).0).at("header"));
    }
    Ok(header)
}

fn symbol_table<'a>(
    bytes: &'a [u8],
    sections: &SectionTable<'a, Header>,
) -> Result<(SectionIndex, SymbolTable<'a, Header>), Refusal> {
    let tables: Vec<_> =
        sections.enumerate().filter(|(_, s)| s.sh_type(LE) == elf::SHT_SYMTAB).collect();
    let [(index, section)] = tables[..] else {
        return Err(Rule::SymbolTables(tables.len()).at("file"));
    };
    let parsed = SymbolTable::parse(LE, bytes, sections, index, section);
    Ok((index, parsed.map_err(|e| Rule::NotElf(e.to_string()).at("symbol table"))?))
}

fn align(value: u64, place: impl Fn() -> String) -> Result<usize, Refusal> {
    match value.max(1) {
        a if a.is_power_of_two() && a <= PAGE => Ok(a as usize),
        a => Err(Rule::SectionAlignment(a).at(place())),
    }
}

fn section<'a>(
    bytes: &'a [u8],
    header: &<Header as object::read::elf::FileHeader>::SectionHeader,
    name: &str,
) -> Result<Option<Section<'a>>, Refusal> {
    let place = || format!("section {name}");
    let has = |flag: elf::SectionFlags| header.sh_flags(LE).0 & flag.0 != 0;
    if !has(elf::SHF_ALLOC) {
        return Ok(None);
    }
    if has(elf::SHF_TLS) {
        return Err(Rule::Tls.at(place()));
    }
    let kind = header.sh_type(LE);
    if [elf::SHT_INIT_ARRAY, elf::SHT_FINI_ARRAY, elf::SHT_PREINIT_ARRAY].contains(&kind) {
        return Err(Rule::Constructors.at(place()));
    }
    if header.sh_addr(LE) != 0 {
        return Err(Rule::SectionAddress(header.sh_addr(LE)).at(place()));
    }
    let align = align(header.sh_addralign(LE), place)?;
    let data = header.data(LE, bytes).map_err(|e| Rule::NotElf(e.to_string()).at(place()))?;
    // SHT_NOBITS may say anything.
    let size = header.sh_size(LE);
    if size > LARGEST {
        return Err(Rule::Memory(format!("{size} bytes")).at(place()));
    }
    Ok(Some(Section {
        writable: has(elf::SHF_WRITE),
        executable: has(elf::SHF_EXECINSTR),
        align,
        size: size as usize,
        bytes: data,
    }))
}
