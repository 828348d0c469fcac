// SPDX-License-Identifier: CDDL-1.0
//! The lab is varpd too, so plugins must find libvarpd's symbols in it. It is fakekerneld too, so
//! module files must reach the kernel's data in it: see krtld.

fn main() {
    for symbols in ["libvarpd_*", "nvlist_*", "nvpair_*", "varpd_panic_buf"] {
        println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol={symbols}");
    }
    println!("cargo:rustc-link-arg-bins=-no-pie");
    println!("cargo:rerun-if-changed=build.rs");
}
