// SPDX-License-Identifier: CDDL-1.0
//! Placing, binding and relocating a module.
//!
//! ```text
//!   base ─► sections that are not writable │ jumps │ page ─► writable sections │ common symbols
//!           └──────────── R+X ─────────────────────┘         └──────────── R+W ───────────────┘
//! ```
use crate::file::{Definition, File, PROBE, Relocation, Section, Symbol};
use crate::map::{HIGH, Map};
use crate::refusal::{Refusal, Rule, kind_name, relocation_type};
use crate::sdt::{CALL, NOP};
use crate::unwind::FRAME;
use object::elf;
use std::collections::BTreeMap;

/// Modules anybody may import from.
const PRIMARY: [&str; 2] = ["unix", "genunix"];
/// Defined by many without harm: every module's own, and what compilers call.
const OFTEN_DEFINED: [&str; 9] =
    ["_init", "_fini", "_info", "_depends_on", "memcmp", "memcpy", "memmove", "memset", "memchr"];

/// `jmp *0(%rip)`, with the address after it.
const JUMP: [u8; 6] = [0xff, 0x25, 0, 0, 0, 0];
const JUMP_SIZE: usize = 16;
/// The first byte of `call` and of `jmp`, with 32 bits of distance.
const CALL_OPCODE: u8 = 0xe8;
const JMP_OPCODE: u8 = 0xe9;

/// A symbol of another module.
#[derive(Clone, Copy)]
pub(crate) struct Import {
    pub(crate) addr: usize,
    pub(crate) function: bool,
}

/// Where imports are found.
pub(crate) trait Exports {
    /// What `module` (`misc/mac`) exports under this name.
    fn find(&self, module: &str, symbol: &str) -> Option<Import>;
    /// Who exports that name at all.
    fn provider(&self, symbol: &str) -> Option<String>;
}

/// A symbol of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Defined {
    pub(crate) addr: usize,
    pub(crate) size: usize,
    pub(crate) global: bool,
    /// Lies in an executable section.
    pub(crate) function: bool,
}

/// A module in memory, not sealed yet.
pub(crate) struct Linked {
    pub(crate) map: Map,
    /// Local ones too; of several with one name the global one, else the first.
    pub(crate) symbols: BTreeMap<String, Defined>,
    /// Probes by symbol, where their no-ops are.
    pub(crate) probes: Vec<(String, usize)>,
    /// Globals that the kernel has too.
    pub(crate) multiply_defined: Vec<String>,
    /// Whether every function that calls sets up a frame.
    pub(crate) framed: bool,
}

/// Links a file.
pub(crate) fn link(file: &File<'_>, exports: &dyn Exports) -> Result<Linked, Refusal> {
    let imports = bind(file, exports)?;
    let mut image = Image::place(file, &imports)?;
    image.fill();
    let symbols = image.symbols();
    for entry in ["_init", "_fini", "_info"] {
        if !symbols.get(entry).is_some_and(|s| s.function) {
            return Err(Rule::Entry.at(format!("symbol {entry}")));
        }
    }
    let mut probes = Vec::new();
    for r in &file.relocations {
        if let Some(at) = image.relocate(r).map_err(|rule| rule.at(place(file, r)))? {
            probes.push((file.symbols[r.symbol].name.to_string(), at));
        }
    }
    let also = |s: &&Symbol<'_>| {
        let defined = !matches!(s.definition, Definition::Undefined | Definition::Nothing);
        s.global && !s.weak && defined && !OFTEN_DEFINED.contains(&s.name)
    };
    let multiply_defined = match file.ignore_multiply_defined {
        true => Vec::new(),
        false => file
            .symbols
            .iter()
            .filter(also)
            .filter(|s| exports.provider(s.name).is_some())
            .map(|s| s.name.to_string())
            .collect(),
    };
    let framed = framed(file);
    Ok(Linked { map: image.map, symbols, probes, multiply_defined, framed })
}

