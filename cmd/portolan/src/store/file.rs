// SPDX-License-Identifier: CDDL-1.0
//! The embedded store: one file of redb.
//!
//! A commit is on disk when it returns, and a process that is killed at any moment leaves the last committed
//! revision. Commits have two phases (two syncs): with one, redb could not tell a damaged page of the last
//! commit from a commit that was cut off, and would go back to the one before without a word. A new store is
//! made under another name and renamed when it is whole, so a file by the store's name that is empty or short
//! was damaged, and is refused.
//!
//! When a write fails (disk full, for one) redb takes no more transactions on that handle. The next
//! commit opens the file again, so that the store works again as soon as there is room.

use super::{Engine, Kv, Revision, Snapshot, StoreError, Table, Visit};
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// What the store is: format and revision.
const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("portolan");
const FORMAT: u64 = 1;
/// Pages kept in memory, bytes. The directory has its own indexes; this is for the B-trees' upper levels.
const CACHE: usize = 16 << 20;

fn definition(table: Table) -> Definition {
    TableDefinition::new(table.name())
}

fn io(e: impl Display) -> StoreError {
    StoreError::Io(e.to_string())
}

/// The store.
pub struct File {
    path: PathBuf,
    /// `None` after a failed write, until the next commit opens the file again.
    db: Mutex<Option<Database>>,
}

impl File {
    /// Opens the store at `path`, or makes an empty one with its directory if there is none.
    pub fn open(path: &Path) -> Result<File, StoreError> {
        if !path.try_exists().map_err(io)? {
            make(path)?;
        }
        let db = open(path)?;
        Ok(File { path: path.to_owned(), db: Mutex::new(Some(db)) })
    }

    /// What `f` makes of the database. A handle that failed is dropped.
    fn with<T>(&self, f: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut slot = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        let db = match slot.take() {
            Some(db) => db,
            None => open(&self.path)?,
        };
        let result = f(&db);
        if !matches!(result, Err(StoreError::Io(_))) {
            *slot = Some(db);
        }
        result
    }
}

impl Engine for File {
    fn commit(&self, at: Revision, writes: &[Kv]) -> Result<Revision, StoreError> {
        self.with(|db| {
            let mut txn = db.begin_write().map_err(io)?;
            txn.set_two_phase_commit(true);
            let next = {
                let mut meta = txn.open_table(META).map_err(io)?;
                let now = meta.get("revision").map_err(io)?.map_or(0, |v| v.value());
                if now != at {
                    return Err(StoreError::Conflict);
                }
                meta.insert("revision", now + 1).map_err(io)?;
                now + 1
            };
            for table in Table::ALL {
                let mut rest = writes.iter().filter(|w| w.table == table).peekable();
                if rest.peek().is_none() {
                    continue;
                }
                let mut table = txn.open_table(definition(table)).map_err(io)?;
                for Kv { key, value, .. } in rest {
                    match value {
                        Some(value) => table.insert(key.as_slice(), value.as_slice()).map(drop),
                        None => table.remove(key.as_slice()).map(drop),
                    }
                    .map_err(io)?;
                }
            }
            txn.commit().map_err(io)?;
            Ok(next)
        })
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.with(|db| {
            let txn = db.begin_read().map_err(io)?;
            let meta = txn.open_table(META).map_err(io)?;
            let revision = meta.get("revision").map_err(io)?.map_or(0, |v| v.value());
            Ok(Box::new(Frozen { txn, revision }) as Box<dyn Snapshot>)
        })
    }
}

struct Frozen {
    txn: redb::ReadTransaction,
    revision: Revision,
}

impl Snapshot for Frozen {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let table = self.txn.open_table(definition(table)).map_err(io)?;
        for item in table.range(from..).map_err(io)? {
            let (key, value) = item.map_err(io)?;
            if !visit(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

/// Makes an empty store with all its tables.
fn make(path: &Path) -> Result<(), StoreError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(|e| io(format_args!("{}: {e}", dir.display())))?;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(e)),
        _ => {}
    }
    let db = builder().create(&new).map_err(io)?;
    let mut txn = db.begin_write().map_err(io)?;
    txn.set_two_phase_commit(true);
    txn.open_table(META).map_err(io)?.insert("format", FORMAT).map_err(io)?;
    for table in Table::ALL {
        txn.open_table(definition(table)).map_err(io)?;
    }
    txn.commit().map_err(io)?;
    drop(db);
    std::fs::rename(&new, path).map_err(io)?;
    let dir = std::fs::File::open(dir).map_err(io)?;
    dir.sync_all().map_err(io)
}

/// Opens a store that is there, and checks all of it.
fn open(path: &Path) -> Result<Database, StoreError> {
    let corrupt = |why: String| StoreError::Corrupt { file: path.to_owned(), why };
    let size = std::fs::metadata(path).map_err(io)?.len();
    if size == 0 {
        return Err(corrupt("the file is empty".into()));
    }
    let _words = Words::for_panics(path);
    let mut db = builder().open(path).map_err(|e| match e {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.to_owned()),
        DatabaseError::Storage(redb::StorageError::Io(e))
            if e.kind() != std::io::ErrorKind::InvalidData
                && e.kind() != std::io::ErrorKind::UnexpectedEof =>
        {
            io(format_args!("{}: {e}", path.display()))
        }
        other => corrupt(other.to_string()),
    })?;
    match db.check_integrity() {
        Ok(true) => {}
        Ok(false) => return Err(corrupt("checksums of its pages do not fit".into())),
        Err(e) => return Err(corrupt(e.to_string())),
    }
    let format = || -> Result<Option<u64>, redb::Error> {
        Ok(db.begin_read()?.open_table(META)?.get("format")?.map(|v| v.value()))
    };
    match format() {
        Ok(Some(FORMAT)) => Ok(db),
        Ok(Some(other)) => {
            Err(corrupt(format!("it has format {other}, this program knows {FORMAT}")))
        }
        Ok(None) => Err(corrupt("it does not say its format".into())),
        Err(e) => Err(corrupt(e.to_string())),
    }
}

/// On some damage redb panics instead of returning an error, and a release of ours has `panic = "abort"`, so
/// that nobody can catch it. While one of these exists, a panic of its thread ends the process with the
/// message and the exit code that [`StoreError::Corrupt`] has at a start.
struct Words;

/// As [`crate::run::RunError::exit_code`] has it for a store that cannot be used.
const EXIT: i32 = 95;

impl Words {
    fn for_panics(path: &Path) -> Words {
        let (file, opener) = (path.to_owned(), std::thread::current().id());
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            usual(panic);
            if std::thread::current().id() == opener {
                let why = "redb cannot make sense of it".to_owned();
                eprintln!("portolan: {}", StoreError::Corrupt { file: file.clone(), why });
                std::process::exit(EXIT);
            }
        }));
        Words
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // Nothing else in this process has a hook of its own.
        drop(std::panic::take_hook());
    }
}
