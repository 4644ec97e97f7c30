//! Whom a client asks again, and when. (L4, L8)
//!
//! At first it asks the same replica again: a datagram was lost. Where answers are known to take
//! seconds, it does not wait as long to learn that its line was lost: after [`RETRY_MAX_US`], and
//! then each time when the line has waited twice as long, it asks that replica whether it has the
//! line, without it.
//!
//! About a line that has waited for longer than answers take it asks others as well, in rounds.
//! Whoever has the line passes it on, and to every leader that comes. So mostly one more replica is
//! enough: when another leader is found, some replica that can reach it has the line.
//!
//! A replica that has the line says so when a copy comes, and names it. From then on it is asked
//! without the line. If it then says no more than who leads, it has the line no longer, and gets a
//! copy at once.
//!
//! Silence shows a lost datagram, or a replica that is down, and the next question may get through.
//! After each round without an answer the next one asks one replica more; in a long outage rounds
//! come more rarely ([`SLOW_PART`]). An answer that does not
//! settle the fate of the line shows that the line waits for something else. A cluster that is cut
//! off or overloaded gets no better by questions. So after an answer the next round comes only when
//! the line has waited for half as long again, or [`ROUND_MAX_US`] longer. If a round about this line
//! was lost before, the next answer may be lost as well, and it is a quarter. That time begins
//! with the round that was answered. If it began with a later one, which is lost, the client would
//! wait for nothing. A client that waits for a session asks in the same rounds.

use super::{ASK_ALL_US, Client, Outcome, RETRY_MAX_US};
use crate::message::ClientMessage;
use crate::paxos::Outbox;
use crate::quorum::ReplicaSet;
use crate::types::{ReplicaId, Time, replicas};

/// The longest time between two rounds, unless answers are known to take longer.
const ROUND_MAX_US: u64 = 2_000_000;

/// The longest wait after a question without an answer, unless answers are known to take longer.
const SILENT_MAX_US: u64 = 300_000;

/// A line waits for at least this part of the time that it has waited, up to [`RETRY_MAX_US`], before
/// its client asks again.
const SLOW_PART: u64 = 16;

/// The rounds about the line in flight.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rounds {
    /// How often others were asked.
    count: usize,
    /// How many in a row were not answered.
    silent: usize,
    /// Whether anything was answered since the last question.
    heard: bool,
    /// The replicas that have said that they have the line.
    holders: ReplicaSet,
    /// The replicas that were asked without the line since it was last sent to them.
    inquired: ReplicaSet,
    /// Whether a round was not answered.
    lost: bool,
}

impl Rounds {
    /// This replica has the line.
    pub(super) fn note_holds(&mut self, replica: ReplicaId) {
        self.heard = true;
        self.holders.insert(replica);
    }

    /// Whether it has said so.
    pub(super) fn holds(&self, replica: ReplicaId) -> bool {
        self.holders.contains(replica)
    }
}

impl Client {
    /// A replica of the same leader says that it does not have the line. If it was asked without
    /// the line, it gets a copy.
    pub(super) fn note_lacks_line(
        &mut self,
        now: Time,
        replica: ReplicaId,
        out: &mut Outbox<Outcome>,
    ) {
        self.rounds.heard = true;
        self.rounds.holders = self.rounds.holders.without(replica);
        let was_inquired = self.rounds.inquired.contains(replica);
        self.rounds.inquired = self.rounds.inquired.without(replica);
        let leads = self.may_lead(replica);
        if let Some(copies) = &mut self.copies {
            if leads && was_inquired && copies.take_lost(now, replica) {
                self.attempts.again(now);
                self.request.attempt = self.attempts.current();
                self.call(replica, out);
            }
            return;
        }
        if !was_inquired {
            return self.rest();
        }
        self.attempts.again(now);
        self.request.attempt = self.attempts.current();
        self.retry_at = now.plus_us(self.times.wait_us().min(self.receipt_us()));
        self.call(replica, out);
    }

    /// How long a short line waits before its client asks whether it has come.
    pub(super) fn receipt_us(&self) -> u64 {
        match self.is_opening() || self.copies.is_some() {
            true => u64::MAX,
            false => RETRY_MAX_US.max(2 * self.hello_us.unwrap_or(0)),
        }
    }

