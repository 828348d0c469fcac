// SPDX-License-Identifier: CDDL-1.0
//! Tests load modules, so they lie where modules can reach their data: see the crate's essay.

fn main() {
    println!("cargo::rustc-link-arg=-no-pie");
    println!("cargo::rerun-if-changed=build.rs");
}
