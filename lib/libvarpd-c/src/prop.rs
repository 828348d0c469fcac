// SPDX-License-Identifier: CDDL-1.0
//! Properties of an instance, for who has the instance (spec/varpd.md 2.3), and the form in which
//! properties are described to programs in C, which the client shares.
use crate::handle::{self, varpd_handle_t};
use crate::instance::{self, varpd_instance_handle_t};
use crate::{code, out};
use libvarpd::instance::Instance;
use libvarpd::token::{Token, Tokens};
use overlay_abi::errno::Errno;
use overlay_abi::props::OVERLAY_PROP_SIZEMAX;
use overlay_abi::provider::varpd_prop_handle_t;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zerocopy::IntoBytes;

/// `mac_propval_range_t`, of which only the address is given out.
#[repr(C)]
pub struct mac_propval_range_t {
    opaque: [u32; 2],
}

/// What a property is, where a program can look at it.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    pub(crate) id: u32,
    pub(crate) name: CString,
    pub(crate) kind: u32,
    pub(crate) prot: u32,
    pub(crate) default: Vec<u8>,
    /// Words, since that is what it is made of and must be aligned to.
    pub(crate) possible: Possible,
}

#[derive(Debug)]
pub(crate) struct Possible(Box<[u32; OVERLAY_PROP_SIZEMAX / 4]>);

impl Default for Possible {
    fn default() -> Possible {
        Possible(Box::new([0; OVERLAY_PROP_SIZEMAX / 4]))
    }
}

/// Where parts of a property's description go; each may be NULL.
pub(crate) struct Outs {
    pub(crate) name: *mut *const c_char,
    pub(crate) kind: *mut c_uint,
    pub(crate) prot: *mut c_uint,
    pub(crate) default: *mut *const c_void,
    pub(crate) size: *mut u32,
    pub(crate) possible: *mut *const mac_propval_range_t,
}

impl Filled {
    /// Keeps the possible values, of which there are at most 256 bytes.
    pub(crate) fn set_possible(&mut self, possible: &[u8]) {
        let bytes = self.possible.0.as_mut_bytes();
        bytes.fill(0);
        overlay_abi::copy(bytes, possible);
    }

    /// Gives out the description. Addresses are good until the next fill, or the end of the handle.
    ///
    /// # Safety
    /// Each place is NULL or writable.
    pub(crate) unsafe fn give(&self, to: &Outs) {
        // SAFETY: by contract.
        unsafe {
            put(to.name, self.name.as_ptr());
            put(to.kind, self.kind);
            put(to.prot, self.prot);
            put(to.default, self.default.as_ptr().cast());
            put(to.size, self.default.len() as u32);
            put(to.possible, (&raw const *self.possible.0).cast());
        }
    }
}

/// # Safety
/// `to` is NULL or writable.
unsafe fn put<T>(to: *mut T, value: T) {
    // SAFETY: by contract.
    if let Some(to) = unsafe { to.as_mut() } {
        *to = value;
    }
}

/// Copies a value to a program's buffer of `*size` bytes, and its size to there. `EOVERFLOW` if it
/// is longer.
///
/// # Safety
/// `buf` is writable for `size` bytes.
pub(crate) unsafe fn give_value(
    value: &[u8],
    buf: *mut c_void,
    size: &mut u32,
) -> Result<(), Errno> {
    if buf.is_null() {
        return Err(Errno::EINVAL);
    }
    if value.len() > *size as usize {
        return Err(Errno::EOVERFLOW);
    }
    // SAFETY: room for `size` bytes by contract, which is enough; the value is ours.
    unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), buf.cast(), value.len()) };
    *size = value.len() as u32;
    Ok(())
}

/// A value of a program's.
///
/// # Safety
/// `buf` is NULL or readable for `size` bytes, which stay as they are as long as the result lives.
pub(crate) unsafe fn take_value<'a>(buf: *const c_void, size: u32) -> Result<&'a [u8], Errno> {
    if buf.is_null() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: not NULL, thus readable by contract.
    Ok(unsafe { std::slice::from_raw_parts(buf.cast(), size as usize) })
}

struct Prop {
    instance: Arc<Instance>,
    /// `Filled::default` before the first fill.
    filled: Filled,
}

static PROPS: Tokens<Arc<Mutex<Prop>>> = Tokens::new();

