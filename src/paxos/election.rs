//! Election: which leader this replica hears, and when to suspect it and campaign.
//!
//! Liveness only: nothing here can make two values chosen. Three ideas:
//!
//! - *Suspicion looks at heartbeats and at progress (L1).* A replica suspects the leader when
//!   it has heard no serving leader for a drawn time. It is *unsatisfied* when something
//!   waits and its applied prefix has not moved for the longest election wait. So a leader
//!   that lives but leaves a hole, or whose disk hangs, is replaced like a dead one.
//! - *A campaign must have a chance (L2).* Before a replica uses a ballot, a quorum has to
//!   say (pre-vote) that it misses a serving leader too. Otherwise a replica behind a partial
//!   partition would climb ballots, and depose a good leader when the partition heals.
//!   (Ongaro's dissertation, §9.6; OmniPaxos, EuroSys '23, §2 on the three partial
//!   partitions.)
//! - *A leader knows that it is heard (L2).* Heartbeats are numbered, and peers echo the
//!   highest number that they heard. A leader whose recent heartbeats no quorum echoes falls
//!   silent, so that its followers may elect another.
//!
//! Each wait is drawn anew, and waits double while nothing gets applied, so that rivals
//! settle (L3). A process that was paused moves the times kept here by the length of the
//! pause: it reads its mail before it suspects a leader.

mod presence;

use presence::Presence;

use super::Settings;
use super::pace::{Pace, Trip, WAIT_MAX_US, Waits};
use super::proposer::Patience;
use super::rounds::Rounds;
use crate::aside::NotState;
use crate::members::Configuration;
use crate::message::Heartbeat;
use crate::types::{Ballot, BootId, ReplicaId, Slot, Time, replicas};
use std::cmp::Reverse;

/// How often the wait may double while nothing gets applied (L3).
const BACKOFF_DOUBLINGS_MAX: u32 = 4;

/// How long a leader is given until a quorum has answered for the first time, in microseconds.
const FIRST_ECHO_US: u64 = 3_000_000;

/// What is known of one peer.
#[derive(Debug, Clone, Default)]
struct Peer {
    /// The life of the peer that was heard last, and its newest heartbeat's number.
    boot: BootId,
    round: u64,
    /// When that heartbeat came.
    heard_at: Time,
    /// The newest own round that the peer has echoed.
    echo: u64,
    /// When the newest heartbeat left that the peer has echoed.
    echoed: Option<Time>,
    /// The highest promise that the peer has named.
    promised: Option<Ballot>,
    /// How far it has applied, as it has told.
    applied: Slot,
    /// Whether its directory is a member (S6, M3).
    member: bool,
    /// Whether this life of it has said that it is about to end (L9).
    leaving: bool,
}

/// The leader, as far as this replica can hear, and when this replica loses patience.
#[derive(Debug, Clone)]
pub struct Election {
    settings: Settings,
    configuration: Configuration,
    /// By replica id.
    peers: Vec<Peer>,
    /// The own heartbeats.
    rounds: Rounds,
    /// What is measured of the world.
    pace: Pace,
    /// What the user was told of the others.
    presence: Presence,
    next_heartbeat: Time,
    /// The highest ballot heard to lead, or led.
    leader: Option<Ballot>,
    /// How far that leader has applied, as it has told.
    led: Option<Slot>,
    /// When a serving leader was last heard.
    heard_at: Option<Time>,
    /// The newest campaign that was heard to move, and when.
    campaign: Option<(Ballot, Time)>,
    /// This replica has granted a pre-vote, and waits until then for the campaign.
    calm_until: Time,
    /// When the wait for a sign of the leader began, and what was drawn for its length.
    patient_since: Time,
    draw: u64,
    /// After a vain attempt: until then, a lack of progress alone leads to no other.
    quiet_until: Time,
    /// When this replica, leading, last went above an acceptor's promise.
    went_above_at: Option<Time>,
    /// Every slot below this is applied here.
    applied: Slot,
    /// Something has waited since then, and the applied prefix has not moved.
    pending_since: Option<Time>,
    /// How long slow paths need for the longest line that has waited since then.
    pending_us: u64,
    /// How often the wait is doubled.
    backoff: u32,
    /// How many leaders have begun since then.
    leaders_since: u32,
    /// When the newest input or timer came.
    seen_at: Time,
}

impl NotState for Election {}

