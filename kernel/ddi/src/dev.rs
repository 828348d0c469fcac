// SPDX-License-Identifier: CDDL-1.0
//! Device nodes: attach and detach, open, close and ioctl, and the caller's memory.
use crate::Errno;
pub use crate::mac::DevInfo;
use crate::mem::Table;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;
use illumos_sys_hdrs as sys;
use zerocopy::{FromBytes, IntoBytes};

/// Credentials of whoever calls.
#[derive(Clone, Copy)]
pub struct Cred(pub(crate) *mut sys::cred_t);

impl Cred {
    /// Whether the caller may configure datalinks.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn dl_config(self) -> Result<(), Errno> {
        // SAFETY: credentials live during the call they came with.
        Errno::check(unsafe { sys::secpolicy_dl_config(self.0) })
    }

    /// The caller's zone; 0 is the global one.
    pub fn zone(self) -> c_int {
        // SAFETY: as above.
        unsafe { sys::crgetzoneid(self.0) }
    }
}

/// Whether everything on this system has a label (Trusted Extensions).
pub fn is_labeled() -> bool {
    // SAFETY: set once, at boot.
    unsafe { sys::sys_labeling != 0 }
}

/// Major number of the driver of this name; `None` if there is no such.
pub fn major_of(driver: &'static CStr) -> Option<u32> {
    // SAFETY: the name is read only.
    let major = unsafe { sys::ddi_name_to_major(driver.as_ptr().cast_mut()) };
    (major != u32::MAX).then_some(major)
}

/// The argument of an ioctl(2): an address in the memory of the caller, and what kind of caller it
/// is.
#[derive(Clone, Copy)]
pub struct UserArg {
    addr: usize,
    mode: c_int,
}

impl UserArg {
    /// Another address of the same caller.
    pub fn at(self, addr: u64) -> UserArg {
        UserArg { addr: addr as usize, mode: self.mode }
    }

    /// The address `n` bytes further; past the end of memory it is not valid, which the copy will
    /// say.
    pub fn offset(self, n: usize) -> UserArg {
        UserArg { addr: self.addr.saturating_add(n), mode: self.mode }
    }

    /// Whether the caller is a 32-bit program.
    pub fn is_ilp32(self) -> bool {
        let model = self.mode as u32 & sys::DDI_MODEL_MASK;
        // SAFETY: no conditions.
        unsafe { sys::ddi_model_convert_from(model) == sys::DDI_MODEL_ILP32 }
    }

    /// Copies a value from the caller.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn copyin<T: FromBytes + IntoBytes>(self) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.copyin_bytes(value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies bytes from the caller.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn copyin_bytes(self, buf: &mut [u8]) -> Result<(), Errno> {
        let from = ptr::without_provenance(self.addr);
        // SAFETY: `buf` is writable; any address is allowed as source, as ddi_copyin checks it.
        // FKIOCTL in the mode comes from the kernel only, which then vouches for the address.
        match unsafe { sys::ddi_copyin(from, buf.as_mut_ptr().cast(), buf.len(), self.mode) } {
            0 => Ok(()),
            _ => Err(Errno::EFAULT),
        }
    }

    /// Copies a value to the caller.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn copyout<T: IntoBytes + zerocopy::Immutable + ?Sized>(
        self,
        value: &T,
    ) -> Result<(), Errno> {
        let buf = value.as_bytes();
        let to = ptr::without_provenance_mut(self.addr);
        // SAFETY: as in `copyin_bytes`.
        match unsafe { sys::ddi_copyout(buf.as_ptr().cast(), to, buf.len(), self.mode) } {
            0 => Ok(()),
            _ => Err(Errno::EFAULT),
        }
    }
}

/// The file flags of an open, `FREAD` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFlags(pub c_int);

impl OpenFlags {
    /// All bits of `mask` are set.
    pub fn has(self, mask: c_int) -> bool {
        self.0 & mask == mask
    }

    /// Some bit outside of `mask` is set.
    pub fn other_than(self, mask: c_int) -> bool {
        self.0 & !mask != 0
    }
}

