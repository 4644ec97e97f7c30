//! A follower among replicas that are played here: each has the same text, as far as it has got.

#![cfg(test)]

use super::*;
use crate::message::{FollowQuery, HOLD_US, Voters};
use crate::quorum::ReplicaSet;
use crate::types::Ballot;
use fastrand::Rng;
use seeds::stream;
use std::collections::BTreeMap;

const MS: u64 = 1_000;
const ROOM: usize = 100;

/// A chat log, and where each line begins.
#[derive(Debug, Clone)]
struct Log {
    text: Vec<u8>,
    begins: Vec<usize>,
}

impl Log {
    fn new() -> Log {
        Log { text: Vec::new(), begins: vec![0] }
    }

    fn add(&mut self, message: &str) {
        let slot = self.begins.len() - 1;
        self.text.extend_from_slice(format!("{slot} 7 {slot} {message}\n").as_bytes());
        self.begins.push(self.text.len());
    }

    fn short(lines: usize) -> Log {
        let mut log = Log::new();
        (0..lines).for_each(|line| log.add(&format!("line {line}")));
        log
    }

    /// Lines of all lengths: empty ones, short ones, one of 64 KiB with every byte escaped.
    fn drawn(rng: &mut Rng, lines: usize) -> Log {
        let mut log = Log::new();
        for line in 0..lines {
            let message = match (line == lines / 2, rng.u8(..8)) {
                (true, _) => "\\u{85}".repeat(65_536),
                (_, 0) => String::new(),
                (_, 1) => "x\\n".repeat(rng.usize(..400)),
                _ => "x".repeat(rng.usize(..40)),
            };
            log.add(&message);
        }
        log
    }

    fn slots(&self) -> usize {
        self.begins.len() - 1
    }

    /// What a replica answers that has applied the slots below `applied`.
    fn answer(&self, applied: usize, query: FollowQuery) -> Excerpt {
        let FollowQuery { slot, offset, room } = query;
        let end = self.begins[applied];
        let from = match self.begins.get(slot.0 as usize) {
            Some(begin) if slot.0 < applied as u64 => (begin + offset as usize).min(end),
            _ => end,
        };
        let to = (from + usize::from(room)).min(end);
        let rest = if slot.0 < applied as u64 { end - to } else { 0 } as u64;
        let applied = Slot(applied as u64);
        Excerpt { slot, offset, text: self.text[from..to].to_vec(), rest, applied }
    }

    /// The lines from `first` on.
    fn from(&self, first: usize) -> &[u8] {
        &self.text[self.begins[first]..]
    }
}

/// A replica that is played.
#[derive(Debug, Clone, Copy)]
struct Played {
    applied: usize,
    alive: bool,
    /// Whether it hears a quorum.
    in_touch: bool,
    /// Whether it gives its mark, and what its acceptor has accepted: the slots below this.
    gives_marks: bool,
    accepted: usize,
}

/// What is on its way, or waits.
enum Event {
    Call(ReplicaId, ClientMessage),
    Answer(ReplicaId, Answer),
    HoldEnds(ReplicaId, FollowQuery),
}

/// The follower, the replicas, and the network between.
struct Play {
    follower: Follower,
    log: Log,
    replicas: Vec<Played>,
    waiting: Vec<(ReplicaId, FollowQuery)>,
    now: Time,
    events: BTreeMap<(Time, u64), Event>,
    sent: u64,
    rng: Rng,
    loss: f64,
    /// How long a datagram is on its way, at most.
    way_us: u64,
    printed: Vec<u8>,
    calls: Vec<u64>,
    /// Each time that it said so: how far it had to read, and the slot of its next line.
    read: Vec<(u64, u64)>,
}

