// SPDX-License-Identifier: CDDL-1.0
//! `lab demo`: what all of it does, seen working in less than half a minute.

mod contact;
mod files;
mod layers;
mod routed;
mod stage;
mod svp;
mod watch;

pub use routed::{Show as Routed, demo as routed};

use crate::guests::{self, PingReport, TcpReport};
use crate::host::{Host, Modules};
use crate::hosts_file;
use crate::out;
use anyhow::{Context, Result, bail, ensure};
use layers::{Captured, Layers};
use stage::{Interrupt, Progress, Stage, own_topology, staged};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit status after Ctrl-C.
const INTERRUPTED: u8 = 130;
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

/// Runs the demo.
///
/// # Errors
/// Something did not work. All that was started is stopped and removed all the same.
pub fn demo(what: &Show, modules: &Modules) -> Result<ExitCode> {
    let p = Progress::start(what.json);
    let (ready, underlay) = what.topology();
    let t = own_topology(ready, underlay)?;
    let shown = staged(&p, &t, modules, |stage| show(&p, what, stage))?;
    let Some(mut summary) = shown else { return Ok(ExitCode::from(INTERRUPTED)) };
    summary.seconds = p.seconds();
    report(&p, &summary)?;
    Ok(ExitCode::SUCCESS)
}

fn show(p: &Progress, what: &Show, stage: Stage<'_>) -> Result<Summary> {
    let Stage { topology: t, hosts, directories, stop } = stage;
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
    let mut summaries = Vec::new();
    for (host, h) in hosts.iter().zip(&t.hosts) {
        let counters = guests::counters(host)?;
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
        drops: guests::drops(hosts)?,
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
        out!("{}", serde_json::to_string_pretty(s)?)?;
        return Ok(());
    }
    let drops = if s.drops.is_empty() {
        "none".to_owned()
    } else {
        s.drops.iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(", ")
    };
    out!("\nsummary")?;
    for h in &s.hosts {
        out!("  host {}  underlay {}  guest {}", h.name, h.underlay, h.guest)?;
    }
    out!(
        "  ping      {} sent, {} received, average {:.0} us",
        s.ping.sent,
        s.ping.received,
        s.ping.rtt_us.avg
    )?;
    out!("  tcp       {} bytes intact, {:.2} Gb/s", s.tcp.bytes, s.tcp.gbps)?;
    if let Some(m) = &s.misses {
        out!("  lookups   {m}")?;
    }
    if let Some(l) = &s.lost {
        out!("  lost      {l}")?;
    }
    if let Some(m) = &s.moved {
        out!("  moved     {m}")?;
    }
    // A question that varpd answers goes no further.
    let answered =
        if s.plugin == "direct" { "" } else { " (lookup_drop: questions that varpd answered)" };
    out!("  dropped   {drops}{answered}")?;
    out!("  time      {:.1} s", s.seconds)
}
