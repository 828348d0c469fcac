// SPDX-License-Identifier: CDDL-1.0
//! STREAMS messages.
//!
//! ```text
//!   one allocation of allocb:   [ mblk_t 64 | dblk_t 112 | data ... ]
//!   dupb:     an mblk_t of its own, db_ref + 1
//!   esballoc: the same without data, db_base elsewhere
//! ```
//! The block goes when db_ref falls to 0; the mblk_t inside it may have been freed long before. The
//! dblk_t has the layout of illumos, because a module compiled from C reads the checksum fields by
//! offset.
//!
//! With checks off, blocks come from per-thread free lists, one for each size class, which trade
//! batches with a shared depot: who allocates is rarely who frees. With checks on, every block is
//! malloc's, every mblk_t is registered, and freed ones rest poisoned.
use crate::check::{Kind, debug, violation};
use crate::stack::Stack;
use crate::{fault, kmem};
use illumos_sys_hdrs::{M_DATA, cred_t, dblk_t, frtn_t, mblk_t};
use parking_lot::Mutex;
use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering, fence};

/// What a `dblk_t` really is.
#[repr(C)]
pub(crate) struct Dblk {
    frtn: *mut frtn_t,
    base: *mut u8,
    lim: *mut u8,
    refs: AtomicU8,
    kind: u8,
    flags: u8,
    struioflag: u8,
    /// Who needs the allocation: the data, and the mblk_t in it once pullupmsg gave that other
    /// data. db_cpid in C.
    holds: AtomicI32,
    /// Size class of the allocation; db_cache in C.
    class: usize,
    /// The mblk_t at the start of the allocation; db_mblk in C.
    first: *mut mblk_t,
    /// Called with `arg` when an external buffer is free; db_free in C.
    free: Option<unsafe fn(usize)>,
    arg: usize,
    pub(crate) cksum_start: isize,
    pub(crate) cksum_end: isize,
    pub(crate) cksum_stuff: isize,
    pub(crate) cksum_value: u32,
    /// HCK_* and HW_LSO.
    pub(crate) offload_flags: u16,
    /// Segment size when HW_LSO is set.
    pub(crate) lso_mss: u16,
    fthdr: usize,
    credp: *mut cred_t,
}

const HEADER: usize = size_of::<mblk_t>() + size_of::<Dblk>();
const _: () = assert!(HEADER == 176 && HEADER.is_multiple_of(16));

/// Bytes of an allocation by class; class 0 is a lone mblk_t. Larger ones are malloc's.
const CLASSES: [usize; 9] = [64, 192, 256, 384, 768, 1152, 2048, 4096, 10240];
/// `b_tag` of an mblk_t that lies in an allocation but not in that of its data.
const AWAY: u8 = 1;
/// `Dblk::class` of what malloc gave.
const MALLOCED: usize = usize::MAX;
/// Blocks of a class a thread keeps, and how many it trades at once.
const KEPT: usize = 64;
const BATCH: usize = KEPT / 2;
/// Batches of a class in the depot.
const BATCHES: usize = 128;

type Batch = [*mut u8; BATCH];

/// The addresses of free blocks.
struct Depot(Vec<Batch>);
// SAFETY: a free block belongs to whoever takes its address out of the list.
unsafe impl Send for Depot {}

static DEPOT: [Mutex<Depot>; CLASSES.len()] =
    [const { Mutex::new(Depot(Vec::new())) }; CLASSES.len()];

#[derive(Clone, Copy)]
struct Magazine {
    len: usize,
    slots: [*mut u8; KEPT],
}

thread_local! {
    /// The thread's free blocks. Without a destructor, so that reaching it is one instruction.
    static MAGAZINES: UnsafeCell<[Magazine; CLASSES.len()]> =
        const { UnsafeCell::new([Magazine { len: 0, slots: [null_mut(); KEPT] }; CLASSES.len()]) };
    /// Gives the blocks back when the thread ends; made by the first refill or spill.
    static GUARD: Guard = const { Guard };
}

struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        for class in 0..CLASSES.len() {
            with_magazine(class, |m| {
                for p in m.slots.iter().take(m.len) {
                    // SAFETY: a free block of malloc's.
                    unsafe { libc::free(p.cast()) };
                }
                m.len = 0;
            });
        }
    }
}

