// SPDX-License-Identifier: CDDL-1.0
//! Stores that are damaged, in use, or without room.

use crate::common::{Portolan, fails};
use std::path::Path;

const ID: &str = "11111111-1111-4111-8111-111111111111";

/// A store with a few hundred records, of a server that was killed: it was not closed, and has to be recovered.
fn filled(store: &Path) -> usize {
    let mut portolan = Portolan::start(store, &[]);
    portolan.ok(&["host", "set", ID, "192.0.2.1"]);
    let lines: String = (0..400)
        .map(|n: u32| {
            let (a, b) = (n >> 8, n & 255);
            format!(
                "{{\"port\":{{\"vnet\":7,\"ip\":\"10.0.{a}.{b}\",\"mac\":\"2:8:20:0:{a:x}:{b:x}\",\
                 \"host\":\"{ID}\"}}}}\n"
            )
        })
        .collect();
    let file = store.with_extension("jsonl");
    std::fs::write(&file, lines).unwrap();
    let said = portolan.ok(&["--json", "import", file.to_str().unwrap()]);
    assert!(said.contains("\"written\":400"), "{said}");
    portolan.child.kill().unwrap();
    portolan.child.wait().unwrap();
    400
}

fn refused(store: &Path, damaged: &[u8]) -> String {
    std::fs::write(store, damaged).unwrap();
    let output = fails(store, &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(95), "{said}");
    assert!(said.contains("damaged"), "{said}");
    assert!(said.contains("Restore it from a backup"), "{said}");
    said
}

#[test]
fn a_damaged_store_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("portolan.redb");
    let count = filled(&store);
    let good = std::fs::read(&store).unwrap();

    let said = refused(&store, &[]);
    assert!(said.contains("the file is empty"), "{said}");
    assert_eq!(std::fs::read(&store).unwrap(), b"");
    refused(&store, b"not a store at all, but some text that somebody put here");
    refused(&store, &good[..good.len() / 2]);
    refused(&store, &good[..100]);
    refused(&store, &vec![0; good.len()]);

    // A page at a time is overwritten. Most hold something; a page that is free may hold anything. Not all of
    // them, for each is a start of the server.
    let (mut found, mut harmless) = (0, 0);
    let pages = (0..good.len()).step_by(4096);
    let used: Vec<usize> =
        pages.filter(|at| good[*at..].iter().take(4096).any(|b| *b != 0)).collect();
    for at in used.iter().copied().step_by(used.len().div_ceil(60)) {
        let mut bad = good.clone();
        let end = (at + 4096).min(bad.len());
        bad[at..end].iter_mut().for_each(|b| *b ^= 0x55);
        std::fs::write(&store, &bad).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_portolan"))
            .args(["--listen", "127.0.0.1:0", "--api", "192.0.2.1:1", "--token-file"])
            .arg(token(dir.path()))
            .arg("--store")
            .arg(&store)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(95) => {
                assert!(said.contains("damaged"), "page at {at}: {said}");
                found += 1;
            }
            // It came as far as to listen at an address that it has not: everything was read.
            Some(1) => {
                assert!(said.contains("cannot listen"), "page at {at}: {said}");
                let log = String::from_utf8(output.stdout).unwrap();
                assert!(log.contains(&format!("\"ports\":{count}")), "page at {at}: {log}");
                harmless += 1;
            }
            code => panic!("page at {at}: {code:?} {said}"),
        }
    }
    assert!(found >= 4, "{found} pages found damaged, {harmless} harmless");
    eprintln!("{found} pages found damaged, {harmless} harmless");

    std::fs::write(&store, &good).unwrap();
    let portolan = Portolan::start(&store, &[]);
    assert_eq!(portolan.ok(&["port", "list", "7"]).lines().count(), count + 1);
}

fn token(dir: &Path) -> std::path::PathBuf {
    let file = dir.join("token");
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    file
}

#[test]
fn a_store_has_one_server() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("portolan.redb");
    let first = Portolan::start(&store, &[]);
    let second = fails(&store, &[]);
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("in use by another process"), "{said}");
    assert_eq!(second.status.code(), Some(1), "SMF may try again");
    first.ok(&["status"]);
}

#[test]
fn a_full_disk_refuses_changes_and_keeps_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("portolan.redb");
    filled(&store);
    let size = std::fs::metadata(&store).unwrap().len();
    let before = {
        let portolan = Portolan::start_with_file_limit(&store, size);
        let before = portolan.ok(&["export"]);
        let (mut done, mut refused) = (0, String::new());
        // Until it does not fit any more.
        for n in 0..200 {
            let name = format!("{n}{}", "x".repeat(60_000));
            let answer = portolan.http(
                "PUT",
                &format!("/api/v1/networks/{}", 1000 + n),
                "",
                &format!("{{\"name\":\"{name}\"}}"),
            );
            if answer.0 != 200 {
                assert_eq!(answer.0, 507, "{}", answer.1);
                refused = answer.1;
                break;
            }
            done += 1;
        }
        assert!(refused.contains("cannot write the store"), "{done} done, {refused}");
        // It still answers, and what does not grow may even be changed.
        portolan.ok(&["port", "show", "7", "10.0.0.1"]);
        before
    };
    let portolan = Portolan::start(&store, &[]);
    let after = portolan.ok(&["export"]);
    let ports = |text: &str| text.lines().filter(|l| l.contains("\"port\"")).count();
    assert_eq!(ports(&after), ports(&before));
    portolan.ok(&["network", "set", "5", "there is room again"]);
}
