// SPDX-License-Identifier: CDDL-1.0
//! Messages of varpd's door (spec/varpd.md 3).
//!
//! ```text
//!   0        4        8                                              616
//!   | command | errno  | one of the *_arg_t structures, rest unused   |  request and reply
//!   | 0       | errno  |                                                  reply to a malformed one
//! ```
//!
//! A reply has the length of its request. Both data models use 616 bytes; CREATE, GETPROP and
//! SETPROP have other offsets inside in ILP32 ([`ilp32`]), so the server must know the model of its
//! client. CACHE_WALK alone is longer: [`varpd_client_target_walk_arg_t`] is followed by entries.
pub mod v2;

use crate::target::overlay_targ_cache_entry_t;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where the door lies, below the root.
pub const VARPD_DOOR: &str = "/var/run/varpd/varpd.door";

/// Not a command; in the reply to a malformed message.
pub const VARPD_CLIENT_INVALID: u32 = 0;
/// [`varpd_client_create_arg_t`]: makes an instance for a link.
pub const VARPD_CLIENT_CREATE: u32 = 1;
/// [`varpd_client_instance_arg_t`]: starts an instance.
pub const VARPD_CLIENT_ACTIVATE: u32 = 2;
/// [`varpd_client_instance_arg_t`]: removes an instance.
pub const VARPD_CLIENT_DESTROY: u32 = 3;
/// [`varpd_client_nprops_arg_t`]: number of properties.
pub const VARPD_CLIENT_NPROPS: u32 = 4;
/// [`varpd_client_propinfo_arg_t`]: describes a property.
pub const VARPD_CLIENT_PROPINFO: u32 = 5;
/// [`varpd_client_prop_arg_t`]: value of a property.
pub const VARPD_CLIENT_GETPROP: u32 = 6;
/// [`varpd_client_prop_arg_t`]: sets a property.
pub const VARPD_CLIENT_SETPROP: u32 = 7;
/// [`varpd_client_lookup_arg_t`]: instance of a link.
pub const VARPD_CLIENT_LOOKUP: u32 = 8;
/// [`varpd_client_target_mode_arg_t`]: mode and destination bits.
pub const VARPD_CLIENT_TARGET_MODE: u32 = 9;
/// [`varpd_client_target_cache_arg_t`]: empties the link's target cache; privileged.
pub const VARPD_CLIENT_CACHE_FLUSH: u32 = 10;
/// [`varpd_client_target_cache_arg_t`]: removes an entry; privileged.
pub const VARPD_CLIENT_CACHE_DELETE: u32 = 11;
/// [`varpd_client_target_cache_arg_t`]: one entry.
pub const VARPD_CLIENT_CACHE_GET: u32 = 12;
/// [`varpd_client_target_cache_arg_t`]: sets an entry; privileged.
pub const VARPD_CLIENT_CACHE_SET: u32 = 13;
/// [`varpd_client_target_walk_arg_t`]: a piece of the cache.
pub const VARPD_CLIENT_CACHE_WALK: u32 = 14;
/// First number that is not a command.
pub const VARPD_CLIENT_MAX: u32 = 15;

/// A command that the original does not have, for `varpdadm`: what varpd says of itself.
///
/// The request has no structure. The reply is command and error, as in all, and behind them a text
/// in JSON, of any length and without a NUL: `libvarpd::status::Status`. Commands of our own begin
/// at 0x1000, where no number that the original may still give out is.
pub const VARPD_ADM_STATUS: u32 = 0x1000;

/// `vcfa_propid`: find the property by its name.
pub const VARPD_PROPID_BY_NAME: u32 = u32::MAX;
/// Most entries of one CACHE_WALK.
pub const VARPD_WALK_MAX: u64 = 200;
/// Bytes of a property name with its NUL.
pub const LIBVARPD_PROP_NAMELEN: usize = 64;
/// Most bytes of a property's value.
pub const LIBVARPD_PROP_SIZEMAX: usize = 256;
/// Smallest instance id.
pub const LIBVARPD_ID_MIN: u64 = 1;
/// First number above all instance ids.
pub const LIBVARPD_ID_MAX: u64 = 0x7fff_ffff;

/// The whole message, 616 bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct varpd_client_arg_t {
    /// `VARPD_CLIENT_*`
    pub vca_command: u32,
    /// Out: 0 or an illumos error number.
    pub vca_errno: u32,
    /// The structure that goes with the command.
    pub vca_un: [u8; 608],
}

/// Reply to a message that is too short or has no such command, 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct varpd_client_eresp_t {
    /// [`VARPD_CLIENT_INVALID`]
    pub vce_command: u32,
    /// An illumos error number.
    pub vce_errno: u32,
}

/// Of CREATE, 80 bytes (ILP32 76).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct varpd_client_create_arg_t {
    /// The link.
    pub vcca_linkid: u32,
    /// Zero.
    pub vcca_pad: u32,
    /// Out: the new instance.
    pub vcca_id: u64,
    /// Name of the plugin, NUL-terminated.
    pub vcca_plugin: [u8; LIBVARPD_PROP_NAMELEN],
}

/// Of ACTIVATE and DESTROY, 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct varpd_client_instance_arg_t {
    /// The instance.
    pub vcia_id: u64,
}

/// Of NPROPS, 16 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct varpd_client_nprops_arg_t {
    /// The instance.
    pub vcna_id: u64,
    /// Out: number of properties.
    pub vcna_nprops: u32,
    /// Zero.
    pub vcna_pad: [u8; 4],
}

