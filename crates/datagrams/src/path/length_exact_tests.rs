//! The rules of the search, each to the probe and to the microsecond.

use super::*;

const FIRST: usize = 1_252;
const MOST: usize = 1_400;

const LONG: Use = Use { long: true, batch: false };
const BATCH: Use = Use { long: false, batch: true };

/// What an attempt sends: the bytes of its long probe, whether a batch, and its number.
type Sent = (Option<usize>, bool, u32);

/// A path in whose use nothing has happened.
fn path() -> PathLength {
    PathLength::new(FIRST, MOST)
}

/// What is sent at `now`: nothing, or the probes of one attempt.
fn poll(path: &mut PathLength, now: u64) -> Option<Sent> {
    let mut probes = Vec::new();
    path.poll(now, |probe| probes.push(probe));
    let short = probes.last()?;
    let number = short.id / KINDS;
    assert_eq!((short.id, short.bytes, short.batch), (number * KINDS, None, false));
    let (mut long, mut batch) = (None, false);
    for probe in &probes[..probes.len() - 1] {
        match probe.id - number * KINDS {
            1 => long = probe.bytes,
            2 => batch = probe.batch && probe.bytes.is_none(),
            other => panic!("kind {other}"),
        }
    }
    assert_eq!(probes.len(), 1 + usize::from(long.is_some()) + usize::from(batch));
    Some((long, batch, number))
}

/// The answers to the probes of an attempt.
fn answer(path: &mut PathLength, now: u64, number: u32, kinds: &[Kind]) {
    for kind in kinds {
        path.answered(now, number * KINDS + *kind as u32);
    }
}

/// An attempt begins at `now`, and the path carries this many bytes and batches or not. Returns
/// what was sent, and when the attempt was over.
fn attempt(path: &mut PathLength, now: u64, carries: usize, batches: bool) -> (Sent, u64) {
    let sent = poll(path, now).expect("something to test");
    let (long, batch, number) = sent;
    if long.is_some_and(|bytes| bytes <= carries) {
        answer(path, now + 1_000, number, &[Kind::Long]);
    }
    if batch && batches {
        answer(path, now + 1_000, number, &[Kind::Batch]);
    }
    answer(path, now + 1_000, number, &[Kind::Short]);
    let ends = path.deadline().expect("an attempt").max(now + 1_000);
    (sent, ends)
}

/// A path of this length, at time 10,000,000 and confirmed then.
fn confirmed(bytes: usize) -> PathLength {
    let mut path = path();
    path.used(LONG);
    let now = 10_000_000;
    let (_, _, number) = poll(&mut path, now).expect("the bound is tried");
    path.attempt.as_mut().expect("an attempt").bytes = bytes;
    answer(&mut path, now, number, &[Kind::Long, Kind::Short]);
    assert_eq!((path.length(), path.proven), (bytes, true));
    assert_eq!(poll(&mut path, now), None, "it is not used");
    path
}

#[test]
fn the_probes_of_an_attempt_are_numbered_and_the_short_one_leaves_last() {
    let mut path = path();
    assert_eq!(path.deadline(), None);
    path.used(Use { long: true, batch: true });
    assert_eq!(path.deadline(), Some(0));
    assert_eq!(poll(&mut path, 1_000), Some((Some(MOST), true, 1)));
    answer(&mut path, 1_001, 1, &[Kind::Long, Kind::Batch, Kind::Short]);
    path.used(LONG);
    let next = 1_001 + CONFIRM_US;
    assert_eq!(poll(&mut path, next), Some((Some(MOST), false, 2)));
}

#[test]
fn an_attempt_ends_a_margin_after_its_short_probe_is_answered() {
    let mut path = path();
    path.used(LONG);
    poll(&mut path, 1_000);
    assert_eq!(path.deadline(), Some(1_000 + PATIENCE_US));
    answer(&mut path, 21_000, 1, &[Kind::Short]);
    answer(&mut path, 22_000, 1, &[Kind::Short]);
    let end = 21_000 + MARGIN_US + 20_000 / 4;
    assert_eq!(path.deadline(), Some(end));
    assert_eq!(poll(&mut path, end - 1), None);
    // The bound and the present length take turns.
    assert_eq!(poll(&mut path, end), Some((Some(FIRST), false, 2)));
    assert_eq!(path.lost, 1);
    // With the answer to its long probe it is over at once.
    answer(&mut path, end + 10, 2, &[Kind::Long]);
    assert_eq!((path.deadline(), path.lost), (Some(0), 0));
}

