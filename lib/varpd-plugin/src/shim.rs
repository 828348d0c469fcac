// SPDX-License-Identifier: CDDL-1.0
//! The C functions of the operations vector over the traits; [`crate::plugin!`] puts them together.
//!
//! The private pointer is a `Box` of the plugin's object and its provider handle, from `vpo_create` or
//! `vpo_restore` to `vpo_destroy`. What libvarpd promises (valid pointers, no call after destroy) is spec/varpd.md
//! 5.2.
use crate::{
    ArpReply, DhcpReply, Dynamic, NvList, Out, Plugin, Point, Prop, Provider, Query, RouteQuery,
    Routed, sys,
};
use overlay_abi::errno::Errno;
use overlay_abi::provider::*;
use overlay_abi::target::v2::{
    About, overlay_targ_lookup_t as overlay_targ_lookup_v2, overlay_target_mac_t,
    overlay_target_point_t as overlay_target_point_v2, overlay_target_route_t,
};
use overlay_abi::target::{
    OVERLAY_TARGET_DYNAMIC, OVERLAY_TARGET_POINT, overlay_targ_lookup_t, overlay_target_point_t,
};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use zerocopy::FromZeros;

/// What a plugin registers.
#[derive(Debug)]
pub struct Registration {
    name: &'static CStr,
    mode: c_uint,
    ops: varpd_plugin_ops_t,
    /// What it registers where version 2 is known.
    routed: Option<v2::varpd_plugin_ops_t>,
    report: varpd_plugin_report_f,
}

/// The version that this object's plugins registered with.
static VERSION: AtomicU32 = AtomicU32::new(0);

/// Whether a plugin that knows routes is asked for them: it registered with version 2. Otherwise the
/// process that loaded it has version 1 alone.
pub fn is_routed() -> bool {
    VERSION.load(Ordering::Relaxed) == v2::VARPD_VERSION_TWO
}

impl Registration {
    /// Registers the plugin; called by the init function that [`crate::plugin!`] emits.
    pub fn register(&'static self) {
        let mut err = 0;
        // SAFETY: the type of that function, which is given one that stays where it is.
        unsafe {
            if let Some(reporter) = sys::optional::<sys::ReporterFn>(c"libvarpd_plugin_reporter") {
                reporter(self.report);
            }
        }
        let (mut version, mut ops) = (VARPD_VERSION_ONE, std::ptr::from_ref(&self.ops));
        let mut block = std::ptr::null_mut();
        if let Some(routed) = &self.routed {
            // SAFETY: the out pointer is valid.
            block = unsafe { sys::libvarpd_plugin_alloc(v2::VARPD_VERSION_TWO, &mut err) };
            if !block.is_null() {
                (version, ops) = (v2::VARPD_VERSION_TWO, std::ptr::from_ref(routed).cast());
            }
        }
        if block.is_null() {
            // SAFETY: as above.
            block = unsafe { sys::libvarpd_plugin_alloc(version, &mut err) };
        }
        VERSION.store(version, Ordering::Relaxed);
        // SAFETY: NULL or a block of ours, written within its bounds and freed once.
        unsafe {
            let Some(fields) = block.as_mut() else { return };
            fields.vpr_mode = self.mode;
            fields.vpr_name = self.name.as_ptr();
            fields.vpr_ops = ops;
            // The loader sees a failure itself.
            let _ = sys::libvarpd_plugin_register(block);
            sys::libvarpd_plugin_free(block);
        }
    }
}

/// The registration of a plugin of point mode.
pub const fn point<P: Point>() -> Registration {
    let ops = varpd_plugin_ops_t { vpo_default: Some(default::<P>), ..Common::<P>::OPS };
    let (mode, report) = (OVERLAY_TARGET_POINT, report::<P>);
    Registration { name: P::NAME, mode, ops, routed: None, report }
}

/// The registration of a plugin of dynamic mode.
pub const fn dynamic<P: Dynamic>() -> Registration {
    let ops = varpd_plugin_ops_t {
        vpo_lookup: Some(lookup::<P>),
        vpo_arp: Some(arp::<P>),
        vpo_dhcp: Some(dhcp::<P>),
        ..Common::<P>::OPS
    };
    let (mode, report) = (OVERLAY_TARGET_DYNAMIC, report::<P>);
    Registration { name: P::NAME, mode, ops, routed: None, report }
}

