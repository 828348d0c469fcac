// SPDX-License-Identifier: CDDL-1.0
//! Values of properties and of what they may be, as bytes (spec/varpd.md, head).
//!
//! | type | value |
//! |---|---|
//! | INT, UINT | 8 bytes; readers take 1, 2 and 4 too |
//! | IP | 16 bytes, IPv4 as v4-mapped |
//! | STRING | text with its NUL |
//! | ETHER | 6 bytes; routed form only |
//!
//! Size 0 is "not set".
use crate::copy;
use crate::errno::Errno;

pub use crate::dld::{OVERLAY_PROP_NAMELEN, OVERLAY_PROP_SIZEMAX};

/// Property type: signed number.
pub const OVERLAY_PROP_T_INT: u32 = 1;
/// Property type: unsigned number.
pub const OVERLAY_PROP_T_UINT: u32 = 2;
/// Property type: IP address.
pub const OVERLAY_PROP_T_IP: u32 = 3;
/// Property type: text.
pub const OVERLAY_PROP_T_STRING: u32 = 4;
/// Property type: Ethernet address.
pub const OVERLAY_PROP_T_ETHER: u32 = 5;

/// Property permission: must be set before activation.
pub const OVERLAY_PROP_PERM_REQ: u32 = 1;
/// Property permission: readable.
pub const OVERLAY_PROP_PERM_READ: u32 = 2;
/// Property permission: writable.
pub const OVERLAY_PROP_PERM_WRITE: u32 = 4;
/// Property permission: readable and writable.
pub const OVERLAY_PROP_PERM_RW: u32 = 6;
/// Property permission: required, readable and writable.
pub const OVERLAY_PROP_PERM_RRW: u32 = 7;
/// Property permission: all bits.
pub const OVERLAY_PROP_PERM_MASK: u32 = 7;

/// `mpr_type`: numbers of one byte.
pub const MAC_PROPVAL_UINT8: u32 = 0;
/// `mpr_type`: ranges of `u32`.
pub const MAC_PROPVAL_UINT32: u32 = 1;
/// `mpr_type`: texts.
pub const MAC_PROPVAL_STR: u32 = 2;

/// The unsigned number in a value of 1, 2, 4 or 8 bytes.
pub fn uint(value: &[u8]) -> Option<u64> {
    Some(match value.len() {
        1 => u64::from(*value.first()?),
        2 => u64::from(u16::from_ne_bytes(value.try_into().ok()?)),
        4 => u64::from(u32::from_ne_bytes(value.try_into().ok()?)),
        8 => u64::from_ne_bytes(value.try_into().ok()?),
        _ => return None,
    })
}

/// The signed number in a value of 1, 2, 4 or 8 bytes.
pub fn int(value: &[u8]) -> Option<i64> {
    Some(match value.len() {
        1 => i64::from(i8::from_ne_bytes(value.try_into().ok()?)),
        2 => i64::from(i16::from_ne_bytes(value.try_into().ok()?)),
        4 => i64::from(i32::from_ne_bytes(value.try_into().ok()?)),
        8 => i64::from_ne_bytes(value.try_into().ok()?),
        _ => return None,
    })
}

/// The address in an IP value.
pub fn ip(value: &[u8]) -> Option<[u8; 16]> {
    value.try_into().ok()
}

/// The text in a STRING value: up to its NUL, which must be there; `None` if it is not UTF-8.
pub fn string(value: &[u8]) -> Option<&str> {
    crate::c_name(value)
}

/// Copies `value` to the front of `buf` and returns its size.
///
/// # Errors
/// `EOVERFLOW` if `buf` is too short.
pub fn put(buf: &mut [u8], value: &[u8]) -> Result<u32, Errno> {
    copy(buf.get_mut(..value.len()).ok_or(Errno::EOVERFLOW)?, value);
    u32::try_from(value.len()).map_err(|_| Errno::EOVERFLOW)
}

/// What a property may be, `mac_propval_range_t` in an area of 256 bytes.
///
/// ```text
///   0 count u32 | 4 type u32 | 8 UINT32: {min u32, max u32} ...
///                            | 8 STR: next free byte u32 | 12 texts, each with its NUL
/// ```
///
/// Empty it counts 16 bytes, so the first range, which lies inside of these, is counted twice;
/// readers go by the count, not by the size. What does not fit or is of another type than the first
/// is left out.
#[derive(Clone, Debug)]
pub struct Possible {
    bytes: [u8; OVERLAY_PROP_SIZEMAX],
    size: usize,
}

/// Bytes of an empty blob.
const EMPTY: usize = 16;

impl Default for Possible {
    fn default() -> Self {
        Possible { bytes: [0; OVERLAY_PROP_SIZEMAX], size: EMPTY }
    }
}

