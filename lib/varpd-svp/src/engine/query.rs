// SPDX-License-Identifier: CDDL-1.0
//! A question with the reason why it was asked, and what comes back.

use super::api::{InstanceId, Token};
use overlay_abi::ids::mapped;
use svp::client::Question;
use svp::log::{Entry, Named};
use svp::message::{RouteAck, Vl2Ack, Vl3Ack};
use svp::{Body, Refusal, Status};

/// A question. It is outstanding on one connection at a time.
#[derive(Debug)]
pub(super) struct Query {
    pub question: Question,
    pub purpose: Purpose,
    /// It was lost with a connection once.
    pub retried: bool,
    /// A log entry came since it was asked which its answer may not know of.
    pub crossed: bool,
}

/// Who waits for the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Lookup {
        token: Token,
        instance: InstanceId,
    },
    /// The log cycle: LOG_REQ.
    Log,
    /// The log cycle: LOG_RM.
    LogRm,
    /// The log cycle: a VL3 entry of the batch, by its place there.
    Follow(usize),
    /// Nobody any more.
    Nobody,
}

/// A good reply.
#[derive(Debug)]
pub(super) enum Reply {
    Vl2(Vl2Ack),
    Vl3(Vl3Ack),
    Route(RouteAck),
    Log(Status, Vec<Named>),
    LogRefused(Refusal),
    LogRm(Status),
}

impl Query {
    pub fn new(question: Question, purpose: Purpose) -> Query {
        Query { question, purpose, retried: false, crossed: false }
    }

    /// Whether the answer, if it was made before this entry, may be stale. An answer to VL3 or a route names
    /// an Ethernet address that is not known beforehand.
    pub fn may_miss(&self, entry: &Entry) -> bool {
        match (&self.question, entry) {
            (Question::Vl2 { mac, vnet }, Entry::Vl2 { mac: changed, vnet: of }) => {
                mac == changed && vnet == of
            }
            (Question::Vl3 { vnet, .. }, Entry::Vl2 { vnet: of, .. }) => vnet == of,
            (Question::Vl3 { ip, vnet }, Entry::Vl3 { ip: changed, vnet: of, .. }) => {
                mapped(*ip) == changed.octets() && vnet == of
            }
            // Where packets go to is not known beforehand, either.
            (Question::Route(_), Entry::Vl2 { .. }) => true,
            (Question::Route(asked), Entry::Vl3 { ip, .. }) => asked.dst == *ip,
            (Question::Route(asked), Entry::Route(flows)) => flows.covers(asked),
            _ => false,
        }
    }
}

impl Reply {
    /// What outlives the received bytes. `None` for a reply to what is never asked here.
    pub fn new(body: Result<Body<'_>, Refusal>) -> Option<Reply> {
        Some(match body {
            Ok(Body::Vl2Ack(ack)) => Reply::Vl2(ack),
            Ok(Body::Vl3Ack(ack)) => Reply::Vl3(ack),
            Ok(Body::RouteAck(ack)) => Reply::Route(ack),
            Ok(Body::LogAck { status, entries }) => Reply::Log(status, entries.iter().collect()),
            Ok(Body::LogRmAck(status)) => Reply::LogRm(status),
            Ok(_) => return None,
            Err(why) => Reply::LogRefused(why),
        })
    }
}
