//! What the contract demands of every line, in the shortest form that does it.
//!
//! With `--duties` the floor also does what no program that keeps the contract can leave
//! out, whatever its protocol:
//!
//! - a check over every frame, made by its sender and gone through by its receiver;
//! - of every line that comes in a datagram, that its length is as it says, and UTF-8;
//! - a look-up a line in a table of sessions, and its number compared with the next: at the
//!   leader before it gets a slot, and at every replica when it is applied;
//! - the chat log's line: slot, client and number in decimal, characters to escape looked
//!   for; the journal's entry, and a running hash over entry and line;
//! - at the client, that an answer is to the line in flight;
//! - if acceptors write, a check over what they write; and if they sync, a checkpoint every
//!   so many slots: chat log and journal synced beside the learner, then a file with all
//!   sessions put in the place of the one before.
//!
//! A line is laid out as [`Line`] says, since every one is as long: nothing is decoded.

use crossbeam_channel::{Sender, bounded};
use foldhash::fast::FixedState;
use multipaxos::values::COMMAND_BYTES;
use std::collections::HashMap;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Where in a line, and so in its answer, its session's number stands, the port to which it
/// is answered, and its own number in the session; and how long what is said is, which
/// stands behind all that.
const SESSION: Range<usize> = 0..8;
pub(crate) const PORT: Range<usize> = 8..10;
const SEQ: Range<usize> = 10..18;
const LENGTH: Range<usize> = COMMAND_BYTES - 4..COMMAND_BYTES;

/// The bytes of an entry in the journal.
pub(crate) const ENTRY_BYTES: usize = 40;

/// Of these, how many the running hash goes over.
const HASHED_BYTES: usize = 32;

/// How many lines' sessions are looked up at once.
pub(crate) const LOOK_AHEAD: usize = 16;

/// Where in a frame its check stands: behind its kind.
const CHECK: Range<usize> = 1..5;

/// As a learner has them: a checkpoint every so many slots, and more with many sessions.
const CHECKPOINT_SLOTS: u64 = 16_384;
const CHECKPOINT_SESSIONS: u64 = 1_024;
const CHECKPOINT_SESSIONS_SLOTS: u64 = 8_192;

/// What one session takes in a checkpoint.
const SESSION_BYTES: u64 = 40;

/// The first eight bytes.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes"))
}

/// One line with what a command has beside it.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a>(pub(crate) &'a [u8]);

impl Line<'_> {
    /// A line of `size` bytes that every session sends again and again.
    pub(crate) fn template(size: usize) -> Vec<u8> {
        let mut line = vec![b'x'; COMMAND_BYTES + size];
        line[LENGTH].copy_from_slice(&(size as u32).to_le_bytes());
        line
    }

    /// The same, as this session's `seq`th.
    pub(crate) fn write(lines: &mut Vec<u8>, template: &[u8], session: u64, port: u16, seq: u64) {
        lines.extend_from_slice(&session.to_le_bytes());
        lines.extend_from_slice(&port.to_le_bytes());
        lines.extend_from_slice(&seq.to_le_bytes());
        lines.extend_from_slice(&template[SEQ.end..]);
    }

    pub(crate) fn session(self) -> u64 {
        number(&self.0[SESSION])
    }

    pub(crate) fn seq(self) -> u64 {
        number(&self.0[SEQ])
    }
}

/// Puts a check into a frame.
pub(crate) fn seal(frame: &mut [u8]) {
    let check = crc32fast::hash(&frame[CHECK.end..]);
    frame[CHECK].copy_from_slice(&check.to_le_bytes());
}

/// The frame is as it was sent.
pub(crate) fn check_frame(frame: &[u8]) {
    assert_eq!(frame[CHECK], crc32fast::hash(&frame[CHECK.end..]).to_le_bytes(), "a frame's check");
}

/// Each of these lines of `item` bytes is one.
pub(crate) fn check_lines(lines: &[u8], item: usize) {
    for line in lines.chunks(item) {
        let said = u32::from_le_bytes(*line[LENGTH].first_chunk().expect("four bytes"));
        assert!(said as usize == line.len() - COMMAND_BYTES, "a line is as long as it says");
        let text = &line[COMMAND_BYTES..];
        assert!(text.is_ascii() || std::str::from_utf8(text).is_ok(), "a line is UTF-8");
    }
}

/// The sessions, and the number of each one's next line.
#[derive(Default)]
pub(crate) struct Sessions(HashMap<u64, u64, FixedState>);

impl Sessions {
    /// The line is its session's next.
    pub(crate) fn take(&mut self, line: Line<'_>) {
        let next = self.0.entry(line.session()).or_default();
        assert_eq!(line.seq(), *next, "session {}", line.session());
        *next += 1;
    }
}

