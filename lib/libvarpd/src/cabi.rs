// SPDX-License-Identifier: CDDL-1.0
//! The C functions that plugins call: libvarpd's plugin mapfile (spec/varpd.md 2.7, 5, 6).
//!
//! They are part of the process that loads plugins, and bind when a plugin is loaded. A program
//! that loads plugins must export them: `--export-dynamic-symbol=libvarpd_*` and `=nvlist_*` (see
//! build.rs of cmd/varpd); [`SYMBOLS`] keeps them from being left out.
//!
//! Some names of that interface exist in one place only. `libvarpd_plugin_bunyan` is in a header and
//! in no mapfile: it is here, so that who calls it can be loaded. `libvarpd_prop_set_rangestr` is in
//! the mapfile, where it is a slip for `libvarpd_prop_set_range_str`: it is here and does the same.
//! `libvarpd_inject_ndp` is in a mapfile as well, but no header says what it takes, so nobody can
//! have called it: here it does for IPv6 what `libvarpd_inject_arp` does for IPv4.
//! `libvarpd_plugin_reporter` and `libvarpd_plugin_query_unknown` are ours alone. A plugin that is to load
//! elsewhere as well looks these three up when it runs.
//!
//! Handles are tokens; one that is not known is logged and the call does nothing. Other pointers
//! must be what the header says. Nothing here panics.
mod bunyan;
mod panic;
mod prop;

pub use bunyan::{bunyan_logger_t, libvarpd_plugin_bunyan};
pub use panic::{libvarpd_panic, varpd_panic_buf, varpd_panic_errno, varpd_panic_thread};
pub use prop::*;

use crate::device::point_v1;
use crate::instance::Instance;
use crate::stats::Lookup;
use crate::{Varpd, frame, plugin, proxy, query};
use overlay_abi::dld::OVERLAY_STATUS_BUFLEN;
use overlay_abi::errno::Errno;
use overlay_abi::ids::MacAddr;
use overlay_abi::provider::*;
use overlay_abi::target::v2::{
    OVERLAY_TARGET_CACHE_ROUTER, overlay_targ_cache_entry_t as overlay_targ_cache_entry_v2,
    overlay_targ_cache_net_entry_t, overlay_target_mac_t,
    overlay_target_point_t as overlay_target_point_v2,
};
use overlay_abi::target::{
    overlay_targ_cache_entry_t, overlay_targ_lookup_t, overlay_target_point_t,
};
use slog::Logger;
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::sync::{Arc, OnceLock};
use zerocopy::FromZeros;

/// Addresses of all functions here.
#[used]
pub static SYMBOLS: Symbols = Symbols(&[
    libvarpd_plugin_alloc as *const (),
    libvarpd_plugin_register as *const (),
    libvarpd_plugin_free as *const (),
    libvarpd_plugin_reporter as *const (),
    libvarpd_plugin_vnetid as *const (),
    libvarpd_plugin_dcid as *const (),
    libvarpd_route_flush as *const (),
    libvarpd_plugin_bunyan as *const (),
    libvarpd_plugin_query_reply as *const (),
    libvarpd_plugin_query_unknown as *const (),
    libvarpd_plugin_proxy_arp as *const (),
    libvarpd_plugin_proxy_ndp as *const (),
    libvarpd_plugin_proxy_dhcp as *const (),
    libvarpd_plugin_arp_reply as *const (),
    libvarpd_plugin_dhcp_reply as *const (),
    libvarpd_inject_varp as *const (),
    libvarpd_inject_arp as *const (),
    libvarpd_inject_ndp as *const (),
    libvarpd_fma_degrade as *const (),
    libvarpd_fma_restore as *const (),
    libvarpd_panic as *const (),
    libvarpd_prop_set_name as *const (),
    libvarpd_prop_set_prot as *const (),
    libvarpd_prop_set_type as *const (),
    libvarpd_prop_set_default as *const (),
    libvarpd_prop_set_nodefault as *const (),
    libvarpd_prop_set_range_uint32 as *const (),
    libvarpd_prop_set_range_str as *const (),
    libvarpd_prop_set_rangestr as *const (),
]);

