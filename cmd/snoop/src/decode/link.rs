// SPDX-License-Identifier: CDDL-1.0
//! Below IP: Ethernet, 802.1Q tags, ARP, and the header that ipnet puts before a packet.

use super::cursor::Cursor;
use crate::field::Fields;
use overlay_abi::ids::MacAddr;
use std::net::Ipv4Addr;

/// Ethertypes that are decoded further.
pub mod ethertype {
    #![allow(missing_docs)]
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const RARP: u16 = 0x8035;
    pub const VLAN: u16 = 0x8100;
    pub const IPV6: u16 = 0x86dd;
    pub const QINQ: u16 = 0x88a8;

    /// What people call it.
    #[must_use]
    pub fn name(n: u16) -> Option<&'static str> {
        Some(match n {
            IPV4 => "IP",
            ARP => "ARP",
            RARP => "RARP",
            VLAN => "VLAN",
            IPV6 => "IPv6",
            QINQ => "VLAN",
            0x8809 => "LACP",
            0x88cc => "LLDP",
            _ => return None,
        })
    }
}

/// `IP`, or the number.
fn type_name(n: u16) -> String {
    ethertype::name(n).map_or_else(|| format!("0x{n:04x}"), str::to_owned)
}

/// An Ethernet header, 14 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ether {
    /// To whom.
    pub dst: MacAddr,
    /// From whom.
    pub src: MacAddr,
    /// What follows; up to 1500 it is the length of an IEEE 802.3 frame.
    pub ethertype: u16,
}

impl Ether {
    pub(super) fn decode(c: &mut Cursor<'_>) -> Option<Ether> {
        Some(Ether { dst: c.mac()?, src: c.mac()?, ethertype: c.u16()? })
    }

    pub(super) fn summary(&self) -> String {
        format!("{} -> {} type {}", self.src, self.dst, type_name(self.ethertype))
    }

    pub(super) fn fields(&self) -> Fields {
        Fields::default().with("destination", self.dst).with("source", self.src).hex(
            "ethertype",
            self.ethertype,
            4,
        )
    }
}

/// An 802.1Q tag behind its ethertype, 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// 0 to 4095.
    pub id: u16,
    /// 0 to 7.
    pub priority: u8,
    /// May be dropped first.
    pub drop_eligible: bool,
    /// What follows.
    pub ethertype: u16,
}

impl Vlan {
    pub(super) fn decode(c: &mut Cursor<'_>) -> Option<Vlan> {
        let tci = c.u16()?;
        let ethertype = c.u16()?;
        let priority = (tci >> 13) as u8;
        Some(Vlan { id: tci & 0xfff, priority, drop_eligible: tci & 0x1000 != 0, ethertype })
    }

    pub(super) fn summary(&self) -> String {
        format!("id {} type {}", self.id, type_name(self.ethertype))
    }

    pub(super) fn fields(&self) -> Fields {
        Fields::default()
            .with("id", self.id)
            .with("priority", self.priority)
            .with("drop_eligible", self.drop_eligible)
            .hex("ethertype", self.ethertype, 4)
    }
}

/// ARP for IPv4 over Ethernet (RFC 826), 28 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1 asks, 2 answers; 3 and 4 in RARP.
    pub op: u16,
    /// Of the sender.
    pub sender_mac: MacAddr,
    /// Of the sender.
    pub sender_ip: Ipv4Addr,
    /// Of the target.
    pub target_mac: MacAddr,
    /// Of the target.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// `Err`: for something else than IPv4 over Ethernet.
    pub(super) fn decode(c: &mut Cursor<'_>) -> Option<Result<Arp, String>> {
        let (hardware, protocol, lengths) = (c.u16()?, c.u16()?, c.array::<2>()?);
        if (hardware, protocol, lengths) != (1, ethertype::IPV4, [6, 4]) {
            return Some(Err(format!("for hardware {hardware} and protocol 0x{protocol:04x}")));
        }
        Some(Ok(Arp {
            op: c.u16()?,
            sender_mac: c.mac()?,
            sender_ip: c.v4()?,
            target_mac: c.mac()?,
            target_ip: c.v4()?,
        }))
    }

    pub(super) fn summary(&self) -> String {
        match self.op {
            1 if self.sender_ip == self.target_ip => format!("C Who is {} ? mine", self.target_ip),
            1 => format!("C Who is {}, {} asks", self.target_ip, self.sender_ip),
            2 => format!("R {} is {}", self.sender_ip, self.sender_mac),
            3 => format!("C Who is {} (RARP)", self.target_mac),
            4 => format!("R {} is {} (RARP)", self.target_mac, self.target_ip),
            op => format!("operation {op}"),
        }
    }

    pub(super) fn fields(&self) -> Fields {
        Fields::default()
            .with("operation", self.op)
            .with("sender_mac", self.sender_mac)
            .with("sender_ip", self.sender_ip)
            .with("target_mac", self.target_mac)
            .with("target_ip", self.target_ip)
    }
}

