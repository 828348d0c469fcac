// SPDX-License-Identifier: CDDL-1.0
//! A plugin that dies takes varpd with it; the log says which one it was, and in which function.
use libvarpd_client::Client;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, VarpdId};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use varpd_harness::*;

const SEGV: i32 = 11;

/// A varpd with its plugin.
struct Running {
    client: Client,
    kernel: FakeOverlay,
    pid: u32,
}

impl Running {
    fn created(&self) -> VarpdId {
        self.client.instance_create(LinkId(1), "test").unwrap()
    }

    fn active(&self) -> VarpdId {
        let id = self.created();
        self.client.instance_activate(id).unwrap();
        id
    }
}

/// Starts varpd with a plugin of these definitions, does something to it in which it dies, and
/// returns its records of that and its exit status.
fn crash(defines: &[&str], kill: impl FnOnce(&Running)) -> (Vec<Value>, ExitStatus) {
    let dir = tempfile::tempdir().unwrap();
    let (_, kernel, _server) = boot(dir.path());
    kernel.add_link(1, VXLAN);
    std::fs::create_dir(dir.path().join("plugins")).unwrap();
    crash_in(dir.path(), &kernel, defines, kill)
}

/// The same for the host in a directory.
fn crash_in(
    dir: &Path,
    kernel: &FakeOverlay,
    defines: &[&str],
    kill: impl FnOnce(&Running),
) -> (Vec<Value>, ExitStatus) {
    let plugins = dir.join("plugins");
    compile(&plugins.join("p.so"), defines);
    // No core of each test.
    let mut varpd = Command::new("sh")
        .args(["-c", "ulimit -c 0; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_varpd"), "-f", "-R"])
        .arg(dir)
        .arg("-i")
        .arg(&plugins)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(varpd.stderr.take().unwrap()).lines();
    let mut records = lines.map(|line| {
        let line = line.unwrap();
        serde_json::from_str::<Value>(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    });
    let mut fatal = Vec::new();
    for record in records.by_ref() {
        if record["msg"] == "varpd started" {
            let client = Client::open_path(&dir.join("var/run/varpd/varpd.door")).unwrap();
            kill(&Running { client, kernel: kernel.clone(), pid: varpd.id() });
            break;
        } else if record["level"] == 60 {
            fatal.push(record);
        }
    }
    // Until it is dead: a varpd that lives on fails the test here.
    let end = Instant::now() + Duration::from_secs(20);
    let status = loop {
        match varpd.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > end => {
                varpd.kill().unwrap();
                panic!("it lives with {defines:?}: {:?}", records.collect::<Vec<_>>());
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    fatal.extend(records.filter(|r| r["level"] == 60));
    (fatal, status)
}

/// Expects one report, of this function and signal.
fn reported(outcome: &(Vec<Value>, ExitStatus), plugin: &str, function: &str, signal: (i32, &str)) {
    let (records, status) = outcome;
    assert_eq!(status.signal(), Some(signal.0), "{records:?}");
    let [record] = records.as_slice() else { panic!("one report: {records:?}") };
    let field = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(field("msg"), "a plugin crashed");
    assert!(field("plugin").ends_with(plugin), "{record}");
    assert_eq!((field("callback"), field("signal")), (function.into(), signal.1.to_owned()));
    for name in ["v", "name", "hostname", "pid", "time"] {
        assert!(!record[name].is_null(), "{name}: bunyan wants it");
    }
}

/// What makes varpd call a function of the plugin. The client's call fails, with varpd.
type Trigger = fn(&Running);

#[test]
fn each_function_is_named() {
    let triggers: &[(&str, &str, Trigger)] = &[
        ("vpo_create", "MODE=2", |v| assert!(v.client.instance_create(LinkId(1), "test").is_err())),
        ("vpo_start", "MODE=2", |v| assert!(v.client.instance_activate(v.created()).is_err())),
        ("vpo_save", "MODE=2", |v| assert!(v.client.instance_activate(v.created()).is_err())),
        ("vpo_stop", "MODE=2", |v| assert!(v.client.instance_destroy(v.active()).is_err())),
        ("vpo_destroy", "MODE=2", |v| assert!(v.client.instance_destroy(v.active()).is_err())),
        ("vpo_default", "MODE=1", |v| assert!(v.client.instance_activate(v.created()).is_err())),
        ("vpo_lookup", "MODE=2", |v| {
            v.kernel.ask(1, v.active().0, [2; 6]);
        }),
        ("vpo_arp", "PROXY", |v| {
            v.kernel.ask_about(1, v.active().0, frames::arp_request());
        }),
        ("vpo_dhcp", "PROXY", |v| {
            v.kernel.ask_about(1, v.active().0, frames::discover());
        }),
        ("vpo_nprops", "MODE=2", |v| assert!(v.client.prop_nprops(v.created()).is_err())),
        ("vpo_propinfo", "MODE=2", |v| {
            assert!(v.client.prop_handle(v.created()).info_fill(1).is_err());
        }),
        ("vpo_getprop", "MODE=2", |v| {
            let mut prop = v.client.prop_handle(v.created());
            prop.info_fill(1).unwrap();
            assert!(prop.get().is_err());
        }),
        ("vpo_setprop", "MODE=2", |v| {
            let mut prop = v.client.prop_handle(v.created());
            prop.info_fill(1).unwrap();
            assert!(prop.set(b"x\0").is_err());
        }),
    ];
    for (function, mode, trigger) in triggers {
        let outcome = crash(&[mode, &format!("CRASH=\"{function}\"")], trigger);
        reported(&outcome, "test", function, (SEGV, "SIGSEGV"));
        assert_eq!(outcome.0[0]["address"], "0x40");
    }
}

#[test]
fn a_plugin_that_dies_while_it_is_loaded_is_named_by_its_file() {
    let outcome = crash(&["CRASH=\"initialization\""], |_| panic!("it should not start"));
    reported(&outcome, "/plugins/p.so", "initialization", (SEGV, "SIGSEGV"));
}

#[test]
fn a_plugin_that_dies_while_its_instance_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let (_, kernel, _server) = boot(dir.path());
    kernel.add_link(1, VXLAN);
    std::fs::create_dir(dir.path().join("plugins")).unwrap();
    let (records, status) = crash_in(dir.path(), &kernel, &["MODE=2"], |v| {
        v.active();
        kill_process(Pid::from_raw(v.pid as i32).unwrap(), Signal::KILL).unwrap();
    });
    assert_eq!((records, status.signal()), (vec![], Some(9)));
    let outcome = crash_in(dir.path(), &kernel, &["CRASH=\"vpo_restore\""], |_| {
        panic!("it should not start");
    });
    reported(&outcome, "test", "vpo_restore", (SEGV, "SIGSEGV"));
}

#[test]
fn each_signal_is_named_and_ends_varpd_itself() {
    let signals = [(7, "SIGBUS"), (8, "SIGFPE"), (4, "SIGILL"), (6, "SIGABRT")];
    for signal in signals {
        let by = format!("CRASH_BY={}", signal.1);
        let outcome = crash(&["CRASH=\"vpo_lookup\"", &by], |v| {
            v.kernel.ask(1, v.active().0, [2; 6]);
        });
        reported(&outcome, "test", "vpo_lookup", signal);
        let fault = signal.1 != "SIGABRT";
        assert_eq!(outcome.0[0]["address"].is_string(), fault, "only faults have an address");
    }
}

/// The alternate stack is what the report is made on.
#[test]
fn a_stack_overflow_is_reported_as_the_fault_it_is() {
    let outcome = crash(&["CRASH=\"vpo_lookup\"", "CRASH_BY=0"], |v| {
        v.kernel.ask(1, v.active().0, [2; 6]);
    });
    reported(&outcome, "test", "vpo_lookup", (SEGV, "SIGSEGV"));
}

#[test]
fn libvarpd_panic_is_reported_with_its_text() {
    let (records, status) = crash(&["PANIC"], |v| {
        let id = v.created();
        assert_ne!(v.client.instance_activate(id), Ok(()));
        assert_ne!(v.client.instance_activate(id), Err(Errno::EEXIST));
    });
    assert_eq!(status.signal(), Some(6));
    let messages: Vec<_> = records.iter().map(|r| r["msg"].as_str().unwrap()).collect();
    let [panic, crash] = messages.as_slice() else { panic!("two records: {records:?}") };
    assert!(panic.contains("link 4711 of test: 17 2.50 5 6 7 8"), "{panic}");
    assert_eq!(*crash, "a plugin crashed");
    assert_eq!(records[1]["callback"], "vpo_start");
}

#[test]
fn a_crash_outside_of_plugins_is_not_laid_at_their_door() {
    for (number, name) in [(11, "SEGV"), (6, "ABRT")] {
        let (records, status) = crash(&["NAME=\"test\""], |v| {
            // Between two calls of the plugin.
            let id = v.active();
            let request = v.kernel.ask(1, id.0, [2; 6]);
            assert!(v.kernel.answer(request).is_some());
            let pid = v.pid.to_string();
            assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
        });
        assert_eq!((records, status.signal()), (vec![], Some(number)));
    }
}
