// SPDX-License-Identifier: CDDL-1.0
//! A small driver in the manner of C: loading, devices, ioctls, statistics, faults, probes.
use fakekernel::host::*;
use fakekernel::{fm, kstat, log, probes};
use illumos_sys_hdrs::*;
use overlay_abi::errno::Errno;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering::SeqCst};

static NEXT_MINOR: AtomicU32 = AtomicU32::new(1);
static CLOSED: Mutex<Vec<u32>> = Mutex::new(Vec::new());
static REFUSE_DETACH: AtomicI32 = AtomicI32::new(0);
static REFUSE_ATTACH: AtomicI32 = AtomicI32::new(0);
static FINI_ERROR: AtomicI32 = AtomicI32::new(0);
static DIP: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

unsafe extern "C" fn attach(dip: *mut dev_info_t, cmd: c_int) -> c_int {
    // SAFETY: attach(9E).
    unsafe {
        if REFUSE_ATTACH.load(SeqCst) != 0 || cmd != DDI_ATTACH || ddi_get_instance(dip) != 0 {
            return DDI_FAILURE;
        }
        let mut cap = DDI_FM_EREPORT_CAPABLE;
        ddi_fm_init(dip, &mut cap, null_mut());
        DIP.store(dip.cast(), SeqCst);
        ddi_create_minor_node(dip, c"toy".as_ptr(), 0o020000, 0, DDI_PSEUDO.as_ptr(), 0)
    }
}

unsafe extern "C" fn detach(dip: *mut dev_info_t, _: c_int) -> c_int {
    if REFUSE_DETACH.load(SeqCst) != 0 {
        return DDI_FAILURE;
    }
    // SAFETY: detach(9E).
    unsafe {
        ddi_remove_minor_node(dip, null());
        ddi_fm_fini(dip);
    }
    DDI_SUCCESS
}

unsafe extern "C" fn open(dev: *mut dev_t, flag: c_int, otyp: c_int, cr: *mut cred_t) -> c_int {
    // SAFETY: open(9E).
    unsafe {
        if secpolicy_dl_config(cr) != 0 {
            return Errno::EPERM.0;
        }
        if crgetzoneid(cr) != GLOBAL_ZONEID || otyp != OTYP_CHR || getminor(*dev) != 0 {
            return Errno::EINVAL.0;
        }
        if flag & FEXCL == 0 {
            *dev = makedevice(getmajor(*dev), NEXT_MINOR.fetch_add(1, SeqCst));
        }
    }
    0
}

unsafe extern "C" fn close(dev: dev_t, _: c_int, _: c_int, _: *mut cred_t) -> c_int {
    // SAFETY: a device number.
    CLOSED.lock().expect("no panic").push(unsafe { getminor(dev) });
    0
}

/// 1: adds 1 to the u32 at arg, and returns the minor. 2: the model. 3: the mode's flags.
unsafe extern "C" fn ioctl(
    dev: dev_t,
    cmd: c_int,
    arg: isize,
    mode: c_int,
    _: *mut cred_t,
    rval: *mut c_int,
) -> c_int {
    // SAFETY: ioctl(9E).
    unsafe {
        match cmd {
            1 => {
                let mut n = 0u32;
                if ddi_copyin(arg as *const c_void, (&raw mut n).cast(), 4, mode) != 0 {
                    return Errno::EFAULT.0;
                }
                n += 1;
                if ddi_copyout((&raw const n).cast(), arg as *mut c_void, 4, mode) != 0 {
                    return Errno::EFAULT.0;
                }
                *rval = getminor(dev) as c_int;
                0
            }
            2 => {
                *rval = (ddi_model_convert_from(mode as u32) == DDI_MODEL_ILP32).into();
                0
            }
            3 => {
                *rval = mode & (FREAD | FWRITE | FEXCL);
                0
            }
            _ => Errno::ENOTTY.0,
        }
    }
}

