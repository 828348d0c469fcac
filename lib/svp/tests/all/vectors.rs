// SPDX-License-Identifier: CDDL-1.0
//! The golden messages, both ways and damaged in every way.

use crate::common::{Vector, invalid, unhex, valid};
use overlay_abi::ids::MacAddr;
use serde_json::Value;
use std::net::Ipv6Addr;
use svp::log::{Entries, Entry, Ids, Named, Route};
use svp::message::{RouteAck, RouteReq, Underlay, Vl2Ack, Vl3Ack};
use svp::{Body, Framer, Id, L3Type, Message, Op, Refusal, Status, Uuid, Version, frame};

struct Fields<'a>(&'a Value);

impl Fields<'_> {
    fn n<T: TryFrom<u64, Error: std::fmt::Debug>>(&self, key: &str) -> T {
        let n = self.0[key].as_u64().unwrap_or_else(|| panic!("{key} in {}", self.0));
        T::try_from(n).unwrap()
    }
    fn mac(&self, key: &str) -> MacAddr {
        self.0[key].as_str().unwrap().parse().unwrap()
    }
    fn ip(&self, key: &str) -> Ipv6Addr {
        self.0[key].as_str().unwrap().parse().unwrap()
    }
    fn status(&self) -> Status {
        Status(self.n("status"))
    }
    fn ul3(&self, port: &str, ip: &str) -> Underlay {
        Underlay { ip: self.ip(ip), port: self.n(port) }
    }
    fn entry(&self) -> Named {
        let id = self.0["id"].as_str().unwrap().parse().unwrap();
        let entry = match self.n("type") {
            1 => Entry::Vl2 { mac: self.mac("mac"), vnet: self.n("vnetid") },
            2 => Entry::Vl3 { ip: self.ip("ip"), vlan: self.n("vlan"), vnet: self.n("vnetid") },
            n => {
                assert_eq!(n, 3u64);
                Entry::Route(Route {
                    src_vnet: self.n("src_vnetid"),
                    dst_vnet: self.n("dst_vnetid"),
                    dcid: self.n("dcid"),
                    src: self.ip("srcip"),
                    dst: self.ip("dstip"),
                    src_vlan: self.n("src_vlan"),
                    dst_vlan: self.n("dst_vlan"),
                    src_prefix: self.n("src_prefixlen"),
                    dst_prefix: self.n("dst_prefixlen"),
                })
            }
        };
        Named { id, entry }
    }
}

