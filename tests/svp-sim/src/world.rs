// SPDX-License-Identifier: CDDL-1.0
//! What happens, in order of time: hosts, wires and sites, and the events between them.

use crate::host::{Host, Link, Open, question};
use crate::plan::Plan;
use crate::site::{Mood, Names, Site};
use crate::truth::Key;
use crate::wire::{Piece, WINDOW, Wire};
use fastrand::Rng;
use portolan::serve::answer::Halt;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use svp::server::Token as Reply;
use varpd_svp::engine::{ConnId, DnsError, Engine, Input, InstanceId, Output, RemoteId, Time};

pub type Check = Result<(), String>;

/// Answers kept for a host that does not read them, bytes.
const ROOM: usize = 8192;

#[derive(Debug)]
pub enum Event {
    /// The engine of a host wants to know that time has passed.
    Deadline(usize),
    /// A host's SYN reaches a front.
    Syn(usize),
    /// What a front said to it is back.
    Opened(usize, bool),
    ToSite(usize),
    ToHost(usize),
    /// The connection is lost, as the host sees it.
    Broken(usize),
    /// A site looks at what it has received.
    Serve(usize),
    /// The store has taken, or refused, a LOG_RM.
    Removed(usize, Reply, bool),
    /// An answer of DNS, to a host in one of its lives.
    Resolved(usize, u32, RemoteId, Result<Vec<IpAddr>, DnsError>),
    /// Something that nobody expects.
    Chaos,
    Cure(Cure),
}

/// The end of some evil.
#[derive(Clone, Copy, Debug)]
pub enum Cure {
    Mood(usize, usize),
    Names(usize),
    Disk(usize),
    Boot(usize),
}

/// What a run was like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Things that happened.
    pub events: u64,
    /// Lookups asked.
    pub lookups: u64,
    /// Lookups that found somebody.
    pub found: u64,
    /// Lookups lost with their connections.
    pub lost: u64,
    /// Connections begun.
    pub connects: u64,
    /// Changes made at directories.
    pub changes: u64,
    /// Log entries removed by hosts.
    pub removed: u64,
    /// The longest from a change to its removal from every log, with nothing the matter.
    pub convergence: Duration,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Figures) {
        self.events += other.events;
        self.lookups += other.lookups;
        self.found += other.found;
        self.lost += other.lost;
        self.connects += other.connects;
        self.changes += other.changes;
        self.removed += other.removed;
        self.convergence = self.convergence.max(other.convergence);
    }
}

pub struct World {
    pub plan: Plan,
    pub now: Time,
    pub rng: Rng,
    pub hosts: Vec<Host>,
    pub sites: Vec<Site>,
    pub wires: BTreeMap<usize, Wire>,
    pub figures: Figures,
    pub chaos: bool,
    events: BTreeMap<(Time, u64), Event>,
    last_event: u64,
    last_wire: usize,
    trace: Option<Vec<String>>,
}

impl World {
    pub fn new(plan: Plan, rng: Rng, hosts: Vec<Host>, sites: Vec<Site>, trace: bool) -> World {
        World {
            plan,
            now: Time::ZERO,
            rng,
            hosts,
            sites,
            wires: BTreeMap::new(),
            figures: Figures::default(),
            chaos: true,
            events: BTreeMap::new(),
            last_event: 0,
            last_wire: 0,
            trace: trace.then(Vec::new),
        }
    }

    /// What has happened, if that is kept.
    pub fn into_trace(self) -> Vec<String> {
        self.trace.unwrap_or_default()
    }

