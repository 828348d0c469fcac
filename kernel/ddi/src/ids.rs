// SPDX-License-Identifier: CDDL-1.0
//! Numbers that are given out and taken back.
use crate::mem::KArc;
use core::ffi::CStr;
use core::ptr::NonNull;
use illumos_sys_hdrs as sys;

/// Ids from a range, next fit.
pub struct IdSpace(NonNull<sys::id_space_t>);

// SAFETY: id spaces lock themselves.
unsafe impl Send for IdSpace {}
// SAFETY: as above.
unsafe impl Sync for IdSpace {}

impl IdSpace {
    /// Ids from `low` up to and without `high`; waits for memory.
    pub fn new(name: &CStr, low: i32, high: i32) -> Self {
        // SAFETY: id_space_create never returns NULL (it sleeps), and copies the name.
        IdSpace(unsafe { NonNull::new_unchecked(sys::id_space_create(name.as_ptr(), low, high)) })
    }

    /// An unused id, `None` if all are in use.
    pub fn alloc(&self) -> Option<u32> {
        // SAFETY: alive.
        u32::try_from(unsafe { sys::id_alloc_nosleep(self.0.as_ptr()) }).ok()
    }

    /// Takes back an id that `alloc` gave.
    pub fn free(&self, id: u32) {
        // SAFETY: alive; the caller gives back what it got.
        unsafe { sys::id_free(self.0.as_ptr(), id as i32) };
    }
}

impl Drop for IdSpace {
    fn drop(&mut self) {
        // SAFETY: alive; all ids are back.
        unsafe { sys::id_space_destroy(self.0.as_ptr()) };
    }
}

/// An id of a space, given back on drop. Keeps the space.
pub struct Id {
    id: u32,
    space: KArc<IdSpace>,
}

impl Id {
    /// An unused id, `None` if all are in use.
    pub fn new(space: &KArc<IdSpace>) -> Option<Id> {
        Some(Id { id: space.alloc()?, space: space.clone() })
    }

    /// The number.
    pub fn get(&self) -> u32 {
        self.id
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        self.space.free(self.id);
    }
}
