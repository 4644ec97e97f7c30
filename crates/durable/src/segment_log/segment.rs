//! One segment of the acceptor's log: its name, what is written into it, and how it is
//! read back.
//!
//! A segment's first frame is its *head*, all others are bursts of records, in
//! postcard. Reading goes from frame to frame as long as each one's address fits, and
//! then looks whether anything of this segment stands behind: that tells a torn tail
//! from damage (`segment_log` says why).

use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::frame::{self, Frame, Kind, Place, SECTOR_BYTES};
use crate::paxos::acceptor::{Record, State};
use crate::types::{Ballot, Slot};
use crate::values::Values;
use serde::{Deserialize, Serialize};
use std::io;

pub(super) const PREFIX: &str = "acceptor-";
pub(super) const SPARE: &str = "acceptor-spare";

/// A record as it is written.
#[derive(Debug, Serialize, Deserialize)]
enum Entry {
    Promise(Ballot),
    Accept { ballot: Ballot, first: Slot, values: Values },
    Trim(Slot),
}

/// What stands in a segment's first frame.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) promised: Option<Ballot>,
    pub(super) trimmed: Slot,
    /// Segments below this do not count any more.
    pub(super) oldest: u64,
}

/// Where the next frame goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tip {
    pub(super) at: u64,
    pub(super) number: u64,
    pub(super) previous: u64,
}

pub(super) fn name(number: u64) -> String {
    format!("{PREFIX}{number:016}")
}

/// Whether a file of this name belongs to an acceptor's log.
pub(super) fn is_log_file(name: &str) -> bool {
    name == SPARE || number_of(name).is_some()
}

pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX).filter(|digits| digits.len() == 16)?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

pub(super) fn encoded(into: &mut Vec<u8>, item: &impl Serialize) -> io::Result<()> {
    postcard::to_io(item, into).map(|_| ()).map_err(io::Error::other)
}

pub(super) fn write_record(into: &mut Vec<u8>, record: &Record) -> io::Result<()> {
    let entry = match record {
        Record::Promise(ballot) => Entry::Promise(*ballot),
        Record::Trim(slot) => Entry::Trim(*slot),
        Record::Accept { ballot, first, values } => {
            Entry::Accept { ballot: *ballot, first: *first, values: values.clone() }
        }
    };
    encoded(into, &entry)
}

/// The records of a burst; nothing if they cannot be understood.
pub(super) fn read_records(mut payload: &[u8]) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    while !payload.is_empty() {
        let (entry, rest) = postcard::take_from_bytes::<Entry>(payload).ok()?;
        records.push(match entry {
            Entry::Promise(ballot) => Record::Promise(ballot),
            Entry::Accept { ballot, first, values } => Record::Accept { ballot, first, values },
            Entry::Trim(slot) => Record::Trim(slot),
        });
        payload = rest;
    }
    Some(records)
}

pub(super) fn read_head(frame: &Frame<'_>) -> Option<Head> {
    let (head, rest) = postcard::take_from_bytes(frame.payload).ok()?;
    (rest.is_empty() && frame.kind == Kind::Head).then_some(head)
}

/// The end of what is accepted in a record.
pub(super) fn end_of(record: &Record) -> Slot {
    match record {
        Record::Accept { first, values, .. } => first.plus(values.len() as u64),
        Record::Promise(_) | Record::Trim(_) => Slot::ZERO,
    }
}

pub(super) fn damaged<D: Disk>(disk: &D, number: u64, at: usize, what: &'static str) -> OpenError {
    OpenError::Damaged { file: disk.describe(&name(number)), offset: at as u64, what }
}

pub(super) fn read_segment<D: Disk>(disk: &D, number: u64) -> io::Result<(D::File, Vec<u8>)> {
    let file = disk.open(&name(number))?.ok_or(io::ErrorKind::NotFound)?;
    let mut bytes = vec![0; file.length()? as usize];
    file.read_at(0, &mut bytes)?;
    Ok((file, bytes))
}