const fn no_ops() -> cb_ops {
    cb_ops {
        cb_open: Some(open),
        cb_close: Some(close),
        cb_strategy: None,
        cb_print: None,
        cb_dump: None,
        cb_read: None,
        cb_write: None,
        cb_ioctl: Some(ioctl),
        cb_devmap: None,
        cb_mmap: None,
        cb_segmap: None,
        cb_chpoll: Some(nochpoll),
        cb_prop_op: Some(ddi_prop_op),
        cb_str: null_mut(),
        cb_flag: D_MP | D_64BIT,
        cb_rev: CB_REV,
        cb_aread: None,
        cb_awrite: None,
    }
}
static CB_OPS: cb_ops = no_ops();
static DEV_OPS: dev_ops = dev_ops {
    devo_rev: DEVO_REV,
    devo_refcnt: 0,
    devo_getinfo: None,
    devo_identify: None,
    devo_probe: None,
    devo_attach: Some(attach),
    devo_detach: Some(detach),
    devo_reset: None,
    devo_cb_ops: (&raw const CB_OPS).cast_mut(),
    devo_bus_ops: null_mut(),
    devo_power: None,
    devo_quiesce: Some(ddi_quiesce_not_supported),
};
static DRV: modldrv = modldrv {
    drv_modops: &raw const mod_driverops,
    drv_linkinfo: c"toy driver".as_ptr(),
    drv_dev_ops: (&raw const DEV_OPS).cast_mut(),
};
static LINKAGE: modlinkage = linkage((&raw const DRV).cast());
static MISC: modlmisc =
    modlmisc { misc_modops: &raw const mod_miscops, misc_linkinfo: c"toy plugin".as_ptr() };
static MISC_LINKAGE: modlinkage = linkage((&raw const MISC).cast());

const fn linkage(of: *const c_void) -> modlinkage {
    let n = null();
    modlinkage { ml_rev: MODREV_1, ml_linkage: [of, n, n, n, n, n, n] }
}

unsafe extern "C" fn toy_init() -> c_int {
    // SAFETY: _init(9E).
    unsafe { mod_install(&LINKAGE) }
}
unsafe extern "C" fn toy_fini() -> c_int {
    let e = FINI_ERROR.load(SeqCst);
    // SAFETY: _fini(9E).
    if e != 0 { e } else { unsafe { mod_remove(&LINKAGE) } }
}
unsafe extern "C" fn toy_info(m: *mut modinfo) -> c_int {
    // SAFETY: _info(9E).
    unsafe { mod_info(&LINKAGE, m) }
}
unsafe extern "C" fn misc_init() -> c_int {
    // SAFETY: _init(9E).
    unsafe { mod_install(&MISC_LINKAGE) }
}
unsafe extern "C" fn misc_fini() -> c_int {
    // SAFETY: _fini(9E).
    unsafe { mod_remove(&MISC_LINKAGE) }
}
unsafe extern "C" fn misc_info(m: *mut modinfo) -> c_int {
    // SAFETY: _info(9E).
    unsafe { mod_info(&MISC_LINKAGE, m) }
}

const TOY: StaticModule =
    StaticModule { name: "drv/toy", init: toy_init, fini: toy_fini, info: toy_info };
const PLUGIN: StaticModule =
    StaticModule { name: "overlay/plugin", init: misc_init, fini: misc_fini, info: misc_info };

fn with_toy() -> Kernel {
    let k = boot(Config::default());
    k.register_module(TOY);
    k.modload("drv/toy").expect("loads");
    k
}

#[test]
fn load_info_unload() {
    let k = boot(Config::default());
    k.register_module(TOY);
    k.register_module_needing(PLUGIN, &["drv/toy"]);
    assert_eq!(k.modload("drv/nothing"), Err(Errno::ENOENT));
    assert!(k.modinfo().is_empty());
    // By C, the subdirectory and the name apart; and what it needs comes along.
    let load = |d: *const c_char, n: &std::ffi::CStr| {
        // SAFETY: strings.
        unsafe { modload(d, n.as_ptr()) }
    };
    assert_eq!(load(c"overlay".as_ptr(), c"x/plugin"), -1);
    assert_eq!(load(c"overlay".as_ptr(), c"toy"), -1);
    let id = load(c"overlay".as_ptr(), c"plugin");
    assert!(id > 0);
    assert_eq!(load(c"overlay".as_ptr(), c"plugin"), id);
    assert_eq!(load(null(), c"toy"), k.modload("drv/toy").expect("loaded"));
    let info: Vec<_> = k.modinfo().into_iter().map(|m| (m.name, m.description)).collect();
    let want = [("drv/toy", "toy driver"), ("overlay/plugin", "toy plugin")];
    assert_eq!(info, want.map(|(n, d)| (n.to_string(), d.to_string())));
    assert_eq!(k.modunload("drv/toy"), Err(Errno::EBUSY));
    k.modunload("overlay/plugin").expect("unloads");
    k.modunload("drv/toy").expect("unloads");
    assert!(!fakekernel::dev::nodes().contains(&"/dev/toy".to_string()));
    k.modload("overlay/plugin").expect("loads again");
    k.shutdown().expect("unloads in order");
}

