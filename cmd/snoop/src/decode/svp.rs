// SPDX-License-Identifier: CDDL-1.0
//! SVP in TCP: segments put together into messages (spec/svp.md; the codec is the crate `svp`).
//!
//! A message is shown with the segment that brings its last byte. Segments may be lost, doubled, late,
//! or from before the capture; after a gap that does not close, messages are looked for at the
//! beginning of the next segment.

use super::transport::Tcp;
use crate::field::Fields;
use overlay_abi::ids::MacAddr;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use svp::log::Entry;
use svp::message::{Body, Underlay};
use svp::{HEADER, Header, Message, Refusal};

/// Most streams that are remembered; the one that said nothing for longest goes first.
const STREAMS: usize = 512;
/// Most bytes of a stream that wait for earlier ones.
const AHEAD: usize = 256 << 10;
/// Most segments of a stream that wait for earlier ones.
const SEGMENTS: usize = 256;

/// One direction of a connection. The network id keeps those of guests apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub vnet: Option<u32>,
    pub src: (IpAddr, u16),
    pub dst: (IpAddr, u16),
}

/// A message, or what is to be said instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Svp {
    /// A whole message with the right checksum, as on the wire.
    Message(Vec<u8>),
    /// The beginning of one that later segments go on with.
    Part {
        /// Bytes that are there.
        have: usize,
        /// Its name and size with the header, once the header is there.
        of: Option<(&'static str, usize)>,
    },
    /// Bytes that are none.
    Bad(Refusal),
    /// Bytes that the capture misses.
    Lost,
}

#[derive(Debug, Default)]
struct Stream {
    /// Sequence number of the byte after `bytes`; `None`: look for a message in the next segment.
    next: Option<u32>,
    /// Of a message whose end is to come.
    bytes: Vec<u8>,
    /// Segments that came before earlier ones.
    ahead: Vec<(u32, Vec<u8>)>,
    /// When it was last heard of.
    used: u64,
}

/// All streams of a capture.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: HashMap<Key, Stream>,
    clock: u64,
}

impl Streams {
    /// What a segment adds, in order.
    pub(super) fn segment(&mut self, key: Key, tcp: &Tcp<'_>, payload: &[u8]) -> Vec<Svp> {
        self.clock = self.clock.saturating_add(1);
        if !self.streams.contains_key(&key) && self.streams.len() >= STREAMS {
            let oldest = self.streams.iter().min_by_key(|(_, s)| s.used).map(|(k, _)| *k);
            oldest.map(|k| self.streams.remove(&k));
        }
        let stream = self.streams.entry(key).or_default();
        stream.used = self.clock;
        let mut seq = tcp.seq;
        if tcp.flags & Tcp::SYN != 0 {
            seq = seq.wrapping_add(1);
            *stream = Stream { next: Some(seq), used: self.clock, ..Stream::default() };
        }
        let mut out = Vec::new();
        if !payload.is_empty() {
            stream.put(seq, payload, &mut out);
        }
        if tcp.flags & (Tcp::RST | Tcp::FIN) != 0 {
            self.streams.remove(&key);
        }
        out
    }
}

impl Stream {
    fn put(&mut self, seq: u32, payload: &[u8], out: &mut Vec<Svp>) {
        let Some(next) = self.next else {
            return self.begin(seq, payload, out);
        };
        // As the window does it: less than half of all numbers away is ahead.
        let ahead = seq.wrapping_sub(next) as i32;
        if ahead > 0 {
            let waiting: usize = self.ahead.iter().map(|(_, b)| b.len()).sum();
            let full = waiting.saturating_add(payload.len()) > AHEAD;
            if full || self.ahead.len() >= SEGMENTS {
                out.push(Svp::Lost);
                *self = Stream { used: self.used, ..Stream::default() };
                return self.begin(seq, payload, out);
            }
            if !self.ahead.iter().any(|(s, b)| *s == seq && b.len() >= payload.len()) {
                self.ahead.push((seq, payload.to_vec()));
            }
            return;
        }
        self.take(ahead.unsigned_abs() as usize, payload);
        while let Some(next) = self.next {
            let due = |(seq, _): &(u32, Vec<u8>)| (seq.wrapping_sub(next) as i32) <= 0;
            let Some(at) = self.ahead.iter().position(due) else { break };
            let (seq, payload) = self.ahead.swap_remove(at);
            self.take((seq.wrapping_sub(next) as i32).unsigned_abs() as usize, &payload);
        }
        self.messages(out);
    }

