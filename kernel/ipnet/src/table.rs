// SPDX-License-Identifier: CDDL-1.0
//! The interfaces of a stack as ipnet knows them (spec/ipnet.md 4).
//!
//! ```text
//!   net_phygetnext, net_lifgetnext ... ──► View ──► apply ──► entries ──► taps: on them, or hung up
//!   NE_IFINDEX_CHANGE, NE_UNPLUMB ──► told ──────────┘
//! ```
//!
//! The table follows what IP says as a whole, not event by event: an event only says that it is
//! time to look. So a lost event costs nothing, and one that comes late does no harm: by then the
//! table may be ahead of it.
//!
//! An interface is the same as long as it has its name and its index: IP gives an interface that is
//! plumbed anew an index of its own. One of the same name with another index is another interface,
//! unless IP told that it changed the index. An unplumbing is told for the sake of memberships, which
//! go with the family even if that is back by the time somebody looks.
//!
//! A [`Node`] is an interface as long as anybody knows it; its minor number is not given out again
//! before. An [`Entry`] is what changes about it while it is there.
use crate::accept::{Addresses, GLOBAL_ZONE, V4, V6};
use ddi::Errno;
use ddi::ids::Id;
use ddi::mem::{KArc, KVec, KmFlag};
pub use ddi::neti::{Family, NAME_MAX};

/// Something for each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByFamily<T> {
    /// That of IPv4.
    pub v4: T,
    /// That of IPv6.
    pub v6: T,
}

impl<T> ByFamily<T> {
    /// That of this family.
    pub fn of(&mut self, family: Family) -> &mut T {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// Name of an interface: at most 31 bytes, then NULs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name([u8; NAME_MAX]);

impl Name {
    /// The bytes before the first NUL; `None` if no interface has so long a name.
    pub fn new(bytes: &[u8]) -> Option<Name> {
        let mut name = [0; NAME_MAX];
        let bytes = bytes.split(|b| *b == 0).next().unwrap_or_default();
        if bytes.len() >= NAME_MAX {
            return None;
        }
        for (place, byte) in name.iter_mut().zip(bytes) {
            *place = *byte;
        }
        Some(Name(name))
    }

    /// With its NULs.
    pub fn as_bytes(&self) -> &[u8; NAME_MAX] {
        &self.0
    }
}

/// An interface.
pub struct Node {
    /// Its name.
    pub name: Name,
    /// Minor number of its device.
    pub minor: Id,
    /// Whether it leads nowhere.
    pub loopback: bool,
}

/// What IP says of an interface.
pub struct Seen {
    /// Its name.
    pub name: Name,
    /// Its index.
    pub index: u32,
    /// Whether it leads nowhere.
    pub loopback: bool,
    /// Families it is plumbed for.
    pub plumbed: ByFamily<bool>,
    /// Those of its addresses that are up.
    pub addresses: Addresses,
}

/// What IP says of all of them.
#[derive(Default)]
pub struct View(KVec<Seen>);

impl View {
    /// The interface of this name and index, which is plumbed for the family; made if it is new.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn seen(
        &mut self,
        family: Family,
        index: u32,
        name: Name,
        loopback: bool,
    ) -> Result<&mut Seen, Errno> {
        let at = match self.0.iter().position(|s| s.name == name) {
            Some(at) => at,
            None => {
                let (plumbed, addresses) = Default::default();
                let seen = Seen { name, index, loopback, plumbed, addresses };
                self.0.push(seen, KmFlag::Sleep)?;
                self.0.len().wrapping_sub(1)
            }
        };
        let seen = self.0.get_mut(at).ok_or(Errno::ENOMEM)?;
        *seen.plumbed.of(family) = true;
        Ok(seen)
    }
}

impl Seen {
    /// Adds an address of IPv4.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn add_v4(&mut self, address: V4) -> Result<(), Errno> {
        self.addresses.v4.push(address, KmFlag::Sleep)
    }

    /// Adds an address of IPv6.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn add_v6(&mut self, address: V6) -> Result<(), Errno> {
        self.addresses.v6.push(address, KmFlag::Sleep)
    }
}

/// An interface that is there.
pub struct Entry {
    /// Which.
    pub node: KArc<Node>,
    /// Its index as of now.
    pub index: u32,
    /// Families it is plumbed for.
    pub plumbed: ByFamily<bool>,
    /// Those of its addresses that are up.
    pub addresses: KArc<Addresses>,
    /// Taps that want all its multicasts.
    wanted: u32,
    /// Families for which IP was told so.
    joined: ByFamily<bool>,
    /// With another index it is still the same.
    renumbered: bool,
    /// Unplumbings that a look has shown and IP has yet to tell.
    ahead: ByFamily<u32>,
}

impl Entry {
    /// Whether a zone may see it. In a stack that zones share (`shared`) they see the interfaces
    /// on which they have an address.
    pub fn visible(&self, zone: i32, shared: bool) -> bool {
        zone == GLOBAL_ZONE || !shared || self.addresses.in_zone(zone)
    }

    /// Whether this is the interface that was seen.
    fn is(&self, seen: &Seen) -> bool {
        self.node.name == seen.name && (self.index == seen.index || self.renumbered)
    }