#[inline(always)]
fn with_magazine<R>(class: usize, f: impl FnOnce(&mut Magazine) -> R) -> R {
    // SAFETY: the thread's own, and none of the closures here comes back to it.
    MAGAZINES.with(|m| f(unsafe { &mut (&mut *m.get())[class] }))
}

/// Batches come from the depot; else the block is new.
#[cold]
fn refill(m: &mut Magazine, class: usize) -> *mut u8 {
    let _ = GUARD.try_with(|_| ());
    let Some(batch) = DEPOT[class].lock().0.pop() else {
        // SAFETY: plain malloc.
        return unsafe { libc::malloc(CLASSES[class]) }.cast();
    };
    m.slots[..BATCH].copy_from_slice(&batch);
    m.len = BATCH - 1;
    m.slots[BATCH - 1]
}

#[cold]
fn spill(m: &mut Magazine, class: usize) {
    let _ = GUARD.try_with(|_| ());
    let mut batch = [null_mut(); BATCH];
    batch.copy_from_slice(&m.slots[KEPT - BATCH..]);
    m.len -= BATCH;
    let mut depot = DEPOT[class].lock();
    if depot.0.len() < BATCHES {
        depot.0.push(batch);
        return;
    }
    drop(depot);
    for p in batch {
        // SAFETY: a free block of malloc's.
        unsafe { libc::free(p.cast()) };
    }
}

/// A block of the class; NULL when there is no memory.
#[inline(always)]
fn take(class: usize) -> *mut u8 {
    with_magazine(class, |m| {
        let Some(&p) = m.len.checked_sub(1).and_then(|at| m.slots.get(at)) else {
            return refill(m, class);
        };
        m.len -= 1;
        p
    })
}

#[inline(always)]
unsafe fn give(p: *mut u8, class: usize) {
    with_magazine(class, |m| {
        if m.len >= KEPT {
            spill(m, class);
        }
        if let Some(slot) = m.slots.get_mut(m.len) {
            *slot = p;
            m.len += 1;
        }
    });
}

#[inline(always)]
unsafe fn dblk<'a>(mp: *const mblk_t) -> &'a mut Dblk {
    // SAFETY: every dblk_t is one of ours. Only the owner of a message writes to its fields, save
    // `refs`.
    unsafe { &mut *(*mp).b_datap.cast::<Dblk>() }
}

/// The offload fields of a message.
///
/// # Safety
/// `mp` is a message the caller owns.
pub(crate) unsafe fn offload<'a>(mp: *const mblk_t) -> &'a mut Dblk {
    // SAFETY: see above.
    unsafe { dblk(mp) }
}

// What checks know

const SHARDS: usize = 32;
static LIVE: [Mutex<Option<HashMap<usize, Stack>>>; SHARDS] = [const { Mutex::new(None) }; SHARDS];

fn shard(mp: *const mblk_t) -> &'static Mutex<Option<HashMap<usize, Stack>>> {
    &LIVE[(mp as usize >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59]
}

fn register(mp: *mut mblk_t) {
    shard(mp).lock().get_or_insert_default().insert(mp as usize, Stack::here());
}

/// Whether `mp` is a live message block; records if not. True with checks off.
#[inline(always)]
fn live(mp: *const mblk_t, what: &str) -> bool {
    !debug() || checked_live(mp, what)
}

#[cold]
fn checked_live(mp: *const mblk_t, what: &str) -> bool {
    let ok = shard(mp).lock().get_or_insert_default().contains_key(&(mp as usize));
    if !ok {
        violation(
            Kind::UseAfterFree,
            format!("{what} of {mp:p}, not a live message, at {}", Stack::here()),
        );
    }
    ok
}

/// Records message blocks still allocated: by `module`, or all. Then forgets them.
pub(crate) fn leaks(module: Option<&str>) {
    for s in &LIVE {
        let mut found = Vec::new();
        if let Some(s) = s.lock().as_mut() {
            s.retain(|addr, stack| {
                let leaked = module.is_none_or(|m| stack.module().as_deref() == Some(m));
                if leaked {
                    found.push((*addr, stack.clone()));
                }
                !leaked
            });
        }
        for (addr, stack) in found {
            let whose = stack.module().unwrap_or_else(|| "?".into());
            violation(Kind::Leak, format!("{whose} leaks mblk {addr:#x}, allocated at {stack}"));
        }
    }
}

