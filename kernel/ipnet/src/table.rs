// SPDX-License-Identifier: CDDL-1.0
//! The interfaces of a stack as ipnet knows them (spec/ipnet.md 4).
//!
//! ```text
//!   net_phygetnext, net_lifgetnext ... ──► View ──► apply ──► entries ──► taps: on them, or hung up
//!   NE_UNPLUMB ──► unplumb ──────────────────────────┘
//! ```
//!
//! The table follows what IP says as a whole, not event by event: an event only says that it is
//! time to look. So a lost event costs nothing, and an interface whose index changed is still the
//! same by its name. An unplumbing is told as well, for an interface that is back by the time
//! somebody looks is another one.
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
    /// The bytes before the first NUL; those of a longer name that fit.
    pub fn new(bytes: &[u8]) -> Name {
        let mut name = [0; NAME_MAX];
        let bytes = bytes.split(|b| *b == 0).next().unwrap_or_default();
        for (place, byte) in name.iter_mut().take(NAME_MAX - 1).zip(bytes) {
            *place = *byte;
        }
        Name(name)
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
}

impl Entry {
    /// Whether a zone may see it. In a stack that zones share (`shared`) they see the interfaces
    /// on which they have an address.
    pub fn visible(&self, zone: i32, shared: bool) -> bool {
        zone == GLOBAL_ZONE || !shared || self.addresses.in_zone(zone)
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

    /// Makes the table what the view says. `make` a node for an interface that is new; without one
    /// it stays unknown until the next view.
    ///
    /// # Errors
    /// `ENOMEM`: it is what it could be.
    pub fn apply(
        &mut self,
        view: View,
        mut make: impl FnMut(Name, bool) -> Option<KArc<Node>>,
        ip: &mut Multicasts<'_>,
    ) -> Result<(), Errno> {
        let mut at = 0;
        while let Some(entry) = self.0.get(at) {
            if view.0.iter().any(|s| s.name == entry.node.name) {
                at = at.saturating_add(1);
            } else {
                self.0.remove(at);
            }
        }
        let mut seen = view.0;
        while let Some(Seen { name, index, loopback, plumbed, addresses }) = seen.remove(0) {
            let addresses = KArc::new(addresses);
            match self.0.iter_mut().find(|e| e.node.name == name) {
                Some(entry) => {
                    // With its family a membership goes.
                    entry.joined.v4 &= plumbed.v4;
                    entry.joined.v6 &= plumbed.v6;
                    (entry.index, entry.plumbed, entry.addresses) = (index, plumbed, addresses);
                    // The next look tries again.
                    let _ = entry.settle(ip);
                }
                None => {
                    let Some(node) = make(name, loopback) else { continue };
                    let (wanted, joined) = Default::default();
                    let entry = Entry { node, index, plumbed, addresses, wanted, joined };
                    self.0.push(entry, KmFlag::Sleep)?;
                }
            }
        }
        Ok(())
    }

    /// A family of the interface of this index was unplumbed. With the last the interface goes.
    pub fn unplumb(&mut self, family: Family, index: u32) {
        let Some(at) = self.0.iter().position(|e| e.index == index) else { return };
        if let Some(entry) = self.0.get_mut(at) {
            *entry.plumbed.of(family) = false;
            *entry.joined.of(family) = false;
            if !entry.plumbed.v4 && !entry.plumbed.v6 {
                self.0.remove(at);
            }
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
