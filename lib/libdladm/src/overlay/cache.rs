// SPDX-License-Identifier: CDDL-1.0
//! The target cache: which MAC address inside the overlay is behind which destination. All through
//! varpd.

use super::dest::Dest;
use crate::{Failure, Handle, Status};
use libvarpd_client::{CacheEntry, Client};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, MacAddr, VarpdId};
use overlay_abi::target::OVERLAY_TARGET_POINT;

/// One entry of the cache, or the one destination of a point-to-point overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address inside; `None` stands for every one, on a point-to-point overlay
    /// (DLADM_OVERLAY_F_DEFAULT).
    pub mac: Option<MacAddr>,
    /// Where frames to it go; `None` is nowhere, they are dropped (DLADM_OVERLAY_F_DROP).
    pub dest: Option<Dest>,
    /// The parts of `dest` that mean something, `D_*`.
    pub bits: u32,
}

impl Target {
    /// The address as `show-overlay -t` prints it.
    pub fn mac_text(&self) -> String {
        self.mac.map_or("*:*:*:*:*:*".to_owned(), |mac| mac.to_string())
    }

    /// The destination as `show-overlay -t` prints it and `modify-overlay -s` takes it.
    pub fn dest_text(&self) -> String {
        self.dest.map_or("drop".to_owned(), |dest| dest.format(self.bits))
    }

    fn new(entry: &CacheEntry, bits: u32, mac: Option<MacAddr>) -> Target {
        let dest = Dest { mac: entry.mac, addr: entry.addr };
        Target { mac, dest: (!entry.drop).then_some(dest), bits }
    }
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

/// Forgets all entries. [`Status::NotSup`] on a point-to-point overlay.
pub fn cache_flush(h: &Handle, linkid: LinkId) -> Result<(), Failure> {
    let i = instance(h, linkid)?;
    Ok(i.varpd.cache_flush(i.id)?)
}

/// Forgets one entry. [`Status::NotFound`] if there is none, [`Status::NotSup`] on a point-to-point
/// overlay.
pub fn cache_delete(h: &Handle, linkid: LinkId, mac: MacAddr) -> Result<(), Failure> {
    let i = instance(h, linkid)?;
    Ok(i.varpd.cache_delete(i.id, mac)?)
}

/// Sets the destination of one address: `drop` in any case, or what the encapsulation asks for
/// in the form [`Dest::parse`] reads. [`Status::BadArg`] for any other text.
pub fn cache_set(h: &Handle, linkid: LinkId, mac: MacAddr, value: &str) -> Result<(), Failure> {
    let i = instance(h, linkid)?;
    let entry = if value.eq_ignore_ascii_case("drop") {
        CacheEntry::drop()
    } else {
        let (bits, _) = i.varpd.instance_target_mode(i.id)?;
        let dest = Dest::parse(bits, value).ok_or(Status::BadArg)?;
        CacheEntry { drop: false, mac: dest.mac, addr: dest.addr }
    };
    Ok(i.varpd.cache_set(i.id, mac, &entry)?)
}

/// The destination of one address. [`Status::NotFound`] if it is not in the cache.
pub fn cache_get(h: &Handle, linkid: LinkId, mac: MacAddr) -> Result<Target, Failure> {
    let i = instance(h, linkid)?;
    let (bits, _) = i.varpd.instance_target_mode(i.id)?;
    let entry = i.varpd.cache_get(i.id, mac)?;
    Ok(Target::new(&entry, bits, Some(mac)))
}

/// Calls `each` for every entry, by ascending address.
pub fn walk_cache(
    h: &Handle,
    linkid: LinkId,
    mut each: impl FnMut(&Target),
) -> Result<(), Failure> {
    let i = instance(h, linkid)?;
    let (bits, mode) = i.varpd.instance_target_mode(i.id)?;
    let point = mode == OVERLAY_TARGET_POINT;
    i.varpd.cache_walk(i.id, |mac, entry| {
        each(&Target::new(entry, bits, (!point).then_some(mac)));
        true
    })?;
    Ok(())
}
