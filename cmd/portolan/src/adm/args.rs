// SPDX-License-Identifier: CDDL-1.0
//! The command line of portolanadm.

use crate::net::{Mac, Subnet};
use crate::record::RouteKey;
use clap::{Parser, Subcommand, ValueEnum};
use std::net::IpAddr;
use std::path::PathBuf;
use uuid::Uuid;

/// Administers a portolan: networks, hosts, ports, routes.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Args {
    /// Where the server is administered.
    #[arg(long, global = true, env = "PORTOLAN_URL", default_value = "http://127.0.0.1:1297")]
    pub url: String,
    /// File with the server's token, if it has one.
    #[arg(long, global = true, value_name = "FILE", env = "PORTOLAN_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Answer in JSON: as the API does, lists one object a line.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// How the server is, and how much it holds.
    Status,
    /// Virtual networks.
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Hosts and their underlay addresses.
    #[command(subcommand)]
    Host(HostCommand),
    /// Guests: where they live.
    #[command(subcommand)]
    Port(PortCommand),
    /// Router addresses, to which guests send what is for other networks.
    #[command(subcommand)]
    Router(RouterCommand),
    /// Route two subnets of networks to each other, both ways at once.
    Attach {
        #[command(flatten)]
        sides: Sides,
        /// Data centre of the first.
        #[arg(long, default_value_t = 0)]
        dcid: u32,
        /// Data centre of the second.
        #[arg(long, default_value_t = 0)]
        r_dcid: u32,
    },
    /// Undo an attachment, both ways at once.
    Detach {
        #[command(flatten)]
        sides: Sides,
    },
    /// Subnets that are attached to each other.
    #[command(subcommand)]
    Attachment(AttachmentCommand),
    /// Routes between networks, one by one.
    #[command(subcommand)]
    Route(RouteCommand),
    /// Put many records, from a file.
    Import(Import),
    /// Write all records to standard output, one JSON object a line.
    Export {
        /// What the lines are.
        #[arg(long, value_enum, default_value = "jsonl")]
        format: Format,
    },
    /// Show changes as they are made.
    Watch,
}

#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Networks that are described or have ports.
    List,
    /// One network.
    Show { vnet: u32 },
    /// Give a network a name.
    Set { vnet: u32, name: String },
    /// Forget the name of a network without ports.
    Delete { vnet: u32 },
}

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// All hosts.
    List,
    /// One host.
    Show { id: Uuid },
    /// Add a host, or change its underlay address.
    Set {
        id: Uuid,
        /// Underlay address.
        ip: IpAddr,
        /// UDP port of the encapsulation.
        #[arg(default_value_t = 4789)]
        port: u16,
    },
    /// Remove a host without ports.
    Delete { id: Uuid },
    /// What the host has not yet been told, or not yet confirmed.
    Log { id: Uuid },
}

#[derive(Debug, Subcommand)]
pub enum PortCommand {
    /// Ports of a network.
    List {
        vnet: u32,
        /// Only on this host.
        #[arg(long)]
        host: Option<Uuid>,
        /// Only with this Ethernet address.
        #[arg(long)]
        mac: Option<Mac>,
    },
    /// One port.
    Show { vnet: u32, ip: IpAddr },
    /// Add a port, or change it.
    Set {
        vnet: u32,
        ip: IpAddr,
        /// Ethernet address of the guest.
        mac: Mac,
        /// Host that carries it.
        host: Uuid,
        /// 802.1Q tag, 0 for none.
        #[arg(long, default_value_t = 0)]
        vlan: u16,
        /// The address is a router's.
        #[arg(long)]
        router: bool,
    },
    /// Remove a port.
    Delete { vnet: u32, ip: IpAddr },
    /// Move a guest to another host.
    Move {
        vnet: u32,
        /// Its IP address; or its Ethernet address, to move all its ports.
        guest: Guest,
        /// Where to.
        host: Uuid,
    },
}

#[derive(Clone, Copy, Debug)]
pub enum Guest {
    Ip(IpAddr),
    Mac(Mac),
}

impl std::str::FromStr for Guest {
    type Err = String;

    fn from_str(text: &str) -> Result<Guest, String> {
        let ip = text.parse().map(Guest::Ip);
        ip.or_else(|_| text.parse().map(Guest::Mac))
            .map_err(|_| format!("{text}: neither an IP nor an Ethernet address"))
    }
}

#[derive(Debug, Subcommand)]
pub enum RouterCommand {
    /// Router addresses of all networks.
    List,
    /// Add a router address, or change it.
    Set {
        vnet: u32,
        ip: IpAddr,
        /// Its Ethernet address, from which routed frames come too.
        mac: Mac,
        /// 802.1Q tag of the frames in its network, 0 for none.
        #[arg(long, default_value_t = 0)]
        vlan: u16,
    },
    /// Remove a router address.
    Delete { vnet: u32, ip: IpAddr },
}

#[derive(Debug, Subcommand)]
pub enum AttachmentCommand {
    /// All attachments.
    List,
}

#[derive(Debug, clap::Args)]
pub struct Sides {
    /// A network,
    pub vnet: u32,
    /// its subnet that is attached, such as 10.7.0.0/24,
    pub subnet: Subnet,
    /// the other network,
    pub r_vnet: u32,
    /// and its subnet.
    pub r_subnet: Subnet,
}

#[derive(Debug, Subcommand)]
pub enum RouteCommand {
    /// All routes.
    List,
    /// Add a route, or change it.
    Set {
        #[command(flatten)]
        key: Key,
        /// Data centre of the destination.
        #[arg(long, default_value_t = 0)]
        r_dcid: u32,
        /// Network of the destination.
        #[arg(long)]
        r_vnet: u32,
        /// 802.1Q tag there.
        #[arg(long, default_value_t = 0)]
        r_vlan: u16,
        /// Source Ethernet address of routed frames.
        #[arg(long)]
        r_send_mac: Mac,
    },
    /// Remove a route.
    Delete {
        #[command(flatten)]
        key: Key,
    },
}

#[derive(Debug, clap::Args)]
pub struct Key {
    /// Network that packets leave.
    pub vnet: u32,
    /// Their source, such as 10.0.0.0/24.
    pub subnet: Subnet,
    /// Their destination.
    pub r_subnet: Subnet,
    /// Their 802.1Q tag.
    #[arg(long, default_value_t = 0)]
    pub vlan: u16,
}

impl From<Key> for RouteKey {
    fn from(Key { vnet, subnet, r_subnet, vlan }: Key) -> RouteKey {
        RouteKey { vnet, vlan, subnet, r_subnet }
    }
}

#[derive(Debug, clap::Args)]
pub struct Import {
    /// The file; - is standard input.
    pub file: PathBuf,
    /// What the lines are.
    #[arg(long, value_enum, default_value = "jsonl")]
    pub format: Format,
    /// Records that are put together, or not at all.
    #[arg(long, default_value_t = 2000)]
    pub batch: usize,
    /// Tell hosts what changes. Otherwise records are taken as they are, log included.
    #[arg(long)]
    pub tell: bool,
    /// No progress on standard error.
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One change a line, as export writes them.
    Jsonl,
    /// Buckets of the original portolan: {"bucket":.., "key":.., "value":..}, or {BUCKET: {KEY: VALUE}}.
    Moray,
}
