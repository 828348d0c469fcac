// SPDX-License-Identifier: CDDL-1.0
//! Sleeping on a word.
use std::sync::atomic::AtomicU32;

/// Sleeps while `word` is `expected`. May return early.
pub(crate) fn wait(word: &AtomicU32, expected: u32) {
    // SAFETY: the word is valid for the call; FUTEX_WAIT reads it and nothing else.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            std::ptr::null::<libc::timespec>(),
        );
    }
}

/// Wakes up to `n` sleepers. The word may be gone by now: only its address counts.
pub(crate) fn wake(word: *const u32, n: i32) {
    // SAFETY: FUTEX_WAKE does not access the word.
    unsafe {
        libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, n);
    }
}
