// SPDX-License-Identifier: CDDL-1.0
//! Gives the library its name for the run-time linker. It exports the `no_mangle` names of its crates;
//! that these are those of exports.map is checked by tests and by `cargo xtask user`. The tests
//! themselves export what plugins bind to, as cmd/varpd does.

fn main() {
    let illumos = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "illumos");
    let name = if illumos { "-h" } else { "-soname" };
    println!("cargo:rustc-cdylib-link-arg=-Wl,{name},libvarpd.so.1");
    for symbols in ["libvarpd_*", "nvlist_*", "nvpair_*"] {
        println!("cargo:rustc-link-arg-tests=-Wl,--export-dynamic-symbol={symbols}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
