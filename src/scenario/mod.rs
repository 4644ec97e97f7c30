//! The eight scenarios, and the verdict on what they leave behind.
pub mod verdict;
