// SPDX-License-Identifier: CDDL-1.0
//! The target cache of a dynamic link: destination by MAC address, with packets that wait for an
//! answer.
//!
//! ```text
//!   MAC ─hash─► shard (lock, ClockMap) ─► entry: valid, drop, or pending (queue, request id)
//! ```
//!
//! * An entry is pending or it has an answer, never both: an answer takes the queue and ends the
//!   request.
//! * The number of entries is bounded by [`overlay_target_max`]. A new address makes the one that
//!   was not used for longest go (second chance); pending ones stay. When all are pending the
//!   packet is dropped.
//! * Lock order: a shard, then the lock of [`Requests`]. Never two shards. Nothing is sent with
//!   either held: what an answer releases is returned to the caller.
use crate::frame::{Header, key_mac, mac_key};
use crate::request::Requests;
use crate::stats::DropReason;
use core::sync::atomic::{AtomicUsize, Ordering};
use ddi::Errno;
use ddi::map::{ClockMap, Hashed, Hasher};
use ddi::mblk::{Mblk, MblkChain, MblkQueue};
use ddi::mem::{KBox, KVec, KmFlag};
use ddi::sync::{KMutex, KMutexGuard};
use overlay_abi::ids::UnderlayAddr;
use overlay_abi::target::{
    OVERLAY_TARGET_CACHE_DROP, overlay_targ_cache_entry_t, overlay_target_point_t,
};
use zerocopy::FromZeros;

/// Bytes that may wait for one address; the first packet always may.
pub(crate) const QUEUE_MAX: usize = 128 * 1024;
/// Bytes that may wait on one link, for it costs a guest nothing to make up addresses.
pub(crate) const PENDING_MAX: usize = 64 * 1024 * 1024;
const SHARDS: usize = 64;
const FIRST_BUCKETS: usize = 16;
/// Times an answer empties a queue that keeps filling before later packets may overtake it.
const SETTLE_ROUNDS: usize = 32;
/// Shards asked for an idle entry before one in use must go.
const OTHER_SHARDS: usize = 16;

/// Tunable: most entries of one link's cache. Looked at with each new entry.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static overlay_target_max: AtomicUsize = AtomicUsize::new(1_048_576);

/// Packets that wait for an answer.
struct Pending {
    packets: MblkQueue,
    request: u64,
}

enum Answer {
    Pending(KBox<Pending>),
    Valid(UnderlayAddr),
    Drop,
}

type Entry = Answer;

struct Shard {
    map: ClockMap<Entry>,
    hits: u64,
    misses: u64,
    evictions: u64,
}

/// What is counted about a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheStats {
    pub entries: u64,
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
    pub queued_packets: u64,
    pub queued_bytes: u64,
}

/// What becomes of a packet.
pub(crate) enum Route {
    /// It goes there.
    To(UnderlayAddr, Mblk),
    /// It waits for an answer.
    Queued,
    /// It must be dropped.
    Drop(DropReason, Mblk),
}

/// See the module.
pub(crate) struct Cache {
    linkid: u32,
    target: u64,
    hasher: Hasher,
    shards: KVec<KMutex<Shard>>,
    len: AtomicUsize,
    /// Where the next search for an entry to evict begins.
    hand: AtomicUsize,
    queued_packets: AtomicUsize,
    queued_bytes: AtomicUsize,
}

impl Cache {
    pub fn new(linkid: u32, target: u64) -> Self {
        let hasher = Hasher::new(ddi::time::hrtime() as u64 ^ target.rotate_left(32));
        let mut shards = KVec::new();
        for _ in 0..SHARDS {
            let map = ClockMap::new(FIRST_BUCKETS, hasher);
            let shard = KMutex::new(Shard { map, hits: 0, misses: 0, evictions: 0 });
            // Waits for memory: cannot fail.
            let _ = shards.push(shard, KmFlag::Sleep);
        }
        Cache {
            linkid,
            target,
            hasher,
            shards,
            len: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
            queued_packets: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
        }
    }

    #[inline]
    fn shard(&self, hash: u64) -> Option<&KMutex<Shard>> {
        // The upper bits choose the shard, the lower ones the bucket.
        self.shards.get((hash >> 58) as usize % SHARDS)
    }

