// SPDX-License-Identifier: CDDL-1.0
//! Memory below 2 GiB.
use crate::refusal::{Refusal, Rule};
use std::io;
use std::sync::Mutex;

pub(crate) const PAGE: usize = 4096;
/// Where the search ends: a program linked at a low address, and its heap, lie near the bottom.
const LOW: usize = 0x1000_0000;
/// Above this, addresses are no longer positive in 32 bits.
pub(crate) const HIGH: usize = 0x8000_0000;
/// Distance of tries.
const STEP: usize = 1 << 20;

/// Makes one change of protection at a time: two sites may share a page.
static PATCHING: Mutex<()> = Mutex::new(());

/// Pages of a module, first text, then data; unmapped on drop.
pub(crate) struct Map {
    base: usize,
    text: usize,
    len: usize,
}

impl Map {
    /// Zeros, readable and writable: `text` bytes and, from the next page on, `data` bytes.
    pub(crate) fn new(text: usize, data: usize) -> Result<Map, Refusal> {
        let text = text.next_multiple_of(PAGE);
        let len = text + data.next_multiple_of(PAGE);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        if len >= HIGH - LOW - PAGE {
            return Err(Rule::Memory(format!("{len} bytes")).at("module"));
        }
        // A page at the end stays free, so that no overrun hits the next module.
        let mut base = (HIGH - len - PAGE) & !(STEP - 1);
        while base >= LOW {
            let hint = std::ptr::without_provenance_mut(base);
            // SAFETY: new memory, where there is none.
            let p = unsafe { libc::mmap(hint, len, protection, flags, -1, 0) };
            if p == hint {
                return Ok(Map { base, text, len });
            }
            if p != libc::MAP_FAILED {
                // A kernel (or valgrind) that does not know the flag took it for a hint.
                // SAFETY: just mapped.
                unsafe { libc::munmap(p, len) };
            }
            base -= STEP;
        }
        let e = format!("{len} bytes, {}", io::Error::last_os_error());
        Err(Rule::Memory(e).at("module"))
    }

    pub(crate) fn base(&self) -> usize {
        self.base
    }

    pub(crate) fn data(&self) -> usize {
        self.base + self.text
    }

    /// What can be executed once sealed, whole pages.
    pub(crate) fn text(&self) -> std::ops::Range<usize> {
        self.base..self.base + self.text
    }

    /// All of it, until sealed.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: our pages, readable and writable until sealed; borrowed like `self`.
        unsafe {
            std::slice::from_raw_parts_mut(
                std::ptr::with_exposed_provenance_mut(self.base),
                self.len,
            )
        }
    }

    /// Makes text executable and no longer writable.
    pub(crate) fn seal(&self) -> Result<(), Refusal> {
        let mode = libc::PROT_READ | libc::PROT_EXEC;
        protect(self.base, self.text, mode).map_err(|e| Rule::Memory(e.to_string()).at("text"))
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: our pages, which nobody uses any more.
        unsafe { libc::munmap(std::ptr::without_provenance_mut(self.base), self.len) };
    }
}

fn protect(at: usize, len: usize, mode: i32) -> io::Result<()> {
    // SAFETY: pages of a map.
    match unsafe { libc::mprotect(std::ptr::without_provenance_mut(at), len, mode) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Changes a byte of sealed text, which other threads may be executing: they see the old
/// instruction or the new one.
pub(crate) fn patch(at: usize, byte: u8) {
    let _one = PATCHING.lock();
    let page = at & !(PAGE - 1);
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    if protect(page, PAGE, all).is_ok() {
        let p: *mut u8 = std::ptr::with_exposed_provenance_mut(at);
        // SAFETY: writable now. No Rust reference to text exists.
        unsafe { std::sync::atomic::AtomicU8::from_ptr(p) }
            .store(byte, std::sync::atomic::Ordering::SeqCst);
        // If this failed the page stayed writable, which harms nothing.
        let _ = protect(page, PAGE, libc::PROT_READ | libc::PROT_EXEC);
    }
}
