// SPDX-License-Identifier: CDDL-1.0
//! Which layer follows which.

use super::checksum::{self, Sum};
use super::cursor::Cursor;
use super::dhcp::Dhcp;
use super::fragment::{self, Fragment, Fragments};
use super::icmp::{self, Icmp};
use super::ip::{Extension, Ipv4, Ipv6, protocol};
use super::layer::{Layer, Layers};
use super::link::{Arp, Ether, Ipnet, Vlan, ethertype};
use super::svp::{Key, Streams};
use super::transport::{Tcp, Udp, Vxlan, port};
use crate::packet::{LinkType, Packet};
use std::net::IpAddr;
use std::time::Duration;

/// Most layers of one packet; tags and headers in headers could go on for 64 KiB.
const MOST: usize = 64;

/// What bytes are to be read as.
#[derive(Clone, Copy, Debug)]
enum Next {
    Frame,
    Ipnet,
    /// By the version in the packet.
    Ip,
    Ethertype(u16),
    Protocol(u8),
    Dhcp,
    Vxlan,
    Data,
}

/// A packet on the way through its layers. `'a` are its bytes, `'s` is what the decoder remembers.
pub(super) struct Walk<'a, 's> {
    streams: &'s mut Streams,
    fragments: &'s mut Fragments,
    /// Room for packets that this one completes.
    wholes: &'a mut [Vec<u8>],
    packet: &'a Packet,
    layers: Vec<Layer<'a>>,
    /// Of the network that the layers now belong to.
    vnet: Option<u32>,
    /// Of the last IP header.
    ends: Option<(IpAddr, IpAddr)>,
    /// Whether all that the last IP header is of is here.
    complete: bool,
    /// Why bytes may be missing.
    missing: Option<&'static str>,
    /// Of the last IP header, if it is one: then no more than the next header is shown.
    fragment: Option<Fragment>,
}

impl<'a, 's> Walk<'a, 's> {
    pub(super) fn new(
        streams: &'s mut Streams,
        fragments: &'s mut Fragments,
        wholes: &'a mut [Vec<u8>],
        packet: &'a Packet,
    ) -> Walk<'a, 's> {
        let missing = (packet.bytes.len() < packet.length).then_some("not captured");
        Walk {
            streams,
            fragments,
            wholes,
            packet,
            layers: Vec::with_capacity(6),
            vnet: None,
            ends: None,
            complete: false,
            missing,
            fragment: None,
        }
    }

