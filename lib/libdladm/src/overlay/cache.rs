// SPDX-License-Identifier: CDDL-1.0
//! The target cache: which MAC address inside the overlay is behind which destination, and, with
//! version 2, which packets are routed where. All through varpd.
//!
//! An address in the link's own data center is spoken of in the words of version 1, which every
//! varpd and kernel know. For anything else both must be of version 2; where one is not, the details
//! of the failure say which.

use super::dest::Dest;
use super::prop;
use crate::{Failure, Handle, Status};
use libvarpd_client::routed::{Guest, Route};
use libvarpd_client::{CacheEntry, Client};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, VarpdId};
use overlay_abi::target::OVERLAY_TARGET_POINT;

/// Where frames for an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To another host.
    At(Dest),
    /// Nowhere, they are dropped (DLADM_OVERLAY_F_DROP).
    Drop,
    /// It is a router's: they are forwarded by their IP addresses.
    Router,
}

/// One entry of the cache, or the one destination of a point-to-point overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address inside, with data center 0 for the link's own; `None` stands for every one, on a
    /// point-to-point overlay (DLADM_OVERLAY_F_DEFAULT).
    pub guest: Option<Guest>,
    /// Where frames to it go.
    pub place: Place,
    /// The parts of a destination that mean something, `D_*`.
    pub bits: u32,
}

impl Target {
    /// The address as `show-overlay -t` prints it and `modify-overlay -d` takes it.
    pub fn guest_text(&self) -> String {
        self.guest.map_or("*:*:*:*:*:*".to_owned(), |guest| guest.to_string())
    }

    /// The destination as `show-overlay -t` prints it and `modify-overlay -s` takes it.
    pub fn dest_text(&self) -> String {
        match self.place {
            Place::At(dest) => dest.format(self.bits),
            Place::Drop => "drop".to_owned(),
            Place::Router => "router".to_owned(),
        }
    }

    fn new(entry: &CacheEntry, bits: u32, guest: Option<Guest>) -> Target {
        let place = match *entry {
            CacheEntry::To { mac, addr } => Place::At(Dest { mac, addr }),
            CacheEntry::Drop => Place::Drop,
            CacheEntry::Router => Place::Router,
        };
        Target { guest, place, bits }
    }
}

/// What [`walk_cache`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Where frames for an address go.
    Target(Target),
    /// What becomes of packets between two addresses, with data center 0 for the link's own.
    Route(Route),
}

/// varpd and the overlay's instance in it.
pub(super) struct Instance {
    pub(super) varpd: Client,
    pub(super) id: VarpdId,
}

pub(super) fn instance(h: &Handle, linkid: LinkId) -> Result<Instance, Failure> {
    let varpd = h.varpd().map_err(|e| Failure::new(e, vec![h.varpd_unreachable(e)]))?;
    let id = varpd.instance_lookup(linkid).map_err(|e| {
        let none = "no varpd instance exists for the overlay".to_owned();
        Failure::new(e, if e == Errno::ENOENT { vec![none] } else { Vec::new() })
    })?;
    Ok(Instance { varpd, id })
}

/// Forgets all entries and routes. [`Status::NotSup`] on a point-to-point overlay.
pub fn cache_flush(h: &Handle, linkid: LinkId) -> Result<(), Failure> {
    let i = instance(h, linkid)?;
    Ok(i.varpd.cache_flush(i.id)?)
}

/// Forgets one entry. [`Status::NotFound`] if there is none, [`Status::NotSup`] on a point-to-point
/// overlay.
pub fn cache_delete(h: &Handle, linkid: LinkId, guest: Guest) -> Result<(), Failure> {
    let i = instance(h, linkid)?;
    if guest.dcid == 0 {
        return Ok(i.varpd.cache_delete(i.id, guest.mac)?);
    }
    i.varpd.guest_delete(i.id, guest).map_err(|e| missing(h, linkid, e))
}

/// Sets the destination of one address: `drop` or `router` in any case, or what the encapsulation
/// asks for in the form [`Dest::parse`] reads. [`Status::BadArg`] for any other text.
pub fn cache_set(h: &Handle, linkid: LinkId, guest: Guest, value: &str) -> Result<(), Failure> {
    let i = instance(h, linkid)?;
    let entry = if value.eq_ignore_ascii_case("drop") {
        CacheEntry::Drop
    } else if value.eq_ignore_ascii_case("router") {
        CacheEntry::Router
    } else {
        let (bits, _) = i.varpd.instance_target_mode(i.id)?;
        let dest = Dest::parse(bits, value).ok_or(Status::BadArg)?;
        CacheEntry::To { mac: dest.mac, addr: dest.addr }
    };
    if guest.dcid == 0 && entry != CacheEntry::Router {
        return Ok(i.varpd.cache_set(i.id, guest.mac, &entry)?);
    }
    i.varpd.guest_set(i.id, guest, &entry).map_err(|e| missing(h, linkid, e))
}

/// The destination of one address. [`Status::NotFound`] if it is not in the cache.
pub fn cache_get(h: &Handle, linkid: LinkId, guest: Guest) -> Result<Target, Failure> {
    let i = instance(h, linkid)?;
    let (bits, _) = i.varpd.instance_target_mode(i.id)?;
    let entry = if guest.dcid == 0 {
        i.varpd.cache_get(i.id, guest.mac)?
    } else {
        i.varpd.guest_get(i.id, guest).map_err(|e| missing(h, linkid, e))?
    };
    Ok(Target::new(&entry, bits, Some(guest)))
}

/// The failure of a call of version 2, with who is of version 1, if that is why.
fn missing(h: &Handle, linkid: LinkId, e: Errno) -> Failure {
    let what = match (e, prop::dcid(h, linkid)) {
        (Errno::ENOSYS, _) => "varpd",
        (Errno::ENOTSUP, Ok(None)) => "the kernel",
        _ => return e.into(),
    };
    Failure::new(
        Status::NotSup,
        vec![format!("{what} is of version 1, which has no data centers and no routers")],
    )
}

/// Calls `each` for every entry, by ascending address, then for every route.
///
/// Whether these are all: a varpd of version 1 does not tell of other data centers, of routers and
/// of routes, which a kernel of version 2 may have.
pub fn walk_cache(
    h: &Handle,
    linkid: LinkId,
    mut each: impl FnMut(&Entry),
) -> Result<bool, Failure> {
    let i = instance(h, linkid)?;
    let (bits, mode) = i.varpd.instance_target_mode(i.id)?;
    let mut target = |guest, entry: &CacheEntry| {
        let guest = (mode != OVERLAY_TARGET_POINT).then_some(guest);
        each(&Entry::Target(Target::new(entry, bits, guest)));
        true
    };
    let Some(own) = prop::dcid(h, linkid)? else {
        i.varpd.cache_walk(i.id, |mac, entry| target(Guest { dcid: 0, mac }, entry))?;
        return Ok(true);
    };
    let here =
        |guest: Guest| Guest { dcid: if guest.dcid == own { 0 } else { guest.dcid }, ..guest };
    match i.varpd.guest_walk(i.id, |guest, entry| target(here(guest), entry)) {
        // The first step tells, before there was any entry: varpd is of version 1, or speaks it with
        // the kernel.
        Err(Errno::ENOSYS | Errno::ENOTSUP) => {
            i.varpd.cache_walk(i.id, |mac, entry| target(Guest { dcid: 0, mac }, entry))?;
            return Ok(false);
        }
        walked => walked?,
    }
    i.varpd.route_walk(i.id, |route| {
        each(&Entry::Route(Route { guest: here(route.guest), ..*route }));
        true
    })?;
    Ok(true)
}
