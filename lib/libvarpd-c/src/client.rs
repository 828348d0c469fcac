// SPDX-License-Identifier: CDDL-1.0
//! The client of varpd's door (spec/varpd.md 3.1).
use crate::prop::{Filled, Outs, give_value, mac_propval_range_t, take_value};
use crate::{c_str, code, out, path};
use libvarpd::token::{Token, Tokens};
use libvarpd_client::{CacheEntry, Client};
use overlay_abi::door::{LIBVARPD_PROP_SIZEMAX, varpd_client_cache_entry_t};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, MacAddr, UnderlayAddr, VarpdId};
use overlay_abi::target::OVERLAY_TARGET_CACHE_DROP;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::sync::{Arc, Mutex, PoisonError};

/// An open door, opaque.
#[repr(C)]
pub struct varpd_client_handle_t {
    opaque: [u8; 0],
}

/// A property of an instance, opaque.
#[repr(C)]
pub struct varpd_client_prop_handle_t {
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
        *entry = to_c(&client.cache_get(VarpdId(id), key)?);
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
            unsafe { callback(handle, id, &mac.0, &to_c(entry), arg) == 0 }
        })
    })
}

/// # Safety
/// `mac` is NULL or an address.
unsafe fn mac(mac: *const ether_addr) -> Result<MacAddr, Errno> {
    // SAFETY: by contract.
    unsafe { mac.as_ref() }.map(|mac| MacAddr(*mac)).ok_or(Errno::EINVAL)
}

fn to_c(entry: &CacheEntry) -> varpd_client_cache_entry_t {
    varpd_client_cache_entry_t {
        vcp_mac: entry.mac.0,
        vcp_flags: if entry.drop { OVERLAY_TARGET_CACHE_DROP } else { 0 },
        vcp_ip: entry.addr.ip,
        vcp_port: entry.addr.port,
        vcp_pad: [0; 2],
    }
}

fn from_c(entry: &varpd_client_cache_entry_t) -> Result<CacheEntry, Errno> {
    if entry.vcp_flags & !OVERLAY_TARGET_CACHE_DROP != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(CacheEntry {
        drop: entry.vcp_flags != 0,
        mac: MacAddr(entry.vcp_mac),
        addr: UnderlayAddr { ip: entry.vcp_ip, port: entry.vcp_port },
    })
}

struct Prop {
    client: Arc<Client>,
    id: VarpdId,
    /// `None` before the first fill.
    filled: Option<Filled>,
}

static PROPS: Tokens<Arc<Mutex<Prop>>> = Tokens::new();

/// Calls with the property of a handle.
fn with_prop(
    handle: *mut varpd_client_prop_handle_t,
    call: impl FnOnce(&mut Prop) -> Result<(), Errno>,
) -> c_int {
    let prop = PROPS.get(Token::from_ptr(handle)).ok_or(Errno::EINVAL);
    code(prop.and_then(|prop| call(&mut prop.lock().unwrap_or_else(PoisonError::into_inner))))
}

impl Prop {
    fn filled(&self) -> Result<&Filled, Errno> {
        self.filled.as_ref().ok_or(Errno::EINVAL)
    }

    fn fill(&mut self, info: libvarpd_client::PropInfo) -> Result<(), Errno> {
        let mut filled = Filled {
            id: info.id,
            name: CString::new(info.name).map_err(|_| Errno::EPROTO)?,
            kind: info.kind,
            prot: info.prot,
            default: info.default,
            ..Filled::default()
        };
        filled.set_possible(&info.possible);
        self.filled = Some(filled);
        Ok(())
    }
}

/// How many properties an instance has. `EINVAL`: NULL.
///
/// # Safety
/// `nprops` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_c_prop_nprops(
    handle: *mut varpd_client_handle_t,
    id: u64,
    nprops: *mut c_uint,
) -> c_int {
    with(handle, |client| {
        // SAFETY: by contract.
        *unsafe { out(nprops) }? = client.prop_nprops(VarpdId(id))?;
        Ok(())
    })
}

