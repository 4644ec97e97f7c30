//! The load: many sessions, one line in flight each, over few sockets.
//!
//! A [`Connection`] is one socket and the sessions that share it. The sessions are the
//! client role itself, one each, retries and all. The network thread of the socket
//! drives them: a burst of answers is handled as one, and what it completes submits
//! its next lines in the same datagrams. One more thread ([`Load::tick`]) looks after
//! timers, two thousand times a second, and submits lines whose time has come when the
//! load is *open*: lines are then due at fixed times, whether or not a session is
//! free, and latency counts from there, so that a stall is not hidden.
//!
//! What costs something a line is kept out: an answer finds its session by its client
//! id, and news of a leader reach all sessions once a burst.
//!
//! Checked here, as lines complete: that each stands above every line that was
//! complete before it was sent, and is its client's next. What the logs must hold is
//! left behind in [`Told`].

use super::histogram::Histogram;
use super::lines::{Text, Told};
use crate::message::{Answer, Party};
use crate::net::frame::{ClusterCell, Identity};
use crate::net::udp::{BoundSocket, Deliver, Network, Settings, StopHandle};
use crate::net::{DATAGRAM_BYTES_DEFAULT, Incoming, Outgoing};
use crate::paxos::client::{Client, Input, Outcome};
use crate::paxos::{Envelope, Outbox, Role, Storage};
use crate::runtime::process::entropy;
use crate::seed::derive_seed;
use crate::types::{Ballot, BootId, ClientId, ReplicaId, Time};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at the sessions' timers.
const TIMERS: Duration = Duration::from_micros(500);

/// The longest sleep of the pacing thread when lines are due at fixed times, and of
/// all its loops: it is asked to stop now and then.
const PACE: Duration = Duration::from_micros(500);

/// The shortest.
const PAUSE: Duration = Duration::from_micros(20);

/// What a load is made of.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) sessions: usize,
    pub(super) connections: usize,
    /// The client id of the first session; the others count on from it.
    pub(super) first_client: u64,
    pub(super) size: usize,
    pub(super) loss: f64,
    pub(super) seed: u64,
    /// Lines after which a client opens its next session.
    pub(super) session_lines: Option<u64>,
    /// Lines a second, all in all, if they are due at fixed times.
    pub(super) rate: Option<u64>,
    /// How many lines are submitted at most.
    pub(super) lines: Option<u64>,
}

/// What happened since the last time somebody asked.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Nanoseconds from the submission, or the time that it was due.
    pub(super) latency: Histogram,
    /// Lines that were sent more than once.
    pub(super) retried: u64,
}

/// What all connections have in common.
#[derive(Debug)]
struct Common {
    began: Instant,
    /// One above the highest slot of a line that is complete.
    complete_upto: AtomicU64,
    completed: AtomicU64,
    stopping: AtomicBool,
    ended: AtomicBool,
    fault: Mutex<Option<String>>,
}

impl Common {
    fn fail(&self, what: String) {
        locked(&self.fault).get_or_insert(what);
    }
}

/// A panic elsewhere has been reported; what it left is good enough to end with.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A load that runs until it is stopped.
pub(super) struct Load {
    common: Arc<Common>,
    connections: Vec<Arc<Mutex<Connection>>>,
    stops: Vec<StopHandle>,
}

impl Load {
    /// Starts it against these replicas.
    pub(super) fn start(shape: &Shape, replicas: &[SocketAddr]) -> io::Result<Load> {
        let common = Arc::new(Common {
            began: Instant::now(),
            complete_upto: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            fault: Mutex::new(None),
        });
        let (mut connections, mut stops) = (Vec::new(), Vec::new());
        let count = shape.connections.clamp(1, shape.sessions);
        let share = |all: u64, at: usize| {
            let (at, count) = (at as u64, count as u64);
            all / count + u64::from(at < all % count)
        };
        let mut first = shape.first_client;
        for at in 0..count {
            let cluster = ClusterCell::new();
            let (n, boot) = (replicas.len(), BootId(entropy()?));
            let identity = Identity { n, me: Party::Client, boot, cluster };
            let seed = derive_seed(shape.seed, &format!("connection {at}"));
            let network = Network::new(
                BoundSocket::for_client(replicas)?,
                Settings {
                    identity,
                    peers: replicas.to_vec(),
                    datagram_max: DATAGRAM_BYTES_DEFAULT,
                    loss: shape.loss,
                    seed: derive_seed(seed, "network"),
                },
            )?;
            let sessions = share(shape.sessions as u64, at);
            let connection = Connection {
                common: common.clone(),
                outlet: network.outlet(derive_seed(seed, "client")),
                out: Outbox::new(),
                shown: Shown::default(),
                first_client: first,
                n,
                sessions: (first..first + sessions)
                    .map(|id| LoadSession::new(Client::new(ClientId(id), n, None)))
                    .collect(),
                opening: Vec::new(),
                idle: (0..sessions as usize).collect(),
                leader: Ballot::ZERO,
                text: Text::new(shape.size),
                session_lines: shape.session_lines,
                left: shape.lines.map_or(u64::MAX, |lines| share(lines, at)),
                pace: shape.rate.map(|rate| Pace {
                    // All connections together keep the rate, evenly spread.
                    step_ns: 1e9 * count as f64 / rate as f64,
                    first_ns: 1e9 * at as f64 / rate as f64,
                    next: 0,
                }),
                tally: Tally::default(),
                rng: fastrand::Rng::with_seed(entropy()?),
            };
            first += sessions;
            let connection = Arc::new(Mutex::new(connection));
            stops.push(network.stop_handle());
            let answers = Answers { to: connection.clone(), batch: Vec::new() };
            let faults = common.clone();
            thread::Builder::new().name("connection".into()).spawn(move || {
                if let Err(error) = network.run(answers) {
                    faults.fail(format!("network: {error}"));
                }
            })?;
            connections.push(connection);
        }
        let load = Load { common: common.clone(), connections, stops };
        let ticked = load.connections.clone();
        thread::Builder::new().name("timers".into()).spawn(move || tick(&common, &ticked))?;
        Ok(load)
    }

