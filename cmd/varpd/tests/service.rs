// SPDX-License-Identifier: CDDL-1.0
//! varpd as a service: the daemon and the parent that waits for it, what it inherits and what it
//! gives up, what it waits for, and what keeps it from starting.
use devctl::server::Server;
use libvarpd_client::Client;
use overlay_abi::ids::LinkId;
use rustix::process::{Signal, geteuid};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use test_skip::skip;
use varpd_harness::process::{Running, wait_for};
use varpd_harness::*;

fn varpd(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_varpd"));
    command.arg("-R").arg(root);
    command
}

/// A directory for the test, in it a root directory that only its owner can enter, and a kernel.
fn machine() -> (TempDir, PathBuf, FakeOverlay, Server) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("private/root");
    std::fs::create_dir_all(&root).unwrap();
    chmod(&dir.path().join("private"), 0o700);
    let (_, kernel, server) = boot(&root);
    chmod(&root.join("dev"), 0o700);
    (dir, root, kernel, server)
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A directory with plugins that everybody can read.
fn plugins(dir: &Path, defines: &[&str]) -> PathBuf {
    chmod(dir, 0o755);
    let plugins = dir.join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    compile(&plugins.join("libvarpd_test.so"), defines);
    plugins
}

fn door(root: &Path) -> PathBuf {
    root.join("var/run/varpd/varpd.door")
}

