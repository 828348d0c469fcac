// SPDX-License-Identifier: CDDL-1.0
//! A file as the run-time linker sees it: segments and the dynamic section. Section headers do not
//! count.

use anyhow::{Context, Result, bail};
use object::LittleEndian;
use object::elf::*;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use std::collections::BTreeMap;

type Le = LittleEndian;
const LE: Le = LittleEndian;

/// A symbol of the dynamic symbol table.
#[derive(Clone, Copy, Debug)]
pub struct Symbol<'a> {
    pub name: &'a str,
    pub value: u64,
    pub defined: bool,
    pub weak: bool,
    pub local: bool,
    pub tls: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Reloc<'a> {
    pub place: u64,
    pub kind: RelocationType,
    pub addend: i64,
    /// `None` if it refers to none.
    pub symbol: Option<Symbol<'a>>,
}

#[derive(Debug)]
pub struct Image<'a> {
    pub header: &'a FileHeader64<Le>,
    pub segments: &'a [ProgramHeader64<Le>],
    bytes: &'a [u8],
    /// Values of the dynamic section by tag. Of a tag that occurs more than once, all.
    dynamic: BTreeMap<DynamicTag, Vec<u64>>,
}

impl<'a> Image<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Image<'a>> {
        let header = FileHeader64::<Le>::parse(bytes).context("not an ELF file of 64 bits")?;
        if !header.is_little_endian() {
            bail!("not a little-endian file");
        }
        let segments = header.program_headers(LE, bytes).context("program headers")?;
        let mut dynamic: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for segment in segments {
            for entry in segment.dynamic(LE, bytes).context("dynamic section")?.unwrap_or(&[]) {
                if entry.tag(LE) == DT_NULL {
                    break;
                }
                dynamic.entry(entry.tag(LE)).or_default().push(entry.val(LE));
            }
        }
        Ok(Image { header, segments, bytes, dynamic })
    }

    pub fn segments_of(&self, kind: ProgramType) -> impl Iterator<Item = &'a ProgramHeader64<Le>> {
        self.segments.iter().filter(move |s| s.p_type(LE) == kind)
    }

    /// The value of a tag, if it is there.
    pub fn tag(&self, tag: DynamicTag) -> Option<u64> {
        self.dynamic.get(&tag).and_then(|v| v.first()).copied()
    }

    /// The strings that a tag's values are offsets of.
    pub fn strings(&self, tag: DynamicTag) -> Result<Vec<&'a str>> {
        let values = self.dynamic.get(&tag);
        values.into_iter().flatten().map(|at| self.string(*at)).collect()
    }

    fn string(&self, offset: u64) -> Result<&'a str> {
        let table = self.tag(DT_STRTAB).context("no DT_STRTAB")?;
        self.text(table + offset)
    }

    /// The C string at an address.
    fn text(&self, address: u64) -> Result<&'a str> {
        let bytes = self.at(address).with_context(|| format!("{address:#x} is in no segment"))?;
        let end = bytes.iter().position(|b| *b == 0).context("a string without end")?;
        Ok(std::str::from_utf8(&bytes[..end])?)
    }

    /// What PT_INTERP names.
    pub fn interpreter(&self) -> Result<Option<&'a str>> {
        let Some(segment) = self.segments_of(PT_INTERP).next() else { return Ok(None) };
        self.text(segment.p_vaddr(LE)).map(Some)
    }

    /// The file's bytes from an address to the end of its segment's.
    fn at(&self, address: u64) -> Option<&'a [u8]> {
        self.segments_of(PT_LOAD).find_map(|s| {
            let inside = address.checked_sub(s.p_vaddr(LE))?;
            if inside >= s.p_filesz(LE) {
                return None;
            }
            let (from, to) = (s.p_offset(LE) + inside, s.p_offset(LE) + s.p_filesz(LE));
            self.bytes.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
        })
    }

    /// Eight bytes at an address; past the file's bytes a segment is zero.
    pub fn word(&self, address: u64) -> Option<u64> {
        if let Some(bytes) = self.at(address) {
            return bytes.first_chunk().map(|b| u64::from_le_bytes(*b));
        }
        self.segments_of(PT_LOAD)
            .any(|s| {
                let end = s.p_vaddr(LE) + s.p_memsz(LE);
                (s.p_vaddr(LE)..end).contains(&address)
            })
            .then_some(0)
    }

    /// Whether an address lies in a segment with this permission, `PF_X` and so on.
    pub fn allows(&self, address: u64, permission: ProgramFlags) -> bool {
        self.segments_of(PT_LOAD).any(|s| {
            let end = s.p_vaddr(LE) + s.p_memsz(LE);
            s.p_flags(LE).contains(permission) && (s.p_vaddr(LE)..end).contains(&address)
        })
    }

    /// Whether a writable segment of the file holds these bytes.
    pub fn has_in_data(&self, bytes: &[u8]) -> bool {
        let data = self.segments_of(PT_LOAD).filter(|s| s.p_flags(LE).contains(PF_W));
        let mut data = data.filter_map(|s| s.data(LE, self.bytes).ok());
        data.any(|d| d.windows(bytes.len()).any(|w| w == bytes))
    }

    /// The dynamic symbol table, whose length only DT_HASH tells.
    pub fn symbols(&self) -> Result<Vec<Symbol<'a>>> {
        let hash = self.tag(DT_HASH).context("without DT_HASH the symbols cannot be counted")?;
        let counts = self.word(hash).context("DT_HASH is in no segment")?;
        // The first symbol is none.
        (1..counts >> 32).map(|n| self.symbol(n)).collect()
    }

    fn symbol(&self, index: u64) -> Result<Symbol<'a>> {
        let table = self.tag(DT_SYMTAB).context("no DT_SYMTAB")?;
        let word = |at: u64| {
            self.word(table + index * 24 + at).with_context(|| format!("symbol {index} is nowhere"))
        };
        let head = word(0)?;
        let info = (head >> 32) as u8;
        Ok(Symbol {
            name: self.string(head & 0xffff_ffff)?,
            value: word(8)?,
            defined: (head >> 48) as u16 != SHN_UNDEF.0,
            weak: info >> 4 == STB_WEAK.0,
            local: info >> 4 == STB_LOCAL.0,
            tls: info & 0xf == STT_TLS.0,
        })
    }

    /// All relocations, of data and of the procedure linkage table.
    pub fn relocations(&self) -> Result<Vec<Reloc<'a>>> {
        let mut all = Vec::new();
        for (start, size) in [(DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)] {
            let (Some(start), Some(size)) = (self.tag(start), self.tag(size)) else { continue };
            for at in (start..start + size).step_by(24) {
                let word =
                    |n| self.word(at + n).with_context(|| format!("no relocation at {at:#x}"));
                let info = word(8)?;
                let symbol = match info >> 32 {
                    0 => None,
                    n => Some(self.symbol(n)?),
                };
                let kind = RelocationType(info as u32);
                all.push(Reloc { place: word(0)?, kind, addend: word(16)? as i64, symbol });
            }
        }
        Ok(all)
    }
}
