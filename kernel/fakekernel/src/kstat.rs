// SPDX-License-Identifier: CDDL-1.0
//! The chain of kernel statistics, and reading it.
use crate::check::{Kind, violation};
use crate::ctx;
use crate::mutex::{mutex_enter, mutex_exit};
use crate::time::gethrtime;
use illumos_sys_hdrs::{
    KSTAT_DATA_CHAR, KSTAT_DATA_STRING, KSTAT_DATA_UINT32, KSTAT_DATA_UINT64, KSTAT_FLAG_VIRTUAL,
    KSTAT_READ, KSTAT_STRLEN, KSTAT_TYPE_NAMED, kmutex_t, kstat_named_t, kstat_t,
};
use parking_lot::{Condvar, Mutex};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, Ordering};

/// kstat data types that illumos-sys-hdrs has no use for.
const KSTAT_DATA_INT32: u8 = 1;
const KSTAT_DATA_INT64: u8 = 3;

/// The value of a named statistic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Value {
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    /// KSTAT_DATA_CHAR and KSTAT_DATA_STRING.
    Str(String),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::I32(v) => v.fmt(f),
            Value::U32(v) => v.fmt(f),
            Value::I64(v) => v.fmt(f),
            Value::U64(v) => v.fmt(f),
            Value::Str(v) => v.fmt(f),
        }
    }
}

/// A snapshot of one kstat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kstat {
    /// Module that made it.
    pub module: String,
    /// Instance of that.
    pub instance: i32,
    /// Name, unique for the module and instance.
    pub name: String,
    /// Class, such as `net`.
    pub class: String,
    /// Creation time, nanoseconds of gethrtime.
    pub crtime: i64,
    /// Time of this snapshot, nanoseconds of gethrtime.
    pub snaptime: i64,
    /// Statistics in their order.
    pub data: Vec<(String, Value)>,
}

struct Entry {
    ks: *mut kstat_t,
    /// What ks_data was at first, if it is ours: a module may have put its own there instead.
    data: *mut c_void,
    installed: bool,
    /// A reader is at it: it cannot be deleted.
    busy: bool,
}
// SAFETY: the kstat is the chain's until it is deleted; readers serialise by ks_lock, deletion by
// `busy`.
unsafe impl Send for Entry {}

static CHAIN: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
static IDLE: Condvar = Condvar::new();
static NEXT_KID: AtomicI32 = AtomicI32::new(1);

