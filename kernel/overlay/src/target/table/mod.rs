// SPDX-License-Identifier: CDDL-1.0
//! Answers of varpd by what was asked for, with packets that wait for one.
//!
//! ```text
//!   key ─hash─► shard (lock, ClockMap) ─► entry: an answer, or pending (queue, request id)
//! ```
//!
//! * An entry is pending or it has an answer, never both: an answer takes the queue and ends the
//!   request.
//! * The number of entries is bounded by a [`Limit`]. A new one makes another go, as
//!   [`ddi::map`] says; pending ones stay. When all are pending the packet is dropped.
//! * Here: what a packet does, and who makes room for it. `answers`: requests and what ends them.
//!   `whole`: what concerns many entries.
//! * Lock order: a shard, then the lock of [`Requests`]. Never two shards. Nothing is sent with
//!   either held: what an answer releases is returned to the caller.
mod answers;
mod whole;

use super::limit::Limit;
use crate::request::{About, Requests};
use crate::stats::DropReason;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use ddi::map::{ClockMap, Hashed, Hasher, Key};
use ddi::mblk::{Mblk, MblkChain, MblkQueue};
use ddi::mem::{KArc, KBox, KVec, KmFlag};
use ddi::sync::{KMutex, KMutexGuard};

/// Bytes that may wait for one answer; the first packet always may.
pub(crate) const QUEUE_MAX: usize = 128 * 1024;
/// Bytes that may wait on one link, for it costs a guest nothing to make up addresses.
pub(crate) const PENDING_MAX: usize = 64 * 1024 * 1024;
const SHARDS: usize = 64;
const FIRST_BUCKETS: usize = 16;
/// Shards asked for an idle entry before one in use must go.
const OTHER_SHARDS: usize = 16;

/// What a table is asked for.
pub(crate) trait Name: Key {
    /// The question for varpd.
    fn about(self) -> About;
    /// The key behind this one, in order.
    fn next(self) -> Option<Self>;
}

/// Packets that wait for an answer.
struct Pending {
    packets: MblkQueue,
    request: u64,
}

enum Entry<A> {
    Pending(KBox<Pending>),
    Known(A),
}

struct Shard<K: Key, A> {
    map: ClockMap<K, Entry<A>>,
    hits: u64,
    misses: u64,
    evictions: u64,
}

/// What waits on a link, in all its tables.
#[derive(Default)]
pub(crate) struct Waiting {
    pub packets: AtomicUsize,
    pub bytes: AtomicUsize,
}

/// What is counted about a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableStats {
    pub entries: u64,
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
}

/// What becomes of a packet.
pub(crate) enum Found<A> {
    /// There is an answer.
    Known(A, Mblk),
    /// It waits for one.
    Queued,
    /// It must be dropped.
    Drop(DropReason, Mblk),
}

/// See the module.
pub(crate) struct Table<K: Key, A> {
    linkid: u32,
    target: u64,
    hasher: Hasher,
    shards: KVec<KMutex<Shard<K, A>>>,
    len: AtomicUsize,
    /// Goes up whenever an answer goes or becomes another, before whoever made it so returns.
    changes: AtomicU64,
    limit: KArc<Limit>,
    /// Where the next search for an entry to evict begins.
    hand: AtomicUsize,
    waiting: KArc<Waiting>,
}

impl<K: Name, A: Copy> Table<K, A> {
    pub fn new(linkid: u32, target: u64, limit: KArc<Limit>, waiting: KArc<Waiting>) -> Self {
        let hasher = Hasher::new(ddi::time::hrtime() as u64 ^ target.rotate_left(32));
        let mut shards = KVec::new();
        for _ in 0..SHARDS {
            let map = ClockMap::new(FIRST_BUCKETS, hasher);
            let shard = KMutex::new(Shard { map, hits: 0, misses: 0, evictions: 0 });
            // Waits for memory: cannot fail.
            let _ = shards.push(shard, KmFlag::Sleep);
        }
        let (len, hand) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let changes = AtomicU64::new(0);
        Table { linkid, target, hasher, shards, len, changes, limit, hand, waiting }
    }

