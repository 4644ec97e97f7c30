//! Lists of values are what was put into them, and bytes with any fault are no list.

use super::builder::SCRATCH_BYTES_MAX;
use super::encoding::NOOP;
use super::*;
use crate::types::{ClientId, Command, LINE_BYTES_MAX, Session, Slot};
use std::hash::DefaultHasher;

fn command(seq: u64, line: &str) -> Value {
    let session = Session { client: ClientId(7), id: u64::MAX };
    Value::Command(Command { session, seq, birth: Slot(5), line: line.into() })
}

fn some() -> Vec<Value> {
    vec![command(0, "a"), Value::Noop, command(1, ""), command(2, "é\n")]
}

#[test]
fn values_are_read_back_as_they_were() {
    let values = Values::from(some());
    assert_eq!(values.to_vec(), some());
    assert_eq!(Values::read(values.bytes()), Ok(values.clone()));
    let encoded = postcard::to_stdvec(&values).unwrap();
    let (decoded, rest) = postcard::take_from_bytes::<Values>(&encoded).unwrap();
    assert_eq!((decoded, rest), (values, &[][..]));
    assert_eq!(Values::default().to_vec(), []);
}

#[test]
fn a_list_is_the_same_whatever_it_is_made_of() {
    let values = Values::from(some());
    assert_eq!(values.len(), 4);
    assert_eq!(some().into_iter().collect::<Values>(), values);
    assert_eq!(Values::from(some().as_slice()), values);
    assert_eq!(values.iter().collect::<Values>(), values);
}

#[test]
fn a_slice_is_the_list_of_what_it_holds() {
    let values = Values::from(some());
    for start in 0..=4 {
        for end in start..=4 {
            let slice = values.slice(start..end);
            assert_eq!(slice.to_vec(), some()[start..end]);
            assert!((start..end).all(|at| slice.get(at - start) == values.get(at)));
            assert_eq!(slice, Values::from(some()[start..end].to_vec()));
            let mut builder = Builder::default();
            builder.push(ValueRef::Noop);
            builder.extend(&slice);
            assert_eq!(builder.take().skip(1), slice);
        }
    }
    assert_ne!(values.slice(0..1), values.slice(1..2));
}

#[test]
fn a_value_takes_the_place_of_others_that_nobody_else_holds() {
    for (before, now) in [("abc", "xyz"), ("abc", "longer"), ("abc", "")] {
        let mut values = Values::from(&command(1, before));
        let (mut kept, next) = (values.clone(), command(2, now));
        values.replace((&next).into());
        assert_eq!(values.get(0), (&next).into());
        assert_eq!(kept.get(0), (&command(1, before)).into(), "somebody else holds it");
        kept.replace((&next).into());
        assert_eq!((kept.len(), kept.get(0)), (1, (&next).into()));
    }
    let two: Values = vec![Value::Noop, Value::Noop].into();
    let (mut last, one) = (two.skip(1), command(3, ""));
    last.replace((&one).into());
    assert_eq!(last.get(0), (&one).into());
}

#[test]
fn the_values_that_fit_are_counted_from_the_slices_beginning() {
    let values = Values::from(some()).skip(1);
    let sizes: Vec<usize> = values.iter().map(ValueRef::encoded_bytes).collect();
    assert_eq!(sizes, [1, COMMAND_BYTES, COMMAND_BYTES + 3]);
    for (bytes, fitting) in [(0, 0), (1, 1), (COMMAND_BYTES, 1), (COMMAND_BYTES + 1, 2)] {
        assert_eq!(values.fitting(bytes), fitting, "{bytes} bytes");
    }
    assert_eq!(values.fitting(1_000), 3);
}

#[test]
fn a_list_that_is_gone_through_says_how_many_are_left() {
    let values = Values::from(some()).slice(1..4);
    let mut left = values.iter();
    for count in (0..=3).rev() {
        assert_eq!((left.len(), left.size_hint()), (count, (count, Some(count))));
        assert_eq!(left.next(), (count > 0).then(|| values.get(3 - count)));
    }
}

#[test]
fn bytes_of_which_any_is_wrong_are_no_values() {
    let good = Values::from(vec![command(0, "abc")]).bytes().to_vec();
    for cut in 1..good.len() {
        assert_eq!(Values::read(&good[..cut]), Err(Malformed), "cut to {cut}");
    }
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Values::read(&bytes)
    };
    assert_eq!(changed(0, 2), Err(Malformed));
    assert_eq!(changed(33, 4), Err(Malformed));
    assert_eq!(changed(36, 0xFF), Err(Malformed));
    assert_eq!(changed(COMMAND_BYTES, 0xFF), Err(Malformed));
    assert!(changed(1, 0xFF).is_ok());
    assert_eq!(Values::read(&vec![NOOP; VALUES_MAX + 1]), Err(Malformed));
    assert_eq!(Values::read(&vec![NOOP; VALUES_MAX]).map(|values| values.len()), Ok(VALUES_MAX));
}