#[test]
fn refusals() {
    let k = boot(Config::default());
    k.register_module(TOY);
    REFUSE_ATTACH.store(1, SeqCst);
    assert_eq!(k.modload("drv/toy"), Err(Errno::ENXIO));
    REFUSE_ATTACH.store(0, SeqCst);
    k.modload("drv/toy").expect("loads");
    REFUSE_DETACH.store(1, SeqCst);
    assert_eq!(k.modunload("drv/toy"), Err(Errno::EBUSY));
    REFUSE_DETACH.store(0, SeqCst);
    FINI_ERROR.store(Errno::EAGAIN.0, SeqCst);
    assert_eq!(k.modunload("drv/toy"), Err(Errno::EAGAIN));
    FINI_ERROR.store(0, SeqCst);
    // It is attached again, and can be opened.
    let h = k.open("/dev/toy", FREAD, &Cred::KERNEL).expect("opens");
    assert_eq!(k.modunload("drv/toy"), Err(Errno::EBUSY));
    drop(h);
    k.modunload("drv/toy").expect("unloads");
    k.shutdown().expect("no violations");
}

#[test]
fn concurrent_loads_run_init_once() {
    let k = boot(Config::default());
    k.register_module(TOY);
    let ids: Vec<_> = std::thread::scope(|s| {
        let t: Vec<_> = (0..8).map(|_| s.spawn(|| k.modload("drv/toy"))).collect();
        t.into_iter().map(|t| t.join().expect("no panic").expect("loads")).collect()
    });
    assert!(ids.windows(2).all(|w| w[0] == w[1]));
    k.shutdown().expect("no violations");
}

#[test]
fn open_clone_close() {
    let k = with_toy();
    let cred = Cred::KERNEL;
    let open = |path: &str, flags, cred: &Cred| k.open(path, flags, cred).map(|_| ());
    assert_eq!(open("/dev/none", FREAD, &cred), Err(Errno::ENOENT));
    assert_eq!(open("/dev/toy", FREAD, &Cred { dl_config: false, ..cred }), Err(Errno::EPERM));
    assert_eq!(open("/dev/toy", FREAD, &Cred { zoneid: 3, ..cred }), Err(Errno::EINVAL));
    CLOSED.lock().expect("no panic").clear();
    let minor = |h: &OpenDev| {
        let mut n = 41u32;
        let r = h.ioctl(1, (&raw mut n) as u64, Model::Lp64, &SelfMem).expect("ioctl");
        assert_eq!(n, 42);
        r as u32
    };
    let a = k.open("/dev/toy", FREAD, &cred).expect("opens");
    let b = k.open("/dev/toy", FREAD | FWRITE, &cred).expect("opens");
    assert_ne!(minor(&a), minor(&b));
    let (ma, mb) = (minor(&a), minor(&b));
    drop(a);
    drop(b);
    assert_eq!(*CLOSED.lock().expect("no panic"), [ma, mb]);
    // Without cloning, close is the last close.
    CLOSED.lock().expect("no panic").clear();
    let a = k.open("/dev/toy", FEXCL, &cred).expect("opens");
    let b = k.open("/dev/toy", FEXCL, &cred).expect("opens");
    drop(a);
    assert!(CLOSED.lock().expect("no panic").is_empty());
    drop(b);
    assert_eq!(*CLOSED.lock().expect("no panic"), [0]);
    k.shutdown().expect("no violations");
}