/// What a learner does with a line, once it is decided.
#[derive(Default)]
pub(crate) struct Duties {
    sessions: Sessions,
    hash: u64,
}

impl Duties {
    /// Applies it, and adds it to chat log and journal.
    pub(crate) fn apply(
        &mut self,
        slot: u64,
        line: Line<'_>,
        text: &mut Vec<u8>,
        journal: &mut Vec<u8>,
    ) {
        self.sessions.take(line);
        let (from, said) = (text.len(), &line.0[COMMAND_BYTES..]);
        write_numbers(text, [slot, line.session(), line.seq()]);
        let escaped = |byte: &u8| *byte < 0x20 || matches!(*byte, 0x7F | 0xC2 | b'\\');
        assert!(!said.iter().fold(false, |found, byte| found | escaped(byte)), "plain text");
        text.extend_from_slice(said);
        text.push(b'\n');
        journal.extend_from_slice(&[0; ENTRY_BYTES]);
        let entry: &mut [u8; ENTRY_BYTES] = journal.last_chunk_mut().expect("so many were added");
        entry[..8].copy_from_slice(&(text.len() as u64).to_le_bytes());
        entry[8..HASHED_BYTES].copy_from_slice(&line.0[..HASHED_BYTES - 8]);
        let hash = xxh3_64_with_seed(&entry[..HASHED_BYTES], self.hash);
        self.hash = xxh3_64_with_seed(&text[from..], hash);
        entry[HASHED_BYTES..].copy_from_slice(&self.hash.to_le_bytes());
    }

    /// Looks up the sessions of lines of `item` bytes that are about to be applied.
    pub(crate) fn look_ahead(&self, lines: &[u8], item: usize) {
        let next = lines.chunks(item).filter_map(|line| self.sessions.0.get(&Line(line).session()));
        black_box(next.fold(0, |sum, next| sum ^ next));
    }

    fn checkpoint_slots(&self) -> u64 {
        let sessions = self.sessions.0.len() as u64;
        CHECKPOINT_SLOTS.max(sessions / CHECKPOINT_SESSIONS * CHECKPOINT_SESSIONS_SLOTS)
    }
}

/// Three numbers in decimal, a space behind each: made from the end.
fn write_numbers(text: &mut Vec<u8>, numbers: [u64; 3]) {
    let mut bytes = [b' '; 3 * 21];
    let mut first = bytes.len();
    for mut number in numbers.into_iter().rev() {
        first -= 1;
        while number >= 10 {
            first -= 2;
            bytes[first] = b'0' + (number / 10 % 10) as u8;
            bytes[first + 1] = b'0' + (number % 10) as u8;
            number /= 100;
        }
        if number > 0 || bytes[first] == b' ' {
            first -= 1;
            bytes[first] = b'0' + number as u8;
        }
    }
    text.extend_from_slice(&bytes[first..]);
}

/// Makes checkpoints beside the learner, each replica's in other slots.
pub(crate) struct Checkpoints {
    id: u64,
    last: u64,
    to_thread: Sender<u64>,
}

impl Checkpoints {
    /// Of replica `id`, whose chat log and journal these are.
    pub(crate) fn start(
        dir: String,
        id: usize,
        text: Arc<File>,
        journal: Arc<File>,
    ) -> Checkpoints {
        // One may wait while one is made: who is faster waits.
        let (to_thread, asked) = bounded::<u64>(0);
        let (new, named) = (format!("{dir}/new{id}"), format!("{dir}/checkpoint{id}"));
        thread::spawn(move || {
            for sessions in asked {
                let make = || {
                    text.sync_data()?;
                    journal.sync_data()?;
                    let mut file = File::create(&new)?;
                    file.write_all(&vec![0; (sessions * SESSION_BYTES) as usize])?;
                    file.sync_all()?;
                    fs::rename(&new, &named)?;
                    File::open(&dir)?.sync_all()
                };
                make().expect("a checkpoint is made");
            }
        });
        Checkpoints { id: id as u64, last: 0, to_thread }
    }

    /// Whether one is due, with so many lines applied.
    pub(crate) fn is_due(&self, duties: &Duties, applied: u64) -> bool {
        let step = duties.checkpoint_slots();
        let phase = step * self.id / 3;
        applied >= (self.last + step - phase) / step * step + phase
    }

    /// Makes one, of files that are written; waits until the one before is made.
    pub(crate) fn make(&mut self, duties: &Duties, applied: u64) {
        self.last = applied;
        self.to_thread.send(duties.sessions.0.len() as u64).expect("its thread goes on");
    }
}
