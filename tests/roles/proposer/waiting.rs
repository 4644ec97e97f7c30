//! Suspicion and patience, over time.

use super::*;

#[test]
fn a_replica_that_was_paused_suspects_nobody_right_after_waking() {
    let mut seat = proposer(3, R2);
    for round in 1..10 {
        seat.handle(serving(R0, round, 0));
        seat.wait_us(HEARTBEAT_US);
    }
    seat.now = seat.now.plus_us(60_000_000);
    assert_eq!(pre_votes(&seat.wake()), []);
    assert!(!grants(&mut seat, R1, 1), "it grants no pre-vote either");
    assert_eq!(pre_votes(&seat.wait_us(HEARTBEAT_US)), []);
    let sent = seat.wait_us(ELECTION_MAX_US);
    assert!(!pre_votes(&sent).is_empty(), "if it hears nothing after the pause, it suspects");
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

/// Two proposers and three acceptors on a network in which everything takes a millisecond.
/// Replica 0 is dead. Returns the time at which a replica has led for a second.
fn rivals(seed: u64) -> Time {
    let mut rng = seeds::stream(seed, "rivals");
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
    // Both suspect in the same millisecond, because their first draws are equal.
    let settled: Vec<Time> = (0..200).map(rivals).collect();
    let late: Vec<_> =
        settled.iter().enumerate().filter(|(_, at)| **at > Time(10_000_000)).collect();
    assert!(late.is_empty(), "seeds and times: {late:?}");
}
