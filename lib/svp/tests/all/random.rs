// SPDX-License-Identifier: CDDL-1.0
//! Any bytes, and any message.

use overlay_abi::ids::MacAddr;
use proptest::collection::vec;
use proptest::prelude::*;
use svp::log::{Entries, Entry, Fit, Named, Room, Route};
use svp::message::{RouteReq, encode_log_ack, encode_log_rm};
use svp::server::{Request, Server};
use svp::{Body, Framer, Id, L3Type, Message, Op, Status, Uuid, Version, frame};

fn ip() -> impl Strategy<Value = std::net::Ipv6Addr> {
    any::<[u8; 16]>().prop_map(Into::into)
}

fn entry() -> impl Strategy<Value = Named> {
    let vl2 = (any::<[u8; 6]>(), any::<u32>())
        .prop_map(|(mac, vnet)| Entry::Vl2 { mac: MacAddr(mac), vnet });
    let vl3 = (ip(), any::<u16>(), any::<u32>()).prop_map(|(ip, vlan, vnet)| Entry::Vl3 {
        ip,
        vlan,
        vnet,
    });
    let route = (any::<[u32; 3]>(), ip(), ip(), any::<[u16; 2]>(), any::<[u8; 2]>()).prop_map(
        |([src_vnet, dst_vnet, dcid], src, dst, [src_vlan, dst_vlan], [src_prefix, dst_prefix])| {
            Entry::Route(Route {
                src_vnet,
                dst_vnet,
                dcid,
                src,
                dst,
                src_vlan,
                dst_vlan,
                src_prefix,
                dst_prefix,
            })
        },
    );
    (any::<[u8; 16]>(), prop_oneof![vl2, vl3, route])
        .prop_map(|(id, entry)| Named { id: Uuid::from_bytes(id), entry })
}

/// A request of a client, encoded, and the operation it is.
fn request() -> impl Strategy<Value = (Op, Vec<u8>)> {
    let id = any::<u32>().prop_map(Id::from);
    let encode = |id, body: Body<'_>| {
        let mut out = Vec::new();
        Message { version: 2, id, body }.encode(&mut out);
        (body.op(), out)
    };
    prop_oneof![
        id.clone().prop_map(move |id| encode(id, Body::Ping)),
        (id.clone(), any::<[u8; 6]>(), any::<u32>())
            .prop_map(move |(id, mac, vnet)| encode(id, Body::Vl2Req { mac: MacAddr(mac), vnet })),
        (id.clone(), ip(), any::<u32>(), any::<u32>()).prop_map(move |(id, ip, l3, vnet)| encode(
            id,
            Body::Vl3Req { ip, l3: L3Type(l3), vnet }
        )),
        (id.clone(), any::<u32>(), ip())
            .prop_map(move |(id, count, ip)| encode(id, Body::LogReq { count, ip })),
        (id.clone(), vec(any::<[u8; 16]>(), 0..70)).prop_map(|(id, ids)| {
            let ids: Vec<_> = ids.into_iter().map(Uuid::from_bytes).collect();
            let mut out = Vec::new();
            encode_log_rm(&mut out, Version::V2, id, &ids);
            (Op::LogRm, out)
        }),
        (id, any::<u32>(), any::<u16>(), ip(), ip()).prop_map(move |(id, vnet, vlan, src, dst)| {
            encode(id, Body::RouteReq(RouteReq { vnet, vlan, src, dst }))
        }),
    ]
}

fn op_of(request: &Request<'_>) -> Op {
    match request {
        Request::Ping => Op::Ping,
        Request::Vl2 { .. } => Op::Vl2Req,
        Request::Vl3 { .. } => Op::Vl3Req,
        Request::Bulk { .. } => Op::BulkReq,
        Request::Log { .. } => Op::LogReq,
        Request::LogRm(_) => Op::LogRm,
        Request::Route(_) => Op::RouteReq,
    }
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        let mut framer = Framer::default();
        framer.buffer().extend_from_slice(&bytes);
        while let Ok(Some(frame)) = framer.next() {
            let _ = Message::decode(&frame);
        }
    }

    /// A checksum that is right, over a payload that need not be: what is accepted comes out as it
    /// went in, up to pad bytes.
    #[test]
    fn any_payload_is_refused_or_kept(
        op in 1u16..16, version in 1u16..3, payload in vec(any::<u8>(), 0..160),
    ) {
        let op = Op::from_wire(op).unwrap();
        let mut bytes = Vec::new();
        frame::append(&mut bytes, version, op, Id::from(3), |out| out.extend(&payload));
        if let Ok(Some((frame, len))) = frame::first(&bytes) {
            prop_assert_eq!(len, bytes.len());
            if let Ok(message) = Message::decode(&frame) {
                let mut once = Vec::new();
                message.encode(&mut once);
                let (again, _) = frame::first(&once).unwrap().unwrap();
                prop_assert_eq!(Message::decode(&again).unwrap(), message);
            }
        }
    }

    #[test]
    fn requests_come_through_any_segmentation(
        requests in vec(request(), 1..12), cuts in vec(1usize..90, 1..40),
    ) {
        let stream: Vec<u8> = requests.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let mut server = Server::default();
        let mut got = Vec::new();
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            server.buffer().extend_from_slice(now);
            while let Some(asked) = server.next().unwrap() {
                got.push(op_of(&asked.request));
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(server.end(), Ok(()));
        let want: Vec<_> = requests.iter().map(|(op, _)| *op).collect();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn entries_come_back_as_they_were(entries in vec(entry(), 0..20)) {
        let mut out = Vec::new();
        encode_log_ack(&mut out, Version::V2, Id::from(1), Status::OK, entries.iter().copied());
        let (frame, _) = frame::first(&out).unwrap().unwrap();
        let Body::LogAck { entries: got, .. } = Message::decode(&frame).unwrap().body else {
            panic!("not a LOG_ACK");
        };
        prop_assert_eq!(got.iter().collect::<Vec<_>>(), entries);
    }

    #[test]
    fn one_cut_entry_refuses_all(entries in vec(entry(), 1..8), less in 1usize..32) {
        let mut bytes = Vec::new();
        entries.iter().for_each(|e| e.encode(&mut bytes));
        let cut = &bytes[..bytes.len() - less];
        prop_assert!(Entries::check(cut, Version::V2).is_err());
    }

    /// Room never hands out more than was asked for, status word included, and never stops at an
    /// entry that it leaves out.
    #[test]
    fn a_log_reply_fits(entries in vec(entry(), 0..60), count in 0u32..1500, v1: bool) {
        let version = if v1 { Version::V1 } else { Version::V2 };
        let mut room = Room::new(count, version);
        let mut taken = Vec::new();
        for e in &entries {
            match room.take(&e.entry) {
                Fit::Put => taken.push(*e),
                Fit::Skip => prop_assert!(v1 && matches!(e.entry, Entry::Route(_))),
                Fit::Full => break,
            }
        }
        let mut out = Vec::new();
        encode_log_ack(&mut out, version, Id::from(1), Status::OK, taken.iter().copied());
        let payload = out.len() - svp::HEADER;
        prop_assert!(payload <= (count as usize).max(4));
        let (frame, _) = frame::first(&out).unwrap().unwrap();
        prop_assert!(Message::decode(&frame).is_ok());
    }
}
