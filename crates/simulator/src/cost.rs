//! What a run costs, and what it may cost: the measure of liveness (rule I10).
//!
//! "Every line completes in the end" is true of a cluster that needs an hour for what its
//! paths carry in a second. So in an environment that is described by numbers, the rule has
//! numbers too. With
//!
//! - `R`: the longest round trip, full queues included,
//! - `S`: the longest sync,
//! - `E`: the longest election wait, as configured,
//! - `T`: the time in which a host sends everything that is in flight to all its peers,
//! - `B`: how many slots a replica is behind when the faults stop, and `A`: how many it may
//!   fetch ahead,
//! - `W`: in how many windows or queues of a leader the lines of all clients fit,
//! - `V`: how many times a candidate must ask, by its own bounds, for the values and the spans
//!   of the lines of all clients; mostly once,
//! - `P`: how many of all datagrams a path loses; so a question has its answer after
//!   `L = 1 / (1 - P)²` tries on average, and something arrives after `1 / (1 - P)`,
//! - `U`: how many tries the unluckiest of all clients needs: with `C` of them,
//!   `ln C / -ln (1 - (1 - P)²)`,
//!
//! a run must keep these bounds once its faults have stopped:
//!
//! - the next line completes within [`Bounds::first_us`],
//!   `WAITS · L · (E + (1 + V) R + 3 S) + 2 T / (1 - P)`, and `L (B / A) R` more if some replica is
//!   further behind than an acceptor may hold,
//! - the last one completes, and all logs are equal, within [`Bounds::last_us`],
//!   `2 · first + 4 T / (1 - P) + L · ((B / A) · R + (W - 1) · (R + S)) + U · (1 s + R)`,
//! - campaigns number at most [`CAMPAIGNS_MAX`] a cause: the start of the cluster, or a fault,
//! - a second after nobody waits any more, only heartbeats are sent ([`IDLE_FACTOR`]),
//! - processes send at most [`BYTES_FACTOR`] bytes for each byte that they must send; a client whose
//!   line waits for longer than a second may ask each replica once a second beside that; what a path
//!   loses by chance must be sent again by anybody, and is not counted;
//! - to find what a path carries takes at most [`PROBE_BYTES_MAX`] bytes of probes and answers for
//!   each life of either end, however few lines there are.

use crate::environment::Environment;
use datagrams::codec::BodyKind;
use multipaxos::net::frame::kind_of;
use multipaxos::paxos::{Limits, Settings};
use multipaxos::types::{Ballot, Time};
use std::collections::BTreeSet;

/// How many times a view change may take the time of its steps: a lost step is done again
/// after about as long.
const WAITS: u64 = 3;

/// The most campaigns a cause.
pub const CAMPAIGNS_MAX: u64 = 2;

/// What is sent when nobody waits, as a multiple of the heartbeats alone.
pub const IDLE_FACTOR: u64 = 2;

/// What is sent for each byte that must be sent: each line once from its client to the leader,
/// once from the leader to each other replica, once more from a new leader if it is in flight then,
/// and once more to a replica that loses it in a restart; and the messages of each life and of each
/// campaign, which count where lines are few. While a line waits for another window, its
/// client asks again, so each further window allows one more.
pub const BYTES_FACTOR: u64 = 4;

/// What a heartbeat takes on the wire, with all headers, at most. With the hash of a decided log
/// (S11) it has 98 to 104 bytes, and 28 of IP and UDP. What it says of lives (S12) it says only
/// while two lives of a member are heard.
const HEARTBEAT_BYTES: u64 = 132;

/// What probes and their answers take of each path that begins, at most.
pub const PROBE_BYTES_MAX: u64 = 16_000;

/// What a line costs at least for each replica, however short: messages and their headers.
const LINE_BYTES: u64 = 200;

/// What a question and its answer cost, without values: a replica that begins a life greets each of
/// the others, and one that campaigns asks each for a pre-vote and for a promise.
const STEP_BYTES: u64 = 200;

/// How long a client waits at most, in microseconds, before it asks again: and a round trip.
const CLIENT_WAIT_US: u64 = 1_000_000;

/// How long a run may take for what, once faults have stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Until the next line is complete, if any was in flight.
    pub first_us: u64,
    /// Until every line is complete and every log is equal.
    pub last_us: u64,
    /// What may be sent for each byte that must be sent.
    pub bytes_factor: u64,
}

