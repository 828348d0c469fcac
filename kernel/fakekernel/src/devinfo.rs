// SPDX-License-Identifier: CDDL-1.0
//! Drivers and their devices: instance 0 of each installed driver, and its minor nodes under /dev.
use crate::check::{Kind, violation};
use crate::dev;
use crate::module;
use crate::streams::perim::Perim;
use illumos_sys_hdrs::{
    DDI_ATTACH, DDI_DETACH, DDI_FAILURE, DDI_SUCCESS, dev_info_t, dev_ops, dev_t, major_t, minor_t,
    pollhead,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int};
use std::sync::Arc;

/// What dev_info_t is.
pub(crate) struct DevInfo {
    pub(crate) name: String,
    pub(crate) major: major_t,
    pub(crate) ops: *mut dev_ops,
    pub(crate) state: Mutex<DevState>,
    /// Opens and closes of a driver go one at a time, as specfs lets them.
    pub(crate) opening: Mutex<()>,
    /// What a driver with D_MTPERMOD runs in.
    pub(crate) perim: Arc<Perim>,
    /// Capabilities between ddi_fm_init and ddi_fm_fini.
    pub(crate) fm: Mutex<Option<c_int>>,
}

#[derive(Default)]
pub(crate) struct DevState {
    pub(crate) attached: bool,
    /// Open handles: the device cannot be detached.
    pub(crate) opens: usize,
    /// Handles by device number.
    pub(crate) by_dev: BTreeMap<dev_t, usize>,
}

// SAFETY: the ops are the driver's, constant while it is installed; it serialises itself.
unsafe impl Send for DevInfo {}
// SAFETY: as above.
unsafe impl Sync for DevInfo {}

impl DevInfo {
    pub(crate) fn as_ptr(self: &Arc<Self>) -> *mut dev_info_t {
        Arc::as_ptr(self).cast_mut().cast()
    }

    /// Calls the driver's attach; its answer.
    pub(crate) fn attach(self: &Arc<Self>) -> Result<(), ()> {
        // SAFETY: an installed driver's ops.
        let answer = unsafe {
            match (*self.ops).devo_attach {
                Some(f) => f(self.as_ptr(), DDI_ATTACH),
                None => DDI_FAILURE,
            }
        };
        if answer != DDI_SUCCESS {
            return Err(());
        }
        self.state.lock().attached = true;
        Ok(())
    }

    /// Detaches, unless in use or the driver refuses.
    pub(crate) fn detach(self: &Arc<Self>) -> Result<(), ()> {
        {
            let mut s = self.state.lock();
            if !s.attached {
                return Ok(());
            }
            if s.opens > 0 {
                return Err(());
            }
            // No open gets in from here on.
            s.attached = false;
        }
        // SAFETY: an installed driver's ops.
        let answer = unsafe {
            match (*self.ops).devo_detach {
                Some(f) => f(self.as_ptr(), DDI_DETACH),
                None => DDI_FAILURE,
            }
        };
        if answer != DDI_SUCCESS {
            self.state.lock().attached = true;
            return Err(());
        }
        if self.fm.lock().take().is_some() {
            violation(Kind::Leak, format!("{} detached without ddi_fm_fini", self.name));
        }
        for path in dev::remove_nodes(self, None) {
            violation(Kind::Leak, format!("{} detached and left {path}", self.name));
        }
        Ok(())
    }
}

/// What a driver passed.
///
/// # Safety
/// `dip` was given to an attached driver.
pub(crate) unsafe fn of(dip: *mut dev_info_t) -> Arc<DevInfo> {
    let p = dip.cast_const().cast::<DevInfo>();
    // SAFETY: as_ptr made it of an Arc that lives while the driver is installed.
    unsafe {
        Arc::increment_strong_count(p);
        Arc::from_raw(p)
    }
}

/// The name of the driver a dev_info_t belongs to; None for NULL.
///
/// # Safety
/// `dip` is NULL or was given to an installed driver.
pub(crate) unsafe fn driver_name(dip: *mut dev_info_t) -> Option<String> {
    // SAFETY: see above.
    (!dip.is_null()).then(|| unsafe { of(dip) }.name.clone())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_create_minor_node(
    dip: *mut dev_info_t,
    name: *const c_char,
    _spec: c_int,
    minor: minor_t,
    _node_type: *const c_char,
    _flag: c_int,
) -> c_int {
    // SAFETY: ddi_create_minor_node(9F).
    let (d, name) = unsafe { (of(dip), CStr::from_ptr(name)) };
    match dev::add_node(&format!("/dev/{}", name.to_string_lossy()), dev::Node::Driver(d, minor)) {
        Ok(()) => DDI_SUCCESS,
        Err(()) => DDI_FAILURE,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_remove_minor_node(dip: *mut dev_info_t, name: *const c_char) {
    // SAFETY: ddi_remove_minor_node(9F).
    unsafe {
        let name = (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned());
        dev::remove_nodes(&of(dip), name.as_deref());
    }
}

/// -1: no driver is installed by that name.
#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_name_to_major(name: *mut c_char) -> major_t {
    // SAFETY: ddi_name_to_major(9F).
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    module::major(&name).unwrap_or(major_t::MAX)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_get_instance(_dip: *mut dev_info_t) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn ddi_quiesce_not_supported(_dip: *mut dev_info_t) -> c_int {
    DDI_FAILURE
}

/// DDI_PROP_NOT_FOUND: no driver here has properties.
#[unsafe(no_mangle)]
extern "C" fn ddi_prop_op(
    _dev: dev_t,
    _dip: *mut dev_info_t,
    _op: c_int,
    _flags: c_int,
    _name: *mut c_char,
    _value: *mut c_char,
    _length: *mut c_int,
) -> c_int {
    1
}

const ENXIO: c_int = 6;

#[unsafe(no_mangle)]
extern "C" fn nodev() -> c_int {
    ENXIO
}

#[unsafe(no_mangle)]
extern "C" fn nulldev() -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn nochpoll(
    _dev: dev_t,
    _events: i16,
    _anyyet: c_int,
    _revents: *mut i16,
    _php: *mut *mut pollhead,
) -> c_int {
    ENXIO
}

/// Major number in the upper half, minor number in the lower.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn makedevice(major: major_t, minor: minor_t) -> dev_t {
    u64::from(major) << 32 | u64::from(minor)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn getmajor(dev: dev_t) -> major_t {
    (dev >> 32) as u32
}

#[unsafe(no_mangle)]
extern "C" fn getminor(dev: dev_t) -> minor_t {
    dev as u32
}

crate::symbols! { SYMBOLS "genunix":
    ddi_create_minor_node, ddi_remove_minor_node, ddi_name_to_major, ddi_get_instance, ddi_quiesce_not_supported,
    ddi_prop_op, nodev, nulldev, nochpoll, makedevice, getmajor, getminor,
}
