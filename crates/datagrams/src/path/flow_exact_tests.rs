//! The rules of a flow, each to the byte and to the microsecond.

use super::super::receipt::Receipt;
use super::*;

const WINDOW_FIRST: u32 = DATAGRAMS_FIRST * DATAGRAM_BYTES;
const WINDOW_MIN: u32 = DATAGRAMS_MIN * DATAGRAM_BYTES;

/// A flow whose datagrams arrive, or are lost, in rounds.
#[derive(Clone)]
struct Rounds {
    flow: Flow,
    now: u64,
    taken: u32,
}

/// The time between two rounds.
const GAP_US: u64 = 10_000;

impl Rounds {
    fn new() -> Self {
        Rounds { flow: Flow::new(0), now: 0, taken: 0 }
    }

    /// After `gap_us`, so many bytes leave at once. After `took_us` there is word of all of them.
    /// Returns the window.
    fn after(&mut self, gap_us: u64, arrived: u32, lost: u32, took_us: u64) -> u32 {
        self.now += gap_us;
        self.flow.send(self.now, (arrived + lost) as usize);
        self.taken += arrived;
        self.now += took_us;
        self.flow.heard(self.now, 1, word(self.flow.sent(), self.taken));
        self.flow.window()
    }

    /// A round that is as short as a round may be, or as long as its round trip.
    fn round(&mut self, arrived: u32, lost: u32, took_us: u64) -> u32 {
        self.after(ROUND_US.saturating_sub(took_us).max(GAP_US), arrived, lost, took_us)
    }

    /// A window of 20,000 bytes that does not double any more, after round trips of this time.
    fn settled(took_us: u64) -> Self {
        let mut rounds = Rounds::new();
        assert_eq!(rounds.round(14_000, 0, took_us), 28_000);
        assert_eq!(rounds.round(12_000, 20_000, took_us), 20_000, "40,000 halved");
        rounds
    }
}

/// Word of what has arrived.
fn word(reached: u32, taken: u32) -> Stamp {
    Stamp { reached, taken, ..Stamp::default() }
}

/// The window at the end of a round in which it grew. It grew in the `before` rounds in front of
/// that one, too.
fn grown_after(before: u32, window: u32) -> u32 {
    let root = (u64::from(window) * GROWTH_BYTES).isqrt() as u32;
    window + root / 2 + root / 4 * before
}

fn grown(window: u32) -> u32 {
    grown_after(0, window)
}

#[test]
fn a_window_that_is_used_up_doubles_at_first_and_grows_by_its_root_later() {
    let mut rounds = Rounds::new();
    assert_eq!(rounds.round(7_000, 0, 1_000), 14_000, "half of it is not used up");
    assert_eq!(rounds.round(7_001, 0, 1_000), 21_001);
    let mut rounds = Rounds::settled(1_000);
    assert_eq!(rounds.round(20_000, 0, 1_000), grown(20_000));
    assert_eq!(grown(20_000), 22_645);
    assert_eq!(rounds.round(11_322, 0, 1_000), 22_645, "half of it is not used up");
    let mut window = 22_645;
    for before in 1..=GROWN_MAX {
        window = grown_after(before, window);
        assert_eq!(rounds.round(window, 0, 1_000), window, "faster the longer nothing shrinks it");
    }
    window = grown_after(GROWN_MAX, window);
    assert_eq!(rounds.round(window, 0, 1_000), window, "but no faster than that");
    let shrunk = rounds.round(window, 0, 1_001 + QUEUE_US);
    assert!(shrunk < window);
    assert_eq!(rounds.round(shrunk, 0, 1_000), grown(shrunk), "slowly again");
    rounds.flow.window = WINDOW_MAX - 1;
    assert_eq!(rounds.round(WINDOW_MAX, 0, 1_000), WINDOW_MAX);
}

#[test]
fn a_round_lasts_a_while_and_until_what_was_sent_when_it_began_has_arrived() {
    let mut rounds = Rounds::settled(1_000);
    assert_eq!(rounds.after(ROUND_US - 1_001, 20_000, 0, 1_000), 20_000);
    assert_eq!(rounds.after(0, 1, 0, 1), grown(20_000));
    // A round does not count what left before it began.
    let Rounds { mut flow, now, taken } = Rounds::settled(1_000);
    let settled = flow.sent();
    flow.send(now + 24_000, 11_000);
    flow.send(now + 24_500, 11_000);
    flow.heard(now + 25_000, 1, word(settled + 11_000, taken + 11_000));
    assert_eq!(flow.window(), grown(20_000), "all of the round before has arrived");
    // The peer has known of the next ones for 25 ms.
    let held = (25_000 / HELD_UNIT_US) as u16;
    let late = |bytes| Stamp { held, ..word(settled + bytes, taken + bytes) };
    flow.heard(now + 50_500, 1, late(21_999));
    assert_eq!(flow.window(), grown(20_000), "a byte of before is missing");
    flow.send(now + 50_500, 20_000);
    flow.heard(now + 50_500, 1, late(22_000));
    assert_eq!(flow.window(), grown_after(1, grown(20_000)));
}

