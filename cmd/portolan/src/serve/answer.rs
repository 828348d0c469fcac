// SPDX-License-Identifier: CDDL-1.0
//! From requests to answers, without sockets.

use crate::directory::Directory;
use crate::metrics::{Asked, Metrics};
use svp::server::{Request, Server as Stream, Token};
use svp::{Refusal, Status, Uuid};

/// Hosts that one connection may ask as. A real one asks as itself; the oldest of more is forgotten.
const ASKERS: usize = 8;

/// Requests between two looks at the lock: a change waits no longer than these take.
const BATCH: usize = 512;

/// One connection's place in the protocol.
#[derive(Default)]
pub struct Answerer {
    /// Received bytes.
    pub stream: Stream,
    /// Hosts as whom LOG_REQ was asked here: the owners of what LOG_RM may remove. While there are none
    /// LOG_RM removes by id alone, for a host may use one connection to ask and another to remove.
    askers: Vec<Uuid>,
}

/// Where answering came to a halt.
pub enum Halt {
    /// All that was received is answered.
    Hungry,
    /// There is enough in the output, or the lock was held for long enough.
    Full,
    /// These are to be removed and then [`Answerer::removed`] to be called.
    Remove(Token, Vec<Uuid>),
    /// This host speaks a version that does not know these entries of its log: they are to be removed.
    /// Nobody waits for it. A host that will speak another version has nothing that they tell of.
    Forget(Uuid, Vec<Uuid>),
}

impl Answerer {
    /// Answers requests in their order, up to about `room` bytes of output.
    pub fn answer(
        &mut self,
        directory: &Directory,
        metrics: &Metrics,
        out: &mut Vec<u8>,
        room: usize,
    ) -> Result<Halt, Refusal> {
        let index = directory.read();
        for _ in 0..BATCH {
            if out.len() >= room {
                return Ok(Halt::Full);
            }
            let Some(asked) = self.stream.next()? else { return Ok(Halt::Hungry) };
            let token = asked.token;
            let (op, status) = match asked.request {
                Request::Ping => {
                    token.pong(out);
                    (Asked::Ping, Status::OK)
                }
                Request::Vl2 { mac, vnet } => {
                    let found = index.vl2(vnet, mac);
                    token.vl2(out, found);
                    (Asked::Vl2, status(&found))
                }
                Request::Vl3 { ip, l3, vnet } => {
                    let found = match l3.is_known() {
                        true => index.vl3(vnet, ip),
                        false => Err(Status::BADL3TYPE),
                    };
                    token.vl3(out, found);
                    (Asked::Vl3, status(&found))
                }
                Request::Bulk { kind } => {
                    token.bad_bulk(out, kind);
                    (Asked::Bulk, Status::BADBULK)
                }
                Request::Log { count, ip } => {
                    let found = index.log(ip, count, token.version);
                    let status = status(&found);
                    metrics.answered(Asked::Log, status);
                    let Ok(told) = found else {
                        token.log(out, status, []);
                        continue;
                    };
                    token.log(out, status, told.entries);
                    self.asked_as(told.host);
                    match told.skipped.is_empty() {
                        true => continue,
                        false => return Ok(Halt::Forget(told.host, told.skipped)),
                    }
                }
                Request::LogRm(ids) => return Ok(Halt::Remove(token, ids.iter().collect())),
                Request::Route(req) => {
                    let found = index.route(&req);
                    token.route(out, found);
                    (Asked::Route, status(&found))
                }
            };
            metrics.answered(op, status);
        }
        Ok(Halt::Full)
    }

    fn asked_as(&mut self, host: Uuid) {
        if self.askers.contains(&host) {
            return;
        }
        if self.askers.len() == ASKERS {
            self.askers.remove(0);
        }
        self.askers.push(host);
    }

    /// Hosts whose entries may be removed here; none: anybody's.
    pub fn owners(&self) -> Vec<Uuid> {
        self.askers.clone()
    }

    /// Answers a LOG_RM.
    pub fn removed(&self, token: Token, done: bool, metrics: &Metrics, out: &mut Vec<u8>) {
        let status = if done { Status::OK } else { Status::FATAL };
        token.log_rm(out, status);
        metrics.answered(Asked::LogRm, status);
    }
}

fn status<T>(found: &Result<T, Status>) -> Status {
    found.as_ref().err().copied().unwrap_or(Status::OK)
}
