// SPDX-License-Identifier: CDDL-1.0
//! The GLDv3 provider side: a link this driver gives to MAC.
use crate::Errno;
use crate::mblk::MblkChain;
use crate::mem::KArc;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::ManuallyDrop;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use illumos_sys_hdrs as sys;

/// State of a link as its users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Does not carry frames.
    Down,
    /// Does.
    Up,
}

/// What MAC calls. MAC holds the link's perimeter over `start`, `stop` and `set_mtu`.
pub trait MacDriver: Send + Sync + 'static {
    /// The first user wants frames.
    ///
    /// # Errors
    /// Told to that user.
    fn start(this: &KArc<Self>) -> Result<(), Errno>
    where
        Self: Sized;
    /// The last user is gone.
    fn stop(&self);
    /// Sends what it can and returns what MAC shall keep until [`MacLink::tx_update`].
    fn tx(this: &KArc<Self>, chain: MblkChain) -> MblkChain
    where
        Self: Sized;
    /// Whether the link has the capability `MAC_CAPAB_*`.
    fn capability(&self, cap: u32) -> bool;
    /// A new largest SDU.
    ///
    /// # Errors
    /// `EINVAL`: out of range.
    fn set_mtu(&self, mtu: u32) -> Result<(), Errno>;
    /// Smallest, default and largest value of the largest SDU.
    fn mtu_range(&self) -> (u32, u32, u32);
}

/// What is told to MAC about a new link.
pub struct MacParams {
    /// Largest SDU, bytes.
    pub max_sdu: u32,
    /// Bytes a frame may be longer than that and its header, 4 for a VLAN tag.
    pub margin: u32,
}

/// A driver's registration with MAC. Lies inside of the driver `D`, which MAC holds while
/// registered.
pub struct MacLink {
    mh: AtomicPtr<sys::mac_impl>,
    devnet: AtomicUsize,
}

impl Default for MacLink {
    fn default() -> Self {
        Self::new()
    }
}

/// MAC's callbacks for a driver.
struct Callbacks<D>(core::marker::PhantomData<D>);

impl<D: MacDriver> Callbacks<D> {
    const TABLE: sys::mac_callbacks_t = sys::mac_callbacks_t {
        mc_callbacks: sys::MC_IOCTL
            | sys::MC_GETCAPAB
            | sys::MC_SETPROP
            | sys::MC_GETPROP
            | sys::MC_PROPINFO,
        mc_getstat: Some(getstat),
        mc_start: Some(start::<D>),
        mc_stop: Some(stop::<D>),
        mc_setpromisc: Some(setpromisc),
        mc_multicst: Some(multicst),
        mc_unicst: Some(unicst),
        mc_tx: Some(tx::<D>),
        mc_reserved: ptr::null_mut(),
        mc_ioctl: Some(ioctl),
        mc_getcapab: Some(getcapab::<D>),
        mc_open: None,
        mc_close: None,
        mc_setprop: Some(setprop::<D>),
        mc_getprop: Some(getprop),
        mc_propinfo: Some(propinfo::<D>),
    };
}

impl MacLink {
    /// Not registered.
    pub const fn new() -> Self {
        MacLink { mh: AtomicPtr::new(ptr::null_mut()), devnet: AtomicUsize::new(0) }
    }

    #[inline]
    fn mh(&self) -> sys::mac_handle_t {
        self.mh.load(Ordering::Relaxed)
    }

    /// Registers an Ethernet link without an address of its own. MAC gets a hold of `driver`, whose
    /// [`MacLink`] is `self`.
    ///
    /// # Errors
    /// Those of mac_register(9F).
    pub fn register<D: MacDriver>(
        &self,
        dip: DevInfo,
        params: &MacParams,
        driver: &KArc<D>,
    ) -> Result<(), Errno> {
        let mut addr = [0u8; 6];
        // SAFETY: no conditions; NULL was looked for.
        let reg = unsafe { sys::mac_alloc(sys::MAC_VERSION) };
        if reg.is_null() {
            return Err(Errno::EINVAL);
        }
        let hold = KArc::into_raw(driver.clone());
        let mut mh = ptr::null_mut();
        // SAFETY: `reg` is a zeroed registration of ours. MAC copies the address and keeps the
        // callbacks (constant) and the driver (held).
        let err = unsafe {
            (*reg).m_type_ident = sys::MAC_PLUGIN_IDENT_ETHER.as_ptr();
            (*reg).m_driver = hold.cast_mut().cast();
            (*reg).m_dip = dip.0;
            (*reg).m_instance = u32::MAX;
            (*reg).m_src_addr = addr.as_mut_ptr();
            (*reg).m_callbacks = const { &Callbacks::<D>::TABLE };
            (*reg).m_min_sdu = 1;
            (*reg).m_max_sdu = params.max_sdu;
            (*reg).m_margin = params.margin;
            (*reg).m_v12n = sys::MAC_VIRT_NONE;
            let err = sys::mac_register(reg, &raw mut mh);
            sys::mac_free(reg);
            err
        };
        if err != 0 {
            // SAFETY: MAC did not take the hold.
            drop(unsafe { KArc::from_raw(hold) });
            return Err(Errno(err));
        }
        self.mh.store(mh, Ordering::Release);
        Ok(())
    }

