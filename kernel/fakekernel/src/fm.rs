// SPDX-License-Identifier: CDDL-1.0
//! Fault management: what drivers say about the service they give.
use crate::check::{Kind, violation};
use crate::{ctx, devinfo};
use illumos_sys_hdrs::{ddi_iblock_cookie_t, dev_info_t};
use parking_lot::Mutex;
use std::ffi::c_int;

/// A driver's statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impact {
    /// Driver.
    pub driver: String,
    /// DDI_SERVICE_LOST, DDI_SERVICE_DEGRADED, DDI_SERVICE_UNAFFECTED or DDI_SERVICE_RESTORED.
    pub impact: i32,
}

static HISTORY: Mutex<Vec<Impact>> = Mutex::new(Vec::new());

/// Every statement since boot, the oldest first.
pub fn impact() -> Vec<Impact> {
    HISTORY.lock().clone()
}

pub(crate) fn reset() {
    HISTORY.lock().clear();
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_fm_init(
    dip: *mut dev_info_t,
    cap: *mut c_int,
    ibc: *mut ddi_iblock_cookie_t,
) {
    ctx::may_sleep("ddi_fm_init");
    // SAFETY: ddi_fm_init(9F).
    unsafe {
        let d = devinfo::of(dip);
        if d.fm.lock().replace(*cap).is_some() {
            violation(Kind::Misuse, format!("ddi_fm_init of {} twice", d.name));
        }
        if !ibc.is_null() {
            *ibc = std::ptr::null_mut();
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_fm_fini(dip: *mut dev_info_t) {
    ctx::may_sleep("ddi_fm_fini");
    // SAFETY: ddi_fm_fini(9F).
    let d = unsafe { devinfo::of(dip) };
    if d.fm.lock().take().is_none() {
        violation(Kind::Misuse, format!("ddi_fm_fini of {} without ddi_fm_init", d.name));
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_fm_service_impact(dip: *mut dev_info_t, impact: c_int) {
    ctx::may_sleep("ddi_fm_service_impact");
    // SAFETY: ddi_fm_service_impact(9F).
    let d = unsafe { devinfo::of(dip) };
    if d.fm.lock().is_none() {
        violation(Kind::Misuse, format!("ddi_fm_service_impact of {} without ddi_fm_init", d.name));
    }
    HISTORY.lock().push(Impact { driver: d.name.clone(), impact });
}

crate::symbols! { SYMBOLS "genunix": ddi_fm_init, ddi_fm_fini, ddi_fm_service_impact, }
