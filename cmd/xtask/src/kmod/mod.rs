// SPDX-License-Identifier: CDDL-1.0
//! Kernel modules for illumos, made and checked on Linux: `cargo xtask kmod`.

pub mod check;
pub mod code;
pub mod finish;
pub mod lists;
mod panics;
pub mod view;

use crate::toolchain::{Toolchain, need_programs};
use anyhow::{Context, Result, bail};
use check::{Expected, Report};
use finish::Plan;
use lists::{Forgiven, KernelSymbols};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The functions by which the kernel loads, unloads and describes a module.
pub const ENTRIES: [&str; 3] = ["_init", "_fini", "_info"];

/// A module of ours.
struct Module {
    name: &'static str,
    /// What other modules call.
    exports: &'static [&'static str],
    /// Modules that must be there though no symbol of theirs is used.
    needs: &'static [&'static str],
    /// Where packets and answers come in, as the check names functions: no panic on their paths.
    hot: &'static [&'static str],
}

const MODULES: [Module; 3] = [
    Module {
        name: "overlay",
        exports: &[
            "overlay_plugin_alloc",
            "overlay_plugin_free",
            "overlay_plugin_register",
            "overlay_plugin_unregister",
            "overlay_prop_set_default",
            "overlay_prop_set_name",
            "overlay_prop_set_nodefault",
            "overlay_prop_set_prot",
            "overlay_prop_set_range_str",
            "overlay_prop_set_range_uint32",
            "overlay_prop_set_type",
        ],
        needs: &[],
        hot: &[
            "ddi::mac::tx::<overlay::dev::Dev>",
            "ddi::ksocket::receive::<overlay::mux::Demux>",
            "ddi::time::fire::<overlay::dev::Dev>",
            "overlay::ioctl_target::v1::lookup",
            "overlay::ioctl_target::v2::lookup",
            "overlay::ioctl_target::packet",
            "overlay::ioctl_target::v1::respond",
            "overlay::ioctl_target::v2::respond",
            "overlay::ioctl_target::v1::refuse",
            "overlay::ioctl_target::v2::refuse",
            "overlay::ioctl_target::inject",
            "overlay::ioctl_target::resend",
        ],
    },
    // The sockets it asks for are UDP's.
    Module {
        name: "vxlan",
        exports: &[],
        needs: &["drv/ip"],
        hot: &["vxlan::entry::encap", "vxlan::entry::decap"],
    },
    Module {
        name: "ipnet",
        // What bpf and the dev filesystem call.
        exports: &["bpf_ipnet", "ipnet_if_getdev", "ipnet_set_itap", "ipnet_walk_if"],
        needs: &[],
        hot: &[
            "ddi::neti::observe::<ipnet::stack::Stack>",
            "ddi::neti::nic_event::<ipnet::stack::Stack>",
            "ddi::stream::put::<ipnet::module::Node>",
            "ddi::stream::service",
        ],
    },
];

/// Builds and checks all modules.
///
/// # Errors
/// Something is not installed; it does not build; the check found something.
pub fn run(root: &Path, debug: bool) -> Result<()> {
    need_programs(&[("ld.bfd", "binutils")])?;
    let toolchain = Toolchain::find()?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let out = target.join(if debug { "kmod/debug" } else { "kmod" });
    std::fs::create_dir_all(&out)?;
    let archives = compile(&toolchain, root, &target.join("kmod/build"), debug)?;
    let read = |file: &str| {
        std::fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))
    };
    let kernel = KernelSymbols::parse(&read("kernel/ksyms.list")?)?;
    let forgiven = Forgiven::parse(&read("kernel/kmod/panics.allow")?)?;
    let (mut wrong, mut used) = (0, BTreeSet::new());
    for module in &MODULES {
        let exports: Vec<&str> = ENTRIES.iter().chain(module.exports).copied().collect();
        let object = out.join(format!("{}.o", module.name));
        link(root, &archives.join(format!("libkmod_{}.a", module.name)), &object, &exports)?;
        let linked = std::fs::read(&object)?;
        let finish = |debug, file: String| -> Result<Vec<u8>> {
            let plan = Plan { exports: &exports, needs: module.needs, kernel: &kernel, debug };
            let bytes = finish::finish(&linked, &plan)?;
            std::fs::write(out.join(file), &bytes)?;
            Ok(bytes)
        };
        finish(true, format!("{}.dbg", module.name))?;
        let bytes = finish(false, module.name.to_string())?;
        std::fs::remove_file(&object)?;
        let expected =
            Expected { exports: &exports, kernel: &kernel, forgiven: &forgiven, hot: module.hot };
        let report = check::check(&bytes, &expected)?;
        print(&out.join(module.name), &bytes, &report);
        wrong += report.findings.len();
        used.extend(report.forgiven);
    }
    println!("panics forgiven (kernel/kmod/panics.allow): {}", forgiven.iter().count());
    for (function, why) in forgiven.iter() {
        println!("    {function}: {why}");
        if !used.contains(function) {
            bail!("{function} does not panic: take it off the list");
        }
    }
    if wrong != 0 {
        bail!("{wrong} findings: these are not modules to load");
    }
    Ok(())
}

fn compile(toolchain: &Toolchain, root: &Path, target: &Path, debug: bool) -> Result<PathBuf> {
    let mut cmd = toolchain.cargo()?;
    // Its configuration is found from there.
    cmd.current_dir(root.join("kernel/kmod"))
        .args(["build", "--locked", "--target-dir"])
        .arg(target);
    if !debug {
        cmd.arg("--release");
    }
    succeed(&mut cmd)?;
    let profile = if debug { "debug" } else { "release" };
    Ok(target.join("x86_64-illumos-kernel").join(profile))
}

/// One object of all that the exports reach.
fn link(root: &Path, archive: &Path, object: &Path, exports: &[&str]) -> Result<()> {
    let mut cmd = Command::new("ld.bfd");
    cmd.args(["-m", "elf_x86_64", "-r", "--gc-sections", "-T"]);
    cmd.arg(root.join("kernel/kmod/module.lds"));
    for name in exports {
        cmd.args(["-u", name]);
    }
    succeed(cmd.arg(archive).arg("-o").arg(object))
}

fn succeed(cmd: &mut Command) -> Result<()> {
    let status = cmd.status().with_context(|| format!("cannot run {:?}", cmd.get_program()))?;
    if !status.success() {
        bail!("{:?} failed: {status}", cmd.get_program());
    }
    Ok(())
}

fn print(file: &Path, bytes: &[u8], report: &Report) {
    let sizes: Vec<_> = report.sizes.iter().map(|(name, n)| format!("{name} {n}")).collect();
    println!("{}: {} bytes ({})", file.display(), bytes.len(), sizes.join(", "));
    println!(
        "  {} instructions, {} probes, needs {}",
        report.instructions,
        report.probes,
        report.needs.join(" ")
    );
    for (module, names) in &report.imports {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        println!("  {} from {module}: {}", names.len(), names.join(" "));
    }
    println!("  largest frames:");
    for (size, function) in report.frames.iter().take(5) {
        println!("    {size:5} {function}");
    }
    for finding in &report.findings {
        println!("  {finding}");
    }
}
