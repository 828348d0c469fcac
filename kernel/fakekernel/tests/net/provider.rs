// SPDX-License-Identifier: CDDL-1.0
//! A MAC provider whose wire is a list: what it is given to transmit can be looked at, what it is
//! told to receive arrives. Registered by a module with a driver, through the C symbols, as a real
//! one.
use fakekernel::host::{Checks, Config, Cred, Kernel, Model, OpenDev, SelfMem, StaticModule};
use illumos_sys_hdrs::*;
use overlay_abi::errno::Errno;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};

/// Link id of the provider.
pub const LINK: u32 = 10;

pub static SENT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// Frames that it takes before it says that it is full.
pub static ROOM: AtomicUsize = AtomicUsize::new(usize::MAX);
pub static START: AtomicI32 = AtomicI32::new(0);
pub static STARTED: AtomicI32 = AtomicI32::new(0);
pub static PROMISC: AtomicI32 = AtomicI32::new(0);
pub static GROUPS: AtomicI32 = AtomicI32::new(0);
pub static HEADROOM: AtomicUsize = AtomicUsize::new(usize::MAX);
pub static CAPS: Mutex<(u32, u32)> = Mutex::new((0, 0));
/// Checksum start, LSO flag and MSS of the last frame.
pub static MARKS: Mutex<[u32; 4]> = Mutex::new([0; 4]);
static HANDLE: AtomicUsize = AtomicUsize::new(0);
static DIP: AtomicUsize = AtomicUsize::new(0);
static MTU: AtomicU32 = AtomicU32::new(1400);

pub fn mh() -> mac_handle_t {
    HANDLE.load(SeqCst) as mac_handle_t
}

unsafe extern "C" fn getstat(_: *mut c_void, _: u32, _: *mut u64) -> c_int {
    Errno::ENOTSUP.0
}
unsafe extern "C" fn start(_: *mut c_void) -> c_int {
    // SAFETY: our own handle.
    assert_ne!(unsafe { mac_perim_held(mh()) }, 0);
    let e = START.load(SeqCst);
    if e == 0 {
        STARTED.fetch_add(1, SeqCst);
    }
    e
}
unsafe extern "C" fn stop(_: *mut c_void) {
    STARTED.fetch_sub(1, SeqCst);
}
unsafe extern "C" fn setpromisc(_: *mut c_void, on: boolean_t) -> c_int {
    PROMISC.store(on, SeqCst);
    0
}
unsafe extern "C" fn multicst(_: *mut c_void, add: boolean_t, _: *const u8) -> c_int {
    GROUPS.fetch_add(if add != 0 { 1 } else { -1 }, SeqCst);
    0
}
unsafe extern "C" fn unicst(_: *mut c_void, _: *const u8) -> c_int {
    0
}
/// mc_tx without its argument.
pub type Transmit = fn(*mut mblk_t) -> *mut mblk_t;

/// Instead of the list.
pub static TX: Mutex<Option<Transmit>> = Mutex::new(None);

