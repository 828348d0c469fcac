// SPDX-License-Identifier: CDDL-1.0
//! Ports: the stations on a MAC, and how frames reach the clients that opened them.
//!
//! Delivery never recurses. Whoever brings frames in holds an [`RxScope`]; frames are put on a list
//! of the thread by client, and the outermost scope calls the clients when it ends. So a client
//! that answers from its callback, and whose answer goes to a sibling that answers too, costs no
//! stack; and a batch of the socket layer reaches a client as one batch.

use super::capture::{self, Direction};
use super::client::{Frames, RxBatch};
use super::ether::{self, ETHER_HDR, Link, VLAN_TAG};
use super::gro;
use super::mac::{Capabilities, Mac, Ports};
use super::msg::{Chain, Msg};
use super::notify::Note;
use super::offload::{self, HEADROOM};
use super::stat::Stat;
use super::udp;
use parking_lot::{Condvar, Mutex, RwLock};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::{CStr, c_int};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Frames given to the provider in one call.
const BURST: usize = 64;

/// Traffic of a port since it was made; that of a VNIC is seen as the kstat `vnic:<link id>:link`.
#[derive(Debug, Default)]
pub struct Stats {
    /// Frames received: `ipackets64`.
    pub rx_frames: AtomicU64,
    /// Bytes received: `rbytes64`.
    pub rx_bytes: AtomicU64,
    /// Frames sent, one that is to be segmented counting once: `opackets64`.
    pub tx_frames: AtomicU64,
    /// Bytes sent: `obytes64`.
    pub tx_bytes: AtomicU64,
    /// Received frames lost because nobody listens or there is no memory: `idrops64`.
    pub rx_drops: AtomicU64,
    /// Frames refused on transmit, because they are too short or long, wrongly tagged, or their
    /// offload marks do not fit: `odrops64`.
    pub tx_drops: AtomicU64,
}

const STAT_NAMES: [&CStr; 6] =
    [c"ipackets64", c"rbytes64", c"opackets64", c"obytes64", c"idrops64", c"odrops64"];

impl Stats {
    /// The values in the order of their kstat.
    pub fn values(&self) -> [u64; 6] {
        [
            &self.rx_frames,
            &self.rx_bytes,
            &self.tx_frames,
            &self.tx_bytes,
            &self.rx_drops,
            &self.tx_drops,
        ]
        .map(|c| c.load(Ordering::Relaxed))
    }
}

fn add(c: &AtomicU64, n: usize) {
    c.fetch_add(n as u64, Ordering::Relaxed);
}

/// A station on a MAC: a VNIC, or (without address) a raw opening of the link.
pub struct Port {
    /// The MAC below.
    pub mac: Arc<Mac>,
    /// Link id of the VNIC, or of the link opened.
    pub linkid: u32,
    /// Unicast address; `None` hears everything.
    pub addr: Option<ether::Mac>,
    /// VLAN whose frames it sees, without their tag; 0 sees all as they are.
    pub vid: u16,
    /// `VNIC_MAC_ADDR_TYPE_*`: how the address was chosen.
    pub addr_type: c_int,
    /// MTU given to this VNIC, 0 for that of the link.
    own_mtu: AtomicU32,
    clients: RwLock<Vec<Arc<ClientCore>>>,
    /// Counts the times that the provider said it can transmit again.
    tx_events: Mutex<u64>,
    tx_wake: Condvar,
    /// Traffic.
    pub stats: Arc<Stats>,
    kstat: Mutex<Option<Stat>>,
}

impl Port {
    /// A port that is on no MAC yet; see `Mac::attach`.
    pub fn new(
        mac: Arc<Mac>,
        linkid: u32,
        addr: Option<ether::Mac>,
        vid: u16,
        addr_type: c_int,
    ) -> Arc<Port> {
        Arc::new(Port {
            mac,
            linkid,
            addr,
            vid,
            addr_type,
            own_mtu: AtomicU32::new(0),
            clients: RwLock::default(),
            tx_events: Mutex::new(0),
            tx_wake: Condvar::new(),
            stats: Arc::default(),
            kstat: Mutex::default(),
        })
    }