impl Play {
    fn new(seed: u64, n: usize, log: Log, order: Order) -> Play {
        let (applied, accepted) = (log.slots(), log.slots());
        let played = Played { applied, alive: true, in_touch: true, gives_marks: true, accepted };
        let replicas = vec![played; n];
        Play {
            follower: Follower::new(Time(0), n, order, seed),
            log,
            replicas,
            waiting: Vec::new(),
            now: Time(0),
            events: BTreeMap::new(),
            sent: 0,
            rng: stream(seed, "play"),
            loss: 0.0,
            way_us: 100,
            printed: Vec::new(),
            calls: vec![0; n],
            read: Vec::new(),
        }
    }

    fn later(&mut self, event: Event) {
        if self.rng.f64() < self.loss {
            return;
        }
        let at = self.now.plus_us(self.rng.u64(1..=self.way_us));
        self.sent += 1;
        self.events.insert((at, self.sent), event);
    }

    fn send(&mut self) {
        let turn = self.follower.turn(self.now, |_| ROOM);
        for (to, message) in turn.calls {
            self.calls[to.index()] += 1;
            self.later(Event::Call(to, message));
        }
        self.read.extend(turn.has_read.map(|end| (end.0, self.follower.slot().0)));
        if let Some(Lines { text, .. }) = self.follower.lines() {
            assert!(text.ends_with(b"\n"));
            self.printed.extend_from_slice(&text);
        }
    }

    fn call(&mut self, to: ReplicaId, message: &ClientMessage) {
        let Played { applied, alive, in_touch, gives_marks, accepted } = self.replicas[to.index()];
        if !alive {
            return;
        }
        match message {
            ClientMessage::Hello if in_touch => {
                let applied = Slot(applied as u64);
                self.later(Event::Answer(to, Answer::Welcome { applied, ballot: Ballot(0) }));
            }
            ClientMessage::Hello => {
                self.later(Event::Answer(to, Answer::Leader { ballot: Ballot(0) }));
            }
            ClientMessage::Follow(query) if query.slot.0 < applied as u64 => {
                let excerpt = Box::new(self.log.answer(applied, *query));
                self.later(Event::Answer(to, Answer::Log(excerpt)));
            }
            ClientMessage::Follow(query) => {
                self.waiting.push((to, *query));
                self.sent += 1;
                let at = (self.now.plus_us(HOLD_US), self.sent);
                self.events.insert(at, Event::HoldEnds(to, *query));
            }
            ClientMessage::Mark { read } if gives_marks => {
                let (read, mark) = (*read, Slot(accepted as u64));
                let mut members = ReplicaSet::EMPTY;
                replicas(self.replicas.len()).for_each(|id| {
                    members.insert(id);
                });
                let by = Voters { configuration: 0, members };
                self.later(Event::Answer(to, Answer::Mark { read, mark, by }));
            }
            ClientMessage::Mark { .. } => {}
            other => panic!("a follower does not send {other:?}"),
        }
    }

    /// A replica applies another line.
    fn applies(&mut self, id: usize) {
        let Played { applied, alive, .. } = &mut self.replicas[id];
        if !*alive || *applied == self.log.slots() {
            return;
        }
        *applied += 1;
        let applied = *applied;
        let (due, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(at, query)| at.index() == id && query.slot.0 < applied as u64);
        self.waiting = waiting;
        for (at, query) in due {
            let excerpt = Box::new(self.log.answer(applied, query));
            self.later(Event::Answer(at, Answer::Log(excerpt)));
        }
    }

    /// Runs until this time, or until the follower ends.
    fn run(&mut self, until: Time) {
        loop {
            self.send();
            let next = self.events.first_key_value().map(|((at, _), _)| *at);
            let due = self.follower.deadline();
            let at = next.into_iter().chain(due).min().unwrap_or(until);
            if at > until || self.follower.end().is_some() {
                self.now = until;
                return;
            }
            self.now = self.now.max(at);
            if next != Some(at) {
                continue;
            }
            match self.events.pop_first().expect("it is there").1 {
                Event::Call(to, message) => self.call(to, &message),
                Event::Answer(from, answer) => {
                    if self.rng.f64() < self.loss {
                        // It comes twice.
                        self.later(Event::Answer(from, answer.clone()));
                    }
                    self.follower.take(self.now, from, answer);
                }
                Event::HoldEnds(of, query) => {
                    let before = self.waiting.len();
                    self.waiting.retain(|it| *it != (of, query));
                    let Played { applied, alive, .. } = self.replicas[of.index()];
                    if self.waiting.len() < before && alive {
                        let (slot, offset, applied) =
                            (query.slot, query.offset, Slot(applied as u64));
                        let text = Vec::new();
                        let nothing = Excerpt { slot, offset, text, rest: 0, applied };
                        self.later(Event::Answer(of, Answer::Log(Box::new(nothing))));
                    }
                }
            }
        }
    }

