// SPDX-License-Identifier: CDDL-1.0
//! The thread: waits on an event port for sockets, messages and the engine's deadline, and does what the engine says.
use super::questions::{EARLY, Open, Questions};
use super::stream::{Stage, Stream};
use super::{Command, INBOX, LOG, Mailbox, names};
use crate::engine::*;
use overlay_abi::ids::MacAddr;
use portfs::{Event as PortEvent, Ready, Source};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use varpd_plugin::Provider;

/// Events between two looks at messages and the clock.
const BATCH: usize = 64;
/// Bytes read at once.
const READ: usize = 1 << 16;

pub struct Runner {
    /// For those that resolve names.
    mailbox: Mailbox,
    inbox: Receiver<Command>,
    start: Instant,
    engine: Engine,
    streams: HashMap<ConnId, Stream>,
    questions: Questions,
    /// Attached instances, and since when.
    providers: HashMap<InstanceId, (Provider, Time)>,
    /// Connections that the engine has bytes for.
    to_write: Vec<ConnId>,
    /// A connection has become active, so that early questions may be asked again.
    someone_answers: bool,
    /// Messages may be left that nobody wakes for.
    more: bool,
    /// What failed while the engine was speaking.
    failed: Vec<Failed>,
    buf: Vec<u8>,
}

/// What the engine wanted, and at once was not to be had.
enum Failed {
    /// A connection, and why.
    Connect(ConnId, String),
    /// Somebody to resolve a name.
    Resolve(RemoteId),
}

impl Runner {
    pub fn new(mailbox: Mailbox, inbox: Receiver<Command>) -> Runner {
        // As random as hash tables are.
        let seed = RandomState::new().build_hasher().finish();
        Runner {
            mailbox,
            inbox,
            start: Instant::now(),
            engine: Engine::new(Limits::default(), seed),
            streams: HashMap::new(),
            questions: Questions::default(),
            providers: HashMap::new(),
            to_write: Vec::new(),
            someone_answers: false,
            more: false,
            failed: Vec::new(),
            buf: vec![0; READ],
        }
    }

    /// Until nobody is attached any more.
    pub fn run(mut self) {
        while self.turn() {}
    }

    /// What has happened by now; whether to go on.
    fn turn(&mut self) -> bool {
        let now = self.now();
        let deadlines = [self.engine.deadline(), self.questions.deadline()];
        let mut wait = deadlines.into_iter().flatten().min().map(|at| at.saturating_sub(now));
        if self.more {
            wait = Some(Duration::ZERO);
        }
        for _ in 0..BATCH {
            match self.mailbox.port.get(wait) {
                Ok(Some(event)) => self.happened(event),
                Ok(None) => break,
                Err(e) => {
                    slog::error!(LOG, "cannot wait for events: {e}");
                    std::thread::sleep(Duration::from_millis(100));
                    break;
                }
            }
            wait = Some(Duration::ZERO);
        }
        // No more than these, so that sockets have their turn however much is asked.
        self.more = true;
        for _ in 0..INBOX {
            match self.inbox.try_recv() {
                Ok(Command::End) => return false,
                Ok(command) => self.command(command),
                Err(_) => {
                    self.more = false;
                    break;
                }
            }
        }
        // What has arrived was given before.
        let now = self.now();
        if self.engine.deadline().is_some_and(|at| at <= now) {
            self.give(Input::Tick);
        }
        self.questions.let_go(|open| open.early_until <= now);
        if std::mem::take(&mut self.someone_answers) {
            for (token, instance, question) in self.questions.again() {
                self.give(Input::Lookup { token, instance, question });
            }
        }
        for conn in std::mem::take(&mut self.to_write) {
            self.write(conn);
        }
        true
    }

