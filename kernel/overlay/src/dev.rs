// SPDX-License-Identifier: CDDL-1.0
//! A link and its life.
//!
//! ```text
//!   created ─ ASSOCIATE ─► has a target ─ ACTIVATE ─► active, link up ── DELETE ──►
//!                                                      │           ▲
//!                                           first user │           │ last user
//!                                                      ▼           │
//!                                                     started: on a socket
//! ```
//!
//! What the packet path needs of all this is one [`Io`], replaced as a whole: whoever removes a
//! socket or a target from it has waited for all packets that used it.
use crate::mux::Mux;
use crate::overlay;
use crate::plugin::{Encap, User};
use crate::stats::{Counter, DropReason, Drops, Flow, LINK_NAMES};
use crate::target::cache::{CacheStats, Limits};
use crate::target::limit::{Limit, overlay_route_max, overlay_target_max};
use crate::target::{Mode, Target};
use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use ddi::Errno;
use ddi::kstat::Kstat;
use ddi::mac::{DevInfo, LinkState, MacDriver, MacLink, MacParams};
use ddi::mblk::MblkChain;
use ddi::mem::{KArc, KVec, KmFlag, copy};
use ddi::sync::{KMutex, Rcu};
use ddi::time::{Callout, Expire, sleep_ms};
use overlay_abi::dld::OVERLAY_STATUS_BUFLEN;

/// Smallest MTU, bytes.
pub(crate) const MTU_MIN: u32 = 576;
/// MTU of a new link: fits into an Ethernet underlay of 1500 with all headers.
pub(crate) const MTU_DEFAULT: u32 = 1400;
/// Largest MTU: fits into one of 9000.
pub(crate) const MTU_MAX: u32 = 8900;
/// Bytes of an Ethernet header with a VLAN tag: what a frame may be longer than the MTU.
pub(crate) const FRAME_EXTRA: usize = crate::frame::VLAN_HDR;
const VLAN_TAG: u32 = 4;
/// How long DELETE waits for ioctls that use the link, milliseconds.
const DELETE_WAIT_MS: u32 = 1000;
const GONE: &[u8] = b"no varpd instance is associated";

/// What the packet path needs.
#[derive(Clone)]
pub(crate) struct Io {
    /// The socket, while started.
    pub mux: Option<KArc<Mux>>,
    pub target: Option<KArc<Target>>,
    pub vnetid: u64,
}

/// What ioctls change.
pub(crate) struct State {
    pub vnetid: u64,
    pub active: bool,
    pub degraded: bool,
    /// Degraded because it lost its target, and for no other reason.
    lost_target: bool,
    pub message: [u8; OVERLAY_STATUS_BUFLEN],
}

/// A link.
pub(crate) struct Dev {
    pub linkid: u32,
    /// Its data center.
    pub dcid: u32,
    /// How large its caches may become.
    pub limits: Limits,
    /// Where DLS knows it.
    zone: i32,
    pub encap: Encap,
    pub mac: MacLink,
    pub io: Rcu<Io>,
    /// Lock order: a link's perimeter, then this, then the health's.
    pub state: KMutex<State>,
    /// Serialises changes of `io`; held while these wait for packets under way, which take neither.
    control: KMutex<()>,
    /// Longest frame of a guest.
    pub max_frame: AtomicUsize,
    pub tx: Flow,
    pub rx: Flow,
    pub blocked: Counter,
    pub routed: Counter,
    pub drops: Drops,
    pub callout: Callout,
    kstat: KMutex<Option<Kstat<Dev>>>,
    /// Ioctls that use the link.
    holds: AtomicUsize,
    /// Whether ioctls may find it: not before it is complete, nor while it goes.
    visible: AtomicBool,
}

/// Keeps a link from being deleted.
pub(crate) struct Hold(KArc<Dev>);

impl core::ops::Deref for Hold {
    type Target = KArc<Dev>;
    fn deref(&self) -> &KArc<Dev> {
        &self.0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::Release);
    }
}

/// All links, by link id.
pub(crate) struct Devices(KMutex<KVec<KArc<Dev>>>);

impl Devices {
    pub fn new() -> Self {
        Devices(KMutex::new(KVec::new()))
    }

