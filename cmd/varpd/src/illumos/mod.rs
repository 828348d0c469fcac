// SPDX-License-Identifier: CDDL-1.0
//! What varpd needs of illumos.

mod privileges;
mod smf;
mod umem;

pub use privileges::Identity;
pub use smf::properties;
pub use umem::Umem;

use std::ffi::{CString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

unsafe extern "C" {
    fn closefrom(lowest: c_int);
    fn core_set_process_path(pattern: *const c_char, size: usize, pid: libc::pid_t) -> c_int;
}

/// Closes every descriptor above 2.
pub fn close_inherited() {
    // SAFETY: nothing of this process is open yet, so the descriptors are nobody's.
    unsafe { closefrom(3) };
}

/// Core files of this process lie in the run directory. Without that, where the system says.
pub fn core_pattern(run_dir: &Path) {
    let mut pattern = run_dir.as_os_str().as_bytes().to_vec();
    pattern.extend_from_slice(b"/core.varpd.%p");
    if let Ok(pattern) = CString::new(pattern) {
        let size = pattern.as_bytes_with_nul().len();
        // SAFETY: a C string of that size, and this process.
        unsafe { core_set_process_path(pattern.as_ptr(), size, libc::getpid()) };
    }
}