#[test]
fn an_attempt_without_an_answer_is_waited_for_twice_as_long_each_time() {
    let (mut path, mut now) = (path(), 1_000);
    path.used(Use { long: true, batch: true });
    for (number, patience_us) in [(1, 250_000), (2, 500_000), (3, 1_000_000)] {
        assert_eq!(poll(&mut path, now).map(|sent| sent.2), Some(number));
        assert_eq!(path.deadline(), Some(now + patience_us));
        assert_eq!(poll(&mut path, now + patience_us - 1), None);
        now += patience_us;
    }
    assert_eq!(poll(&mut path, now), None);
    assert_eq!((path.deadline(), path.used), (None, Use::default()));
    path.used(LONG);
    assert_eq!((path.deadline(), poll(&mut path, now)), (None, None), "it rests");
    assert!(path.heard() && !path.heard());
    assert_eq!(path.deadline(), Some(0));
    assert!(poll(&mut path, now).is_some());
    assert_eq!(path.deadline(), Some(now + 2_000_000));
    now += 2_000_000;
    assert_eq!(poll(&mut path, now), None, "it rests again");
    // An answer after all: the peer is there.
    answer(&mut path, now + 900_000, 4, &[Kind::Short]);
    path.used(LONG);
    assert!(poll(&mut path, now + 900_000).is_some());
    assert_eq!(path.deadline(), Some(now + 900_000 + 5_800_000), "twice what that took");
}

#[test]
fn the_patience_is_bounded() {
    let mut path = path();
    path.used(LONG);
    poll(&mut path, 0);
    answer(&mut path, 3_000_000, 1, &[Kind::Short]);
    let now = path.deadline().expect("its end");
    poll(&mut path, now);
    assert_eq!(path.deadline(), Some(now + 6_000_000));
    answer(&mut path, now + 7_000_000, 2, &[Kind::Short]);
    let now = path.deadline().expect("its end");
    poll(&mut path, now);
    assert_eq!(path.deadline(), Some(now + PATIENCE_MAX_US));
}

#[test]
fn a_peer_that_slept_once_is_not_waited_for_longer_for_ever() {
    let mut path = path();
    path.used(LONG);
    poll(&mut path, 0);
    let mut now = 2_000_000;
    answer(&mut path, now, 1, &[Kind::Short]);
    for (number, patience_us) in [(2, 4_000_000), (3, 3_000_000), (4, 2_250_000), (5, 1_687_500)] {
        now = path.deadline().map_or(now, |at| at.max(now));
        path.used(LONG);
        poll(&mut path, now);
        assert_eq!(path.deadline(), Some(now + patience_us), "attempt {number}");
        now += 20_000;
        answer(&mut path, now, number, &[Kind::Short]);
    }
    path.patience_us = PATIENCE_US + 1;
    answer(&mut path, now, 5, &[Kind::Short]);
    assert_eq!(path.patience_us, PATIENCE_US);
}

#[test]
fn an_answer_to_what_an_attempt_does_not_test_says_nothing() {
    let mut path = path();
    path.used(BATCH);
    assert_eq!(poll(&mut path, 0), Some((None, true, 1)));
    path.used(LONG);
    answer(&mut path, 10, 1, &[Kind::Long]);
    path.answered(10, KINDS + 3);
    assert_eq!((path.length(), path.proven, path.used.long), (FIRST, false, true));
    answer(&mut path, 10, 1, &[Kind::Short, Kind::Batch]);
    assert_eq!(poll(&mut path, 20), Some((Some(MOST), false, 2)));
    path.used(BATCH);
    answer(&mut path, 30, 2, &[Kind::Batch]);
    assert_eq!((path.used.batch, path.batches_confirmed_at), (true, Some(10)));
    // Nor does one that comes twice.
    answer(&mut path, 40, 2, &[Kind::Long]);
    answer(&mut path, 50, 2, &[Kind::Long]);
    assert_eq!(path.confirmed_at, 40);
}

#[test]
fn a_length_fails_when_so_many_probes_in_a_row_are_lost() {
    // A longer one than is in use, and the one in use.
    for (length, tries) in [(FIRST, SEARCH_TRIES_MAX), (MOST, TRIES_MAX)] {
        let (mut path, mut now) = (confirmed(length), 20_000_000);
        path.used(LONG);
        for lost in 0..tries {
            let (sent, ends) = attempt(&mut path, now, FIRST, true);
            assert_eq!((sent.0, path.lost, path.failed), (Some(MOST), lost, MOST + 1));
            assert_eq!(ends, now + 1_000 + MARGIN_US + 250);
            now = ends;
        }
        poll(&mut path, now);
        assert_eq!((path.failed, path.failed_at, path.lost), (MOST, now, 0));
        assert_eq!((path.length(), path.used.long), (FIRST, false));
    }
}

