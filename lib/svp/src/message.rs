// SPDX-License-Identifier: CDDL-1.0
//! Every operation as a value: decoded from a frame, encoded into a buffer.

use crate::bytes::{Reader, put};
use crate::frame::{self, Frame};
use crate::log::{Entries, Ids, Named};
use crate::types::{Id, L3Type, Op, Refusal, Status, Version};
use overlay_abi::ids::MacAddr;
use std::net::Ipv6Addr;
use uuid::Uuid;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Of the header.
    pub version: u16,
    /// Of the header.
    pub id: Id,
    /// Operation and payload.
    pub body: Body<'a>,
}

/// Where a host takes encapsulated packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Underlay {
    /// IPv4 as v4-mapped.
    pub ip: Ipv6Addr,
    /// UDP port.
    pub port: u16,
}

impl Underlay {
    /// What is written where there is none: in replies that are not OK, and for routers.
    pub const NONE: Underlay = Underlay { ip: Ipv6Addr::UNSPECIFIED, port: 0 };
}

/// VL2_ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vl2Ack {
    /// 16 bits on the wire.
    pub status: Status,
    /// Host of the guest.
    pub ul3: Underlay,
}

/// VL3_ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vl3Ack {
    /// Result.
    pub status: Status,
    /// Of the guest, or of the router.
    pub mac: MacAddr,
    /// Host of the guest; [`Underlay::NONE`] with status OK says "a router".
    pub ul3: Underlay,
}

/// ROUTE_REQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteReq {
    /// Network that the packet leaves.
    pub vnet: u32,
    /// 802.1Q tag of the packet.
    pub vlan: u16,
    /// Of the packet.
    pub src: Ipv6Addr,
    /// Of the packet, same family.
    pub dst: Ipv6Addr,
}

/// ROUTE_ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteAck {
    /// Result.
    pub status: Status,
    /// Data centre that the packet goes to.
    pub dcid: u32,
    /// Network that the packet goes to.
    pub vnet: u32,
    /// 802.1Q tag there.
    pub vlan: u16,
    /// Host of the destination.
    pub ul3: Underlay,
    /// Source address of the routed frame.
    pub src_mac: MacAddr,
    /// Destination address of the routed frame.
    pub dst_mac: MacAddr,
    /// Bits of the source subnet, 0..32 for IPv4.
    pub src_prefix: u8,
    /// Bits of the destination subnet, likewise.
    pub dst_prefix: u8,
}

impl RouteAck {
    /// A reply that is not OK: everything else is zero.
    pub fn failed(status: Status) -> RouteAck {
        RouteAck {
            status,
            dcid: 0,
            vnet: 0,
            vlan: 0,
            ul3: Underlay::NONE,
            src_mac: MacAddr::ZERO,
            dst_mac: MacAddr::ZERO,
            src_prefix: 0,
            dst_prefix: 0,
        }
    }
}

/// Operation and payload. Borrowed parts point into the received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// [`Op::Ping`]
    Ping,
    /// [`Op::Pong`]
    Pong,
    /// [`Op::Vl2Req`]
    Vl2Req {
        /// Of the guest looked for.
        mac: MacAddr,
        /// Its network.
        vnet: u32,
    },
    /// [`Op::Vl2Ack`]
    Vl2Ack(Vl2Ack),
    /// [`Op::Vl3Req`]
    Vl3Req {
        /// Of the guest looked for.
        ip: Ipv6Addr,
        /// Family as the client sees it.
        l3: L3Type,
        /// Its network.
        vnet: u32,
    },
    /// [`Op::Vl3Ack`]
    Vl3Ack(Vl3Ack),
    /// [`Op::BulkReq`]
    BulkReq {
        /// 1 for VL2, 2 for VL3.
        kind: u32,
    },
    /// [`Op::BulkAck`]
    BulkAck {
        /// Result.
        status: Status,
        /// As asked.
        kind: u32,
        /// Of no defined format.
        data: &'a [u8],
    },
    /// [`Op::LogReq`]
    LogReq {
        /// Payload bytes that the client can take.
        count: u32,
        /// Underlay address of the client.
        ip: Ipv6Addr,
    },
    /// [`Op::LogAck`]
    LogAck {
        /// Result.
        status: Status,
        /// What has changed.
        entries: Entries<'a>,
    },
    /// [`Op::LogRm`]
    LogRm(Ids<'a>),
    /// [`Op::LogRmAck`]
    LogRmAck(Status),
    /// [`Op::Shootdown`]
    Shootdown {
        /// Of the guest that is not where it was thought to be.
        mac: MacAddr,
        /// Its network.
        vnet: u32,
    },
    /// [`Op::RouteReq`]
    RouteReq(RouteReq),
    /// [`Op::RouteAck`]
    RouteAck(RouteAck),
}

