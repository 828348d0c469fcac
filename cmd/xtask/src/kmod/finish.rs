// SPDX-License-Identifier: CDDL-1.0
//! From what `ld -r` made to what krtld wants.
//!
//! * Only what others use stays global: all names of all modules share one space, and a name that
//!   is there twice is complained about.
//! * The modules that provide what is imported are named in a section of type `SHT_DYNAMIC`, as
//!   illumos' own linker does for `-N`. krtld finds it by its type and reads it from the file.
//! * The file to install has no debugging information: krtld would read its relocations into
//!   memory.

use super::lists::{KernelSymbols, is_dependency};
use anyhow::Result;
use object::build::elf::{Builder, SectionData};
use object::elf;
use std::collections::BTreeSet;

/// What is to become of the symbols and sections of a module.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Symbols that stay global.
    pub exports: &'a [&'a str],
    /// Modules it depends on though it imports nothing from them.
    pub needs: &'a [&'a str],
    /// Who provides what.
    pub kernel: &'a KernelSymbols,
    /// Whether to keep debugging information.
    pub debug: bool,
}

/// The finished module.
///
/// # Errors
/// `input` is not a 64-bit ELF file.
pub fn finish(input: &[u8], plan: &Plan) -> Result<Vec<u8>> {
    let mut elf = Builder::read(input)?;
    elf.header.os_abi = elf::ELFOSABI_NONE;
    if !plan.debug {
        // Relocations of a section go with it; symbols of sections that are gone go by themselves.
        for section in elf.sections.iter_mut() {
            section.delete =
                section.name.starts_with(b".debug") || section.name.starts_with(b".rela.debug");
        }
    }
    let mut needs: BTreeSet<&str> = plan.needs.iter().copied().collect();
    for symbol in elf.symbols.iter_mut() {
        let name = String::from_utf8_lossy(&symbol.name);
        if symbol.section.is_none() && symbol.st_shndx == elf::SHN_UNDEF {
            needs.extend(plan.kernel.provider(&name).filter(|m| is_dependency(m)));
            continue;
        }
        if !plan.exports.contains(&name.as_ref()) {
            symbol.set_st_info(elf::STB_LOCAL, symbol.st_type());
        }
        // Hidden means nothing to krtld.
        symbol.st_other = elf::SymbolOther(0);
    }
    if !needs.is_empty() {
        add_dependencies(&mut elf, &needs);
    }
    let mut out = Vec::new();
    elf.write(&mut out)?;
    Ok(out)
}

fn add_dependencies(elf: &mut Builder, needs: &BTreeSet<&str>) {
    let (mut names, mut entries) = (vec![0], Vec::new());
    let mut entry = |tag: elf::DynamicTag, value: usize| {
        entries.extend((tag.0 as u64).to_le_bytes());
        entries.extend((value as u64).to_le_bytes());
    };
    for module in needs {
        entry(elf::DT_NEEDED, names.len());
        names.extend(module.as_bytes());
        names.push(0);
    }
    entry(elf::DT_NULL, 0);
    let strings = elf.sections.add();
    strings.name = b".dynstr".as_slice().into();
    strings.sh_type = elf::SHT_STRTAB;
    strings.sh_addralign = 1;
    strings.data = SectionData::Data(names.into());
    let link = strings.id();
    let dynamic = elf.sections.add();
    dynamic.name = b".dynamic".as_slice().into();
    dynamic.sh_type = elf::SHT_DYNAMIC;
    dynamic.sh_addralign = 8;
    dynamic.sh_entsize = 16;
    dynamic.sh_link_section = Some(link);
    dynamic.data = SectionData::Data(entries.into());
}