impl Election {
    /// Nobody heard yet; the first wait begins with the first input.
    pub fn new(settings: Settings, configuration: Configuration, now: Time, draw: u64) -> Self {
        let presence = Presence::new(settings.n, configuration.clone(), now);
        Election {
            settings,
            configuration,
            peers: vec![Peer::default(); settings.rows()],
            rounds: Rounds::new(settings.boot),
            pace: Pace::new(settings),
            presence,
            next_heartbeat: now,
            leader: None,
            led: None,
            heard_at: None,
            campaign: None,
            calm_until: now,
            patient_since: now,
            draw,
            quiet_until: now,
            went_above_at: None,
            applied: Slot::ZERO,
            pending_since: None,
            pending_us: 0,
            backoff: 0,
            leaders_since: 0,
            seen_at: now,
        }
    }

    /// The members have changed: others are to be heard from, and a leader has its time to begin.
    pub fn enter(&mut self, now: Time, draw: u64, next: Configuration) {
        for (id, peer) in replicas(self.peers.len()).zip(&mut self.peers) {
            peer.member &= next.member(id).is_some();
        }
        // Nobody leads in it yet.
        self.leader = self.leader.filter(|ballot| *ballot >= next.first_ballot());
        self.presence.enter(next.clone());
        self.configuration = next;
        self.be_patient(now, draw);
        self.next_heartbeat = now;
    }

    /// Who owns a ballot. Of another configuration that is a guess.
    fn owner(&self, ballot: Ballot) -> ReplicaId {
        self.configuration.likely_owner(ballot, self.settings.n)
    }

    /// The highest ballot heard to lead, or led.
    pub fn leader(&self) -> Option<Ballot> {
        self.leader
    }

    /// Comes first with every input. After a pause, moves the times by which others are judged.
    pub fn observe(&mut self, now: Time) {
        let gap = now.since_us(self.seen_at);
        self.seen_at = now;
        // A replica that runs never goes longer without an input or a timer.
        let pause = self.settings.heartbeat_us.max(self.settings.election_min_us / 2);
        if gap > 2 * pause {
            let later = |time: &mut Time| *time = time.plus_us(gap - pause);
            later(&mut self.calm_until);
            later(&mut self.patient_since);
            self.campaign.iter_mut().map(|(_, at)| at).for_each(later);
            later(&mut self.quiet_until);
            self.heard_at.iter_mut().for_each(later);
            self.pending_since.iter_mut().for_each(later);
            self.rounds.shift(gap - pause);
            self.presence.shift(gap - pause);
            self.peers.iter_mut().filter_map(|peer| peer.echoed.as_mut()).for_each(later);
        }
    }

    /// Begins a new wait before the leader is suspected.
    pub fn be_patient(&mut self, now: Time, draw: u64) {
        (self.patient_since, self.draw) = (now, draw);
    }

    /// The wait before the leader is suspected.
    fn suspect_us(&self) -> u64 {
        let Waits { election_min_us: min, election_max_us: max, .. } = self.pace.waits();
        let wait_us = min + self.draw % (max - min + 1);
        // All rivals double alike or not at all, else their waits would end up equal.
        let bound_us = (self.settings.election_max_us << self.backoff).max(WAIT_MAX_US);
        let fits = |doublings: &u32| max << *doublings <= bound_us;
        wait_us << (0..=self.backoff).rev().find(fits).unwrap_or(0)
    }

