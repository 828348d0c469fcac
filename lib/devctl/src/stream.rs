// SPDX-License-Identifier: CDDL-1.0
//! The program's half of a stream: a device whose messages come on a connection of their own.

use std::ffi::c_void;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use overlay_abi::errno::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::dialogue::Device;
use crate::proto::{Header, Op, Part, broken};
use crate::{Error, FLUSH_READ, Got, I_FLUSH, Message, OpenFlags, Root};

/// An open STREAMS device. Many threads may use it at once; dropping it closes it.
#[derive(Debug)]
pub struct Stream {
    // First, so that the kernel does not wait for room in it when the device is closed.
    reader: Mutex<Reader>,
    /// The same connection, to wait on while another thread reads.
    waiting: UnixStream,
    /// How often the read side was flushed: older messages are not wanted any more.
    flushes: AtomicU64,
    device: Device,
}

#[derive(Debug)]
struct Reader {
    socket: UnixStream,
    /// How it ended, once it has.
    end: Option<Result<Got, Errno>>,
}

impl Stream {
    /// Opens `node` (such as `/dev/ipnet/net0`) of the host at `root`. The error is ENOSTR if that
    /// is a device without streams.
    pub fn open(root: &Root, node: impl AsRef<Path>, flags: OpenFlags) -> Result<Stream, Error> {
        let what = root.path(&node).display().to_string();
        let device = Device::open(root, node, flags)?;
        let start = || -> Result<(UnixStream, UnixStream), Errno> {
            let mut socket = device.join()?;
            ask(&mut socket, Header::new(Op::Read), &[]).map_err(|_| Errno::EIO)??;
            let waiting = socket.try_clone().map_err(|_| Errno::EIO)?;
            Ok((socket, waiting))
        };
        let (socket, waiting) = start().map_err(|errno| Error { errno, what })?;
        let reader = Mutex::new(Reader { socket, end: None });
        Ok(Stream { reader, waiting, flushes: AtomicU64::new(0), device })
    }

    /// putmsg(2): waits for room if there is none, unless opened with NONBLOCK.
    ///
    /// EINVAL: neither part, or of high priority and without control part. ERANGE: longer than the
    /// driver takes. EAGAIN: no room. ENXIO: hung up. EIO: the kernel is gone.
    pub fn putmsg(&self, m: &Message) -> Result<(), Errno> {
        let (header, bytes) = Part::encode(Op::Putmsg, m);
        let mut socket = self.device.take()?;
        // A broken connection is dropped here; others may still work.
        let result = ask(&mut socket, header, &bytes).map_err(|_| Errno::EIO)?;
        self.device.give(socket);
        result
    }

    /// getmsg(2) of the first message, waiting for it until `patience` is over (None: for good).
    ///
    /// The error is what the driver set for the stream, or EIO when the kernel is gone.
    pub fn getmsg(&self, patience: Option<Duration>) -> Result<Got, Errno> {
        let until = patience.map(|p| Instant::now() + p);
        let mut r = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(end) = &r.end {
                return end.clone();
            }
            if !readable(&r.socket, until)? {
                return Ok(Got::Nothing);
            }
            match r.next() {
                Ok((generation, got)) if generation >= self.flushes.load(Ordering::SeqCst) => {
                    return Ok(got);
                }
                Ok(_) => {}
                Err(end) => r.end = Some(end),
            }
        }
    }

    /// Whether [`Stream::getmsg`] would not wait; waits at most so long for that. After a flush it
    /// may be wrong once.
    pub fn poll(&self, patience: Option<Duration>) -> Result<bool, Errno> {
        readable(&self.waiting, patience.map(|p| Instant::now() + p))
    }

    /// ioctl(2), as [`Device::ioctl`].
    ///
    /// # Safety
    ///
    /// As [`Device::ioctl`].
    pub unsafe fn ioctl(&self, cmd: u32, arg: *mut c_void) -> Result<i32, Errno> {
        // SAFETY: forwarded from the caller.
        unsafe { self.device.ioctl(cmd, arg) }
    }

    /// I_STR: an ioctl with `data`, which becomes what the driver answers; its value. The kernel
    /// waits 15 seconds for an answer; ETIME then.
    pub fn str_ioctl(&self, cmd: u32, data: &mut Vec<u8>) -> Result<i32, Errno> {
        crate::str_ioctl(cmd, data, |request, arg| {
            // SAFETY: a strioctl with the address of `data`, which is exclusively ours.
            unsafe { self.device.ioctl(request, arg) }
        })
    }

    /// I_FLUSH: throws away what waits to be read ([`FLUSH_READ`]), what waits to be written
    /// ([`crate::FLUSH_WRITE`]), or both.
    pub fn flush(&self, what: i32) -> Result<(), Errno> {
        // SAFETY: I_FLUSH takes a number and no address.
        unsafe { self.device.ioctl(I_FLUSH, std::ptr::without_provenance_mut(what as usize))? };
        if what & FLUSH_READ != 0 {
            self.flushes.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// To wait on, for reading, beside others: readable when there may be something for getmsg.
impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiting.as_fd()
    }
}

impl Reader {
    /// The next message and the flush after which it came; or how the stream ended.
    fn next(&mut self) -> Result<(u64, Got), Result<Got, Errno>> {
        let gone = |_: io::Error| Err(Errno::EIO);
        let h = Header::receive(&mut self.socket).map_err(gone)?;
        let mut bytes = vec![0; h.len as usize];
        self.socket.read_exact(&mut bytes).map_err(gone)?;
        match h.op {
            Op::Message => match Part::decode(&h, bytes) {
                Some(m) => Ok((h.addr, Got::Message(m))),
                None => Err(gone(broken())),
            },
            Op::Hangup if h.value == 0 => Err(Ok(Got::Hangup)),
            Op::Hangup => Err(Err(Errno(h.value))),
            _ => Err(gone(broken())),
        }
    }
}

/// Sends a request and waits for RETURN. The outer error is the connection's.
fn ask(socket: &mut UnixStream, header: Header, bytes: &[u8]) -> io::Result<Result<(), Errno>> {
    header.send(socket, bytes)?;
    match Header::receive(socket)? {
        Header { op: Op::Return, value: 0, .. } => Ok(Ok(())),
        Header { op: Op::Return, value, .. } => Ok(Err(Errno(value))),
        _ => Err(broken()),
    }
}

fn readable(socket: &UnixStream, until: Option<Instant>) -> Result<bool, Errno> {
    loop {
        let left = until.map(|u| u.saturating_duration_since(Instant::now()));
        let left = left.and_then(|l| Timespec::try_from(l).ok());
        let mut fds = [PollFd::new(socket, PollFlags::IN)];
        match poll(&mut fds, left.as_ref()) {
            Ok(n) => return Ok(n > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Errno::from_host(e.raw_os_error())),
        }
    }
}
