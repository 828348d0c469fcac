// SPDX-License-Identifier: CDDL-1.0
//! The linker driver: rustc calls it as it calls the C compiler of illumos, it calls ld.lld.
//!
//! ```text
//!   rustc -- -m64 -std=c99 -Wl,-z,ignore -Wl,-h,NAME a.o -lsocket .. --> illumos-cc (a line of sh)
//!         --> xtask illumos-ld --sysroot DIR ARGS.. --> ld.lld
//! ```
//!
//! What the file needs in order to run on illumos is added here and checked by the audit: the
//! interpreter, our `crt1.o`, a System V hash table since ld.so.1 reads no other, all symbols bound
//! at start, no versions (the stubs have none).

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Where ld.so.1 of 64-bit programs is.
pub const INTERPRETER: &str = "/lib/amd64/ld.so.1";

/// The objects in `crt1.s` that libc binds to, which a program therefore exports.
pub const CRT_OBJECTS: [&str; 7] =
    ["___Argv", "__longdouble_used", "__xpg4", "__xpg6", "_environ", "_lib_version", "environ"];

/// Links as the arguments of rustc say.
pub fn link(sysroot: &Path, args: &[String]) -> Result<()> {
    let args = expand(args)?;
    let mut cmd = Command::new("ld.lld");
    cmd.args(translate(sysroot, &args, |map| Ok(std::fs::read_to_string(map)?))?);
    let status = cmd.status().context("cannot run ld.lld (Debian: apt-get install lld)")?;
    if !status.success() {
        bail!("ld.lld failed: {status}");
    }
    Ok(())
}

/// Puts the contents of `@file` arguments, one a line, in their place.
fn expand(args: &[String]) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for arg in args {
        match arg.strip_prefix('@') {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read arguments from {file}"))?;
                out.extend(text.lines().map(unquote));
            }
            None => out.push(arg.clone()),
        }
    }
    Ok(out)
}

/// One line of an argument file, as rustc writes it for a C compiler.
fn unquote(line: &str) -> String {
    let line = line.strip_prefix('"').and_then(|l| l.strip_suffix('"')).unwrap_or(line);
    let mut out = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

/// The arguments of ld.lld for those of a C compiler on illumos.
fn translate(
    sysroot: &Path,
    args: &[String],
    read_map: impl Fn(&str) -> Result<String>,
) -> Result<Vec<OsString>> {
    let shared = args.iter().any(|a| a == "-shared");
    let mut out: Vec<OsString> = [
        "-m",
        "elf_x86_64",
        "--hash-style=sysv",
        "--as-needed",
        "--gc-sections",
        "-z",
        "now",
        "-z",
        "norelro",
        "-z",
        "nognustack",
        // The ends of a section, by which varpd finds the records of its probes, are its own.
        "-z",
        "start-stop-visibility=hidden",
    ]
    .map(OsString::from)
    .into();
    out.extend(["-L".into(), sysroot.into()]);
    if !shared {
        // What a plugin leaves undefined its process has; the audit looks at each.
        out.extend(
            ["--no-undefined", "-no-pie", "-dynamic-linker", INTERPRETER].map(OsString::from),
        );
        out.push(sysroot.join("crt1.o").into());
        out.extend(CRT_OBJECTS.iter().map(|s| export(s)));
    }

    let words = args.iter().flat_map(|a| match a.strip_prefix("-Wl,") {
        Some(list) => list.split(',').collect(),
        None => vec![a.as_str()],
    });
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} wants a value"));
        match word {
            // Of the compiler's business, or said above.
            "-m64" | "-std=c99" | "-nodefaultlibs" | "-nostartfiles" | "-no-pie" => {}
            // libssp is an archive of gcc's, and nothing of ours asks for it.
            "-lssp" => {}
            "-h" => out.extend(["-soname".into(), value()?.into()]),
            // A map names what a library exports. To lld that of a program limits what is exported
            // for other reasons, so there the names are said one by one.
            "-M" if shared => out.push(format!("--version-script={}", value()?).into()),
            "-M" => out.extend(map_globals(&read_map(value()?)?).iter().map(|s| export(s))),
            "-R" => out.extend(["-rpath".into(), value()?.into()]),
            "-z" => match value()? {
                "ignore" => out.push("--as-needed".into()),
                "record" => out.push("--no-as-needed".into()),
                "allextract" => out.push("--whole-archive".into()),
                "defaultextract" => out.push("--no-whole-archive".into()),
                "defs" | "now" => {}
                "text" => out.extend(["-z", "text"].map(OsString::from)),
                other => bail!("-z {other} is not known to the linker driver"),
            },
            word => out.push(word.into()),
        }
    }
    out.push("-lc".into());
    Ok(out)
}

fn export(symbol: &str) -> OsString {
    format!("--export-dynamic-symbol={symbol}").into()
}

/// The names that a map of the form `{ global: NAME; ...; local: *; };` lists.
pub fn map_globals(text: &str) -> Vec<String> {
    let text: String = text.lines().map(|l| l.split('#').next().unwrap_or_default()).collect();
    let globals = text.split_once("global:").map_or("", |(_, rest)| rest);
    let globals = globals.split("local:").next().unwrap_or_default();
    globals
        .split(';')
        .map(|s| s.trim_matches(|c: char| c.is_whitespace() || c == '}'))
        .filter(|s| !s.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn lld(line: &str) -> String {
        let map = |_: &str| Ok("{ global: f; g; local: *; };".to_owned());
        let args = translate(Path::new("/s"), &words(line), map).unwrap();
        args.join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn a_program_has_interpreter_crt_and_what_libc_looks_for() {
        let args = lld("-m64 a.o -o a -lsocket -Wl,-z,ignore");
        for part in [
            "-dynamic-linker /lib/amd64/ld.so.1 /s/crt1.o",
            "--export-dynamic-symbol=_environ",
            "--hash-style=sysv",
            " a.o -o a -lsocket --as-needed -lc",
        ] {
            assert!(args.contains(part), "{part}: {args}");
        }
        assert!(!args.contains("-m64"));
    }

    #[test]
    fn a_library_has_neither_but_a_name_and_a_map() {
        let args = lld("-shared a.o -Wl,-h,libx.so.1 -Wl,-M,x.map");
        assert!(args.contains("-soname libx.so.1 --version-script=x.map"), "{args}");
        assert!(!args.contains("crt1") && !args.contains("dynamic-linker"), "{args}");
    }

    #[test]
    fn the_map_of_a_program_is_said_name_by_name() {
        let args = lld("a.o -Wl,-M,x.map");
        assert!(args.contains("--export-dynamic-symbol=f --export-dynamic-symbol=g"), "{args}");
        assert!(!args.contains("version-script"), "{args}");
    }

    #[test]
    fn an_unknown_z_is_refused() {
        let args = words("-Wl,-z,magic");
        assert!(translate(Path::new("/s"), &args, |_| Ok(String::new())).is_err());
    }

    #[test]
    fn arguments_come_from_files() {
        assert_eq!(unquote(r#""a b\\c\"d""#), r#"a b\c"d"#);
        assert_eq!(unquote("-lc"), "-lc");
    }
}
