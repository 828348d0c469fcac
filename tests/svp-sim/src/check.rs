// SPDX-License-Identifier: CDDL-1.0
//! What must be so, whatever happens.

use crate::host::{Open, place};
use crate::kernel::is_of;
use crate::truth::{Key, Said, say};
use crate::world::{Check, World};
use portolan::index::Index;
use portolan::net::octets;
use std::net::IpAddr;
use std::time::Duration;
use svp::log::Entry;
use svp::{MacAddr, Uuid};
use varpd_svp::engine::{Answer, Drop, InstanceId, Output, Token};

impl World {
    /// What an engine says that is to be done to a link.
    pub fn told(&mut self, h: usize, output: Output) -> Check {
        let now = self.now;
        let host = &mut self.hosts[h];
        match output {
            Output::Answer { token, answer } => self.answered(h, token, answer),
            Output::Invalidate { instance, mac } => {
                let link = host.link(instance)?;
                link.kernel.remove(mac);
                link.invalidated.insert(mac, now);
                Ok(())
            }
            Output::Announce { instance, mac, ip, .. } => {
                let link = host.link(instance)?;
                link.neighbours.insert(ip, mac);
                link.announced.insert(ip, now);
                self.fresh_neighbour(h, instance, ip)
            }
            Output::FlushRoutes { instance, flows } => {
                let link = host.link(instance)?;
                link.kernel.flush(&flows, &self.sites[link.site].universe);
                link.flushed.insert(flows, now);
                Ok(())
            }
            Output::Degrade { instance, message } => {
                let link = host.link(instance)?;
                match link.degraded.replace(message) {
                    same if same == link.degraded => Err(format!("{instance:?} is told twice")),
                    _ => Ok(()),
                }
            }
            Output::Restore { instance } => match host.link(instance)?.degraded.take() {
                None => Err(format!("{instance:?} is restored and was not degraded")),
                Some(_) => Ok(()),
            },
            Output::Event(event) => {
                host.watch.event(now, &event);
                Ok(())
            }
            Output::Send { .. }
            | Output::Connect { .. }
            | Output::Close { .. }
            | Output::Resolve { .. } => Ok(()),
        }
    }

    /// One answer to each lookup, and one that the directory gave after it was asked for.
    fn answered(&mut self, h: usize, token: Token, answer: Answer) -> Check {
        let host = &mut self.hosts[h];
        let open = host.open.remove(&token);
        let open =
            open.ok_or_else(|| format!("host {h}: {token:?} is answered again, or was not asked"))?;
        let link =
            host.links.get(&open.instance).ok_or("an answer for an instance that is gone")?;
        let truth = &self.sites[link.site].truth;
        let ever = |so: &dyn Fn(&Said) -> bool| truth.ever(open.key, open.at, so);
        let right = match answer {
            // Without asking anybody.
            Answer::Router => link.router().is_some_and(|mac| open.key == Key::Vl2(link.vnet, mac)),
            Answer::Vl2(at) => ever(&|said| matches!(said, Said::Vl2(is) if place(is) == at)),
            Answer::Vl3 { mac, at } => ever(&|said| link.owner(said) == Some((mac, at))),
            Answer::Route(r) => ever(&|said| link.route(said) == Some(r)),
            Answer::Drop(Drop::NotFound) => ever(&|said| *said == Said::Nothing),
            Answer::Drop(Drop::NoUnderlay) => ever(&|said| match said {
                Said::Vl3(..) => link.owner(said).is_none(),
                Said::Route(ack) => ack.ul3.port == 0,
                _ => false,
            }),
            // Nobody asks for those, and directories say no nonsense.
            Answer::Drop(Drop::Failed | Drop::Nonsense | Drop::Mixed) => false,
            Answer::Drop(Drop::NoRoutes) => host.old && matches!(open.key, Key::Route(..)),
            Answer::Drop(Drop::Unreachable | Drop::Lost | Drop::Busy) => !open.must,
            Answer::Drop(Drop::Detached) => true,
        };
        if !right {
            return Err(format!("host {h}: {answer:?} is no answer to {open:?}"));
        }
        match answer {
            Answer::Vl2(_) | Answer::Router | Answer::Vl3 { .. } => self.figures.found += 1,
            Answer::Route(_) => self.figures.routed += 1,
            Answer::Drop(Drop::Lost) => self.figures.lost += 1,
            Answer::Drop(Drop::Unreachable) => return self.unreachable(h, &open),
            Answer::Drop(_) => {}
        }
        self.learn(h, &open, answer)
    }

