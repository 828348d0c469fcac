// SPDX-License-Identifier: CDDL-1.0
//! drv/ip: the interfaces of a stack, their addresses, what happens to them, and packets seen.
use super::neti::Protocol;
use super::netstack;
use crate::mblk::{self, freeb};
use illumos_sys_hdrs::{
    AF_INET, AF_INET6, ALL_ZONES, IFF_BROADCAST, IFF_IPV4, IFF_IPV6, IFF_LOOPBACK, IFF_MULTICAST,
    IFF_RUNNING, IFF_UP, IPOBS_HOOK_INBOUND, IPOBS_HOOK_LOCAL, IPOBS_HOOK_OUTBOUND, LIFNAMSIZ,
    NA_ADDRESS, NA_BROADCAST, NA_NETMASK, NE_IFINDEX_CHANGE, NE_LIF_DOWN, NE_LIF_UP, NE_PLUMB,
    NE_UNPLUMB, boolean_t, hook_nic_event_t, hook_pkt_observe_t, ip_stack_t, lif_if_t, mblk_t,
    netstack_t, netstackid_t, phy_if_t, zoneid_t,
};
use overlay_abi::errno::Errno;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_int;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Once};

/// Bytes of what is shown before an observed packet.
const SHOWN: usize = 24;

/// IPv4 or IPv6: each has its own list of interfaces, with indices in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// That of an address.
    pub fn of(a: IpAddr) -> Family {
        if a.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    fn number(self) -> u16 {
        (if self == Family::V4 { AF_INET } else { AF_INET6 }) as u16
    }

    /// A socket address of the family: 16 or 32 bytes.
    pub(super) fn sockaddr(self, a: IpAddr) -> Vec<u8> {
        let mut raw = self.number().to_ne_bytes().to_vec();
        match a {
            IpAddr::V4(a) => {
                raw.extend([0; 2]);
                raw.extend(a.octets());
            }
            IpAddr::V6(a) => {
                raw.extend([0; 6]);
                raw.extend(a.octets());
            }
        }
        raw.resize(if self == Family::V4 { 16 } else { 32 }, 0);
        raw
    }
}

/// Where an observed packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a link to IP.
    In,
    /// From IP to a link.
    Out,
    /// From and to this host.
    Local,
}

/// Where an observed packet was seen, and whose it is. Zones are [`UNKNOWN_ZONE`] where IP does not
/// know.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Which way.
    pub direction: Direction,
    /// Who sent it.
    pub from_zone: zoneid_t,
    /// Who gets it.
    pub to_zone: zoneid_t,
    /// Index of the IPMP group of the interface; 0: none.
    pub group: u32,
}

/// What IP says where it does not know the zone.
pub const UNKNOWN_ZONE: zoneid_t = ALL_ZONES;

struct Lif {
    id: lif_if_t,
    address: IpAddr,
    prefix: u8,
    zone: zoneid_t,
}

#[derive(Default)]
struct Plumbed {
    lifs: Vec<Lif>,
    next_lif: lif_if_t,
    /// Memberships of ip_join_allmulti.
    allmulti: u32,
}

struct Link {
    name: String,
    loopback: bool,
    /// A family has used it.
    used: bool,
    families: BTreeMap<Family, Plumbed>,
}

#[derive(Default)]
struct Links {
    by_index: BTreeMap<u32, Link>,
    last_index: u32,
    /// What the next ip_join_allmulti fails with.
    refuse_join: Option<Errno>,
}

/// ip_stack_t: a module compiled from C reads the three members that have names of illumos.
#[repr(C)]
struct Shown {
    ips_netstack: AtomicPtr<netstack_t>,
    /// The IpStack, in place of what is nobody else's business.
    own: usize,
    _other: [u64; 778],
    ips_ip4_observe_pr: usize,
    ips_ip6_observe_pr: usize,
    _rest: [u64; 11],
}
const _: () =
    assert!(std::mem::offset_of!(Shown, ips_ip4_observe_pr) == 6240 && size_of::<Shown>() == 6344);

