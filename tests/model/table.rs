//! A table keeps each part once, and gives it a number.
//!
//! A state of the cluster consists of few kinds of parts (an acceptor, a proposer, a history) in
//! very many combinations. The table keeps each part once, and a state holds the parts' numbers.
//! Equal parts have one number, and different parts have different numbers. The table compares
//! the parts themselves, not only their hashes.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// The number of twins of a part that are kept.
const TWINS_MAX: usize = 4;

pub(crate) struct Table<T> {
    parts: Vec<Arc<T>>,
    numbers: HashMap<Arc<T>, u32>,
    /// For each part, equal parts that came later. They may differ in what a comparison leaves
    /// out.
    twins: Vec<Vec<Arc<T>>>,
}

impl<T: Hash + Eq> Table<T> {
    pub(crate) fn new() -> Self {
        Table { parts: Vec::new(), numbers: HashMap::new(), twins: Vec::new() }
    }

    /// The number of a part. It is a new one if no equal part was seen.
    pub(crate) fn number(&mut self, part: T) -> u32 {
        if let Some(number) = self.numbers.get(&part) {
            let twins = &mut self.twins[*number as usize];
            if twins.len() < TWINS_MAX {
                twins.push(Arc::new(part));
            }
            return *number;
        }
        let number = u32::try_from(self.parts.len()).expect("fewer parts than states");
        let part = Arc::new(part);
        self.parts.push(part.clone());
        self.twins.push(Vec::new());
        self.numbers.insert(part, number);
        number
    }

    pub(crate) fn get(&self, number: u32) -> &Arc<T> {
        &self.parts[number as usize]
    }

    pub(crate) fn twins(&self, number: u32) -> &[Arc<T>] {
        &self.twins[number as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }
}
