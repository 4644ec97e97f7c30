//! A client: one session, one line in flight, retried until it is complete.
//!
//! A client sends a line to the replica that it believes to lead. If no answer comes in the
//! time that answers take, a datagram was lost, and the client asks again (L4). If none
//! comes for [`ASK_ALL_US`], it asks others as well (`rounds`), because any replica that applied
//! the line may answer (E3). About a long line it asks without sending it (L8, `copies`). From then
//! on it sends its lines to the replica that answered, until it hears of a new leader. Commands are
//! numbered within their session, so however often a client sends one, it takes effect once (E2).
//!
//! Before its first line a client asks how far the log is (hello). The answer is the birth
//! of its session, by which the log knows that an expired session must not be created again.
//! The replica that answers may itself be far behind, and then the session is born too
//! early to be created. A replica that can tell that the line was not applied, and never
//! will be, says so, and the client opens another session for the line at once.
//! A session lives for a number of slots, not for a time. So a client that was quiet for
//! [`SESSION_IDLE_US`] opens a new session for its next line: nothing is in flight then, and
//! a session costs nothing. So all lines of one process are in the log in the order sent. Of a line
//! that an earlier process with the same client id left in flight, this one knows nothing.
//!
//! An [`Outcome`] says what happened to a line. It is the client's record, so it is shown
//! before anything else is sent.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod answer_times;
mod attempts;
mod copies;
mod outcome;
pub mod pool;
mod rounds;
mod session;
mod who_is_there;

pub use outcome::{Input, Outcome};
pub use session::SESSION_IDLE_US;

use answer_times::AnswerTimes;
use attempts::Attempts;
use copies::Copies;
use rounds::Rounds;
use session::{NEXT_SESSION, Open, Phase};

use crate::long_line::is_long;
use crate::message::{Answer, ClientMessage, Request, Responded};
use crate::paxos::pace::WAIT_MAX_US;
use crate::paxos::{Outbox, Role};
use crate::quorum::ReplicaSet;
use crate::types::{Attempt, Ballot, ClientId, Line, ReplicaId, Session, Slot, Time};
use crate::values::{CommandRef, ValueRef, Values};

/// How long a client waits for the replica that it believes to lead, before it asks others, unless
/// answers are known to take longer. Also the wait for an answer before any has come.
pub const ASK_ALL_US: u64 = 100_000;

/// The shortest wait for an answer. On one host an answer takes less.
const RETRY_MIN_US: u64 = 120;

/// The longest wait for an answer, unless answers are known to take longer.
const RETRY_MAX_US: u64 = 1_000_000;

/// How long a line is in flight before the user hears of it, unless answers are known to take
/// longer.
const PATIENCE_US: u64 = 3_000_000;

/// The client role.
#[derive(Debug)]
pub struct Client {
    id: ClientId,
    /// With how many replicas the cluster began.
    n: usize,
    /// How many may be asked.
    places: usize,
    /// How long a line may be in flight: for ever if absent.
    timeout_us: Option<u64>,
    phase: Phase,
    /// The request for the last line. The next one reuses its memory, since it mostly has
    /// the same size.
    request: Request,
    open: Option<Open>,
    /// The highest ballot that this client has heard to lead.
    leader: Ballot,
    /// A replica that completed a line when the leader did not answer in time. It leads now,
    /// or knows the replica that does.
    deputy: Option<ReplicaId>,
    /// All lines completed so far are in slots below this.
    after: Slot,
    /// Whether no more lines will come.
    ended: bool,
    submitted_at: Time,
    /// When the line, or the hello for it, was sent.
    attempts: Attempts,
    retry_at: Time,
    /// How long an answer takes.
    times: AnswerTimes,
    /// Whether others were asked than the replica that is asked first.
    asked_all: bool,
    /// The rounds in which others are asked about a short line.
    rounds: Rounds,
    /// If the line is long: when it is sent again as a whole.
    copies: Option<Copies>,
    report_at: Time,
    /// How long the last hello took, from the first time that it was sent to the replica that
    /// answered. The others may have been down.
    hello_us: Option<u64>,
    /// To whom the hello in flight was sent, and when first.
    greeted: Vec<(ReplicaId, Time)>,
    /// The replicas that have answered since the line was last sent.
    answering: ReplicaSet,
    /// Whether the others were asked for the next report.
    reporting: bool,
    /// The replicas that said, since the line was submitted, that they belong to another cluster.
    elsewhere: ReplicaSet,
}

