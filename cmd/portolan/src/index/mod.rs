// SPDX-License-Identifier: CDDL-1.0
//! All of the directory in memory, arranged for lookups.
//!
//! ```text
//!   (vnet, mac) --vl2--> slot.. --.             slot: ip mac vnet host flags, 40 bytes
//!   (vnet, ip)  --vl3--> slot ----+--> host --> underlay address, log
//! ```
//!
//! Both tables hold slot numbers only (4 bytes and a byte of hash each), the key is compared in the slot.
//! With growth that is 50 to 100 bytes a mapping; `tests/memory.rs` measures it.
//!
//! The index changes by [`Index::apply`] alone, with what was committed before. It never fails: a record
//! that contradicts another (a port of an unknown host) is kept and not found by lookups.

mod hosts;
mod ports;
mod routes;

use crate::net::{Mac, octets};
use crate::record::{Host, Network, Port, Route, RouteKey, Write};
use hosts::Hosts;
use ports::Ports;
use routes::Routes;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use svp::log::{Entry, Fit, Named, Room};
use svp::message::{RouteAck, RouteReq, Underlay};
use svp::{MacAddr, Status, Uuid, Version};

/// Number of a host in this process.
type HostNo = u32;

/// See the top of the file.
#[derive(Default)]
pub struct Index {
    ports: Ports,
    hosts: Hosts,
    networks: BTreeMap<u32, Network>,
    /// Hosts with guests in a network, and with how many addresses of them.
    members: HashMap<u32, HashMap<HostNo, u32>>,
    /// Addresses of live routers, by network.
    routers: BTreeSet<(u32, Ipv6Addr)>,
    routes: Routes,
}

/// Answer of [`Index::log`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who asks.
    pub host: Uuid,
    /// What it is told.
    pub entries: Vec<Named>,
    /// Entries before the last of those that its version does not know.
    pub skipped: Vec<Uuid>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Counts {
    /// Networks described or used.
    pub networks: usize,
    /// Hosts with an underlay address.
    pub hosts: usize,
    /// Ports, tombstones included.
    pub ports: usize,
    /// Router addresses.
    pub routers: usize,
    /// Routes, tombstones included.
    pub routes: usize,
    /// Log entries of all hosts.
    pub log: usize,
}

impl Index {
    /// Where a guest is, by Ethernet address. Of several ports with that address the last changed.
    pub fn vl2(&self, vnet: u32, mac: MacAddr) -> Result<Underlay, Status> {
        let host = self.ports.newest(vnet, mac).ok_or(Status::NOTFOUND)?;
        self.hosts.underlay(host).ok_or(Status::NOTFOUND)
    }

    /// Who and where a guest is, by IP address. A router is nowhere. Where is what [`Index::vl2`] says: a
    /// host keeps it by Ethernet address, and is told by that when it changes.
    pub fn vl3(&self, vnet: u32, ip: Ipv6Addr) -> Result<(MacAddr, Underlay), Status> {
        let port = self.ports.get(vnet, ip).filter(|p| !p.is_deleted());
        let port = port.ok_or(Status::NOTFOUND)?;
        if port.is_router() {
            return Ok((port.mac(), Underlay::NONE));
        }
        Ok((port.mac(), self.vl2(vnet, port.mac())?))
    }

    /// How a packet leaves its network. Of several routes the most specific; whatever is wrong with the
    /// destination is wrong with the answer (B25). That a router is nowhere is for the host to see.
    pub fn route(&self, req: &RouteReq) -> Result<RouteAck, Status> {
        let v4 = |ip: Ipv6Addr| ip.to_ipv4_mapped().is_some();
        if v4(req.src) != v4(req.dst) {
            return Err(Status::NOTFOUND);
        }
        let route = self.routes.find(req).ok_or(Status::NOTFOUND)?;
        let (dst_mac, ul3) = self.vl3(route.r_vnet, req.dst)?;
        Ok(RouteAck {
            status: Status::OK,
            dcid: route.r_dcid,
            vnet: route.r_vnet,
            vlan: route.r_vlan,
            ul3,
            src_mac: route.r_send_mac.0,
            dst_mac,
            src_prefix: route.subnet.prefix(),
            dst_prefix: route.r_subnet.prefix(),
        })
    }

