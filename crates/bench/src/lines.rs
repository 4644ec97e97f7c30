//! The lines that a bench sends, and the check of the logs.
//!
//! A session's k-th line is k in decimal, filled up to the requested size ([`Text`]). So a
//! log can be checked to the byte although nothing that was sent is kept. For each session
//! the bench keeps one count, and one running hash of the slots that the session was told
//! ([`Told`]). These are enough to check every line of a log of any length.
//!
//! [`judge`] reads all logs together, in memory that depends only on the number of sessions.
//! The logs must be the same to the byte, and their slots must count from 0 without a gap. The
//! lines of a session must be exactly the completed ones, each once, in order, in the slots
//! that the session was told. (The load checks, as a line completes, that its slot is above
//! that of every line completed before it was sent.)

use multipaxos::types::Line;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// The bytes of each log that are in memory at a time.
const CHUNK_BYTES: usize = 1 << 18;

/// The digits of a line's number, if they fit.
const DIGITS: usize = 20;

/// The number of recent lines that are kept.
const LATELY: usize = 8;

/// Makes lines of one size.
#[derive(Debug, Clone)]
pub(super) struct Text {
    /// The text, in ASCII.
    text: Vec<u8>,
    digits: usize,
    /// Recent lines by number: most sessions send a line with about the same number.
    lately: [Option<(u64, Line)>; LATELY],
}

impl Text {
    pub(super) fn new(size: usize) -> Text {
        Text { text: vec![b'x'; size], digits: size.min(DIGITS), lately: Default::default() }
    }

    /// The `number`-th line. If the number does not fit, its first digits are cut off.
    pub(super) fn line(&mut self, number: u64) -> Line {
        let place = number as usize % LATELY;
        match &self.lately[place] {
            Some((made, line)) if *made == number => line.clone(),
            _ => {
                let line = Line::from(self.text_of(number));
                self.lately[place] = Some((number, line.clone()));
                line
            }
        }
    }

    fn text_of(&mut self, mut number: u64) -> &str {
        let mut shown = [b'0'; DIGITS];
        for digit in shown.iter_mut().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
        }
        self.text[..self.digits].copy_from_slice(&shown[DIGITS - self.digits..]);
        std::str::from_utf8(&self.text).expect("digits and x are ASCII")
    }
}

/// The answers to one session's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Told {
    /// The number of its completed lines.
    pub(super) lines: u64,
    /// A hash of their slots, in order.
    pub(super) slots: u64,
}

impl Told {
    pub(super) fn note(&mut self, slot: u64) {
        self.lines += 1;
        self.slots = (self.slots ^ slot).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    }
}

/// The contents of clean logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Summary {
    pub(super) lines: u64,
    pub(super) noops: u64,
    pub(super) bytes: u64,
}

/// Judges the logs. `told` has one row for each client id, from 0.
pub(super) fn judge(logs: &[PathBuf], size: usize, told: &[Told]) -> Result<Summary, String> {
    let unreadable = |path: &PathBuf, e: std::io::Error| format!("{}: {e}", path.display());
    let mut files = Vec::new();
    for path in logs {
        files.push((path, File::open(path).map_err(|e| unreadable(path, e))?));
    }
    let Some(((first, file), others)) = files.split_first_mut() else {
        return Err("no logs".into());
    };
    let (mut chunk, mut other) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let mut reader = Reader::new(size, told.len());
    loop {
        let length = fill(file, &mut chunk).map_err(|e| unreadable(first, e))?;
        for (path, file) in &mut *others {
            let found = fill(file, &mut other).map_err(|e| unreadable(path, e))?;
            if found != length || other[..found] != chunk[..length] {
                let same = chunk[..length].iter().zip(&other[..found]);
                let same = same.take_while(|(a, b)| a == b).count() as u64;
                let at = reader.summary.bytes + same;
                let (first, path) = (first.display(), path.display());
                return Err(format!("{first} and {path} differ at byte {at}"));
            }
        }
        if length == 0 {
            break;
        }
        reader.read(&chunk[..length])?;
    }
    reader.finish(told)
}

fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            more => filled += more,
        }
    }
    Ok(filled)
}

/// Reads one log in pieces.
struct Reader {
    text: Text,
    /// The beginning of a line whose end has not been read yet.
    partial: Vec<u8>,
    slot: u64,
    found: Vec<Told>,
    summary: Summary,
}

impl Reader {
    fn new(size: usize, clients: usize) -> Reader {
        Reader {
            text: Text::new(size),
            partial: Vec::new(),
            slot: 0,
            found: vec![Told::default(); clients],
            summary: Summary::default(),
        }
    }

