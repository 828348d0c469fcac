// SPDX-License-Identifier: CDDL-1.0
//! timeout(9F): calls at a later tick, one after the other on a thread that must not sleep.
use crate::check::{Kind, debug, violation};
use crate::stack::Stack;
use crate::{ctx, time};
use illumos_sys_hdrs::clock_t;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::thread::ThreadId;

type Func = unsafe extern "C" fn(*mut c_void);

struct Call {
    f: Func,
    arg: usize,
    /// Who asked, with checks on.
    stack: Option<Stack>,
}

/// Calls by deadline in ticks and number.
struct State {
    calls: BTreeMap<(clock_t, usize), Call>,
    next: usize,
    running: usize,
    thread: Option<ThreadId>,
}

static STATE: Mutex<State> =
    Mutex::new(State { calls: BTreeMap::new(), next: 1, running: 0, thread: None });
static CHANGED: Condvar = Condvar::new();

fn run() {
    let _receive = ctx::enter_receive();
    let mut s = STATE.lock();
    s.thread = Some(std::thread::current().id());
    loop {
        match s.calls.first_entry() {
            Some(first) if first.key().0 <= time::lbolt() => {
                let ((_, id), call) = first.remove_entry();
                s.running = id;
                drop(s);
                // SAFETY: as given to timeout, once.
                unsafe { (call.f)(call.arg as *mut c_void) };
                s = STATE.lock();
                s.running = 0;
                CHANGED.notify_all();
            }
            Some(first) => {
                let until = time::instant(first.key().0);
                CHANGED.wait_until(&mut s, until);
            }
            None => CHANGED.wait(&mut s),
        }
    }
}

/// Calls `f(arg)` so many ticks from now, at least one.
#[unsafe(no_mangle)]
extern "C" fn timeout(f: Func, arg: *mut c_void, ticks: clock_t) -> *mut c_void {
    static START: std::sync::Once = std::sync::Once::new();
    START.call_once(|| {
        let thread = std::thread::Builder::new().name("callout".into()).spawn(run);
        thread.expect("a thread for callouts");
    });
    let stack = debug().then(Stack::here);
    let mut s = STATE.lock();
    let id = s.next;
    s.next += 1;
    let at = time::lbolt().saturating_add(ticks.max(1));
    s.calls.insert((at, id), Call { f, arg: arg as usize, stack });
    CHANGED.notify_all();
    id as *mut c_void
}

/// The ticks that were left of a call that is now not made; -1 when it was made, or is being made
/// by the caller itself.
#[unsafe(no_mangle)]
extern "C" fn untimeout(id: *mut c_void) -> clock_t {
    let id = id as usize;
    let mut s = STATE.lock();
    let key = s.calls.keys().copied().find(|k| k.1 == id);
    if let Some(key) = key {
        s.calls.remove(&key);
        return key.0.saturating_sub(time::lbolt()).max(0);
    }
    while s.running == id && s.thread != Some(std::thread::current().id()) {
        CHANGED.wait(&mut s);
    }
    -1
}

/// Records calls that are still to come, of `module` or all, and forgets them: they would run code
/// that is gone.
pub(crate) fn leaks(module: Option<&str>) {
    let mut gone = Vec::new();
    {
        let mut s = STATE.lock();
        s.calls.retain(|_, c| {
            let whose = c.stack.as_ref().and_then(Stack::module);
            let theirs = module.is_none_or(|m| whose.as_deref() == Some(m));
            if theirs {
                gone.push((whose.unwrap_or_else(|| "?".into()), c.stack.clone()));
            }
            !theirs
        });
        while s.running != 0 {
            CHANGED.wait(&mut s);
        }
    }
    for (whose, stack) in gone {
        let at = stack.map(|s| s.to_string()).unwrap_or_default();
        violation(Kind::Leak, format!("{whose} leaves a timeout pending, asked for at {at}"));
    }
}

crate::symbols! { SYMBOLS "genunix": timeout, untimeout, }
