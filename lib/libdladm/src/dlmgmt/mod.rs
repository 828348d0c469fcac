// SPDX-License-Identifier: CDDL-1.0
//! Link names and link ids: the dialogue with dlmgmtd, both ends.
//!
//! ```text
//!   dladm, varpd, lab                                 illumos: dlmgmtd
//!   Client::create / destroy / name / id / next       elsewhere: fakekerneld
//!           |                                                 ^
//!           |  <root>/etc/svc/volatile/dladm/dlmgmt_door      |
//!           +------------ one request, one reply ------> Table::handle
//! ```
//!
//! A link has a *name* (`overlay0`), an *id* (never zero, never given out twice while the table
//! lives), a *class* and two flags. `ACTIVE` says that the link exists now, `PERSIST` that its name
//! is to outlive a reboot; a link whose last flag goes away is forgotten.
//!
//! The messages are those of `<sys/dls_mgmt.h>` and libdladm: same numbers, same layouts, which
//! are equal for 32- and 64-bit callers. `Table` is pure and total: any bytes in, a reply out.
//! On illumos `Client` is libdladm, whose business these messages are, by bindings that bindgen made. The functions of
//! libdladm for overlays and VNICs are not used there: these crates make the same ioctls and door calls on every system,
//! without the faults that the originals have (spec/varpd.md 9.9).

#[cfg(not(target_os = "illumos"))]
mod client;
#[cfg(target_os = "illumos")]
mod native;
#[cfg(target_os = "illumos")]
mod sys;
mod table;
mod wire;

#[cfg(not(target_os = "illumos"))]
pub use client::Client;
#[cfg(target_os = "illumos")]
pub use native::Client;
pub use table::{Link, Table};
pub use wire::{DOOR, MAX_MESSAGE};

use std::fmt;

/// Media type Ethernet (`DL_ETHER` of `<sys/dlpi.h>`), the only one this system makes.
pub const DL_ETHER: u32 = 4;

/// Size of the link name array of every message and ioctl, its NUL included.
pub const MAXLINKNAMELEN: usize = 32;

/// A set of link classes (`datalink_class_t`); a link has exactly one bit, a filter may have many.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Class(pub u32);

impl Class {
    /// A network card, or what stands for one.
    pub const PHYS: Class = Class(0x01);
    /// A VLAN link.
    pub const VLAN: Class = Class(0x02);
    /// A link aggregation.
    pub const AGGR: Class = Class(0x04);
    /// A virtual NIC over another link.
    pub const VNIC: Class = Class(0x08);
    /// A switch without a card.
    pub const ETHERSTUB: Class = Class(0x10);
    /// A simulated card.
    pub const SIMNET: Class = Class(0x20);
    /// A bridge's observability link.
    pub const BRIDGE: Class = Class(0x40);
    /// An IP tunnel.
    pub const IPTUN: Class = Class(0x80);
    /// An InfiniBand partition.
    pub const PART: Class = Class(0x100);
    /// An overlay link.
    pub const OVERLAY: Class = Class(0x200);
    /// All of the above, as a filter (`DATALINK_CLASS_ALL`).
    pub const ALL: Class = Class(0x3ff);

    const NAMES: [(Class, &'static str); 10] = [
        (Class::PHYS, "phys"),
        (Class::VLAN, "vlan"),
        (Class::AGGR, "aggr"),
        (Class::VNIC, "vnic"),
        (Class::ETHERSTUB, "etherstub"),
        (Class::SIMNET, "simnet"),
        (Class::BRIDGE, "bridge"),
        (Class::IPTUN, "iptun"),
        (Class::PART, "part"),
        (Class::OVERLAY, "overlay"),
    ];

    /// Whether `self` and `other` share a class.
    pub fn intersects(self, other: Class) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether this is exactly one class that we know.
    pub fn is_single(self) -> bool {
        Class::NAMES.iter().any(|(c, _)| *c == self)
    }
}

/// The word `show-link` prints, `?` for what has none.
impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Class::NAMES.iter().find(|(c, _)| c == self).map_or("?", |(_, n)| *n);
        f.pad(name)
    }
}

/// Where a link lives: now, over reboots, or both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flags(pub u32);

impl Flags {
    /// `DLMGMT_ACTIVE`: the link exists now.
    pub const ACTIVE: Flags = Flags(0x1);
    /// `DLMGMT_PERSIST`: name and id outlive a reboot.
    pub const PERSIST: Flags = Flags(0x2);
    /// Both.
    pub const ALL: Flags = Flags(0x3);

    /// Whether `self` and `other` share a flag.
    pub fn intersects(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// `ACTIVE`, and `PERSIST` too unless the link is to be temporary (`-t`).
    pub fn new_link(temporary: bool) -> Flags {
        if temporary { Flags::ACTIVE } else { Flags::ALL }
    }
}

/// The rule for link names: fewer than 32 characters, only letters, digits, `_` and `.`, no digit
/// first, a number at the end that has no leading zero (spec/varpd.md 8.2).
pub fn valid_name(name: &str) -> bool {
    let b = name.as_bytes();
    if b.is_empty() || b.len() >= MAXLINKNAMELEN || b[0].is_ascii_digit() {
        return false;
    }
    if !b.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.')) {
        return false;
    }
    let digits = b.iter().rev().take_while(|c| c.is_ascii_digit()).count();
    let number = &b[b.len() - digits..];
    !matches!(number, [] | [b'0', _, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["overlay0", "a1", "net.1", "_0", "e1000g0", "v_10", "x4294967296"] {
            assert!(valid_name(good), "{good}");
        }
        let long = format!("{}0", "a".repeat(31));
        for bad in ["", "0", "9a1", "over", "over-1", "a01", "a00", "über0", "a 0", &long] {
            assert!(!valid_name(bad), "{bad}");
        }
        assert!(valid_name(&long[1..]), "31 characters are allowed");
    }

    #[test]
    fn class_words() {
        assert_eq!(Class::OVERLAY.to_string(), "overlay");
        assert_eq!(Class(3).to_string(), "?");
        assert!(!Class(3).is_single() && !Class(0).is_single() && !Class(0x400).is_single());
    }
}