/// In how many windows or queues of a leader the lines of all clients fit.
fn windows(environment: &Environment, limits: &Limits) -> u64 {
    let workload = environment.workload;
    let slots = limits.propose_slots.min(limits.queue_commands as u64);
    let bytes = limits.in_flight_bytes.min(limits.queue_bytes) as u64;
    let windows = (workload.clients as u64).div_ceil(slots);
    windows.max(workload.in_flight_bytes().div_ceil(bytes))
}

/// How many times a candidate must ask for what acceptors hold of the lines of all clients.
fn questions(environment: &Environment, limits: &Limits) -> u64 {
    let workload = environment.workload;
    let clients = workload.clients as u64;
    let values = workload.in_flight_bytes().div_ceil(limits.values_bytes as u64);
    let spans = (limits.promise_spans * limits.promise_pages) as u64;
    clients.div_ceil(limits.wanted_slots).max(values).max(clients.div_ceil(spans))
}

/// How often the unluckiest of so many clients must ask, if so many of all datagrams are lost.
fn unluckiest(clients: usize, loss: f64) -> f64 {
    let unanswered = 1.0 - (1.0 - loss) * (1.0 - loss);
    if unanswered > 0.0 { (clients as f64).ln() / -unanswered.ln() } else { 0.0 }
}

/// How often a datagram, and how often a question must be sent on average, until the one arrives
/// and the other is answered, if so many of all datagrams are lost.
fn tries(loss: f64) -> (f64, f64) {
    let once = 1.0 / (1.0 - loss);
    (once, once * once)
}

impl Bounds {
    /// The bounds in this environment, for a cluster in which some replica is so many slots
    /// `behind`.
    pub fn of(environment: &Environment, settings: &Settings, behind: u64) -> Self {
        let (round_trip, sync) = (environment.round_trip_us(), environment.sync_us());
        let in_flight = environment.workload.in_flight_bytes();
        let moving = environment.moves_us(in_flight, settings.places as u64);
        let limits = &settings.limits;
        let round_trips = 1 + questions(environment, limits);
        let step = settings.election_max_us + round_trips * round_trip + 3 * sync;
        let (once, both_ways) = tries(environment.loss());
        let moving = (moving as f64 * once) as u64;
        let repeated = |us: u64| (us as f64 * both_ways) as u64;
        let ahead = limits.ahead_slots.min(limits.accept_slots);
        let ahead = ahead.min(limits.fetches as u64 * limits.fetch_slots);
        let catching_up = behind / ahead * round_trip;
        // L7: whoever has filled its acceptor while it was behind votes again when it has caught up.
        let is_full = behind > limits.accept_slots;
        let filled = if is_full { repeated(catching_up) } else { 0 };
        let first_us = repeated(WAITS * step) + 2 * moving + filled;
        let windows = windows(environment, limits);
        let in_turn = (windows - 1) * (round_trip + sync);
        let unluckiest = unluckiest(environment.workload.clients, environment.loss());
        let asking = (unluckiest * (CLIENT_WAIT_US + round_trip) as f64) as u64;
        Bounds {
            first_us,
            last_us: 2 * first_us + 4 * moving + repeated(catching_up + in_turn) + asking,
            bytes_factor: BYTES_FACTOR + windows - 1,
        }
    }
}

/// What a run has cost so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cost {
    /// The bytes of all datagrams, headers of IP and UDP included.
    pub sent_bytes: u64,
    /// How many of these the paths have lost by chance.
    pub lost_bytes: u64,
    /// What probes of paths, and the answers to them, have taken of the rest.
    pub probe_bytes: u64,
    /// How many paths from one process to another have begun: with each life of either.
    pub paths: u64,
    /// The bytes that must be sent for the lines that clients submitted.
    pub needed_bytes: u64,
    /// The questions of clients whose lines waited, and the answers to them.
    pub waiting_bytes: u64,
    /// The start of the cluster, and every fault: what may make replicas campaign.
    pub causes: u64,
    /// The ballots with which replicas asked others for promises.
    ballots: BTreeSet<Ballot>,
    /// From the end of the faults to the next completed line.
    pub first_us: Option<u64>,
    /// From the end of the faults until everything was settled.
    pub last_us: u64,
}

impl Cost {
    /// A cluster starts, which is a cause to campaign.
    pub fn new() -> Self {
        Cost { causes: 1, ..Cost::default() }
    }

