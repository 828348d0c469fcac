// SPDX-License-Identifier: CDDL-1.0
//! Names, connections and bytes between hosts and sites.

use crate::site::{Mood, Names, Site};
use crate::wire::{Piece, WINDOW, Wire};
use crate::world::{Check, Event, World};
use portolan::serve::answer::Halt;
use std::net::SocketAddr;
use std::time::Duration;
use varpd_svp::engine::{ConnId, DnsError, Input, RemoteId, Time};

/// Answers kept for a host that does not read them, bytes.
const ROOM: usize = 8192;

impl World {
    pub fn resolve(&mut self, h: usize, remote: RemoteId, name: &str) -> Check {
        self.hosts[h].watch.resolving(self.now, remote)?;
        let site = self.sites.iter().find(|s| s.name == name);
        let site = site.ok_or_else(|| format!("{name} was never heard of"))?;
        let named = site.fronts.iter().filter(|f| f.named).map(|f| f.ip);
        let (delay, result) = match site.names {
            Names::Fine => (20, Ok(named.collect())),
            Names::None => (20, Err(DnsError::NoAddress)),
            Names::Empty => (20, Ok(Vec::new())),
            Names::Temporary => (2000, Err(DnsError::Temporary)),
            Names::Hangs => (60_000, Ok(named.collect())),
        };
        let delay = Duration::from_micros(self.rng.u64(1..=delay * 1000));
        let life = self.hosts[h].life;
        self.at(self.now + delay, Event::Resolved(h, life, remote, result));
        Ok(())
    }

    pub fn connect(&mut self, h: usize, conn: ConnId, remote: RemoteId, addr: SocketAddr) -> Check {
        let host = &mut self.hosts[h];
        let paused = host.paused + Duration::from_secs(1) >= self.now && host.paused > Time::ZERO;
        host.watch.connecting(self.now, remote, addr, paused)?;
        let found =
            self.sites.iter().enumerate().find_map(|(s, site)| Some((s, site.front_at(addr)?)));
        let (s, f) = found.ok_or_else(|| format!("nobody is at {addr}"))?;
        self.last_wire += 1;
        let w = self.last_wire;
        if self.hosts[h].wires.insert(conn, w).is_some() {
            return Err(format!("{conn:?} was used before"));
        }
        self.wires.insert(w, Wire::new(h, conn, s, f, self.hosts[h].old));
        self.figures.connects += 1;
        self.soon(Event::Syn(w));
        Ok(())
    }

    pub fn syn(&mut self, w: usize) {
        let Some(wire) = self.wires.get_mut(&w).filter(|w| w.host_open) else { return };
        let site = &self.sites[wire.site];
        let mood = site.fronts[wire.front].mood;
        if mood == Mood::Hangs {
            let later = self.now + Duration::from_secs(1);
            return self.at(later, Event::Syn(w));
        }
        let accepted = site.directory.is_some() && mood != Mood::Refuses;
        wire.site_open = accepted;
        self.soon(Event::Opened(w, accepted));
        if accepted && mood == Mood::Shuts {
            self.hang_up(w);
        }
    }

    /// The site closes its side, after what it has sent.
    pub fn hang_up(&mut self, w: usize) {
        let Some(wire) = self.wires.get_mut(&w).filter(|w| w.site_open) else { return };
        wire.site_open = false;
        // Not before the handshake is over.
        let now = self.now + Duration::from_millis(500);
        let at = wire.down.end(&mut self.rng, self.plan.late, now);
        self.at(at, Event::ToHost(w));
    }

    pub fn close(&mut self, h: usize, conn: ConnId) -> Check {
        let w = self.hosts[h].wires.remove(&conn);
        let w = w.ok_or_else(|| format!("{conn:?} is closed, and was not open"))?;
        let Some(wire) = self.wires.get_mut(&w) else { return Ok(()) };
        wire.host_open = false;
        wire.down.cut();
        if wire.site_open {
            // What was written still arrives.
            let at = wire.up.end(&mut self.rng, self.plan.late, self.now);
            self.at(at, Event::ToSite(w));
        } else {
            self.wires.remove(&w);
        }
        Ok(())
    }

    /// Writes what the engine has, as far as there is room.
    pub fn write(&mut self, h: usize, conn: ConnId) {
        let host = &mut self.hosts[h];
        let Some((w, wire)) =
            host.wires.get(&conn).and_then(|w| Some((*w, self.wires.get_mut(w)?)))
        else {
            return;
        };
        let mut times = Vec::new();
        loop {
            let pending = host.engine.pending(conn);
            let most = pending.len().min(wire.up.room());
            wire.wants = !pending.is_empty();
            if most == 0 {
                break;
            }
            let n = if self.rng.bool() { most } else { self.rng.usize(1..=most) };
            let bytes = pending[..n].to_vec();
            host.engine.sent(conn, n);
            times.extend(wire.up.send(&mut self.rng, self.plan.late, self.now, &bytes));
        }
        for at in times {
            self.at(at, Event::ToSite(w));
        }
    }

