// SPDX-License-Identifier: CDDL-1.0
//! Owners of kernel memory: one value, a shared value, a growing array.
use crate::Errno;
use core::alloc::Layout;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering, fence};
use illumos_sys_hdrs as sys;
pub use overlay_abi::copy;

/// What an allocation does when there is no memory at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KmFlag {
    /// Waits; cannot fail. Only where a thread may sleep.
    Sleep,
    /// Fails; for the packet path.
    NoSleep,
}

impl KmFlag {
    fn raw(self) -> core::ffi::c_int {
        match self {
            KmFlag::Sleep => sys::KM_SLEEP,
            KmFlag::NoSleep => sys::KM_NOSLEEP,
        }
    }
}

/// Memory for `layout`, `None` if there is none. kmem aligns to 8 bytes, all that is asked for here.
fn allocate(layout: Layout, flag: KmFlag) -> Option<NonNull<u8>> {
    const { assert!(size_of::<usize>() == 8) };
    if layout.align() > 8 {
        return None;
    }
    if layout.size() == 0 {
        return Some(NonNull::<u64>::dangling().cast());
    }
    // SAFETY: kmem_alloc has no conditions but the context, which the flag states.
    NonNull::new(unsafe { sys::kmem_alloc(layout.size(), flag.raw()) }.cast())
}

/// # Safety
/// `p` came from [`allocate`] with this layout and nothing uses it any more.
unsafe fn release(p: NonNull<u8>, layout: Layout) {
    if layout.size() != 0 {
        // SAFETY: by the caller's promise.
        unsafe { sys::kmem_free(p.as_ptr().cast(), layout.size()) };
    }
}

/// One value in memory of its own.
pub struct KBox<T>(NonNull<T>);

// SAFETY: a KBox owns its value as a plain variable would.
unsafe impl<T: Send> Send for KBox<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for KBox<T> {}

impl<T> KBox<T> {
    /// Moves `value` into memory of its own; waits for it.
    pub fn new(value: T) -> Self {
        const { assert!(align_of::<T>() <= 8, "kmem aligns to 8") };
        let p = allocate(Layout::new::<T>(), KmFlag::Sleep);
        // SAFETY: kmem_alloc(9F) with KM_SLEEP never returns NULL, and the alignment was asserted.
        let p = unsafe { p.unwrap_unchecked() }.cast::<T>();
        // SAFETY: fresh memory of this layout.
        unsafe { p.write(value) };
        KBox(p)
    }

    /// As [`KBox::new`] without waiting: `ENOMEM`, and the value is dropped.
    pub fn try_new(value: T) -> Result<Self, Errno> {
        let p = allocate(Layout::new::<T>(), KmFlag::NoSleep).ok_or(Errno::ENOMEM)?.cast::<T>();
        // SAFETY: fresh memory of this layout.
        unsafe { p.write(value) };
        Ok(KBox(p))
    }

    /// Gives the memory back and keeps the value.
    pub fn into_inner(self) -> T {
        let this = ManuallyDrop::new(self);
        // SAFETY: the value is read once; the memory is released without dropping it again.
        let value = unsafe { this.0.read() };
        // SAFETY: allocated in `new` or `try_new` with this layout.
        unsafe { release(this.0.cast(), Layout::new::<T>()) };
        value
    }

    /// The bare pointer; [`KBox::from_raw`] takes it back.
    pub fn into_raw(self) -> NonNull<T> {
        ManuallyDrop::new(self).0
    }

