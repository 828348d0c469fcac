// SPDX-License-Identifier: CDDL-1.0
//! What Checks::Debug knows of locks: which exist, who holds which, and in what order classes nest.
//!
//! A lock belongs to a *class*: its name, or where it was initialised if it has none. The first
//! time a thread takes a lock of class B while it holds one of class A, the edge A → B is kept with
//! the stack. An edge that closes a circle is an inversion, whether or not the threads ever met.
//! Locks of one class are not compared with each other.
use crate::check::{Kind, violation};
use crate::stack::Stack;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicU64, Ordering};

/// How a lock is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Mutex,
    Reader,
    Writer,
}

struct Held {
    addr: usize,
    class: u32,
    mode: Mode,
    /// Entries beyond the first, which were violations.
    extra: u32,
}

#[derive(Default)]
struct HeldList(Vec<Held>);

impl Drop for HeldList {
    fn drop(&mut self) {
        for h in &self.0 {
            let name = class_name(h.class);
            violation(Kind::LockHeld, format!("a thread ended holding {name} at {:#x}", h.addr));
        }
    }
}

thread_local! {
    static HELD: RefCell<HeldList> = const { RefCell::new(HeldList(Vec::new())) };
    /// Edges this thread has seen in the graph already, and of which boot.
    static SEEN: RefCell<(u64, BTreeSet<(u32, u32)>)> = const { RefCell::new((0, BTreeSet::new())) };
}

#[derive(Default)]
struct Order {
    names: Vec<String>,
    by_name: HashMap<String, u32>,
    by_site: HashMap<u64, u32>,
    edges: HashMap<(u32, u32), Stack>,
    after: HashMap<u32, Vec<u32>>,
    reported: HashSet<(u32, u32)>,
}

/// Counts boots, so that threads that outlive one forget the edges they have seen.
static BOOT: AtomicU64 = AtomicU64::new(0);
static ORDER: Mutex<Option<Order>> = Mutex::new(None);

const SHARDS: usize = 64;
type Shard = Mutex<Option<HashMap<usize, u32>>>;
/// Class of every initialised lock, by address.
static LOCKS: [Shard; SHARDS] = [const { Mutex::new(None) }; SHARDS];

fn shard(addr: usize) -> &'static Shard {
    &LOCKS[(addr >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58]
}

/// Forgets everything: a new kernel boots.
pub(crate) fn reset() {
    BOOT.fetch_add(1, Ordering::Relaxed);
    *ORDER.lock() = None;
    for s in &LOCKS {
        *s.lock() = None;
    }
}

fn class_name(class: u32) -> String {
    let o = ORDER.lock();
    o.as_ref().and_then(|o| o.names.get(class as usize).cloned()).unwrap_or_default()
}

/// A lock is initialised.
///
/// # Safety
/// `name` is NULL or a C string.
pub(crate) unsafe fn init(addr: usize, name: *const c_char) {
    let class = if name.is_null() {
        let stack = Stack::here();
        let site = stack.site();
        let mut o = ORDER.lock();
        let o = o.get_or_insert_default();
        let next = o.names.len() as u32;
        let class = *o.by_site.entry(site).or_insert(next);
        if class == next {
            o.names.push(format!("lock of {{{stack}}}"));
        }
        class
    } else {
        // SAFETY: see above.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
        let mut o = ORDER.lock();
        let o = o.get_or_insert_default();
        let next = o.names.len() as u32;
        let class = *o.by_name.entry(name.clone()).or_insert(next);
        if class == next {
            o.names.push(name);
        }
        class
    };
    shard(addr).lock().get_or_insert_default().insert(addr, class);
}

/// A lock is destroyed; `busy` says it is held or waited for.
pub(crate) fn destroy(addr: usize, busy: bool) {
    let class = shard(addr).lock().get_or_insert_default().remove(&addr);
    match class {
        None => {
            let at = Stack::here();
            violation(Kind::Uninitialised, format!("destroy of no lock at {addr:#x}, at {at}"));
        }
        Some(class) if busy => {
            let (name, at) = (class_name(class), Stack::here());
            violation(Kind::DestroyBusy, format!("destroy of {name} while held, at {at}"));
            HELD.with_borrow_mut(|h| h.0.retain(|h| h.addr != addr));
        }
        Some(_) => {}
    }
}

fn class_of(addr: usize) -> u32 {
    if let Some(&c) = shard(addr).lock().get_or_insert_default().get(&addr) {
        return c;
    }
    let at = Stack::here();
    violation(Kind::Uninitialised, format!("lock at {addr:#x} was never initialised, at {at}"));
    // SAFETY: no name is given.
    unsafe { init(addr, std::ptr::null()) };
    shard(addr).lock().get_or_insert_default().get(&addr).copied().unwrap_or(0)
}

