// SPDX-License-Identifier: CDDL-1.0
//! Properties of an instance (spec/varpd.md 2.3): number 0 is `search`, the rest are the plugin's.
use crate::gate::Phase;
use crate::instance::Instance;
use crate::lock;
use crate::token::{Token, Tokens};
use overlay_abi::door::{LIBVARPD_PROP_NAMELEN, LIBVARPD_PROP_SIZEMAX};
use overlay_abi::errno::Errno;
use overlay_abi::props::{OVERLAY_PROP_PERM_READ, OVERLAY_PROP_T_STRING, Possible};
use overlay_abi::provider::varpd_prop_handle_t;
use std::ffi::{CStr, CString};
use std::sync::{Arc, Mutex};

/// Name of the built-in property.
const SEARCH: &CStr = c"search";

/// What a property is, while a plugin describes it and afterwards.
#[derive(Clone, Debug, Default)]
pub struct PropInfo {
    /// Full name.
    pub name: CString,
    /// `OVERLAY_PROP_T_*`
    pub kind: u32,
    /// `OVERLAY_PROP_PERM_*`
    pub prot: u32,
    /// Default value, at most 256 bytes; empty for none.
    pub default: Vec<u8>,
    /// Possible values.
    pub possible: Possible,
}

impl PropInfo {
    /// Sets the name, cut after 63 bytes.
    pub(crate) fn set_name(&mut self, name: &CStr) {
        let name = name.to_bytes();
        let cut = &name[..name.len().min(LIBVARPD_PROP_NAMELEN - 1)];
        // A part of a C string has no NUL.
        self.name = CString::new(cut).unwrap_or_default();
    }
}

/// Properties that plugins are describing.
static DRAFTS: Tokens<Arc<Mutex<PropInfo>>> = Tokens::new();

/// Lets a plugin's setter work on the property its handle stands for.
pub(crate) fn with_draft<T>(
    handle: *mut varpd_prop_handle_t,
    set: impl FnOnce(&mut PropInfo) -> T,
) -> Option<T> {
    let draft = DRAFTS.get(Token::from_ptr(handle))?;
    let result = set(&mut lock(&draft));
    Some(result)
}

/// The values `search` may have, as many as fit, and how many names do not.
pub(crate) fn search_values(plugins: &[String]) -> (Possible, usize) {
    let mut possible = Possible::default();
    let left_out = plugins.iter().filter(|name| {
        let before = possible.size();
        possible.add_str(name.as_bytes());
        possible.size() == before
    });
    let left_out = left_out.count();
    (possible, left_out)
}

impl Instance {
    /// How many properties there are.
    pub fn nprops(&self) -> Result<u32, Errno> {
        let (_pass, private) = self.enter(Phase::Created).ok_or(Errno::ENOENT)?;
        // SAFETY: a live object.
        Ok(unsafe { self.plugin().nprops(private) }?.saturating_add(1))
    }

    /// What a property is. `EINVAL` for a number that is none.
    pub fn prop_info(&self, id: u32) -> Result<PropInfo, Errno> {
        let Some(id) = id.checked_sub(1) else { return self.search_info() };
        let (_pass, private) = self.enter(Phase::Created).ok_or(Errno::ENOENT)?;
        let draft = Arc::new(Mutex::new(PropInfo::default()));
        let token = DRAFTS.insert(Arc::clone(&draft));
        // SAFETY: a live object; the handle is known to our setters.
        let result = unsafe { self.plugin().propinfo(private, id, token.as_ptr()) };
        DRAFTS.remove(token);
        result?;
        let info = lock(&draft).clone();
        // Nothing can be done with a property that has no name.
        if info.name.is_empty() { Err(Errno::EINVAL) } else { Ok(info) }
    }

    /// The number of the property with this name. `ENOENT` if there is none.
    pub fn prop_by_name(&self, name: &[u8]) -> Result<(u32, PropInfo), Errno> {
        for id in 0..self.nprops()? {
            let info = self.prop_info(id)?;
            if info.name.as_bytes() == name {
                return Ok((id, info));
            }
        }
        Err(Errno::ENOENT)
    }

    fn search_info(&self) -> Result<PropInfo, Errno> {
        let (possible, _) = search_values(&self.varpd().ok_or(Errno::ENOENT)?.plugins());
        Ok(PropInfo {
            name: SEARCH.to_owned(),
            kind: OVERLAY_PROP_T_STRING,
            prot: OVERLAY_PROP_PERM_READ,
            default: Vec::new(),
            possible,
        })
    }

    /// The value of a property, at most 256 bytes; empty if it is not set.
    ///
    /// # Errors
    /// `EINVAL` for a number that is none; `EOVERFLOW`: the plugin says it is longer; else the
    /// plugin's.
    pub fn get_prop(&self, id: u32) -> Result<Vec<u8>, Errno> {
        if id == 0 {
            let mut name = self.plugin().name().as_bytes().to_vec();
            name.push(0);
            return Ok(name);
        }
        let info = self.prop_info(id)?;
        let (_pass, private) = self.enter(Phase::Created).ok_or(Errno::ENOENT)?;
        let mut value = vec![0; LIBVARPD_PROP_SIZEMAX];
        // SAFETY: a live object.
        let size = unsafe { self.plugin().getprop(private, &info.name, &mut value) }?;
        if size as usize > value.len() {
            return Err(Errno::EOVERFLOW);
        }
        value.truncate(size as usize);
        Ok(value)
    }

    /// Sets a property; of an active instance it is kept over a restart of varpd as well.
    ///
    /// # Errors
    /// `EPERM`: `search`; `EINVAL`: a number that is none, or more than 256 bytes; else the plugin's, or
    /// those of writing the instance's file, after which the property is set but not kept.
    pub fn set_prop(&self, id: u32, value: &[u8]) -> Result<(), Errno> {
        self.set_value(id, value)?;
        self.keep_up()
    }

    /// Sets a property for now.
    pub(crate) fn set_value(&self, id: u32, value: &[u8]) -> Result<(), Errno> {
        if id == 0 {
            return Err(Errno::EPERM);
        }
        if value.len() > LIBVARPD_PROP_SIZEMAX {
            return Err(Errno::EINVAL);
        }
        let info = self.prop_info(id)?;
        let (_pass, private) = self.enter(Phase::Created).ok_or(Errno::ENOENT)?;
        // SAFETY: a live object, and a size that was looked at.
        unsafe { self.plugin().setprop(private, &info.name, value) }
    }
}
