// SPDX-License-Identifier: CDDL-1.0
//! Numbers and addresses that must not be mixed up, each with its own type.
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

/// `datalink_id_t`: the number of a datalink, given by dlmgmtd. 0 is "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct LinkId(pub u32);

/// Virtual network identifier, the VNI of RFC 7348 (24 bits there, up to 64 in other
/// encapsulations).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct VnetId(pub u64);

/// Number of a varpd instance, from 1 up to and without `INT32_MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct VarpdId(pub u64);

macro_rules! number {
    ($($t:ident($n:ty))*) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl From<$n> for $t {
            fn from(n: $n) -> Self {
                $t(n)
            }
        }
    )*};
}
number! { LinkId(u32) VnetId(u64) VarpdId(u64) }

/// An Ethernet address.
///
/// Shown as illumos does: lower case, no leading zeros (`2:8:20:aa:0:1`). Read leniently: one or
/// two hexadecimal digits a group, either case, like `ether_aton(3SOCKET)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);
    /// `0:0:0:0:0:0`
    pub const ZERO: MacAddr = MacAddr([0; 6]);

    /// Whether the group bit is set: multicast, broadcast included.
    pub fn is_multicast(self) -> bool {
        let [first, ..] = self.0;
        first & 1 != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{g:x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six groups of one or two hexadecimal digits with `:` between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadMac;

impl fmt::Display for BadMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid MAC address")
    }
}

impl core::error::Error for BadMac {}

impl FromStr for MacAddr {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Self, BadMac> {
        let mut groups = text.split(':');
        let mut mac = [0; 6];
        for byte in &mut mac {
            let group = groups.next().ok_or(BadMac)?;
            let hex = group.bytes().all(|b| b.is_ascii_hexdigit());
            if !hex || !(1..=2).contains(&group.len()) {
                return Err(BadMac);
            }
            *byte = u8::from_str_radix(group, 16).map_err(|_| BadMac)?;
        }
        if groups.next().is_some() { Err(BadMac) } else { Ok(MacAddr(mac)) }
    }
}

/// Where a frame is sent on the physical network: IPv6 address (IPv4 as v4-mapped) and UDP port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnderlayAddr {
    /// Network order; `::ffff:a.b.c.d` for IPv4.
    pub ip: [u8; 16],
    /// Host byte order.
    pub port: u16,
}

impl UnderlayAddr {
    /// An address of either family; IPv4 is stored v4-mapped.
    pub fn new(ip: IpAddr, port: u16) -> Self {
        UnderlayAddr { ip: mapped(ip), port }
    }

    /// The address with a v4-mapped one shown as IPv4.
    pub fn ip(&self) -> IpAddr {
        unmapped(self.ip)
    }
}

impl From<SocketAddr> for UnderlayAddr {
    fn from(addr: SocketAddr) -> Self {
        UnderlayAddr::new(addr.ip(), addr.port())
    }
}

/// `192.0.2.11:4789` or `[2001:db8::9]:4789`
impl fmt::Display for UnderlayAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.ip(), self.port).fmt(f)
    }
}

impl fmt::Debug for UnderlayAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The 16 bytes of `in6_addr` for an address of either family.
pub fn mapped(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address in an `in6_addr`, v4-mapped ones as IPv4.
pub fn unmapped(ip: [u8; 16]) -> IpAddr {
    let v6 = Ipv6Addr::from(ip);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), |v4: Ipv4Addr| IpAddr::V4(v4))
}
