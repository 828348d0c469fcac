// SPDX-License-Identifier: CDDL-1.0
//! The dialogue of an ioctl, errors, and answers to DLPI requests.
use crate::driver::*;
use fakekernel::host::*;
use fakekernel::streams::{Got, Message};
use illumos_sys_hdrs::*;
use overlay_abi::errno::Errno;
use std::time::{Duration, Instant};

/// strioctl of a 64-bit program.
#[repr(C)]
struct StrIoctl {
    cmd: i32,
    timeout: i32,
    len: i32,
    pad: i32,
    at: u64,
}

fn i_str(d: &OpenDev, cmd: i32, timeout: i32, buf: &mut [u8]) -> (Result<i32, Errno>, i32) {
    let at = buf.as_mut_ptr() as u64;
    let mut arg = StrIoctl { cmd, timeout, len: buf.len() as i32, pad: 0, at };
    let r = d.ioctl(I_STR, (&raw mut arg) as u64, Model::Lp64, &SelfMem);
    (r, arg.len)
}

#[test]
fn i_str_and_its_data() {
    let k = with_echo();
    let d = open_echo(&k, FREAD);
    let mut buf = *b"some data";
    assert_eq!(i_str(&d, ECHO, 0, &mut buf), (Ok(7), 9));
    assert_eq!(&buf, b"some data");
    assert_eq!(i_str(&d, 1, 0, &mut []).0, Err(Errno::EINVAL));
    assert_eq!(i_str(&d, READ_INT, 0, &mut buf).0, Err(Errno::EINVAL));
    let start = Instant::now();
    assert_eq!(i_str(&d, SILENT, 1, &mut []).0, Err(Errno::ETIME));
    assert!(start.elapsed() >= Duration::from_secs(1));
    // As a 32-bit program has it: the address has 4 bytes.
    let mut raw = [0u8; 16];
    raw[..4].copy_from_slice(&ECHO.to_ne_bytes());
    assert_eq!(d.ioctl(I_STR, raw.as_mut_ptr() as u64, Model::Ilp32, &SelfMem), Ok(7));
    assert_eq!(d.ioctl(I_STR, 8, Model::Lp64, &SelfMem), Err(Errno::EFAULT));
    drop(d);
    k.shutdown().expect("no violations");
}

#[test]
fn transparent_copies() {
    let k = with_echo();
    let d = open_echo(&k, FREAD);
    let mut n = 1234;
    let at = (&raw mut n) as u64;
    assert_eq!(d.ioctl(READ_INT, at, Model::Lp64, &SelfMem), Ok(1234));
    assert_eq!(d.ioctl(READ_INT, 16, Model::Lp64, &SelfMem), Err(Errno::EFAULT));
    assert_eq!(d.ioctl(WRITE_INT, at, Model::Lp64, &SelfMem), Ok(0));
    assert_eq!(n, 42);
    assert_eq!(d.ioctl(WRITE_INT, 16, Model::Lp64, &SelfMem), Err(Errno::EFAULT));
    assert_eq!(d.ioctl(ECHO, 0, Model::Lp64, &SelfMem), Ok(7));
    drop(d);
    k.shutdown().expect("no violations");
}

#[test]
fn hangups_and_errors() {
    let k = with_echo();
    let d = open_echo(&k, FREAD | FWRITE);
    let s = d.stream().expect("a stream");
    s.putmsg(&data(b"still there")).expect("room");
    assert_eq!(d.ioctl(HANG_UP, 0, Model::Lp64, &SelfMem), Ok(0));
    assert_eq!(s.putmsg(&data(b"x")), Err(Errno::ENXIO));
    assert_eq!(d.ioctl(ECHO, 0, Model::Lp64, &SelfMem), Err(Errno::ENXIO));
    assert_eq!(s.getmsg(None), Ok(Got::Message(data(b"still there"))));
    assert_eq!(s.getmsg(None), Ok(Got::Hangup));
    let e = open_echo(&k, FREAD | FWRITE);
    let s = e.stream().expect("a stream");
    assert_eq!(e.ioctl(BREAK, 0, Model::Lp64, &SelfMem), Err(Errno::EIO));
    assert_eq!(s.getmsg(None), Err(Errno::EIO));
    assert_eq!(s.putmsg(&data(b"x")), Err(Errno::EIO));
    drop((d, e));
    k.shutdown().expect("no violations");
}

#[test]
fn a_reader_is_woken() {
    let k = with_echo();
    let d = open_echo(&k, FREAD);
    let s = d.stream().expect("a stream");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| s.getmsg(None));
        while !reader.is_finished() {
            s.wake();
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(reader.join().expect("no panic"), Ok(Got::Nothing));
    });
    drop(d);
    k.shutdown().expect("no violations");
}

#[test]
fn dlpi_answers() {
    let k = with_echo();
    let d = open_echo(&k, FREAD | FWRITE);
    assert_eq!(d.ioctl(DLPI, 0, Model::Lp64, &SelfMem), Ok(0));
    let words = |w: &[u32]| w.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<u8>>();
    let mut bind = words(&[4, 6, 2, 24, 0, 0]);
    bind.extend(b"ab");
    for want in [words(&[6, 0x1f]), words(&[5, 0x20, 0x14, 5]), bind] {
        let m = Message { high: true, control: Some(want), data: None };
        assert_eq!(d.stream().expect("a stream").getmsg(None), Ok(Got::Message(m)));
    }
    // What was not answered for want of memory is an error of the stream.
    fail_nth_allocb(4);
    assert_eq!(d.ioctl(DLPI, 0, Model::Lp64, &SelfMem), Ok(0));
    assert_eq!(d.stream().expect("a stream").getmsg(None), Err(Errno::ENOSR));
    drop(d);
    k.shutdown().expect("no violations");
}

#[test]
fn nread() {
    let k = with_echo();
    let d = open_echo(&k, FREAD | FWRITE);
    let s = d.stream().expect("a stream");
    let mut n = 99u32;
    let at = (&raw mut n) as u64;
    assert_eq!(d.ioctl(I_NREAD, at, Model::Lp64, &SelfMem), Ok(0));
    assert_eq!(n, 0);
    s.putmsg(&Message { control: Some(vec![1; 30]), ..data(b"four") }).expect("room");
    s.putmsg(&data(b"more")).expect("room");
    assert_eq!(d.ioctl(I_NREAD, at, Model::Lp64, &SelfMem), Ok(2));
    assert_eq!(n, 4);
    drop(d);
    k.shutdown().expect("no violations");
}
