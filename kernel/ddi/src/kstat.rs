// SPDX-License-Identifier: CDDL-1.0
//! Kernel statistics, kstat(9S): named 64-bit counters, filled in when somebody reads them.
use crate::mem::KArc;
use crate::neti::NetId;
use core::ffi::{CStr, c_int};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use illumos_sys_hdrs as sys;

/// A counter that only grows.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters behind a [`Kstat`].
pub trait Source: Send + Sync + 'static {
    /// Names, in order. At most 30 bytes each.
    const NAMES: &'static [&'static CStr];

    /// Writes the values in the order of the names. `out` is as long as they are many.
    fn read(&self, out: &mut dyn FnMut(u64));
}

/// A kstat that shows a source; gone after drop, which waits for readers.
pub struct Kstat<S: Source> {
    ks: NonNull<sys::kstat_t>,
    /// How it is deleted: known where it is made, so that a module without stacks imports nothing
    /// for them.
    delete: Delete,
    /// Held for the callback.
    _source: KArc<S>,
}

// SAFETY: only create, install and delete happen through it.
unsafe impl<S: Source> Send for Kstat<S> {}
// SAFETY: as above.
unsafe impl<S: Source> Sync for Kstat<S> {}

impl<S: Source> Kstat<S> {
    /// Makes `module:instance:name` visible. `None` if that name is taken or there is no memory: a
    /// driver works without its statistics.
    pub fn new(
        module: &CStr,
        instance: c_int,
        name: &CStr,
        class: &CStr,
        source: KArc<S>,
    ) -> Option<Self> {
        let (module, name, class) = (module.as_ptr(), name.as_ptr(), class.as_ptr());
        let n = S::NAMES.len() as u32;
        let kind = sys::KSTAT_TYPE_NAMED;
        // SAFETY: the strings are copied.
        let ks = unsafe { sys::kstat_create(module, instance, name, class, kind, n, 0) };
        Self::install(ks, Delete { call: delete, net: 0 }, source)
    }

    /// As [`Kstat::new`] for the zones of a stack only.
    pub fn of_stack(
        net: NetId,
        module: &CStr,
        instance: c_int,
        name: &CStr,
        class: &CStr,
        source: KArc<S>,
    ) -> Option<Self> {
        let mutable = |s: &CStr| s.as_ptr().cast_mut();
        let (module, name, class) = (mutable(module), mutable(name), mutable(class));
        let n = S::NAMES.len() as u64;
        let kind = sys::KSTAT_TYPE_NAMED;
        // SAFETY: the strings are copied.
        let ks = unsafe { sys::net_kstat_create(net.0, module, instance, name, class, kind, n, 0) };
        Self::install(ks, Delete { call: delete_of_stack, net: net.0 }, source)
    }

    fn install(ks: *mut sys::kstat_t, delete: Delete, source: KArc<S>) -> Option<Self> {
        let ks = NonNull::new(ks)?;
        // SAFETY: not installed yet, so ours alone; ks_data has room for `n` named values.
        unsafe {
            let p = ks.as_ptr();
            let mut named = (*p).ks_data.cast::<sys::kstat_named_t>();
            for name in S::NAMES {
                sys::kstat_named_init(named, name.as_ptr(), sys::KSTAT_DATA_UINT64);
                named = named.add(1);
            }
            (*p).ks_private = (&raw const *source).cast_mut().cast();
            (*p).ks_update = Some(update::<S>);
            sys::kstat_install(p);
        }
        Some(Kstat { ks, delete, _source: source })
    }
}

struct Delete {
    call: unsafe fn(sys::netid_t, *mut sys::kstat_t),
    net: sys::netid_t,
}

/// # Safety
/// `ks` is of kstat_create and used no more.
unsafe fn delete(_net: sys::netid_t, ks: *mut sys::kstat_t) {
    // SAFETY: by the caller's promise.
    unsafe { sys::kstat_delete(ks) };
}

/// # Safety
/// `ks` is of net_kstat_create with this `net`, and used no more.
unsafe fn delete_of_stack(net: sys::netid_t, ks: *mut sys::kstat_t) {
    // SAFETY: by the caller's promise.
    unsafe { sys::net_kstat_delete(net, ks) };
}

impl<S: Source> Drop for Kstat<S> {
    fn drop(&mut self) {
        // SAFETY: installed in `install`; the source is let go of afterwards.
        unsafe { (self.delete.call)(self.delete.net, self.ks.as_ptr()) };
    }
}

unsafe extern "C" fn update<S: Source>(ks: *mut sys::kstat_t, how: c_int) -> c_int {
    if how == sys::KSTAT_WRITE {
        return crate::Errno::EACCES.0;
    }
    // SAFETY: `install` set ks_private to a source that outlives the kstat, and ks_data holds a value
    // for each name.
    let (source, values) = unsafe {
        let named = (*ks).ks_data.cast::<sys::kstat_named_t>();
        let values = core::slice::from_raw_parts_mut(named, S::NAMES.len());
        (&*(*ks).ks_private.cast_const().cast::<S>(), values)
    };
    let mut values = values.iter_mut();
    source.read(&mut |value| {
        if let Some(named) = values.next() {
            named.value.ui64 = value;
        }
    });
    0
}
