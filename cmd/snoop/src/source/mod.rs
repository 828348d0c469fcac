// SPDX-License-Identifier: CDDL-1.0
//! Where packets come from.
//!
//! ```text
//!   -i FILE              file::Reader                  a file, or standard input
//!   -d LINK, -I NAME     on illumos                    DLPI: /dev/net, /dev/ipnet
//!                        of a simulated host (-R)      fakekerneld: a capture; /dev/ipnet by DLPI
//!                        elsewhere                     this machine: AF_PACKET and rtnetlink
//! ```
//!
//! A source is read by a thread of its own; [`Feed`] is their common end.

mod dlpi;
mod file;
#[cfg(not(target_os = "illumos"))]
mod machine;
mod place;
#[cfg(not(target_os = "illumos"))]
mod simulated;

pub use file::file;
pub use place::Place;

use crate::file::Error as FileError;
use crate::packet::{LinkType, Packet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Packets between the sources' threads and the one that shows them. Then a live source waits, and
/// its kernel counts what it drops.
const QUEUE: usize = 8192;
/// How soon it is noticed that a capture is to end.
pub const PATIENCE: Duration = Duration::from_millis(100);
/// How long sources are waited for at the end.
const GRACE: Duration = Duration::from_secs(1);

/// Why there are no packets, or no more.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {why}")]
pub struct Error {
    /// The source.
    pub name: String,
    /// What is wrong with it.
    pub why: Why,
}

/// What can be wrong with a source.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// A file.
    #[error("{0}")]
    File(#[from] FileError),
    /// A simulated host.
    #[cfg(not(target_os = "illumos"))]
    #[error("{0}")]
    Simulated(#[from] fkadm::client::Error),
    /// A node of DLPI.
    #[error("{0}")]
    Dlpi(#[from] ::dlpi::Error),
    /// A node whose packets begin with something else.
    #[error("its link type is {0}; Ethernet and IPNET are known")]
    LinkType(u32),
    /// A link or an interface that another zone has, or none.
    #[error("zone {zone} has no such link{}", has(links))]
    NotOfZone {
        /// The zone that was named.
        zone: String,
        /// Those it has.
        links: String,
    },
    /// An IP interface that a host has not; those it has.
    #[error("the host has no such IP interface; there are {0}")]
    NoInterface(String),
    /// An interface that was watched.
    #[error("the interface went down or away")]
    Gone,
    /// The system.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// What a zone has instead.
fn has(links: &str) -> String {
    match links {
        "" => "; no guest is in a zone of that name".into(),
        links => format!("; it has {links}"),
    }
}

/// What a source has.
#[derive(Debug)]
pub enum Next {
    /// A packet.
    Packet(Packet),
    /// None within [`PATIENCE`].
    Nothing,
    /// No more.
    End,
}

/// Packets in their order.
pub trait Source: Send {
    /// Its name: of the interface, or of the file.
    fn name(&self) -> &str;

    /// What its packets begin with, if it is live; each packet of a file says it.
    fn link(&self) -> Option<LinkType>;

    /// Waits for the next packet.
    ///
    /// # Errors
    /// There will be none.
    fn next(&mut self) -> Result<Next, Why>;

    /// No more is wanted. Whether what was captured until now is still to be had, up to
    /// [`Next::End`].
    fn finish(&mut self) -> bool {
        false
    }

    /// Packets lost since the beginning because nobody was ready for them; `None` if that is not
    /// told.
    fn dropped(&mut self) -> Option<u64>;
}

/// What became of a source so far.
#[derive(Debug)]
pub struct Progress {
    /// The source's name.
    pub name: String,
    /// See [`Source::link`].
    pub link: Option<LinkType>,
    /// Packets that were lost; [`Progress::UNKNOWN`] if that is not told.
    dropped: AtomicU64,
}

impl Progress {
    const UNKNOWN: u64 = u64::MAX;

    /// Packets lost; `None` if that is not told.
    pub fn dropped(&self) -> Option<u64> {
        Some(self.dropped.load(Ordering::Relaxed)).filter(|n| *n != Self::UNKNOWN)
    }
}

enum Event {
    Packet(usize, Packet),
    Failed(Error),
}

/// Packets of all sources, as they come.
pub struct Feed {
    events: Receiver<Event>,
    progress: Vec<Arc<Progress>>,
    stop: Arc<AtomicBool>,
    /// When waiting for the sources' last words ends.
    until: Option<Instant>,
}

impl Feed {
    /// Starts to read the sources, until they end or `stop` is set.
    pub fn start(sources: Vec<Box<dyn Source>>, stop: Arc<AtomicBool>) -> Feed {
        let (to, events) = sync_channel(QUEUE);
        let mut progress = Vec::new();
        for (n, source) in sources.into_iter().enumerate() {
            let dropped = AtomicU64::new(Progress::UNKNOWN);
            let (name, link) = (source.name().to_owned(), source.link());
            let shared = Arc::new(Progress { name, link, dropped });
            progress.push(shared.clone());
            let (to, stop) = (to.clone(), stop.clone());
            std::thread::spawn(move || read(n, source, &to, &shared, &stop));
        }
        Feed { events, progress, stop, until: None }
    }

    /// What became of the sources, in their order.
    pub fn progress(&self) -> &[Arc<Progress>] {
        &self.progress
    }

    /// The next packet and the number of its source; `None` when all have ended, or were stopped
    /// and have said what they had.
    ///
    /// # Errors
    /// A source fails; the others go on.
    pub fn packet(&mut self) -> Result<Option<(usize, Packet)>, Error> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                let until = *self.until.get_or_insert_with(|| Instant::now() + GRACE);
                if Instant::now() >= until {
                    return Ok(None);
                }
            }
            match self.events.recv_timeout(PATIENCE) {
                Ok(Event::Packet(n, packet)) => return Ok(Some((n, packet))),
                Ok(Event::Failed(e)) => return Err(e),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// A source's thread.
fn read(
    n: usize,
    mut source: Box<dyn Source>,
    to: &SyncSender<Event>,
    progress: &Progress,
    stop: &AtomicBool,
) {
    let mut since = 0;
    let mut last = false;
    loop {
        if !last && stop.load(Ordering::Relaxed) {
            last = true;
            if !source.finish() {
                break;
            }
        }
        let next = source.next();
        // Asking costs a system call.
        since += 1;
        if since >= 256 || !matches!(next, Ok(Next::Packet(_))) {
            since = 0;
            tell(&mut *source, progress);
        }
        let event = match next {
            Ok(Next::Packet(packet)) => Event::Packet(n, packet),
            Ok(Next::Nothing) => continue,
            Ok(Next::End) => break,
            Err(why) => Event::Failed(Error { name: progress.name.clone(), why }),
        };
        let over = matches!(event, Event::Failed(_));
        // Nobody takes it: the program ends.
        if to.send(event).is_err() || over {
            return;
        }
    }
    tell(&mut *source, progress);
}

fn tell(source: &mut dyn Source, progress: &Progress) {
    let dropped = source.dropped().unwrap_or(Progress::UNKNOWN);
    progress.dropped.store(dropped, Ordering::Relaxed);
}
