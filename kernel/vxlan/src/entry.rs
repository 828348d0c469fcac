// SPDX-License-Identifier: CDDL-1.0
//! The C edge: module entry points and the plugin's operations.
use crate::config::{Config, Prop};
use crate::header;
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU32, Ordering};
use ddi::mblk::Mblk;
use ddi::mem::{KBox, Table};
use ddi::module::{self, Module};
use ddi::sync::KMutex;
use ddi::{Errno, sys};
use overlay_abi::encap::*;
use overlay_abi::ids::VnetId;
use overlay_abi::props::*;
use overlay_abi::target::{OVERLAY_PLUGIN_D_IP, OVERLAY_PLUGIN_D_PORT};
use overlay_abi::vxlan::{IPPORT_VXLAN, VXLAN_HDR_LEN, VXLAN_ID_LEN};

// drv/overlay, which this module depends on.
unsafe extern "C" {
    fn overlay_plugin_alloc(version: c_uint) -> *mut overlay_plugin_register_t;
    fn overlay_plugin_free(reg: *mut overlay_plugin_register_t);
    fn overlay_plugin_register(reg: *mut overlay_plugin_register_t) -> c_int;
    fn overlay_plugin_unregister(name: *const c_char) -> c_int;
    fn overlay_prop_set_name(prop: overlay_prop_handle_t, name: *const c_char);
    fn overlay_prop_set_prot(prop: overlay_prop_handle_t, prot: c_uint);
    fn overlay_prop_set_type(prop: overlay_prop_handle_t, kind: c_uint);
    fn overlay_prop_set_default(prop: overlay_prop_handle_t, p: *mut c_void, n: isize) -> c_int;
    fn overlay_prop_set_nodefault(prop: overlay_prop_handle_t);
    fn overlay_prop_set_range_uint32(prop: overlay_prop_handle_t, min: u32, max: u32);
}

/// Tunable: whether UDP picks source ports by a hash of the inner headers, `UDP_HASH_VXLAN` (1) or
/// not (0). Looked at when a socket is made.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static vxlan_fanout: AtomicU32 = AtomicU32::new(sys::UDP_HASH_VXLAN as u32);

const NAME: &CStr = c"vxlan";

static MISC: sys::modlmisc = module::misc_linkage(c"VXLAN encap plugin");
static LINKAGE: sys::modlinkage = module::linkage(&MISC);

static OPS: overlay_plugin_ops_t = overlay_plugin_ops_t {
    ovpo_callbacks: 0,
    ovpo_init: Some(init),
    ovpo_fini: Some(fini),
    ovpo_encap: Some(encap),
    ovpo_decap: Some(decap),
    ovpo_socket: Some(socket),
    ovpo_sockopt: Some(sockopt),
    ovpo_getprop: Some(getprop),
    ovpo_setprop: Some(setprop),
    ovpo_propinfo: Some(propinfo),
};

static PROPS: Table<[*const c_char; 3]> =
    Table::new([c"vxlan/listen_ip".as_ptr(), c"vxlan/listen_port".as_ptr(), ptr::null()]);

/// The module `overlay/vxlan`.
pub fn module() -> Module {
    Module {
        name: "overlay/vxlan",
        init: vxlan_module_init,
        fini: vxlan_module_fini,
        info: vxlan_module_info,
    }
}

unsafe extern "C" fn vxlan_module_init() -> c_int {
    Errno::code(module_init())
}

fn module_init() -> Result<(), Errno> {
    register()?;
    module::install(&LINKAGE).inspect_err(|_| {
        // SAFETY: registered just now, and the module is not there yet: nobody can use it.
        unsafe { overlay_plugin_unregister(NAME.as_ptr()) };
    })
}

