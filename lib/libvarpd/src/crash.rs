// SPDX-License-Identifier: CDDL-1.0
//! Says which plugin a process died in, and in which of its functions.
//!
//! ```text
//!   inside(plugin, "vpo_lookup", f)    thread's State --> Frame{plugin, function} --> Frame (outer)
//!        f() .... SIGSEGV --> on_signal, on the alternate stack: one JSON line to standard error
//!                             then the signal again, as if there were no handler: core, exit status
//! ```
//!
//! Between [`report`] and the end of the process each thread that is in a plugin has a chain of
//! frames on its stack. Its head is in a thread-specific datum of POSIX threads, since Rust's
//! thread-locals may allocate when they are first looked at, which a handler must not; POSIX does
//! not promise that pthread_getspecific may be called from one, but it is a plain load in the libc
//! of both systems. The handler calls nothing else than that, clock_gettime, write, sigaction, raise
//! and getpid.
//!
//! A fault outside of plugins is left to who had the signal before, as are faults in threads that a
//! plugin started itself.
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

mod line;

use line::Line;

/// What a crash is.
const SIGNALS: [(c_int, &str); 5] = [
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGABRT, "SIGABRT"),
];

/// Bytes of an alternate stack made here. The handler needs some 3 KiB beyond what the kernel saves.
const STACK: usize = 64 * 1024;

/// What the handler needs, made before it is installed.
struct Report {
    key: libc::pthread_key_t,
    name: &'static str,
    hostname: String,
    /// What each signal did before, in the order of [`SIGNALS`].
    before: [libc::sigaction; SIGNALS.len()],
}

static REPORT: OnceLock<Report> = OnceLock::new();

/// One call into a plugin, on the stack of the thread that makes it.
struct Frame {
    plugin: *const str,
    function: &'static str,
    outer: *const Frame,
}

/// What a thread has from its first call into a plugin to its end.
struct State {
    innermost: Cell<*const Frame>,
    /// The alternate stack, if the thread had none.
    stack: Option<*mut c_void>,
}

/// Has crashes inside of plugins reported from now on, in lines of JSON (bunyan) of the program
/// `name` on standard error. A second call does nothing.
///
/// # Errors
/// The error of pthread_key_create or sigaction.
pub fn report(name: &'static str) -> std::io::Result<()> {
    if REPORT.get().is_some() {
        return Ok(());
    }
    let mut key = 0;
    // SAFETY: an out pointer, and a destructor that takes what `State::of_thread` stores.
    match unsafe { libc::pthread_key_create(&mut key, Some(State::end)) } {
        0 => {}
        e => return Err(std::io::Error::from_raw_os_error(e)),
    }
    // SAFETY: plain data, for which zero is "default action".
    let mut before: [libc::sigaction; SIGNALS.len()] =
        unsafe { MaybeUninit::zeroed().assume_init() };
    for ((signal, _), before) in SIGNALS.iter().zip(&mut before) {
        // SAFETY: asks, and writes to a valid out pointer.
        check(unsafe { libc::sigaction(*signal, null(), before) })?;
    }
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if REPORT.set(Report { key, name, hostname, before }).is_err() {
        return Ok(());
    }
    // SAFETY: plain data.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_signal;
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    for (signal, _) in SIGNALS {
        // SAFETY: the handler does only what a handler may, see the module.
        check(unsafe { libc::sigaction(signal, &action, null_mut()) })?;
    }
    Ok(())
}

fn check(result: c_int) -> std::io::Result<()> {
    if result == -1 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Runs `f`, which is a call into the plugin of that name; calls may nest.
pub(crate) fn inside<R>(plugin: &str, function: &'static str, f: impl FnOnce() -> R) -> R {
    // Nobody asked for reports, or there is no memory to remember by.
    let Some(state) = REPORT.get().and_then(|r| State::of_thread(r.key)) else { return f() };
    let frame = Frame { plugin, function, outer: state.innermost.get() };
    state.innermost.set(&frame);
    /// Also if `f` unwinds.
    struct Leave<'a>(&'a State, *const Frame);
    impl Drop for Leave<'_> {
        fn drop(&mut self) {
            self.0.innermost.set(self.1);
        }
    }
    let _leave = Leave(state, frame.outer);
    f()
}

impl State {
    /// The calling thread's, made when it is first asked for.
    fn of_thread<'a>(key: libc::pthread_key_t) -> Option<&'a State> {
        // SAFETY: the key is valid; it has NULL or what is stored below.
        let state = unsafe { libc::pthread_getspecific(key) }.cast::<State>();
        // SAFETY: it lives as long as the thread.
        if let Some(state) = unsafe { state.as_ref() } {
            return Some(state);
        }
        let state = Box::into_raw(Box::new(State {
            innermost: Cell::new(null()),
            stack: alternate_stack(),
        }));
        // SAFETY: the key is valid, and its destructor takes this.
        if unsafe { libc::pthread_setspecific(key, state.cast()) } == 0 {
            // SAFETY: as above.
            return unsafe { state.as_ref() };
        }
        // SAFETY: made above, and nobody else's.
        unsafe { State::end(state.cast()) };
        None
    }