/// A pseudo driver with one instance and one node.
pub trait Driver: 'static {
    /// Name of the node.
    const NODE: &'static CStr;
    /// Its minor number.
    const MINOR: u32;

    /// The instance appears. The node is made afterwards.
    ///
    /// # Errors
    /// Not now.
    fn attach(dip: DevInfo) -> Result<(), Errno>;
    /// The instance shall go; its node is removed afterwards.
    ///
    /// # Errors
    /// In use: it stays.
    fn detach() -> Result<(), Errno>;
    /// The instance, while it is attached.
    fn dip() -> Option<DevInfo>;
}

/// A driver of character devices.
pub trait CharDriver: Driver {
    /// An open of `minor`; returns the minor that this open is known by from now on.
    ///
    /// # Errors
    /// For the caller.
    fn open(minor: u32, flags: OpenFlags, character: bool, cred: Cred) -> Result<u32, Errno>;
    /// The last close of a minor that `open` returned.
    fn close(minor: u32);
    /// An ioctl on such a minor.
    ///
    /// # Errors
    /// For the caller.
    fn ioctl(minor: u32, cmd: u32, arg: UserArg, cred: Cred) -> Result<(), Errno>;
}

/// A character node (sys/stat.h).
const S_IFCHR: c_int = 0x2000;

/// The kernel's tables for a [`CharDriver`].
pub struct Ops<D>(core::marker::PhantomData<D>);

impl<D: CharDriver> Ops<D> {
    /// Its entry points.
    pub const fn cb_ops() -> sys::cb_ops {
        sys::cb_ops {
            cb_open: Some(open::<D>),
            cb_close: Some(close::<D>),
            cb_ioctl: Some(ioctl::<D>),
            ..cb_ops(ptr::null_mut(), sys::D_MP)
        }
    }

    /// Its device operations.
    pub const fn dev_ops(cb: &'static Table<sys::cb_ops>) -> sys::dev_ops {
        dev_ops::<D>(cb)
    }
}

/// Entry points of a driver with this table of streams (or NULL) and nothing else.
pub(crate) const fn cb_ops(streams: *mut sys::streamtab, flags: c_int) -> sys::cb_ops {
    sys::cb_ops {
        cb_open: Some(no_open),
        cb_close: Some(no_close),
        cb_strategy: Some(no_strategy),
        cb_print: Some(no_print),
        cb_dump: Some(no_dump),
        cb_read: Some(no_io),
        cb_write: Some(no_io),
        cb_ioctl: Some(no_ioctl),
        cb_devmap: Some(no_dev),
        cb_mmap: Some(no_dev),
        cb_segmap: Some(no_dev),
        cb_chpoll: Some(no_poll),
        cb_prop_op: Some(sys::ddi_prop_op),
        cb_str: streams,
        cb_flag: flags,
        cb_rev: sys::CB_REV,
        cb_aread: None,
        cb_awrite: None,
    }
}

/// Device operations of a driver.
pub(crate) const fn dev_ops<D: Driver>(cb: &'static Table<sys::cb_ops>) -> sys::dev_ops {
    sys::dev_ops {
        devo_rev: sys::DEVO_REV,
        devo_refcnt: 0,
        devo_getinfo: Some(getinfo::<D>),
        devo_identify: Some(ok_dip),
        devo_probe: Some(ok_dip),
        devo_attach: Some(attach::<D>),
        devo_detach: Some(detach::<D>),
        devo_reset: Some(no_reset),
        devo_cb_ops: cb.get(),
        devo_bus_ops: ptr::null_mut(),
        devo_power: None,
        devo_quiesce: Some(sys::ddi_quiesce_not_supported),
    }
}

unsafe extern "C" fn attach<D: Driver>(dip: *mut sys::dev_info_t, cmd: c_int) -> c_int {
    // SAFETY: the dip is alive during the call and until detach.
    if cmd != sys::DDI_ATTACH || unsafe { sys::ddi_get_instance(dip) } != 0 {
        return sys::DDI_FAILURE;
    }
    if D::attach(DevInfo(dip)).is_err() {
        return sys::DDI_FAILURE;
    }
    let (name, kind) = (D::NODE.as_ptr(), sys::DDI_PSEUDO.as_ptr());
    // SAFETY: both strings are copied or constant.
    let made = unsafe { sys::ddi_create_minor_node(dip, name, S_IFCHR, D::MINOR, kind, 0) };
    if made != sys::DDI_SUCCESS {
        // Nobody had a node to open: nothing can be in use.
        let _ = D::detach();
        return sys::DDI_FAILURE;
    }
    sys::DDI_SUCCESS
}

