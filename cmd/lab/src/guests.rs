// SPDX-License-Identifier: CDDL-1.0
//! Guests on the VNICs of a host, and what they and their kernel report.

use crate::host::Host;
use crate::topology::{Guest, Topology};
use anyhow::{Context, Result, bail};
use fkadm::client::Captured;
use fkadm::proto::{Attach, AttachTap, Capture, KstatFilter, Ping, TcpSend};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

pub use fkadm::proto::{PingReport, TcpReport};

/// Port of the guests' stream receiver.
const STREAM_PORT: u16 = 5001;

/// Puts a guest inside the host's fakekerneld, with the routers that it has in the topology.
///
/// # Errors
/// fakekerneld refused.
pub fn attach(host: &Host, t: &Topology, g: &Guest) -> Result<()> {
    let (link, addresses, routers) = (g.vnic.clone(), g.address.clone(), t.routers_of(g));
    host.client()?
        .guest_attach_as(Attach { link, addresses, routers, zone: None })
        .with_context(|| format!("host {}, guest {}", host.name, g.vnic))?;
    Ok(())
}

/// Takes a guest from its VNIC.
///
/// # Errors
/// fakekerneld refused.
pub fn detach(host: &Host, vnic: &str) -> Result<()> {
    Ok(host.client()?.guest_detach(vnic)?)
}

/// What passes a VNIC, as a pcapng file.
///
/// # Errors
/// fakekerneld refused.
pub fn capture(host: &Host, vnic: &str) -> Result<Captured> {
    Ok(host.client()?.capture(Capture { link: vnic.into(), count: None })?)
}

/// Gives a guest a TAP device of the VNIC's name in a namespace, with its addresses and routers.
///
/// # Errors
/// fakekerneld or ip(8) refused.
pub fn attach_tap(host: &Host, t: &Topology, g: &Guest, netns: &str) -> Result<()> {
    host.client()?
        .guest_attach_tap(AttachTap {
            link: g.vnic.clone(),
            tap: Some(g.vnic.clone()),
            netns: Some(netns.into()),
            addresses: g.address.clone(),
        })
        .with_context(|| format!("host {}, guest {}", host.name, g.vnic))?;
    for router in t.routers_of(g) {
        ip(&["-n", netns, "route", "add", "default", "via", &router.to_string()])?;
    }
    Ok(())
}

/// Pings as fast as answers come.
///
/// # Errors
/// The guest cannot send.
pub fn ping(host: &Host, vnic: &str, to: IpAddr, count: u32, size: u16) -> Result<PingReport> {
    let mut ping = Ping::new(vnic, to);
    ping.count = count;
    ping.size = size;
    ping.interval_ms = 0;
    Ok(host.client()?.guest_ping(ping)?)
}

/// Pings that are lost if they are not answered soon.
///
/// # Errors
/// The guest cannot send.
pub fn ping_briefly(host: &Host, vnic: &str, to: IpAddr, count: u32) -> Result<PingReport> {
    let mut ping = Ping::new(vnic, to);
    ping.count = count;
    ping.interval_ms = 10;
    ping.timeout_ms = 1000;
    Ok(host.client()?.guest_ping(ping)?)
}

/// Whether a ping is answered within a time.
///
/// # Errors
/// The guest cannot send.
pub fn ping_once(host: &Host, vnic: &str, to: IpAddr, within: Duration) -> Result<bool> {
    let mut ping = Ping::new(vnic, to);
    ping.count = 1;
    ping.interval_ms = 0;
    ping.timeout_ms = u32::try_from(within.as_millis())?;
    Ok(host.client()?.guest_ping(ping)?.received > 0)
}

/// Moves a stream between guests of two hosts and compares checksums.
///
/// # Errors
/// The stream did not arrive whole.
pub fn tcp(
    from: &Host,
    vnic_from: &str,
    to: &Host,
    vnic_to: &str,
    addr: IpAddr,
    bytes: u64,
) -> Result<TcpReport> {
    to.client()?.guest_tcp_serve(vnic_to, STREAM_PORT)?;
    let target = SocketAddr::new(addr, STREAM_PORT);
    Ok(from.client()?.guest_tcp_send(TcpSend::new(vnic_from, target, bytes))?)
}

/// The overlay driver's counters on a host, summed over its links.
///
/// # Errors
/// fakekerneld does not answer.
pub fn counters(host: &Host) -> Result<BTreeMap<String, u64>> {
    let filter = KstatFilter { module: Some("overlay".into()), ..KstatFilter::default() };
    let mut sum = BTreeMap::new();
    for ks in host.client()?.kstat(filter)? {
        for (name, value) in ks.data {
            if let Some(n) = value.as_u64() {
                *sum.entry(name).or_insert(0) += n;
            }
        }
    }
    Ok(sum)
}

/// Frames that all these hosts dropped, by reason; no more than there were.
///
/// # Errors
/// As [`counters`].
pub fn drops(hosts: &[Host]) -> Result<BTreeMap<String, u64>> {
    let mut drops = BTreeMap::new();
    for host in hosts {
        let counters = counters(host)?.into_iter();
        for (why, n) in counters.filter(|(name, n)| name.starts_with("drop") && *n > 0) {
            *drops.entry(why).or_insert(0) += n;
        }
    }
    Ok(drops)
}

/// The links of a host, as `fkadm links --json` prints them.
///
/// # Errors
/// fakekerneld does not answer.
pub fn links(host: &Host) -> Result<Vec<serde_json::Value>> {
    host.client()?.links()?.into_iter().map(|l| Ok(serde_json::to_value(l)?)).collect()
}

/// Makes a network namespace.
///
/// # Errors
/// ip(8) is missing or refuses.
pub fn make_netns(name: &str) -> Result<()> {
    ip(&["netns", "add", name])?;
    ip(&["-n", name, "link", "set", "lo", "up"])
}

/// Removes a network namespace.
///
/// # Errors
/// As [`make_netns`].
pub fn remove_netns(name: &str) -> Result<()> {
    ip(&["netns", "del", name])
}

fn ip(args: &[&str]) -> Result<()> {
    let out = Command::new("ip")
        .args(args)
        .output()
        .context("cannot run ip(8) of iproute2, which --netns needs")?;
    if !out.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}
