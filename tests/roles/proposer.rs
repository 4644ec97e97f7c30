//! The proposer with its election, campaign and reign: who leads, what is proposed.

use crate::common::*;
use multipaxos::message::{
    Accept, Accepted, Decided, Heartbeat, Message, Promise, Request, ToAcceptor, ToProposer,
    ToReplica,
};
use multipaxos::paxos::acceptor::{self, Acceptor};
use multipaxos::paxos::proposer::{Input, Proposer};
use multipaxos::paxos::{
    Envelope, Membership, NoStorage, Notice, PROPOSE_WINDOW_SLOTS, Role, Settings, learner,
};
use multipaxos::types::{Ballot, DirectoryId, ReplicaId, Slot, Time, Value};
use std::collections::BTreeSet;

type Subject = Seat<Proposer, NoStorage>;

fn build(settings: Settings, membership: Membership) -> Subject {
    Seat::new(Proposer::new(settings, membership, Time(0), 0), NoStorage)
}

fn proposer(n: usize, id: ReplicaId) -> Subject {
    build(settings(n, id), membership(n, id))
}

/// Replica 0 of `n`, leading ballot 0.
fn first_leader(n: usize) -> Subject {
    let mut seat = proposer(n, R0);
    crown(&mut seat);
    seat
}

/// Gives a fresh replica 0 the promise of its own acceptor.
fn crown(seat: &mut Subject) -> Vec<Envelope> {
    let mut sent = seat.wake();
    sent.extend(seat.handle(promise(R0, 0, &[])));
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
    sent
}

/// One page that tells everything: slots, ballots and lines.
fn promise(from: ReplicaId, ballot: u64, accepted: &[(u64, u64, &str)]) -> Input {
    page(from, ballot, (0, true), 0, accepted)
}

/// A page from a slot on, the last one or not.
fn page(
    from: ReplicaId,
    ballot: u64,
    (first, last): (u64, bool),
    trimmed: u64,
    accepted: &[(u64, u64, &str)],
) -> Input {
    let entry = |&(slot, ballot, line): &(u64, u64, &str)| Accepted {
        first: Slot(slot),
        ballot: Ballot(ballot),
        values: (&value(line)).into(),
    };
    let accepted: Vec<Accepted> = accepted.iter().map(entry).collect();
    let start = Slot(first.max(trimmed));
    let page = Promise {
        ballot: Ballot(ballot),
        directory: directory(from),
        first: Slot(first),
        upto: accepted.last().map_or(start, |entry| entry.first.next()),
        last,
        trimmed: Slot(trimmed),
        accepted,
    };
    Input::Peer(from, ToProposer::Promise(page))
}

/// The ballot and the round of the pre-votes in the mail, and who was asked.
fn pre_votes(envelopes: &[Envelope]) -> Vec<(ReplicaId, Ballot, u64)> {
    let pick = |(to, message)| match message {
        ToProposer::PreVote { ballot, round } => Some((to, ballot, round)),
        _ => None,
    };
    to_proposers(envelopes).into_iter().filter_map(pick).collect()
}

fn grant(from: ReplicaId, round: u64) -> Input {
    reply(from, round, true, None)
}

fn reply(from: ReplicaId, round: u64, granted: bool, promised: Option<u64>) -> Input {
    let (promised, directory) = (promised.map(Ballot), directory(from));
    Input::Peer(from, ToProposer::PreVoteReply { round, granted, promised, directory })
}

/// Whether `seat` grants a pre-vote that `from` asks for.
fn grants(seat: &mut Subject, from: ReplicaId, ballot: u64) -> bool {
    let ballot = Ballot(ballot);
    let sent = seat.handle(Input::Peer(from, ToProposer::PreVote { ballot, round: 9 }));
    match to_proposers(&sent).as_slice() {
        [(to, ToProposer::PreVoteReply { round: 9, granted, .. })] if *to == from => *granted,
        other => panic!("no answer to a pre-vote but {other:?}"),
    }
}

fn prepares(envelopes: &[Envelope]) -> Vec<(ReplicaId, u64, u64)> {
    let pick = |(to, message)| match message {
        ToAcceptor::Prepare { ballot, first } => Some((to, ballot.0, first.0)),
        _ => None,
    };
    to_acceptors(envelopes).into_iter().filter_map(pick).collect()
}

fn accepts_to(envelopes: &[Envelope], replica: ReplicaId) -> Vec<Accept> {
    let pick = |(to, message)| match message {
        ToAcceptor::Accept(accept) if to == replica => Some(accept),
        _ => None,
    };
    to_acceptors(envelopes).into_iter().filter_map(pick).collect()
}

/// What is proposed: slot and value, as replica 1 is told.
fn proposed(envelopes: &[Envelope]) -> Vec<(u64, Value)> {
    let slots = |accept: Accept| (accept.first.0..).zip(accept.values.to_vec());
    accepts_to(envelopes, R1).into_iter().flat_map(slots).collect()
}

/// Lets `seat` suspect, be granted pre-votes and campaign; its ballot.
fn campaign(seat: &mut Subject, helper: ReplicaId) -> Ballot {
    for _ in 0..100 {
        let sent = seat.wait_us(HEARTBEAT_US);
        if let Some((_, ballot, round)) = pre_votes(&sent).pop() {
            seat.handle(grant(helper, round));
            return ballot;
        }
    }
    panic!("it never asks for pre-votes")
}

/// Lets `seat` lead after a campaign in which its own acceptor holds nothing and
/// `helper` what is given.
fn succeed(seat: &mut Subject, me: ReplicaId, helper: Input) -> Vec<Envelope> {
    let ballot = campaign(seat, R0);
    seat.handle(promise(me, ballot.0, &[]));
    let sent = seat.handle(helper);
    assert_eq!(seat.role.leading(), Some(ballot));
    sent
}

fn servable(session: u64, seq: u64, line: &str) -> Input {
    Input::Servable { origin: address(1), request: Request::new(1, session, seq, line) }
}

fn progress(applied: u64, pending: bool) -> Input {
    let decided = nothing_decided(0);
    Input::Progress { applied: Slot(applied), decided, pending, lost: vec![] }
}