    /// The link of this id.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn hold(&self, linkid: u32) -> Result<Hold, Errno> {
        let devs = self.0.lock();
        let at = devs.binary_search_by_key(&linkid, |d| d.linkid).map_err(|_| Errno::ENOENT)?;
        let dev =
            devs.get(at).filter(|d| d.visible.load(Ordering::Relaxed)).ok_or(Errno::ENOENT)?;
        dev.holds.fetch_add(1, Ordering::Acquire);
        Ok(Hold(dev.clone()))
    }

    /// Whether there are links.
    pub fn in_use(&self) -> bool {
        !self.0.lock().is_empty()
    }

    /// Ids of all links, ascending.
    pub fn ids(&self) -> Result<KVec<u32>, Errno> {
        let devs = self.0.lock();
        let mut ids = KVec::new();
        for dev in devs.iter().filter(|d| d.visible.load(Ordering::Relaxed)) {
            ids.push(dev.linkid, KmFlag::Sleep)?;
        }
        Ok(ids)
    }

    fn add(&self, dev: &KArc<Dev>, vnetid: u64) -> Result<(), Errno> {
        let mut devs = self.0.lock();
        if vnet_in_use(&devs, dev, vnetid) {
            return Err(Errno::EEXIST);
        }
        match devs.binary_search_by_key(&dev.linkid, |d| d.linkid) {
            Ok(_) => Err(Errno::EEXIST),
            Err(at) => devs.insert(at, dev.clone(), KmFlag::Sleep),
        }
    }

    fn remove(&self, dev: &KArc<Dev>) {
        let mut devs = self.0.lock();
        if let Some(at) = devs.iter().position(|d| KArc::same(d, dev)) {
            devs.remove(at);
        }
    }

    /// Gives a link another virtual network id.
    ///
    /// # Errors
    /// `EEXIST`: another link of its encapsulation has it. `ENOTSUP`: the link is active.
    pub fn set_vnetid(&self, dev: &KArc<Dev>, vnetid: u64) -> Result<(), Errno> {
        let devs = self.0.lock();
        if vnet_in_use(&devs, dev, vnetid) {
            return Err(Errno::EEXIST);
        }
        let mut state = dev.state.lock();
        if state.active {
            return Err(Errno::ENOTSUP);
        }
        state.vnetid = vnetid;
        Ok(())
    }
}

fn vnet_in_use(devs: &[KArc<Dev>], dev: &KArc<Dev>, vnetid: u64) -> bool {
    let plugin = dev.encap.plugin();
    devs.iter().any(|d| {
        !KArc::same(d, dev)
            && KArc::same(d.encap.plugin(), plugin)
            && d.state.lock().vnetid == vnetid
    })
}

/// Makes a link.
///
/// # Errors
/// `EINVAL`: the id does not fit the encapsulation. `EEXIST`: link id or network in use. Those of
/// the plugin, of mac_register and of dls_devnet_create.
pub(crate) fn create(
    linkid: u32,
    (vnetid, dcid): (u64, u32),
    user: User,
    dip: DevInfo,
    zone: i32,
) -> Result<(), Errno> {
    if vnetid > user.plugin().max_vnetid() {
        return Err(Errno::EINVAL);
    }
    let vlan = user.plugin().vlan();
    // The handle is for the plugin to tell links apart, no more.
    let encap = Encap::new(user, core::ptr::without_provenance_mut(linkid as usize))?;
    let state = State {
        vnetid,
        active: false,
        degraded: false,
        lost_target: false,
        message: [0; OVERLAY_STATUS_BUFLEN],
    };
    let limits = Limits {
        macs: KArc::new(Limit::new(&overlay_target_max)),
        routes: KArc::new(Limit::new(&overlay_route_max)),
    };
    let dev = KArc::new(Dev {
        linkid,
        dcid,
        limits,
        zone,
        encap,
        mac: MacLink::new(),
        io: Rcu::new(Io { mux: None, target: None, vnetid }),
        state: KMutex::new(state),
        control: KMutex::new(()),
        max_frame: AtomicUsize::new(max_frame(MTU_DEFAULT)),
        tx: Flow::default(),
        rx: Flow::default(),
        blocked: Counter::default(),
        routed: Counter::default(),
        drops: Drops::default(),
        callout: Callout::default(),
        kstat: KMutex::new(None),
        holds: AtomicUsize::new(0),
        visible: AtomicBool::new(false),
    });
    let devs = &overlay()?.devs;
    devs.add(&dev, vnetid)?;
    let params = MacParams { max_sdu: MTU_DEFAULT, margin: if vlan { VLAN_TAG } else { 0 } };
    dev.mac.register(dip, &params, &dev).inspect_err(|_| devs.remove(&dev))?;
    dev.mac.set_state(LinkState::Down);
    if let Err(e) = dev.mac.devnet_create(linkid, zone) {
        // Nobody can have found the link: neither fails.
        let _ = dev.mac.disable();
        let _ = dev.mac.unregister(&dev);
        devs.remove(&dev);
        return Err(e);
    }
    let kstat = Kstat::new(c"overlay", linkid as i32, c"link", c"net", dev.clone());
    *dev.kstat.lock() = kstat;
    dev.visible.store(true, Ordering::Release);
    Ok(())
}

