// SPDX-License-Identifier: CDDL-1.0
//! Loading and unloading modules: their init, info and fini, attach and detach, and what they leave
//! behind.
//!
//! ```text
//!   modload:    load what it depends on, map it if it is a file, init -> mod_install, attach
//!               instance 0 of its driver
//!   modunload:  refused while others depend on it; detach (refused while open or by the driver),
//!               fini -> mod_remove; then its kmem and mblks must all be free; a file is unmapped
//! ```
//! No lock is held while module code runs: a state keeps other threads out.
use crate::check::{self, Kind, debug, violation};
use crate::ctx;
use crate::devinfo::DevInfo;
use crate::{callout, kmem, mblk, taskq};
use illumos_sys_hdrs::{MODREV_1, major_t, mod_ops, modinfo, modldrv, modlinkage, modlmisc};
use overlay_abi::errno::Errno;
use parking_lot::{Condvar, Mutex};
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// A module that is linked into the process.
#[derive(Clone, Copy)]
pub struct StaticModule {
    /// Directory and file: `drv/overlay`.
    pub name: &'static str,
    /// `_init`: 0 or an errno.
    pub init: unsafe extern "C" fn() -> c_int,
    /// `_fini`: 0 or an errno.
    pub fini: unsafe extern "C" fn() -> c_int,
    /// `_info`: not 0 if it filled the structure.
    pub info: unsafe extern "C" fn(*mut modinfo) -> c_int,
}

/// Where a module's three functions are.
#[derive(Clone, Copy)]
pub struct Entries {
    /// `_init`.
    pub init: unsafe extern "C" fn() -> c_int,
    /// `_fini`.
    pub fini: unsafe extern "C" fn() -> c_int,
    /// `_info`.
    pub info: unsafe extern "C" fn(*mut modinfo) -> c_int,
}

/// Why a file is no module: the errno for the caller, a sentence for the log.
pub type Refused = (Errno, String);

/// A module in a file, with the loader that knows how to read it. The kernel calls one of `read`,
/// `map` and `unmap` at a time, in this order.
pub trait ModuleFile: Send + Sync {
    /// Directory and file in the module path: `drv/overlay`.
    fn name(&self) -> &str;
    /// Where the file is.
    fn path(&self) -> &Path;
    /// Reads the file; the modules it depends on. Those the kernel knows are loaded next.
    ///
    /// # Errors
    /// It cannot be read, or breaks a rule.
    fn read(&self) -> Result<Vec<String>, Refused>;
    /// Puts it into memory and binds it to what it imports.
    ///
    /// # Errors
    /// It breaks a rule, or imports what is not there.
    fn map(&self) -> Result<Entries, Refused>;
    /// Takes it out of memory: no thread is in it, and none can get there.
    fn unmap(&self);
    /// Address of one of its global symbols, while it is mapped.
    fn symbol(&self, name: &str) -> Option<usize>;
}

#[derive(Clone)]
enum Code {
    Linked(Entries),
    File(Arc<dyn ModuleFile>),
}

impl Code {
    fn file(&self) -> Option<PathBuf> {
        match self {
            Code::Linked(_) => None,
            Code::File(f) => Some(f.path().to_owned()),
        }
    }
}

/// One line of modinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModInfo {
    /// Number given at the first load.
    pub id: i32,
    /// Directory and file.
    pub name: String,
    /// What its linkage says of it.
    pub description: String,
    /// The file it was loaded from, unless it is linked in.
    pub file: Option<PathBuf>,
}

enum State {
    Absent,
    /// A thread runs its init or fini.
    Changing(ThreadId),
    Loaded(Entries),
}

