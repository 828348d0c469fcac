// SPDX-License-Identifier: CDDL-1.0
//! Echo requests.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fkadm::proto::{Ping, PingReport, Rtt};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::icmp;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress, Ipv6Address};

use super::{Answer, Counters, Job, Net, Progress};

/// smoltcp asks for the hardware address of a neighbour, whichever it is, once in so long.
const NEIGHBOUR: Duration = Duration::from_secs(1);

/// A request without an answer yet.
struct Request {
    data: Vec<u8>,
    queued: Instant,
    /// When it left; until then the neighbour's hardware address is asked for.
    left: Option<Instant>,
}

/// A series of them.
pub struct PingJob {
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
    /// The error is a sentence.
    pub fn new(ping: Ping, answer: Answer<PingReport>, net: &mut Net) -> Result<PingJob, String> {
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
        if ping.ttl == 0 {
            return Err("a TTL is 1 to 255".into());
        }
        socket.set_hop_limit(Some(ping.ttl));
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

    /// What request `seq` carries: the time, and a pattern.
    fn data(&self, seq: u16) -> Vec<u8> {
        let mut data: Vec<u8> =
            (0..self.ping.size).map(|i| (i ^ seq.wrapping_mul(251)) as u8).collect();
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Some(stamp) = data.first_chunk_mut() {
            *stamp = (time.as_nanos() as u64).to_be_bytes();
        }
        data
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
        self.waiting.insert(seq_no, Request { data, queued: now, left: None });
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
            if data != request.data {
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
