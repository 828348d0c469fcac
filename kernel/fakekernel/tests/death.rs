// SPDX-License-Identifier: CDDL-1.0
//! What ends the kernel: each in a process of its own.
use fakekernel::host::*;
use illumos_sys_hdrs::*;
use std::ptr::{null, null_mut};

/// Runs `f` in a child, which must abort with `text` on stderr.
fn dies(test: &str, text: &str, f: impl FnOnce()) {
    if std::env::var_os("DIE").is_some() {
        f();
        return;
    }
    let exe = std::env::current_exe().expect("a path");
    let mut child = std::process::Command::new(exe);
    let out = child.args(["--exact", test, "--nocapture"]).env("DIE", "1").output().expect("runs");
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && err.contains(text), "{:?} {err}", out.status);
}

fn off() -> Kernel {
    boot(Config { checks: Checks::Off, ..Config::default() })
}

#[test]
fn panic_says_why() {
    dies("panic_says_why", "Panic: bad thing 7 in toy", || {
        let _k = off();
        // SAFETY: what the format asks for.
        unsafe { panic(c"bad thing %d in %s".as_ptr(), 7, c"toy".as_ptr()) }
    });
}

#[test]
fn ce_panic() {
    dies("ce_panic", "Panic: no 3", || {
        let _k = off();
        // SAFETY: what the format asks for.
        unsafe { cmn_err(CE_PANIC, c"no %u".as_ptr(), 3) }
    });
}

#[test]
fn recursion_without_checks() {
    dies("recursion_without_checks", "recursive mutex_enter", || {
        let _k = off();
        let mut m = kmutex_t { _opaque: [0] };
        // SAFETY: the misuse that is tested; it would hang for good.
        unsafe {
            mutex_init(&mut m, null(), MUTEX_DEFAULT, null_mut());
            mutex_enter(&mut m);
            mutex_enter(&mut m);
        }
    });
}

#[test]
fn write_recursion_without_checks() {
    dies("write_recursion_without_checks", "recursive rw_enter", || {
        let _k = off();
        let mut l = krwlock_t { _opaque: [0] };
        // SAFETY: the misuse that is tested; it would hang for good.
        unsafe {
            rw_init(&mut l, null(), RW_DEFAULT, null_mut());
            rw_enter(&mut l, RW_WRITER);
            rw_enter(&mut l, RW_READER);
        }
    });
}

#[test]
fn a_failed_assertion_without_checks() {
    dies("a_failed_assertion_without_checks", "assertion failed: x > 0", || {
        let _k = off();
        // SAFETY: strings.
        unsafe { assfail(c"x > 0".as_ptr(), c"f.c".as_ptr(), 1) };
    });
}

#[test]
fn memory_that_must_be_there_is_not() {
    dies("memory_that_must_be_there_is_not", "out of memory", || {
        let _k = off();
        // SAFETY: more than there is.
        unsafe {
            assert!(kmem_alloc(1 << 60, KM_NOSLEEP).is_null());
            kmem_alloc(1 << 60, KM_SLEEP);
        }
    });
}
