// SPDX-License-Identifier: CDDL-1.0
//! The asking side.

use super::table::Link;
use super::wire::*;
use super::{Class, DL_ETHER, Flags};
use overlay_abi::errno::Errno;
use overlay_abi::ids::LinkId;
use std::io;
use std::path::Path;
use zerocopy::{FromBytes, IntoBytes};

/// A connection to the link management door.
pub struct Client {
    door: door::Client,
}

impl Client {
    /// Opens the door, [`super::DOOR`] below the root. The error is that of the system, ENOENT or
    /// ECONNREFUSED if nobody serves it.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Client> {
        Ok(Client { door: door::Client::open(path)? })
    }

    /// Makes a link id for an Ethernet link. EINVAL for a bad name, EEXIST for one in use.
    pub fn create(&self, name: &str, class: Class, flags: Flags) -> Result<LinkId, Errno> {
        let m = CreateId {
            cmd: CMD_CREATE_LINKID,
            link: name_array(name).ok_or(Errno::EINVAL)?,
            class: class.0,
            media: DL_ETHER,
            prefix: 0,
            flags: flags.0,
        };
        Ok(LinkId(self.call::<LinkIdRetval>(m.as_bytes())?.linkid))
    }

    /// Takes `flags` from a link; without any left it is forgotten.
    pub fn destroy(&self, id: LinkId, flags: Flags) -> Result<(), Errno> {
        let m = DestroyId { cmd: CMD_DESTROY_LINKID, linkid: id.0, flags: flags.0 };
        self.call::<Retval>(m.as_bytes()).map(|_| ())
    }

    /// The link of that id, ENOENT if there is none.
    pub fn link(&self, id: LinkId) -> Result<Link, Errno> {
        let m = GetName { cmd: CMD_GETNAME, linkid: id.0 };
        let r: GetNameRetval = self.call(m.as_bytes())?;
        let name = name_str(&r.link).ok_or(Errno::EINVAL)?.to_owned();
        Ok(Link { id, name, class: Class(r.class), media: r.media, flags: Flags(r.flags) })
    }

    /// The link of that name, ENOENT if there is none.
    pub fn by_name(&self, name: &str) -> Result<Link, Errno> {
        let link = name_array(name).ok_or(Errno::ENOENT)?;
        let m = GetLinkId { cmd: CMD_GETLINKID, link, zoneid: -1 };
        let r: LinkIdRetval = self.call(m.as_bytes())?;
        let (class, flags) = (Class(r.class), Flags(r.flags));
        Ok(Link { id: LinkId(r.linkid), name: name.to_owned(), class, media: r.media, flags })
    }

    /// All links of the given classes that have one of the given flags, by ascending id.
    ///
    /// A link that goes away in between is left out.
    pub fn links(&self, class: Class, flags: Flags) -> Result<Vec<Link>, Errno> {
        let mut links = Vec::new();
        let mut linkid = 0;
        loop {
            let (class, flags) = (class.0, flags.0);
            let m = GetNext { cmd: CMD_GETNEXT, linkid, class, flags, dmedia: ANY_MEDIA };
            match self.call::<LinkIdRetval>(m.as_bytes()) {
                // Ids ascend; anything else would go round for ever.
                Ok(r) if r.linkid > linkid => linkid = r.linkid,
                Ok(_) => return Err(Errno::EINVAL),
                Err(Errno::ENOENT) => return Ok(links),
                Err(e) => return Err(e),
            }
            match self.link(LinkId(linkid)) {
                Ok(link) => links.push(link),
                Err(Errno::ENOENT) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// One call. A transport error comes back as its illumos number, a reply of a wrong length as
    /// EINVAL.
    fn call<T: FromBytes>(&self, request: &[u8]) -> Result<T, Errno> {
        let reply = self
            .door
            .call(request)
            .map_err(|e| Errno::from_host(e.raw_os_error().unwrap_or(libc::EIO)))?;
        let (err, _) = u32::read_from_prefix(&reply).map_err(|_| Errno::EINVAL)?;
        match err {
            0 => T::read_from_bytes(&reply).map_err(|_| Errno::EINVAL),
            e => Err(Errno(e as i32)),
        }
    }
}
