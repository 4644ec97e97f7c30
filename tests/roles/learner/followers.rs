//! Followers of the chat log: who is answered when, and what is bounded. (W3, W7)

use super::*;
use multipaxos::message::{Excerpt, FollowQuery, HOLD_US};
use multipaxos::paxos::learner::{FOLLOWER_QUESTIONS_MAX, FOLLOWERS_MAX};

fn query(slot: u64, offset: u64, room: u16) -> FollowQuery {
    FollowQuery { slot: Slot(slot), offset, room }
}

fn follow(port: u16, query: FollowQuery) -> Input {
    Input::Follow(address(port), query)
}

/// The pieces that were sent: the follower's port, the slot that its question names, the text, what
/// follows, and how far the log is.
fn pieces(envelopes: &[Envelope]) -> Vec<(u16, u64, String, u64, u64)> {
    let pick = |(to, answer): (Address, Answer)| match answer {
        Answer::Log(excerpt) => {
            let Excerpt { slot, text, rest, applied, .. } = *excerpt;
            let text = String::from_utf8(text).expect("UTF-8");
            Some((to.0.port(), slot.0, text, rest, applied.0))
        }
        _ => None,
    };
    answers(envelopes).into_iter().filter_map(pick).collect()
}

fn decides(first: u64, lines: &[&str]) -> Input {
    let commands: Vec<Value> =
        (first..).zip(lines).map(|(seq, line)| command(1, seq, line)).collect();
    page(R0, first, &commands)
}

#[test]
fn what_is_applied_is_answered_at_once_across_the_ends_of_lines() {
    let mut seat = learner(3, R2);
    seat.handle(decides(0, &["a", "", "ccc"]));
    // 0 1 0 a\n 1 1 1 \n 2 1 2 ccc\n
    let sent = seat.burst([follow(1, query(0, 6, 8)), follow(2, query(2, 0, 900))]);
    let found = pieces(&sent);
    assert_eq!(found[0], (1, 0, "a\n1 1 1 ".into(), 11, 3));
    assert_eq!(found[1], (2, 2, "2 1 2 ccc\n".into(), 0, 3));
    let sent = seat.handle(follow(1, query(1, 1_000, 9)));
    assert_eq!(pieces(&sent), [(1, 1, String::new(), 0, 3)], "there is nothing");
}

#[test]
fn a_question_about_the_next_line_is_answered_when_that_is_applied_and_once() {
    let mut seat = learner(3, R2);
    seat.handle(decides(0, &["a"]));
    assert_eq!(pieces(&seat.handle(follow(1, query(1, 0, 900)))), []);
    assert_eq!(pieces(&seat.handle(follow(2, query(2, 0, 900)))), []);
    assert_eq!(pieces(&seat.wait_us(HOLD_US / 2)), []);
    let sent = seat.handle(decides(1, &["b"]));
    assert_eq!(pieces(&sent), [(1, 1, "1 1 1 b\n".into(), 0, 2)]);
    let sent = seat.handle(decides(2, &["c", "d"]));
    assert_eq!(pieces(&sent), [(2, 2, "2 1 2 c\n3 1 3 d\n".into(), 0, 4)]);
    assert_eq!(pieces(&seat.wait_us(2 * HOLD_US)), [], "nobody waits any more");
}

#[test]
fn whoever_has_waited_long_is_told_that_there_is_nothing() {
    let mut seat = learner(3, R2);
    seat.handle(decides(0, &["a"]));
    seat.handle(follow(1, query(1, 0, 900)));
    seat.wait_us(HOLD_US / 2);
    seat.handle(follow(2, query(7, 3, 900)));
    assert_eq!(pieces(&seat.wait_us(HOLD_US / 2 - 1)), []);
    assert_eq!(pieces(&seat.wait_us(1)), [(1, 1, String::new(), 0, 1)]);
    assert_eq!(pieces(&seat.wait_us(HOLD_US / 2)), [(2, 7, String::new(), 0, 1)]);
    assert_eq!(pieces(&seat.wait_us(2 * HOLD_US)), []);
}

#[test]
fn a_question_that_is_asked_again_waits_once() {
    let mut seat = learner(3, R2);
    for _ in 0..10 {
        seat.handle(follow(1, query(0, 0, 900)));
    }
    assert_eq!(pieces(&seat.handle(decides(0, &["a"]))).len(), 1);
}

#[test]
fn questions_that_wait_are_few_for_one_address_and_bounded_in_all() {
    let mut seat = learner(3, R2);
    for slot in 0..20 {
        seat.handle(follow(1, query(slot, 0, 900)));
    }
    for port in 2..3_000 {
        seat.handle(follow(port, query(0, 0, 900)));
    }
    let told = pieces(&seat.wait_us(HOLD_US));
    assert_eq!(told.len(), FOLLOWERS_MAX);
    let of_one = told.iter().filter(|(port, ..)| *port == 1).count();
    assert_eq!(of_one, FOLLOWER_QUESTIONS_MAX);
}

#[test]
fn no_piece_is_longer_than_a_datagram_of_this_replica() {
    let mut seat = learner(3, R2);
    let long = "x".repeat(60_000);
    seat.handle(decides(0, &[&long]));
    let found = pieces(&seat.handle(follow(1, query(0, 0, u16::MAX))));
    let (text, rest) = (found[0].2.len(), found[0].3);
    assert!((1_000..1_400).contains(&text), "{text} bytes");
    assert_eq!(text as u64 + rest, 60_007);
}

#[test]
fn a_turn_answers_a_bounded_number_of_followers() {
    let mut seat = learner(3, R2);
    seat.handle(decides(0, &["a"]));
    let questions = (1..3_000).map(|port| follow(port, query(0, 0, 900)));
    assert_eq!(pieces(&seat.burst(questions)).len(), 256);
    assert_eq!(pieces(&seat.handle(follow(1, query(0, 0, 900)))).len(), 1);
}
