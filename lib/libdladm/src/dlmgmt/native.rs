// SPDX-License-Identifier: CDDL-1.0
//! The asking side on illumos, by libdladm.
//!
//! The messages to dlmgmtd are private to it and libdladm and change with them; these functions do
//! not.

use super::sys::*;
use super::wire::ANY_MEDIA;
use super::{Class, DL_ETHER, Flags, MAXLINKNAMELEN, table::Link};
use crate::c_text;
use overlay_abi::errno::Errno;
use overlay_abi::ids::LinkId;
use std::ffi::{CString, c_int, c_void};
use std::io;
use std::path::Path;
use std::ptr::null_mut;

/// A handle of libdladm, for one thread.
pub struct Client {
    handle: *mut dladm_handle,
}

impl Client {
    /// Opens a handle. libdladm finds dlmgmtd's door by itself: the path is not looked at.
    pub fn open(_: impl AsRef<Path>) -> io::Result<Client> {
        let mut handle = null_mut();
        // SAFETY: writes a handle, which is ours.
        check(unsafe { dladm_open(&mut handle) })
            .map_err(|e| io::Error::from_raw_os_error(e.to_host()))?;
        Ok(Client { handle })
    }

    /// Makes a link id for an Ethernet link. EINVAL for a bad name, EEXIST for one in use.
    pub fn create(&self, name: &str, class: Class, flags: Flags) -> Result<LinkId, Errno> {
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        let mut id = 0;
        // SAFETY: a handle of ours, a C string, and room for an id.
        check(unsafe {
            dladm_create_datalink_id(
                self.handle,
                name.as_ptr(),
                class.0,
                DL_ETHER,
                flags.0,
                &mut id,
            )
        })?;
        Ok(LinkId(id))
    }

    /// Takes `flags` from a link; without any left it is forgotten.
    pub fn destroy(&self, id: LinkId, flags: Flags) -> Result<(), Errno> {
        // SAFETY: a handle of ours.
        check(unsafe { dladm_destroy_datalink_id(self.handle, id.0, flags.0) })
    }

    /// The link of that id, ENOENT if there is none.
    pub fn link(&self, id: LinkId) -> Result<Link, Errno> {
        let (mut flags, mut class, mut media, mut name) = (0, 0, 0, [0u8; MAXLINKNAMELEN]);
        // SAFETY: a handle of ours, and room for all that is asked for.
        check(unsafe {
            dladm_datalink_id2info(
                self.handle,
                id.0,
                &mut flags,
                &mut class,
                &mut media,
                name.as_mut_ptr().cast(),
                name.len(),
            )
        })?;
        Ok(Link { id, name: c_text(&name), class: Class(class), media, flags: Flags(flags) })
    }

    /// The link of that name, ENOENT if there is none.
    pub fn by_name(&self, name: &str) -> Result<Link, Errno> {
        let c_name = CString::new(name).map_err(|_| Errno::ENOENT)?;
        let (mut id, mut flags, mut class, mut media) = (0, 0, 0, 0);
        // SAFETY: a handle of ours, a C string, and room for all that is asked for.
        check(unsafe {
            dladm_name2info(
                self.handle,
                c_name.as_ptr(),
                &mut id,
                &mut flags,
                &mut class,
                &mut media,
            )
        })?;
        let (class, flags) = (Class(class), Flags(flags));
        Ok(Link { id: LinkId(id), name: name.to_owned(), class, media, flags })
    }

    /// All links of the given classes that have one of the given flags, by ascending id.
    ///
    /// A link that goes away in between is left out.
    pub fn links(&self, class: Class, flags: Flags) -> Result<Vec<Link>, Errno> {
        let mut ids: Vec<u32> = Vec::new();
        // SAFETY: a handle of ours; `collect` gets the list it expects, for the call.
        check(unsafe {
            dladm_walk_datalink_id(
                Some(collect),
                self.handle,
                (&raw mut ids).cast(),
                class.0,
                ANY_MEDIA,
                flags.0,
            )
        })?;
        ids.sort_unstable();
        let mut links = Vec::new();
        for id in ids {
            match self.link(LinkId(id)) {
                Ok(link) => links.push(link),
                Err(Errno::ENOENT) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(links)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: a handle of ours, used by nobody from here on.
        unsafe { dladm_close(self.handle) };
    }
}

unsafe extern "C" fn collect(_: *mut dladm_handle, id: u32, ids: *mut c_void) -> c_int {
    // SAFETY: the list that `links` gave, which nobody else has meanwhile.
    unsafe { &mut *ids.cast::<Vec<u32>>() }.push(id);
    DLADM_WALK_CONTINUE
}

/// The error number that this crate has for a status of libdladm.
fn check(status: dladm_status_t) -> Result<(), Errno> {
    Err(match status {
        DLADM_STATUS_OK => return Ok(()),
        DLADM_STATUS_BADARG | DLADM_STATUS_BADVAL | DLADM_STATUS_LINKINVAL => Errno::EINVAL,
        DLADM_STATUS_TOOSMALL => Errno::ENOSPC,
        DLADM_STATUS_NOTSUP => Errno::ENOTSUP,
        DLADM_STATUS_NOTFOUND => Errno::ENOENT,
        DLADM_STATUS_NOMEM => Errno::ENOMEM,
        DLADM_STATUS_EXIST => Errno::EEXIST,
        DLADM_STATUS_DENIED => Errno::EACCES,
        DLADM_STATUS_IOERR => Errno::EIO,
        DLADM_STATUS_LINKBUSY => Errno::EBUSY,
        DLADM_STATUS_TRYAGAIN => Errno::EAGAIN,
        // dladm's word for the rest is "operation failed", which this becomes.
        _ => Errno::EPROTO,
    })
}
