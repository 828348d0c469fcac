// SPDX-License-Identifier: CDDL-1.0
//! The directory: an index for readers, one writer for all changes, a store behind.
//!
//! ```text
//!   lookups ------> read lock --> Index <-- write lock, apply --.
//!                                   |                           |
//!   changes --.                     | read lock, plan           |
//!   LOG_RM ---+--> queue --> writer thread --> Engine::commit --'--> replies, watchers
//! ```
//!
//! Everything that waits in the queue when the writer looks goes into one transaction: a commit costs a
//! write to the disk, whether it holds one change or hundreds. Each change is answered after its commit, so
//! what was acknowledged is on disk. The write lock is held for the time it takes to apply records in
//! memory, never during a commit: lookups do not wait for the disk.
//!
//! Lock order: index, then recent. The writer thread alone takes the write lock.

use crate::change::{Change, ChangeError, Changes, Outcome};
use crate::index::Index;
use crate::metrics::Metrics;
use crate::plan::Plan;
use crate::record::{BadRecord, Write};
use crate::store::{Engine, Kv, Revision, Snapshot, StoreError, Table};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime};
use thiserror::Error;
use tokio::sync::{broadcast, mpsc, oneshot};
use utoipa::ToSchema;
use uuid::Uuid;

/// Jobs that wait for the writer; more wait at the door.
const QUEUE: usize = 4096;
/// Jobs that one transaction takes.
const GROUP: usize = 512;
/// Recent changes kept for those who begin to watch.
const RECENT: usize = 100;
/// Changes of one request that watchers are shown.
const SHOWN: usize = 20;

/// Changes as they became effective.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Changed {
    /// With which revision.
    pub revision: Revision,
    /// When, milliseconds since 1970.
    pub at: u64,
    /// The first of them.
    pub changes: Vec<Change>,
    /// How many there were.
    pub count: usize,
    /// Log entries made for hosts.
    pub logged: usize,
}

/// Why a directory does not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record in it.
    #[error(
        "the store is damaged: {0}\n\
         It was left as it is. Restore it from a backup, or move it away to begin with an empty one."
    )]
    Record(#[from] BadRecord),
}

enum Work {
    Change(Changes),
    RemoveLog { ids: Vec<Uuid>, owners: Vec<Uuid> },
}

struct Job {
    work: Work,
    reply: oneshot::Sender<Result<Outcome, ChangeError>>,
}

struct Shared {
    index: RwLock<Index>,
    recent: Mutex<VecDeque<Arc<Changed>>>,
    changed: broadcast::Sender<Arc<Changed>>,
    engine: Box<dyn Engine>,
    metrics: Arc<Metrics>,
}

/// A handle; clones are the same directory. The writer ends when all are gone.
#[derive(Clone)]
pub struct Directory {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
}

impl Directory {
    /// Reads all of the store and starts the writer.
    pub fn open(engine: Box<dyn Engine>, metrics: Arc<Metrics>) -> Result<Directory, OpenError> {
        let (index, revision) = load(&*engine.snapshot()?)?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            index: RwLock::new(index),
            recent: Mutex::default(),
            changed: broadcast::channel(1024).0,
            engine,
            metrics,
        });
        let writer = Writer { shared: Arc::clone(&shared), revision };
        std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || writer.run(queue))
            .map_err(|e| StoreError::Io(format!("no thread for the writer: {e}")))?;
        Ok(Directory { shared, jobs })
    }

    /// The index as it is; changes wait while this is held.
    pub fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.shared.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store as it is, for long readings.
    pub fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.shared.engine.snapshot()
    }

    /// The last changes, oldest first, and those to come.
    pub fn watch(&self) -> (Vec<Arc<Changed>>, broadcast::Receiver<Arc<Changed>>) {
        let recent = self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner);
        (recent.iter().cloned().collect(), self.shared.changed.subscribe())
    }

    /// Makes changes, all or none, and answers when they are on disk.
    pub async fn change(&self, changes: Changes) -> Result<Outcome, ChangeError> {
        self.work(Work::Change(changes)).await
    }

    /// Removes log entries: of these hosts only, if any are named.
    pub async fn remove_log(
        &self,
        ids: Vec<Uuid>,
        owners: Vec<Uuid>,
    ) -> Result<Outcome, ChangeError> {
        self.work(Work::RemoveLog { ids, owners }).await
    }

    async fn work(&self, work: Work) -> Result<Outcome, ChangeError> {
        let (reply, answer) = oneshot::channel();
        let stopping = |_| ChangeError::Stopping;
        self.jobs.send(Job { work, reply }).await.map_err(|_| ChangeError::Stopping)?;
        answer.await.map_err(stopping)?
    }
}