    /// Makes the kstat appear, or removes it.
    pub fn show_kstat(&self, on: bool) {
        let stats = self.stats.clone();
        *self.kstat.lock() = on
            .then(|| {
                let read = move || stats.values().to_vec();
                Stat::new(c"vnic", self.linkid, c"link", &STAT_NAMES, read)
            })
            .flatten();
    }

    /// The MTU this VNIC was given, if any.
    pub fn own_mtu(&self) -> Option<u32> {
        Some(self.own_mtu.load(Ordering::Relaxed)).filter(|m| *m != 0)
    }

    /// Largest payload of a frame in bytes.
    pub fn mtu(&self) -> u32 {
        self.own_mtu().unwrap_or(u32::MAX).min(self.mac.max_sdu())
    }

    /// Gives the VNIC an MTU of its own, at most that of the link.
    pub fn set_mtu(&self, mtu: u32) -> Result<(), c_int> {
        if mtu < self.mac.min_sdu().max(68) || mtu > self.mac.max_sdu() {
            return Err(super::errno::EINVAL);
        }
        self.own_mtu.store(mtu, Ordering::SeqCst);
        self.notify(Note::Mtu(mtu));
        Ok(())
    }

    /// Whether anybody has the port open.
    pub fn busy(&self) -> bool {
        !self.clients.read().is_empty()
    }

    /// Adds a client.
    pub fn open(&self, client: &Arc<ClientCore>) {
        self.clients.write().push(client.clone());
    }

    /// Takes a client off.
    pub fn close(&self, client: &Arc<ClientCore>) {
        self.clients.write().retain(|c| !Arc::ptr_eq(c, client));
    }

    /// Tells the clients of a change of the link.
    pub fn notify(&self, note: Note) {
        let note = match note {
            Note::Mtu(_) => Note::Mtu(self.mtu()),
            n => n,
        };
        // No lock is held over the callbacks.
        let clients = self.clients.read().clone();
        for c in clients {
            let f = c.notes.lock().clone();
            if let Some(f) = f {
                f(note);
            }
        }
    }

    /// Wakes those who wait to transmit.
    pub fn tx_ready(&self) {
        *self.tx_events.lock() += 1;
        self.tx_wake.notify_all();
    }

    /// Number of wakeups so far.
    pub fn tx_events(&self) -> u64 {
        *self.tx_events.lock()
    }

    /// Waits until there was a wakeup after number `seen`; false when the time is over.
    pub fn wait_tx(&self, seen: u64, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut n = self.tx_events.lock();
        !self.tx_wake.wait_while_until(&mut n, |n| *n == seen, deadline).timed_out()
    }

    /// Whether frames to a group on this VLAN are for the port.
    pub fn hears(&self, link: &Link) -> bool {
        self.vid == 0 || self.vid == link.vid()
    }

    /// Takes a frame in, without its tag when the port is of a VLAN.
    pub fn receive(&self, mut msg: Msg, link: &Link) {
        if self.vid != 0 && link.tci.is_some() {
            match untag(msg) {
                Some(m) => msg = m,
                None => {
                    add(&self.stats.rx_drops, 1);
                    return;
                }
            }
        }
        let group = ether::is_group(&link.dst).then_some(link.dst);
        self.receive_run(Chain::from_iter([msg]), group);
    }

    /// Puts frames of one destination on the thread's list for each client that wants them.
    /// `group`: the destination, if it is one.
    pub fn receive_run(&self, frames: Chain, group: Option<ether::Mac>) {
        let n = frames.count();
        add(&self.stats.rx_frames, n);
        add(&self.stats.rx_bytes, frames.messages().map(|m| m.len()).sum());
        if self.addr.is_some() && capture::any() {
            capture::chain(self.linkid, Direction::In, &frames);
        }
        let clients = self.clients.read();
        let mut wanting = clients.iter().filter(|c| group.is_none_or(|g| c.wants(&g))).peekable();
        while let Some(c) = wanting.next() {
            if wanting.peek().is_none() {
                enqueue(c, frames);
                return;
            }
            enqueue(c, frames.copy());
        }
        add(&self.stats.rx_drops, n);
    }

