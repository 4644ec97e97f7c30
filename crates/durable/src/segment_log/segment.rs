//! One segment of a log: its name, its contents, and how it is read back.
//!
//! A segment's first frame is its *head*, all others are bursts of records. Reading goes
//! from frame to frame as long as each one's address is the expected one, and then looks
//! whether a frame of this segment follows anywhere. That tells a torn tail from damage (the
//! log's module says why).

use super::Records;
use super::frame::{self, Frame, FrameAddress, FrameKind, SECTOR_BYTES};
use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use std::io;

/// The content of a segment's first frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<S> {
    pub(super) summary: S,
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

pub(super) fn name<R: Records>(number: u64) -> String {
    format!("{}{number:016}", R::FILE_PREFIX)
}

/// The name of the file that is kept for the next segment.
pub(super) fn spare<R: Records>() -> String {
    format!("{}spare", R::FILE_PREFIX)
}

/// Whether a file of this name belongs to the log.
pub fn is_log_file<R: Records>(name: &str) -> bool {
    name == spare::<R>() || number_of::<R>(name).is_some()
}

pub(super) fn number_of<R: Records>(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(R::FILE_PREFIX).filter(|digits| digits.len() == 16)?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// The records of a burst; none if they cannot be understood.
pub(super) fn read_records<R: Records>(mut payload: &[u8]) -> Option<Vec<R::Record>> {
    let mut records = Vec::new();
    while !payload.is_empty() {
        let (record, rest) = R::read_record(payload)?;
        records.push(record);
        payload = rest;
    }
    Some(records)
}

pub(super) fn read_head<R: Records>(frame: &Frame<'_>) -> Option<Head<R::Summary>> {
    if frame.kind != FrameKind::Head {
        return None;
    }
    let (summary, oldest) = R::read_head(frame.payload)?;
    Some(Head { summary, oldest })
}

pub(super) fn damaged<R: Records>(
    disk: &impl Disk,
    number: u64,
    at: usize,
    what: &'static str,
) -> OpenError {
    OpenError::Damaged { file: disk.describe(&name::<R>(number)), offset: at as u64, what }
}

pub(super) fn read_segment<R: Records, D: Disk>(
    disk: &D,
    number: u64,
) -> io::Result<(D::File, Vec<u8>)> {
    let file = disk.open(&name::<R>(number))?.ok_or(io::ErrorKind::NotFound)?;
    let mut bytes = vec![0; file.length()? as usize];
    file.read_at(0, &mut bytes)?;
    Ok((file, bytes))
}

/// The head of a segment; none if it was never finished.
pub(super) fn head_at<R: Records, D: Disk>(
    disk: &D,
    log: u64,
    number: u64,
) -> Result<Option<Head<R::Summary>>, OpenError> {
    let (_, bytes) = read_segment::<R, D>(disk, number)?;
    let head = frame::read(&bytes)
        .filter(|frame| frame.address.log == log && frame.address.segment == number)
        .and_then(|frame| read_head::<R>(&frame));
    if head.is_none() && find_frame(&bytes, 0, log, number).is_some() {
        return Err(damaged::<R>(disk, number, 0, "its first record fails its check"));
    }
    Ok(head)
}

/// The first frame of this segment from `start` on, wherever a frame could begin.
pub(super) fn find_frame(bytes: &[u8], start: usize, log: u64, segment: u64) -> Option<usize> {
    (start..bytes.len()).step_by(SECTOR_BYTES).find(|at| {
        frame::read(&bytes[*at..])
            .is_some_and(|frame| frame.address.log == log && frame.address.segment == segment)
    })
}

/// The result of reading a segment.
pub(super) struct Walk {
    /// Where the next frame goes.
    pub(super) tip: Tip,
    /// Where the last frame begins.
    pub(super) last: usize,
    /// The highest [`Records::end`] of its records.
    pub(super) end: u64,
}

/// Reads a segment, adds its records to `state`, and returns where it ends. `chain` is the
/// end of the segment before, if that still counts. An error has the segment, the byte and
/// the fault.
pub(super) fn walk<R: Records>(
    bytes: &[u8],
    log: u64,
    segment: u64,
    chain: Option<Tip>,
    state: &mut R::State,
) -> Result<Walk, (u64, usize, &'static str)> {
    const UNREADABLE: &str = "a record that passes its check cannot be understood";
    let head = frame::read(bytes).filter(|f| f.address.log == log && f.address.segment == segment);
    let Some((first, head)) = head.and_then(|frame| Some((frame, read_head::<R>(&frame)?))) else {
        return Err((segment, 0, "its first record fails its check"));
    };
    if let Some(before) = chain
        && (first.address.number, first.address.previous) != (before.number, before.previous)
    {
        let at = before.at as usize;
        return Err((segment - 1, at, "a record in the middle of the log fails its check"));
    }
    R::apply_summary(state, &head.summary);
    let mut tip =
        Tip { at: first.bytes() as u64, number: first.address.number + 1, previous: first.check };
    let (mut last, mut end) = (0, 0);
    while let Some(frame) = bytes.get(tip.at as usize..).and_then(frame::read) {
        let expected = FrameAddress { log, segment, number: tip.number, previous: tip.previous };
        let fits = frame.kind == FrameKind::Burst && frame.address == expected;
        if !fits {
            break;
        }
        let at = tip.at as usize;
        for record in read_records::<R>(frame.payload).ok_or((segment, at, UNREADABLE))? {
            end = end.max(R::end(&record));
            R::apply(state, &record);
        }
        last = at;
        tip = Tip {
            at: (at + frame.bytes()) as u64,
            number: frame.address.number + 1,
            previous: frame.check,
        };
    }
    let at = tip.at as usize;
    if find_frame(bytes, at, log, segment).is_some() {
        return Err((segment, at, "a record in the middle of the log fails its check"));
    }
    Ok(Walk { tip, last, end })
}
