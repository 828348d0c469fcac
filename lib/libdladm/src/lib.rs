// SPDX-License-Identifier: CDDL-1.0
//! Administration of data links: overlays, VNICs, and the properties common to all links.
//!
//! ```text
//!                 dladm, lab
//!                     |
//!        overlay   vnic   link            this crate
//!           |   \    |    /  \
//!           |    \   |   /    \
//!        varpd   dld ioctls   dlmgmt
//!         door    /dev/dld     door
//!           |        |           |
//!         varpd   overlay     names, ids
//!         plugin  vnic, mac
//! ```
//!
//! An overlay is known in three places: dlmgmt has its name and id, the kernel its device, varpd
//! the *instance* that answers its lookups. [`overlay::create`] makes the three in that order and
//! on failure takes back, in reverse, exactly what it made; [`overlay::delete`] removes them in the
//! order kernel, varpd, name, because only the kernel can refuse (EBUSY) and a refused deletion
//! must have changed nothing.
//!
//! # Vocabulary
//!
//! * **status**: what went wrong in dladm's words ([`Status`]); an errno of the kernel or varpd
//!   becomes one.
//! * **details**: lines that say more than the status, collected as an operation goes
//!   ([`Failure`]).
//! * **kernel property, varpd property**: an overlay's properties come from the driver (ids 0..)
//!   and from its varpd plugin; the names of the latter start with the plugin's name, apart from
//!   `search`.
//! * **destination**: which of MAC, IP and port the encapsulation needs to reach another host.
//!
//! There is no lock: a [`Handle`] is for one thread, and two programs at work on one link are
//! serialized by the kernel.

pub mod dlmgmt;
pub mod link;
pub mod overlay;
mod status;
pub mod vnic;

pub use status::{Failure, Status};

use devctl::{Device, OpenFlags, Root};
use overlay_abi::dld::DLD_CONTROL_DEV;
use overlay_abi::door::VARPD_DOOR;
use overlay_abi::errno::Errno;
use overlay_abi::ids::LinkId;
use std::path::PathBuf;

/// What every operation needs: the root, the control device and the link table.
pub struct Handle {
    root: Root,
    dld: Device,
    dlmgmt: dlmgmt::Client,
}

/// A service that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("could not open {}: {errno}", path.display())]
pub struct OpenError {
    /// The file that was tried.
    pub path: PathBuf,
    /// Why not, an illumos number; ENOENT or ECONNREFUSED when nobody serves it.
    pub errno: Errno,
}

impl Handle {
    /// Opens the control device and the link management door under `root`. varpd's door
    /// is opened only by the operations that need it.
    pub fn open(root: &Root) -> Result<Handle, OpenError> {
        let dld = Device::open(root, DLD_CONTROL_DEV, OpenFlags::RDWR)
            .map_err(|e| OpenError { path: root.path(DLD_CONTROL_DEV), errno: e.errno })?;
        let dlmgmt = dlmgmt::Client::open(root.path(dlmgmt::DOOR)).map_err(|e| OpenError {
            path: root.path(dlmgmt::DOOR),
            errno: Errno::from_host(e.raw_os_error().unwrap_or(libc::EIO)),
        })?;
        Ok(Handle { root: root.clone(), dld, dlmgmt })
    }

    /// The table of link names and ids.
    pub fn links(&self) -> &dlmgmt::Client {
        &self.dlmgmt
    }

    /// The link of that name.
    pub fn by_name(&self, name: &str) -> Result<dlmgmt::Link, Status> {
        Ok(self.dlmgmt.by_name(name)?)
    }

    /// The link of that id.
    pub fn by_id(&self, id: LinkId) -> Result<dlmgmt::Link, Status> {
        Ok(self.dlmgmt.link(id)?)
    }

    fn varpd(&self) -> Result<libvarpd_client::Client, Errno> {
        libvarpd_client::Client::open(&self.root)
    }

    /// Why varpd cannot be asked, if it cannot. Links go on without it, and their state is the
    /// kernel's to tell; what is not known of their targets nobody finds out.
    pub fn varpd_trouble(&self) -> Option<String> {
        self.varpd().err().map(|errno| self.varpd_unreachable(errno))
    }

    /// The line that says why varpd cannot be asked.
    fn varpd_unreachable(&self, errno: Errno) -> String {
        format!("varpd does not answer at {}: {errno}", self.root.path(VARPD_DOOR).display())
    }
}

/// The text of a C string in an array; bytes that are not text are replaced.
fn c_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
