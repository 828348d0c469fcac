// SPDX-License-Identifier: CDDL-1.0
//! Directories of a lab: portolans that hosts with the svp plugin ask.
//!
//! ```text
//!   <h1>/etc/hosts: 127.64.7.201 portolan        d1: portolan, 127.64.7.201 ports 1296 (SVP), 1297 (HTTP)
//!                   127.64.7.202 portolan        d2: the same, with the same records
//! ```
//!
//! An overlay with `search = "svp"` and no `svp/host` of its own asks them. Each has records of all hosts with such an
//! overlay and of all guests on them, made from the topology.

use crate::host::{Host, Lifetime};
use crate::state::LabDir;
use crate::topology::{Overlay, Topology, parse_prefix};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::net::SocketAddr;
use std::process::Stdio;

/// The name that hosts ask all directories under.
pub const NAME: &str = "portolan";
/// Where directories answer hosts.
const SVP_PORT: u16 = 1296;
/// Where they are administered.
const API_PORT: u16 = 1297;

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
            "svp/host={NAME},svp/port={SVP_PORT},svp/underlay_ip={listen},svp/underlay_port={port}"
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
        let file = directory.root.join("records.jsonl");
        let written = std::fs::write(&file, records(topology)?);
        let imported = written.context("cannot write its records").and_then(|()| {
            administer(topology, &directory, &["import", "-q", &file.to_string_lossy()])
        });
        started.push(directory);
        imported.with_context(|| format!("directory {}", d.name))?;
    }
    Ok(())
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
                let vnet = overlay.vnet;
                add(json!({ "port": { "vnet": vnet, "ip": ip, "mac": mac, "host": host_id(n) } }));
            }
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::READY;

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
