// SPDX-License-Identifier: CDDL-1.0
//! `lab demo`: what all of it does, seen working in less than half a minute.

mod contact;
mod files;
mod layers;
mod svp;
mod watch;

use crate::directory;
use crate::guests::{self, PingReport, TcpReport};
use crate::host::{Daemon, Host, Lifetime, Modules};
use crate::hosts_file;
use crate::running::make_links;
use crate::state::LabDir;
use crate::topology::Topology;
use anyhow::{Context, Result, bail, ensure};
use layers::{Captured, Layers};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Echo requests of each size.
const PINGS: u32 = 20;

/// The lookup plugin that the demo is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Plugin {
    /// Three hosts; a directory says where guests are.
    Svp,
    /// Three hosts; a file says where guests are.
    Files,
    /// Two hosts; each sends everything to the other.
    Direct,
}

/// What is to be shown.
#[derive(Clone, Debug)]
pub struct Show {
    /// How hosts find guests.
    pub plugin: Plugin,
    /// Two directories, of which one is killed.
    pub lose_a_directory: bool,
    /// The result is one JSON object on standard output.
    pub json: bool,
    /// Of the stream.
    pub tcp_bytes: u64,
    /// Where captures of the first packets are left, if they are wanted.
    pub capture: Option<PathBuf>,
}

impl Show {
    /// The ready topology, and the beginning of its addresses.
    fn topology(&self) -> (&'static str, &'static str) {
        match self.plugin {
            Plugin::Svp if self.lose_a_directory => ("two-directories", "127.64.7."),
            Plugin::Svp => ("directory", "127.64.6."),
            Plugin::Files => ("three-hosts", "127.64.5."),
            Plugin::Direct => ("two-hosts", "127.64.1."),
        }
    }
}

/// The result, as `--json` prints it.
#[derive(serde::Serialize)]
struct Summary {
    /// `svp`, `files` or `direct`.
    plugin: String,
    /// Hosts with their underlay address.
    hosts: Vec<HostSummary>,
    /// Lookups by the first packets to each address of a guest; empty with `direct`.
    first_contact: Vec<contact::Contact>,
    /// The files of `--capture`.
    captures: Vec<Captured>,
    /// What lookups cost, with `svp`.
    misses: Option<svp::Misses>,
    /// The series of pings, all together.
    ping: PingReport,
    tcp: TcpReport,
    /// The directory that was lost, if one was to be.
    lost: Option<svp::Loss>,
    /// The guest that moved, except with `direct`.
    moved: Option<Moved>,
    /// Frames dropped, by reason, over all hosts. Empty when none was.
    drops: BTreeMap<String, u64>,
    /// Seconds from start to the end of the clean-up.
    seconds: f64,
}

/// A guest that went to another host.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Moved {
    Files(files::Move),
    Svp(svp::Move),
}

impl std::fmt::Display for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Moved::Files(m) => m.fmt(f),
            Moved::Svp(m) => m.fmt(f),
        }
    }
}

#[derive(serde::Serialize)]
struct HostSummary {
    name: String,
    underlay: IpAddr,
    guest: String,
    counters: BTreeMap<String, u64>,
}

/// Where progress goes: standard output belongs to the result when that is JSON.
struct Progress {
    json: bool,
    start: Instant,
}

