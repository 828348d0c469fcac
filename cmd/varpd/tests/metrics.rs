// SPDX-License-Identifier: CDDL-1.0
//! `--metrics`, scraped as Prometheus does.
use libvarpd_client::Client;
use overlay_abi::ids::LinkId;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use varpd_harness::process::Running;
use varpd_harness::*;

fn varpd(root: &Path, metrics: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_varpd"));
    command.arg("-f").arg("-R").arg(root).arg("-i").arg(root).arg("--metrics").arg(metrics);
    command
}

fn scrape(mut connection: impl Read + Write) -> String {
    connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: varpd\r\n\r\n").unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").expect("headers");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("version=0.0.4"), "{head}");
    body.to_owned()
}

/// The value of a sample, by its name and labels.
fn sample(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

#[test]
fn what_is_counted_can_be_scraped() {
    let dir = tempfile::tempdir().unwrap();
    let (_, kernel, _server) = boot(dir.path());
    compile(&dir.path().join("test.so"), &[]);
    let socket = dir.path().join("metrics");
    let mut v = Running::start(&mut varpd(dir.path(), socket.to_str().unwrap()), dir.path());
    let client = Client::open_path(&dir.path().join("var/run/varpd/varpd.door")).unwrap();
    kernel.add_link(7, VXLAN);
    let id = client.instance_create(LinkId(7), "test").unwrap();
    client.instance_activate(id).unwrap();
    for last in 1..=20 {
        let request = kernel.ask(7, id.0, [2, 0, 0, 0, 0, last]);
        assert!(kernel.answer(request).is_some());
    }
    let text = scrape(UnixStream::connect(&socket).unwrap());
    let labels = format!("instance=\"{}\",link=\"7\",plugin=\"test\"", id.0);
    assert_eq!(sample(&text, "varpd_instances"), 1.0);
    for name in
        ["varpd_lookups_found_total", "varpd_lookups_asked_total", "varpd_lookup_seconds_count"]
    {
        assert_eq!(sample(&text, &format!("{name}{{{labels}}}")), 20.0, "{name}");
    }
    assert!(sample(&text, &format!("varpd_lookup_seconds_sum{{{labels}}}")) > 0.0);
    assert_eq!(sample(&text, "varpd_door_calls_total{command=\"create\"}"), 1.0);
    // Somebody who connects and says nothing does not keep others off for ever, nor varpd from ending.
    let _silent = UnixStream::connect(&socket).unwrap();
    assert_eq!(sample(&scrape(UnixStream::connect(&socket).unwrap()), "varpd_instances"), 1.0);
    v.signal(rustix::process::Signal::TERM);
    assert_eq!(v.status(), 0);
    assert!(!socket.exists());
}

#[test]
fn a_port_is_for_this_machine_only() {
    let dir = tempfile::tempdir().unwrap();
    let (_, _kernel, _server) = boot(dir.path());
    let refused = varpd(dir.path(), "0.0.0.0:9471").output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("this machine only"), "{text}");
    // A port that is free, as far as anybody can tell.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = format!("127.0.0.1:{port}");
    let _v = Running::start(&mut varpd(dir.path(), &at), dir.path());
    assert_eq!(sample(&scrape(TcpStream::connect(&at).unwrap()), "varpd_instances"), 0.0);
}

#[test]
fn the_socket_of_a_killed_one_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let (_, _kernel, _server) = boot(dir.path());
    let socket = dir.path().join("metrics");
    let mut v = Running::start(&mut varpd(dir.path(), socket.to_str().unwrap()), dir.path());
    v.child.kill().unwrap();
    v.status();
    assert!(socket.exists());
    let _next = Running::start(&mut varpd(dir.path(), socket.to_str().unwrap()), dir.path());
    scrape(UnixStream::connect(&socket).unwrap());
}

/// What perf, bpftrace and stap find them by: notes of SystemTap's kind.
#[test]
fn the_probes_are_in_the_executable() {
    let varpd = std::fs::read(env!("CARGO_BIN_EXE_varpd")).unwrap();
    // In a note the probe's name follows that of the provider.
    let mut texts = varpd.split(|b| *b == 0).peekable();
    let mut found = std::collections::BTreeSet::new();
    while let Some(text) = texts.next() {
        if text.ends_with(b"varpd") {
            found.extend(texts.peek().map(|probe| String::from_utf8_lossy(probe).into_owned()));
        }
    }
    for probe in ["lookup-start", "lookup-done", "proxy-done", "persist", "door-call"] {
        assert!(found.contains(probe), "{probe}: {found:?}");
    }
}
