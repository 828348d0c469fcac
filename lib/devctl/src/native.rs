// SPDX-License-Identifier: CDDL-1.0
//! Device nodes and streams by system calls.

use std::ffi::{c_int, c_void};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use overlay_abi::errno::Errno;
use zerocopy::{FromBytes, IntoBytes};

use crate::{Error, Got, I_FLUSH, Message, OpenFlags, Root};

/// An open device node. Many threads may use it at once; dropping it closes it.
#[derive(Debug)]
pub struct Device {
    file: File,
}

impl Device {
    /// Opens `node` (such as `/dev/overlay`) of the host at `root`. A signal that interrupts the
    /// open is ignored.
    pub fn open(root: &Root, node: impl AsRef<Path>, flags: OpenFlags) -> Result<Device, Error> {
        let node = root.path(node);
        let has = |flag: OpenFlags| flags.0 & flag.0 != 0;
        let mut extra = 0;
        for (flag, bits) in
            [(OpenFlags::EXCL, libc::O_EXCL), (OpenFlags::NONBLOCK, libc::O_NONBLOCK)]
        {
            if has(flag) {
                extra |= bits;
            }
        }
        OpenOptions::new()
            .read(has(OpenFlags::READ))
            .write(has(OpenFlags::WRITE))
            .custom_flags(extra)
            .open(&node)
            .map(|file| Device { file })
            .map_err(|e| Error { errno: errno(&e), what: node.display().to_string() })
    }

    /// ioctl(2): the value the driver returns, or its errno.
    ///
    /// # Safety
    ///
    /// `arg`, and the pointers that `cmd` takes out of what lies there, must be addresses the
    /// driver may write to as `cmd` is defined. Addresses that are not mapped are allowed: EFAULT.
    pub unsafe fn ioctl(&self, cmd: u32, arg: *mut c_void) -> Result<i32, Errno> {
        // SAFETY: forwarded from the caller.
        match unsafe { libc::ioctl(self.file.as_raw_fd(), cmd as libc::c_int, arg) } {
            -1 => Err(errno(&io::Error::last_os_error())),
            value => Ok(value),
        }
    }

    /// ioctl(2) on one structure without pointers, which is that of `cmd`.
    ///
    /// Unlike the stand-in a kernel does not see where `data` ends: a command of a longer structure
    /// would write past it, so callers pass the type their ABI crate gives the command.
    pub fn ioctl_with<T: IntoBytes + FromBytes>(
        &self,
        cmd: u32,
        data: &mut T,
    ) -> Result<i32, Errno> {
        // SAFETY: the structure of the command, held exclusively; any bytes are a value of it.
        unsafe { self.ioctl(cmd, std::ptr::from_mut(data).cast()) }
    }
}

/// An open STREAMS device. Many threads may use it at once; dropping it closes it.
#[derive(Debug)]
pub struct Stream(Device);

/// `struct strbuf`: bytes there is room for, bytes there are (-1: no such part), where.
#[repr(C)]
struct StrBuf {
    maxlen: c_int,
    len: c_int,
    buf: *mut libc::c_char,
}

unsafe extern "C" {
    fn putmsg(fd: c_int, control: *const StrBuf, data: *const StrBuf, flags: c_int) -> c_int;
    fn getmsg(fd: c_int, control: *mut StrBuf, data: *mut StrBuf, flags: *mut c_int) -> c_int;
}

const RS_HIPRI: c_int = 1;
/// Room for a control part (what the kernel allows at most), and for one piece of data.
const CONTROL_ROOM: usize = 1024;
const DATA_ROOM: usize = 64 << 10;

impl Stream {
    /// Opens `node` (such as `/dev/ipnet/net0`) of the host at `root`.
    pub fn open(root: &Root, node: impl AsRef<Path>, flags: OpenFlags) -> Result<Stream, Error> {
        Device::open(root, node, flags).map(Stream)
    }

    fn fd(&self) -> c_int {
        self.0.file.as_raw_fd()
    }

