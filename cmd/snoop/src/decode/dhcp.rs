// SPDX-License-Identifier: CDDL-1.0
//! DHCP (RFC 2131, options of RFC 2132).

use super::cursor::Cursor;
use crate::field::Fields;
use overlay_abi::ids::MacAddr;
use std::net::Ipv4Addr;

/// Bytes before the options that say that these are DHCP's.
const COOKIE: u32 = 0x6382_5363;

/// A message, at least 236 bytes; one of BOOTP has no options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dhcp<'a> {
    /// 1 from a client, 2 from a server.
    pub op: u8,
    /// Of the exchange.
    pub xid: u32,
    /// Since the client began.
    pub secs: u16,
    /// 0x8000: answer by broadcast.
    pub flags: u16,
    /// What the client has.
    pub client: Ipv4Addr,
    /// What it gets.
    pub yours: Ipv4Addr,
    /// Of the next server.
    pub server: Ipv4Addr,
    /// Of the relay.
    pub relay: Ipv4Addr,
    /// Of the client.
    pub mac: MacAddr,
    /// Code and value, in their order, of the file and server name fields not.
    pub options: Vec<(u8, &'a [u8])>,
}

impl<'a> Dhcp<'a> {
    pub(super) fn decode(c: &mut Cursor<'a>) -> Option<Dhcp<'a>> {
        let (op, _hardware, _length, _hops) = (c.u8()?, c.u8()?, c.u8()?, c.u8()?);
        let (xid, secs, flags) = (c.u32()?, c.u16()?, c.u16()?);
        let (client, yours, server, relay) = (c.v4()?, c.v4()?, c.v4()?, c.v4()?);
        let mac = c.mac()?;
        c.take(10 + 64 + 128)?;
        let mut options = Vec::new();
        if c.u32() == Some(COOKIE) {
            options.extend(std::iter::from_fn(|| option(c)));
        }
        Some(Dhcp { op, xid, secs, flags, client, yours, server, relay, mac, options })
    }

    /// The value of an option.
    fn option(&self, code: u8) -> Option<&'a [u8]> {
        self.options.iter().find(|(c, _)| *c == code).map(|(_, value)| *value)
    }

    fn name(&self) -> &'static str {
        match (self.option(53), self.op) {
            (Some([1]), _) => "DISCOVER",
            (Some([2]), _) => "OFFER",
            (Some([3]), _) => "REQUEST",
            (Some([4]), _) => "DECLINE",
            (Some([5]), _) => "ACK",
            (Some([6]), _) => "NAK",
            (Some([7]), _) => "RELEASE",
            (Some([8]), _) => "INFORM",
            (_, 1) => "BOOTP request",
            (_, 2) => "BOOTP reply",
            _ => "unknown message",
        }
    }

    pub(super) fn summary(&self) -> String {
        let asked = self.option(50).and_then(|v| Cursor(v).v4());
        let address = match (self.op, asked) {
            (1, Some(ip)) => format!(" for {ip}"),
            (2, _) if !self.yours.is_unspecified() => format!(" of {}", self.yours),
            _ => String::new(),
        };
        format!("{}{address} client {} xid 0x{:x}", self.name(), self.mac, self.xid)
    }

    pub(super) fn fields(&self) -> Fields {
        Fields::default()
            .with("message", self.name())
            .with("operation", self.op)
            .hex("xid", self.xid, 8)
            .with("seconds", self.secs)
            .hex("flags", self.flags, 4)
            .with("client_ip", self.client)
            .with("your_ip", self.yours)
            .with("server_ip", self.server)
            .with("relay_ip", self.relay)
            .with("client_mac", self.mac)
            .list("options", self.options.iter().map(|(code, value)| shown(*code, value)))
    }
}

/// The next option; `None` at the end, or where one is cut off.
fn option<'a>(c: &mut Cursor<'a>) -> Option<(u8, &'a [u8])> {
    loop {
        match c.u8()? {
            0 => {}
            255 => return None,
            code => {
                let len = c.u8()?;
                return Some((code, c.take(len.into())?));
            }
        }
    }
}

/// An option by its name, if it is one that networks are made of.
fn shown(code: u8, value: &[u8]) -> Fields {
    let f = Fields::default();
    let ips = |value: &[u8]| {
        let (ips, rest) = value.as_chunks::<4>();
        let ips = ips.iter().map(|ip| Ipv4Addr::from(*ip).to_string());
        rest.is_empty().then(|| ips.collect::<Vec<_>>().join(" "))
    };
    let number = |value: &[u8]| match *value {
        [a, b] => Some(u32::from(u16::from_be_bytes([a, b]))),
        [a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
        _ => None,
    };
    let text = |value: &[u8]| Some(String::from_utf8_lossy(value).into_owned());
    let known = match code {
        1 => ips(value).map(|v| ("netmask", v)),
        3 => ips(value).map(|v| ("routers", v)),
        6 => ips(value).map(|v| ("name_servers", v)),
        12 => text(value).map(|v| ("host_name", v)),
        15 => text(value).map(|v| ("domain", v)),
        26 => number(value).map(|v| ("mtu", v.to_string())),
        50 => ips(value).map(|v| ("requested_ip", v)),
        51 => number(value).map(|v| ("lease_seconds", v.to_string())),
        54 => ips(value).map(|v| ("server", v)),
        _ => None,
    };
    match known {
        Some((name, value)) => f.with(name, value),
        None => f.with("code", code).with("value", hex(value)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