    fn now(&self) -> Time {
        self.start.elapsed()
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Attach(instance, provider, with) => {
                self.providers.insert(instance, (provider, self.now()));
                // What was said of the link before, by an earlier varpd or of another directory, is over.
                provider.restore();
                self.give(Input::Attach { instance, with });
            }
            Command::Detach(instance, done) => {
                self.give(Input::Detach { instance });
                self.questions.let_go(|open| open.instance == instance);
                self.providers.remove(&instance);
                let _ = done.send(());
            }
            Command::LookUp(instance, question, asker) => {
                let since = self.providers.get(&instance).map(|(_, since)| *since);
                let early_until = since.unwrap_or_default().saturating_add(EARLY);
                let token = self.questions.put(Open { instance, question, asker, early_until });
                self.give(Input::Lookup { token, instance, question });
            }
            Command::Resolved(remote, result) => self.give(Input::Resolved { remote, result }),
            Command::Status(instance, to) => {
                let all = self.engine.status();
                if let Some(its) = all.into_iter().find(|r| r.instances.contains(&instance.0)) {
                    let _ = to.send(its);
                }
            }
            Command::End => {}
        }
    }

    /// Tells the engine, and does what it says.
    fn give(&mut self, input: Input<'_>) {
        let now = self.now();
        self.engine.handle(now, input);
        loop {
            while let Some(output) = self.engine.output() {
                self.perform(output);
            }
            let input = match self.failed.pop() {
                Some(Failed::Connect(conn, why)) => Input::Ended { conn, why: Some(why) },
                Some(Failed::Resolve(remote)) => {
                    Input::Resolved { remote, result: Err(DnsError::Temporary) }
                }
                None => return,
            };
            let now = self.now();
            self.engine.handle(now, input);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Resolve { remote, host } => self.resolve(remote, host),
            Output::Connect { conn, remote, addr } => self.connect(conn, remote, addr),
            Output::Close { conn } => {
                self.streams.remove(&conn);
                self.failed.retain(|f| !matches!(f, Failed::Connect(c, _) if *c == conn));
            }
            Output::Send { conn } => self.to_write.push(conn),
            Output::Answer { token, answer } => {
                let now = self.now();
                self.questions.answer(now, token, answer);
            }
            Output::Invalidate { instance, mac } => {
                if let Some(provider) = self.provider(instance) {
                    provider.inject_varp(mac.0, None);
                }
            }
            Output::Announce { instance, vlan, mac, ip } => match (self.provider(instance), ip) {
                (Some(provider), IpAddr::V4(ip)) => {
                    provider.inject_arp(vlan, mac.0, ip, MacAddr::BROADCAST.0);
                }
                (Some(provider), IpAddr::V6(ip)) => provider.inject_ndp(vlan, mac.0, ip),
                (None, _) => {}
            },
            Output::FlushRoutes { instance, flows } => {
                if let Some(provider) = self.provider(instance) {
                    let (src, dst) = (flows.src.octets(), flows.dst.octets());
                    let (src, dst) = ((src, flows.src_prefix), (dst, flows.dst_prefix));
                    provider.route_flush(flows.src_vlan, src, dst);
                }
            }
            Output::Degrade { instance, message } => {
                if let Some(provider) = self.provider(instance) {
                    provider.degrade(&message);
                }
            }
            Output::Restore { instance } => {
                if let Some(provider) = self.provider(instance) {
                    provider.restore();
                }
            }
            Output::Event(event) => {
                self.log(&event);
                self.someone_answers |= matches!(event.what, What::Active(..));
            }
        }
    }

    fn provider(&self, instance: InstanceId) -> Option<Provider> {
        self.providers.get(&instance).map(|(provider, _)| *provider)
    }

    fn log(&self, event: &Event) {
        let key = self.engine.remote(event.remote);
        let name = key.map(|k| format!("{}:{}", k.host, k.port)).unwrap_or_default();
        match event.level() {
            Level::Info => slog::info!(LOG, "{event}"; "directory" => name),
            Level::Warning => slog::warn!(LOG, "{event}"; "directory" => name),
        }
    }

    fn resolve(&mut self, remote: RemoteId, host: String) {
        let mailbox = self.mailbox.clone();
        let ask = move || mailbox.tell(Command::Resolved(remote, names::resolve(&host)));
        if let Err(e) = std::thread::Builder::new().name("svp-dns".into()).spawn(ask) {
            slog::warn!(LOG, "no thread to resolve a name: {e}");
            self.failed.push(Failed::Resolve(remote));
        }
    }

    fn connect(&mut self, conn: ConnId, remote: RemoteId, addr: SocketAddr) {
        let key = self.engine.remote(remote);
        let tls = key.and_then(|k| Some((k.tls.as_ref()?, k.host.as_str())));
        let stream = Stream::connect(addr, tls, conn.0 as usize)
            .and_then(|s| s.associate(&self.mailbox.port, false).map(|()| s));
        match stream {
            Ok(stream) => drop(self.streams.insert(conn, stream)),
            Err(e) => self.failed.push(Failed::Connect(conn, e.to_string())),
        }
    }

    fn happened(&mut self, event: PortEvent) {
        match event.source {
            Source::Fd(_, ready) => self.ready(ConnId(event.user as u64), ready),
            _ => self.mailbox.woken(),
        }
    }

    /// Something can be done with a connection, whose association is over.
    fn ready(&mut self, conn: ConnId, ready: Ready) {
        let Some(stream) = self.streams.get_mut(&conn) else { return };
        if stream.stage != Stage::Open {
            match stream.advance() {
                Ok(true) => self.give(Input::Connected { conn }),
                Ok(false) => return self.wait(conn),
                Err(e) => return self.give(Input::Ended { conn, why: Some(e.to_string()) }),
            }
        } else if ready.contains(Ready::OUT) {
            self.to_write.push(conn);
        }
        self.read(conn);
        self.wait(conn);
    }

    /// All there is. That is not without end: what nobody asked for ends a connection.
    fn read(&mut self, conn: ConnId) {
        let mut buf = std::mem::take(&mut self.buf);
        // The engine may close it at any byte.
        while let Some(stream) = self.streams.get_mut(&conn) {
            match stream.read(&mut buf) {
                Ok(0) => self.give(Input::Ended { conn, why: None }),
                Ok(n) => {
                    self.give(Input::Received { conn, bytes: buf.get(..n).unwrap_or_default() })
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => self.give(Input::Ended { conn, why: Some(e.to_string()) }),
            }
        }
        self.buf = buf;
    }

    /// Writes what the engine has for a connection, and waits if it does not take all.
    fn write(&mut self, conn: ConnId) {
        let Some(stream) = self.streams.get_mut(&conn) else { return };
        if stream.stage != Stage::Open {
            return;
        }
        let mut result = stream.flush();
        while result.is_ok() {
            let bytes = self.engine.pending(conn);
            if bytes.is_empty() {
                break;
            }
            match stream.write(bytes) {
                Ok(n) => self.engine.sent(conn, n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => result = Err(e),
            }
        }
        match result {
            Err(e) if e.kind() != ErrorKind::WouldBlock => {
                self.give(Input::Ended { conn, why: Some(e.to_string()) });
            }
            _ => {
                if !self.engine.pending(conn).is_empty() || stream.wants_write() {
                    self.wait(conn);
                }
            }
        }
    }

    fn wait(&mut self, conn: ConnId) {
        let Some(stream) = self.streams.get(&conn) else { return };
        let more = !self.engine.pending(conn).is_empty();
        if let Err(e) = stream.associate(&self.mailbox.port, more) {
            self.give(Input::Ended { conn, why: Some(e.to_string()) });
        }
    }
}