/// IP of a stack.
pub(crate) struct IpStack {
    pub(super) id: netstackid_t,
    shown: Box<Shown>,
    v4: Arc<Protocol>,
    v6: Arc<Protocol>,
    links: Mutex<Links>,
    /// Packets that could not be shown for want of memory.
    unseen: AtomicU64,
}

/// What happened to an interface, to be told.
struct Event {
    stack: Arc<IpStack>,
    family: Family,
    what: u32,
    index: u32,
    lif: lif_if_t,
    name: String,
}

#[derive(Default)]
struct Events {
    queue: VecDeque<Event>,
    telling: bool,
    /// How many keep events from being told.
    held: usize,
}

static EVENTS: Mutex<Events> =
    Mutex::new(Events { queue: VecDeque::new(), telling: false, held: 0 });
static CHANGED: Condvar = Condvar::new();

/// Starts the thread that tells of events.
pub(super) fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let thread = std::thread::Builder::new().name("ip_nic_events".into()).spawn(tell_all);
        thread.expect("a thread for NIC events");
    });
}

fn tell_all() {
    let mut e = EVENTS.lock();
    loop {
        let next = if e.held == 0 { e.queue.pop_front() } else { None };
        match next {
            Some(event) => {
                e.telling = true;
                drop(e);
                event.tell();
                e = EVENTS.lock();
                e.telling = false;
            }
            None => {
                CHANGED.notify_all();
                CHANGED.wait(&mut e);
            }
        }
    }
}

/// Waits until every event so far has been told.
pub fn settle() {
    let mut e = EVENTS.lock();
    CHANGED.notify_all();
    while e.telling || !e.queue.is_empty() {
        CHANGED.wait(&mut e);
    }
}

/// Keeps what happens to interfaces from being told, as on a machine that has no time for it.
pub struct Untold(());

impl Untold {
    /// From here until it is dropped; meanwhile nobody may [`settle`].
    #[must_use]
    pub fn hold() -> Untold {
        let mut e = EVENTS.lock();
        e.held += 1;
        while e.telling {
            CHANGED.wait(&mut e);
        }
        Untold(())
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        EVENTS.lock().held -= 1;
        CHANGED.notify_all();
    }
}

impl Event {
    fn tell(self) {
        let protocol = self.stack.protocol(self.family);
        let mut name = self.name.into_bytes();
        if !name.is_empty() {
            name.push(0);
        }
        let data = hook_nic_event_t {
            hne_protocol: protocol.handle(),
            hne_nic: self.index as phy_if_t,
            hne_lif: self.lif,
            hne_event: self.what,
            hne_data: if name.is_empty() { null_mut() } else { name.as_mut_ptr().cast() },
            hne_datalen: name.len(),
        };
        protocol.nic.run(&raw const data as usize);
    }
}

impl IpStack {
    pub(super) fn new(id: netstackid_t) -> Arc<IpStack> {
        Arc::new_cyclic(|weak| {
            let [v4, v6] = [Family::V4, Family::V6].map(|f| Protocol::new(weak.clone(), f));
            let shown = Box::new(Shown {
                ips_netstack: AtomicPtr::new(null_mut()),
                own: weak.as_ptr() as usize,
                _other: [0; 778],
                ips_ip4_observe_pr: v4.handle() as usize,
                ips_ip6_observe_pr: v6.handle() as usize,
                _rest: [0; 11],
            });
            let (links, unseen) = (Mutex::default(), AtomicU64::new(0));
            IpStack { id, shown, v4, v6, links, unseen }
        })
    }

    /// The stack it is IP of.
    pub(super) fn set_netstack(&self, ns: *mut netstack_t) {
        self.shown.ips_netstack.store(ns, Ordering::Relaxed);
    }

