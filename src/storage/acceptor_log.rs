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
use crate::paxos::standing::Memory;
use crate::types::{Ballot, REPLICAS_MAX, ReplicaId, Slot, SlotRange};
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
    Held { ballot: Ballot, first: Slot, values: Values },
    Remember(ReplicaId, Memory),
}

/// The state that the head of each segment repeats.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    promised: Option<Ballot>,
    trimmed: Slot,
    /// How many records were written.
    written: u64,
    /// What is remembered of members, by replica id.
    memories: Vec<Memory>,
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
            Record::Held(Run { ballot, first, values }) => {
                Entry::Held { ballot: *ballot, first: *first, values: values.clone() }
            }
            Record::Remember(of, memory) => Entry::Remember(*of, *memory),
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
            Entry::Held { ballot, first, values } => Record::Held(Run { ballot, first, values }),
            Entry::Remember(of, memory) if of.index() < REPLICAS_MAX => {
                Record::Remember(of, memory)
            }
            Entry::Remember(..) => return None,
        };
        Some((record, rest))
    }

    fn write_head(summary: &Summary, oldest: u64, into: &mut Vec<u8>) -> io::Result<()> {
        let Summary { promised, trimmed, written, memories } = summary;
        encode(&(promised, trimmed, written, memories, oldest), into)
    }

    fn read_head(bytes: &[u8]) -> Option<(Summary, u64)> {
        let (head, rest) = postcard::take_from_bytes(bytes).ok()?;
        let (promised, trimmed, written, memories, oldest) = head;
        let summary = Summary { promised, trimmed, written, memories };
        let is_whole = rest.is_empty() && summary.memories.len() <= REPLICAS_MAX;
        is_whole.then_some((summary, oldest))
    }

    fn apply(state: &mut State, record: &Record) {
        state.apply(record);
    }

    fn apply_summary(state: &mut State, summary: &Summary) {
        if let Some(ballot) = summary.promised {
            state.apply(&Record::Promise(ballot));
        }
        state.apply(&Record::Trim(summary.trimmed));
        for (of, memory) in (0..).map(ReplicaId).zip(&summary.memories) {
            state.apply(&Record::Remember(of, *memory));
        }
        state.set_written(summary.written);
    }

    fn summarise(summary: &mut Summary, record: &Record) {
        summary.written += u64::from(record.counts());
        match record {
            Record::Remember(of, memory) => {
                let memories = &mut summary.memories;
                memories.resize(memories.len().max(of.index() + 1), Memory::default());
                memories[of.index()] = *memory;
            }
            // Accepting is also promising.
            Record::Promise(ballot)
            | Record::Accept(Run { ballot, .. })
            | Record::Held(Run { ballot, .. }) => {
                summary.promised = summary.promised.max(Some(*ballot));
            }
            Record::Trim(slot) => summary.trimmed = summary.trimmed.max(*slot),
        }
    }

    fn summary(state: &State) -> Summary {
        Summary {
            promised: state.promised(),
            trimmed: state.trimmed(),
            written: state.written(),
            memories: state.memories().to_vec(),
        }
    }

    /// The slot after the last that was accepted.
    fn end(record: &Record) -> u64 {
        match record {
            Record::Accept(run) | Record::Held(run) => run.end().0,
            Record::Promise(_) | Record::Trim(_) | Record::Remember(..) => 0,
        }
    }

    fn obsolete_to(summary: &Summary) -> u64 {
        summary.trimmed.0
    }

    fn survivors(state: &State) -> impl Iterator<Item = (Record, usize)> {
        state.range(SlotRange::onward(state.trimmed())).map(|run| {
            let bytes = run.values.bytes().len();
            (Record::Held(run), bytes)
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
    use crate::types::BootId;

    #[test]
    fn a_head_is_read_to_the_last_byte() {
        let mut bytes = Vec::new();
        let memories = vec![Memory { boot: BootId(3), written: 4 }];
        let summary = Summary { promised: None, trimmed: Slot(7), written: 5, memories };
        AcceptorRecords::write_head(&summary, 8, &mut bytes).unwrap();
        let (found, oldest) = AcceptorRecords::read_head(&bytes).unwrap();
        assert_eq!((found.promised, found.trimmed, oldest), (None, Slot(7), 8));
        assert_eq!((found.written, found.memories), (5, summary.memories));
        assert!(AcceptorRecords::read_head(&bytes[..2]).is_none(), "half of one");
        bytes.push(0);
        assert!(AcceptorRecords::read_head(&bytes).is_none(), "and something behind it");
    }
}