    #[track_caller]
    fn has_printed(&self, from: usize) {
        let (all, printed) = (self.log.from(from), &self.printed);
        let same = all.iter().zip(printed).take_while(|(a, b)| a == b).count();
        assert!(
            all.len() == printed.len() && same == all.len(),
            "{} bytes of {}, the first {same} are right",
            printed.len(),
            all.len()
        );
    }
}

const FOLLOW: Order = Order { from: Slot(0), ends: false, reads: false, timeout_us: None };
const HISTORY: Order = Order { from: Slot(0), ends: true, reads: false, timeout_us: None };
const READ: Order = Order { reads: true, ..HISTORY };

#[test]
fn a_history_is_every_line_and_then_the_end() {
    for (seed, from) in [(1, 0), (2, 7), (3, 59)] {
        let log = Log::drawn(&mut stream(seed, "log"), 60);
        let mut play = Play::new(seed, 3, log, Order { from: Slot(from), ..HISTORY });
        play.run(Time(5_000 * MS));
        assert_eq!(play.follower.end(), Some(End::Done));
        play.has_printed(from as usize);
        assert_eq!(play.calls[0], 1, "the leader was asked for nothing but a welcome");
    }
}

#[test]
fn a_history_from_behind_the_end_is_empty() {
    for (lines, from) in [(0, 0), (3, 3), (3, 9)] {
        let log = Log::drawn(&mut stream(1, "log"), lines);
        let mut play = Play::new(1, 3, log, Order { from: Slot(from), ..HISTORY });
        play.run(Time(1_000 * MS));
        assert_eq!((play.follower.end(), play.printed.len()), (Some(End::Done), 0));
    }
}

#[test]
fn a_history_ends_where_the_leader_says_although_others_lag() {
    let mut play = Play::new(1, 3, Log::drawn(&mut stream(1, "log"), 50), HISTORY);
    for id in [1, 2] {
        play.replicas[id].applied = 20;
    }
    play.run(Time(5_000 * MS));
    assert_eq!(play.follower.end(), Some(End::Done));
    play.has_printed(0);
}

#[test]
fn a_history_without_a_leader_waits_a_little_for_it_and_goes_on() {
    let mut play = Play::new(1, 3, Log::drawn(&mut stream(1, "log"), 50), HISTORY);
    play.replicas[0].alive = false;
    play.run(Time(opening::OTHERS_US - 1));
    assert_eq!(play.printed.len(), 0);
    play.run(Time(5_000 * MS));
    assert_eq!(play.follower.end(), Some(End::Done));
    play.has_printed(0);
}

#[test]
fn a_read_has_what_a_quorum_has_accepted_although_the_welcomes_know_of_less() {
    for seed in 0..40 {
        let mut play = Play::new(seed, 3, Log::drawn(&mut stream(seed, "log"), 50), READ);
        play.loss = [0.0, 0.1, 0.3][(seed % 3) as usize];
        // All that are asked have applied less than was complete. (Replica 0, which led, is dead.)
        play.replicas[0].alive = false;
        play.replicas[1].applied = 20;
        play.replicas[2].applied = 20;
        play.run(Time(2_000 * MS));
        assert_eq!(play.follower.end(), None, "seed {seed}: it waits");
        (0..40).for_each(|_| play.applies(1));
        play.run(play.now.plus_us(400_000 * MS));
        assert_eq!(play.follower.end(), Some(End::Done), "seed {seed}");
        play.has_printed(0);
    }
}

