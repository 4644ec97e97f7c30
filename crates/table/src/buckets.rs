//! A table that grows a bucket at a time, and that can be gone through a bucket at a time.
//!
//! A hash table that doubles moves all of its entries at once, and is half empty afterwards.
//! This one is for millions of entries, whose owner may not stop for that long. It grows by
//! splitting one bucket at a time (Litwin, *Linear Hashing*, VLDB '80). Each bucket is as long as
//! its entries. A table of few entries has a bucket for each, so a look-up is quick. Once there are
//! [`SHORT_BUCKETS`], a bucket takes up to [`LOAD`] entries on average. Then an entry of one byte
//! alignment costs its own bytes and about two more.
//!
//! **Going through it** is by number of bucket, from 0 on, while entries come and go. An entry
//! moves only when its bucket is split, and then into a bucket with a number above all others.
//! So whoever goes through the buckets in order meets each entry that stays, some of them twice.

use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::hint::black_box;

/// A table with fewer buckets gets one more with each entry.
const SHORT_BUCKETS: usize = 1 << 15;

/// How many entries a bucket has on average at most, once there are [`SHORT_BUCKETS`].
const LOAD: usize = 32;

/// See the module.
#[derive(Debug, Clone)]
pub struct Buckets<K, V> {
    buckets: Vec<Vec<(K, V)>>,
    len: usize,
}

impl<K, V> Default for Buckets<K, V> {
    fn default() -> Self {
        Buckets { buckets: Vec::new(), len: 0 }
    }
}

/// The bucket of a hash where there are `count` buckets, at least one.
fn bucket_of(hash: u64, count: usize) -> usize {
    let mask = count.next_power_of_two() - 1;
    let at = hash as usize & mask;
    if at < count { at } else { at & (mask >> 1) }
}

fn hash_of<K: Hash>(key: &K) -> u64 {
    FixedState::default().hash_one(key)
}

impl<K: Hash + Eq, V> Buckets<K, V> {
    fn bucket_with(&self, key: &K) -> Option<usize> {
        let count = self.buckets.len();
        (count > 0).then(|| bucket_of(hash_of(key), count))
    }

    /// The value under `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        let bucket = &self.buckets[self.bucket_with(key)?];
        bucket.iter().find(|(held, _)| held == key).map(|(_, value)| value)
    }

    /// The value under `key`, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.bucket_with(key)?;
        self.buckets[at].iter_mut().find(|(held, _)| held == key).map(|(_, value)| value)
    }

    /// Brings what look-ups of `keys` will read into the processor's cache. A look-up waits for
    /// memory twice, and decides where to go on after each wait. Here nothing is decided, so the
    /// processor waits for all keys at the same time.
    pub fn look_ahead<const N: usize>(&self, keys: [Option<K>; N])
    where
        K: Copy,
    {
        if self.buckets.is_empty() {
            return;
        }
        let bucket = |key: Option<K>| {
            let hash = key.as_ref().map_or(0, hash_of);
            self.buckets[bucket_of(hash, self.buckets.len())].as_slice()
        };
        for bucket in keys.map(bucket) {
            black_box(bucket.first().map(|(key, _)| *key));
        }
    }

    /// Puts `value` under `key`, and returns the value that was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(held) = self.get_mut(&key) {
            return Some(std::mem::replace(held, value));
        }
        let load = if self.buckets.len() < SHORT_BUCKETS { 1 } else { LOAD };
        if self.len >= load * self.buckets.len() {
            self.split();
        }
        let at = bucket_of(hash_of(&key), self.buckets.len());
        let bucket = &mut self.buckets[at];
        bucket.reserve_exact(1);
        bucket.push((key, value));
        self.len += 1;
        None
    }

    /// Adds a bucket, with those entries of another one that belong there now.
    fn split(&mut self) {
        let count = self.buckets.len();
        let mut moved = Vec::new();
        if count > 0 {
            let from = &mut self.buckets[count - (1 << count.ilog2())];
            let belongs = |(key, _): &(K, V)| bucket_of(hash_of(key), count + 1) == count;
            moved.reserve_exact(from.iter().filter(|entry| belongs(entry)).count());
            moved.extend(from.extract_if(.., |entry| belongs(entry)));
            from.shrink_to_fit();
        }
        self.buckets.push(moved);
    }

    /// Removes and returns the value under `key`.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.bucket_with(key)?;
        let bucket = &mut self.buckets[at];
        let place = bucket.iter().position(|(held, _)| held == key)?;
        self.len -= 1;
        Some(bucket.swap_remove(place).1)
    }

    /// Keeps the entries for which `keep` returns true. The result must not depend on the order
    /// of the calls.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        for bucket in &mut self.buckets {
            let before = bucket.len();
            bucket.retain(|(key, value)| keep(key, value));
            if bucket.len() < before {
                self.len -= before - bucket.len();
                bucket.shrink_to_fit();
            }
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entries of bucket `at`; none above the last bucket. What a caller makes of all
    /// buckets must not depend on the order of the entries.
    pub fn bucket(&self, at: usize) -> Option<&[(K, V)]> {
        self.buckets.get(at).map(Vec::as_slice)
    }
}

