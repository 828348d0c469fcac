// SPDX-License-Identifier: CDDL-1.0
//! The program over a running varpd.
use overlay_abi::errno::Errno;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use varpd_harness::*;

/// Runs it on the door in a directory. No link has a name here: there is no dlmgmtd.
fn varpdadm(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_varpdadm"));
    command.arg("-R").arg(dir).arg("-d").arg(dir.join("varpd.door")).args(args);
    command.output().expect("varpdadm runs")
}

fn shown(host: &Host, args: &[&str]) -> String {
    let out = varpdadm(host.dir.path(), args);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && stderr.is_empty(), "{stderr}");
    String::from_utf8(out.stdout).unwrap()
}

fn json(host: &Host, args: &[&str]) -> Value {
    serde_json::from_str(&shown(host, &[args, &["--json"]].concat())).unwrap()
}

/// The cells of the line that begins so, between runs of two spaces.
fn cells(text: &str, begins: &str) -> Vec<String> {
    let line = text.lines().find(|l| l.starts_with(begins)).unwrap_or_else(|| panic!("{text}"));
    line.split("  ").map(|c| c.trim().to_owned()).filter(|c| !c.is_empty()).collect()
}

/// An active instance that has answered 5 lookups with destinations, and one ARP request; one that
/// is only created; and one whose lookups wait.
fn busy() -> Host {
    let host = Host::with_c_plugins(&[
        &["PROXY"],
        &["MODE=1", "NAME=\"point\""],
        &["NAME=\"silent\"", "ANSWERS=0"],
    ]);
    let id = host.instance(7, "test");
    host.client.instance_activate(id).unwrap();
    for n in 0..5 {
        let request = host.kernel.ask(7, id.0, [2, 0, 0, 0, 0, n]);
        assert!(host.kernel.answer(request).is_some());
    }
    let request = host.kernel.ask_about(7, id.0, frames::arp_request());
    assert!(host.kernel.answer(request).is_none());
    host.instance(8, "point");
    let silent = host.instance(9, "silent");
    host.client.instance_activate(silent).unwrap();
    for n in 0..3 {
        host.kernel.ask(9, silent.0, [2, 0, 0, 0, 0, n]);
    }
    host.kernel.wait("lookups to be taken", |state| state.outstanding.len() == 3);
    host
}

#[test]
fn instances() {
    let host = busy();
    let text = shown(&host, &["instances"]);
    assert!(
        text.starts_with("ID  LINK  LINKID  VNET  DCID  PLUGIN  MODE     DEST     STATE"),
        "{text}"
    );
    let line = ["1", "7", "7", "107", "0", "test", "dynamic", "ip+port", "active", "0", "-"];
    assert_eq!(cells(&text, "1 "), line);
    let line = ["2", "8", "8", "108", "0", "point", "point", "ip+port", "created", "0", "-"];
    assert_eq!(cells(&text, "2 "), line);
    assert_eq!(cells(&text, "3 ")[8..], ["active", "3", "-"]);

    // What the kernel says of a link counts.
    host.kernel.state().links.remove(&7);
    let all = json(&host, &["instances"]);
    assert_eq!(all[0]["state"], "orphaned");
    assert_eq!(all[0]["dest"], serde_json::json!(["ip", "port"]));
    assert!(all[0]["name"].is_null() && all[0]["last_error"].is_null());

    // Some only, by what stands for a name.
    let one = json(&host, &["instances", "9"]);
    assert_eq!((one.as_array().unwrap().len(), &one[0]["link"]), (1, &Value::from(9)));
}

#[test]
fn the_last_error_is_told() {
    let host = busy();
    host.kernel.state().fail_answers = vec![Errno::EINVAL];
    // It is noted before the frame is dropped instead.
    let request = host.kernel.ask(7, 1, [2, 0, 0, 0, 0, 99]);
    assert!(host.kernel.answer(request).is_none());
    let line = cells(&shown(&host, &["instances", "7"]), "1 ");
    assert!(line[10].contains("ago: ") && line[10].contains("EINVAL"), "{line:?}");
    let all = json(&host, &["instances", "7"]);
    assert!(all[0]["last_error"]["text"].as_str().unwrap().contains("EINVAL"));
    assert!(all[0]["last_error_age"].as_f64().unwrap() < 600.0);
}

