// SPDX-License-Identifier: CDDL-1.0
//! All packets of all guests and between all hosts, seen and judged.

use super::census::Census;
use super::ledger::Ledger;
use super::matrix::{Matrix, Way};
use super::now;
use super::sight::Sight;
use crate::host::Host;
use crate::topology::Topology;
use anyhow::{Context, Result, bail, ensure};
use snoop::decode::Decoder;
use snoop::source::{Feed, Place};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Wrong packets that are described; all are counted.
const DESCRIBED: usize = 10;

/// Where a packet is seen.
#[derive(Debug, Clone, Copy)]
enum Point {
    /// At the VNIC of a guest, by number.
    Vnic(usize),
    /// Among the datagrams of the host with this address.
    Underlay(IpAddr),
}

/// What was seen.
#[derive(Debug, Default, Clone, serde::Serialize)]
pub struct Seen {
    /// Packets that came to guests.
    pub received: u64,
    /// Datagrams with pings that hosts sent; one to the host itself is seen twice.
    pub datagrams: u64,
    /// Packets that came from another network to a guest.
    pub crossed: u64,
    /// Packets that guests sent to networks that theirs was not attached to.
    pub refused: u64,
    /// Packets and datagrams that were where they must not be.
    pub wrong: u64,
    /// Some of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

#[derive(Default)]
struct State {
    seen: Seen,
    mark: Duration,
    /// The first answer on each way since the mark.
    answers: HashMap<Way, Duration>,
    /// When the last packet came from one network to another.
    last: Option<Duration>,
}

struct Shared {
    census: Arc<Census>,
    ledger: Arc<Ledger>,
    state: Mutex<State>,
}

/// See the top of the file.
pub struct Watch {
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Watch {
    /// Starts to watch.
    ///
    /// # Errors
    /// A host does not tell what passes there.
    pub fn start(
        t: &Topology,
        hosts: &[Host],
        census: Arc<Census>,
        ledger: Arc<Ledger>,
    ) -> Result<Watch> {
        let (mut points, mut sources) = (Vec::new(), Vec::new());
        for (number, (host, h)) in hosts.iter().zip(&t.hosts).enumerate() {
            let place = Place::new(Some(&host.root), None);
            let listen = h.overlays.first().context("a host without an overlay")?.listen;
            points.push(Point::Underlay(listen));
            sources.push(place.link("underlay", false)?);
            for (n, guest) in census.guests.iter().enumerate().filter(|(_, g)| g.host == number) {
                points.push(Point::Vnic(n));
                sources.push(place.link(&guest.name, false)?);
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut feed = Feed::start(sources, stop.clone());
        let shared = Arc::new(Shared { census, ledger, state: Mutex::default() });
        let judge = shared.clone();
        let thread = std::thread::spawn(move || {
            let mut decoder = Decoder::default();
            while let Some((n, packet)) = feed.packet()? {
                let point = points.get(n).copied().context("a packet from nowhere")?;
                if let Some(sight) = Sight::of(&mut decoder, &packet) {
                    judge.judge(point, packet.time, &sight);
                }
            }
            let lost: u64 = feed.progress().iter().filter_map(|p| p.dropped()).sum();
            if lost > 0 {
                bail!("{lost} packets were not seen");
            }
            Ok(())
        });
        Ok(Watch { shared, stop, thread })
    }

    /// From now on only answers to what is asked from now on count.
    pub fn mark(&self) {
        let mut state = self.shared.state();
        state.mark = now();
        state.answers.clear();
    }

    /// Waits until all answers have come since the mark that are expected, and at least for `window`, so that others
    /// would have come too.
    ///
    /// # Errors
    /// After `patience` some are missing, or others came; or `check` failed.
    pub fn settle(
        &self,
        expected: &Matrix,
        (window, patience): (Duration, Duration),
        check: impl Fn() -> Result<()>,
    ) -> Result<Matrix> {
        let start = Instant::now();
        loop {
            let ways = self.answers().into_keys().collect();
            let seen = Matrix::new(&self.shared.census, ways);
            let whole = seen.ways().is_superset(expected.ways());
            if start.elapsed() > window && whole {
                ensure!(
                    seen == *expected,
                    "more answers than there may be:\n{seen}\nnot\n{expected}"
                );
                return Ok(seen);
            }
            ensure!(start.elapsed() < patience, "too few answers:\n{seen}\nnot\n{expected}");
            check()?;
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The first answer on each way since the mark.
    #[must_use]
    pub fn answers(&self) -> HashMap<Way, Duration> {
        self.shared.state().answers.clone()
    }

    /// When a packet last came from one network to another.
    #[must_use]
    pub fn last_crossing(&self) -> Option<Duration> {
        self.shared.state().last
    }

    /// What was seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.shared.state().seen.clone()
    }

    /// Stops watching.
    ///
    /// # Errors
    /// Not everything was seen.
    pub fn stop(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(done) => done?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        let seen = std::mem::take(&mut self.shared.state().seen);
        Ok(seen)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, point: Point, time: Duration, sight: &Sight) {
        let verdict = match point {
            Point::Vnic(n) => self.at_guest(n, time, sight),
            Point::Underlay(own) => self.between_hosts(own, time, sight),
        };
        if let Err(what) = verdict {
            let mut state = self.state();
            state.seen.wrong += 1;
            if state.seen.examples.len() < DESCRIBED {
                let late = now().saturating_sub(time).as_millis();
                let at = match point {
                    Point::Vnic(n) => self.census.guests.get(n).map(|g| g.name.clone()),
                    Point::Underlay(own) => Some(own.to_string()),
                };
                let at = at.unwrap_or_default();
                state.seen.examples.push(format!("at {at}, {late} ms ago: {what}: {sight:?}"));
            }
        }
    }

    fn at_guest(&self, n: usize, time: Duration, sight: &Sight) -> Result<(), &'static str> {
        let Some(guest) = self.census.guests.get(n) else { return Err("no such guest") };
        let made = sight.echo.as_ref().map_or(time, |e| e.made);
        if guest.ips.contains(&sight.src) {
            let to = self.census.at(sight.dst).and_then(|to| self.census.guests.get(to));
            let apart = |to: usize| {
                to != guest.network && !self.ledger.attached((guest.network, to), time, time)
            };
            if to.is_some_and(|to| apart(to.network)) {
                self.state().seen.refused += 1;
            }
            return Ok(());
        }
        // What varpd answers for others is not sent by a guest: ARP and neighbour discovery.
        let Some(echo) = &sight.echo else { return self.neighbour(guest.network, sight) };
        let from = self.census.at(sight.src).ok_or("its sender is nobody")?;
        let network = self.census.guests.get(from).ok_or("its sender is nobody")?.network;
        if !guest.ips.contains(&sight.dst) {
            return Err("it is for another guest");
        }
        let mut state = self.state();
        if echo.reply && echo.made >= state.mark {
            state.answers.entry((n, from, sight.src.is_ipv6())).or_insert(time);
        }
        let crosses = network != guest.network;
        if crosses && !self.ledger.attached((network, guest.network), made, time) {
            return Err("it comes from a network that is not attached");
        }
        state.seen.received += 1;
        if crosses {
            state.seen.crossed += 1;
            state.last = state.last.max(Some(time));
        }
        Ok(())
    }

    /// ARP and neighbour discovery are of the guest's own network.
    fn neighbour(&self, network: usize, sight: &Sight) -> Result<(), &'static str> {
        let link_local = matches!(sight.src, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if link_local || self.census.is_router(sight.src) {
            return Ok(());
        }
        let from = self.census.at(sight.src).and_then(|from| self.census.guests.get(from));
        match from {
            Some(from) if from.network == network => Ok(()),
            _ => Err("it is no ping and not of the guest's network"),
        }
    }

    fn between_hosts(
        &self,
        own: IpAddr,
        time: Duration,
        sight: &Sight,
    ) -> Result<(), &'static str> {
        // A datagram is judged where it was sent. What is no ping is of one network: neighbour discovery.
        let Some((sender, vnet)) = sight.outer else { return Err("it is no VXLAN") };
        if sender != own || sight.echo.is_none() {
            return Ok(());
        }
        let guest = |ip| self.census.at(ip).and_then(|n| self.census.guests.get(n));
        let from = guest(sight.src).ok_or("its sender is nobody")?;
        let to = guest(sight.dst).ok_or("it is for nobody")?;
        if (vnet, sight.vlan) != (to.vnet, to.vlan) {
            return Err("it is in another network than who it is for");
        }
        let (a, b) = (from.network, to.network);
        if a != b && !self.ledger.attached((a, b), time, time) {
            return Err("it left for a network that is not attached");
        }
        self.state().seen.datagrams += 1;
        Ok(())
    }
}