    /// Appends what of `payload` is new, beyond `known` bytes.
    fn take(&mut self, known: usize, payload: &[u8]) {
        let new = payload.get(known..).unwrap_or_default();
        self.bytes.extend_from_slice(new);
        self.next = self.next.map(|n| n.wrapping_add(new.len() as u32));
    }

    /// Takes up the stream at a segment that looks like the beginning of a message.
    fn begin(&mut self, seq: u32, payload: &[u8], out: &mut Vec<Svp>) {
        let head = payload.first_chunk::<HEADER>();
        if head.is_some_and(|h| Header::decode(h).is_ok()) {
            self.next = Some(seq);
            self.put(seq, payload, out);
        }
    }

    fn messages(&mut self, out: &mut Vec<Svp>) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut rest = bytes.as_slice();
        loop {
            match svp::frame::first(rest) {
                Ok(Some((frame, len))) => {
                    let (message, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                    match Message::decode(&frame) {
                        Ok(_) => out.push(Svp::Message(message.to_vec())),
                        Err(why) => out.push(Svp::Bad(why)),
                    }
                    rest = behind;
                }
                Ok(None) => break,
                Err(why) => {
                    out.push(Svp::Bad(why));
                    // The end of a damaged message is known; of something else it is not.
                    let len = match (why, rest.first_chunk::<HEADER>().map(Header::decode)) {
                        (Refusal::Crc { .. }, Some(Ok(h))) => {
                            HEADER.saturating_add(h.size as usize)
                        }
                        _ => {
                            self.next = None;
                            rest.len()
                        }
                    };
                    rest = rest.get(len..).unwrap_or_default();
                }
            }
        }
        self.bytes = rest.to_vec();
        if !rest.is_empty() {
            let header = rest.first_chunk::<HEADER>().and_then(|h| Header::decode(h).ok());
            let of = header.map(|h| (h.op.name(), HEADER.saturating_add(h.size as usize)));
            out.push(Svp::Part { have: rest.len(), of });
        }
    }
}