fn load(snapshot: &dyn Snapshot) -> Result<(Index, Revision), OpenError> {
    let mut index = Index::default();
    let mut bad = None;
    for table in Table::ALL {
        snapshot.scan(
            table,
            &[],
            &mut |key, value| match Write::from_record(table, key, value) {
                Ok(write) => {
                    index.apply(&write);
                    true
                }
                Err(e) => {
                    bad = Some(e);
                    false
                }
            },
        )?;
    }
    match bad {
        Some(bad) => Err(bad.into()),
        None => Ok((index, snapshot.revision())),
    }
}

struct Writer {
    shared: Arc<Shared>,
    revision: Revision,
}

type Results = Vec<Result<Outcome, ChangeError>>;

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(job) = queue.try_recv()
            {
                group.push(job);
            }
            let results = self.transact(&group);
            for (job, result) in group.into_iter().zip(results) {
                if let (Work::Change(changes), Ok(outcome)) = (job.work, &result) {
                    self.publish(changes, outcome);
                }
                // Who asked may have gone away meanwhile.
                let _ = job.reply.send(result);
            }
        }
    }

    /// One transaction of all jobs that can be done.
    fn transact(&mut self, group: &[Job]) -> Results {
        loop {
            let (results, writes) = self.plan(group);
            // A commit finds out by itself that somebody else has written. A refusal, or that there is
            // nothing to do, may be due to what we do not know yet.
            let doubtful = writes.is_empty() || results.iter().any(Result::is_err);
            if doubtful && self.is_behind() && self.reload().is_ok() {
                continue;
            }
            if writes.is_empty() {
                return results;
            }
            let kvs: Vec<Kv> = writes.iter().map(Write::to_kv).collect();
            let began = Instant::now();
            let committed = self.shared.engine.commit(self.revision, &kvs);
            self.shared.metrics.commit(began.elapsed(), committed.is_ok());
            let failed = match committed {
                Ok(revision) => {
                    let mut index =
                        self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
                    writes.iter().for_each(|w| index.apply(w));
                    self.revision = revision;
                    return results;
                }
                Err(StoreError::Conflict) => match self.reload() {
                    Ok(()) => continue,
                    Err(e) => e.to_string(),
                },
                Err(e) => e.to_string(),
            };
            let undone = |r: Result<Outcome, ChangeError>| {
                r.and_then(|_| Err(ChangeError::Store(failed.clone())))
            };
            return results.into_iter().map(undone).collect();
        }
    }

    /// What the jobs come to. A job that cannot be done leaves no trace in the transaction.
    fn plan(&self, group: &[Job]) -> (Results, Vec<Write>) {
        let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
        let mut results: Vec<Option<ChangeError>> = vec![None; group.len()];
        'again: loop {
            let mut plan = Plan::new(&index, self.revision + 1);
            let mut outcomes = Vec::with_capacity(group.len());
            for (job, failed) in group.iter().zip(&mut results) {
                if let Some(e) = failed {
                    outcomes.push(Err(e.clone()));
                    continue;
                }
                match &job.work {
                    Work::Change(Changes { changes, restore }) => {
                        match plan.make(changes, *restore) {
                            Ok(outcome) => outcomes.push(Ok(outcome)),
                            Err(e) => {
                                *failed = Some(e);
                                continue 'again;
                            }
                        }
                    }
                    Work::RemoveLog { ids, owners } => {
                        plan.remove_log(ids, owners);
                        let revision = self.revision + 1;
                        outcomes.push(Ok(Outcome { revision, written: 0, logged: 0 }));
                    }
                }
            }
            return (outcomes, plan.writes());
        }
    }

    /// Whether somebody else has written.
    fn is_behind(&self) -> bool {
        self.shared.engine.snapshot().is_ok_and(|s| s.revision() != self.revision)
    }

    /// Takes over what somebody else has written.
    fn reload(&mut self) -> Result<(), OpenError> {
        let (index, revision) = load(&*self.shared.engine.snapshot()?)?;
        *self.shared.index.write().unwrap_or_else(PoisonError::into_inner) = index;
        self.revision = revision;
        Ok(())
    }

    fn publish(&self, changes: Changes, outcome: &Outcome) {
        if outcome.written == 0 {
            return;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let at = u64::try_from(now.unwrap_or(Duration::ZERO).as_millis()).unwrap_or(u64::MAX);
        let (Outcome { revision, logged, .. }, mut changes) = (*outcome, changes.changes);
        let count = changes.len();
        changes.truncate(SHOWN);
        let changed = Arc::new(Changed { revision, at, changes, count, logged });
        let mut recent = self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(&changed));
        // Nobody may be watching.
        let _ = self.shared.changed.send(changed);
    }
}
