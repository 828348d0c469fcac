// SPDX-License-Identifier: CDDL-1.0
//! The engine's hands: sockets, names, time, and what it says to varpd. See the essay of the crate.

mod names;
mod questions;
mod run;
mod stream;
#[cfg_attr(target_os = "illumos", path = "no_tls.rs")]
pub mod tls;

use crate::engine::{Attachment, DnsError, InstanceId, Question, RemoteId, RemoteStatus};
use portfs::Port;
use questions::Asker;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender, SyncSender};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;
use varpd_plugin::{ArpReply, Provider, Query, RouteQuery};

/// Bunyan lines on standard error, as varpd's are. A line is one write, so that it stays whole.
pub static LOG: LazyLock<slog::Logger> = LazyLock::new(|| {
    let lines = io::LineWriter::with_capacity(1 << 16, io::stderr());
    let json = slog_bunyan::with_name("svp", lines).build();
    slog::Logger::root(slog::Fuse(Mutex::new(json)), slog::o!())
});

/// Messages that the thread has not got yet. Who has more to say waits, and a thread of varpd that waits asks the
/// kernel for no more lookups.
const INBOX: usize = 1024;

/// How long a report may take; the thread may be in a system call.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the thread is told.
enum Command {
    /// An instance starts, or is another one from now on.
    Attach(InstanceId, Provider, Attachment),
    /// It stops; then the sender is told, or dropped.
    Detach(InstanceId, Sender<()>),
    /// Somebody asks.
    LookUp(InstanceId, Question, Asker),
    /// A name was resolved, or not.
    Resolved(RemoteId, Result<Vec<IpAddr>, DnsError>),
    /// What the remote of an instance is doing.
    Status(InstanceId, Sender<RemoteStatus>),
    /// Nobody will tell any more.
    End,
}

impl From<Query> for Asker {
    fn from(query: Query) -> Asker {
        Asker::Frame(query)
    }
}

impl From<RouteQuery> for Asker {
    fn from(query: RouteQuery) -> Asker {
        Asker::Packet(query)
    }
}

impl From<(ArpReply, Provider)> for Asker {
    fn from((reply, provider): (ArpReply, Provider)) -> Asker {
        Asker::Proxy(reply, provider)
    }
}

/// Messages to the thread, each with a wake-up.
#[derive(Clone, Debug)]
struct Mailbox {
    commands: SyncSender<Command>,
    port: Port,
    /// A wake-up is under way.
    waking: Arc<AtomicBool>,
}

impl Mailbox {
    /// If the thread is no more, what the command holds is let go of. Not for the thread itself, which would wait for
    /// itself.
    fn tell(&self, command: Command) {
        if self.commands.send(command).is_ok() && !self.waking.swap(true, Ordering::AcqRel) {
            // A port that is full of events wakes the thread as well.
            let _ = self.port.send(0, 0);
        }
    }

    /// The thread is awake and will look for messages after this.
    fn woken(&self) {
        self.waking.swap(false, Ordering::AcqRel);
    }
}

/// The edge of a process, as long as an instance is attached.
#[derive(Debug)]
pub struct Edge(Mailbox);

impl Edge {
    /// The one of this process; its thread is started if there is none.
    ///
    /// # Errors
    /// No descriptors or threads are left.
    pub fn of_process() -> io::Result<Arc<Edge>> {
        static EDGE: Mutex<Weak<Edge>> = Mutex::new(Weak::new());
        let mut edge = EDGE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(edge) = edge.upgrade() {
            return Ok(edge);
        }
        let (commands, inbox) = mpsc::sync_channel(INBOX);
        let mailbox = Mailbox { commands, port: Port::new()?, waking: Arc::default() };
        let runner = run::Runner::new(mailbox.clone(), inbox);
        std::thread::Builder::new().name("svp".into()).spawn(|| runner.run())?;
        let new = Arc::new(Edge(mailbox));
        *edge = Arc::downgrade(&new);
        Ok(new)
    }

    /// An instance starts, or goes over to another directory.
    pub fn attach(&self, instance: InstanceId, provider: Provider, with: Attachment) {
        self.0.tell(Command::Attach(instance, provider, with));
    }

    /// It stops. Returns when its questions are answered and no more will be said of it.
    pub fn detach(&self, instance: InstanceId) {
        let (done, wait) = mpsc::channel();
        self.0.tell(Command::Detach(instance, done));
        // It ends in any case: by an answer, or when the thread lets go of the other end.
        let _ = wait.recv();
    }

    /// Somebody asks.
    pub fn look_up(&self, instance: InstanceId, question: Question, asker: Asker) {
        self.0.tell(Command::LookUp(instance, question, asker));
    }

    /// What the remote of an instance is doing.
    pub fn status(&self, instance: InstanceId) -> Option<RemoteStatus> {
        let (to, from) = mpsc::channel();
        self.0.tell(Command::Status(instance, to));
        from.recv_timeout(PATIENCE).ok()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.0.tell(Command::End);
    }
}
