// SPDX-License-Identifier: CDDL-1.0
//! SVP on both sides: `[which side] [cut] [stream]`.
//!
//! The checksums of the stream are put right first, since a fuzzer does not guess them; with the top bit of the
//! first byte they are left as they are. Cut in two at any offset, the stream means what it means in one piece.
//! A message that is accepted encodes to one that means the same. A client takes nothing that it did not ask for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::net::Ipv4Addr;
use svp::client::{Client, Event, Question};
use svp::message::RouteReq;
use svp::server::Server;
use svp::{Body, HEADER, Id, MacAddr, Message, Refusal, Version, frame};

const V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fuzz_target!(|data: &[u8]| {
    let Some((&[side, cut], stream)) = data.split_first_chunk() else { return };
    let mut stream = stream.to_vec();
    if side & 0x80 == 0 {
        put_right(&mut stream);
    }
    let cut = usize::from(cut).min(stream.len());
    match side & 1 {
        0 => server(&stream, cut),
        _ => client(&stream, cut, side),
    }
});

/// Writes the checksum of each message whose end is there.
fn put_right(stream: &mut [u8]) {
    let mut rest = stream;
    while let Some((head, behind)) = rest.split_first_chunk_mut::<HEADER>() {
        let size = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let Some((payload, next)) = behind.split_at_mut_checked(size as usize) else { return };
        head[12..].fill(0);
        let crc = crc32fast::hash(&[&head[..], payload].concat());
        head[12..].copy_from_slice(&crc.to_be_bytes());
        rest = next;
    }
}

/// What a server makes of a stream that comes in these pieces: requests as text, and the end.
fn asked(pieces: &[&[u8]]) -> (Vec<String>, Result<(), Refusal>) {
    let mut server = Server::default();
    let mut all = Vec::new();
    for piece in pieces {
        server.buffer().extend_from_slice(piece);
        loop {
            match server.next() {
                Ok(Some(asked)) => all.push(format!("{asked:?}")),
                Ok(None) => break,
                Err(why) => return (all, Err(why)),
            }
        }
    }
    (all, server.end())
}

fn server(stream: &[u8], cut: usize) {
    let (a, b) = stream.split_at(cut);
    assert_eq!(asked(&[stream]), asked(&[a, b]));
    let mut rest = stream;
    while let Ok(Some((frame, len))) = frame::first(rest) {
        if let Ok(message) = Message::decode(&frame) {
            let mut once = Vec::new();
            message.encode(&mut once);
            let (again, len_again) = frame::first(&once).expect("our own").expect("whole");
            assert_eq!(len_again, len);
            assert_eq!(Message::decode(&again).expect("our own"), message);
        }
        rest = &rest[len..];
    }
}

fn client(stream: &[u8], cut: usize, side: u8) {
    let mut client = match side & 2 {
        0 => Client::negotiate(),
        _ => Client::fixed(Version::V2),
    };
    let mut waiting = Vec::new();
    // In the order in which ids are given: 1 is the PING, or the first question.
    for question in [
        Question::Vl2 { mac: MacAddr([2; 6]), vnet: 7 },
        Question::Vl3 { ip: [10, 0, 0, 1].into(), vnet: 7 },
        Question::Log { count: 1024, ip: [10, 0, 0, 1].into() },
        Question::LogRm(vec![svp::Uuid::nil()]),
        Question::Route(RouteReq {
            vnet: 7,
            vlan: 3,
            src: V4.to_ipv6_mapped(),
            dst: V4.to_ipv6_mapped(),
        }),
    ] {
        waiting.extend(client.ask(&question));
    }
    client.wrote(client.output().len());
    let (a, b) = stream.split_at(cut);
    for piece in [a, b] {
        client.buffer().extend_from_slice(piece);
        loop {
            let event = match client.poll() {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(why) => {
                    assert!(why.ends_connection());
                    assert_eq!(client.poll(), Err(why));
                    return;
                }
            };
            if let Event::Reply { id, body } = event {
                assert!(waiting.contains(&id), "nobody asked");
                waiting.retain(|w| *w != id);
                let fits = match body {
                    Ok(Body::Vl2Ack(_)) => id == Id::from(1),
                    Ok(Body::Vl3Ack(_)) => id == Id::from(2),
                    Ok(Body::LogAck { entries, .. }) => {
                        id == Id::from(3) && entries.as_bytes().len() <= 1024
                    }
                    Ok(Body::LogRmAck(_)) => id == Id::from(4),
                    Ok(Body::RouteAck(_)) => id == Id::from(5),
                    Ok(_) => false,
                    Err(why) => id == Id::from(3) && !why.ends_connection(),
                };
                assert!(fits, "the answer to something else");
            }
        }
    }
}
