// SPDX-License-Identifier: CDDL-1.0
//! Messages to and fro: order, parts, limits, flushing, and service procedures.
use crate::driver::*;
use fakekernel::host::*;
use fakekernel::streams::{Got, Message, Stream};
use illumos_sys_hdrs::*;
use overlay_abi::errno::Errno;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

const NOW: Option<Duration> = Some(Duration::ZERO);
const LONG: Option<Duration> = Some(Duration::from_secs(30));

fn stream(d: &OpenDev) -> &Stream {
    d.stream().expect("a stream")
}

fn get(s: &Stream) -> Message {
    match s.getmsg(LONG).expect("no error") {
        Got::Message(m) => m,
        other => panic!("{other:?}"),
    }
}

#[test]
fn parts_and_priorities_arrive() {
    let k = with_echo();
    let d = open_echo(&k, FREAD | FWRITE);
    let s = stream(&d);
    assert_eq!(s.getmsg(NOW), Ok(Got::Nothing));
    let sent = [
        data(b"one"),
        Message { control: Some(b"ctl".to_vec()), data: Some(b"two".to_vec()), high: false },
        Message { control: Some(b"".to_vec()), ..Message::default() },
        data(b""),
    ];
    for m in &sent {
        s.putmsg(m).expect("room");
    }
    let high = Message { high: true, control: Some(b"first".to_vec()), data: None };
    s.putmsg(&high).expect("never held up");
    assert_eq!(get(s), high);
    for m in sent {
        assert_eq!(get(s), m);
    }
    assert_eq!(s.getmsg(NOW), Ok(Got::Nothing));
    let no = Message::default();
    assert_eq!(s.putmsg(&no), Ok(()));
    assert_eq!(s.putmsg(&Message { high: true, ..data(b"x") }), Err(Errno::EINVAL));
    assert_eq!(s.putmsg(&data(&[0; 4097])), Err(Errno::ERANGE));
    let long = Message { control: Some(vec![0; 1025]), ..Message::default() };
    assert_eq!(s.putmsg(&long), Err(Errno::ERANGE));
    drop(d);
    k.shutdown().expect("no violations");
}

/// The head holds until it has 5120 bytes, then the driver's queue until it has 2048.
#[test]
fn the_read_side_is_bounded() {
    let k = with_echo();
    let d = open_echo(&k, FREAD | FWRITE);
    let s = stream(&d);
    for n in 0..100u32 {
        s.putmsg(&data(&n.to_le_bytes().repeat(250))).expect("the write side has room");
    }
    // The writes that had to wait go on by themselves.
    let (held, end) = (6 + 3, Instant::now() + LONG.expect("a while"));
    while DROPPED.load(SeqCst) < 100 - held && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(DROPPED.load(SeqCst), 100 - held);
    // Below 1024 bytes in the head the service procedure goes on: nothing is lost or out of order.
    for n in 0..held {
        assert_eq!(get(s).data.expect("data")[..4], n.to_le_bytes());
    }
    assert_eq!(s.getmsg(NOW), Ok(Got::Nothing));
    s.putmsg(&data(b"again")).expect("room");
    assert_eq!(get(s), data(b"again"));
    drop(d);
    k.shutdown().expect("no violations");
}

#[test]
fn a_writer_waits_for_room() {
    let k = with_echo();
    let d = open_echo(&k, FREAD | FWRITE);
    let impatient = open_echo(&k, FREAD | FWRITE | FNDELAY);
    GATE.store(false, SeqCst);
    let put = |s: &Stream| s.putmsg(&data(&[1; 1024]));
    put(stream(&impatient)).expect("room");
    put(stream(&impatient)).expect("room");
    assert_eq!(put(stream(&impatient)), Err(Errno::EAGAIN));
    drop(impatient);
    let d2 = open_echo(&k, FREAD | FWRITE);
    let s = stream(&d2);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..6).try_for_each(|_| put(s)));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!writer.is_finished());
        GATE.store(true, SeqCst);
        // SAFETY: the read queue of the open stream.
        unsafe { qenable(WR(QUEUE.load(SeqCst))) };
        for _ in 0..6 {
            assert_eq!(get(s), data(&[1; 1024]));
        }
        writer.join().expect("no panic").expect("written");
    });
    drop((d, d2));
    k.shutdown().expect("no violations");
}

#[test]
fn a_waiting_writer_is_interrupted() {
    let k = with_echo();
    let d = open_echo(&k, FREAD | FWRITE);
    GATE.store(false, SeqCst);
    let s = stream(&d);
    let i = std::sync::Arc::new(Interrupt::default());
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let _signal = i.scope();
            (0..6).try_for_each(|_| s.putmsg(&data(&[1; 1024])))
        });
        std::thread::sleep(Duration::from_millis(20));
        i.fire();
        assert_eq!(writer.join().expect("no panic"), Err(Errno::EINTR));
    });
    drop(d);
    k.shutdown().expect("the messages were freed");
}

