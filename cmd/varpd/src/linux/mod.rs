// SPDX-License-Identifier: CDDL-1.0
//! What varpd needs of a system that is not illumos.

mod config;
mod privileges;

pub use config::properties;
pub use privileges::Identity;

use std::path::Path;

/// Closes every descriptor above 2. Kernels before 5.9 cannot, and keep them open.
pub fn close_inherited() {
    // SAFETY: nothing of this process is open yet, so the descriptors are nobody's.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
}

/// The pattern of core files is the system's here. They lie where it says, usually in the working
/// directory, which is the run directory.
pub fn core_pattern(_run_dir: &Path) {}
