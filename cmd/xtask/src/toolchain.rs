// SPDX-License-Identifier: CDDL-1.0
//! The compiler that builds for illumos: one with the sources of its own standard library.
//!
//! Those for the host may come without; and sources of another version do not fit.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const MISSING: &str = "\
no Rust toolchain with the sources of its standard library was found.
    Debian:     apt-get install rustc-web cargo-web rust-web-src
    elsewhere:  rustup toolchain install nightly --component rust-src";

/// A toolchain, by its root directory.
#[derive(Debug)]
pub struct Toolchain {
    sysroot: PathBuf,
}

impl Toolchain {
    /// The first that will do: the system's, that of this directory, nightly.
    ///
    /// # Errors
    /// None; the message says how to get one.
    pub fn find() -> Result<Toolchain> {
        let rustup = [&[] as &[&str], &["+nightly"]].into_iter().filter_map(rustc_sysroot);
        let mut all = std::iter::once(PathBuf::from("/usr")).chain(rustup);
        let sysroot = all.find(|s| is_complete(s)).context(MISSING)?;
        Ok(Toolchain { sysroot })
    }

    /// A command of its cargo, which takes unstable options.
    pub fn cargo(&self) -> Result<Command> {
        let bin = self.sysroot.join("bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths(std::iter::once(bin.clone()).chain(std::env::split_paths(&path)))?;
        let mut cmd = Command::new(bin.join("cargo"));
        cmd.env("PATH", path).env("RUSTC", bin.join("rustc")).env("RUSTC_BOOTSTRAP", "1");
        // What the cargo that runs us has set for its own compiler.
        for name in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "RUSTFLAGS", "LD_LIBRARY_PATH"] {
            cmd.env_remove(name);
        }
        Ok(cmd)
    }
}

fn rustc_sysroot(args: &[&str]) -> Option<PathBuf> {
    let mut cmd = Command::new("rustc");
    // Which would have the last word.
    if !args.is_empty() {
        cmd.env_remove("RUSTUP_TOOLCHAIN");
    }
    let out = cmd.args(args).args(["--print", "sysroot"]).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim_end().into())
}

fn is_complete(sysroot: &Path) -> bool {
    ["bin/cargo", "bin/rustc", "lib/rustlib/src/rust/library/core/src/lib.rs"]
        .iter()
        .all(|file| sysroot.join(file).exists())
}

/// Makes sure that programs are installed.
///
/// # Errors
/// One is not; the message names the packages of Debian that are missing.
pub fn need_programs(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<_> = programs.iter().filter(|(program, _)| !is_installed(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    bail!("not installed: {} (Debian: apt-get install {})", names.join(", "), packages.join(" "));
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
