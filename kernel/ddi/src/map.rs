// SPDX-License-Identifier: CDDL-1.0
//! A map with three ways into it: by hash, in order, and by age.
//!
//! ```text
//!   buckets ─► node ─chain─► node        get: one hash, however many entries
//!   avl     ─► node < node < node        first_from: in order of keys
//!   cold: newest ⇄ node ⇄ oldest         evict: the oldest cold one that was not used since it came
//!   hot:  newest ⇄ node ⇄ oldest
//! ```
//!
//! A new entry is cold. One that was used when its turn to go comes becomes hot instead; when too
//! many are hot the oldest hot one that was not used lately becomes cold again. So many entries
//! that are used once each, as a scan of addresses makes, push out each other and none that is in
//! use. Using an entry is a flag, no list is touched.
//!
//! The caller locks it. Only [`ClockMap::insert`] allocates, without waiting; when the table of
//! buckets cannot grow the chains just become longer.
use crate::Errno;
use crate::mem::{KBox, KVec, KmFlag};
use core::ffi::{c_int, c_void};
use core::ptr::{self, NonNull};
use illumos_sys_hdrs as sys;

/// What a map finds entries by; ordered.
pub trait Key: Copy + Ord {
    /// A hash that depends on all bits of the key and of the seed.
    fn hash(self, seed: u64) -> u64;
}

impl Key for u64 {
    /// Two rounds of multiply and fold.
    #[inline]
    fn hash(self, seed: u64) -> u64 {
        let x = (self ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        x ^ (x >> 32)
    }
}

impl Key for [u64; 5] {
    /// Two words a multiplication, both mixed with what only we know.
    #[inline]
    fn hash(self, seed: u64) -> u64 {
        let [a, b, c, d, e] = self;
        let other = seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15;
        let ab = fold(a ^ seed, b ^ other);
        let cd = fold(c ^ ab ^ other, d ^ seed);
        fold(cd ^ e, ab ^ other)
    }
}

/// The halves of the product, one upon the other: each bit depends on all of both factors.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    product as u64 ^ (product >> 64) as u64
}

/// A key and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed<K> {
    /// The key.
    pub key: K,
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

    /// The key with its hash.
    #[inline]
    pub fn hash<K: Key>(self, key: K) -> Hashed<K> {
        Hashed { key, hash: key.hash(self.0) }
    }
}

/// `key` is first, so that the comparator and avl_find can take the address of a bare key for a
/// node.
#[repr(C)]
struct Node<K, V> {
    key: K,
    avl: sys::avl_node_t,
    chain: Link<K, V>,
    newer: Link<K, V>,
    older: Link<K, V>,
    value: V,
    used: bool,
    hot: bool,
}

type Link<K, V> = Option<NonNull<Node<K, V>>>;

/// Nodes by age.
struct Ages<K, V> {
    newest: Link<K, V>,
    oldest: Link<K, V>,
    len: usize,
}

/// See the module.
pub struct ClockMap<K: Key, V> {
    buckets: KVec<Link<K, V>>,
    tree: KBox<sys::avl_tree_t>,
    cold: Ages<K, V>,
    hot: Ages<K, V>,
    hasher: Hasher,
}

// SAFETY: owns its nodes, and the links stay inside.
unsafe impl<K: Key + Send, V: Send> Send for ClockMap<K, V> {}

unsafe extern "C" fn compare<K: Ord>(a: *const c_void, b: *const c_void) -> c_int {
    // SAFETY: both point to a key: a node's first field, or a bare one.
    let (a, b) = unsafe { (&*a.cast::<K>(), &*b.cast::<K>()) };
    a.cmp(b) as c_int
}

impl<K, V> Ages<K, V> {
    const EMPTY: Self = Ages { newest: None, oldest: None, len: 0 };

    /// # Safety
    /// The node is alive and on no list.
    unsafe fn push(&mut self, mut node: NonNull<Node<K, V>>) {
        // SAFETY: by the caller's promise; nodes on the list are alive.
        unsafe {
            node.as_mut().newer = None;
            node.as_mut().older = self.newest;
            match self.newest {
                Some(mut n) => n.as_mut().newer = Some(node),
                None => self.oldest = Some(node),
            }
        }
        self.newest = Some(node);
        self.len = self.len.wrapping_add(1);
    }

