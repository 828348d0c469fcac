// SPDX-License-Identifier: CDDL-1.0
//! `bench [--modload DIR] [FILTER]`: instructions a packet, counted by callgrind.
//!
//! Of the overlay driver, for frames that are switched (`tx`), packets for a router (`routed`) and datagrams (`rx`);
//! and of what ipnet does with a packet that IP shows it (`show`).
//!
//! The program runs itself under `valgrind --tool=callgrind` once per case. Collection is on from where the kernel
//! calls the driver (its MAC transmit function, its socket callback) until that hands the packet over
//! (`ksocket_sendmblk`, `mac_rx`), so a figure is the driver, its plugin, and the kernel's locks and message functions
//! it calls, and neither the socket nor MAC. Figures of transmit repeat to an instruction or so; those of receive differ
//! by a few from run to run, with how many datagrams came at once.
//!
//! With `--modload` each case is counted twice: for the crates that are linked in, and for the module files `overlay`
//! and `vxlan` of the directory, the bytes that ship. What the kernel does for either is the same code.

mod observe;
mod routed;

use anyhow::{Context, Result, bail, ensure};
use bench::{OverlayKernel, at, frame, mac};
use fakekernel::host::{Checks, Config};
use fakekernel::net::client::{Client, Frame, Frames};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const LINK: u32 = 1;
const VNET: u64 = 7;
const PACKETS: usize = 4096;
const BATCH: usize = 32;

/// Symbols between which the driver runs: callgrind toggles collection at the entry and at the exit of each.
const TX: &[&str] = &["_ZN10fakekernel3net3mac11provider_tx*", "ksocket_sendmblk"];
const RX: &[&str] = &["_ZN10fakekernel3net7ksocket7receive9to_driver*", "mac_rx"];

