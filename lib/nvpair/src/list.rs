// SPDX-License-Identifier: CDDL-1.0
//! Lists: pairs in order, and which of them may have the same name.
use crate::value::{Kind, Value};
#[cfg(not(target_os = "illumos"))]
use std::cell::OnceCell;
#[cfg(not(target_os = "illumos"))]
use std::ffi::c_int;
use std::ffi::{CStr, CString};
use std::fmt;

/// No two pairs have one name.
pub const NV_UNIQUE_NAME: u32 = 1;
/// No two pairs have one name and one type.
pub const NV_UNIQUE_NAME_TYPE: u32 = 2;

/// A list of pairs, of unique names unless it was made otherwise.
#[derive(Clone, PartialEq)]
pub struct List {
    flags: u32,
    // Boxed, so that a pair stays where a C pointer to it says.
    #[allow(clippy::vec_box)]
    pairs: Vec<Box<Pair>>,
}

/// A name and a value.
pub(crate) struct Pair {
    pub(crate) name: CString,
    pub(crate) value: Value,
    /// What C sees of an array whose elements are not in memory as C has them; made when it first
    /// looks. On illumos C has libnvpair.
    #[cfg(not(target_os = "illumos"))]
    pub(crate) view: OnceCell<View>,
}

/// Elements as C has them. Addresses instead of pointers, so that lists may go to other threads.
#[cfg(not(target_os = "illumos"))]
#[derive(Debug)]
pub(crate) enum View {
    Ints(Box<[c_int]>),
    Addresses(Box<[usize]>),
}

impl Pair {
    fn new(name: CString, value: Value) -> Pair {
        Pair {
            name,
            value,
            #[cfg(not(target_os = "illumos"))]
            view: OnceCell::new(),
        }
    }
}

impl Clone for Pair {
    fn clone(&self) -> Pair {
        Pair::new(self.name.clone(), self.value.clone())
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Pair) -> bool {
        self.name == other.name && self.value == other.value
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flags {} ", self.flags)?;
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Default for List {
    fn default() -> List {
        List::new()
    }
}

impl List {
    /// An empty list of unique names.
    pub fn new() -> List {
        List::with_flags(NV_UNIQUE_NAME)
    }

    /// An empty list with flags `NV_*`; 0: pairs may have any names.
    pub fn with_flags(flags: u32) -> List {
        List { flags, pairs: Vec::new() }
    }

    /// Its flags.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// The first value with this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.iter().find(|(n, _)| n.as_bytes() == name.as_bytes()).map(|(_, v)| v)
    }

    /// Adds a pair at the end. One of the same name goes, or in a list with `NV_UNIQUE_NAME_TYPE`
    /// the first one of the same name and type.
    pub fn add(&mut self, name: CString, value: Value) {
        if self.flags & NV_UNIQUE_NAME != 0 {
            self.remove_all(&name);
        } else if self.flags & NV_UNIQUE_NAME_TYPE != 0 {
            self.remove(&name, value.kind());
        }
        self.push(name, value);
    }

    /// Adds a pair at the end, whatever is there.
    pub(crate) fn push(&mut self, name: CString, value: Value) {
        self.pairs.push(Box::new(Pair::new(name, value)));
    }

    /// Removes every pair of a name. `false` if there was none.
    pub fn remove_all(&mut self, name: &CStr) -> bool {
        let before = self.pairs.len();
        self.pairs.retain(|p| p.name.as_c_str() != name);
        self.pairs.len() < before
    }

    /// Removes the first pair of a name and type. `false` if there was none.
    pub fn remove(&mut self, name: &CStr, kind: Kind) -> bool {
        let is = |p: &Pair| p.name.as_c_str() == name && p.value.kind() == kind;
        let at = self.pairs.iter().position(|p| is(p));
        at.map(|at| self.pairs.remove(at)).is_some()
    }

    /// The pairs in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&CString, &Value)> {
        self.pairs().map(|p| (&p.name, &p.value))
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    pub(crate) fn pairs(&self) -> impl DoubleEndedIterator<Item = &Pair> {
        self.pairs.iter().map(|p| &**p)
    }

    #[cfg(not(target_os = "illumos"))]
    pub(crate) fn pairs_mut(&mut self) -> impl Iterator<Item = &mut Pair> {
        self.pairs.iter_mut().map(|p| &mut **p)
    }

    #[cfg(not(target_os = "illumos"))]
    pub(crate) fn retain(&mut self, keep: impl Fn(&Pair) -> bool) {
        self.pairs.retain(|p| keep(p));
    }
}
