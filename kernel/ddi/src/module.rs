// SPDX-License-Identifier: CDDL-1.0
//! What makes a crate a kernel module.
use crate::Errno;
use crate::mem::Table;
use core::ffi::{CStr, c_int, c_void};
use core::ptr;
use illumos_sys_hdrs as sys;

/// A module's three entry points; the wrapper of each module exports them as `_init`, `_fini`,
/// `_info`.
#[derive(Clone, Copy)]
pub struct Module {
    /// Path in the module directories, `drv/overlay`.
    pub name: &'static str,
    /// 0 or an errno.
    pub init: unsafe extern "C" fn() -> c_int,
    /// 0 or an errno, and the module stays.
    pub fini: unsafe extern "C" fn() -> c_int,
    /// 0 on failure.
    pub info: unsafe extern "C" fn(*mut sys::modinfo) -> c_int,
}

/// Linkage of a module that is a driver.
pub const fn driver_linkage(
    text: &'static CStr,
    ops: &'static Table<sys::dev_ops>,
) -> sys::modldrv {
    sys::modldrv {
        drv_modops: &raw const sys::mod_driverops,
        drv_linkinfo: text.as_ptr(),
        drv_dev_ops: ops.get(),
    }
}

/// Linkage of a module that is neither driver nor file system.
pub const fn misc_linkage(text: &'static CStr) -> sys::modlmisc {
    sys::modlmisc { misc_modops: &raw const sys::mod_miscops, misc_linkinfo: text.as_ptr() }
}

/// The list of a module's only linkage.
pub const fn linkage<T: Sync>(one: &'static T) -> sys::modlinkage {
    let null = ptr::null::<c_void>();
    let one = (&raw const *one).cast();
    sys::modlinkage { ml_rev: sys::MODREV_1, ml_linkage: [one, null, null, null, null, null, null] }
}

/// Installs a GLDv3 driver of this name.
///
/// # Errors
/// Those of mod_install(9F).
pub fn install_mac_driver(name: &CStr, list: &'static sys::modlinkage) -> Result<(), Errno> {
    crate::mac::init_ops(name);
    install(list)
}

/// Installs a module.
///
/// # Errors
/// Those of mod_install(9F).
pub fn install(list: &'static sys::modlinkage) -> Result<(), Errno> {
    // SAFETY: the list and all it points to live for ever.
    Errno::check(unsafe { sys::mod_install(list) })
}

/// Removes a module.
///
/// # Errors
/// `EBUSY`.
pub fn remove(list: &'static sys::modlinkage) -> Result<(), Errno> {
    // SAFETY: as above.
    Errno::check(unsafe { sys::mod_remove(list) })
}

/// Describes a module to modinfo(8).
///
/// # Safety
/// `info` came from the kernel with the call of `_info`.
pub unsafe fn info(list: &'static sys::modlinkage, info: *mut sys::modinfo) -> c_int {
    // SAFETY: as above, and by the caller's promise.
    unsafe { sys::mod_info(list, info) }
}

/// Loads `subdir/name` from the module directories; whether that worked.
pub fn load(subdir: &CStr, name: &CStr) -> bool {
    // SAFETY: both strings are read only.
    unsafe { sys::modload(subdir.as_ptr(), name.as_ptr()) != -1 }
}
