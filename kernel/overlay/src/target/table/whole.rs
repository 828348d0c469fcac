// SPDX-License-Identifier: CDDL-1.0
//! What concerns many entries of a table, or all. No shard is locked for long where the table may be
//! in use.
use super::{Entry, Name, Pending, SHARDS, Shard, Table};
use crate::request::Requests;
use core::sync::atomic::Ordering;
use ddi::Errno;
use ddi::mblk::Mblk;
use ddi::mem::{KVec, KmFlag};
use ddi::sync::KMutex;

/// Entries looked at with a shard locked, where many may be.
const BATCH: usize = 256;

impl<K: Name, A: Copy> Table<K, A> {
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
                                self.changed();
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

    /// Asks anew for what is pending: the answer under way may be old.
    pub fn ask_again(&self, requests: &Requests, key: K) {
        let at = self.hasher.hash(key);
        let Some(shard) = self.shard(at.hash) else { return };
        if let Some(Entry::Pending(pending)) = shard.lock().map.peek(at) {
            self.ask_anew(requests, key, pending);
        }
    }

    /// Lets a pending entry wait for a new request instead of its old one. Without memory it keeps
    /// the old one.
    fn ask_anew(&self, requests: &Requests, key: K, pending: &mut Pending) {
        if let Ok(id) = requests.queue(self.linkid, self.target, key.about()) {
            requests.cancel(core::mem::replace(&mut pending.request, id));
        }
    }

    /// Forgets all answers. What is pending is asked for anew, for the answer under way may be old.
    pub fn flush(&self, requests: &Requests) {
        for shard in self.shards.iter() {
            let mut s = shard.lock();
            let before = s.map.len();
            s.map.retain(|key, entry| match entry {
                Entry::Known(_) => false,
                Entry::Pending(pending) => {
                    self.ask_anew(requests, key, pending);
                    true
                }
            });
            self.len.fetch_sub(before.wrapping_sub(s.map.len()), Ordering::Relaxed);
            self.changed();
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

    /// Takes entries away until there are not more than the limit says, or all are pending.
    pub fn trim(&self) {
        while self.len.load(Ordering::Relaxed) > self.limit.size() {
            if !self.evict_any() {
                break;
            }
        }
    }
}
