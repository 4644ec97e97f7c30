//! A replica whose process is about to end: a leader hands over (L9).

use super::*;
use multipaxos::message::HandOver;
use multipaxos::types::BootId;

/// A round above all that [`in_touch`] uses.
const LATER: u64 = 1 << 60;

/// Who is told that `seat` leaves, and whom it names its successor.
fn named(sent: &[Envelope]) -> Vec<(ReplicaId, Option<(u64, ReplicaId)>)> {
    let pick = |(to, message)| match message {
        ToProposer::Leaving { hand_over, .. } => {
            Some((to, hand_over.map(|HandOver { ballot, to }| (ballot.0, to))))
        }
        _ => None,
    };
    to_proposers(sent).into_iter().filter_map(pick).collect()
}

/// The ballot of the successor, if the process may end.
fn may_end(sent: &[Envelope]) -> Option<Option<u64>> {
    let mut all = sent.iter().filter_map(|envelope| match envelope {
        Envelope::Notice(Notice::MayEnd { successor }) => Some(successor.map(|ballot| ballot.0)),
        _ => None,
    });
    let first = all.next();
    assert_eq!(all.next(), None, "it says so once");
    first
}

fn leaving(from: ReplicaId, hand_over: Option<(u64, ReplicaId)>) -> Input {
    let hand_over = hand_over.map(|(ballot, to)| HandOver { ballot: Ballot(ballot), to });
    Input::Peer(from, ToProposer::Leaving { boot: voter(from).boot, hand_over })
}

/// A leader of three whose peers have echoed its heartbeats.
fn heard_leader() -> Subject {
    let mut seat = first_leader(3);
    in_touch(&mut seat, 200_000, &[R1, R2]);
    seat
}

#[test]
fn a_leader_that_leaves_names_the_member_that_is_farthest_and_goes_on_until_that_leads() {
    let mut seat = heard_leader();
    let far = Heartbeat { applied: Slot(7), ..heartbeat(R2, LATER) };
    seat.handle(Input::Heartbeat(R2, Box::new(far)));
    let sent = seat.handle(Input::Leave);
    assert_eq!(named(&sent), [(R1, Some((0, R2))), (R2, Some((0, R2)))]);
    assert_eq!(may_end(&sent), None);
    let sent = seat.handle(request_is_next(1, 0, "still served"));
    assert_eq!(proposed(&sent), [(0, command(1, 0, "still served"))]);
    let sent = seat.handle(serving(R2, LATER + 1, 2));
    assert_eq!(seat.role.leading(), None);
    assert_eq!(may_end(&sent), Some(Some(2)));
    assert_eq!(named(&sent), [(R1, None), (R2, None)], "so that nobody hands over to it");
}

#[test]
fn a_leader_that_leaves_asks_again_and_then_another_member() {
    let mut seat = heard_leader();
    let mut asked = named(&seat.handle(Input::Leave));
    for _ in 0..12 {
        asked.extend(named(&in_touch(&mut seat, HEARTBEAT_US / 2, &[R1, R2])));
        assert_eq!(named(&seat.handle(Input::Leave)), [], "to be told again changes nothing");
    }
    let of_one = asked.into_iter().filter(|(to, _)| *to == R1);
    let successors: Vec<_> = of_one.map(|(_, named)| named.expect("a successor").1).collect();
    assert_eq!(successors[..4], [R1, R1, R2, R2], "{successors:?}");
}

#[test]
fn a_leader_that_leaves_waits_for_a_campaign_that_moves_and_goes_above_none() {
    let mut seat = heard_leader();
    seat.handle(Input::Leave);
    let ballot = Ballot(1);
    for round in LATER..LATER + 10 {
        let moves = Heartbeat { ballot, campaigning: true, ..heartbeat(R1, round) };
        seat.handle(Input::Heartbeat(R1, Box::new(moves)));
        assert_eq!(named(&seat.wait_us(HEARTBEAT_US)), []);
    }
    let mut seat = heard_leader();
    seat.handle(Input::Leave);
    let nack = ToProposer::Nack { ballot: Ballot(0), promised: Ballot(1) };
    let sent = seat.handle(Input::Peer(R1, nack));
    assert_eq!((prepares(&sent), seat.role.leading()), (vec![], None));
    assert_eq!(may_end(&sent), None, "nobody leads yet");
    assert_eq!(may_end(&seat.handle(serving(R1, LATER, 1))), Some(Some(1)));
}