    /// Where a packet of `size` bytes for `mac` goes. Does not wait.
    #[inline]
    pub fn route(&self, requests: &Requests, mac: [u8; 6], mp: Mblk, size: usize) -> Route {
        let at = self.hasher.hash(mac_key(mac));
        let Some(shard) = self.shard(at.hash) else {
            return Route::Drop(DropReason::TxNoMemory, mp);
        };
        let mut s = shard.lock();
        let Shard { map, hits, misses, .. } = &mut *s;
        match map.get(at) {
            Some(Answer::Valid(addr)) => {
                *hits = hits.wrapping_add(1);
                Route::To(*addr, mp)
            }
            Some(Answer::Drop) => {
                *hits = hits.wrapping_add(1);
                Route::Drop(DropReason::TxTargetDrop, mp)
            }
            Some(Answer::Pending(pending)) => {
                *misses = misses.wrapping_add(1);
                self.wait(pending, mp, size)
            }
            None => {
                *misses = misses.wrapping_add(1);
                self.begin(requests, shard, s, at, mp, size)
            }
        }
    }

    /// Adds a packet to a queue.
    fn wait(&self, pending: &mut Pending, mp: Mblk, size: usize) -> Route {
        let queue = &mut pending.packets;
        if !queue.is_empty() && queue.bytes().saturating_add(size) > QUEUE_MAX {
            return Route::Drop(DropReason::TxQueueFull, mp);
        }
        if self.queued_bytes.load(Ordering::Relaxed).saturating_add(size) > PENDING_MAX {
            return Route::Drop(DropReason::TxPendingFull, mp);
        }
        self.queued_packets.fetch_add(1, Ordering::Relaxed);
        self.queued_bytes.fetch_add(size, Ordering::Relaxed);
        queue.push(mp, size);
        Route::Queued
    }

