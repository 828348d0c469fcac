// SPDX-License-Identifier: CDDL-1.0
//! Memory from libumem, so that its debugging (`UMEM_DEBUG`, mdb's `::findleaks`) sees varpd's own.
//! There is no crate for it, and these four functions are all that an allocator needs.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{c_int, c_void};

#[link(name = "umem")]
unsafe extern "C" {
    fn umem_alloc(size: usize, flags: c_int) -> *mut c_void;
    fn umem_free(buf: *mut c_void, size: usize);
    fn umem_alloc_align(size: usize, align: usize, flags: c_int) -> *mut c_void;
    fn umem_free_align(buf: *mut c_void, size: usize);
}

/// `UMEM_DEFAULT`: NULL if there is no memory.
const DEFAULT: c_int = 0;
/// What every buffer of libumem is aligned to, in bytes (`UMEM_ALIGN`).
const ALIGN: usize = 8;

/// The allocator.
pub struct Umem;

// SAFETY: libumem gives memory of that size and alignment, to one owner, and takes it back with its
// size, by the pair of functions that the alignment chooses on both sides.
unsafe impl GlobalAlloc for Umem {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: any size and a power of two.
        let buf = unsafe {
            match align <= ALIGN {
                true => umem_alloc(size, DEFAULT),
                false => umem_alloc_align(size, align, DEFAULT),
            }
        };
        buf.cast()
    }

    unsafe fn dealloc(&self, buf: *mut u8, layout: Layout) {
        // SAFETY: from `alloc` with the same layout, by contract.
        unsafe {
            match layout.align() <= ALIGN {
                true => umem_free(buf.cast(), layout.size()),
                false => umem_free_align(buf.cast(), layout.size()),
            }
        }
    }
}
