// SPDX-License-Identifier: CDDL-1.0
//! Interfaces and addresses, by rtnetlink(7): asked for once, then changed as the kernel tells.

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::IpAddr;

/// Groups of messages: RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR.
const GROUPS: [u32; 3] = [1, 5, 9];

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Whether its packets begin with an Ethernet header.
    pub ethernet: bool,
    /// Whether it bonds others.
    bond: bool,
    /// Index of the interface that controls it.
    controller: Option<u32>,
}

/// The interfaces and addresses of a network namespace.
#[derive(Debug)]
pub struct Table {
    socket: Socket,
    interfaces: BTreeMap<u32, Interface>,
    addresses: HashSet<(u32, IpAddr)>,
}

impl Table {
    /// As they are now, in the namespace of this thread.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn new() -> io::Result<Table> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let (interfaces, addresses) = (BTreeMap::new(), HashSet::new());
        let mut table = Table { socket, interfaces, addresses };
        // Changes are told from here on, so none falls between question and answer.
        GROUPS.iter().try_for_each(|group| table.socket.add_membership(*group))?;
        table.ask()?;
        Ok(table)
    }

    fn ask(&mut self) -> io::Result<()> {
        self.interfaces.clear();
        self.addresses.clear();
        self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))
    }

    fn dump(&mut self, question: RouteNetlinkMessage) -> io::Result<()> {
        let payload = NetlinkPayload::from(question);
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
        message.header.flags = NLM_F_DUMP | NLM_F_REQUEST;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        while !self.receive(0)? {}
        Ok(())
    }

    /// Takes the next messages; true if they end an answer.
    fn receive(&mut self, flags: i32) -> io::Result<bool> {
        let mut bytes = Vec::with_capacity(64 << 10);
        self.socket.recv(&mut bytes, flags)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let bad = |e| io::Error::new(io::ErrorKind::InvalidData, e);
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(bad)?;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(e) => return Err(e.to_io()),
                NetlinkPayload::InnerMessage(message) => self.apply(message),
                _ => {}
            }
            // Messages begin at multiples of four.
            let length = (message.header.length as usize).next_multiple_of(4).max(4);
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(false)
    }

    /// Takes what has changed since.
    ///
    /// # Errors
    /// The kernel says that it cannot tell.
    pub fn update(&mut self) -> io::Result<()> {
        loop {
            match self.receive(libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Some changes are lost: everything is asked for again.
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => self.ask()?,
                Err(e) => return Err(e),
            }
        }
    }

    fn apply(&mut self, message: RouteNetlinkMessage) {
        match message {
            RouteNetlinkMessage::NewLink(l) => {
                self.interfaces.insert(l.header.index, interface(&l));
            }
            RouteNetlinkMessage::DelLink(l) => {
                self.interfaces.remove(&l.header.index);
                self.addresses.retain(|(index, _)| *index != l.header.index);
            }
            RouteNetlinkMessage::NewAddress(a) => self.addresses.extend(address(&a)),
            RouteNetlinkMessage::DelAddress(a) => {
                address(&a).map(|a| self.addresses.remove(&a));
            }
            _ => {}
        }
    }

    /// The interface of this name, and its index.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(u32, &Interface)> {
        self.interfaces.iter().find(|(_, i)| i.name == name).map(|(index, i)| (*index, i))
    }

    /// Names of all, in the order of their indexes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.interfaces.values().map(|i| i.name.as_str())
    }

    /// Whether an interface has this address.
    #[must_use]
    pub fn is_local(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|(_, a)| *a == ip)
    }

    /// Index of the bond that an interface is part of.
    #[must_use]
    pub fn bond_of(&self, index: u32) -> Option<u32> {
        let controller = self.interfaces.get(&index)?.controller?;
        self.interfaces.get(&controller)?.bond.then_some(controller)
    }
}

fn interface(l: &LinkMessage) -> Interface {
    let loopback = l.header.flags.contains(LinkFlags::Loopback);
    let ethernet = loopback || l.header.link_layer_type == LinkLayerType::Ether;
    let name = String::new();
    let mut i = Interface { name, loopback, ethernet, bond: false, controller: None };
    for attribute in &l.attributes {
        match attribute {
            LinkAttribute::IfName(name) => i.name.clone_from(name),
            LinkAttribute::Controller(index) => i.controller = Some(*index),
            LinkAttribute::LinkInfo(all) => {
                i.bond = all.iter().any(|a| matches!(a, LinkInfo::Kind(InfoKind::Bond)));
            }
            _ => {}
        }
    }
    i
}

/// The address of a message: where there is a peer, the other attribute is the peer's.
fn address(a: &AddressMessage) -> Option<(u32, IpAddr)> {
    let local = a.attributes.iter().find_map(|a| match a {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let any = a.attributes.iter().find_map(|a| match a {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    });
    Some((a.header.index, local.or(any)?))
}
