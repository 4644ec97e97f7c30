//! What a log that survives a power cut is made of.
//!
//! - [`disk`]: what storage needs of a file system, and a real one.
//! - [`sim_disk`]: a disk in memory that loses its power, tears, fails and fills.
//! - [`atomic_file`]: small files that are replaced whole.
//! - [`beside`]: work on the disk that its thread does not wait for.
//! - [`error`]: why something that was stored cannot be used.
//!
//! Nothing here knows what is stored.

pub mod atomic_file;
pub mod beside;
pub mod disk;
pub mod error;
pub mod sim_disk;