#[test]
fn a_window_shrinks_when_most_was_lost_of_enough_bytes() {
    let settled = Rounds::settled(1_000);
    for (arrived, lost, expected) in [
        (13_999, 14_001, 10_000),
        (14_000, 14_000, grown(20_000)),
        (13_998, 14_001, grown(20_000)),
        (0, LOSS_BYTES_MIN, 10_000),
    ] {
        let window = settled.clone().round(arrived, lost, 1_000);
        assert_eq!(window, expected, "{arrived} bytes arrived, {lost} are lost");
    }
}

#[test]
fn a_queue_shrinks_the_window_to_what_the_path_has_carried() {
    let settled = Rounds::settled(1_000);
    // The shortest round trip and five milliseconds' worth, of a round of 26,001 µs.
    let carried = 60_000 * 6_000 / 26_001;
    assert_eq!(carried, 13_845);
    assert_eq!(settled.clone().round(40_000, 0, 1_000 + QUEUE_US), grown(20_000));
    assert_eq!(settled.clone().round(60_000, 0, 1_001 + QUEUE_US), carried);
    assert_eq!(settled.clone().round(20_000, 0, 1_001 + QUEUE_US), 10_000, "by half at most");
    let least = 20_000 - 20_000 / 16;
    assert_eq!(settled.clone().round(90_000, 0, 1_001 + QUEUE_US), least, "by so much at least");
    // On a long way an eighth of the round trip is no queue.
    let far = Rounds::settled(200_000);
    assert_eq!(far.clone().round(20_000, 0, 225_000), grown(20_000));
    assert!(far.clone().round(20_000, 0, 225_001) < 20_000);
}

#[test]
fn a_short_queue_shrinks_the_window_if_an_eighth_was_lost() {
    let settled = Rounds::settled(1_000);
    for (arrived, lost, queue_us, shrinks) in [
        (20_999, 3_001, 5_001, true),
        (20_999, 3_001, 5_000, false),
        (21_000, 3_000, 5_001, false),
        (10_000, WINDOW_MIN, 5_001, false),
        (10_000, WINDOW_MIN + 1, 5_001, true),
    ] {
        let window = settled.clone().round(arrived, lost, 1_000 + queue_us);
        let what = format!("{arrived} arrived, {lost} lost, a queue of {queue_us} µs");
        assert_eq!(window < 20_000, shrinks, "{what}");
    }
}

#[test]
fn a_window_never_shrinks_below_the_least() {
    let mut rounds = Rounds::settled(1_000);
    let windows = [(); 4].map(|()| rounds.round(0, LOSS_BYTES_MIN, 1_000));
    assert_eq!(windows, [10_000, 5_000, WINDOW_MIN, WINDOW_MIN]);
}

#[test]
fn long_round_trips_of_the_least_window_show_a_longer_way_after_four_rounds() {
    let mut rounds = Rounds::settled(1_000);
    while rounds.round(0, LOSS_BYTES_MIN, 1_000) > WINDOW_MIN {}
    let shortest = |rounds: &Rounds| (rounds.flow.shortest_us(), rounds.flow.slow_start);
    for _ in 0..LEAST_ROUNDS - 1 {
        assert_eq!(rounds.round(2_800, 0, 50_000), WINDOW_MIN);
    }
    let mut broken = rounds.clone();
    assert_eq!(shortest(&rounds), (1_000, false));
    rounds.round(2_800, 0, 50_000);
    assert_eq!(shortest(&rounds), (50_000, true));
    assert_eq!(rounds.round(2_800, 0, 50_000), 2 * WINDOW_MIN);
    // A round that shows no queue begins the count anew.
    assert_eq!(broken.round(0, LOSS_BYTES_MIN, 1_000), WINDOW_MIN);
    for _ in 0..LEAST_ROUNDS - 1 {
        broken.round(2_800, 0, 50_000);
    }
    assert_eq!(shortest(&broken), (1_000, false));
}

