// SPDX-License-Identifier: CDDL-1.0
//! The program's half of the dialogue.

use std::ffi::c_void;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use door::sock::Found;
use overlay_abi::errno::Errno;
use rustix::net::SocketType;
use zerocopy::{FromBytes, IntoBytes};

use crate::mem::{self, Fault};
use crate::proto::{Header, Op, Token, broken};
use crate::{Error, Model, OpenFlags, Root};

/// An open device node. Many threads may use it at once; dropping it closes it, and what close does
/// is then done.
#[derive(Debug)]
pub struct Device {
    node: Found,
    model: Model,
    token: Token,
    idle: Mutex<Vec<UnixStream>>,
}

impl Device {
    /// Opens `node` (such as `/dev/overlay`) of the host at `root`.
    pub fn open(root: &Root, node: impl AsRef<Path>, flags: OpenFlags) -> Result<Device, Error> {
        Self::open_as(root, node, flags, Model::NATIVE)
    }

    /// Like [`Device::open`], as a process of another data model: drivers take structures and the
    /// pointers in them in that model's form.
    pub fn open_as(
        root: &Root,
        node: impl AsRef<Path>,
        flags: OpenFlags,
        model: Model,
    ) -> Result<Device, Error> {
        let node = root.path(node);
        let hello = Header { value: flags.0 as i32, ..Header::hello(Op::Open, model) };
        let named = |e: Error| Error { what: format!("{}{}", node.display(), e.what), ..e };
        loop {
            let found = Found::at(&node).map_err(|e| named(cannot_connect(&e)))?;
            match connect(&found, hello, &[]) {
                Ok((first, token)) => {
                    return Ok(Device { node: found, model, token, idle: Mutex::new(vec![first]) });
                }
                // It went just now, and another may be in its place.
                Err(e) if e.errno == Errno::EIO && !found.is_at(&node) => {}
                Err(e) => return Err(named(e)),
            }
        }
    }

    /// ioctl(2): the value the driver returns, or its errno in illumos numbers.
    ///
    /// EIO when the kernel behind the node is gone; the handle is dead then.
    ///
    /// # Safety
    ///
    /// `arg`, and the pointers that `cmd` takes out of what lies there, must be addresses the
    /// driver may write to as `cmd` is defined. Addresses that are not mapped are allowed: EFAULT.
    pub unsafe fn ioctl(&self, cmd: u32, arg: *mut c_void) -> Result<i32, Errno> {
        self.call(cmd, arg.expose_provenance() as u64, None)
    }

    /// ioctl(2) on one structure without pointers.
    ///
    /// The driver can reach no memory but `data`: if `cmd` is of a longer structure the result is
    /// EFAULT.
    pub fn ioctl_with<T: IntoBytes + FromBytes>(
        &self,
        cmd: u32,
        data: &mut T,
    ) -> Result<i32, Errno> {
        let at = std::ptr::from_mut(data).expose_provenance() as u64;
        self.call(cmd, at, Some(at..at + size_of::<T>() as u64))
    }

    fn call(&self, cmd: u32, arg: u64, limits: Option<Range<u64>>) -> Result<i32, Errno> {
        let mut stream = self.take()?;
        // A broken connection is dropped here; others may still work.
        let result = dialogue(&mut stream, cmd, arg, limits).map_err(|_| Errno::EIO)?;
        self.give(stream);
        result
    }

    /// A connection of this open, to be given back when it is idle again.
    pub(crate) fn take(&self) -> Result<UnixStream, Errno> {
        let idle = lock(&self.idle).pop();
        idle.map_or_else(|| self.join(), Ok)
    }

    pub(crate) fn give(&self, idle: UnixStream) {
        lock(&self.idle).push(idle);
    }

