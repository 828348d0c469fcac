// SPDX-License-Identifier: CDDL-1.0
//! As much of STREAMS queues as answering an M_IOCTL needs.
use crate::mblk::freemsg;
use illumos_sys_hdrs::{M_IOCACK, M_IOCNAK, mblk_t, queue_t};
use parking_lot::Mutex;
use std::ffi::c_int;
use std::ptr::null_mut;

/// struct iocblk of sys/stream.h.
#[repr(C)]
pub struct Iocblk {
    /// Command.
    pub ioc_cmd: c_int,
    /// Credential of the caller.
    pub ioc_cr: usize,
    /// Number of the request.
    pub ioc_id: u32,
    /// Data model.
    pub ioc_flag: u32,
    /// Bytes of data.
    pub ioc_count: usize,
    /// What ioctl returns.
    pub ioc_rval: c_int,
    /// errno, for M_IOCNAK.
    pub ioc_error: c_int,
}

/// What a queue_t is: where the answer to an M_IOCTL goes.
#[derive(Default)]
pub struct Queue(Mutex<Vec<usize>>);

impl Queue {
    /// What C sees; valid as long as `self`.
    pub fn as_ptr(&self) -> *mut queue_t {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    /// The oldest answer, which is the caller's now.
    pub fn take(&self) -> Option<*mut mblk_t> {
        let mut q = self.0.lock();
        (!q.is_empty()).then(|| q.remove(0) as *mut mblk_t)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        while let Some(mp) = self.take() {
            // SAFETY: an answer nobody wants.
            unsafe { freemsg(mp) };
        }
    }
}

unsafe fn reply(q: *mut queue_t, mp: *mut mblk_t, kind: u8, set: impl FnOnce(&mut Iocblk)) {
    // SAFETY: miocack(9F), miocnak(9F): an M_IOCTL message, a queue of ours.
    unsafe {
        (*(*mp).b_datap).db_type = kind;
        set(&mut *(*mp).b_rptr.cast::<Iocblk>());
        if kind == M_IOCNAK {
            freemsg(std::mem::replace(&mut (*mp).b_cont, null_mut()));
        }
        match q.cast::<Queue>().as_ref() {
            Some(q) => q.0.lock().push(mp as usize),
            None => freemsg(mp),
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn miocnak(q: *mut queue_t, mp: *mut mblk_t, count: c_int, errno: c_int) {
    const EINVAL: c_int = 22;
    // SAFETY: miocnak(9F).
    unsafe {
        reply(q, mp, M_IOCNAK, |i| {
            i.ioc_count = count.max(0) as usize;
            i.ioc_error = if errno == 0 { EINVAL } else { errno };
        });
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn miocack(q: *mut queue_t, mp: *mut mblk_t, count: c_int, rval: c_int) {
    // SAFETY: miocack(9F).
    unsafe {
        reply(q, mp, M_IOCACK, |i| {
            i.ioc_count = count.max(0) as usize;
            i.ioc_rval = rval;
            i.ioc_error = 0;
        });
    }
}

crate::symbols! { SYMBOLS "genunix": miocnak, miocack, }
