// SPDX-License-Identifier: CDDL-1.0
//! A module with one wrong thing is refused, for each rule; a right one is not.
//!
//! The modules are a few lines for the assembler, finished as ours are.

use std::process::Command;
use xtask::kmod::ENTRIES;
use xtask::kmod::check::{self, Expected, Report, Rule};
use xtask::kmod::finish::{Plan, finish};
use xtask::kmod::lists::{Forgiven, KernelSymbols};

const KSYMS: &str = "
# A comment.
genunix:
    kcred
    kmem_alloc
    panic
misc/mac:
    mac_rx
";

/// A module that is right in every way, and more lines.
fn module(more: &str) -> String {
    format!(
        "
    .text
    .globl _init, _fini, _info
    .type _init, @function
_init:
    push %rbp
    mov %rsp, %rbp
    sub $32, %rsp
    call inner
    call __dtrace_probe_test__loaded
    nop
    leave
    ret
    .type _fini, @function
_fini:
    xor %eax, %eax
    ret
    .type _info, @function
_info:
    mov kcred, %rax
    lea message(%rip), %rdi
    xor %eax, %eax
    ret
    .type inner, @function
inner:
    push %rbp
    mov %rsp, %rbp
    call mac_rx
    call *table(%rip)
    pop %rbp
    ret
    .data
    .type table, @object
table:
    .quad pointed_to
    .section .rodata
    .type message, @object
message:
    .asciz \"hello\"
    .text
    .type pointed_to, @function
pointed_to:
    push %rbp
    mov %rsp, %rbp
    call kmem_alloc
    nop
{more}
    pop %rbp
    ret
"
    )
}

fn assemble(text: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (source, object) = (dir.path().join("m.s"), dir.path().join("m.o"));
    std::fs::write(&source, text).unwrap();
    let as_ = Command::new("as")
        .args(["--64", "-mx86-used-note=no", "-o"])
        .arg(&object)
        .arg(&source)
        .output();
    let as_ = as_.expect("as, of binutils");
    assert!(as_.status.success(), "{}", String::from_utf8_lossy(&as_.stderr));
    std::fs::read(object).unwrap()
}

fn finished(text: &str, needs: &[&str]) -> Vec<u8> {
    let kernel = KernelSymbols::parse(KSYMS).unwrap();
    let plan = Plan { exports: &ENTRIES, needs, kernel: &kernel, debug: false };
    finish(&assemble(text), &plan).unwrap()
}

fn checked(bytes: &[u8], forgiven: &str, hot: &[&str]) -> Report {
    let kernel = KernelSymbols::parse(KSYMS).unwrap();
    let forgiven = Forgiven::parse(forgiven).unwrap();
    let expected = Expected { exports: &ENTRIES, kernel: &kernel, forgiven: &forgiven, hot };
    check::check(bytes, &expected).unwrap()
}

/// Exactly one thing is wrong: it breaks this rule, and the message has these parts.
#[track_caller]
fn refused(report: &Report, rule: Rule, parts: &[&str]) {
    let [finding] = &report.findings[..] else {
        panic!("one finding expected: {:#?}", report.findings);
    };
    assert_eq!(finding.rule, rule, "{finding}");
    let text = finding.to_string();
    assert!(text.starts_with(&rule.to_string()), "{text}");
    for part in parts {
        assert!(text.contains(part), "no {part} in: {text}");
    }
}

/// As `refused`, for the right module with these lines in it.
#[track_caller]
fn refused_with(more: &str, rule: Rule, parts: &[&str]) {
    refused(&checked(&finished(&module(more), &[]), "", &[]), rule, parts);
}

/// Writes bytes into a header of a section.
fn patch(bytes: &mut [u8], section: &str, field: usize, value: &[u8]) {
    use object::{Object, ObjectSection};
    let file = object::File::parse(&*bytes).unwrap();
    let index = file.section_by_name(section).unwrap().index().0;
    let headers = u64::from_le_bytes(bytes[0x28..0x30].try_into().unwrap()) as usize;
    let at = headers + index * 64 + field;
    bytes[at..at + value.len()].copy_from_slice(value);
}

