// SPDX-License-Identifier: CDDL-1.0
//! The driver and its plugin as crates of this program.
use fakekernel::host::{Kernel, StaticModule};
use overlay_abi::encap::overlay_plugin_register_t;
use std::ffi::{c_char, c_int, c_uint};
use std::sync::atomic::AtomicUsize;

unsafe extern "C" {
    pub fn overlay_plugin_alloc(version: c_uint) -> *mut overlay_plugin_register_t;
    pub fn overlay_plugin_free(reg: *mut overlay_plugin_register_t);
    pub fn overlay_plugin_register(reg: *mut overlay_plugin_register_t) -> c_int;
    pub fn overlay_plugin_unregister(name: *const c_char) -> c_int;
}

fn static_module(m: ddi::module::Module) -> StaticModule {
    StaticModule { name: m.name, init: m.init, fini: m.fini, info: m.info }
}

/// Makes them known to the kernel.
pub fn register(kernel: &Kernel) {
    kernel.register_module(static_module(overlay::module()));
    kernel.register_module_needing(static_module(vxlan::module()), &["drv/overlay"]);
}

/// The driver's tunable of that name.
pub fn overlay_target_max() -> &'static AtomicUsize {
    &overlay::overlay_target_max
}
