// SPDX-License-Identifier: CDDL-1.0
//! The client of varpd's door (spec/varpd.md 3.1): instances and their target cache.
pub mod prop;

use crate::{c_str, code, out, path};
use libvarpd::token::{Token, Tokens};
use libvarpd_client::{CacheEntry, Client};
use overlay_abi::door::varpd_client_cache_entry_t;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, MacAddr, VarpdId};
use overlay_abi::target::OVERLAY_TARGET_CACHE_DROP;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::Arc;

/// An open door, opaque.
#[repr(C)]
pub struct varpd_client_handle_t {
    opaque: [u8; 0],
}

/// `struct ether_addr`
pub type ether_addr = [u8; 6];

/// Called with instance, address and entry; not 0 ends the walk.
pub type varpd_client_cache_f = unsafe extern "C" fn(
    *mut varpd_client_handle_t,
    u64,
    *const ether_addr,
    *const varpd_client_cache_entry_t,
    *mut c_void,
) -> c_int;

static CLIENTS: Tokens<Arc<Client>> = Tokens::new();

/// Calls with the client of a handle.
fn with(
    handle: *mut varpd_client_handle_t,
    call: impl FnOnce(&Client) -> Result<(), Errno>,
) -> c_int {
    code(find(handle).and_then(|client| call(&client)))
}

fn find(handle: *mut varpd_client_handle_t) -> Result<Arc<Client>, Errno> {
    CLIENTS.get(Token::from_ptr(handle)).ok_or(Errno::EINVAL)
}

/// Opens the door at a path. `EINVAL`: NULL; else why it cannot be opened.
///
/// # Safety
/// `handle` is NULL or writable, `door` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_c_create(
    handle: *mut *mut varpd_client_handle_t,
    door: *const c_char,
) -> c_int {
    let create = || {
        // SAFETY: by contract.
        let (handle, door) = unsafe { (out(handle)?, path(door)?) };
        *handle = CLIENTS.insert(Arc::new(Client::open_path(door)?)).as_ptr();
        Ok(())
    };
    code(create())
}

/// Closes the door; NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_c_destroy(handle: *mut varpd_client_handle_t) {
    CLIENTS.remove(Token::from_ptr(handle));
}

/// Makes an instance of a plugin. `EINVAL`: NULL, or a name of 64 bytes or more.
///
/// # Safety
/// `plugin` is NULL or a C string, `id` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_c_instance_create(
    handle: *mut varpd_client_handle_t,
    link: u32,
    plugin: *const c_char,
    id: *mut u64,
) -> c_int {
    with(handle, |client| {
        // SAFETY: by contract.
        let (plugin, id) = unsafe { (c_str(plugin)?, out(id)?) };
        // A name that is not UTF-8 is no plugin's.
        let plugin = plugin.to_str().map_err(|_| Errno::ENOENT)?;
        *id = client.instance_create(LinkId(link), plugin)?.0;
        Ok(())
    })
}

/// Starts an instance and associates its link with it.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_c_instance_activate(
    handle: *mut varpd_client_handle_t,
    id: u64,
) -> c_int {
    with(handle, |client| client.instance_activate(VarpdId(id)))
}

/// Destroys an instance.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_c_instance_destroy(
    handle: *mut varpd_client_handle_t,
    id: u64,
) -> c_int {
    with(handle, |client| client.instance_destroy(VarpdId(id)))
}

/// The instance of a link.
///
/// # Safety
/// `id` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_c_instance_lookup(
    handle: *mut varpd_client_handle_t,
    link: u32,
    id: *mut u64,
) -> c_int {
    with(handle, |client| {
        // SAFETY: by contract.
        *unsafe { out(id) }? = client.instance_lookup(LinkId(link))?.0;
        Ok(())
    })
}

/// Destination bits and target mode of an instance.
///
/// # Safety
/// `dest` and `mode` are NULL or writable; what is NULL is not told.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_c_instance_target_mode(
    handle: *mut varpd_client_handle_t,
    id: u64,
    dest: *mut c_uint,
    mode: *mut c_uint,
) -> c_int {
    with(handle, |client| {
        let found = client.instance_target_mode(VarpdId(id))?;
        // SAFETY: by contract.
        let (dest, mode) = unsafe { (dest.as_mut(), mode.as_mut()) };
        for (to, value) in [(dest, found.0), (mode, found.1)] {
            if let Some(to) = to {
                *to = value;
            }
        }
        Ok(())
    })
}

/// Forgets all entries of the target cache of an instance's link.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_c_instance_cache_flush(
    handle: *mut varpd_client_handle_t,
    id: u64,
) -> c_int {
    with(handle, |client| client.cache_flush(VarpdId(id)))
}

/// Forgets one. `EINVAL`: NULL.
///
/// # Safety
/// `key` is NULL or an address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_c_instance_cache_delete(
    handle: *mut varpd_client_handle_t,
    id: u64,
    key: *const ether_addr,
) -> c_int {
    // SAFETY: by contract.
    with(handle, |client| client.cache_delete(VarpdId(id), unsafe { mac(key) }?))
}

/// Tells one. `EINVAL`: NULL.
///
/// # Safety
/// `key` is NULL or an address, `entry` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_c_instance_cache_get(
    handle: *mut varpd_client_handle_t,
    id: u64,
    key: *const ether_addr,
    entry: *mut varpd_client_cache_entry_t,
) -> c_int {
    with(handle, |client| {
        // SAFETY: by contract.
        let (key, entry) = unsafe { (mac(key)?, out(entry)?) };
        *entry = (&client.cache_get(VarpdId(id), key)?).into();
        Ok(())
    })
}

/// Sets one. `EINVAL`: NULL, or a flag that does not exist.
///
/// # Safety
/// `key` is NULL or an address, `entry` is NULL or an entry.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_c_instance_cache_set(
    handle: *mut varpd_client_handle_t,
    id: u64,
    key: *const ether_addr,
    entry: *const varpd_client_cache_entry_t,
) -> c_int {
    with(handle, |client| {
        // SAFETY: by contract.
        let (key, entry) = unsafe { (mac(key)?, entry.as_ref().ok_or(Errno::EINVAL)?) };
        client.cache_set(VarpdId(id), key, &from_c(entry)?)
    })
}

/// Calls a function for each entry, in order of addresses, until it returns something else than 0;
/// the result is 0 then too. `EINVAL`: NULL.
///
/// # Safety
/// `callback` is NULL or a function of that type that takes `arg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_c_instance_cache_walk(
    handle: *mut varpd_client_handle_t,
    id: u64,
    callback: Option<varpd_client_cache_f>,
    arg: *mut c_void,
) -> c_int {
    with(handle, |client| {
        let callback = callback.ok_or(Errno::EINVAL)?;
        client.cache_walk(VarpdId(id), |mac, entry| {
            // SAFETY: by contract; key and entry live during the call.
            unsafe { callback(handle, id, &mac.0, &entry.into(), arg) == 0 }
        })
    })
}

/// # Safety
/// `mac` is NULL or an address.
unsafe fn mac(mac: *const ether_addr) -> Result<MacAddr, Errno> {
    // SAFETY: by contract.
    unsafe { mac.as_ref() }.map(|mac| MacAddr(*mac)).ok_or(Errno::EINVAL)
}

fn from_c(entry: &varpd_client_cache_entry_t) -> Result<CacheEntry, Errno> {
    if entry.vcp_flags & !OVERLAY_TARGET_CACHE_DROP != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(entry.into())
}