    /// Becomes what was seen; whether it was something else.
    fn follow(&mut self, seen: Seen) -> bool {
        let Seen { index, plumbed, addresses, .. } = seen;
        self.renumbered = false;
        for (family, mut now) in [(Family::V4, plumbed), (Family::V6, plumbed)] {
            if !*now.of(family) && *self.plumbed.of(family) {
                // With its family a membership goes.
                *self.joined.of(family) = false;
                let ahead = self.ahead.of(family);
                *ahead = ahead.saturating_add(1);
            }
        }
        if (self.index, self.plumbed) == (index, plumbed) && *self.addresses == addresses {
            return false;
        }
        (self.index, self.plumbed, self.addresses) = (index, plumbed, KArc::new(addresses));
        true
    }

    /// Tells IP for the families where what it was told is not what is true.
    fn settle(&mut self, ip: &mut Multicasts<'_>) -> Result<(), Errno> {
        let mut result = Ok(());
        for family in [Family::V4, Family::V6] {
            let want = self.wanted != 0 && *self.plumbed.of(family);
            let joined = self.joined.of(family);
            if want && !*joined {
                match ip(self.index, family, true) {
                    Ok(()) => *joined = true,
                    Err(e) => result = Err(e),
                }
            } else if !want && *joined {
                *joined = false;
                // The interface may be on its way out, and the membership with it.
                let _ = ip(self.index, family, false);
            }
        }
        result
    }
}

/// What IP tells of an interface and a look at it does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has another index, and is the same.
    Renumbered,
    /// A family was unplumbed, and with it went what was joined.
    Unplumbed(Family),
}

/// Tells IP to join (`true`) or leave the group of all multicasts: index, family.
pub type Multicasts<'a> = dyn FnMut(u32, Family, bool) -> Result<(), Errno> + 'a;

/// The interfaces of a stack.
#[derive(Default)]
pub struct Table(KVec<Entry>);

impl Table {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }

    /// The entry of an interface, unless that went.
    pub fn entry(&self, node: &KArc<Node>) -> Option<&Entry> {
        self.0.iter().find(|e| KArc::same(&e.node, node))
    }

    /// Makes the table what the view says; whether it was something else. `make` a node for an
    /// interface that is new; without one it stays unknown until the next view.
    ///
    /// # Errors
    /// `ENOMEM`: it is what it could be.
    pub fn apply(
        &mut self,
        view: View,
        mut make: impl FnMut(Name, bool) -> Option<KArc<Node>>,
        ip: &mut Multicasts<'_>,
    ) -> Result<bool, Errno> {
        let mut changed = false;
        let mut at = 0;
        while let Some(entry) = self.0.get(at) {
            if view.0.iter().any(|seen| entry.is(seen)) {
                at = at.saturating_add(1);
            } else {
                self.0.remove(at);
                changed = true;
            }
        }
        let mut seen = view.0;
        while let Some(seen) = seen.remove(0) {
            match self.0.iter_mut().find(|e| e.is(&seen)) {
                Some(entry) => {
                    changed |= entry.follow(seen);
                    // The next look tries again.
                    let _ = entry.settle(ip);
                }
                None => {
                    let Seen { name, index, loopback, plumbed, addresses } = seen;
                    let Some(node) = make(name, loopback) else { continue };
                    let addresses = KArc::new(addresses);
                    let (wanted, joined, renumbered, ahead) = Default::default();
                    let entry = Entry {
                        node,
                        index,
                        plumbed,
                        addresses,
                        wanted,
                        joined,
                        renumbered,
                        ahead,
                    };
                    self.0.push(entry, KmFlag::Sleep)?;
                    changed = true;
                }
            }
        }
        Ok(changed)
    }

    /// IP told what happened to the interface that had this index then. To be followed by a look.
    pub fn told(&mut self, index: u32, what: Told) {
        let Some(entry) = self.0.iter_mut().find(|e| e.index == index) else { return };
        match what {
            Told::Renumbered => entry.renumbered = true,
            Told::Unplumbed(family) => match entry.ahead.of(family) {
                0 => {
                    *entry.plumbed.of(family) = false;
                    *entry.joined.of(family) = false;
                }
                // That one is known, and the family may be back and joined again.
                ahead => *ahead = ahead.saturating_sub(1),
            },
        }
    }

    /// One more tap wants all multicasts of the interface.
    ///
    /// # Errors
    /// `ENXIO`: the interface went. Those of IP; then no family is joined that was not before.
    pub fn want(&mut self, node: &KArc<Node>, ip: &mut Multicasts<'_>) -> Result<(), Errno> {
        let entry = self.0.iter_mut().find(|e| KArc::same(&e.node, node)).ok_or(Errno::ENXIO)?;
        entry.wanted = entry.wanted.saturating_add(1);
        if entry.wanted > 1 {
            return Ok(());
        }
        entry.settle(ip).inspect_err(|_| {
            entry.wanted = 0;
            let _ = entry.settle(ip);
        })
    }

    /// A tap that wanted them does not any more. Nothing if the interface went meanwhile: its
    /// memberships went with it, and its index may be another's.
    pub fn unwant(&mut self, node: &KArc<Node>, ip: &mut Multicasts<'_>) {
        if let Some(entry) = self.0.iter_mut().find(|e| KArc::same(&e.node, node)) {
            entry.wanted = entry.wanted.saturating_sub(1);
            let _ = entry.settle(ip);
        }
    }
}
