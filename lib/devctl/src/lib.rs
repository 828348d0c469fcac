// SPDX-License-Identifier: CDDL-1.0
//! Device nodes: open, ioctl and close.
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
//! connections. None is held over I/O or over the driver.
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
pub use dialogue::Device;
pub use door::{Model, PeerCred};
#[cfg(target_os = "illumos")]
pub use native::Device;
pub use root::Root;

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
