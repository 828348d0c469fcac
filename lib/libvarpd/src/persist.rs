// SPDX-License-Identifier: CDDL-1.0
//! Instances that outlive varpd: one file for each active one (spec/varpd.md 4).
//!
//! ```text
//!   activate: vpo_start, vpo_save --> Record --encode--> store: temp file, fsync, rename --> <id>.varpd
//!   destroy:  file removed, then the link disassociated
//!   start:    <id>.varpd --decode--> Record --> restore: vpo_restore, vpo_start, associate
//! ```
//!
//! | part | job |
//! |---|---|
//! | this module | the file's bytes and names; no I/O |
//! | `store` | files: written whole or not at all, removed, moved aside |
//! | `restore` | instances of files, and what becomes of a file that cannot be restored |
//!
//! # Vocabulary
//!
//! * *record*: what a file says.
//! * *waiting*: an instance whose file is good and that cannot be restored now: its plugin is not
//!   loaded, or says no, or the link is not there. The file stays; its id is given to nobody; the
//!   link, if there is one, is degraded with the reason. It is tried again by
//!   [`Varpd::persist_retry`](crate::Varpd::persist_retry), unless the link was gone, since then
//!   another one may have got its number, and at the next start. An instance that is created for
//!   the same link takes its place: the file goes when the new instance is active.
//! * *moved aside*: a file that says nothing usable, or the same as another one. It gets another
//!   name, under which nobody looks for it but a human.
//!
//! # Order
//!
//! A file is there before the kernel is told of its instance and gone before the kernel is told that
//! it ends. So an association without a file belongs to nobody, and is undone before the next
//! instance of the link has its file; a file without an association is one of an instance that was
//! about to be active; and where there are both, the association is that of the file. Such a one is
//! kept when varpd starts, and the kernel's cache checked entry by entry, see `recheck`: the original
//! undid and remade it, and lost the frames of that moment.

mod restore;
mod store;

pub use restore::Waiting;
pub use store::{Fault, Step, Store};

use md5::{Digest, Md5};
use nvpair::{Encoding, List, Value};
use overlay_abi::door::{LIBVARPD_ID_MAX, LIBVARPD_ID_MIN};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, VarpdId};
use std::ffi::{CStr, CString};
use std::path::PathBuf;

/// First bytes of a file.
const MAGIC: [u8; 4] = *b"varp";
/// Version of the file's layout.
const VERSION: u32 = 1;
/// Bytes before the packed list: magic, version, MD5 of the list.
const HEADER: usize = 24;
/// Largest file that is read, in bytes. The state of a plugin is a handful of properties of at most
/// 256 bytes.
pub(crate) const SIZE_MAX: u64 = 4 << 20;
/// End of the names.
const SUFFIX: &str = ".varpd";

