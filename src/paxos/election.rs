//! Election: whom this replica hears, whom it suspects, and when to try itself.
//!
//! Liveness only: nothing here can make two values chosen. Three ideas:
//!
//! - *Suspicion looks at heartbeats and at progress.* A replica suspects a leader it
//!   has not heard serving for a drawn time, and it is *unsatisfied* when something
//!   waits and its applied prefix has not moved for [`Election::stall_us`]. A leader
//!   that lives but leaves a hole, or whose disk hangs, is replaced like a dead one.
//! - *A campaign must have a chance.* Before a ballot is used, a quorum has to say
//!   (pre-vote) that it misses a serving leader too; else a replica behind a partial
//!   partition would climb ballots and depose a good leader when it heals.
//!   (Ongaro's dissertation, §9.6; OmniPaxos, EuroSys '23, §2 on the three partial
//!   partitions.)
//! - *A leader knows that it is heard.* Heartbeats are numbered, and peers echo the
//!   highest number they heard. A leader whose recent heartbeats a quorum does not
//!   echo falls silent, so that its followers may elect another.
//!
//! Waits are drawn anew each time and double while nothing gets applied, so rivals
//! settle. A process that was paused moves its timers by the length of the pause:
//! it reads its mail before it suspects anyone.

use super::Settings;
use crate::message::Heartbeat;
use crate::quorum::quorum;
use crate::types::{Ballot, BootId, ReplicaId, Slot, Time};
use std::collections::VecDeque;

/// How often the wait may double while nothing gets applied.
const BACKOFF_DOUBLINGS_MAX: u32 = 4;

/// How many of one's own heartbeats are remembered, to tell how old an echo is.
const ROUNDS_KEPT: usize = 64;

/// What is known of one peer.
#[derive(Debug, Clone, Default)]
struct Peer {
    boot: BootId,
    round: u64,
    /// When the newest of this replica's heartbeats that the peer has echoed left.
    echoed: Option<Time>,
    promised: Option<Ballot>,
    member: bool,
}

/// Who leads, as far as this replica can hear, and when it loses patience.
#[derive(Debug, Clone)]
pub struct Election {
    settings: Settings,
    peers: Vec<Peer>,
    round: u64,
    /// Own rounds and when they left, oldest first.
    sent: VecDeque<(u64, Time)>,
    next_heartbeat: Time,
    /// The highest ballot heard to lead, or led.
    leader: Option<Ballot>,
    heard_at: Option<Time>,
    suspect_at: Time,
    /// After an attempt that came to nothing: no other before this.
    quiet_until: Time,
    applied: Slot,
    /// Since when something has waited without the applied prefix moving.
    pending_since: Option<Time>,
    backoff: u32,
    seen_at: Time,
}

impl Election {
    /// Nobody heard yet; the first wait begins with the first input.
    pub fn new(settings: Settings, now: Time, draw: u64) -> Self {
        let mut election = Election {
            settings,
            peers: vec![Peer::default(); settings.n],
            round: 0,
            sent: VecDeque::new(),
            next_heartbeat: now,
            leader: None,
            heard_at: None,
            suspect_at: now,
            quiet_until: now,
            applied: Slot::ZERO,
            pending_since: None,
            backoff: 0,
            seen_at: now,
        };
        election.be_patient(now, draw);
        election
    }

    /// How long the applied prefix may stand still while something waits.
    pub fn stall_us(&self) -> u64 {
        self.settings.election_max_us
    }

    /// The highest ballot heard to lead, or led.
    pub fn leader(&self) -> Option<Ballot> {
        self.leader
    }

