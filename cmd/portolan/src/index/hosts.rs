// SPDX-License-Identifier: CDDL-1.0
//! Hosts and their logs.

use super::HostNo;
use crate::net::octets;
use crate::record::Host;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use svp::log::{Entry, Named};
use svp::message::Underlay;
use uuid::Uuid;

/// A host that is described, or that a port or a log entry names.
pub struct HostSlot {
    pub id: Uuid,
    pub underlay: Option<Underlay>,
    /// Ports that name it.
    pub ports: u32,
    /// By place.
    pub log: BTreeMap<u64, Named>,
    /// The place of what the log says.
    pub by_entry: HashMap<Entry, u64>,
}

impl HostSlot {
    pub fn record(&self) -> Option<Host> {
        let Underlay { ip, port } = self.underlay?;
        Some(Host { id: self.id, ip: IpAddr::V6(ip).to_canonical(), port })
    }
}

#[derive(Default)]
pub struct Hosts {
    /// Never shrinks: a host's number stays its own. There are few hosts.
    slots: Vec<HostSlot>,
    by_id: HashMap<Uuid, HostNo>,
    by_ip: HashMap<Ipv6Addr, Vec<HostNo>>,
    by_log: HashMap<Uuid, (HostNo, u64)>,
    pub next_seq: u64,
}

impl Hosts {
    pub fn get(&self, no: HostNo) -> Option<&HostSlot> {
        self.slots.get(no as usize)
    }

    pub fn iter(&self) -> impl Iterator<Item = &HostSlot> {
        self.slots.iter()
    }

    pub fn number(&self, id: Uuid) -> Option<HostNo> {
        self.by_id.get(&id).copied()
    }

    pub fn underlay(&self, no: HostNo) -> Option<Underlay> {
        self.get(no)?.underlay
    }

    pub fn all_at(&self, ip: Ipv6Addr) -> &[HostNo] {
        self.by_ip.get(&ip).map_or(&[], Vec::as_slice)
    }

    /// The only host at an underlay address.
    pub fn at(&self, ip: Ipv6Addr) -> Option<HostNo> {
        match self.all_at(ip) {
            [no] => Some(*no),
            _ => None,
        }
    }

    pub fn log_len(&self) -> usize {
        self.by_log.len()
    }

    pub fn find_log(&self, id: Uuid) -> Option<(Uuid, u64)> {
        let (no, seq) = self.by_log.get(&id)?;
        Some((self.get(*no)?.id, *seq))
    }

    /// The number of a host, a new one if it has none.
    pub fn refer(&mut self, id: Uuid) -> HostNo {
        let next = self.slots.len() as HostNo;
        let no = *self.by_id.entry(id).or_insert(next);
        if no == next {
            self.slots.push(HostSlot {
                id,
                underlay: None,
                ports: 0,
                log: BTreeMap::new(),
                by_entry: HashMap::new(),
            });
        }
        no
    }

    pub fn put(&mut self, id: Uuid, record: Option<&Host>) {
        let no = self.refer(id);
        let underlay = record.map(|h| Underlay { ip: octets(h.ip).into(), port: h.port });
        let slot = &mut self.slots[no as usize];
        let old = std::mem::replace(&mut slot.underlay, underlay);
        if let Some(Underlay { ip, .. }) = old
            && let Some(at) = self.by_ip.get_mut(&ip)
        {
            at.retain(|n| *n != no);
            if at.is_empty() {
                self.by_ip.remove(&ip);
            }
        }
        if let Some(Underlay { ip, .. }) = underlay {
            self.by_ip.entry(ip).or_default().push(no);
        }
    }

    pub fn count_port(&mut self, no: HostNo, more: bool) {
        let n = &mut self.slots[no as usize].ports;
        *n = if more { *n + 1 } else { n.saturating_sub(1) };
    }

    pub fn append(&mut self, host: Uuid, seq: u64, named: Named) {
        let no = self.refer(host);
        let slot = &mut self.slots[no as usize];
        slot.log.insert(seq, named);
        slot.by_entry.insert(named.entry, seq);
        self.by_log.insert(named.id, (no, seq));
        self.next_seq = self.next_seq.max(seq.saturating_add(1));
    }

    pub fn remove_log(&mut self, host: Uuid, seq: u64) {
        let Some(no) = self.number(host) else { return };
        let slot = &mut self.slots[no as usize];
        let Some(named) = slot.log.remove(&seq) else { return };
        if slot.by_entry.get(&named.entry) == Some(&seq) {
            slot.by_entry.remove(&named.entry);
        }
        self.by_log.remove(&named.id);
    }
}
