// SPDX-License-Identifier: CDDL-1.0
//! The file that the search plugin `files` reads, made from the topology (man/overlay_files.5).
//!
//! An overlay with `search = "files"` and no `files/config` of its own gets one:
//! `<host>/etc/overlay/<link>.json`, with every guest of its virtual network. Each host has its own copy, as
//! machines would.

use crate::host::Host;
use crate::topology::{Overlay, Topology, parse_prefix};
use anyhow::{Context, Result};
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

/// The contents for a virtual network.
///
/// # Errors
/// A guest has no MAC address, which would be its key.
pub fn contents(topology: &Topology, vnet: u64) -> Result<String> {
    let mut hosts = Map::new();
    for h in &topology.hosts {
        for g in &h.guests {
            let overlay = h.overlays.iter().find(|o| o.name == g.over && o.vnet == vnet);
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
            hosts.insert(mac, host);
        }
    }
    Ok(serde_json::to_string_pretty(&Value::Object(hosts))? + "\n")
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
}
