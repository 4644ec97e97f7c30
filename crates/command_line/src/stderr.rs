//! The way to stderr, which holds nobody up.
//!
//! Whoever reads stderr may stop: a pager that waits for a key, a terminal after Ctrl-S, a
//! collector that hangs. A plain write would then wait as long, and with it the role that
//! logs and the end of the process. Here a line that stderr does not take at once is dropped.
//! The next line that it takes is preceded by one that says how many are missing. Whoever ends
//! the process waits up to [`LAST_WORDS_MAX`] for its last line.
//!
//! A process shares the description of stderr with others, its shell included, so that may
//! not become non-blocking. A pipe or a terminal is opened once more, for this process alone.
//! A socket takes the wish with each call. A file takes everything at once. Where nothing
//! else is possible, this asks before each write whether there is room.
//!
//! One mutex guards all of this. Whoever holds it waits only to say last words, or what
//! [`crate::say`] says.

use crate::stamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::{Errno, write};
use rustix::net::{SendFlags, send};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the last line of a process may wait for room.
pub(crate) const LAST_WORDS_MAX: Duration = Duration::from_millis(100);

/// A pipe that has room for anything takes this many bytes without a wait.
const ATOMIC_BYTES: usize = 4_096;

/// Stderr of this process.
static STDERR: Mutex<Option<Outlet<io::Stderr>>> = Mutex::new(None);

/// Writes a line, which has its line feed. Waits for room for at most this long.
pub(crate) fn put(line: &[u8], patience: Duration) {
    with(|stderr| stderr.put(line, patience));
}

/// Until the process ends, each line that is logged may wait for room. For its last words.
pub(crate) fn be_patient() {
    with(|stderr| stderr.patience = LAST_WORDS_MAX);
}

fn with(call: impl FnOnce(&mut Outlet<io::Stderr>)) {
    let mut stderr: MutexGuard<'_, _> = STDERR.lock().unwrap_or_else(PoisonError::into_inner);
    call(stderr.get_or_insert_with(|| Outlet::new(io::stderr())));
}

/// How a descriptor is written to without a wait.
#[derive(Debug)]
enum Way {
    /// It never waits for a reader.
    File,
    /// Through a description of its own, which is non-blocking.
    Own(OwnedFd),
    Socket,
    /// By asking first. Another process may take the room in between.
    Asking,
}

/// Lines on their way to a descriptor.
#[derive(Debug)]
struct Outlet<F> {
    to: F,
    way: Way,
    /// The reader took a part of a line; this is the rest.
    rest: Vec<u8>,
    /// How many lines were dropped since one was taken.
    dropped: u64,
    /// How long each line may wait, whoever writes it.
    patience: Duration,
}

impl<F: AsFd> Outlet<F> {
    fn new(to: F) -> Self {
        let way = way_to(to.as_fd());
        Outlet { to, way, rest: Vec::new(), dropped: 0, patience: Duration::ZERO }
    }

    fn put(&mut self, line: &[u8], patience: Duration) {
        let end = Instant::now() + patience.max(self.patience);
        if !self.put_in_order(line, end) {
            self.dropped += 1;
        }
    }

    /// Returns whether the line was taken.
    fn put_in_order(&mut self, line: &[u8], end: Instant) -> bool {
        let rest = std::mem::take(&mut self.rest);
        let taken = self.push(&rest, end);
        if taken < rest.len() {
            self.rest = rest[taken..].to_vec();
            return false;
        }
        if self.dropped > 0 {
            let said = missing(self.dropped);
            if !self.take(said.as_bytes(), end) {
                return false;
            }
            self.dropped = 0;
        }
        self.rest.is_empty() && self.take(line, end)
    }

    /// Returns whether a part of the line was taken. The rest goes before anything else.
    fn take(&mut self, line: &[u8], end: Instant) -> bool {
        let taken = self.push(line, end);
        if taken > 0 {
            self.rest = line[taken..].to_vec();
        }
        taken > 0
    }

    /// Writes as many bytes as there is room for until `end`, and returns how many that were.
    /// A line that no reader can get any more counts as written.
    fn push(&self, bytes: &[u8], end: Instant) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            match self.write(&bytes[taken..]) {
                Ok(count) if count > 0 => taken += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return taken;
                    }
                    has_room(self.to.as_fd(), left);
                }
                // There is no reader, or the disk is full. No later line says more.
                Ok(_) | Err(_) => return bytes.len(),
            }
        }
        taken
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match &self.way {
            Way::File => write(&self.to, bytes),
            Way::Own(own) => write(own, bytes),
            Way::Socket => send(&self.to, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Way::Asking if has_room(self.to.as_fd(), Duration::ZERO) => {
                write(&self.to, &bytes[..bytes.len().min(ATOMIC_BYTES)])
            }
            Way::Asking => Err(Errno::AGAIN),
        }
    }
}

