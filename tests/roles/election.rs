//! The election: the leader that a replica hears, and the end of its patience.

use crate::common::{R1, R2};
use multipaxos::members::Configuration;
use multipaxos::message::{Decided, Heartbeat, LogHash, Voter};
use multipaxos::paxos::election::Election;
use multipaxos::paxos::learner::FETCH_SLOTS_MAX;
use multipaxos::paxos::pace::{Trip, WAIT_MAX_US};
use multipaxos::paxos::{Limits, Settings};
use multipaxos::types::{Ballot, BootId, DirectoryId, ReplicaId, Slot, Time};

const MIN_US: u64 = 300_000;
const MAX_US: u64 = 600_000;
const STALL_US: u64 = MAX_US;

fn settings(id: u8) -> Settings {
    Settings {
        id: ReplicaId(id),
        n: 3,
        places: 3,
        boot: BootId(1),
        payload_bytes: 1_200,
        heartbeat_us: 50_000,
        election_min_us: MIN_US,
        election_max_us: MAX_US,
        checkpoint_slots: 8,
        skip_slot: None,
        limits: Limits::DEFAULT,
    }
}

fn started() -> Configuration {
    Configuration::started(&[10, 11, 12].map(DirectoryId))
}

fn election(id: u8) -> Election {
    Election::new(settings(id), started(), Time(0), 0)
}

fn heartbeat(boot: u64, round: u64) -> Heartbeat {
    Heartbeat {
        voter: Voter { directory: DirectoryId(1), boot: BootId(boot), begun: 0 },
        written: 0,
        round,
        echo: 0,
        held_us: 0,
        sync_ms: 0,
        ballot: Ballot::ZERO,
        leading: false,
        campaigning: false,
        promised: None,
        applied: Slot::ZERO,
        history: LogHash::default(),
        decided: Decided::default(),
        inherited: Slot::ZERO,
        seen: None,
    }
}

fn serving(round: u64, ballot: u64) -> Heartbeat {
    Heartbeat { ballot: Ballot(ballot), leading: true, ..heartbeat(5, round) }
}

fn echoing(round: u64, echo: u64) -> Heartbeat {
    Heartbeat { echo, ..heartbeat(5, round) }
}

fn promising(round: u64, echo: u64, promised: u64) -> Heartbeat {
    Heartbeat { promised: Some(Ballot(promised)), ..echoing(round, echo) }
}

#[test]
fn the_wait_is_drawn_from_the_shortest_to_the_longest() {
    let span = MAX_US - MIN_US;
    for (draw, wait_us) in [(0, MIN_US), (7, MIN_US + 7), (span, MAX_US), (span + 1, MIN_US)] {
        let election = Election::new(settings(0), started(), Time(1_000), draw);
        assert_eq!(election.suspect_at(), Time(1_000 + wait_us), "draw {draw}");
    }
    let mut election = election(0);
    assert!(!election.suspects(Time(MIN_US - 1)));
    assert!(election.suspects(Time(MIN_US)));
    election.handle_heartbeat(Time(200_000), 9, R1, &serving(1, 1), true);
    assert_eq!(election.suspect_at(), Time(200_000 + MIN_US + 9), "the wait is drawn anew");
}

#[test]
fn the_wait_doubles_up_to_a_bound_until_something_is_applied() {
    let mut election = election(0);
    for doubled in [2, 4, 8, 16, 16, 16] {
        election.back_off(Time(0), 0);
        assert_eq!(election.suspect_at(), Time(doubled * MIN_US));
    }
    election.handle_progress(Time(0), Slot(0), None);
    election.be_patient(Time(0), 0);
    assert_eq!(election.suspect_at(), Time(16 * MIN_US), "nothing new was applied");
    election.handle_progress(Time(0), Slot(1), None);
    election.be_patient(Time(0), 0);
    assert_eq!(election.suspect_at(), Time(MIN_US));
}

#[test]
fn a_member_that_is_heard_again_after_a_long_silence_makes_the_next_attempt_soon() {
    let tried_alone = |silent_us: u64, member: bool| {
        let mut election = election(0);
        election.handle_heartbeat(Time(0), 0, R1, &heartbeat(5, 1), true);
        (0..4).for_each(|_| election.back_off(Time(10), 0));
        election.handle_heartbeat(Time(silent_us), 0, R1, &heartbeat(5, 2), member);
        election.suspect_at()
    };
    assert_eq!(tried_alone(MAX_US - 1, true), Time(10 + 16 * MIN_US), "it was always there");
    assert_eq!(tried_alone(MAX_US, true), Time(MAX_US + MIN_US), "the path was cut");
    assert_eq!(tried_alone(MAX_US, false), Time(10 + 16 * MIN_US), "it has no vote");
}

