//! How long answers and syncs take, as this replica measures it, and what its waits make of
//! that (L4).
//!
//! A configured wait is made for a world. In a slower one it is too short: a leader takes
//! itself for unheard, a candidate gives up before its own disk has answered, and nothing
//! is ever decided. So each wait follows what is measured, from the configured value up to
//! [`WAIT_MAX_US`]:
//!
//! - the *round trip* to each peer, from heartbeats: the peer echoes one, and says how long
//!   it held it;
//! - the time of a *sync* at each member: the own acceptor says when a burst was handed to
//!   its disk, and every heartbeat carries what the sender has measured.
//!
//! Both are estimated as TCP does it (RFC 6298; see [`RoundTrip`]). A wait at whose end
//! something is given up covers the smoothed time and four deviations. What a quorum can do
//! without its slowest members is timed by the quorum, so that one far replica slows nobody
//! down; patience with an attempt is timed by the slowest.

use super::Settings;
use super::longest::Longest;
use crate::aside::{Aside, NotState};
use crate::quorum::quorum;
use crate::types::{ReplicaId, Time};
use round_trip::RoundTrip;
use serde::{Deserialize, Serialize};

/// No wait follows what is measured beyond this, in microseconds. (A configured wait may be
/// longer.)
pub const WAIT_MAX_US: u64 = 10_000_000;

/// How many round trips an attempt is given before it counts as failed: two of its messages
/// in a row may be lost.
const PATIENCE: u64 = 4;

/// How many round trips a leader is given that gets nothing applied. One slot that is lost so often
/// holds up all others, and the next leader would have to propose all of them again.
const LOST: u64 = 2 * PATIENCE;

/// Each later sync takes one part in so many off the longest one. A disk that has stalled once
/// is likely to do so again, and a mean forgets that too soon.
const PEAK_SYNCS: u64 = 64;

/// For how long the longest sync of a disk is remembered by the clock, in microseconds, or up to
/// twice as long. Disks on a network stall for seconds, again and again; hundreds of quick syncs
/// lie between two stalls.
const STALLS_KEPT_US: u64 = 30_000_000;

/// What waits for a disk waits for as many of its syncs at most: one that is under way, and its
/// own.
const SYNCS: u64 = 2;

/// How long the first sync of a disk may take before anybody loses patience with it.
const FIRST_SYNC_US: u64 = 1_000_000;

/// For how long a configured wait has to be too short before the user hears of it: one late
/// answer is nothing to report.
const WARN_AFTER_US: u64 = 1_000_000;

/// What a peer's answers take is told again when it has changed by more than this, in
/// microseconds, and by more than a quarter.
const TOLD_US: u64 = 2_000;

/// The waits of the moment, in microseconds. The default is that of a replica that has
/// measured nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waits {
    /// The mean time in which a quorum answers.
    pub trip_us: u64,
    /// In this time a quorum has answered.
    pub answer_us: u64,
    /// In this time a quorum has synced and answered.
    pub save_us: u64,
    /// An attempt that has heard nothing new for so long has failed, unless the configured
    /// time is longer: it needs answers,
    pub answers_fail_us: u64,
    /// or answers of disks,
    pub saves_fail_us: u64,
    /// or the own disk alone.
    pub own_save_fails_us: u64,
    /// In this time the own disk has synced.
    pub own_save_us: u64,
    /// The shortest time without a serving leader after which a replica suspects it.
    pub election_min_us: u64,
    /// The longest such time.
    pub election_max_us: u64,
    /// If something waits for so long and nothing is applied, a replica is unsatisfied (L1).
    pub stall_us: u64,
}

impl NotState for Waits {}

/// How long the answers of a peer take. A measurement, so any two are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trip(Aside<Times>);

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Times {
    mean_us: u64,
    longest_us: u64,
}

impl NotState for Times {}
impl NotState for Trip {}

impl Trip {
    /// The mean time, and the one that hardly any answer exceeds, in microseconds.
    pub fn new(mean_us: u64, longest_us: u64) -> Self {
        Trip(Aside(Times { mean_us, longest_us: longest_us.max(mean_us) }))
    }

    /// Hardly any answer takes longer, in microseconds.
    pub fn longest_us(self) -> u64 {
        self.0.longest_us
    }

    /// By how much an answer may come later than the mean one without being lost.
    pub fn varies_us(self) -> u64 {
        self.0.longest_us - self.0.mean_us
    }

