// SPDX-License-Identifier: CDDL-1.0
//! A file with one wrong thing for each rule, linked from a few lines of assembler.

use super::*;
use crate::toolchain::need_programs;
use crate::user::execute;
use crate::user::sysroot::assemble;
use std::process::Command;
use tempfile::TempDir;

const LIST: &str = "library libc.so.1\nexit V_1\nold V_2\nlibrary libm.so.2\nsin V_1\n\
    library varpd\nlibvarpd_f -\n";

/// A program: calls exit, and has what libc looks for.
const PROGRAM: &str = "
    .globl _start, ___Argv, __longdouble_used, __xpg4, __xpg6, _environ, _lib_version, environ
    .text
_start: call exit
    .data
___Argv: __longdouble_used: __xpg4: __xpg6: _environ: _lib_version: environ: .quad 0
";

const PROGRAM_ARGS: &str = "-no-pie -dynamic-linker /lib/amd64/ld.so.1 \
    --export-dynamic-symbol=___Argv --export-dynamic-symbol=__longdouble_used \
    --export-dynamic-symbol=__xpg4 --export-dynamic-symbol=__xpg6 \
    --export-dynamic-symbol=_environ --export-dynamic-symbol=_lib_version \
    --export-dynamic-symbol=environ --hash-style=sysv -z now -z norelro -lc";

/// A plugin: its init function calls exit and varpd.
const PLUGIN: &str = "
    .text
init: call exit@PLT
    call libvarpd_f@PLT
    .section .init_array, \"aw\"
    .quad init
";

const PLUGIN_ARGS: &str = "-shared -soname libvarpd_x.so.1 --hash-style=sysv -z now -z norelro -lc";

struct Bench {
    dir: TempDir,
    list: List,
}

impl Bench {
    /// `None` without the linker, or the assembler.
    fn new() -> Option<Bench> {
        if let Err(e) = need_programs(&[("ld.lld", "lld"), ("as", "binutils")]) {
            test_skip::skip(e);
            return None;
        }
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("list");
        std::fs::write(&path, LIST).unwrap();
        let list = List::read(&path).unwrap();
        for (name, text) in [
            (
                "c",
                ".globl exit, old, data\n.type exit, @function\n.type old, @function\nexit: old: ret\n.data\n.type data, @object\n.size data, 8\ndata: .quad 0",
            ),
            ("m", ".globl sin\n.type sin, @function\nsin: ret"),
        ] {
            let number = if name == "c" { 1 } else { 2 };
            link(
                &dir,
                &format!("lib{name}.so"),
                text,
                &format!("-shared -soname lib{name}.so.{number}"),
            );
        }
        Some(Bench { dir, list })
    }

    fn audit(&self, kind: Kind, text: &str, args: &str) -> Vec<String> {
        let file = match kind {
            Kind::Program => "prog",
            Kind::Library => "libvarpd_x.so",
        };
        link(&self.dir, file, text, args);
        let artifact = Artifact {
            kind,
            made: file.into(),
            file: file.into(),
            exports: vec![],
            probes: vec![],
        };
        let report = audit(&self.dir.path().join(file), &artifact, &self.list).unwrap();
        report.findings.iter().map(Finding::to_string).collect()
    }

    fn program(&self, text: &str, args: &str) -> Vec<String> {
        self.audit(Kind::Program, text, args)
    }

    fn plugin(&self, text: &str, args: &str) -> Vec<String> {
        self.audit(Kind::Library, text, args)
    }
}

fn link(dir: &TempDir, file: &str, text: &str, args: &str) {
    let [source, object, out] = ["x.s", "x.o", file].map(|name| dir.path().join(name));
    std::fs::write(&source, format!("{text}\n")).unwrap();
    assemble(&source, &object).unwrap();
    let mut cmd = Command::new("ld.lld");
    cmd.args(["-m", "elf_x86_64", "--unresolved-symbols=ignore-all", "-L"]).arg(dir.path());
    cmd.arg(&object).args(args.split_whitespace()).arg("-o").arg(&out);
    execute(&mut cmd).unwrap();
}

/// Exactly one finding, which begins so: the rule and the place.
#[track_caller]
fn only(findings: &[String], begins: &str) {
    assert!(
        matches!(findings, [one] if one.starts_with(begins)),
        "{begins:?} expected, found {findings:#?}"
    );
}