fn serving(from: ReplicaId, round: u64, ballot: u64) -> Input {
    let ballot = Ballot(ballot);
    Input::Heartbeat(from, Heartbeat { ballot, leading: true, ..heartbeat(from, round) })
}

/// Lets time pass in which `peers` echo every heartbeat.
fn in_touch(seat: &mut Subject, us: u64, peers: &[ReplicaId]) -> Vec<Envelope> {
    let end = seat.now.plus_us(us);
    let mut all = Vec::new();
    while seat.now < end {
        let sent = seat.wait_us(HEARTBEAT_US / 2);
        for (to, mine) in heartbeats(&sent) {
            if peers.contains(&to) {
                let echo = Heartbeat { echo: mine.round, ..heartbeat(to, mine.round) };
                all.extend(seat.handle(Input::Heartbeat(to, echo)));
            }
        }
        all.extend(sent);
    }
    all
}

// --- ballot 0 --------------------------------------------------------------------

#[test]
fn replica_0_leads_ballot_0_only_after_its_own_acceptors_promise() {
    let mut seat = proposer(3, R0);
    let mut sent = seat.wake();
    sent.extend(seat.burst([servable(1, 0, "early"), servable(2, 0, "early too")]));
    sent.extend(seat.wait_us(200_000));
    assert_eq!(seat.role.leading(), None);
    assert!(prepares(&sent).iter().all(|(to, ..)| *to == R0), "only the own acceptor is asked");
    assert!(accepts_to(&sent, R0).is_empty() && proposed(&sent).is_empty());
    assert!(heartbeats(&sent).iter().all(|(_, heartbeat)| !heartbeat.leading));
    // Somebody else's promise is no licence.
    seat.handle(promise(R1, 0, &[]));
    seat.handle(promise(R2, 0, &[]));
    let now = seat.handle(promise(R0, 0, &[]));
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
    assert!(heartbeats(&now).iter().all(|(_, heartbeat)| heartbeat.leading));
}

#[test]
fn nobody_else_is_asked_to_promise_ballot_0() {
    let mut seat = proposer(3, R0);
    seat.wake();
    let sent = seat.handle(promise(R0, 0, &[]));
    assert_eq!((prepares(&sent), seat.role.leading()), (vec![], Some(Ballot(0))));
}

#[test]
fn a_replica_0_that_did_not_warm_up_itself_never_leads_ballot_0() {
    for membership in [Membership { fresh: false, ..membership(3, R0) }, stranger(3, R0)] {
        let mut seat = build(settings(3, R0), membership);
        let mut sent = seat.wake();
        sent.extend(seat.handle(promise(R0, 0, &[])));
        sent.extend(seat.wait_us(250_000));
        assert_eq!((prepares(&sent), seat.role.leading()), (vec![], None));
    }
    let mut other = proposer(3, R1);
    assert_eq!(prepares(&other.wait_us(250_000)), []);
}

#[test]
fn ballot_0_is_given_up_when_the_own_acceptor_has_promised_more() {
    let mut seat = proposer(3, R0);
    seat.wake();
    let nack = ToProposer::Nack { ballot: Ballot(0), promised: Ballot(1) };
    seat.handle(Input::Peer(R0, nack));
    seat.handle(promise(R0, 0, &[]));
    assert_eq!(seat.role.leading(), None);
}

#[test]
fn the_skipped_slot_is_left_out_under_ballot_0_and_only_there() {
    let settings = Settings { skip_slot: Some(Slot(2)), ..settings(3, R0) };
    let mut seat = build(settings, membership(3, R0));
    crown(&mut seat);
    let sent = seat.burst((0..4).map(|session| servable(session, 0, "x")));
    let slots: Vec<u64> = proposed(&sent).iter().map(|(slot, _)| *slot).collect();
    assert_eq!(slots, [0, 1, 3, 4]);
    // Deposed, and elected again: the slot is an ordinary one now.
    seat.handle(serving(R1, 1, 1));
    let ballot = campaign(&mut seat, R1);
    assert!(ballot > Ballot(1));
    seat.handle(promise(R0, ballot.0, &[(0, 0, "a"), (1, 0, "b"), (3, 0, "c"), (4, 0, "d")]));
    let sent = seat.handle(promise(R1, ballot.0, &[]));
    let expected = [value("a"), value("b"), Value::Noop, value("c"), value("d")];
    assert_eq!(proposed(&sent), (0..).zip(expected).collect::<Vec<_>>());
}

// --- pre-votes -------------------------------------------------------------------

#[test]
fn nobody_campaigns_without_a_quorum_of_pre_votes() {
    let mut seat = proposer(5, R1);
    let mut sent = seat.wait_us(ELECTION_MIN_US);
    let asked = pre_votes(&sent);
    assert_eq!(asked.iter().map(|(to, ..)| to.0).collect::<Vec<_>>(), [0, 2, 3, 4]);
    let round = asked[0].2;
    sent = seat.handle(grant(R2, round));
    sent.extend(seat.handle(grant(R2, round)));
    sent.extend(seat.handle(reply(R0, round, false, None)));
    sent.extend(seat.handle(grant(R3, round - 1)));
    assert_eq!(prepares(&sent), [], "itself and one other of five");
    let foreign = ToProposer::PreVoteReply {
        round,
        granted: true,
        promised: None,
        directory: DirectoryId(999),
    };
    let sent = seat.handle(Input::Peer(R3, foreign));
    assert_eq!(prepares(&sent), []);
    let told = ToReplica::NotMember { directory: DirectoryId(999) };
    assert_eq!(to_replicas(&sent), [(R3, told)], "and it is told so");
    let sent = seat.handle(grant(R3, round));
    assert_eq!(prepares(&sent), [(R1, 1, 0)], "the licence is asked for first");
}

