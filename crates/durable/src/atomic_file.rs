//! Small files that are replaced whole: after a crash a file has the old contents or the
//! new ones, never a mixture.
//!
//! ```text
//!  0  magic  8  the kind of file, and the version of its format
//!  8  check  8  xxh3 of the contents, seeded with the magic, little endian
//! 16  contents
//! ```
//!
//! A file is written under another name, synced and renamed; then the directory is synced. A
//! large one is written in pieces ([`Replacement`]), and its header last.

use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use std::fmt;
use std::io;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

const HEADER_BYTES: usize = 16;

/// The kind of a file, and the version of its format.
pub type Magic = [u8; 8];

/// The name under which a file is written before it takes its own.
pub fn temporary(name: &str) -> String {
    format!("{name}.tmp")
}

fn check(magic: Magic, contents: &[u8]) -> u64 {
    xxh3_64_with_seed(contents, u64::from_le_bytes(magic))
}

/// Replaces the contents of the file `name`. If `waits`, they are durable on return.
pub fn replace<D: Disk>(
    disk: &D,
    name: &str,
    magic: Magic,
    contents: &[u8],
    waits: bool,
) -> io::Result<()> {
    let mut replacement = Replacement::begin(disk, name, magic)?;
    replacement.append(contents)?;
    replacement.finish(disk, waits)
}

/// New contents of a file, while they are written. Nobody sees them before they are whole.
pub struct Replacement<F> {
    name: String,
    magic: Magic,
    file: F,
    /// How far the file is written.
    length: u64,
    check: Box<Xxh3>,
}

impl<F> fmt::Debug for Replacement<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Replacement { name, length, .. } = self;
        f.debug_struct("Replacement")
            .field("name", name)
            .field("length", length)
            .finish_non_exhaustive()
    }
}

impl<F: DiskFile> Replacement<F> {
    /// Begins new contents of the file `name`. Of several that are begun, only the last may be
    /// finished.
    pub fn begin<D: Disk<File = F>>(disk: &D, name: &str, magic: Magic) -> io::Result<Self> {
        let file = disk.create(&temporary(name))?;
        let check = Box::new(Xxh3::with_seed(u64::from_le_bytes(magic)));
        Ok(Replacement { name: name.to_owned(), magic, file, length: HEADER_BYTES as u64, check })
    }

    /// Writes the next bytes. Waits for no disk.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(self.length, bytes)?;
        self.length += bytes.len() as u64;
        self.check.update(bytes);
        Ok(())
    }

    /// The contents are whole, and become those of the file. If `waits`, they are durable on
    /// return.
    pub fn finish<D: Disk<File = F>>(self, disk: &D, waits: bool) -> io::Result<()> {
        let header = [self.magic, self.check.digest().to_le_bytes()].concat();
        self.file.write_at(0, &header)?;
        if waits {
            self.file.sync()?;
        }
        disk.rename(&temporary(&self.name), &self.name)?;
        if waits { disk.sync_dir() } else { Ok(()) }
    }
}

/// The contents of the file `name`; none if there is no such file.
pub fn read<D: Disk>(disk: &D, name: &str, magic: Magic) -> Result<Option<Vec<u8>>, OpenError> {
    Ok(read_any(disk, name, &[magic])?.map(|(_, contents)| contents))
}

/// The same of a file that is of one of these kinds and versions; and of which.
pub fn read_any<D: Disk>(
    disk: &D,
    name: &str,
    magics: &[Magic],
) -> Result<Option<(Magic, Vec<u8>)>, OpenError> {
    let Some(file) = disk.open(name)? else { return Ok(None) };
    let damaged = |offset, what| OpenError::Damaged { file: disk.describe(name), offset, what };
    let mut bytes = vec![0; file.length()? as usize];
    file.read_at(0, &mut bytes)?;
    let begins_with = |magic: &&Magic| bytes.len() >= HEADER_BYTES && bytes[..8] == **magic;
    let Some(magic) = magics.iter().find(begins_with).copied() else {
        return Err(damaged(0, "not a file of this kind and version"));
    };
    let contents = bytes.split_off(HEADER_BYTES);
    if bytes[8..] != check(magic, &contents).to_le_bytes() {
        return Err(damaged(8, "its check is wrong"));
    }
    Ok(Some((magic, contents)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim_disk::SimDisk;

    const MAGIC: Magic = *b"a file01";

    fn disk() -> SimDisk {
        SimDisk::new(fastrand::Rng::with_seed(1))
    }

    #[test]
    fn a_file_is_read_back_and_any_flipped_bit_of_it_is_refused() {
        let disk = disk();
        assert_eq!(read(&disk, "a", MAGIC).unwrap(), None);
        for contents in [&b""[..], b"contents"] {
            replace(&disk, "a", MAGIC, contents, true).unwrap();
            assert_eq!(read(&disk, "a", MAGIC).unwrap().as_deref(), Some(contents));
            assert!(read(&disk, "a", *b"a file02").is_err());
            for byte in 0..HEADER_BYTES + contents.len() {
                disk.flip_bit("a", byte, 3);
                assert!(read(&disk, "a", MAGIC).is_err(), "byte {byte}");
                disk.flip_bit("a", byte, 3);
            }
        }
    }

    #[test]
    fn a_file_of_one_of_several_versions_is_read_and_says_which_it_is() {
        let (disk, next) = (disk(), *b"a file02");
        for magic in [MAGIC, next] {
            replace(&disk, "a", magic, b"contents", true).unwrap();
            let found = read_any(&disk, "a", &[MAGIC, next]).unwrap();
            assert_eq!(found, Some((magic, b"contents".to_vec())));
        }
        assert!(read_any(&disk, "a", &[MAGIC]).is_err());
    }

    #[test]
    fn a_file_that_is_too_short_is_refused() {
        let disk = disk();
        replace(&disk, "a", MAGIC, b"", true).unwrap();
        let file = disk.open("a").unwrap().unwrap();
        for length in (0..HEADER_BYTES).rev() {
            file.set_length(length as u64).unwrap();
            assert!(read(&disk, "a", MAGIC).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn contents_that_are_written_in_pieces_are_seen_when_they_are_whole() {
        let disk = disk();
        replace(&disk, "a", MAGIC, b"old", true).unwrap();
        for pieces in [&[][..], &[&b"whole"[..]], &[b"in ", b"", b"pieces"]] {
            // One that is given up changes nothing.
            Replacement::begin(&disk, "a", MAGIC).unwrap().append(b"given up, and longer").unwrap();
            let mut replacement = Replacement::begin(&disk, "a", MAGIC).unwrap();
            let before = read(&disk, "a", MAGIC).unwrap();
            for piece in pieces {
                replacement.append(piece).unwrap();
                assert_eq!(read(&disk, "a", MAGIC).unwrap(), before);
            }
            replacement.finish(&disk, true).unwrap();
            assert_eq!(read(&disk, "a", MAGIC).unwrap(), Some(pieces.concat()));
        }
    }

    #[test]
    fn each_file_is_written_under_a_name_that_is_no_other_files() {
        assert_eq!(temporary("a"), "a.tmp");
    }
}
