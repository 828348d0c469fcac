// SPDX-License-Identifier: CDDL-1.0
//! Links and IP interfaces by DLPI: of illumos, or ipnet of a simulated host.
//!
//! Our ipnet says of each packet when it was seen and how many were lost before. Others do not: their
//! packets get the time of their reading.

use super::{Error, Next, PATIENCE, Source, Why};
use crate::packet::{LinkType, Packet};
use devctl::Root;
use dlpi::{Dlpi, Node};
use overlay_abi::errno::Errno;

struct Watched {
    name: String,
    link: LinkType,
    dlpi: Dlpi,
    /// Packets lost so far, if that is told.
    dropped: Option<u64>,
}

/// Starts to watch a node of the host at `root`.
///
/// # Errors
/// There is no such node, this user may not watch it, or it is of another type of link.
pub fn node(root: &Root, node: Node<'_>, promiscuous: bool) -> Result<Box<dyn Source>, Error> {
    let (Node::Link { link: name, .. } | Node::Ipnet { interface: name, .. }) = node;
    let name = name.to_owned();
    let watch = || {
        let mut dlpi = Dlpi::open(root, node)?;
        let kind = dlpi.mac_type();
        let link = LinkType::from_dlpi(kind).ok_or(Why::LinkType(kind))?;
        dlpi.watch(promiscuous)?;
        Ok((link, dlpi))
    };
    match watch() {
        Ok((link, dlpi)) => {
            let dropped = dlpi.stamps().then_some(0);
            Ok(Box::new(Watched { name, link, dlpi, dropped }))
        }
        Err(why) => Err(Error { name, why: explained(root, node, why) }),
    }
}

/// What is said of an interface that is not there: those that are.
fn explained(root: &Root, node: Node<'_>, why: Why) -> Why {
    let Why::Dlpi(dlpi::Error::Open(e)) = &why else { return why };
    match node {
        Node::Ipnet { zone, .. } if e.errno == Errno::ENOENT => {
            let names = interfaces(root, zone).join(", ");
            match zone {
                Some(zone) => Why::NotOfZone { zone: zone.into(), links: names },
                // Nobody serves the nodes of this host.
                None if names.is_empty() => why,
                None => Why::NoInterface(names),
            }
        }
        _ => why,
    }
}

/// The IP interfaces that a host has, or one of its zones, by their names.
pub(super) fn interfaces(root: &Root, zone: Option<&str>) -> Vec<String> {
    let directory = zone.map_or("/dev/ipnet".into(), |z| format!("/dev/ipnet/zone/{z}"));
    let entries = std::fs::read_dir(root.path(directory)).into_iter().flatten().flatten();
    let nodes = entries.filter(|e| e.file_type().is_ok_and(|t| !t.is_dir()));
    let mut names: Vec<_> = nodes.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}

impl Source for Watched {
    fn name(&self) -> &str {
        &self.name
    }

    fn link(&self) -> Option<LinkType> {
        Some(self.link)
    }

    fn next(&mut self) -> Result<Next, Why> {
        Ok(match self.dlpi.next(PATIENCE)? {
            dlpi::Next::Packet(bytes, stamp) => {
                let mut packet = Packet::now(self.link, bytes);
                if let Some(stamp) = stamp {
                    packet.time = stamp.time;
                    self.lost(stamp.dropped);
                }
                Next::Packet(packet)
            }
            dlpi::Next::Nothing => Next::Nothing,
            dlpi::Next::Gone => return Err(Why::Gone),
        })
    }

    fn dropped(&mut self) -> Option<u64> {
        self.dropped
    }
}

impl Watched {
    /// So many were lost by now, modulo 2^32.
    fn lost(&mut self, dropped: u32) {
        let before = self.dropped.unwrap_or(0);
        let more = dropped.wrapping_sub(before as u32);
        self.dropped = Some(before + u64::from(more));
    }
}
