// SPDX-License-Identifier: CDDL-1.0
//! What the ioctls do, whatever their arguments look like.
use crate::dev::{Dev, Hold, Io};
use crate::frame::{Header, key_mac};
use crate::request::{About, Request};
use crate::stats::DropReason;
use crate::target::cache::{Cache, Dest, Hop};
use crate::target::realm::{PROBES, VL2};
use crate::target::{Target, check_addr};
use crate::{forward, overlay, tx};
use ddi::Errno;
use ddi::mblk::{Mblk, MblkChain};
use ddi::sys;
use overlay_abi::ids::{MacAddr, UnderlayAddr};
use overlay_abi::target::{OVERLAY_TARGET_DYNAMIC, OVERLAY_TARGET_POINT};

pub(super) fn hold(linkid: u32) -> Result<Hold, Errno> {
    overlay()?.devs.hold(linkid)
}

/// What INFO tells.
pub(super) struct Info {
    pub needs: u32,
    pub active: bool,
    pub degraded: bool,
    pub vnetid: u64,
    pub dcid: u32,
}

pub(super) fn info(linkid: u32) -> Result<Info, Errno> {
    let dev = hold(linkid)?;
    let state = dev.state.lock();
    Ok(Info {
        needs: dev.encap.plugin().dest(),
        active: state.active,
        degraded: state.degraded,
        vnetid: state.vnetid,
        dcid: dev.dcid,
    })
}

pub(super) fn associate(
    linkid: u32,
    (id, mode): (u64, u32),
    provides: u32,
    point: UnderlayAddr,
) -> Result<(), Errno> {
    let dev = hold(linkid)?;
    let dest = dev.encap.plugin().dest();
    if id == 0 || provides != dest {
        return Err(Errno::EINVAL);
    }
    let target = match mode {
        OVERLAY_TARGET_POINT => {
            check_addr(point)?;
            Target::point(id, dest, point)
        }
        OVERLAY_TARGET_DYNAMIC => Target::dynamic(id, dest, &dev),
        _ => return Err(Errno::EINVAL),
    };
    dev.associate(target)
}

/// Calls `f` with a link's target and what its packets use.
pub(super) fn with_target<R>(
    dev: &Dev,
    f: impl FnOnce(&Target, &Io) -> Result<R, Errno>,
) -> Result<R, Errno> {
    let io = dev.io.read();
    f(io.target.as_ref().ok_or(Errno::ENXIO)?, &io)
}

/// Calls `f` with a link's cache and what its packets use.
///
/// # Errors
/// `ENXIO`: no target. `ENOTSUP`: one place for all.
pub(super) fn with_cache<R>(
    dev: &Dev,
    f: impl FnOnce(&Cache, &Io) -> Result<R, Errno>,
) -> Result<R, Errno> {
    with_target(dev, |target, io| f(target.cache().ok_or(Errno::ENOTSUP)?, io))
}

/// Calls `f` with the link and the cache that a request is about.
///
/// # Errors
/// `EINVAL`: they are not there any more.
pub(super) fn with_request<R>(
    request: Request,
    f: impl FnOnce(&Hold, &Cache, &Io) -> Result<R, Errno>,
) -> Result<R, Errno> {
    let dev = hold(request.linkid).map_err(|_| Errno::EINVAL)?;
    let io = dev.io.read();
    let target = io.target.as_ref().filter(|t| t.number == request.target);
    let cache = target.and_then(|t| t.cache()).ok_or(Errno::EINVAL)?;
    f(&dev, cache, &io)
}

/// The packet that a request is about.
///
/// # Errors
/// `EINVAL`: there is none any more. `ENOMEM`.
pub(super) fn packet(cache: &Cache, request: Request) -> Result<Mblk, Errno> {
    match request.about {
        About::Mac(key) => cache.macs.packet(key, request.id),
        About::Route(key) => cache.routes.packet(key, request.id),
    }
}

