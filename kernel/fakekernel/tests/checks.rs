// SPDX-License-Identifier: CDDL-1.0
//! Each kind of violation is seen, and what is allowed is not one.
use fakekernel::host::*;
use fakekernel::{ctx, mblk};
use illumos_sys_hdrs::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};

fn debug() -> Kernel {
    boot(Config::default())
}

/// Exactly these kinds were recorded, and are now forgotten.
#[track_caller]
fn expect(kinds: &[Kind]) -> Vec<Violation> {
    let v = take_violations();
    assert_eq!(v.iter().map(|v| v.kind).collect::<Vec<_>>(), kinds, "{v:#?}");
    v
}

struct Lock(Box<kmutex_t>);
impl Lock {
    fn new(name: &std::ffi::CStr) -> Lock {
        let mut m = Box::new(kmutex_t { _opaque: [0] });
        // SAFETY: memory for a mutex that does not move.
        unsafe { mutex_init(&mut *m, name.as_ptr(), MUTEX_DEFAULT, null_mut()) };
        Lock(m)
    }
    fn p(&self) -> *mut kmutex_t {
        std::ptr::from_ref(&*self.0).cast_mut()
    }
    fn enter(&self) {
        // SAFETY: initialised.
        unsafe { mutex_enter(self.p()) }
    }
    fn exit(&self) {
        // SAFETY: initialised.
        unsafe { mutex_exit(self.p()) }
    }
    fn destroy(&self) {
        // SAFETY: initialised.
        unsafe { mutex_destroy(self.p()) }
    }
}

#[test]
fn clean_use_is_no_violation() {
    let k = debug();
    // SAFETY: all as the manual says.
    unsafe {
        let p = kmem_alloc(100, KM_SLEEP);
        p.cast::<u8>().write_bytes(7, 100);
        kmem_free(p, 100);
        kmem_free(null_mut(), 0);
        assert!(kmem_alloc(0, KM_NOSLEEP).is_null());
        let (a, b) = (Lock::new(c"a"), Lock::new(c"b"));
        for _ in 0..3 {
            a.enter();
            b.enter();
            assert_eq!(mutex_owned(a.p()), 1);
            b.exit();
            a.exit();
        }
        assert_eq!(mutex_tryenter(a.p()), 1);
        a.exit();
        a.destroy();
        b.destroy();
        let mp = allocb(64, BPRI_HI);
        let d = dupb(mp);
        freemsg(mp);
        freemsg(d);
        freemsg(null_mut());
    }
    assert_eq!(k.shutdown().map_err(|v| format!("{v:#?}")), Ok(()));
}

#[test]
fn kmem_free_of_wrong_size() {
    let k = debug();
    // SAFETY: memory of kmem_alloc; the size is the test.
    unsafe {
        let p = kmem_alloc(100, KM_SLEEP);
        kmem_free(p, 99);
    }
    let v = expect(&[Kind::BadFree]);
    assert!(v[0].text.contains("99") && v[0].text.contains("100"), "{}", v[0]);
    k.shutdown().expect("nothing else");
}

#[test]
fn kmem_free_twice_and_of_foreign_memory() {
    let k = debug();
    let mut other = [0u8; 64];
    // SAFETY: the register of buffers is asked before anything is touched.
    unsafe {
        let p = kmem_zalloc(64, KM_SLEEP);
        kmem_free(p, 64);
        kmem_free(p, 64);
        kmem_free(other.as_mut_ptr().cast(), 64);
        kmem_free(null_mut(), 8);
    }
    let v = expect(&[Kind::BadFree, Kind::BadFree, Kind::BadFree]);
    assert!(v[0].text.contains("freed memory"), "{}", v[0]);
    k.shutdown().expect("nothing else");
}

#[test]
fn kmem_overrun_and_write_after_free() {
    let k = debug();
    // SAFETY: the byte behind the end is the kernel's red zone, and freed memory rests in its
    // quarantine.
    unsafe {
        let p = kmem_alloc(40, KM_SLEEP).cast::<u8>();
        p.add(40).write(1);
        kmem_free(p.cast(), 40);
        expect(&[Kind::Corruption]);
        let p = kmem_alloc(40, KM_SLEEP).cast::<u8>();
        assert_eq!(p.cast::<u32>().read(), 0xbadd_cafe);
        kmem_free(p.cast(), 40);
        assert_eq!(p.cast::<u32>().read(), 0xdead_beef);
        p.add(3).write(1);
    }
    let v = k.shutdown().expect_err("the write is seen when the quarantine ends");
    assert_eq!(v.len(), 1, "{v:#?}");
    assert_eq!(v[0].kind, Kind::Corruption);
}

