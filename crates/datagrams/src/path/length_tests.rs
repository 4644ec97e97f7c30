//! A simulated path: it carries datagrams up to a length, and loses some of the others.

use super::*;
use seeds::stream;

const FIRST: usize = 1_252;
const MOST: usize = 1_400;

/// A path, and the peer behind it, which answers every probe.
struct World {
    path: PathLength,
    now: u64,
    carries: usize,
    batches_arrive: bool,
    answers_arrive: bool,
    /// The share of datagrams that the path loses, in each direction.
    loss: f64,
    rtt_us: u64,
    rng: fastrand::Rng,
    /// Answers on their way.
    answers: Vec<(u64, u32)>,
    probes: usize,
    /// Whether there is word of datagrams that arrive.
    shows: bool,
    evidence: Evidence,
    sent: u32,
    /// Word on its way.
    words: Vec<(u64, u32)>,
}

impl World {
    fn new(carries: usize) -> Self {
        World {
            path: PathLength::new(FIRST, MOST),
            now: 1_000,
            carries,
            batches_arrive: true,
            answers_arrive: true,
            loss: 0.0,
            rtt_us: 20_000,
            rng: fastrand::Rng::with_seed(7),
            answers: Vec::new(),
            probes: 0,
            shows: false,
            evidence: Evidence::default(),
            sent: 0,
            words: Vec::new(),
        }
    }

    /// A long datagram leaves.
    fn send(&mut self) {
        let bytes = self.path.length();
        self.sent = self.sent.wrapping_add(bytes as u32);
        let asks = self.evidence.sent(self.now, self.sent, bytes);
        let passes = self.rng.f64() >= self.loss && self.rng.f64() >= self.loss;
        if asks && passes && bytes <= self.carries {
            self.words.push((self.now + self.rtt_us, self.sent));
        }
    }

    fn poll(&mut self) {
        if self.shows {
            self.path.seen(self.now, &self.evidence);
        }
        let (rng, loss) = (&mut self.rng, self.loss);
        let at = self.now + self.rtt_us;
        self.path.poll(self.now, |probe| {
            self.probes += 1;
            for _ in 0..if probe.batch { 2 } else { 1 } {
                let passes = rng.f64() >= loss && rng.f64() >= loss && self.answers_arrive;
                let fits = probe.bytes.is_none_or(|bytes| bytes <= self.carries);
                if passes && fits && (self.batches_arrive || !probe.batch) {
                    self.answers.push((at, probe.id));
                }
            }
        });
    }

    /// Lets this much time pass. `uses` is noted every 10 ms.
    fn run(&mut self, for_us: u64, uses: Use) {
        let end = self.now + for_us;
        let mut next_use = self.now;
        while self.now < end {
            if self.now >= next_use {
                self.path.used(uses);
                if self.shows && uses.long {
                    self.send();
                }
                next_use = self.now + 10_000;
            }
            self.poll();
            let deadline = self.path.deadline().map_or(end, |at| at.max(self.now + 1));
            let coming = self.answers.iter().chain(&self.words);
            let answer = coming.map(|&(at, _)| at).min().unwrap_or(end);
            self.now = deadline.min(answer).min(next_use).min(end);
            let now = self.now;
            for (_, id) in self.answers.extract_if(.., |(at, _)| *at <= now) {
                if let Some(bytes) = self.path.answered(now, id) {
                    self.evidence.arrived(now, bytes);
                }
            }
            for (_, reached) in self.words.extract_if(.., |(at, _)| *at <= now) {
                self.evidence.heard(now, reached);
            }
        }
    }
}

const LONG: Use = Use { long: true, batch: false };
const BATCH: Use = Use { long: false, batch: true };
const NOTHING: Use = Use { long: false, batch: false };

#[test]
fn a_wide_path_reaches_the_bound_in_one_round_trip() {
    let mut world = World::new(65_507);
    assert_eq!(world.path.length(), FIRST);
    world.run(20_001, LONG);
    assert_eq!(world.path.length(), MOST);
    let probes = world.probes;
    world.run(10 * CONFIRM_US, NOTHING);
    assert!(world.probes <= probes + 2, "unused, it is confirmed once at most");
    assert_eq!(world.path.deadline(), None);
}