#[test]
fn a_pause_moves_every_timer_by_its_length() {
    let pause_us = MIN_US / 2;
    let started = || {
        let mut election = election(0);
        let round = election.begin_round(Time(0));
        election.handle_heartbeat(Time(0), 0, R1, &serving(1, 1), true);
        election.handle_heartbeat(Time(0), 0, R2, &echoing(1, round), true);
        election.handle_progress(Time(0), Slot(0), Some(0));
        election
    };
    let mut awake = started();
    awake.observe(Time(2 * pause_us));
    assert_eq!(awake.suspect_at(), Time(MIN_US), "a gap of this length is no pause");
    let mut paused = started();
    let gap = 10 * MAX_US;
    paused.observe(Time(gap));
    let shift = gap - pause_us;
    assert_eq!(paused.suspect_at(), Time(shift + MIN_US));
    assert!(paused.hears_leader(Time(shift + MIN_US - 1)));
    assert!(!paused.hears_leader(Time(shift + MIN_US)));
    assert!(paused.is_heard_by_quorum(Time(shift + MAX_US - 1)));
    assert!(!paused.is_heard_by_quorum(Time(shift + MAX_US)));
    assert!(!paused.is_unsatisfied(Time(shift + STALL_US - 1)));
    assert!(paused.is_unsatisfied(Time(shift + STALL_US)));
    // A pause counts only once.
    paused.observe(Time(gap + pause_us));
    assert_eq!(paused.suspect_at(), Time(shift + MIN_US));
}

#[test]
fn a_pause_moves_the_quiet_after_an_attempt_too() {
    let mut election = election(0);
    election.back_off(Time(0), 0);
    election.handle_progress(Time(0), Slot(0), Some(0));
    let shift = 10 * MAX_US - MIN_US / 2;
    election.observe(Time(10 * MAX_US));
    // When the quiet time ends, the replica has been unsatisfied for long enough already.
    assert!(!election.suspects(Time(shift + 2 * MIN_US - 1)));
    assert!(election.suspects(Time(shift + 2 * MIN_US)));
}

#[test]
fn of_one_boot_only_newer_rounds_count_and_a_new_boot_begins_anew() {
    let mut election = election(0);
    let round = election.begin_round(Time(0));
    let mut news = |heartbeat| election.handle_heartbeat(Time(0), 0, R1, &heartbeat, true);
    assert!(news(Heartbeat { voter: heartbeat(5, 1).voter, ..promising(7, round, 4) }));
    assert!(!news(heartbeat(5, 7)) && !news(heartbeat(5, 6)));
    assert!(news(heartbeat(5, 8)));
    assert!(news(heartbeat(6, 1)), "a heartbeat of another life is news");
    assert!(!news(heartbeat(6, 1)));
    assert_eq!(election.echo_of(R1), 1);
    assert_eq!(election.highest_promise(), None, "the promise of the earlier life is forgotten");
    assert!(!election.is_heard_by_quorum(Time(0)));
}

#[test]
fn the_leader_is_the_highest_ballot_that_a_member_serves_under() {
    let mut election = election(0);
    assert_eq!(election.leader(), None);
    election.handle_heartbeat(Time(0), 0, R1, &serving(1, 4), false);
    assert_eq!(election.leader(), None, "a replica that is no member is no leader");
    election.handle_heartbeat(Time(0), 0, R1, &heartbeat(5, 2), true);
    assert_eq!(election.leader(), None, "a replica that does not serve is no leader");
    election.handle_heartbeat(Time(0), 0, R1, &serving(3, 4), true);
    assert_eq!(election.leader(), Some(Ballot(4)));
    election.handle_heartbeat(Time(MIN_US), 0, R2, &serving(1, 2), true);
    assert_eq!(election.leader(), Some(Ballot(4)));
    assert!(!election.hears_leader(Time(MIN_US)), "a deposed leader is no leader");
    election.handle_heartbeat(Time(MIN_US), 0, R1, &serving(4, 4), true);
    assert!(election.hears_leader(Time(MIN_US)));
    election.lead(Time(MIN_US), Ballot(6));
    assert_eq!(election.leader(), Some(Ballot(6)));
    election.lead(Time(MIN_US), Ballot(3));
    assert_eq!(election.leader(), Some(Ballot(6)));
}

