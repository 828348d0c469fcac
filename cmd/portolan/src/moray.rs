// SPDX-License-Identifier: CDDL-1.0
//! The records of the original portolan, as its database (moray) keeps them in buckets (svp.md 7).
//!
//! Read leniently, as its tools wrote them: addresses in any text form, fields that we have no use for
//! ignored. Written in the form in which its server looks them up.

use crate::change::Change;
use crate::net::{Mac, Subnet, octets};
use crate::record::{Event, Host, LogRecord, Port, Route};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv6Addr};
use svp::MacAddr;
use thiserror::Error;
use uuid::Uuid;

/// Hosts.
pub const UNDERLAY: &str = "portolan_underlay_mappings";
/// Ports.
pub const PORTS: &str = "portolan_vnet_mac_ip";
/// Logs.
pub const EVENTS: &str = "portolan_cn_net_events";
/// Routes.
pub const ROUTES: &str = "portolan_vnet_routes";

/// In an order in which each refers to those before it.
pub const BUCKETS: [&str; 4] = [UNDERLAY, PORTS, ROUTES, EVENTS];

/// An object that is not what its bucket should hold.
#[derive(Debug, Error)]
#[error("bucket {bucket}, key {key}: {why}")]
pub struct BadObject {
    bucket: String,
    key: String,
    why: String,
}

#[derive(Deserialize)]
struct Underlay {
    cn_uuid: Uuid,
    ip: IpAddr,
    port: u16,
}

#[derive(Deserialize)]
struct Mapping {
    mac: u64,
    ip: IpAddr,
    cn_uuid: Uuid,
    vnet_id: u32,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    router: bool,
}