/// The registration of a plugin that knows routes.
pub const fn routed<P: Routed>() -> Registration {
    let routed = v2::varpd_plugin_ops_t {
        vpo_callbacks: 0,
        vpo_create: Some(create::<P>),
        vpo_start: Some(start::<P>),
        vpo_stop: Some(stop::<P>),
        vpo_destroy: Some(destroy::<P>),
        vpo_default: None,
        vpo_lookup: Some(lookup_v2::<P>),
        vpo_nprops: Some(nprops::<P>),
        vpo_propinfo: Some(propinfo::<P>),
        vpo_getprop: Some(getprop::<P>),
        vpo_setprop: Some(setprop::<P>),
        vpo_save: Some(save::<P>),
        vpo_restore: Some(restore::<P>),
        vpo_arp: Some(arp_v2::<P>),
        vpo_dhcp: Some(dhcp_v2::<P>),
    };
    Registration { routed: Some(routed), ..dynamic::<P>() }
}

struct Common<P>(PhantomData<P>);

impl<P: Plugin> Common<P> {
    const OPS: varpd_plugin_ops_t = varpd_plugin_ops_t {
        vpo_callbacks: 0,
        vpo_create: Some(create::<P>),
        vpo_start: Some(start::<P>),
        vpo_stop: Some(stop::<P>),
        vpo_destroy: Some(destroy::<P>),
        vpo_default: None,
        vpo_lookup: None,
        vpo_nprops: Some(nprops::<P>),
        vpo_propinfo: Some(propinfo::<P>),
        vpo_getprop: Some(getprop::<P>),
        vpo_setprop: Some(setprop::<P>),
        vpo_save: Some(save::<P>),
        vpo_restore: Some(restore::<P>),
        vpo_arp: None,
        vpo_dhcp: None,
    };
}

/// Runs a call of the plugin; a panic in it becomes `EIO`.
fn guarded<T>(call: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(Errno::EIO))
}

/// The host's number of what a call returns.
fn code(call: impl FnOnce() -> Result<(), Errno>) -> c_int {
    guarded(call).err().map_or(0, Errno::to_host)
}

/// What the private pointer points to.
struct Object<P> {
    provider: Provider,
    plugin: P,
}

/// # Safety
/// `private` came from [`made`] and was not destroyed.
unsafe fn object<'a, P>(private: *mut c_void) -> &'a P {
    // SAFETY: by contract.
    unsafe { &(*private.cast::<Object<P>>()).plugin }
}

/// # Safety
/// `out` is writable.
unsafe fn made<P>(
    result: Result<P, Errno>,
    provider: Provider,
    out: *mut *mut c_void,
) -> Result<(), Errno> {
    let private = Box::into_raw(Box::new(Object { provider, plugin: result? }));
    // SAFETY: by contract.
    unsafe { out.write(private.cast()) };
    Ok(())
}

/// # Safety
/// `name` is a C string.
unsafe fn text<'a>(name: *const c_char) -> Result<&'a str, Errno> {
    // SAFETY: by contract.
    unsafe { CStr::from_ptr(name) }.to_str().map_err(|_| Errno::EINVAL)
}

unsafe extern "C" fn create<P: Plugin>(
    provider: *mut varpd_provider_handle_t,
    out: *mut *mut c_void,
    dest: c_uint,
) -> c_int {
    code(|| {
        let provider = Provider::from_raw(provider);
        let object = P::create(provider, dest);
        // SAFETY: libvarpd's out pointer.
        unsafe { made(object, provider, out) }
    })
}

unsafe extern "C" fn start<P: Plugin>(private: *mut c_void) -> c_int {
    // SAFETY: libvarpd hands back what `create` made.
    code(|| unsafe { object::<P>(private) }.start())
}

unsafe extern "C" fn stop<P: Plugin>(private: *mut c_void) {
    code(|| {
        // SAFETY: libvarpd hands back what `create` made.
        unsafe { object::<P>(private) }.stop();
        Ok(())
    });
}

unsafe extern "C" fn destroy<P: Plugin>(private: *mut c_void) {
    code(|| {
        // SAFETY: Box::into_raw of `made` made it; libvarpd destroys once, after all other calls.
        drop(unsafe { Box::from_raw(private.cast::<Object<P>>()) });
        Ok(())
    });
}

unsafe extern "C" fn default<P: Point>(
    private: *mut c_void,
    out: *mut overlay_target_point_t,
) -> c_int {
    // SAFETY: libvarpd hands back what `create` made.
    let point = guarded(|| Ok(unsafe { object::<P>(private) }.destination()));
    match point {
        Ok(Some(point)) => {
            // SAFETY: libvarpd's out pointer.
            unsafe { out.write(point) };
            VARPD_LOOKUP_OK
        }
        _ => VARPD_LOOKUP_DROP,
    }
}

