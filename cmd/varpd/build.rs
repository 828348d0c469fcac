// SPDX-License-Identifier: CDDL-1.0
//! Exports from the executable the C functions that plugins bind to.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "illumos") {
        // libnvpair has its functions itself there.
        let map = concat!(env!("CARGO_MANIFEST_DIR"), "/exports.map");
        println!("cargo:rustc-link-arg-bins=-Wl,-M,{map}");
    } else {
        for symbols in ["libvarpd_*", "nvlist_*", "nvpair_*", "varpd_panic_*"] {
            println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol={symbols}");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=exports.map");
}
