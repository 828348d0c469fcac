// SPDX-License-Identifier: CDDL-1.0
//! Kernel memory.
//!
//! With checks off an allocation is malloc's. With checks on every buffer is registered with its
//! size and stack, carries a red zone behind its end, is filled with a pattern before use and
//! another after, and rests in quarantine before malloc gets it back, so that a late write is seen.
//! With guard pages (`guard`) a wrong access is not recorded but ends the process where it happens.
use crate::check::{Kind, debug, violation};
use crate::stack::Stack;
use crate::{ctx, fault, guard, log};
use illumos_sys_hdrs::{KM_NOSLEEP, kmem_cache_t, vmem_t};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{CStr, c_char, c_int, c_void};

/// A page of a repeated word: filling and comparing by the page is quick in a build for tests too.
type Pattern = [u8; 4096];
static UNINITIALISED: Pattern = repeat(0xbadd_cafe);
static FREED: Pattern = repeat(0xdead_beef);

const fn repeat(word: u32) -> Pattern {
    let (word, mut p, mut i) = (word.to_ne_bytes(), [0; 4096], 0);
    while i < p.len() {
        p[i] = word[i % 4];
        i += 1;
    }
    p
}

const RED: [u8; 16] = [0xbb; 16];
/// Bytes that rest before malloc gets them back.
const QUARANTINE: usize = 16 << 20;

struct Buffer {
    size: usize,
    /// Address of the cache it is of, 0 for kmem_alloc.
    cache: usize,
    stack: Stack,
}

type Shard = Mutex<Option<HashMap<usize, Buffer>>>;
const SHARDS: usize = 32;
static LIVE: [Shard; SHARDS] = [const { Mutex::new(None) }; SHARDS];

fn shard(addr: usize) -> &'static Shard {
    &LIVE[(addr >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59]
}

#[derive(Default)]
struct Resting {
    queue: VecDeque<(usize, usize)>,
    set: HashSet<usize>,
    bytes: usize,
}

static RESTING: Mutex<Option<Resting>> = Mutex::new(None);

/// Fills with a pattern.
unsafe fn fill(p: *mut u8, size: usize, pattern: &Pattern) {
    for at in (0..size).step_by(pattern.len()) {
        // SAFETY: the caller's buffer has `size` bytes.
        unsafe {
            p.add(at).copy_from_nonoverlapping(pattern.as_ptr(), (size - at).min(pattern.len()));
        }
    }
}

/// A new checked buffer, or NULL.
unsafe fn checked_alloc(size: usize, align: usize, zero: bool, cache: usize) -> *mut c_void {
    let total = size.checked_add(RED.len()).and_then(|t| t.checked_next_multiple_of(align));
    let Some(total) = total else { return std::ptr::null_mut() };
    // SAFETY: plain malloc; what is written lies inside.
    unsafe {
        let p = if guard::on() {
            guard::alloc(size, align)
        } else {
            libc::aligned_alloc(align, total).cast::<u8>()
        };
        if p.is_null() {
            return p.cast();
        }
        if zero {
            p.write_bytes(0, size);
        } else {
            fill(p, size, &UNINITIALISED);
        }
        if !guard::on() {
            p.add(size).copy_from_nonoverlapping(RED.as_ptr(), RED.len());
        }
        let buffer = Buffer { size, cache, stack: Stack::here() };
        shard(p as usize).lock().get_or_insert_default().insert(p as usize, buffer);
        p.cast()
    }
}

/// Checks and takes the registration of a buffer; None (recorded): leave it alone.
unsafe fn checked_claim(p: *mut c_void, size: usize, cache: usize, what: &str) -> Option<Buffer> {
    let addr = p as usize;
    let Some(buffer) = shard(addr).lock().get_or_insert_default().remove(&addr) else {
        let twice = RESTING.lock().get_or_insert_default().set.contains(&addr);
        let how = if twice { "of freed memory" } else { "of what was not allocated" };
        violation(
            Kind::BadFree,
            format!("{what} {how}: {p:p}, {size} bytes, at {}", Stack::here()),
        );
        return None;
    };
    if buffer.size != size || buffer.cache != cache {
        violation(
            Kind::BadFree,
            format!(
                "{what} of {p:p} with size {size}, allocated with {} at {{{}}}, at {}",
                buffer.size,
                buffer.stack,
                Stack::here()
            ),
        );
        if buffer.cache != cache {
            shard(addr).lock().get_or_insert_default().insert(addr, buffer);
            return None;
        }
    }
    // SAFETY: the buffer is registered, so it has its size and the red zone behind it.
    let red = || unsafe { std::slice::from_raw_parts(p.cast::<u8>().add(buffer.size), RED.len()) };
    if !guard::on() && red() != RED {
        violation(
            Kind::Corruption,
            format!("write behind the end of {p:p}, {} bytes of {{{}}}", buffer.size, buffer.stack),
        );
    }
    Some(buffer)
}

unsafe fn checked_free(p: *mut c_void, buffer: &Buffer) {
    // SAFETY: the caller owns the buffer now.
    unsafe {
        if guard::on() {
            guard::free(p.cast(), buffer.size);
        } else {
            retire(p.cast(), buffer.size);
        }
    }
}

