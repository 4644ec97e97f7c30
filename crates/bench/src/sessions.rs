//! The sessions of a load. Each has one line in flight.
//!
//! A session is the real client role, retries included. The sessions that share a socket form
//! a [`Group`]. A group handles a burst of answers at once, and sends the next lines of all
//! completed sessions in the same datagrams. A group also checks timers, and submits lines
//! that are due at fixed times. That is an *open* load: latency counts from the time when a
//! line was due, so that a stall is not hidden.
//! A line must cost little here. So an answer finds its session by the client id, and a group
//! tells all its sessions of a new leader once in a burst.
//!
//! As a line completes, its slot must be above that of every line that was complete before
//! it was sent, and its number must be its client's next. [`Told`] keeps what the logs are
//! checked against afterwards.
//!
//! It neither reads the clock nor sends: the caller gives it the time and sends its messages.

use super::lines::{Text, Told};
use super::load::{Common, Shape, locked};
use multipaxos::client::{Client, Input, Outcome};
use multipaxos::message::Answer;
use multipaxos::net::{Incoming, Outgoing};
use multipaxos::paxos::{Envelope, Outbox, Role, Storage};
use multipaxos::types::{Ballot, ClientId, Time};
use seeds::stream;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// For this long after one timer was due, the group expects others to be due.
const LATELY_NS: u64 = 20_000_000;

/// The deadline of a session that has nothing in flight.
const NEVER: Time = Time(u64::MAX);

/// All groups of a load, and their shared state. One thread uses it at a time.
#[derive(Debug)]
pub(super) struct Sessions {
    groups: Vec<Group>,
    desk: Desk,
}

impl Sessions {
    /// Idle sessions, in one group for each connection. `entropy` seeds the names of sessions.
    pub(super) fn new(shape: &Shape, n: usize, common: Arc<Common>, entropy: u64) -> Sessions {
        let count = shape.connections.clamp(1, shape.sessions);
        let share = |all: u64, at: usize| {
            let (at, count) = (at as u64, count as u64);
            all / count + u64::from(at < all % count)
        };
        let mut first = shape.first_client;
        let group = |at| {
            let sessions = share(shape.sessions as u64, at);
            let (from, end) = (first, first + sessions);
            first = end;
            Group {
                first_client: from,
                sessions: (from..end).map(|id| Session::new(ClientId(id), n)).collect(),
                opening: Vec::new(),
                idle: (0..sessions as usize).collect(),
                leader: Ballot::ZERO,
                left: shape.lines.map_or(u64::MAX, |lines| share(lines, at)),
                pace: shape.rate.map(|rate| Pace {
                    // All groups together keep the rate, evenly spread.
                    step_ns: 1e9 * count as f64 / rate as f64,
                    first_ns: 1e9 * at as f64 / rate as f64,
                    next: 0,
                }),
                due_from: vec![NEVER; sessions as usize],
                none_due_before: NEVER,
                retried_ns: None,
            }
        };
        Sessions {
            groups: (0..count).map(group).collect(),
            desk: Desk {
                common,
                n,
                session_lines: shape.session_lines,
                out: Outbox::new(),
                shown: Shown::default(),
                first: Vec::new(),
                then: Vec::new(),
                text: Text::new(shape.size),
                rng: stream(entropy, "sessions"),
            },
        }
    }

    /// The number of groups.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The number of sessions in a group.
    pub(super) fn in_group(&self, at: usize) -> usize {
        self.groups[at].sessions.len()
    }

    /// The number of lines in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.groups.iter().map(|group| group.sessions.len() - group.idle.len()).sum()
    }

    /// The answers to each session, in the order of client ids.
    pub(super) fn told(&self) -> impl Iterator<Item = Told> {
        self.groups.iter().flat_map(|group| group.sessions.iter().map(|session| session.told))
    }

    /// Handles a burst of answers to one group. Returns the messages to send next.
    pub(super) fn handle(
        &mut self,
        at: usize,
        now_ns: u64,
        answers: &mut Vec<Incoming>,
    ) -> impl Iterator<Item = Outgoing> {
        let Sessions { groups, desk } = self;
        groups[at].handle(now_ns, answers, desk);
        groups[at].finish(now_ns, desk)
    }

    /// Handles a group's timers, if they are due, and submits its new lines.
    pub(super) fn turn(
        &mut self,
        at: usize,
        now_ns: u64,
        timers: bool,
    ) -> impl Iterator<Item = Outgoing> {
        let Sessions { groups, desk } = self;
        if timers {
            groups[at].look_at_timers(now_ns, desk);
        }
        groups[at].finish(now_ns, desk)
    }

    /// The time at which a group's next line is due, if it is due at a fixed time and a session is
    /// free. Otherwise a line that is due goes out with the next answer.
    pub(super) fn due_ns(&self, at: usize) -> Option<u64> {
        let group = &self.groups[at];
        let pace = group.pace.as_ref().filter(|_| !group.idle.is_empty() && group.left > 0);
        pace.map(Pace::due_ns)
    }

    /// The time of a group's first timer, as far as it is known, but only if a timer was due
    /// recently. Otherwise checking at exactly that time costs more than it gains.
    pub(super) fn timer_ns(&self, at: usize, now_ns: u64) -> Option<u64> {
        let Group { none_due_before, retried_ns, .. } = &self.groups[at];
        retried_ns.filter(|retried_ns| now_ns - retried_ns < LATELY_NS)?;
        Some(none_due_before.0.saturating_mul(1_000))
    }
}

