// SPDX-License-Identifier: CDDL-1.0
//! An encapsulation plugin of the tests, in the C ABI: `tcap`, 8 bytes of header, which remembers
//! how it was called.
use crate::modules::*;
use ddi::mblk::Mblk;
use overlay_abi::encap::*;
use overlay_abi::errno::Errno;
use std::collections::BTreeSet;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem::ManuallyDrop;
use std::net::SocketAddrV4;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};

/// What init returns.
pub static INIT_ERROR: AtomicI32 = AtomicI32::new(0);
/// Calls of init that succeeded, and of fini.
pub static INITS: AtomicUsize = AtomicUsize::new(0);
pub static FINIS: AtomicUsize = AtomicUsize::new(0);
/// Private pointers that encap and decap were called with.
pub static SEEN: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());
/// Those that init gave out.
pub static GIVEN: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());
/// Where links listen.
pub static AT: Mutex<Option<SocketAddrV4>> = Mutex::new(None);
/// Send buffer set on sockets, 0 for none.
pub static SNDBUF: AtomicU32 = AtomicU32::new(0);

pub const NAME: &CStr = c"tcap";

pub fn encap_name() -> [u8; 32] {
    overlay_abi::to_c_name("tcap").unwrap()
}

pub const OPS: overlay_plugin_ops_t = overlay_plugin_ops_t {
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
static TABLE: overlay_plugin_ops_t = OPS;

/// Names of properties, ended by NULL.
pub struct Names(pub &'static [*const c_char]);
// SAFETY: constants.
unsafe impl Sync for Names {}
static NONE: Names = Names(&[std::ptr::null()]);

/// Registers what `change` makes of a good registration.
pub fn register_as(change: impl FnOnce(&mut overlay_plugin_register_t)) -> Result<(), Errno> {
    // SAFETY: the registration is ours between alloc and free; all it points to is constant.
    unsafe {
        let reg = overlay_plugin_alloc(OVEP_VERSION);
        let r = reg.as_mut().unwrap();
        r.ovep_name = NAME.as_ptr();
        r.ovep_ops = &raw const TABLE;
        r.ovep_props = NONE.0.as_ptr();
        r.ovep_id_size = 4;
        r.ovep_flags = 0;
        r.ovep_dest = 6;
        change(r);
        let err = overlay_plugin_register(reg);
        overlay_plugin_free(reg);
        Errno::check(err)
    }
}

pub fn register() -> Result<(), Errno> {
    register_as(|_| {})
}

pub fn unregister(name: &CStr) -> Result<(), Errno> {
    // SAFETY: a C string.
    Errno::check(unsafe { overlay_plugin_unregister(name.as_ptr()) })
}

unsafe extern "C" fn init(_dev: *mut c_void, out: *mut *mut c_void) -> c_int {
    let err = INIT_ERROR.load(SeqCst);
    if err == 0 {
        let private = Box::into_raw(Box::new(0u64));
        INITS.fetch_add(1, SeqCst);
        GIVEN.lock().unwrap().insert(private as usize);
        // SAFETY: the driver's place for it.
        unsafe { *out = private.cast() };
    }
    err
}

unsafe extern "C" fn fini(private: *mut c_void) {
    FINIS.fetch_add(1, SeqCst);
    // SAFETY: made by init.
    drop(unsafe { Box::from_raw(private.cast::<u64>()) });
}

unsafe extern "C" fn encap(
    private: *mut c_void,
    mp: *mut c_void,
    info: *mut ovep_encap_info_t,
    out: *mut *mut c_void,
) -> c_int {
    SEEN.lock().unwrap().insert(private as usize);
    // SAFETY: the driver hands over a frame and lends the rest.
    unsafe {
        let frame = Mblk::from_raw(mp.cast()).unwrap();
        let header = [&b"TCAP"[..], &((*info).ovdi_id as u32).to_be_bytes()].concat();
        *out = Mblk::copy_from(&header, 100).unwrap().link(frame).into_raw().cast();
    }
    0
}

unsafe extern "C" fn decap(
    private: *mut c_void,
    mp: *mut c_void,
    info: *mut ovep_encap_info_t,
) -> c_int {
    SEEN.lock().unwrap().insert(private as usize);
    // SAFETY: the driver lends both.
    unsafe {
        let mp = ManuallyDrop::new(Mblk::from_raw(mp.cast()).unwrap());
        let Some([b'T', b'C', b'A', b'P', a, b, c, d]) = mp.read::<8>() else {
            return Errno::EINVAL.0;
        };
        let id = u32::from_be_bytes([a, b, c, d]).into();
        *info = ovep_encap_info_t { ovdi_id: id, ovdi_hdr_size: 8 };
    }
    0
}

unsafe extern "C" fn socket(
    _private: *mut c_void,
    domain: *mut c_int,
    kind: *mut c_int,
    protocol: *mut c_int,
    addr: *mut c_void,
    len: *mut c_uint,
) -> c_int {
    let Some(at) = *AT.lock().unwrap() else { return Errno::EINVAL.0 };
    let sin6 = ddi::sys::sockaddr_in6 {
        sin6_family: ddi::sys::AF_INET6 as u16,
        sin6_port: at.port().to_be(),
        sin6_addr: ddi::sys::in6_addr { s6_addr: at.ip().to_ipv6_mapped().octets() },
        ..Default::default()
    };
    // SAFETY: the driver's places.
    unsafe {
        *domain = ddi::sys::AF_INET6;
        *kind = ddi::sys::SOCK_DGRAM;
        *protocol = ddi::sys::IPPROTO_UDP;
        addr.cast::<ddi::sys::sockaddr_in6>().write_unaligned(sin6);
        *len = size_of_val(&sin6) as c_uint;
    }
    0
}

unsafe extern "C" fn sockopt(ks: *mut c_void) -> c_int {
    use ddi::sys::{SO_SNDBUF, SOL_SOCKET, kcred, ksocket_setsockopt};
    let size = SNDBUF.load(SeqCst) as c_int;
    if size == 0 {
        return 0;
    }
    // SAFETY: an open socket; the value is an int.
    unsafe {
        ksocket_setsockopt(ks.cast(), SOL_SOCKET, SO_SNDBUF, (&raw const size).cast(), 4, kcred)
    }
}

unsafe extern "C" fn getprop(
    _p: *mut c_void,
    _name: *const c_char,
    _buf: *mut c_void,
    size: *mut u32,
) -> c_int {
    // SAFETY: the driver's place.
    unsafe { *size = 0 };
    0
}

unsafe extern "C" fn setprop(
    _p: *mut c_void,
    _name: *const c_char,
    _value: *const c_void,
    _size: u32,
) -> c_int {
    0
}

unsafe extern "C" fn propinfo(_name: *const c_char, _prop: *mut c_void) -> c_int {
    0
}
