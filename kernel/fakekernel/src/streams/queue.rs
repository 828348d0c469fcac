// SPDX-License-Identifier: CDDL-1.0
//! Queues: their messages, flow control, and getting from one to the next.
use super::perim::{Perim, Work};
use super::service;
use crate::check::{Kind, debug, violation};
use crate::ctx;
use crate::mblk::{alloc, blocks, freemsg};
use crate::stack::Stack;
use illumos_sys_hdrs::{
    FLUSHALL, M_DATA, M_PCPROTO, M_PROTO, QENAB, QFULL, QNOENB, QPCTL, QREADR, QUSE, QWANTR,
    QWANTW, mblk_t, qinit, queue_t,
};
use parking_lot::{Condvar, Mutex};
use std::collections::HashSet;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// Bytes of a queue_t in illumos: a module may reach the other one of a pair by arithmetic.
const QUEUE_SIZE: usize = 248;
/// M_DELAY, the one data type that no driver here sends.
const M_DELAY: u8 = 12;

/// A queue_t with what the kernel keeps behind it.
#[repr(C)]
struct Queue {
    public: queue_t,
    /// Message blocks on the queue. Its lock is that of the public members too, save `q_next`,
    /// `q_ptr` and `q_qinfo`, which stay.
    blocks: Mutex<usize>,
    pair: *const Pair,
    _rest: [u64; 16],
}
const _: () = assert!(size_of::<Queue>() == QUEUE_SIZE);

/// The two queues of a driver or head: the read side, then the write side.
#[repr(C)]
pub(crate) struct Pair {
    rd: Queue,
    wr: Queue,
    perim: Option<Arc<Perim>>,
    /// Between qprocson and qprocsoff.
    procs: AtomicBool,
    /// Put procedures that run.
    running: AtomicUsize,
    idle: Mutex<()>,
    became_idle: Condvar,
}

/// Pairs there are: checks only.
static LIVE: Mutex<Option<HashSet<usize>>> = Mutex::new(None);

impl Pair {
    /// A pair with the limits of its module_info, to be freed with [`Pair::free`].
    ///
    /// # Safety
    /// Both are valid until then, with a qi_minfo each.
    pub(crate) unsafe fn new(
        rd: *mut qinit,
        wr: *mut qinit,
        ptr: *mut c_void,
        perim: Option<Arc<Perim>>,
    ) -> *mut Pair {
        // SAFETY: see above.
        let queue = |init: *mut qinit, side: u32| unsafe {
            let info = &*(*init).qi_minfo;
            Queue {
                public: queue_t {
                    q_qinfo: init,
                    q_first: null_mut(),
                    q_last: null_mut(),
                    q_next: null_mut(),
                    q_link: null_mut(),
                    q_ptr: ptr,
                    q_count: 0,
                    q_flag: QUSE | QWANTR | side,
                    q_minpsz: info.mi_minpsz,
                    q_maxpsz: info.mi_maxpsz,
                    q_hiwat: info.mi_hiwat,
                    q_lowat: info.mi_lowat,
                },
                blocks: Mutex::new(0),
                pair: std::ptr::null(),
                _rest: [0; 16],
            }
        };
        let pair = Box::into_raw(Box::new(Pair {
            rd: queue(rd, QREADR),
            wr: queue(wr, 0),
            perim,
            procs: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            idle: Mutex::new(()),
            became_idle: Condvar::new(),
        }));
        // SAFETY: new.
        unsafe {
            (*pair).rd.pair = pair;
            (*pair).wr.pair = pair;
        }
        if debug() {
            LIVE.lock().get_or_insert_default().insert(pair as usize);
        }
        pair
    }

    /// Frees a pair and its messages.
    ///
    /// # Safety
    /// Its procedures are off and nobody has it.
    pub(crate) unsafe fn free(pair: *mut Pair) {
        // SAFETY: see above.
        unsafe {
            for q in [Pair::rd(pair), Pair::wr(pair)] {
                flushq(q, FLUSHALL);
            }
            if let Some(live) = LIVE.lock().as_mut() {
                live.remove(&(pair as usize));
            }
            drop(Box::from_raw(pair));
        }
    }

    /// The read side.
    pub(crate) fn rd(pair: *mut Pair) -> *mut queue_t {
        // SAFETY: a place in the pair, not looked at.
        unsafe { (&raw mut (*pair).rd).cast() }
    }

