// SPDX-License-Identifier: CDDL-1.0
//! misc/mac: providers, and the ports opened over them.
//!
//! A [`Mac`] is what a driver registered. A [`Port`] is a station on it: a VNIC, or a raw opening
//! of the link itself. The set of ports is an immutable table that is swapped as a whole, so that
//! delivery takes no lock.
//!
//! A `mac_handle_t` points to a `Mac` that stays in memory until shutdown, so that a call with the
//! handle of an unregistered MAC is a violation and not a crash.

pub(crate) mod header;
pub(crate) mod prop;

mod fanout;

pub use fanout::Ports;
pub use prop::PropInfo;

use crate::check::{Kind, violation};
use crate::ctx;
use crate::net::capture::{self, Direction};
use crate::net::errno::*;
use crate::net::ether;
use crate::net::msg::Chain;
use crate::net::notify::{self, Note};
use crate::net::perim::Perimeter;
use crate::net::port::{Port, RxScope};
use illumos_sys_hdrs as sys;
use parking_lot::{Mutex, RwLock};
use std::collections::HashSet;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use sys::*;

/// Names of drivers that called mac_init_ops, and every MAC ever registered.
static NAMES: Mutex<Option<HashSet<String>>> = Mutex::new(None);
static MACS: Mutex<Vec<Arc<Mac>>> = Mutex::new(Vec::new());
static NEXT_MINOR: AtomicU32 = AtomicU32::new(1);

/// What the provider does itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `HCK_*` bits it computes on transmit.
    pub hcksum: u32,
    /// Largest TCP payload it segments over IPv4 and over IPv6; 0 for not at all.
    pub lso: [u32; 2],
}

/// A registered provider.
pub struct Mac {
    pub name: String,
    pub driver: String,
    driver_arg: *mut c_void,
    callbacks: *const mac_callbacks_t,
    pub src_addr: ether::Mac,
    min_sdu: u32,
    max_sdu: AtomicU32,
    pub margin: u32,
    link_state: AtomicI32,
    pub perim: Perimeter,
    alive: AtomicBool,
    /// Link id given by dls, 0 for none.
    pub linkid: AtomicU32,
    state: Mutex<State>,
    ports: RwLock<Arc<Ports>>,
}

#[derive(Default)]
struct State {
    disabled: bool,
    /// Ports that want frames for other stations: as long as there is one the provider is
    /// promiscuous.
    promisc: usize,
    capabilities: Capabilities,
}

// SAFETY: the provider's pointers are passed back to its own callbacks, which are made for many
// threads (D_MP).
unsafe impl Send for Mac {}
// SAFETY: as above.
unsafe impl Sync for Mac {}

/// Calls a provider's mc_tx: a function of its own so that a profiler knows where the driver begins,
/// also one whose functions have no names.
///
/// # Safety
/// As of mc_tx(9E).
#[inline(never)]
unsafe fn provider_tx(
    tx: unsafe extern "C" fn(*mut c_void, *mut mblk_t) -> *mut mblk_t,
    arg: *mut c_void,
    chain: *mut mblk_t,
) -> *mut mblk_t {
    // SAFETY: the caller's promise.
    let left = unsafe { tx(arg, chain) };
    // It must come back here.
    std::hint::black_box(left)
}

impl Mac {
    /// The provider behind a handle; a violation and `None` for a null or unregistered one.
    ///
    /// # Safety
    /// `mh` is null or was returned by mac_register since boot.
    unsafe fn of<'a>(mh: mac_handle_t, what: &str) -> Option<&'a Mac> {
        // SAFETY: handles point to a Mac that lives until shutdown.
        let mac = unsafe { (mh as *const Mac).as_ref() };
        match mac {
            Some(m) if m.alive.load(Ordering::Relaxed) => Some(m),
            _ => {
                violation(Kind::Misuse, format!("{what} of a MAC that is not registered"));
                None
            }
        }
    }

    fn handle(&self) -> mac_handle_t {
        (self as *const Mac).cast_mut().cast()
    }

