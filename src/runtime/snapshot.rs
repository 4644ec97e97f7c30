//! `client --snapshot FILE`: a copy of the chat log from a cluster that runs, whole and durable.
//!
//! First the leader is asked how far it has applied the log: the copy goes at least so far, and so it
//! has every line that this leader has called complete. The lines come from whichever replicas
//! answer, as `client --history` prints them. A new cluster can begin with the copy
//! (`replica --begin_from`).
//!
//! **Guarantees.** FILE is what it was, or a whole copy: lines go to a file beside it, which is
//! synced, read again as a replica would read it, and only then renamed, durably. Before that, all
//! replicas that answer are asked for the running hashes of their logs (S11): while a log differs
//! from another one, nobody knows which is right, so there is no copy.
//!
//! **Does not** ask a quorum whether that leader still leads. In the moment of an election one that
//! does not know yet that it was replaced may lack the newest lines. **Does not** copy sessions or a state machine: see docs/operations.md.

use super::ask::{self, Asked};
use super::client::ClientOptions;
use super::follow::{How, Reader, read};
use super::process::{Clock, LOOK};
use crate::config::cause;
use crate::follow::{Lines, Order};
use crate::storage::beginning;
use crate::survey::report::Fault;
use crate::types::{Origin, ReplicaId, Slot};
use command_line::ending::Ending;
use command_line::{EXIT_FAILED, say};
use interleavings::threads::bounded;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process;

/// Makes the copy. Returns the exit code: 0 if FILE is a whole copy, 1 if it is what it was before.
///
/// # Errors
///
/// When FILE cannot be written, or the socket or a thread cannot be had.
pub fn run(options: &ClientOptions, ending: &Ending, file: &Path) -> io::Result<i32> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("--snapshot {}: {}", file.display(), cause(&error)))
    };
    let mut copy = Copy::begin(file).map_err(named)?;
    // A replica that is down holds nobody up for as long as the whole copy may take.
    let briefly = ClientOptions { timeout_us: None, ..options.clone() };
    let Some(end) = leaders_end(&briefly, options.timeout_us, ending)? else {
        return Ok(EXIT_FAILED);
    };
    copy.end = end;
    let (from, ends) = (Slot::ZERO, end == Slot::ZERO);
    let order = Order { from, ends, reads: false, timeout_us: options.timeout_us };
    match read(options, ending, order, &mut copy)? {
        How::AllRead => {}
        How::NotWanted if copy.is_long_enough() => {}
        How::NotWanted | How::Signal => return Ok(EXIT_FAILED),
        How::Failed(why) => {
            say(why);
            return Ok(EXIT_FAILED);
        }
    }
    let Some(Asked { report, .. }) = ask::run(&briefly, ending)? else { return Ok(EXIT_FAILED) };
    if let Some(differs) = report.faults.iter().find(|fault| matches!(fault, Fault::Differs(_))) {
        say(format!("{differs}: no copy is made: compare the chat logs before anything else"));
        return Ok(EXIT_FAILED);
    }
    let origin = match copy.check().map_err(named)? {
        Ok(origin) => origin,
        Err(why) => {
            say(format!("--snapshot {}: {why}: no copy is made", file.display()));
            return Ok(EXIT_FAILED);
        }
    };
    copy.finish().map_err(named)?;
    let compared = report.rows.iter().filter(|row| row.hash.is_some()).count();
    let said = format!(
        "{}: {origin}, {} bytes; {compared} replicas have the same log below slot {}\n",
        file.display(),
        origin.bytes,
        report.below
    );
    // The copy is there, whether somebody reads this or not.
    let _ = io::stdout().write_all(said.as_bytes());
    Ok(0)
}

/// How far the leader has applied the log. Asks until a quorum hears one; `None` if a signal comes
/// first, or if the time is over.
fn leaders_end(
    options: &ClientOptions,
    timeout_us: Option<u64>,
    ending: &Ending,
) -> io::Result<Option<Slot>> {
    let (clock, mut has_said) = (Clock::start(), false);
    let (_nobody, nothing) = bounded::<()>(1);
    loop {
        let Some(Asked { report, .. }) = ask::run(options, ending)? else { return Ok(None) };
        let status = |id: ReplicaId| report.rows[id.index()].status.as_ref();
        if let Some(leader) = report.leads().and_then(status) {
            return Ok(Some(leader.applied));
        }
        if timeout_us.is_some_and(|limit| clock.now().0 >= limit) {
            say("no replica leads: gives up; no copy is made");
            return Ok(None);
        }
        if !std::mem::replace(&mut has_said, true) {
            say("no replica leads: still trying");
        }
        let _ = nothing.recv_timeout(LOOK);
    }
}