    /// Whether this differs so much from `other` that waits should follow.
    fn differs(self, other: Trip) -> bool {
        let differ = |a: u64, b: u64| a.abs_diff(b) > (b / 4).max(TOLD_US);
        let (Times { mean_us, longest_us }, other) = (*self.0, *other.0);
        differ(mean_us, other.mean_us) || differ(longest_us, other.longest_us)
    }
}

/// What is measured of one peer.
#[derive(Debug, Clone)]
struct Peer {
    trip: RoundTrip,
    /// What a sync takes there, as the peer says; 0 if it has not measured any.
    sync_us: u64,
    stall: Longest<STALLS_KEPT_US>,
}

/// What this replica has measured.
#[derive(Debug, Clone)]
pub struct Pace {
    settings: Settings,
    /// By replica id; the own entry stays empty.
    peers: Vec<Peer>,
    /// The own disk.
    sync: RoundTrip,
    /// The longest of its latest syncs.
    sync_peak_us: u64,
    stall: Longest<STALLS_KEPT_US>,
    waits: Waits,
    /// What was last told of each peer's answers.
    told: Vec<Option<Trip>>,
    /// Since when a configured wait has been too short, until the user hears of it.
    too_short_since: Option<Time>,
    has_warned: bool,
}

impl NotState for Pace {}

fn estimate() -> RoundTrip {
    RoundTrip::new(0, 0, WAIT_MAX_US)
}

/// The `rank`-th shortest of these times, counted from 1, or the longest if there are fewer.
/// 0 if there is none.
fn shortest(mut times: Vec<u64>, rank: usize) -> u64 {
    times.sort_unstable();
    times.get(rank.saturating_sub(1)).or(times.last()).copied().unwrap_or(0)
}

impl Pace {
    /// Nothing is measured yet.
    pub fn new(settings: Settings) -> Self {
        let peer = Peer { trip: estimate(), sync_us: 0, stall: Longest::default() };
        let mut pace = Pace {
            settings,
            peers: vec![peer; settings.rows()],
            sync: estimate(),
            sync_peak_us: 0,
            stall: Longest::default(),
            waits: Waits::default(),
            told: vec![None; settings.rows()],
            too_short_since: None,
            has_warned: false,
        };
        pace.update(None);
        pace
    }

    /// The waits that follow from what is measured.
    pub fn waits(&self) -> Waits {
        self.waits
    }

    /// What a sync of the own disk takes at most, for the peers: in milliseconds, rounded up; 0
    /// if none is measured.
    pub fn sync_ms(&self) -> u16 {
        let ms = self.own_sync_us().map_or(0, |us| us.div_ceil(1_000).max(1));
        u16::try_from(ms).unwrap_or(u16::MAX)
    }

    fn own_sync_us(&self) -> Option<u64> {
        Some(self.sync.longest_us()?.max(self.sync_peak_us))
    }

    /// In this time an answer of `peer` comes; 0 if none has come.
    pub fn answer_us(&self, peer: ReplicaId) -> u64 {
        self.peers[peer.index()].trip.longest_us().unwrap_or(0)
    }

    /// In this time `peer` answers an accept; 0 if nothing is measured of it.
    pub fn accept_us(&self, peer: ReplicaId) -> u64 {
        self.answer_us(peer) + self.peers[peer.index()].sync_us
    }

    /// Whether so many peers have been measured that they and this replica are a quorum.
    pub fn knows_quorum(&self) -> bool {
        let measured = self.peers.iter().filter(|peer| peer.trip.smoothed_us().is_some());
        1 + measured.count() >= quorum(self.settings.n)
    }

    /// How long the answers of `peer` take, if that is news since it was last asked here.
    pub fn take_news(&mut self, peer: ReplicaId) -> Option<Trip> {
        let trip = &self.peers[peer.index()].trip;
        let trip = Trip::new(trip.smoothed_us()?, trip.longest_us()?);
        let told = &mut self.told[peer.index()];
        if told.is_some_and(|told| !trip.differs(told)) {
            return None;
        }
        *told = Some(trip);
        Some(trip)
    }

    /// A peer has answered a heartbeat after this time.
    pub fn answered(&mut self, peer: ReplicaId, took_us: u64) {
        self.peers[peer.index()].trip.answered(took_us.min(WAIT_MAX_US));
    }