/// Of PROPINFO, 608 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct varpd_client_propinfo_arg_t {
    /// The instance.
    pub vcfa_id: u64,
    /// The property, or [`VARPD_PROPID_BY_NAME`]; out: its number.
    pub vcfa_propid: u32,
    /// Out: `OVERLAY_PROP_T_*`.
    pub vcfa_type: u32,
    /// Out: `OVERLAY_PROP_PERM_*`.
    pub vcfa_prot: u32,
    /// Out: bytes of the default, 0 for none.
    pub vcfa_defsize: u32,
    /// Out: bytes of the possible values.
    pub vcfa_psize: u32,
    /// Zero.
    pub vcfa_pad: [u8; 4],
    /// Name, NUL-terminated.
    pub vcfa_name: [u8; LIBVARPD_PROP_NAMELEN],
    /// Out: default value.
    pub vcfa_default: [u8; LIBVARPD_PROP_SIZEMAX],
    /// Out: possible values, see [`crate::props::Possible`].
    pub vcfa_poss: [u8; LIBVARPD_PROP_SIZEMAX],
}

/// Of GETPROP and SETPROP, 280 bytes (ILP32 272).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct varpd_client_prop_arg_t {
    /// The instance.
    pub vcpa_id: u64,
    /// The property.
    pub vcpa_propid: u32,
    /// The value.
    pub vcpa_buf: [u8; LIBVARPD_PROP_SIZEMAX],
    /// Zero.
    pub vcpa_pad: u32,
    /// Bytes of the value, at most 256; 0 for "not set".
    pub vcpa_bufsize: u64,
}

/// Of LOOKUP, 16 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct varpd_client_lookup_arg_t {
    /// The link.
    pub vcla_linkid: u32,
    /// Zero.
    pub vcla_pad: u32,
    /// Out: its instance.
    pub vcla_id: u64,
}

/// Of TARGET_MODE, 16 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct varpd_client_target_mode_arg_t {
    /// The instance.
    pub vtma_id: u64,
    /// Out: destination bits.
    pub vtma_dest: u32,
    /// Out: target mode.
    pub vtma_mode: u32,
}

/// What a client sees of a cache entry, 28 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct varpd_client_cache_entry_t {
    /// Ethernet address of the destination, where it has one.
    pub vcp_mac: [u8; 6],
    /// [`crate::target::OVERLAY_TARGET_CACHE_DROP`] or 0.
    pub vcp_flags: u16,
    /// IPv6 address in network order, IPv4 as v4-mapped.
    pub vcp_ip: [u8; 16],
    /// Port in host byte order.
    pub vcp_port: u16,
    /// Zero.
    pub vcp_pad: [u8; 2],
}

/// Of the CACHE commands except WALK, 48 bytes (ILP32 44, same offsets).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct varpd_client_target_cache_arg_t {
    /// The instance.
    pub vtca_id: u64,
    /// The guest's address.
    pub vtca_key: [u8; 6],
    /// Zero.
    pub vtca_pad: [u8; 2],
    /// The entry.
    pub vtca_entry: varpd_client_cache_entry_t,
    /// Zero.
    pub vtca_pad2: [u8; 4],
}

/// Of CACHE_WALK, 24 bytes; [`overlay_targ_cache_entry_t`]s follow, at offset 32 of the message.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct varpd_client_target_walk_arg_t {
    /// The instance.
    pub vtcw_id: u64,
    /// 0 to begin; out: opaque, goes back in.
    pub vtcw_marker: u64,
    /// In: room for so many entries, at most [`VARPD_WALK_MAX`]. Out: entries; 0: no more.
    pub vtcw_count: u64,
}

/// Bytes of a CACHE_WALK message with `entries` entries.
pub const fn walk_len(entries: usize) -> usize {
    entries.saturating_mul(size_of::<overlay_targ_cache_entry_t>()).saturating_add(32)
}

/// The forms a 32-bit program makes, where offsets or sizes differ.
///
/// A 64-bit number aligns to 4 bytes there, which [`U64`](zerocopy::native_endian::U64) allows.
pub mod ilp32 {
    use super::{LIBVARPD_PROP_NAMELEN, LIBVARPD_PROP_SIZEMAX, varpd_client_cache_entry_t};
    use zerocopy::native_endian::U64;
    use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

    /// As [`super::varpd_client_create_arg_t`], 76 bytes.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct varpd_client_create_arg_t {
        /// The link.
        pub vcca_linkid: u32,
        /// Out: the new instance.
        pub vcca_id: U64,
        /// Name of the plugin, NUL-terminated.
        pub vcca_plugin: [u8; LIBVARPD_PROP_NAMELEN],
    }

    /// As [`super::varpd_client_prop_arg_t`], 272 bytes.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct varpd_client_prop_arg_t {
        /// The instance.
        pub vcpa_id: U64,
        /// The property.
        pub vcpa_propid: u32,
        /// The value.
        pub vcpa_buf: [u8; LIBVARPD_PROP_SIZEMAX],
        /// Bytes of the value, at most 256; 0 for "not set".
        pub vcpa_bufsize: u32,
    }

    /// As [`super::varpd_client_target_cache_arg_t`], 44 bytes.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct varpd_client_target_cache_arg_t {
        /// The instance.
        pub vtca_id: U64,
        /// The guest's address.
        pub vtca_key: [u8; 6],
        /// Zero.
        pub vtca_pad: [u8; 2],
        /// The entry.
        pub vtca_entry: varpd_client_cache_entry_t,
    }
}
