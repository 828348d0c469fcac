// SPDX-License-Identifier: CDDL-1.0
//! From changes to records: what to write, and which hosts are to be told.
//!
//! A plan is a layer over the index in which changes are made one after the other, each seeing those
//! before it. What comes out is one transaction. It holds the log entries too, so that a change and
//! its entries are there together or not at all.
//!
//! Who is told: all hosts with guests in the network, before and after the change. Of what:
//!
//! * `VL2(mac)` when a host may have kept an answer to VL2_REQ that is now another: the guest moved, went
//!   away, or its host has another underlay address.
//! * `VL3(ip)` when the address has a new Ethernet address, or one at all.
//! * `ROUTE` when routed flows may take another way (`routes`).
//!
//! A host's log never says the same twice: a new entry takes the place of an equal one that the host has
//! not removed yet. Since the new one comes under a new id and at the end, a host that just acts on the
//! old one acts again. So a log cannot outgrow what there is to say, however long a host is away.

mod routes;

use crate::change::{Change, ChangeError, Outcome};
use crate::index::Index;
use crate::net::{Mac, octets};
use crate::record::{Event, Host, LogRecord, Network, Port, Route, RouteKey, Write};
use crate::store::Revision;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use svp::log::Entry;
use uuid::Uuid;

/// Changes in the making.
pub struct Plan<'a> {
    index: &'a Index,
    /// That the transaction will make.
    revision: Revision,
    /// Of the changes just being made.
    restore: bool,
    next_seq: u64,
    writes: Vec<Write>,
    ports: HashMap<(u32, IpAddr), Option<Port>>,
    /// Addresses in `ports` by Ethernet address, also those that have it no more.
    macs: HashMap<(u32, Mac), BTreeSet<IpAddr>>,
    /// Guests' addresses more, or less, than in the index.
    members: HashMap<u32, HashMap<Uuid, i64>>,
    hosts: HashMap<Uuid, Option<Host>>,
    networks: HashMap<u32, Option<Network>>,
    routes: HashMap<RouteKey, Option<Route>>,
    logged: HashSet<(Uuid, Entry)>,
    unlogged: HashSet<(Uuid, u64)>,
}

type Result<T = ()> = std::result::Result<T, ChangeError>;

fn invalid<T>(why: impl Into<String>) -> Result<T> {
    Err(ChangeError::Invalid(why.into()))
}

fn live(port: Option<&Port>) -> Option<&Port> {
    port.filter(|p| !p.deleted)
}

fn guest(port: Option<&Port>) -> Option<&Port> {
    port.filter(|p| p.is_guest())
}

