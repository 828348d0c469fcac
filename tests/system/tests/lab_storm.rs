// SPDX-License-Identifier: CDDL-1.0
//! A storm of attaching and detaching while all guests of three virtual networks ping one another: nothing crosses
//! between networks that are not attached, at any moment.
//!
//! What the directory promises, and what is checked here, is this. Networks count as attached from before the
//! directory is asked to attach them, until every host has taken notice that they are not: it has removed the log
//! entries of the detaching, which it does after its kernel has forgotten the routes. How long that takes is measured,
//! not assumed. A host takes notice when it asks for its log, each 1 to 2 seconds when all is well (overlay_svp(5)).
//!
//! Each packet that comes to a guest has its sender, number and time in it, and must have had a moment between its
//! sending and its arrival at which its network was attached to the guest's. Each datagram must, when it leaves its
//! host, be in the virtual network and VLAN of the guest that it is for, which are attached to the sender's.
//!
//! `STORM_ROUNDS` changes (120 by default); with `STORM_SEED` the same ones again, though not at the same moments.

use anyhow::{Context, Result, ensure};
use lab::crossing::census::Census;
use lab::crossing::flows::Flows;
use lab::crossing::ledger::Ledger;
use lab::crossing::matrix::Matrix;
use lab::crossing::now;
use lab::crossing::watch::Watch;
use lab::directory::{Change, changes, host_id};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use system_tests::routed::{DIRECTORY, RoutedLab};
use system_tests::wait;

const EXE: &str = env!("CARGO_BIN_EXE_overlay-tools");
/// How often each guest pings each other one.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long answers are looked for that must not come; longer than the interval.
const WINDOW: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(60);
/// Most entries of a log that the directory shows.
const PAGE: usize = 1000;
/// Changes after which something is killed.
const KILL_EVERY: u64 = 30;
/// Changes after which another pair is the one that changes most.
const CALM_EVERY: u64 = 20;
/// The network that is never attached to any.
const NEVER: &str = "green";

type Pair = (usize, usize);

/// A pair that was detached, of which not all hosts are known to have taken notice.
struct Untold {
    /// When the directory had done it.
    done: Duration,
    /// The last entry of any log when they were first looked at afterwards.
    last: Option<u64>,
}

#[derive(Default)]
struct Told {
    attached: HashSet<Pair>,
    untold: HashMap<Pair, Untold>,
    /// Since when pairs are apart, all hosts knowing it.
    apart: HashMap<Pair, Duration>,
    /// How long hosts took to take notice.
    times: Vec<Duration>,
    /// How long pairs that change were apart, all together.
    apart_for: Duration,
}

struct Storm {
    lab: Mutex<RoutedLab>,
    ledger: Arc<Ledger>,
    told: Mutex<Told>,
}

