//! Fragments: cut, lost, repeated, mixed up, and whole again.

use super::*;
use crate::counters::{Counters, DropReason, NetEvent};
use crate::toy::End;
use seeds::stream;
use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

type Reassembler = super::Reassembler<End>;

const DATAGRAM: usize = 1_400;
const CLUSTER: u64 = 5;
const BOOT: u64 = 9;

type Piece = (Cut, u16, Vec<u8>);

fn peer(id: u8) -> End {
    End::Peer(id)
}

fn client(port: u16) -> End {
    End::Client(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn message(seed: u64, bytes: usize) -> Vec<u8> {
    let mut draws = stream(seed, "message");
    (0..bytes).map(|_| draws.u8(..)).collect()
}

fn fragmenter() -> Fragmenter {
    Fragmenter::new(Arc::new(Counters::new()))
}

fn reassembler() -> Reassembler {
    Reassembler::new(Arc::new(Counters::new()))
}

fn split(fragmenter: &mut Fragmenter, message: &[u8]) -> Vec<Piece> {
    split_for(DATAGRAM, fragmenter, message)
}

fn split_for(datagram: usize, fragmenter: &mut Fragmenter, message: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    fragmenter.split(datagram, CLUSTER, message.to_vec(), |fragment| {
        pieces.push((fragment.cut, fragment.index, fragment.bytes.to_vec()));
    });
    pieces
}

fn insert(into: &mut Reassembler, now: u64, from: End, piece: &Piece) -> Option<Vec<u8>> {
    let (cut, index, bytes) = piece;
    let fragment = Fragment { cut: *cut, index: *index, bytes };
    into.insert(now, from, BOOT, CLUSTER, fragment)
}

/// Every request up to `until`, with the moments at which they were made.
fn asked(of: &mut Reassembler, until: u64) -> Vec<(u64, End, Missing)> {
    let mut asked = Vec::new();
    while let Some(due) = of.deadline().filter(|&due| due <= until) {
        of.poll(due, |_| 0, |from, _, missing| asked.push((due, from, missing)));
    }
    asked
}

#[test]
fn fragments_in_any_order_and_repeated_join_to_what_was_split() {
    let sent = message(1, 65_600);
    let mut pieces = split(&mut fragmenter(), &sent);
    pieces.extend(pieces.clone());
    fastrand::Rng::with_seed(3).shuffle(&mut pieces);
    let mut receiver = reassembler();
    let joined: Vec<_> =
        pieces.iter().filter_map(|piece| insert(&mut receiver, 0, peer(1), piece)).collect();
    assert_eq!(joined, [sent]);
    assert_eq!(receiver.held_bytes(), (0, 0));
    assert_eq!(receiver.held_sets(), (0, 0));
    assert_eq!(receiver.deadline(), None);
}

#[test]
fn every_fragment_fits_its_datagram_and_survives_its_own_encoding() {
    for datagram in [PATH_BYTES_MIN, 1_400, 9_000, crate::DATAGRAM_BYTES_MAX] {
        let mut fragmenter = fragmenter();
        let sent = message(2, MESSAGE_BYTES_MAX);
        let mut joined = Vec::new();
        fragmenter.split(datagram, CLUSTER, sent.clone(), |fragment| {
            let mut body = Vec::new();
            fragment.write(&mut body);
            assert!(HEADER_BYTES + body.len() <= datagram);
            assert_eq!(Fragment::parse(&body), Some(fragment));
            joined.extend_from_slice(fragment.bytes);
        });
        assert_eq!(joined, sent);
    }
}

#[test]
fn what_a_narrow_path_has_dropped_is_cut_anew_and_sent_again_to_that_peer() {
    let mut fragmenter = fragmenter();
    let (sent, other, old) = (message(3, 9_000), message(4, 9_000), message(5, 9_000));
    for (at, message, peers) in
        [(0, &old, &[1][..]), (LOST_US, &sent, &[1, 2]), (LOST_US, &other, &[2])]
    {
        for peer in peers {
            fragmenter.split(1_400, CLUSTER, message.clone(), |_| {});
            fragmenter.note_sent(at, *peer);
        }
    }
    let mut again = |now, peer, datagram| {
        let mut pieces = Vec::new();
        fragmenter.send_narrowed(now, peer, datagram, |cluster, fragment| {
            assert_eq!(cluster, CLUSTER);
            assert!(HEADER_BYTES + FRAGMENT_HEADER_BYTES + fragment.bytes.len() <= datagram);
            pieces.extend_from_slice(fragment.bytes);
        });
        pieces
    };
    assert_eq!(again(LOST_US + 1, 1, PATH_BYTES_MIN), sent, "the other one left too long ago");
    assert_eq!(again(LOST_US + 1, 1, PATH_BYTES_MIN), [], "once");
    assert_eq!(again(LOST_US + 1, 2, 1_400), [], "the pieces are short enough");
    assert_eq!(again(LOST_US + 1, 2, PATH_BYTES_MIN).len(), sent.len() + other.len());
}

#[test]
fn what_may_have_vanished_in_batches_is_sent_again_to_that_peer() {
    let mut fragmenter = fragmenter();
    for (at, number, peer) in [(0, 5, 1), (LOST_US, 3, 1), (LOST_US, 4, 2)] {
        fragmenter.split(1_400, CLUSTER, message(number, 9_000), |_| {});
        fragmenter.note_sent(at, peer);
    }
    let mut again = |now, peer| {
        let mut pieces = Vec::new();
        fragmenter.send_vanished(now, peer, 1_400, |_, fragment| {
            pieces.extend_from_slice(fragment.bytes);
        });
        pieces
    };
    assert_eq!(again(LOST_US + 1, 1), message(3, 9_000), "the other one left too long ago");
    assert_eq!(again(2 * LOST_US, 2), [], "too long ago as well");
}

#[test]
fn a_fragment_that_contradicts_itself_is_not_one() {
    let whole = Cut { digest: 1, total: 3_000, piece: 1_000 };
    let body = |cut: Cut, index: u16, bytes: usize| {
        let mut body = Vec::new();
        Fragment { cut, index, bytes: &vec![0; bytes] }.write(&mut body);
        body
    };
    let parses = |body: Vec<u8>| Fragment::parse(&body).is_some();
    assert!(parses(body(whole, 2, 1_000)));
    assert!(!parses(body(whole, 3, 1_000)), "beyond the end");
    assert!(!parses(body(whole, 3, 0)), "beyond the end, and nothing");
    assert!(!parses(body(whole, 2, 999)), "too short");
    assert!(!parses(body(whole, 2, 1_001)), "too long");
    assert!(!parses(body(Cut { piece: 0, ..whole }, 0, 0)), "no piece");
    assert!(!parses(body(Cut { piece: 100, ..whole }, 0, 100)), "tiny pieces");
    assert!(!parses(body(Cut { total: 900, ..whole }, 0, 900)), "need not be split");
    assert!(!parses(body(Cut { total: 1_000, ..whole }, 0, 1_000)), "need not be, either");
    assert!(!parses(body(Cut { total: u32::MAX, ..whole }, 0, 1_000)), "endless");
    for short in 0..FRAGMENT_HEADER_BYTES {
        assert!(!parses(vec![0xFF; short]));
    }
}

#[test]
fn a_request_for_fragments_that_contradicts_itself_is_not_one() {
    let cut = Cut { digest: 1, total: 3_000, piece: 1_000 };
    let parse = |indexes: &[u16]| {
        let mut body = Vec::new();
        Missing { cut, indexes: indexes.to_vec() }.write(&mut body);
        Missing::parse(&body)
    };
    assert_eq!(parse(&[0, 2]), Some(Missing { cut, indexes: vec![0, 2] }));
    assert_eq!(parse(&[]), None);
    assert_eq!(parse(&[3]), None);
    assert_eq!(parse(&[2, 0]), None);
    assert_eq!(parse(&[1, 1]), None, "a piece is named twice");
    let mut odd = Vec::new();
    Missing { cut, indexes: vec![0, 2] }.write(&mut odd);
    odd.push(0);
    assert_eq!(Missing::parse(&odd), None);
}

#[test]
fn a_request_names_as_many_pieces_as_it_may_and_no_more() {
    let total = MESSAGE_BYTES_MAX as u32;
    let cut = Cut { digest: 1, total, piece: PIECE_BYTES_MIN as u16 };
    for (count, sound) in [(1, true), (ASKED_PIECES_MAX, true), (ASKED_PIECES_MAX + 1, false)] {
        let missing = Missing { cut, indexes: (0..count as u16).collect() };
        let mut body = Vec::new();
        missing.write(&mut body);
        assert_eq!(HEADER_BYTES + body.len(), Missing::frame_bytes(count));
        assert_eq!(Missing::parse(&body), sound.then_some(missing));
    }
}

#[test]
fn what_is_missing_is_asked_for_singly_ever_more_rarely_and_then_given_up() {
    let pieces = split(&mut fragmenter(), &message(4, 10_000));
    let mut receiver = reassembler();
    for (at, piece) in pieces.iter().enumerate().filter(|&(at, _)| at != 2 && at != 5) {
        assert_eq!(insert(&mut receiver, at as u64, peer(1), piece), None);
    }
    let last = pieces.len() as u64 - 1;
    let asked = asked(&mut receiver, 60_000_000);
    assert_eq!(asked.len(), ASKS_MAX as usize);
    let mut expected = last;
    for (round, (at, from, missing)) in asked.into_iter().enumerate() {
        expected += ASK_AFTER_US << round;
        assert_eq!((at, from), (expected, peer(1)));
        assert_eq!(missing.indexes, [2, 5]);
    }
    assert_eq!(receiver.held_sets(), (0, 0));
    assert_eq!(receiver.counters.of(NetEvent::SetGivenUp), 1);
}

#[test]
fn what_was_asked_for_is_sent_again_while_it_is_kept() {
    let mut sender = fragmenter();
    let sent = message(5, 20_000);
    let pieces = split(&mut sender, &sent);
    let missing = Missing { cut: pieces[0].0, indexes: vec![1, 3] };
    let mut again = Vec::new();
    sender.resend(0, (Some(1), DATAGRAM), &missing, |cluster, fragment| {
        assert_eq!(cluster, CLUSTER);
        again.push((fragment.cut, fragment.index, fragment.bytes.to_vec()));
    });
    assert_eq!(again, [pieces[1].clone(), pieces[3].clone()]);
    for seed in 0..KEPT_MESSAGES_MAX as u64 {
        split(&mut sender, &message(1_000 + seed, 2_000));
    }
    sender.resend(0, (Some(1), DATAGRAM), &missing, |_, _| panic!("it is not kept any more"));
    assert_eq!(sender.counters.of(NetEvent::FragmentForgotten), 1);
}

#[test]
fn what_a_sender_keeps_is_bounded_in_bytes_and_number() {
    let mut sender = fragmenter();
    for seed in 0..400 {
        split(&mut sender, &message(seed, 65_000));
        assert!(sender.kept_bytes <= KEPT_BYTES_MAX && sender.kept.len() <= KEPT_MESSAGES_MAX);
    }
    let before = sender.kept.len();
    for _ in 0..10 {
        split(&mut sender, &message(399, 65_000));
    }
    assert_eq!(sender.kept.len(), before, "the same message to many peers is kept once");
    assert_eq!(sender.kept_bytes, sender.kept.iter().map(|kept| kept.message.len()).sum());
}

#[test]
fn the_same_message_sent_again_completes_what_has_arrived() {
    let mut sender = fragmenter();
    let sent = message(6, 5_000);
    let first = split(&mut sender, &sent);
    let again = split(&mut sender, &sent);
    let mut receiver = reassembler();
    assert_eq!(insert(&mut receiver, 0, peer(1), &first[0]), None);
    assert_eq!(insert(&mut receiver, 0, peer(1), &first[1]), None);
    assert_eq!(insert(&mut receiver, 900_000, peer(1), &again[2]), None);
    assert_eq!(insert(&mut receiver, 900_000, peer(1), &again[3]), Some(sent));
}

#[test]
fn a_piece_that_comes_late_opens_nothing_but_a_message_sent_again_is_heard_again() {
    let pieces = split(&mut fragmenter(), &message(7, 5_000));
    let mut receiver = reassembler();
    let join = |receiver: &mut Reassembler, now| {
        pieces.iter().filter_map(|piece| insert(receiver, now, peer(1), piece)).count()
    };
    assert_eq!(join(&mut receiver, 0), 1);
    assert_eq!(insert(&mut receiver, LATE_US, peer(1), &pieces[0]), None);
    assert_eq!(receiver.held_sets(), (0, 0));
    // Whoever sends it again has been silent before.
    assert_eq!(join(&mut receiver, 2 * LATE_US), 0);
    assert_eq!(join(&mut receiver, 3 * LATE_US + 1), 1);
    assert_eq!(receiver.counters.of(NetEvent::JoinedAgain), 1);
    let heard_at = 3 * LATE_US + 1;
    assert_eq!(
        insert(&mut receiver, heard_at + JOINED_US, peer(1), &pieces[0]),
        Some(message(7, 5_000))
    );
    assert_eq!(receiver.counters.of(NetEvent::Joined), 1, "it is kept as long as pieces come");
    assert_eq!(join(&mut receiver, heard_at + 2 * JOINED_US + 1), 1);
    assert_eq!(receiver.counters.of(NetEvent::Joined), 2, "it had been forgotten");
}

#[test]
fn where_pieces_come_at_a_pace_a_late_one_is_no_message_sent_again_unless_all_come_twice() {
    let pieces = split(&mut fragmenter(), &message(8, 5_000));
    let mut receiver = reassembler();
    let mut now = 0;
    let mut come = |receiver: &mut Reassembler, piece: usize, after_us: u64| {
        now += after_us;
        insert(receiver, now, peer(1), &pieces[piece]).is_some()
    };
    let last = pieces.len() - 1;
    assert_eq!((0..=last).filter(|at| come(&mut receiver, *at, 300_000)).count(), 1);
    assert!(!come(&mut receiver, 0, 300_000), "it was overtaken on its way");
    assert!(come(&mut receiver, 1, 300_001), "after a silence");
    let copies = (0..2 * pieces.len()).map(|at| come(&mut receiver, at % pieces.len(), 300_000));
    let again: Vec<bool> = copies.collect();
    assert_eq!(again.iter().position(|again| *again), Some(2 * pieces.len() - 1), "{again:?}");
}

/// When pieces are asked for within two seconds where a round trip takes `trip_us`, if one has come.
fn asks_after_one_piece(
    receiver: &mut Reassembler,
    now: u64,
    piece: &Piece,
    trip_us: u64,
) -> Vec<u64> {
    assert_eq!(insert(receiver, now, peer(1), piece), None);
    let mut asks = Vec::new();
    while let Some(due) = receiver.deadline().filter(|due| *due <= now + 2_000_000) {
        receiver.poll(due, |_| trip_us, |_, _, _| asks.push(due - now));
    }
    asks
}

#[test]
fn pieces_are_asked_for_again_when_a_round_trip_is_over() {
    let pieces = split(&mut fragmenter(), &message(9, 5_000));
    let asks = asks_after_one_piece(&mut reassembler(), 0, &pieces[0], 0);
    assert_eq!(asks[..4], [3_000, 9_000, 21_000, 45_000]);
    let asks = asks_after_one_piece(&mut reassembler(), 0, &pieces[0], 400_000);
    assert_eq!(asks, [100_000, 600_000, 1_100_000, 1_900_000]);
}

#[test]
fn the_pieces_of_a_peers_next_message_are_expected_at_the_pace_of_the_last_one() {
    let (first, next) = (message(9, 5_000), message(10, 5_000));
    let mut receiver = reassembler();
    for (at, piece) in (0..).zip(&split(&mut fragmenter(), &first)) {
        // Requests in between do not change the pace.
        receiver.poll(80_000 * at, |_| 100_000, |_, _, _| {});
        insert(&mut receiver, 80_000 * at, peer(1), piece);
    }
    assert_eq!(receiver.counters.of(NetEvent::Joined), 1);
    let next = split(&mut fragmenter(), &next);
    let asks = asks_after_one_piece(&mut receiver, 1_000_000, &next[0], 0);
    assert_eq!(asks[..2], [80_000, 240_000], "half of the pace, twice");
}

#[test]
fn a_pace_is_found_although_a_round_trip_is_unknown_and_pieces_are_asked_for_in_vain() {
    let pieces = split(&mut fragmenter(), &message(4, 10_000));
    let mut receiver = reassembler();
    let mut asks = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let now = at as u64 * 200_000;
        asks.push(asked(&mut receiver, now).len());
        insert(&mut receiver, now, peer(1), piece);
    }
    assert_eq!(asks[..5], [0, 6, 3, 1, 0], "between two pieces");
    assert_eq!(asks[5..].iter().sum::<usize>(), 0);
}

#[test]
fn a_wait_for_a_lost_piece_does_not_make_the_next_one_longer() {
    let (mut sender, mut receiver) = (fragmenter(), reassembler());
    let mut now = 0;
    // Of each message all pieces but one are lost, and so is every first request for another one.
    for seed in 0..20 {
        // It may be known, and an answer may be faster than most.
        let (trip_us, takes_us) = if seed % 2 == 0 { (1_000, 700) } else { (0, 700) };
        let mut pieces = split(&mut sender, &message(seed, 10_000)).into_iter();
        assert_eq!(insert(&mut receiver, now, peer(1), &pieces.next().expect("some")), None);
        for piece in pieces {
            let mut asks = Vec::new();
            while asks.len() < 2 {
                let due = receiver.deadline().expect("it waits for pieces");
                receiver.poll(due, |_| trip_us, |_, _, _| asks.push(due - now));
            }
            assert_eq!(asks, [ASK_AFTER_US, 3 * ASK_AFTER_US], "message {seed}");
            now += asks[1] + takes_us;
            insert(&mut receiver, now, peer(1), &piece);
        }
    }
    assert_eq!(receiver.counters.of(NetEvent::Joined), 20);
}

#[test]
fn a_peer_is_not_asked_for_what_an_earlier_life_of_it_has_begun() {
    let pieces = split(&mut fragmenter(), &message(9, 5_000));
    let others = split(&mut fragmenter(), &message(10, 5_000));
    let mut receiver = reassembler();
    for (boot, expected) in [(BOOT, 1), (BOOT + 1, 1), (BOOT + 1, 2)] {
        let piece = if expected == 2 { &others[0] } else { &pieces[0] };
        let (cut, index, bytes) = (piece.0, piece.1, &piece.2[..]);
        receiver.insert(0, peer(1), boot, CLUSTER, Fragment { cut, index, bytes });
        assert_eq!(receiver.held_sets(), (expected, 0));
    }
}

#[test]
fn the_bytes_of_joined_messages_that_are_kept_are_bounded() {
    let (mut sender, mut receiver) = (fragmenter(), reassembler());
    for seed in 0..200 {
        let pieces = split(&mut sender, &message(seed, 65_000));
        let joined = pieces.iter().filter_map(|piece| insert(&mut receiver, 0, peer(1), piece));
        assert_eq!(joined.count(), 1);
        assert!(receiver.joined.len() * 65_000 <= JOINED_BYTES_MAX);
    }
}

#[test]
fn pieces_that_come_at_a_pace_are_not_asked_for() {
    let pieces = split(&mut fragmenter(), &message(4, 10_000));
    let (mut receiver, mut joined) = (reassembler(), None);
    let mut asked_at = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let now = at as u64 * 20_000;
        asked_at.extend(asked(&mut receiver, now).into_iter().map(|(at, ..)| at));
        joined = insert(&mut receiver, now, peer(1), piece);
    }
    assert!(joined.is_some());
    // Until the pace is known.
    assert!(asked_at.iter().all(|at| *at < 20_000), "{asked_at:?}");
}

