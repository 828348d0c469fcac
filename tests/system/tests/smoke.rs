// SPDX-License-Identifier: CDDL-1.0
//! The smoke program of illumos, over fakekerneld: each of its checks passes, and says why when it
//! does not.

use anyhow::{Context, Result, ensure};
use devctl::Root;
use fkadm::client::Client;
use fkadm::proto::Ping;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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

/// A guest that asks for an address with ARP, which is a frame.
fn send(root: &Root, vnic: &str) -> Result<()> {
    let mut client = Client::open(root)?;
    client.guest_attach(vnic, ["10.0.0.1/24".to_owned()])?;
    let to = [10, 0, 0, 2].into();
    let link = vnic.to_owned();
    client.guest_ping(Ping { link, to, count: 1, size: 56, interval_ms: 0, timeout_ms: 100 })?;
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
    let dir = tempfile::tempdir()?;
    let root = Root::from_env_or(Some(dir.path().to_owned()));
    let _kernel = Kernel::start(dir.path())?;
    // Twice, as the first leaves nothing.
    for _ in 0..2 {
        let (failed, lines) = smoke(&root, &|vnic| send(&root, vnic).map_err(|e| e.to_string()));
        assert_eq!(failed, 0, "{lines}");
        assert!(lines.contains("PASS and comes as a VXLAN datagram\n"), "{lines}");
        assert!(lines.contains("PASS as many overlays as before\n"), "{lines}");
    }
    Ok(())
}

#[test]
fn a_failure_is_told_and_everything_taken_away() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = Root::from_env_or(Some(dir.path().to_owned()));
    let (failed, lines) = smoke(&root, &|_| Ok(()));
    assert_eq!(failed, 3, "{lines}");
    assert!(lines.contains("opens /dev/overlay: "), "{lines}");

    let _kernel = Kernel::start(dir.path())?;
    let (failed, lines) = smoke(&root, &|_| Err("no card".to_owned()));
    assert_eq!(failed, 1, "{lines}");
    assert!(lines.contains("FAIL a frame goes out of the VNIC: no card\n"), "{lines}");
    assert!(lines.ends_with("PASS as many overlays as before\n"), "{lines}");
    Ok(())
}