    /// The write side.
    pub(crate) fn wr(pair: *mut Pair) -> *mut queue_t {
        // SAFETY: a place in the pair, not looked at.
        unsafe { (&raw mut (*pair).wr).cast() }
    }

    /// The pair of a queue.
    pub(crate) fn of(q: *const queue_t) -> *const Pair {
        // SAFETY: every queue_t is in a pair.
        unsafe { (*q.cast::<Queue>()).pair }
    }

    /// Makes `lower` follow `upper`.
    ///
    /// # Safety
    /// Both are new.
    pub(crate) unsafe fn link(upper: *mut Pair, lower: *mut Pair) {
        // SAFETY: see above.
        unsafe {
            (*Pair::wr(upper)).q_next = Pair::wr(lower);
            (*Pair::rd(lower)).q_next = Pair::rd(upper);
        }
    }

    /// Takes them apart again.
    ///
    /// # Safety
    /// The procedures of both are off.
    pub(crate) unsafe fn unlink(upper: *mut Pair, lower: *mut Pair) {
        // SAFETY: see above.
        unsafe {
            (*Pair::wr(upper)).q_next = null_mut();
            (*Pair::rd(lower)).q_next = null_mut();
        }
    }

    /// Whether its procedures may run.
    pub(crate) fn procs_on(&self) -> bool {
        self.procs.load(SeqCst)
    }

    fn start(&self) -> bool {
        self.running.fetch_add(1, SeqCst);
        if self.procs_on() {
            return true;
        }
        self.stop();
        false
    }

    fn stop(&self) {
        if self.running.fetch_sub(1, SeqCst) == 1 && !self.procs_on() {
            drop(self.idle.lock());
            self.became_idle.notify_all();
        }
    }
}

/// Whether `q` is a queue that is there; records if not. True with checks off.
fn live(q: *const queue_t, what: &str) -> bool {
    if !debug() {
        return true;
    }
    let at = q as usize;
    let known = |l: &HashSet<usize>| l.contains(&at) || l.contains(&(at.wrapping_sub(QUEUE_SIZE)));
    if LIVE.lock().as_ref().is_some_and(known) {
        return true;
    }
    let text = format!("{what} on {q:p}, no queue (any more), at {}", Stack::here());
    violation(Kind::UseAfterFree, text);
    false
}

/// Forgets all pairs; those there are were never closed.
pub(crate) fn leaks() {
    for pair in LIVE.lock().take().into_iter().flatten() {
        violation(Kind::Leak, format!("the stream with queues {pair:#x} was not closed"));
    }
}

unsafe fn kind(mp: *const mblk_t) -> u8 {
    // SAFETY: the caller's message.
    unsafe { (*(*mp).b_datap).db_type }
}

/// Bytes and blocks of a message, as flow control counts them.
unsafe fn weight(mp: *const mblk_t) -> (usize, usize) {
    // SAFETY: the caller's message.
    unsafe {
        blocks(mp).fold((0, 0), |(bytes, n), b| {
            (bytes + ((*b).b_wptr as usize).saturating_sub((*b).b_rptr as usize), n + 1)
        })
    }
}

/// The lock of a queue's members, with its count of blocks.
unsafe fn lock<'a>(q: *mut queue_t) -> parking_lot::MutexGuard<'a, usize> {
    // SAFETY: a live queue.
    unsafe { (*q.cast::<Queue>()).blocks.lock() }
}

/// Has the service procedure run, if there is one and it will not run anyway. Under the lock.
unsafe fn enable(q: *mut queue_t) {
    // SAFETY: a live queue, locked.
    unsafe {
        let new = (*q).q_flag & QENAB == 0 && (*(*q).q_qinfo).qi_srvp.is_some();
        if new && (*Pair::of(q)).procs_on() {
            (*q).q_flag |= QENAB;
            service::schedule(q);
        }
    }
}