impl<K: Hash + Eq, V: PartialEq> PartialEq for Buckets<K, V> {
    fn eq(&self, other: &Self) -> bool {
        let mut entries = self.buckets.iter().flatten();
        self.len == other.len && entries.all(|(key, value)| other.get(key) == Some(value))
    }
}

impl<K: Hash + Eq, V: Eq> Eq for Buckets<K, V> {}

impl<K: Hash + Eq + Ord, V: Hash> Hash for Buckets<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut entries: Vec<_> = self.buckets.iter().flatten().collect();
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        entries.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::hash::DefaultHasher;

    fn hash(table: &Buckets<u64, u64>) -> u64 {
        let mut state = DefaultHasher::new();
        table.hash(&mut state);
        state.finish()
    }

    fn entries(table: &Buckets<u64, u64>) -> Vec<(u64, u64)> {
        let mut entries: Vec<_> =
            (0..).map_while(|at| table.bucket(at)).flatten().copied().collect();
        entries.sort_unstable();
        entries
    }

    #[test]
    fn it_holds_what_a_map_holds() {
        let (mut table, mut map) = (Buckets::default(), BTreeMap::new());
        let mut rng = 1u64;
        for step in 0..20_000 {
            rng =
                rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = rng >> 52;
            match rng >> 40 & 7 {
                0 | 1 => assert_eq!(table.remove(&key), map.remove(&key)),
                2 => {
                    let changed = table.get_mut(&key).map(|value: &mut u64| *value += 1);
                    assert_eq!(changed, map.get_mut(&key).map(|value| *value += 1));
                }
                _ => assert_eq!(table.insert(key, step), map.insert(key, step)),
            }
            assert_eq!((table.len(), table.is_empty()), (map.len(), map.is_empty()));
            assert_eq!(table.get(&(key ^ 1)), map.get(&(key ^ 1)));
            if step % 5_000 == 4_999 {
                table.retain(|key, value| key % 3 > 0 || value % 2 == 0);
                map.retain(|key, value| key % 3 > 0 || *value % 2 == 0);
            }
        }
        assert!(entries(&table).into_iter().eq(map) && table.len() > 1_000);
    }

    #[test]
    fn equal_tables_hash_alike_however_they_were_filled() {
        let up: Buckets<_, _> = filled(0..1_000);
        let mut down: Buckets<_, _> = filled((0..2_000).rev());
        assert_ne!((&up, hash(&up)), (&down, hash(&down)));
        down.retain(|key, _| *key < 1_000);
        assert_eq!((&up, hash(&up)), (&down, hash(&down)));
        *down.get_mut(&7).expect("it stays") += 1;
        assert_ne!((&up, hash(&up)), (&down, hash(&down)));
    }

    fn filled(keys: impl IntoIterator<Item = u64>) -> Buckets<u64, u64> {
        let mut table = Buckets::default();
        keys.into_iter().for_each(|key| assert_eq!(table.insert(key, key * key), None));
        table
    }

    #[test]
    fn whoever_goes_through_the_buckets_while_it_grows_meets_every_entry_that_was_there() {
        let mut table = filled(0..5_000);
        let (mut met, mut at, mut added) = (Vec::new(), 0, 5_000);
        while let Some(bucket) = table.bucket(at) {
            met.extend(bucket.iter().map(|(key, _)| *key).filter(|key| *key < 5_000));
            at += 1;
            if at % 2 == 0 {
                table.insert(added, 0);
                added += 1;
            }
        }
        let count = met.len();
        met.sort_unstable();
        met.dedup();
        assert_eq!(met.len(), 5_000);
        assert!(added >= 9_999 && count < 10_000, "{count} met, {added} in it");
    }

    /// A key whose hash is that of its first half.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Twin(u64, u64);

    impl Hash for Twin {
        fn hash<H: Hasher>(&self, state: &mut H) {
            state.write_u64(self.0);
        }
    }

    #[test]
    fn keys_with_the_same_hash_are_kept_apart() {
        let mut table = Buckets::default();
        let keys = || (0..100).flat_map(|one| (0..5).map(move |other| Twin(one, other)));
        keys().for_each(|key| assert_eq!(table.insert(key, key.1), None));
        keys().filter(|key| key.1 % 2 == 0).for_each(|key| {
            assert_eq!(table.remove(&key), Some(key.1));
            assert_eq!(table.remove(&key), None);
        });
        for key in keys() {
            assert_eq!(table.get(&key), Some(&key.1).filter(|_| key.1 % 2 == 1));
        }
    }

    #[test]
    fn a_bucket_is_as_long_as_its_entries_and_none_is_very_long() {
        for (entries, buckets, most) in [(30_000, 30_000, 16), (1_100_000, 34_375, 4 * LOAD)] {
            let table = filled(0..entries);
            let longest = table.buckets.iter().map(Vec::len).max();
            assert!(longest < Some(most), "{longest:?}");
            let room: usize = table.buckets.iter().map(Vec::capacity).sum();
            assert_eq!((room, table.buckets.len()), (entries as usize, buckets));
        }
    }
}