fn find(handle: *mut varpd_prop_handle_t) -> Result<Arc<Mutex<Prop>>, Errno> {
    PROPS.get(Token::from_ptr(handle)).ok_or(Errno::EINVAL)
}

fn lock(prop: &Mutex<Prop>) -> MutexGuard<'_, Prop> {
    prop.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Prop {
    /// The property's number; `EINVAL` without a fill.
    fn id(&self) -> Result<u32, Errno> {
        if self.filled.name.is_empty() { Err(Errno::EINVAL) } else { Ok(self.filled.id) }
    }
}

/// Makes a handle for properties of an instance. `EINVAL` for an unknown one, or NULL.
///
/// # Safety
/// `prop` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_prop_handle_alloc(
    handle: *mut varpd_handle_t,
    instance: *mut varpd_instance_handle_t,
    prop: *mut *mut varpd_prop_handle_t,
) -> c_int {
    code(handle::find(handle).and_then(|_| {
        let instance = instance::find(instance)?;
        // SAFETY: by contract.
        let prop = unsafe { out(prop) }?;
        let new = Prop { instance, filled: Filled::default() };
        *prop = PROPS.insert(Arc::new(Mutex::new(new))).as_ptr();
        Ok(())
    }))
}

/// Frees a handle; NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_prop_handle_free(prop: *mut varpd_prop_handle_t) {
    PROPS.remove(Token::from_ptr(prop));
}

/// How many properties an instance has: `search` and its plugin's.
///
/// # Safety
/// `nprops` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_prop_nprops(
    instance: *mut varpd_instance_handle_t,
    nprops: *mut c_uint,
) -> c_int {
    code(instance::find(instance).and_then(|instance| {
        // SAFETY: by contract.
        *unsafe { out(nprops) }? = instance.nprops()?;
        Ok(())
    }))
}

/// Turns a handle to a property by its number. `EINVAL` for one that is none; the handle is as
/// before then.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_prop_info_fill(prop: *mut varpd_prop_handle_t, id: c_uint) -> c_int {
    code(find(prop).and_then(|prop| {
        let mut prop = lock(&prop);
        let info = prop.instance.prop_info(id)?;
        let mut filled = Filled {
            id,
            name: info.name,
            kind: info.kind,
            prot: info.prot,
            default: info.default,
            ..Filled::default()
        };
        filled.set_possible(info.possible.bytes());
        prop.filled = filled;
        Ok(())
    }))
}

/// What the property is; places that are NULL get nothing. Without a fill everything is empty.
///
/// # Safety
/// The places are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_prop_info(
    prop: *mut varpd_prop_handle_t,
    name: *mut *const c_char,
    kind: *mut c_uint,
    prot: *mut c_uint,
    default: *mut *const c_void,
    size: *mut u32,
    possible: *mut *const mac_propval_range_t,
) -> c_int {
    code(find(prop).map(|prop| {
        // SAFETY: by contract.
        unsafe { lock(&prop).filled.give(&Outs { name, kind, prot, default, size, possible }) };
    }))
}

/// The value of the property; size 0 if it is not set.
///
/// `EINVAL`: NULL or not filled; `EOVERFLOW`: the buffer is too short; else the plugin's.
///
/// # Safety
/// `buf` is NULL or has room for `*size` bytes, `size` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_prop_get(
    prop: *mut varpd_prop_handle_t,
    buf: *mut c_void,
    size: *mut u32,
) -> c_int {
    code(find(prop).and_then(|prop| {
        let prop = lock(&prop);
        // SAFETY: by contract.
        let size = unsafe { out(size) }?;
        let value = prop.instance.get_prop(prop.id()?)?;
        // SAFETY: by contract.
        unsafe { give_value(&value, buf, size) }
    }))
}

/// Sets the property.
///
/// `EINVAL`: NULL, not filled, or more than 256 bytes; `EPERM`: `search`; else the plugin's.
///
/// # Safety
/// `buf` is NULL or has `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libvarpd_prop_set(
    prop: *mut varpd_prop_handle_t,
    buf: *const c_void,
    size: u32,
) -> c_int {
    code(find(prop).and_then(|prop| {
        let prop = lock(&prop);
        // SAFETY: by contract.
        prop.instance.set_prop(prop.id()?, unsafe { take_value(buf, size) }?)
    }))
}
