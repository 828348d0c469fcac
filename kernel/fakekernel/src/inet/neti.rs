// SPDX-License-Identifier: CDDL-1.0
//! misc/neti: a stack's protocols by name, what they know of interfaces, and their events.
use super::hook::Event;
use super::ip::{Family, IpStack};
use super::netstack;
use crate::check::{Kind, violation};
use crate::stack::Stack;
use illumos_sys_hdrs::{
    ALL_ZONES, KSTAT_TYPE_NAMED, NH_NIC_EVENTS, NH_OBSERVE, NHF_INET, NHF_INET6, hook_t,
    kstat_create, kstat_delete, kstat_t, lif_if_t, net_handle_t, netid_t, phy_if_t, zoneid_t,
};
use overlay_abi::errno::Errno;
use parking_lot::Mutex;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::sync::{Arc, Weak};

/// Network ids are stack ids and this, so that who takes one for the other finds nothing.
const NETID: netid_t = 1000;

/// A protocol of a stack; its address is a net_handle_t.
pub(super) struct Protocol {
    pub(super) family: Family,
    pub(super) nic: Event,
    pub(super) observe: Event,
    stack: Weak<IpStack>,
    holds: AtomicI32,
    /// Its stack shuts down: hooks are not taken any more, and nobody is told.
    condemned: AtomicBool,
}

/// Protocols there are, and those still held of stacks that are gone.
static ALL: Mutex<Vec<Arc<Protocol>>> = Mutex::new(Vec::new());

impl Protocol {
    pub(super) fn new(stack: Weak<IpStack>, family: Family) -> Arc<Protocol> {
        let p = Arc::new(Protocol {
            family,
            nic: Event::default(),
            observe: Event::default(),
            stack,
            holds: AtomicI32::new(0),
            condemned: AtomicBool::new(false),
        });
        ALL.lock().push(p.clone());
        p
    }

    pub(super) fn handle(&self) -> net_handle_t {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    /// From here on it is found by nobody and takes no hooks.
    pub(super) fn condemn(&self) {
        self.condemned.store(true, SeqCst);
    }

    /// The stack is gone.
    pub(super) fn destroy(&self) {
        for (event, which) in [(&self.nic, NH_NIC_EVENTS), (&self.observe, NH_OBSERVE)] {
            for name in event.clear() {
                let text = format!("hook {name} is still on {} when its stack goes", text(which));
                violation(Kind::Leak, text);
            }
        }
        if self.holds.load(SeqCst) == 0 {
            ALL.lock().retain(|p| !std::ptr::eq(&**p, self));
        }
    }

    fn event(&self, name: &CStr) -> Option<&Event> {
        match name {
            n if n == NH_NIC_EVENTS => Some(&self.nic),
            n if n == NH_OBSERVE => Some(&self.observe),
            _ => None,
        }
    }
}

fn text(name: &CStr) -> std::borrow::Cow<'_, str> {
    name.to_string_lossy()
}

/// The last stack is gone: holds that are left are recorded.
pub(super) fn reset() {
    for p in std::mem::take(&mut *ALL.lock()) {
        let n = p.holds.load(SeqCst);
        if n > 0 {
            violation(Kind::Leak, format!("{n} holds on {:?} were not released", p.family));
        }
    }
}

/// The protocol behind a handle; None, recorded: there is none.
fn of(h: net_handle_t, what: &str) -> Option<Arc<Protocol>> {
    let p = ALL.lock().iter().find(|p| std::ptr::eq(p.handle(), h)).cloned();
    if p.is_none() {
        let text = format!("{what} with {h:p}, no protocol, at {}", Stack::here());
        violation(Kind::UseAfterFree, text);
    }
    p
}

/// The stack of a protocol while that is not going.
fn stack(h: net_handle_t, what: &str) -> Option<(Arc<IpStack>, Family)> {
    let p = of(h, what)?;
    (!p.condemned.load(SeqCst)).then(|| Some((p.stack.upgrade()?, p.family))).flatten()
}