/// Links a message into a queue and enables it, unless it is no news to the service procedure.
unsafe fn insert(q: *mut queue_t, mp: *mut mblk_t, front: bool) {
    // SAFETY: a live queue, a message that is the caller's.
    unsafe {
        if !(*mp).b_next.is_null() || !(*mp).b_prev.is_null() {
            let text = format!("mblk {mp:p} is put on a queue while on a list");
            violation(Kind::Misuse, format!("{text}, at {}", Stack::here()));
        }
        let high = kind(mp) >= QPCTL;
        let mut blocks = lock(q);
        // The message before which it goes.
        let mut at = if front || high { (*q).q_first } else { null_mut() };
        if !(front && high) {
            while !at.is_null() && kind(at) >= QPCTL {
                at = (*at).b_next;
            }
        }
        let before = if at.is_null() { (*q).q_last } else { (*at).b_prev };
        (*mp).b_next = at;
        (*mp).b_prev = before;
        if before.is_null() {
            (*q).q_first = mp
        } else {
            (*before).b_next = mp
        }
        if at.is_null() {
            (*q).q_last = mp
        } else {
            (*at).b_prev = mp
        }
        let (bytes, n) = weight(mp);
        (*q).q_count += bytes;
        *blocks += n;
        if (*q).q_count >= (*q).q_hiwat || *blocks >= (*q).q_hiwat {
            (*q).q_flag |= QFULL;
        }
        if high || (*q).q_flag & (QWANTR | QNOENB) == QWANTR {
            enable(q);
        }
    }
}

/// Unlinks a message. Under the lock.
unsafe fn remove(q: *mut queue_t, mp: *mut mblk_t, blocks: &mut usize) {
    // SAFETY: a message of this queue, locked.
    unsafe {
        let (next, prev) = ((*mp).b_next, (*mp).b_prev);
        if prev.is_null() {
            (*q).q_first = next
        } else {
            (*prev).b_next = next
        }
        if next.is_null() {
            (*q).q_last = prev
        } else {
            (*next).b_prev = prev
        }
        (*mp).b_next = null_mut();
        (*mp).b_prev = null_mut();
        let (bytes, n) = weight(mp);
        // Whoever changes a message while it is queued upsets the count; it must not go below.
        (*q).q_count = if (*q).q_first.is_null() { 0 } else { (*q).q_count.saturating_sub(bytes) };
        *blocks = if (*q).q_first.is_null() { 0 } else { blocks.saturating_sub(n) };
    }
}

/// After removals: no longer full, and whether somebody waits for that. Under the lock.
unsafe fn drained(q: *mut queue_t, blocks: usize) -> bool {
    // SAFETY: a live queue, locked.
    unsafe {
        let (count, low) = ((*q).q_count, (*q).q_lowat);
        if count < (*q).q_hiwat && blocks < (*q).q_hiwat {
            (*q).q_flag &= !QFULL;
        }
        let below = low == 0 || (count < low && blocks < low);
        let wake = (*q).q_flag & QWANTW != 0 && below;
        if wake {
            (*q).q_flag &= !QWANTW;
        }
        wake
    }
}

/// Enables the nearest queue before `q` that has a service procedure.
unsafe fn backenable(q: *mut queue_t) {
    // SAFETY: the queues of a stream stay while one of them is used.
    unsafe {
        let mut at = q;
        loop {
            let next = (*OTHERQ(at)).q_next;
            if next.is_null() {
                return;
            }
            at = OTHERQ(next);
            if (*(*at).q_qinfo).qi_srvp.is_some() {
                return qenable(at);
            }
        }
    }
}

/// Runs a service procedure, inside its perimeter: the streams thread.
pub(super) fn serve(q: *mut queue_t) {
    // SAFETY: `service::forget` waits for us before the pair goes.
    match unsafe { &(*Pair::of(q)).perim } {
        Some(p) => p.run(Work::Service(q)),
        None => call_service(q),
    }
}

/// Inside the perimeter.
pub(super) fn call_service(q: *mut queue_t) {
    // SAFETY: a queue whose pair is there: close takes its work back.
    unsafe {
        let pair = &*Pair::of(q);
        let guard = lock(q);
        (*q).q_flag &= !QENAB;
        drop(guard);
        if !pair.start() {
            return;
        }
        if let Some(f) = (*(*q).q_qinfo).qi_srvp {
            let _must_not_sleep = ctx::enter_receive();
            f(q);
        }
        pair.stop();
    }
}

