//! Phase 1: promises, and the proposals that follow from them.

use super::*;

/// How long a prepare waits for its answer.
const PREPARE_RETRY_US: u64 = 40_000;

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
    seat.handle(own_promise(ballot.0, &[]));
    seat.handle(promise(R2, ballot.0, &[]));
    seat.handle(promise(R2, ballot.0, &[]));
    assert_eq!(seat.role.leading(), None, "two promises of one acceptor");
    seat.handle(promise(R3, 0, &[]));
    assert_eq!(seat.role.leading(), None, "a promise of an older ballot");
    let Input::Peer(from, ToProposer::Promise(page)) = promise(R3, ballot.0, &[]) else {
        unreachable!("a promise is a page")
    };
    let foreign = Promise { voter: foreign(R2), ..page };
    let sent = seat.handle(Input::Peer(from, ToProposer::Promise(foreign)));
    assert_eq!(seat.role.leading(), None, "a promise of a foreign directory");
    let told = ToBootstrap::NotMember { directory: DirectoryId(999) };
    assert_eq!(to_replicas(&sent), [(R3, told)]);
    seat.handle(promise(R3, ballot.0, &[]));
    assert_eq!(seat.role.leading(), Some(ballot));
}

#[test]
fn promises_of_peers_alone_do_not_make_a_leader() {
    // The promises were given to an earlier life of this process, and come late. The next life has
    // forgotten the ballot and campaigns with it again. Its own acceptor has not forgotten it.
    let mut seat = build(settings(3, R1), Membership { fresh: false, ..membership(3, R1) });
    let ballot = campaign(&mut seat, R0);
    let mut sent = seat.handle(promise(R0, ballot.0, &[]));
    sent.extend(seat.handle(promise(R2, ballot.0, &[])));
    assert_eq!((seat.role.leading(), prepares(&sent)), (None, vec![]));
    seat.handle(own_promise(ballot.0, &[]));
    assert_eq!(seat.role.leading(), Some(ballot));
}

#[test]
fn promises_of_one_campaign_do_not_count_in_the_next() {
    let mut seat = proposer(5, R1);
    let (_, first, round) = pre_votes(&seat.wait_us(ELECTION_MIN_US))[0];
    seat.burst([grant(R0, round), grant(R2, round)]);
    seat.burst([own_promise(first.0, &[]), promise(R2, first.0, &[])]);
    let nack = ToProposer::Nack { ballot: first, promised: Ballot(8) };
    seat.handle(Input::Peer(R3, nack));
    let mut sent = Vec::new();
    while pre_votes(&sent).is_empty() {
        sent = seat.wait_us(HEARTBEAT_US);
    }
    let (_, second, round) = pre_votes(&sent)[0];
    assert!(second > Ballot(8));
    seat.burst([grant(R0, round), grant(R2, round)]);
    seat.burst([own_promise(second.0, &[]), promise(R0, first.0, &[]), promise(R3, second.0, &[])]);
    assert_eq!(seat.role.leading(), None, "two of five at the new ballot");
    seat.handle(promise(R0, second.0, &[]));
    assert_eq!(seat.role.leading(), Some(second));
}

#[test]
fn the_value_of_the_highest_ballot_is_proposed_again_not_the_first_seen() {
    for swapped in [false, true] {
        let mut seat = proposer(3, R1);
        seat.handle(Input::Promised { ballot: Ballot(6), written: 0 });
        let ballot = campaign(&mut seat, R0);
        let (old, new) = ([(0, 0, "old"), (1, 5, "new")], [(0, 6, "new"), (1, 3, "old")]);
        let (own, other) = if swapped { (new, old) } else { (old, new) };
        seat.handle(own_promise(ballot.0, &own));
        let sent = report(&mut seat, R2, ballot.0, &other);
        assert_eq!(proposed(&sent), [(0, value("new")), (1, value("new"))]);
        assert!(accepts_to(&sent, R2).iter().all(|accept| accept.ballot == ballot));
    }
}

