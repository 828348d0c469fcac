// SPDX-License-Identifier: CDDL-1.0
//! Name-value lists: those of libnvpair(3LIB), with its packed forms, in safe Rust.
//!
//! ```text
//!   plugin, in C or Rust                         varpd                       file <id>.varpd
//!   nvlist_add_uint16(nvl, name, v) --> Handle --to_list()--> List --pack(Xdr)--> bytes
//!   nvlist_lookup_string(nvl, ...)  <-- Handle <--from_list-- List <--unpack()--- bytes
//! ```
//!
//! | module | job |
//! |---|---|
//! | `list` | pairs in order, unique names |
//! | `value` | types, and the one match over them |
//! | `number` | numbers in memory and in XDR |
//! | `pack`, `unpack` | the native and the XDR form, byte for byte as libnvpair has them |
//! | `handle` | the list that a plugin works on |
//! | `cabi` | libnvpair's functions over [`List`], for plugins where there is no libnvpair |
//!
//! # Two kinds of lists on illumos
//!
//! A plugin on illumos calls the system's libnvpair, so the [`Handle`] it is given owns a list of
//! that library there; elsewhere it owns a [`List`] and the process exports the functions of
//! `cabi`. What goes to a file is packed by this crate on every system: the bytes are the same, and
//! what comes back from a file never meets a parser in C before this one has taken it. The two are
//! joined by the packed form itself. `Handle` declares the five functions it needs; the crates with
//! bindings of the whole library (nvpair-sys, illumos-nvpair-sys) would bring bindgen's output or a
//! build script that searches for a library, for no more safety.
//!
//! # Vocabulary
//!
//! * *pair*: a name and a [`Value`].
//! * *native* form: pairs as libnvpair has them in memory, pointers zeroed; in the byte order of the
//!   machine that wrote it, and read by such machines only.
//! * *XDR* form: words of four bytes, most significant first (RFC 4506).
//! * *decoded size*: bytes of a pair in memory. It is in both forms, and must be right.
//!
//! # Invariants
//!
//! * Names are unique: adding one that exists replaces it, whatever its type was
//!   (`NV_UNIQUE_NAME`); the flags of [`List::with_flags`] relax that. A packed form that repeats a
//!   name keeps the repetition, and the first one is found, as in libnvpair.
//! * Order of adding is kept.
//! * [`List::unpack`] is total, recurses at most [`DEPTH_MAX`] levels and takes memory in proportion
//!   to what it is given.
//! * A string, array, list or pair found by a C function stays where it is until the pair or its
//!   list is removed.
//! * Results of the C functions are error numbers of the host, as everything a plugin sees.
//!
//! No locks: a list is used by one thread at a time.

#[cfg(not(target_os = "illumos"))]
pub mod cabi;
mod handle;
mod list;
mod number;
mod pack;
mod unpack;
mod value;

pub use handle::Handle;
pub use list::{List, NV_UNIQUE_NAME, NV_UNIQUE_NAME_TYPE};
pub use value::{Kind, Value};

use overlay_abi::errno::Errno;

/// How deep lists may lie in lists: `nvpair_max_recursion` of libnvpair outside of a kernel.
pub const DEPTH_MAX: usize = 100;

/// `NV_VERSION`
const VERSION: i32 = 0;

/// A packed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Encoding {
    /// `NV_ENCODE_NATIVE`
    Native = 0,
    /// `NV_ENCODE_XDR`
    Xdr = 1,
}

/// Why something is no list, or a list has no packed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Bytes are missing.
    #[error("it ends before the list does")]
    Short,
    /// Neither native nor XDR.
    #[error("encoding {0} is not known")]
    Encoding(u8),
    /// Native form of another kind of machine.
    #[error("it is in the native form of a machine of the other byte order")]
    Endian,
    /// Version of a list.
    #[error("version {0} of a list is not known")]
    Version(i32),
    /// Type of a pair.
    #[error("type {0} of a pair is not known")]
    Kind(i32),
    /// Number of elements.
    #[error("{0} elements in a pair that has not so many")]
    Count(u32),
    /// The size of a pair is not that of what is in it.
    #[error("the size of a pair is wrong")]
    Size,
    /// A name or string without end, or with a NUL inside.
    #[error("a name or string does not end where it should")]
    Text,
    /// Neither 0 nor 1.
    #[error("{0} as a boolean")]
    Boolean(i32),
    /// More than [`DEPTH_MAX`] levels.
    #[error("lists lie more than 100 levels deep in lists")]
    Depth,
    /// A name of more than 32766 bytes, or more than `INT32_MAX` bytes in all.
    #[error("it is too big to be packed")]
    Big,
    /// What libnvpair said, in numbers of illumos.
    #[error("libnvpair: {0}")]
    System(Errno),
}

impl Error {
    /// What libnvpair answers.
    pub fn errno(self) -> Errno {
        match self {
            Error::Encoding(_) | Error::Endian | Error::Version(_) => Errno::ENOTSUP,
            Error::Depth | Error::Big => Errno::EINVAL,
            Error::System(e) => e,
            _ => Errno::EFAULT,
        }
    }
}
