// SPDX-License-Identifier: CDDL-1.0
//! `lookups [--hosts N] [--json]`: how long a frame waits for a destination nobody knew, and how many of these
//! questions a second varpd answers, with the plugins `files` and `svp`.
//!
//! ```text
//!   this process                                     its child
//!   Client ── frame ──► overlay ── LOOKUP ──────────► varpd, 1 to 8 lookup threads
//!                          ▲     (ioctl dialogue,      │ libvarpd_files.so, a file of 100 000 hosts, or
//!                          │      a Unix socket)       │ libvarpd_svp.so ══ TCP ══► portolan, with as many
//!                          └───── RESPOND ─────────────┘
//!   UdpSocket ◄── VXLAN datagram
//! ```
//!
//! The kernel, /dev/overlay, varpd and the plugin are the real ones. What is not is the way of an ioctl: on illumos it is
//! a system call, here it is four messages over a socket between two processes, and each answer costs two of them. So
//! the figures are a lower bound of what varpd does, and say more of how it grows with threads than of its speed.
//!
//! The time of a miss is from handing the frame to MAC until the datagram is read from a socket; beside it is that of a
//! frame whose destination is known, which is all of it but the question.

mod known;

use anyhow::{Context, Result, ensure};
use bench::{OverlayKernel, at, frame, mac};
use devctl::Root;
use devctl::server::Server;
use fakekernel::host::{Checks, Config};
use fakekernel::net::client::{Client, Frame, Frames};
use fakekerneld::nodes::{NODES, Nodes};
use known::Known;
use libvarpd_client::Client as Varpd;
use overlay_abi::ids::LinkId;
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LINK: u32 = 1;
const VNET: u64 = 7;
const LISTEN: u16 = 0x4793;
const SINK: u16 = 0x4794;
/// Misses that are timed one by one.
const TIMED: u32 = 2000;
/// Misses whose rate is taken.
const COUNTED: u32 = 10_000;
/// Questions outstanding at a time.
const WINDOW: u64 = 512;
/// A measurement that takes longer than this is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> Result<ExitCode> {
    let args: Vec<_> = std::env::args_os().collect();
    match args.first().and_then(|name| name.to_str()) {
        Some("varpd") => return Ok(varpd::main(args)),
        Some("portolan") => return Ok(portolan::run::main(args)),
        Some("portolanadm") => return Ok(portolan::adm::main(args)),
        _ => {}
    }
    let args: Vec<_> = std::env::args().skip(1).collect();
    let json = args.iter().any(|a| a == "--json");
    let hosts = match args.iter().position(|a| a == "--hosts") {
        Some(n) => args.get(n + 1).context("--hosts wants a number")?.parse()?,
        None => 100_000,
    };
    ensure!(hosts >= TIMED + COUNTED, "--hosts wants {} at least", TIMED + COUNTED);
    let dir = std::env::temp_dir().join(format!("overlay-lookups-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("dev"))?;
    let result = measure(&dir, hosts);
    std::fs::remove_dir_all(&dir)?;
    let rows = result?;
    if json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("lookups through /dev/overlay, {hosts} hosts\n");
    println!(
        "{:>6} {:>7} {:>12} {:>10} {:>22} {:>22}",
        "plugin", "threads", "activate ms", "lookups/s", "miss us", "hit us"
    );
    println!("{:>61} {:>22}", "p50/p90/p99", "p50/p90/p99");
    for r in rows {
        let (ms, rate, miss, hit) = (r.activate_ms, r.lookups_per_second, r.miss_us, r.hit_us);
        let (plugin, threads, miss, hit) = (r.plugin, r.threads, miss.text(), hit.text());
        println!("{plugin:>6} {threads:>7} {ms:>12.0} {rate:>10.0} {miss:>22} {hit:>22}");
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(serde::Serialize)]
struct Row {
    plugin: &'static str,
    threads: usize,
    /// Milliseconds to activate the instance: with `files`, reading and checking the file is nearly all of it.
    activate_ms: f64,
    lookups_per_second: f64,
    miss_us: Percentiles,
    hit_us: Percentiles,
}

/// Of times in microseconds.
#[derive(serde::Serialize)]
struct Percentiles {
    p50: f64,
    p90: f64,
    p99: f64,
}

impl Percentiles {
    fn of(mut times: Vec<f64>) -> Percentiles {
        times.sort_by(f64::total_cmp);
        let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or(0.0);
        Percentiles { p50: at(50), p90: at(90), p99: at(99) }
    }

    fn text(&self) -> String {
        format!("{:.0} / {:.0} / {:.0}", self.p50, self.p90, self.p99)
    }
}

fn measure(dir: &Path, hosts: u32) -> Result<Vec<Row>> {
    let root = Root::from_env_or(Some(dir.to_owned()));
    let kernel = OverlayKernel::boot(Config { checks: Checks::Off, ..Config::default() }, None)?;
    let nodes = Server::start(&root, &NODES, Arc::new(Nodes::new()))?;
    let sink = UdpSocket::bind(("127.0.0.1", SINK))?;
    sink.set_read_timeout(Some(PATIENCE))?;
    let mut rows = Vec::new();
    for known in [Known::file, Known::directory] {
        let known = known(dir, hosts)?;
        for threads in [1, 2, 4, 8] {
            rows.push(row(&root, &kernel, &sink, &known, threads)?);
        }
    }
    drop(nodes);
    kernel.shutdown()?;
    Ok(rows)
}

fn row(
    root: &Root,
    kernel: &OverlayKernel,
    sink: &UdpSocket,
    known: &Known,
    threads: usize,
) -> Result<Row> {
    kernel.create(LINK, VNET, at("127.0.0.1", LISTEN))?;
    let varpd = Daemon::start(root, known.plugin(), threads)?;
    let door = varpd.door(root)?;
    let activate_ms = known.activate(&door)?;
    kernel.activate(LINK)?;
    let client = Client::open(LINK).map_err(|e| anyhow::anyhow!("errno {e}"))?;
    let miss_us = Percentiles::of(times(&client, sink, |n| n)?);
    let hit_us = Percentiles::of(times(&client, sink, |_| 0)?);
    let lookups_per_second = rate(kernel, &client)?;
    drop(client);
    door.instance_destroy(door.instance_lookup(LinkId(LINK))?)?;
    kernel.delete(LINK)?;
    drop(varpd);
    drain(sink)?;
    let plugin = known.plugin();
    Ok(Row { plugin, threads, activate_ms, lookups_per_second, miss_us, hit_us })
}

/// This program as another one.
fn applet(name: &str) -> Result<Command> {
    let mut cmd = Command::new(std::env::current_exe()?);
    cmd.arg0(name);
    Ok(cmd)
}

/// A frame to host `n`.
fn to_host(n: u32) -> Result<Frame> {
    Frame::from_slice(&frame(mac(n), mac(u32::MAX), 64)).context("no memory")
}

/// Sends one frame after another, the n-th to host `which(n)`, and takes the time of each until its datagram is there.
fn times(client: &Client, sink: &UdpSocket, which: impl Fn(u32) -> u32) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    let mut datagram = [0; 2048];
    for n in 0..TIMED {
        let mut frames = Frames::default();
        frames.push(to_host(which(n))?);
        let start = Instant::now();
        ensure!(client.tx_all(frames, PATIENCE), "not sent");
        sink.recv(&mut datagram).context("no datagram came")?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}

/// Asks for many hosts at once; answers a second, counted in the kernel.
fn rate(kernel: &OverlayKernel, client: &Client) -> Result<f64> {
    let before = kernel.counter(LINK, "opackets");
    let start = Instant::now();
    let (mut asked, mut done) = (0, 0);
    while done < u64::from(COUNTED) {
        let mut frames = Frames::default();
        while asked < u64::from(COUNTED) && asked - done < WINDOW {
            frames.push(to_host(TIMED + u32::try_from(asked)?)?);
            asked += 1;
        }
        ensure!(client.tx_all(frames, PATIENCE), "not sent");
        std::thread::sleep(Duration::from_micros(200));
        done = kernel.counter(LINK, "opackets") - before;
        ensure!(start.elapsed() < PATIENCE, "{done} of {asked} questions were answered");
    }
    Ok(f64::from(COUNTED) / start.elapsed().as_secs_f64())
}

/// Reads what the last measurement left.
fn drain(sink: &UdpSocket) -> Result<()> {
    sink.set_nonblocking(true)?;
    while sink.recv(&mut [0; 2048]).is_ok() {}
    Ok(sink.set_nonblocking(false)?)
}

/// A varpd; killed when dropped.
struct Daemon(Child);

impl Daemon {
    fn start(root: &Root, plugin: &str, threads: usize) -> Result<Daemon> {
        let plugins = root.path("/plugins");
        std::fs::create_dir_all(&plugins)?;
        let name = format!("libvarpd_{plugin}.so");
        let link = plugins.join(&name);
        if !link.exists() {
            std::os::unix::fs::symlink(beside(&name)?, &link)?;
        }
        let mut cmd = applet("varpd")?;
        cmd.arg("-f").arg("-R").arg(root.dir()).arg("-i").arg(&plugins);
        cmd.arg("--lookup-threads").arg(threads.to_string());
        cmd.stdin(Stdio::null()).stderr(std::fs::File::create(root.path("/varpd.log"))?);
        Ok(Daemon(cmd.spawn().context("cannot start varpd")?))
    }

    /// Its door, as soon as it answers.
    fn door(&self, root: &Root) -> Result<Varpd> {
        let start = Instant::now();
        loop {
            match Varpd::open(root) {
                Ok(door) => return Ok(door),
                Err(_) if start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(e) => {
                    let log = std::fs::read_to_string(root.path("/varpd.log")).unwrap_or_default();
                    return Err(anyhow::anyhow!("varpd: {e}\n{log}"));
                }
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A plugin that was built with this program.
fn beside(name: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let dir = exe.parent().unwrap_or(Path::new("/"));
    let places = [dir.join("deps").join(name), dir.join(name)];
    let found = places.into_iter().find(|p| p.exists());
    found.with_context(|| format!("{name} is not beside this program"))
}