    /// A datagram leaves that takes so many bytes with all headers, and a path may lose it by chance.
    pub fn sends(&mut self, datagram: &[u8], bytes: u64, is_lost: bool) {
        self.sent_bytes += bytes;
        let kind = kind_of(datagram);
        let is_probe = [BodyKind::Probe, BodyKind::ProbeAnswer].iter().any(|it| *it as u8 == kind);
        match (is_probe, is_lost) {
            (true, _) => self.probe_bytes += bytes,
            (false, true) => self.lost_bytes += bytes,
            (false, false) => {}
        }
    }

    /// A process begins a life and has paths from and to so many others.
    pub fn begins(&mut self, others: usize) {
        self.paths += 2 * others as u64;
    }

    /// A line was complete after this time. For longer than a second its client asks each of the `n`
    /// replicas what became of it, once a second.
    pub fn waited(&mut self, us: u64, n: usize) {
        let seconds = us.saturating_sub(1_000_000).div_ceil(1_000_000);
        self.waiting_bytes += seconds * n as u64 * STEP_BYTES;
    }

    /// A replica of a cluster of `n` begins a life: it greets the others, and they it.
    pub fn greets(&mut self, n: usize) {
        self.needed_bytes += STEP_BYTES * (n as u64 - 1);
    }

    /// A client submits a line of this many bytes to a cluster of `n`.
    pub fn submits(&mut self, bytes: usize, n: usize) {
        self.needed_bytes += (bytes as u64 + LINE_BYTES) * n as u64;
    }

    /// The operator of a cluster of `n` asks for a change of its members: a command as others are.
    pub fn changes(&mut self, n: usize) {
        self.needed_bytes += LINE_BYTES * n as u64;
    }

    /// A replica begins to lead a cluster of `n`, after another one, while a line of this many bytes
    /// is in flight: its followers must get it once more, as far as they do not hold it.
    pub fn takes_over(&mut self, bytes: usize, n: usize) {
        self.needed_bytes += (bytes as u64 + LINE_BYTES) * (n as u64 - 1);
    }

    /// A replica has lost a line of this many bytes in a restart: it must be sent there again.
    pub fn loses(&mut self, bytes: usize) {
        self.needed_bytes += bytes as u64 + LINE_BYTES;
    }

    /// A replica asks the others of a cluster of `n` for promises with this ballot.
    pub fn campaigns_with(&mut self, ballot: Ballot, n: usize) {
        if self.ballots.insert(ballot) {
            self.needed_bytes += 2 * STEP_BYTES * (n as u64 - 1);
        }
    }

    /// How many campaigns there were.
    pub fn campaigns(&self) -> u64 {
        self.ballots.len() as u64
    }

    /// What was sent for each byte that had to be sent, without the heartbeats of this time, without
    /// what clients may ask that wait for long, and without the part that was lost by chance.
    pub fn bytes_factor(&self, settings: &Settings, lasted: Time) -> f64 {
        let all = self.sent_bytes - self.probe_bytes;
        let beside = heartbeat_bytes(settings, lasted.0) + self.waiting_bytes;
        let sent = all.saturating_sub(beside);
        let kept = 1.0 - self.lost_bytes as f64 / all.max(1) as f64;
        sent as f64 * kept / self.needed_bytes.max(1) as f64
    }

    /// Which bound is broken at the end of a run that lasted so long, if one is.
    pub fn broken(&self, bounds: Bounds, settings: &Settings, lasted: Time) -> Option<String> {
        let seconds = |us: u64| us as f64 / 1e6;
        let late = self.first_us.filter(|us| *us > bounds.first_us);
        if let Some(us) = late {
            let (took, bound) = (seconds(us), seconds(bounds.first_us));
            return Some(format!("I10: the next line took {took:.1} s, bound {bound:.1} s"));
        }
        if self.campaigns() > CAMPAIGNS_MAX * self.causes {
            let (campaigns, causes) = (self.campaigns(), self.causes);
            return Some(format!("I10: {campaigns} campaigns for {causes} causes"));
        }
        if self.probe_bytes > PROBE_BYTES_MAX * self.paths {
            let (bytes, paths) = (self.probe_bytes, self.paths);
            return Some(format!("I10: {bytes} bytes of probes for {paths} paths"));
        }
        let factor = self.bytes_factor(settings, lasted);
        if factor > bounds.bytes_factor as f64 {
            return Some(format!("I10: {factor:.1} bytes sent for each that had to be sent"));
        }
        None
    }
}