unsafe extern "C" fn lookup<P: Dynamic>(
    private: *mut c_void,
    handle: *mut varpd_query_handle_t,
    request: *const overlay_targ_lookup_t,
    point: *mut overlay_target_point_t,
) {
    // SAFETY: libvarpd hands back what `create` made.
    let object = unsafe { &*private.cast::<Object<P>>() };
    // SAFETY: libvarpd's request, valid until the reply.
    let ours = unsafe { request.read() };
    let (theirs, out) = (request, Out::V1(point));
    let query = Query { provider: object.provider, handle, request: ours, theirs, out };
    // A panic drops the query, which answers it.
    code(|| {
        object.plugin.lookup(query);
        Ok(())
    });
}

/// A request of version 2 that is not about a route, in the layout of version 1.
fn request_v1(request: &overlay_targ_lookup_v2) -> overlay_targ_lookup_t {
    let mut v1 = overlay_targ_lookup_t::new_zeroed();
    (v1.otl_dlid, v1.otl_reqid) = (request.otl_dlid, request.otl_reqid);
    (v1.otl_varpdid, v1.otl_vnetid) = (request.otl_varpdid, request.otl_vnetid);
    (v1.otl_hdrsize, v1.otl_pktsize) = (request.otl_hdrsize, request.otl_pktsize);
    v1.otl_vlan = request.otl_vlan;
    if let About::L2(l2) = request.about() {
        (v1.otl_srcaddr, v1.otl_dstaddr) = (l2.otl2_srcaddr, l2.otl2_dstaddr);
        (v1.otl_dsttype, v1.otl_sap) = (l2.otl2_dsttype, l2.otl2_sap);
    }
    v1
}

unsafe extern "C" fn lookup_v2<P: Routed>(
    private: *mut c_void,
    handle: *mut varpd_query_handle_t,
    request: *const overlay_targ_lookup_v2,
    point: *mut overlay_target_point_v2,
    route: *mut overlay_target_route_t,
    mac: *mut overlay_target_mac_t,
) {
    // SAFETY: libvarpd hands back what `create` made.
    let object = unsafe { &*private.cast::<Object<P>>() };
    // SAFETY: libvarpd's request, valid until the reply.
    let ours = unsafe { request.read() };
    // A panic drops the query, which answers it.
    code(|| {
        match ours.about() {
            About::L3(addrs) => {
                let query = RouteQuery { handle, request: ours, addrs, point, route, mac };
                object.plugin.route(query);
            }
            About::L2(_) => {
                let (request, theirs) = (request_v1(&ours), request.cast());
                let (provider, out) = (object.provider, Out::V2(point));
                object.plugin.lookup(Query { provider, handle, request, theirs, out });
            }
        }
        Ok(())
    });
}