/// Memory whose only page is at 0x1000.
struct OnePage(Mutex<[u8; 16]>);
impl OnePage {
    fn at(addr: u64, len: usize) -> Result<usize, Fault> {
        let at = addr.checked_sub(0x1000).ok_or(Fault)? as usize;
        if at.checked_add(len).is_some_and(|e| e <= 16) { Ok(at) } else { Err(Fault) }
    }
}
impl UserMem for OnePage {
    fn copyin(&self, addr: u64, buf: &mut [u8]) -> Result<(), Fault> {
        let at = OnePage::at(addr, buf.len())?;
        buf.copy_from_slice(&self.0.lock().expect("no panic")[at..at + buf.len()]);
        Ok(())
    }
    fn copyout(&self, addr: u64, buf: &[u8]) -> Result<(), Fault> {
        let at = OnePage::at(addr, buf.len())?;
        self.0.lock().expect("no panic")[at..at + buf.len()].copy_from_slice(buf);
        Ok(())
    }
}

#[test]
fn ioctls_reach_the_callers_memory() {
    let k = with_toy();
    let h = k.open("/dev/toy", FREAD | FWRITE, &Cred::KERNEL).expect("opens");
    let mem = OnePage(Mutex::new([7; 16]));
    assert!(h.ioctl(1, 0x1004, Model::Lp64, &mem).is_ok());
    assert_eq!(mem.0.lock().expect("no panic")[..8], [7, 7, 7, 7, 8, 7, 7, 7]);
    for bad in [0, 0x100e, u64::MAX - 1] {
        assert_eq!(h.ioctl(1, bad, Model::Lp64, &mem), Err(Errno::EFAULT));
        assert_eq!(h.ioctl(1, 8, Model::Lp64, &SelfMem), Err(Errno::EFAULT));
    }
    assert_eq!(h.ioctl(2, 0, Model::Ilp32, &mem), Ok(1));
    assert_eq!(h.ioctl(2, 0, Model::Lp64, &mem), Ok(0));
    assert_eq!(h.ioctl(3, 0, Model::Lp64, &mem), Ok(FREAD | FWRITE));
    assert_eq!(h.ioctl(99, 0, Model::Lp64, &mem), Err(Errno::ENOTTY));
    // Two threads, two memories, one handle.
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                let mut n = 0u32;
                for _ in 0..1000 {
                    h.ioctl(1, (&raw mut n) as u64, Model::Lp64, &SelfMem).expect("ioctl");
                }
                assert_eq!(n, 1000);
            });
        }
    });
    drop(h);
    // Outside of an ioctl there is no such memory.
    let mut n = 0u32;
    // SAFETY: a place of ours.
    assert_eq!(unsafe { ddi_copyin(8 as *const c_void, (&raw mut n).cast(), 4, 0) }, -1);
    assert_eq!(take_violations()[0].kind, Kind::Misuse);
    k.shutdown().expect("nothing else");
}

#[test]
fn statistics() {
    static TX: AtomicU32 = AtomicU32::new(5);
    unsafe extern "C" fn update(ks: *mut kstat_t, rw: c_int) -> c_int {
        if rw == KSTAT_WRITE {
            return Errno::EACCES.0;
        }
        // SAFETY: two statistics.
        unsafe { (*(*ks).ks_data.cast::<kstat_named_t>()).value.ui64 = TX.load(SeqCst).into() };
        0
    }
    let k = boot(Config::default());
    // SAFETY: kstat_create(9F) and so on.
    unsafe {
        let create = |n: i32| {
            kstat_create(
                c"toy".as_ptr(),
                n,
                c"stats".as_ptr(),
                c"net".as_ptr(),
                KSTAT_TYPE_NAMED,
                2,
                0,
            )
        };
        let ks = create(0);
        assert!(create(0).is_null());
        let other = create(1);
        let named = (*ks).ks_data.cast::<kstat_named_t>();
        kstat_named_init(named, c"tx".as_ptr(), KSTAT_DATA_UINT64);
        kstat_named_init(named.add(1), c"state".as_ptr(), KSTAT_DATA_CHAR);
        (*named.add(1)).value.c[0] = b'x' as c_char;
        (*ks).ks_update = Some(update);
        assert!(kstat::read(Some("toy"), None, None).is_empty());
        kstat_install(ks);
        kstat_install(other);
        assert_eq!(kstat::read(Some("toy"), None, None).len(), 2);
        let s = kstat::read(Some("toy"), Some(0), Some("stats"));
        assert_eq!(s[0].class, "net");
        let want = [("tx", kstat::Value::U64(5)), ("state", kstat::Value::Str("x".into()))];
        assert_eq!(s[0].data, want.map(|(n, v)| (n.to_string(), v)));
        TX.store(6, SeqCst);
        assert_eq!(kstat::read(Some("toy"), Some(0), None)[0].data[0].1, kstat::Value::U64(6));
        kstat_delete(ks);
        assert_eq!(kstat::read(None, None, Some("stats")).len(), 1);
    }
    let v = k.shutdown().expect_err("one was forgotten");
    assert!(v.len() == 1 && v[0].kind == Kind::Leak && v[0].text.contains("toy:1:stats"), "{v:?}");
}

