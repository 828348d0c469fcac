// SPDX-License-Identifier: CDDL-1.0
//! Sockets shared by links, and the way of a datagram to its link.
//!
//! Links whose plugin wants the same socket share it: a datagram's virtual network id says for
//! which it is. A mux lives from its first link's start to its last link's stop.
//!
//! Changes (find or open a socket, add or remove a link, close) happen one at a time, in a
//! [`Session`]. That is a flag and not a held lock, for plugins and sockets are called meanwhile,
//! and these may sleep.
use crate::dev::{Dev, FRAME_EXTRA, MTU_MAX};
use crate::frame::{ETHER_HDR, VLAN_HDR};
use crate::plugin::{Plugin, SocketSpec};
use crate::stats::{DropReason, MuxStats};
use ddi::Errno;
use ddi::ksocket::{KSocket, Receiver};
use ddi::mblk::{Mblk, MblkChain, MblkQueue};
use ddi::mem::{KArc, KBox, KVec, KmFlag};
use ddi::sync::{KCondvar, KMutex, KMutexGuard, Rcu};
use ddi::sys;

/// Longest frame of any link.
const FRAME_MAX: usize = MTU_MAX as usize + FRAME_EXTRA;

/// Which addresses a socket can send to. illumos' udp_send neither sends nor frees a message from a
/// socket bound to an address of one family to one of the other, so that is never asked of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    All,
    V4,
    V6,
}

impl Reach {
    /// That of a socket bound to this `sockaddr_in6`; `::` and what is no such address reach all.
    fn of_bound(addr: &[u8]) -> Reach {
        let ip = addr.get(8..).and_then(<[u8]>::first_chunk::<16>);
        match ip {
            Some(ip) if *ip != [0; 16] => Reach::of(*ip),
            _ => Reach::All,
        }
    }

    #[inline]
    fn of(ip: [u8; 16]) -> Reach {
        if u128::from_be_bytes(ip) >> 32 == 0xffff { Reach::V4 } else { Reach::V6 }
    }
}

/// A link on a socket.
#[derive(Clone)]
struct Member {
    vnetid: u64,
    dev: KArc<Dev>,
}

/// The receiving side of a socket: its links by virtual network id.
pub(crate) struct Demux {
    members: Rcu<KVec<Member>>,
    stats: KArc<MuxStats>,
}

/// A socket and the links on it.
pub(crate) struct Mux {
    spec: KBox<SocketSpec>,
    plugin: KArc<Plugin>,
    socket: KSocket<Demux>,
    reach: Reach,
    demux: KArc<Demux>,
}

impl Mux {
    /// See [`KSocket::send`]. `EADDRNOTAVAIL`: the socket does not reach such addresses.
    #[inline]
    pub fn send(&self, to: &sys::sockaddr_in6, mp: Mblk) -> Result<(), (Errno, Option<Mblk>)> {
        if self.reach != Reach::All && self.reach != Reach::of(to.sin6_addr.s6_addr) {
            return Err((Errno::EADDRNOTAVAIL, Some(mp)));
        }
        self.socket.send(to, mp)
    }
}

struct Inner {
    busy: bool,
    muxes: KVec<KArc<Mux>>,
}

/// All sockets.
pub(crate) struct Muxes {
    inner: KMutex<Inner>,
    idle: KCondvar,
    stats: KArc<MuxStats>,
}

/// The right to change what muxes there are and who is on them.
struct Session<'a>(&'a Muxes);

impl Session<'_> {
    fn list(&self) -> KMutexGuard<'_, Inner> {
        self.0.inner.lock()
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.0.inner.lock().busy = false;
        self.0.idle.signal();
    }
}

impl Muxes {
    pub fn new(stats: KArc<MuxStats>) -> Self {
        let inner = Inner { busy: false, muxes: KVec::new() };
        Muxes { inner: KMutex::new(inner), idle: KCondvar::new(), stats }
    }