/// Inside the perimeter.
pub(super) fn call_put(q: *mut queue_t, mp: *mut mblk_t) {
    // SAFETY: a queue whose pair is there, a message that is ours.
    unsafe {
        let pair = &*Pair::of(q);
        match (*(*q).q_qinfo).qi_putp {
            Some(f) if pair.start() => {
                {
                    let _must_not_sleep = ctx::enter_receive();
                    f(q, mp);
                }
                pair.stop();
            }
            // Nobody is there to take it.
            _ => freemsg(mp),
        }
    }
}

unsafe fn deliver(q: *mut queue_t, mp: *mut mblk_t, what: &str) {
    ctx::upcall(what);
    // SAFETY: the callers pass a queue or what should be one, and a message.
    unsafe {
        if q.is_null() {
            let text = format!("{what} where the stream ends, at {}", Stack::here());
            violation(Kind::Misuse, text);
            return freemsg(mp);
        }
        if !(*mp).b_next.is_null() || !(*mp).b_prev.is_null() {
            let text = format!("{what} of mblk {mp:p}, which is on a list, at {}", Stack::here());
            violation(Kind::Misuse, text);
        }
        match &(*Pair::of(q)).perim {
            Some(p) => p.run(Work::Put(q, mp)),
            None => call_put(q, mp),
        }
    }
}

/// Whether `q` may send: it is there and its procedures are on.
unsafe fn may_send(q: *mut queue_t, what: &str) -> bool {
    if !debug() {
        return true;
    }
    if !live(q, what) {
        return false;
    }
    // SAFETY: live.
    if !unsafe { (*Pair::of(q)).procs_on() } {
        let text = format!("{what} from queue {q:p}, whose procedures are off");
        violation(Kind::Misuse, format!("{text}, at {}", Stack::here()));
    }
    true
}

#[unsafe(no_mangle)]
extern "C" fn RD(q: *mut queue_t) -> *mut queue_t {
    Pair::rd(Pair::of(q).cast_mut())
}

