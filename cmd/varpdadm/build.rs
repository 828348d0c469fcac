// SPDX-License-Identifier: CDDL-1.0
//! Exports from the tests the C functions that plugins bind to, as cmd/varpd does.

fn main() {
    for symbols in ["libvarpd_*", "nvlist_*", "nvpair_*"] {
        println!("cargo:rustc-link-arg-tests=-Wl,--export-dynamic-symbol={symbols}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