/// Message blocks allocated now, by anybody; 0 with checks off.
pub fn in_use() -> usize {
    LIVE.iter().map(|s| s.lock().as_ref().map_or(0, HashMap::len)).sum()
}

/// Message blocks that code of `module` allocated and that are still in use; 0 with checks off.
pub(crate) fn in_use_by(module: &str) -> usize {
    let by = |s: &HashMap<usize, Stack>| {
        s.values().filter(|s| s.module().as_deref() == Some(module)).count()
    };
    LIVE.iter().map(|s| s.lock().as_ref().map_or(0, by)).sum()
}

// Blocks

const RED: [u8; 16] = [0xbb; 16];

#[inline]
unsafe fn init(p: *mut u8, class: usize, base: *mut u8, size: usize) -> *mut mblk_t {
    let mp = p.cast::<mblk_t>();
    // SAFETY: the caller's block has room for both headers.
    unsafe {
        let db = p.add(size_of::<mblk_t>()).cast::<Dblk>();
        db.write(Dblk {
            frtn: null_mut(),
            base,
            lim: base.add(size),
            refs: AtomicU8::new(1),
            kind: M_DATA,
            flags: 0,
            struioflag: 0,
            holds: AtomicI32::new(1),
            class,
            first: mp,
            free: None,
            arg: 0,
            cksum_start: 0,
            cksum_end: 0,
            cksum_stuff: 0,
            cksum_value: 0,
            offload_flags: 0,
            lso_mss: 0,
            fthdr: 0,
            credp: null_mut(),
        });
        mp.write(mblk_t {
            b_next: null_mut(),
            b_prev: null_mut(),
            b_cont: null_mut(),
            b_rptr: base,
            b_wptr: base,
            b_datap: db.cast::<dblk_t>(),
            b_band: 0,
            b_tag: 0,
            b_flag: 0,
            b_queue: null_mut(),
        });
    }
    mp
}

/// Class by 64 bytes of the allocation, rounded up.
const CLASS_OF: [u8; CLASSES[CLASSES.len() - 1] / 64 + 1] = {
    let mut t = [0; CLASSES[CLASSES.len() - 1] / 64 + 1];
    let (mut i, mut class) = (0, 0);
    while i < t.len() {
        if i * 64 > CLASSES[class] {
            class += 1;
        }
        t[i] = class as u8;
        i += 1;
    }
    t
};

/// A message block with room for `size` bytes, rounded up to 16; NULL when there is no memory.
/// Never made to fail on purpose: for the kernel's own use.
#[inline(always)]
pub fn alloc(size: usize) -> *mut mblk_t {
    // Saturation leaves a size that no class has and malloc refuses.
    let size = size.saturating_add(15 + usize::from(size == 0)) & !15;
    let total = size.saturating_add(HEADER);
    match CLASS_OF.get(total.div_ceil(64)) {
        Some(&class) if !debug() => {
            let p = take(class.into());
            if p.is_null() {
                return null_mut();
            }
            // SAFETY: the block has `total` bytes or more.
            unsafe { init(p, class.into(), p.add(HEADER), size) }
        }
        _ => odd_alloc(size, total),
    }
}

/// The large ones, and all with checks on.
#[cold]
fn odd_alloc(size: usize, total: usize) -> *mut mblk_t {
    if debug() {
        return checked_alloc(size, total);
    }
    // SAFETY: plain malloc, and the block has `total` bytes.
    unsafe {
        let p = libc::malloc(total).cast::<u8>();
        if p.is_null() { null_mut() } else { init(p, MALLOCED, p.add(HEADER), size) }
    }
}

#[cold]
fn checked_alloc(size: usize, total: usize) -> *mut mblk_t {
    let Some(with_red) = total.checked_add(RED.len()) else { return null_mut() };
    // SAFETY: as in alloc, with a red zone behind the data.
    unsafe {
        let p = libc::malloc(with_red).cast::<u8>();
        if p.is_null() {
            return null_mut();
        }
        p.add(HEADER).write_bytes(0xba, size);
        p.add(total).copy_from_nonoverlapping(RED.as_ptr(), RED.len());
        let mp = init(p, MALLOCED, p.add(HEADER), size);
        register(mp);
        mp
    }
}

