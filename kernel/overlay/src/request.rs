// SPDX-License-Identifier: CDDL-1.0
//! Lookups that wait for varpd, and the opens of `/dev/overlay` that answer them.
//!
//! ```text
//!    new ─► queued ── LOOKUP ──► held by an open ── RESPOND, DROP ──► gone
//!             ▲                        │
//!             └───────── close ────────┘         and gone from either state when its target goes
//! ```
//!
//! A request is a number and what it is about, no more: its packets stay with the cache entry. It
//! may be stale (the entry answered otherwise meanwhile), which whoever follows it finds out there.
//! The number carries a generation, so an old one is never taken for a new one.
use crate::target::cache::RouteKey;
use ddi::Errno;
use ddi::dev::OpenFlags;
use ddi::ids::IdSpace;
use ddi::mem::{KVec, KmFlag};
use ddi::sync::{KCondvar, KMutex};
use ddi::sys;
use ddi::time::Deadline;

/// How long a LOOKUP waits, milliseconds.
const LOOKUP_WAIT_MS: u32 = 1000;
const CHUNK: usize = 32;
const NONE: u32 = u32::MAX;

/// What a lookup is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub id: u64,
    pub linkid: u32,
    /// Number of the target, never used twice.
    pub target: u64,
    pub about: About,
}

/// What varpd is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// Where a guest lives, a key of [`crate::target::realm`].
    Mac(u64),
    /// What becomes of a routed packet.
    Route(RouteKey),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    Queued,
    Held { minor: u32 },
}

#[derive(Clone, Copy)]
struct Slot {
    place: Place,
    generation: u32,
    prev: u32,
    next: u32,
    linkid: u32,
    target: u64,
    about: About,
}

/// One open of the device.
#[derive(Clone, Copy)]
pub(crate) struct Open {
    minor: u32,
    pub flags: OpenFlags,
    /// Version of the ABI it speaks.
    pub abi: u32,
}

struct Inner {
    chunks: KVec<KVec<Slot>>,
    free: u32,
    head: u32,
    tail: u32,
    opens: KVec<Open>,
}

/// See the module.
pub(crate) struct Requests {
    inner: KMutex<Inner>,
    wake: KCondvar,
    minors: IdSpace,
}

fn split(id: u64) -> (u32, u32) {
    ((id >> 32) as u32, id as u32)
}

fn join(generation: u32, index: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

impl Inner {
    fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        let index = index as usize;
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }

    fn live(&mut self, id: u64) -> Option<&mut Slot> {
        let (generation, index) = split(id);
        self.slot(index).filter(|s| s.place != Place::Free && s.generation == generation)
    }

    fn request(&mut self, index: u32) -> Option<Request> {
        let s = self.slot(index)?;
        let id = join(s.generation, index);
        Some(Request { id, linkid: s.linkid, target: s.target, about: s.about })
    }

    fn grow(&mut self) -> Result<(), Errno> {
        let base = self.chunks.len().saturating_mul(CHUNK);
        if base.saturating_add(CHUNK) >= NONE as usize {
            return Err(Errno::ENOMEM);
        }
        // Made in place: on the stack, which is small, this comes below all of a packet's way.
        let mut chunk = KVec::new();
        chunk.reserve(CHUNK, KmFlag::NoSleep)?;
        let last = base.saturating_add(CHUNK) as u32;
        for next in base as u32..last {
            let next = next.saturating_add(1);
            let slot = Slot {
                place: Place::Free,
                generation: 1,
                prev: NONE,
                next: if next == last { self.free } else { next },
                linkid: 0,
                target: 0,
                about: About::Mac(0),
            };
            chunk.push(slot, KmFlag::NoSleep)?;
        }
        self.chunks.push(chunk, KmFlag::NoSleep)?;
        self.free = base as u32;
        Ok(())
    }

    fn append(&mut self, index: u32) {
        let tail = self.tail;
        if let Some(s) = self.slot(index) {
            s.place = Place::Queued;
            s.prev = tail;
            s.next = NONE;
        }
        match self.slot(tail) {
            Some(t) => t.next = index,
            None => self.head = index,
        }
        self.tail = index;
    }

    fn unqueue(&mut self, index: u32) {
        let Some(&mut Slot { prev, next, .. }) = self.slot(index) else { return };
        match self.slot(prev) {
            Some(p) => p.next = next,
            None => self.head = next,
        }
        match self.slot(next) {
            Some(n) => n.prev = prev,
            None => self.tail = prev,
        }
    }

    fn release(&mut self, index: u32) {
        let free = self.free;
        let Some(s) = self.slot(index) else { return };
        let queued = s.place == Place::Queued;
        if queued {
            self.unqueue(index);
        }
        if let Some(s) = self.slot(index) {
            s.place = Place::Free;
            s.generation = s.generation.wrapping_add(1).max(1);
            s.next = free;
            self.free = index;
        }
    }

    fn indices(&self) -> core::ops::Range<u32> {
        0..self.chunks.len().saturating_mul(CHUNK) as u32
    }
}

impl Requests {
    pub fn new() -> Self {
        let inner =
            Inner { chunks: KVec::new(), free: NONE, head: NONE, tail: NONE, opens: KVec::new() };
        Requests {
            inner: KMutex::new(inner),
            wake: KCondvar::new(),
            minors: IdSpace::new(c"overlay_minors", 1, i32::MAX),
        }
    }

