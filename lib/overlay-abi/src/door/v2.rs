// SPDX-License-Identifier: CDDL-1.0
//! Door commands for routed overlays (spec/varpd.md 3, 8.7).
//!
//! The original changed the layouts of the CACHE commands under their old numbers. Here these stay
//! what they were, and the routed forms have numbers of their own, 0x1000 above. A varpd without
//! them answers as to any unknown command, `EINVAL`.
use super::varpd_client_cache_entry_t;
use crate::target::v2::{
    overlay_targ_cache_entry_t, overlay_targ_l3_t, overlay_targ_route_entry_t,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`varpd_client_target_cache_arg_t`]: removes an entry; privileged.
pub const VARPD_CLIENT_CACHE_DELETE_V2: u32 = 0x100b;
/// [`varpd_client_target_cache_arg_t`]: one entry.
pub const VARPD_CLIENT_CACHE_GET_V2: u32 = 0x100c;
/// [`varpd_client_target_cache_arg_t`]: sets an entry; privileged.
pub const VARPD_CLIENT_CACHE_SET_V2: u32 = 0x100d;
/// [`varpd_client_target_walk_arg_t`]: a piece of the cache.
pub const VARPD_CLIENT_CACHE_WALK_V2: u32 = 0x100e;
/// [`varpd_client_route_walk_arg_t`]: a piece of the route cache.
pub const VARPD_CLIENT_ROUTE_WALK: u32 = 0x100f;

/// Of the CACHE commands except WALK, 48 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct varpd_client_target_cache_arg_t {
    /// The instance.
    pub vtca_id: u64,
    /// The guest's data center, 0 for the link's own.
    pub vtca_dcid: u32,
    /// The guest's address.
    pub vtca_key: [u8; 6],
    /// Zero.
    pub vtca_pad: [u8; 2],
    /// The entry.
    pub vtca_entry: varpd_client_cache_entry_t,
}

/// Of CACHE_WALK, 32 bytes; [`overlay_targ_cache_entry_t`]s follow, at offset 40 of the message.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct varpd_client_target_walk_arg_t {
    /// The instance.
    pub vtcw_id: u64,
    /// Zero to begin; out: opaque, goes back in.
    pub vtcw_marker: [u64; 2],
    /// In: room for so many entries, at most [`super::VARPD_WALK_MAX`]. Out: entries; 0: no more.
    pub vtcw_count: u64,
}

/// Of ROUTE_WALK, 64 bytes; [`overlay_targ_route_entry_t`]s follow, at offset 72 of the message.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct varpd_client_route_walk_arg_t {
    /// The instance.
    pub vrw_id: u64,
    /// In: room for so many routes, at most [`super::VARPD_WALK_MAX`]. Out: routes; 0: no more.
    pub vrw_count: u64,
    /// Zero to begin; out: opaque, goes back in.
    pub vrw_marker: overlay_targ_l3_t,
    /// Zero to begin; out: opaque, goes back in.
    pub vrw_state: u64,
    /// Zero to begin; out: opaque, goes back in.
    pub vrw_vlan: u64,
}

/// Bytes of a CACHE_WALK message with `entries` entries.
pub const fn walk_len(entries: usize) -> usize {
    entries.saturating_mul(size_of::<overlay_targ_cache_entry_t>()).saturating_add(40)
}

/// Bytes of a ROUTE_WALK message with `routes` routes.
pub const fn route_walk_len(routes: usize) -> usize {
    routes.saturating_mul(size_of::<overlay_targ_route_entry_t>()).saturating_add(72)
}
