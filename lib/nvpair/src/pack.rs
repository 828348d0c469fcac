// SPDX-License-Identifier: CDDL-1.0
//! From a list to bytes.
use crate::list::Pair;
use crate::number::Number;
use crate::value::{Value, Write};
use crate::{DEPTH_MAX, Encoding, Error, List, VERSION};
use std::ffi::{CStr, CString};

/// Bytes of an `nvpair_t` before the name.
pub(crate) const PAIR: usize = 16;
/// Bytes of an `nvlist_t`.
pub(crate) const LIST: usize = 24;
/// Bytes of a pointer in the native form, in either data model.
pub(crate) const POINTER: usize = 8;
/// Longest name in bytes: its size with the NUL is an `int16_t`.
const NAME_MAX: usize = i16::MAX as usize - 1;
/// Largest packed form in bytes, and largest number of elements.
const SIZE_MAX: usize = i32::MAX as usize;

impl List {
    /// The packed form. The native one is of this host's byte order.
    ///
    /// # Errors
    /// [`Error::Depth`], [`Error::Big`]
    pub fn pack(&self, encoding: Encoding) -> Result<Vec<u8>, Error> {
        check(self, 0)?;
        let endian = u8::from(cfg!(target_endian = "little"));
        let mut out = vec![encoding as u8, endian, 0, 0];
        match encoding {
            Encoding::Native => {
                VERSION.put_native(&mut out);
                self.flags().put_native(&mut out);
                native_pairs(&mut out, self);
            }
            Encoding::Xdr => {
                let mut xdr = Xdr { out, phantom: 0 };
                xdr.list(self);
                out = xdr.out;
                out.resize(out.len().saturating_add(xdr.phantom), 0);
            }
        }
        if out.len() > SIZE_MAX { Err(Error::Big) } else { Ok(out) }
    }
}

/// Whether a list has a packed form.
fn check(list: &List, depth: usize) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::Depth);
    }
    for (name, value) in list.iter() {
        if name.as_bytes().len() > NAME_MAX || value_size(value) > SIZE_MAX {
            return Err(Error::Big);
        }
        match value {
            Value::List(inner) => check(inner, depth + 1)?,
            Value::ListArray(all) => all.iter().try_for_each(|l| check(l, depth + 1))?,
            _ => {}
        }
    }
    Ok(())
}

/// `n` rounded up to a multiple of `to`, a power of two.
pub(crate) fn align(n: usize, to: usize) -> usize {
    n.saturating_add(to - 1) & !(to - 1)
}

/// Bytes of an `nvpair_t` with its name and value, lists in it excepted: the size of a pair in the
/// native form, and what XDR calls the decoded size.
pub(crate) fn pair_size(name: &CStr, value: &Value) -> usize {
    let name = align(PAIR + name.to_bytes_with_nul().len(), 8);
    name.saturating_add(align(value_size(value), 8))
}

fn value_size(value: &Value) -> usize {
    let mut size = Size(0);
    value.write(&mut size);
    size.0
}

/// Measures a value in memory.
struct Size(usize);

impl Size {
    fn add(&mut self, count: usize, each: usize) {
        self.0 = self.0.saturating_add(count.saturating_mul(each));
    }
}

impl Write for Size {
    fn number<N: Number>(&mut self, _: N) {
        self.add(1, N::SIZE);
    }
    fn numbers<N: Number>(&mut self, all: &[N]) {
        self.add(all.len(), N::SIZE);
    }
    fn bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len(), 1);
    }
    fn string(&mut self, s: &CString) {
        self.add(s.as_bytes_with_nul().len(), 1);
    }
    fn strings(&mut self, all: &[CString]) {
        self.add(all.len(), POINTER);
        all.iter().for_each(|s| self.string(s));
    }
    fn list(&mut self, _: &List) {
        self.add(1, LIST);
    }
    fn lists(&mut self, all: &[List]) {
        self.add(all.len(), POINTER + LIST);
    }
}

fn pad(out: &mut Vec<u8>, start: usize, to: usize) {
    out.resize(start + align(out.len() - start, to), 0);
}

/// The native form of all pairs and the end.
fn native_pairs(out: &mut Vec<u8>, list: &List) {
    for pair in list.pairs() {
        native_pair(out, pair);
    }
    0i32.put_native(out);
}