#[test]
fn good_files_pass() {
    let Some(bench) = Bench::new() else { return };
    assert_eq!(bench.program(PROGRAM, PROGRAM_ARGS), [""; 0]);
    assert_eq!(bench.plugin(PLUGIN, PLUGIN_ARGS), [""; 0]);
}

#[test]
fn type_of_file() {
    let Some(bench) = Bench::new() else { return };
    only(&bench.program(PROGRAM, &PROGRAM_ARGS.replace("-no-pie", "-pie")), "type: e_type");
    link(&bench.dir, "x", PLUGIN, PLUGIN_ARGS);
    let path = bench.dir.path().join("x");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[7] = 3; // EI_OSABI: Linux
    std::fs::write(&path, bytes).unwrap();
    let file = String::from("libvarpd_x.so");
    let plugin =
        Artifact { kind: Kind::Library, made: file.clone(), file, exports: vec![], probes: vec![] };
    let report = audit(&path, &plugin, &bench.list).unwrap();
    only(&report.findings.iter().map(Finding::to_string).collect::<Vec<_>>(), "type: EI_OSABI");
}

#[test]
fn interpreter() {
    let Some(bench) = Bench::new() else { return };
    let args = PROGRAM_ARGS.replace("/lib/amd64/ld.so.1", "/lib64/ld-linux-x86-64.so.2");
    only(&bench.program(PROGRAM, &args), "interpreter: PT_INTERP");
    let args = PROGRAM_ARGS.replace("-dynamic-linker /lib/amd64/ld.so.1", "--no-dynamic-linker");
    let findings = bench.program(PROGRAM, &args);
    assert!(findings.iter().any(|f| f.starts_with("interpreter: PT_PHDR")), "{findings:?}");
}

#[test]
fn hash_table() {
    let Some(bench) = Bench::new() else { return };
    only(&bench.plugin(PLUGIN, &PLUGIN_ARGS.replace("=sysv", "=both")), "hash: DT_GNU_HASH");
    let findings = bench.plugin(PLUGIN, &PLUGIN_ARGS.replace("=sysv", "=gnu"));
    assert!(findings.iter().any(|f| f.starts_with("hash: DT_HASH")), "{findings:?}");
}

#[test]
fn versions() {
    let Some(bench) = Bench::new() else { return };
    let map = bench.dir.path().join("map");
    std::fs::write(&map, "V_1 { local: *; };").unwrap();
    let args = format!("{PLUGIN_ARGS} --version-script={}", map.display());
    let findings = bench.plugin(PLUGIN, &args);
    assert!(findings.iter().any(|f| f.starts_with("versions: DT_VER")), "{findings:?}");
}

#[test]
fn name() {
    let Some(bench) = Bench::new() else { return };
    let args = PLUGIN_ARGS.replace("libvarpd_x.so.1", "libvarpd_y.so.1");
    only(&bench.plugin(PLUGIN, &args), "name: DT_SONAME");
}

#[test]
fn needed_libraries() {
    let Some(bench) = Bench::new() else { return };
    link(&bench.dir, "libz.so", "", "-shared -soname libz.so.1");
    only(&bench.plugin(PLUGIN, &format!("{PLUGIN_ARGS} -lz")), "needed: libz.so.1");
    let text = format!("{PLUGIN}\n.text\ncall sin@PLT");
    only(&bench.plugin(&text, PLUGIN_ARGS), "needed: libm.so.2: is not, and has sin");
    assert_eq!(bench.plugin(&text, &format!("{PLUGIN_ARGS} -lm")), [""; 0]);
}

#[test]
fn imports() {
    let Some(bench) = Bench::new() else { return };
    let text = format!("{PLUGIN}\n.text\ncall secret@PLT");
    only(&bench.plugin(&text, PLUGIN_ARGS), "import: secret");
    // What varpd has is there for plugins and for nobody else.
    let stub = ".globl libvarpd_f\n.type libvarpd_f, @function\nlibvarpd_f: ret";
    link(&bench.dir, "libv.so", stub, "-shared -soname libv.so.1");
    let text = format!("{PROGRAM}\n.text\ncall libvarpd_f");
    let findings = bench.program(&text, &format!("{PROGRAM_ARGS} -lv"));
    assert_eq!(
        findings,
        [
            "needed: libv.so.1: is no library of the list",
            "needed: varpd: is not, and has libvarpd_f"
        ]
    );
}

