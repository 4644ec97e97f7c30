//! A log of records that survives a power cut.
//!
//! A log is a row of segments, files of one size whose blocks are allocated before they are
//! needed. One burst of records is one frame (`frame`), written in one call and made durable
//! by one sync; the next frame is not begun before that. So **at most one frame is unsynced
//! at any time** (D1), and everything below follows:
//!
//! ```text
//! log-0000000000000007                   log-0000000000000008 (newest)
//! +------+-------+-------+----+------+   +------+-------+-------+-------------+
//! | head | burst | burst | .. | free |   | head | burst | burst | zeros, or   |
//! +------+-------+-------+----+------+   +------+-------+-------+ an earlier  |
//!    ^______|_______|          ^____________|                   | use's bytes |
//!     each names the check of the one before                    +-------------+
//! ```
//!
//! - A *head* repeats the log's summary ([`Records::Summary`]) and names the oldest segment
//!   that still counts. It is durable, and its file's name too, before a burst follows.
//!   Segments below the oldest are dropped after that; one of them is kept as the spare that
//!   becomes the next segment.
//! - *A torn end*: a last frame that is incomplete or fails its check was torn by a crash
//!   (D2). It was never acknowledged, and opening cuts it off. A frame that fails anywhere
//!   else is damage, and the log refuses to open. It is not the last frame if a valid frame
//!   of the same segment follows, or if the head of the next segment names another check
//!   for the frame before. (Alagappan et al., *Protocol-Aware Recovery*, FAST '18, §3.3.) A
//!   segment whose head was never finished does not count as a segment.
//! - *Bytes behind the end* never come back: opening fills the rest of the newest segment
//!   with zeros, and bytes of an earlier use carry another address.
//! - *Opening* writes the last frame again and syncs every segment before it returns. A
//!   killed process may have left bytes that only the page cache holds, and after a failed
//!   sync the page cache may wrongly take bytes for durable. By the rule above both can be
//!   true of the last frame only.
//! - *A failed call* of any kind poisons the log: every later one fails, and nothing
//!   is ever tried again.
//! - *Bounded*: segments are dropped, oldest first, once all their records have ended
//!   ([`Records::end`]). Where that does not help, because records replace each other, the
//!   log is written anew when it has doubled.
//!
//! **Does not** tell a flipped bit in the very last frame from a torn write (it is cut),
//! notice a log that was replaced whole by an older copy of itself, or repair damage.

mod compact;
mod frame;
mod records;
mod segment;

pub use frame::{HEADER_BYTES, SECTOR_BYTES};
pub use records::Records;
pub use segment::is_log_file;

use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use frame::{FrameAddress, FrameKind, frame_bytes};
use segment::{Tip, damaged, head_at, name, number_of, read_segment, spare, walk};
use std::collections::VecDeque;
use std::io;

/// The default length of a segment.
pub const SEGMENT_BYTES: u64 = 4 << 20;

/// The log is not written anew before it has this many segments.
const COMPACT_SEGMENTS_MIN: usize = 32;

/// How a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The length of a segment. A longer burst gets a segment of its own length.
    pub segment_bytes: u64,
    /// Whether a sync waits for the disk. If not, records survive a killed process, but a
    /// power cut only once the log has been closed.
    pub waits: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { segment_bytes: SEGMENT_BYTES, waits: true }
    }
}

#[derive(Debug)]
struct Segment {
    number: u64,
    /// The highest [`Records::end`] of its records.
    end: u64,
    length: u64,
}

/// A log of records on a disk.
#[derive(Debug)]
pub struct SegmentLog<D: Disk, R: Records> {
    disk: D,
    log: u64,
    options: Options,
    /// The segments that count, oldest first. The last one is being written.
    segments: VecDeque<Segment>,
    file: D::File,
    tip: Tip,
    summary: R::Summary,
    has_spare: bool,
    frame: Vec<u8>,
    unsynced: bool,
    failed: bool,
    compact_at: usize,
}

