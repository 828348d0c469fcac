// SPDX-License-Identifier: CDDL-1.0
//! The smoke program of illumos, over fakekerneld: each of its checks passes, and says why when it
//! does not.

use anyhow::{Context, Result, ensure};
use devctl::Root;
use fkadm::client::Client;
use fkadm::proto::AttachTap;
use overlay_smoke::Frame;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use system_tests::packet::PacketSocket;
use system_tests::{cannot_use_netns, checked, skip};

/// A kernel, killed when dropped.
struct Kernel(Child);

impl Kernel {
    fn start(root: &Path) -> Result<Kernel> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overlay-tools"));
        command.arg0("fakekerneld").env("OVERLAY_ROOT", root).stdin(Stdio::null());
        let kernel = Kernel(command.stderr(Stdio::null()).spawn().context("fakekerneld")?);
        let end = Instant::now() + Duration::from_secs(10);
        while !root.join("dev/overlay").exists() {
            ensure!(Instant::now() < end, "fakekerneld does not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(kernel)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a frame out of a VNIC through a card of this machine that comes and goes with it.
fn send(root: &Root, vnic: &str, frame: &Frame) -> Result<()> {
    let mut client = Client::open(root)?;
    let tap = format!("ovt-sm{}", std::process::id() % 1_000_000);
    let attach = AttachTap {
        link: vnic.to_owned(),
        tap: Some(tap.clone()),
        netns: None,
        addresses: Vec::new(),
    };
    let guest = client.guest_attach_tap(attach)?;
    // Only what it is told to send.
    std::fs::write(format!("/proc/sys/net/ipv6/conf/{tap}/disable_ipv6"), "1")?;
    checked(Command::new("ip").args(["link", "set", &tap, "up"]))?;
    let from = guest.mac.split(':').map(|byte| u8::from_str_radix(byte, 16));
    let from = from.collect::<Result<Vec<u8>, _>>()?;
    let frame = [&frame.to[..], &from, &frame.kind.to_be_bytes(), &frame.payload].concat();
    PacketSocket::open(&tap)?.send(&frame)?;
    let taken = format!("/sys/class/net/{tap}/statistics/tx_packets");
    let end = Instant::now() + Duration::from_secs(30);
    while std::fs::read_to_string(&taken)?.trim() == "0" {
        ensure!(Instant::now() < end, "fakekerneld does not take the frame");
        std::thread::sleep(Duration::from_millis(5));
    }
    client.guest_detach(vnic)?;
    Ok(())
}

fn smoke(root: &Root, send: overlay_smoke::Send<'_>) -> (usize, String) {
    let mut out = Vec::new();
    let failed = overlay_smoke::run(root, &mut out, send);
    (failed, String::from_utf8_lossy(&out).into_owned())
}

#[test]
fn every_check_passes() -> Result<()> {
    if let Some(why) = cannot_use_netns() {
        skip(why);
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let root = Root::from_env_or(Some(dir.path().to_owned()));
    let _kernel = Kernel::start(dir.path())?;
    // Twice, as the first leaves nothing.
    for _ in 0..2 {
        let (failed, lines) =
            smoke(&root, &|vnic, frame| send(&root, vnic, frame).map_err(|e| format!("{e:#}")));
        assert_eq!(failed, 0, "{lines}");
        assert!(lines.contains("PASS and comes as a VXLAN datagram\n"), "{lines}");
        assert!(lines.contains("PASS it comes with new addresses and a TTL of 63\n"), "{lines}");
        assert!(lines.contains("PASS REMOVE_NET takes the route away\n"), "{lines}");
        assert!(lines.contains("PASS as many overlays as before\n"), "{lines}");
    }
    Ok(())
}

#[test]
fn a_failure_is_told_and_everything_taken_away() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = Root::from_env_or(Some(dir.path().to_owned()));
    let (failed, lines) = smoke(&root, &|_, _| Ok(()));
    assert_eq!(failed, 3, "{lines}");
    assert!(lines.contains("opens /dev/overlay: "), "{lines}");

    let _kernel = Kernel::start(dir.path())?;
    let (failed, lines) = smoke(&root, &|_, _| Err("no card".to_owned()));
    assert_eq!(failed, 2, "{lines}");
    assert!(lines.contains("FAIL a frame goes out of the VNIC: no card\n"), "{lines}");
    assert!(
        lines.contains("FAIL a packet for a router goes out of the VNIC: no card\n"),
        "{lines}"
    );
    assert!(lines.ends_with("PASS as many overlays as before\n"), "{lines}");
    Ok(())
}
