// SPDX-License-Identifier: CDDL-1.0
//! Gives the plugin its name for the run-time linker, and on illumos takes all others away. Exports from
//! the tests the C functions that plugins bind to, as cmd/varpd does.

fn main() {
    let illumos = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "illumos");
    // Without it the file would be known by the path it was linked as.
    let name = if illumos { "-h" } else { "-soname" };
    println!("cargo:rustc-cdylib-link-arg=-Wl,{name},libvarpd_svp.so.1");
    if illumos {
        let map = concat!(env!("CARGO_MANIFEST_DIR"), "/exports.map");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-M,{map}");
    } else {
        for symbols in ["libvarpd_*", "nvlist_*"] {
            println!("cargo:rustc-link-arg-tests=-Wl,--export-dynamic-symbol={symbols}");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=exports.map");
}