#[test]
fn what_an_acceptor_has_reported_at_the_ballot_of_the_proposal_it_is_not_sent() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    seat.handle(own_promise(ballot.0, &[(0, 0, "a"), (1, 3, "b"), (3, 0, "d")]));
    let sent = report(&mut seat, R2, ballot.0, &[(0, 0, "a"), (1, 0, "old"), (3, 0, "d")]);
    assert_eq!(proposed(&sent).len(), 4);
    let named = to_acceptors(&sent).into_iter().filter_map(|(to, message)| match message {
        ToAcceptor::AcceptHeld { ballot: at, held } if at == ballot => Some((to, held)),
        _ => None,
    });
    assert_eq!(named.collect::<Vec<_>>(), [(R2, spans(&[(0, 0, "a"), (3, 0, "d")]))]);
    let to = |peer| -> Vec<(u64, usize)> {
        let accepts = accepts_to(&sent, peer).into_iter();
        accepts.map(|accept| (accept.first.0, accept.values.len())).collect()
    };
    assert_eq!((to(R2), to(R0)), (vec![(1, 2)], vec![(0, 4)]), "replica 0 has reported nothing");
}

#[test]
fn holes_become_noops_at_once_and_before_own_commands() {
    let mut seat = proposer(3, R1);
    let mut sent = succeed(&mut seat, R2, &[(1, 0, "b"), (4, 0, "e")]);
    let filled = [Value::Noop, value("b"), Value::Noop, Value::Noop, value("e")];
    assert_eq!(
        proposed(&sent),
        (0..).zip(filled).collect::<Vec<_>>(),
        "holes are filled without any request"
    );
    sent = seat.handle(request_is_next(1, 0, "mine"));
    assert_eq!(proposed(&sent), [(5, command(1, 0, "mine"))]);
}

#[test]
fn a_noop_that_was_accepted_is_kept() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    seat.handle(own_promise(ballot.0, &[]));
    seat.handle(promise(R2, ballot.0, &[(0, 0, "x")]));
    let mut held = values(R2, ballot.0, &[(0, 0, "x")]);
    if let Input::Peer(_, ToProposer::AcceptedValues(values)) = &mut held {
        values.accepted[0].values = (&Value::Noop).into();
    }
    seat.handle(held);
    let sent = seat.handle(request_is_next(1, 0, "mine"));
    assert_eq!(proposed(&sent), [(1, command(1, 0, "mine"))]);
}

#[test]
fn nothing_is_proposed_below_the_highest_trim_mark_of_the_quorum() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    seat.handle(own_promise(ballot.0, &[(3, 0, "stale"), (9, 0, "own")]));
    let mut sent = seat.handle(page(R2, ballot.0, (0, true), 8, &[(10, 0, "other")]));
    assert_eq!(wanted(&sent), [], "replica 0 may still have what is below");
    sent.extend(seat.wait_us(PREPARE_RETRY_US));
    assert_eq!(wanted(&sent), [(R2, 10, 0)]);
    sent.extend(seat.handle(values(R2, ballot.0, &[(10, 0, "other")])));
    sent.extend(seat.handle(request_is_next(1, 0, "mine")));
    let expected = [(8, Value::Noop), (9, value("own")), (10, value("other"))];
    assert_eq!(proposed(&sent)[..3], expected);
    assert_eq!(proposed(&sent)[3..], [(11, command(1, 0, "mine"))]);
}

