// SPDX-License-Identifier: CDDL-1.0
//! A directory server: portolan's directory over a store in memory, behind a name with a few addresses.

use crate::truth::{Truth, Universe};
use portolan::change::{Change, ChangeError, Changes, Outcome};
use portolan::directory::Directory;
use portolan::metrics::Metrics;
use portolan::store::memory::Memory;
use portolan::store::{Engine, Kv, Revision, Snapshot, StoreError};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use svp::Uuid;
use svp::log::Entry;
use tokio::runtime::Runtime;
use varpd_svp::engine::Time;

pub const PORT: u16 = 1296;

/// How an address behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Fine,
    /// Nobody listens.
    Refuses,
    /// Packets vanish.
    Hangs,
    /// It accepts and says nothing.
    Deaf,
    /// It accepts and closes.
    Shuts,
    /// Some of what it says is not what it said.
    Noisy,
    /// What it says is long under way.
    Slow,
}

/// What becomes of a question for the addresses of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    Fine,
    /// Does not exist.
    None,
    /// An answer without addresses.
    Empty,
    /// Ask again later.
    Temporary,
    /// No answer for a long time.
    Hangs,
}

pub struct Front {
    pub ip: IpAddr,
    pub mood: Mood,
    /// The name has it.
    pub named: bool,
}

/// A store that can be full.
#[derive(Clone, Default)]
struct Disk {
    memory: Memory,
    full: Arc<AtomicBool>,
}

impl Engine for Disk {
    fn commit(&self, at: Revision, writes: &[Kv]) -> Result<Revision, StoreError> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(StoreError::Io("no space".into())),
            false => self.memory.commit(at, writes),
        }
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.memory.snapshot()
    }
}

pub struct Site {
    pub name: String,
    pub fronts: Vec<Front>,
    pub names: Names,
    disk: Disk,
    runtime: Runtime,
    pub metrics: Arc<Metrics>,
    /// While it runs.
    pub directory: Option<Directory>,
    pub truth: Truth,
    pub universe: Universe,
    /// From which place on log entries were made, and when.
    births: Vec<(u64, Time)>,
}

impl Site {
    pub fn new(number: usize, fronts: usize, universe: Universe) -> Site {
        let front = |n: usize| Front {
            ip: match n {
                // One of them speaks IPv6.
                1 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, number as u16, n as u16]),
                _ => IpAddr::from([192, 0, 2, (number * 16 + n) as u8]),
            },
            mood: Mood::Fine,
            named: true,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut site = Site {
            name: format!("portolan{number}.test"),
            fronts: (0..fronts).map(front).collect(),
            names: Names::Fine,
            disk: Disk::default(),
            runtime,
            metrics: Arc::default(),
            directory: None,
            truth: Truth::default(),
            universe,
            births: Vec::new(),
        };
        site.boot();
        site
    }

    /// Starts with what is in the store.
    pub fn boot(&mut self) {
        let engine = Box::new(self.disk.clone());
        let directory = Directory::open(engine, Arc::clone(&self.metrics));
        self.directory = Some(directory.expect("a store in memory"));
    }

    pub fn fill_disk(&self, full: bool) {
        self.disk.full.store(full, Ordering::SeqCst);
    }

    pub fn is_full(&self) -> bool {
        self.disk.full.load(Ordering::SeqCst)
    }

    pub fn front_at(&self, addr: SocketAddr) -> Option<usize> {
        self.fronts.iter().position(|f| f.ip == addr.ip() && addr.port() == PORT)
    }

    pub fn change(
        &mut self,
        now: Time,
        changes: Vec<Change>,
    ) -> Option<Result<Outcome, ChangeError>> {
        let directory = self.directory.as_ref()?;
        let seq = directory.read().next_seq();
        let changes = Changes { restore: false, changes };
        let result = self.runtime.block_on(directory.change(changes));
        let index = directory.read();
        if index.next_seq() > seq {
            self.births.push((seq, now));
        }
        self.truth.note(now, &index, &self.universe);
        drop(index);
        Some(result)
    }

    /// Removes log entries; whether that was done.
    pub fn remove(&self, ids: Vec<Uuid>, owners: Vec<Uuid>) -> bool {
        let Some(directory) = &self.directory else { return false };
        self.runtime.block_on(directory.remove_log(ids, owners)).is_ok()
    }

    /// What a log entry says, and since when.
    pub fn entry(&self, id: Uuid) -> Option<(Uuid, Entry, Time)> {
        let index = self.directory.as_ref()?.read();
        let (host, seq) = index.find_log(id)?;
        let (_, named) = index.host_log(host).find(|(at, _)| *at == seq)?;
        let born = self.births.partition_point(|(from, _)| *from <= seq);
        let (_, born) = self.births.get(born.checked_sub(1)?)?;
        Some((host, named.entry, *born))
    }

    /// How long the store takes.
    pub fn commit_time(rng: &mut fastrand::Rng) -> Duration {
        Duration::from_micros(rng.u64(100..30_000))
    }
}
