//! The acceptor's log: promises and acceptances that survive a power cut.
//!
//! [`durable::segment_log`] keeps the log, and says what happens to a torn or damaged one.
//! This module defines its records. The head of each segment repeats the promise and the
//! trim mark. A segment is dropped once all its acceptances are below the trim mark. If an
//! acceptor accepts the same slots again and again at rising ballots, its log is written
//! anew.
//!
//! At replay the promise is the highest ballot among heads, promises and acceptances. Of two
//! acceptances of one slot, the one at the higher ballot counts.

use super::upkeep::Upkeep;
use crate::message::Run;
use crate::paxos::Storage;
use crate::paxos::acceptor::{Record, State};
use crate::types::{Ballot, Slot, SlotRange};
use crate::values::Values;
use durable::disk::Disk;
use durable::segment_log::{self, Records, SegmentLog};
pub use durable::segment_log::{Options, SEGMENT_BYTES};
use serde::{Deserialize, Serialize};
use std::io;

/// An acceptor's durable storage.
pub type AcceptorLog<D> = SegmentLog<D, AcceptorRecords>;

/// A record as it is written.
#[derive(Debug, Serialize, Deserialize)]
enum Entry {
    Promise(Ballot),
    Accept { ballot: Ballot, first: Slot, values: Values },
    Trim(Slot),
}

/// The state that the head of each segment repeats.
#[derive(Debug, Clone, Copy, Default)]
pub struct Summary {
    promised: Option<Ballot>,
    trimmed: Slot,
}

/// The records of an acceptor, in postcard.
#[derive(Debug)]
pub enum AcceptorRecords {}

/// Whether a file of this name belongs to an acceptor's log.
pub(super) fn is_log_file(name: &str) -> bool {
    segment_log::is_log_file::<AcceptorRecords>(name)
}

fn encode(item: &impl Serialize, into: &mut Vec<u8>) -> io::Result<()> {
    postcard::to_io(item, into).map(|_| ()).map_err(io::Error::other)
}

impl Records for AcceptorRecords {
    type Record = Record;
    type State = State;
    type Summary = Summary;

    const FILE_PREFIX: &'static str = "acceptor-";

    fn write_record(record: &Record, into: &mut Vec<u8>) -> io::Result<()> {
        let entry = match record {
            Record::Promise(ballot) => Entry::Promise(*ballot),
            Record::Trim(slot) => Entry::Trim(*slot),
            Record::Accept(Run { ballot, first, values }) => {
                Entry::Accept { ballot: *ballot, first: *first, values: values.clone() }
            }
        };
        encode(&entry, into)
    }

    fn read_record(bytes: &[u8]) -> Option<(Record, &[u8])> {
        let (entry, rest) = postcard::take_from_bytes::<Entry>(bytes).ok()?;
        let record = match entry {
            Entry::Promise(ballot) => Record::Promise(ballot),
            Entry::Accept { ballot, first, values } => {
                Record::Accept(Run { ballot, first, values })
            }
            Entry::Trim(slot) => Record::Trim(slot),
        };
        Some((record, rest))
    }

    fn write_head(summary: &Summary, oldest: u64, into: &mut Vec<u8>) -> io::Result<()> {
        encode(&(summary.promised, summary.trimmed, oldest), into)
    }

    fn read_head(bytes: &[u8]) -> Option<(Summary, u64)> {
        let (head, rest) = postcard::take_from_bytes(bytes).ok()?;
        let (promised, trimmed, oldest) = head;
        rest.is_empty().then_some((Summary { promised, trimmed }, oldest))
    }

    fn apply(state: &mut State, record: &Record) {
        state.apply(record);
    }

    fn apply_summary(state: &mut State, summary: &Summary) {
        if let Some(ballot) = summary.promised {
            state.apply(&Record::Promise(ballot));
        }
        state.apply(&Record::Trim(summary.trimmed));
    }

    fn summarise(summary: &mut Summary, record: &Record) {
        match record {
            // Accepting is also promising.
            Record::Promise(ballot) | Record::Accept(Run { ballot, .. }) => {
                summary.promised = summary.promised.max(Some(*ballot));
            }
            Record::Trim(slot) => summary.trimmed = summary.trimmed.max(*slot),
        }
    }

    fn summary(state: &State) -> Summary {
        Summary { promised: state.promised(), trimmed: state.trimmed() }
    }

    /// The slot after the last that was accepted.
    fn end(record: &Record) -> u64 {
        match record {
            Record::Accept(run) => run.end().0,
            Record::Promise(_) | Record::Trim(_) => 0,
        }
    }

    fn obsolete_to(summary: &Summary) -> u64 {
        summary.trimmed.0
    }

    fn survivors(state: &State) -> impl Iterator<Item = (Record, usize)> {
        state.range(SlotRange::onward(state.trimmed())).map(|run| {
            let bytes = run.values.bytes().len();
            (Record::Accept(run), bytes)
        })
    }
}

impl<D: Disk> Storage<Record> for AcceptorLog<D> {
    fn append(&mut self, records: &mut Vec<Record>) -> io::Result<()> {
        self.append_burst(records)?;
        records.clear();
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        SegmentLog::sync(self)
    }
}

impl<D: Disk> Upkeep for AcceptorLog<D> {
    fn close(self) -> io::Result<()> {
        SegmentLog::close(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_to_the_last_byte() {
        let mut bytes = Vec::new();
        let summary = Summary { promised: None, trimmed: Slot(7) };
        AcceptorRecords::write_head(&summary, 8, &mut bytes).unwrap();
        let (found, oldest) = AcceptorRecords::read_head(&bytes).unwrap();
        assert_eq!((found.promised, found.trimmed, oldest), (None, Slot(7), 8));
        assert!(AcceptorRecords::read_head(&bytes[..2]).is_none(), "half of one");
        bytes.push(0);
        assert!(AcceptorRecords::read_head(&bytes).is_none(), "and something behind it");
    }
}
