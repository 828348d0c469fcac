// SPDX-License-Identifier: CDDL-1.0
//! Traffic: every guest pings every other one, at all addresses, all the time.

use super::census::Census;
use crate::host::Host;
use anyhow::{Context, Result, bail};
use fkadm::client::Client;
use fkadm::proto::Ping;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes of data in a ping.
pub(super) const DATA: u16 = 56;
/// How long a ping counts as sent; one that is answered later is seen all the same.
const TIMEOUT_MS: u32 = 300;
/// Pings of one request to fakekerneld, so that the end does not take long.
const SERIES: u32 = 10;

/// The traffic, until it is stopped or dropped.
#[derive(Debug)]
pub struct Flows {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Flows {
    /// Starts it; each guest pings each address of each other one once in `interval`, which is at least a
    /// millisecond.
    ///
    /// # Errors
    /// A fakekerneld does not answer.
    pub fn start(census: &Census, hosts: &[Host], interval: Duration) -> Result<Flows> {
        let mut flows = Flows { stop: Arc::default(), threads: Vec::new() };
        let interval_ms = u32::try_from(interval.as_millis())?.max(1);
        for from in &census.guests {
            let host = hosts.get(from.host).context("a guest without a host")?;
            for to in census.guests.iter().filter(|to| to.name != from.name) {
                for &ip in &to.ips {
                    let mut client = host.client()?;
                    let ping = series(&from.name, ip, interval_ms);
                    let stop = flows.stop.clone();
                    flows.threads.push(std::thread::spawn(move || flow(&mut client, &ping, &stop)));
                }
            }
        }
        Ok(flows)
    }

    /// Ends it.
    ///
    /// # Errors
    /// A guest could not send.
    pub fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(done) => done?,
                Err(_) => bail!("a flow panicked"),
            }
        }
        Ok(())
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn series(link: &str, to: IpAddr, interval_ms: u32) -> Ping {
    Ping { count: SERIES, size: DATA, interval_ms, timeout_ms: TIMEOUT_MS, ..Ping::new(link, to) }
}

fn flow(client: &mut Client, ping: &Ping, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let report = client.guest_ping(ping.clone());
        let report = report.with_context(|| format!("{} to {}", ping.link, ping.to))?;
        if report.corrupted > 0 {
            bail!("{} to {}: {} answers have other data", ping.link, ping.to, report.corrupted);
        }
    }
    Ok(())
}
