// SPDX-License-Identifier: CDDL-1.0
//! Properties of an overlay, the kernel's and varpd's.

use super::{PropArg, value};
use crate::dlmgmt::Class;
use crate::{Failure, Handle, Status, c_text};
use libvarpd_client::Client;
use overlay_abi::dld::*;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, VarpdId};
use overlay_abi::props::{self, *};
use overlay_abi::to_c_name;

/// A property with what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prop {
    /// Full name, such as `mtu` or `direct/dest_ip`.
    pub name: String,
    /// `OVERLAY_PROP_T_*`.
    pub kind: u32,
    /// `OVERLAY_PROP_PERM_*`.
    pub perm: u32,
    /// Default value, empty if there is none.
    pub default: Vec<u8>,
    /// Possible values, as a blob for [`super::format_possible`].
    pub possible: Vec<u8>,
    /// Value, empty if not set; the error if it cannot be read.
    pub value: Result<Vec<u8>, Errno>,
}

impl Prop {
    fn is_unset_required(&self) -> bool {
        self.perm & OVERLAY_PROP_PERM_REQ != 0 && self.value.as_ref().is_ok_and(Vec::is_empty)
    }
}

/// The line about a required property that has no value, if this is one.
pub(super) fn unset_required(prop: Result<Prop, Errno>) -> Option<String> {
    let prop = prop.ok().filter(Prop::is_unset_required)?;
    Some(format!("unset required property: {}", prop.name))
}

/// The single value of a property to be set.
fn single(arg: &PropArg) -> Result<&str, Status> {
    match arg.values.as_slice() {
        [value] => Ok(value),
        _ => Err(Status::BadArg),
    }
}

