// SPDX-License-Identifier: CDDL-1.0
//! From bytes, which anybody may have written, to a list.
//!
//! Memory taken is in proportion to the bytes given: nothing is allocated for a count before its
//! elements have been read.
use crate::number::{Bytes, Number};
use crate::pack::{LIST, PAIR, POINTER, align, pair_size};
use crate::value::{Kind, Read, Value};
use crate::{DEPTH_MAX, Encoding, Error, List, NV_UNIQUE_NAME, NV_UNIQUE_NAME_TYPE, VERSION};
use std::ffi::{CStr, CString};

impl List {
    /// The list of a packed form. Bytes behind its end are not looked at, as in libnvpair.
    ///
    /// # Errors
    /// What is wrong with it. Libnvpair takes some of these and makes something else of them than
    /// was packed: a count of an array that is not that of its pair, a NUL inside a name or string,
    /// another version.
    pub fn unpack(bytes: &[u8]) -> Result<List, Error> {
        let mut from = Bytes(bytes);
        let [encoding, endian, _, _] = from.array()?;
        if encoding == Encoding::Xdr as u8 {
            return Xdr { from, depth: 0 }.list_below();
        }
        if encoding != Encoding::Native as u8 {
            return Err(Error::Encoding(encoding));
        }
        if endian != u8::from(cfg!(target_endian = "little")) {
            return Err(Error::Endian);
        }
        version(i32::native(&mut from)?)?;
        let mut list = List::with_flags(u32::native(&mut from)?);
        native_pairs(&mut from, &mut list, 0)?;
        Ok(list)
    }
}

fn version(version: i32) -> Result<(), Error> {
    if version == VERSION { Ok(()) } else { Err(Error::Version(version)) }
}

/// The text before the first NUL, which is there.
fn c_string(bytes: &[u8]) -> Result<CString, Error> {
    CStr::from_bytes_until_nul(bytes).map(CStr::to_owned).map_err(|_| Error::Text)
}

/// Pairs of the native form up to the end of their list.
fn native_pairs(from: &mut Bytes<'_>, list: &mut List, depth: usize) -> Result<(), Error> {
    loop {
        // The size belongs to the pair, unless it is the end.
        let size = i32::native(&mut Bytes(from.0))?;
        let size = usize::try_from(size).map_err(|_| Error::Size)?;
        if size == 0 {
            from.take(4)?;
            return Ok(());
        }
        let mut pair = Bytes(from.take(size)?);
        i32::native(&mut pair)?;
        let name_size = usize::try_from(i16::native(&mut pair)?).map_err(|_| Error::Text)?;
        i16::native(&mut pair)?;
        let count = u32::native(&mut pair)?;
        let kind = i32::native(&mut pair)?;
        let name = pair.take(name_size)?;
        let name = CStr::from_bytes_with_nul(name).map_err(|_| Error::Text)?;
        pair.take(align(PAIR + name_size, 8) - PAIR - name_size)?;
        let kind = Kind::from_code(kind).ok_or(Error::Kind(kind))?;
        let value = Value::read(kind, count, &mut Native { area: pair, behind: from, depth })?;
        if pair_size(name, &value) != size {
            return Err(Error::Size);
        }
        list.push(name.to_owned(), value);
    }
}

/// Reads a value from its place in the pair, and lists from behind it.
struct Native<'a, 'b> {
    area: Bytes<'a>,
    behind: &'b mut Bytes<'a>,
    depth: usize,
}

impl Native<'_, '_> {
    fn list_below(&mut self) -> Result<List, Error> {
        let mut head = Bytes(self.area.take(LIST)?);
        version(i32::native(&mut head)?)?;
        let flags = u32::native(&mut head)? & (NV_UNIQUE_NAME | NV_UNIQUE_NAME_TYPE);
        let mut list = List::with_flags(flags);
        let depth = deeper(self.depth)?;
        native_pairs(self.behind, &mut list, depth)?;
        Ok(list)
    }

    fn pointers(&mut self, count: u32) -> Result<(), Error> {
        let size = (count as usize).checked_mul(POINTER).ok_or(Error::Count(count))?;
        self.area.take(size).map(drop)
    }
}