/// What LOOKUP tells about a request.
pub(super) struct Question {
    pub request: Request,
    pub varpd: u64,
    pub vnetid: u64,
    pub header: Header,
    /// Bytes of the whole frame.
    pub size: usize,
}

impl Question {
    /// `MAC_ADDRTYPE_*` of the destination.
    pub fn dsttype(&self) -> u32 {
        match self.header.dst {
            MacAddr::BROADCAST => sys::MAC_ADDRTYPE_BROADCAST,
            mac if mac.is_multicast() => sys::MAC_ADDRTYPE_MULTICAST,
            _ => sys::MAC_ADDRTYPE_UNICAST,
        }
    }

    /// Bytes of the frame behind its Ethernet header.
    pub fn payload(&self) -> u64 {
        self.size.saturating_sub(self.header.size) as u64
    }
}

/// The next question for the open, that `can` be put to it; what cannot is answered with DROP.
///
/// # Errors
/// `ETIME`: none came.
pub(super) fn next_question(minor: u32, can: impl Fn(&About) -> bool) -> Result<Question, Errno> {
    let requests = &overlay()?.requests;
    loop {
        let request = requests.next(minor)?;
        if !can(&request.about) {
            // An error is that nobody waits any more.
            let _ = finish(minor, request.id, Answer::Drop);
            continue;
        }
        match describe(request) {
            Ok(question) => {
                let (linkid, id) = (request.linkid, request.id);
                ddi::fire!(__dtrace_probe_overlay__lookup__start, linkid, id, question.varpd, 0);
                return Ok(question);
            }
            // Stale, or about nothing that can be read: nobody needs an answer.
            Err(_) => requests.cancel(request.id),
        }
    }
}

fn describe(request: Request) -> Result<Question, Errno> {
    with_request(request, |dev, cache, io| {
        let bad = |mp| dev.drops.drop(DropReason::LookupUndecodable, dev.linkid, mp, 0);
        let found = match request.about {
            About::Mac(key) => cache.macs.inspect(key, request.id, bad),
            About::Route(key) => cache.routes.inspect(key, request.id, bad),
        };
        let (header, size) = found.ok_or(Errno::EINVAL)?;
        let varpd = io.target.as_ref().map_or(0, |t| t.varpd);
        Ok(Question { request, varpd, vnetid: io.vnetid, header, size })
    })
}

/// An answer to a question of either kind.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    Drop,
    /// Of a MAC address.
    Place(Dest),
    /// Of a route.
    Route {
        vnet: u64,
        dcid: u32,
        mac: [u8; 6],
        srcmac: [u8; 6],
        vlan: u16,
        at: UnderlayAddr,
    },
}

impl Answer {
    /// Whether it can be an answer to that, and packets can go there.
    fn check(self, about: About, dev: &Dev) -> Result<(), Errno> {
        let plugin = dev.encap.plugin();
        match (self, about) {
            (Answer::Drop, _) | (Answer::Place(Dest::Router | Dest::Drop), About::Mac(_)) => Ok(()),
            (Answer::Place(Dest::To(addr)), About::Mac(_)) => check_addr(addr),
            (Answer::Route { vnet, mac, srcmac, vlan, at, .. }, About::Route(_)) => {
                let group = MacAddr(mac).is_multicast() || MacAddr(srcmac).is_multicast();
                let vlan_ok = vlan == 0 || vlan < 0xfff && plugin.vlan();
                if group || !vlan_ok || vnet > plugin.max_vnetid() {
                    return Err(Errno::EINVAL);
                }
                check_addr(at)
            }
            _ => Err(Errno::EINVAL),
        }
    }
}

