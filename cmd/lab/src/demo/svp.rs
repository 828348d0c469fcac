// SPDX-License-Identifier: CDDL-1.0
//! What the demo shows of directories: what a lookup costs, one that is lost, and a guest that moves.

use super::contact::{ping, take};
use super::{Interrupt, Progress, plain};
use crate::directory;
use crate::guests;
use crate::host::Host;
use crate::topology::{Guest, Topology};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long a directory may take to tell a host what has changed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lookups that are timed.
const LOOKUPS: usize = 30;

/// What a packet takes for which the kernel must ask varpd, and that a directory.
#[derive(serde::Serialize)]
pub struct Misses {
    /// Echo requests for which the kernel knew no destination.
    count: usize,
    /// Microseconds from request to answer, of half of them at most.
    p50_us: f64,
    /// Of the slowest.
    max_us: f64,
    /// Of half of those for which the kernel knew it.
    hit_p50_us: f64,
}

/// A directory that was killed.
#[derive(serde::Serialize)]
pub struct Loss {
    directory: String,
    /// Echo requests to a guest whose place was known, afterwards, and how many were answered.
    sent: u64,
    received: u64,
    /// Milliseconds until a guest was reached whose place had to be asked for.
    unknown_ms: f64,
}

/// A guest that went to another host.
#[derive(serde::Serialize)]
pub struct Move {
    guest: String,
    from: String,
    to: String,
    /// Milliseconds from the directory's word that it knows to the first answer to the guest's neighbour.
    milliseconds: f64,
    /// Echo requests after that, and how many were answered.
    sent_after: u64,
    received_after: u64,
}

impl std::fmt::Display for Move {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} from {} to {}: traffic followed {:.0} ms after the directory knew, {} of {} answered",
            self.guest, self.from, self.to, self.milliseconds, self.received_after, self.sent_after
        )
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "directory {}: {} of {} answered from a known guest, an unknown one found in {:.0} ms",
            self.directory, self.received, self.sent, self.unknown_ms
        )
    }
}

impl std::fmt::Display for Misses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} pings with a lookup: half within {:.0} us, all within {:.0} us (without: {:.0} us)",
            self.count, self.p50_us, self.max_us, self.hit_p50_us
        )
    }
}

