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

/// Not in illumos-sys-hdrs: no driver of ours asks for it.
const U8_VALIDATE_CHECK_ADDITIONAL: c_int = 0x0020_0000;

/// Counts the characters, up to a NUL, of at most `n` bytes: with U8_VALIDATE_ENTIRE all, else the
/// first only. -1 with EILSEQ at one that is not UTF-8, EINVAL at one that is cut off, and with
/// U8_VALIDATE_CHECK_ADDITIONAL EBADF at one of the list. See u8_validate(9F).
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
        let mut forbidden = Vec::new();
        let mut at = list;
        while flag & U8_VALIDATE_CHECK_ADDITIONAL != 0 && !at.is_null() && !(*at).is_null() {
            forbidden.push(CStr::from_ptr(*at).to_bytes());
            at = at.add(1);
        }
        let bytes = std::slice::from_raw_parts(s.cast::<u8>(), n);
        let bytes = bytes.split(|b| *b == 0).next().unwrap_or_default();
        match validate(bytes, flag & U8_VALIDATE_ENTIRE != 0, &forbidden) {
            Ok(count) => count,
            Err(e) => {
                *errnum = e;
                -1
            }
        }
    }
}

fn validate(bytes: &[u8], entire: bool, forbidden: &[&[u8]]) -> Result<c_int, c_int> {
    let (text, error) = match std::str::from_utf8(bytes) {
        Ok(t) => (t, None),
        Err(e) => {
            let error = if e.error_len().is_some() { EILSEQ } else { EINVAL };
            (std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default(), Some(error))
        }
    };
    let mut count = 0;
    for c in text.chars().take(if entire { usize::MAX } else { 1 }) {
        if forbidden.contains(&c.encode_utf8(&mut [0; 4]).as_bytes()) {
            return Err(EBADF);
        }
        count += 1;
    }
    match error {
        Some(e) if entire || count == 0 => Err(e),
        _ => Ok(count),
    }
}

/// glibc before 2.38 has no strlcpy, and later ones must not meet a second: a loaded module finds
/// it by table only.
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

/// libc has a strdup of another heap; a loaded module finds these by table only.
unsafe extern "C" fn strdup(s: *const c_char) -> *mut c_char {
    // SAFETY: a C string; kmem_alloc(9F) with KM_SLEEP does not fail.
    unsafe {
        let size = libc::strlen(s) + 1;
        let new = illumos_sys_hdrs::kmem_alloc(size, illumos_sys_hdrs::KM_SLEEP).cast::<c_char>();
        new.copy_from_nonoverlapping(s, size);
        new
    }
}

unsafe extern "C" fn strfree(s: *mut c_char) {
    // SAFETY: of strdup, and as long as it was then.
    unsafe { illumos_sys_hdrs::kmem_free(s.cast(), libc::strlen(s) + 1) };
}

crate::symbols! { SYMBOLS "genunix": u8_validate, strlcpy, strdup, strfree, ; crc32_table, }
