// SPDX-License-Identifier: CDDL-1.0
//! The program as it is started, used and stopped, over a kernel of one device.
use devctl::server::Server;
use libvarpd_client::Client;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, UnderlayAddr, VarpdId};
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;
use varpd_harness::process::{Running, wait_for};
use varpd_harness::*;

fn varpd(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_varpd"));
    command.arg("-f").arg("-R").arg(root);
    command
}

/// The log of a varpd, which must be all bunyan records.
fn log(v: &Running) -> Vec<serde_json::Value> {
    let text = v.text();
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

fn machine() -> (TempDir, FakeOverlay, Server) {
    let dir = tempfile::tempdir().unwrap();
    let (_, kernel, server) = boot(dir.path());
    (dir, kernel, server)
}

fn door(dir: &Path) -> PathBuf {
    dir.join("var/run/varpd/varpd.door")
}

fn refused(output: &Output, code: i32, text: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(text), "{stderr}");
}

/// Makes an active instance of the direct plugin.
fn direct(client: &Client, kernel: &FakeOverlay, link: u32) -> VarpdId {
    kernel.add_link(link, VXLAN);
    let id = client.instance_create(LinkId(link), "direct").unwrap();
    let addr = UnderlayAddr::new("192.0.2.1".parse().unwrap(), 4789);
    let mut prop = client.prop_handle(id);
    prop.info_fill_by_name("direct/dest_ip").unwrap();
    prop.set(&addr.ip).unwrap();
    prop.info_fill_by_name("direct/dest_port").unwrap();
    prop.set(&u64::from(addr.port).to_ne_bytes()).unwrap();
    client.instance_activate(id).unwrap();
    id
}

#[test]
fn it_finds_its_plugin_and_serves_its_door() {
    let (dir, kernel, _server) = machine();
    let mut v = Running::start(&mut varpd(dir.path()), dir.path());
    assert!(v.said("loaded direct"), "{:?}", v.text());
    for field in ["name", "hostname", "pid", "level", "time", "v"] {
        assert!(log(&v).iter().all(|r| !r[field].is_null()), "{field}: bunyan wants it");
    }
    let run = std::fs::metadata(dir.path().join("var/run/varpd")).unwrap();
    assert_eq!(run.permissions().mode() & 0o777, 0o700);
    let client = Client::open_path(&door(dir.path())).unwrap();
    let id = direct(&client, &kernel, 3);
    assert_eq!(client.instance_lookup(LinkId(3)), Ok(id));
    v.signal(Signal::TERM);
    assert_eq!(v.status(), 0);
    assert!(!door(dir.path()).exists(), "the door is gone");
    assert_eq!(client.instance_lookup(LinkId(3)), Err(Errno::EBADF));
    assert!(kernel.state().links[&3].associated.is_some(), "the link goes on working");
}

#[test]
fn each_of_four_signals_stops_it() {
    let (dir, _kernel, _server) = machine();
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM] {
        let mut v = Running::start(&mut varpd(dir.path()), dir.path());
        v.signal(signal);
        assert_eq!(v.status(), 0, "{signal:?}");
    }
}

#[test]
fn a_second_one_is_refused() {
    let (dir, _kernel, _server) = machine();
    let mut v = Running::start(&mut varpd(dir.path()), dir.path());
    refused(&varpd(dir.path()).output().unwrap(), 95, &format!("process {}", v.child.id()));
    Client::open_path(&door(dir.path())).expect("the first one is not disturbed");
    // One that was killed leaves its door's file, which the next one takes over.
    v.child.kill().unwrap();
    v.status();
    assert!(door(dir.path()).exists());
    let _next = Running::start(&mut varpd(dir.path()), dir.path());
    Client::open_path(&door(dir.path())).unwrap();
}

#[test]
fn without_a_kernel_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    refused(&varpd(dir.path()).args(["-w", "0"]).output().unwrap(), 95, "/dev/overlay");
}

