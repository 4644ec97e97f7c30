//! What a proposer makes of two lives of one member (S12): it tells them, the operator and the
//! other roles of this replica, and does not lead itself if it is one of them.

use super::{Proposer, Step};
use crate::message::{Heartbeat, Seen};
use crate::paxos::lives::Sign;
use crate::paxos::{Never, Notice, Outbox, acceptor, learner};
use crate::types::{Address, BootId, ReplicaId, Time};

impl Proposer {
    /// Whether this replica may try to lead: it is a member, and the only life of its directory as
    /// far as it was told.
    pub(super) fn may_lead(&self, now: Time) -> bool {
        self.is_voter() && !self.lives.is_told(now)
    }

    /// A heartbeat came. Returns whether its life may count: it is not outlived by another one.
    pub(super) fn hear_life(
        &mut self,
        from: ReplicaId,
        heartbeat: &Heartbeat,
        step: &mut Step<'_>,
    ) -> bool {
        let voter = heartbeat.voter;
        if !self.standing.is_member(from, voter.directory) {
            return true;
        }
        let (now, newest) = (step.now, self.election.newest_round());
        let echo = self.election.own_round(heartbeat.echo);
        let sign = Sign { from, voter, written: heartbeat.written, echo };
        if self.lives.hear(now, sign, newest) {
            self.two_run(from, step);
        } else if self.lives.is_beside(from) {
            self.lives.report(now, from);
        } else if self.lives.is_outlived(from, voter.boot) {
            return false;
        } else if self.lives.is_last(from, voter.boot) && self.standing.take_back(from, voter.boot)
        {
            self.lives.tell_again();
        }
        true
    }

    /// A member says what it knows of a life.
    pub(super) fn hear_word(&mut self, from: ReplicaId, seen: Option<Seen>, step: &mut Step<'_>) {
        let Some(seen) = seen else { return };
        let now = step.now;
        if seen.of == self.settings.id {
            if seen.boot != self.settings.boot && self.is_voter() {
                let is_news = !self.lives.is_told(now);
                self.lives.tell_own(now);
                self.lives.report_own(now, from, seen.at);
                self.follow("another process runs on a copy of its data directory", step);
                if is_news {
                    self.standing.set_beside(self.lives.beside(now));
                    self.tell_what_counts(now, step.out);
                }
            }
            return;
        }
        let (reached, newest) =
            (self.election.own_round(seen.reached), self.election.newest_round());
        if self.lives.hear_word(now, seen, reached, newest) {
            self.two_run(seen.of, step);
        }
    }

    /// Datagrams of a life came from this address.
    pub(super) fn note_address(&mut self, now: Time, of: ReplicaId, boot: BootId, at: Address) {
        self.lives.note_address(now, of, boot, at, self.election.newest_round());
    }

    /// Two lives of a member run at once: neither counts from now on.
    fn two_run(&mut self, of: ReplicaId, step: &mut Step<'_>) {
        self.lives.report(step.now, of);
        self.standing.set_beside(self.lives.beside(step.now));
        self.tell_what_counts(step.now, step.out);
        // Both are to hear of it at once.
        self.election.send_heartbeat_soon(step.now);
    }

    /// A round of heartbeats is about to leave.
    pub(super) fn look_at_lives(&mut self, now: Time, round: u64, out: &mut Outbox<Never>) {
        for left in self.lives.look(now) {
            let id = self.settings.id;
            log::info!("replica {id}: one life of replica {} is left", left.of);
            match left.is_whole {
                true => {
                    let member = self.configuration.member(left.of);
                    let directory = member.map(|member| member.directory);
                    directory.into_iter().for_each(|directory| {
                        self.standing.note(left.of, directory, left.memory);
                    });
                }
                // S10: it is told so, and stops.
                false => self.standing.forget(left.of, left.boot, left.memory),
            }
        }
        self.standing.set_beside(self.lives.beside(now));
        if self.lives.take_telling(now) {
            self.tell_what_counts(now, out);
        }
        let election = &self.election;
        self.lives.begin_round(now, round, |peer| election.echo_of(peer));
    }

    /// Tells the other roles of this replica.
    fn tell_what_counts(&mut self, now: Time, out: &mut Outbox<Never>) {
        let beside = self.lives.beside(now);
        out.tell(Notice::Acceptor(acceptor::Input::Beside(beside)));
        out.tell(Notice::Learner(learner::Input::Beside(beside)));
        let me = self.settings.id;
        for (of, directory, memory) in self.standing.remembered().filter(|(of, ..)| *of != me) {
            out.tell(Notice::Learner(learner::Input::Heard(of, directory, memory)));
        }
    }
}
