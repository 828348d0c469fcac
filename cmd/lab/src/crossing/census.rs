// SPDX-License-Identifier: CDDL-1.0
//! All guests of a topology, by number, and whose address is whose.

use crate::topology::Topology;
use anyhow::{Context, Result};
use overlay_abi::ids::MacAddr;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// A guest.
#[derive(Debug, Clone)]
pub struct Person {
    /// Its VNIC.
    pub name: String,
    /// Number of its host in the topology.
    pub host: usize,
    /// Number of its network in the topology.
    pub network: usize,
    /// Virtual network id.
    pub vnet: u32,
    /// VLAN, 0 for none.
    pub vlan: u16,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub struct Census {
    /// The guests, those of a virtual network together.
    pub guests: Vec<Person>,
    by_ip: HashMap<IpAddr, usize>,
    routers: HashSet<IpAddr>,
}

impl Census {
    /// Of a topology where each guest is in a network.
    ///
    /// # Errors
    /// A guest is in none, or lacks a MAC address.
    pub fn of(t: &Topology) -> Result<Census> {
        let mut census = Census::default();
        for (host, h) in t.hosts.iter().enumerate() {
            for g in &h.guests {
                let what = || format!("guest {}", g.vnic);
                let network =
                    t.network_of(g).with_context(|| format!("{} has no network", what()))?;
                let number = t.networks.iter().position(|n| n.name == network.name);
                let mac = g.mac.as_deref().with_context(|| format!("{} has no mac", what()))?;
                census.guests.push(Person {
                    name: g.vnic.clone(),
                    host,
                    network: number.unwrap_or_default(),
                    vnet: u32::try_from(network.vnet)?,
                    vlan: g.vlan,
                    mac: mac
                        .parse()
                        .ok()
                        .with_context(|| format!("{}: bad mac {mac:?}", what()))?,
                    ips: g.ips().collect(),
                });
            }
        }
        census.guests.sort_by_key(|g| (g.vnet, g.host));
        for (n, g) in census.guests.iter().enumerate() {
            census.by_ip.extend(g.ips.iter().map(|ip| (*ip, n)));
        }
        for n in &t.networks {
            census.routers.extend(n.subnets()?.iter().map(|s| s.router));
        }
        Ok(census)
    }

    /// Whose address it is.
    #[must_use]
    pub fn at(&self, ip: IpAddr) -> Option<usize> {
        self.by_ip.get(&ip).copied()
    }

    /// Whether it is a router's.
    #[must_use]
    pub fn is_router(&self, ip: IpAddr) -> bool {
        self.routers.contains(&ip)
    }
}