fn text(s: &[c_char]) -> String {
    let bytes: Vec<u8> = s.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

unsafe fn set(to: &mut [c_char; KSTAT_STRLEN], from: *const c_char) {
    // SAFETY: the caller's C string.
    let bytes = unsafe { CStr::from_ptr(from) }.to_bytes();
    for (t, f) in to.iter_mut().zip(bytes.iter().take(KSTAT_STRLEN - 1)) {
        *t = *f as c_char;
    }
}

/// NULL for anything but named statistics, and for one that exists.
#[unsafe(no_mangle)]
unsafe extern "C" fn kstat_create(
    module: *const c_char,
    instance: c_int,
    name: *const c_char,
    class: *const c_char,
    kind: u8,
    ndata: u32,
    flags: u8,
) -> *mut kstat_t {
    ctx::may_sleep("kstat_create");
    if kind != KSTAT_TYPE_NAMED {
        return null_mut();
    }
    // SAFETY: kstat_create(9F); a kstat_t and its data are valid when zero.
    unsafe {
        let mut ks: Box<kstat_t> = Box::new(std::mem::zeroed());
        set(&mut ks.ks_module, module);
        set(&mut ks.ks_name, name);
        set(&mut ks.ks_class, class);
        ks.ks_instance = instance;
        ks.ks_type = kind;
        ks.ks_flags = flags;
        ks.ks_ndata = ndata;
        ks.ks_data_size = ndata as usize * size_of::<kstat_named_t>();
        ks.ks_crtime = gethrtime();
        let mut chain = CHAIN.lock();
        let same = |e: &Entry| {
            let k = &*e.ks;
            k.ks_instance == instance && k.ks_module == ks.ks_module && k.ks_name == ks.ks_name
        };
        if chain.iter().any(same) {
            return null_mut();
        }
        if flags & KSTAT_FLAG_VIRTUAL == 0 {
            ks.ks_data = libc::calloc(ndata as usize, size_of::<kstat_named_t>());
        }
        ks.ks_kid = NEXT_KID.fetch_add(1, Ordering::Relaxed);
        let data = ks.ks_data;
        let ks = Box::into_raw(ks);
        chain.push(Entry { ks, data, installed: false, busy: false });
        ks
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn kstat_install(ks: *mut kstat_t) {
    let mut chain = CHAIN.lock();
    match chain.iter_mut().find(|e| e.ks == ks) {
        Some(e) => e.installed = true,
        None => violation(Kind::Misuse, format!("kstat_install of {ks:p}, which does not exist")),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn kstat_delete(ks: *mut kstat_t) {
    if ks.is_null() {
        return;
    }
    ctx::may_sleep("kstat_delete");
    let mut chain = CHAIN.lock();
    let gone = loop {
        let Some(at) = chain.iter().position(|e| e.ks == ks) else {
            violation(Kind::Misuse, format!("kstat_delete of {ks:p}, which does not exist"));
            return;
        };
        if !chain[at].busy {
            break chain.remove(at);
        }
        IDLE.wait(&mut chain);
    };
    drop(chain);
    // SAFETY: out of the chain, nobody else has it.
    unsafe {
        drop(Box::from_raw(ks));
        libc::free(gone.data);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn kstat_named_init(kn: *mut kstat_named_t, name: *const c_char, kind: u8) {
    // SAFETY: kstat_named_init(9F).
    unsafe {
        let kn = &mut *kn;
        kn.name = [0; KSTAT_STRLEN];
        set(&mut kn.name, name);
        kn.data_type = kind;
    }
}

/// Snapshots of the installed kstats that match; None matches all.
pub fn read(module: Option<&str>, instance: Option<i32>, name: Option<&str>) -> Vec<Kstat> {
    let kids: Vec<c_int> = {
        let chain = CHAIN.lock();
        // SAFETY: in the chain, so valid.
        chain.iter().filter(|e| e.installed).map(|e| unsafe { (*e.ks).ks_kid }).collect()
    };
    kids.into_iter().filter_map(|kid| read_one(kid, module, instance, name)).collect()
}

/// One of them, unless it is gone or does not match. Only one is held at a time, so readers cannot
/// wait in a circle.
fn read_one(
    kid: c_int,
    module: Option<&str>,
    instance: Option<i32>,
    name: Option<&str>,
) -> Option<Kstat> {
    let mut chain = CHAIN.lock();
    let ks = loop {
        // SAFETY: in the chain, so valid.
        let e = chain.iter_mut().find(|e| unsafe { (*e.ks).ks_kid } == kid)?;
        // SAFETY: as above.
        let k = unsafe { &*e.ks };
        let wanted = module.is_none_or(|m| m == text(&k.ks_module))
            && instance.is_none_or(|i| i == k.ks_instance)
            && name.is_none_or(|n| n == text(&k.ks_name));
        if !wanted {
            return None;
        }
        if !e.busy {
            e.busy = true;
            break e.ks;
        }
        IDLE.wait(&mut chain);
    };
    drop(chain);
    // SAFETY: marked busy, so not deleted, and nobody else reads it.
    let out = unsafe { snapshot(ks) };
    if let Some(e) = CHAIN.lock().iter_mut().find(|e| e.ks == ks) {
        e.busy = false;
    }
    IDLE.notify_all();
    out
}

unsafe fn snapshot(ks: *mut kstat_t) -> Option<Kstat> {
    // SAFETY: the caller keeps it from being deleted; its data is read under its lock, as ks_update
    // leaves it.
    unsafe {
        let lock: *mut kmutex_t = (*ks).ks_lock;
        if !lock.is_null() {
            mutex_enter(lock);
        }
        let ok = (*ks).ks_update.is_none_or(|f| f(ks, KSTAT_READ) == 0);
        (*ks).ks_snaptime = gethrtime();
        let k = &*ks;
        let data = if k.ks_data.is_null() { 0 } else { k.ks_ndata as usize };
        let named = k.ks_data.cast::<kstat_named_t>();
        let data = (0..data).map(|i| value(&*named.add(i))).collect();
        let out = Kstat {
            module: text(&k.ks_module),
            instance: k.ks_instance,
            name: text(&k.ks_name),
            class: text(&k.ks_class),
            crtime: k.ks_crtime,
            snaptime: k.ks_snaptime,
            data,
        };
        if !lock.is_null() {
            mutex_exit(lock);
        }
        ok.then_some(out)
    }
}

unsafe fn value(kn: &kstat_named_t) -> (String, Value) {
    // SAFETY: data_type says which member of the union is set; all are valid for any bits but the
    // string's address.
    let v = unsafe {
        match kn.data_type {
            KSTAT_DATA_CHAR => Value::Str(text(&kn.value.c)),
            KSTAT_DATA_INT32 => Value::I32(kn.value.ui32 as i32),
            KSTAT_DATA_UINT32 => Value::U32(kn.value.ui32),
            KSTAT_DATA_INT64 => Value::I64(kn.value.ui64 as i64),
            KSTAT_DATA_UINT64 => Value::U64(kn.value.ui64),
            KSTAT_DATA_STRING if !kn.value.str_.addr.is_null() => {
                Value::Str(CStr::from_ptr(kn.value.str_.addr).to_string_lossy().into_owned())
            }
            _ => Value::Str(String::new()),
        }
    };
    (text(&kn.name), v)
}

/// Records kstats that were never deleted, and deletes them.
pub(crate) fn leaks() {
    for e in std::mem::take(&mut *CHAIN.lock()) {
        // SAFETY: out of the chain, nobody else has it.
        let ks = unsafe { Box::from_raw(e.ks) };
        let (m, n) = (text(&ks.ks_module), text(&ks.ks_name));
        violation(Kind::Leak, format!("kstat {m}:{}:{n} was not deleted", ks.ks_instance));
    }
}

crate::symbols! { SYMBOLS "genunix": kstat_create, kstat_install, kstat_delete, kstat_named_init, }