#[unsafe(no_mangle)]
extern "C" fn net_zoneidtonetid(zone: zoneid_t) -> netid_t {
    if zone == ALL_ZONES {
        return -1;
    }
    netstack::ip_of(zone).map_or(-1, |ip| ip.id + NETID)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn net_protocol_lookup(id: netid_t, name: *const c_char) -> net_handle_t {
    // SAFETY: net_protocol_lookup(9F): a name.
    let name = unsafe { CStr::from_ptr(name) };
    let family = match name {
        n if n == NHF_INET => Family::V4,
        n if n == NHF_INET6 => Family::V6,
        _ => return null_mut(),
    };
    let Some(ip) = id.checked_sub(NETID).and_then(netstack::ip_of) else { return null_mut() };
    let p = ip.protocol(family);
    if ip.id != id - NETID || p.condemned.load(SeqCst) {
        return null_mut();
    }
    p.holds.fetch_add(1, SeqCst);
    p.handle()
}

#[unsafe(no_mangle)]
extern "C" fn net_protocol_release(h: net_handle_t) -> c_int {
    let Some(p) = of(h, "net_protocol_release") else { return 0 };
    let before = p.holds.fetch_sub(1, SeqCst);
    if before <= 0 {
        p.holds.fetch_add(1, SeqCst);
        let text = format!("net_protocol_release of a protocol nobody holds, at {}", Stack::here());
        violation(Kind::BadFree, text);
    } else if before == 1 && p.stack.strong_count() == 0 {
        ALL.lock().retain(|o| !Arc::ptr_eq(o, &p));
    }
    0
}

#[unsafe(no_mangle)]
extern "C" fn net_phygetnext(h: net_handle_t, phy: phy_if_t) -> phy_if_t {
    match stack(h, "net_phygetnext") {
        Some((ip, family)) => ip.next_interface(family, phy),
        None => phy_if_t::MAX,
    }
}

#[unsafe(no_mangle)]
extern "C" fn net_lifgetnext(h: net_handle_t, phy: phy_if_t, lif: lif_if_t) -> lif_if_t {
    match stack(h, "net_lifgetnext") {
        Some((ip, family)) => ip.next_lif(family, phy, lif),
        None => -1,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn net_getifname(
    h: net_handle_t,
    phy: phy_if_t,
    buf: *mut c_char,
    len: usize,
) -> c_int {
    let name = stack(h, "net_getifname").and_then(|(ip, f)| ip.name(f, phy));
    let Some(name) = name.filter(|_| len > 0) else { return -1 };
    let n = name.len().min(len - 1);
    // SAFETY: net_getifname(9F): room for len bytes.
    unsafe {
        buf.cast::<u8>().copy_from_nonoverlapping(name.as_ptr(), n);
        *buf.add(n) = 0;
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn net_getlifaddr(
    h: net_handle_t,
    phy: phy_if_t,
    lif: lif_if_t,
    n: c_int,
    kinds: *mut u32,
    out: *mut c_void,
) -> c_int {
    let Some((ip, family)) = stack(h, "net_getlifaddr") else { return -1 };
    let n = usize::try_from(n).unwrap_or(0);
    // SAFETY: net_getlifaddr(9F): n kinds.
    let kinds = unsafe { std::slice::from_raw_parts(kinds, n) };
    let mut at = out.cast::<u8>();
    for kind in kinds {
        let Some(address) = ip.lif_address(family, phy, lif, *kind) else { return -1 };
        let raw = family.sockaddr(address);
        // SAFETY: as above: room for n socket addresses of the family.
        unsafe {
            at.copy_from_nonoverlapping(raw.as_ptr(), raw.len());
            at = at.add(raw.len());
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn net_getlifflags(
    h: net_handle_t,
    phy: phy_if_t,
    lif: lif_if_t,
    flags: *mut u64,
) -> c_int {
    match stack(h, "net_getlifflags").and_then(|(ip, f)| ip.lif_flags(f, phy, lif)) {
        Some(found) => {
            // SAFETY: net_getlifflags(9F): a place for them.
            unsafe { *flags = found };
            0
        }
        None => -1,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn net_getlifzone(
    h: net_handle_t,
    phy: phy_if_t,
    lif: lif_if_t,
    zone: *mut zoneid_t,
) -> zoneid_t {
    match stack(h, "net_getlifzone").and_then(|(ip, f)| ip.lif_zone(f, phy, lif)) {
        Some(found) => {
            // SAFETY: net_getlifzone: a place for it.
            unsafe { *zone = found };
            0
        }
        None => -1,
    }
}

/// As on illumos a stack that shuts down says 0 and takes no hook.
#[unsafe(no_mangle)]
unsafe extern "C" fn net_hook_register(
    h: net_handle_t,
    event: *mut c_char,
    hook: *mut hook_t,
) -> c_int {
    let Some(p) = of(h, "net_hook_register") else { return Errno::ENXIO.0 };
    // SAFETY: net_hook_register(9F): a name, a hook.
    unsafe {
        let Some(e) = p.event(CStr::from_ptr(event)) else { return Errno::ENXIO.0 };
        if p.condemned.load(SeqCst) { 0 } else { e.register(hook) }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn net_hook_unregister(
    h: net_handle_t,
    event: *mut c_char,
    hook: *mut hook_t,
) -> c_int {
    let Some(p) = of(h, "net_hook_unregister") else { return Errno::ENXIO.0 };
    // SAFETY: net_hook_unregister(9F): a name.
    match p.event(unsafe { CStr::from_ptr(event) }) {
        Some(e) => e.unregister(hook),
        None => Errno::ENXIO.0,
    }
}

/// A kstat that only the zones of a stack would see; here all are seen, and the instances of a stack
/// start at a million times its number.
#[unsafe(no_mangle)]
unsafe extern "C" fn net_kstat_create(
    id: netid_t,
    module: *mut c_char,
    instance: c_int,
    name: *mut c_char,
    class: *mut c_char,
    kind: u8,
    ndata: u64,
    flags: u8,
) -> *mut kstat_t {
    let Some(stack) = id.checked_sub(NETID).filter(|id| *id >= 0) else { return null_mut() };
    if kind != KSTAT_TYPE_NAMED || netstack::ip_of(stack).is_none() {
        return null_mut();
    }
    let ndata = u32::try_from(ndata).unwrap_or(u32::MAX);
    let instance = instance.saturating_add(stack.saturating_mul(1_000_000));
    // SAFETY: net_kstat_create: as kstat_create(9F).
    unsafe { kstat_create(module, instance, name, class, kind, ndata, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn net_kstat_delete(_id: netid_t, ks: *mut kstat_t) {
    // SAFETY: as kstat_delete(9F).
    unsafe { kstat_delete(ks) };
}

crate::symbols! { SYMBOLS "misc/neti":
    net_zoneidtonetid, net_protocol_lookup, net_protocol_release, net_phygetnext, net_lifgetnext,
    net_getifname, net_getlifaddr, net_getlifflags, net_getlifzone, net_hook_register,
    net_hook_unregister, net_kstat_create, net_kstat_delete,
}