/// Those of the stand-in for libnvpair, which a plugin binds to as well.
#[cfg(not(target_os = "illumos"))]
#[used]
pub static NVPAIR_SYMBOLS: &nvpair::cabi::Symbols = &nvpair::cabi::SYMBOLS;

/// Keeps functions in an executable which only plugins call.
#[derive(Debug)]
pub struct Symbols(pub &'static [*const ()]);

// SAFETY: addresses, never read through.
unsafe impl Sync for Symbols {}

/// Where calls with unknown handles are logged: the log of this process' first varpd.
static LOG: OnceLock<Logger> = OnceLock::new();

pub(crate) fn log_to(log: &Logger) {
    LOG.get_or_init(|| log.clone());
}

fn complain(function: &str, what: &str) {
    if let Some(log) = LOG.get() {
        slog::error!(log, "a plugin called {function} with {what}; ignored");
    }
}

fn provider(function: &str, handle: *mut varpd_provider_handle_t) -> Option<Arc<Instance>> {
    let instance = Instance::of_provider(handle);
    if instance.is_none() {
        complain(function, "the handle of no instance");
    }
    instance
}

/// # Safety
/// `text` is NULL or a C string.
unsafe fn c_str<'a>(function: &str, text: *const c_char) -> Option<&'a CStr> {
    if text.is_null() {
        complain(function, "NULL");
        return None;
    }
    // SAFETY: not NULL, thus a C string by contract.
    Some(unsafe { CStr::from_ptr(text) })
}

/// # Safety
/// `mac` is NULL or points to 6 bytes.
unsafe fn mac(function: &str, mac: *const u8) -> Option<MacAddr> {
    if mac.is_null() {
        complain(function, "NULL");
        return None;
    }
    // SAFETY: not NULL, thus 6 bytes by contract; an array of bytes has no alignment.
    Some(MacAddr(unsafe { mac.cast::<[u8; 6]>().read() }))
}

/// A zeroed registration with its version filled in. NULL and `EINVAL` in `err` for a version that
/// is not known.
///
/// # Safety
/// `err` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_plugin_alloc(
    version: c_uint,
    err: *mut c_int,
) -> *mut varpd_plugin_register_t {
    if !(VARPD_VERSION_ONE..=v2::VARPD_VERSION_TWO).contains(&version) {
        // SAFETY: NULL or writable by contract.
        if let Some(err) = unsafe { err.as_mut() } {
            *err = Errno::EINVAL.to_host();
        }
        return std::ptr::null_mut();
    }
    Box::into_raw(Box::new(varpd_plugin_register_t {
        vpr_version: version,
        vpr_mode: 0,
        vpr_name: std::ptr::null(),
        vpr_ops: std::ptr::null(),
    }))
}

/// Registers a plugin while its object is being loaded. The name and the vector are copied.
///
/// `EINVAL`: NULL, outside of a load, or something is wrong with it; `EEXIST`: the name is taken.
///
/// # Safety
/// `registration` is NULL or a registration whose name and vector are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_plugin_register(
    registration: *mut varpd_plugin_register_t,
) -> c_int {
    // SAFETY: NULL or valid by contract.
    let result = match unsafe { registration.as_ref() } {
        // SAFETY: as above.
        Some(registration) => unsafe { plugin::register(registration) },
        None => Err(Errno::EINVAL),
    };
    result.err().map_or(0, Errno::to_host)
}

/// Frees a registration; NULL is fine.
///
/// # Safety
/// `registration` is NULL or from [`libvarpd_plugin_alloc`] and not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_plugin_free(registration: *mut varpd_plugin_register_t) {
    if !registration.is_null() {
        // SAFETY: from Box::into_raw, given back once, by contract.
        drop(unsafe { Box::from_raw(registration) });
    }
}