#[test]
fn leaks_at_shutdown() {
    let k = debug();
    assert!(!kmem_leak().is_null());
    // SAFETY: a new message.
    assert!(!unsafe { allocb(10, 0) }.is_null());
    let v = k.shutdown().expect_err("two leaks");
    assert_eq!(v.iter().map(|v| v.kind).collect::<Vec<_>>(), [Kind::Leak, Kind::Leak]);
    assert!(v[0].text.contains("123 bytes") && v[0].text.contains("kmem_leak"), "{}", v[0]);
}

#[inline(never)]
fn kmem_leak() -> *mut c_void {
    // SAFETY: new memory.
    unsafe { std::hint::black_box(kmem_alloc(123, KM_SLEEP)) }
}

#[test]
fn mutex_rules() {
    let k = debug();
    let m = Lock::new(c"the mutex");
    m.exit();
    let v = expect(&[Kind::NotOwner]);
    assert!(v[0].text.contains("the mutex"), "{}", v[0]);

    m.enter();
    m.enter();
    expect(&[Kind::Recursion]);
    m.exit();
    assert_eq!(unsafe_owned(&m), 1);
    m.exit();
    assert_eq!(unsafe_owned(&m), 0);
    expect(&[]);

    m.enter();
    std::thread::scope(|s| {
        s.spawn(|| m.exit());
    });
    expect(&[Kind::NotOwner]);
    assert_eq!(unsafe_owned(&m), 1);
    m.destroy();
    expect(&[Kind::DestroyBusy]);
    m.enter();
    expect(&[Kind::Uninitialised]);
    m.exit();
    k.shutdown().expect("nothing else");
}

fn unsafe_owned(m: &Lock) -> i32 {
    // SAFETY: a mutex.
    unsafe { mutex_owned(m.p()) }
}

#[test]
fn rwlock_rules() {
    let k = debug();
    let mut l = krwlock_t { _opaque: [0] };
    // SAFETY: one lock, which stays where it is.
    unsafe {
        let l = &raw mut l;
        rw_init(l, c"rw".as_ptr(), RW_DEFAULT, null_mut());
        rw_exit(l);
        expect(&[Kind::NotOwner]);
        rw_enter(l, RW_READER);
        rw_enter(l, RW_READER);
        expect(&[Kind::Recursion]);
        rw_exit(l);
        rw_exit(l);
        rw_enter(l, RW_WRITER);
        assert_eq!(rw_tryenter(l, RW_READER), 0);
        rw_destroy(l);
        expect(&[Kind::DestroyBusy]);
    }
    k.shutdown().expect("nothing else");
}

#[test]
fn lock_order() {
    let k = debug();
    let (a, b, c) = (Lock::new(c"lock a"), Lock::new(c"lock b"), Lock::new(c"lock c"));
    let nest = |x: &Lock, y: &Lock| {
        x.enter();
        y.enter();
        y.exit();
        x.exit();
    };
    nest(&a, &b);
    nest(&b, &c);
    expect(&[]);
    // No two threads ever met, but c before a closes a circle of three.
    nest(&c, &a);
    let v = expect(&[Kind::LockOrder]);
    for name in ["lock a", "lock b", "lock c", "lock_order"] {
        assert!(v[0].text.contains(name), "{name}: {}", v[0]);
    }
    nest(&c, &a);
    expect(&[]);
    k.shutdown().expect("nothing else");
}

#[test]
fn unnamed_locks_are_classed_by_where_they_were_made() {
    let k = debug();
    let make = || {
        let mut m = Box::new(kmutex_t { _opaque: [0] });
        // SAFETY: memory for a mutex that does not move.
        unsafe { mutex_init(&mut *m, null(), MUTEX_DRIVER, null_mut()) };
        Lock(m)
    };
    // Two of one class: their order means nothing.
    let two: Vec<Lock> = (0..2).map(|_| make()).collect();
    for (x, y) in [(0, 1), (1, 0)] {
        two[x].enter();
        two[y].enter();
        two[y].exit();
        two[x].exit();
    }
    expect(&[]);
    k.shutdown().expect("nothing else");
}

#[test]
fn a_thread_ends_with_a_lock() {
    let k = debug();
    let m = Lock::new(c"kept");
    std::thread::scope(|s| {
        s.spawn(|| m.enter()).join().expect("no panic");
    });
    expect(&[Kind::LockHeld]);
    k.shutdown().expect("nothing else");
}

