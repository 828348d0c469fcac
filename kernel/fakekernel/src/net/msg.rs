// SPDX-License-Identifier: CDDL-1.0
//! Owned STREAMS messages: [`Msg`] is one message (a `b_cont` list of blocks), [`Chain`] a `b_next`
//! list of them.
//!
//! Dropping frees. A raw pointer that leaves with `into_raw` takes the ownership along, as the C
//! interfaces say.

use illumos_sys_hdrs as sys;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use sys::mblk_t;

/// One message, owned. Its `b_next` is null.
pub struct Msg(NonNull<mblk_t>);

// SAFETY: a message belongs to whoever holds it; nothing in one is bound to a thread.
unsafe impl Send for Msg {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for Msg {}

impl Drop for Msg {
    fn drop(&mut self) {
        // SAFETY: we own the message.
        unsafe { sys::freemsg(self.0.as_ptr()) }
    }
}

impl Msg {
    /// Takes ownership of a message that is on no chain; `None` for null.
    ///
    /// # Safety
    /// `mp` is null or an initialised message that nobody else owns.
    pub unsafe fn from_raw(mp: *mut mblk_t) -> Option<Msg> {
        NonNull::new(mp).map(Msg)
    }

    /// An empty block with `headroom` bytes before the read pointer and room for `len` after it.
    /// `None` when the kernel has no memory.
    pub fn alloc(headroom: usize, len: usize) -> Option<Msg> {
        // SAFETY: the new block is ours, with base and limit spanning what was asked.
        unsafe {
            let mp = crate::mblk::alloc(headroom + len);
            let m = Msg::from_raw(mp)?;
            (*mp).b_rptr = (*mp).b_rptr.add(headroom);
            (*mp).b_wptr = (*mp).b_rptr;
            Some(m)
        }
    }

    /// A block with a copy of `data` and `headroom` free bytes in front.
    pub fn from_slice(data: &[u8], headroom: usize) -> Option<Msg> {
        let mut m = Msg::alloc(headroom, data.len())?;
        m.append(data);
        Some(m)
    }

    /// Gives the message away.
    pub fn into_raw(self) -> *mut mblk_t {
        let p = self.0.as_ptr();
        std::mem::forget(self);
        p
    }

    /// The message without giving it away.
    pub fn as_ptr(&self) -> *mut mblk_t {
        self.0.as_ptr()
    }

    /// Appends to the first block what fits behind its write pointer; the number of bytes taken.
    pub fn append(&mut self, data: &[u8]) -> usize {
        let n = data.len().min(self.tailroom());
        // SAFETY: n bytes lie between the write pointer and the limit of a block that we own.
        unsafe {
            let mp = self.0.as_ptr();
            std::ptr::copy_nonoverlapping(data.as_ptr(), (*mp).b_wptr, n);
            (*mp).b_wptr = (*mp).b_wptr.add(n);
        }
        n
    }

    /// Free bytes behind the first block's data.
    pub fn tailroom(&self) -> usize {
        // SAFETY: both pointers are of the same block, the limit never below the write pointer.
        unsafe {
            let mp = self.0.as_ptr();
            (*(*mp).b_datap).db_lim.offset_from((*mp).b_wptr) as usize
        }
    }

    /// Free bytes in front of the first block's data.
    pub fn headroom(&self) -> usize {
        // SAFETY: as in tailroom.
        unsafe {
            let mp = self.0.as_ptr();
            (*mp).b_rptr.offset_from((*(*mp).b_datap).db_base) as usize
        }
    }

    /// Whether the first block's data belongs to this message alone.
    pub fn is_unshared(&self) -> bool {
        // SAFETY: a message has a data block.
        unsafe { (*(*self.0.as_ptr()).b_datap).db_ref == 1 }
    }

    /// The first block's bytes.
    pub fn head(&self) -> &[u8] {
        // SAFETY: read and write pointer bound initialised bytes of the block.
        unsafe { block(self.0.as_ptr()) }
    }

    /// The first block's bytes, to change. The caller has seen to it that the block is not shared.
    pub fn head_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in head; we own the message and hold it exclusively.
        unsafe {
            let mp = self.0.as_ptr();
            let len = (*mp).b_wptr.offset_from((*mp).b_rptr) as usize;
            std::slice::from_raw_parts_mut((*mp).b_rptr, len)
        }
    }

    /// The space behind the first block's data, for a system call to write to. Then
    /// [`Msg::set_len`].
    pub fn spare(&mut self) -> &mut [std::mem::MaybeUninit<u8>] {
        let tail = self.tailroom();
        // SAFETY: the tail lies inside the block, which we own exclusively.
        unsafe { std::slice::from_raw_parts_mut((*self.0.as_ptr()).b_wptr.cast(), tail) }
    }

