// SPDX-License-Identifier: CDDL-1.0
//! Build and test tasks of this project: `cargo xtask TASK`.
//!
//! A task is here when it needs more than one cargo command; what one cargo command does is not wrapped.

use anyhow::{Context, Result, bail};
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build and test tasks of this project.")]
enum Task {
    /// Run every test: lint of the manual pages, then unit, integration and whole-system tests, the driver's also on
    /// the kernel modules, which are built first where that can be done.
    ///
    /// Tests that need root, network namespaces or a tool that is not there are skipped, and counted.
    Test {
        /// Passed on to the test runner, such as a test name.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        runner_args: Vec<String>,
    },
    /// Build the kernel modules for illumos and check them, into target/kmod.
    Kmod {
        /// With little optimisation, into target/kmod/debug.
        #[arg(long)]
        debug: bool,
    },
    /// Check the manual pages with mandoc.
    Man,
    /// Count instructions per packet with callgrind, in the linked driver and in its module files, and measure a lab's
    /// throughput beside plain UDP.
    Bench {
        /// Only the callgrind cases whose name contains this, such as "tx 64".
        filter: Option<String>,
    },
    /// Run the fuzz targets of tests/fuzz: their corpora, then for some seconds what libFuzzer makes of them.
    Fuzz(xtask::fuzz::Options),
    /// Build programs and plugins for illumos, and audit the files.
    User,
    /// Lay out what is installed on illumos: a tree, a tarball and an IPS manifest in target/proto.
    Proto,
    /// The linker of `user`, called by rustc.
    #[command(hide = true, disable_help_flag = true)]
    IllumosLd {
        #[arg(long)]
        sysroot: PathBuf,
        #[arg(last = true)]
        args: Vec<String>,
    },
}

fn main() -> Result<()> {
    let task = Task::parse();
    if let Task::IllumosLd { sysroot, args } = &task {
        // Relative names are rustc's.
        return xtask::user::link(sysroot, args);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    std::env::set_current_dir(&root)?;
    match task {
        Task::Test { runner_args } => test(&root, &runner_args),
        Task::Kmod { debug } => xtask::kmod::run(&root, debug),
        Task::Man => man(&root),
        Task::Bench { filter } => bench(&root, filter.as_deref()),
        Task::Fuzz(options) => xtask::fuzz::run(&root, &options),
        Task::User => xtask::user::run(&root).map(drop),
        Task::Proto => xtask::proto::run(&root),
        Task::IllumosLd { .. } => Ok(()),
    }
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn has(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

fn run(cmd: &mut Command) -> Result<()> {
    let status = cmd.status().with_context(|| format!("cannot run {:?}", cmd.get_program()))?;
    if !status.success() {
        bail!("{:?} failed: {status}", cmd.get_program());
    }
    Ok(())
}

fn test(root: &Path, args: &[String]) -> Result<()> {
    if args.is_empty() {
        if has("mandoc") {
            man(root)?;
        } else {
            eprintln!("mandoc is not installed: manual pages not checked");
        }
    }
    // The driver's tests run on its crates and on the file that ships; where none can be made, on the crates alone.
    build_modules(root)?;
    // Skipped tests leave a line here: neither test runner knows a test that decides by itself to be skipped.
    let skips = root.join("target/skipped-tests");
    std::fs::create_dir_all(root.join("target"))?;
    let _ = std::fs::remove_file(&skips);
    let nextest = cargo().args(["nextest", "--version"]).output().is_ok_and(|o| o.status.success());
    let mut cmd = cargo();
    if nextest {
        cmd.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
    } else {
        // The kernel is one per process, so without nextest's process per test they take turns.
        cmd.args(["test", "--workspace", "--no-fail-fast"]);
    }
    cmd.args(args).env("OVERLAY_SKIPPED_TESTS", &skips);
    let result = run(&mut cmd);
    let skipped = std::fs::read_to_string(&skips).unwrap_or_default();
    if !skipped.is_empty() {
        println!("\n{} tests were skipped, and passed only in name:", skipped.lines().count());
        print!("{skipped}");
    }
    result
}

/// Builds the kernel modules, if there is a toolchain that can; whether there is.
fn build_modules(root: &Path) -> Result<bool> {
    match xtask::toolchain::Toolchain::find() {
        Ok(_) => xtask::kmod::run(root, false).map(|()| true),
        Err(e) => {
            eprintln!("kernel modules not built: {e}");
            Ok(false)
        }
    }
}

fn man(root: &Path) -> Result<()> {
    let mut pages: Vec<PathBuf> = std::fs::read_dir(root.join("man"))
        .context("no man directory")?
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    pages.sort();
    run(Command::new("mandoc").args(["-Tlint", "-Wwarning"]).args(pages))
}

fn bench(root: &Path, filter: Option<&str>) -> Result<()> {
    if !has("valgrind") {
        bail!("valgrind is not installed (Debian: apt-get install valgrind)");
    }
    let modules = build_modules(root)?;
    run(cargo().args(["build", "--release", "--package", "bench", "--package", "system-tests"]))?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mut cmd = Command::new(target.join("release/bench"));
    if modules {
        cmd.arg("--modload").arg(target.join("kmod"));
    }
    cmd.args(filter);
    run(&mut cmd)?;
    if filter.is_none() {
        run(&mut Command::new(target.join("release/throughput")))?;
    }
    Ok(())
}
