// SPDX-License-Identifier: CDDL-1.0
//! Latencies in a histogram of fixed size: an atomic increment to record one.
//!
//! ```text
//!   ns   0 1 2 ... 7 | 8 ... 15 | 16 18 ... 30 | 32 36 ... 60 | 64 72 ...      up to 2^42, 73 minutes
//!         one each      one each    8 of width 2  8 of width 4   8 of width 8
//! ```
//!
//! Each power of two has eight buckets, so a percentile is at most an eighth above what it was. 320 buckets of eight
//! bytes; longer ones count in the last.
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets for each power of two, and the bits of a value that choose one of them.
const PARTS: u64 = 1 << BITS;
const BITS: u32 = 3;
/// Values from this power of two on share the last bucket.
const TOP: u32 = 42;
const BUCKETS: usize = ((TOP - BITS + 1) as usize) << BITS;

/// Counts latencies.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64; BUCKETS]>,
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        let buckets = Box::new([const { AtomicU64::new(0) }; BUCKETS]);
        Histogram { buckets, sum: AtomicU64::new(0), max: AtomicU64::new(0) }
    }
}

/// The bucket of a number of nanoseconds.
fn bucket(ns: u64) -> usize {
    if ns < PARTS {
        return ns as usize;
    }
    let power = ns.ilog2();
    let part = (ns >> (power - BITS)) - PARTS;
    let at = (u64::from(power - BITS + 1) << BITS) + part;
    usize::try_from(at).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The largest number of nanoseconds in a bucket.
fn last_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let shift = (bucket >> BITS) - 1;
    ((PARTS + bucket % PARTS + 1) << shift) - 1
}

impl Histogram {
    pub(crate) fn record(&self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket(ns)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(ns, Ordering::Relaxed);
        self.max.fetch_max(ns, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Latencies {
        let counts = self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let (sum, max) = (self.sum.load(Ordering::Relaxed), self.max.load(Ordering::Relaxed));
        Latencies { counts, sum, max }
    }
}

/// What a [`Histogram`] had counted at some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    counts: Vec<u64>,
    /// Of all, in nanoseconds.
    sum: u64,
    max: u64,
}

/// The figures that are shown, in nanoseconds; all 0 if nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// How many.
    pub count: u64,
    /// Average.
    pub mean_ns: u64,
    /// Half took no longer than this.
    pub p50_ns: u64,
    /// Nine of ten did not.
    pub p90_ns: u64,
    /// 99 of 100.
    pub p99_ns: u64,
    /// 999 of 1000.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl Latencies {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together, in nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum
    }

    /// How many took less than 2^`power` ns: a bucket ends there, for each power.
    pub fn below_power(&self, power: u32) -> u64 {
        self.counts.iter().take(bucket(1 << power.min(TOP))).sum()
    }

    /// What `per_mille` of 1000 did not exceed, in nanoseconds, rounded up to the end of its bucket; 0 without any.
    pub fn quantile_ns(&self, per_mille: u64) -> u64 {
        let rank = (self.count() * per_mille).div_ceil(1000);
        let mut seen = 0;
        let at = self.counts.iter().position(|n| {
            seen += n;
            *n > 0 && seen >= rank
        });
        at.map_or(0, |at| last_of(at).min(self.max))
    }

    /// The figures that are shown.
    pub fn figures(&self) -> Figures {
        let count = self.count();
        Figures {
            count,
            mean_ns: self.sum.checked_div(count).unwrap_or(0),
            p50_ns: self.quantile_ns(500),
            p90_ns: self.quantile_ns(900),
            p99_ns: self.quantile_ns(990),
            p999_ns: self.quantile_ns(999),
            max_ns: self.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Buckets follow one another without gap or overlap, and are an eighth wide at most.
    #[test]
    fn buckets_cover_everything() {
        let mut first = 0;
        for b in 0..BUCKETS - 1 {
            let last = last_of(b);
            assert_eq!((bucket(first), bucket(last)), (b, b), "{first} to {last}");
            assert!((last - first) * 8 <= first, "{first} to {last}");
            first = last + 1;
        }
        assert_eq!(bucket(first), BUCKETS - 1);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        for power in 0..TOP {
            assert_eq!(
                bucket((1 << power) - 1) + 1,
                bucket(1 << power),
                "a bucket ends before 2^{power}"
            );
        }
    }

    #[test]
    fn quantiles_of_known_latencies() {
        let h = Histogram::default();
        assert_eq!(h.read().figures(), Figures::default());
        for us in 1..=1000 {
            h.record(Duration::from_micros(us));
        }
        h.record(Duration::MAX);
        let read = h.read();
        let f = read.figures();
        assert_eq!((f.count, f.max_ns), (1001, u64::MAX));
        for (got, exact) in [(f.p50_ns, 501_000), (f.p90_ns, 901_000), (f.p99_ns, 991_000)] {
            assert!((exact..exact + exact / 8 + 1).contains(&got), "{got} for {exact}");
        }
        assert_eq!(read.below_power(20), 1000, "all but the last took less than 1.05 ms");
        assert_eq!(read.below_power(10), 1);
        assert_eq!(read.below_power(0), 0);
    }

    #[test]
    fn one_latency_is_every_quantile() {
        let h = Histogram::default();
        h.record(Duration::from_nanos(77));
        let f = h.read().figures();
        assert_eq!([f.count, f.mean_ns, f.p50_ns, f.p999_ns, f.max_ns], [1, 77, 77, 77, 77]);
    }
}