    /// Sets the length of the first block's data, at most what its space holds.
    ///
    /// # Safety
    /// The first `len` bytes have been written.
    pub unsafe fn set_len(&mut self, len: usize) {
        // SAFETY: bounded by the block's limit.
        unsafe {
            let mp = self.0.as_ptr();
            let room = (*(*mp).b_datap).db_lim.offset_from((*mp).b_rptr) as usize;
            (*mp).b_wptr = (*mp).b_rptr.add(len.min(room));
        }
    }

    /// Drops `n` bytes from the front of the first block (at most all of them).
    pub fn trim_front(&mut self, n: usize) {
        let n = n.min(self.head().len());
        // SAFETY: n is within the block's data.
        unsafe { (*self.0.as_ptr()).b_rptr = (*self.0.as_ptr()).b_rptr.add(n) }
    }

    /// Moves the read pointer back by `n` bytes of headroom; false when there is less or the block
    /// is shared.
    pub fn grow_front(&mut self, n: usize) -> bool {
        if self.headroom() < n || !self.is_unshared() {
            return false;
        }
        // SAFETY: the headroom was just checked.
        unsafe { (*self.0.as_ptr()).b_rptr = (*self.0.as_ptr()).b_rptr.sub(n) };
        true
    }

    /// Whether there is a single block.
    pub fn is_contiguous(&self) -> bool {
        // SAFETY: a live message.
        unsafe { (*self.0.as_ptr()).b_cont.is_null() }
    }

    /// The blocks' bytes in order.
    pub fn slices(&self) -> Slices<'_> {
        Slices(self.0.as_ptr(), std::marker::PhantomData)
    }

    /// Bytes of all blocks.
    pub fn len(&self) -> usize {
        self.slices().map(<[u8]>::len).sum()
    }

    /// Whether the message has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts `tail` behind the last block.
    pub fn link(&mut self, tail: Msg) {
        // SAFETY: both are owned messages.
        unsafe { sys::linkb(self.0.as_ptr(), tail.into_raw()) }
    }

    /// A copy in one block with `headroom` bytes in front, marks kept.
    pub fn flatten(&self, headroom: usize) -> Option<Msg> {
        let mut m = Msg::alloc(headroom, self.len())?;
        for s in self.slices() {
            m.append(s);
        }
        m.set_marks(self.marks());
        Some(m)
    }

    /// Copies up to `buf.len()` bytes from the front; how many there were.
    pub fn peek(&self, buf: &mut [u8]) -> usize {
        let mut n = 0;
        for s in self.slices() {
            let k = s.len().min(buf.len() - n);
            buf[n..n + k].copy_from_slice(&s[..k]);
            n += k;
            if n == buf.len() {
                break;
            }
        }
        n
    }

    /// Checksum and LSO marks of the first data block.
    pub fn marks(&self) -> Marks {
        let mut m = Marks::default();
        // SAFETY: a live message; every out pointer is to a field of `m`.
        unsafe {
            let mut lso = 0;
            sys::mac_hcksum_get(
                self.0.as_ptr(),
                &mut m.start,
                &mut m.stuff,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                &mut m.flags,
            );
            sys::mac_lso_get(self.0.as_ptr(), &mut m.mss, &mut lso);
            m.flags = (m.flags & sys::HCK_FLAGS) | (lso & sys::HW_LSO);
        }
        m
    }

    /// Replaces checksum and LSO marks of the first data block.
    pub fn set_marks(&mut self, m: Marks) {
        // SAFETY: a live message; the functions write fields of its data block.
        unsafe {
            sys::mac_hcksum_set(self.0.as_ptr(), m.start, m.stuff, 0, 0, m.flags & sys::HCK_FLAGS);
            if m.flags & sys::HW_LSO != 0 {
                sys::lso_info_set(self.0.as_ptr(), m.mss, sys::HW_LSO);
            }
        }
    }
}

/// What is left to do to a frame, as pattr marks on its first data block.
///
/// `start` and `stuff` are offsets in bytes from the start of the network header, as
/// `mac_hcksum_set(9F)` has them: the checksum covers from `start` to the end and is stored at
/// `stuff`, where the pseudo-header sum already stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// First byte covered.
    pub start: u32,
    /// Where the 16-bit sum goes.
    pub stuff: u32,
    /// `HCK_*` and `HW_LSO`.
    pub flags: u32,
    /// Bytes of TCP payload a segment, when `HW_LSO`.
    pub mss: u32,
}

impl Marks {
    /// Whether someone must compute a checksum.
    pub fn wants_checksum(&self) -> bool {
        self.flags & sys::HCK_PARTIALCKSUM != 0
    }

    /// Whether someone must cut the frame into segments.
    pub fn wants_lso(&self) -> bool {
        self.flags & sys::HW_LSO != 0
    }
}