#[test]
fn pre_votes_of_one_round_do_not_count_in_the_next() {
    let mut seat = proposer(5, R1);
    let (_, _, round) = pre_votes(&seat.wait_us(ELECTION_MIN_US))[0];
    seat.handle(grant(R2, round));
    let mut next = round;
    while next == round {
        next = pre_votes(&seat.wait_us(HEARTBEAT_US)).pop().map_or(round, |(_, _, next)| next);
    }
    assert_eq!(prepares(&seat.handle(grant(R3, next))), [], "one old and one new one");
    assert_eq!(prepares(&seat.handle(grant(R2, next))), [(R1, 1, 0)]);
}

#[test]
fn a_pre_vote_refused_for_a_higher_promise_is_asked_again_above_it() {
    let mut seat = proposer(3, R1);
    let (_, ballot, round) = pre_votes(&seat.wait_us(ELECTION_MIN_US))[0];
    assert_eq!(ballot, Ballot(1));
    let again = pre_votes(&seat.handle(reply(R2, round, false, Some(11))));
    assert_eq!(again[0].1, Ballot(13));
    assert!(again[0].2 > round);
}

#[test]
fn pre_votes_are_refused_while_a_serving_leader_is_heard() {
    let mut seat = proposer(3, R2);
    seat.handle(serving(R0, 1, 0));
    assert!(!grants(&mut seat, R1, 1));
    seat.now = Time(ELECTION_MIN_US - 1);
    assert!(!grants(&mut seat, R1, 1));
    seat.now = Time(ELECTION_MIN_US);
    assert!(grants(&mut seat, R1, 1), "it was not heard for long enough");
    assert!(!grants(&mut seat, R1, 3), "a ballot that is not the candidate's");
}

#[test]
fn pre_votes_are_granted_by_a_replica_that_is_unsatisfied() {
    let mut seat = proposer(3, R2);
    for round in 1..=20 {
        seat.now = Time(round * HEARTBEAT_US);
        seat.handle(serving(R0, round, 0));
        seat.handle(progress(0, true));
        let unsatisfied = seat.now.since_us(Time(HEARTBEAT_US)) >= ELECTION_MAX_US;
        assert_eq!(grants(&mut seat, R1, 1), unsatisfied, "at {:?}", seat.now);
    }
    seat.handle(progress(1, true));
    assert!(!grants(&mut seat, R1, 1), "progress satisfies it");
}

#[test]
fn a_serving_leader_grants_a_pre_vote_only_when_nothing_gets_applied() {
    let mut seat = first_leader(3);
    assert!(!grants(&mut seat, R1, 1));
    seat.handle(servable(1, 0, "stuck"));
    seat.handle(progress(0, true));
    let stuck_at = seat.now;
    in_touch(&mut seat, ELECTION_MAX_US - HEARTBEAT_US, &[R1, R2]);
    assert!(!grants(&mut seat, R1, 1));
    seat.now = stuck_at.plus_us(ELECTION_MAX_US);
    assert!(grants(&mut seat, R1, 1), "though its own timer has not fired yet");
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
}

#[test]
fn pre_votes_are_refused_at_or_below_the_own_promise_and_by_strangers() {
    let mut seat = proposer(3, R2);
    seat.handle(Input::Promised(Ballot(4)));
    assert!(!grants(&mut seat, R1, 4));
    assert!(!grants(&mut seat, R1, 1));
    assert!(grants(&mut seat, R1, 7));
    let mut stranger = build(settings(3, R2), stranger(3, R2));
    assert!(!grants(&mut stranger, R1, 7));
}

#[test]
fn a_stranger_neither_suspects_nor_sends_heartbeats() {
    let mut seat = build(settings(3, R2), stranger(3, R2));
    assert_eq!(seat.role.deadline(), None);
    seat.now = Time(10 * ELECTION_MAX_US);
    assert_eq!(seat.wake(), []);
}

#[test]
fn only_who_has_not_granted_is_asked_for_a_pre_vote_again() {
    let mut seat = proposer(5, R1);
    let (_, _, round) = pre_votes(&seat.wait_us(ELECTION_MIN_US))[0];
    seat.handle(grant(R2, round));
    assert_eq!(pre_votes(&seat.wait_us(39_999)), [], "they have time to answer");
    let asked: Vec<u8> = pre_votes(&seat.wait_us(1)).iter().map(|(to, ..)| to.0).collect();
    assert_eq!(asked, [0, 3, 4]);
}

#[test]
fn who_hears_a_leader_asks_for_no_more_pre_votes_unless_nothing_gets_applied() {
    for stuck in [false, true] {
        let mut seat = proposer(3, R1);
        seat.handle(progress(0, stuck));
        let mut asked = Vec::new();
        for round in 1..=20 {
            // A leader that is heard is suspected only if nothing gets applied.
            if stuck {
                seat.handle(serving(R0, round, 0));
            }
            asked.extend(pre_votes(&seat.wait_us(HEARTBEAT_US)));
            if !asked.is_empty() {
                break;
            }
        }
        assert!(!asked.is_empty());
        seat.handle(serving(R0, 21, 0));
        let sent = seat.handle(grant(R2, asked[0].2));
        assert_eq!(!prepares(&sent).is_empty(), stuck);
    }
}

#[test]
fn the_promise_of_another_acceptor_is_not_the_own_one() {
    let mut seat = proposer(3, R1);
    let nack = ToProposer::Nack { ballot: Ballot(1), promised: Ballot(8) };
    seat.handle(Input::Peer(R2, nack.clone()));
    assert!(grants(&mut seat, R2, 5));
    seat.handle(Input::Peer(R1, nack));
    assert!(!grants(&mut seat, R2, 5));
}

// --- phase 1 ---------------------------------------------------------------------

#[test]
fn nothing_under_a_ballot_leaves_before_the_own_acceptor_has_promised_it() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    let mut sent = seat.wait_us(200_000);
    sent.extend(seat.handle(promise(R2, ballot.0, &[])));
    sent.extend(seat.handle(promise(R0, ballot.0, &[])));
    assert!(prepares(&sent).iter().all(|(to, ..)| *to == R1), "{sent:?}");
    assert_eq!(proposed(&sent), []);
}

