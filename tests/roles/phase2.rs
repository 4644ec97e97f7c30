//! Phase 2 at one ballot: requests are admitted, queued, proposed and sent again.

use crate::common::*;
use multipaxos::long_line::commit_us;
use multipaxos::message::{Decided, MESSAGE_SLOTS_MAX, Message, Request, Span, Spans, ToAcceptor};
use multipaxos::paxos::pace::Waits;
use multipaxos::paxos::phase1::Phase1Outcome;
use multipaxos::paxos::phase2::{IN_FLIGHT_BYTES_MAX, Other, Phase2, QUEUE_BYTES_MAX, QUEUE_MAX};
use multipaxos::paxos::{Envelope, Never, NoStorage, Outbox, PROPOSE_WINDOW_SLOTS, Settings};
use multipaxos::types::{Address, Attempt, Ballot, ReplicaId, Slot, SlotRange, Time, Value};
use multipaxos::values::COMMAND_BYTES;

/// The wait before a proposal is sent again, while round trips are not measured yet.
const RESEND_US: u64 = 40_000;

/// Phase 2 and its time.
#[derive(Clone)]
struct Subject {
    phase2: Phase2,
    now: Time,
}

impl Subject {
    /// Admits a request. Returns the requests that the learner must be asked about.
    fn admit(&mut self, origin: Address, request: Request, confirmed: bool) -> Vec<Request> {
        let mut unsure = Vec::new();
        self.phase2.admit(origin, request, confirmed, |other| {
            if let Other::Unsure(request) = other {
                unsure.push(request);
            }
        });
        unsure
    }

    /// Takes a request that the learner has confirmed.
    fn take(&mut self, request: Request) {
        assert_eq!(self.admit(address(1), request, true), []);
    }

    fn flush(&mut self) -> Vec<Envelope> {
        let mut out: Outbox<Never> = Outbox::new();
        self.phase2.flush(self.now, &mut out);
        out.commit(&mut NoStorage).expect("no storage never fails")
    }

    fn time_out(&mut self) -> Vec<Envelope> {
        let mut out: Outbox<Never> = Outbox::new();
        self.phase2.handle_timeout(self.now, &mut out);
        out.commit(&mut NoStorage).expect("no storage never fails")
    }

    /// Both peers have passed over these slots.
    fn lose(&mut self, first: u64, count: u64) -> Vec<Envelope> {
        self.lose_to(&[R1, R2], range(first, count), |_| RESEND_US)
    }

    /// These peers have passed over these slots, and would answer in that time.
    fn lose_to(
        &mut self,
        peers: &[ReplicaId],
        slots: SlotRange,
        answer_us: impl Fn(ReplicaId) -> u64,
    ) -> Vec<Envelope> {
        let (mut out, lost): (Outbox<Never>, _) = (Outbox::new(), lost(slots, peers));
        self.phase2.handle_lost(self.now, &[lost], answer_us, &mut out);
        out.commit(&mut NoStorage).expect("no storage never fails")
    }

    fn apply(&mut self, upto: u64) {
        self.phase2.handle_progress(self.now, Slot(upto), nothing_decided(0));
    }

    /// The requests that are handed to the next leader: the client, and its sessions.
    fn left(&self) -> Vec<(Address, Vec<u64>)> {
        let sessions = |request: &Request| request.iter().map(|it| it.session.id).collect();
        let requests = self.phase2.clone().into_requests();
        requests.map(|(origin, request)| (origin, sessions(&request))).collect()
    }
}

fn begin(settings: Settings, first: u64, values: &[Value], applied: u64) -> Subject {
    let outcome = Phase1Outcome { first: Slot(first), values: values.into(), held: vec![] };
    let phase2 =
        Phase2::begin(settings, Ballot(0), outcome, Slot(applied), Waits::default(), Time(0));
    Subject { phase2, now: Time(0) }
}

/// A phase 2 that has nothing to propose again.
fn fresh() -> Subject {
    begin(settings(3, R0), 0, &[], 0)
}

