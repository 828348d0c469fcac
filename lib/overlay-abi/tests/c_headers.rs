// SPDX-License-Identifier: CDDL-1.0
//! Compiles the installed C headers (`usr/include`) with an assertion for every number, layout and
//! signature that `abi.json` has of them: with gcc -m64, and with -m32 where it can.
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Our header, the header's name in `abi.json`, and the models it is for.
const HEADERS: &[(&str, &str, &[&str])] = &[
    ("sys/overlay_common.h", "sys/overlay_common.h", &["user_amd64", "user_i386"]),
    ("sys/overlay.h", "sys/overlay.h", &["user_amd64", "user_i386"]),
    ("sys/overlay_target.h", "sys/overlay_target.h", &["user_amd64", "user_i386"]),
    ("sys/overlay_plugin.h", "sys/overlay_plugin.h", &["kernel_amd64"]),
    ("sys/vxlan.h", "sys/vxlan.h", &["user_amd64", "user_i386"]),
    ("libvarpd.h", "varpd/libvarpd/common/libvarpd.h", &["user_amd64", "user_i386"]),
    ("libvarpd_client.h", "varpd/libvarpd/common/libvarpd_client.h", &["user_amd64", "user_i386"]),
    (
        "libvarpd_provider.h",
        "varpd/libvarpd/common/libvarpd_provider.h",
        &["user_amd64", "user_i386"],
    ),
];

fn json() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/abi/abi.json");
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| {
        panic!("cannot read {path}: {e}; it comes with the project's shared files")
    });
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// `**const char` as C writes it: `const char **`.
fn c_type(t: &str) -> String {
    let stars = t.len() - t.trim_start_matches('*').len();
    format!("{} {}", &t[stars..], "*".repeat(stars))
}

fn c_args<'a>(args: impl Iterator<Item = &'a str>) -> String {
    let args: Vec<String> = args.map(c_type).collect();
    if args.is_empty() { "void".to_owned() } else { args.join(", ") }
}

/// The assertions about one header in one model.
fn assertions(model: &Value, header: &str, out: &mut Vec<String>) {
    let mut check = |condition: String| {
        let text = condition.replace('"', "'");
        out.push(format!("_Static_assert({condition}, \"{text}\");"));
    };
    let ours = |v: &&Value| v["header"] == header;
    let members = |what: &str| model[what].as_object().expect("a table");
    for (name, c) in members("constants").iter().filter(|(_, c)| ours(c)) {
        check(format!("({name}) == ({})", c["value"]));
    }
    for (name, e) in members("enums").iter().filter(|(_, e)| ours(e)) {
        check(format!("sizeof ({name}) == {}", e["size"]));
        for (value, n) in e["values"].as_object().expect("values") {
            check(format!("({value}) == ({n})"));
        }
    }
    for s in model["structs"].as_array().expect("structs").iter().filter(ours) {
        for name in s["c_names"].as_array().expect("names") {
            let name = name.as_str().expect("a name");
            check(format!("sizeof ({name}) == {}", s["size"]));
            check(format!("_Alignof ({name}) == {}", s["align"]));
            for f in s["fields"].as_array().expect("fields") {
                let field = f["name"].as_str().expect("a name");
                check(format!("__builtin_offsetof({name}, {field}) == {}", f["offset"]));
                if f["size"] != 0 {
                    check(format!("sizeof ((({name} *)0)->{field}) == {}", f["size"]));
                }
            }
        }
    }
    for (name, f) in members("function_types").iter().filter(|(_, f)| ours(f)) {
        let sig = f["sig"].as_str().expect("a signature");
        let (args, ret) = sig
            .strip_prefix("*fn(")
            .and_then(|s| s.rsplit_once(") -> "))
            .unwrap_or_else(|| panic!("{sig}"));
        let (args, ret) = (c_args(args.split(", ")), c_type(ret));
        check(format!("__builtin_types_compatible_p({name}, {ret} (*)({args}))"));
    }
    for (name, f) in members("functions").iter().filter(|(_, f)| ours(f)) {
        let args = f["args"].as_array().expect("arguments").iter();
        let args = c_args(args.map(|a| a.as_str().expect("a type")));
        let ret = c_type(f["ret"].as_str().expect("a type"));
        check(format!("__builtin_types_compatible_p(__typeof__ (&{name}), {ret} (*)({args}))"));
    }
}