/// The line that stands where others are missing.
fn missing(count: u64) -> String {
    let (noun, are) = if count == 1 { ("line", "is") } else { ("lines", "are") };
    format!("{} [WARN] {count} {noun} {are} missing here: stderr was full\n", stamp::now())
}

fn way_to(fd: BorrowedFd<'_>) -> Way {
    let Ok(stat) = fstat(fd) else { return Way::Asking };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Way::File,
        FileType::Socket => Way::Socket,
        _ => {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            open(path, flags, Mode::empty()).map_or(Way::Asking, Way::Own)
        }
    }
}

/// Waits until a write would find room, or for so long. Whether it would, or would fail.
fn has_room(fd: BorrowedFd<'_>, wait: Duration) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    let wait = Timespec::try_from(wait).unwrap_or_default();
    // A signal ends the wait early, and the caller looks again.
    poll(&mut fds, Some(&wait)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, Read, Write, pipe};

    /// A pipe that takes nothing more, and what it holds.
    fn full_pipe() -> (PipeReader, Outlet<io::PipeWriter>, usize) {
        let (reader, mut writer) = pipe().unwrap();
        let mut held = 0;
        while has_room(writer.as_fd(), Duration::ZERO) {
            held += writer.write(&[b'.'; ATOMIC_BYTES]).unwrap();
        }
        (reader, Outlet::new(writer), held)
    }

    fn read(reader: &mut PipeReader, bytes: usize) -> String {
        let mut found = vec![0; bytes];
        reader.read_exact(&mut found).unwrap();
        String::from_utf8(found).unwrap()
    }

    #[track_caller]
    fn check(way: Option<Way>) {
        let (mut reader, mut outlet, held) = full_pipe();
        assert!(matches!(outlet.way, Way::Own(_)));
        if let Some(way) = way {
            outlet.way = way;
        }
        for _ in 0..3 {
            outlet.put(b"dropped\n", Duration::ZERO);
        }
        assert_eq!(outlet.dropped, 3);
        read(&mut reader, held);
        outlet.put(b"first\n", Duration::ZERO);
        outlet.put(b"second\n", Duration::ZERO);
        drop(outlet);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        let (missing, lines) = said.split_once('\n').unwrap();
        assert!(missing.ends_with("[WARN] 3 lines are missing here: stderr was full"), "{said}");
        assert_eq!(lines, "first\nsecond\n");
    }

    #[test]
    fn a_full_pipe_holds_nobody_up_and_the_lines_that_are_missing_are_counted() {
        check(None);
        check(Some(Way::Asking));
    }

    #[test]
    fn a_line_that_was_taken_in_part_is_completed_before_anything_else() {
        let (mut reader, mut outlet, held) = full_pipe();
        // Longer than a write that a pipe takes whole or not at all.
        let long = [&[b'x'; 3 * ATOMIC_BYTES][..], b"\n"].concat();
        read(&mut reader, 2 * ATOMIC_BYTES);
        outlet.put(&long, Duration::ZERO);
        outlet.put(b"dropped\n", Duration::ZERO);
        assert_eq!((outlet.rest.len(), outlet.dropped), (ATOMIC_BYTES + 1, 1));
        read(&mut reader, held - 2 * ATOMIC_BYTES);
        outlet.put(b"next\n", Duration::ZERO);
        drop(outlet);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!((lines.len(), lines[0].len(), lines[2]), (3, long.len() - 1, "next"));
        assert!(lines[1].ends_with("1 line is missing here: stderr was full"), "{}", lines[1]);
    }

    #[test]
    fn a_last_line_waits_for_room_and_not_for_ever() {
        let (mut reader, mut outlet, held) = full_pipe();
        outlet.patience = LAST_WORDS_MAX;
        let began = Instant::now();
        outlet.put(b"nobody reads\n", Duration::ZERO);
        assert!(began.elapsed() >= LAST_WORDS_MAX && outlet.dropped == 1);
        let reading = std::thread::spawn(move || {
            read(&mut reader, held);
            reader
        });
        outlet.put(b"ends\n", Duration::from_secs(60));
        drop(outlet);
        let mut said = String::new();
        reading.join().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.ends_with("\nends\n"), "{said}");
    }

    #[test]
    fn a_socket_and_a_closed_pipe_hold_nobody_up() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut outlet = Outlet::new(ours);
        assert!(matches!(outlet.way, Way::Socket));
        while outlet.dropped == 0 {
            outlet.put(&[b'x'; ATOMIC_BYTES], Duration::ZERO);
        }
        drop(theirs);
        let (reader, writer) = pipe().unwrap();
        let mut outlet = Outlet::new(writer);
        drop(reader);
        outlet.put(b"nobody reads\n", Duration::from_secs(60));
        assert_eq!(outlet.dropped, 0);
    }
}
