// SPDX-License-Identifier: CDDL-1.0
//! Kernel modules: those that are linked in, and files in their place.

use std::ffi::{c_char, c_void};
use std::path::PathBuf;
use std::sync::Arc;

use fakekernel::host::{Kernel, ModuleFile as _, StaticModule};
use illumos_sys_hdrs::{dev_t, zoneid_t};
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
    register_ipnet(kernel);
    let files: Vec<_> = files.iter().map(|(name, file)| Module::new(&**name, &**file)).collect();
    for file in &files {
        register(kernel, file)?;
    }
    for file in &files {
        load(kernel, file)?;
    }
    let load = |name| kernel.modload(name).map(drop);
    ["drv/overlay", "drv/ipnet"]
        .iter()
        .try_for_each(|name| load(name).map_err(|e| format!("{name} does not load: {e}")))
}

unsafe extern "C" {
    fn ipnet_if_getdev(name: *mut c_char, zone: zoneid_t) -> dev_t;
    fn ipnet_walk_if(
        f: unsafe extern "C" fn(*const c_char, *mut c_void, dev_t),
        arg: *mut c_void,
        zone: zoneid_t,
    );
}

/// With the two functions that /dev/ipnet is made of, which the kernel finds by their names in a
/// file.
fn register_ipnet(kernel: &Kernel) {
    let module = linked(ipnet::module());
    kernel.register_module(module);
    let exports = [
        ("ipnet_if_getdev", ipnet_if_getdev as *const () as usize),
        ("ipnet_walk_if", ipnet_walk_if as *const () as usize),
    ];
    kernel.register_exports(module.name, &exports);
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