#[test]
fn bytes_without_the_digest_they_claim_are_dropped() {
    let mut pieces = split(&mut fragmenter(), &message(8, 5_000));
    pieces[1].2[0] ^= 1;
    let mut receiver = reassembler();
    for piece in &pieces {
        assert_eq!(insert(&mut receiver, 0, peer(1), piece), None);
    }
    assert_eq!(receiver.held_sets(), (0, 0));
    assert_eq!(receiver.counters.of(DropReason::Digest), 1);
}

#[test]
fn other_senders_lives_and_clusters_are_kept_apart() {
    let pieces = split(&mut fragmenter(), &message(9, 2_000));
    assert_eq!(pieces.len(), 2);
    let mut receiver = reassembler();
    let fragment =
        |at: usize| Fragment { cut: pieces[at].0, index: at as u16, bytes: &pieces[at].2 };
    let mut take = |from, boot, cluster, at| receiver.insert(0, from, boot, cluster, fragment(at));
    assert_eq!(take(peer(1), 1, 1, 0), None);
    assert_eq!(take(peer(2), 1, 1, 1), None);
    assert_eq!(take(peer(1), 1, 0, 1), None);
    assert_eq!(take(client(1), 1, 1, 1), None);
    assert_eq!(take(client(1), 2, 1, 0), None);
    assert!(take(peer(1), 1, 1, 1).is_some());
    assert!(take(client(1), 1, 1, 0).is_some());
}

