// SPDX-License-Identifier: CDDL-1.0
//! A stack: its interfaces, its taps, and what keeps them together.
//!
//! ```text
//!   NIC event ──► news ──► looks (a thread) ──► sync: view ─► table ─► seats, hang-ups
//!   open, name of an interface ─────────────────► sync
//! ```
//!
//! Who asks for an interface looks first: IP may tell late what happened, or, without memory, never.
use crate::accept::GLOBAL_ZONE;
use crate::stats::Stats;
use crate::table::{Entry, Family, Name, Node, Table, Told};
use crate::tap::{Seat, Sink, TICKETS, Tap};
use crate::{ipnet, view};
use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, Ordering};
use ddi::ids::Id;
use ddi::kstat::Kstat;
use ddi::mem::{KArc, KVec, KmFlag};
use ddi::neti::{Hook, NetId, NicEvent, NicEvents, Protocol};
use ddi::netstack::{GLOBAL, Instance, Netstack};
use ddi::sync::{KMutex, Rcu, RcuGuard};
use ddi::task::Task;
use ddi::{Errno, sys};

/// Tunable: whether the promiscuous levels PHYS and MULTI have IP join the group of all multicasts
/// (not 0), or observing changes nothing (0). Looked at when a level is turned on.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static ipnet_allmulti: AtomicU32 = AtomicU32::new(0);

/// What is kept of events between two looks; of more it is only known that they were.
const TOLD: usize = 32;

/// A stack.
pub(crate) struct Stack {
    pub id: i32,
    net: Netstack,
    control: KMutex<Control>,
    seats: Rcu<KVec<Seat>>,
    news: KMutex<News>,
    pub stats: KArc<Stats>,
}

/// What changes now and then.
#[derive(Default)]
struct Control {
    table: Table,
    /// The newest first.
    taps: KVec<Member>,
    /// Zones of those that look or are about to.
    tickets: KVec<i32>,
    /// Empty while nobody looks.
    packets: KVec<Hook<Stack>>,
    /// `None` before the stack is ready, and when it goes.
    ip: Option<Ip>,
}

/// What a stack that is there has of IP. Taken apart in this order.
struct Ip {
    _kstat: Option<Kstat<Stats>>,
    _events: KVec<Hook<Stack>>,
    protocols: KVec<KArc<Protocol>>,
}

struct Member {
    tap: KArc<Tap>,
    /// It is counted as one that wants all multicasts.
    wants: bool,
}

/// What happened since the last look.
#[derive(Default)]
struct News {
    told: [Option<(u32, Told)>; TOLD],
    /// A look will come.
    queued: bool,
}

impl Instance for Stack {
    const SLOT: c_int = sys::NS_IPNET;

    fn create(net: Netstack) -> KArc<Stack> {
        let stack = KArc::new(Stack {
            id: net.id(),
            net,
            control: KMutex::new(Control::default()),
            seats: Rcu::new(KVec::new()),
            news: KMutex::new(News::default()),
            stats: KArc::new(Stats::default()),
        });
        // An exclusive stack has the id of its zone.
        if let Some(id) = NetId::of_zone(net.id()) {
            let mut protocols = KVec::new();
            let mut events = KVec::new();
            for family in [Family::V4, Family::V6] {
                let Some(protocol) = Protocol::lookup(id, family).map(KArc::new) else { continue };
                // Events come before the first look, so nothing is missed.
                if let Ok(hook) = Hook::nic_events(&protocol, c"ipnet_nicevents", &stack) {
                    let _ = events.push(hook, KmFlag::Sleep);
                }
                let _ = protocols.push(protocol, KmFlag::Sleep);
            }
            let (module, name, class) = (c"ipnet", c"ipnet_stats", c"misc");
            let kstat = Kstat::of_stack(id, module, 0, name, class, stack.stats.clone());
            stack.control.lock().ip = Some(Ip { _kstat: kstat, _events: events, protocols });
        }
        stack.sync();
        if let Ok(ipnet) = ipnet() {
            let _ = ipnet.stacks.lock().push(stack.clone(), KmFlag::Sleep);
        }
        stack
    }