    /// Must be called first with every input: notices that the process was paused,
    /// and moves every timer by that long.
    pub fn observe(&mut self, now: Time) {
        let gap = now.since_us(self.seen_at);
        self.seen_at = now;
        let pause = self.settings.heartbeat_us.max(self.settings.election_min_us / 2);
        if gap > 2 * pause {
            let shift = gap - pause;
            let later = |time: &mut Time| *time = time.plus_us(shift);
            later(&mut self.suspect_at);
            later(&mut self.quiet_until);
            self.heard_at.iter_mut().for_each(later);
            self.pending_since.iter_mut().for_each(later);
            self.peers.iter_mut().filter_map(|peer| peer.echoed.as_mut()).for_each(later);
        }
    }

    /// Begins a new wait before the leader is suspected.
    pub fn be_patient(&mut self, now: Time, draw: u64) {
        let (min, max) = (self.settings.election_min_us, self.settings.election_max_us);
        let wait = min + draw % (max - min + 1);
        self.suspect_at = now.plus_us(wait << self.backoff);
    }

    /// An attempt came to nothing: the next wait is twice as long, up to a bound.
    pub fn back_off(&mut self, now: Time, draw: u64) {
        self.backoff = (self.backoff + 1).min(BACKOFF_DOUBLINGS_MAX);
        self.be_patient(now, draw);
        self.quiet_until = self.suspect_at;
    }

    /// Takes a peer's heartbeat. Returns whether it is news: an older round of the
    /// same boot is dropped.
    pub fn handle_heartbeat(
        &mut self,
        now: Time,
        draw: u64,
        from: ReplicaId,
        heartbeat: &Heartbeat,
        member: bool,
    ) -> bool {
        let echoed = self
            .sent
            .iter()
            .find(|(round, _)| *round == heartbeat.echo)
            .map(|(_, sent_at)| *sent_at);
        let peer = &mut self.peers[from.index()];
        if peer.boot != heartbeat.boot {
            *peer = Peer { boot: heartbeat.boot, ..Peer::default() };
        }
        if heartbeat.round <= peer.round {
            return false;
        }
        peer.round = heartbeat.round;
        peer.echoed = peer.echoed.max(echoed);
        peer.promised = peer.promised.max(heartbeat.promised);
        peer.member = member;
        if member && heartbeat.leading && Some(heartbeat.ballot) >= self.leader {
            self.leader = Some(heartbeat.ballot);
            self.heard_at = Some(now);
            self.be_patient(now, draw);
        }
        true
    }

    /// This replica leads.
    pub fn lead(&mut self, now: Time, ballot: Ballot) {
        self.leader = self.leader.max(Some(ballot));
        self.next_heartbeat = now;
        self.restart_progress(now);
    }

    /// Whoever leads from here on has the whole of [`Election::stall_us`] to show
    /// progress.
    pub fn restart_progress(&mut self, now: Time) {
        if let Some(since) = &mut self.pending_since {
            *since = now;
        }
    }

    /// How far the log is applied, and whether something waits.
    pub fn handle_progress(&mut self, now: Time, applied: Slot, pending: bool) {
        if applied > self.applied {
            self.applied = applied;
            self.backoff = 0;
            self.pending_since = None;
        }
        if !pending {
            self.pending_since = None;
        } else if self.pending_since.is_none() {
            self.pending_since = Some(now);
        }
    }

    /// Whether something has waited for too long without progress.
    pub fn is_unsatisfied(&self, now: Time) -> bool {
        self.pending_since.is_some_and(|since| now.since_us(since) >= self.stall_us())
    }

    /// Whether a serving leader was heard within the shortest suspicion time.
    pub fn hears_leader(&self, now: Time) -> bool {
        self.heard_at.is_some_and(|heard| now.since_us(heard) < self.settings.election_min_us)
    }

    /// Whether it is time to ask for pre-votes: no serving leader was heard for the
    /// drawn wait, or whoever serves gets nothing applied.
    pub fn suspects(&self, now: Time) -> bool {
        now >= self.suspect_at
            || now >= self.quiet_until && self.is_unsatisfied(now.minus_us(self.turn_us()))
    }