fn main() -> Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let files = match args.iter().position(|a| a == "--modload") {
        Some(at) => {
            args.remove(at);
            ensure!(at < args.len(), "--modload wants a directory");
            Some(PathBuf::from(args.remove(at)))
        }
        None => None,
    };
    if let [inner, dir, len, entries] = args.as_slice()
        && inner == "--inner"
    {
        let (len, entries) = (len.parse()?, entries.parse()?);
        match dir.as_str() {
            // Streams that look, and for `unshown` not even the driver.
            "show" => return observe::run(len, Some(entries), PACKETS, files.as_deref()),
            "unshown" => return observe::run(len, None, PACKETS, files.as_deref()),
            "routed" => return routed::run(len, entries, files.as_deref()),
            _ => {}
        }
        let kernel = kernel(entries, files.as_deref())?;
        return match dir.as_str() {
            "tx" => tx(kernel, len, entries),
            "rx" => rx(kernel, len),
            _ => bail!("no such direction"),
        };
    }
    println!("instructions per packet (callgrind, {PACKETS} packets)\n");
    let file = if files.is_some() { "module file" } else { "" };
    println!(
        "{:<10} {:>6} {:>10} {:>13} {file:>13} {:>16}",
        "direction", "bytes", "entries", "linked", "bytes/entry"
    );
    // Entries of the target cache, or of the route cache; for a packet that is shown, streams that look, and whether
    // ipnet is loaded at all.
    let caches: &[u32] = &[1, 1_000, 100_000, 1_000_000];
    for (dir, all) in [
        ("tx", caches),
        ("routed", caches),
        ("rx", caches),
        ("unshown", &[0]),
        ("show", &[0, 1, 8]),
    ] {
        for len in [64, 1400] {
            for &entries in all {
                let case = format!("{dir} {len} {entries}");
                if args.first().is_none_or(|f| case.contains(f.as_str())) {
                    let (linked, memory) = count(dir, len, entries, None)?;
                    let loaded = files.as_deref().map(|f| count(dir, len, entries, Some(f)));
                    let loaded = loaded.transpose()?.map(|(n, _)| format!("{n:.1}"));
                    let loaded = loaded.unwrap_or_default();
                    println!(
                        "{dir:<10} {len:>6} {entries:>10} {linked:>13.1} {loaded:>13} {memory:>16}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// Runs one case under callgrind: instructions a packet, and resident bytes an entry as the case printed them.
fn count(dir: &str, len: usize, entries: u32, files: Option<&Path>) -> Result<(f64, String)> {
    let out = std::env::temp_dir().join(format!("overlay-bench-{}", std::process::id()));
    let mut cmd = Command::new("valgrind");
    cmd.args(["--tool=callgrind", "--collect-atstart=no", "--demangle=no"]);
    let symbols = match dir {
        "tx" | "routed" => TX,
        "rx" => RX,
        _ => observe::SHOW,
    };
    for symbol in symbols {
        cmd.arg(format!("--toggle-collect={symbol}"));
    }
    if dir == "routed" {
        cmd.arg(format!("--zero-before={}", routed::MEASURED));
    }
    cmd.arg(format!("--callgrind-out-file={}", out.display()));
    cmd.arg(std::env::current_exe()?);
    cmd.args(["--inner", dir, &len.to_string(), &entries.to_string()]);
    if let Some(files) = files {
        cmd.arg("--modload").arg(files);
    }
    let run = cmd.output().context("valgrind")?;
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    ensure!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let profile = std::fs::read_to_string(&out)?;
    std::fs::remove_file(&out)?;
    let total: f64 = profile
        .lines()
        .find_map(|l| l.strip_prefix("totals: "))
        .context("callgrind wrote no totals")?
        .trim()
        .parse()?;
    ensure!(total > 0.0, "callgrind collected nothing: the symbols of {dir} have other names");
    let memory =
        text.lines().find_map(|l| l.strip_prefix("bytes per entry: ")).unwrap_or("--").into();
    Ok((total / PACKETS as f64, memory))
}

fn kernel(entries: u32, files: Option<&Path>) -> Result<OverlayKernel> {
    let config = Config { checks: Checks::Off, ..Config::default() };
    let k = OverlayKernel::boot(config, files)?;
    k.create(LINK, VNET, at("127.0.0.1", 0x4791))?;
    let varpd = k.open_varpd()?;
    varpd.associate(LINK, None)?;
    k.activate(LINK)?;
    let before = resident()?;
    for n in 0..entries {
        varpd.cache_set(LINK, mac(n), at("127.0.0.1", 0x4792))?;
    }
    if entries >= 100_000 {
        println!("bytes per entry: {}", resident()?.saturating_sub(before) / u64::from(entries));
    }
    Ok(k)
}

/// Resident bytes of this process.
fn resident() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).context("statm")?.parse()?;
    Ok(pages * 4096)
}

/// Frames for addresses all over the cache.
fn tx(k: OverlayKernel, len: usize, entries: u32) -> Result<()> {
    // Somebody must be there, else the socket reports an error of an earlier send.
    let _sink = UdpSocket::bind(("127.0.0.1", 0x4792))?;
    let client = Client::open(LINK).map_err(|e| anyhow::anyhow!("errno {e}"))?;
    let mut n: u32 = 0;
    for _ in 0..PACKETS / BATCH {
        let mut frames = Frames::default();
        for _ in 0..BATCH {
            n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let f = frame(mac((n >> 4) % entries), mac(u32::MAX), len);
            frames.push(Frame::from_slice(&f).context("no memory")?);
        }
        ensure!(client.tx_all(frames, Duration::from_secs(10)), "not sent");
    }
    let sent = k.counter(LINK, "opackets");
    ensure!(sent == PACKETS as u64, "{sent} frames sent");
    drop(client);
    k.delete(LINK)?;
    k.shutdown()
}

/// Datagrams to the link; the cache is there but not looked at.
fn rx(k: OverlayKernel, len: usize) -> Result<()> {
    let client = Client::open(LINK).map_err(|e| anyhow::anyhow!("errno {e}"))?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut datagram = vec![8, 0, 0, 0, 0, 0, VNET as u8, 0];
    datagram.extend(frame(mac(1), mac(2), len));
    for n in (0..PACKETS).step_by(BATCH) {
        for _ in 0..BATCH {
            socket.send_to(&datagram, ("127.0.0.1", 0x4791))?;
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while k.counter(LINK, "ipackets") < (n + BATCH) as u64 {
            ensure!(Instant::now() < deadline, "datagrams lost");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    drop(client);
    k.delete(LINK)?;
    k.shutdown()
}
