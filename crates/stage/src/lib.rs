//! A small cluster of the real roles that moves only when it is told to.
//!
//! Golden scripts and the program `play` are two ways to tell it.
//!
//! - [`mod@file`]: the format of a script, and how it is run and written again.
//! - [`play`]: a session at a prompt. [`help`]: what each command does, for people.
//! - [`commands`]: what a script or a person may say. `words`: a command, cut into words.
//! - `stage`: the cluster that hears it. `node`: one replica on the stage.
//! - `print`: everything in words.
//! - [`history`]: what has happened. [`mod@why`]: why a slot is what it is, told from that.

pub mod commands;
pub mod file;
pub mod help;
pub mod history;
mod node;
pub mod play;
mod print;
mod stage;
pub mod why;
mod words;
