//! The records of a log, as its user defines them.

use std::fmt::Debug;
use std::io;

/// The records of a log, how they are written, and the state that they add up to.
///
/// Each record ends at a position of the user's choosing, such as a slot. Once the summary
/// says that everything below that position is obsolete, the log no longer needs the record.
pub trait Records: Debug {
    /// One record.
    type Record: Debug;
    /// The state that the records add up to, replayed in their order.
    type State: Default;
    /// The part of the state that is small and must never be lost. The head of every segment
    /// repeats it, so that the records that it came from may go.
    type Summary: Debug + Clone + Default;

    /// The beginning of the names of the log's files.
    const FILE_PREFIX: &'static str;

    /// Appends a record's bytes.
    ///
    /// # Errors
    ///
    /// If it cannot be encoded.
    fn write_record(record: &Self::Record, into: &mut Vec<u8>) -> io::Result<()>;

    /// Reads one record. Returns it and the rest of `bytes`; none if it cannot be understood.
    fn read_record(bytes: &[u8]) -> Option<(Self::Record, &[u8])>;

    /// Appends the bytes of a head: the summary and the oldest segment that counts.
    ///
    /// # Errors
    ///
    /// If it cannot be encoded.
    fn write_head(summary: &Self::Summary, oldest: u64, into: &mut Vec<u8>) -> io::Result<()>;

    /// Reads a head to the last byte; none if it cannot be understood.
    fn read_head(bytes: &[u8]) -> Option<(Self::Summary, u64)>;

    /// Adds a record to the state.
    fn apply(state: &mut Self::State, record: &Self::Record);

    /// Adds a head's summary to the state.
    fn apply_summary(state: &mut Self::State, summary: &Self::Summary);

    /// Adds a record to the summary.
    fn summarise(summary: &mut Self::Summary, record: &Self::Record);

    /// The summary of a state.
    fn summary(state: &Self::State) -> Self::Summary;

    /// Where the record ends; 0 if the summary has all of it.
    fn end(record: &Self::Record) -> u64;

    /// Records that end here or below are obsolete.
    fn obsolete_to(summary: &Self::Summary) -> u64;

    /// The records that lead from the summary to this state, each with about how many bytes
    /// it takes. A log that is written anew consists of these.
    fn survivors(state: &Self::State) -> impl Iterator<Item = (Self::Record, usize)>;
}