/// The bytes of one block.
///
/// # Safety
/// `mp` is a live block that outlives `'a` and is not written meanwhile.
pub unsafe fn block<'a>(mp: *const mblk_t) -> &'a [u8] {
    // SAFETY: read and write pointer bound initialised bytes of one allocation; wptr >= rptr.
    unsafe {
        let len = usize::try_from((*mp).b_wptr.offset_from((*mp).b_rptr)).unwrap_or(0);
        std::slice::from_raw_parts((*mp).b_rptr, len)
    }
}

/// Iterator over the blocks of a message.
pub struct Slices<'a>(*mut mblk_t, std::marker::PhantomData<&'a Msg>);

impl<'a> Slices<'a> {
    /// The blocks of a message that someone else owns.
    ///
    /// # Safety
    /// `mp` is null or a message that outlives `'a` and is not written meanwhile.
    pub unsafe fn of(mp: *mut mblk_t) -> Slices<'a> {
        Slices(mp, std::marker::PhantomData)
    }
}

impl<'a> Iterator for Slices<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: the message outlives 'a and its blocks are linked by b_cont.
        unsafe {
            let s = block(self.0);
            self.0 = (*self.0).b_cont;
            Some(s)
        }
    }
}

/// Messages linked by `b_next`, owned.
pub struct Chain {
    head: *mut mblk_t,
    tail: *mut mblk_t,
    count: usize,
}

// SAFETY: as for Msg.
unsafe impl Send for Chain {}
// SAFETY: as for Msg.
unsafe impl Sync for Chain {}

impl Default for Chain {
    fn default() -> Chain {
        Chain { head: std::ptr::null_mut(), tail: std::ptr::null_mut(), count: 0 }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

impl Chain {
    /// Takes ownership of a chain.
    ///
    /// # Safety
    /// `mp` is null or the head of a `b_next` list of messages that nobody else owns.
    pub unsafe fn from_raw(mp: *mut mblk_t) -> Chain {
        let mut c = Chain { head: mp, tail: mp, count: 0 };
        let mut at = mp;
        while !at.is_null() {
            c.tail = at;
            c.count += 1;
            // SAFETY: a live message of the list.
            at = unsafe { (*at).b_next };
        }
        c
    }

    /// Gives the chain away; null when empty.
    pub fn into_raw(self) -> *mut mblk_t {
        let p = self.head;
        std::mem::forget(self);
        p
    }

    /// Appends a message.
    pub fn push(&mut self, m: Msg) {
        let p = m.into_raw();
        if self.tail.is_null() {
            self.head = p;
        } else {
            // SAFETY: the tail is a live message of ours.
            unsafe { (*self.tail).b_next = p };
        }
        self.tail = p;
        self.count += 1;
    }

    /// Takes the first message off.
    pub fn pop(&mut self) -> Option<Msg> {
        // SAFETY: the head is null or a message of ours.
        unsafe {
            let m = Msg::from_raw(self.head)?;
            self.head = (*m.as_ptr()).b_next;
            (*m.as_ptr()).b_next = std::ptr::null_mut();
            if self.head.is_null() {
                self.tail = std::ptr::null_mut();
            }
            self.count -= 1;
            Some(m)
        }
    }

    /// Appends all of `other`.
    pub fn append(&mut self, other: Chain) {
        if other.head.is_null() {
            return;
        }
        if self.tail.is_null() {
            self.head = other.head;
        } else {
            // SAFETY: the tail is a live message of ours.
            unsafe { (*self.tail).b_next = other.head };
        }
        self.tail = other.tail;
        self.count += other.count;
        std::mem::forget(other);
    }

    /// The messages, borrowed.
    pub fn messages(&self) -> impl Iterator<Item = ManuallyDrop<Msg>> {
        let mut at = self.head;
        std::iter::from_fn(move || {
            let m = NonNull::new(at)?;
            // SAFETY: a message of the chain, which is borrowed.
            at = unsafe { (*at).b_next };
            Some(ManuallyDrop::new(Msg(m)))
        })
    }

    /// A copy of each message, in one block with headroom; one that there is no memory for is left
    /// out.
    pub fn copy(&self) -> Chain {
        self.messages().filter_map(|m| m.flatten(super::offload::HEADROOM)).collect()
    }

    /// Messages in the chain.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.head.is_null()
    }
}

impl Extend<Msg> for Chain {
    fn extend<I: IntoIterator<Item = Msg>>(&mut self, it: I) {
        it.into_iter().for_each(|m| self.push(m));
    }
}

impl FromIterator<Msg> for Chain {
    fn from_iter<I: IntoIterator<Item = Msg>>(it: I) -> Chain {
        let mut c = Chain::default();
        c.extend(it);
        c
    }
}