#[test]
fn only_a_queue_of_a_least_window_in_use_shows_a_longer_way() {
    let mut least = Rounds::settled(1_000);
    while least.round(0, LOSS_BYTES_MIN, 1_000) > WINDOW_MIN {}
    // In turn: no queue, one that is not too long, and one that somebody else has caused.
    for (arrived, lost, took_us) in
        [(0, LOSS_BYTES_MIN, 1_000), (0, LOSS_BYTES_MIN, 16_000), (WINDOW_MIN / 2, 0, 50_000)]
    {
        let mut rounds = least.clone();
        for _ in 0..2 * LEAST_ROUNDS {
            assert_eq!(rounds.round(arrived, lost, took_us), WINDOW_MIN);
        }
        assert_eq!((rounds.flow.shortest_us(), rounds.flow.slow_start), (1_000, false));
    }
}

#[test]
fn a_round_in_which_nothing_was_measured_shows_no_queue() {
    let Rounds { mut flow, mut now, taken } = Rounds::settled(1_000);
    let first = flow.sent() + 200;
    for _ in 0..=MARKS_MAX {
        now += ROUND_US;
        flow.send(now, 200);
    }
    flow.heard(now, 1, word(first, taken + 200));
    assert_eq!(flow.window(), grown(20_000));
}

#[test]
fn a_round_counts_what_is_under_way_when_it_begins() {
    let window = grown(20_000);
    for (under_way, expected) in [(window / 2, window), (window / 2 + 1, grown_after(1, window))] {
        let Rounds { mut flow, now, taken } = Rounds::settled(1_000);
        let settled = flow.sent();
        flow.send(now + 24_500, 10);
        flow.send(now + 24_800, under_way as usize);
        flow.heard(now + 25_000, 1, word(settled + 10, taken + 10));
        assert_eq!(flow.window(), window);
        let held = (25_000 / HELD_UNIT_US) as u16;
        let all = 10 + under_way;
        flow.heard(now + 50_000, 1, Stamp { held, ..word(settled + all, taken + all) });
        assert_eq!(flow.window(), expected, "{under_way} bytes are under way");
    }
}

#[test]
fn the_shortest_round_trip_is_forgotten_when_it_is_old() {
    let mut rounds = Rounds::new();
    rounds.after(SHORTEST_US, 1_000, 0, 1_000);
    let known = |rounds: &Rounds| rounds.flow.shortest_us();
    for _ in 0..11 {
        rounds.after(SHORTEST_US / 6 - 5_000, 1_000, 0, 5_000);
    }
    assert_eq!(known(&rounds), 1_000, "it is younger than twice the time");
    rounds.after(SHORTEST_US / 6 - 5_000, 1_000, 0, 5_000);
    assert_eq!(known(&rounds), 5_000);
}

#[test]
fn a_round_trip_is_smoothed_and_leaves_out_how_long_the_peer_has_known() {
    let mut flow = Flow::new(0);
    assert_eq!((flow.round_trip_us(), flow.takes_within(1_000_000)), (None, None));
    flow.send(0, 100);
    flow.heard(1_320, 1, Stamp { held: 10, ..word(100, 100) });
    assert_eq!(flow.round_trip, Some((1_000, 500)));
    assert_eq!(flow.takes_within(2_000), None, "the window still doubles");
    flow.slow_start = false;
    assert_eq!(flow.takes_within(2_000), Some(28_000));
    flow.send(10_000, 100);
    flow.heard(12_000, 1, word(200, 200));
    assert_eq!(flow.round_trip, Some((1_125, 625)));
}

#[test]
fn what_leaves_at_nearly_the_same_time_shares_a_mark() {
    let took = |round_trip_us: u64, apart_us: u64| {
        let mut flow = Flow::new(0);
        flow.send(0, 100);
        flow.heard(round_trip_us, 1, word(100, 100));
        let now = 1_000_000;
        flow.send(now, 100);
        flow.send(now + apart_us, 100);
        flow.heard(now + 10_000, 1, word(300, 300));
        flow.shortest_us().min(10_000)
    };
    assert_eq!(took(12_800, MARK_US), 10_000, "as old as the first of them");
    assert_eq!(took(12_800, MARK_US + 1), 10_000 - MARK_US - 1);
    assert_eq!((took(64_000, 1_000), took(64_000, 1_001)), (10_000, 8_999), "a 64th");
}

#[test]
fn a_round_trip_whose_mark_is_gone_is_not_measured() {
    let mut flow = Flow::new(0);
    for number in 0..=MARKS_MAX as u64 {
        flow.send(number * 1_000, 10);
    }
    assert_eq!(flow.marks.len(), MARKS_MAX);
    flow.heard(1_000_000, 1, word(10, 10));
    assert_eq!(flow.round_trip_us(), None);
    flow.heard(1_000_000, 1, word(20, 20));
    assert_eq!(flow.round_trip_us(), Some(999_000));
}