    fn cb(&self) -> &mac_callbacks_t {
        // SAFETY: the driver keeps its callbacks until mac_unregister, after which nothing calls
        // here.
        unsafe { &*self.callbacks }
    }

    fn has(&self, flag: u32) -> bool {
        self.cb().mc_callbacks & flag != 0
    }

    /// Largest payload of a frame in bytes.
    pub fn max_sdu(&self) -> u32 {
        self.max_sdu.load(Ordering::Relaxed)
    }

    /// Smallest payload of a frame in bytes.
    pub fn min_sdu(&self) -> u32 {
        self.min_sdu
    }

    /// -1 unknown, 0 down, 1 up.
    pub fn link_state(&self) -> i32 {
        self.link_state.load(Ordering::Relaxed)
    }

    /// What the provider does itself; known while a port is open.
    pub fn capabilities(&self) -> Capabilities {
        self.state.lock().capabilities
    }

    /// All ports over this MAC.
    pub fn ports(&self) -> Vec<Arc<Port>> {
        self.table().all.clone()
    }

    /// The VNIC that has an address on a VLAN.
    pub fn station(&self, addr: &ether::Mac, vid: u16) -> Option<Arc<Port>> {
        self.table().station(addr, vid).cloned()
    }

    /// Adds a port and starts the provider for the first one. EEXIST when the station is taken.
    pub fn attach(&self, port: &Arc<Port>) -> Result<(), c_int> {
        let _in = self.perim.guard();
        // A link that dls took away, or is about to be unregistered, is not there for anybody new.
        if self.linkid.load(Ordering::SeqCst) == 0 || self.state.lock().disabled {
            return Err(ENOENT);
        }
        if let Some(a) = &port.addr
            && self.station(a, port.vid).is_some()
        {
            return Err(EEXIST);
        }
        let first = self.table().all.is_empty();
        if first {
            self.start()?;
        }
        // A provider without filters for many addresses hears all of them: what its own address
        // does not cover.
        let foreign = port.addr != Some(self.src_addr);
        if let Err(e) = self.promisc(foreign, true) {
            if first {
                self.stop();
            }
            return Err(e);
        }
        self.replace(self.table().with(port));
        Ok(())
    }

    /// Takes a port off and stops the provider after the last one. Frames in delivery may still
    /// reach it.
    pub fn detach(&self, port: &Arc<Port>) {
        let _in = self.perim.guard();
        let before = self.table();
        if !before.all.iter().any(|p| Arc::ptr_eq(p, port)) {
            return;
        }
        self.replace(before.without(port));
        let _ = self.promisc(port.addr != Some(self.src_addr), false);
        if self.table().all.is_empty() {
            self.stop();
        }
    }

    fn replace(&self, table: Ports) {
        *self.ports.write() = Arc::new(table);
    }

    fn start(&self) -> Result<(), c_int> {
        let cb = self.cb();
        // SAFETY: callbacks of a live registration with its own argument, under the perimeter.
        unsafe {
            if let (true, Some(open)) = (self.has(MC_OPEN), cb.mc_open) {
                ok(open(self.driver_arg))?;
            }
            if let Some(start) = cb.mc_start
                && let Err(e) = ok(start(self.driver_arg))
            {
                if let (true, Some(close)) = (self.has(MC_CLOSE), cb.mc_close) {
                    close(self.driver_arg);
                }
                return Err(e);
            }
        }
        let caps = self.ask_capabilities();
        self.state.lock().capabilities = caps;
        Ok(())
    }

    fn stop(&self) {
        let cb = self.cb();
        // SAFETY: as in start.
        unsafe {
            if let Some(stop) = cb.mc_stop {
                stop(self.driver_arg);
            }
            if let (true, Some(close)) = (self.has(MC_CLOSE), cb.mc_close) {
                close(self.driver_arg);
            }
        }
    }