impl<'a> Plan<'a> {
    /// An empty plan over an index at the revision before `revision`.
    pub fn new(index: &'a Index, revision: Revision) -> Plan<'a> {
        Plan {
            index,
            revision,
            restore: false,
            next_seq: index.next_seq(),
            writes: Vec::new(),
            ports: HashMap::new(),
            macs: HashMap::new(),
            members: HashMap::new(),
            hosts: HashMap::new(),
            networks: HashMap::new(),
            routes: HashMap::new(),
            logged: HashSet::new(),
            unlogged: HashSet::new(),
        }
    }

    /// The transaction.
    pub fn writes(self) -> Vec<Write> {
        self.writes
    }

    /// Makes changes in order. After an error the plan may hold some of them and is of no use.
    pub fn make(&mut self, changes: &[Change], restore: bool) -> Result<Outcome> {
        self.restore = restore;
        let logged = |plan: &Plan<'_>| plan.logged.len();
        let (written_before, logged_before) = (self.writes.len(), logged(self));
        for change in changes {
            self.change(change)?;
        }
        let written = self.writes.len().saturating_sub(written_before);
        let logged = logged(self).saturating_sub(logged_before);
        Ok(Outcome { revision: self.revision, written, logged })
    }

    /// Removes entries by id, of these hosts if any are named. What is gone already is fine.
    pub fn remove_log(&mut self, ids: &[Uuid], owners: &[Uuid]) {
        for id in ids {
            let Some((host, seq)) = self.index.find_log(*id) else { continue };
            if owners.is_empty() || owners.contains(&host) {
                self.unlog(host, seq);
            }
        }
    }

    fn change(&mut self, change: &Change) -> Result {
        match change {
            Change::Network(network) => self.put_network(network),
            Change::Host(host) => self.put_host(host),
            Change::Port(port) => self.put_port(port),
            Change::Route(route) => self.put_route(route),
            Change::Log(record) => self.restore_log(record),
            Change::Move { vnet, ip, mac, host } => self.move_guest(*vnet, *ip, *mac, *host),
            Change::DeleteNetwork { vnet } => self.delete_network(*vnet),
            Change::DeleteHost { id } => self.delete_host(*id),
            Change::DeletePort { vnet, ip } => {
                let ip = ip.to_canonical();
                self.port(*vnet, ip)
                    .ok_or_else(|| ChangeError::Missing(format!("port {ip} in network {vnet}")))?;
                self.set_port(*vnet, ip, None);
                Ok(())
            }
            Change::DeleteRoute(key) => self.delete_route(key),
            Change::Attach { a, b } => self.attach(a, b),
            Change::Detach { a, b } => self.detach(a, b),
        }
    }

    fn port(&self, vnet: u32, ip: IpAddr) -> Option<Port> {
        match self.ports.get(&(vnet, ip)) {
            Some(port) => port.clone(),
            None => self.index.port(vnet, ip),
        }
    }

    fn host(&self, id: Uuid) -> Option<Host> {
        match self.hosts.get(&id) {
            Some(host) => host.clone(),
            None => self.index.host(id),
        }
    }

    /// Live ports with an Ethernet address.
    fn ports_of(&self, vnet: u32, mac: Mac) -> Vec<Port> {
        let mut ips: BTreeSet<IpAddr> = self.index.ports_of(vnet, mac).collect();
        ips.extend(self.macs.get(&(vnet, mac)).into_iter().flatten());
        let ports = ips.into_iter().filter_map(|ip| self.port(vnet, ip));
        ports.filter(|p| p.mac == mac && !p.deleted).collect()
    }

    /// Guests' addresses with an Ethernet address.
    fn guests_of(&self, vnet: u32, mac: Mac) -> Vec<IpAddr> {
        let ports = self.ports_of(vnet, mac).into_iter();
        ports.filter(Port::is_guest).map(|p| p.ip).collect()
    }

    /// Where VL2_REQ is answered to be.
    fn host_of(&self, vnet: u32, mac: Mac) -> Option<Uuid> {
        let ports = self.ports_of(vnet, mac).into_iter();
        ports.max_by_key(|p| (p.modified, octets(p.ip))).map(|p| p.host)
    }

    /// Hosts with guests in a network.
    fn members(&self, vnet: u32) -> BTreeSet<Uuid> {
        let more = self.members.get(&vnet);
        let more_of = |id: &Uuid| more.and_then(|m| m.get(id)).copied().unwrap_or(0);
        let mut all: BTreeSet<Uuid> = (self.index.members(vnet))
            .filter(|(id, n)| i64::from(*n) + more_of(id) > 0)
            .map(|(id, _)| id)
            .collect();
        all.extend(more.into_iter().flatten().filter(|(_, n)| **n > 0).map(|(id, _)| id));
        all
    }

    fn tell(&mut self, hosts: &BTreeSet<Uuid>, event: &Event) {
        let entry = Entry::from(event);
        for host in hosts {
            if !self.logged.insert((*host, entry)) {
                continue;
            }
            if let Some((seq, _)) = self.index.same_log(*host, &entry) {
                self.unlog(*host, seq);
            }
            let (host, seq, id) = (*host, self.next_seq, Uuid::new_v4());
            self.next_seq = self.next_seq.saturating_add(1);
            let record = LogRecord { host, seq, id, event: event.clone() };
            self.writes.push(Write::Log(host, seq, Some(record)));
        }
    }

    fn unlog(&mut self, host: Uuid, seq: u64) {
        if self.unlogged.insert((host, seq)) {
            self.writes.push(Write::Log(host, seq, None));
        }
    }

    fn put_network(&mut self, network: &Network) -> Result {
        let vnet = network.vnet;
        let old = self.networks.get(&vnet).cloned();
        let old = old.unwrap_or_else(|| self.index.network(vnet).cloned());
        if old.as_ref() != Some(network) {
            self.networks.insert(vnet, Some(network.clone()));
            self.writes.push(Write::Network(vnet, Some(network.clone())));
        }
        Ok(())
    }

    fn delete_network(&mut self, vnet: u32) -> Result {
        let there = match self.networks.get(&vnet) {
            Some(network) => network.is_some(),
            None => self.index.network(vnet).is_some(),
        };
        if !there {
            return Err(ChangeError::Missing(format!("description of network {vnet}")));
        }
        if !self.members(vnet).is_empty() {
            let why = format!("network {vnet} has ports; delete them first");
            return Err(ChangeError::Conflict(why));
        }
        self.networks.insert(vnet, None);
        self.writes.push(Write::Network(vnet, None));
        Ok(())
    }

    fn put_host(&mut self, host: &Host) -> Result {
        let host = Host { ip: host.ip.to_canonical(), ..host.clone() };
        if host.ip.is_unspecified() || host.ip.is_multicast() || host.port == 0 {
            return invalid(format!("{} port {}: no host can be there", host.ip, host.port));
        }
        if !self.restore {
            let in_layer = self.hosts.values().flatten().filter(|h| h.ip == host.ip).map(|h| h.id);
            let mut at = self.index.hosts_at(host.ip).chain(in_layer);
            let other =
                at.find(|id| *id != host.id && self.host(*id).map(|h| h.ip) == Some(host.ip));
            if let Some(other) = other {
                let why = format!("underlay address {} belongs to host {other}", host.ip);
                return Err(ChangeError::Conflict(why));
            }
        }
        let old = self.host(host.id);
        if old.as_ref() == Some(&host) {
            return Ok(());
        }
        self.hosts.insert(host.id, Some(host.clone()));
        self.writes.push(Write::Host(host.id, Some(host.clone())));
        if old.is_some() && !self.restore {
            let guests: BTreeSet<_> = self.on_host(host.id).map(|p| (p.vnet, p.mac)).collect();
            for (vnet, mac) in guests {
                self.tell(&self.members(vnet), &Event::Vl2 { mac, vnet });
                // One of its ports says where it is, whichever hosts the others name.
                let ips = self.guests_of(vnet, mac).into_iter().collect();
                self.tell_routed(vnet, &ips);
            }
        }
        Ok(())
    }

    /// Live ports on a host.
    fn on_host(&self, host: Uuid) -> impl Iterator<Item = Port> {
        let untouched = self.index.ports_on(host);
        let untouched = untouched.filter(|p| !self.ports.contains_key(&(p.vnet, p.ip)));
        let touched = self.ports.values().flatten().filter(move |p| p.host == host).cloned();
        untouched.chain(touched).filter(|p| !p.deleted)
    }

    fn delete_host(&mut self, id: Uuid) -> Result {
        self.host(id).ok_or_else(|| ChangeError::Missing(format!("host {id}")))?;
        let ports = self.on_host(id).count();
        if ports > 0 {
            let why = format!("host {id} has {ports} ports; move or delete them first");
            return Err(ChangeError::Conflict(why));
        }
        let log: Vec<u64> = self.index.host_log(id).map(|(seq, _)| seq).collect();
        log.into_iter().for_each(|seq| self.unlog(id, seq));
        self.hosts.insert(id, None);
        self.writes.push(Write::Host(id, None));
        Ok(())
    }

    fn put_port(&mut self, port: &Port) -> Result {
        let ip = port.ip.to_canonical();
        if ip.is_unspecified() || ip.is_multicast() {
            return invalid(format!("{ip}: not an address of a guest"));
        }
        if port.mac.0.is_multicast() || port.mac.0 == svp::MacAddr::ZERO {
            return invalid(format!("{}: not an Ethernet address of a guest", port.mac));
        }
        if port.vlan > 4094 {
            return invalid(format!("{}: 802.1Q tags go from 0 (none) to 4094", port.vlan));
        }
        let needs_no_host = port.router && port.host.is_nil();
        if !self.restore && !needs_no_host {
            self.known_host(port.host)?;
        }
        self.set_port(port.vnet, ip, Some(Port { ip, ..port.clone() }));
        Ok(())
    }

    fn known_host(&self, id: Uuid) -> Result {
        match self.host(id) {
            Some(_) => Ok(()),
            None if id.is_nil() => invalid("a guest has a host: name it"),
            None => Err(ChangeError::Missing(format!("host {id}"))),
        }
    }

    fn move_guest(&mut self, vnet: u32, ip: Option<IpAddr>, mac: Option<Mac>, to: Uuid) -> Result {
        self.known_host(to)?;
        let (ports, what) = match (ip, mac) {
            (Some(ip), None) => {
                let port = self.port(vnet, ip.to_canonical());
                (live(port.as_ref()).cloned().into_iter().collect(), ip.to_string())
            }
            (None, Some(mac)) => (self.ports_of(vnet, mac), mac.to_string()),
            _ => return invalid("a guest is moved by its IP or by its Ethernet address"),
        };
        if ports.is_empty() {
            return Err(ChangeError::Missing(format!("port {what} in network {vnet}")));
        }
        for port in ports {
            self.set_port(vnet, port.ip, Some(Port { host: to, ..port }));
        }
        Ok(())
    }

    /// Puts or removes a port that was found valid, and tells who must know.
    fn set_port(&mut self, vnet: u32, ip: IpAddr, new: Option<Port>) {
        let new = new.map(|p| Port { modified: self.revision, ..p });
        let old = self.port(vnet, ip);
        let unchanged =
            |(old, new): (&Port, &Port)| Port { modified: old.modified, ..new.clone() } == *old;
        if old.as_ref().zip(new.as_ref()).is_some_and(unchanged) {
            return;
        }
        let macs: BTreeSet<Mac> = old.iter().chain(&new).map(|p| p.mac).collect();
        let mut told = BTreeSet::new();
        let mut before = Vec::new();
        if !self.restore {
            told = self.members(vnet);
            told.extend(guest(new.as_ref()).map(|p| p.host));
            let now = |mac: &Mac| (*mac, self.host_of(vnet, *mac), self.guests_of(vnet, *mac));
            before.extend(macs.iter().map(now));
        }
        for (port, n) in [(&old, -1), (&new, 1)] {
            if let Some(port) = guest(port.as_ref()) {
                *self.members.entry(vnet).or_default().entry(port.host).or_default() += n;
            }
        }
        for mac in macs {
            self.macs.entry((vnet, mac)).or_default().insert(ip);
        }
        self.ports.insert((vnet, ip), new.clone());
        self.writes.push(Write::Port(vnet, ip, new.clone()));
        if self.restore {
            return;
        }
        // Addresses that routed packets reached otherwise before.
        let mut rerouted = BTreeSet::new();
        for (mac, host, ips) in before {
            if host.is_some() && self.host_of(vnet, mac) != host {
                self.tell(&told, &Event::Vl2 { mac, vnet });
                rerouted.extend(ips);
            }
        }
        let (old, new) = (live(old.as_ref()), live(new.as_ref()));
        let who = |p: &Port| (p.mac, p.router);
        let is_other = old.map(who) != new.map(who);
        if let Some(new) = new.filter(|_| is_other) {
            self.tell(&told, &Event::Vl3 { ip, vlan: new.vlan, vnet });
        }
        if is_other && old.is_some() {
            rerouted.insert(ip);
        }
        self.tell_routed(vnet, &rerouted);
        let place = |p: &Port| (p.host, p.vlan);
        if let Some(new) = guest(new).filter(|new| guest(old).map(place) != Some(place(new))) {
            self.tell_arrival(new);
        }
    }

    fn restore_log(&mut self, record: &LogRecord) -> Result {
        if !self.restore {
            return invalid("log entries are made by the directory; they can only be restored");
        }
        let entry = Entry::from(&record.event);
        let again = self.logged.contains(&(record.host, entry))
            || self.index.same_log(record.host, &entry).is_some()
            || self.index.find_log(record.id).is_some();
        if !again {
            self.logged.insert((record.host, entry));
            let record = LogRecord { seq: self.next_seq, ..record.clone() };
            self.next_seq = self.next_seq.saturating_add(1);
            self.writes.push(Write::Log(record.host, record.seq, Some(record)));
        }
        Ok(())
    }
}