/// A flow with round trips of 100 ms and a window of 28,000 bytes, which may send 560,000 bytes
/// a second, at 100,000 µs.
fn paced() -> Flow {
    let mut flow = Flow::new(0);
    flow.send(0, 14_000);
    flow.heard(100_000, 1, word(14_000, 14_000));
    assert_eq!((flow.window(), flow.pace()), (28_000, Some(560_000)));
    assert!(flow.admits(100_000, 1_400));
    flow
}

#[test]
fn a_window_leaves_spread_over_a_long_round_trip() {
    let mut flow = paced();
    flow.send(100_000, 14_000 - BURST_BYTES as usize / 8);
    assert!(flow.admits(100_000, 1_400), "a part of the burst is left");
    flow.send(100_000, 1);
    assert!(!flow.clone().admits(100_000, 1_400), "it is used up");
    // It waits for a quarter of a burst, 3,500 bytes, and has 1,749.
    assert_eq!(flow.deadline(1_400), 100_000 + 3_127);
    assert!(!flow.clone().admits(103_126, 1_400));
    assert!(flow.clone().admits(103_127, 1_400));
    assert_eq!(flow.deadline(5_600), 100_000 + 6_877, "a longer one waits for itself");
    // However long nothing leaves, a burst is no longer.
    assert!(flow.admits(9_000_000, 1_400));
    assert_eq!(flow.credit, BURST_BYTES);
    flow.slow_start = false;
    assert_eq!(flow.pace(), Some(336_000));
    flow.shortest = (PACED_US, u64::MAX);
    assert!(flow.pace().is_some());
    flow.shortest = (PACED_US - 1, u64::MAX);
    assert_eq!(flow.pace(), None);
}

#[test]
fn time_in_which_nothing_is_earned_counts_with_the_next() {
    let mut flow = paced();
    flow.send(100_000, 14_000);
    (100_001..106_300).for_each(|now| {
        flow.admits(now, 1_400);
    });
    assert_eq!(flow.credit, 3_149, "one in two microseconds");
}

#[test]
fn a_burst_on_a_fast_path_is_a_hundredth_of_a_second() {
    let mut flow = paced();
    flow.window = 280_000;
    assert!(flow.admits(9_000_000, 1_400));
    assert_eq!(flow.credit, 56_000);
}

#[test]
fn there_is_room_for_a_window_and_for_anything_where_nothing_is_under_way() {
    let mut flow = Flow::new(0);
    assert!(flow.admits(0, 1_000_000));
    flow.send(0, 12_600);
    assert!(flow.admits(0, 1_400) && !flow.clone().admits(0, 1_401));
    let mut flow = Flow::new(0);
    flow.send(0, 5_000);
    assert_eq!(flow.deadline(1_400), u64::MAX, "nobody has asked for word");
    assert!(!flow.admits(70, 9_001));
    assert_eq!(flow.deadline(9_001), 70 + flow.patience_us());
    let mut full = paced();
    full.send(100_000, 28_000);
    assert_eq!(full.deadline(1), 100_000 + full.patience_us(), "no credit makes room");
    // Its window is used up, though less than half of it is under way.
    flow.heard(ROUND_US, 1, word(5_000, 5_000));
    assert_eq!(flow.window(), 19_000);
}

#[test]
fn word_is_never_answered_with_word() {
    let mut flow = Flow::new(0);
    let mut receipt = Receipt::default();
    flow.send(0, 10_000);
    // A header alone: it counts as under way, and nobody waits for it.
    let word = flow.send(5, HEADER_BYTES);
    assert_eq!((word.offset, word.asks), (10_000, false));
    receipt.received(10, 1, word, HEADER_BYTES);
    assert_eq!(receipt.due(), None);
    assert_eq!(flow.under_way(), 10_000 + HEADER_BYTES as u32);
}

#[test]
fn whoever_sends_half_a_window_asks_for_word() {
    let mut flow = Flow::new(0);
    let first = flow.send(5, 7_000);
    assert_eq!((first.offset, first.asks), (0, false));
    assert_eq!(flow.silent_at(), None);
    let second = flow.send(9, HEADER_BYTES + 1);
    assert_eq!((second.offset, second.asks), (7_000, true));
    assert!(flow.send(10, HEADER_BYTES + 1).asks);
    assert_eq!(flow.silent_at(), Some(9 + 2 * SILENCE_MIN_US + 4 * ASKED_US));
    // As long as half of it is under way after some word, the wait begins anew.
    flow.window = WINDOW_FIRST;
    flow.round.full = false;
    flow.heard(1_000, 1, word(92, 92));
    assert_eq!((flow.under_way(), flow.silent_at()), (7_000, None));
    flow.send(1_500, 2);
    flow.heard(2_000, 1, word(93, 93));
    let silent_at = Some(2_000 + flow.patience_us());
    assert_eq!((flow.under_way(), flow.silent_at()), (7_001, silent_at));
}