#[test]
fn each_replica_acts_on_a_lack_of_progress_in_its_own_turn() {
    for (id, turn_us) in [(0, 0), (1, 100_000), (2, 200_000)] {
        let mut election = election(id);
        election.handle_heartbeat(Time(0), 0, R1, &serving(1, 1), true);
        election.handle_progress(Time(50_000), Slot(0), Some(0));
        let due = 50_000 + STALL_US + turn_us;
        election.handle_heartbeat(Time(due), 0, R1, &serving(2, 1), true);
        assert!(!election.suspects(Time(due - 1)), "replica {id}");
        assert!(election.suspects(Time(due)), "replica {id}");
    }
}

#[test]
fn what_waits_waits_from_its_beginning_or_the_last_progress_on() {
    let mut election = election(0);
    election.handle_progress(Time(1), Slot(4), Some(0));
    election.handle_progress(Time(2), Slot(4), Some(0));
    election.handle_progress(Time(3), Slot(3), Some(0));
    assert!(!election.is_unsatisfied(Time(STALL_US)));
    assert!(election.is_unsatisfied(Time(1 + STALL_US)));
    election.handle_progress(Time(9), Slot(5), Some(0));
    assert!(!election.is_unsatisfied(Time(8 + STALL_US)));
    assert!(election.is_unsatisfied(Time(9 + STALL_US)));
    election.handle_progress(Time(30), Slot(5), None);
    assert!(!election.is_unsatisfied(Time(10 * STALL_US)), "nothing waits");
    election.handle_progress(Time(50), Slot(5), Some(0));
    election.lead(Time(60), Ballot(3));
    assert!(!election.is_unsatisfied(Time(59 + STALL_US)), "a new leader has the whole time");
    assert!(election.is_unsatisfied(Time(60 + STALL_US)));
}

#[test]
fn a_peer_is_in_touch_while_it_echoes_what_was_sent_lately() {
    let mut election = election(0);
    let round = election.begin_round(Time(1_000));
    let latest = election.begin_round(Time(2_000));
    election.handle_heartbeat(Time(3_000), 0, R1, &echoing(1, latest), true);
    // An older echo that comes later does not lower the newer one.
    election.handle_heartbeat(Time(3_000), 0, R1, &echoing(2, round), true);
    assert!(election.is_heard_by_quorum(Time(2_000 + MAX_US - 1)));
    assert!(!election.is_heard_by_quorum(Time(2_000 + MAX_US)));
    election.handle_heartbeat(Time(3_000), 0, R1, &echoing(3, latest), false);
    assert!(!election.is_heard_by_quorum(Time(3_000)), "the echo of a stranger does not count");
}

#[test]
fn a_quorum_follows_if_it_is_in_touch_and_has_promised_nothing_higher() {
    let mut election = election(0);
    let round = election.begin_round(Time(0));
    let follows = |election: &Election, own| {
        election.is_followed_by_quorum(Time(0), Ballot(6), Some(Ballot(own)))
    };
    assert!(!follows(&election, 6), "alone");
    election.handle_heartbeat(Time(0), 0, R1, &promising(1, round, 6), true);
    assert!(follows(&election, 6));
    assert!(!follows(&election, 7));
    election.handle_heartbeat(Time(0), 0, R2, &promising(1, round, 7), true);
    assert!(!follows(&election, 7));
    assert_eq!(election.highest_promise(), Some(Ballot(7)));
    election.note_promise(R1, Ballot(8));
    election.note_promise(R1, Ballot(5));
    assert_eq!(election.highest_promise(), Some(Ballot(8)), "no promise goes down");
    assert!(!follows(&election, 6));
}

#[test]
fn rounds_of_heartbeats_are_numbered_and_remembered_for_as_long_as_a_wait_may_be() {
    for every_us in [1_000, 50_000] {
        let mut election = election(0);
        assert_eq!(election.next_heartbeat(), Time(0));
        let first = election.begin_round(Time(0));
        assert_eq!(election.next_heartbeat(), Time(50_000));
        let mut round = first;
        let rounds = WAIT_MAX_US / every_us;
        for number in 1..=rounds {
            round = election.begin_round(Time(number * every_us));
            assert_eq!(round, first + number);
        }
        let (now, half) = (Time(WAIT_MAX_US), rounds / 2);
        // The newest one exactly, the others a little too old.
        for (echo, left_us) in [(round, WAIT_MAX_US), (first + half, half * every_us)] {
            let mut election = election.clone();
            election.handle_heartbeat(now, 0, R1, &echoing(1, echo), true);
            let answer_us = election.pace().answer_us(R1);
            let took_us = WAIT_MAX_US - left_us;
            // The first answer counts three times: itself and its deviation.
            assert!(
                (3 * took_us..=3 * (took_us + 3_000)).contains(&answer_us)
                    || answer_us == WAIT_MAX_US,
                "{answer_us} for {took_us}, every {every_us}"
            );
        }
    }
}

