// SPDX-License-Identifier: CDDL-1.0
//! Signals: blocked in every thread, and taken one by one where varpd waits.

use std::io;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::time::Duration;

/// What varpd takes: all but the last ask it to end.
const TAKEN: [i32; 5] = [libc::SIGHUP, libc::SIGQUIT, libc::SIGINT, libc::SIGTERM, REREAD];

/// What asks it to let plugins read their files again.
pub const REREAD: i32 = libc::SIGUSR1;

/// What a thread gets for its own mistake. Blocked, it would end the process all the same, but past
/// the report of a plugin's crash. The specification leaves SIGABRT alone open.
const FAULTS: [i32; 7] = [
    libc::SIGABRT,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
];

#[cfg(target_os = "illumos")]
unsafe extern "C" {
    fn sigtimedwait(
        set: *const libc::sigset_t,
        info: *mut libc::siginfo_t,
        timeout: *const libc::timespec,
    ) -> i32;
}
#[cfg(not(target_os = "illumos"))]
use libc::sigtimedwait;

/// The signals that varpd takes. Once this is made, every signal apart from faults is blocked in
/// this thread and in those it starts.
#[derive(Clone, Copy)]
pub struct Signals {
    taken: libc::sigset_t,
    before: libc::sigset_t,
}

fn set(fill: bool, but: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the set is initialized by the first call; the others get it and valid numbers.
    unsafe {
        match fill {
            true => libc::sigfillset(set.as_mut_ptr()),
            false => libc::sigemptyset(set.as_mut_ptr()),
        };
        for &signal in but {
            match fill {
                true => libc::sigdelset(set.as_mut_ptr(), signal),
                false => libc::sigaddset(set.as_mut_ptr(), signal),
            };
        }
        set.assume_init()
    }
}

impl Signals {
    /// Blocks all signals but faults. To be called before there are threads.
    pub fn block() -> io::Result<Signals> {
        let blocked = set(true, &FAULTS);
        let mut before = MaybeUninit::uninit();
        // SAFETY: a set, and room for another one.
        let code =
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &blocked, before.as_mut_ptr()) };
        match code {
            // SAFETY: filled in by a call that worked.
            0 => Ok(Signals { taken: set(false, &TAKEN), before: unsafe { before.assume_init() } }),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    /// The mask is again as it was: for a process that only waits for another one.
    pub fn unblock(&self) {
        // SAFETY: a set that the system filled in. It can only fail for a bad first argument.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, null_mut()) };
    }

    /// Gives signals to `each`, one by one, until it returns false.
    pub fn take(&self, mut each: impl FnMut(i32) -> bool) {
        while self.wait(None).is_none_or(&mut each) {}
    }

    /// Waits for one of the signals, for ever without a limit.
    pub fn wait(&self, limit: Option<Duration>) -> Option<i32> {
        let time = limit.map(|limit| libc::timespec {
            tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let time = time.as_ref().map_or(null(), std::ptr::from_ref);
        loop {
            // SAFETY: a set, nowhere to put details, and NULL or a time.
            let signal = unsafe { sigtimedwait(&self.taken, null_mut(), time) };
            if signal > 0 {
                return Some(signal);
            }
            let error = io::Error::last_os_error();
            // A debugger or a stop of the process interrupts it.
            if error.kind() != io::ErrorKind::Interrupted {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_waits_until_it_is_taken() {
        let signals = Signals::block().unwrap();
        assert_eq!(signals.wait(Some(Duration::ZERO)), None);
        // SAFETY: a signal to this thread, which has it blocked.
        unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGHUP) };
        assert_eq!(signals.wait(None), Some(libc::SIGHUP));
        assert_eq!(signals.wait(Some(Duration::from_millis(1))), None);
        signals.unblock();
    }
}