    /// Lines completed so far.
    pub(super) fn completed(&self) -> u64 {
        self.common.completed.load(Ordering::Relaxed)
    }

    /// What happened since the last call.
    pub(super) fn take(&self) -> Tally {
        let mut all = Tally::default();
        for connection in &self.connections {
            let tally = std::mem::take(&mut locked(connection).tally);
            all.latency.add(&tally.latency);
            all.retried += tally.retried;
        }
        all
    }

    /// What went wrong, if anything did.
    pub(super) fn fault(&self) -> Option<String> {
        locked(&self.common.fault).clone()
    }

    /// No more lines are submitted.
    pub(super) fn stop(&self) {
        self.common.stopping.store(true, Ordering::SeqCst);
    }

    /// Lines in flight. With a number of lines given, 0 means that all are complete.
    pub(super) fn in_flight(&self) -> usize {
        let busy = |connection: &Arc<Mutex<Connection>>| {
            let connection = locked(connection);
            connection.sessions.len() - connection.idle.len()
        };
        self.connections.iter().map(busy).sum()
    }

    /// What the sessions were told, in the order of their client ids.
    pub(super) fn told(&self) -> Vec<Told> {
        let mut told = Vec::new();
        for connection in &self.connections {
            told.extend(locked(connection).sessions.iter().map(|session| session.told));
        }
        told
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.common.ended.store(true, Ordering::SeqCst);
        self.stops.iter().for_each(StopHandle::stop);
    }
}

/// Timers of all connections, and lines that are due at fixed times.
fn tick(common: &Common, connections: &[Arc<Mutex<Connection>>]) {
    let mut timers_at = Instant::now();
    while !common.ended.load(Ordering::SeqCst) {
        let now = Instant::now();
        let timers = now >= timers_at;
        if timers {
            timers_at = now + TIMERS;
        }
        let mut sleep = PACE;
        for connection in connections {
            let mut connection = locked(connection);
            if let Some(due) = connection.turn(timers) {
                sleep = sleep.min(due);
            }
        }
        // Never without a pause: the network threads want the same locks.
        thread::sleep(sleep.max(PAUSE));
    }
}

/// From the network thread to the sessions.
struct Answers {
    to: Arc<Mutex<Connection>>,
    batch: Vec<(ReplicaId, Answer)>,
}

impl Deliver for Answers {
    fn deliver(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Answer { from, answer } => self.batch.push((from, answer)),
            other => unreachable!("a client's socket opens only answers: {other:?}"),
        }
    }

    fn end_of_burst(&mut self) {
        locked(&self.to).handle(&mut self.batch);
    }
}

#[derive(Debug)]
struct LoadSession {
    client: Client,
    /// Since the beginning, in nanoseconds: when its line was sent, or was due.
    since_ns: u64,
    /// Every line complete when this one was sent stands below.
    above: u64,
    told: Told,
}