impl Svp {
    /// Does `f` on the message, if this is one.
    fn message<T>(&self, f: impl FnOnce(&Message<'_>) -> T) -> Option<T> {
        let Svp::Message(bytes) = self else { return None };
        let (frame, _) = svp::frame::first(bytes).ok()??;
        Some(f(&Message::decode(&frame).ok()?))
    }

    pub(super) fn summary(&self) -> String {
        match self {
            Svp::Message(_) => self.message(|m| summary(&m.body)).unwrap_or_default(),
            Svp::Part { have, of: Some((op, size)) } => format!("{have} of {size} bytes of {op}"),
            Svp::Part { have, of: None } => format!("{have} bytes of a header"),
            Svp::Bad(why) => format!("not understood: {why}"),
            Svp::Lost => "bytes before these are not in the capture".into(),
        }
    }

    pub(super) fn fields(&self) -> Fields {
        let f = Fields::default();
        match self {
            Svp::Message(_) => self.message(fields).unwrap_or_default(),
            Svp::Part { have, of } => f
                .with("have", *have)
                .maybe("operation", of.map(|(op, _)| op))
                .maybe("size", of.map(|(_, size)| size)),
            Svp::Bad(why) => f.with("error", why.to_string()),
            Svp::Lost => f.with("error", self.summary()),
        }
    }
}

/// An address as people know it, IPv4 not mapped.
fn ip(a: Ipv6Addr) -> IpAddr {
    a.to_canonical()
}

/// ` at ` the host, if there is one.
fn at(u: &Underlay) -> String {
    if *u == Underlay::NONE { String::new() } else { format!(" at {}", ul3(u)) }
}

fn ul3(u: &Underlay) -> String {
    match ip(u.ip) {
        IpAddr::V4(a) => format!("{a}:{}", u.port),
        IpAddr::V6(a) => format!("[{a}]:{}", u.port),
    }
}

fn summary(body: &Body<'_>) -> String {
    let op = body.op().name();
    match body {
        Body::Ping | Body::Pong => op.to_owned(),
        Body::Vl2Req { mac, vnet } | Body::Shootdown { mac, vnet } => {
            format!("{op} {mac} vnet {vnet}")
        }
        Body::Vl2Ack(a) => format!("{op} {}{}", a.status, at(&a.ul3)),
        Body::Vl3Req { ip: a, vnet, .. } => format!("{op} {} vnet {vnet}", ip(*a)),
        Body::Vl3Ack(a) => format!("{op} {} {}{}", a.status, a.mac, at(&a.ul3)),
        Body::BulkReq { kind } => format!("{op} kind {kind}"),
        Body::BulkAck { status, data, .. } => format!("{op} {status} {} bytes", data.len()),
        Body::LogReq { count, ip: a } => format!("{op} by {} up to {count} bytes", ip(*a)),
        Body::LogAck { status, entries } => {
            format!("{op} {status} {} entries", entries.iter().count())
        }
        Body::LogRm(ids) => format!("{op} {} entries", ids.iter().len()),
        Body::LogRmAck(status) => format!("{op} {status}"),
        Body::RouteReq(r) => {
            format!("{op} {} -> {} vnet {} vlan {}", ip(r.src), ip(r.dst), r.vnet, r.vlan)
        }
        Body::RouteAck(a) => {
            format!("{op} {} vnet {} vlan {}{}", a.status, a.vnet, a.vlan, at(&a.ul3))
        }
    }
}

fn fields(m: &Message<'_>) -> Fields {
    let f = Fields::default().with("version", m.version).with("operation", m.body.op().name()).hex(
        "id",
        u32::from_be_bytes(m.id.0),
        8,
    );
    let guest = |f: Fields, mac: &MacAddr, vnet: &u32| f.with("mac", *mac).with("vnet", *vnet);
    match &m.body {
        Body::Ping | Body::Pong => f,
        Body::Vl2Req { mac, vnet } | Body::Shootdown { mac, vnet } => guest(f, mac, vnet),
        Body::Vl2Ack(a) => f.with("status", a.status.to_string()).with("underlay", ul3(&a.ul3)),
        Body::Vl3Req { ip: a, l3, vnet } => {
            f.with("ip", ip(*a)).with("l3_type", l3.0).with("vnet", *vnet)
        }
        Body::Vl3Ack(a) => {
            f.with("status", a.status.to_string()).with("mac", a.mac).with("underlay", ul3(&a.ul3))
        }
        Body::BulkReq { kind } => f.with("kind", *kind),
        Body::BulkAck { status, kind, data } => {
            f.with("status", status.to_string()).with("kind", *kind).with("data_length", data.len())
        }
        Body::LogReq { count, ip: a } => f.with("count", *count).with("ip", ip(*a)),
        Body::LogAck { status, entries } => f
            .with("status", status.to_string())
            .list("entries", entries.iter().map(|e| entry(&e.entry).with("id", e.id.to_string()))),
        Body::LogRm(ids) => {
            f.list("entries", ids.iter().map(|id| Fields::default().with("id", id.to_string())))
        }
        Body::LogRmAck(status) => f.with("status", status.to_string()),
        Body::RouteReq(r) => f
            .with("vnet", r.vnet)
            .with("vlan", r.vlan)
            .with("source", ip(r.src))
            .with("destination", ip(r.dst)),
        Body::RouteAck(a) => f
            .with("status", a.status.to_string())
            .with("dcid", a.dcid)
            .with("vnet", a.vnet)
            .with("vlan", a.vlan)
            .with("underlay", ul3(&a.ul3))
            .with("source_mac", a.src_mac)
            .with("destination_mac", a.dst_mac)
            .with("source_prefix", a.src_prefix)
            .with("destination_prefix", a.dst_prefix),
    }
}

fn entry(entry: &Entry) -> Fields {
    let f = Fields::default();
    match entry {
        Entry::Vl2 { mac, vnet } => f.with("stale", "VL2").with("mac", *mac).with("vnet", *vnet),
        Entry::Vl3 { ip: a, vlan, vnet } => {
            f.with("stale", "VL3").with("ip", ip(*a)).with("vlan", *vlan).with("vnet", *vnet)
        }
        Entry::Route(r) => f
            .with("stale", "ROUTE")
            .with("source_vnet", r.src_vnet)
            .with("destination_vnet", r.dst_vnet)
            .with("dcid", r.dcid)
            .with("source", format!("{}/{}", ip(r.src), r.src_prefix))
            .with("destination", format!("{}/{}", ip(r.dst), r.dst_prefix))
            .with("source_vlan", r.src_vlan)
            .with("destination_vlan", r.dst_vlan),
    }
}