#[test]
fn promises_that_do_not_count_make_no_leader() {
    let mut seat = proposer(5, R1);
    let (_, ballot, round) = pre_votes(&seat.wait_us(ELECTION_MIN_US))[0];
    seat.handle(grant(R0, round));
    seat.handle(grant(R2, round));
    seat.handle(promise(R1, ballot.0, &[]));
    seat.handle(promise(R2, ballot.0, &[]));
    seat.handle(promise(R2, ballot.0, &[]));
    assert_eq!(seat.role.leading(), None, "twice from one acceptor");
    seat.handle(promise(R3, 0, &[]));
    assert_eq!(seat.role.leading(), None, "of an older ballot");
    let Input::Peer(from, ToProposer::Promise(page)) = promise(R3, ballot.0, &[]) else {
        unreachable!("a promise is a page")
    };
    let foreign = Promise { directory: DirectoryId(999), ..page };
    let sent = seat.handle(Input::Peer(from, ToProposer::Promise(foreign)));
    assert_eq!(seat.role.leading(), None, "of a foreign directory");
    let told = ToReplica::NotMember { directory: DirectoryId(999) };
    assert_eq!(to_replicas(&sent), [(R3, told)]);
    seat.handle(promise(R3, ballot.0, &[]));
    assert_eq!(seat.role.leading(), Some(ballot));
}

#[test]
fn promises_of_peers_alone_are_no_licence() {
    // They were given to an earlier life of this process, and come late: the next life has
    // forgotten the ballot and campaigns with it again. Its own acceptor has not.
    let mut seat = build(settings(3, R1), Membership { fresh: false, ..membership(3, R1) });
    let ballot = campaign(&mut seat, R0);
    let mut sent = seat.handle(promise(R0, ballot.0, &[]));
    sent.extend(seat.handle(promise(R2, ballot.0, &[])));
    assert_eq!((seat.role.leading(), prepares(&sent)), (None, vec![]));
    seat.handle(promise(R1, ballot.0, &[]));
    assert_eq!(seat.role.leading(), Some(ballot));
}

#[test]
fn promises_of_one_campaign_do_not_count_in_the_next() {
    let mut seat = proposer(5, R1);
    let (_, first, round) = pre_votes(&seat.wait_us(ELECTION_MIN_US))[0];
    seat.burst([grant(R0, round), grant(R2, round)]);
    seat.burst([promise(R1, first.0, &[]), promise(R2, first.0, &[])]);
    let nack = ToProposer::Nack { ballot: first, promised: Ballot(8) };
    seat.handle(Input::Peer(R3, nack));
    let mut sent = Vec::new();
    while pre_votes(&sent).is_empty() {
        sent = seat.wait_us(HEARTBEAT_US);
    }
    let (_, second, round) = pre_votes(&sent)[0];
    assert!(second > Ballot(8));
    seat.burst([grant(R0, round), grant(R2, round)]);
    seat.burst([promise(R1, second.0, &[]), promise(R0, first.0, &[]), promise(R3, second.0, &[])]);
    assert_eq!(seat.role.leading(), None, "two of five at the new ballot");
    seat.handle(promise(R0, second.0, &[]));
    assert_eq!(seat.role.leading(), Some(second));
}

#[test]
fn the_value_of_the_highest_ballot_is_proposed_again_not_the_first_seen() {
    for swapped in [false, true] {
        let mut seat = proposer(3, R1);
        seat.handle(Input::Promised(Ballot(6)));
        let ballot = campaign(&mut seat, R0);
        let (old, new) = ([(0, 0, "old"), (1, 5, "new")], [(0, 6, "new"), (1, 3, "old")]);
        let (own, other) = if swapped { (new, old) } else { (old, new) };
        seat.handle(promise(R1, ballot.0, &own));
        let sent = seat.handle(promise(R2, ballot.0, &other));
        assert_eq!(proposed(&sent), [(0, value("new")), (1, value("new"))]);
        assert!(accepts_to(&sent, R2).iter().all(|accept| accept.ballot == ballot));
    }
}

#[test]
fn holes_become_noops_at_once_and_before_own_commands() {
    let mut seat = proposer(3, R1);
    let held = promise(R2, 1, &[(1, 0, "b"), (4, 0, "e")]);
    let mut sent = succeed(&mut seat, R1, held);
    let filled = [Value::Noop, value("b"), Value::Noop, Value::Noop, value("e")];
    assert_eq!(proposed(&sent), (0..).zip(filled).collect::<Vec<_>>(), "with no traffic at all");
    sent = seat.handle(servable(1, 0, "mine"));
    assert_eq!(proposed(&sent), [(5, command(1, 0, "mine"))]);
}

#[test]
fn a_noop_that_was_accepted_is_kept() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    let mut held = promise(R2, ballot.0, &[(0, 0, "x")]);
    if let Input::Peer(_, ToProposer::Promise(page)) = &mut held {
        page.accepted[0].values = (&Value::Noop).into();
    }
    seat.handle(promise(R1, ballot.0, &[]));
    seat.handle(held);
    let sent = seat.handle(servable(1, 0, "mine"));
    assert_eq!(proposed(&sent), [(1, command(1, 0, "mine"))]);
}

#[test]
fn nothing_is_proposed_below_the_highest_trim_mark_of_the_quorum() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    seat.handle(promise(R1, ballot.0, &[(3, 0, "stale"), (9, 0, "own")]));
    let mut sent = seat.handle(page(R2, ballot.0, (0, true), 8, &[(10, 0, "other")]));
    sent.extend(seat.handle(servable(1, 0, "mine")));
    let expected = [(8, Value::Noop), (9, value("own")), (10, value("other"))];
    assert_eq!(proposed(&sent)[..3], expected);
    assert_eq!(proposed(&sent)[3..], [(11, command(1, 0, "mine"))]);
}

#[test]
fn a_mark_on_any_page_of_a_promise_counts() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    seat.handle(promise(R1, ballot.0, &[]));
    // The acceptor trims between its pages: what stands on the first is not news.
    seat.handle(page(R2, ballot.0, (0, false), 4, &[(4, 0, "a"), (5, 0, "b")]));
    seat.handle(page(R2, ballot.0, (6, true), 7, &[(8, 0, "c")]));
    assert_eq!(seat.role.leading(), Some(ballot));
    let sent = in_touch(&mut seat, HEARTBEAT_US, &[R2]);
    let slots: BTreeSet<u64> = proposed(&sent).iter().map(|(slot, _)| *slot).collect();
    assert_eq!(slots, BTreeSet::from([7, 8]));
}

