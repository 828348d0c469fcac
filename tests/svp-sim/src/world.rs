// SPDX-License-Identifier: CDDL-1.0
//! What happens, in order of time: hosts, wires and sites, and the events between them.

use crate::host::{Host, Link, Open, question};
use crate::plan::Plan;
use crate::site::Site;
use crate::truth::Key;
use crate::wire::Wire;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use svp::server::Token as Reply;
use varpd_svp::engine::{DnsError, Engine, Input, InstanceId, Output, RemoteId, Time};

pub type Check = Result<(), String>;

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
    /// Lookups that found a route.
    pub routed: u64,
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
        self.routed += other.routed;
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
    pub last_wire: usize,
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

    pub fn paused(&self, h: usize) -> Option<Time> {
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
        let link = Link::new(s, vnet, host.dcid, oui, now);
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
        // Now and then another version of it.
        let old = self.hosts[h].old ^ (self.rng.u8(..4) == 0);
        self.hosts[h].restart(old, engine);
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
