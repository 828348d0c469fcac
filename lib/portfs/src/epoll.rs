// SPDX-License-Identifier: CDDL-1.0
//! What stands for an event port where there is epoll.
use crate::{Event, Ready, Source};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The number of the eventfd; associations and timers have those above.
const MESSAGES: u64 = 0;

/// A port. Its clones are the same port; it is closed with the last of them.
#[derive(Clone, Debug)]
pub struct Port(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    epoll: OwnedFd,
    /// Counts the messages: reading it takes one.
    messages: OwnedFd,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Associations and timers, by the numbers that epoll knows them by.
    objects: HashMap<u64, Object>,
    /// The association of each descriptor.
    by_fd: HashMap<RawFd, u64>,
    messages: VecDeque<Event>,
    last: u64,
}

#[derive(Debug)]
enum Object {
    Fd { fd: RawFd, file: File, user: usize },
    Timer { fd: Arc<OwnedFd>, user: usize },
}

/// What file a descriptor is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct File(u64, u64);

impl File {
    fn of(fd: BorrowedFd<'_>) -> io::Result<File> {
        let stat = fstat(fd)?;
        Ok(File(stat.st_dev, stat.st_ino))
    }

    /// Whether the number still belongs to a descriptor of it.
    fn is_open_as(self, fd: RawFd) -> bool {
        // SAFETY: it may be closed or another file by now: the question is which, and nothing is done to it.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        File::of(fd).is_ok_and(|now| now == self)
    }
}

impl Table {
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn forget(&mut self, fd: RawFd) -> Option<Object> {
        let number = self.by_fd.remove(&fd)?;
        self.objects.remove(&number)
    }
}

impl Port {
    /// A new port, closed on exec.
    ///
    /// # Errors
    /// EMFILE, ENFILE.
    pub fn new() -> io::Result<Port> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK | EventfdFlags::SEMAPHORE;
        let messages = eventfd(0, flags)?;
        let data = epoll::EventData::new_u64(MESSAGES);
        epoll::add(&epoll, &messages, data, epoll::EventFlags::IN)?;
        Ok(Port(Arc::new(Inner { epoll, messages, table: Mutex::default() })))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Associates a descriptor with this port, for one event.
    ///
    /// # Errors
    /// EPERM: a regular file; ENOSPC: too many associations.
    pub fn associate(&self, fd: impl AsFd, interest: Ready, user: usize) -> io::Result<()> {
        let (fd, raw) = (fd.as_fd(), fd.as_fd().as_raw_fd());
        let file = File::of(fd)?;
        // Held to the end, so that nobody else's association of it comes in between.
        let mut table = self.table();
        table.forget(raw);
        let number = table.number();
        let data = epoll::EventData::new_u64(number);
        let flags = epoll::EventFlags::from_bits_retain(interest.0) | epoll::EventFlags::ONESHOT;
        match epoll::modify(&self.0.epoll, fd, data, flags) {
            Err(Errno::NOENT) => epoll::add(&self.0.epoll, fd, data, flags)?,
            result => result?,
        }
        table.by_fd.insert(raw, number);
        table.objects.insert(number, Object::Fd { fd: raw, file, user });
        Ok(())
    }

    /// Ends an association.
    ///
    /// # Errors
    /// ENOENT: there is none, perhaps because its event was got.
    pub fn dissociate(&self, fd: impl AsFd) -> io::Result<()> {
        let (fd, raw) = (fd.as_fd(), fd.as_fd().as_raw_fd());
        let now = File::of(fd)?;
        let mut table = self.table();
        match table.forget(raw) {
            Some(Object::Fd { file, .. }) if file == now => {
                // It may have been closed and opened again meanwhile.
                let _ = epoll::delete(&self.0.epoll, fd);
                Ok(())
            }
            _ => Err(Errno::NOENT.into()),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// None that a program can cause.
    pub fn send(&self, events: i32, user: usize) -> io::Result<()> {
        let mut table = self.table();
        table.messages.push_back(Event { source: Source::User(events), user });
        rustix::io::write(&self.0.messages, &1_u64.to_ne_bytes())?;
        Ok(())
    }

    /// Waits for an event, at most so long; `None` if there was none. Signals do not end it.
    ///
    /// # Errors
    /// EBADF and the like, which are mistakes of the program.
    pub fn get(&self, timeout: Option<Duration>) -> io::Result<Option<Event>> {
        let end = timeout.and_then(|t| Instant::now().checked_add(t));
        loop {
            let left = end.map(|end| timespec(end.saturating_duration_since(Instant::now())));
            let none = epoll::EventFlags::empty();
            let mut events = [epoll::Event { flags: none, data: epoll::EventData::new_u64(0) }];
            match epoll::wait(&self.0.epoll, &mut events[..], left.as_ref()) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            }
            // Otherwise somebody else got it, or its association is over.
            let [epoll::Event { flags, data }] = events;
            if let Some(event) = self.take(data.u64(), Ready(flags.bits()))? {
                return Ok(Some(event));
            }
        }
    }

    /// The event that epoll tells of, if it is still there to be taken.
    fn take(&self, number: u64, ready: Ready) -> io::Result<Option<Event>> {
        if number == MESSAGES {
            let taken = count(self.0.messages.as_fd())?;
            return Ok(taken.and_then(|_| self.table().messages.pop_front()));
        }
        let mut table = self.table();
        match table.objects.get(&number) {
            None => Ok(None),
            Some(Object::Timer { fd, user }) => {
                let user = *user;
                Ok(count(fd.as_fd())?.map(|times| Event { source: Source::Timer(times), user }))
            }
            Some(&Object::Fd { fd, file, user }) => {
                table.forget(fd);
                let event = Event { source: Source::Fd(fd, ready), user };
                Ok(file.is_open_as(fd).then_some(event))
            }
        }
    }

    /// A timer whose expirations are events of this port. It is not set yet.
    ///
    /// # Errors
    /// EMFILE, ENFILE.
    pub fn timer(&self, user: usize) -> io::Result<Timer> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let fd = Arc::new(timerfd_create(TimerfdClockId::Monotonic, flags)?);
        let mut table = self.table();
        let number = table.number();
        let data = epoll::EventData::new_u64(number);
        epoll::add(&self.0.epoll, &fd, data, epoll::EventFlags::IN)?;
        table.objects.insert(number, Object::Timer { fd: Arc::clone(&fd), user });
        Ok(Timer { port: self.clone(), fd, number })
    }
}

/// Takes what an eventfd or a timerfd has counted, `None` if that is nothing.
fn count(fd: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let mut count = [0; 8];
    match rustix::io::read(fd, &mut count) {
        Ok(_) => Ok(Some(u64::from_ne_bytes(count))),
        Err(Errno::AGAIN) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// A timer of a port. Dropped, it is gone, with an event that nobody has got yet.
#[derive(Debug)]
pub struct Timer {
    port: Port,
    fd: Arc<OwnedFd>,
    number: u64,
}

impl Timer {
    /// Expires after `first`, and then, if `every` is given, again and again. A time of 0 is the shortest there is.
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
        let when = Itimerspec { it_interval: timespec(every), it_value: timespec(first) };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &when)?;
        Ok(())
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.port.table().objects.remove(&self.number);
        // A thread may be about to look at it, so it is not closed that soon.
        let _ = epoll::delete(&self.port.0.epoll, &self.fd);
    }
}

fn timespec(t: Duration) -> Timespec {
    let tv_sec = t.as_secs().try_into().unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: t.subsec_nanos().into() }
}