/// The state that all groups share.
#[derive(Debug)]
struct Desk {
    common: Arc<Common>,
    n: usize,
    session_lines: Option<u64>,
    out: Outbox<Outcome>,
    shown: Shown,
    /// The messages of a turn: first those after answers, then those with new lines.
    first: Vec<Envelope>,
    then: Vec<Envelope>,
    text: Text,
    rng: fastrand::Rng,
}

#[derive(Debug)]
struct Session {
    client: Client,
    /// The time at which its line was sent, or was due.
    since_ns: u64,
    /// Every line that was complete when this one was sent has a slot below this.
    above: u64,
    told: Told,
}

impl Session {
    fn new(id: ClientId, n: usize) -> Session {
        Session { client: Client::new(id, n, None), since_ns: 0, above: 0, told: Told::default() }
    }
}

#[derive(Debug)]
struct Pace {
    step_ns: f64,
    first_ns: f64,
    next: u64,
}

impl Pace {
    fn due_ns(&self) -> u64 {
        (self.first_ns + self.step_ns * self.next as f64) as u64
    }
}

/// Collects outcomes in memory, which cannot fail.
#[derive(Debug, Default)]
struct Shown(VecDeque<Outcome>);

impl Storage<Outcome> for Shown {
    fn append(&mut self, records: &mut Vec<Outcome>) -> io::Result<()> {
        self.0.extend(records.drain(..));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The sessions that share a socket.
#[derive(Debug)]
struct Group {
    first_client: u64,
    sessions: Vec<Session>,
    /// Sessions that may wait for a welcome. A welcome does not name its session.
    opening: Vec<usize>,
    idle: Vec<usize>,
    leader: Ballot,
    /// The number of lines that may still be submitted.
    left: u64,
    pace: Option<Pace>,
    /// For each session, a time before which its timer is not due.
    due_from: Vec<Time>,
    /// The earliest of these times.
    none_due_before: Time,
    /// The last time at which a timer was due.
    retried_ns: Option<u64>,
}

impl Group {
    fn handle(&mut self, now_ns: u64, answers: &mut Vec<Incoming>, desk: &mut Desk) {
        let now = Time(now_ns / 1_000);
        let mut leader = None;
        for incoming in answers.drain(..) {
            // A late answer of an earlier cluster may reach a port that it had, too.
            let Incoming::Answer { from, answer } = incoming else { continue };
            match answer {
                Answer::Responded(ref completion) => {
                    let at = completion.session.client.0.wrapping_sub(self.first_client) as usize;
                    let Some(session) = self.sessions.get_mut(at) else { continue };
                    session.client.handle(now, 0, Input::Answer(from, answer), &mut desk.out);
                }
                Answer::Complete { session, .. }
                | Answer::Expired { session, .. }
                | Answer::BornTooEarly { session, .. }
                | Answer::Held { session, .. } => {
                    let at = session.client.0.wrapping_sub(self.first_client) as usize;
                    let Some(session) = self.sessions.get_mut(at) else { continue };
                    let was_opening = session.client.is_opening();
                    session.client.handle(now, 0, Input::Answer(from, answer), &mut desk.out);
                    if session.client.is_opening() && !was_opening {
                        self.opening.push(at);
                        self.note_deadline(at);
                    }
                }
                // Nobody here asks for one.
                Answer::Status(_)
                | Answer::Usage(_)
                | Answer::Log(_)
                | Answer::Mark { .. }
                | Answer::Members(_)
                | Answer::Moved { .. } => {}
                Answer::Welcome { .. } => {
                    for at in std::mem::take(&mut self.opening) {
                        let input = Input::Answer(from, answer.clone());
                        self.sessions[at].client.handle(now, 0, input, &mut desk.out);
                        self.note_deadline(at);
                    }
                }
                Answer::Leader { ballot } => {
                    if ballot >= leader.map_or(self.leader, |(_, known)| known) {
                        leader = Some((from, ballot));
                    }
                }
            }
        }
        if let Some((from, ballot)) = leader {
            self.leader = ballot;
            for at in 0..self.sessions.len() {
                let input = Input::Answer(from, Answer::Leader { ballot });
                self.sessions[at].client.handle(now, 0, input, &mut desk.out);
                self.note_deadline(at);
            }
        }
    }

    /// The deadline of this session may have come nearer.
    fn note_deadline(&mut self, at: usize) {
        let deadline = self.sessions[at].client.deadline().unwrap_or(NEVER);
        self.due_from[at] = deadline;
        self.none_due_before = self.none_due_before.min(deadline);
    }

    /// Visits only the sessions whose timers may be due. Thousands of sessions do not fit into
    /// the caches of a core.
    fn look_at_timers(&mut self, now_ns: u64, desk: &mut Desk) {
        let now = Time(now_ns / 1_000);
        if now < self.none_due_before {
            return;
        }
        let mut retried = 0;
        for (session, due_from) in self.sessions.iter_mut().zip(&mut self.due_from) {
            if now < *due_from {
                continue;
            }
            let client = &mut session.client;
            if client.deadline().is_some_and(|deadline| deadline <= now) {
                retried += 1;
                client.handle_timeout(now, desk.rng.u64(..), &mut desk.out);
            }
            *due_from = client.deadline().unwrap_or(NEVER);
        }
        self.none_due_before = self.due_from.iter().copied().min().unwrap_or(NEVER);
        if retried > 0 {
            self.retried_ns = Some(now_ns);
            locked(&desk.common.tally).retried += retried;
        }
    }

    /// Notes what was completed, and submits the next lines. Returns all messages to send.
    fn finish<'a>(
        &mut self,
        now_ns: u64,
        desk: &'a mut Desk,
    ) -> impl Iterator<Item = Outgoing> + use<'a> {
        const KEPT: &str = "keeping outcomes in memory cannot fail";
        desk.out.commit_into(&mut desk.shown, &mut desk.first).expect(KEPT);
        self.note_outcomes(now_ns, desk);
        self.submit_all(now_ns, desk);
        desk.out.commit_into(&mut desk.shown, &mut desk.then).expect(KEPT);
        desk.first.drain(..).chain(desk.then.drain(..)).map(|envelope| match envelope {
            Envelope::Call { to, message } => Outgoing::Call { to, message },
            other => unreachable!("a client only calls: {other:?}"),
        })
    }

