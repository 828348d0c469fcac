// SPDX-License-Identifier: CDDL-1.0
//! Message layouts: `<sys/dls_mgmt.h>` and libdladm's private commands. Host byte order.

use super::MAXLINKNAMELEN;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Path of the door below the root directory.
pub const DOOR: &str = "/etc/svc/volatile/dladm/dlmgmt_door";

/// No message is longer than this, in bytes.
pub const MAX_MESSAGE: usize = 64;

/// Id to name, class and flags.
pub const CMD_GETNAME: u32 = 4;
/// Name to id, class and flags.
pub const CMD_GETLINKID: u32 = 5;
/// Smallest id above a given one that passes a filter.
pub const CMD_GETNEXT: u32 = 6;
/// New link.
pub const CMD_CREATE_LINKID: u32 = 128;
/// Take flags from a link.
pub const CMD_DESTROY_LINKID: u32 = 129;

/// A link name, padded with NULs.
pub type Name = [u8; MAXLINKNAMELEN];

/// `dlmgmt_door_getname_t`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GetName {
    pub cmd: u32,
    pub linkid: u32,
}

/// `dlmgmt_door_getlinkid_t`; zone −1 means the caller's own.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GetLinkId {
    pub cmd: u32,
    pub link: Name,
    pub zoneid: i32,
}

/// `dlmgmt_door_getnext_t`; the upper half of `dmedia` being 1 means any media.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GetNext {
    pub cmd: u32,
    pub linkid: u32,
    pub class: u32,
    pub flags: u32,
    pub dmedia: u64,
}

/// `dmedia` for any media.
pub const ANY_MEDIA: u64 = 1 << 32;

/// `dlmgmt_door_createid_t`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CreateId {
    pub cmd: u32,
    pub link: Name,
    pub class: u32,
    pub media: u32,
    /// The name is only a prefix and a number is to be found: not offered here.
    pub prefix: u32,
    pub flags: u32,
}

/// `dlmgmt_door_destroyid_t`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct DestroyId {
    pub cmd: u32,
    pub linkid: u32,
    pub flags: u32,
}

/// `dlmgmt_retval_t`: the reply that carries nothing, and the one to every bad message.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Retval {
    /// illumos error number.
    pub err: u32,
}

/// `struct dlmgmt_linkid_retval_s`: reply of CREATE_LINKID, GETLINKID and GETNEXT.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Default)]
#[repr(C)]
pub struct LinkIdRetval {
    pub err: u32,
    pub linkid: u32,
    pub flags: u32,
    pub class: u32,
    pub media: u32,
    pub padding: u32,
}

/// `dlmgmt_getname_retval_t`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GetNameRetval {
    pub err: u32,
    pub link: Name,
    pub class: u32,
    pub media: u32,
    pub flags: u32,
}

/// The text of a name array; `None` if it has no NUL or is not text.
pub fn name_str(name: &Name) -> Option<&str> {
    let end = name.iter().position(|b| *b == 0)?;
    std::str::from_utf8(&name[..end]).ok()
}

/// A name array for `s`, `None` if it does not fit with its NUL.
pub fn name_array(s: &str) -> Option<Name> {
    let mut name = [0; MAXLINKNAMELEN];
    (s.len() < name.len()).then(|| name[..s.len()].copy_from_slice(s.as_bytes()))?;
    Some(name)
}

const _: () = {
    assert!(size_of::<GetLinkId>() == 40);
    assert!(size_of::<GetNext>() == 24);
    assert!(size_of::<CreateId>() == 52 && size_of::<CreateId>() <= MAX_MESSAGE);
    assert!(size_of::<LinkIdRetval>() == 24);
    assert!(size_of::<GetNameRetval>() == 48);
};