    /// No answer has come in time.
    pub(super) fn send_again(&mut self, now: Time, draw: u64, out: &mut Outbox<Outcome>) {
        let waited_us = now.since_us(self.submitted_at);
        let answer_us = self.patience_us(ASK_ALL_US);
        if (self.receipt_us()..answer_us).contains(&waited_us) {
            self.retry_at = self.submitted_at.plus_us(answer_us.min(2 * waited_us));
            return self.ask(self.whom(), out);
        }
        if !self.attempts.is_first() {
            // One message may be lost. After two, answers probably take longer now.
            self.times.missed(self.patience_us(SILENT_MAX_US));
        }
        self.attempts.again(now);
        self.request.attempt = self.attempts.current();
        if !self.reporting {
            self.answering = ReplicaSet::EMPTY;
        }
        self.asked_all = waited_us >= answer_us;
        let heard = std::mem::take(&mut self.rounds.heard) && self.asked_all;
        self.rounds.lost |= self.rounds.silent > 0 && !heard;
        if heard {
            self.rounds.silent = 0;
        }
        // Whoever is asked answers at once, however long the line has to wait.
        let wait_us =
            self.times.wait_us().min(self.patience_us(RETRY_MAX_US)).min(self.receipt_us());
        // The longer nobody has answered, the less another question hastens.
        let wait_us = wait_us.max((waited_us / SLOW_PART).min(RETRY_MAX_US));
        self.retry_at = now.plus_us(wait_us + draw % (wait_us / 2));
        let (whom, n, all) = (self.whom(), self.places, self.asked_all);
        let asked = |replica: &ReplicaId| all || *replica == whom;
        let Some(copies) = &mut self.copies else { return self.send_round(whom, out) };
        let due = copies.take_due(now, whom, n);
        let copy_to = due.filter(|replica| !self.rounds.holds(*replica));
        if let Some(to) = copy_to {
            copies.leaves(now, to);
        }
        for replica in replicas(n).filter(asked) {
            match copy_to == Some(replica) {
                true => self.call(replica, out),
                false => self.ask(replica, out),
            }
        }
    }

    /// The last round is answered, and the fate of the line is open: the next one has time.
    pub(super) fn rest(&mut self) {
        if self.asked_all {
            let sent_at = self.attempts.last_at();
            let waited_us = sent_at.since_us(self.submitted_at);
            let part_us = waited_us / if self.rounds.lost { 4 } else { 2 };
            let rest_us = part_us.min(self.patience_us(ROUND_MAX_US));
            self.retry_at = self.retry_at.max(sent_at.plus_us(rest_us));
        }
    }

    /// Asks the replica that is asked first about a short line, or for a session, and others in
    /// turn: one, and one more after each round without an answer.
    fn send_round(&mut self, whom: ReplicaId, out: &mut Outbox<Outcome>) {
        let others = self.places - 1;
        self.ask_about_line(whom, out);
        let asked = if self.asked_all { (1 + self.rounds.silent).min(others) } else { 0 };
        for _ in 0..asked {
            let step = 1 + self.rounds.count % others;
            let other = ReplicaId(((whom.index() + step) % self.places) as u8);
            self.rounds.count += 1;
            self.ask_about_line(other, out);
        }
        self.rounds.silent += usize::from(self.asked_all);
    }

    /// Sends the line to a replica that is not known to have it.
    fn ask_about_line(&mut self, to: ReplicaId, out: &mut Outbox<Outcome>) {
        match self.rounds.holds(to) {
            true => self.ask(to, out),
            false => {
                self.rounds.inquired = self.rounds.inquired.without(to);
                self.call(to, out);
            }
        }
    }

    /// Asks what became of the line, without it. While there is no session, asks for one.
    pub(super) fn ask(&mut self, to: ReplicaId, out: &mut Outbox<Outcome>) {
        let Some(open) = self.open else { return self.call(to, out) };
        self.rounds.inquired.insert(to);
        let inquiry = open.inquiry(self.request.after);
        out.call(to, ClientMessage::Inquiry(Box::new(inquiry)));
    }
}
