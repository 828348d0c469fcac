// SPDX-License-Identifier: CDDL-1.0
//! ddi_taskq: threads that run what is dispatched, in order.
use crate::check::{Kind, debug, violation};
use crate::ctx;
use crate::fault;
use crate::stack::Stack;
use illumos_sys_hdrs::{DDI_FAILURE, DDI_NOSLEEP, DDI_SUCCESS, ddi_taskq_t, dev_info_t};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;
use std::thread::JoinHandle;

type Func = unsafe extern "C" fn(*mut c_void);

#[derive(Default)]
struct State {
    tasks: VecDeque<(Func, usize)>,
    ending: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// What ddi_taskq_t is.
struct Taskq {
    name: String,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Who made it, with checks on.
    stack: Option<Stack>,
}

/// Addresses of those there are.
static LIVE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

fn run(shared: &Shared) {
    let mut s = shared.state.lock();
    loop {
        if let Some((f, arg)) = s.tasks.pop_front() {
            drop(s);
            // SAFETY: as given to ddi_taskq_dispatch, once.
            unsafe { f(arg as *mut c_void) };
            s = shared.state.lock();
        } else if s.ending {
            return;
        } else {
            shared.changed.wait(&mut s);
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_taskq_create(
    _dip: *mut dev_info_t,
    name: *const c_char,
    threads: c_int,
    _pri: i16,
    _flags: u32,
) -> *mut ddi_taskq_t {
    ctx::may_sleep("ddi_taskq_create");
    // SAFETY: ddi_taskq_create(9F).
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let shared = Arc::<Shared>::default();
    let start = |_| {
        let shared = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(name.clone());
        thread.spawn(move || run(&shared)).expect("a thread for a taskq")
    };
    let threads = (0..threads.max(1)).map(start).collect();
    let stack = debug().then(Stack::here);
    let tq = Box::into_raw(Box::new(Taskq { name, shared, threads, stack }));
    LIVE.lock().push(tq as usize);
    tq.cast()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_taskq_destroy(tq: *mut ddi_taskq_t) {
    ctx::may_sleep("ddi_taskq_destroy");
    let mut live = LIVE.lock();
    let Some(at) = live.iter().position(|a| *a == tq as usize) else {
        violation(Kind::BadFree, format!("ddi_taskq_destroy of {tq:p}, no taskq"));
        return;
    };
    live.swap_remove(at);
    drop(live);
    // SAFETY: one of ours, and nobody's any more.
    let tq = unsafe { Box::from_raw(tq.cast::<Taskq>()) };
    tq.shared.state.lock().ending = true;
    tq.shared.changed.notify_all();
    for t in tq.threads {
        if t.thread().id() == std::thread::current().id() {
            violation(Kind::Misuse, format!("taskq {} is destroyed by its own task", tq.name));
        } else {
            let _ = t.join();
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ddi_taskq_dispatch(
    tq: *mut ddi_taskq_t,
    f: Func,
    arg: *mut c_void,
    flags: u32,
) -> c_int {
    if flags & DDI_NOSLEEP as u32 == 0 {
        ctx::may_sleep("ddi_taskq_dispatch with DDI_SLEEP");
    } else if fault::nosleep() {
        return DDI_FAILURE;
    }
    if debug() && !LIVE.lock().contains(&(tq as usize)) {
        violation(Kind::UseAfterFree, format!("ddi_taskq_dispatch to {tq:p}, no taskq (any more)"));
        return DDI_FAILURE;
    }
    // SAFETY: ddi_taskq_dispatch(9F).
    let shared = unsafe { &(*tq.cast::<Taskq>()).shared };
    shared.state.lock().tasks.push_back((f, arg as usize));
    shared.changed.notify_one();
    DDI_SUCCESS
}

/// Records taskqs that `module` (or anybody) made and did not destroy, and ends them.
pub(crate) fn leaks(module: Option<&str>) {
    let theirs = |at: &usize| {
        // SAFETY: in the list, so there.
        let tq = unsafe { &*(*at as *const Taskq) };
        let whose = tq.stack.as_ref().and_then(Stack::module);
        module.is_none_or(|m| whose.as_deref() == Some(m))
    };
    let gone: Vec<usize> = LIVE.lock().iter().copied().filter(theirs).collect();
    for at in gone {
        // SAFETY: as above.
        let tq = unsafe { &*(at as *const Taskq) };
        let by = tq.stack.as_ref().map(|s| format!(", made at {s}")).unwrap_or_default();
        violation(Kind::Leak, format!("taskq {} was not destroyed{by}", tq.name));
        // SAFETY: as above.
        unsafe { ddi_taskq_destroy(at as *mut ddi_taskq_t) };
    }
}

crate::symbols! { SYMBOLS "genunix": ddi_taskq_create, ddi_taskq_destroy, ddi_taskq_dispatch, }