    pub(super) fn layers(mut self) -> Layers<'a> {
        let packet: &'a Packet = self.packet;
        let mut next = match packet.link {
            LinkType::Ethernet => Next::Frame,
            LinkType::Ipnet => Next::Ipnet,
            LinkType::Raw => Next::Ip,
        };
        let (mut rest, mut bytes) = (packet.bytes.as_slice(), Vec::with_capacity(6));
        loop {
            let step = self.step(next, rest);
            bytes.resize(self.layers.len(), rest);
            let Some((then, behind)) = step else { break };
            (next, rest) = (then, behind);
            if self.layers.len() >= MOST {
                self.bad("DATA", format!("more than {MOST} headers"));
                bytes.push(rest);
                break;
            }
        }
        Layers { layers: self.layers, bytes }
    }

    fn bad(&mut self, protocol: &'static str, what: String) {
        self.layers.push(Layer::Bad { protocol, why: format!("malformed: {what}") });
    }

    /// There are too few bytes for a header.
    fn short(&mut self, protocol: &'static str) -> Option<(Next, &'a [u8])> {
        match self.missing {
            Some(why) => self.layers.push(Layer::Bad { protocol, why: why.into() }),
            None => self.bad(protocol, "the packet is too short".into()),
        }
        None
    }

    /// Adds the layer at the front of `bytes`. Answers what follows it.
    fn step(&mut self, next: Next, bytes: &'a [u8]) -> Option<(Next, &'a [u8])> {
        let mut c = Cursor(bytes);
        match next {
            Next::Frame => {
                let Some(ether) = Ether::decode(&mut c) else { return self.short("ETHER") };
                self.layers.push(Layer::Ether(ether));
                Some((Next::Ethertype(ether.ethertype), c.0))
            }
            Next::Ipnet => {
                let Some(ipnet) = Ipnet::decode(&mut c) else { return self.short("IPNET") };
                self.layers.push(Layer::Ipnet(ipnet));
                let next = match ipnet.family {
                    Ipnet::INET => Next::Ethertype(ethertype::IPV4),
                    Ipnet::INET6 => Next::Ethertype(ethertype::IPV6),
                    _ => Next::Data,
                };
                Some((next, c.0))
            }
            Next::Ip => match bytes.first() {
                Some(first) if first >> 4 == 6 => Some((Next::Ethertype(ethertype::IPV6), bytes)),
                _ => Some((Next::Ethertype(ethertype::IPV4), bytes)),
            },
            Next::Ethertype(kind) => self.ethertype(kind, bytes),
            Next::Protocol(kind) => self.protocol(kind, bytes),
            Next::Dhcp => {
                let Some(dhcp) = Dhcp::decode(&mut c) else { return self.short("DHCP") };
                self.layers.push(Layer::Dhcp(dhcp));
                None
            }
            Next::Vxlan => match Vxlan::decode(&mut c) {
                None => self.short("VXLAN"),
                Some(Err(why)) => {
                    self.bad("VXLAN", why);
                    None
                }
                Some(Ok(vxlan)) => {
                    self.vnet = Some(vxlan.vnet);
                    self.layers.push(Layer::Vxlan(vxlan));
                    Some((Next::Frame, c.0))
                }
            },
            Next::Data => {
                if !bytes.is_empty() {
                    self.layers.push(Layer::Data(bytes));
                }
                None
            }
        }
    }

    fn ethertype(&mut self, kind: u16, bytes: &'a [u8]) -> Option<(Next, &'a [u8])> {
        let mut c = Cursor(bytes);
        match kind {
            ethertype::VLAN | ethertype::QINQ => {
                let Some(vlan) = Vlan::decode(&mut c) else { return self.short("VLAN") };
                self.layers.push(Layer::Vlan(vlan));
                Some((Next::Ethertype(vlan.ethertype), c.0))
            }
            ethertype::ARP | ethertype::RARP => {
                match Arp::decode(&mut c) {
                    None => return self.short("ARP"),
                    Some(Err(why)) => self.bad("ARP", why),
                    Some(Ok(arp)) => self.layers.push(Layer::Arp(arp)),
                }
                None
            }
            ethertype::IPV4 => match Ipv4::decode(bytes) {
                None => self.short("IP"),
                Some(Err(why)) => {
                    self.bad("IP", why);
                    None
                }
                Some(Ok((ip, payload))) => {
                    self.ends = Some((ip.src.into(), ip.dst.into()));
                    self.complete = ip.holds(payload);
                    self.fragment = None;
                    self.layers.push(Layer::Ipv4(ip));
                    match ip.fragment {
                        Some(f) => self.part(f, ip.protocol, ip.protocol, payload),
                        None => Some((Next::Protocol(ip.protocol), payload)),
                    }
                }
            },
            ethertype::IPV6 => match Ipv6::decode(bytes) {
                None => self.short("IPv6"),
                Some(Err(why)) => {
                    self.bad("IPv6", why);
                    None
                }
                Some(Ok((ip, payload))) => {
                    self.ends = Some((ip.src.into(), ip.dst.into()));
                    self.complete = usize::from(ip.length) == payload.len();
                    self.fragment = None;
                    self.layers.push(Layer::Ipv6(ip));
                    Some((Next::Protocol(ip.next), payload))
                }
            },
            _ => Some((Next::Data, bytes)),
        }
    }

    fn protocol(&mut self, kind: u8, bytes: &'a [u8]) -> Option<(Next, &'a [u8])> {
        let mut c = Cursor(bytes);
        match kind {
            protocol::ICMP => self.icmp(icmp::Version::V4, bytes),
            protocol::ICMP6 => self.icmp(icmp::Version::V6, bytes),
            protocol::IPIP => Some((Next::Ethertype(ethertype::IPV4), bytes)),
            protocol::IPV6 => Some((Next::Ethertype(ethertype::IPV6), bytes)),
            protocol::TCP => match Tcp::decode(&mut c) {
                None => self.short("TCP"),
                Some(Err(why)) => {
                    self.bad("TCP", why);
                    None
                }
                Some(Ok(mut tcp)) => {
                    tcp.sum = self.sum(kind, bytes, tcp.checksum);
                    self.layers.push(Layer::Tcp(tcp));
                    if self.fragment.is_some() || (tcp.src != port::SVP && tcp.dst != port::SVP) {
                        return Some((Next::Data, c.0));
                    }
                    self.svp(&tcp, c.0);
                    None
                }
            },
            protocol::UDP => match Udp::decode(&mut c) {
                None => self.short("UDP"),
                Some(Err(why)) => {
                    self.bad("UDP", why);
                    None
                }
                Some(Ok(mut udp)) => {
                    udp.sum = match (udp.checksum, bytes.get(..udp.length.into())) {
                        (0, _) | (_, None | Some([])) => Sum::Unchecked,
                        (sum, Some(message)) => self.sum(kind, message, sum),
                    };
                    self.layers.push(Layer::Udp(udp));
                    let next = match (udp.src, udp.dst) {
                        _ if self.fragment.is_some() => Next::Data,
                        (_, port::VXLAN) => Next::Vxlan,
                        (port::DHCP_CLIENT | port::DHCP_SERVER, port::DHCP_SERVER)
                        | (port::DHCP_SERVER, port::DHCP_CLIENT) => Next::Dhcp,
                        _ => Next::Data,
                    };
                    Some((next, c.0))
                }
            },
            _ if Extension::is(kind) => {
                let Some(e) = Extension::decode(kind, &mut c) else { return self.short("IPv6EXT") };
                self.layers.push(Layer::Extension(e));
                // A routing header may have the address that counts for checksums.
                self.complete &= kind != protocol::ROUTING;
                match e.fragment {
                    Some(f) => self.part(f, 0, e.next, c.0),
                    None => Some((Next::Protocol(e.next), c.0)),
                }
            }
            _ => Some((Next::Data, bytes)),
        }
    }

    fn icmp(&mut self, version: icmp::Version, bytes: &[u8]) -> Option<(Next, &'a [u8])> {
        let Some(mut icmp) = Icmp::decode(version, &mut Cursor(bytes)) else {
            return self.short(if version == icmp::Version::V4 { "ICMP" } else { "ICMPv6" });
        };
        icmp.sum = match version {
            icmp::Version::V4 if self.complete => checksum::header(bytes),
            icmp::Version::V4 => Sum::Unchecked,
            icmp::Version::V6 => self.sum(protocol::ICMP6, bytes, icmp.checksum),
        };
        self.layers.push(Layer::Icmp(icmp));
        None
    }

    /// Whether the checksum of a message is right.
    fn sum(&self, protocol: u8, message: &[u8], checksum: u16) -> Sum {
        match self.ends {
            Some(ends) if self.complete => checksum::message(ends, protocol, message, checksum),
            _ => Sum::Unchecked,
        }
    }

    /// Takes a fragment. With the last that comes, its packet goes on.
    fn part(
        &mut self,
        fragment: Fragment,
        of: u8,
        next: u8,
        payload: &'a [u8],
    ) -> Option<(Next, &'a [u8])> {
        if let (Some(ends), true) = (self.ends, self.complete)
            && let Some((room, others)) = std::mem::take(&mut self.wholes).split_first_mut()
        {
            let key = fragment::Key { vnet: self.vnet, ends, protocol: of, id: fragment.id };
            let now: Duration = self.packet.time;
            let put = self.fragments.put(key, (fragment, next), payload, now, room);
            self.wholes = others;
            if let Some((whole, protocol)) = put {
                self.layers.push(Layer::Whole(whole));
                return Some((Next::Protocol(protocol), room));
            }
        }
        self.complete = false;
        self.fragment = Some(fragment);
        self.missing = Some("in another fragment");
        Some((if fragment.offset == 0 { Next::Protocol(next) } else { Next::Data }, payload))
    }

    fn svp(&mut self, tcp: &Tcp<'_>, payload: &[u8]) {
        let Some((src, dst)) = self.ends else { return };
        let key = Key { vnet: self.vnet, src: (src, tcp.src), dst: (dst, tcp.dst) };
        let said = self.streams.segment(key, tcp, payload);
        self.layers.extend(said.into_iter().map(Layer::Svp));
    }
}
