// SPDX-License-Identifier: CDDL-1.0
//! The host's IP, as far as ipnet sees it: an interface for each guest, and lo0.
//!
//! A guest has an IP of its own, inside the process or Linux' behind a TAP device; here is what a host whose IP that was would tell the kernel of it. By
//! default its interface is one of the global zone, under the name of its VNIC. A guest that was
//! given a zone has the zone's stack, and the global zone finds its interface under
//! `/dev/ipnet/zone/ZONE/`.
//!
//! Each interface is a node of the root while the driver has it.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::DirBuilderExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use devctl::Root;
use devctl::server::Server;
use fakekernel::dev;
use fakekernel::inet::ip::{Direction, Family, Interface, Seen, UNKNOWN_ZONE};
use fakekernel::inet::netstack::{self, IpType};
use overlay_abi::errno::Errno;

use crate::links::lock;

/// Who may open the nodes: as devfs has it, with the privilege checked again when they are opened.
const MODE: u32 = 0o666;
const ETHERNET_HEADER: usize = 14;
/// How long the driver may take to hear of an interface.
const PATIENCE: Duration = Duration::from_secs(2);

/// The interfaces of a host and its zones.
pub struct Ip {
    root: Root,
    nodes: Arc<Server>,
    /// By name.
    zones: Mutex<BTreeMap<String, Zone>>,
    lo0: Mutex<Option<Node>>,
}

/// A zone with guests.
struct Zone {
    id: i32,
    guests: usize,
    lo0: Node,
}

/// An interface and its node below the root.
struct Node {
    nodes: Arc<Server>,
    interface: Option<Interface>,
    path: String,
}

/// The interface of a guest. It goes when this is dropped.
pub struct Plumbed {
    ip: Arc<Ip>,
    node: Option<Node>,
    zone: i32,
    zone_name: Option<String>,
    addresses: Vec<IpAddr>,
}

impl Ip {
    /// The global zone with its lo0. The error is a sentence.
    pub fn new(root: &Root, nodes: Arc<Server>) -> Result<Arc<Ip>, String> {
        let (root, zones) = (root.clone(), Mutex::default());
        let ip = Arc::new(Ip { root, nodes, zones, lo0: Mutex::default() });
        *lock(&ip.lo0) = Some(ip.loopback(0, None)?);
        Ok(ip)
    }

    fn loopback(&self, zone: i32, name: Option<&str>) -> Result<Node, String> {
        let lo0 = Interface::loopback(zone).map_err(|e| format!("lo0: {e}"))?;
        self.node(lo0, "lo0", name)
    }

    /// Makes the node of an interface when the driver has it.
    fn node(&self, interface: Interface, name: &str, zone: Option<&str>) -> Result<Node, String> {
        let directory = zone.map_or("/dev/ipnet".into(), |z| format!("/dev/ipnet/zone/{z}"));
        let path = format!("{directory}/{name}");
        let made = DirBuilder::new().recursive(true).mode(0o755).create(self.root.path(&directory));
        made.map_err(|e| format!("{directory}: {e}"))?;
        add_node(&self.nodes, &path)?;
        Ok(Node { nodes: Arc::clone(&self.nodes), interface: Some(interface), path })
    }

    /// Makes a guest's interface. The error is a sentence.
    pub fn plumb(
        self: &Arc<Self>,
        name: &str,
        zone: Option<&str>,
        mac: [u8; 6],
        addresses: &[(IpAddr, u8)],
    ) -> Result<Plumbed, String> {
        let id = zone.map_or(Ok(0), |z| self.enter(z))?;
        let mut plumbed = Plumbed {
            ip: Arc::clone(self),
            node: None,
            zone: id,
            zone_name: zone.map(Into::into),
            addresses: addresses.iter().map(|a| a.0).collect(),
        };
        let error = |e: Errno| format!("interface {name}: {e}");
        let interface = Interface::new(id, name, false).map_err(error)?;
        let own = addresses.iter().any(|a| a.0.is_ipv6()).then(|| (link_local(mac).into(), 64));
        for (address, prefix) in addresses.iter().copied().chain(own) {
            interface.up(address, prefix, id).map_err(error)?;
        }
        plumbed.addresses.extend(own.map(|o| o.0));
        plumbed.node = Some(self.node(interface, name, zone)?);
        Ok(plumbed)
    }

    /// Counts a guest more of a zone, which is booted for the first; its number.
    fn enter(&self, name: &str) -> Result<i32, String> {
        if name.is_empty() || name.len() > 63 || name.contains(['/', '\0']) || name == "global" {
            return Err(format!(
                "{name:?} is not the name of a zone: 1 to 63 bytes, not \"global\""
            ));
        }
        let mut zones = lock(&self.zones);
        if let Some(z) = zones.get_mut(name) {
            z.guests += 1;
            return Ok(z.id);
        }
        let id = (1..).find(|id| zones.values().all(|z| z.id != *id)).unwrap_or(1);
        netstack::zone_boot(id, name, IpType::Exclusive)
            .map_err(|e| format!("zone {name}: {e}"))?;
        let lo0 = self.loopback(id, Some(name)).inspect_err(|_| {
            let _ = netstack::zone_halt(id);
        })?;
        zones.insert(name.into(), Zone { id, guests: 1, lo0 });
        Ok(id)
    }

