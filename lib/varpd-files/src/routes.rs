// SPDX-License-Identifier: CDDL-1.0
//! What becomes of packets for routers (spec/varpd.md 7.4): which subnets there are, which of them
//! reach one another, and which hosts are in them; never changed once made.
//!
//! ```text
//!   source, VLAN ─► subnet of the link's network ─► its group ─► subnet of the destination
//!                                     ─► host with that address in that subnet's network and VLAN
//! ```
use overlay_abi::ids::{MacAddr, UnderlayAddr, VnetId, mapped};
use std::collections::HashMap;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of IPv6 addresses; those of IPv4 are v4-mapped, and 96 bits longer than written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    pub(crate) first: u128,
    pub(crate) last: u128,
}

impl Prefix {
    /// Whether an address is in it.
    pub fn holds(&self, ip: IpAddr) -> bool {
        (self.first..=self.last).contains(&u128::from_be_bytes(mapped(ip)))
    }

    /// Whether a host of it may have the address: the first is the subnet's own, unless it is all
    /// there is.
    fn holds_host(&self, ip: IpAddr) -> bool {
        let is_first = u128::from_be_bytes(mapped(ip)) == self.first && self.first != self.last;
        self.holds(ip) && !is_first
    }

    /// Its first address and its length in bits.
    pub fn parts(&self) -> ([u8; 16], u8) {
        let len = (self.first ^ self.last).leading_zeros();
        (self.first.to_be_bytes(), u8::try_from(len).unwrap_or(128))
    }
}

/// Without a length it is one address.
impl FromStr for Prefix {
    type Err = ();

    fn from_str(text: &str) -> Result<Prefix, ()> {
        let (ip, len) = match text.split_once('/') {
            Some((ip, len)) => (ip, Some(len)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(drop)?;
        let bits: u32 = if ip.is_ipv4() { 32 } else { 128 };
        let len = match len {
            Some(len) if len.bytes().all(|b| b.is_ascii_digit()) => len.parse().map_err(drop)?,
            Some(_) => return Err(()),
            None => bits,
        };
        let host_bits = bits.checked_sub(len).ok_or(())?;
        // All bits of ::/0.
        let hosts = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
        let ip = u128::from_be_bytes(mapped(ip));
        Ok(Prefix { first: ip & !hosts, last: ip | hosts })
    }
}

/// A subnet with a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its data center; `None` is the link's.
    pub dcid: Option<u32>,
    /// Its virtual network.
    pub vnet: VnetId,
    /// Its VLAN, 0 for untagged.
    pub vlan: u16,
    /// Its addresses.
    pub prefix: Prefix,
    /// The Ethernet address of its router.
    pub router: MacAddr,
    /// Those of the same group reach one another; `None` reaches nobody.
    pub group: Option<usize>,
}

/// Where a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Where frames for it go.
    pub point: UnderlayAddr,
}

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Routes {
    pub(crate) subnets: Vec<Subnet>,
    pub(crate) hosts: HashMap<(VnetId, u16, IpAddr), Place>,
}

impl Routes {
    /// What becomes of a packet of the link's network `vnet` in data center `dcid`, that came with this
    /// VLAN id: the subnet that it goes to and the host that it is for.
    pub fn find(
        &self,
        (vnet, dcid): (VnetId, u32),
        vlan: u16,
        src: IpAddr,
        dst: IpAddr,
    ) -> Option<(&Subnet, Place)> {
        let (src, dst) = (src.to_canonical(), dst.to_canonical());
        let from = self.subnets.iter().find(|s| {
            let here = s.dcid.is_none_or(|d| d == dcid) && s.vnet == vnet && s.vlan == vlan;
            here && s.prefix.holds_host(src)
        })?;
        let group = from.group?;
        let to =
            self.subnets.iter().find(|s| s.group == Some(group) && s.prefix.holds_host(dst))?;
        let place = self.hosts.get(&(to.vnet, to.vlan, dst))?;
        Some((to, *place))
    }

    /// Whether a packet may have another way by these. Without subnets there is none.
    pub fn differ(&self, other: &Routes) -> bool {
        self.subnets != other.subnets || !self.subnets.is_empty() && self.hosts != other.hosts
    }

    /// VLANs and prefixes that packets of a network may have come from.
    pub fn sources(&self, vnet: VnetId) -> impl Iterator<Item = (u16, Prefix)> {
        self.subnets.iter().filter(move |s| s.vnet == vnet).map(|s| (s.vlan, s.prefix))
    }
}