    /// What C sees; valid as long as the stack.
    pub(super) fn as_ptr(&self) -> *mut ip_stack_t {
        std::ptr::from_ref(&*self.shown).cast_mut().cast()
    }

    pub(super) fn protocol(&self, f: Family) -> &Arc<Protocol> {
        if f == Family::V4 { &self.v4 } else { &self.v6 }
    }

    /// The zone halts: no hook is taken from now on.
    pub(super) fn shut_down(&self) {
        self.v4.condemn();
        self.v6.condemn();
    }

    /// The last modules have let go.
    pub(super) fn destroy(&self) {
        settle();
        self.v4.destroy();
        self.v6.destroy();
    }

    fn event(self: &Arc<Self>, family: Family, what: u32, index: u32, lif: lif_if_t, name: &str) {
        let (stack, name) = (self.clone(), name.to_string());
        EVENTS.lock().queue.push_back(Event { stack, family, what, index, lif, name });
        CHANGED.notify_all();
    }

    fn with<R>(
        &self,
        f: Family,
        phy: phy_if_t,
        get: impl FnOnce(&Link, &Plumbed) -> R,
    ) -> Option<R> {
        let links = self.links.lock();
        let link = links.by_index.get(&u32::try_from(phy).ok()?)?;
        Some(get(link, link.families.get(&f)?))
    }

    pub(super) fn next_interface(&self, f: Family, after: phy_if_t) -> phy_if_t {
        let links = self.links.lock();
        let all = links.by_index.iter().filter(|(_, l)| l.families.contains_key(&f));
        all.map(|(i, _)| *i as phy_if_t).find(|i| *i > after).unwrap_or(0)
    }

    pub(super) fn next_lif(&self, f: Family, phy: phy_if_t, after: lif_if_t) -> lif_if_t {
        let next = |p: &Plumbed| p.lifs.iter().map(|l| l.id).find(|id| *id > after);
        self.with(f, phy, |_, p| next(p)).flatten().unwrap_or(0)
    }

    pub(super) fn name(&self, f: Family, phy: phy_if_t) -> Option<String> {
        self.with(f, phy, |l, _| l.name.clone())
    }

    /// `lif` 0 is the first.
    fn with_lif<R>(
        &self,
        f: Family,
        phy: phy_if_t,
        lif: lif_if_t,
        get: impl FnOnce(&Link, &Lif) -> R,
    ) -> Option<R> {
        self.with(f, phy, |l, p| {
            let lif = p.lifs.iter().find(|x| lif == 0 || x.id == lif)?;
            Some(get(l, lif))
        })
        .flatten()
    }

    pub(super) fn lif_address(
        &self,
        f: Family,
        phy: phy_if_t,
        lif: lif_if_t,
        kind: u32,
    ) -> Option<IpAddr> {
        self.with_lif(f, phy, lif, |link, lif| match (kind, lif.address) {
            (NA_ADDRESS, a) => Some(a),
            (NA_NETMASK, a) => Some(mask(a, lif.prefix)),
            (NA_BROADCAST, IpAddr::V4(a)) if !link.loopback => {
                let IpAddr::V4(m) = mask(lif.address, lif.prefix) else { return None };
                Some(Ipv4Addr::from(u32::from(a) | !u32::from(m)).into())
            }
            _ => None,
        })
        .flatten()
    }

    pub(super) fn lif_zone(&self, f: Family, phy: phy_if_t, lif: lif_if_t) -> Option<zoneid_t> {
        self.with_lif(f, phy, lif, |_, l| l.zone)
    }

