//! How a proposer moves from state to state: it suspects a leader, asks for pre-votes,
//! campaigns, leads, gives way. One rule here is for safety: a replica proposes only after
//! phase 1 of its ballot. The rest is liveness.

use super::{PreVote, Proposer, State, Step};
use crate::aside::Aside;
use crate::marker::Leads;
use crate::members::Configuration;
use crate::message::{AcceptedValues, Decided, Heartbeat, Message, Promise, Run, ToProposer};
use crate::paxos::pace::Waits;
use crate::paxos::phase1::{Phase1, Phase1Outcome};
use crate::paxos::phase2::Phase2;
use crate::paxos::standing::Verdict;
use crate::paxos::{Never, Notice, Outbox, acceptor, learner};
use crate::types::{Ballot, ReplicaId, Slot, SlotRange, Time};

impl Proposer {
    // --- the states ------------------------------------------------------------------

    /// Stops leading, or trying to. A leader hands the requests that are not applied to its
    /// learner, which passes them to the next leader.
    pub(super) fn follow(&mut self, why: &str, step: &mut Step<'_>) {
        let id = self.settings.id;
        match std::mem::replace(&mut self.state, State::Following) {
            State::Following => {}
            State::PreVoting(vote) => {
                log::debug!("replica {id}: drops pre-vote {}: {why}", vote.ballot);
            }
            State::Campaigning(phase1) => {
                log::info!("replica {id}: gives up ballot {}: {why}", phase1.ballot());
            }
            State::Leading { phase2, .. } => {
                log::info!("replica {id}: no longer leads with ballot {}: {why}", phase2.ballot());
                for (origin, request) in phase2.into_requests() {
                    let direct = false;
                    let held = learner::Input::RequestNotProposed { origin, request, direct };
                    step.out.tell(Notice::Learner(held));
                }
            }
        }
    }

    /// Follows, after an attempt that came to nothing; the next one waits longer (L3).
    fn back_off(&mut self, why: &str, step: &mut Step<'_>) {
        self.follow(why, step);
        self.election.back_off(step.now, step.draw);
    }

    /// How long to wait, by what is measured.
    fn waits(&self) -> Waits {
        self.election.pace().waits()
    }

    /// The smallest own ballot above everything seen.
    pub(super) fn next_ballot(&self) -> Ballot {
        let next = self.configuration.next_owned(self.seen, self.settings.id);
        next.expect("only a member campaigns")
    }

    /// M5: this replica has applied the change that makes this configuration. What it did in the
    /// one before is over. A leader that is still a member campaigns at once.
    pub(super) fn enter(&mut self, next: Configuration, step: &mut Step<'_>) {
        if next.number() <= self.configuration.number() {
            return;
        }
        let id = self.settings.id;
        log::info!("replica {id}: enters {next}");
        let led = self.leading().is_some();
        if led {
            // The change is decided by this leader's tally, which nobody can say later.
            self.send_heartbeats(step.now, step.out);
        }
        self.follow("the members have changed", step);
        for peer in self.settings.peers() {
            let directory = |of: &Configuration| of.member(peer).map(|member| member.directory);
            if directory(&self.configuration) != directory(&next) {
                self.lives.forget(peer);
            }
        }
        self.standing.set_configuration(&next);
        self.election.enter(step.now, step.draw, next.clone());
        self.seen = next.first_ballot();
        self.configuration = next;
        self.see(self.promised.unwrap_or_default());
        self.first_ballot = false;
        self.was_member |= self.is_voter();
        if led && self.may_lead(step.now) {
            self.begin_campaign(self.next_ballot(), step);
        }
    }

    fn begin_pre_vote(&mut self, step: &mut Step<'_>) {
        self.pre_vote_round += 1;
        let ballot = self.next_ballot();
        log::debug!("replica {}: asks for pre-votes for ballot {ballot}", self.settings.id);
        let vote =
            PreVote::new(&self.settings, ballot, self.pre_vote_round, self.waits(), step.now);
        self.state = State::PreVoting(vote);
        self.continue_pre_vote(step);
    }

    /// L2: campaigns once a quorum would help.
    fn continue_pre_vote(&mut self, step: &mut Step<'_>) {
        let State::PreVoting(vote) = &mut self.state else { return };
        if vote.is_granted(&self.configuration) {
            let ballot = vote.ballot;
            return self.begin_campaign(ballot, step);
        }
        vote.ask(&self.settings, step.now, step.out);
    }

