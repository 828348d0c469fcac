// SPDX-License-Identifier: CDDL-1.0
//! Handles for plugins that are numbers, not pointers.
//!
//! A plugin that answers a query twice or calls back for an instance that is gone would, with a
//! pointer, write into freed memory. A token that is not in its table is simply unknown; none is
//! given out twice.
use crate::lock;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// One handle, in the form kept on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(usize);

impl Token {
    /// As the pointer that a plugin sees.
    pub(crate) fn as_ptr<H>(self) -> *mut H {
        std::ptr::without_provenance_mut(self.0)
    }

    /// From the pointer that a plugin gave, which may be anything.
    pub(crate) fn from_ptr<H>(ptr: *const H) -> Token {
        Token(ptr.addr())
    }
}

/// A table of live tokens.
pub(crate) struct Tokens<T> {
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    last: usize,
    live: BTreeMap<usize, T>,
}

impl<T> Tokens<T> {
    pub(crate) const fn new() -> Self {
        Tokens { inner: Mutex::new(Inner { last: 0, live: BTreeMap::new() }) }
    }

    /// A new token for `value`.
    pub(crate) fn insert(&self, value: T) -> Token {
        let mut inner = lock(&self.inner);
        inner.last += 1;
        let token = inner.last;
        inner.live.insert(token, value);
        Token(token)
    }

    /// The value of a token, which becomes unknown.
    pub(crate) fn remove(&self, token: Token) -> Option<T> {
        lock(&self.inner).live.remove(&token.0)
    }
}

impl<T: Clone> Tokens<T> {
    /// The value of a token.
    pub(crate) fn get(&self, token: Token) -> Option<T> {
        lock(&self.inner).live.get(&token.0).cloned()
    }
}
