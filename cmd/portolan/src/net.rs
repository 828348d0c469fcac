// SPDX-License-Identifier: CDDL-1.0
//! Addresses as text in JSON and as bytes in the store.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use svp::MacAddr;

/// The 16 bytes of an address, IPv4 as v4-mapped.
pub fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// An Ethernet address: text in JSON, six bytes in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub MacAddr);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        text.parse().map(Mac).map_err(|_| format!("{text}: not an Ethernet address"))
    }
}

/// Addresses of one prefix, such as `10.0.0.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subnet {
    /// IPv4 as v4-mapped; bits behind the prefix are zero.
    ip: Ipv6Addr,
    /// Counted in the v6 form.
    prefix: u8,
}

fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0)
}

impl Subnet {
    /// The subnet that `ip` lies in; a prefix over 128 is one of 128.
    pub fn from_v6(ip: Ipv6Addr, prefix: u8) -> Subnet {
        let prefix = prefix.min(128);
        Subnet { ip: Ipv6Addr::from(u128::from(ip) & mask(prefix)), prefix }
    }

    /// Its first address.
    pub fn address(self) -> Ipv6Addr {
        self.ip
    }

    /// Bits of the prefix, 96 added for IPv4.
    pub fn prefix_v6(self) -> u8 {
        self.prefix
    }

    /// Whether its addresses are v4-mapped.
    pub fn is_v4(self) -> bool {
        self.prefix >= 96 && self.ip.to_ipv4_mapped().is_some()
    }

    /// Bits of the prefix as people count them.
    pub fn prefix(self) -> u8 {
        if self.is_v4() { self.prefix - 96 } else { self.prefix }
    }

    /// Whether an address is one of them.
    pub fn contains(self, ip: Ipv6Addr) -> bool {
        u128::from(ip) & mask(self.prefix) == u128::from(self.ip)
    }

    /// The subnet of one address.
    pub fn of_one(ip: Ipv6Addr) -> Subnet {
        Subnet { ip, prefix: 128 }
    }

    /// Whether some address is in both.
    pub fn overlaps(self, other: Subnet) -> bool {
        match self.prefix <= other.prefix {
            true => self.contains(other.ip),
            false => other.contains(self.ip),
        }
    }

    /// Address and prefix, for keys.
    pub fn key(self) -> [u8; 17] {
        let mut key = [0; 17];
        key[..16].copy_from_slice(&self.ip.octets());
        key[16] = self.prefix;
        key
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip.to_ipv4_mapped().filter(|_| self.is_v4()) {
            Some(v4) => write!(f, "{v4}/{}", self.prefix()),
            None => write!(f, "{}/{}", self.ip, self.prefix),
        }
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Subnet, String> {
        let bad = || format!("{text}: not a subnet such as 10.0.0.0/24 or fd00::/64");
        let (ip, prefix) = text.split_once('/').ok_or_else(bad)?;
        let ip: IpAddr = ip.parse().map_err(|_| bad())?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        let (most, shift) = if ip.is_ipv4() { (32, 96) } else { (128, 0) };
        if prefix > most {
            return Err(bad());
        }
        let subnet = Subnet::from_v6(octets(ip).into(), prefix + shift);
        if subnet.ip.octets() != octets(ip) {
            return Err(format!("{text}: has bits behind its prefix, {subnet} has not"));
        }
        Ok(subnet)
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { self.0.0.serialize(s) }
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Mac, D::Error> {
        if d.is_human_readable() {
            String::deserialize(d)?.parse().map_err(de::Error::custom)
        } else {
            <[u8; 6]>::deserialize(d).map(|mac| Mac(MacAddr(mac)))
        }
    }
}

impl Serialize for Subnet {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match s.is_human_readable() {
            true => s.collect_str(self),
            false => (self.ip.octets(), self.prefix).serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Subnet, D::Error> {
        if d.is_human_readable() {
            return String::deserialize(d)?.parse().map_err(de::Error::custom);
        }
        let (ip, prefix) = <([u8; 16], u8)>::deserialize(d)?;
        let subnet = Subnet::from_v6(ip.into(), prefix);
        if (subnet.ip.octets(), subnet.prefix) != (ip, prefix) {
            return Err(de::Error::custom("bits behind the prefix"));
        }
        Ok(subnet)
    }
}
