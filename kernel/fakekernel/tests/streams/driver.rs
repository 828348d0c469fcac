// SPDX-License-Identifier: CDDL-1.0
//! A STREAMS driver that sends back what it gets, in the manner of C.
//!
//! Messages go straight up while the read queue is empty and there is room, else onto the read
//! queue, unless that is full: then they are dropped. While the gate is closed they stay on the write
//! queue. A flag does each thing wrong that a driver can do wrong.
use fakekernel::host::*;
use illumos_sys_hdrs::*;
use overlay_abi::errno::Errno;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering::SeqCst};

/// Ioctls of the driver: acknowledged with 7 and their data; reads an int and returns it; never
/// answered; M_HANGUP; M_ERROR(EIO); DLPI answers; copies 4 bytes out.
pub const ECHO: i32 = 0x4c01;
pub const READ_INT: i32 = 0x4c02;
pub const SILENT: i32 = 0x4c03;
pub const HANG_UP: i32 = 0x4c04;
pub const BREAK: i32 = 0x4c05;
pub const DLPI: i32 = 0x4c06;
pub const WRITE_INT: i32 = 0x4c07;

pub static DROPPED: AtomicU32 = AtomicU32::new(0);
pub static GATE: AtomicBool = AtomicBool::new(true);
/// Threads in the driver now, and the most there were.
pub static INSIDE: AtomicI32 = AtomicI32::new(0);
pub static MOST: AtomicI32 = AtomicI32::new(0);
/// The last opened stream's read queue.
pub static QUEUE: AtomicPtr<queue_t> = AtomicPtr::new(null_mut());
/// What to do wrong.
pub static WRONG: AtomicI32 = AtomicI32::new(0);
pub const SLEEP_IN_PUT: i32 = 1;
pub const LOCK_OVER_PUT: i32 = 2;
pub const NO_PROCS_ON: i32 = 3;
pub const NO_PROCS_OFF: i32 = 4;
pub const SEND_AFTER_OFF: i32 = 5;
pub const REFUSE_OPEN: i32 = 6;
pub const PUT_TWICE: i32 = 7;

/// A mutex of the driver, and how to enter it before it is initialised at attach.
#[repr(transparent)]
struct Lock(std::cell::UnsafeCell<kmutex_t>);
// SAFETY: a lock.
unsafe impl Sync for Lock {}
static LOCK: Lock = Lock(std::cell::UnsafeCell::new(kmutex_t { _opaque: [0] }));

fn wrong(what: i32) -> bool {
    WRONG.load(SeqCst) == what
}

struct Inside;
impl Inside {
    fn enter() -> Inside {
        let now = INSIDE.fetch_add(1, SeqCst) + 1;
        MOST.fetch_max(now, SeqCst);
        // Long enough for another to come in, if it could.
        std::hint::black_box((0..200).sum::<i32>());
        Inside
    }
}
impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, SeqCst);
    }
}

unsafe extern "C" fn attach(dip: *mut dev_info_t, _: c_int) -> c_int {
    // SAFETY: attach(9E).
    unsafe {
        mutex_init(LOCK.0.get(), c"echo".as_ptr(), MUTEX_DRIVER, null_mut());
        ddi_create_minor_node(dip, c"echo".as_ptr(), 0o020000, 0, DDI_PSEUDO.as_ptr(), 0)
    }
}

unsafe extern "C" fn detach(dip: *mut dev_info_t, _: c_int) -> c_int {
    // SAFETY: detach(9E).
    unsafe {
        ddi_remove_minor_node(dip, null());
        mutex_destroy(LOCK.0.get());
    }
    DDI_SUCCESS
}

static NEXT_MINOR: AtomicU32 = AtomicU32::new(1);

unsafe extern "C" fn open(
    q: *mut queue_t,
    dev: *mut dev_t,
    _: c_int,
    sflag: c_int,
    _: *mut cred_t,
) -> c_int {
    let _in = Inside::enter();
    if wrong(REFUSE_OPEN) || sflag == MODOPEN {
        return Errno::EBUSY.0;
    }
    // SAFETY: open(9E) of a stream.
    unsafe {
        *dev = makedevice(getmajor(*dev), NEXT_MINOR.fetch_add(1, SeqCst));
        QUEUE.store(q, SeqCst);
        if !wrong(NO_PROCS_ON) {
            qprocson(q);
        }
    }
    0
}

unsafe extern "C" fn close(q: *mut queue_t, _: c_int, _: *mut cred_t) -> c_int {
    let _in = Inside::enter();
    // SAFETY: close(9E) of a stream.
    unsafe {
        if !wrong(NO_PROCS_OFF) {
            qprocsoff(q);
        }
        if wrong(SEND_AFTER_OFF) {
            putnextctl(q, M_HANGUP.into());
        }
    }
    0
}

