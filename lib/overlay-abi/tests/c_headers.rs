// SPDX-License-Identifier: CDDL-1.0
//! Compiles the installed C headers (`usr/include`) with an assertion for every number, layout and
//! signature that `abi.json` has of them: with gcc -m64, and with -m32 where it can.
use overlay_abi::provider::v2 as provider;
use overlay_abi::target::v2 as target;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Our header, the header's name in `abi.json`, and the models it is for.
type Header = (&'static str, &'static str, &'static [&'static str]);

const HEADERS: &[Header] = &[
    ("sys/overlay_common.h", "sys/overlay_common.h", &["user_amd64", "user_i386"]),
    ("sys/overlay.h", "sys/overlay.h", &["user_amd64", "user_i386"]),
    ("sys/overlay_target.h", "sys/overlay_target.h", &["user_amd64", "user_i386"]),
    ("sys/overlay_plugin.h", "sys/overlay_plugin.h", &["kernel_amd64"]),
    ("sys/vxlan.h", "sys/vxlan.h", &["user_amd64", "user_i386"]),
    ("libvarpd.h", "varpd/libvarpd/common/libvarpd.h", &["user_amd64", "user_i386"]),
    ("libvarpd_client.h", "varpd/libvarpd/common/libvarpd_client.h", &["user_amd64", "user_i386"]),
    ("libvarpd_provider.h", "varpd/libvarpd/common/libvarpd_provider.h", USER),
];

/// Those that have a version 2.
const V2_HEADERS: &[Header] = &[
    ("sys/overlay_common.h", "sys/overlay_common.h", USER),
    ("sys/overlay.h", "sys/overlay.h", USER),
    ("sys/overlay_target.h", "sys/overlay_target.h", USER),
    ("libvarpd_provider.h", "varpd/libvarpd/common/libvarpd_provider.h", USER),
];

const USER: &[&str] = &["user_amd64", "user_i386"];

