//! The interface through which logs use a file system.
//!
//! All durable state goes through [`Disk`], so the same code runs on a real directory and
//! on the simulated disk, where every single call can be the last before the power fails.
//! Callers may rely on this:
//!
//! - Written bytes are durable once [`DiskFile::sync`] has succeeded, and so is the file's
//!   length. Before that, any part of them may survive or not.
//! - A name (made, renamed, removed) is durable once [`Disk::sync_dir`] has succeeded.
//! - A rename replaces the file that had the name, at once: after a crash one of the two
//!   files has it.
//! - A sync that failed says nothing at all, and a second try says nothing either: the
//!   system may have dropped the pages that it could not write (Rebello et al., *Can
//!   Applications Recover from fsync Failures?*, ATC '20). Bytes that must be relied on
//!   afterwards have to be written again.
//!
//! [`RealDisk`] names the file in every error. The caller decides what the error means.

use super::background::Executor;
use rustix::fs::{FallocateFlags, FlockOperation};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How many zeros are written at a time into a new file.
const ZEROS_BYTES: usize = 1 << 20;

/// Tells a file from every other that is there at the same time, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    /// The device.
    pub device: u64,
    /// The file's number on it.
    pub inode: u64,
}

/// What a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The file.
    pub id: FileId,
    /// Its length.
    pub length: u64,
}

/// One directory of a file system.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Runs disk work in the background.
    const BACKGROUND: Executor;

    /// Opens a file for reading and writing; none if no file has this name.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn open(&self, name: &str) -> io::Result<Option<Self::File>>;

    /// Opens an empty file for reading and writing. A file that had the name is emptied.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name. A file that had the name before is gone.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// What this name leads to now; none if no file has it. Opens nothing.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn look(&self, name: &str) -> io::Result<Option<Seen>>;

    /// The names of all files, ascending.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes all names durable.
    ///
    /// # Errors
    ///
    /// When that is not certain.
    fn sync_dir(&self) -> io::Result<()>;

    /// A file's name in messages to people.
    fn describe(&self, name: &str) -> String;
}

