// SPDX-License-Identifier: CDDL-1.0
//! C ABI between the overlay driver and its encapsulation plugins, `sys/overlay_plugin.h` (spec
//! 9.8).
//!
//! Message blocks, sockets and handles are opaque here; the drivers cast them.
use core::ffi::{c_char, c_int, c_uint, c_void};

/// The only version of this interface so far.
pub const OVEP_VERSION_ONE: c_uint = 1;
/// The version to register with.
pub const OVEP_VERSION: c_uint = OVEP_VERSION_ONE;
/// `ovep_flags`: inner frames may carry VLAN tags.
pub const OVEP_F_VLAN_TAG: c_uint = 1;

/// The overlay device, for `ovpo_init`.
pub type overlay_handle_t = *mut c_void;
/// The property that `ovpo_propinfo` describes.
pub type overlay_prop_handle_t = *mut c_void;
/// A STREAMS message block.
pub type mblk_t = c_void;
/// A kernel socket.
pub type ksocket_t = *mut c_void;
/// A socket address with room for `sockaddr_storage`.
pub type sockaddr = c_void;

/// What goes into or came out of an encapsulation header, 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ovep_encap_info_t {
    /// Virtual network id.
    pub ovdi_id: u64,
    /// Decapsulation out: bytes of the header.
    pub ovdi_hdr_size: usize,
}

/// `ovpo_encap(private, frame, info, header out)`: the out block goes in front of the frame.
pub type overlay_plugin_encap_t = unsafe extern "C" fn(
    *mut c_void,
    *mut mblk_t,
    *mut ovep_encap_info_t,
    *mut *mut mblk_t,
) -> c_int;
/// `ovpo_decap(private, message, info out)`
pub type overlay_plugin_decap_t =
    unsafe extern "C" fn(*mut c_void, *mut mblk_t, *mut ovep_encap_info_t) -> c_int;
/// `ovpo_init(device, private out)`
pub type overlay_plugin_init_t = unsafe extern "C" fn(overlay_handle_t, *mut *mut c_void) -> c_int;
/// `ovpo_fini(private)`
pub type overlay_plugin_fini_t = unsafe extern "C" fn(*mut c_void);
/// `ovpo_socket(private, domain out, type out, protocol out, address out, length in and out)`
pub type overlay_plugin_socket_t = unsafe extern "C" fn(
    *mut c_void,
    *mut c_int,
    *mut c_int,
    *mut c_int,
    *mut sockaddr,
    *mut c_uint,
) -> c_int;
/// `ovpo_sockopt(socket)`
pub type overlay_plugin_sockopt_t = unsafe extern "C" fn(ksocket_t) -> c_int;
/// `ovpo_getprop(private, name, buffer, size in and out)`
pub type overlay_plugin_getprop_t =
    unsafe extern "C" fn(*mut c_void, *const c_char, *mut c_void, *mut u32) -> c_int;
/// `ovpo_setprop(private, name, value, size)`
pub type overlay_plugin_setprop_t =
    unsafe extern "C" fn(*mut c_void, *const c_char, *const c_void, u32) -> c_int;
/// `ovpo_propinfo(name, property)`
pub type overlay_plugin_propinfo_t =
    unsafe extern "C" fn(*const c_char, overlay_prop_handle_t) -> c_int;

/// The functions of an encapsulation plugin, 80 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct overlay_plugin_ops_t {
    /// Reserved, 0.
    pub ovpo_callbacks: c_uint,
    /// Always.
    pub ovpo_init: Option<overlay_plugin_init_t>,
    /// Always.
    pub ovpo_fini: Option<overlay_plugin_fini_t>,
    /// Always.
    pub ovpo_encap: Option<overlay_plugin_encap_t>,
    /// Always.
    pub ovpo_decap: Option<overlay_plugin_decap_t>,
    /// Always.
    pub ovpo_socket: Option<overlay_plugin_socket_t>,
    /// Optional.
    pub ovpo_sockopt: Option<overlay_plugin_sockopt_t>,
    /// Always.
    pub ovpo_getprop: Option<overlay_plugin_getprop_t>,
    /// Always.
    pub ovpo_setprop: Option<overlay_plugin_setprop_t>,
    /// Always.
    pub ovpo_propinfo: Option<overlay_plugin_propinfo_t>,
}

/// What an encapsulation plugin registers, 48 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct overlay_plugin_register_t {
    /// [`OVEP_VERSION`]
    pub ovep_version: c_uint,
    /// Name, NUL-terminated.
    pub ovep_name: *const c_char,
    /// Functions.
    pub ovep_ops: *const overlay_plugin_ops_t,
    /// Names of its properties, the last followed by NULL.
    pub ovep_props: *const *const c_char,
    /// Bytes of a virtual network id, 1 to 8.
    pub ovep_id_size: c_uint,
    /// [`OVEP_F_VLAN_TAG`] or 0.
    pub ovep_flags: c_uint,
    /// Destination bits it needs, `OVERLAY_PLUGIN_D_*`.
    pub ovep_dest: c_uint,
}