    /// What to tell the host at `ip`: the oldest entries that fit into `count` bytes. FATAL if no host or more
    /// than one has that address (section 10).
    pub fn log(&self, ip: Ipv6Addr, count: u32, version: Version) -> Result<Told, Status> {
        let no = self.hosts.at(ip).ok_or(Status::FATAL)?;
        let host = self.hosts.get(no).ok_or(Status::FATAL)?;
        let mut room = Room::new(count, version);
        let mut told = Told { host: host.id, entries: Vec::new(), skipped: Vec::new() };
        for named in host.log.values() {
            match room.take(&named.entry) {
                Fit::Put => told.entries.push(*named),
                Fit::Skip => told.skipped.push(named.id),
                Fit::Full => break,
            }
        }
        Ok(told)
    }

    /// Whose log has this entry, and where.
    pub fn find_log(&self, id: Uuid) -> Option<(Uuid, u64)> {
        self.hosts.find_log(id)
    }

    /// The place of an entry that says the same in a host's log, and its name.
    pub fn same_log(&self, host: Uuid, entry: &Entry) -> Option<(u64, Uuid)> {
        let host = self.hosts.get(self.hosts.number(host)?)?;
        let seq = host.by_entry.get(entry)?;
        Some((*seq, host.log.get(seq)?.id))
    }

    /// A host's log, oldest first.
    pub fn host_log(&self, host: Uuid) -> impl Iterator<Item = (u64, Named)> {
        let host = self.hosts.number(host).and_then(|no| self.hosts.get(no));
        host.into_iter().flat_map(|h| h.log.iter().map(|(seq, named)| (*seq, *named)))
    }

    /// The place behind the last entry of all logs.
    pub fn next_seq(&self) -> u64 {
        self.hosts.next_seq
    }

    /// A network's description.
    pub fn network(&self, vnet: u32) -> Option<&Network> {
        self.networks.get(&vnet)
    }

    /// Networks that are described or have guests or routers, in order.
    pub fn networks(&self) -> Vec<u32> {
        let used = self.networks.keys().chain(self.members.keys()).copied();
        let all: HashSet<_> = used.chain(self.routers.iter().map(|(vnet, _)| *vnet)).collect();
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_unstable();
        all
    }

    /// Routers of all networks, by network and address.
    pub fn routers(&self) -> impl Iterator<Item = Port> {
        self.routers.iter().filter_map(|(vnet, ip)| self.port(*vnet, IpAddr::V6(*ip)))
    }

    /// Routers of a network, by address.
    pub fn routers_of(&self, vnet: u32) -> impl Iterator<Item = Port> {
        let all = (vnet, Ipv6Addr::from([0; 16]))..=(vnet, Ipv6Addr::from([0xff; 16]));
        self.routers.range(all).filter_map(|(vnet, ip)| self.port(*vnet, IpAddr::V6(*ip)))
    }

    /// Hosts with guests in a network, and with how many addresses of them.
    pub fn members(&self, vnet: u32) -> impl Iterator<Item = (Uuid, u32)> {
        let members = self.members.get(&vnet).into_iter().flatten();
        members.filter_map(|(no, n)| Some((self.hosts.get(*no)?.id, *n)))
    }

    /// A host, if it has an underlay address.
    pub fn host(&self, id: Uuid) -> Option<Host> {
        self.hosts.get(self.hosts.number(id)?)?.record()
    }

    /// Hosts with an underlay address, each with its ports and log entries.
    pub fn hosts(&self) -> impl Iterator<Item = (Host, u32, usize)> {
        self.hosts.iter().filter_map(|h| Some((h.record()?, h.ports, h.log.len())))
    }

