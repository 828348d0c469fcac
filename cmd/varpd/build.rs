// SPDX-License-Identifier: CDDL-1.0
//! Exports from the executable the C functions that plugins bind to.

fn main() {
    for symbols in ["libvarpd_*", "nvlist_*", "varpd_panic_buf"] {
        println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol={symbols}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