impl Progress {
    fn say(&self, text: &str) {
        if self.json {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    }

    fn step(&self, text: &str) {
        self.say(&format!("\n[{:5.1} s] {text}", self.start.elapsed().as_secs_f64()));
    }

    fn command(&self, host: &Host, args: &[&str]) -> Result<String> {
        self.say(&format!("{}# dladm {}", host.name, args.join(" ")));
        let out = host.dladm(args)?;
        if !out.is_empty() {
            self.say(out.trim_end());
        }
        Ok(out)
    }
}

/// Runs the demo.
///
/// # Errors
/// Something did not work. All that was started is stopped and removed all the same.
pub fn demo(what: &Show, modules: &Modules) -> Result<ExitCode> {
    let progress = Progress { json: what.json, start: Instant::now() };
    let (text, name) = own_topology(what)?;
    let topology = Topology::parse(&text)?;
    let dir = LabDir::of(&name);
    dir.create()?;
    let stop = Interrupt::install()?;
    let (mut hosts, mut directories) = (Vec::new(), Vec::new());
    let result = start(&progress, &topology, &dir, modules, &mut hosts, &mut directories, &stop)
        .and_then(|()| show(&progress, &topology, what, &hosts, &mut directories, &stop));
    progress.step("cleaning up");
    hosts.append(&mut directories);
    let mut complaints: Vec<String> = hosts.iter_mut().rev().flat_map(Host::stop).collect();
    if stop.came() {
        // The interrupt ended the daemons before we did.
        complaints.clear();
    }
    let kept_logs = if result.is_err() && !stop.came() { logs(&hosts) } else { String::new() };
    dir.remove()?;
    if stop.came() {
        progress.say("interrupted; everything is removed");
        return Ok(ExitCode::from(130));
    }
    let mut summary = result.with_context(|| format!("the demo failed{kept_logs}"))?;
    ensure!(complaints.is_empty(), "{}", complaints.join("; "));
    summary.seconds = progress.start.elapsed().as_secs_f64();
    report(&progress, &summary)?;
    Ok(ExitCode::SUCCESS)
}

/// The plugin's topology on addresses of this process's own, so that demos do not meet.
fn own_topology(what: &Show) -> Result<(String, String)> {
    let (topology, underlay) = what.topology();
    let pid = std::process::id();
    let (a, b) = (65 + (pid >> 8) % 62, pid % 256);
    let name = format!("demo-{pid}");
    let (_, text) = crate::topology::READY
        .iter()
        .find(|(n, _)| *n == topology)
        .context("no topology for the plugin")?;
    Ok((
        text.replace(underlay, &format!("127.{a}.{b}."))
            .replace(&format!("{topology:?}"), &format!("{name:?}")),
        name,
    ))
}

/// Starts everything.
fn start(
    p: &Progress,
    t: &Topology,
    dir: &LabDir,
    modules: &Modules,
    hosts: &mut Vec<Host>,
    directories: &mut Vec<Host>,
    stop: &Interrupt,
) -> Result<()> {
    if !t.directories.is_empty() {
        p.step("starting a directory (portolan) that knows all guests");
        let started = directory::start(t, dir, Lifetime::WithLab, directories);
        for d in directories.iter() {
            stop.watch(d.daemons());
            for daemon in d.daemons() {
                p.say(&format!("  {}: {} (pid {})", d.name, daemon.program, daemon.pid));
            }
        }
        started?;
    }
    p.step(&format!("starting {} hosts, each a kernel (fakekerneld) and a varpd", t.hosts.len()));
    for h in &t.hosts {
        let root = dir.host_root(&h.name);
        let host = Host::start(&h.name, root, &dir.plugins(), modules, Lifetime::WithLab)?;
        stop.watch(host.daemons());
        for d in host.daemons() {
            p.say(&format!("  {}: {} (pid {})", h.name, d.program, d.pid));
        }
        for m in host.modules()? {
            let file = m.file.map_or("built in".into(), |f| f.display().to_string());
            p.say(&format!("  {}: {} ({file})", h.name, m.name));
        }
        hosts.push(host);
        stop.check()?;
    }
    p.step("an overlay link and a VNIC on each host, made with dladm");
    for (host, h) in hosts.iter().zip(&t.hosts) {
        directory::name(t, host)?;
        make_links(host, t, h)?;
        p.command(host, &["show-link"])?;
        stop.check()?;
    }
    p.step("a guest behind each VNIC");
    for (host, h) in hosts.iter().zip(&t.hosts) {
        for g in &h.guests {
            guests::attach(host, g)?;
            p.say(&format!("  {} on {}: {}", g.vnic, host.name, g.address.join(", ")));
        }
    }
    Ok(())
}

fn show(
    p: &Progress,
    t: &Topology,
    what: &Show,
    hosts: &[Host],
    directories: &mut Vec<Host>,
    stop: &Interrupt,
) -> Result<Summary> {
    let (Some(h1), Some(h2), Some(g1), Some(g2)) = (
        hosts.first(),
        hosts.get(1),
        t.hosts.first().and_then(|h| h.guests.first()),
        t.hosts.get(1).and_then(|h| h.guests.first()),
    ) else {
        bail!("the demo's topology lacks a guest");
    };
    let overlay = t.hosts.first().and_then(|h| h.overlays.first()).context("no overlay")?;
    match what.plugin {
        Plugin::Svp => svp::connected(p, t, hosts, stop)?,
        Plugin::Files => {
            let file = hosts_file::path(h1, overlay).context("no file")?;
            p.say(&format!("\n{}# cat {}", h1.name, file.display()));
            p.say(std::fs::read_to_string(file)?.trim_end());
        }
        Plugin::Direct => {}
    }
    let layers = what.capture.as_deref().map(|dir| Layers::start(p, dir, t, hosts)).transpose()?;
    let first_contact = match what.plugin {
        Plugin::Direct => Vec::new(),
        _ => contact::first_contact(p, h1, g1, g2, stop)?,
    };
    let ping = pings(p, h1, &g1.vnic, &g2.address, stop)?;
    let captures = layers.map_or(Ok(Vec::new()), |layers| layers.stop(p))?;
    let misses =
        (what.plugin == Plugin::Svp).then(|| svp::misses(p, t, h1, g1, g2, stop)).transpose()?;
    let tcp_bytes = what.tcp_bytes;
    p.step(&format!("{} MiB of TCP from {} to {}", tcp_bytes >> 20, g1.vnic, g2.vnic));
    let to = plain(g2.address.first().context("no address")?)?;
    let tcp = guests::tcp(h1, &g1.vnic, h2, &g2.vnic, to, tcp_bytes)?;
    stop.check()?;
    p.say(&format!(
        "  {} bytes in {:.2} s: {:.2} Gb/s, checksum {} at both ends",
        tcp.bytes, tcp.seconds, tcp.gbps, tcp.checksum
    ));
    let lost =
        what.lose_a_directory.then(|| svp::lose(p, t, hosts, directories, stop)).transpose()?;
    let moved = match what.plugin {
        Plugin::Svp => Some(Moved::Svp(svp::follow(p, t, hosts, directories, stop)?)),
        Plugin::Files => Some(Moved::Files(files::follow(p, t, hosts, stop)?)),
        Plugin::Direct => None,
    };
    p.step("what the operator sees");
    p.command(h1, &["show-overlay"])?;
    for view in ["-t", "-f"] {
        for h in hosts.iter() {
            p.command(h, &["show-overlay", view])?;
        }
    }
    let mut drops = BTreeMap::new();
    let mut summaries = Vec::new();
    for (host, h) in hosts.iter().zip(&t.hosts) {
        let counters = guests::counters(host)?;
        for (name, n) in counters.iter().filter(|(name, n)| name.starts_with("drop") && **n > 0) {
            *drops.entry(name.clone()).or_insert(0) += n;
        }
        summaries.push(HostSummary {
            name: h.name.clone(),
            underlay: h.overlays.first().context("no overlay")?.listen,
            guest: h.guests.first().map(|g| g.vnic.clone()).unwrap_or_default(),
            counters,
        });
    }
    for s in &summaries {
        let n = |k: &str| s.counters.get(k).copied().unwrap_or(0);
        p.say(&format!(
            "{}: sent {} frames ({} bytes), received {} frames ({} bytes)",
            s.name,
            n("opackets"),
            n("obytes"),
            n("ipackets"),
            n("ibytes")
        ));
    }
    let plugin = overlay.search.clone();
    Ok(Summary {
        plugin,
        hosts: summaries,
        first_contact,
        captures,
        misses,
        ping,
        tcp,
        lost,
        moved,
        drops,
        seconds: 0.0,
    })
}

/// Small and full-sized echo requests to each address.
fn pings(
    p: &Progress,
    host: &Host,
    from: &str,
    to: &[String],
    stop: &Interrupt,
) -> Result<PingReport> {
    p.step("ping over the overlay");
    let mut all: Option<PingReport> = None;
    for address in to {
        let address = plain(address)?;
        // An ICMP echo of the largest size that needs no fragment: MTU 1400 less the IP and ICMP headers.
        let full = if address.is_ipv4() { 1372 } else { 1352 };
        for size in [56, full] {
            let r = guests::ping(host, from, address, PINGS, size)?;
            p.say(&format!(
                "  {from} to {address}, {size} bytes: {} sent, {} received, rtt min/avg/max {:.0}/{:.0}/{:.0} us",
                r.sent, r.received, r.rtt_us.min, r.rtt_us.avg, r.rtt_us.max
            ));
            ensure!(
                r.received == r.sent,
                "{} of {} pings were not answered",
                r.sent - r.received,
                r.sent
            );
            all = Some(match all {
                None => r,
                Some(a) => both(a, r),
            });
            stop.check()?;
        }
    }
    all.context("the guest has no address")
}

/// Two series of pings as one.
fn both(a: PingReport, b: PingReport) -> PingReport {
    let received = (a.received + b.received).max(1) as f64;
    PingReport {
        sent: a.sent + b.sent,
        received: a.received + b.received,
        corrupted: a.corrupted + b.corrupted,
        rtt_us: fkadm::proto::Rtt {
            min: a.rtt_us.min.min(b.rtt_us.min),
            avg: (a.rtt_us.avg * a.received as f64 + b.rtt_us.avg * b.received as f64) / received,
            max: a.rtt_us.max.max(b.rtt_us.max),
        },
    }
}

fn plain(prefix: &str) -> Result<IpAddr> {
    Ok(crate::topology::parse_prefix(prefix)?.0)
}

fn report(p: &Progress, s: &Summary) -> Result<()> {
    if p.json {
        println!("{}", serde_json::to_string_pretty(s)?);
        return Ok(());
    }
    let drops = if s.drops.is_empty() {
        "none".to_owned()
    } else {
        s.drops.iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(", ")
    };
    println!("\nsummary");
    for h in &s.hosts {
        println!("  host {}  underlay {}  guest {}", h.name, h.underlay, h.guest);
    }
    println!(
        "  ping      {} sent, {} received, average {:.0} us",
        s.ping.sent, s.ping.received, s.ping.rtt_us.avg
    );
    println!("  tcp       {} bytes intact, {:.2} Gb/s", s.tcp.bytes, s.tcp.gbps);
    if let Some(m) = &s.misses {
        println!("  lookups   {m}");
    }
    if let Some(l) = &s.lost {
        println!("  lost      {l}");
    }
    if let Some(m) = &s.moved {
        println!("  moved     {m}");
    }
    // A question that varpd answers goes no further.
    let answered =
        if s.plugin == "direct" { "" } else { " (lookup_drop: questions that varpd answered)" };
    println!("  dropped   {drops}{answered}");
    println!("  time      {:.1} s", s.seconds);
    Ok(())
}

/// What the daemons logged, for a demo that failed: its directory is removed.
fn logs(hosts: &[Host]) -> String {
    let mut text = String::new();
    for h in hosts {
        for program in ["fakekerneld", "varpd", "portolan"] {
            let log = std::fs::read_to_string(h.root.join(format!("log/{program}.log")))
                .unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            for l in &lines[lines.len().saturating_sub(5)..] {
                text.push_str(&format!("\n  {} {program}: {l}", h.name));
            }
        }
    }
    text
}

/// Ctrl-C and SIGTERM: the daemons are ended at once, so that whatever the demo waits for fails, and the ordinary
/// way of failing cleans up.
struct Interrupt {
    inner: Arc<Mutex<(bool, Vec<Daemon>)>>,
}

impl Interrupt {
    fn install() -> Result<Interrupt> {
        let inner = Arc::new(Mutex::new((false, Vec::<Daemon>::new())));
        let seen = inner.clone();
        ctrlc::set_handler(move || {
            if let Ok(mut g) = seen.lock() {
                g.0 = true;
                for d in g.1.iter().rev().filter(|d| d.alive()) {
                    if let Some(pid) = rustix::process::Pid::from_raw(d.pid) {
                        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                    }
                }
            }
        })?;
        Ok(Interrupt { inner })
    }

    fn watch(&self, daemons: &[Daemon]) {
        if let Ok(mut g) = self.inner.lock() {
            g.1.extend_from_slice(daemons);
        }
    }

    fn came(&self) -> bool {
        self.inner.lock().is_ok_and(|g| g.0)
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.came(), "interrupted");
        Ok(())
    }
}