#[test]
fn a_right_module_passes() {
    let report = checked(&finished(&module(""), &["drv/ip"]), "", &["_init", "inner"]);
    assert_eq!(report.findings, []);
    assert_eq!(report.needs, ["drv/ip", "misc/mac"]);
    assert_eq!(report.probes, 1);
    let imports: Vec<_> = report
        .imports
        .iter()
        .flat_map(|(m, s)| s.iter().map(move |s| (m.as_str(), s.as_str())))
        .collect();
    assert_eq!(imports, [("genunix", "kcred"), ("genunix", "kmem_alloc"), ("misc/mac", "mac_rx")]);
    // Return address, frame pointer, and what it asks for.
    assert_eq!(report.frames[0], (48, "_init".to_string()));
    assert!(report.frames.contains(&(8, "_fini".to_string())), "{:?}", report.frames);
}

#[test]
fn finishing_leaves_global_what_is_asked_for_and_drops_debugging_information() {
    use object::{Object, ObjectSymbol};
    let more = ".globl helper\nhelper: nop\n.section .debug_info\n.quad helper\n.text";
    let bytes = finished(&module(more), &[]);
    let file = object::File::parse(&*bytes).unwrap();
    let mut globals: Vec<_> = file
        .symbols()
        .filter(|s| s.is_global() && s.is_definition())
        .map(|s| s.name().unwrap().to_string())
        .collect();
    globals.sort();
    assert_eq!(globals, ["_fini", "_info", "_init"]);
    assert!(file.symbol_by_name("helper").is_some());
    assert!(!file.sections().any(|s| object::ObjectSection::name(&s).unwrap().contains("debug")));
    assert_eq!(checked(&bytes, "", &[]).findings, []);
}

#[test]
fn file_must_be_relocatable() {
    let mut bytes = finished(&module(""), &[]);
    bytes[16] = 2;
    refused(&checked(&bytes, "", &[]), Rule::File, &["header", "not a relocatable file"]);
}

#[test]
fn sections_must_be_known_to_krtld() {
    let array = ".section .init_array,\"aw\",@init_array\n.quad pointed_to\n.text";
    refused_with(array, Rule::Section, &[".init_array", "constructors"]);
    let unwind = ".section .eh_frame,\"a\",@progbits\n.quad 0\n.text";
    refused_with(unwind, Rule::Section, &[".eh_frame", "unwind"]);
    let other = module(".section .other\n.quad 0\n.text");
    for (kind, parts) in [(17u32, [".other", "group"]), (9, [".other", "without addends"])] {
        let mut bytes = finished(&other, &[]);
        patch(&mut bytes, ".other", 4, &kind.to_le_bytes());
        refused(&checked(&bytes, "", &[]), Rule::Section, &parts);
    }
    let mut bytes = finished(&module(""), &[]);
    patch(&mut bytes, ".data", 16, &0x1000u64.to_le_bytes());
    refused(&checked(&bytes, "", &[]), Rule::Section, &[".data", "0x1000"]);
}

#[test]
fn thread_local_storage_is_refused() {
    let more = ".section .tbss,\"awT\",@nobits\n.zero 8\n.text";
    refused_with(more, Rule::Tls, &[".tbss"]);
}

#[test]
fn relocations_must_be_of_types_that_krtld_computes() {
    let parts = [".text+", "pointed_to+", "type 9 for kcred"];
    refused_with(".reloc ., R_X86_64_GOTPCREL, kcred\n.long 0", Rule::Relocation, &parts);
    let parts = ["pointed_to+", "type 42 for kcred"];
    refused_with(".reloc ., R_X86_64_REX_GOTPCRELX, kcred\n.long 0", Rule::Relocation, &parts);
    // 16 bits are not enough for any address of the kernel.
    refused_with(".data\n.word kcred\n.text", Rule::Relocation, &[".data+0x8", "type 12"]);
}