    /// The opposite: the last halts it.
    fn leave(&self, name: &str) {
        let mut zones = lock(&self.zones);
        let Some(z) = zones.get_mut(name) else { return };
        z.guests -= 1;
        if z.guests > 0 {
            return;
        }
        if let Some(z) = zones.remove(name) {
            drop(z.lo0);
            let _ = netstack::zone_halt(z.id);
        }
        // Streams may be left of other interfaces; then the directory stays, empty.
        let _ = std::fs::remove_dir(self.root.path(format!("/dev/ipnet/zone/{name}")));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.interface = None;
        // Streams are hung up before their connections end.
        wait_for(&self.path, false);
        self.nodes.remove(&self.path);
    }
}

impl Drop for Plumbed {
    fn drop(&mut self) {
        self.node = None;
        if let Some(z) = &self.zone_name {
            self.ip.leave(z);
        }
    }
}

impl Plumbed {
    /// Whether anybody looks: [`Plumbed::sees`] does nothing else.
    pub fn is_watched(&self) -> bool {
        let interface = self.node.as_ref().and_then(|n| n.interface.as_ref());
        interface.is_some_and(|i| i.observed(Family::V4) || i.observed(Family::V6))
    }

    /// Shows a frame of the guest to whoever looks, unless it is none of IP. Costs nothing when
    /// nobody does.
    pub fn sees(&self, direction: Direction, frame: &[u8]) {
        let interface = self.node.as_ref().and_then(|n| n.interface.as_ref());
        let Some(interface) = interface.filter(|_| self.is_watched()) else { return };
        let Some((family, packet, to)) = parse(frame) else { return };
        let mine = direction == Direction::In && self.addresses.contains(&to);
        let (from_zone, to_zone) = match direction {
            Direction::In if mine => (UNKNOWN_ZONE, self.zone),
            Direction::In => (UNKNOWN_ZONE, UNKNOWN_ZONE),
            Direction::Out | Direction::Local => (self.zone, UNKNOWN_ZONE),
        };
        interface.observe(family, Seen { direction, from_zone, to_zone, group: 0 }, packet);
    }
}

/// The IP packet in a frame, without what Ethernet appends to short ones, and its destination.
fn parse(frame: &[u8]) -> Option<(Family, &[u8], IpAddr)> {
    let packet = frame.get(ETHERNET_HEADER..)?;
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    match frame.get(12..14)? {
        [0x08, 0x00] => {
            let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            let packet = packet.get(..word(2)?.into())?;
            Some((Family::V4, packet, to.into()))
        }
        [0x86, 0xdd] => {
            let to: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            let packet = packet.get(..40 + usize::from(word(4)?))?;
            Some((Family::V6, packet, to.into()))
        }
        _ => None,
    }
}

/// The address every IPv6 host has, from its hardware address (RFC 4291 appendix A).
pub fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let low = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from(0xfe80_u128 << 112 | u128::from(low))
}

/// Makes the node of an interface when the driver has that. The error is a sentence.
pub fn add_node(nodes: &Server, path: &str) -> Result<(), String> {
    wait_for(path, true);
    nodes.add(path, MODE).map_err(|e| format!("{path}: {e}"))
}

/// Waits until the driver, if it is loaded, has heard of an interface or of its end.
fn wait_for(path: &str, there: bool) {
    let until = Instant::now() + PATIENCE;
    while dev::is_there("/dev/lo0") && dev::is_there(path) != there && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_frames() {
        let mut v4 = vec![0; 60];
        v4[12] = 8;
        v4[14] = 0x45;
        v4[17] = 28;
        v4[30..34].copy_from_slice(&[10, 0, 0, 2]);
        let (family, packet, to) = parse(&v4).unwrap();
        assert_eq!((family, packet.len(), to), (Family::V4, 28, [10, 0, 0, 2].into()));
        assert_eq!(parse(&v4[..40]), None, "cut off");
        let mut v6 = vec![0; 62];
        v6[12..14].copy_from_slice(&[0x86, 0xdd]);
        v6[19] = 8;
        v6[53] = 9;
        let (family, packet, to) = parse(&v6).unwrap();
        assert_eq!((family, packet.len()), (Family::V6, 48));
        assert_eq!(to, Ipv6Addr::from(9u128));
        v6[13] = 0xdc;
        assert_eq!(parse(&v6), None);
        for n in 0..34 {
            assert_eq!(parse(&v4[..n]), None);
        }
    }
}
