//! Clients that wait for an answer from this replica.
//!
//! A client waits in one of two ways. Its command was proposed here, and the learner
//! remembers which client to answer for which slot ([`AwaitedRun`]). Or its command could
//! not be proposed here at once. Then the learner keeps it ([`PendingRequest`], at most one
//! for each session) and passes it to the proposer that leads, here or on another replica:
//! again whenever another replica leads, and at growing intervals, until the command is
//! applied or its client has gone (L4). A replica that is behind may hold a request that the leader
//! has proposed. It knows that if its own acceptor has accepted the command at the leader's ballot,
//! and passes on no copy of it. However often its client asks, it is passed on only
//! after the copy before has had its time (L8). Every table has a bound (L5).

use super::Outbox;
use super::awaited_runs::{AwaitedRun, AwaitedRuns};
use super::fate::{Fate, complete, fate};
use crate::aside::{Aside, NotState};
use crate::chat::{Applied, Status};
use crate::long_line::commit_us;
use crate::message::{Answer, Inquiry, Message, Request, Run, ToProposer};
use crate::paxos::request_queue::{asker, request_of};
use crate::paxos::{Limits, Notice, proposer};
use crate::requesters::{Asker, Requesters};
use crate::types::{Address, Attempt, Ballot, ReplicaId, Session, Slot, Time};
use crate::values::{CommandRef, ValueRef};
use round_trip::RoundTrip;
use std::collections::{BTreeMap, BTreeSet};

/// The first wait before a pending request is passed on again, unless requests take longer to
/// be applied, or the leader's proposals to come. Each wait is twice the one before.
const FORWARD_RETRY_US: u64 = 100_000;

/// The longest first wait.
const FORWARD_RETRY_MAX_US: u64 = 1_000_000;

/// The longest wait.
const FORWARD_WAIT_MAX_US: u64 = 4_000_000;

/// How long a request stays after its client was last heard.
const WAITING_US: u64 = 10_000_000;

/// How many clients may wait at one replica. Requests of others are dropped; they ask again.
pub const WAITING_MAX: usize = 65_536;

/// How many bytes of pending lines one replica keeps.
pub const WAITING_BYTES_MAX: usize = 16 << 20;

/// How many pending requests are passed on in one turn.
const FORWARD_BURST_MAX: usize = 256;

/// Where requests go: which replica leads, as far as this one has heard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    /// This replica.
    pub(super) me: ReplicaId,
    /// How many replicas there are.
    pub(super) n: usize,
    /// The ballot of the leader, and its owner.
    pub(super) leader: Option<(Ballot, ReplicaId)>,
    /// In this time its proposal of a request that is passed on to it is here; 0 if nothing is
    /// measured.
    pub(super) proposal_us: u64,
}

impl Route {
    /// Whether this replica leads.
    pub(super) fn leads(self) -> bool {
        self.leader.is_some_and(|(_, owner)| owner == self.me)
    }

    /// The time that a copy of a line of this many bytes takes to whoever leads, and from there to
    /// the others, before another one is passed on (L8). Within this process it takes none.
    fn copy_us(self, bytes: usize) -> u64 {
        if self.leads() { 0 } else { commit_us(bytes, self.n) }
    }

    /// Passes a request to the proposer that leads, if one does.
    fn pass_on(self, origin: Address, request: Request, out: &mut Outbox) {
        let Some((_, owner)) = self.leader else { return };
        if owner == self.me {
            out.tell(Notice::Proposer(proposer::Input::RequestIsNext { origin, request }));
        } else {
            out.send(owner, Message::Proposer(ToProposer::Forward { origin, request }));
        }
    }
}

/// A client's command that could not be proposed here at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PendingRequest {
    /// Where the client is answered.
    origin: Address,
    /// The command's number in its session.
    seq: u64,
    /// A request for this command alone.
    request: Request,
    /// When this replica began to hold the request.
    held_at: Aside<Time>,
    /// When the client last sent the request to this replica.
    heard_at: Aside<Time>,
    retry: Aside<Retry>,
}

/// When a request is passed on once more, and how long it will have waited then.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Time,
    wait_us: u64,
}

impl NotState for Retry {}

impl PendingRequest {
    /// The time that slow paths need for the line, among `n` replicas.
    fn commit_us(&self, n: usize) -> u64 {
        self.request.iter().map(|command| commit_us(command.line.len(), n)).sum()
    }

    /// Whether the command would take effect.
    fn is_next(&self, log: Applied<'_>) -> bool {
        self.request.iter().any(|command| log.status(command) == Status::Next)
    }
}

