//! The chat log with which some simulated clusters begin (rule S9).
//!
//! It is drawn as text, as a lost cluster would have left it, and read by the code that reads
//! the file of `replica --begin_from`. Its clients are those of the run, which go on with their
//! numbers, and one that is never heard of again.

use fastrand::Rng;
use multipaxos::storage::beginning;
use multipaxos::types::Origin;
use multipaxos::values::{Builder, Values};
use std::fmt::Write;

/// The most lines.
const LINES_MAX: u64 = 60;

/// The clients 0 to this one have lines in it. The run's own clients have the lowest ids.
const CLIENT_MAX: usize = 4;

/// On average, one line in this many is a NOP.
const NOP_ONE_IN: u8 = 6;

/// A chat log, and the values of its slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// Identifies the chat log.
    pub origin: Origin,
    /// The value of each of its slots, from 0.
    pub values: Values,
}

impl Beginning {
    /// Draws a chat log.
    pub fn draw(rng: &mut Rng) -> Self {
        let mut numbers = [0; CLIENT_MAX + 1];
        let mut text = String::new();
        for slot in 0..rng.u64(1..=LINES_MAX) {
            if rng.u8(0..NOP_ONE_IN) == 0 {
                writeln!(text, "{slot} - - NOP").expect("memory never fails");
                continue;
            }
            let client = rng.usize(..=CLIENT_MAX);
            let number = &mut numbers[client];
            writeln!(text, "{slot} {client} {number} before:{slot}").expect("memory never fails");
            *number += 1;
        }
        let mut found = Builder::default();
        let read = beginning::read(text.as_bytes(), |values| {
            found.extend(values);
            Ok(())
        });
        Beginning { origin: read.expect("a whole chat log"), values: found.take() }
    }
}
