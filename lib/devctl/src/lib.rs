// SPDX-License-Identifier: CDDL-1.0
//! Device nodes: open, ioctl and close; and the messages of streams.
//!
//! ```text
//!    program                                        fakekerneld
//!    Device::ioctl(cmd, &mut arg)                   server::Handle::ioctl(cmd, addr, model, mem)
//!        |-------------- IOCTL cmd addr ------------------->|
//!        |<------------- COPYIN addr len -------------------|  mem.copyin()
//!   reads its own memory ---- DATA bytes ------------------>|
//!        |<------------- COPYOUT addr bytes ----------------|  mem.copyout()
//!   writes its own memory --- COPIED ---------------------->|
//!        |<------------- RETURN errno value ----------------|
//! ```
//!
//! On illumos these are the system calls. Elsewhere a node is a unix stream socket under a [`Root`]
//! and an ioctl is a dialogue: the driver asks for the memory it wants while the call lasts.
//! Structures with pointers in them, bad addresses and callers of another data model thus behave as
//! they do in a kernel. The client's half is the private module `dialogue` (`native` is its
//! sibling), the kernel's half is [`server`], and `proto` is what they say.
//!
//! A [`Stream`] is a device with messages: putmsg is a call like ioctl, and what getmsg is to give
//! comes on a connection of its own as the driver sends it:
//!
//! ```text
//!    Stream::open                       ---- READ ---->   from here on
//!    Stream::getmsg, poll, as_fd        <-- MESSAGE ---   what the stream's head has, at once
//!                                       <-- MESSAGE ---
//!                                       <--- HANGUP ---   the last
//! ```
//!
//! That connection is what a program polls. It holds what the program has not read yet, some
//! 200 kB; when it is full messages wait in the head, and the driver sees that there is no room. Each
//! message says how many flushes were before it, so that none from before a flush is read after it.
//!
//! # Vocabulary
//!
//! * **root**: the directory that stands for `/` of one simulated host ([`Root`]).
//! * **open**: what open(2) makes: a driver's minor with its state. It lives until the last
//!   connection that belongs to it is closed, by [`Device`]'s drop or by the death of the process,
//!   and never while an ioctl runs.
//! * **connection**: one ioctl at a time. The first one carries the open; each further call that
//!   runs at the same time brings a connection of its own, which joins the open by a secret token.
//!
//! # Locks
//!
//! All are leaves: the client's list of idle connections, the server's tables of opens and of
//! connections. None is held over I/O or over the driver; save that of a stream's reader, over its
//! connection, and that of a stream's flushes, over a flush and over taking a message.
//!
//! # Invariants
//!
//! * A client's memory is touched through process_vm_readv(2) only, during its own ioctl: an
//!   address that is not mapped is EFAULT, never a signal.
//! * A client serves memory only to a server of its own user or of root.
//! * Every length in the protocol is at most [`MAX_COPY`].

mod root;

#[cfg(not(target_os = "illumos"))]
mod dialogue;
#[cfg(not(target_os = "illumos"))]
mod mem;
#[cfg(target_os = "illumos")]
mod native;
#[cfg(not(target_os = "illumos"))]
mod proto;
#[cfg(not(target_os = "illumos"))]
pub mod server;
#[cfg(not(target_os = "illumos"))]
mod stream;

#[cfg(not(target_os = "illumos"))]
pub use dialogue::Device;
pub use door::{Model, PeerCred};
#[cfg(target_os = "illumos")]
pub use native::{Device, Stream};
pub use root::Root;
#[cfg(not(target_os = "illumos"))]
pub use stream::Stream;

use std::ffi::c_void;

use overlay_abi::errno::Errno;

/// Most that one copyin or copyout may move, in bytes; more is EFAULT.
pub const MAX_COPY: usize = 16 << 20;

/// Flags of an open, with the values a driver sees (`FREAD` and so on, illumos `<sys/file.h>`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    /// Open for reading.
    pub const READ: OpenFlags = OpenFlags(0x1);
    /// Open for writing.
    pub const WRITE: OpenFlags = OpenFlags(0x2);
    /// Open for both.
    pub const RDWR: OpenFlags = OpenFlags(0x3);
    /// Exclusively.
    pub const EXCL: OpenFlags = OpenFlags(0x400);
    /// Do not block.
    pub const NONBLOCK: OpenFlags = OpenFlags(0x80);
}

impl std::ops::BitOr for OpenFlags {
    type Output = OpenFlags;
    fn bitor(self, other: OpenFlags) -> OpenFlags {
        OpenFlags(self.0 | other.0)
    }
}

/// Why a device could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}: {errno}")]
pub struct Error {
    /// What open(2) would have set, in illumos numbers: the driver's own error, ENOENT without such
    /// a node, EIO if the kernel behind it is gone, EACCES without permission or if the kernel is
    /// another user's.
    pub errno: Errno,
    /// The node, and what is the matter with it.
    pub what: String,
}

/// A message of a stream, as putmsg(2) takes and getmsg(2) gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Of high priority (RS_HIPRI).
    pub high: bool,
    /// The control part, if there is one.
    pub control: Option<Vec<u8>>,
    /// The data part, if there is one.
    pub data: Option<Vec<u8>>,
}

/// What a wait for a message ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// A message.
    Message(Message),
    /// The driver hung up, and no message is left.
    Hangup,
    /// Nothing: the time is over.
    Nothing,
}

/// For [`Stream::flush`]: what waits to be read (FLUSHR).
pub const FLUSH_READ: i32 = 1;
/// For [`Stream::flush`]: what waits to be written (FLUSHW).
pub const FLUSH_WRITE: i32 = 2;

const I_FLUSH: u32 = 0x5305;
const I_STR: u32 = 0x5308;

/// `struct strioctl` of a 64-bit program.
#[repr(C)]
struct StrIoctl {
    cmd: i32,
    timeout: i32,
    len: i32,
    data: *mut c_void,
}

/// Does an I_STR by `ioctl`, on `data`.
fn str_ioctl(
    cmd: u32,
    data: &mut Vec<u8>,
    ioctl: impl FnOnce(u32, *mut c_void) -> Result<i32, Errno>,
) -> Result<i32, Errno> {
    let len = i32::try_from(data.len()).map_err(|_| Errno::EINVAL)?;
    let mut arg = StrIoctl { cmd: cmd as i32, timeout: 0, len, data: data.as_mut_ptr().cast() };
    let value = ioctl(I_STR, (&raw mut arg).cast())?;
    data.truncate(usize::try_from(arg.len).unwrap_or(0));
    Ok(value)
}