    /// Hosts at this underlay address.
    pub fn hosts_at(&self, ip: IpAddr) -> impl Iterator<Item = Uuid> {
        let numbers = self.hosts.all_at(octets(ip).into());
        numbers.iter().filter_map(|no| Some(self.hosts.get(*no)?.id))
    }

    /// Whether a port, dead or alive, names this host.
    pub fn port_count(&self, host: Uuid) -> u32 {
        let host = self.hosts.number(host).and_then(|no| self.hosts.get(no));
        host.map_or(0, |h| h.ports)
    }

    /// A port.
    pub fn port(&self, vnet: u32, ip: IpAddr) -> Option<Port> {
        let slot = self.ports.get(vnet, octets(ip).into())?;
        Some(slot.record(self.hosts.get(slot.host)?.id))
    }

    /// Addresses of the ports with this Ethernet address.
    pub fn ports_of(&self, vnet: u32, mac: Mac) -> impl Iterator<Item = IpAddr> {
        self.ports.of_mac(vnet, mac.0).map(|slot| slot.ip())
    }

    /// Ports on a host, by looking at all ports.
    pub fn ports_on(&self, host: Uuid) -> impl Iterator<Item = Port> {
        let no = self.hosts.number(host);
        let on = self.ports.iter().filter(move |slot| Some(slot.host) == no);
        on.map(move |slot| slot.record(host))
    }

    /// A route.
    pub fn route_at(&self, key: &RouteKey) -> Option<&Route> {
        self.routes.get(key)
    }

    /// All routes, tombstones included.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    /// Routes of packets with this tag, tombstones included.
    pub fn routes_of(&self, vnet: u32, vlan: u16) -> impl Iterator<Item = &Route> {
        self.routes.of(vnet, vlan)
    }

    /// Live routes that lead to a network.
    pub fn routes_into(&self, r_vnet: u32) -> impl Iterator<Item = &Route> {
        self.routes.leading_to(r_vnet)
    }

    /// How much there is.
    pub fn counts(&self) -> Counts {
        Counts {
            networks: self.networks().len(),
            hosts: self.hosts.iter().filter(|h| h.underlay.is_some()).count(),
            ports: self.ports.len(),
            routers: self.routers.len(),
            routes: self.routes.len(),
            log: self.hosts.log_len(),
        }
    }

    /// Takes over what was committed.
    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::Network(vnet, None) => drop(self.networks.remove(vnet)),
            Write::Network(vnet, Some(network)) => {
                self.networks.insert(*vnet, network.clone());
            }
            Write::Host(id, record) => self.hosts.put(*id, record.as_ref()),
            Write::Port(vnet, ip, record) => self.put_port(*vnet, *ip, record.as_ref()),
            Write::Route(key, record) => self.routes.put(*key, record.as_ref()),
            Write::Log(host, seq, Some(record)) => self.hosts.append(*host, *seq, record.named()),
            Write::Log(host, seq, None) => self.hosts.remove_log(*host, *seq),
        }
    }

    fn put_port(&mut self, vnet: u32, ip: IpAddr, record: Option<&Port>) {
        if let Some(old) = self.ports.remove(vnet, octets(ip).into()) {
            self.routers.remove(&(vnet, octets(ip).into()));
            if old.is_guest() {
                self.count_member(vnet, old.host, false);
            }
            self.hosts.count_port(old.host, false);
        }
        if let Some(port) = record {
            let host = self.hosts.refer(port.host);
            self.hosts.count_port(host, true);
            if port.is_guest() {
                self.count_member(vnet, host, true);
            }
            if port.is_router() {
                self.routers.insert((vnet, octets(ip).into()));
            }
            self.ports.insert(port, host);
        }
    }

    fn count_member(&mut self, vnet: u32, host: HostNo, more: bool) {
        let members = self.members.entry(vnet).or_default();
        let n = members.entry(host).or_default();
        *n = if more { *n + 1 } else { n.saturating_sub(1) };
        if *n == 0 {
            members.remove(&host);
        }
        if members.is_empty() {
            self.members.remove(&vnet);
        }
    }
}