    /// How much longer than [`Election::stall_us`] this replica waits before it acts
    /// on a lack of progress while heartbeats keep coming: each replica has its own
    /// turn, so that they do not all try at once.
    fn turn_us(&self) -> u64 {
        let span = self.settings.election_max_us - self.settings.election_min_us;
        span * u64::from(self.settings.id.0) / self.settings.n as u64
    }

    /// The members that have lately echoed this replica's heartbeats.
    fn in_touch(&self, now: Time) -> impl Iterator<Item = &Peer> {
        let within_us = self.settings.election_max_us;
        self.peers.iter().filter(move |peer| {
            peer.member && peer.echoed.is_some_and(|at| now.since_us(at) < within_us)
        })
    }

    /// Whether a quorum, this replica included, echoes recent heartbeats.
    pub fn is_heard_by_quorum(&self, now: Time) -> bool {
        1 + self.in_touch(now).count() >= quorum(self.settings.n)
    }

    /// Whether a quorum is in touch and has promised nothing above `ballot`, as far
    /// as is known; `own` is what this replica's acceptor has promised.
    pub fn is_followed_by_quorum(&self, now: Time, ballot: Ballot, own: Option<Ballot>) -> bool {
        let peers = self.in_touch(now).filter(|peer| peer.promised <= Some(ballot)).count();
        peers + usize::from(own <= Some(ballot)) >= quorum(self.settings.n)
    }

    /// The highest ballot that any peer says it has promised.
    pub fn highest_promise(&self) -> Option<Ballot> {
        self.peers.iter().filter_map(|peer| peer.promised).max()
    }

    /// Whether the next heartbeat is due.
    pub fn heartbeat_due(&self, now: Time) -> bool {
        now >= self.next_heartbeat
    }

    /// Begins the next round of heartbeats.
    pub fn begin_round(&mut self, now: Time) -> u64 {
        self.round += 1;
        self.sent.push_back((self.round, now));
        if self.sent.len() > ROUNDS_KEPT {
            self.sent.pop_front();
        }
        self.next_heartbeat = now.plus_us(self.settings.heartbeat_us);
        self.round
    }

    /// The highest round heard from `peer`, to be echoed to it.
    pub fn echo_of(&self, peer: ReplicaId) -> u64 {
        self.peers[peer.index()].round
    }

    /// When the next heartbeat is due.
    pub fn next_heartbeat(&self) -> Time {
        self.next_heartbeat
    }

    /// When the leader is suspected, if nothing is heard until then.
    pub fn suspect_at(&self) -> Time {
        self.suspect_at
    }