    /// Sends frames: to siblings of the MAC directly, all others to the provider. What the provider
    /// had no room for comes back.
    pub fn transmit(self: &Arc<Self>, frames: Frames, caps: &Capabilities) -> Result<(), Frames> {
        let _scope = RxScope::enter();
        let _batch = udp::Batch::open();
        let Frames { mut ready, mut fresh } = frames;
        let siblings = self.mac.table();
        loop {
            while ready.count() < BURST
                && let Some(m) = fresh.pop()
            {
                if self.prepare(m, &siblings, caps, &mut ready).is_none() {
                    add(&self.stats.tx_drops, 1);
                }
            }
            if ready.is_empty() {
                return Ok(());
            }
            ready = self.mac.transmit(ready);
            if !ready.is_empty() {
                return Err(Frames { ready, fresh });
            }
        }
    }

    /// Checks and tags a frame, loops it back to siblings, and finishes what the provider cannot.
    /// `None`: refused.
    fn prepare(
        self: &Arc<Self>,
        mut msg: Msg,
        siblings: &Ports,
        caps: &Capabilities,
        out: &mut Chain,
    ) -> Option<()> {
        let mut link = Link::parse(msg.head())?;
        let marks = msg.marks();
        let sdu = if marks.wants_lso() {
            // Of each segment: the headers from the network layer on, and one MSS.
            let ip = ether::Ip::parse(msg.head(), &link)?;
            offload::tcp_header_end(msg.head(), &ether::Ip { end: msg.head().len(), ..ip })?
                + marks.mss as usize
                - link.len
        } else {
            msg.len() - link.len
        };
        if sdu > self.mtu() as usize {
            return None;
        }
        add(&self.stats.tx_frames, 1);
        add(&self.stats.tx_bytes, msg.len());
        if self.addr.is_some() && capture::any() {
            capture::frame(self.linkid, Direction::Out, &msg);
        }
        if self.vid != 0 {
            match link.tci {
                None => {
                    msg = tag(msg, self.vid)?;
                    link = Link::parse(msg.head())?;
                }
                Some(_) if link.vid() == self.vid => {}
                Some(_) => return None,
            }
        }
        match siblings.deliver(msg, &link, Some(self)) {
            Some(msg) => offload::finish(msg, caps, out).ok(),
            None => Some(()),
        }
    }
}

/// A frame without its 802.1Q tag. `None` when there is no memory for a copy.
fn untag(mut msg: Msg) -> Option<Msg> {
    if msg.head().len() < ETHER_HDR + VLAN_TAG || !msg.is_unshared() {
        msg = msg.flatten(HEADROOM)?;
    }
    msg.head_mut().copy_within(..12, VLAN_TAG);
    msg.trim_front(VLAN_TAG);
    Some(msg)
}

/// A frame with an 802.1Q tag of priority 0. `None` when there is no memory for a copy.
fn tag(mut msg: Msg, vid: u16) -> Option<Msg> {
    if !msg.grow_front(VLAN_TAG) {
        msg = msg.flatten(HEADROOM)?;
        msg.grow_front(VLAN_TAG);
    }
    let h = msg.head_mut();
    h.copy_within(VLAN_TAG..VLAN_TAG + 12, 0);
    h[12..14].copy_from_slice(&(illumos_sys_hdrs::ETHERTYPE_VLAN as u16).to_be_bytes());
    h[14..16].copy_from_slice(&vid.to_be_bytes());
    Some(msg)
}

/// Called with the frames for a client.
pub type RxFn = dyn Fn(&mut RxBatch) + Send + Sync;
/// Called with changes of the link.
pub type NoteFn = dyn Fn(Note) + Send + Sync;