/// Waits until every host is connected to every directory, and shows it.
pub fn connected(p: &Progress, t: &Topology, hosts: &[Host], stop: &Interrupt) -> Result<()> {
    p.step(&format!("hosts connect to {} directories", t.directories.len()));
    let deadline = Instant::now() + PATIENCE;
    for h in hosts {
        while active(h)? < t.directories.len() {
            ensure!(Instant::now() < deadline, "{} is not connected to its directories", h.name);
            stop.check()?;
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let first = hosts.first().context("no host")?;
    p.say(&format!("{}# varpdadm counters", first.name));
    let out = first.command("varpdadm")?.arg("counters").output()?;
    p.say(String::from_utf8_lossy(&out.stdout).trim_end());
    Ok(())
}

/// How many connections of a host are active.
fn active(host: &Host) -> Result<usize> {
    let out = host.command("varpdadm")?.args(["--json", "counters"]).output()?;
    let told: Value = serde_json::from_slice(&out.stdout).context("varpdadm counters")?;
    let peers = told[0]["told"]["peers"].as_array();
    Ok(peers.map_or(0, |all| all.iter().filter(|peer| peer["state"] == "ACTIVE").count()))
}

/// Times pings for which the kernel must ask, and those for which it need not.
pub fn misses(
    p: &Progress,
    t: &Topology,
    host: &Host,
    from: &Guest,
    to: &Guest,
    stop: &Interrupt,
) -> Result<Misses> {
    p.step("what a lookup costs a packet");
    let overlay = t.hosts.first().and_then(|h| h.overlays.first()).context("no overlay")?;
    let address = plain(to.address.first().context("no address")?)?;
    let time = |flush: bool| -> Result<Vec<f64>> {
        let mut all = Vec::new();
        for _ in 0..LOOKUPS {
            if flush {
                host.dladm(&["modify-overlay", "-f", &overlay.name])?;
            }
            let r = guests::ping_briefly(host, &from.vnic, address, 1)?;
            ensure!(r.received == 1, "a ping of {address} was not answered");
            all.push(r.rtt_us.avg);
        }
        stop.check()?;
        all.sort_by(f64::total_cmp);
        Ok(all)
    };
    let (hits, misses) = (time(false)?, time(true)?);
    let half = |all: &[f64]| all.get(all.len() / 2).copied().unwrap_or_default();
    let misses = Misses {
        count: misses.len(),
        p50_us: half(&misses),
        max_us: misses.last().copied().unwrap_or_default(),
        hit_p50_us: half(&hits),
    };
    p.say(&format!("  {misses}"));
    Ok(misses)
}

/// Kills the first directory. What is known is still reached, and what is not is found by another.
pub fn lose(
    p: &Progress,
    t: &Topology,
    hosts: &[Host],
    directories: &mut Vec<Host>,
    stop: &Interrupt,
) -> Result<Loss> {
    ensure!(directories.len() > 1, "no other directory is left");
    let mut directory = directories.remove(0);
    p.step(&format!("{} is killed", directory.name));
    directory.kill();
    let host = hosts.first().context("no host")?;
    let guest = |n: usize| {
        let guest = t.hosts.get(n).and_then(|h| h.guests.first()).context("no guest")?;
        Ok::<_, anyhow::Error>((guest, plain(guest.address.first().context("no address")?)?))
    };
    let ((from, _), (_, known), (_, unknown)) = (guest(0)?, guest(1)?, guest(2)?);
    let after = ping(p, host, &from.vnic, known)?;
    let unknown_ms = until_answered(host, &from.vnic, unknown, stop)?;
    let loss =
        Loss { directory: directory.name, sent: after.sent, received: after.received, unknown_ms };
    ensure!(loss.sent == loss.received, "a known guest was not reached any more");
    p.say(&format!("  {loss}"));
    Ok(loss)
}

/// Takes the guest of the second host to the third, tells the directories, and looks when traffic follows.
pub fn follow(
    p: &Progress,
    t: &Topology,
    hosts: &[Host],
    directories: &[Host],
    stop: &Interrupt,
) -> Result<Move> {
    let ([t1, t2, ..], [h1, h2, h3, ..]) = (&t.hosts[..], hosts) else {
        bail!("the demo's topology lacks a host");
    };
    let guest = t2.guests.first().context("the demo's topology lacks a guest")?;
    let asker = t1.guests.first().context("no guest asks")?;
    let address = plain(guest.address.first().context("no address")?)?;
    let mac = guest.mac.as_ref().context("the guest has no mac")?;
    let vnet = t1.overlays.first().context("no overlay")?.vnet.to_string();

    take(p, t, guest, h2, h3)?;
    let before = ping(p, h1, &asker.vnic, address)?;
    ensure!(before.received == 0, "frames to {} reach a host that no directory names", guest.vnic);
    stop.check()?;

    p.step("the directory is told");
    for d in directories {
        let args = ["port", "move", &vnet, mac, &directory::host_id(2)];
        p.say(&format!("{}# portolanadm {}", d.name, args.join(" ")));
        p.say(directory::administer(t, d, &args)?.trim_end());
    }
    let milliseconds = until_answered(h1, &asker.vnic, address, stop)?;
    p.say(&format!("  traffic follows after {milliseconds:.0} ms"));
    let after = ping(p, h1, &asker.vnic, address)?;
    ensure!(after.received == after.sent, "traffic to {} did not follow", guest.vnic);
    p.command(h1, &["show-overlay", "-t"])?;
    Ok(Move {
        guest: guest.vnic.clone(),
        from: h2.name.clone(),
        to: h3.name.clone(),
        milliseconds,
        sent_after: after.sent,
        received_after: after.received,
    })
}

/// Milliseconds until a ping is answered.
fn until_answered(host: &Host, vnic: &str, to: IpAddr, stop: &Interrupt) -> Result<f64> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if guests::ping_once(host, vnic, to, Duration::from_millis(50))? {
            return Ok(began.elapsed().as_secs_f64() * 1e3);
        }
        stop.check()?;
    }
    bail!("traffic to {to} did not follow within {PATIENCE:?}")
}
