// SPDX-License-Identifier: CDDL-1.0
//! Module files reach the kernel's data only in a program that lies where it was linked: see krtld. `lookups` is varpd
//! too, in which plugins must find libvarpd's symbols.

fn main() {
    println!("cargo::rustc-link-arg=-no-pie");
    for symbols in ["libvarpd_*", "nvlist_*", "varpd_panic_buf"] {
        println!("cargo::rustc-link-arg-bin=lookups=-Wl,--export-dynamic-symbol={symbols}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
