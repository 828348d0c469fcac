// SPDX-License-Identifier: CDDL-1.0
//! The server's side: a table of links and what each message does to it.

use super::wire::*;
use super::{Class, Flags, valid_name};
use overlay_abi::errno::Errno;
use overlay_abi::ids::LinkId;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use zerocopy::{FromBytes, IntoBytes};

/// More links than this are refused (ENOSPC), so that a client cannot eat the memory.
const MAX_LINKS: usize = 1 << 20;

/// One link of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its id, never zero.
    pub id: LinkId,
    /// Its name, valid by [`valid_name`].
    pub name: String,
    /// Exactly one class.
    pub class: Class,
    /// DLPI media type.
    pub media: u32,
    /// At least one flag.
    pub flags: Flags,
}

impl Link {
    fn retval(&self) -> LinkIdRetval {
        LinkIdRetval {
            err: 0,
            linkid: self.id.0,
            flags: self.flags.0,
            class: self.class.0,
            media: self.media,
            padding: 0,
        }
    }
}

/// All links. Ids count up and are not reused until the 32-bit space has been gone round.
#[derive(Default)]
pub struct Table {
    links: BTreeMap<u32, Link>,
    names: HashMap<String, u32>,
    last: u32,
}

impl Table {
    /// An empty table.
    pub fn new() -> Table {
        Table::default()
    }

    /// Makes a link.
    ///
    /// EINVAL for a bad name, class or flags; EEXIST for a name in use; ENOSPC for too many.
    pub fn create(
        &mut self,
        name: &str,
        class: Class,
        media: u32,
        flags: Flags,
    ) -> Result<&Link, Errno> {
        if !valid_name(name) || !class.is_single() || flags.0 == 0 || flags.0 & !Flags::ALL.0 != 0 {
            return Err(Errno::EINVAL);
        }
        if self.names.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        if self.links.len() >= MAX_LINKS {
            return Err(Errno::ENOSPC);
        }
        let id = self.free_id();
        self.last = id;
        self.names.insert(name.to_owned(), id);
        let link = Link { id: LinkId(id), name: name.to_owned(), class, media, flags };
        Ok(self.links.entry(id).or_insert(link))
    }

    /// The next id that no link has: neither 0 (none) nor all ones (a kernel limit).
    fn free_id(&self) -> u32 {
        let mut id = self.last;
        loop {
            id = if id >= u32::MAX - 1 { 1 } else { id + 1 };
            if !self.links.contains_key(&id) {
                return id;
            }
        }
    }

    /// Takes `flags` from a link, which is forgotten when none is left. ENOENT if it has none of
    /// them.
    pub fn destroy(&mut self, id: LinkId, flags: Flags) -> Result<(), Errno> {
        let link = self.links.get_mut(&id.0).ok_or(Errno::ENOENT)?;
        if !link.flags.intersects(flags) {
            return Err(Errno::ENOENT);
        }
        link.flags.0 &= !flags.0;
        if link.flags.0 == 0 {
            self.names.remove(&link.name);
            self.links.remove(&id.0);
        }
        Ok(())
    }

    /// The link of that id.
    pub fn get(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id.0)
    }

    /// The link of that name.
    pub fn by_name(&self, name: &str) -> Option<&Link> {
        self.links.get(self.names.get(name)?)
    }

    /// All links by ascending id.
    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// Answers one door message. Whatever the bytes, the answer is a message: for one that is not
    /// understood, an error alone (4 bytes; EINVAL for a wrong length, ENOTSUP for an unknown
    /// command).
    pub fn handle(&mut self, request: &[u8]) -> Vec<u8> {
        self.dispatch(request).unwrap_or_else(|e| Retval { err: e.0 as u32 }.as_bytes().to_vec())
    }

    fn dispatch(&mut self, request: &[u8]) -> Result<Vec<u8>, Errno> {
        let (cmd, _) = u32::read_from_prefix(request).map_err(|_| Errno::EINVAL)?;
        match cmd {
            CMD_GETNAME => {
                let m: GetName = exact(request)?;
                let link = self.get(LinkId(m.linkid)).ok_or(Errno::ENOENT)?;
                let name = name_array(&link.name).ok_or(Errno::EINVAL)?;
                let (class, media, flags) = (link.class.0, link.media, link.flags.0);
                let reply = GetNameRetval { err: 0, link: name, class, media, flags };
                Ok(reply.as_bytes().to_vec())
            }
            CMD_GETLINKID => {
                let m: GetLinkId = exact(request)?;
                let name = name_str(&m.link).ok_or(Errno::EINVAL)?;
                let link = self.by_name(name).ok_or(Errno::ENOENT)?;
                Ok(link.retval().as_bytes().to_vec())
            }
            CMD_GETNEXT => {
                let m: GetNext = exact(request)?;
                let link = self.next(&m).ok_or(Errno::ENOENT)?;
                Ok(link.retval().as_bytes().to_vec())
            }
            CMD_CREATE_LINKID => {
                let m: CreateId = exact(request)?;
                let name = name_str(&m.link).ok_or(Errno::EINVAL)?;
                if m.prefix != 0 {
                    return Err(Errno::ENOTSUP);
                }
                let link = self.create(name, Class(m.class), m.media, Flags(m.flags))?;
                Ok(link.retval().as_bytes().to_vec())
            }
            CMD_DESTROY_LINKID => {
                let m: DestroyId = exact(request)?;
                self.destroy(LinkId(m.linkid), Flags(m.flags))?;
                Ok(Retval { err: 0 }.as_bytes().to_vec())
            }
            _ => Err(Errno::ENOTSUP),
        }
    }

    fn next(&self, m: &GetNext) -> Option<&Link> {
        let any = m.dmedia >> 32 & 1 == 1;
        self.links.range((Bound::Excluded(m.linkid), Bound::Unbounded)).map(|(_, link)| link).find(
            |l| {
                l.class.intersects(Class(m.class))
                    && l.flags.intersects(Flags(m.flags))
                    && (any || u64::from(l.media) == m.dmedia)
            },
        )
    }
}

