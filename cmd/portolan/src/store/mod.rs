// SPDX-License-Identifier: CDDL-1.0
//! The narrow interface between the directory and whatever keeps it.
//!
//! A store is an ordered map of bytes to bytes in a few tables, changed by whole transactions, each
//! of which makes a new *revision*. Nothing more is asked of it, so that an embedded file and a
//! distributed engine both fit:
//!
//! | here | redb | etcd |
//! |---|---|---|
//! | [`Engine::commit`] at revision r | one write transaction | txn: if key `revision` is r then puts, deletes |
//! | [`Engine::snapshot`] | read transaction | range at a revision |
//!
//! The directory plans a transaction from what it has in memory. That this is what the store holds
//! is checked by the revision: when somebody else has written meanwhile, nothing happens and
//! [`StoreError::Conflict`] says so; the directory reads the store again and plans anew.
//!
//! Reading is for start-up and for exports. Lookups never get here.

pub mod file;
pub mod memory;

use std::path::PathBuf;
use thiserror::Error;

/// Number of transactions since the store was made.
pub type Revision = u64;

/// Which kind of record a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Virtual networks by number.
    Networks,
    /// Hosts by id.
    Hosts,
    /// Guests by network and IP address.
    Ports,
    /// Routes between networks.
    Routes,
    /// Log entries by host and order.
    Log,
}

impl Table {
    /// Every table, in an order in which their records can be read one after the other.
    pub const ALL: [Table; 5] =
        [Table::Networks, Table::Hosts, Table::Ports, Table::Routes, Table::Log];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Table::Networks => "networks",
            Table::Hosts => "hosts",
            Table::Ports => "ports",
            Table::Routes => "routes",
            Table::Log => "log",
        }
    }
}

/// One change: a new value of a key, or none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kv {
    /// Where.
    pub table: Table,
    /// Which.
    pub key: Vec<u8>,
    /// `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// Why the store does not do what is asked of it. After any of them nothing was changed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The store is at another revision than the transaction was planned at.
    #[error("the store was changed by somebody else")]
    Conflict,
    /// No room, no permission, a broken disk.
    #[error("cannot write the store: {0}")]
    Io(String),
    /// The file is not a store or is not whole. It was not touched.
    #[error(
        "{} is damaged or is not a store of portolan: {why}\n\
         It was left as it is. Restore it from a backup, or move it away to begin with an empty one.",
        file.display()
    )]
    Corrupt {
        /// The store.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Another process has it open.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
}

/// A store.
pub trait Engine: Send + Sync {
    /// Makes all changes or none, durably, if the store is at revision `at`. Answers the new one.
    fn commit(&self, at: Revision, writes: &[Kv]) -> Result<Revision, StoreError>;

    /// The store as it is now, whatever happens to it later.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;
}

/// What [`Snapshot::scan`] calls for each key and value. `false` ends the scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> bool + 'a;

/// A store at one revision.
pub trait Snapshot: Send {
    /// Which one.
    fn revision(&self) -> Revision;

    /// Visits keys from `from` on in ascending order.
    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError>;
}