    #[inline]
    fn shard(&self, hash: u64) -> Option<&KMutex<Shard<K, A>>> {
        // The upper bits choose the shard, the lower ones the bucket.
        self.shards.get((hash >> 58) as usize % SHARDS)
    }

    /// The answer for a packet of `size` bytes, or a place in its queue. Does not wait.
    ///
    /// Always inline: as a function of its own, which it becomes with a second caller, it costs each
    /// packet some 20 instructions.
    #[inline(always)]
    pub fn look_up(&self, requests: &Requests, key: K, mp: Mblk, size: usize) -> Found<A> {
        let at = self.hasher.hash(key);
        let Some(shard) = self.shard(at.hash) else {
            return Found::Drop(DropReason::TxNoMemory, mp);
        };
        let mut s = shard.lock();
        let Shard { map, hits, misses, .. } = &mut *s;
        match map.get(at) {
            Some(Entry::Known(answer)) => {
                *hits = hits.wrapping_add(1);
                Found::Known(*answer, mp)
            }
            Some(Entry::Pending(pending)) => {
                *misses = misses.wrapping_add(1);
                self.wait(pending, mp, size)
            }
            None => {
                *misses = misses.wrapping_add(1);
                self.begin(requests, shard, s, at, mp, size)
            }
        }
    }

    /// What `take` makes of the answer for a packet, if there is one: then it is counted and noted as
    /// in use. A shard is locked meanwhile.
    #[inline(always)]
    pub fn hit<R>(&self, key: K, take: impl FnOnce(&A) -> Option<R>) -> Option<R> {
        let at = self.hasher.hash(key);
        let mut s = self.shard(at.hash)?.lock();
        let Shard { map, hits, .. } = &mut *s;
        match map.get(at)? {
            Entry::Known(answer) => {
                let taken = take(answer)?;
                *hits = hits.wrapping_add(1);
                Some(taken)
            }
            Entry::Pending(_) => None,
        }
    }

    /// The answer if there is one, and a note that it is in use.
    pub fn known(&self, key: K) -> Option<A> {
        let at = self.hasher.hash(key);
        match self.shard(at.hash)?.lock().map.get(at)? {
            Entry::Known(answer) => Some(*answer),
            Entry::Pending(_) => None,
        }
    }

    /// How often an answer went or became another. Who read this before an answer has that answer
    /// still as long as this stays the same.
    #[inline]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// An answer goes or becomes another.
    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The answer if there is one, without that note.
    pub fn get(&self, key: K) -> Option<A> {
        let at = self.hasher.hash(key);
        match self.shard(at.hash)?.lock().map.peek(at)? {
            Entry::Known(answer) => Some(*answer),
            Entry::Pending(_) => None,
        }
    }

    /// Adds a packet to a queue.
    fn wait(&self, pending: &mut Pending, mp: Mblk, size: usize) -> Found<A> {
        let queue = &mut pending.packets;
        if !queue.is_empty() && queue.bytes().saturating_add(size) > QUEUE_MAX {
            return Found::Drop(DropReason::TxQueueFull, mp);
        }
        if self.waiting.bytes.load(Ordering::Relaxed).saturating_add(size) > PENDING_MAX {
            return Found::Drop(DropReason::TxPendingFull, mp);
        }
        self.waiting.packets.fetch_add(1, Ordering::Relaxed);
        self.waiting.bytes.fetch_add(size, Ordering::Relaxed);
        queue.push(mp, size);
        Found::Queued
    }

