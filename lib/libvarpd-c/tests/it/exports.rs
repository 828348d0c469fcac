// SPDX-License-Identifier: CDDL-1.0
//! The library's names.
use crate::common::library;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

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

/// What the headers declare is there, and nothing is there that no header declares.
#[test]
fn the_headers_declare_what_is_exported() {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../usr/include");
    let mut declared = BTreeSet::new();
    for header in ["libvarpd.h", "libvarpd_client.h", "libvarpd_provider.h"] {
        let text = std::fs::read_to_string(include.join(header)).unwrap();
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        let is_function = |w: &str| w.starts_with("libvarpd_") && text.contains(&format!("{w}("));
        // Names of types end in _f; comments mention functions with ().
        declared.extend(words.filter(|w| is_function(w) && !w.ends_with("_f")).map(str::to_owned));
    }
    let only_here = lines("libvarpd_prop_set_rangestr");
    let functions: BTreeSet<String> =
        exported().into_iter().filter(|n| n.starts_with("libvarpd_")).collect();
    assert_eq!(functions, &declared | &only_here);
}

#[test]
fn it_knows_its_name() {
    let out = Command::new("readelf").arg("-d").arg(library()).output().expect("readelf runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(text.contains("[libvarpd.so.1]"), "{text}");
}
