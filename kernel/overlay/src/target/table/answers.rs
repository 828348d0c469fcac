// SPDX-License-Identifier: CDDL-1.0
//! Requests about entries of a table, and what ends them.
use super::{Entry, Name, Pending, Shard, Table};
use crate::frame::Header;
use crate::request::Requests;
use core::sync::atomic::Ordering;
use ddi::Errno;
use ddi::map::Hashed;
use ddi::mblk::{Mblk, MblkChain};
use ddi::sync::KMutex;

/// Times an answer empties a queue that keeps filling before later packets may overtake it.
const SETTLE_ROUNDS: usize = 32;

impl<K: Name, A: Copy> Table<K, A> {
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
    ) -> Result<(), Errno>
    where
        A: PartialEq,
    {
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
            Entry::Known(old) => {
                if old != answer {
                    self.changed();
                }
                MblkChain::default()
            }
        };
        drop(s);
        done(packets);
        Ok(())
    }

    /// Changes an answer that is there.
    pub fn amend(&self, key: K, change: impl FnOnce(&mut A)) {
        let at = self.hasher.hash(key);
        let Some(shard) = self.shard(at.hash) else { return };
        if let Some(Entry::Known(answer)) = shard.lock().map.peek(at) {
            change(answer);
        }
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
                self.changed();
                Ok(())
            }
            _ => Err(Errno::ENOENT),
        }
    }
}