unsafe extern "C" fn wput(q: *mut queue_t, mp: *mut mblk_t) -> c_int {
    let _in = Inside::enter();
    // SAFETY: put(9E).
    unsafe {
        if wrong(SLEEP_IN_PUT) {
            kmem_free(kmem_alloc(8, KM_SLEEP), 8);
        }
        match (*(*mp).b_datap).db_type {
            M_IOCTL => ioctl(q, mp),
            M_IOCDATA => iocdata(q, mp),
            M_FLUSH => flush(q, mp),
            _ if GATE.load(SeqCst) => up(q, mp),
            _ => drop(putq(q, mp)),
        }
    }
    0
}

unsafe extern "C" fn wsrv(q: *mut queue_t) -> c_int {
    let _in = Inside::enter();
    // SAFETY: srv(9E).
    unsafe {
        while GATE.load(SeqCst) {
            let mp = getq(q);
            if mp.is_null() {
                break;
            }
            up(q, mp);
        }
    }
    0
}

/// A message from the write side to the reader.
unsafe fn up(q: *mut queue_t, mp: *mut mblk_t) {
    // SAFETY: the driver's queue and message.
    unsafe {
        let rq = RD(q);
        let high = (*(*mp).b_datap).db_type >= QPCTL;
        if high || ((*rq).q_first.is_null() && canputnext(rq) != 0) {
            if wrong(LOCK_OVER_PUT) {
                mutex_enter(LOCK.0.get());
            }
            qreply(q, mp);
            if wrong(LOCK_OVER_PUT) {
                mutex_exit(LOCK.0.get());
            }
        } else if (*rq).q_flag & QFULL == 0 {
            putq(rq, mp);
            if wrong(PUT_TWICE) {
                put(rq, mp);
            }
        } else {
            DROPPED.fetch_add(1, SeqCst);
            freemsg(mp);
        }
    }
}

unsafe extern "C" fn rput(q: *mut queue_t, mp: *mut mblk_t) -> c_int {
    // SAFETY: put(9E). Only reached by PUT_TWICE: the message is on the queue and stays there.
    let _ = (q, mp);
    0
}

unsafe extern "C" fn rsrv(q: *mut queue_t) -> c_int {
    let _in = Inside::enter();
    // SAFETY: srv(9E).
    unsafe {
        loop {
            let mp = getq(q);
            if mp.is_null() {
                break;
            }
            if canputnext(q) == 0 {
                putbq(q, mp);
                break;
            }
            putnext(q, mp);
        }
    }
    0
}

unsafe fn flush(q: *mut queue_t, mp: *mut mblk_t) {
    // SAFETY: as the manual has it for drivers.
    unsafe {
        if *(*mp).b_rptr & FLUSHW != 0 {
            flushq(q, FLUSHALL);
            *(*mp).b_rptr &= !FLUSHW;
        }
        if *(*mp).b_rptr & FLUSHR != 0 {
            flushq(RD(q), FLUSHALL);
            qreply(q, mp);
        } else {
            freemsg(mp);
        }
    }
}

unsafe fn ioctl(q: *mut queue_t, mp: *mut mblk_t) {
    // SAFETY: an M_IOCTL.
    unsafe {
        let ioc = (*mp).b_rptr.cast::<iocblk>();
        let transparent = (*ioc).ioc_count == TRANSPARENT as usize;
        match (*ioc).ioc_cmd {
            ECHO => miocack(q, mp, if transparent { 0 } else { (*ioc).ioc_count as c_int }, 7),
            READ_INT if transparent => {
                mcopyin(mp, null_mut(), 4, null_mut());
                qreply(q, mp);
            }
            WRITE_INT if transparent => {
                let addr = (*(*mp).b_cont).b_rptr.cast::<*mut c_char>().read_unaligned();
                freemsg((*mp).b_cont);
                (*mp).b_cont = allocb(4, 0);
                (*(*mp).b_cont).b_wptr.cast::<u32>().write(42);
                (*(*mp).b_cont).b_wptr = (*(*mp).b_cont).b_wptr.add(4);
                let cq = ioc.cast::<copyreq>();
                (*cq).cq_addr = addr;
                (*cq).cq_size = 4;
                (*mp).b_wptr = (*mp).b_rptr.add(size_of::<copyreq>());
                (*(*mp).b_datap).db_type = M_COPYOUT;
                qreply(q, mp);
            }
            SILENT => freemsg(mp),
            HANG_UP => {
                putnextctl(RD(q), M_HANGUP.into());
                miocack(q, mp, 0, 0);
            }
            BREAK => {
                putnextctl1(RD(q), M_ERROR.into(), Errno::EIO.0);
                freemsg(mp);
            }
            DLPI => {
                dlokack(q, allocb(64, 0), 0x1f);
                dlerrorack(q, allocb(1, 0), 0x20, 0x14, 5);
                dlbindack(q, allocb(1, 0), 6, c"ab".as_ptr().cast(), 2, 0, 0);
                miocack(q, mp, 0, 0);
            }
            _ => miocnak(q, mp, 0, 0),
        }
    }
}