/// The head of a segment; nothing if it was never finished.
pub(super) fn head_at<D: Disk>(disk: &D, log: u64, number: u64) -> Result<Option<Head>, OpenError> {
    let (_, bytes) = read_segment(disk, number)?;
    let head = frame::read(&bytes)
        .filter(|frame| frame.place.log == log && frame.place.segment == number)
        .and_then(|frame| read_head(&frame));
    if head.is_none() && find_frame(&bytes, 0, log, number).is_some() {
        return Err(damaged(disk, number, 0, "its first record fails its check"));
    }
    Ok(head)
}

/// The first frame of this segment from `start` on, wherever a frame could begin.
pub(super) fn find_frame(bytes: &[u8], start: usize, log: u64, segment: u64) -> Option<usize> {
    (start..bytes.len()).step_by(SECTOR_BYTES).find(|at| {
        frame::read(&bytes[*at..])
            .is_some_and(|frame| frame.place.log == log && frame.place.segment == segment)
    })
}

/// What a segment was found to hold.
pub(super) struct Walk {
    /// Where the next frame goes.
    pub(super) tip: Tip,
    /// Where the last frame begins.
    pub(super) last: usize,
    /// Every slot accepted in is below this.
    pub(super) end: Slot,
}

/// Goes through a segment, adds its records to `state` and says where it ends.
/// `chain` is the end of the segment before, if that counts still. An error names
/// segment, byte and what is wrong.
pub(super) fn walk(
    bytes: &[u8],
    log: u64,
    segment: u64,
    chain: Option<Tip>,
    state: &mut State,
) -> Result<Walk, (u64, usize, &'static str)> {
    const UNREADABLE: &str = "a record that passes its check cannot be understood";
    let head = frame::read(bytes).filter(|f| f.place.log == log && f.place.segment == segment);
    let Some((first, head)) = head.and_then(|frame| Some((frame, read_head(&frame)?))) else {
        return Err((segment, 0, "its first record fails its check"));
    };
    if let Some(before) = chain
        && (first.place.number, first.place.previous) != (before.number, before.previous)
    {
        let at = before.at as usize;
        return Err((segment - 1, at, "a record in the middle of the log fails its check"));
    }
    if let Some(ballot) = head.promised {
        state.apply(&Record::Promise(ballot));
    }
    state.apply(&Record::Trim(head.trimmed));
    let mut tip =
        Tip { at: first.bytes() as u64, number: first.place.number + 1, previous: first.check };
    let (mut last, mut end) = (0, Slot::ZERO);
    while let Some(frame) = bytes.get(tip.at as usize..).and_then(frame::read) {
        let expected = Place { log, segment, number: tip.number, previous: tip.previous };
        let fits = frame.kind == Kind::Burst && frame.place == expected;
        if !fits {
            break;
        }
        let at = tip.at as usize;
        for record in read_records(frame.payload).ok_or((segment, at, UNREADABLE))? {
            end = end.max(end_of(&record));
            state.apply(&record);
        }
        last = at;
        tip = Tip {
            at: (at + frame.bytes()) as u64,
            number: frame.place.number + 1,
            previous: frame.check,
        };
    }
    let at = tip.at as usize;
    if find_frame(bytes, at, log, segment).is_some() {
        return Err((segment, at, "a record in the middle of the log fails its check"));
    }
    Ok(Walk { tip, last, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_from_a_frame_of_its_kind_to_the_last_byte() {
        fn head(kind: Kind, payload: &[u8]) -> Option<Head> {
            let place = Place { log: 1, segment: 2, number: 3, previous: 4 };
            read_head(&Frame { kind, place, check: 5, payload })
        }
        let mut bytes = Vec::new();
        encoded(&mut bytes, &Head { promised: None, trimmed: Slot(7), oldest: 8 }).unwrap();
        let found = head(Kind::Head, &bytes).unwrap();
        assert_eq!((found.promised, found.trimmed, found.oldest), (None, Slot(7), 8));
        assert!(head(Kind::Burst, &bytes).is_none(), "a burst is no head");
        assert!(head(Kind::Head, &bytes[..2]).is_none(), "half of one");
        bytes.push(0);
        assert!(head(Kind::Head, &bytes).is_none(), "and something behind it");
    }
}