    /// An interface without addresses has its first one all the same, which is not up.
    pub(super) fn lif_flags(&self, f: Family, phy: phy_if_t, lif: lif_if_t) -> Option<u64> {
        let of = |l: &Link| {
            let family = if f == Family::V4 { IFF_IPV4 } else { IFF_IPV6 };
            let kind = match (l.loopback, f) {
                (true, _) => IFF_LOOPBACK,
                (false, Family::V4) => IFF_BROADCAST,
                (false, Family::V6) => 0,
            };
            IFF_RUNNING | IFF_MULTICAST | family | kind
        };
        let up = self.with_lif(f, phy, lif, |link, _| of(link) | IFF_UP);
        up.or_else(|| if lif == 0 { self.with(f, phy, |link, _| of(link)) } else { None })
    }

    fn allmulti(&self, index: u32, f: Family, join: bool) -> c_int {
        let mut links = self.links.lock();
        if join && let Some(e) = links.refuse_join.take() {
            return e.0;
        }
        let link = links.by_index.get_mut(&index);
        let Some(p) = link.and_then(|l| l.families.get_mut(&f)) else { return Errno::ENODEV.0 };
        if join {
            p.allmulti += 1;
        } else if let Some(left) = p.allmulti.checked_sub(1) {
            p.allmulti = left;
        } else {
            let text = format!("ip_leave_allmulti of interface {index} more often than joined");
            crate::check::violation(crate::check::Kind::Misuse, text);
        }
        0
    }
}

fn mask(a: IpAddr, prefix: u8) -> IpAddr {
    match a {
        IpAddr::V4(_) => {
            let m = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            Ipv4Addr::from(m).into()
        }
        IpAddr::V6(_) => {
            let m = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            Ipv6Addr::from(m).into()
        }
    }
}

/// An IP interface of a zone's stack; it goes when this is dropped.
pub struct Interface {
    stack: Arc<IpStack>,
    index: AtomicU32,
}

impl Interface {
    /// Makes an interface that no family uses yet. Names have 1 to 31 bytes.
    ///
    /// # Errors
    /// ENOENT: no such zone. EINVAL: the name. EEXIST: the stack has one of this name.
    pub fn new(zone: zoneid_t, name: &str, loopback: bool) -> Result<Interface, Errno> {
        let stack = netstack::ip_of(zone).ok_or(Errno::ENOENT)?;
        if name.is_empty() || name.len() >= LIFNAMSIZ || name.contains(['\0', '/']) {
            return Err(Errno::EINVAL);
        }
        let mut links = stack.links.lock();
        if links.by_index.values().any(|l| l.name == name) {
            return Err(Errno::EEXIST);
        }
        links.last_index += 1;
        let index = links.last_index;
        let link = Link { name: name.into(), loopback, used: false, families: BTreeMap::new() };
        links.by_index.insert(index, link);
        drop(links);
        Ok(Interface { stack, index: index.into() })
    }

    /// `lo0` with 127.0.0.1 and ::1.
    ///
    /// # Errors
    /// As [`Interface::new`].
    pub fn loopback(zone: zoneid_t) -> Result<Interface, Errno> {
        let lo = Interface::new(zone, "lo0", true)?;
        lo.up(Ipv4Addr::LOCALHOST.into(), 8, zone)?;
        lo.up(Ipv6Addr::LOCALHOST.into(), 128, zone)?;
        Ok(lo)
    }

    /// Its index in the stack.
    pub fn index(&self) -> u32 {
        self.index.load(Ordering::Relaxed)
    }

    /// Has a family use it. Nothing if it does. One that no family used any more is another
    /// interface from here on: it has another index.
    pub fn plumb(&self, f: Family) {
        let mut links = self.stack.links.lock();
        let links = &mut *links;
        let Some(mut link) = links.by_index.remove(&self.index()) else { return };
        if link.families.contains_key(&f) {
            links.by_index.insert(self.index(), link);
            return;
        }
        if link.used && link.families.is_empty() {
            links.last_index += 1;
            self.index.store(links.last_index, Ordering::Relaxed);
        }
        let (index, name) = (self.index(), link.name.clone());
        link.used = true;
        link.families.insert(f, Plumbed::default());
        links.by_index.insert(index, link);
        // Told in the order in which it happens.
        self.stack.event(f, NE_PLUMB, index, 0, &name);
    }

