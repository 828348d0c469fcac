// SPDX-License-Identifier: CDDL-1.0
//! A program that is a varpd, through libvarpd.h.
use crate::common::{content, program};
use libvarpd_client::Client;
use overlay_abi::ids::LinkId;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use varpd_harness::*;

/// The program while it runs.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts `varpd.c` in the directory of a host that has plugins, until it is ready.
    fn start(dir: &Path) -> Running {
        let mut child = Command::new(dir.join("varpd"))
            .args([dir.join("plugins"), dir.join("door"), dir.join("run")])
            .env("OVERLAY_ROOT", dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut running = Running { child, lines };
        let said = running.until("ready");
        assert_eq!(said, ["plugin other", "plugin test", "plugin other"]);
        running
    }

    /// What it says before it says this.
    fn until(&mut self, what: &str) -> Vec<String> {
        let mut said = Vec::new();
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            if line == what {
                return said;
            }
            said.push(line);
        }
        panic!("no \"{what}\" after {said:?}");
    }

    /// Lets it end, which must be well. Returns what it logged.
    fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let rest: Vec<String> = self.lines.map(Result::unwrap).collect();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success() && rest.is_empty(), "{status} {rest:?} {log}");
        log
    }
}

#[test]
fn a_varpd_in_c() {
    let dir = tempfile::tempdir().unwrap();
    let (_, kernel, _server) = boot(dir.path());
    let plugins = dir.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    std::fs::create_dir(dir.path().join("run")).unwrap();
    compile(&plugins.join("a.so"), &[]);
    compile(&plugins.join("b.so"), &["NAME=\"other\"", "PROXY"]);
    write(&plugins.join("c.so"), b"no plugin");
    kernel.add_link(1, VXLAN);
    kernel.add_link(2, VXLAN);
    program("varpd", dir.path());
    let mut varpd = Running::start(dir.path());

    // The system's tools can come, and lookups are answered by the threads of the program.
    let client = Client::open_path(&dir.path().join("door")).unwrap();
    let id = client.instance_create(LinkId(2), "test").unwrap();
    client.instance_activate(id).unwrap();
    let ask = |n| kernel.answer(kernel.ask(2, id.0, [2, 0, 0, 0, 0, n])).map(|p| p.otp_ip[15]);
    for n in 1..20 {
        assert_eq!(ask(n), Some(n));
    }
    // Also after they were stopped and started.
    varpd.child.stdin.as_mut().unwrap().write_all(b".").unwrap();
    varpd.until("again");
    assert_eq!(ask(99), Some(99));

    let log = varpd.end();
    // Only what goes wrong is said.
    let records: Vec<serde_json::Value> =
        log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(records.iter().all(|r| r["level"].as_u64() >= Some(40)), "{log}");
    assert!(records.iter().any(|r| r["msg"] == "dlopen failed"), "{log}");
    // The instance was not destroyed: the kernel has it for the next varpd, which finds its file.
    assert!(kernel.state().links[&2].associated.is_some());
    let varpd = Running::start(dir.path());
    assert_eq!(ask(7), Some(7));
    let client = Client::open_path(&dir.path().join("door")).unwrap();
    assert_eq!(client.instance_lookup(LinkId(2)), Ok(id));
    client.instance_destroy(id).unwrap();
    varpd.end();
    assert_eq!(std::fs::read_dir(dir.path().join("run")).unwrap().count(), 0);
}

#[test]
fn what_libvarpd_panic_leaves_behind() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(program("panic", dir.path())).output().unwrap();
    assert_eq!(content(&output), "");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("1 two 3 4 5 6 7 8.50 9 ten"), "{log}");
}