/// An open file. Offsets and lengths are in bytes.
pub trait DiskFile: Send + Sync + 'static {
    /// Which file it is.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn id(&self) -> io::Result<FileId>;

    /// How long it is.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn length(&self) -> io::Result<u64>;

    /// Fills `bytes` from offset `at` on.
    ///
    /// # Errors
    ///
    /// What the file system says; `UnexpectedEof` if the file ends too early.
    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` from offset `at` on; the file grows if need be.
    ///
    /// # Errors
    ///
    /// What the file system says; a part may have been written.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file, or lengthens it with zeros.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Fills a new file with `length` zeros, so that its blocks on the disk are allocated
    /// before the first write to them.
    ///
    /// # Errors
    ///
    /// What the file system says, above all that it is full.
    fn preallocate(&self, length: u64) -> io::Result<()>;

    /// Makes contents and length durable.
    ///
    /// # Errors
    ///
    /// When that is not certain. A second try says nothing: its success must not be believed.
    fn sync(&self) -> io::Result<()>;

    /// Locks the file against other processes for as long as it is open. False if another
    /// process has locked it.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn try_lock(&self) -> io::Result<bool>;
}

/// A directory of the operating system.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    dir: File,
}

/// A file of the operating system.
#[derive(Debug)]
pub struct RealFile {
    path: PathBuf,
    file: File,
}

/// An error of a file system that lacks a call which durable state needs, as network and
/// shared folders may. Its kind is `Unsupported`, whatever the file system calls it.
fn lacking(path: &Path, what: &str, error: &io::Error) -> io::Error {
    use rustix::io::Errno;
    let says_so = [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS, Errno::NOLCK, Errno::BADF];
    if !Errno::from_io_error(error).is_some_and(|code| says_so.contains(&code)) {
        return named(path, error);
    }
    let (path, error) = (path.display(), error.to_string());
    let error = error.split(" (os error ").next().unwrap_or_default();
    let said = format!(
        "{path}: its file system cannot {what} ({error}), as some network and shared folders \
         cannot: use a folder on a local disk"
    );
    io::Error::new(io::ErrorKind::Unsupported, said)
}

/// Makes the names in a directory durable.
fn sync_names(path: &Path, dir: &File) -> io::Result<()> {
    dir.sync_all().map_err(|error| lacking(path, "sync a folder", &error))
}

/// The same error, with the file that it is about.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl RealDisk {
    /// The directory at `root`. It is made, durably, if it is missing, and so are the
    /// directories above it.
    ///
    /// # Errors
    ///
    /// When it cannot be made or opened.
    pub fn open(root: &Path) -> io::Result<Self> {
        make_directory(root)?;
        let dir = File::open(root).map_err(|error| named(root, &error))?;
        Ok(RealDisk { root: root.to_owned(), dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn file(&self, name: &str, options: &OpenOptions) -> io::Result<RealFile> {
        let path = self.path(name);
        match options.open(&path) {
            Ok(file) => Ok(RealFile { path, file }),
            Err(error) => Err(named(&path, &error)),
        }
    }
}

/// Makes the directory `path` and the missing directories above it, and syncs their names.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    make_directory(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(named(path, &error));
        }
        _ => {}
    }
    let dir = File::open(parent).map_err(|error| named(parent, &error))?;
    sync_names(parent, &dir)
}

impl Disk for RealDisk {
    type File = RealFile;
    const BACKGROUND: Executor = Executor::Thread;

    fn open(&self, name: &str) -> io::Result<Option<RealFile>> {
        match self.file(name, OpenOptions::new().read(true).write(true)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, name: &str) -> io::Result<RealFile> {
        self.file(name, OpenOptions::new().read(true).write(true).create(true).truncate(true))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let from = self.path(from);
        fs::rename(&from, self.path(to)).map_err(|error| named(&from, &error))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path(name);
        fs::remove_file(&path).map_err(|error| named(&path, &error))
    }

    fn look(&self, name: &str) -> io::Result<Option<Seen>> {
        let path = self.path(name);
        match fs::metadata(&path) {
            Ok(meta) => Ok(Some(Seen { id: file_id(&meta), length: meta.len() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(named(&path, &error)),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.root).map_err(|error| named(&self.root, &error))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| named(&self.root, &error))?;
            // No file of ours has a name that is not UTF-8.
            names.extend(entry.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        sync_names(&self.root, &self.dir)
    }

    fn describe(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

impl RealFile {
    fn told<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| named(&self.path, &error))
    }
}

fn file_id(meta: &fs::Metadata) -> FileId {
    FileId { device: meta.dev(), inode: meta.ino() }
}

impl DiskFile for RealFile {
    fn id(&self) -> io::Result<FileId> {
        self.told(self.file.metadata()).map(|meta| file_id(&meta))
    }

    fn length(&self) -> io::Result<u64> {
        self.told(self.file.metadata()).map(|meta| meta.len())
    }

    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.told(self.file.read_exact_at(bytes, at))
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.told(self.file.write_all_at(bytes, at))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.told(self.file.set_len(length))
    }

    /// When a block that was only reserved is first written, the next sync also writes to the
    /// file system's own log. So this really writes the zeros.
    fn preallocate(&self, length: u64) -> io::Result<()> {
        use rustix::io::Errno;
        // Reserves all blocks at once. A file system that cannot do that, whatever it calls
        // it, still gets the zeros.
        let reserved = rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, length);
        if let Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO)) = reserved {
            return self.told(Err(error.into()));
        }
        let zeros = vec![0; ZEROS_BYTES];
        let mut at = 0;
        while at < length {
            let part = usize::try_from(length - at).map_or(ZEROS_BYTES, |n| n.min(ZEROS_BYTES));
            self.write_at(at, &zeros[..part])?;
            at += part as u64;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.told(self.file.sync_data())
    }

    fn try_lock(&self) -> io::Result<bool> {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(lacking(&self.path, "lock a file", &error.into())),
        }
    }
}