#[test]
fn a_line_is_as_long_as_a_line_may_be_and_no_longer() {
    let longest = Values::from(&command(0, &"x".repeat(LINE_BYTES_MAX)));
    assert_eq!(Values::read(longest.bytes()), Ok(longest.clone()));
    let mut longer = longest.bytes().to_vec();
    longer.push(b'x');
    longer[33] += 1;
    assert_eq!(Values::read(&longer), Err(Malformed));
}

#[test]
fn a_value_alone_is_the_list_of_one() {
    for value in [Value::Noop, command(1, ""), command(2, "abc"), command(3, &"x".repeat(200))] {
        let alone = Values::from(&value);
        assert_eq!(alone, Values::from_iter([&value]));
        assert_eq!(alone.bytes().len(), ValueRef::from(&value).encoded_bytes());
        assert_eq!((alone.len(), alone.to_vec()), (1, vec![value]));
    }
}

#[test]
fn a_value_that_takes_as_much_is_written_where_the_others_stood() {
    // Two values take as much as the one that replaces them.
    let long = command(2, "12345678");
    let values = Values::from(vec![command(0, "abc"), Value::Noop]).skip(1);
    assert_eq!(values.batch.0.len(), Values::from(&long).batch.0.len());
    for mut values in [values, Values::from(&command(0, "87654321"))] {
        let place = Arc::as_ptr(&values.batch.0);
        values.replace((&long).into());
        assert!(std::ptr::addr_eq(Arc::as_ptr(&values.batch.0), place));
        assert_eq!((values.len(), values.get(0)), (1, (&long).into()));
    }
}

#[test]
fn a_window_leaves_a_batch_that_is_much_larger_than_itself_and_no_other() {
    let shares = |values: &Values, slice: Range<usize>| {
        let slice = values.slice(slice);
        let apart = slice.clone().apart();
        assert_eq!(apart, slice);
        Arc::ptr_eq(&apart.batch.0, &values.batch.0)
    };
    let long: Values = (0..10).map(|seq| command(seq, &"x".repeat(10_000))).collect();
    assert!(shares(&long, 0..10) && shares(&long, 2..8) && !shares(&long, 2..6));
    // A batch of its own costs more than a few bytes.
    let short = |count: usize| Values::from(vec![Value::Noop; count]);
    assert!(shares(&short(100), 5..15) && !shares(&short(1_000), 5..15));
}

#[test]
fn lists_are_equal_and_hash_alike_if_they_hold_the_same() {
    let hash = |values: &Values| {
        let mut state = DefaultHasher::new();
        values.hash(&mut state);
        state.finish()
    };
    // Windows of any place and length, on one batch and on another with the same values.
    let (one, other) = (Values::from(some()), Values::from(some()));
    let windows: Vec<Range<usize>> =
        (0..4).flat_map(|from| (from + 1..=4).map(move |to| from..to)).collect();
    for a in &windows {
        for b in &windows {
            let left = one.slice(a.clone());
            for right in [one.slice(b.clone()), other.slice(b.clone())] {
                assert_eq!(left == right, a == b, "{a:?} {b:?}");
                assert_eq!(hash(&left) == hash(&right), a == b, "{a:?} {b:?}");
            }
        }
    }
    assert_ne!(Values::from(&command(1, "a")), Values::from(&command(1, "b")));
    assert_ne!(one, Values::default());
}

#[test]
fn a_builder_says_what_it_holds_and_takes_little_more_room() {
    let mut builder = Builder::default();
    for round in 0..2 {
        assert!(builder.is_empty(), "round {round}");
        assert_eq!((builder.len(), builder.bytes()), (0, 0), "round {round}");
        some().iter().for_each(|value| builder.push(value.into()));
        assert!(!builder.is_empty(), "round {round}");
        let bytes = Values::from(some()).bytes().len();
        assert_eq!((builder.len(), builder.bytes()), (4, bytes), "round {round}");
        assert_eq!(builder.take(), Values::from(some()), "round {round}");
    }
    builder.push((&command(1, &"x".repeat(10_000))).into());
    assert!(builder.bytes.capacity() <= 2 * builder.bytes());
}

#[test]
fn a_thread_keeps_the_room_of_a_short_list_for_its_next_and_none_of_a_long_one() {
    let kept = || SCRATCH.with_borrow(|builder| builder.bytes.capacity());
    let list = |bytes| Values::from_iter([&command(1, &"x".repeat(bytes)), &Value::Noop]);
    assert_eq!(list(2_000).len(), 2);
    assert!(kept() >= 2_000);
    assert_eq!(Values::read(&[NOOP, NOOP, 9]), Err(Malformed));
    assert_eq!(list(3).len(), 2, "what was read in vain leaves nothing behind");
    assert!(kept() >= 2_000);
    assert_eq!(list(SCRATCH_BYTES_MAX).len(), 2);
    assert_eq!(kept(), 0);
}