fn one(session: u64, seq: u64) -> Request {
    Request::new(1, session, seq, "x")
}

/// The first commands of these sessions, in one request.
fn firsts(sessions: std::ops::Range<u64>, line: &str) -> Request {
    let values: Vec<Value> = sessions.map(|session| command(session, 0, line)).collect();
    Request { commands: values.into(), after: Slot(0), attempt: Attempt::FIRST }
}

/// A line that makes its command this long.
fn line_for(bytes: usize) -> String {
    "x".repeat(bytes - COMMAND_BYTES)
}

/// The first slot and the length of each run that goes to the own acceptor.
fn runs(envelopes: &[Envelope]) -> Vec<(u64, usize)> {
    let pick = |(to, message)| match message {
        ToAcceptor::Accept(accept) if to == R0 => Some((accept.first.0, accept.values.len())),
        _ => None,
    };
    to_acceptors(envelopes).into_iter().filter_map(pick).collect()
}

/// The slots that go to replica 1.
fn slots(envelopes: &[Envelope]) -> Vec<u64> {
    let pick = |(to, message)| match message {
        ToAcceptor::Accept(accept) if to == R1 => Some((accept.first, accept.values.len())),
        _ => None,
    };
    let each = to_acceptors(envelopes).into_iter().filter_map(pick);
    each.flat_map(|(first, count)| first.0..first.0 + count as u64).collect()
}

// --- admitting ---------------------------------------------------------------------

#[test]
fn the_learner_is_asked_about_what_is_not_known_to_be_next() {
    let mut seat = fresh();
    assert_eq!(seat.admit(address(1), one(5, 0), false), [one(5, 0)], "the session is unknown");
    seat.take(one(5, 0));
    assert_eq!(seat.admit(address(1), one(5, 0), false), [], "it is in flight");
    assert_eq!(
        seat.admit(address(1), one(5, 1), false),
        [one(5, 1)],
        "another command than the one in flight"
    );
    assert_eq!(seat.left(), [(address(1), vec![5])], "a session has one command at a time");
    assert_eq!(runs(&seat.flush()), [(0, 1)]);
    seat.apply(1);
    seat.take(one(5, 1));
    assert_eq!(seat.admit(address(1), one(5, 2), false), [one(5, 2)], "command 1 is next");
    assert_eq!(seat.admit(address(1), one(5, 1), false), []);
    assert_eq!(runs(&seat.flush()), [(1, 1)]);
    seat.apply(2);
    seat.take(one(5, 7));
    assert_eq!(runs(&seat.flush()), [(2, 1)], "the learner has confirmed command 2");
}

#[test]
fn the_askers_of_an_earlier_leaders_proposals_are_asked_once() {
    let mut seat = begin(settings(3, R0), 0, &[command(5, 3, "x")], 0);
    seat.flush();
    assert_eq!(seat.admit(address(1), one(5, 3), false), [one(5, 3)]);
    assert_eq!(seat.admit(address(1), one(5, 3), false), [], "the session is known now");
    seat.apply(1);
    assert_eq!(seat.admit(address(1), one(5, 4), false), []);
    assert_eq!(runs(&seat.flush()), [(1, 1)]);
}

#[test]
fn of_a_request_for_many_each_command_is_judged_alone() {
    let mut seat = fresh();
    seat.take(firsts(0..5, "x"));
    seat.flush();
    seat.apply(5);
    let values: Vec<Value> =
        [0, 9, 1, 2, 8, 3].map(|id| command(id, u64::from(id < 5), "x")).into();
    let request = Request { commands: values.into(), after: Slot(0), attempt: Attempt::FIRST };
    let unsure = seat.admit(address(1), request, false);
    assert_eq!(unsure, [one(9, 0), one(8, 0)]);
    assert_eq!(seat.left().concat_sessions(), [0, 1, 2, 3]);
    assert_eq!(runs(&seat.flush()), [(5, 4)]);
}