/// A message of exactly the size of `T`.
fn exact<T: FromBytes>(request: &[u8]) -> Result<T, Errno> {
    T::read_from_bytes(request).map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::super::DL_ETHER;
    use super::*;

    fn err(reply: &[u8]) -> (usize, u32) {
        (reply.len(), u32::from_ne_bytes(reply[..4].try_into().unwrap()))
    }

    #[test]
    fn every_length_and_command_gets_an_answer() {
        let mut t = Table::new();
        t.create("net0", Class::PHYS, DL_ETHER, Flags::ACTIVE).unwrap();
        for cmd in (0..=12).chain(126..=142).chain([u32::MAX]) {
            for fill in [0u8, 1, 0x41, 0xff] {
                for len in 0..80 {
                    let mut m = vec![fill; len];
                    let n = len.min(4);
                    m[..n].copy_from_slice(&cmd.to_ne_bytes()[..n]);
                    assert!(t.handle(&m).len() >= 4);
                    if len < 4 {
                        assert_eq!(err(&t.handle(&m)), (4, Errno::EINVAL.0 as u32));
                    }
                }
            }
        }
        assert_eq!(t.iter().count(), 1, "nothing got in");
    }

    #[test]
    fn a_name_without_nul_is_refused() {
        let mut t = Table::new();
        let m = CreateId {
            cmd: CMD_CREATE_LINKID,
            link: [b'1'; 32],
            class: Class::OVERLAY.0,
            media: DL_ETHER,
            prefix: 0,
            flags: 1,
        };
        assert_eq!(err(&t.handle(m.as_bytes())), (4, Errno::EINVAL.0 as u32));
    }

    #[test]
    fn ids_are_not_reused_and_skip_zero() {
        let mut t = Table::new();
        let a = t.create("a0", Class::VNIC, DL_ETHER, Flags::ACTIVE).unwrap().id;
        t.destroy(a, Flags::ALL).unwrap();
        let b = t.create("a0", Class::VNIC, DL_ETHER, Flags::ACTIVE).unwrap().id;
        assert!(a != b && a.0 != 0);
        t.last = u32::MAX - 2;
        let ids: Vec<u32> = ["b0", "b1", "b2"]
            .iter()
            .map(|n| t.create(n, Class::VNIC, DL_ETHER, Flags::ACTIVE).unwrap().id.0)
            .collect();
        assert_eq!(ids, [u32::MAX - 1, 1, 3], "2 is still in use");
    }

    #[test]
    fn flags_go_one_by_one() {
        let mut t = Table::new();
        let id = t.create("o1", Class::OVERLAY, DL_ETHER, Flags::ALL).unwrap().id;
        assert_eq!(t.create("o1", Class::OVERLAY, DL_ETHER, Flags::ALL).err(), Some(Errno::EEXIST));
        t.destroy(id, Flags::ACTIVE).unwrap();
        assert_eq!(t.get(id).unwrap().flags, Flags::PERSIST);
        assert_eq!(t.destroy(id, Flags::ACTIVE), Err(Errno::ENOENT));
        t.destroy(id, Flags::PERSIST).unwrap();
        assert!(t.by_name("o1").is_none() && t.get(id).is_none());
    }

    #[test]
    fn next_filters() {
        let mut t = Table::new();
        t.create("net0", Class::PHYS, DL_ETHER, Flags::ACTIVE).unwrap();
        let o = t.create("o0", Class::OVERLAY, DL_ETHER, Flags::ALL).unwrap().id.0;
        let v = t.create("v0", Class::VNIC, 7, Flags::PERSIST).unwrap().id.0;
        let ask = |linkid, class: Class, flags: Flags, dmedia| GetNext {
            cmd: CMD_GETNEXT,
            linkid,
            class: class.0,
            flags: flags.0,
            dmedia,
        };
        let mut next = |m: GetNext| {
            let r = t.handle(m.as_bytes());
            LinkIdRetval::read_from_bytes(&r).ok().map(|r| r.linkid)
        };
        assert_eq!(next(ask(0, Class::OVERLAY, Flags::ACTIVE, ANY_MEDIA)), Some(o));
        assert_eq!(next(ask(o, Class::ALL, Flags::ACTIVE, ANY_MEDIA)), None, "v0 is not active");
        assert_eq!(next(ask(o, Class::ALL, Flags::ALL, ANY_MEDIA)), Some(v));
        assert_eq!(next(ask(o, Class::ALL, Flags::ALL, 4)), None, "other media");
        assert_eq!(next(ask(v, Class::ALL, Flags::ALL, ANY_MEDIA)), None);
        assert_eq!(next(ask(u32::MAX, Class::ALL, Flags::ALL, ANY_MEDIA)), None);
    }
}
