// SPDX-License-Identifier: CDDL-1.0
//! Name-value lists with the C interface of libnvpair(3LIB).
//!
//! ```text
//!   varpd  -- List::new() --> list <-- nvlist_add_uint16(nvl, name, value) -- plugin, in C or Rust
//!          <- List::get() --       --> nvlist_lookup_string(nvl, name, &s) ->
//! ```
//!
//! On illumos this is libnvpair. Elsewhere varpd carries this stand-in and exports its C functions,
//! so that a plugin that saves its state with them loads. What is here is what lookup plugins use:
//! lists with unique names and the six types their state is made of. The encoded forms come with
//! varpd's persistence.
//!
//! # Invariants
//!
//! * Names are unique: adding one that exists replaces it, whatever its type was
//!   (`NV_UNIQUE_NAME`).
//! * Order of adding is kept.
//! * A string or list found by a C lookup stays where it is until the pair or its list is removed.
//! * Results of the C functions are error numbers of the host, as everything a plugin sees.

use std::ffi::CString;

pub mod cabi;

/// A value of one of the types plugins use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `DATA_TYPE_UINT16`
    Uint16(u16),
    /// `DATA_TYPE_INT32`
    Int32(i32),
    /// `DATA_TYPE_UINT32`
    Uint32(u32),
    /// `DATA_TYPE_UINT64`
    Uint64(u64),
    /// `DATA_TYPE_STRING`
    String(CString),
    /// `DATA_TYPE_NVLIST`; boxed so that a pointer to it lives as long as the pair.
    List(Box<List>),
}

/// A list of pairs with unique names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    pairs: Vec<(CString, Value)>,
}

impl List {
    /// An empty list.
    pub fn new() -> List {
        List::default()
    }

    /// The value with this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.pairs.iter().find(|(n, _)| n.as_bytes() == name.as_bytes()).map(|(_, v)| v)
    }

    /// Adds a pair; one of the same name goes.
    pub fn add(&mut self, name: CString, value: Value) {
        self.pairs.retain(|(n, _)| *n != name);
        self.pairs.push((name, value));
    }

    /// The pairs in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&CString, &Value)> {
        self.pairs.iter().map(|(n, v)| (n, v))
    }
}