#[test]
fn what_one_acceptor_has_forgotten_a_quorum_that_has_not_tells() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    seat.handle(own_promise(ballot.0, &[(0, 0, "a")]));
    // Replica 2 has applied these slots alone, and its log is lost.
    seat.handle(page(R2, ballot.0, (0, true), 2, &[(2, 0, "c")]));
    assert_eq!(seat.role.leading(), None);
    let mut sent = seat.handle(promise(R0, ballot.0, &[(0, 0, "a"), (1, 0, "b")]));
    assert_eq!(wanted(&sent), [(R0, 1, 0), (R2, 2, 0)]);
    // Its answer says again what it has forgotten, which is no news.
    let mut answer = values(R2, ballot.0, &[(2, 0, "c")]);
    if let Input::Peer(_, ToProposer::AcceptedValues(values)) = &mut answer {
        values.trimmed = Slot(2);
    }
    seat.handle(answer);
    sent = seat.handle(values(R0, ballot.0, &[(1, 0, "b")]));
    assert_eq!(proposed(&sent), [(0, value("a")), (1, value("b")), (2, value("c"))]);
}

#[test]
fn a_campaign_begins_where_the_own_log_ends_also_after_lines_were_cut_off_it() {
    let mut seat = proposer(3, R1);
    for (applied, first) in [(6, 6), (1, 1)] {
        seat.handle(progress(applied, true));
        let ballot = campaign(&mut seat, R0);
        let sent = seat.handle(own_promise(ballot.0, &[]));
        assert_eq!(prepares(&sent), [(R0, ballot.0, first), (R2, ballot.0, first)]);
        seat.handle(serving(R0, first + 10, ballot.0 + 2));
    }
}

#[test]
fn a_mark_on_any_page_of_a_promise_counts() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    seat.handle(own_promise(ballot.0, &[]));
    // The acceptor trims between its pages. The mark on the first page is not news.
    seat.handle(page(R2, ballot.0, (0, false), 4, &[(4, 0, "a"), (5, 0, "b")]));
    seat.handle(page(R2, ballot.0, (6, true), 7, &[(8, 0, "c")]));
    seat.wait_us(PREPARE_RETRY_US);
    seat.handle(values(R2, ballot.0, &[(8, 0, "c")]));
    assert_eq!(seat.role.leading(), Some(ballot));
    let sent = in_touch(&mut seat, HEARTBEAT_US, &[R2]);
    let slots: BTreeSet<u64> = proposed(&sent).iter().map(|(slot, _)| *slot).collect();
    assert_eq!(slots, BTreeSet::from([7, 8]));
}

#[test]
fn pages_count_in_any_order_and_lost_ones_are_asked_for_when_it_is_time() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    let sent = seat.handle(own_promise(ballot.0, &[]));
    assert_eq!(prepares(&sent), [(R0, 1, 0), (R2, 1, 0)]);
    let [first, second, third] = [
        page(R2, ballot.0, (0, false), 0, &[(0, 0, "a"), (1, 0, "b")]),
        page(R2, ballot.0, (2, false), 0, &[(2, 0, "c")]),
        page(R2, ballot.0, (3, true), 0, &[(3, 0, "d")]),
    ];
    for early in [third, first.clone(), first] {
        assert_eq!(seat.handle(early), [], "the second is on its way");
    }
    let asked = prepares(&seat.wait_us(40_000));
    assert_eq!(asked, [(R0, 1, 0), (R2, 1, 2)], "from the gap on");
    let sent = seat.handle(second);
    assert_eq!(wanted(&sent), [0, 1, 2, 3].map(|slot| (R2, slot, 0)));
}

#[test]
fn only_values_that_the_own_acceptor_lacks_at_the_highest_ballot_are_asked_for() {
    let mut seat = proposer(3, R1);
    seat.handle(Input::Promised { ballot: Ballot(6), written: 0 });
    let ballot = campaign(&mut seat, R0);
    seat.handle(own_promise(ballot.0, &[(0, 0, "a"), (1, 0, "old"), (3, 5, "d")]));
    let held = [(0, 0, "a"), (1, 3, "b"), (2, 0, "c"), (3, 3, "old")];
    let sent = seat.handle(promise(R2, ballot.0, &held));
    assert_eq!(wanted(&sent), [(R2, 1, 3), (R2, 2, 0)]);
    assert_eq!(seat.role.leading(), None, "before the values are here");
    // Of slot 1 comes a value at another ballot. The other one fits.
    let sent = seat.handle(values(R2, ballot.0, &[(1, 2, "other"), (2, 0, "c")]));
    assert_eq!((seat.role.leading(), wanted(&sent)), (None, vec![(R2, 1, 3)]));
    let sent = seat.handle(values(R2, ballot.0, &[(1, 3, "b")]));
    let expected = [(0, value("a")), (1, value("b")), (2, value("c")), (3, value("d"))];
    assert_eq!(proposed(&sent), expected);
}