#[test]
fn lookups() {
    let host = busy();
    let text = shown(&host, &["lookups"]);
    let seven = cells(&text, "7 ");
    assert_eq!(seven[..7], ["7", "6", "5", "0", "1", "0", "0"], "{text}");
    // Five figures, in order, none of them nothing.
    assert_eq!(seven.len(), 12);
    assert!(!seven[7..].iter().any(|f| f == "-"), "{text}");
    assert_eq!(cells(&text, "9 ")[1..], ["3", "0", "0", "0", "0", "3", "-", "-", "-", "-", "-"]);
    assert_eq!(cells(&text, "7     arp"), ["7", "arp", "1", "0", "0"]);
    assert!(!text.contains("dhcp") && !text.contains("ROUTES"), "only what there was");

    let all = json(&host, &["lookups", "7"]);
    let one = &all[0];
    assert_eq!((&one["lookups"]["found"], &one["arp"]["answered"]), (&5.into(), &1.into()));
    assert_eq!(one["latency"]["count"], 6);
    assert!(one["latency"]["p50_ns"].as_u64() <= one["latency"]["p99_ns"].as_u64());

    // Those that nobody answered are dropped with their instance.
    host.client
        .instance_destroy(host.client.instance_lookup(overlay_abi::ids::LinkId(9)).unwrap())
        .unwrap();
    assert_eq!(json(&host, &["lookups"]).as_array().unwrap().len(), 2);
}

#[test]
fn plugins() {
    let host = busy();
    let text = shown(&host, &["plugins"]);
    let file = |n: u32| host.dir.path().join(format!("p{n}.so")).display().to_string();
    assert_eq!(cells(&text, "test"), ["test", "dynamic", "yes", "yes", "no", "1", &file(0)]);
    assert_eq!(cells(&text, "point"), ["point", "point", "no", "no", "no", "1", &file(1)]);
    let all = json(&host, &["plugins"]);
    let names: Vec<_> =
        all.as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["point", "silent", "test"]);
}

#[test]
fn status() {
    let host = busy();
    let text = shown(&host, &["status"]);
    let process = format!("process {}, up for ", std::process::id());
    assert!(text.lines().next().unwrap().contains(&process), "{text}");
    assert!(text.contains("kernel:     version 1 of /dev/overlay\n"), "{text}");
    assert!(text.contains("plugins:    point, silent, test\n"), "{text}");
    assert!(text.contains("instances:  1 created, 2 active\n"), "{text}");
    let line = "lookups:    9 asked, 5 found, 0 dropped, 1 proxied, 0 forgotten, 3 waiting\n";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("3 create, 2 activate"), "{text}");
    let one = json(&host, &["status"]);
    assert_eq!((&one["pid"], &one["outstanding"]), (&std::process::id().into(), &3.into()));
    assert_eq!(one["lookup_threads"], 3);
    assert!(one["uptime_seconds"].as_f64().unwrap() >= 0.0);
}

/// Runs it and expects it to fail with this text.
fn refused(dir: &Path, args: &[&str], code: i32, text: &str) {
    let out = varpdadm(dir, args);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(text) && out.stdout.is_empty(), "{stderr}");
}

#[test]
fn what_cannot_be_shown_says_why() {
    let dir = tempfile::tempdir().unwrap();
    refused(dir.path(), &["status"], 1, "varpd does not run: nobody answers at ");
    refused(dir.path(), &["nothing"], 2, "unrecognized subcommand 'nothing'");
    refused(dir.path(), &[], 2, "Usage: varpdadm");
    let host = busy();
    refused(host.dir.path(), &["lookups", "7", "overlay9"], 1, "overlay9: no link of this name");
    assert!(shown(&host, &["--help"]).contains("lookups"));
}

/// A varpd that is not ours answers that there is no such command.
#[test]
fn another_varpd() {
    let dir = tempfile::tempdir().unwrap();
    let answer = Arc::new(|_: &[u8], _: &door::PeerCred| [0u32, 22].map(u32::to_ne_bytes).concat());
    let _server = door::Server::create(dir.path().join("varpd.door"), 0o600, answer).unwrap();
    refused(dir.path(), &["status"], 1, "this varpd is another one");
}