trait Sessions {
    fn concat_sessions(&self) -> Vec<u64>;
}

impl Sessions for Vec<(Address, Vec<u64>)> {
    fn concat_sessions(&self) -> Vec<u64> {
        self.iter().flat_map(|(_, sessions)| sessions.clone()).collect()
    }
}

#[test]
fn the_queue_is_bounded_in_number() {
    let mut seat = fresh();
    (0..QUEUE_MAX as u64 + 10).for_each(|session| seat.take(one(session, 0)));
    assert_eq!(seat.left().len(), QUEUE_MAX);
    // A dropped request is not remembered either, so that it has room later.
    seat.flush();
    seat.take(one(QUEUE_MAX as u64, 0));
    assert_eq!(seat.left().concat_sessions().last(), Some(&(QUEUE_MAX as u64)));
}

#[test]
fn the_queue_is_bounded_in_bytes() {
    let mut seat = fresh();
    let line = line_for(1 << 16);
    let fit = (QUEUE_BYTES_MAX >> 16) as u64;
    (0..fit + 10).for_each(|session| seat.take(firsts(session..session + 1, &line)));
    assert_eq!(seat.left().len() as u64, fit);
    // A command that gets a slot leaves its room in the queue.
    seat.flush();
    let proposed = (IN_FLIGHT_BYTES_MAX >> 16) as u64;
    (100..200 + fit).for_each(|id| seat.take(firsts(1_000 * id..1_000 * id + 1, &line)));
    assert_eq!(seat.left().concat_sessions().len() as u64, fit + proposed);
}

#[test]
fn a_full_queue_forgets_nothing_of_a_session() {
    let mut seat = fresh();
    seat.take(one(5, 0));
    seat.flush();
    seat.apply(1);
    (100..100 + QUEUE_MAX as u64).for_each(|session| seat.take(one(session, 0)));
    assert_eq!(seat.admit(address(1), one(5, 1), false), [], "dropped");
    assert_eq!(seat.admit(address(1), one(6, 0), true), [], "dropped");
    seat.flush();
    assert_eq!(seat.admit(address(1), one(5, 1), false), []);
    assert_eq!(seat.left().concat_sessions().last(), Some(&5));
}

#[test]
fn sessions_without_anything_on_its_way_are_forgotten_when_there_are_very_many() {
    let mut seat = fresh();
    let many = 65_536;
    for first in (0..many).step_by(MESSAGE_SLOTS_MAX) {
        seat.take(firsts(first..first + MESSAGE_SLOTS_MAX as u64, "x"));
        seat.flush();
        seat.apply(first + MESSAGE_SLOTS_MAX as u64);
    }
    assert_eq!(seat.admit(address(1), one(7, 1), false), [], "this many sessions are remembered");
    seat.take(one(many, 0));
    assert_eq!(seat.admit(address(1), one(8, 1), false), [one(8, 1)]);
    assert_eq!(seat.admit(address(1), one(7, 1), false), [], "it is in flight");
}

// --- proposing ---------------------------------------------------------------------

#[test]
fn no_run_is_longer_than_a_message_may_be() {
    let mut seat = fresh();
    [0..5_000, 5_000..10_000, 10_000..20_000]
        .into_iter()
        .for_each(|ids| seat.take(firsts(ids, "x")));
    let most = MESSAGE_SLOTS_MAX;
    assert_eq!(runs(&seat.flush()), [(0, most), (most as u64, most)]);
    let window = PROPOSE_WINDOW_SLOTS;
    assert_eq!(seat.left().concat_sessions(), (0..QUEUE_MAX as u64).collect::<Vec<_>>());
    seat.apply(10);
    seat.take(firsts(30_000..30_020, "x"));
    assert_eq!(runs(&seat.flush()), [(window, 10)]);
}