/// Poisons memory of malloc's that is free now and lets it rest.
///
/// # Safety
/// The caller owns all `size` bytes and lets go of them.
pub(crate) unsafe fn retire(p: *mut u8, size: usize) {
    // SAFETY: see above.
    unsafe { fill(p, size, &FREED) };
    rest(p as usize, size);
}

/// Puts a poisoned buffer to rest and gives back the oldest.
fn rest(addr: usize, size: usize) {
    let mut out = Vec::new();
    {
        let mut r = RESTING.lock();
        let r = r.get_or_insert_default();
        r.queue.push_back((addr, size));
        r.set.insert(addr);
        r.bytes += size + 64;
        while r.bytes > QUARANTINE {
            let Some((a, s)) = r.queue.pop_front() else { break };
            r.set.remove(&a);
            r.bytes -= s + 64;
            out.push((a, s));
        }
    }
    out.into_iter().for_each(release);
}

fn release((addr, size): (usize, usize)) {
    let p = addr as *mut u8;
    // SAFETY: the buffer rested since its free: nobody else may use it, and malloc has not got it
    // back.
    unsafe {
        let bytes = std::slice::from_raw_parts(p, size);
        if let Some(page) = bytes.chunks(FREED.len()).position(|page| !FREED.starts_with(page)) {
            let offset = page * FREED.len();
            let text = format!("write after free: behind {offset} of {p:p}, {size} bytes");
            violation(Kind::Corruption, text);
        }
        libc::free(p.cast());
    }
}

/// Empties the quarantine: a write after free is seen at the latest here.
pub(crate) fn drain() {
    let queue = RESTING.lock().take().map(|r| r.queue).unwrap_or_default();
    queue.into_iter().for_each(release);
    guard::drain();
}

/// Records what is still allocated: by `module`, or all. Then forgets it, so that it is reported
/// once.
pub(crate) fn leaks(module: Option<&str>) {
    for s in &LIVE {
        let mut found = Vec::new();
        if let Some(s) = s.lock().as_mut() {
            s.retain(|addr, b| {
                let leaked = module.is_none_or(|m| b.stack.module().as_deref() == Some(m));
                if leaked {
                    found.push((*addr, b.size, b.stack.clone()));
                }
                !leaked
            });
        }
        for (addr, size, stack) in found {
            let whose = stack.module().unwrap_or_else(|| "?".into());
            violation(
                Kind::Leak,
                format!("{whose} leaks {size} bytes of kmem at {addr:#x}, allocated at {stack}"),
            );
        }
    }
}

/// Bytes and buffers allocated now; (0, 0) with checks off.
pub fn in_use() -> (usize, usize) {
    LIVE.iter().fold((0, 0), |(bytes, count), s| {
        let s = s.lock();
        let live = s.as_ref();
        (
            bytes + live.map_or(0, |l| l.values().map(|b| b.size).sum()),
            count + live.map_or(0, HashMap::len),
        )
    })
}

