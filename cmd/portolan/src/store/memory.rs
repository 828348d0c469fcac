// SPDX-License-Identifier: CDDL-1.0
//! A store that is gone with its process: for tests, and for a directory that is filled anew.

use super::{Engine, Kv, Revision, Snapshot, StoreError, Table, Visit};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Default)]
struct State {
    revision: Revision,
    map: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

/// The store. Clones are the same store, as two servers on one etcd would see it.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Arc<State>>>);

impl Memory {
    fn state(&self) -> MutexGuard<'_, Arc<State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Memory {
    fn commit(&self, at: Revision, writes: &[Kv]) -> Result<Revision, StoreError> {
        let mut state = self.state();
        if state.revision != at {
            return Err(StoreError::Conflict);
        }
        let state = Arc::make_mut(&mut state);
        for Kv { table, key, value } in writes {
            let key = (*table, key.clone());
            match value {
                Some(value) => state.map.insert(key, value.clone()),
                None => state.map.remove(&key),
            };
        }
        state.revision += 1;
        Ok(state.revision)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(Frozen(self.state().clone())))
    }
}

struct Frozen(Arc<State>);

impl Snapshot for Frozen {
    fn revision(&self) -> Revision {
        self.0.revision
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        for ((at, key), value) in self.0.map.range((table, from.to_vec())..) {
            if *at != table || !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}
