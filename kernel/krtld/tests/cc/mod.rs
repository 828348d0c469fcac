// SPDX-License-Identifier: CDDL-1.0
//! Makes module files of C source, as anybody's would be made with GNU tools.
use std::path::{Path, PathBuf};
use std::process::Command;

/// As illumos compiles its own modules.
const CFLAGS: [&str; 11] = [
    "-mcmodel=kernel",
    "-mno-red-zone",
    "-ffreestanding",
    "-fno-pic",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fno-omit-frame-pointer",
    "-fcf-protection=none",
    "-mno-sse",
    "-mno-mmx",
    "-mno-80387",
];

/// Compiles to one relocatable file. `None` after counting the test as skipped: there is no gcc.
pub fn module(dir: &Path, name: &str, source: &str, extra: &[&str]) -> Option<PathBuf> {
    let [c, object, out] = ["c", "o", "module"].map(|ext| dir.join(format!("{name}.{ext}")));
    std::fs::write(&c, source).unwrap();
    let gcc = Command::new("gcc")
        .args(CFLAGS)
        .args(["-O2", "-c"])
        .args(extra)
        .arg("-o")
        .args([&object, &c])
        .output();
    let gcc = match gcc {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            test_skip::skip("needs gcc");
            return None;
        }
        other => other.unwrap(),
    };
    assert!(gcc.status.success(), "{}", String::from_utf8_lossy(&gcc.stderr));
    let ld = Command::new("ld").args(["-r", "-o"]).args([&out, &object]).output().unwrap();
    assert!(ld.status.success(), "{}", String::from_utf8_lossy(&ld.stderr));
    Some(out)
}