/// Deletes a link.
///
/// # Errors
/// `ENOENT`. `EBUSY`: it has users, or an ioctl uses it for longer than a second; it stays as it
/// was. Others of DLS and MAC: DELETE can be tried again.
pub(crate) fn delete(linkid: u32) -> Result<(), Errno> {
    let overlay = overlay()?;
    let dev = {
        let hold = overlay.devs.hold(linkid)?;
        // From here on nobody finds it; only one deletion can do this.
        if !hold.visible.swap(false, Ordering::AcqRel) {
            return Err(Errno::ENOENT);
        }
        (*hold).clone()
    };
    let result = dismantle(&dev);
    match result {
        Ok(()) => overlay.devs.remove(&dev),
        Err(_) => dev.visible.store(true, Ordering::Release),
    }
    result
}

fn dismantle(dev: &KArc<Dev>) -> Result<(), Errno> {
    let overlay = overlay()?;
    // Ioctls in progress end soon: none waits with a link held. New ones do not find it.
    let mut waited = 0;
    while dev.holds.load(Ordering::Acquire) != 0 {
        if waited >= DELETE_WAIT_MS {
            return Err(Errno::EBUSY);
        }
        sleep_ms(1);
        waited = waited.saturating_add(1);
    }
    if dev.io.read().mux.is_some() {
        return Err(Errno::EBUSY);
    }
    dev.mac.devnet_destroy()?;
    if let Err(e) = dev.mac.disable() {
        let _ = dev.mac.devnet_create(dev.linkid, dev.zone);
        return Err(e);
    }
    dev.mac.unregister(dev)?;
    *dev.kstat.lock() = None;
    dev.callout.drain();
    dev.end_target();
    let degraded = core::mem::take(&mut dev.state.lock().degraded);
    if degraded {
        overlay.health.restore();
    }
    Ok(())
}

/// Longest frame of a link with this MTU.
fn max_frame(mtu: u32) -> usize {
    (mtu as usize).saturating_add(FRAME_EXTRA)
}

impl Dev {
    /// Changes what the packet path uses. When this returns no packet is under way with what it
    /// used before, and what `change` took out is the caller's alone.
    fn change_io<R>(&self, change: impl FnOnce(&mut Io) -> R) -> R {
        let _control = self.control.lock();
        let mut io = self.io.read().clone();
        let result = change(&mut io);
        drop(self.io.replace(io));
        result
    }

    /// Waits for packets under way: when this returns none of them goes by what was forgotten before.
    pub fn wait_for_packets(&self) {
        self.change_io(|_| ());
    }

    /// Associates a target.
    ///
    /// # Errors
    /// `EEXIST`: there is one.
    pub fn associate(&self, target: Target) -> Result<(), Errno> {
        let new = KArc::new(target);
        self.change_io(|io| match io.target {
            None => {
                io.target = Some(new);
                Ok(())
            }
            Some(_) => Err(Errno::EEXIST),
        })?;
        self.restore(|state| state.lost_target);
        Ok(())
    }

    /// Takes the target away, with all that waits in it; whether there was one.
    fn end_target(&self) -> bool {
        let Some(old) = self.change_io(|io| io.target.take()) else { return false };
        if let Ok(overlay) = overlay() {
            old.finish(&overlay.requests, |mp| {
                self.drops.drop(DropReason::TargetGone, self.linkid, mp, 0);
            });
        }
        true
    }