#[test]
fn exports() {
    let Some(bench) = Bench::new() else { return };
    let text = format!("{PLUGIN}\n.globl inner\n.text\ninner: ret");
    only(&bench.plugin(&text, PLUGIN_ARGS), "export: inner: is exported");
    // The ends of a section, which the linker defines for all to see unless told otherwise.
    let text =
        format!("{PLUGIN}\n.section set_x, \"aw\"\n.quad 0\n.text\nlea __start_set_x(%rip), %rax");
    only(&bench.plugin(&text, PLUGIN_ARGS), "export: __start_set_x: is exported");
    let hidden = format!("{PLUGIN_ARGS} -z start-stop-visibility=hidden");
    assert_eq!(bench.plugin(&text, &hidden), [""; 0]);
    let args = PROGRAM_ARGS.replace("--export-dynamic-symbol=__xpg4", "");
    only(&bench.program(PROGRAM, &args), "export: __xpg4: is not exported");
}

#[test]
fn thread_locals() {
    let Some(bench) = Bench::new() else { return };
    let text = format!("{PLUGIN}\n.section .tdata, \"awT\"\n.quad 1");
    only(&bench.plugin(&text, PLUGIN_ARGS), "tls: segment at");
}

#[test]
fn init_section() {
    let Some(bench) = Bench::new() else { return };
    let text = PLUGIN.replace(".init_array", ".data");
    only(&bench.plugin(&text, PLUGIN_ARGS), "init: DT_INIT_ARRAY");
    let text = PLUGIN.replace(".quad init", "here: .quad here");
    only(&bench.plugin(&text, PLUGIN_ARGS), "init: entry of DT_INIT_ARRAY at 0x");
}

#[test]
fn binding() {
    let Some(bench) = Bench::new() else { return };
    only(&bench.plugin(PLUGIN, &PLUGIN_ARGS.replace("-z now", "-z lazy")), "binding: DT_FLAGS");
}

#[test]
fn relocations() {
    let Some(bench) = Bench::new() else { return };
    let text = format!("{PROGRAM}\n.text\nmov data(%rip), %rax");
    let findings = bench.program(&text, PROGRAM_ARGS);
    assert!(findings.iter().any(|f| f.starts_with("relocation: 0x")), "{findings:?}");
}

#[test]
fn places() {
    let Some(bench) = Bench::new() else { return };
    let args = format!("{PLUGIN_ARGS} --apply-dynamic-relocs");
    only(&bench.plugin(PLUGIN, &args), "place: 0x");
}

#[test]
fn segments() {
    let Some(bench) = Bench::new() else { return };
    only(&bench.plugin(PLUGIN, &format!("{PLUGIN_ARGS} --omagic")), "segment: segment at 0x");
    let text = format!("{PLUGIN}\n.text\n.quad init");
    let findings = bench.plugin(&text, &format!("{PLUGIN_ARGS} -z notext"));
    assert!(findings.iter().any(|f| f.starts_with("segment: DT_TEXTREL")), "{findings:?}");
    assert!(findings.iter().all(|f| f.starts_with("segment: ")), "{findings:?}");
}

#[test]
fn probes() {
    let Some(bench) = Bench::new() else { return };
    let findings = |section: &str, record: &str| {
        let text = format!("{PROGRAM}\n.section {section}\n.asciz {record}");
        link(&bench.dir, "prog", &text, PROGRAM_ARGS);
        let (file, probes) = (String::from("prog"), vec!["p:q-r".into()]);
        let (kind, made) = (Kind::Program, file.clone());
        let artifact = Artifact { kind, made, file, exports: vec![], probes };
        let report = audit(&bench.dir.path().join("prog"), &artifact, &bench.list).unwrap();
        report.findings.iter().map(Finding::to_string).collect::<Vec<_>>()
    };
    let data = "set_dtrace_probes, \"aw\"";
    assert_eq!(findings(data, "\"p\", \"q-r\""), [""; 0]);
    only(&findings(data, "\"p\", \"q\""), "probe: p:q-r");
    only(&findings("set_dtrace_probes, \"a\"", "\"p\", \"q-r\""), "probe: p:q-r");
}
