// SPDX-License-Identifier: CDDL-1.0
//! The eight ioctls of the datalink control device (spec/varpd.md 9.1): what dladm uses.
use crate::{dev, overlay, prop};
use core::ffi::CStr;
use ddi::Errno;
use ddi::dev::{Cred, DldCommand, dld_row};
use ddi::mac::LinkState;
use ddi::mem::Table;
use ddi::sys::dld_ioc_info_t;
use overlay_abi::dld::*;

/// The rows that dld gets.
pub(crate) static ROWS: Table<[dld_ioc_info_t; 8]> = Table::new([
    dld_row::<Create>(),
    dld_row::<Activate>(),
    dld_row::<Delete>(),
    dld_row::<PropInfo>(),
    dld_row::<GetProp>(),
    dld_row::<SetProp>(),
    dld_row::<NProps>(),
    dld_row::<Status>(),
]);

macro_rules! command {
    ($name:ident, $cmd:ident, $flags:ident, $privileged:literal, $arg:ty, $run:expr) => {
        struct $name;
        impl DldCommand for $name {
            const CMD: u32 = $cmd;
            const FLAGS: u32 = $flags;
            const PRIVILEGED: bool = $privileged;
            type Arg = $arg;
            fn run(arg: &mut $arg, cred: Cred) -> Result<(), Errno> {
                let run: fn(&mut $arg, Cred) -> Result<(), Errno> = $run;
                run(arg, cred)
            }
        }
    };
}

command!(Create, OVERLAY_IOC_CREATE, DLDCOPYIN, true, overlay_ioc_create_t, |arg, cred| {
    let name = encap_name(&arg.oic_encap)?;
    let overlay = overlay()?;
    let user = overlay.plugins.lookup(name)?;
    let dip = overlay.dip().ok_or(Errno::ENXIO)?;
    dev::create(arg.oic_linkid, (arg.oic_vnetid, arg.oic_dcid), user, dip, cred.zone())
});

command!(Delete, OVERLAY_IOC_DELETE, DLDCOPYIN, true, overlay_ioc_delete_t, |arg, _| {
    dev::delete(arg.oid_linkid)
});

command!(Activate, OVERLAY_IOC_ACTIVATE, DLDCOPYIN, true, overlay_ioc_activate_t, |arg, _| {
    let dev = overlay()?.devs.hold(arg.oia_linkid)?;
    let _perimeter = dev.mac.perimeter();
    if dev.state.lock().active {
        return Err(Errno::EEXIST);
    }
    prop::check_required(&dev)?;
    if dev.io.read().target.is_none() {
        return Err(Errno::ENXIO);
    }
    dev.state.lock().active = true;
    dev.mac.set_state(LinkState::Up);
    Ok(())
});

command!(PropInfo, OVERLAY_IOC_PROPINFO, DLDCOPYINOUT, true, overlay_ioc_propinfo_t, |arg, _| {
    prop::info(&*overlay()?.devs.hold(arg.oipi_linkid)?, arg)
});

command!(GetProp, OVERLAY_IOC_GETPROP, DLDCOPYINOUT, true, overlay_ioc_prop_t, |arg, _| {
    let dev = overlay()?.devs.hold(arg.oip_linkid)?;
    // What is not part of the value does not go out.
    arg.oip_value = [0; OVERLAY_PROP_SIZEMAX];
    arg.oip_size = 0;
    arg.oip_size = prop::get(&dev, arg.oip_id, &arg.oip_name, &mut arg.oip_value)?;
    Ok(())
});

command!(SetProp, OVERLAY_IOC_SETPROP, DLDCOPYIN, true, overlay_ioc_prop_t, |arg, _| {
    let dev = overlay()?.devs.hold(arg.oip_linkid)?;
    let value = arg.oip_value.get(..arg.oip_size as usize).ok_or(Errno::EINVAL)?;
    prop::set(&dev, arg.oip_id, &arg.oip_name, value)
});

command!(NProps, OVERLAY_IOC_NPROPS, DLDCOPYINOUT, true, overlay_ioc_nprops_t, |arg, _| {
    let dev = overlay()?.devs.hold(arg.oipn_linkid)?;
    arg.oipn_nprops = i32::try_from(prop::count(&dev)).map_err(|_| Errno::EOVERFLOW)?;
    Ok(())
});

command!(Status, OVERLAY_IOC_STATUS, DLDCOPYINOUT, false, overlay_ioc_status_t, |arg, _| {
    let dev = overlay()?.devs.hold(arg.ois_linkid)?;
    let state = dev.state.lock();
    arg.ois_status = if state.degraded { OVERLAY_I_DEGRADED } else { OVERLAY_I_OK };
    arg.ois_message = state.message;
    Ok(())
});

/// The name of an encapsulation: terminated, not empty, UTF-8, and no path.
fn encap_name(name: &[u8; MAXLINKNAMELEN]) -> Result<&CStr, Errno> {
    let name = CStr::from_bytes_until_nul(name).map_err(|_| Errno::EINVAL)?;
    let text = core::str::from_utf8(name.to_bytes()).map_err(|_| Errno::EINVAL)?;
    if text.is_empty() || text.contains('/') { Err(Errno::EINVAL) } else { Ok(name) }
}
