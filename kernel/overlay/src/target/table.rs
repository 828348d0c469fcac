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
//! * Lock order: a shard, then the lock of [`Requests`]. Never two shards. Nothing is sent with
//!   either held: what an answer releases is returned to the caller.
use super::limit::Limit;
use crate::frame::Header;
use crate::request::{About, Requests};
use crate::stats::DropReason;
use core::sync::atomic::{AtomicUsize, Ordering};
use ddi::Errno;
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
/// Times an answer empties a queue that keeps filling before later packets may overtake it.
const SETTLE_ROUNDS: usize = 32;
/// Shards asked for an idle entry before one in use must go.
const OTHER_SHARDS: usize = 16;
/// Entries looked at with a shard locked, where many may be.
const BATCH: usize = 256;

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
        Table { linkid, target, hasher, shards, len, limit, hand, waiting }
    }

    #[inline]
    fn shard(&self, hash: u64) -> Option<&KMutex<Shard<K, A>>> {
        // The upper bits choose the shard, the lower ones the bucket.
        self.shards.get((hash >> 58) as usize % SHARDS)
    }

    /// The answer for a packet of `size` bytes, or a place in its queue. Does not wait.
    #[inline]
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

    /// The answer if there is one, and a note that it is in use.
    #[inline]
    pub fn known(&self, key: K) -> Option<A> {
        let at = self.hasher.hash(key);
        match self.shard(at.hash)?.lock().map.get(at)? {
            Entry::Known(answer) => Some(*answer),
            Entry::Pending(_) => None,
        }
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
        true
    }

    /// Takes entries away until there are not more than the limit says, or all are pending.
    pub fn trim(&self) {
        while self.len.load(Ordering::Relaxed) > self.limit.size() && self.evict_any() {}
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

    /// Calls `f` with the queue of `key` if it waits for the answer to `request`.
    fn pending<R>(&self, key: K, request: u64, f: impl FnOnce(&mut Pending) -> R) -> Option<R> {
        let at = self.hasher.hash(key);
        let mut s = self.shard(at.hash)?.lock();
        match s.map.peek(at) {
            Some(Entry::Pending(pending)) if pending.request == request => Some(f(pending)),
            _ => None,
        }
    }

    /// Header and size of the packet that a request is about. Packets without a header are taken
    /// out and given to `bad`; when none is left the entry goes, and `None` is the answer.
    pub fn inspect(
        &self,
        key: K,
        request: u64,
        mut bad: impl FnMut(Mblk),
    ) -> Option<(Header, usize)> {
        loop {
            let found = self.pending(key, request, |p| {
                p.packets.peek(|mp| Header::parse(mp).map(|h| (h, mp.size())))
            })?;
            match found {
                Some(Some(found)) => return Some(found),
                Some(None) => {
                    let mp = self.pending(key, request, |p| self.pop(p))?;
                    mp.into_iter().for_each(&mut bad);
                }
                None => {
                    self.forget(key, request);
                    return None;
                }
            }
        }
    }

    /// Removes an entry that waits for `request` with nothing queued.
    fn forget(&self, key: K, request: u64) {
        let at = self.hasher.hash(key);
        let Some(shard) = self.shard(at.hash) else { return };
        let mut s = shard.lock();
        let empty = match s.map.peek(at) {
            Some(Entry::Pending(p)) => p.request == request && p.packets.is_empty(),
            _ => false,
        };
        if empty {
            s.map.remove(at);
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A second message over the packet that a request is about.
    ///
    /// # Errors
    /// `EINVAL`: no such packet. `ENOMEM`.
    pub fn packet(&self, key: K, request: u64) -> Result<Mblk, Errno> {
        let found = self.pending(key, request, |p| p.packets.peek(Mblk::dup));
        found.flatten().ok_or(Errno::EINVAL)?.ok_or(Errno::ENOMEM)
    }

    /// Whether an entry waits for this request.
    pub fn waits(&self, key: K, request: u64) -> bool {
        self.pending(key, request, |_| ()).is_some()
    }

    /// Answers a request; `send` gets the packets that waited for it.
    ///
    /// # Errors
    /// `EINVAL`: the entry does not wait for it.
    pub fn respond(
        &self,
        key: K,
        request: u64,
        answer: A,
        send: impl FnMut(MblkChain),
    ) -> Result<(), Errno> {
        let at = self.hasher.hash(key);
        let shard = self.shard(at.hash).ok_or(Errno::EINVAL)?;
        if self.settle(shard, at, request, answer, send) { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Empties the queue of an entry that waits for `request` and then gives it its answer; whether
    /// it did wait.
    ///
    /// Nothing is locked while packets are sent, yet a guest's packets keep their order: as long as
    /// there are some to send the entry stays pending, and later ones queue up behind them. A guest
    /// that keeps up with that for too long overtakes itself.
    fn settle(
        &self,
        shard: &KMutex<Shard<K, A>>,
        at: Hashed<K>,
        request: u64,
        answer: A,
        mut send: impl FnMut(MblkChain),
    ) -> bool {
        for round in 0..=SETTLE_ROUNDS {
            let mut s = shard.lock();
            // Answering is no use of the entry: a scan is answered too.
            let Some(entry) = s.map.peek(at) else { return round != 0 };
            let Entry::Pending(pending) = entry else { return round != 0 };
            if pending.request != request {
                return round != 0;
            }
            let packets = self.release(pending);
            let last = packets.is_empty() || round == SETTLE_ROUNDS;
            if last {
                *entry = Entry::Known(answer);
            }
            drop(s);
            send(packets);
            if last {
                break;
            }
        }
        true
    }

    /// Answers a request with DROP: returns the first packet, and asks again if there are more.
    ///
    /// # Errors
    /// `EINVAL`: the entry does not wait for it.
    pub fn refuse(&self, requests: &Requests, key: K, request: u64) -> Result<MblkChain, Errno> {
        let at = self.hasher.hash(key);
        let mut s = self.shard(at.hash).ok_or(Errno::EINVAL)?.lock();
        let pending = match s.map.peek(at) {
            Some(Entry::Pending(p)) if p.request == request => p,
            _ => return Err(Errno::EINVAL),
        };
        let mut gone = MblkChain::default();
        if let Some(mp) = self.pop(pending) {
            gone.push_front(mp);
        }
        if !pending.packets.is_empty() {
            match requests.queue(self.linkid, self.target, key.about()) {
                Ok(id) => {
                    pending.request = id;
                    return Ok(gone);
                }
                // Nobody would ever ask for the rest.
                Err(_) => gone.append(self.release(pending)),
            }
        }
        s.map.remove(at);
        self.len.fetch_sub(1, Ordering::Relaxed);
        Ok(gone)
    }

    /// Sets an answer; `done` gets the packets that waited for one, and with `in_order` those that
    /// come meanwhile wait for these.
    ///
    /// # Errors
    /// `ENOMEM`; also when the table is full of pending entries.
    pub fn set(
        &self,
        requests: &Requests,
        key: K,
        answer: A,
        in_order: bool,
        mut done: impl FnMut(MblkChain),
    ) -> Result<(), Errno> {
        let at = self.hasher.hash(key);
        let shard = self.shard(at.hash).ok_or(Errno::EINVAL)?;
        let mut s = shard.lock();
        if s.map.peek(at).is_none() {
            s = self.make_room(shard, s).ok_or(Errno::ENOMEM)?;
            if s.map.peek(at).is_none() {
                let result = s.map.insert(at, Entry::Known(answer)).map(drop);
                if result.is_err() {
                    self.len.fetch_sub(1, Ordering::Relaxed);
                }
                return result;
            }
            // Somebody else was faster.
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(Entry::Pending(pending)) = s.map.peek(at)
            && in_order
        {
            let request = pending.request;
            requests.cancel(request);
            drop(s);
            self.settle(shard, at, request, answer, &mut done);
            s = shard.lock();
        }
        // Also after that: of two that set an answer the last counts.
        let Some(entry) = s.map.peek(at) else { return Ok(()) };
        let old = core::mem::replace(entry, Entry::Known(answer));
        let packets = match old {
            Entry::Pending(mut pending) => {
                requests.cancel(pending.request);
                self.release(&mut pending)
            }
            Entry::Known(_) => MblkChain::default(),
        };
        drop(s);
        done(packets);
        Ok(())
    }

    /// Forgets an answer that `which` wants to go; a lookup goes on.
    ///
    /// # Errors
    /// `ENOENT`: there is none.
    pub fn remove(&self, key: K, which: impl FnOnce(&A) -> bool) -> Result<(), Errno> {
        let at = self.hasher.hash(key);
        let mut s = self.shard(at.hash).ok_or(Errno::ENOENT)?.lock();
        match s.map.peek(at) {
            Some(Entry::Known(answer)) if which(answer) => {
                s.map.remove(at);
                self.len.fetch_sub(1, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(Errno::ENOENT),
        }
    }

    /// Forgets the entries from `from` on as long as `inside` holds that `which` wants to go; those
    /// that are pending are asked for anew, for the answer under way may be old. How many entries
    /// it looked at, and how many it forgot.
    pub fn remove_range(
        &self,
        requests: &Requests,
        from: K,
        inside: impl Fn(K) -> bool,
        which: impl Fn(K) -> bool,
    ) -> (usize, usize) {
        let (mut looked, mut gone): (usize, usize) = (0, 0);
        for shard in self.shards.iter() {
            let mut next = Some(from);
            while let Some(mut key) = next.take() {
                let mut s = shard.lock();
                for _ in 0..BATCH {
                    let Some((k, entry)) = s.map.first_from(key).filter(|(k, _)| inside(*k)) else {
                        next = None;
                        break;
                    };
                    looked = looked.wrapping_add(1);
                    if which(k) {
                        gone = gone.wrapping_add(1);
                        match entry {
                            Entry::Known(_) => {
                                s.map.remove(self.hasher.hash(k));
                                self.len.fetch_sub(1, Ordering::Relaxed);
                            }
                            Entry::Pending(pending) => self.ask_anew(requests, k, pending),
                        }
                    }
                    next = k.next();
                    match next {
                        Some(k) => key = k,
                        None => break,
                    }
                }
            }
        }
        (looked, gone)
    }

    /// Lets a pending entry wait for a new request instead of its old one. Without memory it keeps
    /// the old one.
    fn ask_anew(&self, requests: &Requests, key: K, pending: &mut Pending) {
        if let Ok(id) = requests.queue(self.linkid, self.target, key.about()) {
            requests.cancel(core::mem::replace(&mut pending.request, id));
        }
    }

    /// Forgets all answers; lookups go on.
    pub fn flush(&self) {
        for shard in self.shards.iter() {
            let mut s = shard.lock();
            let before = s.map.len();
            s.map.retain(|_, entry| matches!(entry, Entry::Pending(_)));
            self.len.fetch_sub(before.wrapping_sub(s.map.len()), Ordering::Relaxed);
        }
    }

    /// Appends to `out` what `show` makes of the answers in the order of their keys, from `from` on
    /// as long as `inside` holds, at most `max`. Returns where to go on, `None` at the end. An entry
    /// that is there throughout appears once, whatever else comes and goes.
    pub fn walk<T>(
        &self,
        from: K,
        inside: impl Fn(K) -> bool,
        max: usize,
        show: impl Fn(K, &A) -> Option<T>,
        out: &mut KVec<T>,
    ) -> Result<Option<K>, Errno> {
        let next_of = |shard: &KMutex<Shard<K, A>>, mut from: K| loop {
            let mut s = shard.lock();
            let (key, entry) = s.map.first_from(from).filter(|(k, _)| inside(*k))?;
            if let Entry::Known(answer) = entry
                && let Some(shown) = show(key, answer)
            {
                return Some((key, shown));
            }
            from = key.next()?;
        };
        // The next of each shard; the smallest goes out and its shard is asked again.
        // Not on the stack, which is small.
        let mut heads: KVec<Option<(K, T)>> = KVec::new();
        heads.reserve(SHARDS, KmFlag::Sleep)?;
        for shard in self.shards.iter() {
            heads.push(next_of(shard, from), KmFlag::Sleep)?;
        }
        let mut next = Some(from);
        for _ in 0..max {
            let mut least: Option<(K, usize)> = None;
            for (i, head) in heads.iter().enumerate() {
                let Some((key, _)) = head else { continue };
                if least.is_none_or(|(k, _)| *key < k) {
                    least = Some((*key, i));
                }
            }
            let Some((key, i)) = least else { return Ok(None) };
            let (Some(head), Some(shard)) = (heads.get_mut(i), self.shards.get(i)) else {
                return Ok(None);
            };
            if let Some((_, shown)) = head.take() {
                out.push(shown, KmFlag::Sleep)?;
            }
            next = key.next();
            *head = next.and_then(|from| next_of(shard, from));
        }
        Ok(next)
    }

    /// Empties the table, giving all packets that waited to `gone`.
    pub fn drain(&self, mut gone: impl FnMut(Mblk)) {
        for shard in self.shards.iter() {
            let mut s = shard.lock();
            while let Some((_, entry)) = s.map.pop_oldest() {
                self.len.fetch_sub(1, Ordering::Relaxed);
                if let Entry::Pending(mut pending) = entry {
                    let mut packets = self.release(&mut pending);
                    while let Some(mp) = packets.pop() {
                        gone(mp);
                    }
                }
            }
        }
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