/// A message over somebody's buffer: `free(arg)` is called, on any thread, when its last reference
/// goes. NULL when there is no memory (then `free` is not called).
///
/// # Safety
/// `base` is valid for `len` bytes until `free` is called.
pub unsafe fn esballoc(
    base: *mut u8,
    len: usize,
    free: unsafe fn(usize),
    arg: usize,
) -> *mut mblk_t {
    // SAFETY: a block of class 1 has room for the headers.
    unsafe {
        let checked = debug();
        let p = if checked { libc::malloc(HEADER).cast() } else { take(1) };
        if p.is_null() {
            return null_mut();
        }
        let mp = init(p, if checked { MALLOCED } else { 1 }, base, len);
        let db = dblk(mp);
        db.free = Some(free);
        db.arg = arg;
        if checked {
            register(mp);
        }
        mp
    }
}

/// A message with a copy of `bytes` and `headroom` bytes of room before them; NULL when there is no
/// memory.
pub fn from_slice(bytes: &[u8], headroom: usize) -> *mut mblk_t {
    let mp = alloc(headroom.saturating_add(bytes.len()));
    if !mp.is_null() {
        // SAFETY: the block is new and large enough.
        unsafe {
            (*mp).b_rptr = (*mp).b_rptr.add(headroom);
            (*mp).b_rptr.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            (*mp).b_wptr = (*mp).b_rptr.add(bytes.len());
        }
    }
    mp
}

/// All bytes of a message.
///
/// # Safety
/// `mp` is a message or NULL.
pub unsafe fn to_vec(mp: *const mblk_t) -> Vec<u8> {
    let mut out = Vec::new();
    // SAFETY: see above.
    unsafe {
        for b in blocks(mp) {
            out.extend_from_slice(std::slice::from_raw_parts((*b).b_rptr, len(b)));
        }
    }
    out
}

#[inline(always)]
unsafe fn len(mp: *const mblk_t) -> usize {
    // SAFETY: the caller's block is live.
    unsafe { ((*mp).b_wptr as usize).saturating_sub((*mp).b_rptr as usize) }
}

/// The blocks of a message along b_cont.
///
/// # Safety
/// `mp` is a message or NULL and stays as it is while the iterator is used.
pub unsafe fn blocks(mp: *const mblk_t) -> impl Iterator<Item = *mut mblk_t> {
    let mut at = mp.cast_mut();
    std::iter::from_fn(move || {
        let b = at;
        if b.is_null() {
            return None;
        }
        // SAFETY: see above.
        at = unsafe { (*b).b_cont };
        Some(b)
    })
}