#[test]
fn where_the_traffic_shows_that_it_arrives_nothing_is_probed() {
    for loss in [0.0, 0.3] {
        let mut world = World { shows: true, loss, ..World::new(65_507) };
        world.run(2 * CONFIRM_US, LONG);
        assert_eq!(world.path.length(), MOST);
        let probes = world.probes;
        world.run(60 * CONFIRM_US, LONG);
        assert_eq!(world.probes, probes, "{loss}");
    }
}

#[test]
fn a_path_that_becomes_narrow_is_noticed_where_the_traffic_was_believed() {
    let mut world = World { shows: true, ..World::new(65_507) };
    world.run(10 * CONFIRM_US, LONG);
    assert_eq!(world.path.length(), MOST);
    world.carries = 1_300;
    world.run(2 * CONFIRM_US, LONG);
    assert!(world.path.length() < MOST);
    world.run(CONFIRM_US, LONG);
    let found = world.path.length();
    assert!((1_300 - STEP_BYTES..=1_300).contains(&found), "{found}");
}

#[test]
fn without_use_there_are_no_probes() {
    let mut world = World::new(65_507);
    world.run(10 * CONFIRM_US, NOTHING);
    assert_eq!((world.probes, world.path.deadline()), (0, None));
}

#[test]
fn the_length_that_a_path_carries_is_found_to_a_step() {
    for most in [MOST, 9_000, 65_507] {
        for carries in [548, 560, 700, 972, 1_100, 1_251, 1_252, 1_272, 1_399, 1_472, 8_972] {
            let mut world = World::new(carries);
            world.path = PathLength::new(FIRST, most);
            world.run(10_000_000, LONG);
            let found = world.path.length();
            let carried = carries.min(most);
            assert!(found <= carried && found + STEP_BYTES >= carried, "{found} of {carried}");
        }
    }
}

#[test]
fn while_the_length_is_found_no_longer_datagram_is_in_use_than_the_first() {
    let mut world = World::new(1_272);
    for _ in 0..1_000 {
        world.run(1_000, LONG);
        assert!(world.path.length() <= 1_272);
    }
}

#[test]
fn a_path_that_loses_a_third_is_not_taken_for_a_narrow_one() {
    for seed in 0..200 {
        let mut world = World::new(65_507);
        (world.loss, world.rng) = (0.3, stream(seed, "losses"));
        world.run(20_000_000, Use { long: true, batch: true });
        assert!(world.path.length() >= FIRST, "seed {seed}");
        assert!(world.path.batches(), "seed {seed}");
    }
}

#[test]
fn a_path_that_becomes_narrow_is_noticed_and_a_wide_one_again() {
    let mut world = World::new(65_507);
    world.run(100_000, LONG);
    world.carries = 972;
    world.run(CONFIRM_US + 2_000_000, LONG);
    let found = world.path.length();
    assert!((956..=972).contains(&found), "{found}");
    world.carries = 65_507;
    world.run(2 * RETRY_MIN_US, LONG);
    assert_eq!(world.path.length(), MOST);
}

#[test]
fn silence_says_nothing_of_lengths_and_ends_the_probes() {
    let mut world = World::new(65_507);
    world.answers_arrive = false;
    world.run(60_000_000, LONG);
    assert_eq!(world.path.length(), FIRST);
    assert_eq!(world.probes, 2 * SILENT_MAX as usize);
    assert_eq!(world.path.deadline(), None);
    // The peer is heard, but never answers: rarely another attempt.
    for _ in 0..600 {
        world.path.heard();
        world.run(100_000, LONG);
    }
    assert!(world.probes < 100, "{} probes in a minute", world.probes);
    world.answers_arrive = true;
    for _ in 0..100 {
        world.path.heard();
        world.run(100_000, LONG);
    }
    assert_eq!(world.path.length(), MOST);
}

#[test]
fn a_peer_that_is_heard_draws_no_probes_by_that_alone() {
    let mut world = World::new(65_507);
    world.answers_arrive = false;
    world.run(10_000_000, LONG);
    // The last notes of use were made while it rested.
    world.path.heard();
    world.run(10_000_000, NOTHING);
    let probes = world.probes;
    for _ in 0..600 {
        world.path.heard();
        world.run(100_000, NOTHING);
    }
    assert_eq!(world.probes, probes);
}

#[test]
fn answers_that_take_longer_than_the_patience_count() {
    let mut world = World::new(65_507);
    world.rtt_us = 2_000_000;
    world.run(30_000_000, LONG);
    assert_eq!(world.path.length(), MOST);
}