    fn read(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        self.summary.bytes += bytes.len() as u64;
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            if self.partial.is_empty() {
                self.line(&bytes[..end])?;
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(&bytes[..end]);
                self.line(&line)?;
            }
            bytes = &bytes[end + 1..];
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        let slot = self.slot;
        let wrong = |what: &str| {
            let line = String::from_utf8_lossy(&line[..line.len().min(120)]);
            Err(format!("slot {slot}: {what}: {line:?}"))
        };
        let mut fields = line.splitn(4, |&b| b == b' ');
        let mut next = || fields.next().unwrap_or_default();
        let (shown, client, seq, text) = (next(), next(), next(), next());
        if number(shown) != Some(slot) {
            return wrong("slots do not count from 0 without a gap");
        }
        self.slot += 1;
        if (client, seq, text) == (b"-", b"-", b"NOP") {
            self.summary.noops += 1;
            return Ok(());
        }
        let found = number(client).and_then(|client| self.found.get_mut(client as usize));
        let Some(found) = found else { return wrong("of a client that sent nothing") };
        if number(seq) != Some(found.lines) {
            return wrong(&format!("not line {} of its client", found.lines));
        }
        if self.text.text_of(found.lines).as_bytes() != text {
            return wrong("not the line that was sent then");
        }
        found.note(slot);
        self.summary.lines += 1;
        Ok(())
    }

    fn finish(self, told: &[Told]) -> Result<Summary, String> {
        if !self.partial.is_empty() {
            return Err(format!("slot {}: the log ends inside a line", self.slot));
        }
        for (client, (told, found)) in told.iter().zip(&self.found).enumerate() {
            if told.lines != found.lines {
                let (told, found) = (told.lines, found.lines);
                return Err(format!("client {client}: {told} lines completed, {found} in the log"));
            }
            if told != found {
                return Err(format!(
                    "client {client}: a line has another slot than the client was told"
                ));
            }
        }
        Ok(self.summary)
    }
}

fn number(text: &[u8]) -> Option<u64> {
    let plain = !text.is_empty() && text.len() <= 19 && text.iter().all(u8::is_ascii_digit);
    plain.then(|| text.iter().fold(0, |n, digit| 10 * n + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of two clients with lines of 3 bytes in slots 0, 1 and 3, and a no-op in slot 2.
    fn log() -> (String, [Told; 2]) {
        let mut told = [Told::default(); 2];
        told[0].note(0);
        told[1].note(1);
        told[0].note(3);
        ("0 0 0 000\n1 1 0 000\n2 - - NOP\n3 0 1 001\n".into(), told)
    }

    fn judged(text: &str, told: &[Told]) -> Result<Summary, String> {
        let mut reader = Reader::new(3, told.len());
        // The pieces are shorter than any line.
        for piece in text.as_bytes().chunks(7) {
            reader.read(piece)?;
        }
        reader.finish(told)
    }

    #[test]
    fn a_clean_log_is_clean() {
        let (text, told) = log();
        let bytes = text.len() as u64;
        assert_eq!(judged(&text, &told), Ok(Summary { lines: 3, noops: 1, bytes }));
    }

    #[test]
    fn whatever_is_wrong_is_found() {
        let (text, told) = log();
        for (from, to) in [
            ("3 0 1 001\n", ""),                                  // lost
            ("3 0 1 001\n", "3 0 1 001\n4 0 2 002\n"),            // never sent, or twice
            ("3 0 1 001\n", "3 0 1 000\n"),                       // another text
            ("3 0 1 001\n", "4 0 1 001\n"),                       // a gap
            ("3 0 1 001\n", "3 0 2 001\n"),                       // misnumbered
            ("3 0 1 001\n", "3 0 1 001"),                         // torn
            ("1 1 0 000\n2 - - NOP\n", "1 - - NOP\n2 1 0 000\n"), // elsewhere
            ("1 1 0 000\n", "1 2 0 000\n"),                       // a stranger
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            assert!(judged(&changed, &told).is_err(), "{changed}");
        }
    }

    #[test]
    fn logs_that_differ_are_told_with_the_byte() {
        let dir = tempfile::tempdir().unwrap();
        let (text, told) = log();
        let paths: Vec<PathBuf> = (0..3).map(|n| dir.path().join(n.to_string())).collect();
        paths.iter().for_each(|path| std::fs::write(path, &text).unwrap());
        assert!(judge(&paths, 3, &told).is_ok());
        std::fs::write(&paths[2], &text[..20]).unwrap();
        assert!(judge(&paths, 3, &told).unwrap_err().ends_with("differ at byte 20"));
    }

    #[test]
    fn lines_have_the_size_asked_for_and_begin_with_their_number() {
        assert_eq!(&*Text::new(0).line(7), "");
        assert_eq!(&*Text::new(2).line(123), "23");
        assert_eq!(&*Text::new(22).line(5), "00000000000000000005xx");
    }
}