    /// # Safety
    /// `p` came from [`KBox::into_raw`] and is given back once.
    pub unsafe fn from_raw(p: NonNull<T>) -> Self {
        KBox(p)
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: valid until drop; borrowed from self.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: valid until drop; borrowed uniquely from self.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for KBox<T> {
    fn drop(&mut self) {
        // SAFETY: the value is valid and dropped once.
        unsafe { ptr::drop_in_place(self.0.as_ptr()) };
        // SAFETY: allocated with this layout.
        unsafe { release(self.0.cast(), Layout::new::<T>()) };
    }
}

struct Shared<T> {
    holds: AtomicUsize,
    value: T,
}

/// A value that lives as long as someone holds it.
pub struct KArc<T>(NonNull<Shared<T>>);

// SAFETY: as std's Arc: shared access needs Sync, the last owner drops, which needs Send.
unsafe impl<T: Send + Sync> Send for KArc<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for KArc<T> {}

impl<T> KArc<T> {
    /// Moves `value` into shared memory; waits for it.
    pub fn new(value: T) -> Self {
        KArc(KBox::new(Shared { holds: AtomicUsize::new(1), value }).into_raw())
    }

    /// Whether both are the same object.
    pub fn same(a: &KArc<T>, b: &KArc<T>) -> bool {
        a.0 == b.0
    }

    /// The address of the value, carrying this hold; [`KArc::from_raw`] takes it back.
    pub fn into_raw(self) -> *const T {
        let this = ManuallyDrop::new(self);
        // SAFETY: the object is alive; only an address is computed.
        unsafe { &raw const (*this.0.as_ptr()).value }
    }

    /// # Safety
    /// `value` came from [`KArc::into_raw`]; each call uses up one hold.
    pub unsafe fn from_raw(value: *const T) -> Self {
        let offset = core::mem::offset_of!(Shared<T>, value);
        // SAFETY: `value` lies at that offset inside of a live Shared.
        KArc(unsafe { NonNull::new_unchecked(value.byte_sub(offset).cast_mut().cast()) })
    }
}

impl<T> Clone for KArc<T> {
    fn clone(&self) -> Self {
        // SAFETY: alive because we hold it.
        unsafe { self.0.as_ref() }.holds.fetch_add(1, Ordering::Relaxed);
        KArc(self.0)
    }
}

impl<T> Deref for KArc<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: alive because we hold it.
        &unsafe { self.0.as_ref() }.value
    }
}

impl<T> Drop for KArc<T> {
    fn drop(&mut self) {
        // SAFETY: alive because we hold it.
        if unsafe { self.0.as_ref() }.holds.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        // SAFETY: the last hold is gone; the object was made by KBox::new.
        drop(unsafe { KBox::from_raw(self.0) });
    }
}

/// A growing array.
pub struct KVec<T> {
    p: NonNull<T>,
    len: usize,
    room: usize,
}

// SAFETY: owns its elements.
unsafe impl<T: Send> Send for KVec<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for KVec<T> {}

impl<T> KVec<T> {
    /// Empty, without memory.
    pub const fn new() -> Self {
        KVec { p: NonNull::dangling(), len: 0, room: 0 }
    }

    /// Room for at least `more` further elements.
    ///
    /// # Errors
    /// `ENOMEM`: no memory (`NoSleep` only), or more than the address space.
    pub fn reserve(&mut self, more: usize, flag: KmFlag) -> Result<(), Errno> {
        let need = self.len.checked_add(more).ok_or(Errno::ENOMEM)?;
        if need <= self.room {
            return Ok(());
        }
        let room = need.max(self.room.saturating_mul(2)).max(4);
        let layout = Layout::array::<T>(room).map_err(|_| Errno::ENOMEM)?;
        let p = allocate(layout, flag).ok_or(Errno::ENOMEM)?.cast::<T>();
        // SAFETY: both areas are valid for `len` elements and distinct; the old ones are forgotten
        // below.
        unsafe { ptr::copy_nonoverlapping(self.p.as_ptr(), p.as_ptr(), self.len) };
        self.free_memory();
        self.p = p;
        self.room = room;
        Ok(())
    }

    /// Adds at the end.
    ///
    /// # Errors
    /// `ENOMEM`; the value is dropped.
    pub fn push(&mut self, value: T, flag: KmFlag) -> Result<(), Errno> {
        self.insert(self.len, value, flag)
    }

    /// Adds before the element at `at`, or at the end if there is none.
    ///
    /// # Errors
    /// `ENOMEM`; the value is dropped.
    pub fn insert(&mut self, at: usize, value: T, flag: KmFlag) -> Result<(), Errno> {
        self.reserve(1, flag)?;
        let at = at.min(self.len);
        // SAFETY: there is room for one more behind the last; `at` is at most `len`.
        unsafe {
            let place = self.p.as_ptr().add(at);
            ptr::copy(place, place.add(1), self.len.wrapping_sub(at));
            place.write(value);
        }
        self.len = self.len.wrapping_add(1);
        Ok(())
    }