/// Whether every function with a call in it sets up a frame.
fn framed(file: &File<'_>) -> bool {
    let code = |section: usize| file.sections[section].as_ref().filter(|s| s.executable);
    // Calls of other modules are those that matter: there the kernel looks at the stack.
    let mut calls: Vec<_> = file
        .relocations
        .iter()
        .filter(|r| {
            let before = (r.offset as usize).checked_sub(1);
            code(r.section).and_then(|s| s.bytes.get(before?)) == Some(&CALL_OPCODE)
        })
        .map(|r| (r.section, r.offset))
        .collect();
    calls.sort_unstable();
    file.symbols.iter().filter(|s| s.size > 0).all(|s| {
        let Definition::In { section, offset } = s.definition else { return true };
        let Some(body) = code(section).and_then(|c| c.bytes.get(offset as usize..)) else {
            return true;
        };
        let body = &body[..s.size.min(body.len())];
        let first = calls.partition_point(|c| *c < (section, offset));
        let called =
            calls.get(first).is_some_and(|c| *c < (section, offset.saturating_add(s.size as u64)));
        !called || body.windows(FRAME.len()).any(|w| w == FRAME)
    })
}

/// `.text+0x12 (mac_rx)`.
fn place(file: &File<'_>, r: &Relocation) -> String {
    let symbol = &file.symbols[r.symbol];
    let name = match symbol.definition {
        // A section's own symbol has no name.
        Definition::In { section, .. } | Definition::NotLoaded { section }
            if symbol.name.is_empty() =>
        {
            &file.names[section]
        }
        _ => symbol.name,
    };
    format!("{}+{:#x} ({name})", file.names[r.section], r.offset)
}

/// Finds every undefined symbol: krtld wants them all, also those that no relocation uses.
fn bind(file: &File<'_>, exports: &dyn Exports) -> Result<Vec<Option<Import>>, Refusal> {
    let modules = || file.needs.iter().map(String::as_str).chain(PRIMARY);
    let mut imports = Vec::with_capacity(file.symbols.len());
    for s in &file.symbols {
        if s.definition != Definition::Undefined || s.name.starts_with(PROBE) {
            imports.push(None);
            continue;
        }
        let found = modules().find_map(|m| exports.find(m, s.name));
        if found.is_none() && !s.weak {
            let rule = match exports.provider(s.name) {
                Some(m) => Rule::NotDependedOn(m, file.needs.join(" ")),
                None => Rule::Undefined,
            };
            return Err(rule.at(format!("symbol {}", s.name)));
        }
        imports.push(found);
    }
    Ok(imports)
}

/// What a relocation's symbol stands for.
enum Value {
    Addr(usize),
    /// No address: fits wherever it fits.
    Number(u64),
    Probe,
}

struct Image<'f, 'a> {
    file: &'f File<'a>,
    map: Map,
    /// By section index.
    sections: Vec<usize>,
    /// By symbol index; 0 where the symbol is not COMMON.
    commons: Vec<usize>,
    /// By symbol index.
    imports: &'f [Option<Import>],
    /// By symbol index; 0 where no jump is needed.
    jumps: Vec<usize>,
}

impl<'f, 'a> Image<'f, 'a> {
    fn place(file: &'f File<'a>, imports: &'f [Option<Import>]) -> Result<Self, Refusal> {
        let (mut text, mut data) = (0, 0);
        let offsets: Vec<_> = file
            .sections
            .iter()
            .map(|s| {
                let s = s.as_ref()?;
                let end = if s.writable { &mut data } else { &mut text };
                Some((s.writable, append(end, s.size, s.align)))
            })
            .collect();
        let far = |i: &Option<Import>| i.filter(|i| i.function && i.addr >= HIGH);
        let mut jumps: Vec<_> = imports
            .iter()
            .map(|i| far(i).map_or(usize::MAX, |_| append(&mut text, JUMP_SIZE, JUMP_SIZE)))
            .collect();
        let common = |s: &Symbol<'_>| match s.definition {
            Definition::Common { align } => append(&mut data, s.size, align),
            _ => usize::MAX,
        };
        let mut commons: Vec<_> = file.symbols.iter().map(common).collect();

