// SPDX-License-Identifier: CDDL-1.0
//! The kernel's messages: cmn_err, panic and failed assertions.
use crate::check::{Kind, debug, violation};
use illumos_sys_hdrs::{CE_NOTE, CE_PANIC, CE_WARN};
use parking_lot::Mutex;
use std::ffi::{CStr, c_char, c_int};
use std::fmt::Write as _;
use std::sync::Arc;

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// CE_CONT: a line of its own here.
    Continue,
    /// CE_NOTE.
    Note,
    /// CE_WARN.
    Warning,
    /// CE_PANIC and panic: the process ends after this.
    Panic,
}

/// Gets every message, without a newline at its end.
pub type Sink = Arc<dyn Fn(Level, &str) + Send + Sync>;

static SINK: Mutex<Option<Sink>> = Mutex::new(None);

/// Where messages go; None: to stderr.
pub fn set_sink(sink: Option<Sink>) {
    *SINK.lock() = sink;
}

fn emit(level: Level, text: &str) {
    let text = text.trim_end_matches('\n').trim_start_matches(['!', '^', '?']);
    let sink = SINK.lock().clone();
    match sink {
        Some(s) => s(level, text),
        None => eprintln!("{level:?}: {text}"),
    }
}

/// A warning of the kernel itself, or of its loader.
pub fn warning(text: &str) {
    emit(Level::Warning, text);
}

/// Ends the process as a panic ends the kernel.
pub(crate) fn die(text: &str) -> ! {
    emit(Level::Panic, text);
    std::process::abort()
}

/// Formats as the kernel's printf does, with integer and pointer arguments only.
///
/// # Safety
/// `format` is a C string and each `%s` has a C string or NULL.
unsafe fn format(format: *const c_char, args: [usize; 8]) -> String {
    // SAFETY: see above.
    let f = unsafe { CStr::from_ptr(format) }.to_string_lossy();
    let mut out = String::new();
    let mut args = args.into_iter();
    let mut chars = f.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut pad = ' ';
        let mut left = false;
        while let Some(&c) = chars.peek() {
            match c {
                '0' => pad = '0',
                '-' => left = true,
                '#' | '+' | ' ' => {}
                _ => break,
            }
            chars.next();
        }
        let mut number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            if chars.next_if_eq(&'*').is_some() {
                return args.next();
            }
            let mut n = None;
            while let Some(d) = chars.peek().and_then(|c| c.to_digit(10)) {
                n = Some(n.unwrap_or(0) * 10 + d as usize);
                chars.next();
            }
            n
        };
        let width = number(&mut chars).unwrap_or(0).min(1024);
        let precision = if chars.next_if_eq(&'.').is_some() { number(&mut chars) } else { None };
        let mut long = 0;
        while let Some(c) = chars.next_if(|c| "lhzjqt".contains(*c)) {
            long += i32::from(c != 'h');
        }
        let Some(conv) = chars.next() else { break };
        if conv == '%' {
            out.push('%');
            continue;
        }
        let Some(a) = args.next() else { break };
        let unsigned = if long > 0 { a as u64 } else { u64::from(a as u32) };
        let signed = if long > 0 { a as i64 } else { i64::from(a as i32) };
        let text = match conv {
            'd' | 'i' => signed.to_string(),
            'u' => unsigned.to_string(),
            'x' => format!("{unsigned:x}"),
            'X' => format!("{unsigned:X}"),
            'o' => format!("{unsigned:o}"),
            'p' => format!("{a:x}"),
            'c' => char::from(a as u8).to_string(),
            's' if a == 0 => "<null>".to_string(),
            's' => {
                // SAFETY: see above.
                let s = unsafe { CStr::from_ptr(a as *const c_char) }.to_string_lossy();
                s.chars().take(precision.unwrap_or(usize::MAX)).collect()
            }
            other => format!("%{other}"),
        };
        let fill = width.saturating_sub(text.chars().count());
        let padding = std::iter::repeat_n(pad, fill).collect::<String>();
        let _ = if left { write!(out, "{text}{padding}") } else { write!(out, "{padding}{text}") };
    }
    out
}

// A C variadic cannot be defined in stable Rust. Eight words take what the calling convention
// passes for integers and pointers; those the caller did not pass are read from its frame and never
// looked at.
#[unsafe(no_mangle)]
unsafe extern "C" fn cmn_err(
    level: c_int,
    fmt: *const c_char,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
    g: usize,
    h: usize,
) {
    // SAFETY: cmn_err(9F): a format and what it asks for.
    let text = unsafe { format(fmt, [a, b, c, d, e, f, g, h]) };
    match level {
        CE_PANIC => die(&text),
        CE_WARN => emit(Level::Warning, &text),
        CE_NOTE => emit(Level::Note, &text),
        _ => emit(Level::Continue, &text),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn panic(
    fmt: *const c_char,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
    g: usize,
    h: usize,
) -> ! {
    // SAFETY: panic(9F): a format and what it asks for.
    die(&unsafe { format(fmt, [a, b, c, d, e, f, g, h]) })
}

/// A failed ASSERT or VERIFY. The real one does not return; this one does when checks are on, so
/// that the test goes on and reports it.
#[unsafe(no_mangle)]
unsafe extern "C" fn assfail(expr: *const c_char, file: *const c_char, line: c_int) -> c_int {
    // SAFETY: the macros pass strings.
    let (expr, file) = unsafe { (CStr::from_ptr(expr), CStr::from_ptr(file)) };
    failed(&format!(
        "assertion failed: {}, file: {}, line: {line}",
        expr.to_string_lossy(),
        file.to_string_lossy()
    ));
    0
}

/// As assfail, of a comparison.
#[unsafe(no_mangle)]
unsafe extern "C" fn assfail3(
    expr: *const c_char,
    left: u64,
    op: *const c_char,
    right: u64,
    file: *const c_char,
    line: c_int,
) {
    // SAFETY: the macros pass strings.
    let [expr, op, file] = unsafe {
        [CStr::from_ptr(expr), CStr::from_ptr(op), CStr::from_ptr(file)]
            .map(|s| s.to_string_lossy())
    };
    failed(&format!(
        "assertion failed: {expr} ({left:#x} {op} {right:#x}), file: {file}, line: {line}"
    ));
}

fn failed(text: &str) {
    if !debug() {
        die(text);
    }
    emit(Level::Warning, text);
    violation(Kind::Assertion, text);
}

crate::symbols! { SYMBOLS "genunix": cmn_err, panic, assfail, assfail3, }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printf() {
        let f = |fmt: &CStr, a: [usize; 8]| {
            // SAFETY: the strings are C strings.
            unsafe { format(fmt.as_ptr(), a) }
        };
        let s = c"abc".as_ptr() as usize;
        let a = [s, 7, usize::MAX, 255, 0, 0, 0, 0];
        assert_eq!(f(c"%s %d %d 0x%04x%%", a), "abc 7 -1 0x00ff%");
        assert_eq!(f(c"%-5s|%5s|%.2s", [s, s, s, 0, 0, 0, 0, 0]), "abc  |  abc|ab");
        assert_eq!(
            f(c"%ld %lu %u", [usize::MAX, usize::MAX, usize::MAX, 0, 0, 0, 0, 0]),
            format!("-1 {} {}", u64::MAX, u32::MAX)
        );
        assert_eq!(f(c"%s %c %p", [0, 65, 0xdead, 0, 0, 0, 0, 0]), "<null> A dead");
    }
}
