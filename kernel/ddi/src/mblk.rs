// SPDX-License-Identifier: CDDL-1.0
//! STREAMS messages.
//!
//! ```text
//!   Mblk ─► block ─b_cont─► block ─b_cont─► block        one message, one frame
//!            b_rptr..b_wptr of data in each
//!
//!   MblkChain ─► message ─b_next─► message               what MAC and sockets hand over
//! ```
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use illumos_sys_hdrs as sys;
use sys::mblk_t;

/// Bytes kept free in front of a block that a header is put in.
const HEADROOM: usize = 128;

/// One message, freed on drop. Not on any chain: its b_next is NULL.
pub struct Mblk(NonNull<mblk_t>);

// SAFETY: a message has one owner and no tie to a thread.
unsafe impl Send for Mblk {}

/// # Safety
/// `mp` is a live block.
#[inline]
unsafe fn block_len(mp: *const mblk_t) -> usize {
    // SAFETY: by the caller's promise; the kernel keeps b_rptr <= b_wptr.
    unsafe { ((*mp).b_wptr as usize).wrapping_sub((*mp).b_rptr as usize) }
}

impl Mblk {
    /// An empty message with room for `size` bytes; `None` without memory.
    pub fn alloc(size: usize) -> Option<Mblk> {
        // SAFETY: no conditions; the result is ours.
        NonNull::new(unsafe { sys::allocb(size, sys::BPRI_HI) }).map(Mblk)
    }

    /// A message of one block with `data` at the end of `room` bytes, so that headers fit in front.
    pub fn alloc_at_end(room: usize, data: &[u8]) -> Option<Mblk> {
        let front = room.checked_sub(data.len())?;
        let mp = Mblk::alloc(room)?;
        let p = mp.0.as_ptr();
        // SAFETY: a fresh block has `room` bytes behind b_rptr, all unshared.
        unsafe {
            (*p).b_rptr = (*p).b_rptr.add(front);
            ptr::copy_nonoverlapping(data.as_ptr(), (*p).b_rptr, data.len());
            (*p).b_wptr = (*p).b_rptr.add(data.len());
        }
        Some(mp)
    }

    /// A message with a copy of `data` and `headroom` bytes free in front of it.
    pub fn copy_from(data: &[u8], headroom: usize) -> Option<Mblk> {
        Mblk::alloc_at_end(headroom.checked_add(data.len())?, data)
    }

    /// # Safety
    /// The caller owns the message `mp`, and its b_next is NULL.
    #[inline]
    pub unsafe fn from_raw(mp: *mut mblk_t) -> Option<Mblk> {
        NonNull::new(mp).map(Mblk)
    }