fn native_pair(out: &mut Vec<u8>, Pair { name, value, .. }: &Pair) {
    let start = out.len();
    let name = name.as_bytes_with_nul();
    // What is cast here was found to fit by `check`.
    (pair_size(name_of(name), value) as i32).put_native(out);
    (name.len() as i16).put_native(out);
    0i16.put_native(out);
    (value.count() as i32).put_native(out);
    value.kind().code().put_native(out);
    out.extend(name);
    pad(out, start, 8);
    value.write(&mut Native(out));
    pad(out, start, 8);
    match value {
        Value::List(inner) => native_pairs(out, inner),
        Value::ListArray(all) => all.iter().for_each(|l| native_pairs(out, l)),
        _ => {}
    }
}

fn name_of(with_nul: &[u8]) -> &CStr {
    CStr::from_bytes_with_nul(with_nul).unwrap_or_default()
}

/// Writes a value as it is in memory, with zeros for pointers. Lists follow behind their pair.
struct Native<'a>(&'a mut Vec<u8>);

impl Write for Native<'_> {
    fn number<N: Number>(&mut self, n: N) {
        n.put_native(self.0);
    }
    fn numbers<N: Number>(&mut self, all: &[N]) {
        all.iter().for_each(|n| n.put_native(self.0));
    }
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }
    fn string(&mut self, s: &CString) {
        self.0.extend(s.as_bytes_with_nul());
    }
    fn strings(&mut self, all: &[CString]) {
        self.0.resize(self.0.len() + all.len() * POINTER, 0);
        all.iter().for_each(|s| self.string(s));
    }
    fn list(&mut self, list: &List) {
        VERSION.put_native(self.0);
        list.flags().put_native(self.0);
        self.0.resize(self.0.len() + LIST - 8, 0);
    }
    fn lists(&mut self, all: &[List]) {
        self.0.resize(self.0.len() + all.len() * POINTER, 0);
        all.iter().for_each(|l| self.list(l));
    }
}

/// Writes XDR.
struct Xdr {
    out: Vec<u8>,
    /// libnvpair reckons with the count of an array of numbers that it does not write if the array
    /// is empty. These bytes are part of the encoded size of the pair and of what it is in, and
    /// come as zeros behind the end.
    phantom: usize,
}

impl Xdr {
    fn text(&mut self, text: &[u8]) {
        (text.len() as u32).put_xdr(&mut self.out);
        self.bytes(text);
    }

    fn pair(&mut self, Pair { name, value, .. }: &Pair) {
        let (start, phantom) = (self.out.len(), self.phantom);
        0u32.put_xdr(&mut self.out);
        (pair_size(name, value) as u32).put_xdr(&mut self.out);
        self.text(name.as_bytes());
        value.kind().code().put_xdr(&mut self.out);
        (value.count() as u32).put_xdr(&mut self.out);
        value.write(self);
        let size = (self.out.len() - start).saturating_add(self.phantom - phantom) as u32;
        if let Some(at) = self.out.get_mut(start..start + 4) {
            at.copy_from_slice(&size.to_be_bytes());
        }
    }
}

impl Write for Xdr {
    fn number<N: Number>(&mut self, n: N) {
        n.put_xdr(&mut self.out);
    }
    fn numbers<N: Number>(&mut self, all: &[N]) {
        if all.is_empty() {
            self.phantom += 4;
            return;
        }
        (all.len() as u32).put_xdr(&mut self.out);
        all.iter().for_each(|n| n.put_xdr(&mut self.out));
    }
    fn bytes(&mut self, bytes: &[u8]) {
        let start = self.out.len();
        self.out.extend(bytes);
        pad(&mut self.out, start, 4);
    }
    fn string(&mut self, s: &CString) {
        self.text(s.as_bytes());
    }
    fn strings(&mut self, all: &[CString]) {
        all.iter().for_each(|s| self.string(s));
    }
    fn list(&mut self, list: &List) {
        VERSION.put_xdr(&mut self.out);
        list.flags().put_xdr(&mut self.out);
        list.pairs().for_each(|pair| self.pair(pair));
        [0u32; 2].into_iter().for_each(|n| n.put_xdr(&mut self.out));
    }
    fn lists(&mut self, all: &[List]) {
        all.iter().for_each(|l| self.list(l));
    }
}