    /// Queues a new request and returns its id. Does not wait; may be called with a shard of the
    /// cache locked.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn queue(&self, linkid: u32, target: u64, about: About) -> Result<u64, Errno> {
        let mut inner = self.inner.lock();
        if inner.free == NONE {
            inner.grow()?;
        }
        let index = inner.free;
        let slot = inner.slot(index).ok_or(Errno::ENOMEM)?;
        let (id, next) = (join(slot.generation, index), slot.next);
        *slot = Slot { linkid, target, about, ..*slot };
        inner.free = next;
        inner.append(index);
        drop(inner);
        self.wake.signal();
        Ok(id)
    }

    /// Hands the oldest queued request to an open, waiting up to a second for one.
    ///
    /// # Errors
    /// `ETIME`: none came.
    pub fn next(&self, minor: u32) -> Result<Request, Errno> {
        let deadline = Deadline::after_ms(LOOKUP_WAIT_MS);
        let mut inner = self.inner.lock();
        loop {
            let index = inner.head;
            if index != NONE {
                inner.unqueue(index);
                if let Some(s) = inner.slot(index) {
                    s.place = Place::Held { minor };
                }
                return inner.request(index).ok_or(Errno::ETIME);
            }
            if !self.wake.wait_until(&mut inner, deadline) && inner.head == NONE {
                return Err(Errno::ETIME);
            }
        }
    }

    /// The request of this id, which the open holds.
    ///
    /// # Errors
    /// `EINVAL`: it does not.
    pub fn held(&self, minor: u32, id: u64) -> Result<Request, Errno> {
        let mut inner = self.inner.lock();
        let held = Place::Held { minor };
        inner.live(id).filter(|s| s.place == held).ok_or(Errno::EINVAL)?;
        inner.request(split(id).1).ok_or(Errno::EINVAL)
    }

    /// Puts a request that the open holds back to the end of the queue.
    pub fn give_back(&self, minor: u32, id: u64) {
        let mut inner = self.inner.lock();
        let held = Place::Held { minor };
        if inner.live(id).is_some_and(|s| s.place == held) {
            inner.append(split(id).1);
            drop(inner);
            self.wake.signal();
        }
    }

    /// As [`Requests::held`], and the request is over.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn finish(&self, minor: u32, id: u64) -> Result<Request, Errno> {
        let mut inner = self.inner.lock();
        let held = Place::Held { minor };
        inner.live(id).filter(|s| s.place == held).ok_or(Errno::EINVAL)?;
        let index = split(id).1;
        let request = inner.request(index).ok_or(Errno::EINVAL)?;
        inner.release(index);
        Ok(request)
    }

    /// Ends a request in whatever state: its entry needs no answer any more.
    pub fn cancel(&self, id: u64) {
        let mut inner = self.inner.lock();
        if inner.live(id).is_some() {
            inner.release(split(id).1);
        }
    }

    /// Ends all requests of a target.
    pub fn purge(&self, target: u64) {
        let mut inner = self.inner.lock();
        for index in inner.indices() {
            if inner.slot(index).is_some_and(|s| s.place != Place::Free && s.target == target) {
                inner.release(index);
            }
        }
    }

    /// How many requests of a target there are.
    pub fn outstanding(&self, target: u64) -> u64 {
        let mut inner = self.inner.lock();
        let mut n: u64 = 0;
        for index in inner.indices() {
            if inner.slot(index).is_some_and(|s| s.place != Place::Free && s.target == target) {
                n = n.wrapping_add(1);
            }
        }
        n
    }

    /// A new open; returns its minor.
    ///
    /// # Errors
    /// `EEXIST`: it shall be exclusive and there is an exclusive one. `ENXIO`: no minor left.
    pub fn open(&self, flags: OpenFlags) -> Result<u32, Errno> {
        let minor = self.minors.alloc().ok_or(Errno::ENXIO)?;
        let mut inner = self.inner.lock();
        let exclusive = flags.has(sys::FEXCL);
        let result = if exclusive && inner.opens.iter().any(|o| o.flags.has(sys::FEXCL)) {
            Err(Errno::EEXIST)
        } else {
            inner.opens.push(Open { minor, flags, abi: 1 }, KmFlag::Sleep)
        };
        drop(inner);
        result.inspect_err(|_| self.minors.free(minor))?;
        Ok(minor)
    }

    /// How an open was made.
    ///
    /// # Errors
    /// `EBADF`: no such open.
    pub fn how(&self, minor: u32) -> Result<Open, Errno> {
        self.inner.lock().opens.iter().find(|o| o.minor == minor).copied().ok_or(Errno::EBADF)
    }

    /// From now on the open speaks another version.
    ///
    /// # Errors
    /// `EBADF`: no such open.
    pub fn speak(&self, minor: u32, abi: u32) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        let open = inner.opens.iter_mut().find(|o| o.minor == minor).ok_or(Errno::EBADF)?;
        open.abi = abi;
        Ok(())
    }

    /// Ends an open. What it held goes to the end of the queue.
    pub fn close(&self, minor: u32) {
        let mut inner = self.inner.lock();
        let Some(at) = inner.opens.iter().position(|o| o.minor == minor) else { return };
        inner.opens.remove(at);
        for index in inner.indices() {
            if inner.slot(index).is_some_and(|s| s.place == Place::Held { minor }) {
                inner.append(index);
            }
        }
        drop(inner);
        self.wake.broadcast();
        self.minors.free(minor);
    }

    /// Whether the device is open.
    pub fn in_use(&self) -> bool {
        !self.inner.lock().opens.is_empty()
    }
}
