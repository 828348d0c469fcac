// SPDX-License-Identifier: CDDL-1.0
//! Making programs of `tests/c`.
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use varpd_harness::beside_test;

/// The library where cargo left it.
pub fn library() -> PathBuf {
    beside_test("libcvarpd.so")
}

/// Compiles `tests/c/NAME.c` against the installed headers.
fn compile(name: &str, out: &Path, args: &[&str]) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let done = Command::new("cc")
        .args(["-std=c99", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror", "-pedantic"])
        .args(["-pthread", "-g", "-I"])
        .arg(here.join("../../usr/include"))
        .arg(here.join("tests/c").join(name).with_extension("c"))
        .arg("-o")
        .arg(out)
        .args(args)
        .output()
        .expect("cc runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A plugin, which is linked with nothing.
pub fn plugin(name: &str, dir: &Path) -> PathBuf {
    let plugin = dir.join(format!("{name}.so"));
    compile(name, &plugin, &["-shared", "-fPIC"]);
    plugin
}

/// A program in a directory, with the library beside it under the name it knows itself by.
pub fn program(name: &str, dir: &Path) -> PathBuf {
    let so = dir.join("libvarpd.so.1");
    if !so.exists() {
        std::os::unix::fs::symlink(library(), &so).unwrap();
    }
    let program = dir.join(name);
    let rpath = format!("-Wl,-rpath,{}", dir.display());
    compile(name, &program, &[so.to_str().expect("a path of tests is text"), &rpath]);
    program
}

/// What a program says, which must be content.
pub fn content(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}{stderr}", output.status);
    said
}
