// SPDX-License-Identifier: CDDL-1.0
//! Links and the underlay of a simulated host, by the captures that fakekerneld offers: a pcapng file
//! without an end, which says with each packet how many were lost before it.

use super::file::Packets;
use super::{Error, FileError, Next, PATIENCE, Source, Why, dlpi};
use crate::packet::LinkType;
use devctl::Root;
use fkadm::client::{Captured, Client, Error as ClientError};
use fkadm::proto::{Capture, UNDERLAY};
use std::io;

struct Link {
    packets: Packets<Captured>,
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
        match self.packets.next() {
            Err(Why::File(FileError::Io(e))) if e.kind() == io::ErrorKind::WouldBlock => {
                Ok(Next::Nothing)
            }
            next => next,
        }
    }

    fn finish(&mut self) -> bool {
        self.packets.from().finish().is_ok()
    }

    fn dropped(&mut self) -> Option<u64> {
        Some(self.packets.dropped().unwrap_or(0))
    }
}

/// Starts to capture a link, or the datagrams between hosts if it is `underlay`. A link is of the
/// zone that has its guest.
///
/// # Errors
/// No fakekerneld runs there, or it has no such link, or the zone has not.
pub fn link(root: &Root, zone: Option<&str>, name: &str) -> Result<Box<dyn Source>, Error> {
    let open = || {
        let captured = Client::open(root)?.capture(Capture { link: name.into(), count: None })?;
        captured.set_patience(PATIENCE)?;
        Ok(captured)
    };
    let error = |why| Error { name: name.into(), why };
    if let Some(zone) = zone {
        of_zone(root, zone, name).map_err(error)?;
    }
    let from = open().map_err(|e: ClientError| error(e.into()))?;
    let link = if name == UNDERLAY { LinkType::Raw } else { LinkType::Ethernet };
    Ok(Box::new(Link { packets: Packets::new(name.into(), from), link }))
}

/// Whether a zone has a link: its guest's interface has the same name.
fn of_zone(root: &Root, zone: &str, name: &str) -> Result<(), Why> {
    let mut links = dlpi::interfaces(root, Some(zone));
    links.retain(|l| l != "lo0");
    match links.iter().any(|l| l == name) {
        true => Ok(()),
        false => Err(Why::NotOfZone { zone: zone.into(), links: links.join(", ") }),
    }
}
