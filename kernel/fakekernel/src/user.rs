// SPDX-License-Identifier: CDDL-1.0
//! The memory of whoever called ioctl.
use crate::check::{Kind, violation};
use crate::ctx;
use illumos_sys_hdrs::{DDI_MODEL_ILP32, DDI_MODEL_MASK, DDI_MODEL_NONE, FKIOCTL, model_t};
use std::cell::Cell;
use std::ffi::{c_int, c_void};

/// The caller has no such memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad address")]
pub struct Fault;

/// Memory an ioctl may copy from and to.
pub trait UserMem: Sync {
    /// Reads `buf.len()` bytes at `addr`.
    fn copyin(&self, addr: u64, buf: &mut [u8]) -> Result<(), Fault>;
    /// Writes `buf` at `addr`.
    fn copyout(&self, addr: u64, buf: &[u8]) -> Result<(), Fault>;
}

/// The memory of this process. A bad address is an error, never a crash.
#[derive(Clone, Copy, Debug, Default)]
pub struct SelfMem;

impl SelfMem {
    fn transfer(addr: u64, buf: *mut u8, len: usize, write: bool) -> Result<(), Fault> {
        if len == 0 {
            return Ok(());
        }
        let local = libc::iovec { iov_base: buf.cast(), iov_len: len };
        let remote = libc::iovec { iov_base: addr as *mut c_void, iov_len: len };
        // SAFETY: the local buffer is the caller's; the kernel checks the other address.
        let n = unsafe {
            if write {
                libc::process_vm_writev(libc::getpid(), &local, 1, &remote, 1, 0)
            } else {
                libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0)
            }
        };
        if usize::try_from(n) == Ok(len) { Ok(()) } else { Err(Fault) }
    }
}

impl UserMem for SelfMem {
    fn copyin(&self, addr: u64, buf: &mut [u8]) -> Result<(), Fault> {
        SelfMem::transfer(addr, buf.as_mut_ptr(), buf.len(), false)
    }
    fn copyout(&self, addr: u64, buf: &[u8]) -> Result<(), Fault> {
        SelfMem::transfer(addr, buf.as_ptr().cast_mut(), buf.len(), true)
    }
}

thread_local! {
    static CALLER: Cell<Option<*const (dyn UserMem + 'static)>> = const { Cell::new(None) };
}

/// Runs `f` with `mem` as the memory ddi_copyin and ddi_copyout reach.
pub fn with<R>(mem: &dyn UserMem, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<*const (dyn UserMem + 'static)>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CALLER.set(self.0);
        }
    }
    // SAFETY: only the lifetime is left out, and the pointer is gone before `mem` is.
    let mem: *const (dyn UserMem + 'static) =
        unsafe { std::mem::transmute(std::ptr::from_ref(mem)) };
    let _restore = Restore(CALLER.replace(Some(mem)));
    f()
}

fn caller(what: &str) -> Option<&'static dyn UserMem> {
    ctx::may_sleep(what);
    let c = CALLER.get();
    if c.is_none() {
        violation(Kind::Misuse, format!("{what} outside of an ioctl"));
    }
    // SAFETY: set by `with`, whose argument outlives what runs inside it.
    c.map(|m| unsafe { &*m })
}

/// 0, or -1 for a bad address.
#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_copyin(
    from: *const c_void,
    to: *mut c_void,
    len: usize,
    flags: c_int,
) -> c_int {
    // SAFETY: ddi_copyin(9F): `to` has room for len bytes; with FKIOCTL both are the kernel's.
    unsafe {
        if flags & FKIOCTL != 0 {
            to.cast::<u8>().copy_from(from.cast(), len);
            return 0;
        }
        if len == 0 {
            return 0;
        }
        let Some(mem) = caller("ddi_copyin") else { return -1 };
        // The caller's buffer need not be initialised, and on an error keeps what it had.
        let mut buf = vec![0; len];
        if mem.copyin(from as u64, &mut buf).is_err() {
            return -1;
        }
        to.cast::<u8>().copy_from_nonoverlapping(buf.as_ptr(), len);
        0
    }
}

/// 0, or -1 for a bad address.
#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_copyout(
    from: *const c_void,
    to: *mut c_void,
    len: usize,
    flags: c_int,
) -> c_int {
    // SAFETY: ddi_copyout(9F): `from` has len bytes; with FKIOCTL both are the kernel's.
    unsafe {
        if flags & FKIOCTL != 0 {
            to.cast::<u8>().copy_from(from.cast(), len);
            return 0;
        }
        if len == 0 {
            return 0;
        }
        let Some(mem) = caller("ddi_copyout") else { return -1 };
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), len);
        if mem.copyout(to as u64, bytes).is_ok() { 0 } else { -1 }
    }
}

/// The model bits of an ioctl's mode, if they differ from the kernel's own (LP64).
#[unsafe(no_mangle)]
extern "C" fn ddi_model_convert_from(m: model_t) -> model_t {
    if m & DDI_MODEL_MASK == DDI_MODEL_ILP32 { DDI_MODEL_ILP32 } else { DDI_MODEL_NONE }
}

crate::symbols! { SYMBOLS "genunix": ddi_copyin, ddi_copyout, ddi_model_convert_from, }
