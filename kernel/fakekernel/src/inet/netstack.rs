// SPDX-License-Identifier: CDDL-1.0
//! Network stacks, the modules that have an instance in each, and zones.
use super::ip::IpStack;
use crate::check::{Kind, debug, violation};
use crate::cred::Cred;
use crate::ctx;
use crate::stack::Stack as Caller;
use illumos_sys_hdrs::{
    ALL_ZONES, GLOBAL_ZONEID, NS_IP, NS_MAX, NSF_ZONE_DESTROY, NSF_ZONE_SHUTDOWN, cred_t,
    netstack_create_f, netstack_end_f, netstack_handle_t, netstack_t, netstackid_t, zoneid_t,
};
use overlay_abi::errno::Errno;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// What zone a zone shares its stack with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpType {
    /// The global zone's.
    Shared,
    /// None: it has a stack of its own.
    Exclusive,
}

struct Stack {
    /// What C sees.
    ns: *mut netstack_t,
    ip: Arc<IpStack>,
    /// No longer to be found.
    closing: bool,
}
// SAFETY: the structure is ours, changed under the table's lock only.
unsafe impl Send for Stack {}

/// A module with an instance in each stack.
#[derive(Clone)]
struct Module {
    create: Option<netstack_create_f>,
    shutdown: Option<netstack_end_f>,
    destroy: Option<netstack_end_f>,
    /// Who registered, with checks on.
    by: Option<Caller>,
}

#[derive(Default)]
struct Table {
    stacks: BTreeMap<netstackid_t, Stack>,
    modules: BTreeMap<c_int, Module>,
    zones: BTreeMap<zoneid_t, (String, IpType)>,
}

static TABLE: Mutex<Table> =
    Mutex::new(Table { stacks: BTreeMap::new(), modules: BTreeMap::new(), zones: BTreeMap::new() });
/// Held while stacks or modules come and go, over their callbacks.
static CHANGING: Mutex<()> = Mutex::new(());
static RELEASED: Condvar = Condvar::new();

/// How long a zone that halts waits for holds on its stack.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn boot() {
    TABLE.lock().zones.insert(GLOBAL_ZONEID, ("global".into(), IpType::Shared));
    let _changing = CHANGING.lock();
    add_stack(GLOBAL_ZONEID);
}

/// Takes all zones down; what modules left is recorded.
pub(super) fn reset() {
    let zones: Vec<zoneid_t> = TABLE.lock().zones.keys().copied().collect();
    for zone in zones.into_iter().filter(|z| *z != GLOBAL_ZONEID) {
        let _ = zone_halt(zone);
    }
    let left = std::mem::take(&mut TABLE.lock().modules);
    for (id, m) in left {
        let by = m.by.map(|s| format!(" by {s}")).unwrap_or_default();
        violation(
            Kind::Leak,
            format!("netstack module {id} registered{by} and never unregistered"),
        );
    }
    {
        let _changing = CHANGING.lock();
        remove_stack(GLOBAL_ZONEID);
    }
    *TABLE.lock() = Table::default();
    set_labeled(false);
}

/// Boots a zone: 1 or more, a name of its own. In a zone with a stack of its own every registered
/// module gets an instance.
///
/// # Errors
/// EINVAL: no such number. EEXIST: number or name are in use.
pub fn zone_boot(zone: zoneid_t, name: &str, ip: IpType) -> Result<(), Errno> {
    if zone <= GLOBAL_ZONEID {
        return Err(Errno::EINVAL);
    }
    let _changing = CHANGING.lock();
    {
        let mut t = TABLE.lock();
        if t.zones.iter().any(|(id, (n, _))| *id == zone || n == name) {
            return Err(Errno::EEXIST);
        }
        t.zones.insert(zone, (name.into(), ip));
    }
    if ip == IpType::Exclusive {
        add_stack(zone);
    }
    Ok(())
}

/// Halts a zone. Its stack, if it has one, is shut down and destroyed when nobody holds it.
///
/// # Errors
/// ENOENT: no such zone, or the global one.
pub fn zone_halt(zone: zoneid_t) -> Result<(), Errno> {
    let _changing = CHANGING.lock();
    let ip = match TABLE.lock().zones.get(&zone) {
        Some((_, ip)) if zone != GLOBAL_ZONEID => *ip,
        _ => return Err(Errno::ENOENT),
    };
    if ip == IpType::Exclusive {
        remove_stack(zone);
    }
    TABLE.lock().zones.remove(&zone);
    Ok(())
}

/// Zones there are: number, name, kind.
pub fn zones() -> Vec<(zoneid_t, String, IpType)> {
    TABLE.lock().zones.iter().map(|(id, (name, ip))| (*id, name.clone(), *ip)).collect()
}