#[test]
fn each_page_is_answered_by_the_request_for_the_next() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    let sent = seat.handle(promise(R1, ballot.0, &[]));
    assert_eq!(prepares(&sent), [(R0, 1, 0), (R2, 1, 0)]);
    let sent = seat.handle(page(R2, ballot.0, (0, false), 0, &[(0, 0, "a"), (1, 0, "b")]));
    assert_eq!(prepares(&sent), [(R2, 1, 2)]);
    assert_eq!(seat.role.leading(), None);
    let sent = seat.handle(page(R2, ballot.0, (2, true), 0, &[(2, 0, "c")]));
    assert_eq!(proposed(&sent), [(0, value("a")), (1, value("b")), (2, value("c"))]);
}

#[test]
fn a_page_that_comes_again_is_not_answered() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    seat.handle(promise(R1, ballot.0, &[]));
    let first = page(R2, ballot.0, (0, false), 0, &[(0, 0, "a"), (1, 0, "b")]);
    assert_eq!(prepares(&seat.handle(first.clone())), [(R2, 1, 2)]);
    assert_eq!(prepares(&seat.handle(first)), []);
}

#[test]
fn prepares_are_sent_again_when_they_are_due_and_not_before() {
    const PREPARE_RETRY_US: u64 = 40_000;
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    let asked = [(R0, ballot.0, 0), (R2, ballot.0, 0)];
    assert_eq!(prepares(&seat.handle(promise(R1, ballot.0, &[]))), asked);
    let licensed = seat.now;
    seat.now = licensed.plus_us(PREPARE_RETRY_US - 1);
    assert_eq!(prepares(&seat.wake()), [], "woken early");
    seat.now = licensed.plus_us(PREPARE_RETRY_US);
    assert_eq!(prepares(&seat.wake()), asked);
}

#[test]
fn a_campaign_that_hears_nothing_new_is_given_up_and_another_begun_above_it() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    seat.wait_us(ELECTION_MAX_US / 2);
    // News: it has as long again from here on.
    seat.handle(promise(R1, ballot.0, &[]));
    let sent = seat.wait_us(ELECTION_MAX_US - 1);
    assert!(pre_votes(&sent).is_empty() && !prepares(&sent).is_empty());
    assert_eq!(prepares(&seat.wait_us(1)), []);
    seat.handle(Input::Promised(ballot));
    assert!(campaign(&mut seat, R0) > ballot);
}

#[test]
fn a_promise_with_a_gap_in_its_pages_does_not_count() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    seat.handle(promise(R1, ballot.0, &[]));
    seat.handle(page(R2, ballot.0, (0, false), 0, &[(0, 0, "a")]));
    seat.handle(page(R2, ballot.0, (5, true), 0, &[(5, 0, "f")]));
    assert_eq!(seat.role.leading(), None);
    let asked = prepares(&seat.wait_us(50_000));
    assert!(asked.contains(&(R2, 1, 1)), "the missing stretch is asked for: {asked:?}");
}

#[test]
fn a_page_that_contradicts_itself_is_ignored() {
    let good = Promise {
        ballot: Ballot(1),
        directory: directory(R2),
        first: Slot(0),
        upto: Slot(1),
        last: true,
        trimmed: Slot(0),
        accepted: vec![Accepted {
            first: Slot(0),
            ballot: Ballot(0),
            values: (&value("x")).into(),
        }],
    };
    let entry = |slot: u64, ballot: u64| {
        vec![Accepted { first: Slot(slot), ballot: Ballot(ballot), values: (&value("x")).into() }]
    };
    let bad = [
        Promise { accepted: entry(1, 0), ..good.clone() },
        Promise { accepted: entry(0, 2), ..good.clone() },
        Promise { trimmed: Slot(1), ..good.clone() },
        Promise { accepted: [entry(0, 0), entry(0, 0)].concat(), ..good.clone() },
        Promise { accepted: entry(1 << 40, 0), upto: Slot(1 << 41), ..good.clone() },
    ];
    let mut seat = proposer(3, R1);
    assert_eq!(campaign(&mut seat, R0), Ballot(1));
    seat.handle(promise(R1, 1, &[]));
    for page in bad {
        seat.handle(Input::Peer(R2, ToProposer::Promise(page.clone())));
        assert_eq!(seat.role.leading(), None, "{page:?}");
    }
    seat.handle(Input::Peer(R2, ToProposer::Promise(good)));
    assert_eq!(seat.role.leading(), Some(Ballot(1)));
}

#[test]
fn a_refused_campaign_ends_and_the_next_is_above_what_refused_it() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    seat.handle(promise(R1, ballot.0, &[]));
    let nack = ToProposer::Nack { ballot, promised: Ballot(9) };
    seat.handle(Input::Peer(R2, nack));
    seat.handle(promise(R0, ballot.0, &[]));
    assert_eq!(seat.role.leading(), None);
    assert_eq!(campaign(&mut seat, R0), Ballot(10));
}

#[test]
fn a_late_refusal_of_an_earlier_ballot_ends_no_campaign() {
    let mut seat = proposer(3, R1);
    seat.handle(Input::Promised(Ballot(2)));
    assert_eq!(campaign(&mut seat, R0), Ballot(4));
    seat.handle(promise(R1, 4, &[]));
    let late = ToProposer::Nack { ballot: Ballot(1), promised: Ballot(2) };
    seat.handle(Input::Peer(R2, late));
    seat.handle(promise(R2, 4, &[]));
    assert_eq!(seat.role.leading(), Some(Ballot(4)));
}

#[test]
fn a_campaign_ends_when_a_leader_above_it_is_heard_and_not_for_one_below() {
    for (leader, ballot, goes_on) in [(R0, 0, true), (R2, 2, false)] {
        let mut seat = proposer(3, R1);
        assert_eq!(campaign(&mut seat, R0), Ballot(1));
        seat.handle(promise(R1, 1, &[]));
        seat.handle(serving(leader, 1, ballot));
        seat.handle(promise(R0, 1, &[]));
        assert_eq!(seat.role.leading().is_some(), goes_on);
    }
}