impl Possible {
    /// The blob, 256 bytes.
    pub fn bytes(&self) -> &[u8; OVERLAY_PROP_SIZEMAX] {
        &self.bytes
    }

    /// Its size as told beside it, 16 to 256.
    pub fn size(&self) -> u32 {
        self.size as u32
    }

    /// Adds the numbers from `min` to `max`.
    pub fn add_range(&mut self, min: u32, max: u32) {
        let Some((count, size)) = self.room(MAC_PROPVAL_UINT32, 8) else { return };
        let at = (count as usize).saturating_mul(8).saturating_add(8);
        if write_u32(&mut self.bytes, at, min).is_some()
            && write_u32(&mut self.bytes, at.saturating_add(4), max).is_some()
        {
            self.grown(MAC_PROPVAL_UINT32, count, size);
        }
    }

    /// Adds a text.
    pub fn add_str(&mut self, text: &[u8]) {
        let len = text.len().saturating_add(1);
        let Some((count, size)) = self.room(MAC_PROPVAL_STR, len) else { return };
        let next = read_u32(&self.bytes, 8).unwrap_or(0);
        let Some(next_after) = next.checked_add(len as u32) else { return };
        let at = (next as usize).saturating_add(12);
        let Some(place) = self.bytes.get_mut(at..at.saturating_add(text.len())) else { return };
        copy(place, text);
        if write_u32(&mut self.bytes, 8, next_after).is_some() {
            self.grown(MAC_PROPVAL_STR, count, size);
        }
    }

    /// Count now and size afterwards, if one more of `kind` with `len` bytes may be added.
    fn room(&self, kind: u32, len: usize) -> Option<(u32, usize)> {
        let count = read_u32(&self.bytes, 0)?;
        if count != 0 && read_u32(&self.bytes, 4)? != kind {
            return None;
        }
        let size = self.size.checked_add(len)?;
        (size <= OVERLAY_PROP_SIZEMAX).then_some((count, size))
    }

    fn grown(&mut self, kind: u32, count: u32, size: usize) {
        let _ = write_u32(&mut self.bytes, 0, count.saturating_add(1));
        let _ = write_u32(&mut self.bytes, 4, kind);
        self.size = size;
    }
}

/// What a blob of possible values says; made by [`parse_possible`].
#[derive(Clone, Debug)]
pub enum Values<'a> {
    /// Anything goes.
    Any,
    /// One of these ranges, both ends included.
    Ranges(Ranges<'a>),
    /// One of these texts.
    Texts(Texts<'a>),
    /// A kind of range that overlay properties do not use.
    Unknown,
}

/// The ranges of a blob.
#[derive(Clone, Debug)]
pub struct Ranges<'a>(core::slice::ChunksExact<'a, u8>);

impl Iterator for Ranges<'_> {
    type Item = (u32, u32);

    fn next(&mut self) -> Option<(u32, u32)> {
        let pair = self.0.next()?;
        Some((read_u32(pair, 0)?, read_u32(pair, 4)?))
    }
}

/// The texts of a blob.
#[derive(Clone, Debug)]
pub struct Texts<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        let text = crate::c_name(self.rest)?;
        self.rest = self.rest.get(text.len().saturating_add(1)..)?;
        Some(text)
    }
}

/// Reads a blob of possible values.
///
/// # Errors
/// `EINVAL` if it says there is more in it than there is.
pub fn parse_possible(blob: &[u8]) -> Result<Values<'_>, Errno> {
    let read = |at| read_u32(blob, at).ok_or(Errno::EINVAL);
    let count = match blob.len() {
        0 => return Ok(Values::Any),
        _ => read(0)?,
    };
    if count == 0 {
        return Ok(Values::Any);
    }
    match read(4)? {
        MAC_PROPVAL_UINT32 => {
            let end = (count as usize).checked_mul(8).and_then(|n| n.checked_add(8));
            let pairs = end.and_then(|end| blob.get(8..end)).ok_or(Errno::EINVAL)?;
            Ok(Values::Ranges(Ranges(pairs.chunks_exact(8))))
        }
        MAC_PROPVAL_STR => {
            let end = (read(8)? as usize).checked_add(12);
            let rest = end.and_then(|end| blob.get(12..end)).ok_or(Errno::EINVAL)?;
            let texts = Texts { rest, left: count };
            if texts.clone().count() == count as usize {
                Ok(Values::Texts(texts))
            } else {
                Err(Errno::EINVAL)
            }
        }
        _ => Ok(Values::Unknown),
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(field.try_into().ok()?))
}

fn write_u32(bytes: &mut [u8], at: usize, value: u32) -> Option<()> {
    copy(bytes.get_mut(at..at.checked_add(4)?)?, &value.to_ne_bytes());
    Some(())
}