    /// Begins a lookup for what has no entry.
    #[cold]
    fn begin<'a>(
        &self,
        requests: &Requests,
        shard: &'a KMutex<Shard<K, A>>,
        s: KMutexGuard<'a, Shard<K, A>>,
        at: Hashed<K>,
        mp: Mblk,
        size: usize,
    ) -> Found<A> {
        let Some(mut s) = self.make_room(shard, s) else {
            return Found::Drop(DropReason::TxCacheFull, mp);
        };
        // While room was made somebody else may have begun.
        match s.map.peek(at) {
            None => {}
            Some(entry) => {
                self.len.fetch_sub(1, Ordering::Relaxed);
                return match entry {
                    Entry::Pending(pending) => self.wait(pending, mp, size),
                    Entry::Known(answer) => Found::Known(*answer, mp),
                };
            }
        }
        let pending = KBox::try_new(Pending { packets: MblkQueue::default(), request: 0 });
        let Ok(pending) = pending else { return self.give_up(mp) };
        let Ok(entry) = s.map.insert(at, Entry::Pending(pending)) else { return self.give_up(mp) };
        let Entry::Pending(pending) = entry else { return self.give_up(mp) };
        let found = match requests.queue(self.linkid, self.target, at.key.about()) {
            Ok(id) => {
                pending.request = id;
                self.wait(pending, mp, size)
            }
            Err(_) => Found::Drop(DropReason::TxNoMemory, mp),
        };
        if let Found::Drop(..) = found {
            if let Some(Entry::Pending(pending)) = s.map.remove(at) {
                requests.cancel(pending.request);
            }
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        found
    }

    fn give_up(&self, mp: Mblk) -> Found<A> {
        self.len.fetch_sub(1, Ordering::Relaxed);
        Found::Drop(DropReason::TxNoMemory, mp)
    }

    /// Counts one more entry, and takes one away somewhere if that is too many: an idle one of this
    /// shard, or of a few others, or else whichever can go, with this shard unlocked meanwhile.
    /// `None`, and nothing counted, if all are pending.
    fn make_room<'a>(
        &self,
        shard: &'a KMutex<Shard<K, A>>,
        mut s: KMutexGuard<'a, Shard<K, A>>,
    ) -> Option<KMutexGuard<'a, Shard<K, A>>> {
        let max = self.limit.size();
        if self.len.fetch_add(1, Ordering::Relaxed) < max || self.evict(&mut s, true) {
            return Some(s);
        }
        drop(s);
        if !self.evict_any() {
            self.len.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(shard.lock())
    }

    /// Takes away an entry of any shard, an idle one if there is one soon.
    fn evict_any(&self) -> bool {
        let begin = self.hand.fetch_add(1, Ordering::Relaxed);
        let shards = || self.shards.iter().cycle().skip(begin % SHARDS).take(SHARDS);
        shards().take(OTHER_SHARDS).any(|s| self.evict(&mut s.lock(), true))
            || shards().any(|s| self.evict(&mut s.lock(), false))
    }

    fn evict(&self, s: &mut Shard<K, A>, idle: bool) -> bool {
        let can = |entry: &Entry<A>| matches!(entry, Entry::Known(_));
        if s.map.evict(idle, self.limit.hot(), can).is_none() {
            return false;
        }
        s.evictions = s.evictions.wrapping_add(1);
        self.len.fetch_sub(1, Ordering::Relaxed);
        self.changed();
        true
    }

    /// Takes the packets out of a queue.
    fn release(&self, pending: &mut Pending) -> MblkChain {
        let queue = core::mem::take(&mut pending.packets);
        self.waiting.packets.fetch_sub(queue.len(), Ordering::Relaxed);
        self.waiting.bytes.fetch_sub(queue.bytes(), Ordering::Relaxed);
        queue.into_chain()
    }

    fn pop(&self, pending: &mut Pending) -> Option<Mblk> {
        let before = pending.packets.bytes();
        let mp = pending.packets.pop()?;
        let bytes = before.wrapping_sub(pending.packets.bytes());
        self.waiting.packets.fetch_sub(1, Ordering::Relaxed);
        self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(mp)
    }

    /// Counts as of now.
    pub fn stats(&self) -> TableStats {
        let entries = self.len.load(Ordering::Relaxed) as u64;
        let mut stats = TableStats { entries, ..TableStats::default() };
        for shard in self.shards.iter() {
            let s = shard.lock();
            stats.hits = stats.hits.wrapping_add(s.hits);
            stats.misses = stats.misses.wrapping_add(s.misses);
            stats.evictions = stats.evictions.wrapping_add(s.evictions);
        }
        stats
    }
}