#[test]
fn values_of_another_campaign_and_values_that_nobody_wants_change_nothing() {
    let mut seat = proposer(3, R1);
    assert_eq!(campaign(&mut seat, R0), Ballot(1));
    seat.handle(values(R2, 1, &[(0, 0, "x")]));
    seat.handle(own_promise(1, &[]));
    seat.handle(values(R2, 1, &[(0, 0, "x")]));
    seat.handle(promise(R2, 1, &[(1, 0, "b")]));
    assert_eq!(seat.handle(values(R2, 4, &[(1, 0, "other")])), []);
    assert_eq!(seat.handle(values(R2, 1, &[(0, 0, "x")])), []);
    assert_eq!(seat.role.leading(), None);
    let sent = seat.handle(values(R0, 1, &[(1, 0, "b")]));
    assert_eq!(proposed(&sent), [(0, Value::Noop), (1, value("b"))], "whoever sends it");
}

#[test]
fn what_an_answer_leaves_out_is_asked_for_at_once_and_after_silence_others_are_asked() {
    let mut seat = proposer(5, R1);
    let (_, ballot, round) = pre_votes(&seat.wait_us(ELECTION_MIN_US))[0];
    seat.burst([grant(R0, round), grant(R2, round)]);
    let held = [(0, 0, "a"), (1, 0, "b"), (2, 0, "c"), (3, 0, "d")];
    seat.handle(own_promise(ballot.0, &[]));
    seat.handle(promise(R2, ballot.0, &held));
    let sent = seat.handle(promise(R3, ballot.0, &held[2..]));
    assert_eq!(wanted(&sent), [0, 1, 2, 3].map(|slot| (R2, slot, 0)));
    assert_eq!(seat.handle(part(R2, ballot.0, &held[..1], false)), [], "more is to come");
    let sent = seat.handle(part(R2, ballot.0, &held[1..2], true));
    assert_eq!(wanted(&sent), [(R2, 2, 0), (R2, 3, 0)]);
    // It has sent something since the last time; then it falls silent.
    assert_eq!(wanted(&seat.wait_us(40_000)), []);
    assert_eq!(wanted(&seat.wait_us(40_000)), [(R3, 2, 0), (R3, 3, 0)]);
    seat.handle(values(R3, ballot.0, &held[2..]));
    assert_eq!(seat.role.leading(), Some(ballot));
}

#[test]
fn who_has_died_since_it_promised_is_left_out_if_a_quorum_is_left_without_it() {
    let mut seat = proposer(5, R1);
    seat.handle(Input::Promised { ballot: Ballot(6), written: 0 });
    let (_, ballot, round) = pre_votes(&seat.wait_us(ELECTION_MIN_US))[0];
    seat.burst([grant(R0, round), grant(R2, round)]);
    seat.handle(own_promise(ballot.0, &[(0, 0, "x")]));
    seat.handle(promise(R2, ballot.0, &[(0, 3, "y"), (1, 3, "z")]));
    let sent = seat.handle(promise(R3, ballot.0, &[(1, 0, "b")]));
    assert_eq!(wanted(&sent), [(R2, 0, 3), (R2, 1, 3)]);
    // It sends one of both, and dies.
    seat.handle(part(R2, ballot.0, &[(1, 3, "z")], false));
    for _ in 0..=ELECTION_MAX_US / 2 / PREPARE_RETRY_US {
        let sent = seat.wait_us(PREPARE_RETRY_US);
        assert!(wanted(&sent).iter().all(|(to, ..)| *to == R2), "no quorum is left without it");
    }
    seat.handle(promise(ReplicaId(4), ballot.0, &[]));
    let sent = seat.wait_us(ELECTION_MAX_US / 2 - 1);
    assert!(!wanted(&sent).contains(&(R3, 1, 0)), "it may be slow");
    let sent = seat.wait_us(PREPARE_RETRY_US);
    assert!(wanted(&sent).contains(&(R3, 1, 0)), "of what the others have promised: {sent:?}");
    assert!(!prepares(&sent).iter().any(|(to, ..)| *to == R2), "it counts no more");
    seat.handle(promise(R2, ballot.0, &[(0, 3, "y"), (1, 3, "z")]));
    seat.handle(values(R2, ballot.0, &[(0, 3, "y")]));
    let sent = seat.handle(values(R3, ballot.0, &[(1, 0, "b")]));
    assert_eq!(proposed(&sent), [(0, value("x")), (1, value("b"))]);
}