    /// Whether nothing gets through.
    fn stuck(&mut self, w: usize, again: Event) -> bool {
        let Some(wire) = self.wires.get(&w) else { return false };
        let stuck = self.sites[wire.site].fronts[wire.front].mood == Mood::Hangs;
        if stuck {
            self.at(self.now + Duration::from_secs(1), again);
        }
        stuck
    }

    pub fn arrive_at_site(&mut self, w: usize) -> Check {
        if self.stuck(w, Event::ToSite(w)) {
            return Ok(());
        }
        let Some(wire) = self.wires.get_mut(&w) else { return Ok(()) };
        let (h, conn, wants) = (wire.host, wire.conn, wire.wants && wire.host_open);
        match wire.up.arrive() {
            Some(Piece::Bytes(bytes)) if wire.site_open => {
                wire.answerer.stream.buffer().extend_from_slice(&bytes);
                let delay = self.rng.u64(1..2000);
                self.at(self.now + Duration::from_micros(delay), Event::Serve(w));
            }
            Some(Piece::End) => {
                // All that arrived before is answered, to nobody.
                self.serve(w)?;
                self.wires.remove(&w);
                return Ok(());
            }
            _ => {}
        }
        if wants {
            self.write(h, conn);
        }
        Ok(())
    }

    pub fn arrive_at_host(&mut self, w: usize) -> Check {
        if self.stuck(w, Event::ToHost(w)) {
            return Ok(());
        }
        let Some(wire) = self.wires.get(&w).filter(|w| w.host_open) else { return Ok(()) };
        let (h, conn) = (wire.host, wire.conn);
        if let Some(later) = self.paused(h) {
            self.at(later, Event::ToHost(w));
            return Ok(());
        }
        let Some(wire) = self.wires.get_mut(&w) else { return Ok(()) };
        match wire.down.arrive() {
            Some(Piece::Bytes(bytes)) => {
                self.give(h, Input::Received { conn, bytes: &bytes })?;
                // There is room again.
                self.serve(w)?;
            }
            Some(Piece::End) => self.give(h, Input::Ended { conn, why: None })?,
            None => {}
        }
        Ok(())
    }

    /// A site answers what it has received, as far as there is room.
    pub fn serve(&mut self, w: usize) -> Check {
        loop {
            let Some(wire) = self.wires.get_mut(&w) else { return Ok(()) };
            let site = &self.sites[wire.site];
            let mood = site.fronts[wire.front].mood;
            let Some(directory) = &site.directory else { return Ok(()) };
            if !wire.site_open || wire.removing || mood == Mood::Deaf {
                return Ok(());
            }
            if !wire.out.is_empty() {
                let n = wire.out.len().min(wire.down.room());
                if n == 0 {
                    return Ok(());
                }
                let mut bytes: Vec<u8> = wire.out.drain(..n).collect();
                if mood == Mood::Noisy && self.rng.u8(..3) == 0 {
                    let bit = self.rng.usize(..n * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                // The answer is made now, and may be old when it arrives.
                let slow = if mood == Mood::Slow { self.rng.u64(..6_000) } else { 0 };
                let now = self.now + Duration::from_millis(slow);
                let times = wire.down.send(&mut self.rng, self.plan.late, now, &bytes);
                if !wire.host_open {
                    wire.down.cut();
                }
                for at in times {
                    self.at(at, Event::ToHost(w));
                }
                continue;
            }
            let halt = wire.answerer.answer(directory, &site.metrics, &mut wire.out, ROOM);
            wire.downgrade();
            match halt {
                Ok(Halt::Hungry) if wire.out.is_empty() => return Ok(()),
                Ok(Halt::Hungry | Halt::Full) => {
                    if wire.out.len() > ROOM + 2 * WINDOW {
                        return Err(format!("{} bytes of answers kept", wire.out.len()));
                    }
                }
                Ok(Halt::Remove(reply, ids)) => {
                    let (h, s, owners) = (wire.host, wire.site, wire.answerer.owners());
                    wire.removing = true;
                    self.removal(h, s, &ids)?;
                    let done = self.sites[s].remove(ids, owners);
                    self.say(|| format!("site {s} removed log entries of host {h}: {done}"));
                    self.fresh(h, s)?;
                    let later = self.now + Site::commit_time(&mut self.rng);
                    self.at(later, Event::Removed(w, reply, done));
                }
                Ok(Halt::Forget(host, ids)) => {
                    let s = wire.site;
                    self.sites[s].remove(ids, vec![host]);
                }
                Err(why) => return Err(format!("an engine sent what no engine should: {why}")),
            }
        }
    }
}