impl Client {
    /// A client of a cluster of `n`.
    pub fn new(id: ClientId, n: usize, timeout_us: Option<u64>) -> Self {
        Client {
            id,
            n,
            places: n,
            timeout_us,
            phase: Phase::Idle,
            request: Request {
                commands: Values::default(),
                after: Slot::ZERO,
                attempt: Attempt::FIRST,
            },
            open: None,
            leader: Ballot::ZERO,
            deputy: None,
            after: Slot::ZERO,
            ended: false,
            submitted_at: Time(0),
            attempts: Attempts::default(),
            retry_at: Time(0),
            times: AnswerTimes::new(ASK_ALL_US, RETRY_MIN_US, WAIT_MAX_US),
            asked_all: false,
            rounds: Rounds::default(),
            copies: None,
            report_at: Time(0),
            hello_us: None,
            greeted: Vec::new(),
            answering: ReplicaSet::EMPTY,
            reporting: false,
            elsewhere: ReplicaSet::EMPTY,
        }
    }

    /// The same, which may ask the replicas at so many places, among them those that had no vote in
    /// the beginning.
    #[must_use]
    pub fn among(self, places: usize) -> Self {
        Client { places, ..self }
    }

    /// Whether a line is on its way.
    pub fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Opening { .. } | Phase::InFlight)
    }

    /// The line on its way, if there is one.
    pub fn line(&self) -> Option<Line> {
        match &self.phase {
            Phase::Opening { line, .. } => Some(line.clone()),
            Phase::InFlight => Some(self.request.iter().next()?.to_command().line),
            Phase::Idle | Phase::Failed => None,
        }
    }

    /// Whether its line waits for a session, that is for a welcome. (A welcome does not say
    /// which client it is for.)
    pub fn is_opening(&self) -> bool {
        matches!(self.phase, Phase::Opening { .. })
    }

    /// Whether the client gave up on a line, or its session expired.
    pub fn has_failed(&self) -> bool {
        matches!(self.phase, Phase::Failed)
    }

    fn submit(&mut self, now: Time, line: Line, session: u64, out: &mut Outbox<Outcome>) {
        assert!(!self.is_busy(), "a session has one line in flight");
        if self.has_failed() {
            return;
        }
        self.submitted_at = now;
        self.report_at = now.plus_us(self.patience_us(PATIENCE_US));
        (self.answering, self.reporting) = (ReplicaSet::EMPTY, false);
        self.elsewhere = ReplicaSet::EMPTY;
        self.open = self.open.filter(|open| open.is_usable(now));
        match self.open {
            Some(open) => self.request(now, open, line, out),
            None => {
                self.phase = Phase::Opening { line, session };
                self.send_first(now, out);
            }
        }
    }

    fn request(&mut self, now: Time, open: Open, line: Line, out: &mut Outbox<Outcome>) {
        let Open { session, birth, next, .. } = open;
        let command = CommandRef { session, seq: next, birth, line: line.as_bytes() };
        self.request.commands.replace(ValueRef::Command(command));
        self.request.after = self.after;
        self.phase = Phase::InFlight;
        self.send_first(now, out);
    }

    /// Sends the message of this phase.
    fn call(&mut self, to: ReplicaId, out: &mut Outbox<Outcome>) {
        match &self.phase {
            Phase::Opening { .. } => {
                if self.greeted.iter().all(|(replica, _)| *replica != to) {
                    self.greeted.push((to, self.attempts.last_at()));
                }
                out.call(to, ClientMessage::Hello);
            }
            Phase::InFlight => out.call(to, ClientMessage::Request(self.request.clone())),
            Phase::Idle | Phase::Failed => {}
        }
    }

    fn send_first(&mut self, now: Time, out: &mut Outbox<Outcome>) {
        (self.asked_all, self.rounds) = (false, Rounds::default());
        self.greeted.clear();
        self.attempts.begin(now);
        let answer_us = self.patience_us(ASK_ALL_US);
        let wait_us = self.times.wait_us();
        // To ask all costs more than to ask one, so it waits until hardly any answer is late.
        let wait_us = if wait_us < ASK_ALL_US { wait_us } else { answer_us };
        self.send_copy(now, out);
        self.retry_at = now.plus_us(wait_us.min(self.receipt_us()));
    }

    /// Sends the message of this phase to the replica that is asked first.
    fn send_copy(&mut self, now: Time, out: &mut Outbox<Outcome>) {
        let in_flight = matches!(self.phase, Phase::InFlight);
        let line = self.request.iter().next().filter(|_| in_flight).map(|it| it.line.len());
        let answer_us = self.patience_us(ASK_ALL_US);
        let (to, n) = (self.whom(), self.places);
        let copies = |bytes| Copies::new(now, to, bytes, n, answer_us);
        self.request.attempt = self.attempts.current();
        self.copies = line.filter(|bytes| is_long(*bytes)).map(copies);
        self.call(to, out);
    }

    /// Sends the message of this phase to a leader that was just heard of, or asks about it.
    fn send_to_new_leader(&mut self, now: Time, out: &mut Outbox<Outcome>) {
        self.attempts.again(now);
        match self.rounds.holds(self.whom()) {
            true => self.ask(self.whom(), out),
            false => self.send_copy(now, out),
        }
    }

    /// This time, or what answers take if that is longer.
    fn patience_us(&self, us: u64) -> u64 {
        let (Some(longest_us), false) = (self.times.longest_us(), self.is_opening()) else {
            // A line goes twice as far as a hello: to the leader, and from there to the others. And
            // a hello is answered at once, however long a line has to wait.
            return us.max(self.hello_us.map_or(0, |us| RETRY_MAX_US.min(2 * us)));
        };
        us.max(longest_us)
    }

    /// The replica to ask first.
    fn whom(&self) -> ReplicaId {
        self.deputy.unwrap_or(self.leader.owner(self.n))
    }

    /// Whether this replica leads. In a later configuration than the first one (M2) a client can
    /// only say that it is asked first.
    fn may_lead(&self, replica: ReplicaId) -> bool {
        match self.leader.configuration() {
            0 => replica == self.leader.owner(self.n),
            _ => replica == self.whom(),
        }
    }

    /// A replica says that `ballot` leads. Returns whether that is news.
    fn follow(&mut self, from: ReplicaId, ballot: Ballot) -> bool {
        let news = ballot > self.leader;
        self.leader = self.leader.max(ballot);
        if news {
            self.deputy = None;
            self.ask_leader(from);
        }
        news
    }

    /// Replica `from` knows who leads. So from now on the leader is asked: its owner, in the
    /// configuration with which the cluster began. Of a later one (M2) only replicas know the
    /// members. Then `from` is asked, and passes on what it gets.
    fn ask_leader(&mut self, from: ReplicaId) {
        if self.leader.configuration() == 0 {
            self.deputy = None;
        } else if self.deputy.is_none() || self.asked_all && !self.answering.contains(self.whom()) {
            self.deputy = Some(from);
        }
    }

    fn handle_answer(
        &mut self,
        now: Time,
        from: ReplicaId,
        answer: Answer,
        out: &mut Outbox<Outcome>,
    ) {
        match answer {
            Answer::Welcome { applied, ballot } => {
                let news = self.follow(from, ballot);
                if let Phase::Opening { line, session } = &self.phase {
                    let greeted = self.greeted.iter().find(|(replica, _)| *replica == from);
                    let since = greeted.map_or(self.attempts.first_at(), |(_, at)| *at);
                    self.hello_us = Some(now.since_us(since));
                    if self.asked_all && !news && from != self.leader.owner(self.n) {
                        // The leader did not answer in time, and this replica did.
                        self.deputy = Some(from);
                    }
                    let session = Session { client: self.id, id: *session };
                    // What this client has seen completed is decided as well.
                    let birth = applied.max(self.after);
                    let open = Open { session, birth, next: 0, used_at: now };
                    let line = line.clone();
                    self.open = Some(open);
                    self.request(now, open, line, out);
                } else if news && matches!(self.phase, Phase::InFlight) {
                    // It was asked who is there. The new leader may not have the line.
                    self.send_to_new_leader(now, out);
                }
            }
            Answer::Complete { .. } | Answer::Responded(_) => {
                let completion = answer.completion().expect("it is one");
                self.handle_completion(now, from, completion, out);
            }
            Answer::Expired { session, seq } => {
                if self.awaits(session, seq) {
                    self.fail(|line| Outcome::Expired { line }, out);
                }
            }
            Answer::BornTooEarly { session, seq } => {
                if self.awaits(session, seq)
                    && let Some(line) = self.line()
                {
                    // E2: the line may go by another session, because by this one it is not
                    // applied and never will be. A late answer names the session that it is
                    // about, so it cannot be taken for one about the new session.
                    let session = session.id.wrapping_add(NEXT_SESSION);
                    self.open = None;
                    self.deputy = Some(from);
                    self.phase = Phase::Opening { line, session };
                    self.send_first(now, out);
                }
            }
            Answer::Leader { ballot } => {
                let news = self.follow(from, ballot);
                if ballot != self.leader {
                    return;
                }
                self.ask_leader(from);
                if !self.is_busy() {
                    // It answers a copy of a line that is complete. To ask now would be to ask
                    // about the next line, before it is sent.
                } else if news {
                    self.send_to_new_leader(now, out);
                } else {
                    self.note_lacks_line(now, from, out);
                }
            }
            // It has not asked.
            Answer::Status(_)
            | Answer::Usage(_)
            | Answer::Log(_)
            | Answer::Mark { .. }
            | Answer::Members(_) => {}
            // Whoever sends for this role looks at it.
            Answer::Moved { .. } => {}
            Answer::Held { session, seq, ballot } => {
                let news = self.follow(from, ballot);
                if self.awaits(session, seq) {
                    self.rounds.note_holds(from);
                    match news {
                        true => self.send_to_new_leader(now, out),
                        false => self.rest(),
                    }
                }
                if ballot == self.leader {
                    self.ask_leader(from);
                }
            }
        }
    }

    /// A replica says that a line is complete.
    fn handle_completion(
        &mut self,
        now: Time,
        from: ReplicaId,
        completion: Responded,
        out: &mut Outbox<Outcome>,
    ) {
        let Responded { session, seq, slot, client_seq, attempt, response } = completion;
        if self.awaits(session, seq) {
            let took_us = now.since_us(self.submitted_at);
            if from == self.leader.owner(self.n) {
                self.deputy = None;
            } else if self.asked_all || self.leader.configuration() > 0 {
                // The leader did not answer in time, and this replica did; or it is the leader.
                self.deputy = Some(from);
            }
            self.measure(now, from, attempt);
            self.phase = Phase::Idle;
            self.after = self.after.max(slot.next());
            if let Some(open) = &mut self.open {
                open.next = seq + 1;
                open.used_at = now;
            }
            let (client, seq) = (self.id, client_seq);
            out.persist(Outcome::Complete { client, seq, slot, took_us, response });
        }
    }

    /// The line is complete. Another replica than the leader may have had it later, and a question
    /// that was passed on again, or was answered before, says nothing about the time.
    fn measure(&mut self, now: Time, from: ReplicaId, attempt: Attempt) {
        let last_us = now.since_us(self.attempts.last_at());
        let known = Some(attempt).filter(|_| self.may_lead(from));
        match known.and_then(|attempt| self.attempts.since_us(now, attempt)) {
            Some(took_us) => self.times.answered(took_us),
            None => self.times.recovered(last_us),
        }
    }

    fn awaits(&self, session: Session, seq: u64) -> bool {
        let in_flight = matches!(self.phase, Phase::InFlight);
        in_flight && self.open.is_some_and(|open| (open.session, open.next) == (session, seq))
    }

    /// Whether this answer may be for it: what it awaits, or news of a leader.
    fn may_want(&self, answer: &Answer) -> bool {
        match answer {
            Answer::Complete { session, seq, .. }
            | Answer::Expired { session, seq }
            | Answer::BornTooEarly { session, seq }
            | Answer::Held { session, seq, .. } => self.awaits(*session, *seq),
            Answer::Responded(completion) => self.awaits(completion.session, completion.seq),
            Answer::Welcome { .. } | Answer::Leader { .. } => true,
            Answer::Status(_)
            | Answer::Usage(_)
            | Answer::Log(_)
            | Answer::Mark { .. }
            | Answer::Members(_)
            | Answer::Moved { .. } => false,
        }
    }

    fn fail(&mut self, outcome: impl Fn(Line) -> Outcome, out: &mut Outbox<Outcome>) {
        let Some(line) = self.line() else { return };
        self.phase = Phase::Failed;
        out.persist(outcome(line));
    }
}