    /// Nothing else may be said while there is somebody to ask.
    fn unreachable(&self, h: usize, open: &Open) -> Check {
        let instance = open.instance.0;
        let all = self.hosts[h].engine.status();
        let remote = all.iter().find(|r| r.instances.contains(&instance));
        match remote.and_then(|r| r.peers.iter().find(|p| p.state == "ACTIVE")) {
            Some(peer) => {
                Err(format!("host {h}: {open:?} is unreachable, {} is active", peer.addr))
            }
            None => Ok(()),
        }
    }

    /// The kernel and the guests keep what they are told.
    fn learn(&mut self, h: usize, open: &Open, answer: Answer) -> Check {
        let Some(link) = self.hosts[h].links.get_mut(&open.instance) else { return Ok(()) };
        match (open.key, answer) {
            (Key::Vl2(_, mac), Answer::Vl2(at)) => {
                link.kernel.set_place(mac, at);
                self.fresh_destination(h, open.instance, mac)
            }
            (Key::Route(_, packet), Answer::Route(route)) => {
                link.kernel.set_route(packet, route);
                self.fresh_route(h, open.instance, packet)?;
                // It may be in the link's own network.
                self.fresh_destination(h, open.instance, route.dst_mac)
            }
            (Key::Vl3(_, ip), Answer::Vl3 { mac, at }) => {
                link.neighbours.insert(ip, mac);
                if let Some(at) = at {
                    link.kernel.set(mac, at);
                    self.fresh_destination(h, open.instance, mac)?;
                }
                self.fresh_neighbour(h, open.instance, ip)
            }
            _ => Ok(()),
        }
    }

    /// What a host keeps of a guest is what the directory says, unless the host has yet to be told.
    fn fresh_destination(&self, h: usize, instance: InstanceId, mac: MacAddr) -> Check {
        let host = &self.hosts[h];
        let Some(link) = host.links.get(&instance) else { return Ok(()) };
        let Some(at) = link.kernel.place(mac) else { return Ok(()) };
        let Some(directory) = &self.sites[link.site].directory else { return Ok(()) };
        let index = directory.read();
        let is = index.vl2(link.vnet, mac).ok().map(|is| place(&is));
        let entry = Entry::Vl2 { mac, vnet: link.vnet };
        if is == Some(at) || index.same_log(host.id, &entry).is_some() {
            return Ok(());
        }
        Err(format!(
            "host {h}, network {}: {mac} is kept at {at:?}, is at {is:?}, and nothing in the log",
            link.vnet
        ))
    }

    /// How a host sends a packet on is what the directory says, unless the host has yet to be told: so
    /// nothing goes to networks that are attached no more, and guests that move are followed.
    fn fresh_route(&self, h: usize, instance: InstanceId, packet: usize) -> Check {
        let host = &self.hosts[h];
        let Some(link) = host.links.get(&instance) else { return Ok(()) };
        let Some(sent) = link.kernel.sends(packet) else { return Ok(()) };
        let site = &self.sites[link.site];
        let Some(directory) = &site.directory else { return Ok(()) };
        let (index, req) = (directory.read(), &site.universe.routes[packet]);
        let is = link.route(&say(&index, &site.universe, Key::Route(link.vnet, packet)));
        let told = |entry: &Entry| matches!(entry, Entry::Route(flows) if is_of(req, flows));
        if is == Some(sent) || index.host_log(host.id).any(|(_, named)| told(&named.entry)) {
            return Ok(());
        }
        Err(format!(
            "host {h}: {req:?} is sent by {sent:?}, is to go by {is:?}, and nothing in the log"
        ))
    }