unsafe extern "C" fn tx(_: *mut c_void, mut mp: *mut mblk_t) -> *mut mblk_t {
    if let Some(f) = *TX.lock().unwrap() {
        return f(mp);
    }
    // SAFETY: mc_tx owns the chain.
    unsafe {
        while !mp.is_null() {
            if ROOM.fetch_update(SeqCst, SeqCst, |r| r.checked_sub(1)).is_err() {
                return mp;
            }
            let next = (*mp).b_next;
            (*mp).b_next = null_mut();
            let room = (*mp).b_rptr.offset_from((*(*mp).b_datap).db_base) as usize;
            HEADROOM.fetch_min(room, SeqCst);
            let mut m = [0; 4];
            mac_hcksum_get(mp, &mut m[0], &mut m[1], null_mut(), null_mut(), &mut m[2]);
            let mut lso = 0;
            mac_lso_get(mp, &mut m[3], &mut lso);
            m[2] |= lso;
            *MARKS.lock().unwrap() = m;
            SENT.lock().unwrap().push(fakekernel::mblk::to_vec(mp));
            freemsg(mp);
            mp = next;
        }
    }
    null_mut()
}
unsafe extern "C" fn getcapab(_: *mut c_void, what: u32, to: *mut c_void) -> boolean_t {
    let (hck, lso) = *CAPS.lock().unwrap();
    // SAFETY: the buffer of each capability.
    unsafe {
        match what {
            MAC_CAPAB_HCKSUM if hck != 0 => to.cast::<u32>().write(hck),
            MAC_CAPAB_LSO if lso != 0 => to.cast::<mac_capab_lso_t>().write(mac_capab_lso_t {
                lso_flags: LSO_TX_BASIC_TCP_IPV4,
                lso_basic_tcp_ipv4: lso,
                lso_basic_tcp_ipv6: 0,
            }),
            _ => return 0,
        }
    }
    1
}
unsafe extern "C" fn setprop(
    _: *mut c_void,
    name: *const c_char,
    id: c_int,
    size: u32,
    value: *const c_void,
) -> c_int {
    // SAFETY: as mc_setprop says.
    unsafe {
        if id != MAC_PROP_MTU {
            return Errno::ENOTSUP.0;
        }
        assert_eq!(std::ffi::CStr::from_ptr(name), c"mtu");
        assert_eq!(size, 4);
        let mtu = value.cast::<u32>().read();
        if !(576..=8900).contains(&mtu) {
            return Errno::EINVAL.0;
        }
        MTU.store(mtu, SeqCst);
        mac_maxsdu_update(mh(), mtu)
    }
}
unsafe extern "C" fn getprop(
    _: *mut c_void,
    _: *const c_char,
    _: c_int,
    _: u32,
    _: *mut c_void,
) -> c_int {
    Errno::ENOTSUP.0
}
unsafe extern "C" fn propinfo(
    _: *mut c_void,
    _: *const c_char,
    id: c_int,
    ph: mac_prop_info_handle_t,
) {
    // SAFETY: the handle of this call.
    unsafe {
        if id == MAC_PROP_MTU {
            mac_prop_info_set_default_uint32(ph, 1400);
            mac_prop_info_set_range_uint32(ph, 576, 8900);
        }
    }
}

pub static CALLBACKS: mac_callbacks_t = mac_callbacks_t {
    mc_callbacks: MC_SETPROP | MC_GETPROP | MC_PROPINFO | MC_GETCAPAB,
    mc_getstat: Some(getstat),
    mc_start: Some(start),
    mc_stop: Some(stop),
    mc_setpromisc: Some(setpromisc),
    mc_multicst: Some(multicst),
    mc_unicst: Some(unicst),
    mc_tx: Some(tx),
    mc_reserved: null_mut(),
    mc_ioctl: None,
    mc_getcapab: Some(getcapab),
    mc_open: None,
    mc_close: None,
    mc_setprop: Some(setprop),
    mc_getprop: Some(getprop),
    mc_propinfo: Some(propinfo),
};

/// Registers a MAC; `change` spoils the registration.
pub fn register(change: impl FnOnce(&mut mac_register_t)) -> Result<mac_handle_t, i32> {
    let mut addr = [0u8; 6];
    // SAFETY: as mac_register(9F) says.
    unsafe {
        let r = mac_alloc(MAC_VERSION);
        (*r).m_type_ident = MAC_PLUGIN_IDENT_ETHER.as_ptr();
        (*r).m_dip = DIP.load(SeqCst) as *mut dev_info_t;
        (*r).m_instance = u32::MAX;
        (*r).m_src_addr = addr.as_mut_ptr();
        (*r).m_callbacks = &raw const CALLBACKS;
        (*r).m_min_sdu = 1;
        (*r).m_max_sdu = 1400;
        (*r).m_margin = 4;
        change(&mut *r);
        let mut mh = null_mut();
        let e = mac_register(r, &mut mh);
        mac_free(r);
        if e == 0 { Ok(mh) } else { Err(e) }
    }
}

/// Registers the MAC of these tests and gives it a link id.
pub fn plumb() {
    let h = register(|_| {}).unwrap();
    HANDLE.store(h as usize, SeqCst);
    // SAFETY: a fresh handle.
    assert_eq!(unsafe { dls_devnet_create(h, LINK, GLOBAL_ZONEID) }, 0);
}

