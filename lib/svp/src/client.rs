// SPDX-License-Identifier: CDDL-1.0
//! The host's side of a connection.
//!
//! ```text
//!             negotiate()                PONG ver 1 or 2
//!   new ------------------> VERSIONING ------------------> ACTIVE(version)
//!     \________________________ fixed(version) _____________^
//!
//!   any refusal that ends the connection -> DEAD: every later call is answered with it
//! ```
//!
//! Requests are pipelined: any number may be outstanding, replies come in any order and are matched
//! by id. What is checked of a reply, in this order: version; that it is a reply; an outstanding id;
//! that its request was on the wire; the operation that belongs to the request; size; checksum.
//! (The checksum comes with the frame here, so it is in fact checked first: a reply with a wrong
//! checksum never gets as far as to complete a request.)

use crate::frame::Framer;
use crate::message::{Body, Message, RouteReq, encode_log_rm};
use crate::types::{Id, L3Type, Op, Refusal, Version};
use overlay_abi::ids::{MacAddr, mapped};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use uuid::Uuid;

/// A question for the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Is somebody there?
    Ping,
    /// Where is this guest?
    Vl2 {
        /// Of the guest looked for.
        mac: MacAddr,
        /// Its network.
        vnet: u32,
    },
    /// Who and where is this guest? The type on the wire is that of the address.
    Vl3 {
        /// Of the guest looked for.
        ip: IpAddr,
        /// Its network.
        vnet: u32,
    },
    /// What has changed for me?
    Log {
        /// Payload bytes that are taken; replies of 4 more are accepted too, since portolan does
        /// not count the status word (B1).
        count: u32,
        /// My underlay address.
        ip: IpAddr,
    },
    /// I have acted on these.
    LogRm(Vec<Uuid>),
    /// How does this packet leave its network? Needs version 2.
    Route(RouteReq),
}

impl Question {
    /// The operation of its request.
    pub fn op(&self) -> Op {
        match self {
            Question::Ping => Op::Ping,
            Question::Vl2 { .. } => Op::Vl2Req,
            Question::Vl3 { .. } => Op::Vl3Req,
            Question::Log { .. } => Op::LogReq,
            Question::LogRm(_) => Op::LogRm,
            Question::Route(_) => Op::RouteReq,
        }
    }

    fn encode(&self, out: &mut Vec<u8>, version: Version, id: Id) {
        let body = match *self {
            Question::Ping => Body::Ping,
            Question::Vl2 { mac, vnet } => Body::Vl2Req { mac, vnet },
            Question::Vl3 { ip, vnet } => {
                let ip = Ipv6Addr::from(mapped(ip));
                let l3 = if ip.to_ipv4_mapped().is_some() { L3Type::IPV4 } else { L3Type::IPV6 };
                Body::Vl3Req { ip, l3, vnet }
            }
            Question::Log { count, ip } => Body::LogReq { count, ip: mapped(ip).into() },
            Question::Route(route) => Body::RouteReq(route),
            Question::LogRm(ref ids) => return encode_log_rm(out, version, id, ids),
        };
        Message { version: version.wire(), id, body }.encode(out);
    }
}

/// Why a question was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The version is not known yet.
    #[error("the version of the connection is not negotiated yet")]
    Versioning,
    /// The connection speaks version 1.
    #[error("{} needs version 2", .0.name())]
    NeedsV2(Op),
    /// So many ids do not fit into a message.
    #[error("{0} log entries are more than one message can remove")]
    TooManyIds(usize),
    /// The connection has ended.
    #[error("connection ended: {0}")]
    Dead(Refusal),
}

/// What received bytes mean.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The peer answered our PING: questions are taken from now on.
    Active(Version),
    /// The reply to a question; it is not outstanding any more. A LOG_ACK whose entries are not
    /// understood comes as the error: it answers the question with nothing to act on.
    Reply {
        /// As given by [`Client::ask`].
        id: Id,
        /// The reply, of the operation that belongs to the question.
        body: Result<Body<'a>, Refusal>,
    },
}

#[derive(Debug)]
struct Outstanding {
    op: Op,
    /// Largest payload of its reply, bytes.
    count: u32,
    /// Offset in the stream of our bytes at which the request ends.
    ends_at: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Versioning { ping: Id },
    Active(Version),
    Dead(Refusal),
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    state: State,
    framer: Framer,
    out: Vec<u8>,
    /// Bytes of our stream that were written.
    written: u64,
    outstanding: HashMap<Id, Outstanding>,
    last_id: u32,
}

impl Client {
    /// A connection that begins with a PING to find out the version. Its bytes are in
    /// [`Client::output`] at once.
    pub fn negotiate() -> Client {
        let mut client = Client::fixed(Version::MAX);
        let ping = client.put(&Question::Ping, Version::MAX);
        client.state = State::Versioning { ping };
        client
    }

    /// A connection of known version, as the client of version 1 makes it.
    pub fn fixed(version: Version) -> Client {
        Client {
            state: State::Active(version),
            framer: Framer::default(),
            out: Vec::new(),
            written: 0,
            outstanding: HashMap::new(),
            last_id: 0,
        }
    }

