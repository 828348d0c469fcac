// SPDX-License-Identifier: CDDL-1.0
//! A small IP host in this process: smoltcp on a thread of its own.
//!
//! ```text
//!   kernel's threads --- Inlet::deliver ---> inbox ---+
//!   control threads ---- Guest::ping ... --> inbox ---+--> guest thread: Interface::poll, jobs
//!   kernel <------------ Wire::send <-------------------------+
//! ```
//!
//! The thread owns all of smoltcp. Others reach it through the inbox, whose lock is a leaf: it is held neither over
//! [`Wire::send`] nor over a poll. A full inbox drops frames, as a network card with a full ring does.
//!
//! What a guest is asked to do is a [`Job`], moved on after each poll until it has reported.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fkadm::proto::{Ping, PingReport, Rtt, TcpReport, TcpSend};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::{icmp, tcp};
use smoltcp::time::{Duration as SmolDuration, Instant as SmolInstant};
use smoltcp::wire::{
    EthernetAddress, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress, IpCidr,
    Ipv6Address,
};

use super::stream::{Sink, Source, VERDICT};

/// Frames that may wait to be received; more are dropped.
const INBOX_FRAMES: usize = 4096;
/// Frames handed to the wire at once.
const BATCH: usize = 64;
/// How soon to try again when the wire takes no more and nobody says when it does.
const RETRY: Duration = Duration::from_micros(500);
/// Buffer of a TCP socket, each way it carries data: what may be in flight. More than the receive buffer of a UDP socket of
/// the underlay holds would be lost there.
const WINDOW: usize = 256 * 1024;
/// Streams at a time on one port; further connections wait.
const MAX_STREAMS: usize = 64;
/// smoltcp asks for the hardware address of a neighbour, whichever it is, once in so long.
const NEIGHBOUR: Duration = Duration::from_secs(1);
/// Connections that may come to a port between two polls.
const BACKLOG: usize = 8;
/// A peer that is silent that long is given up.
const PEER_TIMEOUT: SmolDuration = SmolDuration::from_secs(30);
const ETHERNET_HEADER: usize = 14;

/// Where a guest's frames go: Ethernet frames without checksum.
pub trait Wire: Send + Sync {
    /// Takes frames from the front and sends them. False if something is left, with the caller or inside: this is then called
    /// again after [`Inlet::writable`] or a while.
    fn send(&self, frames: &mut VecDeque<Vec<u8>>) -> bool;
}

/// What a guest is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Hardware address.
    pub mac: [u8; 6],
    /// Largest IP packet, in bytes.
    pub mtu: usize,
    /// Addresses with the length of their network's prefix, 8 at most. There is no link-local one unless given: smoltcp would ask
    /// for neighbours from that, so that they learn an address it does not send from, and their first answers were lost.
    pub addresses: Vec<(IpAddr, u8)>,
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
}

impl Guest {
    /// Starts a host. The error is a sentence.
    pub fn start(settings: Settings, wire: Arc<dyn Wire>) -> Result<Guest, String> {
        let shared = Arc::new(Shared::default());
        let mut host = Host::new(&settings, wire, Arc::clone(&shared))?;
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

/// smoltcp's view of the VNIC.
struct Card {
    received: VecDeque<Vec<u8>>,
    sending: VecDeque<Vec<u8>>,
    mtu: usize,
}

struct RxToken(Vec<u8>);
struct TxToken<'a>(&'a mut VecDeque<Vec<u8>>);

impl Device for Card {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: SmolInstant) -> Option<(RxToken, TxToken<'_>)> {
        let frame = self.received.pop_front()?;
        Some((RxToken(frame), TxToken(&mut self.sending)))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<TxToken<'_>> {
        // Stops smoltcp until the batch is on the wire.
        if self.sending.len() >= BATCH {
            return None;
        }
        Some(TxToken(&mut self.sending))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ethernet;
        caps.max_transmission_unit = self.mtu + ETHERNET_HEADER;
        caps
    }
}

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let r = f(&mut frame);
        self.0.push_back(frame);
        r
    }
}

