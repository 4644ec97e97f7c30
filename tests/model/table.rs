//! Things that are kept once and go by a number.
//!
//! A state of the cluster consists of few kinds of parts (an acceptor, a proposer, what
//! has happened) in very many combinations. Each part is kept once, and a state holds
//! their numbers. Equal parts have one number and different ones different numbers, by
//! comparison and not by a hash alone.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// How many twins of a part are kept.
const TWINS_MAX: usize = 4;

pub(crate) struct Table<T> {
    parts: Vec<Arc<T>>,
    numbers: HashMap<Arc<T>, u32>,
    /// Parts that were met later and are equal to one: they may differ in what a
    /// comparison leaves out.
    twins: Vec<Vec<Arc<T>>>,
}

impl<T: Hash + Eq> Table<T> {
    pub(crate) fn new() -> Self {
        Table { parts: Vec::new(), numbers: HashMap::new(), twins: Vec::new() }
    }

    /// The number of a part, a new one if no equal part was met.
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