    /// An attempt came to nothing: the next wait is twice as long, up to a bound.
    pub fn back_off(&mut self, now: Time, draw: u64) {
        self.backoff = (self.backoff + 1).min(BACKOFF_DOUBLINGS_MAX);
        self.be_patient(now, draw);
        self.quiet_until = self.suspect_at();
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
        let echoed = self.rounds.sent_at(heartbeat.echo);
        let peer = &mut self.peers[from.index()];
        // Another life of the peer numbers its heartbeats anew.
        let boot = heartbeat.voter.boot;
        if peer.boot != boot {
            *peer = Peer { boot, ..Peer::default() };
        }
        let silent_us = if peer.round == 0 { 0 } else { now.since_us(peer.heard_at) };
        // An echo that comes again says only that nothing newer was heard. But of a heartbeat that
        // was overtaken on its way, the time that it took is one that messages take there.
        if (heartbeat.echo > peer.echo || heartbeat.round < peer.round)
            && let Some(sent_at) = echoed
        {
            let took_us = now.since_us(sent_at).saturating_sub(heartbeat.held_us.into());
            // If it was silent for much longer than its answers take, it slept, or the path was cut.
            // That is no time that answers take, and when it dies next, nobody is to wait for them
            // as long. (Of a path of which nothing is known, this is what is known.)
            let known_us = self.pace.answer_us(from);
            if known_us == 0 || silent_us < self.settings.election_max_us.max(2 * known_us) {
                self.pace.answered(from, took_us);
            }
        }
        if heartbeat.round <= peer.round {
            return false;
        }
        peer.round = heartbeat.round;
        peer.heard_at = now;
        // A number of the life before says nothing. If it counted, no echo of this life would be
        // news before its own numbers come up to it.
        if echoed.is_some() {
            peer.echo = peer.echo.max(heartbeat.echo);
        }
        peer.echoed = peer.echoed.max(echoed);
        peer.promised = peer.promised.max(heartbeat.promised);
        peer.applied = peer.applied.max(heartbeat.applied);
        peer.member = member;
        // Attempts that came to nothing may have lacked just this member (L3).
        if member && self.backoff > 0 && silent_us >= self.settings.election_max_us {
            self.backoff = 0;
            self.be_patient(now, draw);
            self.quiet_until = self.suspect_at();
        }
        if member {
            let back = self.presence.heard(now, from);
            self.tell(back);
        }
        self.pace.heard_sync(now, from, heartbeat.sync_ms);
        // A leader of a lower ballot was deposed and does not count, though it still serves.
        if member && heartbeat.leading && Some(heartbeat.ballot) >= self.leader {
            self.follow(now, heartbeat.ballot);
            let follows = self.presence.follows(heartbeat.ballot);
            self.tell(follows);
            self.note_led(now, heartbeat.applied);
            self.heard_at = Some(now);
            self.be_patient(now, draw);
        }
        self.update_pace(now);
        true
    }

    /// What the acceptor handed to its disk at `since` is durable now.
    pub fn note_saved(&mut self, now: Time, since: Time) {
        self.pace.saved(now, now.since_us(since));
        self.update_pace(now);
    }

    fn update_pace(&mut self, now: Time) {
        let leader = self.leader.map(|ballot| self.owner(ballot));
        self.pace.update(leader.filter(|leader| *leader != self.settings.id));
        self.pace.report(now);
    }

    /// How long the answers of `peer` take, if that is news.
    pub fn take_trip(&mut self, peer: ReplicaId) -> Option<Trip> {
        self.pace.take_news(peer)
    }

    /// What is measured of the world.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Notes that this replica leads with `ballot`.
    pub fn lead(&mut self, now: Time, ballot: Ballot) {
        self.next_heartbeat = now;
        self.follow(now, ballot);
        self.presence.leads(ballot);
    }

    /// A replica leads with `ballot`. If that is news it has the whole wait to show progress.
    fn follow(&mut self, now: Time, ballot: Ballot) {
        if self.leader >= Some(ballot) {
            return;
        }
        (self.leader, self.led) = (Some(ballot), None);
        if let Some(since) = &mut self.pending_since {
            *since = now;
            self.leaders_since = self.leaders_since.saturating_add(1);
        }
    }

    /// The serving leader says how far it has applied. If that moves, it gets things done, and
    /// what this replica lacks itself it may fetch: another leader would not bring it.
    fn note_led(&mut self, now: Time, applied: Slot) {
        let moves = self.led.is_some_and(|before| applied > before);
        self.led = self.led.max(Some(applied));
        if moves {
            self.leaders_since = 0;
            self.pending_since.iter_mut().for_each(|since| *since = now);
        }
    }

    /// How far the log is applied, and whether something waits (L1): if so, how long slow paths
    /// need for the longest line of it. Decisions above a hole
    /// are no progress.
    pub fn handle_progress(&mut self, now: Time, applied: Slot, pending: Option<u64>) {
        if applied > self.applied {
            self.applied = applied;
            self.backoff = 0;
            self.leaders_since = 0;
            self.pending_since = None;
        }
        match pending {
            None => self.pending_since = None,
            Some(us) if self.pending_since.is_none() => {
                (self.pending_since, self.pending_us) = (Some(now), us);
            }
            Some(us) => self.pending_us = self.pending_us.max(us),
        }
    }

    /// Whether something has waited too long without progress.
    pub fn is_unsatisfied(&self, now: Time) -> bool {
        self.pending_since.is_some_and(|since| now.since_us(since) >= self.stall_us())
    }

    /// How long something may wait without progress: twice as long after each leader that
    /// brought none, since the next one may only need more time.
    fn stall_us(&self) -> u64 {
        let stall_us = self.pace.waits().stall_us + self.pending_us;
        let doublings = self.leaders_since.saturating_sub(1).min(BACKOFF_DOUBLINGS_MAX);
        (stall_us << doublings).min(WAIT_MAX_US).max(stall_us)
    }

