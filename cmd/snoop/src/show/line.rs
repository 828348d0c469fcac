// SPDX-License-Identifier: CDDL-1.0
//! A packet in a line: who to whom, and what the innermost layer says. A frame in VXLAN follows
//! that of its packet, behind a bar.

use crate::decode::{Layer, frames};
use crate::names::Hosts;
use overlay_abi::ids::MacAddr;

/// Who sends to whom, by the innermost addresses.
fn ends(frame: &[Layer<'_>], hosts: &Hosts) -> Option<String> {
    frame.iter().rev().find_map(|layer| {
        let (src, dst) = match layer {
            Layer::Ipv4(ip) => (hosts.show(ip.src.into()), hosts.show(ip.dst.into())),
            Layer::Ipv6(ip) => (hosts.show(ip.src.into()), hosts.show(ip.dst.into())),
            Layer::Ether(e) if e.dst == MacAddr::BROADCAST => {
                (e.src.to_string(), "(broadcast)".into())
            }
            Layer::Ether(e) => (e.src.to_string(), e.dst.to_string()),
            _ => return None,
        };
        Some(format!("{src} -> {dst} "))
    })
}

fn say(layer: &Layer<'_>) -> String {
    // What a packet says may have anything in it; a line is a line.
    let plain = |c: char| if c.is_control() { '?' } else { c };
    format!("{} {}", layer.name(), layer.summary()).chars().map(plain).collect()
}

/// The packet in one line.
pub fn line(layers: &[Layer<'_>], hosts: &Hosts) -> String {
    let one = |frame: &[Layer<'_>]| {
        // Bytes of no known protocol say less than what they are in; messages are all told.
        let known: Vec<&Layer<'_>> =
            frame.iter().filter(|l| !matches!(l, Layer::Data(_))).collect();
        let messages = known.iter().rev().take_while(|l| matches!(l, Layer::Svp(_))).count();
        let last = &known[known.len() - messages.max(1).min(known.len())..];
        let said = match last {
            [] => frame.iter().map(say).collect(),
            last => last.iter().map(|l| say(l)).collect::<Vec<_>>(),
        };
        let damaged: Vec<_> = frame.iter().filter(|l| l.is_damaged()).map(Layer::name).collect();
        let damaged = match damaged.as_slice() {
            [] => String::new(),
            names => format!(" (wrong checksum: {})", names.join(", ")),
        };
        ends(frame, hosts).unwrap_or_default() + &said.join(", ") + &damaged
    };
    frames(layers).map(one).collect::<Vec<_>>().join(" | ")
}

/// A line for each layer.
pub fn layers(layers: &[Layer<'_>], hosts: &Hosts) -> Vec<String> {
    let of = |frame: &[Layer<'_>]| {
        let ends = ends(frame, hosts).unwrap_or_default();
        let damaged = |l: &Layer<'_>| if l.is_damaged() { " (wrong checksum)" } else { "" };
        frame.iter().map(|l| ends.clone() + &say(l) + damaged(l)).collect::<Vec<_>>()
    };
    frames(layers).flat_map(of).collect()
}