    /// Makes the link known to DLS under `linkid`, in the zone of the caller.
    ///
    /// # Errors
    /// Those of dls_devnet_create.
    pub fn devnet_create(&self, linkid: u32, zone: c_int) -> Result<(), Errno> {
        // SAFETY: registered.
        Errno::check(unsafe { sys::dls_devnet_create(self.mh(), linkid, zone) })?;
        self.devnet.store(1, Ordering::Release);
        Ok(())
    }

    /// Takes the link away from DLS; nothing to do if it is not there.
    ///
    /// # Errors
    /// `EBUSY`: somebody uses the link.
    pub fn devnet_destroy(&self) -> Result<(), Errno> {
        if self.devnet.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let mut linkid = 0;
        // SAFETY: registered, and known to DLS.
        Errno::check(unsafe { sys::dls_devnet_destroy(self.mh(), &raw mut linkid, 1) })?;
        self.devnet.store(0, Ordering::Release);
        Ok(())
    }

    /// Keeps new users away.
    ///
    /// # Errors
    /// `EBUSY`: there are some.
    pub fn disable(&self) -> Result<(), Errno> {
        // SAFETY: registered.
        Errno::check(unsafe { sys::mac_disable(self.mh()) })
    }

    /// Ends the registration and gives back MAC's hold. `_driver` is the one that was registered.
    ///
    /// # Errors
    /// `EBUSY`: not disabled.
    pub fn unregister<D: MacDriver>(&self, driver: &KArc<D>) -> Result<(), Errno> {
        // SAFETY: registered.
        Errno::check(unsafe { sys::mac_unregister(self.mh()) })?;
        self.mh.store(ptr::null_mut(), Ordering::Release);
        // SAFETY: the hold that `register` gave to MAC, which has let go of it.
        drop(unsafe { KArc::from_raw(&raw const **driver) });
        Ok(())
    }

    /// Hands frames to the users of the link. No lock may be held.
    #[inline]
    pub fn rx(&self, chain: MblkChain) {
        let mh = self.mh();
        if !mh.is_null() {
            // SAFETY: registered; the chain is handed over.
            unsafe { sys::mac_rx(mh, ptr::null_mut(), chain.into_raw()) };
        }
    }

    /// Tells MAC that what `tx` returned can be tried again.
    pub fn tx_update(&self) {
        let mh = self.mh();
        if !mh.is_null() {
            // SAFETY: registered.
            unsafe { sys::mac_tx_update(mh) };
        }
    }

    /// Tells the state of the link.
    pub fn set_state(&self, state: LinkState) {
        let state = match state {
            LinkState::Down => sys::LINK_STATE_DOWN,
            LinkState::Up => sys::LINK_STATE_UP,
        };
        // SAFETY: registered.
        unsafe { sys::mac_link_update(self.mh(), state) };
    }

    /// Largest SDU now, bytes.
    pub fn max_sdu(&self) -> u32 {
        let mut max = 0;
        // SAFETY: registered; the smallest is not asked for.
        unsafe { sys::mac_sdu_get(self.mh(), ptr::null_mut(), &raw mut max) };
        max
    }

    /// Tells a new largest SDU.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn set_max_sdu(&self, sdu: u32) -> Result<(), Errno> {
        // SAFETY: registered.
        Errno::check(unsafe { sys::mac_maxsdu_update(self.mh(), sdu) })
    }

    /// Waits for the link's perimeter: no start, stop or property change but this thread's until
    /// drop. Nests.
    pub fn perimeter(&self) -> Perimeter {
        let mut mph = ptr::null_mut();
        // SAFETY: registered; left by drop.
        unsafe { sys::mac_perim_enter_by_mh(self.mh(), &raw mut mph) };
        Perimeter(mph)
    }

    /// Changes the MTU by way of MAC, which asks [`MacDriver::set_mtu`].
    ///
    /// # Errors
    /// Those of mac_set_prop.
    pub fn set_mtu_prop(&self, _held: &Perimeter, mut mtu: u32) -> Result<(), Errno> {
        let (name, value) = (c"mtu".as_ptr().cast_mut(), (&raw mut mtu).cast());
        // SAFETY: the perimeter is held; name and value are read only.
        let err = unsafe { sys::mac_set_prop(self.mh(), sys::MAC_PROP_MTU, name, value, 4) };
        Errno::check(err)
    }
}

/// Holds the perimeter of a link.
pub struct Perimeter(sys::mac_perim_handle_t);