    /// Whether a serving leader was heard within the shortest suspicion time.
    pub fn hears_leader(&self, now: Time) -> bool {
        self.heard_at.is_some_and(|heard| now.since_us(heard) < self.pace.waits().election_min_us)
    }

    /// A campaign moves. The candidate has asked a quorum, so for now it is as good as a leader
    /// (L2).
    pub fn hear_campaign(&mut self, now: Time, draw: u64, ballot: Ballot) {
        self.campaign = Some((ballot, now));
        self.be_patient(now, draw);
    }

    /// Whether a campaign was heard to move within the shortest suspicion time, of another
    /// replica than `asker`: a candidate that asks again has given its campaign up.
    pub fn hears_campaign(&self, now: Time, asker: ReplicaId) -> bool {
        self.campaign_heard(now, asker).is_some()
    }

    /// The ballot of that campaign.
    pub fn campaign_heard(&self, now: Time, asker: ReplicaId) -> Option<Ballot> {
        let lately = |at: Time| now.since_us(at) < self.pace.waits().election_min_us;
        let counts = |ballot: Ballot| Some(ballot) > self.leader && self.owner(ballot) != asker;
        self.campaign
            .filter(|(ballot, at)| counts(*ballot) && lately(*at))
            .map(|(ballot, _)| ballot)
    }

    /// How long this replica waits before it tries to lead, and for what.
    pub fn patience(&self, now: Time) -> Patience {
        Patience {
            leader: self.leader,
            heard_at: self.heard_at,
            until: self.suspect_at(),
            is_behind: self.behind_us() > 0,
            is_calm: self.calm_until > now && self.calm_until >= self.suspect_at(),
            campaign: self.campaign_heard(now, self.settings.id),
            is_unsatisfied: self.is_unsatisfied(now),
        }
    }

    /// This replica has granted a pre-vote. Two round trips later it hears the campaign, if
    /// there is one.
    pub fn calm(&mut self, now: Time) {
        self.calm_until = now.plus_us(2 * self.pace.waits().answer_us);
    }

    /// The peers should hear at once what this replica does.
    pub fn send_heartbeat_soon(&mut self, now: Time) {
        self.next_heartbeat = now;
    }

    /// Whether it is time to ask for pre-votes: neither a serving leader nor a campaign was
    /// heard for the drawn wait, or the leader that is heard gets nothing applied.
    pub fn suspects(&self, now: Time) -> bool {
        let is_stalled = now >= self.quiet_until.max(self.calm_until)
            && self.is_unsatisfied(now.minus_us(self.turn_us() + self.behind_us()))
            && !self.hears_campaign(now, self.settings.id);
        now >= self.suspect_at() || is_stalled
    }

    /// How much longer this replica waits because it is far behind another that it hears. As a
    /// leader it would get nothing applied before it has caught up, and the other one would at
    /// once, since acceptors need no log (L7). If that one cannot lead, nobody waits for long. (The
    /// leader whose last heartbeat began the wait does not count.)
    fn behind_us(&self) -> u64 {
        let far = self.applied.plus(self.settings.limits.fetch_slots);
        let is_ahead =
            |peer: &Peer| peer.member && peer.heard_at > self.patient_since && peer.applied > far;
        if self.peers.iter().any(is_ahead) { self.pace.waits().election_max_us } else { 0 }
    }

    /// How much longer than the longest election wait this replica waits before it acts on a
    /// lack of progress while heartbeats keep coming. Each replica has a turn of its own, so
    /// that they do not all try at once (L3).
    fn turn_us(&self) -> u64 {
        let Waits { election_min_us, election_max_us, .. } = self.pace.waits();
        let span = election_max_us - election_min_us;
        span * u64::from(self.settings.id.0) / self.settings.places as u64
    }

    /// How old the newest echo of a member in touch may be. It is as old as the way there and
    /// back is long, so each member has a longer time if that is long.
    fn touch_us(&self, id: ReplicaId) -> u64 {
        self.settings.election_max_us.max(2 * self.pace.answer_us(id))
    }

    /// Whether this peer is a member that has lately echoed this replica's heartbeats.
    pub fn is_in_touch(&self, now: Time, id: ReplicaId) -> bool {
        let Peer { member, echoed, .. } = self.peers[id.index()];
        member && echoed.is_some_and(|at| now.since_us(at) < self.touch_us(id))
    }

    /// Whether this peer is a member that has echoed a heartbeat which left after this time.
    pub fn has_echoed_since(&self, id: ReplicaId, since: Time) -> bool {
        let Peer { member, echoed, .. } = self.peers[id.index()];
        member && echoed > Some(since)
    }