#[test]
fn different_acceptors_are_asked_for_different_values() {
    let mut seat = proposer(5, R1);
    let (_, ballot, round) = pre_votes(&seat.wait_us(ELECTION_MIN_US))[0];
    seat.burst([grant(R0, round), grant(R2, round)]);
    seat.handle(own_promise(ballot.0, &[]));
    seat.handle(promise(R2, ballot.0, &[(0, 0, "a"), (1, 0, "b")]));
    let sent = seat.handle(promise(R3, ballot.0, &[(1, 0, "b"), (2, 0, "c")]));
    assert_eq!(wanted(&sent), [(R2, 0, 0), (R2, 1, 0), (R3, 2, 0)]);
}

#[test]
fn a_value_that_is_forgotten_meanwhile_is_decided_and_not_needed() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    seat.handle(own_promise(ballot.0, &[]));
    seat.handle(promise(R2, ballot.0, &[(0, 0, "a"), (1, 0, "b"), (2, 0, "c")]));
    let mut answer = values(R2, ballot.0, &[(2, 0, "c")]);
    if let Input::Peer(_, ToProposer::AcceptedValues(values)) = &mut answer {
        values.trimmed = Slot(2);
    }
    assert_eq!(proposed(&seat.handle(answer)), [(2, value("c"))]);
}

#[test]
fn what_is_reported_far_above_a_hole_was_never_chosen() {
    let mut seat = proposer(3, R1);
    let last = 1 + 2 * PROPOSE_WINDOW_SLOTS - 1;
    let held = [(0, 0, "a"), (last, 0, "b"), (last + 1, 0, "c")];
    let sent = succeed(&mut seat, R2, &held);
    let slots: Vec<u64> = proposed(&sent).iter().map(|(slot, _)| *slot).collect();
    assert_eq!(slots, (0..=last).collect::<Vec<_>>(), "slot 1 is the hole");
}

#[test]
fn prepares_are_sent_again_when_they_are_due_and_not_before() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    let asked = [(R0, ballot.0, 0), (R2, ballot.0, 0)];
    assert_eq!(prepares(&seat.handle(own_promise(ballot.0, &[]))), asked);
    let own_promise_at = seat.now;
    seat.now = own_promise_at.plus_us(PREPARE_RETRY_US - 1);
    assert_eq!(prepares(&seat.wake()), [], "woken early");
    seat.now = own_promise_at.plus_us(PREPARE_RETRY_US);
    assert_eq!(prepares(&seat.wake()), asked);
}

#[test]
fn a_campaign_that_hears_nothing_new_is_given_up_and_another_begun_above_it() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    seat.wait_us(ELECTION_MAX_US / 2);
    // A new page is news, so the proposer has the whole time again.
    seat.handle(own_promise(ballot.0, &[]));
    let sent = seat.wait_us(ELECTION_MAX_US - 1);
    assert!(pre_votes(&sent).is_empty() && !prepares(&sent).is_empty());
    assert_eq!(prepares(&seat.wait_us(1)), []);
    seat.handle(Input::Promised { ballot, written: 0 });
    assert!(campaign(&mut seat, R0) > ballot);
}