    /// Begins a lookup for an address that has no entry.
    #[cold]
    fn begin<'a>(
        &self,
        requests: &Requests,
        shard: &'a KMutex<Shard>,
        s: KMutexGuard<'a, Shard>,
        at: Hashed,
        mp: Mblk,
        size: usize,
    ) -> Route {
        let Some(mut s) = self.make_room(shard, s) else {
            return Route::Drop(DropReason::TxCacheFull, mp);
        };
        // While room was made somebody else may have begun.
        match s.map.get(at) {
            None => {}
            Some(entry) => {
                self.len.fetch_sub(1, Ordering::Relaxed);
                return match entry {
                    Answer::Pending(pending) => self.wait(pending, mp, size),
                    Answer::Valid(addr) => Route::To(*addr, mp),
                    Answer::Drop => Route::Drop(DropReason::TxTargetDrop, mp),
                };
            }
        }
        let pending = KBox::try_new(Pending { packets: MblkQueue::default(), request: 0 });
        let Ok(pending) = pending else { return self.give_up(mp) };
        let Ok(entry) = s.map.insert(at, Answer::Pending(pending)) else { return self.give_up(mp) };
        let Answer::Pending(pending) = entry else { return self.give_up(mp) };
        let route = match requests.queue(self.linkid, self.target, at.key) {
            Ok(id) => {
                pending.request = id;
                self.wait(pending, mp, size)
            }
            Err(_) => Route::Drop(DropReason::TxNoMemory, mp),
        };
        if let Route::Drop(..) = route {
            if let Some(Answer::Pending(pending)) = s.map.remove(at) {
                requests.cancel(pending.request);
            }
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        route
    }

    fn give_up(&self, mp: Mblk) -> Route {
        self.len.fetch_sub(1, Ordering::Relaxed);
        Route::Drop(DropReason::TxNoMemory, mp)
    }

    /// Counts one more entry, and takes one away somewhere if that is too many: an idle one of this
    /// shard, or of a few others, or else whichever can go, with this shard unlocked meanwhile.
    /// `None`, and nothing counted, if all are pending.
    fn make_room<'a>(
        &self,
        shard: &'a KMutex<Shard>,
        mut s: KMutexGuard<'a, Shard>,
    ) -> Option<KMutexGuard<'a, Shard>> {
        let max = overlay_target_max.load(Ordering::Relaxed);
        if self.len.fetch_add(1, Ordering::Relaxed) < max || self.evict(&mut s, true) {
            return Some(s);
        }
        drop(s);
        let begin = self.hand.fetch_add(1, Ordering::Relaxed);
        let others = || self.shards.iter().cycle().skip(begin % SHARDS).take(SHARDS);
        let found = others().take(OTHER_SHARDS).any(|s| self.evict(&mut s.lock(), true))
            || others().any(|s| self.evict(&mut s.lock(), false));
        if !found {
            self.len.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(shard.lock())
    }

    fn evict(&self, s: &mut Shard, idle: bool) -> bool {
        if s.map.evict(idle, |entry| !matches!(entry, Answer::Pending(_))).is_none() {
            return false;
        }
        s.evictions = s.evictions.wrapping_add(1);
        self.len.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Takes the packets out of a queue.
    fn release(&self, pending: &mut Pending) -> MblkChain {
        let queue = core::mem::take(&mut pending.packets);
        self.queued_packets.fetch_sub(queue.len(), Ordering::Relaxed);
        self.queued_bytes.fetch_sub(queue.bytes(), Ordering::Relaxed);
        queue.into_chain()
    }

    fn pop(&self, pending: &mut Pending) -> Option<Mblk> {
        let before = pending.packets.bytes();
        let mp = pending.packets.pop()?;
        let bytes = before.wrapping_sub(pending.packets.bytes());
        self.queued_packets.fetch_sub(1, Ordering::Relaxed);
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(mp)
    }

    /// Calls `f` with the queue of `mac` if it waits for the answer to `request`.
    fn pending<R>(&self, mac: u64, request: u64, f: impl FnOnce(&mut Pending) -> R) -> Option<R> {
        let at = self.hasher.hash(mac);
        let mut s = self.shard(at.hash)?.lock();
        match s.map.peek(at) {
            Some(Answer::Pending(pending)) if pending.request == request => Some(f(pending)),
            _ => None,
        }
    }

    /// Header and size of the packet that a request is about. Packets without a header are taken
    /// out and given to `bad`; when none is left the entry goes, and `None` is the answer.
    pub fn inspect(
        &self,
        mac: u64,
        request: u64,
        mut bad: impl FnMut(Mblk),
    ) -> Option<(Header, usize)> {
        loop {
            let found = self.pending(mac, request, |p| {
                p.packets.peek(|mp| Header::parse(mp).map(|h| (h, mp.size())))
            })?;
            match found {
                Some(Some(found)) => return Some(found),
                Some(None) => {
                    let mp = self.pending(mac, request, |p| self.pop(p))?;
                    mp.into_iter().for_each(&mut bad);
                }
                None => {
                    self.forget(mac, request);
                    return None;
                }
            }
        }
    }

    /// Removes an entry that waits for `request` with nothing queued.
    fn forget(&self, mac: u64, request: u64) {
        let at = self.hasher.hash(mac);
        let Some(shard) = self.shard(at.hash) else { return };
        let mut s = shard.lock();
        let empty = match s.map.peek(at) {
            Some(Answer::Pending(p)) => p.request == request && p.packets.is_empty(),
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
    pub fn packet(&self, mac: u64, request: u64) -> Result<Mblk, Errno> {
        let found = self.pending(mac, request, |p| p.packets.peek(Mblk::dup));
        found.flatten().ok_or(Errno::EINVAL)?.ok_or(Errno::ENOMEM)
    }

    /// Answers a request with a destination; `send` gets the packets that waited for it.
    ///
    /// # Errors
    /// `EINVAL`: the entry does not wait for it.
    pub fn respond(
        &self,
        mac: u64,
        request: u64,
        addr: UnderlayAddr,
        send: impl FnMut(MblkChain),
    ) -> Result<(), Errno> {
        let at = self.hasher.hash(mac);
        let shard = self.shard(at.hash).ok_or(Errno::EINVAL)?;
        if self.settle(shard, at, request, addr, send) { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Empties the queue of an entry that waits for `request` and then gives it its destination;
    /// whether it did wait.
    ///
    /// Nothing is locked while packets are sent, yet a guest's packets keep their order: as long as
    /// there are some to send the entry stays pending, and later ones queue up behind them. A guest
    /// that keeps up with that for too long overtakes itself.
    fn settle(
        &self,
        shard: &KMutex<Shard>,
        at: Hashed,
        request: u64,
        addr: UnderlayAddr,
        mut send: impl FnMut(MblkChain),
    ) -> bool {
        for round in 0..=SETTLE_ROUNDS {
            let mut s = shard.lock();
            let Some(entry) = s.map.get(at) else { return round != 0 };
            let Answer::Pending(pending) = entry else { return round != 0 };
            if pending.request != request {
                return round != 0;
            }
            let packets = self.release(pending);
            let last = packets.is_empty() || round == SETTLE_ROUNDS;
            if last {
                *entry = Answer::Valid(addr);
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
    pub fn refuse(&self, requests: &Requests, mac: u64, request: u64) -> Result<MblkChain, Errno> {
        let at = self.hasher.hash(mac);
        let mut s = self.shard(at.hash).ok_or(Errno::EINVAL)?.lock();
        let pending = match s.map.peek(at) {
            Some(Answer::Pending(p)) if p.request == request => p,
            _ => return Err(Errno::EINVAL),
        };
        let mut gone = MblkChain::default();
        if let Some(mp) = self.pop(pending) {
            gone.push_front(mp);
        }
        if !pending.packets.is_empty() {
            match requests.queue(self.linkid, self.target, mac) {
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

    /// The answer for `mac`, if there is one.
    pub fn get(&self, mac: [u8; 6]) -> Option<overlay_targ_cache_entry_t> {
        let at = self.hasher.hash(mac_key(mac));
        let mut s = self.shard(at.hash)?.lock();
        wire(at.key, s.map.peek(at)?)
    }

    /// Sets the answer for `mac`, `None` to drop; `done` gets the packets that waited for one.
    ///
    /// # Errors
    /// `ENOMEM`; also when the cache is full of pending entries.
    pub fn set(
        &self,
        requests: &Requests,
        mac: [u8; 6],
        addr: Option<UnderlayAddr>,
        mut done: impl FnMut(MblkChain),
    ) -> Result<(), Errno> {
        let at = self.hasher.hash(mac_key(mac));
        let shard = self.shard(at.hash).ok_or(Errno::EINVAL)?;
        let answer = || addr.map_or(Answer::Drop, Answer::Valid);
        let mut s = shard.lock();
        if s.map.peek(at).is_none() {
            s = self.make_room(shard, s).ok_or(Errno::ENOMEM)?;
            if s.map.peek(at).is_none() {
                let result = s.map.insert(at, answer()).map(drop);
                if result.is_err() {
                    self.len.fetch_sub(1, Ordering::Relaxed);
                }
                return result;
            }
            // Somebody else was faster.
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        if let (Some(Answer::Pending(pending)), Some(addr)) = (s.map.peek(at), addr) {
            let request = pending.request;
            requests.cancel(request);
            drop(s);
            self.settle(shard, at, request, addr, &mut done);
            s = shard.lock();
        }
        // Also after that: of two that set an answer the last counts.
        let Some(entry) = s.map.get(at) else { return Ok(()) };
        let old = core::mem::replace(entry, answer());
        let packets = match old {
            Answer::Pending(mut pending) => {
                requests.cancel(pending.request);
                self.release(&mut pending)
            }
            Answer::Valid(_) | Answer::Drop => MblkChain::default(),
        };
        drop(s);
        done(packets);
        Ok(())
    }

    /// Forgets the answer for `mac`; a lookup goes on.
    ///
    /// # Errors
    /// `ENOENT`: there is none.
    pub fn remove(&self, mac: [u8; 6]) -> Result<(), Errno> {
        let at = self.hasher.hash(mac_key(mac));
        let mut s = self.shard(at.hash).ok_or(Errno::ENOENT)?.lock();
        match s.map.peek(at) {
            Some(Answer::Valid(_) | Answer::Drop) => {
                s.map.remove(at);
                self.len.fetch_sub(1, Ordering::Relaxed);
                Ok(())
            }
            Some(Answer::Pending(_)) | None => Err(Errno::ENOENT),
        }
    }

    /// Forgets all answers; lookups go on.
    pub fn flush(&self) {
        for shard in self.shards.iter() {
            let mut s = shard.lock();
            let before = s.map.len();
            s.map.retain(|_, entry| matches!(entry, Answer::Pending(_)));
            self.len.fetch_sub(before.wrapping_sub(s.map.len()), Ordering::Relaxed);
        }
    }

    /// Appends answers to `out` in the order of their addresses, from `from` on, at most `max`.
    /// Returns where to go on, `None` at the end. An entry that is there throughout appears once,
    /// whatever else comes and goes.
    pub fn walk(
        &self,
        from: u64,
        max: usize,
        out: &mut KVec<overlay_targ_cache_entry_t>,
    ) -> Result<Option<u64>, Errno> {
        // The next of each shard; the smallest goes out and its shard is asked again.
        // Not on the stack, which is small.
        let mut heads: KVec<Option<overlay_targ_cache_entry_t>> = KVec::new();
        heads.reserve(SHARDS, KmFlag::Sleep)?;
        for shard in self.shards.iter() {
            heads.push(next_answer(shard, from), KmFlag::Sleep)?;
        }
        while out.len() < max {
            let mut least: Option<(u64, usize)> = None;
            for (i, head) in heads.iter().enumerate() {
                let Some(entry) = head else { continue };
                let key = mac_key(entry.otce_mac);
                if least.is_none_or(|(k, _)| key < k) {
                    least = Some((key, i));
                }
            }
            let Some((key, i)) = least else { return Ok(None) };
            let (Some(head), Some(shard)) = (heads.get_mut(i), self.shards.get(i)) else {
                return Ok(None);
            };
            if let Some(entry) = head.take() {
                out.push(entry, KmFlag::Sleep)?;
            }
            *head = next_answer(shard, key.saturating_add(1));
        }
        let last = out.last().map_or(from, |e| mac_key(e.otce_mac).saturating_add(1));
        Ok(Some(last))
    }

    /// Empties the cache, giving all packets that waited to `gone`.
    pub fn drain(&self, mut gone: impl FnMut(Mblk)) {
        for shard in self.shards.iter() {
            let mut s = shard.lock();
            while let Some((_, entry)) = s.map.pop_oldest() {
                self.len.fetch_sub(1, Ordering::Relaxed);
                if let Answer::Pending(mut pending) = entry {
                    let mut packets = self.release(&mut pending);
                    while let Some(mp) = packets.pop() {
                        gone(mp);
                    }
                }
            }
        }
    }

    /// Counts as of now.
    pub fn stats(&self) -> CacheStats {
        let mut stats = CacheStats {
            entries: self.len.load(Ordering::Relaxed) as u64,
            queued_packets: self.queued_packets.load(Ordering::Relaxed) as u64,
            queued_bytes: self.queued_bytes.load(Ordering::Relaxed) as u64,
            ..CacheStats::default()
        };
        for shard in self.shards.iter() {
            let s = shard.lock();
            stats.hits = stats.hits.wrapping_add(s.hits);
            stats.misses = stats.misses.wrapping_add(s.misses);
            stats.evictions = stats.evictions.wrapping_add(s.evictions);
        }
        stats
    }
}

/// The first answer of a shard at or after `from`; pending entries have none.
fn next_answer(shard: &KMutex<Shard>, mut from: u64) -> Option<overlay_targ_cache_entry_t> {
    let mut s = shard.lock();
    loop {
        let (key, entry) = s.map.first_from(from)?;
        if let Some(entry) = wire(key, entry) {
            return Some(entry);
        }
        from = key.checked_add(1)?;
    }
}

/// An answer as ioctls show it.
fn wire(key: u64, entry: &Entry) -> Option<overlay_targ_cache_entry_t> {
    let (otce_flags, otce_dest) = match entry {
        Answer::Valid(addr) => (0, overlay_target_point_t::from(*addr)),
        Answer::Drop => (OVERLAY_TARGET_CACHE_DROP, overlay_target_point_t::new_zeroed()),
        Answer::Pending(_) => return None,
    };
    Some(overlay_targ_cache_entry_t { otce_mac: key_mac(key), otce_flags, otce_dest })
}
