// SPDX-License-Identifier: CDDL-1.0
//! The file that the search plugin `files` reads, made from the topology (man/overlay_files.5).
//!
//! An overlay with `search = "files"` and no `files/config` of its own gets one:
//! `<host>/etc/overlay/<link>.json`, with every guest of its virtual network; with the guests of all, and what is
//! attached to what, when the topology has networks. Each host has its own copy, as machines would.

use crate::host::Host;
use crate::topology::{Overlay, Subnet, Topology, parse_prefix};
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// The property that names the file.
pub const CONFIG: &str = "files/config";

/// Where the file of an overlay is, if the lab makes it.
#[must_use]
pub fn path(host: &Host, overlay: &Overlay) -> Option<PathBuf> {
    let ours = overlay.search == "files" && !overlay.props.contains_key(CONFIG);
    ours.then(|| host.root.join("etc/overlay").join(format!("{}.json", overlay.name)))
}

/// The routers' Ethernet addresses begin with this.
const ROUTER_OUI: &str = "2:8:21";

/// The contents for a virtual network.
///
/// # Errors
/// A guest has no MAC address, which would be its key.
pub fn contents(topology: &Topology, vnet: u64) -> Result<String> {
    let mut hosts = Map::new();
    for h in &topology.hosts {
        for g in &h.guests {
            let is_told = |o: &&Overlay| o.vnet == vnet || !topology.networks.is_empty();
            let overlay = h.overlays.iter().find(|o| o.name == g.over).filter(is_told);
            let Some(overlay) = overlay else { continue };
            let mac = g.mac.clone().with_context(|| {
                format!("host {}, guest {}: the files plugin needs its mac", h.name, g.vnic)
            })?;
            let mut host = json!({ "ip": overlay.listen, "port": overlay.port });
            for address in &g.address {
                let (ip, _) = parse_prefix(address)?;
                let key = if ip.is_ipv4() { "arp" } else { "ndp" };
                if host.get(key).is_none() {
                    host[key] = json!(ip);
                }
            }
            if !topology.networks.is_empty() {
                host["vid"] = json!(overlay.vnet.to_string());
                host["vlan"] = json!(g.vlan);
            }
            ensure!(
                hosts.insert(mac.clone(), host).is_none(),
                "two guests have the address {mac}, and a file has one"
            );
        }
    }
    if !topology.networks.is_empty() {
        hosts.insert("fabrics".into(), fabrics(topology)?);
    }
    Ok(serde_json::to_string_pretty(&Value::Object(hosts))? + "\n")
}

/// The networks, one fabric for each version of IP, and which of them are attached.
fn fabrics(topology: &Topology) -> Result<Value> {
    let (mut fabrics, mut groups) = (Map::new(), Map::new());
    let family = |s: &Subnet| if s.router.is_ipv4() { "v4" } else { "v6" };
    for n in &topology.networks {
        let dcid = topology.overlays_of(n.vnet).next().map_or(0, |o| o.dcid);
        for s in n.subnets()? {
            let number = fabrics.len();
            let fabric = json!({
                "prefix": s.to_string(), "routerip": s.router, "vlan": n.vlan, "vid": n.vnet.to_string(),
                "dcid": dcid, "routermac": format!("{ROUTER_OUI}:0:{:x}:{:x}", number / 256, number % 256),
            });
            fabrics.insert(format!("{}-{}", n.name, family(&s)), fabric);
        }
    }
    for (number, group) in topology.attached.iter().enumerate() {
        for n in topology.networks.iter().filter(|n| group.contains(&n.name)) {
            for s in n.subnets()? {
                let group = groups.entry(format!("{number}-{}", family(&s))).or_insert(json!([]));
                let member = json!(format!("{}-{}", n.name, family(&s)));
                group.as_array_mut().into_iter().for_each(|g| g.push(member.clone()));
            }
        }
    }
    fabrics.insert("attached-fabrics".into(), Value::Object(groups));
    Ok(Value::Object(fabrics))
}

/// Writes the file of an overlay, whole or not at all, and returns where it is.
///
/// # Errors
/// I/O, and as [`contents`].
pub fn write(topology: &Topology, host: &Host, overlay: &Overlay) -> Result<Option<PathBuf>> {
    let Some(path) = path(host, overlay) else { return Ok(None) };
    let failed = || format!("cannot write {}", path.display());
    std::fs::create_dir_all(host.root.join("etc/overlay")).with_context(failed)?;
    let new = path.with_extension("new");
    std::fs::write(&new, contents(topology, overlay.vnet)?).with_context(failed)?;
    std::fs::rename(&new, &path).with_context(failed)?;
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::READY;

    #[test]
    fn guests_of_the_network_are_in_the_file() {
        let (_, text) = READY.iter().find(|(name, _)| *name == "three-hosts").unwrap();
        let t = Topology::parse(text).unwrap();
        let v: Value = serde_json::from_str(&contents(&t, 100).unwrap()).unwrap();
        assert_eq!(v.as_object().unwrap().len(), 3);
        let host = json!({"ip": "127.64.5.2", "port": 4789, "arp": "10.77.0.2", "ndp": "fd77::2"});
        assert_eq!(v["2:8:20:0:0:2"], host);
        assert_eq!(contents(&t, 101).unwrap(), "{}\n");
        let nameless = Topology::parse(&text.replace("mac = \"2:8:20:0:0:2\"", "")).unwrap();
        assert!(contents(&nameless, 100).unwrap_err().to_string().contains("guest g2"));
    }

    #[test]
    fn networks_are_in_the_file_with_all_guests() {
        let (_, text) = READY.iter().find(|(name, _)| *name == "three-vnets").unwrap();
        let text = text.replace("\"svp\"", "\"files\"");
        let twice = Topology::parse(&text).unwrap();
        assert!(contents(&twice, 101).unwrap_err().to_string().contains("two guests"));
        let mut t = twice;
        for (n, h) in t.hosts.iter_mut().enumerate() {
            for (m, g) in h.guests.iter_mut().enumerate() {
                g.mac = Some(format!("2:8:20:0:{n}:{m}"));
            }
        }
        let text = contents(&t, 101).unwrap();
        let v: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(v.as_object().unwrap().len(), 9 + 1);
        assert_eq!(v["2:8:20:0:2:0"]["vlan"], 10);
        let fabrics = &v["fabrics"];
        assert_eq!(fabrics["blue20-v6"]["prefix"], "fd02:20::/64");
        assert_eq!(fabrics["blue20-v6"]["dcid"], 2);
        let group = json!(["red-v4", "red10-v4", "blue-v4", "blue20-v4"]);
        assert_eq!(
            fabrics["attached-fabrics"],
            json!({"0-v4": group, "0-v6": [
            "red-v6", "red10-v6", "blue-v6", "blue20-v6"]})
        );
    }
}
