// SPDX-License-Identifier: CDDL-1.0
//! This machine's own interfaces: two network namespaces with a cable between them.

use crate::snoop;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

fn ip(args: &[&str]) -> bool {
    Command::new("ip").args(args).output().is_ok_and(|out| out.status.success())
}

/// Namespaces `a` and `b`; 192.0.2.1 and 192.0.2.2 on `eth0` of each.
struct Cable {
    a: String,
    b: String,
}

impl Cable {
    /// `None` after counting the test as skipped.
    fn new() -> Option<Cable> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |side: &str| format!("sn{}-{n}{side}", std::process::id());
        let cable = Cable { a: name("a"), b: name("b") };
        if cable.connect() {
            return Some(cable);
        }
        test_skip::skip("needs root, iproute2 and network namespaces");
        None
    }

    fn connect(&self) -> bool {
        let (a, b) = (self.a.as_str(), self.b.as_str());
        let cable = ["link", "add", "eth0", "netns", a, "type", "veth", "peer", "eth0", "netns", b];
        let made = ip(&["netns", "add", a]) && ip(&["netns", "add", b]) && ip(&cable);
        made && [(a, "1"), (b, "2")].into_iter().all(|(ns, n)| {
            let with = |args: &[&str]| ip(&[&["-n", ns], args].concat());
            with(&["address", "add", &format!("192.0.2.{n}/24"), "dev", "eth0"])
                && with(&["link", "set", "lo", "up"])
                && with(&["link", "set", "eth0", "up"])
        })
    }

    /// Pings from `a` until it is dropped.
    fn ping(&self, to: &str) -> Running {
        let ping = ["netns", "exec", &self.a, "ping", "-n", "-i", "0.1", to];
        Running(Command::new("ip").args(ping).stdout(Stdio::null()).spawn().unwrap())
    }

    /// What snoop prints of an interface of `a` while it pings.
    fn shown(&self, to: &str, args: &[&str]) -> String {
        let _ping = self.ping(to);
        let out = snoop([&["-r", "-z", &self.a], args].concat());
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.a]);
        let _ = ip(&["netns", "del", &self.b]);
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts snoop with an interface of a namespace.
fn start(args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snoop"));
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn interrupt(child: Child) -> Output {
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_namespace_is_a_zone_to_its_interfaces() {
    let Some(cable) = Cable::new() else { return };
    let shown = cable.shown("192.0.2.2", &["-V", "-I", "eth0", "-c", "20", "icmp"]);
    let zone = std::fs::metadata(format!("/run/netns/{}", cable.a)).unwrap().ino();
    let sent = format!("192.0.2.1 -> 192.0.2.2 IPNET out interface 2 zone {zone} to -");
    let received = format!("192.0.2.2 -> 192.0.2.1 IPNET in interface 2 zone - to {zone}");
    assert!(shown.contains(&sent) && shown.contains(&received), "{shown}");
    assert_eq!(shown.matches("IPNET").count(), 20);
    // To an address of one's own, over the loopback interface, each packet once.
    let shown = cable.shown("192.0.2.1", &["-V", "-I", "lo", "-c", "20", "icmp"]);
    let local = format!("IPNET local interface 1 zone {zone} to {zone}");
    assert_eq!(shown.matches(&local).count(), 20, "{shown}");
    let [asked, answered] = ["Echo request", "Echo reply"].map(|s| shown.matches(s).count());
    assert_eq!((asked, answered), (10, 10), "{shown}");
}

#[test]
fn a_link_shows_frames() {
    let Some(cable) = Cable::new() else { return };
    let shown = cable.shown("192.0.2.2", &["-V", "-P", "-d", "eth0", "-c", "4", "icmp"]);
    assert_eq!(shown.matches("ETHER").count(), 4, "{shown}");
    assert!(shown.contains("192.0.2.2 -> 192.0.2.1 ICMP Echo reply"), "{shown}");
    ip(&["-n", &cable.a, "neighbour", "flush", "dev", "eth0"]);
    let shown = cable.shown("192.0.2.2", &["-d", "eth0", "-c", "1", "arp"]);
    assert!(shown.contains("ARP C Who is 192.0.2."), "{shown}");
}

#[test]
fn an_interrupt_ends_a_capture_with_its_counts_and_a_whole_file() {
    let Some(cable) = Cable::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.pcapng");
    let path = file.to_str().unwrap();
    let child = start(&["-z", &cable.a, "-I", "eth0", "-o", path, "icmp"]);
    let ping = cable.ping("192.0.2.2");
    // The first packets show that it has begun: the file is not empty any more.
    crate::wait("packets in the file", || std::fs::metadata(&file).is_ok_and(|m| m.len() > 8192));
    drop(ping);
    let out = interrupt(child);
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.success() && out.stdout.is_empty(), "{stderr}");
    let words: Vec<&str> = stderr.split_whitespace().collect();
    let ["eth0:", count, "packets,", "0", "dropped"] = words[..] else { panic!("{stderr}") };
    let shown = crate::printed(["-i", path]);
    assert_eq!(shown.lines().count().to_string(), count);
    if let Some(judged) = crate::tshark::judged(&file) {
        assert_eq!(judged.len().to_string(), count);
        assert!(judged.iter().all(|(bad, p)| !bad && p.starts_with("ipnet:ip:icmp")), "{judged:?}");
    }
}

#[test]
fn an_interface_that_goes_away_ends_a_capture() {
    let Some(cable) = Cable::new() else { return };
    let child = start(&["-z", &cable.a, "-d", "eth0", "-q"]);
    // It is promiscuous from when it listens on.
    crate::wait("it to listen", || {
        let link = Command::new("ip").args(["-n", &cable.a, "-d", "link", "show", "eth0"]).output();
        String::from_utf8_lossy(&link.unwrap().stdout).contains("promiscuity 1")
    });
    assert!(ip(&["-n", &cable.a, "link", "del", "eth0"]));
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(out.stderr, b"snoop: eth0: the interface went down or away\n");
}

#[test]
fn what_cannot_be_watched_is_told() {
    let complaint = |args: &[&str]| {
        let out = snoop(args);
        assert_eq!(out.status.code(), Some(1));
        String::from_utf8(out.stderr).unwrap()
    };
    let e = complaint(&["-I", "nosuch0"]);
    assert!(
        e.starts_with("snoop: nosuch0: this machine has no such interface; there are lo"),
        "{e}"
    );
    let e = complaint(&["-z", "no-such-zone", "-I", "lo"]);
    assert!(e.starts_with("snoop: lo: there is no network namespace no-such-zone;"), "{e}");
}

#[test]
fn who_may_not_watch_is_told_what_it_takes() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snoop"));
    command.args(["-I", "lo"]);
    if rustix::process::geteuid().is_root() {
        command.uid(65534);
    }
    let out = command.output().unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    let why =
        "snoop: lo: to watch this machine's interfaces takes root, or the capability CAP_NET_RAW";
    assert!(stderr.starts_with(why), "{stderr}");
}

