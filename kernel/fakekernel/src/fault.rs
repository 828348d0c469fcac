// SPDX-License-Identifier: CDDL-1.0
//! Allocations that fail on purpose.
//!
//! Counts are of calls by modules, from the moment of asking; the kernel's own threads allocate by
//! other ways and do not disturb them.
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::*};

/// What is to fail from boot on.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultPlan {
    /// The n-th allocb (1: the first) fails, once.
    pub nth_allocb: Option<u64>,
    /// The n-th KM_NOSLEEP allocation fails, once.
    pub nth_nosleep: Option<u64>,
    /// Each of both fails with this chance in a thousand, by a generator with this seed.
    pub random: Option<(u64, u32)>,
}

static ARMED: AtomicBool = AtomicBool::new(false);
static ALLOCB: AtomicI64 = AtomicI64::new(0);
static NOSLEEP: AtomicI64 = AtomicI64::new(0);
static SEED: AtomicU64 = AtomicU64::new(0);
static PERMILLE: AtomicU32 = AtomicU32::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

pub(crate) fn set(plan: &FaultPlan) {
    let nth = |n: Option<u64>| n.map_or(0, |n| i64::try_from(n).unwrap_or(i64::MAX));
    ALLOCB.store(nth(plan.nth_allocb), SeqCst);
    NOSLEEP.store(nth(plan.nth_nosleep), SeqCst);
    let (seed, permille) = plan.random.unwrap_or_default();
    SEED.store(seed, SeqCst);
    PERMILLE.store(permille, SeqCst);
    FAILED.store(0, SeqCst);
    rearm();
}

fn rearm() {
    let any = ALLOCB.load(SeqCst) > 0 || NOSLEEP.load(SeqCst) > 0 || PERMILLE.load(SeqCst) > 0;
    ARMED.store(any, SeqCst);
}

/// The `n`-th allocb from now (1: the next) fails, once; 0: none.
pub fn fail_nth_allocb(n: u64) {
    ALLOCB.store(i64::try_from(n).unwrap_or(i64::MAX), SeqCst);
    rearm();
}

/// The `n`-th KM_NOSLEEP allocation from now fails, once; 0: none.
pub fn fail_nth_nosleep(n: u64) {
    NOSLEEP.store(i64::try_from(n).unwrap_or(i64::MAX), SeqCst);
    rearm();
}

/// Each allocb and KM_NOSLEEP allocation fails with this chance in a thousand; 0: none.
pub fn fail_random(seed: u64, permille: u32) {
    SEED.store(seed, SeqCst);
    PERMILLE.store(permille, SeqCst);
    rearm();
}

/// How many allocations were made to fail since boot.
pub fn failures() -> u64 {
    FAILED.load(SeqCst)
}

#[inline(always)]
pub(crate) fn allocb() -> bool {
    ARMED.load(Relaxed) && decide(&ALLOCB)
}

#[inline(always)]
pub(crate) fn nosleep() -> bool {
    ARMED.load(Relaxed) && decide(&NOSLEEP)
}

#[cold]
fn decide(countdown: &AtomicI64) -> bool {
    let nth = countdown.load(Relaxed) > 0 && countdown.fetch_sub(1, SeqCst) == 1;
    let permille = PERMILLE.load(Relaxed);
    let fail =
        nth || (permille > 0 && splitmix(SEED.fetch_add(1, Relaxed)) % 1000 < permille.into());
    if fail {
        FAILED.fetch_add(1, Relaxed);
    }
    fail
}

fn splitmix(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