    /// Lets go of the message without freeing it.
    #[inline]
    pub fn into_raw(self) -> *mut mblk_t {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// The message's address, for probes and for calls that borrow it.
    #[inline]
    pub fn as_ptr(&self) -> *mut mblk_t {
        self.0.as_ptr()
    }

    /// Type of the first block, `M_DATA` and so on.
    pub fn kind(&self) -> u8 {
        // SAFETY: a live block has a data block.
        unsafe { (*(*self.0.as_ptr()).b_datap).db_type }
    }

    /// The data of the first block.
    #[inline]
    pub fn front(&self) -> &[u8] {
        let p = self.0.as_ptr();
        // SAFETY: b_rptr..b_wptr is readable as long as the block is ours.
        unsafe { core::slice::from_raw_parts((*p).b_rptr, block_len(p)) }
    }

    /// The data of the first block to write to; `None` if the block is shared or no data.
    #[inline]
    pub fn front_mut(&mut self) -> Option<&mut [u8]> {
        let p = self.0.as_ptr();
        // SAFETY: a live block has a data block; b_rptr..b_wptr is ours alone when nobody shares it.
        unsafe {
            let db = (*p).b_datap;
            if (*db).db_ref != 1 || (*db).db_type != sys::M_DATA {
                return None;
            }
            Some(core::slice::from_raw_parts_mut((*p).b_rptr, block_len(p)))
        }
    }

    /// Bytes of the whole message.
    #[inline]
    pub fn size(&self) -> usize {
        let mut size: usize = 0;
        let mut p: *const mblk_t = self.0.as_ptr();
        while !p.is_null() {
            // SAFETY: `p` is a live block of this message.
            unsafe {
                size = size.wrapping_add(block_len(p));
                p = (*p).b_cont;
            }
        }
        size
    }

    /// Fills `buf` from `offset` on, across blocks; `false` if the message ends before.
    pub fn copy_bytes(&self, mut offset: usize, mut buf: &mut [u8]) -> bool {
        let mut p: *const mblk_t = self.0.as_ptr();
        while !buf.is_empty() {
            if p.is_null() {
                return false;
            }
            // SAFETY: `p` is a live block of this message.
            let (data, next) = unsafe {
                (core::slice::from_raw_parts((*p).b_rptr, block_len(p)), (*p).b_cont.cast_const())
            };
            p = next;
            match data.get(offset..) {
                Some(data) => {
                    offset = 0;
                    let n = data.len().min(buf.len());
                    let (now, later) = buf.split_at_mut_checked(n).unwrap_or_default();
                    crate::mem::copy(now, data);
                    buf = later;
                }
                None => offset = offset.wrapping_sub(data.len()),
            }
        }
        true
    }

    /// The first `N` bytes, wherever they lie.
    #[inline]
    pub fn read<const N: usize>(&self) -> Option<[u8; N]> {
        if let Some(bytes) = self.front().first_chunk() {
            return Some(*bytes);
        }
        let mut bytes = [0; N];
        self.copy_bytes(0, &mut bytes).then_some(bytes)
    }

    /// Writes `header` in front of the data, in place. `false` and nothing done if the block is
    /// shared, holds no data, or has no room there.
    #[inline]
    pub fn try_prepend(&mut self, header: &[u8]) -> bool {
        let p = self.0.as_ptr();
        // SAFETY: a live block has a data block; db_base..b_rptr is ours to write when nobody
        // shares it.
        unsafe {
            let db = (*p).b_datap;
            let room = ((*p).b_rptr as usize).wrapping_sub((*db).db_base as usize);
            if (*db).db_ref != 1 || (*db).db_type != sys::M_DATA || room < header.len() {
                return false;
            }
            (*p).b_rptr = (*p).b_rptr.sub(header.len());
            ptr::copy_nonoverlapping(header.as_ptr(), (*p).b_rptr, header.len());
        }
        true
    }

    /// Bytes free in front of the data, 0 if the block is shared or no data.
    #[inline]
    pub fn headroom(&self) -> usize {
        let p = self.0.as_ptr();
        // SAFETY: a live block has a data block.
        unsafe {
            let db = (*p).b_datap;
            if (*db).db_ref != 1 || (*db).db_type != sys::M_DATA {
                return 0;
            }
            ((*p).b_rptr as usize).wrapping_sub((*db).db_base as usize)
        }
    }

    /// This message with `rest` behind it.
    pub fn link(self, rest: Mblk) -> Mblk {
        // SAFETY: both are ours; linkb takes `rest` over.
        unsafe { sys::linkb(self.0.as_ptr(), rest.into_raw()) };
        self
    }

    /// The message without its first `n` bytes; blocks that become empty are freed. `None`, and the
    /// message is freed, if it is shorter than that or nothing is left.
    pub fn strip(self, mut n: usize) -> Option<Mblk> {
        let mut this = self;
        loop {
            let p = this.0.as_ptr();
            // SAFETY: the first block is ours; moving b_rptr within the data touches no shared
            // byte, b_rptr is the message block's own.
            unsafe {
                let len = block_len(p);
                if len > n {
                    (*p).b_rptr = (*p).b_rptr.add(n);
                    return Some(this);
                }
                n = n.wrapping_sub(len);
                // Dropping what `this` was frees the empty block, here or with the `?`.
                let rest = NonNull::new((*p).b_cont)?;
                (*p).b_cont = ptr::null_mut();
                this = Mblk(rest);
            }
        }
    }

    /// As [`Mblk::strip`] for the common case, which this makes short: the first block holds more
    /// than `n`.
    #[inline]
    pub fn strip_front(self, n: usize) -> Option<Mblk> {
        let p = self.0.as_ptr();
        // SAFETY: as in `strip`.
        unsafe {
            if block_len(p) > n {
                (*p).b_rptr = (*p).b_rptr.add(n);
                return Some(self);
            }
        }
        self.strip(n)
    }

    /// The message with its first `old` bytes replaced by `new`: in place where they lie in one
    /// block that is not shared and has room, else in a new block with room for headers in front.
    /// `None`, and the message is freed, without memory or if it has not more than `old` bytes.
    pub fn replace_front(self, old: usize, new: &[u8]) -> Option<Mblk> {
        let mut this = self.strip_front(old)?;
        if this.try_prepend(new) {
            return Some(this);
        }
        let room = new.len().checked_add(HEADROOM)?;
        Some(Mblk::alloc_at_end(room, new)?.link(this))
    }

    /// The message, of `size` bytes, with at least `n` of them (or all) in its first block, by a
    /// copy where needed. `None`, and the message is freed, without memory.
    #[inline]
    pub fn pull_up(self, n: usize, size: usize) -> Option<Mblk> {
        let want = n.min(size);
        if self.front().len() >= want {
            return Some(self);
        }
        // SAFETY: `want` is not more than the message has; the result is ours, `self` stays ours.
        NonNull::new(unsafe { sys::msgpullup(self.0.as_ptr(), want as isize) }).map(Mblk)
    }

    /// A second message over the same data; `None` without memory.
    pub fn dup(&self) -> Option<Mblk> {
        // SAFETY: `self` stays ours, the result is ours.
        NonNull::new(unsafe { sys::dupmsg(self.0.as_ptr()) }).map(Mblk)
    }

    /// A copy in one block that has just the bytes, however large the blocks of this are, and
    /// `headroom` bytes free in front of them; `None` without memory.
    pub fn copy(&self, headroom: usize) -> Option<Mblk> {
        let copy = Mblk::alloc(headroom.checked_add(self.size())?)?;
        let to = copy.0.as_ptr();
        let mut from: *const mblk_t = self.0.as_ptr();
        // SAFETY: a fresh block has room for headroom and message, which stays as it is meanwhile.
        unsafe {
            (*to).b_rptr = (*to).b_rptr.add(headroom);
            (*to).b_wptr = (*to).b_rptr;
            while !from.is_null() {
                let len = block_len(from);
                ptr::copy_nonoverlapping((*from).b_rptr, (*to).b_wptr, len);
                (*to).b_wptr = (*to).b_wptr.add(len);
                from = (*from).b_cont;
            }
        }
        Some(copy)
    }

    /// Takes the blocks behind the first.
    pub fn split_front(self) -> (Mblk, Option<Mblk>) {
        let p = self.0.as_ptr();
        // SAFETY: the blocks behind the first are ours.
        let rest = unsafe { ptr::replace(&raw mut (*p).b_cont, ptr::null_mut()) };
        (self, NonNull::new(rest).map(Mblk))
    }

    /// Forgets what hardware said about checksums of the packet this was part of.
    #[inline]
    pub fn clear_hcksum(&mut self) {
        // SAFETY: a live message of ours.
        unsafe { sys::mac_hcksum_set(self.0.as_ptr(), 0, 0, 0, 0, 0) };
    }
}

impl Drop for Mblk {
    fn drop(&mut self) {
        // SAFETY: ours, and not on a chain.
        unsafe { sys::freemsg(self.0.as_ptr()) };
    }
}

/// Messages linked by b_next, as MAC hands them over. Freed on drop.
#[derive(Default)]
pub struct MblkChain {
    head: Option<NonNull<mblk_t>>,
}

// SAFETY: as for Mblk.
unsafe impl Send for MblkChain {}

impl MblkChain {
    /// # Safety
    /// The caller owns `head` and all that b_next reaches.
    #[inline]
    pub unsafe fn from_raw(head: *mut mblk_t) -> Self {
        MblkChain { head: NonNull::new(head) }
    }

