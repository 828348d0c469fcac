// SPDX-License-Identifier: CDDL-1.0
//! Making programs of `tests/c`.
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use varpd_harness::beside_test;

/// The library where cargo left it.
pub fn library() -> PathBuf {
    beside_test("libcvarpd.so")
}

/// Compiles `tests/c/NAME.c` into a directory, with the library under the name it knows itself by.
pub fn program(name: &str, dir: &Path) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let so = dir.join("libvarpd.so.1");
    if !so.exists() {
        std::os::unix::fs::symlink(library(), &so).unwrap();
    }
    let program = dir.join(name);
    let done = Command::new("cc")
        .args(["-std=c99", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror", "-pedantic"])
        .args(["-pthread", "-g", "-I"])
        .arg(here.join("../../usr/include"))
        .arg(here.join("tests/c").join(name).with_extension("c"))
        .arg("-o")
        .arg(&program)
        .arg(&so)
        .arg(format!("-Wl,-rpath,{}", dir.display()))
        .output()
        .expect("cc runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    program
}

/// What a program says, which must be content.
pub fn content(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}{stderr}", output.status);
    said
}
