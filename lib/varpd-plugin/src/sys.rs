// SPDX-License-Identifier: CDDL-1.0
//! Functions that the process loading a plugin provides: libvarpd's plugin interface and libnvpair.
//!
//! Spec/varpd.md 2.7 and 5, nvpair(3NVPAIR). They bind when the plugin is loaded.
use overlay_abi::provider::*;
use overlay_abi::target::{overlay_targ_lookup_t, overlay_target_point_t};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// `libvarpd_plugin_reporter`: says who tells of instances of the plugin registered next.
pub type ReporterFn = unsafe extern "C" fn(varpd_plugin_report_f);

/// `libvarpd_plugin_query_unknown`: answers a query by saying that nobody can say.
// SAFETY: whoever calls one passes a query that is not answered yet.
pub type UnknownFn = unsafe extern "C" fn(*mut varpd_query_handle_t);

/// `libvarpd_inject_ndp`: sends an unsolicited neighbour advertisement (VLAN, MAC, IPv6 address) to guests
/// of the link.
pub type InjectNdpFn =
    unsafe extern "C" fn(*mut varpd_provider_handle_t, u16, *const u8, *const [u8; 16]);

/// `libvarpd_plugin_dcid`: data center of an instance's link.
pub type DcidFn = unsafe extern "C" fn(*mut varpd_provider_handle_t) -> u32;

/// `libvarpd_route_flush`: makes the kernel forget routes between two prefixes.
pub type RouteFlushFn = unsafe extern "C" fn(
    *mut varpd_provider_handle_t,
    *const [u8; 16],
    *const [u8; 16],
    u8,
    u8,
    u16,
);

/// A function that the process may have or not, since only our varpd does.
///
/// # Safety
/// `F` is the type of the function with this name.
pub unsafe fn optional<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: a C string.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: not NULL, thus such a function by contract.
    (!address.is_null()).then(|| unsafe { std::mem::transmute_copy(&address) })
}

/// A proxy; it takes over the query.
pub type ProxyFn = unsafe extern "C" fn(
    *mut varpd_provider_handle_t,
    *mut varpd_query_handle_t,
    *const overlay_targ_lookup_t,
);

unsafe extern "C" {
    /// Memory for a registration; NULL and an errno for an unknown version.
    pub fn libvarpd_plugin_alloc(version: c_uint, err: *mut c_int) -> *mut varpd_plugin_register_t;
    /// Registers a plugin; only while it is being loaded.
    pub fn libvarpd_plugin_register(registration: *mut varpd_plugin_register_t) -> c_int;
    /// Frees what `libvarpd_plugin_alloc` gave.
    pub fn libvarpd_plugin_free(registration: *mut varpd_plugin_register_t);
    /// Virtual network of an instance.
    pub fn libvarpd_plugin_vnetid(provider: *mut varpd_provider_handle_t) -> u64;
    /// Answers a query, `VARPD_LOOKUP_*`.
    pub fn libvarpd_plugin_query_reply(query: *mut varpd_query_handle_t, action: c_int);
    /// Takes over a query that is an ARP request.
    pub fn libvarpd_plugin_proxy_arp(
        provider: *mut varpd_provider_handle_t,
        query: *mut varpd_query_handle_t,
        request: *const overlay_targ_lookup_t,
    );
    /// Takes over a query that is a neighbour solicitation.
    pub fn libvarpd_plugin_proxy_ndp(
        provider: *mut varpd_provider_handle_t,
        query: *mut varpd_query_handle_t,
        request: *const overlay_targ_lookup_t,
    );
    /// Takes over a query that is a client's DHCP broadcast.
    pub fn libvarpd_plugin_proxy_dhcp(
        provider: *mut varpd_provider_handle_t,
        query: *mut varpd_query_handle_t,
        request: *const overlay_targ_lookup_t,
    );
    /// Answers `vpo_arp`, `VARPD_LOOKUP_*`.
    pub fn libvarpd_plugin_arp_reply(handle: *mut varpd_arp_handle_t, action: c_int);
    /// Answers `vpo_dhcp`, `VARPD_LOOKUP_*`.
    pub fn libvarpd_plugin_dhcp_reply(handle: *mut varpd_dhcp_handle_t, action: c_int);
    /// Sends a gratuitous ARP request to guests of the link.
    pub fn libvarpd_inject_arp(
        provider: *mut varpd_provider_handle_t,
        vlan: u16,
        src: *const u8,
        ip: *const u8,
        dst: *const u8,
    );
    /// Degrades the link.
    pub fn libvarpd_fma_degrade(provider: *mut varpd_provider_handle_t, message: *const c_char);
    /// Ends the degradation.
    pub fn libvarpd_fma_restore(provider: *mut varpd_provider_handle_t);
    /// Sets or, with NULL, removes an entry of the kernel's target cache.
    pub fn libvarpd_inject_varp(
        provider: *mut varpd_provider_handle_t,
        mac: *const u8,
        point: *const overlay_target_point_t,
    );
    /// Name of the property described.
    pub fn libvarpd_prop_set_name(prop: *mut varpd_prop_handle_t, name: *const c_char);
    /// Its permissions.
    pub fn libvarpd_prop_set_prot(prop: *mut varpd_prop_handle_t, prot: c_uint);
    /// Its type.
    pub fn libvarpd_prop_set_type(prop: *mut varpd_prop_handle_t, kind: c_uint);
    /// Its default.
    pub fn libvarpd_prop_set_default(
        prop: *mut varpd_prop_handle_t,
        value: *mut c_void,
        len: isize,
    ) -> c_int;
    /// A range of numbers it may have.
    pub fn libvarpd_prop_set_range_uint32(prop: *mut varpd_prop_handle_t, min: u32, max: u32);
    /// A text it may have.
    pub fn libvarpd_prop_set_range_str(prop: *mut varpd_prop_handle_t, text: *const c_char);
}

#[cfg_attr(target_os = "illumos", link(name = "nvpair"))]
unsafe extern "C" {
    /// Adds a pair.
    pub fn nvlist_add_uint16(nvl: *mut nvlist_t, name: *const c_char, value: u16) -> c_int;
    /// Adds a pair.
    pub fn nvlist_add_uint32(nvl: *mut nvlist_t, name: *const c_char, value: u32) -> c_int;
    /// Adds a pair.
    pub fn nvlist_add_uint64(nvl: *mut nvlist_t, name: *const c_char, value: u64) -> c_int;
    /// Adds a copy of a string.
    pub fn nvlist_add_string(
        nvl: *mut nvlist_t,
        name: *const c_char,
        value: *const c_char,
    ) -> c_int;
    /// Finds a pair by name and type.
    pub fn nvlist_lookup_uint16(nvl: *mut nvlist_t, name: *const c_char, out: *mut u16) -> c_int;
    /// Finds a pair by name and type.
    pub fn nvlist_lookup_uint32(nvl: *mut nvlist_t, name: *const c_char, out: *mut u32) -> c_int;
    /// Finds a pair by name and type.
    pub fn nvlist_lookup_uint64(nvl: *mut nvlist_t, name: *const c_char, out: *mut u64) -> c_int;
    /// Finds a string, which stays the list's.
    pub fn nvlist_lookup_string(
        nvl: *mut nvlist_t,
        name: *const c_char,
        out: *mut *mut c_char,
    ) -> c_int;
}
