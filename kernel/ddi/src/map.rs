// SPDX-License-Identifier: CDDL-1.0
//! A map with three ways into it: by hash, in order, and by age.
//!
//! ```text
//!   buckets ─► node ─chain─► node        get: one hash, however many entries
//!   avl     ─► node < node < node        first_from: in order of keys
//!   newest  ⇄ node ⇄ node ⇄ oldest       evict: second chance, from the oldest
//! ```
//!
//! The caller locks it. Only [`ClockMap::insert`] allocates, without waiting; when the table of
//! buckets cannot grow the chains just become longer.
use crate::Errno;
use crate::mem::{KBox, KVec, KmFlag};
use core::ffi::{c_int, c_void};
use core::ptr::{self, NonNull};
use illumos_sys_hdrs as sys;

/// A key and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// The key.
    pub key: u64,
    /// Its hash; the upper bits are as good as the lower ones.
    pub hash: u64,
}

/// Mixes keys with a seed that the sender of packets does not know.
#[derive(Clone, Copy, Debug)]
pub struct Hasher(u64);

impl Hasher {
    /// A hasher with this seed.
    pub const fn new(seed: u64) -> Self {
        Hasher(seed)
    }

    /// The key with its hash: two rounds of multiply and fold.
    #[inline]
    pub const fn hash(self, key: u64) -> Hashed {
        let x = (key ^ self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        Hashed { key, hash: x ^ (x >> 32) }
    }
}

/// `key` is first, so that the comparator and avl_find can take the address of a bare key for a
/// node.
#[repr(C)]
struct Node<V> {
    key: u64,
    avl: sys::avl_node_t,
    chain: Link<V>,
    newer: Link<V>,
    older: Link<V>,
    value: V,
    used: bool,
}

type Link<V> = Option<NonNull<Node<V>>>;

/// See the module.
pub struct ClockMap<V> {
    buckets: KVec<Link<V>>,
    tree: KBox<sys::avl_tree_t>,
    newest: Link<V>,
    oldest: Link<V>,
    len: usize,
    hasher: Hasher,
}

// SAFETY: owns its nodes, and the links stay inside.
unsafe impl<V: Send> Send for ClockMap<V> {}

unsafe extern "C" fn compare(a: *const c_void, b: *const c_void) -> c_int {
    // SAFETY: both point to a u64: a node's first field, or a bare key.
    let (a, b) = unsafe { (*a.cast::<u64>(), *b.cast::<u64>()) };
    a.cmp(&b) as c_int
}

const AVL_AFTER: c_int = 1;
/// Nodes looked at in search of one that is idle.
const SECOND_CHANCES: usize = 128;

impl<V> ClockMap<V> {
    /// Empty, with `buckets` buckets, rounded up to a power of two; waits for memory.
    pub fn new(buckets: usize, hasher: Hasher) -> Self {
        let mut tree = KBox::new(sys::avl_tree_t {
            avl_root: ptr::null_mut(),
            avl_compar: None,
            avl_offset: 0,
            avl_numnodes: 0,
            avl_size: 0,
        });
        let offset = core::mem::offset_of!(Node<V>, avl);
        // SAFETY: the tree stays in its box; nodes are of this size with the link at this offset.
        unsafe { sys::avl_create(&raw mut *tree, compare, size_of::<Node<V>>(), offset) };
        let mut map =
            ClockMap { buckets: KVec::new(), tree, newest: None, oldest: None, len: 0, hasher };
        map.grow(buckets.max(1).next_power_of_two(), KmFlag::Sleep);
        map
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    fn bucket(&mut self, hash: u64) -> Option<&mut Link<V>> {
        let mask = self.buckets.len().wrapping_sub(1);
        self.buckets.get_mut(hash as usize & mask)
    }

    #[inline]
    fn find(&mut self, at: Hashed) -> Link<V> {
        let mut node = *self.bucket(at.hash)?;
        while let Some(n) = node {
            // SAFETY: nodes on a chain are alive.
            let n_ref = unsafe { n.as_ref() };
            if n_ref.key == at.key {
                return node;
            }
            node = n_ref.chain;
        }
        None
    }

    /// The value, and a note that it is in use.
    #[inline]
    pub fn get(&mut self, at: Hashed) -> Option<&mut V> {
        let mut node = self.find(at)?;
        // SAFETY: alive, and borrowed from self.
        let node = unsafe { node.as_mut() };
        if !node.used {
            node.used = true;
        }
        Some(&mut node.value)
    }

    /// The value, without that note.
    pub fn peek(&mut self, at: Hashed) -> Option<&mut V> {
        let mut node = self.find(at)?;
        // SAFETY: alive, and borrowed from self.
        Some(&mut unsafe { node.as_mut() }.value)
    }

    /// The entry with the smallest key not below `key`.
    pub fn first_from(&mut self, key: u64) -> Option<(u64, &mut V)> {
        let tree = &raw mut *self.tree;
        let mut place: sys::avl_index_t = 0;
        // SAFETY: the tree is alive; a bare key may stand for a node (see `compare`).
        let node = unsafe {
            let found = sys::avl_find(tree, (&raw const key).cast(), &raw mut place);
            if found.is_null() { sys::avl_nearest(tree, place, AVL_AFTER) } else { found }
        };
        // SAFETY: NULL or a live node; borrowed from self.
        let node = unsafe { node.cast::<Node<V>>().as_mut() }?;
        Some((node.key, &mut node.value))
    }

    /// Adds an entry; the key must not be there yet.
    ///
    /// # Errors
    /// `ENOMEM`; the value is dropped.
    pub fn insert(&mut self, at: Hashed, value: V) -> Result<&mut V, Errno> {
        let full = self.len >= self.buckets.len();
        // Where there was no memory, not every insertion tries again.
        if full && self.len & 63 == 0 {
            self.grow(self.buckets.len().saturating_mul(2), KmFlag::NoSleep);
        }
        let avl = sys::avl_node_t { avl_child: [ptr::null_mut(); 2], avl_pcb: 0 };
        let (newer, older, used) = (None, None, true);
        let node = Node { key: at.key, avl, chain: None, newer, older, value, used };
        let mut node = KBox::try_new(node)?.into_raw();
        // SAFETY: the node is alive until `unlink`; the key is not in the tree.
        unsafe { sys::avl_add(&raw mut *self.tree, node.as_ptr().cast()) };
        if let Some(bucket) = self.bucket(at.hash) {
            let next = bucket.replace(node);
            // SAFETY: alive and ours.
            unsafe { node.as_mut() }.chain = next;
        }
        self.push_newest(node);
        self.len = self.len.wrapping_add(1);
        // SAFETY: alive, and borrowed from self.
        Ok(&mut unsafe { node.as_mut() }.value)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, at: Hashed) -> Option<V> {
        let node = self.find(at)?;
        Some(self.unlink(node))
    }

    /// Takes out the entry that was not used for longest, roughly: from the oldest on, an entry
    /// used since the last look is passed over once, and after some looks the search ends. `None`
    /// if it found none that `can` go, or with `idle` none that was not used either.
    pub fn evict(&mut self, idle: bool, can: impl Fn(&V) -> bool) -> Option<(u64, V)> {
        let mut found: Link<V> = None;
        let mut looks = if idle { self.len.min(SECOND_CHANCES) } else { self.len };
        while let Some(mut node) = self.oldest {
            if looks == 0 {
                break;
            }
            looks = looks.wrapping_sub(1);
            // SAFETY: nodes on the age list are alive.
            let n = unsafe { node.as_mut() };
            if can(&n.value) && (!n.used || !idle) {
                found = Some(node);
                break;
            }
            n.used = false;
            self.unlink_age(node);
            self.push_newest(node);
        }
        let node = found?;
        // SAFETY: alive.
        let key = unsafe { node.as_ref() }.key;
        Some((key, self.unlink(node)))
    }

    /// Takes out the oldest entry, used or not.
    pub fn pop_oldest(&mut self) -> Option<(u64, V)> {
        let node = self.oldest?;
        // SAFETY: nodes on the age list are alive.
        let key = unsafe { node.as_ref() }.key;
        Some((key, self.unlink(node)))
    }

    /// Takes out the entries that `keep` does not want.
    pub fn retain(&mut self, mut keep: impl FnMut(u64, &mut V) -> bool) {
        let mut next = self.oldest;
        while let Some(mut node) = next {
            // SAFETY: nodes on the age list are alive.
            let n = unsafe { node.as_mut() };
            next = n.newer;
            if !keep(n.key, &mut n.value) {
                drop(self.unlink(node));
            }
        }
    }

    fn push_newest(&mut self, mut node: NonNull<Node<V>>) {
        // SAFETY: both nodes are alive.
        unsafe {
            node.as_mut().newer = None;
            node.as_mut().older = self.newest;
            match self.newest {
                Some(mut n) => n.as_mut().newer = Some(node),
                None => self.oldest = Some(node),
            }
        }
        self.newest = Some(node);
    }

    fn unlink_age(&mut self, node: NonNull<Node<V>>) {
        // SAFETY: the node and its neighbours are alive.
        unsafe {
            let (newer, older) = (node.as_ref().newer, node.as_ref().older);
            match newer {
                Some(mut n) => n.as_mut().older = older,
                None => self.newest = older,
            }
            match older {
                Some(mut o) => o.as_mut().newer = newer,
                None => self.oldest = newer,
            }
        }
    }

    /// Takes a live node out of all three structures.
    fn unlink(&mut self, node: NonNull<Node<V>>) -> V {
        self.unlink_age(node);
        // SAFETY: the node is alive and in the tree.
        let hash = unsafe {
            sys::avl_remove(&raw mut *self.tree, node.as_ptr().cast());
            self.hasher.hash(node.as_ref().key).hash
        };
        let mut place = self.bucket(hash).map(|link| &raw mut *link);
        while let Some(link) = place {
            // SAFETY: `link` is a bucket or the chain field of a live node.
            unsafe {
                match *link {
                    Some(n) if n == node => {
                        *link = node.as_ref().chain;
                        break;
                    }
                    Some(n) => place = Some(&raw mut (*n.as_ptr()).chain),
                    None => break,
                }
            }
        }
        self.len = self.len.wrapping_sub(1);
        // SAFETY: made by KBox in `insert`, and nothing points to it any more.
        unsafe { KBox::from_raw(node) }.into_inner().value
    }

    /// Spreads the entries over `n` buckets, a power of two; nothing happens without memory.
    fn grow(&mut self, n: usize, flag: KmFlag) {
        let mut buckets = KVec::new();
        if buckets.reserve(n, flag).is_err() {
            return;
        }
        for _ in 0..n {
            if buckets.push(None, flag).is_err() {
                return;
            }
        }
        self.buckets = buckets;
        let mut next = self.newest;
        while let Some(mut node) = next {
            // SAFETY: nodes on the age list are alive.
            let n = unsafe { node.as_mut() };
            next = n.older;
            let hash = self.hasher.hash(n.key).hash;
            if let Some(bucket) = self.bucket(hash) {
                n.chain = bucket.replace(node);
            }
        }
    }
}

impl<V> Drop for ClockMap<V> {
    fn drop(&mut self) {
        while self.pop_oldest().is_some() {}
        // SAFETY: created in `new`, empty now.
        unsafe { sys::avl_destroy(&raw mut *self.tree) };
    }
}
