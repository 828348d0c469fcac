// SPDX-License-Identifier: CDDL-1.0
//! Hosts with the svp engine, and portolan's directory, in simulated time: everything that happens follows
//! from a seed, so that what went wrong once goes wrong again.
//!
//! ```text
//!   plan: what a seed means        chaos: guests, administrators, evil
//!                 \                  |
//!   world: what happens, in order of time ------------------.
//!     |  host: varpd_svp::engine, links, each with a kernel | check: after everything that happens
//!     |     |  traffic, wire: bytes, split, late, lost      | watch: a second opinion on each engine
//!     |  site: portolan's directory, Answerer, a name       | truth: what was right when
//!     '-------------------------------------------------------'
//! ```
//!
//! Engine, protocol and directory are what ships. Simulated are the edge of the plugin (sockets, DNS, the
//! kernel's cache, guests' neighbours), that of the server (its sockets and disk), and time.
//!
//! # Vocabulary
//!
//! * *old*: said of a host that speaks version 1, and has no routes.
//! * *packet*: one that a guest gives its router, by its place in the universe of questions.
//! * *site*: a directory server, with a name; *front*: one of its addresses, with a *mood*.
//! * *wire*: a TCP connection. *link*: an instance with what the kernel and the guests keep.
//! * *bad times*: the first part of a run, in which evil happens. After it everything is healed, and things must
//!   come right by themselves.
//!
//! # Invariants
//!
//! Those of `check` and `watch`:
//!
//! * A lookup is answered once, with what the directory said at some time since it was asked. Every open one is
//!   outstanding on some connection.
//! * What a host keeps is what its directory says, or the host's log holds the entry that says it is not. Of a
//!   route that is all of it: network, data centre, addresses, and the host of the guest that it leads to.
//! * A log entry is removed by its host, after every link was told.
//! * Connections to an address keep the backoff; DNS and the log are not asked faster than they should be.
//! * Remotes are degraded when DNS has failed or all members have, and links were told so once.
//! * What an engine sends is never refused. Questions, bytes and members are bounded.
//!
//! Those of the end ([`run`]): some time after all is healed nothing is degraded, logs are empty, every
//! lookup finds what there is, a change gets to all hosts within a poll; when the last instance is gone, so is
//! everything else.

use libvarpd as _; // The functions that the plugin around the engine binds to.

mod chaos;
mod check;
mod host;
mod kernel;
mod plan;
mod site;
mod traffic;
mod truth;
mod watch;
mod wire;
mod world;

pub use world::Figures;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use world::{Check, Event, World};

/// A seed of which something is wrong.
#[derive(Debug)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// Seconds from the beginning.
    pub at: Duration,
    /// What is wrong.
    pub why: String,
}

/// Enough for every sleep, backoff, DNS refresh and time-out there is.
const RECOVERY: Duration = Duration::from_secs(180);
/// The longest wait between two polls (svp.md 5.4), and three batches with every packet as late as can be.
const POLL: Duration = Duration::from_secs(18);

/// One run; with `trace` a line for everything that happens.
pub fn run(seed: u64, trace: bool) -> (Result<Figures, Failure>, Vec<String>) {
    let mut world = plan::world(seed, trace);
    let result = match catch_unwind(AssertUnwindSafe(|| story(&mut world))) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied());
            Err(format!("panic: {}", text.unwrap_or("?")))
        }
    };
    let (at, figures) = (world.now, world.figures);
    (result.map(|()| figures).map_err(|why| Failure { seed, at, why }), world.into_trace())
}

fn story(world: &mut World) -> Check {
    world.say(|| "once upon a time".into());
    world.at(Duration::ZERO, Event::Chaos);
    world.run_until(world.plan.bad_times)?;
    world.say(|| "all is healed".into());
    world.heal()?;
    world.run_until(world.now + RECOVERY)?;
    recovered(world)?;
    all_is_found(world)?;
    for _ in 0..3 {
        a_change_arrives(world)?;
    }
    the_end(world)
}

fn recovered(world: &World) -> Check {
    for (h, host) in world.hosts.iter().enumerate() {
        if let Some(open) = host.open.values().next() {
            return Err(format!("host {h}: {open:?} was never answered"));
        }
        if let Some(link) = host.links.values().find(|link| link.degraded.is_some()) {
            return Err(format!("host {h} is degraded for ever: {:?}", link.degraded));
        }
    }
    empty_logs(world)
}

fn empty_logs(world: &World) -> Check {
    for (s, site) in world.sites.iter().enumerate() {
        let Some(directory) = &site.directory else { return Err(format!("site {s} is down")) };
        let index = directory.read();
        for (h, host) in world.hosts.iter().enumerate() {
            let left = index.host_log(host.id).count();
            if left > 0 {
                return Err(format!("site {s}: {left} entries stay in the log of host {h}"));
            }
        }
        drop(index);
        (0..world.hosts.len()).try_for_each(|h| world.fresh(h, s))?;
    }
    Ok(())
}

/// Every link asks for everything.
fn all_is_found(world: &mut World) -> Check {
    for h in 0..world.hosts.len() {
        let links: Vec<_> =
            world.hosts[h].links.iter().map(|(id, l)| (*id, l.site, l.vnet)).collect();
        for (instance, s, vnet) in links {
            for key in world.sites[s].universe.keys().into_iter().filter(|key| key.is_of(vnet)) {
                world.look_up(h, instance, key, true)?;
                // No more at once than may be, however late packets are.
                world.run_until(world.now + Duration::from_secs(1))?;
            }
        }
    }
    world.run_until(world.now + Duration::from_secs(2))?;
    match world.hosts.iter().map(|host| host.open.len()).sum() {
        0usize => Ok(()),
        n => Err(format!("{n} lookups are not answered though nothing is the matter")),
    }
}

/// A guest of host 0 moves, and everybody knows with the next poll.
fn a_change_arrives(world: &mut World) -> Check {
    let began = world.now;
    for s in 0..world.sites.len() {
        world.shuffle(s)?;
    }
    while world.now < began + POLL {
        world.run_until(world.now + Duration::from_millis(100))?;
        if empty_logs(world).is_ok() {
            world.figures.convergence = world.figures.convergence.max(world.now - began);
            return Ok(());
        }
    }
    empty_logs(world)
}

fn the_end(world: &mut World) -> Check {
    for h in 0..world.hosts.len() {
        let links: Vec<_> = world.hosts[h].links.keys().copied().collect();
        for instance in links {
            world.detach(h, instance)?;
        }
        let host = &world.hosts[h];
        let left = (host.engine.status().len(), host.wires.len(), host.engine.deadline());
        if left != (0, 0, None) {
            return Err(format!("host {h} is not done: {left:?}"));
        }
    }
    Ok(())
}
