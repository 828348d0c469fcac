// SPDX-License-Identifier: CDDL-1.0
//! Every function, datum and structure member declared here has the type that illumos gives it.
//!
//! Both sides are read: our sources with syn, C's types from abi/kernel_imports.json, abi/kernel_abi.json and
//! prototypes.list. Not compared is `const`, which is a promise and no type; an enum is four bytes of either sign; where C
//! has `void *` any pointer will do, not the other way round.
mod c;
mod rust;

use c::Names;
use rust::Declarations;
use serde_json::Value;
use std::sync::LazyLock;

/// A type of either language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Nothing, or behind a pointer anything.
    Void,
    /// The `...` among arguments.
    Variadic,
    /// Bytes, signed.
    Int(usize, bool),
    /// An enumeration of C.
    Enum,
    /// A structure or a handle.
    Named(String),
    /// A pointer.
    Ptr(Box<Type>),
    /// So many of them.
    Array(Box<Type>, usize),
    /// A pointer to it. Arguments, unless they are left open, and result.
    Fn(Option<Vec<Type>>, Box<Type>),
}

impl Type {
    /// Whether `self` can stand where C has `c`.
    fn serves_as(&self, c: &Type) -> bool {
        match (self, c) {
            (Type::Int(4, _), Type::Enum) => true,
            (Type::Ptr(_), Type::Ptr(to)) if **to == Type::Void => true,
            (Type::Ptr(a), Type::Ptr(b)) => a.serves_as(b),
            (Type::Array(a, n), Type::Array(b, m)) => n == m && a.serves_as(b),
            (Type::Fn(a, x), Type::Fn(b, y)) => {
                let args = match (a, b) {
                    (Some(a), Some(b)) => {
                        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.serves_as(b))
                    }
                    (_, None) => true,
                    (None, Some(_)) => false,
                };
                args && x.serves_as(y)
            }
            (a, b) => a == b,
        }
    }
}

/// Declared otherwise than in C, and why.
const OTHERWISE: [(&str, &str); 10] = [
    ("kmutex_t._opaque", "a word instead of void *[1]: opaque"),
    ("krwlock_t._opaque", "a word instead of void *[1]: opaque"),
    ("kstat_named_t.value", "a union of the members we use: tests/abi.rs"),
    ("kstat_named_str.addr", "a member of that union: tests/abi.rs"),
    ("kstat_named_str.len", "a member of that union: tests/abi.rs"),
    ("mac_propval_range_t.mpr_uint32", "the member of a union that we use"),
    ("in6_addr.s6_addr", "the bytes of a union"),
    ("netstack_t.nu_modules", "a member of a union, of the other members' pointers"),
    ("mac_capab_lso_t.lso_basic_tcp_ipv4", "C has a structure of this one member"),
    ("mac_capab_lso_t.lso_basic_tcp_ipv6", "C has a structure of this one member"),
];

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn json(name: &str) -> Value {
    let root = std::env::var("OVERLAY_SHARED").unwrap_or_else(|_| "/work/shared".into());
    serde_json::from_str(&read(&format!("{root}/abi/{name}.json"))).expect("JSON")
}

fn names() -> Names {
    Names::new(json("kernel_abi")["base"].clone())
}

/// What C says about a name, and nothing about one it does not know.
fn in_c(names: &Names) -> Declarations {
    let text = |v: &Value| v.as_str().expect("text").to_owned();
    let mut all = Declarations::new();
    let abi = json("kernel_abi")["base"].clone();
    for s in abi["structs"].as_array().expect("structs") {
        for f in s["fields"].as_array().expect("fields") {
            let (field, t) = (text(&f["name"]), text(&f["type"]));
            if t != "fnptr" && !t.contains("<anon>") && !field.contains('.') {
                all.insert(
                    format!("{}.{field}", canonical(names, &text(&s["name"]))),
                    names.parse(&t),
                );
            }
        }
    }
    for i in json("kernel_imports")["imports"].as_array().expect("imports") {
        let t = match i["kind"].as_str() {
            Some("function") => {
                let args: Vec<_> = i["args"].as_array().expect("args").iter().map(text).collect();
                names.function(&args.join(", "), &text(&i["ret"]))
            }
            _ => match i["type"].as_str() {
                Some(t) => names.parse(t),
                None => continue,
            },
        };
        all.insert(text(&i["name"]), t);
    }
    let list = include_str!("../prototypes.list");
    for line in list.lines().filter(|l| !l.starts_with('#')) {
        let (name, rest) = line.split_once(' ').expect("a name");
        let (result, args) = rest.split_once(" (").expect("arguments");
        let args = args.strip_suffix(')').expect("arguments");
        all.insert(name.to_owned(), names.function(args, result));
    }
    all
}

fn canonical(names: &Names, dotted: &str) -> String {
    names.canonical(dotted.trim_start_matches("struct "))
}

/// One line for each declaration that C has otherwise or not at all.
fn differences(types: &str, functions: &str) -> Vec<String> {
    static C: LazyLock<(Names, Declarations)> = LazyLock::new(|| {
        let names = names();
        let theirs = in_c(&names);
        (names, theirs)
    });
    let (names, theirs) = &*C;
    let ours = rust::declarations(names, types, functions);
    let mut wrong = Vec::new();
    for (name, t) in ours {
        if OTHERWISE.iter().any(|(n, _)| *n == name) {
            continue;
        }
        let c_name = match name.split_once('.') {
            // An opaque object of the kernel's.
            Some((_, "_opaque" | "_pin")) => continue,
            Some(("nmsghdr", member)) => format!("{}.{member}", canonical(names, "msghdr")),
            Some((s, member)) => format!("{}.{member}", canonical(names, s)),
            None => name.clone(),
        };
        match theirs.get(&c_name) {
            None => wrong.push(format!("{name}: nothing says what C has")),
            Some(c) if !t.serves_as(c) => wrong.push(format!("{name} is {t:?}, C has {c:?}")),
            Some(_) => {}
        }
    }
    wrong
}