    /// A peer says what a sync of its disk takes.
    pub fn heard_sync(&mut self, now: Time, peer: ReplicaId, sync_ms: u16) {
        let (peer, sync_us) = (&mut self.peers[peer.index()], 1_000 * u64::from(sync_ms));
        peer.sync_us = sync_us.min(WAIT_MAX_US);
        peer.stall.observe(now, peer.sync_us);
    }

    /// A sync of the own disk took this long.
    pub fn saved(&mut self, now: Time, took_us: u64) {
        let took_us = took_us.min(WAIT_MAX_US);
        self.stall.observe(now, took_us);
        self.sync.answered(took_us);
        let faded_us = self.sync_peak_us - self.sync_peak_us / PEAK_SYNCS;
        self.sync_peak_us = faded_us.max(took_us);
    }

    /// Works the waits out anew. `leader` is the replica that leads, as far as is known.
    pub fn update(&mut self, leader: Option<ReplicaId>) {
        let Settings { n, election_min_us, election_max_us, .. } = self.settings;
        let measured = |of: fn(&RoundTrip) -> Option<u64>| {
            self.peers.iter().filter_map(|peer| of(&peer.trip)).collect::<Vec<_>>()
        };
        // This replica is one of the quorum.
        let helpers = quorum(n) - 1;
        let trip_us = shortest(measured(RoundTrip::smoothed_us), helpers);
        let answers = measured(RoundTrip::longest_us);
        let slowest_us = answers.iter().copied().max().unwrap_or(0);
        let answer_us = shortest(answers, helpers);
        let own = self.own_sync_us();
        let syncs: Vec<u64> =
            self.peers.iter().map(|peer| peer.sync_us).filter(|us| *us > 0).chain(own).collect();
        let slowest_sync_us = syncs.iter().copied().max().unwrap_or(0);
        let sync_us = shortest(syncs, quorum(n));
        // What a disk may take once in a while, for patience alone: to ask again costs little.
        let stalls = self.peers.iter().map(|peer| peer.stall.us()).chain([self.stall.us()]);
        let stalls: Vec<u64> = stalls.filter(|us| *us > 0).collect();
        let longest_stall_us = SYNCS * stalls.iter().copied().max().unwrap_or(0);
        let quorum_stall_us = SYNCS * shortest(stalls, quorum(n));
        let led_us = leader.map_or(0, |leader| self.answer_us(leader)).max(answer_us);
        let bounded = |us: u64| us.min(WAIT_MAX_US);
        self.waits = Waits {
            trip_us,
            answer_us,
            save_us: bounded(answer_us + sync_us),
            answers_fail_us: bounded(PATIENCE * slowest_us),
            saves_fail_us: bounded(
                (PATIENCE * (slowest_us + slowest_sync_us)).max(slowest_us + longest_stall_us),
            ),
            own_save_fails_us: own
                .map_or(FIRST_SYNC_US, |us| bounded((PATIENCE * us).max(SYNCS * self.stall.us()))),
            own_save_us: own.unwrap_or(0),
            // Rivals must be told apart: their waits are spread over two round trips.
            election_min_us: election_min_us.max((2 * led_us).min(WAIT_MAX_US / 2)),
            election_max_us: election_max_us.max(bounded(4 * led_us)),
            stall_us: election_max_us
                .max(bounded((LOST * (led_us + sync_us)).max(LOST * led_us + quorum_stall_us))),
        };
    }