    pub fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.trace {
            lines.push(format!("{:>12.6} {}", self.now.as_secs_f64(), what()));
        }
    }

    pub fn at(&mut self, at: Time, event: Event) {
        self.last_event += 1;
        self.events.insert((at.max(self.now), self.last_event), event);
    }

    pub fn soon(&mut self, event: Event) {
        let at = self.now + self.plan.late.some(&mut self.rng);
        self.at(at, event);
    }

    /// Until a moment, unless a check fails.
    pub fn run_until(&mut self, end: Time) -> Check {
        while let Some(((at, _), _)) = self.events.first_key_value()
            && *at <= end
        {
            if let Some(((at, _), event)) = self.events.pop_first() {
                self.now = at;
                self.figures.events += 1;
                self.happen(event)?;
            }
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Check {
        match event {
            // Of several the last that was set.
            Event::Deadline(h) if self.hosts[h].deadline != Some(self.now) => {}
            Event::Deadline(h) => {
                self.hosts[h].deadline = None;
                // Whatever has arrived meanwhile is seen before the clock.
                if let Some(later) = self.paused(h) {
                    self.set_deadline(h, later + Duration::from_micros(1));
                    return Ok(());
                }
                if self.hosts[h].engine.deadline().is_some_and(|at| at <= self.now) {
                    self.hosts[h].watch.tick(self.now, &self.plan.limits);
                    self.give(h, Input::Tick)?;
                }
                self.wake(h);
            }
            Event::Syn(w) => self.syn(w),
            Event::Opened(w, accepted) => {
                let Some(wire) = self.wires.get(&w).filter(|w| w.host_open) else { return Ok(()) };
                let (h, conn) = (wire.host, wire.conn);
                if let Some(later) = self.paused(h) {
                    self.at(later, Event::Opened(w, accepted));
                    return Ok(());
                }
                match accepted {
                    true => self.give(h, Input::Connected { conn })?,
                    false => {
                        let why = Some("connection refused".to_owned());
                        self.give(h, Input::Ended { conn, why })?;
                    }
                }
            }
            Event::ToSite(w) => self.arrive_at_site(w)?,
            Event::ToHost(w) => self.arrive_at_host(w)?,
            Event::Broken(w) => {
                let Some(wire) = self.wires.get_mut(&w).filter(|w| w.host_open) else {
                    return Ok(());
                };
                let (h, conn) = (wire.host, wire.conn);
                wire.down.cut();
                if let Some(later) = self.paused(h) {
                    self.at(later, Event::Broken(w));
                    return Ok(());
                }
                self.give(h, Input::Ended { conn, why: Some("connection reset".to_owned()) })?;
            }
            Event::Serve(w) => self.serve(w)?,
            Event::Removed(w, reply, done) => {
                let Some(wire) = self.wires.get_mut(&w).filter(|w| w.site_open) else {
                    return Ok(());
                };
                let site = &self.sites[wire.site];
                wire.removing = false;
                wire.answerer.removed(reply, done, &site.metrics, &mut wire.out);
                self.serve(w)?;
            }
            Event::Resolved(h, life, remote, result) => {
                if let Some(later) = self.paused(h) {
                    self.at(later, Event::Resolved(h, life, remote, result));
                    return Ok(());
                }
                if self.hosts[h].life != life {
                    return Ok(());
                }
                let host = &mut self.hosts[h];
                host.watch.resolved(remote, result.as_ref().map(Vec::len).map_err(|e| *e));
                self.give(h, Input::Resolved { remote, result })?;
            }
            Event::Chaos => self.next_chaos()?,
            Event::Cure(cure) => self.cure(cure)?,
        }
        Ok(())
    }

    fn paused(&self, h: usize) -> Option<Time> {
        Some(self.hosts[h].paused).filter(|until| *until > self.now)
    }

    /// Sees to it that the engine's deadline is kept.
    fn wake(&mut self, h: usize) {
        let host = &self.hosts[h];
        if let Some(at) = host.engine.deadline()
            && host.deadline.is_none_or(|known| at < known)
        {
            self.set_deadline(h, at.max(self.now));
        }
    }

    fn set_deadline(&mut self, h: usize, at: Time) {
        self.hosts[h].deadline = Some(at);
        self.at(at, Event::Deadline(h));
    }

    /// Tells an engine something, does what it says, and looks at how things are then.
    pub fn give(&mut self, h: usize, input: Input<'_>) -> Check {
        self.hand(h, input)?;
        self.compare(h)?;
        self.wake(h);
        Ok(())
    }

    fn hand(&mut self, h: usize, input: Input<'_>) -> Check {
        self.say(|| format!("host {h} <- {}", short(&input)));
        let now = self.now;
        self.hosts[h].engine.handle(now, input);
        let mut to_write = Vec::new();
        while let Some(output) = self.hosts[h].engine.output() {
            self.say(|| format!("host {h} -> {output:?}"));
            match output {
                Output::Send { conn } => to_write.push(conn),
                Output::Connect { conn, remote, addr } => self.connect(h, conn, remote, addr)?,
                Output::Close { conn } => self.close(h, conn)?,
                Output::Resolve { remote, host } => self.resolve(h, remote, &host)?,
                other => self.told(h, other)?,
            }
        }
        for conn in to_write {
            self.write(h, conn);
        }
        Ok(())
    }

    fn resolve(&mut self, h: usize, remote: RemoteId, name: &str) -> Check {
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

    fn connect(
        &mut self,
        h: usize,
        conn: ConnId,
        remote: RemoteId,
        addr: std::net::SocketAddr,
    ) -> Check {
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
        self.wires.insert(w, Wire::new(h, conn, s, f));
        self.figures.connects += 1;
        self.soon(Event::Syn(w));
        Ok(())
    }

    fn syn(&mut self, w: usize) {
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

    fn close(&mut self, h: usize, conn: ConnId) -> Check {
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
    fn write(&mut self, h: usize, conn: ConnId) {
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

    fn arrive_at_site(&mut self, w: usize) -> Check {
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

    fn arrive_at_host(&mut self, w: usize) -> Check {
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
            match wire.answerer.answer(directory, &site.metrics, &mut wire.out, ROOM) {
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
                Err(why) => return Err(format!("an engine sent what no engine should: {why}")),
            }
        }
    }

    /// A lookup; one that `must` be answered finds what there is.
    pub fn look_up(&mut self, h: usize, instance: InstanceId, key: Key, must: bool) -> Check {
        let host = &mut self.hosts[h];
        let Some(link) = host.links.get(&instance) else { return Ok(()) };
        let question = question(key, &self.sites[link.site].universe);
        let token = host.next_token();
        host.open.insert(token, Open { at: self.now, instance, key, must });
        self.figures.lookups += 1;
        self.give(h, Input::Lookup { token, instance, question })
    }

    pub fn attach(&mut self, h: usize, s: usize, vnet: u32, oui: Option<[u8; 3]>) -> Check {
        let now = self.now;
        let host = &mut self.hosts[h];
        let instance = host.next_instance();
        let link = Link::new(s, vnet, oui, now);
        let with = host.attachment(&link, &self.sites[s].name);
        host.links.insert(instance, link);
        self.give(h, Input::Attach { instance, with })
    }

    /// Stops an instance; the edge lets go of it when the engine has.
    pub fn detach(&mut self, h: usize, instance: InstanceId) -> Check {
        self.hand(h, Input::Detach { instance })?;
        self.hosts[h].links.remove(&instance);
        self.compare(h)?;
        self.wake(h);
        let left = self.hosts[h].open.values().filter(|o| o.instance == instance).count();
        match left {
            0 => Ok(()),
            n => Err(format!("host {h}: {n} lookups of an instance that is gone are open")),
        }
    }

    /// varpd is killed and started again.
    pub fn restart(&mut self, h: usize) -> Check {
        let wires: Vec<usize> = self.hosts[h].wires.values().copied().collect();
        self.hosts[h].wires.clear();
        for w in wires {
            if let Some(wire) = self.wires.get_mut(&w) {
                wire.host_open = false;
                wire.down.cut();
                let at = wire.up.end(&mut self.rng, self.plan.late, self.now);
                self.at(at, Event::ToSite(w));
            }
        }
        let links: Vec<_> = self.hosts[h].links.values().map(|l| (l.site, l.vnet, l.oui)).collect();
        let engine = Engine::new(self.plan.limits.clone(), self.rng.u64(..));
        self.hosts[h].restart(engine);
        for (s, vnet, oui) in links {
            self.attach(h, s, vnet, oui)?;
        }
        Ok(())
    }
}

/// Without the bytes.
fn short(input: &Input<'_>) -> String {
    match input {
        Input::Received { conn, bytes } => format!("{} bytes from {conn:?}", bytes.len()),
        other => format!("{other:?}"),
    }
}
