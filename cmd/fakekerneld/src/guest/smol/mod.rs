// SPDX-License-Identifier: CDDL-1.0
//! A small IP host in this process: smoltcp on a thread of its own.
//!
//! ```text
//!   kernel's threads --- Inlet::deliver ---> inbox ---+
//!   control threads ---- Guest::ping ... --> inbox ---+--> guest thread: Interface::poll, jobs
//!   kernel <------------ Wire::send <-------------------------+
//! ```
//!
//! The thread owns all of smoltcp. Others reach it through the inbox, whose lock is a leaf: it is
//! held neither over [`Wire::send`] nor over a poll. A full inbox drops frames, as a network card
//! with a full ring does.
//!
//! What a guest is asked to do is a `Job`, moved on after each poll until it has reported.

mod card;
mod ping;
mod transfer;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fkadm::proto::{Ping, PingReport, TcpReport, TcpSend};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration as SmolDuration, Instant as SmolInstant};
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use crate::ip::link_local;
use card::{BATCH, Card};
use ping::PingJob;
use transfer::{SendJob, ServeJob};

/// Frames that may wait to be received; more are dropped.
const INBOX_FRAMES: usize = 4096;
/// How soon to try again when the wire takes no more and nobody says when it does.
const RETRY: Duration = Duration::from_micros(500);
/// Buffer of a TCP socket, each way it carries data: what may be in flight. More than the receive
/// buffer of a UDP socket of the underlay holds would be lost there.
const WINDOW: usize = 256 * 1024;
/// A peer that is silent that long is given up.
const PEER_TIMEOUT: SmolDuration = SmolDuration::from_secs(30);
/// How often a silent peer is asked whether it is there.
const KEEP_ALIVE: SmolDuration = SmolDuration::from_secs(10);

/// Where a guest's frames go: Ethernet frames without checksum.
pub trait Wire: Send + Sync {
    /// Takes frames from the front and sends them. False if something is left, with the caller or
    /// inside: this is then called again after [`Inlet::writable`] or a while.
    fn send(&self, frames: &mut VecDeque<Vec<u8>>) -> bool;
}

/// What a guest is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Hardware address.
    pub mac: [u8; 6],
    /// Largest IP packet, in bytes.
    pub mtu: usize,
    /// Addresses with the length of their network's prefix, 7 at most. With IPv6 there is a
    /// link-local one beside them.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Where everything else goes: routers on these networks, one of each version of IP at most.
    pub routers: Vec<IpAddr>,
}