#[test]
fn addresses_that_come_and_go_are_noticed() {
    let Some(cable) = Cable::new() else { return };
    let mut child = start(&["-z", &cable.a, "-I", "eth0", "-rVq", "icmp"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let _ping = cable.ping("192.0.2.2");
    let mut until = |what: &str| {
        lines.find(|l| l.as_ref().unwrap().contains(what)).unwrap().unwrap();
    };
    let zone = std::fs::metadata(format!("/run/netns/{}", cable.a)).unwrap().ino();
    let known = format!("192.0.2.2 -> 192.0.2.1 IPNET in interface 2 zone - to {zone}");
    until(&known);
    // Another address of the same host, which b knows the way to.
    let with = |args: &[&str]| assert!(ip(&[&["-n", &cable.a], args].concat()), "{args:?}");
    let _other = Running(
        Command::new("ip")
            .args(["netns", "exec", &cable.b, "ping", "-n", "-i", "0.1", "192.0.2.3"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    with(&["address", "add", "192.0.2.3/24", "dev", "eth0"]);
    until(&format!("192.0.2.2 -> 192.0.2.3 IPNET in interface 2 zone - to {zone}"));
    with(&["address", "del", "192.0.2.3/24", "dev", "eth0"]);
    with(&["address", "add", "192.0.2.4/24", "dev", "eth0"]);
    until(&known);
    drop(lines);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_namespace_may_lose_its_name_while_it_is_watched() {
    let Some(cable) = Cable::new() else { return };
    let child = start(&["-z", &cable.a, "-I", "eth0", "-q", "icmp"]);
    let stdout = child.stdout.as_ref().unwrap().as_fd().try_clone_to_owned().unwrap();
    let mut lines = BufReader::new(std::fs::File::from(stdout)).lines();
    let ping = cable.ping("192.0.2.2");
    lines.next().unwrap().unwrap();
    assert!(ip(&["netns", "del", &cable.a]));
    // It is there as long as somebody is in it.
    (0..5).for_each(|_| drop(lines.next().unwrap().unwrap()));
    drop(ping);
    // The cable goes with its other end.
    assert!(ip(&["-n", &cable.b, "link", "del", "eth0"]));
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.stderr, b"snoop: eth0: the interface went down or away\n");
}

#[test]
fn we_read_what_dumpcap_captures() {
    let Some(cable) = Cable::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let _ping = cable.ping("192.0.2.2");
    for ending in ["pcapng", "pcap"] {
        let file = dir.path().join(ending);
        let path = file.to_str().unwrap();
        let capture =
            ["netns", "exec", &cable.a, "dumpcap", "-q", "-i", "eth0", "-c", "6", "-w", path];
        let format: &[&str] = if ending == "pcap" { &["-P"] } else { &[] };
        let out = Command::new("ip").args(capture).args(format).output().unwrap();
        if !out.status.success() {
            test_skip::skip(format!("dumpcap does not run: {out:?}"));
            return;
        }
        let shown = crate::printed(["-r", "-i", path]);
        assert_eq!(shown.lines().count(), 6, "{shown}");
        assert!(shown.contains("192.0.2.1 -> 192.0.2.2 ICMP Echo request"), "{shown}");
    }
}