fn register() -> Result<(), Errno> {
    // SAFETY: no conditions.
    let reg = unsafe { overlay_plugin_alloc(OVEP_VERSION) };
    let Some(mut reg) = NonNull::new(reg) else { return Err(Errno::ENOTSUP) };
    // SAFETY: the registration is ours until freed; what its pointers name is constant.
    let err = unsafe {
        let r = reg.as_mut();
        r.ovep_name = NAME.as_ptr();
        r.ovep_ops = &raw const OPS;
        r.ovep_props = PROPS.get().cast_const().cast();
        r.ovep_id_size = VXLAN_ID_LEN as c_uint;
        r.ovep_flags = OVEP_F_VLAN_TAG;
        r.ovep_dest = OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT;
        let err = overlay_plugin_register(r);
        overlay_plugin_free(r);
        err
    };
    Errno::check(err)
}

unsafe extern "C" fn vxlan_module_fini() -> c_int {
    // SAFETY: no conditions.
    let err = unsafe { overlay_plugin_unregister(NAME.as_ptr()) };
    if err != 0 {
        return err;
    }
    match module::remove(&LINKAGE) {
        Ok(()) => 0,
        // The module stays, so it must be of use.
        Err(e) => {
            let _ = register();
            e.0
        }
    }
}

unsafe extern "C" fn vxlan_module_info(info: *mut sys::modinfo) -> c_int {
    // SAFETY: the kernel's.
    unsafe { module::info(&LINKAGE, info) }
}

/// What a link of this encapsulation keeps.
type Link = KMutex<Config>;

/// # Safety
/// `private` is what `init` made.
unsafe fn link<'a>(private: *mut c_void) -> &'a Link {
    // SAFETY: by the caller's promise; the driver calls `fini` last.
    unsafe { &*private.cast_const().cast() }
}

unsafe extern "C" fn init(_dev: overlay_handle_t, out: *mut *mut c_void) -> c_int {
    let link: KBox<Link> = KBox::new(KMutex::new(Config::default()));
    // SAFETY: the driver gave a place for it.
    unsafe { *out = link.into_raw().as_ptr().cast() };
    0
}

unsafe extern "C" fn fini(private: *mut c_void) {
    if let Some(link) = NonNull::new(private.cast::<Link>()) {
        // SAFETY: made by `init`, used no more.
        drop(unsafe { KBox::from_raw(link) });
    }
}

unsafe extern "C" fn encap(
    _private: *mut c_void,
    mp: *mut c_void,
    info: *mut ovep_encap_info_t,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: the driver hands over a frame, unless an error is returned.
    let (Some(frame), id) = (unsafe { (Mblk::from_raw(mp.cast()), (*info).ovdi_id) }) else {
        return Errno::EINVAL.0;
    };
    match header::encap(frame, VnetId(id)) {
        Ok(datagram) => {
            // SAFETY: the driver gave a place for it.
            unsafe { *out = datagram.into_raw().cast() };
            0
        }
        Err((e, frame)) => {
            // Still the driver's.
            let _ = frame.into_raw();
            e.0
        }
    }
}

unsafe extern "C" fn decap(
    _private: *mut c_void,
    mp: *mut c_void,
    info: *mut ovep_encap_info_t,
) -> c_int {
    // SAFETY: the driver lends a message.
    let Some(datagram) = (unsafe { Mblk::from_raw(mp.cast()) }) else { return Errno::EINVAL.0 };
    match header::decap(&ManuallyDrop::new(datagram)) {
        Ok(vnet) => {
            // SAFETY: the driver gave a place for it.
            unsafe { *info = ovep_encap_info_t { ovdi_id: vnet.0, ovdi_hdr_size: VXLAN_HDR_LEN } };
            0
        }
        Err(e) => e.0,
    }
}