#[test]
fn when_the_kernel_dies_it_ends_with_95() {
    let (dir, _kernel, server) = machine();
    let mut v = Running::start(&mut varpd(dir.path()), dir.path());
    drop(server);
    assert_eq!(v.status(), 95);
    let text = v.text();
    assert!(text.lines().count() < 40, "it does not go on about it: {text}");
    assert!(text.contains("does not answer lookups"), "{text}");
    assert!(!door(dir.path()).exists());
}

/// The original named what getopt had returned, a question mark.
#[test]
fn defect_42_an_unknown_option_is_named() {
    let (dir, _kernel, _server) = machine();
    refused(&varpd(dir.path()).arg("-x").output().unwrap(), 1, "'-x'");
    refused(&varpd(dir.path()).arg("-fyd").output().unwrap(), 1, "'-y'");
    refused(&varpd(dir.path()).arg("--none").output().unwrap(), 1, "'--none'");
}

#[test]
fn options() {
    let (dir, _kernel, _server) = machine();
    refused(&varpd(dir.path()).arg("operand").output().unwrap(), 1, "operand");
    refused(&varpd(dir.path()).arg("-i").output().unwrap(), 1, "-i");
    let help = varpd(dir.path()).arg("--help").output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    let none = dir.path().join("none");
    refused(&varpd(dir.path()).arg("-i").arg(&none).output().unwrap(), 95, "none");
    let bad_door = dir.path().join("dev/overlay/door");
    refused(&varpd(dir.path()).arg("-d").arg(bad_door).output().unwrap(), 95, "overlay/door");
    let door = dir.path().join("other.door");
    let _v = Running::start(varpd(dir.path()).arg("-d").arg(&door), dir.path());
    Client::open_path(&door).unwrap();
}

/// The executable exports what plugins in both languages bind to, and lives with those that are
/// broken.
#[test]
fn plugins_of_both_languages_load_and_bad_ones_do_no_harm() {
    let (dir, kernel, _server) = machine();
    let plugins = dir.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    write(&plugins.join("a-text.so"), b"not a shared object");
    compile(&plugins.join("b-unknown.so"), &["UNKNOWN"]);
    compile(&plugins.join("c-bad.so"), &["NO_OPS"]);
    compile(&plugins.join("d-good.so"), &[]);
    let direct = beside_test("libvarpd_direct.so");
    std::os::unix::fs::symlink(direct, plugins.join("libvarpd_direct.so")).unwrap();
    let v = Running::start(varpd(dir.path()).arg("-i").arg(&plugins), dir.path());
    assert!(v.said("loaded test") && v.said("loaded direct"), "{:?}", v.text());
    assert_eq!(log(&v).last().unwrap()["plugins"], "direct,test");
    assert!(v.said("registration refused") && v.said("dlopen failed"));
    let client = Client::open_path(&door(dir.path())).unwrap();
    kernel.add_link(1, VXLAN);
    let id = client.instance_create(LinkId(1), "test").unwrap();
    client.instance_activate(id).unwrap();
    assert!(kernel.answer(kernel.ask(1, id.0, [2, 0, 0, 0, 0, 1])).is_some());
}

/// Objects are loaded with all symbols bound at once, so one that names every function loads only if
/// each of them is there.
#[test]
fn every_function_of_the_header_is_exported() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let header = std::fs::read_to_string(top.join("usr/include/libvarpd_provider.h")).unwrap();
    let declarations = header.lines().filter(|l| l.starts_with("extern ") && l.contains('('));
    let functions: Vec<&str> = declarations
        .filter_map(|l| l.split('(').next()?.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("libvarpd_"))
        .collect();
    assert!(functions.len() >= 22, "{functions:?}");
    // What plugins save their state with; on illumos these are libnvpair's.
    let all: Vec<&str> = functions.into_iter().chain(nvpair::cabi::NAMES.iter().copied()).collect();

    let (dir, _kernel, _server) = machine();
    let source = dir.path().join("all.c");
    let externs: String = all.iter().map(|f| format!("extern void {f}(void);\n")).collect();
    let table = format!("{externs}void (*all[])(void) = {{ {} }};\n", all.join(", "));
    std::fs::write(&source, table).unwrap();
    let plugins = dir.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).arg(plugins.join("all.so")).arg(&source);
    assert!(cc.status().unwrap().success());
    let v = Running::start(varpd(dir.path()).arg("-i").arg(&plugins), dir.path());
    assert!(v.said("registered no plugin") && !v.said("dlopen failed"), "{:?}", v.text());
}

