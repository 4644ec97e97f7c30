//! Whom a client asks again, and when. (L4, L8)
//!
//! At first it asks the same replica again: a datagram was lost. About a line that has waited for
//! longer than answers take it asks others as well, in rounds. Whoever has the line passes it on,
//! and to every leader that comes. So mostly one more replica is enough: when another leader is
//! found, some replica that can reach it has the line.
//!
//! A leader that has the line says so when a copy comes. Then nothing was lost, and it is asked
//! once without the line, and so are others once one of them had it. Only once: its word names no
//! line, so it may be late and speak of the line before, and a leader that is asked without the
//! line says the same whether it has it or not. Then a copy leaves again.
//!
//! Silence shows a lost datagram, or a replica that is down, and the next question may get through.
//! After each round without an answer the next one asks one replica more. An answer that does not
//! settle the fate of the line shows that the line waits for something else. A cluster that is cut
//! off or overloaded gets no better by questions. So after an answer the next round comes only when
//! the line has waited for half as long again, or [`ROUND_MAX_US`] longer. That time begins with the
//! round that was answered. If it began with a later one, which is lost, the client would wait for
//! nothing. A client that waits for a session asks in the same rounds.

use super::{ASK_ALL_US, Client, Outcome, RETRY_MAX_US};
use crate::message::ClientMessage;
use crate::paxos::Outbox;
use crate::quorum::ReplicaSet;
use crate::types::{Ballot, ReplicaId, Time, replicas};

/// The longest time between two rounds, unless answers are known to take longer.
const ROUND_MAX_US: u64 = 4_000_000;

/// The rounds about the line in flight.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rounds {
    /// How often others were asked.
    count: usize,
    /// How many in a row were not answered.
    silent: usize,
    /// Whether anything was answered since the last question.
    heard: bool,
    /// The ballot whose leader has answered the last copy with word that it has the line.
    held: Option<Ballot>,
    /// Whether the last question went without the line.
    inquired: bool,
}

impl Rounds {
    /// The replica `from`, of `n`, says that `ballot` leads: the line is not complete there. If
    /// that is the leader, and a copy was sent, it probably has the line.
    pub(super) fn note_leader(&mut self, ballot: Ballot, from: ReplicaId, n: usize) {
        self.heard = true;
        if ballot.owner(n) == from && !self.inquired {
            self.held = self.held.max(Some(ballot));
        }
    }
}

impl Client {
    /// No answer has come in time.
    pub(super) fn send_again(&mut self, now: Time, draw: u64, out: &mut Outbox<Outcome>) {
        if std::mem::replace(&mut self.again, true) {
            // One message may be lost. After two, answers probably take longer now.
            self.trip.missed(self.patience_us(RETRY_MAX_US));
        }
        self.sent_at = now;
        self.lateness.asked_again(now);
        if !self.reporting {
            self.answering = ReplicaSet::EMPTY;
        }
        let waited_us = now.since_us(self.submitted_at);
        self.asked_all = waited_us >= self.patience_us(ASK_ALL_US);
        let wait_us = self.trip.wait_us().min(self.patience_us(RETRY_MAX_US));
        let heard = std::mem::take(&mut self.rounds.heard) && self.asked_all;
        if heard {
            self.rounds.silent = 0;
        }
        self.retry_at = now.plus_us(wait_us + draw % (wait_us / 2));
        let (whom, n, all) = (self.whom(), self.n, self.asked_all);
        let asked = |replica: &ReplicaId| all || *replica == whom;
        let Some(copies) = &mut self.copies else { return self.send_round(whom, out) };
        let copy_to = copies.take_due(now, whom, n);
        for replica in replicas(n).filter(asked) {
            self.ask_about_line(replica, copy_to != Some(replica), out);
        }
    }

    /// The last round is answered, and the fate of the line is open: the next one has time.
    pub(super) fn rest(&mut self) {
        if self.asked_all {
            let waited_us = self.sent_at.since_us(self.submitted_at);
            let rest_us = (waited_us / 2).min(ROUND_MAX_US);
            self.retry_at = self.retry_at.max(self.sent_at.plus_us(rest_us));
        }
    }

    /// Asks the replica that is asked first about a short line, or for a session, and others in
    /// turn: one, and one more after each round without an answer.
    fn send_round(&mut self, whom: ReplicaId, out: &mut Outbox<Outcome>) {
        let (others, leader_has_it) = (self.n - 1, self.rounds.held.take() == Some(self.leader));
        self.rounds.inquired = leader_has_it;
        self.ask_about_line(whom, leader_has_it, out);
        let asked = if self.asked_all { (1 + self.rounds.silent).min(others) } else { 0 };
        for _ in 0..asked {
            let (step, another_had_it) = (1 + self.rounds.count % others, self.rounds.count > 0);
            let other = ReplicaId(((whom.index() + step) % self.n) as u8);
            self.rounds.count += 1;
            self.ask_about_line(other, leader_has_it && another_had_it, out);
        }
        self.rounds.silent += usize::from(self.asked_all);
    }

    /// Sends the line in flight, or asks what became of it: if the replica, or a leader, `has_it`,
    /// or probably will.
    fn ask_about_line(&self, to: ReplicaId, has_it: bool, out: &mut Outbox<Outcome>) {
        match self.open.filter(|_| has_it) {
            Some(open) => {
                let inquiry = open.inquiry(self.request.after);
                out.call(to, ClientMessage::Inquiry(Box::new(inquiry)));
            }
            None => self.call(to, out),
        }
    }
}
