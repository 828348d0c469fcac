// SPDX-License-Identifier: CDDL-1.0
//! The files that are installed as they are.

use std::process::Command;

/// Runs a checking program on a file of the source tree; without the program the test counts as skipped.
fn check(program: &str, args: &[&str], file: &str) {
    let path = format!("{}/../../{file}", env!("CARGO_MANIFEST_DIR"));
    let out = match Command::new(program).args(args).arg(path).output() {
        Ok(out) => out,
        Err(e) => {
            eprintln!("skipped: {program}: {e}");
            if let Some(list) = std::env::var_os("OVERLAY_SKIPPED_TESTS") {
                let before = std::fs::read_to_string(&list).unwrap_or_default();
                std::fs::write(list, format!("{before}{program} is missing\n")).unwrap();
            }
            return;
        }
    };
    assert!(out.status.success(), "{file}:\n{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn the_manifest_is_well_formed() {
    check("xmllint", &["--noout", "--nonet"], "usr/lib/svc/manifest/network/varpd.xml");
}

/// What other parts of a system rely on (spec/varpd.md 1.2).
#[test]
fn the_manifest_says_what_it_must() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../usr/lib/svc/manifest/network/varpd.xml");
    let text = std::fs::read_to_string(path).unwrap();
    for fact in [
        "name='illumos:varpd'",
        "<service name='network/varpd' type='service' version='1'>",
        "<create_default_instance enabled='true' />",
        "<single_instance />",
        "name='varpd-network-physical' grouping='require_all' restart_on='none'",
        "value='svc:/network/physical:default'",
        "name='varpd-device-local' grouping='require_all' restart_on='none'",
        "value='svc:/system/device/local:default'",
        "name='start' exec='/usr/lib/varpd/varpd' timeout_seconds='60'",
        "name='stop' exec=':kill' timeout_seconds='10'",
        "<property_group name='varpd' type='application'>",
        "<property name='include_path' type='astring'>",
        "<value_node value='/usr/lib/varpd' />",
    ] {
        assert!(text.contains(fact), "{fact}");
    }
}
