// SPDX-License-Identifier: CDDL-1.0
//! `cargo xtask user`: programs, plugins and libraries for illumos, made and audited on Linux.
//!
//! ```text
//!   symbols.list --> stub libraries --+
//!   crt1.s --------> crt1.o ----------+--> illumos-cc (ld.lld) --> varpd, libvarpd_direct.so, ...
//!   cargo build -Zbuild-std ----------+                                   |
//!                                                                       audit
//! ```
//!
//! | module | job |
//! |---|---|
//! | `packages` | what of the workspace is for illumos |
//! | `symbols` | the list of what may be imported |
//! | `sysroot` | stub libraries, `crt1.o`, wrapper of the linker driver |
//! | `ld` | linker driver |
//! | `audit` | what ld.so.1 and libc need, checked on the finished files |
//!
//! Nothing here comes from an illumos system: the list names symbols that its documentation and
//! mapfiles have, and a stub has names only. So what is checked is that the files are what ld.so.1
//! and exec(2) take, not that they work.

mod audit;
mod ld;
mod packages;
mod symbols;
mod sysroot;

pub use packages::Artifact;

use crate::toolchain::{Toolchain, need_programs};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use symbols::List;

const TARGET: &str = "x86_64-unknown-illumos";

/// A file that passed the audit.
#[derive(Debug)]
pub struct Built {
    /// What it is.
    pub artifact: Artifact,
    /// Where it is, stripped.
    pub path: PathBuf,
}

pub use ld::link;

/// Where everything for illumos is built: apart from the host's files, which another compiler made.
fn target_dir(root: &Path) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    target.map_or_else(|| root.join("target"), PathBuf::from).join("illumos")
}

/// Builds, lints and audits; prints what came of it.
pub fn run(root: &Path) -> Result<Vec<Built>> {
    need_programs(&[("ld.lld", "lld"), ("as", "binutils"), ("strip", "binutils")])?;
    let toolchain = Toolchain::find()?;
    let packages = packages::read(toolchain.cargo()?)?;
    let illumos = root.join("cmd/xtask/illumos");
    let list = List::read(&illumos.join("symbols.list"))?;
    let dir = target_dir(root);
    let sysroot = sysroot::make(&dir.join("sysroot"), &list, &illumos.join("crt1.s"))?;

    for (name, reason) in &packages.left_out {
        println!("{name:18} not for illumos: {reason}");
    }
    let cargo = |subcommand: &str| -> Result<Command> {
        let mut cmd = toolchain.cargo()?;
        cmd.arg(subcommand).args(["--locked", "--target", TARGET]).arg("--target-dir").arg(&dir);
        cmd.args(packages.built.iter().flat_map(|p| ["--package", p]));
        if subcommand != "clean" {
            cmd.arg("-Zbuild-std=std,panic_abort");
        }
        cmd.env("CARGO_TARGET_X86_64_UNKNOWN_ILLUMOS_LINKER", &sysroot.linker);
        Ok(cmd)
    };
    if sysroot.changed {
        execute(cargo("clean")?.args(["--release", "--quiet"])).context("clean for illumos")?;
    }
    execute(cargo("build")?.arg("--release")).context("build for illumos")?;
    if has_clippy(&toolchain)? {
        // Where thread-locals are pthread keys that lint fires at constants as well.
        let misled = "-Aclippy::missing_const_for_thread_local";
        execute(cargo("clippy")?.args(["--quiet", "--", "-Dwarnings", misled]))
            .context("clippy for illumos")?;
    } else {
        println!(
            "checked with warnings denied, as this toolchain has no clippy (Debian: apt-get \
             install rust-web-clippy)"
        );
        execute(cargo("check")?.arg("--quiet").env("RUSTFLAGS", "-Dwarnings"))
            .context("check for illumos")?;
    }

    let out = dir.join("out");
    std::fs::create_dir_all(&out)?;
    let release = dir.join(TARGET).join("release");
    let ship = |artifact: Artifact| -> Result<Built> {
        let path = out.join(&artifact.file);
        execute(Command::new("strip").arg(release.join(&artifact.made)).arg("-o").arg(&path))?;
        Ok(Built { artifact, path })
    };
    let files: Vec<Built> = packages.artifacts.into_iter().map(ship).collect::<Result<_>>()?;
    audit_all(&files, &list)?;
    Ok(files)
}

/// Audits all files and prints a line for each, and what is wrong with it.
fn audit_all(files: &[Built], list: &List) -> Result<()> {
    let mut wrong = 0;
    for file in files {
        let report = audit::audit(&file.path, &file.artifact, list)?;
        println!("{:18} {}", file.artifact.file, report.summary);
        for finding in &report.findings {
            println!("    {finding}");
        }
        wrong += report.findings.len();
    }
    if wrong > 0 {
        bail!("{wrong} findings: what illumos would refuse, or run otherwise than meant");
    }
    Ok(())
}

fn has_clippy(toolchain: &Toolchain) -> Result<bool> {
    let mut cmd = toolchain.cargo()?;
    cmd.args(["clippy", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(cmd.status()?.success())
}

/// Runs a command to its end.
pub(crate) fn execute(cmd: &mut Command) -> Result<()> {
    let status = cmd.status().with_context(|| format!("cannot run {:?}", cmd.get_program()))?;
    if !status.success() {
        bail!("{:?} failed: {status}", cmd.get_program());
    }
    Ok(())
}