impl<'a> Body<'a> {
    /// The operation.
    pub fn op(&self) -> Op {
        match self {
            Body::Ping => Op::Ping,
            Body::Pong => Op::Pong,
            Body::Vl2Req { .. } => Op::Vl2Req,
            Body::Vl2Ack(_) => Op::Vl2Ack,
            Body::Vl3Req { .. } => Op::Vl3Req,
            Body::Vl3Ack(_) => Op::Vl3Ack,
            Body::BulkReq { .. } => Op::BulkReq,
            Body::BulkAck { .. } => Op::BulkAck,
            Body::LogReq { .. } => Op::LogReq,
            Body::LogAck { .. } => Op::LogAck,
            Body::LogRm(_) => Op::LogRm,
            Body::LogRmAck(_) => Op::LogRmAck,
            Body::Shootdown { .. } => Op::Shootdown,
            Body::RouteReq(_) => Op::RouteReq,
            Body::RouteAck(_) => Op::RouteAck,
        }
    }

    /// The payload of a frame whose header says how to read it.
    fn decode(frame: &Frame<'a>) -> Result<Body<'a>, Refusal> {
        let (op, size) = (frame.header.op, frame.header.size);
        let version = frame.header.spoken();
        let mut r = Reader(frame.payload);
        match op {
            Op::LogAck => {
                let status = r.u32().ok_or(Refusal::Size { op, size })?;
                let entries = Entries::check(r.0, version)?;
                Ok(Body::LogAck { status: Status(status), entries })
            }
            Op::LogRm => Ids::check(r.0).map(Body::LogRm),
            _ => Body::fixed(op, &mut r).ok_or(Refusal::Size { op, size }),
        }
    }

    /// An operation of fixed fields; `None` if there are too few bytes, which the header excludes.
    fn fixed(op: Op, r: &mut Reader<'a>) -> Option<Body<'a>> {
        Some(match op {
            Op::Ping => Body::Ping,
            Op::Pong => Body::Pong,
            Op::Vl2Req => {
                let (mac, vnet) = mac_vnet(r)?;
                Body::Vl2Req { mac, vnet }
            }
            Op::Vl2Ack => {
                let status = Status(u32::from(r.u16()?));
                Body::Vl2Ack(Vl2Ack { status, ul3: port_ip(r)? })
            }
            Op::Vl3Req => Body::Vl3Req { ip: r.ip()?, l3: L3Type(r.u32()?), vnet: r.u32()? },
            Op::Vl3Ack => {
                let (status, mac) = (Status(r.u32()?), r.mac()?);
                Body::Vl3Ack(Vl3Ack { status, mac, ul3: port_ip(r)? })
            }
            Op::BulkReq => Body::BulkReq { kind: r.u32()? },
            Op::BulkAck => Body::BulkAck { status: Status(r.u32()?), kind: r.u32()?, data: r.0 },
            Op::LogReq => Body::LogReq { count: r.u32()?, ip: r.ip()? },
            Op::LogAck | Op::LogRm => return None,
            Op::LogRmAck => Body::LogRmAck(Status(r.u32()?)),
            Op::Shootdown => {
                let (mac, vnet) = mac_vnet(r)?;
                Body::Shootdown { mac, vnet }
            }
            Op::RouteReq => {
                let (vnet, vlan) = (r.u32()?, r.u16()?);
                r.pad::<2>()?;
                Body::RouteReq(RouteReq { vnet, vlan, src: r.ip()?, dst: r.ip()? })
            }
            Op::RouteAck => Body::RouteAck(RouteAck {
                status: Status(r.u32()?),
                dcid: r.u32()?,
                vnet: r.u32()?,
                vlan: r.u16()?,
                ul3: port_ip(r)?,
                src_mac: r.mac()?,
                dst_mac: r.mac()?,
                src_prefix: r.u8()?,
                dst_prefix: r.u8()?,
            }),
        })
    }

    /// Appends the payload.
    fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Body::Ping | Body::Pong => {}
            Body::Vl2Req { mac, vnet } | Body::Shootdown { mac, vnet } => {
                put!(out, mac, 0u16, vnet);
            }
            Body::Vl2Ack(Vl2Ack { status, ul3 }) => {
                // A status that 16 bits cannot carry must not turn into OK.
                let status = u16::try_from(status.0).unwrap_or(1);
                put!(out, status, ul3.port, ul3.ip);
            }
            Body::Vl3Req { ip, l3, vnet } => put!(out, ip, l3.0, vnet),
            Body::Vl3Ack(Vl3Ack { status, mac, ul3 }) => {
                put!(out, status.0, mac, ul3.port, ul3.ip);
            }
            Body::BulkReq { kind } => put!(out, kind),
            Body::BulkAck { status, kind, data } => {
                put!(out, status.0, kind);
                out.extend_from_slice(data);
            }
            Body::LogReq { count, ip } => put!(out, count, ip),
            Body::LogAck { status, entries } => {
                put!(out, status.0);
                out.extend_from_slice(entries.as_bytes());
            }
            Body::LogRm(ids) => {
                put!(out, u32::try_from(ids.iter().len()).unwrap_or(u32::MAX));
                ids.iter().for_each(|id| put!(out, id));
            }
            Body::LogRmAck(status) => put!(out, status.0),
            Body::RouteReq(r) => put!(out, r.vnet, r.vlan, 0u16, r.src, r.dst),
            Body::RouteAck(r) => put!(
                out,
                r.status.0,
                r.dcid,
                r.vnet,
                r.vlan,
                r.ul3.port,
                r.ul3.ip,
                r.src_mac,
                r.dst_mac,
                r.src_prefix,
                r.dst_prefix,
                0u16
            ),
        }
    }
}