#[test]
fn a_read_waits_for_a_quorum_of_marks_and_says_so() {
    let order = Order { timeout_us: Some(5_000 * MS), ..READ };
    let mut play = Play::new(1, 3, Log::short(5), order);
    for id in [1, 2] {
        play.replicas[id].gives_marks = false;
    }
    play.run(Time(20_000 * MS));
    play.has_printed(0);
    match play.follower.end() {
        Some(End::Silent(silence)) => assert_eq!(silence.lacks, Lacks::Marks),
        other => panic!("it ends otherwise: {other:?}"),
    }
}

#[test]
fn a_slot_that_one_replica_alone_has_accepted_holds_no_read_up_for_long() {
    let mut play = Play::new(1, 3, Log::short(5), READ);
    play.replicas[0].accepted = 70;
    play.replicas[1].alive = false;
    play.run(Time(1_000 * MS));
    assert_eq!(play.follower.end(), None, "it may be chosen");
    play.replicas[1].alive = true;
    play.run(play.now.plus_us(1_000 * MS));
    assert_eq!(play.follower.end(), Some(End::Done));
    play.has_printed(0);
}

#[test]
fn one_that_reads_and_goes_on_says_once_when_it_has_read() {
    for (from, lines) in [(0, 30), (9, 30), (50, 30), (0, 0)] {
        let log = Log::drawn(&mut stream(3, "log"), lines);
        let order = Order { from: Slot(from), reads: true, ..FOLLOW };
        let mut play = Play::new(3, 3, log, order);
        play.run(Time(2_000 * MS));
        assert_eq!(play.read, [(lines as u64, from.max(lines as u64))], "from {from}");
        play.log.add("another");
        (0..3).for_each(|id| play.applies(id));
        play.run(play.now.plus_us(2_000 * MS));
        assert_eq!(play.read.len(), 1);
        assert_eq!(play.follower.end(), None);
    }
}

#[test]
fn a_line_that_comes_while_one_waits_for_it_is_there_after_one_way() {
    let mut play = Play::new(1, 3, Log::short(5), FOLLOW);
    play.run(Time(50 * MS));
    play.has_printed(0);
    for line in 0..500 {
        play.log.add(&format!("line {line}"));
        (0..3).for_each(|id| play.applies(id));
        play.run(play.now.plus_us(play.way_us));
        play.has_printed(0);
        play.run(play.now.plus_us(MS));
    }
    let asked: u64 = play.calls.iter().sum();
    assert!(asked < 600, "{asked} questions for 500 lines");
}

#[test]
fn whatever_is_lost_late_or_repeated_every_line_leaves_once_and_in_order() {
    for seed in 0..60 {
        let mut rng = stream(seed, "all");
        let n = [1, 3, 5][rng.usize(..3)];
        let from = rng.usize(..20);
        let log = Log::drawn(&mut rng, 30);
        let order = Order { from: Slot(from as u64), ..FOLLOW };
        let mut play = Play::new(seed, n, log, order);
        play.loss = [0.0, 0.1, 0.3][rng.usize(..3)];
        play.way_us = [100, 5 * MS, 80 * MS][rng.usize(..3)];
        for _ in 0..100 {
            if n > 1 && rng.u8(..8) == 0 {
                // Not all at a time, or nobody is left to be asked.
                let id = rng.usize(..n);
                let alive = play.replicas.iter().filter(|it| it.alive).count();
                play.replicas[id].alive = !play.replicas[id].alive || alive == 1;
            }
            for _ in 0..rng.u8(..4) {
                let lengths = [0, 3, 700];
                play.log.add(&"y".repeat(lengths[rng.usize(..3)]));
            }
            for id in 0..n {
                (0..rng.u8(..5)).for_each(|_| play.applies(id));
            }
            play.run(play.now.plus_us(rng.u64(1..200 * MS)));
            assert!(play.log.from(from).starts_with(&play.printed), "seed {seed}");
        }
        for id in 0..n {
            play.replicas[id].alive = true;
            (0..1_000).for_each(|_| play.applies(id));
        }
        play.run(play.now.plus_us(400_000 * MS));
        play.has_printed(from);
    }
}

