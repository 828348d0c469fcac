// SPDX-License-Identifier: CDDL-1.0
//! What a lab consists of: hosts, their overlay links, and the guests on VNICs over these.
//!
//! A topology is a TOML file. Everything that can be known to be wrong before a process is started is refused here,
//! with the host and the key named.
//!
//! A virtual network has one or more *networks*, each a VLAN of it with a router's addresses. A guest's router is that of
//! the network in which it has an address. Networks that are *attached* reach one another through their routers.

mod network;

pub use network::{Network, Subnet};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

/// The topologies that come with the lab: name and text.
pub const READY: &[(&str, &str)] = &[
    ("two-hosts", include_str!("../../topologies/two-hosts.toml")),
    ("three-hosts", include_str!("../../topologies/three-hosts.toml")),
    ("two-vnets", include_str!("../../topologies/two-vnets.toml")),
    ("jumbo", include_str!("../../topologies/jumbo.toml")),
    ("ipv6-underlay", include_str!("../../topologies/ipv6-underlay.toml")),
    ("directory", include_str!("../../topologies/directory.toml")),
    ("three-vnets", include_str!("../../topologies/three-vnets.toml")),
    ("two-directories", include_str!("../../topologies/two-directories.toml")),
];

/// A lab.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Names the lab's state directory and its network namespaces.
    pub name: String,
    /// Directories that hosts with the svp plugin ask.
    #[serde(rename = "directory", default)]
    pub directories: Vec<Directory>,
    /// Networks with routers.
    #[serde(rename = "network", default)]
    pub networks: Vec<Network>,
    /// Groups of networks, by name, of which each reaches each other one.
    #[serde(default)]
    pub attached: Vec<Vec<String>>,
    /// The hosts, in the order in which they are started.
    #[serde(rename = "host")]
    pub hosts: Vec<Host>,
}

/// A portolan. All of a lab have the same records, and hosts know them by one name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Names the directory in the lab.
    pub name: String,
    /// Loopback address of this machine that it listens at.
    pub listen: IpAddr,
}

/// One host: a kernel, a varpd, and a root directory of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Names the host in commands and its directory.
    pub name: String,
    /// Overlay links, created in this order.
    #[serde(rename = "overlay", default)]
    pub overlays: Vec<Overlay>,
    /// Guests, attached after all links exist.
    #[serde(rename = "guest", default)]
    pub guests: Vec<Guest>,
}

/// An overlay link, in the terms of `dladm create-overlay`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Link name: ends in a number.
    pub name: String,
    /// Virtual network id (24 bits for vxlan).
    pub vnet: u64,
    /// Encapsulation plugin.
    #[serde(default = "vxlan")]
    pub encap: String,
    /// Data centre that the virtual network is in.
    #[serde(default)]
    pub dcid: u32,
    /// Address of this machine that the VXLAN socket binds to.
    pub listen: IpAddr,
    /// UDP port that it binds to.
    #[serde(default = "vxlan_port")]
    pub port: u16,
    /// Largest frame payload in bytes, 576 to 8900.
    pub mtu: Option<u32>,
    /// varpd's lookup plugin.
    pub search: String,
    /// Further properties for `dladm create-overlay -p`.
    #[serde(default)]
    pub props: BTreeMap<String, String>,
}

/// A guest: a VNIC and who sits behind it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// Name of the VNIC; also names the guest.
    pub vnic: String,
    /// Overlay link that the VNIC is made over.
    pub over: String,
    /// MAC address; chosen by dladm when absent.
    pub mac: Option<String>,
    /// VLAN of its VNIC, which tags and untags its frames; 0 for none.
    #[serde(default)]
    pub vlan: u16,
    /// Addresses with prefix length.
    #[serde(default)]
    pub address: Vec<String>,
}

fn vxlan() -> String {
    "vxlan".into()
}

fn vxlan_port() -> u16 {
    4789
}

impl Topology {
    /// Reads a topology file, or the ready one of that name.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML of this form, or contradicts itself.
    pub fn load(file_or_name: &str) -> Result<Topology> {
        if let Some((_, text)) = READY.iter().find(|(name, _)| *name == file_or_name) {
            return Self::parse(text);
        }
        let path = Path::new(file_or_name);
        let text = std::fs::read_to_string(path).with_context(|| {
            let ready: Vec<_> = READY.iter().map(|(n, _)| *n).collect();
            format!("cannot read topology {file_or_name} (ready ones: {})", ready.join(", "))
        })?;
        Self::parse(&text).with_context(|| format!("in {file_or_name}"))
    }

    /// Parses and checks the text of a topology.
    ///
    /// # Errors
    /// As [`Topology::load`].
    pub fn parse(text: &str) -> Result<Topology> {
        let t: Topology = toml::from_str(text)?;
        t.check()?;
        Ok(t)
    }