#[test]
fn service_impact_is_remembered() {
    let k = with_toy();
    // SAFETY: attached.
    unsafe {
        let dip = DIP.load(SeqCst).cast();
        ddi_fm_service_impact(dip, DDI_SERVICE_DEGRADED);
        ddi_fm_service_impact(dip, DDI_SERVICE_RESTORED);
    }
    let i: Vec<_> = fm::impact().into_iter().map(|i| (i.driver, i.impact)).collect();
    assert_eq!(
        i,
        [("toy".to_string(), DDI_SERVICE_DEGRADED), ("toy".to_string(), DDI_SERVICE_RESTORED)]
    );
    k.shutdown().expect("no violations");
}

#[test]
fn probes_fire_count_and_disarm() {
    use illumos_sys_hdrs::probes::__dtrace_probe_overlay__tx as fire;
    use std::sync::Arc;
    let k = boot(Config { checks: Checks::Off, ..Config::default() });
    assert!(probes::names().contains(&"overlay-tx".to_string()));
    fire(1, 2, 3, 4, 5);
    assert_eq!(probes::count("overlay-tx"), 0);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let s = seen.clone();
    let armed = probes::arm(
        "__dtrace_probe_overlay__tx",
        Arc::new(move |a| s.lock().expect("no panic").push(a.to_vec())),
    );
    assert!(armed.is_some());
    fire(1, 2, 3, 4, 5);
    drop(armed);
    fire(9, 9, 9, 9, 9);
    assert_eq!(*seen.lock().expect("no panic"), [[1, 2, 3, 4, 5]]);
    assert_eq!(probes::count("overlay-tx"), 1);
    assert!(probes::arm("no-such", Arc::new(|_| ())).is_none());
    k.shutdown().expect("no violations");
    let k = boot(Config::default());
    fire(1, 2, 3, 4, 5);
    assert_eq!(probes::count("overlay-tx"), 1);
    k.shutdown().expect("no violations");
}

#[test]
fn messages_go_to_the_sink() {
    let k = boot(Config::default());
    let seen: &'static Mutex<Vec<(log::Level, String)>> = Box::leak(Box::default());
    log::set_sink(Some(std::sync::Arc::new(|l, t| {
        seen.lock().expect("no panic").push((l, t.to_string()));
    })));
    // SAFETY: what the formats ask for.
    unsafe {
        cmn_err(
            CE_WARN,
            c"%s%d: link %s is %llx".as_ptr(),
            c"toy".as_ptr(),
            3,
            c"ovl0".as_ptr(),
            0x00de_adbe_ef00_u64,
        );
        cmn_err(CE_NOTE, c"!quiet\n".as_ptr());
    }
    log::set_sink(None);
    let want = [
        (log::Level::Warning, "toy3: link ovl0 is deadbeef00".to_string()),
        (log::Level::Note, "quiet".to_string()),
    ];
    assert_eq!(*seen.lock().expect("no panic"), want);
    k.shutdown().expect("no violations");
}

