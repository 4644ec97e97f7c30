//! Small files that are replaced whole: after a crash a file has the old contents or the
//! new ones, never a mixture.
//!
//! ```text
//!  0  magic  8  the kind of file, and the version of its format
//!  8  check  8  xxh3 of the contents, seeded with the magic, little endian
//! 16  contents
//! ```
//!
//! A file is written under another name, synced and renamed; then the directory is synced.

use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use std::io;
use xxhash_rust::xxh3::xxh3_64_with_seed;

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
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&check(magic, contents).to_le_bytes());
    bytes.extend_from_slice(contents);
    let written = temporary(name);
    let file = disk.create(&written)?;
    file.write_at(0, &bytes)?;
    if waits {
        file.sync()?;
    }
    disk.rename(&written, name)?;
    if waits { disk.sync_dir() } else { Ok(()) }
}

/// The contents of the file `name`; none if there is no such file.
pub fn read<D: Disk>(disk: &D, name: &str, magic: Magic) -> Result<Option<Vec<u8>>, OpenError> {
    let Some(file) = disk.open(name)? else { return Ok(None) };
    let damaged = |offset, what| OpenError::Damaged { file: disk.describe(name), offset, what };
    let mut bytes = vec![0; file.length()? as usize];
    file.read_at(0, &mut bytes)?;
    if bytes.len() < HEADER_BYTES || bytes[..8] != magic {
        return Err(damaged(0, "not a file of this kind and version"));
    }
    let contents = bytes.split_off(HEADER_BYTES);
    if bytes[8..] != check(magic, &contents).to_le_bytes() {
        return Err(damaged(8, "its check is wrong"));
    }
    Ok(Some(contents))
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
    fn each_file_is_written_under_a_name_that_is_no_other_files() {
        assert_eq!(temporary("a"), "a.tmp");
    }
}
