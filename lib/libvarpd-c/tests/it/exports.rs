// SPDX-License-Identifier: CDDL-1.0
//! The library's names.
use crate::common::library;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Names of a map of the form `{ global: NAME; ... local: *; };`.
fn map(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let names = text.lines().map(str::trim).filter_map(|l| l.strip_suffix(';'));
    names.filter(|n| !n.contains([':', '}'])).map(str::to_owned).collect()
}

/// Names that the library defines, without those of libnvpair, which are another library's on
/// illumos.
fn exported() -> BTreeSet<String> {
    let nm = Command::new("nm").args(["-D", "-P", "--defined-only"]).arg(library()).output();
    let text = String::from_utf8(nm.expect("nm runs").stdout).unwrap();
    let names = text.lines().filter_map(|l| l.split(' ').next()).map(str::to_owned);
    names.filter(|n| !n.starts_with("nv")).collect()
}

#[test]
fn exactly_the_names_of_the_map_are_exported() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(exported(), map(&here.join("exports.map")));
    // What plugins find in our varpd they find here as well.
    assert!(exported().is_superset(&map(&here.join("../../cmd/varpd/exports.map"))));
}

#[test]
fn it_knows_its_name() {
    let out = Command::new("readelf").arg("-d").arg(library()).output().expect("readelf runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(text.contains("[libvarpd.so.1]"), "{text}");
}