    fn check(&self) -> Result<()> {
        check_name("lab", &self.name)?;
        ensure!(!self.hosts.is_empty(), "a lab needs at least one [[host]]");
        let mut hosts = BTreeSet::new();
        let mut vnics = BTreeSet::new();
        for d in &self.directories {
            check_name("directory", &d.name)?;
            ensure!(hosts.insert(&d.name), "two directories are named {}", d.name);
            ensure!(
                d.listen.is_loopback(),
                "directory {}: {} is no loopback address",
                d.name,
                d.listen
            );
        }
        for h in &self.hosts {
            check_name("host", &h.name)?;
            ensure!(
                !["bin", "plugins"].contains(&h.name.as_str()),
                "host name {:?} is taken by a directory of the lab",
                h.name
            );
            ensure!(hosts.insert(&h.name), "two hosts or directories are named {}", h.name);
            let mut links = BTreeSet::new();
            for o in &h.overlays {
                let at = || format!("host {}, overlay {}", h.name, o.name);
                ensure!(links.insert(&o.name), "{}: the name is used twice", at());
                ensure!(o.vnet < 1 << 24, "{}: vnet {} exceeds 24 bits", at(), o.vnet);
                ensure!(o.port != 0, "{}: port 0", at());
                ensure!(
                    o.search != "svp"
                        || o.props.contains_key("svp/host")
                        || !self.directories.is_empty(),
                    "{}: svp needs a [[directory]], or a svp/host of its own",
                    at()
                );
                if let Some(mtu) = o.mtu {
                    ensure!((576..=8900).contains(&mtu), "{}: mtu {mtu} is not 576-8900", at());
                }
                for (k, v) in &o.props {
                    ensure!(!v.contains([',', '=']), "{}: value of {k} holds ',' or '='", at());
                }
            }
            for g in &h.guests {
                let at = || format!("host {}, guest {}", h.name, g.vnic);
                ensure!(
                    h.overlays.iter().any(|o| o.name == g.over),
                    "{}: over = {:?} is no overlay of this host",
                    at(),
                    g.over
                );
                ensure!(links.insert(&g.vnic), "{}: the name is used twice", at());
                ensure!(
                    vnics.insert(&g.vnic),
                    "{}: another host has a guest of this name, and `lab` finds guests by name",
                    at()
                );
                ensure!(g.vlan <= 4094, "{}: vlan {} exceeds 4094", at(), g.vlan);
                for a in &g.address {
                    parse_prefix(a).with_context(at)?;
                }
            }
        }
        self.check_networks()
    }

    /// Overlay links of a virtual network.
    pub fn overlays_of(&self, vnet: u64) -> impl Iterator<Item = &Overlay> {
        self.hosts.iter().flat_map(|h| &h.overlays).filter(move |o| o.vnet == vnet)
    }

    /// The host and the guest of that VNIC name.
    #[must_use]
    pub fn guest(&self, vnic: &str) -> Option<(&Host, &Guest)> {
        self.hosts.iter().find_map(|h| h.guests.iter().find(|g| g.vnic == vnic).map(|g| (h, g)))
    }
}

impl Overlay {
    /// The properties for `dladm create-overlay -p`.
    #[must_use]
    pub fn property_list(&self) -> String {
        let mut list = vec![
            format!("vxlan/listen_ip={}", self.listen),
            format!("vxlan/listen_port={}", self.port),
        ];
        if let Some(mtu) = self.mtu {
            list.push(format!("mtu={mtu}"));
        }
        list.extend(self.props.iter().map(|(k, v)| format!("{k}={v}")));
        list.join(",")
    }
}

impl Guest {
    /// Its addresses.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.address.iter().filter_map(|a| parse_prefix(a).ok()).map(|(ip, _)| ip)
    }
}

/// Splits `address/length`.
///
/// # Errors
/// The text is no address with a prefix length that fits its family.
pub fn parse_prefix(s: &str) -> Result<(IpAddr, u8)> {
    let Some((a, l)) = s.split_once('/') else {
        bail!("address {s:?} lacks a prefix length (/24)")
    };
    let addr: IpAddr = a.parse().with_context(|| format!("bad address {a:?}"))?;
    let len: u8 = l.parse().with_context(|| format!("bad prefix length {l:?}"))?;
    ensure!(len <= if addr.is_ipv4() { 32 } else { 128 }, "prefix length {len} is too long");
    Ok((addr, len))
}

fn check_name(what: &str, name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        !name.is_empty() && name.len() <= 20 && name.chars().all(plain) && !name.starts_with('-'),
        "bad {what} name {name:?}: 1 to 20 letters, digits, '-' and '_' (it names directories)"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_topologies_are_valid_and_named_after_their_file() {
        for (name, text) in READY {
            assert_eq!(Topology::parse(text).unwrap().name, *name);
        }
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        let base = READY[0].1;
        for (from, to, expect) in [
            ("over = \"ov0\"\nmac = \"2:8:20:0:0:1\"", "over = \"ov9\"", "guest g1"),
            ("10.77.0.1/24", "10.77.0.1", "prefix length"),
            ("10.77.0.1/24", "10.77.0.1/33", "too long"),
            ("vnet = 100", "vnet = 16777216", "24 bits"),
            ("name = \"h2\"", "name = \"h1\"", "two hosts"),
            ("search = \"direct\"", "search = \"svp\"", "needs a [[directory]]"),
            ("vnic = \"g2\"", "vnic = \"g1\"", "another host"),
            ("name = \"two-hosts\"", "name = \"../x\"", "bad lab name"),
            ("search = \"direct\"", "serach = \"direct\"", "serach"),
        ] {
            assert!(base.contains(from), "{from}");
            let e = Topology::parse(&base.replacen(from, to, 1)).expect_err(to);
            assert!(format!("{e:#}").contains(expect), "{to}: {e:#}");
        }
    }

    #[test]
    fn properties_are_in_dladm_form() {
        let t = Topology::parse(include_str!("../../topologies/jumbo.toml")).unwrap();
        assert_eq!(
            t.hosts[0].overlays[0].property_list(),
            "vxlan/listen_ip=127.64.2.1,vxlan/listen_port=4789,mtu=8900,\
             direct/dest_ip=127.64.2.2,direct/dest_port=4789"
        );
    }
}