#[test]
fn the_leader_of_a_foreign_directory_deposes_nobody() {
    let mut seat = first_leader(3);
    let directory = DirectoryId(999);
    let Input::Heartbeat(from, heartbeat) = serving(R2, 1, 2) else { unreachable!("it is one") };
    seat.handle(Input::Heartbeat(from, Heartbeat { directory, ..heartbeat }));
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
    seat.handle(serving(R2, 2, 2));
    assert_eq!(seat.role.leading(), None);
}

#[test]
fn an_older_round_of_a_leaders_heartbeats_deposes_nobody() {
    let mut seat = first_leader(3);
    seat.handle(Input::Heartbeat(R2, heartbeat(R2, 5)));
    seat.handle(serving(R2, 5, 2));
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
}

// --- phase 2 ---------------------------------------------------------------------

#[test]
fn a_burst_of_requests_leaves_as_one_run_of_slots() {
    let mut seat = first_leader(3);
    let sent = seat.burst((0..5).map(|session| servable(session, 0, "x")));
    for replica in [R0, R1, R2] {
        let accepts = accepts_to(&sent, replica);
        let runs: Vec<_> =
            accepts.iter().map(|accept| (accept.first.0, accept.values.len())).collect();
        assert_eq!(runs, [(0, 5)], "replica {replica}");
    }
}

#[test]
fn only_a_sessions_next_command_is_proposed_and_only_once() {
    let mut seat = first_leader(3);
    let request = |seq| Input::Client(address(1), Request::new(1, 5, seq, "x"));
    let held = |sent: &[Envelope], seq: u64| {
        told_learner(sent).iter().any(|input| match input {
            learner::Input::Held { request, direct: true, .. } => request.command().seq == seq,
            _ => false,
        })
    };
    // A session that is not known: the learner is asked.
    let sent = seat.handle(request(0));
    assert!(held(&sent, 0) && proposed(&sent).is_empty());
    assert_eq!(proposed(&seat.handle(servable(5, 0, "x"))).len(), 1);
    for again in [request(0), servable(5, 0, "x")] {
        let sent = seat.handle(again);
        assert!(proposed(&sent).is_empty() && !held(&sent, 0));
    }
    // The next but one is nothing for now.
    let sent = seat.handle(request(1));
    assert!(held(&sent, 1) && proposed(&sent).is_empty());
    // Applied: the next one may be proposed without asking.
    seat.handle(progress(1, false));
    assert_eq!(proposed(&seat.handle(request(1))), [(1, command(5, 1, "x"))]);
    let sent = seat.handle(request(0));
    assert!(held(&sent, 0) && proposed(&sent).is_empty(), "an old one the learner answers");
}

#[test]
fn accepts_are_sent_again_at_growing_intervals_until_they_are_applied() {
    let mut seat = first_leader(3);
    let start = seat.now;
    seat.handle(servable(1, 0, "x"));
    let mut times = Vec::new();
    while seat.now.since_us(start) < 500_000 {
        let sent = in_touch(&mut seat, 10_000, &[R1]);
        if !accepts_to(&sent, R2).is_empty() {
            times.push(seat.now);
        }
    }
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1].since_us(pair[0])).collect();
    assert!(gaps.len() >= 2 && gaps.windows(2).all(|pair| pair[0] < pair[1]), "{gaps:?}");
    seat.handle(progress(1, false));
    let sent = in_touch(&mut seat, 1_000_000, &[R1]);
    assert_eq!(proposed(&sent), []);
}

#[test]
fn the_window_bounds_what_is_proposed() {
    let mut seat = first_leader(3);
    let sent = seat.burst((0..PROPOSE_WINDOW_SLOTS).map(|session| servable(session, 0, "x")));
    assert_eq!(proposed(&sent).len() as u64, PROPOSE_WINDOW_SLOTS);
    let more = PROPOSE_WINDOW_SLOTS..PROPOSE_WINDOW_SLOTS + 100;
    let sent = seat.burst(more.map(|session| servable(session, 0, "x")));
    assert_eq!(proposed(&sent), []);
    let sent = seat.handle(progress(10, false));
    let slots: Vec<u64> = proposed(&sent).iter().map(|(slot, _)| *slot).collect();
    assert_eq!(slots, (PROPOSE_WINDOW_SLOTS..PROPOSE_WINDOW_SLOTS + 10).collect::<Vec<_>>());
}

#[test]
fn long_lines_are_bounded_in_bytes_and_each_has_its_own_accept() {
    let mut seat = first_leader(3);
    let line = "x".repeat(65_536);
    let sent = seat.burst((0..100).map(|session| servable(session, 0, &line)));
    let accepts = accepts_to(&sent, R1);
    let bytes: usize = accepts.iter().map(|accept| accept.values.bytes().len()).sum();
    assert!(accepts.iter().all(|accept| accept.values.len() == 1));
    assert!(bytes <= (4 << 20) + 70_000 && bytes > 3 << 20, "{bytes} bytes in flight");
    let sent = seat.handle(progress(50, false));
    assert!(proposed(&sent).len() >= 30, "what is applied makes room");
}

#[test]
fn accepts_of_short_lines_fit_datagrams() {
    let mut seat = first_leader(3);
    let sent = seat.burst((0..500).map(|session| servable(session, 0, "a line of some length")));
    let to_peers = to_acceptors(&sent).into_iter().filter(|(to, _)| *to != R0);
    for (_, accept) in to_peers {
        let bytes = postcard::to_stdvec(&Message::Acceptor(accept)).expect("encoded").len();
        assert!(bytes <= settings(3, R0).payload_bytes, "{bytes} bytes");
    }
}

