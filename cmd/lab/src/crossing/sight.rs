// SPDX-License-Identifier: CDDL-1.0
//! What a captured packet is, as far as it is judged.

use super::flows::DATA;
use snoop::decode::icmp::Body;
use snoop::decode::{Decoder, Layer};
use snoop::packet::Packet;
use std::net::IpAddr;
use std::time::Duration;

/// A frame of IP or ARP, bare or in a datagram.
#[derive(Debug, PartialEq, Eq)]
pub struct Sight {
    /// Sender of the datagram and virtual network, if the frame is in one.
    pub outer: Option<(IpAddr, u32)>,
    /// VLAN id, 0 without a tag.
    pub vlan: u16,
    /// Who sent the packet.
    pub src: IpAddr,
    /// To whom.
    pub dst: IpAddr,
    /// Of an echo request or its reply.
    pub echo: Option<Echo>,
}

/// A ping.
#[derive(Debug, PartialEq, Eq)]
pub struct Echo {
    /// Whether it is the reply.
    pub reply: bool,
    /// Number in its series.
    pub seq: u16,
    /// When the request was made.
    pub made: Duration,
}

impl Sight {
    /// `None` for anything else.
    pub fn of(decoder: &mut Decoder, packet: &Packet) -> Option<Sight> {
        let (mut from, mut outer, mut in_frame, mut vlan) = (None, None, false, 0);
        let (mut ends, mut echo) = (None, None);
        for layer in decoder.decode(packet).iter() {
            match layer {
                Layer::Vxlan(v) => outer = Some((from?, v.vnet)),
                Layer::Ether(_) => in_frame = true,
                Layer::Vlan(v) => vlan = v.id,
                // Without a frame around it, it is of the underlay.
                Layer::Ipv4(ip) if !in_frame => from = Some(ip.src.into()),
                Layer::Ipv6(ip) if !in_frame => from = Some(ip.src.to_canonical()),
                Layer::Arp(arp) => ends = Some((arp.sender_ip.into(), arp.target_ip.into())),
                Layer::Ipv4(ip) => ends = Some((ip.src.into(), ip.dst.into())),
                Layer::Ipv6(ip) => ends = Some((ip.src.into(), ip.dst.into())),
                Layer::Icmp(icmp) => {
                    let Body::Echo { seq, .. } = icmp.body else { continue };
                    let reply = matches!(icmp.kind, 0 | 129);
                    echo = made(packet).map(|made| Echo { reply, seq, made });
                }
                _ => {}
            }
        }
        let (src, dst) = ends?;
        Some(Sight { outer, vlan, src, dst, echo })
    }
}

/// The data of a ping is what a packet ends with.
fn made(packet: &Packet) -> Option<Duration> {
    let start = packet.bytes.len().checked_sub(DATA.into())?;
    let stamp = packet.bytes.get(start..)?.first_chunk()?;
    Some(Duration::from_nanos(u64::from_be_bytes(*stamp)))
}
