// SPDX-License-Identifier: CDDL-1.0
//! A program that is a varpd, through libvarpd.h.
use crate::common::program;
use libvarpd_client::Client;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use varpd_harness::*;

#[test]
fn a_varpd_in_c() {
    let dir = tempfile::tempdir().unwrap();
    let (root, kernel, _server) = boot(dir.path());
    let plugins = dir.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    compile(&plugins.join("a.so"), &[]);
    compile(&plugins.join("b.so"), &["NAME=\"other\"", "PROXY"]);
    write(&plugins.join("c.so"), b"no plugin");
    kernel.add_link(1, VXLAN);
    kernel.add_link(2, VXLAN);
    let door = dir.path().join("door");
    let mut varpd = Command::new(program("varpd", dir.path()))
        .arg(&plugins)
        .arg(&door)
        .env("OVERLAY_ROOT", root.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(varpd.stdout.take().unwrap()).lines();
    let mut until = |what: &str| {
        let mut said = Vec::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            if line == what {
                return said;
            }
            said.push(line);
        }
        panic!("no \"{what}\" after {said:?}");
    };
    assert_eq!(until("ready"), ["plugin other", "plugin test", "plugin other"]);

    // The system's tools can come, and lookups are answered by the threads of the program.
    let client = Client::open_path(&door).unwrap();
    let id = client.instance_create(overlay_abi::ids::LinkId(2), "test").unwrap();
    client.instance_activate(id).unwrap();
    let ask = |n| kernel.answer(kernel.ask(2, id.0, [2, 0, 0, 0, 0, n])).map(|p| p.otp_ip[15]);
    for n in 1..20 {
        assert_eq!(ask(n), Some(n));
    }
    // Also after they were stopped and started.
    varpd.stdin.as_mut().unwrap().write_all(b".").unwrap();
    until("again");
    assert_eq!(ask(99), Some(99));

    drop(varpd.stdin.take());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let mut log = String::new();
    varpd.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let status = varpd.wait().unwrap();
    assert!(status.success(), "{status} {rest:?} {log}");
    assert_eq!(rest, [""; 0]);
    // Only what goes wrong is said.
    let records: Vec<serde_json::Value> =
        log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(records.iter().all(|r| r["level"].as_u64() >= Some(40)), "{log}");
    assert!(records.iter().any(|r| r["msg"] == "dlopen failed"), "{log}");
    // The instance was not destroyed: the kernel has it for the next varpd.
    assert!(kernel.state().links[&2].associated.is_some());
}