    /// Takes out the element at `at`, those behind it move up.
    pub fn remove(&mut self, at: usize) -> Option<T> {
        if at >= self.len {
            return None;
        }
        self.len = self.len.wrapping_sub(1);
        // SAFETY: `at` was a valid element; it is read once and overwritten.
        unsafe {
            let place = self.p.as_ptr().add(at);
            let value = place.read();
            ptr::copy(place.add(1), place, self.len.wrapping_sub(at));
            Some(value)
        }
    }

    fn free_memory(&mut self) {
        if let Ok(layout) = Layout::array::<T>(self.room) {
            // SAFETY: allocated in `reserve` with this layout (or no bytes at all).
            unsafe { release(self.p.cast(), layout) };
        }
        self.room = 0;
    }
}

impl KVec<u8> {
    /// `len` zero bytes.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn zeroed(len: usize, flag: KmFlag) -> Result<Self, Errno> {
        let mut bytes: KVec<u8> = KVec::new();
        bytes.reserve(len, flag)?;
        // SAFETY: reserved just now; zero is a u8.
        unsafe { bytes.p.as_ptr().write_bytes(0, len) };
        bytes.len = len;
        Ok(bytes)
    }
}

impl<T> Default for KVec<T> {
    fn default() -> Self {
        KVec::new()
    }
}

impl<T> Deref for KVec<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: the first `len` elements are initialised.
        unsafe { core::slice::from_raw_parts(self.p.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for KVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, borrowed uniquely.
        unsafe { core::slice::from_raw_parts_mut(self.p.as_ptr(), self.len) }
    }
}

impl<T> Drop for KVec<T> {
    fn drop(&mut self) {
        // SAFETY: the first `len` elements are initialised and dropped once.
        unsafe { ptr::drop_in_place(&raw mut **self) };
        self.free_memory();
    }
}

/// The one instance of a module's state: set by its init, read by its entry points, taken by its
/// fini.
pub struct Global<T>(core::sync::atomic::AtomicPtr<T>);

impl<T: Sync + Send + 'static> Default for Global<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Sync + Send + 'static> Global<T> {
    /// Not set.
    pub const fn new() -> Self {
        Global(core::sync::atomic::AtomicPtr::new(ptr::null_mut()))
    }

    /// Sets it; `false`, and the value is dropped, if it is set already.
    pub fn set(&self, value: KBox<T>) -> bool {
        let p = value.into_raw();
        let null = ptr::null_mut();
        match self.0.compare_exchange(null, p.as_ptr(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(_) => {
                // SAFETY: `p` was made above and nobody has seen it.
                drop(unsafe { KBox::from_raw(p) });
                false
            }
        }
    }

    /// The value, `None` before `set` and after `take`.
    pub fn get(&self) -> Option<&'static T> {
        // SAFETY: set from a KBox; `take` promises that nobody calls or keeps this.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Takes the value back.
    ///
    /// # Safety
    /// No reference from [`Global::get`] is in use or will be: the module is being unloaded,
    /// mod_remove(9F) said 0.
    pub unsafe fn take(&self) -> Option<KBox<T>> {
        let p = self.0.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: came from `set`; swapped out once.
        NonNull::new(p).map(|p| unsafe { KBox::from_raw(p) })
    }
}

/// A table of a module that the kernel may write to (`dev_ops`), or that is only ever read but made
/// of pointers (`modlinkage`, `dld_ioc_info_t[]`).
#[repr(transparent)]
pub struct Table<T>(core::cell::UnsafeCell<T>);

// SAFETY: Rust code only ever takes the address; the kernel has its own rules for what it points
// to.
unsafe impl<T> Sync for Table<T> {}

impl<T> Table<T> {
    /// A table with these contents.
    pub const fn new(value: T) -> Self {
        Table(core::cell::UnsafeCell::new(value))
    }

    /// Its address.
    pub const fn get(&self) -> *mut T {
        self.0.get()
    }
}
