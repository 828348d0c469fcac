// SPDX-License-Identifier: CDDL-1.0
//! Event ports of illumos.
use crate::{Event, Ready, Source};
use libc::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A port. Its clones are the same port; it is closed with the last of them.
#[derive(Clone, Debug)]
pub struct Port(Arc<OwnedFd>);

impl Port {
    /// A new port, closed on exec.
    ///
    /// # Errors
    /// EMFILE, ENFILE; EAGAIN: too many ports (`project.max-port-ids`).
    pub fn new() -> io::Result<Port> {
        // SAFETY: no conditions.
        let fd = check(unsafe { libc::port_create() })?;
        // SAFETY: a new descriptor that nobody else has.
        Ok(Port(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Associates a descriptor with this port, for one event.
    ///
    /// # Errors
    /// EAGAIN: the port has too many events (`process.max-port-events`).
    pub fn associate(&self, fd: impl AsFd, interest: Ready, user: usize) -> io::Result<()> {
        let object = fd.as_fd().as_raw_fd() as usize;
        let (events, user) = (interest.0 as c_int, without_provenance_mut(user));
        let source = libc::PORT_SOURCE_FD;
        // SAFETY: the kernel keeps the number of a descriptor, and a pointer that is only a number.
        check(unsafe { libc::port_associate(self.0.as_raw_fd(), source, object, events, user) })
            .map(drop)
    }

    /// Ends an association.
    ///
    /// # Errors
    /// ENOENT: there is none, perhaps because its event was got.
    pub fn dissociate(&self, fd: impl AsFd) -> io::Result<()> {
        let object = fd.as_fd().as_raw_fd() as usize;
        // SAFETY: no conditions.
        check(unsafe { libc::port_dissociate(self.0.as_raw_fd(), libc::PORT_SOURCE_FD, object) })
            .map(drop)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// EAGAIN: the port has too many events.
    pub fn send(&self, events: i32, user: usize) -> io::Result<()> {
        // SAFETY: the pointer is only a number.
        check(unsafe { libc::port_send(self.0.as_raw_fd(), events, without_provenance_mut(user)) })
            .map(drop)
    }

    /// Waits for an event, at most so long; `None` if there was none. Signals do not end it.
    ///
    /// # Errors
    /// EBADF and the like, which are mistakes of the program.
    pub fn get(&self, timeout: Option<Duration>) -> io::Result<Option<Event>> {
        let end = timeout.and_then(|t| Instant::now().checked_add(t));
        loop {
            let left = end.map(|end| timespec(end.saturating_duration_since(Instant::now())));
            let left = left.as_ref().map_or(null_mut(), |t| std::ptr::from_ref(t).cast_mut());
            let mut event = MaybeUninit::<libc::port_event>::uninit();
            let (fd, mut count) = (self.0.as_raw_fd(), 1);
            // Not port_get: it succeeds without an event if there is none and no time to wait.
            // SAFETY: room for one event and their number, and a time that is only read.
            match check(unsafe { libc::port_getn(fd, event.as_mut_ptr(), 1, &mut count, left) }) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.raw_os_error() != Some(libc::ETIME) => return Err(e),
                // One may have come just when the time was over.
                Ok(_) | Err(_) if count > 0 => {
                    // SAFETY: filled.
                    return Ok(Some(of(&unsafe { event.assume_init() })?));
                }
                Ok(_) | Err(_) => {}
            }
            if end.is_some_and(|end| end <= Instant::now()) {
                return Ok(None);
            }
        }
    }

    /// A timer whose expirations are events of this port. It is not set yet.
    ///
    /// # Errors
    /// EAGAIN: the process has too many timers.
    pub fn timer(&self, user: usize) -> io::Result<Timer> {
        let mut notify = libc::port_notify {
            portnfy_port: self.0.as_raw_fd(),
            portnfy_user: without_provenance_mut(user),
        };
        // SAFETY: numbers and pointers, for which zero is a value.
        let mut how: libc::sigevent = unsafe { std::mem::zeroed() };
        how.sigev_notify = libc::SIGEV_PORT;
        how.sigev_value.sival_ptr = (&raw mut notify).cast::<c_void>();
        let mut id = MaybeUninit::<libc::timer_t>::uninit();
        // SAFETY: what it points to is read during the call; room for an id.
        check(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut how, id.as_mut_ptr()) })?;
        // SAFETY: filled.
        Ok(Timer(unsafe { id.assume_init() }))
    }
}

/// What the kernel says of an event.
fn of(event: &libc::port_event) -> io::Result<Event> {
    let source = match c_int::from(event.portev_source) {
        libc::PORT_SOURCE_FD => {
            Source::Fd(event.portev_object as c_int, Ready(event.portev_events as u32))
        }
        libc::PORT_SOURCE_TIMER => Source::Timer(event.portev_events as u64),
        libc::PORT_SOURCE_USER => Source::User(event.portev_events),
        // Nothing else was asked for.
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    Ok(Event { source, user: event.portev_user.addr() })
}

/// A timer of a port. Dropped, it is gone, with an event that nobody has got yet.
#[derive(Debug)]
pub struct Timer(libc::timer_t);

// SAFETY: the id of a timer of the process.
unsafe impl Send for Timer {}
// SAFETY: as above; the kernel orders what is done to it.
unsafe impl Sync for Timer {}

impl Timer {
    /// Expires after `first`, and then, if `every` is given, again and again. A time of 0 is the shortest there is;
    /// the kernel lengthens those under 200 us for who has not the privilege `proc_clock_highres`.
    ///
    /// # Errors
    /// EINVAL: longer than the kernel counts.
    pub fn set(&self, first: Duration, every: Option<Duration>) -> io::Result<()> {
        let shortest = Duration::from_nanos(1);
        self.settime(first.max(shortest), every.map_or(Duration::ZERO, |e| e.max(shortest)))
    }

    /// Does not expire any more.
    ///
    /// # Errors
    /// None.
    pub fn stop(&self) -> io::Result<()> {
        self.settime(Duration::ZERO, Duration::ZERO)
    }

    fn settime(&self, first: Duration, every: Duration) -> io::Result<()> {
        let when = libc::itimerspec { it_interval: timespec(every), it_value: timespec(first) };
        // SAFETY: a timer of ours, and a value that is only read.
        check(unsafe { libc::timer_settime(self.0, 0, &when, null_mut()) }).map(drop)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: a timer of ours, used by nobody from here on.
        unsafe { libc::timer_delete(self.0) };
    }
}

fn timespec(t: Duration) -> libc::timespec {
    let tv_sec = t.as_secs().try_into().unwrap_or(libc::time_t::MAX);
    libc::timespec { tv_sec, tv_nsec: t.subsec_nanos().into() }
}

/// -1 means that errno says why.
fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