impl Storm {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    fn lab(&self) -> std::sync::MutexGuard<'_, RoutedLab> {
        self.lab.lock().unwrap()
    }

    fn lines(&self, what: Change, (a, b): Pair) -> Result<String> {
        let lab = self.lab();
        let name = |n: usize| lab.topology.networks.get(n).map(|n| n.name.clone());
        let pair = [name(a), name(b)].into_iter().flatten().collect::<Vec<_>>();
        changes(&lab.topology, what, &pair)
    }

    /// Attaches a pair that is not, or the opposite.
    fn toggle(&self, pair: Pair) -> Result<()> {
        if self.told().attached.contains(&pair) { self.detach(pair) } else { self.attach(pair) }
    }

    fn attach(&self, pair: Pair) -> Result<()> {
        let lines = self.lines(Change::Attach, pair)?;
        {
            let mut told = self.told();
            let time = now();
            self.ledger.begin(pair, time);
            told.untold.remove(&pair);
            told.attached.insert(pair);
            if let Some(since) = told.apart.remove(&pair) {
                told.apart_for += time.saturating_sub(since);
            }
        }
        self.lab().change(&lines)?;
        Ok(())
    }

    fn detach(&self, pair: Pair) -> Result<()> {
        let lines = self.lines(Change::Detach, pair)?;
        self.lab().change(&lines)?;
        let mut told = self.told();
        told.attached.remove(&pair);
        told.untold.insert(pair, Untold { done: now(), last: None });
        Ok(())
    }

    /// Looks at what hosts have not taken notice of. A pair is apart when all entries are newer than the last that
    /// was there after it was detached.
    fn look(&self) -> Result<()> {
        let begin = now();
        let mut entries: Vec<u64> = Vec::new();
        for host in 0..3 {
            let log = self.lab().api("GET", &format!("hosts/{}/log", host_id(host)), "")?;
            let log = log.as_array().context("no log")?;
            ensure!(log.len() < PAGE, "a log has more entries than are shown");
            entries.extend(log.iter().filter_map(|e| e["seq"].as_u64()));
        }
        let (first, last) = (entries.iter().min(), entries.iter().max());
        let (end, mut told) = (now(), self.told());
        let mut apart = Vec::new();
        for (pair, untold) in told.untold.iter_mut().filter(|(_, u)| u.done < begin) {
            let until = *untold.last.get_or_insert(last.copied().unwrap_or(0));
            if first.is_none_or(|first| *first > until) {
                apart.push((*pair, end.saturating_sub(untold.done)));
            }
        }
        for (pair, took) in apart {
            told.untold.remove(&pair);
            told.apart.insert(pair, end);
            told.times.push(took);
            self.ledger.end(pair, end);
        }
        Ok(())
    }

    /// Until the end; what came of it is told there.
    fn look_on(&self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Relaxed) {
            self.look()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// xorshift.
fn random(state: &mut u64, below: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % below
}

fn number(name: &str, default: u64) -> Result<u64> {
    std::env::var(name).map_or(Ok(default), |n| n.parse()).with_context(|| name.to_owned())
}

#[test]
fn nothing_crosses_between_unattached_networks_in_a_storm_of_changes() -> Result<()> {
    let rounds = number("STORM_ROUNDS", 120)?;
    let mut seed = number("STORM_SEED", std::process::id().into())? | 1;
    println!("{rounds} changes, STORM_SEED={seed}");
    let lab = RoutedLab::up(EXE)?;
    let topology = lab.topology.clone();
    let census = Arc::new(Census::of(&topology)?);
    let ledger = Arc::new(Ledger::default());
    let watch = Watch::start(&topology, &lab.hosts, census.clone(), ledger.clone())?;
    let flows = Flows::start(&census, &lab.hosts, INTERVAL)?;
    let networks = topology.networks.iter().enumerate();
    let changing: Vec<usize> = networks.filter(|(_, n)| n.name != NEVER).map(|(n, _)| n).collect();
    let pairs: Vec<Pair> = changing
        .iter()
        .flat_map(|a| changing.iter().filter(move |b| a < b).map(move |b| (*a, *b)))
        .collect();
    let storm = Storm { lab: Mutex::new(lab), ledger, told: Mutex::default() };
    let settled = |expected: &dyn Fn(usize, usize) -> bool| {
        watch.mark();
        watch.settle(&Matrix::expected(&census, expected), (WINDOW, PATIENCE), || Ok(())).map(drop)
    };
    settled(&|_, _| false)?;
    let stop = AtomicBool::new(false);
    let begin = Instant::now();
    let mut kills = 0;
    std::thread::scope(|s| {
        let looking = s.spawn(|| storm.look_on(&stop));
        let mut blow = || {
            let mut most = pairs[0];
            for round in 1..=rounds {
                ensure!(!looking.is_finished(), "nobody looks at the logs");
                if round % CALM_EVERY == 1 {
                    most = pairs[random(&mut seed, pairs.len() as u64) as usize];
                }
                let any = pairs[random(&mut seed, pairs.len() as u64) as usize];
                storm.toggle(if random(&mut seed, 6) == 0 { any } else { most })?;
                if round % KILL_EVERY == 0 {
                    let hosts = [("h1", "varpd"), ("h2", "varpd"), (DIRECTORY, "portolan")];
                    let (host, program) = hosts[random(&mut seed, 3) as usize];
                    storm.lab().kill(host, program)?;
                    kills += 1;
                }
                std::thread::sleep(Duration::from_millis(random(&mut seed, 150)));
            }
            // It works as ever: all that can be is attached, and then nothing.
            for pair in &pairs {
                if !storm.told().attached.contains(pair) {
                    storm.attach(*pair)?;
                }
            }
            settled(&|a, b| changing.contains(&a) && changing.contains(&b))
                .context("all attached")?;
            pairs.iter().try_for_each(|pair| storm.detach(*pair))?;
            wait("all hosts have taken notice", || storm.told().untold.is_empty())?;
            settled(&|_, _| false).context("nothing attached")
        };
        let blown = blow();
        stop.store(true, Relaxed);
        let looked = looking.join().unwrap();
        looked.and(blown)
    })?;
    flows.stop()?;
    let seen = watch.stop()?;
    let mut told = std::mem::take(&mut *storm.told());
    told.times.sort();
    let ms = |n: usize| told.times.get(n).copied().unwrap_or_default().as_millis();
    println!(
        "{rounds} changes and {kills} kills in {:.0} s; {} times all hosts took notice: half within {} ms, all \
         within {} ms; pairs that change were apart for {:.0} s, all together\n{seen:?}",
        begin.elapsed().as_secs_f64(),
        told.times.len(),
        ms(told.times.len() / 2),
        ms(told.times.len().saturating_sub(1)),
        told.apart_for.as_secs_f64(),
    );
    ensure!(seen.wrong == 0, "{} packets crossed wrongly: {:#?}", seen.wrong, seen.examples);
    ensure!(
        seen.crossed > 0 && seen.refused > 0 && !told.apart_for.is_zero(),
        "there was no storm"
    );
    storm.lab.into_inner().unwrap().down()
}
