// SPDX-License-Identifier: CDDL-1.0
//! Properties of a link: nine of the driver's own, then those of its encapsulation.
//!
//! | id | name | type | permission | default | possible | value |
//! |---|---|---|---|---|---|---|
//! | 0 | `mtu` | UINT | rw | 1400 | 576-8900 | 4 bytes |
//! | 1 | `vnetid` | UINT | rw | | | 8 bytes |
//! | 2 | `encap` | STRING | r- | | loaded plugins | name with its NUL |
//! | 3 | `varpd/id` | UINT | r- | | | 8 bytes, none without target |
//! | 4 | `dcid` | UINT | r- | | | 4 bytes |
//! | 5 | `vl2_cache_size` | UINT | rw | `overlay_target_max` | 256-4194304 | 4 bytes |
//! | 6 | `_vl2_cache_a` | UINT | rw | 75 | 0-100 | 4 bytes |
//! | 7 | `route_cache_size` | UINT | rw | `overlay_route_max` | 256-4194304 | 4 bytes |
//! | 8 | `_route_cache_a` | UINT | rw | 75 | 0-100 | 4 bytes |
//! | 9.. | the plugin's | | | | | |
//!
//! 5 to 8 may be set while the link is active, with 8 bytes; a size of 0 is the default.
//! `_..._a` is the share of the cache, in 100, that is kept for what is in use (see `ddi::map`).
use crate::dev::{Dev, MTU_DEFAULT, MTU_MAX, MTU_MIN};
use crate::overlay;
use crate::plugin::{PropInfo, PropName};
use crate::target::limit::{
    HOT_DEFAULT, Limit, SIZE_MAX, SIZE_MIN, overlay_route_max, overlay_target_max,
};
use core::sync::atomic::Ordering;
use ddi::Errno;
use ddi::mem::{KArc, KBox};
use overlay_abi::dld::{OVERLAY_PROP_NAMELEN, OVERLAY_PROP_SIZEMAX, overlay_ioc_propinfo_t};
use overlay_abi::props::*;

const OWN: [(&[u8], Own); 9] = [
    (b"mtu", Own::Mtu),
    (b"vnetid", Own::Vnetid),
    (b"encap", Own::Encap),
    (b"varpd/id", Own::VarpdId),
    (b"dcid", Own::Dcid),
    (b"vl2_cache_size", Own::Size(Which::Macs)),
    (b"_vl2_cache_a", Own::Hot(Which::Macs)),
    (b"route_cache_size", Own::Size(Which::Routes)),
    (b"_route_cache_a", Own::Hot(Which::Routes)),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Mtu,
    Vnetid,
    Encap,
    VarpdId,
    Dcid,
    /// Entries of a cache.
    Size(Which),
    /// Share of hot ones.
    Hot(Which),
}

/// Which cache.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Macs,
    Routes,
}

impl Which {
    fn limit(self, dev: &Dev) -> &Limit {
        match self {
            Which::Macs => &dev.limits.macs,
            Which::Routes => &dev.limits.routes,
        }
    }

