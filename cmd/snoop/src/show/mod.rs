// SPDX-License-Identifier: CDDL-1.0
//! Packets as text: a line each (`line`), all layers (`-V`), all fields (`-v`), or JSON; and bytes (`-x`).

mod line;
mod time;

pub use time::TimeStyle;

use crate::decode::Layer;
use crate::field::{Fields, Value};
use crate::names::Hosts;
use crate::packet::Packet;
use serde::Serialize;
use std::fmt::Write as _;
use std::ops::Range;
use time::Clock;

/// How much of a packet is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A line.
    Line,
    /// A line for each layer.
    Layers,
    /// A line for each field.
    Fields,
    /// An object in a line, with all fields.
    Json,
}

/// Which bytes are shown in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// The first of them.
    pub offset: usize,
    /// How many; all without.
    pub length: Option<usize>,
}

impl std::str::FromStr for Bytes {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Bytes, Self::Err> {
        const FORM: &str = "an offset, or offset,length";
        let (offset, length) = match s.split_once(',') {
            None => (s, None),
            Some((offset, length)) => (offset, Some(length.parse().map_err(|_| FORM)?)),
        };
        Ok(Bytes { offset: offset.parse().map_err(|_| FORM)?, length })
    }
}

impl Bytes {
    fn of(&self, packet: &Packet) -> Range<usize> {
        let end = packet.bytes.len();
        let from = self.offset.min(end);
        from..self.length.map_or(end, |n| from.saturating_add(n).min(end))
    }
}

/// A packet and where it is from.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Counted from 1.
    pub number: u64,
    /// The interface or file; `None` where there is only one.
    pub source: Option<&'a str>,
    /// What was captured.
    pub packet: &'a Packet,
    /// What is in it.
    pub layers: &'a [Layer<'a>],
}

/// Makes text of packets.
#[derive(Debug)]
pub struct Show {
    detail: Detail,
    bytes: Option<Bytes>,
    hosts: Hosts,
    clock: Clock,
}

#[derive(Serialize)]
struct Json<'a> {
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    time_ns: u64,
    length: usize,
    captured: usize,
    layers: Vec<JsonLayer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
}

#[derive(Serialize)]
struct JsonLayer {
    protocol: &'static str,
    #[serde(flatten)]
    fields: Fields,
}

impl Show {
    /// With names of these hosts only.
    #[must_use]
    pub fn new(detail: Detail, bytes: Option<Bytes>, time: TimeStyle, hosts: Hosts) -> Show {
        Show { detail, bytes, hosts, clock: Clock::new(time) }
    }

    /// The text of the next packet, lines with their ends.
    pub fn packet(&mut self, seen: &Seen<'_>) -> String {
        if self.detail == Detail::Json {
            return self.json(seen);
        }
        let time = self.clock.show(seen.packet.time);
        let mut text = match self.detail {
            Detail::Fields => self.fields(seen, &time),
            Detail::Layers => {
                let head = self.head(seen, &time);
                line::layers(seen.layers, &self.hosts)
                    .into_iter()
                    .fold(String::new(), |text, line| text + &head + &line + "\n")
            }
            _ => self.head(seen, &time) + &line::line(seen.layers, &self.hosts) + "\n",
        };
        if let Some(bytes) = self.bytes {
            dump(&mut text, &seen.packet.bytes, bytes.of(seen.packet));
        }
        text
    }

    fn head(&self, seen: &Seen<'_>, time: &str) -> String {
        let source = seen.source.map_or(String::new(), |s| format!("{s} "));
        format!("{:3} {time} {source}", seen.number)
    }

    fn fields(&self, seen: &Seen<'_>, time: &str) -> String {
        let Packet { bytes, length, .. } = seen.packet;
        let source = seen.source.map_or(String::new(), |s| format!(" of {s}"));
        let cut = if bytes.len() < *length {
            format!(", {} of them captured", bytes.len())
        } else {
            String::new()
        };
        let number = seen.number;
        let mut text = format!("packet {number}{source} at {}, {length} bytes{cut}\n", time.trim());
        for layer in seen.layers {
            let _ = writeln!(text, "{}:", layer.name());
            self.lines(&mut text, layer.name(), &layer.fields(), 1);
        }
        text.push('\n');
        text
    }

    fn lines(&self, text: &mut String, protocol: &str, fields: &Fields, depth: usize) {
        for (name, value) in &fields.0 {
            let name = name.replace('_', " ");
            let indent = depth * 2;
            let _ = write!(text, "{protocol}:{:indent$}{name} = {value}", "");
            if let Value::Ip(ip) = value
                && let Some(host) = self.hosts.name(*ip)
            {
                let _ = write!(text, ", {host}");
            }
            text.push('\n');
            if let Value::List(parts) = value {
                parts.iter().for_each(|part| self.lines(text, protocol, part, depth + 1));
            }
        }
    }

    fn json(&self, seen: &Seen<'_>) -> String {
        let packet = seen.packet;
        let layer = |l: &Layer<'_>| JsonLayer { protocol: l.name(), fields: l.fields() };
        let hex = |range: Range<usize>| packet.bytes[range].iter().map(|b| format!("{b:02x}"));
        let json = Json {
            number: seen.number,
            source: seen.source,
            time_ns: u64::try_from(packet.time.as_nanos()).unwrap_or(u64::MAX),
            length: packet.length,
            captured: packet.bytes.len(),
            layers: seen.layers.iter().map(layer).collect(),
            bytes: self.bytes.map(|b| hex(b.of(packet)).collect()),
        };
        // Numbers and strings only: there is nothing that JSON does not have.
        serde_json::to_string(&json).unwrap_or_default() + "\n"
    }
}

/// Sixteen bytes a line, in hexadecimal and as characters, behind their offset.
fn dump(text: &mut String, bytes: &[u8], range: Range<usize>) {
    for (n, row) in bytes[range.clone()].chunks(16).enumerate() {
        let pairs = row.chunks(2).map(|c| c.iter().map(|b| format!("{b:02x}")).collect::<String>());
        let hex = pairs.collect::<Vec<_>>().join(" ");
        let plain = |b: &u8| if (0x20..0x7f).contains(b) { char::from(*b) } else { '.' };
        let chars: String = row.iter().map(plain).collect();
        let _ = writeln!(text, "\t{:4}: {hex:39}    {chars}", range.start + n * 16);
    }
    text.push('\n');
}
