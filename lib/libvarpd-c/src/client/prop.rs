// SPDX-License-Identifier: CDDL-1.0
//! Properties of an instance, asked through the door.
use super::{find, varpd_client_handle_t, with};
use crate::prop::{Filled, Outs, give_value, mac_propval_range_t, take_value};
use crate::{c_str, code, out};
use libvarpd::token::{Token, Tokens};
use libvarpd_client::Client;
use overlay_abi::door::LIBVARPD_PROP_SIZEMAX;
use overlay_abi::errno::Errno;
use overlay_abi::ids::VarpdId;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::sync::{Arc, Mutex, PoisonError};

/// A property of an instance, opaque.
#[repr(C)]
pub struct varpd_client_prop_handle_t {
    opaque: [u8; 0],
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
