// SPDX-License-Identifier: CDDL-1.0
//! Probe sites: what stands where a module calls `__dtrace_probe_NAME`.
//!
//! ```text
//!   compiled   e8 00 00 00 00      call __dtrace_probe_overlay__tx
//!   loaded     90 90 90 90 90      no-ops
//!   armed      f0 90 90 90 90      lock nop, which the processor refuses: SIGILL
//! ```
//! So it is in illumos too, and for the same reason: one byte changes, so a thread that comes by
//! meanwhile executes either the old instruction or the new one. The signal's handler does to the
//! interrupted thread what the call would have done, with fakekernel's [`probes::fire`] as the
//! function: the compiler has put the arguments into registers and expects nothing of the others,
//! because for it this is a call.
use crate::map;
use fakekernel::probes::{self, Probe, Site};
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::sync::{Arc, Once, PoisonError, RwLock};

/// Bytes of a call.
pub(crate) const CALL: usize = 5;
pub(crate) const NOP: u8 = 0x90;
const LOCK: u8 = 0xf0;

/// Armed or not, by address. The handler reads it on the thread that executes a site, which can
/// hold no lock of ours: no code of ours has a site in it.
static SITES: RwLock<BTreeMap<usize, &'static Probe>> = RwLock::new(BTreeMap::new());

struct At(usize);

impl Site for At {
    fn arm(&self, on: bool) {
        map::patch(self.0, if on { LOCK } else { NOP });
    }
}

/// A site of a loaded module; taken out of use on drop.
pub(crate) struct Placed {
    at: usize,
    probe: &'static Probe,
    site: Arc<dyn Site>,
}

impl Placed {
    /// Puts the site at `at`, five no-ops in sealed text, into use.
    pub(crate) fn new(symbol: &str, at: usize) -> Placed {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(install);
        let probe = probes::of_symbol(symbol);
        SITES.write().unwrap_or_else(PoisonError::into_inner).insert(at, probe);
        let site: Arc<dyn Site> = Arc::new(At(at));
        probe.add(site.clone());
        Placed { at, probe, site }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.probe.remove(&self.site);
        SITES.write().unwrap_or_else(PoisonError::into_inner).remove(&self.at);
    }
}

fn install() {
    // SAFETY: a handler that does only what it may: it reads a table, and changes the context it is
    // given.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = trapped as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGILL, &raw const action, std::ptr::null_mut());
    }
}

extern "C" fn trapped(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: what a SA_SIGINFO handler is given.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let register = |r: c_int| r as usize;
    let registers = &mut context.uc_mcontext.gregs;
    let at = registers[register(libc::REG_RIP)] as usize;
    let probe = SITES.read().unwrap_or_else(PoisonError::into_inner).get(&at).copied();
    let Some(probe) = probe else {
        // Not ours: let the instruction trap again and do its worst.
        // SAFETY: no conditions.
        unsafe { libc::signal(libc::SIGILL, libc::SIG_DFL) };
        return;
    };
    // The sixth argument, then the call.
    registers[register(libc::REG_R9)] = (&raw const *probe) as i64;
    let stack = registers[register(libc::REG_RSP)] - 8;
    registers[register(libc::REG_RSP)] = stack;
    // SAFETY: the thread's stack, where a call would push. Modules have no red zone.
    unsafe {
        std::ptr::with_exposed_provenance_mut::<usize>(stack as usize).write(at + CALL);
    }
    registers[register(libc::REG_RIP)] = probes::fire as *const () as i64;
}
