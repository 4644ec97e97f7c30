//! The work that the contract demands for every line, in its shortest form.
//!
//! With `--duties` the floor also does the work that the contract demands of a program with
//! any protocol:
//!
//! - the sender computes a check over every frame, and the receiver verifies it;
//! - the receiver verifies that each line in a datagram has the length it claims, and is UTF-8;
//! - the leader looks up a line's session and compares the line's number with the session's
//!   next before it assigns a slot, and every replica does so again when it applies the line;
//! - every replica writes the line to the chat log, with slot, client and number in decimal,
//!   and looks for characters to escape; it writes an entry to the journal, and keeps a
//!   running hash over both;
//! - the client compares each answer with the line in flight;
//! - if acceptors write, they add a check to each write. If they sync, every replica also makes
//!   a checkpoint every few thousand slots: a thread syncs chat log and journal, and replaces
//!   the file that holds all sessions.
//!
//! All lines have the same length, so [`Line`] finds its fields without decoding.

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

/// The places of the fields in a line and in its answer: the session's number, the port that
/// gets the answer, the line's number in the session, and the length of the text. The text
/// comes last.
const SESSION: Range<usize> = 0..8;
pub(crate) const PORT: Range<usize> = 8..10;
const SEQ: Range<usize> = 10..18;
const LENGTH: Range<usize> = COMMAND_BYTES - 4..COMMAND_BYTES;

/// The bytes of an entry in the journal.
pub(crate) const ENTRY_BYTES: usize = 40;

/// The number of these bytes that the running hash covers.
const HASHED_BYTES: usize = 32;

/// The number of lines whose sessions are looked up together.
pub(crate) const LOOK_AHEAD: usize = 16;

/// The place of the check in a frame, after the kind.
const CHECK: Range<usize> = 1..5;

/// The slots between two checkpoints: as in a learner, but without its upper bound when there
/// are many sessions.
const CHECKPOINT_SLOTS: u64 = 16_384;
const CHECKPOINT_SESSIONS: u64 = 1_024;
const CHECKPOINT_SESSIONS_SLOTS: u64 = 8_192;

/// The bytes of one session in a checkpoint.
const SESSION_BYTES: u64 = 40;

/// The number in the first eight bytes.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes"))
}

/// One line, with the fields of its command.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a>(pub(crate) &'a [u8]);

impl Line<'_> {
    /// A line of `size` bytes that every session sends again and again.
    pub(crate) fn template(size: usize) -> Vec<u8> {
        let mut line = vec![b'x'; COMMAND_BYTES + size];
        line[LENGTH].copy_from_slice(&(size as u32).to_le_bytes());
        line
    }

    /// Writes the template as this session's `seq`-th line.
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

/// Writes the check of a frame.
pub(crate) fn seal(frame: &mut [u8]) {
    let check = crc32fast::hash(&frame[CHECK.end..]);
    frame[CHECK].copy_from_slice(&check.to_le_bytes());
}

/// Asserts that the frame arrived as it was sent.
pub(crate) fn check_frame(frame: &[u8]) {
    assert_eq!(frame[CHECK], crc32fast::hash(&frame[CHECK.end..]).to_le_bytes(), "a frame's check");
}

/// Asserts that every `item` bytes are a well-formed line.
pub(crate) fn check_lines(lines: &[u8], item: usize) {
    for line in lines.chunks(item) {
        let said = u32::from_le_bytes(*line[LENGTH].first_chunk().expect("four bytes"));
        assert!(said as usize == line.len() - COMMAND_BYTES, "a line is as long as it says");
        let text = &line[COMMAND_BYTES..];
        assert!(text.is_ascii() || std::str::from_utf8(text).is_ok(), "a line is UTF-8");
    }
}

/// The number of each session's next line.
#[derive(Default)]
pub(crate) struct Sessions(HashMap<u64, u64, FixedState>);

impl Sessions {
    /// Asserts that the line is its session's next, and counts it.
    pub(crate) fn take(&mut self, line: Line<'_>) {
        let next = self.0.entry(line.session()).or_default();
        assert_eq!(line.seq(), *next, "session {}", line.session());
        *next += 1;
    }
}

/// The state of a learner that applies decided lines.
#[derive(Default)]
pub(crate) struct Duties {
    sessions: Sessions,
    hash: u64,
}

impl Duties {
    /// Applies the line, and adds it to chat log and journal.
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
        let entry: &mut [u8; ENTRY_BYTES] = journal.last_chunk_mut().expect("an entry was added");
        entry[..8].copy_from_slice(&(text.len() as u64).to_le_bytes());
        entry[8..HASHED_BYTES].copy_from_slice(&line.0[..HASHED_BYTES - 8]);
        let hash = xxh3_64_with_seed(&entry[..HASHED_BYTES], self.hash);
        self.hash = xxh3_64_with_seed(&text[from..], hash);
        entry[HASHED_BYTES..].copy_from_slice(&self.hash.to_le_bytes());
    }

    /// Looks up the sessions of lines of `item` bytes before they are applied.
    pub(crate) fn look_ahead(&self, lines: &[u8], item: usize) {
        let next = lines.chunks(item).filter_map(|line| self.sessions.0.get(&Line(line).session()));
        black_box(next.fold(0, |sum, next| sum ^ next));
    }

    fn checkpoint_slots(&self) -> u64 {
        let sessions = self.sessions.0.len() as u64;
        CHECKPOINT_SLOTS.max(sessions / CHECKPOINT_SESSIONS * CHECKPOINT_SESSIONS_SLOTS)
    }
}

/// Writes three decimal numbers with a space after each, from the last digit to the first.
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

/// Makes checkpoints in a thread of its own. Each replica makes them at other slots.
pub(crate) struct Checkpoints {
    id: u64,
    last: u64,
    to_thread: Sender<u64>,
}

impl Checkpoints {
    /// Starts the thread for replica `id`, with its chat log and journal.
    pub(crate) fn start(
        dir: String,
        id: usize,
        text: Arc<File>,
        journal: Arc<File>,
    ) -> Checkpoints {
        // The channel holds no request: a learner that is faster than the disk must wait.
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

    /// Whether a checkpoint is due after `applied` lines.
    pub(crate) fn is_due(&self, duties: &Duties, applied: u64) -> bool {
        let step = duties.checkpoint_slots();
        let phase = step * self.id / 3;
        applied >= (self.last + step - phase) / step * step + phase
    }

    /// Requests a checkpoint. The files are written already. Waits until the checkpoint before
    /// is made.
    pub(crate) fn make(&mut self, duties: &Duties, applied: u64) {
        self.last = applied;
        self.to_thread.send(duties.sessions.0.len() as u64).expect("its thread goes on");
    }
}