#[test]
fn a_flood_from_one_sender_evicts_only_its_own() {
    let mut receiver = reassembler();
    let kept = split(&mut fragmenter(), &message(10, 2_000));
    insert(&mut receiver, 0, peer(1), &kept[0]);
    insert(&mut receiver, 0, client(1), &kept[0]);
    for seed in 100..1_100 {
        let pieces = split(&mut fragmenter(), &message(seed, 60_000));
        for piece in &pieces[1..] {
            insert(&mut receiver, 1, client(2), piece);
        }
        let (_, bytes) = receiver.held_bytes();
        assert!(bytes <= SENDER_BYTES_MAX + 2_000, "{bytes} bytes");
    }
    assert!(receiver.held_sets().1 <= SENDER_SETS_MAX + 1);
    assert!(insert(&mut receiver, 2, client(1), &kept[1]).is_some());
    assert!(insert(&mut receiver, 2, peer(1), &kept[1]).is_some());
}

#[test]
fn a_flood_from_ever_new_clients_stays_bounded_and_touches_no_peer() {
    let mut receiver = reassembler();
    let kept = split(&mut fragmenter(), &message(11, 2_000));
    insert(&mut receiver, 0, peer(1), &kept[0]);
    let pieces = split(&mut fragmenter(), &message(12, 60_000));
    for port in 1..4_000 {
        for piece in &pieces[1..] {
            insert(&mut receiver, 1, client(port), piece);
        }
        let (sets, bytes) = (receiver.held_sets().1, receiver.held_bytes().1);
        assert!(sets <= SETS_MAX && bytes <= BYTES_MAX, "{sets} sets, {bytes} bytes");
    }
    let unfinished = &receiver.clients;
    assert_eq!(unfinished.by_key.len(), unfinished.sets.len());
    assert_eq!(unfinished.due.len(), unfinished.sets.len());
    assert!(unfinished.by_sender.len() <= unfinished.sets.len());
    assert_eq!(unfinished.bytes, unfinished.sets.values().map(|set| set.bytes).sum());
    assert!(insert(&mut receiver, 2, peer(1), &kept[1]).is_some());
}