/// Asks for version 2.
const V2: &str = "#define OVERLAY_ABI_VERSION 2\n";

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
fn assertions(model: &Value, version: &str, header: &str, out: &mut Vec<String>) {
    let mut check = |condition: String| {
        let text = condition.replace('"', "'");
        out.push(format!("_Static_assert({condition}, \"{text}\");"));
    };
    let ours = |v: &&Value| v["header"] == header;
    let members = |what: &str| model[what].as_object().expect("a table");
    // The original's version 2 says that it is version 1.
    let constant = |name: &str| name != "VARPD_CURRENT_VERSION" || version != "vpc";
    for (name, c) in members("constants").iter().filter(|(n, c)| ours(c) && constant(n)) {
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

/// Whether the compiler has what it needs for a model. Without that there is nothing to find out.
fn works(flag: &str) -> bool {
    let probe = "#include <sys/socket.h>\n#include <netinet/in.h>\n";
    match compile("gcc", &["-xc", flag], probe) {
        Ok(()) => true,
        Err(e) => {
            test_skip::skip(format!("gcc {flag} does not work here: {e}"));
            false
        }
    }
}

/// Compares headers with what `abi.json` says of a version; `prelude` is what a program says that
/// wants this one.
fn check(flag: &str, (version, prelude): (&str, &str), headers: &[Header], models: &[&str]) {
    if !works(flag) {
        return;
    }
    let json = json();
    for (ours, theirs, for_models) in headers {
        let mut asserts = Vec::new();
        for model in for_models.iter().filter(|m| models.contains(m)) {
            assertions(&json[version][model], version, theirs, &mut asserts);
            assert!(asserts.len() > 3, "{theirs} is not in abi.json");
        }
        // Alone, so that each includes what it needs.
        let typedef = "typedef struct bunyan_logger bunyan_logger_t; /* as bunyan.h has it */";
        let source = format!("{prelude}#include <{ours}>\n{typedef}\n{}\n", asserts.join("\n"));
        compile("gcc", &["-xc", flag, "-std=gnu11"], &source)
            .unwrap_or_else(|e| panic!("{ours} {version} {flag}:\n{e}"));
    }
}

#[test]
fn headers_of_64_bit_programs_and_the_kernel() {
    check("-m64", ("base", ""), HEADERS, &["user_amd64", "kernel_amd64"]);
}

#[test]
fn v2_headers_of_64_bit_programs() {
    check("-m64", ("vpc", V2), V2_HEADERS, USER64);
}

const USER64: &[&str] = &["user_amd64"];

#[test]
fn v2_headers_of_32_bit_programs() {
    check("-m32", ("vpc", V2), V2_HEADERS, &["user_i386"]);
}

/// A structure of ours: its name, size and alignment, and its members with their offsets.
struct Ours(&'static str, usize, usize, Vec<(&'static str, usize)>);

macro_rules! ours {
    ($($module:ident::$name:ident { $($field:ident)* })*) => {
        vec![$(Ours(
            stringify!($name),
            size_of::<$module::$name>(),
            align_of::<$module::$name>(),
            vec![$((stringify!($field), std::mem::offset_of!($module::$name, $field))),*],
        )),*]
    };
}

/// Structures and numbers of version 2 that no other header has, or that plugins use.
#[test]
fn v2_headers_are_what_rust_has() {
    if !works("-m64") {
        return;
    }
    let structures = ours! {
        target::overlay_target_point_t { otp_ip otp_port otp_mac }
        target::overlay_target_mac_t { otm_dcid otm_mac }
        target::overlay_target_route_t { otr_vnet otr_srcmac otr_vlan }
        target::overlay_targ_lookup_t {
            otl_dlid otl_reqid otl_varpdid otl_vnetid otl_hdrsize otl_pktsize otl_addru otl_vlan
            otl_l3req
        }
        target::overlay_targ_l2_t { otl2_srcaddr otl2_dstaddr otl2_dsttype otl2_sap }
        target::overlay_targ_l3_t { otl3_srcip otl3_dstip }
        target::overlay_targ_route_entry_t {
            otre_addr otre_route otre_mac otre_vlan otre_pad otre_dest
        }
        target::overlay_targ_route_iter_t {
            otri_linkid otri_count otri_vlan otri_marker otri_state
        }
        provider::varpd_plugin_ops_t {
            vpo_callbacks vpo_create vpo_start vpo_stop vpo_destroy vpo_default vpo_lookup
            vpo_nprops vpo_propinfo vpo_getprop vpo_setprop vpo_save vpo_restore vpo_arp vpo_dhcp
        }
    };
    let mut source = format!("{V2}#include <libvarpd_provider.h>\n");
    let mut check = |what: String| source += &format!("_Static_assert({what}, \"{what}\");\n");
    for Ours(name, size, align, fields) in structures {
        check(format!("sizeof ({name}) == {size}"));
        check(format!("_Alignof ({name}) == {align}"));
        for (field, at) in fields {
            check(format!("__builtin_offsetof({name}, {field}) == {at}"));
        }
    }
    for (name, number) in [
        ("OVERLAY_TARG_ABI", overlay_abi::target::OVERLAY_TARG_ABI),
        ("OVERLAY_TARG_ROUTE_ITER", target::OVERLAY_TARG_ROUTE_ITER),
        ("OVERLAY_TARG_CACHE_REMOVE_NET", target::OVERLAY_TARG_CACHE_REMOVE_NET),
        ("OVERLAY_TARG_DSTTYPE_ROUTER", target::OVERLAY_TARG_DSTTYPE_ROUTER),
        ("OVERLAY_TARGET_CACHE_ROUTER", target::OVERLAY_TARGET_CACHE_ROUTER.into()),
        ("OVERLAY_PROP_T_ETHER", overlay_abi::props::OVERLAY_PROP_T_ETHER),
        ("VARPD_CURRENT_VERSION", provider::VARPD_VERSION_TWO),
    ] {
        check(format!("{name} == {number}"));
    }
    compile("gcc", &["-xc", "-m64", "-std=gnu11"], &source).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn headers_of_32_bit_programs() {
    check("-m32", ("base", ""), HEADERS, &["user_i386"]);
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
    sources.extend(V2_HEADERS.iter().map(|(ours, ..)| format!("{V2}#include <{ours}>\n")));
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