        let map = Map::new(text, data)?;
        let rebase = |all: &mut [usize], base: usize| {
            for a in all {
                *a = if *a == usize::MAX { 0 } else { *a + base };
            }
        };
        rebase(&mut jumps, map.base());
        rebase(&mut commons, map.data());
        let of = |o: &Option<(bool, usize)>| match o {
            Some((true, at)) => map.data() + at,
            Some((false, at)) => map.base() + at,
            None => 0,
        };
        let sections = offsets.iter().map(of).collect();
        Ok(Image { file, map, sections, commons, imports, jumps })
    }

    /// The bytes of the module at an address, to the end.
    fn at(&mut self, addr: usize) -> &mut [u8] {
        let offset = addr - self.map.base();
        &mut self.map.bytes()[offset..]
    }

    fn fill(&mut self) {
        for (i, s) in self.file.sections.iter().enumerate() {
            if let Some(s) = s {
                self.at(self.sections[i])[..s.bytes.len()].copy_from_slice(s.bytes);
            }
        }
        for (i, import) in self.imports.iter().enumerate() {
            if let (Some(import), at @ 1..) = (import, self.jumps[i]) {
                let jump = self.at(at);
                jump[..6].copy_from_slice(&JUMP);
                jump[6..14].copy_from_slice(&import.addr.to_le_bytes());
            }
        }
    }

    fn symbols(&self) -> BTreeMap<String, Defined> {
        let mut all: BTreeMap<String, Defined> = BTreeMap::new();
        for (i, s) in self.file.symbols.iter().enumerate().filter(|(_, s)| !s.name.is_empty()) {
            let addr = match s.definition {
                Definition::In { section, offset } => self.sections[section] + offset as usize,
                Definition::Common { .. } => self.commons[i],
                _ => continue,
            };
            let function = self.section(s).is_some_and(|s| s.executable);
            let symbol = Defined { addr, size: s.size, global: s.global, function };
            let known = all.entry(s.name.to_string()).or_insert(symbol);
            if symbol.global && !known.global {
                *known = symbol;
            }
        }
        all
    }

    fn section(&self, s: &Symbol<'_>) -> Option<&'f Section<'a>> {
        match s.definition {
            Definition::In { section, .. } => self.file.sections[section].as_ref(),
            _ => None,
        }
    }

    fn value(&self, index: usize) -> Result<Value, Rule> {
        let s = &self.file.symbols[index];
        Ok(match s.definition {
            Definition::Nothing => Value::Number(0),
            Definition::Absolute(n) => Value::Number(n),
            Definition::In { section, offset } => {
                Value::Addr(self.sections[section] + offset as usize)
            }
            Definition::Common { .. } => Value::Addr(self.commons[index]),
            Definition::NotLoaded { .. } => return Err(Rule::NotLoaded),
            Definition::Undefined if s.name.starts_with(PROBE) => Value::Probe,
            Definition::Undefined => match self.imports[index] {
                Some(i) => Value::Addr(i.addr),
                // Weak, and nobody has it.
                None => Value::Number(0),
            },
        })
    }

    /// An address that 32 bits can reach: of a far function, its jump.
    fn near(&self, index: usize, addr: usize) -> Result<usize, Rule> {
        match (self.jumps[index], self.imports[index]) {
            (0, Some(i)) if i.addr >= HIGH => Err(Rule::FarData(i.addr as u64)),
            (0, _) => Ok(addr),
            (jump, _) => Ok(jump),
        }
    }

    /// Applies a relocation; the address of the no-ops if it is a probe.
    fn relocate(&mut self, r: &Relocation) -> Result<Option<usize>, Rule> {
        let Some(section) = self.file.sections[r.section].as_ref() else { return Ok(None) };
        let size = match r.kind {
            elf::R_X86_64_NONE => return Ok(None),
            elf::R_X86_64_64 | elf::R_X86_64_PC64 => 8,
            elf::R_X86_64_32 | elf::R_X86_64_32S | elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 => 4,
            other => return Err(relocation_type(other)),
        };
        let offset = usize::try_from(r.offset).map_err(|_| Rule::Outside)?;
        // Nothing can be added to what is not in the file.
        let held = offset.checked_add(size).and_then(|end| section.bytes.get(offset..end));
        let held = held.ok_or(Rule::Outside)?;
        let held = held.iter().rfold(0, |n, b| n << 8 | u64::from(*b));
        if held != 0 {
            return Err(Rule::PlaceNotZero(held));
        }
        let at = self.sections[r.section] + offset;
        let target = match self.value(r.symbol)? {
            Value::Probe => return self.probe(r, section, offset).map(Some),
            Value::Number(n) => n,
            Value::Addr(_) if r.kind == elf::R_X86_64_32 => return Err(Rule::Unsigned),
            Value::Addr(a) if size == 8 => a as u64,
            Value::Addr(a) => self.near(r.symbol, a)? as u64,
        };
        let mut value = (target as i64).wrapping_add(r.addend);
        if matches!(r.kind, elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 | elf::R_X86_64_PC64) {
            value = value.wrapping_sub(at as i64);
        }
        let fits = match r.kind {
            elf::R_X86_64_32 => u32::try_from(value).is_ok(),
            _ => size == 8 || i32::try_from(value).is_ok(),
        };
        if !fits {
            return Err(Rule::DoesNotFit { value, kind: kind_name(r.kind) });
        }
        self.at(at)[..size].copy_from_slice(&value.to_le_bytes()[..size]);
        Ok(None)
    }

    /// Makes no-ops of a call to a probe.
    fn probe(&mut self, r: &Relocation, section: &Section<'_>, at: usize) -> Result<usize, Rule> {
        let call = matches!(r.kind, elf::R_X86_64_PLT32 | elf::R_X86_64_PC32) && r.addend == -4;
        if !call || !section.executable {
            return Err(Rule::ProbeUse);
        }
        let opcode = at.checked_sub(1).and_then(|before| section.bytes.get(before));
        match opcode {
            Some(&CALL_OPCODE) => {}
            Some(&JMP_OPCODE) => return Err(Rule::ProbeTailCall),
            _ => return Err(Rule::ProbeUse),
        }
        let site = self.sections[r.section] + at - 1;
        self.at(site)[..CALL].fill(NOP);
        Ok(site)
    }
}

