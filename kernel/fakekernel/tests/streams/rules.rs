// SPDX-License-Identifier: CDDL-1.0
//! What a driver does wrong is seen.
use crate::driver::*;
use fakekernel::host::*;
use illumos_sys_hdrs::*;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::SeqCst;

/// What is found when a stream is opened, used and closed by a driver that does one thing wrong.
fn found(what: i32) -> Vec<(Kind, String)> {
    let k = with_echo();
    WRONG.store(what, SeqCst);
    let d = open_echo(&k, FREAD | FWRITE);
    d.stream().expect("a stream").putmsg(&data(b"x")).expect("room");
    drop(d);
    WRONG.store(0, SeqCst);
    let found = take_violations();
    k.shutdown().expect("nothing else");
    found.into_iter().map(|v| (v.kind, v.text)).collect()
}

fn one(what: i32, kind: Kind, text: &str) {
    let found = found(what);
    let [(k, t)] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(*k, kind);
    assert!(t.contains(text), "{t}");
}

#[test]
fn nothing_wrong() {
    assert_eq!(found(0), []);
}

#[test]
fn sleeping_in_a_put_procedure() {
    one(SLEEP_IN_PUT, Kind::Sleep, "kmem_alloc");
}

#[test]
fn a_lock_over_qreply() {
    one(LOCK_OVER_PUT, Kind::LockHeld, "echo is held over qreply");
}

#[test]
fn an_open_without_qprocson() {
    one(NO_PROCS_ON, Kind::Misuse, "did not call qprocson");
}

#[test]
fn a_close_without_qprocsoff() {
    one(NO_PROCS_OFF, Kind::Misuse, "did not call qprocsoff");
}

#[test]
fn sending_after_qprocsoff() {
    one(SEND_AFTER_OFF, Kind::Misuse, "whose procedures are off");
}

#[test]
fn a_message_on_a_queue_is_sent_too() {
    let k = with_echo();
    let d = open_echo(&k, FREAD | FWRITE);
    for _ in 0..6 {
        d.stream().expect("a stream").putmsg(&data(&[0; 1000])).expect("room");
    }
    // The head is full: two more stay on the driver's queue, and of the second the driver thinks
    // that it can be put as well.
    d.stream().expect("a stream").putmsg(&data(&[0; 10])).expect("room");
    WRONG.store(PUT_TWICE, SeqCst);
    d.stream().expect("a stream").putmsg(&data(&[0; 10])).expect("room");
    WRONG.store(0, SeqCst);
    drop(d);
    let v = take_violations();
    assert!(
        matches!(&v[..], [v] if v.kind == Kind::Misuse && v.text.contains("on a list")),
        "{v:?}"
    );
    k.shutdown().expect("nothing else");
}

#[test]
fn a_queue_after_its_close() {
    let k = with_echo();
    drop(open_echo(&k, FREAD));
    let q = QUEUE.load(SeqCst);
    // SAFETY: wrong, and seen before the queue is touched.
    unsafe {
        assert_eq!(canputnext(q), 0);
        putnext(q, allocb(1, 0));
        assert_eq!(getq(q), null_mut());
    }
    let v = take_violations();
    assert_eq!(v.iter().map(|v| v.kind).collect::<Vec<_>>(), [Kind::UseAfterFree; 3], "{v:?}");
    k.shutdown().expect("nothing else");
}

#[test]
fn a_stream_left_open() {
    let k = with_echo();
    std::mem::forget(open_echo(&k, FREAD));
    let v = k.shutdown().expect_err("the driver cannot go");
    assert!(v.iter().any(|v| v.text.contains("does not unload")), "{v:?}");
    assert!(v.iter().any(|v| v.text.contains("was not closed")), "{v:?}");
}

#[test]
fn taskqs_end_with_their_module() {
    let k = with_echo();
    static RAN: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);
    unsafe extern "C" fn task(n: *mut std::ffi::c_void) {
        std::thread::sleep(std::time::Duration::from_millis(1));
        // In order: each finds its own number.
        let _ = RAN.compare_exchange(n as i32, n as i32 + 1, SeqCst, SeqCst);
    }
    // SAFETY: ddi_taskq_create(9F) and so on.
    unsafe {
        let tq = ddi_taskq_create(null_mut(), c"toy".as_ptr(), 1, TASKQ_DEFAULTPRI as i16, 0);
        for n in 0..20usize {
            let r = ddi_taskq_dispatch(tq, task, n as *mut _, DDI_NOSLEEP as u32);
            assert_eq!(r, DDI_SUCCESS);
        }
        fail_nth_nosleep(1);
        assert_eq!(ddi_taskq_dispatch(tq, task, null_mut(), DDI_NOSLEEP as u32), DDI_FAILURE);
        ddi_taskq_destroy(tq);
        assert_eq!(RAN.load(SeqCst), 20);
        let r = ddi_taskq_dispatch(tq, task, null_mut(), DDI_NOSLEEP as u32);
        assert_eq!(r, DDI_FAILURE);
        ddi_taskq_create(null_mut(), c"left".as_ptr(), 1, TASKQ_DEFAULTPRI as i16, 0);
    }
    let v = k.shutdown().expect_err("two rules broken");
    assert_eq!(v.iter().map(|v| v.kind).collect::<Vec<_>>(), [Kind::UseAfterFree, Kind::Leak]);
}