/// The receiving side of a client.
#[derive(Default)]
pub struct ClientCore {
    rx: Mutex<Option<Arc<RxFn>>>,
    /// Held (read) during a callback, so that closing can wait for it.
    gate: RwLock<()>,
    /// Changes of the link go here.
    pub notes: Mutex<Option<Arc<NoteFn>>>,
    groups: RwLock<HashSet<ether::Mac>>,
    /// All multicast groups.
    pub all_groups: AtomicBool,
    /// Takes frames whose checksum or segmentation is still to do.
    pub takes_offload: AtomicBool,
    /// Wants consecutive TCP segments joined.
    pub coalesce: AtomicBool,
}

thread_local! {
    static RX: RefCell<RxList> = const { RefCell::new(RxList { scopes: 0, list: Vec::new() }) };
    /// The client whose callback runs on this thread.
    static RUNNING: Cell<*const ClientCore> = const { Cell::new(std::ptr::null()) };
}

struct RxList {
    scopes: u32,
    list: Vec<(Arc<ClientCore>, Chain)>,
}

fn enqueue(client: &Arc<ClientCore>, frames: Chain) {
    RX.with_borrow_mut(|r| match r.list.iter_mut().rev().find(|(c, _)| Arc::ptr_eq(c, client)) {
        Some((_, chain)) => chain.append(frames),
        None => r.list.push((client.clone(), frames)),
    });
}

/// While the outermost of a thread lives frames are collected; at its end clients are called.
#[must_use]
pub struct RxScope(std::marker::PhantomData<*const ()>);

impl RxScope {
    /// Opens a scope.
    pub fn enter() -> RxScope {
        RX.with_borrow_mut(|r| r.scopes += 1);
        RxScope(std::marker::PhantomData)
    }
}

impl Drop for RxScope {
    fn drop(&mut self) {
        // What callbacks bring in while we call clients joins the list: the scope counts until it
        // is empty.
        while RX.with_borrow(|r| r.scopes) == 1 {
            let mut list = RX.with_borrow_mut(|r| std::mem::take(&mut r.list));
            if list.is_empty() {
                // Keeps the allocation.
                RX.with_borrow_mut(|r| r.list = list);
                break;
            }
            for (client, chain) in list.drain(..) {
                client.deliver(chain);
            }
            RX.with_borrow_mut(|r| {
                if r.list.is_empty() {
                    r.list = list;
                }
            });
        }
        RX.with_borrow_mut(|r| r.scopes -= 1);
    }
}

impl ClientCore {
    /// Whether frames to a group are wanted.
    fn wants(&self, group: &ether::Mac) -> bool {
        *group == ether::BROADCAST
            || self.all_groups.load(Ordering::Relaxed)
            || self.groups.read().contains(group)
    }

    /// Joins or leaves a group; whether that changed anything.
    pub fn group(&self, group: &ether::Mac, join: bool) -> bool {
        let mut g = self.groups.write();
        if join { g.insert(*group) } else { g.remove(group) }
    }

    /// The groups joined.
    pub fn groups(&self) -> Vec<ether::Mac> {
        self.groups.read().iter().copied().collect()
    }

    /// Sets the receive callback. With `None` no callback runs any more when this returns, unless
    /// it is called from the callback itself.
    pub fn set_rx(&self, f: Option<Arc<RxFn>>) {
        let ends = f.is_none();
        *self.rx.lock() = f;
        if ends && RUNNING.get() != std::ptr::from_ref(self) {
            drop(self.gate.write());
        }
    }

    fn deliver(&self, chain: Chain) {
        let _gate = self.gate.read_recursive();
        let rx = self.rx.lock().clone();
        let Some(rx) = rx else { return };
        let mut ready = chain;
        if !self.takes_offload.load(Ordering::Relaxed) {
            let mut done = Chain::default();
            while let Some(m) = ready.pop() {
                let _ = offload::finish(m, &Capabilities::default(), &mut done);
            }
            ready = done;
        } else if self.coalesce.load(Ordering::Relaxed) && ready.count() > 1 {
            ready = gro::coalesce(ready);
        }
        let before = RUNNING.replace(self);
        rx(&mut RxBatch::new(ready));
        RUNNING.set(before);
    }
}