fn refused(command: &mut Command, code: i32, texts: &[&str]) {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for text in texts {
        assert!(stderr.contains(text), "no \"{text}\" in: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// A field of /proc/PID/status.
fn status(v: &Running, field: &str) -> String {
    let pid = v.pid().as_raw_nonzero();
    let all = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = all.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in {all}")).trim().to_owned()
}

fn works(root: &Path, kernel: &FakeOverlay, link: u32) {
    let client = Client::open_path(&door(root)).unwrap();
    kernel.add_link(link, VXLAN);
    let id = client.instance_create(LinkId(link), "test").unwrap();
    client.instance_activate(id).unwrap();
    // More at a time than it had connections when it was still root.
    let requests: Vec<u64> = (0..20).map(|n| kernel.ask(link, id.0, [2, 0, 0, 0, 0, n])).collect();
    for request in requests {
        assert!(kernel.answer(request).is_some());
    }
}

#[test]
fn a_daemon_leaves_everything_behind_and_its_parent_waits_for_the_door() {
    let (dir, root, kernel, _server) = machine();
    let plugins = plugins(dir.path(), &[]);
    // Descriptor 7, a strange umask and ignored input are inherited.
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("umask 777; exec \"$@\" 7<\"$0\"").arg(dir.path());
    shell.arg(env!("CARGO_BIN_EXE_varpd")).arg("-R").arg(&root).arg("-i").arg(&plugins);
    let mut v = Running::daemon(&mut shell, dir.path(), &root);
    // Without waiting for anything: the door answers.
    works(&root, &kernel, 1);
    let pid = v.pid().as_raw_nonzero().get();
    assert_ne!(pid, v.child.id() as i32, "it is a child");
    let last: serde_json::Value = serde_json::from_str(v.text().lines().last().unwrap()).unwrap();
    assert_eq!(last["pid"], pid, "its records say so");
    let proc = PathBuf::from(format!("/proc/{pid}"));
    if geteuid().is_root() {
        let open = |fd: &str| std::fs::read_link(proc.join("fd").join(fd));
        assert_eq!(open("0").unwrap(), Path::new("/dev/null"));
        assert_ne!(open("7").ok(), Some(dir.path().to_owned()));
        assert_eq!(std::fs::read_link(proc.join("cwd")).unwrap(), root.join("var/run/varpd"));
    }
    let stat = std::fs::read_to_string(proc.join("stat")).unwrap();
    let stat: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    assert_eq!(stat[3], pid.to_string(), "a session of its own");
    assert_eq!(status(&v, "Umask"), "0022");
    // HUP 1, INT 2, QUIT 3, TERM 15 and others are blocked, ABRT 6 and SEGV 11 are not.
    let blocked = u64::from_str_radix(&status(&v, "SigBlk"), 16).unwrap();
    for signal in [1, 2, 3, 10, 13, 15] {
        assert_ne!(blocked & 1 << (signal - 1), 0, "{signal}: {blocked:x}");
    }
    assert_eq!(blocked & (1 << 5 | 1 << 10), 0, "{blocked:x}");
    let limits = std::fs::read_to_string(proc.join("limits")).unwrap();
    let files = limits.lines().find(|l| l.starts_with("Max open files")).unwrap();
    let files: Vec<&str> = files.split_whitespace().collect();
    assert_eq!(files[3], files[4], "soft limit and hard limit");
    v.signal(Signal::TERM);
    v.gone();
    assert!(!door(&root).exists());
    assert!(v.said("varpd stops"));
    // Nothing blocks the next one.
    let _next = Running::daemon(varpd(&root).arg("-i").arg(&plugins), dir.path(), &root);
}

#[test]
fn root_becomes_nobody_without_capabilities() {
    if !geteuid().is_root() {
        return skip("needs root");
    }
    let (dir, root, kernel, _server) = machine();
    let plugins = plugins(dir.path(), &[]);
    let v = Running::daemon(varpd(&root).arg("-i").arg(&plugins), dir.path(), &root);
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let (uid, gid) = (nobody.uid.to_string(), nobody.gid.to_string());
    // Real, effective, saved and of the file system.
    assert_eq!(status(&v, "Uid").split_whitespace().collect::<Vec<_>>(), [uid.as_str(); 4]);
    assert_eq!(status(&v, "Gid").split_whitespace().collect::<Vec<_>>(), [gid.as_str(); 4]);
    assert_eq!(status(&v, "Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(&v, set), "0000000000000000", "{set}");
    }
    assert_eq!(status(&v, "NoNewPrivs"), "1");
    let run_dir = root.join("var/run/varpd").metadata().unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&run_dir), nobody.uid.as_raw());
    assert_eq!(run_dir.permissions().mode() & 0o777, 0o700);
    works(&root, &kernel, 1);
}

#[test]
fn who_it_becomes_is_said_by_option_or_file() {
    if !geteuid().is_root() {
        return skip("needs root");
    }
    let (dir, root, kernel, _server) = machine();
    let plugins = plugins(dir.path(), &[]);
    let foreground = |user: &[&str]| {
        let mut command = varpd(&root);
        command.arg("-f").arg("-i").arg(&plugins).args(user);
        command
    };
    for (link, user, uid) in
        [(1, &[][..], "0"), (2, &["-u", "root"], "0"), (3, &["-u", "daemon"], "1")]
    {
        let mut v = Running::start(&mut foreground(user), dir.path());
        assert_eq!(status(&v, "Uid").split_whitespace().next(), Some(uid), "{user:?}");
        works(&root, &kernel, link);
        v.signal(Signal::TERM);
        assert_eq!(v.status(), 0);
    }
    std::fs::create_dir_all(root.join("etc")).unwrap();
    let text = format!("[varpd]\nuser = \"daemon\"\ninclude_path = [{plugins:?}]\n");
    std::fs::write(root.join("etc/varpd.toml"), text).unwrap();
    let v = Running::start(varpd(&root).arg("-f"), dir.path());
    assert_eq!(status(&v, "Uid").split_whitespace().next(), Some("1"));
    assert!(v.said("loaded test"), "{}", v.text());
    drop(v);
    refused(&mut foreground(&["-u", "no-such-user"]), 95, &["no user \"no-such-user\""]);
}

#[test]
fn a_file_of_properties_with_a_mistake_is_refused() {
    let (dir, root, _kernel, _server) = machine();
    let file = dir.path().join("x.toml");
    refused(varpd(&root).arg("-c").arg(&file), 95, &["x.toml"]);
    std::fs::write(&file, "[varpd]\n\ninclude = []\n").unwrap();
    refused(varpd(&root).arg("-c").arg(&file), 95, &["x.toml", "line 3", "include"]);
}

/// The child is killed by what a plugin does when it is loaded.
#[test]
fn a_parent_ends_as_its_child_does() {
    let (dir, root, _kernel, _server) = machine();
    let plugins = dir.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let source = dir.path().join("abort.c");
    let text =
        "#include <stdlib.h>\n__attribute__((constructor)) static void f(void) { abort(); }\n";
    std::fs::write(&source, text).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).arg(plugins.join("abort.so")).arg(&source);
    assert!(cc.status().unwrap().success());
    refused(varpd(&root).args(["-u", "root", "-i"]).arg(&plugins), 95, &[]);
    // One that ends by itself has its own status passed on, and says why.
    let none = dir.path().join("none");
    refused(varpd(&root).arg("-i").arg(&none), 95, &["none"]);
}

#[test]
fn it_waits_for_the_overlay_driver() {
    let dir = tempfile::tempdir().unwrap();
    let plugins = plugins(dir.path(), &[]);
    let root = dir.path().join("root");
    for foreground in [true, false] {
        let mut command = varpd(&root);
        command.arg("-i").arg(&plugins).args(foreground.then_some("-f"));
        let mut v = Running::launch(&mut command, dir.path());
        wait_for("it says so", || v.said("waiting for the overlay driver"));
        assert!(v.child.try_wait().unwrap().is_none(), "the start is not over");
        // A second one need not wait to be refused.
        let first = format!("process {}", v.child.id());
        refused(varpd(&root).arg("-f"), 95, &["another varpd runs", &first, "varpd.pid"]);
        let (_, kernel, server) = boot(&root);
        wait_for("it works", || v.said("varpd started"));
        works(&root, &kernel, 1);
        assert!(v.said("no longer waiting for the overlay driver"));
        let said = v.text().matches("waiting for the overlay driver\"").count();
        assert_eq!(said, 2, "once when it begins, once when it ends: {}", v.text());
        if foreground {
            v.signal(Signal::TERM);
            assert_eq!(v.status(), 0);
        } else {
            assert_eq!(v.status(), 0);
            let pid = std::fs::read_to_string(root.join("var/run/varpd/varpd.pid")).unwrap();
            let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
            rustix::process::kill_process(pid, Signal::TERM).unwrap();
            wait_for("the door is gone", || !door(&root).exists());
        }
        drop(server);
        wait_for("the device is gone", || !root.join("dev/overlay").exists());
    }
}

#[test]
fn patience_ends_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    for f in [&["-f"][..], &[]] {
        let mut command = varpd(dir.path());
        refused(command.args(["-w", "1"]).args(f), 95, &["gave up waiting", "dev/overlay"]);
    }
    // A socket whose kernel was killed is no device either.
    let (_, _kernel, server) = boot(dir.path());
    std::fs::rename(dir.path().join("dev/overlay"), dir.path().join("dev/kept")).unwrap();
    drop(server);
    std::fs::rename(dir.path().join("dev/kept"), dir.path().join("dev/overlay")).unwrap();
    refused(varpd(dir.path()).args(["-f", "-w", "0"]), 95, &["gave up waiting", "is gone"]);
}

