// SPDX-License-Identifier: CDDL-1.0
//! Version 2 of the plugin interface, the routed form (spec/varpd.md 5.3).
//!
//! A structure that is not here is that of version 1. The original gave this form number 1 too, so
//! that nobody can tell the two apart; here it is 2.
use super::*;
use crate::target::v2::{
    overlay_targ_lookup_t, overlay_target_mac_t, overlay_target_point_t, overlay_target_route_t,
};

/// The version to register with.
pub const VARPD_VERSION_TWO: c_uint = 2;

/// `vpo_default(private, point out)`: `VARPD_LOOKUP_*`.
pub type varpd_plugin_default_f =
    unsafe extern "C" fn(*mut c_void, *mut overlay_target_point_t) -> c_int;
/// `vpo_lookup(private, query, request, point out, route out, MAC out)`; the last two count for a
/// request about a route. Ends in exactly one `libvarpd_plugin_query_reply`.
pub type varpd_plugin_lookup_f = unsafe extern "C" fn(
    *mut c_void,
    *mut varpd_query_handle_t,
    *const overlay_targ_lookup_t,
    *mut overlay_target_point_t,
    *mut overlay_target_route_t,
    *mut overlay_target_mac_t,
);
/// `vpo_arp(private, handle, qtype, address, VLAN id of the request, 6 bytes out)`; ends in one
/// `libvarpd_plugin_arp_reply`.
pub type varpd_plugin_arp_f = unsafe extern "C" fn(
    *mut c_void,
    *mut varpd_arp_handle_t,
    c_int,
    *const sockaddr,
    u16,
    *mut u8,
);
/// `vpo_dhcp(private, handle, qtype, request, 6 bytes out)`; ends in one
/// `libvarpd_plugin_dhcp_reply`.
pub type varpd_plugin_dhcp_f = unsafe extern "C" fn(
    *mut c_void,
    *mut varpd_dhcp_handle_t,
    c_int,
    *const overlay_targ_lookup_t,
    *mut u8,
);

/// The functions of a plugin, 120 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct varpd_plugin_ops_t {
    /// Reserved, 0.
    pub vpo_callbacks: c_uint,
    /// Always.
    pub vpo_create: Option<varpd_plugin_create_f>,
    /// Always.
    pub vpo_start: Option<varpd_plugin_start_f>,
    /// Always.
    pub vpo_stop: Option<varpd_plugin_stop_f>,
    /// Always.
    pub vpo_destroy: Option<varpd_plugin_destroy_f>,
    /// In POINT mode, and only there.
    pub vpo_default: Option<varpd_plugin_default_f>,
    /// In DYNAMIC mode, and only there.
    pub vpo_lookup: Option<varpd_plugin_lookup_f>,
    /// Always.
    pub vpo_nprops: Option<varpd_plugin_nprops_f>,
    /// Always.
    pub vpo_propinfo: Option<varpd_plugin_propinfo_f>,
    /// Always.
    pub vpo_getprop: Option<varpd_plugin_getprop_f>,
    /// Always.
    pub vpo_setprop: Option<varpd_plugin_setprop_f>,
    /// Always.
    pub vpo_save: Option<varpd_plugin_save_f>,
    /// Always.
    pub vpo_restore: Option<varpd_plugin_restore_f>,
    /// Optional.
    pub vpo_arp: Option<varpd_plugin_arp_f>,
    /// Optional.
    pub vpo_dhcp: Option<varpd_plugin_dhcp_f>,
}
