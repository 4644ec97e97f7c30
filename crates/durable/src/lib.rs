//! Files and logs that survive a power cut.
//!
//! - [`disk`]: what a log needs of a file system, and a real one.
//! - [`sim_disk`]: a disk in memory that loses its power, tears, fails and fills.
//! - [`atomic_file`]: small files that are replaced whole.
//! - [`background`]: work on the disk that its thread does not wait for.
//! - [`segment_log`]: a log of records in segments.
//! - [`error`]: why something that was stored cannot be used.
//!
//! Nothing here knows the meaning of the bytes that are stored.

pub mod atomic_file;
pub mod background;
pub mod disk;
pub mod error;
pub mod segment_log;
pub mod sim_disk;
