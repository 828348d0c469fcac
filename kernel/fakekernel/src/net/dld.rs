// SPDX-License-Identifier: CDDL-1.0
//! drv/dld: the control node /dev/dld, where modules register their ioctls.
//!
//! A command is `module << 16 | n`. dld copies the fixed argument in, asks the command's privilege
//! function, calls the handler, and copies out, also when the handler failed.

use super::dls::{self, Datalink};
use super::errno::*;
use super::mac::{Mac, PropInfo};
use super::vnic;
use crate::check::{Kind, violation};
use crate::cred::Cred;
use crate::dev::{self, Dev};
use illumos_sys_hdrs::{
    AGGR_IOC, DLD_IOC, DLDCOPYIN, DLDCOPYINOUT, DLDCOPYOUT, MAC_PROP_MTU, MAC_PROPVAL_UINT32,
    OVERLAY_IOC, VNIC_IOC, cred_t, ddi_copyin, ddi_copyout, dld_ioc_info_t, secpolicy_dl_config,
};
use overlay_abi::dld::{
    DLD_CONTROL_DEV, DLD_MACPROP_VAL as VALUE_AT, DLD_PROP_DEFAULT, DLD_PROP_POSSIBLE, DLDIOC_ATTR,
    DLDIOC_GETMACPROP, DLDIOC_MACADDRGET, DLDIOC_SETMACPROP, DLDIOCMACADDR_USED, MAXMACADDRLEN,
    dld_ioc_attr_t, dld_ioc_macaddrget_t, dld_ioc_macprop_t, dld_macaddrinfo_t,
};
use overlay_abi::errno::Errno;
use parking_lot::RwLock;
use std::ffi::{CStr, c_int, c_void};
use std::sync::Arc;

/// The modules that dld knows; others cannot register. The last four are SIMNET, BRIDGE, IPTUN and
/// IBPART.
const MODULES: [u16; 8] =
    [DLD_IOC, AGGR_IOC, VNIC_IOC, OVERLAY_IOC, 0x5132, 0xb81d, 0x454a, 0x6171];

/// The list a module registered: `None` before and after.
struct Table(RwLock<Option<List>>);

#[derive(Clone, Copy)]
struct List(*const dld_ioc_info_t, usize);

// SAFETY: lists are constant from registration to unregistration, and used under the table's lock.
unsafe impl Send for List {}
// SAFETY: as above.
unsafe impl Sync for List {}

static TABLES: [Table; MODULES.len()] = [const { Table(RwLock::new(None)) }; MODULES.len()];

fn table(module: u16) -> Option<&'static RwLock<Option<List>>> {
    let i = MODULES.iter().position(|m| *m == module)?;
    Some(&TABLES[i].0)
}

/// The device node.
struct Control;

impl Dev for Control {
    fn open(&self, _flags: i32, _cred: &Cred) -> Result<(), Errno> {
        Ok(())
    }

    fn ioctl(&self, cmd: i32, arg: u64, mode: i32, cred: &Cred) -> Result<i32, Errno> {
        let mut rv = 0;
        // SAFETY: dev gives a credential, and reaches the caller's memory on this thread.
        match unsafe { ioctl(cmd, arg as isize, mode, cred.as_ptr(), &mut rv) } {
            0 => Ok(rv),
            e => Err(Errno(e)),
        }
    }
}

/// Registers the kernel's own lists and makes the device appear.
pub fn start() {
    dev::register(DLD_CONTROL_DEV, Arc::new(Control));
    for (module, list) in [(DLD_IOC, &IOCTLS[..]), (VNIC_IOC, &vnic::IOCTLS[..])] {
        if let Some(t) = table(module) {
            *t.write() = Some(List(list.as_ptr(), list.len()));
        }
    }
}