unsafe extern "C" fn detach<D: Driver>(dip: *mut sys::dev_info_t, cmd: c_int) -> c_int {
    if cmd != sys::DDI_DETACH || D::detach().is_err() {
        return sys::DDI_FAILURE;
    }
    // SAFETY: made by `attach`; NULL means all of them.
    unsafe { sys::ddi_remove_minor_node(dip, ptr::null()) };
    sys::DDI_SUCCESS
}

unsafe extern "C" fn getinfo<D: Driver>(
    _dip: *mut sys::dev_info_t,
    cmd: c_int,
    _arg: *mut c_void,
    result: *mut *mut c_void,
) -> c_int {
    let answer = match (cmd, D::dip()) {
        (sys::DDI_INFO_DEVT2DEVINFO, Some(dip)) => dip.0.cast(),
        // There is instance 0 only.
        (sys::DDI_INFO_DEVT2INSTANCE, _) => ptr::null_mut(),
        _ => return sys::DDI_FAILURE,
    };
    // SAFETY: the kernel gave a place for the answer.
    unsafe { *result = answer };
    sys::DDI_SUCCESS
}

unsafe extern "C" fn open<D: CharDriver>(
    dev: *mut sys::dev_t,
    flags: c_int,
    kind: c_int,
    cred: *mut sys::cred_t,
) -> c_int {
    // SAFETY: the kernel gave a device number to read and replace.
    let (major, minor) = unsafe { (sys::getmajor(*dev), sys::getminor(*dev)) };
    match D::open(minor, OpenFlags(flags), kind == sys::OTYP_CHR, Cred(cred)) {
        Ok(minor) => {
            // SAFETY: as above.
            unsafe { *dev = sys::makedevice(major, minor) };
            0
        }
        Err(e) => e.0,
    }
}

unsafe extern "C" fn close<D: CharDriver>(
    dev: sys::dev_t,
    _flags: c_int,
    _kind: c_int,
    _cred: *mut sys::cred_t,
) -> c_int {
    // SAFETY: no conditions.
    D::close(unsafe { sys::getminor(dev) });
    0
}

unsafe extern "C" fn ioctl<D: CharDriver>(
    dev: sys::dev_t,
    cmd: c_int,
    arg: isize,
    mode: c_int,
    cred: *mut sys::cred_t,
    _rval: *mut c_int,
) -> c_int {
    // SAFETY: no conditions.
    let minor = unsafe { sys::getminor(dev) };
    let arg = UserArg { addr: arg as usize, mode };
    Errno::code(D::ioctl(minor, cmd as u32, arg, Cred(cred)))
}

// nodev(9F) and nulldev(9F) with the types of the places they go to.
unsafe extern "C" fn no_dev() -> c_int {
    Errno::ENXIO.0
}
unsafe extern "C" fn no_open(
    _dev: *mut sys::dev_t,
    _flags: c_int,
    _kind: c_int,
    _cred: *mut sys::cred_t,
) -> c_int {
    Errno::ENXIO.0
}
unsafe extern "C" fn no_close(
    _dev: sys::dev_t,
    _flags: c_int,
    _kind: c_int,
    _cred: *mut sys::cred_t,
) -> c_int {
    Errno::ENXIO.0
}
unsafe extern "C" fn no_ioctl(
    _dev: sys::dev_t,
    _cmd: c_int,
    _arg: isize,
    _mode: c_int,
    _cred: *mut sys::cred_t,
    _rval: *mut c_int,
) -> c_int {
    Errno::ENXIO.0
}
unsafe extern "C" fn no_strategy(_buf: *mut sys::buf) -> c_int {
    Errno::ENXIO.0
}
unsafe extern "C" fn no_print(_dev: sys::dev_t, _text: *mut c_char) -> c_int {
    Errno::ENXIO.0
}
unsafe extern "C" fn no_dump(_dev: sys::dev_t, _at: *mut c_char, _block: i64, _n: c_int) -> c_int {
    Errno::ENXIO.0
}
unsafe extern "C" fn no_io(
    _dev: sys::dev_t,
    _uio: *mut sys::uio,
    _cred: *mut sys::cred_t,
) -> c_int {
    Errno::ENXIO.0
}
unsafe extern "C" fn no_poll(
    _dev: sys::dev_t,
    _events: i16,
    _anyyet: c_int,
    _revents: *mut i16,
    _php: *mut *mut sys::pollhead,
) -> c_int {
    Errno::ENXIO.0
}
unsafe extern "C" fn no_reset(_dip: *mut sys::dev_info_t, _cmd: c_int) -> c_int {
    Errno::ENXIO.0
}
unsafe extern "C" fn ok_dip(_dip: *mut sys::dev_info_t) -> c_int {
    0
}