#[test]
fn a_length_in_use_that_fails_gives_way_to_the_first_and_that_to_the_least() {
    let mut path = confirmed(1_300);
    path.refused(7, 1_301);
    assert_eq!((path.failed, path.length(), path.proven), (1_301, 1_300, true));
    path.refused(7, 1_301);
    path.refused(7, PATH_BYTES_MIN);
    assert_eq!((path.failed, path.length()), (1_301, 1_300));
    path.refused(8, 1_300);
    assert_eq!((path.failed, path.failed_at), (1_300, 8));
    assert_eq!((path.length(), path.proven), (FIRST, false));
    path.refused(9, PATH_BYTES_MIN + 1);
    assert_eq!((path.length(), path.proven), (PATH_BYTES_MIN, true));
    let mut path = confirmed(FIRST);
    path.refused(7, FIRST);
    assert_eq!((path.length(), path.proven), (PATH_BYTES_MIN, true));
}

#[test]
fn a_probe_that_the_kernel_refuses_is_not_waited_for() {
    for (refused, waits) in [(MOST - 1, false), (MOST, false), (MOST + 1, true)] {
        let mut path = path();
        path.used(LONG);
        poll(&mut path, 0);
        path.refused(0, refused);
        assert_eq!(path.deadline() == Some(PATIENCE_US), waits, "{refused} bytes");
    }
}

#[test]
fn a_length_that_was_answered_stays_so_when_another_is_refused() {
    let mut path = path();
    path.used(LONG);
    poll(&mut path, 0);
    answer(&mut path, 10, 1, &[Kind::Long]);
    path.refused(20, MOST);
    assert_eq!(path.attempt.as_ref().map(|attempt| attempt.long), Some(Test::Answered));
}

#[test]
fn of_a_path_that_is_not_confirmed_the_present_length_is_what_fails() {
    let (mut path, mut now) = (path(), 0);
    path.used(LONG);
    for lost in 0..TRIES_MAX {
        let (sent, ends) = attempt(&mut path, now, 0, true);
        assert_eq!(sent.0, Some(if lost.is_multiple_of(2) { MOST } else { FIRST }));
        now = ends;
    }
    path.poll(now, |_| ());
    assert_eq!((path.failed, path.length()), (FIRST, PATH_BYTES_MIN));
    // Below a length that has failed the bound is not tried.
    let mut narrow = self::path();
    narrow.failed = MOST;
    assert_eq!(narrow.candidate(), Some(FIRST));
}

#[test]
fn the_gap_is_halved_until_it_is_small() {
    for (failed, candidate) in [
        (FIRST + STEP_BYTES, None),
        (FIRST + STEP_BYTES + 1, Some(FIRST + 8)),
        (MOST, Some(FIRST + 74)),
        (MOST + 1, Some(MOST)),
    ] {
        let mut path = confirmed(FIRST);
        path.failed = failed;
        assert_eq!(path.candidate(), candidate, "{failed} bytes have failed");
    }
    assert_eq!(confirmed(MOST).candidate(), None);
}

#[test]
fn what_is_in_use_is_confirmed_once_a_second() {
    let mut path = confirmed(MOST);
    path.used(LONG);
    let at = 10_000_000 + CONFIRM_US;
    assert_eq!(path.deadline(), Some(at));
    assert_eq!(poll(&mut path, at - 1), None);
    assert_eq!(poll(&mut path, at), Some((Some(MOST), false, 2)));
    answer(&mut path, at + 5, 2, &[Kind::Long]);
    assert_eq!((path.confirmed_at, path.used.long), (at + 5, false));
}

#[test]
fn longer_ones_are_tried_again_ever_more_rarely_and_soon_after_the_bound_has_arrived() {
    let mut path = confirmed(FIRST);
    let mut now = 20_000_000;
    let mut waits = Vec::new();
    for _ in 0..8 {
        path.refused(now, FIRST + 5);
        path.used(LONG);
        path.confirmed_at = u64::MAX;
        let at = path.deadline().expect("longer ones are tried again");
        waits.push((at - now) / 1_000_000);
        assert_eq!(poll(&mut path, at - 1), None);
        assert_eq!(poll(&mut path, at).map(|sent| sent.0), Some(Some(MOST)));
        now = at;
        let number = path.attempts;
        answer(&mut path, now, number, &[Kind::Short]);
        path.refused(now, FIRST + 5);
        assert_eq!(poll(&mut path, now), None);
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 320]);
    path.used(LONG);
    let at = path.deadline().expect("longer ones are tried again");
    let (_, _, number) = poll(&mut path, at).expect("the bound");
    answer(&mut path, at, number, &[Kind::Long]);
    assert_eq!((path.length(), path.retry_us, path.failed), (MOST, RETRY_MIN_US, MOST + 1));
}

