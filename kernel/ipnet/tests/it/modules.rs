// SPDX-License-Identifier: CDDL-1.0
//! The driver as a crate of this program.
use fakekernel::host::{Kernel, StaticModule};
use illumos_sys_hdrs::{bpf_itap_fn_t, bpf_provider_t, dev_t, zoneid_t};
use std::ffi::{c_char, c_void};
use std::sync::atomic::AtomicU32;

pub type WalkFn = unsafe extern "C" fn(*const c_char, *mut c_void, dev_t);

unsafe extern "C" {
    pub fn ipnet_set_itap(f: Option<bpf_itap_fn_t>);
    fn ipnet_if_getdev(name: *mut c_char, zone: zoneid_t) -> dev_t;
    fn ipnet_walk_if(f: WalkFn, arg: *mut c_void, zone: zoneid_t);
    static bpf_ipnet: bpf_provider_t;
}

/// Makes it known to the kernel.
pub fn register(kernel: &Kernel) {
    let m = ipnet::module();
    let module = StaticModule { name: m.name, init: m.init, fini: m.fini, info: m.info };
    kernel.register_module(module);
    let exports = [
        ("ipnet_if_getdev", ipnet_if_getdev as *const () as usize),
        ("ipnet_walk_if", ipnet_walk_if as *const () as usize),
    ];
    kernel.register_exports(m.name, &exports);
}

/// What BPF takes.
pub fn provider() -> &'static bpf_provider_t {
    // SAFETY: constant.
    unsafe { &bpf_ipnet }
}

/// Tunables of the driver.
pub fn ipnet_allmulti() -> &'static AtomicU32 {
    &ipnet::ipnet_allmulti
}

pub fn ipnet_unbound() -> &'static AtomicU32 {
    &ipnet::ipnet_unbound
}
