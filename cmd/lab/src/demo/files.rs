// SPDX-License-Identifier: CDDL-1.0
//! What the demo shows of lookups: how a guest finds another for the first time, and what an edited file does.

use super::watch::{Answered, Watch};
use super::{Interrupt, Progress, plain};
use crate::guests;
use crate::host::Host;
use crate::hosts_file;
use crate::running::make_vnic;
use crate::topology::{Guest, Topology};
use anyhow::{Context, Result, bail, ensure};
use std::net::IpAddr;

/// Pings to reach a guest for the first time.
const ATTEMPTS: u32 = 10;
/// Echo requests before and after a file is edited.
const PINGS: u32 = 20;

/// A guest's first packet to another.
#[derive(serde::Serialize)]
pub struct Contact {
    #[serde(flatten)]
    answered: Answered,
    /// Frames for which the kernel had no destination and asked varpd: the question, and the packet itself.
    misses: u64,
}

/// A guest that went to another host.
#[derive(serde::Serialize)]
pub struct Move {
    guest: String,
    from: String,
    to: String,
    /// Echo requests to it once it was there and the files did not know, and how many were answered.
    sent_before: u64,
    received_before: u64,
    /// The same after the files were edited.
    sent_after: u64,
    received_after: u64,
}

impl std::fmt::Display for Move {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (before, after) = (self.received_before, self.received_after);
        write!(
            f,
            "{} from {} to {}: {before} of {} answered before the files were edited, {after} of {} after",
            self.guest, self.from, self.to, self.sent_before, self.sent_after
        )
    }
}

/// The first packets from one guest to another, for each address.
pub fn first_contact(
    p: &Progress,
    host: &Host,
    from: &Guest,
    to: &Guest,
    stop: &Interrupt,
) -> Result<Vec<Contact>> {
    p.step(&format!("the first packets from {} to {}", from.vnic, to.vnic));
    p.command(host, &["show-overlay", "-t"])?;
    let mut all = Vec::new();
    for address in &to.address {
        let address = plain(address)?;
        let misses = || counter(host, "cache_misses");
        let (watch, before) = (Watch::start(host, &from.vnic, address)?, misses()?);
        reach(host, &from.vnic, address)?;
        let contact = Contact { answered: watch.answered()?, misses: misses()? - before };
        let a = &contact.answered;
        p.say(&format!(
            "  {}: who has {address}? varpd: {}, after {:.0} us; the kernel asked varpd {} times",
            a.protocol, a.mac, a.microseconds, contact.misses
        ));
        all.push(contact);
        stop.check()?;
    }
    p.command(host, &["show-overlay", "-t"])?;
    Ok(all)
}

fn counter(host: &Host, name: &str) -> Result<u64> {
    Ok(guests::counters(host)?.get(name).copied().unwrap_or(0))
}

/// Takes the guest of the second host to the third, edits the files, and looks whether traffic follows.
pub fn follow(p: &Progress, t: &Topology, hosts: &[Host], stop: &Interrupt) -> Result<Move> {
    let mut moved = t.clone();
    let ([_, from, to, ..], [h1, h2, h3, ..]) = (&mut moved.hosts[..], hosts) else {
        bail!("the demo's topology lacks a host");
    };
    let guest = from.guests.pop().context("the demo's topology lacks a guest")?;
    to.guests.push(guest.clone());
    let asker = t.hosts.first().and_then(|h| h.guests.first()).context("no guest asks")?;
    let address = plain(guest.address.first().context("no address")?)?;

    p.step(&format!("{} goes from {} to {}, with its addresses", guest.vnic, h2.name, h3.name));
    guests::detach(h2, &guest.vnic)?;
    p.command(h2, &["delete-vnic", &guest.vnic])?;
    make_vnic(h3, &guest)?;
    p.command(h3, &["show-vnic"])?;
    guests::attach(h3, &guest)?;
    let before = ping(p, h1, &asker.vnic, address)?;
    ensure!(before.received == 0, "frames to {} reach a host that no file names", guest.vnic);
    stop.check()?;

    p.step("the files are edited and read again");
    for (host, h) in hosts.iter().zip(&moved.hosts) {
        for o in &h.overlays {
            let path = hosts_file::write(&moved, host, o)?.context("no file")?;
            let prop = format!("{}={}", hosts_file::CONFIG, path.display());
            p.command(host, &["modify-overlay", "-p", &prop, &o.name])?;
        }
    }
    reach(h1, &asker.vnic, address)?;
    let after = ping(p, h1, &asker.vnic, address)?;
    ensure!(after.received == after.sent, "traffic to {} did not follow the files", guest.vnic);
    p.command(h1, &["show-overlay", "-t"])?;
    Ok(Move {
        guest: guest.vnic,
        from: h2.name.clone(),
        to: h3.name.clone(),
        sent_before: before.sent,
        received_before: before.received,
        sent_after: after.sent,
        received_after: after.received,
    })
}

/// Pings until an answer comes. smoltcp throws away an answer for which it must first ask where it goes, so the first
/// ping may be lost.
fn reach(host: &Host, vnic: &str, to: IpAddr) -> Result<()> {
    for _ in 0..ATTEMPTS {
        if guests::ping_briefly(host, vnic, to, 1)?.received > 0 {
            return Ok(());
        }
    }
    bail!("no ping to {to} was answered")
}

fn ping(p: &Progress, host: &Host, vnic: &str, to: IpAddr) -> Result<guests::PingReport> {
    let r = guests::ping_briefly(host, vnic, to, PINGS)?;
    p.say(&format!("  {vnic} to {to}: {} sent, {} received", r.sent, r.received));
    Ok(r)
}