#[test]
fn the_confirmation_and_the_next_try_are_both_waited_for() {
    let with = |length, confirmed_at, failed_at| {
        let mut path = confirmed(length);
        (path.failed, path.failed_at, path.confirmed_at) = (length + 1, failed_at, confirmed_at);
        path.used(LONG);
        path.deadline()
    };
    assert_eq!(with(FIRST, 0, 90_000_000), Some(CONFIRM_US));
    assert_eq!(with(FIRST, 90_000_000, 0), Some(RETRY_MIN_US));
    assert_eq!(with(MOST, 7, 0), Some(7 + CONFIRM_US), "nothing has failed");
    let mut least = path();
    least.refused(3, PATH_BYTES_MIN + 1);
    least.used(LONG);
    assert_eq!(least.deadline(), Some(3 + RETRY_MIN_US), "the least needs no confirmation");
}

#[test]
fn late_answers_are_understood_as_long_as_the_attempt_is_remembered() {
    for (later, understood) in [(ENDED_MAX, true), (ENDED_MAX + 1, false)] {
        let (mut path, mut now) = (path(), 0);
        path.used(LONG);
        for _ in 0..later {
            let (_, ends) = attempt(&mut path, now, 0, true);
            now = ends;
        }
        poll(&mut path, now);
        answer(&mut path, now, 1, &[Kind::Long]);
        assert_eq!(path.length() == MOST, understood, "{later} attempts later");
    }
}

#[test]
fn a_late_answer_lifts_a_failure_and_shortens_nothing() {
    let mut path = confirmed(FIRST);
    path.used(LONG);
    let (_, ends) = attempt(&mut path, 20_000_000, 0, true);
    path.failed = 1_350;
    poll(&mut path, ends);
    answer(&mut path, ends, 2, &[Kind::Long]);
    assert_eq!((path.length(), path.failed), (MOST, MOST + 1));
    let mut path = confirmed(1_300);
    path.failed = 1_350;
    path.arrived(11_000_000, 1_299);
    assert_eq!((path.length(), path.confirmed_at), (1_300, 10_000_000));
    path.arrived(11_000_000, 1_300);
    assert_eq!((path.length(), path.confirmed_at, path.failed), (1_300, 11_000_000, 1_350));
    path.retry_us = RETRY_MAX_US;
    path.arrived(11_000_000, 1_349);
    assert_eq!((path.length(), path.failed, path.retry_us), (1_349, 1_350, RETRY_MAX_US));
    path.arrived(11_000_000, 1_350);
    assert_eq!((path.length(), path.failed), (1_350, MOST + 1));
}

#[test]
fn batches_are_not_believed_after_so_many_losses_in_a_row() {
    let (mut path, mut now) = (path(), 0);
    path.used(BATCH);
    for round in 0..2 {
        for lost in 0..TRIES_MAX - 1 {
            let (sent, ends) = attempt(&mut path, now, MOST, false);
            assert_eq!((path.batches(), path.batches_lost), (true, lost), "round {round}");
            assert_eq!((sent.0, sent.1), (None, true));
            now = ends;
        }
        // The next one arrives at first, and is lost then.
        let (_, ends) = attempt(&mut path, now, MOST, round == 0);
        now = ends;
        assert_eq!(poll(&mut path, now), None);
        assert_eq!((path.batches(), path.batches_lost), (round == 0, 0));
        if round == 0 {
            path.used(BATCH);
            now = path.deadline().expect("they are confirmed");
            assert_eq!(now, ends + CONFIRM_US);
        }
    }
    for _ in 0..2 {
        assert_eq!(path.deadline(), None, "nobody wants one");
        path.used(BATCH);
        assert_eq!(path.deadline(), Some(now + BATCHES_RETRY_US));
        assert_eq!(poll(&mut path, now + BATCHES_RETRY_US - 1), None);
        now += BATCHES_RETRY_US;
        for lost in 0..RETRIES_MAX {
            (_, now) = attempt(&mut path, now, MOST, false);
            assert_eq!(path.batches_lost, lost);
        }
        assert_eq!(poll(&mut path, now), None);
    }
    let mut sooner = self::path().testing_batches_again_after(7);
    (sooner.batches, sooner.batches_failed_at) = (false, 3);
    sooner.used(BATCH);
    assert_eq!(sooner.deadline(), Some(10));
}