/// How long a request is held until it is applied.
#[derive(Debug, Clone)]
struct Held {
    trip: RoundTrip,
}

impl NotState for Held {}

impl Default for Held {
    fn default() -> Self {
        let (first_us, max_us) = (FORWARD_RETRY_US, FORWARD_RETRY_MAX_US);
        Held { trip: RoundTrip::new(first_us, first_us, max_us) }
    }
}

/// The clients that wait for an answer from this replica.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PendingClients {
    limits: Aside<Limits>,
    /// Runs that were proposed here.
    awaited: AwaitedRuns,
    /// One request for each session at most.
    requests: BTreeMap<Session, PendingRequest>,
    /// How many bytes the lines of the requests take.
    bytes: usize,
    held: Aside<Held>,
}

impl PendingClients {
    /// Nothing is pending.
    pub(super) fn new(limits: Limits) -> Self {
        PendingClients {
            limits: Aside(limits),
            awaited: AwaitedRuns::default(),
            requests: BTreeMap::new(),
            bytes: 0,
            held: Aside(Held::default()),
        }
    }

    /// Whether another request would find no place.
    pub(super) fn is_full(&self) -> bool {
        self.requests.len() >= self.limits.waiting
    }

    /// Whether no request is pending.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    /// If some pending request would take effect now: how long slow paths need for the longest
    /// of them, among `n` replicas.
    pub(super) fn next_commit_us(&self, log: Applied<'_>, n: usize) -> Option<u64> {
        let next = self.requests.values().filter(|pending| pending.is_next(log));
        next.map(|pending| pending.commit_us(n)).max()
    }

    /// A run was proposed here. Its clients are answered when its slots are applied, or now
    /// for slots that already are.
    pub(super) fn await_run(
        &mut self,
        run: &Run,
        requesters: Requesters,
        log: Applied<'_>,
        out: &mut Outbox,
    ) {
        if self.awaited.contains(run.first) {
            return;
        }
        let mut run = AwaitedRun::new(run, requesters);
        // A quorum's acceptances, and the values from the own acceptor, were here before
        // the proposal.
        run.pass_below(log.end, |client, command| answer_if_complete(client, command, log, out));
        // The run knows which clients to answer, so their pending requests go. It does not
        // know the client of a command that an earlier leader proposed: that request stays.
        if !self.requests.is_empty() {
            run.sessions().into_iter().for_each(|session| self.remove(session));
        }
        self.awaited.insert(run);
    }

    /// A new ballot is in use here. The clients of an earlier phase 2 are forgotten: the
    /// proposer has returned what it had proposed, as requests.
    pub(super) fn forget_awaited(&mut self) {
        self.awaited = AwaitedRuns::default();
    }

    // --- answers -------------------------------------------------------------------

    /// The command in `slot` was applied; `client_seq` is the number of its line if it took
    /// effect. Answers the clients that wait for it. (E3: only applied commands are
    /// answered, and only after their record is committed.) Returns whether a pending
    /// request became the next of its session, so that it is due now.
    pub(super) fn answer(
        &mut self,
        now: Time,
        slot: Slot,
        command: CommandRef<'_>,
        client_seq: Option<u64>,
        log: Applied<'_>,
        out: &mut Outbox,
    ) -> bool {
        if let Some(asker) = self.awaited.take_client(slot, command) {
            match client_seq {
                Some(client_seq) => {
                    let answer = complete(command, slot, client_seq, asker.attempt, log);
                    out.answer(asker.address, answer);
                }
                // It took effect in a lower slot, which the session still remembers if it
                // was its last command.
                None => answer_if_complete(asker, command, log, out),
            }
        }
        !self.requests.is_empty() && self.answer_pending(now, command, log, out)
    }

    /// A command of a session was applied: its client's pending request may be answered,
    /// hopeless, or next.
    fn answer_pending(
        &mut self,
        now: Time,
        command: CommandRef<'_>,
        log: Applied<'_>,
        out: &mut Outbox,
    ) -> bool {
        let session = command.session;
        let Some(pending) = self.requests.get_mut(&session) else { return false };
        let awaited = CommandRef { seq: pending.seq, ..command };
        match log.status(awaited) {
            Status::Complete { slot, client_seq } => {
                self.held.trip.answered(now.since_us(*pending.held_at));
                let attempt = pending.request.attempt;
                out.answer(pending.origin, complete(awaited, slot, client_seq, attempt, log));
                self.remove(session);
            }
            Status::Past | Status::Expired | Status::BornTooEarly => self.remove(session),
            Status::Next => {
                pending.retry.at = now;
                return true;
            }
            Status::Ahead => {}
        }
        false
    }