/// What a thread that wants a lock has to do.
#[must_use]
pub(crate) enum Enter {
    /// Acquire it, then call [`acquired`].
    Acquire(u32),
    /// It has it already; the violation is recorded and the entry counted. Go on.
    Again,
}

/// Before acquiring. `try_only`: the caller does not wait, so its order cannot deadlock.
pub(crate) fn before(addr: usize, mode: Mode, try_only: bool) -> Enter {
    let class = class_of(addr);
    let again = HELD.with_borrow_mut(|h| {
        let mine = h.0.iter_mut().find(|h| h.addr == addr)?;
        mine.extra += u32::from(!try_only);
        Some(())
    });
    if again.is_some() {
        if !try_only {
            let (name, at) = (class_name(class), Stack::here());
            violation(Kind::Recursion, format!("recursive enter of {name} ({mode:?}), at {at}"));
        }
        return Enter::Again;
    }
    if !try_only {
        order(class);
    }
    Enter::Acquire(class)
}

/// After acquiring.
pub(crate) fn acquired(addr: usize, class: u32, mode: Mode) {
    HELD.with_borrow_mut(|h| h.0.push(Held { addr, class, mode, extra: 0 }));
}

/// Before releasing. None: the thread does not hold it (recorded); Some(None): held more than once,
/// keep it; Some(mode): release.
pub(crate) fn release(addr: usize) -> Option<Option<Mode>> {
    let found = HELD.with_borrow_mut(|h| {
        let at = h.0.iter().rposition(|h| h.addr == addr)?;
        if h.0[at].extra > 0 {
            h.0[at].extra -= 1;
            return Some(None);
        }
        Some(Some(h.0.remove(at).mode))
    });
    if found.is_none() {
        let (name, at) = (class_name(class_of(addr)), Stack::here());
        violation(
            Kind::NotOwner,
            format!("exit of {name}, which the thread does not hold, at {at}"),
        );
    }
    found
}

/// Forgets recursive entries: the lock is about to be left for good, by cv_wait.
pub(crate) fn flatten(addr: usize) {
    HELD.with_borrow_mut(|h| {
        if let Some(h) = h.0.iter_mut().find(|h| h.addr == addr) {
            h.extra = 0;
        }
    });
}

/// Records a violation for each lock the thread holds.
pub(crate) fn none_held(what: &str) {
    let held: Vec<u32> = HELD.with_borrow(|h| h.0.iter().map(|h| h.class).collect());
    for class in held {
        let (name, at) = (class_name(class), Stack::here());
        violation(Kind::LockHeld, format!("{name} is held over {what}, at {at}"));
    }
}

fn order(class: u32) {
    let held: Vec<u32> =
        HELD.with_borrow(|h| h.0.iter().map(|h| h.class).filter(|c| *c != class).collect());
    if held.is_empty() {
        return;
    }
    let boot = BOOT.load(Ordering::Relaxed);
    for outer in held {
        let edge = (outer, class);
        let new = SEEN.with_borrow_mut(|s| {
            if s.0 != boot {
                *s = (boot, BTreeSet::new());
            }
            s.1.insert(edge)
        });
        if new {
            add_edge(edge);
        }
    }
}

fn add_edge(edge: (u32, u32)) {
    let stack = Stack::here();
    let mut guard = ORDER.lock();
    let o = guard.get_or_insert_default();
    if o.edges.contains_key(&edge) {
        return;
    }
    let back = path(&o.after, edge.1, edge.0);
    o.edges.insert(edge, stack.clone());
    o.after.entry(edge.0).or_default().push(edge.1);
    let Some(back) = back else { return };
    if !o.reported.insert((edge.0.min(edge.1), edge.0.max(edge.1))) {
        return;
    }
    let name = |c: u32| o.names.get(c as usize).cloned().unwrap_or_default();
    let mut text = format!("{} then {} at {{{stack}}}", name(edge.0), name(edge.1));
    for pair in back.windows(2) {
        let s = o.edges.get(&(pair[0], pair[1])).map(ToString::to_string).unwrap_or_default();
        text += &format!("; but {} then {} at {{{s}}}", name(pair[0]), name(pair[1]));
    }
    drop(guard);
    violation(Kind::LockOrder, text);
}

/// The classes on a way from `from` to `to`, both included.
fn path(after: &HashMap<u32, Vec<u32>>, from: u32, to: u32) -> Option<Vec<u32>> {
    let mut came: HashMap<u32, u32> = HashMap::new();
    let mut todo = vec![from];
    while let Some(c) = todo.pop() {
        if c == to {
            let mut way = vec![c];
            let mut c = c;
            while c != from {
                c = *came.get(&c)?;
                way.push(c);
            }
            way.reverse();
            return Some(way);
        }
        for &n in after.get(&c).into_iter().flatten() {
            if n != from && !came.contains_key(&n) {
                came.insert(n, c);
                todo.push(n);
            }
        }
    }
    None
}
