// SPDX-License-Identifier: CDDL-1.0
//! Buffers that end at a page nobody may touch, and vanish when freed: a stray access ends the
//! process where it happens.
//!
//! ```text
//!   | page(s) of the buffer:  unused | buffer, up to 15 bytes | guard page |
//! ```
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

const PAGE: usize = 4096;
/// Freed mappings kept unreadable before the address may be used again.
const KEPT: usize = 4096;

static ON: AtomicBool = AtomicBool::new(false);
static FREED: Mutex<VecDeque<(usize, usize)>> = Mutex::new(VecDeque::new());

pub(crate) fn on() -> bool {
    ON.load(Ordering::Relaxed)
}

pub(crate) fn set(on: bool) {
    ON.store(on, Ordering::SeqCst);
}

/// Where the mapping of a buffer begins, and its length with the guard page.
fn extent(p: *mut u8, size: usize) -> (*mut u8, usize) {
    let before = p as usize % PAGE;
    (p.wrapping_sub(before), (before + size).next_multiple_of(PAGE) + PAGE)
}

/// A zeroed buffer, or NULL. `align` is a power of two of at most a page.
pub(crate) fn alloc(size: usize, align: usize) -> *mut u8 {
    let null = std::ptr::null_mut();
    let Some(rounded) = size.checked_next_multiple_of(align) else { return null };
    let Some(pages) = rounded.checked_next_multiple_of(PAGE) else { return null };
    let Some(total) = pages.checked_add(PAGE) else { return null };
    // SAFETY: a new mapping of ours.
    unsafe {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let base = libc::mmap(null.cast(), total, access, kind, -1, 0);
        if base == libc::MAP_FAILED {
            return null;
        }
        libc::mprotect(base.byte_add(pages), PAGE, libc::PROT_NONE);
        base.cast::<u8>().add(pages - rounded)
    }
}

/// Makes a buffer of [`alloc`] unreachable.
///
/// # Safety
/// The caller owns it and lets go of it.
pub(crate) unsafe fn free(p: *mut u8, size: usize) {
    let (base, len) = extent(p, size);
    // SAFETY: the mapping alloc made.
    unsafe { libc::mprotect(base.cast(), len, libc::PROT_NONE) };
    let mut freed = FREED.lock();
    freed.push_back((base as usize, len));
    if freed.len() > KEPT {
        freed.pop_front().into_iter().for_each(unmap);
    }
}

fn unmap((base, len): (usize, usize)) {
    // SAFETY: a freed mapping, known to nobody else.
    unsafe { libc::munmap(base as *mut _, len) };
}

/// Gives all freed mappings back.
pub(crate) fn drain() {
    std::mem::take(&mut *FREED.lock()).into_iter().for_each(unmap);
}