/// What the heartbeats of all replicas take in this time.
pub fn heartbeat_bytes(settings: &Settings, us: u64) -> u64 {
    let pairs = (settings.places * (settings.places - 1)) as u64;
    pairs * (us / settings.heartbeat_us + 1) * HEARTBEAT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Place;
    use multipaxos::types::{BootId, ReplicaId};
    use seeds::stream;

    fn settings_of(environment: &Environment) -> Settings {
        Settings {
            id: ReplicaId(0),
            n: 3,
            places: 3,
            boot: BootId(1),
            payload_bytes: 1_300,
            heartbeat_us: environment.heartbeat_us,
            election_min_us: environment.election_us.0,
            election_max_us: environment.election_us.1,
            checkpoint_slots: 8,
            skip_slot: None,
            limits: Limits::DEFAULT,
        }
    }

    #[test]
    fn a_view_change_has_a_round_trip_more_for_each_question_that_its_bounds_ask_for() {
        let environment = Environment::draw(Place::Globe, &mut stream(1, "environment"));
        let first_us = |limits: Limits| {
            let settings = Settings { limits, ..settings_of(&environment) };
            Bounds::of(&environment, &settings, 0).first_us
        };
        let all = environment.workload.in_flight_bytes() as usize;
        let halves = Limits { values_bytes: all.div_ceil(2), ..Limits::DEFAULT };
        let ample = Limits { values_bytes: all, ..Limits::DEFAULT };
        assert_eq!(first_us(ample), first_us(Limits::DEFAULT));
        assert_eq!(first_us(halves) - first_us(ample), WAITS * environment.round_trip_us());
    }

    #[test]
    fn whoever_is_further_behind_than_an_acceptor_holds_may_have_to_catch_up_before_it_votes() {
        let environment = Environment::draw(Place::Globe, &mut stream(1, "environment"));
        let settings = settings_of(&environment);
        let first_us = |behind| Bounds::of(&environment, &settings, behind).first_us;
        let held = settings.limits.accept_slots;
        assert_eq!(first_us(held), first_us(0));
        assert!(first_us(held + 1) > first_us(held));
    }

    #[test]
    fn what_is_lost_by_chance_is_tried_again_and_counts_for_no_byte() {
        assert_eq!(tries(0.0), (1.0, 1.0));
        assert_eq!(tries(0.5), (2.0, 4.0));
        assert_eq!((unluckiest(300, 0.0), unluckiest(1, 0.5)), (0.0, 0.0));
        // Of 256 questions, one is lost eight times, if half of them are answered.
        assert!((unluckiest(256, 1.0 - 0.5_f64.sqrt()) - 8.0).abs() < 1e-9);
        let settings = settings_of(&Environment::draw(Place::Lan, &mut stream(1, "environment")));
        let (lasted, needed_bytes) = (Time(1_000_000), 1_000);
        let sent_bytes = heartbeat_bytes(&settings, lasted.0) + 6 * needed_bytes;
        let factor = |lost_bytes| {
            let cost = Cost { sent_bytes, lost_bytes, needed_bytes, ..Cost::default() };
            cost.bytes_factor(&settings, lasted)
        };
        assert_eq!((factor(0), factor(sent_bytes / 2)), (6.0, 3.0));
    }

    #[test]
    fn a_line_is_needed_at_each_replica_and_once_more_after_a_restart_or_by_a_new_leader() {
        let mut cost = Cost::new();
        cost.submits(600, 3);
        assert_eq!(cost.needed_bytes, 3 * (600 + LINE_BYTES));
        cost.loses(600);
        assert_eq!(cost.needed_bytes, 4 * (600 + LINE_BYTES));
        cost.takes_over(600, 3);
        assert_eq!(cost.needed_bytes, 6 * (600 + LINE_BYTES));
        cost.waited(900_000, 3);
        assert_eq!(cost.waiting_bytes, 0);
        cost.waited(2_500_000, 3);
        assert_eq!(cost.waiting_bytes, 2 * 3 * STEP_BYTES);
        cost.changes(3);
        assert_eq!(cost.needed_bytes, 6 * (600 + LINE_BYTES) + 3 * LINE_BYTES);
        let before = cost.needed_bytes;
        cost.greets(3);
        (0..2).for_each(|_| cost.campaigns_with(Ballot(4), 3));
        assert_eq!(cost.needed_bytes - before, 2 * STEP_BYTES + 4 * STEP_BYTES);
    }
}