#[test]
fn what_is_lost_is_sent_again_at_once_and_nothing_else() {
    let mut seat = first_leader(3);
    let line = "x".repeat(300);
    seat.burst((0..12).map(|session| servable(session, 0, &line)));
    let report = |lost| {
        let decided = Decided { ballot: Ballot(0), from: Slot(0), upto: Slot(4) };
        Input::Progress { applied: Slot(4), decided, pending: true, lost }
    };
    let sent = seat.handle(report(vec![range(4, 2), range(9, 1)]));
    let again: Vec<u64> = proposed(&sent).into_iter().map(|(slot, _)| slot).collect();
    assert_eq!(again, [4, 5, 9]);
    assert_eq!(accepts_to(&sent, R0), [], "the own acceptor loses nothing");
    let sent = seat.handle(report(vec![range(4, 2), range(9, 1)]));
    assert_eq!(proposed(&sent), [], "it is on its way");
}

// --- giving way ------------------------------------------------------------------

#[test]
fn a_leader_that_no_quorum_hears_falls_silent() {
    let mut seat = first_leader(5);
    in_touch(&mut seat, 2 * ELECTION_MAX_US, &[R1, R2]);
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
    in_touch(&mut seat, ELECTION_MAX_US + 2 * HEARTBEAT_US, &[R1]);
    assert_eq!(seat.role.leading(), None);
    let sent = seat.wait_us(HEARTBEAT_US);
    assert!(heartbeats(&sent).iter().all(|(_, heartbeat)| !heartbeat.leading));
}

#[test]
fn heartbeats_that_echo_nothing_recent_keep_no_leader() {
    let mut seat = first_leader(3);
    for round in 1..40 {
        seat.wait_us(HEARTBEAT_US);
        let stale = Heartbeat { echo: 1, ..heartbeat(R1, round) };
        seat.handle(Input::Heartbeat(R1, stale));
    }
    assert_eq!(seat.role.leading(), None);
}

#[test]
fn a_leader_that_gets_nothing_applied_gives_way() {
    let mut seat = first_leader(3);
    in_touch(&mut seat, ELECTION_MAX_US, &[R1, R2]);
    seat.handle(servable(1, 0, "stuck"));
    in_touch(&mut seat, ELECTION_MAX_US - HEARTBEAT_US, &[R1, R2]);
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
    in_touch(&mut seat, 3 * HEARTBEAT_US, &[R1, R2]);
    assert_eq!(seat.role.leading(), None);
}

#[test]
fn an_idle_leader_stays() {
    let mut seat = first_leader(3);
    in_touch(&mut seat, 20 * ELECTION_MAX_US, &[R1]);
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
}

#[test]
fn a_leader_follows_whoever_leads_at_a_higher_ballot_and_hands_its_requests_over() {
    let mut seat = first_leader(3);
    seat.burst((0..PROPOSE_WINDOW_SLOTS).map(|session| servable(session, 0, "x")));
    seat.handle(servable(1 << 20, 0, "queued"));
    let sent = seat.handle(serving(R2, 1, 2));
    assert_eq!(seat.role.leading(), None);
    let held: Vec<_> = told_learner(&sent);
    let queued = learner::Input::Held {
        origin: address(1),
        request: Request::new(1, 1 << 20, 0, "queued"),
        direct: false,
    };
    let commands = held.iter().map(|input| match input {
        learner::Input::Held { request, .. } => request.commands.len() as u64,
        other => panic!("nothing else is told: {other:?}"),
    });
    let all = PROPOSE_WINDOW_SLOTS + 1;
    assert_eq!(commands.sum::<u64>(), all, "what is proposed and what is queued");
    assert_eq!(held.last(), Some(&queued));
    assert_eq!(proposed(&seat.wait_us(250_000)), []);
    // One that leads below is no reason to give way.
    let mut seat = proposer(3, R1);
    succeed(&mut seat, R1, promise(R2, 1, &[]));
    seat.handle(serving(R0, 1, 0));
    assert_eq!(seat.role.leading(), Some(Ballot(1)));
}

#[test]
fn a_leader_overtaken_by_one_acceptor_goes_above_it_at_once_if_a_quorum_follows() {
    let mut seat = first_leader(3);
    in_touch(&mut seat, 100_000, &[R1]);
    let nack = ToProposer::Nack { ballot: Ballot(0), promised: Ballot(8) };
    let sent = seat.handle(Input::Peer(R2, nack.clone()));
    assert_eq!(prepares(&sent), [(R0, 9, 0)], "no pre-vote, no wait");
    // Without a quorum that follows, it gives way: a pre-vote settles it.
    let mut alone = first_leader(3);
    let sent = alone.handle(Input::Peer(R2, nack));
    assert_eq!((prepares(&sent), alone.role.leading()), (vec![], None));
}

#[test]
fn a_leader_overtaken_twice_in_a_row_gives_way_to_its_rival() {
    for (later_us, leads) in [(ELECTION_MAX_US - 1, false), (ELECTION_MAX_US, true)] {
        let mut seat = first_leader(3);
        in_touch(&mut seat, 100_000, &[R1, R2]);
        let nack = |ballot, promised| {
            let (ballot, promised) = (Ballot(ballot), Ballot(promised));
            Input::Peer(R2, ToProposer::Nack { ballot, promised })
        };
        let overtaken_at = seat.now;
        assert_eq!(prepares(&seat.handle(nack(0, 2))), [(R0, 3, 0)]);
        seat.handle(promise(R0, 3, &[]));
        seat.handle(promise(R1, 3, &[]));
        assert_eq!(seat.role.leading(), Some(Ballot(3)));
        in_touch(&mut seat, later_us - 100_000, &[R1]);
        seat.now = overtaken_at.plus_us(later_us);
        assert_eq!(!prepares(&seat.handle(nack(3, 5))).is_empty(), leads, "{later_us} us later");
        assert_eq!(seat.role.leading(), None);
    }
}

#[test]
fn a_leader_that_has_just_begun_need_not_have_been_heard_yet() {
    let mut seat = first_leader(3);
    seat.wait_us(ELECTION_MAX_US - 1);
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
    seat.wait_us(HEARTBEAT_US);
    assert_eq!(seat.role.leading(), None);
}

