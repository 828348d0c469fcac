// SPDX-License-Identifier: CDDL-1.0
//! How a test says that it was skipped, because this machine lacks what it needs.
//!
//! Neither cargo's runner nor nextest knows a test that decides for itself, so the reason goes to the file named by
//! `OVERLAY_SKIPPED_TESTS`, which `cargo xtask test` counts and prints.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Counts the calling test as skipped and says why. The test returns right after.
///
/// # Panics
/// The file cannot be written: a skipped test that is not counted would be one that passed.
pub fn skip(why: impl std::fmt::Display) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    eprintln!("SKIPPED {test}: {why}");
    if let Some(file) = std::env::var_os("OVERLAY_SKIPPED_TESTS") {
        let line = format!("{test}: {why}\n");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
        file.and_then(|mut f| f.write_all(line.as_bytes())).expect("the list of skipped tests");
    }
}

/// Where `cargo xtask kmod` has put the kernel modules `overlay`, `vxlan` and `ipnet`: `$OVERLAY_KMOD_DIR`, else `kmod` in
/// cargo's target directory. `None` after counting the test as skipped: they are not there.
#[must_use]
pub fn kernel_modules() -> Option<PathBuf> {
    let target = || match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
    };
    let dir =
        std::env::var_os("OVERLAY_KMOD_DIR").map_or_else(|| target().join("kmod"), Into::into);
    if ["overlay", "vxlan", "ipnet"].iter().all(|name| dir.join(name).exists()) {
        return Some(dir);
    }
    skip(format!("no kernel modules in {} (cargo xtask kmod makes them)", dir.display()));
    None
}