#[test]
fn an_echo_of_a_round_that_was_never_sent_says_nothing() {
    let mut election = election(0);
    let round = election.begin_round(Time(0));
    election.handle_heartbeat(Time(10), 0, R1, &echoing(1, round + 1), true);
    election.handle_heartbeat(Time(10), 0, R2, &echoing(1, 0), true);
    assert!(!election.is_heard_by_quorum(Time(10)));
    assert_eq!(election.pace().answer_us(R1) + election.pace().answer_us(R2), 0);
}

#[test]
fn the_round_trip_is_what_an_echo_takes_less_the_time_for_which_it_was_held() {
    let mut election = election(0);
    let round = election.begin_round(Time(0));
    let held = Heartbeat { held_us: 40_000, ..echoing(1, round) };
    election.handle_heartbeat(Time(60_000), 0, R1, &held, true);
    assert_eq!(election.pace().answer_us(R1), 60_000, "20 ms, and twice that for its deviation");
    let again = Heartbeat { round: 2, held_us: 90_000, ..held };
    election.handle_heartbeat(Time(160_000), 0, R1, &again, true);
    assert_eq!(election.pace().answer_us(R1), 60_000, "the same echo measures nothing new");
    assert_eq!(election.held_us(Time(161_000), R1), 1_000);
    let nonsense = Heartbeat { round: 3, held_us: u32::MAX, sync_ms: u16::MAX, ..held };
    let echo = election.begin_round(Time(161_000));
    election.handle_heartbeat(Time(162_000), 0, R1, &Heartbeat { echo, ..nonsense }, true);
    assert_eq!(election.pace().answer_us(R1), 67_500, "it was held for longer than it took");
}

#[test]
fn a_pause_is_no_round_trip() {
    let mut election = election(0);
    let round = election.begin_round(Time(0));
    election.observe(Time(100_000));
    election.observe(Time(60_000_000));
    election.handle_heartbeat(Time(60_000_000), 0, R1, &echoing(1, round), true);
    assert!(election.pace().answer_us(R1) <= 3 * (100_000 + MIN_US / 2));
}

#[test]
fn the_sleep_of_a_peer_is_no_round_trip_and_a_path_that_gets_slower_is() {
    let mut election = election(0);
    let first = election.begin_round(Time(0));
    election.handle_heartbeat(Time(10_000), 0, R1, &echoing(1, first), true);
    let before = election.pace().answer_us(R1);
    // It sleeps, and first says what it has heard before.
    let asked = election.begin_round(Time(20_000));
    let woken = Time(2_000_000);
    election.handle_heartbeat(woken, 0, R1, &echoing(2, asked), true);
    assert_eq!(election.pace().answer_us(R1), before);
    // The next one comes soon, and its answer was long under way.
    let asked = election.begin_round(woken);
    election.handle_heartbeat(woken.plus_us(150_000), 0, R1, &echoing(3, 0), true);
    election.handle_heartbeat(woken.plus_us(300_000), 0, R1, &echoing(4, asked), true);
    assert!(election.pace().answer_us(R1) > 2 * before);
}

/// An election whose peers have answered so often in this time that it hardly varies.
fn measured(answer_us: u64) -> (Election, Time) {
    let mut election = election(0);
    let mut now = Time(0);
    for round in 1..100 {
        let sent = election.begin_round(now);
        now = now.plus_us(answer_us);
        for peer in [R1, R2] {
            election.handle_heartbeat(now, 0, peer, &echoing(round, sent), true);
        }
    }
    (election, now)
}

