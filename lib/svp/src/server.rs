// SPDX-License-Identifier: CDDL-1.0
//! The directory's side of a connection.
//!
//! The version is that of each message, answered in kind; there is no state to negotiate. A request
//! that is refused ends the connection: what was answered before is still to be sent, nothing
//! behind it is looked at.

use crate::frame::Framer;
use crate::log::{Ids, Named};
use crate::message::{Body, Message, RouteAck, RouteReq, Underlay, Vl2Ack, Vl3Ack, encode_log_ack};
use crate::types::{Id, L3Type, Refusal, Status, Version};
use overlay_abi::ids::MacAddr;
use std::net::Ipv6Addr;

/// What a client wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// PING
    Ping,
    /// VL2_REQ
    Vl2 {
        /// Of the guest looked for.
        mac: MacAddr,
        /// Its network.
        vnet: u32,
    },
    /// VL3_REQ
    Vl3 {
        /// Of the guest looked for.
        ip: Ipv6Addr,
        /// To be answered BADL3TYPE if it is neither.
        l3: L3Type,
        /// Its network.
        vnet: u32,
    },
    /// BULK_REQ
    Bulk {
        /// 1 for VL2, 2 for VL3.
        kind: u32,
    },
    /// LOG_REQ
    Log {
        /// Payload bytes that the client can take.
        count: u32,
        /// Its underlay address.
        ip: Ipv6Addr,
    },
    /// LOG_RM
    LogRm(Ids<'a>),
    /// ROUTE_REQ
    Route(RouteReq),
}

/// What a reply must repeat of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Version to answer in.
    pub version: Version,
    /// Echoed.
    pub id: Id,
}

/// A request, and what its reply must repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// For the reply.
    pub token: Token,
    /// What is wanted.
    pub request: Request<'a>,
}

/// Received bytes become requests.
#[derive(Debug, Default)]
pub struct Server {
    framer: Framer,
}

impl Server {
    /// Where received bytes are appended.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.framer.buffer()
    }

    /// The next request, `None` if more bytes are needed.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Asked<'_>>, Refusal> {
        let Some(frame) = self.framer.next()? else { return Ok(None) };
        let token = Token { version: frame.header.spoken(), id: frame.header.id };
        let request = match Message::decode(&frame)?.body {
            Body::Ping => Request::Ping,
            Body::Vl2Req { mac, vnet } => Request::Vl2 { mac, vnet },
            Body::Vl3Req { ip, l3, vnet } => Request::Vl3 { ip, l3, vnet },
            Body::BulkReq { kind } => Request::Bulk { kind },
            Body::LogReq { count, ip } => Request::Log { count, ip },
            Body::LogRm(ids) => Request::LogRm(ids),
            Body::RouteReq(route) => Request::Route(route),
            other => return Err(Refusal::NotARequest(other.op())),
        };
        Ok(Some(Asked { token, request }))
    }

    /// Whether the client has begun a message and not finished it.
    pub fn is_mid_message(&self) -> bool {
        self.framer.pending() > 0
    }

    /// What the end of the stream means: an error in the middle of a message.
    pub fn end(&self) -> Result<(), Refusal> {
        self.framer.end()
    }
}

/// Replies to one request, each appended to `out`.
impl Token {
    fn body(self, out: &mut Vec<u8>, body: Body<'_>) {
        Message { version: self.version.wire(), id: self.id, body }.encode(out);
    }

    /// PONG
    pub fn pong(self, out: &mut Vec<u8>) {
        self.body(out, Body::Pong);
    }

    /// VL2_ACK. On any status but OK the rest is zero.
    pub fn vl2(self, out: &mut Vec<u8>, found: Result<Underlay, Status>) {
        let (status, ul3) = match found {
            Ok(ul3) => (Status::OK, ul3),
            Err(status) => (status, Underlay::NONE),
        };
        self.body(out, Body::Vl2Ack(Vl2Ack { status, ul3 }));
    }

    /// VL3_ACK, likewise.
    pub fn vl3(self, out: &mut Vec<u8>, found: Result<(MacAddr, Underlay), Status>) {
        let ack = match found {
            Ok((mac, ul3)) => Vl3Ack { status: Status::OK, mac, ul3 },
            Err(status) => Vl3Ack { status, mac: MacAddr::ZERO, ul3: Underlay::NONE },
        };
        self.body(out, Body::Vl3Ack(ack));
    }

    /// BULK_ACK that says no.
    pub fn bad_bulk(self, out: &mut Vec<u8>, kind: u32) {
        self.body(out, Body::BulkAck { status: Status::BADBULK, kind, data: &[] });
    }

    /// LOG_ACK
    pub fn log(self, out: &mut Vec<u8>, status: Status, entries: impl IntoIterator<Item = Named>) {
        encode_log_ack(out, self.version, self.id, status, entries);
    }

    /// LOG_RM_ACK
    pub fn log_rm(self, out: &mut Vec<u8>, status: Status) {
        self.body(out, Body::LogRmAck(status));
    }

    /// ROUTE_ACK
    pub fn route(self, out: &mut Vec<u8>, found: Result<RouteAck, Status>) {
        self.body(out, Body::RouteAck(found.unwrap_or_else(RouteAck::failed)));
    }
}