/// Whether the kernel has a property of this name.
pub(super) fn is_kernel(h: &Handle, linkid: LinkId, arg: &PropArg) -> Result<bool, Status> {
    match kernel_info(h, linkid, -1, to_c_name(&arg.name).ok_or(Status::BadArg)?) {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Sets a kernel property by its name.
pub(super) fn set_kernel(h: &Handle, linkid: LinkId, arg: &PropArg) -> Result<(), Status> {
    let text = single(arg)?;
    let name = to_c_name(&arg.name).ok_or(Status::BadArg)?;
    let info = kernel_info(h, linkid, -1, name)?;
    let value = value::parse(info.oipi_type, text)?;
    let mut set = empty_prop(linkid, info.oipi_id);
    set.oip_size = props::put(&mut set.oip_value, &value)?;
    h.dld.ioctl_with(OVERLAY_IOC_SETPROP, &mut set)?;
    Ok(())
}

/// The data center of a link; `None` where the kernel is of version 1, which has none.
pub(super) fn dcid(h: &Handle, linkid: LinkId) -> Result<Option<u32>, Errno> {
    let name = to_c_name("dcid").unwrap_or([0; OVERLAY_PROP_NAMELEN]);
    let id = match kernel_info(h, linkid, -1, name) {
        Ok(info) => info.oipi_id,
        Err(Errno::ENOENT) => return Ok(None),
        Err(e) => return Err(e),
    };
    let value = kernel_value(h, linkid, id)?;
    let dcid = props::uint(&value).and_then(|dcid| u32::try_from(dcid).ok());
    dcid.map(Some).ok_or(Errno::EPROTO)
}

fn empty_prop(linkid: LinkId, id: i32) -> overlay_ioc_prop_t {
    overlay_ioc_prop_t {
        oip_linkid: linkid.0,
        oip_id: id,
        oip_name: [0; OVERLAY_PROP_NAMELEN],
        oip_value: [0; OVERLAY_PROP_SIZEMAX],
        oip_size: 0,
    }
}

fn kernel_info(
    h: &Handle,
    linkid: LinkId,
    id: i32,
    name: [u8; OVERLAY_PROP_NAMELEN],
) -> Result<overlay_ioc_propinfo_t, Errno> {
    let mut info = overlay_ioc_propinfo_t {
        oipi_linkid: linkid.0,
        oipi_id: id,
        oipi_name: name,
        oipi_type: 0,
        oipi_prot: 0,
        oipi_default: [0; OVERLAY_PROP_SIZEMAX],
        oipi_defsize: 0,
        oipi_posssize: 0,
        oipi_poss: [0; OVERLAY_PROP_SIZEMAX],
    };
    h.dld.ioctl_with(OVERLAY_IOC_PROPINFO, &mut info)?;
    Ok(info)
}

/// The first `size` bytes of an area that came from the other side.
fn sized(area: &[u8], size: u32) -> Vec<u8> {
    area[..area.len().min(size as usize)].to_vec()
}

/// All kernel properties with their numbers; an inner error is that of one property.
pub(super) fn kernel_props(
    h: &Handle,
    linkid: LinkId,
) -> Result<impl Iterator<Item = (i32, Result<Prop, Errno>)> + use<'_>, Errno> {
    let mut n = overlay_ioc_nprops_t { oipn_linkid: linkid.0, oipn_nprops: 0 };
    h.dld.ioctl_with(OVERLAY_IOC_NPROPS, &mut n)?;
    Ok((0..n.oipn_nprops).map(move |id| (id, kernel_prop(h, linkid, id))))
}

fn kernel_prop(h: &Handle, linkid: LinkId, id: i32) -> Result<Prop, Errno> {
    let info = kernel_info(h, linkid, id, [0; OVERLAY_PROP_NAMELEN])?;
    Ok(Prop {
        name: c_text(&info.oipi_name),
        kind: info.oipi_type,
        perm: info.oipi_prot,
        default: sized(&info.oipi_default, info.oipi_defsize),
        possible: info.oipi_poss.to_vec(),
        value: kernel_value(h, linkid, id),
    })
}

fn kernel_value(h: &Handle, linkid: LinkId, id: i32) -> Result<Vec<u8>, Errno> {
    let mut get = empty_prop(linkid, id);
    h.dld.ioctl_with(OVERLAY_IOC_GETPROP, &mut get)?;
    Ok(sized(&get.oip_value, get.oip_size))
}

/// Sets a varpd property by its name.
pub(super) fn set_varpd(varpd: &Client, id: VarpdId, arg: &PropArg) -> Result<(), Status> {
    let text = single(arg)?;
    let mut prop = varpd.prop_handle(id);
    prop.info_fill_by_name(&arg.name)?;
    let value = value::parse(prop.info()?.kind, text)?;
    prop.set(&value)?;
    Ok(())
}

/// All varpd properties of an instance; the first error ends them.
pub(super) fn varpd_props(varpd: &Client, id: VarpdId) -> Vec<Result<Prop, Errno>> {
    match varpd.prop_nprops(id) {
        Ok(n) => (0..n).map(|propid| varpd_prop(varpd, id, propid)).collect(),
        Err(e) => vec![Err(e)],
    }
}

fn varpd_prop(varpd: &Client, id: VarpdId, propid: u32) -> Result<Prop, Errno> {
    let mut prop = varpd.prop_handle(id);
    prop.info_fill(propid)?;
    let value = prop.get();
    let info = prop.info()?;
    Ok(Prop {
        name: info.name.clone(),
        kind: info.kind,
        perm: info.prot,
        default: info.default.clone(),
        possible: info.possible.to_vec(),
        value,
    })
}

/// Calls `each` for every property of an overlay: the kernel's by number, then varpd's.
///
/// An overlay without a varpd instance has only the kernel's. On an error the properties up to it
/// have been seen; the details say where it was.
pub fn walk_prop(h: &Handle, linkid: LinkId, mut each: impl FnMut(&Prop)) -> Result<(), Failure> {
    let fail = |status: Status, detail: String| Failure::new(status, vec![detail]);
    let link = h
        .by_id(linkid)
        .map_err(|e| fail(e, format!("failed to get info for datalink id {linkid}: {e}")))?;
    let name = &link.name;
    if link.class != Class::OVERLAY {
        return Err(fail(Status::BadArg, format!("{name} is not an overlay")));
    }
    let props = kernel_props(h, linkid).map_err(|e| {
        let e = Status::from(e);
        fail(e, format!("failed to get overlay properties for overlay {name}: {e}"))
    })?;
    let mut instance = None;
    for (n, prop) in props {
        let prop = prop.map_err(|e| {
            let e = Status::from(e);
            fail(e, format!("failed to get propinfo for overlay {name}, property {n}: {e}"))
        })?;
        if prop.name == "varpd/id" {
            instance = prop.value.as_deref().ok().and_then(props::uint).filter(|id| *id != 0);
        }
        each(&prop);
    }
    let Some(id) = instance.map(VarpdId) else {
        return Ok(());
    };
    let lost = |e: Errno| {
        let e = Status::from(e);
        fail(e, format!("failed to get varpd props for overlay {name}, varpd id {id}: {e}"))
    };
    let varpd = h.varpd().map_err(|e| {
        let mut failure = lost(e);
        failure.details.push(h.varpd_unreachable(e));
        failure
    })?;
    for prop in varpd_props(&varpd, id) {
        each(&prop.map_err(lost)?);
    }
    Ok(())
}
