// SPDX-License-Identifier: CDDL-1.0
//! What is installed on illumos, as far as Linux can tell.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use xtask::proto::{Entry, Kind, files, p5m, parse};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn illumos(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("illumos").join(file)
}

fn entries() -> Vec<Entry> {
    parse(&std::fs::read_to_string(illumos("proto.list")).unwrap()).unwrap()
}

#[test]
fn every_source_of_the_repository_is_there() {
    for entry in entries() {
        if let Kind::File(_, source) = entry.kind
            && !source.contains(':')
        {
            assert!(repository().join(&source).is_file(), "{source}");
        }
    }
}

/// Every file of usr/ is installed somewhere.
#[test]
fn nothing_of_usr_is_forgotten() {
    let list = std::fs::read_to_string(illumos("proto.list")).unwrap();
    let mut dirs = vec![repository().join("usr")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let name = path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned();
            assert!(list.lines().any(|l| l.ends_with(&format!(" {name}"))), "{name}");
        }
    }
}

/// What other parts of a system rely on (spec/varpd.md 1.1).
#[test]
fn paths_modes_and_owners() {
    let files = files(&entries()).unwrap();
    for line in [
        "file usr/lib/varpd/varpd 0555 root bin",
        "file usr/lib/varpd/amd64/libvarpd_direct.so.1 0555 root bin",
        "link usr/lib/varpd/amd64/libvarpd_direct.so libvarpd_direct.so.1",
        "file usr/lib/varpd/amd64/libvarpd_files.so.1 0555 root bin",
        "link usr/lib/varpd/amd64/libvarpd_files.so libvarpd_files.so.1",
        "file usr/lib/varpd/amd64/libvarpd_svp.so.1 0555 root bin",
        "link usr/lib/varpd/amd64/libvarpd_svp.so libvarpd_svp.so.1",
        "link usr/lib/varpd/64 amd64",
        "file usr/lib/amd64/libvarpd.so.1 0755 root bin",
        "link usr/lib/amd64/libvarpd.so libvarpd.so.1",
        "file lib/svc/manifest/network/varpd.xml 0444 root sys",
        // What portolan writes to, and it is nobody but netadm.
        "dir var/portolan 0750 netadm netadm",
        "file usr/kernel/drv/amd64/overlay 0755 root sys",
        "file usr/kernel/overlay/amd64/vxlan 0755 root sys",
        // Before /kernel in the module path.
        "file platform/i86pc/kernel/drv/amd64/ipnet 0755 root sys",
        "file usr/lib/varpd/snoop 0555 root bin",
    ] {
        assert!(files.lines().any(|l| l == line), "{line}");
    }
}

/// What every illumos has, whichever packages: no file of ours is in its place.
#[test]
fn what_belongs_to_every_system_is_not_replaced() {
    for path in [
        "kernel/drv/amd64/ipnet",
        "kernel/drv/ipnet.conf",
        "usr/sbin/dladm",
        "usr/sbin/snoop",
        "usr/share/man/man4d/ipnet.4d",
        "usr/share/man/man8/dladm.8",
        "usr/share/man/man8/snoop.8",
    ] {
        assert!(entries().iter().all(|e| e.path != path), "{path}");
    }
}

#[test]
fn the_package_manifest_has_an_action_for_each_entry() {
    let entries = entries();
    let text = p5m(&entries).unwrap();
    for entry in &entries {
        let action = match entry.kind {
            Kind::Dir(_) => format!("dir path={} owner=", entry.path),
            Kind::File(..) => format!("file {0} path={0} owner=", entry.path),
            Kind::Link(_) => format!("link path={} target=", entry.path),
        };
        assert_eq!(text.lines().filter(|l| l.starts_with(&action)).count(), 1, "{action}");
    }
    assert!(text.contains("\ndriver name=overlay\n"));
    assert!(text.contains("\ndepend type=exclude fmri=pkg:/system/network/overlay\n"));
    let modules = text.lines().filter(|l| l.ends_with(" reboot-needed=true")).count();
    let listed =
        entries.iter().filter(|e| matches!(&e.kind, Kind::File(_, s) if s.starts_with("kmod:")));
    assert!(modules > listed.count(), "the modules, and overlay.conf");
}

#[test]
fn mistakes_in_the_list_are_named_by_line() {
    for text in [
        "dir a 0755 root",
        "file a 0755 root nobody src",
        "file a rwx root sys src",
        "dir /a 0755 root sys",
        "socket a",
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with("line 1:"), "{text}: {error}");
    }
    assert!(parse("link a b\nlink a c").unwrap_err().to_string().starts_with("line 2:"));
}

