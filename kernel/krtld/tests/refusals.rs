// SPDX-License-Identifier: CDDL-1.0
//! A module with one wrong thing for each rule: it is refused, and told is which rule was broken
//! and where.
mod cc;

use fakekernel::host::{self, Kernel, ModuleFile as _};
use krtld::Module;
use overlay_abi::errno::Errno;
use std::path::{Path, PathBuf};

/// A module that does nothing and breaks no rule.
const GOOD: &str = "
    int zero(void *p) { return 0; }
    int _init(void) { return 0; }
    int _fini(void) { return 0; }
    int _info(void *p) { return zero(p); }
    int number = 1; int *pointer = &number;
    extern void kmem_free(void *, unsigned long);
    void give(void *p) { kmem_free(p, 1); __asm__ volatile (\"\"); }
";

struct Rig {
    kernel: Kernel,
    dir: tempfile::TempDir,
}

impl Rig {
    fn boot() -> Rig {
        // Refusals are logged as well; here they would only be noise.
        fakekernel::log::set_sink(Some(std::sync::Arc::new(|_, _| {})));
        Rig { kernel: host::boot(host::Config::default()), dir: tempfile::tempdir().unwrap() }
    }

    fn compile(&self, source: &str) -> Option<PathBuf> {
        cc::module(self.dir.path(), "m", source, &["-w"])
    }

    /// What becomes of loading the file: the text of its refusal.
    fn load(&self, file: &Path) -> Option<String> {
        let module = Module::new("misc/m", file);
        self.kernel.register_module_file(module.clone()).unwrap();
        match self.kernel.modload("misc/m") {
            Ok(_) => {
                self.kernel.modunload("misc/m").unwrap();
                None
            }
            Err(e) => {
                let refusal = module.refusal().unwrap_or_else(|| panic!("{e} without a refusal"));
                assert_eq!(e, Errno::ENOEXEC, "{refusal}");
                Some(refusal.to_string())
            }
        }
    }

    fn refused(&self, file: &Path, text: &str) {
        let refusal = self.load(file);
        assert_eq!(refusal.as_deref(), Some(text));
    }
}

/// Assembler at the end of the module: four zero bytes in text, `bad`, with a relocation.
fn reloc(kind: &str, symbol: &str) -> String {
    format!(
        "{GOOD} __asm__(\".pushsection .text.z,\\\"ax\\\"; bad: .long 0; \
         .reloc bad, R_X86_64_{kind}, {symbol}; .popsection\");"
    )
}

#[test]
fn sources_that_break_a_rule() {
    let rig = Rig::boot();
    let got = |kind: &str| {
        let text = format!("R_X86_64_{kind} needs a global offset table, and krtld has none");
        (reloc(kind, "kmem_free"), format!(".text.z+0x0 (kmem_free): {text}"))
    };
    let other = |kind: &str| {
        let text = "is not one of R_X86_64_{64, PC32, PLT32, 32, 32S, PC64}";
        (reloc(kind, "kmem_free"), format!(".text.z+0x0 (kmem_free): R_X86_64_{kind} {text}"))
    };
    let with = |more: &str, text: &str| (format!("{GOOD} {more}"), text.to_string());
    let tls = "the kernel has no thread-local storage";
    let probe = "extern void __dtrace_probe_x(void);";
    let cases = [
        got("GOTPCREL"),
        got("GOTPCRELX"),
        got("REX_GOTPCRELX"),
        other("16"),
        other("PC8"),
        with(
            "extern __thread int alien; int f(void) { return alien; }",
            &format!("symbol alien: {tls}"),
        ),
        with("__thread int mine[2] = { 1 };", &format!("section .tdata: {tls}")),
        with(
            "__asm__(\".pushsection .data; bad: .quad 7; .reloc bad, R_X86_64_64, number; \
             .popsection\");",
            ".data+0x0 (number): the place holds 0x7: krtld adds the value to it, so it must \
             hold 0",
        ),
        (
            reloc("32", "number"),
            ".text.z+0x0 (number): R_X86_64_32 of an address: the kernel's do not fit 32 bits \
             without sign"
                .to_string(),
        ),
        with(
            "__asm__(\".pushsection .data; .quad hidden; .section .nowhere,\\\"\\\"; \
             hidden: .quad 0; .popsection\");",
            ".data+0x0 (.nowhere): refers to a symbol of a section that is not loaded",
        ),
        with(
            "extern void nobody(void); void f(void) { nobody(); }",
            "symbol nobody: undefined, and no module has it",
        ),
        with(
            "const char _depends_on[] = \"misc/ksocket drv/ip\";
             extern void mac_rx(void); void f(void) { mac_rx(); }",
            "symbol mac_rx: undefined: it is in misc/mac, which is not among the dependencies \
             (misc/ksocket drv/ip)",
        ),
        with(
            "const char _depends_on[3] = \"abc\";",
            "symbol _depends_on: _depends_on is no NUL-terminated text of its size",
        ),
        with(
            "__attribute__((constructor)) static void f(void) { number = 2; }",
            "section .init_array: holds constructors, which krtld never runs",
        ),
        with(
            "__attribute__((aligned(65536))) int x = 1;",
            "section .data: alignment 65536 is no power of two up to a page",
        ),
        with("char big[3ul << 30];", "section .bss: no memory below 2 GiB: 3221225472 bytes"),
        with(
            &format!(
                "{probe} __attribute__((section(\".text.z\"))) void f(void) {{ __dtrace_probe_x(); }}"
            ),
            ".text.z+0x1 (__dtrace_probe_x): the probe is called at the end of a function by a \
             jump (tail call)",
        ),
        with(
            &format!("{probe} void *f = (void *)__dtrace_probe_x;"),
            ".data+0x0 (__dtrace_probe_x): a probe can only be called (R_X86_64_PLT32 or PC32 \
             in text, addend -4)",
        ),
        with(
            "__asm__(\".pushsection one,\\\"\\\",@6; .quad 0; .section two,\\\"\\\",@6; .quad 0; \
             .popsection\");",
            "file: has 2 SHT_DYNAMIC sections, may have one",
        ),
        with(
            "__asm__(\".pushsection one,\\\"\\\",@6; .quad 0; .popsection\");",
            "section one: sh_link is 0, which is no string table",
        ),
        (
            GOOD.replace("_fini", "fini"),
            "symbol _fini: has no function of that name in its text".to_string(),
        ),
        (
            GOOD.replace("int _info(void *p) { return zero(p); }", "int _info;"),
            "symbol _info: has no function of that name in its text".to_string(),
        ),
    ];
    let Some(good) = rig.compile(GOOD) else { return };
    assert_eq!(rig.load(&good), None);
    for (source, text) in cases {
        rig.refused(&rig.compile(&source).unwrap(), &text);
    }
    // Its value depends on where the module lies, so only its ends are told.
    let far = rig.compile(&reloc("PC32", "_init+0x100000000")).unwrap();
    let text = rig.load(&far).unwrap();
    assert!(text.starts_with(".text.z+0x0 (_init): value 0x"), "{text}");
    assert!(text.ends_with("does not fit R_X86_64_PC32"), "{text}");
    rig.kernel.shutdown().unwrap();
}

/// Offsets in an ELF header and a section header.
const E_TYPE: usize = 16;
const E_MACHINE: usize = 18;
const E_SHOFF: usize = 40;
const E_SHNUM: usize = 60;
const SH_TYPE: usize = 4;
const SH_FLAGS: usize = 8;
const SH_ADDR: usize = 16;
const SH_OFFSET: usize = 24;
const SH_SIZE: usize = 32;
const SH_LINK: usize = 40;
const SH_INFO: usize = 44;
const SYM_SIZE: usize = 24;

/// Finds section headers in a good file.
struct Layout(Vec<u8>);

impl Layout {
    fn number<const N: usize>(&self, at: usize) -> u64 {
        self.0[at..at + N].iter().rfold(0, |n, b| n << 8 | u64::from(*b))
    }
    /// Offsets of the headers of sections of a type.
    fn of_type(&self, kind: u64) -> Vec<usize> {
        let begin = self.number::<8>(E_SHOFF) as usize;
        let all = (0..self.number::<2>(E_SHNUM) as usize).map(|i| begin + i * 64);
        all.filter(|at| self.number::<4>(at + SH_TYPE) == kind).collect()
    }
}

#[test]
fn files_that_break_a_rule() {
    const PROGBITS: u64 = 1;
    const SYMTAB: u64 = 2;
    const RELA: u64 = 4;
    let rig = Rig::boot();
    let Some(good) = rig.compile(GOOD) else { return };
    let file = Layout(std::fs::read(good).unwrap());
    let (text, rela, symtab) =
        (file.of_type(PROGBITS)[0], file.of_type(RELA)[0], file.of_type(SYMTAB)[0]);
    let rela_at = file.number::<8>(rela + SH_OFFSET) as usize;
    let symbols = file.number::<8>(symtab + SH_OFFSET) as usize;
    let last = symbols + file.number::<8>(symtab + SH_SIZE) as usize - SYM_SIZE;
    let cases: &[(usize, &[u8], &str)] = &[
        (0, b"\x7fELG", "header: not a complete ELF file: no ELF magic"),
        (4, &[1], "header: must be 64-bit and little-endian (ELFCLASS64, ELFDATA2LSB)"),
        (5, &[2], "header: must be 64-bit and little-endian (ELFCLASS64, ELFDATA2LSB)"),
        (E_TYPE, &[3], "header: type 3 is not ET_REL"),
        (E_MACHINE, &[183], "header: machine 183 is not EM_X86_64"),
        (text + SH_ADDR, &[0, 0x10], "section .text: sh_addr is 0x1000, must be 0"),
        (text + SH_FLAGS + 1, &[4], "section .text: the kernel has no thread-local storage"),
        (symtab + SH_TYPE, &[1], "file: has 0 symbol tables (SHT_SYMTAB), must have one"),
        (rela + SH_TYPE, &[2], "file: has 2 symbol tables (SHT_SYMTAB), must have one"),
        (
            rela + SH_TYPE,
            &[9],
            "section .rela.text: krtld takes relocations with addends only (SHT_RELA)",
        ),
        (rela + SH_LINK, &[1], "section .rela.text: sh_link is 1, which is not the symbol table"),
        (rela + SH_INFO, &[99], "section .rela.text: sh_info is 99, which is no section"),
        (rela_at + 2, &[1], ".text+0x1004a (kmem_free): lies outside of its section"),
        (
            last + 6,
            &[5, 0xff],
            "symbol give: section index 0xff05 of the symbol is none krtld knows",
        ),
        (last + 8 + 3, &[1], "symbol give: lies outside of its section"),
    ];
    let path = rig.dir.path().join("patched");
    for (at, bytes, text) in cases {
        let mut patched = file.0.clone();
        patched[*at..at + bytes.len()].copy_from_slice(bytes);
        std::fs::write(&path, patched).unwrap();
        rig.refused(&path, text);
    }
    // A file that ends early, anywhere, is refused somehow.
    for len in (0..file.0.len()).step_by(61) {
        std::fs::write(&path, &file.0[..len]).unwrap();
        assert!(rig.load(&path).is_some(), "{len} bytes of it");
    }
    assert_eq!(rig.kernel.modload("misc/nothing"), Err(Errno::ENOENT));
    let absent = Module::new("misc/m", rig.dir.path().join("absent"));
    rig.kernel.register_module_file(absent).unwrap();
    assert_eq!(rig.kernel.modload("misc/m"), Err(Errno::ENOENT), "no such file");
    rig.kernel.shutdown().unwrap();
}

/// Whatever is wrong in tables and headers, the loader itself survives: nothing of the file runs.
#[test]
fn damaged_tables_harm_nobody() {
    let rig = Rig::boot();
    let Some(good) = rig.compile(GOOD) else { return };
    let good = std::fs::read(good).unwrap();
    let path = rig.dir.path().join("damaged");
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = |below: usize| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut refused = 0;
    for _ in 0..600 {
        let mut bytes = good.clone();
        for _ in 0..1 + next(3) {
            let (at, value) = (next(bytes.len()), next(256) as u8);
            bytes[at] = value;
        }
        std::fs::write(&path, &bytes).unwrap();
        let module = Module::new("misc/m", &path);
        match module.read().and_then(|_| module.map()) {
            Ok(_) => module.unmap(),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 60, "{refused}");
    rig.kernel.shutdown().unwrap();
}