#[test]
fn a_client_is_never_asked_with_more_than_it_sent() {
    // A client can send no less: the last piece alone, a byte long, of the longest message
    // in the smallest pieces.
    let piece = PIECE_BYTES_MIN;
    let total = (PIECES_MAX - 1) * piece + 1;
    let pieces = split_for(PATH_BYTES_MIN, &mut fragmenter(), &message(13, total));
    let last = pieces.last().expect("many");
    assert_eq!(last.2.len(), 1);
    let mut receiver = reassembler();
    insert(&mut receiver, 0, client(1), last);
    let sent = HEADER_BYTES + CLIENT_BODY_BYTES_MIN;
    let asked: usize = asked(&mut receiver, 60_000_000)
        .iter()
        .map(|(_, _, missing)| Missing::frame_bytes(missing.indexes.len()))
        .sum();
    assert!(asked > 0 && asked <= sent, "{asked} bytes asked, {sent} sent");
    assert_eq!(receiver.held_sets(), (0, 0), "given up all the same");
}

#[test]
fn a_client_is_asked_for_as_much_as_it_paid_for() {
    for (bytes, times) in [(1, 1), (40, 1), (41, 1), (42, 1), (43, 1), (300, 1), (1, 2)] {
        let total = (PIECES_MAX - 2) * PIECE_BYTES_MIN + bytes;
        let pieces = split_for(PATH_BYTES_MIN, &mut fragmenter(), &message(13, total));
        let mut receiver = reassembler();
        let last = pieces.last().expect("many");
        assert_eq!(last.2.len(), bytes);
        // Every piece that the client sends gives it credit, also one that came before.
        for _ in 0..times {
            insert(&mut receiver, 0, client(1), last);
        }
        let frame = HEADER_BYTES + CLIENT_BODY_BYTES_MIN.max(FRAGMENT_HEADER_BYTES + bytes);
        let mut credit = times * frame;
        let mut expected = Vec::new();
        while expected.len() < ASKS_MAX as usize && credit >= Missing::frame_bytes(1) {
            let most = (credit - Missing::frame_bytes(0)) / 2;
            expected.push(most.min(ASKED_PIECES_MAX));
            credit -= Missing::frame_bytes(most.min(ASKED_PIECES_MAX));
        }
        let asked = asked(&mut receiver, 60_000_000);
        let asked: Vec<_> = asked.iter().map(|(_, _, missing)| missing.indexes.len()).collect();
        assert_eq!(asked, expected, "{bytes} bytes");
    }
}