/// IP of the stack a zone uses; None: no such zone, or it halts.
pub(crate) fn ip_of(zone: zoneid_t) -> Option<Arc<IpStack>> {
    let t = TABLE.lock();
    let s = t.stacks.get(&t.stack_of(zone)).filter(|s| !s.closing)?;
    Some(s.ip.clone())
}

impl Table {
    /// A zone that shares has the global zone's; else its own number, whether or not that exists.
    fn stack_of(&self, zone: zoneid_t) -> netstackid_t {
        match self.zones.get(&zone) {
            Some((_, IpType::Shared)) => GLOBAL_ZONEID,
            _ => zone,
        }
    }

    fn hold(&mut self, id: netstackid_t) -> *mut netstack_t {
        match self.stacks.get(&id) {
            Some(s) if !s.closing => {
                // SAFETY: in the table, under its lock.
                unsafe { (*s.ns).netstack_refcnt += 1 };
                s.ns
            }
            _ => null_mut(),
        }
    }
}

/// Under CHANGING.
fn add_stack(id: netstackid_t) {
    let ip = IpStack::new(id);
    // SAFETY: numbers, pointers and locks that are valid when zero.
    let mut ns: Box<netstack_t> = Box::new(unsafe { std::mem::zeroed() });
    ns.netstack_stackid = id;
    ns.netstack_numzones = 1;
    ns.nu_modules[NS_IP as usize] = ip.as_ptr().cast();
    let ns = Box::into_raw(ns);
    ip.set_netstack(ns);
    let modules = {
        let mut t = TABLE.lock();
        t.stacks.insert(id, Stack { ns, ip, closing: false });
        t.modules.clone()
    };
    for (m, module) in modules {
        create(m, &module, ns);
    }
}

fn create(m: c_int, module: &Module, ns: *mut netstack_t) {
    // SAFETY: the stack stays while CHANGING is held; the callback is as registered.
    unsafe {
        if let Some(f) = module.create {
            let instance = f((*ns).netstack_stackid, ns);
            (*ns).nu_modules[m as usize] = instance;
        }
    }
}

fn end(m: c_int, f: Option<netstack_end_f>, ns: *mut netstack_t, last: bool) {
    // SAFETY: as create.
    unsafe {
        let instance = (*ns).nu_modules[m as usize];
        if let Some(f) = f {
            f((*ns).netstack_stackid, instance);
        }
        if last {
            (*ns).nu_modules[m as usize] = null_mut::<c_void>();
        }
    }
}

