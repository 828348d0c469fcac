// SPDX-License-Identifier: CDDL-1.0
//! The compiler that builds for illumos: one with the sources of its own standard library.
//!
//! Those for the host may come without; and sources of another version do not fit.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is needed below the root of a toolchain, and the package of Debian that has it.
const FILES: [(&str, &str); 3] = [
    ("bin/rustc", "rustc-web"),
    ("bin/cargo", "cargo-web"),
    ("lib/rustlib/src/rust/library/core/src/lib.rs", "rust-web-src"),
];

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
        let sysroot = all.find(|s| missing(s).is_empty()).with_context(how_to_get_one)?;
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

/// Packages of Debian that would add what is not there.
fn missing(sysroot: &Path) -> Vec<&'static str> {
    let absent = FILES.iter().filter(|(file, _)| !sysroot.join(file).exists());
    absent.map(|(_, package)| *package).collect()
}

fn how_to_get_one() -> String {
    format!(
        "no Rust toolchain with the sources of its standard library was found.\n    \
         Debian:     apt-get install {}\n    \
         elsewhere:  rustup toolchain install nightly --component rust-src",
        missing(Path::new("/usr")).join(" ")
    )
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