#[test]
fn a_message_longer_than_any_may_be_is_not_split() {
    let mut sender = fragmenter();
    assert!(!split(&mut sender, &vec![7; MESSAGE_BYTES_MAX]).is_empty());
    assert!(split(&mut sender, &vec![7; MESSAGE_BYTES_MAX + 1]).is_empty());
    assert_eq!(sender.counters.of(NetEvent::LostTooLong), 1);
}

#[test]
fn a_message_is_cut_anew_when_its_pieces_are_too_long_for_the_path() {
    let (mut sender, sent) = (fragmenter(), message(6, 5_000));
    let pieces = split(&mut sender, &sent);
    for peer in [1, 2] {
        sender.note_sent(0, peer);
    }
    let missing = Missing { cut: pieces[0].0, indexes: vec![2] };
    let (mut receiver, mut joined) = (reassembler(), Vec::new());
    let datagram = 900;
    sender.resend(1, (Some(1), datagram), &missing, |cluster, fragment| {
        assert!(HEADER_BYTES + FRAGMENT_HEADER_BYTES + fragment.bytes.len() <= datagram);
        joined.extend(receiver.insert(0, peer(1), BOOT, cluster, fragment));
    });
    assert_eq!(joined, std::slice::from_ref(&sent));
    sender.resend(1, (Some(1), datagram), &missing, |_, _| panic!("only once"));
    sender.resend(1, (Some(3), datagram), &missing, |_, _| panic!("it was not sent there"));
    assert_eq!(sender.counters.of(NetEvent::FragmentForgotten), 2);
    assert_eq!((sender.kept.len(), sender.kept_bytes), (2, 10_000));
    // A peer that has heard nothing asks for nothing, and its path is found narrow later.
    let mut again = |peer, datagram| {
        let mut bytes = Vec::new();
        sender.send_narrowed(2, peer, datagram, |_, fragment| {
            bytes.extend_from_slice(fragment.bytes);
        });
        bytes
    };
    assert_eq!(again(2, datagram), sent);
    assert_eq!(again(1, PATH_BYTES_MIN), sent, "the path is still narrower than the new cut");
}