/// Takes the device away and checks that every driver took its list back.
pub fn reset() {
    dev::unregister(DLD_CONTROL_DEV);
    for (t, module) in TABLES.iter().zip(MODULES) {
        let left = t.0.write().take();
        if left.is_some() && module != DLD_IOC && module != VNIC_IOC {
            violation(Kind::Leak, format!("module {module:#x} did not call dld_ioc_unregister"));
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dld_ioc_register(
    module: u16,
    list: *const dld_ioc_info_t,
    count: u32,
) -> c_int {
    let Some(t) = table(module) else { return ENOENT };
    *t.write() = Some(List(list, count as usize));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dld_ioc_unregister(module: u16) {
    match table(module) {
        // Waits for ioctls in progress.
        Some(t) => *t.write() = None,
        None => violation(Kind::Misuse, format!("dld_ioc_unregister of module {module:#x}")),
    }
}

/// An ioctl on /dev/dld.
///
/// # Safety
/// `cr` is a credential, and copyin and copyout on this thread reach the caller's memory.
unsafe fn ioctl(cmd: c_int, arg: isize, mode: c_int, cr: *mut cred_t, rv: &mut c_int) -> c_int {
    let cmd = cmd as u32;
    let Some(table) = table((cmd >> 16) as u16) else { return ENOTSUP };
    let list = table.read_recursive();
    let Some(List(at, count)) = *list else { return ENOTSUP };
    // SAFETY: the list lives until dld_ioc_unregister, which waits for our lock; the buffer has
    // di_argsize bytes.
    unsafe {
        let list = std::slice::from_raw_parts(at, count);
        let Some(info) = list.iter().find(|i| i.di_cmd == cmd) else { return ENOTSUP };
        let Some(handler) = info.di_func else { return ENOTSUP };
        if let Some(allowed) = info.di_priv_func {
            let e = allowed(cr);
            if e != 0 {
                return e;
            }
        }
        // Aligned as kmem_alloc would.
        let mut buf = vec![0u64; info.di_argsize.div_ceil(8)];
        let karg = buf.as_mut_ptr().cast::<c_void>();
        if info.di_flags & DLDCOPYIN != 0
            && ddi_copyin(arg as *const c_void, karg, info.di_argsize, mode) != 0
        {
            return EFAULT;
        }
        let mut e = handler(karg, arg, mode, cr, rv);
        if info.di_flags & DLDCOPYOUT != 0
            && ddi_copyout(karg, arg as *mut c_void, info.di_argsize, mode) != 0
            && e == 0
        {
            e = EFAULT;
        }
        e
    }
}

static IOCTLS: [dld_ioc_info_t; 4] = [
    dld_ioc_info_t {
        di_cmd: DLDIOC_ATTR,
        di_flags: DLDCOPYINOUT,
        di_argsize: size_of::<dld_ioc_attr_t>(),
        di_func: Some(ioc_attr),
        di_priv_func: None,
    },
    dld_ioc_info_t {
        di_cmd: DLDIOC_MACADDRGET,
        di_flags: DLDCOPYINOUT,
        di_argsize: size_of::<dld_ioc_macaddrget_t>(),
        di_func: Some(ioc_macaddrget),
        di_priv_func: None,
    },
    dld_ioc_info_t {
        di_cmd: DLDIOC_SETMACPROP,
        di_flags: DLDCOPYIN,
        di_argsize: size_of::<dld_ioc_macprop_t>(),
        di_func: Some(ioc_setprop),
        di_priv_func: Some(secpolicy_dl_config),
    },
    dld_ioc_info_t {
        di_cmd: DLDIOC_GETMACPROP,
        di_flags: DLDCOPYIN,
        di_argsize: size_of::<dld_ioc_macprop_t>(),
        di_func: Some(ioc_getprop),
        di_priv_func: None,
    },
];

/// Largest property value taken; the largest there is are mac_resource_props_t.
const MAX_VALUE: usize = 65536;

fn errno(r: Result<(), c_int>) -> c_int {
    r.err().unwrap_or(0)
}

fn mac_of(link: &Datalink) -> &Mac {
    match link {
        Datalink::Net(m) => m,
        Datalink::Vnic(p) => &p.mac,
    }
}

/// Runs `f` on a link inside its perimeter, so that the link stays.
fn with_link<T>(id: u32, f: impl FnOnce(&Datalink) -> Result<T, c_int>) -> Result<T, c_int> {
    let link = dls::find(id).ok_or(ENOENT)?;
    let _in = mac_of(&link).perim.guard();
    if dls::find(id).is_none() {
        return Err(ENOENT);
    }
    f(&link)
}

unsafe extern "C" fn ioc_attr(
    karg: *mut c_void,
    _arg: isize,
    _mode: c_int,
    _cr: *mut cred_t,
    _rv: *mut c_int,
) -> c_int {
    // SAFETY: dld hands a buffer of di_argsize bytes.
    let a = unsafe { &mut *karg.cast::<dld_ioc_attr_t>() };
    errno(with_link(a.dia_linkid, |l| {
        a.dia_max_sdu = match l {
            Datalink::Net(m) => m.max_sdu(),
            Datalink::Vnic(p) => p.mtu(),
        };
        Ok(())
    }))
}

unsafe extern "C" fn ioc_macaddrget(
    karg: *mut c_void,
    arg: isize,
    mode: c_int,
    _cr: *mut cred_t,
    _rv: *mut c_int,
) -> c_int {
    // SAFETY: as above.
    let a = unsafe { &mut *karg.cast::<dld_ioc_macaddrget_t>() };
    let mut info = dld_macaddrinfo_t {
        dmi_slot: 0,
        dmi_flags: 0,
        dmi_addrlen: 6,
        dmi_addr: [0; MAXMACADDRLEN],
        dmi_client_name: [0; 256],
        dma_client_linkid: 0,
    };
    let found = with_link(a.dig_linkid, |l| {
        let (addr, used) = match l {
            Datalink::Net(m) => (m.src_addr, !m.ports().is_empty()),
            Datalink::Vnic(p) => (p.addr.unwrap_or_default(), p.busy()),
        };
        info.dmi_addr[..6].copy_from_slice(&addr);
        if used {
            info.dmi_flags = DLDIOCMACADDR_USED;
        }
        Ok(())
    });
    if let Err(e) = found {
        return e;
    }
    a.dig_count = 1;
    if (a.dig_size as usize) < size_of::<dld_macaddrinfo_t>() {
        return ENOSPC;
    }
    let to = arg.wrapping_add(size_of::<dld_ioc_macaddrget_t>() as isize) as *mut c_void;
    // SAFETY: `info` is as long as said.
    let e =
        unsafe { ddi_copyout((&raw const info).cast(), to, size_of::<dld_macaddrinfo_t>(), mode) };
    if e != 0 { EFAULT } else { 0 }
}

/// The whole argument of a property ioctl: everything before the value, then the value, at
/// `VALUE_AT`.
///
/// # Safety
/// `karg` is the head that dld copied in from `arg`.
unsafe fn copy_prop(karg: *mut c_void, arg: isize, mode: c_int) -> Result<Vec<u8>, c_int> {
    // SAFETY: as the caller says.
    let size = unsafe { (*karg.cast::<dld_ioc_macprop_t>()).pr_valsize } as usize;
    if size > MAX_VALUE {
        return Err(EINVAL);
    }
    let mut all = vec![0u8; VALUE_AT + size];
    // SAFETY: the buffer is as long as said.
    let e = unsafe { ddi_copyin(arg as *const c_void, all.as_mut_ptr().cast(), all.len(), mode) };
    if e != 0 {
        return Err(EFAULT);
    }
    // The second reading must not disagree with the first about the size.
    all[VALUE_AT - 4..VALUE_AT].copy_from_slice(&(size as u32).to_ne_bytes());
    Ok(all)
}

/// Link id, property, flags and name of a property ioctl.
struct Request {
    flags: u32,
    linkid: u32,
    id: c_int,
    name: [u8; 256],
}

impl Request {
    fn of(all: &[u8]) -> Result<Request, c_int> {
        let word = |at: usize| {
            all.get(at..at + 4)
                .and_then(|b| b.try_into().ok())
                .map(u32::from_ne_bytes)
                .ok_or(EINVAL)
        };
        let name: [u8; 256] = all.get(16..272).and_then(|b| b.try_into().ok()).ok_or(EINVAL)?;
        Ok(Request { flags: word(0)?, linkid: word(4)?, id: word(8)? as c_int, name })
    }

    fn name(&self) -> Result<&CStr, c_int> {
        CStr::from_bytes_until_nul(&self.name).map_err(|_| EINVAL)
    }
}

unsafe extern "C" fn ioc_setprop(
    karg: *mut c_void,
    arg: isize,
    mode: c_int,
    _cr: *mut cred_t,
    _rv: *mut c_int,
) -> c_int {
    // SAFETY: dld copied the head in.
    errno(unsafe { copy_prop(karg, arg, mode) }.and_then(|all| {
        let r = Request::of(&all)?;
        let name = r.name()?;
        let value = &all[VALUE_AT..];
        with_link(r.linkid, |l| match l {
            Datalink::Net(m) => m.set_prop(r.id, name, value),
            Datalink::Vnic(p) => match (r.id, value.first_chunk()) {
                (MAC_PROP_MTU, Some(v)) => p.set_mtu(u32::from_ne_bytes(*v)),
                (MAC_PROP_MTU, None) => Err(EINVAL),
                _ => Err(ENOTSUP),
            },
        })
    }))
}

unsafe extern "C" fn ioc_getprop(
    karg: *mut c_void,
    arg: isize,
    mode: c_int,
    _cr: *mut cred_t,
    _rv: *mut c_int,
) -> c_int {
    // SAFETY: dld copied the head in.
    errno(unsafe { copy_prop(karg, arg, mode) }.and_then(|mut all| {
        let r = Request::of(&all)?;
        let perm = get_prop(&r, &mut all[VALUE_AT..])?;
        all[12..16].copy_from_slice(&perm.to_ne_bytes());
        // SAFETY: the buffer is as long as said.
        let e = unsafe { ddi_copyout(all.as_ptr().cast(), arg as *mut c_void, all.len(), mode) };
        if e != 0 { Err(EFAULT) } else { Ok(()) }
    }))
}

/// Reads a property, its default or its possible values; the permission flags.
fn get_prop(r: &Request, value: &mut [u8]) -> Result<u32, c_int> {
    let name = r.name()?;
    with_link(r.linkid, |l| {
        let mut info = PropInfo::default();
        let mut ranges = Vec::new();
        if r.flags & DLD_PROP_DEFAULT != 0 {
            value.fill(0);
            info.default = Some(value);
            mac_of(l).prop_info(r.id, name, &mut info)?;
            return Ok(info.perm);
        }
        if r.flags & DLD_PROP_POSSIBLE != 0 {
            let room = value.len().checked_sub(8).ok_or(EINVAL)? / 8;
            info.ranges = Some((&mut ranges, room));
            let done = mac_of(l).prop_info(r.id, name, &mut info);
            let perm = info.perm;
            done?;
            if let (Datalink::Vnic(p), MAC_PROP_MTU, Some(first)) = (l, r.id, ranges.first_mut()) {
                first.mpur_max = first.mpur_max.min(p.mac.max_sdu());
            }
            value[..4].copy_from_slice(&(ranges.len() as u32).to_ne_bytes());
            value[4..8].copy_from_slice(&MAC_PROPVAL_UINT32.to_ne_bytes());
            for (range, to) in ranges.iter().zip(value[8..].chunks_exact_mut(8)) {
                to[..4].copy_from_slice(&range.mpur_min.to_ne_bytes());
                to[4..].copy_from_slice(&range.mpur_max.to_ne_bytes());
            }
            return Ok(perm);
        }
        match (l, r.id) {
            (Datalink::Vnic(p), MAC_PROP_MTU) => {
                value.get_mut(..4).ok_or(EINVAL)?.copy_from_slice(&p.mtu().to_ne_bytes());
            }
            _ => mac_of(l).get_prop(r.id, name, value)?,
        }
        mac_of(l).prop_info(r.id, name, &mut info)?;
        Ok(info.perm)
    })
}

crate::symbols! { SYMBOLS "drv/dld": dld_ioc_register, dld_ioc_unregister, }