/// The header of ipnet, `dl_ipnetinfo_t`, 24 bytes, big-endian (spec/ipnet.md 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipnet {
    /// 1.
    pub version: u8,
    /// [`Ipnet::INET`] or [`Ipnet::INET6`], illumos' numbers everywhere.
    pub family: u8,
    /// 0 received, 1 sent, 2 looped back.
    pub htype: u16,
    /// Bytes of the IP packet.
    pub pktlen: u32,
    /// The interface that the packet used.
    pub ifindex: u32,
    /// Of its IPMP group, 0 without one.
    pub grifindex: u32,
    /// Source zone.
    pub zsrc: u32,
    /// Destination zone.
    pub zdst: u32,
}

impl Ipnet {
    /// Bytes of the header.
    pub const LEN: usize = 24;
    /// Where [`Ipnet::pktlen`] is.
    pub const PKTLEN: std::ops::Range<usize> = 4..8;
    /// `AF_INET`.
    pub const INET: u8 = 2;
    /// `AF_INET6` of illumos.
    pub const INET6: u8 = 26;
    /// A zone that is not known, `ALL_ZONES`.
    pub const NO_ZONE: u32 = u32::MAX;

    pub(super) fn decode(c: &mut Cursor<'_>) -> Option<Ipnet> {
        Some(Ipnet {
            version: c.u8()?,
            family: c.u8()?,
            htype: c.u16()?,
            pktlen: c.u32()?,
            ifindex: c.u32()?,
            grifindex: c.u32()?,
            zsrc: c.u32()?,
            zdst: c.u32()?,
        })
    }

    /// As on the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; Ipnet::LEN] {
        let mut bytes = [0; Ipnet::LEN];
        let [h0, h1] = self.htype.to_be_bytes();
        let words = [self.pktlen, self.ifindex, self.grifindex, self.zsrc, self.zdst];
        let words = words.into_iter().flat_map(u32::to_be_bytes);
        let all = [self.version, self.family, h0, h1].into_iter().chain(words);
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        bytes
    }

    fn direction(&self) -> String {
        match self.htype {
            0 => "in".into(),
            1 => "out".into(),
            2 => "local".into(),
            n => format!("type {n}"),
        }
    }

    pub(super) fn summary(&self) -> String {
        let zone = |z| match z {
            Ipnet::NO_ZONE => "-".to_owned(),
            z => z.to_string(),
        };
        let group = match self.grifindex {
            0 => String::new(),
            n => format!(" group {n}"),
        };
        format!(
            "{} interface {}{group} zone {} to {}",
            self.direction(),
            self.ifindex,
            zone(self.zsrc),
            zone(self.zdst)
        )
    }

    pub(super) fn fields(&self) -> Fields {
        let zone = |z| (z != Ipnet::NO_ZONE).then_some(z);
        Fields::default()
            .with("version", self.version)
            .with("family", self.family)
            .with("direction", self.direction())
            .with("length", self.pktlen)
            .with("ifindex", self.ifindex)
            .with("group_ifindex", self.grifindex)
            .maybe("source_zone", zone(self.zsrc))
            .maybe("destination_zone", zone(self.zdst))
    }
}