    /// Ends that; the family's addresses go first.
    pub fn unplumb(&self, f: Family) {
        let mut links = self.stack.links.lock();
        let index = self.index();
        let Some(link) = links.by_index.get_mut(&index) else { return };
        let Some(gone) = link.families.remove(&f) else { return };
        for lif in gone.lifs {
            self.stack.event(f, NE_LIF_DOWN, index, lif.id, "");
        }
        let name = link.name.clone();
        self.stack.event(f, NE_UNPLUMB, index, 0, &name);
    }

    /// Brings an address up, for a zone of the stack or all ([`UNKNOWN_ZONE`]); its number. Plumbs
    /// the family if need be.
    ///
    /// # Errors
    /// EINVAL: a prefix longer than the address. EEXIST: it is up.
    pub fn up(&self, address: IpAddr, prefix: u8, zone: zoneid_t) -> Result<lif_if_t, Errno> {
        let f = Family::of(address);
        if prefix > if f == Family::V4 { 32 } else { 128 } {
            return Err(Errno::EINVAL);
        }
        self.plumb(f);
        let mut links = self.stack.links.lock();
        let index = self.index();
        let plumbed = links.by_index.get_mut(&index).and_then(|l| l.families.get_mut(&f));
        let plumbed = plumbed.ok_or(Errno::ENOENT)?;
        if plumbed.lifs.iter().any(|l| l.address == address) {
            return Err(Errno::EEXIST);
        }
        plumbed.next_lif += 1;
        let id = plumbed.next_lif;
        plumbed.lifs.push(Lif { id, address, prefix, zone });
        self.stack.event(f, NE_LIF_UP, index, id, "");
        Ok(id)
    }

    /// Takes an address down.
    ///
    /// # Errors
    /// ENOENT: it is not up.
    pub fn down(&self, address: IpAddr) -> Result<(), Errno> {
        let f = Family::of(address);
        let mut links = self.stack.links.lock();
        let index = self.index();
        let plumbed = links.by_index.get_mut(&index).and_then(|l| l.families.get_mut(&f));
        let plumbed = plumbed.ok_or(Errno::ENOENT)?;
        let at = plumbed.lifs.iter().position(|l| l.address == address).ok_or(Errno::ENOENT)?;
        let id = plumbed.lifs.remove(at).id;
        self.stack.event(f, NE_LIF_DOWN, index, id, "");
        Ok(())
    }

    /// Gives it another index, which is told with the old one.
    ///
    /// # Errors
    /// EEXIST: another has that index.
    pub fn set_index(&self, to: u32) -> Result<(), Errno> {
        let mut links = self.stack.links.lock();
        if to == 0 || links.by_index.contains_key(&to) {
            return Err(Errno::EEXIST);
        }
        let from = self.index.swap(to, Ordering::Relaxed);
        let Some(link) = links.by_index.remove(&from) else { return Ok(()) };
        let families: Vec<_> = link.families.keys().copied().collect();
        links.by_index.insert(to, link);
        links.last_index = links.last_index.max(to);
        for f in families {
            self.stack.event(f, NE_IFINDEX_CHANGE, from, 0, "");
        }
        Ok(())
    }

    /// Memberships of all multicast that modules have on it.
    pub fn allmulti(&self, f: Family) -> u32 {
        self.stack.with(f, self.index() as phy_if_t, |_, p| p.allmulti).unwrap_or(0)
    }

    /// Makes the next ip_join_allmulti in its stack fail.
    pub fn refuse_join(&self, e: Errno) {
        self.stack.links.lock().refuse_join = Some(e);
    }

    /// Whether anybody looks at packets of the family: [`Interface::observe`] does nothing else.
    #[inline]
    pub fn observed(&self, f: Family) -> bool {
        self.stack.protocol(f).observe.interested()
    }

