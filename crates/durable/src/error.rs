//! Why durable state cannot be used.

use std::fmt;
use std::io;

/// Why a part of a data directory cannot be opened. In every case the replica must
/// not vote: it may have forgotten what it promised.
#[derive(Debug)]
pub enum OpenError {
    /// The file system refuses.
    Io(io::Error),
    /// A file that must be there is not.
    Missing {
        /// Which.
        file: String,
    },
    /// What stands there is not what was written.
    Damaged {
        /// In which file.
        file: String,
        /// From which byte on.
        offset: u64,
        /// What is wrong.
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