    fn session(&self) -> Session<'_> {
        let mut inner = self.inner.lock();
        while inner.busy {
            self.idle.wait(&mut inner);
        }
        inner.busy = true;
        Session(self)
    }

    /// Puts a link on the socket its plugin wants, which is opened if it is not there.
    ///
    /// # Errors
    /// Those of the plugin and of the socket. `EEXIST`: the socket is another plugin's.
    pub fn join(&self, dev: &KArc<Dev>, vnetid: u64) -> Result<KArc<Mux>, Errno> {
        let spec = dev.encap.socket()?;
        let session = self.session();
        let found = session.list().muxes.iter().find(|m| *m.spec == *spec).cloned();
        let mux = match found {
            Some(mux) if KArc::same(&mux.plugin, dev.encap.plugin()) => mux,
            Some(_) => return Err(Errno::EEXIST),
            None => {
                let mux = KArc::new(self.open(spec, dev.encap.plugin())?);
                session.list().muxes.push(mux.clone(), KmFlag::Sleep)?;
                mux
            }
        };
        if let Err(e) = mux.demux.add(Member { vnetid, dev: dev.clone() }) {
            self.close_if_unused(&session, mux);
            return Err(e);
        }
        Ok(mux)
    }

    fn open(&self, spec: KBox<SocketSpec>, plugin: &KArc<Plugin>) -> Result<Mux, Errno> {
        let members = Rcu::new(KVec::new());
        let demux = KArc::new(Demux { members, stats: self.stats.clone() });
        let socket = KSocket::open(spec.domain, spec.kind, spec.protocol, demux.clone())?;
        socket.bind(spec.addr())?;
        plugin.sockopt(socket.as_ptr())?;
        socket.start()?;
        let reach = Reach::of_bound(spec.addr());
        Ok(Mux { spec, plugin: plugin.clone(), socket, reach, demux })
    }

    /// Takes a link off its socket, which is closed after the last. Nobody receives for the link
    /// afterwards.
    pub fn leave(&self, dev: &Dev, mux: KArc<Mux>) {
        let session = self.session();
        mux.demux.remove(dev);
        self.close_if_unused(&session, mux);
    }

    fn close_if_unused(&self, session: &Session<'_>, mux: KArc<Mux>) {
        if !mux.demux.members.read().is_empty() {
            return;
        }
        let listed = {
            let mut inner = session.list();
            let at = inner.muxes.iter().position(|m| KArc::same(m, &mux));
            at.and_then(|at| inner.muxes.remove(at))
        };
        // The last holds: closes the socket, with the session still keeping the address from being
        // opened anew.
        drop(listed);
        drop(mux);
    }
}

impl Demux {
    /// Adds a link in its place.
    fn add(&self, member: Member) -> Result<(), Errno> {
        let mut members = self.copy(|_| true)?;
        match members.binary_search_by_key(&member.vnetid, |m| m.vnetid) {
            Ok(_) => return Err(Errno::EEXIST),
            Err(at) => members.insert(at, member, KmFlag::Sleep)?,
        }
        drop(self.members.replace(members));
        Ok(())
    }

    /// Takes a link out and waits for packets on the way to it.
    fn remove(&self, dev: &Dev) {
        // Waits for memory: cannot fail.
        if let Ok(members) = self.copy(|m| !core::ptr::eq(&raw const *m.dev, dev)) {
            drop(self.members.replace(members));
        }
    }

    fn copy(&self, keep: impl Fn(&Member) -> bool) -> Result<KVec<Member>, Errno> {
        let mut copy = KVec::new();
        for member in self.members.read().iter().filter(|m| keep(m)) {
            copy.push(member.clone(), KmFlag::Sleep)?;
        }
        Ok(copy)
    }
}

/// Frames for one link, collected to be handed over at once.
struct Batch<'a> {
    dev: &'a Dev,
    frames: MblkQueue,
}

impl Batch<'_> {
    fn deliver(self) {
        self.dev.rx.add(self.frames.len() as u64, self.frames.bytes() as u64);
        self.dev.mac.rx(self.frames.into_chain());
    }
}

