//! The reasons why durable state cannot be used.

use std::fmt;
use std::io;

/// Why durable state cannot be opened. In every case its owner may have forgotten what it
/// has told others, and must not go on.
#[derive(Debug)]
pub enum OpenError {
    /// The file system refuses.
    Io(io::Error),
    /// A file that must be there is not.
    Missing {
        /// The file.
        file: String,
    },
    /// A file does not hold the bytes that were written to it.
    Damaged {
        /// The file.
        file: String,
        /// The offset of the first wrong byte, or of the record that has it.
        offset: u64,
        /// The fault, in words.
        what: &'static str,
    },
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        OpenError::Io(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Io(error) => write!(f, "{error}"),
            OpenError::Missing { file } => {
                write!(f, "{file} is missing: this replica refuses to start without it")
            }
            OpenError::Damaged { file, offset, what } => write!(
                f,
                "{file} is damaged at byte {offset}: {what}: this replica refuses to vote"
            ),
        }
    }
}

impl std::error::Error for OpenError {}
