//! Writes a log anew. That is needed where records replace each other, and dropping the
//! oldest segments does not make the log smaller.

use super::segment::{read_segment, walk};
use super::{COMPACT_SEGMENTS_MIN, Records, SegmentLog, frame, frame_bytes};
use crate::disk::Disk;
use std::io;

impl<D: Disk, R: Records> SegmentLog<D, R> {
    /// Writes the records that still count anew, and drops all segments before.
    pub(super) fn compact(&mut self) -> io::Result<()> {
        self.flush()?;
        let mut state = R::State::default();
        let mut chain = None;
        for segment in &self.segments {
            let (_, bytes) = read_segment::<R, D>(&self.disk, segment.number)?;
            let walk = walk::<R>(&bytes, self.log, segment.number, chain, &mut state)
                .map_err(|(_, _, what)| io::Error::other(what))?;
            chain = Some(walk.tip);
        }
        let kept = self.segments.front().map_or(0, |segment| segment.number);
        let first = self.newest().number + 1;
        self.begin_segment(kept, 0)?;
        let room = (self.options.segment_bytes / 4) as usize;
        let mut records = Vec::new();
        let mut bytes = 0;
        for (record, record_bytes) in R::survivors(&state) {
            bytes += record_bytes;
            records.push(record);
            if bytes > room {
                self.copy(&mut records, kept)?;
                bytes = 0;
            }
        }
        self.copy(&mut records, kept)?;
        self.begin_segment(first, 0)?;
        self.drop_below(first)?;
        self.compact_at = COMPACT_SEGMENTS_MIN.max(2 * self.segments.len());
        Ok(())
    }

    fn copy(&mut self, records: &mut Vec<R::Record>, kept: u64) -> io::Result<()> {
        let mut buffer = Vec::new();
        self.encode(&mut buffer, records)?;
        let bytes = frame_bytes(buffer.len() - frame::HEADER_BYTES);
        if self.tip.at + bytes as u64 > self.newest().length {
            self.begin_segment(kept, bytes)?;
        }
        self.write(&mut buffer, records)?;
        records.clear();
        self.flush()
    }
}