/// What the jobs work on.
struct Net {
    iface: Interface,
    sockets: SocketSet<'static>,
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
    fn new(s: &Settings, wire: Arc<dyn Wire>, shared: Arc<Shared>) -> Result<Host, String> {
        let mut card = Card { received: VecDeque::new(), sending: VecDeque::new(), mtu: s.mtu };
        let mut seed = [0; 8];
        rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| format!("no random numbers: {e}"))?;
        let seed = u64::from_le_bytes(seed);
        let mut config = Config::new(EthernetAddress(s.mac).into());
        config.random_seed = seed;
        let mut iface = Interface::new(config, &mut card, SmolInstant::ZERO);
        let mut full = false;
        iface.update_ip_addrs(|addrs| {
            for &(address, prefix) in &s.addresses {
                full |= addrs.push(IpCidr::new(address.into(), prefix)).is_err();
            }
        });
        if full {
            return Err("too many addresses: a guest takes eight".into());
        }
        let net = Net {
            iface,
            sockets: SocketSet::new(Vec::new()),
            mtu: s.mtu,
            polled: Instant::now(),
            closing: Vec::new(),
            next_id: seed as u16,
        };
        Ok(Host {
            shared,
            wire,
            blocked: false,
            card,
            net,
            jobs: Vec::new(),
            served: Vec::new(),
            start: Instant::now(),
        })
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

impl Net {
    /// A host without routes reaches only its own networks.
    fn check_reachable(&self, to: IpAddr) -> Result<(), String> {
        let address = IpAddress::from(to);
        if self.iface.ip_addrs().iter().any(|net| net.contains_addr(&address)) {
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

/// A request without an answer yet.
struct Request {
    queued: Instant,
    /// When it left; until then the neighbour's hardware address is asked for.
    left: Option<Instant>,
}

struct PingJob {
    ping: Ping,
    answer: Answer<PingReport>,
    handle: SocketHandle,
    ident: u16,
    next: u32,
    next_at: Instant,
    waiting: HashMap<u16, Request>,
    report: PingReport,
    sum_us: f64,
}

impl PingJob {
    fn new(ping: Ping, answer: Answer<PingReport>, net: &mut Net) -> Result<PingJob, String> {
        net.check_reachable(ping.to)?;
        let headers = if ping.to.is_ipv4() { 28 } else { 48 };
        let most = net.mtu.saturating_sub(headers);
        if usize::from(ping.size) > most {
            return Err(format!("{} bytes need fragments; at most {most} fit", ping.size));
        }
        let ident = net.new_id();
        let packet = usize::from(ping.size) + 8;
        let buffer = || {
            let packets = vec![icmp::PacketMetadata::EMPTY; 16];
            icmp::PacketBuffer::new(packets, vec![0; 16 * packet])
        };
        let mut socket = icmp::Socket::new(buffer(), buffer());
        socket.bind(icmp::Endpoint::Ident(ident)).map_err(|e| format!("cannot ping: {e}"))?;
        Ok(PingJob {
            handle: net.sockets.add(socket),
            ping,
            answer,
            ident,
            next: 0,
            next_at: Instant::now(),
            waiting: HashMap::new(),
            report: PingReport {
                sent: 0,
                received: 0,
                corrupted: 0,
                rtt_us: Rtt { min: f64::INFINITY, ..Rtt::default() },
            },
            sum_us: 0.0,
        })
    }

    /// What request `seq` carries.
    fn data(&self, seq: u16) -> Vec<u8> {
        (0..self.ping.size).map(|i| (i ^ seq.wrapping_mul(251)) as u8).collect()
    }

    fn send(&mut self, net: &mut Net, now: Instant) -> bool {
        let seq_no = self.next as u16;
        let data = self.data(seq_no);
        let (ident, to) = (self.ident, self.ping.to);
        let checksum = Default::default();
        let source = match to {
            IpAddr::V6(to) => net.iface.get_source_address_ipv6(&to),
            IpAddr::V4(_) => Ipv6Address::UNSPECIFIED,
        };
        let socket = net.sockets.get_mut::<icmp::Socket<'_>>(self.handle);
        let len = 8 + data.len();
        let Ok(packet) = socket.send(len, to.into()) else { return false };
        match to {
            IpAddr::V4(_) => Icmpv4Repr::EchoRequest { ident, seq_no, data: &data }
                .emit(&mut Icmpv4Packet::new_unchecked(packet), &checksum),
            IpAddr::V6(to) => Icmpv6Repr::EchoRequest { ident, seq_no, data: &data }.emit(
                &source,
                &to,
                &mut Icmpv6Packet::new_unchecked(packet),
                &checksum,
            ),
        }
        self.waiting.insert(seq_no, Request { queued: now, left: None });
        self.next += 1;
        self.report.sent += 1;
        true
    }

    fn receive(&mut self, net: &mut Net, now: Instant) {
        let IpAddr::V6(v6) = self.ping.to else { return self.receive_with(net, now, echo_v4) };
        let own = net.iface.get_source_address_ipv6(&v6);
        self.receive_with(net, now, |packet| echo_v6(&v6, &own, packet));
    }

    fn receive_with<F>(&mut self, net: &mut Net, now: Instant, parse: F)
    where
        F: Fn(&[u8]) -> Option<(u16, u16, &[u8])>,
    {
        let socket = net.sockets.get_mut::<icmp::Socket<'_>>(self.handle);
        while let Ok((packet, from)) = socket.recv() {
            let Some((ident, seq, data)) = parse(packet) else { continue };
            if ident != self.ident || from != IpAddress::from(self.ping.to) {
                continue;
            }
            let Some(request) = self.waiting.remove(&seq) else { continue };
            if data != self.data(seq) {
                self.report.corrupted += 1;
                continue;
            }
            let left = request.left.unwrap_or(request.queued);
            let us = now.duration_since(left).as_secs_f64() * 1e6;
            self.report.received += 1;
            self.sum_us += us;
            let rtt = &mut self.report.rtt_us;
            *rtt = Rtt { min: rtt.min.min(us), max: rtt.max.max(us), ..*rtt };
        }
    }
}

/// Identifier, number and data of an echo reply.
fn echo_v4(packet: &[u8]) -> Option<(u16, u16, &[u8])> {
    let packet = Icmpv4Packet::new_checked(packet).ok()?;
    match Icmpv4Repr::parse(&packet, &Default::default()).ok()? {
        Icmpv4Repr::EchoReply { ident, seq_no, data } => Some((ident, seq_no, data)),
        _ => None,
    }
}

fn echo_v6<'a>(
    from: &Ipv6Address,
    to: &Ipv6Address,
    packet: &'a [u8],
) -> Option<(u16, u16, &'a [u8])> {
    let packet = Icmpv6Packet::new_checked(packet).ok()?;
    match Icmpv6Repr::parse(from, to, &packet, &Default::default()).ok()? {
        Icmpv6Repr::EchoReply { ident, seq_no, data } => Some((ident, seq_no, data)),
        _ => None,
    }
}

impl Job for PingJob {
    fn progress(&mut self, net: &mut Net, _: &Counters) -> Progress {
        let now = Instant::now();
        let timeout = Duration::from_millis(self.ping.timeout_ms.into());
        let interval = Duration::from_millis(self.ping.interval_ms.into());
        if net.sockets.get::<icmp::Socket<'_>>(self.handle).send_queue() == 0 {
            for request in self.waiting.values_mut() {
                request.left.get_or_insert(net.polled);
            }
        }
        self.receive(net, now);
        let expiry = |r: &Request| r.left.unwrap_or(r.queued + NEIGHBOUR) + timeout;
        self.waiting.retain(|_, r| now < expiry(r));
        let turn = if interval.is_zero() { self.waiting.is_empty() } else { now >= self.next_at };
        if self.next < self.ping.count && turn && self.send(net, now) {
            self.next_at = now + interval;
            return Progress::Again;
        }
        if self.next >= self.ping.count && self.waiting.is_empty() {
            net.sockets.remove(self.handle);
            let rtt = &mut self.report.rtt_us;
            match self.report.received {
                0 => *rtt = Rtt::default(),
                n => rtt.avg = self.sum_us / n as f64,
            }
            let _ = self.answer.send(Ok(self.report.clone()));
            return Progress::Done;
        }
        let expiry = self.waiting.values().map(expiry).min();
        let next = (self.next < self.ping.count && !interval.is_zero()).then_some(self.next_at);
        Progress::Wait(expiry.into_iter().chain(next).min())
    }
}

struct SendJob {
    send: TcpSend,
    answer: Answer<TcpReport>,
    handle: SocketHandle,
    source: Source,
    all_out: bool,
    start: Option<Instant>,
    verdict: Vec<u8>,
    /// Bytes the peer has acknowledged, and since when it is that many.
    progress: (u64, Instant),
}

impl SendJob {
    fn new(send: TcpSend, answer: Answer<TcpReport>, net: &mut Net) -> Result<SendJob, String> {
        net.check_reachable(send.to.ip())?;
        let handle = net.tcp(4096, WINDOW);
        let local = 49152 + net.new_id() % 16384;
        let socket = net.sockets.get_mut::<tcp::Socket<'_>>(handle);
        if let Err(e) = socket.connect(net.iface.context(), send.to, local) {
            net.sockets.remove(handle);
            return Err(format!("cannot connect to {}: {e}", send.to));
        }
        Ok(SendJob {
            source: Source::new(send.seed, send.bytes),
            send,
            answer,
            handle,
            all_out: false,
            start: None,
            verdict: Vec::new(),
            progress: (0, Instant::now()),
        })
    }