/// The address in a socket address of IPv4 or IPv6.
///
/// # Safety
/// `addr` is a socket address of the size that its family has.
unsafe fn ip_addr(addr: *const sockaddr) -> Option<IpAddr> {
    // SAFETY: by contract; every socket address begins with its family.
    let family = unsafe { addr.cast::<libc::sa_family_t>().read_unaligned() };
    match c_int::from(family) {
        libc::AF_INET => {
            // SAFETY: by contract and family.
            let sin = unsafe { addr.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from(sin.sin_addr.s_addr.to_ne_bytes()).into())
        }
        libc::AF_INET6 => {
            // SAFETY: by contract and family.
            let sin = unsafe { addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(Ipv6Addr::from(sin.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

unsafe extern "C" fn arp<P: Dynamic>(
    private: *mut c_void,
    handle: *mut varpd_arp_handle_t,
    qtype: c_int,
    addr: *const sockaddr,
    mac: *mut u8,
) {
    let reply = ArpReply { handle, mac };
    code(|| {
        // SAFETY: libvarpd's socket address.
        let addr = unsafe { ip_addr(addr) }.filter(|_| qtype == VARPD_QTYPE_ETHERNET);
        // SAFETY: libvarpd hands back what `create` made. A panic drops the reply, which makes it.
        unsafe { object::<P>(private) }.arp(reply, addr.ok_or(Errno::EINVAL)?);
        Ok(())
    });
}

unsafe extern "C" fn arp_v2<P: Routed>(
    private: *mut c_void,
    handle: *mut varpd_arp_handle_t,
    qtype: c_int,
    addr: *const sockaddr,
    vlan: u16,
    mac: *mut u8,
) {
    let reply = ArpReply { handle, mac };
    code(|| {
        // SAFETY: libvarpd's socket address.
        let addr = unsafe { ip_addr(addr) }.filter(|_| qtype == VARPD_QTYPE_ETHERNET);
        // SAFETY: libvarpd hands back what `create` made. A panic drops the reply, which makes it.
        unsafe { object::<P>(private) }.arp_in(reply, addr.ok_or(Errno::EINVAL)?, vlan);
        Ok(())
    });
}

unsafe extern "C" fn dhcp_v2<P: Routed>(
    private: *mut c_void,
    handle: *mut varpd_dhcp_handle_t,
    qtype: c_int,
    request: *const overlay_targ_lookup_v2,
    mac: *mut u8,
) {
    // SAFETY: libvarpd's request, valid until the reply.
    let request = request_v1(unsafe { &*request });
    // SAFETY: the same with a request of version 1, which lives as long as the call.
    unsafe { dhcp::<P>(private, handle, qtype, &request, mac) }
}

unsafe extern "C" fn dhcp<P: Dynamic>(
    private: *mut c_void,
    handle: *mut varpd_dhcp_handle_t,
    qtype: c_int,
    request: *const overlay_targ_lookup_t,
    mac: *mut u8,
) {
    let reply = DhcpReply { handle, mac };
    code(|| {
        if qtype != VARPD_QTYPE_ETHERNET {
            return Err(Errno::EINVAL);
        }
        // SAFETY: libvarpd hands back what `create` made, and its request. A panic drops the reply.
        unsafe { object::<P>(private).dhcp(reply, &*request) };
        Ok(())
    });
}

unsafe extern "C" fn nprops<P: Plugin>(private: *mut c_void, out: *mut c_uint) -> c_int {
    code(|| {
        // SAFETY: libvarpd hands back what `create` made, and its out pointer.
        unsafe { out.write(object::<P>(private).nprops()) };
        Ok(())
    })
}

unsafe extern "C" fn propinfo<P: Plugin>(
    private: *mut c_void,
    id: c_uint,
    prop: *mut varpd_prop_handle_t,
) -> c_int {
    // SAFETY: libvarpd hands back what `create` made.
    code(|| unsafe { object::<P>(private) }.propinfo(id, &mut Prop(prop, PhantomData)))
}

unsafe extern "C" fn getprop<P: Plugin>(
    private: *mut c_void,
    name: *const c_char,
    buf: *mut c_void,
    size: *mut u32,
) -> c_int {
    code(|| {
        // SAFETY: libvarpd hands back what `create` made, a C string, and `*size` bytes of
        // initialized memory.
        unsafe {
            let buf = std::slice::from_raw_parts_mut(buf.cast::<u8>(), *size as usize);
            *size = object::<P>(private).getprop(text(name)?, buf)?;
        }
        Ok(())
    })
}

unsafe extern "C" fn setprop<P: Plugin>(
    private: *mut c_void,
    name: *const c_char,
    value: *const c_void,
    size: u32,
) -> c_int {
    code(|| {
        // SAFETY: libvarpd hands back what `create` made, a C string, and `size` bytes.
        unsafe {
            let value = std::slice::from_raw_parts(value.cast::<u8>(), size as usize);
            object::<P>(private).setprop(text(name)?, value)
        }
    })
}

unsafe extern "C" fn report<P: Plugin>(
    private: *mut c_void,
    buf: *mut c_char,
    size: *mut u32,
) -> c_int {
    code(|| {
        // SAFETY: libvarpd hands back what `create` made, and `*size` bytes of initialized memory.
        unsafe {
            let buf = std::slice::from_raw_parts_mut(buf.cast::<u8>(), *size as usize);
            let text = object::<P>(private).report().ok_or(Errno::ENOTSUP)?;
            *size = u32::try_from(text.len()).map_err(|_| Errno::EOVERFLOW)?;
            overlay_abi::props::put(buf, text.as_bytes())?;
        }
        Ok(())
    })
}

unsafe extern "C" fn save<P: Plugin>(private: *mut c_void, list: *mut nvlist_t) -> c_int {
    // SAFETY: libvarpd hands back what `create` made, and a list for this call.
    code(|| unsafe { object::<P>(private).save(&mut NvList::from_raw(list)) })
}

unsafe extern "C" fn restore<P: Plugin>(
    list: *mut nvlist_t,
    provider: *mut varpd_provider_handle_t,
    dest: c_uint,
    out: *mut *mut c_void,
) -> c_int {
    code(|| {
        // SAFETY: libvarpd's list, for this call.
        let list = unsafe { NvList::from_raw(list) };
        let provider = Provider::from_raw(provider);
        let object = P::restore(&list, provider, dest);
        // SAFETY: libvarpd's out pointer.
        unsafe { made(object, provider, out) }
    })
}