#[test]
fn a_replica_that_leaves_and_does_not_lead_may_end_at_once_and_campaigns_no_more() {
    let mut seat = proposer(3, R1);
    let sent = seat.handle(Input::Leave);
    assert_eq!(may_end(&sent), Some(None));
    assert_eq!(named(&sent), [(R0, None), (R2, None)]);
    for _ in 0..40 {
        let sent = seat.wait_us(HEARTBEAT_US);
        assert_eq!((pre_votes(&sent), prepares(&sent)), (vec![], vec![]));
    }
    assert!(grants(&mut seat, R2, 2), "its vote counts as long as it runs");
    assert_eq!(prepares(&seat.handle(leaving(R0, Some((0, R1))))), [], "nor if it is named");
}

#[test]
fn a_leader_without_which_no_quorum_stays_may_end_at_once() {
    let mut alone = first_leader(1);
    assert_eq!(may_end(&alone.handle(Input::Leave)), Some(None));
    let mut seat = first_leader(3);
    in_touch(&mut seat, 200_000, &[R1]);
    assert_eq!(may_end(&seat.handle(Input::Leave)), Some(None), "replica 2 is not heard");
    let mut seat = heard_leader();
    assert_eq!(may_end(&seat.handle(Input::Leave)), None);
    assert_eq!(may_end(&seat.handle(leaving(R2, None))), Some(None), "all three end");
}

#[test]
fn a_member_that_came_back_may_be_the_successor_again() {
    let mut seat = heard_leader();
    seat.handle(leaving(R1, None));
    seat.handle(leaving(R2, None));
    let next = |from| {
        let mut next = heartbeat(from, 1);
        next.voter.boot = BootId(77);
        next
    };
    for from in [R1, R2] {
        seat.handle(Input::Heartbeat(from, Box::new(next(from))));
    }
    for round in 2..9 {
        let sent = seat.wait_us(HEARTBEAT_US);
        for (to, mine) in heartbeats(&sent) {
            let echo = Heartbeat { echo: mine.round, round, ..next(to) };
            seat.handle(Input::Heartbeat(to, Box::new(echo)));
        }
    }
    assert_eq!(named(&seat.handle(Input::Leave)).len(), 2);
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
}

#[test]
fn a_member_that_is_named_campaigns_at_once_though_it_hears_the_leader() {
    let mut seat = proposer(3, R1);
    seat.handle(serving(R0, 1, 0));
    let sent = seat.handle(leaving(R0, Some((0, R1))));
    assert_eq!(pre_votes(&sent), []);
    assert_eq!(prepares(&sent), [(R1, 1, 0)], "its own acceptor comes first");
    let sent = seat.handle(leaving(R0, Some((0, R1))));
    assert_eq!(prepares(&sent), [], "a word that comes twice changes nothing");
}

#[test]
fn a_word_to_leave_that_is_late_or_for_another_makes_nobody_campaign() {
    let cases = [
        ("it names another", leaving(R0, Some((0, R2)))),
        ("it names nobody", leaving(R0, None)),
        ("its sender does not own the ballot", leaving(R2, Some((0, R1)))),
        ("a later leader is heard", leaving(R0, Some((0, R1)))),
    ];
    for (why, input) in cases {
        let mut seat = proposer(3, R1);
        seat.handle(serving(R0, 1, 0));
        if why == "a later leader is heard" {
            seat.handle(serving(R2, 1, 2));
        }
        assert_eq!(prepares(&seat.handle(input)), [], "{why}");
    }
    let mut seat = proposer(3, R1);
    let moves = Heartbeat { ballot: Ballot(2), campaigning: true, ..heartbeat(R2, 1) };
    seat.handle(serving(R0, 1, 0));
    seat.handle(Input::Heartbeat(R2, Box::new(moves)));
    assert_eq!(prepares(&seat.handle(leaving(R0, Some((0, R1))))), [], "another campaigns");
}

#[test]
fn a_leaver_that_campaigns_after_a_change_of_members_waits_for_its_timers() {
    let mut seat = first_leader(3);
    in_touch(&mut seat, ELECTION_MAX_US, &[R1, R2]);
    seat.handle(Input::Leave);
    let sent = seat.handle(super::members::entered(1, &replaced(3, R2)));
    assert!(prepares(&sent).iter().any(|(_, ballot, _)| Ballot(*ballot).configuration() == 1));
    for _ in 0..20 {
        seat.wake();
        let next = seat.role.deadline().expect("it campaigns");
        assert!(next > seat.now, "it spins at {:?}", seat.now);
        seat.now = next;
    }
}