impl Drop for Perimeter {
    fn drop(&mut self) {
        // SAFETY: entered by `perimeter`, on this thread as the type is not Send.
        unsafe { sys::mac_perim_exit(self.0) };
    }
}

/// A device node of the driver, alive while attached.
#[derive(Clone, Copy)]
pub struct DevInfo(pub(crate) *mut sys::dev_info_t);

// SAFETY: only handed to functions that may be called from any thread.
unsafe impl Send for DevInfo {}
// SAFETY: as above.
unsafe impl Sync for DevInfo {}

/// # Safety
/// `arg` is the m_driver of a registration with `D`.
#[inline]
unsafe fn driver<D>(arg: *mut c_void) -> ManuallyDrop<KArc<D>> {
    // SAFETY: MAC's hold is borrowed, not used up: ManuallyDrop.
    ManuallyDrop::new(unsafe { KArc::from_raw(arg.cast_const().cast()) })
}

unsafe extern "C" fn start<D: MacDriver>(arg: *mut c_void) -> c_int {
    // SAFETY: MAC passes m_driver.
    let this = unsafe { driver::<D>(arg) };
    Errno::code(D::start(&this))
}

unsafe extern "C" fn stop<D: MacDriver>(arg: *mut c_void) {
    // SAFETY: MAC passes m_driver.
    unsafe { driver::<D>(arg) }.stop();
}

unsafe extern "C" fn tx<D: MacDriver>(
    arg: *mut c_void,
    chain: *mut sys::mblk_t,
) -> *mut sys::mblk_t {
    // SAFETY: MAC passes m_driver and gives away the chain; what is returned is MAC's again.
    unsafe { D::tx(&driver::<D>(arg), MblkChain::from_raw(chain)) }.into_raw()
}

unsafe extern "C" fn getcapab<D: MacDriver>(
    arg: *mut c_void,
    cap: u32,
    _data: *mut c_void,
) -> sys::boolean_t {
    // SAFETY: MAC passes m_driver.
    sys::boolean_t::from(unsafe { driver::<D>(arg) }.capability(cap))
}

unsafe extern "C" fn setprop<D: MacDriver>(
    arg: *mut c_void,
    _name: *const c_char,
    id: c_int,
    size: u32,
    value: *const c_void,
) -> c_int {
    if id != sys::MAC_PROP_MTU {
        return Errno::ENOTSUP.0;
    }
    if size < 4 {
        return Errno::EINVAL.0;
    }
    // SAFETY: the value has `size` bytes.
    let mtu = unsafe { value.cast::<u32>().read_unaligned() };
    // SAFETY: MAC passes m_driver.
    Errno::code(unsafe { driver::<D>(arg) }.set_mtu(mtu))
}

unsafe extern "C" fn getprop(
    _arg: *mut c_void,
    _name: *const c_char,
    _id: c_int,
    _size: u32,
    _value: *mut c_void,
) -> c_int {
    // MAC answers for the MTU itself.
    Errno::ENOTSUP.0
}

unsafe extern "C" fn propinfo<D: MacDriver>(
    arg: *mut c_void,
    _name: *const c_char,
    id: c_int,
    ph: sys::mac_prop_info_handle_t,
) {
    if id != sys::MAC_PROP_MTU {
        return;
    }
    // SAFETY: MAC passes m_driver.
    let (min, default, max) = unsafe { driver::<D>(arg) }.mtu_range();
    // SAFETY: the handle is alive during this call.
    unsafe {
        sys::mac_prop_info_set_default_uint32(ph, default);
        sys::mac_prop_info_set_range_uint32(ph, min, max);
    }
}

// A software link has nothing to program and no hardware that counts.
unsafe extern "C" fn getstat(_arg: *mut c_void, _stat: u32, _value: *mut u64) -> c_int {
    Errno::ENOTSUP.0
}
unsafe extern "C" fn setpromisc(_arg: *mut c_void, _on: sys::boolean_t) -> c_int {
    0
}
unsafe extern "C" fn multicst(_arg: *mut c_void, _add: sys::boolean_t, _addr: *const u8) -> c_int {
    0
}
unsafe extern "C" fn unicst(_arg: *mut c_void, _addr: *const u8) -> c_int {
    0
}
unsafe extern "C" fn ioctl(_arg: *mut c_void, q: *mut sys::queue_t, mp: *mut sys::mblk_t) {
    // SAFETY: the message is handed over.
    unsafe { sys::miocnak(q, mp, 0, Errno::ENOTSUP.0) };
}

/// Sets the flags MAC needs of a driver's major number before mod_install(9F).
pub(crate) fn init_ops(name: &CStr) {
    // SAFETY: NULL means that dld does not take over the driver's entry points.
    unsafe { sys::mac_init_ops(ptr::null_mut(), name.as_ptr()) };
}
