// SPDX-License-Identifier: CDDL-1.0
//! What every kernel module begins and ends with.
//!
//! ```text
//!    krtld ── _init, _info, _fini ──► entry! ──► overlay::module(), vxlan::module()
//!    a Rust panic ──► handler ──► cmn_err, panic(9F)
//! ```
//!
//! These names must not be in the drivers' own crates: in a program on Linux `_init` and `_fini`
//! are crti's, and the panic handler is std's. There is no allocator: the drivers get all memory from
//! kmem by themselves.
//!
//! # Invariant
//!
//! Nothing reaches the panic handler: then the linker leaves it out of the module, which
//! `cargo xtask kmod` checks. It is there because Rust wants one.
#![no_std]

use core::ffi::c_int;
use core::panic::PanicInfo;
use ddi::sys;

pub use ddi::module::Module;
pub use ddi::sys::modinfo;

/// Defines the entry points of a module, from the function that returns its [`Module`].
#[macro_export]
macro_rules! entry {
    ($module:path) => {
        /// Loads the module: 0 or an errno.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn _init() -> core::ffi::c_int {
            // SAFETY: krtld calls this once after loading.
            unsafe { ($module().init)() }
        }

        /// Unloads the module: 0, or an errno and it stays.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn _fini() -> core::ffi::c_int {
            // SAFETY: the kernel calls this on a loaded module only, one call at a time.
            unsafe { ($module().fini)() }
        }

        /// Describes the module: 0 is failure.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn _info(info: *mut $crate::modinfo) -> core::ffi::c_int {
            // SAFETY: `info` is the kernel's.
            unsafe { ($module().info)(info) }
        }
    };
}

#[panic_handler]
fn on_panic(info: &PanicInfo) -> ! {
    let text = info.message().as_str().unwrap_or("panic");
    let (file, line) = info.location().map_or(("", 0), |at| (at.file(), at.line()));
    let (len, file_len) = (text.len() as c_int, file.len() as c_int);
    // SAFETY: the formats take what follows them, and strings with their lengths.
    unsafe {
        sys::cmn_err(sys::CE_WARN, c"%.*s:%d".as_ptr(), file_len, file.as_ptr(), line);
        sys::panic(c"%.*s".as_ptr(), len, text.as_ptr())
    }
}