fn mac_vnet(r: &mut Reader<'_>) -> Option<(MacAddr, u32)> {
    let mac = r.mac()?;
    r.pad::<2>()?;
    Some((mac, r.u32()?))
}

fn port_ip(r: &mut Reader<'_>) -> Option<Underlay> {
    let port = r.u16()?;
    Some(Underlay { port, ip: r.ip()? })
}

impl<'a> Message<'a> {
    /// The message in a frame.
    pub fn decode(frame: &Frame<'a>) -> Result<Message<'a>, Refusal> {
        let Frame { header, .. } = frame;
        Ok(Message { version: header.version, id: header.id, body: Body::decode(frame)? })
    }

    /// Appends the message as on the wire.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::append(out, self.version, self.body.op(), self.id, |out| self.body.encode(out));
    }
}

/// Appends a LOG_ACK with these entries. Those that a peer of `version` does not know are the
/// caller's to leave out ([`crate::log::Room`]).
pub fn encode_log_ack(
    out: &mut Vec<u8>,
    version: Version,
    id: Id,
    status: Status,
    entries: impl IntoIterator<Item = Named>,
) {
    frame::append(out, version.wire(), Op::LogAck, id, |out| {
        put!(out, status.0);
        entries.into_iter().for_each(|e| e.encode(out));
    });
}

/// Appends a LOG_RM of these ids.
pub fn encode_log_rm(out: &mut Vec<u8>, version: Version, id: Id, ids: &[Uuid]) {
    frame::append(out, version.wire(), Op::LogRm, id, |out| {
        put!(out, u32::try_from(ids.len()).unwrap_or(u32::MAX));
        ids.iter().for_each(|id| put!(out, *id));
    });
}
