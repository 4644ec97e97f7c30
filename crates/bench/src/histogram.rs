//! A histogram of latencies.
//!
//! A bucket is a 64th of an octave wide. So a value that is read back is at most 1.6 % above
//! the recorded value, and the memory does not grow with the number of values. The idea is
//! Gil Tene's HdrHistogram.

/// The number of buckets in an octave, as a power of two.
const FINE_BITS: u32 = 6;
const FINE: u64 = 1 << FINE_BITS;
const BUCKETS: usize = ((64 - FINE_BITS as usize) + 1) << FINE_BITS;

/// The count of each latency.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    pub(super) total: u64,
    pub(super) max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

impl Histogram {
    pub(super) fn record(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// The smallest value such that `share` of all values are not above it; 0 if there are none.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        for (at, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return highest(at).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(value: u64) -> usize {
    if value < FINE {
        return value as usize;
    }
    let octave = value.ilog2() - FINE_BITS;
    (((u64::from(octave) + 1) << FINE_BITS) + ((value >> octave) - FINE)) as usize
}

/// The highest value that falls into a bucket.
fn highest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < FINE {
        return bucket;
    }
    let octave = (bucket >> FINE_BITS) - 1;
    let lowest = ((bucket & (FINE - 1)) + FINE) << octave;
    lowest + ((1 << octave) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_that_is_at_most_a_64th_wide() {
        for value in (0..63).map(|bit| 1u64 << bit).flat_map(|v| [v - 1, v, v + 1, v + v / 3]) {
            let high = highest(bucket(value));
            assert!(high >= value && high - value <= value / FINE, "{value} reads as {high}");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_of_a_thousand_values() {
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|value| histogram.record(value * 1_000));
        for (share, value) in [(0.5, 500_000), (0.99, 990_000), (0.999, 999_000), (1.0, 1_000_000)]
        {
            let read = histogram.quantile(share);
            assert!(read >= value && read <= value + value / FINE, "{share}: {read}");
        }
        assert_eq!(Histogram::default().quantile(0.99), 0);
    }
}