    fn destroy(&self) {
        if let Ok(ipnet) = ipnet() {
            let mut stacks = ipnet.stacks.lock();
            if let Some(at) = stacks.iter().position(|s| core::ptr::eq(&raw const **s, self)) {
                stacks.remove(at);
            }
        }
        let mut control = self.control.lock();
        // Hooks first: there are no packets and no events after this.
        let mut gone = core::mem::take(&mut *control);
        gone.packets = KVec::new();
        drop(self.seats.replace(KVec::new()));
    }
}

impl NicEvents for Stack {
    fn event(this: &KArc<Stack>, event: NicEvent) {
        let what = match event.what {
            sys::NE_UNPLUMB => Some(Told::Unplumbed(event.family)),
            sys::NE_IFINDEX_CHANGE => Some(Told::Renumbered),
            _ => None,
        };
        let mut news = this.news.lock();
        if let (Some(what), Ok(index)) = (what, u32::try_from(event.index))
            && let Some(place) = news.told.iter_mut().find(|p| p.is_none())
        {
            *place = Some((index, what));
        }
        if !news.queued
            && let Ok(ipnet) = ipnet()
        {
            news.queued = ipnet.looks.dispatch(this.clone());
        }
    }
}

impl Task for Stack {
    fn run(&self) {
        self.sync();
    }
}

