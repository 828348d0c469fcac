// SPDX-License-Identifier: CDDL-1.0
//! What every demo stands on: a topology is brought up, shown, and removed whatever happens.

use crate::directory;
use crate::guests;
use crate::host::{Daemon, Host, Lifetime, Modules};
use crate::running::make_links;
use crate::state::LabDir;
use crate::topology::{READY, Topology};
use crate::{ReaderGone, out};
use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, getpid, kill_process};
use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A lab that is up.
pub struct Stage<'a> {
    /// What was to be brought up.
    pub topology: &'a Topology,
    /// Its hosts, in its order.
    pub hosts: &'a [Host],
    /// Its directories, in its order.
    pub directories: &'a mut Vec<Host>,
    /// Whether the user wants it to end.
    pub stop: &'a Interrupt,
}

/// Brings up a topology, shows it, and takes it down. `None` if the user interrupted it.
///
/// # Errors
/// Something did not work, or nobody reads what is said ([`ReaderGone`]). All that was started is stopped and removed
/// all the same.
pub fn staged<T>(
    p: &Progress,
    t: &Topology,
    modules: &Modules,
    show: impl FnOnce(Stage<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let dir = LabDir::of(&t.name);
    dir.create()?;
    let stop = Interrupt::install()?;
    let (mut hosts, mut directories) = (Vec::new(), Vec::new());
    let result = start(p, t, &dir, modules, &mut hosts, &mut directories, &stop).and_then(|()| {
        let (hosts, directories) = (&hosts[..], &mut directories);
        show(Stage { topology: t, hosts, directories, stop: &stop })
    });
    p.step("cleaning up");
    hosts.append(&mut directories);
    let mut complaints: Vec<String> = hosts.iter_mut().rev().flat_map(Host::stop).collect();
    if stop.came() {
        // The interrupt ended the daemons before we did.
        complaints.clear();
    }
    let kept_logs = if result.is_err() && !stop.came() { logs(&hosts) } else { String::new() };
    dir.remove()?;
    if p.unread.get() {
        return Err(ReaderGone.into());
    }
    if stop.came() {
        p.say("interrupted; everything is removed");
        return Ok(None);
    }
    let shown = result.with_context(|| format!("the demo failed{kept_logs}"))?;
    ensure!(complaints.is_empty(), "{}", complaints.join("; "));
    Ok(Some(shown))
}

/// The ready topology of that name, on addresses of this process's own in place of those that begin with `underlay`,
/// so that demos do not meet.
///
/// # Errors
/// There is none.
pub fn own_topology(ready: &str, underlay: &str) -> Result<Topology> {
    let pid = std::process::id();
    let (a, b) = (65 + (pid >> 8) % 62, pid % 256);
    let name = format!("\"demo-{pid}\"");
    let (_, text) = READY.iter().find(|(n, _)| *n == ready).context("no such topology")?;
    let text = text.replace(underlay, &format!("127.{a}.{b}."));
    Topology::parse(&text.replace(&format!("{ready:?}"), &name))
}

/// Starts everything.
fn start(
    p: &Progress,
    t: &Topology,
    dir: &LabDir,
    modules: &Modules,
    hosts: &mut Vec<Host>,
    directories: &mut Vec<Host>,
    stop: &Interrupt,
) -> Result<()> {
    if !t.directories.is_empty() {
        p.step("starting a directory (portolan) that knows all guests");
        let started = directory::start(t, dir, Lifetime::WithLab, directories);
        for d in directories.iter() {
            stop.watch(d.daemons());
            for daemon in d.daemons() {
                p.say(&format!("  {}: {} (pid {})", d.name, daemon.program, daemon.pid));
            }
        }
        started?;
    }
    p.step(&format!("starting {} hosts, each a kernel (fakekerneld) and a varpd", t.hosts.len()));
    for h in &t.hosts {
        let root = dir.host_root(&h.name);
        let host = Host::start(&h.name, root, &dir.plugins(), modules, Lifetime::WithLab)?;
        stop.watch(host.daemons());
        for d in host.daemons() {
            p.say(&format!("  {}: {} (pid {})", h.name, d.program, d.pid));
        }
        for m in host.modules()? {
            let file = m.file.map_or("built in".into(), |f| f.display().to_string());
            p.say(&format!("  {}: {} ({file})", h.name, m.name));
        }
        hosts.push(host);
        stop.check()?;
    }
    p.step("an overlay link and a VNIC on each host, made with dladm");
    for (host, h) in hosts.iter().zip(&t.hosts) {
        directory::name(t, host)?;
        make_links(host, t, h)?;
        p.command(host, &["show-link"])?;
        stop.check()?;
    }
    p.step("a guest behind each VNIC");
    for (host, h) in hosts.iter().zip(&t.hosts) {
        for g in &h.guests {
            guests::attach(host, t, g)?;
            p.say(&format!("  {} on {}: {}", g.vnic, host.name, g.address.join(", ")));
        }
    }
    Ok(())
}

/// Where progress goes: standard output belongs to the result when that is JSON.
pub struct Progress {
    /// The result is JSON.
    pub json: bool,
    start: Instant,
    /// Nobody reads it any more.
    unread: Cell<bool>,
}

impl Progress {
    /// From now on.
    pub fn start(json: bool) -> Progress {
        Progress { json, start: Instant::now(), unread: Cell::new(false) }
    }

    /// Seconds since its start.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// A line.
    pub fn say(&self, text: &str) {
        if self.json {
            eprintln!("{text}");
        } else {
            let told = out!("{text}");
            if told.is_err() && !self.unread.replace(true) {
                // What is running ends as it does with Ctrl-C, and is cleaned up.
                let _ = kill_process(getpid(), Signal::INT);
            }
        }
    }

    /// What comes next.
    pub fn step(&self, text: &str) {
        self.say(&format!("\n[{:5.1} s] {text}", self.seconds()));
    }

    /// Runs dladm on a host and shows what it printed.
    pub fn command(&self, host: &Host, args: &[&str]) -> Result<String> {
        self.say(&format!("{}# dladm {}", host.name, args.join(" ")));
        let out = host.dladm(args)?;
        if !out.is_empty() {
            self.say(out.trim_end());
        }
        Ok(out)
    }
}

/// What the daemons logged, for a demo that failed: its directory is removed.
fn logs(hosts: &[Host]) -> String {
    let mut text = String::new();
    for h in hosts {
        for program in ["fakekerneld", "varpd", "portolan"] {
            let log = std::fs::read_to_string(h.root.join(format!("log/{program}.log")))
                .unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            for l in &lines[lines.len().saturating_sub(5)..] {
                text.push_str(&format!("\n  {} {program}: {l}", h.name));
            }
        }
    }
    text
}

/// Ctrl-C and SIGTERM: the daemons are ended at once, so that whatever the demo waits for fails, and the ordinary
/// way of failing cleans up.
pub struct Interrupt {
    inner: Arc<Mutex<(bool, Vec<Daemon>)>>,
}

impl Interrupt {
    fn install() -> Result<Interrupt> {
        let inner = Arc::new(Mutex::new((false, Vec::<Daemon>::new())));
        let seen = inner.clone();
        ctrlc::set_handler(move || {
            if let Ok(mut g) = seen.lock() {
                g.0 = true;
                for d in g.1.iter().rev().filter(|d| d.alive()) {
                    if let Some(pid) = rustix::process::Pid::from_raw(d.pid) {
                        let _ = kill_process(pid, Signal::TERM);
                    }
                }
            }
        })?;
        Ok(Interrupt { inner })
    }

    fn watch(&self, daemons: &[Daemon]) {
        if let Ok(mut g) = self.inner.lock() {
            g.1.extend_from_slice(daemons);
        }
    }

    fn came(&self) -> bool {
        self.inner.lock().is_ok_and(|g| g.0)
    }

    /// Fails if the user interrupted.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.came(), "interrupted");
        Ok(())
    }
}
