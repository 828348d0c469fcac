// SPDX-License-Identifier: CDDL-1.0
//! Interfaces of this machine (Linux): links as they are, and the IP layer as ipnet would show it.
//!
//! A network namespace is what an exclusive-IP zone is: its zone id is the namespace's inode, and 0 is
//! the one that snoop runs in. An interface's packets are `in` or `out`; those of the loopback
//! interface are `local`. Linux takes packets to an address of the machine's own over that one,
//! whatever interface has the address.

use super::{Error, Next, PATIENCE, Source, Why};
use crate::decode::link::{Ipnet, ethertype};
use crate::packet::{LinkType, Packet};
use packet_socket::{Mode, Seen, Socket, Table, Way};
use std::io;
use std::net::IpAddr;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Frames of the link (`-d`); of others' stations too, if asked for.
    Link {
        /// Whether to ask.
        promiscuous: bool,
    },
    /// IP packets (`-I`), without a change to the interface.
    Ip,
}

struct Interface {
    name: String,
    /// The zone, and what tells local addresses, where packets get the header of ipnet.
    ip: Option<(u32, Table)>,
    loopback: bool,
    socket: Socket,
}

/// Starts to watch an interface, in a network namespace if one is named.
///
/// # Errors
/// There is no such interface or namespace, or this user may not watch it.
pub fn interface(
    name: &str,
    layer: Layer,
    namespace: Option<&str>,
) -> Result<Box<dyn Source>, Error> {
    let opened = match namespace {
        None => open(name, layer, 0),
        Some(zone) => packet_socket::inside(zone, |inode| open(name, layer, inode)),
    };
    match opened {
        Ok(source) => Ok(Box::new(source)),
        Err(e) => Err(Error { name: name.into(), why: Why::Io(explained(e, namespace)) }),
    }
}

/// What to do about an error that people meet.
fn explained(e: io::Error, namespace: Option<&str>) -> io::Error {
    let text = match (e.kind(), namespace) {
        (io::ErrorKind::PermissionDenied, _) => {
            "to watch this machine's interfaces takes root, or the capability CAP_NET_RAW; \
            with -R ROOT the interfaces of a simulated host are meant"
                .to_owned()
        }
        (io::ErrorKind::NotFound, Some(zone)) if e.raw_os_error().is_some() => {
            format!("there is no network namespace {zone}; \"ip netns list\" shows those there are")
        }
        _ => return e,
    };
    io::Error::new(e.kind(), text)
}

fn open(name: &str, layer: Layer, zone: u32) -> io::Result<Interface> {
    let table = Table::new()?;
    let Some((index, found)) = table.find(name) else {
        let names: Vec<&str> = table.names().collect();
        let why = format!("this machine has no such interface; there are {}", names.join(", "));
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    };
    let loopback = found.loopback;
    let (mode, promiscuous) = match layer {
        Layer::Link { .. } if !found.ethernet => {
            let why = "this link does not carry Ethernet frames; -I shows its IP packets";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        Layer::Link { promiscuous } => (Mode::Link, promiscuous),
        Layer::Ip => (Mode::Payload, false),
    };
    let socket = Socket::open(mode, index, loopback, promiscuous)?;
    let ip = (layer == Layer::Ip).then_some((zone, table));
    Ok(Interface { name: name.into(), ip, loopback, socket })
}

impl Source for Interface {
    fn name(&self) -> &str {
        &self.name
    }

    fn link(&self) -> Option<LinkType> {
        Some(if self.ip.is_some() { LinkType::Ipnet } else { LinkType::Ethernet })
    }

    fn next(&mut self) -> Result<Next, Why> {
        if let Some((_, table)) = &mut self.ip {
            table.update()?;
        }
        let seen = match self.socket.next(PATIENCE) {
            Ok(Some(seen)) => seen,
            Ok(None) => return Ok(Next::Nothing),
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NETDOWN.raw_os_error()) => {
                return Err(Why::Gone);
            }
            Err(e) => return Err(e.into()),
        };
        let Some((zone, table)) = &self.ip else {
            let (time, length) = (seen.time, seen.length);
            let bytes = seen.bytes.to_vec();
            return Ok(Next::Packet(Packet { time, link: LinkType::Ethernet, bytes, length }));
        };
        let Some(header) = header(&seen, *zone, table, self.loopback) else {
            return Ok(Next::Nothing);
        };
        let bytes = [&header.encode()[..], seen.bytes].concat();
        let length = Ipnet::LEN + seen.length;
        Ok(Next::Packet(Packet { time: seen.time, link: LinkType::Ipnet, bytes, length }))
    }

    fn dropped(&mut self) -> Option<u64> {
        self.socket.dropped().ok()
    }
}

/// The header that ipnet would give a packet (spec/ipnet.md 1 and 3); `None` if it is not of IP.
fn header(seen: &Seen<'_>, zone: u32, table: &Table, loopback: bool) -> Option<Ipnet> {
    let address = |at: usize, len: usize| match seen.bytes.get(at..at + len)? {
        b if len == 4 => <[u8; 4]>::try_from(b).ok().map(IpAddr::from),
        b => <[u8; 16]>::try_from(b).ok().map(IpAddr::from),
    };
    let (family, dst) = match seen.ethertype {
        ethertype::IPV4 => (Ipnet::INET, address(16, 4)),
        ethertype::IPV6 => (Ipnet::INET6, address(24, 16)),
        _ => return None,
    };
    let to = match dst {
        Some(dst) if table.is_local(dst) => zone,
        _ => Ipnet::NO_ZONE,
    };
    let (htype, zsrc, zdst) = match seen.way {
        _ if loopback => (2, zone, zone),
        Way::In => (0, Ipnet::NO_ZONE, to),
        Way::Out => (1, zone, Ipnet::NO_ZONE),
    };
    Some(Ipnet {
        version: 1,
        family,
        htype,
        pktlen: seen.bytes.len() as u32,
        ifindex: seen.index,
        grifindex: table.bond_of(seen.index).unwrap_or(0),
        zsrc,
        zdst,
    })
}
