// SPDX-License-Identifier: CDDL-1.0
//! Small functions of unix and genunix on bytes: strings, UTF-8, CRC-32.
use illumos_sys_hdrs::U8_VALIDATE_ENTIRE;
use std::ffi::{CStr, c_char, c_int};

const EBADF: c_int = 9;
const EINVAL: c_int = 22;
const EILSEQ: c_int = 88;

/// The table of the reflected CRC-32 polynomial.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
static crc32_table: [u32; 256] = {
    let mut t = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 != 0 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
            bit += 1;
        }
        t[i] = c;
        i += 1;
    }
    t
};

/// Counts the characters of at most `n` bytes up to a NUL. -1 at the first that is not UTF-8; with U8_VALIDATE_ENTIRE an
/// incomplete one at the end counts as such, else as too short a buffer. The list of forbidden strings is compared
/// with every character, as u8_validate(9F) says.
#[unsafe(no_mangle)]
unsafe extern "C" fn u8_validate(
    s: *mut c_char,
    n: usize,
    list: *mut *mut c_char,
    flag: c_int,
    errnum: *mut c_int,
) -> c_int {
    if s.is_null() {
        return 0;
    }
    // SAFETY: u8_validate(9F): n bytes, a NULL-ended list or NULL, a place for the error.
    unsafe {
        let fail = |e: c_int| {
            *errnum = e;
            -1
        };
        let bytes = std::slice::from_raw_parts(s.cast::<u8>(), n);
        let bytes = bytes.split(|b| *b == 0).next().unwrap_or_default();
        let text = match std::str::from_utf8(bytes) {
            Ok(t) => t,
            Err(e) if e.error_len().is_none() => return fail(EINVAL),
            Err(_) => return fail(EILSEQ),
        };
        let mut at = list;
        while !at.is_null() && !(*at).is_null() {
            let bad = CStr::from_ptr(*at).to_bytes();
            if flag & U8_VALIDATE_ENTIRE != 0
                && text.chars().any(|c| c.encode_utf8(&mut [0; 4]).as_bytes() == bad)
            {
                return fail(EBADF);
            }
            at = at.add(1);
        }
        c_int::try_from(text.chars().count()).unwrap_or(c_int::MAX)
    }
}

/// glibc before 2.38 has no strlcpy, and later ones must not meet a second: a loaded module finds it by table only.
unsafe extern "C" fn strlcpy(dst: *mut c_char, src: *const c_char, size: usize) -> usize {
    // SAFETY: strlcpy(9F).
    unsafe {
        let len = libc::strlen(src);
        if size > 0 {
            let n = len.min(size - 1);
            dst.copy_from_nonoverlapping(src, n);
            *dst.add(n) = 0;
        }
        len
    }
}

crate::symbols! { SYMBOLS "genunix": u8_validate, strlcpy, ; crc32_table, }
