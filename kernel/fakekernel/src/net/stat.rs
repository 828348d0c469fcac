// SPDX-License-Identifier: CDDL-1.0
//! A kstat whose values are read from counters when somebody looks.

use illumos_sys_hdrs::*;
use std::ffi::{CStr, c_int};

/// Gives the values, in the order of the names.
type Read = Box<dyn Fn() -> Vec<u64> + Send + Sync>;

/// A kstat of class `net` in the chain; dropping removes it.
pub struct Stat {
    ks: *mut kstat_t,
    /// What `ks_private` points to.
    _read: Box<Read>,
}

// SAFETY: the kstat chain serialises readers and deletion; `read` may be called from any thread.
unsafe impl Send for Stat {}
// SAFETY: as above; there is nothing to do with a shared one.
unsafe impl Sync for Stat {}

impl Stat {
    /// Makes `module:instance:name`. `None` when there is one already, or no memory.
    pub fn new(
        module: &CStr,
        instance: u32,
        name: &CStr,
        names: &[&CStr],
        read: impl Fn() -> Vec<u64> + Send + Sync + 'static,
    ) -> Option<Stat> {
        let read: Box<Read> = Box::new(Box::new(read));
        // SAFETY: kstat_create(9F): the names outlive the call; the data is ours until installed and
        // has a value for each name; `read` lives until the kstat is deleted.
        unsafe {
            let ks = kstat_create(
                module.as_ptr(),
                instance as c_int,
                name.as_ptr(),
                c"net".as_ptr(),
                KSTAT_TYPE_NAMED,
                names.len() as u32,
                0,
            );
            if ks.is_null() {
                return None;
            }
            let at = (*ks).ks_data.cast::<kstat_named_t>();
            for (i, name) in names.iter().enumerate() {
                kstat_named_init(at.add(i), name.as_ptr(), KSTAT_DATA_UINT64);
            }
            (*ks).ks_update = Some(update);
            (*ks).ks_private = std::ptr::from_ref::<Read>(&read).cast_mut().cast();
            kstat_install(ks);
            Some(Stat { ks, _read: read })
        }
    }
}

impl Drop for Stat {
    fn drop(&mut self) {
        // SAFETY: made by new, deleted once; this waits for a reader.
        unsafe { kstat_delete(self.ks) }
    }
}

unsafe extern "C" fn update(ks: *mut kstat_t, how: c_int) -> c_int {
    if how != KSTAT_READ {
        return super::errno::EACCES;
    }
    // SAFETY: as set up in new; the reader holds the kstat.
    unsafe {
        let read = &*(*ks).ks_private.cast::<Read>();
        let at = (*ks).ks_data.cast::<kstat_named_t>();
        for (i, value) in read().into_iter().take((*ks).ks_ndata as usize).enumerate() {
            (*at.add(i)).value.ui64 = value;
        }
    }
    0
}