/// Says who tells what an instance does, of the plugin that is registered next by this object.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_plugin_reporter(reporter: Option<varpd_plugin_report_f>) {
    const NAME: &str = "libvarpd_plugin_reporter";
    match reporter {
        None => complain(NAME, "NULL"),
        Some(reporter) if plugin::reporter(reporter).is_none() => {
            complain(NAME, "a function while no plugin is being loaded");
        }
        Some(_) => {}
    }
}

/// Virtual network of an instance; 0 for an unknown handle.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_plugin_vnetid(handle: *mut varpd_provider_handle_t) -> u64 {
    provider("libvarpd_plugin_vnetid", handle).map_or(0, |i| i.vnetid().0)
}

/// Data center of an instance's link; 0 where there are none, and for an unknown handle.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_plugin_dcid(handle: *mut varpd_provider_handle_t) -> u32 {
    provider("libvarpd_plugin_dcid", handle).map_or(0, |i| i.dcid())
}

/// Makes the kernel forget routes of packets that come with this VLAN id, from one prefix to another;
/// what is being asked is asked anew. Lengths are of IPv6, for IPv4 96 more than its own.
///
/// # Safety
/// The addresses are NULL or point to 16 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_route_flush(
    handle: *mut varpd_provider_handle_t,
    src: *const [u8; 16],
    dst: *const [u8; 16],
    src_len: u8,
    dst_len: u8,
    vlan: u16,
) {
    const NAME: &str = "libvarpd_route_flush";
    let Some(instance) = provider(NAME, handle) else { return };
    let Some(varpd) = instance.varpd() else { return };
    // SAFETY: by contract.
    let (Some(src), Some(dst)) = (unsafe { (src.as_ref(), dst.as_ref()) }) else {
        return complain(NAME, "NULL");
    };
    let net = overlay_targ_cache_net_entry_t {
        otcne_src: *src,
        otcne_dst: *dst,
        otcne_vlan: vlan,
        otcne_src_prefixlen: src_len,
        otcne_dst_prefixlen: dst_len,
    };
    match varpd.device.remove_net(instance.link(), net) {
        // The link may be gone or not be associated, or the kernel have no routes.
        Ok(()) | Err(Errno::ENOENT | Errno::ENXIO | Errno::ENOTSUP) => {}
        Err(e) => slog::error!(varpd.log, "{NAME} failed";
            "instance" => instance.id().0, "error" => e.name()),
    }
}

/// Answers a query: `VARPD_LOOKUP_OK` with what is in its point, anything else drops the frame.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_plugin_query_reply(handle: *mut varpd_query_handle_t, action: c_int) {
    if let Err(what) = query::reply(handle, action) {
        complain("libvarpd_plugin_query_reply", what);
    }
}

/// Answers a query: nobody can say at the moment. A frame is dropped; what the kernel knew before varpd was
/// started stays.
// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_plugin_query_unknown(handle: *mut varpd_query_handle_t) {
    match query::take(handle) {
        Ok(query) => query.unknown(),
        Err(what) => complain("libvarpd_plugin_query_unknown", what),
    }
}

/// Hands a query over to a proxy. The request is not looked at: the query has it.
fn hand_over(
    function: &str,
    kind: proxy::Kind,
    handle: *mut varpd_provider_handle_t,
    query: *mut varpd_query_handle_t,
) {
    let query = match query::take(query) {
        Ok(query) => query,
        Err(what) => return complain(function, what),
    };
    match provider(function, handle) {
        Some(instance) if Arc::ptr_eq(&instance, query.instance()) => proxy::run(kind, query),
        Some(_) => {
            complain(function, "the query of another instance, which is dropped");
            query.refuse(Lookup::Dropped);
        }
        None => query.refuse(Lookup::Dropped),
    }
}