#[unsafe(no_mangle)]
extern "C" fn allocb(size: usize, _pri: u32) -> *mut mblk_t {
    if fault::allocb() {
        return null_mut();
    }
    alloc(size)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn freeb(mp: *mut mblk_t) {
    // SAFETY: freeb(9F): a live block, whose owner lets go of it.
    unsafe {
        if !debug() {
            // Most blocks were never shared: one allocation goes back to its list.
            let db = (*mp).b_datap.cast::<Dblk>();
            if (*db).first == mp
                && (*db).refs.load(Ordering::Acquire) == 1
                && (*db).holds.load(Ordering::Acquire) == 1
                && (*db).free.is_none()
                && (*db).class < CLASSES.len()
            {
                give(mp.cast(), (*db).class);
                return;
            }
        }
        free_slow(mp);
    }
}

#[cold]
unsafe fn free_slow(mp: *mut mblk_t) {
    if debug() && !checked_free(mp) {
        return;
    }
    // SAFETY: as freeb.
    unsafe {
        let db = (*mp).b_datap.cast::<Dblk>();
        let (home, away) = ((*db).first == mp, (*mp).b_tag == AWAY);
        let last = unref(db);
        if away {
            let home = mp.cast::<u8>().add(size_of::<mblk_t>()).cast::<Dblk>();
            unhold(home);
        } else if !home {
            free_lone(mp);
        }
        if last {
            end_data(db);
        }
    }
}

/// Drops a reference to the data; whether it was the last.
#[inline(always)]
unsafe fn unref(db: *mut Dblk) -> bool {
    // SAFETY: the caller has a reference. Alone, nobody can add one: no atomic operation is needed.
    unsafe {
        if (*db).refs.load(Ordering::Acquire) == 1 {
            return true;
        }
        let last = (*db).refs.fetch_sub(1, Ordering::Release) == 1;
        if last {
            fence(Ordering::Acquire);
        }
        last
    }
}

/// Frees an mblk_t of dupb.
unsafe fn free_lone(mp: *mut mblk_t) {
    // SAFETY: the caller owns it.
    unsafe {
        if debug() {
            kmem::retire(mp.cast(), size_of::<mblk_t>());
        } else {
            give(mp.cast(), 0);
        }
    }
}

/// The last reference to the data is gone.
#[inline]
unsafe fn end_data(db: *mut Dblk) {
    // SAFETY: so the caller says.
    unsafe {
        if let Some(free) = (*db).free {
            free((*db).arg);
        }
        unhold(db);
    }
}

/// Drops a hold on the allocation, and frees it if that was the last.
#[inline]
unsafe fn unhold(db: *mut Dblk) {
    // SAFETY: the caller has a hold.
    unsafe {
        if (*db).holds.load(Ordering::Acquire) != 1
            && (*db).holds.fetch_sub(1, Ordering::AcqRel) != 1
        {
            return;
        }
        let (p, class) = ((*db).first.cast::<u8>(), (*db).class);
        if class != MALLOCED {
            give(p, class);
        } else if debug() {
            let data =
                if (*db).free.is_some() { 0 } else { (*db).lim as usize - (*db).base as usize };
            kmem::retire(p, HEADER + data);
        } else {
            libc::free(p.cast());
        }
    }
}

/// Takes a block out of the register and looks at it; false (recorded): it is not live.
#[cold]
fn checked_free(mp: *mut mblk_t) -> bool {
    let Some(stack) = shard(mp).lock().get_or_insert_default().remove(&(mp as usize)) else {
        violation(
            Kind::UseAfterFree,
            format!("freeb of {mp:p}, not a live message, at {}", Stack::here()),
        );
        return false;
    };
    // SAFETY: it was live.
    unsafe {
        let db = &*(*mp).b_datap.cast::<Dblk>();
        if !(*mp).b_next.is_null() || !(*mp).b_prev.is_null() {
            let at = Stack::here();
            violation(Kind::Misuse, format!("freeb of {mp:p}, still on a list, at {at}"));
        }
        let (r, w) = ((*mp).b_rptr, (*mp).b_wptr);
        if r < db.base || w > db.lim || r > w {
            let room = format!("{:p}..{:p}", db.base, db.lim);
            let text = format!("mblk {mp:p} has {r:p}..{w:p} outside {room}, allocated at {stack}");
            violation(Kind::Corruption, text);
        }
        if db.free.is_none() && std::slice::from_raw_parts(db.lim, RED.len()) != RED {
            violation(
                Kind::Corruption,
                format!("write behind the end of mblk {mp:p}, allocated at {stack}"),
            );
        }
    }
    true
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn freemsg(mut mp: *mut mblk_t) {
    while !mp.is_null() && live(mp, "freemsg") {
        // SAFETY: freemsg(9F).
        unsafe {
            let next = (*mp).b_cont;
            freeb(mp);
            mp = next;
        }
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn freemsgchain(mut mp: *mut mblk_t) {
    while !mp.is_null() && live(mp, "freemsgchain") {
        // SAFETY: freemsgchain(9F).
        unsafe {
            let next = std::mem::replace(&mut (*mp).b_next, null_mut());
            freemsg(mp);
            mp = next;
        }
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn copyb(mp: *mut mblk_t) -> *mut mblk_t {
    if !live(mp, "copyb") {
        return null_mut();
    }
    // SAFETY: copyb(9F). All of the data block is copied, as on illumos: IP hides pointers behind
    // the bytes of what it shows to observers.
    unsafe {
        let db = dblk(mp);
        let size = db.lim as usize - db.base as usize;
        let new = allocb(size, 0);
        if !new.is_null() {
            (*new).b_rptr.copy_from_nonoverlapping(db.base, size);
            let before = (*mp).b_rptr as usize - db.base as usize;
            (*new).b_rptr = (*new).b_rptr.add(before);
            (*new).b_wptr = (*new).b_rptr.add(len(mp));
            like(new, mp);
        }
        new
    }
}

/// Gives `new` the type, band and flags of `old`, not its offload state: that is mac_hcksum_set's
/// to carry over.
unsafe fn like(new: *mut mblk_t, old: *const mblk_t) {
    // SAFETY: the caller owns both.
    unsafe {
        dblk(new).kind = dblk(old).kind;
        (*new).b_band = (*old).b_band;
        (*new).b_flag = (*old).b_flag;
    }
}

/// Applies `each` to every block and links what comes; all or nothing.
unsafe fn each_block(
    mp: *const mblk_t,
    each: unsafe extern "C" fn(*mut mblk_t) -> *mut mblk_t,
) -> *mut mblk_t {
    let mut head: *mut mblk_t = null_mut();
    let mut tail: *mut *mut mblk_t = &raw mut head;
    // SAFETY: the caller's message; `tail` is the link of the last block of ours.
    unsafe {
        for b in blocks(mp) {
            let new = each(b);
            if new.is_null() {
                freemsg(head);
                return null_mut();
            }
            *tail = new;
            tail = &raw mut (*new).b_cont;
        }
    }
    head
}

#[unsafe(no_mangle)]
unsafe extern "C" fn copymsg(mp: *mut mblk_t) -> *mut mblk_t {
    // SAFETY: copymsg(9F).
    unsafe { each_block(mp, copyb) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn dupb(mp: *mut mblk_t) -> *mut mblk_t {
    if !live(mp, "dupb") || fault::allocb() {
        return null_mut();
    }
    // SAFETY: dupb(9F).
    unsafe {
        let db = dblk(mp);
        // A reference count is a byte; the real one refuses at the same number.
        if db.refs.load(Ordering::Relaxed) == u8::MAX {
            return null_mut();
        }
        let new = if debug() { libc::malloc(CLASSES[0]).cast() } else { take(0) }.cast::<mblk_t>();
        if new.is_null() {
            return null_mut();
        }
        db.refs.fetch_add(1, Ordering::Relaxed);
        new.write(mblk_t {
            b_next: null_mut(),
            b_prev: null_mut(),
            b_cont: null_mut(),
            b_rptr: (*mp).b_rptr,
            b_wptr: (*mp).b_wptr,
            b_datap: (*mp).b_datap,
            b_band: (*mp).b_band,
            b_tag: 0,
            b_flag: (*mp).b_flag,
            b_queue: null_mut(),
        });
        if debug() {
            register(new);
        }
        new
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dupmsg(mp: *mut mblk_t) -> *mut mblk_t {
    // SAFETY: dupmsg(9F).
    unsafe { each_block(mp, dupb) }
}

/// The first blocks of a message that are of one type: what pulling up and trimming work on.
unsafe fn run(mp: *const mblk_t) -> impl Iterator<Item = *mut mblk_t> {
    // SAFETY: the caller's message.
    unsafe {
        let kind = if mp.is_null() { 0 } else { dblk(mp).kind };
        blocks(mp).take_while(move |b| dblk(*b).kind == kind)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn msgpullup(mp: *mut mblk_t, want: isize) -> *mut mblk_t {
    if mp.is_null() || !live(mp, "msgpullup") {
        return null_mut();
    }
    // SAFETY: msgpullup(9F).
    unsafe {
        let total: usize = run(mp).map(|b| len(b)).sum();
        let want = if want == -1 { total } else { want.try_into().unwrap_or(usize::MAX) };
        if want > total {
            return null_mut();
        }
        let new = allocb(want, 0);
        if new.is_null() {
            return null_mut();
        }
        like(new, mp);
        let mut b = mp;
        let mut left = want;
        while left > 0 {
            let n = len(b).min(left);
            (*new).b_wptr.copy_from_nonoverlapping((*b).b_rptr, n);
            (*new).b_wptr = (*new).b_wptr.add(n);
            left -= n;
            if n < len(b) {
                // The block is split: its rest starts a block of its own.
                let rest = copyb(b);
                if rest.is_null() {
                    freemsg(new);
                    return null_mut();
                }
                (*rest).b_rptr = (*rest).b_rptr.add(n);
                (*new).b_cont = rest;
            }
            b = (*b).b_cont;
        }
        if !b.is_null() {
            let rest = copymsg(b);
            if rest.is_null() {
                freemsg(new);
                return null_mut();
            }
            linkb(new, rest);
        }
        new
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pullupmsg(mp: *mut mblk_t, want: isize) -> i32 {
    if !live(mp, "pullupmsg") {
        return 0;
    }
    // SAFETY: pullupmsg(9F). The first mblk_t keeps its place in whatever list it is on and gets
    // the data block of a new message, of which nothing else is used.
    unsafe {
        let total: usize = run(mp).map(|b| len(b)).sum();
        let want = if want == -1 { total } else { want.try_into().unwrap_or(usize::MAX) };
        if want > total {
            return 0;
        }
        if want <= len(mp) {
            return 1;
        }
        let new = allocb(want, 0);
        if new.is_null() {
            return 0;
        }
        like(new, mp);
        let mut left = want;
        let mut b = mp;
        while left > 0 {
            let n = len(b).min(left);
            (*new).b_wptr.copy_from_nonoverlapping((*b).b_rptr, n);
            (*new).b_wptr = (*new).b_wptr.add(n);
            (*b).b_rptr = (*b).b_rptr.add(n);
            left -= n;
            if left > 0 || len(b) == 0 {
                b = (*b).b_cont;
            }
        }
        let old = (*mp).b_datap.cast::<Dblk>();
        if (*old).first == mp && (*mp).b_tag != AWAY {
            (*old).holds.fetch_add(1, Ordering::Relaxed);
            (*mp).b_tag = AWAY;
        }
        if debug() {
            shard(new).lock().get_or_insert_default().remove(&(new as usize));
        }
        (*mp).b_datap = (*new).b_datap;
        (*mp).b_rptr = (*new).b_rptr;
        (*mp).b_wptr = (*new).b_wptr;
        if unref(old) {
            end_data(old);
        }
        let mut used = (*mp).b_cont;
        (*mp).b_cont = b;
        while used != b {
            let next = (*used).b_cont;
            freeb(used);
            used = next;
        }
        1
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn adjmsg(mp: *mut mblk_t, by: isize) -> i32 {
    if mp.is_null() || !live(mp, "adjmsg") {
        return 0;
    }
    // SAFETY: adjmsg(9F).
    unsafe {
        let total: usize = run(mp).map(|b| len(b)).sum();
        let mut left = by.unsigned_abs();
        if left > total {
            return 0;
        }
        if by >= 0 {
            let mut prev = mp;
            let mut b = mp;
            while left > 0 {
                let n = len(b).min(left);
                (*b).b_rptr = (*b).b_rptr.add(n);
                left -= n;
                let next = (*b).b_cont;
                if b != mp && len(b) == 0 {
                    (*prev).b_cont = next;
                    freeb(b);
                } else {
                    prev = b;
                }
                b = next;
            }
            return 1;
        }
        while left > 0 {
            let Some(last) = run(mp).last() else { break };
            let n = len(last).min(left);
            (*last).b_wptr = (*last).b_wptr.sub(n);
            left -= n;
            if last != mp && len(last) == 0 {
                if let Some(before) = blocks(mp).find(|b| (**b).b_cont == last) {
                    (*before).b_cont = (*last).b_cont;
                }
                freeb(last);
            }
        }
        1
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn msgsize(mp: *mut mblk_t) -> usize {
    // SAFETY: msgsize: a message.
    unsafe { blocks(mp).map(|b| len(b)).sum() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn msgdsize(mp: *mut mblk_t) -> usize {
    // SAFETY: msgdsize(9F).
    unsafe { blocks(mp).filter(|b| dblk(*b).kind == M_DATA).map(|b| len(b)).sum() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn linkb(mp: *mut mblk_t, tail: *mut mblk_t) {
    // SAFETY: linkb(9F).
    unsafe {
        if let Some(last) = blocks(mp).last() {
            (*last).b_cont = tail;
        }
    }
}

crate::symbols! { SYMBOLS "genunix":
    allocb, freeb, freemsg, freemsgchain, copyb, copymsg, dupb, dupmsg, msgpullup, pullupmsg,
    adjmsg, msgsize, msgdsize, linkb,
}
