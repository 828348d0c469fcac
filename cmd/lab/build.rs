// SPDX-License-Identifier: CDDL-1.0
//! The lab is varpd too, so plugins must find libvarpd's symbols in it.

fn main() {
    for symbols in ["libvarpd_*", "nvlist_*", "varpd_panic_buf"] {
        println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol={symbols}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