impl LoadSession {
    fn new(client: Client) -> LoadSession {
        LoadSession { client, since_ns: 0, above: 0, told: Told::default() }
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

/// Where outcomes are collected: nothing to be kept, so nothing to fail.
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

#[derive(Debug)]
struct Connection {
    common: Arc<Common>,
    outlet: crate::net::outlet::Outlet,
    out: Outbox<Outcome>,
    shown: Shown,
    first_client: u64,
    n: usize,
    sessions: Vec<LoadSession>,
    /// Sessions that may wait for a welcome, which does not say whose it is.
    opening: Vec<usize>,
    idle: Vec<usize>,
    leader: Ballot,
    text: Text,
    session_lines: Option<u64>,
    /// Lines that may still be submitted.
    left: u64,
    pace: Option<Pace>,
    tally: Tally,
    rng: fastrand::Rng,
}

impl Connection {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.common.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A burst of answers.
    fn handle(&mut self, answers: &mut Vec<(ReplicaId, Answer)>) {
        let now_ns = self.now_ns();
        let now = Time(now_ns / 1_000);
        let mut leader = None;
        for (from, answer) in answers.drain(..) {
            match answer {
                Answer::Complete { session, .. } | Answer::Expired { session, .. } => {
                    let at = session.client.0.wrapping_sub(self.first_client) as usize;
                    if let Some(session) = self.sessions.get_mut(at) {
                        session.client.handle(now, 0, Input::Answer(from, answer), &mut self.out);
                    }
                }
                Answer::Welcome { .. } => {
                    for at in std::mem::take(&mut self.opening) {
                        let input = Input::Answer(from, answer.clone());
                        self.sessions[at].client.handle(now, 0, input, &mut self.out);
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
            for session in &mut self.sessions {
                let input = Input::Answer(from, Answer::Leader { ballot });
                session.client.handle(now, 0, input, &mut self.out);
            }
        }
        self.finish(now_ns);
    }

    /// Timers, if it is time for them, and new lines; how long until the next one is
    /// due.
    fn turn(&mut self, timers: bool) -> Option<Duration> {
        let now_ns = self.now_ns();
        let now = Time(now_ns / 1_000);
        if timers {
            for session in &mut self.sessions {
                if session.client.deadline().is_some_and(|deadline| deadline <= now) {
                    self.tally.retried += 1;
                    let draw = self.rng.u64(..);
                    session.client.handle_timeout(now, draw, &mut self.out);
                }
            }
        }
        self.finish(now_ns);
        if self.idle.is_empty() || self.left == 0 {
            // Whatever is due goes out when an answer comes.
            return None;
        }
        self.pace.as_ref().map(|pace| Duration::from_nanos(pace.due_ns().saturating_sub(now_ns)))
    }

    /// Takes in what was completed, submits what comes next, and sends.
    fn finish(&mut self, now_ns: u64) {
        const NEVER: &str = "keeping outcomes in memory cannot fail";
        let first = self.out.commit(&mut self.shown).expect(NEVER);
        self.note_outcomes(now_ns);
        self.submit_all(now_ns);
        let second = self.out.commit(&mut self.shown).expect(NEVER);
        let calls = first.into_iter().chain(second).map(|envelope| match envelope {
            Envelope::Call { to, message } => Outgoing::Call { to, message },
            other => unreachable!("a client only calls: {other:?}"),
        });
        self.outlet.send(calls);
    }

    fn note_outcomes(&mut self, now_ns: u64) {
        let mut completed = 0;
        let mut upto = 0;
        while let Some(outcome) = self.shown.0.pop_front() {
            match outcome {
                Outcome::Complete { client, seq, slot, .. } => {
                    let at = (client.0 - self.first_client) as usize;
                    let session = &mut self.sessions[at];
                    if slot.0 < session.above || seq != session.told.lines {
                        let (above, lines) = (session.above, session.told.lines);
                        self.common.fail(format!(
                            "client {client} was told that line {lines} is its {seq} in slot \
                             {slot}, and slots below {above} were complete when it was sent"
                        ));
                    }
                    session.told.note(slot.0);
                    self.tally.latency.record(now_ns.saturating_sub(session.since_ns));
                    self.idle.push(at);
                    let lines = session.told.lines;
                    if self.session_lines.is_some_and(|most| lines.is_multiple_of(most)) {
                        session.client = Client::new(client, self.n, None);
                    }
                    completed += 1;
                    upto = upto.max(slot.0 + 1);
                }
                // It goes on trying; whoever waits for it has a deadline.
                Outcome::Waiting { .. } => {}
                Outcome::GaveUp { .. } => unreachable!("a load never gives up"),
                Outcome::Expired { .. } => {
                    self.common.fail("a session has expired with a line in flight".into());
                }
            }
        }
        if completed > 0 {
            self.common.completed.fetch_add(completed, Ordering::Relaxed);
            self.common.complete_upto.fetch_max(upto, Ordering::SeqCst);
        }
    }

    fn submit_all(&mut self, now_ns: u64) {
        if self.idle.is_empty() || self.common.stopping.load(Ordering::SeqCst) {
            return;
        }
        let above = self.common.complete_upto.load(Ordering::SeqCst);
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
            let line = self.text.line(session.told.lines);
            let input = Input::Submit { line, session: self.rng.u64(1..) };
            session.client.handle(Time(now_ns / 1_000), 0, input, &mut self.out);
            if session.client.is_opening() {
                self.opening.push(at);
            }
        }
    }
}