#[test]
fn a_message_that_would_fit_by_now_is_split_in_two() {
    for (datagram, bytes) in [(1_400, 1_300), (65_507, 5_001), (1_400, PIECE_BYTES_MIN + 1)] {
        let sent = message(8, bytes);
        let pieces = split_for(datagram, &mut fragmenter(), &sent);
        let mut receiver = reassembler();
        let joined: Vec<_> =
            pieces.iter().filter_map(|piece| insert(&mut receiver, 0, peer(1), piece)).collect();
        assert_eq!((pieces.len(), joined), (2, vec![sent]));
    }
}

fn assert_kept(sender: &Fragmenter, lengths: impl IntoIterator<Item = usize>) {
    let kept: Vec<usize> = sender.kept.iter().map(|kept| kept.message.len()).collect();
    assert_eq!(sender.kept_bytes, kept.iter().sum::<usize>());
    assert_eq!(kept, lengths.into_iter().collect::<Vec<_>>());
}

#[test]
fn a_sender_keeps_as_many_messages_as_it_may_and_then_forgets_the_oldest() {
    let mut sender = fragmenter();
    let lengths = 2_000..2_000 + KEPT_MESSAGES_MAX;
    lengths.clone().for_each(|bytes| _ = split(&mut sender, &vec![1; bytes]));
    assert_kept(&sender, lengths.clone());
    split(&mut sender, &vec![1; 9_000]);
    assert_kept(&sender, lengths.clone().skip(1).chain([9_000]));
    // A message that is sent again is kept once, as the youngest.
    split(&mut sender, &vec![1; 2_002]);
    let others = lengths.skip(1).filter(|&bytes| bytes != 2_002);
    assert_kept(&sender, others.chain([9_000, 2_002]));
}