/// Takes over a query that is an ARP request.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_plugin_proxy_arp(
    handle: *mut varpd_provider_handle_t,
    query: *mut varpd_query_handle_t,
    _request: *const overlay_targ_lookup_t,
) {
    hand_over("libvarpd_plugin_proxy_arp", proxy::Kind::Arp, handle, query);
}

/// Takes over a query that is a neighbour solicitation.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_plugin_proxy_ndp(
    handle: *mut varpd_provider_handle_t,
    query: *mut varpd_query_handle_t,
    _request: *const overlay_targ_lookup_t,
) {
    hand_over("libvarpd_plugin_proxy_ndp", proxy::Kind::Ndp, handle, query);
}

/// Takes over a query that is a DHCP broadcast.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_plugin_proxy_dhcp(
    handle: *mut varpd_provider_handle_t,
    query: *mut varpd_query_handle_t,
    _request: *const overlay_targ_lookup_t,
) {
    hand_over("libvarpd_plugin_proxy_dhcp", proxy::Kind::Dhcp, handle, query);
}

/// Answers `vpo_arp`: `VARPD_LOOKUP_OK` with the address it was to put, anything else drops the
/// frame.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_plugin_arp_reply(handle: *mut varpd_arp_handle_t, action: c_int) {
    if let Err(what) = proxy::arp_reply(handle, action) {
        complain("libvarpd_plugin_arp_reply", what);
    }
}

/// Answers `vpo_dhcp`, likewise.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_plugin_dhcp_reply(handle: *mut varpd_dhcp_handle_t, action: c_int) {
    if let Err(what) = proxy::dhcp_reply(handle, action) {
        complain("libvarpd_plugin_dhcp_reply", what);
    }
}

/// Sets where the kernel sends frames for an address or, without a point, makes it forget that. The
/// point has the layout of the version that the plugin registered with; in version 2 no address and
/// port 0 are a router.
///
/// # Safety
/// `addr` is NULL or points to 6 bytes, `point` is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_inject_varp(
    handle: *mut varpd_provider_handle_t,
    addr: *const u8,
    point: *const overlay_target_point_t,
) {
    const NAME: &str = "libvarpd_inject_varp";
    let Some(instance) = provider(NAME, handle) else { return };
    let Some(varpd) = instance.varpd() else { return };
    // SAFETY: by contract.
    let Some(addr) = (unsafe { mac(NAME, addr) }) else { return };
    // SAFETY: by contract.
    let result = match unsafe { point.as_ref() } {
        Some(_) if instance.plugin().is_routed() => {
            // SAFETY: what a plugin of this version gives, by contract.
            let point = unsafe { point.cast::<overlay_target_point_v2>().read() };
            set_point_v2(&varpd, &instance, addr, point)
        }
        Some(point) => {
            let otce_dest = query::clean(point);
            let entry = overlay_targ_cache_entry_t { otce_mac: addr.0, otce_flags: 0, otce_dest };
            varpd.device.cache_set(instance.link(), entry)
        }
        None => varpd.device.cache_remove(instance.link(), addr),
    };
    match result {
        // The link may be gone or not be associated, and the entry may not be there.
        Ok(()) | Err(Errno::ENOENT | Errno::ENXIO | Errno::EINVAL) => {}
        Err(e) => slog::error!(varpd.log, "{NAME} failed";
            "instance" => instance.id().0, "error" => e.name()),
    }
}

fn set_point_v2(
    varpd: &Varpd,
    instance: &Instance,
    addr: MacAddr,
    point: overlay_target_point_v2,
) -> Result<(), Errno> {
    if !point.is_router() {
        let otce_dest = point_v1(&point);
        let entry = overlay_targ_cache_entry_t { otce_mac: addr.0, otce_flags: 0, otce_dest };
        return varpd.device.cache_set(instance.link(), entry);
    }
    let mut entry = overlay_targ_cache_entry_v2::new_zeroed();
    entry.otce_mac = overlay_target_mac_t::new(0, addr);
    entry.otce_flags = OVERLAY_TARGET_CACHE_ROUTER;
    varpd.device.cache_set_v2(instance.link(), entry)
}

