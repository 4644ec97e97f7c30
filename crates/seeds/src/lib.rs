//! Derives many independent seeds from one.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The seed of the stream called `name`. It is always the same, and differs from that of any
/// other name. So a new stream does not change the draws of the others.
pub fn derive_seed(seed: u64, name: &str) -> u64 {
    xxh3_64_with_seed(name.as_bytes(), seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_by_part_and_repeat() {
        assert_eq!(derive_seed(591, "replica 0"), derive_seed(591, "replica 0"));
        assert_ne!(derive_seed(591, "replica 0"), derive_seed(591, "replica 1"));
        assert_ne!(derive_seed(591, "replica 0"), derive_seed(592, "replica 0"));
    }
}