unsafe fn iocdata(q: *mut queue_t, mp: *mut mblk_t) {
    // SAFETY: an M_IOCDATA.
    unsafe {
        let resp = (*mp).b_rptr.cast::<copyresp>();
        if !(*resp).cp_rval.is_null() {
            // The caller knows already.
            freemsg(mp);
        } else if (*resp).cp_cmd == READ_INT {
            let value = (*(*mp).b_cont).b_rptr.cast::<i32>().read_unaligned();
            miocack(q, mp, 0, value);
        } else {
            miocack(q, mp, 0, 0);
        }
    }
}

static INFO: module_info = module_info {
    mi_idnum: 99,
    mi_idname: c"echo".as_ptr().cast_mut(),
    mi_minpsz: 0,
    mi_maxpsz: 4096,
    mi_hiwat: 2048,
    mi_lowat: 0,
};
const fn side(put: qi_putp_t, service: qi_srvp_t) -> qinit {
    qinit {
        qi_putp: Some(put),
        qi_srvp: Some(service),
        qi_qopen: Some(open),
        qi_qclose: Some(close),
        qi_qadmin: None,
        qi_minfo: (&raw const INFO).cast_mut(),
        qi_mstat: null_mut(),
        qi_rwp: None,
        qi_infop: None,
        qi_struiot: 0,
    }
}
static READ: qinit = side(rput, rsrv);
static WRITE: qinit = side(wput, wsrv);
static TAB: streamtab = streamtab {
    st_rdinit: (&raw const READ).cast_mut(),
    st_wrinit: (&raw const WRITE).cast_mut(),
    st_muxrinit: null_mut(),
    st_muxwinit: null_mut(),
};
static CB_OPS: cb_ops = cb_ops {
    cb_open: None,
    cb_close: None,
    cb_strategy: None,
    cb_print: None,
    cb_dump: None,
    cb_read: None,
    cb_write: None,
    cb_ioctl: None,
    cb_devmap: None,
    cb_mmap: None,
    cb_segmap: None,
    cb_chpoll: Some(nochpoll),
    cb_prop_op: Some(ddi_prop_op),
    cb_str: (&raw const TAB).cast_mut(),
    cb_flag: D_MP | D_MTPERMOD,
    cb_rev: CB_REV,
    cb_aread: None,
    cb_awrite: None,
};
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
    drv_linkinfo: c"echo driver".as_ptr(),
    drv_dev_ops: (&raw const DEV_OPS).cast_mut(),
};
static LINKAGE: modlinkage = modlinkage {
    ml_rev: MODREV_1,
    ml_linkage: [(&raw const DRV).cast::<c_void>(), null(), null(), null(), null(), null(), null()],
};

unsafe extern "C" fn init() -> c_int {
    // SAFETY: _init(9E).
    unsafe { mod_install(&LINKAGE) }
}
unsafe extern "C" fn fini() -> c_int {
    // SAFETY: _fini(9E).
    unsafe { mod_remove(&LINKAGE) }
}
unsafe extern "C" fn info(m: *mut modinfo) -> c_int {
    // SAFETY: _info(9E).
    unsafe { mod_info(&LINKAGE, m) }
}

/// A kernel with the driver, which does nothing wrong.
pub fn with_echo() -> Kernel {
    let k = boot(Config::default());
    DROPPED.store(0, SeqCst);
    GATE.store(true, SeqCst);
    MOST.store(0, SeqCst);
    WRONG.store(0, SeqCst);
    k.register_module(StaticModule { name: "drv/echo", init, fini, info });
    k.modload("drv/echo").expect("loads");
    k
}

/// A message without control.
pub fn data(bytes: &[u8]) -> fakekernel::streams::Message {
    fakekernel::streams::Message { data: Some(bytes.to_vec()), ..Default::default() }
}

/// Opens the driver.
pub fn open_echo(k: &Kernel, flags: i32) -> OpenDev {
    k.open("/dev/echo", flags, &Cred::KERNEL).expect("opens")
}