#[test]
fn interrupted_ioctl() {
    // A reader that waits for good is ended by its client's death.
    let k = boot(Config { checks: Checks::Off, ..Config::default() });
    let i = std::sync::Arc::new(Interrupt::default());
    std::thread::scope(|s| {
        let t = s.spawn(|| {
            let _scope = i.scope();
            let (mut cv, mut m) = (kcondvar_t { _opaque: 0 }, kmutex_t { _opaque: [0] });
            // SAFETY: a mutex that is zero is initialised.
            unsafe {
                let m = &raw mut m;
                mutex_enter(m);
                let r = cv_timedwait_sig(&mut cv, m, ddi_get_lbolt() + 100_000);
                mutex_exit(m);
                r
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        i.fire();
        assert_eq!(t.join().expect("no panic"), 0);
    });
    k.shutdown().expect("no violations");
}

/// Where the code of `toy` lies, as a loader would say it.
fn say_where_toy_is() {
    let at = leaky_init as *const () as usize;
    fakekernel::register_text(at..at + 64, "toy");
}

#[inline(never)]
unsafe extern "C" fn leaky_init() -> c_int {
    // SAFETY: new memory and a new message, which nobody frees.
    unsafe {
        std::hint::black_box(kmem_alloc(77, KM_SLEEP));
        std::hint::black_box(allocb(77, 0));
        misc_init()
    }
}

#[test]
fn what_a_module_leaks_is_seen_when_it_unloads() {
    let k = boot(Config::default());
    say_where_toy_is();
    // What others have in use is not its own.
    // SAFETY: new memory.
    let (mine, msg) = unsafe { (kmem_alloc(99, KM_SLEEP), allocb(99, 0)) };
    k.register_module(StaticModule { init: leaky_init, fini: misc_fini, ..TOY });
    k.modload("drv/toy").expect("loads");
    k.modunload("drv/toy").expect("unloads");
    let v = take_violations();
    assert_eq!(v.iter().map(|v| v.kind).collect::<Vec<_>>(), [Kind::Leak, Kind::Leak], "{v:#?}");
    assert!(v[0].text.starts_with("toy leaks 77 bytes of kmem"), "{}", v[0]);
    assert!(v[1].text.starts_with("toy leaks mblk"), "{}", v[1]);
    // SAFETY: ours.
    unsafe {
        kmem_free(mine, 99);
        freemsg(msg);
    }
    k.shutdown().expect("nothing else");
}

#[test]
fn statistics_are_whole_for_every_reader() {
    let k = boot(Config::default());
    // SAFETY: kstat_create(9F) and so on.
    unsafe {
        let all: Vec<_> = (0..5)
            .map(|n| {
                kstat_create(
                    c"toy".as_ptr(),
                    n,
                    c"s".as_ptr(),
                    c"net".as_ptr(),
                    KSTAT_TYPE_NAMED,
                    1,
                    0,
                )
            })
            .collect();
        all.iter().for_each(|ks| kstat_install(*ks));
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..500 {
                        assert_eq!(kstat::read(Some("toy"), None, None).len(), 5);
                    }
                });
            }
        });
        all.into_iter().for_each(|ks| kstat_delete(ks));
    }
    k.shutdown().expect("no violations");
}

#[test]
fn opens_race_with_unloading() {
    let k = with_toy();
    let stop = AtomicU32::new(0);
    let used = AtomicU32::new(0);
    std::thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                while stop.load(SeqCst) == 0 {
                    match k.open("/dev/toy", FREAD, &Cred::KERNEL) {
                        Ok(h) => {
                            let mut n = 1u32;
                            h.ioctl(1, (&raw mut n) as u64, Model::Lp64, &SelfMem).expect("ioctl");
                            used.fetch_add(1, SeqCst);
                        }
                        Err(e) => assert!([Errno::ENOENT, Errno::ENXIO].contains(&e), "{e}"),
                    }
                    std::thread::yield_now();
                }
            });
        }
        let (mut gone, mut busy) = (0, 0);
        while gone < 100 || used.load(SeqCst) < 100 {
            match k.modunload("drv/toy") {
                Ok(()) => gone += 1,
                Err(e) => {
                    assert_eq!(e, Errno::EBUSY);
                    busy += 1;
                }
            }
            k.modload("drv/toy").expect("loads");
            if busy % 16 == 0 {
                std::thread::yield_now();
            }
        }
        stop.store(1, SeqCst);
    });
    k.shutdown().expect("no violations");
}
