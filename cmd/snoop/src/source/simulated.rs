// SPDX-License-Identifier: CDDL-1.0
//! Links and the underlay of a simulated host, by the captures that fakekerneld offers: a pcap file
//! without an end. It does not tell how many packets a slow reader misses.

use super::file::Packets;
use super::{Error, Next, Source, Why};
use crate::packet::LinkType;
use devctl::Root;
use fkadm::client::Client;
use fkadm::proto::{Capture, UNDERLAY};
use std::io::Read;

struct Link {
    packets: Packets<Box<dyn Read + Send>>,
    link: LinkType,
}

impl Source for Link {
    fn name(&self) -> &str {
        self.packets.name()
    }

    fn link(&self) -> Option<LinkType> {
        Some(self.link)
    }

    fn next(&mut self) -> Result<Next, Why> {
        self.packets.next()
    }

    fn dropped(&mut self) -> Option<u64> {
        None
    }
}

/// Starts to capture a link, or the datagrams between hosts if it is `underlay`.
///
/// # Errors
/// No fakekerneld runs there, or it has no such link.
pub fn link(root: &Root, name: &str) -> Result<Box<dyn Source>, Error> {
    let open = || Client::open(root)?.capture(Capture { link: name.into(), count: None });
    let from = open().map_err(|e| Error { name: name.into(), why: e.into() })?;
    let link = if name == UNDERLAY { LinkType::Raw } else { LinkType::Ethernet };
    Ok(Box::new(Link { packets: Packets::new(name.into(), Box::new(from)), link }))
}