struct Module {
    name: String,
    code: Code,
    /// Of a linked module: what the kernel calls, by name.
    exports: Vec<(&'static str, usize)>,
    depends: Vec<String>,
    id: i32,
    /// When it was loaded, in the order of loads.
    order: u64,
    state: State,
}

#[derive(Default)]
struct Modules {
    all: Vec<Module>,
    ids: i32,
    loads: u64,
}

static MODULES: Mutex<Option<Modules>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();

thread_local! {
    /// The module whose init or fini this thread runs, and the drivers it has installed.
    static CURRENT: RefCell<Option<(String, Vec<Arc<DevInfo>>)>> = const { RefCell::new(None) };
}

/// Drivers of loaded modules.
static DRIVERS: Mutex<Vec<(String, Arc<DevInfo>)>> = Mutex::new(Vec::new());

/// Names of drivers in the order of their major numbers, from [`FIRST_MAJOR`]: name_to_major(5), in
/// which a driver is from when it is registered on, loaded or not.
static MAJORS: Mutex<Vec<String>> = Mutex::new(Vec::new());
const FIRST_MAJOR: major_t = 256;

/// Major number of a driver; None: there is no such.
pub(crate) fn major(driver: &str) -> Option<major_t> {
    let at = MAJORS.lock().iter().position(|n| n == driver)?;
    Some(FIRST_MAJOR + at as major_t)
}

/// Gives a module that is a driver its major number.
fn add_major(module: &str) {
    let mut majors = MAJORS.lock();
    if let Some(name) = module.strip_prefix("drv/")
        && !majors.iter().any(|n| n == name)
    {
        majors.push(name.into());
    }
}

/// What a `mod_ops` is here: only its address counts.
#[repr(C)]
pub(crate) struct ModOps([u8; 64]);

#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
static mod_driverops: ModOps = ModOps([0; 64]);
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
static mod_miscops: ModOps = ModOps([1; 64]);

/// Makes a module known to modload; `depends` are loaded first and cannot be unloaded before it.
pub(crate) fn register(m: StaticModule, depends: &[&str]) {
    let mut guard = MODULES.lock();
    let ms = guard.get_or_insert_default();
    if ms.all.iter().any(|o| o.name == m.name) {
        violation(Kind::Misuse, format!("module {} registered twice", m.name));
        return;
    }
    let code = Code::Linked(Entries { init: m.init, fini: m.fini, info: m.info });
    ms.add(m.name, code, depends.iter().map(ToString::to_string).collect());
}

/// Makes a file known to modload, in place of what had its name.
///
/// EBUSY: that is loaded.
pub(crate) fn register_file(file: Arc<dyn ModuleFile>) -> Result<(), Errno> {
    replace(file).map(drop)
}

/// Makes a file known, and what had its name.
fn replace(file: Arc<dyn ModuleFile>) -> Result<Option<(Code, Vec<String>)>, Errno> {
    let mut guard = MODULES.lock();
    let ms = guard.get_or_insert_default();
    let name = file.name().to_string();
    let code = Code::File(file);
    match ms.all.iter_mut().find(|o| o.name == name) {
        None => {
            ms.add(&name, code, Vec::new());
            Ok(None)
        }
        Some(o) if matches!(o.state, State::Absent) => {
            let before = std::mem::replace(&mut o.code, code);
            Ok(Some((before, std::mem::take(&mut o.depends))))
        }
        Some(_) => Err(Errno::EBUSY),
    }
}

/// Loads a file. If it is refused nothing has changed: what had its name has it again.
///
/// EBUSY: that is loaded. Else as [`load`].
pub(crate) fn load_new_file(file: Arc<dyn ModuleFile>) -> Result<i32, Errno> {
    let before = replace(Arc::clone(&file))?;
    load(file.name()).inspect_err(|_| {
        let mut guard = MODULES.lock();
        let ms = guard.get_or_insert_default();
        // Another file may have come meanwhile, or this one been loaded after all.
        let ours = |m: &Module| {
            let same = matches!(&m.code, Code::File(f) if Arc::ptr_eq(f, &file));
            same && matches!(m.state, State::Absent)
        };
        let Some(at) = ms.all.iter().position(ours) else { return };
        match before {
            Some(before) => (ms.all[at].code, ms.all[at].depends) = before,
            None => drop(ms.all.swap_remove(at)),
        }
    })
}

impl Modules {
    fn add(&mut self, name: &str, code: Code, depends: Vec<String>) {
        self.ids += 1;
        let id = self.ids;
        add_major(name);
        let (name, state) = (name.to_string(), State::Absent);
        self.all.push(Module { name, code, exports: Vec::new(), depends, id, order: 0, state });
    }
}

/// Makes functions of a linked module known to [`symbol`].
pub(crate) fn register_exports(name: &str, exports: &[(&'static str, usize)]) {
    let mut guard = MODULES.lock();
    let m = guard.iter_mut().flat_map(|ms| &mut ms.all).find(|m| m.name == name);
    match m {
        Some(m) => m.exports = exports.to_vec(),
        None => violation(Kind::Misuse, format!("exports of {name}, which is not registered")),
    }
}

/// Where a function of a loaded module is. The caller keeps the module from being unloaded.
pub(crate) fn symbol(module: &str, name: &str) -> Option<usize> {
    let guard = MODULES.lock();
    let m = guard.iter().flat_map(|ms| &ms.all).find(|m| m.name == module)?;
    match (&m.state, &m.code) {
        (State::Loaded(_), Code::File(f)) => f.symbol(name),
        (State::Loaded(_), Code::Linked(_)) => {
            m.exports.iter().find(|(n, _)| *n == name).map(|(_, at)| *at)
        }
        _ => None,
    }
}

/// The driver installed by that name.
pub(crate) fn driver(name: &str) -> Option<Arc<DevInfo>> {
    let current = CURRENT.with_borrow(|c| {
        let (_, drivers) = c.as_ref()?;
        drivers.iter().find(|d| d.name == name).cloned()
    });
    current.or_else(|| DRIVERS.lock().iter().find(|(_, d)| d.name == name).map(|(_, d)| d.clone()))
}

/// Forgets all modules: the kernel goes down.
pub(crate) fn forget() {
    *MODULES.lock() = None;
    DRIVERS.lock().clear();
}

enum Begin {
    /// It is in the wanted state already.
    Done(i32),
    Go(Going),
}

/// What is to be loaded, or (with its functions) unloaded.
struct Going {
    code: Code,
    loaded: Option<Entries>,
    depends: Vec<String>,
    id: i32,
}

/// Waits until nobody else changes the module, then marks it as changing; `load` says to what end.
fn begin(name: &str, load: bool) -> Result<Begin, Errno> {
    let me = std::thread::current().id();
    let mut guard = MODULES.lock();
    loop {
        let ms = guard.get_or_insert_default();
        let dependent = ms
            .all
            .iter()
            .any(|m| m.depends.iter().any(|d| d == name) && !matches!(m.state, State::Absent));
        let m = ms.all.iter_mut().find(|m| m.name == name).ok_or(Errno::ENOENT)?;
        match m.state {
            State::Changing(by) if by == me => return Err(Errno::EBUSY),
            State::Changing(_) => CHANGED.wait(&mut guard),
            State::Loaded(_) if load => return Ok(Begin::Done(m.id)),
            State::Absent if !load => return Ok(Begin::Done(m.id)),
            _ if !load && dependent => return Err(Errno::EBUSY),
            _ => {
                let loaded = match std::mem::replace(&mut m.state, State::Changing(me)) {
                    State::Loaded(entries) => Some(entries),
                    _ => None,
                };
                let (code, depends) = (m.code.clone(), m.depends.clone());
                return Ok(Begin::Go(Going { code, loaded, depends, id: m.id }));
            }
        }
    }
}

/// Ends what `begin` began. `loaded`: its functions and what it depends on, if it is loaded now.
fn end(name: &str, loaded: Option<(Entries, Vec<String>)>) {
    let mut guard = MODULES.lock();
    let ms = guard.get_or_insert_default();
    ms.loads += 1;
    let order = ms.loads;
    if let Some(m) = ms.all.iter_mut().find(|m| m.name == name) {
        m.state = match loaded {
            Some((entries, depends)) => {
                (m.order, m.depends) = (order, depends);
                State::Loaded(entries)
            }
            None => State::Absent,
        };
    }
    drop(guard);
    CHANGED.notify_all();
}

fn basename(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Runs module code with the thread marked as doing so; what it installed or kept installed.
fn run(
    name: &str,
    drivers: Vec<Arc<DevInfo>>,
    f: impl FnOnce() -> c_int,
) -> (c_int, Vec<Arc<DevInfo>>) {
    let outer = CURRENT.replace(Some((name.to_string(), drivers)));
    let r = f();
    let (_, drivers) = CURRENT.replace(outer).unwrap_or_default();
    (r, drivers)
}

/// Loads a module; its number.
///
/// ENOENT: not known. Else what its file is refused with, what init says, or ENXIO when the driver
/// does not attach.
pub(crate) fn load(name: &str) -> Result<i32, Errno> {
    ctx::may_sleep("modload");
    let Going { code, depends, id, .. } = match begin(name, true)? {
        Begin::Done(id) => return Ok(id),
        Begin::Go(going) => going,
    };
    let loaded = match &code {
        Code::Linked(entries) => {
            load_code(name, *entries, &depends).map(|()| (*entries, depends.clone()))
        }
        Code::File(file) => load_file(name, &**file),
    };
    let result = loaded.as_ref().map(|_| id).map_err(|e| *e);
    end(name, loaded.ok());
    result
}

fn load_file(name: &str, file: &dyn ModuleFile) -> Result<(Entries, Vec<String>), Errno> {
    let refused = |(errno, why): Refused| {
        crate::log::warning(&format!("cannot load module {name}: {why}"));
        errno
    };
    let depends = file.read().map_err(refused)?;
    // The kernel's own modules are not in the table: they are always there.
    let known = |d: &String| {
        let guard = MODULES.lock();
        guard.iter().flat_map(|ms| &ms.all).any(|m| m.name == *d)
    };
    let depends: Vec<_> = depends.into_iter().filter(known).collect();
    for d in &depends {
        load(d)?;
    }
    let entries = file.map().map_err(refused)?;
    if let Err(e) = load_code(name, entries, &[]) {
        file.unmap();
        return Err(e);
    }
    Ok((entries, depends))
}

fn load_code(name: &str, code: Entries, depends: &[String]) -> Result<(), Errno> {
    for d in depends {
        load(d)?;
    }
    // SAFETY: _init(9E).
    let (r, drivers) = run(name, Vec::new(), || unsafe { (code.init)() });
    if r != 0 {
        for d in drivers {
            violation(
                Kind::Leak,
                format!("init of {name} failed and left driver {} installed", d.name),
            );
        }
        check_leaks(name);
        return Err(Errno(r));
    }
    for d in &drivers {
        DRIVERS.lock().push((name.to_string(), d.clone()));
    }
    if drivers.iter().all(|d| d.attach().is_ok()) {
        return Ok(());
    }
    DRIVERS.lock().retain(|(n, _)| n != name);
    // SAFETY: _fini(9E).
    let (r, _) = run(name, drivers, || unsafe { (code.fini)() });
    if r != 0 {
        violation(Kind::Misuse, format!("{name} neither attaches nor unloads (errno {r})"));
    }
    check_leaks(name);
    Err(Errno::ENXIO)
}

/// Unloads a module, or says why not: EBUSY when others depend on it, it is open or refuses to
/// detach; else what fini says. What it leaks is recorded.
pub(crate) fn unload(name: &str) -> Result<(), Errno> {
    ctx::may_sleep("modunload");
    let (code, entries, depends) = match begin(name, false)? {
        Begin::Go(Going { code, loaded: Some(entries), depends, .. }) => (code, entries, depends),
        _ => return Ok(()),
    };
    let r = unload_code(name, entries);
    if r.is_ok() {
        let clean = check_leaks(name);
        // What leaked may point into it.
        if let (Code::File(file), true) = (code, clean) {
            file.unmap();
        }
    }
    end(name, r.is_err().then_some((entries, depends)));
    r
}

fn unload_code(name: &str, code: Entries) -> Result<(), Errno> {
    let drivers: Vec<_> =
        DRIVERS.lock().iter().filter(|(n, _)| n == name).map(|(_, d)| d.clone()).collect();
    let attach_again = |drivers: &[Arc<DevInfo>]| {
        for d in drivers {
            if !d.state.lock().attached && d.attach().is_err() {
                violation(Kind::Misuse, format!("{} does not attach again", d.name));
            }
        }
    };
    if drivers.iter().any(|d| d.detach().is_err()) {
        attach_again(&drivers);
        return Err(Errno::EBUSY);
    }
    // SAFETY: _fini(9E).
    let (r, left) = run(name, drivers.clone(), || unsafe { (code.fini)() });
    if r != 0 {
        attach_again(&left);
        return Err(Errno(r));
    }
    if !left.is_empty() {
        violation(Kind::Leak, format!("fini of {name} did not call mod_remove"));
    }
    DRIVERS.lock().retain(|(n, _)| n != name);
    Ok(())
}

/// Time given to messages that are still on their way through the kernel's threads when their
/// module goes.
const IN_FLIGHT: Duration = Duration::from_millis(300);

/// Records what a module has left; whether that is nothing.
fn check_leaks(name: &str) -> bool {
    if !debug() {
        return true;
    }
    let before = check::violations().len();
    let module = basename(name);
    let until = Instant::now() + IN_FLIGHT;
    while mblk::in_use_by(module) > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    callout::leaks(Some(module));
    taskq::leaks(Some(module));
    kmem::leaks(Some(module));
    mblk::leaks(Some(module));
    check::violations().len() == before
}

/// Loaded modules, the last loaded first.
pub(crate) fn loaded() -> Vec<String> {
    let guard = MODULES.lock();
    let mut l: Vec<_> = guard
        .iter()
        .flat_map(|m| &m.all)
        .filter(|m| matches!(m.state, State::Loaded(_)))
        .map(|m| (m.order, m.name.clone()))
        .collect();
    l.sort_unstable_by(|a, b| b.cmp(a));
    l.into_iter().map(|(_, n)| n).collect()
}

/// Loaded modules with what they say of themselves.
pub(crate) fn info() -> Vec<ModInfo> {
    let loaded: Vec<_> = {
        let guard = MODULES.lock();
        let all = guard.iter().flat_map(|m| &m.all);
        let of = |m: &Module| match m.state {
            State::Loaded(entries) => Some((m.id, m.name.clone(), entries, m.code.file())),
            _ => None,
        };
        all.filter_map(of).collect()
    };
    let of = |(id, name, code, file): (i32, String, Entries, Option<PathBuf>)| {
        // SAFETY: modinfo is numbers and bytes.
        let mut mi: modinfo = unsafe { std::mem::zeroed() };
        // SAFETY: _info(9E).
        let filled = unsafe { (code.info)(&mut mi) } != 0;
        let text = mi.mi_msinfo[0].msi_linkinfo.map(|c| c as u8);
        let text = text.split(|c| *c == 0).next().unwrap_or_default();
        let description =
            if filled { String::from_utf8_lossy(text).into_owned() } else { String::new() };
        ModInfo { id, name, description, file }
    };
    loaded.into_iter().map(of).collect()
}

/// The entries of a linkage: (its ops, the structure).
unsafe fn entries(l: *const modlinkage) -> Vec<(*const mod_ops, *const modldrv)> {
    // SAFETY: modlinkage(9S): pointers up to a NULL, each to a structure that begins with its ops.
    unsafe {
        let all = (*l).ml_linkage.iter().take_while(|p| !p.is_null());
        all.map(|p| (*p.cast::<*const mod_ops>(), p.cast::<modldrv>())).collect()
    }
}

fn is_driver(ops: *const mod_ops) -> bool {
    std::ptr::eq(ops.cast::<ModOps>(), &raw const mod_driverops)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mod_install(l: *const modlinkage) -> c_int {
    // SAFETY: mod_install(9F).
    let entries = unsafe {
        if (*l).ml_rev != MODREV_1 {
            return Errno::EINVAL.0;
        }
        entries(l)
    };
    if entries.is_empty() {
        return Errno::EINVAL.0;
    }
    CURRENT.with_borrow_mut(|c| {
        let Some((name, drivers)) = c else {
            violation(Kind::Misuse, "mod_install outside of a module's init");
            return Errno::EINVAL.0;
        };
        for (ops, e) in entries {
            if !is_driver(ops) {
                if !std::ptr::eq(ops.cast::<ModOps>(), &raw const mod_miscops) {
                    return Errno::EINVAL.0;
                }
                continue;
            }
            // SAFETY: a modldrv, by its ops.
            let dev_ops = unsafe { (*e).drv_dev_ops };
            if dev_ops.is_null() {
                return Errno::EINVAL.0;
            }
            let Some(major) = major(basename(name)) else { return Errno::ENXIO.0 };
            drivers.push(Arc::new(DevInfo {
                name: basename(name).to_string(),
                major,
                ops: dev_ops,
                state: Mutex::default(),
                opening: Mutex::default(),
                perim: Arc::default(),
                fm: Mutex::default(),
            }));
        }
        0
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mod_remove(_l: *const modlinkage) -> c_int {
    let drivers = CURRENT.with_borrow(|c| c.as_ref().map(|(_, d)| d.clone()));
    let Some(drivers) = drivers else {
        violation(Kind::Misuse, "mod_remove outside of a module's fini");
        return Errno::EBUSY.0;
    };
    if drivers.iter().any(|d| d.detach().is_err()) {
        return Errno::EBUSY.0;
    }
    CURRENT.with_borrow_mut(|c| {
        if let Some((_, d)) = c {
            d.clear();
        }
    });
    0
}

/// Copies the descriptions; 1, as `_info` is to return.
#[unsafe(no_mangle)]
unsafe extern "C" fn mod_info(l: *const modlinkage, mi: *mut modinfo) -> c_int {
    // SAFETY: mod_info(9F).
    unsafe {
        (*mi).mi_rev = (*l).ml_rev;
        for (slot, (ops, e)) in (*mi).mi_msinfo.iter_mut().zip(entries(l)) {
            let text = if is_driver(ops) {
                (*e).drv_linkinfo
            } else {
                (*e.cast::<modlmisc>()).misc_linkinfo
            };
            let room = slot.msi_linkinfo.len() - 1;
            let bytes = CStr::from_ptr(text).to_bytes().iter().take(room);
            for (to, from) in slot.msi_linkinfo.iter_mut().zip(bytes) {
                *to = *from as c_char;
            }
        }
    }
    1
}

/// Loads `subdir/name`; its number, or -1. With a slash in the name it is refused. No hold is kept.
#[unsafe(no_mangle)]
unsafe extern "C" fn modload(subdir: *const c_char, name: *const c_char) -> c_int {
    // SAFETY: modload: a name, a directory or NULL.
    let (subdir, name) = unsafe {
        let text = |s| CStr::from_ptr(s).to_string_lossy().into_owned();
        ((!subdir.is_null()).then(|| text(subdir)), text(name))
    };
    if name.contains('/') {
        return -1;
    }
    let dirs: Vec<&str> = match &subdir {
        Some(s) => vec![s],
        None => vec!["drv", "misc"],
    };
    let found = dirs.iter().find_map(|d| load(&format!("{d}/{name}")).ok());
    found.unwrap_or(-1)
}

crate::symbols! { SYMBOLS "genunix":
    mod_install, mod_remove, mod_info, modload, ; mod_driverops, mod_miscops,
}
