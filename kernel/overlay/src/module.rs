// SPDX-License-Identifier: CDDL-1.0
//! The module `drv/overlay` and its device node.
use crate::{Overlay, STATE, ioctl_dld, ioctl_target, overlay};
use core::ffi::{CStr, c_int};
use ddi::dev::{
    CharDriver, Cred, DevInfo, Driver, OpenFlags, Ops, UserArg, dld_register, dld_unregister,
};
use ddi::mem::{KBox, Table};
use ddi::module::{self, Module};
use ddi::{Errno, sys};

static CB_OPS: Table<sys::cb_ops> = Table::new(Ops::<Node>::cb_ops());
static DEV_OPS: Table<sys::dev_ops> = Table::new(Ops::<Node>::dev_ops(&CB_OPS));
static DRIVER: sys::modldrv = module::driver_linkage(c"Overlay network driver", &DEV_OPS);
static LINKAGE: sys::modlinkage = module::linkage(&DRIVER);

/// File flags an open may have. FOFFMAX comes with every openat(2) of a 64-bit program, FCLOEXEC with
/// O_CLOEXEC, which Rust's std sets in every open; they mean nothing here.
const OPEN_FLAGS: c_int = sys::FREAD | sys::FWRITE | sys::FEXCL | sys::FOFFMAX | sys::FCLOEXEC;

/// The module `drv/overlay`.
pub fn module() -> Module {
    Module {
        name: "drv/overlay",
        init: overlay_module_init,
        fini: overlay_module_fini,
        info: overlay_module_info,
    }
}

unsafe extern "C" fn overlay_module_init() -> c_int {
    if !STATE.set(KBox::new(Overlay::new())) {
        return Errno::EBUSY.0;
    }
    match module::install_mac_driver(c"overlay", &LINKAGE) {
        Ok(()) => 0,
        Err(e) => {
            // SAFETY: not installed: no entry point can have been called.
            drop(unsafe { STATE.take() });
            e.0
        }
    }
}

unsafe extern "C" fn overlay_module_fini() -> c_int {
    match module::remove(&LINKAGE) {
        Ok(()) => {
            // SAFETY: removed: no entry point runs or will. Plugins depend on this module, so none
            // is loaded.
            drop(unsafe { STATE.take() });
            0
        }
        Err(e) => e.0,
    }
}

unsafe extern "C" fn overlay_module_info(info: *mut sys::modinfo) -> c_int {
    // SAFETY: the kernel's.
    unsafe { module::info(&LINKAGE, info) }
}

/// `/dev/overlay`.
struct Node;

impl Driver for Node {
    const NODE: &'static CStr = c"overlay";
    const MINOR: u32 = 0;

    fn attach(dip: DevInfo) -> Result<(), Errno> {
        let overlay = overlay()?;
        dld_register(sys::OVERLAY_IOC, &ioctl_dld::ROWS)?;
        overlay.health.attach(dip);
        overlay.set_dip(Some(dip));
        Ok(())
    }

    fn detach() -> Result<(), Errno> {
        let overlay = overlay()?;
        // From here on no link can be made: dld waits for ioctls in progress.
        dld_unregister(sys::OVERLAY_IOC);
        if overlay.requests.in_use() || overlay.devs.in_use() {
            dld_register(sys::OVERLAY_IOC, &ioctl_dld::ROWS)?;
            return Err(Errno::EBUSY);
        }
        overlay.set_dip(None);
        overlay.health.detach();
        Ok(())
    }

    fn dip() -> Option<DevInfo> {
        overlay().ok()?.dip()
    }
}

impl CharDriver for Node {
    fn open(minor: u32, flags: OpenFlags, character: bool, cred: Cred) -> Result<u32, Errno> {
        cred.dl_config()?;
        if minor != 0 {
            return Err(Errno::ENXIO);
        }
        let read_write = flags.has(sys::FREAD) || flags.has(sys::FWRITE);
        let write_shared = flags.has(sys::FWRITE) && !flags.has(sys::FEXCL);
        if !character || flags.other_than(OPEN_FLAGS) || write_shared || !read_write {
            return Err(Errno::EINVAL);
        }
        if cred.zone() != sys::GLOBAL_ZONEID {
            return Err(Errno::EPERM);
        }
        overlay()?.requests.open(flags)
    }

    fn close(minor: u32) {
        if let Ok(overlay) = overlay() {
            overlay.requests.close(minor);
        }
    }

    fn ioctl(minor: u32, cmd: u32, arg: UserArg, cred: Cred) -> Result<(), Errno> {
        cred.dl_config()?;
        ioctl_target::run(minor, cmd, arg)
    }
}