#[test]
fn the_bytes_in_flight_are_bounded_and_what_is_applied_leaves_room() {
    let mut seat = fresh();
    let line = line_for(1 << 16);
    let fit = (IN_FLIGHT_BYTES_MAX >> 16) as u64;
    seat.take(firsts(0..fit / 2, &line));
    seat.take(firsts(fit / 2..2 * fit, &line));
    assert_eq!(slots(&seat.flush()), (0..fit).collect::<Vec<_>>());
    assert!(slots(&seat.flush()).is_empty());
    seat.apply(3);
    assert_eq!(slots(&seat.flush()), [fit, fit + 1, fit + 2]);
    seat.apply(5);
    assert_eq!(slots(&seat.flush()), [fit + 3, fit + 4]);
}

#[test]
fn a_line_that_is_longer_than_the_room_that_is_left_has_its_turn() {
    let mut seat = fresh();
    let line = line_for(60_000);
    let fit = IN_FLIGHT_BYTES_MAX.div_ceil(60_000) as u64;
    seat.take(firsts(0..100, &line));
    assert_eq!(
        slots(&seat.flush()),
        (0..fit).collect::<Vec<_>>(),
        "the last run exceeds the bound"
    );
}

#[test]
fn a_run_tells_who_asked_for_each_command() {
    let mut seat = fresh();
    for (port, sessions) in [(1, 0..2), (1, 2..3), (2, 3..5), (1, 5..6)] {
        assert_eq!(seat.admit(address(port), firsts(sessions, "x"), true), []);
    }
    assert_eq!(runs(&seat.flush()), [(0, 6)]);
    let asked = [(1, vec![0, 1, 2]), (2, vec![3, 4]), (1, vec![5])];
    let expect = |from: usize| {
        let keep = |(port, ids): (u16, Vec<u64>)| {
            let ids: Vec<u64> = ids.into_iter().filter(|id| *id >= from as u64).collect();
            (!ids.is_empty()).then_some((address(port), ids))
        };
        asked.clone().into_iter().filter_map(keep).collect::<Vec<_>>()
    };
    for applied in 0..=6 {
        seat.apply(applied as u64);
        assert_eq!(seat.left(), expect(applied));
        assert_eq!(seat.phase2.pending_us().is_some(), applied < 6);
    }
}

#[test]
fn a_run_around_the_skipped_slot_keeps_who_asked_for_what() {
    for skipped in 0..=6 {
        let settings = Settings { skip_slot: Some(Slot(skipped)), ..settings(3, R0) };
        let mut seat = begin(settings, 0, &[], 0);
        for (port, sessions) in [(1, 0..2), (2, 2..5)] {
            assert_eq!(seat.admit(address(port), firsts(sessions, "x"), true), []);
        }
        let all: Vec<u64> = (0..6).filter(|slot| *slot != skipped).take(5).collect();
        assert_eq!(slots(&seat.flush()), all);
        assert_eq!(seat.left().concat_sessions(), [0, 1, 2, 3, 4]);
        for (origin, sessions) in seat.left() {
            let expected = if sessions[0] < 2 { address(1) } else { address(2) };
            assert_eq!(origin, expected, "slot {skipped} is skipped: {sessions:?}");
        }
    }
}

#[test]
fn slots_decided_below_the_start_of_phase_2_are_waited_for() {
    let mut seat = begin(settings(3, R0), 5, &[], 3);
    assert!(seat.phase2.pending_us().is_some());
    seat.apply(5);
    assert!(seat.phase2.pending_us().is_none());
    seat.apply(6);
    assert!(seat.phase2.pending_us().is_none());
    assert_eq!(seat.phase2.deadline(), None);
}

#[test]
fn only_what_is_tallied_at_its_own_ballot_is_told_to_be_decided() {
    let mut seat = fresh();
    seat.take(firsts(0..5, "x"));
    seat.flush();
    let own = decided(0, 0, 4);
    seat.phase2.handle_progress(seat.now, Slot(4), own);
    seat.phase2.handle_progress(seat.now, Slot(4), decided(3, 0, 5));
    assert_eq!(seat.phase2.decided(), own);
}

// --- sending again -------------------------------------------------------------------