/// Undoes plumb.
pub fn unplumb() {
    let mut id = 0;
    // SAFETY: the handle of plumb.
    unsafe {
        assert_eq!(dls_devnet_destroy(mh(), &mut id, 1), 0);
        assert_eq!(id, LINK);
        assert_eq!(mac_disable(mh()), 0);
        assert_eq!(mac_unregister(mh()), 0);
    }
}

/// Has the MAC receive frames, each in one block.
pub fn wire(frames: &[&[u8]]) {
    let mut head = null_mut();
    for f in frames.iter().rev() {
        let mp = fakekernel::mblk::from_slice(f, 0);
        // SAFETY: a new message.
        unsafe { (*mp).b_next = head };
        head = mp;
    }
    // SAFETY: mac_rx owns the chain.
    unsafe { mac_rx(mh(), null_mut(), head) }
}

unsafe extern "C" fn attach(dip: *mut dev_info_t, _: c_int) -> c_int {
    DIP.store(dip as usize, SeqCst);
    DDI_SUCCESS
}
unsafe extern "C" fn detach(_: *mut dev_info_t, _: c_int) -> c_int {
    DDI_SUCCESS
}

struct Shared<T>(T);
// SAFETY: the kernel serialises what it does to these.
unsafe impl<T> Sync for Shared<T> {}

// SAFETY: zeroes are valid: null pointers and absent functions.
static CB_OPS: Shared<std::cell::UnsafeCell<cb_ops>> =
    Shared(std::cell::UnsafeCell::new(unsafe { std::mem::zeroed() }));
static OPS: Shared<std::cell::UnsafeCell<dev_ops>> = Shared(std::cell::UnsafeCell::new(dev_ops {
    devo_rev: DEVO_REV,
    devo_refcnt: 0,
    devo_getinfo: None,
    devo_identify: None,
    devo_probe: None,
    devo_attach: Some(attach),
    devo_detach: Some(detach),
    devo_reset: None,
    devo_cb_ops: CB_OPS.0.get(),
    devo_bus_ops: null_mut(),
    devo_power: None,
    devo_quiesce: None,
}));
static DRV: Shared<modldrv> = Shared(modldrv {
    drv_modops: &raw const mod_driverops,
    drv_linkinfo: c"wire".as_ptr(),
    drv_dev_ops: OPS.0.get(),
});
static LINKAGE: Shared<modlinkage> = Shared(modlinkage {
    ml_rev: MODREV_1,
    ml_linkage: [(&raw const DRV.0).cast(), null(), null(), null(), null(), null(), null()],
});

unsafe extern "C" fn init() -> c_int {
    // SAFETY: _init(9E).
    unsafe {
        mac_init_ops(null_mut(), c"wire".as_ptr());
        mod_install(&raw const LINKAGE.0)
    }
}
unsafe extern "C" fn fini() -> c_int {
    // SAFETY: _fini(9E).
    unsafe { mod_remove(&raw const LINKAGE.0) }
}
unsafe extern "C" fn info(m: *mut modinfo) -> c_int {
    // SAFETY: _info(9E).
    unsafe { mod_info(&raw const LINKAGE.0, m) }
}

/// A kernel with the driver loaded.
pub fn boot() -> Kernel {
    let k = fakekernel::host::boot(Config { checks: Checks::Debug, ..Config::default() });
    // Another test of the process may have left its wishes.
    SENT.lock().unwrap().clear();
    ROOM.store(usize::MAX, SeqCst);
    START.store(0, SeqCst);
    GROUPS.store(0, SeqCst);
    *CAPS.lock().unwrap() = (0, 0);
    *TX.lock().unwrap() = None;
    k.register_module(StaticModule { name: "drv/wire", init, fini, info });
    k.modload("drv/wire").unwrap();
    k
}

pub fn dld() -> OpenDev {
    fakekernel::dev::open("/dev/dld", FREAD | FWRITE, &Cred::KERNEL).unwrap()
}

/// An ioctl with a structure of this process.
pub fn ioctl<T>(dev: &OpenDev, cmd: u32, arg: &mut T) -> Result<i32, Errno> {
    let at = std::ptr::from_mut(arg) as u64;
    dev.ioctl(cmd as i32, at, Model::Lp64, &SelfMem)
}
