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
        match (self.option(53).and_then(kind), self.op) {
            (Some(kind), _) => kind,
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

/// What a message is, by its option 53.
fn kind(value: &[u8]) -> Option<&'static str> {
    const KINDS: [&str; 8] =
        ["DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM"];
    let [n] = *value else { return None };
    KINDS.get(usize::from(n).checked_sub(1)?).copied()
}

/// Codes of options, as they are asked for.
fn numbers(value: &[u8]) -> String {
    value.iter().map(u8::to_string).collect::<Vec<_>>().join(" ")
}

/// Routes with as many bytes of each network as count (RFC 3442).
fn routes(value: &[u8]) -> Option<String> {
    let mut c = Cursor(value);
    let mut routes = Vec::new();
    while let Some(bits) = c.u8() {
        let bytes = c.take(usize::from(bits.min(33)).div_ceil(8))?;
        let mut net = [0; 4];
        net.get_mut(..bytes.len())?.copy_from_slice(bytes);
        routes.push(format!("{}/{bits} by {}", Ipv4Addr::from(net), c.v4()?));
    }
    Some(routes.join(", "))
}

/// Names of domains (RFC 3397), which may end as an earlier one does.
fn names(value: &[u8]) -> Option<String> {
    let mut c = Cursor(value);
    let mut names = Vec::new();
    while !c.0.is_empty() {
        let (mut name, mut at) = (Vec::new(), c);
        // A pointer goes back, so it comes to an end; only up to the first is the name here.
        let mut before = value.len();
        let mut own = true;
        loop {
            match at.u8()? {
                0 => break,
                n if n & 0xc0 == 0xc0 => {
                    let to = usize::from(u16::from_be_bytes([n & 0x3f, at.u8()?]));
                    if own {
                        (c, own) = (at, false);
                    }
                    if to >= before {
                        return None;
                    }
                    before = to;
                    at = Cursor(value.get(to..)?);
                }
                n => name.push(String::from_utf8_lossy(at.take(n.into())?).into_owned()),
            }
        }
        if own {
            c = at;
        }
        names.push(name.join("."));
    }
    Some(names.join(" "))
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
    let seconds = |value: &[u8]| number(value).map(|n| n.to_string());
    let known = match code {
        1 => ips(value).map(|v| ("netmask", v)),
        3 => ips(value).map(|v| ("routers", v)),
        6 => ips(value).map(|v| ("name_servers", v)),
        12 => text(value).map(|v| ("host_name", v)),
        15 => text(value).map(|v| ("domain", v)),
        26 => number(value).map(|v| ("mtu", v.to_string())),
        28 => ips(value).map(|v| ("broadcast", v)),
        33 => ips(value).map(|v| ("static_routes", v)),
        42 => ips(value).map(|v| ("time_servers", v)),
        50 => ips(value).map(|v| ("requested_ip", v)),
        51 => seconds(value).map(|v| ("lease_seconds", v)),
        53 => kind(value).map(|v| ("message_type", v.to_owned())),
        54 => ips(value).map(|v| ("server", v)),
        55 => Some(("asked_for", numbers(value))),
        56 => text(value).map(|v| ("text", v)),
        57 => number(value).map(|v| ("longest_message", v.to_string())),
        58 => seconds(value).map(|v| ("renew_after_seconds", v)),
        59 => seconds(value).map(|v| ("rebind_after_seconds", v)),
        60 => text(value).map(|v| ("vendor_class", v)),
        61 => Some(("client_id", hex(value))),
        119 => names(value).map(|v| ("search_domains", v)),
        121 => routes(value).map(|v| ("routes", v)),
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