#[test]
fn a_proposal_is_sent_again_when_it_has_waited_and_not_before() {
    let mut seat = fresh();
    seat.now = Time(500);
    seat.take(one(1, 0));
    seat.flush();
    let due = seat.now.plus_us(RESEND_US);
    assert_eq!(seat.phase2.deadline(), Some(due));
    seat.now = Time(10_000);
    seat.take(one(2, 0));
    seat.flush();
    assert_eq!(seat.phase2.deadline(), Some(due), "the timer belongs to the oldest proposal");
    assert_eq!(runs(&seat.time_out()), [], "woken early");
    assert_eq!(seat.phase2.deadline(), Some(due));
    seat.now = due;
    assert_eq!(runs(&seat.time_out()), [(0, 1)]);
    assert_eq!(seat.phase2.deadline(), Some(due.plus_us(RESEND_US / 2)));
    seat.now = due.plus_us(RESEND_US / 2);
    assert_eq!(runs(&seat.time_out()), [(1, 1)]);
}

#[test]
fn the_wait_follows_what_it_takes_to_be_applied_unless_it_was_sent_again() {
    let mut seat = fresh();
    seat.take(one(1, 0));
    seat.flush();
    seat.now = seat.now.plus_us(RESEND_US);
    assert_eq!(runs(&seat.time_out()), [(0, 1)]);
    seat.now = seat.now.plus_us(10);
    seat.apply(1);
    seat.take(one(2, 0));
    seat.flush();
    let wait = |seat: &Subject| seat.phase2.deadline().expect("something").since_us(seat.now);
    assert_eq!(wait(&seat), RESEND_US, "it is not known which of the two was answered");
    seat.now = seat.now.plus_us(2_000);
    seat.apply(2);
    seat.take(one(3, 0));
    seat.flush();
    assert_eq!(
        wait(&seat),
        2 * 2_000,
        "the measured time, and twice its deviation, which is half of it"
    );
}

#[test]
fn what_is_sent_again_in_one_turn_is_bounded_in_bytes_but_one_run_always_goes() {
    let mut seat = fresh();
    let line = line_for(1 << 15);
    for session in 0..5 {
        seat.take(firsts(session..session + 1, &line));
        seat.flush();
    }
    seat.take(firsts(10..14, &line));
    seat.flush();
    // Long lines have more time.
    seat.now = seat.phase2.deadline().expect("something is proposed");
    seat.now = seat.now.plus_us(commit_us(1 << 15, 3));
    let mut sent = Vec::new();
    while sent.len() < 4 {
        sent.push(runs(&seat.time_out()));
        seat.now = seat.phase2.deadline().expect("something is proposed");
    }
    assert_eq!(sent[0], [(0, 1), (1, 1)]);
    assert_eq!(sent[1], [(2, 1), (3, 1)]);
    assert_eq!(sent[2][0], (4, 1));
    assert!(sent.concat().contains(&(5, 4)), "{sent:?}");
}

#[test]
fn what_is_lost_again_is_sent_again_once_an_answer_could_have_come() {
    let mut seat = fresh();
    seat.take(firsts(0..12, &"x".repeat(300)));
    seat.flush();
    seat.now = Time(5_000);
    assert_eq!(slots(&seat.lose(4, 3)), [4, 5, 6]);
    assert!(slots(&seat.lose(5, 1)).is_empty(), "the proposal may still be in the network");
    assert_eq!(slots(&seat.lose(7, 1)), [7], "slot 7 was not sent again yet");
    seat.now = Time(5_000 + RESEND_US - 1);
    assert!(slots(&seat.lose(4, 4)).is_empty());
    seat.now = Time(5_000 + RESEND_US);
    assert_eq!(slots(&seat.lose(4, 4)), [4, 5, 6, 7]);
    assert_eq!(slots(&seat.lose(11, 5)), [11], "slots above the proposed ones are not sent");
}

// --- a slow world ------------------------------------------------------------------

