// SPDX-License-Identifier: CDDL-1.0
//! misc/hook: the events of a protocol and the hooks on them.
use crate::check::{Kind, violation};
use crate::ctx;
use crate::stack::Stack;
use illumos_sys_hdrs::{
    HH_AFTER, HH_BEFORE, HH_FIRST, HOOK_VERSION, KM_SLEEP, hook_data_t, hook_event_token_t,
    hook_func_t, hook_t, kmem_free, kmem_zalloc,
};
use overlay_abi::errno::Errno;
use parking_lot::{Mutex, RwLock};
use std::cell::Cell;
use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicBool, Ordering};

/// A hook as it was when it was registered.
struct Hook {
    /// What it is unregistered by.
    from: usize,
    name: String,
    func: hook_func_t,
    arg: usize,
}

/// An event; its address is what C gets as a token.
#[derive(Default)]
pub(super) struct Event {
    hooks: RwLock<Vec<Hook>>,
    interested: AtomicBool,
}

thread_local! {
    /// The event whose hooks this thread runs.
    static RUNNING: Cell<usize> = const { Cell::new(0) };
}

/// hook_t that hook_alloc gave and that are registered: they must not be freed.
static REGISTERED: Mutex<Vec<usize>> = Mutex::new(Vec::new());

impl Event {
    /// Whether there is a hook.
    #[inline]
    pub(super) fn interested(&self) -> bool {
        self.interested.load(Ordering::Relaxed)
    }

    /// Calls the hooks in order until one returns other than 0.
    pub(super) fn run(&self, data: hook_data_t) {
        let hooks = self.hooks.read_recursive();
        let outer = RUNNING.replace(std::ptr::from_ref(self) as usize);
        for h in &*hooks {
            let token: hook_event_token_t = std::ptr::from_ref(self).cast_mut().cast();
            // SAFETY: a registered hook: its function stays until it is unregistered, which waits
            // for the lock we hold.
            if unsafe { (h.func)(token, data, h.arg as *mut _) } != 0 {
                break;
            }
        }
        RUNNING.set(outer);
    }

    /// Registers; 0, EEXIST for a name that is taken, ENOENT for a hint that names no hook.
    pub(super) unsafe fn register(&self, hook: *mut hook_t) -> c_int {
        // SAFETY: net_hook_register(9F): a hook of hook_alloc, filled in.
        let (h, name) = unsafe {
            let h = &*hook;
            let Some(func) = h.h_func.filter(|_| !h.h_name.is_null()) else {
                return Errno::EINVAL.0;
            };
            let name = CStr::from_ptr(h.h_name).to_string_lossy().into_owned();
            let arg = h.h_arg as usize;
            (h, Hook { from: hook as usize, name, func, arg })
        };
        if self.within("net_hook_register") {
            return Errno::EINVAL.0;
        }
        let mut hooks = self.hooks.write();
        if hooks.iter().any(|o| o.name == name.name) {
            return Errno::EEXIST.0;
        }
        let at = match h.h_hint {
            HH_FIRST => 0,
            HH_BEFORE | HH_AFTER => {
                // SAFETY: by that hint h_hintvalue is a name.
                let other = unsafe { CStr::from_ptr(h.h_hintvalue as *const _) };
                let other = other.to_string_lossy();
                match hooks.iter().position(|o| o.name == other) {
                    Some(at) => at + usize::from(h.h_hint == HH_AFTER),
                    None => return Errno::ENOENT.0,
                }
            }
            _ => hooks.len(),
        };
        hooks.insert(at, name);
        self.interested.store(true, Ordering::SeqCst);
        REGISTERED.lock().push(hook as usize);
        0
    }

    /// Unregisters when no hook runs; 0, or ENXIO.
    pub(super) fn unregister(&self, hook: *mut hook_t) -> c_int {
        ctx::may_sleep("net_hook_unregister");
        if self.within("net_hook_unregister") {
            return Errno::ENXIO.0;
        }
        let mut hooks = self.hooks.write();
        let Some(at) = hooks.iter().position(|h| h.from == hook as usize) else {
            return Errno::ENXIO.0;
        };
        hooks.remove(at);
        self.interested.store(!hooks.is_empty(), Ordering::SeqCst);
        let mut all = REGISTERED.lock();
        if let Some(at) = all.iter().position(|h| *h == hook as usize) {
            all.swap_remove(at);
        }
        0
    }

    /// Forgets all hooks: the stack goes. Their names.
    pub(super) fn clear(&self) -> Vec<String> {
        let gone = std::mem::take(&mut *self.hooks.write());
        self.interested.store(false, Ordering::SeqCst);
        let mut all = REGISTERED.lock();
        for h in &gone {
            if let Some(at) = all.iter().position(|a| *a == h.from) {
                all.swap_remove(at);
            }
        }
        gone.into_iter().map(|h| h.name).collect()
    }

    /// A hook that changes its own event would wait for itself.
    fn within(&self, what: &str) -> bool {
        let inside = RUNNING.get() == std::ptr::from_ref(self) as usize;
        if inside {
            let text = format!("{what} from a hook of the same event, at {}", Stack::here());
            violation(Kind::Recursion, text);
        }
        inside
    }
}

/// Forgets what was registered; events that are gone have said so.
pub(super) fn leaks() {
    REGISTERED.lock().clear();
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hook_alloc(version: c_int) -> *mut hook_t {
    // SAFETY: kmem_zalloc(9F); a hook_t is valid when zero.
    unsafe {
        let hook = kmem_zalloc(size_of::<hook_t>(), KM_SLEEP).cast::<hook_t>();
        (*hook).h_version = version;
        if version != HOOK_VERSION {
            violation(Kind::Misuse, format!("hook_alloc of version {version}"));
        }
        hook
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hook_free(hook: *mut hook_t) {
    if REGISTERED.lock().contains(&(hook as usize)) {
        let text = format!("hook_free of a registered hook, at {}", Stack::here());
        violation(Kind::UseAfterFree, text);
        return;
    }
    // SAFETY: of hook_alloc.
    unsafe { kmem_free(hook.cast(), size_of::<hook_t>()) };
}

crate::symbols! { SYMBOLS "misc/hook": hook_alloc, hook_free, }
