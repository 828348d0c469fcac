// SPDX-License-Identifier: CDDL-1.0
//! What the directory holds, as values, as JSON, and as keys and values of the store.
//!
//! The same structures are the administration's JSON and the store's records. In the store a value is
//! one byte of format and the structure in postcard's encoding. It repeats what its key says, so that a
//! record that lies under a wrong key is found when the store is read.

use crate::net::{Mac, Subnet, octets};
use crate::store::{Kv, Table};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use svp::log::{Entry, Named, Route as LogRoute};
use thiserror::Error;
use utoipa::ToSchema;
use uuid::Uuid;

/// A virtual network. It need not be described in order to be used by ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Number of the network (VNI).
    pub vnet: u32,
    /// For people.
    pub name: String,
}

/// A host that carries guests, and where it takes encapsulated packets (an underlay mapping).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Name of the host.
    pub id: Uuid,
    /// Underlay address.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// UDP port.
    pub port: u16,
}

/// A guest's address and where it lives (VL3 to VL2, and VL2 to UL3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its network.
    pub vnet: u32,
    /// Its address there, the key together with `vnet`.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// Its Ethernet address.
    #[schema(value_type = String)]
    pub mac: Mac,
    /// The host that carries it; nil for a router, which no host carries.
    #[serde(default)]
    pub host: Uuid,
    /// 802.1Q tag of its frames, 0 for none.
    #[serde(default)]
    pub vlan: u16,
    /// Whether this is the address of a router, which has no underlay address.
    #[serde(default)]
    pub router: bool,
    /// A tombstone, as portolan's own tools leave one: as if it were not there.
    #[serde(default)]
    pub deleted: bool,
    /// Revision of its last change; set by the directory.
    #[serde(default)]
    pub modified: u64,
}

impl Port {
    /// Whether this is the address of a guest that its host carries: neither gone nor a router.
    pub fn is_guest(&self) -> bool {
        !self.deleted && !self.router
    }

    /// Whether this is the address of a router that is there.
    pub fn is_router(&self) -> bool {
        !self.deleted && self.router
    }
}

/// How packets leave a network for another (version 2 of the protocol).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Network that packets leave.
    pub vnet: u32,
    /// Their 802.1Q tag.
    pub vlan: u16,
    /// Their source.
    #[schema(value_type = String)]
    pub subnet: Subnet,
    /// Their destination.
    #[schema(value_type = String)]
    pub r_subnet: Subnet,
    /// Data centre of the destination.
    pub r_dcid: u32,
    /// Network of the destination.
    pub r_vnet: u32,
    /// 802.1Q tag there.
    pub r_vlan: u16,
    /// Source Ethernet address of routed frames.
    #[schema(value_type = String)]
    pub r_send_mac: Mac,
    /// The network's own name in the cloud's administration.
    #[serde(default)]
    pub net_uuid: Option<Uuid>,
    /// Likewise of the destination's.
    #[serde(default)]
    pub r_net_uuid: Option<Uuid>,
    /// A tombstone.
    #[serde(default)]
    pub deleted: bool,
    /// Revision of its last change; set by the directory.
    #[serde(default)]
    pub modified: u64,
}

/// What a host is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// What is known of this Ethernet address is stale.
    Vl2 {
        /// Of the guest.
        #[schema(value_type = String)]
        mac: Mac,
        /// Its network.
        vnet: u32,
    },
    /// This IP address has a new Ethernet address.
    Vl3 {
        /// Of the guest.
        #[schema(value_type = String)]
        ip: IpAddr,
        /// 802.1Q tag of its frames.
        vlan: u16,
        /// Its network.
        vnet: u32,
    },
    /// Routed flows between these subnets are stale.
    Route {
        /// Network that packets leave.
        src_vnet: u32,
        /// Network that they go to.
        dst_vnet: u32,
        /// Data centre that they go to.
        dcid: u32,
        /// Their source.
        #[schema(value_type = String)]
        src: Subnet,
        /// Their destination.
        #[schema(value_type = String)]
        dst: Subnet,
        /// 802.1Q tag at the source.
        src_vlan: u16,
        /// 802.1Q tag at the destination.
        dst_vlan: u16,
    },
}

/// An entry of a host's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogRecord {
    /// Whose log.
    pub host: Uuid,
    /// Its place there: entries are delivered in ascending order.
    #[serde(default)]
    pub seq: u64,
    /// By which the host removes it.
    pub id: Uuid,
    /// What it says.
    pub event: Event,
}

impl From<&Event> for Entry {
    fn from(event: &Event) -> Entry {
        match event {
            Event::Vl2 { mac, vnet } => Entry::Vl2 { mac: mac.0, vnet: *vnet },
            Event::Vl3 { ip, vlan, vnet } => {
                Entry::Vl3 { ip: octets(*ip).into(), vlan: *vlan, vnet: *vnet }
            }
            Event::Route { src_vnet, dst_vnet, dcid, src, dst, src_vlan, dst_vlan } => {
                Entry::Route(LogRoute {
                    src_vnet: *src_vnet,
                    dst_vnet: *dst_vnet,
                    dcid: *dcid,
                    src: src.address(),
                    dst: dst.address(),
                    src_vlan: *src_vlan,
                    dst_vlan: *dst_vlan,
                    src_prefix: src.prefix_v6(),
                    dst_prefix: dst.prefix_v6(),
                })
            }
        }
    }
}