/// A quorum answers in 700 ms, and its disks take as long again.
const SLOW: Waits = Waits {
    trip_us: 600_000,
    answer_us: 700_000,
    save_us: 1_400_000,
    answers_fail_us: 0,
    saves_fail_us: 0,
    own_save_fails_us: 0,
    own_save_us: 0,
    election_min_us: 0,
    election_max_us: 0,
    stall_us: 0,
};

#[test]
fn where_a_quorum_takes_long_a_proposal_is_sent_again_only_after_that() {
    let outcome = || Phase1Outcome { first: Slot(0), values: Default::default(), held: vec![] };
    let mut known = Subject {
        phase2: Phase2::begin(settings(3, R0), Ballot(0), outcome(), Slot(0), SLOW, Time(0)),
        now: Time(0),
    };
    let mut heard_later = fresh();
    heard_later.phase2.set_waits(SLOW);
    for (seat, name) in [(&mut known, "known"), (&mut heard_later, "heard later")] {
        seat.take(one(5, 0));
        assert_eq!(slots(&seat.flush()), [0]);
        let first = loop {
            seat.now = seat.phase2.deadline().expect("a proposal waits");
            if !seat.time_out().is_empty() {
                break seat.now.0;
            }
        };
        assert!((SLOW.save_us..2 * SLOW.save_us).contains(&first), "{name}: {first}");
        // However long it took to be applied: that is no measure of the way.
        seat.now = Time(60_000_000);
        seat.apply(1);
        seat.take(one(6, 0));
        seat.flush();
        seat.now = seat.now.plus_us(2 * SLOW.save_us);
        assert_eq!(slots(&seat.time_out()), [1], "{name}");
    }
}

#[test]
fn a_peer_that_holds_a_value_is_told_so_the_first_time_and_gets_the_value_later() {
    let values: Vec<Value> = (0..4).map(|slot| command(slot, 0, "x")).collect();
    let at = |first, len| Span { slots: range(first, len), ballot: Ballot(2) };
    let spans = |spans: &[Span]| spans.iter().copied().collect::<Spans>();
    let held = vec![spans(&[at(0, 4)]), spans(&[at(0, 1), at(2, 1)]), spans(&[])];
    let outcome = Phase1Outcome { first: Slot(0), values: values.as_slice().into(), held };
    let phase2 =
        Phase2::begin(settings(3, R0), Ballot(3), outcome, Slot(0), Waits::default(), Time(0));
    let mut seat = Subject { phase2, now: Time(0) };
    seat.take(one(9, 0));
    let sent = seat.flush();
    let named = |to| -> Vec<Spans> {
        let pick = |(peer, message)| match message {
            ToAcceptor::AcceptHeld { ballot, held } if peer == to => {
                assert_eq!(ballot, Ballot(3));
                Some(held)
            }
            _ => None,
        };
        to_acceptors(&sent).into_iter().filter_map(pick).collect()
    };
    assert_eq!((named(R0), named(R2)), (vec![], vec![]));
    assert_eq!(named(R1), [spans(&[at(0, 1), at(2, 1)])]);
    assert_eq!(slots(&sent), [1, 3, 4], "the values that replica 1 lacks, and the own one");
    assert_eq!(runs(&sent), [(0, 4), (4, 1)], "the own acceptor gets all");
    seat.now = seat.phase2.deadline().expect("they wait");
    let again = seat.time_out();
    assert_eq!(slots(&again), [0, 1, 2, 3, 4], "whatever it has said");
    let mark = |(_, message)| match message {
        ToAcceptor::Accept(accept) => accept.decided,
        other => panic!("{other:?} is sent again"),
    };
    let marks: Vec<Decided> = to_acceptors(&again).into_iter().map(mark).collect();
    assert_eq!(marks, vec![decided(3, 0, 0); marks.len()], "so votes repeat what they may");
}