#[test]
fn a_replica_that_dies_in_the_middle_of_a_line_is_replaced_by_another() {
    let mut log = Log::new();
    (0..4).for_each(|_| log.add(&"z".repeat(50_000)));
    let mut play = Play::new(1, 3, log, FOLLOW);
    play.way_us = 2 * MS;
    while play.printed.is_empty() {
        play.run(play.now.plus_us(MS));
    }
    let source = play.follower.source;
    assert!(play.follower.assembly.offset() > 0 || play.follower.slot() < Slot(4));
    play.replicas[source.index()].alive = false;
    play.run(play.now.plus_us(4_000 * MS));
    play.has_printed(0);
    assert_ne!(play.follower.source, source);
}

#[test]
fn a_replica_that_is_cut_off_from_the_others_delays_a_line_and_hides_none() {
    let mut play = Play::new(1, 3, Log::drawn(&mut stream(1, "log"), 5), FOLLOW);
    play.run(Time(50 * MS));
    for line in 0..40 {
        play.log.add(&format!("line {line}"));
        let cut_off = play.follower.source.index();
        (0..3).filter(|id| *id != cut_off).for_each(|id| play.applies(id));
        play.run(play.now.plus_us(HOLD_US + 2 * MS));
        play.has_printed(0);
        (0..3).for_each(|id| (0..50).for_each(|_| play.applies(id)));
        play.run(play.now.plus_us(MS));
    }
}

#[test]
fn while_nothing_is_written_each_replica_is_asked_in_turn_a_few_times_a_second() {
    let mut play = Play::new(1, 3, Log::short(5), FOLLOW);
    play.run(Time(12_000 * MS));
    play.has_printed(0);
    assert!(play.calls.iter().all(|calls| (18..28).contains(calls)), "{:?}", play.calls);
    assert_eq!(play.follower.end(), None);
}

#[test]
fn a_silent_replica_is_passed_over_for_a_while() {
    let mut play = Play::new(1, 3, Log::drawn(&mut stream(1, "log"), 5), FOLLOW);
    play.run(Time(50 * MS));
    play.replicas[1].alive = false;
    play.calls.fill(0);
    play.run(play.now.plus_us(20_000 * MS));
    assert!((3..8).contains(&play.calls[1]), "{:?}", play.calls);
}

#[test]
fn whoever_waits_in_vain_is_told_and_in_the_end_gives_up() {
    let order = Order { timeout_us: Some(10_000 * MS), ..FOLLOW };
    let mut play = Play::new(1, 3, Log::new(), order);
    play.replicas.iter_mut().for_each(|it| it.in_touch = false);
    play.replicas[2].alive = false;
    let mut told = Vec::new();
    while play.follower.end().is_none() {
        let turn = play.follower.turn(play.now, |_| ROOM);
        turn.silence.into_iter().for_each(|it| told.push((it.waited_us / MS, it.answering)));
        turn.calls.into_iter().for_each(|(to, message)| play.call(to, &message));
        play.now = play.now.plus_us(100);
        while let Some((_, Event::Answer(from, answer))) = play.events.pop_first() {
            play.follower.take(play.now, from, answer);
        }
        play.now = play.follower.deadline().map_or(play.now, |at| at.max(play.now));
    }
    assert_eq!(told, [(3_000, 2), (6_000, 2)]);
    let silence = Silence { waited_us: 10_000 * MS, answering: 2, lacks: Lacks::Welcome };
    assert_eq!(play.follower.end(), Some(End::Silent(silence)));
}

