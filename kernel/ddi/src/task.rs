// SPDX-License-Identifier: CDDL-1.0
//! Work for a thread of one's own; taskq(9F).
use crate::mem::KArc;
use core::ffi::{CStr, c_void};
use core::ptr::{self, NonNull};
use illumos_sys_hdrs as sys;

/// Something to do.
pub trait Task: Send + Sync + 'static {
    /// Does it; may sleep.
    fn run(&self);
}

/// A thread that does one task after the other. Its drop waits until all are done.
pub struct TaskQueue(NonNull<sys::ddi_taskq_t>);

// SAFETY: a taskq locks itself.
unsafe impl Send for TaskQueue {}
// SAFETY: as above.
unsafe impl Sync for TaskQueue {}

impl TaskQueue {
    /// With a thread of this name; `None` without memory.
    pub fn new(name: &CStr) -> Option<TaskQueue> {
        let priority = sys::TASKQ_DEFAULTPRI as i16;
        // SAFETY: no device; the name is copied.
        let tq = unsafe { sys::ddi_taskq_create(ptr::null_mut(), name.as_ptr(), 1, priority, 0) };
        NonNull::new(tq).map(TaskQueue)
    }

    /// Has `what` run soon, and holds it until then; `false` without memory. Does not sleep.
    pub fn dispatch<T: Task>(&self, what: KArc<T>) -> bool {
        let arg = what.into_raw();
        let to = arg.cast_mut().cast::<c_void>();
        // SAFETY: the argument carries a hold, which the task takes over.
        let err = unsafe {
            sys::ddi_taskq_dispatch(self.0.as_ptr(), run::<T>, to, sys::DDI_NOSLEEP as u32)
        };
        if err != sys::DDI_SUCCESS {
            // SAFETY: not dispatched: still ours.
            drop(unsafe { KArc::from_raw(arg) });
        }
        err == sys::DDI_SUCCESS
    }
}

impl Drop for TaskQueue {
    fn drop(&mut self) {
        // SAFETY: made in `new`.
        unsafe { sys::ddi_taskq_destroy(self.0.as_ptr()) };
    }
}

unsafe extern "C" fn run<T: Task>(arg: *mut c_void) {
    // SAFETY: the hold that `dispatch` gave.
    unsafe { KArc::from_raw(arg.cast_const().cast::<T>()) }.run();
}