fn deeper(depth: usize) -> Result<usize, Error> {
    if depth >= DEPTH_MAX { Err(Error::Depth) } else { Ok(depth + 1) }
}

impl Read for Native<'_, '_> {
    fn number<N: Number>(&mut self) -> Result<N, Error> {
        N::native(&mut self.area)
    }
    fn numbers<N: Number>(&mut self, count: u32) -> Result<Vec<N>, Error> {
        (0..count).map(|_| self.number()).collect()
    }
    fn bytes(&mut self, count: u32) -> Result<Vec<u8>, Error> {
        self.area.take(count as usize).map(<[u8]>::to_vec)
    }
    fn string(&mut self) -> Result<CString, Error> {
        let s = c_string(self.area.0)?;
        self.area.take(s.as_bytes_with_nul().len())?;
        Ok(s)
    }
    fn strings(&mut self, count: u32) -> Result<Vec<CString>, Error> {
        self.pointers(count)?;
        (0..count).map(|_| self.string()).collect()
    }
    fn list(&mut self) -> Result<List, Error> {
        self.list_below()
    }
    fn lists(&mut self, count: u32) -> Result<Vec<List>, Error> {
        self.pointers(count)?;
        (0..count).map(|_| self.list_below()).collect()
    }
}

/// Reads XDR.
struct Xdr<'a> {
    from: Bytes<'a>,
    depth: usize,
}

impl<'a> Xdr<'a> {
    fn text(&mut self) -> Result<CString, Error> {
        let count = u32::xdr(&mut self.from)?;
        let text = self.opaque(count)?;
        CString::new(text).map_err(|_| Error::Text)
    }

    fn opaque(&mut self, count: u32) -> Result<&'a [u8], Error> {
        let text = self.from.take(count as usize)?;
        self.from.take(align(text.len(), 4) - text.len())?;
        Ok(text)
    }

    fn list_below(&mut self) -> Result<List, Error> {
        version(i32::xdr(&mut self.from)?)?;
        let mut list = List::with_flags(u32::xdr(&mut self.from)?);
        loop {
            // The encoded size says nothing that is not known otherwise.
            u32::xdr(&mut self.from)?;
            let decoded_size = u32::xdr(&mut self.from)?;
            if decoded_size == 0 {
                return Ok(list);
            }
            let name = self.text()?;
            let kind = i32::xdr(&mut self.from)?;
            let kind = Kind::from_code(kind).ok_or(Error::Kind(kind))?;
            let count = u32::xdr(&mut self.from)?;
            let value = Value::read(kind, count, self)?;
            // Name lengths that an nvpair_t cannot hold end here too.
            let fits = i16::try_from(name.as_bytes_with_nul().len()).is_ok();
            if !fits || pair_size(&name, &value) != decoded_size as usize {
                return Err(Error::Size);
            }
            list.push(name, value);
        }
    }
}

impl Read for Xdr<'_> {
    fn number<N: Number>(&mut self) -> Result<N, Error> {
        N::xdr(&mut self.from)
    }
    fn numbers<N: Number>(&mut self, count: u32) -> Result<Vec<N>, Error> {
        // The count comes again, except that nothing comes for an empty array.
        if count > 0 && u32::xdr(&mut self.from)? != count {
            return Err(Error::Count(count));
        }
        (0..count).map(|_| self.number()).collect()
    }
    fn bytes(&mut self, count: u32) -> Result<Vec<u8>, Error> {
        self.opaque(count).map(<[u8]>::to_vec)
    }
    fn string(&mut self) -> Result<CString, Error> {
        self.text()
    }
    fn strings(&mut self, count: u32) -> Result<Vec<CString>, Error> {
        (0..count).map(|_| self.text()).collect()
    }
    fn list(&mut self) -> Result<List, Error> {
        let depth = self.depth;
        self.depth = deeper(depth)?;
        let list = self.list_below();
        self.depth = depth;
        list
    }
    fn lists(&mut self, count: u32) -> Result<Vec<List>, Error> {
        (0..count).map(|_| self.list()).collect()
    }
}
