// SPDX-License-Identifier: CDDL-1.0
//! Clocks: nanoseconds since an arbitrary point, and the 100 Hz tick.
use illumos_sys_hdrs::{clock_t, hrtime_t, timespec_t};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Ticks in a second.
pub(crate) const HZ: i64 = 100;
const NS_PER_TICK: i64 = 1_000_000_000 / HZ;

static BOOT: OnceLock<Instant> = OnceLock::new();

/// When the tick was 0. A little before the first use, so that no time is 0.
fn boot() -> Instant {
    *BOOT.get_or_init(|| {
        let now = Instant::now();
        now.checked_sub(Duration::from_secs(1)).unwrap_or(now)
    })
}

/// Ticks since boot.
pub(crate) fn lbolt() -> clock_t {
    i64::try_from(boot().elapsed().as_nanos()).unwrap_or(i64::MAX) / NS_PER_TICK
}

/// When tick `deadline` begins; far future for what does not fit.
pub(crate) fn instant(deadline: clock_t) -> Instant {
    let ns = u64::try_from(deadline).unwrap_or(0).saturating_mul(NS_PER_TICK.unsigned_abs());
    let far = Duration::from_secs(1 << 31);
    boot().checked_add(Duration::from_nanos(ns).min(far)).unwrap_or_else(boot)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn gethrtime() -> hrtime_t {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: t is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec * 1_000_000_000 + t.tv_nsec
}

// SAFETY: nothing else has the name; modules find it by that.
#[unsafe(no_mangle)]
// SAFETY: of the caller is wanted what gethrestime(9F) wants, a place for the time.
unsafe extern "C" fn gethrestime(now: *mut timespec_t) {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: t is ours; gethrestime(9F): a place for the time.
    unsafe {
        libc::clock_gettime(libc::CLOCK_REALTIME, &mut t);
        *now = timespec_t { tv_sec: t.tv_sec, tv_nsec: t.tv_nsec };
    }
}

#[unsafe(no_mangle)]
extern "C" fn ddi_get_lbolt() -> clock_t {
    lbolt()
}

#[unsafe(no_mangle)]
extern "C" fn drv_usectohz(us: clock_t) -> clock_t {
    let per_tick = 1_000_000 / HZ;
    us.saturating_add(per_tick - 1) / per_tick
}

#[unsafe(no_mangle)]
extern "C" fn drv_hztousec(ticks: clock_t) -> clock_t {
    ticks.saturating_mul(1_000_000 / HZ)
}

crate::symbols! { SYMBOLS "genunix":
    gethrtime, gethrestime, ddi_get_lbolt, drv_usectohz, drv_hztousec,
}