    fn ask_capabilities(&self) -> Capabilities {
        let mut caps = Capabilities::default();
        let (true, Some(get)) = (self.has(MC_GETCAPAB), self.cb().mc_getcapab) else { return caps };
        let (mut hck, mut lso) = (0u32, mac_capab_lso_t::default());
        // SAFETY: each capability comes with the buffer that mac_provider.h gives it.
        unsafe {
            if get(self.driver_arg, MAC_CAPAB_HCKSUM, (&raw mut hck).cast()) != 0 {
                caps.hcksum = hck;
            }
            if get(self.driver_arg, MAC_CAPAB_LSO, (&raw mut lso).cast()) != 0 {
                if lso.lso_flags & LSO_TX_BASIC_TCP_IPV4 != 0 {
                    caps.lso[0] = lso.lso_basic_tcp_ipv4;
                }
                if lso.lso_flags & LSO_TX_BASIC_TCP_IPV6 != 0 {
                    caps.lso[1] = lso.lso_basic_tcp_ipv6;
                }
            }
        }
        caps
    }

    /// Counts who needs the provider to be promiscuous and tells it of the first and the last.
    pub fn promisc(&self, wanted: bool, on: bool) -> Result<(), c_int> {
        if !wanted {
            return Ok(());
        }
        let _in = self.perim.guard();
        let before = self.state.lock().promisc;
        let after = if on { before + 1 } else { before.saturating_sub(1) };
        if (before == 0) != (after == 0)
            && let Some(set) = self.cb().mc_setpromisc
        {
            // SAFETY: as in start.
            ok(unsafe { set(self.driver_arg, c_int::from(on)) })?;
        }
        self.state.lock().promisc = after;
        Ok(())
    }

    /// Tells the provider of a multicast group joined or left.
    pub fn multicast(&self, group: &ether::Mac, join: bool) -> Result<(), c_int> {
        let _in = self.perim.guard();
        match self.cb().mc_multicst {
            // SAFETY: as in start; the address outlives the call.
            Some(set) => ok(unsafe { set(self.driver_arg, c_int::from(join), group.as_ptr()) }),
            None => Err(ENOTSUP),
        }
    }

    /// Hands frames to the provider; what it had no room for comes back. The caller holds a port
    /// open.
    pub fn transmit(&self, chain: Chain) -> Chain {
        let Some(tx) = self.cb().mc_tx else { return Chain::default() };
        if capture::any() {
            capture::chain(self.linkid.load(Ordering::Relaxed), Direction::Out, &chain);
        }
        ctx::upcall("mc_tx");
        // SAFETY: the chain is ours and passes to the driver; what it returns is ours again.
        unsafe { Chain::from_raw(provider_tx(tx, self.driver_arg, chain.into_raw())) }
    }

    /// The ports as they are now, for a burst of frames.
    pub fn table(&self) -> Arc<Ports> {
        self.ports.read().clone()
    }

    fn update_max_sdu(&self, sdu: u32) -> Result<(), c_int> {
        if sdu == 0 || sdu < self.min_sdu {
            return Err(EINVAL);
        }
        if self.max_sdu.swap(sdu, Ordering::SeqCst) != sdu {
            notify::post(self.handle(), Note::Mtu(sdu));
        }
        Ok(())
    }
}

fn ok(e: c_int) -> Result<(), c_int> {
    if e == 0 { Ok(()) } else { Err(e) }
}

fn errno(r: Result<(), c_int>) -> c_int {
    r.err().unwrap_or(0)
}