/// One ioctl of the datalink control device.
pub trait DldCommand: 'static {
    /// Its number.
    const CMD: u32;
    /// `DLDCOPYIN`, `DLDCOPYOUT`.
    const FLAGS: u32;
    /// Whether the caller must be allowed to configure datalinks.
    const PRIVILEGED: bool;
    /// Its argument, copied in before and out after.
    type Arg: FromBytes + IntoBytes + 'static;

    /// Runs it.
    ///
    /// # Errors
    /// For the caller.
    fn run(arg: &mut Self::Arg, cred: Cred) -> Result<(), Errno>;
}

/// dld's row for a command.
pub const fn dld_row<C: DldCommand>() -> sys::dld_ioc_info_t {
    sys::dld_ioc_info_t {
        di_cmd: C::CMD,
        di_flags: C::FLAGS,
        di_argsize: size_of::<C::Arg>(),
        di_func: Some(dld_run::<C>),
        di_priv_func: if C::PRIVILEGED { Some(sys::secpolicy_dl_config) } else { None },
    }
}

unsafe extern "C" fn dld_run<C: DldCommand>(
    karg: *mut c_void,
    _arg: isize,
    _mode: c_int,
    cred: *mut sys::cred_t,
    _rval: *mut c_int,
) -> c_int {
    // SAFETY: dld allocated di_argsize bytes for the argument.
    let arg = unsafe { &mut *karg.cast::<C::Arg>() };
    Errno::code(C::run(arg, Cred(cred)))
}

/// Makes the commands known to dld.
///
/// # Errors
/// `ENOENT`: dld does not know the module id.
pub fn dld_register<const N: usize>(
    modid: u16,
    rows: &'static Table<[sys::dld_ioc_info_t; N]>,
) -> Result<(), Errno> {
    // SAFETY: the rows live for ever.
    Errno::check(unsafe { sys::dld_ioc_register(modid, rows.get().cast_const().cast(), N as u32) })
}

/// Takes them back.
pub fn dld_unregister(modid: u16) {
    // SAFETY: no conditions.
    unsafe { sys::dld_ioc_unregister(modid) };
}

/// Fault management of a device node: whether its service is all there.
pub struct Fm(DevInfo);

impl Fm {
    /// Says that the node can report.
    pub fn new(dip: DevInfo) -> Self {
        let mut cap = sys::DDI_FM_EREPORT_CAPABLE;
        // SAFETY: attached; there is no interrupt block cookie.
        unsafe { sys::ddi_fm_init(dip.0, &raw mut cap, ptr::null_mut()) };
        Fm(dip)
    }

    /// The service is degraded, or restored.
    pub fn impact(&self, degraded: bool) {
        let impact = if degraded { sys::DDI_SERVICE_DEGRADED } else { sys::DDI_SERVICE_RESTORED };
        // SAFETY: initialised in `new`.
        unsafe { sys::ddi_fm_service_impact(self.0.0, impact) };
    }
}

impl Drop for Fm {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`; still attached.
        unsafe { sys::ddi_fm_fini(self.0.0) };
    }
}