/// A file that is written beside another one, and takes its place in the end. Otherwise it is
/// removed.
struct Copy {
    file: File,
    beside: PathBuf,
    name: PathBuf,
    /// It must have every slot below this.
    end: Slot,
    /// It has every slot below this.
    next: Slot,
}

impl Copy {
    fn begin(name: &Path) -> io::Result<Copy> {
        let last = name.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_string_lossy();
        let beside = name.with_file_name(format!(".{last}.{}", process::id()));
        if name.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let file = File::options().write(true).create_new(true).open(&beside)?;
        let (name, end, next) = (name.to_owned(), Slot::ZERO, Slot::ZERO);
        Ok(Copy { file, beside, name, end, next })
    }

    fn is_long_enough(&self) -> bool {
        self.next >= self.end
    }

    /// Makes durable what is written, and reads it as a replica that begins with it.
    fn check(&self) -> io::Result<Result<Origin, String>> {
        self.file.sync_all()?;
        let written = BufReader::new(File::open(&self.beside)?);
        match beginning::read(written, |_| Ok(())) {
            Ok(origin) => Ok(Ok(origin)),
            Err(beginning::Unfit::Unreadable(error)) => Err(error),
            Err(beginning::Unfit::Empty) => Ok(Err("the log is empty".into())),
            Err(beginning::Unfit::Line(line, what)) => {
                Ok(Err(format!("line {line} of what the replicas have sent: {what}")))
            }
        }
    }

    /// Puts it in the place of the other one.
    fn finish(self) -> io::Result<()> {
        fs::rename(&self.beside, &self.name)?;
        let folder = self.name.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // It is gone already if it has another name by now.
        let _ = fs::remove_file(&self.beside);
    }
}

impl Reader for Copy {
    fn take(&mut self, lines: Lines) -> io::Result<bool> {
        self.file.write_all(&lines.text)?;
        let count = lines.text.iter().filter(|byte| **byte == b'\n').count();
        self.next = lines.first.plus(count as u64);
        Ok(!self.is_long_enough() || self.end == Slot::ZERO)
    }

    fn tell(&mut self, text: &str) {
        say(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("listed");
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.expect("an entry").file_name().to_string_lossy().into_owned()
        };
        let mut all: Vec<String> = entries.map(name).collect();
        all.sort();
        all
    }

    fn lines(text: &str) -> Lines {
        Lines { first: Slot::ZERO, text: text.into() }
    }

    #[test]
    fn a_whole_copy_takes_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = folder.path().join("copy.txt");
        fs::write(&name, "old").expect("written");
        let mut copy = Copy::begin(&name).expect("begun");
        assert!(copy.take(lines("0 7 0 a\n1 - - NOP\n")).expect("written"));
        let origin = copy.check().expect("read").expect("whole");
        assert_eq!((origin.end, origin.bytes), (Slot(2), 18));
        assert_eq!(fs::read_to_string(&name).expect("there"), "old", "not yet");
        copy.finish().expect("renamed");
        assert_eq!(fs::read_to_string(&name).expect("there"), "0 7 0 a\n1 - - NOP\n");
        assert_eq!(files(folder.path()), ["copy.txt"]);
    }

    #[test]
    fn what_is_no_whole_log_leaves_the_copy_before_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = folder.path().join("copy.txt");
        fs::write(&name, "old").expect("written");
        for (text, why) in [
            ("", "the log is empty"),
            ("0 7 0 a\n2 7 1 b\n", "line 2 of what the replicas have sent: slot 2 stands here"),
            ("0 7 0 a", "line 1 of what the replicas have sent: the file ends within this line"),
        ] {
            let mut copy = Copy::begin(&name).expect("begun");
            copy.take(lines(text)).expect("written");
            let said = copy.check().expect("read").expect_err("no whole log");
            assert!(said.starts_with(why), "{said}");
            drop(copy);
            assert_eq!(fs::read_to_string(&name).expect("there"), "old");
            assert_eq!(files(folder.path()), ["copy.txt"]);
        }
        assert!(Copy::begin(folder.path()).is_err(), "a folder");
        assert!(Copy::begin(&folder.path().join("none/copy.txt")).is_err(), "no folder");
    }
}