    /// Tells the user once that a configured wait is below what is measured. (The disk has
    /// its own line, from the thread that waits for it.)
    pub fn report(&mut self, now: Time) {
        let Settings { id, election_min_us, election_max_us, .. } = self.settings;
        if self.has_warned || 2 * self.waits.trip_us <= election_min_us {
            self.too_short_since = None;
            return;
        }
        let since = *self.too_short_since.get_or_insert(now);
        if now.since_us(since) >= WARN_AFTER_US {
            self.has_warned = true;
            let ms = |us: u64| us / 1_000;
            log::warn!(
                "replica {id}: --election_ms {}-{} is too short for this network, where a quorum \
                 takes {} ms to answer: waits {}-{} ms instead",
                ms(election_min_us),
                ms(election_max_us),
                ms(self.waits.trip_us),
                ms(self.waits.election_min_us),
                ms(self.waits.election_max_us)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::Limits;
    use crate::types::BootId;

    const MS: u64 = 1_000;

    fn pace(n: usize) -> Pace {
        Pace::new(Settings {
            id: ReplicaId(0),
            n,
            places: n,
            boot: BootId(1),
            payload_bytes: 1_200,
            heartbeat_us: 50 * MS,
            election_min_us: 300 * MS,
            election_max_us: 600 * MS,
            checkpoint_slots: 8,
            limits: Limits::DEFAULT,
            skip_slot: None,
        })
    }

    /// Each of these peers has answered so often in so many milliseconds that little varies.
    fn measured(n: usize, answers_ms: &[(u8, u64)], syncs_ms: &[(u8, u64)]) -> Waits {
        let mut pace = pace(n);
        for (peer, ms) in answers_ms {
            (0..100).for_each(|_| pace.answered(ReplicaId(*peer), ms * MS));
        }
        for (replica, ms) in syncs_ms {
            match replica {
                0 => (0..100).for_each(|_| pace.saved(Time(0), ms * MS)),
                _ => pace.heard_sync(Time(0), ReplicaId(*replica), *ms as u16),
            }
        }
        pace.update(None);
        pace.waits()
    }

    #[test]
    fn a_gentle_world_changes_no_wait() {
        let unknown = measured(3, &[], &[]);
        let gentle = measured(3, &[(1, 1), (2, 1)], &[(0, 20), (1, 20), (2, 20)]);
        for waits in [unknown, gentle] {
            assert_eq!((waits.election_min_us, waits.election_max_us), (300 * MS, 600 * MS));
            assert_eq!(waits.stall_us, 600 * MS);
            assert!(waits.answers_fail_us <= 300 * MS && waits.saves_fail_us <= 600 * MS);
        }
        assert_eq!((unknown.trip_us, unknown.save_us), (0, 0));
    }

    #[test]
    fn waits_follow_round_trips_and_syncs_up_to_a_bound() {
        let waits = measured(3, &[(1, 700), (2, 700)], &[(0, 700), (1, 700), (2, 700)]);
        assert_eq!((waits.answer_us, waits.save_us), (700 * MS, 1_400 * MS));
        assert_eq!((waits.election_min_us, waits.election_max_us), (1_400 * MS, 2_800 * MS));
        assert_eq!((waits.answers_fail_us, waits.saves_fail_us), (2_800 * MS, 5_600 * MS));
        assert_eq!((waits.own_save_us, waits.own_save_fails_us), (700 * MS, 2_800 * MS));
        assert_eq!(waits.stall_us, WAIT_MAX_US);
        let half = measured(3, &[(1, 300), (2, 300)], &[(0, 200), (1, 200), (2, 200)]);
        assert_eq!((half.saves_fail_us, half.stall_us), (2_000 * MS, 4_000 * MS));
        let slow = measured(3, &[(1, 60_000), (2, 60_000)], &[(0, 60_000), (1, 60_000)]);
        assert_eq!((slow.election_min_us, slow.election_max_us), (WAIT_MAX_US / 2, WAIT_MAX_US));
        for wait_us in [slow.save_us, slow.saves_fail_us, slow.own_save_fails_us, slow.stall_us] {
            assert_eq!(wait_us, WAIT_MAX_US);
        }
    }

    #[test]
    fn one_far_replica_prolongs_patience_and_nothing_else() {
        let near = [(1, 1), (2, 1), (3, 1)];
        let all = [(1, 1), (2, 1), (3, 1), (4, 700)];
        let (without, with) = (measured(5, &near, &[(0, 5)]), measured(5, &all, &[(0, 5)]));
        let patient = Waits { answers_fail_us: 2_800 * MS, saves_fail_us: 2_820 * MS, ..without };
        assert_eq!(with, patient);
        // It leads: whoever follows it waits as long as its heartbeats may vary.
        let mut pace = pace(3);
        (0..100).for_each(|_| pace.answered(ReplicaId(1), MS));
        (0..100).for_each(|_| pace.answered(ReplicaId(2), 700 * MS));
        for (leader, min_us) in [(1, 300 * MS), (2, 1_400 * MS)] {
            pace.update(Some(ReplicaId(leader)));
            assert_eq!(pace.waits().election_min_us, min_us);
        }
    }

    #[test]
    fn a_slow_disk_that_no_quorum_needs_prolongs_patience_alone() {
        let waits = measured(3, &[], &[(0, 5), (1, 5), (2, 3_000)]);
        assert_eq!((waits.save_us, waits.stall_us), (5 * MS, 600 * MS));
        assert_eq!(waits.saves_fail_us, WAIT_MAX_US);
        let two = measured(3, &[], &[(0, 5), (1, 3_000), (2, 3_000)]);
        assert_eq!(two.save_us, 3_000 * MS);
    }

    #[test]
    fn a_disk_that_has_stalled_is_waited_for_a_while() {
        let mut pace = pace(3);
        (0..100).for_each(|_| pace.saved(Time(0), 5 * MS));
        pace.saved(Time(0), 3_000 * MS);
        (0..20).for_each(|_| pace.saved(Time(0), 5 * MS));
        assert!(pace.sync_ms() > 2_000, "{}: the mean has forgotten it", pace.sync_ms());
        (0..2_000).for_each(|_| pace.saved(Time(0), 5 * MS));
        assert_eq!(pace.sync_ms(), 5);
        let mut fast = Pace::new(pace.settings);
        assert_eq!(fast.sync_ms(), 0, "nothing is measured");
        fast.saved(Time(0), 0);
        assert_eq!(fast.sync_ms(), 1);
    }

    #[test]
    fn disks_that_stall_again_and_again_are_waited_for_however_many_syncs_lie_between() {
        const S: u64 = 1_000_000;
        let mut pace = pace(3);
        // The own disk stalls for 2 s, and all do a hundred syncs a second afterwards.
        pace.saved(Time(5 * S), 2 * S);
        for sync in 0..1_000 {
            let now = Time(10 * S + 10 * MS * sync);
            pace.saved(now, 5 * MS);
            pace.heard_sync(now, ReplicaId(1), 5);
            pace.heard_sync(now, ReplicaId(2), 5);
        }
        pace.update(None);
        let waits = pace.waits();
        assert_eq!(waits.stall_us, 600 * MS, "the other two are a quorum");
        assert!(waits.save_us < 20 * MS, "what is lost is asked for again soon");
        assert_eq!((waits.saves_fail_us, waits.own_save_fails_us), (4 * S, 4 * S));
        // Another one has stalled, too.
        pace.heard_sync(Time(21 * S), ReplicaId(1), 2_000);
        let mut after = |seconds: u64| {
            for replica in [1, 2] {
                pace.heard_sync(Time(seconds * S), ReplicaId(replica), 5);
            }
            pace.saved(Time(seconds * S), 5 * MS);
            pace.update(None);
            pace.waits().stall_us
        };
        assert_eq!(after(22), 4 * S, "any quorum has one that stalls");
        assert_eq!(after(31), 4 * S);
        assert_eq!(after(95), 600 * MS, "forgotten");
    }

    #[test]
    fn the_first_sync_of_a_disk_has_time() {
        assert_eq!(measured(3, &[], &[]).own_save_fails_us, FIRST_SYNC_US);
        assert!(measured(3, &[], &[(0, 2)]).own_save_fails_us < 20 * MS);
    }

    #[test]
    fn a_quorum_is_known_once_so_many_have_answered() {
        let mut pace = pace(5);
        for (peer, known) in [(1, false), (2, true), (3, true)] {
            pace.answered(ReplicaId(peer), MS);
            assert_eq!(pace.knows_quorum(), known, "replica {peer} too");
        }
        let alone = Pace::new(Settings { n: 1, ..pace.settings });
        assert!(alone.knows_quorum());
    }

    #[test]
    fn the_user_hears_once_of_a_wait_that_stays_too_short() {
        let mut pace = pace(3);
        (0..100).for_each(|_| pace.answered(ReplicaId(1), 700 * MS));
        pace.update(None);
        pace.report(Time(0));
        (0..100).for_each(|_| pace.answered(ReplicaId(1), MS));
        pace.update(None);
        pace.report(Time(2 * WARN_AFTER_US));
        assert!(!pace.has_warned, "it was too short for a moment");
        (0..100).for_each(|_| pace.answered(ReplicaId(1), 700 * MS));
        pace.update(None);
        for (at_us, warns) in [(0, false), (WARN_AFTER_US - 1, false), (WARN_AFTER_US, true)] {
            pace.report(Time(3 * WARN_AFTER_US + at_us));
            assert_eq!(pace.has_warned, warns, "after {at_us} us");
        }
    }
}