    /// # Safety
    /// The node is on this list.
    unsafe fn remove(&mut self, node: NonNull<Node<K, V>>) {
        // SAFETY: by the caller's promise; the node and its neighbours are alive.
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
        self.len = self.len.wrapping_sub(1);
    }
}

const AVL_AFTER: c_int = 1;
/// Nodes looked at in search of one that is idle.
const SECOND_CHANCES: usize = 128;

impl<K: Key, V> ClockMap<K, V> {
    /// Empty, with `buckets` buckets, rounded up to a power of two; waits for memory.
    pub fn new(buckets: usize, hasher: Hasher) -> Self {
        let mut tree = KBox::new(sys::avl_tree_t {
            avl_root: ptr::null_mut(),
            avl_compar: None,
            avl_offset: 0,
            avl_numnodes: 0,
            avl_size: 0,
        });
        let offset = core::mem::offset_of!(Node<K, V>, avl);
        // SAFETY: the tree stays in its box; nodes are of this size with the link at this offset.
        unsafe { sys::avl_create(&raw mut *tree, compare::<K>, size_of::<Node<K, V>>(), offset) };
        let mut map =
            ClockMap { buckets: KVec::new(), tree, cold: Ages::EMPTY, hot: Ages::EMPTY, hasher };
        map.grow(buckets.max(1).next_power_of_two(), KmFlag::Sleep);
        map
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.cold.len.wrapping_add(self.hot.len)
    }

