// SPDX-License-Identifier: CDDL-1.0
//! Handles for plugins and other programs in C that are numbers, not pointers.
//!
//! A plugin that answers a query twice or calls back for an instance that is gone would, with a
//! pointer, write into freed memory. A token that is not in its table is simply unknown. None is
//! given out twice, nor by two tables, so that a handle of one kind is never taken for one of
//! another.
use crate::lock;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The last token of all tables. 64 bits do not run out.
static LAST: AtomicUsize = AtomicUsize::new(0);

/// One handle, in the form kept on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(usize);

impl Token {
    /// As the pointer that a plugin sees.
    pub fn as_ptr<H>(self) -> *mut H {
        std::ptr::without_provenance_mut(self.0)
    }

    /// From the pointer that a plugin gave, which may be anything.
    pub fn from_ptr<H>(ptr: *const H) -> Token {
        Token(ptr.addr())
    }
}

/// A table of live tokens.
pub struct Tokens<T> {
    live: Mutex<BTreeMap<usize, T>>,
}

impl<T> Default for Tokens<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Tokens<T> {
    /// A table without tokens.
    pub const fn new() -> Self {
        Tokens { live: Mutex::new(BTreeMap::new()) }
    }

    /// A new token for `value`.
    pub fn insert(&self, value: T) -> Token {
        let token = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.live).insert(token, value);
        Token(token)
    }

    /// The value of a token, which becomes unknown.
    pub fn remove(&self, token: Token) -> Option<T> {
        lock(&self.live).remove(&token.0)
    }

    /// All values that are as `which` says, with their tokens, which become unknown.
    pub fn remove_all(&self, mut which: impl FnMut(&T) -> bool) -> Vec<(Token, T)> {
        let mut live = lock(&self.live);
        live.extract_if(.., |_, value| which(value)).map(|(n, value)| (Token(n), value)).collect()
    }
}

impl<T: Clone> Tokens<T> {
    /// The value of a token.
    pub fn get(&self, token: Token) -> Option<T> {
        lock(&self.live).get(&token.0).cloned()
    }
}