    pub(super) fn begin_campaign(&mut self, ballot: Ballot, step: &mut Step<'_>) {
        self.see(ballot);
        let (voter, first, waits) = (self.membership.voter, self.applied, self.waits());
        let (now, configuration) = (step.now, self.configuration.clone());
        let phase1 = Phase1::begin(
            *self.settings,
            configuration,
            voter,
            ballot,
            first,
            waits,
            now,
            step.out,
        );
        log::info!("replica {}: campaigns with ballot {ballot}", self.settings.id);
        self.state = State::Campaigning(Box::new(phase1));
        self.election.send_heartbeat_soon(step.now);
    }

    fn lead(&mut self, ballot: Ballot, outcome: Phase1Outcome, step: &mut Step<'_>) {
        let id = self.settings.id;
        log::info!("replica {id}: {}", Leads(ballot));
        let found = SlotRange::with_len(outcome.first, outcome.values.len() as u64);
        if !found.is_empty() {
            log::info!("replica {id}: proposes slots {found} again");
        }
        let (applied, waits) = (self.applied, self.waits());
        let phase2 = Phase2::begin(*self.settings, ballot, outcome, applied, waits, step.now);
        self.state = State::Leading { phase2: Box::new(phase2), since: Aside(step.now) };
        self.election.lead(step.now, ballot);
        step.out.tell(Notice::Learner(learner::Input::Leading(ballot)));
        self.send_heartbeats(step.now, step.out);
    }

    // --- messages --------------------------------------------------------------------

    /// Phase 1b.
    pub(super) fn handle_promise(&mut self, from: ReplicaId, page: Promise, step: &mut Step<'_>) {
        if !self.counts(from, page.voter, step.out) {
            return;
        }
        let State::Campaigning(phase1) = &mut self.state else { return };
        let ballot = phase1.ballot();
        if let Some(outcome) = phase1.handle_promise(step.now, from, &page, step.out) {
            self.lead(ballot, outcome, step);
        }
    }

    /// Phase 1b of the own acceptor.
    pub(super) fn handle_own_promise(
        &mut self,
        promised: Ballot,
        trimmed: Slot,
        accepted: Vec<Run>,
        step: &mut Step<'_>,
    ) {
        let State::Campaigning(phase1) = &mut self.state else { return };
        let ballot = phase1.ballot();
        if ballot == promised
            && let Some(outcome) = phase1.handle_own_promise(step.now, trimmed, accepted, step.out)
        {
            self.lead(ballot, outcome, step);
        }
    }

    /// Values that a promise has named. They need no directory: a slot and a ballot have one
    /// value, whoever sends it (I2).
    pub(super) fn handle_values(
        &mut self,
        from: ReplicaId,
        values: AcceptedValues,
        step: &mut Step<'_>,
    ) {
        let State::Campaigning(phase1) = &mut self.state else { return };
        let ballot = phase1.ballot();
        if let Some(outcome) = phase1.handle_values(step.now, from, values, step.out) {
            self.lead(ballot, outcome, step);
        }
    }

    /// The acceptor of `from` refuses `ballot`, because of what it has promised.
    pub(super) fn handle_nack(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        promised: Ballot,
        step: &mut Step<'_>,
    ) {
        self.see(promised);
        if from == self.settings.id {
            self.promised = self.promised.max(Some(promised));
        } else {
            self.election.note_promise(from, promised);
        }
        match &self.state {
            // L3: one refusal is enough. A rival has the higher ballot, and may finish first.
            State::Campaigning(phase1) if phase1.ballot() == ballot => {
                let why = format!("replica {from} has promised ballot {promised}");
                self.back_off(&why, step);
            }
            State::Leading { .. } => self.go_above(step),
            _ => {}
        }
    }

    /// Acts if an acceptor has promised more than this leader's ballot. If a quorum still
    /// follows, the leader goes above that promise at once (L2). Otherwise it gives way, and
    /// a pre-vote tells whether that acceptor follows a leader that this replica cannot hear.
    /// It also gives way the second time in a row: the other is a rival that does the same
    /// (L3). A campaign that moves is no straggler: a quorum wants another leader.
    pub(super) fn go_above(&mut self, step: &mut Step<'_>) {
        let Some(ballot) = self.leading() else { return };
        let highest = self.election.highest_promise().max(self.promised);
        // Of a later configuration it is no rival's. The log will tell, and end this one (M5).
        if highest <= Some(ballot) || !highest.is_some_and(|it| self.configuration.has(it)) {
            return;
        }
        let is_followed = self.election.is_followed_by_quorum(step.now, ballot, self.promised);
        if is_followed && self.election.hears_campaign(step.now, self.settings.id) {
            return;
        }
        if self.is_leaving() {
            return self.follow("this replica is about to end", step);
        }
        if self.election.may_go_above(step.now, ballot, self.promised) {
            self.follow("an acceptor has promised a higher one", step);
            self.begin_campaign(self.next_ballot(), step);
        } else {
            self.follow("too many acceptors have promised a higher one", step);
        }
    }