    /// No entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn bucket(&mut self, hash: u64) -> Option<&mut Link<K, V>> {
        let mask = self.buckets.len().wrapping_sub(1);
        self.buckets.get_mut(hash as usize & mask)
    }

    #[inline]
    fn find(&mut self, at: Hashed<K>) -> Link<K, V> {
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
    pub fn get(&mut self, at: Hashed<K>) -> Option<&mut V> {
        let mut node = self.find(at)?;
        // SAFETY: alive, and borrowed from self.
        let node = unsafe { node.as_mut() };
        if !node.used {
            node.used = true;
        }
        Some(&mut node.value)
    }

    /// The value, without that note.
    pub fn peek(&mut self, at: Hashed<K>) -> Option<&mut V> {
        let mut node = self.find(at)?;
        // SAFETY: alive, and borrowed from self.
        Some(&mut unsafe { node.as_mut() }.value)
    }

    /// The entry with the smallest key not below `key`.
    pub fn first_from(&mut self, key: K) -> Option<(K, &mut V)> {
        let tree = &raw mut *self.tree;
        let mut place: sys::avl_index_t = 0;
        // SAFETY: the tree is alive; a bare key may stand for a node (see `compare`).
        let node = unsafe {
            let found = sys::avl_find(tree, (&raw const key).cast(), &raw mut place);
            if found.is_null() { sys::avl_nearest(tree, place, AVL_AFTER) } else { found }
        };
        // SAFETY: NULL or a live node; borrowed from self.
        let node = unsafe { node.cast::<Node<K, V>>().as_mut() }?;
        Some((node.key, &mut node.value))
    }

    /// Adds an entry; the key must not be there yet.
    ///
    /// # Errors
    /// `ENOMEM`; the value is dropped.
    pub fn insert(&mut self, at: Hashed<K>, value: V) -> Result<&mut V, Errno> {
        let full = self.len() >= self.buckets.len();
        // Where there was no memory, not every insertion tries again.
        if full && self.len() & 63 == 0 {
            self.grow(self.buckets.len().saturating_mul(2), KmFlag::NoSleep);
        }
        let avl = sys::avl_node_t { avl_child: [ptr::null_mut(); 2], avl_pcb: 0 };
        let (newer, older, used, hot) = (None, None, false, false);
        let node = Node { key: at.key, avl, chain: None, newer, older, value, used, hot };
        let mut node = KBox::try_new(node)?.into_raw();
        // SAFETY: the node is alive until `unlink`; the key is not in the tree.
        unsafe { sys::avl_add(&raw mut *self.tree, node.as_ptr().cast()) };
        if let Some(bucket) = self.bucket(at.hash) {
            let next = bucket.replace(node);
            // SAFETY: alive and ours.
            unsafe { node.as_mut() }.chain = next;
        }
        // SAFETY: alive, and new.
        unsafe { self.cold.push(node) };
        // SAFETY: alive, and borrowed from self.
        Ok(&mut unsafe { node.as_mut() }.value)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, at: Hashed<K>) -> Option<V> {
        let node = self.find(at)?;
        Some(self.unlink(node))
    }

    /// Takes out an entry, as the module says, of which up to `share` in 100 may be hot. After some
    /// looks the search ends. `None` if it found none that `can` go, or with `idle` none that was
    /// not used either.
    pub fn evict(&mut self, idle: bool, share: usize, can: impl Fn(&V) -> bool) -> Option<(K, V)> {
        let mut looks = if idle { self.len().min(SECOND_CHANCES) } else { self.len() };
        // Cold ones that cannot go: when that is all of them it is the hot ones' turn.
        let mut stuck: usize = 0;
        while looks != 0 {
            looks = looks.wrapping_sub(1);
            let turn = if stuck < self.cold.len { self.cold.oldest } else { self.hot.oldest };
            let Some(mut node) = turn else { break };
            // SAFETY: nodes on the lists are alive.
            let n = unsafe { node.as_mut() };
            if can(&n.value) && (!n.used || !idle) {
                return Some((n.key, self.unlink(node)));
            }
            let hot = n.used || n.hot;
            n.used = false;
            stuck = stuck.wrapping_add(usize::from(!hot));
            self.move_to(node, hot);
            if idle {
                looks = looks.saturating_sub(self.cool(share, looks));
            }
        }
        None
    }

    /// Makes hot entries cold until they are `share` in 100 again; how many it looked at, at most
    /// `looks`.
    fn cool(&mut self, share: usize, looks: usize) -> usize {
        let mut looked: usize = 0;
        let most = self.len().saturating_mul(share) / 100;
        while self.hot.len > most && looked < looks {
            looked = looked.wrapping_add(1);
            let Some(mut node) = self.hot.oldest else { break };
            // SAFETY: nodes on the lists are alive.
            let used = core::mem::take(unsafe { &mut node.as_mut().used });
            self.move_to(node, used);
        }
        looked
    }

    /// Takes out the oldest entry, used or not.
    pub fn pop_oldest(&mut self) -> Option<(K, V)> {
        let node = self.cold.oldest.or(self.hot.oldest)?;
        // SAFETY: nodes on the lists are alive.
        let key = unsafe { node.as_ref() }.key;
        Some((key, self.unlink(node)))
    }

    /// Takes out the entries that `keep` does not want.
    pub fn retain(&mut self, mut keep: impl FnMut(K, &mut V) -> bool) {
        for mut next in [self.cold.oldest, self.hot.oldest] {
            while let Some(mut node) = next {
                // SAFETY: nodes on the lists are alive.
                let n = unsafe { node.as_mut() };
                next = n.newer;
                if !keep(n.key, &mut n.value) {
                    drop(self.unlink(node));
                }
            }
        }
    }

    fn ages(&mut self, hot: bool) -> &mut Ages<K, V> {
        if hot { &mut self.hot } else { &mut self.cold }
    }

    /// Makes a node the newest of the hot or of the cold ones.
    fn move_to(&mut self, mut node: NonNull<Node<K, V>>, hot: bool) {
        // SAFETY: alive, and on the list that it says.
        unsafe {
            let was = core::mem::replace(&mut node.as_mut().hot, hot);
            self.ages(was).remove(node);
            self.ages(hot).push(node);
        }
    }

    /// Takes a live node out of all three structures.
    fn unlink(&mut self, node: NonNull<Node<K, V>>) -> V {
        // SAFETY: the node is alive, on the list that it says, and in the tree.
        let hash = unsafe {
            self.ages(node.as_ref().hot).remove(node);
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
        for mut next in [self.cold.newest, self.hot.newest] {
            while let Some(mut node) = next {
                // SAFETY: nodes on the lists are alive.
                let n = unsafe { node.as_mut() };
                next = n.older;
                let hash = self.hasher.hash(n.key).hash;
                if let Some(bucket) = self.bucket(hash) {
                    n.chain = bucket.replace(node);
                }
            }
        }
    }
}

impl<K: Key, V> Drop for ClockMap<K, V> {
    fn drop(&mut self) {
        while self.pop_oldest().is_some() {}
        // SAFETY: created in `new`, empty now.
        unsafe { sys::avl_destroy(&raw mut *self.tree) };
    }
}