    /// Frees the state of a thread that ends.
    ///
    /// # Safety
    /// It is from `of_thread` and not used any more.
    unsafe extern "C" fn end(state: *mut c_void) {
        // SAFETY: from Box::into_raw, by contract.
        let state = unsafe { Box::from_raw(state.cast::<State>()) };
        if let Some(stack) = state.stack {
            let none =
                libc::stack_t { ss_sp: null_mut(), ss_flags: libc::SS_DISABLE, ss_size: STACK };
            // SAFETY: the thread's own alternate stack is given up before its memory.
            unsafe {
                libc::sigaltstack(&none, null_mut());
                libc::munmap(stack, STACK);
            }
        }
    }
}

/// Gives the calling thread an alternate stack unless it has one, as threads of Rust's library do.
/// Without memory for it there is none; then a stack overflow is not reported.
fn alternate_stack() -> Option<*mut c_void> {
    // SAFETY: plain data, filled in below.
    let mut now: libc::stack_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: asks, and writes to a valid out pointer.
    let known = unsafe { libc::sigaltstack(null(), &mut now) } == 0;
    if !known || now.ss_flags & libc::SS_DISABLE == 0 {
        return None;
    }
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
    // SAFETY: new memory.
    let memory = unsafe { libc::mmap(null_mut(), STACK, prot, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        return None;
    }
    let stack = libc::stack_t { ss_sp: memory, ss_flags: 0, ss_size: STACK };
    // SAFETY: memory of that size, which stays until `State::end`.
    if unsafe { libc::sigaltstack(&stack, null_mut()) } != 0 {
        // SAFETY: from mmap above, and not in use.
        unsafe { libc::munmap(memory, STACK) };
        return None;
    }
    Some(memory)
}

/// The handler.
extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // Installed after REPORT was set.
    let Some(report) = REPORT.get() else { return };
    // SAFETY: the key is valid; it has NULL or the state of this thread.
    let state = unsafe { libc::pthread_getspecific(report.key).cast::<State>().as_ref() };
    // SAFETY: frames are on the stack of this thread below where the signal came.
    let frame = state.and_then(|s| unsafe { s.innermost.get().as_ref() });
    // SAFETY: the kernel's.
    let info = unsafe { &*info };
    if let Some(frame) = frame {
        // SAFETY: the plugin's name, which is borrowed by who is in `inside`.
        let plugin = unsafe { &*frame.plugin };
        write_all(report.line(signal, info, plugin, frame.function).bytes());
    }
    let index = SIGNALS.iter().position(|(s, _)| *s == signal).unwrap_or(0);
    // SAFETY: plain data; zero is the default action.
    let default: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    let sent = info.si_code <= 0;
    // Who had it before takes care of faults, and may take what was sent for one.
    let next = match frame {
        None if !sent => report.before.get(index).unwrap_or(&default),
        _ => &default,
    };
    // SAFETY: an action that was there before, or the default one.
    unsafe { libc::sigaction(signal, next, null_mut()) };
    // A fault happens again when the instruction is tried again, which keeps registers and stack for
    // the core as they were. What was sent by somebody has to be sent again.
    if sent {
        // SAFETY: plain call; the signal is blocked until the handler returns.
        unsafe { libc::raise(signal) };
    }
}

impl Report {
    /// The record, a line of JSON as bunyan reads them.
    fn line(&self, signal: c_int, info: &libc::siginfo_t, plugin: &str, function: &str) -> Line {
        // SAFETY: plain data, filled in below.
        let mut now: libc::timespec = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: a valid out pointer.
        unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut now) };
        let name = SIGNALS.iter().find(|(s, _)| *s == signal).map_or("?", |(_, name)| *name);
        let mut line = Line::new();
        line.text("{\"v\":0,\"name\":").string(self.name);
        line.text(",\"msg\":\"a plugin crashed\",\"level\":60,\"hostname\":")
            .string(&self.hostname);
        line.text(",\"time\":\"").time(now.tv_sec, now.tv_nsec).text("\",\"pid\":");
        line.number(u64::from(std::process::id()));
        line.text(",\"plugin\":").string(plugin);
        line.text(",\"callback\":").string(function);
        line.text(",\"signal\":").string(name);
        if info.si_code > 0 {
            // SAFETY: a signal of a fault has an address.
            let at = unsafe { info.si_addr() };
            line.text(",\"address\":\"0x").hex(at.addr() as u64).text("\"");
        }
        line.text("}\n");
        line
    }
}

fn write_all(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the bytes of a slice.
        let n = unsafe { libc::write(2, bytes.as_ptr().cast(), bytes.len()) };
        let Some(rest) = usize::try_from(n).ok().and_then(|n| bytes.get(n..)) else { return };
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_nest_and_are_taken_back_when_a_call_unwinds() {
        report("test").unwrap();
        report("again").unwrap();
        let innermost = || {
            let state = State::of_thread(REPORT.get().unwrap().key).unwrap();
            // SAFETY: frames of this thread, which are live.
            unsafe { state.innermost.get().as_ref() }.map(|f| f.function)
        };
        let check = move || {
            assert_eq!(innermost(), None);
            inside("p", "outer", || {
                inside("p", "inner", || assert_eq!(innermost(), Some("inner")));
                let panic = std::panic::catch_unwind(|| inside("p", "x", || panic!("on purpose")));
                assert!(panic.is_err());
                assert_eq!(innermost(), Some("outer"));
            });
            assert_eq!(innermost(), None);
        };
        check();
        std::thread::spawn(check).join().unwrap();
    }
}