/// Forgets everything, at shutdown: no driver is loaded any more.
pub fn reset() {
    let macs = std::mem::take(&mut *MACS.lock());
    for m in macs.iter().filter(|m| m.alive.load(Ordering::SeqCst)) {
        violation(Kind::Leak, format!("MAC {} is still registered at shutdown", m.name));
    }
    *NAMES.lock() = None;
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_init_ops(_ops: *mut dev_ops, name: *const c_char) {
    // SAFETY: a C string of the driver.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    NAMES.lock().get_or_insert_default().insert(name);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_fini_ops(_ops: *mut dev_ops) {}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_alloc(version: u32) -> *mut mac_register_t {
    if version != MAC_VERSION {
        return std::ptr::null_mut();
    }
    // SAFETY: zeroes are a valid mac_register_t; KM_SLEEP memory is never null.
    unsafe {
        let r: *mut mac_register_t =
            kmem_zalloc(std::mem::size_of::<mac_register_t>(), KM_SLEEP).cast();
        (*r).m_version = version;
        r
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_free(r: *mut mac_register_t) {
    // SAFETY: from mac_alloc.
    unsafe { kmem_free(r.cast(), std::mem::size_of::<mac_register_t>()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_register(r: *mut mac_register_t, mh: *mut mac_handle_t) -> c_int {
    // SAFETY: the driver passes its registration and a place for the handle.
    match unsafe { register(&*r) } {
        Ok(mac) => {
            // SAFETY: as above.
            unsafe { *mh = mac.handle() };
            0
        }
        Err(e) => e,
    }
}

/// # Safety
/// The pointers of `r` are what mac_register(9F) says.
unsafe fn register(r: &mac_register_t) -> Result<Arc<Mac>, c_int> {
    // SAFETY: the driver's callbacks are null or a table that outlives the registration.
    let cb = unsafe { r.m_callbacks.as_ref() }.ok_or(EINVAL)?;
    let complete = cb.mc_getstat.is_some()
        && cb.mc_start.is_some()
        && cb.mc_stop.is_some()
        && cb.mc_setpromisc.is_some()
        && cb.mc_multicst.is_some()
        && cb.mc_unicst.is_some()
        && cb.mc_tx.is_some();
    // SAFETY: null or a C string.
    let ether = !r.m_type_ident.is_null()
        && unsafe { CStr::from_ptr(r.m_type_ident) } == MAC_PLUGIN_IDENT_ETHER;
    if r.m_version != MAC_VERSION
        || !ether
        || !complete
        || r.m_src_addr.is_null()
        || r.m_max_sdu == 0
        || r.m_min_sdu > r.m_max_sdu
    {
        return Err(EINVAL);
    }
    // SAFETY: the driver's own device node, or null.
    let driver = unsafe { crate::devinfo::driver_name(r.m_dip) }.ok_or(EINVAL)?;
    if !NAMES.lock().as_ref().is_some_and(|n| n.contains(&driver)) {
        return Err(EINVAL);
    }
    let instance = match r.m_instance {
        // The device node's own, of which there is only 0 here.
        0 => 0,
        u32::MAX => 1000 + NEXT_MINOR.fetch_add(1, Ordering::Relaxed),
        n => n,
    };
    let mut src_addr = [0; 6];
    // SAFETY: an Ethernet address has six bytes.
    unsafe { std::ptr::copy_nonoverlapping(r.m_src_addr, src_addr.as_mut_ptr(), 6) };
    let mac = Arc::new(Mac {
        name: format!("{driver}{instance}"),
        driver,
        driver_arg: r.m_driver,
        callbacks: r.m_callbacks,
        src_addr,
        min_sdu: r.m_min_sdu,
        max_sdu: AtomicU32::new(r.m_max_sdu),
        margin: r.m_margin,
        link_state: AtomicI32::new(LINK_STATE_UNKNOWN),
        perim: Perimeter::default(),
        alive: AtomicBool::new(true),
        linkid: AtomicU32::new(0),
        state: Mutex::new(State::default()),
        ports: RwLock::default(),
    });
    let mut all = MACS.lock();
    if all.iter().any(|m| m.alive.load(Ordering::SeqCst) && m.name == mac.name) {
        return Err(EEXIST);
    }
    all.push(mac.clone());
    Ok(mac)
}

/// The owner of a handle, for those that keep a MAC.
pub fn hold(mh: mac_handle_t) -> Option<Arc<Mac>> {
    MACS.lock().iter().find(|m| m.handle() == mh && m.alive.load(Ordering::SeqCst)).cloned()
}

/// EBUSY while dls or a port refers to the MAC.
fn disable(mac: &Mac) -> Result<(), c_int> {
    let _in = mac.perim.guard();
    if mac.linkid.load(Ordering::SeqCst) != 0 || !mac.table().all.is_empty() {
        return Err(EBUSY);
    }
    mac.state.lock().disabled = true;
    Ok(())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_disable(mh: mac_handle_t) -> c_int {
    // SAFETY: a handle of mac_register.
    match unsafe { Mac::of(mh, "mac_disable") } {
        Some(mac) => errno(disable(mac)),
        None => EINVAL,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_unregister(mh: mac_handle_t) -> c_int {
    // SAFETY: as above.
    match unsafe { Mac::of(mh, "mac_unregister") } {
        Some(mac) => errno(disable(mac).map(|()| mac.alive.store(false, Ordering::SeqCst))),
        None => EINVAL,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_rx(mh: mac_handle_t, _ring: mac_resource_handle_t, chain: *mut mblk_t) {
    ctx::upcall("mac_rx");
    // SAFETY: the chain is ours from here, whatever happens.
    let chain = unsafe { Chain::from_raw(chain) };
    // SAFETY: a handle of mac_register.
    let Some(mac) = (unsafe { Mac::of(mh, "mac_rx") }) else { return };
    if capture::any() {
        capture::chain(mac.linkid.load(Ordering::Relaxed), Direction::In, &chain);
    }
    let _scope = RxScope::enter();
    mac.table().arrive(chain);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_tx_update(mh: mac_handle_t) {
    // SAFETY: as above.
    if let Some(mac) = unsafe { Mac::of(mh, "mac_tx_update") } {
        for p in &mac.table().all {
            p.tx_ready();
        }
        notify::post(mh, Note::Tx);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_link_update(mh: mac_handle_t, state: link_state_t) {
    // SAFETY: as above.
    if let Some(mac) = unsafe { Mac::of(mh, "mac_link_update") }
        && mac.link_state.swap(state, Ordering::SeqCst) != state
    {
        notify::post(mh, Note::Link(state));
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_maxsdu_update(mh: mac_handle_t, sdu: u32) -> c_int {
    // SAFETY: as above.
    match unsafe { Mac::of(mh, "mac_maxsdu_update") } {
        Some(mac) => errno(mac.update_max_sdu(sdu)),
        None => EINVAL,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_sdu_get(mh: mac_handle_t, min: *mut u32, max: *mut u32) {
    // SAFETY: as above; the places are null or the caller's.
    unsafe {
        let Some(mac) = Mac::of(mh, "mac_sdu_get") else { return };
        if let Some(min) = min.as_mut() {
            *min = mac.min_sdu;
        }
        if let Some(max) = max.as_mut() {
            *max = mac.max_sdu();
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_perim_enter_by_mh(mh: mac_handle_t, mph: *mut mac_perim_handle_t) {
    // SAFETY: a handle of mac_register and the caller's place.
    unsafe {
        *mph = mh.cast();
        if let Some(mac) = Mac::of(mh, "mac_perim_enter_by_mh") {
            mac.perim.enter();
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_perim_exit(mph: mac_perim_handle_t) {
    // SAFETY: from mac_perim_enter_by_mh; the Mac lives until shutdown even if unregistered inside.
    let mac = unsafe { (mph as *const Mac).as_ref() };
    if !mac.is_some_and(|m| m.perim.exit()) {
        violation(Kind::NotOwner, "mac_perim_exit by a thread that is not in the perimeter");
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mac_perim_held(mh: mac_handle_t) -> boolean_t {
    // SAFETY: a handle of mac_register.
    unsafe { Mac::of(mh, "mac_perim_held") }.is_some_and(|m| m.perim.held()).into()
}

crate::symbols! { SYMBOLS "misc/mac":
    mac_init_ops, mac_fini_ops, mac_alloc, mac_free, mac_register, mac_disable, mac_unregister,
    mac_rx, mac_tx_update, mac_link_update, mac_maxsdu_update, mac_sdu_get, mac_perim_enter_by_mh,
    mac_perim_exit, mac_perim_held,
}
