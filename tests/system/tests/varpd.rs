// SPDX-License-Identifier: CDDL-1.0
//! varpd with the real kernel modules: a lookup plugin in C between two hosts, and the death of
//! either daemon.
//!
//! Ordinary processes on loopback addresses; no privilege is needed.

use anyhow::{Context, Result, ensure};
use fkadm::proto::{Ping, PingReport};
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use system_tests::{Daemon, wait};

const EXE: &str = env!("CARGO_BIN_EXE_overlay-tools");

/// The first three bytes of underlay addresses, of this test process' own.
fn prefix() -> [u8; 3] {
    let pid = std::process::id().to_be_bytes();
    [127, 128 + pid[2] % 64, pid[3]]
}

/// A host with a kernel, a varpd with one C plugin, and an overlay with one guest.
struct Host {
    varpd: Daemon,
    kernel: Daemon,
    dir: tempfile::TempDir,
    last: u8,
}

impl Host {
    /// A host at the underlay address that ends with `last`; broadcasts go to the one that ends
    /// with `peer`.
    fn start(last: u8, peer: u8) -> Result<Host> {
        let dir = tempfile::tempdir()?;
        let plugins = dir.path().join("plugins");
        std::fs::create_dir(&plugins)?;
        let [a, b, c] = prefix();
        varpd_harness::compile(
            &plugins.join("libvarpd_test.so"),
            &[&format!("PREFIX={a},{b},{c}"), &format!("PEER={peer}")],
        );
        let kernel = spawn(dir.path(), "fakekerneld", &["--checks".into(), "debug".into()])?;
        let overlay = dir.path().join("root/dev/overlay");
        let kernel = kernel.when(|| overlay.exists())?;
        let varpd = spawn_varpd(dir.path())?;
        Ok(Host { dir, last, kernel, varpd })
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn underlay(&self) -> IpAddr {
        let [a, b, c] = prefix();
        [a, b, c, self.last].into()
    }

    fn dladm(&self, args: &[&str]) -> Result<String> {
        let out = tool(self.dir.path(), "dladm").args(args).stdin(Stdio::null()).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(out.status.success(), "dladm {args:?}: {}", text(&out.stderr));
        Ok(text(&out.stdout))
    }

    fn fkadm(&self) -> Result<fkadm::client::Client> {
        Ok(fkadm::client::Client::open(&devctl::Root::from_env_or(Some(self.root())))?)
    }

    /// An overlay with the C plugin, and a guest 10.0.0.LAST on it.
    fn overlay(&self) -> Result<()> {
        let listen = format!("vxlan/listen_ip={}", self.underlay());
        self.dladm(&[
            "create-overlay",
            "-e",
            "vxlan",
            "-s",
            "test",
            "-v",
            "7",
            "-p",
            &listen,
            "ov1",
        ])?;
        let mac = format!("2:8:20:0:0:{:x}", self.last);
        self.dladm(&["create-vnic", "-l", "ov1", "-m", &mac, "vn0"])?;
        self.fkadm()?.guest_attach("vn0", [format!("10.0.0.{}/24", self.last)])?;
        Ok(())
    }

    /// Pings the guest of another host; all must come back.
    fn reaches(&self, to: &Host) -> Result<()> {
        let report = self.ping([10, 0, 0, to.last].into(), 5, 3000)?;
        ensure!(report.received == report.sent, "{report:?}");
        Ok(())
    }

    /// Pings an address that must not answer.
    fn misses(&self, to: [u8; 4]) -> Result<()> {
        let report = self.ping(to.into(), 1, 100)?;
        ensure!(report.received == 0, "{report:?}");
        Ok(())
    }

    fn ping(&self, to: IpAddr, count: u32, timeout_ms: u32) -> Result<PingReport> {
        let link = "vn0";
        let ping = Ping { count, interval_ms: 0, timeout_ms, ..Ping::new(link, to) };
        Ok(self.fkadm()?.guest_ping(ping)?)
    }

    /// Stops both daemons. The kernel fails if its checks found something.
    fn stop(self) -> Result<()> {
        self.varpd.stop()?;
        self.kernel.stop()
    }
}

/// One of the programs in `overlay-tools`, for the host of a directory.
fn tool(dir: &Path, program: &str) -> Command {
    let mut command = Command::new(EXE);
    command.arg0(program).env("OVERLAY_ROOT", dir.join("root"));
    command
}

fn spawn(dir: &Path, program: &str, args: &[PathBuf]) -> Result<Daemon> {
    Daemon::start(tool(dir, program).args(args), &dir.join(format!("{program}.log")))
}

/// A varpd that answers its door.
fn spawn_varpd(dir: &Path) -> Result<Daemon> {
    let varpd = spawn(dir, "varpd", &["-f".into(), "-i".into(), dir.join("plugins")])?;
    // The file of a killed one may lie there.
    let door = dir.join("root/var/run/varpd/varpd.door");
    varpd.when(|| libvarpd_client::Client::open_path(&door).is_ok())
}

fn two_hosts() -> Result<(Host, Host)> {
    let (h1, h2) = (Host::start(11, 12)?, Host::start(12, 11)?);
    h1.overlay()?;
    h2.overlay()?;
    Ok((h1, h2))
}

#[test]
fn a_plugin_in_c_finds_the_way_between_two_hosts() -> Result<()> {
    let (h1, h2) = two_hosts()?;
    h1.reaches(&h2)?;
    // What was looked up is in the kernel's cache, seen through varpd.
    let targets = h1.dladm(&["show-overlay", "-t", "ov1"])?;
    ensure!(targets.contains(&format!("{}:4789", h2.underlay())), "{targets}");
    ensure!(targets.contains("2:8:20:0:0:c"), "{targets}");
    // A drop entry stops it, removing the entry asks the plugin again.
    h1.dladm(&["modify-overlay", "-s", "2:8:20:0:0:c=drop", "ov1"])?;
    h1.misses([10, 0, 0, 12])?;
    h1.dladm(&["modify-overlay", "-d", "2:8:20:0:0:c", "ov1"])?;
    h1.reaches(&h2)?;
    h1.dladm(&["modify-overlay", "-f", "ov1"])?;
    h1.reaches(&h2)?;
    let view = h1.dladm(&["show-overlay", "ov1"])?;
    for text in ["search", "test/text", "varpd/id"] {
        ensure!(view.contains(text), "{view}");
    }
    h1.stop()?;
    h2.stop()
}

#[test]
fn a_killed_varpd_comes_back_with_its_instances() -> Result<()> {
    let (mut h1, h2) = two_hosts()?;
    h1.reaches(&h2)?;
    let view = h1.dladm(&["show-overlay", "ov1"])?;
    for _ in 0..3 {
        h1.varpd.kill()?;
        h1.reaches(&h2).context("what is known needs no varpd")?;
        // A frame for an address that is not in the cache waits for the next varpd.
        h1.misses([10, 0, 0, 99])?;
        h1.varpd = spawn_varpd(h1.dir.path())?;
        let health = h1.dladm(&["show-overlay", "-f", "ov1"])?;
        ensure!(health.contains("ONLINE"), "{health}");
        h1.reaches(&h2)?;
        // What was known is asked anew.
        let targets = h1.dladm(&["show-overlay", "-t", "ov1"])?;
        ensure!(targets.contains(&format!("{}:4789", h2.underlay())), "{targets}");
        h1.dladm(&["modify-overlay", "-f", "ov1"])?;
        h1.reaches(&h2)?;
        ensure!(h1.dladm(&["show-overlay", "ov1"])? == view, "number or properties changed");
    }
    // The link can be taken away and made anew with it.
    h1.fkadm()?.guest_detach("vn0")?;
    h1.dladm(&["delete-vnic", "vn0"])?;
    h1.dladm(&["delete-overlay", "ov1"])?;
    let run = h1.root().join("var/run/varpd");
    let files = || -> Result<Vec<String>> {
        let names = std::fs::read_dir(&run)?.map(|e| e.map(|e| e.file_name()));
        let names = names.collect::<std::io::Result<Vec<_>>>()?;
        let text = |name: std::ffi::OsString| name.to_string_lossy().into_owned();
        Ok(names.into_iter().map(text).filter(|n| n.ends_with(".varpd")).collect())
    };
    ensure!(files()?.is_empty(), "{:?}", files()?);
    h1.overlay()?;
    h1.reaches(&h2)?;
    ensure!(files()?.len() == 1, "{:?}", files()?);
    h1.stop()?;
    h2.stop()
}

/// Nothing is lost, however often varpd dies.
#[test]
fn traffic_goes_on_while_varpd_is_killed_and_started() -> Result<()> {
    let (mut h1, h2) = two_hosts()?;
    h1.reaches(&h2)?;
    let (link, to) = ("vn0", IpAddr::from([10, 0, 0, h2.last]));
    // A frame may wait for the next varpd. So few are sent that those that have waited do not
    // overrun the guest when they come all at once.
    let ping = Ping { count: 80, interval_ms: 100, timeout_ms: 60_000, ..Ping::new(link, to) };
    let mut client = h1.fkadm()?;
    let pings = std::thread::spawn(move || client.guest_ping(ping));
    let mut kills = 0;
    while !pings.is_finished() {
        h1.varpd.kill()?;
        h1.varpd = spawn_varpd(h1.dir.path())?;
        kills += 1;
    }
    let report = pings.join().expect("no panic")?;
    ensure!(kills > 0 && report.sent == 80 && report.received == 80, "{kills} {report:?}");
    let health = h1.dladm(&["show-overlay", "-f", "ov1"])?;
    ensure!(health.contains("ONLINE"), "{health}");
    h1.stop()?;
    h2.stop()
}

/// What show-overlay -f says is so: with varpd, without it, when it is back, and when it forgot.
#[test]
fn the_states_shown_are_those_of_the_links() -> Result<()> {
    let mut host = Host::start(15, 16)?;
    host.overlay()?;
    let shown = |host: &Host| -> Result<(String, String)> {
        let mut dladm = tool(host.dir.path(), "dladm");
        dladm.args(["show-overlay", "-f", "-p", "-o", "status,details", "ov1"]);
        let out = dladm.stdin(Stdio::null()).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        ensure!(out.status.success(), "{}", text(&out.stderr));
        Ok((text(&out.stdout), text(&out.stderr)))
    };
    let is = |host: &Host, state: &str, with_varpd: bool| -> Result<()> {
        let (out, err) = shown(host)?;
        ensure!(out.contains(state), "{out} in place of {state}");
        match with_varpd {
            true => ensure!(err.is_empty(), "{err}"),
            false => ensure!(err.contains("warning: varpd does not answer"), "{err}"),
        }
        Ok(())
    };
    is(&host, "ONLINE:-", true)?;
    let (here, away) = (host.dir.path().join("plugins"), host.dir.path().join("away"));
    let plugin = "libvarpd_test.so";
    std::fs::create_dir(&away)?;

    host.varpd.kill()?;
    is(&host, "ONLINE:-", false)?;
    std::fs::rename(here.join(plugin), away.join(plugin))?;
    host.varpd = spawn_varpd(host.dir.path())?;
    is(&host, "DEGRADED:varpd instance 1\\: plugin \"test\" is not loaded", true)?;
    host.varpd.kill()?;
    is(&host, "DEGRADED:varpd instance 1", false)?;
    std::fs::rename(away.join(plugin), here.join(plugin))?;
    host.varpd = spawn_varpd(host.dir.path())?;
    is(&host, "ONLINE:-", true)?;

    // It forgets, and says so; the link can be made anew.
    host.varpd.kill()?;
    std::fs::remove_file(host.root().join("var/run/varpd/1.varpd"))?;
    host.varpd = spawn_varpd(host.dir.path())?;
    is(&host, "DEGRADED:no varpd instance exists", true)?;
    host.fkadm()?.guest_detach("vn0")?;
    host.dladm(&["delete-vnic", "vn0"])?;
    host.dladm(&["delete-overlay", "ov1"])?;
    host.overlay()?;
    is(&host, "ONLINE:-", true)?;
    host.stop()
}

#[test]
fn varpd_ends_with_95_when_its_kernel_is_killed() -> Result<()> {
    let mut host = Host::start(13, 14)?;
    host.overlay()?;
    host.kernel.kill()?;
    let mut ended = None;
    wait("varpd ends", || {
        ended = host.varpd.ended().transpose();
        ended.is_some()
    })?;
    let status = ended.context("it goes on")??;
    ensure!(status.code() == Some(95), "{status}");
    let log = std::fs::read_to_string(host.dir.path().join("varpd.log"))?;
    ensure!(log.contains("does not answer lookups") && log.lines().count() < 40, "{log}");
    Ok(())
}
