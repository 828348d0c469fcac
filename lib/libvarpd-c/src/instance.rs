// SPDX-License-Identifier: CDDL-1.0
//! Instances (spec/varpd.md 2.2).
use crate::handle::{self, varpd_handle_t};
use crate::{c_str, code, out};
use libvarpd::instance::Instance;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, VarpdId};
use overlay_abi::provider::varpd_provider_handle_t;
use std::ffi::{c_char, c_int};
use std::sync::Arc;

/// An instance: the handle that its plugin has as well.
pub type varpd_instance_handle_t = varpd_provider_handle_t;

pub(crate) fn find(instance: *mut varpd_instance_handle_t) -> Result<Arc<Instance>, Errno> {
    Instance::of_provider(instance).ok_or(Errno::EINVAL)
}

/// Makes an instance of a plugin for an overlay link.
///
/// `EINVAL`: NULL; `ENOENT`: no such plugin, or the link is no overlay; `EEXIST`: the link has an
/// instance; else the plugin's.
///
/// # Safety
/// `plugin` is NULL or a C string, `instance` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_instance_create(
    handle: *mut varpd_handle_t,
    link: u32,
    plugin: *const c_char,
    instance: *mut *mut varpd_instance_handle_t,
) -> c_int {
    code(handle::find(handle).and_then(|handle| {
        // SAFETY: by contract.
        let (plugin, instance) = unsafe { (c_str(plugin)?, out(instance)?) };
        let plugin = plugin.to_str().map_err(|_| Errno::ENOENT)?;
        let id = handle.varpd.create(LinkId(link), plugin)?;
        *instance = handle.varpd.instance(id).ok_or(Errno::ENOENT)?.provider();
        Ok(())
    }))
}

/// Number of an instance; 0 for an unknown handle.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_instance_id(instance: *mut varpd_instance_handle_t) -> u64 {
    find(instance).map_or(0, |i| i.id().0)
}

/// The instance with a number; NULL if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_instance_lookup(
    handle: *mut varpd_handle_t,
    id: u64,
) -> *mut varpd_instance_handle_t {
    let instance = handle::find(handle).ok().and_then(|h| h.varpd.instance(VarpdId(id)));
    instance.map_or(std::ptr::null_mut(), |i| i.provider())
}

/// Starts an instance and associates its link with it. `EEXIST`: it is active; else the plugin's or
/// the kernel's.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_instance_activate(instance: *mut varpd_instance_handle_t) -> c_int {
    code(find(instance).and_then(|i| i.activate()))
}

/// Destroys an instance. One that is not, or not any more, is none of anybody's business.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_instance_destroy(instance: *mut varpd_instance_handle_t) {
    if let Ok(instance) = find(instance)
        && let Some(varpd) = instance.varpd()
    {
        // ENOENT: another thread was faster.
        let _ = varpd.destroy(instance.id());
    }
}