    /// Packets that were not shown because there was no memory, of all interfaces of the stack.
    pub fn unseen(&self) -> u64 {
        self.stack.unseen.load(Ordering::Relaxed)
    }

    /// Shows an IP packet to whoever looks, in the caller's context.
    #[inline]
    pub fn observe(&self, f: Family, seen: Seen, packet: &[u8]) {
        if self.observed(f) {
            let mp = mblk::from_slice(packet, 0);
            if mp.is_null() {
                self.stack.unseen.fetch_add(1, Ordering::Relaxed);
                return;
            }
            // SAFETY: a new message.
            unsafe {
                self.observe_message(f, seen, mp);
                mblk::freemsg(mp);
            }
        }
    }

    /// The same for a message, which stays the caller's.
    ///
    /// # Safety
    /// `mp` is a message that starts with the IP header.
    pub unsafe fn observe_message(&self, f: Family, seen: Seen, mp: *mut mblk_t) {
        let event = &self.stack.protocol(f).observe;
        if !event.interested() {
            return;
        }
        // SAFETY: allocb(9F).
        let head = unsafe { illumos_sys_hdrs::allocb(size_of::<hook_pkt_observe_t>(), 0) };
        if head.is_null() {
            self.stack.unseen.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let htype = match seen.direction {
            Direction::In => IPOBS_HOOK_INBOUND,
            Direction::Out => IPOBS_HOOK_OUTBOUND,
            Direction::Local => IPOBS_HOOK_LOCAL,
        };
        // SAFETY: a new block with room for the structure, of which all but the pointers is shown.
        unsafe {
            let bytes: usize = mblk::blocks(mp)
                .map(|b| ((*b).b_wptr as usize).saturating_sub((*b).b_rptr as usize))
                .sum();
            let data = (*head).b_rptr.cast::<hook_pkt_observe_t>();
            data.write(hook_pkt_observe_t {
                hpo_version: 1,
                hpo_family: f.number() as u8,
                hpo_htype: (htype as u16).to_be(),
                hpo_pktlen: (bytes as u32).to_be(),
                hpo_ifindex: self.index().to_be(),
                hpo_grifindex: seen.group.to_be(),
                hpo_zsrc: (seen.from_zone as u32).to_be(),
                hpo_zdst: (seen.to_zone as u32).to_be(),
                hpo_pkt: head,
                hpo_ctx: self.stack.shown.ips_netstack.load(Ordering::Relaxed).cast(),
            });
            (*head).b_wptr = (*head).b_rptr.add(SHOWN);
            (*head).b_cont = mp;
            event.run(data as usize);
            (*head).b_cont = null_mut();
            freeb(head);
        }
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        self.unplumb(Family::V4);
        self.unplumb(Family::V6);
        self.stack.links.lock().by_index.remove(&self.index());
    }
}

/// The stack a module passed.
unsafe fn stack<'a>(ipst: *mut ip_stack_t) -> &'a IpStack {
    // SAFETY: of netstack_t, while the caller holds that.
    unsafe { &*((*ipst.cast::<Shown>()).own as *const IpStack) }
}

fn family(isv6: boolean_t) -> Family {
    if isv6 == 0 { Family::V4 } else { Family::V6 }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ip_join_allmulti(
    ifindex: u32,
    isv6: boolean_t,
    ipst: *mut ip_stack_t,
) -> c_int {
    // SAFETY: ip_join_allmulti: a stack that is held.
    unsafe { stack(ipst) }.allmulti(ifindex, family(isv6), true)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ip_leave_allmulti(
    ifindex: u32,
    isv6: boolean_t,
    ipst: *mut ip_stack_t,
) -> c_int {
    // SAFETY: ip_leave_allmulti: a stack that is held.
    unsafe { stack(ipst) }.allmulti(ifindex, family(isv6), false)
}

crate::symbols! { SYMBOLS "drv/ip": ip_join_allmulti, ip_leave_allmulti, }