    /// The ballot with which this replica campaigns, as long as its campaign moves.
    pub(super) fn moving_campaign(&self, now: Time) -> Option<Ballot> {
        match &self.state {
            State::Campaigning(phase1) if phase1.is_moving(now) => Some(phase1.ballot()),
            _ => None,
        }
    }

    pub(super) fn handle_pre_vote(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        round: u64,
        step: &mut Step<'_>,
    ) {
        let granted = self.refusal(step.now, from, ballot).is_none();
        let (promised, voter) = (self.promised, self.membership.voter);
        let reply = ToProposer::PreVoteReply { round, granted, promised, voter };
        step.out.send(from, Message::Proposer(reply));
        if granted {
            self.election.calm(step.now);
            // L3: of two that ask at once, the one with the lower ballot would be overtaken.
            if matches!(&self.state, State::PreVoting(vote) if vote.ballot < ballot) {
                self.follow("a rival has a higher one", step);
            }
        }
    }

    /// A campaign of another replica moves (L2). It counts unless this replica's own acceptor
    /// would refuse it, or a leader has come after it.
    pub(super) fn hear_campaign(&mut self, ballot: Ballot, step: &mut Step<'_>) {
        if Some(ballot) < self.promised || Some(ballot) <= self.election.leader() {
            return;
        }
        self.election.hear_campaign(step.now, step.draw, ballot);
        let gives_way = match &self.state {
            State::PreVoting(_) => true,
            State::Campaigning(phase1) => !phase1.has_left() && phase1.ballot() < ballot,
            State::Following | State::Leading { .. } => false,
        };
        if gives_way {
            self.follow("another campaigns", step);
        }
    }

    pub(super) fn handle_pre_vote_reply(
        &mut self,
        from: ReplicaId,
        granted: bool,
        promised: Option<Ballot>,
        step: &mut Step<'_>,
    ) {
        self.see(promised.unwrap_or_default());
        let State::PreVoting(vote) = &mut self.state else { return };
        // Nobody can go above a promise to a configuration that is not applied here.
        if promised.is_some_and(|it| it.configuration() > self.configuration.number()) {
            return;
        }
        if promised >= Some(vote.ballot) {
            // Its acceptor could not promise this ballot: ask everyone about a higher one.
            self.begin_pre_vote(step);
        } else if granted {
            vote.grant(from);
            self.continue_pre_vote(step);
        }
    }

    pub(super) fn handle_heartbeat(
        &mut self,
        from: ReplicaId,
        heartbeat: &Heartbeat,
        step: &mut Step<'_>,
    ) {
        let voter = heartbeat.voter;
        if !self.hear_life(from, heartbeat, step) {
            return;
        }
        let member = match self.standing.judge(from, voter) {
            Verdict::Counts => true,
            Verdict::NotMember => false,
            Verdict::Former | Verdict::Beside => return,
            verdict @ Verdict::Forgotten { .. } => {
                return acceptor::refuse(from, voter, verdict, step.out);
            }
        };
        if member {
            self.standing.note_written(from, heartbeat.written);
            self.hear_word(from, heartbeat.seen, step);
        }
        let news = self.election.handle_heartbeat(step.now, step.draw, from, heartbeat, member);
        if let Some(trip) = self.election.take_trip(from) {
            step.out.tell(Notice::Learner(learner::Input::Trip(from, trip)));
        }
        if !news || !member {
            return;
        }
        self.see(heartbeat.ballot);
        self.see(heartbeat.promised.unwrap_or_default());
        if heartbeat.campaigning && self.configuration.owner(heartbeat.ballot) == Some(from) {
            self.hear_campaign(heartbeat.ballot, step);
        }
        if heartbeat.leading {
            self.note_inherited(heartbeat.ballot, heartbeat.inherited);
            let is_satisfied = !self.election.is_unsatisfied(step.now);
            let gives_way = match &self.state {
                State::Following => false,
                State::PreVoting(_) => is_satisfied,
                // Of a campaign that has not left nobody knows, so no leader needs to fear it.
                State::Campaigning(phase1) => {
                    phase1.ballot() < heartbeat.ballot || !phase1.has_left() && is_satisfied
                }
                State::Leading { phase2, .. } => phase2.ballot() < heartbeat.ballot,
            };
            if gives_way {
                self.follow("another leads", step);
            }
        }
        self.go_above(step);
    }