    /// putmsg(2): waits for room if there is none, unless opened with NONBLOCK.
    pub fn putmsg(&self, m: &Message) -> Result<(), Errno> {
        let part = |p: &Option<Vec<u8>>| {
            let p = p.as_ref()?;
            let len = p.len() as c_int;
            Some(StrBuf { maxlen: len, len, buf: p.as_ptr().cast_mut().cast() })
        };
        let (control, data) = (part(&m.control), part(&m.data));
        let pointer = |p: &Option<StrBuf>| p.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let flags = if m.high { RS_HIPRI } else { 0 };
        // SAFETY: putmsg(2): parts that live during the call, which does not write to them.
        match unsafe { putmsg(self.fd(), pointer(&control), pointer(&data), flags) } {
            -1 => Err(errno(&io::Error::last_os_error())),
            _ => Ok(()),
        }
    }

    /// getmsg(2) of the first message, waiting for it until `patience` is over (None: for good).
    pub fn getmsg(&self, patience: Option<Duration>) -> Result<Got, Errno> {
        if !self.poll(patience)? {
            return Ok(Got::Nothing);
        }
        let mut m = Message::default();
        loop {
            let (mut control, mut data) = ([0u8; CONTROL_ROOM], vec![0u8; DATA_ROOM]);
            let room = |b: &mut [u8]| StrBuf {
                maxlen: b.len() as c_int,
                len: -1,
                buf: b.as_mut_ptr().cast(),
            };
            let (mut c, mut d) = (room(&mut control), room(&mut data));
            let mut flags = 0;
            // SAFETY: getmsg(2): buffers of these lengths.
            let more = unsafe { getmsg(self.fd(), &mut c, &mut d, &mut flags) };
            if more == -1 {
                return Err(errno(&io::Error::last_os_error()));
            }
            m.high |= flags & RS_HIPRI != 0;
            for (part, len, bytes) in
                [(&mut m.control, c.len, &control[..]), (&mut m.data, d.len, &data[..])]
            {
                if let Ok(len) = usize::try_from(len) {
                    part.get_or_insert_default().extend_from_slice(&bytes[..len]);
                }
            }
            if more == 0 {
                break;
            }
        }
        // A stream that was hung up has two parts without bytes, for good.
        let empty = |p: &Option<Vec<u8>>| p.as_ref().is_some_and(Vec::is_empty);
        let hangup = empty(&m.control) && empty(&m.data);
        Ok(if hangup { Got::Hangup } else { Got::Message(m) })
    }

    /// Whether [`Stream::getmsg`] would not wait; waits at most so long for that.
    pub fn poll(&self, patience: Option<Duration>) -> Result<bool, Errno> {
        let ms = |p: Duration| c_int::try_from(p.as_nanos().div_ceil(1_000_000));
        let ms = patience.map_or(-1, |p| ms(p).unwrap_or(c_int::MAX));
        let events = libc::POLLIN | libc::POLLPRI;
        let mut fd = libc::pollfd { fd: self.fd(), events, revents: 0 };
        // SAFETY: poll(2) of one descriptor.
        match unsafe { libc::poll(&mut fd, 1, ms) } {
            -1 => Err(errno(&io::Error::last_os_error())),
            n => Ok(n > 0),
        }
    }

    /// ioctl(2), as [`Device::ioctl`].
    ///
    /// # Safety
    ///
    /// As [`Device::ioctl`].
    pub unsafe fn ioctl(&self, cmd: u32, arg: *mut c_void) -> Result<i32, Errno> {
        // SAFETY: forwarded from the caller.
        unsafe { self.0.ioctl(cmd, arg) }
    }

    /// I_STR: an ioctl with `data`, which becomes what the driver answers; its value. The kernel
    /// waits 15 seconds for an answer; ETIME then.
    pub fn str_ioctl(&self, cmd: u32, data: &mut Vec<u8>) -> Result<i32, Errno> {
        crate::str_ioctl(cmd, data, |request, arg| {
            // SAFETY: a strioctl with the address of `data`, which is exclusively ours.
            unsafe { self.0.ioctl(request, arg) }
        })
    }

    /// I_FLUSH: throws away what waits to be read, what waits to be written, or both.
    pub fn flush(&self, what: i32) -> Result<(), Errno> {
        // SAFETY: I_FLUSH takes a number and no address.
        unsafe { self.0.ioctl(I_FLUSH, std::ptr::without_provenance_mut(what as usize)) }.map(drop)
    }
}

/// To wait on, for reading, beside others.
impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

fn errno(e: &io::Error) -> Errno {
    Errno(e.raw_os_error().unwrap_or(libc::EIO))
}
