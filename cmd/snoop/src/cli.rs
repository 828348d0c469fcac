// SPDX-License-Identifier: CDDL-1.0
//! The command line.

use crate::show::{Bytes, Detail, TimeStyle};
use clap::Parser;
use std::path::PathBuf;

/// Watch packets: of an IP interface, a link, the underlay of an overlay network, or a file.
#[derive(Debug, Parser)]
#[command(name = "snoop", version, max_term_width = 100, disable_version_flag = true)]
#[command(after_help = "FILTER has snoop's words: host, from, to, net, port, ether, zone, vnet, \
    ip, ip6, arp, icmp, icmp6, tcp, udp, dhcp, vxlan, svp, vlan, broadcast, multicast, and, or, not. \
    snoop(8) has them all.")]
#[allow(clippy::struct_excessive_bools, reason = "they are options")]
pub struct Cli {
    /// A link: of this machine, or of the simulated host; `underlay` are a simulated host's VXLAN datagrams
    #[arg(short = 'd', value_name = "LINK")]
    pub links: Vec<String>,
    /// An IP interface: what IP receives there, sends there, or loops back
    #[arg(short = 'I', value_name = "INTERFACE")]
    pub interfaces: Vec<String>,
    /// The zone whose links and interfaces are meant; on Linux a network namespace
    #[arg(short = 'z', value_name = "ZONE")]
    pub zone: Option<String>,
    /// See only what is for the link or interface, not everything
    #[arg(short = 'P')]
    pub passive: bool,
    /// Read packets from this file; `-` is standard input
    #[arg(short = 'i', value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write packets to this file instead of showing them: pcapng if it ends in .pcapng, else snoop's format
    #[arg(short = 'o', value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// End after this many packets
    #[arg(short = 'c', value_name = "N")]
    pub count: Option<u64>,
    /// Keep no more than the first N bytes of a packet
    #[arg(short = 's', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub snaplen: Option<u32>,
    /// Say nothing about progress and counts
    #[arg(short = 'q')]
    pub quiet: bool,
    /// Show addresses, not names of hosts
    #[arg(short = 'r')]
    pub numeric: bool,
    /// Show every field
    #[arg(short = 'v', group = "detail")]
    pub fields: bool,
    /// Show a line for each layer
    #[arg(short = 'V', group = "detail")]
    pub layers: bool,
    /// Print JSON, an object a line
    #[arg(short = 'j', long, group = "detail")]
    pub json: bool,
    /// Show bytes in hexadecimal, all behind an offset or so many
    #[arg(short = 'x', value_name = "OFFSET[,LENGTH]")]
    pub bytes: Option<Bytes>,
    /// Time since: the first packet (r), midnight (a), the packet before (d)
    #[arg(short = 't', value_name = "r|a|d", value_enum, default_value_t = TimeStyle::Delta, hide_possible_values = true)]
    pub time: TimeStyle,
    /// Show flows at the end: inside, outside, in which network
    #[arg(short = 'F', long, conflicts_with_all = ["output", "fields", "layers", "bytes"])]
    pub flows: bool,
    /// The root directory of a simulated host; without it, this machine is meant
    #[arg(short = 'R', value_name = "ROOT", env = "OVERLAY_ROOT")]
    pub root: Option<PathBuf>,
    /// Print the version
    #[arg(long, action = clap::ArgAction::Version)]
    pub version: Option<bool>,
    /// Which packets; without any words, all
    #[arg(value_name = "FILTER")]
    pub filter: Vec<String>,
}

impl Cli {
    /// How much of a packet is shown.
    pub fn detail(&self) -> Detail {
        match (self.fields, self.layers, self.json) {
            (true, ..) => Detail::Fields,
            (_, true, _) => Detail::Layers,
            (.., true) => Detail::Json,
            _ => Detail::Line,
        }
    }
}
