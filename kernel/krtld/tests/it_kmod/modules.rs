// SPDX-License-Identifier: CDDL-1.0
//! The driver and its plugin as files.
use fakekernel::host::Kernel;
use krtld::Module;
use overlay_abi::encap::overlay_plugin_register_t;
use std::ffi::{c_char, c_int, c_uint};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

/// There is one kernel at a time, but with cargo's own runner several in a row.
static OVERLAY: OnceLock<Arc<Module>> = OnceLock::new();

/// Makes the files known to the kernel. Without files the test ends here, as skipped: in the middle
/// of it there is no other way.
pub fn register(kernel: &Kernel) {
    let Some(dir) = test_skip::kernel_modules() else { std::process::exit(0) };
    let overlay = OVERLAY.get_or_init(|| Module::new("drv/overlay", dir.join("overlay")));
    kernel.register_module_file(overlay.clone()).unwrap();
    kernel.register_module_file(Module::new("overlay/vxlan", dir.join("vxlan"))).unwrap();
}

/// Address of a symbol of the driver.
fn symbol(name: &str) -> usize {
    let module = OVERLAY.get().expect("a kernel was booted");
    module.symbol(name).unwrap_or_else(|| panic!("the driver is not loaded, or has no {name}"))
}

/// The driver's tunable of that name.
pub fn overlay_target_max() -> &'static AtomicUsize {
    // SAFETY: what the driver has under that name; it stays loaded while a test uses it.
    unsafe { &*std::ptr::with_exposed_provenance(symbol("overlay_target_max")) }
}

/// Functions that the driver exports to encapsulation plugins.
macro_rules! exports {
    ($($name:ident($arg:ident: $type:ty) $(-> $result:ty)?;)*) => { $(
        pub unsafe fn $name($arg: $type) $(-> $result)? {
            // SAFETY: the function of that name, and the caller's promise.
            unsafe {
                std::mem::transmute::<usize, unsafe extern "C" fn($type) $(-> $result)?>(
                    symbol(stringify!($name)),
                )($arg)
            }
        }
    )* };
}
exports! {
    overlay_plugin_alloc(version: c_uint) -> *mut overlay_plugin_register_t;
    overlay_plugin_free(reg: *mut overlay_plugin_register_t);
    overlay_plugin_register(reg: *mut overlay_plugin_register_t) -> c_int;
    overlay_plugin_unregister(name: *const c_char) -> c_int;
}

/// The driver's crate is in this program too, for its names; what runs is the file.
#[test]
fn the_driver_is_the_file() {
    let rig = crate::common::Rig::boot();
    rig.create(1, 7).unwrap();
    let loaded = rig.kernel.modinfo();
    assert_eq!(loaded.len(), 2);
    assert!(loaded.iter().all(|m| m.file.is_some()), "{loaded:?}");
    assert!(!std::ptr::eq(overlay_target_max(), &overlay::overlay_target_max));
    rig.delete(1).unwrap();
    rig.end();
}