    /// A further connection of this open.
    pub(crate) fn join(&self) -> Result<UnixStream, Errno> {
        let hello = Header::hello(Op::Join, self.model);
        let joined = connect(&self.node, hello, &self.token);
        // Any other error means that the kernel which knew the token is gone.
        let joined =
            joined.map_err(|e| if e.errno == Errno::EAGAIN { e.errno } else { Errno::EIO });
        Ok(joined?.0)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        for mut stream in lock(&self.idle).drain(..) {
            // The answer comes when the driver has closed. If there is none the kernel is gone.
            if Header::new(Op::Close).send_bare(&mut stream).is_ok() {
                let _ = Header::receive(&mut stream);
            }
        }
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

fn error(errno: Errno, why: &str) -> Error {
    Error { errno, what: why.to_owned() }
}

fn cannot_connect(e: &io::Error) -> Error {
    match e.raw_os_error() {
        Some(libc::ECONNREFUSED) => error(Errno::EIO, ": the fakekerneld that served it is gone"),
        Some(libc::ENOENT) => error(Errno::ENOENT, ": no fakekerneld serves it"),
        e => error(e.map_or(Errno::EIO, Errno::from_host), ""),
    }
}

/// The error does not name the node.
fn connect(node: &Found, hello: Header, bytes: &[u8]) -> Result<(UnixStream, Token), Error> {
    let fd = node.connect(SocketType::STREAM).map_err(|e| cannot_connect(&e))?;
    let server = door::sock::peer(&fd, Model::NATIVE).map_err(|_| error(Errno::EIO, ""))?;
    if server.uid != 0 && server.uid != rustix::process::geteuid().as_raw() {
        // Whoever answers can read and write our memory.
        return Err(error(
            Errno::EACCES,
            &format!(": served by another user (uid {})", server.uid),
        ));
    }
    let mut stream = UnixStream::from(fd);
    let mut token = Token::default();
    let mut answer = || -> io::Result<i32> {
        hello.send(&mut stream, bytes)?;
        let h = Header::receive(&mut stream)?;
        match (h.op, h.value, h.len as usize) {
            (Op::Opened, 0, 16) => stream.read_exact(&mut token).map(|()| 0),
            (Op::Opened, errno @ 1.., 0) => Ok(errno),
            _ => Err(broken()),
        }
    };
    match answer() {
        Ok(0) => Ok((stream, token)),
        Ok(errno) => Err(error(Errno(errno), "")),
        Err(e) => Err(error(Errno::EIO, &format!(": fakekerneld does not answer ({e})"))),
    }
}

/// The outer error is the connection's, the inner one the driver's.
fn dialogue(
    stream: &mut UnixStream,
    cmd: u32,
    arg: u64,
    limits: Option<Range<u64>>,
) -> io::Result<Result<i32, Errno>> {
    let allowed = |addr: u64, len: usize| match &limits {
        Some(r) => {
            let end = addr.checked_add(len as u64).ok_or(Fault)?;
            if r.start <= addr && end <= r.end { Ok(()) } else { Err(Fault) }
        }
        None => Ok(()),
    };
    Header { value: cmd as i32, addr: arg, ..Header::new(Op::Ioctl) }.send_bare(stream)?;
    loop {
        let h = Header::receive(stream)?;
        let len = h.len as usize;
        match h.op {
            Op::Copyin => {
                let mut bytes = vec![0; len];
                match allowed(h.addr, len).and_then(|()| mem::read(h.addr, &mut bytes)) {
                    Ok(()) => Header::new(Op::Data).send(stream, &bytes)?,
                    Err(Fault) => Header { value: 1, ..Header::new(Op::Data) }.send_bare(stream)?,
                }
            }
            Op::Copyout => {
                let mut bytes = vec![0; len];
                stream.read_exact(&mut bytes)?;
                let done = allowed(h.addr, len).and_then(|()| {
                    // SAFETY: either the range lies in the structure of ioctl_with, which it holds
                    // exclusively, or ioctl's caller promised that the driver may write there.
                    unsafe { mem::write(h.addr, &bytes) }
                });
                Header { value: done.is_err().into(), ..Header::new(Op::Copied) }
                    .send_bare(stream)?;
            }
            Op::Return if h.value == 0 => return Ok(Ok(h.addr as i32)),
            Op::Return => return Ok(Err(Errno(h.value))),
            _ => return Err(broken()),
        }
    }
}