#[test]
fn each_of_four_signals_ends_a_wait() {
    let dir = tempfile::tempdir().unwrap();
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM] {
        let mut v = Running::launch(varpd(dir.path()).arg("-f"), dir.path());
        wait_for("it waits", || v.said("waiting for the overlay driver"));
        v.signal(signal);
        assert_eq!(v.status(), 0, "{signal:?}");
        assert!(v.said("varpd stops"));
    }
}

#[test]
fn it_waits_for_the_directory_of_the_door() {
    let (dir, root, _kernel, _server) = machine();
    let place = dir.path().join("later");
    let door = place.join("d");
    let mut v = Running::launch(varpd(&root).arg("-f").arg("-d").arg(&door), dir.path());
    wait_for("it says so", || v.said("waiting for the directory of the door"));
    std::fs::create_dir(&place).unwrap();
    wait_for("it works", || v.said("varpd started"));
    Client::open_path(&door).unwrap();
    v.signal(Signal::TERM);
    assert_eq!(v.status(), 0);
    // And a signal ends that wait too.
    let door = dir.path().join("never/d");
    let mut v = Running::launch(varpd(&root).arg("-f").arg("-d").arg(&door), dir.path());
    wait_for("it says so", || v.said("waiting for the directory of the door"));
    v.signal(Signal::INT);
    assert_eq!(v.status(), 0);
}

#[test]
fn a_start_that_is_broken_off_leaves_no_daemon() {
    let (dir, root, kernel, _server) = machine();
    let place = dir.path().join("later");
    chmod(dir.path(), 0o755);
    let mut command = varpd(&root);
    command.arg("-d").arg(place.join("d")).args(["-u", "root"]);
    let mut v = Running::launch(&mut command, dir.path());
    wait_for("it waits", || v.said("waiting for the directory of the door"));
    v.signal(Signal::TERM);
    assert_eq!(v.status(), -1, "the parent may be killed");
    std::fs::create_dir(&place).unwrap();
    wait_for("the child sees it", || v.text().contains("cannot tell the parent process"));
    wait_for("it closes the device", || !kernel.state().is_open());
}