/// The message that the fields describe, encoded.
fn build(v: &Vector) -> Vec<u8> {
    let f = Fields(&v.fields);
    let version: u16 = f.n("ver");
    let id = Id::from(f.n::<u32>("id"));
    let mut entries = Vec::new();
    let mut ids = Vec::new();
    let mut data = Vec::new();
    let body = match v.kind.as_str() {
        "PING" => Body::Ping,
        "PONG" => Body::Pong,
        "VL2_REQ" => Body::Vl2Req { mac: f.mac("mac"), vnet: f.n("vnetid") },
        "VL2_ACK" => Body::Vl2Ack(Vl2Ack { status: f.status(), ul3: f.ul3("port", "addr") }),
        "VL3_REQ" => Body::Vl3Req { ip: f.ip("ip"), l3: L3Type(f.n("type")), vnet: f.n("vnetid") },
        "VL3_ACK" => Body::Vl3Ack(Vl3Ack {
            status: f.status(),
            mac: f.mac("mac"),
            ul3: f.ul3("uport", "uip"),
        }),
        "BULK_REQ" => Body::BulkReq { kind: f.n("type") },
        "BULK_ACK" => {
            data.extend(unhex(v.fields["data"].as_str().unwrap()));
            Body::BulkAck { status: f.status(), kind: f.n("type"), data: &data }
        }
        "LOG_REQ" => Body::LogReq { count: f.n("count"), ip: f.ip("ip") },
        "LOG_ACK" => {
            for e in v.fields["entries"].as_array().unwrap() {
                Fields(e).entry().encode(&mut entries);
            }
            let version = Version::exact(version).unwrap();
            let entries = Entries::check(&entries, version).unwrap();
            Body::LogAck { status: f.status(), entries }
        }
        "LOG_RM" => {
            ids.extend(f.n::<u32>("count").to_be_bytes());
            for id in v.fields["ids"].as_array().unwrap() {
                ids.extend(id.as_str().unwrap().parse::<Uuid>().unwrap().into_bytes());
            }
            Body::LogRm(Ids::check(&ids).unwrap())
        }
        "LOG_RM_ACK" => Body::LogRmAck(f.status()),
        "SHOOTDOWN" => Body::Shootdown { mac: f.mac("mac"), vnet: f.n("vnetid") },
        "ROUTE_REQ" => Body::RouteReq(RouteReq {
            vnet: f.n("vnetid"),
            vlan: f.n("vlan"),
            src: f.ip("srcip"),
            dst: f.ip("dstip"),
        }),
        "ROUTE_ACK" => Body::RouteAck(RouteAck {
            status: f.status(),
            dcid: f.n("dcid"),
            vnet: f.n("vnetid"),
            vlan: f.n("vlan"),
            ul3: f.ul3("port", "ip"),
            src_mac: f.mac("srcmac"),
            dst_mac: f.mac("dstmac"),
            src_prefix: f.n("src_pfx"),
            dst_prefix: f.n("dst_pfx"),
        }),
        other => panic!("no such kind: {other}"),
    };
    let mut out = Vec::new();
    Message { version, id, body }.encode(&mut out);
    out
}

#[test]
fn all_valid_vectors_encode_and_decode_bit_for_bit() {
    let mut ops = std::collections::HashSet::new();
    for v in valid() {
        assert_eq!(build(&v), v.bytes, "{}: encoded from its fields", v.name);
        let (frame, len) = frame::first(&v.bytes).unwrap().unwrap();
        assert_eq!(len, v.bytes.len());
        assert_eq!(frame.header.op.name(), v.kind);
        assert_eq!(format!("{:08x}", frame.header.crc), v.fields["crc"].as_str().unwrap());
        let message = Message::decode(&frame).unwrap();
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(again, v.bytes, "{}: decoded and encoded", v.name);
        ops.insert(frame.header.op);
    }
    assert_eq!(ops.len(), Op::ALL.len(), "an operation without a vector");
}

/// What the stream ends with when these bytes are all that comes.
fn verdict(bytes: &[u8]) -> Result<(), Refusal> {
    let mut framer = Framer::default();
    framer.buffer().extend_from_slice(bytes);
    while let Some(frame) = framer.next()? {
        Message::decode(&frame)?;
    }
    framer.end()
}