impl From<&Entry> for Event {
    fn from(entry: &Entry) -> Event {
        match *entry {
            Entry::Vl2 { mac, vnet } => Event::Vl2 { mac: Mac(mac), vnet },
            Entry::Vl3 { ip, vlan, vnet } => {
                Event::Vl3 { ip: IpAddr::V6(ip).to_canonical(), vlan, vnet }
            }
            Entry::Route(r) => Event::Route {
                src_vnet: r.src_vnet,
                dst_vnet: r.dst_vnet,
                dcid: r.dcid,
                src: Subnet::from_v6(r.src, r.src_prefix),
                dst: Subnet::from_v6(r.dst, r.dst_prefix),
                src_vlan: r.src_vlan,
                dst_vlan: r.dst_vlan,
            },
        }
    }
}

impl LogRecord {
    /// As it goes over the wire.
    pub fn named(&self) -> Named {
        Named { id: self.id, entry: Entry::from(&self.event) }
    }
}

/// One record put or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A network's description.
    Network(u32, Option<Network>),
    /// A host.
    Host(Uuid, Option<Host>),
    /// A port.
    Port(u32, IpAddr, Option<Port>),
    /// A route.
    Route(RouteKey, Option<Route>),
    /// A log entry, by host and place.
    Log(Uuid, u64, Option<LogRecord>),
}

/// Which route.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(deny_unknown_fields)]
pub struct RouteKey {
    /// Network that packets leave.
    pub vnet: u32,
    /// Their 802.1Q tag.
    pub vlan: u16,
    /// Their source.
    #[schema(value_type = String)]
    pub subnet: Subnet,
    /// Their destination.
    #[schema(value_type = String)]
    pub r_subnet: Subnet,
}

impl Route {
    /// Its key.
    pub fn key(&self) -> RouteKey {
        RouteKey { vnet: self.vnet, vlan: self.vlan, subnet: self.subnet, r_subnet: self.r_subnet }
    }
}

/// The key of a port: network, then address, so that a scan goes network by network.
pub fn port_key(vnet: u32, ip: IpAddr) -> Vec<u8> {
    [&vnet.to_be_bytes()[..], &octets(ip)].concat()
}

/// The key of a log entry.
pub fn log_key(host: Uuid, seq: u64) -> Vec<u8> {
    [&host.as_bytes()[..], &seq.to_be_bytes()].concat()
}

/// A record of the store that cannot be read.
#[derive(Debug, Error)]
#[error("record {key:02x?} of table {}: {why}", table.name())]
pub struct BadRecord {
    table: Table,
    key: Vec<u8>,
    why: &'static str,
}

const FORMAT: u8 = 1;

fn pack(record: Option<&impl Serialize>) -> Option<Vec<u8>> {
    // Into a Vec, and of structures without maps or untagged parts: there is nothing to fail.
    record.map(|r| postcard::to_extend(r, vec![FORMAT]).unwrap_or_default())
}

fn unpack<T: for<'a> Deserialize<'a>>(value: &[u8]) -> Result<T, &'static str> {
    let (format, bytes) = value.split_first().ok_or("it is empty")?;
    if *format != FORMAT {
        return Err("its format is not known");
    }
    match postcard::take_from_bytes(bytes) {
        Ok((record, [])) => Ok(record),
        Ok(_) => Err("there are bytes behind it"),
        Err(_) => Err("it cannot be read"),
    }
}

impl Write {
    /// As a change of the store.
    pub fn to_kv(&self) -> Kv {
        let (table, key, value) = match self {
            Write::Network(vnet, r) => {
                (Table::Networks, vnet.to_be_bytes().to_vec(), pack(r.as_ref()))
            }
            Write::Host(id, r) => (Table::Hosts, id.as_bytes().to_vec(), pack(r.as_ref())),
            Write::Port(vnet, ip, r) => (Table::Ports, port_key(*vnet, *ip), pack(r.as_ref())),
            Write::Route(k, r) => {
                let key = [
                    &k.vnet.to_be_bytes()[..],
                    &k.vlan.to_be_bytes(),
                    &k.subnet.key(),
                    &k.r_subnet.key(),
                ];
                (Table::Routes, key.concat(), pack(r.as_ref()))
            }
            Write::Log(host, seq, r) => (Table::Log, log_key(*host, *seq), pack(r.as_ref())),
        };
        Kv { table, key, value }
    }

    /// A record of the store. Any bytes are safe.
    pub fn from_record(table: Table, key: &[u8], value: &[u8]) -> Result<Write, BadRecord> {
        let bad = |why| BadRecord { table, key: key.to_vec(), why };
        let write = match table {
            Table::Networks => unpack::<Network>(value).map(|r| Write::Network(r.vnet, Some(r))),
            Table::Hosts => unpack::<Host>(value).map(|r| Write::Host(r.id, Some(r))),
            Table::Ports => unpack::<Port>(value).map(|r| Write::Port(r.vnet, r.ip, Some(r))),
            Table::Routes => unpack::<Route>(value).map(|r| Write::Route(r.key(), Some(r))),
            Table::Log => unpack::<LogRecord>(value).map(|r| Write::Log(r.host, r.seq, Some(r))),
        };
        let write = write.map_err(bad)?;
        if write.to_kv().key != key {
            return Err(bad("it lies under the key of another"));
        }
        Ok(write)
    }
}