    // --- requests that could not be proposed here -------------------------------------

    /// The proposer could not propose the commands of a request at once. `asked` is the
    /// address of its client, and the request. `direct`: the request came from the client
    /// itself, not through another replica.
    pub(super) fn hold(
        &mut self,
        now: Time,
        asked: (Address, &Request),
        direct: bool,
        log: Applied<'_>,
        route: Route,
        out: &mut Outbox,
    ) {
        let (origin, request) = asked;
        for index in 0..request.commands.len() {
            let alone = &request.only(index);
            self.hold_one(now, (origin, alone), direct, log, route, out);
        }
    }

    /// Holds a request for one command, unless it can be answered.
    fn hold_one(
        &mut self,
        now: Time,
        (origin, request): (Address, &Request),
        direct: bool,
        log: Applied<'_>,
        route: Route,
        out: &mut Outbox,
    ) {
        let Some(command) = request.iter().next() else { return };
        let is_next = match fate(command, request.after, log) {
            Fate::Open { is_next } => is_next,
            Fate::Known(answer) => {
                return answer.into_iter().for_each(|answer| out.answer(origin, answer));
            }
        };
        let passes_on = match is_next {
            // This log is not far enough, or the client talks nonsense. In the first case the
            // request must be kept: the leader may have died before it could tell what it had
            // decided. Until the request is its session's next, it makes nobody suspect the
            // leader (L1).
            false => direct && !route.leads(),
            // A request that another replica forwarded to this one, which does not lead,
            // would go round in circles.
            true => direct || route.leads(),
        };
        let is_under_way = !route.leads() && self.is_under_way(now, command);
        let passes_on = passes_on && !is_under_way;
        let CommandRef { session, seq, .. } = command;
        let was_held = self.is_held(session, seq);
        self.insert(now, asker(origin, request), command, passes_on, route);
        if passes_on {
            route.pass_on(origin, request.clone(), out);
        }
        // A leader proposes it at once, mostly. So it says that it has the command only to a client
        // that asks again. From a follower the client learns whom it had better ask.
        if direct && (was_held || !route.leads()) {
            self.answer_open(session, seq, origin, route, out);
        }
    }

    /// Whether this command is pending.
    fn is_held(&self, session: Session, seq: u64) -> bool {
        self.requests.get(&session).is_some_and(|pending| pending.seq == seq)
    }

    /// Says whether this command, of which nobody knows yet what becomes of it, is pending.
    fn answer_open(
        &self,
        session: Session,
        seq: u64,
        origin: Address,
        route: Route,
        out: &mut Outbox,
    ) {
        let leader = route.leader.map(|(ballot, _)| ballot);
        if self.is_held(session, seq) {
            let ballot = leader.unwrap_or_default();
            out.answer(origin, Answer::Held { session, seq, ballot });
        } else if let Some(ballot) = leader {
            out.answer(origin, Answer::Leader { ballot });
        }
    }

    /// Whether a copy of this line was passed on and may still be on its way (L8).
    fn is_under_way(&self, now: Time, command: CommandRef<'_>) -> bool {
        let before = self.requests.get(&command.session);
        before.is_some_and(|it| it.seq == command.seq && now < it.retry.at)
    }

    /// A client asks what became of a command, without its line.
    pub(super) fn handle_inquiry(
        &mut self,
        now: Time,
        origin: Address,
        inquiry: Inquiry,
        log: Applied<'_>,
        route: Route,
        out: &mut Outbox,
    ) {
        match fate(inquiry.command(), inquiry.after, log) {
            Fate::Known(answer) => {
                answer.into_iter().for_each(|answer| out.answer(origin, answer));
            }
            Fate::Open { .. } => {
                let Inquiry { session, seq, .. } = inquiry;
                let pending = self.requests.get_mut(&session);
                if let Some(pending) = pending.filter(|pending| pending.seq == seq) {
                    *pending.heard_at = now;
                }
                self.answer_open(session, seq, origin, route, out);
            }
        }
    }