/// Lookups that a killed varpd had are answered by the next one, which has its instances.
#[test]
fn outstanding_lookups_outlive_a_killed_varpd() {
    let (dir, kernel, _server) = machine();
    let plugins = dir.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    compile(&plugins.join("slow.so"), &["LATER=60000000"]);
    let mut v = Running::start(varpd(dir.path()).arg("-i").arg(&plugins), dir.path());
    let client = Client::open_path(&door(dir.path())).unwrap();
    kernel.add_link(1, VXLAN);
    let id = client.instance_create(LinkId(1), "test").unwrap();
    client.instance_activate(id).unwrap();
    let requests: Vec<u64> = (0..5).map(|n| kernel.ask(1, id.0, [2, 0, 0, 0, 0, n])).collect();
    kernel.wait("the plugin has them", |s| s.outstanding.len() == 5);
    v.child.kill().unwrap();
    v.status();
    kernel.wait("they are back", |s| s.queue.len() == 5);
    compile(&plugins.join("slow.so"), &[]);
    let next = Running::start(varpd(dir.path()).arg("-i").arg(&plugins), dir.path());
    assert!(next.said("instance restored"), "{:?}", next.text());
    for request in requests {
        assert!(kernel.answer(request).is_some());
    }
    let client = Client::open_path(&door(dir.path())).unwrap();
    assert_eq!(client.instance_lookup(LinkId(1)), Ok(id));
}

/// An instance whose plugin is not there comes back when it is, without another start.
#[test]
fn defect_38_what_cannot_be_restored_is_tried_again() {
    let (dir, kernel, _server) = machine();
    let plugins = dir.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let deny = dir.path().join("deny");
    let define = format!("DENY=\"{}\"", deny.display());
    compile(&plugins.join("test.so"), &[&define]);
    let mut v = Running::start(varpd(dir.path()).arg("-i").arg(&plugins), dir.path());
    let client = Client::open_path(&door(dir.path())).unwrap();
    kernel.add_link(1, VXLAN);
    let id = client.instance_create(LinkId(1), "test").unwrap();
    client.instance_activate(id).unwrap();
    v.signal(Signal::TERM);
    assert_eq!(v.status(), 0);
    std::fs::write(&deny, "").unwrap();
    let next = Running::start(varpd(dir.path()).arg("-i").arg(&plugins), dir.path());
    assert!(next.said("instance not restored"), "{:?}", next.text());
    assert!(dir.path().join("var/run/varpd/1.varpd").exists());
    let why = kernel.state().links[&1].degraded.clone().unwrap();
    assert!(why.contains("does not start it"), "{why}");
    std::fs::remove_file(&deny).unwrap();
    wait_for("it is tried again", || kernel.state().links[&1].degraded.is_none());
    let client = Client::open_path(&door(dir.path())).unwrap();
    assert_eq!(client.instance_lookup(LinkId(1)), Ok(id));
}

/// A plugin that gives up takes varpd with it, with a message.
#[test]
fn a_plugin_that_panics_says_why() {
    let (dir, kernel, _server) = machine();
    let plugins = dir.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    compile(&plugins.join("panic.so"), &["PANIC"]);
    let mut v = Running::start(varpd(dir.path()).arg("-i").arg(&plugins), dir.path());
    let client = Client::open_path(&door(dir.path())).unwrap();
    kernel.add_link(1, VXLAN);
    let id = client.instance_create(LinkId(1), "test").unwrap();
    assert_eq!(client.instance_activate(id), Err(Errno::EBADF));
    assert_eq!(v.status(), -1, "SIGABRT");
    assert!(v.text().contains("link 4711 of test: 17"), "{}", v.text());
}