impl Role for Client {
    type Input = Input;
    type Record = Outcome;

    fn handle(&mut self, now: Time, _draw: u64, input: Input, out: &mut Outbox<Outcome>) {
        match input {
            Input::Submit { line, session } => self.submit(now, line, session, out),
            Input::End => self.ended = true,
            Input::Answer(from, answer) => {
                self.answering.insert(from);
                self.handle_answer(now, from, answer, out);
            }
            Input::OtherCluster(from) => self.handle_other_cluster(from, out),
        }
    }

    fn handle_timeout(&mut self, now: Time, draw: u64, out: &mut Outbox<Outcome>) {
        if !self.is_busy() {
            return;
        }
        let waited_us = now.since_us(self.submitted_at);
        if self.timeout_us.is_some_and(|timeout_us| waited_us >= timeout_us) {
            return self.fail(|line| Outcome::GaveUp { line }, out);
        }
        if now >= self.report_at {
            self.report(now, waited_us, out);
        }
        if now >= self.retry_at {
            self.send_again(now, draw, out);
        }
    }

    fn flush(&mut self, _now: Time, _out: &mut Outbox<Outcome>) {}

    fn deadline(&self) -> Option<Time> {
        let timeout = self.timeout_us.map(|us| self.submitted_at.plus_us(us));
        let next = self.retry_at.min(self.report_at);
        self.is_busy().then(|| timeout.map_or(next, |timeout| timeout.min(next)))
    }

    fn is_finished(&self) -> bool {
        self.has_failed() || self.ended && !self.is_busy()
    }
}