#[test]
fn what_is_passed_over_is_not_lost_while_a_message_may_have_been_overtaken() {
    let mut seat = fresh();
    seat.take(one(5, 0));
    seat.flush();
    assert_eq!(slots(&seat.lose(0, 1)), [0], "messages that take the same time do not overtake");
    let mut seat = fresh();
    seat.take(one(5, 0));
    seat.flush();
    let mut lose = |at| {
        seat.now = Time(at);
        slots(&seat.lose_to(&[R1], range(0, 1), |_| SLOW.answer_us))
    };
    assert!(lose(SLOW.answer_us - 1).is_empty());
    assert_eq!(lose(SLOW.answer_us), [0]);
    assert!(lose(2 * SLOW.answer_us - 1).is_empty(), "it may still be on its way");
    assert_eq!(lose(2 * SLOW.answer_us), [0]);
}

#[test]
fn each_peer_is_sent_what_it_lacks_at_its_own_pace() {
    let mut seat = fresh();
    seat.take(one(5, 0));
    seat.flush();
    let answer_us = |peer| if peer == R1 { 1_000 } else { 30_000 };
    let mut asked = |at, peers: &[ReplicaId]| {
        seat.now = Time(at);
        let sent = seat.lose_to(peers, range(0, 1), answer_us);
        let to = |it: &Envelope| match it {
            Envelope::Peer { to, .. } => Some(*to),
            _ => None,
        };
        sent.iter().filter_map(to).collect::<Vec<_>>()
    };
    assert_eq!(asked(5_000, &[R1]), [R1], "replica 2 does not lack it");
    assert_eq!(asked(5_500, &[R1, R2]), [R2]);
    assert_eq!(asked(6_000, &[R1, R2]), [R1]);
    assert_eq!(asked(35_499, &[R1, R2]), [R1]);
    assert_eq!(asked(35_500, &[R2]), [R2]);
    // All of it was sent again to everybody.
    seat.now = Time(60_000);
    assert_eq!(slots(&seat.time_out()), [0]);
    assert!(slots(&seat.lose_to(&[R1, R2], range(0, 1), answer_us)).is_empty());
    seat.now = Time(61_000);
    assert_eq!(slots(&seat.lose_to(&[R1, R2], range(0, 1), answer_us)), [0]);
}

#[test]
fn all_copies_but_the_first_are_the_same_to_the_byte() {
    let mut seat = fresh();
    seat.take(firsts(0..2, "hi"));
    let marks = |sent: &[Envelope]| -> Vec<Decided> {
        let mark = |it: &Envelope| match it {
            Envelope::Peer { message: Message::Acceptor(ToAcceptor::Accept(accept)), .. } => {
                Some(accept.decided)
            }
            _ => None,
        };
        sent.iter().filter_map(mark).collect()
    };
    seat.phase2.handle_progress(seat.now, Slot(0), decided(0, 0, 0));
    assert_eq!(marks(&seat.flush()).len(), 3);
    seat.phase2.handle_progress(seat.now, Slot(1), decided(0, 0, 1));
    assert_eq!(marks(&seat.lose(1, 1)), [decided(0, 0, 0); 2]);
    seat.now = Time(60_000);
    assert_eq!(marks(&seat.time_out()), [decided(0, 0, 0); 3]);
}

// --- what is under way -------------------------------------------------------------------

#[test]
fn as_long_as_acceptors_answer_nothing_is_sent_again_by_time() {
    let mut seat = fresh();
    seat.take(firsts(0..20, "x"));
    seat.flush();
    for slot in 1..10 {
        seat.now = seat.now.plus_us(RESEND_US - 1);
        assert_eq!(runs(&seat.time_out()), []);
        seat.apply(slot);
    }
    seat.now = seat.now.plus_us(RESEND_US);
    assert_eq!(runs(&seat.time_out()), [(9, 11)]);
}

