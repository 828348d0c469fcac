// SPDX-License-Identifier: CDDL-1.0
//! Overlay links: making and removing them, their properties, their state, their target cache.
//!
//! Order and texts are those of spec/varpd.md 8.2 to 8.6. What `create` has done when a step fails
//! is kept in `Making`, which takes it back in reverse:
//!
//! ```text
//!   link id -> device -> kernel's -> varpd instance -> its -> instance -> device
//!      ^          ^      properties        ^        properties  active     active
//!      +----------+------------------------+---- what there is to take back
//! ```

mod cache;
mod dest;
mod prop;
mod value;

pub use cache::{
    Entry, Place, Target, cache_delete, cache_flush, cache_get, cache_set, walk_cache,
};
pub use dest::{D_ETHERNET, D_IP, D_PORT, Dest};
pub use libvarpd_client::routed::{Guest, Route};
pub use prop::{Prop, walk_prop};
pub use value::{format as format_value, format_possible, parse as parse_value};

use crate::dlmgmt::{Class, Flags};
use crate::{Failure, Handle, Status, c_text};
use overlay_abi::dld::*;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, VarpdId, VnetId};
use overlay_abi::to_c_name;

/// A property as given to [`create`]; it takes exactly one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropArg {
    /// Its full name.
    pub name: String,
    /// What it is to be.
    pub values: Vec<String>,
}

/// What [`create`] is to make.
#[derive(Clone, Debug)]
pub struct Create<'a> {
    /// Name of the link.
    pub name: &'a str,
    /// Encapsulation plugin of the kernel, at most 31 bytes.
    pub encap: &'a str,
    /// Lookup plugin of varpd.
    pub search: &'a str,
    /// Virtual network id.
    pub vnetid: VnetId,
    /// Data center, 0 for none.
    pub dcid: u32,
    /// Properties. Those whose names start with the lookup plugin's name and a `/` are varpd's.
    pub props: &'a [PropArg],
    /// Not to be remembered over a reboot.
    pub temporary: bool,
}

/// Makes and activates an overlay.
pub fn create(h: &Handle, spec: &Create) -> Result<LinkId, Failure> {
    let encap = to_c_name(spec.encap).ok_or(Status::BadArg)?;
    let flags = Flags::new_link(spec.temporary);
    let linkid = h.dlmgmt.create(spec.name, Class::OVERLAY, flags)?;
    let mut making = Making { h, linkid, flags, device: false, instance: None };
    let mut details = Vec::new();
    match making.run(spec, encap, &mut details) {
        Ok(()) => Ok(linkid),
        Err(status) => {
            making.undo(&mut details);
            Err(Failure::new(status, details))
        }
    }
}

/// An overlay on its way to being.
struct Making<'a> {
    h: &'a Handle,
    linkid: LinkId,
    flags: Flags,
    device: bool,
    instance: Option<(libvarpd_client::Client, VarpdId)>,
}

impl Making<'_> {
    fn run(
        &mut self,
        spec: &Create,
        encap: [u8; MAXLINKNAMELEN],
        details: &mut Vec<String>,
    ) -> Result<(), Status> {
        let linkid = self.linkid;
        let mut arg = overlay_ioc_create_t {
            oic_linkid: linkid.0,
            oic_dcid: spec.dcid,
            oic_vnetid: spec.vnetid.0,
            oic_encap: encap,
        };
        self.h.dld.ioctl_with(OVERLAY_IOC_CREATE, &mut arg)?;
        self.device = true;
        // Version 1 has a filler in its place, at which it does not look.
        if spec.dcid != 0 && prop::dcid(self.h, linkid)? != Some(spec.dcid) {
            details.push("the kernel is of version 1, which has no data centers".to_owned());
            return Err(Status::NotSup);
        }

        let prefix = format!("{}/", spec.search);
        let (varpd_props, kernel_props): (Vec<_>, Vec<_>) =
            spec.props.iter().partition(|p| p.name.starts_with(&prefix));
        for p in kernel_props {
            prop::set_kernel(self.h, linkid, p)
                .inspect_err(|_| details.push(format!("failed to set property {}", p.name)))?;
        }

        let varpd = self.h.varpd().inspect_err(|e| {
            details.push(format!("failed to create libvarpd handle: {e}"));
            details.push(self.h.varpd_unreachable(*e));
        })?;
        let id = varpd
            .instance_create(linkid, spec.search)
            .inspect_err(|e| details.push(format!("failed to create varpd instance: {e}")))?;
        let (varpd, id) = self.instance.insert((varpd, id));
        for p in varpd_props {
            prop::set_varpd(varpd, *id, p)
                .inspect_err(|_| details.push(format!("failed to set varpd prop: {}", p.name)))?;
        }

        // What is missing must be asked for while the thing that lacks it is still there.
        varpd.instance_activate(*id).inspect_err(|e| {
            details.push(format!("failed to activate varpd instance: {e}"));
            details.extend(degradation(self.h, linkid));
            details
                .extend(prop::varpd_props(varpd, *id).into_iter().flat_map(prop::unset_required));
        })?;
        let mut arg = overlay_ioc_activate_t { oia_linkid: linkid.0 };
        self.h.dld.ioctl_with(OVERLAY_IOC_ACTIVATE, &mut arg).inspect_err(|e| {
            details.push(format!("failed to activate device: {e}"));
            let props = prop::kernel_props(self.h, linkid).into_iter().flatten();
            details.extend(props.flat_map(|(_, p)| p).flat_map(|p| prop::unset_required(Ok(p))));
        })?;
        Ok(())
    }

    /// Takes back what there is, in reverse. A device that will not go keeps its name, so that it
    /// can be deleted later.
    fn undo(self, details: &mut Vec<String>) {
        if let Some((varpd, id)) = self.instance
            && let Err(e) = varpd.instance_destroy(id)
        {
            details.push(format!("failed to destroy varpd instance: {e}"));
        }
        if self.device
            && let Err(e) = delete_device(self.h, self.linkid)
        {
            details.push(format!("failed to delete device: {e}"));
            return;
        }
        if let Err(e) = self.h.dlmgmt.destroy(self.linkid, self.flags) {
            details.push(format!("failed to destroy link id: {e}"));
        }
    }
}

