// SPDX-License-Identifier: CDDL-1.0
//! `lab demo --routed`: three virtual networks, of which two are attached to each other and taken apart again while
//! every guest pings every other one.

use super::INTERRUPTED;
use super::layers::{Captured, Layers};
use super::stage::{Interrupt, Progress, Stage, own_topology, staged};
use super::svp;
use crate::crossing::census::{Census, Person};
use crate::crossing::flows::Flows;
use crate::crossing::ledger::Ledger;
use crate::crossing::matrix::Matrix;
use crate::crossing::now;
use crate::crossing::watch::{Seen, Watch};
use crate::directory::{self, Change};
use crate::guests;
use crate::host::{Host, Modules};
use crate::out;
use crate::topology::Topology;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often each guest pings each other one.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long answers are looked for, at least and at most. The first must be longer than the interval.
const WINDOW: Duration = Duration::from_millis(1200);
const PATIENCE: Duration = Duration::from_secs(30);

/// What is to be shown.
#[derive(Clone, Debug)]
pub struct Show {
    /// The result is one JSON object on standard output.
    pub json: bool,
    /// Where captures of the first packets are left, if they are wanted.
    pub capture: Option<PathBuf>,
}

/// The result, as `--json` prints it.
#[derive(serde::Serialize)]
struct Summary {
    /// Networks that were attached.
    networks: Vec<String>,
    /// Who reached whom before, while they were attached, and after.
    before: Matrix,
    attached: Matrix,
    after: Matrix,
    attaching: Attaching,
    detaching: Detaching,
    packets: Seen,
    /// The files of `--capture`.
    captures: Vec<Captured>,
    /// Frames dropped, by reason, over all hosts.
    drops: BTreeMap<String, u64>,
    /// Seconds from start to the end of the clean-up.
    seconds: f64,
}

/// From when it was done to the first answers.
#[derive(serde::Serialize)]
struct Attaching {
    /// Ways between guests that there were then: from, to and version of IP.
    ways: usize,
    /// Milliseconds to the first answer on any.
    first_ms: f64,
    /// To the first answer on the last of them.
    all_ms: f64,
}

/// From when it was done to the last packet.
#[derive(serde::Serialize)]
struct Detaching {
    /// Milliseconds until all hosts had heard.
    heard_ms: f64,
    /// To the last packet that came from one network to the other; 0 if none came afterwards.
    last_ms: f64,
}