/// Compiles; the error is what the compiler says.
fn compile(compiler: &str, flags: &[&str], source: &str) -> Result<(), String> {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../usr/include");
    let mut child = Command::new(compiler)
        .args(flags)
        .args(["-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"])
        .arg(include)
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{compiler}: {e}"))?;
    let sent = child.stdin.take().map(|mut stdin| stdin.write_all(source.as_bytes()));
    let out = child.wait_with_output().map_err(|e| e.to_string())?;
    sent.transpose().map_err(|e| e.to_string())?;
    if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).into()) }
}

fn check(flag: &str, models: &[&str]) {
    // Without this compiler, or without its libraries for that model, there is nothing to find out.
    let probe = "#include <sys/socket.h>\n#include <netinet/in.h>\n";
    if let Err(e) = compile("gcc", &["-xc", flag], probe) {
        test_skip::skip(format!("gcc {flag} does not work here: {e}"));
        return;
    }
    let json = json();
    for (ours, theirs, for_models) in HEADERS {
        let mut asserts = Vec::new();
        for model in for_models.iter().filter(|m| models.contains(m)) {
            assertions(&json["base"][model], theirs, &mut asserts);
            assert!(asserts.len() > 3, "{theirs} is not in abi.json");
        }
        // Alone, so that each includes what it needs.
        let typedef = "typedef struct bunyan_logger bunyan_logger_t; /* as bunyan.h has it */";
        let source = format!("#include <{ours}>\n{typedef}\n{}\n", asserts.join("\n"));
        compile("gcc", &["-xc", flag, "-std=gnu11"], &source)
            .unwrap_or_else(|e| panic!("{ours} {flag}:\n{e}"));
    }
}

#[test]
fn headers_of_64_bit_programs_and_the_kernel() {
    check("-m64", &["user_amd64", "kernel_amd64"]);
}

#[test]
fn headers_of_32_bit_programs() {
    check("-m32", &["user_i386"]);
}

/// The test itself: a wrong layout must not compile.
#[test]
fn a_wrong_assertion_is_noticed() {
    if compile("gcc", &["-xc", "-m64"], "").is_ok() {
        let wrong = "#include <sys/overlay.h>\n\
            _Static_assert(sizeof (overlay_ioc_create_t) == 44, \"\");\n";
        assert!(compile("gcc", &["-xc", "-m64"], wrong).is_err());
    }
}

/// Each alone, and all of a program's together, in the oldest languages they are for.
#[test]
fn headers_are_c99_and_cplusplus() {
    let mut sources: Vec<String> =
        HEADERS.iter().map(|(ours, ..)| format!("#include <{ours}>\n")).collect();
    sources.push(sources.iter().filter(|s| !s.contains("overlay_plugin")).cloned().collect());
    for (compiler, flags) in [
        ("gcc", ["-xc", "-std=c99", "-pedantic"]),
        // Structures that end in an array of unknown length are an extension there.
        ("g++", ["-xc++", "-std=c++98", "-Wno-pedantic"]),
        ("g++", ["-xc++", "-std=c++20", "-Wno-pedantic"]),
    ] {
        if let Err(e) = compile(compiler, &flags, "#include <netinet/in.h>\n") {
            test_skip::skip(format!("{compiler} {flags:?} does not work here: {e}"));
            continue;
        }
        for source in &sources {
            compile(compiler, &flags, source)
                .unwrap_or_else(|e| panic!("{source}{compiler} {flags:?}:\n{e}"));
        }
    }
}
