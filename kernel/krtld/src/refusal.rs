// SPDX-License-Identifier: CDDL-1.0
//! Why a file is not loaded.
use object::elf;

/// A rule of krtld, broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rule {
    /// Header or tables do not hang together.
    #[error("not a complete ELF file: {0}")]
    NotElf(String),
    /// EI_CLASS and EI_DATA.
    #[error("must be 64-bit and little-endian (ELFCLASS64, ELFDATA2LSB)")]
    ClassOrData,
    /// e_machine.
    #[error("machine {0} is not EM_X86_64")]
    Machine(u16),
    /// e_type.
    #[error("type {0} is not ET_REL")]
    Type(u16),
    /// krtld reads e_shnum, which has 16 bits.
    #[error("has {0} sections, more than e_shnum can tell krtld")]
    SectionCount(usize),
    /// sh_addr of what is loaded.
    #[error("sh_addr is {0:#x}, must be 0")]
    SectionAddress(u64),
    /// sh_addralign of what is loaded.
    #[error("alignment {0} is no power of two up to a page")]
    SectionAlignment(u64),
    /// SHF_TLS.
    #[error("the kernel has no thread-local storage")]
    Tls,
    /// SHT_INIT_ARRAY and its like.
    #[error("holds constructors, which krtld never runs")]
    Constructors,
    /// SHT_SYMTAB.
    #[error("has {0} symbol tables (SHT_SYMTAB), must have one")]
    SymbolTables(usize),
    /// SHT_REL.
    #[error("krtld takes relocations with addends only (SHT_RELA)")]
    Rel,
    /// sh_link of SHT_RELA.
    #[error("sh_link is {0}, which is not the symbol table")]
    RelaSymbols(u32),
    /// sh_info of SHT_RELA.
    #[error("sh_info is {0}, which is no section")]
    RelaTarget(u32),
    /// SHT_DYNAMIC.
    #[error("has {0} SHT_DYNAMIC sections, may have one")]
    DynamicSections(usize),
    /// sh_link of SHT_DYNAMIC.
    #[error("sh_link is {0}, which is no string table")]
    DynamicStrings(u32),
    /// A DT_NEEDED string.
    #[error("DT_NEEDED at {0:#x} is no module's name")]
    Needed(u64),
    /// `_depends_on`.
    #[error("_depends_on is no NUL-terminated text of its size")]
    DependsOn,
    /// st_shndx.
    #[error("section index {0:#x} of the symbol is none krtld knows")]
    SymbolSection(u16),
    /// An offset outside of a section.
    #[error("lies outside of its section")]
    Outside,
    /// Of a kind krtld has no table for.
    #[error("{0} needs a global offset table, and krtld has none")]
    Got(String),
    /// Any other kind.
    #[error("{0} is not one of R_X86_64_{{64, PC32, PLT32, 32, 32S, PC64}}")]
    RelocationType(String),
    /// krtld adds.
    #[error("the place holds {0:#x}: krtld adds the value to it, so it must hold 0")]
    PlaceNotZero(u64),
    /// Overflow.
    #[error("value {value:#x} does not fit {kind}")]
    DoesNotFit {
        /// What was to be put there.
        value: i64,
        /// The kind of relocation.
        kind: String,
    },
    /// An R_X86_64_32 of an address.
    #[error("R_X86_64_32 of an address: the kernel's do not fit 32 bits without sign")]
    Unsigned,
    /// Data of the kernel, from code, in a position-independent program.
    #[error("the kernel's data lies at {0:#x}, out of reach: link the program with -no-pie")]
    FarData(u64),
    /// A symbol of a section that is not loaded.
    #[error("refers to a symbol of a section that is not loaded")]
    NotLoaded,
    /// Nobody has it.
    #[error("undefined, and no module has it")]
    Undefined,
    /// Somebody has it.
    #[error("undefined: it is in {0}, which is not among the dependencies ({1})")]
    NotDependedOn(String, String),
    /// A jump to a probe.
    #[error("the probe is called at the end of a function by a jump (tail call)")]
    ProbeTailCall,
    /// Anything else with a probe.
    #[error("a probe can only be called (R_X86_64_PLT32 or PC32 in text, addend -4)")]
    ProbeUse,
    /// `_init`, `_fini`, `_info`.
    #[error("has no function of that name in its text")]
    Entry,
    /// mmap, mprotect.
    #[error("no memory below 2 GiB: {0}")]
    Memory(String),
}

/// Why a file is not loaded: the rule, and where it is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {rule}")]
pub struct Refusal {
    /// `.text+0x12 (mac_rx)`, `section .data`, `symbol _init`, `file`.
    pub place: String,
    /// The rule.
    pub rule: Rule,
}

impl Rule {
    /// Broken at `place`.
    pub(crate) fn at(self, place: impl Into<String>) -> Refusal {
        Refusal { place: place.into(), rule: self }
    }
}

/// `R_X86_64_64`.
pub(crate) fn kind_name(kind: elf::RelocationType) -> String {
    match elf::NAMES_R_X86_64.name(kind) {
        Some(name) => name.to_string(),
        None => format!("relocation type {kind}"),
    }
}

/// The refusal of a kind of relocation that is not taken.
pub(crate) fn relocation_type(kind: elf::RelocationType) -> Rule {
    let name = kind_name(kind);
    let got = matches!(
        kind,
        elf::R_X86_64_GOT32
            | elf::R_X86_64_GOTPCREL
            | elf::R_X86_64_GOTOFF64
            | elf::R_X86_64_GOTPC32
            | elf::R_X86_64_GOT64
            | elf::R_X86_64_GOTPCREL64
            | elf::R_X86_64_GOTPC64
            | elf::R_X86_64_GOTPLT64
            | elf::R_X86_64_GOTPCRELX
            | elf::R_X86_64_REX_GOTPCRELX
    );
    if got { Rule::Got(name) } else { Rule::RelocationType(name) }
}
