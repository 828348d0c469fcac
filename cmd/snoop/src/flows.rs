// SPDX-License-Identifier: CDDL-1.0
//! Flows of guests, inside and outside: which hosts carry them, in which network (`-F`).
//!
//! ```text
//!   VNIC, zone:   |ether|ip|tcp ...|                       "bare": what the guest sends
//!   underlay:     |ip|udp|vxlan vnet|ether|ip|tcp ...|     "wrapped": the same, with its network
//! ```
//!
//! A bare packet does not say which network it is of; it counts for the flow with its addresses,
//! protocol and ports, if there is only one such.

use crate::decode::{Layer, frames};
use crate::names::Hosts;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Most flows that are told apart; packets of others are counted together.
const MOST: usize = 65_536;

/// One direction of what two guests say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Inner {
    src: (IpAddr, u16),
    dst: (IpAddr, u16),
    protocol: &'static str,
}

/// Hosts that carry it, and in which network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Outer {
    vnet: u32,
    src: IpAddr,
    dst: IpAddr,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    packets: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

/// The flows of a capture.
#[derive(Debug, Default)]
pub struct Flows {
    bare: BTreeMap<Inner, Count>,
    wrapped: BTreeMap<(Inner, Outer), Count>,
    other: Count,
}

/// A flow as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    /// Of the network; null of a flow that was only seen bare, or in several networks.
    vnet: Option<u32>,
    protocol: &'static str,
    inner_source: String,
    inner_destination: String,
    outer_source: Option<String>,
    outer_destination: Option<String>,
    bare_packets: u64,
    wrapped_packets: u64,
    bytes: u64,
}

/// What a frame is of.
fn inner(frame: &[Layer<'_>]) -> Option<Inner> {
    let (src, dst) = ends(frame)?;
    let ports = frame.iter().find_map(|l| match l {
        Layer::Tcp(t) => Some(("TCP", t.src, t.dst)),
        Layer::Udp(u) => Some(("UDP", u.src, u.dst)),
        Layer::Icmp(_) => Some((l.name(), 0, 0)),
        _ => None,
    });
    let (protocol, s, d) = ports.unwrap_or(("IP", 0, 0));
    Some(Inner { src: (src, s), dst: (dst, d), protocol })
}

fn ends(frame: &[Layer<'_>]) -> Option<(IpAddr, IpAddr)> {
    frame.iter().find_map(|l| match l {
        Layer::Ipv4(ip) => Some((ip.src.into(), ip.dst.into())),
        Layer::Ipv6(ip) => Some((ip.src.into(), ip.dst.into())),
        _ => None,
    })
}

impl Flows {
    /// Counts a packet of `bytes` with these layers.
    pub fn add(&mut self, layers: &[Layer<'_>], bytes: usize) {
        let mut frames = frames(layers);
        let (first, second) = (frames.next().unwrap_or_default(), frames.next());
        let full = self.bare.len() + self.wrapped.len() >= MOST;
        let outer = match (first.last(), ends(first)) {
            (Some(Layer::Vxlan(v)), Some((src, dst))) => Some(Outer { vnet: v.vnet, src, dst }),
            _ => None,
        };
        let count = match (inner(second.unwrap_or(first)), outer) {
            (Some(flow), Some(outer)) => {
                let key = (flow, outer);
                let known = self.wrapped.contains_key(&key);
                (known || !full).then(|| self.wrapped.entry(key).or_default())
            }
            (Some(flow), None) => {
                let known = self.bare.contains_key(&flow);
                (known || !full).then(|| self.bare.entry(flow).or_default())
            }
            (None, _) => None,
        };
        count.unwrap_or(&mut self.other).add(bytes);
    }

    fn rows(&self, hosts: &Hosts) -> Vec<Row> {
        let end = |(ip, port): (IpAddr, u16)| match (port, ip) {
            (0, ip) => hosts.show(ip),
            (port, IpAddr::V6(_)) if hosts.name(ip).is_none() => format!("[{ip}]:{port}"),
            (port, ip) => format!("{}:{port}", hosts.show(ip)),
        };
        let row = |flow: &Inner, outer: Option<&Outer>, bare: Count, wrapped: Count| Row {
            vnet: outer.map(|o| o.vnet),
            protocol: flow.protocol,
            inner_source: end(flow.src),
            inner_destination: end(flow.dst),
            outer_source: outer.map(|o| hosts.show(o.src)),
            outer_destination: outer.map(|o| hosts.show(o.dst)),
            bare_packets: bare.packets,
            wrapped_packets: wrapped.packets,
            bytes: if outer.is_some() { wrapped.bytes } else { bare.bytes },
        };
        let mut carriers: BTreeMap<&Inner, usize> = BTreeMap::new();
        self.wrapped.keys().for_each(|(flow, _)| *carriers.entry(flow).or_default() += 1);
        let carried = |flow: &Inner| carriers.get(flow).copied().unwrap_or(0);
        let wrapped = self.wrapped.iter().map(|((flow, outer), count)| {
            let alone = carried(flow) == 1;
            let bare = self.bare.get(flow).copied().filter(|_| alone).unwrap_or_default();
            row(flow, Some(outer), bare, *count)
        });
        let bare = self.bare.iter().filter(|(flow, _)| carried(flow) != 1);
        let bare = bare.map(|(flow, count)| row(flow, None, *count, Count::default()));
        let mut rows: Vec<Row> = wrapped.chain(bare).collect();
        rows.sort_by_key(|r| std::cmp::Reverse(r.bytes));
        rows
    }

    /// As JSON, an object a line.
    #[must_use]
    pub fn json(&self, hosts: &Hosts) -> String {
        let line = |row: &Row| serde_json::to_string(row).unwrap_or_default() + "\n";
        self.rows(hosts).iter().map(line).collect()
    }

    /// As a table, the flows with most bytes first.
    #[must_use]
    pub fn table(&self, hosts: &Hosts) -> String {
        const HEADING: [&str; 7] = ["VNET", "PROTO", "INNER", "OUTER", "BARE", "WRAPPED", "BYTES"];
        let dash = || "-".to_owned();
        let to = |a: &str, b: &str| format!("{a} -> {b}");
        let mut cells = vec![HEADING.map(str::to_owned)];
        cells.extend(self.rows(hosts).iter().map(|r| {
            let outer = r.outer_source.as_deref().zip(r.outer_destination.as_deref());
            [
                r.vnet.map_or_else(dash, |v| v.to_string()),
                r.protocol.to_owned(),
                to(&r.inner_source, &r.inner_destination),
                outer.map_or_else(dash, |(a, b)| to(a, b)),
                r.bare_packets.to_string(),
                r.wrapped_packets.to_string(),
                r.bytes.to_string(),
            ]
        }));
        let width = |n: usize| cells.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
        let widths: [usize; 7] = std::array::from_fn(width);
        let line = |row: &[String; 7]| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        let mut text: String = cells.iter().map(line).collect();
        if self.other.packets > 0 {
            text +=
                &format!("{} packets of no flow of IP, or of one too many\n", self.other.packets);
        }
        text
    }
}
