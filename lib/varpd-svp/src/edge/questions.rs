// SPDX-License-Identifier: CDDL-1.0
//! Questions that are not answered yet, and who asks them.
//!
//! When an instance starts, its directory is about to be connected to. Then the kernel's first questions come, and when
//! varpd was started anew one about each destination that the kernel knows
//! (libvarpd's `recheck`). So for a while they are *early*: they wait for a connection. If none comes varpd is told that
//! nobody can say, and the kernel keeps what it knows: whatever has changed meanwhile is in the directory's log.
use crate::engine::{Answer, Drop, InstanceId, Question, Time, Token};
use overlay_abi::ids::VnetId;
use overlay_abi::target::overlay_target_point_t;
use std::collections::HashMap;
use varpd_plugin::{ArpReply, Provider, Query, Route, RouteQuery};

/// How long questions are early, from the start of their instance. varpd waits for twice that.
pub const EARLY: Time = Time::from_secs(5);
/// Most early questions. The kernel asks at most 64 in vain before it drops.
const EARLY_MAX: usize = 1024;

/// Who gets an answer. Let go of, the answer is that there is none.
pub enum Asker {
    /// A frame that waits for its destination.
    Frame(Query),
    /// A proxy that asks who has an address; the instance's kernel is told where that is.
    Proxy(ArpReply, Provider),
    /// A packet for a router, which waits for its route.
    Packet(RouteQuery),
}

/// A question.
pub struct Open {
    pub instance: InstanceId,
    pub question: Question,
    pub asker: Asker,
    /// When it is early no more.
    pub early_until: Time,
}

/// All of a process.
#[derive(Default)]
pub struct Questions {
    open: HashMap<Token, Open>,
    /// Those of them that the engine does not know at the moment.
    early: Vec<Token>,
    last: u64,
}

impl Questions {
    /// Keeps a question under a number.
    pub fn put(&mut self, open: Open) -> Token {
        self.last = self.last.wrapping_add(1);
        let token = Token(self.last);
        self.open.insert(token, open);
        token
    }

    /// What the engine says; that nobody can be asked is no answer to an early question.
    pub fn answer(&mut self, now: Time, token: Token, answer: Answer) {
        let early = self.open.get(&token).is_some_and(|open| now < open.early_until);
        let nobody = matches!(answer, Answer::Drop(Drop::Unreachable | Drop::NoRoutes));
        if early && nobody && self.early.len() < EARLY_MAX {
            self.early.push(token);
        } else if let Some(open) = self.open.remove(&token) {
            open.asker.answer(answer);
        }
    }

    /// The early ones, to be asked again.
    pub fn again(&mut self) -> Vec<(Token, InstanceId, Question)> {
        let asked = |token| {
            let open = self.open.get(&token)?;
            Some((token, open.instance, open.question))
        };
        self.early.drain(..).filter_map(asked).collect()
    }

    /// When the first is early no more.
    pub fn deadline(&self) -> Option<Time> {
        self.early.iter().filter_map(|token| Some(self.open.get(token)?.early_until)).min()
    }

    /// Lets go of early questions of which this holds.
    pub fn let_go(&mut self, holds: impl Fn(&Open) -> bool) {
        let open = &mut self.open;
        self.early.retain(|token| {
            if !open.get(token).is_none_or(&holds) {
                return true;
            }
            if let Some(open) = open.remove(token) {
                open.asker.answer(Answer::Drop(Drop::Unreachable));
            }
            false
        });
    }
}

impl Asker {
    /// Gives the answer; any that does not fit the question is none.
    fn answer(self, answer: Answer) {
        match (self, answer) {
            (Asker::Frame(query), Answer::Vl2(at)) => {
                query.reply(&overlay_target_point_t::from(at));
            }
            (Asker::Frame(query), Answer::Router) => query.reply_router(),
            (Asker::Frame(query), Answer::Drop(why)) if !why.is_known() => query.unknown(),
            (Asker::Packet(query), Answer::Route(to)) => query.reply(&Route {
                vnet: VnetId(to.vnet.into()),
                vlan: to.vlan,
                srcmac: to.src_mac,
                dcid: to.dcid,
                dstmac: to.dst_mac,
                to: to.at,
            }),
            (Asker::Proxy(reply, provider), Answer::Vl3 { mac, at }) => {
                // So that the kernel need not ask when the guest uses what it is told.
                if let Some(at) = at {
                    provider.inject_varp(mac.0, Some(&overlay_target_point_t::from(at)));
                }
                reply.reply(mac.0);
            }
            _ => {}
        }
    }
}