    /// A peer's acceptor has named its promise in a refusal.
    pub fn note_promise(&mut self, peer: ReplicaId, promised: Ballot) {
        let known = &mut self.peers[peer.index()].promised;
        *known = (*known).max(Some(promised));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Decided;
    use crate::types::DirectoryId;

    const MIN_US: u64 = 300_000;
    const MAX_US: u64 = 600_000;
    const STALL_US: u64 = MAX_US;
    const R1: ReplicaId = ReplicaId(1);
    const R2: ReplicaId = ReplicaId(2);

    fn settings(id: u8) -> Settings {
        Settings {
            id: ReplicaId(id),
            n: 3,
            boot: BootId(1),
            payload_bytes: 1_200,
            heartbeat_us: 50_000,
            election_min_us: MIN_US,
            election_max_us: MAX_US,
            checkpoint_slots: 8,
            skip_slot: None,
        }
    }

    fn election(id: u8) -> Election {
        Election::new(settings(id), Time(0), 0)
    }

    fn heartbeat(boot: u64, round: u64) -> Heartbeat {
        Heartbeat {
            boot: BootId(boot),
            round,
            echo: 0,
            directory: DirectoryId(1),
            ballot: Ballot::ZERO,
            leading: false,
            promised: None,
            applied: Slot::ZERO,
            decided: Decided::default(),
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
            let election = Election::new(settings(0), Time(1_000), draw);
            assert_eq!(election.suspect_at(), Time(1_000 + wait_us), "draw {draw}");
        }
        let mut election = election(0);
        assert!(!election.suspects(Time(MIN_US - 1)));
        assert!(election.suspects(Time(MIN_US)));
        election.handle_heartbeat(Time(200_000), 9, R1, &serving(1, 1), true);
        assert_eq!(election.suspect_at(), Time(200_000 + MIN_US + 9), "drawn anew");
    }

    #[test]
    fn the_wait_doubles_up_to_a_bound_until_something_is_applied() {
        let mut election = election(0);
        for doubled in [2, 4, 8, 16, 16, 16] {
            election.back_off(Time(0), 0);
            assert_eq!(election.suspect_at(), Time(doubled * MIN_US));
        }
        election.handle_progress(Time(0), Slot(0), false);
        election.be_patient(Time(0), 0);
        assert_eq!(election.suspect_at(), Time(16 * MIN_US), "nothing new was applied");
        election.handle_progress(Time(0), Slot(1), false);
        election.be_patient(Time(0), 0);
        assert_eq!(election.suspect_at(), Time(MIN_US));
    }

    #[test]
    fn a_pause_moves_every_timer_by_its_length() {
        let pause_us = MIN_US / 2;
        let started = || {
            let mut election = election(0);
            let round = election.begin_round(Time(0));
            election.handle_heartbeat(Time(0), 0, R1, &serving(1, 1), true);
            election.handle_heartbeat(Time(0), 0, R2, &echoing(1, round), true);
            election.handle_progress(Time(0), Slot(0), true);
            election
        };
        let mut awake = started();
        awake.observe(Time(2 * pause_us));
        assert_eq!(awake.suspect_at(), Time(MIN_US), "that was no pause");
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
        // What was seen once is not a pause again.
        paused.observe(Time(gap + pause_us));
        assert_eq!(paused.suspect_at(), Time(shift + MIN_US));
    }

    #[test]
    fn a_pause_moves_the_quiet_after_an_attempt_too() {
        let mut election = election(0);
        election.back_off(Time(0), 0);
        election.handle_progress(Time(0), Slot(0), true);
        let shift = 10 * MAX_US - MIN_US / 2;
        election.observe(Time(10 * MAX_US));
        // As soon as the quiet is over: it is unsatisfied for as long already.
        assert!(!election.suspects(Time(shift + 2 * MIN_US - 1)));
        assert!(election.suspects(Time(shift + 2 * MIN_US)));
    }

    #[test]
    fn of_one_boot_only_newer_rounds_count_and_a_new_boot_begins_anew() {
        let mut election = election(0);
        let round = election.begin_round(Time(0));
        let mut news = |heartbeat| election.handle_heartbeat(Time(0), 0, R1, &heartbeat, true);
        assert!(news(Heartbeat { boot: BootId(5), ..promising(7, round, 4) }));
        assert!(!news(heartbeat(5, 7)) && !news(heartbeat(5, 6)));
        assert!(news(heartbeat(5, 8)));
        assert!(news(heartbeat(6, 1)), "another life of it");
        assert!(!news(heartbeat(6, 1)));
        assert_eq!(election.echo_of(R1), 1);
        assert_eq!(election.highest_promise(), None, "what the life before said is forgotten");
        assert!(!election.is_heard_by_quorum(Time(0)));
    }

    #[test]
    fn the_leader_is_the_highest_ballot_that_a_member_serves_under() {
        let mut election = election(0);
        assert_eq!(election.leader(), None);
        election.handle_heartbeat(Time(0), 0, R1, &serving(1, 4), false);
        assert_eq!(election.leader(), None, "no member");
        election.handle_heartbeat(Time(0), 0, R1, &heartbeat(5, 2), true);
        assert_eq!(election.leader(), None, "not serving");
        election.handle_heartbeat(Time(0), 0, R1, &serving(3, 4), true);
        assert_eq!(election.leader(), Some(Ballot(4)));
        election.handle_heartbeat(Time(MIN_US), 0, R2, &serving(1, 2), true);
        assert_eq!(election.leader(), Some(Ballot(4)));
        assert!(!election.hears_leader(Time(MIN_US)), "a deposed leader is none");
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
            election.handle_progress(Time(50_000), Slot(0), true);
            let due = 50_000 + STALL_US + turn_us;
            election.handle_heartbeat(Time(due), 0, R1, &serving(1, 1), true);
            assert!(!election.suspects(Time(due - 1)), "replica {id}");
            assert!(election.suspects(Time(due)), "replica {id}");
        }
    }

