// SPDX-License-Identifier: CDDL-1.0
//! What is true of a packet.

use super::{Protocol, Side, Test};
use crate::decode::icmp::{Icmp, Version};
use crate::decode::link::{Ipnet, ethertype};
use crate::decode::{Layer, Layers, ip};
use crate::packet::Packet;
use overlay_abi::ids::MacAddr;
use std::net::IpAddr;

impl Side {
    /// Whether `is` of the end or ends that are meant.
    fn of<T: Copy>(self, (src, dst): (T, T), is: impl Fn(T) -> bool) -> bool {
        match self {
            Side::Src => is(src),
            Side::Dst => is(dst),
            Side::Any => is(src) || is(dst),
        }
    }
}

impl Protocol {
    fn is(self, layer: &Layer<'_>) -> bool {
        match (self, layer) {
            (Protocol::Ip, Layer::Ipv4(_))
            | (Protocol::Ip6, Layer::Ipv6(_))
            | (Protocol::Tcp, Layer::Tcp(_))
            | (Protocol::Udp, Layer::Udp(_))
            | (Protocol::Dhcp, Layer::Dhcp(_))
            | (Protocol::Vxlan, Layer::Vxlan(_))
            | (Protocol::Svp, Layer::Svp(_))
            | (Protocol::Icmp, Layer::Icmp(Icmp { version: Version::V4, .. }))
            | (Protocol::Icmp6, Layer::Icmp(Icmp { version: Version::V6, .. })) => true,
            (Protocol::Arp, Layer::Arp(arp)) => arp.op < 3,
            (Protocol::Rarp, Layer::Arp(arp)) => arp.op >= 3,
            // A fragment that is not the first has no header of its protocol.
            (Protocol::Tcp, _) => carries(layer, ip::protocol::TCP),
            (Protocol::Udp, _) => carries(layer, ip::protocol::UDP),
            (Protocol::Icmp, Layer::Ipv4(_)) => carries(layer, ip::protocol::ICMP),
            (Protocol::Icmp6, Layer::Ipv6(_)) => carries(layer, ip::protocol::ICMP6),
            _ => false,
        }
    }
}

fn carries(layer: &Layer<'_>, protocol: u8) -> bool {
    match layer {
        Layer::Ipv4(ip) => ip.protocol == protocol,
        Layer::Ipv6(ip) => ip.next == protocol,
        Layer::Extension(e) => e.next == protocol,
        _ => false,
    }
}

/// Source and destination of a layer that has such.
fn ips(layer: &Layer<'_>) -> Option<(IpAddr, IpAddr)> {
    match layer {
        Layer::Ipv4(ip) => Some((ip.src.into(), ip.dst.into())),
        Layer::Ipv6(ip) => Some((ip.src.into(), ip.dst.into())),
        Layer::Arp(arp) => Some((arp.sender_ip.into(), arp.target_ip.into())),
        _ => None,
    }
}

fn macs(layer: &Layer<'_>) -> Option<(MacAddr, MacAddr)> {
    match layer {
        Layer::Ether(e) => Some((e.src, e.dst)),
        _ => None,
    }
}

fn ports(layer: &Layer<'_>, protocol: Option<Protocol>) -> Option<(u16, u16)> {
    match (layer, protocol) {
        (Layer::Tcp(tcp), None | Some(Protocol::Tcp)) => Some((tcp.src, tcp.dst)),
        (Layer::Udp(udp), None | Some(Protocol::Udp)) => Some((udp.src, udp.dst)),
        _ => None,
    }
}

fn ethertypes(layer: &Layer<'_>) -> Option<u16> {
    match layer {
        Layer::Ether(e) => Some(e.ethertype),
        Layer::Vlan(v) => Some(v.ethertype),
        Layer::Ipnet(Ipnet { family: Ipnet::INET, .. }) => Some(ethertype::IPV4),
        Layer::Ipnet(Ipnet { family: Ipnet::INET6, .. }) => Some(ethertype::IPV6),
        _ => None,
    }
}

impl Test {
    pub(super) fn is_true(&self, packet: &Packet, layers: &Layers<'_>) -> bool {
        let any = |is: &dyn Fn(&Layer<'_>) -> bool| layers.iter().any(is);
        match self {
            Test::Protocol(p) => any(&|l| p.is(l)),
            Test::Host(side, hosts) => {
                any(&|l| ips(l).is_some_and(|ends| side.of(ends, |a| hosts.contains(&a))))
            }
            Test::Net(side, net) => {
                any(&|l| ips(l).is_some_and(|ends| side.of(ends, |a| net.holds(a))))
            }
            Test::Ether(side, mac) => {
                any(&|l| macs(l).is_some_and(|ends| side.of(ends, |a| a == *mac)))
            }
            Test::Port(protocol, side, port) => {
                any(&|l| ports(l, *protocol).is_some_and(|ends| side.of(ends, |p| p == *port)))
            }
            Test::Zone(side, zone) => any(&|l| match l {
                Layer::Ipnet(i) => side.of((i.zsrc, i.zdst), |z| z == *zone),
                _ => false,
            }),
            Test::Ethertype(n) => any(&|l| ethertypes(l) == Some(*n)),
            Test::Vlan(id) => any(&|l| match l {
                Layer::Vlan(vlan) => id.is_none_or(|id| vlan.id == id),
                _ => false,
            }),
            Test::Vnet(id) => any(&|l| match l {
                Layer::Vxlan(vxlan) => id.is_none_or(|id| vxlan.vnet == id),
                _ => false,
            }),
            Test::Broadcast => any(&|l| match l {
                Layer::Ether(e) => e.dst == MacAddr::BROADCAST,
                Layer::Ipv4(ip) => ip.dst.is_broadcast(),
                _ => false,
            }),
            Test::Multicast => any(&|l| match l {
                Layer::Ether(e) => e.dst.is_multicast(),
                Layer::Ipv4(ip) => ip.dst.is_multicast() || ip.dst.is_broadcast(),
                Layer::Ipv6(ip) => ip.dst.is_multicast(),
                _ => false,
            }),
            // True of whole packets and of first fragments, as in snoop.
            Test::NoFragment => !any(&|l| match l {
                Layer::Ipv4(ip) => ip.fragment.is_some_and(|f| f.offset != 0),
                Layer::Extension(e) => e.fragment.is_some_and(|f| f.offset != 0),
                _ => false,
            }),
            Test::Compare(relation, left, right) => relation.holds(left, right, packet, layers),
        }
    }
}
