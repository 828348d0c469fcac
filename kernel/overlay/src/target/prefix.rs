// SPDX-License-Identifier: CDDL-1.0
//! IPv6 addresses as numbers, and prefixes of them; IPv4 ones are v4-mapped, their prefixes 96 bits
//! longer.
use ddi::Errno;

/// An address as a number, so that numbers are in the order of addresses: two words, for kmem does
/// not align to the 16 bytes that one of 128 bits wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ip(pub u64, pub u64);

impl Ip {
    /// `::`
    pub const FIRST: Ip = Ip(0, 0);

    /// The address with these bits.
    #[inline]
    pub fn new(bits: u128) -> Ip {
        Ip((bits >> 64) as u64, bits as u64)
    }

    /// Its bits.
    #[inline]
    pub fn bits(self) -> u128 {
        u128::from(self.0) << 64 | u128::from(self.1)
    }

    /// The address behind it.
    pub fn next(self) -> Option<Ip> {
        self.bits().checked_add(1).map(Ip::new)
    }
}

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Net {
    first: u128,
    mask: u128,
}

impl Net {
    /// The first `len` bits of `addr`.
    ///
    /// # Errors
    /// `EINVAL`: `len` is more than 128.
    pub fn new(addr: [u8; 16], len: u8) -> Result<Net, Errno> {
        let zeros = 128_u32.checked_sub(u32::from(len)).ok_or(Errno::EINVAL)?;
        let mask = u128::MAX.checked_shl(zeros).unwrap_or(0);
        Ok(Net { first: u128::from_be_bytes(addr) & mask, mask })
    }

    /// Its smallest address.
    pub fn first(self) -> Ip {
        Ip::new(self.first)
    }

    /// Whether an address is in it.
    #[inline]
    pub fn has(self, addr: Ip) -> bool {
        addr.bits() & self.mask == self.first
    }
}