#[test]
fn numbers_of_attempts_wrap() {
    let mut path = path();
    path.attempts = u32::MAX / KINDS - 2;
    path.used(LONG);
    let (sent, ends) = attempt(&mut path, 0, 0, true);
    assert_eq!(sent.2, u32::MAX / KINDS - 1);
    assert_eq!(poll(&mut path, ends).map(|sent| sent.2), Some(0));
}

const AT: u64 = 10_000_000;

/// Evidence of this many datagrams of `bytes` bytes that left at `at`, without word so far.
fn doubt(at: u64, bytes: usize, count: u32) -> Evidence {
    let mut evidence = Evidence::default();
    (1..=count).for_each(|number| assert!(evidence.sent(at, number * 2_000, bytes)));
    evidence
}

#[test]
fn what_the_traffic_shows_to_arrive_is_not_tested() {
    let mut path = confirmed(MOST);
    path.used(LONG);
    let mut evidence = doubt(AT + 500_000, 1_300, 1);
    path.seen(AT + 500_000, &evidence);
    assert_eq!(path.deadline(), Some(AT + CONFIRM_US));
    evidence.arrived(AT + 600_000, 1_300);
    path.seen(AT + 700_000, &evidence);
    assert_eq!((path.length(), path.deadline()), (MOST, Some(AT + 600_000 + CONFIRM_US)));
    path.seen(AT + 600_000 + CONFIRM_US - 1, &evidence);
    assert!(path.is_in_use());
    path.seen(AT + 600_000 + CONFIRM_US, &evidence);
    assert!(!path.is_in_use());
    assert_eq!(poll(&mut path, AT + 600_000 + CONFIRM_US), None);
}

#[test]
fn a_second_after_doubt_began_the_length_is_tested_until_that_is_decided() {
    let mut path = confirmed(MOST);
    path.used(LONG);
    let mut evidence = doubt(AT + 5_000_000, 1_300, 4);
    path.seen(AT + 5_000_000, &evidence);
    let tested = AT + 5_000_000 + CONFIRM_US;
    assert_eq!((poll(&mut path, tested - 1), path.deadline()), (None, Some(tested)));
    let ((long, ..), ends) = attempt(&mut path, tested, 1_399, true);
    assert_eq!((long, path.lost), (Some(MOST), 0), "the attempt is not over yet");
    path.seen(ends, &evidence);
    let (number, ends) = match attempt(&mut path, ends, 1_399, true) {
        ((Some(MOST), false, number), ends) => (number, ends),
        other => panic!("{other:?}"),
    };
    assert_eq!(path.lost, 1);
    evidence.sent(ends, 20_000, 1_300);
    path.seen(ends, &evidence);
    assert_eq!(attempt(&mut path, ends, 1_399, true).0, (Some(MOST), false, number + 1));
    // A length is in doubt. A shorter datagram that arrives says nothing about it.
    evidence.arrived(ends + 100, 1_299);
    path.seen(ends + 200, &evidence);
    assert_eq!((path.lost, path.confirmed_at), (2, AT + 5_000_000));
    evidence.arrived(ends + 300, 1_300);
    path.seen(ends + 400, &evidence);
    assert_eq!((path.lost, path.confirmed_at), (0, ends + 300));
}

#[test]
fn a_datagram_of_the_length_in_use_proves_it_and_an_old_one_does_not() {
    let mut path = path();
    path.used(LONG);
    let mut evidence = doubt(AT, FIRST, 1);
    evidence.arrived(AT, FIRST - 1);
    path.seen(AT, &evidence);
    assert!(!path.proven);
    evidence.arrived(AT, FIRST);
    path.seen(AT, &evidence);
    assert_eq!((path.proven, path.length(), path.is_in_use()), (true, FIRST, false));
    evidence.arrived(AT + 1, MOST);
    path.refused(AT + 1, MOST);
    path.seen(AT + 2, &evidence);
    assert_eq!((path.length(), path.failed), (FIRST, MOST), "it failed at that moment");
    evidence.arrived(AT + 3, MOST);
    path.seen(AT + 3, &evidence);
    assert_eq!((path.length(), path.failed), (MOST, MOST + 1));
}

#[test]
fn an_answered_long_probe_says_its_length_once() {
    let mut path = path();
    path.used(LONG);
    let (_, _, number) = poll(&mut path, 0).expect("the bound is tried");
    let id = |kind: Kind| number * KINDS + kind as u32;
    assert_eq!(path.answered(1, id(Kind::Short)), None);
    assert_eq!(path.answered(1, id(Kind::Long)), Some(MOST));
    assert_eq!(path.answered(1, id(Kind::Long)), None);
    assert_eq!(path.answered(1, KINDS * 77), None);
}