#[unsafe(no_mangle)]
extern "C" fn WR(q: *mut queue_t) -> *mut queue_t {
    Pair::wr(Pair::of(q).cast_mut())
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn OTHERQ(q: *mut queue_t) -> *mut queue_t {
    if std::ptr::eq(q, RD(q)) { WR(q) } else { RD(q) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn put(q: *mut queue_t, mp: *mut mblk_t) {
    // SAFETY: put(9F).
    unsafe { if live(q, "put") { deliver(q, mp, "put") } else { freemsg(mp) } }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn putnext(q: *mut queue_t, mp: *mut mblk_t) {
    // SAFETY: putnext(9F).
    unsafe {
        if may_send(q, "putnext") { deliver((*q).q_next, mp, "putnext") } else { freemsg(mp) }
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn qreply(q: *mut queue_t, mp: *mut mblk_t) {
    // SAFETY: qreply(9F).
    unsafe {
        if may_send(q, "qreply") {
            deliver((*OTHERQ(q)).q_next, mp, "qreply");
        } else {
            freemsg(mp);
        }
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn canput(q: *mut queue_t) -> c_int {
    if !live(q, "canput") {
        return 0;
    }
    // SAFETY: canput(9F): a live queue; those after it stay as long.
    unsafe {
        let mut q = q;
        while (*(*q).q_qinfo).qi_srvp.is_none() && !(*q).q_next.is_null() {
            q = (*q).q_next;
        }
        let _guard = lock(q);
        if (*q).q_flag & QFULL == 0 {
            return 1;
        }
        (*q).q_flag |= QWANTW;
        0
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn canputnext(q: *mut queue_t) -> c_int {
    // SAFETY: canputnext(9F).
    unsafe { if live(q, "canputnext") { canput((*q).q_next) } else { 0 } }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn putq(q: *mut queue_t, mp: *mut mblk_t) -> c_int {
    if !live(q, "putq") {
        return 0;
    }
    // SAFETY: putq(9F).
    unsafe { insert(q, mp, false) };
    1
}

#[unsafe(no_mangle)]
unsafe extern "C" fn putbq(q: *mut queue_t, mp: *mut mblk_t) -> c_int {
    if !live(q, "putbq") {
        return 0;
    }
    // SAFETY: putbq(9F).
    unsafe { insert(q, mp, true) };
    1
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn getq(q: *mut queue_t) -> *mut mblk_t {
    if !live(q, "getq") {
        return null_mut();
    }
    // SAFETY: getq(9F).
    unsafe {
        let mut blocks = lock(q);
        let mp = (*q).q_first;
        if mp.is_null() {
            (*q).q_flag |= QWANTR;
        } else {
            (*q).q_flag &= !QWANTR;
            remove(q, mp, &mut blocks);
        }
        let wake = drained(q, *blocks);
        drop(blocks);
        if wake {
            backenable(q);
        }
        mp
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn flushq(q: *mut queue_t, flag: c_int) {
    if !live(q, "flushq") {
        return;
    }
    // SAFETY: flushq(9F).
    unsafe {
        let mut gone = Vec::new();
        let mut blocks = lock(q);
        let mut at = (*q).q_first;
        while !at.is_null() {
            let next = (*at).b_next;
            if flag == FLUSHALL || matches!(kind(at), M_DATA | M_PROTO | M_PCPROTO | M_DELAY) {
                remove(q, at, &mut blocks);
                gone.push(at);
            }
            at = next;
        }
        let wake = drained(q, *blocks);
        drop(blocks);
        gone.into_iter().for_each(|mp| freemsg(mp));
        if wake {
            backenable(q);
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn qenable(q: *mut queue_t) {
    if !live(q, "qenable") {
        return;
    }
    // SAFETY: qenable(9F).
    unsafe {
        let _guard = lock(q);
        enable(q);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn noenable(q: *mut queue_t) {
    // SAFETY: noenable(9F).
    unsafe {
        let _guard = lock(q);
        (*q).q_flag |= QNOENB;
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn enableok(q: *mut queue_t) {
    // SAFETY: enableok(9F).
    unsafe {
        let _guard = lock(q);
        (*q).q_flag &= !QNOENB;
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn qprocson(q: *mut queue_t) {
    if live(q, "qprocson") {
        // SAFETY: live.
        unsafe { (*Pair::of(q)).procs.store(true, SeqCst) };
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn qprocsoff(q: *mut queue_t) {
    ctx::may_sleep("qprocsoff");
    if !live(q, "qprocsoff") {
        return;
    }
    // SAFETY: live, and in close: the caller is in the perimeter.
    unsafe {
        let pair = &*Pair::of(q);
        pair.procs.store(false, SeqCst);
        // Who enables one of them right now has done so after this.
        drop((lock(RD(q)), lock(WR(q))));
        service::forget(pair);
        let mut idle = pair.idle.lock();
        while pair.running.load(SeqCst) > 0 {
            pair.became_idle.wait(&mut idle);
        }
        drop(idle);
        if let Some(p) = &pair.perim {
            p.purge(pair).into_iter().for_each(|mp| freemsg(mp));
        }
    }
}

/// A message of one type for a control: no data types. NULL: no memory.
unsafe fn control(kind: c_int, byte: Option<u8>) -> *mut mblk_t {
    let data = [M_DATA, M_PROTO, M_PCPROTO].contains(&(kind as u8));
    let mp = if data || crate::fault::allocb() { null_mut() } else { alloc(1) };
    if !mp.is_null() {
        // SAFETY: new, with room for a byte.
        unsafe {
            (*(*mp).b_datap).db_type = kind as u8;
            if let Some(b) = byte {
                *(*mp).b_wptr = b;
                (*mp).b_wptr = (*mp).b_wptr.add(1);
            }
        }
    }
    mp
}

#[unsafe(no_mangle)]
unsafe extern "C" fn putnextctl(q: *mut queue_t, kind: c_int) -> c_int {
    // SAFETY: putnextctl(9F).
    unsafe {
        let mp = control(kind, None);
        if mp.is_null() {
            return 0;
        }
        putnext(q, mp);
    }
    1
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn putnextctl1(q: *mut queue_t, kind: c_int, byte: c_int) -> c_int {
    // SAFETY: putnextctl1(9F).
    unsafe {
        let mp = control(kind, Some(byte as u8));
        if mp.is_null() {
            return 0;
        }
        putnext(q, mp);
    }
    1
}

crate::symbols! { SYMBOLS "genunix":
    RD, WR, OTHERQ, put, putnext, qreply, canput, canputnext, putq, putbq, getq, flushq, qenable,
    noenable, enableok, qprocson, qprocsoff, putnextctl, putnextctl1,
}
