// SPDX-License-Identifier: CDDL-1.0
//! What happens to everybody: guests come, go and move, and all sorts of evil.

use crate::plan::{OUI, SILENT, SUBNETS, VNETS, dcid, guest_ip, guest_mac, host_id};
use crate::site::{Mood, Names};
use crate::world::{Check, Cure, Event, World};
use portolan::change::{Change, ChangeError};
use portolan::net::{Mac, Subnet};
use portolan::record::{Host as Record, Port, Route};
use std::net::IpAddr;
use std::time::Duration;
use varpd_svp::engine::InstanceId;

impl World {
    /// One thing, and when the next one happens.
    pub fn next_chaos(&mut self) -> Check {
        if !self.chaos {
            return Ok(());
        }
        let wait = self.plan.pace.mul_f64(2.0 * self.rng.f64());
        self.at(self.now + wait, Event::Chaos);
        if self.plan.evil > 0 && self.rng.u32(..self.plan.evil) == 0 {
            return self.evil();
        }
        match self.rng.u8(..10) {
            0..7 => self.some_lookups(),
            7 => self.come_or_go(),
            _ => self.change(),
        }
    }

    /// Who does something now.
    fn anybody(&mut self) -> Option<usize> {
        let h = self.rng.usize(..self.hosts.len());
        (self.hosts[h].paused <= self.now).then_some(h)
    }

    fn any_link(&mut self, h: usize) -> Option<InstanceId> {
        let all: Vec<_> = self.hosts[h].links.keys().copied().collect();
        self.rng.choice(all)
    }

    fn some_lookups(&mut self) -> Check {
        let Some(h) = self.anybody() else { return Ok(()) };
        // One frame, or all that a guest which begins to talk sends.
        let n = if self.rng.u8(..10) == 0 { self.rng.usize(2..40) } else { 1 };
        for _ in 0..n {
            let Some(instance) = self.any_link(h) else { return Ok(()) };
            let Some(link) = self.hosts[h].links.get(&instance) else { return Ok(()) };
            let keys = self.sites[link.site].universe.keys();
            let vnet = link.vnet;
            let asked = keys.into_iter().filter(|key| key.is_of(vnet));
            if let Some(key) = self.rng.choice(asked.collect::<Vec<_>>()) {
                self.look_up(h, instance, key, false)?;
            }
        }
        Ok(())
    }

    /// An instance stops, or one starts.
    fn come_or_go(&mut self) -> Check {
        let Some(h) = self.anybody() else { return Ok(()) };
        if self.rng.u8(..4) == 0
            && let Some(instance) = self.any_link(h)
        {
            return self.detach(h, instance);
        }
        let (s, vnet) = (self.rng.usize(..self.sites.len()), self.rng.u32(1..=VNETS));
        let oui = self.rng.bool().then_some(OUI);
        match self.hosts[h].has(s, vnet) {
            Some(_) => Ok(()),
            None => self.attach(h, s, vnet, oui),
        }
    }

    /// An administrator changes something.
    fn change(&mut self) -> Check {
        let s = self.rng.usize(..self.sites.len());
        let hosts = self.hosts.len() + usize::from(SILENT);
        let to = host_id(self.rng.usize(..hosts));
        let vnet = self.rng.u32(1..=VNETS);
        let (ip, mac) = (guest_ip(self.rng.u8(..6)), Mac(guest_mac(self.rng.u8(..6))));
        let change = match self.rng.u8(..24) {
            0..9 => {
                let (vlan, router) = (self.rng.u16(..2), self.rng.u8(..10) == 0);
                Change::Port(Port {
                    vnet,
                    ip,
                    mac,
                    host: to,
                    vlan,
                    router,
                    deleted: false,
                    modified: 0,
                })
            }
            9..12 => Change::Move { vnet, ip: Some(ip), mac: None, host: to },
            12..15 => Change::Move { vnet, ip: None, mac: Some(mac), host: to },
            15..18 => Change::DeletePort { vnet, ip },
            18 => {
                let silent = self.hosts.len() + usize::from(self.rng.u8(..SILENT));
                let ip = IpAddr::from([10, 9, silent as u8, self.rng.u8(1..4)]);
                Change::Host(Record { id: host_id(silent), ip, port: 4789 })
            }
            _ => return self.routes(s),
        };
        self.make(s, vec![change])
    }

