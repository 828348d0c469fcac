// SPDX-License-Identifier: CDDL-1.0
//! The process: what it inherits, its limits, and how it becomes a daemon (spec/varpd.md 1.4, 1.5).
//!
//! ```text
//!   start method        child
//!        | -- fork -----> |
//!      read <-- status -- | works: 0
//!        |                |
//!      exit(status)     goes on
//! ```
//!
//! A child that ends without a word has its exit status passed on. A start that is broken off takes
//! the child with it, since nobody reads what it says.

use crate::FATAL;
use crate::signals::Signals;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io::{self, Read, Write};

/// Nothing on standard input, and no file mode without what umask leaves.
pub fn detach_input() -> io::Result<()> {
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    Ok(())
}

/// As many descriptors as are allowed, and for a daemon core files of any size: they lie in its run
/// directory, not wherever somebody called it.
pub fn raise_limits(daemon: bool) {
    let raise = |resource, wanted| {
        if setrlimit(resource, wanted).is_err() {
            let maximum = getrlimit(resource).maximum;
            // That much is everybody's right.
            let _ = setrlimit(resource, Rlimit { current: maximum, maximum });
        }
    };
    if daemon {
        raise(Resource::Core, Rlimit { current: None, maximum: None });
    }
    let maximum = getrlimit(Resource::Nofile).maximum;
    raise(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// The process that waits for this one to work; none in the foreground.
#[derive(Debug)]
pub struct Parent(Option<io::PipeWriter>);

impl Parent {
    /// Nobody waits.
    pub fn none() -> Parent {
        Parent(None)
    }

    /// Lets the parent end: varpd works.
    pub fn ready(self) -> io::Result<()> {
        self.0.map_or(Ok(()), |mut parent| parent.write_all(&0i32.to_ne_bytes()))
    }
}

/// Goes on in a child with a session of its own. To be called while there is one thread.
pub fn daemonize(signals: &Signals) -> io::Result<Parent> {
    let (mut read, write) = io::pipe()?;
    // SAFETY: this process has one thread, by contract, so the child finds nothing locked.
    match check(unsafe { libc::fork() })? {
        0 => {
            drop(read);
            rustix::process::setsid()?;
            Ok(Parent(Some(write)))
        }
        child => {
            drop(write);
            // Whoever does not want to wait may end this one.
            signals.unblock();
            let mut status = [0; 4];
            let code = match read.read_exact(&mut status) {
                Ok(()) => i32::from_ne_bytes(status),
                Err(_) => exit_status(child),
            };
            // Nothing is dropped: what this process has open is the child's.
            std::process::exit(code)
        }
    }
}

/// Waits for the child; its exit status, or that of a fatal error.
fn exit_status(child: libc::pid_t) -> i32 {
    let mut status = 0;
    loop {
        // SAFETY: a child of ours, and room for its status.
        match check(unsafe { libc::waitpid(child, &mut status, 0) }) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) if libc::WIFEXITED(status) => return libc::WEXITSTATUS(status),
            _ => return FATAL.into(),
        }
    }
}

/// -1 means that errno says why.
pub fn check(result: i32) -> io::Result<i32> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
