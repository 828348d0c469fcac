// SPDX-License-Identifier: CDDL-1.0
//! `libvarpd_panic`, and what a debugger finds after it (spec/varpd.md 2.1).
use super::LOG;
use std::ffi::{CStr, c_char, c_int, c_void};

/// Bytes of the text, its NUL included.
const SIZE: usize = 1024;

/// The text of [`libvarpd_panic`], NUL-terminated.
#[unsafe(no_mangle)]
pub static mut varpd_panic_buf: [u8; SIZE] = [0; SIZE];

/// `errno` when it was called.
#[unsafe(no_mangle)]
pub static mut varpd_panic_errno: c_int = 0;

/// The thread that called it, as pthread_self() has it.
#[unsafe(no_mangle)]
pub static mut varpd_panic_thread: libc::pthread_t = 0;

unsafe extern "C" {
    /// Formats with the arguments of a `va_list`, which is passed as the address of its one element.
    fn vsnprintf(buf: *mut c_char, size: usize, format: *const c_char, args: *mut c_void) -> c_int;
}

/// Logs a message, keeps it for the debugger and ends the process with SIGABRT.
///
/// A variadic function cannot be written in stable Rust. This is what a compiler makes of one: it
/// saves the registers that may have arguments where `va_arg` looks for them, makes a `va_list`
/// (System V ABI for amd64, 3.5.7) and calls `give_up`.
///
/// # Safety
/// `format` is NULL or a format of printf(3C), with the arguments it wants.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_panic(format: *const c_char) -> ! {
    core::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        // The save area, 176 bytes, and behind it the va_list, 24; a multiple of 16.
        "sub rsp, 208",
        "mov [rsp + 8], rsi",
        "mov [rsp + 16], rdx",
        "mov [rsp + 24], rcx",
        "mov [rsp + 32], r8",
        "mov [rsp + 40], r9",
        "movaps [rsp + 48], xmm0",
        "movaps [rsp + 64], xmm1",
        "movaps [rsp + 80], xmm2",
        "movaps [rsp + 96], xmm3",
        "movaps [rsp + 112], xmm4",
        "movaps [rsp + 128], xmm5",
        "movaps [rsp + 144], xmm6",
        "movaps [rsp + 160], xmm7",
        // gp_offset: behind the format; fp_offset: behind six registers.
        "mov dword ptr [rsp + 176], 8",
        "mov dword ptr [rsp + 180], 48",
        // overflow_arg_area: behind the return address; reg_save_area.
        "lea rax, [rbp + 16]",
        "mov [rsp + 184], rax",
        "mov [rsp + 192], rsp",
        "lea rsi, [rsp + 176]",
        "call {give_up}",
        "ud2",
        give_up = sym give_up,
    )
}

/// # Safety
/// As [`libvarpd_panic`]; `args` is the address of a `va_list` of its arguments.
unsafe extern "C" fn give_up(format: *const c_char, args: *mut c_void) -> ! {
    let errno = std::io::Error::last_os_error();
    let buf = &raw mut varpd_panic_buf;
    // SAFETY: what another thread that gives up at the same time writes to these is plain data too.
    unsafe {
        varpd_panic_errno = errno.raw_os_error().unwrap_or(0);
        varpd_panic_thread = libc::pthread_self();
        if !format.is_null() {
            vsnprintf(buf.cast(), SIZE, format, args);
        }
    }
    // SAFETY: vsnprintf ends it with a NUL, and it was all zero before.
    let text = unsafe { CStr::from_ptr(buf.cast()) }.to_string_lossy();
    match LOG.get() {
        Some(log) => slog::crit!(log, "a plugin gave up: {text}"; "errno" => errno.to_string()),
        None => eprintln!("varpd: a plugin gave up: {text}: {errno}"),
    }
    std::process::abort()
}
