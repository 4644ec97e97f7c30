//! Stdin and stdout that wait.
//!
//! A process shares the descriptions of its stdin and stdout with others, and one of those may
//! have made them non-blocking: some shells, `ssh`, programs on an event loop. A read or a write
//! then fails where it should wait. Here it waits. A write that waits for a reader also looks
//! whether the process should end: a signal must end a program whose output nobody takes.

use crate::ending::Ending;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::termios::{LocalModes, tcgetattr};
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

/// How long a write waits before it looks whether the process should end.
const LOOK: Duration = Duration::from_millis(100);

/// A pipe that has room for anything takes this many bytes without a wait.
const ATOMIC_BYTES: usize = 4_096;

/// The longest line that a terminal passes on whole is shorter than this: it cuts a longer one
/// without a word. (`N_TTY_BUF_SIZE` of Linux, less the line feed.)
const TERMINAL_LINE_BYTES: usize = 4_095;

/// Input that waits.
#[derive(Debug)]
pub struct Input<F>(pub F);

impl<F: AsFd> Read for Input<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.0, &mut *into) {
                Ok(count) => return Ok(count),
                Err(Errno::AGAIN) => drop(is_ready(self.0.as_fd(), PollFlags::IN, None)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Output that waits. Nothing is kept back: each write is at least one system call.
#[derive(Debug)]
pub struct Output<F> {
    to: F,
    ending: Ending,
}

impl<F: AsFd> Output<F> {
    /// Output that waits until the process is about to end. Then it gives up with
    /// [`ErrorKind::TimedOut`].
    pub fn new(to: F, ending: Ending) -> Self {
        Output { to, ending }
    }
}

impl<F: AsFd> Output<F> {
    /// Whether its reader has gone, so that a write would fail.
    pub fn has_lost_reader(&self) -> bool {
        is_ready(self.to.as_fd(), PollFlags::empty(), Some(Duration::ZERO))
    }
}

impl<F: AsFd> Write for Output<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(ATOMIC_BYTES)];
        loop {
            if !is_ready(self.to.as_fd(), PollFlags::OUT, Some(LOOK)) {
                if self.ending.is_due() {
                    return Err(io::Error::new(ErrorKind::TimedOut, "nobody reads it"));
                }
                continue;
            }
            match rustix::io::write(&self.to, bytes) {
                Ok(count) => return Ok(count),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until a read or a write would not wait, or for so long. Returns whether it would not.
fn is_ready(fd: BorrowedFd<'_>, what: PollFlags, wait: Option<Duration>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, what)];
    let wait = wait.map(|wait| Timespec::try_from(wait).unwrap_or_default());
    poll(&mut fds, wait.as_ref()).is_ok_and(|ready| ready > 0)
}

/// From this length on, a line that is typed at this terminal may have been cut. None if it is
/// no terminal, or passes on each key.
pub fn cut_from(fd: impl AsFd) -> Option<usize> {
    let modes = tcgetattr(fd).ok()?;
    modes.local_modes.contains(LocalModes::ICANON).then_some(TERMINAL_LINE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{OFlags, fcntl_setfl};
    use std::fs;
    use std::io::{BufRead, BufReader, pipe};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    /// Fills a pipe, and returns how much it holds.
    fn fill(writer: &mut io::PipeWriter) -> usize {
        let mut held = 0;
        while is_ready(writer.as_fd(), PollFlags::OUT, Some(Duration::ZERO)) {
            held += writer.write(&[b'.'; ATOMIC_BYTES]).unwrap();
        }
        held
    }

    #[test]
    fn a_read_waits_although_the_descriptor_is_non_blocking() {
        let (reader, mut writer) = pipe().unwrap();
        fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
        let reading = thread::spawn(move || {
            BufReader::new(Input(reader)).lines().collect::<Result<Vec<_>, _>>().unwrap()
        });
        // Whether the read comes first or the write: both are read in the end.
        writer.write_all(b"one\ntw").unwrap();
        thread::yield_now();
        writer.write_all(b"o\n").unwrap();
        drop(writer);
        assert_eq!(reading.join().unwrap(), ["one", "two"]);
    }

    #[test]
    fn a_write_waits_although_the_descriptor_is_non_blocking() {
        for flags in [OFlags::NONBLOCK, OFlags::empty()] {
            let (mut reader, mut writer) = pipe().unwrap();
            fill(&mut writer);
            fcntl_setfl(&writer, flags).unwrap();
            let mut output = Output::new(writer, Ending::when(Arc::default()));
            let text = vec![b'x'; 100_000];
            let writing = thread::spawn(move || output.write_all(&text));
            let mut found = Vec::new();
            reader.read_to_end(&mut found).unwrap();
            writing.join().unwrap().unwrap();
            assert_eq!(found.iter().filter(|&&byte| byte == b'x').count(), 100_000);
        }
    }

    #[test]
    fn a_signal_ends_a_write_that_waits_and_a_reader_that_has_gone_does_too() {
        let (reader, mut writer) = pipe().unwrap();
        fill(&mut writer);
        let due = Arc::new(AtomicBool::new(true));
        let mut output = Output::new(writer, Ending::when(Arc::clone(&due)));
        assert_eq!(output.write_all(b"x").unwrap_err().kind(), ErrorKind::TimedOut);
        due.store(false, Ordering::Relaxed);
        drop(reader);
        assert_eq!(output.write_all(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_reader_that_has_gone_is_noticed_without_a_write() {
        let (reader, mut writer) = pipe().unwrap();
        fill(&mut writer);
        let output = Output::new(writer, Ending::when(Arc::default()));
        assert!(!output.has_lost_reader(), "it is only slow");
        drop(reader);
        assert!(output.has_lost_reader());
        let file = fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
        assert!(!Output::new(file, Ending::when(Arc::default())).has_lost_reader());
    }

    #[test]
    fn a_pipe_cuts_nothing() {
        assert_eq!(cut_from(pipe().unwrap().0), None);
    }
}