/// Removes the kernel's device, if it is there.
fn delete_device(h: &Handle, linkid: LinkId) -> Result<(), Errno> {
    let mut arg = overlay_ioc_delete_t { oid_linkid: linkid.0 };
    match h.dld.ioctl_with(OVERLAY_IOC_DELETE, &mut arg) {
        Err(Errno::ENOENT) | Ok(_) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Removes an overlay: the device, varpd's instance, the name.
///
/// Only the kernel can refuse, with [`Status::LinkBusy`] while a VNIC lies on the link; then
/// nothing has changed. varpd need not be running: an instance without a link is nothing it would
/// start again. [`Status::BadArg`] for a link that is no overlay. A failure of varpd to destroy its
/// instance is returned, but the name is gone all the same.
pub fn delete(h: &Handle, linkid: LinkId) -> Result<(), Status> {
    let link = h.by_id(linkid)?;
    if link.class != Class::OVERLAY {
        return Err(Status::BadArg);
    }
    delete_device(h, linkid)?;
    let instance = match h.varpd() {
        Err(_) => Ok(()),
        Ok(varpd) => match varpd.instance_lookup(linkid) {
            Ok(id) => varpd.instance_destroy(id),
            Err(e) => Err(e),
        },
    };
    h.dlmgmt.destroy(linkid, link.flags)?;
    match instance {
        // Nothing there, or varpd went away under the call.
        Ok(()) | Err(Errno::ENOENT | Errno::EBADF) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Sets a property of an overlay while it works: the driver's, if it has one of this name, else that
/// of its search plugin. [`Status::NotSup`]: the driver's, which cannot be set then. Whether a
/// plugin's has an effect is the plugin's to say.
///
/// The details say why, if the plugin told: [`Status::NotFound`] for a property that neither has.
pub fn set_prop(h: &Handle, linkid: LinkId, arg: &PropArg) -> Result<(), Failure> {
    if prop::is_kernel(h, linkid, arg)? {
        return Ok(prop::set_kernel(h, linkid, arg)?);
    }
    let instance = cache::instance(h, linkid)?;
    prop::set_varpd(&instance.varpd, instance.id, arg)
        .map_err(|e| Failure::new(e, degradation(h, linkid).into_iter().collect()))
}

/// Why an overlay is degraded, if it is. An error number tells less.
fn degradation(h: &Handle, linkid: LinkId) -> Option<String> {
    match status(h, linkid) {
        Ok(Health::Degraded(why)) => Some(why),
        Ok(Health::Online) | Err(_) => None,
    }
}

/// Whether an overlay can carry traffic, as far as the system knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing is wrong.
    Online,
    /// varpd or the driver found something; the text says what.
    Degraded(String),
}

/// Asks the driver for the state of an overlay.
pub fn status(h: &Handle, linkid: LinkId) -> Result<Health, Status> {
    let mut arg = overlay_ioc_status_t {
        ois_linkid: linkid.0,
        ois_status: OVERLAY_I_OK,
        ois_message: [0; OVERLAY_STATUS_BUFLEN],
    };
    h.dld.ioctl_with(OVERLAY_IOC_STATUS, &mut arg)?;
    Ok(match arg.ois_status {
        OVERLAY_I_OK => Health::Online,
        _ => Health::Degraded(c_text(&arg.ois_message)),
    })
}
