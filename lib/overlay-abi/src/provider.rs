// SPDX-License-Identifier: CDDL-1.0
//! C ABI between varpd and its lookup plugins, version 1 (spec/varpd.md 5).
//!
//! A plugin is a shared object whose init section registers a [`varpd_plugin_register_t`]. Results
//! are error numbers *of the host*, 0 for success, since a plugin in C uses the host's `errno.h`.
//! Version 2, the routed form, is in [`v2`].
pub mod v2;

use crate::target::{overlay_targ_lookup_t, overlay_target_point_t};
use core::ffi::{c_char, c_int, c_uint, c_void};

/// Version 1: what illumos-gate and SmartOS have.
pub const VARPD_VERSION_ONE: c_uint = 1;
/// The version to register with; [`v2::VARPD_VERSION_TWO`] for the routed form.
pub const VARPD_CURRENT_VERSION: c_uint = VARPD_VERSION_ONE;

/// Answer to a query: use what is in the out pointers.
pub const VARPD_LOOKUP_OK: c_int = 0;
/// Answer to a query: drop the packet.
pub const VARPD_LOOKUP_DROP: c_int = -1;
/// `qtype` of `vpo_arp` and `vpo_dhcp`.
pub const VARPD_QTYPE_ETHERNET: c_int = 0;

macro_rules! opaque {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[repr(C)]
        pub struct $name {
            opaque: [u8; 0],
        }
    )*};
}

opaque! {
    /// What libvarpd gives a plugin at create to call back with: an instance.
    varpd_provider_handle_t
    /// A lookup that waits for its reply.
    varpd_query_handle_t
    /// An address resolution that waits for its reply.
    varpd_arp_handle_t
    /// A DHCP redirection that waits for its reply.
    varpd_dhcp_handle_t
    /// The property that `vpo_propinfo` describes.
    varpd_prop_handle_t
    /// A name-value list of libnvpair.
    nvlist_t
    /// A socket address of the host.
    sockaddr
}

/// `vpo_create(provider, private out, destination bits)`; `ENOTSUP` for bits it cannot serve.
pub type varpd_plugin_create_f =
    unsafe extern "C" fn(*mut varpd_provider_handle_t, *mut *mut c_void, c_uint) -> c_int;
/// `vpo_start(private)`; `EAGAIN` if a required property is missing.
pub type varpd_plugin_start_f = unsafe extern "C" fn(*mut c_void) -> c_int;
/// `vpo_stop(private)`: undoes start.
pub type varpd_plugin_stop_f = unsafe extern "C" fn(*mut c_void);
/// `vpo_destroy(private)`: undoes create.
pub type varpd_plugin_destroy_f = unsafe extern "C" fn(*mut c_void);
/// `vpo_default(private, point out)`: `VARPD_LOOKUP_*`.
pub type varpd_plugin_default_f =
    unsafe extern "C" fn(*mut c_void, *mut overlay_target_point_t) -> c_int;
/// `vpo_lookup(private, query, request, point out)`; ends in exactly one
/// `libvarpd_plugin_query_reply`.
pub type varpd_plugin_lookup_f = unsafe extern "C" fn(
    *mut c_void,
    *mut varpd_query_handle_t,
    *const overlay_targ_lookup_t,
    *mut overlay_target_point_t,
);
/// `vpo_nprops(private, number out)`
pub type varpd_plugin_nprops_f = unsafe extern "C" fn(*mut c_void, *mut c_uint) -> c_int;
/// `vpo_propinfo(private, id, property)`; `EINVAL` for an unknown id.
pub type varpd_plugin_propinfo_f =
    unsafe extern "C" fn(*mut c_void, c_uint, *mut varpd_prop_handle_t) -> c_int;
/// `vpo_getprop(private, name, buffer, size in and out)`; size 0 is "not set", `EOVERFLOW` when
/// short.
pub type varpd_plugin_getprop_f =
    unsafe extern "C" fn(*mut c_void, *const c_char, *mut c_void, *mut u32) -> c_int;
/// `vpo_setprop(private, name, value, size)`
pub type varpd_plugin_setprop_f =
    unsafe extern "C" fn(*mut c_void, *const c_char, *const c_void, u32) -> c_int;
/// `vpo_save(private, list)`: puts what `vpo_restore` needs.
pub type varpd_plugin_save_f = unsafe extern "C" fn(*mut c_void, *mut nvlist_t) -> c_int;
/// `vpo_restore(list, provider, destination bits, private out)`: create and set properties.
pub type varpd_plugin_restore_f = unsafe extern "C" fn(
    *mut nvlist_t,
    *mut varpd_provider_handle_t,
    c_uint,
    *mut *mut c_void,
) -> c_int;
/// `vpo_arp(private, handle, qtype, address, 6 bytes out)`; ends in one
/// `libvarpd_plugin_arp_reply`.
pub type varpd_plugin_arp_f =
    unsafe extern "C" fn(*mut c_void, *mut varpd_arp_handle_t, c_int, *const sockaddr, *mut u8);
/// `vpo_dhcp(private, handle, qtype, request, 6 bytes out)`; ends in one
/// `libvarpd_plugin_dhcp_reply`.
pub type varpd_plugin_dhcp_f = unsafe extern "C" fn(
    *mut c_void,
    *mut varpd_dhcp_handle_t,
    c_int,
    *const overlay_targ_lookup_t,
    *mut u8,
);

/// What a plugin gives to `libvarpd_plugin_reporter`, which is no part of the original interface:
/// `report(private, buffer, size in and out)` puts what there is to say of an instance, a JSON
/// object in UTF-8; `EOVERFLOW` and the size it needs when the buffer is short.
pub type varpd_plugin_report_f = unsafe extern "C" fn(*mut c_void, *mut c_char, *mut u32) -> c_int;

/// The functions of a plugin, 120 bytes. Members in doubt are marked by when they must be there.
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

/// What a plugin registers, 24 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct varpd_plugin_register_t {
    /// [`VARPD_CURRENT_VERSION`]
    pub vpr_version: c_uint,
    /// [`crate::target::OVERLAY_TARGET_POINT`] or [`crate::target::OVERLAY_TARGET_DYNAMIC`].
    pub vpr_mode: c_uint,
    /// Name, NUL-terminated; copied.
    pub vpr_name: *const c_char,
    /// Functions; must stay where they are.
    pub vpr_ops: *const varpd_plugin_ops_t,
}