#[test]
fn suspicion_follows_what_is_measured_while_it_waits() {
    let (mut election, now) = measured(700_000);
    election.handle_heartbeat(now, 0, R1, &serving(100, 1), true);
    assert_eq!(election.suspect_at(), now.plus_us(1_400_000));
    assert!(election.hears_leader(now.plus_us(1_399_999)));
    election.be_patient(now, 1_400_000);
    assert_eq!(election.suspect_at(), now.plus_us(2_800_000), "the spread follows too");
    for round in 101..200 {
        let echo = election.begin_round(now);
        for peer in [R1, R2] {
            let fast = Heartbeat { held_us: 700_000, ..echoing(round, echo) };
            election.handle_heartbeat(now.plus_us(700_000), 0, peer, &fast, true);
        }
    }
    assert!(election.suspect_at() <= now.plus_us(MAX_US), "and it shrinks while it waits");
}

#[test]
fn waits_do_not_double_beyond_the_bound() {
    let (mut election, now) = measured(700_000);
    let waits = [2, 2, 2, 2].map(|_| {
        election.back_off(now, 0);
        election.suspect_at().since_us(now)
    });
    assert_eq!(waits, [2_800_000; 4], "twice 2.8 s fits 10 s, four times does not");
}

#[test]
fn what_waits_here_is_not_held_against_a_leader_whose_log_moves() {
    let mut election = election(0);
    let hear = |election: &mut Election, at, round, ballot, applied| {
        let heartbeat = Heartbeat { applied: Slot(applied), ..serving(round, ballot) };
        election.handle_heartbeat(Time(at), 0, R1, &heartbeat, true);
    };
    election.handle_progress(Time(0), Slot(3), Some(0));
    hear(&mut election, 10, 1, 1, 5);
    assert!(election.is_unsatisfied(Time(10 + STALL_US)), "nobody knows yet whether it moves");
    hear(&mut election, 400_000, 2, 1, 6);
    assert!(!election.is_unsatisfied(Time(400_000 + STALL_US - 1)));
    assert!(election.is_unsatisfied(Time(400_000 + STALL_US)));
    hear(&mut election, 500_000, 3, 1, 6);
    assert!(election.is_unsatisfied(Time(400_000 + STALL_US)), "it stands still");
    // Another leader has the whole time, and its log may be shorter.
    hear(&mut election, 600_000, 4, 4, 2);
    hear(&mut election, 700_000, 5, 4, 3);
    assert!(!election.is_unsatisfied(Time(700_000 + STALL_US - 1)));
    assert!(election.is_unsatisfied(Time(700_000 + STALL_US)));
    // One that was deposed says nothing.
    hear(&mut election, 800_000, 6, 1, 9);
    assert!(election.is_unsatisfied(Time(700_000 + STALL_US)));
}

#[test]
fn an_echo_may_be_as_old_as_two_round_trips() {
    let (election, now) = measured(700_000);
    // The newest echo left 700 ms ago.
    assert!(election.is_heard_by_quorum(now.plus_us(699_999)));
    assert!(!election.is_heard_by_quorum(now.plus_us(700_000)));
}

#[test]
fn each_reign_that_brings_no_progress_doubles_the_time_that_the_next_one_has() {
    let mut election = election(0);
    let mut now = Time(0);
    election.handle_progress(now, Slot(0), Some(0));
    for (ballot, doubled) in [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 16)] {
        election.handle_heartbeat(now, 0, R1, &serving(ballot + 1, ballot), true);
        let stall_us = (doubled * STALL_US).min(WAIT_MAX_US);
        assert!(!election.is_unsatisfied(now.plus_us(stall_us - 1)), "ballot {ballot}");
        now = now.plus_us(stall_us);
        assert!(election.is_unsatisfied(now), "ballot {ballot}");
    }
    election.handle_progress(now, Slot(1), None);
    election.handle_progress(now, Slot(1), Some(0));
    assert!(election.is_unsatisfied(now.plus_us(STALL_US)), "progress ends that");
}

#[test]
fn a_long_line_has_the_time_that_slow_paths_need_for_it() {
    let mut election = election(0);
    election.handle_progress(Time(0), Slot(0), Some(3_000_000));
    election.handle_progress(Time(1_000), Slot(0), Some(0));
    assert!(!election.is_unsatisfied(Time(STALL_US + 3_000_000 - 1)));
    assert!(election.is_unsatisfied(Time(STALL_US + 3_000_000)));
    election.handle_progress(Time(5_000_000), Slot(1), Some(0));
    assert!(election.is_unsatisfied(Time(5_000_000 + STALL_US)), "the next one is short");
}

