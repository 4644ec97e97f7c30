//! The records of one role in order, and the gaps between them.

use crate::files::Life;
use multipaxos::runtime::trace::block::{Record, Stream};
use serde::de::DeserializeOwned;
use std::fmt;

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The number of its block.
    pub block: u32,
    /// Its number in the block, from 0.
    pub record: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} of block {}", self.record, self.block)
    }
}

/// A record, or what is there instead.
#[derive(Debug)]
pub enum Step<I, R> {
    /// A record.
    Record(Place, Record<I, R>),
    /// Records are missing, for this reason.
    Gap(Place, String),
}

/// What a role did, in order.
pub fn steps<I: DeserializeOwned, R: DeserializeOwned>(
    life: &Life<'_>,
    stream: Stream,
    mut each: impl FnMut(Step<I, R>),
) {
    let mut next = 0;
    for block in life.of(stream) {
        let place = Place { block: block.number, record: 0 };
        if block.number > next {
            let missing = block.number - next;
            let why = match next {
                0 => format!(
                    "its first {missing} blocks are gone: the file was full, and a role is \
                     replayed only from its beginning"
                ),
                _ => format!("{missing} blocks are missing"),
            };
            each(Step::Gap(place, why));
        }
        next = block.number + 1;
        for (record, read) in block.records(&life.lists).enumerate() {
            let place = Place { record, ..place };
            each(match read {
                Ok(Record::Dropped { records }) => {
                    Step::Gap(place, format!("{records} records were dropped: the writer was late"))
                }
                Ok(record) => Step::Record(place, record),
                Err(why) => Step::Gap(place, format!("the rest of the block: {why}")),
            });
        }
    }
}