/// Runs it.
///
/// # Errors
/// As [`super::demo`]; and a packet was where it must not be.
pub fn demo(what: &Show, modules: &Modules) -> Result<ExitCode> {
    let p = Progress::start(what.json);
    let mut t = own_topology("three-vnets", "127.64.8.")?;
    let group = std::mem::take(&mut t.attached).pop().context("nothing is to be attached")?;
    let shown = staged(&p, &t, modules, |stage| show(&p, what, &group, stage))?;
    let Some(mut summary) = shown else { return Ok(ExitCode::from(INTERRUPTED)) };
    summary.seconds = p.seconds();
    if p.json {
        out!("{}", serde_json::to_string_pretty(&summary)?)?;
    } else {
        report(&summary)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The lab while every guest pings every other one.
struct Scene<'a> {
    p: &'a Progress,
    t: &'a Topology,
    directories: &'a [Host],
    stop: &'a Interrupt,
    census: Arc<Census>,
    ledger: Arc<Ledger>,
    watch: Watch,
}

fn show(p: &Progress, what: &Show, group: &[String], stage: Stage<'_>) -> Result<Summary> {
    let Stage { topology: t, hosts, directories, stop } = stage;
    svp::connected(p, t, hosts, stop)?;
    let census = Arc::new(Census::of(t)?);
    let ledger = Arc::new(Ledger::default());
    let layers = what.capture.as_deref().map(|dir| Layers::start(p, dir, t, hosts)).transpose()?;
    p.step(&format!(
        "every guest pings every other one, {} times a second by IPv4 and IPv6; every packet is watched",
        1000 / INTERVAL.as_millis()
    ));
    let watch = Watch::start(t, hosts, census.clone(), ledger.clone())?;
    let flows = Flows::start(&census, hosts, INTERVAL)?;
    let scene = Scene { p, t, directories, stop, census, ledger, watch };
    let before = scene.matrix("nothing is attached")?;
    let (attaching, attached) = scene.attach(group)?;
    let captures = layers.map_or(Ok(Vec::new()), |layers| layers.stop(p))?;
    let detaching = scene.detach(group)?;
    let after = scene.matrix("nothing is attached any more")?;
    flows.stop()?;
    let packets = scene.watch.stop()?;
    ensure!(
        packets.wrong == 0,
        "{} packets crossed wrongly: {:?}",
        packets.wrong,
        packets.examples
    );
    p.step("what the operator sees");
    for h in hosts {
        p.command(h, &["show-overlay", "-f"])?;
    }
    let drops = guests::drops(hosts)?;
    let networks = group.to_vec();
    Ok(Summary {
        networks,
        before,
        attached,
        after,
        attaching,
        detaching,
        packets,
        captures,
        drops,
        seconds: 0.0,
    })
}

impl Scene<'_> {
    /// Who reaches whom now, which must be what the ledger says.
    fn matrix(&self, what: &str) -> Result<Matrix> {
        self.p.step(&format!("{what}: who gets answers from whom"));
        self.watch.mark();
        let matrix = self.answers()?;
        self.p.say(&matrix.to_string());
        Ok(matrix)
    }

    /// Answers since the mark.
    fn answers(&self) -> Result<Matrix> {
        let time = now();
        let attached = |a, b| self.ledger.attached((a, b), time, time);
        let expected = Matrix::expected(&self.census, attached);
        self.watch.settle(&expected, (WINDOW, PATIENCE), || self.stop.check())
    }

    fn attach(&self, group: &[String]) -> Result<(Attaching, Matrix)> {
        self.p.step(&format!("{} are attached", group.join(", ")));
        let pairs = self.pairs(group);
        pairs.iter().for_each(|pair| self.ledger.begin(*pair, now()));
        self.watch.mark();
        let done = self.change(Change::Attach, group)?;
        let matrix = self.answers()?;
        let crosses = |from: usize, to: usize| {
            let network = |n| self.census.guests.get(n).map(|g: &Person| g.network);
            network(from) != network(to)
        };
        let answers = self.watch.answers();
        let crossing = answers.iter().filter(|((from, to, _), _)| crosses(*from, *to));
        let times: Vec<f64> = crossing.map(|(_, time)| after(done, *time)).collect();
        let attaching = Attaching {
            ways: times.len(),
            first_ms: times.iter().copied().fold(f64::INFINITY, f64::min),
            all_ms: times.iter().copied().fold(0.0, f64::max),
        };
        self.p.say(&format!("  {attaching}"));
        self.p.say(&matrix.to_string());
        Ok((attaching, matrix))
    }

    fn detach(&self, group: &[String]) -> Result<Detaching> {
        self.p.step("and detached");
        let done = self.change(Change::Detach, group)?;
        let heard = self.heard()?;
        self.pairs(group).iter().for_each(|pair| self.ledger.end(*pair, heard));
        std::thread::sleep(WINDOW);
        let last = self.watch.last_crossing().context("nothing ever crossed")?;
        let detaching = Detaching { heard_ms: after(done, heard), last_ms: after(done, last) };
        self.p.say(&format!("  {detaching}"));
        Ok(detaching)
    }

    /// The pairs of a group, by number.
    fn pairs(&self, group: &[String]) -> Vec<(usize, usize)> {
        let number = |name: &String| self.t.networks.iter().position(|n| n.name == *name);
        let numbers: Vec<usize> = group.iter().filter_map(number).collect();
        let pairs = numbers
            .iter()
            .enumerate()
            .flat_map(|(i, a)| numbers.iter().skip(i + 1).map(|b| (*a, *b)));
        pairs.collect()
    }

    /// Has the directories attach or detach a group, in one change; when they had.
    fn change(&self, what: Change, group: &[String]) -> Result<Duration> {
        directory::change(self.t, self.directories, what, &[group.to_vec()])?;
        let done = now();
        for d in self.directories {
            self.p.say(&format!("{}# portolanadm attachment list", d.name));
            let list = directory::administer(self.t, d, &["attachment", "list"])?;
            self.p.say(list.trim_end());
        }
        Ok(done)
    }

    /// When all hosts have taken notice of what has changed.
    fn heard(&self) -> Result<Duration> {
        let start = Instant::now();
        for d in self.directories {
            while directory::untold(self.t, d)? > 0 {
                ensure!(start.elapsed() < PATIENCE, "hosts take no notice of what {} logs", d.name);
                self.stop.check()?;
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(now())
    }
}

/// Milliseconds from one time to another; 0 if that was before.
fn after(from: Duration, to: Duration) -> f64 {
    to.saturating_sub(from).as_secs_f64() * 1e3
}

impl std::fmt::Display for Attaching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Attaching { ways, first_ms, all_ms } = self;
        write!(
            f,
            "the first answer after {first_ms:.0} ms, on all of {ways} ways after {all_ms:.0} ms"
        )
    }
}

impl std::fmt::Display for Detaching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Detaching { heard_ms, last_ms } = self;
        write!(
            f,
            "all hosts had heard after {heard_ms:.0} ms, the last packet came after {last_ms:.0} ms"
        )
    }
}

fn report(s: &Summary) -> Result<()> {
    out!("\nsummary")?;
    out!("  networks  {}", s.networks.join(", "))?;
    out!("  attached  {}", s.attaching)?;
    out!("  detached  {}", s.detaching)?;
    let Seen { received, datagrams, crossed, refused, wrong, .. } = &s.packets;
    out!(
        "  packets   {received} came to guests, {crossed} of them from another network; {datagrams} datagrams"
    )?;
    out!(
        "            {refused} were sent to networks that are not attached; {wrong} crossed wrongly"
    )?;
    let drops: Vec<String> = s.drops.iter().map(|(why, n)| format!("{why} {n}")).collect();
    out!("  dropped   {}", if drops.is_empty() { "none".into() } else { drops.join(", ") })?;
    out!("  time      {:.1} s", s.seconds)
}