#[test]
fn sleeping_in_receive_context() {
    let k = debug();
    let m = Lock::new(c"m");
    let mut cv = kcondvar_t { _opaque: 0 };
    // SAFETY: as the manual says, but for the context.
    unsafe {
        let cv = &raw mut cv;
        cv_init(cv, null(), CV_DEFAULT, null_mut());
        let receive = ctx::enter_receive();
        let p = kmem_alloc(8, KM_NOSLEEP);
        let mp = allocb(8, 0);
        freemsg(mp);
        m.enter();
        m.exit();
        expect(&[]);
        kmem_free(p, 8);
        let p = kmem_alloc(8, KM_SLEEP);
        kmem_free(p, 8);
        expect(&[Kind::Sleep]);
        m.enter();
        cv_timedwait(cv, m.p(), ddi_get_lbolt());
        m.exit();
        expect(&[Kind::Sleep]);
        drop(receive);
        let p = kmem_alloc(8, KM_SLEEP);
        kmem_free(p, 8);
        expect(&[]);
    }
    k.shutdown().expect("nothing else");
}

#[test]
fn locks_over_an_upcall() {
    let k = debug();
    let m = Lock::new(c"tx lock");
    ctx::upcall("mac_rx");
    expect(&[]);
    m.enter();
    ctx::upcall("mac_rx");
    m.exit();
    let v = expect(&[Kind::LockHeld]);
    assert!(v[0].text.contains("tx lock") && v[0].text.contains("mac_rx"), "{}", v[0]);
    k.shutdown().expect("nothing else");
}

#[test]
fn cv_rules() {
    let k = debug();
    let m = Lock::new(c"m");
    let mut cv = kcondvar_t { _opaque: 0 };
    // SAFETY: the misuse is what is tested, and it is recorded before anything happens.
    unsafe {
        let cv = &raw mut cv;
        cv_init(cv, null(), CV_DEFAULT, null_mut());
        cv_wait(cv, m.p());
        expect(&[Kind::NotOwner]);
        let (cv, m) = (cv as usize, &m);
        std::thread::scope(|s| {
            s.spawn(move || {
                m.enter();
                cv_wait(cv as *mut kcondvar_t, m.p());
                m.exit();
            });
            let cv = cv as *mut kcondvar_t;
            while cv.cast::<u16>().read_volatile() == 0 {
                std::thread::yield_now();
            }
            cv_destroy(cv);
            expect(&[Kind::DestroyBusy]);
            m.enter();
            cv_signal(cv);
            m.exit();
        });
        cv_destroy(cv as *mut kcondvar_t);
    }
    k.shutdown().expect("nothing else");
}

#[test]
fn messages_after_free() {
    let k = debug();
    // SAFETY: the register of messages is asked before anything is touched.
    unsafe {
        let mp = allocb(100, 0);
        freemsg(mp);
        freemsg(mp);
        assert!(dupb(mp).is_null());
        freeb(mp);
        expect(&[Kind::UseAfterFree; 3]);
        let mp = allocb(100, 0);
        (*mp).b_next = mp;
        freemsg(mp);
        expect(&[Kind::Misuse]);
        let mp = allocb(100, 0);
        (*mp).b_wptr = (*(*mp).b_datap).db_lim.add(1);
        freemsg(mp);
        expect(&[Kind::Corruption]);
        let mp = allocb(100, 0);
        (*(*mp).b_datap).db_lim.write(0);
        freemsg(mp);
        expect(&[Kind::Corruption]);
    }
    k.shutdown().expect("nothing else");
}

#[test]
fn failed_assertion_is_recorded() {
    let k = debug();
    // SAFETY: strings.
    unsafe { assfail(c"a == b".as_ptr(), c"file.c".as_ptr(), 12) };
    let v = expect(&[Kind::Assertion]);
    assert!(v[0].text.contains("a == b") && v[0].text.contains("file.c"), "{}", v[0]);
    k.shutdown().expect("nothing else");
}