/// Tells the guests of the link that `src` has the IPv4 address `ip`, by a gratuitous ARP sent to
/// `dst`.
///
/// # Safety
/// The addresses are NULL or point to 6, 4 and 6 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_inject_arp(
    handle: *mut varpd_provider_handle_t,
    vlan: u16,
    src: *const u8,
    ip: *const [u8; 4],
    dst: *const u8,
) {
    const NAME: &str = "libvarpd_inject_arp";
    // SAFETY: by contract.
    let (src, ip, dst) = unsafe { (mac(NAME, src), ip.as_ref(), mac(NAME, dst)) };
    let (Some(src), Some(ip), Some(dst)) = (src, ip, dst) else { return };
    announce(NAME, handle, frame::gratuitous_arp(vlan, src, *ip, dst));
}

/// Tells the guests of the link that `src` has the IPv6 address `ip`, by an unsolicited neighbour
/// advertisement.
///
/// # Safety
/// The addresses are NULL or point to 6 and 16 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_inject_ndp(
    handle: *mut varpd_provider_handle_t,
    vlan: u16,
    src: *const u8,
    ip: *const [u8; 16],
) {
    const NAME: &str = "libvarpd_inject_ndp";
    // SAFETY: by contract.
    let (src, ip) = unsafe { (mac(NAME, src), ip.as_ref()) };
    let (Some(src), Some(ip)) = (src, ip) else { return };
    announce(NAME, handle, frame::unsolicited_advertisement(vlan, src, *ip));
}

fn announce(function: &str, handle: *mut varpd_provider_handle_t, mut frame: Vec<u8>) {
    let Some(instance) = provider(function, handle) else { return };
    let Some(varpd) = instance.varpd() else { return };
    if let Err(e) = varpd.device.inject(instance.link(), &mut frame) {
        // A link that is stopping takes nothing; the guests will ask by themselves.
        slog::debug!(varpd.log, "{function} failed";
            "instance" => instance.id().0, "error" => e.name());
    }
}

/// Degrades the link of an instance; the message is cut after 255 bytes.
///
/// # Safety
/// `message` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_fma_degrade(
    handle: *mut varpd_provider_handle_t,
    message: *const c_char,
) {
    const NAME: &str = "libvarpd_fma_degrade";
    let Some(instance) = provider(NAME, handle) else { return };
    // SAFETY: by contract.
    let Some(message) = (unsafe { c_str(NAME, message) }) else { return };
    let Some(varpd) = instance.varpd() else { return };
    let message = message.to_bytes();
    let cut = &message[..message.len().min(OVERLAY_STATUS_BUFLEN - 1)];
    slog::warn!(varpd.log, "link degraded: {}", String::from_utf8_lossy(cut);
        "instance" => instance.id().0, "link" => instance.link().0);
    instance.set_degraded(true);
    fma(NAME, &instance, varpd.device.degrade(instance.link(), cut));
}

/// Ends the degradation of the link of an instance.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_fma_restore(handle: *mut varpd_provider_handle_t) {
    const NAME: &str = "libvarpd_fma_restore";
    let Some(instance) = provider(NAME, handle) else { return };
    let Some(varpd) = instance.varpd() else { return };
    instance.set_degraded(false);
    fma(NAME, &instance, varpd.device.restore(instance.link()));
}

fn fma(function: &str, instance: &Instance, result: Result<(), Errno>) {
    if let (Err(e), Some(varpd)) = (result, instance.varpd()) {
        slog::error!(varpd.log, "{function} failed";
            "instance" => instance.id().0, "link" => instance.link().0, "error" => e.name());
    }
}