    fn fresh_neighbour(&self, h: usize, instance: InstanceId, ip: IpAddr) -> Check {
        let host = &self.hosts[h];
        let Some(link) = host.links.get(&instance) else { return Ok(()) };
        let Some(mac) = link.neighbours.get(&ip) else { return Ok(()) };
        let site = &self.sites[link.site];
        let Some(directory) = &site.directory else { return Ok(()) };
        let index = directory.read();
        // An address that nobody has any more is not told to anybody.
        let Some((is, _)) = link.owner(&say(&index, &site.universe, Key::Vl3(link.vnet, ip)))
        else {
            return Ok(());
        };
        if is == *mac || is_to_be_told(&index, host.id, link.vnet, ip) {
            return Ok(());
        }
        Err(format!(
            "host {h}, network {}: {ip} is taken for {mac}, is {is}, and nothing in the log",
            link.vnet
        ))
    }

    /// All that a host keeps.
    pub fn fresh(&self, h: usize, s: usize) -> Check {
        for (instance, link) in self.hosts[h].links.iter().filter(|(_, l)| l.site == s) {
            for mac in link.kernel.guests() {
                self.fresh_destination(h, *instance, mac)?;
            }
            for packet in link.kernel.routed() {
                self.fresh_route(h, *instance, packet)?;
            }
            for ip in link.neighbours.keys() {
                self.fresh_neighbour(h, *instance, *ip)?;
            }
        }
        Ok(())
    }

    /// A log entry is removed after it was acted on, on every link that was there when it was made.
    pub fn removal(&mut self, h: usize, s: usize, ids: &[Uuid]) -> Check {
        let (host, site) = (&self.hosts[h], &self.sites[s]);
        for id in ids {
            // Removed before, by a request whose answer was lost.
            let Some((owner, entry, born)) = site.entry(*id) else { continue };
            if owner != host.id {
                return Err(format!("host {h} removes an entry of another: {entry:?}"));
            }
            self.figures.removed += 1;
            let vnet = match entry {
                Entry::Vl2 { vnet, .. } | Entry::Vl3 { vnet, .. } => vnet,
                Entry::Route(r) => r.src_vnet,
            };
            let links =
                host.links.values().filter(|l| (l.site, l.vnet) == (s, vnet) && l.since <= born);
            for link in links {
                let since = |at: Option<&varpd_svp::engine::Time>| at.is_some_and(|at| *at >= born);
                let acted = match entry {
                    Entry::Vl2 { mac, .. } => since(link.invalidated.get(&mac)),
                    Entry::Vl3 { ip, .. } => {
                        let ip = IpAddr::V6(ip).to_canonical();
                        let nobody = |said: &Said| link.owner(said).is_none();
                        since(link.announced.get(&ip))
                            || site.truth.ever(Key::Vl3(vnet, ip), born, nobody)
                    }
                    Entry::Route(flows) => since(link.flushed.get(&flows)),
                };
                if !acted {
                    return Err(format!(
                        "host {h} removes {entry:?} of {born:?} without having acted on it"
                    ));
                }
            }
        }
        Ok(())
    }

    /// After each input: the engine thinks what it should, and has not lost sight of any lookup.
    pub fn compare(&mut self, h: usize) -> Check {
        let host = &mut self.hosts[h];
        let awake = host.paused + Duration::from_secs(1) < self.now;
        let all = host.watch.compare(self.now, awake, &host.engine, &self.plan.limits);
        let all = all.map_err(|why| format!("host {h}: {why}"))?;
        let outstanding: usize = all.iter().flat_map(|r| &r.peers).map(|p| p.outstanding).sum();
        if host.open.len() > outstanding {
            return Err(format!(
                "host {h}: {} lookups are open, {outstanding} questions",
                host.open.len()
            ));
        }
        for (instance, link) in &host.links {
            let remote = all.iter().find(|r| r.instances.contains(&instance.0));
            let Some(remote) = remote else {
                return Err(format!("host {h}: {instance:?} has no remote"));
            };
            if remote.degraded != link.degraded {
                return Err(format!(
                    "host {h}: {instance:?} was told {:?}, its remote is {:?}",
                    link.degraded, remote.degraded
                ));
            }
        }
        Ok(())
    }
}

fn is_to_be_told(index: &Index, host: Uuid, vnet: u32, ip: IpAddr) -> bool {
    let ip = octets(ip).into();
    index.host_log(host).any(
        |(_, named)| matches!(named.entry, Entry::Vl3 { ip: i, vnet: v, .. } if (i, v) == (ip, vnet)),
    )
}
