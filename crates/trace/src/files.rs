//! The files of a trace, sorted by process and life.
//!
//! A file is one of a trace by what it begins with, whatever its name is. A life of a process has
//! one file, or two if the first became full; each begins with a header that says whose it is. What
//! is behind a block that cannot be read is left out: a killed process may have been writing.

use multipaxos::config::cause;
use multipaxos::runtime::trace::block::{MAGIC, Sealed, Stream, Word};
use multipaxos::runtime::trace::lists::Lists;
use multipaxos::runtime::trace::{Header, Who};
use multipaxos::types::Time;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The bytes of files that begin as traces do.
#[derive(Debug, Default)]
pub struct Files(Vec<(PathBuf, Vec<u8>)>);

/// One life of a process.
#[derive(Debug)]
pub struct Life<'a> {
    /// Its newest header.
    pub header: Header,
    /// Its files, oldest first.
    pub files: Vec<&'a Path>,
    /// Its blocks, by role and in order.
    pub blocks: Vec<Sealed<'a>>,
    /// The lists of bytes that its records name.
    pub lists: Lists,
    /// When it ended, if it has said so.
    pub end: Option<Time>,
    /// What is wrong with its files.
    pub notes: Vec<String>,
}

impl fmt::Display for Life<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.header.who, self.name())
    }
}

impl Life<'_> {
    /// Whose it is.
    pub fn who(&self) -> Who {
        self.header.who
    }

    /// The name of its newest file.
    pub fn name(&self) -> String {
        let name = self.files.last().and_then(|file| file.file_name());
        name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// The blocks of a role, in order.
    pub fn of(&self, stream: Stream) -> impl Iterator<Item = Sealed<'_>> {
        self.blocks.iter().copied().filter(move |block| block.stream == stream)
    }
}

impl Files {
    /// Reads the traces in these folders and files.
    ///
    /// # Errors
    ///
    /// What cannot be read, or that there is no trace.
    pub fn read(places: &[PathBuf]) -> Result<Files, String> {
        let mut files = Files::default();
        for place in places {
            let failed = |error: std::io::Error| format!("{}: {}", place.display(), cause(&error));
            if !place.is_dir() {
                let bytes = fs::read(place).map_err(failed)?;
                if !bytes.starts_with(&MAGIC) {
                    let why = "no trace of this build (see --trace of replica and client)";
                    return Err(format!("{}: {why}", place.display()));
                }
                files.0.push((place.clone(), bytes));
                continue;
            }
            for entry in fs::read_dir(place).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                if path.is_file() && begins_as_trace(&path) {
                    let bytes = fs::read(&path);
                    let bytes = bytes.map_err(|e| format!("{}: {}", path.display(), cause(&e)))?;
                    files.0.push((path, bytes));
                }
            }
        }
        if files.0.is_empty() {
            let places: Vec<String> = places.iter().map(|it| it.display().to_string()).collect();
            let places = places.join(", ");
            return Err(format!("{places}: no trace (see --trace of replica, client and driver)"));
        }
        files.0.sort();
        Ok(files)
    }

    /// Files that were read already.
    pub fn of(files: Vec<(PathBuf, Vec<u8>)>) -> Files {
        Files(files)
    }

    /// The lives, by process and in the order in which they began, and what is wrong with files
    /// that belong to none.
    pub fn lives(&self) -> (Vec<Life<'_>>, Vec<String>) {
        let (mut lives, mut lost): (Vec<Life<'_>>, Vec<String>) = (Vec::new(), Vec::new());
        for file in &self.0 {
            match read_file(file) {
                Ok(life) => lives.push(life),
                Err(note) => lost.push(note),
            }
        }
        let key = |life: &Life<'_>| {
            let Header { who, boot, file, wall_us, .. } = &life.header;
            (*who, *wall_us, boot.0, *file)
        };
        lives.sort_by_key(key);
        let mut joined: Vec<Life<'_>> = Vec::new();
        for life in lives {
            match joined.last_mut() {
                Some(last) if last.who() == life.who() && last.header.boot == life.header.boot => {
                    last.join(life);
                }
                _ => joined.push(life),
            }
        }
        for Life { blocks, lists, .. } in &mut joined {
            blocks.sort_by_key(|it| (it.stream, it.number));
            blocks.iter().for_each(|block| lists.add(block.lists()));
        }
        (joined, lost)
    }
}

impl<'a> Life<'a> {
    fn join(&mut self, later: Life<'a>) {
        let Life { header, files, blocks, end, notes, .. } = later;
        self.header = header;
        self.files.extend(files);
        self.blocks.extend(blocks);
        self.end = self.end.or(end);
        self.notes.extend(notes);
    }
}

fn begins_as_trace(path: &Path) -> bool {
    use std::io::Read as _;
    let mut head = [0; MAGIC.len()];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == MAGIC
}

fn read_file((path, bytes): &(PathBuf, Vec<u8>)) -> Result<Life<'_>, String> {
    let shown = path.display();
    let (mut header, mut end) = (None, None);
    let (mut blocks, mut notes, mut rest) = (Vec::new(), Vec::new(), bytes.as_slice());
    loop {
        match Sealed::first(rest) {
            Ok(None) => break,
            Ok(Some((block, behind))) => {
                rest = behind;
                match (block.stream, block.only()) {
                    (Stream::Process, Ok(Word::Header(said))) => header = Some(said),
                    (Stream::Process, Ok(Word::End(at))) => end = Some(at),
                    (Stream::Process, Err(why)) => notes.push(format!("{shown}: a word: {why}")),
                    _ => blocks.push(block),
                }
            }
            Err(why) => {
                let (at, left) = (bytes.len() - rest.len(), rest.len());
                notes.push(format!(
                    "{shown}: the block at byte {at}: {why}: the last {left} bytes are left out"
                ));
                break;
            }
        }
    }
    let header = header.ok_or_else(|| format!("{shown}: its header cannot be read"))?;
    let lists = Lists::default();
    Ok(Life { header, files: vec![path], blocks, lists, end, notes })
}