fn flush(d: &OpenDev, what: u8) -> Result<i32, Errno> {
    d.ioctl(I_FLUSH, what.into(), Model::Lp64, &SelfMem)
}

/// Waits until the write side of the last opened stream holds so many bytes: while a service procedure is in
/// the perimeter, what is put comes later.
fn write_side_has(bytes: usize) {
    let end = Instant::now() + LONG.expect("a while");
    // SAFETY: the queue of an open stream; a number that is old is looked at again.
    let has = || unsafe { (&raw const (*WR(QUEUE.load(SeqCst))).q_count).read_volatile() };
    while has() != bytes {
        assert!(Instant::now() < end, "{} bytes, not {bytes}", has());
        std::thread::yield_now();
    }
}

#[test]
fn flushing() {
    let k = with_echo();
    let d = open_echo(&k, FREAD | FWRITE);
    let s = stream(&d);
    let rq = QUEUE.load(SeqCst);
    // Nothing is in the hands of a service procedure when they are flushed.
    // SAFETY: the queues of the open stream.
    let wq = unsafe {
        noenable(rq);
        noenable(WR(rq));
        WR(rq)
    };
    for _ in 0..9 {
        s.putmsg(&data(&[2; 1000])).expect("room");
    }
    GATE.store(false, SeqCst);
    s.putmsg(&data(b"below")).expect("room");
    // The write side keeps what it has.
    assert_eq!(flush(&d, FLUSHR), Ok(0));
    assert_eq!(s.getmsg(NOW), Ok(Got::Nothing));
    GATE.store(true, SeqCst);
    // SAFETY: as above.
    unsafe { qenable(wq) };
    assert_eq!(get(s), data(b"below"));
    // The service procedure that sent it must not see what comes next.
    while INSIDE.load(SeqCst) > 0 {
        std::thread::yield_now();
    }
    GATE.store(false, SeqCst);
    s.putmsg(&data(b"gone")).expect("room");
    write_side_has(4);
    assert_eq!(flush(&d, FLUSHRW), Ok(0));
    write_side_has(0);
    GATE.store(true, SeqCst);
    s.putmsg(&data(b"after")).expect("room");
    assert_eq!(get(s), data(b"after"));
    for bad in [0, 4, 0x80] {
        assert_eq!(flush(&d, bad), Err(Errno::EINVAL));
    }
    drop(d);
    k.shutdown().expect("no violations");
}

#[test]
fn a_queue_that_must_not_be_enabled_is_not() {
    let k = with_echo();
    let d = open_echo(&k, FREAD | FWRITE);
    let s = stream(&d);
    // SAFETY: the read queue of the open stream.
    let wq = unsafe { WR(QUEUE.load(SeqCst)) };
    GATE.store(false, SeqCst);
    // SAFETY: as above.
    unsafe { noenable(wq) };
    s.putmsg(&data(b"stays")).expect("room");
    GATE.store(true, SeqCst);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(s.getmsg(NOW), Ok(Got::Nothing));
    // SAFETY: as above.
    unsafe {
        enableok(wq);
        qenable(wq);
    }
    assert_eq!(get(s), data(b"stays"));
    drop(d);
    k.shutdown().expect("no violations");
}

/// Streams come and go while their queues are served, from several threads; the driver asked for one
/// perimeter.
#[test]
fn one_at_a_time_under_load() {
    let k = with_echo();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..60 {
                    let d = open_echo(&k, FREAD | FWRITE);
                    for _ in 0..12 {
                        stream(&d).putmsg(&data(&[3; 900])).expect("room");
                    }
                    // Half of them go while there is much left to serve.
                    if round % 2 == 0 {
                        for _ in 0..6 {
                            get(stream(&d));
                        }
                    }
                }
            });
        }
    });
    assert_eq!((INSIDE.load(SeqCst), MOST.load(SeqCst)), (0, 1));
    assert_eq!(k.modunload("drv/echo"), Ok(()));
    k.shutdown().expect("no violations");
}

#[test]
fn a_module_in_use_stays() {
    let k = with_echo();
    let d = open_echo(&k, FREAD);
    assert_eq!(k.modunload("drv/echo"), Err(Errno::EBUSY));
    drop(d);
    WRONG.store(REFUSE_OPEN, SeqCst);
    assert_eq!(k.open("/dev/echo", FREAD, &Cred::KERNEL).err(), Some(Errno::EBUSY));
    assert_eq!(k.modunload("drv/echo"), Ok(()));
    k.shutdown().expect("no violations");
}