/// Takes room at the end of something; where it begins.
fn append(end: &mut usize, size: usize, align: usize) -> usize {
    let at = end.next_multiple_of(align);
    *end = at + size;
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: usize = 0x7f00_0000_1000;

    /// A kernel of which all lies where a position-independent program would have it.
    struct Far;

    impl Exports for Far {
        fn find(&self, _module: &str, symbol: &str) -> Option<Import> {
            Some(Import { addr: FAR, function: symbol != "kcred" })
        }
        fn provider(&self, _symbol: &str) -> Option<String> {
            None
        }
    }

    /// A module whose text is `call`, or `mov`, of one undefined symbol, and which has its address
    /// in its data.
    fn module(symbol: &'static str) -> File<'static> {
        let text = Section {
            writable: false,
            executable: true,
            align: 16,
            size: 8,
            bytes: &[CALL_OPCODE, 0, 0, 0, 0, 0xc3, 0, 0],
        };
        let data = Section { writable: true, executable: false, align: 8, size: 8, bytes: &[0; 8] };
        let defined = |name| Symbol {
            name,
            definition: Definition::In { section: 1, offset: 0 },
            size: 6,
            global: true,
            weak: false,
        };
        let undefined = Symbol { definition: Definition::Undefined, size: 0, ..defined(symbol) };
        let relocation =
            |kind, section, offset, addend| Relocation { kind, section, offset, symbol: 3, addend };
        File {
            names: ["", ".text", ".data"].map(str::to_string).into(),
            sections: vec![None, Some(text), Some(data)],
            symbols: vec![defined("_init"), defined("_fini"), defined("_info"), undefined],
            relocations: vec![
                relocation(elf::R_X86_64_64, 2, 0, 0),
                relocation(elf::R_X86_64_PLT32, 1, 1, -4),
            ],
            needs: Vec::new(),
            ignore_multiply_defined: true,
        }
    }

    #[test]
    fn a_far_function_is_called_by_a_jump_and_known_by_its_address() {
        let mut linked = link(&module("memcpy"), &Far).unwrap_or_else(|e| panic!("{e}"));
        let (base, data) = (linked.map.base(), linked.map.data() - linked.map.base());
        assert!(base < HIGH);
        let bytes = linked.map.bytes();
        assert_eq!(bytes[data..data + 8], FAR.to_le_bytes());
        let distance = i32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        let jump = CALL + distance as usize;
        assert_eq!(bytes[jump..jump + 6], JUMP);
        assert_eq!(bytes[jump + 6..jump + 14], FAR.to_le_bytes());
    }

    #[test]
    fn far_data_is_refused_and_not_copied() {
        let refusal = link(&module("kcred"), &Far).err().unwrap();
        assert_eq!(refusal.rule, Rule::FarData(FAR as u64));
        assert_eq!(refusal.place, ".text+0x1 (kcred)");
    }
}