/// Why a datagram is dropped, with the link if it is known.
struct Bad<'a>(DropReason, Option<&'a Dev>, Option<Mblk>, Errno);

impl Receiver for Demux {
    fn receive(&self, mut chain: MblkChain) {
        let members = self.members.read();
        let mut batch: Option<Batch<'_>> = None;
        while let Some(mp) = chain.pop() {
            let (dev, frame, size) = match accept(&members, mp) {
                Ok(accepted) => accepted,
                Err(bad) => {
                    self.reject(bad);
                    continue;
                }
            };
            if let Some(other) = batch.take_if(|b| !core::ptr::eq(b.dev, dev)) {
                other.deliver();
            }
            let new = || Batch { dev, frames: MblkQueue::default() };
            batch.get_or_insert_with(new).frames.push(frame, size);
        }
        if let Some(batch) = batch {
            batch.deliver();
        }
    }
}

impl Demux {
    #[cold]
    fn reject(&self, Bad(reason, dev, mp, errno): Bad<'_>) {
        let (drops, linkid) = dev.map_or((&self.stats.drops, 0), |d| (&d.drops, d.linkid));
        match mp {
            Some(mp) => drops.drop(reason, linkid, mp, errno.0),
            None => drops.count(reason, linkid, 0, core::ptr::null_mut(), errno.0),
        }
    }
}

/// The frame in a datagram, its size, and the link it is for.
#[inline]
fn accept(members: &[Member], mp: Mblk) -> Result<(&Dev, Mblk, usize), Bad<'_>> {
    let bad = |reason, mp| Bad(reason, None, mp, Errno(0));
    if mp.kind() != sys::M_PROTO || prim(&mp) != Some(sys::T_UNITDATA_IND) {
        return Err(bad(DropReason::RxNotUnitdata, Some(mp)));
    }
    let (ind, data) = mp.split_front();
    let Some(mut data) = data else { return Err(bad(DropReason::RxNoData, Some(ind))) };
    drop(ind);
    if data.kind() != sys::M_DATA {
        return Err(bad(DropReason::RxNotUnitdata, Some(data)));
    }
    data.clear_hcksum();
    // A plugin decapsulates the same way for all its links; any of them lends its private data.
    let Some(first) = members.first() else {
        return Err(bad(DropReason::RxUnknownVnet, Some(data)));
    };
    let info = match first.dev.encap.decap(&data) {
        Ok(info) => info,
        Err(e) => return Err(Bad(DropReason::RxDecap, None, Some(data), e)),
    };
    let dev: &Dev = match members.binary_search_by_key(&info.ovdi_id, |m| m.vnetid) {
        Ok(at) => match members.get(at) {
            Some(member) => &member.dev,
            None => return Err(bad(DropReason::RxUnknownVnet, Some(data))),
        },
        Err(_) => return Err(bad(DropReason::RxUnknownVnet, Some(data))),
    };
    let Some(frame) = data.strip_front(info.ovdi_hdr_size) else {
        return Err(Bad(DropReason::RxRunt, Some(dev), None, Errno(0)));
    };
    let size = frame.size();
    if size < ETHER_HDR {
        return Err(Bad(DropReason::RxRunt, Some(dev), Some(frame), Errno(0)));
    }
    if size > FRAME_MAX {
        return Err(Bad(DropReason::RxOversize, Some(dev), Some(frame), Errno(0)));
    }
    // MAC wants the whole Ethernet header in the first block.
    let Some(frame) = frame.pull_up(VLAN_HDR, size) else {
        return Err(Bad(DropReason::RxNoMemory, Some(dev), None, Errno::ENOMEM));
    };
    ddi::fire!(__dtrace_probe_overlay__rx, dev.linkid, size, frame.as_ptr(), info.ovdi_id);
    Ok((dev, frame, size))
}

#[inline]
fn prim(mp: &Mblk) -> Option<i32> {
    if mp.front().len() < size_of::<sys::T_unitdata_ind>() {
        return None;
    }
    mp.front().first_chunk().map(|b| i32::from_ne_bytes(*b))
}
