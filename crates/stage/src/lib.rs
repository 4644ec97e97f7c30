//! A small cluster of the real roles that moves only when a command tells it to.
//!
//! Golden scripts and the program `play` are two sources of commands.
//!
//! - [`mod@file`]: the format of scripts; runs a script and writes it again.
//! - [`play`]: a session at a prompt. [`help`]: the help texts of the commands.
//! - [`commands`]: carries out commands. `words`: splits a command into words. `targets`: the
//!   replicas and messages that a command names. `requests`: requests made by hand.
//! - `stage`: the cluster. `node`: one replica of it.
//!
//! What has happened is a [`history`], and that explains the slots.

pub mod commands;
pub mod file;
pub mod help;
mod node;
pub mod play;
mod requests;
mod stage;
#[cfg(test)]
mod stories;
mod targets;
mod words;