    /// Takes the target away. Packets that wait are dropped, lookups are over, and an active link
    /// is degraded until it gets another target.
    pub fn disassociate(&self) {
        let had = self.end_target();
        let mut state = self.state.lock();
        if had && state.active && !state.degraded {
            state.lost_target = true;
            self.degrade_locked(&mut state, GONE);
        }
    }

    /// Degrades the link, with the reason as text.
    pub fn degrade(&self, message: &[u8]) {
        let mut state = self.state.lock();
        state.lost_target = false;
        self.degrade_locked(&mut state, message);
    }

    fn degrade_locked(&self, state: &mut State, message: &[u8]) {
        state.message = [0; OVERLAY_STATUS_BUFLEN];
        let text = message.split(|b| *b == 0).next().unwrap_or_default();
        if let Some((_nul, room)) = state.message.split_last_mut() {
            copy(room, text);
        }
        if !core::mem::replace(&mut state.degraded, true)
            && let Ok(overlay) = overlay()
        {
            overlay.health.degrade();
        }
    }

    /// Ends the degradation if there is one and `which` wants it.
    pub fn restore(&self, which: impl FnOnce(&State) -> bool) {
        let mut state = self.state.lock();
        if state.degraded && which(&state) {
            state.degraded = false;
            state.lost_target = false;
            state.message = [0; OVERLAY_STATUS_BUFLEN];
            if let Ok(overlay) = overlay() {
                overlay.health.restore();
            }
        }
    }
}

impl MacDriver for Dev {
    fn start(this: &KArc<Self>) -> Result<(), Errno> {
        let vnetid = {
            let state = this.state.lock();
            if !state.active {
                return Err(Errno::EAGAIN);
            }
            state.vnetid
        };
        let mux = overlay()?.muxes.join(this, vnetid)?;
        this.change_io(|io| {
            io.mux = Some(mux);
            io.vnetid = vnetid;
        });
        Ok(())
    }

    fn stop(&self) {
        let mux = self.change_io(|io| io.mux.take());
        // With no packet under way nobody arms it again.
        self.callout.drain();
        if let (Some(mux), Ok(overlay)) = (mux, overlay()) {
            overlay.muxes.leave(self, mux);
        }
    }

    fn tx(this: &KArc<Self>, chain: MblkChain) -> MblkChain {
        crate::tx::chain(this, chain)
    }

    fn capability(&self, cap: u32) -> bool {
        cap == ddi::sys::MAC_CAPAB_OVERLAY
    }

    fn set_mtu(&self, mtu: u32) -> Result<(), Errno> {
        if !(MTU_MIN..=MTU_MAX).contains(&mtu) {
            return Err(Errno::EINVAL);
        }
        self.mac.set_max_sdu(mtu)?;
        self.max_frame.store(max_frame(mtu), Ordering::Relaxed);
        Ok(())
    }

    fn mtu_range(&self) -> (u32, u32, u32) {
        (MTU_MIN, MTU_DEFAULT, MTU_MAX)
    }
}

impl Expire for Dev {
    fn callout(&self) -> &Callout {
        &self.callout
    }

    fn expire(&self) {
        self.mac.tx_update();
    }
}

impl ddi::kstat::Source for Dev {
    const NAMES: &'static [&'static CStr] = LINK_NAMES;

    fn read(&self, out: &mut dyn FnMut(u64)) {
        let (mut cache, mut lookups) = (CacheStats::default(), 0);
        if let Some(target) = &self.io.read().target
            && let (Mode::Dynamic(c), Ok(overlay)) = (&target.mode, overlay())
        {
            cache = c.stats();
            lookups = overlay.requests.outstanding(target.number);
        }
        for flow in [&self.tx, &self.rx] {
            out(flow.packets.get());
            out(flow.bytes.get());
        }
        out(self.blocked.get());
        out(self.routed.get());
        for table in [cache.macs, cache.routes] {
            for n in [table.entries, table.hits, table.misses, table.evictions] {
                out(n);
            }
        }
        for n in [lookups, cache.queued_packets, cache.queued_bytes] {
            out(n);
        }
        self.drops.read(out);
    }
}