    /// Lets go of the messages without freeing them; NULL when empty.
    #[inline]
    pub fn into_raw(self) -> *mut mblk_t {
        ManuallyDrop::new(self).head.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    /// Nothing in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Takes the first message.
    #[inline]
    pub fn pop(&mut self) -> Option<Mblk> {
        let head = self.head?;
        // SAFETY: ours; unlinked here.
        let next = unsafe { ptr::replace(&raw mut (*head.as_ptr()).b_next, ptr::null_mut()) };
        self.head = NonNull::new(next);
        Some(Mblk(head))
    }

    /// Puts a message in front.
    pub fn push_front(&mut self, mp: Mblk) {
        let p = ManuallyDrop::new(mp).0;
        // SAFETY: ours, and on no chain.
        unsafe { (*p.as_ptr()).b_next = self.head.map_or(ptr::null_mut(), NonNull::as_ptr) };
        self.head = Some(p);
    }
}

impl MblkChain {
    /// Adds all of `more` at the end.
    pub fn append(&mut self, more: MblkChain) {
        let more = more.into_raw();
        let Some(head) = self.head else {
            self.head = NonNull::new(more);
            return;
        };
        let mut last = head.as_ptr();
        // SAFETY: the messages of the chain are ours.
        unsafe {
            while !(*last).b_next.is_null() {
                last = (*last).b_next;
            }
            (*last).b_next = more;
        }
    }
}

impl Drop for MblkChain {
    fn drop(&mut self) {
        if let Some(head) = self.head {
            // SAFETY: ours.
            unsafe { sys::freemsgchain(head.as_ptr()) };
        }
    }
}

/// A queue of messages that knows its bytes. Freed on drop.
#[derive(Default)]
pub struct MblkQueue {
    head: Option<NonNull<mblk_t>>,
    tail: Option<NonNull<mblk_t>>,
    bytes: usize,
    len: usize,
}

// SAFETY: as for Mblk.
unsafe impl Send for MblkQueue {}

impl MblkQueue {
    /// Sum of the sizes its messages were pushed with.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many messages.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Adds a message of `size` bytes at the end.
    #[inline]
    pub fn push(&mut self, mp: Mblk, size: usize) {
        let p = ManuallyDrop::new(mp).0;
        match self.tail {
            // SAFETY: the tail is ours.
            Some(tail) => unsafe { (*tail.as_ptr()).b_next = p.as_ptr() },
            None => self.head = Some(p),
        }
        self.tail = Some(p);
        self.bytes = self.bytes.wrapping_add(size);
        self.len = self.len.wrapping_add(1);
    }

    /// Takes the first message. Its size must still be what it was pushed with.
    pub fn pop(&mut self) -> Option<Mblk> {
        let mut chain = MblkChain { head: self.head };
        let mp = chain.pop();
        self.head = ManuallyDrop::new(chain).head;
        if self.head.is_none() {
            self.tail = None;
        }
        let mp = mp?;
        self.bytes = self.bytes.wrapping_sub(mp.size());
        self.len = self.len.wrapping_sub(1);
        Some(mp)
    }

    /// Calls `f` with the first message.
    pub fn peek<R>(&self, f: impl FnOnce(&Mblk) -> R) -> Option<R> {
        // Borrowed only: never dropped.
        Some(f(&ManuallyDrop::new(Mblk(self.head?))))
    }

    /// All of it as a chain.
    #[inline]
    pub fn into_chain(self) -> MblkChain {
        MblkChain { head: ManuallyDrop::new(self).head }
    }
}

impl Drop for MblkQueue {
    fn drop(&mut self) {
        drop(MblkChain { head: self.head });
    }
}