/// Answers a request. One that cannot be is an error, and the lookup is over all the same: no answer
/// at all would leave the address unanswered for ever.
pub(super) fn finish(minor: u32, id: u64, answer: Answer) -> Result<(), Errno> {
    let requests = &overlay()?.requests;
    let request = requests.finish(minor, id)?;
    with_request(request, |dev, cache, io| {
        let checked = answer.check(request.about, dev);
        let answer = if checked.is_ok() { answer } else { Answer::Drop };
        let given = !matches!(answer, Answer::Drop);
        ddi::fire!(__dtrace_probe_overlay__lookup__done, request.linkid, id, given, 0);
        reply(dev, io, cache, request, answer)?;
        checked
    })
}

fn reply(dev: &Dev, io: &Io, cache: &Cache, request: Request, answer: Answer) -> Result<(), Errno> {
    let requests = &overlay()?.requests;
    let id = request.id;
    match (request.about, answer) {
        // Nobody lives at a router's address, whatever is said of it.
        (About::Mac(key), Answer::Place(dest)) if VL2::of(key).realm != PROBES => {
            cache.macs.respond(key, id, dest, |packets| settle(dev, io, cache, packets, dest))
        }
        (About::Route(key), Answer::Route { vnet, dcid, mac, srcmac, vlan, at }) => {
            let place = cache.place(io.vnetid, vnet, dcid, mac);
            let done = place.and_then(|to| {
                let hop = Hop { vnet, to, srcmac, vlan };
                cache.answer_route(requests, key, id, hop, at, |packets, way| match way {
                    Some(way) => forward::answered(dev, io, packets, &way),
                    None => tx::answered(dev, io, packets, at),
                })
            });
            // Without memory for it the packets must not wait for ever.
            done.inspect_err(|_| {
                if let Ok(packets) = cache.routes.refuse(requests, key, id) {
                    drop_all(dev, DropReason::TxNoMemory, packets);
                }
            })
        }
        (About::Mac(key), _) => {
            drop_all(dev, DropReason::LookupDrop, cache.macs.refuse(requests, key, id)?);
            Ok(())
        }
        (About::Route(key), _) => {
            drop_all(dev, DropReason::LookupDrop, cache.routes.refuse(requests, key, id)?);
            Ok(())
        }
    }
}

/// Does with packets what they waited to hear.
fn settle(dev: &Dev, io: &Io, cache: &Cache, packets: MblkChain, dest: Dest) {
    match dest {
        Dest::To(addr) => tx::answered(dev, io, packets, addr),
        Dest::Drop => drop_all(dev, DropReason::TxTargetDrop, packets),
        Dest::Router => forward::found_router(dev, io, cache, packets),
    }
}

fn drop_all(dev: &Dev, reason: DropReason, mut packets: MblkChain) {
    while let Some(mp) = packets.pop() {
        dev.drops.drop(reason, dev.linkid, mp, 0);
    }
}

/// Sets an entry of a link's cache.
pub(super) fn cache_set(linkid: u32, (dcid, mac): (u32, [u8; 6]), dest: Dest) -> Result<(), Errno> {
    let dev = hold(linkid)?;
    with_cache(&dev, |cache, io| {
        if let Dest::To(addr) = dest {
            check_addr(addr)?;
        }
        cache.set(&overlay()?.requests, (io.vnetid, dcid, mac), dest, |packets| {
            settle(&dev, io, cache, packets, dest);
        })
    })
}

/// Forgets an entry of a link's cache.
pub(super) fn cache_remove(linkid: u32, dcid: u32, mac: [u8; 6]) -> Result<(), Errno> {
    let dev = hold(linkid)?;
    with_cache(&dev, |cache, _| cache.remove(&overlay()?.requests, dcid, mac))
}

/// Forgets a link's cache.
pub(super) fn cache_flush(linkid: u32) -> Result<(), Errno> {
    let dev = hold(linkid)?;
    with_cache(&dev, |cache, _| {
        cache.flush(&overlay()?.requests);
        Ok(())
    })?;
    dev.wait_for_packets();
    Ok(())
}

/// The MAC address of an entry of the cache.
pub(super) fn mac(key: u64) -> [u8; 6] {
    key_mac(key)
}