fn xmllint(manifest: &Path) -> Option<Output> {
    let mut cmd = Command::new("xmllint");
    cmd.args(["--noout", "--nonet", "--dtdvalid"]).arg(illumos("service_bundle.dtd"));
    match cmd.arg(manifest).output() {
        Ok(out) => Some(out),
        Err(e) => {
            test_skip::skip(format!("xmllint: {e}"));
            None
        }
    }
}

#[test]
fn the_service_manifests_are_valid() {
    let manifests = repository().join("usr/lib/svc/manifest/network");
    for name in ["portolan.xml", "varpd.xml"] {
        let Some(out) = xmllint(&manifests.join(name)) else { return };
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    let manifest = manifests.join("varpd.xml");
    // And the rules are rules.
    let text = std::fs::read_to_string(manifest).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (right, wrong) in [
        ("timeout_seconds='60'", ""),
        ("grouping='require_all'", "grouping='require_some'"),
        ("<single_instance />", "<single_instance /><double_instance />"),
        ("enabled='true'", "enabled='yes'"),
    ] {
        let file = dir.path().join("wrong.xml");
        assert!(text.contains(right), "{right}");
        std::fs::write(&file, text.replacen(right, wrong, 1)).unwrap();
        assert!(!xmllint(&file).unwrap().status.success(), "{wrong:?} passed");
    }
}

/// A package of stand-ins for the real files, and a system to install it on.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("package");
        for entry in entries() {
            let path = package.join("root").join(&entry.path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if let Kind::File(..) = entry.kind {
                std::fs::write(path, format!("ours: {}", entry.path)).unwrap();
            }
        }
        std::fs::write(package.join("files"), files(&entries()).unwrap()).unwrap();
        for script in ["install.sh", "uninstall.sh"] {
            std::fs::copy(illumos(script), package.join(script)).unwrap();
        }
        Bench(dir)
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("system")
    }

    #[track_caller]
    fn run(&self, script: &str) {
        let mut cmd = Command::new("sh");
        cmd.arg(self.0.path().join("package").join(script)).env("ROOT", self.root());
        let out = cmd.output().unwrap();
        assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.root().join(path)).ok()
    }
}

#[test]
fn installing_puts_everything_in_place_and_uninstalling_takes_it_away() {
    let bench = Bench::new();
    bench.write("etc/passwd", "");
    bench.run("install.sh");
    for entry in entries() {
        let path = bench.root().join(&entry.path);
        match entry.kind {
            Kind::Dir(_) => assert!(path.is_dir(), "{}", entry.path),
            Kind::Link(target) => {
                assert_eq!(std::fs::read_link(path).unwrap(), Path::new(&target));
            }
            Kind::File(..) => {
                assert_eq!(bench.read(&entry.path).unwrap(), format!("ours: {}", entry.path));
            }
        }
    }
    for (path, mode) in [("usr/lib/varpd/varpd", 0o555), ("var/portolan", 0o750)] {
        let permissions = bench.root().join(path).metadata().unwrap().permissions();
        assert_eq!(permissions.mode() & 0o7777, mode, "{path}");
    }
    bench.run("uninstall.sh");
    assert!(!bench.root().join("usr/lib/varpd").exists());
    assert!(!bench.root().join("var/opt/overlay-rs").exists());
    assert!(bench.read("etc/passwd").is_some());
}

/// The system's own overlay is out of the way while ours is there, and back afterwards, also when
/// ours was installed twice.
#[test]
fn what_the_system_had_comes_back() {
    let bench = Bench::new();
    let theirs = [
        "kernel/drv/amd64/overlay",
        "lib/amd64/libvarpd.so.1",
        "usr/lib/varpd/varpd",
        "usr/include/sys/vxlan.h",
    ];
    let untouched = ["kernel/drv/amd64/ipnet", "usr/sbin/snoop"];
    for path in theirs.iter().chain(&untouched) {
        bench.write(path, "theirs");
    }
    bench.run("install.sh");
    bench.run("install.sh");
    assert_eq!(bench.read("kernel/drv/amd64/overlay"), None, "it would be loaded first");
    assert_eq!(bench.read("lib/amd64/libvarpd.so.1"), None, "it would be loaded first");
    for path in untouched {
        assert_eq!(bench.read(path).as_deref(), Some("theirs"), "{path}");
    }
    assert_eq!(bench.read("usr/lib/varpd/varpd").unwrap(), "ours: usr/lib/varpd/varpd");
    bench.run("uninstall.sh");
    for path in theirs.iter().chain(&untouched) {
        assert_eq!(bench.read(path).as_deref(), Some("theirs"), "{path}");
    }
    for path in ["usr/lib/varpd/dladm", "platform/i86pc/kernel/drv/amd64/ipnet"] {
        assert_eq!(bench.read(path), None, "{path}");
    }
}
