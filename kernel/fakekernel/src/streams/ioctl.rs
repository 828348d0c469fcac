// SPDX-License-Identifier: CDDL-1.0
//! Answers to M_IOCTL and to DLPI requests: sys/strsun.h and sys/dlpi.h.
use super::queue::qreply;
use crate::mblk::{alloc, freemsg};
use illumos_sys_hdrs::{
    M_COPYIN, M_ERROR, M_IOCACK, M_IOCNAK, M_PCPROTO, copyreq, iocblk, mblk_t, queue_t,
};
use overlay_abi::errno::Errno;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;

const ENOSR: u8 = 63;
const DL_BIND_ACK: i32 = 4;
const DL_ERROR_ACK: i32 = 5;
const DL_OK_ACK: i32 = 6;

unsafe fn answer(q: *mut queue_t, mp: *mut mblk_t, kind: u8, set: impl FnOnce(&mut iocblk)) {
    // SAFETY: miocack(9F), miocnak(9F): an M_IOCTL or M_IOCDATA message, a queue.
    unsafe {
        (*(*mp).b_datap).db_type = kind;
        set(&mut *(*mp).b_rptr.cast::<iocblk>());
        if kind == M_IOCNAK {
            freemsg(std::mem::replace(&mut (*mp).b_cont, null_mut()));
        }
        qreply(q, mp);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn miocnak(q: *mut queue_t, mp: *mut mblk_t, count: c_int, errno: c_int) {
    // SAFETY: miocnak(9F).
    unsafe {
        answer(q, mp, M_IOCNAK, |i| {
            i.ioc_count = count.max(0) as usize;
            i.ioc_rval = 0;
            i.ioc_error = if errno == 0 { Errno::EINVAL.0 } else { errno };
        });
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn miocack(q: *mut queue_t, mp: *mut mblk_t, count: c_int, rval: c_int) {
    // SAFETY: miocack(9F).
    unsafe {
        answer(q, mp, M_IOCACK, |i| {
            i.ioc_count = count.max(0) as usize;
            i.ioc_rval = rval;
            i.ioc_error = 0;
        });
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mcopyin(
    mp: *mut mblk_t,
    private: *mut c_void,
    size: usize,
    addr: *mut c_void,
) {
    // SAFETY: mcopyin: an M_IOCTL with the argument in its second block, or an M_IOCDATA and an
    // address; the head makes the first block large enough for each of the structures.
    unsafe {
        let rest = std::mem::replace(&mut (*mp).b_cont, null_mut());
        let addr = if addr.is_null() && !rest.is_null() {
            (*rest).b_rptr.cast::<*mut c_char>().read_unaligned()
        } else {
            addr.cast()
        };
        freemsg(rest);
        (*(*mp).b_datap).db_type = M_COPYIN;
        let cq = (*mp).b_rptr.cast::<copyreq>();
        (*cq).cq_private = private.cast();
        (*cq).cq_flag = 0;
        (*cq).cq_size = size;
        (*cq).cq_addr = addr;
        (*mp).b_wptr = (*mp).b_rptr.add(size_of::<copyreq>());
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mexchange(
    q: *mut queue_t,
    mp: *mut mblk_t,
    size: usize,
    kind: u8,
    primitive: i32,
) -> *mut mblk_t {
    // SAFETY: mexchange: a message of the caller's or NULL, a queue or NULL.
    unsafe {
        let fits = !mp.is_null() && {
            let db = &*(*mp).b_datap;
            db.db_ref == 1 && db.db_lim as usize - db.db_base as usize >= size
        };
        let new = if fits { mp } else { illumos_sys_hdrs::allocb(size, 0) };
        if !fits {
            freemsg(mp);
        }
        if new.is_null() {
            if !q.is_null() {
                error(q);
            }
            return null_mut();
        }
        (*(*new).b_datap).db_type = kind;
        (*new).b_rptr = (*(*new).b_datap).db_base;
        (*new).b_wptr = (*new).b_rptr.add(size);
        if primitive >= 0 {
            (*new).b_rptr.cast::<i32>().write(primitive);
        }
        new
    }
}

/// Tells the head that there is no memory for an answer.
unsafe fn error(q: *mut queue_t) {
    let mp = alloc(1);
    if mp.is_null() {
        return;
    }
    // SAFETY: new, with room for a byte; the caller's queue.
    unsafe {
        (*(*mp).b_datap).db_type = M_ERROR;
        *(*mp).b_wptr = ENOSR;
        (*mp).b_wptr = (*mp).b_wptr.add(1);
        qreply(q, mp);
    }
}

/// Sends a primitive of 32-bit words, the first being its number, and bytes after them.
unsafe fn acknowledge(q: *mut queue_t, mp: *mut mblk_t, words: &[i32], bytes: &[u8]) {
    let size = size_of_val(words) + bytes.len();
    // SAFETY: dlokack and its like: a message of the caller's, a queue; mexchange makes the room.
    unsafe {
        let mp = mexchange(q, mp, size, M_PCPROTO, -1);
        if mp.is_null() {
            return;
        }
        let at = (*mp).b_rptr;
        at.copy_from_nonoverlapping(words.as_ptr().cast(), size_of_val(words));
        at.add(size_of_val(words)).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        qreply(q, mp);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dlokack(q: *mut queue_t, mp: *mut mblk_t, primitive: u32) {
    // SAFETY: dlokack: a message, a queue.
    unsafe { acknowledge(q, mp, &[DL_OK_ACK, primitive as i32], &[]) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dlerrorack(
    q: *mut queue_t,
    mp: *mut mblk_t,
    primitive: u32,
    error: u32,
    unix_errno: u32,
) {
    let words = [DL_ERROR_ACK, primitive as i32, error as i32, unix_errno as i32];
    // SAFETY: dlerrorack: a message, a queue.
    unsafe { acknowledge(q, mp, &words, &[]) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dlbindack(
    q: *mut queue_t,
    mp: *mut mblk_t,
    sap: i32,
    addr: *const c_void,
    addr_len: u32,
    max_conind: u32,
    xidtest: u32,
) {
    let words = [DL_BIND_ACK, sap, addr_len as i32, 24, max_conind as i32, xidtest as i32];
    // SAFETY: dlbindack: addr_len bytes of address, or none; a message, a queue.
    unsafe {
        let bytes = match addr_len {
            0 => &[],
            n => std::slice::from_raw_parts(addr.cast::<u8>(), n as usize),
        };
        acknowledge(q, mp, &words, bytes);
    }
}

crate::symbols! { SYMBOLS "genunix":
    miocnak, miocack, mcopyin, mexchange, dlokack, dlerrorack, dlbindack,
}
