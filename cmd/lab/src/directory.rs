// SPDX-License-Identifier: CDDL-1.0
//! Directories of a lab: portolans that hosts with the svp plugin ask.
//!
//! ```text
//!   <h1>/etc/hosts: 127.64.7.201 portolan        d1: portolan, 127.64.7.201 ports 1296 (SVP), 1297 (HTTP)
//!                   127.64.7.202 portolan        d2: the same, with the same records
//! ```
//!
//! An overlay with `search = "svp"` and no `svp/host` of its own asks them. Each has records of all hosts with such an
//! overlay and of all guests on them, of routers, and of what is attached to what, made from the topology.

use crate::host::{Host, Lifetime};
use crate::state::LabDir;
use crate::topology::{Overlay, Topology, parse_prefix};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Stdio;

/// The name that hosts ask all directories under.
pub const NAME: &str = "portolan";
/// Where directories answer hosts.
const SVP_PORT: u16 = 1296;
/// Where they are administered.
const API_PORT: u16 = 1297;
/// The routers' Ethernet addresses begin with this; the number of the virtual network follows.
const ROUTER_OUI: &str = "2:8:21:0:0:0";

/// Whether an overlay asks the lab's directories.
fn asks(overlay: &Overlay) -> bool {
    overlay.search == "svp" && !overlay.props.contains_key("svp/host")
}

/// The properties of an overlay that asks the lab's directories, for `dladm create-overlay -p`.
#[must_use]
pub fn properties(overlay: &Overlay) -> Option<String> {
    let Overlay { listen, port, .. } = overlay;
    asks(overlay).then(|| {
        format!(
            "svp/host={NAME},svp/port={SVP_PORT},svp/underlay_ip={listen},svp/underlay_port={port},\
             svp/router_oui={ROUTER_OUI}"
        )
    })
}

/// What directories know the n-th host of a topology as.
#[must_use]
pub fn host_id(n: usize) -> String {
    format!("00000000-0000-0000-0000-{:012}", n + 1)
}

/// Starts the directories of a topology, with its records.
///
/// # Errors
/// One does not become ready, or refuses the records. Those that run are in `started` all the same.
pub fn start(
    topology: &Topology,
    dir: &LabDir,
    lifetime: Lifetime,
    started: &mut Vec<Host>,
) -> Result<()> {
    for d in &topology.directories {
        let (svp, api) = (SocketAddr::new(d.listen, SVP_PORT), SocketAddr::new(d.listen, API_PORT));
        let directory = Host::start_directory(&d.name, dir.host_root(&d.name), svp, api, lifetime)?;
        let imported = import(topology, &directory, &[], &records(topology)?);
        started.push(directory);
        imported.with_context(|| format!("directory {}", d.name))?;
    }
    change(topology, started, Change::Attach, &topology.attached)
}

/// What can be done to networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Routes between them.
    Attach,
    /// None any more.
    Detach,
}

/// Attaches or detaches the networks of each group, in each directory at once.
///
/// # Errors
/// One refuses.
pub fn change(
    topology: &Topology,
    directories: &[Host],
    what: Change,
    groups: &[Vec<String>],
) -> Result<()> {
    let mut lines = String::new();
    for group in groups {
        lines += &changes(topology, what, group)?;
    }
    let ours = |d: &&Host| topology.directories.iter().any(|ours| ours.name == d.name);
    for d in directories.iter().filter(ours).filter(|_| !lines.is_empty()) {
        import(topology, d, &["--tell"], &lines)
            .with_context(|| format!("directory {}", d.name))?;
    }
    Ok(())
}

/// A change for each pair of networks in a group, and version of IP: lines, as portolanadm imports them.
///
/// # Errors
/// A router's address has no prefix length.
pub fn changes(topology: &Topology, what: Change, group: &[String]) -> Result<String> {
    let mut sides = Vec::new();
    for n in topology.networks.iter().filter(|n| group.contains(&n.name)) {
        let dcid = topology.overlays_of(n.vnet).next().map_or(0, |o| o.dcid);
        for s in n.subnets()? {
            let side = json!({ "vnet": n.vnet, "subnet": s.to_string() });
            sides.push((&n.name, s.router.is_ipv4(), dcid, side));
        }
    }
    let mut lines = String::new();
    for (i, (name, v4, dcid, a)) in sides.iter().enumerate() {
        let others = sides.iter().skip(i + 1);
        for (_, _, other_dcid, b) in others.filter(|o| o.0 != *name && o.1 == *v4) {
            let (mut a, mut b) = (a.clone(), b.clone());
            let line = match what {
                Change::Attach => {
                    (a["dcid"], b["dcid"]) = (json!(dcid), json!(other_dcid));
                    json!({ "attach": { "a": a, "b": b } })
                }
                Change::Detach => json!({ "detach": { "a": a, "b": b } }),
            };
            lines += &format!("{line}\n");
        }
    }
    Ok(lines)
}

fn import(topology: &Topology, directory: &Host, how: &[&str], lines: &str) -> Result<()> {
    let file = directory.root.join("records.jsonl");
    std::fs::write(&file, lines).with_context(|| format!("cannot write {}", file.display()))?;
    let file = file.to_string_lossy();
    administer(topology, directory, &[&["import", "-q"], how, &[&file]].concat()).map(drop)
}