#[test]
fn places_must_hold_zero() {
    let more = ".data\n.reloc ., R_X86_64_64, kcred\n.quad 5\n.text";
    refused_with(more, Rule::Place, &[".data+0x8", "not zero, for kcred"]);
    let more = ".data\n.reloc ., R_X86_64_64, kcred\n.long 0\n.text";
    refused_with(more, Rule::Place, &[".data+0x8", "outside"]);
}

#[test]
fn imports_must_be_listed() {
    refused_with("call nonesuch", Rule::Import, &[".text+", "pointed_to+", "nonesuch is not in"]);
    // Also when nothing refers to one.
    refused_with(".globl nonesuch", Rule::Import, &["nonesuch"]);
}

#[test]
fn exports_are_what_was_asked_for() {
    let text = module("").replace("_info", "_inform");
    refused(&checked(&finished(&text, &[]), "", &[]), Rule::Export, &["_info", "missing"]);
    let kernel = KernelSymbols::parse(KSYMS).unwrap();
    let exports = ["_init", "_fini", "_info", "helper"];
    let plan = Plan { exports: &exports, needs: &[], kernel: &kernel, debug: false };
    let bytes = finish(&assemble(&module(".globl helper\nhelper: nop")), &plan).unwrap();
    refused(&checked(&bytes, "", &[]), Rule::Export, &["helper", "need not be"]);
}

#[test]
fn providers_of_imports_must_be_named() {
    // As the assembler left it.
    let report = checked(&assemble(&module("")), "", &[]);
    refused(&report, Rule::Dependency, &["misc/mac", "mac_rx"]);
    let mut bytes = finished(&module(""), &[]);
    patch(&mut bytes, ".dynstr", 4, &1u32.to_le_bytes());
    let report = checked(&bytes, "", &[]);
    assert!(report.findings.iter().all(|f| f.rule == Rule::Dependency), "{:?}", report.findings);
    assert!(report.findings.iter().any(|f| f.to_string().contains("no string table")));
}

#[test]
fn code_must_be_instructions() {
    refused_with(".byte 0x06", Rule::Instruction, &["pointed_to+"]);
}

#[test]
fn vector_registers_are_refused() {
    refused_with("movaps %xmm0, %xmm1", Rule::Vector, &["pointed_to+", "Movaps"]);
    refused_with("vpxor %ymm0, %ymm0, %ymm0", Rule::Vector, &["Vpxor"]);
    refused_with("movq %mm0, %rax", Rule::Vector, &["Movq"]);
    refused_with("fld1", Rule::Vector, &["Fld1"]);
    refused_with("fxsave (%rax)", Rule::Vector, &["Fxsave"]);
}

#[test]
fn segment_registers_are_refused() {
    refused_with("mov %gs:0x18, %rax", Rule::Segment, &["pointed_to+", "Mov"]);
    refused_with("mov %fs:(%rax), %rax", Rule::Segment, &["Mov"]);
    refused_with("mov %ax, %gs", Rule::Segment, &["Mov"]);
    refused_with("swapgs", Rule::Segment, &["Swapgs"]);
    refused_with("wrgsbase %rax", Rule::Segment, &["Wrgsbase"]);
}

#[test]
fn probes_must_be_called() {
    let parts = ["pointed_to+", "__dtrace_probe_x__y is not called"];
    refused_with("jmp __dtrace_probe_x__y", Rule::Probe, &parts);
    let parts = [".data+0x8", "__dtrace_probe_x__y is not called"];
    refused_with(".data\n.quad __dtrace_probe_x__y\n.text", Rule::Probe, &parts);
}