    /// Keeps a request for `command`, in place of an earlier one of its session.
    fn insert(
        &mut self,
        now: Time,
        asker: Asker,
        command: CommandRef<'_>,
        passes_on: bool,
        route: Route,
    ) {
        let CommandRef { session, seq, line, .. } = command;
        // If the client has asked again, the request is passed on as rarely as before.
        let before = self.requests.get(&session).filter(|pending| pending.seq == seq);
        let attempt = before.map_or(asker.attempt, |before| before.request.attempt);
        let before_at = before.map(|before| before.retry.at);
        let new = (now, self.retry_us(route));
        let (held_at, wait_us) =
            before.map_or(new, |before| (*before.held_at, before.retry.wait_us));
        self.remove(session);
        let bytes = self.bytes + line.len();
        if self.requests.len() >= self.limits.waiting || bytes > self.limits.waiting_bytes {
            return;
        }
        self.bytes = bytes;
        // A copy: the request may wait long, and must not keep alive the whole batch that
        // it came with.
        let commands = ValueRef::Command(command).into();
        let request = request_of(Asker { attempt, ..asker }, commands);
        let at = match before_at {
            Some(at) if !passes_on => at,
            _ => now.plus_us(wait_us + route.copy_us(line.len())),
        };
        let retry = Aside(Retry { at, wait_us });
        let (held_at, heard_at) = (Aside(held_at), Aside(now));
        let origin = asker.address;
        let pending = PendingRequest { origin, seq, request, held_at, heard_at, retry };
        self.requests.insert(session, pending);
    }

    /// The first wait before a request is passed on again. As long as the leader's proposal may be
    /// on its way here, nobody can tell that the request was lost.
    fn retry_us(&self, route: Route) -> u64 {
        self.held.trip.wait_us().max(route.proposal_us.min(FORWARD_WAIT_MAX_US))
    }

    fn remove(&mut self, session: Session) {
        if let Some(pending) = self.requests.remove(&session) {
            let lines = pending.request.iter().map(|command| command.line.len());
            self.bytes -= lines.sum::<usize>();
        }
    }

    /// Another replica leads: every pending request is due.
    pub(super) fn retry_all(&mut self, now: Time, route: Route) {
        let wait_us = self.retry_us(route);
        for pending in self.requests.values_mut() {
            *pending.retry = Retry { at: now, wait_us };
        }
    }

    /// Passes on the requests that are due, and forgets those whose clients have gone. The leader
    /// is known to have `proposed` these values: it needs no copy of them.
    pub(super) fn retry(
        &mut self,
        now: Time,
        log: Applied<'_>,
        route: Route,
        proposed: impl Iterator<Item = Run>,
        out: &mut Outbox,
    ) {
        let due = self.requests.iter().filter(|(_, pending)| pending.retry.at <= now);
        let due: Vec<Session> = due.map(|(session, _)| *session).take(FORWARD_BURST_MAX).collect();
        if due.is_empty() {
            return;
        }
        let proposed = self.pending_of(proposed);
        for session in due {
            let Some(pending) = self.requests.get_mut(&session) else { continue };
            if now.since_us(*pending.heard_at) > WAITING_US {
                self.remove(session);
                continue;
            }
            let wait_us = (2 * pending.retry.wait_us).min(FORWARD_WAIT_MAX_US);
            let bytes = pending.request.iter().map(|command| command.line.len()).sum();
            *pending.retry = Retry { at: now.plus_us(wait_us + route.copy_us(bytes)), wait_us };
            // A leader that proposed a command before it is next would waste a slot. Another
            // leader may know more than this log.
            let passes_on = match route.leads() {
                true => pending.is_next(log),
                false => !proposed.contains(&session),
            };
            if passes_on {
                let mut request = pending.request.clone();
                if !route.leads() {
                    // Its client would take the time until now for what an answer takes.
                    request.attempt = Attempt::UNKNOWN;
                }
                route.pass_on(pending.origin, request, out);
            }
        }
    }

    /// The sessions whose pending requests are among these values.
    fn pending_of(&self, runs: impl Iterator<Item = Run>) -> BTreeSet<Session> {
        let mut sessions = BTreeSet::new();
        for run in runs {
            let commands = run.values.iter().filter_map(|value| value.command());
            let is_pending = |command: &CommandRef<'_>| {
                let pending = self.requests.get(&command.session);
                pending.is_some_and(|pending| pending.seq == command.seq)
            };
            sessions.extend(commands.filter(is_pending).map(|command| command.session));
        }
        sessions
    }
}

/// Answers a client whose command was applied, if the session still remembers it.
fn answer_if_complete(asker: Asker, command: CommandRef<'_>, log: Applied<'_>, out: &mut Outbox) {
    if let Status::Complete { slot, client_seq } = log.status(command) {
        out.answer(asker.address, complete(command, slot, client_seq, asker.attempt, log));
    }
}