/// Makes a handle for properties of an instance. varpd is not asked whether there is such a one.
///
/// # Safety
/// `prop` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_c_prop_handle_alloc(
    handle: *mut varpd_client_handle_t,
    id: u64,
    prop: *mut *mut varpd_client_prop_handle_t,
) -> c_int {
    code(find(handle).and_then(|client| {
        // SAFETY: by contract.
        let prop = unsafe { out(prop) }?;
        let new = Prop { client, id: VarpdId(id), filled: None };
        *prop = PROPS.insert(Arc::new(Mutex::new(new))).as_ptr();
        Ok(())
    }))
}

/// Frees a handle; NULL is fine. The client may have been destroyed before.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_c_prop_handle_free(prop: *mut varpd_client_prop_handle_t) {
    PROPS.remove(Token::from_ptr(prop));
}

/// Turns a handle to a property by its number. `EINVAL` for one that is none; the handle is as
/// before then.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_c_prop_info_fill(
    prop: *mut varpd_client_prop_handle_t,
    propid: c_uint,
) -> c_int {
    with_prop(prop, |prop| prop.fill(prop.client.prop_info(prop.id, propid)?))
}

/// Turns a handle to a property by its name. `ENOENT` for one that is none, `EINVAL` for NULL and
/// for 64 bytes or more.
///
/// # Safety
/// `name` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_c_prop_info_fill_by_name(
    prop: *mut varpd_client_prop_handle_t,
    name: *const c_char,
) -> c_int {
    with_prop(prop, |prop| {
        // SAFETY: by contract.
        let name = unsafe { c_str(name) }?.to_str().map_err(|_| Errno::ENOENT)?;
        prop.fill(prop.client.prop_info_by_name(prop.id, name)?)
    })
}

/// What the property is; places that are NULL get nothing. `EINVAL` without a fill.
///
/// # Safety
/// The places are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_c_prop_info(
    prop: *mut varpd_client_prop_handle_t,
    name: *mut *const c_char,
    kind: *mut c_uint,
    prot: *mut c_uint,
    default: *mut *const c_void,
    size: *mut u32,
    possible: *mut *const mac_propval_range_t,
) -> c_int {
    with_prop(prop, |prop| {
        // SAFETY: by contract.
        unsafe { prop.filled()?.give(&Outs { name, kind, prot, default, size, possible }) };
        Ok(())
    })
}

/// The value of the property; size 0 if it is not set.
///
/// `EINVAL`: NULL or not filled; `EOVERFLOW`: room for less than 256 bytes; `E2BIG`: varpd says it
/// is longer than that; else the plugin's.
///
/// # Safety
/// `buf` is NULL or has room for `*size` bytes, `size` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_c_prop_get(
    prop: *mut varpd_client_prop_handle_t,
    buf: *mut c_void,
    size: *mut u32,
) -> c_int {
    with_prop(prop, |prop| {
        // SAFETY: by contract.
        let size = unsafe { out(size) }?;
        let propid = prop.filled()?.id;
        if buf.is_null() {
            return Err(Errno::EINVAL);
        }
        if (*size as usize) < LIBVARPD_PROP_SIZEMAX {
            return Err(Errno::EOVERFLOW);
        }
        let value = prop.client.prop_get(prop.id, propid)?;
        // SAFETY: by contract.
        unsafe { give_value(&value, buf, size) }
    })
}

/// Sets the property.
///
/// `EINVAL`: NULL, no bytes, or not filled; `EOVERFLOW`: more than 256 bytes; `EPERM`; else the
/// plugin's.
///
/// # Safety
/// `buf` is NULL or has `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_c_prop_set(
    prop: *mut varpd_client_prop_handle_t,
    buf: *const c_void,
    size: u32,
) -> c_int {
    with_prop(prop, |prop| {
        let propid = prop.filled()?.id;
        // SAFETY: by contract.
        prop.client.prop_set(prop.id, propid, unsafe { take_value(buf, size) }?)
    })
}