#[test]
fn a_promise_with_a_gap_in_its_pages_does_not_count() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    seat.handle(own_promise(ballot.0, &[]));
    seat.handle(page(R2, ballot.0, (0, false), 0, &[(0, 0, "a")]));
    seat.handle(page(R2, ballot.0, (5, true), 0, &[(5, 0, "f")]));
    assert_eq!(seat.role.leading(), None);
    let asked = prepares(&seat.wait_us(50_000));
    assert!(asked.contains(&(R2, 1, 1)), "the missing slots are asked for: {asked:?}");
}

#[test]
fn a_page_that_contradicts_itself_is_ignored() {
    let good = Promise {
        ballot: Ballot(1),
        voter: voter(R2),
        slots: SlotRange::with_len(Slot(0), 1),
        last: true,
        trimmed: Slot(0),
        accepted: spans(&[(0, 0, "x")]),
    };
    let bad = [
        Promise { accepted: spans(&[(1, 0, "x")]), ..good.clone() },
        Promise { accepted: spans(&[(0, 1, "x")]), ..good.clone() },
        Promise { trimmed: Slot(1), ..good.clone() },
    ];
    let mut seat = proposer(3, R1);
    assert_eq!(campaign(&mut seat, R0), Ballot(1));
    seat.handle(own_promise(1, &[]));
    for page in bad {
        seat.handle(Input::Peer(R2, ToProposer::Promise(page.clone())));
        assert_eq!(seat.role.leading(), None, "{page:?}");
    }
    seat.handle(Input::Peer(R2, ToProposer::Promise(good)));
    seat.handle(values(R2, 1, &[(0, 0, "x")]));
    assert_eq!(seat.role.leading(), Some(Ballot(1)));
}

#[test]
fn a_refused_campaign_ends_and_the_next_is_above_what_refused_it() {
    let mut seat = proposer(3, R1);
    let ballot = campaign(&mut seat, R0);
    seat.handle(own_promise(ballot.0, &[]));
    let nack = ToProposer::Nack { ballot, promised: Ballot(9) };
    seat.handle(Input::Peer(R2, nack));
    seat.handle(promise(R0, ballot.0, &[]));
    assert_eq!(seat.role.leading(), None);
    assert_eq!(campaign(&mut seat, R0), Ballot(10));
}

#[test]
fn a_late_refusal_of_an_earlier_ballot_ends_no_campaign() {
    let mut seat = proposer(3, R1);
    seat.handle(Input::Promised { ballot: Ballot(2), written: 0 });
    assert_eq!(campaign(&mut seat, R0), Ballot(4));
    seat.handle(own_promise(4, &[]));
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
        seat.handle(own_promise(1, &[]));
        seat.handle(serving(leader, 1, ballot));
        seat.handle(promise(R0, 1, &[]));
        assert_eq!(seat.role.leading().is_some(), goes_on);
    }
}

#[test]
fn the_leader_of_a_foreign_directory_deposes_nobody() {
    let mut seat = first_leader(3);
    let Input::Heartbeat(from, heartbeat) = serving(R2, 1, 2) else { unreachable!("it is one") };
    seat.handle(Input::Heartbeat(from, Box::new(Heartbeat { voter: foreign(from), ..*heartbeat })));
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
    seat.handle(serving(R2, 2, 2));
    assert_eq!(seat.role.leading(), None);
}

#[test]
fn an_older_round_of_a_leaders_heartbeats_deposes_nobody() {
    let mut seat = first_leader(3);
    seat.handle(Input::Heartbeat(R2, heartbeat(R2, 5).into()));
    seat.handle(serving(R2, 5, 2));
    assert_eq!(seat.role.leading(), Some(Ballot(0)));
}
