// SPDX-License-Identifier: CDDL-1.0
//! The files that are installed as they are.

use std::process::Command;

/// Runs a checking program on a file of the source tree; without the program the test counts as
/// skipped.
fn check(program: &str, args: &[&str], file: &str) {
    let path = format!("{}/../../{file}", env!("CARGO_MANIFEST_DIR"));
    let out = match Command::new(program).args(args).arg(path).output() {
        Ok(out) => out,
        Err(e) => {
            test_skip::skip(format!("{program}: {e}"));
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

fn read(file: &str) -> String {
    let path = format!("{}/../../{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The words of `text` behind each `start`, as far as they are of these characters.
fn words<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    let end = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    text.split(start).skip(1).map(move |s| s.split(end).next().unwrap_or_default())
}

/// overlay(7) lists every probe and every counter of the driver, and no drop that there is not.
#[test]
fn the_manual_knows_every_probe_and_counter() {
    let page = read("man/overlay.7");
    let items: Vec<&str> = page
        .lines()
        .filter_map(|l| l.strip_prefix(".It Cm "))
        .flat_map(|l| l.split(" , "))
        .collect();
    let list = read("kernel/illumos-sys-hdrs/src/probes.rs");
    let probes: Vec<String> = words(&list, "            __dtrace_probe_")
        .map(|name| name.replace("__", "-"))
        .filter(|name| name.starts_with("overlay-"))
        .collect();
    assert!(!probes.is_empty());
    let mut drops = Vec::new();
    for probe in &probes {
        match probe.strip_prefix("overlay-drop-") {
            Some(reason) => drops.push(format!("drop_{}", reason.replace('-', "_"))),
            None => assert!(items.contains(&probe.as_str()), "{probe} is not in overlay(7)"),
        }
    }
    for drop in &drops {
        assert!(items.contains(&drop.as_str()), "{drop} is not in overlay(7)");
    }
    for item in items.iter().filter(|i| i.starts_with("drop_")) {
        assert!(drops.iter().any(|d| d == item), "overlay(7) has {item}, the driver has not");
    }
    let counters = read("kernel/overlay/src/stats.rs");
    for counter in words(&counters, "c\"") {
        assert!(items.contains(&counter), "{counter} is not in overlay(7)");
    }
}