#[test]
fn where_a_round_trip_is_known_to_take_long_one_attempt_is_enough() {
    let mut world = World::new(65_507);
    world.rtt_us = 540_000;
    world.path.expect(world.rtt_us);
    world.run(600_000, LONG);
    assert_eq!((world.path.length(), world.probes), (MOST, 2));
}

#[test]
fn what_the_kernel_refuses_fails_at_once() {
    let mut world = World::new(65_507);
    world.path.used(LONG);
    world.poll();
    world.path.refused(world.now, FIRST);
    assert_eq!(world.path.length(), PATH_BYTES_MIN);
    world.path.refused(world.now, PATH_BYTES_MIN);
    assert_eq!(world.path.length(), PATH_BYTES_MIN, "there is nothing shorter");
    world.answers.clear();
    world.carries = 1_000;
    world.run(2_000_000, LONG);
    assert!(world.path.length() > 980);
}

#[test]
fn batches_that_vanish_are_not_believed_any_more_and_tried_again_later() {
    let mut world = World::new(65_507);
    world.batches_arrive = false;
    world.run(1_000_000, BATCH);
    assert!(!world.path.batches());
    assert_eq!(world.path.length(), FIRST, "that says nothing of lengths");
    world.batches_arrive = true;
    world.run(BATCHES_RETRY_US / 2, BATCH);
    assert!(!world.path.batches());
    world.run(BATCHES_RETRY_US, BATCH);
    assert!(world.path.batches());
}

#[test]
fn batches_that_vanish_are_tested_again_only_where_one_is_wanted() {
    let mut world = World::new(65_507);
    world.batches_arrive = false;
    world.run(1_000_000, BATCH);
    assert!(!world.path.batches());
    let probes = world.probes;
    world.path.used(BATCH);
    world.run(2 * BATCHES_RETRY_US, NOTHING);
    assert_eq!(world.probes, probes + 2 * RETRIES_MAX as usize, "a batch and a short one each");
    world.run(10 * BATCHES_RETRY_US, NOTHING);
    assert_eq!(world.probes, probes + 2 * RETRIES_MAX as usize);
    assert_eq!(world.path.deadline(), None);
    // A peer that was away meanwhile is tested as well.
    world.answers_arrive = false;
    world.run(BATCHES_RETRY_US, LONG);
    world.answers_arrive = true;
    world.batches_arrive = true;
    world.path.heard();
    world.run(1_000_000, BATCH);
    assert!(world.path.batches());
}

#[test]
fn a_test_of_batches_that_the_kernel_refuses_says_nothing_of_them() {
    let mut path = PathLength::new(FIRST, MOST);
    for now in 0..100 {
        path.used(BATCH);
        let mut ids = Vec::new();
        path.poll(now, |probe| ids.push((probe.id, probe.batch)));
        let &[(_, true), (short, false)] = &ids[..] else { panic!("{ids:?}") };
        path.batch_refused();
        path.answered(now, short);
        path.poll(now, |probe| panic!("nothing wants another batch: {probe:?}"));
        assert_eq!(path.deadline(), None);
    }
    assert!(path.batches());
}

#[test]
fn a_bound_below_the_first_length_is_the_first_length() {
    let mut world = World::new(65_507);
    world.path = PathLength::new(FIRST, 600);
    world.run(1_000_000, LONG);
    assert_eq!(world.path.length(), 600);
    let mut least = PathLength::new(FIRST, PATH_BYTES_MIN);
    least.used(LONG);
    least.poll(0, |probe| panic!("nothing to find: {probe:?}"));
    assert_eq!(least.deadline(), None);
}

#[test]
fn an_answer_to_a_probe_that_was_never_sent_changes_nothing() {
    let mut world = World::new(65_507);
    for id in [0, 1, 2, 3, 4, 5, u32::MAX] {
        world.path.answered(world.now, id);
    }
    assert_eq!((world.path.length(), world.path.deadline()), (FIRST, None));
}

#[test]
fn a_length_of_which_nothing_has_arrived_is_not_used_after_two_losses_until_it_is_answered() {
    let mut world = World::new(1_000);
    // An attempt takes a round trip and a little more.
    world.run(3 * 30_000, LONG);
    assert_eq!((world.path.length(), world.path.failed), (PATH_BYTES_MIN, MOST + 1));
    world.carries = MOST;
    world.run(3 * 30_000, LONG);
    assert_eq!(world.path.length(), MOST);
}
