// SPDX-License-Identifier: CDDL-1.0
//! Gives the plugin its name for the run-time linker.

fn main() {
    // Without it the file would be known by the path it was linked as.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libvarpd_direct.so.1");
    println!("cargo:rerun-if-changed=build.rs");
}