    /// After so long a peer that has echoed nothing is not there, in microseconds.
    pub fn echoes_within_us(&self) -> u64 {
        self.settings.peers().map(|id| self.touch_us(id)).max().unwrap_or(0)
    }

    /// The members in touch.
    fn in_touch(&self, now: Time) -> impl Iterator<Item = &Peer> {
        let in_touch = self.settings.peers().filter(move |id| self.is_in_touch(now, *id));
        in_touch.map(|id| &self.peers[id.index()])
    }

    /// Whether a leader that has led since `since` must have been heard by now: for that long
    /// it is given the benefit of the doubt. Before a quorum has ever answered, nobody knows
    /// how long the way to it is.
    pub fn is_established(&self, now: Time, since: Time) -> bool {
        let wait_us = self.pace.waits().election_max_us;
        let first_us = if self.pace.knows_quorum() { 0 } else { FIRST_ECHO_US };
        now.since_us(since) >= wait_us.max(first_us)
    }

    /// This life of a peer is about to end (L9).
    pub fn note_leaving(&mut self, peer: ReplicaId, boot: BootId) {
        let peer = &mut self.peers[peer.index()];
        peer.leaving |= peer.boot == boot;
    }

    /// The members in touch that are not about to end, the ones farthest with their logs first.
    pub fn who_stays(&self, now: Time) -> Vec<ReplicaId> {
        let stays = |id: &ReplicaId| self.is_in_touch(now, *id) && !self.peers[id.index()].leaving;
        let mut all: Vec<ReplicaId> = self.settings.peers().filter(stays).collect();
        all.sort_by_key(|id| (Reverse(self.peers[id.index()].applied), *id));
        all
    }

    /// Whether a quorum, this replica included, echoes recent heartbeats.
    pub fn is_heard_by_quorum(&self, now: Time) -> bool {
        1 + self.in_touch(now).count() >= self.configuration.quorum()
    }

    /// Whether a quorum is in touch and has promised nothing above `ballot`, as far as this
    /// replica knows; `own` is what its own acceptor has promised.
    pub fn is_followed_by_quorum(&self, now: Time, ballot: Ballot, own: Option<Ballot>) -> bool {
        let peers = self.in_touch(now).filter(|peer| peer.promised <= Some(ballot)).count();
        peers + usize::from(own <= Some(ballot)) >= self.configuration.quorum()
    }

    /// Whether a leader whose ballot a promise has overtaken may go above that promise: a
    /// quorum still follows, and the leader has not done so lately. Takes note of it.
    pub fn may_go_above(&mut self, now: Time, ballot: Ballot, own: Option<Ballot>) -> bool {
        let lately = |at: Time| now.since_us(at) < self.pace.waits().election_max_us;
        let may =
            self.is_followed_by_quorum(now, ballot, own) && !self.went_above_at.is_some_and(lately);
        if may {
            self.went_above_at = Some(now);
        }
        may
    }

    /// The highest ballot that any peer says it has promised.
    pub fn highest_promise(&self) -> Option<Ballot> {
        self.peers.iter().filter_map(|peer| peer.promised).max()
    }

    /// Begins the next round of heartbeats.
    pub fn begin_round(&mut self, now: Time) -> u64 {
        self.next_heartbeat = now.plus_us(self.settings.heartbeat_us);
        self.rounds.begin(now)
    }

    /// The newest own round.
    pub fn newest_round(&self) -> u64 {
        self.rounds.newest()
    }

    /// `round`, if this process has sent it and remembers that.
    pub fn own_round(&self, round: u64) -> Option<u64> {
        self.rounds.sent_at(round).map(|_| round)
    }

    /// The highest round heard from `peer`, to be echoed to it.
    pub fn echo_of(&self, peer: ReplicaId) -> u64 {
        self.peers[peer.index()].round
    }

    /// How long ago that round came.
    pub fn held_us(&self, now: Time, peer: ReplicaId) -> u32 {
        u32::try_from(now.since_us(self.peers[peer.index()].heard_at)).unwrap_or(u32::MAX)
    }

    /// When the next heartbeat is due.
    pub fn next_heartbeat(&self) -> Time {
        self.next_heartbeat
    }

    /// When the leader is suspected, if nothing is heard until then.
    pub fn suspect_at(&self) -> Time {
        let wait_us = self.suspect_us() + self.behind_us();
        self.patient_since.plus_us(wait_us).max(self.calm_until)
    }

    /// A peer's acceptor has named its promise in a nack.
    pub fn note_promise(&mut self, peer: ReplicaId, promised: Ballot) {
        let known = &mut self.peers[peer.index()].promised;
        *known = (*known).max(Some(promised));
    }
}