#[test]
fn a_second_daemon_is_refused_and_a_killed_one_blocks_nobody() {
    let (dir, root, kernel, _server) = machine();
    let plugins = plugins(dir.path(), &[]);
    for n in 1..4 {
        let mut v = Running::daemon(varpd(&root).arg("-i").arg(&plugins), dir.path(), &root);
        works(&root, &kernel, n);
        let first = format!("process {}", v.pid().as_raw_nonzero());
        refused(&mut varpd(&root), 95, &["another varpd runs", &first]);
        refused(varpd(&root).arg("-f"), 95, &["another varpd runs", &first]);
        v.signal(Signal::KILL);
        v.gone();
        assert!(door(&root).exists(), "it had no time to remove that");
    }
}

/// Somebody else has the device: a varpd that knows no lock, for instance.
#[test]
fn a_device_that_is_open_names_the_doors_server() {
    let (dir, root, _kernel, _server) = machine();
    let other = devctl::Root::from_env_or(Some(root.clone()));
    let _open = libvarpd::device::Overlay::open(&other).unwrap();
    refused(varpd(&root).arg("-f"), 95, &["another program has", "dev/overlay"]);
    let handler = |_: &[u8], _: &door::PeerCred| Vec::new();
    let _door = door::Server::create(door(&root), 0o600, std::sync::Arc::new(handler)).unwrap();
    let me = format!("process {}", std::process::id());
    refused(varpd(&root).arg("-f"), 95, &["another program has", &me]);
    drop(dir);
}

#[test]
fn a_run_directory_that_cannot_be_is_a_clear_error() {
    let (dir, root, _kernel, _server) = machine();
    std::fs::create_dir_all(root.join("var")).unwrap();
    File::create(root.join("var/run")).unwrap();
    refused(&mut varpd(&root), 95, &["cannot make run directory", "var/run/varpd"]);
    std::fs::remove_file(root.join("var/run")).unwrap();
    // Somebody without rights: root has to become one for that.
    let (closed, open) = (dir.path().join("closed"), dir.path().join("open"));
    chmod(dir.path(), 0o755);
    for root in [&closed, &open] {
        std::fs::create_dir_all(root.join("var/run")).unwrap();
    }
    chmod(&closed.join("var/run"), 0o555);
    let as_user = |root: &Path| {
        let mut command = varpd(root);
        if geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        command
    };
    refused(&mut as_user(&closed), 95, &["cannot make run directory", "Permission denied", "-R"]);
    if geteuid().is_root() {
        // Another user's directory is not trusted.
        std::fs::create_dir(open.join("var/run/varpd")).unwrap();
        std::os::unix::fs::chown(open.join("var/run/varpd"), Some(4711), None).unwrap();
        chmod(&open.join("var/run/varpd"), 0o777);
        refused(&mut as_user(&open), 95, &["belongs to user 4711"]);
    }
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let (dir, root, kernel, _server) = machine();
    let plugins = plugins(dir.path(), &[]);
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut command = varpd(&root);
    let mut child = command.arg("-f").arg("-i").arg(&plugins).stderr(full()).spawn().unwrap();
    wait_for("the door", || Client::open_path(&door(&root)).is_ok());
    works(&root, &kernel, 1);
    // Nor does it keep a message that cannot be told from ending the second.
    let status = varpd(&root).arg("-f").stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(95));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

/// A disk without room for a single byte.
#[test]
fn a_full_disk_below_the_run_directory() {
    if !geteuid().is_root() {
        return skip("needs root");
    }
    let (dir, root, kernel, _server) = machine();
    let plugins = plugins(dir.path(), &[]);
    let run_dir = root.join("var/run/varpd");
    std::fs::create_dir_all(&run_dir).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=4096,mode=700 none {run:?} || exit 77; \
         dd if=/dev/zero of={run:?}/all bs=4096 count=1 2>/dev/null; exec \"$@\"",
        run = run_dir
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_varpd"), "-f", "-R"]);
    command.arg(&root).arg("-i").arg(&plugins).arg("-d").arg(dir.path().join("door"));
    let mut v = Running::launch(&mut command, dir.path());
    let mut ended = None;
    wait_for("it starts or says why not", || {
        ended = v.child.try_wait().unwrap();
        ended.is_some() || v.said("varpd started")
    });
    if ended.and_then(|status| status.code()) == Some(77) || v.text().contains("unshare") {
        return skip("this system lets nobody mount");
    }
    assert!(ended.is_none(), "{}", v.text());
    let text = v.text();
    let why = text.lines().any(|l| l.contains("varpd.pid") && l.contains("No space left"));
    assert!(why, "{text}");
    let client = Client::open_path(&dir.path().join("door")).unwrap();
    kernel.add_link(1, VXLAN);
    client.instance_create(LinkId(1), "test").unwrap();
    v.signal(Signal::TERM);
    assert_eq!(v.status(), 0);
}