/// How many entries the log of each host has in a directory: changes that it has not taken notice of.
///
/// # Errors
/// The directory does not answer.
pub fn untold(topology: &Topology, directory: &Host) -> Result<u64> {
    let told = administer(topology, directory, &["--json", "host", "list"])?;
    let hosts = serde_json::Deserializer::from_str(&told).into_iter::<Value>();
    hosts.map(|h| h?["log"].as_u64().context("no log in the list of hosts")).sum()
}

/// Tells a host the addresses of the directories' name.
///
/// # Errors
/// I/O.
pub fn name(topology: &Topology, host: &Host) -> Result<()> {
    let file = host.root.join("etc/hosts");
    let lines = topology.directories.iter().map(|d| format!("{} {NAME}\n", d.listen));
    std::fs::create_dir_all(host.root.join("etc"))
        .and_then(|()| std::fs::write(&file, lines.collect::<String>()))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Where the directory with this name is administered.
#[must_use]
pub fn url(topology: &Topology, name: &str) -> Option<String> {
    let d = topology.directories.iter().find(|d| d.name == name)?;
    Some(format!("http://{}", SocketAddr::new(d.listen, API_PORT)))
}

/// Runs portolanadm on a directory and returns what it printed.
///
/// # Errors
/// It failed; its diagnostics are in the error.
pub fn administer(topology: &Topology, directory: &Host, args: &[&str]) -> Result<String> {
    let name = &directory.name;
    let url = url(topology, name).with_context(|| format!("{name} is no directory"))?;
    let mut command = directory.command("portolanadm")?;
    let out = command.args(["--url", &url]).args(args).stdin(Stdio::null()).output()?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        bail!("portolanadm {} on {name}: {}", args.join(" "), said.trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The records of a topology, one JSON object a line, as portolanadm imports them.
fn records(topology: &Topology) -> Result<String> {
    let mut lines = String::new();
    let mut add = |record: serde_json::Value| lines.push_str(&format!("{record}\n"));
    for (n, h) in topology.hosts.iter().enumerate() {
        let Some(first) = h.overlays.iter().find(|o| asks(o)) else { continue };
        add(json!({ "host": { "id": host_id(n), "ip": first.listen, "port": first.port } }));
    }
    for (n, h) in topology.hosts.iter().enumerate() {
        for g in &h.guests {
            let Some(overlay) = h.overlays.iter().find(|o| o.name == g.over && asks(o)) else {
                continue;
            };
            let mac = g.mac.as_ref().with_context(|| {
                format!("host {}, guest {}: the svp plugin needs its mac", h.name, g.vnic)
            })?;
            for address in &g.address {
                let (ip, _) = parse_prefix(address)?;
                let (vnet, vlan) = (overlay.vnet, g.vlan);
                let port =
                    json!({ "vnet": vnet, "ip": ip, "mac": mac, "host": host_id(n), "vlan": vlan });
                add(json!({ "port": port }));
            }
        }
    }
    for n in &topology.networks {
        // The address that hosts make of their svp/router_oui.
        let [_, high, mid, low] = u32::try_from(n.vnet)?.to_be_bytes();
        let mac = format!("2:8:21:{high:x}:{mid:x}:{low:x}");
        for s in n.subnets()? {
            let (vnet, vlan, ip) = (n.vnet, n.vlan, s.router);
            add(
                json!({ "port": { "vnet": vnet, "ip": ip, "mac": mac, "vlan": vlan, "router": true } }),
            );
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::READY;

    #[test]
    fn each_pair_of_a_group_is_attached() {
        let (_, text) = READY.iter().find(|(name, _)| *name == "three-vnets").unwrap();
        let t = Topology::parse(text).unwrap();
        let lines = changes(&t, Change::Attach, &t.attached[0]).unwrap();
        let lines: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        // Of four networks six pairs, by both versions of IP.
        assert_eq!(lines.len(), 12);
        let pair = json!({"attach": {
            "a": {"vnet": 101, "subnet": "10.1.10.0/24", "dcid": 1},
            "b": {"vnet": 102, "subnet": "10.2.20.0/24", "dcid": 2},
        }});
        assert!(lines.contains(&pair), "{lines:?}");
        let pair = ["red".to_owned(), "green10".to_owned()];
        let lines = changes(&t, Change::Detach, &pair).unwrap();
        let v6 = json!({"detach": {
            "a": {"vnet": 101, "subnet": "fd01::/64"}, "b": {"vnet": 103, "subnet": "fd03:10::/64"},
        }});
        assert_eq!(serde_json::from_str::<Value>(lines.lines().last().unwrap()).unwrap(), v6);
    }

    #[test]
    fn hosts_come_before_the_guests_on_them() {
        let (_, text) = READY.iter().find(|(name, _)| *name == "two-directories").unwrap();
        let t = Topology::parse(text).unwrap();
        let lines = records(&t).unwrap();
        let lines: Vec<serde_json::Value> =
            lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 3 + 6);
        assert_eq!(lines[1]["host"]["ip"], "127.64.7.2");
        assert_eq!(lines[6]["port"]["ip"], "fd77::2");
        assert_eq!(lines[6]["port"]["host"], lines[1]["host"]["id"]);
        let own =
            text.replace("search = \"svp\"", "search = \"svp\"\nprops = { \"svp/host\" = \"x\" }");
        assert_eq!(records(&Topology::parse(&own).unwrap()).unwrap(), "");
    }
}
