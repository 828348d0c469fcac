// SPDX-License-Identifier: CDDL-1.0
//! Module files reach the kernel's data only in a program that lies where it was linked: see krtld.

fn main() {
    println!("cargo::rustc-link-arg=-no-pie");
    println!("cargo::rerun-if-changed=build.rs");
}
