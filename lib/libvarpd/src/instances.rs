// SPDX-License-Identifier: CDDL-1.0
//! Which instances there are, and which numbers and links are taken.
use crate::instance::Instance;
use crate::persist::Waiting;
use overlay_abi::door::{LIBVARPD_ID_MAX, LIBVARPD_ID_MIN};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, VarpdId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(crate) struct Instances {
    /// What can be found.
    pub(crate) live: BTreeMap<VarpdId, Arc<Instance>>,
    /// Links with an instance, also one that is being made or destroyed.
    pub(crate) links: BTreeMap<LinkId, VarpdId>,
    /// What could not be restored so far. The links are free, the numbers are not.
    pub(crate) waiting: BTreeMap<VarpdId, Waiting>,
    /// Links that were degraded for want of an instance.
    pub(crate) degraded: BTreeSet<LinkId>,
    /// Those that are younger than the kernel's cache of their link.
    pub(crate) stale: Vec<Arc<Instance>>,
    /// The number given out last.
    last: u64,
}

impl Instances {
    /// Takes a link and the next free id.
    pub(crate) fn reserve(&mut self, link: LinkId) -> Result<VarpdId, Errno> {
        let mut id = self.last;
        // One more than are taken is enough to find a free one.
        for _ in 0..=self.links.len() + self.waiting.len() {
            id = if (LIBVARPD_ID_MIN..LIBVARPD_ID_MAX - 1).contains(&id) {
                id + 1
            } else {
                LIBVARPD_ID_MIN
            };
            if !self.waiting.contains_key(&VarpdId(id)) && !self.is_taken(VarpdId(id)) {
                self.reserve_exactly(link, VarpdId(id))?;
                self.last = id;
                return Ok(VarpdId(id));
            }
        }
        Err(Errno::ENOSPC)
    }

    /// Takes a link and an id, also that of a waiting instance. `EEXIST`: one of them is taken.
    pub(crate) fn reserve_exactly(&mut self, link: LinkId, id: VarpdId) -> Result<(), Errno> {
        if self.links.contains_key(&link) || self.is_taken(id) {
            return Err(Errno::EEXIST);
        }
        self.links.insert(link, id);
        self.last = self.last.max(id.0);
        Ok(())
    }

    fn is_taken(&self, id: VarpdId) -> bool {
        self.links.values().any(|taken| *taken == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_next_fit_and_stay_taken_with_their_link() {
        let mut all = Instances::default();
        assert_eq!(all.reserve(LinkId(1)), Ok(VarpdId(1)));
        assert_eq!(all.reserve(LinkId(2)), Ok(VarpdId(2)));
        assert_eq!(all.reserve(LinkId(1)), Err(Errno::EEXIST));
        all.links.remove(&LinkId(1));
        assert_eq!(all.reserve(LinkId(1)), Ok(VarpdId(3)));
        all.last = LIBVARPD_ID_MAX - 2;
        assert_eq!(all.reserve(LinkId(4)), Ok(VarpdId(LIBVARPD_ID_MAX - 1)));
        // Round again, over those that are taken.
        assert_eq!(all.reserve(LinkId(5)), Ok(VarpdId(1)));
        assert_eq!(all.reserve(LinkId(6)), Ok(VarpdId(4)));
    }

    #[test]
    fn restored_ids_are_taken_and_new_ones_come_after_them() {
        let mut all = Instances::default();
        assert_eq!(all.reserve_exactly(LinkId(1), VarpdId(7)), Ok(()));
        assert_eq!(all.reserve_exactly(LinkId(1), VarpdId(8)), Err(Errno::EEXIST));
        assert_eq!(all.reserve_exactly(LinkId(2), VarpdId(7)), Err(Errno::EEXIST));
        let reason = String::new();
        let file = "8.varpd".into();
        let waiting = Waiting { id: VarpdId(8), link: None, file, reason, again: true };
        all.waiting.insert(VarpdId(8), waiting);
        assert_eq!(all.reserve(LinkId(3)), Ok(VarpdId(9)), "8 waits");
        assert_eq!(all.reserve_exactly(LinkId(2), VarpdId(8)), Ok(()), "for itself");
    }
}
