// SPDX-License-Identifier: CDDL-1.0
//! How large a table of a link may become, and how much of it is for what is in use: properties that
//! may change at any time.
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use ddi::Errno;

/// Tunable: most MAC addresses in the cache of a link that has no `vl2_cache_size` of its own.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static overlay_target_max: AtomicUsize = AtomicUsize::new(1_048_576);
/// Tunable: most routes in the cache of a link that has no `route_cache_size` of its own.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static overlay_route_max: AtomicUsize = AtomicUsize::new(65_536);

/// Smallest size that can be set. The largest of the original was 10240, for it went through lists.
pub(crate) const SIZE_MIN: u32 = 256;
/// Largest size that can be set.
pub(crate) const SIZE_MAX: u32 = 4_194_304;
/// Share of hot entries of a new link, in 100.
pub(crate) const HOT_DEFAULT: u32 = 75;

/// See the module.
pub(crate) struct Limit {
    /// 0 for the default.
    size: AtomicU32,
    default: &'static AtomicUsize,
    hot: AtomicU32,
}

impl Limit {
    pub fn new(default: &'static AtomicUsize) -> Self {
        Limit { size: AtomicU32::new(0), default, hot: AtomicU32::new(HOT_DEFAULT) }
    }

    /// Most entries.
    pub fn size(&self) -> usize {
        match self.size.load(Ordering::Relaxed) {
            0 => self.default.load(Ordering::Relaxed),
            size => size as usize,
        }
    }

    /// Most of these that may be hot (see [`ddi::map`]), in 100.
    pub fn hot(&self) -> usize {
        self.hot.load(Ordering::Relaxed) as usize
    }

    /// Sets the size, 0 for the default.
    ///
    /// # Errors
    /// `EINVAL`: not from [`SIZE_MIN`] to [`SIZE_MAX`].
    pub fn set_size(&self, size: u64) -> Result<(), Errno> {
        let size = u32::try_from(size).map_err(|_| Errno::EINVAL)?;
        if size != 0 && !(SIZE_MIN..=SIZE_MAX).contains(&size) {
            return Err(Errno::EINVAL);
        }
        self.size.store(size, Ordering::Relaxed);
        Ok(())
    }

    /// Sets the share of hot entries.
    ///
    /// # Errors
    /// `EINVAL`: more than 100.
    pub fn set_hot(&self, share: u64) -> Result<(), Errno> {
        let share = u32::try_from(share).map_err(|_| Errno::EINVAL)?;
        if share > 100 {
            return Err(Errno::EINVAL);
        }
        self.hot.store(share, Ordering::Relaxed);
        Ok(())
    }
}
