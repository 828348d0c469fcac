// SPDX-License-Identifier: CDDL-1.0
//! The driver as a file.
use fakekernel::host::Kernel;
use illumos_sys_hdrs::{bpf_itap_fn_t, bpf_provider_t};
use krtld::Module;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};

/// There is one kernel at a time, but with cargo's own runner several in a row.
static IPNET: OnceLock<Arc<Module>> = OnceLock::new();

/// Makes the file known to the kernel. Without the file the test ends here, as skipped: in the
/// middle of it there is no other way.
pub fn register(kernel: &Kernel) {
    let Some(dir) = test_skip::kernel_modules() else { std::process::exit(0) };
    let ipnet = IPNET.get_or_init(|| Module::new("drv/ipnet", dir.join("ipnet")));
    kernel.register_module_file(ipnet.clone()).unwrap();
}

/// Address of a symbol of the driver.
fn symbol(name: &str) -> usize {
    let module = IPNET.get().expect("a kernel was booted");
    module.symbol(name).unwrap_or_else(|| panic!("the driver is not loaded, or has no {name}"))
}

/// What BPF takes.
pub fn provider() -> &'static bpf_provider_t {
    // SAFETY: what the driver has under that name; it stays loaded while a test uses it.
    unsafe { &*std::ptr::with_exposed_provenance(symbol("bpf_ipnet")) }
}

/// A tunable of the driver.
fn tunable(name: &str) -> &'static AtomicU32 {
    // SAFETY: what the driver has under that name, while it is loaded.
    unsafe { &*std::ptr::with_exposed_provenance(symbol(name)) }
}

pub fn ipnet_allmulti() -> &'static AtomicU32 {
    tunable("ipnet_allmulti")
}

pub fn ipnet_unbound() -> &'static AtomicU32 {
    tunable("ipnet_unbound")
}

/// The driver's function of that name.
pub unsafe fn ipnet_set_itap(f: Option<bpf_itap_fn_t>) {
    // SAFETY: the function of that name, and the caller's promise.
    unsafe {
        std::mem::transmute::<usize, unsafe extern "C" fn(Option<bpf_itap_fn_t>)>(symbol(
            "ipnet_set_itap",
        ))(f)
    }
}

/// The driver's crate is in this program too, for its names; what runs is the file.
#[test]
fn the_driver_is_the_file() {
    let rig = crate::common::Rig::boot();
    drop(rig.open("/dev/lo0"));
    let loaded = rig.kernel.modinfo();
    assert_eq!(loaded.len(), 1);
    assert!(loaded.iter().all(|m| m.file.is_some()), "{loaded:?}");
    assert!(!std::ptr::eq(ipnet_allmulti(), &ipnet::ipnet_allmulti));
    rig.end();
}