#[test]
fn votes_for_a_long_line_are_asked_for_by_its_name_until_a_copy_is_due() {
    let mut seat = fresh();
    seat.take(firsts(0..1, &line_for(60_000)));
    seat.flush();
    let mut named = Spans::default();
    named.push(SlotRange::with_len(Slot(0), 1), Ballot::ZERO);
    let (mut asked_ms, mut copied_ms) = (Vec::new(), Vec::new());
    for ms in 1..4_000 {
        seat.now = Time(1_000 * ms);
        for (to, message) in to_acceptors(&seat.time_out()) {
            match message {
                ToAcceptor::AcceptHeld { ballot, held } => {
                    assert_eq!((ballot, &held), (Ballot::ZERO, &named));
                    asked_ms.extend((to == R1).then_some(ms));
                }
                ToAcceptor::Accept(_) => copied_ms.extend((to == R1).then_some(ms)),
                other => panic!("{other:?}"),
            }
        }
    }
    // The wait for an answer doubles up to sixteen times. A slow path carries the line in 3 s.
    assert_eq!(asked_ms, [40, 120, 280, 600, 1_240, 1_880, 2_520, 3_080, 3_160, 3_320, 3_640]);
    assert_eq!(copied_ms, [3_040]);
}

#[test]
fn whoever_holds_a_long_line_since_an_earlier_ballot_is_told_again_until_it_is_applied() {
    let line = line_for(60_000);
    let values = [command(0, 0, &line), command(1, 0, "short")];
    let spans = |spans: &[(u64, u64)]| -> Spans {
        let span =
            |(slot, ballot): &(u64, u64)| Span { slots: range(*slot, 1), ballot: Ballot(*ballot) };
        spans.iter().map(span).collect()
    };
    let held = vec![spans(&[(0, 2)]), spans(&[(0, 2)]), Spans::default()];
    let outcome = Phase1Outcome { first: Slot(0), values: values.as_slice().into(), held };
    let phase2 =
        Phase2::begin(settings(3, R0), Ballot(3), outcome, Slot(0), Waits::default(), Time(0));
    let mut seat = Subject { phase2, now: Time(0) };
    let named = |seat: &mut Subject| -> Vec<(ReplicaId, Spans)> {
        loop {
            seat.flush();
            seat.now = seat.phase2.deadline().expect("it waits");
            let pick = |(peer, message)| match message {
                ToAcceptor::AcceptHeld { held, .. } => Some((peer, held)),
                _ => None,
            };
            let all: Vec<_> = to_acceptors(&seat.time_out()).into_iter().filter_map(pick).collect();
            if !all.is_empty() {
                return all;
            }
        }
    };
    let mut both = Spans::default();
    both.push(range(0, 2), Ballot(3));
    for _ in 0..3 {
        let all = [(R1, spans(&[(0, 2), (1, 3)])), (R2, both.clone())];
        assert_eq!(named(&mut seat), all, "replica 2 was sent both");
    }
    seat.apply(2);
    seat.take(firsts(5..6, &line));
    assert_eq!(named(&mut seat), [R1, R2].map(|to| (to, spans(&[(2, 3)]))));
}

#[test]
fn an_accept_of_a_long_line_is_the_same_to_the_byte_whenever_it_is_sent() {
    let mut seat = fresh();
    seat.take(firsts(0..1, "short"));
    seat.take(firsts(1..2, &line_for(60_000)));
    let accept_of = |slot: u64, envelopes: &[Envelope]| {
        let pick = |(to, message)| match message {
            ToAcceptor::Accept(accept) if to == R1 && accept.first == Slot(slot) => Some(accept),
            _ => None,
        };
        to_acceptors(envelopes).into_iter().find_map(pick)
    };
    let first = accept_of(1, &seat.flush()).expect("the long line is proposed");
    seat.phase2.handle_progress(seat.now, Slot(1), decided(0, 0, 1));
    seat.now = seat.now.plus_us(10_000_000);
    assert_eq!(accept_of(1, &seat.time_out()), Some(first));
    seat.take(firsts(2..3, "short"));
    let next = accept_of(2, &seat.flush()).expect("it is proposed");
    assert_eq!(next.decided, decided(0, 0, 1), "a short one says what is decided");
}