#[derive(Deserialize)]
struct NetEvent {
    cn_uuid: Uuid,
    record: EventRecord,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum EventRecord {
    #[serde(rename = "SVP_LOG_VL2")]
    Vl2 { mac: u64, vnet_id: u32 },
    #[serde(rename = "SVP_LOG_VL3")]
    Vl3 { ip: IpAddr, vlan: u16, vnet_id: u32 },
    #[serde(rename = "SVP_LOG_ROUTE")]
    Route {
        src_vnet_id: u32,
        dst_vnet_id: u32,
        dcid: u32,
        srcip: IpAddr,
        dstip: IpAddr,
        src_vlan_id: u16,
        dst_vlan_id: u16,
        src_prefixlen: u8,
        dst_prefixlen: u8,
    },
}

#[derive(Deserialize)]
struct VnetRoute {
    #[serde(default)]
    net_uuid: Option<Uuid>,
    vnet_id: u32,
    vlan_id: u16,
    subnet: String,
    r_dc_id: u32,
    #[serde(default)]
    r_net_uuid: Option<Uuid>,
    r_vnet_id: u32,
    r_vlan_id: u16,
    r_subnet: String,
    r_send_mac: u64,
    #[serde(default)]
    deleted: bool,
}

fn mac(n: u64) -> Result<Mac, String> {
    match n.to_be_bytes() {
        [0, 0, mac @ ..] => Ok(Mac(MacAddr(mac))),
        _ => Err(format!("{n} is more than the 48 bits of an Ethernet address")),
    }
}

fn mac_number(mac: Mac) -> u64 {
    mac.0.0.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// A subnet in either form: `10.0.0.0/24` or `::ffff:a00:0/120`.
fn subnet(text: &str) -> Result<Subnet, String> {
    text.parse()
}

/// A subnet of an event: the length in the v6 form, or as people count it where that is the only way to read
/// it.
fn event_subnet(ip: IpAddr, prefix: u8) -> Result<Subnet, String> {
    let prefix = match ip.to_canonical() {
        IpAddr::V4(_) if prefix <= 32 => prefix + 96,
        IpAddr::V4(_) if prefix < 96 => return Err(format!("{ip}/{prefix}: not a subnet of IPv4")),
        _ if prefix > 128 => return Err(format!("{ip}/{prefix}: a prefix has at most 128 bits")),
        _ => prefix,
    };
    Ok(Subnet::from_v6(v6(ip), prefix))
}

fn v6(ip: IpAddr) -> Ipv6Addr {
    octets(ip).into()
}

/// An address as its server looks it up: v4-mapped in hexadecimal.
fn text(ip: Ipv6Addr) -> String {
    match (ip.to_ipv4_mapped(), ip.segments()) {
        (Some(_), [.., a, b]) => format!("::ffff:{a:x}:{b:x}"),
        _ => ip.to_string(),
    }
}

/// The change that restores an object of a bucket.
pub fn read(bucket: &str, key: &str, value: &Value) -> Result<Change, BadObject> {
    change(bucket, key, value).map_err(|why| BadObject {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        why,
    })
}

fn change(bucket: &str, key: &str, value: &Value) -> Result<Change, String> {
    fn parse<'a, T: Deserialize<'a>>(value: &'a Value) -> Result<T, String> {
        T::deserialize(value).map_err(|e| e.to_string())
    }
    match bucket {
        UNDERLAY => {
            let Underlay { cn_uuid, ip, port } = parse(value)?;
            Ok(Change::Host(Host { id: cn_uuid, ip: ip.to_canonical(), port }))
        }
        PORTS => {
            let m: Mapping = parse(value)?;
            Ok(Change::Port(Port {
                vnet: m.vnet_id,
                ip: m.ip.to_canonical(),
                mac: mac(m.mac)?,
                host: m.cn_uuid,
                vlan: 0,
                router: m.router,
                deleted: m.deleted,
                modified: 0,
            }))
        }
        ROUTES => {
            let r: VnetRoute = parse(value)?;
            Ok(Change::Route(Route {
                vnet: r.vnet_id,
                vlan: r.vlan_id,
                subnet: subnet(&r.subnet)?,
                r_subnet: subnet(&r.r_subnet)?,
                r_dcid: r.r_dc_id,
                r_vnet: r.r_vnet_id,
                r_vlan: r.r_vlan_id,
                r_send_mac: mac(r.r_send_mac)?,
                net_uuid: r.net_uuid,
                r_net_uuid: r.r_net_uuid,
                deleted: r.deleted,
                modified: 0,
            }))
        }
        EVENTS => {
            let NetEvent { cn_uuid, record } = parse(value)?;
            let id = key.parse().map_err(|_| "the key is not a UUID".to_owned())?;
            Ok(Change::Log(LogRecord { host: cn_uuid, seq: 0, id, event: event(record)? }))
        }
        _ => Err("no bucket of portolan".into()),
    }
}

fn event(record: EventRecord) -> Result<Event, String> {
    Ok(match record {
        EventRecord::Vl2 { mac: n, vnet_id } => Event::Vl2 { mac: mac(n)?, vnet: vnet_id },
        EventRecord::Vl3 { ip, vlan, vnet_id } => {
            Event::Vl3 { ip: ip.to_canonical(), vlan, vnet: vnet_id }
        }
        EventRecord::Route {
            src_vnet_id,
            dst_vnet_id,
            dcid,
            srcip,
            dstip,
            src_vlan_id,
            dst_vlan_id,
            src_prefixlen,
            dst_prefixlen,
        } => Event::Route {
            src_vnet: src_vnet_id,
            dst_vnet: dst_vnet_id,
            dcid,
            src: event_subnet(srcip, src_prefixlen)?,
            dst: event_subnet(dstip, dst_prefixlen)?,
            src_vlan: src_vlan_id,
            dst_vlan: dst_vlan_id,
        },
    })
}

/// Bucket, key and object of a record; `None` for networks, which the original does not know.
pub fn write(change: &Change) -> Option<(&'static str, String, Value)> {
    match change {
        Change::Host(h) => {
            let value = json!({"cn_uuid": h.id, "ip": text(v6(h.ip)), "port": h.port});
            Some((UNDERLAY, h.id.to_string(), value))
        }
        Change::Port(p) => {
            let ip = text(v6(p.ip));
            let value = json!({
                "mac": mac_number(p.mac), "ip": ip, "cn_uuid": p.host, "vnet_id": p.vnet,
                "version": 1, "deleted": p.deleted, "router": p.router,
            });
            Some((PORTS, format!("{ip},{}", p.vnet), value))
        }
        Change::Route(r) => {
            let subnet = |s: Subnet| format!("{}/{}", text(s.address()), s.prefix_v6());
            let (src, dst) = (subnet(r.subnet), subnet(r.r_subnet));
            let value = json!({
                "net_uuid": r.net_uuid, "vnet_id": r.vnet, "vlan_id": r.vlan, "subnet": src,
                "r_dc_id": r.r_dcid, "r_net_uuid": r.r_net_uuid, "r_vnet_id": r.r_vnet,
                "r_vlan_id": r.r_vlan, "r_subnet": dst, "r_send_mac": mac_number(r.r_send_mac),
                "version": 1, "deleted": r.deleted,
            });
            Some((ROUTES, format!("{},{},{src},{dst}", r.vnet, r.vlan), value))
        }
        Change::Log(l) => {
            let (vnet, record) = match &l.event {
                Event::Vl2 { mac, vnet } => {
                    (vnet, json!({"type": "SVP_LOG_VL2", "mac": mac_number(*mac), "vnet_id": vnet}))
                }
                Event::Vl3 { ip, vlan, vnet } => (
                    vnet,
                    json!({
                        "type": "SVP_LOG_VL3", "ip": text(v6(*ip)), "vlan": vlan, "vnet_id": vnet
                    }),
                ),
                Event::Route { src_vnet, dst_vnet, dcid, src, dst, src_vlan, dst_vlan } => (
                    src_vnet,
                    json!({
                        "type": "SVP_LOG_ROUTE", "src_vnet_id": src_vnet, "dst_vnet_id": dst_vnet,
                        "dcid": dcid, "srcip": text(src.address()), "dstip": text(dst.address()),
                        "src_vlan_id": src_vlan, "dst_vlan_id": dst_vlan,
                        "src_prefixlen": src.prefix_v6(), "dst_prefixlen": dst.prefix_v6(),
                    }),
                ),
            };
            let value = json!({"cn_uuid": l.host, "vnet_id": vnet, "version": 1, "record": record});
            Some((EVENTS, l.id.to_string(), value))
        }
        _ => None,
    }
}