#[test]
fn a_heartbeat_that_was_overtaken_tells_how_long_messages_may_take() {
    let mut election = election(0);
    let round = election.begin_round(Time(0));
    let first = echoing(1, round);
    let second = Heartbeat { round: first.round + 1, ..first };
    election.handle_heartbeat(Time(20_000), 0, R1, &second, true);
    assert_eq!(election.pace().answer_us(R1), 60_000);
    assert!(!election.handle_heartbeat(Time(100_000), 0, R1, &first, true), "it is no news");
    assert!(election.pace().answer_us(R1) > 100_000, "{}", election.pace().answer_us(R1));
}

#[test]
fn an_echo_of_an_earlier_life_hides_none_of_this_one() {
    let mut election = election(0);
    let round = election.begin_round(Time(0));
    election.handle_heartbeat(Time(10_000), 0, R1, &echoing(1, round + 700), true);
    assert_eq!(election.pace().answer_us(R1), 0, "it says nothing of this life");
    election.handle_heartbeat(Time(20_000), 0, R1, &echoing(2, round), true);
    assert_eq!(election.pace().answer_us(R1), 60_000);
}

#[test]
fn the_numbers_of_two_lives_are_told_apart() {
    let first = |boot| {
        let boot = BootId(boot);
        Election::new(Settings { boot, ..settings(0) }, started(), Time(0), 0).begin_round(Time(0))
    };
    let mut begun: Vec<u64> = (0..200).map(first).collect();
    begun.sort_unstable();
    assert!(begun.windows(2).all(|pair| pair[1] - pair[0] > 100_000), "{begun:?}");
    assert!(begun.last().is_some_and(|last| *last <= 1 << 28), "four bytes on the wire");
    // Ten heartbeats of this life have left when a peer echoes the third of the one before.
    let mut election = election(0);
    for beat in 0..10 {
        election.begin_round(Time(beat * 50_000));
    }
    election.handle_heartbeat(Time(500_000), 0, R1, &echoing(1, first(0) + 2), true);
    assert_eq!(election.pace().answer_us(R1), 0);
    assert!(!election.is_heard_by_quorum(Time(500_000)));
}

#[test]
fn a_lack_of_progress_waits_for_the_campaign_of_a_pre_vote_that_was_granted() {
    let mut election = election(0);
    let round = election.begin_round(Time(0));
    // A round trip of 20 ms, and twice that for its deviation.
    election.handle_heartbeat(Time(20_000), 0, R1, &echoing(1, round), true);
    election.handle_progress(Time(0), Slot(0), Some(0));
    let now = Time(STALL_US);
    election.be_patient(now, 0);
    assert!(election.suspects(now));
    election.calm(now);
    assert!(!election.suspects(now.plus_us(120_000 - 1)));
    assert!(election.suspects(now.plus_us(120_000)));
}

#[test]
fn a_replica_that_is_far_behind_another_lets_that_one_try_first() {
    let suspected_at = |ahead: u64, heard: bool| {
        let mut election = election(0);
        election.handle_progress(Time(0), Slot(5), None);
        let heartbeat = Heartbeat { applied: Slot(5 + ahead), ..echoing(1, 0) };
        election.handle_heartbeat(Time(1_000), 0, R1, &heartbeat, true);
        election.be_patient(Time(if heard { 999 } else { 1_000 }), 0);
        election.suspect_at().0
    };
    let few = FETCH_SLOTS_MAX;
    assert_eq!(suspected_at(few, true), 999 + settings(0).election_min_us);
    let later_us = suspected_at(few + 1, true) - suspected_at(few, true);
    assert_eq!(later_us, settings(0).election_max_us);
    let gone = suspected_at(few + 1, false);
    assert_eq!(gone, 1_000 + settings(0).election_min_us, "that was the leader, and is gone");
}

#[test]
fn what_answers_take_is_told_when_it_has_changed() {
    let mut election = election(0);
    assert_eq!(election.take_trip(R1), None, "nothing is measured");
    let mut after = |now: u64, took_us: u64, round: u64| {
        let own = election.begin_round(Time(now));
        let heartbeat = echoing(round, own);
        election.handle_heartbeat(Time(now + took_us), 0, R1, &heartbeat, true);
        election.take_trip(R1).map(Trip::longest_us)
    };
    assert_eq!(after(0, 20_000, 1), Some(60_000));
    let mut told =
        (2..100).filter_map(|round| after(round * 50_000, 20_000, round)).collect::<Vec<_>>();
    assert!(told.is_sorted_by(|a, b| a > b) && told.len() < 12, "{told:?}");
    assert!(told.pop().is_some_and(|us| us < 25_000), "the deviation has gone");
    assert!(after(5_000_000, 200_000, 100).is_some_and(|us| us > 200_000));
}