/// What is kept of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its number.
    pub id: VarpdId,
    /// Its link.
    pub link: LinkId,
    /// Parts of a destination, `OVERLAY_PLUGIN_D_*`.
    pub dest: u32,
    /// Mode of its plugin, `OVERLAY_TARGET_*`.
    pub mode: u32,
    /// Name of its plugin.
    pub plugin: String,
    /// What its plugin saved.
    pub private: List,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Not so much as a header and something behind it.
    #[error("it is too short")]
    Short,
    /// More than varpd ever writes.
    #[error("it is too long")]
    Long,
    /// Other first bytes.
    #[error("it does not begin with \"varp\"")]
    Magic,
    /// Another version, or the byte order of another machine.
    #[error("its version is {0}, not 1")]
    Version(u32),
    /// Its bytes are not those that were written.
    #[error("its MD5 is wrong")]
    Sum,
    /// It has no list.
    #[error("its list: {0}")]
    List(#[from] nvpair::Error),
    /// A key is missing, of another type, or has an impossible value.
    #[error("its {0} is missing or wrong")]
    Key(&'static str),
}

/// The bytes of a file.
///
/// # Errors
/// The plugin's list has no packed form, or the plugin's name has a NUL inside.
pub fn encode(record: &Record) -> Result<Vec<u8>, nvpair::Error> {
    let plugin = CString::new(record.plugin.as_str()).map_err(|_| nvpair::Error::Text)?;
    let mut list = List::new();
    let mut add = |key: &CStr, value| list.add(key.to_owned(), value);
    add(c"vri_id", Value::Uint64(record.id.0));
    add(c"vri_linkid", Value::Uint32(record.link.0));
    add(c"vri_dest", Value::Uint32(record.dest));
    add(c"vri_mode", Value::Uint32(record.mode));
    add(c"vri_plugin", Value::String(plugin));
    add(c"vri_private", Value::List(Box::new(record.private.clone())));
    let payload = list.pack(Encoding::Xdr)?;
    let sum: [u8; 16] = Md5::digest(&payload).into();
    Ok([&MAGIC[..], &VERSION.to_ne_bytes(), &sum, &payload].concat())
}

/// What the bytes of a file say. They may be anything.
///
/// # Errors
/// What is wrong with them.
pub fn decode(bytes: &[u8]) -> Result<Record, Broken> {
    let (header, payload) = bytes.split_first_chunk::<HEADER>().ok_or(Broken::Short)?;
    if payload.is_empty() {
        return Err(Broken::Short);
    }
    let [m0, m1, m2, m3, v0, v1, v2, v3, sum @ ..] = header;
    if [*m0, *m1, *m2, *m3] != MAGIC {
        return Err(Broken::Magic);
    }
    let version = u32::from_ne_bytes([*v0, *v1, *v2, *v3]);
    if version != VERSION {
        return Err(Broken::Version(version));
    }
    if Md5::digest(payload).as_slice() != sum {
        return Err(Broken::Sum);
    }
    let list = List::unpack(payload)?;
    let u32_of = |key: &'static str| match list.get(key) {
        Some(Value::Uint32(n)) => Ok(*n),
        _ => Err(Broken::Key(key)),
    };
    let id = match list.get("vri_id") {
        Some(Value::Uint64(id)) if (LIBVARPD_ID_MIN..LIBVARPD_ID_MAX).contains(id) => *id,
        _ => return Err(Broken::Key("vri_id")),
    };
    let plugin = match list.get("vri_plugin") {
        Some(Value::String(name)) => name.to_str().map_err(|_| Broken::Key("vri_plugin"))?,
        _ => return Err(Broken::Key("vri_plugin")),
    };
    let Some(Value::List(private)) = list.get("vri_private") else {
        return Err(Broken::Key("vri_private"));
    };
    Ok(Record {
        id: VarpdId(id),
        link: LinkId(u32_of("vri_linkid")?),
        dest: u32_of("vri_dest")?,
        mode: u32_of("vri_mode")?,
        plugin: plugin.to_owned(),
        private: (**private).clone(),
    })
}

/// Name of an instance's file.
pub fn file_name(id: VarpdId) -> String {
    format!("{id}{SUFFIX}")
}

/// The number in the name of a file that is one of ours by its name.
pub fn id_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    // Not "+1", which parses too.
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Name of the file while it is written.
fn temp_name(id: VarpdId) -> String {
    format!(".{}.{id}{SUFFIX}", std::process::id())
}

/// Whether a file was left by a varpd that died while it wrote it.
fn is_temp(name: &str) -> bool {
    let parts = name.strip_prefix('.').and_then(|rest| rest.split_once('.'));
    parts.is_some_and(|(pid, rest)| {
        id_of(&format!("{pid}{SUFFIX}")).is_some() && id_of(rest).is_some()
    })
}

/// Why persistence does not work as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is enabled.
    #[error("persistence is enabled already")]
    Enabled,
    /// It is not enabled.
    #[error("persistence is not enabled")]
    Disabled,
    /// Not a directory.
    #[error("{}: not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// The system's error.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The plugin's state has no packed form.
    #[error("the plugin's state cannot be packed: {0}")]
    State(#[from] nvpair::Error),
    /// The kernel does not say which links there are.
    #[error("the kernel does not list overlay links: {0}")]
    Links(Errno),
}

impl Error {
    /// The number that libvarpd answers.
    pub fn errno(&self) -> Errno {
        match self {
            Error::Enabled => Errno::EEXIST,
            Error::Disabled => Errno::ENOENT,
            Error::NotADirectory(_) => Errno::EINVAL,
            Error::Io { source, .. } => source.raw_os_error().map_or(Errno::EIO, Errno::from_host),
            Error::State(e) => e.errno(),
            Error::Links(e) => *e,
        }
    }
}