#[test]
fn frames_must_be_small_and_known() {
    let parts = ["(pointed_to+0x0)", "2064 bytes"];
    refused_with("sub $2048, %rsp\nmov %rbp, %rsp", Rule::Frame, &parts);
    // On one of two ways only, and not in the order of the code.
    let jumps =
        "test %eax, %eax\njne 2f\n1: jmp 3f\n2: sub $2048, %rsp\nadd $2048, %rsp\njmp 1b\n3: nop";
    refused_with(jumps, Rule::Frame, &["2064 bytes"]);
    refused_with(
        "push %rbx\nsub $2040, %rsp\nlea -8(%rbp), %rsp\npop %rbx",
        Rule::Frame,
        &["2064 bytes"],
    );
    let parts = ["pointed_to+", "cannot be known"];
    refused_with("sub %rax, %rsp\nmov %rbp, %rsp", Rule::Frame, &parts);
    refused_with("xchg %rax, %rsp\nmov %rbp, %rsp", Rule::Frame, &parts);
    refused_with("and $-4096, %rsp\nmov %rbp, %rsp", Rule::Frame, &["4111 bytes"]);
    let fits = "sub $2032, %rsp\nmov %rbp, %rsp";
    assert_eq!(checked(&finished(&module(fits), &[]), "", &[]).findings, []);
}

/// A panic function of Rust's core, by its mangled name, and a call of it from `cold`. What makes
/// its message may panic too, and is not to blame.
const PANIC: &str = "
    nop
    call cold
    jmp 9f
    .type cold, @function
cold:
    call _ZN4core9panicking18panic_bounds_check17h0123456789abcdefE
    .type _ZN4core9panicking18panic_bounds_check17h0123456789abcdefE, @function
_ZN4core9panicking18panic_bounds_check17h0123456789abcdefE:
    call text
    .type text, @function
text:
    call _ZN4core9panicking18panic_bounds_check17h0123456789abcdefE
    call panic
    .type rest, @function
rest:
9:  nop
";

#[test]
fn panics_are_refused_with_the_way_to_them() {
    // Through a call without relocation, a table in data, and a call.
    let parts = [
        "(cold+0x0)",
        "_init > inner > table > pointed_to > cold > core::panicking::panic_bounds_check",
    ];
    refused_with(PANIC, Rule::Panic, &parts);
    let parts = ["_init > inner > table > pointed_to > panic"];
    refused_with("call panic", Rule::Panic, &parts);
    refused_with("ud2", Rule::Panic, &["pointed_to > ud2"]);
    // What no entry point reaches is in the file nevertheless.
    let lost = "ret\n.type lost, @function\nlost: push %rbp\ncall panic";
    refused_with(lost, Rule::Panic, &["no chain found", "lost > panic"]);
}

#[test]
fn a_listed_panic_is_forgiven_unless_packets_come_there() {
    let bytes = finished(&module(PANIC), &[]);
    let list = "cold  a test: nothing else calls it # and a comment";
    let report = checked(&bytes, list, &["_fini"]);
    assert_eq!(report.findings, []);
    assert_eq!(report.forgiven.iter().collect::<Vec<_>>(), ["cold"]);
    refused(&checked(&bytes, list, &["inner"]), Rule::Panic, &["forgiven, but packets come here"]);
    let report = checked(&bytes, list, &["no_such"]);
    refused(&report, Rule::Panic, &["no_such", "no such function"]);
}

#[test]
fn lists_say_what_is_wrong_with_them() {
    let wrong = |text| KernelSymbols::parse(text).unwrap_err().to_string();
    assert!(wrong("kmem_alloc").contains("in no group"));
    assert!(wrong("a:\nx\nb:\nx").contains("x: twice"));
    assert!(Forgiven::parse("overlay::dev::create").unwrap_err().to_string().contains("no reason"));
}

#[test]
fn the_committed_lists_can_be_read() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernel");
    let read = |file| std::fs::read_to_string(root.join(file)).unwrap();
    let kernel = KernelSymbols::parse(&read("ksyms.list")).unwrap();
    assert_eq!(kernel.provider("mac_rx"), Some("misc/mac"));
    assert_eq!(kernel.provider("kmem_alloc"), Some("genunix"));
    Forgiven::parse(&read("kmod/panics.allow")).unwrap();
}