#[test]
fn a_history_that_nobody_can_complete_does_not_wait_for_ever() {
    let order = Order { timeout_us: Some(5_000 * MS), ..HISTORY };
    let mut play = Play::new(1, 3, Log::drawn(&mut stream(1, "log"), 9), order);
    play.run(Time(150));
    // The leader, which has applied the last lines, dies; the others answer.
    play.replicas[0].alive = false;
    (1..3).for_each(|id| play.replicas[id].applied = 3);
    play.run(Time(20_000 * MS));
    assert!(matches!(play.follower.end(), Some(End::Silent(_))), "{:?}", play.follower.end());
    assert_eq!(play.printed, play.log.text[..play.log.begins[3]]);
}

#[test]
fn another_cluster_ends_it_only_if_most_replicas_belong_to_it() {
    let mut play = Play::new(1, 3, Log::drawn(&mut stream(1, "log"), 5), FOLLOW);
    play.run(Time(50 * MS));
    play.follower.take_elsewhere(ReplicaId(1));
    assert_eq!(play.follower.end(), None);
    // The cluster has answered since.
    play.log.add("another");
    (0..3).for_each(|id| play.applies(id));
    play.run(Time(60 * MS));
    play.follower.take_elsewhere(ReplicaId(2));
    assert_eq!(play.follower.end(), None);
    play.follower.take_elsewhere(ReplicaId(1));
    assert_eq!(play.follower.end(), Some(End::OtherCluster(ReplicaId(1))));
}

#[test]
fn what_is_no_line_of_its_slot_ends_it_with_the_name_of_the_replica() {
    let mut log = Log::drawn(&mut stream(1, "log"), 5);
    let begin = log.begins[3];
    log.text[begin] = b'9';
    let mut play = Play::new(1, 1, log, FOLLOW);
    play.run(Time(50 * MS));
    assert_eq!(play.follower.end(), Some(End::NotALine(ReplicaId(0), Slot(3))));
    assert_eq!(play.printed, play.log.text[..begin], "what came before is right");
}

#[test]
fn no_answer_whatever_makes_it_panic_or_ask_without_end() {
    for seed in 0..300 {
        let mut rng = stream(seed, "anything");
        let mut follower = Follower::new(Time(0), 3, FOLLOW, seed);
        let welcome = Answer::Welcome { applied: Slot(9), ballot: Ballot(0) };
        let mut now = Time(0);
        (0..3).for_each(|id| follower.take(now, ReplicaId(id), welcome.clone()));
        let mut asked = Vec::new();
        for _ in 0..400 {
            let turn = follower.turn(now, |_| ROOM);
            assert!(turn.calls.len() <= WINDOW_MAX + 3);
            asked.extend(turn.calls);
            let of = asked.get(rng.usize(..asked.len().max(1)));
            if let Some((to, ClientMessage::Follow(FollowQuery { slot, offset, .. }))) = of {
                let text = (0..rng.usize(..200)).map(|_| b"7 a\n"[rng.usize(..4)]).collect();
                let edges = [0, 1, 300, u64::MAX];
                let rest = edges[rng.usize(..4)];
                let applied = Slot(edges[rng.usize(..4)]);
                let (slot, offset) = (*slot, *offset);
                let excerpt = Excerpt { slot, offset, text, rest, applied };
                follower.take(now, *to, Answer::Log(Box::new(excerpt)));
            }
            now = now.plus_us(rng.u64(1..50 * MS));
        }
    }
}

#[test]
fn a_replica_that_has_answered_and_died_does_not_count_as_answering() {
    for (answers_ms, answering) in [(&[500][..], 0), (&[500, 2_500], 1)] {
        let mut follower = Follower::new(Time(0), 3, FOLLOW, 1);
        let mut told = Vec::new();
        for ms in 0..6_000 {
            if answers_ms.contains(&ms) {
                let welcome = Answer::Welcome { applied: Slot(0), ballot: Ballot(0) };
                follower.take(Time(1_000 * ms), ReplicaId(1), welcome);
            }
            let silence = follower.turn(Time(1_000 * ms), |_| 1_000).silence;
            told.extend(silence.map(|silence| silence.answering));
        }
        assert_eq!(told, [answering], "answers at {answers_ms:?} ms");
    }
}