    fn report(&self, start: Instant) -> Result<TcpReport, String> {
        let verdict = self.verdict.as_slice().try_into().map_err(|_| "no verdict")?;
        self.source.judge(verdict)?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(TcpReport {
            bytes: self.send.bytes,
            seconds,
            gbps: self.send.bytes as f64 * 8e-9 / seconds.max(1e-9),
            checksum: format!("{:08x}", self.source.checksum()),
        })
    }

    /// Moves data; Some is the end.
    fn work(&mut self, net: &mut Net, now: Instant) -> Option<Result<TcpReport, String>> {
        let to = self.send.to;
        let socket = net.socket(self.handle);
        if socket.may_send() {
            let start = *self.start.get_or_insert(now);
            while !self.all_out && socket.can_send() {
                let source = &mut self.source;
                // Less than there is room for: that was the end of the stream.
                let fill = |buf: &mut [u8]| {
                    let n = source.fill(buf);
                    (n, n < buf.len())
                };
                match socket.send(fill) {
                    Ok(end) => self.all_out = end,
                    Err(_) => break,
                }
            }
            let verdict = &mut self.verdict;
            while socket.can_recv() && verdict.len() < VERDICT {
                let take = |bytes: &mut [u8]| {
                    let n = bytes.len().min(VERDICT - verdict.len());
                    verdict.extend_from_slice(&bytes[..n]);
                    (n, ())
                };
                if socket.recv(take).is_err() {
                    break;
                }
            }
            if self.verdict.len() == VERDICT {
                return Some(self.report(start));
            }
        }
        if !socket.is_active() || (self.start.is_some() && !socket.may_recv()) {
            let what = if self.start.is_some() { "ended" } else { "refused" };
            return Some(Err(format!("{to} {what} the connection")));
        }
        let acknowledged = self.source.position() - socket.send_queue() as u64;
        if acknowledged != self.progress.0 {
            self.progress = (acknowledged, now);
        } else if now >= self.give_up_at() {
            let what = if self.start.is_some() { "takes no data" } else { "does not answer" };
            return Some(Err(format!("{to} {what} for {} ms", self.send.stall_ms)));
        }
        None
    }

