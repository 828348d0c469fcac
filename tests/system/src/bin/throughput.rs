// SPDX-License-Identifier: CDDL-1.0
//! `throughput`: how fast a lab carries TCP, beside plain UDP of the same machine in the same run.
//!
//! Seconds on a shared machine say little; the ratio to plain UDP, measured right before and after, says more. Run by
//! `cargo xtask bench`.

use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use system_tests::{cannot_use_netns, checked};

/// How long each measurement lasts.
const TIME: Duration = Duration::from_secs(4);
/// What a full frame of an overlay with MTU 1400 is on the wire: VXLAN, Ethernet, payload.
const DATAGRAM: usize = 8 + 14 + 1400;

fn main() -> Result<()> {
    let tools = std::env::current_exe()?.with_file_name("overlay-tools");
    ensure!(tools.exists(), "{} is missing: build the whole package", tools.display());
    let before = udp()?;
    let inside = demo(&tools)?;
    let taps = match cannot_use_netns() {
        None => Ok(tap(&tools)?),
        Some(why) => Err(why),
    };
    let after = udp()?;
    let udp = (before + after) / 2.0;
    let row = |name: &str, gbps: f64| println!("{name:<46} {gbps:>6.2} Gb/s {:>6.2}", gbps / udp);
    println!("\nthroughput{:>58}", "of UDP");
    row("plain UDP, one datagram a call", udp);
    row("TCP between guests inside fakekerneld", inside);
    match taps {
        Ok(gbps) => row("TCP between TAP guests in namespaces", gbps),
        Err(why) => println!("TCP between TAP guests in namespaces: not measured, {why}"),
    }
    Ok(())
}

fn gbps(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / time.as_secs_f64() / 1e9
}

/// What arrives of datagrams sent as fast as one thread can.
fn udp() -> Result<f64> {
    let to = UdpSocket::bind("127.0.0.1:0")?;
    to.set_read_timeout(Some(Duration::from_millis(200)))?;
    let from = UdpSocket::bind("127.0.0.1:0")?;
    from.connect(to.local_addr()?)?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let sender = std::thread::spawn(move || {
        let data = [0x5a; DATAGRAM];
        while !stopped.load(Ordering::Relaxed) {
            // A full buffer drops datagrams; what arrives is counted.
            let _ = from.send(&data);
        }
    });
    let start = Instant::now();
    let mut bytes = 0;
    let mut buffer = [0; 2048];
    while start.elapsed() < TIME {
        bytes += to.recv(&mut buffer)? as u64;
    }
    let rate = gbps(bytes, start.elapsed());
    stop.store(true, Ordering::Relaxed);
    let _ = sender.join();
    Ok(rate)
}

fn demo(tools: &std::path::Path) -> Result<f64> {
    let out = checked(Command::new(tools).args(["demo", "--json"]))?;
    let v: serde_json::Value = serde_json::from_slice(&out.stdout)?;
    v["tcp"]["gbps"].as_f64().context("the demo's JSON has no tcp.gbps")
}

fn tap(tools: &std::path::Path) -> Result<f64> {
    let lab = |args: &[&str]| checked(Command::new(tools).args(args));
    lab(&["up", "two-hosts", "--netns"])?;
    let rate = stream("10.77.0.2:7078");
    lab(&["down", "two-hosts"])?;
    rate
}

/// A stream from the namespace of g1 to that of g2.
fn stream(addr: &'static str) -> Result<f64> {
    let server = system_tests::in_netns("two-hosts-g2", move || {
        let (mut s, _) = TcpListener::bind(addr)?.accept()?;
        let mut buffer = vec![0; 256 * 1024];
        let (start, mut bytes) = (Instant::now(), 0);
        loop {
            match s.read(&mut buffer)? {
                0 => return Ok(gbps(bytes, start.elapsed())),
                n => bytes += n as u64,
            }
        }
    });
    let client = system_tests::in_netns("two-hosts-g1", move || {
        let mut s = None;
        for _ in 0..50 {
            s = TcpStream::connect_timeout(&addr.parse()?, Duration::from_secs(2)).ok();
            if s.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut s = s.context("no connection between the guests")?;
        let data = vec![0x5a; 256 * 1024];
        let start = Instant::now();
        while start.elapsed() < TIME {
            s.write_all(&data)?;
        }
        Ok(())
    });
    client.join().expect("client panicked")?;
    server.join().expect("server panicked")
}
