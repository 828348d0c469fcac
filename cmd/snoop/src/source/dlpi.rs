// SPDX-License-Identifier: CDDL-1.0
//! Links and IP interfaces by DLPI: of illumos, or ipnet of a simulated host.
//!
//! Packets have no time of their own; they get that of their reading. The driver counts what it drops
//! for want of room, but only for all readers together, as a kstat.

use super::{Error, Next, PATIENCE, Source, Why};
use crate::packet::{LinkType, Packet};
use devctl::Root;
use dlpi::{Dlpi, Node};

struct Watched {
    name: String,
    link: LinkType,
    dlpi: Dlpi,
}

/// Starts to watch a node of the host at `root`.
///
/// # Errors
/// There is no such node, this user may not watch it, or it is of another type of link.
pub fn node(root: &Root, node: Node<'_>, promiscuous: bool) -> Result<Box<dyn Source>, Error> {
    let (Node::Link(name) | Node::Ipnet { interface: name, .. }) = node;
    let name = name.to_owned();
    let watch = || {
        let dlpi = Dlpi::open(root, node)?;
        let kind = dlpi.mac_type();
        let link = LinkType::from_dlpi(kind).ok_or(Why::LinkType(kind))?;
        dlpi.watch(promiscuous)?;
        Ok((link, dlpi))
    };
    match watch() {
        Ok((link, dlpi)) => Ok(Box::new(Watched { name, link, dlpi })),
        Err(why) => Err(Error { name, why }),
    }
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
            dlpi::Next::Packet(bytes) => Next::Packet(Packet::now(self.link, bytes)),
            dlpi::Next::Nothing => Next::Nothing,
            dlpi::Next::Gone => return Err(Why::Gone),
        })
    }

    fn dropped(&mut self) -> Option<u64> {
        None
    }
}
