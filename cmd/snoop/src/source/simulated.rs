// SPDX-License-Identifier: CDDL-1.0
//! Links and the underlay of a simulated host, by the captures that fakekerneld offers: a pcapng file
//! without an end, which says with each packet how many were lost before it.

use super::file::Packets;
use super::{Error, FileError, Next, PATIENCE, Source, Why};
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

/// Starts to capture a link, or the datagrams between hosts if it is `underlay`.
///
/// # Errors
/// No fakekerneld runs there, or it has no such link.
pub fn link(root: &Root, name: &str) -> Result<Box<dyn Source>, Error> {
    let open = || {
        let captured = Client::open(root)?.capture(Capture { link: name.into(), count: None })?;
        captured.set_patience(PATIENCE)?;
        Ok(captured)
    };
    let from = open().map_err(|e: ClientError| Error { name: name.into(), why: e.into() })?;
    let link = if name == UNDERLAY { LinkType::Raw } else { LinkType::Ethernet };
    Ok(Box::new(Link { packets: Packets::new(name.into(), from), link }))
}