#[test]
fn silence_halves_the_window_and_is_waited_for_longer_each_time() {
    let mut flow = paced();
    // Twice the round trip, four times its deviation, and what a peer may take to give word.
    assert_eq!(flow.patience_us(), 2 * 100_000 + 4 * 50_000 + 4 * ASKED_US);
    let mut now = 200_000;
    for (patience_us, window) in
        [(420_000, 14_000), (840_000, 7_000), (1_680_000, 3_500), (SILENCE_MAX_US, WINDOW_MIN)]
    {
        flow.send(now, 28_000);
        flow.poll(now + patience_us - 1);
        assert_eq!(flow.under_way(), 28_000);
        now += patience_us;
        flow.poll(now);
        assert_eq!((flow.under_way(), flow.window(), flow.slow_start), (0, window, true));
        assert_eq!((flow.silent_at(), flow.marks.len(), flow.round.ends), (None, 0, flow.sent()));
    }
    for _ in 0..100 {
        flow.send(now, 28_000);
        now += 10 * SILENCE_MAX_US;
        flow.poll(now);
    }
    assert_eq!(flow.patience_us(), SILENCE_MAX_US);
    flow.send(now, 1);
    flow.heard(now + 100_000, 1, word(flow.sent(), 14_001));
    assert!(flow.patience_us() < 420_000, "there is word again");
}

#[test]
fn a_late_datagram_is_taken_from_what_was_lost() {
    let mut rounds = Rounds::settled(1_000);
    let settled = rounds.flow.sent();
    rounds.now += 1_000;
    rounds.flow.send(rounds.now, 40_000);
    rounds.flow.heard(rounds.now, 1, word(settled + 35_000, rounds.taken));
    assert_eq!(rounds.flow.round.lost, 35_000);
    rounds.flow.heard(rounds.now, 1, word(settled + 35_000, rounds.taken + 34_000));
    assert_eq!((rounds.flow.round.lost, rounds.flow.round.arrived), (1_000, 0));
    rounds.flow.heard(rounds.now, 1, word(settled + 40_000, rounds.taken + 40_000));
    assert_eq!((rounds.flow.round.lost, rounds.flow.round.arrived), (0, 5_000));
}

#[test]
fn what_another_life_of_the_peer_has_missed_is_no_loss() {
    let mut rounds = Rounds::settled(1_000);
    let settled = rounds.flow.sent();
    rounds.flow.send(rounds.now, 40_000);
    rounds.flow.heard(rounds.now, 2, word(settled + 40_000, 1_000));
    assert_eq!((rounds.flow.round.lost, rounds.flow.round.arrived), (0, 40_000));
}

#[test]
fn a_flow_that_forgets_has_nothing_under_way_and_waits_for_nobody() {
    let mut rounds = Rounds::settled(1_000);
    let flow = &mut rounds.flow;
    flow.send(rounds.now, 40_000);
    flow.silences = 3;
    flow.window = WINDOW_MIN;
    flow.forget();
    assert_eq!((flow.under_way(), flow.settled(), flow.window()), (0, flow.sent(), WINDOW_FIRST));
    assert_eq!((flow.silent_at(), flow.silences), (None, 0));
    assert_eq!((flow.marks.len(), flow.round.ends), (0, flow.sent()));
    flow.window = 50_000;
    flow.forget();
    assert_eq!(flow.window(), 50_000);
}

#[test]
fn on_a_path_with_short_datagrams_as_many_of_them_may_be_under_way() {
    let mut flow = Flow::new(0);
    flow.carries(9_000);
    assert_eq!(flow.window(), WINDOW_FIRST, "longer ones make no larger window");
    flow.carries(548);
    assert_eq!(flow.window(), DATAGRAMS_FIRST * 548);
    flow.shrink_to(0);
    flow.shrink_to(0);
    flow.shrink_to(0);
    assert_eq!(flow.window(), DATAGRAMS_MIN * 548);
    flow.carries(1_000);
    assert_eq!(flow.window(), DATAGRAMS_MIN * 548, "it grows as others do");
    flow.carries(600);
    assert_eq!(flow.window(), DATAGRAMS_MIN * 600, "two may always be under way");
    flow.forget();
    assert_eq!(flow.window(), DATAGRAMS_FIRST * 600);
}
