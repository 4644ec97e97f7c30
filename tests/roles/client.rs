//! The client role: it has one line in flight until that line is complete.

use crate::common::*;
use multipaxos::client::{ASK_ALL_US, Client, Input, Outcome, SESSION_IDLE_US};
use multipaxos::message::{Answer, ClientMessage, Request};
use multipaxos::paxos::{Envelope, Role, Storage};
use multipaxos::storage::upkeep::Upkeep;
use multipaxos::types::{Attempt, Ballot, ClientId, Line, ReplicaId, Session, Slot, Time};
use std::io;

#[derive(Default)]
struct Told(Vec<Outcome>);

impl Upkeep for Told {}

impl Storage<Outcome> for Told {
    fn append(&mut self, records: &mut Vec<Outcome>) -> io::Result<()> {
        self.0.append(records);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Subject = Seat<Client, Told>;

const ME: ClientId = ClientId(5);

fn client(timeout_us: Option<u64>) -> Subject {
    Seat::new(Client::new(ME, 3, timeout_us), Told::default())
}

fn submit(line: &str, session: u64) -> Input {
    Input::Submit { line: Line::from(line), session }
}

fn welcome(from: ReplicaId, applied: u64, ballot: u64) -> Input {
    let (applied, ballot) = (Slot(applied), Ballot(ballot));
    Input::Answer(from, Answer::Welcome { applied, ballot })
}

fn complete(session: u64, seq: u64, slot: u64, client_seq: u64) -> Input {
    let session = Session { client: ME, id: session };
    let (slot, attempt) = (Slot(slot), Attempt::FIRST);
    Input::Answer(R0, Answer::Complete { session, seq, slot, client_seq, attempt })
}

/// The requests among the messages, and their receivers.
fn requests(envelopes: &[Envelope]) -> Vec<(ReplicaId, Request)> {
    let pick = |(to, message)| match message {
        ClientMessage::Request(request) => Some((to, request)),
        ClientMessage::Hello
        | ClientMessage::Inquiry(_)
        | ClientMessage::Status(_)
        | ClientMessage::Follow(_)
        | ClientMessage::Mark { .. }
        | ClientMessage::Members(_) => None,
    };
    calls(envelopes).into_iter().filter_map(pick).collect()
}

fn hellos(envelopes: &[Envelope]) -> Vec<ReplicaId> {
    let is_hello = |(_, message): &(ReplicaId, ClientMessage)| *message == ClientMessage::Hello;
    calls(envelopes).into_iter().filter(is_hello).map(|(to, _)| to).collect()
}

/// A client whose first line is in flight in session 1.
fn in_flight() -> Subject {
    let mut seat = client(None);
    seat.handle(submit("a", 1));
    seat.handle(welcome(R0, 0, 0));
    seat
}

#[test]
fn a_session_is_born_where_the_welcome_says_and_numbers_its_lines_from_0() {
    let mut seat = client(None);
    assert_eq!(hellos(&seat.handle(submit("a", 77))), [R0]);
    let sent = requests(&seat.handle(welcome(R1, 9, 4)));
    let [(to, request)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(*to, R1, "ballot 4 of three belongs to replica 1");
    let command = &request.command();
    assert_eq!((command.session.client, command.session.id), (ME, 77));
    assert_eq!((command.seq, command.birth, &*command.line), (0, Slot(9), "a"));
    seat.handle(complete(77, 0, 12, 3));
    let complete = Outcome::Complete {
        client: ME,
        seq: 3,
        slot: Slot(12),
        took_us: 0,
        response: Some(multipaxos::machine::Response::EMPTY),
    };
    assert_eq!(seat.storage.0, [complete]);
    let sent = requests(&seat.handle(submit("b", 78)));
    let [(_, request)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((request.command().session.id, request.command().seq), (77, 1));
    assert_eq!(request.after, Slot(13), "every completed line is below slot 13");
}

#[test]
#[should_panic(expected = "one line in flight")]
fn one_line_is_in_flight_at_a_time() {
    let mut seat = in_flight();
    seat.handle(submit("b", 2));
}

#[test]
fn a_line_is_asked_again_as_soon_as_answers_usually_come_and_of_all_only_later() {
    let mut seat = in_flight();
    for seq in 0..20 {
        seat.wait_us(2_000);
        seat.handle(complete(1, seq, seq, seq));
        assert_eq!(requests(&seat.handle(submit("next", 9))).len(), 1);
    }
    let begun = seat.now;
    let mut asked = Vec::new();
    while asked.len() < 12 {
        for (to, request) in requests(&seat.wait_us(100)) {
            assert_eq!(request.command().seq, 20);
            asked.push((seat.now.since_us(begun), to));
        }
    }
    let first: Vec<_> = asked.iter().take_while(|(at, _)| *at < ASK_ALL_US).collect();
    assert!(first.iter().all(|(_, to)| *to == R0), "{asked:?}");
    assert!((2_000..4_000).contains(&first[0].0), "{asked:?}");
    assert!((3..8).contains(&first.len()), "the waits grow: {asked:?}");
    let rest: Vec<_> = asked[first.len()..].iter().map(|(_, to)| *to).collect();
    assert_eq!(rest[..4], [R0, R1, R0, R2], "one other, and then all");
}

#[test]
fn where_answers_take_long_a_line_is_asked_once() {
    let mut seat = in_flight();
    let mut asked = Vec::new();
    for seq in 0..6 {
        let mut sent = seat.wait_us(ASK_ALL_US);
        if !sent.is_empty() {
            seat.wait_us(300);
            seat.handle(has_line(R0, seq, 0));
        }
        sent.extend(seat.wait_us(1_300_000));
        asked.push(requests(&sent).len());
        seat.handle(complete_by(R0, seq));
        seat.handle(submit("next", 9));
    }
    assert!(asked[0] >= 3, "nobody knew: {asked:?}");
    assert_eq!(asked[1..], [0; 5]);
    // The leader dies, and another replica is asked a little later than it usually answers.
    let sent = requests(&seat.wait_us(2 * 1_400_000));
    assert_eq!(sent[..2].iter().map(|(to, _)| *to).collect::<Vec<_>>(), [R0, R1]);
}

/// The leader has the line.
fn has_line(from: ReplicaId, seq: u64, ballot: u64) -> Input {
    let session = Session { client: ME, id: 1 };
    Input::Answer(from, Answer::Held { session, seq, ballot: Ballot(ballot) })
}

/// A client whose last lines were each answered after this time, and whose next line is in flight.
fn answered_after(us: u64) -> Subject {
    let mut seat = in_flight();
    for seq in 0..20 {
        seat.wait_us(us);
        seat.handle(complete_by(R0, seq));
        seat.handle(submit("next", 9));
    }
    seat
}

/// How long the client waits for the answer to the next line before it asks again.
fn waits_us(seat: &mut Subject) -> u64 {
    let begun = seat.now;
    seat.handle(submit("next", 9));
    while requests(&seat.wait_us(100)).is_empty() {}
    seat.now.since_us(begun)
}

/// The line `seq` is complete, and the leader had it by this attempt of its client.
fn complete_of(seq: u64, attempt: Attempt) -> Input {
    let session = Session { client: ME, id: 1 };
    let (slot, client_seq) = (Slot(seq), seq);
    Input::Answer(R0, Answer::Complete { session, seq, slot, client_seq, attempt })
}

#[test]
fn an_answer_is_measured_from_the_attempt_that_it_names() {
    let all = [
        (Attempt::FIRST, 60_000..61_000),
        (Attempt::after(1), 55_000..56_000),
        (Attempt::UNKNOWN, 3_000..15_000),
    ];
    for (attempt, expected) in all {
        let mut seat = answered_after(2_000);
        for seq in 20..22 {
            // The second attempt comes three milliseconds after the first one.
            assert!(!requests(&seat.wait_us(20_000)).is_empty());
            seat.wait_us(20_000);
            seat.handle(complete_of(seq, attempt));
            if seq == 20 {
                seat.handle(submit("next", 9));
            }
        }
        let waited_us = waits_us(&mut seat);
        assert!(expected.contains(&waited_us), "{attempt:?}: {waited_us}");
    }
}

#[test]
fn one_slow_answer_among_fast_ones_makes_no_long_wait() {
    let mut seat = answered_after(90_000);
    seat.wait_us(7_000_000);
    seat.handle(complete_by(R0, 20));
    let waited_us = waits_us(&mut seat);
    assert!((134_000..136_000).contains(&waited_us), "half as long again: {waited_us}");
}

#[test]
fn what_a_follower_says_of_a_line_that_the_leader_had_before_is_not_measured() {
    let mut seat = answered_after(2_000);
    seat.wait_us(7_000_000);
    seat.handle(complete_by(R1, 20));
    seat.handle(submit("next", 9));
    seat.wait_us(7_000_000);
    seat.handle(complete_by(R1, 21));
    assert!(waits_us(&mut seat) <= ASK_ALL_US);
}

/// Forty percent of all datagrams are lost. A line is decided some milliseconds after a copy of it
/// has reached the leader, and each copy that comes then is answered at once.
#[test]
fn lost_datagrams_are_not_taken_for_slow_answers() {
    for seed in 0..20 {
        let mut rng = seeds::stream(seed, "losses");
        let mut seat = in_flight();
        seat.handle(complete_by(R0, 0));
        let begun = seat.now;
        for seq in 1..=200 {
            let mut copies = seat.handle(submit("next", 9));
            let mut decided: Option<(Time, Attempt)> = None;
            let mut answers: Vec<(Time, Attempt)> = Vec::new();
            loop {
                for (to, request) in requests(&copies) {
                    if to != R0 || rng.f64() < 0.4 {
                        continue;
                    }
                    let retries = (0..).take_while(|_| rng.f64() < 0.6).count() as u64;
                    let at = seat.now.plus_us(300 + 5_000 * retries);
                    let (at, attempt) = *decided.get_or_insert((at, request.attempt));
                    let soon = seat.now.plus_us(300);
                    if rng.f64() >= 0.4 {
                        let was_complete = at < soon;
                        let attempt = if was_complete { Attempt::UNKNOWN } else { attempt };
                        answers.push((at.max(soon), attempt));
                    }
                }
                if let Some((_, attempt)) = answers.iter().find(|(at, _)| *at <= seat.now) {
                    seat.handle(complete_of(seq, *attempt));
                    break;
                }
                copies = seat.wait_us(100);
            }
        }
        let mean_us = seat.now.since_us(begun) / 200;
        assert!(mean_us < 300_000, "seed {seed}: {} ms", mean_us / 1_000);
    }
}

#[test]
fn an_outage_says_nothing_about_how_long_answers_take() {
    for news in [Some(leader(R1, 1)), None] {
        let mut seat = in_flight();
        (0..20).for_each(|seq| {
            seat.wait_us(2_000);
            seat.handle(complete_by(R0, seq));
            seat.handle(submit("next", 9));
        });
        seat.wait_us(1_400_000);
        let has_news = news.is_some();
        news.into_iter().for_each(|news| drop(seat.handle(news)));
        seat.handle(complete_by(R1, 20));
        seat.handle(submit("next", 9));
        let sent = called(&seat.wait_us(ASK_ALL_US));
        assert!(!sent.is_empty(), "a new leader is known: {has_news}");
    }
}

#[test]
fn a_line_without_an_answer_goes_to_the_others_in_turn_less_and_less_often() {
    let mut seat = in_flight();
    let mut rounds = Vec::new();
    for _ in 0..3_000 {
        let sent = requests(&seat.wait_us(10_000));
        if let Some((first, request)) = sent.first() {
            assert_eq!((*first, request.command().seq), (R0, 0));
            let others: Vec<_> = sent[1..].iter().map(|(to, _)| *to).collect();
            rounds.push((seat.now.0 / 1_000, others));
        }
    }
    let expected = [vec![R1], vec![R2, R1], vec![R2, R1]];
    assert!(rounds.iter().zip(&expected).all(|((_, others), it)| others == it), "{rounds:?}");
    assert!(rounds[2..].iter().all(|(_, others)| others.len() == 2), "{rounds:?}");
    assert!(rounds[2].0 - rounds[1].0 >= 190, "{rounds:?}");
    for pair in rounds[2..].windows(2) {
        let (waited, gap) = (pair[0].0, pair[1].0 - pair[0].0);
        let least = (waited / 16).clamp(300, 1_000);
        assert!((least - 10..=least + 10).contains(&gap), "{gap} ms at {waited} ms");
    }
}

#[test]
fn where_answers_take_long_a_lost_line_is_missed_within_seconds() {
    let mut seat = answered_after(8_000_000);
    let next = |seat: &mut Subject| loop {
        let (copies, asked) = copies_and_inquiries(&seat.wait_us(10_000));
        if !copies.is_empty() || !asked.is_empty() {
            break (seat.now, copies, asked);
        }
    };
    let sent_at = seat.now;
    let mut waited_ms = || {
        let (now, copies, asked) = next(&mut seat);
        (now.since_us(sent_at) / 1_000, copies, asked)
    };
    assert_eq!(waited_ms(), (1_000, vec![], vec![R0]), "has it come?");
    assert_eq!(waited_ms(), (2_000, vec![], vec![R0]), "the question was lost");
    assert_eq!(copies_and_inquiries(&seat.handle(leader(R0, 0))), (vec![R0], vec![]));
    let mut waited_ms = || {
        let (now, copies, asked) = next(&mut seat);
        (now.since_us(sent_at) / 1_000, copies, asked)
    };
    assert_eq!(waited_ms(), (3_000, vec![], vec![R0]), "has that one come?");
    assert_eq!(waited_ms(), (6_000, vec![], vec![R0]), "and is it complete?");
    // The others are asked when hardly any answer takes as long, and soon again.
    for (at, copies) in [(10_000, vec![R0, R1]), (11_000, vec![R0, R2, R1])] {
        let round = waited_ms();
        assert_eq!((round.0, round.1), (at, copies));
    }
    assert_eq!(waited_ms().0, 12_000);
}

#[test]
fn where_replicas_answer_a_line_that_waits_is_asked_for_ever_more_rarely() {
    let mut seat = in_flight();
    let mut times = Vec::new();
    for _ in 0..3_000 {
        if !calls(&seat.wait_us(10_000)).iter().all(|(_, it)| *it == ClientMessage::Hello) {
            times.push(seat.now.0 / 1_000);
            seat.handle(leader(R1, 0));
        }
    }
    for pair in times[1..].windows(2) {
        let (waited, gap) = (pair[0], pair[1] - pair[0]);
        let rest = (waited / 2).min(2_000);
        assert!((rest..=rest.max(300) + 20).contains(&(gap + 10)), "{times:?} ms");
    }
    assert!(times.len() < 22, "{times:?} ms");
}

#[test]
fn a_round_that_is_lost_is_asked_again_after_the_usual_wait_whatever_was_answered_before() {
    let mut seat = in_flight();
    let next_round = |seat: &mut Subject| loop {
        if !calls(&seat.wait_us(10_000)).iter().all(|(_, it)| *it == ClientMessage::Hello) {
            break seat.now.0 / 1_000;
        }
    };
    let mut answered = 0;
    while answered < 2_000 {
        answered = next_round(&mut seat);
        seat.handle(leader(R1, 0));
    }
    let lost = next_round(&mut seat);
    assert!((lost - answered).abs_diff(answered / 2) <= 20, "{answered} ms, {lost} ms");
    let again = next_round(&mut seat);
    assert!((290..=460).contains(&(again - lost)), "{answered} ms, {lost} ms, {again} ms");
    // Where rounds are lost, answers are: the next one comes sooner than it would otherwise.
    seat.handle(leader(R1, 0));
    let next = next_round(&mut seat);
    assert!((next - again).abs_diff(again / 4) <= 20, "{again} ms, {next} ms");
}

#[test]
fn a_line_is_not_sent_again_to_a_replica_that_has_it() {
    let mut seat = in_flight();
    let round = |seat: &mut Subject| loop {
        let (copies, asked) = copies_and_inquiries(&seat.wait_us(10_000));
        if !copies.is_empty() || !asked.is_empty() {
            break (copies, asked);
        }
    };
    assert_eq!(round(&mut seat), (vec![R0, R1], vec![]));
    seat.handle(has_line(R1, 0, 0));
    assert_eq!(round(&mut seat), (vec![R0, R2], vec![]), "the leader has said nothing");
    seat.handle(has_line(R0, 0, 0));
    assert_eq!(round(&mut seat), (vec![], vec![R0, R1]), "each has it");
    seat.handle(has_line(R0, 0, 0));
    assert_eq!(round(&mut seat), (vec![R2], vec![R0]));
    let sent = copies_and_inquiries(&seat.handle(leader(R0, 0)));
    assert_eq!(sent, (vec![R0], vec![]), "it has it no more, and gets it at once");
    assert!(seat.handle(leader(R0, 0)).is_empty(), "it was not asked without the line again");
    let sent = seat.handle(leader(R2, 2));
    assert_eq!(copies_and_inquiries(&sent), (vec![R2], vec![]), "another leader has not");
    assert_eq!(round(&mut seat).0[..1], [R2]);
    let sent = seat.handle(leader(R2, 4));
    assert_eq!(copies_and_inquiries(&sent), (vec![], vec![R1]), "the next one has it");
}

#[test]
fn late_word_of_a_leader_makes_no_question_about_a_line_that_is_not_sent_yet() {
    let mut seat = in_flight();
    seat.handle(has_line(R1, 0, 0));
    seat.handle(complete(1, 0, 0, 0));
    // R1 leads now, and the client was told that R1 has the line.
    assert_eq!(seat.handle(leader(R1, 1)), []);
    // A replica that lags would say that line 1 of this session has expired.
    let (copies, asked) = copies_and_inquiries(&seat.handle(submit("b", 1)));
    assert_eq!((copies, asked), (vec![R1], vec![]), "the word counts all the same");
}

#[test]
fn late_word_about_the_line_before_does_not_keep_a_lost_line_from_being_sent_again() {
    let mut seat = in_flight();
    seat.handle(complete(1, 0, 0, 0));
    // The line is lost, and only then the answer to a copy of the line before comes.
    seat.handle(submit("b", 1));
    seat.handle(has_line(R0, 0, 0));
    let mut copies_to_leader = 0;
    for _ in 0..290 {
        let (copies, asked) = copies_and_inquiries(&seat.wait_us(10_000));
        copies_to_leader += copies.iter().filter(|to| **to == R0).count();
        assert_eq!(asked, []);
    }
    assert!(copies_to_leader >= 2, "{copies_to_leader}");
}

#[test]
fn repeated_requests_are_spread() {
    let mut seat = in_flight();
    seat.wait_us(ASK_ALL_US - 1);
    seat.now = seat.now.plus_us(1);
    seat.draw = 120_001;
    assert_eq!(requests(&seat.wake()).len(), 2);
    let wait_us = seat.role.deadline().expect("a line is in flight").since_us(seat.now);
    assert_eq!(wait_us, ASK_ALL_US + 20_001, "up to half of the wait is added");
}

#[test]
fn a_line_waits_for_its_session_and_then_for_its_answer() {
    let mut seat = client(None);
    let phases = |seat: &Subject| (seat.role.is_busy(), seat.role.is_opening(), seat.role.line());
    assert_eq!(phases(&seat), (false, false, None));
    seat.handle(submit("a", 1));
    assert_eq!(phases(&seat), (true, true, Some(Line::from("a"))));
    seat.handle(welcome(R0, 0, 0));
    assert_eq!(phases(&seat), (true, false, Some(Line::from("a"))));
    seat.handle(complete(1, 0, 0, 0));
    assert_eq!(phases(&seat), (false, false, None));
}

#[test]
fn hellos_are_sent_again_too() {
    let mut seat = client(None);
    seat.handle(submit("a", 1));
    assert_eq!(hellos(&seat.wait_us(150_000)), [R0, R1]);
    assert_eq!(requests(&seat.handle(welcome(R2, 0, 0))).len(), 1);
    assert_eq!(requests(&seat.handle(welcome(R1, 5, 0))), [], "one session is enough");
}

#[test]
fn a_hello_that_nobody_answers_is_sent_to_one_replica_more_each_time() {
    let mut seat = client(None);
    seat.handle(submit("a", 1));
    let mut rounds = Vec::new();
    while rounds.len() < 3 {
        let asked = hellos(&seat.wait_us(1_000));
        rounds.extend((!asked.is_empty()).then_some(asked));
    }
    assert_eq!(rounds, [vec![R0, R1], vec![R0, R2, R1], vec![R0, R2, R1]]);
}

#[test]
fn the_first_line_waits_for_twice_as_long_as_its_hello_took_but_for_no_longer_than_a_second() {
    for (hello_ms, wait_ms) in [(1, 100), (50, 100), (80, 160), (5_000, 1_000)] {
        let mut seat = client(None);
        seat.handle(submit("a", 1));
        seat.wait_us(1_000 * hello_ms);
        assert_eq!(requests(&seat.handle(welcome(R0, 0, 0))).len(), 1);
        assert_eq!(requests(&seat.wait_us(1_000 * wait_ms - 1)), [], "{hello_ms} ms");
        assert_eq!(requests(&seat.wait_us(1)).len(), 2, "{hello_ms} ms");
    }
}

#[test]
fn how_long_a_hello_took_is_known_from_the_replica_that_answered_and_not_from_one_that_is_down() {
    let mut seat = client(None);
    seat.handle(submit("a", 1));
    let mut asked = Vec::new();
    while !asked.contains(&R2) {
        asked = hellos(&seat.wait_us(1_000));
    }
    seat.wait_us(1_000);
    assert_eq!(requests(&seat.handle(welcome(R2, 0, 0))).len(), 1);
    seat.handle(complete(1, 0, 0, 0));
    seat.now = seat.now.plus_us(SESSION_IDLE_US);
    seat.handle(submit("b", 2));
    let asked = hellos(&seat.wait_us(ASK_ALL_US + ASK_ALL_US / 2));
    assert!(asked.iter().any(|replica| *replica != asked[0]), "only {asked:?}");
}

#[test]
fn a_hint_sends_the_line_to_that_leader_at_once_but_only_a_newer_one() {
    let mut seat = in_flight();
    let hint = |ballot| Input::Answer(R0, Answer::Leader { ballot: Ballot(ballot) });
    let sent = requests(&seat.handle(hint(2)));
    assert_eq!(sent.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [R2]);
    for old in [2, 1, 0] {
        assert_eq!(requests(&seat.handle(hint(old))), [], "ballot {old}");
    }
    seat.handle(complete(1, 0, 0, 0));
    let sent = requests(&seat.handle(submit("b", 2)));
    assert_eq!(sent[0].0, R2, "the client remembers the leader");
}

#[test]
fn an_answer_to_another_session_or_number_is_ignored() {
    let mut seat = in_flight();
    seat.burst([complete(2, 0, 5, 5), complete(1, 1, 5, 5)]);
    let expired = |session, seq| {
        let session = Session { client: ME, id: session };
        Input::Answer(R0, Answer::Expired { session, seq })
    };
    seat.burst([expired(2, 0), expired(1, 1)]);
    let session = Session { client: ClientId(6), id: 1 };
    let other =
        Answer::Complete { session, seq: 0, slot: Slot(1), client_seq: 0, attempt: Attempt::FIRST };
    seat.handle(Input::Answer(R0, other));
    assert_eq!(seat.storage.0, []);
    assert!(seat.role.is_busy());
    seat.handle(complete(1, 0, 6, 0));
    seat.handle(complete(1, 0, 6, 0));
    assert_eq!(seat.storage.0.len(), 1, "the second answer changes nothing");
}

#[test]
fn after_an_idle_second_a_new_session_is_opened() {
    let mut seat = in_flight();
    seat.handle(complete(1, 0, 0, 0));
    seat.now = seat.now.plus_us(SESSION_IDLE_US - 1);
    assert_eq!(requests(&seat.handle(submit("b", 2)))[0].1.command().session.id, 1);
    seat.handle(complete(1, 1, 1, 1));
    seat.now = seat.now.plus_us(SESSION_IDLE_US);
    let sent = seat.handle(submit("c", 3));
    assert_eq!((hellos(&sent).len(), requests(&sent).len()), (1, 0));
    let sent = requests(&seat.handle(welcome(R0, 2, 0)));
    assert_eq!((sent[0].1.command().session.id, sent[0].1.command().seq), (3, 0));
}

#[test]
fn an_expired_session_ends_the_client_with_the_line_named() {
    let mut seat = in_flight();
    let session = Session { client: ME, id: 1 };
    seat.handle(Input::Answer(R0, Answer::Expired { session, seq: 0 }));
    assert_eq!(seat.storage.0, [Outcome::Expired { line: Line::from("a") }]);
    assert!(seat.role.has_failed() && seat.role.is_finished());
    assert_eq!(seat.handle(submit("b", 2)), []);
}

#[test]
fn a_line_whose_session_was_born_too_early_goes_by_another_session() {
    let mut seat = in_flight();
    let too_early = |from, id| {
        let session = Session { client: ME, id };
        Input::Answer(from, Answer::BornTooEarly { session, seq: 0 })
    };
    assert_eq!(seat.handle(too_early(R2, 9)), [], "that is not the session");
    assert_eq!(hellos(&seat.handle(too_early(R2, 1))), [R2], "the replica that knew better");
    assert!(seat.role.is_opening());
    let sent = requests(&seat.handle(welcome(R2, 70, 0)));
    let [(_, request)] = sent.as_slice() else { panic!("{sent:?}") };
    let (session, birth) = (request.command().session, request.command().birth);
    assert_ne!(session.id, 1, "a late answer must not be taken for one about this session");
    assert_eq!((request.command().seq, birth, &*request.command().line), (0, Slot(70), "a"));
    seat.burst([too_early(R0, 1), complete(1, 0, 3, 0)]);
    assert_eq!(seat.storage.0, [], "late answers change nothing");
    seat.handle(complete(session.id, 0, 71, 0));
    let complete = Outcome::Complete {
        client: ME,
        seq: 0,
        slot: Slot(71),
        took_us: 0,
        response: Some(multipaxos::machine::Response::EMPTY),
    };
    assert_eq!(seat.storage.0, [complete]);
    assert_eq!(requests(&seat.handle(submit("b", 2)))[0].1.command().seq, 1, "it goes on");
}

#[test]
fn a_session_is_born_above_all_that_the_client_has_seen_completed() {
    let mut seat = in_flight();
    seat.handle(complete(1, 0, 40, 0));
    seat.now = seat.now.plus_us(SESSION_IDLE_US);
    seat.handle(submit("b", 2));
    let sent = requests(&seat.handle(welcome(R2, 7, 0)));
    assert_eq!(sent[0].1.command().birth, Slot(41), "the replica that answers lags");
}

#[test]
fn a_timeout_ends_the_client_with_the_line_named_in_either_phase() {
    for opened in [false, true] {
        let mut seat = client(Some(2_000_000));
        seat.handle(submit("a", 1));
        if opened {
            seat.handle(welcome(R0, 0, 0));
        }
        seat.wait_us(1_999_999);
        assert!(!seat.role.is_finished());
        seat.wait_us(1);
        assert_eq!(seat.storage.0, [Outcome::GaveUp { line: Line::from("a") }]);
        assert!(seat.role.is_finished());
        assert_eq!(calls(&seat.wait_us(10_000_000)), []);
    }
}

#[test]
fn a_user_that_waits_long_is_told_now_and_then() {
    let mut seat = in_flight();
    seat.wait_us(10_000_000);
    let told: Vec<u64> = seat
        .storage
        .0
        .iter()
        .map(|outcome| match outcome {
            Outcome::Waiting { waited_us, answering: 0 } => waited_us / 1_000_000,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [3, 6]);
    seat.wait_us(30_000_000);
    assert_eq!(seat.storage.0.len(), 4, "after 12 and 25 seconds, too");
}

#[test]
fn who_has_answered_the_last_question_is_not_asked_whether_it_is_there() {
    let mut seat = in_flight();
    seat.wait_us(2_999_000);
    seat.handle(leader(R2, 0));
    let mut asked = hellos(&seat.wait_us(1_000));
    asked.sort();
    assert_eq!(asked, [R0, R1]);
    seat.wait_us(ASK_ALL_US);
    let told = seat.storage.0.last();
    assert!(matches!(told, Some(Outcome::Waiting { answering: 1, .. })), "{told:?}");
}

#[test]
fn a_user_that_waits_is_told_how_many_replicas_answer() {
    let mut seat = in_flight();
    seat.handle(Input::Answer(R0, Answer::Leader { ballot: Ballot(3) }));
    let asked = hellos(&seat.wait_us(3_050_000));
    assert_eq!(asked.len(), 3, "{asked:?}");
    for _ in 0..2 {
        seat.handle(Input::Answer(R2, Answer::Leader { ballot: Ballot(3) }));
    }
    seat.wait_us(100_000);
    // An answer from before says nothing about now, and one replica counts once.
    let told = seat.storage.0.last();
    assert!(matches!(told, Some(Outcome::Waiting { answering: 1, .. })), "{told:?}");
    seat.wait_us(3_200_000);
    let told = seat.storage.0.last();
    assert!(matches!(told, Some(Outcome::Waiting { answering: 0, .. })), "{told:?}");
}

#[test]
fn the_end_of_input_finishes_only_an_idle_client() {
    let mut seat = in_flight();
    seat.handle(Input::End);
    assert!(!seat.role.is_finished());
    seat.handle(complete(1, 0, 0, 0));
    assert!(seat.role.is_finished() && !seat.role.has_failed());
    let mut idle = client(None);
    idle.handle(Input::End);
    assert!(idle.role.is_finished());
}

/// The replicas that a client called with a request or a hello.
fn called(envelopes: &[Envelope]) -> Vec<ReplicaId> {
    calls(envelopes).into_iter().map(|(to, _)| to).collect()
}

fn complete_by(from: ReplicaId, seq: u64) -> Input {
    let session = Session { client: ME, id: 1 };
    let (slot, client_seq) = (Slot(seq), seq);
    Input::Answer(
        from,
        Answer::Complete { session, seq, slot, client_seq, attempt: Attempt::FIRST },
    )
}

fn leader(from: ReplicaId, ballot: u64) -> Input {
    Input::Answer(from, Answer::Leader { ballot: Ballot(ballot) })
}

/// Replica 0 has died. The client has asked others, and replica 1 has completed line 0.
fn after_a_view_change() -> Subject {
    let mut seat = in_flight();
    let asked = called(&seat.wait_us(ASK_ALL_US));
    assert!(asked.ends_with(&[R0, R1]), "{asked:?}");
    seat.handle(complete_by(R1, 0));
    seat
}

#[test]
fn the_replica_that_answered_when_the_leader_did_not_is_asked_first() {
    let mut seat = after_a_view_change();
    for seq in 1..3 {
        assert_eq!(called(&seat.handle(submit("x", 1))), [R1]);
        seat.handle(complete_by(R1, seq));
        assert!(!seat.role.is_busy());
    }
}

#[test]
fn a_leader_that_still_leads_is_asked_again() {
    let mut seat = after_a_view_change();
    seat.handle(submit("x", 1));
    assert_eq!(called(&seat.handle(leader(R1, 0))), []);
    seat.handle(complete_by(R1, 1));
    assert_eq!(called(&seat.handle(submit("x", 1))), [R0]);
}

#[test]
fn a_new_leader_is_asked_at_once() {
    let mut seat = after_a_view_change();
    seat.handle(submit("x", 1));
    assert_eq!(called(&seat.handle(leader(R1, 2))), [R2]);
    seat.handle(complete_by(R2, 1));
    assert_eq!(called(&seat.handle(submit("x", 1))), [R2]);
}

// --- long lines ----------------------------------------------------------------------

/// Who was sent the whole line, and who was only asked about it.
fn copies_and_inquiries(envelopes: &[Envelope]) -> (Vec<ReplicaId>, Vec<ReplicaId>) {
    let is_copy =
        |(_, message): &(ReplicaId, ClientMessage)| matches!(message, ClientMessage::Request(_));
    let (copies, rest): (Vec<_>, Vec<_>) = calls(envelopes).into_iter().partition(is_copy);
    let to = |calls: Vec<(ReplicaId, ClientMessage)>| calls.into_iter().map(|(to, _)| to).collect();
    (to(copies), to(rest))
}

/// A client whose first line is long.
fn long_in_flight() -> Subject {
    let mut seat = client(None);
    seat.handle(submit(&"x".repeat(60_000), 1));
    let sent = seat.handle(welcome(R0, 0, 0));
    assert_eq!(copies_and_inquiries(&sent), (vec![R0], vec![]));
    seat
}

#[test]
fn the_fate_of_a_long_line_is_asked_for_without_sending_it_again() {
    let mut seat = long_in_flight();
    let (copies, asked) = copies_and_inquiries(&seat.wait_us(2_500_000));
    assert_eq!(copies, []);
    for replica in [R0, R1, R2] {
        assert!(asked.contains(&replica), "{asked:?}");
    }
    seat.handle(complete_by(R2, 0));
    assert!(!seat.role.is_busy());
}

#[test]
fn a_long_line_is_sent_again_to_one_replica_after_the_other_and_ever_more_rarely() {
    let mut seat = long_in_flight();
    let (copies, _) = copies_and_inquiries(&seat.wait_us(38_000_000));
    assert_eq!(copies, [R0, R1, R2, R0], "after 3, 6, 10 and 10 seconds");
    seat = long_in_flight();
    seat.handle(has_line(R0, 0, 0));
    seat.handle(has_line(R2, 0, 0));
    let (copies, _) = copies_and_inquiries(&seat.wait_us(38_000_000));
    assert_eq!(copies, [R1], "the others have it");
}

#[test]
fn a_leader_that_has_lost_a_long_line_gets_it_again_when_the_last_copy_has_had_its_time() {
    let mut seat = long_in_flight();
    let says_no = |seat: &mut Subject, from| copies_and_inquiries(&seat.handle(leader(from, 0))).0;
    seat.wait_us(2_500_000);
    assert_eq!(says_no(&mut seat, R0), [], "the line is on its way");
    seat.handle(has_line(R0, 0, 0));
    // It restarts. The next copy in turn would go to replica 1 after nine seconds.
    assert_eq!(copies_and_inquiries(&seat.wait_us(4_000_000)).0, [], "it has the line");
    assert_eq!(says_no(&mut seat, R2), [], "a follower need not have it");
    assert_eq!(says_no(&mut seat, R0), [R0]);
    seat.wait_us(1_000_000);
    assert_eq!(says_no(&mut seat, R0), []);
}

#[test]
fn after_a_change_of_members_a_long_line_goes_again_to_whom_is_asked_first_if_it_lacks_the_line() {
    let mut seat = long_in_flight();
    // Round 1 of configuration 2, of members that the client does not know.
    let ballot = 2 << 48 | 1;
    let says_no =
        |seat: &mut Subject, from| copies_and_inquiries(&seat.handle(leader(from, ballot))).0;
    seat.handle(leader(R0, ballot));
    seat.wait_us(2_500_000);
    seat.handle(has_line(R0, 0, ballot));
    assert_eq!(copies_and_inquiries(&seat.wait_us(4_000_000)).0, [], "it has the line");
    assert_eq!(says_no(&mut seat, R0), [R0], "it has restarted");
    assert_eq!(says_no(&mut seat, R0), [], "it is on its way");
}

#[test]
fn after_a_change_of_members_a_long_line_goes_to_the_first_that_lacks_it_if_whom_was_asked_is_silent()
 {
    let mut seat = long_in_flight();
    // The client takes it for a ballot of replica 0, which is down.
    let ballot = 2 << 48 | 3;
    seat.handle(leader(R0, ballot));
    let asked = copies_and_inquiries(&seat.wait_us(4 * ASK_ALL_US)).1;
    assert!(asked.contains(&R1) && asked.contains(&R2));
    let says_no =
        |seat: &mut Subject, from| copies_and_inquiries(&seat.handle(leader(from, ballot))).0;
    assert_eq!(says_no(&mut seat, R1), [R1], "none is on its way there");
    assert_eq!(says_no(&mut seat, R2), [], "replica 1 passes it on");
    assert_eq!(says_no(&mut seat, R1), [], "it is on its way");
}

#[test]
fn a_welcome_that_names_a_new_leader_sends_it_the_line_in_flight() {
    for seat in [&mut in_flight(), &mut long_in_flight()] {
        assert!(seat.handle(welcome(R1, 0, 0)).is_empty(), "no news");
        assert_eq!(copies_and_inquiries(&seat.handle(welcome(R2, 5, 1))), (vec![R1], vec![]));
        assert!(seat.handle(welcome(R0, 5, 1)).is_empty(), "it is known");
        seat.handle(complete_by(R1, 0));
        assert!(seat.handle(welcome(R0, 5, 2)).is_empty(), "nothing is in flight");
    }
}

#[test]
fn a_long_line_goes_to_a_new_leader_at_once_and_that_copy_has_its_time() {
    let mut seat = long_in_flight();
    seat.wait_us(2_500_000);
    assert_eq!(copies_and_inquiries(&seat.handle(leader(R1, 1))), (vec![R1], vec![]));
    assert_eq!(copies_and_inquiries(&seat.wait_us(2_500_000)).0, []);
}

#[test]
fn a_long_line_goes_to_a_new_leader_of_which_a_replica_tells_that_was_asked_who_is_there() {
    let mut seat = long_in_flight();
    seat.wait_us(2_500_000);
    assert_eq!(copies_and_inquiries(&seat.handle(welcome(R1, 7, 1))), (vec![R1], vec![]));
    assert_eq!(copies_and_inquiries(&seat.handle(welcome(R2, 7, 1))), (vec![], vec![]));
    assert_eq!(copies_and_inquiries(&seat.handle(leader(R2, 1))), (vec![], vec![]));
}

// --- another cluster --------------------------------------------------------------------

#[test]
fn a_client_whose_cluster_has_gone_ends_when_most_replicas_belong_to_another() {
    let mut seat = in_flight();
    assert_eq!(hellos(&seat.wait_us(2_900_000)), []);
    // With the first report to the user it asks who is there.
    let mut asked = hellos(&seat.wait_us(200_000));
    asked.sort();
    assert_eq!(asked, [R0, R1, R2]);
    for _ in 0..3 {
        seat.handle(Input::OtherCluster(R1));
        assert!(seat.role.is_busy(), "one stranger proves nothing");
    }
    seat.handle(Input::OtherCluster(R2));
    let expected = Outcome::OtherCluster { line: Line::from("a"), from: R2, sent: true };
    assert_eq!(seat.storage.0.last(), Some(&expected));
    assert!(seat.role.has_failed() && seat.role.is_finished());
    assert_eq!(calls(&seat.wait_us(10_000_000)), []);
}

#[test]
fn a_line_that_waited_for_a_session_was_not_sent_to_a_cluster_that_has_gone() {
    let mut seat = client(None);
    seat.handle(submit("a", 1));
    seat.handle(Input::OtherCluster(R0));
    seat.handle(Input::OtherCluster(R2));
    let expected = Outcome::OtherCluster { line: Line::from("a"), from: R2, sent: false };
    assert_eq!(seat.storage.0, [expected]);
}

#[test]
fn strangers_are_counted_anew_for_each_line() {
    let mut seat = in_flight();
    seat.handle(Input::OtherCluster(R0));
    seat.handle(complete(1, 0, 0, 0));
    seat.handle(Input::OtherCluster(R1));
    seat.handle(submit("b", 2));
    seat.handle(Input::OtherCluster(R2));
    assert!(seat.role.is_busy() && !seat.role.has_failed());
}
