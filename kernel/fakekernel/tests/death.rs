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
    let right = err.contains(text) && !err.contains("after\n");
    assert!(!out.status.success() && right, "{:?} {err}", out.status);
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

fn guarded() -> Kernel {
    boot(Config { guard: true, ..Config::default() })
}

#[test]
fn a_guard_page_stops_a_read_behind_the_end() {
    dies("a_guard_page_stops_a_read_behind_the_end", "before\n", || {
        let _k = guarded();
        // SAFETY: the byte is on the guard page.
        unsafe {
            let p = kmem_alloc(4096 + 32, KM_SLEEP).cast::<u8>();
            p.write_bytes(1, 4096 + 32);
            eprintln!("before");
            std::hint::black_box(p.add(4096 + 32).read_volatile());
            eprintln!("after");
        }
    });
}

#[test]
fn a_freed_buffer_is_out_of_reach() {
    dies("a_freed_buffer_is_out_of_reach", "before\n", || {
        let _k = guarded();
        // SAFETY: the memory is kept unreadable.
        unsafe {
            let p = kmem_zalloc(100, KM_SLEEP);
            kmem_free(p, 100);
            eprintln!("before");
            std::hint::black_box(p.cast::<u8>().read_volatile());
        }
    });
}

#[test]
fn guarded_memory_is_memory() {
    let k = guarded();
    // SAFETY: as the manual says.
    unsafe {
        for size in [1, 15, 16, 17, 4095, 4096, 4097, 100_000] {
            let p = kmem_zalloc(size, KM_SLEEP).cast::<u8>();
            assert_eq!(p as usize % 16, 0);
            assert!(std::slice::from_raw_parts(p, size).iter().all(|b| *b == 0));
            p.write_bytes(9, size);
            kmem_free(p.cast(), size);
        }
        let p = kmem_alloc(8, KM_SLEEP);
        kmem_free(p, 9);
    }
    assert_eq!(take_violations()[0].kind, Kind::BadFree);
    k.shutdown().expect("nothing else");
}