/// A running host. Dropping it ends its thread and fails what it does.
#[derive(Debug)]
pub struct Guest {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Where a guest's frames come in.
#[derive(Clone, Debug)]
pub struct Inlet(Arc<Shared>);

/// Streams that ended at a guest's ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Whole ones.
    pub intact: u64,
    /// Cut short, or with a wrong checksum.
    pub bad: u64,
    /// Bytes of all.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    wake: Condvar,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    intact: AtomicU64,
    bad: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Inbox {
    frames: VecDeque<Vec<u8>>,
    commands: Vec<Command>,
    writable: bool,
    stop: bool,
}

type Answer<T> = Sender<Result<T, String>>;

#[derive(Debug)]
enum Command {
    Ping(Ping, Answer<PingReport>),
    Serve(u16, Answer<()>),
    Send(TcpSend, Answer<TcpReport>),
    Mtu(usize),
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inlet {
    /// Takes frames that arrived for the guest. Never blocks.
    pub fn deliver(&self, frames: impl IntoIterator<Item = Vec<u8>>) {
        let mut inbox = lock(&self.0.inbox);
        let was_empty = inbox.frames.is_empty();
        for frame in frames {
            if inbox.frames.len() < INBOX_FRAMES {
                inbox.frames.push_back(frame);
            }
        }
        // While there are frames the thread does not sleep.
        if was_empty && !inbox.frames.is_empty() {
            self.0.wake.notify_one();
        }
    }

    /// Says that the wire takes frames again.
    pub fn writable(&self) {
        lock(&self.0.inbox).writable = true;
        self.0.wake.notify_one();
    }

    /// Says that IP packets may have at most so many bytes from now on.
    pub fn set_mtu(&self, mtu: usize) {
        lock(&self.0.inbox).commands.push(Command::Mtu(mtu));
        self.0.wake.notify_one();
    }
}

impl Guest {
    /// Starts a host. The error is a sentence.
    pub fn start(settings: Settings, wire: Arc<dyn Wire>) -> Result<Guest, String> {
        let shared = Arc::new(Shared::default());
        let mut host = Host::new(settings, wire, Arc::clone(&shared))?;
        let thread = std::thread::Builder::new()
            .name("guest".into())
            .spawn(move || host.run())
            .map_err(|e| format!("cannot start a thread: {e}"))?;
        Ok(Guest { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Where its frames come in.
    pub fn inlet(&self) -> Inlet {
        Inlet(Arc::clone(&self.shared))
    }

    /// Streams that ended at its ports.
    pub fn streams(&self) -> Streams {
        let c = &self.shared.counters;
        Streams {
            intact: c.intact.load(Ordering::Relaxed),
            bad: c.bad.load(Ordering::Relaxed),
            bytes: c.bytes.load(Ordering::Relaxed),
        }
    }

    /// Pings and waits for the last answer or its time-out.
    pub fn ping(&self, ping: Ping) -> Result<PingReport, String> {
        self.command(|answer| Command::Ping(ping, answer))
    }

    /// Takes streams on a port from now on.
    pub fn serve(&self, port: u16) -> Result<(), String> {
        self.command(|answer| Command::Serve(port, answer))
    }

    /// Sends a stream and waits for the receiver's verdict.
    pub fn send(&self, send: TcpSend) -> Result<TcpReport, String> {
        self.command(|answer| Command::Send(send, answer))
    }

    fn command<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, String> {
        let (answer, wait): (_, Receiver<Result<T, String>>) = channel();
        {
            let mut inbox = lock(&self.shared.inbox);
            // After that nobody looks into the inbox any more.
            if inbox.stop {
                drop(answer);
            } else {
                inbox.commands.push(command(answer));
                self.shared.wake.notify_one();
            }
        }
        wait.recv().unwrap_or_else(|_| Err("the guest was detached".into()))
    }

    /// Ends the guest: commands in progress fail, and the wire is dropped when this returns.
    pub fn stop(&self) {
        lock(&self.shared.inbox).stop = true;
        self.shared.wake.notify_one();
        let thread = lock(&self.thread).take();
        if let Some(t) = thread {
            let _ = t.join();
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the jobs work on.
struct Net {
    iface: Interface,
    sockets: SocketSet<'static>,
    /// Has a router for IPv4 (true), for IPv6 (false).
    routed: Vec<bool>,
    mtu: usize,
    /// When smoltcp last was given the time.
    polled: Instant,
    /// Sockets whose job is done and that still say good-bye.
    closing: Vec<SocketHandle>,
    next_id: u16,
}

/// How far a job is.
enum Progress {
    Done,
    /// Wants the interface polled before it can go on.
    Again,
    /// Waits for frames, or until then.
    Wait(Option<Instant>),
}

trait Job: Send {
    fn progress(&mut self, net: &mut Net, counters: &Counters) -> Progress;
}

struct Host {
    settings: Settings,
    shared: Arc<Shared>,
    wire: Arc<dyn Wire>,
    /// The wire could not send all.
    blocked: bool,
    card: Card,
    net: Net,
    jobs: Vec<Box<dyn Job>>,
    served: Vec<u16>,
    start: Instant,
}

impl Host {
    fn new(settings: Settings, wire: Arc<dyn Wire>, shared: Arc<Shared>) -> Result<Host, String> {
        let mut card = Card::new(settings.mtu);
        let start = Instant::now();
        let (iface, seed) = interface(&settings, &mut card, SmolInstant::ZERO)?;
        let net = Net {
            iface,
            sockets: SocketSet::new(Vec::new()),
            routed: settings.routers.iter().map(IpAddr::is_ipv4).collect(),
            mtu: settings.mtu,
            polled: start,
            closing: Vec::new(),
            next_id: seed as u16,
        };
        Ok(Host {
            settings,
            shared,
            wire,
            blocked: false,
            card,
            net,
            jobs: Vec::new(),
            served: Vec::new(),
            start,
        })
    }

    /// smoltcp takes the MTU once, so the interface is made anew. Sockets stay.
    fn set_mtu(&mut self, mtu: usize) {
        self.settings.mtu = mtu;
        self.card.mtu = mtu;
        let now = self.smol_now();
        if let Ok((iface, _)) = interface(&self.settings, &mut self.card, now) {
            self.net.iface = iface;
            self.net.mtu = mtu;
        }
    }

    fn run(&mut self) {
        loop {
            self.step();
            let deadline = self.advance();
            let Some(commands) = self.take_inbox(deadline) else { return };
            for command in commands {
                self.begin(command);
            }
        }
    }

    /// Sleeps until there is something to do; None to stop.
    fn take_inbox(&mut self, deadline: Option<Instant>) -> Option<Vec<Command>> {
        let mut inbox = lock(&self.shared.inbox);
        loop {
            if inbox.stop {
                // Who waits for them learns that nobody answers.
                inbox.commands.clear();
                return None;
            }
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            let due = left.is_some_and(|l| l.is_zero());
            if due || inbox.writable || !inbox.frames.is_empty() || !inbox.commands.is_empty() {
                inbox.writable = false;
                // What the card had is used up, so the two queues change places.
                std::mem::swap(&mut inbox.frames, &mut self.card.received);
                return Some(std::mem::take(&mut inbox.commands));
            }
            inbox = match left {
                Some(left) => {
                    let r = self.shared.wake.wait_timeout(inbox, left);
                    r.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.shared.wake.wait(inbox).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Moves the jobs on; when to come again without a frame having come.
    fn advance(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let (net, counters) = (&mut self.net, &self.shared.counters);
        let mut deadline = None;
        let mut at = |d: Instant| deadline = Some(deadline.map_or(d, |e: Instant| e.min(d)));
        self.jobs.retain_mut(|job| match job.progress(net, counters) {
            Progress::Done => {
                at(now);
                false
            }
            Progress::Again => {
                at(now);
                true
            }
            Progress::Wait(until) => {
                until.into_iter().for_each(&mut at);
                true
            }
        });
        let time = self.smol_now();
        if self.blocked {
            at(now + RETRY);
        } else if let Some(delay) = self.net.iface.poll_delay(time, &self.net.sockets) {
            at(now + Duration::from_micros(delay.total_micros()));
        }
        deadline
    }

    fn smol_now(&self) -> SmolInstant {
        SmolInstant::from_micros(self.start.elapsed().as_micros() as i64)
    }

    /// Receives what is there and sends what may be sent.
    fn step(&mut self) {
        loop {
            let now = self.smol_now();
            self.net.polled = Instant::now();
            self.net.iface.poll(now, &mut self.card, &mut self.net.sockets);
            let full = self.card.sending.len() >= BATCH;
            if self.blocked || !self.card.sending.is_empty() {
                self.blocked = !self.wire.send(&mut self.card.sending);
            }
            // smoltcp stopped for lack of room, and there is room again.
            if !full || self.card.sending.len() >= BATCH {
                break;
            }
        }
        let sockets = &mut self.net.sockets;
        self.net.closing.retain(|&handle| {
            let over = matches!(
                sockets.get::<tcp::Socket<'_>>(handle).state(),
                tcp::State::Closed | tcp::State::TimeWait
            );
            if over {
                sockets.remove(handle);
            }
            !over
        });
    }

    fn begin(&mut self, command: Command) {
        match command {
            Command::Ping(ping, answer) => {
                match PingJob::new(ping, answer.clone(), &mut self.net) {
                    Ok(job) => self.jobs.push(Box::new(job)),
                    Err(e) => drop(answer.send(Err(e))),
                }
            }
            Command::Send(send, answer) => {
                match SendJob::new(send, answer.clone(), &mut self.net) {
                    Ok(job) => self.jobs.push(Box::new(job)),
                    Err(e) => drop(answer.send(Err(e))),
                }
            }
            Command::Mtu(mtu) => self.set_mtu(mtu),
            Command::Serve(port, answer) => {
                let result = if self.served.contains(&port) {
                    Ok(())
                } else {
                    ServeJob::new(port, &mut self.net).map(|job| {
                        self.served.push(port);
                        self.jobs.push(Box::new(job));
                    })
                };
                let _ = answer.send(result);
            }
        }
    }
}

/// smoltcp's interface on the card, and the random number it began with. The error is a sentence.
fn interface(s: &Settings, card: &mut Card, now: SmolInstant) -> Result<(Interface, u64), String> {
    let mut seed = [0; 8];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| format!("no random numbers: {e}"))?;
    let seed = u64::from_le_bytes(seed);
    let mut config = Config::new(EthernetAddress(s.mac).into());
    config.random_seed = seed;
    let mut iface = Interface::new(config, card, now);
    let mut full = false;
    iface.update_ip_addrs(|addrs| {
        let given = s.addresses.iter().map(|&(a, prefix)| IpCidr::new(a.into(), prefix));
        let own = s.addresses.iter().any(|(a, _)| a.is_ipv6());
        let own = own.then(|| IpCidr::new(link_local(s.mac).into(), 64));
        for cidr in given.chain(own) {
            full |= addrs.push(cidr).is_err();
        }
    });
    if full {
        return Err("too many addresses: a guest takes seven".into());
    }
    for &router in &s.routers {
        let address = IpAddress::from(router);
        if !iface.ip_addrs().iter().any(|net| net.contains_addr(&address)) {
            return Err(format!("router {router} is on none of the guest's networks"));
        }
        let routes = iface.routes_mut();
        let before = match router {
            IpAddr::V4(a) => routes.add_default_ipv4_route(a),
            IpAddr::V6(a) => routes.add_default_ipv6_route(a),
        };
        if !matches!(before, Ok(None)) {
            return Err(format!("router {router} is the second of its version of IP"));
        }
    }
    Ok((iface, seed))
}

impl Net {
    /// A host without a router reaches only its own networks.
    fn check_reachable(&self, to: IpAddr) -> Result<(), String> {
        let address = IpAddress::from(to);
        if self.routed.contains(&to.is_ipv4())
            || self.iface.ip_addrs().iter().any(|net| net.contains_addr(&address))
        {
            return Ok(());
        }
        let own: Vec<_> = self.iface.ip_addrs().iter().map(ToString::to_string).collect();
        Err(format!("{to} is on none of the guest's networks ({})", own.join(", ")))
    }

    /// A number for a new ping or connection.
    fn new_id(&mut self) -> u16 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    fn tcp(&mut self, receive: usize, send: usize) -> SocketHandle {
        let buffer = |n| tcp::SocketBuffer::new(vec![0; n]);
        let mut socket = tcp::Socket::new(buffer(receive), buffer(send));
        socket.set_nagle_enabled(false);
        socket.set_timeout(Some(PEER_TIMEOUT));
        socket.set_keep_alive(Some(KEEP_ALIVE));
        self.sockets.add(socket)
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Ends a connection in order, in the background.
    fn close(&mut self, handle: SocketHandle) {
        self.socket(handle).close();
        self.closing.push(handle);
    }
}