    fn note_outcomes(&mut self, now_ns: u64, desk: &mut Desk) {
        if desk.shown.0.is_empty() {
            return;
        }
        let common = &desk.common;
        let mut tally = locked(&common.tally);
        let mut completed = 0;
        let mut below = 0;
        while let Some(outcome) = desk.shown.0.pop_front() {
            match outcome {
                Outcome::Complete { client, seq, slot, .. } => {
                    let at = (client.0 - self.first_client) as usize;
                    let session = &mut self.sessions[at];
                    if slot.0 < session.above || seq != session.told.lines {
                        let (above, lines) = (session.above, session.told.lines);
                        common.fail(format!(
                            "client {client} was told that line {lines} is its {seq} in slot \
                             {slot}, and slots below {above} were complete when it was sent"
                        ));
                    }
                    session.told.note(slot.0);
                    tally.latency.record(now_ns.saturating_sub(session.since_ns));
                    self.idle.push(at);
                    let lines = session.told.lines;
                    if desk.session_lines.is_some_and(|most| lines.is_multiple_of(most)) {
                        session.client = Client::new(client, desk.n, None);
                    }
                    completed += 1;
                    below = below.max(slot.0 + 1);
                }
                // The session goes on trying. The callers that wait for it have deadlines.
                Outcome::Waiting { .. } => {}
                Outcome::GaveUp { .. } => unreachable!("a load never gives up"),
                Outcome::OtherCluster { .. } => unreachable!("a load is not told of others"),
                Outcome::Expired { .. } => {
                    common.fail("a session has expired with a line in flight".into());
                }
            }
        }
        drop(tally);
        common.complete(completed, below);
    }

    fn submit_all(&mut self, now_ns: u64, desk: &mut Desk) {
        if self.idle.is_empty() || desk.common.is_stopping() {
            return;
        }
        let above = desk.common.complete_below();
        while self.left > 0 {
            let mut since_ns = now_ns;
            if let Some(pace) = &self.pace {
                since_ns = pace.due_ns();
                if since_ns > now_ns {
                    return;
                }
            }
            let Some(at) = self.idle.pop() else { return };
            if let Some(pace) = &mut self.pace {
                pace.next += 1;
            }
            self.left -= 1;
            let session = &mut self.sessions[at];
            (session.since_ns, session.above) = (since_ns, above);
            let line = desk.text.line(session.told.lines);
            let input = Input::Submit { line, session: desk.rng.u64(1..) };
            session.client.handle(Time(now_ns / 1_000), 0, input, &mut desk.out);
            if session.client.is_opening() {
                self.opening.push(at);
            }
            self.note_deadline(at);
        }
    }
}
