// SPDX-License-Identifier: CDDL-1.0
//! Data centers and networks as small numbers, so that a guest of any of them is one word.
//!
//! ```text
//!   63      48 47                                  0
//!   | realm   | MAC address                        |     key in a table of MAC addresses
//! ```
//!
//! Realm 0 is the link's own: its data center and its network. The last is [`PROBES`].
use crate::frame::{key_mac, mac_key};
use ddi::Errno;
use ddi::mem::{KVec, KmFlag};
use ddi::sync::KMutex;

/// The link's own realm.
pub(crate) const OWN: u16 = 0;
/// Questions to a router about itself, by the router's MAC address: no guest lives here.
pub(crate) const PROBES: u16 = u16::MAX;

/// A MAC address in a realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VL2 {
    pub realm: u16,
    pub mac: [u8; 6],
}

impl VL2 {
    /// As one word.
    pub fn key(self) -> u64 {
        u64::from(self.realm) << 48 | mac_key(self.mac)
    }

    /// What [`VL2::key`] made this word of.
    pub fn of(key: u64) -> VL2 {
        VL2 { realm: (key >> 48) as u16, mac: key_mac(key) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Realm {
    dcid: u32,
    vnet: u64,
}

/// The realms of a link: its own and those that routes lead to. They are never forgotten; there are
/// as many as networks attached to this one.
pub(crate) struct Realms {
    /// Its own data center.
    dcid: u32,
    others: KMutex<KVec<Realm>>,
}

impl Realms {
    pub fn new(dcid: u32) -> Self {
        Realms { dcid, others: KMutex::new(KVec::new()) }
    }

    fn real(&self, dcid: u32) -> u32 {
        if dcid == 0 { self.dcid } else { dcid }
    }

    /// The number of a network in a data center (0: its own), when the link's network is `own`.
    ///
    /// # Errors
    /// `ENOSPC`: there are too many. `ENOMEM`.
    pub fn number(&self, own: u64, vnet: u64, dcid: u32) -> Result<u16, Errno> {
        let realm = Realm { dcid: self.real(dcid), vnet };
        if realm == (Realm { dcid: self.dcid, vnet: own }) {
            return Ok(OWN);
        }
        let mut others = self.others.lock();
        let at = match others.iter().position(|r| *r == realm) {
            Some(at) => at,
            None => {
                others.push(realm, KmFlag::Sleep)?;
                others.len().saturating_sub(1)
            }
        };
        let number = u16::try_from(at.saturating_add(1)).map_err(|_| Errno::ENOSPC);
        number.and_then(|n| if n == PROBES { Err(Errno::ENOSPC) } else { Ok(n) })
    }

    /// The data center of a realm; `None` if there is no such realm.
    pub fn dcid(&self, realm: u16) -> Option<u32> {
        match usize::from(realm).checked_sub(1) {
            None => Some(self.dcid),
            Some(at) => self.others.lock().get(at).map(|r| r.dcid),
        }
    }

    /// Numbers of the realms in a data center (0: the link's own), the link's own realm first.
    pub fn of_dcid(&self, dcid: u32) -> impl Iterator<Item = u16> {
        let dcid = self.real(dcid);
        let last = self.others.lock().len().min(usize::from(PROBES.wrapping_sub(1))) as u16;
        (OWN..=last).filter(move |realm| self.dcid(*realm) == Some(dcid))
    }
}