#[test]
fn all_invalid_vectors_are_refused_with_the_reason() {
    use Op::*;
    let reason = |name: &str| match name {
        "vl2_req_bad_crc_bit"
        | "vl2_req_bad_payload_bit"
        | "vl2_req_crc_zero"
        | "vl2_req_crc_le"
        | "ping_bad_crc"
        | "vl2_ack_bad_crc" => "crc",
        "vl2_req_short_payload" => "VL2_REQ with a payload of 8 bytes",
        "vl2_req_long_payload" => "VL2_REQ with a payload of 16 bytes",
        "vl2_req_truncated_20_of_28" => "stream ends after 20 bytes of a message",
        "header_runt_15" => "stream ends after 15 bytes of a message",
        "op_16_unknown" => "unknown operation 16",
        "op_ffff_unknown" => "unknown operation 65535",
        "ping_v0" => "PING in version 0, only 1 and 2 are spoken",
        "pong_v0" => "PONG in version 0, only 1 and 2 are spoken",
        "pong_v3" => "PONG in version 3, only 1 and 2 are spoken",
        "pong_with_payload" => "PONG with a payload of 4 bytes",
        "vl2_ack_short_19" => "VL2_ACK with a payload of 19 bytes",
        "vl2_ack_long_24" => "VL2_ACK with a payload of 24 bytes",
        "log_ack_short_3" => "LOG_ACK with a payload of 3 bytes",
        "log_ack_trunc_vl3" => "log entry at offset 0 is cut off",
        "log_ack_unknown_type_9" => "log entry at offset 0 has unknown type 9",
        "log_ack_route_on_v1" => "log entry at offset 0 is a route, in a message of version 1",
        "log_rm_count_mismatch" => "LOG_RM counts 2 ids and has 16 bytes for them",
        "log_rm_short_2" => "LOG_RM with a payload of 2 bytes",
        "route_req_on_v1" => "ROUTE_REQ needs version 2, the message has version 1",
        "route_req_short_36" => "ROUTE_REQ with a payload of 36 bytes",
        // Not wrong by itself: a newer client asks, and is answered in version 2 (section 10).
        "ping_v65535" => "fine",
        // Wrong on the connection it comes on: tests/client.rs.
        "vl2_ack_v2_on_v1_conn" => "fine",
        other => panic!("{other}: which reason?"),
    };
    for v in invalid() {
        let got = match verdict(&v.bytes) {
            Ok(()) => "fine".to_owned(),
            Err(Refusal::Crc { op: Vl2Req | Ping | Vl2Ack, .. }) => "crc".to_owned(),
            Err(why) => why.to_string(),
        };
        assert_eq!(got, reason(&v.name), "{}", v.name);
    }
}

#[test]
fn every_truncation_waits_for_more_and_is_an_error_at_the_end() {
    for v in valid() {
        for have in 1..v.bytes.len() {
            let cut = &v.bytes[..have];
            assert_eq!(frame::first(cut), Ok(None), "{} cut to {have}", v.name);
            assert_eq!(verdict(cut), Err(Refusal::Truncated { have }), "{}", v.name);
        }
    }
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    for v in valid() {
        for bit in 0..v.bytes.len() * 8 {
            let mut bytes = v.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // Either refused, or the size grew within what the operation allows and the rest of
            // the message never comes.
            assert!(verdict(&bytes).is_err(), "{} with bit {bit} flipped", v.name);
        }
    }
}

/// B3 and B19 on the receiving side: where TCP cuts the stream makes no difference.
#[test]
fn defect_b03_messages_split_at_every_offset_arrive_whole() {
    let all: Vec<u8> = valid().into_iter().flat_map(|v| v.bytes).collect();
    let count = valid().len();
    let whole = |chunks: &mut dyn Iterator<Item = &[u8]>| {
        let mut framer = Framer::default();
        let mut back = Vec::new();
        let mut seen = 0;
        for chunk in chunks {
            framer.buffer().extend_from_slice(chunk);
            while let Some(frame) = framer.next().unwrap() {
                Message::decode(&frame).unwrap().encode(&mut back);
                seen += 1;
            }
        }
        assert_eq!(framer.end(), Ok(()));
        assert_eq!((seen, &back), (count, &all));
    };
    for at in 0..=all.len() {
        let (a, b) = all.split_at(at);
        whole(&mut [a, b].into_iter());
    }
    for size in 1..64 {
        whole(&mut all.chunks(size));
    }
}

#[test]
fn giant_sizes_are_refused_by_the_header_alone() {
    for op in Op::ALL {
        for size in [op.sizes().end() + 1, 0x0100_0000, u32::MAX] {
            let mut bytes = Vec::new();
            frame::append(&mut bytes, 2, *op, Id::from(7), |_| {});
            bytes[4..8].copy_from_slice(&size.to_be_bytes());
            assert_eq!(frame::first(&bytes), Err(Refusal::Size { op: *op, size }));
        }
    }
}
