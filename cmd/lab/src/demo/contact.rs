// SPDX-License-Identifier: CDDL-1.0
//! How a guest finds another for the first time, and a guest that goes to another host: the same with every plugin
//! that looks guests up.

use super::watch::{Answered, Watch};
use super::{Interrupt, Progress, plain};
use crate::guests;
use crate::host::Host;
use crate::running::make_vnic;
use crate::topology::{Guest, Topology};
use anyhow::{Result, bail};
use std::net::IpAddr;

/// Pings to reach a guest for the first time.
const ATTEMPTS: u32 = 10;
/// Echo requests of a series.
const PINGS: u32 = 20;

/// A guest's first packet to another.
#[derive(serde::Serialize)]
pub struct Contact {
    #[serde(flatten)]
    answered: Answered,
    /// Frames for which the kernel had no destination and asked varpd: the question, and the packet itself.
    misses: u64,
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

/// Takes a guest from one host to another, with its addresses. Nobody is told.
pub fn take(p: &Progress, t: &Topology, guest: &Guest, from: &Host, to: &Host) -> Result<()> {
    let (vnic, from_name, to_name) = (&guest.vnic, &from.name, &to.name);
    p.step(&format!("{vnic} goes from {from_name} to {to_name}, with its addresses"));
    guests::detach(from, vnic)?;
    p.command(from, &["delete-vnic", vnic])?;
    make_vnic(to, guest)?;
    p.command(to, &["show-vnic"])?;
    guests::attach(to, t, guest)
}

/// Pings until an answer comes. smoltcp throws away an answer for which it must first ask where it goes, so the first
/// ping may be lost.
pub fn reach(host: &Host, vnic: &str, to: IpAddr) -> Result<()> {
    for _ in 0..ATTEMPTS {
        if guests::ping_briefly(host, vnic, to, 1)?.received > 0 {
            return Ok(());
        }
    }
    bail!("no ping to {to} was answered")
}

/// A series of pings that are lost if they are not answered soon.
pub fn ping(p: &Progress, host: &Host, vnic: &str, to: IpAddr) -> Result<guests::PingReport> {
    let r = guests::ping_briefly(host, vnic, to, PINGS)?;
    p.say(&format!("  {vnic} to {to}: {} sent, {} received", r.sent, r.received));
    Ok(r)
}
