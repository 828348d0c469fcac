// SPDX-License-Identifier: CDDL-1.0
//! A second opinion on what an engine should think of its remotes: made from what it was told and what it
//! says alone, and compared with its status after each input.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use varpd_svp::engine::{DnsError, Engine, Event, Limits, RemoteId, RemoteStatus, Time, What};

/// Failures in a row from which on an address counts as unreachable (svp.md 5.1).
const FAILING: u32 = 7;
/// Temporary failures of DNS in a row that count as one that is none.
const TEMPORARY: u32 = 5;

#[derive(Default)]
pub struct Watch(BTreeMap<RemoteId, Remote>);

#[derive(Default)]
struct Remote {
    /// Since when an answer of DNS is awaited.
    asking: Option<Time>,
    dns_failed: bool,
    tries: u32,
    peers: BTreeMap<SocketAddr, Peer>,
    /// All were failing when DNS answered last.
    all_failing: bool,
    /// Polls of the log so far at the beginning of this second.
    second: (Time, u64),
}

#[derive(Default)]
struct Peer {
    member: bool,
    failures: u32,
    failing: bool,
    /// When a connection was last lost.
    lost: Option<Time>,
    replies: u64,
    state: &'static str,
    /// From when on it is so.
    since: Time,
}

type Check = Result<(), String>;

impl Watch {
    pub fn resolving(&mut self, now: Time, remote: RemoteId) -> Check {
        let remote = self.0.entry(remote).or_default();
        match remote.asking.replace(now) {
            Some(since) => Err(format!("DNS was asked at {since:?} and again before it answered")),
            None => Ok(()),
        }
    }

    /// Before the engine is told.
    pub fn resolved(&mut self, remote: RemoteId, result: Result<usize, DnsError>) {
        let Some(remote) = self.0.get_mut(&remote) else { return };
        remote.asking = None;
        let mut members = remote.peers.values().filter(|peer| peer.member).peekable();
        remote.all_failing = members.peek().is_some() && members.all(|peer| peer.failing);
        match result {
            Ok(1..) => (remote.dns_failed, remote.tries) = (false, 0),
            Ok(0) | Err(DnsError::NoAddress) => (remote.dns_failed, remote.tries) = (true, 0),
            Err(DnsError::Temporary) => {
                remote.tries += 1;
                remote.dns_failed |= remote.tries >= TEMPORARY;
            }
        }
    }

    /// Before the engine is told that time has passed.
    pub fn tick(&mut self, now: Time, limits: &Limits) {
        for remote in self.0.values_mut() {
            remote.dns_failed |= remote.asking.is_some_and(|since| since + limits.refresh <= now);
        }
    }

    /// A connection is being made: is it time?
    pub fn connecting(
        &mut self,
        now: Time,
        remote: RemoteId,
        addr: SocketAddr,
        paused: bool,
    ) -> Check {
        let remote = self.0.entry(remote).or_default();
        let Some(peer) = remote.peers.get(&addr) else {
            return Err(format!("connects to {addr}, which DNS did not name"));
        };
        let Some(lost) = peer.lost else { return Ok(()) };
        let least = Time::from_secs(1 << (peer.failures.max(1) - 1).min(5));
        let most = least + least / 4;
        let waited = now - lost;
        if waited < least || (waited > most && !paused) {
            let n = peer.failures;
            return Err(format!(
                "{addr}: after failure {n} it waited {waited:?}, not {least:?} to {most:?}"
            ));
        }
        Ok(())
    }

    pub fn event(&mut self, now: Time, event: &Event) {
        let remote = self.0.entry(event.remote).or_default();
        match event.what {
            What::Joined(addr) => {
                let failing = remote.all_failing;
                remote.peers.insert(addr, Peer { failing, ..Peer::default() });
            }
            What::Lost(addr, _) => {
                if let Some(peer) = remote.peers.get_mut(&addr) {
                    peer.failures += 1;
                    peer.failing |= peer.failures >= FAILING;
                    peer.lost = Some(now);
                }
            }
            _ => {}
        }
    }

    /// Whether the engine thinks the same; its remotes as they are.
    pub fn compare(
        &mut self,
        now: Time,
        awake: bool,
        engine: &Engine,
        limits: &Limits,
    ) -> Result<Vec<RemoteStatus>, String> {
        let all = engine.status();
        self.0.retain(|id, _| all.iter().any(|r| r.id == id.0));
        for status in &all {
            let remote = self.0.entry(RemoteId(status.id)).or_default();
            remote
                .compare(now, awake, status, limits)
                .map_err(|why| format!("{}: {why}", status.host))?;
        }
        Ok(all)
    }
}

impl Remote {
    fn compare(&mut self, now: Time, awake: bool, status: &RemoteStatus, limits: &Limits) -> Check {
        self.peers.retain(|addr, _| status.peers.iter().any(|p| p.addr == *addr));
        let mut members = Vec::new();
        for at in &status.peers {
            let peer =
                self.peers.get_mut(&at.addr).ok_or_else(|| format!("{} is unknown", at.addr))?;
            if at.counters.replies > peer.replies {
                // A reply, and perhaps the loss of that connection, in one input.
                let lost = peer.lost == Some(now) && at.failures > 0;
                peer.failures = u32::from(lost);
                peer.failing = false;
                peer.replies = at.counters.replies;
            }
            if (peer.failures, peer.failing) != (at.failures, at.failing) {
                return Err(format!(
                    "{}: {} failures (failing: {}), not {} ({})",
                    at.addr, at.failures, at.failing, peer.failures, peer.failing
                ));
            }
            if at.outstanding > limits.questions {
                return Err(format!("{} questions outstanding", at.outstanding));
            }
            // A LOG_RM is of 36 bytes for the smallest entry of 32, the others of 40 at most.
            if at.waiting > 56 * limits.questions + 1200 {
                return Err(format!("{} bytes wait to be written", at.waiting));
            }
            if peer.state != at.state {
                (peer.state, peer.since) = (at.state, now);
            }
            // Longer only if nobody looked at the clock meanwhile.
            let most = match at.state {
                "CONNECTING" => limits.connecting,
                "VERSIONING" => limits.versioning,
                "BACKOFF" => Time::from_secs(40),
                _ => Time::MAX,
            };
            if awake && now > peer.since.saturating_add(most) {
                return Err(format!("{}: {} since {:?}", at.addr, at.state, peer.since));
            }
            peer.member = at.state != "WINDDOWN";
            if peer.member {
                members.push(at.failing);
            }
        }
        if members.len() > limits.addresses {
            return Err(format!("{} members", members.len()));
        }
        let want = if self.dns_failed {
            Some(format!("failed to resolve or find entries for hostname {}", status.host))
        } else if !members.is_empty() && members.iter().all(|failing| *failing) {
            Some("cannot reach any remote peers".to_owned())
        } else {
            None
        };
        if status.degraded != want {
            return Err(format!("degraded: {:?}, not {want:?}", status.degraded));
        }
        let (since, polls) = self.second;
        if now >= since + Time::from_secs(1) {
            self.second = (now, status.counters.log_polls);
        } else if status.counters.log_polls > polls + 21 {
            return Err(format!("{} polls in a second", status.counters.log_polls - polls));
        }
        Ok(())
    }
}
