// SPDX-License-Identifier: CDDL-1.0
//! Kernel modules: those that are linked in, and files in their place.

use std::path::PathBuf;
use std::sync::Arc;

use fakekernel::host::{Kernel, ModuleFile as _, StaticModule};
use krtld::Module;
use overlay_abi::errno::Errno;

fn linked(m: ddi::module::Module) -> StaticModule {
    StaticModule { name: m.name, init: m.init, fini: m.fini, info: m.info }
}

/// Makes the linked modules known, then the files, and loads those and the driver. Errors here are
/// sentences.
pub fn start(kernel: &Kernel, files: &[(String, PathBuf)]) -> Result<(), String> {
    kernel.register_module(linked(overlay::module()));
    // It calls functions of the overlay module.
    kernel.register_module_needing(linked(vxlan::module()), &["drv/overlay"]);
    let files: Vec<_> = files.iter().map(|(name, file)| Module::new(&**name, &**file)).collect();
    for file in &files {
        register(kernel, file)?;
    }
    for file in &files {
        load(kernel, file)?;
    }
    kernel.modload("drv/overlay").map(drop).map_err(|e| format!("drv/overlay does not load: {e}"))
}

/// Makes a file known as the module of its name, in place of the one that was.
fn register(kernel: &Kernel, file: &Arc<Module>) -> Result<(), String> {
    kernel.register_module_file(file.clone()).map_err(|e| why(file, e))
}

/// Loads a file that is known.
fn load(kernel: &Kernel, file: &Arc<Module>) -> Result<(), String> {
    kernel.modload(file.name()).map(drop).map_err(|e| why(file, e))
}

/// Loads a file as the module of its name; if that is refused it is not known afterwards.
pub fn load_new(kernel: &Kernel, file: &Arc<Module>) -> Result<(), String> {
    kernel.modload_file(file.clone()).map(drop).map_err(|e| why(file, e))
}

fn why(file: &Module, e: Errno) -> String {
    match file.refusal() {
        Some(refusal) => format!("{}: {refusal}", file.path().display()),
        None if e == Errno::EBUSY => format!("{} is loaded already", file.name()),
        None => format!("{} does not load: {e}", file.name()),
    }
}
