// SPDX-License-Identifier: CDDL-1.0
//! `bench [FILTER]`: instructions a packet, counted by callgrind.
//!
//! The program runs itself under `valgrind --tool=callgrind` once per case. Collection is on from the driver's entry
//! (its MAC transmit function, its socket callback) until it hands the packet over (`ksocket_sendmblk`, `mac_rx`), so a
//! figure is the driver, its plugin, and the kernel's locks and message functions it calls, and neither the socket
//! nor MAC. Counts repeat exactly for the same binary, which seconds do not.

use anyhow::{Context, Result, bail, ensure};
use bench::{OverlayKernel, at, frame, mac};
use fakekernel::host::{Checks, Config};
use fakekernel::net::client::{Client, Frame, Frames};
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

const LINK: u32 = 1;
const VNET: u64 = 7;
const PACKETS: usize = 4096;
const BATCH: usize = 32;

/// Symbols between which the driver runs: callgrind toggles collection at the entry and at the exit of each.
const TX: &[&str] = &["_ZN3ddi3mac2tx*", "ksocket_sendmblk"];
const RX: &[&str] = &["_ZN3ddi7ksocket7receive*", "mac_rx"];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [inner, dir, len, entries] = args.as_slice()
        && inner == "--inner"
    {
        let (len, entries) = (len.parse()?, entries.parse()?);
        return match dir.as_str() {
            "tx" => tx(len, entries),
            "rx" => rx(len, entries),
            _ => bail!("no such direction"),
        };
    }
    println!("instructions per packet (callgrind, {PACKETS} packets)\n");
    println!(
        "{:<10} {:>6} {:>10} {:>13} {:>16}",
        "direction", "bytes", "entries", "instructions", "bytes/entry"
    );
    for dir in ["tx", "rx"] {
        for len in [64, 1400] {
            for entries in [1, 1_000, 100_000, 1_000_000] {
                let case = format!("{dir} {len} {entries}");
                if args.first().is_none_or(|f| case.contains(f.as_str())) {
                    let (instructions, memory) = count(dir, len, entries)?;
                    println!("{dir:<10} {len:>6} {entries:>10} {instructions:>13.1} {memory:>16}");
                }
            }
        }
    }
    Ok(())
}

/// Runs one case under callgrind: instructions a packet, and resident bytes an entry as the case printed them.
fn count(dir: &str, len: usize, entries: u32) -> Result<(f64, String)> {
    let out = std::env::temp_dir().join(format!("overlay-bench-{}", std::process::id()));
    let mut cmd = Command::new("valgrind");
    cmd.args(["--tool=callgrind", "--collect-atstart=no", "--demangle=no"]);
    for symbol in if dir == "tx" { TX } else { RX } {
        cmd.arg(format!("--toggle-collect={symbol}"));
    }
    cmd.arg(format!("--callgrind-out-file={}", out.display()));
    cmd.arg(std::env::current_exe()?);
    cmd.args(["--inner", dir, &len.to_string(), &entries.to_string()]);
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

fn kernel(entries: u32) -> Result<OverlayKernel> {
    let k = OverlayKernel::boot(Config { checks: Checks::Off, ..Config::default() })?;
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
fn tx(len: usize, entries: u32) -> Result<()> {
    let k = kernel(entries)?;
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
fn rx(len: usize, entries: u32) -> Result<()> {
    let k = kernel(entries)?;
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