#[test]
fn a_leader_that_a_quorum_has_left_gives_way() {
    let mut seat = first_leader(3);
    in_touch(&mut seat, 100_000, &[R1, R2]);
    seat.handle(Input::Promised(Ballot(8)));
    let promised = Some(Ballot(8));
    seat.handle(Input::Heartbeat(R2, Heartbeat { promised, ..heartbeat(R2, 100) }));
    assert_eq!(seat.role.leading(), None);
}

#[test]
fn an_older_round_of_heartbeats_is_no_news() {
    let mut seat = proposer(3, R2);
    seat.handle(serving(R0, 5, 0));
    seat.now = Time(ELECTION_MIN_US);
    seat.handle(serving(R0, 5, 0));
    seat.handle(serving(R0, 4, 0));
    assert!(grants(&mut seat, R1, 1), "it was heard for the last time long ago");
}

// --- time ------------------------------------------------------------------------

#[test]
fn whoever_was_paused_suspects_nobody_right_after_waking() {
    let mut seat = proposer(3, R2);
    for round in 1..10 {
        seat.handle(serving(R0, round, 0));
        seat.wait_us(HEARTBEAT_US);
    }
    seat.now = seat.now.plus_us(60_000_000);
    assert_eq!(pre_votes(&seat.wake()), []);
    assert!(!grants(&mut seat, R1, 1), "nor does it help others to suspect");
    assert_eq!(pre_votes(&seat.wait_us(HEARTBEAT_US)), []);
    let sent = seat.wait_us(ELECTION_MAX_US);
    assert!(!pre_votes(&sent).is_empty(), "but when nothing is heard then, it does");
}

#[test]
fn a_paused_leader_still_leads_when_it_is_heard_after_waking() {
    let mut seat = first_leader(3);
    in_touch(&mut seat, 2 * ELECTION_MAX_US, &[R1]);
    seat.now = seat.now.plus_us(60_000_000);
    in_touch(&mut seat, ELECTION_MAX_US, &[R1]);
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
}

#[test]
fn waits_double_while_nothing_is_applied_and_are_short_again_after_progress() {
    let mut seat = proposer(3, R1);
    let mut begun = Vec::new();
    let mut rounds = BTreeSet::new();
    let gaps = |seat: &mut Subject, begun: &mut Vec<Time>, rounds: &mut BTreeSet<u64>| {
        let until = begun.len() + 6;
        while begun.len() < until {
            for (_, _, round) in pre_votes(&seat.wait_us(10_000)) {
                if rounds.insert(round) {
                    begun.push(seat.now);
                }
            }
        }
        begun.windows(2).map(|pair| pair[1].since_us(pair[0]) / 1_000).collect::<Vec<_>>()
    };
    let before = gaps(&mut seat, &mut begun, &mut rounds);
    assert!(before[..3].windows(2).all(|pair| pair[1] > pair[0] * 3 / 2), "{before:?} ms");
    assert!(before[4] <= 2 * before[3], "bounded: {before:?} ms");
    seat.handle(progress(1, false));
    let after = gaps(&mut seat, &mut begun, &mut rounds);
    assert!(after[7] < before[3], "{after:?} ms");
}

/// Two proposers and three acceptors, joined by a network in which everything takes
/// a millisecond; replica 0 is dead. Returns when somebody has led for a second.
fn rivals(seed: u64) -> Time {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut proposers = [proposer(3, R1), proposer(3, R2)];
    let mut acceptors = [R1, R2].map(|id| {
        Seat::new(
            Acceptor::new(settings(3, id), membership(3, id), Default::default()),
            Disk::default(),
        )
    });
    let mut mail: Vec<(ReplicaId, Envelope)> = Vec::new();
    let mut led_since = None;
    for ms in 1.. {
        let now = Time(ms * 1_000);
        let mut sent = Vec::new();
        for (from, envelope) in mail.drain(..) {
            let (to, message) = match envelope {
                Envelope::Peer { to, message } if to != R0 => (to, message),
                Envelope::Notice(Notice::Proposer(input)) => {
                    let seat = &mut proposers[from.index() - 1];
                    (seat.now, seat.draw) = (now, rng.u64(..));
                    sent.extend(seat.handle(input).into_iter().map(|e| (from, e)));
                    continue;
                }
                _ => continue,
            };
            let seat = &mut proposers[to.index() - 1];
            (seat.now, seat.draw) = (now, rng.u64(..));
            let answers = match message {
                Message::Proposer(message) => seat.handle(Input::Peer(from, message)),
                Message::Heartbeat(heartbeat) => seat.handle(Input::Heartbeat(from, heartbeat)),
                Message::Acceptor(message) => {
                    acceptors[to.index() - 1].handle(acceptor::Input::Peer(from, message))
                }
                _ => continue,
            };
            sent.extend(answers.into_iter().map(|envelope| (to, envelope)));
        }
        for (seat, id) in proposers.iter_mut().zip([R1, R2]) {
            (seat.now, seat.draw) = (now, rng.u64(..));
            if seat.role.deadline().is_some_and(|due| due <= now) {
                sent.extend(seat.wake().into_iter().map(|envelope| (id, envelope)));
            }
        }
        mail = sent;
        let leading: Vec<_> = proposers.iter().map(|seat| seat.role.leading()).collect();
        let led = leading.iter().flatten().max().copied();
        led_since = match led_since {
            Some((ballot, since)) if led == Some(ballot) => Some((ballot, since)),
            _ => led.map(|ballot| (ballot, now)),
        };
        if let Some((_, since)) = led_since
            && now.since_us(since) >= 1_000_000
        {
            return since;
        }
        assert!(ms < 60_000, "seed {seed}: nobody leads after a minute: {leading:?}");
    }
    unreachable!("the loop ends by itself")
}

#[test]
fn two_rivals_that_campaign_at_once_settle() {
    // Both suspect in the same millisecond: the first draws are equal.
    let settled: Vec<Time> = (0..200).map(rivals).collect();
    let late: Vec<_> =
        settled.iter().enumerate().filter(|(_, at)| **at > Time(10_000_000)).collect();
    assert!(late.is_empty(), "seeds and times: {late:?}");
}