    /// Two networks are attached to each other or taken apart, or a single route comes or goes.
    pub fn routes(&mut self, s: usize) -> Check {
        let (a, b) = (self.rng.u32(1..=VNETS), self.rng.u32(1..=VNETS));
        // Of one family, each wide or narrow.
        let family = 2 * self.rng.usize(..2);
        let nets = [family + self.rng.usize(..2), family + self.rng.usize(..2)];
        let [from, to] = nets.map(|n| Subnet::from_v6(SUBNETS[n].0, SUBNETS[n].1));
        let vlan = self.rng.u16(..2);
        let there = Route {
            vnet: a,
            vlan,
            subnet: from,
            r_subnet: to,
            // Now and then somebody forgets to say it.
            r_dcid: if self.rng.u8(..8) == 0 { 0 } else { dcid(b) },
            r_vnet: b,
            r_vlan: self.rng.u16(..2),
            r_send_mac: Mac(guest_mac(self.rng.u8(..6))),
            net_uuid: None,
            r_net_uuid: None,
            deleted: self.rng.u8(..16) == 0,
            modified: 0,
        };
        let back = Route {
            vnet: b,
            vlan: there.r_vlan,
            subnet: to,
            r_subnet: from,
            r_dcid: dcid(a),
            r_vnet: a,
            r_vlan: vlan,
            ..there.clone()
        };
        let changes = match self.rng.u8(..8) {
            0..3 => vec![Change::Route(there), Change::Route(back)],
            3..5 => vec![Change::Route(there)],
            // Those that are there: others would be refused.
            5..7 => vec![Change::DeleteRoute(there.key()), Change::DeleteRoute(back.key())],
            _ => vec![Change::DeleteRoute(there.key())],
        };
        self.make(s, changes)
    }

    /// A change that may be refused: for want of room, or of what it is to change.
    pub fn make(&mut self, s: usize, changes: Vec<Change>) -> Check {
        let text = format!("{changes:?}");
        let full = self.sites[s].is_full();
        let Some(result) = self.sites[s].change(self.now, changes) else { return Ok(()) };
        self.say(|| format!("site {s}: {text}: {result:?}"));
        match result {
            Ok(_) => self.figures.changes += 1,
            Err(ChangeError::Missing(_) | ChangeError::Conflict(_)) => {}
            Err(ChangeError::Store(_)) if full => {}
            Err(why) => return Err(format!("site {s}: {text}: {why}")),
        }
        // Whoever keeps what was right until now is to be told.
        (0..self.hosts.len()).try_for_each(|h| self.fresh(h, s))
    }

    /// Two guests come, then one goes elsewhere, in each network of a site; and routes change.
    pub fn shuffle(&mut self, s: usize) -> Check {
        for vnet in 1..=VNETS {
            for n in 0..2 {
                let host = host_id(self.rng.usize(..self.hosts.len()));
                let (ip, mac) = (guest_ip(n), Mac(guest_mac(self.rng.u8(..6))));
                let port = Port {
                    vnet,
                    ip,
                    mac,
                    host,
                    vlan: 0,
                    router: false,
                    deleted: false,
                    modified: 0,
                };
                self.make(s, vec![Change::Port(port)])?;
            }
            let host = host_id(self.rng.usize(..self.hosts.len()));
            self.make(s, vec![Change::Move { vnet, ip: Some(guest_ip(0)), mac: None, host }])?;
            self.routes(s)?;
        }
        Ok(())
    }