const TYPES: &str = include_str!("../../src/types.rs");
const FUNCTIONS: &str = include_str!("../../src/functions.rs");

#[test]
fn declarations_are_those_of_illumos() {
    let wrong = differences(TYPES, FUNCTIONS);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Each of these mistakes is seen, and it alone.
#[test]
fn a_wrong_type_is_noticed() {
    let mistakes = [
        (
            "an argument is too short",
            "kmem_free(buf: *mut c_void, size: usize)",
            "kmem_free(buf: *mut c_void, size: u32)",
            "kmem_free",
        ),
        ("a sign", "ddi_get_lbolt() -> clock_t", "ddi_get_lbolt() -> u64", "ddi_get_lbolt"),
        (
            "two arguments change places",
            "cv_wait(cv: *mut kcondvar_t, m: *mut kmutex_t)",
            "cv_wait(m: *mut kmutex_t, cv: *mut kcondvar_t)",
            "cv_wait",
        ),
        (
            "an argument lacks",
            "ksocket_close(ks: ksocket_t, cr: *mut cred_t)",
            "ksocket_close(ks: ksocket_t)",
            "ksocket_close",
        ),
        (
            "a pointer to something else",
            "mac_alloc(version: u32) -> *mut mac_register_t",
            "mac_alloc(version: u32) -> *mut mac_callbacks_t",
            "mac_alloc",
        ),
        (
            "one pointer too few",
            "ksocket_t,\n        msg: *mut nmsghdr,\n        flags: c_int,\n        mpp: *mut *mut mblk_t",
            "ksocket_t,\n        msg: *mut nmsghdr,\n        flags: c_int,\n        mpp: *mut mblk_t",
            "ksocket_sendmblk",
        ),
        (
            "another handle",
            "mac_tx_update(mh: mac_handle_t)",
            "mac_tx_update(mh: mac_perim_handle_t)",
            "mac_tx_update",
        ),
        (
            "a result where there is none",
            "freemsg(mp: *mut mblk_t);",
            "freemsg(mp: *mut mblk_t) -> c_int;",
            "freemsg",
        ),
        (
            "a function nobody knows",
            "pub fn nodev() -> c_int;",
            "pub fn nodevice() -> c_int;",
            "nodevice",
        ),
        ("a shorter table", "crc32_table: [u32; 256]", "crc32_table: [u32; 255]", "crc32_table"),
        (
            "no variable arguments",
            "cmn_err(level: c_int, format: *const c_char, ...)",
            "cmn_err(level: c_int, format: *const c_char)",
            "cmn_err",
        ),
    ];
    for (what, right, wrong, name) in mistakes {
        assert!(FUNCTIONS.contains(right), "{right}");
        let found = differences(TYPES, &FUNCTIONS.replacen(right, wrong, 1));
        assert!(matches!(&found[..], [line] if line.starts_with(name)), "{what}: {found:?}");
    }
    let mistakes = [
        ("b_band: u8", "b_band: i8", "mblk_t.b_band"),
        ("m_margin: u32", "m_margin: c_int", "mac_register_t.m_margin"),
        (
            "mc_start: Option<unsafe extern \"C\" fn(*mut c_void) -> c_int>",
            "mc_start: Option<unsafe extern \"C\" fn(*mut c_void)>",
            "mac_callbacks_t.mc_start",
        ),
        (
            "cb_print: Option<unsafe extern \"C\" fn(dev_t, *mut c_char) -> c_int>",
            "cb_print: Option<unsafe extern \"C\" fn(c_int, *mut c_char) -> c_int>",
            "cb_ops.cb_print",
        ),
        ("b_cont: *mut mblk_t", "b_cont: *mut dblk_t", "mblk_t.b_cont"),
        ("pub type zoneid_t = i32", "pub type zoneid_t = i64", "crgetzoneid"),
    ];
    for (right, wrong, name) in mistakes {
        assert!(TYPES.contains(right), "{right}");
        let found = differences(&TYPES.replacen(right, wrong, 1), FUNCTIONS);
        assert!(found.iter().any(|l| l.starts_with(name)), "{wrong}: {found:?}");
    }
}

/// Nothing else compares them: the linker goes by names.
#[test]
fn fakekernel_defines_what_is_declared() {
    let names = names();
    let ours = rust::declarations(&names, TYPES, FUNCTIONS);
    let (mut compared, mut wrong) = (0, Vec::new());
    let mut dirs =
        vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fakekernel/src"))];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let source = read(path.to_str().expect("a name in UTF-8"));
            for (name, defined) in rust::definitions(&names, TYPES, &source) {
                let Some(declared) = ours.get(&name) else { continue };
                compared += 1;
                // Stable Rust cannot define such a function; there it takes some words.
                let variadic =
                    matches!(declared, Type::Fn(Some(args), _) if args.contains(&Type::Variadic));
                if defined != *declared && !variadic {
                    wrong.push(format!("{name}: defined {defined:?}, declared {declared:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(compared > 150, "{compared}");
}