#[test]
fn a_sender_keeps_as_many_bytes_as_it_may_and_then_forgets_the_oldest() {
    let mut sender = fragmenter();
    let bytes = KEPT_BYTES_MAX / 128;
    (0..128).for_each(|byte| _ = split(&mut sender, &vec![byte; bytes]));
    assert_kept(&sender, [bytes; 128]);
    split(&mut sender, &vec![1; 2_000]);
    assert_kept(&sender, [bytes; 127].into_iter().chain([2_000]));
}

const STRIDE: usize = 32_768;

/// Inserts one piece of `bytes` bytes of a message that has more pieces.
fn unfinished(into: &mut Reassembler, from: End, digest: u64, index: u16, bytes: usize) {
    let cut = Cut { digest, total: u32::MAX, piece: STRIDE as u16 };
    let fragment = Fragment { cut, index, bytes: &vec![1; bytes] };
    assert_eq!(into.insert(0, from, BOOT, CLUSTER, fragment), None);
}

fn assert_accounts(of: &Reassembler) {
    assert_eq!(of.held_sets(), (of.peers.sets.len(), of.clients.sets.len()));
    assert_eq!(of.held_bytes(), (of.peers.bytes, of.clients.bytes));
    for unfinished in [&of.peers, &of.clients] {
        let mut usages: HashMap<End, (usize, usize)> = HashMap::new();
        for set in unfinished.sets.values() {
            assert_eq!(set.bytes, set.pieces.values().map(Vec::len).sum());
            let usage = usages.entry(set.key.from).or_default();
            *usage = (usage.0 + 1, usage.1 + set.bytes);
        }
        let counted =
            unfinished.by_sender.iter().map(|(of, usage)| (*of, (usage.sets, usage.bytes)));
        assert_eq!(counted.collect::<HashMap<_, _>>(), usages);
        assert_eq!(unfinished.bytes, unfinished.sets.values().map(|set| set.bytes).sum());
        let keys = unfinished.sets.iter().map(|(&number, set)| (set.key, number));
        assert_eq!(unfinished.by_key, keys.collect());
        let due = unfinished.sets.iter().map(|(&number, set)| (set.due, number));
        assert_eq!(unfinished.due, due.collect());
    }
}

/// The unfinished messages, oldest first. Checks their counts as well.
fn held(of: &Reassembler) -> Vec<(End, u64)> {
    assert_accounts(of);
    let sets = of.peers.sets.values().chain(of.clients.sets.values());
    sets.map(|set| (set.key.from, set.key.cut.digest)).collect()
}

fn evicted(of: &Reassembler) -> u64 {
    of.counters.of(NetEvent::SetEvicted)
}

#[test]
fn of_one_sender_too_many_messages_of_which_are_unfinished_the_oldest_stay() {
    let mut receiver = reassembler();
    unfinished(&mut receiver, client(2), 0, 0, 10);
    let most = SENDER_SETS_MAX as u64;
    (0..most).for_each(|digest| unfinished(&mut receiver, client(1), digest, 0, 10));
    assert_eq!((held(&receiver).len(), evicted(&receiver)), (1 + SENDER_SETS_MAX, 0));
    unfinished(&mut receiver, client(1), most, 0, 10);
    let expected = || (0..most).map(|digest| (client(1), digest));
    assert_eq!(held(&receiver), [(client(2), 0)].into_iter().chain(expected()).collect::<Vec<_>>());
    assert_eq!(evicted(&receiver), 1);
    // One that was asked for in vain again and again gives way.
    receiver.clients.sets.values_mut().for_each(|set| set.asks = VAIN_ASKS);
    unfinished(&mut receiver, client(1), most, 0, 10);
    let expected = expected().skip(1).chain([(client(1), most)]);
    assert_eq!(held(&receiver), [(client(2), 0)].into_iter().chain(expected).collect::<Vec<_>>());
}

#[test]
fn of_one_sender_too_many_bytes_of_which_are_unfinished_the_oldest_stay() {
    let mut receiver = reassembler();
    unfinished(&mut receiver, client(2), 0, 0, STRIDE);
    let pieces = (SENDER_BYTES_MAX / STRIDE / 4) as u16;
    for digest in 0..4 {
        (0..pieces).for_each(|at| unfinished(&mut receiver, client(1), digest, at, STRIDE));
    }
    assert_eq!((held(&receiver).len(), evicted(&receiver)), (5, 0));
    unfinished(&mut receiver, client(1), 1, pieces, 1);
    assert_eq!(held(&receiver), [(2, 0), (1, 0), (1, 1), (1, 2)].map(|(of, at)| (client(of), at)));
    assert_eq!(evicted(&receiver), 1);
}

