// SPDX-License-Identifier: CDDL-1.0
//! Call frames of a module, for stack traces that pass through it.
//!
//! Modules have no `.eh_frame`, as the kernel walks frame pointers. The kernel's stack walk in this
//! process is the unwinder's, so it is told the same thing in its own words: everywhere in this
//! text the caller's frame is where %rbp points. At a call that is true of every function that sets
//! up a frame, and all of illumos does. A module in which a function calls without a frame is left
//! undescribed: stacks end there.
use std::ops::Range;

unsafe extern "C" {
    fn __register_frame(begin: *const u8);
    fn __deregister_frame(begin: *const u8);
}

/// `mov %rsp,%rbp`: sets up a frame, with `push %rbp` somewhere before.
pub(crate) const FRAME: [u8; 3] = [0x48, 0x89, 0xe5];

/// Registered with the unwinder until dropped.
pub(crate) struct Frames(Box<[u8]>);

impl Frames {
    /// Describes the frames of `text`.
    pub(crate) fn register(text: &Range<usize>) -> Frames {
        let mut out = Vec::new();
        record(&mut out, |r| {
            r.extend(0_u32.to_le_bytes()); // a common entry
            r.extend([1, 0]); // version, no augmentation
            r.extend([1, 0x78, 16]); // code in units of 1, data of -8, return address is 16
            r.extend([0x0c, 6, 16]); // the frame is at %rbp (6) + 16
            r.extend([0x86, 2]); // %rbp of the caller is there - 16
            r.extend([0x90, 1]); // the return address is there - 8
        });
        let back = out.len() as u32 + 4;
        record(&mut out, |r| {
            r.extend(back.to_le_bytes()); // from here to the common entry
            r.extend((text.start as u64).to_le_bytes());
            r.extend((text.len() as u64).to_le_bytes());
        });
        out.extend(0_u32.to_le_bytes());
        let frames = Frames(out.into());
        // SAFETY: well formed, and in place until deregistered.
        unsafe { __register_frame(frames.0.as_ptr()) };
        frames
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        // SAFETY: registered.
        unsafe { __deregister_frame(self.0.as_ptr()) };
    }
}

/// Appends a record: its length, its content, no-ops up to a multiple of 8.
fn record(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend(0_u32.to_le_bytes());
    content(out);
    out.resize(begin + (out.len() - begin).next_multiple_of(8), 0);
    let len = (out.len() - begin - 4) as u32;
    out[begin..begin + 4].copy_from_slice(&len.to_le_bytes());
}
