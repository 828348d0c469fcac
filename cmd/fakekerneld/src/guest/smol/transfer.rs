// SPDX-License-Identifier: CDDL-1.0
//! Streams over TCP: sending one, and a port that takes them.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fkadm::proto::{TcpReport, TcpSend};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;

use super::{Answer, Counters, Job, Net, Progress, WINDOW};
use crate::guest::stream::{Sink, Source, VERDICT};

/// Streams at a time on one port; further connections wait.
const MAX_STREAMS: usize = 64;
/// Connections that may come to a port between two polls.
const BACKLOG: usize = 8;

/// A stream to a port of another guest.
pub struct SendJob {
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
    /// The error is a sentence.
    pub fn new(send: TcpSend, answer: Answer<TcpReport>, net: &mut Net) -> Result<SendJob, String> {
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

/// A port that takes streams, for good.
pub struct ServeJob {
    port: u16,
    /// [`BACKLOG`] sockets, each good for one connection.
    listening: Vec<SocketHandle>,
    streams: Vec<(SocketHandle, Sink)>,
}

impl ServeJob {
    /// The error is a sentence.
    pub fn new(port: u16, net: &mut Net) -> Result<ServeJob, String> {
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