/// Under CHANGING: shutdown of all modules, then no stack to be found, then destroy when nobody
/// holds it.
fn remove_stack(id: netstackid_t) {
    let (ns, ip, modules) = {
        let t = TABLE.lock();
        let Some(s) = t.stacks.get(&id) else { return };
        (s.ns, s.ip.clone(), t.modules.clone())
    };
    // SAFETY: in the table until the end of this function.
    unsafe { (*ns).netstack_flags |= NSF_ZONE_SHUTDOWN };
    ip.shut_down();
    for (m, module) in modules.iter().rev() {
        end(*m, module.shutdown, ns, false);
    }
    let mut t = TABLE.lock();
    if let Some(s) = t.stacks.get_mut(&id) {
        s.closing = true;
        // SAFETY: as above.
        unsafe {
            (*ns).netstack_flags |= NSF_ZONE_DESTROY;
            (*ns).netstack_numzones = 0;
        }
    }
    let until = Instant::now() + PATIENCE;
    loop {
        // SAFETY: as above; it changes under the table's lock.
        let n = unsafe { (*ns).netstack_refcnt };
        if n == 0 {
            break;
        }
        if RELEASED.wait_until(&mut t, until).timed_out() {
            violation(Kind::Leak, format!("netstack {id} goes with {n} holds on it"));
            break;
        }
    }
    drop(t);
    for (m, module) in modules.iter().rev() {
        end(*m, module.destroy, ns, true);
    }
    ip.destroy();
    TABLE.lock().stacks.remove(&id);
    // SAFETY: of Box::into_raw, out of the table, and nobody holds it.
    drop(unsafe { Box::from_raw(ns) });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn netstack_register(
    module: c_int,
    create_f: Option<netstack_create_f>,
    shutdown: Option<netstack_end_f>,
    destroy: Option<netstack_end_f>,
) {
    ctx::may_sleep("netstack_register");
    let _changing = CHANGING.lock();
    let by = debug().then(Caller::here);
    let m = Module { create: create_f, shutdown, destroy, by };
    let stacks: Vec<usize> = {
        let mut t = TABLE.lock();
        if !(0..NS_MAX).contains(&module) || module == NS_IP || t.modules.contains_key(&module) {
            violation(
                Kind::Misuse,
                format!("netstack_register of module {module}, which is taken"),
            );
            return;
        }
        t.modules.insert(module, m.clone());
        t.stacks.values().map(|s| s.ns as usize).collect()
    };
    for ns in stacks {
        create(module, &m, ns as *mut netstack_t);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn netstack_unregister(module: c_int) {
    ctx::may_sleep("netstack_unregister");
    let _changing = CHANGING.lock();
    let (m, stacks): (_, Vec<usize>) = {
        let mut t = TABLE.lock();
        let Some(m) = t.modules.remove(&module) else {
            let text = format!("netstack_unregister of module {module}, which is not registered");
            return violation(Kind::Misuse, text);
        };
        (m, t.stacks.values().map(|s| s.ns as usize).collect())
    };
    for ns in &stacks {
        end(module, m.shutdown, *ns as *mut netstack_t, false);
    }
    for ns in &stacks {
        end(module, m.destroy, *ns as *mut netstack_t, true);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn netstack_find_by_cred(cr: *const cred_t) -> *mut netstack_t {
    // SAFETY: netstack_find_by_cred: a credential.
    netstack_find_by_zoneid(unsafe { Cred::from_ptr(cr) }.zoneid)
}

#[unsafe(no_mangle)]
extern "C" fn netstack_find_by_stackid(id: netstackid_t) -> *mut netstack_t {
    TABLE.lock().hold(id)
}

#[unsafe(no_mangle)]
extern "C" fn netstack_find_by_zoneid(zone: zoneid_t) -> *mut netstack_t {
    let mut t = TABLE.lock();
    let id = t.stack_of(zone);
    t.hold(id)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn netstack_rele(ns: *mut netstack_t) {
    let t = TABLE.lock();
    if !t.stacks.values().any(|s| s.ns == ns) {
        let text = format!("netstack_rele of {ns:p}, no stack, at {}", Caller::here());
        return violation(Kind::UseAfterFree, text);
    }
    // SAFETY: in the table, under its lock.
    unsafe {
        if (*ns).netstack_refcnt <= 0 {
            let id = (*ns).netstack_stackid;
            let text = format!("netstack_rele of stack {id}, which nobody holds");
            return violation(Kind::BadFree, format!("{text}, at {}", Caller::here()));
        }
        (*ns).netstack_refcnt -= 1;
    }
    RELEASED.notify_all();
}

#[unsafe(no_mangle)]
unsafe extern "C" fn netstack_next_init(cursor: *mut netstack_handle_t) {
    // SAFETY: netstack_next_init: a place for a cursor.
    unsafe { *cursor = 0 };
}

/// The cursor counts the stacks that were given.
#[unsafe(no_mangle)]
unsafe extern "C" fn netstack_next(cursor: *mut netstack_handle_t) -> *mut netstack_t {
    let mut t = TABLE.lock();
    // SAFETY: netstack_next: the caller's cursor.
    unsafe {
        let at = usize::try_from(*cursor).unwrap_or(0);
        let mut open = t.stacks.iter().filter(|(_, s)| !s.closing).map(|(id, _)| *id);
        let Some(id) = open.nth(at) else { return null_mut() };
        *cursor += 1;
        t.hold(id)
    }
}

#[unsafe(no_mangle)]
extern "C" fn netstack_next_fini(_cursor: *mut netstack_handle_t) {}

#[unsafe(no_mangle)]
unsafe extern "C" fn netstack_get_zoneid(ns: *mut netstack_t) -> zoneid_t {
    // SAFETY: netstack_get_zoneid: a held stack. Its number is that of its zone.
    unsafe { (*ns).netstack_stackid }
}

#[unsafe(no_mangle)]
extern "C" fn netstackid_to_zoneid(id: netstackid_t) -> zoneid_t {
    id
}

#[unsafe(no_mangle)]
extern "C" fn zoneid_to_netstackid(zone: zoneid_t) -> netstackid_t {
    if zone == ALL_ZONES { GLOBAL_ZONEID } else { TABLE.lock().stack_of(zone) }
}

#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
static sys_labeling: AtomicI32 = AtomicI32::new(0);

/// Makes this a system on which everything has a label, or not; until the kernel goes down.
pub fn set_labeled(labeled: bool) {
    sys_labeling.store(labeled.into(), Relaxed);
}

crate::symbols! { SYMBOLS "genunix":
    netstack_register, netstack_unregister, netstack_find_by_cred, netstack_find_by_stackid,
    netstack_find_by_zoneid, netstack_rele, netstack_next_init, netstack_next, netstack_next_fini,
    netstack_get_zoneid, netstackid_to_zoneid, zoneid_to_netstackid, ; sys_labeling,
}