/// kmem_alloc and kmem_zalloc.
fn alloc(size: usize, flag: c_int, zero: bool) -> *mut c_void {
    if size == 0 {
        return std::ptr::null_mut();
    }
    if flag & KM_NOSLEEP != 0 {
        if fault::nosleep() {
            return std::ptr::null_mut();
        }
    } else {
        ctx::may_sleep("kmem_alloc(KM_SLEEP)");
    }
    let p = if debug() {
        // SAFETY: a new buffer.
        unsafe { checked_alloc(size, 16, zero, 0) }
    } else if zero {
        // SAFETY: plain calloc.
        unsafe { libc::calloc(1, size) }
    } else {
        // SAFETY: plain malloc.
        unsafe { libc::malloc(size) }
    };
    if p.is_null() && flag & KM_NOSLEEP == 0 {
        log::die(&format!("kmem_alloc({size}, KM_SLEEP): out of memory"));
    }
    p
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn kmem_alloc(size: usize, flag: c_int) -> *mut c_void {
    alloc(size, flag, false)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn kmem_zalloc(size: usize, flag: c_int) -> *mut c_void {
    alloc(size, flag, true)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn kmem_free(p: *mut c_void, size: usize) {
    if !debug() {
        // SAFETY: kmem_free(9F): a buffer of kmem_alloc, or NULL.
        unsafe { libc::free(p) };
        return;
    }
    if p.is_null() {
        if size != 0 {
            violation(Kind::BadFree, format!("kmem_free(NULL, {size}) at {}", Stack::here()));
        }
        return;
    }
    // SAFETY: kmem_free(9F); the registration says whether it is so.
    unsafe {
        if let Some(b) = checked_claim(p, size, 0, "kmem_free") {
            checked_free(p, &b);
        }
    }
}

type Ctor = unsafe extern "C" fn(*mut c_void, *mut c_void, c_int) -> c_int;
type Dtor = unsafe extern "C" fn(*mut c_void, *mut c_void);

/// What kmem_cache_t is: constructed objects that wait for their next use.
struct Cache {
    name: String,
    size: usize,
    align: usize,
    ctor: Option<Ctor>,
    dtor: Option<Dtor>,
    private: *mut c_void,
    free: Mutex<Vec<usize>>,
    live: std::sync::atomic::AtomicIsize,
}

/// Constructed objects a cache keeps when checks are off.
const CACHED: usize = 4096;

impl Cache {
    unsafe fn construct(&self, flag: c_int) -> *mut c_void {
        // SAFETY: the object has the size the constructor was made for.
        unsafe {
            let p = if debug() {
                checked_alloc(self.size, self.align, false, std::ptr::from_ref(self) as usize)
            } else {
                libc::aligned_alloc(self.align, self.size.next_multiple_of(self.align))
            };
            if p.is_null() {
                return p;
            }
            if let Some(ctor) = self.ctor
                && ctor(p, self.private, flag) != 0
            {
                self.discard(p);
                return std::ptr::null_mut();
            }
            p
        }
    }

    /// Frees the memory of an object that is not constructed (any more).
    unsafe fn discard(&self, p: *mut c_void) {
        // SAFETY: it came from construct.
        unsafe {
            if !debug() {
                libc::free(p);
            } else if let Some(b) =
                checked_claim(p, self.size, std::ptr::from_ref(self) as usize, "kmem_cache_free")
            {
                checked_free(p, &b);
            }
        }
    }

    unsafe fn destruct(&self, p: *mut c_void) {
        // SAFETY: it came from construct, and its user left it constructed.
        unsafe {
            if let Some(dtor) = self.dtor {
                dtor(p, self.private);
            }
            self.discard(p);
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn kmem_cache_create(
    name: *const c_char,
    size: usize,
    align: usize,
    ctor: Option<Ctor>,
    dtor: Option<Dtor>,
    _reclaim: Option<unsafe extern "C" fn(*mut c_void)>,
    private: *mut c_void,
    _vmem: *mut vmem_t,
    _flags: c_int,
) -> *mut kmem_cache_t {
    ctx::may_sleep("kmem_cache_create");
    // SAFETY: kmem_cache_create(9F): a name.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let align = align.max(16).next_power_of_two();
    let free = Mutex::default();
    let live = 0.into();
    let cache = Cache { name, size, align, ctor, dtor, private, free, live };
    Box::into_raw(Box::new(cache)).cast()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn kmem_cache_destroy(cp: *mut kmem_cache_t) {
    ctx::may_sleep("kmem_cache_destroy");
    // SAFETY: kmem_cache_destroy(9F): a cache of ours that nobody uses any more.
    unsafe {
        let cache = Box::from_raw(cp.cast::<Cache>());
        let live = cache.live.load(std::sync::atomic::Ordering::Relaxed);
        if live != 0 {
            violation(
                Kind::DestroyBusy,
                format!("kmem_cache_destroy of {} with {live} objects in use", cache.name),
            );
        }
        for p in cache.free.lock().drain(..) {
            cache.destruct(p as *mut c_void);
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn kmem_cache_alloc(cp: *mut kmem_cache_t, flag: c_int) -> *mut c_void {
    if flag & KM_NOSLEEP != 0 {
        if fault::nosleep() {
            return std::ptr::null_mut();
        }
    } else {
        ctx::may_sleep("kmem_cache_alloc(KM_SLEEP)");
    }
    // SAFETY: kmem_cache_alloc(9F): a cache of ours.
    unsafe {
        let cache = &*cp.cast::<Cache>();
        let kept = cache.free.lock().pop();
        let p = kept.map_or_else(|| cache.construct(flag), |p| p as *mut c_void);
        if !p.is_null() {
            cache.live.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        } else if flag & KM_NOSLEEP == 0 {
            log::die(&format!("kmem_cache_alloc({}, KM_SLEEP): out of memory", cache.name));
        }
        p
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn kmem_cache_free(cp: *mut kmem_cache_t, p: *mut c_void) {
    // SAFETY: kmem_cache_free(9F): a cache of ours and an object of it.
    unsafe {
        let cache = &*cp.cast::<Cache>();
        if debug() {
            // Nothing is kept, so that a use after the free is seen. A bad pointer must not reach
            // the destructor.
            let ours = shard(p as usize)
                .lock()
                .get_or_insert_default()
                .get(&(p as usize))
                .is_some_and(|b| b.cache == cp as usize);
            if !ours {
                violation(
                    Kind::BadFree,
                    format!(
                        "kmem_cache_free of {p:p}, no object of {}, at {}",
                        cache.name,
                        Stack::here()
                    ),
                );
                return;
            }
            cache.live.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            cache.destruct(p);
            return;
        }
        cache.live.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        let mut free = cache.free.lock();
        if free.len() < CACHED {
            free.push(p as usize);
        } else {
            drop(free);
            cache.destruct(p);
        }
    }
}

crate::symbols! { SYMBOLS "genunix":
    kmem_alloc, kmem_zalloc, kmem_free, kmem_cache_create, kmem_cache_destroy, kmem_cache_alloc,
    kmem_cache_free,
}
