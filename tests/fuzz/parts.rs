//! Bodies without their frames: lists of values, fragments, requests for fragments.
//!
//! **What must hold.** No panic. An accepted body says the same when it is written again. A list
//! of values keeps its bytes, and any part of it is a list. The memory that a list takes is
//! bounded by a number of bytes for each of its own.

use crate::draw::{self, Around};
use crate::edit::{self, edits};
use crate::run::{Property, repeat};
use allocation_counter::measure;
use datagrams::fragment::{ASKED_PIECES_MAX, Cut, Fragment, Missing, PIECE_BYTES_MIN, PIECES_MAX};
use fastrand::Rng;
use multipaxos::net::MESSAGE_BYTES_MAX;
use multipaxos::types::{Ballot, LINE_BYTES_MAX, Slot};
use multipaxos::values::{COMMAND_BYTES, VALUES_MAX, ValueRef, Values};

/// The bytes that a byte of a list may make its reader allocate. A value of one byte has a
/// number of four bytes with it: once where the list is built (and that list doubles), and
/// twice where it is kept.
const BYTES_PER_BYTE_MAX: u64 = 48;
const BYTES_FIXED: u64 = 256;

/// A command with a line of about the largest length.
fn longest(rng: &mut Rng) -> Vec<u8> {
    let length = LINE_BYTES_MAX - 1 + rng.usize(..4);
    let mut bytes = vec![1];
    bytes.extend_from_slice(&[0; 32]);
    bytes.extend_from_slice(&(length as u32).to_le_bytes());
    bytes.resize(COMMAND_BYTES + length, b'x');
    bytes
}

#[test]
fn a_list_of_values_is_its_bytes() {
    let property =
        Property { name: "parts::a_list_of_values_is_its_bytes", cases: 300_000, cost: 3 };
    let (mut cases, mut accepted) = (0, 0);
    repeat(property, |_, rng| {
        cases += 1;
        let around = Around::anything(rng);
        let drawn = |rng: &mut Rng| draw::values(rng, &around, Slot(0), Ballot(0)).bytes().to_vec();
        let mut bytes = match rng.u8(..8) {
            0 => edit::bytes(rng, 100),
            1 if rng.u8(..8) == 0 => vec![0; rng.usize(..2 * VALUES_MAX)],
            1 if rng.u8(..16) == 0 => longest(rng),
            _ => drawn(rng),
        };
        if rng.u8(..3) > 0 {
            let other = drawn(rng);
            edits(rng, &mut bytes, &other);
        }
        let mut read = None;
        let info = measure(|| read = Some(Values::read(&bytes)));
        let bound = BYTES_PER_BYTE_MAX * bytes.len() as u64 + BYTES_FIXED;
        assert!(info.bytes_total <= bound, "{info:?} for {} bytes", bytes.len());
        let Some(Ok(values)) = read else { return };
        accepted += 1;
        assert_eq!(values.bytes(), bytes);
        assert!(values.len() <= VALUES_MAX);
        let fits = |value: ValueRef<'_>| {
            value.command().is_none_or(|command| command.line.len() <= LINE_BYTES_MAX)
        };
        assert!(values.iter().all(fits), "a line that is too long");
        assert_eq!(values.iter().map(|value| value.encoded_bytes()).sum::<usize>(), bytes.len());
        let again: Values = values.to_vec().into();
        assert_eq!(again, values);
        assert_eq!(again.bytes(), bytes);
        let to = rng.usize(..=values.len());
        let part = values.slice(rng.usize(..=to)..to);
        assert_eq!(Values::read(part.bytes()).as_ref(), Ok(&part));
        let room = rng.usize(..200);
        let fits = values.fitting(room);
        assert!(values.slice(0..fits).bytes().len() <= room);
        assert!(fits == values.len() || values.slice(0..fits + 1).bytes().len() > room);
    });
    if property.is_full() {
        assert!(accepted > cases / 5, "of {cases} only {accepted} were lists of values");
    }
}

fn cut_bytes(rng: &mut Rng) -> Vec<u8> {
    let piece = rng.usize(PIECE_BYTES_MIN - 2..PIECE_BYTES_MIN + 40);
    let total = match rng.u8(..4) {
        0 => piece + rng.usize(..3),
        1 => MESSAGE_BYTES_MAX + rng.usize(..3) - 1,
        _ => rng.usize(..4_000),
    };
    let mut bytes = rng.u64(..).to_le_bytes().to_vec();
    bytes.extend_from_slice(&(total as u32).to_le_bytes());
    bytes.extend_from_slice(&(piece as u16).to_le_bytes());
    bytes
}

fn assert_sound(cut: Cut) {
    assert!((2..=PIECES_MAX).contains(&cut.pieces()), "{cut:?}");
}

#[test]
fn fragments_do_not_contradict_themselves() {
    let name = "parts::fragments_do_not_contradict_themselves";
    let property = Property { name, cases: 300_000, cost: 1 };
    let (mut cases, mut accepted) = (0, 0);
    repeat(property, |_, rng| {
        cases += 1;
        let mut bytes = cut_bytes(rng);
        let (total, piece) = (
            u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize,
            usize::from(u16::from_le_bytes([bytes[12], bytes[13]])),
        );
        let is_fragment = rng.bool();
        if is_fragment {
            let index = rng.usize(..3);
            bytes.extend_from_slice(&(index as u16).to_le_bytes());
            let length = total.saturating_sub(index * piece).min(piece);
            bytes.resize(bytes.len() + length + rng.usize(..6).saturating_sub(4), 0xA5);
        } else {
            for index in 0..rng.usize(..ASKED_PIECES_MAX + 2) {
                let index = (index + rng.usize(..8) / 7) as u16;
                bytes.extend_from_slice(&index.to_le_bytes());
            }
        }
        if rng.u8(..3) == 0 {
            let other = cut_bytes(rng);
            edits(rng, &mut bytes, &other);
        }
        if let Some(fragment) = Fragment::parse(&bytes) {
            accepted += 1;
            assert_sound(fragment.cut);
            assert!(usize::from(fragment.index) < fragment.cut.pieces(), "{fragment:?}");
            assert!(!fragment.bytes.is_empty());
            let mut again = Vec::new();
            fragment.write(&mut again);
            assert_eq!(again, bytes);
        }
        if let Some(missing) = Missing::parse(&bytes) {
            accepted += 1;
            assert_sound(missing.cut);
            let within = |index: &u16| usize::from(*index) < missing.cut.pieces();
            assert!(missing.indexes.iter().all(within), "{missing:?}");
            assert!((1..=ASKED_PIECES_MAX).contains(&missing.indexes.len()));
            assert!(missing.indexes.is_sorted_by(|before, after| before < after));
            let mut again = Vec::new();
            missing.write(&mut again);
            assert_eq!(again, bytes);
        }
    });
    if property.is_full() {
        assert!(accepted > cases / 10, "of {cases} only {accepted} were taken");
    }
}