    #[test]
    fn what_waits_waits_from_its_beginning_or_the_last_progress_on() {
        let mut election = election(0);
        election.handle_progress(Time(1), Slot(4), true);
        election.handle_progress(Time(2), Slot(4), true);
        election.handle_progress(Time(3), Slot(3), true);
        assert!(!election.is_unsatisfied(Time(STALL_US)));
        assert!(election.is_unsatisfied(Time(1 + STALL_US)));
        election.handle_progress(Time(9), Slot(5), true);
        assert!(!election.is_unsatisfied(Time(8 + STALL_US)));
        assert!(election.is_unsatisfied(Time(9 + STALL_US)));
        election.restart_progress(Time(20));
        assert!(!election.is_unsatisfied(Time(19 + STALL_US)));
        election.handle_progress(Time(30), Slot(5), false);
        election.restart_progress(Time(40));
        assert!(!election.is_unsatisfied(Time(10 * STALL_US)), "nothing waits");
        election.handle_progress(Time(50), Slot(5), true);
        election.lead(Time(60), Ballot(3));
        assert!(!election.is_unsatisfied(Time(59 + STALL_US)), "a new leader has all of it");
        assert!(election.is_unsatisfied(Time(60 + STALL_US)));
    }

    #[test]
    fn a_peer_is_in_touch_while_it_echoes_what_was_sent_lately() {
        let mut election = election(0);
        let round = election.begin_round(Time(1_000));
        let latest = election.begin_round(Time(2_000));
        election.handle_heartbeat(Time(3_000), 0, R1, &echoing(1, latest), true);
        // An older echo that comes later takes nothing back.
        election.handle_heartbeat(Time(3_000), 0, R1, &echoing(2, round), true);
        assert!(election.is_heard_by_quorum(Time(2_000 + MAX_US - 1)));
        assert!(!election.is_heard_by_quorum(Time(2_000 + MAX_US)));
        election.handle_heartbeat(Time(3_000), 0, R1, &echoing(3, latest), false);
        assert!(!election.is_heard_by_quorum(Time(3_000)), "a stranger's ear is none");
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
    fn rounds_of_heartbeats_are_numbered_and_only_the_last_are_remembered() {
        let mut election = election(0);
        assert!(election.heartbeat_due(Time(0)));
        let first = election.begin_round(Time(0));
        assert_eq!(election.next_heartbeat(), Time(50_000));
        assert!(!election.heartbeat_due(Time(49_999)) && election.heartbeat_due(Time(50_000)));
        let rounds: Vec<u64> = (1..ROUNDS_KEPT).map(|_| election.begin_round(Time(0))).collect();
        assert_eq!(rounds, (first + 1..).take(ROUNDS_KEPT - 1).collect::<Vec<_>>());
        let mut beyond = election.clone();
        beyond.begin_round(Time(0));
        for (mut election, remembered) in [(election, true), (beyond, false)] {
            election.handle_heartbeat(Time(0), 0, R1, &echoing(1, first), true);
            assert_eq!(election.is_heard_by_quorum(Time(0)), remembered);
        }
    }
}