#[test]
fn caches() {
    unsafe extern "C" fn ctor(p: *mut c_void, arg: *mut c_void, _: i32) -> i32 {
        // SAFETY: an object of 32 bytes and the counter the cache was given.
        unsafe {
            p.cast::<u64>().write(0x1234);
            *arg.cast::<i32>() += 1;
        }
        0
    }
    unsafe extern "C" fn dtor(p: *mut c_void, arg: *mut c_void) {
        // SAFETY: as above.
        unsafe {
            assert_eq!(p.cast::<u64>().read(), 0x1234);
            *arg.cast::<i32>() -= 1;
        }
    }
    for checks in [Checks::Debug, Checks::Off] {
        let k = boot(Config { checks, ..Config::default() });
        let mut built = 0;
        // SAFETY: as the manual says, save where a violation is expected.
        unsafe {
            let arg = (&raw mut built).cast::<c_void>();
            let c = kmem_cache_create(
                c"objects".as_ptr(),
                32,
                64,
                Some(ctor),
                Some(dtor),
                None,
                arg,
                null_mut(),
                0,
            );
            let p = kmem_cache_alloc(c, KM_SLEEP);
            assert_eq!((p as usize % 64, p.cast::<u64>().read()), (0, 0x1234));
            let q = kmem_cache_alloc(c, KM_NOSLEEP);
            assert_ne!(p, q);
            kmem_cache_free(c, p);
            if checks == Checks::Debug {
                kmem_cache_free(c, p);
                expect(&[Kind::BadFree]);
                kmem_free(q, 32);
                expect(&[Kind::BadFree]);
            }
            kmem_cache_free(c, q);
            kmem_cache_destroy(c);
        }
        assert_eq!(built, 0);
        k.shutdown().expect("nothing else");
    }
}

#[test]
fn a_cache_destroyed_in_use() {
    let k = debug();
    // SAFETY: as the manual says, but for the order.
    unsafe {
        let c = kmem_cache_create(
            c"objects".as_ptr(),
            32,
            0,
            None,
            None,
            None,
            null_mut(),
            null_mut(),
            0,
        );
        kmem_cache_alloc(c, KM_SLEEP);
        kmem_cache_destroy(c);
    }
    expect(&[Kind::DestroyBusy]);
    let v = k.shutdown().expect_err("the object leaks");
    assert_eq!(v.len(), 1);
}

#[test]
fn faults() {
    let fail = FaultPlan { nth_allocb: Some(2), nth_nosleep: Some(1), random: None };
    let k = boot(Config { fail, ..Config::default() });
    // SAFETY: new messages and memory.
    unsafe {
        let a = allocb(8, 0);
        assert!(!a.is_null());
        assert!(allocb(8, 0).is_null());
        assert!(kmem_alloc(8, KM_NOSLEEP).is_null());
        let p = kmem_alloc(8, KM_NOSLEEP);
        kmem_free(p, 8);
        fail_nth_allocb(1);
        assert!(dupb(a).is_null());
        assert!(!null_once_freed(mblk::alloc(0)));
        freemsg(a);
        fail_random(1, 500);
        let failed = (0..1000).filter(|_| {
            let mp = allocb(8, 0);
            freemsg(mp);
            mp.is_null()
        });
        let failed = failed.count();
        assert!((400..600).contains(&failed), "{failed}");
        // Memory that may be slept for is there.
        fail_random(1, 1000);
        let p = kmem_alloc(8, KM_SLEEP);
        assert!(!p.is_null());
        kmem_free(p, 8);
    }
    k.shutdown().expect("nothing else");
}

fn null_once_freed(mp: *mut mblk_t) -> bool {
    // SAFETY: a new message or NULL.
    unsafe { freemsg(mp) };
    mp.is_null()
}

#[test]
fn a_dropped_kernel_with_violations_fails_the_test() {
    let r = std::panic::catch_unwind(|| {
        let k = debug();
        Lock::new(c"m").exit();
        drop(k);
    });
    assert!(r.is_err());
    // And the next one boots.
    debug().shutdown().expect("a new list");
}

static CALLED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

unsafe extern "C" fn called(arg: *mut c_void) {
    // A callout must not sleep.
    ctx::may_sleep("nothing");
    CALLED.fetch_add(arg as usize, std::sync::atomic::Ordering::SeqCst);
}

#[test]
fn timeouts() {
    let k = debug();
    let count = || CALLED.load(std::sync::atomic::Ordering::SeqCst);
    // SAFETY: as timeout(9F) says.
    unsafe {
        timeout(called, 5 as *mut c_void, 1);
        let late = timeout(called, 70 as *mut c_void, 100_000);
        while count() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(count(), 5);
        assert!(untimeout(late) > 90_000);
        assert_eq!(untimeout(late), -1);
        expect(&[Kind::Sleep]);
        timeout(called, 900 as *mut c_void, 100_000);
    }
    let v = k.shutdown().expect_err("one is pending");
    assert!(v.len() == 1 && v[0].text.contains("timeouts"), "{v:#?}");
}