unsafe extern "C" fn socket(
    private: *mut c_void,
    domain: *mut c_int,
    kind: *mut c_int,
    protocol: *mut c_int,
    addr: *mut c_void,
    len: *mut c_uint,
) -> c_int {
    // SAFETY: made by `init`.
    let config = *unsafe { link(private) }.lock();
    let Some(ip) = config.ip else { return Errno::EINVAL.0 };
    let sin6 = sys::sockaddr_in6 {
        sin6_family: sys::AF_INET6 as u16,
        sin6_port: config.port.to_be(),
        sin6_addr: sys::in6_addr { s6_addr: ip.octets() },
        ..Default::default()
    };
    // SAFETY: the driver gave places for all, that of the address as large as a sockaddr_storage.
    unsafe {
        *domain = sys::AF_INET6;
        *kind = sys::SOCK_DGRAM;
        *protocol = sys::IPPROTO_UDP;
        addr.cast::<sys::sockaddr_in6>().write_unaligned(sin6);
        *len = size_of::<sys::sockaddr_in6>() as c_uint;
    }
    0
}

unsafe extern "C" fn sockopt(ks: *mut c_void) -> c_int {
    let how = vxlan_fanout.load(Ordering::Relaxed) as c_int;
    if how == sys::UDP_HASH_DISABLE {
        return 0;
    }
    let (level, option) = (sys::IPPROTO_UDP, sys::UDP_SRCPORT_HASH);
    let value = (&raw const how).cast();
    let len = size_of::<c_int>() as c_int;
    // SAFETY: an open socket of the driver's; the value is read during the call.
    unsafe { sys::ksocket_setsockopt(ks.cast(), level, option, value, len, sys::kcred) }
}

unsafe extern "C" fn getprop(
    private: *mut c_void,
    name: *const c_char,
    buf: *mut c_void,
    size: *mut u32,
) -> c_int {
    // SAFETY: a C string, a buffer of `size` bytes, and what `init` made.
    let (name, buf, link) = unsafe {
        let buf = core::slice::from_raw_parts_mut(buf.cast::<u8>(), *size as usize);
        (CStr::from_ptr(name), buf, link(private))
    };
    let Some(prop) = Prop::named(name.to_bytes()) else { return Errno::EINVAL.0 };
    match link.lock().get(prop, buf) {
        Ok(n) => {
            // SAFETY: as above.
            unsafe { *size = n };
            0
        }
        Err(e) => e.0,
    }
}

unsafe extern "C" fn setprop(
    private: *mut c_void,
    name: *const c_char,
    value: *const c_void,
    size: u32,
) -> c_int {
    // SAFETY: a C string, a value of `size` bytes, and what `init` made.
    let (name, value, link) = unsafe {
        let value = core::slice::from_raw_parts(value.cast::<u8>(), size as usize);
        (CStr::from_ptr(name), value, link(private))
    };
    let Some(prop) = Prop::named(name.to_bytes()) else { return Errno::EINVAL.0 };
    Errno::code(link.lock().set(prop, value))
}

unsafe extern "C" fn propinfo(name: *const c_char, handle: overlay_prop_handle_t) -> c_int {
    // SAFETY: a C string.
    let Some(prop) = Prop::named(unsafe { CStr::from_ptr(name) }.to_bytes()) else {
        return Errno::EINVAL.0;
    };
    // SAFETY: the driver lends the handle during this call; values are copied.
    unsafe {
        overlay_prop_set_name(handle, name);
        overlay_prop_set_prot(handle, OVERLAY_PROP_PERM_RRW);
        match prop {
            Prop::ListenIp => {
                overlay_prop_set_type(handle, OVERLAY_PROP_T_IP);
                overlay_prop_set_nodefault(handle);
                0
            }
            Prop::ListenPort => {
                overlay_prop_set_type(handle, OVERLAY_PROP_T_UINT);
                overlay_prop_set_range_uint32(handle, 1, u32::from(u16::MAX));
                // Two bytes as ever: readers take 1, 2, 4 and 8.
                let mut port = IPPORT_VXLAN;
                overlay_prop_set_default(handle, (&raw mut port).cast(), 2)
            }
        }
    }
}