    fn evil(&mut self) -> Check {
        let s = self.rng.usize(..self.sites.len());
        let f = self.rng.usize(..self.sites[s].fronts.len());
        let long = if self.rng.u8(..4) == 0 { 200_000 } else { 30_000 };
        let end = self.now + Duration::from_millis(self.rng.u64(1..long));
        let wires: Vec<usize> = self.wires.keys().copied().collect();
        let any_wire = self.rng.choice(wires);
        match self.rng.u8(..16) {
            0..3 => {
                let mood = match self.rng.u8(..8) {
                    0 => Mood::Refuses,
                    1 => Mood::Hangs,
                    2 => Mood::Deaf,
                    3 => Mood::Shuts,
                    4 => Mood::Noisy,
                    _ => Mood::Slow,
                };
                self.say(|| format!("site {s}, front {f}: {mood:?}"));
                self.sites[s].fronts[f].mood = mood;
                self.at(end, Event::Cure(Cure::Mood(s, f)));
            }
            3..5 => any_wire.into_iter().for_each(|w| self.cut(w)),
            5 => any_wire.into_iter().for_each(|w| self.hang_up(w)),
            6..9 => {
                self.sites[s].fronts[f].named ^= true;
                self.say(|| format!("site {s}, front {f} comes or goes"));
            }
            9 => {
                let all = [Names::None, Names::Empty, Names::Temporary, Names::Hangs];
                let names = all[self.rng.usize(..all.len())];
                self.say(|| format!("site {s}, names: {names:?}"));
                self.sites[s].names = names;
                self.at(end, Event::Cure(Cure::Names(s)));
            }
            10 => {
                self.say(|| format!("site {s}: disk full"));
                self.sites[s].fill_disk(true);
                self.at(end, Event::Cure(Cure::Disk(s)));
            }
            11 => self.crash(s, end),
            12 => {
                let h = self.rng.usize(..self.hosts.len());
                let end = end.min(self.now + Duration::from_secs(40));
                self.say(|| format!("host {h} sleeps until {end:?}"));
                self.hosts[h].paused = self.hosts[h].paused.max(end);
            }
            13 => {
                let h = self.anybody();
                if let Some(h) = h {
                    self.say(|| format!("host {h}: varpd is started anew"));
                    return self.restart(h);
                }
            }
            // Connections that nobody uses are forgotten on the way: bytes for them vanish.
            _ => {
                if let Some(wire) = any_wire.and_then(|w| self.wires.get_mut(&w)) {
                    wire.site_open = false;
                }
            }
        }
        Ok(())
    }

    /// A reset, seen by both sides.
    fn cut(&mut self, w: usize) {
        let Some(wire) = self.wires.get_mut(&w) else { return };
        wire.site_open = false;
        wire.up.cut();
        self.soon(Event::Broken(w));
    }

    /// A site is killed. Some connections end with a reset, of others nothing is heard any more.
    fn crash(&mut self, s: usize, end: Duration) {
        self.say(|| format!("site {s}: killed"));
        self.sites[s].directory = None;
        let its: Vec<usize> =
            self.wires.iter().filter(|(_, wire)| wire.site == s).map(|(w, _)| *w).collect();
        for w in its {
            match self.rng.u8(..4) {
                0 => drop(self.wires.get_mut(&w).map(|wire| wire.site_open = false)),
                _ => self.cut(w),
            }
        }
        self.at(end, Event::Cure(Cure::Boot(s)));
    }

    pub fn cure(&mut self, cure: Cure) -> Check {
        self.say(|| format!("{cure:?}"));
        match cure {
            Cure::Mood(s, f) => {
                self.sites[s].fronts[f].mood = Mood::Fine;
                // It looks at what it did not look at.
                let its = self.wires.iter().filter(|(_, w)| (w.site, w.front) == (s, f));
                let its: Vec<usize> = its.map(|(w, _)| *w).collect();
                its.into_iter().for_each(|w| self.soon(Event::Serve(w)));
            }
            Cure::Names(s) => self.sites[s].names = Names::Fine,
            Cure::Disk(s) => self.sites[s].fill_disk(false),
            Cure::Boot(s) if self.sites[s].directory.is_none() => {
                self.sites[s].boot();
                return (0..self.hosts.len()).try_for_each(|h| self.fresh(h, s));
            }
            Cure::Boot(_) => {}
        }
        Ok(())
    }

    /// Nothing is the matter any more.
    pub fn heal(&mut self) -> Check {
        self.chaos = false;
        for s in 0..self.sites.len() {
            for f in 0..self.sites[s].fronts.len() {
                self.sites[s].fronts[f].named = true;
                self.cure(Cure::Mood(s, f))?;
            }
            self.cure(Cure::Names(s))?;
            self.cure(Cure::Disk(s))?;
            self.cure(Cure::Boot(s))?;
        }
        for h in 0..self.hosts.len() {
            for s in 0..self.sites.len() {
                for vnet in 1..=VNETS {
                    if self.hosts[h].has(s, vnet).is_none() {
                        self.attach(h, s, vnet, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}