    fn give_up_at(&self) -> Instant {
        self.progress.1 + Duration::from_millis(self.send.stall_ms.into())
    }
}

impl Job for SendJob {
    fn progress(&mut self, net: &mut Net, _: &Counters) -> Progress {
        let now = Instant::now();
        let given = self.source.position();
        if let Some(result) = self.work(net, now) {
            match &result {
                Ok(_) => net.close(self.handle),
                Err(_) => {
                    net.socket(self.handle).abort();
                    net.closing.push(self.handle);
                }
            }
            let _ = self.answer.send(result);
            return Progress::Done;
        }
        if self.source.position() > given {
            return Progress::Again;
        }
        Progress::Wait(Some(self.give_up_at()))
    }
}

struct ServeJob {
    port: u16,
    /// [`BACKLOG`] sockets, each good for one connection.
    listening: Vec<SocketHandle>,
    streams: Vec<(SocketHandle, Sink)>,
}

impl ServeJob {
    fn new(port: u16, net: &mut Net) -> Result<ServeJob, String> {
        let listening = (0..BACKLOG).map(|_| Self::listen(port, net)).collect::<Result<_, _>>()?;
        Ok(ServeJob { port, listening, streams: Vec::new() })
    }

    fn listen(port: u16, net: &mut Net) -> Result<SocketHandle, String> {
        let handle = net.tcp(WINDOW, 4096);
        match net.socket(handle).listen(port) {
            Ok(()) => Ok(handle),
            Err(e) => {
                net.sockets.remove(handle);
                Err(format!("cannot listen on port {port}: {e}"))
            }
        }
    }

    /// Takes what came on a stream; Some is its end, and whether that was good.
    fn take(socket: &mut tcp::Socket<'_>, sink: &mut Sink) -> Option<bool> {
        while socket.can_recv() {
            let pushed = socket.recv(|bytes| (bytes.len(), sink.push(bytes)));
            if !matches!(pushed, Ok(Ok(()))) {
                return Some(false);
            }
        }
        if let Some((verdict, whole)) = sink.verdict() {
            return Some(socket.send_slice(&verdict) == Ok(VERDICT) && whole);
        }
        (!socket.may_recv() && socket.state() != tcp::State::SynReceived).then_some(false)
    }
}

impl Job for ServeJob {
    fn progress(&mut self, net: &mut Net, counters: &Counters) -> Progress {
        let mut again = false;
        for listening in &mut self.listening {
            if net.socket(*listening).is_active()
                && self.streams.len() < MAX_STREAMS
                && let Ok(next) = Self::listen(self.port, net)
            {
                self.streams.push((std::mem::replace(listening, next), Sink::default()));
                again = true;
            }
        }
        self.streams.retain_mut(|(handle, sink)| {
            let before = sink.received();
            let end = Self::take(net.socket(*handle), sink);
            counters.bytes.fetch_add(sink.received() - before, Ordering::Relaxed);
            // Room in the window is news for the peer.
            again |= sink.received() > before || end.is_some();
            let Some(whole) = end else { return true };
            let counter = if whole { &counters.intact } else { &counters.bad };
            counter.fetch_add(1, Ordering::Relaxed);
            if sink.verdict().is_none() {
                net.socket(*handle).abort();
            }
            net.close(*handle);
            false
        });
        if again { Progress::Again } else { Progress::Wait(None) }
    }
}