impl Stack {
    /// The seats as of now.
    #[inline]
    pub fn seats(&self) -> RcuGuard<'_, KVec<Seat>> {
        self.seats.read()
    }

    /// Whether zones share it.
    fn shared(&self) -> bool {
        self.id == GLOBAL
    }

    /// Looks at the interfaces, and tells whom it concerns.
    fn sync(&self) {
        {
            let mut control = self.control.lock();
            let Control { table, ip: Some(ip), .. } = &mut *control else { return };
            let news = core::mem::take(&mut *self.news.lock());
            for (index, what) in news.told.into_iter().flatten() {
                table.told(index, what);
            }
            let mut multicasts = |i, f, join| self.net.all_multicasts(i, f, join);
            // Only without memory, for which all of this waits.
            let Ok(view) = view::look(&ip.protocols) else { return };
            if table.apply(view, new_node, &mut multicasts) != Ok(false) {
                self.reseat(&mut control);
            }
        }
        self.hang_up();
    }

    /// Makes the seats anew, and waits for packets that use the old ones.
    fn reseat(&self, control: &mut Control) {
        let mut seats = KVec::new();
        for Member { tap, .. } in control.taps.iter() {
            let lost = tap.node.as_ref().is_some_and(|node| {
                let entry = control.table.entry(node);
                !entry.is_some_and(|e| e.visible(tap.zone, self.shared()))
            });
            if lost {
                tap.lost.store(true, Ordering::Relaxed);
            }
            let _ = seats.push(Seat::new(tap, &control.table), KmFlag::Sleep);
        }
        drop(self.seats.replace(seats));
    }

    /// Hangs up the streams that lost their interface. A seat keeps its stream from being closed.
    fn hang_up(&self) {
        for Seat { tap, .. } in self.seats().iter() {
            if let Sink::Queue(queue, _) = &tap.sink
                && tap.lost.load(Ordering::Relaxed)
                && !tap.told.swap(true, Ordering::Relaxed)
                && !queue.hang_up()
            {
                // Without memory the next look does it.
                tap.told.store(false, Ordering::Relaxed);
            }
        }
    }

    /// A ticket for a zone; whether there is one left. To be given back by [`Stack::dismiss`].
    pub fn admit(&self, zone: i32) -> bool {
        let tickets = &mut self.control.lock().tickets;
        let taken = tickets.iter().filter(|z| **z == zone).count();
        taken < TICKETS && tickets.push(zone, KmFlag::Sleep).is_ok()
    }

    /// One less.
    pub fn dismiss(&self, zone: i32) {
        let tickets = &mut self.control.lock().tickets;
        if let Some(at) = tickets.iter().position(|z| *z == zone) {
            tickets.remove(at);
        }
    }

    /// Shows packets to the tap from here on.
    pub fn add(this: &KArc<Stack>, tap: &KArc<Tap>) {
        {
            let mut control = this.control.lock();
            let member = Member { tap: tap.clone(), wants: false };
            let _ = control.taps.insert(0, member, KmFlag::Sleep);
            this.reseat(&mut control);
            let Control { packets, ip, .. } = &mut *control;
            if let (true, Some(ip)) = (packets.is_empty(), ip) {
                for protocol in ip.protocols.iter() {
                    // Not if the stack is on its way out: then there is nothing to see.
                    if let Ok(hook) = Hook::observe(protocol, c"ipnet_observe", this) {
                        let _ = packets.push(hook, KmFlag::Sleep);
                    }
                }
            }
        }
        this.hang_up();
    }

    /// Shows it none any more. Nobody uses the tap's sink afterwards.
    pub fn remove(&self, tap: &KArc<Tap>) {
        let _ = self.want(tap, false);
        let mut control = self.control.lock();
        if let Some(at) = control.taps.iter().position(|m| KArc::same(&m.tap, tap)) {
            control.taps.remove(at);
        }
        self.reseat(&mut control);
        if control.taps.is_empty() {
            control.packets = KVec::new();
        }
    }

    /// The tap wants all multicasts of its interface, or does not any more.
    ///
    /// # Errors
    /// Those of IP, and `ENXIO`: the interface went. Only for one that did not want them before.
    pub fn want(&self, tap: &KArc<Tap>, wants: bool) -> Result<(), Errno> {
        let Some(node) = &tap.node else { return Ok(()) };
        let wants = wants && ipnet_allmulti.load(Ordering::Relaxed) != 0;
        let mut control = self.control.lock();
        let Control { table, taps, .. } = &mut *control;
        let Some(member) = taps.iter_mut().find(|m| KArc::same(&m.tap, tap)) else {
            return Ok(());
        };
        let mut multicasts = |i, f, join| self.net.all_multicasts(i, f, join);
        match (member.wants, wants) {
            (false, true) => table.want(node, &mut multicasts)?,
            (true, false) => table.unwant(node, &mut multicasts),
            _ => {}
        }
        member.wants = wants;
        Ok(())
    }

    /// Calls `f` with the first interface that the zone may see for which it returns something.
    pub fn find<R>(&self, zone: i32, mut f: impl FnMut(&Entry) -> Option<R>) -> Option<R> {
        self.sync();
        let control = self.control.lock();
        let mut visible = control.table.iter().filter(|e| e.visible(zone, self.shared()));
        visible.find_map(&mut f)
    }

    /// The interface of this name, if the zone may see it.
    pub fn by_name(&self, zone: i32, name: &Name) -> Option<(KArc<Node>, u32)> {
        self.find(zone, |e| (e.node.name == *name).then(|| (e.node.clone(), e.index)))
    }

    /// The interface of this minor number, if the zone may see it.
    pub fn by_minor(&self, zone: i32, minor: u32) -> Option<KArc<Node>> {
        self.find(zone, |e| (e.node.minor.get() == minor).then(|| e.node.clone()))
    }

    /// The stack other than this with the interface of this minor number: for the global zone, which
    /// may look into all.
    pub fn elsewhere(&self, minor: u32) -> Option<(KArc<Stack>, KArc<Node>)> {
        let mut others = KVec::new();
        for stack in ipnet().ok()?.stacks.lock().iter().filter(|s| s.id != self.id) {
            others.push(stack.clone(), KmFlag::Sleep).ok()?;
        }
        others.iter().find_map(|s| Some((s.clone(), s.by_minor(GLOBAL_ZONE, minor)?)))
    }
}

fn new_node(name: Name, loopback: bool) -> Option<KArc<Node>> {
    let minor = Id::new(&ipnet().ok()?.minors)?;
    Some(KArc::new(Node { name, minor, loopback }))
}
