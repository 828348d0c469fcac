// SPDX-License-Identifier: CDDL-1.0
//! Probes as DTrace wants them in code, and a record of each place in the section `set_dtrace_probes`.
//!
//! ```text
//!   7: xor rax, rax     record: flags 1     DTrace, when somebody watches, makes it rax = 1
//!      test, jump
//!   7: nop              record: flags 0     arguments are in the registers of a call
//! ```
//!
//! The record is that of the usdt crate, whose tools thereby find them: in native order length (4 bytes, of all),
//! version (1), number of arguments (1), flags (2), address (8), then provider, probe and the C type of each
//! argument, each with a NUL; padded to 8.

use std::arch::asm;
use std::ffi::CString;

/// What goes into a register, and what must live as long.
pub(super) struct Word(u64, #[expect(dead_code, reason = "held for its memory")] Option<CString>);

impl From<u64> for Word {
    fn from(value: u64) -> Word {
        Word(value, None)
    }
}

impl From<u32> for Word {
    fn from(value: u32) -> Word {
        Word(value.into(), None)
    }
}

impl From<i32> for Word {
    fn from(value: i32) -> Word {
        // As a C compiler passes it; DTrace looks at the lower half.
        Word(i64::from(value).cast_unsigned(), None)
    }
}

impl From<&str> for Word {
    /// A null pointer if there is a NUL in it.
    fn from(text: &str) -> Word {
        let text = CString::new(text).ok();
        Word(text.as_ref().map_or(0, |t| t.as_ptr() as u64), text)
    }
}

/// The record of the place at label 7.
macro_rules! record {
    ($probe:literal, $flags:literal, $count:literal $(, $c_type:literal)*) => {
        concat!(
            ".pushsection set_dtrace_probes, \"aw\", @progbits\n",
            ".balign 8\n",
            "8: .4byte 9f - 8b\n",
            ".byte 1, ", $count, "\n",
            ".2byte ", $flags, "\n",
            ".8byte 7b\n",
            ".asciz \"varpd\"\n",
            ".asciz \"", $probe, "\"\n",
            $(".asciz \"", $c_type, "\"\n",)*
            ".balign 8\n",
            "9: .popsection\n",
            // The record stays as long as the code: to a linker that drops what nobody names, this names it.
            ".reloc 7b, R_X86_64_NONE, 8b"
        )
    };
}

/// A function that is the probe.
macro_rules! probe {
    ($name:ident $probe:literal $count:literal ($($arg:ident: $type:ty, $c_type:literal $register:tt;)*)) => {
        #[allow(non_snake_case, reason = "two underscores are a dash, as in C")]
        #[inline(always)]
        pub(crate) fn $name(arguments: impl FnOnce() -> ($($type,)*)) {
            let watched: u64;
            // SAFETY: sets rax and the flags, and the record is data that only `records` reads.
            unsafe {
                asm!("7: xor rax, rax", record!($probe, "1", "0"), out("rax") watched, options(nomem, nostack));
            }
            if watched != 0 {
                let ($($arg,)*) = arguments();
                $(let $arg = Word::from($arg);)*
                // SAFETY: does nothing; who watches reads registers, and strings that live until after it.
                unsafe {
                    asm!(
                        "7: nop",
                        record!($probe, "0", $count $(, $c_type)*),
                        $(in($register) $arg.0,)*
                        options(readonly, nostack, preserves_flags)
                    );
                }
            }
        }
    };
}

probe!(lookup__start "lookup-start" "3" (
    instance: u64, "uint64_t" "rdi";
    request: u64, "uint64_t" "rsi";
    link: u64, "uint64_t" "rdx";
));
probe!(lookup__done "lookup-done" "4" (
    instance: u64, "uint64_t" "rdi";
    request: u64, "uint64_t" "rsi";
    outcome: &'static str, "char*" "rdx";
    ns: u64, "uint64_t" "rcx";
));
probe!(proxy__done "proxy-done" "4" (
    instance: u64, "uint64_t" "rdi";
    request: u64, "uint64_t" "rsi";
    protocol: &'static str, "char*" "rdx";
    outcome: &'static str, "char*" "rcx";
));
probe!(persist "persist" "2" (
    instance: u64, "uint64_t" "rdi";
    errno: i32, "int32_t" "rsi";
));
probe!(door__call "door-call" "3" (
    command: u32, "uint32_t" "rdi";
    pid: i32, "int32_t" "rsi";
    errno: i32, "int32_t" "rdx";
));
