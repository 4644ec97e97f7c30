//! A table that is looked up by key and never gone through in hash order.
//!
//! A learner looks up sessions several times for each line, so this is a hash table. But a
//! role must do the same on every machine. So the hash is fixed, and all entries together are
//! seen only in the order of their keys. [`Buckets`] is one for millions of entries.

mod buckets;

pub use buckets::Buckets;

use foldhash::fast::FixedState;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

/// A hash table with a fixed hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table<K: Hash + Eq, V> {
    map: HashMap<K, V, FixedState>,
}

impl<K: Hash + Eq, V> Default for Table<K, V> {
    fn default() -> Self {
        Table { map: HashMap::default() }
    }
}

impl<K: Hash + Eq + Ord, V> Table<K, V> {
    /// The value under `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    /// The value under `key`, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.map.get_mut(key)
    }

    /// Puts `value` under `key`, and returns the value that was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.map.insert(key, value)
    }

    /// Removes and returns the value under `key`.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.map.remove(key)
    }

    /// Keeps the entries for whose values `keep` returns true. The result must not depend on
    /// the order of the calls.
    pub fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) {
        self.map.retain(|_, value| keep(value));
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// All entries, in the order of their keys.
    pub fn sorted(&self) -> Vec<(&K, &V)> {
        let mut entries: Vec<_> = self.map.iter().collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        entries
    }
}

impl<K: Hash + Eq + Ord, V: Hash> Hash for Table<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.sorted().hash(state);
    }
}

impl<K: Hash + Eq + Ord + Serialize, V: Serialize> Serialize for Table<K, V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.sorted())
    }
}

impl<'de, K: Hash + Eq + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Table<K, V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let entries = Vec::<(K, V)>::deserialize(from)?;
        Ok(Table { map: entries.into_iter().collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::DefaultHasher;

    fn table(keys: impl IntoIterator<Item = u64>) -> Table<u64, String> {
        let mut table = Table::default();
        for key in keys {
            assert_eq!(table.insert(key, format!("of {key}")), None);
        }
        table
    }

    fn hash(table: &Table<u64, String>) -> u64 {
        let mut state = DefaultHasher::new();
        table.hash(&mut state);
        state.finish()
    }

    #[test]
    fn an_entry_is_found_changed_and_removed_by_its_key() {
        let mut table = table([]);
        assert_eq!((table.is_empty(), table.len(), table.get(&7)), (true, 0, None));
        assert_eq!(table.insert(7, "a".to_owned()), None);
        assert_eq!(table.insert(7, "b".to_owned()), Some("a".to_owned()));
        table.get_mut(&7).expect("it was put in").push('c');
        assert_eq!(table.insert(8, "e".to_owned()), None);
        assert_eq!(table.insert(9, "f".to_owned()), None);
        assert_eq!((table.remove(&9), table.remove(&9)), (Some("f".to_owned()), None));
        assert!(table.get_mut(&9).is_none());
        assert_eq!(table.get(&7).map(String::as_str), Some("bc"));
        assert_eq!(table.get(&8).map(String::as_str), Some("e"));
        assert_eq!((table.is_empty(), table.len()), (false, 2));
        table.retain(|value| value != "e");
        assert_eq!(table.sorted(), [(&7, &"bc".to_owned())]);
    }

    #[test]
    fn a_table_is_gone_through_in_the_order_of_its_keys() {
        let table = table((0..100).map(|at| at * 37 % 101));
        let keys: Vec<u64> = table.sorted().into_iter().map(|(key, _)| *key).collect();
        assert!(keys.is_sorted() && keys.len() == 100);
    }

    #[test]
    fn equal_tables_hash_and_encode_alike_whatever_order_they_were_filled_in() {
        let (up, down) = (table(0..100), table((0..100).rev()));
        let encoded = postcard::to_stdvec(&up).expect("encodes");
        assert_eq!((&up, hash(&up)), (&down, hash(&down)));
        assert_eq!(encoded, postcard::to_stdvec(&down).expect("encodes"));
        assert_eq!(postcard::from_bytes(&encoded), Ok(up));
        assert_ne!(hash(&down), hash(&table(0..99)));
    }
}