    /// The size of a link's cache that none was set for.
    fn default_size(self) -> u32 {
        let tunable = match self {
            Which::Macs => &overlay_target_max,
            Which::Routes => &overlay_route_max,
        };
        u32::try_from(tunable.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }
}

#[derive(Clone, Copy)]
enum Prop {
    Own(Own),
    Plugin(PropName),
}

/// How many properties a link has.
pub(crate) fn count(dev: &Dev) -> usize {
    OWN.len().saturating_add(dev.encap.plugin().props().len())
}

/// The property of this id, or for -1 of this name, with its id.
///
/// # Errors
/// `EINVAL`: no such id, or the name has no NUL. `ENOENT`: no such name.
fn find(dev: &Dev, id: i32, name: &[u8; OVERLAY_PROP_NAMELEN]) -> Result<(usize, Prop), Errno> {
    let props = dev.encap.plugin().props();
    let all = OWN.iter().map(|(n, own)| (*n, Prop::Own(*own)));
    let mut all = all.chain(props.iter().map(|n| (n.bytes(), Prop::Plugin(*n)))).enumerate();
    if id == -1 {
        let len = name.iter().position(|b| *b == 0).ok_or(Errno::EINVAL)?;
        let name = name.get(..len).ok_or(Errno::EINVAL)?;
        let found = all.find(|(_, (n, _))| *n == name).ok_or(Errno::ENOENT)?;
        return Ok((found.0, found.1.1));
    }
    let id = usize::try_from(id).map_err(|_| Errno::EINVAL)?;
    let found = all.nth(id).ok_or(Errno::EINVAL)?;
    Ok((id, found.1.1))
}

/// Describes a property: its id and the description.
///
/// # Errors
/// Those of `find`, and of the plugin.
pub(crate) fn info(dev: &Dev, arg: &mut overlay_ioc_propinfo_t) -> Result<(), Errno> {
    let (id, prop) = find(dev, arg.oipi_id, &arg.oipi_name)?;
    let info = match prop {
        Prop::Own(own) => own_info(own)?,
        Prop::Plugin(name) => dev.encap.plugin().propinfo(name)?,
    };
    arg.oipi_id = i32::try_from(id).map_err(|_| Errno::EINVAL)?;
    arg.oipi_name = info.name.0;
    arg.oipi_type = info.kind;
    arg.oipi_prot = info.prot;
    arg.oipi_default = info.default.0;
    arg.oipi_defsize = info.default_size;
    arg.oipi_posssize = info.possible.size();
    arg.oipi_poss = *info.possible.bytes();
    Ok(())
}

fn own_info(own: Own) -> Result<KBox<PropInfo>, Errno> {
    let mut info = KBox::new(PropInfo::default());
    let name = OWN.iter().find(|(_, o)| *o == own).map_or(b"".as_slice(), |(n, _)| *n);
    info.set_name(name);
    (info.kind, info.prot) = match own {
        Own::Mtu | Own::Vnetid | Own::Size(_) | Own::Hot(_) => {
            (OVERLAY_PROP_T_UINT, OVERLAY_PROP_PERM_RW)
        }
        Own::Encap => (OVERLAY_PROP_T_STRING, OVERLAY_PROP_PERM_READ),
        Own::VarpdId | Own::Dcid => (OVERLAY_PROP_T_UINT, OVERLAY_PROP_PERM_READ),
    };
    match own {
        Own::Mtu => {
            info.set_default(&MTU_DEFAULT.to_ne_bytes())?;
            info.possible.add_range(MTU_MIN, MTU_MAX);
        }
        Own::Encap => overlay()?.plugins.for_each_name(|name| info.possible.add_str(name)),
        Own::Size(which) => {
            info.set_default(&which.default_size().to_ne_bytes())?;
            info.possible.add_range(SIZE_MIN, SIZE_MAX);
        }
        Own::Hot(_) => {
            info.set_default(&HOT_DEFAULT.to_ne_bytes())?;
            info.possible.add_range(0, 100);
        }
        Own::Dcid => info.possible.add_range(0, u32::MAX),
        Own::Vnetid | Own::VarpdId => {}
    }
    Ok(info)
}

/// Writes the value of a property to `buf`; its size, 0 if it is not set.
///
/// # Errors
/// Those of `find`, and of the plugin.
pub(crate) fn get(
    dev: &Dev,
    id: i32,
    name: &[u8; OVERLAY_PROP_NAMELEN],
    buf: &mut [u8; OVERLAY_PROP_SIZEMAX],
) -> Result<u32, Errno> {
    match find(dev, id, name)?.1 {
        Prop::Plugin(name) => dev.encap.getprop(name, buf),
        Prop::Own(Own::Mtu) => put(buf, &dev.mac.max_sdu().to_ne_bytes()),
        Prop::Own(Own::Vnetid) => put(buf, &dev.state.lock().vnetid.to_ne_bytes()),
        Prop::Own(Own::Encap) => {
            let name = dev.encap.plugin().name();
            // With its NUL, as every STRING.
            put(buf, name).map(|_| {
                if let Some(nul) = buf.get_mut(name.len()) {
                    *nul = 0;
                }
                (name.len() as u32).saturating_add(1)
            })
        }
        Prop::Own(Own::Dcid) => put(buf, &dev.dcid.to_ne_bytes()),
        Prop::Own(Own::Size(which)) => put_u32(buf, which.limit(dev).size()),
        Prop::Own(Own::Hot(which)) => put_u32(buf, which.limit(dev).hot()),
        Prop::Own(Own::VarpdId) => match &dev.io.read().target {
            Some(target) => put(buf, &target.varpd.to_ne_bytes()),
            None => Ok(0),
        },
    }
}

fn put_u32(buf: &mut [u8], value: usize) -> Result<u32, Errno> {
    put(buf, &u32::try_from(value).unwrap_or(u32::MAX).to_ne_bytes())
}

/// The number in a value of 8 bytes.
fn number(value: &[u8]) -> Result<u64, Errno> {
    value.try_into().map(u64::from_ne_bytes).map_err(|_| Errno::EINVAL)
}

/// Sets a property. The link's perimeter must not be held by others for long: it is entered.
///
/// # Errors
/// Those of `find`. `ENOTSUP`: the link is active, and this cannot be set then. `EPERM`: the property cannot be set. `EINVAL`:
/// the value cannot be. `EEXIST`: another link of this encapsulation has that network.
pub(crate) fn set(
    dev: &KArc<Dev>,
    id: i32,
    name: &[u8; OVERLAY_PROP_NAMELEN],
    value: &[u8],
) -> Result<(), Errno> {
    // Activation takes the perimeter too, so the link does not become active meanwhile.
    let perimeter = dev.mac.perimeter();
    let found = find(dev, id, name);
    let live = matches!(found, Ok((_, Prop::Own(Own::Size(_) | Own::Hot(_)))));
    if !live && dev.state.lock().active {
        return Err(Errno::ENOTSUP);
    }
    match found?.1 {
        Prop::Plugin(name) => dev.encap.setprop(name, value),
        Prop::Own(Own::Mtu) => {
            let mtu = uint(value).filter(|_| value.len() >= 4).ok_or(Errno::EINVAL)?;
            dev.mac.set_mtu_prop(&perimeter, u32::try_from(mtu).map_err(|_| Errno::EINVAL)?)
        }
        Prop::Own(Own::Vnetid) => {
            let vnetid = number(value)?;
            if vnetid > dev.encap.plugin().max_vnetid() {
                return Err(Errno::EINVAL);
            }
            overlay()?.devs.set_vnetid(dev, vnetid)
        }
        Prop::Own(Own::Encap | Own::VarpdId | Own::Dcid) => Err(Errno::EPERM),
        Prop::Own(Own::Hot(which)) => which.limit(dev).set_hot(number(value)?),
        Prop::Own(Own::Size(which)) => {
            which.limit(dev).set_size(number(value)?)?;
            if let Some(cache) = dev.io.read().target.as_ref().and_then(|t| t.cache()) {
                cache.trim();
            }
            Ok(())
        }
    }
}

/// Makes sure that all properties that must be set are.
///
/// # Errors
/// `EINVAL`: one is not. Those of the plugin.
pub(crate) fn check_required(dev: &Dev) -> Result<(), Errno> {
    for name in dev.encap.plugin().props() {
        if dev.encap.plugin().propinfo(*name)?.prot & OVERLAY_PROP_PERM_REQ == 0 {
            continue;
        }
        let mut buf = [0; OVERLAY_PROP_SIZEMAX];
        if dev.encap.getprop(*name, &mut buf)? == 0 {
            return Err(Errno::EINVAL);
        }
    }
    Ok(())
}