    /// L4: a member tells every peer what it has applied, what it has promised, and which
    /// leader it follows.
    pub(super) fn send_heartbeats(&mut self, now: Time, out: &mut Outbox<Never>) {
        let wants_votes = match &self.state {
            State::Following => false,
            State::PreVoting(_) | State::Campaigning(_) => true,
            State::Leading { since, .. } => self.election.is_established(now, **since),
        };
        if wants_votes {
            self.election.report_silence(now);
        }
        let round = self.election.begin_round(now);
        self.look_at_lives(now, round, out);
        self.store_memories(out);
        let (leading, campaign) = (self.leading(), self.moving_campaign(now));
        let decided = self.phase2().map_or(Decided::default(), Phase2::decided);
        let inherited = self.phase2().map_or(Slot::ZERO, |phase2| phase2.inherited().end);
        if let Some(phase2) = self.phase2_mut() {
            phase2.note_told();
        }
        if let Some(ballot) = leading {
            out.tell(Notice::Learner(learner::Input::Leading(ballot)));
        }
        for peer in self.settings.peers() {
            let heartbeat = Heartbeat {
                voter: self.membership.voter,
                written: self.written.records,
                round,
                echo: self.election.echo_of(peer),
                held_us: self.election.held_us(now, peer),
                sync_ms: self.election.pace().sync_ms(),
                ballot: leading.or(campaign).or(self.election.leader()).unwrap_or_default(),
                leading: leading.is_some(),
                campaigning: campaign.is_some(),
                promised: self.promised,
                applied: self.applied,
                history: *self.history,
                decided,
                inherited,
                seen: self.lives.word_to(now, peer, round),
            };
            out.send(peer, Message::Heartbeat(Box::new(heartbeat)));
        }
    }

    // --- time ------------------------------------------------------------------------

    /// Does what the time asks for in this state.
    pub(super) fn advance(&mut self, step: &mut Step<'_>) {
        let (now, waits) = (step.now, self.waits());
        match &mut self.state {
            State::Following => {}
            State::PreVoting(vote) => vote.set_waits(waits),
            State::Campaigning(phase1) => phase1.set_waits(waits),
            State::Leading { phase2, .. } => phase2.set_waits(waits),
        }
        match &mut self.state {
            State::Following if self.first_ballot => {
                self.first_ballot = false;
                let (voter, ballot, first) = (self.membership.voter, Ballot::ZERO, Slot::ZERO);
                let configuration = self.configuration.clone();
                let phase1 = Phase1::begin(
                    *self.settings,
                    configuration,
                    voter,
                    ballot,
                    first,
                    waits,
                    now,
                    step.out,
                );
                self.state = State::Campaigning(Box::new(phase1));
            }
            State::Following => {
                let may_lead = self.may_lead(now) && !self.is_leaving();
                if !may_lead && self.election.suspects(now) {
                    self.election.be_patient(now, step.draw);
                } else if self.is_voter() && self.election.suspects(now) {
                    self.election.report_suspicion(now);
                    self.election.be_patient(now, step.draw);
                    self.begin_pre_vote(step);
                }
            }
            State::PreVoting(vote) if vote.is_hopeless(&self.settings, now) => {
                self.back_off("no quorum would help", step);
            }
            State::PreVoting(_) => self.continue_pre_vote(step),
            State::Campaigning(phase1) if phase1.is_hopeless(now) => {
                self.back_off("no quorum promised", step);
            }
            State::Campaigning(phase1) => {
                let ballot = phase1.ballot();
                if let Some(outcome) = phase1.handle_timeout(now, step.out) {
                    self.lead(ballot, outcome, step);
                }
            }
            State::Leading { phase2, since } => {
                let is_established = self.election.is_established(now, **since);
                if is_established && !self.election.is_heard_by_quorum(now) {
                    // L2: followers that do not hear this leader may elect another.
                    self.back_off("no quorum hears it", step);
                } else if self.election.is_unsatisfied(now) {
                    // L1: so may those that hear it and get nothing applied.
                    self.back_off("nothing gets applied", step);
                } else {
                    phase2.handle_timeout(now, step.out);
                }
            }
        }
    }
}
