// SPDX-License-Identifier: CDDL-1.0
//! Fault management: the driver's service is degraded as long as one of its links is.
use ddi::dev::{DevInfo, Fm};
use ddi::sync::KMutex;

struct Inner {
    fm: Option<Fm>,
    degraded: u32,
}

/// Counts degraded links. Its lock is held while the first and the last change is told, so that
/// reports come in order.
pub(crate) struct Health(KMutex<Inner>);

impl Health {
    pub fn new() -> Self {
        Health(KMutex::new(Inner { fm: None, degraded: 0 }))
    }

    pub fn attach(&self, dip: DevInfo) {
        self.0.lock().fm = Some(Fm::new(dip));
    }

    pub fn detach(&self) {
        self.0.lock().fm = None;
    }

    /// One more link is degraded.
    pub fn degrade(&self) {
        let mut inner = self.0.lock();
        inner.degraded = inner.degraded.saturating_add(1);
        if let (Some(fm), 1) = (&inner.fm, inner.degraded) {
            fm.impact(true);
        }
    }

    /// One fewer is.
    pub fn restore(&self) {
        let mut inner = self.0.lock();
        inner.degraded = inner.degraded.saturating_sub(1);
        if let (Some(fm), 0) = (&inner.fm, inner.degraded) {
            fm.impact(false);
        }
    }
}