impl<D: Disk, R: Records> SegmentLog<D, R> {
    /// Begins an empty log with this id, and removes the files of an earlier log.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn create(disk: D, log: u64, options: Options) -> io::Result<Self> {
        for name in disk.list()?.iter().filter(|name| is_log_file::<R>(name)) {
            disk.remove(name)?;
        }
        let file = disk.create(&name::<R>(0))?;
        let mut log = Self::unopened(disk, log, options, file);
        log.begin_segment(0, 0)?;
        Ok(log)
    }

    fn unopened(disk: D, log: u64, options: Options, file: D::File) -> Self {
        SegmentLog {
            disk,
            log,
            options,
            segments: VecDeque::new(),
            file,
            tip: Tip { at: 0, number: 0, previous: 0 },
            summary: R::Summary::default(),
            has_spare: false,
            frame: Vec::new(),
            unsynced: false,
            failed: false,
            compact_at: COMPACT_SEGMENTS_MIN,
        }
    }

    /// Opens the log with this id, and returns the state that its records add up to. On
    /// return all of that is durable.
    ///
    /// # Errors
    ///
    /// When the log cannot be read, is not there, or is damaged before its last frame.
    pub fn open(disk: D, log: u64, options: Options) -> Result<(Self, R::State), OpenError> {
        let names = disk.list()?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of::<R>(name)).collect();
        let missing = |number| OpenError::Missing { file: disk.describe(&name::<R>(number)) };
        let Some(&newest) = numbers.last() else { return Err(missing(0)) };
        let mut head = head_at::<R, D>(&disk, log, newest)?;
        if head.is_none() && numbers.len() > 1 {
            // Its head was never finished, so the segment before is still the newest.
            disk.remove(&name::<R>(newest))?;
            disk.sync_dir()?;
            numbers.pop();
            head = head_at::<R, D>(&disk, log, numbers[numbers.len() - 1])?;
        }
        let newest = numbers[numbers.len() - 1];
        let Some(head) = head else {
            let what = "its first record fails its check";
            return Err(damaged::<R>(&disk, newest, 0, what));
        };
        let mut state = R::State::default();
        let mut segments = VecDeque::new();
        let mut chain: Option<Tip> = None;
        let mut tail = (0, Vec::new());
        for number in head.oldest..=newest {
            if numbers.binary_search(&number).is_err() {
                return Err(missing(number));
            }
            let (file, bytes) = read_segment::<R, D>(&disk, number)?;
            let walk = walk::<R>(&bytes, log, number, chain, &mut state);
            let walk =
                walk.map_err(|(segment, at, what)| damaged::<R>(&disk, segment, at, what))?;
            if options.waits {
                file.sync()?;
            }
            let length = bytes.len() as u64;
            segments.push_back(Segment { number, end: walk.end, length });
            chain = Some(walk.tip);
            tail = (walk.last, bytes);
        }
        let Some(tip) = chain else { return Err(missing(newest)) };
        let file = disk.open(&name::<R>(newest))?.ok_or_else(|| missing(newest))?;
        let mut opened = Self::unopened(disk, log, options, file);
        (opened.segments, opened.tip) = (segments, tip);
        opened.summary = R::summary(&state);
        opened.seal_tail(tail.0, tail.1)?;
        opened.tidy(&names, head.oldest)?;
        Ok((opened, state))
    }

    /// How many segments count. The spare does not.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    fn newest(&self) -> &Segment {
        self.segments.back().expect("a log has a newest segment")
    }

    /// Writes the last frame of the newest segment again, and zeros behind it.
    fn seal_tail(&mut self, last: usize, mut bytes: Vec<u8>) -> io::Result<()> {
        let end = self.tip.at as usize;
        bytes.truncate(end);
        let length = self.newest().length.max(self.options.segment_bytes).max(end as u64);
        bytes.resize(length as usize, 0);
        self.file.write_at(last as u64, &bytes[last..])?;
        self.segments.back_mut().expect("a log has a newest segment").length = length;
        self.file.sync()?;
        self.disk.sync_dir()
    }

    /// Drops segments that an earlier life meant to drop.
    fn tidy(&mut self, names: &[String], oldest: u64) -> io::Result<()> {
        self.has_spare = names.iter().any(|name| *name == spare::<R>());
        for number in names.iter().filter_map(|name| number_of::<R>(name)) {
            if number < oldest {
                self.disk.remove(&name::<R>(number))?;
            }
        }
        Ok(())
    }

    /// Begins the next segment, with room for a burst of `bytes` bytes.
    fn begin_segment(&mut self, oldest: u64, bytes: usize) -> io::Result<()> {
        self.flush()?;
        let number = self.segments.back().map_or(0, |segment| segment.number + 1);
        let mut buffer = Vec::new();
        frame::begin(&mut buffer);
        R::write_head(&self.summary, oldest, &mut buffer)?;
        let Tip { number: frame, previous, .. } = self.tip;
        let address = FrameAddress { log: self.log, segment: number, number: frame, previous };
        let check = frame::seal(&mut buffer, FrameKind::Head, address);
        let length = self.options.segment_bytes.max((buffer.len() + bytes) as u64);
        self.file = self.segment_file(number, length)?;
        self.file.write_at(0, &buffer)?;
        if self.options.waits {
            self.file.sync()?;
            self.disk.sync_dir()?;
        }
        self.tip = Tip { at: buffer.len() as u64, number: frame + 1, previous: check };
        self.segments.push_back(Segment { number, end: 0, length });
        Ok(())
    }

    /// The file of a new segment: the spare, renamed, or a new file.
    fn segment_file(&mut self, number: u64, length: u64) -> io::Result<D::File> {
        let name = name::<R>(number);
        if self.has_spare && length == self.options.segment_bytes {
            self.has_spare = false;
            self.disk.rename(&spare::<R>(), &name)?;
            if let Some(file) = self.disk.open(&name)?
                && file.length()? == length
            {
                return Ok(file);
            }
        }
        let file = self.disk.create(&name)?;
        file.preallocate(length)?;
        Ok(file)
    }

    /// The newest segment is full: begins the next, and drops segments that nothing needs
    /// any more.
    fn rotate(&mut self, bytes: usize) -> io::Result<()> {
        if self.segments.len() >= self.compact_at {
            self.compact()?;
        }
        let obsolete_to = R::obsolete_to(&self.summary);
        let needed = |segment: &&Segment| segment.end > obsolete_to;
        let next = self.newest().number + 1;
        let oldest = self.segments.iter().find(needed).map_or(next, |segment| segment.number);
        self.begin_segment(oldest, bytes)?;
        self.drop_below(oldest)
    }

    fn drop_below(&mut self, oldest: u64) -> io::Result<()> {
        while self.segments.front().is_some_and(|segment| segment.number < oldest)
            && let Some(segment) = self.segments.pop_front()
        {
            if !self.has_spare && segment.length == self.options.segment_bytes {
                self.disk.rename(&name::<R>(segment.number), &spare::<R>())?;
                self.has_spare = true;
            } else {
                self.disk.remove(&name::<R>(segment.number))?;
            }
        }
        Ok(())
    }

    fn encode(&self, into: &mut Vec<u8>, records: &[R::Record]) -> io::Result<()> {
        frame::begin(into);
        records.iter().try_for_each(|record| R::write_record(record, into))
    }

    /// Writes a begun frame. The segment has room for it.
    fn write(&mut self, frame: &mut Vec<u8>, records: &[R::Record]) -> io::Result<()> {
        assert!(!self.unsynced, "at most one frame is unsynced at any time");
        let Tip { at, number, previous } = self.tip;
        let segment = self.newest().number;
        let address = FrameAddress { log: self.log, segment, number, previous };
        let check = frame::seal(frame, FrameKind::Burst, address);
        self.file.write_at(at, frame)?;
        self.unsynced = true;
        self.tip = Tip { at: at + frame.len() as u64, number: number + 1, previous: check };
        let newest = self.segments.back_mut().expect("a log has a newest segment");
        for record in records {
            newest.end = newest.end.max(R::end(record));
            R::summarise(&mut self.summary, record);
        }
        Ok(())
    }

    fn write_burst(&mut self, records: &[R::Record]) -> io::Result<()> {
        self.flush()?;
        let mut buffer = std::mem::take(&mut self.frame);
        self.encode(&mut buffer, records)?;
        let bytes = frame_bytes(buffer.len() - frame::HEADER_BYTES);
        if self.tip.at + bytes as u64 > self.newest().length {
            self.rotate(bytes)?;
        }
        self.write(&mut buffer, records)?;
        self.frame = buffer;
        Ok(())
    }

    /// Makes the frame that is not durable yet, if there is one, durable.
    fn flush(&mut self) -> io::Result<()> {
        if self.unsynced && self.options.waits {
            self.file.sync()?;
        }
        self.unsynced = false;
        Ok(())
    }

    /// Runs a call, unless one has failed before.
    fn guarded(&mut self, call: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier call to the log has failed"));
        }
        // This stays set if the call fails or panics.
        self.failed = true;
        call(self)?;
        self.failed = false;
        Ok(())
    }

    /// Appends a burst of records. It is durable once [`SegmentLog::sync`] has returned.
    ///
    /// # Errors
    ///
    /// What the file system says, now or at any call before.
    pub fn append_burst(&mut self, records: &[R::Record]) -> io::Result<()> {
        self.guarded(|log| log.write_burst(records))
    }

    /// Makes all appended records durable.
    ///
    /// # Errors
    ///
    /// What the file system says, now or at any call before.
    pub fn sync(&mut self) -> io::Result<()> {
        self.guarded(Self::flush)
    }

    /// Makes everything durable, also records for which no sync waited. Those may be in any
    /// segment, written in this life or in an earlier one that was killed.
    ///
    /// # Errors
    ///
    /// What the file system says, now or at any call before.
    pub fn close(mut self) -> io::Result<()> {
        self.guarded(|log| {
            log.flush()?;
            if log.options.waits {
                return Ok(());
            }
            for segment in &log.segments {
                let name = name::<R>(segment.number);
                let gone = || io::Error::other(format!("{} has gone", log.disk.describe(&name)));
                log.disk.open(&name)?.ok_or_else(gone)?.sync()?;
            }
            log.disk.sync_dir()
        })
    }
}