    /// The version, once it is known.
    pub fn version(&self) -> Option<Version> {
        match self.state {
            State::Active(version) => Some(version),
            State::Versioning { .. } | State::Dead(_) => None,
        }
    }

    /// Queues a question and says which id its reply will have.
    pub fn ask(&mut self, question: &Question) -> Result<Id, NotTaken> {
        let version = match self.state {
            State::Active(version) => version,
            State::Versioning { .. } => return Err(NotTaken::Versioning),
            State::Dead(why) => return Err(NotTaken::Dead(why)),
        };
        let op = question.op();
        if op.needs_v2() && version < Version::V2 {
            return Err(NotTaken::NeedsV2(op));
        }
        if let Question::LogRm(ids) = question {
            let size = ids.len().saturating_mul(16).saturating_add(4);
            if !u32::try_from(size).is_ok_and(|size| op.sizes().contains(&size)) {
                return Err(NotTaken::TooManyIds(ids.len()));
            }
        }
        Ok(self.put(question, version))
    }

    /// Encodes under a fresh id: 1 to 2^31 - 1, none that is outstanding.
    fn put(&mut self, question: &Question, version: Version) -> Id {
        let id = loop {
            self.last_id = (self.last_id % 0x7fff_ffff).wrapping_add(1);
            let id = Id::from(self.last_id);
            if !self.outstanding.contains_key(&id) {
                break id;
            }
        };
        question.encode(&mut self.out, version, id);
        let count = match question {
            Question::Log { count, .. } => *count,
            _ => crate::frame::MAX_PAYLOAD,
        };
        let ends_at = self.written.saturating_add(self.out.len() as u64);
        self.outstanding.insert(id, Outstanding { op: question.op(), count, ends_at });
        id
    }

    /// Bytes that are to be written to the peer.
    pub fn output(&self) -> &[u8] {
        &self.out
    }

    /// The first `n` bytes of [`Client::output`] were written.
    pub fn wrote(&mut self, n: usize) {
        let n = n.min(self.out.len());
        self.out.drain(..n);
        self.written = self.written.saturating_add(n as u64);
    }

    /// Where received bytes are appended.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.framer.buffer()
    }

    /// Questions without a reply, in no order. What they were is known to who asked.
    pub fn outstanding(&self) -> impl Iterator<Item = Id> {
        self.outstanding.keys().copied()
    }

    /// The next thing that the received bytes mean, `None` if more are needed. After an error the
    /// connection is to be closed; what is outstanding will have no reply.
    pub fn poll(&mut self) -> Result<Option<Event<'_>>, Refusal> {
        if let State::Dead(why) = self.state {
            return Err(why);
        }
        // The borrow of an event lives as long as that of the framer, so the verdict on a frame is
        // made from parts of self and recorded before the event is made.
        let Client { state, framer, outstanding, written, .. } = self;
        let frame = match framer.next() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(None),
            Err(why) => {
                *state = State::Dead(why);
                return Err(why);
            }
        };
        let header = frame.header;
        if let Err(why) = check(state, outstanding, *written, &header) {
            *state = State::Dead(why);
            return Err(why);
        }
        outstanding.remove(&header.id);
        if let State::Versioning { .. } = state {
            let version = header.spoken();
            *state = State::Active(version);
            return Ok(Some(Event::Active(version)));
        }
        let body = match Message::decode(&frame) {
            Ok(message) => Ok(message.body),
            Err(why) if why.ends_connection() => {
                *state = State::Dead(why);
                return Err(why);
            }
            Err(why) => Err(why),
        };
        Ok(Some(Event::Reply { id: header.id, body }))
    }

    /// The peer closed: an error in the middle of a message.
    pub fn end(&self) -> Result<(), Refusal> {
        self.framer.end()
    }
}

/// Whether a message with this header may come now.
fn check(
    state: &State,
    outstanding: &HashMap<Id, Outstanding>,
    written: u64,
    header: &crate::frame::Header,
) -> Result<(), Refusal> {
    let (op, id) = (header.op, header.id);
    match *state {
        State::Active(version) if header.version != version.wire() => {
            return Err(Refusal::OtherVersion { op, got: header.version, want: version.wire() });
        }
        State::Versioning { ping } if id != ping => return Err(Refusal::UnknownId { op, id }),
        State::Dead(why) => return Err(why),
        State::Active(_) | State::Versioning { .. } => {}
    }
    if !matches!(
        op,
        Op::Pong | Op::Vl2Ack | Op::Vl3Ack | Op::BulkAck | Op::LogAck | Op::LogRmAck | Op::RouteAck
    ) {
        return Err(Refusal::NotAReply(op));
    }
    let asked = outstanding.get(&id).ok_or(Refusal::UnknownId { op, id })?;
    if asked.ends_at > written {
        return Err(Refusal::TooEarly { op, id });
    }
    if let Some(want) = asked.op.reply().filter(|want| *want != op) {
        return Err(Refusal::OtherOp { got: op, want });
    }
    let most = asked.count.saturating_add(4);
    if op == Op::LogAck && header.size > most {
        return Err(Refusal::LogAckSize { size: header.size, count: asked.count });
    }
    Ok(())
}