#[test]
fn more_messages_at_once_than_there_is_room_for_are_joined_one_after_the_other() {
    const MESSAGES: u64 = 3 * SENDER_SETS_MAX as u64;
    let (mut sender, mut receiver) = (fragmenter(), reassembler());
    let messages: Vec<_> = (0..MESSAGES).map(|seed| message(seed, 60_000)).collect();
    let mut on_the_way: Vec<Piece> =
        messages.iter().flat_map(|it| split(&mut sender, it)).collect();
    fastrand::Rng::with_seed(7).shuffle(&mut on_the_way);
    let needed = on_the_way.len();
    let (mut on_the_way, mut now, mut arrived, mut joined) = (VecDeque::from(on_the_way), 0, 0, 0);
    // The path carries a piece in 100 µs, and what is asked for waits behind what was sent before.
    while let Some(piece) = on_the_way.pop_front() {
        now += 100;
        arrived += 1;
        joined += usize::from(insert(&mut receiver, now, peer(1), &piece).is_some());
        let mut missing = Vec::new();
        receiver.poll(now, |_| 0, |_, _, it| missing.push(it));
        for it in missing {
            sender.resend(now, (Some(1), DATAGRAM), &it, |_, Fragment { cut, index, bytes }| {
                on_the_way.push_back((cut, index, bytes.to_vec()));
            });
        }
        assert!(arrived < 20 * needed, "{joined} messages joined, and no end of pieces");
    }
    assert!(joined >= SENDER_SETS_MAX, "{joined} messages joined of {arrived} pieces");
}

#[test]
fn too_many_unfinished_messages_of_all_cost_the_oldest_whosever_it_is() {
    let mut receiver = reassembler();
    unfinished(&mut receiver, peer(1), 0, 0, 10);
    let most = SETS_MAX as u16;
    (0..most).for_each(|port| unfinished(&mut receiver, client(port), 0, 0, 10));
    assert_eq!((held(&receiver).len(), evicted(&receiver)), (1 + SETS_MAX, 0));
    unfinished(&mut receiver, client(most), 0, 0, 10);
    let expected = (1..=most).map(|port| (client(port), 0));
    assert_eq!(held(&receiver), [(peer(1), 0)].into_iter().chain(expected).collect::<Vec<_>>());
    assert_eq!(evicted(&receiver), 1);
}

#[test]
fn too_many_unfinished_bytes_of_all_cost_the_oldest_whosever_it_is() {
    let mut receiver = reassembler();
    let senders = (BYTES_MAX / SENDER_BYTES_MAX) as u16;
    let pieces = (SENDER_BYTES_MAX / STRIDE) as u16;
    for port in 0..senders {
        (0..pieces).for_each(|at| unfinished(&mut receiver, client(port), 0, at, STRIDE));
    }
    assert_eq!((held(&receiver).len(), evicted(&receiver)), (usize::from(senders), 0));
    unfinished(&mut receiver, client(senders), 0, 0, 1);
    let expected: Vec<_> = (1..=senders).map(|port| (client(port), 0)).collect();
    assert_eq!((held(&receiver), evicted(&receiver)), (expected, 1));
}

#[test]
fn a_message_that_was_joined_leaves_the_others_of_its_sender_as_they_were() {
    let mut receiver = reassembler();
    let pieces = split(&mut fragmenter(), &message(14, 5_000));
    unfinished(&mut receiver, peer(1), 1, 0, 100);
    for piece in &pieces[1..] {
        assert_eq!(insert(&mut receiver, 0, peer(1), piece), None);
    }
    assert!(insert(&mut receiver, 0, peer(1), &pieces[0]).is_some());
    assert_eq!((held(&receiver), receiver.held_bytes()), (vec![(peer(1), 1)], (100, 0)));
}

#[test]
fn late_pieces_of_every_message_joined_are_known_as_such_up_to_a_bound() {
    let mut sender = fragmenter();
    let mut receiver = reassembler();
    let sent: Vec<_> =
        (0..=JOINED_MAX).map(|at| split(&mut sender, &vec![1; 2_000 + at])).collect();
    for pieces in &sent {
        assert_eq!(insert(&mut receiver, 0, peer(1), &pieces[0]), None);
        assert!(insert(&mut receiver, 0, peer(1), &pieces[1]).is_some());
    }
    assert_eq!(receiver.joined.len(), JOINED_MAX);
    for pieces in &sent {
        assert_eq!(insert(&mut receiver, LATE_US, peer(1), &pieces[0]), None);
    }
    assert_eq!(receiver.counters.of(NetEvent::FragmentLate), JOINED_MAX as u64);
    assert_eq!(held(&receiver), [(peer(1), sent[0][0].0.digest)], "forgotten first");
}

#[test]
fn nothing_is_asked_for_before_it_is_due() {
    let pieces = split(&mut fragmenter(), &message(15, 5_000));
    let mut receiver = reassembler();
    insert(&mut receiver, 10, peer(1), &pieces[0]);
    insert(&mut receiver, 20, client(1), &pieces[0]);
    assert_eq!(receiver.deadline(), Some(10 + ASK_AFTER_US));
    receiver.poll(9 + ASK_AFTER_US, |_| 0, |_, _, _| panic!("it is too early"));
    // A piece that came in between postpones the request.
    insert(&mut receiver, 30, peer(1), &pieces[1]);
    let asked = asked(&mut receiver, 40 + ASK_AFTER_US);
    let asked: Vec<_> = asked.into_iter().map(|(at, from, _)| (at, from)).collect();
    let expected = [(20 + ASK_AFTER_US, client(1)), (30 + ASK_AFTER_US, peer(1))];
    assert_eq!(asked, expected);
}
